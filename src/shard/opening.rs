//! The way of most packets that the shortcut does not know: those that open a connection, and those with which it is answered,
//! confirmed and closed.
//!
//! As the shortcut it is the journey's own sequence without the branches that such a packet does not take, and gives the frame
//! back before anything is changed that the whole way by `judge` would not change too. Nothing is built to be passed on: no
//! key, no candidate. The tests of the shortcut hold both ways to the same ends, counters, entries and octets.

use super::decision::Action;
use super::journey::flow_hash;
use super::{End, Fate, Item, Shard, Watch};
use crate::conntrack::opening::Standing;
use crate::frame::{Checksum, Frame};
use crate::metrics::label::RouteResult;
use crate::net::{CtState, Direction, DropReason, Family, L4, MacAddr, Now, PortId, Track, Tuple};
use crate::policy::spec::Hook;
use crate::policy::{Input, Trail, Verdict};
use crate::route::{NeighbourId, NeighbourKey, NextHop, Route};
use crate::steer::{Stage, owner};
use crate::wire::glance::{self, LINK};
use crate::wire::{self, Parsed};

/// Where a packet leaves, and by whose leave.
struct Leave {
    egress: PortId,
    neighbour: NeighbourId,
    mac: MacAddr,
    trail: Trail,
    /// It was found by asking routes and rules, not remembered.
    asked: bool,
}

/// What routes and rules may ask of a packet, where rules ask for neither addresses nor ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    state: CtState,
    family: Family,
    proto: u8,
    ingress: PortId,
    hop: NextHop,
}

/// How packets of a kind leave, until the configuration changes or the neighbour does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    kind: Kind,
    neighbour: NeighbourId,
    trail: Trail,
}

/// Kinds remembered.
pub(super) const RECENT: usize = 64;

/// Counts the TTL down and sets the link addresses.
#[inline(always)]
fn send_on(data: &mut [u8], parsed: &Parsed, to: MacAddr, from: MacAddr) {
    let mut link = [0; 12];
    wire::set_link(&mut link, to, from);
    if u32::from(parsed.l3) == LINK {
        match parsed.kind {
            wire::Kind::Ipv4 => {
                if let Some(front) = data.first_chunk_mut() {
                    return glance::send_on_v4(front, &link);
                }
            }
            wire::Kind::Ipv6 => {
                if let Some(front) = data.first_chunk_mut() {
                    return glance::send_on_v6(front, &link);
                }
            }
            wire::Kind::Arp => {}
        }
    }
    wire::decrement_ttl(data, parsed);
    wire::set_link(data, to, from);
}

impl<W: Watch> Shard<W> {
    /// Whether packets may take this way: nothing is asked of every packet, and nothing counts connections.
    #[inline]
    pub(super) fn openings(&self) -> bool {
        self.shortcuts
            && self.snapshot.ruleset.is_empty_at(Hook::Prerouting)
            && self.snapshot.zones.is_none()
            && self.snapshot.quotas.is_empty()
            && !self.tracker.has_zones()
    }

