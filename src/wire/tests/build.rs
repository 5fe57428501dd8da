//! What the builders write reads back, by us and by etherparse, with checksums right.

use super::*;
use crate::net::{Addr, Family, Icmp, InvalidReason as R, L4, MacAddr, TcpFlags, Track};
use crate::wire::arp::{self, Arp, ArpOp};
use crate::wire::nd::{self, Neighbour};
use crate::wire::{
    IcmpError, Kind, Link, Unreachable, echo_reply, fragment_ipv4, fragment_ipv6, icmp_error, link_addresses,
    may_answer_with_error, quoted, tcp_reset,
};
use etherparse::{NetSlice, SlicedPacket};

const LINK: Link = Link { dst: MacAddr(MAC_A), src: MacAddr(MAC_B) };

fn addr(text: &str) -> Addr {
    Addr::from(text.parse::<std::net::IpAddr>().unwrap())
}

fn error() -> impl Strategy<Value = IcmpError> {
    use IcmpError as E;
    use Unreachable as U;
    let why = prop::sample::select(vec![U::Net, U::Host, U::Protocol, U::Port, U::AdminProhibited]);
    prop_oneof![
        why.prop_map(E::Unreachable),
        (68u32..70_000).prop_map(|mtu| E::TooBig { mtu }),
        Just(E::TimeExceeded),
        Just(E::ReassemblyTimeExceeded),
        (0u8..3, 0u32..60).prop_map(|(code, pointer)| E::ParameterProblem { code, pointer }),
    ]
}

/// The frame's datagram as etherparse reads it, its lengths checked against the frame's.
fn datagram(frame: &[u8]) {
    let theirs = SlicedPacket::from_ethernet(frame).unwrap();
    if let NetSlice::Ipv4(ip) = theirs.net.as_ref().unwrap() {
        assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
        assert_eq!(usize::from(ip.header().total_len()) + 14, frame.len());
    }
}

