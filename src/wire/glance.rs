//! A glance at a frame: is it of the kind that nearly every packet of an established connection is, and if so, what
//! does a shortcut need of it? All else is left to [`parse`](super::parse()).
//!
//! A *plain* packet is Ethernet without tags, IPv4 without options or IPv6 without extension headers, no fragment, and
//! UDP, or TCP with the ACK flag and none of SYN, FIN and RST. Every field stands at a fixed place then, and is read
//! there in wide words; the questions that make a packet plain are few comparisons of such words. Nothing is written
//! down that is read as quickly again: the frame's first line stays in the nearest cache. A *turning* segment is one that
//! would be plain but for its flags: it opens or closes a connection.
//!
//! What is plain here parses to the same by [`parse`](super::parse()), without a defect; the tests hold it to that.

use super::ethernet::Vlan;
use super::parse::{Kind, Parsed};
use super::{checksum, ethernet, ipv4, ipv6, tcp, udp};
use crate::net::{Addr, Family, L4, Segment, Summary, TcpFlags, Track, Tuple, proto};

/// Octets of the link header of a plain packet.
pub const LINK: u32 = ethernet::HEADER_LEN as u32;

/// Where the transport header of a plain IPv4 packet begins.
pub const PLAIN_V4: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;

/// Where the transport header of a plain IPv6 packet begins.
pub const PLAIN_V6: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN;

/// A plain packet's protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Plain {
    /// TCP over IPv4.
    Tcp4,
    /// UDP over IPv4.
    Udp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over IPv6.
    Udp6,
}

/// What a plain packet's transport header says of its extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Octets of payload of a TCP segment.
    pub payload: u16,
    /// By how much the furthest SACK block reaches beyond the acknowledgment; of a SYN, what its options offer.
    pub sacked: u32,
}

/// How [`Extent::sacked`] of a SYN says that SACK is permitted. Below it stands the window shift plus one, 0 if there is
/// none.
const SACK_OFFERED: u32 = 1 << 8;

#[inline(always)]
fn be<const N: usize>(h: &[u8; N], at: usize) -> u64 {
    h.get(at..).and_then(|d| d.first_chunk()).map_or(0, |d| u64::from_be_bytes(*d))
}

#[inline(always)]
fn ne<const N: usize>(h: &[u8; N], at: usize) -> u64 {
    h.get(at..).and_then(|d| d.first_chunk()).map_or(0, |d| u64::from_ne_bytes(*d))
}

#[inline(always)]
fn ne32<const N: usize>(h: &[u8; N], at: usize) -> u64 {
    h.get(at..).and_then(|d| d.first_chunk()).map_or(0, |d| u64::from(u32::from_ne_bytes(*d)))
}

#[inline(always)]
fn be32<const N: usize>(h: &[u8; N], at: usize) -> u32 {
    h.get(at..).and_then(|d| d.first_chunk()).map_or(0, |d| u32::from_be_bytes(*d))
}

#[inline(always)]
fn be16<const N: usize>(h: &[u8; N], at: usize) -> u16 {
    h.get(at..).and_then(|d| d.first_chunk()).map_or(0, |d| u16::from_be_bytes(*d))
}

/// Source and destination of a plain IPv4 packet: the source in the upper half.
#[inline(always)]
#[must_use]
pub fn addresses_v4(front: &[u8; PLAIN_V4]) -> u64 {
    be(front, 26)
}

/// Source and destination of a plain IPv6 packet, as they lie there.
#[inline(always)]
#[must_use]
pub fn addresses_v6(front: &[u8; PLAIN_V6]) -> [u64; 4] {
    [ne(front, 22), ne(front, 30), ne(front, 38), ne(front, 46)]
}

/// Source and destination port: the source in the upper half.
#[inline(always)]
#[must_use]
pub fn ports(transport: &[u8; 8]) -> u32 {
    be32(transport, 0)
}

/// Sequence number, acknowledgment number and window of a TCP header.
#[inline(always)]
#[must_use]
pub fn numbers(transport: &[u8; 16]) -> (u32, u32, u16) {
    (be32(transport, 4), be32(transport, 8), be16(transport, 14))
}

