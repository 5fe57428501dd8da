//! The way of a packet, stage by stage.
//!
//! Order as netfilter's: raw rules, fragments, tracking, routing, TTL and size, filter rules, helper,
//! confirmation. A packet of an established connection whose decision is cached goes from tracking straight
//! to sending.

use super::cold::tags::strip;
use super::mark::Entrance;
use super::{Action, BURST, End, Fate, Item, Mark, Path, Shard, Watch};
use crate::conntrack::key::Key;
use crate::conntrack::table::{Found, NIL, Table};
use crate::conntrack::tracker::{Conn, Tracked};
use crate::frame::{Burst, Checksum, Frame};
use crate::metrics::label::RouteResult;
use crate::net::wide::{Wide, Work};
use crate::net::{CtState, DropReason, InvalidReason, MacAddr, Now, PortId, ShardId, Track, Tuple};
use crate::policy::spec::{Hook, RejectWith};
use crate::policy::{Decider, Decision, Input, Verdict};
use crate::route::{NextHop, Route};
use crate::steer::{Stage, owner};
use crate::wire::options::has_options;
use crate::wire::{self, IcmpError, Kind, Parsed, Unreachable, Verify};

/// Packets whose entries are fetched together. Measured with a million connections: 4, 8 and 16 cost 42, 42 and 47
/// ns a packet; with ten million 56, 52 and 50.
const GROUP: usize = 8;

/// Where a packet is to go.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// To a next hop.
    Forward(NextHop),
    /// To the router itself.
    Local,
    /// To a group or broadcast address the router listens to.
    Group,
    /// Nowhere, and what its sender is told.
    None(DropReason, Option<IcmpError>),
}

/// What a raw rule said of a packet that is not to go on.
pub(super) struct Refusal {
    pub(super) by: Decider,
    /// How its sender is told; `None` if not at all.
    pub(super) with: Option<RejectWith>,
}

/// Where a packet goes, and which rule let it.
pub(super) struct Passage<'a> {
    pub(super) frame: Frame,
    pub(super) parsed: &'a Parsed,
    pub(super) tracked: Tracked,
    pub(super) fate: Fate,
}

impl<W: Watch> Shard<W> {
    // Pass one: look at the frame, hash its tuple, fetch the bucket.

    /// Takes a frame of another shard in, to be judged by [`Shard::judge_admitted`] before there are more than
    /// [`BURST`].
    pub(super) fn admit(&mut self, frame: Frame, stage: Stage) {
        let at = self.frames.len();
        match self.frames.push(frame) {
            Ok(()) => self.mark_admitted(at, stage),
            Err(frame) => self.lost(frame, DropReason::HandoffFull),
        }
    }

    /// Marks the frames of other shards from the `first` on.
    pub(super) fn mark_admitted(&mut self, first: usize, stage: Stage) {
        let mut frames = std::mem::replace(&mut self.frames, Burst::with_limit(0));
        self.mark(frames.as_mut_slice(), first, stage);
        self.frames = frames;
    }

    /// Marks the frames from the `first` on, up to as many as are judged at once.
    pub(super) fn mark(&mut self, frames: &mut [Frame], first: usize, stage: Stage) {
        let mut marks = std::mem::take(&mut self.marks);
        let mut entrance = frames.get(first).map_or(Entrance::CLOSED, |frame| self.entrance(frame.meta.ingress));
        let mut at = first;
        while let (Some(rest), Some(places)) = (frames.get_mut(at..), marks.get_mut(at..)) {
            let plain = entrance.mark_plain(&self.tracker, rest, places, stage);
            let (Some(frame), Some(mark)) = (rest.get_mut(plain), places.get_mut(plain)) else { break };
            at += plain;
            if entrance.is_of(frame) {
                mark.stage = stage;
                self.look_closely(frame, mark, at);
                at += 1;
            } else {
                entrance = self.entrance(frame.meta.ingress);
            }
        }
        self.marks = marks;
    }

