//! Connections with a helper: their records, and what becomes of what the helper finds.

use crate::conntrack::tracker::{Conn, Tracked};
use crate::helper::{
    Announced, Attach, Class, Context, Effects, Helper, HelperId, HelperKind, Outcome, Settings, State,
};
use crate::metrics::Counters;
use crate::metrics::label::{ExpectResult, HelperResult};
use crate::net::{
    Addr, CtState, Direction, DropReason, Expectation, Family, L4, MasterRef, Millis, Now, PortId, Track, Tuple, Zone,
};
use crate::route::{Fib, Route};
use crate::shard::{Shard, Watch};
use crate::steer::{AddResult, Directory, Handle, Offer, owner};
use crate::wire::Parsed;
use smallvec::SmallVec;
use std::ops::RangeInclusive;

/// Most connections with a helper in one shard.
const MOST: usize = 65_536;

/// A connection's helper, its memory, and the expectations it has open, oldest first.
#[derive(Debug)]
struct Record {
    id: HelperId,
    kind: HelperKind,
    settings: Settings,
    classes: SmallVec<[Class; 4]>,
    original: Tuple,
    zone: Zone,
    expected: bool,
    state: State,
    open: Vec<(u8, Handle)>,
}

/// The helper records of one shard. A slot's generation tells its tenants apart.
#[derive(Debug)]
pub(in crate::shard) struct Helped {
    slots: Vec<(u32, Option<Record>)>,
    free: Vec<u32>,
    limit: usize,
}

impl Helped {
    pub(in crate::shard) fn new(entries: usize) -> Helped {
        Helped { slots: Vec::new(), free: Vec::new(), limit: entries.min(MOST) }
    }

    fn insert(&mut self, record: Record) -> Option<u32> {
        if let Some(slot) = self.free.pop() {
            self.slots.get_mut(slot as usize)?.1 = Some(record);
            return Some(slot);
        }
        if self.slots.len() >= self.limit {
            return None;
        }
        self.slots.push((0, Some(record)));
        Some(self.slots.len() as u32 - 1)
    }

    fn remove(&mut self, slot: u32) -> Option<Record> {
        let (generation, place) = self.slots.get_mut(slot as usize)?;
        let record = place.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(slot);
        Some(record)
    }
}

/// What a helper is shown of a packet.
struct Segment<'a> {
    conn: Conn,
    direction: Direction,
    state: CtState,
    parsed: &'a Parsed,
    data: &'a [u8],
}

/// Where a helper's wishes are carried out.
struct Desk<'a> {
    directory: &'a Directory,
    counters: &'a mut Counters,
    classes: &'a [Class],
    open: &'a mut Vec<(u8, Handle)>,
    master: MasterRef,
    helpers: &'a Attach,
    fib: &'a Fib,
    zone: Zone,
    shards: usize,
    /// How long the connection itself is to live.
    timer: Option<u32>,
    now: Millis,
}

impl Desk<'_> {
    fn count(&mut self, result: ExpectResult) {
        self.counters.expectation(usize::from(self.master.helper), result);
    }

    /// Withdraws those of its expectations for which `goes` says so.
    fn withdraw_if(&mut self, mut goes: impl FnMut(u8, &Handle) -> bool) {
        let mut open = std::mem::take(self.open);
        open.retain(|(class, handle)| {
            let goes = goes(*class, handle);
            if goes && self.directory.remove(handle) {
                self.count(ExpectResult::Removed);
            }
            !goes
        });
        *self.open = open;
    }

    /// Its newest expectation that `fits`.
    fn newest(&self, mut fits: impl FnMut(u8, &Expectation) -> bool) -> Option<Handle> {
        let fits = |(class, handle): &&(u8, Handle)| {
            self.directory.get(handle, self.now).is_some_and(|expectation| fits(*class, &expectation))
        };
        self.open.iter().rev().find(fits).map(|(_, handle)| *handle)
    }
}

