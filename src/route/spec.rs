//! What a forwarding table is built from, and what may be wrong with it.

use crate::net::{MacAddr, PortId};
use ipnet::IpNet;
use std::fmt;
use std::net::IpAddr;

/// A port as routing sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// Its number.
    pub id: PortId,
    /// Addresses with the length of their subnet's prefix. The IPv6 link-local address is derived from `mac`
    /// and need not be listed.
    pub addresses: Vec<IpNet>,
    /// Link address.
    pub mac: MacAddr,
    /// Largest IP packet, in octets.
    pub mtu: u32,
}

/// What a route does with a packet (the words of `ip route`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// Forwards it.
    #[default]
    Unicast,
    /// Drops it silently.
    Blackhole,
    /// Drops it and answers host unreachable (ICMPv6: no route).
    Unreachable,
    /// Drops it and answers administratively prohibited.
    Prohibit,
}

/// One gateway of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via {
    /// The gateway's address.
    pub gateway: IpAddr,
    /// Its share of the flows among the route's gateways: 1 ..= 256.
    pub weight: u32,
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// Destination prefix, without host bits.
    pub to: IpNet,
    /// Gateways; several share the flows by weight. None: the destinations are on the link of `dev`.
    pub via: Vec<Via>,
    /// Egress port; found from the gateway if absent.
    pub dev: Option<PortId>,
    /// Lower wins among routes to one prefix. Connected routes have 0.
    pub metric: u32,
    /// What it does.
    pub kind: RouteKind,
}

/// Everything a forwarding table is built from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FibSpec {
    /// Ports.
    pub ports: Vec<PortSpec>,
    /// Static routes.
    pub routes: Vec<RouteSpec>,
}

/// Which part of a [`FibSpec`] an error is about. Indices count from 0 within the list they name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FibPlace {
    /// `ports[index]`.
    Port(usize),
    /// `ports[port].addresses[index]`.
    Address {
        /// Index in `ports`.
        port: usize,
        /// Index in that port's `addresses`.
        index: usize,
    },
    /// `routes[index]`.
    Route(usize),
    /// `routes[route].via[index]`.
    Via {
        /// Index in `routes`.
        route: usize,
        /// Index in that route's `via`.
        index: usize,
    },
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FibErrorKind {
    /// The port number is used twice or is beyond [`crate::net::ids::MAX_PORTS`].
    BadPort(PortId),
    /// Not an address a port can have: multicast, broadcast, loopback, unspecified, or its subnet's own
    /// network or broadcast address.
    BadAddress(IpNet),
    /// The address stands on another port, or twice on this one.
    DuplicateAddress {
        /// The address.
        address: IpAddr,
        /// The port that has it already.
        other: PortId,
    },
    /// The subnet overlaps one on another port.
    OverlappingSubnets {
        /// This subnet.
        subnet: IpNet,
        /// The one it overlaps.
        other: IpNet,
        /// The port that has the other one.
        port: PortId,
    },
    /// The destination has bits set beyond its prefix length.
    HostBits(IpNet),
    /// No such port.
    UnknownDev(PortId),
    /// A second route to the prefix with the same metric; the connected route counts with metric 0.
    DuplicateRoute {
        /// Prefix.
        to: IpNet,
        /// Metric.
        metric: u32,
    },
    /// The destination is an address of the router itself, so the route could never be used.
    RouteToSelf(IpNet),
    /// A unicast route with neither gateway nor port.
    NoNextHop,
    /// A blackhole, unreachable or prohibit route with a gateway or port.
    NextHopNotAllowed,
    /// Gateway and destination are of different families.
    ViaFamily(IpAddr),
    /// The gateway is not in a subnet of any port, or of the port the route names.
    ViaNotConnected(IpAddr),
    /// The gateway is an address of the router itself.
    ViaIsLocal(IpAddr),
    /// The gateway is not a host's address.
    ViaNotUnicast(IpAddr),
    /// A link-local gateway needs a port to be meant on.
    ViaNeedsDev(IpAddr),
    /// Weight outside 1 ..= 256.
    BadWeight(u32),
}

/// One mistake in a [`FibSpec`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FibError {
    /// Where.
    pub place: FibPlace,
    /// What.
    pub kind: FibErrorKind,
}

impl fmt::Display for FibErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadPort(id) => write!(f, "port number {} is used twice or too large", id.0),
            Self::BadAddress(net) => write!(f, "{net} is not an address a port can have"),
            Self::DuplicateAddress { address, .. } => write!(f, "address {address} is given twice"),
            Self::OverlappingSubnets { subnet, other, .. } => {
                write!(f, "subnet {subnet} overlaps {other} of another port")
            }
            Self::HostBits(net) => write!(f, "{net} has host bits set; the prefix is {}", net.trunc()),
            Self::UnknownDev(id) => write!(f, "there is no port number {}", id.0),
            Self::DuplicateRoute { to, metric } => {
                write!(f, "there is already a route to {to} with metric {metric}")
            }
            Self::RouteToSelf(net) => write!(f, "{net} is an address of the router itself"),
            Self::NoNextHop => f.write_str("the route has neither `via` nor `dev`"),
            Self::NextHopNotAllowed => f.write_str("a route that drops has no `via` and no `dev`"),
            Self::ViaFamily(ip) => write!(f, "gateway {ip} is not of the destination's address family"),
            Self::ViaNotConnected(ip) => write!(f, "gateway {ip} is not on a connected subnet"),
            Self::ViaIsLocal(ip) => write!(f, "gateway {ip} is an address of the router itself"),
            Self::ViaNotUnicast(ip) => write!(f, "gateway {ip} is not a host's address"),
            Self::ViaNeedsDev(ip) => write!(f, "link-local gateway {ip} needs `dev`"),
            Self::BadWeight(w) => write!(f, "weight {w} is outside 1 to 256"),
        }
    }
}

impl fmt::Display for FibError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.kind, f)
    }
}

impl std::error::Error for FibError {}
