//! Fragments: collected on the shard that owns their addresses, judged once by the shard that owns the whole,
//! then forwarded as they came (decision D8).

use super::errors::{has_wrong_checksum, unreachable_of};
use crate::conntrack::tracker::Tracked;
use crate::frag::{FragmentInfo, Offered};
use crate::frame::Frame;
use crate::metrics::label::FragmentResult;
use crate::net::{DropReason, Family, InvalidReason, Now, PortId, ShardId, Track, Zone};
use crate::policy::Verdict;
use crate::policy::spec::{Hook, RejectWith};
use crate::shard::journey::{Passage, Refusal, Way, refused};
use crate::shard::{BURST, End, Fate, Group, Shard, Watch};
use crate::steer::{Handoff, Stage, owner, owner_of_addresses};
use crate::wire::options::has_options;
use crate::wire::{self, IcmpError, Parsed, Verify};

const fn result_of(reason: DropReason) -> FragmentResult {
    match reason {
        DropReason::FragmentOverlap => FragmentResult::Overlap,
        DropReason::FragmentTimeout => FragmentResult::Timeout,
        DropReason::FragmentLimit => FragmentResult::Limit,
        _ => FragmentResult::Invalid,
    }
}

impl<W: Watch> Shard<W> {
    /// One fragment: to the shard where its datagram is collected, and there into the reassembler.
    #[cold]
    pub(in crate::shard) fn fragment(&mut self, mut frame: Frame, parsed: &Parsed, stage: Stage, now: Now) {
        let tuple = parsed.summary.tuple;
        // Link padding is not the datagram's, and would only take up room in rings.
        if frame.len() > parsed.end as usize {
            frame.set_len(parsed.end as usize);
        }
        let home = owner_of_addresses(tuple.src, tuple.dst, self.shards);
        if home != self.id && stage == Stage::Packet {
            return self.hand_over(home, Stage::Fragment, frame);
        }
        let Some(mut info) = FragmentInfo::of(parsed) else { return self.judge_alone(frame, parsed, stage, now) };
        info.zone = self.snapshot.zone(frame.meta.ingress).original;
        let family = tuple.family;
        let (seq, ingress) = (frame.meta.seq, frame.meta.ingress);
        // Counts as held from here on; whatever leaves the reassembler is released.
        self.hold_fragment(&frame);
        let mut dropped: Vec<(Frame, DropReason)> = Vec::new();
        let mut sink = |frame, reason| dropped.push((frame, reason));
        let (mut pass, mut complete, mut held) = (None, None, false);
        match self.fragments.offer(frame, &info, now.millis(), &mut sink) {
            Offered::Held => held = true,
            Offered::Dropped => {}
            Offered::Pass(frame) => pass = Some(frame),
            Offered::Complete(datagram) => {
                let trust = datagram.whole.trusted || !self.snapshot.verify;
                let whole = wire::parse(datagram.whole.bytes, if trust { Verify::Trust } else { Verify::Check });
                complete = Some((datagram.frames.collect::<Group>(), whole));
            }
        }
        if held {
            debug_assert!(ingress.index() < self.snapshot.ports.len());
            self.watch.ended(seq, &Fate::of(End::Held));
        }
        self.fragments_dropped(dropped);
        if let Some(frame) = pass {
            self.release_fragment(&frame);
            self.judge_alone(frame, parsed, stage, now);
        }
        if let Some((frames, whole)) = complete {
            self.counters.fragments(family, FragmentResult::Complete, frames.len() as u64);
            for frame in &frames {
                self.release_fragment(frame);
            }
            self.datagram(frames, whole, now);
        }
    }

    fn hold_fragment(&mut self, frame: &Frame) {
        self.counters.hold(frame.meta.ingress, 1);
        self.count_pending(frame, 1);
    }

    fn release_fragment(&mut self, frame: &Frame) {
        self.counters.release(frame.meta.ingress, 1);
        self.count_pending(frame, -1);
    }

    fn count_pending(&mut self, frame: &Frame, by: isize) {
        let family = frame.meta.family.unwrap_or(Family::V4);
        let pending = &mut self.fragments_pending[family.index()];
        *pending = pending.saturating_add_signed(by);
        self.counters.set_fragments_pending(family, *pending);
    }

    /// Fragments that the reassembler gave up.
    fn fragments_dropped(&mut self, dropped: Vec<(Frame, DropReason)>) {
        for (frame, reason) in dropped {
            self.counters.fragments(frame.meta.family.unwrap_or(Family::V4), result_of(reason), 1);
            self.release_fragment(&frame);
            self.drop(frame, Fate::of(End::Drop(reason)));
        }
    }

