use super::*;
use PolicyErrorKind as K;
use VerdictSpec::{Accept, Drop};

/// The single error of a policy.
#[track_caller]
fn only(spec: &PolicySpec) -> (usize, Option<usize>, Field, PolicyErrorKind) {
    let errors = Ruleset::compile(spec).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    let e = errors.into_iter().next().unwrap();
    assert!(!e.to_string().is_empty());
    (e.chain, e.rule, e.field, e.kind)
}

/// One rule in the forward chain, after one that does not matter.
fn forward(matches: Matches, verdict: VerdictSpec) -> PolicySpec {
    at("forward", matches, verdict)
}

fn at(name: &str, matches: Matches, verdict: VerdictSpec) -> PolicySpec {
    let rules = vec![rule("first", tcp(1), Accept), rule("second", matches, verdict)];
    policy(vec![chain("idle", ChainPolicy::Accept, vec![]), chain(name, ChainPolicy::Drop, rules)])
}

#[test]
fn unknown_names() {
    let m = Matches { saddr: addr(&["@lan"]), ..all() };
    assert_eq!(only(&forward(m, Drop)), (1, Some(1), Field::Saddr, K::UnknownSet("lan".into())));
    let m = Matches { daddr: addr(&["@lan"]), ..all() };
    assert_eq!(only(&forward(m, Drop)), (1, Some(1), Field::Daddr, K::UnknownSet("lan".into())));
    for verdict in [jump("web"), goto("web")] {
        assert_eq!(only(&forward(all(), verdict)), (1, Some(1), Field::Verdict, K::UnknownChain("web".into())));
    }
}

#[test]
fn jump_to_base() {
    let spec = forward(all(), jump("input"));
    assert_eq!(only(&spec), (1, Some(1), Field::Verdict, K::JumpToBase("input".into())));
}

#[test]
fn loops() {
    let spec = policy(vec![
        chain("forward", ChainPolicy::Drop, vec![rule("f", all(), jump("a"))]),
        chain("a", ChainPolicy::Accept, vec![rule("a", all(), jump("b"))]),
        chain("b", ChainPolicy::Accept, vec![rule("x", tcp(1), Accept), rule("b", all(), goto("a"))]),
    ]);
    assert_eq!(only(&spec), (2, Some(1), Field::Verdict, K::JumpLoop("a".into())));
    let own = policy(vec![chain("a", ChainPolicy::Accept, vec![rule("a", all(), jump("a"))])]);
    assert_eq!(only(&own), (0, Some(0), Field::Verdict, K::JumpLoop("a".into())));
}

/// A line of chains below `forward`, `depth` in all.
fn ladder(depth: usize) -> PolicySpec {
    let name = |i: usize| if i == 0 { "forward".to_owned() } else { format!("c{i}") };
    let step = |i: usize| {
        let rules = if i + 1 < depth { vec![rule("down", all(), jump(&name(i + 1)))] } else { vec![] };
        chain(&name(i), ChainPolicy::Accept, rules)
    };
    policy((0..depth).map(step).collect())
}

#[test]
fn nesting_is_bounded() {
    let set = Ruleset::compile(&ladder(MAX_NESTING)).unwrap();
    let got = set.decide(Hook::Forward, &packet(CtState::New, "10.0.0.1", "10.0.0.2", 1));
    assert_eq!((got.verdict, got.by), (Verdict::Accept, Decider::ChainPolicy(Hook::Forward)));
    let errors = Ruleset::compile(&ladder(MAX_NESTING + 1)).unwrap_err();
    let first = &errors[0];
    assert_eq!((first.chain, first.rule, &first.kind), (MAX_NESTING - 1, Some(0), &K::JumpTooDeep));
}

#[test]
fn long_lines_of_chains_do_not_exhaust_the_stack() {
    let errors = Ruleset::compile(&ladder(30_000)).unwrap_err();
    assert!(errors.iter().all(|e| e.kind == K::JumpTooDeep));
}

