//! One AF_XDP socket as a queue pair.

use super::area::Loans;
use super::socket::{Losses, Socket};
use crate::driver::checksum;
use crate::driver::interface::Seat;
use crate::driver::{LinkState, QueuePair, QueueStats, RxStatus, TxStatus, TxStop};
use crate::frame::{Burst, Frame, Pool};
use crate::net::PortId;
use rustix::io::Errno;
use rustix::net::xdp::{XdpDesc, XdpDescOptions};
use std::os::fd::{AsFd, BorrowedFd};

/// The fill ring is filled up when it lacks so many chunks.
const REFILL: u32 = 64;

/// Receive calls in vain between two questions to the socket: the rings say nothing of a link that is gone.
const LOOK_EVERY: u32 = 256;

/// Calls to send what is in the ring, at most: kernels before 6.17 send 32 frames per call.
const KICKS: u32 = 20;

pub(super) struct Queue {
    id: PortId,
    seat: Seat<Bound>,
    loans: Loans,
    /// The rings' chunks where they are not the worker's pool; then frames are copied.
    own: Option<Pool>,
    /// Chunks in the fill and receive rings, and how many there shall be.
    waiting: u32,
    ring: u32,
    /// Chunks sent, still on loan: they go to the fill ring or home.
    sent: Vec<u64>,
    /// Some of what is in the transmit ring waits for another call.
    unsent: bool,
    idle_calls: u32,
    /// Frames in the transmit ring that the kernel has not been told of, and how many there may be.
    held: u32,
    most_held: u32,
    stats: QueueStats,
    /// Counted by sockets before this one.
    before: QueueStats,
}

/// A socket with what its queue must know.
pub(super) struct Bound {
    pub(super) socket: Socket,
    /// The chunks are the queue's own and not its worker's.
    pub(super) copies: bool,
    /// Entries of each ring.
    pub(super) ring: u32,
    /// Largest frame the device sends.
    pub(super) largest: usize,
    /// The program that counts frames without a socket, for the one queue that tells of them.
    pub(super) program: Option<std::sync::Arc<super::bpf::Program>>,
}

impl Queue {
    pub(super) fn new(id: PortId, seat: Seat<Bound>) -> Queue {
        let bound = seat.socket();
        let area = &bound.socket.area;
        Queue {
            id,
            loans: Loans::new(std::sync::Arc::clone(area), bound.socket.reserved.clone()),
            own: bound.copies.then(|| area.pool()),
            waiting: bound.socket.reserved.len() as u32,
            ring: bound.ring,
            sent: Vec::with_capacity(bound.ring as usize),
            unsent: false,
            idle_calls: 0,
            held: 0,
            most_held: 1,
            stats: QueueStats::default(),
            before: QueueStats::default(),
            seat,
        }
    }

    /// Takes over the newest socket the control plane has sent. What the old one's rings held goes home.
    fn take_replacements(&mut self, pool: &Pool) {
        while let Some(fresh) = self.seat.replacement() {
            self.before = self.lost();
            drop(self.seat.take_over(fresh));
            self.sent.clear();
            self.loans.take_all(self.own.as_ref().unwrap_or(pool));
            (self.waiting, self.held, self.unsent) = (0, 0, false);
        }
    }

    /// What the kernel lost, as the counts it belongs to.
    fn lost(&self) -> QueueStats {
        let Losses { ring_full, starved, too_large, refused } = self.seat.socket().socket.losses();
        let mut sum = self.before;
        sum.rx_missed += ring_full;
        sum.rx_nobuf += starved;
        sum.rx_truncated += too_large;
        sum.tx_refused += refused;
        sum
    }

    /// Collects the chunks of frames that were sent.
    fn reap(&mut self) {
        let completion = &mut self.seat.socket_mut().socket.completion;
        while self.sent.len() < self.sent.capacity()
            && let Some(offset) = completion.read()
        {
            self.sent.push(offset);
        }
        completion.release();
    }