    /// The same for a frame that is not plain: checks that it is for the router, parses it, takes its tags off.
    #[inline(never)]
    fn look_closely(&mut self, frame: &mut Frame, mark: &mut Mark, at: usize) {
        let stage = mark.stage;
        mark.path = self.parse(frame, stage, at).unwrap_or_else(|reason| {
            mark.reason = reason;
            Path::Drop
        });
        let mut hash = None;
        if mark.path == Path::Whole {
            if self.is_plain_behind_tags(frame, mark, at) {
                return;
            }
            mark.path = Path::Whole;
            hash = self.items.get(at).and_then(|item| item.hash);
        }
        mark.hash = hash.unwrap_or_default();
        mark.slot = hash.map_or(NIL, |hash| self.tracker.table().fetch_bucket(hash));
    }

    /// Whether a frame whose tags were taken off is plain now; then it is marked so.
    fn is_plain_behind_tags(&self, frame: &Frame, mark: &mut Mark, at: usize) -> bool {
        let tagged = self.snapshot.ports.get(frame.meta.ingress.index()).is_some_and(|port| !port.vlan.is_empty());
        let sound = |item: &Item| item.parsed.summary.track == Track::Tuple && item.parsed.summary.defect.is_none();
        tagged
            && self.items.get(at).is_some_and(sound)
            && self.entrance_behind_tags(frame.meta.ingress).mark(&self.tracker, frame, mark)
    }

    fn parse(&mut self, frame: &mut Frame, stage: Stage, at: usize) -> Result<Path, DropReason> {
        let port = self.snapshot.ports.get(frame.meta.ingress.index()).ok_or(DropReason::ReloadRemovedPort)?;
        if port.check_destination {
            let (destination, _) = wire::link_addresses(frame.data());
            if destination != port.mac && !destination.is_multicast() {
                return Err(DropReason::NotForUs);
            }
        }
        let verify = self.verify(frame);
        // Written in place: an item is too large to be passed on.
        let Some(item) = self.items.get_mut(at) else { return Err(DropReason::BufferExhausted) };
        wire::parse_into(&mut item.parsed, frame.data(), verify)?;
        // What another shard hands over has its tags off already.
        if stage == Stage::Packet && (item.parsed.vlan.depth != 0 || !port.vlan.is_empty()) {
            strip(frame, &item.parsed, &port.vlan)?;
            wire::parse_into(&mut item.parsed, frame.data(), verify)?;
        }
        if item.parsed.kind == Kind::Arp {
            return Ok(Path::Punt);
        }
        let summary = &item.parsed.summary;
        frame.meta.family = Some(summary.tuple.family);
        item.stage = stage;
        item.hash = match summary.track {
            Track::Tuple => Key::hash(&summary.tuple, self.tracker.seed()),
            _ => None,
        };
        Ok(Path::Whole)
    }

    /// The key of a packet's connection, if its tuple leads to one.
    #[inline]
    pub(super) fn key_of(&self, parsed: &Parsed, ingress: PortId) -> Option<Key> {
        if parsed.summary.track != Track::Tuple {
            return None;
        }
        Key::new(parsed.summary.tuple, self.tracker.seed()).map(|key| self.in_zone(key, ingress))
    }

    /// The key for what came in by a port. A decision remembered for a connection needs no look at the zone: it
    /// holds for packets of the port that it was made for.
    #[inline]
    fn in_zone(&self, key: Key, ingress: PortId) -> Key {
        match self.snapshot.zones {
            None => key,
            Some(_) => key.in_zone(self.snapshot.zone(ingress)),
        }
    }

    /// Whether the frame's transport checksum is still to be verified.
    #[inline]
    pub(super) fn verify(&self, frame: &Frame) -> Verify {
        match frame.meta.checksum {
            Checksum::Unknown if self.snapshot.verify => Verify::Check,
            _ => Verify::Trust,
        }
    }

    // Pass two: fetch the entries, then judge in order of arrival.

    /// Judges the frames of other shards that were taken in.
    #[inline]
    pub(super) fn judge_admitted(&mut self, now: Now) {
        if !self.frames.is_empty() {
            self.judge_those_admitted(now);
        }
    }

    #[inline(never)]
    fn judge_those_admitted(&mut self, now: Now) {
        let mut frames = std::mem::replace(&mut self.frames, Burst::with_limit(0));
        self.judge_all(&mut frames, now);
        self.frames = frames;
    }

