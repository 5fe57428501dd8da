//! The compiled form and the matcher.

use super::foregone::Foregone;
use super::ranges::{RangeSet, port_in};
use super::spec::{ChainPolicy, Hook, PolicySpec, RejectWith};
use super::{MAX_NESTING, PolicyError, PolicyWarning};
use crate::net::{Addr, CtState, Family, PortId, Tuple};
use std::convert::Infallible;

/// What a rule may ask about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Input {
    /// State; `None` before tracking.
    pub state: Option<CtState>,
    /// Port it came in by.
    pub iif: PortId,
    /// Port it will leave by; `None` before routing and for packets to the router.
    pub oif: Option<PortId>,
    /// Addresses, protocol and keys.
    pub tuple: Tuple,
    /// The tuple's keys are ports that were read from the packet.
    pub has_ports: bool,
}

/// What becomes of a packet at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes.
    Accept,
    /// It is dropped.
    Drop,
    /// It is dropped and its sender told.
    Reject(RejectWith),
    /// It passes and is exempt from tracking.
    NoTrack,
}

/// A counter slot: rules of all chains in file order, then one per base chain's policy in the order of
/// [`Hook::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleIndex(pub u16);

impl RuleIndex {
    /// As an index into per-slot arrays.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// This rule.
    Rule(RuleIndex),
    /// The policy of the base chain at this hook; accept, if there is no such chain.
    ChainPolicy(Hook),
}

/// The slots a packet counts in: rules that sent it to another chain or back, in order, and last the one
/// that decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    slots: [RuleIndex; Trail::LEN],
    len: u8,
    full: bool,
}

impl Trail {
    /// Slots it can hold.
    pub const LEN: usize = 4;

    /// The slots. When there were more than fit, the first three and the last.
    #[inline]
    #[must_use]
    pub fn slots(&self) -> &[RuleIndex] {
        self.slots.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// There were more slots than fit; [`Ruleset::decide_with`] names them all.
    #[inline]
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.full
    }

    #[inline]
    pub(super) fn push(&mut self, slot: RuleIndex) {
        if let Some(place) = self.slots.get_mut(usize::from(self.len)) {
            *place = slot;
            self.len += 1;
        } else {
            // The last slot is the one that decided, so it must not be lost.
            self.slots[Trail::LEN - 1] = slot;
            self.full = true;
        }
    }
}

/// A verdict with its reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of the packet.
    pub verdict: Verdict,
    /// Who decided.
    pub by: Decider,
    /// Slots whose counters count the packet.
    pub trail: Trail,
}

/// What a slot is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotInfo<'a> {
    /// Name of the chain.
    pub chain: &'a str,
    /// Id of the rule; `None` for a chain's policy.
    pub rule: Option<&'a str>,
    /// Word of the verdict: accept, drop, reject, jump, goto, return, notrack.
    pub verdict: &'static str,
}

/// Which conditions a rule has, beyond those whose masks say "any" by themselves.
pub(super) mod has {
    pub(crate) const IIF: u8 = 1 << 0;
    pub(crate) const OIF: u8 = 1 << 1;
    pub(crate) const SPORT: u8 = 1 << 2;
    pub(crate) const DPORT: u8 = 1 << 3;
    pub(crate) const SADDR: u8 = 1 << 4;
    pub(crate) const DADDR: u8 = 1 << 5;
}

/// Bit of a packet without a state; only rules without `ct_state` have it.
pub(super) const NO_STATE: u8 = 1 << 7;

/// What a matching rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Final(Verdict),
    Jump(u16),
    Goto(u16),
    Return,
}

/// What an address is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddrCond {
    Any,
    /// Network address, and the prefix length counted in the 128 bits of [`Addr`].
    Prefix {
        family: Family,
        bits: u8,
        net: [u64; 2],
    },
    /// Index of a compiled set.
    Set(u32),
}

/// A slice of the shared port ranges.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PortSpan {
    pub(super) start: u32,
    pub(super) len: u32,
}

/// One rule: two cache lines, the cheap conditions in the first.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Rule {
    pub(super) iif: u64,
    pub(super) oif: u64,
    pub(super) proto: [u64; 4],
    pub(super) states: u8,
    pub(super) has: u8,
    pub(super) action: Action,
    pub(super) sport: PortSpan,
    pub(super) dport: PortSpan,
    pub(super) saddr: AddrCond,
    pub(super) daddr: AddrCond,
}

const _: () = assert!(size_of::<Rule>() == 128);
const _: () = assert!(std::mem::offset_of!(Rule, sport) <= 64);

