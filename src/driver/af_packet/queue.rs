//! One packet socket as a queue pair.

use super::sys::{self, RecvBatch, SendBatch};
use crate::driver::interface::{self, Seat};
use crate::driver::vnet::{self, HEADER_LEN};
use crate::driver::{LinkState, QueuePair, QueueStats, RxStatus, TxStatus, TxStop};
use crate::frame::{Burst, Frame, Pool};
use crate::net::PortId;
use rustix::io::Errno;
use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Frames per system call.
const BATCH: usize = 64;

pub(super) struct Queue {
    id: PortId,
    seat: Seat<OwnedFd>,
    rx: RecvBatch,
    tx: SendBatch,
    /// Frames offered to the kernel; empty between calls.
    offered: Vec<Frame>,
    stats: QueueStats,
    /// Frames the kernel dropped; asking resets its count, so the sum is kept here.
    missed: Cell<u64>,
}

impl Queue {
    pub(super) fn new(id: PortId, seat: Seat<OwnedFd>) -> Queue {
        Queue {
            id,
            seat,
            rx: RecvBatch::new(BATCH),
            tx: SendBatch::new(BATCH),
            offered: Vec::with_capacity(BATCH),
            stats: QueueStats::default(),
            missed: Cell::new(0),
        }
    }

    /// A frame came although the link was down: it is up again, or the frame had waited in the socket.
    fn look_again(&mut self) {
        if interface::sys::link_of(self.seat.socket().as_fd(), self.seat.ifindex()) == LinkState::Up {
            self.seat.set_link(LinkState::Up);
        }
    }

    /// With the link down or gone: takes the newest socket the control plane has sent, or finds out
    /// whether this one is dead. The kernel tells a socket that the link went down, and not what follows.
    fn await_return(&mut self) {
        while let Some(fresh) = self.seat.replacement() {
            self.count_missed();
            self.seat.take_over(fresh);
        }
        if self.seat.is_time_to_look() && sys::is_orphaned(self.seat.socket().as_fd()) {
            self.seat.set_link(LinkState::Gone);
        }
    }

    fn count_missed(&self) {
        let more = sys::take_drops(self.seat.socket().as_fd()).unwrap_or(0);
        self.missed.set(self.missed.get() + u64::from(more));
    }

    /// Gets buffers for up to `room` frames.
    fn offer(&mut self, pool: &Pool, room: usize) {
        for _ in 0..room.min(BATCH) {
            match pool.alloc() {
                Some(frame) => self.offered.push(frame),
                None => {
                    self.stats.rx_nobuf += 1;
                    break;
                }
            }
        }
    }

    /// Completes the `index`th frame from what the kernel said about it and adds it to the burst.
    fn accept(&mut self, index: usize, mut frame: Frame, burst: &mut Burst) -> usize {
        let received = self.rx.get(index);
        if received.truncated || received.octets < HEADER_LEN {
            self.stats.rx_truncated += 1;
            return 0;
        }
        frame.set_len(received.octets - HEADER_LEN);
        let Some((checksum, gso)) = received.header.meta(frame.data()) else {
            self.stats.rx_refused += 1;
            return 0;
        };
        frame.meta.checksum = checksum;
        frame.meta.gso = gso;
        frame.meta.ingress = self.id;
        if let Some((tpid, tci)) = received.tag
            && !vnet::insert_tag(&mut frame, tpid, tci)
        {
            self.stats.rx_truncated += 1;
            return 0;
        }
        let octets = frame.len() as u64;
        if burst.push(frame).is_err() {
            return 0;
        }
        self.stats.rx_packets += 1;
        self.stats.rx_bytes += octets;
        self.stats.rx_super += u64::from(gso.is_some());
        1
    }

    fn receive_error(&mut self, error: Errno) {
        match error {
            Errno::AGAIN | Errno::INTR => {}
            Errno::NETDOWN => self.seat.set_link(LinkState::Down),
            Errno::NODEV | Errno::NXIO => self.seat.set_link(LinkState::Gone),
            // The kernel had a frame whose offload it cannot put into a virtio-net header.
            _ => self.stats.rx_refused += 1,
        }
    }

    fn transmit_error(&mut self, error: Errno) -> TxStop {
        match error {
            Errno::MSGSIZE => TxStop::Oversize,
            Errno::NETDOWN => {
                self.seat.set_link(LinkState::Down);
                TxStop::Down
            }
            Errno::NODEV | Errno::NXIO => {
                self.seat.set_link(LinkState::Gone);
                TxStop::Gone
            }
            Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::INTR => TxStop::Full,
            _ => TxStop::Refused,
        }
    }
}

impl QueuePair for Queue {
    fn receive(&mut self, pool: &Pool, burst: &mut Burst) -> RxStatus {
        let mut status = RxStatus::default();
        let before = self.stats.rx_bytes;
        if self.seat.link() != LinkState::Up {
            self.await_return();
        }
        if self.seat.link() != LinkState::Gone {
            self.offer(pool, burst.room());
            let mut offered = std::mem::take(&mut self.offered);
            if !offered.is_empty() {
                match self.rx.receive(self.seat.socket().as_fd(), &mut offered) {
                    Ok(count) => {
                        if self.seat.link() == LinkState::Down && count > 0 {
                            self.look_again();
                        }
                        for (index, frame) in offered.drain(..count.min(BATCH)).enumerate() {
                            status.received += self.accept(index, frame, burst);
                        }
                    }
                    Err(error) => self.receive_error(error),
                }
            }
            // Back in the order they were lent, so that the buffer used last is lent next.
            while offered.pop().is_some() {}
            self.offered = offered;
        }
        status.octets = self.stats.rx_bytes - before;
        status.link = self.seat.news();
        status
    }

    fn transmit(&mut self, burst: &mut Burst) -> TxStatus {
        let mut sent = 0;
        let mut stop = None;
        if self.seat.link() == LinkState::Gone && !burst.is_empty() {
            stop = Some(TxStop::Gone);
        }
        while stop.is_none() {
            let rest = burst.as_slice().get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match self.tx.send(self.seat.socket().as_fd(), rest) {
                Ok(count) => {
                    for frame in rest.iter().take(count) {
                        self.stats.tx_bytes += frame.len() as u64;
                        self.stats.tx_super += u64::from(frame.meta.gso.is_some());
                    }
                    sent += count;
                    if self.seat.link() == LinkState::Down {
                        self.seat.set_link(LinkState::Up);
                    }
                }
                Err(error) => stop = Some(self.transmit_error(error)),
            }
        }
        self.stats.tx_packets += sent as u64;
        burst.consume(sent);
        self.stats.count_stop(stop, burst.len());
        TxStatus { sent, stop }
    }

    fn stats(&self) -> QueueStats {
        self.count_missed();
        QueueStats { rx_missed: self.missed.get(), ..self.stats }
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.seat.socket().as_fd())
    }
}
