//! What the tracker counts about its table.

use crate::net::proto;

/// Protocols as metrics group them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ProtoClass {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP.
    Icmp,
    /// ICMPv6.
    Icmpv6,
    /// SCTP.
    Sctp,
    /// GRE.
    Gre,
    /// Everything else.
    Other,
}

impl ProtoClass {
    /// All, in the order of their index.
    pub const ALL: [ProtoClass; 7] = [
        ProtoClass::Tcp,
        ProtoClass::Udp,
        ProtoClass::Icmp,
        ProtoClass::Icmpv6,
        ProtoClass::Sctp,
        ProtoClass::Gre,
        ProtoClass::Other,
    ];

    /// The class of an IP protocol number.
    #[inline]
    #[must_use]
    pub const fn of(number: u8) -> ProtoClass {
        match number {
            proto::TCP => ProtoClass::Tcp,
            proto::UDP => ProtoClass::Udp,
            proto::ICMP => ProtoClass::Icmp,
            proto::ICMPV6 => ProtoClass::Icmpv6,
            proto::SCTP => ProtoClass::Sctp,
            proto::GRE => ProtoClass::Gre,
            _ => ProtoClass::Other,
        }
    }

    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            ProtoClass::Tcp => "tcp",
            ProtoClass::Udp => "udp",
            ProtoClass::Icmp => "icmp",
            ProtoClass::Icmpv6 => "icmpv6",
            ProtoClass::Sctp => "sctp",
            ProtoClass::Gre => "gre",
            ProtoClass::Other => "other",
        }
    }
}

/// Why an entry left the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cause {
    /// Its time was over.
    Timeout,
    /// The protocol ended it: a refused connection, or a new one on the same tuple.
    Closed,
    /// Sacrificed for a new connection.
    Evicted,
}

impl Cause {
    /// All, in the order of their index.
    pub const ALL: [Cause; 3] = [Cause::Timeout, Cause::Closed, Cause::Evicted];

    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Cause::Timeout => "timeout",
            Cause::Closed => "closed",
            Cause::Evicted => "evicted",
        }
    }
}

/// Counters of one table; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries made, by protocol.
    pub created: [u64; ProtoClass::ALL.len()],
    /// Entries gone, by protocol and cause.
    pub destroyed: [[u64; Cause::ALL.len()]; ProtoClass::ALL.len()],
    /// New connections refused because the table was full.
    pub refused: u64,
    /// Longest time, in milliseconds, by which the last sweep met an entry after its end.
    pub expire_lag_ms: u32,
}

impl Counts {
    #[inline]
    pub(super) fn made(&mut self, number: u8) {
        self.created[ProtoClass::of(number) as usize] += 1;
    }

    #[inline]
    pub(super) fn gone(&mut self, number: u8, cause: Cause) {
        self.destroyed[ProtoClass::of(number) as usize][cause as usize] += 1;
    }
}
