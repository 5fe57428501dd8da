//! Settings in the words of the rooms that work by them.

use super::settings::{Helper, Neigh, Port, Route, RouteTarget, Settings};
use crate::helper::HelperConfig;
use crate::net::MacAddr;
use crate::route::{FibSpec, NeighbourConfig, PortSpec, RouteKind, RouteSpec, Via};
use ipnet::IpNet;

impl Settings {
    /// What the forwarding table is built from. `link` gives a port's link address and MTU as its device has them.
    pub fn fib_spec(&self, link: impl Fn(&Port) -> (MacAddr, u32)) -> FibSpec {
        let port = |port: &Port| {
            let (mac, mtu) = link(port);
            PortSpec { id: port.id, addresses: port.addresses.clone(), mac, mtu }
        };
        FibSpec { ports: self.ports.iter().map(port).collect(), routes: self.routes.iter().map(Into::into).collect() }
    }

    /// The helpers with their sets written out. One whose sets are all empty fits nothing and is left out.
    #[must_use]
    pub fn helper_configs(&self) -> Vec<HelperConfig> {
        self.helpers.iter().filter_map(|helper| self.helper_config(helper)).collect()
    }

    fn helper_config(&self, helper: &Helper) -> Option<HelperConfig> {
        let mut daddr: Vec<IpNet> = helper.daddr.prefixes.clone();
        for set in self.policy.sets.iter().filter(|set| helper.daddr.sets.contains(&set.name)) {
            daddr.extend(&set.elements);
        }
        if daddr.is_empty() && !helper.daddr.sets.is_empty() {
            return None;
        }
        Some(HelperConfig {
            name: helper.name.clone(),
            kind: helper.kind,
            ports: helper.ports.clone(),
            iif: helper.iif.clone(),
            daddr,
            l4proto: helper.l4proto,
            max_expected: helper.max_expected,
            timeout_ms: helper.timeout,
            settings: helper.options,
        })
    }
}

impl From<&Route> for RouteSpec {
    fn from(route: &Route) -> Self {
        let (kind, dev, via) = match route.target {
            RouteTarget::Unicast { dev, via } => (RouteKind::Unicast, Some(dev), via),
            RouteTarget::Blackhole => (RouteKind::Blackhole, None, None),
            RouteTarget::Unreachable => (RouteKind::Unreachable, None, None),
            RouteTarget::Prohibit => (RouteKind::Prohibit, None, None),
        };
        let via = via.into_iter().map(|gateway| Via { gateway, weight: 1 }).collect();
        RouteSpec { to: route.to, via, dev, metric: route.metric, kind }
    }
}

impl From<&Neigh> for NeighbourConfig {
    fn from(neigh: &Neigh) -> Self {
        NeighbourConfig {
            base_reachable_ms: u64::from(neigh.base_reachable_time),
            retrans_ms: u64::from(neigh.retrans_time),
            mcast_solicit: u32::from(neigh.mcast_solicit),
            ucast_solicit: u32::from(neigh.ucast_solicit),
            capacity: neigh.gc_thresh3 as usize,
            ..NeighbourConfig::default()
        }
    }
}
