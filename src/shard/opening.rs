//! The way of most packets that the shortcut does not know: those that open a connection, and those with which it is answered,
//! confirmed and closed.
//!
//! As the shortcut it is the journey's own sequence without the branches that such a packet does not take, and gives the frame
//! back before anything is changed that the whole way by `judge` would not change too. Nothing is built to be passed on: no
//! key, no candidate, no parsed packet. The tests of the shortcut hold both ways to the same ends, counters, entries and octets.

use super::decision::{Action, Kept, ready};
use super::journey::flow_hash;
use super::recent::{ALONE, Kind};
use super::shortcut::{Mark, Network, Turn, ways_out};
use super::{End, Fate, Shard, Watch};
use crate::conntrack::opening::{Packet, Standing};
use crate::frame::Frame;
use crate::net::{CtState, Direction, PortId, Tuple, proto};
use crate::policy::spec::Hook;
use crate::policy::{Input, Verdict};
use crate::route::{NeighbourKey, NextHop, Route};
use crate::steer::{Stage, owner};
use crate::wire::glance::{self, LINK};

/// By whose leave a packet leaves.
#[derive(Clone, Copy)]
enum Leave {
    /// By the decision kept in this place.
    Decided(usize),
    /// As the last packet of its kind did.
    Recent(usize),
}

impl<W: Watch> Shard<W> {
    /// Whether packets may take this way: nothing is asked of every packet, and nothing counts connections.
    pub(super) fn openings(&self) -> bool {
        self.shortcuts
            && self.snapshot.ruleset.is_empty_at(Hook::Prerouting)
            && self.snapshot.zones.is_none()
            && self.snapshot.quotas.is_empty()
            && !self.tracker.has_zones()
    }

    /// Takes a packet all its way, and tells by which port it leaves; or leaves it untouched.
    #[inline(never)]
    pub(super) fn opening<N: Network, const PROTO: u8>(
        &mut self,
        frame: &mut Frame,
        mark: &Mark,
        turn: &Turn,
    ) -> Option<PortId> {
        let ingress = frame.meta.ingress;
        let (front, transport) = N::split(frame.data_mut())?;
        let ports = transport.first_chunk().map(glance::ports)?;
        let segment = match PROTO {
            proto::TCP => Some(glance::whole(transport.first_chunk()?, mark.extent)),
            _ => None,
        };
        if !turn.openings || N::ttl(front) <= 1 {
            return None;
        }
        let packet = Packet { hash: mark.hash, ends: N::ends(front), ports, segment };
        let standing = self.tracker.standing(mark.slot, &packet, &turn.tracking)?;
        let (state, direction, before) = match standing {
            Standing::Live(member) => (member.state, member.direction, member.decision),
            _ if self.is_special(&packet.tuple(), ingress, mark.stage) => return None,
            _ => (CtState::New, Direction::Original, 0),
        };
        let decided = if state == CtState::Established { self.decisions.place(before, direction) } else { None };
        let leave = match decided {
            Some(place) if self.is_ready(place, ready(turn.number, ingress)) => Leave::Decided(place),
            _ => Leave::Recent(self.ask(&packet.tuple(), state, ingress, turn)?),
        };
        let kept = self.leave(leave)?;
        if mark.end - LINK > kept.most[usize::from(mark.partial)] {
            return None;
        }
        let slot = match standing {
            Standing::Live(member) if self.tracker.move_on(&packet, &member, &turn.tracking) => member.slot,
            Standing::Live(_) => return None,
            _ => self.tracker.open_at_once(&packet, standing, &turn.tracking)?,
        };
        // From here on it is decided.
        if let Leave::Recent(place) = leave
            && state == CtState::Established
        {
            let decision = self.decided(place, before, direction);
            self.tracker.keep_decision(slot, self.snapshot.epoch_octet(), decision);
        }
        let kept = self.leave(leave)?;
        N::send_on(front, &kept.link);
        let len = frame.len();
        frame.meta.family = Some(N::FAMILY);
        // Link padding of the ingress is not the datagram's.
        let padding = len.saturating_sub(mark.end as usize);
        kept.note(len as u64, padding as u64);
        let (egress, rule) = (kept.egress, if W::WATCHING { kept.rule() } else { None });
        if padding != 0 {
            frame.set_len(mark.end as usize);
        }
        if W::WATCHING {
            let fate = Fate {
                end: End::Accept,
                state: Some(state),
                direction: Some(direction),
                invalid: None,
                rule,
                egress: Some(egress),
                protocol_state: self.tracker.protocol_state_of(slot),
            };
            self.watch.ended(frame.meta.seq, &fate);
        }
        Some(egress)
    }

