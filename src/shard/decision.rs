//! What was decided about a known connection, kept so that its next packets need not ask again.
//!
//! An entry has 16 bits for it: the number of a *pair*, one action for each direction. Few distinct actions
//! exist (egress port, next hop, rules to count), so pairs are shared by many connections and stay in the
//! cache. Everything is forgotten when the snapshot changes.

use crate::net::{Direction, Family, PortId};
use crate::policy::{RuleIndex, Trail};
use crate::route::NeighbourId;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// What to do with an accepted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// Where it came in: rules may ask for it, so a packet from elsewhere is decided anew.
    pub ingress: PortId,
    /// Where it leaves.
    pub egress: PortId,
    /// Next hop, as the neighbour view names it.
    pub neighbour: NeighbourId,
    /// Rules that count it.
    pub trail: Trail,
}

/// Mixes words; the keys are made by the router itself, so no attacker aims at it.
#[derive(Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        // A product's low bits know nothing of its factors' high ones, and maps look at the low bits.
        self.0 ^ self.0 >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ActionKey {
    rules: u64,
    count: u8,
    ports: [PortId; 2],
    neighbour: NeighbourId,
}

type Map<K> = HashMap<K, u16, BuildHasherDefault<Mix>>;

/// What a packet needs of an action, made ready once as long as it stays the same, and what was done by it since that was
/// passed on. Two cache lines, the second of which no packet needs.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Kept {
    /// For which packets it is ready: those that come in by its port, in this term. See [`ready`].
    pub(super) ready: u64,
    /// Octets of the largest frame that leaves as it is: with a checksum that is complete, and one that is not.
    pub(super) most: [u32; 2],
    /// Link addresses on the way out.
    pub(super) link: [u8; 12],
    pub(super) egress: PortId,
    family: Family,
    pub(super) packets: u64,
    /// Octets of padding among those received, which were cut off.
    pub(super) padding: u64,
    /// As received.
    pub(super) octets: u64,
    action: Action,
}

/// The word by which a record is ready for packets that come in by `ingress`, as long as the term is that: the neighbours are the same.
#[inline(always)]
pub(super) const fn ready(term: u64, ingress: PortId) -> u64 {
    term << 8 | ingress.0 as u64
}

/// Ready for none: no term has the number 0.
const NEVER: u64 = 0;

impl Kept {
    pub(super) const fn of(action: Action) -> Kept {
        Kept {
            ready: NEVER,
            most: [0; 2],
            link: [0; 12],
            egress: action.egress,
            family: Family::V4,
            packets: 0,
            octets: 0,
            padding: 0,
            action,
        }
    }

    pub(super) const fn action(&self) -> &Action {
        &self.action
    }

    /// Makes it ready for packets that `ready` names.
    pub(super) const fn make_ready(&mut self, ready: u64, family: Family, most: [u32; 2], link: [u8; 12]) {
        (self.ready, self.family, self.most, self.link) = (ready, family, most, link);
    }

    /// Notes a packet of `len` octets as received, `padding` of which are cut off.
    #[inline(always)]
    pub(super) const fn note(&mut self, len: u64, padding: u64) {
        self.packets += 1;
        self.octets += len;
        self.padding += padding;
    }

    /// What was done since the last call, if there is something.
    pub(super) fn take_done(&mut self) -> Option<Done> {
        let Kept { packets, octets, padding, family, action, .. } = *self;
        (self.packets, self.octets, self.padding) = (0, 0, 0);
        (packets != 0).then_some(Done { action, family, packets, octets, padding })
    }

    /// Of no action.
    fn nothing() -> Kept {
        let nowhere = PortId(u8::MAX);
        Kept::of(Action { ingress: nowhere, egress: nowhere, neighbour: NeighbourId::NONE, trail: Trail::default() })
    }

    /// The rule that decided.
    pub(super) fn rule(&self) -> Option<RuleIndex> {
        self.action.trail.slots().last().copied()
    }
}

/// What the packets judged together added to an action.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) action: Action,
    pub(super) family: Family,
    pub(super) packets: u64,
    /// As received.
    pub(super) octets: u64,
    /// Of these, how many were cut off.
    pub(super) padding: u64,
}

/// The shared actions and pairs of one shard, by number. Number 0 means none.
#[derive(Debug)]
pub struct Decisions {
    actions: Vec<Kept>,
    /// Numbers of the actions that were made ready, in whichever term.
    used: Vec<u16>,
    /// As many as there are numbers, so that none needs to be asked whether it is one.
    pairs: Box<[[u16; 2]; PAIRS]>,
    /// Numbers of pairs that were given.
    pair_count: usize,
    action_numbers: Map<ActionKey>,
    pair_numbers: Map<u64>,
    /// What was asked lately, and the answer.
    recent: [Option<(Question, u16)>; RECENT],
}

