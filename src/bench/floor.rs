//! The ruler: what the least work per packet costs on this machine now.
//!
//! The same frames by the same ports, but of the router only what no layout gets around: read the header, fetch the
//! line of tags, fetch the line of the connection, write one word of it, count the TTL down, set the link addresses,
//! send. Bursts and prefetches are the router's; the memory is in huge pages where there are any. It parses nothing,
//! verifies nothing and knows no protocol, so no router can be as fast.

use super::feed::Chunk;
use super::huge;
use super::packet::{ETHERNET, Way};
use crate::driver::QueuePair;
use crate::frame::{Burst, Frame, Pool, PoolConfig, PoolError};
use crate::net::{prefetch, proto};
use crate::shard::BURST;
use crate::wire::checksum::update16;

/// Index items per bucket, and mean items per bucket when full.
const ITEMS: usize = 10;
const LOAD: usize = 5;

#[repr(C, align(64))]
#[derive(Clone, Copy, Default)]
struct Bucket {
    tags: [u16; 12],
    slots: [u32; ITEMS],
}

#[repr(C, align(64))]
#[derive(Clone, Copy, Default)]
struct Entry {
    key: u64,
    word: u64,
    rest: [u64; 6],
}

const _: () = assert!(size_of::<Bucket>() == 64 && size_of::<Entry>() == 64, "a line each");

/// What is known of a packet between two passes.
#[derive(Clone, Copy, Default)]
struct Mark {
    key: u64,
    hash: u64,
    slot: u32,
    tracked: bool,
}

/// See the module's documentation.
pub struct Floor {
    queues: [Box<dyn QueuePair>; 2],
    pool: Pool,
    burst: Burst,
    marks: [Mark; BURST],
    buckets: Vec<Bucket>,
    entries: Vec<Entry>,
    /// The slot that is given away next.
    next: usize,
    /// By port of entry: the link addresses on the way out.
    links: [[u8; 12]; 2],
    /// Connections made because no line had them.
    made: u64,
}

impl Floor {
    /// A ruler for that many connections.
    ///
    /// # Errors
    /// When the system refuses the memory for buffers.
    pub fn new(
        flows: usize,
        queues: [Box<dyn QueuePair>; 2],
        pool: PoolConfig,
        ways: [Way; 2],
    ) -> Result<Floor, PoolError> {
        let mut buckets = Vec::with_capacity(flows.div_ceil(LOAD).max(2));
        huge::advise(buckets.spare_capacity_mut());
        buckets.resize(buckets.capacity(), Bucket::default());
        let mut entries = Vec::with_capacity(flows.max(1));
        huge::advise(entries.spare_capacity_mut());
        entries.resize(entries.capacity(), Entry::default());
        Ok(Floor {
            queues,
            pool: Pool::new(pool)?,
            burst: Burst::with_limit(BURST),
            marks: [Mark::default(); BURST],
            buckets,
            entries,
            next: 0,
            links: ways.map(|way| {
                let mut link = [0; 12];
                crate::wire::set_link(&mut link, way.after[0], way.after[1]);
                link
            }),
            made: 0,
        })
    }

    /// Connections made so far.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Takes all frames its ports have. Gives how many.
    pub fn run(&mut self) -> usize {
        let mut all = 0;
        loop {
            let before = all;
            for port in [0, 1] {
                let Some(queue) = self.queues.get_mut(port) else { continue };
                all += queue.receive(&self.pool, &mut self.burst).received;
                self.pass(port);
                if let Some(queue) = self.queues.get_mut(1 - port) {
                    queue.transmit(&mut self.burst);
                }
            }
            if all == before {
                return all;
            }
        }
    }

    /// Makes the connections of a chunk's frames.
    pub fn learn(&mut self, chunk: &Chunk) {
        for stream in chunk.streams() {
            for (octets, len) in stream.frames() {
                let mark = mark(octets.get(..len).unwrap_or(&octets));
                if mark.tracked {
                    self.find_or_make(&mark);
                }
            }
        }
    }

    #[inline]
    fn pass(&mut self, port: usize) {
        let Some(link) = self.links.get(port).copied() else { return };
        let Floor { burst, marks, buckets, entries, .. } = self;
        let frames = burst.as_mut_slice();
        for (mark, frame) in marks.iter_mut().zip(&*frames) {
            *mark = self::mark(frame.data());
            if let Some(bucket) = buckets.get(home(buckets, mark.hash)) {
                prefetch(bucket);
            }
        }
        for mark in marks.iter_mut().take(frames.len()) {
            let Some(bucket) = buckets.get(home(buckets, mark.hash)) else { continue };
            let item = matches(bucket, tag(mark.hash)).trailing_zeros();
            mark.slot = bucket.slots.get(item as usize).copied().unwrap_or(u32::MAX);
            if let Some(entry) = entries.get(mark.slot as usize) {
                prefetch(entry);
            }
        }
        let mut missed = false;
        for (mark, frame) in marks.iter_mut().zip(frames) {
            match entries.get_mut(mark.slot as usize) {
                Some(entry) if entry.key == mark.key => {
                    entry.word = entry.word.wrapping_add(1);
                    mark.tracked = false;
                }
                _ => missed |= mark.tracked,
            }
            rewrite(frame, &link);
        }
        if missed {
            self.miss();
        }
    }

    /// The packets of a burst whose connection the first look did not find.
    #[inline(never)]
    fn miss(&mut self) {
        for at in 0..self.burst.len() {
            if let Some(mark) = self.marks.get(at).copied().filter(|mark| mark.tracked) {
                self.find_or_make(&mark);
            }
        }
    }