    /// Judges the first frames of a burst, which are marked, and takes them out.
    pub(super) fn judge_all(&mut self, burst: &mut Burst, now: Now) {
        self.end_calls(now);
        let count = burst.len().min(BURST);
        let mut marks = std::mem::take(&mut self.marks);
        let known = marks.get_mut(..count).unwrap_or_default();
        let turn = self.begin_turn(now);
        let mut frames = burst.taking(count);
        let mut progress = Progress::default();
        while progress.at < count {
            progress.keep_ahead(self.tracker.table(), known);
            let Some(mark) = known.get(progress.at) else { break };
            let frame = match mark.path {
                Path::Plain(plain) => {
                    let before = progress.at;
                    match self.shortcut(plain, &mut frames, known, &mut progress, &turn) {
                        None if progress.at != before => continue,
                        frame => frame,
                    }
                }
                _ => frames.next(),
            };
            let (Some(frame), Some(mark)) = (frame, known.get(progress.at)) else { break };
            self.judge_marked(frame, (mark, progress.at), now);
            progress.at += 1;
        }
        drop(frames);
        self.send_strays();
        self.settle();
        // What connections announced must not outlive them, on no worker.
        self.forget_orphans(now.millis());
        self.marks = marks;
    }

    /// The whole way of a packet that no brief one is for.
    #[inline(never)]
    fn judge_marked(&mut self, frame: Frame, (mark, at): (&Mark, usize), now: Now) {
        let mut items = std::mem::take(&mut self.items);
        match (mark.path, items.get_mut(at)) {
            (Path::Drop, _) if mark.reason == DropReason::IpOptions => self.drop_for_hop_by_hop(frame, now),
            (Path::Drop, _) => self.drop(frame, Fate::of(End::Drop(mark.reason))),
            (Path::Punt, _) => self.punt(frame, Fate::of(End::Punt)),
            (Path::Whole, Some(item)) => self.judge(frame, item, now),
            (Path::Plain(_), Some(item)) => self.judge_plain(frame, (mark, item), now),
            (_, None) => self.drop(frame, Fate::of(End::Drop(DropReason::BufferExhausted))),
        }
        self.items = items;
    }

    /// A plain packet that could take neither brief way.
    fn judge_plain(&mut self, mut frame: Frame, (mark, item): (&Mark, &mut Item), now: Now) {
        let plain = mark.expand(&mut item.parsed, frame.data());
        debug_assert!(plain, "it was seen in the first pass");
        (item.hash, item.stage) = (Some(mark.hash), mark.stage);
        frame.meta.family = Some(item.parsed.summary.tuple.family);
        self.judge(frame, item, now);
    }

    /// One packet: from its parsed form to its end.
    #[inline(never)]
    fn judge(&mut self, frame: Frame, item: &Item, now: Now) {
        let whole;
        let (mut parsed, stage) = (&item.parsed, item.stage);
        let mut key = item.key().map(|key| self.in_zone(key, frame.meta.ingress));
        if parsed.summary.track == Track::Call {
            whole = self.complete_call(parsed, now);
            (parsed, key) = (&whole, self.key_of(&whole, frame.meta.ingress));
        }
        // Fragments meet on the shard that owns their addresses, and are judged once they are complete.
        if parsed.fragment.is_some() {
            return self.fragment(frame, parsed, stage, now);
        }
        // A tuple in no table here may be another shard's.
        let found = key.as_ref().and_then(|key| self.tracker.find(key, now.millis()));
        if found.is_none() && self.shards > 1 && stage == Stage::Packet {
            let home = self.home_of(frame.data(), parsed);
            if home != self.id {
                return self.hand_over(home, Stage::Packet, frame);
            }
        }
        // Raw rules may drop it or exempt it from tracking.
        let notrack = match self.prerouting(&frame, parsed) {
            Ok(notrack) => notrack,
            Err(refusal) => return self.refuse_untracked(frame, parsed, refusal, now),
        };
        let tracked = if notrack {
            Tracked::untracked()
        } else {
            self.track(frame.data(), parsed, key.as_ref().map(|key| (key, found)), frame.meta.ingress, now)
        };
        let fate = self.classified(parsed, &tracked);
        let passage = Passage { frame, parsed, tracked, fate };
        // Known connection, known decision: send.
        if let Some(action) = self.cached(&passage) {
            return self.pass(passage, action, now);
        }
        self.route(passage, now);
    }

