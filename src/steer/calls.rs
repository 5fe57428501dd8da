//! PPTP's call ids: what completes the tuple of a GRE packet.
//!
//! A packet of enhanced GRE (RFC 2637 section 4.1) carries the call id of its receiver only; its sender's is known to
//! whoever read the control connection. Pairs are put here before the message that announces the call is sent on.
//! All packets of two addresses belong to one shard, which may be another than the control connection's; so the ends
//! of calls are left here for that shard.
//!
//! A shard asks by [`Calls`], which keeps the answers: as long as no call begins or ends anywhere, a packet costs one
//! load and one look into the shard's own memory.

use crate::net::{Addr, Family, MasterRef, ShardId, Tuple};
use dashmap::DashMap;
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{
    AtomicU64, AtomicUsize,
    Ordering::{Acquire, Relaxed, Release},
};

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
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    src_key: u16,
    master: MasterRef,
}

/// The calls of all workers.
#[derive(Debug, Default)]
pub struct CallIds {
    /// The one that came first answers.
    pairs: DashMap<Call, SmallVec<[Pair; 1]>>,
    count: AtomicUsize,
    /// Moves with every change.
    generation: AtomicU64,
    /// Tuples whose calls are over, with the shard that is to end their connections.
    ended: Mutex<Vec<(ShardId, Tuple)>>,
}

impl CallIds {
    /// Notes that packets like `tuple` come from the call `tuple.src_key`, as `master` said.
    pub fn add(&self, tuple: &Tuple, master: MasterRef) {
        self.pairs.entry(Call::of(tuple)).or_default().push(Pair { src_key: tuple.src_key, master });
        self.count.fetch_add(1, Relaxed);
        self.generation.fetch_add(1, Release);
    }

    /// Forgets it; nothing if `master` never said so.
    pub fn remove(&self, tuple: &Tuple, master: MasterRef) {
        self.pairs.remove_if_mut(&Call::of(tuple), |_, pairs| {
            if let Some(at) = pairs.iter().position(|pair| pair.master == master) {
                pairs.remove(at);
                self.count.fetch_sub(1, Relaxed);
            }
            pairs.is_empty()
        });
        self.generation.fetch_add(1, Release);
    }

    /// Has the connection of `tuple` ended by the shard that owns it.
    pub fn end(&self, owner: ShardId, tuple: &Tuple) {
        if let Ok(mut ended) = self.ended.lock() {
            ended.push((owner, *tuple));
        }
        self.generation.fetch_add(1, Release);
    }

    /// Pairs known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// None are known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn find(&self, call: &Call) -> u16 {
        self.pairs.get(call).and_then(|pairs| pairs.first().map(|pair| pair.src_key)).unwrap_or(0)
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
            self.generation = generation;
            self.kept.clear();
        }
        changed
    }

    /// The tuples of ended calls that `shard` owns.
    #[cold]
    pub fn take_ended(&self, all: &CallIds, shard: ShardId) -> SmallVec<[Tuple; 2]> {
        let mut own = SmallVec::new();
        if let Ok(mut ended) = all.ended.lock() {
            ended.retain(|(owner, tuple)| {
                if *owner == shard {
                    own.push(*tuple);
                }
                *owner != shard
            });
        }
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
        all.add(&tuple(1, 7, 70), master(1));
        all.add(&tuple(1, 7, 71), master(2));
        assert_eq!((ask(7), ask(8)), ((70, 70), (0, 0)));
        all.remove(&tuple(1, 7, 70), master(1));
        assert_eq!(ask(7), (71, 71));
        all.remove(&tuple(1, 7, 0), master(3));
        assert_eq!(all.len(), 1);
        all.remove(&tuple(1, 7, 71), master(2));
        assert_eq!((ask(7), all.is_empty()), ((0, 0), true));
    }

    #[test]
    fn answers_are_kept_while_nothing_changes_and_are_bounded() {
        let (all, mut calls) = (CallIds::default(), Calls::default());
        all.add(&tuple(1, 7, 70), master(1));
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
        all.end(ShardId(1), &tuple(1, 7, 70));
        all.end(ShardId(2), &tuple(2, 7, 70));
        assert!(calls.changed(&all));
        assert_eq!(calls.take_ended(&all, ShardId(1)).as_slice(), [tuple(1, 7, 70)]);
        assert!(calls.take_ended(&all, ShardId(1)).is_empty());
        assert_eq!(calls.take_ended(&all, ShardId(2)).len(), 1);
    }
}
