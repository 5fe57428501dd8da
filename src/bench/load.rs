//! The workloads: which packets, in which order.

mod connections;
mod established;
mod flood;
mod mix;
mod new;

use super::feed::Chunk;
use super::packet::{Transport, flags};
use crate::net::{Family, Tuple};
use connections::Connections;
use established::Established;
use flood::Flood;
use mix::Mix;
use new::NewFlows;

/// Frames per burst and port.
pub const BURST: u64 = 64;

/// What a bench can put on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// TCP data in both directions of established connections, met in random order.
    TcpEstablished,
    /// UDP in both directions of established flows, met in random order.
    UdpEstablished,
    /// UDP in one direction of flows that nobody answers, met in random order.
    UdpUnanswered,
    /// UDP, each packet a new flow, on a full table.
    UdpNew,
    /// TCP connections from handshake to close.
    TcpConnections,
    /// SYNs that never repeat on a full table, while established connections go on.
    SynFlood,
    /// Established TCP with frames of 64, 594 and 1518 octets, seven to four to one.
    Imix,
    /// Established TCP with 1 % new flows, 0.1 % ICMP errors and 0.1 % fragments.
    Mix,
    /// Established TCP on two workers or more, each packet received by a worker that does not own it.
    Handoff,
}

impl Workload {
    /// All of them.
    pub const ALL: [Workload; 9] = [
        Workload::TcpEstablished,
        Workload::UdpEstablished,
        Workload::UdpUnanswered,
        Workload::UdpNew,
        Workload::TcpConnections,
        Workload::SynFlood,
        Workload::Imix,
        Workload::Mix,
        Workload::Handoff,
    ];

    /// The word of command line and results.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Workload::TcpEstablished => "tcp_established",
            Workload::UdpEstablished => "udp_established",
            Workload::UdpUnanswered => "udp_unanswered",
            Workload::UdpNew => "udp_new",
            Workload::TcpConnections => "tcp_connections",
            Workload::SynFlood => "syn_flood",
            Workload::Imix => "imix",
            Workload::Mix => "mix",
            Workload::Handoff => "handoff",
        }
    }

    /// What its packets are, in a few words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Workload::TcpEstablished => "data in both directions of established connections, in random order",
            Workload::UdpEstablished => "the same with UDP",
            Workload::UdpUnanswered => "UDP one way, in flows that nobody answers, in random order",
            Workload::UdpNew => "each packet a new flow, on a full table",
            Workload::TcpConnections => "handshake, request, answer, close: eight packets, many connections at once",
            Workload::SynFlood => "SYNs that never repeat on a full table, beside established connections",
            Workload::Imix => "established TCP, frames of 64, 594 and 1518 octets",
            Workload::Mix => "established TCP with some new flows, ICMP errors and fragments",
            Workload::Handoff => "established TCP, each packet received by the worker that does not own it",
        }
    }

    /// Numbers of flows that tell most.
    #[must_use]
    pub const fn usual_flows(self) -> &'static [u64] {
        match self {
            Workload::TcpEstablished => &[1000, 64_000, 1_000_000, 10_000_000],
            Workload::UdpEstablished | Workload::UdpNew => &[64_000, 1_000_000],
            Workload::UdpUnanswered | Workload::TcpConnections | Workload::Imix | Workload::Mix | Workload::Handoff => {
                &[64_000]
            }
            Workload::SynFlood => &[10_000],
        }
    }

    /// Fewest workers it makes sense with.
    #[must_use]
    pub const fn least_workers(self) -> usize {
        match self {
            Workload::Handoff => 2,
            _ => 1,
        }
    }

    /// Whether it can be dealt among several workers.
    #[must_use]
    pub const fn is_divisible(self) -> bool {
        matches!(self, Workload::TcpEstablished | Workload::UdpEstablished | Workload::Imix | Workload::Handoff)
    }

    /// Cache lines of its longest header.
    #[must_use]
    pub const fn lines(self, family: Family) -> usize {
        match (self, family) {
            (Workload::Mix, _) | (_, Family::V6) => 2,
            _ => 1,
        }
    }

    /// Entries a worker's table needs for `flows` flows of its own. Where new flows never end, the table is full
    /// and each takes another one's place.
    #[must_use]
    pub const fn entries(self, flows: u64) -> u64 {
        match self {
            Workload::SynFlood => flows + FLOODED,
            Workload::Mix => flows + NEW_IN_MIX,
            Workload::TcpConnections => Connections::tuples(flows),
            _ => flows,
        }
    }

    /// Packets per connection, for workloads that are about connections.
    #[must_use]
    pub const fn packets_per_connection(self) -> Option<f64> {
        match self {
            Workload::UdpNew => Some(1.0),
            Workload::TcpConnections => Some(Connections::PACKETS as f64),
            _ => None,
        }
    }

    /// Its packets, of these flows.
    #[must_use]
    pub fn load(self, family: Family, flows: Flows) -> Box<dyn Load> {
        match self {
            Workload::TcpEstablished | Workload::Handoff => Box::new(Established::tcp(family, flows)),
            Workload::UdpEstablished => Box::new(Established::udp(family, flows)),
            Workload::UdpUnanswered => Box::new(Established::unanswered(family, flows)),
            Workload::Imix => Box::new(Established::imix(family, flows)),
            Workload::UdpNew => Box::new(NewFlows::new(family, flows.len())),
            Workload::TcpConnections => Box::new(Connections::new(family, flows.len())),
            Workload::SynFlood => Box::new(Flood::new(family, flows)),
            Workload::Mix => Box::new(Mix::new(family, flows)),
        }
    }
}

