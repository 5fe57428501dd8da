//! The connection table of one shard: buckets of tags in front of one-line entries.
//!
//! Holds always: each live slot has exactly one index item, in its home bucket or, if that was full, in one
//! after it, and every full bucket that was passed over counts it in `overflow`, so a search knows when to
//! stop. Slots never move, nothing is ever rehashed, all memory is reserved at start.
//!
//! Why tags: one 64-octet bucket names ten connections, so finding a known one touches two lines, bucket
//! and entry, both of whose addresses are known early enough to prefetch. Open addressing over the entries
//! themselves needs no bucket but pays a serialised miss for every second probe. The bucket also keeps one
//! "assured" bit per item, so making room in a full table reads no entry but the victim.

mod victims;

use super::entry::{Entry, status};
use super::key::{Key, Seed, end_v4, ends6};
use super::shortcut::Lines;
use crate::net::wide::{Wide, Widest};
use crate::net::{
    Addr, Direction, Family, HugePages, Stretch, Tuple, Zone, equal_lanes, prefetch, prefetch_nth, proto,
};
use std::io;

/// Index items per bucket.
pub const BUCKET_ITEMS: usize = 10;

/// Mean items per bucket in a full table; low enough that hardly any bucket overflows.
const TARGET_LOAD: usize = 5;

/// No slot.
pub const NIL: u32 = u32::MAX;

#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    /// 0 is free.
    tags: [u16; BUCKET_ITEMS],
    /// Bit per item: its connection is assured.
    assured: u16,
    /// Items of this or an earlier bucket that passed over this one.
    overflow: u16,
    slots: [u32; BUCKET_ITEMS],
}

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is one cache line");

/// What few connections need, beside the entry: the record of an ignored segment, helper, parent.
/// Words, so that the array comes zeroed and untouched from the system.
pub(super) type Cold = [u32; 8];

/// The word that holds a connection's zone.
const COLD_ZONE: usize = 3;

/// Where a connection lies. Valid until the next removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Slot of the entry.
    pub slot: u32,
    /// Direction of the packet that was looked up.
    pub direction: Direction,
    bucket: u32,
    item: u8,
}

/// A bounded table. See the module's contract.
#[derive(Debug)]
pub struct Table {
    seed: Seed,
    buckets: Stretch<Bucket>,
    entries: Stretch<Entry>,
    /// Addresses of IPv6 connections, as they lie in a header.
    ends6: Stretch<[u64; 4]>,
    cold: Stretch<Cold>,
    free: u32,
    /// Slots below this were used at least once.
    touched: u32,
    len: u32,
    zoned: u32,
}

/// Octets a table of `limit` entries reserves.
#[must_use]
pub fn reserved_bytes(limit: usize) -> usize {
    bucket_count(limit) * size_of::<Bucket>() + limit * (size_of::<Entry>() + size_of::<[u64; 4]>() + size_of::<Cold>())
}

fn bucket_count(limit: usize) -> usize {
    limit.div_ceil(TARGET_LOAD).max(victims::EXPIRED_BUCKETS * 2)
}

impl Table {
    /// Reserves a table of at most `limit` entries (1 to 2^31) on such pages. Buckets and entries are there from the
    /// start; the memory for IPv6 addresses and for what few connections need comes as it is used, and never on
    /// reserved pages.
    ///
    /// # Errors
    /// When the system has not the memory or the pages.
    pub fn reserve(limit: usize, seed: Seed, pages: HugePages) -> io::Result<Table> {
        let limit = limit.clamp(1, 1 << 31);
        let as_used = if pages == HugePages::Never { HugePages::Never } else { HugePages::Auto };
        Ok(Table {
            seed,
            buckets: Stretch::filled(bucket_count(limit), Bucket::default(), pages)?,
            entries: Stretch::filled(limit, Entry::default(), pages)?,
            ends6: Stretch::zeroed(limit, as_used)?,
            // Touched here and there, where huge pages would mostly be empty.
            cold: Stretch::zeroed(limit, HugePages::Never)?,
            free: NIL,
            touched: 0,
            len: 0,
            zoned: 0,
        })
    }

    /// The same, where there is nobody to tell that the memory is missing: the process ends then, as with any
    /// allocation.
    #[must_use]
    pub fn new(limit: usize, seed: Seed) -> Table {
        match Table::reserve(limit, seed, HugePages::Auto) {
            Ok(table) => table,
            Err(_) => std::alloc::handle_alloc_error(std::alloc::Layout::new::<Table>()),
        }
    }

