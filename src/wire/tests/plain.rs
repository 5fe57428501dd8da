//! The straight way through the headers reads what the winding one reads.

use super::*;
use crate::net::{Addr, Family, L4, MacAddr, Summary, TcpFlags, Track, proto};
use crate::wire::glance::{
    self, Extent, PLAIN_V4, PLAIN_V6, Plain, TCP_V4, TCP_V6, Tell, UDP_V4, UDP_V6, addresses_v4, addresses_v6,
    any_segment, carries_nothing_v4, datagram, end_v4, end_v6, ends_v4, header_sums_up, kind, len_v4, len_v6, numbers,
    port_ends, ports, segment, send_on_at_once_v4, send_on_v4, send_on_v6, sums_up, turning, whole_ends_v4,
};
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

/// What a glance shows of a plain frame or of a turning segment: its kind, the octets behind the IP header, and its extent.
fn look(frame: &[u8], verify: bool) -> Option<(Plain, usize, Extent)> {
    let front = frame.first_chunk()?;
    let plain = kind(front);
    for each in [Plain::Tcp4, Plain::Udp4, Plain::Tcp6, Plain::Udp6] {
        let told = |tell: Tell| {
            front.iter().zip(&tell.mask).zip(&tell.wanted).all(|((octet, mask), wanted)| octet & mask == *wanted)
        };
        assert_eq!(told(Tell::of(each)), plain == Some(each) && front[0] & 1 == 0);
        assert_eq!(told(Tell::of(each).to(*front.first_chunk().unwrap())), plain == Some(each));
    }
    let plain = plain?;
    let v4 = matches!(plain, Plain::Tcp4 | Plain::Udp4);
    // As it is done of plain packets, and of turning ones.
    let end = if v4 { end_v4(front) } else { end_v6(front) };
    let sound = !v4 || header_sums_up(front);
    let extent = match plain {
        Plain::Tcp4 => frame.first_chunk().and_then(|front| segment::<PLAIN_V4, TCP_V4>(frame, front, end)),
        Plain::Tcp6 => frame.first_chunk().and_then(|front| segment::<PLAIN_V6, TCP_V6>(frame, front, end)),
        Plain::Udp4 => datagram::<UDP_V4>(frame, front, end).then_some(Extent::NOTHING),
        Plain::Udp6 => datagram::<UDP_V6>(frame, frame.first_chunk()?, end).then_some(Extent::NOTHING),
    };
    let len = if v4 { len_v4(frame) } else { len_v6(frame) };
    let (len, extent) = match (extent.filter(|_| sound), len, plain) {
        (Some(extent), len, _) => {
            let at = if v4 { PLAIN_V4 } else { PLAIN_V6 };
            assert_eq!(len, Some(end as usize - at));
            (end as usize - at, extent)
        }
        (None, Some(len), Plain::Tcp4) => (len, turning::<PLAIN_V4>(frame, len)?),
        (None, Some(len), Plain::Tcp6) => (len, turning::<PLAIN_V6>(frame, len)?),
        _ => return None,
    };
    if matches!(plain, Plain::Tcp4 | Plain::Tcp6) {
        let (any, flags) = if v4 {
            let front = frame.first_chunk()?;
            (any_segment::<PLAIN_V4, TCP_V4>(frame, front, end), front[PLAIN_V4 + 13])
        } else {
            let front = frame.first_chunk()?;
            (any_segment::<PLAIN_V6, TCP_V6>(frame, front, end), front[PLAIN_V6 + 13])
        };
        let header = usize::from(frame[if v4 { PLAIN_V4 } else { PLAIN_V6 } + 12] >> 4);
        assert!(any.is_none_or(|any| any == extent), "one of both, or neither");
        assert!(any.is_some() || header > 5 && flags & TcpFlags::SYN == 0, "for its options");
    }
    (!verify || sums_up(frame, plain, len)).then_some((plain, len, extent))
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
        let has_one = match &spec.carried {
            Carried::Tcp { .. } => true,
            Carried::Udp => !check,
            Carried::Echo { .. } => false,
        };
        if usual && has_one && hits.is_empty() && cut == 0 && parse(&frame, verify).unwrap().summary.defect.is_none() {
            let least = if spec.v6 { 62 } else { 42 };
            prop_assert!(plain || frame.len() < least);
        }
    }

    #[test]
    fn usual_options_read_as_any_do(
        layout in prop::sample::select(vec![
            vec![],
            vec![1, 3, 3, 7],
            vec![1, 1, 4, 2],
            vec![4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7],
            vec![1, 1, 4, 2, 1, 3, 3, 7],
            vec![1, 3, 3, 7, 1, 1, 4, 2],
        ]),
        hits in prop::collection::vec((any::<usize>(), 0u8..12), 0..3),
    ) {
        let mut area = [&[2, 4, 5, 180][..], &layout].concat();
        let (mut one, mut two) = <(crate::net::Segment, crate::net::Segment)>::default();
        crate::wire::tcp::read_options(&area, &mut one);
        prop_assert_eq!((one.wscale, one.sack_permitted), (layout.contains(&7).then_some(7), layout.contains(&4)));
        for (at, value) in hits {
            let at = at % area.len();
            area[at] = value;
        }
        one = two;
        crate::wire::tcp::read_options(&area, &mut one);
        crate::wire::tcp::read_each(&area, &mut two);
        prop_assert_eq!(one, two);
    }

    #[test]
    fn a_glance_shows_what_parsing_does(
        spec in spec(), usual in prop::bool::weighted(0.8),
        class in prop_oneof![
            2 => Just(None), 4 => Just(Some(TcpFlags::ACK)),
            3 => prop::sample::select(vec![0x02, 0x12, 0x11, 0x04, 0x14]).prop_map(Some),
        ],
        hits in prop::collection::vec((any::<usize>(), any::<u8>()), 0..3),
        seal in prop::bool::weighted(0.8),
        padding in prop_oneof![2 => Just(0usize), 1 => 0usize..20], cut in prop_oneof![3 => Just(0usize), 1 => 0usize..60],
        check: bool,
    ) {
        let mut spec = if usual { Spec { vids: vec![], options: vec![], extensions: 0, ..spec } } else { spec };
        if let (Some(class), Carried::Tcp { flags, .. }) = (class, &mut spec.carried) {
            *flags = *flags & 0xe8 | class;
        }
        let mut frame = spec.bytes();
        damage(&mut frame, &hits, seal);
        frame.resize(frame.len() + padding, 0xa5);
        frame.truncate(frame.len() - cut.min(frame.len()));
        let verify = if check { Verify::Check } else { Verify::Trust };
        let parsed = parse_any(&frame, verify);
        let Some((plain, len, extent)) = look(&frame, check) else {
            // It does not decline what it is there for.
            if let Ok(Parsed { l3: 14, l4, fragment: None, summary: Summary { track: Track::Tuple, defect: None, l4: fields, tuple, .. }, .. }) = parsed
                && l4 == if tuple.family == Family::V4 { 34 } else { 54 }
            {
                let common = match fields {
                    L4::Tcp(segment) => match segment.flags.0 & 0x37 {
                        // A SYN that acknowledges blocks is odd.
                        0x02 | 0x12 => segment.sack == segment.ack,
                        flags => [0x10, 0x30, 0x11, 0x04, 0x14].contains(&flags),
                    },
                    L4::Udp => !(check && frame[usize::from(l4) + 6..][..2] == [0, 0]),
                    _ => false,
                };
                prop_assert!(!common, "{frame:02x?}");
            }
            return Ok(());
        };
        let parsed = parsed.unwrap();
        let Summary { track, tuple, l4, defect } = parsed.summary;
        prop_assert_eq!((track, defect, parsed.fragment, parsed.vlan.depth, parsed.l3), (Track::Tuple, None, None, 0, 14));
        let (src, dst) = (tuple.src, tuple.dst);
        let words = [src.hi, src.lo, dst.hi, dst.lo].map(u64::to_be);
        let (end, transport) = if tuple.family == Family::V4 {
            let (front, transport) = frame.split_first_chunk().unwrap();
            prop_assert_eq!(addresses_v4(front), src.lo << 32 | dst.lo);
            let ports = [tuple.src_key, tuple.dst_key].map(u16::to_be_bytes);
            let end = |addr: Addr, [a, b]: [u8; 2], [c, d]: [u8; 2]| {
                let [e, f, g, h] = addr.as_v4().to_be_bytes();
                u64::from_ne_bytes([e, f, g, h, a, b, c, d])
            };
            prop_assert_eq!(ends_v4(front), [src, dst].map(|end| end.as_v4().to_be()));
            prop_assert_eq!(whole_ends_v4::<UDP_V4>(frame.first_chunk().unwrap()), [end(src, ports[1], ports[0]), end(dst, ports[0], ports[1])]);
            (PLAIN_V4 + len, transport)
        } else {
            let (front, transport) = frame.split_first_chunk().unwrap();
            prop_assert_eq!(addresses_v6(front), words);
            (PLAIN_V6 + len, transport)
        };
        let wanted = match (tuple.family, tuple.proto) {
            (Family::V4, proto::TCP) => Plain::Tcp4,
            (Family::V4, _) => Plain::Udp4,
            (Family::V6, proto::TCP) => Plain::Tcp6,
            (Family::V6, _) => Plain::Udp6,
        };
        prop_assert_eq!(plain, wanted);
        prop_assert_eq!(end, parsed.end as usize);
        let both = u32::from(tuple.src_key) << 16 | u32::from(tuple.dst_key);
        prop_assert_eq!(ports(transport.first_chunk().unwrap()), both);
        prop_assert_eq!(port_ends(transport.first_chunk().unwrap()), [tuple.src_key, tuple.dst_key].map(u16::to_be));
        prop_assert_eq!(glance::tuple(&frame, plain), Some(tuple));
        let mut expanded = Parsed { ttl: 3, ..Parsed::NOTHING };
        prop_assert!(glance::expand(&mut expanded, &frame, plain, (end as u32, extent)));
        let mut wanted = parsed;
        if let L4::Tcp(segment) = &mut wanted.summary.l4
            && !segment.flags.has(TcpFlags::SYN)
        {
            (segment.wscale, segment.sack_permitted) = (None, false);
        }
        prop_assert_eq!(expanded, wanted);
        match l4 {
            L4::Tcp(segment) => {
                prop_assert_eq!(u32::from(extent.payload()), segment.payload);
                let plain = segment.flags.0 & 0x17 == TcpFlags::ACK;
                if plain {
                    prop_assert_eq!(extent.sacked(), segment.sack.wrapping_sub(segment.ack));
                }
                prop_assert_eq!(numbers(transport.first_chunk().unwrap()), (segment.seq, segment.ack, segment.window));
                prop_assert!(plain || [0x02, 0x12, 0x11, 0x04, 0x14].contains(&(segment.flags.0 & 0x37)));
            }
            L4::Udp => {}
            other => prop_assert!(false, "{other:?}"),
        }
        // Sent on, it is what the general way makes of it.
        if parsed.ttl == 0 {
            return Ok(());
        }
        let (mut one, mut two) = (frame.clone(), frame);
        let link = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        match tuple.family {
            Family::V4 => send_on_v4(one.first_chunk_mut().unwrap(), &link),
            Family::V6 => send_on_v6(one.first_chunk_mut().unwrap(), &link),
        }
        crate::wire::decrement_ttl(&mut two, &parsed);
        crate::wire::set_link(&mut two, MacAddr([1, 2, 3, 4, 5, 6]), MacAddr([7, 8, 9, 10, 11, 12]));
        prop_assert_eq!(one, two);
    }
}