/// Rules of a chain still to be tried.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    pub(super) next: u32,
    pub(super) end: u32,
}

/// The base chain of a hook.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub(super) span: Span,
    pub(super) policy: ChainPolicy,
    pub(super) slot: RuleIndex,
}

/// Names of a slot.
#[derive(Clone, Debug)]
pub(super) struct SlotName {
    pub(super) chain: u32,
    pub(super) rule: Option<Box<str>>,
    pub(super) verdict: &'static str,
}

/// A validated policy. Immutable; every worker reads the same one.
#[derive(Clone, Debug)]
pub struct Ruleset {
    pub(super) rules: Vec<Rule>,
    pub(super) chains: Vec<Span>,
    pub(super) bases: [Option<Base>; Hook::ALL.len()],
    pub(super) ports: Vec<(u16, u16)>,
    pub(super) sets: Vec<RangeSet>,
    pub(super) chain_names: Vec<Box<str>>,
    pub(super) slots: Vec<SlotName>,
    pub(super) foregone: Foregone,
    pub(super) warnings: Vec<PolicyWarning>,
}

/// A packet as the conditions want it.
struct Facts<'a> {
    input: &'a Input,
    state: u8,
    iif: u64,
    oif: u64,
    word: usize,
    bit: u64,
}

/// The bit of a port in a rule's mask, 0 for a number no mask can hold.
pub(super) const fn port_bit(port: PortId) -> u64 {
    match 1u64.checked_shl(port.0 as u32) {
        Some(bit) => bit,
        None => 0,
    }
}

impl<'a> Facts<'a> {
    fn new(input: &'a Input) -> Self {
        let proto = input.tuple.proto;
        Facts {
            input,
            state: input.state.map_or(NO_STATE, |s| 1 << s as u8),
            iif: port_bit(input.iif),
            oif: input.oif.map_or(0, port_bit),
            word: usize::from(proto >> 6),
            bit: 1 << (proto & 63),
        }
    }
}

/// Whether `addr` agrees with `net` in its first `bits` of 128.
#[inline]
pub(super) const fn in_prefix(net: [u64; 2], bits: u8, addr: Addr) -> bool {
    let differ = ((net[0] ^ addr.hi) as u128) << 64 | (net[1] ^ addr.lo) as u128;
    differ.leading_zeros() >= bits as u32
}

const fn hook_index(hook: Hook) -> usize {
    match hook {
        Hook::Prerouting => 0,
        Hook::Forward => 1,
        Hook::Input => 2,
    }
}

impl Ruleset {
    /// Validates and compiles a policy.
    ///
    /// # Errors
    /// All mistakes found, in file order within each kind of check.
    pub fn compile(spec: &PolicySpec) -> Result<Ruleset, Vec<PolicyError>> {
        super::compile::compile(spec)
    }

    /// What is odd about the policy, in file order.
    #[must_use]
    pub fn warnings(&self) -> &[PolicyWarning] {
        &self.warnings
    }

    /// No base chain stands at `hook`: every packet passes it uncounted, so the caller may skip it.
    #[inline]
    #[must_use]
    pub const fn is_empty_at(&self, hook: Hook) -> bool {
        self.bases[hook_index(hook)].is_none()
    }

