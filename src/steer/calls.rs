//! PPTP's call ids: what completes the tuple of a GRE packet.
//!
//! A packet of enhanced GRE (RFC 2637 section 4.1) carries the call id of its receiver only; its sender's is known to
//! whoever read the control connection. Pairs are put here before the message that announces the call is sent on.
//! All packets of two addresses belong to one shard, which may be another than the control connection's; so the ends
//! of calls are left here for that shard.
//!
//! A shard asks by [`Calls`], which keeps the answers: as long as no call begins or ends anywhere, a packet costs one
//! load and one look into the shard's own memory.

use crate::net::{Addr, Family, MasterRef, ShardId, Tuple, Zone};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Release},
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a GRE packet says of its call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Call {
    family: Family,
    src: Addr,
    dst: Addr,
    id: u16,
}

impl Call {
    fn of(tuple: &Tuple) -> Call {
        Call { family: tuple.family, src: tuple.src, dst: tuple.dst, id: tuple.dst_key }
    }

    fn same_way(&self, other: &Call) -> bool {
        (self.src, self.dst) == (other.src, other.dst)
    }
}

/// A connection of control: shard, slot and generation.
type Master = (ShardId, u32, u32);

const fn name(master: &MasterRef) -> Master {
    (master.shard, master.slot, master.generation)
}

#[derive(Debug, Default)]
struct Known {
    /// Source keys and who told them; the one that came first answers.
    pairs: HashMap<Call, SmallVec<[(u16, Master); 1]>>,
    /// What each connection told, at most once for either direction, and when.
    told: HashMap<Master, SmallVec<[(Call, u64); 2]>>,
    /// Calls that are over.
    ended: Vec<Ended>,
}

/// The end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The shard that is to end its connection.
    owner: ShardId,
    /// The connection's tuple.
    pub tuple: Tuple,
    /// The zone of its master.
    pub zone: Zone,
    /// When: what was told later stands.
    pub when: u64,
}

/// The calls of all workers.
#[derive(Debug, Default)]
pub struct CallIds {
    known: Mutex<Known>,
    /// Moves with every change.
    generation: AtomicU64,
}

impl CallIds {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that packets like `tuple` come from the call `tuple.src_key`, as `master` says. False if it has told of
    /// another call in that direction, which it has not taken back; what it told already stands.
    pub fn add(&self, tuple: &Tuple, master: &MasterRef) -> bool {
        let (call, master) = (Call::of(tuple), name(master));
        let mut known = self.known();
        let now = self.generation.fetch_add(1, Release);
        let told = known.told.entry(master).or_default();
        if let Some((before, when)) = told.iter_mut().find(|(before, _)| before.same_way(&call)) {
            *when = now;
            return *before == call;
        }
        told.push((call, now));
        known.pairs.entry(call).or_default().push((tuple.src_key, master));
        true
    }

    /// Forgets all that `master` told before `when`.
    pub fn remove(&self, master: &MasterRef, when: u64) {
        let master = name(master);
        let mut known = self.known();
        let Entry::Occupied(mut told) = known.told.entry(master) else { return };
        let (gone, left) = told.get().iter().copied().partition::<SmallVec<[_; 2]>, _>(|(_, told)| *told < when);
        if left.is_empty() {
            told.remove();
        } else {
            *told.get_mut() = left;
        }
        for (call, _) in gone {
            if let Entry::Occupied(mut pairs) = known.pairs.entry(call) {
                pairs.get_mut().retain(|(_, by)| *by != master);
                if pairs.get().is_empty() {
                    pairs.remove();
                }
            }
        }
        self.generation.fetch_add(1, Release);
    }

    /// Has the connection of `tuple` ended by the shard that owns it.
    pub fn end(&self, owner: ShardId, tuple: &Tuple, zone: Zone) {
        let mut known = self.known();
        let when = self.generation.fetch_add(1, Release);
        known.ended.push(Ended { owner, tuple: *tuple, zone, when });
    }

    /// Pairs known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known().pairs.values().map(|pairs| pairs.len()).sum()
    }

    /// None are known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known().pairs.is_empty()
    }

    fn find(&self, call: &Call) -> u16 {
        self.known().pairs.get(call).and_then(|pairs| pairs.first()).map_or(0, |(src_key, _)| *src_key)
    }
}

/// Answers kept by one shard; forgotten all at once when they are too many.
const KEPT: usize = 16_384;

/// One shard's view of the calls.
#[derive(Debug, Default)]
pub struct Calls {
    generation: u64,
    kept: HashMap<Call, u16>,
}

impl Calls {
    /// Whether calls began or ended since the last time; then what was kept is forgotten.
    #[inline]
    pub fn changed(&mut self, all: &CallIds) -> bool {
        let generation = all.generation.load(Acquire);
        let changed = generation != self.generation;
        if changed {
            self.forget(generation);
        }
        changed
    }

