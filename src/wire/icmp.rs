//! ICMP (RFC 792).

use super::checksum;
use super::parse::{Transport, Verify};
use crate::net::{Icmp, InvalidReason, L4, Track};

pub(super) const HEADER_LEN: usize = 8;

pub(super) const ECHO_REPLY: u8 = 0;
pub(super) const UNREACHABLE: u8 = 3;
pub(super) const ECHO_REQUEST: u8 = 8;
pub(super) const TIME_EXCEEDED: u8 = 11;
pub(super) const PARAMETER_PROBLEM: u8 = 12;

/// Types that quote an offending packet: unreachable, source quench, redirect, time exceeded, parameter problem.
pub(super) const fn is_error(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12)
}

/// Types with a counterpart: echo, timestamp, information, address mask.
const fn is_query(kind: u8) -> bool {
    matches!(kind, 0 | 8 | 13..=18)
}

/// The tuple keys of a query: identifier, and type with code.
#[inline]
pub(super) const fn keys(h: &[u8; HEADER_LEN]) -> (u16, u16) {
    (u16::from_be_bytes([h[4], h[5]]), u16::from_be_bytes([h[0], h[1]]))
}

/// Reads a message. Length and checksum come before anything else, so a message failing them has no tuple.
#[inline]
pub(super) fn read(l4: &[u8], verify: Verify) -> Transport {
    let Some(h) = l4.first_chunk::<HEADER_LEN>() else {
        return Transport::invalid(InvalidReason::Truncated, L4::Other);
    };
    let fields = L4::Icmp(Icmp { kind: h[0], code: h[1] });
    if verify == Verify::Check && checksum::fold(checksum::sum(l4)) != 0xffff {
        return Transport::invalid(InvalidReason::IcmpChecksum, fields);
    }
    let mut seen = Transport { header: HEADER_LEN, ..Transport::invalid(InvalidReason::IcmpType, fields) };
    if is_error(h[0]) {
        seen.track = Track::Error;
    } else if is_query(h[0]) {
        seen.track = Track::Tuple;
        (seen.src_key, seen.dst_key) = keys(h);
    }
    seen
}
