//! With and without the shortcut the same packets come to the same ends and leave the same behind.

use crate::config::{self, Machine, Settings};
use crate::frame::{Burst, Checksum, Frame, Gso, GsoKind, HeaderSum, Pool, PoolConfig};
use crate::metrics::label::RouteResult;
use crate::metrics::{Counters, Layout, RuleCounters};
use crate::net::{Family, MacAddr, Now, PortId, ShardId};
use crate::route::{NeighbourEvent, NeighbourKey, ViewConfig};
use crate::shard::{Fate, Shard, ShardConfig, Surroundings, Upcall, Watch};
use crate::steer::{Directory, RingConfig, mesh};
use etherparse::PacketBuilder;
use proptest::prelude::*;
use std::cell::Cell;
use std::sync::{Arc, OnceLock};

const CONFIG: &str = r#"
version: 1
workers: { cores: any, count: 1 }
conntrack: { timeouts: { tcp_max_retrans: 2, tcp_unacknowledged: 3, udp: 2, udp_stream: 4 } }
helpers: { ftp: { type: ftp, ports: [21] } }
ports:
  lan: { driver: memory, addresses: [10.0.1.1/24, "fd00:1::1/64"] }
  wan: { driver: memory, addresses: [10.0.2.1/24, "fd00:2::1/64"] }
  tag: { driver: memory, vlan: 100, addresses: [10.0.3.1/24, "fd00:3::1/64"] }
  small: { driver: memory, mtu: 1280, addresses: [10.0.4.1/24, "fd00:4::1/64"] }
"#;

const RULES: &str = r#"
chains:
  web: { rules: [ { id: back, verdict: return } ] }
  forward:
    policy: drop
    rules:
      - { id: known, ct_state: [established, related], verdict: accept }
      - { id: bad, ct_state: invalid, verdict: drop }
      - { id: out, iif: [lan, tag], ct_state: new, verdict: accept }
"#;

/// Comes first in some of the snapshots: verdicts on TCP then hang on its ports.
const WEB: &str = "      - { id: web, l4proto: tcp, dport: 80, ct_state: [new, established], verdict: jump web }\n";

const RAW: &str = "  prerouting: { rules: [ { id: raw, l4proto: udp, dport: 53, verdict: notrack } ] }\n";

#[derive(Debug, Default)]
pub(in crate::shard) struct Ends(pub(in crate::shard) Vec<(u32, Fate)>);

impl Watch for Ends {
    fn ended(&mut self, seq: u32, fate: &Fate) {
        self.0.push((seq, *fate));
    }
}

pub(in crate::shard) struct Nobody;

impl Upcall for Nobody {
    fn punt(&mut self, _port: PortId, _frame: &[u8]) -> bool {
        true
    }

    fn resolve(&mut self, _key: NeighbourKey) {}
}

pub(in crate::shard) fn snapshot(raw: bool, epoch: u64) -> crate::shard::Snapshot {
    static LOADED: [OnceLock<Settings>; 4] = [const { OnceLock::new() }; 4];
    let web = epoch % 2 == 1;
    let settings = LOADED[usize::from(raw) * 2 + usize::from(web)].get_or_init(|| {
        let rules = if web { RULES.replacen("    rules:\n", &format!("    rules:\n{WEB}"), 1) } else { RULES.into() };
        let text = format!("{CONFIG}{rules}{}", if raw { RAW } else { "" });
        config::parse_on(&Machine::default(), "t.yaml", &text).unwrap_or_else(|m| panic!("{m}")).settings
    });
    let mut snapshot = crate::cli::replay::snapshot(settings).unwrap();
    snapshot.epoch = epoch;
    // The wan takes no partial checksums.
    snapshot.ports[1].tx_checksum_partial = false;
    snapshot
}

