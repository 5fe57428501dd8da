//! The generator against itself: two of its ports joined by a cable, with and without a bad line between them.

use super::Plan;
use super::plan::{Close, Distribution, Flows, Kind, Limit, PortPlan, Rate, Space, Stream, Tcp, imix};
use super::session::{Outcome, Session, SessionError};
use super::template::least_size;
use super::worker::Trial;
use crate::driver::OpenPort;
use crate::driver::memory::{MemoryConfig, cable};
use crate::driver::wrap::fault::{Done, Faults, wrap};
use crate::net::{Addr, Family, PortId, proto};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

pub(super) fn udp(family: Family, flows: u32) -> Stream {
    let (src, dst) = match family {
        Family::V4 => (addr("10.1.0.1"), addr("10.2.0.1")),
        Family::V6 => (addr("fd00:1::1"), addr("fd00:2::1")),
    };
    Stream {
        name: "main".to_owned(),
        from: 0,
        to: 1,
        family,
        kind: Kind::Udp { replies: false },
        space: Space { family, proto: proto::UDP, src: (src, 1), dst: (dst, 1), sport: (1024, 60_000), dport: (9, 1) },
        flows: Flows { count: flows, distribution: Distribution::Sequential },
        prime: false,
        sizes: vec![128],
        rate: Rate::Pps(50_000.0),
        invalid: 0.0,
        unsolicited: 0.0,
    }
}

pub(super) fn plan(streams: Vec<Stream>, packets: u64) -> Plan {
    let port = |name: &str, v4: &str, v6: &str| PortPlan {
        name: name.to_owned(),
        addresses: vec![(addr(v4), Family::V4), (addr(v6), Family::V6)],
        ..PortPlan::default()
    };
    Plan {
        ports: vec![port("left", "10.1.0.1", "fd00:1::1"), port("right", "10.2.0.1", "fd00:2::1")],
        streams,
        limit: Limit { time: Duration::from_secs(20), packets: Some(packets) },
        drain: Duration::from_millis(250),
        seed: 42,
        owner: |_, _| 0,
    }
}

pub(super) fn trial(plan: &Plan) -> Trial {
    Trial { streams: plan.streams.clone().into(), limit: plan.limit, drain: plan.drain, seed: plan.seed }
}

/// Two ports and the cable between them.
fn ports(queues: usize, ring: usize) -> Vec<OpenPort> {
    let config = |id| MemoryConfig { queues, ring, mtu: 9000, ..MemoryConfig::new(PortId(id)) };
    let (a, b) = cable(config(0), config(1));
    vec![a, b]
}

fn run_on(ports: Vec<OpenPort>, plan: &Plan, workers: usize) -> Outcome {
    let session = Session::open(ports, plan, workers, &[]).unwrap();
    session.resolve().unwrap();
    session.run(&trial(plan), &mut |_| {}).unwrap()
}

/// A stream over a line that has faults from the first stream packet on.
fn with_faults(stream: Stream, packets: u64, faults: Faults) -> (Outcome, Arc<Done>) {
    let mut ports = ports(1, 4096);
    let (bad, done) = wrap(ports.pop().unwrap(), faults);
    ports.push(bad);
    (run_on(ports, &plan(vec![stream], packets), 1), done)
}

#[test]
fn everything_arrives_once_and_whole() {
    for family in Family::ALL {
        for workers in [1, 2] {
            let mut stream = udp(family, 100);
            stream.sizes = imix(least_size(family, proto::UDP) as u16);
            let outcome = run_on(ports(workers, 4096), &plan(vec![stream], 10_000), workers);
            let counts = outcome.total();
            assert_eq!((counts.tx_packets, counts.rx_packets, counts.lost()), (10_000, 10_000, 0), "{counts:?}");
            assert_eq!(counts.tx_octets, counts.rx_octets);
            let odd = counts.duplicate + counts.reordered + counts.corrupt + counts.misdirected + counts.altered;
            assert_eq!(odd, 0, "{counts:?}");
            let foreign: u64 = outcome.ports.iter().map(|(_, counts)| counts.foreign).sum();
            assert_eq!(foreign, 0, "{:?}", outcome.ports);
        }
    }
}

#[test]
fn times_are_measured_where_there_is_room_for_them() {
    let measured = |family, size| {
        let outcome = run_on(ports(1, 4096), &plan(vec![Stream { sizes: vec![size], ..udp(family, 3) }], 500), 1);
        assert_eq!(outcome.total().rx_packets, 500);
        outcome.latency().map(|latency| latency.count)
    };
    assert_eq!(measured(Family::V4, 64), Some(500));
    assert_eq!(measured(Family::V6, 84), Some(500));
    assert_eq!(measured(Family::V6, 83), None);
}

