//! From a [`FibSpec`] to a [`Fib`], collecting every mistake.

use super::fib::{Entry, Fib, NextHop, Path, PortAddr, PortInfo, link_local_of};
use super::spec::{FibError, FibErrorKind as Kind, FibPlace as Place, FibSpec, PortSpec, RouteKind, RouteSpec, Via};
use crate::net::ids::MAX_PORTS;
use crate::net::{Addr, Family, PortId};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Linux' largest weight of a gateway.
const MAX_WEIGHT: u32 = 256;

struct Builder {
    fib: Fib,
    errors: Vec<FibError>,
    /// Subnets so far; a subnet of link-local addresses is not listed, every port has it.
    subnets: Vec<(PortId, IpNet)>,
    /// Destinations taken, by metric.
    taken: BTreeSet<(IpNet, u32)>,
}

pub(super) fn build(spec: &FibSpec) -> Result<Fib, Vec<FibError>> {
    let mut b = Builder { fib: Fib::default(), errors: Vec::new(), subnets: Vec::new(), taken: BTreeSet::new() };
    for (index, port) in spec.ports.iter().enumerate() {
        b.port(index, port);
    }
    for &(_, subnet) in &b.subnets {
        b.taken.insert((subnet, 0));
    }
    b.routes(&spec.routes);
    if !b.errors.is_empty() {
        return Err(b.errors);
    }
    b.fib.seal();
    Ok(b.fib)
}

impl Builder {
    fn error(&mut self, place: Place, kind: Kind) {
        self.errors.push(FibError { place, kind });
    }

    fn port(&mut self, index: usize, spec: &PortSpec) {
        let slot = spec.id.index();
        if slot >= MAX_PORTS || self.fib.port(spec.id).is_some() {
            return self.error(Place::Port(index), Kind::BadPort(spec.id));
        }
        let mut info = PortInfo {
            id: spec.id,
            mac: spec.mac,
            mtu: spec.mtu,
            link_local: link_local_of(spec.mac),
            addresses: Vec::with_capacity(spec.addresses.len()),
        };
        for (n, &net) in spec.addresses.iter().enumerate() {
            let place = Place::Address { port: index, index: n };
            match self.address(&info, net) {
                Ok(address) => info.addresses.push(address),
                Err(kind) => self.error(place, kind),
            }
        }
        if self.fib.ports.len() <= slot {
            self.fib.ports.resize(slot + 1, None);
        }
        self.fib.ports[slot] = Some(info);
    }

    fn address(&mut self, port: &PortInfo, net: IpNet) -> Result<PortAddr, Kind> {
        let family = Family::from(net.addr());
        let addr = Addr::from(net.addr());
        let own = PortAddr { family, addr, prefix_len: net.prefix_len() };
        let limited = family == Family::V4 && (addr.as_v4() == u32::MAX || addr.as_v4() >> 24 == 0);
        let network = net.prefix_len() < net.max_prefix_len() - 1 && net.network() == net.addr();
        if limited
            || network
            || own.broadcast() == Some(addr)
            || addr.is_multicast(family)
            || addr.is_loopback(family)
            || addr.is_unspecified()
        {
            return Err(Kind::BadAddress(net));
        }
        if family == Family::V6 && addr.is_link_local(family) {
            // Link-local addresses mean something only on their port, so they can neither clash nor overlap.
            return Ok(own);
        }
        let holder = self.fib.ports().chain([port]).find(|p| p.owns(family, addr)).map(|p| p.id);
        if let Some(other) = holder {
            return Err(Kind::DuplicateAddress { address: net.addr(), other });
        }
        let subnet = net.trunc();
        let overlap = self
            .subnets
            .iter()
            .find(|(id, other)| *id != port.id && (other.contains(&subnet) || subnet.contains(other)));
        if let Some(&(id, other)) = overlap {
            return Err(Kind::OverlappingSubnets { subnet, other, port: id });
        }
        if !self.subnets.contains(&(port.id, subnet)) {
            self.subnets.push((port.id, subnet));
            self.fib.counts[family.index()].connected += 1;
        }
        self.insert_if_free(subnet, Entry::OnLink(port.id));
        if let Some(broadcast) = own.broadcast() {
            self.insert_host(family, broadcast, Entry::Broadcast);
        }
        if let Some(anycast) = own.router_anycast() {
            self.insert_host(family, anycast, Entry::Local(port.id));
        }
        // Last, so that an address inside another of the port's subnets stays an address.
        self.insert_host(family, addr, Entry::Local(port.id));
        for a in port.addresses.iter().filter(|a| a.family == family && !a.addr.is_link_local(Family::V6)) {
            self.insert_host(family, a.addr, Entry::Local(port.id));
        }
        Ok(own)
    }

    fn routes(&mut self, routes: &[RouteSpec]) {
        let mut built: Vec<(u32, IpNet, Entry)> = Vec::with_capacity(routes.len());
        for (index, route) in routes.iter().enumerate() {
            if let Some(entry) = self.route(index, route) {
                built.push((route.metric, route.to, entry));
            }
        }
        // Best metric first: whoever finds the prefix free is the one in force.
        built.sort_by_key(|(metric, ..)| *metric);
        for (_, to, entry) in built {
            if self.insert_if_free(to, entry) {
                self.fib.counts[Family::from(to.addr()).index()].fixed += 1;
            }
        }
    }

