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

use super::ethernet::{Vlan, ethertype};
use super::parse::{Kind, Parsed};
use super::{checksum, ethernet, ipv4, ipv6, tcp, udp};
use crate::net::{Addr, Family, L4, Segment, Summary, TcpFlags, Track, Tuple, proto};

/// Octets of the link header of a plain packet.
pub const LINK: u32 = ethernet::HEADER_LEN as u32;

/// Where the transport header of a plain IPv4 packet begins.
pub const PLAIN_V4: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;

/// Where the transport header of a plain IPv6 packet begins.
pub const PLAIN_V6: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN;

/// Octets up to the end of the ordinary TCP header of a plain IPv4 packet.
pub const TCP_V4: usize = PLAIN_V4 + tcp::HEADER_LEN;

/// Octets up to the end of the ordinary TCP header of a plain IPv6 packet.
pub const TCP_V6: usize = PLAIN_V6 + tcp::HEADER_LEN;

/// Octets up to the end of the UDP header of a plain IPv4 packet.
pub const UDP_V4: usize = PLAIN_V4 + udp::HEADER_LEN;

/// Octets up to the end of the UDP header of a plain IPv6 packet.
pub const UDP_V6: usize = PLAIN_V6 + udp::HEADER_LEN;

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

/// What a plain packet's transport header says of its extent. One word, so that it is noted by one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent(u64);

impl Extent {
    /// Of no segment.
    pub const NOTHING: Extent = Extent::new(0, 0);

    /// Of a segment with less than 64 KiB.
    #[inline(always)]
    #[must_use]
    pub const fn new(payload: u32, sacked: u32) -> Extent {
        Extent(payload as u64 | (sacked as u64) << 32)
    }

    /// Octets of payload of a TCP segment.
    #[inline(always)]
    #[must_use]
    pub const fn payload(self) -> u16 {
        self.0 as u16
    }

    /// The same of a segment without SACK, and none of another.
    #[inline(always)]
    #[must_use]
    pub const fn all_payload(self) -> Option<u16> {
        if self.0 <= 0xffff { Some(self.0 as u16) } else { None }
    }

    /// By how much the furthest SACK block reaches beyond the acknowledgment. The options of a SYN are left to be read by
    /// [`whole`].
    #[inline(always)]
    #[must_use]
    pub const fn sacked(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

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
fn le32<const N: usize>(h: &[u8; N], at: usize) -> u32 {
    h.get(at..).and_then(|d| d.first_chunk()).map_or(0, |d| u32::from_le_bytes(*d))
}

#[inline(always)]
fn be32<const N: usize>(h: &[u8; N], at: usize) -> u32 {
    h.get(at..).and_then(|d| d.first_chunk()).map_or(0, |d| u32::from_be_bytes(*d))
}

#[inline(always)]
fn be16<const N: usize>(h: &[u8; N], at: usize) -> u16 {
    h.get(at..).and_then(|d| d.first_chunk()).map_or(0, |d| u16::from_be_bytes(*d))
}

/// Source and destination of a plain IPv4 packet, each as it lies there.
#[inline(always)]
#[must_use]
pub fn ends_v4(front: &[u8; PLAIN_V4]) -> [u32; 2] {
    [ne32(front, 26) as u32, ne32(front, 30) as u32]
}

/// Both ends of a plain IPv4 packet, the source's first: address, the other end's port and its own, in the octets' order of
/// the packet.
#[inline(always)]
#[must_use]
pub fn whole_ends_v4<const N: usize>(front: &[u8; N]) -> [u64; 2] {
    const { assert!(N >= UDP_V4, "the ports are there") };
    let (src, turned) = (ne32(front, 26), (ne32(front, PLAIN_V4) as u32).rotate_left(16));
    let src =
        if cfg!(target_endian = "little") { src | u64::from(turned) << 32 } else { src << 32 | u64::from(turned) };
    [src, ne(front, 30)]
}

/// Source and destination port, each as it lies there.
#[inline(always)]
#[must_use]
pub fn port_ends(transport: &[u8; 8]) -> [u16; 2] {
    let [a, b, c, d, ..] = *transport;
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])]
}

