//! ICMP (RFC 792) and ICMPv6 (RFC 4443) queries and their replies. Errors never come here.
//!
//! The tuple already pairs a request with its reply (identifier, type, code), so there is no state: whatever
//! matches the entry refreshes it, and it is never ASSURED nor removed by the reply.

use super::{Step, Timeouts};
use crate::net::{Family, Icmp, InvalidReason};

/// The first packet: only a query may open.
///
/// # Errors
/// `IcmpNoFlow` for a reply nobody asked for, `IcmpType` for what is neither query nor reply.
#[inline]
pub const fn open(timeouts: &Timeouts, family: Family, icmp: Icmp) -> Result<Step, InvalidReason> {
    match (family, icmp.kind) {
        // Echo, timestamp, information and address mask request (RFC 792, RFC 950); echo request and node
        // information query (RFC 4443, RFC 4620).
        (Family::V4, 8 | 13 | 15 | 17) | (Family::V6, 128 | 139) => Ok(advance(timeouts, family)),
        (Family::V4, 0 | 14 | 16 | 18) | (Family::V6, 129 | 140) => Err(InvalidReason::IcmpNoFlow),
        _ => Err(InvalidReason::IcmpType),
    }
}

/// Any later packet, either way.
#[inline]
#[must_use]
pub const fn advance(timeouts: &Timeouts, family: Family) -> Step {
    Step::accept(match family {
        Family::V4 => timeouts.icmp,
        Family::V6 => timeouts.icmpv6,
    })
}