/// What [`Decisions::with`] is asked.
type Question = (u16, Direction, Action);

/// So many actions stay ready although none of the packets judged together needed them.
const READY: usize = if cfg!(test) { 2 } else { 32 };

/// Questions remembered with their answers.
const RECENT: usize = 16;

const LIMIT: usize = u16::MAX as usize;

/// Numbers that a pair can have.
pub(super) const PAIRS: usize = LIMIT + 1;

/// All pairs, none of which was given. Memory that is not written costs none.
fn no_pairs() -> Box<[[u16; 2]; PAIRS]> {
    let pairs = vec![[0; 2]; PAIRS].into_boxed_slice();
    pairs.try_into().unwrap_or_else(|_| Box::new([[0; 2]; PAIRS]))
}

impl Default for Decisions {
    fn default() -> Self {
        let mut decisions = Decisions {
            actions: Vec::with_capacity(256),
            used: Vec::with_capacity(256),
            pairs: no_pairs(),
            pair_count: 0,
            action_numbers: Map::default(),
            pair_numbers: Map::default(),
            recent: [None; RECENT],
        };
        decisions.clear();
        decisions
    }
}

impl Decisions {
    /// Forgets everything: numbers given before mean nothing any more.
    pub fn clear(&mut self) {
        self.actions.clear();
        self.used.clear();
        self.action_numbers.clear();
        self.pair_numbers.clear();
        self.recent = [None; RECENT];
        // Who has number 0 has nothing, and is never ready.
        self.actions.push(Kept::nothing());
        self.pairs.iter_mut().take(self.pair_count).for_each(|pair| *pair = [0; 2]);
        self.pair_count = 1;
    }

    /// The action of a pair in one direction.
    #[inline]
    #[must_use]
    pub fn get(&self, pair: u16, direction: Direction) -> Option<&Action> {
        self.action(self.place(pair, direction)?)
    }

    /// Where the action of a pair in one direction is kept, if there is one.
    #[inline(always)]
    pub(super) fn place(&self, pair: u16, direction: Direction) -> Option<usize> {
        let numbers = self.pairs[usize::from(pair)];
        Some(usize::from(numbers[direction.index()])).filter(|number| *number != 0)
    }

    /// The pairs, and what is kept of the actions they name, by number.
    #[inline(always)]
    pub(super) fn parts(&mut self) -> (&[[u16; 2]; PAIRS], &mut [Kept]) {
        (&self.pairs, &mut self.actions)
    }

    /// What is kept there.
    #[inline(always)]
    pub(super) fn kept(&mut self, place: usize) -> Option<&mut Kept> {
        self.actions.get_mut(place)
    }

    /// The action kept there.
    pub(super) fn action(&self, place: usize) -> Option<&Action> {
        self.actions.get(place).map(|kept| &kept.action)
    }

    /// Makes an action ready for packets that `ready` names.
    pub(super) fn prepare(&mut self, place: usize, ready: u64, family: Family, most: [u32; 2], link: [u8; 12]) {
        let Some(kept) = self.actions.get_mut(place) else { return };
        if kept.ready == NEVER {
            self.used.push(place as u16);
        }
        kept.make_ready(ready, family, most, link);
    }

    /// Passes on what was done since the last call.
    pub(super) fn settle(&mut self, mut done: impl FnMut(Done)) {
        if self.used.len() > READY {
            self.forget_idle();
        }
        for place in &self.used {
            if let Some(one) = self.actions.get_mut(usize::from(*place)).and_then(Kept::take_done) {
                done(one);
            }
        }
    }

    /// Has those be ready no more by which nothing was done lately: to look at many would cost more than to make few ready.
    #[cold]
    #[inline(never)]
    fn forget_idle(&mut self) {
        let actions = &mut self.actions;
        self.used.retain(|place| {
            let Some(kept) = actions.get_mut(usize::from(*place)) else { return false };
            if kept.packets == 0 {
                kept.ready = NEVER;
            }
            kept.packets != 0
        });
    }

