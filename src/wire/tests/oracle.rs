//! Our reading equals etherparse's, and nothing outside the datagram matters.

use super::*;
use crate::net::{Addr, DropReason, InvalidReason, L4, TcpFlags, Track};
use crate::wire::{Kind, describe, parse_ip, quoted};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use std::net::IpAddr;

/// What SACK and the other options say, from etherparse's list of them.
fn expect_options(header: &TcpHeader) -> (Option<u8>, bool, u32) {
    use TcpOptionElement as E;
    let (mut shift, mut permitted, mut sack, mut sacked) = (None, false, header.acknowledgment_number, false);
    for element in header.options_iterator() {
        match element {
            Ok(E::WindowScale(n)) => shift = Some(n.min(14)),
            Ok(E::SelectiveAcknowledgementPermitted) => permitted = true,
            Ok(E::SelectiveAcknowledgement(first, rest)) if !sacked => {
                sacked = true;
                for (_, right) in std::iter::once(first).chain(rest.into_iter().flatten()) {
                    if (right.wrapping_sub(sack) as i32) > 0 {
                        sack = right;
                    }
                }
            }
            _ => {}
        }
    }
    (shift, permitted, sack)
}

fn sensible(flags: u8) -> bool {
    let named = |f| matches!(f, 0x02 | 0x22 | 0x12 | 0x04 | 0x14 | 0x11 | 0x31 | 0x10 | 0x30);
    named(flags & !0xc8)
}

