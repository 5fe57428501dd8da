//! The sections `routes` and `neighbours`.

use super::diag::Place;
use super::load::Scope;
use super::marks::Marks;
use super::ports::station;
use super::read::{Keys, Map, Reader};
use super::settings::{Neighbour, Port, Route, RouteTarget};
use super::tree::{Kind, Node};
use super::value;
use crate::net::{Addr, Family, PortId};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const ROUTE: Keys = Keys { known: &["to", "via", "dev", "metric", "type"], later: &["weight"] };

const NEIGHBOUR: Keys = Keys { known: &["ip", "lladdr", "dev"], later: &[] };

/// What can be wrong with saying where an address is.
#[derive(Clone, Copy)]
enum Astray {
    /// It needs `dev`.
    Link,
    Nowhere,
    Own(PortId),
}

/// The port whose subnet an address is on.
fn connected(ports: &[Port], dev: Option<PortId>, ip: IpAddr) -> Result<PortId, Astray> {
    let there = |port: &&Port| dev.is_none_or(|dev| dev == port.id);
    if let Some(port) = ports.iter().filter(there).find(|port| port.addresses.iter().any(|net| net.addr() == ip)) {
        return Err(Astray::Own(port.id));
    }
    if ip.is_ipv6() && Addr::from(ip).is_link_local(Family::V6) {
        return dev.ok_or(Astray::Link);
    }
    let on = |port: &&Port| port.addresses.iter().any(|net| net.contains(&ip));
    ports.iter().filter(there).find(on).map(|port| port.id).ok_or(Astray::Nowhere)
}

/// An address that cannot be reached as it was said, under the key it was given for.
struct Stray<'a> {
    key: &'a str,
    ip: IpAddr,
    dev: Option<PortId>,
    why: Astray,
}

fn complain(r: &mut Reader, place: Place, stray: &Stray<'_>, ports: &[Port], scope: &Scope) {
    let Stray { key, ip, dev, why } = *stray;
    match why {
        // The subnet may be one that could not be read.
        Astray::Nowhere if !scope.ports_whole => {}
        Astray::Link => {
            r.error(place, format!("`{key}`: {ip} is a link-local address")).help("say with `dev` which link is meant");
        }
        Astray::Own(port) => {
            let name = &ports[port.index()].name;
            r.error(place, format!("`{key}`: {ip} is the router's own address on port `{name}`"));
        }
        Astray::Nowhere => {
            let nets: Vec<String> = ports
                .iter()
                .filter(|port| dev.is_none_or(|dev| dev == port.id))
                .flat_map(|port| &port.addresses)
                .filter(|net| net.addr().is_ipv4() == ip.is_ipv4())
                .map(|net| net.trunc().to_string())
                .collect();
            let where_ = dev.map_or_else(String::new, |dev| format!(" of port `{}`", ports[dev.index()].name));
            let diagnostic = r.error(place, format!("`{key}`: {ip} is not on a connected subnet{where_}"));
            if nets.is_empty() {
                diagnostic.help("no port has an address of that family there");
            } else {
                diagnostic.help(format!("connected there: {}", nets.join(", ")));
            }
        }
    }
}

fn dev(r: &mut Reader, map: &Map<'_>, scope: &Scope) -> Option<PortId> {
    let node = map.get("dev")?;
    let name = r.text(node, "dev")?;
    r.reference(node.place, "port", name, scope.ports.iter().map(String::as_str)).map(|at| PortId(at as u8))
}

/// Reads `routes`. Nothing is said of a route whose port could not be read.
pub(super) fn routes(r: &mut Reader, node: &Node, ports: &[Port], scope: &Scope, marks: &mut Marks) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    let mut taken = HashMap::new();
    for item in r.list(node, "routes") {
        let Some(map) = r.map(item, "a route", ROUTE) else { continue };
        let Some(route) = route(r, item, &map, ports, scope) else { continue };
        if let Some(first) = taken.insert((route.to, route.metric), item.place) {
            r.error(item.place, format!("a second route to {} with metric {}", route.to, route.metric))
                .related(first, "first")
                .help("give one of them another `metric`; the lower wins");
        }
        routes.push(route);
        marks.routes.push(item.place);
    }
    routes
}