    /// The shard whose table the packet belongs in.
    pub(super) fn home_of(&self, data: &[u8], parsed: &Parsed) -> ShardId {
        match parsed.summary.track {
            Track::Tuple | Track::Call => owner(&parsed.summary.tuple, self.shards),
            Track::Error if parsed.summary.defect.is_none() => {
                wire::quoted(data, parsed).map_or(self.id, |quoted| owner(&quoted.tuple, self.shards))
            }
            _ => self.id,
        }
    }

    /// Raw rules: `Ok(true)` exempts from tracking.
    #[inline]
    pub(super) fn prerouting(&mut self, frame: &Frame, parsed: &Parsed) -> Result<bool, Refusal> {
        if self.snapshot.ruleset.is_empty_at(Hook::Prerouting) {
            return Ok(false);
        }
        let decision = self.decide(Hook::Prerouting, None, None, frame, parsed);
        match decision.verdict {
            Verdict::Accept => Ok(false),
            Verdict::NoTrack => Ok(true),
            Verdict::Drop => Err(Refusal { by: decision.by, with: None }),
            Verdict::Reject(with) => Err(Refusal { by: decision.by, with: Some(with) }),
        }
    }

    /// The packet's state. Moves a known connection on; a new one stays a candidate. `key` comes with what was
    /// found under it.
    #[inline]
    pub(super) fn track(
        &mut self,
        data: &[u8],
        parsed: &Parsed,
        key: Option<(&Key, Option<Found>)>,
        ingress: PortId,
        now: Now,
    ) -> Tracked {
        let summary = &parsed.summary;
        match (summary.track, key) {
            (Track::Tuple, Some((key, found))) => {
                let now = now.millis();
                match found.and_then(|found| self.tracker.advance(found, summary, now)) {
                    Some(tracked) => tracked,
                    None => self.open(key, summary, now),
                }
            }
            // An ICMP type that no reply answers.
            (Track::Tuple, None) => Tracked::invalid(summary.defect.unwrap_or(InvalidReason::IcmpType)),
            (Track::Error, _) => self.track_error(data, parsed, self.snapshot.zone(ingress), now),
            (Track::Call, _) => Tracked::invalid(InvalidReason::Unknown),
            (Track::Untracked, _) => Tracked::untracked(),
            (Track::Invalid(reason), _) => Tracked::invalid(reason),
        }
    }

    /// Counts the state and notes it.
    #[inline]
    pub(super) fn classified(&mut self, parsed: &Parsed, tracked: &Tracked) -> Fate {
        self.counters.state(parsed.summary.tuple.family, tracked.state, 1);
        if let Some(reason) = tracked.invalid {
            self.counters.invalid(reason);
        }
        Fate {
            end: End::Held,
            state: Some(tracked.state),
            direction: tracked.direction,
            invalid: tracked.invalid,
            rule: None,
            egress: None,
            protocol_state: if W::WATCHING { self.tracker.protocol_state(&tracked.conn) } else { None },
        }
    }

    /// What was decided for this connection and direction, if it still holds for this packet.
    #[inline]
    fn cached(&self, passage: &Passage<'_>) -> Option<Action> {
        let Conn::Known(found) = &passage.tracked.conn else { return None };
        let parsed = passage.parsed;
        if passage.tracked.state != CtState::Established || parsed.link_group || has_options(parsed) {
            return None;
        }
        let pair = self.tracker.decision(*found, self.snapshot.epoch_octet());
        let action = *self.decisions.get(pair, found.direction)?;
        (action.ingress == passage.frame.meta.ingress).then_some(action)
    }

