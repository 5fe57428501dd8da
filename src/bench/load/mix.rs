//! Mostly established connections, and a little of what takes other ways through the router.

use super::new::NewFlows;
use super::{BURST, Flows, Load, States};
use crate::bench::feed::Chunk;
use crate::bench::flows::{Random, tuple};
use crate::bench::load::established::Established;
use crate::bench::packet::{MAX_PREPARED, fragments, unreachable};
use crate::net::{Family, proto};

pub(super) struct Mix {
    family: Family,
    established: Established,
    new: NewFlows,
    random: Random,
    /// Datagrams sent in fragments.
    datagrams: u64,
    /// ICMP errors.
    errors: u64,
}

impl Mix {
    pub(super) fn new(family: Family, flows: Flows) -> Mix {
        Mix {
            family,
            established: Established::tcp(family, flows),
            new: NewFlows::new(family, 0),
            random: Random::new(7),
            datagrams: 0,
            errors: 0,
        }
    }

    /// Adds a datagram in two fragments, of a flow of its own.
    fn push_fragments(&mut self, chunk: &mut Chunk) {
        let tuple = tuple(self.family, proto::UDP, 4500, self.datagrams);
        self.datagrams += 1;
        let Some(way) = chunk.way(0) else { return };
        let mut parts = [[0; MAX_PREPARED]; 2];
        let lens = fragments(&mut parts, &way, &tuple, self.datagrams as u32);
        for (octets, len) in parts.into_iter().zip(lens) {
            chunk.push_frame(0, octets, len);
        }
    }

    /// Adds a server's answer that a port of its is closed.
    fn push_error(&mut self, chunk: &mut Chunk) {
        self.errors += 1;
        let n = self.established.any();
        let Some(way) = chunk.way(1) else { return };
        let mut octets = [0; MAX_PREPARED];
        let len = unreachable(&mut octets, &way, &self.established.tuple(n));
        chunk.push_frame(1, octets, len);
    }
}

impl Load for Mix {
    fn set_up(&mut self, chunk: &mut Chunk) -> bool {
        self.established.set_up(chunk)
    }

    fn fill(&mut self, chunk: &mut Chunk, frames: u64) {
        for _ in 0..frames.div_ceil(2 * BURST) {
            let mut room = BURST;
            while room > 0 {
                // Of both ports' packets, half come in here.
                room -= match self.random.below(1000) {
                    0..20 => {
                        self.new.push(chunk, 1);
                        1
                    }
                    20 if room > 1 => {
                        self.push_fragments(chunk);
                        2
                    }
                    _ => {
                        self.established.push(chunk, 0);
                        1
                    }
                };
            }
            for _ in 0..BURST {
                match self.random.below(1000) {
                    0..2 => self.push_error(chunk),
                    _ => self.established.push(chunk, 1),
                }
            }
            chunk.end_burst();
        }
    }

    fn states(&self) -> States {
        let mut states = self.established.states();
        states.add(self.new.states());
        states.add(States { new: self.datagrams, established: 0, related: self.errors });
        states
    }
}