    /// Number of counter slots: all rules and the policy of each base chain.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// What a slot is called; `None` if there is no such slot.
    #[must_use]
    pub fn slot_info(&self, slot: RuleIndex) -> Option<SlotInfo<'_>> {
        let name = self.slots.get(slot.index())?;
        let chain = self.chain_names.get(name.chain as usize)?;
        Some(SlotInfo { chain, rule: name.rule.as_deref(), verdict: name.verdict })
    }

    /// Slot of the policy of the base chain at `hook`, if there is one.
    #[must_use]
    pub fn policy_slot(&self, hook: Hook) -> Option<RuleIndex> {
        self.bases[hook_index(hook)].as_ref().map(|b| b.slot)
    }

    /// What becomes of a packet at `hook`.
    #[must_use]
    pub fn decide(&self, hook: Hook, input: &Input) -> Decision {
        if let (Hook::Forward, Some(state), Some(oif)) = (hook, input.state, input.oif)
            && let Some(decision) = self.foregone.verdict(state, input.tuple.proto, input.iif, oif)
        {
            return *decision;
        }
        let mut trail = Trail::default();
        let (verdict, by) = self.decide_with(hook, input, |slot| trail.push(slot));
        Decision { verdict, by, trail }
    }

    /// The verdict of the forward chain on every packet of this kind, if it depends on nothing else.
    #[inline]
    #[must_use]
    pub fn foregone(&self, state: CtState, proto: u8, iif: PortId, oif: PortId) -> Option<&Decision> {
        self.foregone.verdict(state, proto, iif, oif)
    }

    /// As [`decide`](Self::decide), naming every slot that counts the packet, in order.
    pub fn decide_with(&self, hook: Hook, input: &Input, count: impl FnMut(RuleIndex)) -> (Verdict, Decider) {
        let facts = Facts::new(input);
        let Ok(decided) = self.walk(hook, |rule| Ok::<_, Infallible>(self.matches(rule, &facts)), count);
        decided
    }

    /// Tries the rules of the hook's base chain and of those it jumps to, in order. Ends at once when `matches` fails.
    #[inline]
    pub(super) fn walk<E>(
        &self,
        hook: Hook,
        mut matches: impl FnMut(&Rule) -> Result<bool, E>,
        mut count: impl FnMut(RuleIndex),
    ) -> Result<(Verdict, Decider), E> {
        let Some(base) = &self.bases[hook_index(hook)] else {
            return Ok((Verdict::Accept, Decider::ChainPolicy(hook)));
        };
        let mut callers = [Span::default(); MAX_NESTING];
        let mut depth = 0;
        let mut span = base.span;
        loop {
            let rest = self.rules.get(span.next as usize..span.end as usize).unwrap_or_default();
            let mut leave = true;
            let mut matching = None;
            for (i, rule) in rest.iter().enumerate() {
                if matches(rule)? {
                    matching = Some((i, rule));
                    break;
                }
            }
            if let Some((i, rule)) = matching {
                let slot = RuleIndex((span.next as usize + i) as u16);
                span.next += i as u32 + 1;
                count(slot);
                match rule.action {
                    Action::Final(verdict) => return Ok((verdict, Decider::Rule(slot))),
                    Action::Return => {}
                    Action::Goto(chain) => {
                        span = self.chain(chain);
                        leave = false;
                    }
                    Action::Jump(chain) => {
                        // The compiler bounds the nesting, so the place is always there.
                        if let Some(place) = callers.get_mut(depth) {
                            *place = span;
                            depth += 1;
                        }
                        span = self.chain(chain);
                        leave = false;
                    }
                }
            }
            if leave {
                match depth.checked_sub(1).and_then(|d| callers.get(d).map(|s| (d, *s))) {
                    Some((d, caller)) => (depth, span) = (d, caller),
                    None => break,
                }
            }
        }
        count(base.slot);
        let verdict = match base.policy {
            ChainPolicy::Accept => Verdict::Accept,
            ChainPolicy::Drop => Verdict::Drop,
        };
        Ok((verdict, Decider::ChainPolicy(hook)))
    }

    #[inline]
    fn chain(&self, chain: u16) -> Span {
        self.chains.get(usize::from(chain)).copied().unwrap_or_default()
    }

    #[inline]
    fn matches(&self, rule: &Rule, facts: &Facts<'_>) -> bool {
        let tuple = &facts.input.tuple;
        let asked = |bit: u8| rule.has & bit != 0;
        // Each line: not asked for, or true.
        rule.states & facts.state != 0
            && rule.proto.get(facts.word).is_some_and(|w| w & facts.bit != 0)
            && (!asked(has::IIF) || rule.iif & facts.iif != 0)
            && (!asked(has::OIF) || rule.oif & facts.oif != 0)
            && (!asked(has::DPORT) || (facts.input.has_ports && self.port(rule.dport, tuple.dst_key)))
            && (!asked(has::SPORT) || (facts.input.has_ports && self.port(rule.sport, tuple.src_key)))
            && (!asked(has::SADDR) || self.addr(rule.saddr, tuple.family, tuple.src))
            && (!asked(has::DADDR) || self.addr(rule.daddr, tuple.family, tuple.dst))
    }

    #[inline]
    fn port(&self, span: PortSpan, port: u16) -> bool {
        port_in(self.port_ranges(span), port)
    }

    pub(super) fn port_ranges(&self, span: PortSpan) -> &[(u16, u16)] {
        self.ports.get(span.start as usize..span.start as usize + span.len as usize).unwrap_or_default()
    }

    #[inline]
    fn addr(&self, cond: AddrCond, family: Family, addr: Addr) -> bool {
        match cond {
            AddrCond::Any => true,
            AddrCond::Prefix { family: f, bits, net } => f == family && in_prefix(net, bits, addr),
            AddrCond::Set(i) => self.sets.get(i as usize).is_some_and(|s| s.contains(family, addr)),
        }
    }
}
