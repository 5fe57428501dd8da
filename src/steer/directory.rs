//! The directory of expectations all workers share.
//!
//! An expectation's owner is not known before its first packet comes, because the source port is a wildcard;
//! so expectations cannot live in a shard. They live here, in one concurrent map looked at only when a packet
//! missed its shard's table, and only when the map is not empty: the count beside it is one relaxed load.
//! Taking an expectation out is the claim, so exactly one connection spends it, on whichever worker.
//!
//! The destination and its key are always exact; all expectations that could overlap share one bucket, and
//! every decision about them is made under that bucket's lock.

use super::calls::CallIds;
use super::quota::Counts;
use crate::net::{Addr, Expectation, Family, MasterRef, Millis, Tuple};
use dashmap::{DashMap, Entry};
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What all expectations of one bucket have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Address family.
    pub family: Family,
    /// IP protocol number.
    pub proto: u8,
    /// Destination address.
    pub dst: Addr,
    /// Destination key.
    pub dst_key: u16,
    /// Zone of the master and of whoever is expected.
    pub zone: u16,
}

impl Key {
    fn of_tuple(tuple: &Tuple, zone: u16) -> Key {
        Key { family: tuple.family, proto: tuple.proto, dst: tuple.dst, dst_key: tuple.dst_key, zone }
    }

    fn of_offer(offer: &Offer) -> Key {
        let e = &offer.expectation;
        Key { family: e.family, proto: e.proto, dst: e.dst, dst_key: e.dst_key, zone: offer.zone }
    }
}

/// Names one expectation in the directory. It stays valid, naming nothing, after the expectation is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    key: Key,
    id: u64,
}

/// An expectation to be added.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    /// The announced connection.
    pub expectation: Expectation,
    /// Zone of the announcer.
    pub zone: u16,
    /// Who announces it.
    pub master: MasterRef,
    /// How long it holds.
    pub timeout_ms: u32,
    /// The master's oldest expectation of the same class, if it has as many as the class allows. Evicted
    /// only when the new one really comes on top of it: not when it replaces one, nor when it is refused.
    pub evict: Option<Handle>,
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddResult {
    /// Stored.
    Added {
        /// Its name.
        handle: Handle,
        /// The one the offer named for it had to go.
        evicted: bool,
    },
    /// Stored in place of an equal one of the same master, whose handle names nothing any more.
    Replaced(Handle),
    /// Not stored: another master, or another class of this one, has an equal one already.
    Already,
    /// Refused: it overlaps another expectation.
    Busy,
    /// Refused: the directory holds as many as it may.
    Full,
}

/// An expectation that the connection it announced has come for; out of the directory unless it is permanent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The announced connection.
    pub expectation: Expectation,
    /// Who announced it.
    pub master: MasterRef,
    /// What it was named while it was in the directory.
    pub handle: Handle,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    expectation: Expectation,
    master: MasterRef,
    deadline: Millis,
    id: u64,
}

impl Record {
    fn is_live(&self, now: Millis) -> bool {
        self.deadline.since(now) > 0
    }

    fn matches(&self, tuple: &Tuple) -> bool {
        self.expectation.src.is_none_or(|src| src == tuple.src)
            && self.expectation.src_key.is_none_or(|key| key == tuple.src_key)
    }

    /// Same fields with the same wildcards.
    fn is_equal(&self, other: &Expectation) -> bool {
        self.expectation.src == other.src && self.expectation.src_key == other.src_key
    }

    /// Some packet could match both: the sources agree wherever both name one.
    fn overlaps(&self, other: &Expectation) -> bool {
        fn agree<T: PartialEq>(a: Option<T>, b: Option<T>) -> bool {
            match (a, b) {
                (Some(a), Some(b)) => a == b,
                _ => true,
            }
        }
        agree(self.expectation.src, other.src) && agree(self.expectation.src_key, other.src_key)
    }
}

/// More than one needs sources that differ, which a helper hardly ever announces. The newest comes last.
type Bucket = SmallVec<[Record; 1]>;

/// What the expectations of a bucket make of another one, the newest asked first.
enum Opinion {
    Replaces(usize),
    Already,
    Busy,
}

fn opinion(bucket: &Bucket, offer: &Offer) -> Option<Opinion> {
    let e = &offer.expectation;
    bucket.iter().enumerate().rev().find_map(|(at, r)| {
        let own = r.master == offer.master;
        if (own || e.shared) && r.is_equal(e) {
            Some(if own && r.expectation.class == e.class { Opinion::Replaces(at) } else { Opinion::Already })
        } else {
            r.overlaps(e).then_some(Opinion::Busy)
        }
    })
}

/// Helpers there can be: their number is one octet.
const HELPERS: usize = 256;

/// The expectations of all workers.
#[derive(Debug)]
pub struct Directory {
    map: DashMap<Key, Bucket>,
    count: AtomicUsize,
    limit: usize,
    next_id: AtomicU64,
    cursor: AtomicUsize,
    /// Expectations that expired and were not reported yet, by their master's helper.
    expired: Box<[AtomicU64]>,
    expired_sum: AtomicU64,
    calls: CallIds,
    counts: Counts,
}