/// Every header checksum is updated as the general way does.
#[test]
fn any_checksum_is_updated_alike() {
    let spec = Spec {
        vids: vec![],
        v6: false,
        src: [1; 16],
        dst: [2; 16],
        ttl: 9,
        dscp: 0,
        dont_fragment: true,
        options: vec![],
        extensions: 0,
        keys: (1, 2),
        carried: Carried::Udp,
        payload: vec![],
    };
    let frame = spec.bytes();
    let parsed = trusted(&frame);
    let mut at_once_too = 0;
    for check in 0..=u16::MAX {
        let mut one = frame.clone();
        one[24..26].copy_from_slice(&check.to_be_bytes());
        let mut two = one.clone();
        send_on_v4(one.first_chunk_mut().unwrap(), &[0; 12]);
        let mut at_once = two.clone();
        crate::wire::decrement_ttl(&mut two, &parsed);
        assert_eq!(one[20..], two[20..], "{check:04x}");
        if carries_nothing_v4(at_once.first_chunk().unwrap()) {
            send_on_at_once_v4(at_once.first_chunk_mut().unwrap(), &[0; 12]);
            assert_eq!(at_once, one, "{check:04x}");
            at_once_too += 1;
        }
    }
    assert_eq!(at_once_too, 0xfffe);
}
