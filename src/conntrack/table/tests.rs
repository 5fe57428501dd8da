use super::*;
use crate::net::{Millis, proto};
use proptest::prelude::*;
use std::collections::HashMap;

fn seed() -> Seed {
    Seed::new([7, 8, 9, 10])
}

fn tuple(n: u32, family: Family) -> Tuple {
    let (src, dst) = match family {
        Family::V4 => (Addr::v4(0x0a00_0000 + n), Addr::v4(0x0a01_0000)),
        Family::V6 => (Addr { hi: 0xfd00 << 48, lo: u64::from(n) }, Addr { hi: 0xfd01 << 48, lo: 1 }),
    };
    Tuple { src, dst, src_key: n as u16, dst_key: 80, proto: proto::TCP, family }
}

fn key(n: u32, family: Family) -> Key {
    Key::new(tuple(n, family), &seed()).unwrap()
}

fn entry(assured: bool) -> Entry {
    Entry { status: if assured { status::ASSURED } else { 0 }, deadline: Millis(1000), ..Entry::default() }
}

#[test]
fn both_directions_find_one_connection() {
    for family in Family::ALL {
        let mut table = Table::new(16, seed());
        let slot = table.insert(&key(7, family), &entry(false)).unwrap().slot;
        let back = Key::new(tuple(7, family).inverse().unwrap(), &seed()).unwrap();
        let there = table.find(&key(7, family)).unwrap();
        let reply = table.find(&back).unwrap();
        assert_eq!((there.slot, there.direction), (slot, Direction::Original));
        assert_eq!((reply.slot, reply.direction), (slot, Direction::Reply));
        assert_eq!(table.original(slot), Some(tuple(7, family)));
        assert!(table.find(&key(8, family)).is_none());
        table.check();
    }
}

#[test]
fn of_two_in_a_zone_of_two_ids_the_original_direction_comes_first() {
    let there = key(7, Family::V4);
    let answered = Key::new(there.tuple.inverse().unwrap(), &seed()).unwrap();
    let zone = Zone { original: 5, reply: 0 };
    for zoned_first in [false, true] {
        let mut table = Table::new(16, seed());
        let keys = if zoned_first { [there.in_zone(zone), answered] } else { [answered, there.in_zone(zone)] };
        let slots = keys.map(|key| table.insert(&key, &entry(false)).unwrap().slot);
        let (own, other) = if zoned_first { (slots[0], slots[1]) } else { (slots[1], slots[0]) };
        let found = table.find(&there.in_zone(zone)).unwrap();
        assert_eq!((found.slot, found.direction), (own, Direction::Original));
        table.remove(own);
        let found = table.find(&there.in_zone(zone)).unwrap();
        assert_eq!((found.slot, found.direction), (other, Direction::Reply));
    }
}

/// Tuples that differ from this one in one bit of an address, or have the addresses the other way round.
fn neighbours(tuple: Tuple) -> impl Iterator<Item = Tuple> {
    let flipped = (0..256).map(move |bit| {
        let mut other = tuple;
        let words = [&mut other.src.hi, &mut other.src.lo, &mut other.dst.hi, &mut other.dst.lo];
        *words.into_iter().nth(bit / 64).unwrap() ^= 1 << (bit % 64);
        other
    });
    flipped.chain([Tuple { src: tuple.dst, dst: tuple.src, ..tuple }])
}

/// The entry in `slot` as a brief way finds it that knows a tuple's hash.
fn recognised(table: &mut Table, slot: u32, hash: u64, tuple: &Tuple) -> Option<Direction> {
    let ports = u32::from(tuple.src_key) << 16 | u32::from(tuple.dst_key);
    table.recognise_v6(slot, hash, &ends6(tuple.src, tuple.dst), ports).map(|(_, direction)| direction)
}

#[test]
fn ipv6_addresses_are_told_apart_by_every_bit() {
    // Also where both ports are the same, and on any processor.
    for (dst_key, common) in [(80, false), (80, true), (9, false), (9, true)] {
        let seed = if common { seed().on_common() } else { seed() };
        let mut table = Table::new(16, seed);
        let own = Tuple { src_key: 9, dst_key, ..tuple(9, Family::V6) };
        let hash = Key::hash(&own, &seed).unwrap();
        let slot = table.insert(&Key::new(own, &seed).unwrap(), &entry(false)).unwrap().slot;
        let is_fingerprint = table.entry(slot).unwrap().fingerprint() == hash;
        assert_eq!(is_fingerprint, seed.widest().has_products() && dst_key == 80);
        for (tuple, direction) in [(own, Direction::Original), (own.inverse().unwrap(), Direction::Reply)] {
            assert_eq!(recognised(&mut table, slot, hash, &tuple), Some(direction));
            assert_eq!(table.search(hash, &tuple), Some((slot, direction)));
            assert_eq!(table.find(&Key::new(tuple, &seed).unwrap()).unwrap().direction, direction);
            let turned = Tuple { src: tuple.dst, dst: tuple.src, ..tuple };
            for other in neighbours(tuple).filter(|other| dst_key == 80 || *other != turned) {
                let other_hash = Key::hash(&other, &seed).unwrap();
                assert_ne!(other_hash, hash);
                assert_eq!(recognised(&mut table, slot, other_hash, &other), None);
                assert_eq!(table.search(other_hash, &other), None);
                assert!(table.find(&Key::new(other, &seed).unwrap()).is_none());
                // The addresses are compared in full, wherever the hash is not what tells.
                if !is_fingerprint {
                    assert_eq!(recognised(&mut table, slot, hash, &other), None);
                }
                assert_eq!(table.search(hash, &other), None);
                assert!(table.find(&Key::hashed(other, hash).unwrap()).is_none());
            }
        }
    }
}