proptest! {
    #[test]
    fn fields_equal_etherparses(spec in spec()) {
        let bytes = spec.bytes();
        let ours = parse(&bytes, Verify::Check).unwrap();
        let theirs = SlicedPacket::from_ethernet(&bytes).unwrap();
        let offset_of = |part: &[u8]| part.as_ptr() as usize - bytes.as_ptr() as usize;

        let vids: Vec<u16> = theirs.vlan_ids().into_iter().map(u16::from).collect();
        prop_assert_eq!(ours.vlan.as_slice(), vids.as_slice());
        prop_assert_eq!(usize::from(ours.l3), 14 + 4 * vids.len());
        prop_assert!(!ours.link_group);
        let (src, dst, ttl, tos) = match theirs.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let h = ip.header();
                prop_assert_eq!(ours.kind, Kind::Ipv4);
                prop_assert_eq!(ours.dont_fragment, h.dont_fragment());
                let tos = h.dcp().value() << 2 | h.ecn().value();
                (IpAddr::V4(h.source_addr()), IpAddr::V4(h.destination_addr()), h.ttl(), tos)
            }
            NetSlice::Ipv6(ip) => {
                let h = ip.header();
                prop_assert_eq!(ours.kind, Kind::Ipv6);
                let (src, dst) = (IpAddr::V6(h.source_addr()), IpAddr::V6(h.destination_addr()));
                (src, dst, h.hop_limit(), h.traffic_class())
            }
            NetSlice::Arp(_) => unreachable!(),
        };
        let tuple = ours.summary.tuple;
        prop_assert_eq!((tuple.src, tuple.dst), (Addr::from(src), Addr::from(dst)));
        prop_assert_eq!((ours.ttl, ours.tos), (ttl, tos));
        let ip_payload = theirs.ip_payload().unwrap();
        prop_assert_eq!(tuple.proto, ip_payload.ip_number.0);
        prop_assert_eq!(usize::from(ours.l4), offset_of(ip_payload.payload));
        prop_assert_eq!(ours.end as usize, offset_of(ip_payload.payload) + ip_payload.payload.len());
        prop_assert_eq!(ours.fragment, None);
        prop_assert_eq!(ours.summary.track, Track::Tuple);

        let payload = match theirs.transport.as_ref().unwrap() {
            TransportSlice::Tcp(tcp) => {
                let header = tcp.to_header();
                prop_assert_eq!((tuple.src_key, tuple.dst_key), (tcp.source_port(), tcp.destination_port()));
                let L4::Tcp(segment) = ours.summary.l4 else { panic!("not TCP") };
                let (shift, permitted, sack) = expect_options(&header);
                prop_assert_eq!(segment.seq, tcp.sequence_number());
                prop_assert_eq!(segment.ack, tcp.acknowledgment_number());
                prop_assert_eq!(segment.window, tcp.window_size());
                prop_assert_eq!(segment.payload as usize, tcp.payload().len());
                prop_assert_eq!(segment.has_options, !tcp.options().is_empty());
                prop_assert_eq!((segment.wscale, segment.sack_permitted, segment.sack), (shift, permitted, sack));
                prop_assert_eq!(segment.flags.has(TcpFlags::SYN), tcp.syn());
                prop_assert_eq!(segment.flags.has(TcpFlags::CWR), tcp.cwr());
                let defect = (!sensible(segment.flags.0)).then_some(InvalidReason::TcpFlags);
                prop_assert_eq!(ours.summary.defect, defect);
                tcp.payload()
            }
            TransportSlice::Udp(udp) => {
                prop_assert_eq!((tuple.src_key, tuple.dst_key), (udp.source_port(), udp.destination_port()));
                prop_assert_eq!((ours.summary.l4, ours.summary.defect), (L4::Udp, None));
                udp.payload()
            }
            TransportSlice::Icmpv4(icmp) => {
                prop_assert_eq!(tuple.src_key, spec.keys.0);
                prop_assert_eq!(tuple.dst_key, u16::from(icmp.type_u8()) << 8);
                icmp.payload()
            }
            TransportSlice::Icmpv6(icmp) => {
                prop_assert_eq!(tuple.src_key, spec.keys.0);
                prop_assert_eq!(tuple.dst_key, u16::from(icmp.type_u8()) << 8);
                icmp.payload()
            }
            TransportSlice::Igmp(_) => unreachable!(),
        };
        prop_assert_eq!(ours.payload(&bytes), payload);
        prop_assert_eq!(ours.payload as usize, offset_of(payload));

        // The same without a link header.
        let datagram = parse_ip(ours.datagram(&bytes), Verify::Check).unwrap();
        prop_assert_eq!(datagram.summary, ours.summary);
        prop_assert_eq!((datagram.l3, datagram.l4), (0, ours.l4 - ours.l3));
    }

    #[test]
    fn padding_never_matters(spec in spec(), padding in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut bytes = spec.bytes();
        let bare = parse(&bytes, Verify::Check);
        let line = describe(&bytes).to_string();
        bytes.extend(padding);
        prop_assert_eq!(parse(&bytes, Verify::Check), bare);
        prop_assert_eq!(describe(&bytes).to_string(), line);
    }

    #[test]
    fn padding_of_a_truncated_transport_never_matters(
        proto in prop::sample::select(vec![1u8, 6, 17, 47, 58, 132, 136, 200]),
        l4 in prop::collection::vec(any::<u8>(), 0..48),
        padding in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        for mut bytes in [v4(proto, &l4), v6(proto, &l4)] {
            let bare = parse(&bytes, Verify::Check).unwrap();
            let inner = quoted(&bytes, &bare);
            bytes.extend(&padding);
            prop_assert_eq!(parse(&bytes, Verify::Check).unwrap(), bare);
            prop_assert_eq!(quoted(&bytes, &bare), inner);
        }
    }

    #[test]
    fn one_flipped_bit_is_noticed(spec in spec(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = spec.bytes();
        let before = checked(&bytes);
        // Of IPv4 everything but the transport of a checksum-free packet is covered.
        prop_assume!(!spec.v6);
        let from = usize::from(before.l3);
        let at = from + at.index(before.end as usize - from);
        bytes[at] ^= 1 << bit;
        match parse(&bytes, Verify::Check) {
            Err(reason) => prop_assert!(matches!(reason, DropReason::Ipv4Header | DropReason::RxTruncated)),
            Ok(after) => {
                let healthy = after.summary.track == Track::Tuple && after.summary.defect.is_none();
                let unchecked_udp = matches!(spec.carried, Carried::Udp)
                    && bytes[usize::from(after.l4) + 6..][..2] == [0, 0];
                prop_assert!(!healthy || unchecked_udp);
            }
        }
    }

    #[test]
    fn truncation_is_noticed(spec in spec(), keep in any::<prop::sample::Index>()) {
        let bytes = spec.bytes();
        let cut = &bytes[..keep.index(bytes.len())];
        prop_assert_eq!(parse(cut, Verify::Check).unwrap_err(), DropReason::RxTruncated);
        let _ = describe(cut).to_string();
    }
}

