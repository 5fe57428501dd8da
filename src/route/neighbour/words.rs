//! The words of the neighbour state machine: states, facts, wishes.

use crate::net::{Addr, Family, MacAddr, PortId};

/// Names a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NeighbourKey {
    /// The port whose link it is on.
    pub port: PortId,
    /// Family of its address.
    pub family: Family,
    /// Its address.
    pub addr: Addr,
}

/// A neighbour's state: Linux' NUD states, RFC 4861 section 7.3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Nud {
    /// Asked for, no answer yet.
    Incomplete,
    /// Answered lately.
    Reachable,
    /// Known, not confirmed lately, not in use.
    Stale,
    /// In use again; a hint from above would spare the probe.
    Delay,
    /// Being asked again, by unicast.
    Probe,
    /// Did not answer.
    Failed,
    /// Configured.
    Permanent,
}

impl Nud {
    /// Every state, in the order of its discriminant.
    pub const ALL: [Nud; 7] =
        [Nud::Incomplete, Nud::Reachable, Nud::Stale, Nud::Delay, Nud::Probe, Nud::Failed, Nud::Permanent];

    /// The word of listings and metrics (as `ip neighbour` writes it, in lower case).
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Nud::Incomplete => "incomplete",
            Nud::Reachable => "reachable",
            Nud::Stale => "stale",
            Nud::Delay => "delay",
            Nud::Probe => "probe",
            Nud::Failed => "failed",
            Nud::Permanent => "permanent",
        }
    }

    /// Whether packets may be sent to the link address.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        !matches!(self, Nud::Incomplete | Nud::Failed)
    }
}

/// Timers and limits. The defaults are Linux'; all times are milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourConfig {
    /// Mean time an answer is trusted; the actual time is drawn from half to one and a half of it.
    pub base_reachable_ms: u64,
    /// Between two probes.
    pub retrans_ms: u64,
    /// Broadcast or multicast probes before giving up.
    pub mcast_solicit: u32,
    /// Unicast probes before giving up.
    pub ucast_solicit: u32,
    /// From the first use of a stale neighbour to its first probe.
    pub delay_first_probe_ms: u64,
    /// A stale or failed neighbour nobody used for so long is forgotten.
    pub gc_stale_ms: u64,
    /// Below so many entries none but failed ones is forgotten (Linux' gc_thresh1).
    pub gc_keep: usize,
    /// Most entries (Linux' gc_thresh3); configured ones do not count.
    pub capacity: usize,
    /// An ARP message that did not ask for us does not change a link address younger than this.
    pub locktime_ms: u64,
    /// Start of the sequence the reachable times are drawn from.
    pub seed: u64,
}

impl Default for NeighbourConfig {
    fn default() -> Self {
        NeighbourConfig {
            base_reachable_ms: 30_000,
            retrans_ms: 1_000,
            mcast_solicit: 3,
            ucast_solicit: 3,
            delay_first_probe_ms: 5_000,
            gc_stale_ms: 60_000,
            gc_keep: 128,
            capacity: 1024,
            locktime_ms: 1_000,
            seed: 0x9e37_79b9_7f4a_7c15,
        }
    }
}

/// What a message from the wire says of its sender. The link address comes beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It asked for an address of ours (ARP request, NS): worth remembering, since we are about to talk.
    AskedUs,
    /// It sent an ARP request for somebody else; only refreshes what is known (RFC 826's merge flag).
    ArpMention,
    /// It answered by ARP.
    ArpReply {
        /// To our link address; a broadcast answer does not prove that it hears us.
        unicast: bool,
    },
    /// It announced itself: sender and target are the same (RFC 5227 section 3). With `arp_accept=0` this only
    /// changes what is known.
    Gratuitous,
    /// Neighbour advertisement (RFC 4861 section 7.2.5).
    Advert {
        /// S flag: it answers a question of ours.
        solicited: bool,
        /// O flag: replaces a link address known before.
        override_: bool,
    },
}

/// To whom a probe goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeTo {
    /// Everybody: ARP broadcast, or the target's solicited-node group.
    Group,
    /// The link address known so far.
    Unicast(MacAddr),
}

/// What every shard must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourEvent {
    /// The neighbour's link address; sent again when a shard asks.
    Update {
        /// Which neighbour.
        key: NeighbourKey,
        /// Its link address.
        mac: MacAddr,
    },
    /// It did not answer: packets that wait for it are to be dropped, the next one asks anew.
    Failed {
        /// Which neighbour.
        key: NeighbourKey,
    },
    /// It is known no more (unused for long, or its link went down); the next packet asks anew.
    Forget {
        /// Which neighbour.
        key: NeighbourKey,
    },
}

impl NeighbourEvent {
    /// Which neighbour it is about.
    #[must_use]
    pub const fn key(&self) -> NeighbourKey {
        match *self {
            NeighbourEvent::Update { key, .. } | NeighbourEvent::Failed { key } | NeighbourEvent::Forget { key } => key,
        }
    }
}

/// What the state machine wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourAction {
    /// Ask for the neighbour's link address.
    Probe {
        /// Which neighbour.
        key: NeighbourKey,
        /// Whom to ask.
        to: ProbeTo,
    },
    /// Tell every shard.
    Event(NeighbourEvent),
}

/// One line of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourInfo {
    /// Which neighbour.
    pub key: NeighbourKey,
    /// Its link address, if the state is valid.
    pub mac: Option<MacAddr>,
    /// State.
    pub state: Nud,
}

impl Fact {
    /// Proves that the neighbour hears us.
    pub(super) const fn confirms(self) -> bool {
        matches!(self, Fact::ArpReply { unicast: true } | Fact::Advert { solicited: true, .. })
    }
}
