//! Where the tracker asks for expectations; who keeps them is not its business.

use crate::net::{MasterRef, Millis, Tuple};

/// A source of expectations.
pub trait Expectations {
    /// Takes the expectation that `tuple`, the first packet of a connection, fulfils, and names its master.
    /// The expectation is spent by this, whatever becomes of the packet.
    fn claim(&mut self, tuple: &Tuple, now: Millis) -> Option<MasterRef>;
}

/// No expectations.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoExpectations;

impl Expectations for NoExpectations {
    fn claim(&mut self, _tuple: &Tuple, _now: Millis) -> Option<MasterRef> {
        None
    }
}
