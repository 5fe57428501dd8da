//! Those departures from Linux (src/conntrack/departures.md) that only a whole shard shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of it is test code")]

use etherparse::PacketBuilder;
use flowgate::cli::replay::session::{Deal, Options, Session};
use flowgate::cli::replay::snapshot;
use flowgate::config::parse;
use flowgate::net::{CtState, DropReason, InvalidReason, Now, PortId};
use flowgate::shard::{End, Fate};
use std::sync::Arc;

const LAN: PortId = PortId(0);
const WAN: PortId = PortId(1);

/// Link addresses of a host, and of the router: a port without a device has the one its number gives.
const HOST: [u8; 6] = [2, 0, 0, 0, 0, 9];
const ROUTER: [u8; 6] = [2, 0, 0, 0, 0xff, 0];

const PORTS: &str = r#"version: 1
ports:
  lan: { driver: memory, addresses: [10.0.1.1/24, "2001:db8:1::1/64"] }
  wan: { driver: memory, addresses: [10.0.2.1/24, "2001:db8:2::1/64"] }
"#;

struct Router(Session);

impl Router {
    fn new(more: &str, options: Options) -> Router {
        let (settings, mistakes) = parse("test.yaml", &format!("{PORTS}{more}"));
        let settings = settings.unwrap_or_else(|| panic!("{mistakes}"));
        Router(Session::new(&Arc::new(snapshot(&settings).unwrap()), &options).unwrap())
    }

    fn feed(&mut self, port: PortId, frame: &[u8]) -> Fate {
        self.0.feed(port, frame, Now::from_secs(1)).fate
    }

    fn sent(&self) -> Vec<(PortId, Vec<u8>)> {
        self.0.sent().map(|(port, octets)| (port, octets.to_vec())).collect()
    }
}

fn entries(workers: usize, max_entries: usize) -> Options {
    Options { workers, max_entries, ..Options::default() }
}

/// A UDP datagram from the lan; the source port tells flows apart.
fn udp(source_port: u16, to: [u8; 4], ttl: u8) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(HOST, ROUTER)
        .ipv4([10, 0, 1, 9], to, ttl)
        .udp(source_port, 53)
        .write(&mut frame, b"12345678")
        .unwrap();
    frame
}

const FAR: [u8; 4] = [10, 0, 2, 9];

/// A TCP segment of an FTP control connection, from its client or its server.
fn control(from_client: bool, flags: &str, seq: u32, ack: u32, text: &[u8]) -> (PortId, Vec<u8>) {
    let (port, addresses, ports) =
        if from_client { (LAN, [[10, 0, 1, 9], FAR], [4000, 21]) } else { (WAN, [FAR, [10, 0, 1, 9]], [21, 4000]) };
    (port, segment(port, addresses, ports, flags, [seq, ack], text))
}

fn segment(
    port: PortId,
    [src, dst]: [[u8; 4]; 2],
    [sport, dport]: [u16; 2],
    flags: &str,
    [seq, ack]: [u32; 2],
    text: &[u8],
) -> Vec<u8> {
    let router = [2, 0, 0, 0, 0xff, port.0];
    let mut tcp = PacketBuilder::ethernet2(HOST, router).ipv4(src, dst, 64).tcp(sport, dport, seq, 8192);
    for flag in flags.chars() {
        tcp = match flag {
            'S' => tcp.syn(),
            'A' => tcp.ack(ack),
            'R' => tcp.rst(),
            other => panic!("{other}"),
        };
    }
    let mut frame = Vec::new();
    tcp.write(&mut frame, text).unwrap();
    frame
}

#[test]
fn an_expectation_ends_with_the_timer_of_its_master() {
    let announced = [
        control(true, "S", 1000, 0, b""),
        control(false, "SA", 5000, 1001, b""),
        control(true, "A", 1001, 5001, b""),
        control(true, "A", 1001, 5001, b"USER x\r\n"),
        control(true, "A", 1009, 5001, b"PORT 10,0,1,9,4,210\r\n"),
    ];
    let (_, reset) = control(true, "R", 1030, 0, b"");
    let data = segment(WAN, [FAR, [10, 0, 1, 9]], [20, 1234], "S", [1, 0], b"");
    for (closed, expected) in [(false, CtState::Related), (true, CtState::New)] {
        let more = "helpers: { ftp: { type: ftp } }\nconntrack: { timeouts: { tcp_close: 1 } }\n";
        let mut router = Router::new(more, entries(1, 100));
        for (port, frame) in &announced {
            assert!(matches!(router.feed(*port, frame).state, Some(CtState::New | CtState::Established)));
        }
        if closed {
            assert_eq!(router.feed(LAN, &reset).protocol_state, Some("CLOSE"));
        }
        router.0.advance(Now::from_secs(3));
        assert_eq!(router.0.feed(WAN, &data, Now::from_secs(3)).fate.state, Some(expected));
    }
}

