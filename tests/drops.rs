//! Every reason to drop a packet, provoked.
//!
//! Most reasons are provoked by packets alone, through a session. The rest needs a shard whose surroundings fail:
//! a full ring, a control plane that takes nothing, a port that is down.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is test code")]

mod common;

use common::*;
use flowgate::cli::replay::session::{Options, fragment_limits};
use flowgate::frag::Limits;
use flowgate::frame::{Burst, Checksum, Frame, Pool, PoolConfig};
use flowgate::metrics::{Counters, Layout, RuleCounters};
use flowgate::net::{DropReason, Now, PortId};
use flowgate::route::{NeighbourEvent, NeighbourKey, ViewConfig};
use flowgate::shard::{Shard, ShardConfig, Snapshot, Surroundings, TX_QUEUE, Unwatched, Upcall};
use flowgate::steer::{Directory, RingConfig, mesh};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Packets, one after the other, the last of which is dropped for a reason.
struct Case {
    reason: DropReason,
    sections: &'static str,
    packets: Vec<(&'static str, Vec<u8>)>,
}

fn case(reason: DropReason, sections: &'static str, packets: Vec<(&'static str, Vec<u8>)>) -> Case {
    Case { reason, sections, packets }
}

const FTP: &str = "helpers: { ftp: { type: ftp, l4proto: tcp, ports: [21] } }\n";
const PER_SOURCE: &str = "conntrack: { per_source: 1 }\n";
const ZONE_LIMIT: &str = "conntrack: { zones: { lan: { id: 5, limit: 1 } } }\n";
/// Zones whose replies are alike.
const ZONES: &str =
    "conntrack: { zones: { lan: { id: 5, direction: original }, wan: { id: 6, direction: original } } }\n";
const DROP: &str = "chains: { forward: { rules: [{ id: no, iif: lan, verdict: drop }] } }\n";

fn good(pair: Pair) -> Vec<u8> {
    udp(pair.client, pair.server, (1, 2), b"data")
}

/// `good`, with one octet of the frame changed.
fn changed(pair: Pair, at: usize, to: u8) -> Vec<u8> {
    let mut frame = good(pair);
    frame[at] = to;
    frame
}

/// A packet with a loose source route.
fn source_routed() -> Vec<u8> {
    let mut frame = good(V4);
    frame.splice(LINK + 20..LINK + 20, [131, 7, 4, 10, 0, 2, 9, 0]);
    frame[LINK] += 2;
    frame[LINK + 3] += 8;
    seal(&mut frame);
    frame
}

/// Nine destination options headers.
fn too_many_extensions() -> Vec<u8> {
    let mut payload = Vec::new();
    for n in 0..9 {
        payload.extend([if n == 8 { 17 } else { 60 }, 0, 1, 4, 0, 0, 0, 0]);
    }
    payload.extend([0; 8]);
    raw(V6.client, V6.server, 60, &payload)
}

