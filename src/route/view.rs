//! What one shard knows of neighbours, and the packets that wait for one.
//!
//! Owned by the shard, written only by it: the control plane's [`NeighbourEvent`]s are applied between bursts.
//! A flow keeps the [`NeighbourId`] of its next hop, so a packet of a known flow costs one array access; the id
//! carries a generation, so a slot that was given to another neighbour is noticed, while a changed link
//! address of the same neighbour reaches every flow at once.
//!
//! Always holds: all memory is taken at start; at most [`ViewConfig::capacity`] neighbours, at most
//! [`ViewConfig::queue_each`] packets wait for one and [`ViewConfig::queue_total`] for all. An item handed in
//! comes back exactly once: refused, pushed out, released by an event, or expired.

use super::neighbour::{NeighbourEvent, NeighbourKey};
use crate::net::{DropReason, MacAddr, Now, PortId};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

/// Names a resolved neighbour within one shard's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NeighbourId {
    slot: u16,
    generation: u16,
}

impl NeighbourId {
    /// Names none: no view has so many.
    pub const NONE: NeighbourId = NeighbourId { slot: u16::MAX, generation: u16::MAX };
}

/// What a shard knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Its link address, and the id a flow may keep.
    Ready(NeighbourId, MacAddr),
    /// It is being asked; packets may be held.
    Pending,
    /// Nothing; holding a packet says that the control plane is to be asked.
    Unknown,
}

/// What became of a packet handed in to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold<T> {
    /// Tell the control plane to resolve the neighbour.
    pub ask: bool,
    /// A packet that has no place any more, this one or an older one, and why.
    pub dropped: Option<(T, DropReason)>,
}

/// A packet that waits no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released<T> {
    /// The packet.
    pub item: T,
    /// The neighbour to send it to, or why it is dropped.
    pub outcome: Result<(NeighbourId, MacAddr), DropReason>,
}

/// Limits. The defaults fit [`super::NeighbourConfig`]'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewConfig {
    /// Most neighbours, resolved and asked for.
    pub capacity: u16,
    /// Most packets that wait for one neighbour.
    pub queue_each: u16,
    /// Most packets that wait in all.
    pub queue_total: u16,
    /// After so many milliseconds without an answer the control plane is asked again.
    pub ask_again_ms: u64,
    /// After so many milliseconds the packets are given up even if the control plane never said so.
    pub give_up_ms: u64,
}

impl Default for ViewConfig {
    fn default() -> Self {
        ViewConfig { capacity: 2048, queue_each: 16, queue_total: 1024, ask_again_ms: 1_000, give_up_ms: 10_000 }
    }
}

#[derive(Clone, Copy, Debug)]
enum State {
    Free,
    Ready { mac: MacAddr, used: bool },
    Pending { since: Now, asked: Now },
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    key: NeighbourKey,
    state: State,
    generation: u16,
    /// Waiting packets, oldest first: indices into `cells`; `NIL` if there are none.
    head: u16,
    tail: u16,
    waiting: u16,
}

/// One place in the shared store of waiting packets.
#[derive(Clone, Debug)]
struct Cell<T> {
    item: Option<T>,
    next: u16,
}

const NIL: u16 = u16::MAX;

/// Neighbours found without the index.
const RECENT: usize = 64;

/// The place of a neighbour among those asked for lately. An attacker who fills one place costs others a look at the index.
#[inline(always)]
const fn recent_place(key: &NeighbourKey) -> usize {
    let addr = key.addr.lo ^ key.addr.hi;
    (addr ^ addr >> 6 ^ key.port.0 as u64) as usize % RECENT
}

/// A secret factor for [`Mix`]. Whoever sends packets names the neighbours, and must not be able to make them collide.
#[derive(Clone, Copy, Debug)]
struct Keyed(u64);

impl Keyed {
    fn new() -> Keyed {
        Keyed(std::hash::RandomState::new().hash_one(0u64) | 1)
    }
}

impl BuildHasher for Keyed {
    type Hasher = Mix;

    #[inline]
    fn build_hasher(&self) -> Mix {
        Mix { key: self.0, state: self.0 }
    }
}