#[test]
fn losses_are_seen_exactly() {
    let (outcome, done) = with_faults(udp(Family::V4, 10), 10_000, Faults { lose: 7, ..Faults::default() });
    let counts = outcome.total();
    let lost = done.lost.load(Ordering::Relaxed);
    assert!(lost > 1400);
    assert_eq!((counts.lost(), counts.rx_packets), (lost, 10_000 - lost), "{counts:?}");
    assert_eq!(counts.duplicate + counts.reordered + counts.corrupt, 0, "{counts:?}");
    assert!((counts.loss() - lost as f64 / 10_000.0).abs() < 1e-12);
}

#[test]
fn what_arrived_within_the_drain_is_not_lost_when_nobody_had_time_for_it() {
    let stream = Stream { rate: Rate::Max, kind: Kind::Udp { replies: true }, ..udp(Family::V4, 10) };
    let mut plan = plan(vec![stream], 1000);
    plan.drain = Duration::ZERO;
    let counts = run_on(ports(1, 4096), &plan, 1).total();
    assert_eq!((counts.rx_packets, counts.reply_tx, counts.reply_rx), (1000, 1000, 1000), "{counts:?}");
}

#[test]
fn duplicates_are_seen_exactly() {
    let (outcome, done) = with_faults(udp(Family::V4, 10), 10_000, Faults { duplicate: 11, ..Faults::default() });
    let counts = outcome.total();
    let duplicated = done.duplicated.load(Ordering::Relaxed);
    assert!(duplicated > 900);
    assert_eq!((counts.duplicate, counts.rx_packets, counts.lost()), (duplicated, 10_000, 0), "{counts:?}");
    assert_eq!(counts.reordered + counts.corrupt, 0, "{counts:?}");
}

#[test]
fn reordering_is_seen_exactly_within_a_flow_and_not_between_flows() {
    let faults = Faults { reorder: 13, ..Faults::default() };
    // Overtaking needs packets that are close to one another.
    let fast = |flows| Stream { rate: Rate::Max, ..udp(Family::V4, flows) };
    let (outcome, done) = with_faults(fast(1), 10_000, faults);
    let (counts, reordered) = (outcome.total(), done.reordered.load(Ordering::Relaxed));
    assert!(reordered > 500);
    assert_eq!((counts.reordered, counts.rx_packets, counts.lost()), (reordered, 10_000, 0), "{counts:?}");
    assert_eq!(counts.duplicate + counts.corrupt + counts.too_late, 0, "{counts:?}");
    let (outcome, done) = with_faults(fast(10), 10_000, faults);
    assert!(done.reordered.load(Ordering::Relaxed) > 500);
    assert_eq!(outcome.total().reordered, 0);
}

#[test]
fn damage_is_seen_exactly_wherever_it_is() {
    for size in [64, 128, 1518] {
        let stream = Stream { sizes: vec![size], ..udp(Family::V4, 10) };
        let (outcome, done) = with_faults(stream, 10_000, Faults { corrupt: 3, ..Faults::default() });
        let (counts, corrupted) = (outcome.total(), done.corrupted.load(Ordering::Relaxed));
        assert!(corrupted > 3000);
        assert_eq!((counts.corrupt, counts.rx_packets), (corrupted, 10_000 - corrupted), "{size}: {counts:?}");
        assert_eq!(counts.lost() + counts.duplicate + counts.reordered + counts.misdirected, 0, "{counts:?}");
    }
}

#[test]
fn damage_over_ipv6_is_seen_but_in_the_hop_limit() {
    let (outcome, done) = with_faults(udp(Family::V6, 10), 10_000, Faults { corrupt: 3, ..Faults::default() });
    let (counts, corrupted) = (outcome.total(), done.corrupted.load(Ordering::Relaxed));
    // Eight of the 896 bits behind the link addresses: nothing protects them.
    let unseen = corrupted - counts.corrupt;
    assert!(unseen <= corrupted * 8 / 896 + 8, "{unseen} of {corrupted}");
    assert_eq!(counts.rx_packets, 10_000 - counts.corrupt, "{counts:?}");
}

