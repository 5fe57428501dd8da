//! A router in memory and the frames to feed it with, for the tests of the whole journey.

#![allow(dead_code, unreachable_pub, reason = "each test is a crate of its own and uses a part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is test code")]

pub mod reserved;
pub mod traffic;

use etherparse::{IpHeaders, Ipv4Extensions, Ipv4Header, PacketBuilder, PacketBuilderStep, TcpHeader};
use flowgate::cli::replay::session::{Options, Outcome, Session};
use flowgate::config::{self, Machine};
use flowgate::metrics::Balance;
use flowgate::net::{CtState, Direction, DropReason, Now, PortId, ShardId};
use flowgate::shard::{End, Fate, Snapshot};
use std::net::IpAddr;
use std::sync::Arc;

/// Link addresses of the hosts' frames; the router takes any destination.
pub const HOST_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
pub const ROUTER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 2];

/// Octets of an Ethernet header without tags.
pub const LINK: usize = 14;

/// Five ports with both families: a lan, a wan, one with a tag, one with two, one with a small MTU; and a static
/// route of every kind.
const NETWORK: &str = r#"
version: 1
workers: { cores: any, count: 1 }
ports:
  lan:   { driver: memory, addresses: [10.0.1.1/24, "fd00:1::1/64"] }
  wan:   { driver: memory, addresses: [10.0.2.1/24, "fd00:2::1/64"] }
  tag:   { driver: memory, vlan: 100, addresses: [10.0.3.1/24, "fd00:3::1/64"] }
  qinq:  { driver: memory, vlan: [200, 300], addresses: [10.0.4.1/24, "fd00:4::1/64"] }
  small: { driver: memory, mtu: 1280, addresses: [10.0.5.1/24, "fd00:5::1/64"] }
routes:
  - { to: 10.9.0.0/24, type: blackhole }
  - { to: 10.9.1.0/24, type: unreachable }
  - { to: 10.9.2.0/24, type: prohibit }
"#;

/// What most routers do: known connections pass, INVALID does not, the lan may open.
pub const STANCE: &str = r#"
chains:
  forward:
    policy: drop
    rules:
      - { id: known, ct_state: [established, related], verdict: accept }
      - { id: bad, ct_state: invalid, verdict: drop }
      - { id: out, iif: lan, ct_state: new, verdict: accept }
"#;

/// Everything passes.
pub const OPEN: &str = "";

/// Compiles the network with these further sections.
pub fn snapshot(sections: &str) -> Snapshot {
    let text = format!("{NETWORK}{sections}");
    match config::parse_on(&Machine::default(), "test.yaml", &text) {
        Ok(loaded) => flowgate::cli::replay::snapshot(&loaded.settings).unwrap(),
        Err(mistakes) => panic!("{mistakes}"),
    }
}

/// What became of a packet, in words, and what the router sent then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub fate: Fate,
    pub rule: Option<String>,
    pub sent: Vec<(String, Vec<u8>)>,
}

impl Seen {
    /// State, or "NONE".
    pub fn state(&self) -> &'static str {
        self.fate.state.map_or("NONE", CtState::word)
    }

    /// State, direction and verdict of a packet that was accepted, as `NEW > wan`.
    pub fn short(&self) -> String {
        let arrow = match self.fate.direction {
            Some(Direction::Original) => ">",
            Some(Direction::Reply) => "<",
            None => "-",
        };
        let end = match self.fate.end {
            End::Accept => "accept".to_owned(),
            End::Drop(reason) => reason.label().to_owned(),
            End::Punt => "punt".to_owned(),
            End::Held => "held".to_owned(),
        };
        format!("{} {arrow} {end}", self.state())
    }

    pub fn reason(&self) -> Option<DropReason> {
        match self.fate.end {
            End::Drop(reason) => Some(reason),
            _ => None,
        }
    }

    /// The only frame sent, which must have left by `port`.
    pub fn one(&self, port: &str) -> &[u8] {
        let [(by, octets)] = self.sent.as_slice() else { panic!("{} frames were sent", self.sent.len()) };
        assert_eq!(by, port);
        octets
    }
}