    /// Where a packet is to go, before any rule is asked.
    pub(super) fn way(&mut self, parsed: &Parsed, tracked: &Tracked) -> Way {
        if tracked.invalid == Some(InvalidReason::TableFull) {
            return Way::None(DropReason::CtTableFull, None);
        }
        let tuple = parsed.summary.tuple;
        let route = self.snapshot.fib.lookup_with(tuple.family, tuple.dst, || flow_hash(&tuple));
        self.counters.route_lookup(tuple.family, result_of(&route), 1);
        let unreachable = |reason, code| Way::None(reason, Some(IcmpError::Unreachable(code)));
        match route {
            Route::Local(_) => Way::Local,
            Route::Broadcast | Route::Multicast { joined: true } => Way::Group,
            Route::Multicast { joined: false } => Way::None(DropReason::NotForUs, None),
            Route::Martian => Way::None(DropReason::MartianSource, None),
            // Link-level groups carry no unicast that may be forwarded (RFC 1122 section 3.3.6).
            _ if parsed.link_group => Way::None(DropReason::NotForUs, None),
            _ if self.may_not_be_forwarded(&tuple) => Way::None(DropReason::MartianSource, None),
            Route::None => unreachable(DropReason::NoRoute, Unreachable::Net),
            Route::Blackhole => Way::None(DropReason::Blackhole, None),
            Route::Unreachable => unreachable(DropReason::Blackhole, Unreachable::Host),
            Route::Prohibit => unreachable(DropReason::Blackhole, Unreachable::AdminProhibited),
            Route::Forward(_) if parsed.ttl <= 1 => Way::None(DropReason::TtlExpired, Some(IcmpError::TimeExceeded)),
            Route::Forward(hop) => Way::Forward(hop),
        }
    }

    /// Asks the routes, and the rules of the hook that follows from them.
    pub(super) fn route(&mut self, mut passage: Passage<'_>, now: Now) {
        let mut way = self.way(passage.parsed, &passage.tracked);
        if has_options(passage.parsed) {
            way = Self::heed_options(way, passage.frame.data(), passage.parsed);
        }
        match way {
            Way::Local => self.input(passage, now),
            Way::Group => self.input_group(passage, now),
            Way::None(reason, None) => self.drop_passage(passage, reason),
            Way::None(reason, Some(error)) => self.refuse(passage, reason, error, now),
            Way::Forward(hop) => {
                if let Some(error) = self.too_big(&passage, hop.port) {
                    return self.refuse(passage, DropReason::MtuExceeded, error, now);
                }
                let state = Some(passage.tracked.state);
                let decision = self.decide(Hook::Forward, state, Some(hop.port), &passage.frame, passage.parsed);
                passage.fate.rule = self.rule_of(decision.by);
                match decision.verdict {
                    Verdict::Accept | Verdict::NoTrack => self.forward(passage, hop, &decision, now),
                    Verdict::Drop => {
                        let fate = refused(passage.fate, decision.by);
                        self.drop(passage.frame, fate);
                    }
                    Verdict::Reject(with) => self.reject(passage, decision.by, with, now),
                }
            }
        }
    }

    /// An accepted packet with a cached decision.
    #[inline]
    fn pass(&mut self, mut passage: Passage<'_>, action: Action, now: Now) {
        let Some((egress, mac)) = self.neighbours.touch(action.neighbour) else {
            // The next hop was forgotten meanwhile: find it anew.
            return self.route(passage, now);
        };
        if passage.parsed.ttl <= 1 {
            return self.refuse(passage, DropReason::TtlExpired, IcmpError::TimeExceeded, now);
        }
        if let Some(error) = self.too_big(&passage, action.egress) {
            return self.refuse(passage, DropReason::MtuExceeded, error, now);
        }
        // Rules count what comes to them, and no packet does whose TTL or size ends it before.
        let bytes = passage.frame.len() as u64;
        for slot in action.trail.slots() {
            self.rules.count(slot.index(), 1, bytes);
        }
        passage.fate.rule = action.trail.slots().last().copied();
        if !self.inspect(&passage.tracked, passage.parsed, passage.frame.data(), now) {
            return self.drop_passage(passage, DropReason::HelperMalformed);
        }
        passage.fate.egress = Some(egress);
        self.depart(passage, egress, mac);
    }