    /// The rest of a search whose first match was another's, and room for a connection that is not there.
    fn find_or_make(&mut self, mark: &Mark) {
        let mut at = home(&self.buckets, mark.hash);
        // Where a free item is, no search goes on.
        for _ in 0..self.buckets.len() {
            let Some(bucket) = self.buckets.get_mut(at) else { return };
            let mut hits = matches(bucket, tag(mark.hash));
            while hits != 0 {
                let slot = bucket.slots.get(hits.trailing_zeros() as usize).copied().unwrap_or(u32::MAX);
                if let Some(entry) = self.entries.get_mut(slot as usize)
                    && entry.key == mark.key
                {
                    entry.word = entry.word.wrapping_add(1);
                    return;
                }
                hits &= hits - 1;
            }
            if matches(bucket, 0) != 0 {
                return self.make(mark);
            }
            at = if at + 1 == self.buckets.len() { 0 } else { at + 1 };
        }
    }

    fn make(&mut self, mark: &Mark) {
        self.made += 1;
        let slot = self.next;
        self.next = if slot + 1 == self.entries.len() { 0 } else { slot + 1 };
        let old = self.entries.get(slot).map_or(0, |entry| entry.key);
        if old != 0 {
            self.forget(hash(old), slot as u32);
        }
        let mut at = home(&self.buckets, mark.hash);
        for _ in 0..self.buckets.len() {
            let Some(bucket) = self.buckets.get_mut(at) else { return };
            let item = matches(bucket, 0).trailing_zeros() as usize;
            if let (Some(t), Some(s)) = (bucket.tags.get_mut(item).filter(|_| item < ITEMS), bucket.slots.get_mut(item))
            {
                (*t, *s) = (tag(mark.hash), slot as u32);
                break;
            }
            at = if at + 1 == self.buckets.len() { 0 } else { at + 1 };
        }
        if let Some(entry) = self.entries.get_mut(slot) {
            *entry = Entry { key: mark.key, word: 1, rest: [mark.hash; 6] };
        }
    }

    fn forget(&mut self, hash: u64, slot: u32) {
        let mut at = home(&self.buckets, hash);
        for _ in 0..self.buckets.len() {
            let Some(bucket) = self.buckets.get_mut(at) else { return };
            let item = bucket.tags.iter().zip(&bucket.slots).position(|(t, s)| *t != 0 && *s == slot);
            if let Some(tag) = item.and_then(|item| bucket.tags.get_mut(item)) {
                *tag = 0;
                return;
            }
            at = if at + 1 == self.buckets.len() { 0 } else { at + 1 };
        }
    }
}

#[inline(always)]
const fn home(buckets: &[Bucket], hash: u64) -> usize {
    ((hash as u32 as u64 * buckets.len() as u64) >> 32) as usize
}

#[inline(always)]
const fn tag(hash: u64) -> u16 {
    (hash >> 48) as u16 | 1
}

#[inline(always)]
fn matches(bucket: &Bucket, tag: u16) -> u32 {
    let mut bits = 0;
    for (item, have) in bucket.tags.iter().enumerate().take(ITEMS) {
        bits |= u32::from(*have == tag) << item;
    }
    bits
}

#[inline(always)]
const fn hash(key: u64) -> u64 {
    let product = (key ^ 0x9e37_79b9_7f4a_7c15) as u128 * 0xd6e8_feb8_6659_fd93_u128;
    product as u64 ^ (product >> 64) as u64
}

#[inline(always)]
fn word<const N: usize>(data: &[u8; N], at: usize) -> u64 {
    data.get(at..).and_then(|d| d.first_chunk::<4>()).map_or(0, |d| u64::from(u32::from_le_bytes(*d)))
}

/// A key that is the same for both directions, and its hash.
#[inline(always)]
fn mark(data: &[u8]) -> Mark {
    const V4: usize = ETHERNET + 24;
    const V6: usize = ETHERNET + 44;
    let (ports, next, sum) = if data.get(12) == Some(&8) {
        let Some(h) = data.first_chunk::<V4>() else { return Mark::default() };
        // Fragments have no ports.
        let next = if (h[20] & 0x3f) | h[21] == 0 { h[23] } else { 0 };
        (word(h, 34), next, word(h, 26) + word(h, 30))
    } else {
        let Some(h) = data.first_chunk::<V6>() else { return Mark::default() };
        let mut sum = word(h, 22) + word(h, 38) + ((word(h, 26) + word(h, 42)) << 3);
        sum += ((word(h, 30) + word(h, 46)) << 7) + ((word(h, 34) + word(h, 50)) << 11);
        (word(h, 54), h[20], sum)
    };
    let ports = (ports & 0xffff) + (ports >> 16);
    // The key is never 0, for this says that a line is free.
    let key = ((sum << 18) + (ports << 1)) | 1;
    let tracked = next == proto::TCP || next == proto::UDP;
    Mark { key, hash: hash(key), slot: u32::MAX, tracked }
}

/// Counts the TTL down and sets the link addresses.
#[inline(always)]
fn rewrite(frame: &mut Frame, link: &[u8; 12]) {
    let Some(h) = frame.data_mut().first_chunk_mut::<26>() else { return };
    if h[12] == 8 {
        let check = update16(u16::from_be_bytes([h[24], h[25]]), 0x100, 0);
        h[22] = h[22].wrapping_sub(1);
        [h[24], h[25]] = check.to_be_bytes();
    } else {
        h[21] = h[21].wrapping_sub(1);
    }
    if let Some(place) = h.first_chunk_mut::<12>() {
        *place = *link;
    }
}
