//! The way of packets that a live connection expects and the shortcut does not know: those with which it is answered, confirmed
//! and closed.
//!
//! It begins as the shortcut does, with the slot that was fetched, and ends as it does wherever a decision is cached, which
//! it is from the second segment of either side on. Between lies the step that such a packet is, by side and kind. Everything
//! else is left to [`opening`](super::opening), untouched.

use super::decision::ready;
use super::journey::Progress;
use super::mark::Mark;
use super::network::Network;
use super::opening::{Leave, seen};
use super::recent::Alike;
use super::shortcut::{Turn, kind};
use super::{Shard, Watch};
use crate::conntrack::ends::Ends;
use crate::conntrack::shortcut::Plain;
use crate::frame::{Frame, Taken};
use crate::net::{CtState, Direction, PortId, TcpFlags, proto};
use crate::steer::Stage;
use crate::wire::glance::{self, Extent};

/// How a packet left.
struct Gone {
    egress: PortId,
    /// The shortcut would have known it.
    ordinary: bool,
}

/// Where packets of `SIDE` travel.
const fn direction<const SIDE: usize>() -> Direction {
    if SIDE == 0 { Direction::Original } else { Direction::Reply }
}

/// A TCP segment as far as an ordinary step asks for it, and its flags.
fn numbers(transport: &[u8], extent: Extent) -> Option<(Plain<'_>, TcpFlags)> {
    let header: &[u8; 16] = transport.first_chunk()?;
    Some((Plain { header, payload: extent.payload(), sacked: extent.sacked() }, TcpFlags(header[13])))
}

impl<W: Watch> Shard<W> {
    /// Takes packets all their way, as long as they are of this kind and until `enough` in a row could have taken the
    /// shortcut: going to and fro costs as much as half a packet. Tells whether the next one could not be taken, which is untouched
    /// then. A function of its own, so that ordinary packets keep their registers.
    #[inline(never)]
    pub(super) fn take_others<N: Network, const PROTO: u8>(
        &mut self,
        frames: &mut Taken<'_>,
        marks: &mut [Mark],
        progress: &mut Progress,
        turn: &Turn,
        enough: u32,
    ) -> bool {
        let mut ordinary = 0;
        loop {
            let group = progress.group(self.tracker.table(), marks);
            let mut stuck = false;
            let mut giving = frames.along(group);
            while let Some((mut next, mark)) = giving.look() {
                if ordinary == enough || mark.path != kind::<N, PROTO>() {
                    break;
                }
                if let Some(home) = self.home_elsewhere(&next, mark) {
                    self.hand_over(home, Stage::Packet, next.out());
                    continue;
                }
                let Some(gone) = self.other::<N, PROTO>(&mut next, mark, turn) else {
                    stuck = true;
                    break;
                };
                ordinary = (ordinary + 1) * u32::from(gone.ordinary);
                self.leave_by(gone.egress, next.out());
            }
            let taken = giving.count();
            drop(giving);
            progress.at += taken;
            if taken == 0 || taken < group.len() {
                return stuck;
            }
        }
    }

    /// Takes a packet all its way but for its place in a queue, and tells how it leaves; or leaves it untouched.
    #[inline(always)]
    fn other<N: Network, const PROTO: u8>(&mut self, frame: &mut Frame, mark: &Mark, turn: &Turn) -> Option<Gone> {
        let (front, transport) = N::parts(frame.data())?;
        let opens = PROTO == proto::TCP && glance::opens(transport.first_chunk()?);
        let lines = self.tracker.lines();
        if let Some(entry) = lines.entries.get(mark.slot as usize)
            && !opens
        {
            let ports = transport.first_chunk().map(glance::port_ends)?;
            let kind = (N::Ends::KIND, PROTO);
            if entry.has_ports(ports, 0) && N::is_between(lines.ends6, entry, mark, front, 0) {
                if entry.goes_on::<0>(kind, &turn.tracking) {
                    return self.onward::<N, PROTO, 0>(frame, mark, turn);
                }
                if PROTO == proto::UDP
                    && entry.is_unanswered(kind, &turn.tracking)
                    && let Some(egress) = self.unanswered::<N>(frame, mark, turn)
                {
                    return Some(Gone { egress, ordinary: false });
                }
            } else if entry.has_ports(ports, 1)
                && N::is_between(lines.ends6, entry, mark, front, 1)
                && entry.goes_on::<1>(kind, &turn.tracking)
            {
                return self.onward::<N, PROTO, 1>(frame, mark, turn);
            }
        }
        self.opening::<N, PROTO>(frame, mark, turn).map(|egress| Gone { egress, ordinary: false })
    }

