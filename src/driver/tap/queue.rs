//! One descriptor of a TAP device as a queue pair.

use crate::driver::interface::Seat;
use crate::driver::vnet::{HEADER_LEN, VnetHeader};
use crate::driver::{LinkState, QueuePair, QueueStats, RxStatus, TxStatus, TxStop};
use crate::frame::{Burst, Frame, Pool};
use crate::net::PortId;
use rustix::io::{Errno, readv, writev};
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

pub(super) struct Queue {
    id: PortId,
    seat: Seat<OwnedFd>,
    stats: QueueStats,
}

impl Queue {
    pub(super) fn new(id: PortId, seat: Seat<OwnedFd>) -> Queue {
        Queue { id, seat, stats: QueueStats::default() }
    }

    /// Reads one frame into a buffer of the pool; `None` when there is none, or no buffer.
    fn read(&mut self, pool: &Pool) -> Option<Result<Frame, Errno>> {
        let Some(mut frame) = pool.alloc() else {
            self.stats.rx_nobuf += 1;
            return None;
        };
        frame.set_len(usize::MAX);
        let mut header = [0; HEADER_LEN];
        let room = frame.data_mut();
        let space = room.len();
        let octets = readv(self.seat.socket(), &mut [IoSliceMut::new(&mut header), IoSliceMut::new(room)]);
        match octets {
            Ok(octets) => {
                // A frame that does not fit is cut by the kernel without a word, so one that just fits is taken for one.
                let len = octets.saturating_sub(HEADER_LEN);
                if len == 0 || len >= space {
                    self.stats.rx_truncated += 1;
                    return Some(Err(Errno::MSGSIZE));
                }
                frame.set_len(len);
                let Some((checksum, gso)) = VnetHeader::from_octets(header).meta(frame.data()) else {
                    self.stats.rx_refused += 1;
                    return Some(Err(Errno::MSGSIZE));
                };
                frame.meta.checksum = checksum;
                frame.meta.gso = gso;
                frame.meta.ingress = self.id;
                Some(Ok(frame))
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(e) => Some(Err(e)),
        }
    }

    fn transmit_error(&mut self, error: Errno) -> TxStop {
        match error {
            Errno::MSGSIZE => TxStop::Oversize,
            Errno::IO => {
                self.seat.set_link(LinkState::Down);
                TxStop::Down
            }
            Errno::BADFD => {
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
        if self.seat.link() == LinkState::Gone {
            while let Some(fresh) = self.seat.replacement() {
                self.seat.take_over(fresh);
            }
        }
        if self.seat.link() != LinkState::Gone {
            for _ in 0..burst.room() {
                match self.read(pool) {
                    None => break,
                    Some(Ok(frame)) => {
                        let (octets, large) = (frame.len() as u64, frame.meta.gso.is_some());
                        if burst.push(frame).is_err() {
                            break;
                        }
                        status.received += 1;
                        status.octets += octets;
                        self.stats.rx_packets += 1;
                        self.stats.rx_bytes += octets;
                        self.stats.rx_super += u64::from(large);
                    }
                    Some(Err(Errno::MSGSIZE)) => {}
                    Some(Err(Errno::BADFD)) => {
                        self.seat.set_link(LinkState::Gone);
                        break;
                    }
                    Some(Err(_)) => break,
                }
            }
        }
        status.link = self.seat.news();
        status
    }

    fn transmit(&mut self, burst: &mut Burst) -> TxStatus {
        let mut sent = 0;
        let mut stop = None;
        if self.seat.link() == LinkState::Gone && !burst.is_empty() {
            stop = Some(TxStop::Gone);
        }
        while stop.is_none()
            && let Some(frame) = burst.as_slice().get(sent)
        {
            let header = VnetHeader::from_meta(&frame.meta).octets();
            match writev(self.seat.socket(), &[IoSlice::new(&header), IoSlice::new(frame.data())]) {
                Ok(_) => {
                    self.stats.tx_bytes += frame.len() as u64;
                    self.stats.tx_super += u64::from(frame.meta.gso.is_some());
                    sent += 1;
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
        self.stats
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        // A descriptor without its device is always ready, with an error.
        (self.seat.link() != LinkState::Gone).then(|| self.seat.socket().as_fd())
    }
}