/// A router and its clock.
pub struct Router {
    pub session: Session,
    pub snapshot: Arc<Snapshot>,
    pub now: Now,
    /// Who ended the last packet's way.
    pub worker: ShardId,
}

impl Router {
    pub fn new(sections: &str) -> Router {
        Router::with(snapshot(sections), &Options { max_entries: 4096, ..Options::default() })
    }

    pub fn with(snapshot: Snapshot, options: &Options) -> Router {
        let snapshot = Arc::new(snapshot);
        let session = Session::new(&snapshot, options).unwrap();
        // Not at the start of the millisecond clock.
        Router { session, snapshot, now: Now::from_secs(1_700_000_000), worker: ShardId(0) }
    }

    pub fn port(&self, name: &str) -> PortId {
        PortId(self.snapshot.ports.iter().position(|port| port.name == name).unwrap() as u8)
    }

    /// Lets time pass.
    pub fn wait(&mut self, ms: u64) -> Vec<(String, Vec<u8>)> {
        self.now = self.now.plus_millis(ms);
        self.session.advance(self.now);
        self.sent()
    }

    fn sent(&self) -> Vec<(String, Vec<u8>)> {
        let name = |port: PortId| self.snapshot.ports[port.index()].name.clone();
        self.session.sent().map(|(port, octets)| (name(port), octets.to_vec())).collect()
    }

    /// One packet, a millisecond after the last.
    pub fn send(&mut self, port: &str, octets: &[u8]) -> Seen {
        self.now = self.now.plus_millis(1);
        let port = self.port(port);
        let Outcome { worker, fate } = self.session.feed(port, octets, self.now);
        self.worker = worker;
        let rule = fate.rule.and_then(|slot| self.snapshot.ruleset.slot_info(slot)?.rule).map(str::to_owned);
        Seen { fate, rule, sent: self.sent() }
    }

    /// One packet; its state, direction and end.
    pub fn judge(&mut self, port: &str, octets: &[u8]) -> String {
        self.send(port, octets).short()
    }

    /// Several packets, all but the last of which are held.
    pub fn send_all(&mut self, port: &str, pieces: &[Vec<u8>]) -> Seen {
        let (last, first) = pieces.split_last().unwrap();
        for piece in first {
            assert_eq!(self.judge(port, piece), "NONE - held");
        }
        self.send(port, last)
    }

    /// Fails unless received = forwarded + dropped + punted + held on every port.
    #[track_caller]
    pub fn assert_balance(&self) {
        let counters = self.session.counters();
        for n in 0..self.snapshot.ports.len() {
            let balance: Balance = counters.balance(PortId(n as u8));
            assert!(balance.is_even(), "{}: {balance:?}", self.snapshot.ports[n].name);
        }
    }
}

impl Drop for Router {
    /// Whatever a test did, every packet's fate is known.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_balance();
        }
    }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Ethernet and IP of a packet to be built.
fn network(src: &str, dst: &str) -> PacketBuilderStep<IpHeaders> {
    let link = PacketBuilder::ethernet2(HOST_MAC, ROUTER_MAC);
    match (ip(src), ip(dst)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            // The builder fills in length, protocol and checksum.
            let mut header = Ipv4Header::new(0, 64, etherparse::IpNumber::TCP, src.octets(), dst.octets()).unwrap();
            header.dont_fragment = false;
            header.identification = 0x1234;
            link.ip(IpHeaders::Ipv4(header, Ipv4Extensions::default()))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => link.ipv6(src.octets(), dst.octets(), 64),
        _ => panic!("{src} and {dst} are of different families"),
    }
}

/// A TCP segment. `flags` are letters as tcpdump has them: S F R P . U.
pub fn tcp(src: &str, dst: &str, ports: (u16, u16), flags: &str, numbers: (u32, u32), payload: &[u8]) -> Vec<u8> {
    let mut header = TcpHeader::new(ports.0, ports.1, numbers.0, 64_000);
    header.acknowledgment_number = numbers.1;
    for flag in flags.chars() {
        match flag {
            'S' => header.syn = true,
            'F' => header.fin = true,
            'R' => header.rst = true,
            'P' => header.psh = true,
            '.' => header.ack = true,
            'U' => header.urg = true,
            other => panic!("no flag {other}"),
        }
    }
    let mut out = Vec::new();
    network(src, dst).tcp_header(header).write(&mut out, payload).unwrap();
    out
}

