//! Options of IPv6 hop-by-hop and destination headers, and routing headers (RFC 8200 sections 4.2 to 4.6): what stops a
//! packet on its way or at its end, with Linux' limits of at most seven octets of padding in a row, all zero, and eight
//! options.

use super::ipv6::{AUTHENTICATION, DESTINATION, HEADER_LEN, HOP_BY_HOP, ROUTING, walk_one};

const PAD1: u8 = 0;
const PADN: u8 = 1;
const ROUTER_ALERT: u8 = 5;
const JUMBO: u8 = 0xc2;

const MAX_PADDING: usize = 7;
const MAX_OPTIONS: usize = 8;

/// Types of routes: RFC 6554, RFC 8754.
const SOURCE_RPL: u8 = 3;
const SEGMENTS: u8 = 4;

/// Codes of a parameter problem: an erroneous field, an unrecognised next header or option (RFC 4443 section 3.4).
const FIELD: u8 = 0;
const NEXT_HEADER: u8 = 1;
const OPTION: u8 = 2;

/// What its sender is told of a packet that was stopped: code and pointer of a parameter problem, from the IPv6 header.
pub(super) type Problem = (u8, u32);

/// Whether the hop-by-hop header behind the IPv6 header of `packet`, which may go on behind the payload length, lets it
/// pass. CALIPSO and IOAM are not looked into.
///
/// # Errors
/// When it does not, with what its sender is told, if anything.
pub(super) fn check_hop_by_hop(packet: &[u8]) -> Result<(), Option<Problem>> {
    check_options(packet, HEADER_LEN, true)
}

/// Whether a packet to this host may come to its upper layer.
///
/// # Errors
/// When it may not, with what its sender is told, if anything.
pub(super) fn check_at_end(packet: &[u8]) -> Result<(), Option<Problem>> {
    let (mut kind, mut at, mut named_at) = (packet.get(6).copied().unwrap_or_default(), HEADER_LEN, 6);
    while let Some((next, behind)) = walk_one(packet, kind, at) {
        match kind {
            // Only as the first; and nobody here has a key.
            HOP_BY_HOP if named_at == 6 => {}
            HOP_BY_HOP | AUTHENTICATION => return Err(Some((NEXT_HEADER, named_at as u32))),
            DESTINATION => check_options(packet, at, false)?,
            ROUTING => check_route(packet, at)?,
            _ => {}
        }
        (kind, at, named_at) = (next, behind, at);
    }
    Ok(())
}

/// Nobody follows a route here. One at its end says nothing more, but for those that only who was told to reads.
fn check_route(packet: &[u8], at: usize) -> Result<(), Option<Problem>> {
    match packet.get(at + 2..at + 4) {
        Some(&[SOURCE_RPL | SEGMENTS, _]) | None => Err(None),
        Some(&[_, 0]) => Ok(()),
        Some(_) => Err(Some((FIELD, at as u32 + 2))),
    }
}

/// Looks at the options of the header at `at`.
fn check_options(packet: &[u8], at: usize, hop_by_hop: bool) -> Result<(), Option<Problem>> {
    let end = at + (usize::from(*packet.get(at + 1).ok_or(None)?) + 1) * 8;
    let header = packet.get(..end).ok_or(None)?;
    let (mut at, mut padding, mut count) = (at + 2, 0, 0);
    while let Some(&kind) = header.get(at) {
        if kind == PAD1 {
            padding += 1;
            at += 1;
        } else {
            let len = usize::from(*header.get(at + 1).ok_or(None)?);
            let body = header.get(at + 2..at + 2 + len).ok_or(None)?;
            if kind == PADN {
                padding += 2 + len;
                if body.iter().any(|octet| *octet != 0) {
                    return Err(None);
                }
            } else {
                padding = 0;
                count += 1;
                if count > MAX_OPTIONS {
                    return Err(None);
                }
                match kind {
                    ROUTER_ALERT if hop_by_hop => (len == 2).then_some(()).ok_or(None)?,
                    JUMBO if hop_by_hop => return Err(jumbo(header, at)),
                    _ => unknown(header, at)?,
                }
            }
            at += 2 + len;
        }
        if padding > MAX_PADDING {
            return Err(None);
        }
    }
    Ok(())
}

/// The two upper bits of a type that nobody knows say whether the packet goes on and its sender is told.
fn unknown(header: &[u8], at: usize) -> Result<(), Option<Problem>> {
    let group = header.get(24) == Some(&0xff);
    match header.get(at).map(|kind| kind >> 6) {
        Some(0) => Ok(()),
        Some(2) => Err(Some((OPTION, at as u32))),
        Some(3) if !group => Err(Some((OPTION, at as u32))),
        _ => Err(None),
    }
}

/// What is wrong with a jumbo payload option (RFC 2675 section 3); a good one is of a packet longer than any frame here.
fn jumbo(header: &[u8], at: usize) -> Option<Problem> {
    let &[4, a, b, c, d] = header.get(at + 1..)?.first_chunk()? else { return None };
    let payload_len = header.get(4..6)?;
    match u32::from_be_bytes([a, b, c, d]) {
        _ if at % 4 != 2 => None,
        0..=0xffff => Some((FIELD, at as u32 + 2)),
        _ if payload_len != [0, 0] => Some((FIELD, at as u32)),
        _ => None,
    }
}
