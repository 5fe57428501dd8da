//! What makes a policy valid: names, conditions where they have a meaning, jumps without loops.

use super::spec::{AddrMatch, ChainSpec, Hook, PolicySpec, RejectWith, RuleSpec, VerdictSpec};
use super::{Field, MAX_NESTING, MAX_SLOTS, MAX_STEPS, PolicyError, PolicyErrorKind as Kind};
use super::{PolicyWarning, PolicyWarningKind};
use crate::net::ids::MAX_PORTS;
use crate::net::proto;
use ipnet::IpNet;
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

/// The hook of a base chain's name.
pub(super) fn hook_of(name: &str) -> Option<Hook> {
    Hook::ALL.into_iter().find(|h| h.chain_name() == name)
}

const PREROUTING: u8 = 1 << 0;
const FORWARD: u8 = 1 << 1;
const INPUT: u8 = 1 << 2;

const fn hook_bit(hook: Hook) -> u8 {
    match hook {
        Hook::Prerouting => PREROUTING,
        Hook::Forward => FORWARD,
        Hook::Input => INPUT,
    }
}

/// Name of one of the hooks of a mask, for a message.
fn hook_name(mask: u8) -> &'static str {
    Hook::ALL.into_iter().find(|&h| mask & hook_bit(h) != 0).map_or("", Hook::chain_name)
}

/// A jump or goto.
struct Edge {
    rule: usize,
    to: usize,
}

/// Checks a policy before it is compiled; gives the warnings about chains.
pub(super) fn check(spec: &PolicySpec) -> Result<Vec<PolicyWarning>, Vec<PolicyError>> {
    let mut checker = Checker { spec, errors: Vec::new(), chains: HashMap::new(), sets: HashMap::new() };
    checker.names();
    let edges = checker.edges();
    let reach = reach(spec, &edges);
    if let Some(order) = checker.targets_first(&edges) {
        checker.nesting(&edges, &order);
        checker.steps(&edges, &order);
    }
    for (c, chain) in spec.chains.iter().enumerate() {
        checker.rules(c, chain, reach.get(c).copied().unwrap_or_default());
    }
    let mut errors = checker.errors;
    if !errors.is_empty() {
        errors.sort_by_key(|e| (e.chain, e.rule));
        return Err(errors);
    }
    let unreached = reach.iter().enumerate().filter(|(_, mask)| **mask == 0);
    Ok(unreached
        .map(|(chain, _)| PolicyWarning {
            chain,
            rule: None,
            field: Field::Name,
            kind: PolicyWarningKind::ChainNotReached,
        })
        .collect())
}

/// For each chain the hooks from which packets get there.
fn reach(spec: &PolicySpec, edges: &[Vec<Edge>]) -> Vec<u8> {
    let mut mask: Vec<u8> = spec.chains.iter().map(|c| hook_of(&c.name).map_or(0, hook_bit)).collect();
    let mut work: Vec<usize> = (0..mask.len()).filter(|&c| mask[c] != 0).collect();
    while let Some(c) = work.pop() {
        for edge in &edges[c] {
            let more = mask[edge.to] | mask[c];
            if more != mask[edge.to] {
                mask[edge.to] = more;
                work.push(edge.to);
            }
        }
    }
    mask
}

struct Checker<'a> {
    spec: &'a PolicySpec,
    errors: Vec<PolicyError>,
    /// First chain of each name.
    chains: HashMap<&'a str, usize>,
    /// Families a set has addresses of, as `families` gives them.
    sets: HashMap<&'a str, u8>,
}

/// Bit 0 IPv4, bit 1 IPv6.
fn families<'a>(nets: impl IntoIterator<Item = &'a IpNet>) -> u8 {
    nets.into_iter().fold(0, |mask, net| mask | if net.network().is_ipv4() { 1 } else { 2 })
}

impl<'a> Checker<'a> {
    fn err(&mut self, chain: usize, rule: Option<usize>, field: Field, kind: Kind) {
        self.errors.push(PolicyError { chain, rule, field, kind });
    }

