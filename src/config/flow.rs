//! What the rules of a policy may say, given where their chain is reached from.

use super::diag::{Diagnostics, Place};
use super::marks::{Marks, RuleMarks};
use super::rules::is_base;
use super::settings::Settings;
use super::value::{has_ports, print_protocol};
use crate::net::proto;
use crate::policy::spec::{AddrMatch, ChainSpec, Hook, PolicySpec, RejectWith, RuleSpec, VerdictSpec};
use std::collections::{HashMap, HashSet};

/// Chains on the way from a base chain, as many as nftables allows.
const MAX_JUMPS: usize = 16;

/// Checks jumps, and every rule by the hooks it is reached from.
pub(super) fn check(settings: &Settings, marks: &Marks, diags: &mut Diagnostics) {
    let policy = &settings.policy;
    let hooks = jumps(policy, marks, diags);
    let families = families(policy);
    for ((chain, places), hooks) in policy.chains.iter().zip(&marks.chains).zip(&hooks) {
        for (rule, place) in chain.rules.iter().zip(&places.rules) {
            hook_fields(chain, rule, place, hooks, diags);
            transport(rule, place, diags);
            one_family(rule, place, &families, diags);
        }
    }
}

/// The chain a rule leads to.
pub(super) fn target(rule: &RuleSpec) -> Option<&str> {
    match &rule.verdict {
        VerdictSpec::Jump(chain) | VerdictSpec::Goto(chain) => Some(chain),
        _ => None,
    }
}

/// Finds loops and too long ways, and from which hooks each chain is reached.
fn jumps(policy: &PolicySpec, marks: &Marks, diags: &mut Diagnostics) -> Vec<Vec<Hook>> {
    let index: HashMap<&str, usize> = policy.chains.iter().enumerate().map(|(i, c)| (c.name.as_str(), i)).collect();
    // Per chain the rules that lead on, and whither.
    let ways: Vec<Vec<(usize, usize)>> = policy
        .chains
        .iter()
        .map(|chain| {
            // A jump to a base chain has been complained of.
            let to = |rule| target(rule).filter(|name| !is_base(name)).and_then(|name| index.get(name).copied());
            chain.rules.iter().enumerate().filter_map(|(at, rule)| to(rule).map(|to| (at, to))).collect()
        })
        .collect();
    let order = order(policy, &ways, marks, diags);
    let mut hooks = vec![Vec::new(); policy.chains.len()];
    let mut depth = vec![0usize; policy.chains.len()];
    for hook in Hook::ALL {
        if let Some(at) = index.get(hook.chain_name()) {
            hooks[*at].push(hook);
        }
    }
    let mut deep = HashSet::new();
    for from in order {
        for (rule, to) in &ways[from] {
            for hook in hooks[from].clone() {
                if !hooks[*to].contains(&hook) {
                    hooks[*to].push(hook);
                }
            }
            depth[*to] = depth[*to].max(depth[from] + 1);
            if depth[*to] == MAX_JUMPS + 1 && deep.insert(*to) {
                diags.error(verdict_place(marks, from, *rule), format!("more than {MAX_JUMPS} jumps in a row"));
            }
        }
    }
    hooks
}

fn verdict_place(marks: &Marks, chain: usize, rule: usize) -> Option<Place> {
    marks.rule(chain, Some(rule), Some("verdict"))
}

/// The chains so that each comes before those it leads to; what closes a loop is noted and left out of account.
fn order(policy: &PolicySpec, ways: &[Vec<(usize, usize)>], marks: &Marks, diags: &mut Diagnostics) -> Vec<usize> {
    let mut done = Vec::new();
    let mut seen = vec![false; ways.len()];
    for start in 0..ways.len() {
        if std::mem::replace(&mut seen[start], true) {
            continue;
        }
        let mut path = vec![(start, 0)];
        while let Some((chain, next)) = path.last_mut() {
            let chain = *chain;
            let Some((rule, to)) = ways[chain].get(*next).copied() else {
                path.pop();
                done.push(chain);
                continue;
            };
            *next += 1;
            if let Some(at) = path.iter().position(|(on, _)| *on == to) {
                let mut names: Vec<&str> = path[at..].iter().map(|(on, _)| policy.chains[*on].name.as_str()).collect();
                names.push(&policy.chains[to].name);
                let diagnostic =
                    diags.error(verdict_place(marks, chain, rule), format!("jump loop: {}", names.join(" -> ")));
                if let Some(chain) = marks.chains.get(to) {
                    diagnostic.related(chain.name, "back to here");
                }
            } else if !std::mem::replace(&mut seen[to], true) {
                path.push((to, 0));
            }
        }
    }
    done.reverse();
    done
}

