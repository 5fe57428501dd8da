//! What is to be sent: the typed form of a stream file, already checked.

use crate::net::{Addr, Family, MacAddr, Tuple, proto};
use std::time::Duration;

/// Octets of the frame check sequence, which frame sizes count and buffers do not hold.
pub const FCS: usize = 4;

/// Octets a frame occupies a line for beside its own: preamble, start delimiter and gap (IEEE 802.3).
pub const LINE_OVERHEAD: usize = 20;

/// Octets before the transport header: Ethernet and the fixed network header.
#[must_use]
pub const fn network_end(family: Family) -> usize {
    match family {
        Family::V4 => 14 + 20,
        Family::V6 => 14 + 40,
    }
}

/// Octets of a UDP header.
pub const UDP_HEADER: usize = 8;

/// Octets of a TCP header without options.
pub const TCP_HEADER: usize = 20;

/// A whole run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The ports, in the order in which they were opened.
    pub ports: Vec<PortPlan>,
    /// The streams.
    pub streams: Vec<Stream>,
    /// When it ends.
    pub limit: Limit,
    /// How long is received after the last frame was sent.
    pub drain: Duration,
    /// Of everything that is chosen at random.
    pub seed: u64,
    /// The worker whose queue gets the packets of a tuple, of so many workers, where ports can be told.
    pub owner: fn(&Tuple, usize) -> usize,
}

/// When sending ends: whichever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Time.
    pub time: Duration,
    /// Frames of each stream.
    pub packets: Option<u64>,
}

/// What the generator is on one of its ports.
#[derive(Clone, Debug, Default)]
pub struct PortPlan {
    /// Its name.
    pub name: String,
    /// Its addresses; it answers ARP and neighbour solicitations for them.
    pub addresses: Vec<(Addr, Family)>,
    /// Whom frames of each family are sent to, by [`Family::index`]; without one, the destination itself.
    pub gateways: [Option<Gateway>; 2],
    /// Line speed in bit/s, where it is known; for rates in percent.
    pub line: Option<u64>,
    /// Tags around its frames (802.1Q), outermost first; two at most. Frame sizes do not count them.
    pub vlan: Vec<u16>,
}

impl PortPlan {
    /// The address it asks for neighbours with.
    #[must_use]
    pub fn address(&self, family: Family) -> Option<Addr> {
        self.addresses.iter().find(|(_, of)| *of == family).map(|(address, _)| *address)
    }
}

/// The next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// Its link address is asked for.
    Ip(Addr),
    /// Its link address.
    Mac(MacAddr),
}

/// One stream of packets from a port to another.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Its name.
    pub name: String,
    /// Index of the port it is sent from.
    pub from: usize,
    /// Index of the port it is to arrive at.
    pub to: usize,
    /// Address family.
    pub family: Family,
    /// What is sent.
    pub kind: Kind,
    /// Tuples of its flows.
    pub space: Space,
    /// How many of them are used and how often each.
    pub flows: Flows,
    /// Whether a packet of every flow is sent before a trial, so that a stateful router knows it.
    pub prime: bool,
    /// Frame sizes in octets, frame check sequence included, in the order in which they follow one another.
    pub sizes: Vec<u16>,
    /// How much is sent.
    pub rate: Rate,
    /// Share of the packets that are spoilt, 0 to 1.
    pub invalid: f64,
    /// Packets that nobody asked for, from the far side, in proportion to the stream's packets, 0 to 1.
    pub unsolicited: f64,
}

impl Stream {
    /// IP protocol number.
    #[must_use]
    pub const fn proto(&self) -> u8 {
        match self.kind {
            Kind::Udp { .. } => proto::UDP,
            Kind::Tcp(_) => proto::TCP,
        }
    }
}

/// What a stream consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UDP packets, each with a signature.
    Udp {
        /// Whether the far side sends each packet back.
        replies: bool,
    },
    /// TCP connections.
    Tcp(Tcp),
}

/// What TCP connections do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// Connections open at the same time, at most.
    pub concurrent: u32,
    /// Octets the client sends first.
    pub request: u32,
    /// Octets the server answers with.
    pub response: u32,
    /// Requests per connection.
    pub requests: u32,
    /// How a connection ends.
    pub close: Close,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Both sides send FIN, the client first.
    Fin,
    /// The client sends RST.
    Rst,
}

