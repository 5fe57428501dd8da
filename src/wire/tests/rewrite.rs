//! Rewriting keeps checksums as right as they were, and partial ones become right.

use super::*;
use crate::net::MacAddr;
use crate::wire::{
    checksum, decrement_ttl, finish_partial, link_addresses, pop_vlan, push_vlan, set_link, vlan_header,
};

/// The definition, word by word (RFC 1071 section 4.1).
fn slow_sum(data: &[u8]) -> u32 {
    let words = data.chunks(2).map(|w| u32::from(w[0]) << 8 | w.get(1).map_or(0, |&b| u32::from(b)));
    u32::from(checksum::fold(words.sum()))
}

proptest! {
    #[test]
    fn sums_equal_the_definition(data in prop::collection::vec(any::<u8>(), 0..300), from in 0usize..9) {
        let data = data.get(from..).unwrap_or_default();
        prop_assert_eq!(checksum::sum(data), slow_sum(data));
    }

    #[test]
    fn incremental_equals_recomputed(
        mut data in prop::collection::vec(1u8.., 24..80),
        word in 0usize..6,
        new in any::<u32>(),
    ) {
        let at = word * 4;
        let old = u32::from_be_bytes(*data[at..].first_chunk().unwrap());
        let before = checksum::checksum(&data);
        data[at..at + 4].copy_from_slice(&new.to_be_bytes());
        prop_assert_eq!(checksum::update32(before, old, new), checksum::checksum(&data));
        let (old16, new16) = (new as u16, old as u16);
        let before = checksum::checksum(&data);
        data[at + 2..at + 4].copy_from_slice(&new16.to_be_bytes());
        prop_assert_eq!(checksum::update16(before, old16, new16), checksum::checksum(&data));
    }

    #[test]
    fn one_hop_less_and_still_right(spec in spec()) {
        let mut bytes = spec.bytes();
        let before = checked(&bytes);
        decrement_ttl(&mut bytes, &before);
        let after = checked(&bytes);
        prop_assert_eq!(after.ttl, before.ttl.saturating_sub(1));
        prop_assert_eq!(Parsed { ttl: before.ttl, ..after }, before);
    }

    #[test]
    fn a_wrong_header_checksum_stays_wrong(spec in spec().prop_filter("IPv4", |s| !s.v6), by in 1u8..255) {
        let mut bytes = spec.bytes();
        let parsed = checked(&bytes);
        let at = usize::from(parsed.l3) + 10;
        bytes[at] ^= by;
        decrement_ttl(&mut bytes, &parsed);
        prop_assert!(parse(&bytes, Verify::Check).is_err());
    }

    #[test]
    fn a_partial_checksum_is_completed(spec in spec()) {
        let right = spec.bytes();
        let parsed = checked(&right);
        let offset = match spec.carried {
            Carried::Tcp { .. } => 16,
            Carried::Udp => 6,
            Carried::Echo { .. } => return Ok(()),
        };
        let mut bytes = right.clone();
        let tuple = parsed.summary.tuple;
        let len = parsed.end - u32::from(parsed.l4);
        let pseudo = checksum::pseudo(tuple.src, tuple.dst, tuple.proto, len) as u16;
        let at = usize::from(parsed.l4) + usize::from(offset);
        bytes[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
        prop_assert!(finish_partial(&mut bytes, parsed.l4, offset));
        if right[at..at + 2] == [0, 0] {
            // Only TCP may have 0 there; we write the other zero.
            prop_assert_eq!(&bytes[at..at + 2], &[0xff, 0xff]);
        } else {
            prop_assert_eq!(&bytes, &right);
        }
        prop_assert_eq!(checked(&bytes).summary, parsed.summary);
    }

    #[test]
    fn tags_come_and_go(spec in spec(), vids in prop::collection::vec(0u16..4096, 0..=2)) {
        let bare = Spec { vids: vec![], ..spec.clone() }.bytes();
        let (tags, len) = vlan_header(&vids);
        let mut grown = vec![0xee; len];
        grown.extend(&bare);
        prop_assert!(push_vlan(&mut grown, &tags[..len]));
        prop_assert_eq!(&grown, &Spec { vids: vids.clone(), ..spec }.bytes());
        let tagged = checked(&grown);
        prop_assert_eq!(tagged.vlan.as_slice(), vids.as_slice());
        prop_assert!(pop_vlan(&mut grown, len));
        prop_assert_eq!(&grown[len..], bare.as_slice());
    }
}

#[test]
fn link_addresses_are_set_in_place() {
    let mut frame = v4(17, &[0; 8]);
    assert_eq!(link_addresses(&frame), (MacAddr(MAC_B), MacAddr(MAC_A)));
    set_link(&mut frame, MacAddr([1; 6]), MacAddr([2; 6]));
    assert_eq!(link_addresses(&frame), (MacAddr([1; 6]), MacAddr([2; 6])));
    assert!(trusted(&frame).link_group);
}

#[test]
fn a_partial_udp_checksum_of_zero_becomes_all_ones() {
    // A payload word that makes the sum all ones.
    let mut l4 = [0x12, 0x34, 0, 53, 0, 10, 0, 0, 0, 0];
    let frame = v4(17, &l4);
    let tuple = trusted(&frame).summary.tuple;
    let pseudo = checksum::pseudo(tuple.src, tuple.dst, 17, 10);
    let missing = checksum::fold(pseudo + checksum::sum(&l4));
    l4[8..].copy_from_slice(&(!missing).to_be_bytes());
    l4[6..8].copy_from_slice(&(pseudo as u16).to_be_bytes());
    let mut frame = v4(17, &l4);
    assert!(finish_partial(&mut frame, 34, 6));
    assert_eq!(frame[40..42], [0xff, 0xff]);
    assert_eq!(checked(&frame).summary.defect, None);
}

#[test]
fn a_partial_checksum_outside_the_frame_is_refused() {
    let mut frame = v4(17, &[0; 8]);
    let before = frame.clone();
    for (start, offset) in [(34, 7), (42, 0), (9000, 6), (0, 65535)] {
        assert!(!finish_partial(&mut frame, start, offset));
    }
    assert_eq!(frame, before);
}