    /// A complete datagram: judged here, or by its owner.
    fn datagram(&mut self, frames: Group, whole: Result<Parsed, DropReason>, now: Now) {
        let whole = match whole {
            Ok(whole) => whole,
            Err(reason) => {
                for frame in frames {
                    self.drop(frame, Fate::of(End::Drop(reason)));
                }
                return;
            }
        };
        let home = match whole.summary.track {
            Track::Tuple | Track::Call => owner(&whole.summary.tuple, self.shards),
            Track::Error => self.home_of_error(&frames).unwrap_or(self.id),
            _ => self.id,
        };
        if home == self.id {
            return self.judge_datagram(frames, whole, now);
        }
        if !self.hand_group(home, Stage::Datagram, &frames) {
            for frame in frames {
                self.drop(frame, Fate::of(End::Drop(DropReason::HandoffFull)));
            }
        }
    }

    fn home_of_error(&mut self, frames: &[Frame]) -> Option<ShardId> {
        let whole = self.fragments.merge(frames, read)?;
        let parsed = wire::parse(whole.bytes, Verify::Trust).ok()?;
        let quoted = wire::quoted(whole.bytes, &parsed).ok()?;
        Some(owner(&quoted.tuple, self.shards))
    }

    /// What another shard handed over.
    pub(in crate::shard) fn handed_over(&mut self, how: Handoff, mut frame: Frame, now: Now) {
        match how.stage {
            Stage::Packet | Stage::Fragment => {
                self.admit(frame, if how.stage == Stage::Packet { Stage::Datagram } else { Stage::Fragment });
                if self.frames.len() == BURST {
                    self.judge_admitted(now);
                }
            }
            Stage::Datagram => {
                // Packets admitted before it came before it.
                self.judge_admitted(now);
                frame.meta.family = read(&frame).map(|info| info.family);
                self.group.push(frame);
                if how.index + 1 < how.count {
                    return;
                }
                let frames = std::mem::take(&mut self.group);
                let verify = self.snapshot.verify;
                let whole = self.fragments.merge(&frames, read).map(|whole| {
                    let verify = if whole.trusted || !verify { Verify::Trust } else { Verify::Check };
                    wire::parse(whole.bytes, verify)
                });
                match whole {
                    Some(Ok(whole)) => self.judge_datagram(frames, whole, now),
                    _ => {
                        frames.into_iter().for_each(|f| self.drop(f, Fate::of(End::Drop(DropReason::FragmentOverlap))))
                    }
                }
            }
        }
    }

    /// Judges a whole datagram once and sends its fragments the same way.
    fn judge_datagram(&mut self, frames: Group, mut whole: Parsed, now: Now) {
        if whole.summary.track == Track::Call {
            whole = self.complete_call(&whole, now);
        }
        let Some(first) = frames.first() else { return };
        let ingress = first.meta.ingress;
        let key = self.key_of(&whole, ingress);
        let notrack = match self.prerouting(first, &whole) {
            Ok(notrack) => notrack,
            Err(Refusal { by, with }) => {
                if let Some(with) = with
                    && self.may_tell(&whole)
                {
                    self.reject_datagram(&frames, &whole, None, with, now);
                }
                return self.drop_all(frames, &refused(Fate::of(End::Held), by));
            }
        };
        let tracked = if notrack {
            Tracked::untracked()
        } else if whole.summary.track == Track::Error {
            self.track_whole_error(&frames, &whole, now)
        } else {
            let found = key.as_ref().and_then(|key| self.tracker.find(key, now.millis()));
            self.track(&[], &whole, key.as_ref().map(|key| (key, found)), ingress, now)
        };
        let fate = self.classified(&whole, &tracked);
        self.route_datagram(frames, &whole, tracked, fate, now);
    }

    /// The zone of a datagram, which all its fragments share.
    fn zone_of(&self, frames: &[Frame]) -> Zone {
        frames.first().map_or(Zone::DEFAULT, |frame| self.snapshot.zone(frame.meta.ingress))
    }

    fn track_whole_error(&mut self, frames: &[Frame], whole: &Parsed, now: Now) -> Tracked {
        // The quoted packet may lie across fragments, so it is read from the whole; a copy, for the buffer is
        // the reassembler's.
        match self.fragments.merge(frames, read).map(|w| w.bytes.to_vec()) {
            Some(bytes) => self.track_error(&bytes, whole, self.zone_of(frames), now),
            None => Tracked::invalid(InvalidReason::IcmpInner),
        }
    }