impl Effects for Desk<'_> {
    fn expect(&mut self, expectation: Expectation) -> Announced {
        let Some(class) = self.classes.get(usize::from(expectation.class)) else { return Announced::Refused };
        let (directory, now) = (self.directory, self.now);
        self.open.retain(|(_, handle)| directory.contains(handle, now));
        let mut of_class = self.open.iter().filter(|(class, _)| *class == expectation.class);
        let crowded = of_class.clone().count() >= usize::from(class.max_expected);
        let evict = of_class.next().map(|(_, handle)| *handle).filter(|_| crowded);
        let offer =
            Offer { expectation, zone: self.zone.id(), master: self.master, timeout_ms: class.timeout_ms, evict };
        let (handle, instead) = match directory.add(&offer, now) {
            AddResult::Added { handle, evicted } => (handle, evicted),
            AddResult::Replaced(handle) => (handle, true),
            AddResult::Already => return Announced::Already,
            AddResult::Busy | AddResult::Full => {
                self.count(ExpectResult::Refused);
                return Announced::Refused;
            }
        };
        if instead {
            self.count(ExpectResult::Removed);
        }
        self.open.push((expectation.class, handle));
        self.count(ExpectResult::Created);
        Announced::Done
    }

    fn withdraw(&mut self, expectation: &Expectation) {
        let handle = self.newest(|_, e| e == expectation);
        self.withdraw_if(|_, h| Some(*h) == handle);
    }

    fn withdraw_classes(&mut self, classes: RangeInclusive<u8>) {
        self.withdraw_if(|class, _| classes.contains(&class));
    }

    fn withdraw_newest(&mut self, class: u8) {
        let handle = self.newest(|c, _| c == class);
        self.withdraw_if(|_, h| Some(*h) == handle);
    }

    fn activate(&mut self, class: u8, proto: u8, to: (Addr, u16), ms: u32) -> bool {
        let handle = self.newest(|c, e| c == class && e.proto == proto && (e.dst, e.dst_key) == to);
        handle.is_some_and(|handle| self.directory.activate(&handle, ms, self.now))
    }

    fn expects_elsewhere(&self, packet: &Tuple, class: u8) -> bool {
        let kind = |helper| self.helpers.get(HelperId(helper)).map(|config| (config.kind, config.l4proto));
        self.directory.find(packet, self.zone.id(), self.now).is_some_and(|claim| {
            claim.master != self.master
                && claim.expectation.class == class
                && kind(claim.master.helper) == kind(self.master.helper)
        })
    }

    fn same_way(&self, family: Family, one: Addr, other: Addr) -> bool {
        let port = |addr| match self.fib.lookup(family, addr, 0) {
            Route::Forward(hop) => Some(hop.port),
            _ => None,
        };
        port(one).is_some_and(|one| port(other) == Some(one))
    }

    fn pair_call(&mut self, flow: &Tuple) -> bool {
        self.directory.calls().add(flow, &self.master)
    }

    fn unpair_calls(&mut self) {
        self.directory.calls().remove(&self.master, u64::MAX);
    }

    fn end(&mut self, flow: &Tuple) {
        if let Some(claim) = self.directory.find(flow, self.zone.id(), self.now)
            && self.directory.remove(&claim.handle)
        {
            self.counters.expectation(usize::from(claim.master.helper), ExpectResult::Removed);
        }
        self.directory.calls().end(owner(flow, self.shards), flow, self.zone);
    }

    fn set_timer(&mut self, ms: u32) {
        self.timer = Some(ms);
    }
}

impl<W: Watch> Shard<W> {
    /// The helper that the tracker's candidate is to have: its expectation's, or the configured one.
    #[inline]
    pub(in crate::shard) fn helper_for_candidate(&self, ingress: PortId) -> Option<HelperId> {
        self.expected_helper
            .or_else(|| self.tracker.candidate().and_then(|tuple| self.snapshot.helpers.pick(tuple, ingress)))
    }

    /// Whether a helper will want to see a packet's payload.
    pub(in crate::shard) fn has_helper(&self, tracked: &Tracked, parsed: &Parsed, ingress: PortId) -> bool {
        match tracked.conn {
            Conn::None => false,
            Conn::Known(_) => self.helper_of(tracked, parsed).is_some(),
            Conn::Fresh => self.helper_for_candidate(ingress).is_some(),
        }
    }

    /// Has a helper read the candidate, whose first packet it is shown at once. Gives its record's number. Without
    /// room for a record the connection goes without helper, as one whose helper is off.
    ///
    /// # Errors
    /// `helper_malformed`: the helper says the packet must not pass.
    #[cold]
    pub(in crate::shard) fn meet_helper(
        &mut self,
        id: HelperId,
        tracked: &Tracked,
        parsed: &Parsed,
        data: &[u8],
        now: Now,
    ) -> Result<Option<u32>, DropReason> {
        let (Some(config), Some(original)) = (self.snapshot.helpers.get(id), self.tracker.candidate()) else {
            return Ok(None);
        };
        let classes = config.kind.helper().defaults().classes.len();
        let record = Record {
            id,
            kind: config.kind,
            settings: config.settings,
            classes: (0..classes).map(|class| config.class(class as u8)).collect(),
            original: *original,
            zone: self.tracker.candidate_zone(),
            expected: self.tracker.is_expected(&tracked.conn),
            state: State::default(),
            open: Vec::new(),
        };
        let Some(slot) = self.helped.insert(record) else {
            self.counters.expectation(usize::from(id.0), ExpectResult::Refused);
            return Ok(None);
        };
        let (conn, state) = (tracked.conn, tracked.state);
        let segment = Segment { conn, direction: Direction::Original, state, parsed, data };
        if self.show(&segment, slot, now) {
            return Ok(Some(slot));
        }
        self.forget_helper(slot, now.millis());
        Err(DropReason::HelperMalformed)
    }