/// Payload length 0 is for jumbograms (RFC 2675), which no frame here can hold.
#[test]
fn a_payload_length_of_0_without_a_jumbogram_is_a_header_error() {
    let mut frame = [&ROUTER[..], &HOST, &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 0, 64]].concat();
    for address in ["2001:db8:1::9", "2001:db8:2::9"] {
        frame.extend(address.parse::<std::net::Ipv6Addr>().unwrap().octets());
    }
    frame.extend([17, 0, 1, 4, 0, 0, 0, 0, 0, 1, 0, 2, 0, 8, 0, 0]);
    let fate = Router::new("", entries(1, 10)).feed(LAN, &frame);
    assert_eq!(fate.end, End::Drop(DropReason::Ipv6Header));
}

#[test]
fn a_full_table_drops_before_any_rule_of_forward() {
    let mut router = Router::new("conntrack: { on_full: drop }\n", entries(1, 1));
    assert_eq!(router.feed(LAN, &udp(1000, FAR, 64)).end, End::Accept);
    let refused = router.feed(LAN, &udp(1001, FAR, 64));
    assert_eq!(refused.end, End::Drop(DropReason::CtTableFull));
    assert_eq!((refused.state, refused.invalid), (Some(CtState::Invalid), Some(InvalidReason::TableFull)));
    assert_eq!(refused.rule, None);
    assert_eq!(router.feed(LAN, &udp(1000, FAR, 64)).end, End::Accept, "a known connection goes on");
}

#[test]
fn each_worker_has_its_share_of_the_table() {
    let mut wide = Router::new("", entries(4, 1 << 12));
    let mut owned = |port: &u16| wide.0.feed(LAN, &udp(*port, FAR, 64), Now::from_secs(1)).worker.0 == 2;
    let ports: Vec<u16> = (1000..2000).filter(|port| owned(port)).take(4).collect();
    let accepted = |workers| {
        let mut router = Router::new("conntrack: { on_full: drop }\n", entries(workers, 4));
        ports.iter().filter(|port| router.feed(LAN, &udp(**port, FAR, 64)).end == End::Accept).count()
    };
    assert_eq!(ports.len(), 4);
    assert_eq!((accepted(1), accepted(4)), (4, 1));
}

/// An IPv4 fragment of a datagram of 24 octets of UDP.
fn fragment(offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
    let mut frame = [&ROUTER[..], &HOST[..], &[8, 0]].concat();
    let mut ip =
        etherparse::Ipv4Header::new(data.len() as u16, 64, etherparse::IpNumber::UDP, [10, 0, 1, 9], FAR).unwrap();
    ip.identification = 77;
    ip.dont_fragment = false;
    ip.more_fragments = more;
    ip.fragment_offset = etherparse::IpFragOffset::try_new(offset / 8).unwrap();
    ip.header_checksum = ip.calc_header_checksum();
    ip.write(&mut frame).unwrap();
    frame.extend_from_slice(data);
    frame
}

#[test]
fn fragments_leave_as_they_came_and_in_that_order() {
    let mut router = Router::new("", Options::default());
    let mut datagram = vec![0x03, 0xe8, 0, 53, 0, 24, 0, 0];
    datagram.extend(1..=16);
    let (first, last) = (fragment(0, true, &datagram[..8]), fragment(8, false, &datagram[8..]));
    let held = router.feed(LAN, &last);
    assert_eq!((held.end, held.state), (End::Held, None));
    let judged = router.feed(LAN, &first);
    assert_eq!((judged.end, judged.state), (End::Accept, Some(CtState::New)));
    let sent = router.sent();
    assert_eq!(sent.len(), 2);
    for ((port, octets), came) in sent.iter().zip([last, first]) {
        assert_eq!(*port, WAN);
        // All but link addresses, TTL and header checksum.
        assert_eq!((&octets[14..22], &octets[26..]), (&came[14..22], &came[26..]));
        assert_eq!(octets[22], 63);
    }
}

