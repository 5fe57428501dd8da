//! Established flows, met in random order, each direction as often as the other.

use super::{BURST, Load, States, handshake, segment};
use crate::bench::feed::Chunk;
use crate::bench::flows::{Random, tuple};
use crate::bench::packet::{Transport, flags};
use crate::net::{Family, Tuple, proto};

/// Flows made per chunk.
const SET_UP: u64 = 16 * 1024;

/// Octets of payload of TCP and UDP: with them an IPv4 frame has the least length, 60 octets without check sequence.
const SEGMENT: u16 = 6;
const DATAGRAM: u16 = 18;

pub(super) struct Established {
    family: Family,
    tcp: bool,
    flows: u64,
    made: u64,
    random: Random,
    /// By flow: octets each end has sent.
    sent: Vec<[u32; 2]>,
    states: States,
}

impl Established {
    pub(super) fn new(family: Family, tcp: bool, flows: u64) -> Established {
        Established {
            family,
            tcp,
            flows,
            made: 0,
            random: Random::new(flows),
            sent: if tcp { vec![[0; 2]; flows as usize] } else { Vec::new() },
            states: States::default(),
        }
    }

    fn tuple(&self, flow: u64) -> Tuple {
        let (proto, port) = if self.tcp { (proto::TCP, 443) } else { (proto::UDP, 4433) };
        tuple(self.family, proto, port, flow)
    }

    /// The packet that flow `flow` sends next in direction `port`.
    fn next(&mut self, flow: u64, port: usize) -> Transport {
        let Some(sent) = self.sent.get_mut(flow as usize) else { return Transport::Udp { payload: DATAGRAM } };
        let segment = segment(flags::PSH_ACK, sent[port], sent[1 - port], SEGMENT);
        sent[port] = sent[port].wrapping_add(u32::from(SEGMENT));
        segment
    }
}

fn inverse(tuple: Tuple) -> Tuple {
    Tuple { src: tuple.dst, dst: tuple.src, src_key: tuple.dst_key, dst_key: tuple.src_key, ..tuple }
}

impl Load for Established {
    fn set_up(&mut self, chunk: &mut Chunk) -> bool {
        let until = self.flows.min(self.made + SET_UP);
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
            for flow in some.clone() {
                let there = self.tuple(flow);
                chunk.push(0, &there, first);
                chunk.push(1, &inverse(there), second);
            }
            chunk.end_burst();
            for flow in some.clone() {
                chunk.push(0, &self.tuple(flow), third);
            }
            chunk.end_burst();
            let count = some.end - some.start;
            self.states.new += count;
            self.states.established += 2 * count;
        }
        true
    }

    fn fill(&mut self, chunk: &mut Chunk, frames: u64) {
        for _ in 0..frames.div_ceil(2 * BURST) {
            for port in [0, 1] {
                for _ in 0..BURST {
                    let flow = self.random.below(self.flows);
                    let packet = self.next(flow, port);
                    let there = self.tuple(flow);
                    chunk.push(port, &if port == 0 { there } else { inverse(there) }, packet);
                }
            }
            chunk.end_burst();
            self.states.established += 2 * BURST;
        }
    }

    fn states(&self) -> States {
        self.states
    }
}