    /// A fragment that cannot be put together goes on alone. The first of an IPv6 datagram is tracked by what it
    /// holds, as in netfilter, whose walk over the headers stops only at later ones; these are INVALID.
    fn judge_alone(&mut self, frame: Frame, parsed: &Parsed, stage: Stage, now: Now) {
        let mut first = as_if_whole(&frame, parsed, self.verify(&frame));
        if let Some((_, whole)) = &mut first
            && whole.summary.track == Track::Call
        {
            *whole = self.complete_call(whole, now);
        }
        if let Some((octets, whole)) = &first
            && stage != Stage::Datagram
        {
            let home = self.home_of(octets, whole);
            if home != self.id {
                return self.hand_over(home, Stage::Packet, frame);
            }
        }
        self.counters.fragments(parsed.summary.tuple.family, FragmentResult::Invalid, 1);
        let parsed = first.as_ref().map_or(parsed, |(_, whole)| whole);
        let tracked = match (self.prerouting(&frame, parsed), &first) {
            (Err(refusal), _) => return self.refuse_untracked(frame, parsed, refusal, now),
            (Ok(true), _) => Tracked::untracked(),
            (Ok(false), None) => Tracked::invalid(InvalidReason::Fragment),
            (Ok(false), Some((octets, whole))) => {
                let key = self.key_of(whole, frame.meta.ingress);
                let found = key.as_ref().and_then(|key| self.tracker.find(key, now.millis()));
                self.track(octets, whole, key.as_ref().map(|key| (key, found)), frame.meta.ingress, now)
            }
        };
        let fate = self.classified(parsed, &tracked);
        self.route(Passage { frame, parsed, tracked, fate }, now);
    }

    /// Gives up datagrams whose time is over.
    pub(in crate::shard) fn expire_fragments(&mut self, now: Now, budget: usize) {
        if self.fragments.pending() == 0 {
            return;
        }
        let mut dropped: Vec<(Frame, DropReason)> = Vec::new();
        self.fragments.expire(now.millis(), budget, &mut |frame, reason| dropped.push((frame, reason)));
        self.fragments_dropped(dropped);
    }

    /// Routes a whole datagram, lets the rules decide once, and sends its fragments.
    fn route_datagram(&mut self, frames: Group, whole: &Parsed, mut tracked: Tracked, mut fate: Fate, now: Now) {
        let Some(first) = frames.first() else { return };
        let way = match Self::heed_all_options(self.way(whole, &tracked), &frames) {
            Way::Forward(hop) => match self.largest_too_big(&frames, hop.port) {
                Some(error) => Way::None(DropReason::MtuExceeded, Some(error)),
                None => Way::Forward(hop),
            },
            way => way,
        };
        let hop = match way {
            Way::Forward(hop) => Some(hop),
            Way::Local => None,
            // Nothing that comes in fragments is for a group the router is in (RFC 6980 section 5).
            Way::Group => return self.drop_all(frames, &fate.ending(End::Drop(DropReason::NotForUs))),
            Way::None(reason, error) => {
                if let Some(error) = error {
                    self.answer_to_first(&frames, error, now);
                }
                return self.drop_all(frames, &fate.ending(End::Drop(reason)));
            }
        };
        let hook = if hop.is_some() { Hook::Forward } else { Hook::Input };
        let decision = self.decide(hook, Some(tracked.state), hop.map(|h| h.port), first, whole);
        fate.rule = self.rule_of(decision.by);
        match decision.verdict {
            Verdict::Accept | Verdict::NoTrack => {}
            Verdict::Drop => return self.drop_all(frames, &refused(fate, decision.by)),
            Verdict::Reject(with) => {
                self.reject_datagram(&frames, whole, Some(&tracked), with, now);
                return self.drop_all(frames, &refused(fate, decision.by));
            }
        }
        let ingress = first.meta.ingress;
        // A copy, for the buffer is the reassembler's; few connections have a helper.
        let bytes = match self.has_helper(&tracked, whole, ingress) {
            true => self.fragments.merge(&frames, read).map(|w| w.bytes.to_vec()).unwrap_or_default(),
            false => Vec::new(),
        };
        if !self.inspect(&tracked, whole, &bytes, now) {
            return self.drop_all(frames, &fate.ending(End::Drop(DropReason::HelperMalformed)));
        }
        if let Err(reason) = self.confirm(&mut tracked, whole, &bytes, ingress, now) {
            return self.drop_all(frames, &fate.ending(End::Drop(reason)));
        }
        let Some(hop) = hop else { return self.datagram_for_us(frames, whole, tracked, fate, now) };
        fate.egress = Some(hop.port);
        for mut frame in frames {
            let Ok(parsed) = wire::parse(frame.data(), Verify::Trust) else {
                self.drop(frame, fate.ending(End::Drop(DropReason::RxTruncated)));
                continue;
            };
            // The first fragment's are the datagram's; the others have copies, which nothing is written into.
            if has_options(&parsed) && parsed.fragment.is_none_or(|f| f.offset == 0) {
                self.record_hop(&mut frame, &parsed, hop, now);
            }
            let passage = Passage { frame, parsed: &parsed, tracked, fate };
            match self.next_hop(hop, whole.summary.tuple.family, now) {
                Some((_, mac)) => self.depart(passage, hop.port, mac),
                None => self.wait_for_next_hop(passage, hop, now),
            }
        }
    }

