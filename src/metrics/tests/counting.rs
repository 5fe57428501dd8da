use super::*;

/// Which series one change of a worker's counters moves, beside nothing else.
#[track_caller]
fn moves(change: impl FnOnce(&mut Counters), expected: &[&str]) {
    let exporter = Exporter::new(setup());
    let before = series(&exporter);
    let mut counters = Counters::new(exporter.layout());
    change(&mut counters);
    counters.publish(&exporter.published(ShardId(1)).unwrap());
    let got = moved(&before, &series(&exporter));
    let mut expected: Vec<_> = expected.iter().map(|s| (*s).to_owned()).collect();
    expected.sort();
    let mut sorted = got;
    sorted.sort();
    assert_eq!(sorted, expected);
}

const LAN: PortId = PortId(0);
const WAN: PortId = PortId(1);

#[test]
fn a_packets_way() {
    moves(
        |c| c.state(Family::V6, CtState::Related, 1),
        &["conntrack_packets_total{family=\"ipv6\",state=\"related\"} 1"],
    );
    moves(|c| c.invalid(InvalidReason::TcpAckOver), &["conntrack_invalid_total{reason=\"tcp_ack_over\"} 1"]);
    moves(
        |c| c.drop_packet(WAN, DropReason::ReloadRemovedPort, 60),
        &[
            "drops_total{port=\"wan0\",reason=\"reload_removed_port\"} 1",
            "drop_bytes_total{port=\"wan0\",reason=\"reload_removed_port\"} 60",
        ],
    );
    moves(
        |c| c.forward(WAN, Family::V4, 1, 1500),
        &[
            "forwarded_packets_total{family=\"ipv4\"} 1",
            "forwarded_bytes_total{family=\"ipv4\"} 1500",
            "port_forwarded_packets_total{port=\"wan0\"} 1",
        ],
    );
    moves(|c| c.punt(LAN), &["port_punted_packets_total{port=\"lan0\"} 1"]);
    moves(|c| c.hold(LAN, 3), &["port_held_packets{port=\"lan0\"} 3"]);
    moves(|c| c.originate(2), &["originated_packets_total 2"]);
    moves(
        |c| c.route_lookup(Family::V4, RouteResult::NoRoute, 1),
        &["route_lookups_total{family=\"ipv4\",result=\"noroute\"} 1"],
    );
    moves(
        |c| c.icmp_error(Family::V6, IcmpOutcome::RateLimited, IcmpKind::ParameterProblem),
        &["icmp_errors_total{family=\"ipv6\",direction=\"ratelimited\",kind=\"parameter_problem\"} 1"],
    );
    moves(|c| c.reject(RejectKind::Icmpv6), &["rejects_sent_total{kind=\"icmpv6\"} 1"]);
    moves(
        |c| c.fragments(Family::V6, FragmentResult::Overlap, 4),
        &["fragments_total{family=\"ipv6\",result=\"overlap\"} 4"],
    );
    moves(|c| c.set_fragments_pending(Family::V4, 9), &["fragments_pending{family=\"ipv4\"} 9"]);
    moves(|c| c.neighbour_queue_drop(WAN), &["neighbour_queue_drops_total{port=\"wan0\"} 1"]);
}

