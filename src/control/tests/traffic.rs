//! Packets through a running router.

use super::bench::{Bench, HOST, HOST_MAC, LAN, ROUTER, RULES, WAN, addresses, arp, asks_for, is_arp, text};
use crate::driver::{LinkState, OpenError, PortControl, PortInfo};
use crate::frame::{Checksum, Gso, GsoKind, Meta};
use crate::net::{Addr, CtState, DropReason, Family, PortId};
use crate::wire::checksum::{fold, pseudo};
use etherparse::PacketBuilder;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_packet_waits_for_its_next_hop_and_its_answer_is_established() {
    let mut bench = Bench::new(2);
    bench.introduce(LAN);
    let hello = bench.udp(LAN, (4000, 53), b"hello");
    bench.inject(LAN, &hello);
    bench.expect(WAN, "ARP request", |f| asks_for(f, HOST[WAN]));
    bench.expect_none(WAN, "packet without next hop", |f| f[12..14] == [8, 0]);
    assert_eq!(bench.total("held", |t| t.balance(PortId(0)).held == 1).balance(PortId(0)).forwarded, 0);
    let mac = bench.router_mac(WAN).0;
    bench.inject(WAN, &arp(2, HOST_MAC[WAN], HOST[WAN], mac, ROUTER[WAN]));
    let out = bench.forwarded(LAN, &hello);
    bench.expect(WAN, "packet that waited", |f| f == out);
    let answer = bench.udp(WAN, (53, 4000), b"answer");
    bench.passes(WAN, &answer);
    let total = bench.total("at rest", |t| {
        [PortId(0), PortId(1)].map(|port| t.balance(port)).iter().all(|b| (b.forwarded, b.punted, b.held) == (1, 1, 0))
            && t.states(Family::V4, CtState::Established) == 1
    });
    assert_eq!(total.states(Family::V4, CtState::New), 1);
}

#[test]
fn flows_dealt_to_any_worker_pass_both_ways_and_the_sums_are_even() {
    for workers in [1, 3] {
        let mut bench = Bench::new(workers);
        bench.introduce(LAN);
        bench.introduce(WAN);
        let flows = 100;
        for round in 0..4 {
            for flow in 0..flows {
                let (there, back) = ((10_000 + flow, 7), (7, 10_000 + flow));
                let packet = bench.udp(LAN, there, &[round, 1]);
                bench.passes(LAN, &packet);
                let packet = bench.udp(WAN, back, &[round, 2]);
                bench.passes(WAN, &packet);
            }
        }
        let each = 4 * u64::from(flows);
        let (new, established) = (u64::from(flows), 2 * each - u64::from(flows));
        let total = bench.total("all forwarded", |t| {
            t.forwarded(Family::V4) == 2 * each
                && t.states(Family::V4, CtState::New) == new
                && t.states(Family::V4, CtState::Established) == established
                && t.total_created() == new
        });
        for port in [PortId(0), PortId(1)] {
            let balance = total.balance(port);
            assert_eq!((balance.dropped, balance.held), (0, 0), "{balance:?}");
        }
        let text = String::from_utf8(bench.exporter.text().unwrap()).unwrap();
        let handed: f64 = text
            .lines()
            .filter(|line| line.starts_with("flowgate_worker_handoff_packets_total{"))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum();
        assert_eq!(handed > 0.0, workers > 1, "{handed} frames changed workers");
    }
}

#[test]
fn a_super_frame_is_cut_for_a_port_that_sends_none() {
    let mut bench = Bench::with(&text(1, RULES), |port| port.caps.tx_gso = port.id == PortId(0));
    bench.introduce(LAN);
    bench.introduce(WAN);
    let payload: Vec<u8> = (0..250).collect();
    let mut frame = bench.udp(LAN, (4000, 53), &payload);
    let sum = fold(pseudo(Addr::from(IpAddr::from(HOST[LAN])), Addr::from(IpAddr::from(HOST[WAN])), 17, 8 + 250));
    frame[40..42].copy_from_slice(&sum.to_be_bytes());
    let gso = Gso { kind: GsoKind::UdpL4, ecn: false, size: 100, header_len: 42 };
    let meta = Meta { checksum: Checksum::Partial { start: 34, offset: 6 }, gso: Some(gso), ..Meta::default() };
    bench.inject_with(LAN, &frame, &meta);
    for piece in payload.chunks(100) {
        let whole = bench.udp(LAN, (4000, 53), piece);
        let out = bench.expect(WAN, "segment", |f| f[12..14] == [8, 0]);
        assert_eq!(out[34..], whole[34..], "UDP header with its checksum, and payload");
    }
    let total = bench.total("at rest", |t| t.balance(PortId(0)).forwarded == 1);
    assert_eq!((total.balance(PortId(0)).dropped, total.forwarded(Family::V4)), (0, 1));
}

#[test]
fn what_the_policy_refuses_leaves_no_connection() {
    let mut bench = Bench::new(2);
    bench.introduce(LAN);
    bench.introduce(WAN);
    let unsolicited = bench.udp(WAN, (53, 4000), b"?");
    bench.blocked(WAN, &unsolicited);
    let total = bench.total("dropped", |t| t.dropped(PortId(1), DropReason::PolicyDefault) == 1);
    assert_eq!(total.total_created(), 0);
    bench.metric("flowgate_chain_policy_packets_total{chain=\"forward\",verdict=\"drop\"} 1");
}