    /// Gives the kernel chunks to receive into, those just sent first; what is left of these goes home.
    fn refill(&mut self, pool: &Pool) {
        let source = self.own.as_ref().unwrap_or(pool);
        let socket = &mut self.seat.socket_mut().socket;
        let lacks = self.ring - self.waiting;
        if lacks >= REFILL.min(self.ring) {
            for _ in 0..socket.fill.room(lacks) {
                let chunk = match self.sent.pop() {
                    Some(offset) => Some(offset),
                    None => source.alloc().and_then(|frame| self.loans.lend(frame)),
                };
                let Some(chunk) = chunk else {
                    self.stats.rx_nobuf += 1;
                    break;
                };
                socket.fill.write(chunk);
                self.waiting += 1;
            }
            socket.fill.publish();
            if socket.fill.needs_wakeup() {
                let _ = socket.look();
            }
        }
        while let Some(offset) = self.sent.pop() {
            drop(self.loans.take_back(source, offset, 0));
        }
    }

    /// Turns a received chunk into a frame of the worker's pool.
    #[inline]
    fn accept(&mut self, entry: XdpDesc, pool: &Pool) -> Option<Frame> {
        let source = self.own.as_ref().unwrap_or(pool);
        let Some(frame) = self.loans.take_back(source, entry.addr, entry.len as usize) else {
            self.stats.rx_refused += 1;
            return None;
        };
        let mut frame = match &self.own {
            None => frame,
            Some(_) => match pool.alloc_from(frame.data()) {
                Some(copy) => copy,
                None => {
                    self.stats.rx_nobuf += 1;
                    return None;
                }
            },
        };
        frame.meta.ingress = self.id;
        Some(frame)
    }

    /// Asks the socket now and then how it is. A socket that is gone finds its successor here, at once.
    #[inline]
    fn look(&mut self, pool: &Pool) {
        self.idle_calls = self.idle_calls.wrapping_add(1);
        let due = self.idle_calls.is_multiple_of(LOOK_EVERY);
        if due || self.seat.link() == LinkState::Gone {
            self.take_replacements(pool);
        }
        if due {
            match self.seat.socket().socket.look() {
                Err(Errno::NETDOWN) => self.seat.set_link(LinkState::Down),
                Err(Errno::NXIO | Errno::NODEV) => self.seat.set_link(LinkState::Gone),
                _ => self.seat.set_link(LinkState::Up),
            }
        }
    }

    /// Has the kernel send what is in the ring. Often one call is enough.
    fn kick(&mut self) {
        self.held = 0;
        self.unsent = false;
        let socket = &self.seat.socket().socket;
        if !socket.tx.needs_wakeup() {
            return;
        }
        for _ in 0..KICKS {
            let before = self.seat.socket().socket.tx.pending();
            if before == 0 && self.seat.link() == LinkState::Up {
                return;
            }
            match self.seat.socket().socket.kick() {
                Ok(()) => {
                    self.seat.set_link(LinkState::Up);
                    return;
                }
                Err(Errno::NETDOWN) => return self.seat.set_link(LinkState::Down),
                Err(Errno::NXIO | Errno::NODEV) => return self.seat.set_link(LinkState::Gone),
                // Not all went; nothing more does until something changes.
                Err(_) if self.seat.socket().socket.tx.pending() == before => break,
                Err(_) => self.reap(),
            }
        }
        self.unsent = self.seat.socket().socket.tx.pending() > 0;
    }

