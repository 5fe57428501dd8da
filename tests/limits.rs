//! Limits on connections: of one source, of one zone; and zones themselves, on one worker and on several.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of it is test code")]

use etherparse::PacketBuilder;
use flowgate::cli::replay::session::{Deal, Options, Session};
use flowgate::cli::replay::snapshot;
use flowgate::config::parse;
use flowgate::net::{CtState, DropReason, Now, PortId};
use flowgate::shard::{End, Fate};
use std::sync::Arc;

const LEFT: PortId = PortId(0);
const RIGHT: PortId = PortId(1);
const THIRD: PortId = PortId(2);

struct Router(Session);

impl Router {
    fn new(conntrack: &str, workers: usize) -> Router {
        let text = format!(
            r#"version: 1
ports:
  left: {{ driver: memory, addresses: [10.0.1.1/24] }}
  right: {{ driver: memory, addresses: [10.0.2.1/24] }}
  third: {{ driver: memory, addresses: [10.0.3.1/24] }}
conntrack: {{ {conntrack} }}
"#
        );
        let (settings, mistakes) = parse("test.yaml", &text);
        let settings = settings.unwrap_or_else(|| panic!("{mistakes}"));
        let deal = if workers > 1 { Deal::Random(7) } else { Deal::Owner };
        let options = Options { workers, deal, max_entries: 1000, ..Options::default() };
        Router(Session::new(&Arc::new(snapshot(&settings).unwrap()), &options).unwrap())
    }

    fn at(&mut self, second: u64, port: PortId, frame: &[u8]) -> Fate {
        self.0.feed(port, frame, Now::from_secs(second)).fate
    }

    fn feed(&mut self, port: PortId, frame: &[u8]) -> Fate {
        self.at(1, port, frame)
    }
}

fn udp(src: [u8; 4], dst: [u8; 4], ports: [u16; 2]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0xff, 0])
        .ipv4(src, dst, 64)
        .udp(ports[0], ports[1])
        .write(&mut frame, b"12345678")
        .unwrap();
    frame
}

const HOST: [u8; 4] = [10, 0, 1, 9];
const OTHER: [u8; 4] = [10, 0, 1, 10];
const FAR: [u8; 4] = [10, 0, 2, 9];

#[test]
fn a_source_has_so_many_connections_over_all_workers() {
    for workers in [1, 4] {
        let mut router = Router::new("per_source: 3, timeouts: { udp: 5 }", workers);
        let ends: Vec<End> = (0..6).map(|n| router.feed(LEFT, &udp(HOST, FAR, [1000 + n, 53])).end).collect();
        let refused = End::Drop(DropReason::CtSourceLimit);
        assert_eq!(ends, [End::Accept, End::Accept, End::Accept, refused, refused, refused], "{workers} workers");
        // What it has goes on, in both directions, and another source is not concerned.
        assert_eq!(router.feed(LEFT, &udp(HOST, FAR, [1000, 53])).end, End::Accept);
        assert_eq!(router.feed(RIGHT, &udp(FAR, HOST, [53, 1001])).end, End::Accept);
        assert_eq!(router.feed(LEFT, &udp(OTHER, FAR, [1000, 53])).end, End::Accept);
        // Who is over makes room.
        router.0.advance(Now::from_secs(8));
        assert_eq!(router.at(8, LEFT, &udp(HOST, FAR, [2000, 53])).end, End::Accept);
    }
}

#[test]
fn a_zone_has_so_many_connections_over_all_workers() {
    for workers in [1, 4] {
        let zones = "zones: { left: { id: 5, limit: 2 }, right: { id: 5 } }";
        let mut router = Router::new(zones, workers);
        assert_eq!(router.feed(LEFT, &udp(HOST, FAR, [1000, 53])).end, End::Accept);
        assert_eq!(router.feed(RIGHT, &udp(FAR, HOST, [53, 1001])).end, End::Accept);
        let refused = router.feed(LEFT, &udp(OTHER, FAR, [1002, 53]));
        assert_eq!((refused.end, refused.state), (End::Drop(DropReason::CtZoneLimit), Some(CtState::New)));
        assert_eq!(router.feed(THIRD, &udp([10, 0, 3, 9], FAR, [1002, 53])).end, End::Accept, "the default zone");
    }
}