#[test]
fn the_router_answers_pings_to_itself() {
    let mut bench = Bench::new(2);
    bench.introduce(LAN);
    let builder = PacketBuilder::ethernet2(HOST_MAC[LAN], bench.router_mac(LAN).0)
        .ipv4(HOST[LAN], ROUTER[LAN], 64)
        .icmpv4_echo_request(7, 1);
    let mut ping = Vec::new();
    builder.write(&mut ping, b"ping").unwrap();
    bench.inject(LAN, &ping);
    let answer = bench.expect(LAN, "echo reply", |f| f[12..14] == [8, 0]);
    assert_eq!(addresses(&answer), Some((ROUTER[LAN].into(), HOST[LAN].into())));
    assert_eq!(answer[34], 0, "type echo reply");
}

#[test]
fn a_frame_the_port_cannot_send_does_not_hold_up_those_behind_it() {
    // The device sends less than it said.
    let mut bench = Bench::with(&text(1, RULES), |port| port.info.mtu = 3000);
    bench.introduce(LAN);
    bench.introduce(WAN);
    let (large, small) = (bench.udp(LAN, (1, 2), &[0; 2000]), bench.udp(LAN, (3, 4), b"small"));
    bench.inject(LAN, &large);
    bench.passes(LAN, &small);
    bench.total("dropped", |t| t.dropped(PortId(0), DropReason::MtuExceeded) == 1);
    bench.metric("flowgate_port_errors_total{port=\"wan0\",direction=\"tx\",reason=\"oversize\"} 1");
}

#[test]
fn a_link_goes_down_and_comes_back() {
    let mut bench = Bench::new(2);
    bench.introduce(LAN);
    bench.introduce(WAN);
    bench.metric("flowgate_port_up{port=\"wan0\"} 1");
    let packet = bench.udp(LAN, (1, 2), b"1");
    bench.passes(LAN, &packet);
    bench.set_link(WAN, LinkState::Down);
    bench.metric("flowgate_port_up{port=\"wan0\"} 0");
    // Its neighbours are forgotten, and nobody is asked on a link that is down.
    bench.inject(LAN, &packet);
    bench.total("dropped", |t| t.dropped(PortId(0), DropReason::NeighbourUnresolved) == 1);
    bench.collect_and_forget(WAN);
    bench.set_link(WAN, LinkState::Up);
    bench.expect(WAN, "announcement", |f| is_arp(f, 1) && f[28..32] == ROUTER[WAN] && f[38..42] == ROUTER[WAN]);
    bench.metric("flowgate_port_up{port=\"wan0\"} 1");
    bench.introduce(WAN);
    bench.passes(LAN, &packet);
    bench.total("even", |t| t.balance(PortId(0)).forwarded == 2);
}

static SHRUNK: AtomicBool = AtomicBool::new(false);

#[test]
fn a_device_whose_mtu_changes_is_believed() {
    struct Shrinking;
    impl PortControl for Shrinking {
        fn link(&self) -> LinkState {
            LinkState::Up
        }
        fn mtu(&self) -> Option<usize> {
            Some(if SHRUNK.load(Ordering::Relaxed) { 1280 } else { 1500 })
        }
        fn reopen(&mut self) -> Result<PortInfo, OpenError> {
            Err(OpenError::Busy { port: "never gone".to_owned() })
        }
    }
    let mut bench = Bench::with(&text(2, RULES), |port| {
        if port.id == PortId(WAN as u8) {
            port.control = Box::new(Shrinking);
        }
    });
    bench.introduce(LAN);
    bench.introduce(WAN);
    let packet = bench.udp(LAN, (1, 2), &[0; 1400]);
    assert_eq!(packet[20] & 0x40, 0x40, "not to be fragmented");
    bench.passes(LAN, &packet);
    SHRUNK.store(true, Ordering::Relaxed);
    bench.metric("flowgate_port_mtu_bytes{port=\"wan0\"} 1280");
    bench.inject(LAN, &packet);
    bench.expect(LAN, "fragmentation needed", |f| f[23] == 1 && f[34..36] == [3, 4] && f[40..42] == [5, 0]);
}

static REOPENED: AtomicBool = AtomicBool::new(false);

#[test]
fn a_device_that_is_gone_is_opened_again() {
    struct Telling(Option<Box<dyn PortControl>>);
    impl PortControl for Telling {
        fn link(&self) -> LinkState {
            self.0.as_ref().unwrap().link()
        }
        fn reopen(&mut self) -> Result<PortInfo, OpenError> {
            let info = self.0.as_mut().unwrap().reopen();
            REOPENED.store(true, Ordering::Release);
            info
        }
    }
    let mut bench = Bench::with(&text(2, RULES), |port| {
        if port.id == PortId(WAN as u8) {
            let control = std::mem::replace(&mut port.control, Box::new(Telling(None)));
            port.control = Box::new(Telling(Some(control)));
        }
    });
    bench.introduce(LAN);
    bench.introduce(WAN);
    bench.set_link(WAN, LinkState::Gone);
    // The memory port's device is back as soon as it is asked for. It was told to be down before that.
    bench.done("opened again", &REOPENED);
    bench.metric("flowgate_port_up{port=\"wan0\"} 1");
    bench.introduce(WAN);
    let packet = bench.udp(LAN, (1, 2), b"1");
    bench.passes(LAN, &packet);
}
