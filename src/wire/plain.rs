//! The straight way through the headers nearly every packet has: Ethernet without tags, IPv4 without options or IPv6
//! without extension headers, no fragment, TCP or UDP.
//!
//! Every field stands at a fixed place then, so one bounds check serves all of them. Whatever is otherwise, or is not as
//! it should be, is left to [`parse_any`](super::parse::parse_any), which reads these packets too and is what this is
//! held to by the tests.

use super::checksum;
use super::ethernet::{Vlan, ethertype};
use super::parse::{Kind, Parsed, Verify};
use super::{ethernet, ipv4, ipv6, tcp, udp};
use crate::net::{Addr, Family, L4, Segment, Summary, TcpFlags, Track, Tuple, proto};

const LINK: usize = ethernet::HEADER_LEN;
const V4: usize = LINK + ipv4::HEADER_LEN;
const V6: usize = LINK + ipv6::HEADER_LEN;

/// What the IP header says.
struct Header {
    kind: Kind,
    tuple: Tuple,
    ttl: u8,
    tos: u8,
    dont_fragment: bool,
    /// Octets of transport header and payload.
    len: usize,
}

#[inline(always)]
const fn be16(a: u8, b: u8) -> u16 {
    u16::from_be_bytes([a, b])
}

/// Reads a plain packet into `out`. `false`: it is none, and `out` means nothing.
#[inline(always)]
pub(super) fn read(out: &mut Parsed, data: &[u8], verify: Verify) -> bool {
    // Room for the smallest of all: IPv4 and UDP.
    let Some(h) = data.first_chunk::<{ V4 + udp::HEADER_LEN }>() else { return false };
    match be16(h[12], h[13]) {
        ethertype::IPV4 => read_v4(out, data, verify),
        ethertype::IPV6 => read_v6(out, data, verify),
        _ => false,
    }
}

#[inline(always)]
fn read_v4(out: &mut Parsed, data: &[u8], verify: Verify) -> bool {
    let Some(h) = data.first_chunk::<{ V4 + udp::HEADER_LEN }>() else { return false };
    let total = usize::from(be16(h[16], h[17]));
    let flags = be16(h[20], h[21]);
    let word = |at: usize| u64::from(u32::from_ne_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]));
    let sum = word(14) + word(18) + word(22) + word(26) + word(30);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    if h[14] != 0x45
        || flags & (ipv4::FLAG_MF | ipv4::OFFSET_MASK) != 0
        || sum != 0xffff
        || total < ipv4::HEADER_LEN
        || LINK + total > data.len()
    {
        return false;
    }
    let addr = |at: usize| Addr::v4(u32::from_be_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]));
    let header = Header {
        kind: Kind::Ipv4,
        tuple: Tuple {
            src: addr(26),
            dst: addr(30),
            src_key: be16(h[34], h[35]),
            dst_key: be16(h[36], h[37]),
            proto: h[23],
            family: Family::V4,
        },
        ttl: h[22],
        tos: h[15],
        dont_fragment: flags & ipv4::FLAG_DF != 0,
        len: total - ipv4::HEADER_LEN,
    };
    transport::<V4>(out, data, &header, verify)
}

#[inline(always)]
fn read_v6(out: &mut Parsed, data: &[u8], verify: Verify) -> bool {
    let Some(h) = data.first_chunk::<{ V6 + udp::HEADER_LEN }>() else { return false };
    let len = usize::from(be16(h[18], h[19]));
    if h[14] >> 4 != 6 || V6 + len > data.len() {
        return false;
    }
    let octets =
        |at: usize| h.get(at..).and_then(|rest| rest.first_chunk::<16>()).map_or(Addr::UNSPECIFIED, |a| Addr::v6(*a));
    let header = Header {
        kind: Kind::Ipv6,
        tuple: Tuple {
            src: octets(22),
            dst: octets(38),
            src_key: be16(h[V6], h[V6 + 1]),
            dst_key: be16(h[V6 + 2], h[V6 + 3]),
            proto: h[20],
            family: Family::V6,
        },
        ttl: h[21],
        tos: h[14] << 4 | h[15] >> 4,
        dont_fragment: true,
        len,
    };
    transport::<V6>(out, data, &header, verify)
}

/// The transport header, which begins at `AT`.
#[inline(always)]
fn transport<const AT: usize>(out: &mut Parsed, data: &[u8], ip: &Header, verify: Verify) -> bool {
    let Some(h) = data.get(AT..).and_then(|l4| l4.first_chunk::<{ udp::HEADER_LEN }>()) else { return false };
    let (l4, header) = match ip.tuple.proto {
        proto::TCP => {
            let Some(h) = data.get(AT..).and_then(|l4| l4.first_chunk::<{ tcp::HEADER_LEN }>()) else { return false };
            let (header, flags) = (usize::from(h[12] >> 4) * 4, TcpFlags(h[13]));
            if header > ip.len || !tcp::sensible(flags) {
                return false;
            }
            let Some(options) = data.get(AT + tcp::HEADER_LEN..AT + header) else { return false };
            let ack = u32::from_be_bytes([h[8], h[9], h[10], h[11]]);
            let mut segment = Segment {
                seq: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
                ack,
                sack: ack,
                payload: (ip.len - header) as u32,
                window: be16(h[14], h[15]),
                flags,
                wscale: None,
                sack_permitted: false,
                has_options: !options.is_empty(),
            };
            let timestamps_only = options.len() == 12 && options.first_chunk() == Some(&tcp::TIMESTAMPS_ONLY);
            if !options.is_empty() && !timestamps_only {
                tcp::read_options(options, &mut segment);
            }
            (L4::Tcp(segment), header)
        }
        proto::UDP => {
            let length = usize::from(be16(h[4], h[5]));
            if length < udp::HEADER_LEN || length > ip.len {
                return false;
            }
            (L4::Udp, udp::HEADER_LEN)
        }
        _ => return false,
    };
    if verify == Verify::Check && !sums_up::<AT>(data, ip) {
        return false;
    }
    *out = Parsed {
        kind: ip.kind,
        vlan: Vlan { depth: 0, vids: [0; 2] },
        l3: LINK as u16,
        l4: AT as u16,
        end: (AT + ip.len) as u32,
        payload: (AT + header) as u32,
        ttl: ip.ttl,
        tos: ip.tos,
        dont_fragment: ip.dont_fragment,
        link_group: data.first().is_some_and(|octet| octet & 1 == 1),
        fragment: None,
        summary: Summary { track: Track::Tuple, tuple: ip.tuple, l4, defect: None },
    };
    true
}

/// Whether the transport checksum is right. (A UDP checksum of 0, which is none, is rare enough to be looked at
/// elsewhere.)
#[inline(never)]
fn sums_up<const AT: usize>(data: &[u8], ip: &Header) -> bool {
    let l4 = data.get(AT..AT + ip.len).unwrap_or_default();
    let tuple = &ip.tuple;
    let pseudo = checksum::pseudo(tuple.src, tuple.dst, tuple.proto, ip.len as u32);
    checksum::fold(pseudo + checksum::sum(l4)) == 0xffff
}
