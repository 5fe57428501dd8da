//! What is allowed but probably not meant.

use super::diag::Diagnostics;
use super::flow::target;
use super::marks::Marks;
use super::rules::is_base;
use super::settings::Settings;
use crate::net::{Addr, CtState, Family, proto};
use crate::policy::spec::{
    AddrMatch, ChainPolicy, ChainSpec, Hook, Matches, PolicySpec, RuleSpec, SetSpec, StateMask, VerdictSpec,
};
use ipnet::IpNet;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// A rule is held against so many rules before it.
const MOST_BEFORE: usize = 4096;

/// Two lists of prefixes are compared if there are at most so many pairs.
const MOST_PAIRS: usize = 100_000;

/// Warns of all that looks odd in settings without errors.
pub(super) fn lint(settings: &Settings, marks: &Marks, diags: &mut Diagnostics) {
    unreachable_rules(&settings.policy, marks, diags);
    unused_chains(&settings.policy, marks, diags);
    forward_stance(settings, marks, diags);
    open_metrics(settings, marks, diags);
}

fn unreachable_rules(policy: &PolicySpec, marks: &Marks, diags: &mut Diagnostics) {
    let sets: Sets<'_> = policy.sets.iter().map(|set| (set.name.as_str(), set)).collect();
    for (chain, places) in policy.chains.iter().zip(&marks.chains) {
        for (at, rule) in chain.rules.iter().enumerate() {
            let ends = |before: &RuleSpec| !matches!(before.verdict, VerdictSpec::Jump(_));
            let earlier = chain.rules[..at.min(MOST_BEFORE)].iter();
            let cover =
                earlier.enumerate().find(|(_, before)| ends(before) && covers(&before.matches, &rule.matches, &sets));
            if let (Some((cover, before)), Some(here)) = (cover, places.rules.get(at)) {
                diags
                    .warning(here.whole, format!("rule `{}` can never match", rule.id))
                    .related(places.rules[cover].whole, format!("rule `{}` takes all of it", before.id));
            }
        }
    }
}

type Sets<'a> = HashMap<&'a str, &'a SetSpec>;

/// Whether every packet that `b` matches is matched by `a`. May say no where it is so.
fn covers(a: &Matches, b: &Matches, sets: &Sets<'_>) -> bool {
    let all = CtState::ALL.iter().fold(StateMask::default(), |mask, state| mask.with(*state));
    let states = |m: &Matches| m.ct_state.unwrap_or(all).0;
    states(b) & !states(a) == 0
        && subset(&b.iif, &a.iif)
        && subset(&b.oif, &a.oif)
        && subset(&b.l4proto, &a.l4proto)
        && ranges_cover(&a.sport, &b.sport)
        && ranges_cover(&a.dport, &b.dport)
        && addresses_cover(&a.saddr, &b.saddr, sets)
        && addresses_cover(&a.daddr, &b.daddr, sets)
}

/// Lists of which an empty one means anything.
fn subset<T: PartialEq>(small: &[T], large: &[T]) -> bool {
    large.is_empty() || (!small.is_empty() && small.iter().all(|item| large.contains(item)))
}

fn ranges_cover(a: &[RangeInclusive<u16>], b: &[RangeInclusive<u16>]) -> bool {
    let within = |range: &RangeInclusive<u16>| a.iter().any(|a| a.contains(range.start()) && a.contains(range.end()));
    a.is_empty() || (!b.is_empty() && b.iter().all(within))
}

fn addresses_cover(a: &AddrMatch, b: &AddrMatch, sets: &Sets<'_>) -> bool {
    if a.prefixes.is_empty() && a.sets.is_empty() {
        return true;
    }
    if b.prefixes.is_empty() && b.sets.is_empty() {
        return false;
    }
    let elements = |name: &String| sets.get(name.as_str()).map_or(&[] as &[IpNet], |set| set.elements.as_slice());
    let large: Vec<&IpNet> = a.prefixes.iter().chain(a.sets.iter().flat_map(elements)).collect();
    let all_within = |nets: &[IpNet]| {
        large.len() * nets.len() <= MOST_PAIRS && nets.iter().all(|net| large.iter().any(|large| large.contains(net)))
    };
    all_within(&b.prefixes)
        && b.sets.iter().all(|name| {
            let nets = elements(name);
            // Nothing is in an empty set yet: the rule waits for its file to be filled.
            !nets.is_empty() && (a.sets.contains(name) || all_within(nets))
        })
}

fn unused_chains(policy: &PolicySpec, marks: &Marks, diags: &mut Diagnostics) {
    let used: HashSet<&str> = policy.chains.iter().flat_map(|chain| &chain.rules).filter_map(target).collect();
    for (chain, places) in policy.chains.iter().zip(&marks.chains) {
        if !is_base(&chain.name) && !used.contains(chain.name.as_str()) {
            diags
                .warning(places.name, format!("chain `{}` is never used", chain.name))
                .help("a chain of your own is entered by `jump` or `goto` from another");
        }
    }
}