/// The tuple of a plain packet.
#[must_use]
pub fn tuple(data: &[u8], plain: Plain) -> Option<Tuple> {
    let proto = if matches!(plain, Plain::Tcp4 | Plain::Tcp6) { proto::TCP } else { proto::UDP };
    let (family, src, dst, transport) = match plain {
        Plain::Tcp4 | Plain::Udp4 => {
            let (front, transport) = data.split_first_chunk()?;
            let both = addresses_v4(front);
            (Family::V4, Addr::v4((both >> 32) as u32), Addr::v4(both as u32), transport)
        }
        Plain::Tcp6 | Plain::Udp6 => {
            let (front, transport) = data.split_first_chunk()?;
            let [a, b, c, d] = addresses_v6(front).map(u64::from_be);
            (Family::V6, Addr { hi: a, lo: b }, Addr { hi: c, lo: d }, transport)
        }
    };
    let ports = ports(transport.first_chunk()?);
    Some(Tuple { src, dst, src_key: (ports >> 16) as u16, dst_key: ports as u16, proto, family })
}

/// A frame's IP header if it may be a plain packet's: the protocol, and the octets behind the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// IPv4.
    V4(u8, usize),
    /// IPv6.
    V6(u8, usize),
}

/// Looks at a frame's link and IP header. `None`: it is not plain, or not as it should be. With what it is come the first
/// eight octets as they lie there: the destination's link address, and two octets of the source's.
#[inline(always)]
#[must_use]
pub fn front(data: &[u8]) -> Option<(Front, u64)> {
    let h = data.first_chunk::<{ PLAIN_V4 + udp::HEADER_LEN }>()?;
    // EtherType, version and header length.
    let front = if be(h, 12) >> 40 == 0x08_0045 { front_v4(data) } else { front_v6(data) };
    Some((front?, u64::from_le(ne(h, 0))))
}

#[inline(always)]
fn front_v4(data: &[u8]) -> Option<Front> {
    let h = data.first_chunk::<{ PLAIN_V4 + udp::HEADER_LEN }>()?;
    let total = usize::from(be16(h, 16));
    let flags = u16::from_be_bytes([h[20], h[21]]);
    // The header's sum is all ones; it does not care about the octets' order (RFC 1071 section 2 (B)).
    let (sum, carry) = ne(h, 14).overflowing_add(ne(h, 22));
    let (sum, more) = sum.overflowing_add(ne32(h, 30) + u64::from(carry));
    let sum = sum + u64::from(more);
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    let sum = sum.wrapping_add(sum.rotate_left(16)) >> 16;
    if sum != 0xffff
        || flags & (ipv4::FLAG_MF | ipv4::OFFSET_MASK) != 0
        || total < ipv4::HEADER_LEN
        || ethernet::HEADER_LEN + total > data.len()
    {
        return None;
    }
    Some(Front::V4(h[23], total - ipv4::HEADER_LEN))
}

#[inline(always)]
fn front_v6(data: &[u8]) -> Option<Front> {
    let h = data.first_chunk::<{ PLAIN_V6 + udp::HEADER_LEN }>()?;
    let word = be(h, 12);
    let len = usize::from(word as u16);
    // EtherType and version.
    if word >> 44 != 0x8_6dd6 || PLAIN_V6 + len > data.len() {
        return None;
    }
    Some(Front::V6(h[20], len))
}

/// Looks at the TCP header at `AT`, `len` octets from the datagram's end. `None`: the segment is not plain.
#[inline(always)]
#[must_use]
pub fn segment<const AT: usize>(data: &[u8], len: usize) -> Option<Extent> {
    const NEITHER: u16 = (TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST) as u16;
    let h = data.get(AT..)?.first_chunk::<{ tcp::HEADER_LEN }>()?;
    let word = be16(h, 12);
    // The flags, and the header's length without options.
    let plain = word & (0xf000 | NEITHER | TcpFlags::ACK as u16);
    let (header, sacked) = if plain == 0x5010 { (tcp::HEADER_LEN, 0) } else { optional::<AT>(data, plain)? };
    let payload = len.wrapping_sub(header);
    // Else it is a negative number.
    (payload <= 0xffff).then_some(Extent { payload: payload as u16, sacked })
}

/// Length of a header with options, and by how much SACK blocks reach beyond the acknowledgment.
#[inline(always)]
fn optional<const AT: usize>(data: &[u8], plain: u16) -> Option<(usize, u32)> {
    let options = data.get(AT + tcp::HEADER_LEN..)?;
    if plain == 0x8010 && options.first_chunk() == Some(&tcp::TIMESTAMPS_ONLY) {
        return Some((32, 0));
    }
    if plain & 0xff == u16::from(TcpFlags::ACK) { other_options(data.get(AT..)?, plain) } else { None }
}

