//! The way of packets that open a connection, and of those of a live one that neither the shortcut nor [`onward`](super::onward)
//! found by the slot that was fetched.
//!
//! As the shortcut it is the journey's own sequence without the branches that such a packet does not take, and gives the frame
//! back before anything is changed that the whole way by `judge` would not change too. Nothing is built to be passed on: no
//! key, no candidate, no parsed packet. The tests of the shortcut hold both ways to the same ends, counters, entries and octets.

use super::decision::{Action, Kept, ready};
use super::journey::flow_hash;
use super::mark::Mark;
use super::network::Network;
use super::recent::{ALONE, Alike, Kind};
use super::shortcut::{Turn, ways_out};
use super::{End, Fate, Shard, Watch};
use crate::conntrack::ends::Ends;
use crate::conntrack::opening::{Member, Packet, Standing};
use crate::frame::Frame;
use crate::net::{CtState, Direction, Family, PortId, proto};
use crate::policy::spec::Hook;
use crate::policy::{Input, Verdict};
use crate::route::{NeighbourKey, NextHop};
use crate::steer::Stage;
use crate::wire::glance;

/// By whose leave a packet leaves.
#[derive(Clone, Copy)]
pub(super) enum Leave {
    /// By the decision kept in this place.
    Decided(usize),
    /// As the last packet of its kind did.
    Recent(usize),
}

/// A marked packet as the tracker sees it.
#[inline(always)]
pub(super) fn seen<N: Network, const PROTO: u8>(frame: &Frame, mark: &Mark) -> Option<Packet<N::Ends>> {
    let (front, transport) = N::parts(frame.data())?;
    let opens = PROTO == proto::TCP && mark.turning && glance::opens(transport.first_chunk()?);
    let ports = transport.first_chunk().map(glance::ports)?;
    Some(Packet { hash: mark.hash, ends: N::ends(front), ports, proto: PROTO, opens })
}