pub fn udp(src: &str, dst: &str, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    network(src, dst).udp(ports.0, ports.1).write(&mut out, payload).unwrap();
    out
}

/// An ICMP or ICMPv6 message, by the addresses' family; `rest` is the second word.
pub fn icmp(src: &str, dst: &str, kind: u8, code: u8, rest: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let network = network(src, dst);
    match ip(src) {
        IpAddr::V4(_) => network.icmpv4_raw(kind, code, rest.to_be_bytes()).write(&mut out, payload).unwrap(),
        IpAddr::V6(_) => network.icmpv6_raw(kind, code, rest.to_be_bytes()).write(&mut out, payload).unwrap(),
    }
    out
}

/// An echo request or reply with this identifier.
pub fn echo(src: &str, dst: &str, reply: bool, id: u16, payload: &[u8]) -> Vec<u8> {
    let kind = match (ip(src), reply) {
        (IpAddr::V4(_), false) => 8,
        (IpAddr::V4(_), true) => 0,
        (IpAddr::V6(_), false) => 128,
        (IpAddr::V6(_), true) => 129,
    };
    icmp(src, dst, kind, 0, (u32::from(id) << 16) | 1, payload)
}

/// Port unreachable from `src` to `dst` about `offending`, a frame.
pub fn unreachable(src: &str, dst: &str, offending: &[u8]) -> Vec<u8> {
    let (kind, code) = if ip(src).is_ipv4() { (3, 3) } else { (1, 4) };
    let quote = &offending[LINK..];
    icmp(src, dst, kind, code, 0, &quote[..quote.len().min(512)])
}

/// Any other protocol.
pub fn raw(src: &str, dst: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    network(src, dst).write(&mut out, etherparse::IpNumber(protocol), payload).unwrap();
    out
}

pub fn is_v4(frame: &[u8]) -> bool {
    frame[12..14] == [8, 0]
}

