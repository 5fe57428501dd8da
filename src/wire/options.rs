//! IPv4 options: which of them stop a packet, and what a router writes into those that ask for it (RFC 791 section
//! 3.1, RFC 1812 section 5.2.4, RFC 2113).
//!
//! What counts as malformed, and the octet that an error points at, are as in Linux, which accepts no source route
//! unless told to. CIPSO is not looked into.

use super::ipv4::{self, HEADER_LEN};
use super::parse::{Kind, Parsed};
use crate::net::Addr;

const END: u8 = 0;
const NOP: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
const LOOSE_ROUTE: u8 = 131;
const STRICT_ROUTE: u8 = 137;
const ROUTER_ALERT: u8 = 148;

/// Flags of a timestamp option: each router puts its address in front of its time, or only those do that the sender
/// named.
const WITH_ADDRESS: u8 = 1;
const PRESPECIFIED: u8 = 3;

/// Most octets of options.
const MAX_OPTIONS: usize = 40;

/// Why a packet's options stop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadOptions {
    /// They prescribe a route.
    SourceRoute,
    /// One cannot be read: the offset of the octet to blame from the IP header.
    Malformed {
        /// For the parameter problem.
        pointer: u8,
    },
}

/// What a router writes into a packet's options as the packet passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Into a record of the route: the router's address on the side the packet leaves by.
    pub leaves_by: Addr,
    /// In front of a timestamp: its address towards the sender.
    pub known_as: Addr,
    /// Milliseconds since midnight UT.
    pub millis: u32,
}

/// The options of a packet; empty unless it is an IPv4 one with some.
#[inline]
#[must_use]
pub fn options<'a>(data: &'a [u8], parsed: &Parsed) -> &'a [u8] {
    if !has_options(parsed) {
        return &[];
    }
    data.get(usize::from(parsed.l3) + HEADER_LEN..usize::from(parsed.l4)).unwrap_or_default()
}

/// Whether a packet is an IPv4 one with options.
#[inline]
#[must_use]
pub fn has_options(parsed: &Parsed) -> bool {
    parsed.kind == Kind::Ipv4 && usize::from(parsed.l4) > usize::from(parsed.l3) + HEADER_LEN
}

/// The extent of the option at the front of `rest`, which is neither end nor padding. `None` if it does not fit.
fn extent(rest: &[u8]) -> Option<usize> {
    rest.get(1).map(|len| usize::from(*len)).filter(|len| (2..=rest.len()).contains(len))
}

/// Looks at all options of an option area.
///
/// # Errors
/// What of it stops the packet. A malformed one comes before a route, wherever it stands.
pub fn check(area: &[u8]) -> Result<(), BadOptions> {
    let malformed = |at: usize| Err(BadOptions::Malformed { pointer: (HEADER_LEN + at) as u8 });
    // Whether there was a route, a record, a timestamp.
    let mut seen = [false; 3];
    let mut at = 0;
    while let Some(rest) = area.get(at..) {
        match rest.first() {
            None | Some(&END) => break,
            Some(&NOP) => {
                at += 1;
                continue;
            }
            Some(_) => {}
        }
        let Some(option) = extent(rest).and_then(|len| rest.get(..len)) else { return malformed(at) };
        if let Some(octet) = fault(option, &mut seen) {
            return malformed(at + octet);
        }
        at += option.len();
    }
    if seen[0] { Err(BadOptions::SourceRoute) } else { Ok(()) }
}

/// Which octet of an option is wrong.
fn fault(option: &[u8], seen: &mut [bool; 3]) -> Option<usize> {
    let octet = |at: usize| usize::from(option.get(at).copied().unwrap_or_default());
    let (kind, len, pointer) = (option.first().copied()?, option.len(), octet(2));
    let mut again = |what: usize| seen.get_mut(what).is_some_and(|seen| std::mem::replace(seen, true));
    match kind {
        LOOSE_ROUTE | STRICT_ROUTE if len < 3 => Some(1),
        LOOSE_ROUTE | STRICT_ROUTE if pointer < 4 => Some(2),
        LOOSE_ROUTE | STRICT_ROUTE => again(0).then_some(0),
        RECORD_ROUTE if again(1) => Some(0),
        RECORD_ROUTE if len < 3 => Some(1),
        RECORD_ROUTE => (pointer < 4 || pointer <= len && pointer + 3 > len).then_some(2),
        TIMESTAMP if again(2) => Some(0),
        TIMESTAMP if len < 4 => Some(1),
        TIMESTAMP if pointer < 5 => Some(2),
        TIMESTAMP => {
            let (overflow, flag) = (octet(3) >> 4, octet(3) as u8 & 0xf);
            let entry = if flag == WITH_ADDRESS || flag == PRESPECIFIED { 8 } else { 4 };
            if pointer <= len {
                (pointer + entry - 1 > len).then_some(2)
            } else {
                // A router that finds no room counts up to fifteen.
                (flag != PRESPECIFIED && overflow == 15).then_some(3)
            }
        }
        ROUTER_ALERT => (len < 4).then_some(1),
        _ => None,
    }
}

