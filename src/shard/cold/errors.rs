//! Packets the router makes because of others': ICMP errors, resets; rate-limited, never about an error.

use crate::conntrack::tracker::{Conn, Tracked};
use crate::frame::{Checksum, Frame, Meta, Origin};
use crate::metrics::label::{IcmpKind, IcmpOutcome, RejectKind};
use crate::net::{DropReason, Family, InvalidReason, Now, PortId, proto};
use crate::policy::Decider;
use crate::policy::spec::RejectWith;
use crate::route::{NeighbourKey, NextHop, Route};
use crate::shard::journey::{Passage, Refusal, flow_hash, refused};
use crate::shard::{End, Fate, Shard, Watch};
use crate::wire::{self, IcmpError, Kind, Link, Parsed, Unreachable, Verify};
use smallvec::SmallVec;

impl<W: Watch> Shard<W> {
    /// Drops a packet and tells its sender why.
    #[cold]
    pub(in crate::shard) fn refuse(&mut self, passage: Passage<'_>, reason: DropReason, error: IcmpError, now: Now) {
        self.answer_with_error(&passage.frame, passage.parsed, error, now);
        self.drop_passage(passage, reason);
    }

    /// Drops a packet by a rule and answers as the rule says.
    #[cold]
    pub(in crate::shard) fn reject(&mut self, passage: Passage<'_>, by: Decider, with: RejectWith, now: Now) {
        self.answer_reject(&passage.frame, passage.parsed, Some(&passage.tracked), with, now);
        let fate = refused(passage.fate, by);
        self.drop(passage.frame, fate);
    }

    /// Ends a packet before tracking, as a raw rule says.
    #[cold]
    pub(in crate::shard) fn refuse_untracked(&mut self, frame: Frame, parsed: &Parsed, refusal: Refusal, now: Now) {
        if let Some(with) = refusal.with
            && self.may_tell(parsed)
        {
            self.answer_reject(&frame, parsed, None, with, now);
        }
        self.drop(frame, refused(Fate::of(End::Held), refusal.by));
    }

    /// Whether the sender may be told of a packet before it was routed: none to a broadcast or group address, or from
    /// or to where no route is, gets as far as a reject behind routing.
    pub(in crate::shard) fn may_tell(&self, parsed: &Parsed) -> bool {
        let tuple = &parsed.summary.tuple;
        let fib = &self.snapshot.fib;
        !parsed.link_group
            && !fib.is_martian_source(tuple.family, tuple.src)
            && !matches!(
                fib.lookup(tuple.family, tuple.dst, 0),
                Route::Broadcast | Route::Multicast { .. } | Route::Martian
            )
    }

    /// Answers a packet as a reject says. `tracked` is `None` before tracking.
    fn answer_reject(&mut self, frame: &Frame, parsed: &Parsed, tracked: Option<&Tracked>, with: RejectWith, now: Now) {
        let sent = match unreachable_of(with) {
            Some(_) if has_wrong_checksum(parsed) => false,
            Some(code) => self.answer_with_error(frame, parsed, IcmpError::Unreachable(code), now),
            None => self.reject_with_reset(frame.meta.ingress, parsed, tracked, now),
        };
        self.count_reject(sent, with, parsed);
    }

    pub(super) fn count_reject(&mut self, sent: bool, with: RejectWith, parsed: &Parsed) {
        if sent {
            self.counters.reject(match (with, parsed.summary.tuple.family) {
                (RejectWith::TcpReset, _) => RejectKind::TcpReset,
                (_, Family::V4) => RejectKind::Icmp,
                (_, Family::V6) => RejectKind::Icmpv6,
            });
        }
    }

    /// Sends an ICMP error about `frame` to its sender, if the RFCs and the rate allow it.
    pub(in crate::shard) fn answer_with_error(
        &mut self,
        frame: &Frame,
        parsed: &Parsed,
        error: IcmpError,
        now: Now,
    ) -> bool {
        let tuple = &parsed.summary.tuple;
        if !wire::may_answer_with_error(frame.data(), parsed, error) {
            return false;
        }
        if !self.limiter.allow(now) {
            self.counters.icmp_error(tuple.family, IcmpOutcome::RateLimited, kind_of(error));
            return false;
        }
        let ingress = frame.meta.ingress;
        // Who was spoken to answers.
        let fib = &self.snapshot.fib;
        let source = if fib.is_local(tuple.family, tuple.dst) {
            Some(tuple.dst)
        } else {
            fib.source_for(ingress, tuple.family, tuple.src)
        };
        let Some(source) = source else { return false };
        let Some(mut answer) = self.pool.alloc() else { return false };
        answer.set_len(answer.capacity());
        let built = wire::icmp_error(answer.data_mut(), Link::default(), source, error, frame.data(), parsed);
        let Some(len) = built else { return false };
        answer.set_len(len);
        self.counters.icmp_error(tuple.family, IcmpOutcome::Sent, kind_of(error));
        self.originate(answer, ingress, now);
        true
    }

