//! Which transmit queue a worker sends by when there is not one for each.
//!
//! Some devices have fewer queues than there are workers, and a peer may receive by fewer than the device has: at a
//! vhost-user socket it enables as many as it likes, and changes its mind, as a guest that starts with one and takes
//! more when it is told to. A worker without a queue sends by another's. One call of a queue at a time is all that
//! drivers allow, so on such a port a queue is claimed for each call; nobody waits longer for it than one call of
//! somebody else takes.

use super::ffi::Port;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Attempts to claim a queue, about as long as a call for a full batch takes.
const ATTEMPTS: usize = 2048;

/// The driver whose peers choose, and tell.
pub(super) const VHOST: &str = "net_vhost";

/// A driver whose peers choose too, but it does not tell what came of it, and queues that were not agreed on lie in the
/// memory of those that were. One there is always.
const MEMIF: &str = "net_memif";

/// A driver that gives what was sent to the receiver as it lies, so that what a queue receives must have been sent by the
/// same worker.
const RING: &str = "net_ring";

/// Whether workers may share the queues of a driver's device.
pub(super) fn can_be_shared(driver: &str) -> bool {
    driver != RING
}

/// How many queue pairs of a driver's device can be relied on, of `most` that it has.
pub(super) fn reliable(driver: &str, most: u16) -> u16 {
    if driver == MEMIF { most.min(1) } else { most }
}

/// The transmit queues that can be sent by.
#[derive(Clone, Copy, Debug)]
pub(super) enum Enabled {
    /// The first so many, always.
    First(u16),
    /// Those the peer has enabled by now, a bit each.
    Told(&'static AtomicU64),
}

impl Enabled {
    #[inline]
    fn now(self) -> u64 {
        match self {
            Enabled::First(count) => u64::MAX >> (64 - count.clamp(1, 64)),
            Enabled::Told(mask) => mask.load(Ordering::Acquire),
        }
    }
}

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
    pub(super) fn claim(&self, own: u16, enabled: Enabled) -> Option<u16> {
        let queue = choose(own, self.of_these(enabled.now()));
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
    pub(super) fn in_use(&self, enabled: Enabled) -> (u32, usize) {
        (self.of_these(enabled.now()).count_ones(), self.claimed.len())
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

/// The transmit queues of a device that has `queues` of them for so many workers; `None` where each worker has its own.
/// Before the device is configured.
pub(super) fn watch(port: Port, driver: &str, queues: u16, workers: u16) -> Option<Enabled> {
    if queues < workers {
        return Some(Enabled::First(queues));
    }
    if driver == VHOST && queues > 1 { port.watch_queues().map(Enabled::Told) } else { None }
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

    /// A mask as a peer would tell it.
    fn told(mask: u64) -> &'static AtomicU64 {
        Box::leak(Box::new(AtomicU64::new(mask)))
    }

    #[test]
    fn queues_beyond_the_ports_do_not_count() {
        let shares = Shares::new(2);
        let enabled = Enabled::Told(told(0b1101));
        assert_eq!(shares.in_use(enabled), (1, 2));
        assert_eq!(shares.claim(1, enabled), Some(0));
        assert_eq!(Shares::new(64).in_use(Enabled::First(64)), (64, 64));
    }

    #[test]
    fn a_queue_is_one_workers_at_a_time() {
        let shares = Shares::new(2);
        let mask = told(1);
        let enabled = Enabled::Told(mask);
        assert_eq!(shares.claim(0, enabled), Some(0));
        assert!(shares.claim(1, enabled).is_none());
        mask.store(3, Ordering::Relaxed);
        assert_eq!(shares.claim(1, enabled), Some(1));
        shares.release(0);
        mask.store(1, Ordering::Relaxed);
        assert_eq!(shares.claim(1, enabled), Some(0));
    }

    #[test]
    fn what_a_device_does_not_have_is_shared() {
        assert_eq!((reliable(MEMIF, 8), reliable(MEMIF, 0), reliable("net_ring", 3)), (1, 0, 3));
        let shares = Shares::new(4);
        let queue = |own| shares.claim(own, Enabled::First(2)).inspect(|queue| shares.release(*queue));
        assert_eq!([queue(0), queue(1), queue(2), queue(3)], [Some(0), Some(1), Some(0), Some(1)]);
    }
}