fn sum(octets: &[u8], start: u32) -> u16 {
    let mut sum = start;
    for pair in octets.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Computes an IPv4 header's checksum anew.
pub fn seal(frame: &mut [u8]) {
    let len = usize::from(frame[LINK] & 15) * 4;
    frame[LINK + 10..LINK + 12].fill(0);
    let check = !sum(&frame[LINK..LINK + len], 0);
    frame[LINK + 10..LINK + 12].copy_from_slice(&check.to_be_bytes());
}

pub fn with_ttl(mut frame: Vec<u8>, ttl: u8) -> Vec<u8> {
    if is_v4(&frame) {
        frame[LINK + 8] = ttl;
        seal(&mut frame);
    } else {
        frame[LINK + 7] = ttl;
    }
    frame
}

pub fn ttl(frame: &[u8]) -> u8 {
    if is_v4(frame) { frame[LINK + 8] } else { frame[LINK + 7] }
}

pub fn with_df(mut frame: Vec<u8>) -> Vec<u8> {
    frame[LINK + 6] |= 0x40;
    seal(&mut frame);
    frame
}

/// Puts tags behind the link addresses: identifier and ethertype of each, outermost first.
pub fn with_tags(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    for (tpid, vid) in tags {
        out.extend(tpid.to_be_bytes());
        out.extend(vid.to_be_bytes());
    }
    out.extend(&frame[12..]);
    out
}

/// Source and destination of an IP packet.
pub fn addresses(frame: &[u8]) -> (IpAddr, IpAddr) {
    let at = |start: usize| {
        if is_v4(frame) {
            IpAddr::from(<[u8; 4]>::try_from(&frame[start..start + 4]).unwrap())
        } else {
            IpAddr::from(<[u8; 16]>::try_from(&frame[start..start + 16]).unwrap())
        }
    };
    if is_v4(frame) { (at(LINK + 12), at(LINK + 16)) } else { (at(LINK + 8), at(LINK + 24)) }
}

/// Protocol and transport part of a packet without IPv6 extension headers, and fails unless the lengths and all
/// checksums are right.
#[track_caller]
pub fn verified(frame: &[u8]) -> (u8, &[u8]) {
    let v4 = is_v4(frame);
    let (protocol, l4) = if v4 {
        let header = usize::from(frame[LINK] & 15) * 4;
        assert_eq!(sum(&frame[LINK..LINK + header], 0), 0xffff, "IPv4 header checksum");
        let total = usize::from(u16::from_be_bytes([frame[LINK + 2], frame[LINK + 3]]));
        assert_eq!(LINK + total, frame.len(), "IPv4 total length");
        (frame[LINK + 9], &frame[LINK + header..])
    } else {
        assert_eq!(frame[12..14], [0x86, 0xdd]);
        let len = usize::from(u16::from_be_bytes([frame[LINK + 4], frame[LINK + 5]]));
        assert_eq!(LINK + 40 + len, frame.len(), "IPv6 payload length");
        (frame[LINK + 6], &frame[LINK + 40..])
    };
    let pseudo = match protocol {
        1 => 0,
        6 | 17 | 58 => {
            let addresses = if v4 { &frame[LINK + 12..LINK + 20] } else { &frame[LINK + 8..LINK + 40] };
            u32::from(sum(addresses, u32::from(protocol) + l4.len() as u32))
        }
        other => panic!("no checksum is known of protocol {other}"),
    };
    if !(protocol == 17 && l4[6..8] == [0, 0]) {
        assert_eq!(sum(l4, pseudo), 0xffff, "transport checksum");
    }
    (protocol, l4)
}

/// Cuts a datagram into fragments of at most `size` octets of data, a multiple of 8; in order.
pub fn pieces(frame: &[u8], size: usize, id: u32) -> Vec<Vec<u8>> {
    assert_eq!(size % 8, 0);
    let v4 = is_v4(frame);
    let header = if v4 { 20 } else { 40 };
    let (head, data) = frame.split_at(LINK + header);
    let count = data.len().div_ceil(size);
    let cut = data.chunks(size).enumerate().map(|(n, part)| {
        let (offset, more) = ((n * size) as u16, n + 1 < count);
        let mut piece = head.to_vec();
        if v4 {
            piece[LINK + 2..LINK + 4].copy_from_slice(&((header + part.len()) as u16).to_be_bytes());
            piece[LINK + 4..LINK + 6].copy_from_slice(&(id as u16).to_be_bytes());
            let field = (offset / 8) | (u16::from(more) << 13);
            piece[LINK + 6..LINK + 8].copy_from_slice(&field.to_be_bytes());
            seal(&mut piece);
        } else {
            piece[LINK + 4..LINK + 6].copy_from_slice(&((8 + part.len()) as u16).to_be_bytes());
            let next = std::mem::replace(&mut piece[LINK + 6], 44);
            piece.extend([next, 0]);
            piece.extend((offset | u16::from(more)).to_be_bytes());
            piece.extend(id.to_be_bytes());
        }
        piece.extend(part);
        piece
    });
    cut.collect()
}

/// The data of a fragment, with its offset and whether more follow.
pub fn fragment(frame: &[u8]) -> (usize, bool, &[u8]) {
    if is_v4(frame) {
        assert_eq!(sum(&frame[LINK..LINK + 20], 0), 0xffff, "IPv4 header checksum");
        let field = u16::from_be_bytes([frame[LINK + 6], frame[LINK + 7]]);
        (usize::from(field & 0x1fff) * 8, field & 0x2000 != 0, &frame[LINK + 20..])
    } else {
        assert_eq!(frame[LINK + 6], 44);
        let field = u16::from_be_bytes([frame[LINK + 42], frame[LINK + 43]]);
        (usize::from(field & 0xfff8), field & 1 != 0, &frame[LINK + 48..])
    }
}

/// Puts fragments together again, in any order: all data.
pub fn together(frames: &[&[u8]]) -> Vec<u8> {
    let mut parts: Vec<_> = frames.iter().map(|frame| fragment(frame)).collect();
    parts.sort_by_key(|part| part.0);
    let mut whole = Vec::new();
    for (n, (offset, more, data)) in parts.iter().enumerate() {
        assert_eq!(*offset, whole.len(), "a gap or an overlap");
        assert_eq!(*more, n + 1 < parts.len());
        whole.extend_from_slice(data);
    }
    whole
}

/// A pair of hosts behind the lan and the wan, by family.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub client: &'static str,
    pub server: &'static str,
    /// The router's addresses on the lan and the wan.
    pub lan: &'static str,
    pub wan: &'static str,
    /// A host behind `small`, `tag` and `qinq`.
    pub small: &'static str,
    pub tag: &'static str,
    pub qinq: &'static str,
    /// A host that no route leads to.
    pub nowhere: &'static str,
}

