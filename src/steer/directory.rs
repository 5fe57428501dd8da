//! The directory of expectations all workers share.
//!
//! An expectation's owner is not known before its first packet comes, because the source port is a wildcard;
//! so expectations cannot live in a shard. They live here, in one concurrent map looked at only when a packet
//! missed its shard's table, and only when the map is not empty: the count beside it is one relaxed load.
//! Taking an expectation out is the claim, so exactly one connection spends it, on whichever worker.
//!
//! The destination and its key are always exact; all expectations that could overlap share one bucket, and
//! every decision about them is made under that bucket's lock.

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
}

impl Key {
    fn of_tuple(tuple: &Tuple) -> Key {
        Key { family: tuple.family, proto: tuple.proto, dst: tuple.dst, dst_key: tuple.dst_key }
    }

    fn of_expectation(e: &Expectation) -> Key {
        Key { family: e.family, proto: e.proto, dst: e.dst, dst_key: e.dst_key }
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
    /// Who announces it.
    pub master: MasterRef,
    /// The master's oldest expectation of the same class, if it has as many as the class allows. Evicted
    /// only when the new one really comes on top of it: not when it replaces one, nor when it is refused.
    pub evict: Option<Handle>,
}

/// What became of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddResult {
    /// Stored.
    Added(Handle),
    /// Stored in place of an equal one of the same master, whose handle names nothing any more.
    Replaced(Handle),
    /// Refused: it overlaps another expectation.
    Busy,
    /// Refused: the directory holds as many as it may.
    Full,
}

/// An expectation taken out by the connection it announced.
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

    /// Same fields with the same wildcards, announced by the same master.
    fn is_same(&self, offer: &Offer) -> bool {
        self.master == offer.master
            && self.expectation.src == offer.expectation.src
            && self.expectation.src_key == offer.expectation.src_key
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

/// More than one needs sources that differ, which a helper hardly ever announces.
type Bucket = SmallVec<[Record; 1]>;

/// The expectations of all workers.
#[derive(Debug)]
pub struct Directory {
    map: DashMap<Key, Bucket>,
    count: AtomicUsize,
    limit: usize,
    next_id: AtomicU64,
    cursor: AtomicUsize,
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
        }
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
        let key = Key::of_expectation(&offer.expectation);
        let handle = Handle { key, id: self.next_id.fetch_add(1, Relaxed) };
        let record = Record {
            expectation: offer.expectation,
            master: offer.master,
            deadline: now.plus(offer.expectation.timeout_ms),
            id: handle.id,
        };
        if let Some(settled) = self.settle(&record, offer, now) {
            return settled;
        }
        // Outside of any bucket's lock, since the evicted one is in another bucket.
        if let Some(oldest) = offer.evict {
            self.remove(&oldest);
        }
        let reserved = self.count.fetch_update(Relaxed, Relaxed, |n| (n < self.limit).then_some(n + 1));
        if reserved.is_err() {
            return AddResult::Full;
        }
        match self.map.entry(key) {
            Entry::Vacant(entry) => {
                let mut bucket = Bucket::new();
                bucket.push(record);
                entry.insert(bucket);
                AddResult::Added(handle)
            }
            Entry::Occupied(mut entry) => {
                let bucket = entry.get_mut();
                // Somebody else may have come first meanwhile.
                if bucket.iter().any(|r| r.is_live(now) && r.overlaps(&offer.expectation)) {
                    self.count.fetch_sub(1, Relaxed);
                    return AddResult::Busy;
                }
                bucket.push(record);
                AddResult::Added(handle)
            }
        }
    }

    /// Replaces or refuses, if a record of the bucket decides that; clears expired ones out of the way.
    fn settle(&self, record: &Record, offer: &Offer, now: Millis) -> Option<AddResult> {
        let handle = Handle { key: Key::of_expectation(&offer.expectation), id: record.id };
        let mut settled = None;
        self.change(&handle.key, |bucket| {
            bucket.retain(|r| r.is_live(now));
            if let Some(same) = bucket.iter_mut().find(|r| r.is_same(offer)) {
                *same = *record;
                settled = Some(AddResult::Replaced(handle));
            } else if bucket.iter().any(|r| r.overlaps(&offer.expectation)) {
                settled = Some(AddResult::Busy);
            }
        });
        settled
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

    /// Takes out the expectation that `tuple` fulfils. An expired one is as good as absent, and removed.
    ///
    /// A packet that matches nothing takes only a shared lock.
    pub fn claim(&self, tuple: &Tuple, now: Millis) -> Option<Claim> {
        let key = Key::of_tuple(tuple);
        self.map.view(&key, |_, bucket| bucket.iter().any(|r| r.matches(tuple))).filter(|found| *found)?;
        let mut claim = None;
        self.change(&key, |bucket| {
            bucket.retain(|r| r.is_live(now));
            // No two of a bucket overlap, so at most one matches.
            if let Some(at) = bucket.iter().position(|r| r.matches(tuple)) {
                let record = bucket.swap_remove(at);
                let handle = Handle { key, id: record.id };
                claim = Some(Claim { expectation: record.expectation, master: record.master, handle });
            }
        });
        claim
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
                bucket.swap_remove(at);
                removed = true;
            }
        });
        removed
    }

    /// Removes all expectations of a connection that leaves its table; gives their number.
    ///
    /// Walks the whole directory: for masters whose handles are not at hand.
    pub fn remove_master(&self, master: &MasterRef) -> usize {
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
                bucket.retain(|r| r.is_live(now));
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
