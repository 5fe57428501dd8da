//! The ruler: what the least work per packet costs on this machine now.
//!
//! The same frames in the same bursts, but of the router only what no layout gets around: read the header, fetch the
//! line of tags, fetch the line of the connection, write one word of it, count the TTL down, set the link addresses.
//! It works on the frames where they lie, each line fetched ahead of time, in huge pages where there are any. It takes
//! no buffers, parses nothing, verifies nothing and knows no protocol, so no router can be as fast.

use super::feed::{Chunk, Line};
use super::memory::advise_huge;
use super::packet::{ETHERNET, MAX_PREPARED, Way, digest};
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
    /// Frames, in the order in which they come.
    lines: Vec<Line>,
    lens: Vec<u16>,
    /// By burst: the port it comes in by, and its frames.
    bursts: Vec<(u8, u8)>,
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
    #[must_use]
    pub fn new(flows: usize, ways: [Way; 2]) -> Floor {
        let mut buckets = Vec::with_capacity(flows.div_ceil(LOAD).max(2));
        advise_huge(buckets.spare_capacity_mut());
        buckets.resize(buckets.capacity(), Bucket::default());
        let mut entries = Vec::with_capacity(flows.max(1));
        advise_huge(entries.spare_capacity_mut());
        entries.resize(entries.capacity(), Entry::default());
        Floor {
            lines: Vec::new(),
            lens: Vec::new(),
            bursts: Vec::new(),
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
        }
    }

    /// Connections made so far.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Takes in the frames of a chunk, to be passed by [`Floor::run`].
    pub fn take(&mut self, chunk: &Chunk) {
        self.lines.clear();
        self.lens.clear();
        self.bursts.clear();
        let per = chunk.lines();
        let mut at = [0; 2];
        let turns = chunk.streams()[0].bursts().iter().zip(chunk.streams()[1].bursts());
        for (lan, wan) in turns {
            for (port, size) in [*lan, *wan].into_iter().enumerate() {
                let (lines, lens) = chunk.streams()[port].part(at[port], usize::from(size), per);
                self.lines.extend_from_slice(lines);
                self.lens.extend_from_slice(lens);
                at[port] += usize::from(size);
                self.bursts.push((port as u8, size));
            }
        }
    }

    /// Passes the frames taken in.
    pub fn run(&mut self) {
        let mut lines = std::mem::take(&mut self.lines);
        let bursts = std::mem::take(&mut self.bursts);
        match lines.len().checked_div(self.lens.len()) {
            Some(1) => self.run_all(lines.as_chunks_mut::<1>().0, &bursts),
            _ => self.run_all(lines.as_chunks_mut::<2>().0, &bursts),
        }
        self.lines = lines;
        self.bursts = bursts;
    }

    /// What the passed frames have become: their number, and the sum of their digests.
    #[must_use]
    pub fn result(&self) -> (u64, u64) {
        let per = self.lines.len().checked_div(self.lens.len()).unwrap_or(1).max(1);
        let sum = self.lines.chunks(per).zip(&self.lens).fold(0, |sum: u64, (lines, len)| {
            let mut octets = [0; MAX_PREPARED];
            lines.iter().zip(octets.as_chunks_mut::<64>().0).for_each(|(from, to)| *to = from.0);
            let len = usize::from(*len);
            let behind = len.saturating_sub(MAX_PREPARED) as u64;
            sum.wrapping_add(digest(octets.get(..len).unwrap_or(&octets))).wrapping_add(behind)
        });
        (self.lens.len() as u64, sum)
    }

    /// Makes the connections of a chunk's frames.
    pub fn learn(&mut self, chunk: &Chunk) {
        for stream in chunk.streams() {
            for (octets, _) in stream.frames() {
                let mark = mark(&octets);
                if mark.tracked {
                    self.find_or_make(&mark);
                }
            }
        }
    }

    fn run_all<const N: usize>(&mut self, mut frames: &mut [[Line; N]], bursts: &[(u8, u8)]) {
        for (port, size) in bursts {
            let Some((burst, rest)) = frames.split_at_mut_checked(usize::from(*size)) else { return };
            for frame in rest.iter().take(BURST) {
                prefetch(frame);
            }
            self.pass(usize::from(*port), burst);
            frames = rest;
        }
    }

    #[inline(always)]
    fn pass<const N: usize>(&mut self, port: usize, frames: &mut [[Line; N]]) {
        let Some(link) = self.links.get(port).copied() else { return };
        let Floor { marks, buckets, entries, .. } = self;
        for (mark, frame) in marks.iter_mut().zip(&*frames) {
            *mark = self::mark(frame.first().map_or(&[], |line| &line.0));
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
        for (mark, frame) in marks.iter_mut().zip(&mut *frames) {
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
            self.miss(frames.len());
        }
    }

    /// The packets of a burst whose connection the first look did not find.
    #[inline(never)]
    fn miss(&mut self, size: usize) {
        for at in 0..size {
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
fn word(data: &[u8; 64], at: usize) -> u64 {
    data.get(at..).and_then(|d| d.first_chunk::<4>()).map_or(0, |d| u64::from(u32::from_le_bytes(*d)))
}

/// A key that is the same for both directions, and its hash.
#[inline(always)]
fn mark(data: &[u8]) -> Mark {
    let Some(h) = data.first_chunk::<64>() else { return Mark::default() };
    let (ports, next, sum) = if h[12] == 8 {
        // Fragments have no ports.
        let next = if (h[20] & 0x3f) | h[21] == 0 { h[23] } else { 0 };
        (word(h, ETHERNET + 20), next, word(h, 26) + word(h, 30))
    } else {
        let mut sum = word(h, 22) + word(h, 38) + ((word(h, 26) + word(h, 42)) << 3);
        sum += ((word(h, 30) + word(h, 46)) << 7) + ((word(h, 34) + word(h, 50)) << 11);
        (word(h, ETHERNET + 40), h[20], sum)
    };
    let ports = (ports & 0xffff) + (ports >> 16);
    // The key is never 0, for this says that a line is free.
    let key = ((sum << 18) + (ports << 1)) | 1;
    let tracked = next == proto::TCP || next == proto::UDP;
    Mark { key, hash: hash(key), slot: u32::MAX, tracked }
}

/// Counts the TTL down and sets the link addresses.
#[inline(always)]
fn rewrite<const N: usize>(frame: &mut [Line; N], link: &[u8; 12]) {
    let Some(Line(h)) = frame.first_mut() else { return };
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
