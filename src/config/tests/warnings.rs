//! What is allowed and doubted, and what is not doubted.

use super::*;

/// The warnings about `text` after [`PORTS`].
fn warnings(text: &str) -> Vec<String> {
    match check(&format!("{PORTS}{text}\n")) {
        Ok(loaded) => loaded.diagnostics.list().iter().map(|d| d.message.clone()).collect(),
        Err(diags) => panic!("{text}\n{diags}"),
    }
}

fn forward(policy: &str, rules: &[&str]) -> Vec<String> {
    let rules: Vec<_> = rules.iter().enumerate().map(|(at, rule)| format!("{{ id: r{at}, {rule} }}")).collect();
    warnings(&format!(
        "sets: {{ s: {{ type: ip, elements: [10.0.0.0/8] }}, empty: {{ type: ip }} }}\nchains: {{ forward: {{ policy: {policy}, rules: [ {} ] }} }}",
        rules.join(", ")
    ))
}

const NO_ESTABLISHED: &str = "no rule of `forward` accepts established packets: connections open but get no answer";
const NO_TOO_BIG: &str = "ICMPv6 packet-too-big cannot pass `forward`: IPv6 connections will hang on large packets";

#[test]
fn the_classic_stance_is_not_doubted() {
    let rules = [
        "ct_state: [established, related], verdict: accept",
        "ct_state: invalid, verdict: drop",
        "iif: lan0, ct_state: new, verdict: accept",
    ];
    assert_eq!(forward("drop", &rules), [""; 0]);
    assert_eq!(forward("accept", &[]), [""; 0]);
    assert_eq!(forward("drop", &[]), [""; 0], "a router that forwards nothing is meant to");
}

#[test]
fn a_drop_policy_without_an_established_rule() {
    let new = "iif: lan0, ct_state: new, verdict: accept";
    assert_eq!(forward("drop", &[new]), [NO_ESTABLISHED, NO_TOO_BIG]);
    assert_eq!(forward("drop", &["ct_state: established, verdict: accept", new]), [NO_TOO_BIG]);
    assert_eq!(
        forward(
            "drop",
            &[
                "l4proto: icmpv6, verdict: accept",
                "iif: lan0, l4proto: tcp, ct_state: [new, established], verdict: accept"
            ]
        ),
        [""; 0]
    );
    assert_eq!(forward("drop", &["verdict: accept"]), [""; 0]);
    assert_eq!(forward("accept", &["ct_state: [established, related], verdict: drop"]), [NO_ESTABLISHED, NO_TOO_BIG]);
    assert_eq!(
        forward("accept", &["l4proto: [icmp, icmpv6], verdict: drop"]),
        [NO_TOO_BIG],
        "the rule that blocks it, not the policy"
    );
}

#[test]
fn the_stance_is_seen_through_jumps() {
    let text = |verdict: &str| {
        format!(
            "chains: {{ forward: {{ policy: drop, rules: [ {{ id: a, verdict: jump c }}, {{ id: b, ct_state: new, verdict: accept }} ] }}, c: {{ rules: [ {{ id: d, ct_state: [established, related], verdict: {verdict} }} ] }} }}"
        )
    };
    assert_eq!(warnings(&text("accept")), [""; 0]);
    assert_eq!(warnings(&text("drop")), [NO_ESTABLISHED, NO_TOO_BIG]);
    assert_eq!(warnings(&text("return")), [NO_ESTABLISHED, NO_TOO_BIG]);
}

#[test]
fn without_ipv6_nobody_needs_packet_too_big() {
    let text = "version: 1\nports: { a: { driver: memory, addresses: [10.0.0.1/24] } }\nchains: { forward: { policy: drop, rules: [ { id: a, ct_state: [new, established], verdict: accept } ] } }\n";
    assert_eq!(check(text).unwrap().diagnostics.list(), []);
}