fn shard(shortcuts: bool, entries: usize) -> Shard<Ends> {
    let snapshot = Arc::new(snapshot(false, 1));
    let pool = PoolConfig { buffers: 256, frame_size: 4096 };
    let mut links = mesh(1, RingConfig { bytes: 1 << 20, pool }).unwrap();
    let config = ShardConfig {
        id: ShardId(0),
        shards: 1,
        entries,
        seed: [1, 2, 3, 4],
        neighbours: ViewConfig::default(),
        fragments: Default::default(),
    };
    let around = Surroundings {
        pool: Pool::new(pool).unwrap(),
        directory: Arc::new(Directory::new(16)),
        links: links.pop().unwrap(),
        upcall: Box::new(Nobody),
        counters: Counters::new(&Layout { ports: 4, workers: 1, helpers: 1 }),
        rules: RuleCounters::unobserved(snapshot.ruleset.slots()),
        watch: Ends::default(),
        snapshot,
    };
    let mut shard = Shard::new(&config, around);
    shard.shortcuts = shortcuts;
    shard
}

/// A packet of one of a few connections, or something else that happens.
#[derive(Clone, Debug)]
enum Step {
    Packet(Packet),
    /// The packet's connection opens in three segments.
    Open(Packet),
    /// It opens, says something, is closed, and opens again.
    Whole(Packet),
    Wait(u64),
    /// A neighbour's link address becomes another, or it is forgotten.
    Neighbour {
        port: u8,
        v6: bool,
        mac: Option<u8>,
    },
    Reload {
        raw: bool,
    },
}

#[derive(Clone, Debug)]
pub(in crate::shard) struct Packet {
    v6: bool,
    udp: bool,
    /// Which host, behind which port; and whether it is the one that opens.
    pub(in crate::shard) far: u8,
    client_port: u16,
    server_port: u16,
    /// How its addresses differ from those of the others: not at all, or by this.
    other: Other,
    pub(in crate::shard) reply: bool,
    flags: u8,
    /// Octets each side has sent, roughly; behind these, or around.
    progress: (u32, u32),
    payload: usize,
    ttl: u8,
    oddity: u8,
}

/// What is different about the ends of a packet. All else is that of another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Other {
    Nothing,
    /// One bit of the client's address, in this octet of those that a host may choose.
    Near(u8),
    /// The same of the server's.
    Far(u8),
    /// The ports are the other way round, the addresses are not.
    Ports,
}

impl Other {
    /// An octet of IPv6, from behind the router's prefix on, or the last one of IPv4.
    fn turn(self, near: &mut [u8], far: &mut [u8]) {
        let (address, octet) = match self {
            Other::Near(octet) => (near, octet),
            Other::Far(octet) => (far, octet),
            Other::Nothing | Other::Ports => return,
        };
        let place = if address.len() == 4 { 3 } else { 4 + usize::from(octet) % 12 };
        address[place] ^= 1 << (octet % 3 + 3);
    }
}

/// A packet of one of so many clients.
pub(in crate::shard) fn packet(clients: u16) -> impl Strategy<Value = Packet> {
    let other = prop_oneof![
        16 => Just(Other::Nothing),
        1 => (0u8..36).prop_map(Other::Near),
        1 => (0u8..36).prop_map(Other::Far),
        1 => Just(Other::Ports),
    ];
    // The last one is also that of a client.
    let server_port = prop::sample::select(vec![80, 443, 53, 21, 1111]);
    let place = (any::<bool>(), prop::bool::weighted(0.25), 1u8..4, 0..clients, server_port, other);
    let segment = (
        any::<bool>(),
        // SYN, SYN ACK, and mostly ACK; now and then anything.
        prop_oneof![2 => Just(2u8), 2 => Just(18), 40 => Just(16), 20 => Just(24), 1 => Just(17), 1 => Just(4), 1 => any::<u8>()],
        (0u32..3, prop_oneof![6 => Just(0u32), 1 => 1u32..3]),
        prop_oneof![3 => Just(0usize), 3 => Just(100), 1 => 0usize..2500],
    );
    let rest = (prop_oneof![12 => Just(64u8), 1 => 0u8..3], prop_oneof![6 => Just(0u8), 3 => any::<u8>()]);
    (place, segment, rest).prop_map(
        |((v6, udp, far, client_port, server_port, other), (reply, flags, progress, payload), (ttl, oddity))| Packet {
            v6,
            udp,
            far,
            client_port,
            server_port,
            other,
            reply,
            flags,
            progress,
            payload,
            ttl,
            oddity,
        },
    )
}