    /// The table's secret.
    #[inline]
    #[must_use]
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// What the processor has.
    #[inline]
    #[must_use]
    pub fn widest(&self) -> Widest {
        self.seed.widest()
    }

    /// Has packets looked at as on a processor that has no more than all have.
    #[cfg(test)]
    pub(super) fn make_common(&mut self) {
        assert!(self.is_empty(), "other hashes are formed there");
        self.seed = self.seed.on_common();
    }

    /// Entries, expired ones that were not met yet included.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// No entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Most entries it holds.
    #[inline]
    #[must_use]
    pub fn limit(&self) -> usize {
        self.entries.len()
    }

    /// Slots that were ever used; a sweep need not look beyond.
    #[inline]
    #[must_use]
    pub fn touched(&self) -> usize {
        self.touched as usize
    }

    #[inline(always)]
    fn home(&self, hash: u64) -> usize {
        self.homes().of(hash)
    }

    /// Never 0, as the hash has it.
    #[inline(always)]
    const fn tag(hash: u64) -> u16 {
        hash as u16
    }

    #[inline(always)]
    fn next(&self, bucket: usize) -> usize {
        if bucket + 1 == self.buckets.len() { 0 } else { bucket + 1 }
    }

    /// Fetches the home bucket of `hash`, and says which it is: first pass over a burst.
    #[inline(always)]
    pub fn fetch_bucket(&self, hash: u64) -> u32 {
        self.homes().fetch(hash)
    }

