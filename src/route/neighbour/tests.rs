use super::*;
use crate::net::{Addr, Family};
use NeighbourAction::{Event, Probe};
use proptest::prelude::*;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const REPLY: Fact = Fact::ArpReply { unicast: true };

fn key(n: u32) -> NeighbourKey {
    NeighbourKey { port: PortId(0), family: Family::V4, addr: Addr::v4(0x0a00_0100 + n) }
}

fn key6(n: u64) -> NeighbourKey {
    NeighbourKey { port: PortId(1), family: Family::V6, addr: Addr { hi: 0x2001_0db8 << 32, lo: n } }
}

fn update(key: NeighbourKey, mac: MacAddr) -> NeighbourAction {
    Event(NeighbourEvent::Update { key, mac })
}

fn failed(key: NeighbourKey) -> NeighbourAction {
    Event(NeighbourEvent::Failed { key })
}

fn forget(key: NeighbourKey) -> NeighbourAction {
    Event(NeighbourEvent::Forget { key })
}

fn ask(key: NeighbourKey) -> NeighbourAction {
    Probe { key, to: ProbeTo::Group }
}

fn reask(key: NeighbourKey, mac: MacAddr) -> NeighbourAction {
    Probe { key, to: ProbeTo::Unicast(mac) }
}

/// One step of a scenario.
enum Do {
    Resolve,
    Used,
    Learn(MacAddr, Fact),
    /// An advertisement without a link address.
    Bare(Fact),
    Tick,
    LinkDown,
}

/// Drives one table through a scenario on `key`: (millisecond, step, actions wanted, state wanted).
struct Script {
    table: NeighbourTable,
    key: NeighbourKey,
}

impl Script {
    fn new(key: NeighbourKey) -> Self {
        Script { table: NeighbourTable::new(NeighbourConfig::default()), key }
    }

    #[track_caller]
    fn at(&mut self, ms: u64, step: Do, want: &[NeighbourAction], state: Option<Nud>) -> &mut Self {
        let (now, key, mut out) = (Now::from_millis(ms), self.key, vec![]);
        match step {
            Do::Resolve => self.table.resolve(key, now, &mut out),
            Do::Used => self.table.used(key, now),
            Do::Learn(mac, fact) => self.table.learn(key, Some(mac), fact, now, &mut out),
            Do::Bare(fact) => self.table.learn(key, None, fact, now, &mut out),
            Do::Tick => self.table.tick(now, &mut out),
            Do::LinkDown => self.table.link_down(key.port, &mut out),
        }
        assert_eq!(out, want, "at {ms} ms");
        assert_eq!(self.table.state(key), state, "at {ms} ms");
        self
    }
}

#[test]
fn resolves_ages_is_asked_again_and_fails() {
    for k in [key(9), key6(9)] {
        let answer = if k.family == Family::V4 { REPLY } else { Fact::Advert { solicited: true, override_: true } };
        Script::new(k)
            .at(0, Do::Resolve, &[ask(k)], Some(Nud::Incomplete))
            .at(10, Do::Resolve, &[], Some(Nud::Incomplete))
            .at(999, Do::Tick, &[], Some(Nud::Incomplete))
            .at(1000, Do::Tick, &[ask(k)], Some(Nud::Incomplete))
            .at(1200, Do::Learn(A, answer), &[update(k, A)], Some(Nud::Reachable))
            // Trusted for 15 to 45 seconds.
            .at(16_199, Do::Tick, &[], Some(Nud::Reachable))
            .at(46_300, Do::Tick, &[], Some(Nud::Stale))
            .at(50_000, Do::Used, &[], Some(Nud::Delay))
            .at(54_999, Do::Tick, &[], Some(Nud::Delay))
            .at(55_000, Do::Tick, &[reask(k, A)], Some(Nud::Probe))
            .at(55_500, Do::Learn(A, answer), &[], Some(Nud::Reachable))
            .at(100_600, Do::Tick, &[], Some(Nud::Stale))
            .at(100_700, Do::Used, &[], Some(Nud::Delay))
            .at(105_700, Do::Tick, &[reask(k, A)], Some(Nud::Probe))
            .at(106_700, Do::Tick, &[reask(k, A)], Some(Nud::Probe))
            .at(107_700, Do::Tick, &[reask(k, A)], Some(Nud::Probe))
            .at(108_699, Do::Tick, &[], Some(Nud::Probe))
            .at(108_700, Do::Tick, &[failed(k)], Some(Nud::Failed))
            // The next packet starts over with everybody.
            .at(108_800, Do::Resolve, &[ask(k)], Some(Nud::Incomplete));
    }
}

