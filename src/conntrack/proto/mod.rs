//! The protocol trackers: what one packet does to its connection, and for how long the connection then lives.
//!
//! Every protocol offers the same two functions. `open` judges the first packet and gives the protocol's
//! state; `advance` judges a later one. Both are pure: (settings, state, flow, packet, direction) in, state
//! and [`Step`] out. They know neither table nor tuple nor clock, and they never panic, allocate or log.
//! [`State`] dispatches over the protocols; a caller that stores one protocol's state packed may call that
//! protocol's module itself.
//!
//! What always holds: a packet judged [`Outcome::Invalid`] at `open` leaves nothing; a timer that is set is
//! one of [`Timeouts`]; ASSURED is never taken back.
//!
//! The caller owes: header sanity (lengths, checksums, SCTP chunk layout) was checked before; timers are
//! applied with the packet's time; SEEN_REPLY is set after, not before, the first reply was judged
//! (accepted or ignored).

use crate::net::{CtState, Direction, Family, InvalidReason, L4, Millis, Summary};

pub mod gre;
pub mod icmp;
pub mod other;
pub mod sctp;
pub mod tcp;
pub mod timeouts;
pub mod udp;

#[cfg(test)]
mod lab;
#[cfg(test)]
mod tests;

pub use sctp::{Sctp, SctpState};
pub use tcp::{Tcp, TcpState};
pub use timeouts::Timeouts;
pub use udp::Udp;

/// What an operator may turn on the trackers; names and defaults are Linux's sysctls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Pick connections up from a mid-stream ACK.
    pub tcp_loose: bool,
    /// Accept TCP segments outside the window; only an RST below the acknowledged data stays INVALID.
    pub tcp_be_liberal: bool,
    /// Let such an RST pass too, without closing the connection.
    pub tcp_ignore_invalid_rst: bool,
    /// Repetitions of one ACK after which the timer drops to `tcp_max_retrans` of [`Timeouts`].
    pub tcp_max_retrans: u8,
    /// How long a connection lives after its last packet.
    pub timeouts: Timeouts,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            tcp_loose: true,
            tcp_be_liberal: false,
            tcp_ignore_invalid_rst: false,
            tcp_max_retrans: 3,
            timeouts: Timeouts::default(),
        }
    }
}

/// Facts of the entry that a tracker reads, as they were before this packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// A packet was accepted in the reply direction.
    pub seen_reply: bool,
    /// ASSURED is set.
    pub assured: bool,
    /// Time left on the entry's timer in milliseconds.
    pub remaining_ms: i32,
}

/// What a tracker says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The packet keeps the state its tuple gave it.
    Accept,
    /// Likewise, and SEEN_REPLY is set by a reply, but the protocol state and the timer stay as they were.
    Ignore,
    /// The packet is INVALID and belongs to no entry; the entry stays.
    Invalid(InvalidReason),
    /// The connection is over and this packet opens another: delete the entry, then look the packet up again.
    Restart,
}

/// What becomes of the entry's timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// It keeps running.
    Keep,
    /// It now ends this many milliseconds after the packet, unless the entry's timeout is fixed.
    Set(u32),
}

/// Everything the caller does after a tracker judged a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The judgement.
    pub outcome: Outcome,
    /// The timer; an INVALID packet may shorten it too (TCP).
    pub timer: Timer,
    /// Set ASSURED now, whatever the outcome: an INVALID packet may have opened an association before the chunk
    /// that made it INVALID (SCTP).
    pub assured: bool,
    /// Remove the entry at once; the packet keeps its state.
    pub delete: bool,
}

impl Step {
    /// Accepted; the timer is set to `ms`.
    #[inline]
    #[must_use]
    pub const fn accept(ms: u32) -> Self {
        Step { outcome: Outcome::Accept, timer: Timer::Set(ms), assured: false, delete: false }
    }

    /// Accepted; the timer keeps running.
    #[inline]
    #[must_use]
    pub const fn accept_keeping_timer() -> Self {
        Step { outcome: Outcome::Accept, timer: Timer::Keep, assured: false, delete: false }
    }

    /// Ignored.
    #[inline]
    #[must_use]
    pub const fn ignore() -> Self {
        Step { outcome: Outcome::Ignore, timer: Timer::Keep, assured: false, delete: false }
    }

