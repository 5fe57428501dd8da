//! Where packets are sent: routes and neighbours.

use crate::net::{MacAddr, PortId};
use ipnet::IpNet;
use std::net::IpAddr;

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination prefix.
    pub to: IpNet,
    /// Where it leads.
    pub target: RouteTarget,
    /// The lower wins among routes to the same prefix.
    pub metric: u32,
}

/// Where a static route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// Out of a port.
    Unicast {
        /// The port; where the file names none, the one whose subnet `via` is on.
        dev: PortId,
        /// Next hop; `None` if destinations are neighbours themselves.
        via: Option<IpAddr>,
    },
    /// Dropped in silence.
    Blackhole,
    /// Answered with host unreachable.
    Unreachable,
    /// Answered with communication administratively prohibited.
    Prohibit,
}

impl RouteTarget {
    /// The words of `type`.
    pub const WORDS: &'static [&'static str] = &["unicast", "blackhole", "unreachable", "prohibit"];

    /// The word of the file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            RouteTarget::Unicast { .. } => "unicast",
            RouteTarget::Blackhole => "blackhole",
            RouteTarget::Unreachable => "unreachable",
            RouteTarget::Prohibit => "prohibit",
        }
    }
}

/// A permanent neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub ip: IpAddr,
    /// Its link address.
    pub lladdr: MacAddr,
    /// The port it is behind.
    pub dev: PortId,
}

/// How neighbours are asked for and forgotten; names and defaults are Linux's `neigh/default` sysctls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neigh {
    /// How long an answer counts as fresh (`base_reachable_time_ms`).
    pub base_reachable_time: u32,
    /// Between two requests (`retrans_time_ms`).
    pub retrans_time: u32,
    /// Requests to a neighbour not known yet before giving up (`mcast_solicit`).
    pub mcast_solicit: u8,
    /// Requests to a neighbour known of old before forgetting it (`ucast_solicit`).
    pub ucast_solicit: u8,
    /// Packets held for one neighbour while asking (`unres_qlen`).
    pub unres_qlen: u16,
    /// Most neighbours known at once (`gc_thresh3`).
    pub gc_thresh3: u32,
}

impl Default for Neigh {
    fn default() -> Self {
        Neigh {
            base_reachable_time: 30_000,
            retrans_time: 1_000,
            mcast_solicit: 3,
            ucast_solicit: 3,
            unres_qlen: 101,
            gc_thresh3: 1024,
        }
    }
}