fn step(clients: u16) -> impl Strategy<Value = Step> {
    prop_oneof![
        160 => packet(clients).prop_map(Step::Packet),
        12 => packet(clients).prop_map(Step::Open),
        4 => packet(clients).prop_map(Step::Whole),
        6 => (0u64..700).prop_map(Step::Wait),
        2 => (0u8..4, any::<bool>(), prop::option::weighted(0.7, 0u8..3))
            .prop_map(|(port, v6, mac)| Step::Neighbour { port, v6, mac }),
        1 => prop::bool::weighted(0.25).prop_map(|raw| Step::Reload { raw }),
    ]
}

impl Packet {
    /// A datagram about which nothing is odd.
    const DATAGRAM: Packet = Packet {
        v6: false,
        udp: true,
        far: 1,
        client_port: 0,
        server_port: 53,
        other: Other::Nothing,
        reply: false,
        flags: 0,
        progress: (0, 0),
        payload: 9,
        ttl: 64,
        oddity: 0,
    };

    /// The packet in a buffer, as a port delivers it.
    pub(in crate::shard) fn received(&self, pool: &Pool, seq: u32) -> Frame {
        let (port, octets) = self.frame();
        let mut frame = pool.alloc_from(&octets).unwrap();
        frame.meta.ingress = if self.oddity == 0xf2 { PortId(3) } else { port };
        frame.meta.seq = seq;
        frame.meta.checksum = match self.oddity & 3 {
            0 | 1 => Checksum::Unknown,
            2 => Checksum::Verified,
            _ => Checksum::Partial { start: if self.v6 { 54 } else { 34 }, offset: if self.udp { 6 } else { 16 } },
        };
        // Of a device that verifies headers: these are right.
        frame.meta.header = if self.oddity & 64 == 0 { HeaderSum::Unknown } else { HeaderSum::Verified };
        if self.oddity & 0x38 == 0x38 && !self.udp {
            let header_len = if self.v6 { 74 } else { 54 };
            frame.meta.gso = Some(Gso { kind: GsoKind::Tcp4, ecn: false, size: 500, header_len });
        }
        frame
    }

    /// Numbers of its connection.
    pub(in crate::shard) fn flow(&self) -> impl Ord + use<> {
        (self.v6, self.udp, self.far, self.client_port, self.server_port, self.other)
    }

