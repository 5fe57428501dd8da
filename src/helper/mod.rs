//! Helpers: what a control connection's payload announces of other connections.
//!
//! Owns the [`Helper`] contract, the helpers themselves, their registry and the choice of the helper a new
//! connection gets ([`Attach`]). Holds always: a helper is attached by configuration only, on a connection's first
//! packet; it sees one packet at a time and keeps nothing but its fixed-size [`State`].
//! Must not know: the connection table, the directory of expectations, the clock, and any I/O. What it wants done
//! it asks of [`Effects`], which the shard implements.
//!
//! A new helper is its file, one variant of [`HelperKind`] and its arm in [`HelperKind::helper`].

mod address;
mod amanda;
mod attach;
mod ftp;
mod irc;
mod pptp;
mod sane;
mod sip;
#[cfg(test)]
mod testing;
mod tftp;

pub use amanda::Amanda;
pub use attach::{Attach, HelperConfig, HelperId};
pub use ftp::{Ftp, Lines};
pub use irc::Irc;
pub use pptp::{Control, Pptp};
pub use sane::Sane;
pub use sip::{Dialog, Sip};
pub use tftp::Tftp;

use crate::net::{Addr, Direction, Expectation, Family, Tuple};
use std::ops::RangeInclusive;

/// Every helper there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HelperKind {
    /// FTP (RFC 959, RFC 2428).
    Ftp,
    /// TFTP (RFC 1350).
    Tftp,
    /// Direct connections of IRC clients (DCC).
    Irc,
    /// Amanda, a backup system.
    Amanda,
    /// SANE, scanners in the network.
    Sane,
    /// SIP (RFC 3261).
    Sip,
    /// PPTP (RFC 2637).
    Pptp,
}

impl HelperKind {
    /// All of them, for error messages and listings.
    pub const ALL: &'static [HelperKind] = &[
        HelperKind::Ftp,
        HelperKind::Tftp,
        HelperKind::Irc,
        HelperKind::Amanda,
        HelperKind::Sane,
        HelperKind::Sip,
        HelperKind::Pptp,
    ];

    /// Its code.
    #[must_use]
    pub fn helper(self) -> &'static dyn Helper {
        match self {
            HelperKind::Ftp => &Ftp,
            HelperKind::Tftp => &Tftp,
            HelperKind::Irc => &Irc,
            HelperKind::Amanda => &Amanda,
            HelperKind::Sane => &Sane,
            HelperKind::Sip => &Sip,
            HelperKind::Pptp => &Pptp,
        }
    }

    /// The helper of that name, as configuration files write it.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn by_name(name: &str) -> Option<HelperKind> {
        HelperKind::ALL.iter().copied().find(|kind| kind.helper().name() == name)
    }
}

/// A kind of announced connections; limits are per class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Expectations of this class that one connection may have open; one more evicts the oldest.
    pub max_expected: u8,
    /// Lifetime of an expectation in milliseconds.
    pub timeout_ms: u32,
}

/// What holds for a helper unless its configuration says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// IP protocol numbers of the control connection, the usual one first.
    pub l4proto: &'static [u8],
    /// Usual destination port.
    pub port: u16,
    /// Limits by class.
    pub classes: &'static [Class],
}

/// An option that only some helpers have; a word of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flag {
    /// [`Settings::loose`].
    Loose,
    /// [`Settings::direct_media`].
    DirectMedia,
    /// [`Settings::external_media`].
    ExternalMedia,
    /// [`Settings::direct_signalling`].
    DirectSignalling,
}

impl Flag {
    /// All of them.
    pub const ALL: [Flag; 4] = [Flag::Loose, Flag::DirectMedia, Flag::ExternalMedia, Flag::DirectSignalling];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Flag::Loose => "loose",
            Flag::DirectMedia => "direct_media",
            Flag::ExternalMedia => "external_media",
            Flag::DirectSignalling => "direct_signalling",
        }
    }

    /// Its place among the options.
    #[must_use]
    pub const fn of(self, settings: &mut Settings) -> &mut bool {
        match self {
            Flag::Loose => &mut settings.loose,
            Flag::DirectMedia => &mut settings.direct_media,
            Flag::ExternalMedia => &mut settings.external_media,
            Flag::DirectSignalling => &mut settings.direct_signalling,
        }
    }
}

/// The options of a configured helper that `inspect` needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// FTP: expect connections to an address other than the sender's own.
    pub loose: bool,
    /// SIP: expect media only to the sender of the message and from the peer it speaks with.
    pub direct_media: bool,
    /// SIP, without [`Settings::direct_media`]: expect no media for addresses that lie behind the same port as the
    /// receiver of the message, since those do not come through the router.
    pub external_media: bool,
    /// SIP: expect requests for a registered phone only from its registrar.
    pub direct_signalling: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { loose: false, direct_media: true, external_media: false, direct_signalling: true }
    }
}