    /// Sends a TCP RST to the sender of a rejected segment, and closes its connection. Before tracking, `tracked` is
    /// `None`, and the RST does to the connection what a reply of the destination's would.
    pub(in crate::shard) fn reject_with_reset(
        &mut self,
        ingress: PortId,
        parsed: &Parsed,
        tracked: Option<&Tracked>,
        now: Now,
    ) -> bool {
        let Some(answer) = self.reset(parsed, now) else { return false };
        match tracked {
            Some(Tracked { conn: Conn::Known(found), .. }) => self.tracker.reject(*found, now.millis()),
            Some(_) => {}
            None => self.track_own(&answer, now),
        }
        self.originate(answer, ingress, now);
        true
    }

    /// The RST that answers a segment, if there is one and the rate allows it.
    pub(in crate::shard) fn reset(&mut self, parsed: &Parsed, now: Now) -> Option<Frame> {
        let mut answer = self.pool.alloc()?;
        answer.set_len(answer.capacity());
        let len = wire::tcp_reset(answer.data_mut(), Link::default(), parsed)?;
        answer.set_len(len);
        self.limiter.allow(now).then_some(answer)
    }

    /// Routes and sends a packet the router made because of one that came in by `cause`.
    pub(in crate::shard) fn originate(&mut self, mut frame: Frame, cause: PortId, now: Now) {
        frame.meta = Meta { origin: Origin::Originated, ingress: cause, ..Meta::default() };
        self.counters.originate(1);
        let Ok(parsed) = wire::parse(frame.data(), Verify::Trust) else { return };
        let tuple = parsed.summary.tuple;
        let route = self.snapshot.fib.lookup_reply(cause, tuple.family, tuple.dst, flow_hash(&tuple));
        let Route::Forward(hop) = route else { return };
        self.send_originated(frame, hop, tuple.family, now);
    }

    fn send_originated(&mut self, mut frame: Frame, hop: NextHop, family: Family, now: Now) {
        match self.next_hop(hop, family, now) {
            Some((_, mac)) => {
                let Some(own) = self.snapshot.port(hop.port).map(|p| p.mac) else { return };
                wire::set_link(frame.data_mut(), mac, own);
                self.send_sized(hop.port, frame);
            }
            None => self.wait(frame, NeighbourKey { port: hop.port, family, addr: hop.via }, now),
        }
    }

    /// Sends a finished frame, in pieces if it is an IPv4 datagram larger than the port's MTU.
    pub(in crate::shard) fn send_sized(&mut self, port: PortId, frame: Frame) {
        let mtu = self.snapshot.port(port).map_or(u32::MAX, |p| p.mtu);
        if frame.meta.gso.is_none()
            && frame.len() as u32 > mtu
            && let Ok(parsed) = wire::parse(frame.data(), Verify::Trust)
            && parsed.end - u32::from(parsed.l3) > mtu
        {
            return self.send_in_pieces(port, frame, &parsed);
        }
        self.enqueue(port, frame);
    }

    /// Cuts a datagram without DF to the egress MTU (RFC 791 section 3.2). The received frame counts by its
    /// first piece; the others are the router's own.
    #[cold]
    pub(in crate::shard) fn send_in_pieces(&mut self, port: PortId, mut frame: Frame, parsed: &Parsed) {
        if let Checksum::Partial { start, offset } = frame.meta.checksum {
            if !wire::finish_partial(frame.data_mut(), start, offset) {
                return self.lost(frame, DropReason::RxChecksum);
            }
            frame.meta.checksum = Checksum::Verified;
        }
        let mtu = self.snapshot.port(port).map_or(u32::MAX, |p| p.mtu);
        self.fragment_id = self.fragment_id.wrapping_mul(0x0019_660d).wrapping_add(0x3c6e_f35f);
        let pieces = if frame.meta.origin == Origin::Originated && parsed.kind == Kind::Ipv6 {
            wire::fragment_ipv6(frame.data(), parsed, mtu, self.fragment_id)
                .map(|mut cut| self.pieces(&frame, |out| cut.write_next(out)).filter(|_| cut.is_done()))
        } else {
            wire::fragment_ipv4(frame.data(), parsed, mtu)
                .map(|mut cut| self.pieces(&frame, |out| cut.write_next(out)).filter(|_| cut.is_done()))
        };
        let mut pieces = match pieces {
            Some(Some(pieces)) => pieces,
            Some(None) => return self.lost(frame, DropReason::BufferExhausted),
            None => return self.lost(frame, DropReason::MtuExceeded),
        };
        if let Some(first) = pieces.first_mut() {
            first.meta.origin = frame.meta.origin;
        }
        drop(frame);
        for piece in pieces {
            self.enqueue(port, piece);
        }
    }

