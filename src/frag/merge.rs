//! Putting a datagram together: headers of the first fragment, data of all.

use super::{FragmentInfo, MAX_LINK_HEADER};
use crate::net::{Family, proto};

/// Largest IP packet without a jumbo payload option.
const MAX_PACKET: usize = 65_535;
const IPV6_HEADER: usize = 40;
const FRAGMENT_HEADER: usize = 8;
/// Extension headers looked through before the check of the first fragment gives up and lets it be.
const MAX_EXTENSIONS: usize = 16;

/// A complete datagram in a buffer of the reassembler, to be parsed like a received frame.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// Link header of the first fragment, its IP header with the lengths of the whole, then all data. IPv4: fragment
    /// fields cleared, header checksum right. IPv6: without the fragment header.
    pub bytes: &'a [u8],
    /// Where the IP header stands in `bytes`.
    pub l3: usize,
    /// No fragment's transport checksum is in doubt: each port verified it, or its sender left it to be filled
    /// in. The whole then counts as verified.
    pub trusted: bool,
}

/// The part of a fragment's description that is needed to put the datagram together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    pub(super) offset: u16,
    pub(super) len: u16,
    l3: u16,
    header_len: u16,
    next_header: u16,
    proto: u8,
}

impl Piece {
    pub(super) fn new(info: &FragmentInfo, len: u16) -> Self {
        let &FragmentInfo { offset, l3, header_len, next_header, proto, .. } = info;
        Piece { offset, len, l3, header_len, next_header, proto }
    }

    /// Octets of the IP header and what stays in front of the data in the whole datagram.
    fn kept_headers(&self, family: Family) -> usize {
        match family {
            Family::V4 => usize::from(self.header_len),
            Family::V6 => usize::from(self.header_len).saturating_sub(FRAGMENT_HEADER),
        }
    }
}

/// Whether the description fits the frame: all it speaks of is there.
pub(super) fn fits(info: &FragmentInfo, frame: &[u8]) -> bool {
    let (l3, header_len) = (usize::from(info.l3), usize::from(info.header_len));
    let headers = match info.family {
        Family::V4 => header_len >= 20,
        Family::V6 => {
            header_len >= IPV6_HEADER + FRAGMENT_HEADER && usize::from(info.next_header) + FRAGMENT_HEADER < header_len
        }
    };
    l3 <= MAX_LINK_HEADER
        && headers
        && l3 + header_len + usize::from(info.len) <= frame.len()
        && info.offset.is_multiple_of(8)
}

/// Payload Length is 0, as with a jumbo payload option, which excludes a fragment header (RFC 2675 section 3).
pub(super) fn is_jumbo(info: &FragmentInfo, frame: &[u8]) -> bool {
    let at = usize::from(info.l3) + 4;
    info.family == Family::V6 && frame.get(at..at + 2) == Some(&[0, 0])
}

/// An IPv6 first fragment that does not hold the complete header chain (RFC 8200 section 4.5, RFC 7112): the
/// transport header (TCP 20 octets, UDP and ICMPv6 8, others 1) goes beyond the fragment. A chain that
/// cannot be followed to its end is not called truncated, as in Linux.
pub(super) fn lacks_upper_header(info: &FragmentInfo, frame: &[u8]) -> bool {
    if info.family != Family::V6 || info.offset != 0 {
        return false;
    }
    let start = usize::from(info.l3) + usize::from(info.header_len);
    let data = frame.get(start..start + usize::from(info.len)).unwrap_or_default();
    let (mut next, mut at) = (info.proto, 0);
    for _ in 0..MAX_EXTENSIONS {
        let header = || data.get(at..at + 2).map(|h| (h[0], usize::from(h[1])));
        let len = match next {
            // Hop-by-hop, routing, destination options.
            0 | 43 | 60 => header().map(|(after, n)| (after, (n + 1) * 8)),
            // Authentication (RFC 4302 section 2.2).
            51 => header().map(|(after, n)| (after, (n + 2) * 4)),
            // A fragment header within; behind a non-zero offset there is nothing to be found.
            44 => match data.get(at + 2..at + 4) {
                Some(&[high, low]) if high != 0 || low & 0xf8 != 0 => return false,
                _ => header().map(|(after, _)| (after, FRAGMENT_HEADER)),
            },
            59 => None,
            proto::TCP => return at + 20 > data.len(),
            proto::UDP | proto::ICMPV6 => return at + 8 > data.len(),
            _ => return at + 1 > data.len(),
        };
        let Some((after, octets)) = len else { return false };
        next = after;
        at += octets;
    }
    false
}