/// The packet a helper is shown, and the connection it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The connection's tuple in the original direction.
    pub original: &'a Tuple,
    /// Its tuple in the reply direction.
    pub reply: &'a Tuple,
    /// Direction of this packet.
    pub direction: Direction,
    /// TCP sequence number of the payload's first octet; 0 for other protocols.
    pub seq: u32,
    /// The packet is ESTABLISHED: one was accepted in both directions, or this is the first reply.
    pub both_seen: bool,
    /// The connection was itself announced by another.
    pub expected: bool,
    /// Number of the helper in the configuration.
    pub number: u8,
    /// Options.
    pub settings: Settings,
}

impl<'a> Context<'a> {
    /// The tuple of the packet's direction.
    #[must_use]
    pub const fn this(&self) -> &'a Tuple {
        match self.direction {
            Direction::Original => self.original,
            Direction::Reply => self.reply,
        }
    }

    /// The tuple of the other direction: the sender of this packet is its destination.
    #[must_use]
    pub const fn other(&self) -> &'a Tuple {
        match self.direction {
            Direction::Original => self.reply,
            Direction::Reply => self.original,
        }
    }
}

/// Why a packet must not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Malformed {
    /// The segment ends within a command's word; the sender repeats it, with luck in one piece.
    Partial,
    /// A command the helper knows, with arguments it cannot read.
    Arguments,
    /// What it announces cannot be expected: another expectation is in the way, or there are too many.
    Refused,
}

impl Malformed {
    /// In words, for logs and replays.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Malformed::Partial => "command cut off",
            Malformed::Arguments => "arguments unreadable",
            Malformed::Refused => "expectation refused",
        }
    }
}

/// What a helper makes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing of interest.
    Ignored,
    /// It understood something.
    Parsed,
    /// Drop it, with [`crate::net::DropReason::HelperMalformed`].
    Drop(Malformed),
}

/// What became of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// It holds, perhaps in place of an equal one.
    Done,
    /// Another connection, or another class of this one, has announced the same.
    Already,
    /// It overlaps another one, or there are too many.
    Refused,
}

/// What a helper may have done about other connections, and to its own.
pub trait Effects {
    /// Announces a connection, with the lifetime and limit of its class.
    fn expect(&mut self, expectation: Expectation) -> Announced;

    /// Withdraws that announcement of its own.
    fn withdraw(&mut self, expectation: &Expectation);

    /// Withdraws all of its own in these classes.
    fn withdraw_classes(&mut self, classes: RangeInclusive<u8>);

    /// Withdraws the last of its own in that class.
    fn withdraw_newest(&mut self, class: u8);

    /// Lets the last of its own in that class that goes to that address and key match from now on, for `ms`; false if
    /// there is none.
    fn activate(&mut self, class: u8, proto: u8, to: (Addr, u16), ms: u32) -> bool;

    /// Whether another connection with this kind of helper has announced, in that class, what `packet` would fulfil.
    fn expects_elsewhere(&self, packet: &Tuple, class: u8) -> bool;

    /// Whether packets to both addresses leave the router by the same port.
    fn same_way(&self, family: Family, one: Addr, other: Addr) -> bool;

    /// Tells of a call (PPTP): packets like `flow`, which carry only their destination key, have its source key. False
    /// if another call in that direction was told of and not taken back.
    fn pair_call(&mut self, flow: &Tuple) -> bool;

    /// Takes back what was told of calls.
    fn unpair_calls(&mut self);

    /// Ends the connection of `flow`, and withdraws what is expected of it.
    fn end(&mut self, flow: &Tuple);

    /// Has the helper's own connection live for `ms` from now, unless a packet sets its timer anew.
    fn set_timer(&mut self, ms: u32);
}

/// What a helper remembers of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Nothing yet.
    #[default]
    Fresh,
    /// FTP: where lines ended, per direction.
    Ftp([Lines; 2]),
    /// SANE: the next answer is to a request to start.
    SaneStarted,
    /// SIP: the last registration and invitation.
    Sip(Dialog),
    /// PPTP: session and last call.
    Pptp(Control),
}

const _: () = assert!(std::mem::size_of::<State>() <= 32, "a helped connection's record stays small");

/// One application protocol.
pub trait Helper: Send + Sync {
    /// Its word in configurations, listings and metrics.
    fn name(&self) -> &'static str;

    /// Limits and usual port.
    fn defaults(&self) -> Defaults;

    /// Options it has.
    fn flags(&self) -> &'static [Flag] {
        &[]
    }

    /// Whether it can be attached to a connection that opens with `tuple`: family and protocol fit.
    fn matches(&self, tuple: &Tuple) -> bool {
        self.defaults().l4proto.contains(&tuple.proto)
    }

    /// Reads one packet's payload. Called for accepted packets of connections that have this helper, the first one
    /// included, but not for ICMP errors about them.
    fn inspect(&self, ctx: &Context<'_>, state: &mut State, payload: &[u8], effects: &mut dyn Effects) -> Outcome;

    /// The connection has left the table. Its expectations are withdrawn without asking.
    fn ended(&self, _ctx: &Context<'_>, _state: &mut State, _effects: &mut dyn Effects) {}
}

#[cfg(test)]
mod tests;