#[test]
fn all_faults_at_once() {
    let faults = Faults { lose: 7, duplicate: 11, reorder: 13, corrupt: 17, spare: 100 };
    // As fast as can be, for overtaking needs packets that are close to one another.
    let (outcome, done) = with_faults(Stream { rate: Rate::Max, ..udp(Family::V4, 1) }, 20_000, faults);
    let counts = outcome.total();
    let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    assert_eq!((counts.lost(), counts.duplicate), (of(&done.lost), of(&done.duplicated)), "{counts:?}");
    assert_eq!(counts.corrupt, of(&done.corrupted), "{counts:?}");
    // A packet that was overtaken by a damaged one alone came in order.
    let reordered = of(&done.reordered);
    assert!(
        counts.reordered <= reordered && counts.reordered + reordered / 10 + 8 >= reordered,
        "{counts:?} {reordered}"
    );
}

#[test]
fn replies_come_back_and_are_checked_too() {
    for family in Family::ALL {
        let stream = Stream { kind: Kind::Udp { replies: true }, ..udp(family, 50) };
        let outcome = run_on(ports(1, 4096), &plan(vec![stream.clone()], 5000), 1);
        let counts = outcome.total();
        assert_eq!((counts.rx_packets, counts.reply_tx, counts.reply_rx), (5000, 5000, 5000), "{counts:?}");
        assert_eq!(outcome.latency().unwrap().count, 5000);
        // The line back loses some.
        let mut ports = ports(1, 4096);
        let right = ports.pop().unwrap();
        let (left, done) = wrap(ports.pop().unwrap(), Faults { lose: 9, ..Faults::default() });
        let counts = run_on(vec![left, right], &plan(vec![stream], 5000), 1).total();
        let lost = done.lost.load(Ordering::Relaxed);
        assert_eq!((counts.lost(), counts.reply_tx, counts.reply_lost()), (0, 5000, lost), "{counts:?}");
        assert!((counts.loss() - lost as f64 / 10_000.0).abs() < 1e-12);
    }
}

#[test]
fn spoilt_and_unsolicited_packets_have_their_shares_and_are_told_apart() {
    for family in Family::ALL {
        let stream = Stream { invalid: 0.1, unsolicited: 0.25, ..udp(family, 50) };
        let counts = run_on(ports(1, 4096), &plan(vec![stream], 10_000), 1).total();
        assert_eq!((counts.invalid_tx, counts.tx_packets), (1000, 9000), "{counts:?}");
        assert_eq!((counts.unsolicited_tx, counts.lost(), counts.corrupt), (2500, 0, 0), "{counts:?}");
        // A cable lets them pass.
        assert_eq!((counts.invalid_rx, counts.unsolicited_rx), (1000, 2500), "{counts:?}");
    }
}

#[test]
fn what_the_port_has_no_room_for_is_not_called_sent() {
    let stream = Stream { rate: Rate::Max, ..udp(Family::V4, 1) };
    let mut plan = plan(vec![stream], 1);
    plan.limit = Limit { time: Duration::from_millis(300), packets: None };
    let outcome = run_on(ports(1, 16), &plan, 1);
    let counts = outcome.total();
    assert!(outcome.ports[0].1.full > 0, "{:?}", outcome.ports);
    assert!(counts.tx_packets > 1000 && counts.lost() == 0 && counts.reordered == 0, "{counts:?}");
}

#[test]
fn frames_too_large_for_the_port_are_refused_at_the_start_and_counted_later() {
    let stream = Stream { sizes: vec![9019], ..udp(Family::V4, 1) };
    let refused = Session::open(ports(1, 64), &plan(vec![stream], 1), 1, &[]).err().unwrap().to_string();
    assert_eq!(refused, "stream main: frames of 9019 octets do not fit port left, whose mtu is 9000");
    // A device may refuse what its mtu promises.
    let config = |id, mtu| MemoryConfig { mtu, ..MemoryConfig::new(PortId(id)) };
    let (mut a, b) = cable(config(0, 1000), config(1, 1500));
    a.info.mtu = 1500;
    let stream = Stream { sizes: vec![64, 1518], ..udp(Family::V4, 1) };
    let counts = run_on(vec![a, b], &plan(vec![stream], 100), 1).total();
    assert_eq!((counts.tx_packets, counts.tx_refused, counts.rx_packets, counts.lost()), (50, 50, 50, 0), "{counts:?}");
}

