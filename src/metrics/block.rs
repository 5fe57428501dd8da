//! Where a worker puts its numbers for others to read.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Two cache lines, since processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lines([AtomicU64; Lines::LEN]);

impl Lines {
    const LEN: usize = 16;
}

/// Numbers one thread writes and any thread reads, on cache lines of their own.
///
/// Stores and loads are relaxed: each number is whole, but two of them may be of different moments.
#[derive(Debug)]
pub struct Published {
    lines: Box<[Lines]>,
    len: usize,
}

impl Published {
    pub(super) fn new(len: usize) -> Self {
        Published { lines: (0..len.div_ceil(Lines::LEN)).map(|_| Lines::default()).collect(), len }
    }

    /// Overwrites all numbers. Only ever called by the one thread that owns this block.
    #[inline]
    pub(super) fn store(&self, values: &[u64]) {
        for (lines, values) in self.lines.iter().zip(values.chunks(Lines::LEN)) {
            for (place, value) in lines.0.iter().zip(values) {
                place.store(*value, Relaxed);
            }
        }
    }

    /// Reads all numbers.
    pub(super) fn load(&self) -> Vec<u64> {
        let all = self.lines.iter().flat_map(|lines| lines.0.iter());
        all.take(self.len).map(|place| place.load(Relaxed)).collect()
    }
}
