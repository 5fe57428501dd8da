//! The processor's own counters, where the machine lets a program have them. Virtual machines mostly do not.

use perf_event::events::Hardware;
use perf_event::{Builder, Counter, Group};

/// Cycles and instructions that this thread has spent in user mode.
pub(super) struct Perf {
    group: Group,
    cycles: Counter,
    instructions: Counter,
}

/// Two readings, or their difference.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) cycles: u64,
    pub(super) instructions: u64,
}

impl Perf {
    /// Counters of the calling thread, if there are any.
    pub(super) fn open() -> Option<Perf> {
        let mut group = Group::new().ok()?;
        let cycles = group.add(&Builder::new(Hardware::CPU_CYCLES)).ok()?;
        let instructions = group.add(&Builder::new(Hardware::INSTRUCTIONS)).ok()?;
        group.enable().ok()?;
        Some(Perf { group, cycles, instructions })
    }

    /// What was counted so far.
    pub(super) fn read(&mut self) -> Option<Counted> {
        let data = self.group.read().ok()?;
        let of = |counter| data.get(counter).map(|entry| entry.value());
        Some(Counted { cycles: of(&self.cycles)?, instructions: of(&self.instructions)? })
    }
}

impl Counted {
    /// What was counted since `before`.
    pub(super) const fn since(self, before: Counted) -> Counted {
        Counted { cycles: self.cycles - before.cycles, instructions: self.instructions - before.instructions }
    }
}