fn route(r: &mut Reader, item: &Node, map: &Map<'_>, ports: &[Port], scope: &Scope) -> Option<Route> {
    let words: Vec<(&str, &str)> = RouteTarget::WORDS.iter().map(|word| (*word, *word)).collect();
    let kind = map.get("type").map_or(Some("unicast"), |n| r.word(n, "type", &words, &[]));
    let mut metric = 0;
    r.set(map, "metric", &mut metric, |r, n| r.int(n, "metric", 0..=u64::from(u32::MAX)).map(|m| m as u32));
    let out = dev(r, map, scope);
    let via = map.get("via").and_then(|node| {
        if matches!(node.kind, Kind::List(_)) {
            r.error(node.place, "several next hops in one route are not supported by this version");
            return None;
        }
        r.parse(node, "via", value::ip).map(|ip| (ip, node.place))
    });
    let Some(to_node) = map.get("to") else {
        r.error(item.place, "a route needs `to`").help("a prefix, or `default`");
        return None;
    };
    let to = destination(r, to_node, via.map(|(ip, _)| ip), map.get("via").is_some())?;
    let target = match kind? {
        "unicast" => {
            if map.get("via").is_none() && map.get("dev").is_none() {
                r.error(item.place, format!("the route to {to} leads nowhere")).help("give `via`, `dev` or a `type`");
                return None;
            }
            // A port or next hop that could not be read has been complained of.
            if map.get("via").is_some() != via.is_some() || map.get("dev").is_some() != out.is_some() {
                return None;
            }
            match via {
                None => RouteTarget::Unicast { dev: out?, via: None },
                Some((ip, place)) => {
                    if ip.is_ipv4() != to.addr().is_ipv4() {
                        r.error(place, format!("`via`: {ip} is of another family than {to}"))
                            .related(to_node.place, "the destination");
                        return None;
                    }
                    match connected(ports, out, ip) {
                        Ok(dev) => RouteTarget::Unicast { dev, via: Some(ip) },
                        Err(why) => {
                            complain(r, place, &Stray { key: "via", ip, dev: out, why }, ports, scope);
                            return None;
                        }
                    }
                }
            }
        }
        word => {
            for key in ["via", "dev"] {
                if let Some(entry) = map.entry(key) {
                    r.error(entry.key_place, format!("a {word} route takes no `{key}`"));
                }
            }
            match word {
                "blackhole" => RouteTarget::Blackhole,
                "unreachable" => RouteTarget::Unreachable,
                _ => RouteTarget::Prohibit,
            }
        }
    };
    Some(Route { to, target, metric })
}

/// A prefix, or `default` in the family of the next hop.
fn destination(r: &mut Reader, node: &Node, via: Option<IpAddr>, via_given: bool) -> Option<IpNet> {
    if r.text(node, "to")? != "default" {
        return r.parse(node, "to", value::prefix);
    }
    let zero = match via {
        Some(IpAddr::V4(_)) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Some(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        None => {
            if !via_given {
                r.error(node.place, "`default` without `via` leaves the family open")
                    .help("write 0.0.0.0/0 or \"::/0\"");
            }
            return None;
        }
    };
    IpNet::new(zero, 0).ok()
}

/// Reads `neighbours`.
pub(super) fn neighbours(r: &mut Reader, node: &Node, ports: &[Port], scope: &Scope) -> Vec<Neighbour> {
    let mut known = Vec::new();
    let mut taken = HashMap::new();
    for item in r.list(node, "neighbours") {
        let Some(map) = r.map(item, "a neighbour", NEIGHBOUR) else { continue };
        let out = dev(r, &map, scope);
        for key in ["ip", "lladdr"] {
            if map.get(key).is_none() {
                r.error(item.place, format!("a neighbour needs `{key}`"));
            }
        }
        let ip = map.get("ip").and_then(|n| Some((r.parse(n, "ip", value::ip)?, n.place)));
        let lladdr = map.get("lladdr").and_then(|n| r.parse(n, "lladdr", station));
        let (Some((ip, place)), Some(lladdr)) = (ip, lladdr) else { continue };
        if map.get("dev").is_some() && out.is_none() {
            continue;
        }
        match connected(ports, out, ip) {
            Ok(dev) => {
                if let Some(first) = taken.insert((ip, dev), place) {
                    r.error(place, format!("neighbour {ip} is given twice")).related(first, "first");
                }
                known.push(Neighbour { ip, lladdr, dev });
            }
            Err(why) => complain(r, place, &Stray { key: "ip", ip, dev: out, why }, ports, scope),
        }
    }
    known
}