/// A kind of packet to follow through the chains; what a field leaves open may be either way.
struct Probe {
    state: CtState,
    protocol: Option<u8>,
}

/// What becomes of such packets: of some of them, or of all that came so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// A rule accepts at least some.
    Accepted,
    /// A rule ends them all: chain and rule.
    Ended(usize, usize),
    /// They leave the chain at its end.
    Through,
}

impl Probe {
    /// Whether a rule matches some of these packets.
    fn some(&self, m: &Matches) -> bool {
        m.ct_state.is_none_or(|mask| mask.contains(self.state))
            && self.protocol.is_none_or(|p| m.l4proto.is_empty() || m.l4proto.contains(&p))
    }

    /// Whether a rule matches all of them.
    fn all(&self, m: &Matches) -> bool {
        let any = |a: &AddrMatch| a.prefixes.is_empty() && a.sets.is_empty();
        self.some(m)
            && m.iif.is_empty()
            && m.oif.is_empty()
            && any(&m.saddr)
            && any(&m.daddr)
            && m.sport.is_empty()
            && m.dport.is_empty()
            && (m.l4proto.is_empty() || self.protocol.is_some())
    }

    /// Follows them through a chain. Each chain is looked at once: its first visitor found all there is.
    fn follow(&self, chains: &[ChainSpec], at: usize, seen: &mut HashSet<usize>) -> Fate {
        if !seen.insert(at) {
            return Fate::Through;
        }
        for (number, rule) in chains[at].rules.iter().enumerate() {
            if !self.some(&rule.matches) {
                continue;
            }
            let all = self.all(&rule.matches);
            match &rule.verdict {
                VerdictSpec::Accept | VerdictSpec::NoTrack => return Fate::Accepted,
                VerdictSpec::Drop | VerdictSpec::Reject(_) if all => return Fate::Ended(at, number),
                VerdictSpec::Return if all => return Fate::Through,
                VerdictSpec::Jump(name) | VerdictSpec::Goto(name) => {
                    let next = chains.iter().position(|chain| chain.name == *name);
                    let fate = next.map_or(Fate::Through, |next| self.follow(chains, next, seen));
                    match fate {
                        Fate::Accepted => return fate,
                        Fate::Ended(..) if all => return fate,
                        _ if all && matches!(rule.verdict, VerdictSpec::Goto(_)) => return Fate::Through,
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        Fate::Through
    }
}

/// Warns if packets that belong to accepted connections cannot pass.
fn forward_stance(settings: &Settings, marks: &Marks, diags: &mut Diagnostics) {
    let chains = &settings.policy.chains;
    let Some(forward) = chains.iter().position(|chain| chain.name == Hook::Forward.chain_name()) else { return };
    let passes = |state, protocol| {
        let fate = Probe { state, protocol }.follow(chains, forward, &mut HashSet::new());
        match (fate, chains[forward].policy) {
            (Fate::Accepted, _) | (Fate::Through, ChainPolicy::Accept) => None,
            (fate, _) => Some(fate),
        }
    };
    // A chain that lets nothing begin is meant to let nothing pass.
    if passes(CtState::New, None).is_some() {
        return;
    }
    let place = |fate| match fate {
        Fate::Ended(chain, rule) => marks.rule(chain, Some(rule), None),
        _ => marks.rule(forward, None, Some("policy")),
    };
    if let Some(fate) = passes(CtState::Established, None) {
        diags
            .warning(
                place(fate),
                "no rule of `forward` accepts established packets: connections open but get no answer",
            )
            .help("put first: { id: known, ct_state: [established, related], verdict: accept }");
    }
    let ipv6 = settings.ports.iter().flat_map(|port| &port.addresses).any(|net| net.addr().is_ipv6());
    if ipv6 && let Some(fate) = passes(CtState::Related, Some(proto::ICMPV6)) {
        diags
            .warning(
                place(fate),
                "ICMPv6 packet-too-big cannot pass `forward`: IPv6 connections will hang on large packets",
            )
            .help("accept `ct_state: related` before this");
    }
}

fn open_metrics(settings: &Settings, marks: &Marks, diags: &mut Diagnostics) {
    let Some(metrics) = &settings.metrics else { return };
    let ip = metrics.listen.ip();
    let family = Family::from(ip);
    let address = Addr::from(ip);
    let within = match ip {
        IpAddr::V4(v4) => v4.is_private(),
        // Unique local addresses, RFC 4193.
        IpAddr::V6(_) => address.hi >> 57 == 0xfc >> 1,
    };
    if !(within || address.is_loopback(family) || address.is_link_local(family)) {
        diags
            .warning(marks.listen, format!("metrics are open to whoever can reach {}", metrics.listen))
            .help("listen on 127.0.0.1, or on an address of the management network");
    }
}
