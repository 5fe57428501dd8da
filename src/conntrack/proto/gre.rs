//! GRE (RFC 2784): no checks; a reply makes it a stream. The tuple's keys are the parser's business.

use super::{Flow, Step, Timeouts};

/// The first packet.
#[inline]
#[must_use]
pub const fn open(timeouts: &Timeouts) -> Step {
    Step::accept(timeouts.gre)
}

/// Any later packet. The first reply itself still gets the short timer: SEEN_REPLY follows it.
#[inline]
#[must_use]
pub const fn advance(timeouts: &Timeouts, flow: Flow) -> Step {
    if flow.seen_reply { Step::accept(timeouts.gre_stream).assuring(true) } else { Step::accept(timeouts.gre) }
}