proptest! {
    #[test]
    fn errors_quote_the_original(spec in spec(), error in error(), tail in 0usize..1600) {
        let mut spec = spec;
        spec.payload.resize(tail, 0x5a);
        let original = spec.bytes();
        let parsed = checked(&original);
        let source = addr(if spec.v6 { "2001:db8::ff" } else { "192.0.2.1" });
        let mut out = [0xee; 1600];
        let len = icmp_error(&mut out, LINK, source, error, &original, &parsed).unwrap();
        let frame = &out[..len];
        datagram(frame);
        let ours = checked(frame);
        prop_assert_eq!(ours.end as usize, len);
        prop_assert_eq!((ours.summary.track, ours.summary.defect), (Track::Error, None));
        prop_assert_eq!((ours.summary.tuple.src, ours.summary.tuple.dst), (source, parsed.summary.tuple.src));
        prop_assert_eq!(link_addresses(frame), (LINK.dst, LINK.src));
        let whole = parsed.datagram(&original);
        let quote = &ours.payload(frame);
        let room = if spec.v6 { 1280 - 48 } else { 576 - 28 };
        prop_assert_eq!(*quote, &whole[..whole.len().min(room)]);
        prop_assert_eq!(quoted(frame, &ours).map(|q| q.tuple), Ok(parsed.summary.tuple));
        // Nothing answers an error.
        prop_assert!(!may_answer_with_error(frame, &ours, error));
        prop_assert_eq!(icmp_error(&mut [0; 40], LINK, source, error, &original, &parsed), None);
    }

    #[test]
    fn pieces_make_the_whole(
        spec in spec().prop_filter("fragmentable", |s| !s.v6),
        size in 1usize..4000,
        mtu in 68u32..1500,
        already in prop::option::of((1u16..100, any::<bool>())),
    ) {
        let spec = Spec { payload: vec![0; size], dont_fragment: false, ..spec };
        let mut original = spec.bytes();
        for (i, octet) in original.iter_mut().rev().take(size).enumerate() {
            *octet = i as u8;
        }
        let l3 = 14 + 4 * spec.vids.len();
        let header_len = 20 + 4 * spec.options.len();
        let mut field = 0;
        if let Some((offset, more)) = already {
            field = offset | if more { 0x2000 } else { 0 };
            original[l3 + 6..l3 + 8].copy_from_slice(&field.to_be_bytes());
            crate::wire::ipv4::seal(&mut original[l3..l3 + header_len]);
        }
        let parsed = trusted(&original);
        let mut pieces = fragment_ipv4(&original, &parsed, mtu).unwrap();
        let (mut out, mut data, mut last_more) = ([0xee; 1600], Vec::<u8>::new(), false);
        while let Some(len) = pieces.write_next(&mut out) {
            let piece = &out[..len];
            let ours = trusted(piece);
            prop_assert!(len - l3 <= mtu as usize);
            prop_assert_eq!(ours.end as usize, len);
            prop_assert_eq!(&piece[..l3], &original[..l3]);
            let (offset, more) = ours.fragment.map_or((0, false), |f| (usize::from(f.offset), f.more));
            prop_assert_eq!(offset, usize::from(field & 0x1fff) * 8 + data.len());
            prop_assert!(data.is_empty() || last_more);
            prop_assert_eq!(&piece[l3 + 4..l3 + 6], &original[l3 + 4..l3 + 6]);
            data.extend(&piece[usize::from(ours.l4)..]);
            last_more = more;
            // Options: all in the first piece, of the copied kind in the others.
            let area = &piece[l3 + 20..usize::from(ours.l4)];
            let theirs = &original[l3 + 20..l3 + header_len];
            if data.len() + usize::from(ours.l4) == len {
                prop_assert_eq!(area, theirs);
            } else {
                let copied: Vec<&[u8]> =
                    crate::wire::ipv4::options(theirs).filter(|o| o[0] & 0x80 != 0).collect();
                prop_assert!(area.starts_with(&copied.concat()));
                prop_assert!(area.len() < copied.concat().len() + 4);
            }
        }
        prop_assert!(pieces.is_done());
        prop_assert_eq!(data.as_slice(), &original[usize::from(parsed.l4)..]);
        prop_assert_eq!(last_more, field & 0x2000 != 0);
    }

    #[test]
    fn a_segment_is_reset(spec in spec().prop_filter("TCP", |s| matches!(s.carried, Carried::Tcp { .. }))) {
        let mut spec = spec;
        // Neither side a group.
        (spec.src[0], spec.dst[0]) = (10, 10);
        let parsed = checked(&spec.bytes());
        let L4::Tcp(segment) = parsed.summary.l4 else { unreachable!() };
        let mut out = [0; 128];
        let Some(len) = tcp_reset(&mut out, LINK, &parsed) else {
            prop_assert!(segment.flags.has(TcpFlags::RST) || parsed.summary.defect.is_some());
            return Ok(());
        };
        datagram(&out[..len]);
        let reset = checked(&out[..len]);
        prop_assert_eq!((reset.summary.track, reset.summary.defect), (Track::Tuple, None));
        prop_assert_eq!(Some(reset.summary.tuple), parsed.summary.tuple.inverse());
        let L4::Tcp(answer) = reset.summary.l4 else { panic!("not TCP") };
        if segment.flags.has(TcpFlags::ACK) {
            prop_assert_eq!((answer.flags.0, answer.seq), (TcpFlags::RST, segment.ack));
        } else {
            let ack = segment.seq.wrapping_add(spec.payload.len() as u32 + 1);
            prop_assert_eq!((answer.flags.0, answer.seq, answer.ack), (TcpFlags::RST | TcpFlags::ACK, 0, ack));
        }
    }

    #[test]
    fn an_echo_request_becomes_its_reply(spec in spec().prop_filter("echo", |s| {
        matches!(s.carried, Carried::Echo { .. })
    })) {
        let mut spec = spec;
        (spec.dst[0], spec.extensions) = (10, 0);
        spec.options.clear();
        let mut bytes = spec.bytes();
        let before = bytes.clone();
        let request = checked(&bytes);
        let is_request = matches!(spec.carried, Carried::Echo { reply: false });
        prop_assert_eq!(echo_reply(&mut bytes, &request), is_request);
        if !is_request {
            prop_assert_eq!(bytes, before);
            return Ok(());
        }
        let reply = checked(&bytes);
        prop_assert_eq!(Some(reply.summary.tuple), request.summary.tuple.inverse());
        prop_assert_eq!((reply.summary.track, reply.ttl), (Track::Tuple, 64));
        prop_assert_eq!(reply.payload(&bytes), request.payload(&before));
        prop_assert_eq!(link_addresses(&bytes), (MacAddr(MAC_A), MacAddr(MAC_B)));
    }

    #[test]
    fn arp_reads_back(macs in any::<[[u8; 6]; 2]>(), addrs in any::<[u32; 2]>(), reply in any::<bool>()) {
        let mut macs = macs;
        macs[0][0] &= 0xfe;
        let arp = Arp {
            op: if reply { ArpOp::Reply } else { ArpOp::Request },
            sender_mac: MacAddr(macs[0]),
            sender: Addr::v4(addrs[0]),
            target_mac: MacAddr(macs[1]),
            target: Addr::v4(addrs[1]),
        };
        let mut out = [0xee; 60];
        prop_assert_eq!(arp.write(&mut out, arp.link()), Some(42));
        // The frame is padded, as on a wire.
        let parsed = checked(&out);
        prop_assert_eq!((parsed.kind, parsed.end), (Kind::Arp, 42));
        prop_assert_eq!(parsed.link_group, !reply || macs[1][0] & 1 == 1);
        prop_assert_eq!(arp::parse(&out, &parsed), Some(arp));
        let theirs = SlicedPacket::from_ethernet(&out[..42]).unwrap();
        let Some(NetSlice::Arp(slice)) = theirs.net else { panic!("not ARP") };
        prop_assert_eq!(slice.sender_hw_addr(), &macs[0]);
        prop_assert_eq!(slice.target_protocol_addr(), &addrs[1].to_be_bytes());
        prop_assert_eq!(arp.write(&mut [0; 41], arp.link()), None);
    }
}

