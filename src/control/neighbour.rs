//! Speaks ARP (RFC 826) and neighbour discovery (RFC 4861) for every port: answers for the router's addresses,
//! asks for others', and tells the shards what came of it.
//!
//! Stands between frames and [`NeighbourTable`]: reads punted frames, turns them into facts, and turns the
//! table's wishes into frames. Pure: no clock, no socket; everything it wants done is appended to an outbox.
//!
//! Always holds: it answers only for addresses of the port that was asked (not Linux' default of any port, so
//! two ports on one segment do not both answer); an entry is made only for a sender on that port's link; what
//! claims one of the router's own addresses is counted and otherwise not believed.

use crate::net::{Addr, Family, MacAddr, Now, PortId};
use crate::route::{
    Fact, Fib, NeighbourAction, NeighbourConfig, NeighbourEvent, NeighbourKey, NeighbourTable, PortInfo, ProbeTo,
};
use crate::wire::arp::{self, Arp, ArpOp};
use crate::wire::nd::{self, Neighbour};
use crate::wire::{self, Kind, Link, Parsed, Verify};
use std::sync::Arc;

/// How often addresses are announced when a link comes up (RFC 5227 section 2.3).
const ANNOUNCE_NUM: u8 = 2;

/// Milliseconds between two announcements (RFC 5227 section 1.1).
const ANNOUNCE_INTERVAL_MS: u64 = 2_000;

/// Room for the largest frame built here: a neighbour solicitation with its option.
const FRAME_ROOM: usize = 128;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this frame, untagged, out of the port.
    Send {
        /// Egress port.
        port: PortId,
        /// The frame without its check sequence.
        frame: Vec<u8>,
    },
    /// Tell every shard.
    Event(NeighbourEvent),
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeighbourCounters {
    /// Requests and solicitations sent.
    pub asked: u64,
    /// Replies and solicited advertisements sent.
    pub answered: u64,
    /// Addresses announced.
    pub announced: u64,
    /// Messages in which somebody else claimed one of our addresses.
    pub conflicts: u64,
    /// Frames that were no ARP or neighbour discovery message, or one that must be discarded silently.
    pub ignored: u64,
}

/// Announcements still to be made on one port.
#[derive(Clone, Copy, Debug, Default)]
struct Announce {
    left: u8,
    due: Now,
}

#[derive(Clone, Copy, Debug, Default)]
struct Side {
    down: bool,
    announce: Announce,
}

/// The neighbours of all ports.
#[derive(Debug)]
pub struct NeighbourControl {
    fib: Arc<Fib>,
    table: NeighbourTable,
    /// By port number.
    sides: Vec<Side>,
    counters: NeighbourCounters,
    /// Scratch: empty between calls.
    actions: Vec<NeighbourAction>,
}

impl NeighbourControl {
    /// Starts with the configured neighbours. Every link counts as up until [`NeighbourControl::on_link`] says
    /// otherwise, and every address is announced.
    #[must_use]
    pub fn new(
        fib: Arc<Fib>,
        config: NeighbourConfig,
        fixed: &[(NeighbourKey, MacAddr)],
        now: Now,
        out: &mut Vec<Output>,
    ) -> Self {
        let mut control = NeighbourControl {
            fib: Arc::new(Fib::default()),
            table: NeighbourTable::new(config),
            sides: Vec::new(),
            counters: NeighbourCounters::default(),
            actions: Vec::new(),
        };
        control.reload(fib, fixed, now, out);
        control
    }

    /// Goes over to another configuration. Neighbours learnt on ports that stay are kept; ports whose addresses
    /// changed announce them.
    pub fn reload(&mut self, fib: Arc<Fib>, fixed: &[(NeighbourKey, MacAddr)], now: Now, out: &mut Vec<Output>) {
        let old = std::mem::replace(&mut self.fib, fib);
        for gone in old.ports().filter(|p| self.fib.port(p.id).is_none()) {
            self.table.link_down(gone.id, &mut self.actions);
            if let Some(side) = self.sides.get_mut(gone.id.index()) {
                *side = Side::default();
            }
        }
        for port in self.fib.ports() {
            if self.sides.len() <= port.id.index() {
                self.sides.resize(port.id.index() + 1, Side::default());
            }
            if old.port(port.id) != Some(port)
                && let Some(side) = self.sides.get_mut(port.id.index())
            {
                side.announce = Announce { left: ANNOUNCE_NUM, due: now };
            }
        }
        self.table.set_permanent(fixed, now, &mut self.actions);
        self.act(out);
        self.announce_due(now, out);
    }

