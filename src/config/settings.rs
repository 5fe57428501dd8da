//! What a configuration file says once it has been checked: names resolved, defaults filled in.
//!
//! Whoever holds a `Settings` need not check anything again. All durations are milliseconds.

use crate::policy::spec::PolicySpec;

/// Gives an enum of the schema its words, in both directions.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every value with its word in the file.
            pub const WORDS: &'static [(&'static str, $name)] = &[$(($word, $name::$variant),)+];

            /// The word of the file.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }
    };
}

mod ports;
mod routes;
mod service;
mod tracking;
mod workers;

pub use ports::{Driver, Port, Vlan, XdpMode};
pub use routes::{Neigh, Neighbour, Route, RouteTarget};
pub use service::{Compat, IcmpLimit, Log, LogFormat, LogLevel, Metrics};
pub use tracking::{Conntrack, Fragments, Helper, OnFull, PortZone, Timeouts, ZoneDirection};
pub use workers::{Cores, Dispatch, Hugepages, Idle, Workers};

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    /// Threads and the cores they run on.
    pub workers: Workers,
    /// Ports in file order; `ports[id.index()]` is the port `id`.
    pub ports: Vec<Port>,
    /// Static routes in file order; connected routes follow from the ports' addresses.
    pub routes: Vec<Route>,
    /// Permanent neighbours.
    pub neighbours: Vec<Neighbour>,
    /// Chains and sets.
    pub policy: PolicySpec,
    /// Helpers; one that is not listed is off.
    pub helpers: Vec<Helper>,
    /// Connection tracking.
    pub conntrack: Conntrack,
    /// Reassembly limits.
    pub fragments: Fragments,
    /// Limit on ICMP and ICMPv6 errors the router originates.
    pub icmp: IcmpLimit,
    /// How neighbours are asked for and forgotten.
    pub neigh: Neigh,
    /// The metrics endpoint; `None` without a `metrics` section.
    pub metrics: Option<Metrics>,
    /// The router's own messages.
    pub log: Log,
}