/// Writes what a router has to say into a packet's options, which [`check`] let pass, clears what stands behind the
/// last of them, and makes the header's checksum right. `is_own` tells whether an address is one of the router's, or of
/// a group.
pub fn record(data: &mut [u8], parsed: &Parsed, hop: &Hop, is_own: impl Fn(Addr) -> bool) {
    let header = data.get_mut(usize::from(parsed.l3)..usize::from(parsed.l4)).filter(|_| has_options(parsed));
    let Some(header) = header else { return };
    if let Some(area) = header.get_mut(HEADER_LEN..) {
        let mut at = 0;
        while let Some(rest) = area.get_mut(at..).filter(|rest| !rest.is_empty()) {
            match rest.first() {
                Some(&NOP) => at += 1,
                Some(&END) => {
                    rest.fill(END);
                    break;
                }
                _ => {
                    let Some(option) = extent(rest).and_then(|len| rest.get_mut(..len)) else { break };
                    at += option.len();
                    // What has no room for a whole entry was not let pass.
                    let _ = write_entry(option, hop, &is_own, true);
                }
            }
        }
    }
    ipv4::seal(header);
}

/// Adds an entry to an option that records. `None` if there is room for a part of one only. `counts`: a timestamp
/// option without room counts the router.
fn write_entry(option: &mut [u8], hop: &Hop, is_own: &impl Fn(Addr) -> bool, counts: bool) -> Option<()> {
    let (len, pointer) = (option.len(), usize::from(option.get(2).copied().unwrap_or_default()));
    let millis = hop.millis.to_be_bytes();
    let room = pointer.checked_sub(1)?..len;
    let grown = match *option {
        [RECORD_ROUTE, ..] if pointer <= len => {
            *option.get_mut(room)?.first_chunk_mut()? = hop.leaves_by.as_v4().to_be_bytes();
            4
        }
        [TIMESTAMP, _, _, how, ..] if pointer <= len => match (how & 0xf, option.get_mut(room)?) {
            (0, room) => {
                *room.first_chunk_mut()? = millis;
                4
            }
            (flag @ (WITH_ADDRESS | PRESPECIFIED), room) => {
                let (address, room) = room.split_first_chunk_mut::<4>()?;
                if flag == PRESPECIFIED && (room.len() < 4 || !is_own(Addr::v4(u32::from_be_bytes(*address)))) {
                    return Some(());
                }
                *room.first_chunk_mut()? = millis;
                if flag == WITH_ADDRESS {
                    *address = hop.known_as.as_v4().to_be_bytes();
                }
                8
            }
            _ => 0,
        },
        [TIMESTAMP, _, _, ref mut how, ..] if counts && *how & 0xf != PRESPECIFIED => {
            *how = how.checked_add(0x10).unwrap_or(*how);
            0
        }
        _ => 0,
    };
    if let Some(pointer) = option.get_mut(2) {
        *pointer = pointer.saturating_add(grown);
    }
    Some(())
}

/// Makes the options of an echo request those of its answer: records of route and time go back with an entry of the
/// router's for each way (RFC 1122 section 3.2.2.6), all else is left out. What stands in front of the options moves
/// towards them; returns how many octets are to be cut from the front for that. `None`: as in Linux there is no answer,
/// for a record has room for a part of an entry.
#[must_use]
pub fn answer_options(data: &mut [u8], parsed: &Parsed, hop: &Hop, is_own: impl Fn(Addr) -> bool) -> Option<usize> {
    let (front, l4) = (usize::from(parsed.l3) + HEADER_LEN, usize::from(parsed.l4));
    let mut answer = [END; MAX_OPTIONS];
    let mut len = 0;
    for wanted in [RECORD_ROUTE, TIMESTAMP] {
        let asked = ipv4::options(options(data, parsed)).find(|option| option.first() == Some(&wanted));
        let Some(asked) = asked else { continue };
        let option = answer.get_mut(len..len + asked.len())?;
        option.copy_from_slice(asked);
        write_entry(option, hop, &is_own, true)?;
        // Whoever had nothing to say the first time has not the second.
        if option.get(2) != asked.get(2) {
            write_entry(option, hop, &is_own, false)?;
        }
        len += option.len();
    }
    let len = len.next_multiple_of(4);
    let cut = l4.checked_sub(front)?.checked_sub(len)?;
    data.get_mut(..l4)?.copy_within(..front, cut);
    data.get_mut(l4 - len..l4)?.copy_from_slice(answer.get(..len)?);
    let header = data.get_mut(cut + usize::from(parsed.l3)..l4)?;
    let h = header.first_chunk_mut::<HEADER_LEN>()?;
    h[0] = 0x40 | ((HEADER_LEN + len) / 4) as u8;
    let total = u16::from_be_bytes([h[2], h[3]]).checked_sub(cut as u16)?;
    [h[2], h[3]] = total.to_be_bytes();
    ipv4::seal(header);
    Some(cut)
}