    /// Writes frames from the front of the burst into the ring, up to `room`. Gives how many, and why it stopped before.
    fn write(&mut self, burst: &mut Burst, room: usize) -> (usize, Option<TxStop>) {
        let bound = self.seat.socket_mut();
        let (mut written, mut stop) = (0, None);
        for frame in burst.as_mut_slice().iter_mut().take(room) {
            if frame.len() > bound.largest {
                stop = Some(TxStop::Oversize);
                break;
            }
            let partial = frame.meta.checksum;
            if frame.meta.gso.is_some() || !checksum::finish(frame.data_mut(), partial) {
                stop = Some(TxStop::Refused);
                break;
            }
            frame.meta.checksum = crate::frame::Checksum::Verified;
            let place = match &self.own {
                None => self.loans.offset_of(frame).ok_or(TxStop::Refused),
                Some(own) => own.alloc_from(frame.data()).ok_or(TxStop::Full).and_then(|copy| {
                    let offset = self.loans.offset_of(&copy).ok_or(TxStop::Refused)?;
                    self.loans.lend(copy);
                    Ok(offset)
                }),
            };
            let addr = match place {
                Ok(addr) => addr,
                Err(why) => {
                    stop = Some(why);
                    break;
                }
            };
            let len = frame.len() as u32;
            bound.socket.tx.write(XdpDesc { addr, len, options: XdpDescOptions::empty() });
            self.stats.tx_bytes += u64::from(len);
            written += 1;
        }
        if self.own.is_some() {
            burst.consume(written);
        } else {
            for frame in burst.take(written) {
                self.loans.lend(frame);
            }
        }
        self.stats.tx_packets += written as u64;
        bound.socket.tx.publish();
        (written, stop)
    }
}

impl QueuePair for Queue {
    fn receive(&mut self, pool: &Pool, burst: &mut Burst) -> RxStatus {
        let mut status = RxStatus::default();
        if self.own.is_none() && !self.loans.is_of(pool) {
            // Not the pool these rings were made for: its frames cannot be received into.
            return status;
        }
        self.reap();
        let room = u32::try_from(burst.room()).unwrap_or(u32::MAX);
        for entry in self.seat.socket_mut().socket.rx.ahead(room) {
            self.loans.prefetch(entry.addr);
        }
        // Summed up here and not in the queue, which would have to be written for every frame.
        let (mut taken, mut octets) = (0, 0);
        while taken < room
            && let Some(entry) = self.seat.socket_mut().socket.rx.read()
        {
            taken += 1;
            if let Some(frame) = self.accept(entry, pool) {
                octets += u64::from(entry.len);
                status.received += usize::from(burst.push(frame).is_ok());
            }
        }
        self.waiting = self.waiting.saturating_sub(taken);
        self.stats.rx_packets += status.received as u64;
        self.stats.rx_bytes += octets;
        status.octets = octets;
        self.seat.socket_mut().socket.rx.release();
        if status.received == 0 {
            self.look(pool);
        }
        if self.unsent {
            self.kick();
        }
        self.refill(pool);
        status.link = self.seat.news();
        status
    }

    fn transmit(&mut self, burst: &mut Burst) -> TxStatus {
        let (mut sent, mut stop) = (0, None);
        self.reap();
        if self.seat.link() == LinkState::Down {
            self.kick();
        }
        while !burst.is_empty() && stop.is_none() {
            stop = match self.seat.link() {
                LinkState::Up => None,
                LinkState::Down => Some(TxStop::Down),
                LinkState::Gone => Some(TxStop::Gone),
            };
            if stop.is_some() {
                break;
            }
            let wanted = u32::try_from(burst.len()).unwrap_or(u32::MAX);
            let room = self.seat.socket_mut().socket.tx.room(wanted) as usize;
            let (written, why) = self.write(burst, room);
            sent += written;
            self.held += written as u32;
            if self.held >= self.most_held || room == 0 {
                self.kick();
                self.reap();
            }
            stop = if why.is_none() && written == 0 { Some(TxStop::Full) } else { why };
        }
        self.stats.count_stop(stop, burst.len());
        TxStatus { sent, stop }
    }

    fn hold_back(&mut self, most: usize) {
        self.most_held = u32::try_from(most).unwrap_or(u32::MAX).clamp(1, self.ring);
    }

    fn flush(&mut self) -> bool {
        let held = self.held != 0;
        if held {
            self.kick();
            self.reap();
        }
        held
    }

    fn stats(&self) -> QueueStats {
        let mut sum = self.lost();
        sum.rx_missed += self.seat.socket().program.as_ref().map_or(0, |program| program.missed());
        sum.add(&self.stats);
        sum
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        // Without one the worker looks again soon.
        let calm = self.seat.link() != LinkState::Gone && !self.unsent && self.held == 0;
        calm.then(|| self.seat.socket().socket.fd.as_fd())
    }
}