#[test]
fn tags_are_on_the_line_and_nowhere_else() {
    for family in Family::ALL {
        for (vlan, front) in [(vec![7], 4), (vec![100, 20], 8)] {
            let stream = Stream { kind: Kind::Udp { replies: true }, rate: Rate::Max, ..udp(family, 50) };
            let mut plan = plan(vec![stream, tcp(family, SHORT)], 1000);
            plan.ports.iter_mut().for_each(|port| port.vlan.clone_from(&vlan));
            // A small ring, so that packets wait for room and are marked anew.
            let outcome = run_on(ports(1, 128), &plan, 1);
            let (udp, of) = (outcome.streams[0].counts, &outcome.streams[1].tcp.as_ref().unwrap().0);
            assert_eq!((udp.rx_packets, udp.reply_rx, udp.corrupt, udp.misdirected), (1000, 1000, 0, 0), "{udp:?}");
            assert_eq!((udp.tx_octets, udp.rx_octets), (1000 * (128 + front), 1000 * (128 + front)));
            assert_eq!((of.completed, of.octets), (1000, 1000 * 3100), "{of:?}");
            let foreign: u64 = outcome.ports.iter().map(|(_, counts)| counts.foreign).sum();
            assert_eq!(foreign, 0, "{:?}", outcome.ports);
        }
    }
}

#[test]
fn what_arrives_with_other_tags_is_misdirected() {
    let to = super::plan::Gateway::Mac(crate::net::MacAddr([2, 0, 0, 0, 0, 9]));
    for (left, right) in [(vec![], vec![7]), (vec![7], vec![]), (vec![7], vec![8]), (vec![7, 8], vec![7])] {
        let mut plan = plan(vec![udp(Family::V4, 4)], 100);
        plan.ports[0].gateways[0] = Some(to);
        plan.ports[1].gateways[0] = Some(to);
        (plan.ports[0].vlan, plan.ports[1].vlan) = (left, right);
        let counts = run_on(ports(1, 4096), &plan, 1).total();
        assert_eq!((counts.tx_packets, counts.rx_packets, counts.misdirected), (100, 0, 100), "{counts:?}");
    }
}

#[test]
fn a_rate_is_kept() {
    let mut plan = plan(vec![Stream { rate: Rate::Pps(20_000.0), ..udp(Family::V4, 8) }], 1);
    plan.limit = Limit { time: Duration::from_millis(500), packets: None };
    let counts = run_on(ports(1, 4096), &plan, 1).total();
    // What a busy machine kept from being sent is told.
    assert!((counts.tx_packets + counts.tx_missed).abs_diff(10_000) <= 2, "{counts:?}");
    assert_eq!(counts.lost(), 0);
}

#[test]
fn nobody_at_the_other_end_is_an_error_with_a_name() {
    let mut plan = plan(vec![udp(Family::V4, 1)], 1);
    plan.ports[0].gateways[0] = Some(super::plan::Gateway::Ip(addr("10.9.9.9")));
    let session = Session::open(ports(1, 64), &plan, 1, &[]).unwrap();
    let error = session.resolve().unwrap_err();
    assert_eq!(error.to_string(), "no answer from 10.9.9.9 on port left");
    assert!(matches!(error, SessionError::Unanswered(_)));
}

#[test]
fn a_stop_ends_it_with_the_results_so_far() {
    let mut plan = plan(vec![udp(Family::V4, 1)], 1);
    plan.limit.packets = None;
    let session = Session::open(ports(1, 4096), &plan, 1, &[]).unwrap();
    session.resolve().unwrap();
    let stop = session.stopper();
    let outcome = session.run(&trial(&plan), &mut |progress| {
        if progress.packets.1 > 1000 {
            stop.stop();
        }
    });
    let outcome = outcome.unwrap();
    let counts = outcome.total();
    assert!(outcome.stopped && outcome.seconds < 15.0 && counts.rx_packets > 1000 && counts.lost() == 0, "{counts:?}");
    assert!(matches!(session.run(&trial(&plan), &mut |_| {}), Err(SessionError::Stopped)));
}

#[test]
fn a_former_trials_packets_are_nobodys() {
    let plan = plan(vec![udp(Family::V4, 1)], 1000);
    let session = Session::open(ports(1, 4096), &plan, 1, &[]).unwrap();
    session.resolve().unwrap();
    for seed in [1, 2, 3] {
        let counts = session.run(&Trial { seed, ..trial(&plan) }, &mut |_| {}).unwrap().total();
        assert_eq!((counts.rx_packets, counts.duplicate, counts.corrupt), (1000, 0, 0), "{counts:?}");
    }
}

fn tcp(family: Family, tcp: Tcp) -> Stream {
    let udp = udp(family, 1);
    Stream {
        kind: Kind::Tcp(tcp),
        space: Space { proto: proto::TCP, ..udp.space },
        sizes: vec![1518],
        rate: Rate::Pps(2000.0),
        ..udp
    }
}