    /// Cuts a super-frame for a port that sends none. It counts by its first segment, as a packet does by its first piece.
    #[cold]
    pub(in crate::shard) fn send_in_segments(&mut self, port: PortId, frame: Frame) {
        let (Some(gso), Checksum::Partial { start, offset }) = (frame.meta.gso, frame.meta.checksum) else {
            return self.lost(frame, DropReason::RxChecksum);
        };
        let Some(mut cut) = wire::segments(frame.data(), start, offset, gso.header_len, gso.size) else {
            return self.lost(frame, DropReason::RxTruncated);
        };
        let pieces = self.pieces(&frame, |out| cut.write_next(out)).filter(|_| cut.is_done());
        let Some(mut pieces) = pieces else { return self.lost(frame, DropReason::BufferExhausted) };
        for piece in &mut pieces {
            piece.meta.gso = None;
            piece.meta.checksum = Checksum::Verified;
        }
        if let Some(first) = pieces.first_mut() {
            first.meta.origin = frame.meta.origin;
        }
        drop(frame);
        for piece in pieces {
            self.enqueue(port, piece);
        }
    }

    /// Writes pieces into frames of their own until `write` has no more. `None` when buffers run out.
    fn pieces(&self, frame: &Frame, mut write: impl FnMut(&mut [u8]) -> Option<usize>) -> Option<Pieces> {
        let mut pieces = Pieces::new();
        loop {
            let mut piece = self.pool.alloc()?;
            piece.set_len(piece.capacity());
            let Some(len) = write(piece.data_mut()) else { return Some(pieces) };
            piece.set_len(len);
            piece.meta = Meta { origin: Origin::Originated, ..frame.meta };
            pieces.push(piece);
        }
    }
}

/// A datagram cut to size.
type Pieces = SmallVec<[Frame; 8]>;

/// The metric's word for an error.
const fn kind_of(error: IcmpError) -> IcmpKind {
    match error {
        IcmpError::Unreachable(Unreachable::Net) => IcmpKind::NetUnreachable,
        IcmpError::Unreachable(Unreachable::Host) => IcmpKind::HostUnreachable,
        IcmpError::Unreachable(Unreachable::Protocol) => IcmpKind::ProtocolUnreachable,
        IcmpError::Unreachable(Unreachable::Port) => IcmpKind::PortUnreachable,
        IcmpError::Unreachable(Unreachable::AdminProhibited) => IcmpKind::AdminProhibited,
        IcmpError::TooBig { .. } => IcmpKind::TooBig,
        IcmpError::TimeExceeded => IcmpKind::TimeExceeded,
        IcmpError::ReassemblyTimeExceeded => IcmpKind::ReassemblyTimeExceeded,
        IcmpError::ParameterProblem { .. } => IcmpKind::ParameterProblem,
    }
}

/// The unreachable code a reject answers with; `None` for a TCP reset.
pub(super) const fn unreachable_of(with: RejectWith) -> Option<Unreachable> {
    match with {
        RejectWith::PortUnreachable => Some(Unreachable::Port),
        RejectWith::HostUnreachable => Some(Unreachable::Host),
        RejectWith::NetUnreachable => Some(Unreachable::Net),
        RejectWith::AdminProhibited => Some(Unreachable::AdminProhibited),
        RejectWith::TcpReset => None,
    }
}

/// Whether a checksum over the whole packet is wrong: then nobody knows whose packet it is, and a reject is not answered
/// by an ICMP error. UDP-Lite's covers a part only.
pub(super) fn has_wrong_checksum(parsed: &Parsed) -> bool {
    use InvalidReason as I;
    parsed.summary.tuple.proto != proto::UDPLITE
        && matches!(parsed.summary.defect, Some(I::TcpChecksum | I::UdpChecksum | I::IcmpChecksum))
}
