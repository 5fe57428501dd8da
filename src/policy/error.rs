//! What is wrong, or odd, with a policy; places are indices into the [`PolicySpec`](super::spec::PolicySpec).

use super::{MAX_NESTING, MAX_SLOTS, MAX_STEPS};
use std::fmt;

/// The part of a chain or rule an error is about, by its word in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The chain's name.
    Name,
    /// The rule as a whole.
    Rule,
    /// `id`.
    Id,
    /// `ct_state`.
    CtState,
    /// `iif`.
    Iif,
    /// `oif`.
    Oif,
    /// `saddr`.
    Saddr,
    /// `daddr`.
    Daddr,
    /// `sport`.
    Sport,
    /// `dport`.
    Dport,
    /// `verdict`.
    Verdict,
}

impl Field {
    /// The key in a rule's mapping; `None` for a chain's name and for the rule as a whole.
    #[must_use]
    pub const fn key(self) -> Option<&'static str> {
        match self {
            Field::Name | Field::Rule => None,
            Field::Id => Some("id"),
            Field::CtState => Some("ct_state"),
            Field::Iif => Some("iif"),
            Field::Oif => Some("oif"),
            Field::Saddr => Some("saddr"),
            Field::Daddr => Some("daddr"),
            Field::Sport => Some("sport"),
            Field::Dport => Some("dport"),
            Field::Verdict => Some("verdict"),
        }
    }
}

/// Why a policy cannot be compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyErrorKind {
    /// `@name` of no set.
    UnknownSet(String),
    /// `jump` or `goto` to no chain.
    UnknownChain(String),
    /// This jump closes a loop.
    JumpLoop(String),
    /// `jump` or `goto` to a base chain.
    JumpToBase(String),
    /// This jump goes deeper than [`MAX_NESTING`].
    JumpTooDeep,
    /// Jumps multiply to more than [`MAX_STEPS`] rules for one packet.
    TooManySteps,
    /// More rules and chains than [`MAX_SLOTS`].
    TooManyRules,
    /// An earlier chain has this name.
    DuplicateChain(String),
    /// An earlier rule of the chain has this id.
    DuplicateId(String),
    /// A port number the ruleset cannot hold.
    PortNumber(u8),
    /// `notrack` where the packet has been tracked already; names the hook that leads here.
    NotrackOutsidePrerouting(&'static str),
    /// `ct_state` before tracking.
    CtStateInPrerouting,
    /// `oif` before routing, or for a packet that goes to the router; names the hook that leads here.
    OifWithoutEgress(&'static str),
    /// `reject with tcp reset` in a rule that does not match TCP alone.
    TcpResetWithoutTcp,
    /// `sport` or `dport` in a rule whose `l4proto` does not name protocols with ports only.
    PortsWithoutProtocol,
    /// `saddr` and `daddr` have no address family in common.
    MixedFamilies,
    /// First port greater than the last.
    ReversedRange(u16, u16),
}

impl fmt::Display for PolicyErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use PolicyErrorKind as K;
        match self {
            K::UnknownSet(name) => write!(f, "there is no set named `{name}`"),
            K::UnknownChain(name) => write!(f, "there is no chain named `{name}`"),
            K::JumpLoop(name) => write!(f, "going to `{name}` from here closes a loop"),
            K::JumpToBase(name) => write!(f, "`{name}` is a base chain; packets enter it at its hook only"),
            K::JumpTooDeep => write!(f, "chains nest deeper than {MAX_NESTING} here"),
            K::TooManySteps => write!(f, "a packet could have to pass more than {MAX_STEPS} rules through this chain"),
            K::TooManyRules => write!(f, "there are more than {MAX_SLOTS} rules and chains"),
            K::DuplicateChain(name) => write!(f, "the chain `{name}` is defined twice"),
            K::DuplicateId(id) => write!(f, "an earlier rule of this chain has the id `{id}`"),
            K::PortNumber(n) => write!(f, "port number {n} is too high"),
            K::NotrackOutsidePrerouting(hook) => {
                write!(f, "`notrack` works in prerouting only, and packets come here from `{hook}`")
            }
            K::CtStateInPrerouting => f.write_str("packets in prerouting have no connection state yet"),
            K::OifWithoutEgress(hook) => write!(f, "packets in `{hook}` have no egress port"),
            K::TcpResetWithoutTcp => f.write_str("`tcp reset` needs `l4proto: tcp` in the same rule"),
            K::PortsWithoutProtocol => f.write_str("ports need `l4proto` tcp, udp, udplite or sctp in the same rule"),
            K::MixedFamilies => {
                f.write_str("one of saddr and daddr is IPv4 only and the other IPv6 only: the rule can never match")
            }
            K::ReversedRange(a, b) => write!(f, "the range {a}-{b} is reversed"),
        }
    }
}

/// One mistake and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    /// Index of the chain.
    pub chain: usize,
    /// Index of the rule in it; `None` if the chain itself is meant.
    pub rule: Option<usize>,
    /// The part of the rule or chain.
    pub field: Field,
    /// The mistake.
    pub kind: PolicyErrorKind,
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}

impl std::error::Error for PolicyError {}

/// What is allowed but hardly meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyWarningKind {
    /// No base chain leads to this chain.
    ChainNotReached,
    /// Every packet this rule matches is taken by an earlier rule of the chain.
    RuleNotReached {
        /// Index of the earlier rule.
        by: usize,
        /// Its id.
        id: String,
    },
}

impl fmt::Display for PolicyWarningKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicyWarningKind::ChainNotReached => f.write_str("no base chain leads to this chain"),
            PolicyWarningKind::RuleNotReached { id, .. } => {
                write!(f, "this rule is never reached: the earlier rule `{id}` takes everything it matches")
            }
        }
    }
}

/// One oddity and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyWarning {
    /// Index of the chain.
    pub chain: usize,
    /// Index of the rule in it; `None` if the chain itself is meant.
    pub rule: Option<usize>,
    /// The part of the rule or chain.
    pub field: Field,
    /// The oddity.
    pub kind: PolicyWarningKind,
}

impl fmt::Display for PolicyWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)
    }
}