#[test]
fn multiplying_jumps_are_bounded() {
    // Each of eight levels jumps eight times to the next: 8^8 rules for a packet that matches nothing.
    let name = |i: usize| if i == 0 { "input".to_owned() } else { format!("c{i}") };
    let level = |i: usize| {
        let last = i == 7;
        let one = |r: usize| rule(&format!("r{r}"), all(), if last { VerdictSpec::Return } else { jump(&name(i + 1)) });
        chain(&name(i), ChainPolicy::Accept, (0..if last { 1 } else { 8 }).map(one).collect())
    };
    let spec = policy((0..8).map(level).collect());
    assert_eq!(only(&spec), (0, None, Field::Name, K::TooManySteps));
}

#[test]
fn too_many_rules() {
    let rules = |n: usize| (0..n).map(|i| rule(&i.to_string(), tcp(1), jump("x"))).collect();
    let x = || chain("x", ChainPolicy::Accept, vec![]);
    let fits = policy(vec![x(), chain("forward", ChainPolicy::Drop, rules(MAX_SLOTS - 2))]);
    assert_eq!(Ruleset::compile(&fits).unwrap().slots(), MAX_SLOTS - 1);
    let over = policy(vec![x(), chain("forward", ChainPolicy::Drop, rules(MAX_SLOTS - 1))]);
    assert_eq!(only(&over), (1, None, Field::Name, K::TooManyRules));
}

#[test]
fn doubled_names() {
    let spec = policy(vec![chain("a", ChainPolicy::Accept, vec![]), chain("a", ChainPolicy::Accept, vec![])]);
    assert_eq!(only(&spec), (1, None, Field::Name, K::DuplicateChain("a".into())));
    let twice = vec![rule("r", tcp(1), Accept), rule("r", tcp(2), Accept)];
    let spec = policy(vec![chain("input", ChainPolicy::Drop, twice)]);
    assert_eq!(only(&spec), (0, Some(1), Field::Id, K::DuplicateId("r".into())));
}

#[test]
fn conditions_without_meaning_at_their_hook() {
    let ct = || Matches { ct_state: states(&[CtState::New]), ..all() };
    let oif = || Matches { oif: vec![PortId(1)], ..all() };
    let notrack = || VerdictSpec::NoTrack;
    let tail = |spec: PolicySpec| {
        let (c, r, field, kind) = only(&spec);
        assert_eq!((c, r), (1, Some(1)));
        (field, kind)
    };
    assert_eq!(tail(at("prerouting", ct(), Drop)), (Field::CtState, K::CtStateInPrerouting));
    assert_eq!(tail(at("prerouting", oif(), Drop)), (Field::Oif, K::OifWithoutEgress("prerouting")));
    assert_eq!(tail(at("input", oif(), Drop)), (Field::Oif, K::OifWithoutEgress("input")));
    assert_eq!(tail(at("forward", all(), notrack())), (Field::Verdict, K::NotrackOutsidePrerouting("forward")));
    assert_eq!(tail(at("input", all(), notrack())), (Field::Verdict, K::NotrackOutsidePrerouting("input")));

    // The same through an own chain: what counts is where packets come from.
    let through = |hook: &str, matches, verdict| {
        policy(vec![
            chain(hook, ChainPolicy::Accept, vec![rule("go", all(), jump("own"))]),
            chain("own", ChainPolicy::Accept, vec![rule("one", tcp(1), Accept), rule("two", matches, verdict)]),
        ])
    };
    assert_eq!(tail(through("prerouting", ct(), Drop)), (Field::CtState, K::CtStateInPrerouting));
    assert_eq!(tail(through("input", oif(), Drop)), (Field::Oif, K::OifWithoutEgress("input")));
    assert_eq!(tail(through("forward", all(), notrack())), (Field::Verdict, K::NotrackOutsidePrerouting("forward")));
    for fine in
        [through("forward", ct(), Drop), through("forward", oif(), Drop), through("prerouting", all(), notrack())]
    {
        assert!(Ruleset::compile(&fine).is_ok());
    }
}

#[test]
fn tcp_reset_needs_tcp_alone() {
    let reset = || VerdictSpec::Reject(RejectWith::TcpReset);
    let with = |l4proto: &[u8]| forward(Matches { l4proto: l4proto.to_vec(), ..all() }, reset());
    for l4proto in [&[][..], &[proto::UDP], &[proto::TCP, proto::UDP]] {
        assert_eq!(only(&with(l4proto)), (1, Some(1), Field::Verdict, K::TcpResetWithoutTcp));
    }
    let set = Ruleset::compile(&with(&[proto::TCP])).unwrap();
    let got = set.decide(Hook::Forward, &packet(CtState::New, "10.0.0.1", "10.0.0.2", 5));
    assert_eq!(got.verdict, Verdict::Reject(RejectWith::TcpReset));
}