impl Directory {
    /// An empty directory that holds at most `limit` expectations (nf_conntrack_expect_max).
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Directory {
            map: DashMap::new(),
            count: AtomicUsize::new(0),
            limit,
            next_id: AtomicU64::new(1),
            cursor: AtomicUsize::new(0),
            expired: (0..HELPERS).map(|_| AtomicU64::new(0)).collect(),
            expired_sum: AtomicU64::new(0),
            calls: CallIds::default(),
            counts: Counts::default(),
        }
    }

    /// The call ids of PPTP, which stand beside the expectations.
    #[inline]
    #[must_use]
    pub fn calls(&self) -> &CallIds {
        &self.calls
    }

    /// Connections by source and zone, where they are limited.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Nothing is expected: one relaxed load, asked on every table miss.
    ///
    /// An expectation is added before the frame that announces it is sent, so whoever answers that frame comes
    /// later than the count.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count.load(Relaxed) == 0
    }

    /// Expectations held, expired ones that were not swept yet among them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Most expectations it holds.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Adds an expectation, by netfilter's rules in netfilter's order: an equal one of the same master is
    /// replaced and its timer starts anew; one that overlaps another is refused; the master's oldest is
    /// evicted if the caller names one; and the directory's own limit is the last word.
    pub fn add(&self, offer: &Offer, now: Millis) -> AddResult {
        let key = Key::of_offer(offer);
        let handle = Handle { key, id: self.next_id.fetch_add(1, Relaxed) };
        let record = Record {
            expectation: offer.expectation,
            master: offer.master,
            deadline: now.plus(offer.timeout_ms),
            id: handle.id,
        };
        if let Some(settled) = self.settle(&record, offer, now) {
            return settled;
        }
        // Outside of any bucket's lock, since the evicted one is in another bucket.
        let evicted = offer.evict.is_some_and(|oldest| self.remove(&oldest));
        let reserved = self.count.fetch_update(Relaxed, Relaxed, |n| (n < self.limit).then_some(n + 1));
        if reserved.is_err() {
            return AddResult::Full;
        }
        match self.map.entry(key) {
            Entry::Vacant(entry) => {
                let mut bucket = Bucket::new();
                bucket.push(record);
                entry.insert(bucket);
                AddResult::Added { handle, evicted }
            }
            Entry::Occupied(mut entry) => {
                let bucket = entry.get_mut();
                // Another worker may have come first meanwhile.
                let refused = match opinion(bucket, offer) {
                    Some(Opinion::Already) => AddResult::Already,
                    Some(_) => AddResult::Busy,
                    None => {
                        bucket.push(record);
                        return AddResult::Added { handle, evicted };
                    }
                };
                self.count.fetch_sub(1, Relaxed);
                refused
            }
        }
    }

    /// Replaces or refuses, if a record of the bucket decides that; clears expired ones out of the way.
    fn settle(&self, record: &Record, offer: &Offer, now: Millis) -> Option<AddResult> {
        let handle = Handle { key: Key::of_offer(offer), id: record.id };
        let mut settled = None;
        self.change(&handle.key, |bucket| {
            self.retain_live(bucket, now);
            settled = opinion(bucket, offer).map(|opinion| match opinion {
                Opinion::Replaces(at) => {
                    bucket.remove(at);
                    bucket.push(*record);
                    AddResult::Replaced(handle)
                }
                Opinion::Already => AddResult::Already,
                Opinion::Busy => AddResult::Busy,
            });
        });
        settled
    }

    /// Takes expired ones out of a bucket and notes whose they were.
    fn retain_live(&self, bucket: &mut Bucket, now: Millis) {
        bucket.retain(|r| {
            let live = r.is_live(now);
            if !live && let Some(count) = self.expired.get(usize::from(r.master.helper)) {
                count.fetch_add(1, Relaxed);
                self.expired_sum.fetch_add(1, Relaxed);
            }
            live
        });
    }

    /// Reports how many expectations of which helper expired since the last call; to one caller each.
    pub fn take_expired(&self, mut report: impl FnMut(u8, u64)) {
        if self.expired_sum.swap(0, Relaxed) == 0 {
            return;
        }
        for (helper, count) in self.expired.iter().enumerate() {
            let n = count.swap(0, Relaxed);
            if n != 0 {
                report(helper as u8, n);
            }
        }
    }

    /// Changes a bucket under its lock, keeps the count, and frees the bucket when it is empty.
    fn change(&self, key: &Key, change: impl FnOnce(&mut Bucket)) {
        self.map.remove_if_mut(key, |_, bucket| {
            let before = bucket.len();
            change(bucket);
            self.count.fetch_sub(before - bucket.len(), Relaxed);
            bucket.is_empty()
        });
    }

    /// The expectation that `tuple` fulfils, taken out unless it is permanent. An expired one is as good as
    /// absent, and removed; an inactive one is not asked.
    ///
    /// A packet that matches nothing takes only a shared lock.
    pub fn claim(&self, tuple: &Tuple, zone: u16, now: Millis) -> Option<Claim> {
        let key = Key::of_tuple(tuple, zone);
        let fits = |r: &Record| !r.expectation.inactive && r.matches(tuple);
        self.map.view(&key, |_, bucket| bucket.iter().any(fits)).filter(|found| *found)?;
        let mut claim = None;
        self.change(&key, |bucket| {
            self.retain_live(bucket, now);
            // No two of a bucket overlap, so at most one matches.
            if let Some(at) = bucket.iter().position(fits)
                && let Some(record) = bucket.get(at).copied()
            {
                if !record.expectation.permanent {
                    bucket.remove(at);
                }
                let handle = Handle { key, id: record.id };
                claim = Some(Claim { expectation: record.expectation, master: record.master, handle });
            }
        });
        claim
    }

    /// The expectation that `tuple` would fulfil, active or not, and whose it is.
    #[must_use]
    pub fn find(&self, tuple: &Tuple, zone: u16, now: Millis) -> Option<Claim> {
        let key = Key::of_tuple(tuple, zone);
        self.map
            .view(&key, |_, bucket| {
                bucket.iter().rev().find(|r| r.is_live(now) && r.matches(tuple)).map(|r| Claim {
                    expectation: r.expectation,
                    master: r.master,
                    handle: Handle { key, id: r.id },
                })
            })
            .flatten()
    }

    /// The expectation, if it is there and not expired.
    #[must_use]
    pub fn get(&self, handle: &Handle, now: Millis) -> Option<Expectation> {
        self.map
            .view(&handle.key, |_, bucket| {
                bucket.iter().find(|r| r.id == handle.id && r.is_live(now)).map(|r| r.expectation)
            })
            .flatten()
    }

    /// Lets an expectation match from now on, for `timeout_ms`; false if it is gone.
    pub fn activate(&self, handle: &Handle, timeout_ms: u32, now: Millis) -> bool {
        let mut found = false;
        self.change(&handle.key, |bucket| {
            if let Some(r) = bucket.iter_mut().find(|r| r.id == handle.id && r.is_live(now)) {
                r.expectation.inactive = false;
                r.deadline = now.plus(timeout_ms);
                found = true;
            }
        });
        found
    }

    /// Whether the expectation is there and not expired.
    #[must_use]
    pub fn contains(&self, handle: &Handle, now: Millis) -> bool {
        self.map
            .view(&handle.key, |_, bucket| bucket.iter().any(|r| r.id == handle.id && r.is_live(now)))
            .unwrap_or(false)
    }

    /// Removes one expectation; false if it was gone already.
    pub fn remove(&self, handle: &Handle) -> bool {
        let mut removed = false;
        self.change(&handle.key, |bucket| {
            if let Some(at) = bucket.iter().position(|r| r.id == handle.id) {
                bucket.remove(at);
                removed = true;
            }
        });
        removed
    }

    /// Removes all expectations of a connection that leaves its table; gives their number.
    ///
    /// Walks the whole directory: for masters whose handles are not at hand.
    #[cfg(test)]
    pub(crate) fn remove_master(&self, master: &MasterRef) -> usize {
        if self.is_empty() {
            return 0;
        }
        let of_master: Vec<Handle> = self
            .map
            .iter()
            .flat_map(|bucket| {
                let key = *bucket.key();
                let ids: SmallVec<[u64; 1]> =
                    bucket.value().iter().filter(|r| r.master == *master).map(|r| r.id).collect();
                ids.into_iter().map(move |id| Handle { key, id })
            })
            .collect();
        of_master.iter().filter(|handle| self.remove(handle)).count()
    }

    /// Removes expired expectations among the next `budget` buckets; gives their number. Successive calls go
    /// round the whole directory.
    pub fn sweep(&self, now: Millis, budget: usize) -> usize {
        if self.is_empty() {
            return 0;
        }
        let start = self.cursor.load(Relaxed);
        let mut seen = 0;
        // The keys are noted and the removals done after: no bucket may be changed while another is held.
        let stale: Vec<Key> = self
            .map
            .iter()
            .skip(start)
            .take(budget)
            .inspect(|_| seen += 1)
            .filter(|bucket| bucket.value().iter().any(|r| !r.is_live(now)))
            .map(|bucket| *bucket.key())
            .collect();
        let mut removed = 0;
        for key in &stale {
            self.change(key, |bucket| {
                let before = bucket.len();
                self.retain_live(bucket, now);
                removed += before - bucket.len();
            });
        }
        // Those removed no longer stand in front of the next start.
        self.cursor.store(if seen < budget { 0 } else { start + seen - stale.len().min(seen) }, Relaxed);
        removed
    }

    /// Shows every expectation to `show`, with its master and the milliseconds it has left, for a listing.
    pub fn for_each(&self, now: Millis, mut show: impl FnMut(&Expectation, &MasterRef, u32)) {
        for bucket in &self.map {
            for record in bucket.value().iter().filter(|r| r.is_live(now)) {
                show(&record.expectation, &record.master, record.deadline.since(now).unsigned_abs());
            }
        }
    }
}

#[cfg(test)]
mod tests;
