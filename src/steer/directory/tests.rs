use super::*;
use crate::net::{ShardId, proto};
use proptest::prelude::*;

const NOW: Millis = Millis(u32::MAX - 1000);
const LIFE: u32 = 300_000;

fn master(slot: u32) -> MasterRef {
    MasterRef { shard: ShardId(0), slot, generation: 1, helper: 0 }
}

fn expect(src: Option<u32>, src_key: Option<u16>, dst_key: u16) -> Expectation {
    Expectation { src: src.map(Addr::v4), src_key, ..Expectation::new(Family::V4, proto::TCP, Addr::v4(1), dst_key) }
}

fn offer(expectation: Expectation, slot: u32) -> Offer {
    Offer { expectation, zone: 0, master: master(slot), timeout_ms: LIFE, evict: None }
}

fn packet(src: u32, src_key: u16, dst_key: u16) -> Tuple {
    Tuple { src: Addr::v4(src), dst: Addr::v4(1), src_key, dst_key, proto: proto::TCP, family: Family::V4 }
}

fn added(result: AddResult) -> Handle {
    match result {
        AddResult::Added { handle, .. } => handle,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_packet_that_matches_takes_it_out() {
    let d = Directory::new(8);
    assert!(d.is_empty());
    let handle = added(d.add(&offer(expect(Some(9), None, 21), 1), NOW));
    assert!(!d.is_empty());
    assert!(d.contains(&handle, NOW));
    for stranger in [packet(8, 20, 21), packet(9, 20, 22)] {
        assert_eq!(d.claim(&stranger, 0, NOW), None);
    }
    for stranger in [
        Tuple { proto: proto::UDP, ..packet(9, 20, 21) },
        Tuple { family: Family::V6, ..packet(9, 20, 21) },
        Tuple { dst: Addr::v4(2), ..packet(9, 20, 21) },
    ] {
        assert_eq!(d.claim(&stranger, 0, NOW), None);
    }
    let claim = d.claim(&packet(9, 4711, 21), 0, NOW).unwrap();
    assert_eq!(claim, Claim { expectation: expect(Some(9), None, 21), master: master(1), handle });
    assert_eq!(d.claim(&packet(9, 4711, 21), 0, NOW), None);
    assert!(d.is_empty());
    assert!(!d.contains(&handle, NOW));
    assert!(!d.remove(&handle));
}

#[test]
fn an_equal_one_of_the_same_master_is_replaced_with_a_fresh_timer() {
    let d = Directory::new(1);
    let old = added(d.add(&offer(expect(Some(9), None, 21), 1), NOW));
    let later = NOW.plus(LIFE - 1);
    let AddResult::Replaced(new) = d.add(&offer(expect(Some(9), None, 21), 1), later) else { panic!() };
    assert_eq!(d.len(), 1);
    assert!(!d.remove(&old));
    assert!(d.contains(&new, later.plus(LIFE - 1)));
    assert!(!d.contains(&new, later.plus(LIFE)));
}

#[test]
fn overlaps_are_refused_whoever_the_master_is() {
    let any = None;
    // (first, second, do they overlap)
    let rows = [
        ((any, None), (Some(9), None), true),
        ((Some(9), None), (any, Some(20)), true),
        ((Some(9), None), (Some(9), Some(20)), true),
        ((Some(9), None), (Some(8), None), false),
        ((Some(9), Some(20)), (Some(9), Some(21)), false),
        ((any, Some(20)), (Some(9), Some(21)), false),
        ((any, None), (any, None), true),
    ];
    for (first, second, overlap) in rows {
        let d = Directory::new(8);
        added(d.add(&offer(expect(first.0, first.1, 21), 1), NOW));
        let result = d.add(&offer(expect(second.0, second.1, 21), 2), NOW);
        assert_eq!(result == AddResult::Busy, overlap, "{first:?} {second:?}");
        assert_eq!(d.len(), if overlap { 1 } else { 2 });
        added(d.add(&offer(expect(second.0, second.1, 22), 2), NOW));
    }
    // The same master gains nothing unless all fields are equal.
    let d = Directory::new(8);
    added(d.add(&offer(expect(Some(9), None, 21), 1), NOW));
    assert_eq!(d.add(&offer(expect(None, None, 21), 1), NOW), AddResult::Busy);
}

#[test]
fn an_expired_one_is_absent_at_once() {
    let d = Directory::new(1);
    added(d.add(&offer(expect(Some(9), None, 21), 1), NOW));
    assert_eq!(d.claim(&packet(9, 20, 21), 0, NOW.plus(LIFE)), None);
    assert!(d.is_empty());
    added(d.add(&offer(expect(Some(9), None, 21), 1), NOW));
    // Another master may take its place.
    added(d.add(&offer(expect(Some(9), None, 21), 2), NOW.plus(LIFE)));
    assert_eq!(d.claim(&packet(9, 20, 21), 0, NOW.plus(LIFE)).unwrap().master, master(2));
}

#[test]
fn the_limit_refuses_and_eviction_makes_room() {
    let d = Directory::new(2);
    let first = added(d.add(&offer(expect(Some(9), None, 21), 1), NOW));
    added(d.add(&offer(expect(Some(9), None, 22), 2), NOW));
    assert_eq!(d.add(&offer(expect(Some(9), None, 23), 1), NOW), AddResult::Full);
    assert_eq!(d.len(), 2);
    // Refused for overlap: nothing is evicted.
    let busy = Offer { evict: Some(first), ..offer(expect(Some(9), None, 22), 1) };
    assert_eq!(d.add(&busy, NOW), AddResult::Busy);
    assert!(d.contains(&first, NOW));
    // Replaced: nothing either.
    let again = Offer { evict: Some(first), ..offer(expect(Some(9), None, 21), 1) };
    let AddResult::Replaced(first) = d.add(&again, NOW) else { panic!() };
    let on_top = Offer { evict: Some(first), ..offer(expect(Some(9), None, 23), 1) };
    assert!(matches!(d.add(&on_top, NOW), AddResult::Added { evicted: true, .. }));
    assert!(!d.contains(&first, NOW));
    assert_eq!(d.len(), d.limit());
}

#[test]
fn a_master_that_goes_takes_its_own_along() {
    let d = Directory::new(64);
    for port in 0..20 {
        added(d.add(&offer(expect(Some(9), None, port), u32::from(port % 2)), NOW));
    }
    let later = MasterRef { generation: 2, ..master(1) };
    assert_eq!(d.remove_master(&later), 0);
    assert_eq!(d.remove_master(&master(1)), 10);
    assert_eq!(d.remove_master(&master(1)), 0);
    assert_eq!(d.len(), 10);
    let mut shown = 0;
    d.for_each(NOW.plus(1000), |_, m, left| {
        assert_eq!((m.slot, left), (0, LIFE - 1000));
        shown += 1;
    });
    assert_eq!(shown, 10);
}

#[test]
fn sweeping_goes_round_within_its_budget() {
    let d = Directory::new(1000);
    for port in 0..400 {
        let life = if port % 4 == 0 { LIFE * 2 } else { LIFE };
        let one = Offer { timeout_ms: life, ..offer(expect(Some(9), None, port), 1) };
        added(d.add(&one, NOW));
    }
    assert_eq!(d.sweep(NOW, 1000), 0);
    let then = NOW.plus(LIFE);
    let mut rounds = 0;
    while d.len() > 100 {
        assert!(d.sweep(then, 50) <= 50);
        rounds += 1;
        assert!(rounds < 40, "still {} left", d.len());
    }
    assert_eq!(d.len(), 100);
    assert_eq!(d.sweep(then, 1000), 0);
}

#[test]
fn a_permanent_one_is_not_spent_and_an_inactive_one_not_asked() {
    let d = Directory::new(8);
    let e = Expectation { permanent: true, inactive: true, ..expect(Some(9), None, 5060) };
    let handle = added(d.add(&offer(e, 1), NOW));
    assert_eq!(d.claim(&packet(9, 20, 5060), 0, NOW), None);
    assert_eq!(d.find(&packet(9, 20, 5060), 0, NOW).map(|c| c.handle), Some(handle));
    assert!(d.activate(&handle, 2 * LIFE, NOW.plus(LIFE - 1)));
    let late = NOW.plus(3 * LIFE - 2);
    for _ in 0..3 {
        assert_eq!(d.claim(&packet(9, 20, 5060), 0, late).map(|c| c.handle), Some(handle));
    }
    assert_eq!(d.get(&handle, late), Some(Expectation { inactive: false, ..e }));
    assert_eq!(d.claim(&packet(9, 20, 5060), 0, late.plus(1)), None);
    assert!(!d.activate(&handle, LIFE, late.plus(1)));
    assert!(d.is_empty());
}

#[test]
fn an_equal_one_of_another_master_will_do_for_one_that_may_be_shared() {
    let d = Directory::new(8);
    let shared = Expectation { shared: true, ..expect(Some(9), None, 4000) };
    added(d.add(&offer(shared, 1), NOW));
    assert_eq!(d.add(&offer(shared, 2), NOW), AddResult::Already);
    let other = Expectation { class: 1, ..shared };
    assert_eq!(d.add(&offer(other, 1), NOW), AddResult::Already);
    assert_eq!(d.add(&offer(Expectation { shared: false, ..shared }, 2), NOW), AddResult::Busy);
    assert_eq!(d.add(&offer(Expectation { shared: false, ..other }, 1), NOW), AddResult::Already);
    assert_eq!(d.add(&offer(Expectation { src: None, ..shared }, 2), NOW), AddResult::Busy);
    assert!(matches!(d.add(&offer(shared, 1), NOW), AddResult::Replaced(_)));
    assert_eq!(d.len(), 1);
}

#[test]
fn what_expired_is_reported_once_under_its_helper() {
    let d = Directory::new(8);
    let of = |helper, port| Offer { master: MasterRef { helper, ..master(1) }, ..offer(expect(None, None, port), 1) };
    for (helper, port) in [(0, 1), (7, 2), (7, 3), (255, 4)] {
        added(d.add(&of(helper, port), NOW));
    }
    let report = || {
        let mut seen = Vec::new();
        d.take_expired(|helper, n| seen.push((helper, n)));
        seen
    };
    assert_eq!(report(), []);
    let then = NOW.plus(LIFE);
    // By a claim, by another that takes its place, and by the sweep.
    assert_eq!(d.claim(&packet(9, 20, 1), 0, then), None);
    added(d.add(&of(3, 2), then));
    assert_eq!(report(), [(0, 1), (7, 1)]);
    assert_eq!(d.sweep(then, 100), 2);
    assert_eq!(report(), [(7, 1), (255, 1)]);
    assert_eq!((report(), d.len()), (vec![], 1));
}

#[test]
fn exactly_one_of_many_claimants_succeeds() {
    let d = Directory::new(4096);
    for port in 0..1000 {
        added(d.add(&offer(expect(None, None, port), 1), NOW));
    }
    let won: usize = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..1000).filter(|p| d.claim(&packet(9, 20, *p), 0, NOW).is_some()).count()))
            .collect();
        racers.into_iter().map(|r| r.join().unwrap()).sum()
    });
    assert_eq!(won, 1000);
    assert!(d.is_empty());
}

