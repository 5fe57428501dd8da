//! A flood of SYNs, none of which repeats, on a full table, while established connections go on. Every second turn
//! belongs to each, so that the cost of both can be told apart.

use super::{BURST, FLOODED, Flows, Load, States, handshake};
use crate::bench::feed::Chunk;
use crate::bench::flows::tuple;
use crate::bench::load::established::Established;
use crate::net::{Family, proto};

/// SYNs per chunk while the table is filled.
const SET_UP: u64 = 32 * 1024;

pub(super) struct Flood {
    family: Family,
    legitimate: Established,
    /// SYNs so far.
    sent: u64,
}

impl Flood {
    pub(super) fn new(family: Family, flows: Flows) -> Flood {
        Flood { family, legitimate: Established::tcp(family, flows), sent: 0 }
    }

    fn push_attack(&mut self, chunk: &mut Chunk) {
        let [syn, _] = handshake();
        for n in self.sent..self.sent + BURST {
            chunk.push(0, &tuple(self.family, proto::TCP, 22, n), syn);
        }
        self.sent += BURST;
        chunk.end_burst();
    }
}

impl Load for Flood {
    fn set_up(&mut self, chunk: &mut Chunk) -> bool {
        if self.legitimate.set_up(chunk) {
            return true;
        }
        let until = (FLOODED + FLOODED / 2).min(self.sent + SET_UP);
        if self.sent >= until {
            return false;
        }
        while self.sent < until {
            self.push_attack(chunk);
        }
        true
    }

    fn fill(&mut self, chunk: &mut Chunk, frames: u64) {
        for _ in 0..frames.div_ceil(3 * BURST) {
            self.legitimate.push_turn(chunk);
            self.push_attack(chunk);
        }
    }

    fn fill_quiet(&mut self, chunk: &mut Chunk, frames: u64) -> bool {
        self.legitimate.fill(chunk, frames);
        true
    }

    fn states(&self) -> States {
        let mut states = self.legitimate.states();
        states.new += self.sent;
        states
    }
}