    /// A packet of the connection in its mark's slot that travels in the direction of `SIDE` and opens nothing: one whose
    /// decision is ready, and that is a step of which every connection takes several. Of what differs from one to the other of
    /// these, nothing is branched on.
    #[inline(always)]
    fn onward<N: Network, const PROTO: u8, const SIDE: usize>(
        &mut self,
        frame: &mut Frame,
        mark: &Mark,
        turn: &Turn,
    ) -> Option<Gone> {
        let entry = self.tracker.lines().entries.get(mark.slot as usize)?;
        let decision = entry.decision_under(&turn.tracking);
        let wanted = ready(turn.term, frame.meta.ingress);
        let place = self.decisions.place(decision, direction::<SIDE>()).unwrap_or_default();
        let kept = self.decisions.kept(place)?;
        let most = kept.most[usize::from(mark.partial)];
        let is_ready = kept.ready == wanted;
        let (front, transport) = N::parts(frame.data())?;
        let stepped = if !is_ready || N::ttl(front) <= 1 || mark.end > most {
            None
        } else if PROTO == proto::TCP {
            let (seg, flags) = numbers(transport, mark.extent)?;
            if flags.0 & (TcpFlags::SYN | TcpFlags::RST) == 0 {
                let fin = flags.has(TcpFlags::FIN);
                self.tracker.step_on::<SIDE>(mark.hash, mark.slot, (&seg, fin), &turn.tracking)
            } else {
                None
            }
        } else {
            self.tracker.move_udp_on(mark.hash, (mark.slot, direction::<SIDE>()), &turn.tracking).then_some(true)
        };
        let Some(ordinary) = stepped else {
            return self.onward_otherwise::<N, PROTO, SIDE>(frame, mark, (decision, place), turn);
        };
        let who = (mark.slot, CtState::Established, direction::<SIDE>());
        self.depart_by::<N>(frame, mark, Leave::Decided(place), who).map(|egress| Gone { egress, ordinary })
    }

    /// A datagram in original direction of the flow in its mark's slot, which nobody answered: if it is like the last such, it leaves as
    /// that did.
    #[inline(always)]
    fn unanswered<N: Network>(&mut self, frame: &mut Frame, mark: &Mark, turn: &Turn) -> Option<PortId> {
        let entry = self.tracker.lines().entries.get(mark.slot as usize)?;
        let which = Alike::of(N::FAMILY, frame.meta.ingress, entry.decision_under(&turn.tracking));
        let leave = Leave::Recent(self.recent.alike(turn.number, which)?);
        let most = self.leave(leave)?.most[usize::from(mark.partial)];
        let (front, _) = N::parts(frame.data())?;
        if N::ttl(front) <= 1 || mark.end > most {
            return None;
        }
        let way = (mark.slot, Direction::Original);
        if !self.tracker.move_udp_on(mark.hash, way, &turn.tracking) {
            return None;
        }
        #[cfg(test)]
        {
            self.alike += 1;
        }
        self.depart_by::<N>(frame, mark, leave, (mark.slot, CtState::New, Direction::Original))
    }

    /// The same of one whose decision is not ready, and of a step that is another.
    #[inline(never)]
    fn onward_otherwise<N: Network, const PROTO: u8, const SIDE: usize>(
        &mut self,
        frame: &mut Frame,
        mark: &Mark,
        (decision, place): (u16, usize),
        turn: &Turn,
    ) -> Option<Gone> {
        let leave = self.leave_of::<N, PROTO, SIDE>(frame, mark, (decision, place), turn)?;
        let most = self.leave(leave)?.most[usize::from(mark.partial)];
        let (front, transport) = N::parts(frame.data())?;
        if N::ttl(front) <= 1 || mark.end > most {
            return None;
        }
        if PROTO == proto::TCP {
            let (seg, flags) = numbers(transport, mark.extent)?;
            let stepped = if flags.0 & (TcpFlags::SYN | TcpFlags::RST) == 0 {
                let fin = flags.has(TcpFlags::FIN);
                self.tracker.step_on::<SIDE>(mark.hash, mark.slot, (&seg, fin), &turn.tracking).is_some()
            } else if SIDE == 1 && flags.has(TcpFlags::SYN) {
                let segment = glance::whole(transport, mark.extent)?;
                self.tracker.step_answer(mark.slot, &segment, &turn.tracking)
            } else {
                false
            };
            if !stepped && !self.step_otherwise::<N, SIDE>(frame, mark, turn) {
                return None;
            }
        } else if !self.tracker.move_udp_on(mark.hash, (mark.slot, direction::<SIDE>()), &turn.tracking) {
            return None;
        }
        if let Leave::Recent(place) = leave {
            let decision = self.decided(place, decision, direction::<SIDE>());
            self.tracker.keep_decision(mark.slot, self.snapshot.epoch_octet(), decision);
        }
        let who = (mark.slot, CtState::Established, direction::<SIDE>());
        self.depart_by::<N>(frame, mark, leave, who).map(|egress| Gone { egress, ordinary: false })
    }

    /// The step of a segment about which something is special.
    #[cold]
    #[inline(never)]
    fn step_otherwise<N: Network, const SIDE: usize>(&mut self, frame: &Frame, mark: &Mark, turn: &Turn) -> bool {
        let segment = N::parts(frame.data()).and_then(|(_, transport)| glance::whole(transport, mark.extent));
        segment.is_some_and(|segment| {
            let place = (mark.slot, direction::<SIDE>());
            self.tracker.move_tcp_on(mark.hash, &segment, place, &turn.tracking)
        })
    }

    /// By whose leave an ESTABLISHED packet leaves, if its decision is not ready or there is none.
    #[inline(never)]
    fn leave_of<N: Network, const PROTO: u8, const SIDE: usize>(
        &mut self,
        frame: &Frame,
        mark: &Mark,
        (decision, place): (u16, usize),
        turn: &Turn,
    ) -> Option<Leave> {
        let ingress = frame.meta.ingress;
        if place != 0 && self.is_ready(place, ready(turn.term, ingress)) {
            return Some(Leave::Decided(place));
        }
        // What was decided of the other direction is for packets that are forwarded to this one's source.
        let other = if SIDE == 0 { Direction::Reply } else { Direction::Original };
        let reached = self.decisions.place(decision, other).is_some();
        let packet = seen::<N, PROTO>(frame, mark)?;
        Some(Leave::Recent(self.ask(&packet, (CtState::Established, reached), ingress, turn)?))
    }
}