/// The hash of a packet's flow, where there are several gateways.
#[cold]
#[inline(never)]
fn flow<A: Ends>(packet: &Packet<A>) -> u32 {
    flow_hash(&packet.tuple())
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

    /// Takes a packet all its way, and tells by which port it leaves; or leaves it untouched. A function of its own, for it needs
    /// all registers.
    #[inline(never)]
    pub(super) fn opening<N: Network, const PROTO: u8>(
        &mut self,
        frame: &mut Frame,
        mark: &Mark,
        turn: &Turn,
    ) -> Option<PortId> {
        let packet = seen::<N, PROTO>(frame, mark)?;
        match self.tracker.standing(mark.slot, &packet, &turn.tracking)? {
            Standing::Live(member) => self.go_on::<N, PROTO>(frame, mark, turn, member),
            gone => self.begin::<N, PROTO>(frame, mark, turn, (&packet, gone)),
        }
    }

    /// A packet of a live connection.
    #[inline(never)]
    fn go_on<N: Network, const PROTO: u8>(
        &mut self,
        frame: &mut Frame,
        mark: &Mark,
        turn: &Turn,
        member: Member,
    ) -> Option<PortId> {
        let Member { slot, direction, state, decision } = member;
        let ingress = frame.meta.ingress;
        let established = state == CtState::Established;
        let leave = match self.decisions.place(decision, direction) {
            Some(place) if established && self.is_ready(place, ready(turn.term, ingress)) => Leave::Decided(place),
            known => {
                let packet = seen::<N, PROTO>(frame, mark)?;
                Leave::Recent(self.ask_again(&packet, (state, known), ingress, turn)?)
            }
        };
        let (front, transport) = N::split(frame.data_mut())?;
        if N::ttl(front) <= 1 || mark.end > self.leave(leave)?.most[usize::from(mark.partial)] {
            return None;
        }
        let moved = match PROTO {
            proto::TCP => {
                let segment = glance::whole(transport, mark.extent)?;
                self.tracker.move_tcp_on(mark.hash, &segment, (slot, direction), &turn.tracking)
            }
            _ => self.tracker.move_udp_on(mark.hash, (slot, direction), &turn.tracking),
        };
        if !moved {
            return None;
        }
        if let Leave::Recent(place) = leave {
            let decision = match state {
                CtState::Established => Some(self.decided(place, decision, direction)),
                CtState::New => self.ahead_of(place, decision, PROTO),
                _ => None,
            };
            if let Some(decision) = decision {
                self.tracker.keep_decision(slot, self.snapshot.epoch_octet(), decision);
            }
            if PROTO == proto::UDP && state == CtState::New && decision.is_none_or(|after| after == member.decision) {
                self.note_alike(N::FAMILY, (place, member), ingress, turn);
            }
        }
        self.depart_by::<N>(frame, mark, leave, (slot, state, direction))
    }

    /// Notes how a datagram of a flow that nobody answered left, of which nothing new was to be noted, if its next hop was known by
    /// what is decided for the time after the answer.
    #[inline(never)]
    fn note_alike(&mut self, family: Family, (place, member): (usize, Member), ingress: PortId, turn: &Turn) {
        let Member { direction, decision, .. } = member;
        if self.decisions.place(decision, direction).is_some_and(|known| self.hop_of(known).is_some()) {
            self.recent.note_alike(turn.number, Alike::of(family, ingress, decision), place);
        }
    }

    /// A packet of none: it opens one.
    #[inline(always)]
    fn begin<N: Network, const PROTO: u8>(
        &mut self,
        frame: &mut Frame,
        mark: &Mark,
        turn: &Turn,
        (packet, standing): (&Packet<N::Ends>, Standing),
    ) -> Option<PortId> {
        let ingress = frame.meta.ingress;
        if self.is_special::<N, PROTO>(frame, packet, mark.stage) {
            return None;
        }
        let place = self.ask(packet, (CtState::New, false), ingress, turn)?;
        let leave = Leave::Recent(place);
        let (front, transport) = N::split(frame.data_mut())?;
        if N::ttl(front) <= 1 || mark.end > self.leave(leave)?.most[usize::from(mark.partial)] {
            return None;
        }
        let segment = match PROTO {
            proto::TCP => Some(glance::whole(transport, mark.extent)?),
            _ => None,
        };
        let slot = self.tracker.open_at_once(packet, segment.as_ref(), standing, &turn.tracking)?;
        if let Some(decision) = self.ahead_of(place, 0, PROTO) {
            self.tracker.keep_decision(slot, self.snapshot.epoch_octet(), decision);
        }
        self.depart_by::<N>(frame, mark, leave, (slot, CtState::New, Direction::Original))
    }

    /// Sends a packet on whose connection was moved on: all is decided.
    #[inline(always)]
    pub(super) fn depart_by<N: Network>(
        &mut self,
        frame: &mut Frame,
        mark: &Mark,
        leave: Leave,
        (slot, state, direction): (u32, CtState, Direction),
    ) -> Option<PortId> {
        let kept = self.leave(leave)?;
        let (front, _) = N::split(frame.data_mut())?;
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
    pub(super) fn leave(&mut self, leave: Leave) -> Option<&mut Kept> {
        match leave {
            Leave::Decided(place) => self.decisions.kept(place),
            Leave::Recent(place) => self.recent.get_mut(place).map(|recent| &mut recent.kept),
        }
    }

    /// Whether more is to be done for a first packet than to enter its connection: it may be announced, another shard's, or
    /// a helper's.
    #[inline(always)]
    fn is_special<N: Network, const PROTO: u8>(&self, frame: &Frame, packet: &Packet<N::Ends>, stage: Stage) -> bool {
        !self.directory.is_empty()
            || (self.shards > 1
                && stage == Stage::Packet
                && !self.is_at_home(frame, if PROTO == proto::TCP { N::TCP } else { N::UDP }))
            || (!self.snapshot.helpers.configs().is_empty() && self.is_helped(packet, frame.meta.ingress))
    }

    #[inline(never)]
    fn is_helped<A: Ends>(&self, packet: &Packet<A>, ingress: PortId) -> bool {
        self.snapshot.helpers.pick(&packet.tuple(), ingress).is_some()
    }

    /// Asks routes and rules, counting nothing: how a packet leaves that both let pass, by a neighbour that is known.
    /// `reached` says that packets to its source are forwarded.
    #[inline(always)]
    pub(super) fn ask<A: Ends>(
        &mut self,
        packet: &Packet<A>,
        (state, reached): (CtState, bool),
        ingress: PortId,
        turn: &Turn,
    ) -> Option<usize> {
        let fib = &self.snapshot.fib;
        let hop = fib.hop(A::FAMILY, packet.ends.destination(), || flow(packet))?;
        if !fib.forwards_from(A::FAMILY, packet.ends.source(), reached) {
            return None;
        }
        self.ask_at(packet, (state, hop), ingress, turn)
    }

    /// The same of a packet in whose direction something is decided for its tuple already, if `known` says where that is kept: its next
    /// hop is known then.
    #[inline(always)]
    fn ask_again<A: Ends>(
        &mut self,
        packet: &Packet<A>,
        (state, known): (CtState, Option<usize>),
        ingress: PortId,
        turn: &Turn,
    ) -> Option<usize> {
        match known.and_then(|place| self.hop_of(place)) {
            Some(hop) => self.ask_at(packet, (state, hop), ingress, turn),
            None => self.ask(packet, (state, false), ingress, turn),
        }
    }

    /// The next hop of what was decided under this epoch, as the routes have it. `None`: the neighbour was forgotten.
    #[inline(always)]
    fn hop_of(&self, place: usize) -> Option<NextHop> {
        let (key, _) = self.neighbours.peek(self.decisions.action(place)?.neighbour)?;
        Some(NextHop { port: key.port, via: key.addr })
    }

    /// Asks the rules about a packet with that next hop.
    #[inline(always)]
    fn ask_at<A: Ends>(
        &mut self,
        packet: &Packet<A>,
        (state, hop): (CtState, NextHop),
        ingress: PortId,
        turn: &Turn,
    ) -> Option<usize> {
        let kind = Kind::of((A::FAMILY, packet.proto), state, ingress, hop);
        let place = kind.place();
        match self.recent.of(place, &kind) {
            Some(recent) if recent.kept.ready == turn.number => Some(place),
            _ => self.ask_rules(packet, (state, ingress, hop), turn),
        }
    }

    /// The same where the last packet of its kind came in another turn, or another kind was in its place.
    #[inline(never)]
    fn ask_rules<A: Ends>(
        &mut self,
        packet: &Packet<A>,
        (state, ingress, hop): (CtState, PortId, NextHop),
        turn: &Turn,
    ) -> Option<usize> {
        let tuple = packet.tuple();
        let kind = Kind::of((tuple.family, tuple.proto), state, ingress, hop);
        let place = kind.place();
        let port = self.snapshot.ports.get(hop.port.index()).filter(|port| port.vlan.is_empty())?;
        let known = self.recent.of(place, &kind).map(|recent| recent.kept.action().neighbour);
        let (place, mac) = match known.and_then(|neighbour| self.neighbours.peek(neighbour)) {
            Some((_, mac)) => (place, mac),
            None => {
                let input = Input { state: Some(state), iif: ingress, oif: Some(hop.port), tuple, has_ports: true };
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