    /// Where a datagram is to go whose fragments may have options. Errors tell of the first fragment's alone.
    fn heed_all_options(way: Way, frames: &[Frame]) -> Way {
        frames.iter().fold(way, |way, frame| match wire::parse(frame.data(), Verify::Trust) {
            Ok(parsed) if has_options(&parsed) => {
                let later = parsed.fragment.is_some_and(|fragment| fragment.offset != 0);
                match (way, Self::heed_options(way, frame.data(), &parsed)) {
                    (Way::None(DropReason::IpOptions, error @ Some(_)), _) => Way::None(DropReason::IpOptions, error),
                    (_, Way::None(DropReason::IpOptions, Some(_))) if later => Way::None(DropReason::IpOptions, None),
                    (_, way) => way,
                }
            }
            _ => way,
        })
    }

    /// The error for the first fragment that the egress port does not carry and that may not be cut.
    fn largest_too_big(&self, frames: &[Frame], egress: PortId) -> Option<IcmpError> {
        let mtu = self.snapshot.port(egress)?.mtu;
        let exceeds = |frame: &Frame| {
            wire::parse(frame.data(), Verify::Trust).is_ok_and(|p| p.dont_fragment && p.end - u32::from(p.l3) > mtu)
        };
        frames.iter().any(exceeds).then_some(IcmpError::TooBig { mtu })
    }

    /// Errors quote the first fragment, the one that holds the transport header.
    fn answer_to_first(&mut self, frames: &[Frame], error: IcmpError, now: Now) -> bool {
        let mut sent = false;
        for frame in frames {
            if let Ok(parsed) = wire::parse(frame.data(), Verify::Trust)
                && parsed.fragment.is_some_and(|f| f.offset == 0)
            {
                sent |= self.answer_with_error(frame, &parsed, error, now);
            }
        }
        sent
    }

    /// Answers a whole datagram as a reject says. `tracked` is `None` before tracking.
    fn reject_datagram(
        &mut self,
        frames: &[Frame],
        whole: &Parsed,
        tracked: Option<&Tracked>,
        with: RejectWith,
        now: Now,
    ) {
        let Some(first) = frames.first() else { return };
        let sent = match unreachable_of(with) {
            Some(_) if has_wrong_checksum(whole) => false,
            Some(code) => self.answer_to_first(frames, IcmpError::Unreachable(code), now),
            None => self.reject_with_reset(first.meta.ingress, whole, tracked, now),
        };
        self.count_reject(sent, with, whole);
    }

    /// An accepted datagram for the router: answered from the whole, if a buffer holds it.
    fn datagram_for_us(&mut self, frames: Group, whole: &Parsed, tracked: Tracked, fate: Fate, now: Now) {
        let copy = self.fragments.merge(&frames, read).and_then(|w| self.pool.alloc_from(w.bytes));
        if let (Some(mut frame), Some(first)) = (copy, frames.first()) {
            frame.meta = first.meta;
            self.answer(&Passage { frame, parsed: whole, tracked, fate }, now);
        }
        for frame in frames {
            self.counters.punt(frame.meta.ingress);
            self.watch.ended(frame.meta.seq, &fate.ending(End::Punt));
        }
    }

    fn drop_all(&mut self, frames: Group, fate: &Fate) {
        for frame in frames {
            self.drop(frame, *fate);
        }
    }
}

/// The first fragment of an IPv6 datagram as if no more followed, and its octets with that flag cleared.
fn as_if_whole(frame: &Frame, parsed: &Parsed, verify: Verify) -> Option<(Vec<u8>, Parsed)> {
    let fragment = parsed.fragment.filter(|f| f.offset == 0)?;
    if parsed.summary.tuple.family != Family::V6 || !fragment.more {
        return None;
    }
    // The flag is the last bit of the fourth octet of the fragment header (RFC 8200 section 4.5).
    let flag = usize::from(parsed.l4).checked_sub(5)?;
    let mut octets = frame.data().to_vec();
    *octets.get_mut(flag)? &= !1;
    let whole = wire::parse(&octets, verify).ok().filter(|whole| whole.fragment.is_none())?;
    Some((octets, whole))
}

/// Reads a frame's fragment fields again.
fn read(frame: &Frame) -> Option<FragmentInfo> {
    wire::parse(frame.data(), Verify::Trust).ok().and_then(|parsed| FragmentInfo::of(&parsed))
}