/// Multiplies word by word with the secret, both halves of the product folded: a fraction of SipHash's cost for a key
/// every first packet asks for.
#[derive(Clone, Copy, Debug)]
struct Mix {
    key: u64,
    state: u64,
}

impl Hasher for Mix {
    #[inline]
    fn finish(&self) -> u64 {
        self.state
    }

    #[inline]
    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.write_u64(u64::from(*octet));
        }
    }

    #[inline]
    fn write_u8(&mut self, octet: u8) {
        self.state = self.state.rotate_left(8) ^ u64::from(octet);
    }

    #[inline]
    fn write_isize(&mut self, word: isize) {
        self.write_u8(word as u8);
    }

    #[inline]
    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.key);
        self.state = product as u64 ^ (product >> 64) as u64;
    }
}

/// One shard's view of the neighbours; `T` is a packet that waits.
#[derive(Debug)]
pub struct NeighbourView<T> {
    config: ViewConfig,
    index: HashMap<NeighbourKey, u16, Keyed>,
    slots: Vec<Slot>,
    /// Slots of neighbours asked for lately, by [`recent_place`]; which slot has which neighbour, and whether it is
    /// ready, is the slot's to say.
    recent: [u16; RECENT],
    free: Vec<u16>,
    cells: Vec<Cell<T>>,
    free_cell: u16,
    held: u16,
    pending: u16,
    changes: u64,
}

impl<T> NeighbourView<T> {
    /// An empty view with all its memory. `capacity` and `queue_total` are at most 65535 - 1.
    #[must_use]
    pub fn new(config: ViewConfig) -> Self {
        let config = ViewConfig {
            capacity: config.capacity.min(NIL - 1),
            queue_total: config.queue_total.min(NIL - 1),
            ..config
        };
        let total = config.queue_total;
        let cells =
            (0..total).map(|i| Cell { item: None, next: if i + 1 < total { i + 1 } else { NIL } }).collect::<Vec<_>>();
        NeighbourView {
            config,
            index: HashMap::with_capacity_and_hasher(usize::from(config.capacity) * 2, Keyed::new()),
            slots: Vec::with_capacity(usize::from(config.capacity)),
            recent: [NIL; RECENT],
            free: Vec::with_capacity(usize::from(config.capacity)),
            cells,
            free_cell: if total == 0 { NIL } else { 0 },
            held: 0,
            pending: 0,
            changes: 0,
        }
    }

    /// What is known of `key`. Changes nothing.
    #[inline]
    #[must_use]
    pub fn lookup(&self, key: &NeighbourKey) -> Resolution {
        let Some(&at) = self.index.get(key) else { return Resolution::Unknown };
        match self.slots.get(usize::from(at)) {
            Some(Slot { state: State::Ready { mac, .. }, generation, .. }) => {
                Resolution::Ready(NeighbourId { slot: at, generation: *generation }, *mac)
            }
            Some(Slot { state: State::Pending { .. }, .. }) => Resolution::Pending,
            _ => Resolution::Unknown,
        }
    }

    /// As [`NeighbourView::lookup`] for a neighbour that is ready; those asked for lately are found without the index.
    #[inline]
    pub fn ready(&mut self, key: &NeighbourKey) -> Option<(NeighbourId, MacAddr)> {
        let place = recent_place(key);
        if let Some(&at) = self.recent.get(place)
            && let Some(Slot { state: State::Ready { mac, .. }, generation, key: own, .. }) =
                self.slots.get(usize::from(at))
            && own == key
        {
            return Some((NeighbourId { slot: at, generation: *generation }, *mac));
        }
        let Resolution::Ready(id, mac) = self.lookup(key) else { return None };
        if let Some(recent) = self.recent.get_mut(place) {
            *recent = id.slot;
        }
        Some((id, mac))
    }

    /// Key and link address of a neighbour a flow remembers, without a note that it is in use.
    #[must_use]
    pub fn peek(&self, id: NeighbourId) -> Option<(NeighbourKey, MacAddr)> {
        match self.slots.get(usize::from(id.slot)) {
            Some(Slot { state: State::Ready { mac, .. }, generation, key, .. }) if *generation == id.generation => {
                Some((*key, *mac))
            }
            _ => None,
        }
    }

