//! Where a packet goes next: routes, and the link addresses of next hops.
//!
//! Owns the forwarding table of one snapshot ([`Fib`]), the neighbour state machine that the control plane
//! drives ([`NeighbourTable`]), what a shard knows of neighbours together with the packets that wait for them
//! ([`NeighbourView`]), and the brake on ICMP errors ([`IcmpLimiter`]).
//!
//! Always holds: a [`Fib`] never changes once built, so shards share it without a lock; everything learnt from
//! the wire is bounded; time is an argument. The state machine knows neighbours by address and facts by name:
//! it sees no bytes and sends none, so ARP (RFC 826) and neighbour discovery (RFC 4861) are one machine.
//!
//! Must not know: frames, ports beyond their number, connections, policy.

mod build;
pub mod fib;
mod intervals;
pub mod limit;
pub mod neighbour;
pub mod spec;
pub mod view;

pub use fib::{Fib, NextHop, PortAddr, PortInfo, Route, RouteCounts};
pub use limit::IcmpLimiter;
pub use neighbour::{
    Fact, NeighbourAction, NeighbourConfig, NeighbourEvent, NeighbourInfo, NeighbourKey, NeighbourTable, Nud, ProbeTo,
};
pub use spec::{FibError, FibErrorKind, FibPlace, FibSpec, PortSpec, RouteKind, RouteSpec, Via};
pub use view::{Hold, NeighbourId, NeighbourView, Released, Resolution, ViewConfig};
