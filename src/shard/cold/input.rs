//! Packets for the router itself: neighbour discovery goes to the control plane, echo requests are answered,
//! everything else is told that nobody listens.

use crate::conntrack::key::Key;
use crate::conntrack::tracker::Conn;
use crate::frame::{Frame, Origin};
use crate::net::{DropReason, Icmp, L4, Now, Track, proto};
use crate::policy::Verdict;
use crate::policy::spec::Hook;
use crate::shard::journey::{Passage, refused};
use crate::shard::{End, Shard, Watch};
use crate::wire::options::has_options;
use crate::wire::{self, IcmpError, Kind, Unreachable, Verify};

/// Protocol numbers that nobody answers: IGMP (RFC 3376), and IPv6's word for nothing (RFC 8200 section 4.7).
const IGMP: u8 = 2;
const NO_NEXT_HEADER: u8 = 59;

/// ICMPv6 types of neighbour discovery (RFC 4861): 133 ..= 137.
const NEIGHBOUR_DISCOVERY: std::ops::RangeInclusive<u8> = 133..=137;

impl<W: Watch> Shard<W> {
    /// A packet to one of the router's unicast addresses.
    #[cold]
    pub(in crate::shard) fn input(&mut self, mut passage: Passage<'_>, now: Now) {
        if is_neighbour_discovery(&passage) {
            return self.punt(passage.frame, passage.fate);
        }
        let state = Some(passage.tracked.state);
        let decision = self.decide(Hook::Input, state, None, &passage.frame, passage.parsed);
        passage.fate.rule = self.rule_of(decision.by);
        match decision.verdict {
            Verdict::Accept | Verdict::NoTrack => {}
            Verdict::Drop => {
                let fate = refused(passage.fate, decision.by);
                return self.drop(passage.frame, fate);
            }
            Verdict::Reject(with) => return self.reject(passage, decision.by, with, now),
        }
        if !self.inspect(&passage.tracked, passage.parsed, passage.frame.data(), now) {
            return self.drop_passage(passage, DropReason::HelperMalformed);
        }
        let ingress = passage.frame.meta.ingress;
        let (parsed, data) = (passage.parsed, passage.frame.data());
        if let Err(reason) = self.confirm(&mut passage.tracked, parsed, data, ingress, now) {
            return self.drop_passage(passage, reason);
        }
        self.answer(&passage, now);
        self.counters.punt(passage.frame.meta.ingress);
        self.watch.ended(passage.frame.meta.seq, &passage.fate.ending(End::Punt));
    }

    /// A packet to a group or broadcast address the router listens to.
    #[cold]
    pub(in crate::shard) fn input_group(&mut self, passage: Passage<'_>, _now: Now) {
        if is_neighbour_discovery(&passage) {
            self.punt(passage.frame, passage.fate);
        } else {
            self.drop_passage(passage, DropReason::NotForUs);
        }
    }

    /// What the router, having no service of its own, says to an accepted packet.
    pub(super) fn answer(&mut self, passage: &Passage<'_>, now: Now) {
        let (frame, parsed) = (&passage.frame, passage.parsed);
        if let Err(problem) = wire::at_end_error(frame.data(), parsed) {
            if let Some(error) = problem {
                self.answer_with_error(frame, parsed, error, now);
            }
            return;
        }
        if parsed.summary.defect.is_some() || parsed.summary.track == Track::Error {
            return;
        }
        match (parsed.summary.tuple.proto, parsed.summary.l4) {
            (proto::ICMP, L4::Icmp(Icmp { kind: 8, .. })) | (proto::ICMPV6, L4::Icmp(Icmp { kind: 128, .. })) => {
                self.echo(passage, now);
            }
            (proto::ICMP | proto::ICMPV6, _) => {}
            // Of what cannot be read, or has nothing to be read, and of groups nobody wants to hear.
            (proto::UDP | proto::UDPLITE | NO_NEXT_HEADER, _) if matches!(parsed.summary.track, Track::Invalid(_)) => {}
            (IGMP, _) if parsed.kind == Kind::Ipv4 => {}
            (proto::TCP, _) => {
                if let Some(reset) = self.reset(parsed, now) {
                    self.track_answer(passage, &reset, now);
                    self.originate(reset, frame.meta.ingress, now);
                }
            }
            (proto::UDP | proto::UDPLITE, _) => {
                self.answer_with_error(frame, parsed, IcmpError::Unreachable(Unreachable::Port), now);
            }
            _ => {
                self.answer_with_error(frame, parsed, IcmpError::Unreachable(Unreachable::Protocol), now);
            }
        }
    }

    /// Answers an echo request (RFC 1122 section 3.2.2.6, RFC 4443 section 4.2).
    fn echo(&mut self, passage: &Passage<'_>, now: Now) {
        let Some(mut reply) = self.pool.alloc_from(passage.frame.data()) else { return };
        reply.meta.origin = Origin::Originated;
        let Ok(parsed) = wire::parse(reply.data(), Verify::Trust) else { return };
        if has_options(&parsed) {
            let own = parsed.summary.tuple.dst;
            if !self.answer_options(&mut reply, &parsed, own, now) {
                return;
            }
        } else if let Some(cut) = wire::without_extensions(reply.data_mut(), &parsed) {
            reply.pull_front(cut);
        }
        let Ok(parsed) = wire::parse(reply.data(), Verify::Trust) else { return };
        if !wire::echo_reply(reply.data_mut(), &parsed) {
            return;
        }
        reply.set_len(parsed.end as usize);
        self.track_answer(passage, &reply, now);
        self.originate(reply, passage.frame.meta.ingress, now);
    }

    /// What the router says as an endpoint is tracked as the reply it is.
    fn track_answer(&mut self, passage: &Passage<'_>, answer: &Frame, now: Now) {
        if matches!(passage.tracked.conn, Conn::Known(_)) {
            self.track_own(answer, now);
        }
    }

    /// Moves the connection on to which a packet of the router's own belongs, if there is one.
    pub(super) fn track_own(&mut self, own: &Frame, now: Now) {
        if let Ok(own) = wire::parse(own.data(), Verify::Trust)
            && let Some(key) = Key::new(own.summary.tuple, self.tracker.seed())
            && let Some(found) = self.tracker.find(&key, now.millis())
        {
            self.tracker.advance(found, &own.summary, now.millis());
        }
    }
}

fn is_neighbour_discovery(passage: &Passage<'_>) -> bool {
    let summary = passage.parsed.summary;
    matches!(summary.l4, L4::Icmp(icmp) if summary.tuple.proto == proto::ICMPV6
        && summary.track == Track::Untracked
        && NEIGHBOUR_DISCOVERY.contains(&icmp.kind))
}
