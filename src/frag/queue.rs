//! The datagrams being collected: slabs of queues and fragments, found by a keyed hash, kept in order of age.
//!
//! A queue's fragments form one list in order of arrival, and *runs* in order of their offset. A run is what
//! arrived in sequence at the end of the datagram; a fragment that arrives elsewhere is a run of its own, also
//! when it touches another. Only within one run is a repetition known as such, as in Linux.

use super::hash::Keyed;
use super::merge::Piece;
use super::{FragmentInfo, Limits};
use crate::frame::Frame;
use crate::net::{Addr, DropReason, Family, Millis};
use std::collections::HashMap;

/// No such entry.
const NONE: u32 = u32::MAX;

/// A bounded array of reusable places.
#[derive(Debug)]
struct Slab<T> {
    items: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    fn new(limit: usize) -> Self {
        let limit = limit.min(NONE as usize);
        let mut items = Vec::new();
        items.resize_with(limit, || None);
        Slab { items, free: (0..limit as u32).rev().collect() }
    }

    fn insert(&mut self, item: T) -> Option<u32> {
        let at = self.free.pop()?;
        *self.items.get_mut(at as usize)? = Some(item);
        Some(at)
    }

    fn get(&self, at: u32) -> Option<&T> {
        self.items.get(at as usize)?.as_ref()
    }

    fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.items.get_mut(at as usize)?.as_mut()
    }

    fn remove(&mut self, at: u32) -> Option<T> {
        let item = self.items.get_mut(at as usize)?.take()?;
        self.free.push(at);
        Some(item)
    }

    fn len(&self) -> usize {
        self.items.len() - self.free.len()
    }

    fn is_full(&self) -> bool {
        self.free.is_empty()
    }
}

/// What the fragments of one datagram have in common. IPv6 identifies without the protocol, and by the port for
/// addresses that mean something only on their link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    src: Addr,
    dst: Addr,
    id: u32,
    /// IPv4: protocol. IPv6: ingress port number plus one for link-local and multicast destinations, else 0.
    extra: u8,
    family: Family,
    zone: u16,
}

impl Key {
    pub(super) fn new(info: &FragmentInfo, frame: &Frame) -> Key {
        let extra = match info.family {
            Family::V4 => info.proto,
            Family::V6 if info.dst.is_link_local(Family::V6) || info.dst.is_multicast(Family::V6) => {
                frame.meta.ingress.0.wrapping_add(1)
            }
            Family::V6 => 0,
        };
        Key { src: info.src, dst: info.dst, id: info.id, extra, family: info.family, zone: info.zone }
    }
}

/// One datagram being collected.
#[derive(Debug)]
pub(super) struct Queue {
    key: Key,
    pub(super) deadline: Millis,
    /// Octets of the datagram as far as known: its end, or the furthest end of a fragment.
    pub(super) total: u32,
    /// Octets held.
    pub(super) held: u32,
    /// The last fragment is there, so `total` is the datagram's length.
    pub(super) has_end: bool,
    /// Which ECN fields were seen: bit `1 << field`.
    pub(super) ecn: u8,
    pub(super) trusted: bool,
    /// Fragments held.
    pub(super) count: u16,
    /// The pair's count of fragments when this datagram's last one arrived.
    distance: u32,
    /// The fragment with offset 0.
    first: u32,
    first_run: u32,
    last_run: u32,
    first_arrived: u32,
    last_arrived: u32,
    older: u32,
    newer: u32,
}

/// One fragment held.
#[derive(Debug)]
struct Node {
    frame: Frame,
    piece: Piece,
    next_arrived: u32,
    /// Of the first fragment of a run: where the run ends, and the run after it.
    run_end: u32,
    next_run: u32,
}

/// Where a fragment goes among the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It continues the last run.
    Continues,
    /// It is a run of its own behind this one (`None`: in front of all).
    Behind(Option<u32>),
    /// All of it is in one run already.
    Duplicate,
    /// Part of it is there already.
    Overlap,
}

/// Two hosts with IPv4 datagrams being collected between them, in one direction.
#[derive(Debug, Default)]
struct Pair {
    /// Fragments that came from one to the other.
    fragments: u32,
    /// Datagrams being collected.
    queues: u32,
}

/// All datagrams being collected.
#[derive(Debug)]
pub(super) struct Store {
    queues: Slab<Queue>,
    nodes: Slab<Node>,
    index: HashMap<Key, u32, Keyed>,
    pairs: HashMap<(Addr, Addr), Pair, Keyed>,
    /// Oldest and newest queue per family. Timeouts are the same within a family, so age is the order of expiry.
    ages: [(u32, u32); 2],
    bytes: [usize; 2],
}

/// Octets of memory a held frame keeps from being used otherwise.
fn size(frame: &Frame) -> usize {
    frame.headroom() + frame.capacity()
}

