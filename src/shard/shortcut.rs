//! The way of nearly every packet: its connection is established, what is to be done with it was decided before,
//! and nothing about it is special.
//!
//! It is the journey's own sequence with every branch left out that such a packet does not take. First everything
//! is looked at that could make it special, and nothing is changed; only then the connection is moved on. Whatever
//! does not fit goes the whole way by `judge`, which would do the same with those that do: the tests hold both to the
//! same ends, counters, entries and octets.
//!
//! What is the same for all packets of a burst is looked at once: the port they come in by ([`Entrance`](super::mark::Entrance)), and for each
//! decision they share the neighbour, the port they leave by, and the link addresses ([`Kept`](super::decision::Kept)).

use super::decision::{Decisions, Kept, ready};
use super::journey::Progress;
use super::mark::{Mark, Path};
use super::network::{Network, V4, V6};
use super::{End, Fate, PortView, Shard, Snapshot, Sum, Watch};
use crate::conntrack::shortcut::{self, Ack, Lines};
use crate::conntrack::table::NIL;
use crate::frame::Frame;
use crate::net::{CtState, Direction, DropReason, MacAddr, Millis, Now, PortId, ShardId, proto};
use crate::policy::RuleIndex;
use crate::route::NeighbourView;
use crate::wire;
use crate::wire::glance::{self, Extent, LINK, Plain};
use std::vec::Drain;

/// What holds for all packets judged at once.
pub(super) struct Turn {
    pub(super) number: u64,
    pub(super) tracking: shortcut::Turn,
    /// Packets may take the way of openings.
    pub(super) openings: bool,
}

impl<W: Watch> Shard<W> {
    pub(super) fn begin_turn(&mut self, now: Now) -> Turn {
        self.turn += 1;
        let tracking = self.tracker.turn(self.snapshot.epoch_octet(), now.millis());
        Turn { number: self.turn, tracking, openings: self.openings() }
    }

    /// Takes plain packets and turning segments, as long as they are of this kind, all their way. Gives back one that could
    /// not be taken, is untouched, and goes the whole way; `progress` has then come to its place.
    pub(super) fn shortcut(
        &mut self,
        plain: Plain,
        frames: &mut Drain<'_, Frame>,
        marks: &mut [Mark],
        progress: &mut Progress,
        turn: &Turn,
    ) -> Option<Frame> {
        match plain {
            Plain::Tcp4 => self.take_all::<V4, { proto::TCP }>(frames, marks, progress, turn),
            Plain::Udp4 => self.take_all::<V4, { proto::UDP }>(frames, marks, progress, turn),
            Plain::Tcp6 => self.take_all::<V6, { proto::TCP }>(frames, marks, progress, turn),
            Plain::Udp6 => self.take_all::<V6, { proto::UDP }>(frames, marks, progress, turn),
        }
    }

    /// A function of its own for each kind, for it needs all registers.
    #[inline(never)]
    fn take_all<N: Network, const PROTO: u8>(
        &mut self,
        frames: &mut Drain<'_, Frame>,
        marks: &mut [Mark],
        progress: &mut Progress,
        turn: &Turn,
    ) -> Option<Frame> {
        loop {
            progress.keep_ahead(self.tracker.table(), marks);
            let group = marks.get(progress.at..progress.stop).unwrap_or_default();
            let (more, stop) = self.take_ordinary::<N, PROTO>(frames, group, turn);
            progress.at += more;
            let Some((mut frame, gone)) = stop else {
                if progress.at == progress.stop && progress.at < marks.len() {
                    continue;
                }
                return None;
            };
            let mark = marks.get(progress.at)?;
            let gone = match gone {
                None if !turn.openings && mark.slot != NIL && !mark.turning => {
                    self.take_any::<N, PROTO>(&mut frame, mark, turn)
                }
                gone => gone,
            };
            let Some(gone) = gone else {
                let rest = marks.get(progress.at..progress.stop).unwrap_or_default();
                let (more, stop) = self.take_others::<N, PROTO>(frame, frames, rest, turn);
                progress.at += more;
                match stop {
                    Some(frame) => return Some(frame),
                    None => continue,
                }
            };
            if W::WATCHING {
                self.note(&frame, mark, &gone);
            }
            progress.at += 1;
            if let Err(frame) = self.out.push_uncounted(gone.egress, frame) {
                self.out.uncount(gone.egress, &frame);
                self.lost(frame, DropReason::TxRingFull);
            }
        }
    }

    /// The shard a packet is handed to, if there are others and that much can be told already.
    #[inline(always)]
    pub(super) fn home_elsewhere(&self, frame: &Frame, mark: &Mark) -> Option<ShardId> {
        match mark.path {
            Path::Plain(plain) if self.shards > 1 => self.elsewhere(frame, mark, plain),
            _ => None,
        }
    }

