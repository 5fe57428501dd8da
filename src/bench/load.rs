//! The workloads: which packets, in which order.

mod established;

use super::feed::Chunk;
use super::packet::{Transport, flags};
use crate::net::Family;
use established::Established;

/// Frames per burst and port.
pub const BURST: u64 = 64;

/// What a bench can put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// TCP data in both directions of established connections.
    TcpEstablished,
    /// UDP in both directions of established flows.
    UdpEstablished,
}

impl Workload {
    /// All of them.
    pub const ALL: [Workload; 2] = [Workload::TcpEstablished, Workload::UdpEstablished];

    /// The word of command line and results.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Workload::TcpEstablished => "tcp_established",
            Workload::UdpEstablished => "udp_established",
        }
    }

    /// Whether its packets are TCP.
    #[must_use]
    pub const fn is_tcp(self) -> bool {
        matches!(self, Workload::TcpEstablished)
    }

    /// Cache lines of its longest header.
    #[must_use]
    pub const fn lines(self, family: Family) -> usize {
        match family {
            Family::V4 => 1,
            Family::V6 => 2,
        }
    }

    /// Its packets.
    #[must_use]
    pub fn load(self, family: Family, flows: u64) -> Box<dyn Load> {
        match self {
            Workload::TcpEstablished | Workload::UdpEstablished => {
                Box::new(Established::new(family, self.is_tcp(), flows))
            }
        }
    }
}

/// How many packets of each state the router should have counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States {
    /// NEW.
    pub new: u64,
    /// ESTABLISHED.
    pub established: u64,
    /// RELATED.
    pub related: u64,
}

/// The packets of one workload.
pub trait Load: Send {
    /// Adds packets that make the flows, if any are left to be made; false if not.
    fn set_up(&mut self, chunk: &mut Chunk) -> bool;

    /// Adds about `frames` packets of the workload itself.
    fn fill(&mut self, chunk: &mut Chunk, frames: u64);

    /// States of all packets added so far.
    fn states(&self) -> States;
}

/// Data or nothing but an acknowledgment, whose numbers begin where the handshake of [`handshake`] ended.
const fn segment(flags: u8, sent: u32, seen: u32, payload: u16) -> Transport {
    Transport::Tcp { seq: FIRST + 1 + sent, ack: FIRST + 1 + seen, flags, payload }
}

/// Every connection's initial sequence number, both ways.
const FIRST: u32 = 0x1000_0000;

/// The two segments that open a connection.
const fn handshake() -> [Transport; 2] {
    [
        Transport::Tcp { seq: FIRST, ack: 0, flags: flags::SYN, payload: 0 },
        Transport::Tcp { seq: FIRST, ack: FIRST + 1, flags: flags::SYN_ACK, payload: 0 },
    ]
}
