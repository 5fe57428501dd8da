//! UDP (RFC 768): a flow that is answered and still alive after two seconds is a stream.
//!
//! A query and its answer are over at once and stay at the short timeout; only what goes on earns the long
//! one and ASSURED.

use super::{Flow, Step, Timeouts};
use crate::net::Millis;

/// Age in milliseconds that a flow must exceed to become a stream.
pub(in crate::conntrack) const STREAM_AGE_MS: u32 = 2000;

/// The state of a UDP flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    /// When the first packet came.
    pub created: Millis,
}

/// The first packet.
#[inline]
#[must_use]
pub const fn open(timeouts: &Timeouts) -> Step {
    Step::accept(timeouts.udp)
}

/// Any later packet, either way. The first reply never makes a stream: SEEN_REPLY follows it.
#[inline]
#[must_use]
pub const fn advance(timeouts: &Timeouts, udp: Udp, flow: Flow, now: Millis) -> Step {
    // Unsigned, so that an unanswered flow of more than 24 days is still old. ASSURED flows were judged.
    let old = flow.assured || now.0.wrapping_sub(udp.created.0) > STREAM_AGE_MS;
    if flow.seen_reply && old { Step::accept(timeouts.udp_stream).assuring(true) } else { Step::accept(timeouts.udp) }
}

/// UDP-Lite (RFC 3828): UDP's timeouts, but the first packet after a reply makes a stream.
pub mod lite {
    use super::{Flow, Step, Timeouts};

    /// The first packet.
    #[inline]
    #[must_use]
    pub const fn open(timeouts: &Timeouts) -> Step {
        Step::accept(timeouts.udp)
    }

    /// Any later packet, either way.
    #[inline]
    #[must_use]
    pub const fn advance(timeouts: &Timeouts, flow: Flow) -> Step {
        if flow.seen_reply { Step::accept(timeouts.udp_stream).assuring(true) } else { Step::accept(timeouts.udp) }
    }
}