#[test]
fn in_use_it_never_turns_stale() {
    let k = key(9);
    let mut s = Script::new(k);
    s.at(0, Do::Resolve, &[ask(k)], Some(Nud::Incomplete));
    s.at(1, Do::Learn(A, REPLY), &[update(k, A)], Some(Nud::Reachable));
    s.at(44_000, Do::Used, &[], Some(Nud::Reachable));
    s.at(45_100, Do::Tick, &[], Some(Nud::Delay));
    s.at(50_100, Do::Tick, &[reask(k, A)], Some(Nud::Probe));
    // Traffic goes on meanwhile: a shard that asks is told.
    s.at(50_200, Do::Resolve, &[update(k, A)], Some(Nud::Probe));
}

#[test]
fn nobody_answers() {
    let k = key(9);
    Script::new(k)
        .at(0, Do::Resolve, &[ask(k)], Some(Nud::Incomplete))
        .at(1000, Do::Tick, &[ask(k)], Some(Nud::Incomplete))
        .at(2000, Do::Tick, &[ask(k)], Some(Nud::Incomplete))
        .at(3000, Do::Tick, &[failed(k)], Some(Nud::Failed))
        .at(4000, Do::Tick, &[], Some(Nud::Failed))
        // Late, but ARP takes it.
        .at(5000, Do::Learn(A, REPLY), &[update(k, A)], Some(Nud::Reachable));
    Script::new(k)
        .at(0, Do::Resolve, &[ask(k)], Some(Nud::Incomplete))
        .at(1000, Do::Tick, &[ask(k)], Some(Nud::Incomplete))
        .at(2000, Do::Tick, &[ask(k)], Some(Nud::Incomplete))
        .at(3000, Do::Tick, &[failed(k)], Some(Nud::Failed))
        .at(3001, Do::Learn(A, Fact::Advert { solicited: true, override_: true }), &[], Some(Nud::Failed))
        .at(60_000, Do::Tick, &[], None);
}

#[test]
fn what_creates_and_what_only_refreshes() {
    let k = key(9);
    for fact in [
        Fact::ArpMention,
        REPLY,
        Fact::Gratuitous,
        Fact::Advert { solicited: true, override_: true },
        Fact::Advert { solicited: false, override_: true },
    ] {
        Script::new(k).at(0, Do::Learn(A, fact), &[], None);
    }
    Script::new(k)
        .at(0, Do::Learn(A, Fact::AskedUs), &[update(k, A)], Some(Nud::Stale))
        .at(10, Do::Learn(A, Fact::AskedUs), &[], Some(Nud::Stale))
        .at(20, Do::Learn(B, Fact::AskedUs), &[update(k, B)], Some(Nud::Stale))
        // A group address is no host's.
        .at(30, Do::Learn(MacAddr::BROADCAST, Fact::AskedUs), &[], Some(Nud::Stale))
        .at(40, Do::Learn(MacAddr::default(), Fact::AskedUs), &[], Some(Nud::Stale));
}

/// Starts with a reachable neighbour at `A`, confirmed at 0.
fn reachable(k: NeighbourKey) -> Script {
    let mut s = Script::new(k);
    s.at(0, Do::Resolve, &[ask(k)], Some(Nud::Incomplete));
    s.at(0, Do::Learn(A, Fact::Advert { solicited: true, override_: false }), &[update(k, A)], Some(Nud::Reachable));
    s
}

#[test]
fn a_changed_link_address() {
    let k = key(9);
    let advert = |solicited, override_| Fact::Advert { solicited, override_ };
    let (moved, same) = (vec![update(k, B)], vec![]);
    for (at, fact, want, state) in [
        (500, Fact::AskedUs, &moved, Nud::Stale),
        (500, Fact::Gratuitous, &moved, Nud::Stale),
        // Within a second of the last answer other ARP messages change nothing.
        (1000, Fact::ArpMention, &same, Nud::Reachable),
        (1001, Fact::ArpMention, &moved, Nud::Stale),
        (1000, REPLY, &same, Nud::Reachable),
        (1001, REPLY, &moved, Nud::Reachable),
        (1001, Fact::ArpReply { unicast: false }, &moved, Nud::Stale),
        (500, advert(true, true), &moved, Nud::Reachable),
        (500, advert(false, true), &moved, Nud::Stale),
        (500, advert(true, false), &same, Nud::Stale),
        (500, advert(false, false), &same, Nud::Stale),
    ] {
        reachable(k).at(at, Do::Learn(B, fact), want, Some(state));
    }
}

