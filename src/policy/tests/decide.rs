use super::*;
use VerdictSpec::{Accept, Drop, Return};

fn slots(trail: &Trail) -> Vec<u16> {
    trail.slots().iter().map(|s| s.0).collect()
}

/// The three rules every stateful router starts from.
fn stance() -> Ruleset {
    let known = Matches { ct_state: states(&[CtState::Established, CtState::Related]), ..all() };
    let bad = Matches { ct_state: states(&[CtState::Invalid]), ..all() };
    let out = Matches { ct_state: states(&[CtState::New]), iif: vec![PortId(0)], oif: vec![PortId(1)], ..all() };
    let rules = vec![rule("known", known, Accept), rule("bad", bad, Drop), rule("lan-out", out, Accept)];
    Ruleset::compile(&policy(vec![chain("forward", ChainPolicy::Drop, rules)])).unwrap()
}

#[test]
fn classic_stance() {
    let set = stance();
    assert!(set.warnings().is_empty());
    for (src, dst) in [("10.0.0.1", "192.0.2.1"), ("fd00::1", "2001:db8::1")] {
        for (state, inward, verdict, by) in [
            (CtState::New, false, Verdict::Accept, 2),
            (CtState::New, true, Verdict::Drop, 3),
            (CtState::Established, false, Verdict::Accept, 0),
            (CtState::Established, true, Verdict::Accept, 0),
            (CtState::Related, true, Verdict::Accept, 0),
            (CtState::Invalid, false, Verdict::Drop, 1),
            (CtState::Untracked, false, Verdict::Drop, 3),
        ] {
            let mut input = packet(state, src, dst, 80);
            if inward {
                (input.iif, input.oif) = (PortId(1), Some(PortId(0)));
            }
            let got = set.decide(Hook::Forward, &input);
            let decider = if by == 3 { Decider::ChainPolicy(Hook::Forward) } else { Decider::Rule(RuleIndex(by)) };
            assert_eq!((got.verdict, got.by), (verdict, decider), "{state} inward {inward}");
            assert_eq!(slots(&got.trail), [by]);
            assert!(!got.trail.is_full());
        }
    }
}

#[test]
fn slots_are_named_in_file_order() {
    let set = Ruleset::compile(&policy(vec![
        chain("web", ChainPolicy::Accept, vec![rule("ok", tcp(80), Accept), rule("no", all(), Return)]),
        chain("input", ChainPolicy::Accept, vec![]),
        chain("forward", ChainPolicy::Drop, vec![rule("to-web", all(), jump("web"))]),
    ]))
    .unwrap();
    let names: Vec<_> = (0..set.slots() as u16).map(|i| set.slot_info(RuleIndex(i)).unwrap()).collect();
    let flat: Vec<_> = names.iter().map(|s| (s.chain, s.rule, s.verdict)).collect();
    assert_eq!(
        flat,
        [
            ("web", Some("ok"), "accept"),
            ("web", Some("no"), "return"),
            ("forward", Some("to-web"), "jump"),
            ("forward", None, "drop"),
            ("input", None, "accept"),
        ]
    );
    assert_eq!(set.slot_info(RuleIndex(5)), None);
    assert_eq!(set.policy_slot(Hook::Forward), Some(RuleIndex(3)));
    assert_eq!(set.policy_slot(Hook::Prerouting), None);
}

#[test]
fn hook_without_chain_accepts_and_counts_nothing() {
    let set = stance();
    assert!(set.is_empty_at(Hook::Prerouting) && set.is_empty_at(Hook::Input) && !set.is_empty_at(Hook::Forward));
    let got = set.decide(Hook::Input, &packet(CtState::New, "10.0.0.1", "10.0.0.2", 22));
    assert_eq!(got.verdict, Verdict::Accept);
    assert_eq!(got.by, Decider::ChainPolicy(Hook::Input));
    assert_eq!(slots(&got.trail), [0u16; 0]);
}

#[test]
fn jump_comes_back_goto_does_not_return_ends_the_chain() {
    // Slots: forward 0 1 2 3, a 4 5, b 6, policy 7.
    let build = |first: VerdictSpec| {
        Ruleset::compile(&policy(vec![
            chain(
                "forward",
                ChainPolicy::Drop,
                vec![
                    rule("f0", tcp(1), first),
                    rule("f1", tcp(2), Return),
                    rule("f2", tcp(1), Accept),
                    rule("f3", tcp(2), Accept),
                ],
            ),
            chain("a", ChainPolicy::Accept, vec![rule("a0", tcp(1), goto("b")), rule("a1", all(), Accept)]),
            chain("b", ChainPolicy::Accept, vec![rule("b0", all(), Return)]),
        ]))
        .unwrap()
    };
    let at = |set: &Ruleset, dport| set.decide(Hook::Forward, &packet(CtState::New, "10.0.0.1", "10.0.0.2", dport));

    let jumping = build(jump("a"));
    let got = at(&jumping, 1);
    assert_eq!((got.verdict, slots(&got.trail)), (Verdict::Accept, vec![0, 4, 6, 2]));
    let got = at(&jumping, 2);
    assert_eq!((got.verdict, slots(&got.trail)), (Verdict::Drop, vec![1, 7]));
    assert_eq!(got.by, Decider::ChainPolicy(Hook::Forward));

    let going = build(goto("a"));
    let got = at(&going, 1);
    assert_eq!((got.verdict, slots(&got.trail)), (Verdict::Drop, vec![0, 4, 6, 7]));
}

