//! The way of packets that a live connection expects and the shortcut does not know: those with which it is answered, confirmed
//! and closed.
//!
//! It begins as the shortcut does, with the slot that was fetched, and ends as it does wherever a decision is cached, which
//! it is from the second segment of either side on. Between lies the step that such a packet is, by side and kind. Everything
//! else is left to [`opening`](super::opening), untouched.

use super::decision::{Kept, ready};
use super::mark::{Mark, Path};
use super::network::Network;
use super::opening::{Leave, seen};
use super::shortcut::Turn;
use super::{Shard, Watch};
use crate::conntrack::ends::Ends;
use crate::conntrack::shortcut::Ack;
use crate::frame::{Frame, Taken};
use crate::net::{CtState, Direction, DropReason, PortId, TcpFlags, proto};
use crate::steer::Stage;
use crate::wire::glance;

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

impl<W: Watch> Shard<W> {
    /// Takes the `first` packet, and those after it, all their way, until two in a row could have taken the shortcut: going to
    /// and fro costs as much as half a packet, and where connections open and close, that is for every other one. Gives how
    /// many were taken, and the one that could not be and is untouched, if there is one; `marks` are theirs. A function of
    /// its own, so that ordinary packets keep their registers.
    #[inline(never)]
    pub(super) fn take_others<N: Network, const PROTO: u8>(
        &mut self,
        first: Frame,
        frames: &mut Taken<'_>,
        marks: &[Mark],
        turn: &Turn,
    ) -> (usize, Option<Frame>) {
        let kind = Path::Plain(if PROTO == proto::TCP { N::TCP } else { N::UDP });
        let mut frame = first;
        let (mut at, mut ordinary) = (0, 0);
        while let Some(mark) = marks.get(at) {
            match self.home_elsewhere(&frame, mark) {
                Some(home) => self.hand_over(home, Stage::Packet, frame),
                None => {
                    let Some(gone) = self.other::<N, PROTO>(&mut frame, mark, turn) else { return (at, Some(frame)) };
                    ordinary = (ordinary + 1) * u32::from(gone.ordinary);
                    if let Err(frame) = self.out.push_uncounted(gone.egress, frame) {
                        self.out.uncount(gone.egress, &frame);
                        self.lost(frame, DropReason::TxRingFull);
                    }
                }
            }
            at += 1;
            if ordinary == 2 || marks.get(at).is_none_or(|next| next.path != kind) {
                break;
            }
            match frames.next() {
                Some(next) => frame = next,
                None => break,
            }
        }
        (at, None)
    }

    /// Takes a packet all its way but for its place in a queue, and tells how it leaves; or leaves it untouched.
    #[inline(always)]
    fn other<N: Network, const PROTO: u8>(&mut self, frame: &mut Frame, mark: &Mark, turn: &Turn) -> Option<Gone> {
        if !turn.openings {
            return None;
        }
        let (front, transport) = N::parts(frame.data())?;
        let opens = PROTO == proto::TCP && mark.turning && glance::opens(transport.first_chunk()?);
        let lines = self.tracker.lines();
        if let Some(entry) = lines.entries.get(mark.slot as usize)
            && !opens
        {
            let ports = transport.first_chunk().map(glance::port_ends)?;
            let kind = (N::Ends::KIND, PROTO);
            if entry.has_ports(ports, 0) && N::is_between(lines.ends6, entry, mark.slot, front, 0) {
                if entry.goes_on::<0>(kind, &turn.tracking) {
                    return self.onward::<N, PROTO, 0>(frame, mark, turn);
                }
            } else if entry.has_ports(ports, 1)
                && N::is_between(lines.ends6, entry, mark.slot, front, 1)
                && entry.goes_on::<1>(kind, &turn.tracking)
            {
                return self.onward::<N, PROTO, 1>(frame, mark, turn);
            }
        }
        self.opening::<N, PROTO>(frame, mark, turn).map(|egress| Gone { egress, ordinary: false })
    }

    /// A packet of the connection in its mark's slot that travels in the direction of `SIDE` and opens nothing.
    #[inline(always)]
    fn onward<N: Network, const PROTO: u8, const SIDE: usize>(
        &mut self,
        frame: &mut Frame,
        mark: &Mark,
        turn: &Turn,
    ) -> Option<Gone> {
        let entry = self.tracker.lines().entries.get(mark.slot as usize)?;
        let decision = entry.decision_under(&turn.tracking);
        let wanted = ready(turn.number, frame.meta.ingress);
        let place = self.decisions.place(decision, direction::<SIDE>()).unwrap_or_default();
        let leave = match self.decisions.kept(place) {
            Some(kept) if kept.ready == wanted => Leave::Decided(place),
            _ => self.leave_of::<N, PROTO, SIDE>(frame, mark, (decision, place), turn)?,
        };
        let Kept { most, .. } = self.leave(leave)?;
        let most = most[usize::from(mark.partial)];
        let (front, transport) = N::parts(frame.data())?;
        if N::ttl(front) <= 1 || mark.end > most {
            return None;
        }
        let stepped = if PROTO == proto::TCP {
            let (seq, ack, window) = transport.first_chunk().map(glance::numbers)?;
            let (payload, sacked) = (mark.extent.payload(), mark.extent.sacked());
            let seg = Ack { seq, ack, sacked, payload, window };
            let flags = TcpFlags(*transport.get(13)?);
            if !mark.turning {
                self.tracker.step_on::<SIDE, false>(mark.hash, mark.slot, seg, &turn.tracking)
            } else if flags.has(TcpFlags::FIN) {
                self.tracker.step_on::<SIDE, true>(mark.hash, mark.slot, seg, &turn.tracking)
            } else if SIDE == 1 && flags.has(TcpFlags::SYN) {
                let segment = glance::whole(transport, mark.extent)?;
                self.tracker.step_answer(mark.slot, &segment, &turn.tracking).then_some(false)
            } else {
                None
            }
        } else {
            self.tracker.move_udp_on(mark.hash, (mark.slot, direction::<SIDE>()), &turn.tracking).then_some(true)
        };
        let open = match stepped {
            Some(open) => open,
            None if PROTO == proto::TCP && self.step_otherwise::<N, SIDE>(frame, mark, turn) => false,
            None => return None,
        };
        let decided = match leave {
            Leave::Decided(_) => true,
            Leave::Recent(place) => {
                let decision = self.decided(place, decision, direction::<SIDE>());
                self.tracker.keep_decision(mark.slot, self.snapshot.epoch_octet(), decision);
                false
            }
        };
        let who = (mark.slot, CtState::Established, direction::<SIDE>());
        self.depart_by::<N>(frame, mark, leave, who).map(|egress| Gone { egress, ordinary: open & decided })
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
        if place != 0 && self.is_ready(place, ready(turn.number, ingress)) {
            return Some(Leave::Decided(place));
        }
        // What was decided of the other direction was for packets that were forwarded to this one's source.
        let reached = SIDE == 0 && self.decisions.place(decision, Direction::Reply).is_some();
        let packet = seen::<N, PROTO>(frame, mark)?;
        Some(Leave::Recent(self.ask(&packet, (CtState::Established, reached), ingress, turn)?))
    }
}
