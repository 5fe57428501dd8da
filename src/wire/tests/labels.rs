//! What makes a packet a drop and what makes it INVALID, one change at a time.

use super::*;
use crate::net::{DropReason, InvalidReason as R, L4, Sctp, Segment, Track};
use crate::wire::{Kind, parse_ip, quoted};

const BOTH: [bool; 2] = [false, true];

fn frame(six: bool, proto: u8, l4: &[u8]) -> Vec<u8> {
    if six { v6(proto, l4) } else { v4(proto, l4) }
}

fn label(frame: &[u8]) -> (Track, Option<R>) {
    let summary = checked(frame).summary;
    (summary.track, summary.defect)
}

const FINE: (Track, Option<R>) = (Track::Tuple, None);

const fn defect(reason: R) -> (Track, Option<R>) {
    (Track::Tuple, Some(reason))
}

const fn invalid(reason: R) -> (Track, Option<R>) {
    (Track::Invalid(reason), None)
}

/// A TCP header 4242 > 80 with these flags and options, checksum right.
fn tcp(six: bool, flags: u8, options: &[u8]) -> Vec<u8> {
    let mut l4 = vec![0x10, 0x92, 0, 80, 0, 0, 0, 1, 0, 0, 0, 100, 0, flags, 0xfa, 0xf0, 0, 0, 0, 0];
    l4.extend(options);
    l4[12] = (l4.len() as u8 / 4) << 4;
    sealed(six, 6, &l4, 16)
}

fn segment(options: &[u8]) -> Segment {
    let L4::Tcp(segment) = checked(&v4(6, &tcp(false, 0x10, options))).summary.l4 else { panic!("not TCP") };
    segment
}

#[test]
fn tcp_is_judged_in_order() {
    for six in BOTH {
        let right = tcp(six, 0x02, &[]);
        assert_eq!(label(&frame(six, 6, &right)), FINE);
        for len in 0..4 {
            assert_eq!(label(&frame(six, 6, &right[..len])), invalid(R::Truncated));
        }
        for len in 4..20 {
            let parsed = checked(&frame(six, 6, &right[..len]));
            assert_eq!((parsed.summary.track, parsed.summary.defect), defect(R::Truncated));
            assert_eq!((parsed.summary.tuple.src_key, parsed.summary.tuple.dst_key), (4242, 80));
            assert_eq!(parsed.payload, parsed.end);
        }
        for words in [0, 4, 6, 15] {
            let mut l4 = right.clone();
            l4[12] = words << 4;
            l4[13] = 0;
            assert_eq!(label(&frame(six, 6, &l4)), defect(R::Truncated), "offset comes before checksum and flags");
        }
        let mut l4 = tcp(six, 0, &[]);
        assert_eq!(label(&frame(six, 6, &l4)), defect(R::TcpFlags));
        l4[17] ^= 1;
        assert_eq!(label(&frame(six, 6, &l4)), defect(R::TcpChecksum), "checksum comes before flags");
        assert_eq!(trusted(&frame(six, 6, &l4)).summary.defect, Some(R::TcpFlags));
    }
}

#[test]
fn tcp_flag_combinations() {
    let fine = [0x02, 0x22, 0x12, 0x04, 0x14, 0x11, 0x31, 0x10, 0x30];
    for flags in 0..=255u8 {
        let expected = if fine.contains(&(flags & 0x37)) { FINE } else { defect(R::TcpFlags) };
        assert_eq!(label(&v4(6, &tcp(false, flags, &[]))), expected, "flags {flags:#x}");
    }
}

#[test]
fn tcp_options_are_read_until_they_make_no_sense() {
    assert!(!segment(&[]).has_options);
    assert_eq!(segment(&[3, 3, 7, 0]).wscale, Some(7));
    assert_eq!(segment(&[3, 3, 200, 0]).wscale, Some(14));
    assert_eq!(segment(&[3, 4, 7, 0]).wscale, None, "wrong length");
    assert_eq!(segment(&[0, 3, 3, 7]).wscale, None, "behind the end of the list");
    assert_eq!(segment(&[1, 3, 3, 7]).wscale, Some(7));
    assert_eq!(segment(&[9, 1, 1, 1, 1, 3, 3, 7]).wscale, None, "a length below two ends the list");
    assert!(segment(&[4, 2, 8, 200]).sack_permitted, "read before the option that runs over");
    assert_eq!(segment(&[1, 1, 1, 3]).wscale, None);
    assert!(segment(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]).has_options);
    // Timestamps, then something: not the layout that may be skipped.
    assert_eq!(segment(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 3, 3, 5, 0]).wscale, Some(5));
}

