use super::*;
use crate::net::Family;
use proptest::prelude::*;

/// The hash as its definition says it, over the octets a NIC feeds to it.
fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let key_bit = |i: usize| key[i / 8] >> (7 - i % 8) & 1;
    let mut hash = 0;
    for bit in 0..input.len() * 8 {
        if input[bit / 8] >> (7 - bit % 8) & 1 == 1 {
            hash ^= (bit..bit + 32).fold(0, |window, i| window << 1 | u32::from(key_bit(i)));
        }
    }
    hash
}

fn input(tuple: &Tuple) -> Vec<u8> {
    let mut octets = Vec::new();
    for addr in [tuple.src, tuple.dst] {
        match tuple.family {
            Family::V4 => octets.extend(addr.as_v4().to_be_bytes()),
            Family::V6 => octets.extend(addr.octets_v6()),
        }
    }
    if matches!(tuple.proto, proto::TCP | proto::UDP) {
        octets.extend(tuple.src_key.to_be_bytes());
        octets.extend(tuple.dst_key.to_be_bytes());
    }
    octets
}

pub(in crate::steer) fn any_tuple() -> impl Strategy<Value = Tuple> {
    let protos = prop_oneof![
        Just(proto::TCP),
        Just(proto::UDP),
        Just(proto::ICMP),
        Just(proto::ICMPV6),
        Just(proto::SCTP),
        Just(proto::UDPLITE),
        Just(proto::GRE),
        any::<u8>()
    ];
    (any::<[u8; 16]>(), any::<[u8; 16]>(), any::<(u16, u16)>(), protos, any::<bool>()).prop_map(
        |(src, dst, (src_key, dst_key), proto, v6)| {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let addr = |octets: [u8; 16]| match family {
                Family::V6 => Addr::v6(octets),
                Family::V4 => Addr::v4(u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]])),
            };
            Tuple { src: addr(src), dst: addr(dst), src_key, dst_key, proto, family }
        },
    )
}

proptest! {
    #[test]
    fn equals_the_definition_over_the_whole_input(tuple in any_tuple(), shards in 1usize..=64) {
        let hash = toeplitz(&SYMMETRIC_KEY, &input(&tuple));
        prop_assert_eq!(hash, toeplitz(&SYMMETRIC_KEY_52, &input(&tuple)));
        prop_assert_eq!(hash & 0xffff, u32::from(steering_hash(&tuple)));
        prop_assert_eq!(hash >> 16, hash & 0xffff);
        let entry = hash as usize % INDIRECTION_ENTRIES;
        prop_assert_eq!(owner(&tuple, shards).index(), entry % shards);
    }

    #[test]
    fn both_directions_have_one_owner(tuple in any_tuple(), shards in 1usize..=64) {
        if let Some(inverse) = tuple.inverse() {
            prop_assert_eq!(owner(&tuple, shards), owner(&inverse, shards));
        }
        let there = owner_of_addresses(tuple.src, tuple.dst, shards);
        prop_assert_eq!(there, owner_of_addresses(tuple.dst, tuple.src, shards));
    }

    #[test]
    fn protocols_without_hashed_ports_meet_their_fragments(tuple in any_tuple(), shards in 1usize..=64) {
        if !matches!(tuple.proto, proto::TCP | proto::UDP) {
            prop_assert_eq!(owner(&tuple, shards), owner_of_addresses(tuple.src, tuple.dst, shards));
        }
    }
}

#[test]
fn echo_request_and_reply_have_one_owner() {
    let request = Tuple {
        src: Addr::v4(0x0a01_0002),
        dst: Addr::v4(0x0a02_0002),
        src_key: 77,
        dst_key: 8 << 8,
        proto: proto::ICMP,
        family: Family::V4,
    };
    let reply = request.inverse().unwrap();
    assert_ne!(reply.dst_key, request.dst_key);
    for shards in 1..=64 {
        assert_eq!(owner(&request, shards), owner(&reply, shards));
    }
}

#[test]
fn no_shards_counts_as_one() {
    assert_eq!(owner_of_addresses(Addr::v4(1), Addr::v4(2), 0), ShardId(0));
}

#[test]
fn ports_spread_evenly_over_the_shards() {
    for shards in [2, 3, 4, 7, 8, 16] {
        let mut counts = vec![0u32; shards];
        for port in 0..=u16::MAX {
            let tuple = Tuple {
                src: Addr::v4(0xc000_0201),
                dst: Addr::v4(0xc633_6402),
                src_key: port,
                dst_key: 443,
                proto: proto::TCP,
                family: Family::V4,
            };
            counts[owner(&tuple, shards).index()] += 1;
        }
        // 128 table entries dealt to `shards`: nobody has more than one entry above his neighbour.
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(most - least <= 65_536 / 128, "{shards} shards: {counts:?}");
    }
}

proptest! {
    #[test]
    fn homes_are_those_of_the_owner_function(tuple in any_tuple(), shards in 0usize..=64) {
        prop_assume!(matches!(tuple.proto, proto::TCP | proto::UDP));
        let octets = input(&tuple);
        let words = octets.as_chunks().0.iter().fold(0, |sum, word| sum ^ u16::from_ne_bytes(*word));
        prop_assert_eq!(Homes::new(shards).of(words), owner(&tuple, shards));
    }
}