    fn route(&mut self, index: usize, route: &RouteSpec) -> Option<Entry> {
        let place = Place::Route(index);
        let before = self.errors.len();
        let family = Family::from(route.to.addr());
        if route.to.trunc() != route.to {
            self.error(place, Kind::HostBits(route.to));
        }
        let host = route.to.prefix_len() == route.to.max_prefix_len();
        if host && self.fib.is_local(family, route.to.addr().into()) {
            self.error(place, Kind::RouteToSelf(route.to));
        } else if !self.taken.insert((route.to.trunc(), route.metric)) {
            self.error(place, Kind::DuplicateRoute { to: route.to, metric: route.metric });
        }
        if let Some(dev) = route.dev
            && self.fib.port(dev).is_none()
        {
            self.error(place, Kind::UnknownDev(dev));
            return None;
        }
        let entry = match route.kind {
            RouteKind::Unicast => self.unicast(index, route, family),
            kind => {
                if route.dev.is_some() || !route.via.is_empty() {
                    self.error(place, Kind::NextHopNotAllowed);
                }
                Some(match kind {
                    RouteKind::Unreachable => Entry::Unreachable,
                    RouteKind::Prohibit => Entry::Prohibit,
                    _ => Entry::Blackhole,
                })
            }
        };
        entry.filter(|_| self.errors.len() == before)
    }

    fn unicast(&mut self, index: usize, route: &RouteSpec, family: Family) -> Option<Entry> {
        if route.via.is_empty() {
            if route.dev.is_none() {
                self.error(Place::Route(index), Kind::NoNextHop);
            }
            return route.dev.map(Entry::OnLink);
        }
        let mut hops: Vec<(NextHop, u32)> = Vec::with_capacity(route.via.len());
        for (n, via) in route.via.iter().enumerate() {
            match self.gateway(via, route.dev, family) {
                Ok(hop) => hops.push((hop, via.weight)),
                Err(kind) => self.error(Place::Via { route: index, index: n }, kind),
            }
        }
        if let [(hop, _)] = hops[..] {
            return Some(Entry::Via(hop));
        }
        let total: u64 = hops.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut sum = 0u64;
        let paths = hops
            .iter()
            .map(|&(hop, weight)| {
                sum += u64::from(weight);
                // The last upper bound is all ones, so every hash finds a path.
                let upper = ((sum << 32) / total.max(1)).saturating_sub(1);
                Path { upper: u32::try_from(upper).unwrap_or(u32::MAX), hop }
            })
            .collect();
        self.fib.paths.push(paths);
        u32::try_from(self.fib.paths.len() - 1).ok().map(Entry::Paths)
    }

    fn gateway(&self, via: &Via, dev: Option<PortId>, family: Family) -> Result<NextHop, Kind> {
        let ip: IpAddr = via.gateway;
        let addr = Addr::from(ip);
        if Family::from(ip) != family {
            return Err(Kind::ViaFamily(ip));
        }
        if !(1..=MAX_WEIGHT).contains(&via.weight) {
            return Err(Kind::BadWeight(via.weight));
        }
        if self.fib.is_local(family, addr) {
            return Err(Kind::ViaIsLocal(ip));
        }
        if family == Family::V6 && addr.is_link_local(family) {
            return dev.map(|port| NextHop { port, via: addr }).ok_or(Kind::ViaNeedsDev(ip));
        }
        // Only connected routes are in the table at this point, so a lookup says whose link the gateway is on.
        match self.fib.lookup(family, addr, 0) {
            super::Route::Forward(hop) if dev.is_none_or(|d| d == hop.port) => Ok(hop),
            super::Route::Forward(_) | super::Route::None => Err(Kind::ViaNotConnected(ip)),
            _ => Err(Kind::ViaNotUnicast(ip)),
        }
    }

    fn insert_host(&mut self, family: Family, addr: Addr, entry: Entry) {
        match family {
            Family::V4 => {
                self.fib.v4.insert((addr.as_v4(), 32), entry);
            }
            Family::V6 => {
                self.fib.v6.insert((u128::from_be_bytes(addr.octets_v6()), 128), entry);
            }
        }
    }

    /// Whether the prefix was free.
    fn insert_if_free(&mut self, net: IpNet, entry: Entry) -> bool {
        match net {
            IpNet::V4(n) => {
                let key = (u32::from(n.network()), n.prefix_len());
                let free = !self.fib.v4.contains_key(&key);
                if free {
                    self.fib.v4.insert(key, entry);
                }
                free
            }
            IpNet::V6(n) => {
                let key = (u128::from(n.network()), n.prefix_len());
                let free = !self.fib.v6.contains_key(&key);
                if free {
                    self.fib.v6.insert(key, entry);
                }
                free
            }
        }
    }
}