    /// A frame came in on `port` and was punted because it is ARP or neighbour discovery.
    pub fn on_frame(&mut self, port: PortId, frame: &[u8], now: Now, out: &mut Vec<Output>) {
        let fib = Arc::clone(&self.fib);
        let Some(info) = fib.port(port) else { return self.counters.ignored += 1 };
        let Ok(parsed) = wire::parse(frame, Verify::Check) else { return self.counters.ignored += 1 };
        match parsed.kind {
            Kind::Arp => match arp::parse(frame, &parsed) {
                Some(message) => self.on_arp(info, &message, !parsed.link_group, now, out),
                None => self.counters.ignored += 1,
            },
            Kind::Ipv6 => match nd::parse(frame, &parsed) {
                Some(message) => self.on_nd(info, frame, &parsed, message, (now, out)),
                None => self.counters.ignored += 1,
            },
            Kind::Ipv4 => self.counters.ignored += 1,
        }
        self.act(out);
    }

    /// A shard has packets for a neighbour it does not know.
    pub fn on_resolve(&mut self, key: NeighbourKey, now: Now, out: &mut Vec<Output>) {
        let usable = self.fib.port(key.port).is_some_and(|p| !p.owns(key.family, key.addr))
            && self.sides.get(key.port.index()).is_some_and(|s| !s.down);
        if usable {
            self.table.resolve(key, now, &mut self.actions);
        } else {
            self.actions.push(NeighbourAction::Event(NeighbourEvent::Failed { key }));
        }
        self.act(out);
    }

    /// A shard sent packets to a neighbour since its last report.
    pub fn on_used(&mut self, key: NeighbourKey, now: Now) {
        self.table.used(key, now);
    }

    /// A port's link went up or down. Up announces the port's addresses, so that switches and hosts learn them
    /// anew.
    pub fn on_link(&mut self, port: PortId, up: bool, now: Now, out: &mut Vec<Output>) {
        let Some(side) = self.sides.get_mut(port.index()) else { return };
        *side = Side { down: !up, announce: Announce { left: if up { ANNOUNCE_NUM } else { 0 }, due: now } };
        if !up {
            self.table.link_down(port, &mut self.actions);
        }
        self.act(out);
        self.announce_due(now, out);
    }

    /// Runs the timers; call a few times a second.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        self.table.tick(now, &mut self.actions);
        self.act(out);
        self.announce_due(now, out);
    }

    /// The table, for listings and gauges.
    #[must_use]
    pub const fn table(&self) -> &NeighbourTable {
        &self.table
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> NeighbourCounters {
        self.counters
    }

    fn on_arp(&mut self, port: &PortInfo, arp: &Arp, unicast: bool, now: Now, out: &mut Vec<Output>) {
        if arp.sender_mac == port.mac {
            // Our own frame, brought back by the segment.
            return self.counters.ignored += 1;
        }
        let asks_us = arp.op == ArpOp::Request && port.owns(Family::V4, arp.target);
        if port.owns(Family::V4, arp.sender) {
            return self.counters.conflicts += 1;
        }
        if arp.sender.is_unspecified() {
            // A probe by somebody about to take the address (RFC 5227 section 2.1); the answer keeps him off.
            self.counters.conflicts += u64::from(asks_us);
        } else if port.on_link(Family::V4, arp.sender) {
            let fact = match arp.op {
                _ if asks_us => Fact::AskedUs,
                _ if arp.sender == arp.target => Fact::Gratuitous,
                ArpOp::Request => Fact::ArpMention,
                ArpOp::Reply => Fact::ArpReply { unicast },
            };
            self.learn(port, (Family::V4, arp.sender), Some(arp.sender_mac), (fact, now));
        }
        if asks_us {
            let answer = arp.answer(port.mac);
            self.counters.answered += send(port.id, out, |room| answer.write(room, answer.link()));
        }
    }

    fn on_nd(
        &mut self,
        port: &PortInfo,
        frame: &[u8],
        parsed: &Parsed,
        message: Neighbour,
        (now, out): (Now, &mut Vec<Output>),
    ) {
        // Source of the link header: where an answer goes when the message itself names no link address.
        let Some(link_source) = frame.get(6..12).and_then(|b| b.first_chunk::<6>()).map(|b| MacAddr(*b)) else {
            return;
        };
        let src = parsed.summary.tuple.src;
        if link_source == port.mac {
            return self.counters.ignored += 1;
        }
        match message {
            Neighbour::Solicitation { target, source_mac } => {
                let own = port.owns(Family::V6, target);
                if !own && !port.owns_anycast(target) {
                    return;
                }
                if port.owns(Family::V6, src) {
                    return self.counters.conflicts += 1;
                }
                if src.is_unspecified() {
                    // Somebody is about to take our address (RFC 4862 section 5.4.3); anycast is anybody's.
                    if !own {
                        return;
                    }
                    self.counters.conflicts += 1;
                } else if port.on_link(Family::V6, src) && source_mac.is_some() {
                    self.learn(port, (Family::V6, src), source_mac, (Fact::AskedUs, now));
                }
                let link = Link { dst: source_mac.unwrap_or(link_source), src: port.mac };
                self.counters.answered += send(port.id, out, |room| nd::advertisement(room, link, target, src));
            }
            Neighbour::Advertisement { target, target_mac, solicited, overriding, .. } => {
                if port.owns(Family::V6, target) {
                    return self.counters.conflicts += 1;
                }
                let fact = Fact::Advert { solicited, override_: overriding };
                self.learn(port, (Family::V6, target), target_mac, (fact, now));
            }
        }
    }

    fn learn(
        &mut self,
        port: &PortInfo,
        (family, addr): (Family, Addr),
        mac: Option<MacAddr>,
        (fact, now): (Fact, Now),
    ) {
        let key = NeighbourKey { port: port.id, family, addr };
        self.table.learn(key, mac, fact, now, &mut self.actions);
    }

    /// Carries out what the table wants.
    fn act(&mut self, out: &mut Vec<Output>) {
        for action in self.actions.drain(..) {
            match action {
                NeighbourAction::Event(event) => out.push(Output::Event(event)),
                NeighbourAction::Probe { key, to } => {
                    if let Some(port) = self.fib.port(key.port) {
                        self.counters.asked += probe(&self.fib, port, key, to, out);
                    }
                }
            }
        }
    }

    fn announce_due(&mut self, now: Now, out: &mut Vec<Output>) {
        for port in self.fib.ports() {
            let Some(announce) = self.sides.get_mut(port.id.index()).map(|s| &mut s.announce) else { continue };
            if announce.left == 0 || now < announce.due {
                continue;
            }
            announce.left -= 1;
            announce.due = now.plus_millis(ANNOUNCE_INTERVAL_MS);
            self.counters.announced += announce_port(port, out);
        }
    }
}