    /// Takes packets about which nothing is special at all, and gives how many, until there are no more or there is one
    /// that is special, or that is gone but for its place in a queue. Nothing is called in here, so that all can stay in
    /// registers.
    #[inline(always)]
    fn take_ordinary<N: Network, const PROTO: u8>(
        &mut self,
        frames: &mut Drain<'_, Frame>,
        marks: &[Mark],
        turn: &Turn,
    ) -> (usize, Option<Stop>) {
        let kind = Path::Plain(if PROTO == proto::TCP { N::TCP } else { N::UDP });
        let (pairs, kept) = self.decisions.parts();
        let mut lane = Lane {
            lines: self.tracker.lines(),
            pairs,
            kept,
            ready: ready(turn.number, PortId(0)),
            open: turn.tracking.open(PROTO),
            now: turn.tracking.now(),
            tracking: &turn.tracking,
        };
        let mut at = 0;
        while let Some(mark) = marks.get(at).filter(|mark| mark.path == kind) {
            let Some(mut frame) = frames.next() else { break };
            // Where things lie is read when it is wanted: kept in registers, it would push out what the packet needs.
            let lane = std::hint::black_box(&mut lane);
            let gone = match lane.take::<W, N, PROTO>(&mut frame, mark) {
                Some(gone) if !W::WATCHING => gone,
                gone => return (at, Some((frame, gone))),
            };
            if let Err(frame) = self.out.push_uncounted(gone.egress, frame) {
                return (at, Some((frame, Some(gone))));
            }
            at += 1;
        }
        (at, None)
    }

    /// The others that the shortcut is for.
    #[cold]
    #[inline(never)]
    fn take_any<N: Network, const PROTO: u8>(&mut self, frame: &mut Frame, mark: &Mark, turn: &Turn) -> Option<Gone> {
        let ingress = frame.meta.ingress;
        let (front, transport) = N::split(frame.data_mut())?;
        let ports = transport.first_chunk().map(glance::ports)?;
        let (entry, direction) = N::recognise(&mut self.tracker, mark.slot, front, ports, PROTO, &turn.tracking)?;
        let place = self.decisions.place(entry.decision(), direction)?;
        let ready = ready(turn.number, ingress);
        if self.decisions.kept(place).is_none_or(|kept| kept.ready != ready)
            && !prepare(&mut self.decisions, &self.snapshot, &self.neighbours, place, ready)
        {
            return None;
        }
        let kept = self.decisions.kept(place)?;
        if N::ttl(front) <= 1 || mark.end > kept.most[usize::from(mark.partial)] {
            return None;
        }
        let stepped = if PROTO == proto::TCP {
            let (seq, ack, window) = transport.first_chunk().map(glance::numbers)?;
            let Extent { payload, sacked } = mark.extent;
            entry.step_tcp(Ack { seq, ack, sacked, payload, window }, direction, &turn.tracking)
        } else {
            entry.step_udp(&turn.tracking)
        };
        if !stepped {
            return None;
        }
        // From here on it is decided.
        N::send_on(front, &kept.link);
        Some(gone::<W, N>(kept, frame, mark, direction))
    }

    /// Tells whoever watches how a packet ended.
    #[inline(never)]
    fn note(&mut self, frame: &Frame, mark: &Mark, gone: &Gone) {
        let fate = Fate {
            end: End::Accept,
            state: Some(CtState::Established),
            direction: Some(gone.direction),
            invalid: None,
            rule: gone.rule,
            egress: Some(gone.egress),
            protocol_state: self.tracker.protocol_state_of(mark.slot),
        };
        self.watch.ended(frame.meta.seq, &fate);
    }

    /// Whether a decision is ready for packets that `ready` names, or could be made so.
    #[inline(always)]
    pub(super) fn is_ready(&mut self, place: usize, ready: u64) -> bool {
        self.decisions.kept(place).is_some_and(|kept| kept.ready == ready)
            || prepare(&mut self.decisions, &self.snapshot, &self.neighbours, place, ready)
    }

    /// Passes on what the packets judged at once add up to.
    #[inline]
    pub(super) fn settle(&mut self) {
        let Shard { decisions, rules, counters, neighbours, out, .. } = self;
        #[cfg(test)]
        let taken = &mut self.taken;
        decisions.settle(|done| {
            for rule in done.action.trail.slots() {
                rules.count(rule.index(), done.packets, done.octets);
            }
            counters.state(done.family, CtState::Established, done.packets);
            neighbours.mark_used(done.action.neighbour);
            let kind = Some((done.action.ingress, done.family));
            let sum = Sum { kind, packets: done.packets, octets: done.octets - done.padding };
            out.add(done.action.egress, sum);
            #[cfg(test)]
            {
                *taken += done.packets;
            }
        });
        self.settle_recent();
    }
}

/// A packet at which a run of ordinary ones stops, and how it left if it did.
type Stop = (Frame, Option<Gone>);

/// How a packet left.
struct Gone {
    egress: PortId,
    direction: Direction,
    rule: Option<RuleIndex>,
}

