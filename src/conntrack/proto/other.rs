//! Every protocol without a tracker of its own: one timeout, no checks, never ASSURED.

use super::{Step, Timeouts};

/// The first packet.
#[inline]
#[must_use]
pub const fn open(timeouts: &Timeouts) -> Step {
    Step::accept(timeouts.generic)
}

/// Any later packet, either way.
#[inline]
#[must_use]
pub const fn advance(timeouts: &Timeouts) -> Step {
    Step::accept(timeouts.generic)
}
