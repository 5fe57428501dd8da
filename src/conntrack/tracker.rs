//! The tracker: looks a packet's connection up, moves it on, names the packet's state.
//!
//! The steps are netfilter's, and so is their order: find the entry; without one, make room, spend an
//! expectation, open a candidate; name the state; then let the protocol look at the segment, which can only
//! turn the state into INVALID. A candidate is not in the table until [`Tracker::commit`], so a connection
//! whose first packet is dropped leaves nothing behind (decision D2).

use super::census::{Census, Stage};
use super::counts::{Cause, Counts, ProtoClass};
use super::entry::{Entry, status};
use super::expect::Expectations;
use super::key::{Key, Seed};
use super::lifecycle::Timers;
use super::pack;
use super::proto::{self, Flow, Outcome, Settings, State, Timer};
use super::shortcut;
use super::table::{Found, Table};
use crate::net::{
    Addr, CtState, Direction, Family, HugePages, InvalidReason, MasterRef, Millis, ShardId, Summary, Tuple, Zone,
    proto as protocol,
};

/// What a tracker is made with.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Most entries.
    pub limit: usize,
    /// When full, give up a connection that is not assured for a new one.
    pub evict: bool,
    /// The protocols' settings.
    pub settings: Settings,
    /// Secret of the table's hash.
    pub seed: Seed,
}

/// A connection that may yet be made: its first packet is still on its way.
#[derive(Clone, Copy, Debug)]
struct Unconfirmed {
    key: Key,
    entry: Entry,
    ignored: Option<proto::tcp::Ignored>,
    parent: Option<MasterRef>,
    timeout_ms: u32,
}

/// The connection a packet belongs to.
#[derive(Clone, Copy, Debug)]
pub enum Conn {
    /// None: the packet is INVALID, UNTRACKED or ended its connection.
    None,
    /// One that stands in the table.
    Known(Found),
    /// One that this packet opens: the tracker's candidate, until another packet opens one.
    Fresh,
}

/// What tracking says of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Tracked {
    /// Its state.
    pub state: CtState,
    /// Its direction, if it has a connection.
    pub direction: Option<Direction>,
    /// Why it is INVALID.
    pub invalid: Option<InvalidReason>,
    /// Its connection.
    pub conn: Conn,
}

impl Tracked {
    /// A packet without a connection.
    #[must_use]
    pub const fn untracked() -> Tracked {
        Tracked { state: CtState::Untracked, direction: None, invalid: None, conn: Conn::None }
    }

    /// An INVALID packet.
    #[must_use]
    pub const fn invalid(reason: InvalidReason) -> Tracked {
        Tracked { state: CtState::Invalid, direction: None, invalid: Some(reason), conn: Conn::None }
    }
}

/// The connections of one shard.
#[derive(Debug)]
pub struct Tracker {
    pub(super) table: Table,
    pub(super) settings: Settings,
    pub(super) timers: Timers,
    /// What follows from the settings for packets judged at once.
    turn: shortcut::Turn,
    evict: bool,
    /// A first packet was refused; the next sweep frees what it may.
    pressure: bool,
    cursor: u32,
    sweep_lag: u32,
    census: Census,
    counts: Counts,
    /// The connection the packet being judged may open.
    candidate: Option<Unconfirmed>,
    /// Helper records whose connection is gone; the owner of the records takes them.
    orphans: Vec<u32>,
    /// Connections that are gone and were counted against a limit; whoever counts takes them.
    uncounted: Vec<(Tuple, Zone)>,
    /// Who announced the calls (PPTP) whose connections are gone.
    ended_calls: Vec<MasterRef>,
}

/// Words of the cold array.
const COLD_IGNORED: std::ops::Range<usize> = 0..2;
const COLD_HELPER: usize = 4;
const COLD_PARENT: std::ops::Range<usize> = 5..8;

impl Tracker {
    /// Reserves the table.
    #[must_use]
    pub fn new(config: &Config) -> Tracker {
        Tracker::over(Table::new(config.limit, config.seed), config)
    }