#[test]
fn the_same_link_address_again() {
    let k = key6(9);
    let advert = |solicited, override_| Fact::Advert { solicited, override_ };
    for (fact, confirmed) in [
        (Fact::AskedUs, false),
        (Fact::Gratuitous, false),
        (Fact::ArpMention, false),
        (Fact::ArpReply { unicast: false }, false),
        (REPLY, true),
        (advert(false, true), false),
        (advert(true, false), true),
        (advert(true, true), true),
    ] {
        let after = if confirmed { Nud::Reachable } else { Nud::Stale };
        reachable(k).at(50_000, Do::Tick, &[], Some(Nud::Stale)).at(50_001, Do::Learn(A, fact), &[], Some(after));
    }
    // Without the option only the S flag says something.
    reachable(k)
        .at(50_000, Do::Tick, &[], Some(Nud::Stale))
        .at(50_001, Do::Bare(advert(false, true)), &[], Some(Nud::Stale))
        .at(50_002, Do::Bare(advert(true, false)), &[], Some(Nud::Reachable));
    let mut s = Script::new(k);
    s.at(0, Do::Resolve, &[ask(k)], Some(Nud::Incomplete));
    s.at(1, Do::Bare(advert(true, true)), &[], Some(Nud::Incomplete));
}

#[test]
fn an_unasked_first_address_is_probed_soon() {
    let k = key(9);
    Script::new(k)
        .at(0, Do::Resolve, &[ask(k)], Some(Nud::Incomplete))
        .at(100, Do::Learn(A, Fact::AskedUs), &[update(k, A)], Some(Nud::Delay))
        .at(5100, Do::Tick, &[reask(k, A)], Some(Nud::Probe));
}

#[test]
fn a_flapping_link_forgets_what_was_learnt() {
    let (k, p) = (key(9), key(1));
    let mut s = Script::new(k);
    let mut out = vec![];
    s.table.set_permanent(&[(p, B), (key6(1), B)], Now(0), &mut out);
    assert_eq!(out, [update(p, B), update(key6(1), B)]);
    s.at(0, Do::Resolve, &[ask(k)], Some(Nud::Incomplete));
    s.at(1, Do::Learn(A, REPLY), &[update(k, A)], Some(Nud::Reachable));
    s.at(2, Do::LinkDown, &[forget(k)], None);
    assert_eq!(s.table.state(p), Some(Nud::Permanent));
    s.at(3, Do::Resolve, &[ask(k)], Some(Nud::Incomplete));
    s.at(4, Do::LinkDown, &[forget(k)], None);
}

#[test]
fn configured_neighbours_are_beyond_the_wire() {
    let k = key(9);
    let mut s = Script::new(k);
    let mut out = vec![];
    s.table.set_permanent(&[(k, A)], Now(0), &mut out);
    let permanent = Some(Nud::Permanent);
    s.at(5000, Do::Learn(B, Fact::AskedUs), &[], permanent);
    s.at(5000, Do::Learn(B, Fact::Gratuitous), &[], permanent);
    s.at(5000, Do::Learn(B, Fact::Advert { solicited: true, override_: true }), &[], permanent);
    s.at(5000, Do::Resolve, &[update(k, A)], permanent);
    s.at(9_000_000, Do::Tick, &[], permanent);
    out.clear();
    s.table.set_permanent(&[(k, B)], Now(0), &mut out);
    assert_eq!(out, [update(k, B)]);
    out.clear();
    s.table.set_permanent(&[], Now(0), &mut out);
    assert_eq!(out, [forget(k)]);
    assert_eq!(s.table.iter().count(), 0);
}

fn small(capacity: usize) -> NeighbourTable {
    NeighbourTable::new(NeighbourConfig { capacity, gc_keep: 2, ..NeighbourConfig::default() })
}