fn cases() -> Vec<Case> {
    use DropReason::*;
    let mut cases = vec![
        case(Ipv4Header, OPEN, vec![("lan", changed(V4, LINK, 0x55))]),
        case(Ipv4Header, OPEN, vec![("lan", changed(V4, LINK + 10, 0x77))]),
        case(Ipv6Header, OPEN, vec![("lan", changed(V6, LINK, 0x45))]),
        case(IpOptions, OPEN, vec![("lan", source_routed())]),
        case(Ipv6ExtLimit, OPEN, vec![("lan", too_many_extensions())]),
        case(Blackhole, OPEN, vec![("lan", udp(V4.client, "10.9.0.1", (1, 2), b""))]),
        case(MtuExceeded, OPEN, vec![("lan", with_df(udp(V4.client, V4.small, (1, 2), &[0; 1300])))]),
        case(MtuExceeded, OPEN, vec![("lan", udp(V6.client, V6.small, (1, 2), &[0; 1300]))]),
    ];
    for pair in BOTH {
        let parts = |size| pieces(&udp(pair.client, pair.server, (1, 2), &[1; 60]), size, 7);
        let overlapping = {
            let mut second = parts(16).remove(1);
            // Begins eight octets too early, inside the first.
            let at = if is_v4(&second) { LINK + 7 } else { LINK + 43 };
            second[at] -= if is_v4(&second) { 1 } else { 8 };
            if is_v4(&second) {
                seal(&mut second);
            }
            second
        };
        let ports = (4000, 21);
        let malformed = vec![
            ("lan", pair.up(ports, "S", (0, 0), b"")),
            ("wan", pair.down(ports, "S.", (0, 1), b"")),
            ("lan", pair.up(ports, ".", (1, 1), b"USER x\r\n")),
            ("lan", pair.up(ports, ".", (9, 1), b"PORT")),
        ];
        let second = udp(pair.client, pair.server, (3, 2), b"data");
        let group = if is_v4(&good(pair)) { "224.0.0.5" } else { "ff02::5" };
        cases.extend([
            case(RxTruncated, OPEN, vec![("lan", good(pair)[..30].to_vec())]),
            case(BadEthertype, OPEN, vec![("lan", changed(pair, 12, 0x99))]),
            case(NotForUs, OPEN, vec![("lan", udp(pair.client, group, (1, 2), b""))]),
            case(NotForUs, OPEN, vec![("lan", changed(pair, 0, 0x01))]),
            case(VlanUnknown, OPEN, vec![("lan", with_tags(&good(pair), &[(0x8100, 9)]))]),
            case(TtlExpired, OPEN, vec![("lan", with_ttl(good(pair), 1))]),
            case(MartianSource, OPEN, vec![("lan", udp(pair.lan, pair.server, (1, 2), b""))]),
            case(FragmentOverlap, OPEN, vec![("lan", parts(16).remove(0)), ("lan", overlapping)]),
            case(PolicyRule, DROP, vec![("lan", good(pair))]),
            case(PolicyDefault, STANCE, vec![("wan", good(pair))]),
            case(HelperMalformed, FTP, malformed),
            case(NoRoute, OPEN, vec![("lan", udp(pair.client, pair.nowhere, (1, 2), b""))]),
            case(CtSourceLimit, PER_SOURCE, vec![("lan", good(pair)), ("lan", second.clone())]),
            case(CtZoneLimit, ZONE_LIMIT, vec![("lan", good(pair)), ("lan", second)]),
            case(CtClash, ZONES, vec![("lan", good(pair)), ("wan", good(pair))]),
        ]);
    }
    cases
}

fn by_packets(provoked: &mut BTreeSet<DropReason>) {
    for Case { reason, sections, packets } in cases() {
        let mut router = Router::new(sections);
        let (last, first) = packets.split_last().unwrap();
        for (port, frame) in first {
            assert_eq!(router.send(port, frame).reason(), None, "{reason}: before");
        }
        assert_eq!(router.send(last.0, &last.1).reason(), Some(reason), "{reason}");
        let ports: u64 = (0..5).map(|n| router.session.counters().dropped(PortId(n), reason)).sum();
        assert!(ports >= 1, "{reason} is counted");
        provoked.insert(reason);
    }
}

fn by_configuration(provoked: &mut BTreeSet<DropReason>) {
    for pair in BOTH {
        // A port that knows its own link address takes no frames to others.
        let mut strict = snapshot(OPEN);
        strict.ports[0].check_destination = true;
        let mut router = Router::with(strict, &Options::default());
        assert_eq!(router.judge("lan", &good(pair)), "NONE - not_for_us");

        let tiny = snapshot("conntrack: { on_full: drop }\n");
        let mut router = Router::with(tiny, &Options { max_entries: 2, ..Options::default() });
        let last = (0..100).map(|n| router.send("lan", &udp(pair.client, pair.server, (n, 2), b""))).last().unwrap();
        assert_eq!(last.reason(), Some(DropReason::CtTableFull));
        provoked.insert(DropReason::CtTableFull);

        let few = Limits { fragments: 2, ..fragment_limits([4 << 20; 2], [30_000, 60_000]) };
        let mut router = Router::with(snapshot(OPEN), &Options { fragments: few, ..Options::default() });
        let part = |id| pieces(&udp(pair.client, pair.server, (1, 2), &[1; 60]), 16, id).remove(0);
        assert_eq!(router.judge("lan", &part(1)), "NONE - held");
        assert_eq!(router.judge("lan", &part(2)), "NONE - held");
        assert_eq!(router.judge("lan", &part(3)), "NONE - fragment_limit");
        provoked.insert(DropReason::FragmentLimit);

        router.wait(61_000);
        let counters = router.session.counters();
        assert_eq!(counters.dropped(router.port("lan"), DropReason::FragmentTimeout), 2);
        assert_eq!(counters.balance(router.port("lan")).held, 0);
        provoked.insert(DropReason::FragmentTimeout);
    }
}