    /// The same for many.
    #[inline(always)]
    pub fn homes(&self) -> Homes<'_> {
        Homes(&self.buckets)
    }

    /// For the second pass over a burst.
    #[inline(always)]
    pub fn way_in(&self) -> WayIn<'_> {
        WayIn { buckets: &self.buckets, entries: &self.entries }
    }

    /// Whether one look at the home bucket shows that nothing with this hash is in the table.
    #[inline]
    #[must_use]
    pub fn is_absent(&self, hash: u64) -> bool {
        let bucket = self.buckets.get(self.home(hash));
        bucket.is_none_or(|bucket| bucket.overflow == 0 && bucket.matches(Self::tag(hash)) == 0)
    }

    /// Where the connections lie.
    #[inline(always)]
    pub(super) fn lines(&mut self) -> Lines<'_> {
        Lines { entries: &mut self.entries, ends6: &self.ends6 }
    }

    /// The entry in `slot` and the direction in which an IPv4 packet with these addresses and ports, each with the
    /// source in the upper half, matches it, if it does: what [`Table::find`] finds too, without a look at the
    /// buckets. Protocol and status of the entry are still to be compared.
    #[inline(always)]
    pub(super) fn recognise_v4(&mut self, slot: u32, addresses: u64, ports: u32) -> Option<(&mut Entry, Direction)> {
        let entry = self.entries.get_mut(slot as usize)?;
        let have = u64::from(entry.ends[0]) | u64::from(entry.ends[1]) << 32;
        let [source, destination] = [(addresses >> 32) as u32, addresses as u32].map(u32::to_be);
        let addresses = u64::from(source) | u64::from(destination) << 32;
        let (there, back) = entry.ports(ports);
        if there | (have ^ addresses) == 0 {
            Some((entry, Direction::Original))
        } else if back | (have ^ addresses.rotate_left(32)) == 0 {
            Some((entry, Direction::Reply))
        } else {
            None
        }
    }

    /// The same for IPv6, with the hash of the packet's tuple and addresses as they lie in the header.
    #[inline(always)]
    pub(super) fn recognise_v6(
        &mut self,
        slot: u32,
        hash: u64,
        addresses: &[u64; 4],
        ports: u32,
    ) -> Option<(&mut Entry, Direction)> {
        let entry = self.entries.get_mut(slot as usize)?;
        let (there, back) = entry.ports(ports);
        let is_between = |side| entry.has_hash(hash, || has_addresses(&self.ends6, slot, addresses, side));
        if there == 0 && is_between(0) {
            Some((entry, Direction::Original))
        } else if back == 0 && is_between(1) {
            Some((entry, Direction::Reply))
        } else {
            None
        }
    }

    /// Finds the connection of a tuple of a protocol with ports, expired or not, in whatever zone: its slot and the tuple's
    /// direction.
    #[inline]
    pub(super) fn search(&self, hash: u64, tuple: &Tuple) -> Option<(u32, Direction)> {
        let tag = Self::tag(hash);
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let bucket = self.buckets.get(at)?;
            let mut matches = bucket.matches(tag);
            while matches != 0 {
                let slot = *bucket.slots.get(matches.trailing_zeros() as usize)?;
                matches &= matches - 1;
                if let Some(direction) = self.stands_in(slot, hash, tuple) {
                    return Some((slot, direction));
                }
            }
            if bucket.overflow == 0 {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    /// The direction in which a tuple of a protocol with ports, whose hash that is, matches the live entry in `slot`, if it does.
    #[inline]
    pub(super) fn stands_in(&self, slot: u32, hash: u64, tuple: &Tuple) -> Option<Direction> {
        let entry = self.entries.get(slot as usize)?;
        // What is that far away is not asked about others.
        if tuple.family == Family::V6 && entry.fingerprint() | 1 != hash {
            return None;
        }
        let keys = |a: u16, b: u16| u32::from(a) | u32::from(b) << 16;
        let have = keys(u16::from_be(entry.keys[0]), u16::from_be(entry.keys[1]));
        let there = have == keys(tuple.src_key, tuple.dst_key);
        if !there && have != keys(tuple.dst_key, tuple.src_key) {
            return None;
        }
        let original = self.original(slot)?;
        if original.proto != tuple.proto || original.family != tuple.family {
            return None;
        }
        let ends = (original.src, original.dst);
        if there && ends == (tuple.src, tuple.dst) {
            Some(Direction::Original)
        } else {
            (have == keys(tuple.dst_key, tuple.src_key) && ends == (tuple.dst, tuple.src)).then_some(Direction::Reply)
        }
    }

    /// Finds the connection of a tuple, expired or not. Where the two ids of the packet's zone differ there can be two:
    /// that which it travels in original direction comes first, as in netfilter.
    #[inline]
    #[must_use]
    pub fn find(&self, key: &Key) -> Option<Found> {
        let tag = Self::tag(key.hash);
        let mut at = self.home(key.hash);
        let mut second = None;
        for _ in 0..self.buckets.len() {
            let Some(bucket) = self.buckets.get(at) else { break };
            let mut matches = bucket.matches(tag);
            while matches != 0 {
                let item = matches.trailing_zeros() as usize;
                matches &= matches - 1;
                let slot = *bucket.slots.get(item)?;
                if let Some(direction) = self.compare(slot, key) {
                    let found = Found { slot, direction, bucket: at as u32, item: item as u8 };
                    if direction == Direction::Original || key.zone.original == key.zone.reply {
                        return Some(found);
                    }
                    second = Some(found);
                }
            }
            if bucket.overflow == 0 {
                break;
            }
            at = self.next(at);
        }
        second
    }

    #[inline(always)]
    fn compare(&self, slot: u32, key: &Key) -> Option<Direction> {
        let entry = self.entries.get(slot as usize)?;
        if entry.proto != key.tuple.proto {
            return None;
        }
        let (keys, Tuple { src, dst, family, .. }) = (entry.keys.map(u16::from_be), key.tuple);
        let direction = match family {
            Family::V4 if !entry.is(status::V6) => {
                key.direction(entry.ends.map(u32::from_be), [src, dst].map(Addr::as_v4), keys)
            }
            Family::V6 if entry.is(status::V6) && entry.fingerprint() | 1 == key.hash => {
                let ends = self.ends6.get(slot as usize).map(addresses)?;
                key.direction(ends, [src, dst], keys)
            }
            _ => None,
        }?;
        if (entry.is(status::ZONED) || !key.zone.is_default()) && !self.in_zone(slot, entry, direction, key.zone) {
            return None;
        }
        Some(direction)
    }

    /// Whether a packet of that zone, travelling in `direction`, belongs to the entry.
    #[cold]
    fn in_zone(&self, slot: u32, entry: &Entry, direction: Direction, zone: Zone) -> bool {
        let own = self.zone_of(slot, entry);
        match direction {
            Direction::Original => own.original == zone.original,
            Direction::Reply => own.reply == zone.reply,
        }
    }

    fn zone_of(&self, slot: u32, entry: &Entry) -> Zone {
        match self.cold.get(slot as usize) {
            Some(cold) if entry.is(status::ZONED) => Zone::from_word(cold[COLD_ZONE]),
            _ => Zone::DEFAULT,
        }
    }

    /// The zone of the connection in a slot.
    #[must_use]
    pub fn zone(&self, slot: u32) -> Zone {
        self.entry(slot).map_or(Zone::DEFAULT, |entry| self.zone_of(slot, entry))
    }

    /// Connections outside of the default zone.
    #[inline]
    #[must_use]
    pub fn zoned(&self) -> usize {
        self.zoned as usize
    }

    /// The entry in a slot.
    #[inline(always)]
    #[must_use]
    pub fn entry(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize)
    }

    /// The entry in a slot, to be changed.
    #[inline(always)]
    pub(super) fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.entries.get_mut(slot as usize)
    }

    /// The rarely used words of a slot.
    #[inline]
    pub(super) fn cold(&self, slot: u32) -> Option<&Cold> {
        self.cold.get(slot as usize)
    }

    /// The rarely used words of a slot, to be changed.
    #[inline]
    pub(super) fn cold_mut(&mut self, slot: u32) -> Option<&mut Cold> {
        self.cold.get_mut(slot as usize)
    }

    /// The tuple of the original direction.
    #[must_use]
    pub fn original(&self, slot: u32) -> Option<Tuple> {
        let entry = self.entries.get(slot as usize).filter(|e| e.is(status::LIVE))?;
        let (family, src, dst) = if entry.is(status::V6) {
            let [src, dst] = self.ends6.get(slot as usize).map(addresses)?;
            (Family::V6, src, dst)
        } else {
            (Family::V4, Addr::v4(u32::from_be(entry.ends[0])), Addr::v4(u32::from_be(entry.ends[1])))
        };
        let [src_key, dst_key] = entry.keys.map(u16::from_be);
        Some(Tuple { src, dst, src_key, dst_key, proto: entry.proto, family })
    }

    /// Notes in the index that a found connection must not be sacrificed.
    #[inline]
    pub(super) fn mark_assured(&mut self, found: Found) {
        if let Some(bucket) = self.buckets.get_mut(found.bucket as usize) {
            bucket.assured |= 1 << found.item;
        }
        if let Some(entry) = self.entries.get_mut(found.slot as usize) {
            entry.status |= status::ASSURED;
        }
    }

    /// The same by slot and hash.
    pub(super) fn mark_slot_assured(&mut self, slot: u32, hash: u64) {
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let Some(bucket) = self.buckets.get(at) else { return };
            if let Some(item) = bucket.item_of(Self::tag(hash), slot) {
                let (bucket, item) = (at as u32, item as u8);
                return self.mark_assured(Found { slot, direction: Direction::Original, bucket, item });
            }
            at = self.next(at);
        }
    }

    /// Puts a connection in; `entry` needs its protocol, status, words and deadline, the rest comes from
    /// `key`, whose tuple becomes the original direction. `None` when the table is full.
    pub(super) fn insert(&mut self, key: &Key, entry: &Entry) -> Option<Found> {
        let found = self.index(key.hash, entry.is(status::ASSURED))?;
        self.fill(found.slot, key.hash, &key.tuple, entry);
        if !key.zone.is_default()
            && let (Some(entry), Some(cold)) =
                (self.entries.get_mut(found.slot as usize), self.cold.get_mut(found.slot as usize))
        {
            entry.status |= status::ZONED;
            cold[COLD_ZONE] = key.zone.to_word();
            self.zoned += 1;
        }
        Some(found)
    }

    /// The same in the default zone, without a key: of a tuple and its hash.
    #[inline(always)]
    pub(super) fn insert_plain(&mut self, hash: u64, tuple: &Tuple, entry: &Entry) -> Option<u32> {
        let found = self.index(hash, false)?;
        self.fill(found.slot, hash, tuple, entry);
        Some(found.slot)
    }

    /// Puts another connection of the tuple that the one in `slot` has, either way, in its place: what [`Table::remove`] and
    /// [`Table::insert_plain`] come to. `false`: it is not in its home bucket, and nothing was changed.
    #[inline(always)]
    pub(super) fn renew(&mut self, slot: u32, hash: u64, tuple: &Tuple, entry: &Entry) -> bool {
        let (tag, home) = (Self::tag(hash), self.home(hash));
        let zoned = self.entry(slot).is_none_or(|entry| entry.is(status::ZONED));
        let Some(bucket) = self.buckets.get_mut(home) else { return false };
        let Some(item) = bucket.item_of(tag, slot).filter(|_| !zoned) else { return false };
        bucket.set(item, 0, 0, false);
        bucket.set(bucket.matches(0).trailing_zeros() as usize, tag, slot, false);
        self.fill(slot, hash, tuple, entry);
        true
    }

    /// Takes a slot for a connection and notes it in the index.
    #[inline(always)]
    fn index(&mut self, hash: u64, assured: bool) -> Option<Found> {
        let slot = self.take_slot()?;
        let tag = Self::tag(hash);
        let mut at = self.home(hash);
        let item = loop {
            let bucket = self.buckets.get_mut(at)?;
            let free = bucket.matches(0);
            if free != 0 {
                let item = free.trailing_zeros() as usize;
                bucket.set(item, tag, slot, assured);
                break item;
            }
            bucket.overflow = bucket.overflow.saturating_add(1);
            at = self.next(at);
        };
        self.len += 1;
        Some(Found { slot, direction: Direction::Original, bucket: at as u32, item: item as u8 })
    }

    /// Writes an entry with its addresses.
    #[inline(always)]
    fn fill(&mut self, slot: u32, hash: u64, tuple: &Tuple, entry: &Entry) {
        let (src, dst) = (tuple.src, tuple.dst);
        let keys = [tuple.src_key.to_be(), tuple.dst_key.to_be()];
        let (ends, kind) = match tuple.family {
            Family::V4 => ([src, dst].map(|end| end.as_v4().to_be()), status::LIVE),
            Family::V6 => {
                let kept = self.seed.fingerprint(hash, keys);
                ([kept as u32, (kept >> 32) as u32], status::LIVE | status::V6)
            }
        };
        if let Some(place) = self.entries.get_mut(slot as usize) {
            *place = Entry { ends, keys, proto: tuple.proto, status: entry.status | kind, ..*entry };
        }
        if tuple.family == Family::V6
            && let Some(ends) = self.ends6.get_mut(slot as usize)
        {
            *ends = ends6(src, dst);
        }
    }

    #[inline(always)]
    fn take_slot(&mut self) -> Option<u32> {
        if self.free != NIL {
            let slot = self.free;
            self.free = self.entries.get(slot as usize)?.words[0];
            // The next one's line comes while this one's connection is made.
            if let Some(next) = self.entries.get(self.free as usize) {
                prefetch(next);
            }
            return Some(slot);
        }
        if (self.touched as usize) < self.entries.len() {
            self.touched += 1;
            return Some(self.touched - 1);
        }
        None
    }

    /// Takes a connection out. Its slot may be given away at the next insertion.
    pub(super) fn remove(&mut self, slot: u32) {
        let Some(hash) = self.hash_of(slot) else { return };
        let tag = Self::tag(hash);
        let mut at = self.home(hash);
        for _ in 0..self.buckets.len() {
            let next = self.next(at);
            let Some(bucket) = self.buckets.get_mut(at) else { return };
            if let Some(item) = bucket.item_of(tag, slot) {
                bucket.set(item, 0, 0, false);
                break;
            }
            bucket.overflow = bucket.overflow.saturating_sub(1);
            at = next;
        }
        self.give_back(slot);
    }

    /// The hash of the connection in a slot.
    #[inline]
    fn hash_of(&self, slot: u32) -> Option<u64> {
        let entry = self.entries.get(slot as usize).filter(|entry| entry.is(status::LIVE))?;
        let ports = entry.keys;
        match entry.proto {
            _ if entry.is(status::V6) => Some(entry.fingerprint() | 1),
            proto::ICMP => Key::hash(&self.original(slot)?, &self.seed),
            number => {
                let ([src, dst], [a, b]) = (entry.ends, ports);
                Some(self.seed.hash_v4([end_v4(src, b, a), end_v4(dst, a, b)], number))
            }
        }
    }

    /// Makes a slot free that the index knows no more.
    #[inline]
    fn give_back(&mut self, slot: u32) {
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            self.zoned -= u32::from(entry.is(status::ZONED));
            entry.status = 0;
            entry.decision = 0;
            entry.words[0] = self.free;
        }
        self.free = slot;
        self.len -= 1;
    }

    /// Buckets a search for `hash` looks at: 1 unless the home bucket overflowed.
    #[must_use]
    pub fn probes(&self, hash: u64) -> usize {
        let mut at = self.home(hash);
        for probes in 1..=self.buckets.len() {
            match self.buckets.get(at) {
                Some(bucket) if bucket.overflow > 0 => at = self.next(at),
                _ => return probes,
            }
        }
        self.buckets.len()
    }

    /// Checks the module's invariants in full; for tests.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut seen = std::collections::HashSet::new();
        let mut overflow = vec![0u16; self.buckets.len()];
        for (at, bucket) in self.buckets.iter().enumerate() {
            for (item, (tag, slot)) in bucket.tags.iter().zip(&bucket.slots).enumerate() {
                if *tag == 0 {
                    continue;
                }
                assert!(seen.insert(*slot), "slot {slot} is indexed twice");
                let entry = &self.entries[*slot as usize];
                assert!(entry.is(status::LIVE));
                assert_eq!(bucket.assured >> item & 1 == 1, entry.is(status::ASSURED));
                let key = Key::new(self.original(*slot).unwrap(), &self.seed).unwrap();
                let mut way = self.home(key.hash);
                while way != at {
                    overflow[way] += 1;
                    way = self.next(way);
                }
            }
        }
        assert_eq!(seen.len(), self.len as usize);
        for (bucket, expected) in self.buckets.iter().zip(&overflow) {
            assert_eq!(bucket.overflow, *expected);
        }
        assert_eq!(self.entries.iter().filter(|e| e.is(status::LIVE)).count(), self.len as usize);
    }
}

