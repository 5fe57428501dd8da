//! A port whose line is bad: it loses, doubles, reorders and damages what is received, as often as it is told, and
//! counts what it did, so that a test knows what must be noticed.
//!
//! Only IPv4 and IPv6 frames are touched; without ARP nothing would begin.

use crate::driver::{OpenPort, QueuePair, QueueSeed, QueueStats, RxStatus, TxStatus};
use crate::frame::{Burst, Frame, Pool};
use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often a fault happens: to every n-th frame; 0 is never. A frame has one fault at most; the first of the list
/// that falls on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Loses the frame.
    pub lose: u64,
    /// Delivers it twice.
    pub duplicate: u64,
    /// Delivers it behind the next frame.
    pub reorder: u64,
    /// Flips one bit of it, a different one each time.
    pub corrupt: u64,
    /// Frames that pass untouched first.
    pub spare: u64,
}

/// What was done so far, by all queues of the port.
#[derive(Debug, Default)]
pub struct Done {
    /// Frames lost.
    pub lost: AtomicU64,
    /// Frames delivered twice.
    pub duplicated: AtomicU64,
    /// Frames delivered behind their successor.
    pub reordered: AtomicU64,
    /// Frames with a flipped bit.
    pub corrupted: AtomicU64,
}

/// Wraps every queue of a port.
#[must_use]
pub fn wrap(mut port: OpenPort, faults: Faults) -> (OpenPort, Arc<Done>) {
    let done = Arc::new(Done::default());
    port.queues = port
        .queues
        .into_iter()
        .map(|seed| {
            let done = Arc::clone(&done);
            QueueSeed::new(move || {
                Box::new(FaultQueue {
                    inner: seed.start(),
                    faults,
                    done,
                    fresh: Burst::with_limit(BURST),
                    ready: VecDeque::with_capacity(2 * BURST + 1),
                    held: None,
                    seen: 0,
                    flips: 0,
                })
            })
        })
        .collect();
    (port, done)
}

/// Frames asked for at once.
const BURST: usize = 64;

struct FaultQueue {
    inner: Box<dyn QueuePair>,
    faults: Faults,
    done: Arc<Done>,
    fresh: Burst,
    /// Frames to be handed over.
    ready: VecDeque<Frame>,
    /// Waits for its successor.
    held: Option<Frame>,
    seen: u64,
    flips: u64,
}

enum Fault {
    Lose,
    Duplicate,
    Reorder,
    Corrupt,
}

fn is_ip(frame: &Frame) -> bool {
    matches!(frame.data().get(12..14), Some([0x08, 0x00] | [0x86, 0xdd]))
}

impl FaultQueue {
    fn fault(&mut self, frame: &Frame) -> Option<Fault> {
        if !is_ip(frame) {
            return None;
        }
        self.seen += 1;
        let n = self.seen.checked_sub(self.faults.spare).filter(|n| *n > 0)?;
        let hits = |every: u64| every > 0 && n.is_multiple_of(every);
        let Faults { lose, duplicate, reorder, corrupt, .. } = self.faults;
        match () {
            () if hits(lose) => Some(Fault::Lose),
            () if hits(duplicate) => Some(Fault::Duplicate),
            () if hits(reorder) && self.held.is_none() => Some(Fault::Reorder),
            () if hits(corrupt) => Some(Fault::Corrupt),
            () => None,
        }
    }

    /// Gives a frame its fault, if it has one.
    fn take(&mut self, mut frame: Frame, pool: &Pool) {
        let fault = self.fault(&frame);
        let done = &self.done;
        match fault {
            Some(Fault::Lose) => {
                done.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Some(Fault::Duplicate) => {
                if let Some(mut copy) = pool.alloc_from(frame.data()) {
                    copy.meta = frame.meta;
                    done.duplicated.fetch_add(1, Ordering::Relaxed);
                    self.ready.push_back(copy);
                }
            }
            Some(Fault::Reorder) => {
                done.reordered.fetch_add(1, Ordering::Relaxed);
                self.held = Some(frame);
                return;
            }
            Some(Fault::Corrupt) => {
                done.corrupted.fetch_add(1, Ordering::Relaxed);
                self.corrupt(&mut frame);
            }
            None => {}
        }
        let overtakes = is_ip(&frame);
        self.ready.push_back(frame);
        if overtakes && let Some(held) = self.held.take() {
            self.ready.push_back(held);
        }
    }

    /// Flips a bit anywhere behind the link addresses, so that over time each is hit.
    fn corrupt(&mut self, frame: &mut Frame) {
        const FIRST: u64 = 12;
        let bits = (frame.len() as u64).saturating_sub(FIRST) * 8;
        // A step that has no factor in common with the sizes of frames.
        let bit = (self.flips * 10_007) % bits.max(1);
        self.flips += 1;
        if let Some(octet) = frame.data_mut().get_mut((FIRST + bit / 8) as usize) {
            *octet ^= 1 << (bit % 8);
        }
    }
}

impl QueuePair for FaultQueue {
    fn receive(&mut self, pool: &Pool, burst: &mut Burst) -> RxStatus {
        let mut link = None;
        if self.ready.is_empty() {
            link = self.inner.receive(pool, &mut self.fresh).link;
            // Nobody overtakes the last one.
            if self.fresh.is_empty()
                && let Some(held) = self.held.take()
            {
                self.done.reordered.fetch_sub(1, Ordering::Relaxed);
                self.ready.push_back(held);
            }
            let mut fresh = std::mem::replace(&mut self.fresh, Burst::with_limit(0));
            fresh.drain().for_each(|frame| self.take(frame, pool));
            self.fresh = fresh;
        }
        let (mut received, mut octets) = (0, 0);
        while burst.room() > 0
            && let Some(frame) = self.ready.pop_front()
        {
            octets += frame.len() as u64;
            received += usize::from(burst.push(frame).is_ok());
        }
        RxStatus { received, octets, link }
    }

    fn transmit(&mut self, burst: &mut Burst) -> TxStatus {
        self.inner.transmit(burst)
    }

    fn hold_back(&mut self, most: usize) {
        self.inner.hold_back(most);
    }

    fn flush(&mut self) -> bool {
        self.inner.flush()
    }

    fn stats(&self) -> QueueStats {
        self.inner.stats()
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inner.wait_fd()
    }
}