/// Everything that reads bytes, on bytes of any kind.
fn read_everything(bytes: &[u8]) -> Result<(), TestCaseError> {
    use crate::wire::*;
    let _ = describe(bytes).to_string();
    let _ = link_addresses(bytes);
    let _ = parse_ip(bytes, Verify::Check);
    for verify in [Verify::Check, Verify::Trust] {
        let Ok(parsed) = parse(bytes, verify) else { continue };
        let (l3, l4) = (usize::from(parsed.l3), usize::from(parsed.l4));
        let (payload, end) = (parsed.payload as usize, parsed.end as usize);
        prop_assert!(l3 <= l4 && l4 <= payload && payload <= end && end <= bytes.len());
        let _ = quoted(bytes, &parsed);
        let _ = arp::parse(bytes, &parsed);
        let _ = nd::parse(bytes, &parsed);
        let mut out = [0; 2048];
        for error in [IcmpError::TimeExceeded, IcmpError::Unreachable(Unreachable::Protocol)] {
            let _ = may_answer_with_error(bytes, &parsed, error);
            let _ = icmp_error(&mut out, Link::default(), Addr::v4(1), error, bytes, &parsed);
        }
        let _ = tcp_reset(&mut out, Link::default(), &parsed);
        if let Some(mut pieces) = fragment_ipv4(bytes, &parsed, 68) {
            while pieces.write_next(&mut out).is_some() {}
            prop_assert!(pieces.is_done());
        }
        let mut copy = bytes.to_vec();
        let _ = echo_reply(&mut copy, &parsed);
        decrement_ttl(&mut copy, &parsed);
        let _ = finish_partial(&mut copy, parsed.l4, 16);
        let _ = pop_vlan(&mut copy, 8);
    }
    Ok(())
}

proptest! {
    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..160)) {
        read_everything(&bytes)?;
    }

    #[test]
    fn noise_behind_a_plausible_start_never_panics(
        ethertype in prop::sample::select(vec![0x0800u16, 0x86dd, 0x0806, 0x8100, 0x88a8]),
        start in prop::sample::select(vec![0x45u8, 0x46, 0x4f, 0x60, 0x81]),
        mut bytes in prop::collection::vec(any::<u8>(), 16..160),
    ) {
        bytes[12..14].copy_from_slice(&ethertype.to_be_bytes());
        bytes[14] = start;
        read_everything(&bytes)?;
    }

    #[test]
    fn damaged_packets_never_panic(
        spec in spec(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        keep in any::<prop::sample::Index>(),
        header_stays_right in any::<bool>(),
    ) {
        let mut bytes = spec.bytes();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let l3 = 14 + 4 * spec.vids.len();
        let header_len = usize::from(bytes[l3] & 15) * 4;
        if header_stays_right && !spec.v6
            && let Some(header) = bytes.get_mut(l3..l3 + header_len) {
                crate::wire::ipv4::seal(header);
            }
        read_everything(&bytes)?;
        read_everything(&bytes[..keep.index(bytes.len())])?;
    }

    #[test]
    fn noise_behind_an_ip_header_never_panics(
        proto in any::<u8>(),
        l4 in prop::collection::vec(any::<u8>(), 0..160),
    ) {
        for bytes in [v4(proto, &l4), v6(proto, &l4)] {
            prop_assert!(parse(&bytes, Verify::Check).is_ok() || matches!(proto, 0 | 43 | 44 | 51 | 60));
            read_everything(&bytes)?;
        }
    }
}
