//! Verdicts that are certain before a packet comes: those of the forward chain that depend on nothing but state,
//! protocol and ports of the router.
//!
//! Most rulesets accept what is known, drop what is INVALID and let new connections go from one port to another; addresses and
//! transport ports are asked about elsewhere, if at all. So the chain is walked once per combination when it is
//! compiled, as far as rules are certain to match or not to. Ports that no rule tells apart share a place.

use super::ruleset::{Decision, Rule, Ruleset, Trail, has, port_bit};
use super::spec::Hook;
use crate::net::ids::MAX_PORTS;
use crate::net::{CtState, PortId, proto};
use std::collections::HashMap;

/// Rules tried for all combinations together, at most: a ruleset that needs more decides packet by packet.
const BUDGET: usize = 1 << 22;

/// Protocols with a place of their own.
const PROTOS: [u8; 2] = [proto::TCP, proto::UDP];

/// What is known of a packet beforehand.
#[derive(Clone, Copy, Debug)]
struct Kind {
    state: CtState,
    proto: u8,
    iif: PortId,
    oif: PortId,
}

/// The certain verdicts of one ruleset.
#[derive(Clone, Debug, Default)]
pub(super) struct Foregone {
    /// Class of each port, coming and going.
    classes: [Vec<u8>; 2],
    /// Number of classes, coming and going.
    counts: [usize; 2],
    /// By state, protocol, class coming and class going.
    places: Vec<Option<Decision>>,
}

impl Foregone {
    pub(super) fn new(ruleset: &Ruleset) -> Foregone {
        let (coming, iif) = classes(ruleset, has::IIF, |rule| rule.iif);
        let (going, oif) = classes(ruleset, has::OIF, |rule| rule.oif);
        let mut places = Vec::with_capacity(CtState::ALL.len() * PROTOS.len() * coming.len() * going.len());
        let mut budget = BUDGET;
        for state in CtState::ALL {
            for proto in PROTOS {
                for iif in &coming {
                    for oif in &going {
                        let kind = Kind { state, proto, iif: *iif, oif: *oif };
                        places.push(decide(ruleset, kind, &mut budget));
                    }
                }
            }
        }
        Foregone { classes: [iif, oif], counts: [coming.len(), going.len()], places }
    }

    /// The verdict of the forward chain, if it is certain.
    #[inline]
    pub(super) fn verdict(&self, state: CtState, proto: u8, iif: PortId, oif: PortId) -> Option<&Decision> {
        let proto = PROTOS.iter().position(|p| *p == proto)?;
        let [coming, going] = &self.classes;
        let (iif, oif) = (*coming.get(iif.index())?, *going.get(oif.index())?);
        let row = (state.index() * PROTOS.len() + proto) * self.counts[0] + usize::from(iif);
        self.places.get(row * self.counts[1] + usize::from(oif))?.as_ref()
    }
}

/// One port of each class, and the class of every port.
fn classes(ruleset: &Ruleset, asked: u8, mask: impl Fn(&Rule) -> u64) -> (Vec<PortId>, Vec<u8>) {
    let masks: Vec<u64> = ruleset.rules.iter().filter(|rule| rule.has & asked != 0).map(mask).collect();
    let mut known: HashMap<Vec<bool>, u8> = HashMap::new();
    let mut first = Vec::new();
    let of_port = (0..MAX_PORTS as u8).map(PortId).map(|port| {
        let answers = masks.iter().map(|mask| mask & port_bit(port) != 0).collect();
        *known.entry(answers).or_insert_with(|| {
            first.push(port);
            first.len() as u8 - 1
        })
    });
    let of_port = of_port.collect();
    (first, of_port)
}

/// Walks the chain, unless a rule on the way asks for what is not known.
fn decide(ruleset: &Ruleset, kind: Kind, budget: &mut usize) -> Option<Decision> {
    let mut trail = Trail::default();
    let certain = |rule: &Rule| {
        *budget = budget.checked_sub(1).ok_or(())?;
        matches(rule, kind).ok_or(())
    };
    let (verdict, by) = ruleset.walk(Hook::Forward, certain, |slot| trail.push(slot)).ok()?;
    Some(Decision { verdict, by, trail })
}

/// Whether a rule matches all packets of a kind, or none; `None` if it depends.
fn matches(rule: &Rule, kind: Kind) -> Option<bool> {
    let asked = |bit: u8| rule.has & bit != 0;
    let proto = usize::from(kind.proto);
    let may = rule.states & 1 << kind.state as u8 != 0
        && rule.proto.get(proto >> 6).is_some_and(|word| word & 1 << (proto & 63) != 0)
        && (!asked(has::IIF) || rule.iif & port_bit(kind.iif) != 0)
        && (!asked(has::OIF) || rule.oif & port_bit(kind.oif) != 0);
    if !may {
        return Some(false);
    }
    (!asked(has::DPORT | has::SPORT | has::SADDR | has::DADDR)).then_some(true)
}
