//! Sifted or not, the same packets come to the same ends, and those of a flow in the same order.

use super::*;
use crate::frame::{Pool, PoolConfig};
use crate::metrics::{Counters, Layout, RuleCounters};
use crate::net::{Family, Now, Tuple, proto};
use crate::route::ViewConfig;
use crate::shard::shortcut::tests::{Ends, Nobody, Packet, packet, snapshot};
use crate::shard::{ShardConfig, Surroundings};
use crate::steer::{Directory, RingConfig, mesh, owner};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use std::cell::Cell;
use std::sync::Arc;

const POOL: PoolConfig = PoolConfig { buffers: 512, frame_size: 4096 };

struct Router {
    shards: Vec<Shard<Ends>>,
    sent: Vec<(u32, PortId, Vec<u8>)>,
    seq: u32,
}

impl Router {
    fn new(shards: usize, ring: usize, sift: Option<bool>) -> Router {
        let snapshot = Arc::new(snapshot(false, 1));
        let directory = Arc::new(Directory::new(16));
        let shards = mesh(shards, RingConfig { bytes: ring, pool: POOL }).unwrap().into_iter().map(|links| {
            let config = ShardConfig {
                id: links.me,
                shards,
                entries: 1024,
                seed: [1, 2, 3, 4],
                neighbours: ViewConfig::default(),
                fragments: Default::default(),
            };
            let around = Surroundings {
                pool: Pool::new(POOL).unwrap(),
                snapshot: Arc::clone(&snapshot),
                directory: Arc::clone(&directory),
                links,
                upcall: Box::new(Nobody),
                counters: Counters::new(&Layout { ports: 4, workers: shards, helpers: 1 }),
                rules: RuleCounters::unobserved(snapshot.ruleset.slots()),
                watch: Ends::default(),
            };
            let mut shard = Shard::new(&config, around);
            shard.strays.forced = sift;
            shard.strays.sifted = if sift == Some(true) { u64::MAX } else { 0 };
            shard
        });
        Router { shards: shards.collect(), sent: Vec::new(), seq: 0 }
    }

    /// A burst that comes in at one of the shards, and all that follows from it.
    fn feed(&mut self, at: usize, packets: &[Packet], now: Now) {
        let at = at % self.shards.len();
        let shard = &mut self.shards[at];
        let mut burst = Burst::with_limit(packets.len());
        for packet in packets {
            let frame = packet.received(shard.pool(), self.seq);
            self.seq += 1;
            shard.counters.port_rx(frame.meta.ingress, 1, frame.len() as u64);
            burst.push(frame).unwrap();
        }
        shard.process(&mut burst, now);
        self.settle(now);
    }

    fn settle(&mut self, now: Now) {
        while self.shards.iter_mut().map(|shard| shard.take_handoffs(now)).sum::<usize>() > 0 {}
        let sent = &mut self.sent;
        for shard in &mut self.shards {
            shard.flush(|port, queue| {
                sent.extend(queue.drain().map(|frame| (frame.meta.seq, port, frame.data().to_vec())));
                None
            });
        }
    }

    fn ends(&self) -> Vec<(u32, Fate)> {
        let mut ends: Vec<_> = self.shards.iter().flat_map(|shard| shard.watch.0.iter().copied()).collect();
        ends.sort_by_key(|(seq, _)| *seq);
        ends
    }

    /// What was sent of each flow, in the order in which it was.
    fn sent_by_flow<F: Ord>(&self, flows: &[F]) -> Vec<&(u32, PortId, Vec<u8>)> {
        let mut sent: Vec<_> = self.sent.iter().collect();
        // A stable order.
        sent.sort_by(|a, b| flows[a.0 as usize].cmp(&flows[b.0 as usize]));
        sent
    }
}

