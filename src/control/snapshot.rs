//! From settings and open ports to the snapshot the shards work by.

use crate::config::Settings;
use crate::config::settings::{Helper, OnFull, Port, RouteTarget, Vlan, ZoneDirection};
use crate::conntrack::proto;
use crate::helper::{Attach, HelperConfig};
use crate::metrics::RuleSlot;
use crate::net::{MacAddr, Zone};
use crate::policy::{RuleIndex, Ruleset};
use crate::route::{Fib, FibSpec, PortSpec, RouteKind, RouteSpec, Via};
use crate::shard::{PortView, Snapshot};
use crate::steer::Quotas;
use ipnet::{IpNet, Ipv4Net};
use std::fmt;
use std::net::Ipv4Addr;

/// What an open port adds to its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortFacts {
    /// The router's link address there.
    pub mac: MacAddr,
    /// Largest IP packet, in octets.
    pub mtu: u32,
    /// It sends frames whose checksum is partial.
    pub tx_checksum_partial: bool,
    /// It sends super-frames.
    pub tx_gso: bool,
}

/// Why settings could not be compiled: what the configuration's own checks let pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError(Vec<String>);

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for CompileError {}

/// Compiles settings for open ports, given in the order of the settings.
///
/// # Errors
/// When policy or routes contradict themselves; all contradictions at once.
pub fn compile(settings: &Settings, ports: &[PortFacts], epoch: u64) -> Result<Snapshot, CompileError> {
    let mut wrong = Vec::new();
    if ports.len() != settings.ports.len() {
        wrong.push(format!("{} ports are open, {} are configured", ports.len(), settings.ports.len()));
    }
    let ruleset = Ruleset::compile(&settings.policy)
        .map_err(|errors| wrong.extend(errors.iter().map(|e| format!("policy: {e}"))))
        .ok();
    let fib = fib(settings, ports).map_err(|CompileError(errors)| wrong.extend(errors)).ok();
    match (ruleset, fib) {
        (Some(ruleset), Some(fib)) if wrong.is_empty() => Ok(Snapshot {
            epoch,
            ruleset,
            fib,
            ports: settings.ports.iter().zip(ports).map(|(port, facts)| view(port, *facts)).collect(),
            tracking: tracking(settings),
            evict: settings.conntrack.on_full == OnFull::Evict,
            verify: settings.conntrack.checksum,
            helpers: Attach::new(settings.helpers.iter().map(|helper| attach(settings, helper)).collect()),
            zones: zones(settings),
            quotas: quotas(settings),
            icmp_limit: (settings.icmp.msgs_per_sec, settings.icmp.msgs_burst),
            assume_neighbours: false,
        }),
        _ => Err(CompileError(wrong)),
    }
}

/// The forwarding table of settings, for whom it is enough.
pub(super) fn fib(settings: &Settings, ports: &[PortFacts]) -> Result<Fib, CompileError> {
    Fib::build(&routes(settings, ports))
        .map_err(|errors| CompileError(errors.iter().map(|error| format!("routes: {error}")).collect()))
}

/// Zones by port, if any port has one.
fn zones(settings: &Settings) -> Option<Box<[Zone]>> {
    if settings.conntrack.zones.is_empty() {
        return None;
    }
    let mut zones = vec![Zone::DEFAULT; settings.ports.len()];
    for zone in &settings.conntrack.zones {
        if let Some(place) = zones.get_mut(zone.port.index()) {
            *place = match zone.direction {
                ZoneDirection::Both => Zone { original: zone.id, reply: zone.id },
                ZoneDirection::Original => Zone { original: zone.id, reply: 0 },
                ZoneDirection::Reply => Zone { original: 0, reply: zone.id },
            };
        }
    }
    Some(zones.into_boxed_slice())
}

fn quotas(settings: &Settings) -> Quotas {
    let ct = &settings.conntrack;
    let mut zones: Vec<(u16, u32)> = ct.zones.iter().filter_map(|zone| Some((zone.id, zone.limit?))).collect();
    zones.sort_unstable();
    zones.dedup();
    Quotas { per_source: ct.per_source, zones }
}

/// The names of a ruleset's counters, in their order.
#[must_use]
pub fn rule_slots(ruleset: &Ruleset) -> Vec<RuleSlot> {
    let slot = |index| {
        let info = ruleset.slot_info(RuleIndex(index as u16))?;
        Some(RuleSlot { chain: info.chain.to_owned(), rule: info.rule.map(str::to_owned), verdict: info.verdict })
    };
    (0..ruleset.slots()).filter_map(slot).collect()
}