/// Cuts an IPv4 fragment's data down to `len` octets: total length, header checksum and frame.
pub(super) fn cut_ipv4(info: &FragmentInfo, len: u16, frame: &mut crate::frame::Frame) {
    let (l3, header_len) = (usize::from(info.l3), usize::from(info.header_len));
    let end = l3 + header_len + usize::from(len);
    frame.set_len(end.min(frame.len()));
    if let Some(header) = frame.data_mut().get_mut(l3..l3 + header_len) {
        put(header, 2, info.header_len + len);
        checksum_ipv4(header);
    }
}

fn put(octets: &mut [u8], at: usize, value: u16) {
    if let Some(to) = octets.get_mut(at..at + 2) {
        to.copy_from_slice(&value.to_be_bytes());
    }
}

/// Computes the header checksum anew (RFC 791 section 3.1, RFC 1071).
fn checksum_ipv4(header: &mut [u8]) {
    put(header, 10, 0);
    let mut sum: u32 = header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    put(header, 10, !(sum as u16));
}

/// The buffer datagrams are put together in.
#[derive(Debug)]
pub(super) struct Scratch {
    bytes: Box<[u8]>,
}

/// Where in the buffer a datagram stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    l3: usize,
    end: usize,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Scratch { bytes: vec![0; MAX_LINK_HEADER + IPV6_HEADER + MAX_PACKET].into_boxed_slice() }
    }

    /// Starts with the headers of the first fragment, for `total` octets of data. `None` if the whole would
    /// be larger than an IP packet can be.
    pub(super) fn start(&mut self, family: Family, first: &Piece, total: u32, frame: &[u8]) -> Option<Extent> {
        let l3 = usize::from(first.l3);
        let headers = first.kept_headers(family);
        let total = total as usize;
        let counted = match family {
            Family::V4 => headers + total,
            Family::V6 => headers.checked_sub(IPV6_HEADER)? + total,
        };
        let counted = u16::try_from(counted).ok()?;
        let end = l3 + headers + total;
        self.bytes.get_mut(..l3 + headers)?.copy_from_slice(frame.get(..l3 + headers)?);
        let header = self.bytes.get_mut(l3..l3 + headers)?;
        match family {
            Family::V4 => {
                put(header, 2, counted);
                // More-fragments and offset go; don't-fragment stays.
                if let Some(field) = header.get_mut(6..8) {
                    field.copy_from_slice(&[field[0] & 0x40, 0]);
                }
                checksum_ipv4(header);
            }
            Family::V6 => {
                put(header, 4, counted);
                *header.get_mut(usize::from(first.next_header))? = first.proto;
            }
        }
        Some(Extent { l3, end })
    }

    /// Marks congestion experienced on the whole, when fragments of an ECN-capable sender met with it
    /// (RFC 3168 section 5.3).
    pub(super) fn mark_congestion(&mut self, family: Family, first: &Piece) {
        let headers = first.kept_headers(family);
        let l3 = usize::from(first.l3);
        let Some(header) = self.bytes.get_mut(l3..l3 + headers) else { return };
        let Some(octet) = header.get_mut(1) else { return };
        match family {
            Family::V4 => {
                *octet |= 0b11;
                checksum_ipv4(header);
            }
            Family::V6 => *octet |= 0b11 << 4,
        }
    }

    /// Adds one fragment's data at its place behind the headers of `first`.
    pub(super) fn add(&mut self, family: Family, first: &Piece, piece: &Piece, frame: &[u8]) -> Option<()> {
        let base = usize::from(first.l3) + first.kept_headers(family) + usize::from(piece.offset);
        let from = usize::from(piece.l3) + usize::from(piece.header_len);
        let len = usize::from(piece.len);
        self.bytes.get_mut(base..base + len)?.copy_from_slice(frame.get(from..from + len)?);
        Some(())
    }

    pub(super) fn whole(&self, extent: Extent, trusted: bool) -> Whole<'_> {
        Whole { bytes: self.bytes.get(..extent.end).unwrap_or_default(), l3: extent.l3, trusted }
    }
}