/// A neighbour solicitation for the router's address on the lan.
fn solicitation() -> Vec<u8> {
    let target: std::net::Ipv6Addr = "2001:db8:1::1".parse().unwrap();
    let source: std::net::Ipv6Addr = "2001:db8:1::9".parse().unwrap();
    let mut message = vec![0; 4];
    message.extend(target.octets());
    message.extend([1, 1]);
    message.extend(HOST);
    let mut frame = Vec::new();
    let kind = etherparse::Icmpv6Type::Unknown { type_u8: 135, code_u8: 0, bytes5to8: [0; 4] };
    PacketBuilder::ethernet2(HOST, ROUTER)
        .ipv6(source.octets(), target.octets(), 255)
        .icmpv6(kind)
        .write(&mut frame, &message[4..])
        .unwrap();
    frame
}

#[test]
fn neighbour_discovery_does_not_ask_the_input_chain() {
    let closed = "chains: { input: { policy: drop } }\n";
    let answered = Router::new(closed, Options::default()).feed(LAN, &solicitation());
    assert_eq!((answered.end, answered.state), (End::Punt, Some(CtState::Untracked)));
    // The way to refuse it is the hook before.
    let rule = "{ id: no-nd, l4proto: icmpv6, verdict: drop }";
    let early = format!("chains: {{ prerouting: {{ rules: [{rule}] }} }}\n");
    let refused = Router::new(&early, Options::default()).feed(LAN, &solicitation());
    assert_eq!(refused.end, End::Drop(DropReason::PolicyRule));
}

#[test]
fn each_worker_has_an_error_rate_of_its_own() {
    let answers = |workers, deal| {
        let options = Options { workers, deal, ..Options::default() };
        let mut router = Router::new("icmp: { msgs_per_sec: 1, msgs_burst: 1 }\n", options);
        let expired = (0..64).map(|n| {
            assert_eq!(router.feed(LAN, &udp(1000 + n, FAR, 1)).end, End::Drop(DropReason::TtlExpired));
            router.sent().len()
        });
        expired.sum::<usize>()
    };
    assert_eq!(answers(1, Deal::Owner), 1);
    assert_eq!(answers(4, Deal::Owner), 4);
    // The worker that owns the packet answers, whoever received it.
    assert_eq!(answers(4, Deal::Random(7)), 4);
}

#[test]
fn link_local_ipv4_is_not_forwarded() {
    let mut frame = udp(1000, FAR, 64);
    frame[26..30].copy_from_slice(&[169, 254, 1, 9]);
    let mut ip = etherparse::Ipv4Header::from_slice(&frame[14..]).unwrap().0;
    ip.header_checksum = ip.calc_header_checksum();
    frame[24..26].copy_from_slice(&ip.header_checksum.to_be_bytes());
    frame[40..42].copy_from_slice(&[0, 0]);
    assert_eq!(Router::new("", Options::default()).feed(LAN, &frame).end, End::Drop(DropReason::MartianSource));
}

#[test]
fn no_redirect_is_sent() {
    let routes = "routes: [{ to: 10.9.0.0/16, via: 10.0.1.77 }]\n";
    let mut router = Router::new(routes, Options::default());
    assert_eq!(router.feed(LAN, &udp(1000, [10, 9, 0, 1], 64)).end, End::Accept);
    let sent = router.sent();
    assert_eq!((sent.len(), sent[0].0), (1, LAN));
}

#[test]
fn the_routers_own_packets_pass_no_chain() {
    let rules = "{ id: all, l4proto: [tcp, udp, icmp], ct_state: new, verdict: accept }";
    let closed = format!("chains: {{ forward: {{ policy: drop }}, input: {{ policy: drop, rules: [{rules}] }} }}\n");
    let mut router = Router::new(&closed, Options::default());
    let mut echo = Vec::new();
    PacketBuilder::ethernet2(HOST, ROUTER)
        .ipv4([10, 0, 1, 9], [10, 0, 1, 1], 64)
        .icmpv4_echo_request(7, 1)
        .write(&mut echo, b"12345678")
        .unwrap();
    assert_eq!(router.feed(LAN, &echo).end, End::Punt);
    assert_eq!(router.sent().len(), 1);
    // Its answer was the connection's reply all the same.
    let again = router.feed(LAN, &echo);
    assert_eq!((again.state, again.end), (Some(CtState::Established), End::Drop(DropReason::PolicyDefault)));
}
