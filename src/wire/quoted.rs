//! The packet an ICMP or ICMPv6 error quotes, read as tolerantly as netfilter does: it may stop behind the eight octets
//! RFC 792 promises, and checksums, lengths and TTL inside it mean nothing any more.

use super::icmp;
use super::icmpv6::{REDIRECT, REDIRECT_LEN, REDIRECTED_HEADER_LEN};
use super::ipv6::{self, Stop};
use super::parse::Parsed;
use super::{gre, ipv4};
use crate::net::{Addr, Family, Icmp, InvalidReason, L4, Track, Tuple, proto};

/// The packet inside an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Its tuple, as it stands there; a lookup wants [`Tuple::inverse`].
    pub tuple: Tuple,
    /// Offset of its IP header from the frame's first octet.
    pub l3: u16,
    /// Offset of its transport header.
    pub l4: u16,
}

/// Reads the packet quoted by an error, that is, by a packet whose `summary.track` is [`Track::Error`].
///
/// # Errors
/// `icmp_inner` if the IP header is not whole, it is not the first fragment, the transport keys are not all there, or
/// the packet is no error at all.
pub fn quoted(data: &[u8], parsed: &Parsed) -> Result<Quoted, InvalidReason> {
    let L4::Icmp(Icmp { kind, .. }) = parsed.summary.l4 else { return Err(InvalidReason::IcmpInner) };
    if parsed.summary.track != Track::Error {
        return Err(InvalidReason::IcmpInner);
    }
    let family = parsed.summary.tuple.family;
    let before =
        if family == Family::V6 && kind == REDIRECT { REDIRECT_LEN + REDIRECTED_HEADER_LEN } else { icmp::HEADER_LEN };
    let l3 = usize::from(parsed.l4) + before;
    let inner = data.get(l3..parsed.end as usize).ok_or(InvalidReason::IcmpInner)?;
    let (mut tuple, at) = match family {
        Family::V4 => network_v4(inner),
        Family::V6 => network_v6(inner),
    }
    .ok_or(InvalidReason::IcmpInner)?;
    let transport = inner.get(at..).ok_or(InvalidReason::IcmpInner)?;
    (tuple.src_key, tuple.dst_key) = keys(transport, tuple.proto, family).ok_or(InvalidReason::IcmpInner)?;
    Ok(Quoted { tuple, l3: l3 as u16, l4: (l3 + at) as u16 })
}

/// Addresses and protocol, and the offset of the transport header.
fn network_v4(inner: &[u8]) -> Option<(Tuple, usize)> {
    let h = inner.first_chunk::<{ ipv4::HEADER_LEN }>()?;
    if u16::from_be_bytes([h[6], h[7]]) & ipv4::OFFSET_MASK != 0 {
        return None;
    }
    let src = Addr::v4(u32::from_be_bytes([h[12], h[13], h[14], h[15]]));
    let dst = Addr::v4(u32::from_be_bytes([h[16], h[17], h[18], h[19]]));
    let tuple = Tuple { src, dst, src_key: 0, dst_key: 0, proto: h[9], family: Family::V4 };
    Some((tuple, usize::from(h[0] & 0x0f) * 4))
}

fn network_v6(inner: &[u8]) -> Option<(Tuple, usize)> {
    let h = inner.first_chunk::<{ ipv6::HEADER_LEN }>()?;
    let mut end = ipv6::walk(inner, h[6], ipv6::HEADER_LEN, 6);
    loop {
        end = match end.stop {
            Stop::Upper => break,
            Stop::Fragment(fragment) if fragment.offset() == 0 => end.on(inner),
            Stop::Truncated => end.behind_cut_fragment(inner)?.on(inner),
            _ => return None,
        };
    }
    let tuple = Tuple {
        src: ipv6::address(h, 8),
        dst: ipv6::address(h, 24),
        src_key: 0,
        dst_key: 0,
        proto: end.proto,
        family: Family::V6,
    };
    // Behind the end there is nothing to read, which only protocols without keys can do without.
    Some((tuple, end.at.min(inner.len())))
}

/// The tuple keys at the start of a transport header.
fn keys(l4: &[u8], proto: u8, family: Family) -> Option<(u16, u16)> {
    match (proto, family) {
        (proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP, _) => {
            let p = l4.first_chunk::<4>()?;
            Some((u16::from_be_bytes([p[0], p[1]]), u16::from_be_bytes([p[2], p[3]])))
        }
        (proto::ICMP, Family::V4) | (proto::ICMPV6, Family::V6) => l4.first_chunk().map(icmp::keys),
        (proto::ICMP | proto::ICMPV6, _) => None,
        (proto::GRE, _) => gre::keys(l4),
        _ => Some((0, 0)),
    }
}