    #[inline(always)]
    fn leave(&mut self, leave: Leave) -> Option<&mut Kept> {
        match leave {
            Leave::Decided(place) => self.decisions.kept(place),
            Leave::Recent(place) => self.recent.get_mut(place).map(|recent| &mut recent.kept),
        }
    }

    /// Whether more is to be done for a first packet than to enter its connection: it may be announced, another shard's, or
    /// a helper's.
    #[inline(always)]
    fn is_special(&self, tuple: &Tuple, ingress: PortId, stage: Stage) -> bool {
        !self.directory.is_empty()
            || (self.shards > 1 && stage == Stage::Packet && owner(tuple, self.shards) != self.id)
            || self.snapshot.helpers.pick(tuple, ingress).is_some()
    }

    /// Asks routes and rules, counting nothing: how a packet leaves that both let pass, by a neighbour that is known.
    #[inline(always)]
    fn ask(&mut self, tuple: &Tuple, state: CtState, ingress: PortId, turn: &Turn) -> Option<usize> {
        let family = tuple.family;
        let Route::Forward(hop) = self.snapshot.fib.lookup_with(family, tuple.dst, || flow_hash(tuple)) else {
            return None;
        };
        if self.may_not_be_forwarded(tuple) {
            return None;
        }
        let kind = Kind::of((family, tuple.proto), state, ingress, hop);
        let place = kind.place();
        match self.recent.of(place, &kind) {
            Some(recent) if recent.kept.ready == turn.number => Some(place),
            _ => self.ask_rules(tuple, (state, ingress, hop), turn),
        }
    }

    /// The same where the last packet of its kind came in another turn, or another kind was in its place.
    #[inline(never)]
    fn ask_rules(
        &mut self,
        tuple: &Tuple,
        (state, ingress, hop): (CtState, PortId, NextHop),
        turn: &Turn,
    ) -> Option<usize> {
        let kind = Kind::of((tuple.family, tuple.proto), state, ingress, hop);
        let place = kind.place();
        let port = self.snapshot.ports.get(hop.port.index()).filter(|port| port.vlan.is_empty())?;
        let known = self.recent.of(place, &kind).map(|recent| recent.kept.action().neighbour);
        let (place, mac) = match known.and_then(|neighbour| self.neighbours.peek(neighbour)) {
            Some((_, mac)) => (place, mac),
            None => {
                let input =
                    Input { state: Some(state), iif: ingress, oif: Some(hop.port), tuple: *tuple, has_ports: true };
                let decision = self.snapshot.ruleset.decide(Hook::Forward, &input);
                if decision.verdict != Verdict::Accept {
                    return None;
                }
                let key = NeighbourKey { port: hop.port, family: tuple.family, addr: hop.via };
                let (neighbour, mac) = self.neighbours.ready(&key)?;
                // Addresses and ports do not matter, and so the next packet of the kind leaves alike.
                let foregone = self.snapshot.ruleset.foregone(state, tuple.proto, ingress, hop.port).is_some();
                let place = if foregone { place } else { ALONE };
                let action = Action { ingress, egress: hop.port, neighbour, trail: decision.trail };
                let (most, link) = ways_out(port, mac);
                self.settle_place(place);
                let recent = self.recent.put(place, kind, state, action)?;
                recent.kept.make_ready(turn.number, tuple.family, most, link);
                self.recent.note(place);
                return Some(place);
            }
        };
        let (most, link) = ways_out(port, mac);
        self.recent.get_mut(place)?.kept.make_ready(turn.number, tuple.family, most, link);
        self.recent.note(place);
        Some(place)
    }
}
