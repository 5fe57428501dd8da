use super::*;
use crate::net::{Addr, Family};
use proptest::prelude::*;
use std::collections::BTreeSet;

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xb]);
const T0: Now = Now::from_secs(1);

fn key(n: u32) -> NeighbourKey {
    NeighbourKey { port: PortId((n % 2) as u8), family: Family::V4, addr: Addr::v4(n) }
}

fn view(capacity: u16, queue_each: u16, queue_total: u16) -> NeighbourView<u32> {
    NeighbourView::new(ViewConfig { capacity, queue_each, queue_total, ..ViewConfig::default() })
}

fn update(key: NeighbourKey, mac: MacAddr) -> NeighbourEvent {
    NeighbourEvent::Update { key, mac }
}

fn ready(v: &NeighbourView<u32>, key: NeighbourKey) -> (NeighbourId, MacAddr) {
    match v.lookup(&key) {
        Resolution::Ready(id, mac) => (id, mac),
        other => panic!("{other:?}"),
    }
}

#[test]
fn packets_wait_and_go_out_in_order() {
    let (mut v, mut out) = (view(8, 4, 16), vec![]);
    assert_eq!(v.lookup(&key(1)), Resolution::Unknown);
    assert_eq!(v.hold(key(1), 10, T0), Hold { ask: true, dropped: None });
    assert_eq!(v.lookup(&key(1)), Resolution::Pending);
    assert_eq!(v.hold(key(1), 11, T0), Hold { ask: false, dropped: None });
    assert_eq!(v.hold(key(2), 20, T0), Hold { ask: true, dropped: None });
    v.apply(&update(key(1), A), &mut out);
    let (id, mac) = ready(&v, key(1));
    assert_eq!(mac, A);
    let sent: Vec<_> = [10, 11].into_iter().map(|item| Released { item, outcome: Ok((id, A)) }).collect();
    assert_eq!(out, sent);
    assert_eq!((v.held(), v.len()), (1, 2));
    out.clear();
    v.apply(&NeighbourEvent::Failed { key: key(2) }, &mut out);
    assert_eq!(out, [Released { item: 20, outcome: Err(DropReason::NeighbourUnresolved) }]);
    assert_eq!(v.lookup(&key(2)), Resolution::Unknown);
    assert_eq!((v.held(), v.pending), (0, 0));
}

#[test]
fn the_oldest_waiting_packet_makes_room_within_a_neighbour_the_newest_yields_across() {
    let mut v = view(8, 2, 3);
    let pushed = |item| Some((item, DropReason::NeighbourQueue));
    assert_eq!(v.hold(key(1), 10, T0).dropped, None);
    assert_eq!(v.hold(key(1), 11, T0).dropped, None);
    assert_eq!(v.hold(key(1), 12, T0).dropped, pushed(10));
    assert_eq!(v.hold(key(2), 20, T0).dropped, None);
    assert_eq!(v.hold(key(2), 21, T0).dropped, pushed(21));
    assert_eq!(v.hold(key(1), 13, T0).dropped, pushed(11));
    let mut out = vec![];
    v.apply(&update(key(1), A), &mut out);
    assert_eq!(out.iter().map(|r| r.item).collect::<Vec<_>>(), [12, 13]);
}

#[test]
fn flows_follow_a_changed_address_but_not_a_new_tenant() {
    let (mut v, mut out) = (view(1, 4, 4), vec![]);
    v.apply(&update(key(1), A), &mut out);
    let (id, _) = ready(&v, key(1));
    assert_eq!(v.touch(id), Some((PortId(1), A)));
    v.apply(&update(key(1), B), &mut out);
    assert_eq!(v.touch(id), Some((PortId(1), B)));
    // Full: one more is not taken over, and stays unknown.
    v.apply(&update(key(2), A), &mut out);
    assert_eq!(v.lookup(&key(2)), Resolution::Unknown);
    assert_eq!(v.hold(key(2), 5, T0), Hold { ask: false, dropped: Some((5, DropReason::NeighbourQueue)) });
    v.apply(&NeighbourEvent::Forget { key: key(1) }, &mut out);
    assert_eq!(v.touch(id), None);
    v.apply(&update(key(2), A), &mut out);
    assert_eq!(v.touch(id), None);
    assert_ne!(ready(&v, key(2)).0, id);
    assert!(out.is_empty());
}