#[test]
fn error_codes() {
    use IcmpError as E;
    use Unreachable as U;
    let table = [
        (E::Unreachable(U::Net), [3, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]),
        (E::Unreachable(U::Host), [3, 1, 0, 0, 0, 0], [1, 3, 0, 0, 0, 0]),
        (E::Unreachable(U::Protocol), [3, 2, 0, 0, 0, 0], [4, 1, 0, 0, 0, 6]),
        (E::Unreachable(U::Port), [3, 3, 0, 0, 0, 0], [1, 4, 0, 0, 0, 0]),
        (E::Unreachable(U::AdminProhibited), [3, 13, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]),
        (E::TooBig { mtu: 1400 }, [3, 4, 0, 0, 5, 0x78], [2, 0, 0, 0, 5, 0x78]),
        (E::TimeExceeded, [11, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]),
        (E::ReassemblyTimeExceeded, [11, 1, 0, 0, 0, 0], [3, 1, 0, 0, 0, 0]),
        (E::ParameterProblem { code: 0, pointer: 20 }, [12, 0, 20, 0, 0, 0], [4, 0, 0, 0, 0, 20]),
    ];
    for (error, four, six) in table {
        for (original, expected, l4) in [(v4(17, &[0; 8]), four, 34), (v6(17, &[0; 8]), six, 54)] {
            let mut out = [0; 256];
            icmp_error(&mut out, LINK, Addr::v4(1), error, &original, &trusted(&original)).unwrap();
            let [kind, code, _, _, rest @ ..] = *out[l4..].first_chunk::<8>().unwrap();
            assert_eq!([&[kind, code], &rest[..]].concat(), expected, "{error:?}");
        }
    }
}

#[test]
fn a_protocol_nobody_serves_is_pointed_at_behind_extension_headers() {
    let original = v6(0, &[200, 0, 1, 4, 0, 0, 0, 0, 1, 2]);
    let mut out = [0; 256];
    let error = IcmpError::Unreachable(Unreachable::Protocol);
    icmp_error(&mut out, LINK, Addr::v4(1), error, &original, &trusted(&original)).unwrap();
    assert_eq!(out[54..62][..2], [4, 1]);
    assert_eq!(out[58..62], [0, 0, 0, 40]);
}

