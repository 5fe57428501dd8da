//! Answers the router gives in its own name or in a destination's: TCP RST and echo reply.

use super::build::{self, HOPS, IpHeader, Link};
use super::parse::{Kind, Parsed};
use super::{checksum, icmp, icmpv6, ipv4, ipv6, rewrite, tcp};
use crate::net::{Icmp, L4, TcpFlags};

/// IPv4 options that prescribe a route: loose and strict source route.
const SOURCE_ROUTES: [u8; 2] = [131, 137];

/// Writes the RST that answers a segment, as from its destination (RFC 9293 section 3.5.2), and returns the frame's
/// length. `None` if it does not fit `out`, or there is nothing to answer: not TCP, a RST itself, a segment with a
/// defect, or one to a group.
#[must_use]
pub fn tcp_reset(out: &mut [u8], link: Link, parsed: &Parsed) -> Option<usize> {
    let tuple = &parsed.summary.tuple;
    let L4::Tcp(segment) = parsed.summary.l4 else { return None };
    let group = parsed.link_group || tuple.dst.is_multicast(tuple.family);
    if parsed.summary.defect.is_some() || segment.flags.has(TcpFlags::RST) || group {
        return None;
    }
    let (seq, ack, flags) = if segment.flags.has(TcpFlags::ACK) {
        (segment.ack, 0, TcpFlags::RST)
    } else {
        (0, segment.end(), TcpFlags::RST | TcpFlags::ACK)
    };
    let header =
        IpHeader { family: tuple.family, src: tuple.dst, dst: tuple.src, proto: tuple.proto, hops: HOPS, tos: 0 };
    let (body, len) = build::ip(out, link, &header, tcp::HEADER_LEN)?;
    let h = body.first_chunk_mut::<{ tcp::HEADER_LEN }>()?;
    h.fill(0);
    h[..2].copy_from_slice(&tuple.dst_key.to_be_bytes());
    h[2..4].copy_from_slice(&tuple.src_key.to_be_bytes());
    h[4..8].copy_from_slice(&seq.to_be_bytes());
    h[8..12].copy_from_slice(&ack.to_be_bytes());
    h[12] = 5 << 4;
    h[13] = flags;
    build::seal(body, 16, build::pseudo(&header, tcp::HEADER_LEN))?;
    Some(len)
}

/// Takes the extension headers out of a packet that was let come to its upper layer: what stands in front of them moves
/// towards it. Returns how many octets are to be cut from the front for that.
#[must_use]
pub fn without_extensions(data: &mut [u8], parsed: &Parsed) -> Option<usize> {
    let (l3, l4) = (usize::from(parsed.l3), usize::from(parsed.l4));
    let cut = l4.checked_sub(l3 + ipv6::HEADER_LEN).filter(|_| parsed.kind == Kind::Ipv6)?;
    data.get_mut(..l4)?.copy_within(..l3 + ipv6::HEADER_LEN, cut);
    let h = data.get_mut(cut + l3..)?.first_chunk_mut::<{ ipv6::HEADER_LEN }>()?;
    let len = (parsed.end as usize).checked_sub(l4)?;
    [h[4], h[5]] = u16::try_from(len).ok()?.to_be_bytes();
    h[6] = parsed.summary.tuple.proto;
    Some(cut)
}

/// Turns an ICMP or ICMPv6 echo request into its reply, in place: link and network addresses swapped, type, hop count and
/// checksums set (RFC 1122 section 3.2.2.6, RFC 4443 section 4.2). Returns `false`, and changes nothing, if the packet
/// is not a whole echo request to a single host, or came with a prescribed route or IPv6 extension headers.
#[must_use]
pub fn echo_reply(data: &mut [u8], parsed: &Parsed) -> bool {
    let (l3, l4) = (usize::from(parsed.l3), usize::from(parsed.l4));
    let tuple = &parsed.summary.tuple;
    let group = parsed.link_group || tuple.dst.is_multicast(tuple.family);
    let broadcast = parsed.kind == Kind::Ipv4 && tuple.dst.as_v4() == u32::MAX;
    let L4::Icmp(Icmp { kind, .. }) = parsed.summary.l4 else { return false };
    if group || broadcast || !matches!(parsed.summary.track, crate::net::Track::Tuple) {
        return false;
    }
    let reply = match (parsed.kind, kind) {
        (Kind::Ipv4, icmp::ECHO_REQUEST) => icmp::ECHO_REPLY,
        (Kind::Ipv6, icmpv6::ECHO_REQUEST) if l4 == l3 + ipv6::HEADER_LEN => icmpv6::ECHO_REPLY,
        _ => return false,
    };
    let Some(header) = data.get_mut(l3..l4) else { return false };
    match parsed.kind {
        Kind::Ipv4 => {
            let area = header.get(ipv4::HEADER_LEN..).unwrap_or_default();
            if ipv4::options(area).any(|o| o.first().is_some_and(|kind| SOURCE_ROUTES.contains(kind))) {
                return false;
            }
            let Some(addresses) = header.get_mut(12..20) else { return false };
            addresses.rotate_left(4);
            rewrite::set_ttl_v4(header, HOPS);
        }
        Kind::Ipv6 => {
            let Some(addresses) = header.get_mut(8..40) else { return false };
            addresses.rotate_left(16);
            if let Some(hop_limit) = header.get_mut(7) {
                *hop_limit = HOPS;
            }
        }
        Kind::Arp => return false,
    }
    if let Some(h) = data.get_mut(l4..).and_then(|d| d.first_chunk_mut::<4>()) {
        let (old, new) = (u16::from_be_bytes([h[0], h[1]]), u16::from_be_bytes([reply, h[1]]));
        let check = checksum::update16(u16::from_be_bytes([h[2], h[3]]), old, new);
        h[0] = reply;
        [h[2], h[3]] = check.to_be_bytes();
    }
    if l3 >= super::ethernet::HEADER_LEN {
        let (dst, src) = rewrite::link_addresses(data);
        rewrite::set_link(data, src, dst);
    }
    true
}
