//! One packet socket as a queue pair.

use super::Fresh;
use super::sys::{self, RecvBatch, SendBatch};
use super::vnet::{self, HEADER_LEN};
use crate::driver::{LinkState, QueuePair, QueueStats, RxStatus, TxStatus, TxStop};
use crate::frame::{Burst, Frame, Pool};
use crate::net::PortId;
use rustix::io::Errno;
use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Frames per system call.
const BATCH: usize = 64;

/// While the link is down, so many receive calls pass between two looks at whether the device is gone.
const LOOK_EVERY: u32 = 256;

/// What the queues of a port tell its control.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// One more than the latest attempt whose sockets were found dead; 0 for none.
    dead: AtomicU32,
}

impl Shared {
    fn report_dead(&self, epoch: u32) {
        self.dead.fetch_max(epoch.saturating_add(1), Ordering::AcqRel);
    }

    /// A queue found the sockets of this attempt dead.
    pub(super) fn is_gone(&self, epoch: u32) -> bool {
        self.dead.load(Ordering::Acquire) > epoch
    }
}

pub(super) struct Queue {
    id: PortId,
    current: Fresh,
    replacements: rtrb::Consumer<Fresh>,
    shared: Arc<Shared>,
    link: LinkState,
    /// The link changed and nobody was told yet.
    untold: bool,
    /// Receive calls since the link went down.
    idle_calls: u32,
    rx: RecvBatch,
    tx: SendBatch,
    /// Frames offered to the kernel; empty between calls.
    offered: Vec<Frame>,
    stats: QueueStats,
    /// Frames the kernel dropped; asking resets its count, so the sum is kept here.
    missed: Cell<u64>,
}

impl Queue {
    pub(super) fn new(
        id: PortId,
        link: LinkState,
        current: Fresh,
        replacements: rtrb::Consumer<Fresh>,
        shared: Arc<Shared>,
    ) -> Queue {
        Queue {
            id,
            current,
            replacements,
            shared,
            link,
            untold: false,
            idle_calls: 0,
            rx: RecvBatch::new(BATCH),
            tx: SendBatch::new(BATCH),
            offered: Vec::with_capacity(BATCH),
            stats: QueueStats::default(),
            missed: Cell::new(0),
        }
    }

    fn set_link(&mut self, link: LinkState) {
        if self.link == link {
            return;
        }
        self.link = link;
        self.untold = true;
        self.idle_calls = 0;
        if link == LinkState::Gone {
            self.shared.report_dead(self.current.epoch);
        }
    }

    /// A frame came although the link was down: it is up again, or the frame had waited in the socket.
    fn look_again(&mut self) {
        let socket = self.current.socket.as_fd();
        if sys::link_of(socket, self.current.ifindex) == LinkState::Up {
            self.set_link(LinkState::Up);
        }
    }

    /// With the link down or gone: takes the newest socket the control plane has sent, or finds out
    /// whether this one is dead. The kernel tells a socket that the link went down, and not what follows.
    fn await_return(&mut self) {
        while let Ok(fresh) = self.replacements.pop() {
            self.count_missed();
            self.current = fresh;
            self.set_link(LinkState::Up);
        }
        if self.link == LinkState::Down {
            if self.idle_calls.is_multiple_of(LOOK_EVERY) && sys::is_orphaned(self.current.socket.as_fd()) {
                self.set_link(LinkState::Gone);
            }
            self.idle_calls = self.idle_calls.wrapping_add(1);
        }
    }

    fn count_missed(&self) {
        let more = sys::take_drops(self.current.socket.as_fd()).unwrap_or(0);
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
            Errno::NETDOWN => self.set_link(LinkState::Down),
            Errno::NODEV | Errno::NXIO => self.set_link(LinkState::Gone),
            // The kernel had a frame whose offload it cannot put into a virtio-net header.
            _ => self.stats.rx_refused += 1,
        }
    }

    fn transmit_error(&mut self, error: Errno) -> TxStop {
        match error {
            Errno::MSGSIZE => TxStop::Oversize,
            Errno::NETDOWN => {
                self.set_link(LinkState::Down);
                TxStop::Down
            }
            Errno::NODEV | Errno::NXIO => {
                self.set_link(LinkState::Gone);
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
        if self.link != LinkState::Up {
            self.await_return();
        }
        if self.link != LinkState::Gone {
            self.offer(pool, burst.room());
            let mut offered = std::mem::take(&mut self.offered);
            if !offered.is_empty() {
                match self.rx.receive(self.current.socket.as_fd(), &mut offered) {
                    Ok(count) => {
                        if self.link == LinkState::Down && count > 0 {
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
        if self.untold {
            self.untold = false;
            status.link = Some(self.link);
        }
        status
    }

    fn transmit(&mut self, burst: &mut Burst) -> TxStatus {
        let mut sent = 0;
        let mut stop = None;
        if self.link == LinkState::Gone && !burst.is_empty() {
            stop = Some(TxStop::Gone);
        }
        while stop.is_none() {
            let rest = burst.as_slice().get(sent..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match self.tx.send(self.current.socket.as_fd(), rest) {
                Ok(count) => {
                    for frame in rest.iter().take(count) {
                        self.stats.tx_bytes += frame.len() as u64;
                        self.stats.tx_super += u64::from(frame.meta.gso.is_some());
                    }
                    sent += count;
                    if self.link == LinkState::Down {
                        self.set_link(LinkState::Up);
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
        Some(self.current.socket.as_fd())
    }
}
