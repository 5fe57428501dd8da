//! Established flows, met in random order, each direction as often as the other; and flows that nobody answers.

use super::{BURST, Flows, Load, States, handshake, inverse, segment};
use crate::bench::feed::Chunk;
use crate::bench::flows::{Random, tuple};
use crate::bench::packet::{ETHERNET, Transport, flags, ip_header};
use crate::net::{Family, Tuple, proto};

/// Flows made per chunk: with three packets each they fit a hand-off ring whose receiver does not come to run meanwhile.
const SET_UP: u64 = 8 * 1024;

/// Octets of payload of TCP and UDP: with them an IPv4 frame has the least length, 60 octets without check sequence.
const SEGMENT: u16 = 6;
const DATAGRAM: u16 = 18;

/// Octets of frames without check sequence, as often as they occur in twelve.
const IMIX: [u16; 12] = [60, 594 - 4, 60, 60, 594 - 4, 60, 1518 - 4, 60, 594 - 4, 60, 594 - 4, 60];

pub(super) struct Established {
    family: Family,
    tcp: bool,
    answered: bool,
    flows: Flows,
    made: u64,
    random: Random,
    /// By flow: octets each end has sent.
    sent: Vec<[u32; 2]>,
    /// Octets of payload, drawn from these.
    payloads: Vec<u16>,
    states: States,
}

impl Established {
    pub(super) fn tcp(family: Family, flows: Flows) -> Established {
        Established::new(family, true, flows, vec![SEGMENT])
    }

    pub(super) fn udp(family: Family, flows: Flows) -> Established {
        Established::new(family, false, flows, vec![DATAGRAM])
    }

    /// UDP, of which nothing comes back.
    pub(super) fn unanswered(family: Family, flows: Flows) -> Established {
        Established { answered: false, ..Established::udp(family, flows) }
    }

    pub(super) fn imix(family: Family, flows: Flows) -> Established {
        let header = (ETHERNET + ip_header(family) + 20) as u16;
        let payloads = IMIX.iter().map(|octets| octets.saturating_sub(header).max(SEGMENT)).collect();
        Established::new(family, true, flows, payloads)
    }

    fn new(family: Family, tcp: bool, flows: Flows, payloads: Vec<u16>) -> Established {
        let mut sent = Vec::with_capacity(if tcp { flows.len() as usize } else { 0 });
        // Touched now, so that the router's growth can be told from it.
        sent.resize(sent.capacity(), [0; 2]);
        Established {
            family,
            tcp,
            answered: true,
            random: Random::new(flows.number(0) + flows.len()),
            flows,
            made: 0,
            sent,
            payloads,
            states: States::default(),
        }
    }

    /// The original direction's tuple of the `n`-th flow.
    pub(super) fn tuple(&self, n: u64) -> Tuple {
        let (proto, port) = if self.tcp { (proto::TCP, 443) } else { (proto::UDP, 4433) };
        tuple(self.family, proto, port, self.flows.number(n))
    }

    /// Any flow.
    pub(super) fn any(&mut self) -> u64 {
        self.random.below(self.flows.len())
    }

    /// The packet that the `n`-th flow sends next in direction `port`.
    fn next(&mut self, n: u64, port: usize) -> Transport {
        let payload = match *self.payloads.as_slice() {
            [one] => one,
            _ => {
                let at = self.random.below(self.payloads.len() as u64);
                self.payloads.get(at as usize).copied().unwrap_or(SEGMENT)
            }
        };
        let Some(sent) = self.sent.get_mut(n as usize) else { return Transport::Udp { payload } };
        let segment = segment(flags::PSH_ACK, sent[port], sent[1 - port], payload);
        sent[port] = sent[port].wrapping_add(u32::from(payload));
        segment
    }

    /// Adds one packet of any flow that comes in by `port`.
    pub(super) fn push(&mut self, chunk: &mut Chunk, port: usize) {
        let n = self.any();
        let packet = self.next(n, port);
        let there = self.tuple(n);
        chunk.push(port, &if port == 0 { there } else { inverse(there) }, packet);
        if self.answered {
            self.states.established += 1;
        } else {
            self.states.new += 1;
        }
    }

    /// Adds one turn: a burst of each port by which something comes.
    pub(super) fn push_turn(&mut self, chunk: &mut Chunk) {
        for port in 0..if self.answered { 2 } else { 1 } {
            (0..BURST).for_each(|_| self.push(chunk, port));
        }
        chunk.end_burst();
    }
}

impl Load for Established {
    fn set_up(&mut self, chunk: &mut Chunk) -> bool {
        let until = self.flows.len().min(self.made + SET_UP);
        if self.made == until {
            return false;
        }
        while self.made < until {
            let some = self.made..until.min(self.made + BURST);
            self.made = some.end;
            let datagram = Transport::Udp { payload: DATAGRAM };
            let [first, second, third] = if self.tcp {
                let [syn, syn_ack] = handshake();
                [syn, syn_ack, segment(flags::ACK, 0, 0, 0)]
            } else {
                [datagram; 3]
            };
            for n in some.clone() {
                let there = self.tuple(n);
                chunk.push(0, &there, first);
                if self.answered {
                    chunk.push(1, &inverse(there), second);
                }
            }
            chunk.end_burst();
            let count = some.end - some.start;
            self.states.new += count;
            if !self.answered {
                continue;
            }
            for n in some.clone() {
                chunk.push(0, &self.tuple(n), third);
            }
            chunk.end_burst();
            self.states.established += 2 * count;
        }
        true
    }

    fn fill(&mut self, chunk: &mut Chunk, frames: u64) {
        (0..frames.div_ceil(BURST * if self.answered { 2 } else { 1 })).for_each(|_| self.push_turn(chunk));
    }

    fn states(&self) -> States {
        self.states
    }
}