#[test]
fn ipv6_ends_in_a_row_spread_over_the_buckets() {
    // Of hosts, ports and networks in a row: about as many buckets stay empty, and about as many overflow, as by chance. 20,480 in
    // 4,096 buckets leave 28 empty and bring more than ten into 56.
    let row = |way: usize, n: u64| match way {
        0 => (Addr { hi: 0xfd00 << 48, lo: n }, 40_000),
        1 => (Addr { hi: 0xfd00 << 48, lo: 1 }, 1024 + n as u16),
        2 => (Addr { hi: 0xfd00 << 48 | n, lo: 1 }, 40_000),
        _ => (Addr { hi: 0xfd00 << 48 | n >> 8, lo: n & 0xff }, 1024 + (n as u16 & 63)),
    };
    for common in [false, true] {
        for (salt, way) in (0..10).flat_map(|salt| (0..4).map(move |way| (salt, way))) {
            let seed = Seed::new([salt, 1, salt, 2]);
            let seed = if common { seed.on_common() } else { seed };
            let (mut loads, mut tags) = (vec![0u32; 4096], vec![0u32; 4096]);
            for n in 0..20_480 {
                let (src, src_key) = row(way, n);
                let dst = Addr { hi: 0xfd01 << 48, lo: n >> 9 };
                let tuple = Tuple { src, src_key, dst, dst_key: 443, ..tuple(1, Family::V6) };
                let hash = Key::hash(&tuple, &seed).unwrap();
                loads[(hash >> 52) as usize] += 1;
                tags[(hash as u16 >> 4) as usize] += 1;
            }
            for loads in [loads, tags] {
                let empty = loads.iter().filter(|load| **load == 0).count();
                let full = loads.iter().filter(|load| **load > 10).count();
                assert!(empty < 70 && full < 110, "{common} {salt} {way}: {empty} empty, {full} full");
            }
        }
    }
}

#[test]
fn a_full_table_takes_no_more_and_serves_what_it_has() {
    let mut table = Table::new(100, seed());
    for n in 0..100 {
        assert!(table.insert(&key(n, Family::V4), &entry(true)).is_some());
    }
    assert!(table.insert(&key(100, Family::V4), &entry(true)).is_none());
    assert_eq!(table.len(), 100);
    for n in 0..100 {
        assert!(table.find(&key(n, Family::V4)).is_some());
    }
    table.check();
}

#[test]
fn victims_are_never_assured() {
    let mut table = Table::new(200, seed());
    for n in 0..200 {
        table.insert(&key(n, Family::V4), &entry(n % 4 != 0)).unwrap();
    }
    for n in 200..300 {
        let mut victims = table.victims(key(n, Family::V4).hash);
        while let Some((slot, rest)) = table.next_victim(victims) {
            assert!(!table.entry(slot).unwrap().is(status::ASSURED));
            victims = rest;
        }
    }
    let found = table.find(&key(4, Family::V4)).unwrap();
    table.mark_assured(found);
    table.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// A tiny table (so that buckets overflow) against a map.
    #[test]
    fn behaves_like_a_map(ops in prop::collection::vec((any::<bool>(), 0u32..80, any::<bool>()), 1..400)) {
        let mut table = Table::new(48, seed());
        let mut model: HashMap<Tuple, u32> = HashMap::new();
        for (add, n, v6) in ops {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let key = key(n, family);
            let known = table.find(&key).map(|f| f.slot);
            prop_assert_eq!(table.search(key.hash, &key.tuple).map(|(slot, _)| slot), known);
            prop_assert_eq!(known, model.get(&key.tuple).copied());
            match (add, known) {
                (true, None) => {
                    let inserted = table.insert(&key, &entry(n % 3 == 0));
                    prop_assert_eq!(inserted.is_some(), model.len() < 48);
                    if let Some(found) = inserted { model.insert(key.tuple, found.slot); }
                }
                (false, Some(slot)) if n % 5 == 1 => {
                    // One that is in the way, or nobody.
                    let victims = table.victims(key.hash);
                    if let Some((victim, _)) = table.next_victim(victims) {
                        model.retain(|_, have| *have != victim);
                        table.remove_victim(victims);
                    }
                    prop_assert!(table.find(&key).is_none() || model.get(&key.tuple) == Some(&slot));
                }
                (false, Some(slot)) => { table.remove(slot); model.remove(&key.tuple); }
                _ => {}
            }
            prop_assert_eq!(table.len(), model.len());
        }
        table.check();
        for (tuple, slot) in &model {
            let back = Key::new(tuple.inverse().unwrap(), &seed()).unwrap();
            prop_assert_eq!(table.find(&back).map(|f| f.slot), Some(*slot));
        }
    }
}