/// Entries of a flooded table beside those of the connections that go on.
const FLOODED: u64 = 64 * 1024;

/// Entries for new flows in a mix.
const NEW_IN_MIX: u64 = 64 * 1024;

/// Numbers of the flows a load is made of; see [`super::flows::tuple`].
#[derive(Clone, Debug)]
pub enum Flows {
    /// The first so many.
    First(u64),
    /// These.
    These(Vec<u32>),
}

impl Flows {
    /// How many.
    #[must_use]
    pub const fn len(&self) -> u64 {
        match self {
            Flows::First(count) => *count,
            Flows::These(numbers) => numbers.len() as u64,
        }
    }

    /// None.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of the `n`-th.
    #[must_use]
    pub fn number(&self, n: u64) -> u64 {
        match self {
            Flows::First(_) => n,
            Flows::These(numbers) => numbers.get(n as usize).map_or(0, |number| u64::from(*number)),
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

impl States {
    /// Adds another load's.
    pub const fn add(&mut self, other: States) {
        self.new += other.new;
        self.established += other.established;
        self.related += other.related;
    }
}

/// The packets of one workload.
pub trait Load: Send {
    /// Adds packets that bring the router into the state the workload needs, if any are left; false if not.
    fn set_up(&mut self, chunk: &mut Chunk) -> bool;

    /// Adds about `frames` packets of the workload itself.
    fn fill(&mut self, chunk: &mut Chunk, frames: u64);

    /// Adds about `frames` packets of what goes on beside an attack, without the attack; false if the workload is
    /// none. With the attack, every second turn belongs to each.
    fn fill_quiet(&mut self, _chunk: &mut Chunk, _frames: u64) -> bool {
        false
    }

    /// States of all packets added so far.
    fn states(&self) -> States;
}

/// A segment whose numbers count from the end of the [`handshake`].
const fn segment(flags: u8, sent: u32, seen: u32, payload: u16) -> Transport {
    Transport::Tcp { seq: (FIRST + 1).wrapping_add(sent), ack: (FIRST + 1).wrapping_add(seen), flags, payload }
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

/// The tuple of replies; for protocols with ports.
const fn inverse(tuple: Tuple) -> Tuple {
    Tuple { src: tuple.dst, dst: tuple.src, src_key: tuple.dst_key, dst_key: tuple.src_key, ..tuple }
}
