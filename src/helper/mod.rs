//! Helpers: what a control connection's payload announces of other connections.
//!
//! Owns the [`Helper`] contract, the helpers themselves, their registry and the choice of the helper a new
//! connection gets ([`Attach`]). Holds always: a helper is attached by configuration only, on a connection's first
//! packet; it sees one segment at a time and keeps nothing but its fixed-size [`State`].
//! Must not know: the connection table, the directory of expectations, the clock, and any I/O. What a helper
//! finds it returns, and the shard acts on it.
//!
//! A new helper is its file, one variant of [`HelperKind`] and its arm in [`HelperKind::helper`].

mod attach;
mod ftp;

pub use attach::{Attach, HelperConfig, HelperId};
pub use ftp::{Ftp, Lines};

use crate::net::{Direction, Expectation, Tuple};

/// Every helper there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HelperKind {
    /// FTP (RFC 959, RFC 2428).
    Ftp,
}

impl HelperKind {
    /// All of them, for error messages and listings.
    pub const ALL: &'static [HelperKind] = &[HelperKind::Ftp];

    /// Its code.
    #[must_use]
    pub fn helper(self) -> &'static dyn Helper {
        match self {
            HelperKind::Ftp => &Ftp,
        }
    }

    /// The helper of that name, as configuration files write it.
    #[must_use]
    pub fn by_name(name: &str) -> Option<HelperKind> {
        HelperKind::ALL.iter().copied().find(|kind| kind.helper().name() == name)
    }
}

/// What holds for a helper unless its configuration says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// IP protocol number of the control connection.
    pub l4proto: u8,
    /// Usual destination port.
    pub port: u16,
    /// Expectations of one class that one connection may have open.
    pub max_expected: u8,
    /// Lifetime of an expectation in milliseconds.
    pub timeout_ms: u32,
}

/// The options of a configured helper that `inspect` needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Lifetime of an expectation in milliseconds.
    pub timeout_ms: u32,
    /// Expect connections to an address other than the sender's own (netfilter's `loose`).
    pub loose: bool,
}

/// The segment a helper is shown, and the connection it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The connection's tuple in the original direction.
    pub original: &'a Tuple,
    /// Its tuple in the reply direction.
    pub reply: &'a Tuple,
    /// Direction of this segment.
    pub direction: Direction,
    /// TCP sequence number of the payload's first octet; 0 for other protocols.
    pub seq: u32,
    /// Packets were accepted in both directions before, or this one is the first reply.
    pub both_seen: bool,
    /// Options.
    pub settings: Settings,
}

/// Why a segment must not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// The segment ends within a command's word; the sender repeats it, with luck in one piece.
    Partial,
    /// A command the helper knows, with arguments it cannot read.
    Arguments,
}

impl Malformed {
    /// In words, for logs and replays.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Malformed::Partial => "command cut off",
            Malformed::Arguments => "arguments unreadable",
        }
    }
}

/// What a helper makes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Let it pass.
    Accept,
    /// Drop it, with [`crate::net::DropReason::HelperMalformed`].
    Drop(Malformed),
    /// Put this into the directory, then let the segment pass. If the directory refuses for overlap or
    /// lack of room, drop the segment instead, with the same reason.
    Expect(Expectation),
}

/// What a helper remembers of one connection. All zero at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Where lines ended, per direction (FTP).
    pub lines: [Lines; 2],
}

const _: () = assert!(std::mem::size_of::<State>() <= 32, "a helped connection's record stays small");

/// One application protocol.
pub trait Helper: Send + Sync {
    /// Its word in configurations, listings and metrics.
    fn name(&self) -> &'static str;

    /// Limits and usual port.
    fn defaults(&self) -> Defaults;

    /// Whether it can be attached to a connection that opens with `tuple`: family and protocol fit.
    fn matches(&self, tuple: &Tuple) -> bool;

    /// Reads one segment's payload. Called for accepted packets of connections that have this helper, not for
    /// ICMP errors about them.
    fn inspect(&self, ctx: &Context<'_>, state: &mut State, payload: &[u8]) -> Outcome;
}
