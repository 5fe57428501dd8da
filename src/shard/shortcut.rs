//! The way of nearly every packet: its connection is established, what is to be done with it was decided before,
//! and nothing about it is special.
//!
//! It is the journey's own sequence with every branch left out that such a packet does not take. First everything
//! is looked at that could make it special, and nothing is changed; only then the connection is moved on. Whatever
//! does not fit goes the whole way by `judge`, which would do the same with those that do: the tests hold both to the
//! same ends, counters, entries and octets.
//!
//! What is the same for all packets of a burst is looked at once: the port they come in by ([`Entrance`](super::mark::Entrance)), and for each
//! decision they share the neighbour, the port they leave by, and the link addresses ([`Kept`](super::decision::Kept)), once as long as
//! neither configuration nor neighbours change.

use super::decision::{Decisions, Kept, PAIRS, ready};
use super::journey::Progress;
use super::mark::{Mark, Path};
use super::network::{Network, V4, V6};
use super::{End, Fate, PortView, Shard, Snapshot, Sum, Watch};
use crate::conntrack::entry::Entry;
use crate::conntrack::shortcut::{self, Ack, Lines};
use crate::conntrack::table::NIL;
use crate::conntrack::tracker::Tracker;
use crate::frame::{Filling, Frame, Head, Taken};
use crate::net::wide::{Wide, Work};
use crate::net::{CtState, Direction, DropReason, MacAddr, Millis, Now, PortId, ShardId, proto, reread, somewhere_mut};
use crate::policy::RuleIndex;
use crate::route::NeighbourView;
use crate::steer::Stage;
use crate::wire;
use crate::wire::glance::{self, LINK, Plain};
use std::marker::PhantomData;

/// After so many ordinary packets in a row the shortcut is tried again, or after one if the shortcut took as many as that just before.
const ENOUGH: u32 = 4;
const MANY: usize = 8;

/// What holds for all packets judged at once.
pub(super) struct Turn {
    pub(super) number: u64,
    /// In which decisions stay ready.
    pub(super) term: u64,
    pub(super) tracking: shortcut::Turn,
    /// Packets may take the way of openings.
    pub(super) openings: bool,
}

impl<W: Watch> Shard<W> {
    pub(super) fn begin_turn(&mut self, now: Now) -> Turn {
        self.turn += 1;
        let tracking = self.tracker.turn(self.snapshot.epoch_octet(), now.millis());
        // With another snapshot all decisions are others.
        let term = self.neighbours.changes() + 1;
        self.present = Present { ready: ready(term, PortId(0)), tracking };
        Turn { number: self.turn, term, tracking, openings: self.openings() }
    }

    /// Takes plain packets and turning segments, as long as they are of this kind, all their way. Gives back one that could
    /// not be taken, is untouched, and goes the whole way; `progress` has then come to its place.
    pub(super) fn shortcut(
        &mut self,
        plain: Plain,
        frames: &mut Taken<'_>,
        marks: &mut [Mark],
        progress: &mut Progress,
        turn: &Turn,
    ) -> Option<Frame> {
        match plain {
            Plain::Tcp4 => self.take_kind::<V4, { proto::TCP }>(frames, marks, progress, turn),
            Plain::Udp4 => self.take_kind::<V4, { proto::UDP }>(frames, marks, progress, turn),
            Plain::Tcp6 => self.take_kind::<V6, { proto::TCP }>(frames, marks, progress, turn),
            Plain::Udp6 => self.take_kind::<V6, { proto::UDP }>(frames, marks, progress, turn),
        }
    }

    fn take_kind<N: Network, const PROTO: u8>(
        &mut self,
        frames: &mut Taken<'_>,
        marks: &mut [Mark],
        progress: &mut Progress,
        turn: &Turn,
    ) -> Option<Frame> {
        let is_kind = |mark: &&Mark| mark.path == kind::<N, PROTO>();
        loop {
            progress.keep_ahead(self.tracker.table(), marks);
            let mut mark = marks.get(progress.at).filter(is_kind)?;
            let is_known = |mark: &Mark| mark.slot != NIL && !mark.turning;
            let first = progress.at;
            // For a first packet there is no need to try.
            if is_known(mark) {
                self.take_all::<N, PROTO>(frames, marks, progress);
                mark = marks.get(progress.at).filter(is_kind)?;
            }
            if turn.openings {
                let before = progress.at;
                // Where so many had nothing special about them, the one behind the next has not either.
                let enough = if before - first >= MANY { 1 } else { ENOUGH };
                if self.take_others::<N, PROTO>(frames, marks, progress, turn, enough) || progress.at == before {
                    return frames.next();
                }
                continue;
            }
            let mut frame = frames.next()?;
            let gone = if is_known(mark) { self.take_any::<N, PROTO>(&mut frame, mark, turn) } else { None };
            match (gone, self.home_elsewhere(&frame, mark)) {
                (Some(gone), _) => {
                    self.note(&frame, mark, &gone);
                    self.leave_by(gone.egress(), frame);
                }
                (None, Some(home)) => self.hand_over(home, Stage::Packet, frame),
                (None, None) => return Some(frame),
            }
            progress.at += 1;
        }
    }