#[test]
fn a_sweep_cannot_push_out_neighbours_in_use() {
    let (mut t, mut out) = (small(8), vec![]);
    let now = Now::from_secs(1);
    t.set_permanent(&[(key(200), A)], now, &mut out);
    for n in 0..4 {
        t.resolve(key(n), now, &mut out);
        t.learn(key(n), Some(A), REPLY, now, &mut out);
    }
    out.clear();
    for n in 10..60 {
        t.resolve(key(n), now, &mut out);
    }
    assert_eq!(out.iter().filter(|a| matches!(a, Probe { .. })).count(), 4);
    assert_eq!(out.iter().filter(|a| matches!(a, Event(NeighbourEvent::Failed { .. }))).count(), 46);
    assert_eq!(t.overflows(), 46);
    assert_eq!(t.counts()[0], [4, 4, 0, 0, 0, 0, 1]);
}

#[test]
fn the_stale_one_unused_for_longest_makes_room() {
    let (mut t, mut out) = (small(4), vec![]);
    for n in 0..4 {
        t.learn(key(n), Some(A), Fact::AskedUs, Now::from_secs(10 - u64::from(n)), &mut out);
    }
    out.clear();
    t.learn(key(7), Some(B), Fact::AskedUs, Now::from_secs(20), &mut out);
    assert_eq!(out, [forget(key(3)), update(key(7), B)]);
    // None stale, none failed: refused.
    out.clear();
    for k in [key(0), key(1), key(2), key(7)] {
        t.used(k, Now::from_secs(21));
    }
    t.learn(key(8), Some(B), Fact::AskedUs, Now::from_secs(22), &mut out);
    assert_eq!((out.len(), t.overflows(), t.state(key(8))), (0, 1, None));
}

#[test]
fn idle_neighbours_are_forgotten_only_when_there_are_many() {
    let (mut t, mut out) = (small(8), vec![]);
    t.learn(key(1), Some(A), Fact::AskedUs, Now::from_secs(0), &mut out);
    t.tick(Now::from_secs(600), &mut out);
    assert_eq!(t.state(key(1)), Some(Nud::Stale));
    t.learn(key(2), Some(A), Fact::AskedUs, Now::from_secs(590), &mut out);
    out.clear();
    t.tick(Now::from_secs(600), &mut out);
    assert_eq!(out, [forget(key(1))]);
    assert_eq!(t.state(key(2)), Some(Nud::Stale));
}

#[test]
fn reachable_times_are_drawn_from_half_to_one_and_a_half() {
    let mut t = NeighbourTable::new(NeighbourConfig::default());
    let draws: Vec<u64> = (0..1000).map(|_| t.fresh(Nud::Stale, A, Now(0)).reachable_ms).collect();
    assert!(draws.iter().all(|ms| (15_000..45_000).contains(ms)));
    let mean = draws.iter().sum::<u64>() / 1000;
    assert!((28_000..32_000).contains(&mean), "{mean}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever happens: never more entries than allowed, and what the shards were told is what the table holds.
    #[test]
    fn bounded_and_consistent_with_what_shards_were_told(
        steps in prop::collection::vec((0u32..12, 0u8..9, any::<bool>(), 0u64..20_000), 0..300)
    ) {
        let mut t = small(6);
        let (mut now, mut told) = (0, BTreeMap::new());
        for (n, what, other, ms) in steps {
            now += ms;
            let (at, k, mac, mut out) = (Now::from_millis(now), key(n), if other { A } else { B }, vec![]);
            match what {
                0 | 1 => t.resolve(k, at, &mut out),
                2 => t.used(k, at),
                3 => t.learn(k, Some(mac), REPLY, at, &mut out),
                4 => t.learn(k, Some(mac), Fact::AskedUs, at, &mut out),
                5 => t.learn(k, Some(mac), Fact::Gratuitous, at, &mut out),
                6 => t.learn(k, Some(mac), Fact::Advert { solicited: other, override_: n % 2 == 0 }, at, &mut out),
                7 if n == 0 => t.link_down(k.port, &mut out),
                _ => t.tick(at, &mut out),
            }
            for action in &out {
                match action {
                    Event(NeighbourEvent::Update { key, mac }) => { told.insert(*key, *mac); }
                    Event(NeighbourEvent::Failed { key } | NeighbourEvent::Forget { key }) => { told.remove(key); }
                    Probe { .. } => {}
                }
            }
            prop_assert!(t.entries.len() <= 6);
            prop_assert!(t.counts()[0][Nud::Incomplete as usize] <= 3);
            let holds: BTreeMap<_, _> = t.iter().filter_map(|i| Some((i.key, i.mac?))).collect();
            prop_assert_eq!(&holds, &told);
        }
    }
}