    /// How often something changed of what [`NeighbourView::peek`] says: as long as this is the same, so is that.
    #[inline]
    #[must_use]
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// Egress port and link address of a neighbour a flow remembers, and a note that it is in use. `None` if it
    /// is no longer known: look it up again.
    #[inline]
    pub fn touch(&mut self, id: NeighbourId) -> Option<(PortId, MacAddr)> {
        let slot = self.slots.get_mut(usize::from(id.slot))?;
        match &mut slot.state {
            State::Ready { mac, used } if slot.generation == id.generation => {
                *used = true;
                Some((slot.key.port, *mac))
            }
            _ => None,
        }
    }

    /// Notes that a packet was sent to `id`, if it is still known.
    #[inline]
    pub fn mark_used(&mut self, id: NeighbourId) {
        let _ = self.touch(id);
    }

    /// Reports every neighbour used since the last call; for the control plane's ageing, about once a second.
    pub fn take_used(&mut self, mut report: impl FnMut(NeighbourKey)) {
        for slot in &mut self.slots {
            if let State::Ready { used: used @ true, .. } = &mut slot.state {
                *used = false;
                report(slot.key);
            }
        }
    }

    /// Holds `item` until `key` is resolved; call when [`NeighbourView::lookup`] did not say `Ready`. When the
    /// neighbour's queue is full its oldest packet makes room, as in Linux.
    pub fn hold(&mut self, key: NeighbourKey, item: T, now: Now) -> Hold<T> {
        let (at, ask) = match self.index.get(&key) {
            Some(&at) => (at, self.ask_again(at, now)),
            None => match self.insert(key, State::Pending { since: now, asked: now }) {
                Some(at) => {
                    self.pending += 1;
                    (at, true)
                }
                None => return Hold { ask: false, dropped: Some((item, DropReason::NeighbourQueue)) },
            },
        };
        let full = self.slots.get(usize::from(at)).is_some_and(|s| s.waiting >= self.config.queue_each);
        let pushed_out = if full { self.pop(at) } else { None };
        let dropped = match self.push(at, item) {
            Ok(()) => pushed_out,
            Err(item) => Some(item),
        };
        Hold { ask, dropped: dropped.map(|item| (item, DropReason::NeighbourQueue)) }
    }

    /// Takes over news from the control plane. Packets that waited for the neighbour are appended to
    /// `released` in the order they came.
    pub fn apply(&mut self, event: &NeighbourEvent, released: &mut Vec<Released<T>>) {
        self.changes += 1;
        match *event {
            NeighbourEvent::Update { key, mac } => {
                let ready = State::Ready { mac, used: false };
                let at = match self.index.get(&key) {
                    Some(&at) => at,
                    // Without room the neighbour stays unknown here; the next packet to it asks.
                    None => match self.insert(key, ready) {
                        Some(at) => at,
                        None => return,
                    },
                };
                let Some(slot) = self.slots.get_mut(usize::from(at)) else { return };
                if matches!(slot.state, State::Pending { .. }) {
                    self.pending -= 1;
                }
                // A known neighbour keeps its note of use and its generation: flows follow the new address.
                let used = matches!(slot.state, State::Ready { used: true, .. }) || slot.waiting > 0;
                slot.state = State::Ready { mac, used };
                let outcome = Ok((NeighbourId { slot: at, generation: slot.generation }, mac));
                self.release(at, outcome, released);
            }
            NeighbourEvent::Failed { key } | NeighbourEvent::Forget { key } => {
                if let Some(&at) = self.index.get(&key) {
                    self.remove(at, DropReason::NeighbourUnresolved, released);
                }
            }
        }
    }

    /// Gives up on neighbours the control plane was asked for too long ago (its answer was lost). Costs one
    /// comparison while nothing is pending.
    pub fn expire(&mut self, now: Now, released: &mut Vec<Released<T>>) {
        if self.pending == 0 {
            return;
        }
        let give_up = self.config.give_up_ms;
        self.remove_where(
            DropReason::NeighbourUnresolved,
            released,
            |slot| matches!(slot.state, State::Pending { since, .. } if now >= since.plus_millis(give_up)),
        );
    }