#[cold]
#[inline(never)]
fn other_options(l4: &[u8], plain: u16) -> Option<(usize, u32)> {
    let header = usize::from(plain >> 12) * 4;
    let ack = be32(l4.first_chunk::<{ tcp::HEADER_LEN }>()?, 8);
    let mut segment = Segment { ack, sack: ack, ..Segment::default() };
    tcp::read_options(l4.get(tcp::HEADER_LEN..header)?, &mut segment);
    Some((header, segment.sack.wrapping_sub(ack)))
}

/// Looks at the TCP header at `AT`, `len` octets from the datagram's end, of a segment that is not plain. `None`: it is not
/// turning either.
#[inline(always)]
#[must_use]
pub fn turning<const AT: usize>(data: &[u8], len: usize) -> Option<Extent> {
    const FIN_ACK: u8 = TcpFlags::FIN | TcpFlags::ACK;
    const SYN_ACK: u8 = TcpFlags::SYN | TcpFlags::ACK;
    const RST_ACK: u8 = TcpFlags::RST | TcpFlags::ACK;
    let l4 = data.get(AT..)?;
    let h = l4.first_chunk::<{ tcp::HEADER_LEN }>()?;
    let header = usize::from(h[12] >> 4) * 4;
    let options = l4.get(tcp::HEADER_LEN..header)?;
    let payload = len.wrapping_sub(header);
    if payload > 0xffff {
        return None;
    }
    let opens = match h[13] & !(TcpFlags::PSH | TcpFlags::ECE | TcpFlags::CWR) {
        TcpFlags::SYN | SYN_ACK => true,
        FIN_ACK | TcpFlags::RST | RST_ACK => false,
        _ => return None,
    };
    let mut sacked = 0;
    if !options.is_empty() && (opens || options.len() != 12 || options.first_chunk() != Some(&tcp::TIMESTAMPS_ONLY)) {
        let ack = be32(h, 8);
        let mut segment = Segment { ack, sack: ack, ..Segment::default() };
        tcp::read_options(options, &mut segment);
        sacked = segment.sack.wrapping_sub(ack);
        if opens {
            if sacked != 0 {
                return None;
            }
            let shift = segment.wscale.map_or(0, |shift| u32::from(shift) + 1);
            sacked = shift | if segment.sack_permitted { SACK_OFFERED } else { 0 };
        }
    }
    Some(Extent { payload: payload as u16, sacked })
}

/// Whether a TCP header has SYN and not ACK.
#[inline(always)]
#[must_use]
pub fn opens(h: &[u8; tcp::HEADER_LEN]) -> bool {
    h[13] & (TcpFlags::SYN | TcpFlags::ACK) == TcpFlags::SYN
}

/// The segment of a TCP header, of which a glance showed the rest.
#[inline(always)]
#[must_use]
pub fn whole(h: &[u8; tcp::HEADER_LEN], extent: Extent) -> Segment {
    let (ack, flags) = (be32(h, 8), TcpFlags(h[13]));
    let Extent { payload, sacked } = extent;
    let (sacked, offers) = if flags.has(TcpFlags::SYN) { (0, sacked) } else { (sacked, 0) };
    Segment {
        seq: be32(h, 4),
        ack,
        sack: ack.wrapping_add(sacked),
        payload: payload.into(),
        window: be16(h, 14),
        flags,
        wscale: (offers as u8).checked_sub(1),
        sack_permitted: offers & SACK_OFFERED != 0,
        has_options: h[12] >> 4 > 5,
    }
}

/// Looks at the UDP header at `AT`, `len` octets from the datagram's end. `None`: it is not as it should be.
#[inline(always)]
#[must_use]
pub fn datagram<const AT: usize>(data: &[u8], len: usize) -> Option<Extent> {
    let h = data.get(AT..)?.first_chunk::<{ udp::HEADER_LEN }>()?;
    let length = usize::from(be16(h, 4));
    (length >= udp::HEADER_LEN && length <= len).then_some(Extent { payload: 0, sacked: 0 })
}

/// Whether the transport checksum of a plain packet is right. (A UDP checksum of 0, which is none, is rare enough to
/// be looked at elsewhere.)
#[inline(never)]
#[must_use]
pub fn sums_up(data: &[u8], front: Front) -> bool {
    let (src, dst, at, proto, len) = match front {
        Front::V4(proto, len) => {
            let Some(both) = data.first_chunk().map(addresses_v4) else { return false };
            (Addr::v4((both >> 32) as u32), Addr::v4(both as u32), PLAIN_V4, proto, len)
        }
        Front::V6(proto, len) => {
            let Some([a, b, c, d]) = data.first_chunk().map(|h| addresses_v6(h).map(u64::from_be)) else {
                return false;
            };
            (Addr { hi: a, lo: b }, Addr { hi: c, lo: d }, PLAIN_V6, proto, len)
        }
    };
    let l4 = data.get(at..at + len).unwrap_or_default();
    checksum::fold(checksum::pseudo(src, dst, proto, len as u32) + checksum::sum(l4)) == 0xffff
}

