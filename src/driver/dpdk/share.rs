//! Which transmit queue a worker sends by when the peer does not receive by all of them.
//!
//! A vhost-user peer enables as many queues as it likes, and changes its mind: a guest starts with one and takes more
//! when it is told to. A worker whose own queue is not enabled sends by another's. One call of a queue at a time is all
//! that drivers allow, so on such a port a queue is claimed for each call; nobody waits longer for it than one call of
//! somebody else takes.

use super::ffi::Port;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Attempts to claim a queue, about as long as a call for a full batch takes.
const ATTEMPTS: usize = 2048;

/// The driver whose peers choose.
pub(super) const DRIVER: &str = "net_vhost";

/// On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Claimed(AtomicBool);

/// The transmit queues of a port and who is sending by them.
#[derive(Debug)]
pub(super) struct Shares {
    claimed: Box<[Claimed]>,
}

impl Shares {
    pub(super) fn new(queues: usize) -> Shares {
        Shares { claimed: (0..queues).map(|_| Claimed::default()).collect() }
    }

    /// Claims the queue by which the worker with queue `own` sends; `None` while somebody else is slow with it. It is
    /// nobody else's until it is released.
    #[inline]
    pub(super) fn claim(&self, own: u16, enabled: &AtomicU64) -> Option<u16> {
        let queue = choose(own, self.of_these(enabled.load(Ordering::Acquire)));
        let claimed = &self.claimed.get(usize::from(queue))?.0;
        for _ in 0..ATTEMPTS {
            if !claimed.load(Ordering::Relaxed) && !claimed.swap(true, Ordering::Acquire) {
                return Some(queue);
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Gives a queue up that the caller claimed.
    #[inline]
    pub(super) fn release(&self, queue: u16) {
        if let Some(place) = self.claimed.get(usize::from(queue)) {
            place.0.store(false, Ordering::Release);
        }
    }

    /// Without what the peer would have enabled beyond the queues there are.
    fn of_these(&self, enabled: u64) -> u64 {
        enabled & u64::MAX >> (64 - self.claimed.len().clamp(1, 64))
    }

    /// How many queues the peer receives by, and how many there are.
    pub(super) fn in_use(&self, enabled: &AtomicU64) -> (u32, usize) {
        (self.of_these(enabled.load(Ordering::Acquire)).count_ones(), self.claimed.len())
    }
}

/// The worker's own queue if it is enabled or if none is, else one of those that are, dealt out in turn.
fn choose(own: u16, enabled: u64) -> u16 {
    if enabled == 0 || enabled >> own & 1 == 1 {
        return own;
    }
    let mut rest = enabled;
    for _ in 0..u32::from(own) % enabled.count_ones() {
        rest &= rest - 1;
    }
    rest.trailing_zeros() as u16
}

/// Follows which queues of a device the peer enables; `None` where the driver has all of them always.
pub(super) fn watch(port: Port, driver: &str, queues: u16) -> Option<&'static AtomicU64> {
    if driver == DRIVER && queues > 1 { port.watch_queues() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_keeps_its_own_queue_where_it_can() {
        for own in 0..64 {
            assert_eq!(choose(own, 0), own);
            assert_eq!(choose(own, u64::MAX), own);
            assert_eq!(choose(own, 1), 0);
            assert_eq!(choose(own, 1 << 63), 63);
        }
        let chosen: Vec<u16> = (0..8).map(|own| choose(own, 0b0010_1100)).collect();
        assert_eq!(chosen, [2, 3, 2, 3, 3, 5, 2, 3]);
    }

    #[test]
    fn queues_beyond_the_ports_do_not_count() {
        let shares = Shares::new(2);
        let enabled = AtomicU64::new(0b1101);
        assert_eq!(shares.in_use(&enabled), (1, 2));
        assert_eq!(shares.claim(1, &enabled), Some(0));
        assert_eq!(Shares::new(64).in_use(&AtomicU64::new(u64::MAX)), (64, 64));
    }

    #[test]
    fn a_queue_is_one_workers_at_a_time() {
        let shares = Shares::new(2);
        let enabled = AtomicU64::new(1);
        assert_eq!(shares.claim(0, &enabled), Some(0));
        assert!(shares.claim(1, &enabled).is_none());
        enabled.store(3, Ordering::Relaxed);
        assert_eq!(shares.claim(1, &enabled), Some(1));
        shares.release(0);
        enabled.store(1, Ordering::Relaxed);
        assert_eq!(shares.claim(1, &enabled), Some(0));
    }
}
