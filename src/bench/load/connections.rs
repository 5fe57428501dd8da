//! TCP connections from handshake to close, many at once, over a fixed set of tuples: each is used again once all others
//! were, while its last connection is in TIME_WAIT.
//!
//! Blocks of connections move through their packets in step, one packet per stage; a packet whose cause is another
//! always comes a stage after it. Within a stage the blocks' packets are shuffled.

use super::{BURST, Load, States, handshake, inverse, segment};
use crate::bench::feed::Chunk;
use crate::bench::flows::{Random, tuple};
use crate::bench::packet::{Transport, flags};
use crate::net::{Family, proto};

/// Octets of request and answer.
const PAYLOAD: u16 = 6;
const P: u32 = PAYLOAD as u32;

/// The packets of a connection: the port each comes in by, and the packet.
const STEPS: [(usize, Transport); 8] = [
    (0, handshake()[0]),
    (1, handshake()[1]),
    (0, segment(flags::ACK, 0, 0, 0)),
    (0, segment(flags::PSH_ACK, 0, 0, PAYLOAD)),
    (1, segment(flags::PSH_ACK, 0, P, PAYLOAD)),
    (0, segment(flags::FIN_ACK, P, P, 0)),
    (1, segment(flags::FIN_ACK, P, P + 1, 0)),
    (0, segment(flags::ACK, P + 1, P + 1, 0)),
];

pub(super) struct Connections {
    family: Family,
    tuples: u64,
    /// Stages done; each starts a block of [`BURST`] connections.
    stage: u64,
    random: Random,
    states: States,
}

impl Connections {
    /// Packets of each.
    pub(super) const PACKETS: usize = STEPS.len();

    /// Tuples used for so many flows: at least twice those that are in use at once.
    pub(super) const fn tuples(flows: u64) -> u64 {
        let least = 2 * BURST * STEPS.len() as u64;
        if flows < least { least } else { flows }
    }

    pub(super) fn new(family: Family, flows: u64) -> Connections {
        Connections {
            family,
            tuples: Connections::tuples(flows),
            stage: 0,
            random: Random::new(flows),
            states: States::default(),
        }
    }

    /// Adds one stage: the next packet of every block that is under way.
    fn push_stage(&mut self, chunk: &mut Chunk) {
        let mut packets = [Vec::new(), Vec::new()];
        for (back, (port, packet)) in (0..).zip(STEPS) {
            let Some(block) = self.stage.checked_sub(back) else { break };
            for connection in block * BURST..(block + 1) * BURST {
                let there = tuple(self.family, proto::TCP, 80, connection % self.tuples);
                packets[port].push((if port == 0 { there } else { inverse(there) }, packet));
            }
            match back {
                0 => self.states.new += BURST,
                _ => self.states.established += BURST,
            }
        }
        for packets in &mut packets {
            for at in (1..packets.len()).rev() {
                packets.swap(at, self.random.below(at as u64 + 1) as usize);
            }
        }
        let turns = packets[0].len().div_ceil(BURST as usize).max(1);
        for turn in 0..turns {
            for (port, packets) in packets.iter().enumerate() {
                // As many turns for both.
                let (from, to) = (packets.len() * turn / turns, packets.len() * (turn + 1) / turns);
                for (tuple, packet) in packets.get(from..to).unwrap_or_default() {
                    chunk.push(port, tuple, *packet);
                }
            }
            chunk.end_burst();
        }
        self.stage += 1;
    }
}

impl Load for Connections {
    fn set_up(&mut self, chunk: &mut Chunk) -> bool {
        let wanted = self.tuples / BURST + 2 * STEPS.len() as u64;
        let until = wanted.min(self.stage + 128);
        if self.stage == until {
            return false;
        }
        while self.stage < until {
            self.push_stage(chunk);
        }
        true
    }

    fn fill(&mut self, chunk: &mut Chunk, frames: u64) {
        for _ in 0..frames.div_ceil(BURST * STEPS.len() as u64) {
            self.push_stage(chunk);
        }
    }

    fn states(&self) -> States {
        self.states
    }
}