    /// Takes a packet all its way, or gives the frame back. For packets that [`Shard::openings`] allows.
    #[inline(never)]
    pub(super) fn opening(&mut self, mut frame: Frame, item: &Item, slot: u32, now: Now) -> Result<(), Frame> {
        let parsed = &item.parsed;
        let summary = &parsed.summary;
        let tuple = &summary.tuple;
        let Some(hash) = item.hash else { return Err(frame) };
        let plain = matches!(summary.l4, L4::Tcp(_) | L4::Udp)
            & (summary.track == Track::Tuple)
            & summary.defect.is_none()
            & parsed.fragment.is_none()
            & !parsed.link_group
            & (parsed.ttl > 1)
            & frame.meta.gso.is_none();
        if !plain {
            return Err(frame);
        }
        let (now, epoch, ingress) = (now.millis(), self.snapshot.epoch_octet(), frame.meta.ingress);
        let Some(standing) = self.tracker.standing((slot, hash), summary, epoch, now) else { return Err(frame) };
        let (state, direction) = match standing {
            Standing::Live(member) => (member.state, member.direction),
            _ if self.is_special(tuple, ingress, item.stage) => return Err(frame),
            _ => (CtState::New, Direction::Original),
        };
        let remembered = match standing {
            Standing::Live(member) if state == CtState::Established => {
                self.decisions.get(member.decision, direction).filter(|action| action.ingress == ingress)
            }
            _ => None,
        };
        let leave = match remembered {
            Some(action) => {
                let (egress, neighbour, trail) = (action.egress, action.neighbour, action.trail);
                self.neighbours.peek(neighbour).filter(|(key, _)| key.port == egress).map(|(_, mac)| Leave {
                    egress,
                    neighbour,
                    mac,
                    trail,
                    asked: false,
                })
            }
            None => self.ask(tuple, state, ingress),
        };
        let Some(leave) = leave else { return Err(frame) };
        let Some(port) = self.snapshot.ports.get(leave.egress.index()) else { return Err(frame) };
        let sent_as_it_is = (parsed.end - u32::from(parsed.l3) <= port.mtu)
            & (port.tx_checksum_partial | !matches!(frame.meta.checksum, Checksum::Partial { .. }))
            & port.vlan.is_empty();
        if !sent_as_it_is {
            return Err(frame);
        }
        let slot = match standing {
            Standing::Live(member) if self.tracker.move_on(hash, summary, &member, now) => member.slot,
            Standing::Live(_) => return Err(frame),
            _ => match self.tracker.open_at_once(hash, summary, standing, now) {
                Some(slot) => slot,
                None => return Err(frame),
            },
        };
        // From here on it is decided.
        #[cfg(test)]
        {
            self.opened += 1;
        }
        self.counters.state(tuple.family, state, 1);
        if leave.asked {
            self.counters.route_lookup(tuple.family, RouteResult::Hit);
        }
        for rule in leave.trail.slots() {
            self.rules.count(rule.index(), 1, frame.len() as u64);
        }
        self.neighbours.mark_used(leave.neighbour);
        if leave.asked && state == CtState::Established {
            let Leave { egress, neighbour, trail, .. } = leave;
            let before = match standing {
                Standing::Live(member) => member.decision,
                _ => 0,
            };
            let pair = self.decisions.with(before, direction, Action { ingress, egress, neighbour, trail });
            self.tracker.keep_decision(slot, epoch, pair);
        }
        send_on(frame.data_mut(), parsed, leave.mac, port.mac);
        if W::WATCHING {
            let fate = Fate {
                end: End::Accept,
                state: Some(state),
                direction: Some(direction),
                invalid: None,
                rule: leave.trail.slots().last().copied(),
                egress: Some(leave.egress),
                protocol_state: self.tracker.protocol_state_of(slot),
            };
            self.watch.ended(frame.meta.seq, &fate);
        }
        if frame.len() > parsed.end as usize {
            frame.set_len(parsed.end as usize);
        }
        if let Err(frame) = self.out.push(leave.egress, frame) {
            self.lost(frame, DropReason::TxRingFull);
        }
        Ok(())
    }

    /// Whether more is to be done for a first packet than to enter its connection: it may be announced, another shard's, or
    /// a helper's.
    #[inline]
    fn is_special(&self, tuple: &Tuple, ingress: PortId, stage: Stage) -> bool {
        !self.directory.is_empty()
            || (self.shards > 1 && stage == Stage::Packet && owner(tuple, self.shards) != self.id)
            || self.snapshot.helpers.pick(tuple, ingress).is_some()
    }

    /// Asks routes and rules, counting nothing: where a packet leaves that both let pass, by a neighbour that is known.
    #[inline]
    fn ask(&mut self, tuple: &Tuple, state: CtState, ingress: PortId) -> Option<Leave> {
        let family = tuple.family;
        let Route::Forward(hop) = self.snapshot.fib.lookup_with(family, tuple.dst, || flow_hash(tuple)) else {
            return None;
        };
        if self.may_not_be_forwarded(tuple) {
            return None;
        }
        let kind = Kind { state, family, proto: tuple.proto, ingress, hop };
        let place = (hop.via.lo ^ u64::from(ingress.0) << 1 ^ state as u64) as usize % RECENT;
        if let Some(Some(recent)) = self.recent.get(place)
            && recent.kind == kind
            && let Some((_, mac)) = self.neighbours.peek(recent.neighbour)
        {
            return Some(Leave {
                egress: hop.port,
                neighbour: recent.neighbour,
                mac,
                trail: recent.trail,
                asked: true,
            });
        }
        self.ask_rules(tuple, kind, place)
    }

    fn ask_rules(&mut self, tuple: &Tuple, kind: Kind, place: usize) -> Option<Leave> {
        let Kind { state, family, ingress, hop, .. } = kind;
        let input = Input { state: Some(state), iif: ingress, oif: Some(hop.port), tuple: *tuple, has_ports: true };
        let decision = self.snapshot.ruleset.decide(Hook::Forward, &input);
        if decision.verdict != Verdict::Accept {
            return None;
        }
        let key = NeighbourKey { port: hop.port, family, addr: hop.via };
        let (neighbour, mac) = self.neighbours.ready(&key)?;
        // Addresses and ports do not matter, and so the next packet of the kind leaves alike.
        if self.snapshot.ruleset.foregone(state, kind.proto, ingress, hop.port).is_some()
            && let Some(recent) = self.recent.get_mut(place)
        {
            *recent = Some(Recent { kind, neighbour, trail: decision.trail });
        }
        Some(Leave { egress: hop.port, neighbour, mac, trail: decision.trail, asked: true })
    }
}