const SHORT: Tcp = Tcp { concurrent: 50, request: 100, response: 3000, requests: 1, close: Close::Fin };

#[test]
fn connections_open_exchange_and_close() {
    for family in Family::ALL {
        for (kind, octets) in [
            (SHORT, 3100),
            (Tcp { close: Close::Rst, ..SHORT }, 3100),
            (Tcp { requests: 5, ..SHORT }, 15_500),
            (Tcp { response: 300_000, concurrent: 3, ..SHORT }, 300_100),
            (Tcp { request: 70_000, response: 0, ..SHORT }, 70_000),
            (Tcp { request: 0, response: 10, ..SHORT }, 10),
            (Tcp { request: 0, response: 0, ..SHORT }, 0),
        ] {
            let outcome = run_on(ports(1, 4096), &plan(vec![tcp(family, kind)], 100), 1);
            let (counts, tcp) = (outcome.total(), outcome.streams[0].tcp.as_ref().unwrap());
            let (of, lives) = tcp;
            assert_eq!((of.opened, of.established, of.accepted, of.completed), (100, 100, 100, 100), "{kind:?} {of:?}");
            assert_eq!(
                (of.octets, of.corrupt, of.reset, of.timed_out, of.unfinished),
                (100 * octets, 0, 0, 0, 0),
                "{of:?}"
            );
            assert!(of.concurrent <= u64::from(kind.concurrent), "{of:?}");
            assert_eq!((lives.len(), outcome.latency().unwrap().count), (100, 100));
            assert_eq!((counts.lost(), counts.corrupt, counts.misdirected), (0, 0, 0), "{kind:?} {counts:?}");
        }
    }
}

#[test]
fn connections_survive_a_bad_line() {
    for faults in [
        Faults { lose: 19, ..Faults::default() },
        Faults { duplicate: 5, reorder: 7, ..Faults::default() },
        Faults { corrupt: 23, ..Faults::default() },
    ] {
        let (outcome, done) = with_faults(tcp(Family::V4, Tcp { request: 5000, ..SHORT }), 60, faults);
        let (counts, (of, _)) = (outcome.total(), outcome.streams[0].tcp.clone().unwrap());
        assert_eq!((of.completed, of.octets, of.corrupt), (60, 60 * 8000, 0), "{faults:?} {of:?} {counts:?}");
        let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        // What comes out of order is sent again as well.
        assert!(of.retransmitted > 0 || read(&done.lost) + read(&done.corrupted) == 0, "{of:?}");
        if faults.duplicate == 0 {
            // Nothing covers what the shortest frames are padded with.
            let (gone, faulty) = (counts.tx_packets - counts.rx_packets, read(&done.lost) + read(&done.corrupted));
            assert!(gone <= faulty && gone + read(&done.corrupted) / 2 >= faulty, "{faulty} {counts:?}");
        }
    }
}

#[test]
fn spoilt_segments_and_unasked_ones_are_counted_and_disturb_no_connection() {
    for family in Family::ALL {
        let stream = Stream { invalid: 0.2, unsolicited: 0.5, ..tcp(family, Tcp { response: 10_000, ..SHORT }) };
        let outcome = run_on(ports(1, 4096), &plan(vec![stream], 100), 1);
        let (counts, (of, _)) = (outcome.total(), outcome.streams[0].tcp.clone().unwrap());
        assert_eq!((of.completed, of.octets), (100, 100 * 10_100), "{of:?}");
        assert!(counts.invalid_tx > 100, "{counts:?}");
        assert_eq!(counts.unsolicited_tx, 50, "{counts:?}");
        // A cable lets them pass; those of connections that are over are not told from others.
        assert!(
            counts.invalid_rx <= counts.invalid_tx && counts.invalid_rx * 10 >= counts.invalid_tx * 9,
            "{counts:?}"
        );
        assert_eq!((counts.unsolicited_rx, counts.corrupt), (50, 0), "{counts:?}");
    }
}

#[test]
fn connections_nobody_answers_time_out_or_are_given_up() {
    let mut plan = plan(vec![tcp(Family::V4, SHORT)], 10);
    plan.limit.time = Duration::from_millis(300);
    let faults = Faults { lose: 1, ..Faults::default() };
    let mut ports = ports(1, 4096);
    let (bad, _) = wrap(ports.pop().unwrap(), faults);
    ports.push(bad);
    let outcome = run_on(ports, &plan, 1);
    let (of, _) = outcome.streams[0].tcp.clone().unwrap();
    assert_eq!((of.opened, of.established, of.unfinished), (10, 0, 10), "{of:?}");
}
