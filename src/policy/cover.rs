//! Finds rules that can never be reached because an earlier one of the chain takes all they match.
//!
//! Looks at pairs only: two rules that together cover a third are not noticed.

use super::ranges::ports_cover;
use super::ruleset::{Action, AddrCond, Rule, Ruleset, Span, has, in_prefix};
use super::{Field, PolicyWarning, PolicyWarningKind, RuleIndex};
use crate::net::{Addr, CtState, Family};

/// Pairs compared per chain; beyond, in chains of some 6,000 rules, the rest goes unlooked at.
const PAIRS: usize = 1 << 24;

/// Every state a tracked packet can have; where `ct_state` is allowed, that is any packet.
const ALL_STATES: u8 = (1 << CtState::ALL.len()) - 1;

/// Adds a warning for each rule of the chain that is never reached.
pub(super) fn never_reached(set: &Ruleset, chain: usize, span: Span, warnings: &mut Vec<PolicyWarning>) {
    let rules = set.rules.get(span.next as usize..span.end as usize).unwrap_or_default();
    let mut takers: Vec<(usize, &Rule)> = Vec::new();
    let mut pairs = 0;
    for (r, rule) in rules.iter().enumerate() {
        pairs += takers.len();
        if pairs > PAIRS {
            return;
        }
        if let Some(&(by, _)) = takers.iter().find(|(_, earlier)| covers(set, earlier, rule)) {
            let slot = RuleIndex((span.next as usize + by) as u16);
            let id = set.slot_info(slot).and_then(|s| s.rule).unwrap_or_default().to_owned();
            let kind = PolicyWarningKind::RuleNotReached { by, id };
            warnings.push(PolicyWarning { chain, rule: Some(r), field: Field::Rule, kind });
        } else if !matches!(rule.action, Action::Jump(_)) {
            // After a jump a packet may come back; after anything else it does not see the next rule.
            takers.push((r, rule));
        }
    }
}

/// Whether every packet that `b` matches is matched by `a`.
fn covers(set: &Ruleset, a: &Rule, b: &Rule) -> bool {
    let ports = |bit: u8, outer, inner| {
        a.has & bit == 0 || (b.has & bit != 0 && ports_cover(set.port_ranges(outer), set.port_ranges(inner)))
    };
    let doors = |bit: u8, outer: u64, inner: u64| a.has & bit == 0 || (b.has & bit != 0 && inner & !outer == 0);
    (a.states & ALL_STATES == ALL_STATES || b.states & !a.states == 0)
        && a.proto.iter().zip(&b.proto).all(|(outer, inner)| inner & !outer == 0)
        && doors(has::IIF, a.iif, b.iif)
        && doors(has::OIF, a.oif, b.oif)
        && ports(has::SPORT, a.sport, b.sport)
        && ports(has::DPORT, a.dport, b.dport)
        && addr_covers(set, a.saddr, b.saddr)
        && addr_covers(set, a.daddr, b.daddr)
}

fn addr_covers(set: &Ruleset, a: AddrCond, b: AddrCond) -> bool {
    let ranges = |i: u32| set.sets.get(i as usize);
    match (a, b) {
        // A condition on an empty set matches nothing today, but is there to be filled.
        (_, AddrCond::Set(i)) if ranges(i).is_none_or(|s| s.is_empty()) => false,
        (AddrCond::Any, _) => true,
        (_, AddrCond::Any) => false,
        (AddrCond::Prefix { family: f, bits, net }, AddrCond::Prefix { family, bits: longer, net: inner }) => {
            f == family && bits <= longer && in_prefix(net, bits, Addr { hi: inner[0], lo: inner[1] })
        }
        (AddrCond::Prefix { family: f, bits, net }, AddrCond::Set(i)) => ranges(i).is_some_and(|s| {
            s.ends().all(|(family, lo, hi)| f == family && in_prefix(net, bits, lo) && in_prefix(net, bits, hi))
        }),
        (AddrCond::Set(i), AddrCond::Prefix { family, bits, net }) => {
            let (lo, hi) = prefix_ends(family, bits, net);
            ranges(i).is_some_and(|s| s.covers_range(family, lo, hi))
        }
        (AddrCond::Set(i), AddrCond::Set(j)) => {
            i == j || ranges(i).zip(ranges(j)).is_some_and(|(outer, inner)| outer.covers(inner))
        }
    }
}

/// First and last address of a prefix.
fn prefix_ends(family: Family, bits: u8, net: [u64; 2]) -> (Addr, Addr) {
    let lo = u128::from(net[0]) << 64 | u128::from(net[1]);
    let hi = lo | u128::MAX.checked_shr(u32::from(bits)).unwrap_or(0);
    let addr = |wide: u128| match family {
        Family::V4 => Addr::v4(wide as u32),
        Family::V6 => Addr::v6(wide.to_be_bytes()),
    };
    (addr(lo), addr(hi))
}