fn view(port: &Port, facts: PortFacts) -> PortView {
    PortView {
        name: port.name.clone(),
        mac: facts.mac,
        check_destination: true,
        mtu: facts.mtu,
        vlan: match port.vlan {
            Vlan::Untagged => Vec::new(),
            Vlan::Tagged(id) => vec![id],
            Vlan::QinQ { outer, inner } => vec![outer, inner],
        },
        tx_checksum_partial: facts.tx_checksum_partial,
        tx_gso: facts.tx_gso,
    }
}

fn routes(settings: &Settings, facts: &[PortFacts]) -> FibSpec {
    let port = |(port, facts): (&Port, &PortFacts)| PortSpec {
        id: port.id,
        addresses: port.addresses.clone(),
        mac: facts.mac,
        mtu: facts.mtu,
    };
    let route = |route: &crate::config::settings::Route| {
        let (via, dev, kind) = match route.target {
            RouteTarget::Unicast { dev, via } => (via, Some(dev), RouteKind::Unicast),
            RouteTarget::Blackhole => (None, None, RouteKind::Blackhole),
            RouteTarget::Unreachable => (None, None, RouteKind::Unreachable),
            RouteTarget::Prohibit => (None, None, RouteKind::Prohibit),
        };
        let via = via.into_iter().map(|gateway| Via { gateway, weight: 1 }).collect();
        RouteSpec { to: route.to, via, dev, metric: route.metric, kind }
    };
    FibSpec {
        ports: settings.ports.iter().zip(facts).map(port).collect(),
        routes: settings.routes.iter().map(route).collect(),
    }
}

fn tracking(settings: &Settings) -> proto::Settings {
    let ct = &settings.conntrack;
    let t = &ct.timeouts;
    proto::Settings {
        tcp_loose: ct.tcp_loose,
        tcp_be_liberal: ct.tcp_be_liberal,
        tcp_ignore_invalid_rst: ct.tcp_ignore_invalid_rst,
        tcp_max_retrans: ct.tcp_max_retrans,
        timeouts: proto::Timeouts {
            generic: t.generic,
            udp: t.udp,
            udp_stream: t.udp_stream,
            icmp: t.icmp,
            icmpv6: t.icmpv6,
            gre: t.gre,
            gre_stream: t.gre_stream,
            tcp_syn_sent: t.tcp_syn_sent,
            tcp_syn_recv: t.tcp_syn_recv,
            tcp_established: t.tcp_established,
            tcp_fin_wait: t.tcp_fin_wait,
            tcp_close_wait: t.tcp_close_wait,
            tcp_last_ack: t.tcp_last_ack,
            tcp_time_wait: t.tcp_time_wait,
            tcp_close: t.tcp_close,
            tcp_max_retrans: t.tcp_max_retrans,
            tcp_unacknowledged: t.tcp_unacknowledged,
            sctp_closed: t.sctp_closed,
            sctp_cookie_wait: t.sctp_cookie_wait,
            sctp_cookie_echoed: t.sctp_cookie_echoed,
            sctp_established: t.sctp_established,
            sctp_shutdown_sent: t.sctp_shutdown_sent,
            sctp_shutdown_recd: t.sctp_shutdown_recd,
            sctp_shutdown_ack_sent: t.sctp_shutdown_ack_sent,
            sctp_heartbeat_sent: t.sctp_heartbeat_sent,
            frag4: t.frag4,
            frag6: t.frag6,
        },
    }
}

fn attach(settings: &Settings, helper: &Helper) -> HelperConfig {
    let named = settings.policy.sets.iter().filter(|set| helper.daddr.sets.contains(&set.name));
    let mut daddr: Vec<IpNet> = helper.daddr.prefixes.clone();
    daddr.extend(named.flat_map(|set| set.elements.iter().copied()));
    if daddr.is_empty() && !helper.daddr.sets.is_empty() {
        // An empty set matches nothing, an empty list anything: no packet goes to this address.
        daddr.push(IpNet::V4(Ipv4Net::from(Ipv4Addr::UNSPECIFIED)));
    }
    HelperConfig {
        name: helper.name.clone(),
        kind: helper.kind,
        ports: helper.ports.clone(),
        iif: helper.iif.clone(),
        daddr,
        l4proto: helper.l4proto,
        max_expected: helper.max_expected,
        timeout_ms: helper.timeout,
        settings: helper.options,
    }
}
