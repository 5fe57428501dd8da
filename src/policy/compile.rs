//! From a checked specification to the flat form the matcher walks.

use super::check::{check, hook_of};
use super::cover::never_reached;
use super::foregone::Foregone;
use super::ranges::{self, RangeSet};
use super::ruleset::{Action, AddrCond, Base, NO_STATE, PortSpan, Rule, SlotName, Span, Verdict, has, port_bit};
use super::spec::{AddrMatch, Matches, PolicySpec, VerdictSpec};
use super::{PolicyError, RuleIndex, Ruleset};
use crate::net::{Addr, Family, PortId};
use ipnet::IpNet;
use std::collections::HashMap;
use std::ops::RangeInclusive;

/// See [`Ruleset::compile`].
pub(super) fn compile(spec: &PolicySpec) -> Result<Ruleset, Vec<PolicyError>> {
    let mut warnings = check(spec)?;
    let mut compiler = Compiler::new(spec);
    compiler.chains();
    let mut ruleset = compiler.out;
    for (c, span) in ruleset.chains.iter().enumerate() {
        never_reached(&ruleset, c, *span, &mut warnings);
    }
    warnings.sort_by_key(|w| (w.chain, w.rule));
    ruleset.warnings = warnings;
    ruleset.foregone = Foregone::new(&ruleset);
    Ok(ruleset)
}

/// The word of a verdict in listings and metrics.
const fn verdict_word(verdict: &VerdictSpec) -> &'static str {
    match verdict {
        VerdictSpec::Accept => "accept",
        VerdictSpec::Drop => "drop",
        VerdictSpec::Reject(_) => "reject",
        VerdictSpec::Jump(_) => "jump",
        VerdictSpec::Goto(_) => "goto",
        VerdictSpec::Return => "return",
        VerdictSpec::NoTrack => "notrack",
    }
}

struct Compiler<'a> {
    spec: &'a PolicySpec,
    chains: HashMap<&'a str, u16>,
    sets: HashMap<&'a str, Vec<&'a [IpNet]>>,
    /// Conditions built already, by what was written, and sets by what they hold.
    conds: HashMap<(&'a [IpNet], &'a [String]), AddrCond>,
    built: HashMap<RangeSet, u32>,
    out: Ruleset,
}

impl<'a> Compiler<'a> {
    fn new(spec: &'a PolicySpec) -> Self {
        let chains = spec.chains.iter().enumerate().map(|(i, c)| (c.name.as_str(), i as u16)).collect();
        let mut sets: HashMap<&str, Vec<&[IpNet]>> = HashMap::new();
        for set in &spec.sets {
            sets.entry(&set.name).or_default().push(&set.elements);
        }
        let out = Ruleset {
            rules: Vec::with_capacity(spec.chains.iter().map(|c| c.rules.len()).sum()),
            chains: Vec::with_capacity(spec.chains.len()),
            bases: [None; 3],
            ports: Vec::new(),
            sets: Vec::new(),
            chain_names: spec.chains.iter().map(|c| c.name.as_str().into()).collect(),
            slots: Vec::new(),
            foregone: Foregone::default(),
            warnings: Vec::new(),
        };
        Compiler { spec, chains, sets, conds: HashMap::new(), built: HashMap::new(), out }
    }

    fn chains(&mut self) {
        let spec = self.spec;
        for (c, chain) in spec.chains.iter().enumerate() {
            let next = self.out.rules.len() as u32;
            for rule in &chain.rules {
                let action = self.action(&rule.verdict);
                let compiled = self.rule(&rule.matches, action);
                self.out.rules.push(compiled);
                let rule_id = Some(rule.id.as_str().into());
                let verdict = verdict_word(&rule.verdict);
                self.out.slots.push(SlotName { chain: c as u32, rule: rule_id, verdict });
            }
            self.out.chains.push(Span { next, end: self.out.rules.len() as u32 });
        }
        for (place, hook) in super::spec::Hook::ALL.into_iter().enumerate() {
            let Some(c) = spec.chains.iter().position(|c| hook_of(&c.name) == Some(hook)) else { continue };
            let (Some(span), policy) = (self.out.chains.get(c).copied(), spec.chains[c].policy) else { continue };
            let slot = RuleIndex(self.out.slots.len() as u16);
            let verdict = match policy {
                super::spec::ChainPolicy::Accept => "accept",
                super::spec::ChainPolicy::Drop => "drop",
            };
            self.out.slots.push(SlotName { chain: c as u32, rule: None, verdict });
            self.out.bases[place] = Some(Base { span, policy, slot });
        }
    }