/// The same as one word.
#[inline(always)]
#[must_use]
pub fn both_ports(transport: &[u8; 8]) -> u32 {
    ne32(transport, 0) as u32
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

/// The same as octets.
#[inline(always)]
#[must_use]
pub fn address_octets_v6(front: &[u8; PLAIN_V6]) -> &[u8; 32] {
    front.last_chunk().unwrap_or(&[0; 32])
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

/// Octets that every plain packet has.
pub const LEAST: usize = UDP_V4;

/// What kind of packet a frame has if it is plain, by EtherType, version and protocol. That its headers are otherwise as they
/// should be is still to be seen.
#[inline]
#[must_use]
pub fn kind(front: &[u8; LEAST]) -> Option<Plain> {
    const TCP: u32 = (proto::TCP as u32) << 24;
    const UDP: u32 = (proto::UDP as u32) << 24;
    let (link, word) = (le32(front, 12), le32(front, 20));
    if link & 0x00ff_ffff == u32::from_le_bytes([0x08, 0x00, 0x45, 0]) {
        // No offset and no more fragments, and the protocol behind the TTL.
        const FRAGMENT: [u8; 2] = (ipv4::FLAG_MF | ipv4::OFFSET_MASK).to_be_bytes();
        match word & u32::from_le_bytes([FRAGMENT[0], FRAGMENT[1], 0, 0xff]) {
            TCP => Some(Plain::Tcp4),
            UDP => Some(Plain::Udp4),
            _ => None,
        }
    } else if link & 0x00f0_ffff == u32::from_le_bytes([0x86, 0xdd, 0x60, 0]) {
        match word as u8 {
            proto::TCP => Some(Plain::Tcp6),
            proto::UDP => Some(Plain::Udp6),
            _ => None,
        }
    } else {
        None
    }
}

/// The family of the packet in a frame without tags.
#[must_use]
pub fn family(data: &[u8]) -> Option<Family> {
    match u16::from_be_bytes(*data.get(12..)?.first_chunk()?) {
        ethertype::IPV4 => Some(Family::V4),
        ethertype::IPV6 => Some(Family::V6),
        _ => None,
    }
}

/// Octets of a frame by which its kind is told.
pub const TELLING: usize = 32;

/// What tells frames of one kind, and those that are for a port: the bits that matter, and what they are.
#[derive(Clone, Copy, Debug)]
pub struct Tell {
    /// The bits.
    pub mask: [u8; TELLING],
    /// What they are; others are not set.
    pub wanted: [u8; TELLING],
}

impl Tell {
    /// Of a kind, for any port but not for a group. That its headers are otherwise as they should be is still to be seen.
    #[must_use]
    pub const fn of(plain: Plain) -> Tell {
        let (mut mask, mut wanted) = ([0; TELLING], [0; TELLING]);
        mask[0] = 1;
        (mask[12], mask[13]) = (0xff, 0xff);
        let (protocol, next) = match plain {
            Plain::Tcp4 | Plain::Udp4 => {
                (wanted[12], wanted[13]) = (0x08, 0x00);
                (mask[14], wanted[14]) = (0xff, 0x45);
                // No offset and no more fragments.
                [mask[20], mask[21]] = (ipv4::FLAG_MF | ipv4::OFFSET_MASK).to_be_bytes();
                (23, if matches!(plain, Plain::Tcp4) { proto::TCP } else { proto::UDP })
            }
            Plain::Tcp6 | Plain::Udp6 => {
                (wanted[12], wanted[13]) = (0x86, 0xdd);
                (mask[14], wanted[14]) = (0xf0, 0x60);
                (20, if matches!(plain, Plain::Tcp6) { proto::TCP } else { proto::UDP })
            }
        };
        (mask[protocol], wanted[protocol]) = (0xff, next);
        Tell { mask, wanted }
    }

    /// The same, for the port with that link address.
    #[must_use]
    pub const fn to(mut self, [a, b, c, d, e, f]: [u8; 6]) -> Tell {
        [self.mask[0], self.mask[1], self.mask[2], self.mask[3], self.mask[4], self.mask[5]] = [0xff; 6];
        [self.wanted[0], self.wanted[1], self.wanted[2], self.wanted[3], self.wanted[4], self.wanted[5]] =
            [a, b, c, d, e, f];
        self
    }
}

/// One past the datagram of a frame of kind [`Plain::Tcp4`] or [`Plain::Udp4`], as its header has it. `N` is at least 18.
#[inline(always)]
#[must_use]
pub fn end_v4<const N: usize>(front: &[u8; N]) -> u32 {
    LINK + u32::from(be16(front, 16))
}

/// The same of kind [`Plain::Tcp6`] or [`Plain::Udp6`]. `N` is at least 20.
#[inline(always)]
#[must_use]
pub fn end_v6<const N: usize>(front: &[u8; N]) -> u32 {
    PLAIN_V6 as u32 + u32::from(be16(front, 18))
}

/// Whether the IPv4 header of a frame of kind [`Plain::Tcp4`] or [`Plain::Udp4`] sums up. `N` is at least 34.
#[inline(always)]
#[must_use]
pub fn header_sums_up<const N: usize>(front: &[u8; N]) -> bool {
    // The header's sum is all ones; it does not care about the octets' order (RFC 1071 section 2 (B)). All ones are the
    // multiples of 65535 but for 0, which a version keeps the sum from; words of 64 bits are summed up alike, for their
    // all ones are one. The division is Lemire's: by the inverse, after which no multiple is above the quotient of
    // the greatest number.
    let (sum, first) = ne(front, 14).overflowing_add(ne(front, 26));
    let (sum, second) = sum.overflowing_add(ne32(front, 22));
    let (sum, third) = sum.overflowing_add(u64::from(first));
    let sum = sum.wrapping_add(u64::from(second | third));
    sum.wrapping_mul(0xfffe_fffe_fffe_ffff) <= u64::MAX / 0xffff
}

/// Octets behind the IP header of a frame of kind [`Plain::Tcp4`] or [`Plain::Udp4`]. `None`: the header is not as it should
/// be.
#[inline(always)]
#[must_use]
pub fn len_v4(data: &[u8]) -> Option<usize> {
    let h = data.first_chunk::<LEAST>()?;
    let end = end_v4(h) as usize;
    (header_sums_up(h) && end >= PLAIN_V4 && end <= data.len()).then(|| end - PLAIN_V4)
}

/// The same of kind [`Plain::Tcp6`] or [`Plain::Udp6`].
#[inline(always)]
#[must_use]
pub fn len_v6(data: &[u8]) -> Option<usize> {
    let end = end_v6(data.first_chunk::<UDP_V6>()?) as usize;
    (end <= data.len()).then(|| end - PLAIN_V6)
}

/// Octets from the `from`-th on that are the datagram's, which should end at `end`. `None`: it ends in front of that, or the
/// frame, of `len` octets, does before the datagram.
#[inline(always)]
fn behind(len: usize, from: usize, end: u32) -> Option<u32> {
    // What is less than nothing is a great number.
    let octets = end.wrapping_sub(from as u32);
    (len >= from && octets as usize <= len - from).then_some(octets)
}

/// Looks at the TCP header at `AT`, of which the octets up to `N` are given, of a datagram that should end at `end`. `None`:
/// the segment is not plain, or the frame does not reach that far.
#[inline(always)]
#[must_use]
pub fn segment<const AT: usize, const N: usize>(data: &[u8], front: &[u8; N], end: u32) -> Option<Extent> {
    const NEITHER: u16 = (TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST) as u16;
    // The flags, and the header's length without options.
    let plain = be16(front, AT + 12) & (0xf000 | NEITHER | TcpFlags::ACK as u16);
    if plain == 0x5010 {
        return behind(data.len(), N, end).map(|payload| Extent::new(payload, 0));
    }
    let (header, sacked) = optional::<AT>(data, plain)?;
    behind(data.len(), AT + header, end).map(|payload| Extent::new(payload, sacked))
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

/// The same of a segment that may be plain or turning, where which it is cannot be foreseen and is not branched on. `None`: it is
/// neither, or [`segment`] and [`turning`] must have a closer look at its options.
#[inline(always)]
#[must_use]
pub fn any_segment<const AT: usize, const N: usize>(data: &[u8], front: &[u8; N], end: u32) -> Option<Extent> {
    let word = be16(front, AT + 12);
    let flags = word as u8 & ALL;
    let header = usize::from(word >> 12) * 4;
    let special = (header != tcp::HEADER_LEN) & (flags & TcpFlags::SYN == 0);
    if (ORDINARY >> flags & 1 == 0)
        | (header < tcp::HEADER_LEN)
        | (special && data.get(AT + tcp::HEADER_LEN..)?.first_chunk() != Some(&tcp::TIMESTAMPS_ONLY))
        | (special && header != tcp::HEADER_LEN + 12)
    {
        return None;
    }
    behind(data.len(), AT + header, end).map(|payload| Extent::new(payload, 0))
}

/// The flags a segment's class hangs on.
const ALL: u8 = TcpFlags::FIN | TcpFlags::SYN | TcpFlags::RST | TcpFlags::PSH | TcpFlags::ACK | TcpFlags::URG;

/// One bit for each of their values: it is set for those of plain and of turning segments.
const ORDINARY: u64 = {
    let (mut ordinary, mut flags) = (0, 0);
    while flags <= ALL {
        if is_plain(flags) || turns(flags) {
            ordinary |= 1 << flags;
        }
        flags += 1;
    }
    ordinary
};

/// Whether flags are those of a plain segment.
const fn is_plain(flags: u8) -> bool {
    flags & (TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST | TcpFlags::ACK) == TcpFlags::ACK
}

/// Whether flags are those of a turning segment.
#[inline(always)]
#[must_use]
const fn turns(flags: u8) -> bool {
    const FIN_ACK: u8 = TcpFlags::FIN | TcpFlags::ACK;
    const SYN_ACK: u8 = TcpFlags::SYN | TcpFlags::ACK;
    const RST_ACK: u8 = TcpFlags::RST | TcpFlags::ACK;
    matches!(
        flags & !(TcpFlags::PSH | TcpFlags::ECE | TcpFlags::CWR),
        TcpFlags::SYN | SYN_ACK | FIN_ACK | TcpFlags::RST | RST_ACK
    )
}

/// Whether a segment that is plain or turning is turning.
#[inline(always)]
#[must_use]
pub fn is_turning<const N: usize>(h: &[u8; N], at: usize) -> bool {
    h.get(at + 13).is_some_and(|flags| flags & (TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST) != 0)
}

/// Looks at the TCP header at `AT`, `len` octets from the datagram's end, of a segment that is not plain. `None`: it is not
/// turning either.
#[inline(always)]
#[must_use]
pub fn turning<const AT: usize>(data: &[u8], len: usize) -> Option<Extent> {
    let l4 = data.get(AT..)?;
    let h = l4.first_chunk::<{ tcp::HEADER_LEN }>()?;
    let header = usize::from(h[12] >> 4) * 4;
    let options = l4.get(tcp::HEADER_LEN..header)?;
    let payload = len.wrapping_sub(header);
    if payload > 0xffff {
        return None;
    }
    if !turns(h[13]) {
        return None;
    }
    let mut sacked = 0;
    let opens = h[13] & TcpFlags::SYN != 0;
    if !opens && !options.is_empty() && (options.len() != 12 || options.first_chunk() != Some(&tcp::TIMESTAMPS_ONLY)) {
        let ack = be32(h, 8);
        let mut segment = Segment { ack, sack: ack, ..Segment::default() };
        tcp::read_options(options, &mut segment);
        sacked = segment.sack.wrapping_sub(ack);
    }
    Some(Extent::new(payload as u32, sacked))
}

/// Whether a TCP header has SYN and not ACK.
#[inline(always)]
#[must_use]
pub fn opens(h: &[u8; tcp::HEADER_LEN]) -> bool {
    h[13] & (TcpFlags::SYN | TcpFlags::ACK) == TcpFlags::SYN
}

/// The segment of which a glance showed the extent, from its header on. `None` is none that a glance showed.
#[inline(always)]
#[must_use]
pub fn whole(l4: &[u8], extent: Extent) -> Option<Segment> {
    let h = l4.first_chunk::<{ tcp::HEADER_LEN }>()?;
    let (ack, flags, header) = (be32(h, 8), TcpFlags(h[13]), usize::from(h[12] >> 4) * 4);
    let (payload, sacked) = (extent.payload(), extent.sacked());
    let mut segment = Segment {
        seq: be32(h, 4),
        ack,
        sack: ack.wrapping_add(sacked),
        payload: payload.into(),
        window: be16(h, 14),
        flags,
        wscale: None,
        sack_permitted: false,
        has_options: header > tcp::HEADER_LEN,
    };
    if flags.has(TcpFlags::SYN) && segment.has_options {
        tcp::read_options(l4.get(tcp::HEADER_LEN..header)?, &mut segment);
    }
    Some(segment)
}

/// Looks at the UDP header that ends at `N`, of a datagram that should end at `end`. Whether it is as it should be, and the
/// frame reaches that far.
#[inline(always)]
#[must_use]
pub fn datagram<const N: usize>(data: &[u8], front: &[u8; N], end: u32) -> bool {
    let length = u32::from(be16(front, N - 4));
    behind(data.len(), N, end).is_some_and(|behind| length.wrapping_sub(udp::HEADER_LEN as u32) <= behind)
}

/// Whether the transport checksum of a plain packet is right. (A UDP checksum of 0, which is none, is rare enough to
/// be looked at elsewhere.)
#[inline(never)]
#[must_use]
pub fn sums_up(data: &[u8], plain: Plain, len: usize) -> bool {
    let protocol = if matches!(plain, Plain::Tcp4 | Plain::Tcp6) { proto::TCP } else { proto::UDP };
    let (src, dst, at) = match plain {
        Plain::Tcp4 | Plain::Udp4 => {
            let Some(both) = data.first_chunk().map(addresses_v4) else { return false };
            (Addr::v4((both >> 32) as u32), Addr::v4(both as u32), PLAIN_V4)
        }
        Plain::Tcp6 | Plain::Udp6 => {
            let Some([a, b, c, d]) = data.first_chunk().map(|h| addresses_v6(h).map(u64::from_be)) else {
                return false;
            };
            (Addr { hi: a, lo: b }, Addr { hi: c, lo: d }, PLAIN_V6)
        }
    };
    let l4 = data.get(at..at + len).unwrap_or_default();
    checksum::fold(checksum::pseudo(src, dst, protocol, len as u32) + checksum::sum(l4)) == 0xffff
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
        let Some(segment) = data.get(AT..).and_then(|l4| whole(l4, extent)) else { return false };
        (proto::TCP, L4::Tcp(segment), end - u32::from(extent.payload()))
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
    // RFC 1624 equation 3, for a TTL that becomes less by one: the checksum's first octet becomes greater by one, and what it
    // carries goes to the second. Of all ones, which such a sum never is, there is one more.
    let sum = u32::from(u16::from_le_bytes([front[24], front[25]]));
    let sum = sum.wrapping_add(1).wrapping_add(u32::from(sum >= 0xfffe));
    [front[24], front[25]] = (sum as u16).to_le_bytes();
    front[22] = front[22].wrapping_sub(1);
    if let Some(place) = front.first_chunk_mut() {
        *place = *link;
    }
}

/// Whether the checksum of a plain IPv4 packet carries nothing when its TTL is counted down: of 65,536, two do.
#[inline(always)]
#[must_use]
pub const fn carries_nothing_v4(front: &[u8; PLAIN_V4]) -> bool {
    u16::from_le_bytes([front[24], front[25]]) < 0xfffe
}

/// [`send_on_v4`] of a packet whose checksum carries nothing.
#[inline(always)]
pub fn send_on_at_once_v4(front: &mut [u8; PLAIN_V4], link: &[u8; 12]) {
    // TTL, protocol and checksum: one less in the first octet, one more in the third.
    let word = u32::from_le_bytes([front[22], front[23], front[24], front[25]]).wrapping_add(0xffff);
    [front[22], front[23], front[24], front[25]] = word.to_le_bytes();
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