    /// Names, ids and their number.
    fn names(&mut self) {
        for set in &self.spec.sets {
            *self.sets.entry(&set.name).or_default() |= families(&set.elements);
        }
        let mut slots = 0;
        for (c, chain) in self.spec.chains.iter().enumerate() {
            if self.chains.contains_key(chain.name.as_str()) {
                self.err(c, None, Field::Name, Kind::DuplicateChain(chain.name.clone()));
            } else {
                self.chains.insert(&chain.name, c);
            }
            let fitted = slots <= MAX_SLOTS;
            slots += 1 + chain.rules.len();
            if fitted && slots > MAX_SLOTS {
                self.err(c, None, Field::Name, Kind::TooManyRules);
            }
            let mut ids = HashSet::new();
            for (r, rule) in chain.rules.iter().enumerate() {
                if !ids.insert(rule.id.as_str()) {
                    self.err(c, Some(r), Field::Id, Kind::DuplicateId(rule.id.clone()));
                }
            }
        }
    }

    /// The jumps and gotos of each chain whose target is an own chain.
    fn edges(&mut self) -> Vec<Vec<Edge>> {
        let mut all = Vec::with_capacity(self.spec.chains.len());
        for (c, chain) in self.spec.chains.iter().enumerate() {
            let mut edges = Vec::new();
            for (rule, spec) in chain.rules.iter().enumerate() {
                let (VerdictSpec::Jump(name) | VerdictSpec::Goto(name)) = &spec.verdict else { continue };
                if hook_of(name).is_some() {
                    self.err(c, Some(rule), Field::Verdict, Kind::JumpToBase(name.clone()));
                } else if let Some(&to) = self.chains.get(name.as_str()) {
                    edges.push(Edge { rule, to });
                } else {
                    self.err(c, Some(rule), Field::Verdict, Kind::UnknownChain(name.clone()));
                }
            }
            all.push(edges);
        }
        all
    }

