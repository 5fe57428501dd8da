//! What a configuration says about policy, before it is compiled. Words are nftables' words.

use crate::net::{CtState, PortId};
use ipnet::IpNet;
use std::ops::RangeInclusive;

/// Where a base chain stands on a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Before connection tracking: no state, no egress port yet; the place for `notrack`.
    Prerouting,
    /// Packets routed from one port to another.
    Forward,
    /// Packets for the router itself.
    Input,
}

impl Hook {
    /// Every hook, in the order of a packet's way.
    pub const ALL: [Hook; 3] = [Hook::Prerouting, Hook::Forward, Hook::Input];

    /// Name of the base chain at this hook.
    #[must_use]
    pub const fn chain_name(self) -> &'static str {
        match self {
            Hook::Prerouting => "prerouting",
            Hook::Forward => "forward",
            Hook::Input => "input",
        }
    }
}

/// A set of states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StateMask(pub u8);

impl StateMask {
    /// Adds a state.
    #[must_use]
    pub const fn with(self, state: CtState) -> Self {
        StateMask(self.0 | 1 << state as u8)
    }

    /// Whether `state` is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, state: CtState) -> bool {
        self.0 >> state as u8 & 1 == 1
    }
}

/// What an address is matched against; empty means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddrMatch {
    /// Prefixes written in the rule.
    pub prefixes: Vec<IpNet>,
    /// Named sets, without the `@`.
    pub sets: Vec<String>,
}

/// The conditions of one rule; all must hold. An empty list means any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// States; `None` means any.
    pub ct_state: Option<StateMask>,
    /// Ports a packet may have come in by.
    pub iif: Vec<PortId>,
    /// Ports it may leave by.
    pub oif: Vec<PortId>,
    /// Source address.
    pub saddr: AddrMatch,
    /// Destination address.
    pub daddr: AddrMatch,
    /// IP protocol numbers.
    pub l4proto: Vec<u8>,
    /// Source ports.
    pub sport: Vec<RangeInclusive<u16>>,
    /// Destination ports.
    pub dport: Vec<RangeInclusive<u16>>,
}

/// What a reject answers with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RejectWith {
    /// ICMP or ICMPv6 port unreachable (nftables' default).
    #[default]
    PortUnreachable,
    /// Host unreachable (ICMPv6: address unreachable).
    HostUnreachable,
    /// Net unreachable (ICMPv6: no route).
    NetUnreachable,
    /// Communication administratively prohibited.
    AdminProhibited,
    /// TCP RST; only in rules that match TCP alone.
    TcpReset,
}

/// What a rule does with a packet that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerdictSpec {
    /// Let it pass this hook.
    Accept,
    /// Drop it.
    Drop,
    /// Drop it and tell the sender.
    Reject(RejectWith),
    /// Go on in another chain; come back when it ends.
    Jump(String),
    /// Go on in another chain; do not come back.
    Goto(String),
    /// Back to the calling chain; in a base chain, to its policy.
    Return,
    /// Exempt from tracking and accept; prerouting only.
    NoTrack,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Its name in metrics, replays and logs; unique within the chain.
    pub id: String,
    /// Conditions.
    pub matches: Matches,
    /// Verdict.
    pub verdict: VerdictSpec,
}

/// What becomes of a packet that no rule of a base chain decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChainPolicy {
    /// Accepted (nftables' default).
    #[default]
    Accept,
    /// Dropped.
    Drop,
}

/// One chain; a base chain if its name is a hook's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainSpec {
    /// Name.
    pub name: String,
    /// Policy; has no meaning in a chain that is not a base chain.
    pub policy: ChainPolicy,
    /// Rules, tried in order.
    pub rules: Vec<RuleSpec>,
}

/// A named set of prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetSpec {
    /// Name, without the `@`.
    pub name: String,
    /// Elements.
    pub elements: Vec<IpNet>,
}

/// The whole policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicySpec {
    /// Chains, in file order.
    pub chains: Vec<ChainSpec>,
    /// Sets, in file order.
    pub sets: Vec<SetSpec>,
}