impl Store {
    pub(super) fn new(limits: &Limits, seed: u64) -> Self {
        let hash = Keyed::new(seed);
        // Twice the room ever used: the maps then tidy up in place instead of growing.
        let room = 2 * limits.datagrams;
        Store {
            queues: Slab::new(limits.datagrams),
            nodes: Slab::new(limits.fragments),
            index: HashMap::with_capacity_and_hasher(room, hash),
            pairs: HashMap::with_capacity_and_hasher(room, hash),
            ages: [(NONE, NONE); 2],
            bytes: [0; 2],
        }
    }

    /// Octets of memory reserved for these limits.
    pub(super) const fn reserved(limits: &Limits) -> usize {
        let word = std::mem::size_of::<u32>();
        limits.datagrams * (std::mem::size_of::<Option<Queue>>() + word)
            + limits.fragments * (std::mem::size_of::<Option<Node>>() + word)
            // Hash maps keep an eighth of their places free, and round up to a power of two.
            + (4 * limits.datagrams).next_power_of_two()
                * (std::mem::size_of::<(Key, u32)>() + std::mem::size_of::<((Addr, Addr), Pair)>() + 2)
    }

    pub(super) fn fragments(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn datagrams(&self) -> usize {
        self.queues.len()
    }

    pub(super) fn bytes(&self, family: Family) -> usize {
        self.bytes[family.index()]
    }

    pub(super) fn has_room_for_fragment(&self) -> bool {
        !self.nodes.is_full()
    }

    pub(super) fn find(&self, key: &Key) -> Option<u32> {
        self.index.get(key).copied()
    }

    pub(super) fn queue(&self, at: u32) -> Option<&Queue> {
        self.queues.get(at)
    }

    pub(super) fn queue_mut(&mut self, at: u32) -> Option<&mut Queue> {
        self.queues.get_mut(at)
    }

    /// A new, empty queue; `None` if there is no room for one.
    pub(super) fn create(&mut self, key: Key, deadline: Millis) -> Option<u32> {
        let at = self.queues.insert(Queue {
            key,
            deadline,
            total: 0,
            held: 0,
            has_end: false,
            ecn: 0,
            trusted: true,
            count: 0,
            distance: 0,
            first: NONE,
            first_run: NONE,
            last_run: NONE,
            first_arrived: NONE,
            last_arrived: NONE,
            older: NONE,
            newer: NONE,
        })?;
        self.index.insert(key, at);
        if key.family == Family::V4 {
            self.pairs.entry((key.src, key.dst)).or_default().queues += 1;
        }
        self.append_age(at, key.family);
        Some(at)
    }

    fn append_age(&mut self, at: u32, family: Family) {
        let (oldest, newest) = self.ages[family.index()];
        if let Some(queue) = self.queues.get_mut(at) {
            queue.older = newest;
            queue.newer = NONE;
        }
        match self.queues.get_mut(newest) {
            Some(last) => last.newer = at,
            None => debug_assert_eq!(oldest, NONE),
        }
        self.ages[family.index()] = (if newest == NONE { at } else { oldest }, at);
    }

    fn unlink_age(&mut self, older: u32, newer: u32, family: Family) {
        let (oldest, newest) = &mut self.ages[family.index()];
        match self.queues.get_mut(older) {
            Some(queue) => queue.newer = newer,
            None => *oldest = newer,
        }
        match self.queues.get_mut(newer) {
            Some(queue) => queue.older = older,
            None => *newest = older,
        }
    }

    /// The queue of a family that expires first.
    pub(super) fn oldest(&self, family: Family) -> Option<u32> {
        let (oldest, _) = self.ages[family.index()];
        (oldest != NONE).then_some(oldest)
    }

    /// Counts one more fragment between the queue's hosts, and gives how many came since the queue's last one, this
    /// one included. 0 for a queue without fragments, and for IPv6.
    pub(super) fn distance(&mut self, at: u32) -> u32 {
        let Some(queue) = self.queues.get_mut(at) else { return 0 };
        if queue.key.family != Family::V4 {
            return 0;
        }
        let pair = self.pairs.entry((queue.key.src, queue.key.dst)).or_default();
        pair.fragments = pair.fragments.wrapping_add(1);
        let distance = pair.fragments.wrapping_sub(queue.distance);
        queue.distance = pair.fragments;
        if queue.count == 0 { 0 } else { distance }
    }

    /// Takes a queue out, and hands its frames over in order of arrival.
    pub(super) fn remove(&mut self, at: u32, mut take: impl FnMut(Frame, &Piece)) {
        self.empty(at, &mut take);
        let Some(queue) = self.queues.remove(at) else { return };
        self.index.remove(&queue.key);
        if queue.key.family == Family::V4
            && let Some(pair) = self.pairs.get_mut(&(queue.key.src, queue.key.dst))
        {
            pair.queues -= 1;
            if pair.queues == 0 {
                self.pairs.remove(&(queue.key.src, queue.key.dst));
            }
        }
        self.unlink_age(queue.older, queue.newer, queue.key.family);
    }

    /// Empties a queue and lets it begin anew.
    pub(super) fn restart(&mut self, at: u32, deadline: Millis, mut take: impl FnMut(Frame, &Piece)) {
        self.empty(at, &mut take);
        let Some(queue) = self.queues.get_mut(at) else { return };
        queue.deadline = deadline;
        let (older, newer, family) = (queue.older, queue.newer, queue.key.family);
        self.unlink_age(older, newer, family);
        self.append_age(at, family);
    }

    fn empty(&mut self, at: u32, take: &mut impl FnMut(Frame, &Piece)) {
        let Some(queue) = self.queues.get_mut(at) else { return };
        let mut next = queue.first_arrived;
        (queue.total, queue.held, queue.count, queue.ecn) = (0, 0, 0, 0);
        (queue.has_end, queue.trusted) = (false, true);
        (queue.first, queue.first_run, queue.last_run) = (NONE, NONE, NONE);
        (queue.first_arrived, queue.last_arrived) = (NONE, NONE);
        let bytes = &mut self.bytes[queue.key.family.index()];
        while let Some(node) = self.nodes.remove(next) {
            *bytes -= size(&node.frame);
            next = node.next_arrived;
            take(node.frame, &node.piece);
        }
    }

    /// Where the octets from `offset` up to `end` belong.
    pub(super) fn place(&self, at: u32, offset: u32, end: u32) -> Place {
        let Some(queue) = self.queues.get(at) else { return Place::Overlap };
        let Some(last) = self.nodes.get(queue.last_run) else { return Place::Behind(None) };
        // The usual case: behind all that is there.
        if end > last.run_end {
            return match offset.cmp(&last.run_end) {
                std::cmp::Ordering::Less => Place::Overlap,
                std::cmp::Ordering::Equal => Place::Continues,
                std::cmp::Ordering::Greater => Place::Behind(Some(queue.last_run)),
            };
        }
        let (mut before, mut run) = (None, queue.first_run);
        while let Some(node) = self.nodes.get(run) {
            let start = u32::from(node.piece.offset);
            if end <= start {
                return Place::Behind(before);
            }
            if offset < node.run_end {
                let inside = offset >= start && end <= node.run_end;
                return if inside { Place::Duplicate } else { Place::Overlap };
            }
            (before, run) = (Some(run), node.next_run);
        }
        Place::Overlap
    }

    /// Holds a fragment at the place found for it; gives the frame back if there is no room.
    pub(super) fn hold(&mut self, at: u32, place: Place, frame: Frame, piece: Piece) -> Result<(), Frame> {
        if self.nodes.is_full() {
            return Err(frame);
        }
        let Some(queue) = self.queues.get_mut(at) else { return Err(frame) };
        let end = u32::from(piece.offset) + u32::from(piece.len);
        let bytes = size(&frame);
        let node = Node { frame, piece, next_arrived: NONE, run_end: end, next_run: NONE };
        // Cannot fail: there was a free place above.
        let Some(id) = self.nodes.insert(node) else { return Ok(()) };
        self.bytes[queue.key.family.index()] += bytes;
        match place {
            Place::Behind(before) => {
                let next = match before {
                    None => std::mem::replace(&mut queue.first_run, id),
                    Some(run) => match self.nodes.get_mut(run) {
                        Some(node) => std::mem::replace(&mut node.next_run, id),
                        None => NONE,
                    },
                };
                match self.nodes.get_mut(id) {
                    Some(node) if next != NONE => node.next_run = next,
                    _ => queue.last_run = id,
                }
            }
            _ => {
                if let Some(run) = self.nodes.get_mut(queue.last_run) {
                    run.run_end = end;
                }
            }
        }
        match self.nodes.get_mut(queue.last_arrived) {
            Some(last) => last.next_arrived = id,
            None => queue.first_arrived = id,
        }
        queue.last_arrived = id;
        queue.count += 1;
        queue.held += u32::from(piece.len);
        if piece.offset == 0 {
            queue.first = id;
        }
        Ok(())
    }

    /// The fragment with offset 0, if it is there.
    pub(super) fn first(&self, at: u32) -> Option<(&Frame, Piece)> {
        let node = self.nodes.get(self.queues.get(at)?.first)?;
        Some((&node.frame, node.piece))
    }
}

/// Shows every frame of a removed queue to the sink.
pub(super) fn all_to(sink: super::Sink<'_>, reason: DropReason) -> impl FnMut(Frame, &Piece) + '_ {
    move |frame, _| sink(frame, reason)
}