#[test]
fn who_may_be_answered_with_an_error() {
    let may = |frame: &[u8], error| may_answer_with_error(frame, &trusted(frame), error);
    let unreachable = IcmpError::Unreachable(Unreachable::Port);
    let too_big = IcmpError::TooBig { mtu: 1280 };
    let udp = [0, 7, 0, 9, 0, 8, 0, 0];
    let from = |src: &str, dst: &str| carrying(src, dst, 17, &udp);
    assert!(may(&from("10.0.0.1", "10.0.0.2"), unreachable));
    assert!(may(&from("2001:db8::1", "2001:db8::2"), unreachable));
    for src in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "127.0.0.1"] {
        assert!(!may(&from(src, "10.0.0.2"), unreachable), "{src}");
    }
    for src in ["::", "ff02::1", "::1"] {
        assert!(!may(&from(src, "2001:db8::2"), too_big), "{src}");
    }
    for dst in ["224.0.0.1", "255.255.255.255"] {
        assert!(!may(&from("10.0.0.1", dst), unreachable), "{dst}");
        assert!(!may(&from("10.0.0.1", dst), too_big), "{dst}");
    }
    assert!(!may(&from("2001:db8::1", "ff0e::1"), unreachable));
    assert!(may(&from("2001:db8::1", "ff0e::1"), too_big));
    assert!(may(&from("2001:db8::1", "ff0e::1"), IcmpError::ParameterProblem { code: 2, pointer: 0 }));
    assert!(!may(&from("2001:db8::1", "ff0e::1"), IcmpError::ParameterProblem { code: 1, pointer: 0 }));

    let mut group = from("10.0.0.1", "10.0.0.2");
    group[0] |= 1;
    assert!(!may(&group, unreachable));
    let arp = Arp::request(MacAddr(MAC_A), Addr::v4(1), Addr::v4(2));
    let mut out = [0; 42];
    arp.write(&mut out, LINK).unwrap();
    assert!(!may(&out, unreachable));

    for (kind, fine) in [(0, true), (3, false), (5, false), (8, true), (11, false), (12, false), (200, false)] {
        assert_eq!(may(&v4(1, &[kind, 0, 0, 0, 0, 0, 0, 0]), unreachable), fine, "ICMP {kind}");
    }
    for (kind, fine) in [(1, false), (100, false), (128, true), (137, false)] {
        assert_eq!(may(&v6(58, &[kind, 0, 0, 0, 0, 0, 0, 0]), unreachable), fine, "ICMPv6 {kind}");
    }
    // Fragments: the first speaks for the datagram, unless that is an error.
    let fragment = |kind: u8, offset: u8| {
        let mut frame = v4(1, &[kind, 0, 0, 0, 0, 0, 0, 0]);
        frame[20..22].copy_from_slice(&[0x20, offset]);
        crate::wire::ipv4::seal(&mut frame[14..34]);
        frame
    };
    assert!(may(&fragment(8, 0), unreachable));
    assert!(!may(&fragment(3, 0), unreachable));
    assert!(!may(&fragment(8, 1), unreachable));
    let first = |kind: u8| v6(44, &[58, 0, 0, 1, 0, 0, 0, 1, kind, 0, 0, 0, 0, 0, 0, 0]);
    assert!(may(&first(128), unreachable));
    assert!(!may(&first(1), unreachable));
}