/// What [`parse`](super::parse()) says of a plain packet or a turning segment: what a glance saw, and what it left to be read.
/// The window scale and whether SACK is permitted are left out where there is no SYN, for they mean something with it alone. `false`: that was not seen of this frame.
#[inline]
#[must_use]
pub fn expand(out: &mut Parsed, data: &[u8], plain: Plain, (end, extent): (u32, Extent)) -> bool {
    match plain {
        Plain::Tcp4 | Plain::Udp4 => {
            let Some(h) = data.first_chunk::<{ PLAIN_V4 + udp::HEADER_LEN }>() else { return false };
            let ends = [Addr::v4(be32(h, 26)), Addr::v4(be32(h, 30))];
            (out.kind, out.l4, out.ttl, out.tos) = (Kind::Ipv4, PLAIN_V4 as u16, h[22], h[15]);
            out.dont_fragment = be16(h, 20) & ipv4::FLAG_DF != 0;
            expand_transport::<PLAIN_V4>(out, data, (Family::V4, ends), (end, extent), plain == Plain::Tcp4)
        }
        Plain::Tcp6 | Plain::Udp6 => {
            let Some(h) = data.first_chunk::<{ PLAIN_V6 + udp::HEADER_LEN }>() else { return false };
            let ends = [22, 38].map(|at| Addr { hi: be(h, at), lo: be(h, at + 8) });
            (out.kind, out.l4, out.ttl, out.tos) = (Kind::Ipv6, PLAIN_V6 as u16, h[21], h[14] << 4 | h[15] >> 4);
            out.dont_fragment = true;
            expand_transport::<PLAIN_V6>(out, data, (Family::V6, ends), (end, extent), plain == Plain::Tcp6)
        }
    }
}

#[inline(always)]
fn expand_transport<const AT: usize>(
    out: &mut Parsed,
    data: &[u8],
    (family, [src, dst]): (Family, [Addr; 2]),
    (end, extent): (u32, Extent),
    tcp: bool,
) -> bool {
    let Some(h) = data.get(AT..).and_then(|l4| l4.first_chunk::<8>()) else { return false };
    let (src_key, dst_key) = (be16(h, 0), be16(h, 2));
    let (proto, l4, begin) = if tcp {
        let Some(h) = data.get(AT..).and_then(|l4| l4.first_chunk::<{ tcp::HEADER_LEN }>()) else { return false };
        let segment = whole(h, extent);
        (proto::TCP, L4::Tcp(segment), end - u32::from(extent.payload))
    } else {
        (proto::UDP, L4::Udp, (AT + udp::HEADER_LEN) as u32)
    };
    out.vlan = Vlan { depth: 0, vids: [0; 2] };
    (out.l3, out.end, out.payload) = (LINK as u16, end, begin);
    out.link_group = data.first().is_some_and(|octet| octet & 1 == 1);
    out.fragment = None;
    out.summary =
        Summary { track: Track::Tuple, tuple: Tuple { src, dst, src_key, dst_key, proto, family }, l4, defect: None };
    true
}

/// Counts the TTL of a plain IPv4 packet, which is not 0, down and sets the link addresses.
#[inline(always)]
pub fn send_on_v4(front: &mut [u8; PLAIN_V4], link: &[u8; 12]) {
    let check = u32::from(be16(front, 24));
    // RFC 1624 equation 3, for a word that becomes less by 0x100.
    let check = (check + 0x100 + u32::from(check >= 0xfeff)) as u16;
    front[22] = front[22].wrapping_sub(1);
    [front[24], front[25]] = check.to_be_bytes();
    if let Some(place) = front.first_chunk_mut() {
        *place = *link;
    }
}

/// Counts the hop limit of a plain IPv6 packet, which is not 0, down and sets the link addresses.
#[inline(always)]
pub fn send_on_v6(front: &mut [u8; PLAIN_V6], link: &[u8; 12]) {
    front[21] = front[21].wrapping_sub(1);
    if let Some(place) = front.first_chunk_mut() {
        *place = *link;
    }
}