    /// Puts a packet into a queue, of which is told when all are settled.
    #[inline(always)]
    pub(super) fn leave_by(&mut self, egress: PortId, frame: Frame) {
        if let Err(frame) = self.out.push_uncounted(egress, frame) {
            self.had_no_room(egress, frame);
        }
    }

    #[cold]
    #[inline(never)]
    fn had_no_room(&mut self, egress: PortId, frame: Frame) {
        self.out.uncount(egress, &frame);
        self.lost(frame, DropReason::TxRingFull);
    }

    /// The shard a packet is handed to, if there are others and that much can be told already.
    #[inline(always)]
    pub(super) fn home_elsewhere(&self, frame: &Frame, mark: &Mark) -> Option<ShardId> {
        match mark.path {
            Path::Plain(plain) if self.shards > 1 => self.elsewhere(frame, mark, plain),
            _ => None,
        }
    }

    /// Takes packets about which nothing is special at all, as long as they are of this kind.
    fn take_all<N: Network, const PROTO: u8>(
        &mut self,
        frames: &mut Taken<'_>,
        marks: &mut [Mark],
        progress: &mut Progress,
    ) {
        self.tracker.table().widest().run(TakeAll::<W, N, PROTO> {
            shard: self,
            frames,
            marks,
            progress,
            of: PhantomData,
        });
    }

    /// Takes a packet all its way but the last step, into a queue. `None`: something about it is special, and nothing was
    /// changed.
    ///
    /// Each direction has code of its own, for most packets of a port travel in the same one.
    #[inline(always)]
    fn take<N: Network, const PROTO: u8>(&mut self, wide: impl Wide, frame: &mut Frame, mark: &Mark) -> Option<Gone> {
        let Lines { entries, ends6 } = self.tracker.lines();
        let entry = entries.get_mut(mark.slot as usize)?;
        let len = N::AT + if PROTO == proto::TCP { 16 } else { 8 };
        if frame.len() < len
            || mark.path != kind::<N, PROTO>()
            || (PROTO == proto::TCP && mark.turning)
            || !entry.is_ordinary(N::FAMILY, PROTO, &self.present.tracking)
        {
            return None;
        }
        let ports = frame.data().get(N::AT..)?.first_chunk().map(glance::port_ends)?;
        let (pairs, kept) = self.decisions.parts();
        let lane = Lane { entry, ends6, pairs, kept, present: &self.present };
        if lane.entry.has_ports(ports, 0) {
            lane.pass::<W, N, PROTO, 0>(wide, frame, mark)
        } else if lane.entry.has_ports(ports, 1) {
            lane.pass::<W, N, PROTO, 1>(wide, frame, mark)
        } else {
            None
        }
    }