    /// Hands a packet that passed every check to its next hop, and enters its connection.
    pub(super) fn forward(&mut self, mut passage: Passage<'_>, hop: NextHop, decision: &Decision, now: Now) {
        if !self.inspect(&passage.tracked, passage.parsed, passage.frame.data(), now) {
            return self.drop_passage(passage, DropReason::HelperMalformed);
        }
        let ingress = passage.frame.meta.ingress;
        let (parsed, data) = (passage.parsed, passage.frame.data());
        if let Err(reason) = self.confirm(&mut passage.tracked, parsed, data, ingress, now) {
            return self.drop_passage(passage, reason);
        }
        passage.fate.egress = Some(hop.port);
        if has_options(parsed) {
            self.record_hop(&mut passage.frame, parsed, hop, now);
        }
        if let Some((id, mac)) = self.next_hop(hop, passage.parsed.summary.tuple.family, now) {
            if let Some(neighbour) = id
                && let Conn::Known(found) = passage.tracked.conn
            {
                let action = Action { ingress, egress: hop.port, neighbour, trail: decision.trail };
                self.remember(&passage, found, action);
            }
            let Passage { mut frame, parsed, fate, .. } = passage;
            wire::decrement_ttl(frame.data_mut(), parsed);
            self.transmit(hop.port, mac, frame, &fate, parsed);
        } else {
            self.wait_for_next_hop(passage, hop, now);
        }
    }

    /// Caches what was decided for a packet's connection, and with a NEW one what will be.
    fn remember(&mut self, passage: &Passage<'_>, found: Found, action: Action) {
        let epoch = self.snapshot.epoch_octet();
        let before = self.tracker.decision(found, epoch);
        let decision = match passage.tracked.state {
            CtState::Established => Some(self.decisions.with(before, found.direction, action)),
            CtState::New => self.ahead(before, action, passage.parsed.summary.tuple.proto),
            _ => None,
        };
        if let Some(decision) = decision {
            self.tracker.set_decision(found, epoch, decision);
        }
    }

    /// Enters a candidate into the table: the packet has passed (decision D2). `data` is the frame that `parsed`
    /// describes, for a helper.
    pub(super) fn confirm(
        &mut self,
        tracked: &mut Tracked,
        parsed: &Parsed,
        data: &[u8],
        ingress: PortId,
        now: Now,
    ) -> Result<(), DropReason> {
        if !matches!(tracked.conn, Conn::Fresh) {
            return Ok(());
        }
        let counted = self.reserve(now)?;
        let record = match self.helper_for_candidate(ingress) {
            Some(helper) => self.meet_helper(helper, tracked, parsed, data, now),
            None => Ok(None),
        };
        let record = match record {
            Ok(record) => record,
            Err(reason) => {
                self.give_back(counted);
                return Err(reason);
            }
        };
        let Some(found) = self.tracker.commit(now.millis()) else {
            record.into_iter().for_each(|record| self.forget_helper(record, now.millis()));
            self.give_back(counted);
            return Err(DropReason::CtTableFull);
        };
        if counted.is_some() {
            self.tracker.mark_counted(found);
        }
        if let Some(record) = record {
            self.tracker.attach_helper(found, record);
        }
        tracked.conn = Conn::Known(found);
        Ok(())
    }

    /// Sends an accepted packet to a link address: counts its TTL down first.
    #[inline]
    pub(super) fn depart(&mut self, passage: Passage<'_>, egress: PortId, mac: MacAddr) {
        let Passage { mut frame, parsed, fate, .. } = passage;
        wire::decrement_ttl(frame.data_mut(), parsed);
        self.transmit(egress, mac, frame, &fate, parsed);
    }

    /// Lets the rules of `hook` decide and counts for them.
    pub(super) fn decide(
        &mut self,
        hook: Hook,
        state: Option<CtState>,
        oif: Option<PortId>,
        frame: &Frame,
        parsed: &Parsed,
    ) -> Decision {
        let tuple = parsed.summary.tuple;
        let has_ports = tuple.has_ports() && parsed.summary.track == Track::Tuple;
        let input = Input { state, iif: frame.meta.ingress, oif, tuple, has_ports };
        let decision = self.snapshot.ruleset.decide(hook, &input);
        let bytes = frame.len() as u64;
        for slot in decision.trail.slots() {
            self.rules.count(slot.index(), 1, bytes);
        }
        decision
    }

