//! The matcher against hand-made rulesets, the validator, and a naive evaluator of the specification.

mod decide;
mod errors;
mod reference;

use super::spec::*;
use super::*;
use crate::net::{Addr, CtState, Family, PortId, Tuple, proto};
use ipnet::IpNet;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn addr(list: &[&str]) -> AddrMatch {
    let (sets, prefixes): (Vec<_>, Vec<_>) = list.iter().partition(|s| s.starts_with('@'));
    AddrMatch {
        prefixes: prefixes.into_iter().map(net).collect(),
        sets: sets.into_iter().map(|s| s[1..].to_owned()).collect(),
    }
}

fn states(list: &[CtState]) -> Option<StateMask> {
    Some(list.iter().fold(StateMask::default(), |m, s| m.with(*s)))
}

fn rule(id: &str, matches: Matches, verdict: VerdictSpec) -> RuleSpec {
    RuleSpec { id: id.to_owned(), matches, verdict }
}

fn chain(name: &str, policy: ChainPolicy, rules: Vec<RuleSpec>) -> ChainSpec {
    ChainSpec { name: name.to_owned(), policy, rules }
}

fn all() -> Matches {
    Matches::default()
}

fn tcp(dport: u16) -> Matches {
    Matches { l4proto: vec![proto::TCP], dport: vec![dport..=dport], ..all() }
}

fn jump(to: &str) -> VerdictSpec {
    VerdictSpec::Jump(to.to_owned())
}

fn goto(to: &str) -> VerdictSpec {
    VerdictSpec::Goto(to.to_owned())
}

fn policy(chains: Vec<ChainSpec>) -> PolicySpec {
    PolicySpec { chains, sets: Vec::new() }
}

/// A TCP packet from port 0 to port 1.
fn packet(state: CtState, src: &str, dst: &str, dport: u16) -> Input {
    let (src, dst): (std::net::IpAddr, std::net::IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let tuple = Tuple {
        src: Addr::from(src),
        dst: Addr::from(dst),
        src_key: 40000,
        dst_key: dport,
        proto: proto::TCP,
        family: Family::from(src),
    };
    Input { state: Some(state), iif: PortId(0), oif: Some(PortId(1)), tuple, has_ports: true }
}