/// Builds a frame in place and appends it; 1 if there was one to send.
fn send(port: PortId, out: &mut Vec<Output>, build: impl FnOnce(&mut [u8]) -> Option<usize>) -> u64 {
    let mut room = [0u8; FRAME_ROOM];
    let Some(frame) = build(&mut room).and_then(|len| room.get(..len)) else { return 0 };
    out.push(Output::Send { port, frame: frame.to_vec() });
    1
}

/// Asks for a neighbour's link address.
fn probe(fib: &Fib, port: &PortInfo, key: NeighbourKey, to: ProbeTo, out: &mut Vec<Output>) -> u64 {
    let known = match to {
        ProbeTo::Group => None,
        ProbeTo::Unicast(mac) => Some(mac),
    };
    match key.family {
        Family::V4 => {
            // A router without any IPv4 address asks as RFC 5227's probes do.
            let sender = fib.source_for(port.id, key.family, key.addr).unwrap_or(Addr::UNSPECIFIED);
            let request = Arp::request(port.mac, sender, key.addr);
            let link = known.map_or(request.link(), |dst| Link { dst, src: port.mac });
            send(port.id, out, |room| request.write(room, link))
        }
        Family::V6 => {
            // The source must be an address of this port (RFC 4861 section 4.3).
            let near = port.addresses.iter().any(|a| a.family == Family::V6 && a.contains(key.addr));
            let source = if near { fib.source_for(port.id, key.family, key.addr) } else { None };
            let source = source.unwrap_or(port.link_local);
            send(port.id, out, |room| nd::solicitation(room, port.mac, source, key.addr, known))
        }
    }
}

/// Announces every address of a port: ARP announcement (RFC 5227 section 3), unsolicited advertisement (RFC 4861
/// section 7.2.6).
fn announce_port(port: &PortInfo, out: &mut Vec<Output>) -> u64 {
    let link = Link { dst: MacAddr::BROADCAST, src: port.mac };
    let mut sent = 0;
    for a in &port.addresses {
        sent += match a.family {
            Family::V4 => {
                let arp = Arp::request(port.mac, a.addr, a.addr);
                send(port.id, out, |room| arp.write(room, arp.link()))
            }
            Family::V6 => send(port.id, out, |room| nd::advertisement(room, link, a.addr, Addr::UNSPECIFIED)),
        };
    }
    sent + send(port.id, out, |room| nd::advertisement(room, link, port.link_local, Addr::UNSPECIFIED))
}

#[cfg(test)]
mod tests;
