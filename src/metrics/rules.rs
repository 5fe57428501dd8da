//! Counters of rules, which outlive the ruleset they belong to.
//!
//! Each snapshot has its own slots, so each gets its own blocks: a *generation*. A scrape adds up all
//! generations by (chain, rule id). A generation that no worker holds any more is folded into one table of
//! sums; a rule that is in no generation any more is forgotten, and starts at zero should it come back.

use super::Published;
use crate::net::ShardId;
use std::collections::HashMap;
use std::sync::Arc;

/// What a slot is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSlot {
    /// Name of the chain.
    pub chain: String,
    /// Id of the rule; `None` for a chain's policy.
    pub rule: Option<String>,
    /// Word of the verdict.
    pub verdict: &'static str,
}

/// The blocks of one ruleset's slots, one per worker. Part of a snapshot; cheap to clone.
#[derive(Clone, Debug)]
pub struct RuleGeneration {
    blocks: Arc<[Arc<Published>]>,
    slots: usize,
}

impl RuleGeneration {
    /// The counters of one worker; `None` if there is no such worker. Make them once per worker, and let them
    /// go when the worker takes up the next snapshot.
    #[must_use]
    pub fn counters(&self, worker: ShardId) -> Option<RuleCounters> {
        let block = Arc::clone(self.blocks.get(worker.index())?);
        Some(RuleCounters { values: vec![[0; 2]; self.slots].into_boxed_slice(), block })
    }
}

/// One worker's counters of one ruleset's slots: plain memory, written by nobody else.
#[derive(Debug)]
pub struct RuleCounters {
    values: Box<[Sum]>,
    block: Arc<Published>,
}

impl RuleCounters {
    /// Counters of `slots` slots that no scrape sums, for a replay.
    #[must_use]
    pub fn unobserved(slots: usize) -> Self {
        let values = vec![[0; 2]; slots].into_boxed_slice();
        RuleCounters { block: Arc::new(Published::new(slots * 2)), values }
    }

    /// Packets counted in a slot, and their bytes. A slot that does not exist is not counted.
    #[inline]
    pub fn count(&mut self, slot: usize, packets: u64, bytes: u64) {
        if let Some([p, b]) = self.values.get_mut(slot) {
            *p = p.wrapping_add(packets);
            *b = b.wrapping_add(bytes);
        }
    }

    /// Makes the numbers visible to scrapes.
    pub fn publish(&self) {
        self.block.store(self.values.as_flattened());
    }
}

impl Drop for RuleCounters {
    /// The last numbers of a worker that moves on are not lost.
    fn drop(&mut self) {
        self.publish();
    }
}

/// Packets and bytes.
pub(super) type Sum = [u64; 2];

type Key = (String, Option<String>);

#[derive(Debug)]
struct Generation {
    slots: Arc<[RuleSlot]>,
    blocks: Arc<[Arc<Published>]>,
}

impl Generation {
    /// Sums over workers, per slot.
    fn sums(&self) -> Vec<Sum> {
        let mut sums = vec![[0u64; 2]; self.slots.len()];
        for block in self.blocks.iter() {
            for (sum, values) in sums.iter_mut().zip(block.load().chunks_exact(2)) {
                if let [packets, bytes] = *values {
                    *sum = [sum[0].wrapping_add(packets), sum[1].wrapping_add(bytes)];
                }
            }
        }
        sums
    }

    /// Whether nobody else can write to it any more.
    fn is_left(&mut self) -> bool {
        // `get_mut` is the uniqueness test that also orders the last owner's stores before what follows.
        Arc::get_mut(&mut self.blocks).is_some_and(|blocks| blocks.iter_mut().all(|b| Arc::get_mut(b).is_some()))
    }
}

/// All generations still held by somebody, and the sums of those that are not.
#[derive(Debug, Default)]
pub(super) struct RuleHistory {
    generations: Vec<Generation>,
    folded: HashMap<Key, Sum>,
}

fn key(slot: &RuleSlot) -> Key {
    (slot.chain.clone(), slot.rule.clone())
}

impl RuleHistory {
    /// A new generation, from now on the one whose slots are shown.
    pub(super) fn begin(&mut self, slots: Vec<RuleSlot>, workers: usize) -> RuleGeneration {
        let len = slots.len();
        let blocks: Arc<[_]> = (0..workers).map(|_| Arc::new(Published::new(len * 2))).collect();
        self.generations.push(Generation { slots: slots.into(), blocks: Arc::clone(&blocks) });
        self.fold();
        RuleGeneration { blocks, slots: len }
    }

    /// Folds the generations that were left.
    fn fold(&mut self) {
        let last = self.generations.len().saturating_sub(1);
        let mut index = 0;
        let folded = &mut self.folded;
        self.generations.retain_mut(|generation| {
            let left = index < last && generation.is_left();
            index += 1;
            if left {
                for (slot, [packets, bytes]) in generation.slots.iter().zip(generation.sums()) {
                    let sum = folded.entry(key(slot)).or_default();
                    *sum = [sum[0].wrapping_add(packets), sum[1].wrapping_add(bytes)];
                }
            }
            !left
        });
        if !self.folded.is_empty() {
            let alive: std::collections::HashSet<Key> =
                self.generations.iter().flat_map(|g| g.slots.iter().map(key)).collect();
            self.folded.retain(|k, _| alive.contains(k));
        }
    }

    /// The slots of the newest generation with what they counted in all.
    pub(super) fn sums(&mut self) -> Vec<(RuleSlot, Sum)> {
        self.fold();
        let Some((newest, older)) = self.generations.split_last() else { return Vec::new() };
        let mut before: HashMap<Key, Sum> = HashMap::new();
        for generation in older {
            for (slot, [packets, bytes]) in generation.slots.iter().zip(generation.sums()) {
                let sum = before.entry(key(slot)).or_default();
                *sum = [sum[0].wrapping_add(packets), sum[1].wrapping_add(bytes)];
            }
        }
        let total = |slot: &RuleSlot, [packets, bytes]: Sum| {
            let key = key(slot);
            let earlier = [self.folded.get(&key), before.get(&key)].into_iter().flatten();
            earlier.fold([packets, bytes], |sum, e| [sum[0].wrapping_add(e[0]), sum[1].wrapping_add(e[1])])
        };
        newest.slots.iter().zip(newest.sums()).map(|(slot, sum)| (slot.clone(), total(slot, sum))).collect()
    }

    /// Generations somebody still holds, the newest included.
    #[cfg(test)]
    pub(super) fn alive(&self) -> usize {
        self.generations.len()
    }
}