#[test]
fn long_trail_keeps_the_decider_and_says_so() {
    let mut rules: Vec<_> = (0..5).map(|i| rule(&format!("j{i}"), all(), jump("own"))).collect();
    rules.push(rule("end", all(), Drop));
    let own = chain("own", ChainPolicy::Accept, vec![rule("never", tcp(9), Accept)]);
    let set = Ruleset::compile(&policy(vec![chain("input", ChainPolicy::Accept, rules), own])).unwrap();
    let mut input = packet(CtState::New, "10.0.0.1", "10.0.0.2", 80);
    input.oif = None;
    let got = set.decide(Hook::Input, &input);
    assert_eq!(slots(&got.trail), [0, 1, 2, 5]);
    assert!(got.trail.is_full());
    let mut named = Vec::new();
    set.decide_with(Hook::Input, &input, |s| named.push(s.0));
    assert_eq!(named, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn ports_need_ports_in_the_packet() {
    let set = Ruleset::compile(&policy(vec![chain(
        "forward",
        ChainPolicy::Drop,
        vec![rule("web", Matches { dport: vec![0..=65535], ..tcp(80) }, Accept)],
    )]))
    .unwrap();
    let mut input = packet(CtState::New, "10.0.0.1", "10.0.0.2", 80);
    assert_eq!(set.decide(Hook::Forward, &input).verdict, Verdict::Accept);
    input.has_ports = false;
    assert_eq!(set.decide(Hook::Forward, &input).verdict, Verdict::Drop);
}

#[test]
fn prefixes_stay_in_their_family() {
    let accept = |list: &[&str]| {
        let m = Matches { daddr: addr(list), ..all() };
        Ruleset::compile(&policy(vec![chain("forward", ChainPolicy::Drop, vec![rule("r", m, Accept)])])).unwrap()
    };
    let passes = |set: &Ruleset, dst: &str| {
        let src = if dst.contains(':') { "fd00::1" } else { "10.0.0.1" };
        set.decide(Hook::Forward, &packet(CtState::New, src, dst, 80)).verdict == Verdict::Accept
    };
    let all4 = accept(&["0.0.0.0/0"]);
    assert!(passes(&all4, "203.0.113.9") && !passes(&all4, "::203.0.113.9") && !passes(&all4, "::1"));
    let low6 = accept(&["::/96"]);
    assert!(passes(&low6, "::1.2.3.4") && !passes(&low6, "1.2.3.4") && !passes(&low6, "1::"));
    let both = accept(&["0.0.0.0/0", "::/0"]);
    assert!(passes(&both, "1.2.3.4") && passes(&both, "ffff::1"));
    let host = accept(&["192.0.2.80/32"]);
    assert!(passes(&host, "192.0.2.80") && !passes(&host, "192.0.2.81"));
}

#[test]
fn large_sets_are_searched() {
    // Every second /24 of 10.0.0.0/8 and every second /48 of 2001:db8::/32.
    let v4 = (0..1u32 << 15).map(|i| net(&format!("10.{}.{}.0/24", i >> 7, (i & 127) * 2)));
    let v6 = (0..4096u32).map(|i| net(&format!("2001:db8:{:x}::/48", i * 2)));
    let spec = PolicySpec {
        chains: vec![chain(
            "forward",
            ChainPolicy::Accept,
            vec![
                rule("ban", Matches { saddr: addr(&["@ban"]), ..all() }, Drop),
                rule("none", Matches { saddr: addr(&["@none"]), ..all() }, Drop),
            ],
        )],
        sets: vec![
            SetSpec { name: "ban".into(), elements: v4.chain(v6).collect() },
            SetSpec { name: "none".into(), elements: vec![] },
        ],
    };
    let set = Ruleset::compile(&spec).unwrap();
    for (src, dst, verdict) in [
        ("10.255.254.255", "1.1.1.1", Verdict::Drop),
        ("10.255.255.0", "1.1.1.1", Verdict::Accept),
        ("10.0.0.0", "1.1.1.1", Verdict::Drop),
        ("9.255.255.255", "1.1.1.1", Verdict::Accept),
        ("2001:db8:10::1", "::1", Verdict::Drop),
        ("2001:db8:11::1", "::1", Verdict::Accept),
    ] {
        assert_eq!(set.decide(Hook::Forward, &packet(CtState::New, src, dst, 1)).verdict, verdict, "{src}");
    }
}

#[test]
fn notrack_before_tracking() {
    let dns = Matches { l4proto: vec![proto::TCP], dport: vec![53..=53], ..all() };
    let set = Ruleset::compile(&policy(vec![
        chain("prerouting", ChainPolicy::Accept, vec![rule("in", all(), jump("raw"))]),
        chain("raw", ChainPolicy::Accept, vec![rule("dns", dns, VerdictSpec::NoTrack)]),
    ]))
    .unwrap();
    let mut input = packet(CtState::New, "10.0.0.1", "10.0.0.2", 53);
    (input.state, input.oif) = (None, None);
    assert_eq!(set.decide(Hook::Prerouting, &input).verdict, Verdict::NoTrack);
    input.tuple.dst_key = 54;
    let got = set.decide(Hook::Prerouting, &input);
    assert_eq!((got.verdict, slots(&got.trail)), (Verdict::Accept, vec![0, 2]));
}