    /// The frame and the port it comes in by.
    fn frame(&self) -> (PortId, Vec<u8>) {
        let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let (near, far) = (1u8, self.far + 1);
        let from = if self.reply { far } else { near };
        let ip = if self.v6 {
            let host = |n: u8| [0xfd, 0, 0, n, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
            let (mut near, mut far) = (host(near), host(far));
            self.other.turn(&mut near, &mut far);
            let (from, to) = if self.reply { (far, near) } else { (near, far) };
            link.ipv6(from, to, self.ttl)
        } else {
            let (mut near, mut far) = ([10, 0, near, 2], [10, 0, far, 2]);
            self.other.turn(&mut near, &mut far);
            let (from, to) = if self.reply { (far, near) } else { (near, far) };
            link.ipv4(from, to, self.ttl)
        };
        let client = 1111 + self.client_port;
        let turned = self.reply != (self.other == Other::Ports);
        let (sport, dport) = if turned { (self.server_port, client) } else { (client, self.server_port) };
        let mut out = Vec::new();
        let payload = vec![b'x'; self.payload];
        if self.udp {
            ip.udp(sport, dport).write(&mut out, &payload).unwrap();
        } else {
            let (own, other) = if self.reply { (5000, 1000) } else { (1000, 5000) };
            let (a, b) = self.progress;
            let opening = self.flags & 2 != 0;
            let seq = own + if opening { 0 } else { 1 + a * 100 };
            let mut tcp = etherparse::TcpHeader::new(sport, dport, seq, 8192);
            tcp.acknowledgment_number = if self.flags & 16 != 0 { other + 1 + b * 100 } else { 0 };
            let flag = |bit: u8| self.flags & bit != 0;
            (tcp.fin, tcp.syn, tcp.rst, tcp.psh) = (flag(1), flag(2), flag(4), flag(8));
            (tcp.ack, tcp.urg, tcp.ece, tcp.cwr) = (flag(16), flag(32), flag(64), flag(128));
            use etherparse::TcpOptionElement as E;
            if opening && self.oddity & 8 != 0 {
                tcp.set_options(&[E::MaximumSegmentSize(1460), E::Noop, E::WindowScale(3)]).unwrap();
            } else if self.oddity & 4 != 0 {
                tcp.set_options(&[E::Noop, E::Noop, E::Timestamp(1, 2)]).unwrap();
            }
            ip.tcp_header(tcp).write(&mut out, &payload).unwrap();
        }
        if self.oddity == 0xf0 {
            out[0] |= 1;
        }
        if self.oddity == 0xf1 {
            let last = out.len() - 1;
            out[last] ^= 0x55;
        }
        if from == 3 {
            out.splice(12..12, [0x81, 0, 0, 100]);
        }
        out.resize(out.len().max(60), 0);
        (PortId(from - 1), out)
    }
}

struct Twin {
    shard: Shard<Ends>,
    sent: Vec<(PortId, Vec<u8>)>,
}

impl Twin {
    fn new(shortcuts: bool, entries: usize) -> Twin {
        Twin { shard: shard(shortcuts, entries), sent: Vec::new() }
    }

    fn run(&mut self, steps: &[Step]) {
        let mut now = Now::from_secs(1_700_000_000);
        let mut burst = Burst::with_limit(96);
        let (mut seq, mut epoch) = (0, 1);
        for step in steps {
            if !matches!(step, Step::Packet(_)) || burst.room() < 3 {
                self.process(&mut burst, now);
            }
            match step {
                Step::Packet(packet) => self.add(&mut burst, packet, &mut seq),
                Step::Open(packet) => {
                    for (flags, reply) in [(2, false), (18, true), (16, false)] {
                        let plain =
                            Packet { flags, reply, progress: (0, 0), payload: 0, ttl: 64, oddity: 0, ..*packet };
                        self.add(&mut burst, &plain, &mut seq);
                    }
                }
                Step::Whole(packet) => {
                    let segments = [
                        (2, false, (0, 0), 0),
                        (18, true, (0, 0), 0),
                        (16, false, (0, 0), 0),
                        (24, false, (0, 0), 100),
                        (24, true, (0, 1), 100),
                        (17, false, (1, 1), 99),
                        (17, true, (1, 2), 99),
                        (16, false, (2, 2), 0),
                        (2, false, (0, 0), 0),
                        (18, true, (0, 0), 0),
                    ];
                    for (flags, reply, progress, payload) in segments {
                        let packet =
                            Packet { flags, reply, progress, payload, ttl: 64, oddity: packet.oddity & 12, ..*packet };
                        self.add(&mut burst, &packet, &mut seq);
                        self.process(&mut burst, now);
                    }
                }
                Step::Wait(ms) => {
                    now = now.plus_millis(*ms);
                    self.shard.housekeep(now, 8);
                }
                Step::Neighbour { port, v6, mac } => {
                    let addr = crate::net::Addr::from(packet_host(*port + 1, *v6));
                    let family = if *v6 { Family::V6 } else { Family::V4 };
                    let key = NeighbourKey { port: PortId(*port), family, addr };
                    let event = match *mac {
                        Some(mac) => NeighbourEvent::Update { key, mac: MacAddr([2, 0, 0, 9, 9, mac]) },
                        None => NeighbourEvent::Forget { key },
                    };
                    self.shard.neighbour(&event, now);
                }
                Step::Reload { raw } => {
                    epoch += 1;
                    let snapshot = Arc::new(snapshot(*raw, epoch));
                    self.shard.install(Arc::clone(&snapshot), RuleCounters::unobserved(snapshot.ruleset.slots()));
                }
            }
        }
        self.process(&mut burst, now);
    }

