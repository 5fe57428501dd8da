//! Connections with a helper: their records, and what becomes of what the helper finds.

use crate::conntrack::table::Found;
use crate::conntrack::tracker::{Conn, Tracked};
use crate::helper::{Context, HelperId, HelperKind, Outcome, Settings, State};
use crate::metrics::label::{ExpectResult, HelperResult};
use crate::net::{CtState, Direction, L4, MasterRef, Now, Summary, Track};
use crate::shard::{Shard, Watch};
use crate::steer::{AddResult, Handle, Offer};
use crate::wire::Parsed;

/// What a helper is shown of a packet.
struct Segment<'a> {
    summary: &'a Summary,
    state: CtState,
    payload: &'a [u8],
}

/// Most connections with a helper in one shard.
const MOST: usize = 65_536;

/// A connection's helper, its memory, and the expectations it has open.
#[derive(Debug)]
struct Record {
    id: HelperId,
    kind: HelperKind,
    settings: Settings,
    max_expected: usize,
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

impl<W: Watch> Shard<W> {
    /// Has the configured helper read a new connection. Without room for its record the connection goes
    /// without, as one whose helper is off.
    #[cold]
    pub(in crate::shard) fn attach_helper(&mut self, found: Found, id: HelperId) {
        let Some(config) = self.snapshot.helpers.get(id) else { return };
        let record = Record {
            id,
            kind: config.kind,
            settings: config.settings(),
            max_expected: usize::from(config.max_expected),
            state: State::default(),
            open: Vec::new(),
        };
        match self.helped.insert(record) {
            Some(slot) => self.tracker.attach_helper(found, slot),
            None => self.counters.expectation(usize::from(id.0), ExpectResult::Refused),
        }
    }

    /// Shows an accepted packet to its connection's helper, unless it is an error about it. `data` is the
    /// frame that `parsed` describes. `false`: the helper says it must not pass.
    #[inline]
    pub(in crate::shard) fn inspect(&mut self, tracked: &Tracked, parsed: &Parsed, data: &[u8], now: Now) -> bool {
        match self.helper_of(tracked, parsed) {
            Some((found, slot)) => {
                let segment = Segment { summary: &parsed.summary, state: tracked.state, payload: parsed.payload(data) };
                self.read_payload(&segment, found, slot, now)
            }
            None => true,
        }
    }

    /// The record of the helper that is to be shown a packet.
    #[inline]
    pub(in crate::shard) fn helper_of(&self, tracked: &Tracked, parsed: &Parsed) -> Option<(Found, u32)> {
        match tracked.conn {
            Conn::Known(found) if parsed.summary.track == Track::Tuple => Some((found, self.tracker.helper_of(found)?)),
            _ => None,
        }
    }

    #[cold]
    fn read_payload(&mut self, segment: &Segment<'_>, found: Found, slot: u32, now: Now) -> bool {
        let Some(original) = self.tracker.table().original(found.slot) else { return true };
        let Some(reply) = original.inverse() else { return true };
        let shard = self.id;
        let Some((generation, Some(record))) = self.helped.slots.get_mut(slot as usize) else { return true };
        let seq = match segment.summary.l4 {
            L4::Tcp(segment) => segment.seq,
            _ => 0,
        };
        let context = Context {
            original: &original,
            reply: &reply,
            direction: found.direction,
            seq,
            both_seen: segment.state == CtState::Established || found.direction == Direction::Reply,
            settings: record.settings,
        };
        let number = usize::from(record.id.0);
        let expectation = match record.kind.helper().inspect(&context, &mut record.state, segment.payload) {
            Outcome::Accept => {
                self.counters.helper_packet(number, HelperResult::Ignored);
                return true;
            }
            Outcome::Drop(_) => {
                self.counters.helper_packet(number, HelperResult::Malformed);
                return false;
            }
            Outcome::Expect(expectation) => expectation,
        };
        self.counters.helper_packet(number, HelperResult::Parsed);
        let at = now.millis();
        let directory = &self.directory;
        record.open.retain(|(_, handle)| directory.contains(handle, at));
        let of_class = record.open.iter().filter(|(class, _)| *class == expectation.class);
        let oldest = of_class.clone().next().map(|(_, handle)| *handle);
        let evict = oldest.filter(|_| of_class.count() >= record.max_expected);
        let master = MasterRef { shard, slot, generation: *generation, helper: 0 };
        match directory.add(&Offer { expectation, master, evict }, at) {
            AddResult::Added(handle) | AddResult::Replaced(handle) => {
                record.open.push((expectation.class, handle));
                self.counters.expectation(number, ExpectResult::Created);
                true
            }
            AddResult::Busy | AddResult::Full => {
                self.counters.expectation(number, ExpectResult::Refused);
                false
            }
        }
    }

    /// Frees the records of connections that left the table, and takes their expectations back.
    pub(in crate::shard) fn forget_orphans(&mut self) {
        while let Some(slot) = self.tracker.take_orphan() {
            let Some(record) = self.helped.remove(slot) else { continue };
            for (_, handle) in record.open {
                if self.directory.remove(&handle) {
                    self.counters.expectation(usize::from(record.id.0), ExpectResult::Removed);
                }
            }
        }
    }
}