#[test]
fn ports_need_a_protocol_with_ports() {
    for l4proto in [&[][..], &[proto::ICMP], &[proto::TCP, proto::GRE]] {
        let m = Matches { l4proto: l4proto.to_vec(), sport: vec![1..=2], ..all() };
        assert_eq!(only(&forward(m, Drop)), (1, Some(1), Field::Sport, K::PortsWithoutProtocol));
        let m = Matches { l4proto: l4proto.to_vec(), dport: vec![1..=2], ..all() };
        assert_eq!(only(&forward(m, Drop)), (1, Some(1), Field::Dport, K::PortsWithoutProtocol));
    }
    let l4proto = vec![proto::TCP, proto::UDP, proto::UDPLITE, proto::SCTP];
    assert!(Ruleset::compile(&forward(Matches { l4proto, dport: vec![1..=2], ..all() }, Drop)).is_ok());
}

#[test]
#[allow(clippy::reversed_empty_ranges)]
fn reversed_range() {
    let m = Matches { dport: vec![1..=2, 90..=80], ..tcp(1) };
    assert_eq!(only(&forward(m, Drop)), (1, Some(1), Field::Dport, K::ReversedRange(90, 80)));
}

#[test]
fn port_number_beyond_the_mask() {
    let m = Matches { iif: vec![PortId(64)], ..all() };
    assert_eq!(only(&forward(m, Drop)), (1, Some(1), Field::Iif, K::PortNumber(64)));
    let m = Matches { oif: vec![PortId(63), PortId(200)], ..all() };
    assert_eq!(only(&forward(m, Drop)), (1, Some(1), Field::Oif, K::PortNumber(200)));
}

#[test]
fn mixed_families() {
    let with = |saddr: &[&str], daddr: &[&str]| {
        let mut spec = forward(Matches { saddr: addr(saddr), daddr: addr(daddr), ..all() }, Drop);
        let set = |name: &str, list: &[&str]| SetSpec {
            name: name.to_owned(),
            elements: list.iter().map(|n| net(n)).collect(),
        };
        spec.sets = vec![set("six", &["fd00::/8"]), set("both", &["10.0.0.0/8", "fd00::/8"]), set("none", &[])];
        spec
    };
    for (saddr, daddr) in [(["10.0.0.0/8"], ["fd00::/8"]), (["10.0.0.0/8"], ["@six"]), (["@six"], ["1.0.0.0/8"])] {
        assert_eq!(only(&with(&saddr, &daddr)), (1, Some(1), Field::Daddr, K::MixedFamilies));
    }
    for (saddr, daddr) in [(["@both"], ["@six"]), (["@both"], ["1.0.0.0/8"]), (["@none"], ["fd00::/8"])] {
        assert!(Ruleset::compile(&with(&saddr, &daddr)).is_ok(), "{saddr:?} {daddr:?}");
    }
}

#[test]
fn all_mistakes_at_once_in_file_order() {
    let spec = policy(vec![
        chain("forward", ChainPolicy::Drop, vec![rule("a", all(), jump("nowhere"))]),
        chain("prerouting", ChainPolicy::Drop, vec![rule("b", Matches { oif: vec![PortId(0)], ..all() }, Drop)]),
        chain("forward", ChainPolicy::Drop, vec![]),
    ]);
    let errors = Ruleset::compile(&spec).unwrap_err();
    let places: Vec<_> = errors.iter().map(|e| (e.chain, e.rule, e.field)).collect();
    assert_eq!(places, [(0, Some(0), Field::Verdict), (1, Some(0), Field::Oif), (2, None, Field::Name)]);
}

#[test]
fn warns_of_chains_nobody_enters() {
    let spec = policy(vec![
        chain("forward", ChainPolicy::Drop, vec![rule("go", all(), goto("used"))]),
        chain("used", ChainPolicy::Accept, vec![]),
        chain("idle", ChainPolicy::Accept, vec![rule("x", all(), jump("below"))]),
        chain("below", ChainPolicy::Accept, vec![]),
    ]);
    let set = Ruleset::compile(&spec).unwrap();
    let got: Vec<_> = set.warnings().iter().map(|w| (w.chain, w.rule, w.kind.clone())).collect();
    assert_eq!(got, [(2, None, PolicyWarningKind::ChainNotReached), (3, None, PolicyWarningKind::ChainNotReached)]);
}

