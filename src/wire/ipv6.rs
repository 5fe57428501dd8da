//! The IPv6 header and the bounded walk over its extension headers (RFC 8200 section 4).

use super::ipv6_options::{Problem, check_hop_by_hop};
use super::parse::{Fragment, Ip};
use crate::net::{Addr, DropReason, Family, InvalidReason, proto};

pub(super) const HEADER_LEN: usize = 40;

/// Most extension headers the walk passes; no sender has a reason for more.
const MAX_HEADERS: usize = 8;

/// Most octets of extension headers the walk passes.
const MAX_OCTETS: usize = 1024;

pub(super) const HOP_BY_HOP: u8 = 0;
pub(super) const ROUTING: u8 = 43;
pub(super) const FRAGMENT: u8 = 44;
pub(super) const AUTHENTICATION: u8 = 51;
const NO_NEXT: u8 = 59;
pub(super) const DESTINATION: u8 = 60;

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
    /// In a fragment header without which nobody knows where its fragment belongs.
    CutFragment,
    /// Behind an atomic fragment that has no octets, though its header names one more.
    Empty,
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

impl Walk {
    /// Walks on from where it stopped.
    pub(super) fn on(&self, packet: &[u8]) -> Walk {
        walk(packet, self.proto, self.at, self.named_at)
    }

    /// The place behind the fragment header that it stopped at because the packet ends within, if as much is there as
    /// netfilter reads of it, and it is that of a first fragment.
    pub(super) fn behind_cut_fragment(&self, packet: &[u8]) -> Option<Walk> {
        let header = packet.get(self.at..)?.first_chunk::<4>().filter(|_| self.proto == FRAGMENT)?;
        let first = u16::from_be_bytes([header[2], header[3]]) & 0xfff8 == 0;
        first.then_some(Walk { proto: header[0], at: self.at + 8, named_at: self.at, stop: Stop::Upper })
    }
}

/// Walks from a header of type `proto` at `at`, which the octet at `named_at` names.
pub(super) fn walk(packet: &[u8], proto: u8, at: usize, named_at: usize) -> Walk {
    let first = at;
    let mut here = Walk { proto, at, named_at, stop: Stop::Upper };
    // Whether an atomic fragment has been passed.
    let mut atomic = false;
    for passed in 0..=MAX_HEADERS {
        let named = matches!(here.proto, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION | NO_NEXT);
        if atomic && named && passed == 1 && here.at == packet.len() {
            here.stop = Stop::Empty;
            return here;
        }
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
        // Type and length are all netfilter reads of a header it passes, so one that runs past the end is passed too;
        // what it says comes next then has no octets.
        let rest = packet.get(here.at..).unwrap_or_default();
        let mut fragment = None;
        if here.proto == FRAGMENT {
            let Some(f) = rest.first_chunk::<8>() else {
                // A first fragment without its upper-layer header is not reassembled, nor what would begin behind the
                // packet's end, nor what has no payload; of anything else the reassembler misses the header's rest.
                let first = rest.first_chunk::<4>().is_some_and(|f| u16::from_be_bytes([f[2], f[3]]) & 0xfff8 == 0);
                let beyond = here.at > packet.len() || packet.len() == HEADER_LEN;
                here.stop = if first || beyond || atomic { Stop::Truncated } else { Stop::CutFragment };
                return here;
            };
            let field = u16::from_be_bytes([f[2], f[3]]);
            atomic |= field & 0xfff9 == 0;
            fragment = Some(FragmentHeader {
                at: here.at,
                named_at: here.named_at,
                id: u32::from_be_bytes([f[4], f[5], f[6], f[7]]),
                offset: field & 0xfff8,
                more: field & 1 == 1,
            });
        }
        let Some(header) = rest.first_chunk::<2>() else {
            here.stop = Stop::Truncated;
            return here;
        };
        let len = match here.proto {
            FRAGMENT => 8,
            AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
            _ => (usize::from(header[1]) + 1) * 8,
        };
        here = Walk { proto: header[0], at: here.at + len, named_at: here.at, stop: Stop::Upper };
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

/// What the extension header of type `kind` at `at` names, and where that begins. `None` for an upper-layer protocol, and
/// where the packet ends.
pub(super) fn walk_one(packet: &[u8], kind: u8, at: usize) -> Option<(u8, usize)> {
    let header = packet.get(at..)?.first_chunk::<2>()?;
    let len = match kind {
        FRAGMENT => 8,
        AUTHENTICATION => (usize::from(header[1]) + 2) * 4,
        HOP_BY_HOP | ROUTING | DESTINATION => (usize::from(header[1]) + 1) * 8,
        _ => return None,
    };
    Some((header[0], at + len))
}

/// Whether the hop-by-hop options of a datagram let it pass. With payload length 0 it would be a jumbogram, and they
/// reach as far as the frame.
fn hop_by_hop(rest: &[u8], packet: &[u8]) -> Result<(), Option<Problem>> {
    check_hop_by_hop(if packet.len() == HEADER_LEN { rest } else { packet })
}

/// What the sender of a packet is told that its hop-by-hop options stop.
pub(super) fn hop_by_hop_problem(data: &[u8], l3: usize) -> Option<Problem> {
    let rest = data.get(l3..)?;
    let h = rest.first_chunk::<HEADER_LEN>().filter(|h| h[6] == HOP_BY_HOP)?;
    let packet = rest.get(..HEADER_LEN + usize::from(u16::from_be_bytes([h[4], h[5]])))?;
    hop_by_hop(rest, packet).err().flatten()
}

/// Reads the header at `l3` and walks its extension headers. Checks version, payload length and hop-by-hop options.
#[inline]
pub(super) fn read(data: &[u8], l3: usize) -> Result<Ip, DropReason> {
    read_and(data, l3, true)
}

/// The same, which hop-by-hop options stop only if `heed` says so.
#[inline]
pub(super) fn read_and(data: &[u8], l3: usize, heed: bool) -> Result<Ip, DropReason> {
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
    if h[6] == HOP_BY_HOP && heed {
        if hop_by_hop(rest, packet).is_err() {
            return Err(DropReason::IpOptions);
        }
        if total == HEADER_LEN {
            return Err(DropReason::Ipv6Header);
        }
    }
    let end = walk(packet, h[6], HEADER_LEN, 6);
    ip.proto = end.proto;
    ip.l4 = l3 + end.at.min(total);
    match end.stop {
        Stop::Upper => {}
        Stop::NoNext => ip.broken = Some(InvalidReason::Unknown),
        Stop::CutFragment => return Err(DropReason::RxTruncated),
        // Nothing can be put together of it, as of any first fragment without octets.
        Stop::Empty => return Err(DropReason::FragmentOverlap),
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