/// What packets about which nothing is special need.
struct Lane<'a> {
    lines: Lines<'a>,
    pairs: &'a [[u16; 2]],
    kept: &'a mut [Kept],
    /// For which packets a decision is ready, their port not counted.
    ready: u64,
    /// What tells connections that are open to the shortcut.
    open: u16,
    now: Millis,
    tracking: &'a shortcut::Turn,
}

impl Lane<'_> {
    /// Takes a packet all its way but the last step, into a queue. `None`: something about it is special, and nothing was
    /// changed.
    ///
    /// Each direction has code of its own, for most packets of a port travel in the same one.
    #[inline(always)]
    fn take<W: Watch, N: Network, const PROTO: u8>(&mut self, frame: &mut Frame, mark: &Mark) -> Option<Gone> {
        if PROTO == proto::TCP && mark.turning {
            return None;
        }
        let entry = self.lines.entries.get_mut(mark.slot as usize)?;
        let len = N::AT + if PROTO == proto::TCP { 16 } else { 8 };
        if frame.len() < len || !entry.is_open_as((self.open, N::FAMILY, PROTO), self.now) {
            return None;
        }
        let ports = frame.data().get(N::AT..)?.first_chunk().map(glance::ports)?;
        if entry.has_ports(ports, 0) {
            self.pass::<W, N, PROTO, 0>(frame, mark)
        } else if entry.has_ports(ports, 1) {
            self.pass::<W, N, PROTO, 1>(frame, mark)
        } else {
            None
        }
    }

    /// The same if it travels in the direction of `SIDE`, as its ports have it.
    #[inline(always)]
    fn pass<W: Watch, N: Network, const PROTO: u8, const SIDE: usize>(
        &mut self,
        frame: &mut Frame,
        mark: &Mark,
    ) -> Option<Gone> {
        let ready = self.ready | u64::from(frame.meta.ingress.0);
        let (front, transport) = N::split(frame.data_mut())?;
        let entry = self.lines.entries.get_mut(mark.slot as usize)?;
        let numbers = self.pairs.get(usize::from(entry.decision()))?;
        let kept = self.kept.get_mut(usize::from(numbers[SIDE]))?;
        if !N::is_between(self.lines.ends6, entry, mark.slot, front, SIDE)
            || kept.ready != ready
            || N::ttl(front) <= 1
            || mark.end > kept.most[usize::from(mark.partial)]
        {
            return None;
        }
        let stepped = if PROTO == proto::TCP {
            let (seq, ack, window) = transport.first_chunk().map(glance::numbers)?;
            let Extent { payload, sacked } = mark.extent;
            entry.step_ordinary::<SIDE>(Ack { seq, ack, sacked, payload, window }, self.tracking)
        } else {
            entry.step_udp(self.tracking)
        };
        if !stepped {
            return None;
        }
        N::send_on(front, &kept.link);
        let direction = if SIDE == 0 { Direction::Original } else { Direction::Reply };
        Some(gone::<W, N>(kept, frame, mark, direction))
    }
}

/// Adds a packet that is sent to what was done with its decision.
#[inline(always)]
fn gone<W: Watch, N: Network>(kept: &mut Kept, frame: &mut Frame, mark: &Mark, direction: Direction) -> Gone {
    let len = frame.len();
    kept.packets += 1;
    kept.octets += len as u64;
    frame.meta.family = Some(N::FAMILY);
    // Link padding of the ingress is not the datagram's.
    if len > mark.end as usize {
        kept.padding += len as u64 - u64::from(mark.end);
        frame.set_len(mark.end as usize);
    }
    Gone { egress: kept.egress, direction, rule: if W::WATCHING { kept.rule() } else { None } }
}

/// Makes a decision ready for the packets judged at once that come in by its port. `false`: there is something about it
/// that the shortcut knows nothing of.
#[cold]
#[inline(never)]
fn prepare(
    decisions: &mut Decisions,
    snapshot: &Snapshot,
    neighbours: &NeighbourView<Frame>,
    place: usize,
    wanted: u64,
) -> bool {
    let Some(action) = decisions.action(place) else { return false };
    let Some(port) = snapshot.ports.get(action.egress.index()) else { return false };
    let Some((key, mac)) = neighbours.peek(action.neighbour) else { return false };
    // Rules may ask for the port; a packet from elsewhere is decided anew.
    if ready(wanted >> 8, action.ingress) != wanted || key.port != action.egress || !port.vlan.is_empty() {
        return false;
    }
    let (most, link) = ways_out(port, mac);
    decisions.prepare(place, wanted, key.family, most, link);
    true
}

/// What a packet needs of the port it leaves by: octets of the largest frame that leaves as it is, with a checksum that is
/// complete and with one that is not; and its link addresses.
pub(super) fn ways_out(port: &PortView, mac: MacAddr) -> ([u32; 2], [u8; 12]) {
    let mut link = [0; 12];
    wire::set_link(&mut link, mac, port.mac);
    let most = port.mtu.saturating_add(LINK);
    ([most, if port.tx_checksum_partial { most } else { 0 }], link)
}

#[cfg(test)]
pub(super) mod tests;
