//! A packet costs no allocation: not that of an established connection, not that which opens one, not a mix.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of it is test code")]

use flowgate::bench::load::Flows;
use flowgate::bench::seat::Router;
use flowgate::bench::{Workload, feed::Chunk};
use flowgate::frame::Checksum;
use flowgate::net::Family;
use flowgate::worker::Clock;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

fn allocations() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

/// Allocations while a worker passes some thousand packets of a workload, after as many to warm up.
fn counted(workload: Workload, family: Family) -> usize {
    let flows = 500;
    let mut router = Router::new(1, workload.entries(flows), Clock::start()).unwrap();
    let mut seat = router.seeds.pop().unwrap().sit().unwrap();
    let mut load = workload.load(family, Flows::First(flows));
    let chunk = || Chunk::new(workload.lines(family), Checksum::Unknown, router.ways);
    let mut pass = |chunk: Chunk| {
        let wanted = (chunk.frames() as u64, chunk.digest());
        seat.post(&Arc::new(chunk));
        let before = allocations();
        seat.turn_until_idle();
        let counted = allocations() - before;
        assert_eq!(seat.tally().take(), wanted, "{workload:?} {family:?}");
        counted
    };
    let mut first = chunk();
    while load.set_up(&mut first) {
        pass(std::mem::replace(&mut first, chunk()));
    }
    let mut counted = 0;
    for _ in 0..3 {
        let mut next = chunk();
        load.fill(&mut next, 6000);
        counted = pass(next);
    }
    counted
}

/// One test alone, for the allocator counts what all threads do.
#[test]
fn no_packet_allocates() {
    assert!(allocations() > 0, "the counting allocator is in use");
    for family in Family::ALL {
        for workload in Workload::ALL {
            assert_eq!(counted(workload, family), 0, "{workload:?} {family:?}");
        }
    }
}