    /// INVALID for `reason`.
    #[inline]
    #[must_use]
    pub const fn invalid(reason: InvalidReason) -> Self {
        Step { outcome: Outcome::Invalid(reason), timer: Timer::Keep, assured: false, delete: false }
    }

    /// The old connection is over.
    #[inline]
    #[must_use]
    pub const fn restart() -> Self {
        Step { outcome: Outcome::Restart, timer: Timer::Keep, assured: false, delete: false }
    }

    /// The same, with ASSURED set if `yes`.
    #[inline]
    #[must_use]
    pub const fn assuring(self, yes: bool) -> Self {
        Step { assured: yes, ..self }
    }
}

/// The state an entry gives a packet before any tracker looks at it; a tracker can only make it INVALID.
#[inline]
#[must_use]
pub const fn state_of(dir: Direction, seen_reply: bool, expected: bool) -> CtState {
    match (dir, seen_reply, expected) {
        (Direction::Reply, _, _) | (Direction::Original, true, _) => CtState::Established,
        (Direction::Original, false, true) => CtState::Related,
        (Direction::Original, false, false) => CtState::New,
    }
}

/// The protocol part of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp(Udp),
    /// UDP-Lite keeps nothing.
    UdpLite,
    /// ICMP or ICMPv6 query; keeps nothing but the family, which chooses the timeout.
    Icmp(Family),
    /// SCTP.
    Sctp(Sctp),
    /// GRE keeps nothing.
    Gre,
    /// Any other protocol keeps nothing.
    Other,
}

impl State {
    /// Judges the first packet of a connection.
    ///
    /// # Errors
    /// Why the packet is INVALID and opens nothing.
    #[inline]
    pub fn open(settings: &Settings, packet: &Summary, now: Millis) -> Result<(State, Step), InvalidReason> {
        let t = &settings.timeouts;
        match packet.l4 {
            L4::Tcp(segment) => tcp::open(settings, &segment).map(|(tcp, step)| (State::Tcp(tcp), step)),
            L4::Udp => Ok((State::Udp(Udp { created: now }), udp::open(t))),
            L4::UdpLite => Ok((State::UdpLite, udp::lite::open(t))),
            L4::Icmp(icmp) => {
                let family = packet.tuple.family;
                icmp::open(t, family, icmp).map(|step| (State::Icmp(family), step))
            }
            L4::Sctp(packet) => sctp::open(t, &packet).map(|(sctp, step)| (State::Sctp(sctp), step)),
            L4::Gre => Ok((State::Gre, gre::open(t))),
            L4::Other => Ok((State::Other, other::open(t))),
        }
    }

    /// Judges a later packet of the connection.
    #[inline]
    pub fn advance(&mut self, settings: &Settings, flow: Flow, packet: &Summary, dir: Direction, now: Millis) -> Step {
        let t = &settings.timeouts;
        match (self, packet.l4) {
            (State::Tcp(tcp), L4::Tcp(segment)) => tcp::advance(settings, tcp, flow, &segment, dir),
            (State::Udp(udp), L4::Udp) => udp::advance(t, *udp, flow, now),
            (State::UdpLite, L4::UdpLite) => udp::lite::advance(t, flow),
            (State::Icmp(family), L4::Icmp(_)) => icmp::advance(t, *family),
            (State::Sctp(sctp), L4::Sctp(packet)) => sctp::advance(t, sctp, &packet, dir),
            (State::Gre, L4::Gre) => gre::advance(t, flow),
            (State::Other, L4::Other) => other::advance(t),
            // The tuple holds the protocol number, so an entry and its packets agree.
            _ => Step::invalid(InvalidReason::Unknown),
        }
    }

    /// The protocol's own state, as netfilter prints it; `None` for protocols that have none.
    #[must_use]
    pub const fn label(&self) -> Option<&'static str> {
        match self {
            State::Tcp(tcp) => Some(tcp.state.label()),
            State::Sctp(sctp) => Some(sctp.state.label()),
            State::Udp(_) | State::UdpLite | State::Icmp(_) | State::Gre | State::Other => None,
        }
    }

    /// Whether the scan under memory pressure may take the entry although it is ASSURED.
    #[must_use]
    pub const fn early_drop(&self) -> bool {
        match self {
            State::Tcp(tcp) => tcp.state.early_drop(),
            State::Sctp(sctp) => sctp.state.early_drop(),
            State::Udp(_) | State::UdpLite | State::Icmp(_) | State::Gre | State::Other => false,
        }
    }
}