#[test]
fn tracking() {
    moves(
        |c| c.set_entries(7, 100),
        &["conntrack_entries{worker=\"1\"} 7", "conntrack_entries_limit{worker=\"1\"} 100"],
    );
    moves(|c| c.set_expire_lag(1500), &["conntrack_expire_lag_seconds{worker=\"1\"} 1.5"]);
    moves(|c| c.created(Proto::of(132)), &["conntrack_created_total{proto=\"sctp\"} 1"]);
    moves(
        |c| c.destroyed(Proto::of(136), DestroyCause::Reload),
        &["conntrack_destroyed_total{proto=\"other\",cause=\"reload\"} 1"],
    );
    moves(
        |c| c.destroyed(Proto::Tcp, DestroyCause::Evicted),
        &["conntrack_destroyed_total{proto=\"tcp\",cause=\"evicted\"} 1", "conntrack_evicted_total 1"],
    );
    moves(|c| c.set_created(Proto::Gre, 9), &["conntrack_created_total{proto=\"gre\"} 9"]);
    moves(
        |c| {
            c.set_destroyed(Proto::Udp, DestroyCause::Evicted, 4);
            c.set_destroyed(Proto::Icmp, DestroyCause::Evicted, 5);
        },
        &[
            "conntrack_destroyed_total{proto=\"udp\",cause=\"evicted\"} 4",
            "conntrack_destroyed_total{proto=\"icmp\",cause=\"evicted\"} 5",
            "conntrack_evicted_total 9",
        ],
    );
    moves(
        |c| c.set_insert_failed(InsertFailure::TableFull, 3),
        &["conntrack_insert_failed_total{reason=\"table_full\"} 3"],
    );
    moves(|c| c.insert_failed(InsertFailure::Clash), &["conntrack_insert_failed_total{reason=\"clash\"} 1"]);
    moves(
        |c| c.lookup(5),
        &[
            "conntrack_lookup_probes_bucket{le=\"6\"} 1",
            "conntrack_lookup_probes_bucket{le=\"8\"} 1",
            "conntrack_lookup_probes_bucket{le=\"16\"} 1",
            "conntrack_lookup_probes_bucket{le=\"+Inf\"} 1",
            "conntrack_lookup_probes_sum 5",
            "conntrack_lookup_probes_count 1",
        ],
    );
    moves(
        |c| c.lookup(17),
        &[
            "conntrack_lookup_probes_bucket{le=\"+Inf\"} 1",
            "conntrack_lookup_probes_sum 17",
            "conntrack_lookup_probes_count 1",
        ],
    );
    moves(
        |c| c.expectation(0, ExpectResult::Created),
        &[
            "conntrack_expectations{helper=\"ftp\"} 1",
            "conntrack_expectations_total{helper=\"ftp\",result=\"created\"} 1",
        ],
    );
    moves(
        |c| c.expectation(0, ExpectResult::Refused),
        &["conntrack_expectations_total{helper=\"ftp\",result=\"refused\"} 1"],
    );
    moves(
        |c| c.helper_packet(0, HelperResult::Encrypted),
        &["helper_packets_total{helper=\"ftp\",result=\"encrypted\"} 1"],
    );
}

#[test]
fn ports() {
    moves(
        |c| c.port_rx(WAN, 2, 120),
        &[
            "port_packets_total{port=\"wan0\",direction=\"rx\"} 2",
            "port_bytes_total{port=\"wan0\",direction=\"rx\"} 120",
        ],
    );
    moves(
        |c| c.port_tx(LAN, 2, 120),
        &[
            "port_packets_total{port=\"lan0\",direction=\"tx\"} 2",
            "port_bytes_total{port=\"lan0\",direction=\"tx\"} 120",
        ],
    );
    for (error, name) in [
        (PortError::RxRefused, "port_errors_total{port=\"wan0\",direction=\"rx\",reason=\"refused\"} 5"),
        (PortError::TxRefused, "port_errors_total{port=\"wan0\",direction=\"tx\",reason=\"refused\"} 5"),
    ] {
        moves(|c| c.port_error(WAN, error, 5), &[name]);
    }
}

#[test]
fn the_worker() {
    moves(|c| c.poll(0), &["worker_polls_total{worker=\"1\",result=\"empty\"} 1"]);
    moves(
        |c| c.poll(200),
        &[
            "worker_polls_total{worker=\"1\",result=\"nonempty\"} 1",
            "worker_packets_total{worker=\"1\"} 200",
            "worker_batch_packets_bucket{worker=\"1\",le=\"256\"} 1",
            "worker_batch_packets_bucket{worker=\"1\",le=\"+Inf\"} 1",
            "worker_batch_packets_sum{worker=\"1\"} 200",
            "worker_batch_packets_count{worker=\"1\"} 1",
        ],
    );
    moves(
        |c| c.iteration(5_000_000),
        &[
            "worker_iteration_seconds_bucket{worker=\"1\",le=\"0.01\"} 1",
            "worker_iteration_seconds_bucket{worker=\"1\",le=\"+Inf\"} 1",
            "worker_iteration_seconds_sum{worker=\"1\"} 0.005",
            "worker_iteration_seconds_count{worker=\"1\"} 1",
        ],
    );
    moves(
        |c| c.cycles(10, 20),
        &["worker_cycles_total{worker=\"1\",kind=\"busy\"} 10", "worker_cycles_total{worker=\"1\",kind=\"idle\"} 20"],
    );
    moves(|c| c.handoff(ShardId(0), 3), &["worker_handoff_packets_total{worker=\"1\",to=\"0\"} 3"]);
    moves(|c| c.handoff_drops(ShardId(0), 3), &["worker_handoff_drops_total{worker=\"1\",to=\"0\"} 3"]);
    // The clock read 50 s at civil time 1,000,000 s.
    moves(|c| c.heartbeat(Now::from_secs(53)), &["worker_heartbeat_timestamp_seconds{worker=\"1\"} 1000003"]);
    moves(|c| c.set_buffers(512, 500), &["buffers 512", "buffers_free 500"]);
}

