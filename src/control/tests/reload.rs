//! Configurations that change while packets flow.

use super::bench::{Bench, LAN, RULES, WAN, settings, text};
use crate::control::needs_restart;
use crate::net::{CtState, DropReason, Family, PortId};

const NOTHING: &str = "
chains:
  forward: { policy: drop, rules: [ { id: nothing, verdict: drop } ] }
";

#[test]
fn connections_stay_and_meet_the_new_rules() {
    let mut bench = Bench::new(2);
    bench.introduce(LAN);
    bench.introduce(WAN);
    let (there, back) = (bench.udp(LAN, (4000, 53), b"there"), bench.udp(WAN, (53, 4000), b"back"));
    bench.passes(LAN, &there);
    bench.passes(WAN, &back);
    bench.passes(LAN, &there);
    bench.reload(&text(2, NOTHING));
    bench.metric("flowgate_config_reloads_total{result=\"success\"} 1");
    bench.blocked(LAN, &there);
    bench.blocked(WAN, &back);
    bench.total("dropped", |t| {
        t.dropped(PortId(0), DropReason::PolicyRule) == 1 && t.dropped(PortId(1), DropReason::PolicyRule) == 1
    });
    bench.total("four established", |t| t.states(Family::V4, CtState::Established) == 4);
    bench.metric("flowgate_rule_packets_total{chain=\"forward\",rule=\"nothing\",verdict=\"drop\"} 2");
    bench.reload(&text(2, RULES));
    bench.metric("flowgate_config_reloads_total{result=\"success\"} 2");
    bench.passes(WAN, &back);
    bench.passes(LAN, &there);
    bench.total("one connection throughout", |t| {
        (t.states(Family::V4, CtState::New), t.states(Family::V4, CtState::Established)) == (1, 6)
            && t.forwarded(Family::V4) == 5
            && t.total_created() == 1
    });
}

#[test]
fn a_bad_configuration_changes_nothing() {
    let mut bench = Bench::new(2);
    bench.introduce(LAN);
    bench.introduce(WAN);
    for (bad, failures) in [
        ("version: 1\nports: {}\n".to_owned(), 1),
        (text(2, "chains: { forward: { polcy: drop } }"), 2),
        // Good, but not for a running router.
        (text(3, NOTHING), 3),
    ] {
        bench.reload(&bad);
        bench.metric(&format!("flowgate_config_reloads_total{{result=\"failure\"}} {failures}"));
        bench.metric("flowgate_config_last_reload_success 0");
        let packet = bench.udp(LAN, (4000 + failures, 53), b"there");
        bench.passes(LAN, &packet);
    }
    bench.reload(&text(2, RULES));
    bench.metric("flowgate_config_last_reload_success 1");
    bench.metric(&format!("flowgate_config_info{{sha256=\"{}\",path=\"t.yaml\"}} 1", "1".repeat(64)));
}

#[test]
fn addresses_change_at_run_time() {
    let mut bench = Bench::new(2);
    bench.introduce(LAN);
    bench.introduce(WAN);
    let there = bench.udp(LAN, (4000, 53), b"there");
    bench.passes(LAN, &there);
    bench.reload(&text(2, RULES).replace("10.0.2.1/24", "10.0.3.1/24"));
    bench.metric("flowgate_config_reloads_total{result=\"success\"} 1");
    bench.blocked(LAN, &there);
    bench.total("dropped", |t| t.dropped(PortId(0), DropReason::NoRoute) == 1);
}

#[test]
fn what_is_fixed_at_start_is_named() {
    let base = text(2, RULES);
    let change = |from: &str, to: &str| {
        assert!(base.contains(from));
        needs_restart(&settings(&base), &settings(&base.replace(from, to)))
    };
    let none: [&str; 0] = [];
    assert_eq!(change("policy: drop", "policy: accept"), none);
    assert_eq!(change("10.0.2.1/24]", "10.0.2.1/24], zone: z, vlan: 7"), none);
    assert_eq!(change("count: 2", "count: 3"), ["workers"]);
    // The queues a port has by default follow the workers.
    let bare = base.replace("queues: 2, ", "");
    let xdp = "version: 1\nports:\n  a: { driver: af_xdp, device: e }\n";
    let native = xdp.replace("device: e", "device: e, xdp_mode: native");
    assert_eq!(needs_restart(&settings(xdp), &settings(&native)), ["ports.a.xdp_mode"]);
    assert_eq!(needs_restart(&settings(xdp), &settings(&native.replace("device: e", "device: f"))), ["ports.a.driver"]);
    assert_eq!(needs_restart(&settings(&bare), &settings(&bare.replace("count: 2", "count: 3"))), ["workers"]);
    assert_eq!(change("wan0", "out0"), ["ports"]);
    assert_eq!(
        change("queues: 2", "queues: 1, mtu: 1400"),
        ["ports.lan0.queues", "ports.lan0.mtu", "ports.wan0.queues", "ports.wan0.mtu"]
    );
    assert_eq!(
        change("max_entries: 4096", "max_entries: 8192, timeouts: { udp: 9s, frag4: 1s }"),
        ["conntrack.max_entries", "conntrack.timeouts.frag4"]
    );
    assert_eq!(change("chains:", "helpers: { ftp: { type: ftp } }\nchains:"), ["helpers (their names and order)"]);
    assert_eq!(
        change("chains:", "metrics: { listen: '127.0.0.1:1' }\nlog: { level: warn }\nchains:"),
        ["metrics", "log"]
    );
}