#[test]
fn groups_and_routed_requests_get_no_echo_reply() {
    let echo = sealed(false, 1, &[8, 0, 0, 0, 0, 1, 0, 1], 2);
    for dst in ["224.0.0.1", "255.255.255.255"] {
        let mut frame = carrying("10.0.0.1", dst, 1, &echo);
        let parsed = checked(&frame);
        assert!(!echo_reply(&mut frame, &parsed), "{dst}");
    }
    let with_option = |option: u8| {
        let datagram = &v4(1, &echo)[14..];
        let mut frame = v4(1, &echo)[..14].to_vec();
        frame.extend(&datagram[..20]);
        frame.extend([option, 4, 4, 0]);
        frame.extend(&datagram[20..]);
        (frame[14], frame[17]) = (0x46, 32);
        crate::wire::ipv4::seal(&mut frame[14..38]);
        let parsed = checked(&frame);
        let replied = echo_reply(&mut frame, &parsed);
        assert_eq!(checked(&frame).summary.track, Track::Tuple);
        replied
    };
    assert!(with_option(148), "router alert");
    assert!(!with_option(131), "loose source route");
    assert!(!with_option(137), "strict source route");
}

#[test]
fn what_may_not_be_fragmented_is_not() {
    let mut frame = v4(17, &[0; 400]);
    let parse_with = |frame: &mut [u8], field: u8| {
        frame[20] = field;
        crate::wire::ipv4::seal(&mut frame[14..34]);
        trusted(frame)
    };
    let parsed = parse_with(&mut frame, 0x40);
    assert!(fragment_ipv4(&frame, &parsed, 100).is_none(), "DF");
    let parsed = parse_with(&mut frame, 0);
    assert!(fragment_ipv4(&frame, &parsed, 27).is_none(), "no room for eight octets");
    let mut pieces = fragment_ipv4(&frame, &parsed, 28).unwrap();
    assert_eq!(pieces.write_next(&mut [0; 41]), None);
    assert!(!pieces.is_done(), "a buffer too small loses nothing");
    assert_eq!(pieces.write_next(&mut [0; 42]), Some(42));
    let six = v6(17, &[0; 400]);
    assert!(fragment_ipv4(&six, &trusted(&six), 100).is_none());
}

#[test]
fn arp_answers_and_refusals() {
    let asked = Arp::request(MacAddr(MAC_A), addr("10.0.0.1"), addr("10.0.0.254"));
    assert_eq!(asked.link().dst, MacAddr::BROADCAST);
    let told = asked.answer(MacAddr(MAC_B));
    assert_eq!((told.sender, told.target), (asked.target, asked.sender));
    assert_eq!(told.link(), Link { dst: MacAddr(MAC_A), src: MacAddr(MAC_B) });
    let mut right = [0; 42];
    told.write(&mut right, told.link()).unwrap();
    for (at, value) in [(14, 1), (16, 0x86), (18, 8), (19, 16), (21, 3), (22, 0x03)] {
        let mut frame = right;
        frame[at] = value;
        assert_eq!(arp::parse(&frame, &checked(&frame)), None, "octet {at}");
    }
    assert!(parse(&right[..41], Verify::Check).is_err());
}

#[test]
fn neighbours_ask_and_tell() {
    let (me, you) = (addr("fe80::1"), addr("2001:db8::12:3456"));
    let mut out = [0; 86];
    let len = nd::solicitation(&mut out, MacAddr(MAC_A), me, you, None).unwrap();
    assert_eq!(len, 86);
    datagram(&out);
    let parsed = checked(&out);
    assert_eq!(parsed.summary.tuple.dst, addr("ff02::1:ff12:3456"));
    assert_eq!(link_addresses(&out).0, MacAddr([0x33, 0x33, 0xff, 0x12, 0x34, 0x56]));
    let asked = Neighbour::Solicitation { target: you, source_mac: Some(MacAddr(MAC_A)) };
    assert_eq!(nd::parse(&out, &parsed), Some(asked));

    nd::solicitation(&mut out, MacAddr(MAC_A), me, you, Some(MacAddr(MAC_B))).unwrap();
    assert_eq!((checked(&out).summary.tuple.dst, link_addresses(&out).0), (you, MacAddr(MAC_B)));

    nd::advertisement(&mut out, LINK, you, me).unwrap();
    let parsed = checked(&out);
    let told = |solicited| {
        let target_mac = Some(LINK.src);
        Some(Neighbour::Advertisement { target: you, target_mac, router: true, solicited, overriding: true })
    };
    assert_eq!(nd::parse(&out, &parsed), told(true));
    assert_eq!((parsed.summary.tuple.src, parsed.summary.tuple.dst), (you, me));

    nd::advertisement(&mut out, LINK, you, Addr::UNSPECIFIED).unwrap();
    let parsed = checked(&out);
    assert_eq!(nd::parse(&out, &parsed), told(false));
    assert_eq!(parsed.summary.tuple.dst, addr("ff02::1"));
    assert_eq!(link_addresses(&out).0, MacAddr([0x33, 0x33, 0, 0, 0, 1]));
    assert_eq!(nd::advertisement(&mut out[..85], LINK, you, me), None);
}