#[test]
fn the_furthest_sack_edge_counts() {
    let block = |right: u32| [[0; 4], right.to_be_bytes()].concat();
    assert_eq!(segment(&[]).sack, 100);
    assert_eq!(segment(&[&[1, 1, 5, 10][..], &block(500)].concat()).sack, 500);
    assert_eq!(segment(&[&[1, 1, 5, 18][..], &block(500), &block(300)].concat()).sack, 500);
    assert_eq!(segment(&[&[1, 1, 5, 10][..], &block(50)].concat()).sack, 100, "not before the acknowledgment");
    assert_eq!(segment(&[&[1, 1, 5, 10][..], &block(0u32.wrapping_sub(9))].concat()).sack, 100);
    assert_eq!(segment(&[&[1, 1, 5, 9][..], &block(500)].concat()).sack, 100, "not a whole block");
}

#[test]
fn udp_is_judged_in_order() {
    for six in BOTH {
        let right = sealed(six, 17, &[0, 7, 0, 9, 0, 10, 0, 0, 1, 2], 6);
        assert_eq!(label(&frame(six, 17, &right)), FINE);
        assert_eq!(label(&frame(six, 17, &right[..3])), invalid(R::Truncated));
        assert_eq!(label(&frame(six, 17, &right[..7])), defect(R::Truncated));
        for length in [0, 7, 11] {
            let mut l4 = right.clone();
            l4[5] = length;
            assert_eq!(label(&frame(six, 17, &l4)), defect(R::UdpLength));
        }
        let mut l4 = right.clone();
        l4[9] ^= 1;
        assert_eq!(label(&frame(six, 17, &l4)), defect(R::UdpChecksum));
        assert_eq!(trusted(&frame(six, 17, &l4)).summary.defect, None);
        l4[6..8].fill(0);
        assert_eq!(label(&frame(six, 17, &l4)), FINE, "no checksum is fine in both families");
        let short = sealed(six, 17, &[0, 7, 0, 9, 0, 8, 0, 0, 1, 2], 6);
        assert_eq!(label(&frame(six, 17, &short)), FINE, "the length may be less than there is");
        // Seen on Linux 6.18: it sums all the datagram carries, so a checksum over the UDP length alone is wrong to it.
        let alone = {
            let mut l4 = [0, 7, 0, 9, 0, 8, 0, 0, 1, 2];
            let tuple = trusted(&frame(six, 17, &l4)).summary.tuple;
            let pseudo = crate::wire::checksum::pseudo(tuple.src, tuple.dst, 17, 8);
            let check = !crate::wire::checksum::fold(pseudo + crate::wire::checksum::sum(&l4[..8]));
            l4[6..8].copy_from_slice(&check.to_be_bytes());
            l4
        };
        assert_eq!(label(&frame(six, 17, &alone)), defect(R::UdpChecksum));
    }
}

