//! The effective configuration in the schema's own words: reading it again gives the same settings.

use super::rules::print_verdict;
use super::settings::{Cores, Driver, Helper, Metrics, Port, PortZone, Route, RouteTarget, Settings, Vlan, Workers};
use super::value::{print_duration, print_ports, print_prefix, print_protocol};
use crate::net::{CtState, PortId};
use crate::policy::spec::{AddrMatch, ChainPolicy, ChainSpec, Matches};
use serde::{Serialize, Serializer};
use serde_yaml::{Mapping, Value};

impl Serialize for Settings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_yaml().serialize(serializer)
    }
}

/// A mapping in the order it is written.
fn map<const N: usize>(entries: [(&str, Option<Value>); N]) -> Value {
    let mut map = Mapping::new();
    for (key, value) in entries {
        if let Some(value) = value {
            map.insert(Value::from(key), value);
        }
    }
    Value::Mapping(map)
}

fn named<T>(items: &[T], entry: impl Fn(&T) -> (&str, Value)) -> Option<Value> {
    let map: Mapping = items.iter().map(entry).map(|(name, value)| (Value::from(name), value)).collect();
    (!map.is_empty()).then_some(Value::Mapping(map))
}

fn list<T>(items: &[T], value: impl Fn(&T) -> Value) -> Option<Value> {
    (!items.is_empty()).then(|| Value::Sequence(items.iter().map(value).collect()))
}

/// A lone value without brackets.
fn one_or_list<T>(items: &[T], value: impl Fn(&T) -> Value) -> Option<Value> {
    match items {
        [one] => Some(value(one)),
        _ => list(items, value),
    }
}

fn text(value: impl ToString) -> Value {
    Value::from(value.to_string())
}

fn given<T: Into<Value>>(value: T) -> Option<Value> {
    Some(value.into())
}

fn duration(ms: u32) -> Option<Value> {
    Some(text(print_duration(ms)))
}

impl Settings {
    /// As a YAML value with the schema's keys.
    #[must_use]
    pub fn to_yaml(&self) -> Value {
        let (ct, fragments, icmp, neigh) = (&self.conntrack, &self.fragments, &self.icmp, &self.neigh);
        let timeouts = ct.timeouts.iter().map(|(name, ms)| (Value::from(name), text(print_duration(ms)))).collect();
        map([
            ("version", given(1)),
            ("workers", Some(workers(&self.workers))),
            ("ports", named(&self.ports, |port| (port.name.as_str(), print_port(port)))),
            ("routes", list(&self.routes, |route| self.print_route(route))),
            (
                "neighbours",
                list(&self.neighbours, |n| {
                    map([("ip", Some(text(n.ip))), ("lladdr", Some(text(n.lladdr))), ("dev", Some(self.port(n.dev)))])
                }),
            ),
            (
                "sets",
                named(&self.policy.sets, |set| {
                    let elements = list(&set.elements, |net| text(print_prefix(net)));
                    (set.name.as_str(), map([("type", given("ip")), ("elements", elements)]))
                }),
            ),
            ("helpers", named(&self.helpers, |helper| (helper.name.as_str(), self.print_helper(helper)))),
            ("chains", named(&self.policy.chains, |chain| (chain.name.as_str(), self.print_chain(chain)))),
            (
                "conntrack",
                Some(map([
                    ("max_entries", given(ct.max_entries)),
                    ("on_full", given(ct.on_full.word())),
                    ("expect_max", given(ct.expect_max)),
                    ("checksum", given(ct.checksum)),
                    ("tcp_loose", given(ct.tcp_loose)),
                    ("tcp_be_liberal", given(ct.tcp_be_liberal)),
                    ("tcp_ignore_invalid_rst", given(ct.tcp_ignore_invalid_rst)),
                    ("tcp_max_retrans", given(ct.tcp_max_retrans)),
                    ("per_source", ct.per_source.and_then(given)),
                    ("zones", self.print_zones()),
                    ("timeouts", Some(Value::Mapping(timeouts))),
                ])),
            ),
            (
                "fragments",
                Some(map([
                    ("ipfrag_high_thresh", given(fragments.ipfrag_high_thresh)),
                    ("frag6_high_thresh", given(fragments.frag6_high_thresh)),
                ])),
            ),
            ("icmp", Some(map([("msgs_per_sec", given(icmp.msgs_per_sec)), ("msgs_burst", given(icmp.msgs_burst))]))),
            (
                "neigh",
                Some(map([
                    ("base_reachable_time", duration(neigh.base_reachable_time)),
                    ("retrans_time", duration(neigh.retrans_time)),
                    ("mcast_solicit", given(neigh.mcast_solicit)),
                    ("ucast_solicit", given(neigh.ucast_solicit)),
                    ("unres_qlen", given(neigh.unres_qlen)),
                    ("gc_thresh3", given(neigh.gc_thresh3)),
                ])),
            ),
            ("metrics", self.metrics.as_ref().map(metrics)),
            ("log", Some(map([("level", given(self.log.level.word())), ("format", given(self.log.format.word()))]))),
        ])
    }

    fn port(&self, id: PortId) -> Value {
        self.ports.get(id.index()).map_or(Value::Null, |port| text(&port.name))
    }

    fn print_zones(&self) -> Option<Value> {
        let print = |zone: &PortZone| {
            let limit = zone.limit.and_then(given);
            (
                self.port(zone.port),
                map([("id", given(zone.id)), ("direction", given(zone.direction.word())), ("limit", limit)]),
            )
        };
        let zones: Mapping = self.conntrack.zones.iter().map(print).collect();
        (!zones.is_empty()).then_some(Value::Mapping(zones))
    }