    #[cold]
    #[inline(never)]
    fn forget(&mut self, generation: u64) {
        self.generation = generation;
        self.kept.clear();
    }

    /// The ended calls that `shard` owns.
    #[cold]
    pub fn take_ended(&self, all: &CallIds, shard: ShardId) -> SmallVec<[Ended; 2]> {
        let mut own = SmallVec::new();
        all.known().ended.retain(|ended| {
            if ended.owner == shard {
                own.push(*ended);
            }
            ended.owner != shard
        });
        own
    }

    /// The source key of an enhanced GRE packet; 0 if nobody announced its call.
    pub fn source_key(&mut self, all: &CallIds, tuple: &Tuple) -> u16 {
        let call = Call::of(tuple);
        if let Some(key) = self.kept.get(&call) {
            return *key;
        }
        let key = all.find(&call);
        if self.kept.len() >= KEPT {
            self.kept.clear();
        }
        self.kept.insert(call, key);
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::proto;

    fn tuple(src: u32, id: u16, src_key: u16) -> Tuple {
        Tuple { src: Addr::v4(src), dst: Addr::v4(9), src_key, dst_key: id, proto: proto::GRE, family: Family::V4 }
    }

    const fn master(slot: u32) -> MasterRef {
        MasterRef { shard: ShardId(0), slot, generation: 0, helper: 0 }
    }

    #[test]
    fn the_first_to_say_is_believed_until_it_goes() {
        let (all, mut calls) = (CallIds::default(), Calls::default());
        let mut ask = |id| {
            calls.changed(&all);
            (calls.source_key(&all, &tuple(1, id, 0)), calls.source_key(&all, &tuple(1, id, 0)))
        };
        assert_eq!(ask(7), (0, 0));
        assert!(all.add(&tuple(1, 7, 70), &master(1)));
        assert!(all.add(&tuple(1, 7, 71), &master(2)));
        assert_eq!((ask(7), ask(8)), ((70, 70), (0, 0)));
        all.remove(&master(1), u64::MAX);
        assert_eq!(ask(7), (71, 71));
        all.remove(&master(3), u64::MAX);
        assert_eq!(all.len(), 1);
        all.remove(&master(2), u64::MAX);
        assert_eq!((ask(7), all.is_empty()), ((0, 0), true));
    }

    #[test]
    fn a_connection_tells_of_one_call_at_a_time() {
        let all = CallIds::default();
        assert!(all.add(&tuple(1, 7, 70), &master(1)));
        // The other direction is another matter, and a repetition changes nothing.
        assert!(all.add(&tuple(2, 7, 70), &master(1)));
        assert!(all.add(&tuple(1, 7, 99), &master(1)));
        assert!(!all.add(&tuple(1, 8, 70), &master(1)));
        assert_eq!((all.len(), all.find(&Call::of(&tuple(1, 7, 0)))), (2, 70));
        all.remove(&master(1), u64::MAX);
        assert!(all.is_empty() && all.add(&tuple(1, 8, 70), &master(1)));
    }

    #[test]
    fn answers_are_kept_while_nothing_changes_and_are_bounded() {
        let (all, mut calls) = (CallIds::default(), Calls::default());
        all.add(&tuple(1, 7, 70), &master(1));
        assert!(calls.changed(&all));
        assert!(!calls.changed(&all));
        for src in 0..3 * KEPT as u32 {
            calls.source_key(&all, &tuple(src, 7, 0));
            assert!(calls.kept.len() <= KEPT);
        }
        assert_eq!(calls.source_key(&all, &tuple(1, 7, 0)), 70);
    }

    #[test]
    fn each_shard_takes_the_ends_it_owns() {
        let (all, mut calls) = (CallIds::default(), Calls::default());
        all.end(ShardId(1), &tuple(1, 7, 70), Zone::DEFAULT);
        all.end(ShardId(2), &tuple(2, 7, 70), Zone::DEFAULT);
        assert!(calls.changed(&all));
        let own = calls.take_ended(&all, ShardId(1));
        assert_eq!(own.iter().map(|ended| ended.tuple).collect::<Vec<_>>(), [tuple(1, 7, 70)]);
        // What was told after the end is of another call.
        all.add(&tuple(1, 7, 70), &master(1));
        all.remove(&master(1), own[0].when);
        assert_eq!(all.len(), 1);
        all.remove(&master(1), own[0].when + 100);
        assert!(all.is_empty());
        assert!(calls.take_ended(&all, ShardId(1)).is_empty());
        assert_eq!(calls.take_ended(&all, ShardId(2)).len(), 1);
    }
}
