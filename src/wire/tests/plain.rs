//! The straight way through the headers reads what the winding one reads.

use super::*;
use crate::wire::parse::parse_any;
use crate::wire::{Parsed, plain};

/// Changes octets of the headers; mostly the IPv4 header's checksum is then made right again.
fn damage(frame: &mut [u8], hits: &[(usize, u8)], seal: bool) {
    for (at, value) in hits {
        let at = at % frame.len().min(80);
        frame[at] ^= value;
    }
    if seal && frame.len() >= 34 && frame[12..14] == [8, 0] {
        let len = usize::from(frame[14] & 15) * 4;
        if let Some(header) = frame.get_mut(14..14 + len) {
            crate::wire::ipv4::seal(header);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_read_the_same(
        spec in spec(), usual: bool,
        hits in prop::collection::vec((any::<usize>(), any::<u8>()), 0..3),
        seal in prop::bool::weighted(0.8),
        padding in prop_oneof![2 => Just(0usize), 1 => 0usize..20], cut in prop_oneof![3 => Just(0usize), 1 => 0usize..60],
        check: bool,
    ) {
        let spec = if usual { Spec { vids: vec![], options: vec![], extensions: 0, ..spec } } else { spec };
        let mut frame = spec.bytes();
        damage(&mut frame, &hits, seal);
        frame.resize(frame.len() + padding, 0xa5);
        frame.truncate(frame.len() - cut.min(frame.len()));
        let verify = if check { Verify::Check } else { Verify::Trust };
        prop_assert_eq!(parse(&frame, verify), parse_any(&frame, verify));
        // And it does not decline what it is there for.
        let mut seen = Parsed::NOTHING;
        let plain = plain::read(&mut seen, &frame, verify);
        let timestamps_or_none = match &spec.carried {
            Carried::Tcp { options, .. } => options.is_empty(),
            Carried::Udp => !check,
            Carried::Echo { .. } => false,
        };
        if usual && timestamps_or_none && hits.is_empty() && cut == 0 && parse(&frame, verify).unwrap().summary.defect.is_none() {
            let least = if spec.v6 { 62 } else { 42 };
            prop_assert!(plain || frame.len() < least);
        }
    }

    #[test]
    fn both_ways_send_on_the_same(spec in spec(), start in 0usize..4) {
        let frame = spec.bytes();
        let parsed = trusted(&frame);
        let (dst, src) = (crate::net::MacAddr([start as u8; 6]), crate::net::MacAddr([7, 6, 5, 4, 3, 2]));
        let (mut one, mut two) = (frame.clone(), frame);
        crate::wire::send_on(&mut one, &parsed, dst, src);
        crate::wire::decrement_ttl(&mut two, &parsed);
        crate::wire::set_link(&mut two, dst, src);
        prop_assert_eq!(one, two);
    }
}