#[test]
fn what_does_not_exist_is_not_counted() {
    moves(
        |c| {
            c.drop_packet(PortId(2), DropReason::NoRoute, 60);
            c.punt(PortId(255));
            c.hold(PortId(2), 1);
            c.port_rx(PortId(2), 1, 1);
            c.port_error(PortId(2), PortError::RxMissed, 1);
            c.neighbour_queue_drop(PortId(2));
            c.handoff(ShardId(2), 1);
            c.handoff_drops(ShardId(63), 1);
            c.expectation(1, ExpectResult::Created);
            c.helper_packet(9, HelperResult::Parsed);
        },
        &[],
    );
}

#[test]
fn workers_add_up_or_stand_apart() {
    for per_worker in [false, true] {
        let exporter = Exporter::new(Setup { per_worker, ..setup() });
        for (worker, n) in [(0u8, 2u64), (1, 5)] {
            let mut c = Counters::new(exporter.layout());
            (0..n).for_each(|_| c.state(Family::V4, CtState::New, 1));
            c.set_entries(n as usize, 10);
            c.publish(&exporter.published(ShardId(worker)).unwrap());
        }
        let series = series(&exporter);
        let packets = "flowgate_conntrack_packets_total{family=\"ipv4\",state=\"new\"";
        if per_worker {
            assert_eq!(of(&series, &format!("{packets},worker=\"0\"}}")), 2.0);
            assert_eq!(of(&series, &format!("{packets},worker=\"1\"}}")), 5.0);
        } else {
            assert_eq!(of(&series, &format!("{packets}}}")), 7.0);
        }
        assert_eq!(of(&series, "flowgate_conntrack_entries{worker=\"1\"}"), 5.0);
        assert_eq!(exporter.total().states(Family::V4, CtState::New), 7);
    }
    assert!(Exporter::new(setup()).published(ShardId(2)).is_none());
}

#[test]
fn node_exporters_names_hold_the_sums() {
    let exporter = Exporter::new(Setup { node_exporter: true, ..setup() });
    for worker in 0..2 {
        let mut c = Counters::new(exporter.layout());
        c.set_entries(3, 1000);
        c.publish(&exporter.published(ShardId(worker)).unwrap());
    }
    let series = series(&exporter);
    assert_eq!(of(&series, "node_nf_conntrack_entries"), 6.0);
    assert_eq!(of(&series, "node_nf_conntrack_entries_limit"), 2000.0);
}

#[test]
fn one_worker_holds_and_another_releases() {
    let exporter = Exporter::new(setup());
    let mut a = Counters::new(exporter.layout());
    let mut b = Counters::new(exporter.layout());
    a.hold(WAN, 3);
    b.release(WAN, 2);
    a.expectation(0, ExpectResult::Created);
    b.expectation(0, ExpectResult::Matched);
    b.publish(&exporter.published(ShardId(1)).unwrap());
    // Not below zero while only one of them has published.
    assert_eq!(of(&series(&exporter), "flowgate_port_held_packets{port=\"wan0\"}"), 0.0);
    a.publish(&exporter.published(ShardId(0)).unwrap());
    let series = series(&exporter);
    assert_eq!(of(&series, "flowgate_port_held_packets{port=\"wan0\"}"), 1.0);
    assert_eq!(of(&series, "flowgate_conntrack_expectations{helper=\"ftp\"}"), 0.0);
}