/// Both addresses of an IPv6 connection, of words as they lie in a header.
#[inline(always)]
fn addresses(ends: &[u64; 4]) -> [Addr; 2] {
    let [a, b, c, d] = ends.map(u64::from_be);
    [Addr { hi: a, lo: b }, Addr { hi: c, lo: d }]
}

/// Whether a packet with these addresses, as they lie in its header, is between the ends of the IPv6 connection in `slot` if it
/// travels in that direction.
#[inline(always)]
#[must_use]
pub fn has_addresses(ends6: &[[u64; 4]], slot: u32, addresses: &[u64; 4], side: usize) -> bool {
    let Some([a, b, c, d]) = ends6.get(slot as usize) else { return false };
    let [e, f, g, h] = *addresses;
    let [e, f, g, h] = if side == 0 { [e, f, g, h] } else { [g, h, e, f] };
    (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) == 0
}

/// What leads from a bucket to an entry.
#[derive(Clone, Copy)]
pub struct WayIn<'a> {
    buckets: &'a [Bucket],
    entries: &'a [Entry],
}

/// Home buckets, for the first pass over a burst.
#[derive(Clone, Copy)]
pub struct Homes<'a>(&'a [Bucket]);

impl Homes<'_> {
    #[inline(always)]
    fn of(self, hash: u64) -> usize {
        // Lemire's multiply-shift, by the upper bits: any number of buckets, no division.
        ((u128::from(hash) * self.0.len() as u128) >> 64) as usize
    }

    /// Fetches the home bucket of `hash`, and says which it is.
    #[inline(always)]
    pub fn fetch(self, hash: u64) -> u32 {
        let home = self.of(hash);
        prefetch_nth(self.0, home);
        home as u32
    }
}