/// Fields and verdicts that have no meaning at a hook.
fn hook_fields(chain: &ChainSpec, rule: &RuleSpec, place: &RuleMarks, hooks: &[Hook], diags: &mut Diagnostics) {
    let mut refuse = |key: &str, wrong: &[Hook], message: &str, help: &str| {
        let Some(hook) = hooks.iter().find(|hook| wrong.contains(hook)) else { return };
        let name = hook.chain_name();
        let whence = if name == chain.name {
            format!("chain `{name}`")
        } else {
            format!("chain `{}`, which is reached from `{name}`", chain.name)
        };
        diags.error(place.field(key), format!("{message} in {whence}")).help(help);
    };
    if !rule.matches.oif.is_empty() {
        let wrong = [Hook::Prerouting, Hook::Input];
        refuse("oif", &wrong, "no `oif` is known", "packets leave by a port only in `forward`");
    }
    if rule.matches.ct_state.is_some() {
        refuse("ct_state", &[Hook::Prerouting], "no `ct_state` is known", "tracking comes after `prerouting`");
    }
    if rule.verdict == VerdictSpec::NoTrack {
        let wrong = [Hook::Forward, Hook::Input];
        refuse("verdict", &wrong, "`notrack` comes too late", "packets are exempted from tracking in `prerouting`");
    }
}

/// Fields and verdicts that only some transports have.
fn transport(rule: &RuleSpec, place: &RuleMarks, diags: &mut Diagnostics) {
    let matches = &rule.matches;
    let given = place.fields.iter().any(|(key, _)| key == "l4proto");
    let portless = matches.l4proto.iter().find(|number| !has_ports(**number));
    for (key, ports) in [("sport", &matches.sport), ("dport", &matches.dport)] {
        if ports.is_empty() {
            continue;
        }
        if !given {
            diags
                .error(place.field(key), format!("`{key}` without `l4proto`"))
                .help("say which transport: `l4proto: tcp`, or a list of tcp, udp, udplite, sctp");
        } else if let Some(number) = portless {
            diags
                .error(place.field(key), format!("`{key}` with a protocol that has no ports"))
                .related(place.field("l4proto"), format!("{} has none", print_protocol(*number)))
                .help("tcp, udp, udplite and sctp have ports");
        }
    }
    let resets = rule.verdict == VerdictSpec::Reject(RejectWith::TcpReset);
    // A protocol that could not be read has been complained of.
    if resets && matches.l4proto != [proto::TCP] && !(given && matches.l4proto.is_empty()) {
        diags
            .error(place.field("verdict"), "`reject with tcp-reset` in a rule that is not about TCP alone")
            .help("add `l4proto: tcp`");
    }
}

/// Which families a field can match: IPv4, IPv6.
type Families = (bool, bool);

fn families(policy: &PolicySpec) -> HashMap<&str, Families> {
    let of = |elements: &[ipnet::IpNet]| {
        (elements.iter().any(|e| e.addr().is_ipv4()), elements.iter().any(|e| e.addr().is_ipv6()))
    };
    policy.sets.iter().map(|set| (set.name.as_str(), of(&set.elements))).collect()
}

/// No packet is of two families: fields that ask for different ones can never hold together.
fn one_family(rule: &RuleSpec, place: &RuleMarks, sets: &HashMap<&str, Families>, diags: &mut Diagnostics) {
    let of = |field: &AddrMatch| -> Families {
        if field.prefixes.is_empty() && field.sets.is_empty() {
            return (true, true);
        }
        let mut families = (false, false);
        let mut add = |(v4, v6): Families| families = (families.0 || v4, families.1 || v6);
        for net in &field.prefixes {
            add((net.addr().is_ipv4(), net.addr().is_ipv6()));
        }
        for set in &field.sets {
            match sets.get(set.as_str()) {
                // A set that is still empty may become anything.
                Some((false, false)) | None => add((true, true)),
                Some(families) => add(*families),
            }
        }
        families
    };
    let l4 = match rule.matches.l4proto.as_slice() {
        [proto::ICMP] => (true, false),
        [proto::ICMPV6] => (false, true),
        _ => (true, true),
    };
    let fields = [("saddr", of(&rule.matches.saddr)), ("daddr", of(&rule.matches.daddr)), ("l4proto", l4)];
    for (at, (key, (v4, v6))) in fields.iter().enumerate() {
        for (other, (other4, other6)) in &fields[..at] {
            let together = (*v4 && *other4) || (*v6 && *other6);
            if !together {
                let name = |v4: bool| if v4 { "IPv4" } else { "IPv6" };
                diags
                    .error(place.field(key), format!("IPv4 and IPv6 mixed in rule `{}`: it can never match", rule.id))
                    .label(name(*v4))
                    .related(place.field(other), name(*other4))
                    .help("write one rule per family");
                return;
            }
        }
    }
}