#[test]
fn udplite_uses_its_own_number_and_coverage() {
    for six in BOTH {
        let right = sealed(six, 136, &[0, 7, 0, 9, 0, 0, 0, 0, 1, 2], 6);
        assert_eq!(label(&frame(six, 136, &right)), FINE);
        assert_eq!(checked(&frame(six, 136, &right)).summary.l4, L4::UdpLite);
        for coverage in [1, 7, 11] {
            let l4 = sealed(six, 136, &[0, 7, 0, 9, 0, coverage, 0, 0, 1, 2], 6);
            assert_eq!(label(&frame(six, 136, &l4)), defect(R::UdpLength));
        }
        // Coverage 8: the payload may change.
        let mut l4 = [0, 7, 0, 9, 0, 8, 0, 0, 1, 2];
        let tuple = trusted(&frame(six, 136, &l4)).summary.tuple;
        let pseudo = crate::wire::checksum::pseudo(tuple.src, tuple.dst, 136, 10);
        let check = !crate::wire::checksum::fold(pseudo + crate::wire::checksum::sum(&l4[..8]));
        l4[6..8].copy_from_slice(&check.to_be_bytes());
        assert_eq!(label(&frame(six, 136, &l4)), FINE);
        l4[9] ^= 1;
        assert_eq!(label(&frame(six, 136, &l4)), FINE);
        l4[0] ^= 1;
        assert_eq!(label(&frame(six, 136, &l4)), defect(R::UdpChecksum));
        l4[6..8].fill(0);
        assert_eq!(trusted(&frame(six, 136, &l4)).summary.defect, Some(R::UdpChecksum), "a checksum is mandatory");
    }
}

#[test]
fn icmp_types() {
    for kind in 0..=255u8 {
        let l4 = sealed(false, 1, &[kind, 5, 0, 0, 0x12, 0x34, 0, 1], 2);
        let parsed = checked(&v4(1, &l4));
        let expected = match kind {
            3 | 4 | 5 | 11 | 12 => Track::Error,
            0 | 8 | 13..=18 => Track::Tuple,
            _ => Track::Invalid(R::IcmpType),
        };
        assert_eq!(parsed.summary.track, expected, "type {kind}");
        if expected == Track::Tuple {
            let tuple = parsed.summary.tuple;
            assert_eq!((tuple.src_key, tuple.dst_key), (0x1234, u16::from(kind) << 8 | 5));
        }
        assert_eq!(label(&v4(1, &l4[..7])), invalid(R::Truncated));
        let mut bad = l4.clone();
        bad[3] ^= 1;
        assert_eq!(label(&v4(1, &bad)), invalid(R::IcmpChecksum), "type {kind}");
        assert_eq!(trusted(&v4(1, &bad)).summary, parsed.summary);
    }
}

#[test]
fn icmpv6_types() {
    for kind in 0..=255u8 {
        let l4 = sealed(true, 58, &[kind, 0, 0, 0, 0x12, 0x34, 0, 1], 2);
        let expected = match kind {
            137 => Track::Invalid(R::Truncated),
            0..=127 => Track::Error,
            128 | 129 | 139 | 140 => Track::Tuple,
            130..=136 | 143 | 151 | 152 => Track::Untracked,
            _ => Track::Invalid(R::IcmpType),
        };
        assert_eq!(label(&v6(58, &l4)), (expected, None), "type {kind}");
        let mut bad = l4.clone();
        bad[3] ^= 1;
        assert_eq!(label(&v6(58, &bad)), invalid(R::IcmpChecksum), "type {kind}");
        assert_eq!(label(&v6(58, &l4[..7])), invalid(R::Truncated));
    }
}

#[test]
fn icmp_of_the_other_family_is_invalid() {
    assert_eq!(label(&v6(1, &[8, 0, 0, 0, 0, 0, 0, 0])), invalid(R::IcmpType));
    assert_eq!(label(&v4(58, &[128, 0, 0, 0, 0, 0, 0, 0])), invalid(R::IcmpType));
}