#[test]
fn use_is_reported_once() {
    let (mut v, mut out, mut used) = (view(8, 4, 4), vec![], vec![]);
    v.apply(&update(key(1), A), &mut out);
    v.apply(&update(key(2), A), &mut out);
    v.mark_used(ready(&v, key(2)).0);
    // News about it does not lose the note.
    v.apply(&update(key(2), B), &mut out);
    v.take_used(|k| used.push(k));
    v.take_used(|k| used.push(k));
    assert_eq!(used, [key(2)]);
    // Packets that waited are a use.
    v.hold(key(3), 1, T0);
    v.apply(&update(key(3), A), &mut out);
    v.take_used(|k| used.push(k));
    assert_eq!(used, [key(2), key(3)]);
}

#[test]
fn asks_again_and_gives_up_when_no_answer_comes() {
    let (mut v, mut out) = (view(8, 4, 4), vec![]);
    assert!(v.hold(key(1), 1, T0).ask);
    assert!(!v.hold(key(1), 2, T0.plus_millis(999)).ask);
    assert!(v.hold(key(1), 3, T0.plus_millis(1000)).ask);
    assert!(!v.hold(key(1), 4, T0.plus_millis(1999)).ask);
    v.expire(T0.plus_millis(9_999), &mut out);
    assert!(out.is_empty());
    v.expire(T0.plus_millis(10_000), &mut out);
    assert_eq!(out.len(), 4);
    assert!(out.iter().all(|r| r.outcome == Err(DropReason::NeighbourUnresolved)));
    assert!(v.is_empty());
}

#[test]
fn a_port_that_goes_takes_its_neighbours_along() {
    let (mut v, mut out) = (view(8, 4, 4), vec![]);
    v.apply(&update(key(1), A), &mut out);
    v.hold(key(3), 30, T0);
    v.hold(key(2), 20, T0);
    v.flush_port(PortId(1), DropReason::ReloadRemovedPort, &mut out);
    assert_eq!(out, [Released { item: 30, outcome: Err(DropReason::ReloadRemovedPort) }]);
    assert_eq!((v.lookup(&key(1)), v.lookup(&key(2))), (Resolution::Unknown, Resolution::Pending));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Every packet comes back exactly once, memory never grows, and the limits hold.
    #[test]
    fn nothing_is_lost_or_doubled(
        steps in prop::collection::vec((0u32..12, 0u8..10, 0u64..3000), 0..400)
    ) {
        let mut v = view(6, 3, 8);
        let (slots, cells) = (v.slots.capacity(), v.cells.capacity());
        let (mut now, mut next, mut inside, mut out) = (0, 0u32, BTreeSet::new(), vec![]);
        for (n, what, ms) in steps {
            now += ms;
            let at = Now::from_millis(now);
            match what {
                0..=5 => if !matches!(v.lookup(&key(n)), Resolution::Ready(..)) {
                    inside.insert(next);
                    if let Some((item, _)) = v.hold(key(n), next, at).dropped {
                        prop_assert!(inside.remove(&item));
                    }
                    next += 1;
                }
                6 => v.apply(&update(key(n), A), &mut out),
                7 => v.apply(&NeighbourEvent::Failed { key: key(n) }, &mut out),
                8 => v.expire(at, &mut out),
                _ => if n == 0 { v.flush_port(PortId(0), DropReason::PortDown, &mut out) },
            }
            for r in out.drain(..) {
                prop_assert!(inside.remove(&r.item));
            }
            prop_assert_eq!(v.held(), inside.len());
            prop_assert!(v.held() <= 8 && v.len() <= 6);
            prop_assert!(v.slots.iter().all(|s| s.waiting <= 3));
            prop_assert_eq!((v.slots.capacity(), v.cells.capacity()), (slots, cells));
            let pending = v.slots.iter().filter(|s| matches!(s.state, State::Pending { .. })).count();
            prop_assert_eq!(usize::from(v.pending), pending);
        }
    }
}