    pub(super) fn rule_of(&self, by: Decider) -> Option<crate::policy::RuleIndex> {
        match by {
            Decider::Rule(rule) => Some(rule),
            Decider::ChainPolicy(hook) => self.snapshot.ruleset.policy_slot(hook),
        }
    }

    /// A source that no router forwards from (RFC 1812 section 5.3.7, RFC 4291 section 2.5.6).
    pub(super) fn may_not_be_forwarded(&self, tuple: &Tuple) -> bool {
        self.snapshot.fib.is_martian_source(tuple.family, tuple.src) || tuple.src.is_link_local(tuple.family)
    }

    /// Whether the packet is larger than the egress port carries: the error to answer with.
    #[inline]
    pub(super) fn too_big(&self, passage: &Passage<'_>, egress: PortId) -> Option<IcmpError> {
        let mtu = self.snapshot.ports.get(egress.index())?.mtu;
        let parsed = passage.parsed;
        let size = match passage.frame.meta.gso {
            None => parsed.end - u32::from(parsed.l3),
            Some(gso) => u32::from(gso.header_len).saturating_sub(u32::from(parsed.l3)) + u32::from(gso.size),
        };
        (size > mtu && parsed.dont_fragment).then_some(IcmpError::TooBig { mtu })
    }

    // The ends.

    /// Sends a frame with its TTL already counted down; cuts it if the port's MTU asks for it.
    #[inline]
    pub(super) fn transmit(&mut self, egress: PortId, mac: MacAddr, mut frame: Frame, fate: &Fate, parsed: &Parsed) {
        let Some(port) = self.snapshot.ports.get(egress.index()) else {
            return self.drop(frame, fate.ending(End::Drop(DropReason::ReloadRemovedPort)));
        };
        wire::set_link(frame.data_mut(), mac, port.mac);
        self.watch.ended(frame.meta.seq, &fate.ending(End::Accept));
        if frame.meta.gso.is_none() && parsed.end - u32::from(parsed.l3) > port.mtu {
            return self.send_in_pieces(egress, frame, parsed);
        }
        // Link padding of the ingress is not the datagram's.
        if frame.len() > parsed.end as usize {
            frame.set_len(parsed.end as usize);
        }
        self.enqueue(egress, frame);
    }

    /// Puts a finished frame into the port's queue.
    #[inline]
    pub(super) fn enqueue(&mut self, egress: PortId, mut frame: Frame) {
        let Some(port) = self.snapshot.ports.get(egress.index()) else {
            return self.lost(frame, DropReason::ReloadRemovedPort);
        };
        if frame.meta.gso.is_some() && !port.tx_gso {
            return self.send_in_segments(egress, frame);
        }
        if !port.tx_checksum_partial
            && let Checksum::Partial { start, offset } = frame.meta.checksum
        {
            if !wire::finish_partial(frame.data_mut(), start, offset) {
                return self.lost(frame, DropReason::RxChecksum);
            }
            frame.meta.checksum = Checksum::Verified;
        }
        if !port.vlan.is_empty() {
            let (tags, len) = wire::vlan_header(&port.vlan);
            let tags = tags.get(..len).unwrap_or_default();
            if frame.push_front(len).is_none() || !wire::push_vlan(frame.data_mut(), tags) {
                return self.lost(frame, DropReason::BufferExhausted);
            }
        }
        if let Err(frame) = self.out.push(egress, frame) {
            self.lost(frame, DropReason::TxRingFull);
        }
    }

    /// A frame that was accepted and then found no place to go.
    #[cold]
    pub fn lost(&mut self, frame: Frame, reason: DropReason) {
        super::count_lost(&mut self.counters, &frame, reason);
    }

    /// Drops a packet for the reason its fate names.
    #[inline]
    pub(super) fn drop(&mut self, frame: Frame, fate: Fate) {
        if let End::Drop(reason) = fate.end {
            self.counters.drop_packet(frame.meta.ingress, reason, frame.len());
        }
        self.watch.ended(frame.meta.seq, &fate);
    }