    fn print_route(&self, route: &Route) -> Value {
        let (dev, via) = match route.target {
            RouteTarget::Unicast { dev, via } => (Some(self.port(dev)), via.map(text)),
            _ => (None, None),
        };
        map([
            ("to", Some(text(route.to))),
            ("via", via),
            ("dev", dev),
            ("metric", given(route.metric)),
            ("type", given(route.target.word())),
        ])
    }

    fn print_helper(&self, helper: &Helper) -> Value {
        let mut entries = map([
            ("type", given(helper.kind.helper().name())),
            ("l4proto", Some(text(print_protocol(helper.l4proto)))),
            ("ports", list(&helper.ports, |port| Value::from(*port))),
            ("iif", one_or_list(&helper.iif, |id| self.port(*id))),
            ("daddr", addresses(&helper.daddr)),
            ("max_expected", helper.max_expected.map(Value::from)),
            ("timeout", helper.timeout.and_then(duration)),
        ]);
        let mut options = helper.options;
        if let Value::Mapping(entries) = &mut entries {
            for flag in helper.kind.helper().flags() {
                entries.insert(Value::from(flag.word()), Value::from(*flag.of(&mut options)));
            }
        }
        entries
    }

    fn print_chain(&self, chain: &ChainSpec) -> Value {
        let policy = match chain.policy {
            ChainPolicy::Accept => "accept",
            ChainPolicy::Drop => "drop",
        };
        let rules = list(&chain.rules, |rule| {
            let Value::Mapping(fields) = self.print_matches(&rule.matches) else { return Value::Null };
            let mut map = Mapping::new();
            map.insert(Value::from("id"), text(&rule.id));
            map.extend(fields);
            map.insert(Value::from("verdict"), text(print_verdict(&rule.verdict)));
            Value::Mapping(map)
        });
        map([("policy", super::rules::is_base(&chain.name).then(|| Value::from(policy))), ("rules", rules)])
    }

    fn print_matches(&self, m: &Matches) -> Value {
        let states = m.ct_state.map(|mask| {
            Value::Sequence(
                CtState::ALL.into_iter().filter(|s| mask.contains(*s)).map(|s| Value::from(s.label())).collect(),
            )
        });
        let ports = |range: &std::ops::RangeInclusive<u16>| {
            if range.start() == range.end() { Value::from(*range.start()) } else { text(print_ports(range)) }
        };
        map([
            ("ct_state", states),
            ("iif", one_or_list(&m.iif, |id| self.port(*id))),
            ("oif", one_or_list(&m.oif, |id| self.port(*id))),
            ("saddr", addresses(&m.saddr)),
            ("daddr", addresses(&m.daddr)),
            ("l4proto", one_or_list(&m.l4proto, |number| text(print_protocol(*number)))),
            ("sport", one_or_list(&m.sport, ports)),
            ("dport", one_or_list(&m.dport, ports)),
        ])
    }
}

fn addresses(field: &AddrMatch) -> Option<Value> {
    let prefixes = field.prefixes.iter().map(print_prefix);
    let all: Vec<String> = prefixes.chain(field.sets.iter().map(|set| format!("@{set}"))).collect();
    one_or_list(&all, |text| Value::from(text.as_str()))
}

fn workers(workers: &Workers) -> Value {
    let cores = match &workers.cores {
        Cores::Any => Some(Value::from("any")),
        Cores::List(cores) => list(cores, |core| Value::from(*core)),
    };
    map([
        ("cores", cores),
        ("count", given(workers.count)),
        ("main_core", workers.main_core.map(Value::from)),
        ("dispatch", given(workers.dispatch.word())),
        ("hugepages", given(workers.hugepages.word())),
        ("idle", given(workers.idle.word())),
    ])
}

fn print_port(port: &Port) -> Value {
    let (path, server, pci) = match &port.driver {
        Driver::Pcap { path } => (Some(text(path.display())), None, None),
        Driver::VhostUser { path, server } | Driver::VirtioUser { path, server } => {
            (Some(text(path.display())), given(*server), None)
        }
        Driver::Vfio { pci } => (None, None, Some(text(pci))),
        _ => (None, None, None),
    };
    let device = match &port.driver {
        Driver::Dpdk { device } => Some(text(device)),
        driver => driver.device().map(text),
    };
    let xdp_mode = match &port.driver {
        Driver::AfXdp { mode, .. } => given(mode.word()),
        _ => None,
    };
    let vlan = match port.vlan {
        Vlan::Untagged => None,
        Vlan::Tagged(tag) => given(tag),
        Vlan::QinQ { outer, inner } => list(&[outer, inner], |tag| Value::from(*tag)),
    };
    map([
        ("driver", given(port.driver.word())),
        ("device", device),
        ("path", path),
        ("server", server),
        ("pci", pci),
        ("xdp_mode", xdp_mode),
        ("queues", given(port.queues)),
        ("ring", given(port.ring)),
        ("mtu", port.mtu.map(Value::from)),
        ("mac", port.mac.map(text)),
        ("vlan", vlan),
        ("zone", port.zone.as_ref().map(text)),
        ("addresses", list(&port.addresses, |net| text(net))),
    ])
}

fn metrics(metrics: &Metrics) -> Value {
    map([
        ("listen", Some(text(metrics.listen))),
        ("per_worker", given(metrics.per_worker)),
        ("compat", metrics.compat.map(|compat| Value::from(compat.word()))),
    ])
}