#[test]
fn a_redirect_must_be_a_routers() {
    let inner = &v6(17, &[0, 7, 0, 9, 0, 8, 0, 0])[14..];
    let redirect = |src: &str, hops: u8, code: u8, option: &[u8]| {
        let mut l4 = vec![137, code, 0, 0, 0, 0, 0, 0];
        l4.extend([0; 32]);
        l4.extend(option);
        let mut bytes = carrying(src, "2001:db8::2", 58, &l4);
        bytes[21] = hops;
        bytes
    };
    let option = [&[4, 7, 0, 0, 0, 0, 0, 0][..], inner].concat();
    let track = |bytes: &[u8]| trusted(bytes).summary.track;
    let right = redirect("fe80::1", 255, 0, &option);
    assert_eq!(track(&right), Track::Error);
    let quoted = quoted(&right, &trusted(&right)).unwrap();
    assert_eq!(quoted.tuple, trusted(&v6(17, &[0, 7, 0, 9, 0, 8, 0, 0])).summary.tuple);
    assert_eq!(track(&redirect("fe80::1", 254, 0, &option)), Track::Invalid(R::IcmpType));
    assert_eq!(track(&redirect("2001:db8::1", 255, 0, &option)), Track::Invalid(R::IcmpType));
    assert_eq!(track(&redirect("fe80::1", 255, 1, &option)), Track::Invalid(R::IcmpType));
    assert_eq!(track(&redirect("fe80::1", 255, 0, &[])), Track::Invalid(R::IcmpInner));
    assert_eq!(track(&redirect("fe80::1", 255, 0, &[4, 0, 0, 0])), Track::Invalid(R::IcmpInner));
    assert_eq!(track(&redirect("fe80::1", 255, 0, &[2, 1, 0, 0, 0, 0, 0, 0])), Track::Invalid(R::IcmpType));
}

