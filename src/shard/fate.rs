//! How a packet ended: one record per packet (decision D4).

use crate::net::{CtState, Direction, DropReason, InvalidReason, PortId};
use crate::policy::RuleIndex;

/// The end of a packet's way through a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Sent on towards the egress port.
    Accept,
    /// Dropped for one reason.
    Drop(DropReason),
    /// Given to the control plane, or answered by the router itself.
    Punt,
    /// Kept until the rest of its datagram, or its next hop's address, is there.
    Held,
}

/// What is known of a packet when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// How it ended.
    pub end: End,
    /// Its state; `None` when it ended before tracking.
    pub state: Option<CtState>,
    /// Its direction in its connection.
    pub direction: Option<Direction>,
    /// Why it is INVALID.
    pub invalid: Option<InvalidReason>,
    /// The rule, or chain policy, that decided.
    pub rule: Option<RuleIndex>,
    /// The port it leaves by.
    pub egress: Option<PortId>,
    /// The protocol's own state after the packet ("SYN_SENT").
    pub protocol_state: Option<&'static str>,
}

impl Fate {
    /// A fate about which nothing but the end is known.
    #[must_use]
    pub const fn of(end: End) -> Fate {
        Fate { end, state: None, direction: None, invalid: None, rule: None, egress: None, protocol_state: None }
    }

    /// The same, ended otherwise.
    #[must_use]
    pub const fn ending(self, end: End) -> Fate {
        Fate { end, ..self }
    }
}

/// Whoever wants to know how each packet ended. The router itself does not: its counters suffice.
pub trait Watch {
    /// Whether fates are worth completing with what only a watcher wants to know.
    const WATCHING: bool = true;

    /// `seq` is the number its driver gave the packet ([`crate::frame::Meta::seq`]).
    fn ended(&mut self, seq: u32, fate: &Fate);
}

/// Watches nothing, at no cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    const WATCHING: bool = false;

    #[inline(always)]
    fn ended(&mut self, _seq: u32, _fate: &Fate) {}
}