    /// Reserves the table on such pages.
    ///
    /// # Errors
    /// When the system has not the memory or the pages.
    pub fn reserve(config: &Config, pages: HugePages) -> std::io::Result<Tracker> {
        Ok(Tracker::over(Table::reserve(config.limit, config.seed, pages)?, config))
    }

    fn over(table: Table, config: &Config) -> Tracker {
        Tracker {
            table,
            settings: config.settings,
            timers: Timers::new(&config.settings.timeouts),
            turn: shortcut::Turn::of(&config.settings),
            evict: config.evict,
            pressure: false,
            cursor: 0,
            sweep_lag: 0,
            census: Census::new(),
            counts: Counts::default(),
            candidate: None,
            orphans: Vec::with_capacity(64),
            uncounted: Vec::with_capacity(64),
            ended_calls: Vec::new(),
        }
    }

    /// Takes new settings over; running timers keep the time they were given, as with Linux's sysctls.
    pub fn set_settings(&mut self, settings: Settings, evict: bool) {
        self.settings = settings;
        self.timers = Timers::new(&settings.timeouts);
        self.turn = shortcut::Turn::of(&settings);
        self.evict = evict;
    }

    /// Has packets looked at as on a processor that has no more than all have.
    #[cfg(test)]
    pub(crate) fn make_common(&mut self) {
        self.table.make_common();
    }

    /// The table, for lookups and listings.
    #[inline]
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The table's secret, which keys are formed with.
    #[inline]
    #[must_use]
    pub fn seed(&self) -> &Seed {
        self.table.seed()
    }

    /// Counters.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Connections by protocol and stage, as the last full round of the sweep met them.
    pub fn census(&self) -> impl Iterator<Item = (ProtoClass, Stage, u32)> + use<> {
        self.census.last()
    }

    /// Helper records whose connection is gone since the last call.
    #[inline]
    pub fn take_orphan(&mut self) -> Option<u32> {
        self.orphans.pop()
    }

    /// Connections that are gone since the last call and were counted against a limit: original tuple and zone.
    #[inline]
    pub fn take_uncounted(&mut self) -> Option<(Tuple, Zone)> {
        self.uncounted.pop()
    }

    /// Who announced a GRE connection that is gone since the last call: netfilter then forgets the call ids.
    #[inline]
    pub fn take_ended_call(&mut self) -> Option<MasterRef> {
        self.ended_calls.pop()
    }

    /// Counts an announced GRE connection as gone that never came to be, for its first packet was dropped. To be asked
    /// between two packets.
    pub fn abandon_call(&mut self) {
        let dropped = self.candidate.take_if(|c| c.parent.is_some() && c.key.tuple.proto == protocol::GRE);
        self.ended_calls.extend(dropped.and_then(|candidate| candidate.parent));
    }

    /// Finds the live connection of a packet. An expired one is taken out and not found.
    #[inline]
    pub fn find(&mut self, key: &Key, now: Millis) -> Option<Found> {
        // Behind an expired one there may be another, in a zone whose ids differ.
        for _ in 0..2 {
            let found = self.table.find(key)?;
            if !self.table.entry(found.slot)?.is_over(now) {
                return Some(found);
            }
            self.remove(found.slot, Cause::Timeout);
        }
        None
    }

    /// What holds for all packets judged at once.
    #[must_use]
    pub fn turn(&self, epoch: u8, now: Millis) -> shortcut::Turn {
        self.turn.at(epoch, now)
    }