/// A control plane that takes punted frames or does not.
struct Control(bool);

impl Upcall for Control {
    fn punt(&mut self, _port: PortId, _frame: &[u8]) -> bool {
        self.0
    }

    fn resolve(&mut self, _key: NeighbourKey) {}
}

/// A shard and what is around it, to be spoiled.
struct Bare {
    shard: Shard,
    burst: Burst,
}

struct Spoil {
    snapshot: Snapshot,
    buffers: usize,
    shards: usize,
    punts: bool,
    view: ViewConfig,
}

impl Default for Spoil {
    fn default() -> Self {
        Spoil { snapshot: snapshot(OPEN), buffers: 4096, shards: 1, punts: true, view: ViewConfig::default() }
    }
}

impl Bare {
    fn new(spoil: Spoil) -> Bare {
        let pool = PoolConfig { buffers: spoil.buffers, frame_size: 2048 };
        let mut links = mesh(spoil.shards, RingConfig { bytes: 4096, pool }).unwrap();
        let config = ShardConfig {
            id: links[0].me,
            shards: spoil.shards,
            entries: 1024,
            seed: [9; 4],
            neighbours: spoil.view,
            fragments: Limits::default(),
        };
        let layout = Layout { ports: spoil.snapshot.ports.len(), workers: spoil.shards, helpers: 0 };
        let around = Surroundings {
            pool: Pool::new(pool).unwrap(),
            rules: RuleCounters::unobserved(spoil.snapshot.ruleset.slots()),
            snapshot: Arc::new(spoil.snapshot),
            directory: Arc::new(Directory::new(16)),
            links: links.remove(0),
            upcall: Box::new(Control(spoil.punts)),
            counters: Counters::new(&layout),
            watch: Unwatched,
        };
        Bare { shard: Shard::new(&config, around), burst: Burst::with_limit(1) }
    }

    /// One packet by the lan, as `change` leaves it; what is sent stays in the queues.
    fn feed(&mut self, octets: &[u8], now: Now, change: impl FnOnce(&mut Frame)) {
        let mut frame = self.shard.pool().alloc_from(octets).unwrap();
        change(&mut frame);
        self.shard.counters.port_rx(frame.meta.ingress, 1, octets.len() as u64);
        self.burst.push(frame).unwrap();
        self.shard.process(&mut self.burst, now);
    }

    /// So many packets from the lan were dropped for this reason, and every other one is accounted for.
    #[track_caller]
    fn assert_dropped(&mut self, reason: DropReason, count: u64, provoked: &mut BTreeSet<DropReason>) {
        self.shard.flush(|_, queue| {
            queue.consume(usize::MAX);
            None
        });
        assert_eq!(self.shard.counters.dropped(PortId(0), reason), count, "{reason}");
        let balance = self.shard.counters.balance(PortId(0));
        assert!(balance.is_even(), "{reason}: {balance:?}");
        provoked.insert(reason);
    }
}

const NOW: Now = Now(1_000_000_000);