proptest! {
    /// Against a list, searched one by one.
    #[test]
    fn behaves_as_a_list_of_expectations(
        steps in prop::collection::vec((0u8..4, prop::option::of(1u32..3), prop::option::of(1u16..3), 1u16..3, 0u32..3), 1..60)
    ) {
        let d = Directory::new(5);
        let mut list: Vec<(Expectation, u32, Handle, Millis)> = Vec::new();
        let mut now = NOW;
        for (what, src, src_key, dst_key, slot) in steps {
            list.retain(|(.., deadline)| deadline.since(now) > 0);
            match what {
                0 | 1 => {
                    let e = expect(src, src_key, dst_key);
                    let same = list.iter().position(|(o, m, ..)| *o == e && *m == slot);
                    let meets = |a: Option<u64>, b: Option<u64>| a.is_none() || b.is_none() || a == b;
                    let overlap = list.iter().any(|(o, ..)| {
                        o.dst_key == dst_key
                            && meets(o.src.map(|a| a.lo), src.map(u64::from))
                            && meets(o.src_key.map(u64::from), src_key.map(u64::from))
                    });
                    d.sweep(now, 100);
                    match d.add(&offer(e, slot), now) {
                        AddResult::Replaced(h) => {
                            let at = same.unwrap();
                            list[at] = (e, slot, h, now.plus(LIFE));
                        }
                        AddResult::Busy => prop_assert!(same.is_none() && overlap),
                        AddResult::Already => prop_assert!(false, "none is shared"),
                        AddResult::Full => prop_assert!(same.is_none() && !overlap && list.len() == 5),
                        AddResult::Added { handle: h, evicted } => {
                            prop_assert!(same.is_none() && !overlap && list.len() < 5 && !evicted);
                            list.push((e, slot, h, now.plus(LIFE)));
                        }
                    }
                }
                2 => {
                    let p = packet(src.unwrap_or(7), src_key.unwrap_or(7), dst_key);
                    let at = list.iter().position(|(o, ..)| {
                        o.dst_key == p.dst_key
                            && o.src.is_none_or(|a| a == p.src)
                            && o.src_key.is_none_or(|k| k == p.src_key)
                    });
                    prop_assert_eq!(d.claim(&p, 0, now).map(|c| c.handle), at.map(|i| list.remove(i).2));
                }
                _ => now = now.plus(LIFE / 3),
            }
        }
    }
}