impl WayIn<'_> {
    /// Fetches a bucket that [`Table::fetch_bucket`] gave once more, shortly before it is looked into. Any number may be asked for.
    #[inline(always)]
    pub fn fetch_again(&self, bucket: u32) {
        prefetch_nth(self.buckets, bucket as usize);
    }

    /// The slot that `hash` most likely means, which is fetched. `bucket` is what [`Table::fetch_bucket`] gave. [`NIL`] if there
    /// is none in it, or no such bucket.
    #[inline(always)]
    #[must_use]
    pub fn likely(&self, wide: impl Wide, bucket: u32, hash: u64) -> u32 {
        let Some(bucket) = self.buckets.get(bucket as usize) else { return NIL };
        let Some(slot) = bucket.slots.get(wide.first_equal_lane(&bucket.tags, hash) as usize) else { return NIL };
        prefetch_nth(self.entries, *slot as usize);
        *slot
    }
}

impl Bucket {
    /// Bit per item whose tag is `tag`.
    #[inline(always)]
    fn matches(&self, tag: u16) -> u32 {
        equal_lanes(&self.tags, tag)
    }

    #[inline]
    fn item_of(&self, tag: u16, slot: u32) -> Option<usize> {
        let mut matches = self.matches(tag);
        while let Some(have) = self.slots.get(matches.trailing_zeros() as usize) {
            if *have == slot {
                return Some(matches.trailing_zeros() as usize);
            }
            matches &= matches - 1;
        }
        None
    }

    fn set(&mut self, item: usize, tag: u16, slot: u32, assured: bool) {
        if let (Some(t), Some(s)) = (self.tags.get_mut(item), self.slots.get_mut(item)) {
            *t = tag;
            *s = slot;
            self.assured = self.assured & !(1 << item) | u16::from(assured) << item;
        }
    }
}

#[cfg(test)]
mod tests;