/// Which rule of a forward chain is said to hide which: (hidden, hiding).
fn hidden(rules: Vec<RuleSpec>) -> Vec<(usize, usize)> {
    let mut spec = policy(vec![
        chain("forward", ChainPolicy::Drop, rules),
        chain("input", ChainPolicy::Drop, vec![rule("use", all(), jump("own"))]),
        chain("own", ChainPolicy::Accept, vec![]),
    ]);
    let set =
        |name: &str, list: &[&str]| SetSpec { name: name.to_owned(), elements: list.iter().map(|n| net(n)).collect() };
    spec.sets = vec![set("wide", &["10.0.0.0/9", "10.128.0.0/9", "fd00::/8"]), set("none", &[])];
    let set = Ruleset::compile(&spec).unwrap();
    let pair = |w: &PolicyWarning| match &w.kind {
        PolicyWarningKind::RuleNotReached { by, id } => {
            assert_eq!(*id, spec.chains[0].rules[*by].id);
            (w.rule.unwrap(), *by)
        }
        PolicyWarningKind::ChainNotReached => panic!("{w:?}"),
    };
    set.warnings().iter().map(pair).collect()
}

#[test]
fn warns_of_rules_never_reached() {
    let pair = |a: Matches, b: Matches| hidden(vec![rule("a", a, Drop), rule("b", b, Accept)]);
    let hides = |a: &Matches, b: &Matches| !pair(a.clone(), b.clone()).is_empty();
    let from = |list: &[&str]| Matches { saddr: addr(list), ..all() };
    let ports = |list: &[std::ops::RangeInclusive<u16>]| Matches { dport: list.to_vec(), ..tcp(1) };
    let state = |list: &[CtState]| Matches { ct_state: states(list), ..all() };
    let iif = |list: &[u8]| Matches { iif: list.iter().map(|p| PortId(*p)).collect(), ..all() };
    // (wide, narrow): the wide one first hides the narrow one, and not the other way round.
    for (wide, narrow) in [
        (all(), tcp(80)),
        (ports(&[1..=100]), ports(&[80..=90])),
        (ports(&[1..=50, 51..=100]), ports(&[40..=60])),
        (from(&["10.0.0.0/8"]), from(&["10.1.0.0/16"])),
        (from(&["@wide"]), from(&["10.1.0.0/16"])),
        (from(&["fd00::/7"]), from(&["fd00::/16", "fd80::/16"])),
        (from(&["@wide", "192.0.2.0/24"]), from(&["@wide"])),
        (from(&["0.0.0.0/0", "::/0"]), from(&["@wide"])),
        (state(&[CtState::New, CtState::Invalid]), state(&[CtState::New])),
        (iif(&[0, 1]), iif(&[1])),
        (Matches { l4proto: vec![6, 17], ..all() }, Matches { l4proto: vec![17], ..all() }),
    ] {
        assert!(hides(&wide, &narrow), "{wide:?} {narrow:?}");
        assert!(!hides(&narrow, &wide), "{narrow:?} {wide:?}");
    }
    for (a, b) in [
        (from(&["10.0.0.0/8"]), from(&["@wide"])),
        (from(&["10.0.0.0/8"]), from(&["fd00::/8"])),
        (all(), from(&["@none"])),
        (Matches { oif: vec![PortId(0)], ..all() }, Matches { iif: vec![PortId(0)], ..all() }),
    ] {
        assert!(!hides(&a, &b), "{a:?} {b:?}");
    }
    assert!(hides(&state(&CtState::ALL), &all()));
    // A jump may come back; a goto and a return do not.
    assert_eq!(hidden(vec![rule("a", all(), jump("own")), rule("b", all(), Accept)]), []);
    assert_eq!(hidden(vec![rule("a", all(), goto("own")), rule("b", all(), Accept)]), [(1, 0)]);
    assert_eq!(hidden(vec![rule("a", all(), VerdictSpec::Return), rule("b", all(), Accept)]), [(1, 0)]);
}