/// The tuples of a stream: every combination of these, source ports first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Address family.
    pub family: Family,
    /// Protocol.
    pub proto: u8,
    /// First source address and how many follow it, itself included.
    pub src: (Addr, u32),
    /// First destination address and how many.
    pub dst: (Addr, u32),
    /// First source port and how many.
    pub sport: (u16, u32),
    /// First destination port and how many.
    pub dport: (u16, u32),
}

impl Space {
    /// How many tuples there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        [self.sport.1, self.src.1, self.dst.1, self.dport.1]
            .iter()
            .fold(1u64, |all, n| all.saturating_mul(u64::from(*n)))
    }

    /// The tuple of a flow; flows past the last begin again.
    #[inline]
    #[must_use]
    pub fn tuple(&self, flow: u64) -> Tuple {
        let mut rest = flow;
        let mut digit = |n: u32| {
            let n = u64::from(n.max(1));
            let digit = rest % n;
            rest /= n;
            digit
        };
        let sport = digit(self.sport.1) as u16;
        let src = digit(self.src.1);
        let dst = digit(self.dst.1);
        let dport = digit(self.dport.1) as u16;
        Tuple {
            src: Addr { lo: self.src.0.lo.wrapping_add(src), ..self.src.0 },
            dst: Addr { lo: self.dst.0.lo.wrapping_add(dst), ..self.dst.0 },
            src_key: self.sport.0.wrapping_add(sport),
            dst_key: self.dport.0.wrapping_add(dport),
            proto: self.proto,
            family: self.family,
        }
    }

    /// The flow of a tuple, if it is one of these: the inverse of [`Space::tuple`].
    #[inline]
    #[must_use]
    pub fn flow(&self, tuple: &Tuple) -> Option<u64> {
        let address = |(first, n): (Addr, u32), address: Addr| {
            let digit = address.lo.wrapping_sub(first.lo);
            (address.hi == first.hi && digit < u64::from(n)).then_some(digit)
        };
        let port = |(first, n): (u16, u32), port: u16| {
            let digit = port.wrapping_sub(first);
            (u32::from(digit) < n).then_some(u64::from(digit))
        };
        if tuple.family != self.family || tuple.proto != self.proto {
            return None;
        }
        let mut flow = port(self.dport, tuple.dst_key)?;
        flow = flow * u64::from(self.dst.1) + address(self.dst, tuple.dst)?;
        flow = flow * u64::from(self.src.1) + address(self.src, tuple.src)?;
        Some(flow * u64::from(self.sport.1) + port(self.sport, tuple.src_key)?)
    }
}

/// How many flows a stream has and how its packets fall on them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flows {
    /// Flows.
    pub count: u32,
    /// Which comes next.
    pub distribution: Distribution,
}

/// Which flow a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// One after the other.
    Sequential,
    /// Any, all with the same probability.
    Uniform,
    /// The k-th in proportion to 1/k^s.
    Zipf(f64),
}

/// How much is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As much as the port takes.
    Max,
    /// Packets per second; for TCP, connections per second.
    Pps(f64),
    /// Bits per second of frames, frame check sequence included.
    Bps(f64),
    /// Share of the line, 0 to 1, preamble and gap included.
    Line(f64),
}

impl Rate {
    /// Packets per second, for frames of `size` octets on average; `None` for as many as possible.
    #[must_use]
    pub fn pps(self, size: f64, line: Option<u64>) -> Option<f64> {
        match self {
            Rate::Max => None,
            Rate::Pps(pps) => Some(pps),
            Rate::Bps(bps) => Some(bps / (8.0 * size)),
            Rate::Line(share) => line.map(|line| share * line as f64 / (8.0 * (size + LINE_OVERHEAD as f64))),
        }
    }
}

/// Mean of the sizes.
#[must_use]
pub fn mean_size(sizes: &[u16]) -> f64 {
    sizes.iter().map(|size| f64::from(*size)).sum::<f64>() / (sizes.len().max(1) as f64)
}

/// The sizes of an IMIX of 64, 594 and 1518 octets at 7:4:1 (RFC 6985 names it "simple"), spread evenly; none smaller
/// than `least`.
#[must_use]
pub fn imix(least: u16) -> Vec<u16> {
    let (s, m, l) = (64.max(least), 594, 1518);
    vec![s, m, s, s, m, s, l, s, m, s, m, s]
}