    /// The pair like `pair` but with `action` in `direction`; 0 when no more fit or the action's rules
    /// cannot all be remembered, and the packets of that connection are then decided one by one.
    #[inline]
    pub fn with(&mut self, pair: u16, direction: Direction, action: Action) -> u16 {
        // What connections that are opened together ask is mostly the same.
        let asked = (pair, direction, action);
        let place = (usize::from(pair) << 1 ^ usize::from(action.egress.0) << 1 ^ direction.index()) % RECENT;
        if let Some(Some((before, answer))) = self.recent.get(place)
            && *before == asked
        {
            return *answer;
        }
        let answer = self.number_with(pair, direction, action);
        if let Some(place) = self.recent.get_mut(place) {
            *place = Some((asked, answer));
        }
        answer
    }

    fn number_with(&mut self, pair: u16, direction: Direction, action: Action) -> u16 {
        if action.trail.is_full() {
            return pair;
        }
        let Some(number) = self.number(action) else { return pair };
        let mut numbers = self.pairs[usize::from(pair)];
        numbers[direction.index()] = number;
        let key = u64::from(numbers[0]) << 16 | u64::from(numbers[1]);
        if let Some(known) = self.pair_numbers.get(&key) {
            return *known;
        }
        if self.pair_count > LIMIT {
            return 0;
        }
        let number = self.pair_count as u16;
        self.pairs[usize::from(number)] = numbers;
        self.pair_count += 1;
        self.pair_numbers.insert(key, number);
        number
    }

    fn number(&mut self, action: Action) -> Option<u16> {
        let mut rules = 0u64;
        for (i, slot) in action.trail.slots().iter().enumerate() {
            rules |= u64::from(slot.0) << (16 * i);
        }
        let key = ActionKey {
            rules,
            count: action.trail.slots().len() as u8,
            ports: [action.ingress, action.egress],
            neighbour: action.neighbour,
        };
        if let Some(known) = self.action_numbers.get(&key) {
            return Some(*known);
        }
        if self.actions.len() > LIMIT {
            return None;
        }
        let number = self.actions.len() as u16;
        self.actions.push(Kept::of(action));
        self.action_numbers.insert(key, number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Addr, Family, MacAddr};
    use crate::route::{NeighbourEvent, NeighbourKey, NeighbourView, Resolution, ViewConfig};

    fn ids(count: u16) -> Vec<NeighbourId> {
        let mut view = NeighbourView::<()>::new(ViewConfig { capacity: count, ..ViewConfig::default() });
        let key = |n| NeighbourKey { port: PortId(0), family: Family::V4, addr: Addr::v4(u32::from(n)) };
        (0..count)
            .map(|n| {
                view.apply(&NeighbourEvent::Update { key: key(n), mac: MacAddr::default() }, &mut Vec::new());
                match view.lookup(&key(n)) {
                    Resolution::Ready(id, _) => id,
                    other => panic!("{other:?}"),
                }
            })
            .collect()
    }

    fn action(port: u8, neighbour: NeighbourId) -> Action {
        Action { ingress: PortId(9), egress: PortId(port), neighbour, trail: Trail::default() }
    }

    #[test]
    fn a_pair_keeps_both_directions() {
        let mut decisions = Decisions::default();
        let ids = ids(2);
        let there = decisions.with(0, Direction::Original, action(1, ids[0]));
        let both = decisions.with(there, Direction::Reply, action(0, ids[1]));
        assert_eq!(decisions.get(there, Direction::Original), Some(&action(1, ids[0])));
        assert_eq!(decisions.get(there, Direction::Reply), None);
        assert_eq!(decisions.get(both, Direction::Original), Some(&action(1, ids[0])));
        assert_eq!(decisions.get(both, Direction::Reply), Some(&action(0, ids[1])));
    }

    #[test]
    fn equal_decisions_share_a_number_and_clear_forgets_them() {
        let mut decisions = Decisions::default();
        let ids = ids(2);
        let one = decisions.with(0, Direction::Original, action(1, ids[0]));
        assert_eq!(decisions.with(0, Direction::Original, action(1, ids[0])), one);
        assert_ne!(decisions.with(0, Direction::Original, action(1, ids[1])), one);
        decisions.clear();
        assert_eq!(decisions.get(one, Direction::Original), None);
        assert_eq!(decisions.get(0, Direction::Original), None);
    }

    #[test]
    fn a_full_list_of_actions_leaves_connections_undecided() {
        let mut decisions = Decisions::default();
        let ids = ids(u16::MAX - 1);
        for id in &ids {
            decisions.with(0, Direction::Original, action(1, *id));
            decisions.with(0, Direction::Original, action(3, *id));
        }
        assert_eq!(decisions.with(0, Direction::Original, action(2, ids[0])), 0);
    }
}