    /// Forgets every neighbour of a port; packets that waited are dropped for `reason`.
    #[cfg(test)]
    pub(crate) fn flush_port(&mut self, port: PortId, reason: DropReason, released: &mut Vec<Released<T>>) {
        self.remove_where(reason, released, |slot| slot.key.port == port);
    }

    /// Packets that wait.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held as usize
    }

    /// Neighbours known or asked for.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    fn ask_again(&mut self, at: u16, now: Now) -> bool {
        match self.slots.get_mut(usize::from(at)).map(|s| &mut s.state) {
            Some(State::Pending { asked, .. }) if now >= asked.plus_millis(self.config.ask_again_ms) => {
                *asked = now;
                true
            }
            Some(State::Pending { .. }) => false,
            // Held although resolved: the answer to one more question releases it.
            _ => true,
        }
    }

    fn insert(&mut self, key: NeighbourKey, state: State) -> Option<u16> {
        let at = match self.free.pop() {
            Some(at) => at,
            None if self.slots.len() < usize::from(self.config.capacity) => {
                let at = u16::try_from(self.slots.len()).ok()?;
                self.slots.push(Slot { key, state: State::Free, generation: 0, head: NIL, tail: NIL, waiting: 0 });
                at
            }
            None => return None,
        };
        let slot = self.slots.get_mut(usize::from(at))?;
        slot.key = key;
        slot.state = state;
        self.index.insert(key, at);
        Some(at)
    }

    fn remove_where(&mut self, reason: DropReason, released: &mut Vec<Released<T>>, gone: impl Fn(&Slot) -> bool) {
        for at in 0..self.slots.len() {
            let hit = self.slots.get(at).is_some_and(|s| !matches!(s.state, State::Free) && gone(s));
            if let (true, Ok(at)) = (hit, u16::try_from(at)) {
                self.remove(at, reason, released);
            }
        }
    }

    fn remove(&mut self, at: u16, reason: DropReason, released: &mut Vec<Released<T>>) {
        self.changes += 1;
        self.release(at, Err(reason), released);
        let Some(slot) = self.slots.get_mut(usize::from(at)) else { return };
        if matches!(slot.state, State::Pending { .. }) {
            self.pending -= 1;
        }
        slot.state = State::Free;
        slot.generation = slot.generation.wrapping_add(1);
        self.index.remove(&slot.key);
        self.free.push(at);
    }

    fn release(
        &mut self,
        at: u16,
        outcome: Result<(NeighbourId, MacAddr), DropReason>,
        released: &mut Vec<Released<T>>,
    ) {
        while let Some(item) = self.pop(at) {
            released.push(Released { item, outcome });
        }
    }

    fn push(&mut self, at: u16, item: T) -> Result<(), T> {
        let place = self.free_cell;
        let (Some(cell), Some(slot)) = (self.cells.get_mut(usize::from(place)), self.slots.get_mut(usize::from(at)))
        else {
            return Err(item);
        };
        self.free_cell = cell.next;
        *cell = Cell { item: Some(item), next: NIL };
        let last = slot.tail;
        if slot.waiting == 0 {
            slot.head = place;
        }
        slot.tail = place;
        slot.waiting += 1;
        self.held += 1;
        if let Some(last) = self.cells.get_mut(usize::from(last)) {
            last.next = place;
        }
        Ok(())
    }

    fn pop(&mut self, at: u16) -> Option<T> {
        let slot = self.slots.get_mut(usize::from(at))?;
        let place = slot.head;
        let cell = self.cells.get_mut(usize::from(place))?;
        let item = cell.item.take()?;
        slot.head = cell.next;
        slot.waiting -= 1;
        if slot.waiting == 0 {
            (slot.head, slot.tail) = (NIL, NIL);
        }
        cell.next = self.free_cell;
        self.free_cell = place;
        self.held -= 1;
        Some(item)
    }
}

#[cfg(test)]
mod tests;