#[test]
fn neighbour_messages_that_must_be_discarded() {
    // Built trusting the checksum, so that one octet can change at a time.
    let read = |frame: &[u8]| nd::parse(frame, &trusted(frame));
    let mut asked = [0; 86];
    nd::solicitation(&mut asked, MacAddr(MAC_A), addr("fe80::1"), addr("fe80::2"), None).unwrap();
    let mut told = [0; 86];
    nd::advertisement(&mut told, LINK, addr("fe80::2"), addr("fe80::1")).unwrap();
    for right in [asked, told] {
        assert!(read(&right).is_some());
        let with = |at: usize, value: u8| {
            let mut frame = right;
            frame[at] = value;
            read(&frame)
        };
        assert_eq!(with(21, 254), None, "hop limit");
        assert_eq!(with(55, 1), None, "code");
        assert_eq!(with(62, 0xff), None, "multicast target");
        assert_eq!(with(79, 0), None, "option of length 0");
        assert_eq!(with(79, 2), None, "option runs over");
        let mut frame = right;
        frame[56] ^= 1;
        assert_eq!(nd::parse(&frame, &checked(&frame)), None, "checksum");
        assert_eq!(checked(&frame).summary.track, Track::Invalid(R::IcmpChecksum));
        assert_eq!(checked(&frame).summary.l4, L4::Icmp(Icmp { kind: frame[54], code: 0 }));
    }
    let mut frame = told;
    frame[38..54].copy_from_slice(&addr("ff02::1").octets_v6());
    assert_eq!(read(&frame), None, "solicited, yet to a group");
    let mut frame = asked;
    frame[22..38].fill(0);
    assert_eq!(read(&frame), None, "a probe does not tell its link address");
    let mut probe = frame[..78].to_vec();
    probe[19] = 24;
    assert_eq!(read(&probe), Some(Neighbour::Solicitation { target: addr("fe80::2"), source_mac: None }));
    probe[38..54].copy_from_slice(&addr("fe80::2").octets_v6());
    assert_eq!(read(&probe), None, "a probe goes to the group");
    assert_eq!(Family::V6, trusted(&probe).summary.tuple.family);
}

#[test]
fn an_ipv6_packet_of_the_router_is_split_and_comes_together_again() {
    let payload: Vec<u8> = (0..4000u32).map(|n| n as u8).collect();
    let mut original = Vec::new();
    etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv6([1; 16], [3; 16], 64)
        .icmpv6_echo_request(7, 1)
        .write(&mut original, &payload)
        .unwrap();
    let parsed = parse(&original, Verify::Check).unwrap();
    let mut pieces = fragment_ipv6(&original, &parsed, 1500, 0xdead_beef).unwrap();
    let mut whole = Vec::new();
    let mut out = [0; 2048];
    while let Some(len) = pieces.write_next(&mut out) {
        let piece = parse(&out[..len], Verify::Trust).unwrap();
        let fragment = piece.fragment.unwrap();
        assert!(len - 14 <= 1500);
        assert_eq!((fragment.id, usize::from(fragment.offset), fragment.next_header), (0xdead_beef, whole.len(), 58));
        whole.extend_from_slice(piece.transport(&out[..len]));
        assert_eq!(fragment.more, whole.len() < payload.len() + 8);
    }
    assert!(pieces.is_done());
    assert_eq!(whole, parsed.transport(&original));
    assert!(fragment_ipv6(&original, &parsed, 50, 1).is_none());
}