    fn add(&mut self, burst: &mut Burst, packet: &Packet, seq: &mut u32) {
        let frame = packet.received(self.shard.pool(), *seq);
        *seq += 1;
        self.shard.counters.port_rx(frame.meta.ingress, 1, frame.len() as u64);
        burst.push(frame).unwrap();
    }

    fn process(&mut self, burst: &mut Burst, now: Now) {
        self.shard.process(burst, now);
        let sent = &mut self.sent;
        // The port takes some, and the rest at the next call.
        for most in [3, usize::MAX] {
            self.shard.flush(|port, queue| {
                let taken = queue.len().min(most);
                sent.extend(queue.as_slice().iter().take(taken).map(|frame| (port, frame.data().to_vec())));
                queue.consume(taken);
                None
            });
        }
    }

    fn lookups(&self) -> u64 {
        self.shard.counters.route_lookups(Family::V4, RouteResult::Hit)
    }

    fn entries(&self) -> Vec<String> {
        let table = self.shard.tracker().table();
        (0..table.touched() as u32).map(|slot| format!("{:?} {:?}", table.original(slot), table.entry(slot))).collect()
    }
}

fn packet_host(net: u8, v6: bool) -> std::net::IpAddr {
    if v6 { format!("fd00:{net}::2").parse().unwrap() } else { [10, 0, net, 2].into() }
}

#[test]
fn the_shortcut_changes_nothing() {
    let (packets, shortcuts) = (Cell::new(0), Cell::new(0));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let run = runner.run(&(prop::collection::vec(step(1), 100..600), any::<bool>()), |(steps, common)| {
        let (mut with, mut without) = (Twin::new(true, 64), Twin::new(false, 64));
        if common {
            with.shard.tracker.make_common();
            without.shard.tracker.make_common();
        }
        with.run(&steps);
        without.run(&steps);
        prop_assert_eq!(&with.shard.watch.0, &without.shard.watch.0);
        prop_assert_eq!(&with.sent, &without.sent);
        prop_assert_eq!(with.entries(), without.entries());
        prop_assert_eq!(&with.shard.counters, &without.shard.counters);
        prop_assert_eq!(format!("{:?}", with.shard.rules), format!("{:?}", without.shard.rules));
        for port in 0..4 {
            prop_assert!(with.shard.counters.balance(PortId(port)).is_even());
        }
        packets.set(packets.get() + with.shard.watch.0.len() as u64);
        shortcuts.set(shortcuts.get() + with.shard.taken);
        prop_assert_eq!(without.shard.taken, 0);
        Ok(())
    });
    run.unwrap();
    // Enough of them go either way.
    assert!(shortcuts.get() * 20 > packets.get(), "{} of {}", shortcuts.get(), packets.get());
}

/// The same where connections are many, new and soon over, and the table is full.
#[test]
fn openings_change_nothing() {
    let (packets, openings) = (Cell::new(0), Cell::new(0));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let steps = (prop::collection::vec(step(12), 100..500), 8usize..80, any::<bool>());
    let run = runner.run(&steps, |(steps, entries, common)| {
        let (mut with, mut without) = (Twin::new(true, entries), Twin::new(false, entries));
        if common {
            with.shard.tracker.make_common();
            without.shard.tracker.make_common();
        }
        with.run(&steps);
        without.run(&steps);
        prop_assert_eq!(&with.shard.watch.0, &without.shard.watch.0);
        prop_assert_eq!(&with.sent, &without.sent);
        prop_assert_eq!(with.entries(), without.entries());
        prop_assert_eq!(&with.shard.counters, &without.shard.counters);
        prop_assert_eq!(
            format!("{:?}", with.shard.tracker().counts()),
            format!("{:?}", without.shard.tracker().counts())
        );
        prop_assert_eq!(format!("{:?}", with.shard.rules), format!("{:?}", without.shard.rules));
        packets.set(packets.get() + with.shard.watch.0.len() as u64);
        openings.set(openings.get() + with.shard.opened);
        prop_assert_eq!(without.shard.opened, 0);
        Ok(())
    });
    run.unwrap();
    assert!(openings.get() * 10 > packets.get(), "{} of {}", openings.get(), packets.get());
}

/// What a device says of a header is believed, and what it does not say is seen to here.
#[test]
fn a_header_is_verified_once() {
    for (header, ends) in [(HeaderSum::Unknown, false), (HeaderSum::Verified, true)] {
        let mut twin = Twin::new(true, 64);
        let mut burst = Burst::with_limit(96);
        // Alone and among others, marked as the first and by the loop.
        for wrong in [true, false, true] {
            let mut frame = Packet::DATAGRAM.received(twin.shard.pool(), 0);
            frame.meta.header = header;
            frame.data_mut()[25] ^= u8::from(wrong);
            burst.push(frame).unwrap();
        }
        twin.process(&mut burst, Now::from_secs(1_700_000_000));
        assert_eq!(twin.sent.len(), if ends { 3 } else { 1 });
    }
}

/// Datagrams that nobody answers leave as the one before, if they are alike, and by either way.
#[test]
fn what_nobody_answers_leaves_alike() {
    let packet = |client_port, far, v6| Packet { v6, far, client_port, ..Packet::DATAGRAM };
    let neighbour = |mac| [false, true].map(|v6| Step::Neighbour { port: 1, v6, mac: Some(mac) });
    // Some of one kind, then of another; then a few are answered.
    let some = |reply| {
        [(1, false), (1, true), (3, false), (2, true)].into_iter().flat_map(move |(far, v6)| {
            (0..12).map(move |client| {
                let odd = Packet { ttl: 1, ..packet(client % 4, far, v6) };
                let answer = Packet { reply: true, ..packet(client % 4, far, v6) };
                Step::Packet(match client {
                    7 => odd,
                    9 if reply => answer,
                    _ => packet(client % 4, far, v6),
                })
            })
        })
    };
    let steps = neighbour(1).into_iter();
    let steps = steps.chain(some(false)).chain([Step::Wait(300)]).chain(some(false)).chain(neighbour(2));
    let steps = steps.chain(some(false)).chain([Step::Reload { raw: false }]).chain(some(false)).chain(some(true));
    let steps: Vec<Step> = steps.chain([Step::Wait(1900)]).chain(some(false)).collect();
    let [with, without] = [true, false].map(|shortcuts| {
        let mut twin = Twin::new(shortcuts, 64);
        twin.run(&steps);
        twin
    });
    assert_eq!(with.shard.watch.0, without.shard.watch.0);
    assert_eq!(with.sent, without.sent);
    assert_eq!(with.entries(), without.entries());
    assert_eq!(with.shard.counters, without.shard.counters);
    assert_eq!(format!("{:?}", with.shard.rules), format!("{:?}", without.shard.rules));
    assert!(with.shard.alike > 60, "{}", with.shard.alike);
}

/// A connection's first packet tells how later ones leave, so they ask for no route; and it does so by either way.
#[test]
fn a_connection_asks_for_two_routes() {
    let open = Packet { udp: false, client_port: 1, server_port: 443, flags: 2, payload: 0, ..Packet::DATAGRAM };
    for shortcuts in [true, false] {
        let mut twin = Twin::new(shortcuts, 64);
        // Whatever was learnt of neighbours is, and rules do not ask for ports.
        twin.run(&[Step::Reload { raw: false }, Step::Whole(Packet { udp: true, ..open.clone() })]);
        let before = twin.lookups();
        twin.run(&[Step::Reload { raw: false }, Step::Open(open.clone())]);
        assert_eq!(twin.lookups() - before, 2);
    }
}