/// The table-driven CRC of RFC 9260 appendix A, a bit at a time.
fn slow_crc32c(data: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &octet in data {
        crc ^= u32::from(octet);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

fn sctp(chunks: &[u8]) -> Vec<u8> {
    let mut l4 = vec![0, 7, 0, 9, 0xca, 0xfe, 0, 1, 0, 0, 0, 0];
    l4.extend(chunks);
    let crc = slow_crc32c(&l4);
    l4[8..12].copy_from_slice(&crc.to_le_bytes());
    l4
}

fn chunk(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut chunk = vec![kind, flags, 0, 4 + body.len() as u8];
    chunk.extend(body);
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

#[test]
fn sctp_chunks_are_listed() {
    let fields = |chunks: &[u8]| {
        let parsed = checked(&v4(132, &sctp(chunks)));
        assert_eq!((parsed.summary.track, parsed.summary.defect), FINE);
        let L4::Sctp(sctp) = parsed.summary.l4 else { panic!("not SCTP") };
        (sctp, sctp.chunks().collect::<Vec<_>>())
    };
    let (init, kinds) = fields(&chunk(1, 0, &[0xaa, 0xbb, 0xcc, 0xdd, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 9]));
    assert_eq!((init.vtag, init.init_tag, kinds), (0xcafe_0001, 0xaabb_ccdd, vec![1]));
    let (data, kinds) = fields(&[chunk(3, 0, &[1; 5]), chunk(0, 3, &[2; 7]), chunk(192, 0, &[])].concat());
    assert_eq!((data.init_tag, data.t_flags, kinds), (0, 0, vec![3, 0, 15]));
    assert_eq!(fields(&[chunk(6, 0, &[]), chunk(6, 1, &[])].concat()).0.t_flags, 0b10);
    assert_eq!(fields(&chunk(0, 1, &[0; 12])).0.t_flags, 0, "only ABORT and SHUTDOWN COMPLETE have a T flag");
    let (many, kinds) = fields(&chunk(0, 3, &[]).repeat(20));
    assert_eq!((many.count, kinds.len()), (16, 16));
}

#[test]
fn sctp_is_judged_in_order() {
    let bad = |chunks: &[u8]| assert_eq!(label(&v4(132, &sctp(chunks))), defect(R::SctpChunk));
    let init = chunk(1, 0, &[0; 16]);
    bad(&[]);
    bad(&[0, 0, 0, 0]);
    bad(&[init.clone(), chunk(0, 0, &[])].concat());
    bad(&[chunk(0, 0, &[]), init.clone()].concat());
    bad(&[chunk(2, 0, &[0; 16]), chunk(0, 0, &[])].concat());
    bad(&[chunk(14, 0, &[]), chunk(0, 0, &[])].concat());
    bad(&[chunk(0, 0, &[]), chunk(10, 0, &[])].concat());
    bad(&[chunk(0, 0, &[]), chunk(11, 0, &[])].concat());
    bad(&init[..16]);
    assert_eq!(label(&v4(132, &sctp(&[chunk(10, 0, &[]), chunk(0, 0, &[])].concat()))), FINE);
    let mut l4 = sctp(&init);
    assert_eq!(label(&v6(132, &l4)), FINE);
    assert_eq!(label(&v6(132, &l4[..11])), defect(R::Truncated));
    assert_eq!(label(&v6(132, &l4[..3])), invalid(R::Truncated));
    l4[20] ^= 1;
    assert_eq!(label(&v6(132, &l4)), defect(R::SctpChecksum));
    assert_eq!(trusted(&v6(132, &l4)).summary.defect, None);
    let short = checked(&v6(132, &l4[..8])).summary;
    assert_eq!((short.l4, short.tuple.dst_key), (L4::Sctp(Sctp::default()), 9));
}

#[test]
fn gre_keys() {
    let keys = |l4: &[u8]| {
        let summary = checked(&v4(47, l4)).summary;
        (summary.track, summary.tuple.src_key, summary.tuple.dst_key)
    };
    assert_eq!(keys(&[0x30, 1, 0x88, 0x0b, 0, 4, 0xbe, 0xef, 0, 0]), (Track::Call, 0, 0xbeef));
    assert_eq!(keys(&[0x30, 1, 0x88, 0x0b, 0, 4, 0xbe]), (Track::Tuple, 0, 0), "too short for a call id");
    assert_eq!(keys(&[0x30, 1, 0x08, 0x00, 0, 4, 0xbe, 0xef]), (Track::Invalid(R::Unknown), 0, 0));
    assert_eq!(keys(&[0x20, 0, 0x08, 0x00, 0, 4, 0xbe, 0xef]), (Track::Tuple, 0, 0), "RFC 2890 keys are not used");
    assert_eq!(keys(&[]), (Track::Tuple, 0, 0));
}

#[test]
fn other_protocols_need_nothing() {
    for proto in [0, 2, 4, 33, 50, 51, 59, 255] {
        assert_eq!(label(&v4(proto, &[])), FINE, "protocol {proto}");
    }
    for proto in [2, 33, 50, 135, 139, 255] {
        assert_eq!(label(&v6(proto, &[])), FINE, "protocol {proto}");
    }
}

#[test]
fn ipv4_fragments() {
    let fragment = |field: u16| {
        let mut bytes = v4(17, &[1; 24]);
        bytes[18..22].copy_from_slice(&[0xab, 0xcd, (field >> 8) as u8, field as u8]);
        crate::wire::ipv4::seal(&mut bytes[14..34]);
        bytes
    };
    for (field, offset, more) in [(0x2000, 0, true), (0x2003, 24, true), (0x1fff, 65528, false)] {
        let bytes = fragment(field);
        let parsed = checked(&bytes);
        let fragment = parsed.fragment.unwrap();
        assert_eq!((fragment.id, fragment.offset, fragment.more), (0xabcd, offset, more));
        assert_eq!((fragment.header, fragment.next_header, fragment.whole_header), (14, 17, true));
        assert_eq!(parsed.summary.track, Track::Invalid(R::Fragment));
        let tuple = parsed.summary.tuple;
        assert_eq!((tuple.proto, tuple.src_key, tuple.dst_key), (17, 0, 0));
        assert_eq!(parsed.payload(&bytes), [1; 24]);
    }
    assert_eq!(checked(&fragment(0x4000)).fragment, None, "DF alone is no fragment");
}

#[test]
fn ipv6_fragments() {
    // Hop-by-hop, fragment header, then `l4`.
    let with = |field: u16, next: u8, l4: &[u8]| {
        let hop = [44, 0, 1, 4, 0, 0, 0, 0];
        let fragment = [next, 0, (field >> 8) as u8, field as u8, 1, 2, 3, 4];
        v6(0, &[&hop[..], &fragment, l4].concat())
    };
    let first = with(0x0001, 6, &[0; 20]);
    let parsed = checked(&first);
    let fragment = parsed.fragment.unwrap();
    assert_eq!((fragment.id, fragment.offset, fragment.more), (0x0102_0304, 0, true));
    assert_eq!((fragment.header, fragment.next_header_at, fragment.next_header), (62, 54, 6));
    assert!(fragment.whole_header);
    assert_eq!(first[usize::from(fragment.next_header_at)], 44);
    assert_eq!((parsed.l4, parsed.payload, parsed.summary.track), (70, 70, Track::Invalid(R::Fragment)));
    assert_eq!(parsed.summary.tuple.proto, 6);
    for (next, need) in [(6, 20), (17, 8), (58, 8), (132, 1)] {
        let whole = |len| checked(&with(1, next, &vec![0; len])).fragment.unwrap().whole_header;
        assert!(whole(need) && !whole(need - 1), "protocol {next}");
    }
    assert!(checked(&with(0x0010, 6, &[0; 1])).fragment.unwrap().whole_header, "only a first fragment has one");
    assert_eq!(checked(&with(0x0010, 6, &[0; 8])).fragment.unwrap().offset, 16);
    assert_eq!(checked(&with(0, 17, &[0, 7, 0, 9, 0, 8, 0, 0])).fragment, None, "atomic");
}

#[test]
fn the_walk_over_extension_headers_is_bounded() {
    let options = |n: usize, last: u8| {
        let mut l4 = [60, 0, 1, 4, 0, 0, 0, 0].repeat(n);
        let len = l4.len();
        l4[len - 8] = last;
        l4.extend([0, 7, 0, 9, 0, 8, 0, 0]);
        v6(60, &l4)
    };
    assert_eq!(label(&options(8, 17)), FINE);
    assert_eq!(parse(&options(9, 17), Verify::Check).unwrap_err(), DropReason::Ipv6ExtLimit);
    // Four headers of 512 octets: few, but too long.
    let mut long = [60, 63].into_iter().chain([1; 510]).collect::<Vec<u8>>().repeat(4);
    long[3 * 512] = 17;
    assert_eq!(parse(&v6(60, &long), Verify::Check).unwrap_err(), DropReason::Ipv6ExtLimit);
    assert_eq!(label(&options(1, 59)), invalid(R::Unknown));
    assert_eq!(label(&v6(60, &[17, 1, 0, 0, 0, 0, 0, 0])), invalid(R::Truncated));
    assert_eq!(label(&v6(60, &[17, 0, 0])), invalid(R::Truncated));
}

#[test]
fn drops_below_the_transport() {
    let right = v4(17, &[0, 7, 0, 9, 0, 8, 0, 0]);
    let with = |at: usize, value: u8| {
        let mut bytes = right.clone();
        bytes[at] = value;
        crate::wire::ipv4::seal(&mut bytes[14..34]);
        parse(&bytes, Verify::Trust).map(|_| ())
    };
    assert_eq!(with(14, 0x45), Ok(()));
    assert_eq!(with(14, 0x65), Err(DropReason::Ipv4Header));
    assert_eq!(with(14, 0x44), Err(DropReason::Ipv4Header));
    assert_eq!(with(14, 0x4f), Err(DropReason::Ipv4Header), "header longer than the datagram");
    assert_eq!(with(17, 19), Err(DropReason::Ipv4Header));
    assert_eq!(with(17, 29), Err(DropReason::RxTruncated));
    let mut bytes = right.clone();
    bytes[24] ^= 1;
    assert_eq!(parse(&bytes, Verify::Trust).unwrap_err(), DropReason::Ipv4Header, "checksum, trusted or not");
    let mut six = v6(17, &[0; 8]);
    six[14] = 0x45;
    assert_eq!(parse(&six, Verify::Trust).unwrap_err(), DropReason::Ipv6Header);
    let ethertype = |value: u16| {
        let mut bytes = right.clone();
        bytes[12..14].copy_from_slice(&value.to_be_bytes());
        parse(&bytes, Verify::Trust).map(|p| p.kind)
    };
    assert_eq!(ethertype(0x0800), Ok(Kind::Ipv4));
    assert_eq!(ethertype(0x0806), Ok(Kind::Arp));
    for other in [0x0022, 0x05dc, 0x88cc, 0x9100] {
        assert_eq!(ethertype(other), Err(DropReason::BadEthertype));
    }
    let mut tagged = right[..12].to_vec();
    tagged.extend([0x81, 0, 0, 1].repeat(3));
    tagged.extend(&right[12..]);
    assert_eq!(parse(&tagged, Verify::Trust).unwrap_err(), DropReason::VlanUnknown);
    assert_eq!(parse_ip(&[0x55; 40], Verify::Trust).unwrap_err(), DropReason::BadEthertype);
    assert_eq!(parse_ip(&[], Verify::Trust).unwrap_err(), DropReason::RxTruncated);
}

/// An ICMP error about `inner`, an IP datagram.
fn about(inner: &[u8]) -> Vec<u8> {
    v4(1, &sealed(false, 1, &[&[3, 3, 0, 0, 0, 0, 0, 0][..], inner].concat(), 2))
}

fn quote(inner: &[u8]) -> Result<crate::net::Tuple, R> {
    let frame = about(inner);
    quoted(&frame, &checked(&frame)).map(|q| q.tuple)
}

#[test]
fn the_quoted_packet_is_read_tolerantly() {
    let inner = v4(6, &tcp(false, 0x02, &[]))[14..].to_vec();
    let tuple = checked(&v4(6, &tcp(false, 0x02, &[]))).summary.tuple;
    for len in 24..=40 {
        assert_eq!(quote(&inner[..len]), Ok(tuple), "four octets of transport suffice");
    }
    for len in 0..24 {
        assert_eq!(quote(&inner[..len]), Err(R::IcmpInner));
    }
    let with = |at: usize, value: u8| {
        let mut inner = inner.clone();
        inner[at] = value;
        quote(&inner)
    };
    assert_eq!(with(0, 0x65), Ok(tuple), "version");
    assert_eq!(with(2, 0xff), Ok(tuple), "total length");
    assert_eq!(with(8, 0), Ok(tuple), "TTL");
    assert_eq!(with(10, 0xff), Ok(tuple), "checksum");
    assert_eq!(with(6, 0x20), Ok(tuple), "more fragments");
    assert_eq!(with(7, 1), Err(R::IcmpInner), "not the first fragment");
    assert_eq!(with(0, 0x4f), Err(R::IcmpInner), "header runs past the packet");
    assert_eq!(with(9, 58), Err(R::IcmpInner), "ICMPv6 in IPv4");
    assert_eq!(with(9, 50).map(|t| (t.src_key, t.dst_key)), Ok((0, 0)));
    let echo = v4(1, &[8, 0, 0, 0, 0x12, 0x34, 0, 1])[14..].to_vec();
    assert_eq!(quote(&echo).map(|t| (t.src_key, t.dst_key)), Ok((0x1234, 0x0800)));
    assert_eq!(quote(&echo[..27]), Err(R::IcmpInner), "ICMP needs eight");
}

#[test]
fn hop_by_hop_options_say_whether_the_packet_passes() {
    let with = |options: &[u8]| {
        let header = [&[50, (options.len() / 8) as u8][..], options, &[0; 8]].concat();
        parse(&v6(0, &header), Verify::Check).map(|parsed| parsed.summary.tuple.proto)
    };
    let refused = Err(DropReason::IpOptions);
    for passes in [
        &[1, 4, 0, 0, 0, 0][..],
        &[0; 6],
        &[5, 2, 0, 0, 1, 0],
        &[0x1e, 4, 9, 9, 9, 9],
        &[1, 5, 0, 0, 0, 0, 0, 0x1e, 0, 1, 3, 0, 0, 0],
        // CALIPSO and IOAM are not looked into.
        &[7, 4, 9, 9, 9, 9],
        &[0x31, 4, 9, 9, 9, 9],
    ] {
        assert_eq!(with(passes), Ok(50), "{passes:x?}");
    }
    for stops in [
        &[1, 4, 0, 1, 0, 0][..],                        // padding that says something
        &[1, 6, 0, 0, 0, 0, 0, 0, 0x1e, 4, 9, 9, 9, 9], // too much of it
        &[0; 14],
        &[5, 1, 0, 1, 1, 0],    // router alert of another length
        &[0x5e, 4, 9, 9, 9, 9], // unknown, and to be discarded
        &[0x9e, 4, 9, 9, 9, 9],
        &[0xde, 4, 9, 9, 9, 9],
        &[0xc2, 4, 0, 1, 0, 0], // jumbogram
        &[0x1e, 5, 9, 9, 9, 9], // beyond the header
        &[0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 0x1e, 0, 1, 2, 0, 0],
    ] {
        assert_eq!(with(stops), refused, "{stops:x?}");
    }
    assert_eq!(parse(&v6(0, &[50, 1, 1, 4, 0, 0, 0, 0]), Verify::Check).map(|_| ()), Err(DropReason::IpOptions));
}

#[test]
fn an_atomic_fragment_without_octets_must_not_name_another_header() {
    let atomic = |next: u8, rest: &[u8]| {
        let frame = v6(44, &[&[next, 0, 0, 0, 0, 0, 0, 9][..], rest].concat());
        parse(&frame, Verify::Check).map(|parsed| parsed.summary.track)
    };
    for next in [0, 43, 44, 51, 59, 60] {
        assert_eq!(atomic(next, &[]), Err(DropReason::FragmentOverlap), "{next}");
    }
    assert_eq!(atomic(2, &[]), Ok(Track::Tuple));
    assert_eq!(atomic(59, &[0; 8]), Ok(Track::Invalid(R::Unknown)));
    for rest in [&[17][..], &[17, 0, 0, 8, 0, 0, 0]] {
        assert_eq!(atomic(44, rest), Ok(Track::Invalid(R::Truncated)), "{rest:?}");
    }
    assert_eq!(atomic(44, &[51, 0, 0, 0, 0, 0, 0, 9]), Ok(Track::Invalid(R::Truncated)));
}

#[test]
fn a_quoted_ipv6_packet_may_have_extension_headers() {
    let ports = [0, 7, 0, 9];
    let quote = |next: u8, rest: &[u8]| {
        let inner = &v6(next, rest)[14..];
        let l4 = sealed(true, 58, &[&[1, 4, 0, 0, 0, 0, 0, 0][..], inner].concat(), 2);
        let frame = v6(58, &l4);
        quoted(&frame, &checked(&frame)).map(|q| (q.tuple.proto, q.tuple.src_key, q.tuple.dst_key))
    };
    assert_eq!(quote(17, &ports), Ok((17, 7, 9)));
    assert_eq!(quote(17, &ports[..3]), Err(R::IcmpInner));
    let hop = [17, 0, 1, 4, 0, 0, 0, 0];
    assert_eq!(quote(0, &[&hop[..], &ports].concat()), Ok((17, 7, 9)));
    let first = [17, 0, 0, 1, 0, 0, 0, 1];
    assert_eq!(quote(44, &[&first[..], &ports].concat()), Ok((17, 7, 9)), "more fragments is fine");
    let later = [17, 0, 0, 9, 0, 0, 0, 1];
    assert_eq!(quote(44, &[&later[..], &ports].concat()), Err(R::IcmpInner));
    assert_eq!(quote(59, &[]), Err(R::IcmpInner));
    // Of a fragment header that is cut, four octets are enough where nothing need stand behind it.
    let last = |proto| [proto, 0, 0, 1, 0, 0, 0];
    assert_eq!([3, 4, 7].map(|n| quote(44, &last(2)[..n]).is_ok()), [false, true, true]);
    assert_eq!(quote(44, &last(2)), Ok((2, 0, 0)));
    assert_eq!([17, 60, 44].map(|proto| quote(44, &last(proto))), [Err(R::IcmpInner); 3]);
    assert_eq!(quote(44, &[2, 0, 0, 9, 0, 0, 0]), Err(R::IcmpInner));
    assert_eq!(quote(44, &[&[44, 0, 0, 1, 0, 0, 0, 1][..], &first, &ports].concat()), Ok((17, 7, 9)));
}

#[test]
fn only_errors_quote() {
    let echo = v4(1, &sealed(false, 1, &[8, 0, 0, 0, 0, 0, 0, 1], 2));
    assert_eq!(quoted(&echo, &checked(&echo)), Err(R::IcmpInner));
    let udp = v4(17, &[0; 8]);
    assert_eq!(quoted(&udp, &checked(&udp)), Err(R::IcmpInner));
}
