//! The IPv6 header and the bounded walk over its extension headers (RFC 8200 section 4).

use super::parse::{Fragment, Ip};
use crate::net::{Addr, DropReason, Family, InvalidReason, proto};

pub(super) const HEADER_LEN: usize = 40;

/// Most extension headers the walk passes; no sender has a reason for more.
const MAX_HEADERS: usize = 8;

/// Most octets of extension headers the walk passes.
const MAX_OCTETS: usize = 1024;

const HOP_BY_HOP: u8 = 0;
pub(super) const ROUTING: u8 = 43;
pub(super) const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const NO_NEXT: u8 = 59;
const DESTINATION: u8 = 60;

/// The fields of a fragment header that describes a real fragment.
#[derive(Clone, Copy)]
pub(super) struct FragmentHeader {
    at: usize,
    /// The octet that names the fragment header: what a reassembler overwrites.
    named_at: usize,
    id: u32,
    offset: u16,
    more: bool,
}

impl FragmentHeader {
    /// Octets of the fragmentable part before this piece.
    pub(super) const fn offset(&self) -> u16 {
        self.offset
    }
}

/// Why the walk ended.
#[derive(Clone, Copy)]
pub(super) enum Stop {
    /// At an upper-layer protocol.
    Upper,
    /// At "no next header".
    NoNext,
    /// In a header that is not all there.
    Truncated,
    /// Behind the fragment header of a fragment; atomic fragments are walked through.
    Fragment(FragmentHeader),
    /// At one of the walk's bounds.
    Limit,
}

/// Where the walk ended; offsets from the start of the walked octets.
#[derive(Clone, Copy)]
pub(super) struct Walk {
    pub(super) proto: u8,
    pub(super) at: usize,
    /// The octet that names `proto`.
    pub(super) named_at: usize,
    pub(super) stop: Stop,
}

/// Walks from a header of type `proto` at `at`, which the octet at `named_at` names.
pub(super) fn walk(packet: &[u8], proto: u8, at: usize, named_at: usize) -> Walk {
    let first = at;
    let mut here = Walk { proto, at, named_at, stop: Stop::Upper };
    for passed in 0..=MAX_HEADERS {
        match here.proto {
            HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION => {}
            NO_NEXT => {
                here.stop = Stop::NoNext;
                return here;
            }
            _ => return here,
        }
        if passed == MAX_HEADERS || here.at - first > MAX_OCTETS {
            break;
        }
        let Some(header) = packet.get(here.at..).and_then(|d| d.first_chunk::<8>()) else {
            here.stop = Stop::Truncated;
            return here;
        };
        let len = match here.proto {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        let next = here.at + len;
        if next > packet.len() {
            here.stop = Stop::Truncated;
            return here;
        }
        let fragment = (here.proto == FRAGMENT).then(|| {
            let field = u16::from_be_bytes([header[2], header[3]]);
            FragmentHeader {
                at: here.at,
                named_at: here.named_at,
                id: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
                offset: field & 0xfff8,
                more: field & 1 == 1,
            }
        });
        here = Walk { proto: header[0], at: next, named_at: here.at, stop: Stop::Upper };
        if let Some(fragment) = fragment.filter(|f| f.more || f.offset != 0) {
            here.stop = Stop::Fragment(fragment);
            return here;
        }
    }
    here.stop = Stop::Limit;
    here
}

/// Whether a first fragment holds its upper-layer header whole, with the sizes netfilter asks for.
fn holds_upper_header(packet: &[u8], behind: &Walk) -> bool {
    let upper = walk(packet, behind.proto, behind.at, behind.named_at);
    let needed = match upper.proto {
        proto::TCP => 20,
        proto::UDP | proto::ICMPV6 => 8,
        _ => 1,
    };
    matches!(upper.stop, Stop::Upper) && packet.len() >= upper.at + needed
}

/// Reads the header at `l3` and walks its extension headers. Checks version and payload length.
#[inline]
pub(super) fn read(data: &[u8], l3: usize) -> Result<Ip, DropReason> {
    let rest = data.get(l3..).ok_or(DropReason::RxTruncated)?;
    let h = rest.first_chunk::<HEADER_LEN>().ok_or(DropReason::RxTruncated)?;
    if h[0] >> 4 != 6 {
        return Err(DropReason::Ipv6Header);
    }
    let total = HEADER_LEN + usize::from(u16::from_be_bytes([h[4], h[5]]));
    let packet = rest.get(..total).ok_or(DropReason::RxTruncated)?;
    let mut ip = Ip {
        src: address(h, 8),
        dst: address(h, 24),
        family: Family::V6,
        proto: h[6],
        l4: l3 + HEADER_LEN,
        end: l3 + total,
        ttl: h[7],
        tos: (h[0] << 4) | (h[1] >> 4),
        dont_fragment: true,
        fragment: None,
        broken: None,
    };
    if matches!(h[6], proto::TCP | proto::UDP | proto::ICMPV6) {
        return Ok(ip);
    }
    let end = walk(packet, h[6], HEADER_LEN, 6);
    ip.proto = end.proto;
    ip.l4 = l3 + end.at;
    match end.stop {
        Stop::Upper => {}
        Stop::NoNext => ip.broken = Some(InvalidReason::Unknown),
        Stop::Truncated => ip.broken = Some(InvalidReason::Truncated),
        Stop::Limit => return Err(DropReason::Ipv6ExtLimit),
        Stop::Fragment(header) => {
            ip.fragment = Some(Fragment {
                id: header.id,
                offset: header.offset,
                more: header.more,
                header: (l3 + header.at) as u16,
                next_header_at: (l3 + header.named_at) as u16,
                next_header: end.proto,
                whole_header: header.offset != 0 || holds_upper_header(packet, &end),
            });
        }
    }
    Ok(ip)
}

/// The address at `at` of a header; the two places an address can stand are inside it.
#[inline]
pub(super) fn address(header: &[u8; HEADER_LEN], at: usize) -> Addr {
    header.get(at..).and_then(|d| d.first_chunk::<16>()).map_or(Addr::UNSPECIFIED, |a| Addr::v6(*a))
}