#[test]
fn equal_tuples_of_different_zones_are_different_connections() {
    for workers in [1, 2, 8] {
        let mut router = Router::new("zones: { left: 5, third: 6 }", workers);
        let packet = udp(HOST, FAR, [1000, 53]);
        for port in [LEFT, THIRD, RIGHT] {
            assert_eq!(router.feed(port, &packet).state, Some(CtState::New), "{port:?}, {workers} workers");
        }
        assert_eq!(router.0.connections(), 3);
        // An answer belongs to the connection of its own zone.
        let answer = udp(FAR, HOST, [53, 1000]);
        assert_eq!(router.feed(THIRD, &answer).state, Some(CtState::Established));
        assert_eq!(router.feed(THIRD, &packet).state, Some(CtState::Established));
        assert_eq!(router.feed(LEFT, &packet).state, Some(CtState::New));
        // Also where what was decided is remembered.
        for _ in 0..4 {
            assert_eq!(router.feed(THIRD, &answer).state, Some(CtState::Established));
            assert_eq!(router.feed(THIRD, &packet).state, Some(CtState::Established));
            assert_eq!(router.feed(LEFT, &packet).state, Some(CtState::New));
        }
        assert_eq!(router.feed(LEFT, &answer).state, Some(CtState::Established));
        assert_eq!(router.feed(LEFT, &packet).state, Some(CtState::Established));
        assert_eq!(router.0.connections(), 3);
    }
}

#[test]
fn a_connection_that_would_get_anothers_answers_is_refused() {
    let both = "{ id: 5, direction: original }, third: { id: 6, direction: original }";
    let mut router = Router::new(&format!("zones: {{ left: {both} }}"), 2);
    let packet = udp(HOST, FAR, [1000, 53]);
    assert_eq!(router.feed(LEFT, &packet).end, End::Accept);
    let clash = router.feed(THIRD, &packet);
    assert_eq!((clash.state, clash.end), (Some(CtState::New), End::Drop(DropReason::CtClash)));
    assert_eq!(router.feed(RIGHT, &udp(FAR, HOST, [53, 1000])).state, Some(CtState::Established));
    assert_eq!(router.feed(LEFT, &packet).state, Some(CtState::Established));
}

#[test]
fn an_expired_connection_of_another_zone_is_in_nobodys_way() {
    let both = "{ id: 5, direction: original }, third: { id: 6, direction: original }";
    let mut router = Router::new(&format!("zones: {{ left: {both} }}, timeouts: {{ udp: 2 }}"), 1);
    let packet = udp(HOST, FAR, [1000, 53]);
    assert_eq!(router.at(1, LEFT, &packet).end, End::Accept);
    assert_eq!(router.at(2, THIRD, &packet).end, End::Drop(DropReason::CtClash));
    assert_eq!(router.at(4, THIRD, &packet).end, End::Accept);
}

#[test]
fn what_cannot_be_a_zone_is_refused_with_its_place() {
    for (zones, complaint) in [
        ("zones: { lef: 5 }", "unknown port `lef`"),
        ("zones: { left: 0 }", "out of range"),
        ("zones: { left: { direction: original } }", "has no `id`"),
        ("zones: { left: { id: 5, direction: up } }", "direction"),
        ("zones: { left: { id: 5, limit: 1 }, right: { id: 5, limit: 2 } }", "two limits"),
        ("per_source: 0", "out of range"),
    ] {
        let text = format!(
            "version: 1\nports:\n  left: {{ driver: memory }}\n  right: {{ driver: memory }}\nconntrack: {{ {zones} }}\n"
        );
        let (settings, mistakes) = parse("test.yaml", &text);
        let mistakes = mistakes.to_string();
        assert!(settings.is_none() && mistakes.contains(complaint) && mistakes.contains("test.yaml:5"), "{mistakes}");
    }
}