pub const V4: Pair = Pair {
    client: "10.0.1.2",
    server: "10.0.2.2",
    lan: "10.0.1.1",
    wan: "10.0.2.1",
    small: "10.0.5.2",
    tag: "10.0.3.2",
    qinq: "10.0.4.2",
    nowhere: "192.0.2.1",
};

pub const V6: Pair = Pair {
    client: "fd00:1::2",
    server: "fd00:2::2",
    lan: "fd00:1::1",
    wan: "fd00:2::1",
    small: "fd00:5::2",
    tag: "fd00:3::2",
    qinq: "fd00:4::2",
    nowhere: "2001:db8::1",
};

pub const BOTH: [Pair; 2] = [V4, V6];

impl Pair {
    /// From the client, by the lan.
    pub fn up(&self, ports: (u16, u16), flags: &str, numbers: (u32, u32), payload: &[u8]) -> Vec<u8> {
        tcp(self.client, self.server, ports, flags, numbers, payload)
    }

    /// From the server, by the wan; `ports` as the client sees them.
    pub fn down(&self, ports: (u16, u16), flags: &str, numbers: (u32, u32), payload: &[u8]) -> Vec<u8> {
        tcp(self.server, self.client, (ports.1, ports.0), flags, numbers, payload)
    }
}

/// A TCP connection through the router, client on the lan: keeps the numbers of both sides.
pub struct Talk {
    pub pair: Pair,
    pub ports: (u16, u16),
    pub client: u32,
    pub server: u32,
}

impl Talk {
    /// Opens it; fails unless all of the handshake passes.
    #[track_caller]
    pub fn open(router: &mut Router, pair: Pair, ports: (u16, u16)) -> Talk {
        let (client, server) = (1000, 5000);
        assert_eq!(router.judge("lan", &pair.up(ports, "S", (client, 0), b"")), "NEW > accept");
        assert_eq!(router.judge("wan", &pair.down(ports, "S.", (server, client + 1), b"")), "ESTABLISHED < accept");
        let talk = Talk { pair, ports, client: client + 1, server: server + 1 };
        assert_eq!(router.judge("lan", &talk.up("", b"")), "ESTABLISHED > accept");
        talk
    }

    fn up(&self, flags: &str, payload: &[u8]) -> Vec<u8> {
        self.pair.up(self.ports, &format!(".{flags}"), (self.client, self.server), payload)
    }

    fn down(&self, flags: &str, payload: &[u8]) -> Vec<u8> {
        self.pair.down(self.ports, &format!(".{flags}"), (self.server, self.client), payload)
    }

    /// The client says something. Its numbers move on only if it passed.
    pub fn say(&mut self, router: &mut Router, payload: &[u8]) -> Seen {
        let seen = router.send("lan", &self.up("P", payload));
        if seen.fate.end == End::Accept {
            self.client += payload.len() as u32;
        }
        seen
    }

    /// The server says something.
    pub fn answer(&mut self, router: &mut Router, payload: &[u8]) -> Seen {
        let seen = router.send("wan", &self.down("P", payload));
        if seen.fate.end == End::Accept {
            self.server += payload.len() as u32;
        }
        seen
    }

    /// The next segment of the client, not sent.
    pub fn next(&self, payload: &[u8]) -> Vec<u8> {
        self.up("P", payload)
    }
}