#[test]
fn rules_that_can_never_match() {
    let hidden = |first: &str, second: &str| {
        forward("accept", &[first, second]).contains(&"rule `r1` can never match".to_owned())
    };
    assert!(hidden("iif: lan0, verdict: drop", "iif: lan0, l4proto: tcp, dport: 80, verdict: accept"));
    assert!(hidden("saddr: 10.0.0.0/8, verdict: drop", "saddr: [10.1.0.0/16, 10.2.0.1], verdict: drop"));
    assert!(hidden("saddr: 10.0.0.0/8, verdict: drop", "saddr: \"@s\", verdict: drop"));
    assert!(hidden("saddr: \"@s\", verdict: drop", "saddr: 10.1.2.3, verdict: drop"));
    assert!(hidden("l4proto: tcp, dport: 1-100, verdict: drop", "l4proto: tcp, dport: [22, 50-60], verdict: drop"));
    assert!(hidden("ct_state: [new, invalid], verdict: drop", "ct_state: new, verdict: accept"));
    assert!(hidden("ct_state: [new, established, related, invalid, untracked], verdict: drop", "verdict: drop"));
    assert!(!hidden("iif: lan0, verdict: drop", "verdict: drop"));
    assert!(!hidden("saddr: 10.1.0.0/16, verdict: drop", "saddr: 10.0.0.0/8, verdict: drop"));
    assert!(!hidden("saddr: \"@s\", verdict: drop", "verdict: drop"));
    assert!(!hidden("saddr: \"@s\", verdict: drop", "saddr: \"@empty\", verdict: drop"));
    assert!(!hidden("saddr: \"@empty\", verdict: drop", "saddr: 10.1.2.3, verdict: drop"));
    assert!(!hidden("l4proto: tcp, verdict: drop", "l4proto: [tcp, udp], verdict: drop"));
    assert!(!hidden("l4proto: tcp, dport: 1-100, verdict: drop", "l4proto: tcp, dport: 90-110, verdict: drop"));
    assert!(!hidden("ct_state: new, verdict: drop", "ct_state: [new, invalid], verdict: drop"));
}

#[test]
fn a_jump_hides_nothing_and_unused_chains_show() {
    let text = "chains: { forward: { rules: [ { id: a, verdict: jump c }, { id: b, verdict: drop } ] }, c: { rules: [] }, d: { rules: [] } }";
    assert_eq!(warnings(text), ["chain `d` is never used"]);
    let text =
        "chains: { forward: { rules: [ { id: a, verdict: goto c }, { id: b, verdict: accept } ] }, c: { rules: [] } }";
    assert_eq!(warnings(text), ["rule `b` can never match"]);
}

#[test]
fn a_rule_without_a_name_gets_one() {
    let loaded =
        check(&format!("{PORTS}chains: {{ input: {{ rules: [ {{ iif: lan0, verdict: drop }} ] }} }}\n")).unwrap();
    assert_eq!(brief(&loaded.diagnostics), ["warning 5:29 rule 1 of chain `input` has no `id`"]);
    assert_eq!(loaded.settings.policy.chains[0].rules[0].id, "input/1");
}

#[test]
fn metrics_open_to_the_world() {
    let listens = |address: &str| !warnings(&format!("metrics: {{ listen: \"{address}\" }}")).is_empty();
    for open in ["0.0.0.0:1", "[::]:1", "203.0.113.1:1", "[2001:db8::1]:1"] {
        assert!(listens(open), "{open}");
    }
    for closed in ["127.0.0.1:1", "[::1]:1", "10.0.0.1:1", "192.168.1.1:1", "[fd00::1]:1", "169.254.0.1:1"] {
        assert!(!listens(closed), "{closed}");
    }
}

#[test]
fn a_table_larger_than_memory() {
    let mut loaded = check(&format!("{PORTS}conntrack: {{ max_entries: 100000000 }}\n")).unwrap();
    loaded.lint_memory(1 << 30, &machine());
    assert_eq!(loaded.diagnostics.warnings(), 0);
    loaded.lint_memory(20 << 30, &machine());
    assert_eq!(brief(&loaded.diagnostics), ["warning 5:27 20480 MiB would be reserved, the machine has 1024 MiB"]);
}
