//! ICMPv6 (RFC 4443): errors, queries, and the messages that are never tracked.

use super::checksum;
use super::icmp::{HEADER_LEN, keys};
use super::parse::{Ip, Transport, Verify};
use crate::net::{Family, Icmp, InvalidReason, L4, Track, proto};

pub(super) const UNREACHABLE: u8 = 1;
pub(super) const PACKET_TOO_BIG: u8 = 2;
pub(super) const TIME_EXCEEDED: u8 = 3;
pub(super) const PARAMETER_PROBLEM: u8 = 4;
pub(super) const ECHO_REQUEST: u8 = 128;
pub(super) const ECHO_REPLY: u8 = 129;
pub(super) const NEIGHBOUR_SOLICITATION: u8 = 135;
pub(super) const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
pub(super) const REDIRECT: u8 = 137;

/// Octets of a redirect before its options (RFC 4861 section 4.5).
pub(super) const REDIRECT_LEN: usize = 40;

/// Octets in front of the packet in a redirected header option (RFC 4861 section 4.6.3).
pub(super) const REDIRECTED_HEADER_LEN: usize = 8;

const OPT_REDIRECTED_HEADER: u8 = 4;

/// MLD, router and neighbour discovery, multicast router discovery.
const fn is_untracked(kind: u8) -> bool {
    matches!(kind, 130..=136 | 143 | 151 | 152)
}

/// Echo and node information.
const fn is_query(kind: u8) -> bool {
    matches!(kind, 128 | 129 | 139 | 140)
}

/// Errors, known or not, and redirects, which likewise must not be answered with an error (RFC 4443 section 2.4).
pub(super) const fn is_error(kind: u8) -> bool {
    kind < 128 || kind == REDIRECT
}

/// How a redirect is tracked: as an error about the packet it quotes, if it is one a router may send.
fn redirect(l4: &[u8], ip: &Ip, code: u8) -> Track {
    if l4.len() < REDIRECT_LEN {
        return Track::Invalid(InvalidReason::Truncated);
    }
    if code != 0 || ip.ttl != 255 || !ip.src.is_link_local(Family::V6) {
        return Track::Invalid(InvalidReason::IcmpType);
    }
    match l4.get(REDIRECT_LEN..) {
        Some([_, 0, ..] | [] | [_]) | None => Track::Invalid(InvalidReason::IcmpInner),
        Some([OPT_REDIRECTED_HEADER, ..]) => Track::Error,
        Some(_) => Track::Invalid(InvalidReason::IcmpType),
    }
}

/// Reads a message. Length and checksum come before anything else, so a message failing them has no tuple.
#[inline]
pub(super) fn read(l4: &[u8], ip: &Ip, verify: Verify) -> Transport {
    let Some(h) = l4.first_chunk::<HEADER_LEN>() else {
        return Transport::invalid(InvalidReason::Truncated, L4::Other);
    };
    let (kind, code) = (h[0], h[1]);
    let fields = L4::Icmp(Icmp { kind, code });
    if verify == Verify::Check && checksum::fold(ip.pseudo(proto::ICMPV6, l4.len()) + checksum::sum(l4)) != 0xffff {
        return Transport::invalid(InvalidReason::IcmpChecksum, fields);
    }
    let mut seen = Transport { header: HEADER_LEN, ..Transport::invalid(InvalidReason::IcmpType, fields) };
    if is_query(kind) {
        seen.track = Track::Tuple;
        (seen.src_key, seen.dst_key) = keys(h);
    } else if is_untracked(kind) {
        seen.track = Track::Untracked;
    } else if kind == REDIRECT {
        seen.track = redirect(l4, ip, code);
    } else if kind < 128 {
        seen.track = Track::Error;
    }
    seen
}