fn by_surroundings(provoked: &mut BTreeSet<DropReason>) {
    for pair in BOTH {
        let frame = good(pair);
        let keep = |_: &mut Frame| {};

        let mut bare = Bare::new(Spoil::default());
        bare.feed(&frame, NOW, |frame| frame.meta.checksum = Checksum::Partial { start: 5000, offset: 6 });
        bare.assert_dropped(DropReason::RxChecksum, 1, provoked);

        let mut bare = Bare::new(Spoil::default());
        bare.feed(&frame, NOW, |frame| frame.meta.ingress = PortId(77));
        assert_eq!(bare.shard.counters.balance(PortId(0)).received, 0, "a port nobody counts for any more");
        provoked.insert(DropReason::ReloadRemovedPort);

        let mut bare = Bare::new(Spoil { punts: false, ..Spoil::default() });
        let mut arp = vec![0xff; 12];
        arp.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        arp.extend([2; 20]);
        bare.feed(&arp, NOW, keep);
        bare.assert_dropped(DropReason::PuntFull, 1, provoked);

        let mut bare = Bare::new(Spoil::default());
        for _ in 0..TX_QUEUE + 3 {
            bare.feed(&frame, NOW, keep);
        }
        bare.assert_dropped(DropReason::TxRingFull, 3, provoked);

        let mut bare = Bare::new(Spoil::default());
        bare.feed(&frame, NOW, keep);
        bare.shard.flush(|_, _| Some(DropReason::PortDown));
        bare.assert_dropped(DropReason::PortDown, 1, provoked);

        // The other shard never empties its ring.
        let mut bare = Bare::new(Spoil { shards: 2, ..Spoil::default() });
        for port in 0..400 {
            bare.feed(&udp(pair.client, pair.server, (port, 2), b"data"), NOW, keep);
        }
        let lost = bare.shard.counters.dropped(PortId(0), DropReason::HandoffFull);
        let balance = bare.shard.counters.balance(PortId(0));
        assert!(lost > 50 && lost < 250, "{lost} of 400");
        // Those in the ring are the other shard's to account for.
        assert!(balance.received > balance.forwarded + balance.dropped);
        provoked.insert(DropReason::HandoffFull);
    }

    // Cutting a datagram needs buffers.
    let mut bare = Bare::new(Spoil { buffers: 2, ..Spoil::default() });
    bare.feed(&udp(V4.client, V4.small, (1, 2), &[0; 1900]), NOW, |_| {});
    bare.assert_dropped(DropReason::BufferExhausted, 1, provoked);
}

fn by_neighbours(provoked: &mut BTreeSet<DropReason>) {
    for pair in BOTH {
        let asking = || {
            let mut snapshot = snapshot(OPEN);
            snapshot.assume_neighbours = false;
            Spoil { snapshot, view: ViewConfig { queue_each: 2, ..ViewConfig::default() }, ..Spoil::default() }
        };
        let mut bare = Bare::new(asking());
        for _ in 0..5 {
            bare.feed(&good(pair), NOW, |_| {});
        }
        bare.assert_dropped(DropReason::NeighbourQueue, 3, provoked);
        assert_eq!(bare.shard.counters.balance(PortId(0)).held, 2);
        // Nobody answers.
        bare.shard.housekeep(Now::from_secs(60), 0);
        bare.assert_dropped(DropReason::NeighbourUnresolved, 2, provoked);
        assert_eq!(bare.shard.counters.balance(PortId(0)).held, 0);

        // Somebody does: what waited leaves.
        let mut bare = Bare::new(asking());
        bare.feed(&good(pair), NOW, |_| {});
        let family = flowgate::net::Family::from(ip(pair.server));
        let key = NeighbourKey { port: PortId(1), family, addr: ip(pair.server).into() };
        bare.shard.neighbour(&NeighbourEvent::Update { key, mac: flowgate::net::MacAddr([2; 6]) }, NOW);
        let mut out = Vec::new();
        bare.shard.flush(|port, queue| {
            out.extend(queue.drain().map(|frame| (port, frame.data().to_vec())));
            None
        });
        let [(port, frame)] = out.as_slice() else { panic!("{out:?}") };
        assert_eq!((*port, &frame[..6], ttl(frame)), (PortId(1), &[2; 6][..], 63));
        verified(frame);
        let balance = bare.shard.counters.balance(PortId(0));
        assert_eq!((balance.forwarded, balance.held), (1, 0));
    }
}

#[test]
fn every_reason_is_provoked_and_counted() {
    let mut provoked = BTreeSet::new();
    by_packets(&mut provoked);
    by_configuration(&mut provoked);
    by_surroundings(&mut provoked);
    by_neighbours(&mut provoked);
    let missing: Vec<_> = DropReason::ALL.iter().filter(|reason| !provoked.contains(reason)).collect();
    assert!(missing.is_empty(), "{missing:?} want a case here");
}
