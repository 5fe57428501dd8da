//! UDP flows of one packet each. The table is full of them, so each takes the place of others that nobody answered.

use super::{BURST, Load, States};
use crate::bench::feed::Chunk;
use crate::bench::flows::tuple;
use crate::bench::packet::Transport;
use crate::net::{Family, proto};

/// Packets per chunk while the table is filled.
const SET_UP: u64 = 32 * 1024;

pub(super) struct NewFlows {
    family: Family,
    /// Packets that fill the table.
    filling: u64,
    /// The flow that comes next; none comes twice.
    next: u64,
}

impl NewFlows {
    pub(super) fn new(family: Family, live: u64) -> NewFlows {
        NewFlows { family, filling: live + live / 4, next: 0 }
    }

    /// Adds a burst of new flows.
    pub(super) fn push(&mut self, chunk: &mut Chunk, count: u64) {
        for n in self.next..self.next + count {
            chunk.push(0, &tuple(self.family, proto::UDP, 53, n), Transport::Udp { payload: 18 });
        }
        self.next += count;
    }
}

impl Load for NewFlows {
    fn set_up(&mut self, chunk: &mut Chunk) -> bool {
        let left = self.filling.saturating_sub(self.next).min(SET_UP);
        self.fill(chunk, left);
        left != 0
    }

    fn fill(&mut self, chunk: &mut Chunk, frames: u64) {
        for _ in 0..frames.div_ceil(BURST) {
            self.push(chunk, BURST);
            chunk.end_burst();
        }
    }

    fn states(&self) -> States {
        States { new: self.next, ..States::default() }
    }
}