    fn action(&self, verdict: &VerdictSpec) -> Action {
        // The names were checked.
        let chain = |name: &String| self.chains.get(name.as_str()).copied().unwrap_or(u16::MAX);
        match verdict {
            VerdictSpec::Accept => Action::Final(Verdict::Accept),
            VerdictSpec::Drop => Action::Final(Verdict::Drop),
            VerdictSpec::Reject(with) => Action::Final(Verdict::Reject(*with)),
            VerdictSpec::NoTrack => Action::Final(Verdict::NoTrack),
            VerdictSpec::Jump(name) => Action::Jump(chain(name)),
            VerdictSpec::Goto(name) => Action::Goto(chain(name)),
            VerdictSpec::Return => Action::Return,
        }
    }

    fn rule(&mut self, m: &'a Matches, action: Action) -> Rule {
        let saddr = self.addr(&m.saddr);
        let daddr = self.addr(&m.daddr);
        let mut proto = [if m.l4proto.is_empty() { u64::MAX } else { 0 }; 4];
        for &p in &m.l4proto {
            proto[usize::from(p >> 6)] |= 1 << (p & 63);
        }
        let flag = |asked: bool, bit: u8| if asked { bit } else { 0 };
        Rule {
            iif: ports_mask(&m.iif),
            oif: ports_mask(&m.oif),
            proto,
            states: m.ct_state.map_or(u8::MAX, |s| s.0 & !NO_STATE),
            has: flag(!m.iif.is_empty(), has::IIF)
                | flag(!m.oif.is_empty(), has::OIF)
                | flag(!m.sport.is_empty(), has::SPORT)
                | flag(!m.dport.is_empty(), has::DPORT)
                | flag(saddr != AddrCond::Any, has::SADDR)
                | flag(daddr != AddrCond::Any, has::DADDR),
            action,
            sport: self.ports(&m.sport),
            dport: self.ports(&m.dport),
            saddr,
            daddr,
        }
    }

    fn ports(&mut self, list: &[RangeInclusive<u16>]) -> PortSpan {
        let merged = ranges::ports(list);
        let start = self.out.ports.len() as u32;
        self.out.ports.extend_from_slice(&merged);
        PortSpan { start, len: merged.len() as u32 }
    }

    fn addr(&mut self, m: &'a AddrMatch) -> AddrCond {
        let key = (m.prefixes.as_slice(), m.sets.as_slice());
        if let Some(cond) = self.conds.get(&key) {
            return *cond;
        }
        let cond = match key {
            ([], []) => AddrCond::Any,
            ([net], []) => prefix(net),
            (prefixes, names) => {
                let named = names.iter().filter_map(|n| self.sets.get(n.as_str())).flatten().copied().flatten();
                let set = RangeSet::new(prefixes.iter().chain(named));
                if set.is_everything() {
                    AddrCond::Any
                } else if let Some(index) = self.built.get(&set) {
                    AddrCond::Set(*index)
                } else {
                    let index = self.out.sets.len() as u32;
                    self.out.sets.push(set.clone());
                    self.built.insert(set, index);
                    AddrCond::Set(index)
                }
            }
        };
        self.conds.insert(key, cond);
        cond
    }
}

fn ports_mask(list: &[PortId]) -> u64 {
    list.iter().fold(0, |mask, port| mask | port_bit(*port))
}

fn prefix(net: &IpNet) -> AddrCond {
    let family = Family::from(net.network());
    let addr = Addr::from(net.network());
    let bits = net.prefix_len() + if family == Family::V4 { 96 } else { 0 };
    AddrCond::Prefix { family, bits, net: [addr.hi, addr.lo] }
}