    /// The others that the shortcut is for.
    #[cold]
    #[inline(never)]
    fn take_any<N: Network, const PROTO: u8>(&mut self, frame: &mut Frame, mark: &Mark, turn: &Turn) -> Option<Gone> {
        let ingress = frame.meta.ingress;
        let (front, transport) = N::split(frame.data_mut())?;
        let ports = transport.first_chunk().map(glance::ports)?;
        let (entry, direction) = N::recognise(&mut self.tracker, mark, front, ports, PROTO, &turn.tracking)?;
        let place = self.decisions.place(entry.decision(), direction)?;
        let ready = ready(turn.term, ingress);
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
            let (payload, sacked) = (mark.extent.payload(), mark.extent.sacked());
            entry.step_tcp(Ack { seq, ack, sacked, payload, window }, direction, &turn.tracking)
        } else {
            entry.step_udp(&turn.tracking)
        };
        if !stepped {
            return None;
        }
        // From here on it is decided.
        N::send_on(front, &kept.link);
        Some(gone::<W>(kept, frame, mark, direction))
    }

    /// Tells whoever watches how a packet ended.
    #[inline(always)]
    fn note(&mut self, frame: &Frame, mark: &Mark, gone: &Gone) {
        if W::WATCHING {
            self.tell_watch(frame, mark, gone);
        }
    }

    #[inline(never)]
    fn tell_watch(&mut self, frame: &Frame, mark: &Mark, gone: &Gone) {
        let fate = Fate {
            end: End::Accept,
            state: Some(CtState::Established),
            direction: Some(gone.direction),
            invalid: None,
            rule: gone.rule,
            egress: Some(gone.egress()),
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

/// What ordinary packets of a kind are marked as.
#[inline(always)]
pub(super) const fn kind<N: Network, const PROTO: u8>() -> Path {
    Path::Plain(if PROTO == proto::TCP { N::TCP } else { N::UDP })
}

/// Packets of a kind that are taken up to the first about which something is special. For each kind it is code of its own, for
/// it needs all registers; next to nothing is called in here, so that all can stay there.
struct TakeAll<'a, 'b, W: Watch, N, const PROTO: u8> {
    shard: &'a mut Shard<W>,
    frames: &'a mut Taken<'b>,
    marks: &'a mut [Mark],
    progress: &'a mut Progress,
    of: PhantomData<N>,
}

impl<W: Watch, N: Network, const PROTO: u8> Work for TakeAll<'_, '_, W, N, PROTO> {
    type Output = ();

    #[inline(always)]
    fn run(self, wide: impl Wide) {
        let TakeAll { shard, frames, marks, progress, .. } = self;
        loop {
            // Out of the shard meanwhile: where they lie is known then.
            let mut queues = shard.out.lend();
            let mut lost = None;
            let mut filling = Filling::of(frames, &mut queues);
            loop {
                let group = progress.group_by(wide, shard.tracker.table(), marks);
                let mut along = filling.along(group);
                while let Some((mut next, mark)) = along.look() {
                    // Where things lie is read when it is wanted: kept in registers, it would push out what the packet needs.
                    let shard = reread(shard);
                    let Some(gone) = shard.take::<N, PROTO>(wide, &mut next, mark) else { break };
                    shard.note(&next, mark, &gone);
                    if let Err(frame) = next.put(gone.into) {
                        lost = Some((gone.egress(), frame));
                        break;
                    }
                }
                let taken = along.count();
                progress.at += taken;
                if taken == 0 || taken < group.len() || lost.is_some() {
                    break;
                }
            }
            drop(filling);
            shard.out.take_back(queues);
            match lost {
                Some((egress, frame)) => shard.had_no_room(egress, frame),
                None => break,
            }
        }
    }
}

/// How a packet left.
struct Gone {
    /// Number of the port.
    into: usize,
    direction: Direction,
    rule: Option<RuleIndex>,
}

impl Gone {
    const fn egress(&self) -> PortId {
        PortId(self.into as u8)
    }
}

/// What holds for all packets that are judged now, where those about which nothing is special find it at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    /// For which packets a decision is ready, their port not counted.
    ready: u64,
    tracking: shortcut::Turn,
}

impl Present {
    /// Before the first turn.
    pub(super) fn of(tracker: &Tracker) -> Present {
        Present { ready: 0, tracking: tracker.turn(0, Millis(0)) }
    }
}

/// What a packet needs that belongs to the connection in `entry`.
struct Lane<'a> {
    entry: &'a mut Entry,
    ends6: &'a [[u64; 4]],
    pairs: &'a [[u16; 2]; PAIRS],
    kept: &'a mut [Kept],
    present: &'a Present,
}

impl Lane<'_> {
    /// Takes it on if it travels in the direction of `SIDE`, as its ports have it.
    #[inline(always)]
    fn pass<W: Watch, N: Network, const PROTO: u8, const SIDE: usize>(
        self,
        wide: impl Wide,
        frame: &mut Frame,
        mark: &Mark,
    ) -> Option<Gone> {
        let Lane { entry, ends6, pairs, kept, present } = self;
        let ready = present.ready | u64::from(frame.meta.ingress.0);
        let (front, transport) = N::split(frame.data_mut())?;
        let numbers = pairs[usize::from(entry.decision())];
        let kept = somewhere_mut(kept.get_mut(usize::from(numbers[SIDE]))?);
        if !N::is_between(ends6, entry, mark, front, SIDE)
            || kept.ready != ready
            || N::ttl(front) <= 1
            || !N::is_sent_on_at_once(front)
            || mark.end > kept.most[usize::from(mark.partial)]
        {
            return None;
        }
        let stepped = if PROTO == proto::TCP {
            let segment =
                shortcut::Plain { header: transport.first_chunk()?, payload: mark.extent.all_payload()?, sacked: 0 };
            entry.step_ordinary::<SIDE>(wide, &segment, &present.tracking)
        } else {
            entry.step_udp(&present.tracking)
        };
        if !stepped {
            return None;
        }
        N::send_on_at_once(front, &kept.link);
        let direction = if SIDE == 0 { Direction::Original } else { Direction::Reply };
        Some(gone::<W>(kept, frame, mark, direction))
    }
}

/// Adds a packet that is sent to what was done with its decision.
#[inline(always)]
fn gone<W: Watch>(kept: &mut Kept, frame: &mut Frame, mark: &Mark, direction: Direction) -> Gone {
    let len = frame.len();
    kept.packets += 1;
    kept.octets += len as u64;
    if len > mark.end as usize {
        cut_padding(kept, frame, mark);
    }
    Gone { into: kept.egress.index(), direction, rule: if W::WATCHING { kept.rule() } else { None } }
}

/// Link padding of the ingress is not the datagram's.
#[cold]
#[inline(never)]
fn cut_padding(kept: &mut Kept, head: &mut Head, mark: &Mark) {
    kept.padding += head.len() as u64 - u64::from(mark.end);
    head.set_len(mark.end as usize);
}

/// Makes a decision ready for the packets of this term that come in by its port. `false`: there is something about it
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