#[test]
fn sifting_changes_nothing() {
    let (strays, all) = (Cell::new(0), Cell::new(0));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 30,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let bursts = prop::collection::vec((0usize..4, any::<bool>(), prop::collection::vec(packet(6), 1..80)), 1..12);
    let run = runner.run(&(bursts, 2usize..5), |(mut bursts, shards)| {
        bursts.iter_mut().for_each(|(_, _, packets)| packets.sort_by_key(|packet| (packet.reply, packet.far)));
        let now = Now::from_secs(1_700_000_000);
        let mut routers = [Some(true), Some(false), None].map(|sift| Router::new(shards, 1 << 20, sift));
        let mut flows = Vec::new();
        for (at, mixed, packets) in &bursts {
            flows.extend(packets.iter().map(Packet::flow));
            // Each port's for themselves, or all at once.
            let one = |a: &Packet, b: &Packet| *mixed || (a.reply, a.far) == (b.reply, b.far);
            for router in &mut routers {
                packets.chunk_by(one).for_each(|burst| router.feed(*at, burst, now));
            }
        }
        let [with, without, _] = &routers;
        for router in &routers {
            prop_assert_eq!(router.ends(), without.ends());
            prop_assert_eq!(router.sent_by_flow(&flows), without.sent_by_flow(&flows));
            for port in [0, 1, 2, 3].map(PortId) {
                // A packet is received by one shard and sent by another.
                let of = |which: fn(&crate::metrics::Balance) -> u64| {
                    router.shards.iter().map(|shard| which(&shard.counters.balance(port))).sum::<u64>()
                };
                let (out, other) = (of(|b| b.forwarded) + of(|b| b.dropped), of(|b| b.punted) + of(|b| b.held));
                prop_assert_eq!(of(|b| b.received), out + other);
            }
            prop_assert!(router.shards.iter().all(|shard| shard.strays.awaited == 0));
        }
        strays.set(strays.get() + with.shards.iter().map(|shard| shard.strays.sifted_out).sum::<u64>());
        prop_assert!(without.shards.iter().all(|shard| shard.strays.sifted_out == 0));
        all.set(all.get() + flows.len() as u64);
        Ok(())
    });
    run.unwrap();
    assert!(strays.get() * 10 > all.get(), "{} of {}", strays.get(), all.get());
}

proptest! {
    #[test]
    fn a_glance_tells_the_owner(packet in packet(200), shards in 2usize..=64) {
        let mut router = Router::new(2, 1 << 16, None);
        let shard = &mut router.shards[0];
        shard.strays.homes = Homes::new(shards);
        let frame = packet.received(shard.pool(), 0);
        if let Some(home) = home_at_a_glance(shard, frame.meta.ingress, &frame) {
            let parsed = crate::wire::parse(frame.data(), crate::wire::Verify::Trust).unwrap();
            let Tuple { src, dst, src_key, dst_key, proto, family } = parsed.summary.tuple;
            prop_assert_eq!(home, owner(&Tuple { src, dst, src_key, dst_key, proto, family }, shards));
            prop_assert!(matches!((proto, family), (proto::TCP | proto::UDP, Family::V4 | Family::V6)));
        }
    }
}

fn home_at_a_glance(shard: &Shard<Ends>, ingress: PortId, frame: &Frame) -> Option<ShardId> {
    let mut homes = [0; BURST];
    let (told, owners) = shard.homes_at_a_glance(ingress, std::slice::from_ref(frame), &mut homes);
    assert_eq!((told.min(1), owners), (told, if told == 0 { 0 } else { 1 << homes[0] }));
    (told != 0).then_some(ShardId(homes[0]))
}

fn run_of(packets: usize) -> Vec<Packet> {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = prop::collection::vec(packet(50), packets);
    strategy.new_tree(&mut runner).unwrap().current()
}

#[test]
fn what_the_ring_has_no_room_for_is_counted() {
    let now = Now::from_secs(1_700_000_000);
    // Room for the largest frame, or a few small ones.
    let mut router = Router::new(2, 4160, None);
    for _ in 0..2 {
        router.feed(0, &run_of(80), now);
    }
    let dropped: u64 =
        (0..4).map(|port| router.shards[0].counters.dropped(PortId(port), DropReason::HandoffFull)).sum();
    assert!(dropped > 10);
    let full = router.ends().iter().filter(|(_, fate)| fate.end == End::Drop(DropReason::HandoffFull)).count();
    assert_eq!((router.ends().len(), full as u64), (160, dropped));
}

#[test]
fn a_port_is_sifted_as_long_as_many_of_its_packets_are_strays() {
    let now = Now::from_secs(1_700_000_000);
    let mut router = Router::new(2, 1 << 20, None);
    let of = |home: u8| -> Vec<Packet> {
        let mut router = Router::new(2, 1 << 16, None);
        let shard = &mut router.shards[0];
        let packets = run_of(400).into_iter().filter(|packet| {
            let frame = packet.received(shard.pool(), 0);
            home_at_a_glance(shard, PortId(0), &frame) == Some(ShardId(home))
        });
        packets.take(16).collect()
    };
    let (own, strays) = (of(0), of(1));
    let sifted = |router: &Router| (router.shards[0].strays.sifted, router.shards[0].strays.sifted_out);
    router.feed(0, &own, now);
    assert_eq!(sifted(&router), (0, 0));
    router.feed(0, &strays, now);
    assert_eq!(sifted(&router), (1, 0));
    router.feed(0, &strays, now);
    assert_eq!(sifted(&router), (1, 16));
    router.feed(0, &own, now);
    assert_eq!(sifted(&router), (0, 16));
}