    /// Shows an accepted packet of a known connection to its helper, unless it is an error about it. `data` is the
    /// frame that `parsed` describes. `false`: the helper says it must not pass.
    #[inline]
    pub(in crate::shard) fn inspect(&mut self, tracked: &Tracked, parsed: &Parsed, data: &[u8], now: Now) -> bool {
        let Some(slot) = self.helper_of(tracked, parsed) else { return true };
        let direction = tracked.direction.unwrap_or(Direction::Original);
        self.show(&Segment { conn: tracked.conn, direction, state: tracked.state, parsed, data }, slot, now)
    }

    /// The record of the helper that is to be shown a packet.
    #[inline]
    fn helper_of(&self, tracked: &Tracked, parsed: &Parsed) -> Option<u32> {
        match tracked.conn {
            Conn::Known(found) if parsed.summary.track == Track::Tuple => self.tracker.helper_of(found),
            _ => None,
        }
    }

    /// Shows a packet to the helper of a record. `false`: it says the packet must not pass.
    #[cold]
    fn show(&mut self, segment: &Segment<'_>, slot: u32, now: Now) -> bool {
        let seq = match segment.parsed.summary.l4 {
            L4::Tcp(segment) => segment.seq,
            _ => 0,
        };
        let payload = segment.parsed.payload(segment.data);
        let both_seen = segment.state == CtState::Established;
        let said =
            self.consult((segment.direction, seq, both_seen), slot, now.millis(), |helper, context, state, desk| {
                (helper.inspect(context, state, payload, desk), desk.timer, desk.master.helper)
            });
        let Some((outcome, timer, number)) = said else { return true };
        let (result, passes) = match outcome {
            Outcome::Ignored => (HelperResult::Ignored, true),
            Outcome::Parsed => (HelperResult::Parsed, true),
            Outcome::Drop(_) => (HelperResult::Malformed, false),
        };
        self.counters.helper_packet(usize::from(number), result);
        if let Some(ms) = timer {
            self.tracker.set_timer(&segment.conn, ms, now.millis());
        }
        self.end_calls(now);
        passes
    }

    /// Lets the helper of a record act for its connection.
    fn consult<R>(
        &mut self,
        (direction, seq, both_seen): (Direction, u32, bool),
        slot: u32,
        now: Millis,
        ask: impl FnOnce(&dyn Helper, &Context<'_>, &mut State, &mut Desk<'_>) -> R,
    ) -> Option<R> {
        let (generation, Some(record)) = self.helped.slots.get_mut(slot as usize)? else { return None };
        let reply = record.original.inverse()?;
        let context = Context {
            original: &record.original,
            reply: &reply,
            direction,
            seq,
            both_seen,
            expected: record.expected,
            number: record.id.0,
            settings: record.settings,
        };
        let mut desk = Desk {
            directory: &self.directory,
            counters: &mut self.counters,
            classes: &record.classes,
            open: &mut record.open,
            master: MasterRef { shard: self.id, slot, generation: *generation, helper: record.id.0 },
            helpers: &self.snapshot.helpers,
            fib: &self.snapshot.fib,
            zone: record.zone,
            shards: self.shards,
            timer: None,
            now,
        };
        Some(ask(record.kind.helper(), &context, &mut record.state, &mut desk))
    }

    /// Frees the record of a connection that left the table, or never entered it, and takes its expectations back.
    pub(in crate::shard) fn forget_helper(&mut self, slot: u32, now: Millis) {
        self.consult((Direction::Original, 0, true), slot, now, |helper, context, state, desk| {
            helper.ended(context, state, desk);
        });
        let Some(record) = self.helped.remove(slot) else { return };
        for (_, handle) in record.open {
            if self.directory.remove(&handle) {
                self.counters.expectation(usize::from(record.id.0), ExpectResult::Removed);
            }
        }
    }

    /// The same for all connections that left the table since the last call.
    #[inline]
    pub(in crate::shard) fn forget_orphans(&mut self, now: Millis) {
        while let Some(slot) = self.tracker.take_orphan() {
            self.forget_helper(slot, now);
        }
        while let Some(master) = self.tracker.take_ended_call() {
            self.directory.calls().remove(&master, u64::MAX);
        }
        self.forget_counted();
    }

    /// Counts the expectations that ran out since somebody asked last.
    pub fn count_expired(&mut self) {
        let counters = &mut self.counters;
        self.directory.take_expired(|helper, n| {
            (0..n).for_each(|_| counters.expectation(usize::from(helper), ExpectResult::Expired));
        });
    }
}