#[test]
fn balance_says_whether_every_fate_is_known() {
    let exporter = Exporter::new(setup());
    let mut c = Counters::new(exporter.layout());
    c.port_rx(WAN, 10, 600);
    c.port_rx(LAN, 1, 60);
    c.forward(WAN, Family::V4, 1, 60);
    c.drop_packet(WAN, DropReason::NoRoute, 60);
    c.drop_packet(WAN, DropReason::CtTableFull, 60);
    c.punt(WAN);
    c.hold(WAN, 7);
    assert_eq!(c.balance(WAN), Balance { received: 10, forwarded: 1, dropped: 2, punted: 1, held: 7 });
    assert!(!c.balance(WAN).is_even() && !c.balance(LAN).is_even());
    c.release(WAN, 1);
    assert!(c.balance(WAN).is_even());
    assert_eq!(c.dropped(WAN, DropReason::NoRoute), 1);
    assert!(c.balance(PortId(7)).is_even());
}

#[test]
fn what_the_control_plane_says() {
    let exporter = Exporter::new(setup());
    let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
    let mut before = series(&exporter);
    let mut step = |change: &dyn Fn(), expected: &[&str]| {
        change();
        let after = series(&exporter);
        let mut expected: Vec<_> = expected.iter().map(|s| (*s).to_owned()).collect();
        expected.sort();
        let mut got = moved(&before, &after);
        got.sort();
        assert_eq!(got, expected);
        before = after;
    };
    step(&|| exporter.set_port_up(WAN, true), &["port_up{port=\"wan0\"} 1"]);
    step(&|| exporter.set_port_mtu(LAN, 9000), &["port_mtu_bytes{port=\"lan0\"} 9000"]);
    step(
        &|| exporter.set_neighbours(Family::V6, [0, 2, 0, 0, 0, 0, 1]),
        &["neighbours{family=\"ipv6\",state=\"reachable\"} 2", "neighbours{family=\"ipv6\",state=\"permanent\"} 1"],
    );
    step(&|| exporter.set_routes(Family::V4, RouteOrigin::Static, 4), &["routes{family=\"ipv4\",origin=\"static\"} 4"]);
    step(&|| exporter.set_tsc_hertz(2.5e9), &["worker_tsc_hertz 2500000000"]);

    exporter.config_loaded("ab", "/etc/x.yaml", at(10));
    let loaded = series(&exporter);
    assert_eq!(of(&loaded, "flowgate_config_info{sha256=\"ab\",path=\"/etc/x.yaml\"}"), 1.0);
    assert_eq!(of(&loaded, "flowgate_config_last_reload_success"), 1.0);
    exporter.reload_failed();
    let failed = series(&exporter);
    assert_eq!(moved(&loaded, &failed), ["config_last_reload_success 0", "config_reloads_total{result=\"failure\"} 1"]);
    exporter.reload_succeeded("cd", "/etc/x.yaml", at(20));
    let again = series(&exporter);
    assert_eq!(of(&again, "flowgate_config_info{sha256=\"cd\",path=\"/etc/x.yaml\"}"), 1.0);
    assert!(!again.contains_key("flowgate_config_info{sha256=\"ab\",path=\"/etc/x.yaml\"}"));
    assert_eq!(of(&again, "flowgate_config_last_reload_timestamp_seconds"), 20.0);
    assert_eq!(of(&again, "flowgate_config_reloads_total{result=\"success\"}"), 1.0);
}

/// A scrape beside a running worker never sees a counter go backwards or more than was counted.
#[test]
fn scrapes_run_beside_the_worker() {
    const N: u64 = 20_000;
    let exporter = std::sync::Arc::new(Exporter::new(setup()));
    let block = exporter.published(ShardId(0)).unwrap();
    let mut counters = Counters::new(exporter.layout());
    let worker = std::thread::spawn(move || {
        for i in 0..N {
            counters.state(Family::V4, CtState::Established, 1);
            if i % 7 == 0 {
                counters.publish(&block);
            }
        }
        counters.publish(&block);
    });
    let mut last = 0;
    while !worker.is_finished() {
        let now = exporter.total().states(Family::V4, CtState::Established);
        assert!(last <= now && now <= N);
        last = now;
    }
    worker.join().unwrap();
    assert_eq!(exporter.total().states(Family::V4, CtState::Established), N);
}
