//! How the last packet of a kind left that nothing was decided for, so that the next one need not ask: route, verdict,
//! neighbour. What such packets add up to is passed on once for all that are judged together, as with
//! [`Decisions`](super::Decisions).
//!
//! There is no cache by address here: a flood of random addresses would empty it.

use super::decision::{Action, Done, Kept};
use super::{Shard, Sum, Watch};
use crate::metrics::label::RouteResult;
use crate::net::{Addr, CtState, Direction, Family, PortId};
use crate::policy::Verdict;
use crate::route::NextHop;

/// Kinds remembered.
const KINDS: usize = 64;

/// The place of a packet whose verdict hangs on addresses or ports too, and is no other's.
pub(super) const ALONE: usize = KINDS;

/// What routes and rules may ask of a packet, where rules ask for neither addresses nor ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    via: Addr,
    /// Protocols, state and ports.
    word: u64,
}

impl Kind {
    const NONE: Kind = Kind { via: Addr::UNSPECIFIED, word: u64::MAX };

    #[inline(always)]
    pub(super) const fn of((family, proto): (Family, u8), state: CtState, ingress: PortId, hop: NextHop) -> Kind {
        let ports = (ingress.0 as u64) << 8 | (hop.port.0 as u64) << 16;
        Kind { via: hop.via, word: ports | proto as u64 | (state as u64) << 24 | (family as u64) << 32 }
    }

    /// Where it may be remembered.
    #[inline(always)]
    pub(super) const fn place(&self) -> usize {
        let word = self.word ^ self.word >> 7 ^ self.word >> 21 ^ self.word >> 28;
        (self.via.lo ^ self.via.lo >> 6 ^ word) as usize % KINDS
    }
}

/// The number a connection without a decision has, or one with that of the other direction: what it becomes.
#[derive(Clone, Copy, Debug)]
struct Pair {
    before: u16,
    direction: Direction,
    after: u16,
}

/// One kind, and what its packets did lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    kind: Kind,
    state: CtState,
    pair: Option<Pair>,
    /// The number a connection has, and what it becomes by a NEW packet of this kind.
    ahead: Option<(u16, Option<u16>)>,
    pub(super) kept: Kept,
}

/// Datagrams that nobody answered, as far as it matters how they leave: family, port and decision, which is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Alike(u32);

impl Alike {
    #[inline(always)]
    pub(super) const fn of(family: Family, ingress: PortId, decision: u16) -> Alike {
        Alike((family as u32) << 24 | (ingress.0 as u32) << 16 | decision as u32)
    }
}

/// The kinds of one shard.
#[derive(Debug, Default)]
pub(super) struct Recents {
    places: Vec<Recent>,
    /// How datagrams that nobody answered left in a turn, by a place in which nothing is to be noted of their flow.
    alike: (u64, Alike, usize),
    /// One bit for each place made ready since its sums were passed on.
    used: u128,
}

impl Recents {
    /// Forgets everything. Between bursts.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.used = 0;
        self.forget_alike();
    }

    /// The place by which such a datagram left in this turn, if the last one was alike.
    #[inline(always)]
    pub(super) fn alike(&self, turn: u64, which: Alike) -> Option<usize> {
        let (when, last, place) = self.alike;
        (when == turn && last == which).then_some(place)
    }

    /// Notes that one left by a place, in which it is not alone.
    pub(super) const fn note_alike(&mut self, turn: u64, which: Alike, place: usize) {
        if place != ALONE {
            self.alike = (turn, which, place);
        }
    }

    /// No turn has the number 0.
    const fn forget_alike(&mut self) {
        self.alike.0 = 0;
    }

    /// What is remembered of a kind, if it is that.
    #[inline(always)]
    pub(super) fn of(&self, place: usize, kind: &Kind) -> Option<&Recent> {
        self.places.get(place).filter(|recent| recent.kind == *kind)
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Recent> {
        self.places.get_mut(place)
    }

    /// Remembers a kind, or the packet that is alone, in the place of another whose sums were passed on.
    #[cold]
    pub(super) fn put(&mut self, place: usize, kind: Kind, state: CtState, action: Action) -> Option<&mut Recent> {
        let recent = Recent { kind, state, pair: None, ahead: None, kept: Kept::of(action) };
        self.forget_alike();
        if self.places.is_empty() {
            self.places = vec![Recent { kind: Kind::NONE, ..recent }; KINDS + 1];
        }
        let kind = if place == ALONE { Kind::NONE } else { kind };
        let at = self.places.get_mut(place)?;
        *at = Recent { kind, ..recent };
        Some(at)
    }

    /// Notes that a place is made ready.
    pub(super) const fn note(&mut self, place: usize) {
        self.used |= 1 << place;
    }
}

impl<W: Watch> Shard<W> {
    /// The decision of a connection that a remembered packet is the first to have one in this direction.
    #[inline(always)]
    pub(super) fn decided(&mut self, place: usize, before: u16, direction: Direction) -> u16 {
        let Some(recent) = self.recent.places.get_mut(place) else { return before };
        match recent.pair {
            Some(pair) if pair.before == before && pair.direction == direction => pair.after,
            _ => {
                let after = self.decisions.with(before, direction, *recent.kept.action());
                recent.pair = Some(Pair { before, direction, after });
                after
            }
        }
    }

    /// [`Shard::ahead`] by a remembered packet.
    #[inline(always)]
    pub(super) fn ahead_of(&mut self, place: usize, before: u16, proto: u8) -> Option<u16> {
        match self.recent.places.get(place)?.ahead {
            Some((known, after)) if known == before => after,
            _ => self.look_ahead(place, before, proto),
        }
    }

    #[inline(never)]
    fn look_ahead(&mut self, place: usize, before: u16, proto: u8) -> Option<u16> {
        let action = *self.recent.places.get(place)?.kept.action();
        let after = self.ahead(before, action, proto);
        self.recent.places.get_mut(place)?.ahead = Some((before, after));
        after
    }

    /// The decision of a connection that a NEW packet opens, or belongs to, and leaves as `action` says: what comes after it in its
    /// direction, once there was an answer, leaves alike if the rules let it, whatever its addresses and ports are. So no route is
    /// asked for twice. `None`: the rules are to be asked then.
    pub(super) fn ahead(&mut self, before: u16, action: Action, proto: u8) -> Option<u16> {
        let Action { ingress, egress, .. } = action;
        let decision = self.snapshot.ruleset.foregone(CtState::Established, proto, ingress, egress)?;
        if decision.verdict != Verdict::Accept {
            return None;
        }
        let action = Action { trail: decision.trail, ..action };
        Some(self.decisions.with(before, Direction::Original, action))
    }

    /// Passes on what packets did that nothing was decided for.
    #[inline]
    pub(super) fn settle_recent(&mut self) {
        let mut used = std::mem::take(&mut self.recent.used);
        while used != 0 {
            self.settle_place(used.trailing_zeros() as usize);
            used &= used - 1;
        }
    }

    /// The same of one place.
    pub(super) fn settle_place(&mut self, place: usize) {
        let Some(recent) = self.recent.places.get_mut(place) else { return };
        let Some(Done { action, family, packets, octets, padding }) = recent.kept.take_done() else { return };
        for rule in action.trail.slots() {
            self.rules.count(rule.index(), packets, octets);
        }
        self.counters.state(family, recent.state, packets);
        self.counters.route_lookup(family, RouteResult::Hit, packets);
        self.neighbours.mark_used(action.neighbour);
        self.out.add(action.egress, Sum { kind: Some((action.ingress, family)), packets, octets: octets - padding });
        #[cfg(test)]
        {
            self.opened += packets;
        }
    }
}