    /// The chains, each after all it goes to; `None` if there is a loop. Walks with a stack of its own, so
    /// that no file makes the program run out of it.
    fn targets_first(&mut self, edges: &[Vec<Edge>]) -> Option<Vec<usize>> {
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            No,
            Open,
            Done,
        }
        let before = self.errors.len();
        let mut seen = vec![Seen::No; edges.len()];
        let mut order = Vec::with_capacity(edges.len());
        let mut path: Vec<(usize, usize)> = Vec::new();
        for start in 0..edges.len() {
            if seen[start] != Seen::No {
                continue;
            }
            seen[start] = Seen::Open;
            path.push((start, 0));
            while let Some((chain, next)) = path.last_mut() {
                let chain = *chain;
                let Some(edge) = edges[chain].get(*next) else {
                    seen[chain] = Seen::Done;
                    order.push(chain);
                    path.pop();
                    continue;
                };
                *next += 1;
                match seen[edge.to] {
                    Seen::Done => {}
                    Seen::No => {
                        seen[edge.to] = Seen::Open;
                        path.push((edge.to, 0));
                    }
                    Seen::Open => {
                        let name = self.spec.chains[edge.to].name.clone();
                        self.err(chain, Some(edge.rule), Field::Verdict, Kind::JumpLoop(name));
                    }
                }
            }
        }
        (self.errors.len() == before).then_some(order)
    }

    /// How deep chains stand below a base chain.
    fn nesting(&mut self, edges: &[Vec<Edge>], order: &[usize]) {
        let base = |c: &ChainSpec| usize::from(hook_of(&c.name).is_some());
        let mut depth: Vec<usize> = self.spec.chains.iter().map(base).collect();
        for &c in order.iter().rev() {
            if depth[c] == 0 {
                continue;
            }
            for edge in &edges[c] {
                if depth[c] < MAX_NESTING {
                    depth[edge.to] = depth[edge.to].max(depth[c] + 1);
                } else {
                    self.err(c, Some(edge.rule), Field::Verdict, Kind::JumpTooDeep);
                }
            }
        }
    }

    /// How many rules one packet can be tried against.
    fn steps(&mut self, edges: &[Vec<Edge>], order: &[usize]) {
        let mut steps = vec![0usize; edges.len()];
        for &c in order {
            let chain = &self.spec.chains[c];
            let mut targets = edges[c].iter().rev().peekable();
            let mut rest = 0usize;
            for (r, rule) in chain.rules.iter().enumerate().rev() {
                let below = targets.next_if(|e| e.rule == r).map_or(0, |e| steps[e.to]);
                rest = match rule.verdict {
                    VerdictSpec::Goto(_) => rest.max(below),
                    _ => rest.saturating_add(below),
                }
                .saturating_add(1);
            }
            steps[c] = rest;
            if rest > MAX_STEPS && hook_of(&chain.name).is_some() {
                self.err(c, None, Field::Name, Kind::TooManySteps);
            }
        }
    }

    /// The conditions of a chain's rules; `reach` tells from which hooks packets come.
    fn rules(&mut self, c: usize, chain: &'a ChainSpec, reach: u8) {
        for (r, rule) in chain.rules.iter().enumerate() {
            let m = &rule.matches;
            if m.ct_state.is_some() && reach & PREROUTING != 0 {
                self.err(c, Some(r), Field::CtState, Kind::CtStateInPrerouting);
            }
            if !m.oif.is_empty() && reach & (PREROUTING | INPUT) != 0 {
                let hook = hook_name(reach & (PREROUTING | INPUT));
                self.err(c, Some(r), Field::Oif, Kind::OifWithoutEgress(hook));
            }
            for (field, list) in [(Field::Iif, &m.iif), (Field::Oif, &m.oif)] {
                if let Some(port) = list.iter().find(|p| p.index() >= MAX_PORTS) {
                    self.err(c, Some(r), field, Kind::PortNumber(port.0));
                }
            }
            self.addresses(c, r, rule);
            self.ports(c, r, Field::Sport, &m.sport, &m.l4proto);
            self.ports(c, r, Field::Dport, &m.dport, &m.l4proto);
            self.verdict(c, r, rule, reach);
        }
    }

    fn addresses(&mut self, c: usize, r: usize, rule: &'a RuleSpec) {
        let saddr = self.address(c, r, Field::Saddr, &rule.matches.saddr);
        let daddr = self.address(c, r, Field::Daddr, &rule.matches.daddr);
        // A side without any address (an empty set) is not a mix.
        if saddr != 0 && daddr != 0 && saddr & daddr == 0 {
            self.err(c, Some(r), Field::Daddr, Kind::MixedFamilies);
        }
    }

    /// Families an address condition can match.
    fn address(&mut self, c: usize, r: usize, field: Field, addr: &'a AddrMatch) -> u8 {
        if addr.prefixes.is_empty() && addr.sets.is_empty() {
            return 3;
        }
        let mut mask = families(&addr.prefixes);
        for name in &addr.sets {
            match self.sets.get(name.as_str()) {
                Some(families) => mask |= families,
                None => {
                    self.err(c, Some(r), field, Kind::UnknownSet(name.clone()));
                    mask = 3;
                }
            }
        }
        mask
    }

    fn ports(&mut self, c: usize, r: usize, field: Field, list: &[RangeInclusive<u16>], l4proto: &[u8]) {
        if list.is_empty() {
            return;
        }
        let has_ports = |p: &u8| matches!(*p, proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP);
        if l4proto.is_empty() || !l4proto.iter().all(has_ports) {
            self.err(c, Some(r), field, Kind::PortsWithoutProtocol);
        }
        for range in list.iter().filter(|range| range.start() > range.end()) {
            self.err(c, Some(r), field, Kind::ReversedRange(*range.start(), *range.end()));
        }
    }

    fn verdict(&mut self, c: usize, r: usize, rule: &RuleSpec, reach: u8) {
        let l4proto = &rule.matches.l4proto;
        match &rule.verdict {
            VerdictSpec::NoTrack if reach & (FORWARD | INPUT) != 0 => {
                let hook = hook_name(reach & (FORWARD | INPUT));
                self.err(c, Some(r), Field::Verdict, Kind::NotrackOutsidePrerouting(hook));
            }
            VerdictSpec::Reject(RejectWith::TcpReset)
                if l4proto.is_empty() || l4proto.iter().any(|&p| p != proto::TCP) =>
            {
                self.err(c, Some(r), Field::Verdict, Kind::TcpResetWithoutTcp);
            }
            _ => {}
        }
    }
}