    /// Where the connections lie, for a packet whose slot is known.
    #[inline(always)]
    pub fn lines(&mut self) -> shortcut::Lines<'_> {
        self.table.lines()
    }

    /// Recognises the answered, live connection of an IPv4 packet in `slot`, where [`WayIn::likely`](super::table::WayIn::likely) says that it may
    /// be, and its direction; addresses and ports have the source in the upper half. The connection's decision was
    /// taken under the turn's epoch. `None` whenever [`Tracker::find`] and [`Tracker::advance`] are to be asked.
    #[inline(always)]
    #[must_use]
    pub fn recognise_v4(
        &mut self,
        slot: u32,
        addresses: u64,
        ports: u32,
        proto: u8,
        turn: &shortcut::Turn,
    ) -> Option<(&mut Entry, Direction)> {
        self.table.recognise_v4(slot, addresses, ports).filter(|(entry, _)| entry.is_open(Family::V4, proto, turn))
    }

    /// The same for IPv6, with the hash of its tuple and addresses as they lie in the header.
    #[inline(always)]
    #[must_use]
    pub fn recognise_v6(
        &mut self,
        (slot, hash): (u32, u64),
        addresses: &[u64; 4],
        ports: u32,
        proto: u8,
        turn: &shortcut::Turn,
    ) -> Option<(&mut Entry, Direction)> {
        self.table
            .recognise_v6(slot, hash, addresses, ports)
            .filter(|(entry, _)| entry.is_open(Family::V6, proto, turn))
    }

    /// The protocol's own state of the connection in `slot`, as netfilter prints it.
    #[must_use]
    pub fn protocol_state_of(&self, slot: u32) -> Option<&'static str> {
        self.table.entry(slot).and_then(|entry| pack::load(entry, None).label())
    }

    /// Moves a known connection on by one packet. `None`: the connection ended with this packet's arrival
    /// and the packet is now a first one; see [`Tracker::open`].
    #[inline]
    pub fn advance(&mut self, found: Found, summary: &Summary, now: Millis) -> Option<Tracked> {
        if let Some(reason) = summary.defect {
            return Some(Tracked::invalid(reason));
        }
        let ignored = self.ignored(found.slot);
        let settings = &self.settings;
        let Some(entry) = self.table.entry_mut(found.slot) else {
            return Some(Tracked::invalid(InvalidReason::Unknown));
        };
        let direction = found.direction;
        let state = entry.state_of(direction);
        let flow = Flow {
            seen_reply: entry.is(status::SEEN_REPLY),
            assured: entry.is(status::ASSURED),
            remaining_ms: entry.remaining(now),
        };
        let mut protocol = pack::load(entry, ignored);
        let step = protocol.advance(settings, flow, summary, direction, now);
        let ignored = pack::store(entry, &protocol);
        if let Timer::Set(ms) = step.timer {
            entry.deadline = now.plus(ms);
        }
        if direction == Direction::Reply && matches!(step.outcome, Outcome::Accept | Outcome::Ignore) {
            entry.status |= status::SEEN_REPLY;
        }
        // Also for a packet that turns out INVALID: what it did before that stands, as in netfilter (SCTP).
        if step.assured && !flow.assured {
            self.table.mark_assured(found);
        }
        let tracked = |state, conn| Tracked { state, direction: Some(direction), invalid: None, conn };
        match step.outcome {
            Outcome::Invalid(reason) => {
                return Some(Tracked::invalid(reason));
            }
            Outcome::Restart => {
                self.remove(found.slot, Cause::Closed);
                return None;
            }
            Outcome::Accept | Outcome::Ignore => {}
        }
        if let Some(ignored) = ignored {
            self.keep_ignored(found.slot, ignored);
        }
        if step.delete {
            self.remove(found.slot, Cause::Closed);
            return Some(tracked(state, Conn::None));
        }
        Some(tracked(state, Conn::Known(found)))
    }

    /// Judges a packet without a connection: makes room for a candidate, spends an expectation, opens it.
    pub fn open(&mut self, key: &Key, summary: &Summary, now: Millis, expectations: &mut impl Expectations) -> Tracked {
        if !self.make_room(key.hash, now) {
            self.counts.refused += 1;
            return Tracked::invalid(InvalidReason::TableFull);
        }
        let parent = expectations.claim(&key.tuple, now);
        if let Some(reason) = summary.defect {
            return Tracked::invalid(reason);
        }
        let mut entry = Entry { proto: key.tuple.proto, ..Entry::default() };
        if parent.is_some() {
            entry.status |= status::EXPECTED;
        }
        match State::open(&self.settings, summary, now) {
            Err(reason) => Tracked::invalid(reason),
            Ok((protocol, step)) => {
                let timeout_ms = match step.timer {
                    Timer::Set(ms) => ms,
                    Timer::Keep => self.settings.timeouts.generic,
                };
                let ignored = pack::store(&mut entry, &protocol);
                self.candidate = Some(Unconfirmed { key: *key, entry, ignored, parent, timeout_ms });
                Tracked {
                    state: if parent.is_some() { CtState::Related } else { CtState::New },
                    direction: Some(Direction::Original),
                    invalid: None,
                    conn: Conn::Fresh,
                }
            }
        }
    }

    /// The protocol's own state of a packet's connection, as netfilter prints it.
    #[must_use]
    pub fn protocol_state(&self, conn: &Conn) -> Option<&'static str> {
        let entry = match conn {
            Conn::None => None,
            Conn::Known(found) => self.table.entry(found.slot),
            Conn::Fresh => self.candidate.as_ref().map(|candidate| &candidate.entry),
        };
        entry.and_then(|entry| pack::load(entry, None).label())
    }

    /// The original tuple of the candidate, if there is one.
    #[must_use]
    pub fn candidate(&self) -> Option<&Tuple> {
        self.candidate.as_ref().map(|candidate| &candidate.key.tuple)
    }

    /// Judges an ICMP error by the packet it quotes. `inverse` is the key of the quoted packet's answer,
    /// `destination` where the error itself goes: it must be the sender of the quoted packet. Changes nothing.
    #[must_use]
    pub fn quoted(&mut self, inverse: &Key, destination: Addr, now: Millis) -> Tracked {
        match self.find(inverse, now) {
            Some(found) if destination == inverse.tuple.dst => Tracked {
                state: CtState::Related,
                direction: Some(found.direction),
                invalid: None,
                conn: Conn::Known(found),
            },
            _ => Tracked::invalid(InvalidReason::IcmpNoFlow),
        }
    }

    /// Closes a TCP connection because the router itself answered one of its segments with an RST.
    pub fn reject(&mut self, found: Found, now: Millis) {
        let ignored = self.ignored(found.slot);
        let Some(entry) = self.table.entry_mut(found.slot) else { return };
        if let State::Tcp(mut tcp) = pack::load(entry, ignored) {
            if let Timer::Set(ms) = tcp.reject(&self.settings.timeouts) {
                entry.deadline = now.plus(ms);
            }
            pack::store(entry, &State::Tcp(tcp));
        }
    }

    /// Whether a live connection has the candidate's reply tuple in the zone of the candidate's replies, though not
    /// its original one: the ids of two directions can differ. As in netfilter, a connection that has it as its
    /// original tuple counts only if one id holds for both directions of the candidate.
    #[must_use]
    pub fn candidate_clashes(&mut self, now: Millis) -> bool {
        let Some(candidate) = &self.candidate else { return false };
        if self.table.zoned() == 0 && candidate.key.zone.is_default() {
            return false;
        }
        let zone = candidate.key.zone;
        let answer = candidate.key.tuple.inverse().and_then(|tuple| Key::new(tuple, self.table.seed()));
        let Some(answer) = answer else { return false };
        let found = self.find(&answer.in_zone(zone), now);
        found.is_some_and(|found| found.direction == Direction::Reply || zone.original == zone.reply)
    }

    /// The zone of the candidate.
    #[must_use]
    pub fn candidate_zone(&self) -> Zone {
        self.candidate.as_ref().map_or(Zone::DEFAULT, |candidate| candidate.key.zone)
    }

    /// Notes that a connection was counted against a limit, so that its end is told ([`Tracker::take_uncounted`]).
    pub fn mark_counted(&mut self, found: Found) {
        if let Some(entry) = self.table.entry_mut(found.slot) {
            entry.status |= status::COUNTED;
        }
    }

    /// Puts the candidate into the table once its packet has passed every check. `None`: there is none, or the
    /// table is full.
    pub fn commit(&mut self, now: Millis) -> Option<Found> {
        let conn = self.candidate.take()?;
        let mut entry = conn.entry;
        entry.deadline = now.plus(conn.timeout_ms);
        let found = self.table.insert(&conn.key, &entry)?;
        if let Some(ignored) = conn.ignored {
            self.keep_ignored(found.slot, ignored);
        }
        if let (Some(parent), Some(cold)) = (conn.parent, self.table.cold_mut(found.slot)) {
            let words = [u32::from(parent.shard.0), parent.slot, parent.generation];
            for (place, word) in cold.iter_mut().skip(COLD_PARENT.start).zip(words) {
                *place = word;
            }
        }
        self.counts.made(conn.key.tuple.proto);
        Some(found)
    }

    /// Has a helper read the payload of a connection; `record` is the number of the helper's own record.
    pub fn attach_helper(&mut self, found: Found, record: u32) {
        if let Some(cold) = self.table.cold_mut(found.slot) {
            cold[COLD_HELPER] = record;
        }
        if let Some(entry) = self.table.entry_mut(found.slot) {
            entry.status |= status::HELPER;
        }
    }

    /// Lets a packet's connection, or the candidate, live for `ms` from now unless a packet sets its timer anew.
    pub fn set_timer(&mut self, conn: &Conn, ms: u32, now: Millis) {
        match conn {
            Conn::None => {}
            Conn::Known(found) => {
                if let Some(entry) = self.table.entry_mut(found.slot) {
                    entry.deadline = now.plus(ms);
                }
            }
            Conn::Fresh => {
                if let Some(candidate) = &mut self.candidate {
                    candidate.timeout_ms = ms;
                }
            }
        }
    }

    /// Ends a connection because another one says that it is over.
    pub fn end(&mut self, found: Found) {
        self.remove(found.slot, Cause::Closed);
    }

    /// Whether a packet's connection, or the candidate, was announced by another.
    #[must_use]
    pub fn is_expected(&self, conn: &Conn) -> bool {
        let entry = match conn {
            Conn::None => None,
            Conn::Known(found) => self.table.entry(found.slot),
            Conn::Fresh => self.candidate.as_ref().map(|candidate| &candidate.entry),
        };
        entry.is_some_and(|entry| entry.is(status::EXPECTED))
    }

    /// The helper record of a connection.
    #[inline]
    #[must_use]
    pub fn helper_of(&self, found: Found) -> Option<u32> {
        if !self.table.entry(found.slot)?.is(status::HELPER) {
            return None;
        }
        self.table.cold(found.slot).map(|cold| cold[COLD_HELPER])
    }

    /// The decision cached under `epoch`; 0 if there is none.
    #[inline(always)]
    #[must_use]
    pub fn decision(&self, found: Found, epoch: u8) -> u16 {
        match self.table.entry(found.slot) {
            Some(entry) if entry.epoch == epoch => entry.decision,
            _ => 0,
        }
    }

    /// Caches a decision under `epoch`.
    #[inline]
    pub fn set_decision(&mut self, found: Found, epoch: u8, decision: u16) {
        if let Some(entry) = self.table.entry_mut(found.slot) {
            entry.epoch = epoch;
            entry.decision = decision;
        }
    }

    /// Looks at the next `budget` slots and frees those whose time is over. Under pressure, which one
    /// refused packet switches on until the sweep has come round, and with the table 95 % full, also those
    /// that are not assured or are closing, as Linux's scan does. Gives how many it freed.
    pub fn sweep(&mut self, now: Millis, epoch: u8, budget: usize) -> usize {
        let before = self.table.len();
        let crowded = self.pressure && self.table.len() >= self.table.limit() / 100 * 95;
        for _ in 0..budget.min(self.table.touched()) {
            let slot = self.cursor;
            self.cursor += 1;
            if slot == 0 {
                self.census.turn();
            }
            if self.cursor as usize >= self.table.touched() {
                self.cursor = 0;
                self.counts.expire_lag_ms = std::mem::take(&mut self.sweep_lag);
                self.pressure = false;
            }
            let Some(entry) = self.table.entry_mut(slot) else { continue };
            if !entry.is(status::LIVE) {
                continue;
            }
            // A decision of another epoch must not come true again when the epoch's octet wraps.
            if entry.epoch != epoch {
                entry.decision = 0;
            }
            let left = entry.remaining(now);
            if left <= 0 {
                self.sweep_lag = self.sweep_lag.max(left.unsigned_abs());
                self.remove(slot, Cause::Timeout);
            } else if crowded && (!entry.is(status::ASSURED) || pack::is_closing(entry)) {
                self.remove(slot, Cause::Evicted);
            } else {
                self.census.meet(entry);
            }
        }
        before - self.table.len()
    }

    /// Makes sure that one more entry fits.
    #[inline(always)]
    pub(super) fn make_room(&mut self, hash: u64, now: Millis) -> bool {
        self.table.len() < self.table.limit() || self.free_room(hash, now)
    }

    #[inline(never)]
    fn free_room(&mut self, hash: u64, now: Millis) -> bool {
        // Whoever is not assured is known by the buckets alone; only then entries are looked at, for a flood must not
        // cost a line of memory for each connection nearby.
        if self.evict {
            let mut victims = self.table.victims(hash);
            while let Some((slot, rest)) = self.table.next_victim(victims) {
                let expired = self.table.entry(slot).is_some_and(|entry| entry.is_over(now));
                self.let_go(slot, if expired { Cause::Timeout } else { Cause::Evicted });
                self.table.remove_victim(victims);
                victims = rest;
            }
            if self.table.len() < self.table.limit() {
                return true;
            }
        }
        let (expired, count) = self.table.expired_near(hash, now);
        for slot in expired.iter().take(count) {
            self.remove(*slot, Cause::Timeout);
        }
        self.pressure |= self.evict && count == 0;
        self.table.len() < self.table.limit()
    }

    pub(super) fn remove(&mut self, slot: u32, cause: Cause) {
        self.let_go(slot, cause);
        self.table.remove(slot);
    }

    /// Notes what else a connection's end concerns.
    #[inline]
    pub(super) fn let_go(&mut self, slot: u32, cause: Cause) {
        let Some(entry) = self.table.entry(slot) else { return };
        self.counts.gone(entry.proto(), cause);
        if entry.status & (status::HELPER | status::COUNTED | status::EXPECTED) != 0 {
            self.tell_of(slot);
        }
    }

    #[cold]
    fn tell_of(&mut self, slot: u32) {
        let Some(entry) = self.table.entry(slot) else { return };
        if entry.is(status::HELPER)
            && let Some(cold) = self.table.cold(slot)
        {
            self.orphans.push(cold[COLD_HELPER]);
        }
        if entry.is(status::COUNTED)
            && let Some(tuple) = self.table.original(slot)
        {
            self.uncounted.push((tuple, self.table.zone(slot)));
        }
        if entry.is(status::EXPECTED)
            && entry.proto() == protocol::GRE
            && let Some([shard, slot, generation]) = self.table.cold(slot).and_then(|cold| cold.get(COLD_PARENT))
        {
            let shard = ShardId(*shard as u8);
            self.ended_calls.push(MasterRef { shard, slot: *slot, generation: *generation, helper: 0 });
        }
    }

    /// Forgets a candidate that did not enter.
    #[inline]
    pub(super) fn forget_candidate(&mut self) {
        if self.candidate.is_some() {
            self.candidate = None;
        }
    }

    #[inline]
    pub(super) fn count_made(&mut self, number: u8) {
        self.counts.made(number);
    }

    #[inline(always)]
    fn ignored(&self, slot: u32) -> Option<proto::tcp::Ignored> {
        if !self.table.entry(slot)?.is(status::IGNORED) {
            return None;
        }
        let cold = self.table.cold(slot)?;
        cold.get(COLD_IGNORED).and_then(|w| w.try_into().ok()).map(pack::load_ignored)
    }

    #[cold]
    fn keep_ignored(&mut self, slot: u32, ignored: proto::tcp::Ignored) {
        if let Some(cold) = self.table.cold_mut(slot) {
            for (place, word) in cold.iter_mut().zip(pack::store_ignored(ignored)) {
                *place = word;
            }
        }
        if let Some(entry) = self.table.entry_mut(slot) {
            entry.status |= status::IGNORED;
        }
    }
}

#[cfg(test)]
mod tests;