    pub(super) fn drop_passage(&mut self, passage: Passage<'_>, reason: DropReason) {
        self.drop(passage.frame, passage.fate.ending(End::Drop(reason)));
    }

    /// Gives a frame to the control plane.
    pub(super) fn punt(&mut self, frame: Frame, fate: Fate) {
        if self.upcall.punt(frame.meta.ingress, frame.data()) {
            self.counters.punt(frame.meta.ingress);
            self.watch.ended(frame.meta.seq, &fate.ending(End::Punt));
        } else {
            self.drop(frame, fate.ending(End::Drop(DropReason::PuntFull)));
        }
    }
}

/// How far judging a burst has come.
#[derive(Default)]
pub(super) struct Progress {
    /// The packet that is judged next.
    pub(super) at: usize,
    /// Until here judging may go before more is fetched.
    pub(super) stop: usize,
    fetched: usize,
}

impl Progress {
    /// Fetches entries a group or two before they are wanted: memory then has as much to do all the time, and no more at
    /// once than a core can wait for.
    #[inline(always)]
    pub(super) fn keep_ahead(&mut self, table: &Table, marks: &mut [Mark]) {
        if self.at >= self.stop {
            table.widest().run(Fetch { progress: self, table, marks });
        }
    }

    /// What may be judged now, for a function that is compiled for a width.
    #[inline(always)]
    pub(super) fn group_by<'a>(&mut self, wide: impl Wide, table: &Table, marks: &'a mut [Mark]) -> &'a [Mark] {
        if self.at >= self.stop {
            Fetch { progress: self, table, marks }.run(wide);
        }
        marks.get(self.at..self.stop).unwrap_or_default()
    }

    /// What may be judged now.
    #[inline(always)]
    pub(super) fn group<'a>(&mut self, table: &Table, marks: &'a mut [Mark]) -> &'a [Mark] {
        self.keep_ahead(table, marks);
        marks.get(self.at..self.stop).unwrap_or_default()
    }
}

/// Second pass over a burst: fetches the entries that its packets most likely belong to.
struct Fetch<'a> {
    progress: &'a mut Progress,
    table: &'a Table,
    marks: &'a mut [Mark],
}

impl Work for Fetch<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, wide: impl Wide) {
        let Fetch { progress, table, marks } = self;
        let from = progress.fetched;
        progress.stop = (progress.at + GROUP).min(marks.len());
        progress.fetched = (progress.stop + GROUP).min(marks.len());
        let way_in = table.way_in();
        // Asked for by all packets of a burst in a row, some of the buckets did not come.
        let soon = progress.fetched + GROUP..(progress.fetched + 2 * GROUP).min(marks.len());
        for mark in marks.get(soon).unwrap_or_default() {
            way_in.fetch_again(mark.slot);
        }
        let marks = marks.get_mut(from..progress.fetched).unwrap_or_default();
        for mark in marks {
            mark.slot = way_in.likely(wide, mark.slot, mark.hash);
        }
    }
}

/// The fate of a packet that a rule or a chain's policy refused.
pub(super) fn refused(fate: Fate, by: Decider) -> Fate {
    match by {
        Decider::Rule(rule) => Fate { rule: Some(rule), ..fate.ending(End::Drop(DropReason::PolicyRule)) },
        Decider::ChainPolicy(_) => fate.ending(End::Drop(DropReason::PolicyDefault)),
    }
}

/// A hash for choosing among equal routes: the same for all packets of a flow and direction.
pub(super) fn flow_hash(tuple: &Tuple) -> u32 {
    // Spread over all 32 bits, for equal-cost routes are chosen by the upper ones.
    u32::from(crate::steer::steering_hash(tuple)).wrapping_mul(0x9e37_79b1)
}

/// The metric's word for a route.
const fn result_of(route: &Route) -> RouteResult {
    match route {
        Route::Forward(_) => RouteResult::Hit,
        Route::Local(_) | Route::Broadcast | Route::Multicast { .. } => RouteResult::Local,
        Route::Blackhole | Route::Unreachable | Route::Prohibit => RouteResult::Blackhole,
        Route::None | Route::Martian => RouteResult::NoRoute,
    }
}
