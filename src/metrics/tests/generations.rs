use super::*;

fn first() -> Vec<RuleSlot> {
    vec![slot("forward", Some("known"), "accept"), slot("forward", Some("old"), "drop"), slot("forward", None, "drop")]
}

/// `old` is gone, `known` has moved and another verdict, `new` is there.
fn second() -> Vec<RuleSlot> {
    vec![
        slot("forward", Some("new"), "accept"),
        slot("forward", Some("known"), "jump"),
        slot("input", Some("known"), "accept"),
        slot("forward", None, "accept"),
    ]
}

/// Packets of every slot shown.
fn packets(exporter: &Exporter) -> Vec<(String, u64)> {
    let name = |s: &RuleSlot| format!("{}/{} {}", s.chain, s.rule.as_deref().unwrap_or("policy"), s.verdict);
    exporter.rules().iter().map(|(s, sum)| (name(s), sum[0])).collect()
}

fn expect(exporter: &Exporter, expected: &[(&str, u64)]) {
    let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect();
    assert_eq!(packets(exporter), expected);
}

#[test]
fn rules_add_up_over_workers() {
    let exporter = Exporter::new(setup());
    let generation = exporter.begin_rules(first());
    let mut a = generation.counters(ShardId(0)).unwrap();
    let mut b = generation.counters(ShardId(1)).unwrap();
    assert!(generation.counters(ShardId(2)).is_none());
    a.count(0, 1, 100);
    b.count(0, 2, 50);
    b.count(2, 1, 60);
    b.count(3, 9, 9);
    a.publish();
    b.publish();
    let series = series(&exporter);
    assert_eq!(of(&series, "flowgate_rule_packets_total{chain=\"forward\",rule=\"known\",verdict=\"accept\"}"), 3.0);
    assert_eq!(of(&series, "flowgate_rule_bytes_total{chain=\"forward\",rule=\"known\",verdict=\"accept\"}"), 150.0);
    assert_eq!(of(&series, "flowgate_rule_packets_total{chain=\"forward\",rule=\"old\",verdict=\"drop\"}"), 0.0);
    assert_eq!(of(&series, "flowgate_chain_policy_packets_total{chain=\"forward\",verdict=\"drop\"}"), 1.0);
    assert!(!series.keys().any(|k| k.contains("rule=\"policy\"")));
}

#[test]
fn counters_survive_a_reload() {
    let exporter = Exporter::new(setup());
    let old = exporter.begin_rules(first());
    let mut a = old.counters(ShardId(0)).unwrap();
    let mut b = old.counters(ShardId(1)).unwrap();
    a.count(0, 10, 0);
    b.count(0, 20, 0);
    a.count(2, 5, 0);
    a.publish();
    b.publish();

    let new = exporter.begin_rules(second());
    drop(old);
    expect(
        &exporter,
        &[
            ("forward/new accept", 0),
            ("forward/known jump", 30),
            ("input/known accept", 0),
            ("forward/policy accept", 5),
        ],
    );
    // One worker moves on with numbers it had not published; the other still counts in the old ruleset.
    a.count(0, 1, 0);
    drop(a);
    let mut a = new.counters(ShardId(0)).unwrap();
    a.count(1, 100, 0);
    a.publish();
    b.count(0, 2, 0);
    b.publish();
    assert_eq!(exporter.generations(), 2);
    assert_eq!(packets(&exporter)[1].1, 133);
    assert_eq!(exporter.generations(), 2, "a worker is still in the old one");

    drop(b);
    assert_eq!(packets(&exporter)[1].1, 133);
    assert_eq!(exporter.generations(), 1, "the old one is folded");
    assert_eq!(packets(&exporter)[1].1, 133);
    a.count(1, 1, 0);
    a.publish();
    assert_eq!(packets(&exporter)[1].1, 134);

    // Back to the first ruleset: what is in all of them goes on, what was away starts anew.
    let back = exporter.begin_rules(first());
    drop((new, a));
    let _c = back.counters(ShardId(0)).unwrap();
    expect(&exporter, &[("forward/known accept", 134), ("forward/old drop", 0), ("forward/policy drop", 5)]);
    assert_eq!(exporter.generations(), 1);
}

#[test]
fn a_snapshot_nobody_took_up_yet_is_not_folded() {
    let exporter = Exporter::new(setup());
    let kept = exporter.begin_rules(first());
    let _newest = exporter.begin_rules(second());
    let _ = exporter.rules();
    assert_eq!(exporter.generations(), 2);
    let mut late = kept.counters(ShardId(0)).unwrap();
    drop(kept);
    late.count(0, 4, 0);
    drop(late);
    assert_eq!(packets(&exporter)[1], ("forward/known jump".to_owned(), 4));
    assert_eq!(exporter.generations(), 1);
}

#[test]
fn many_reloads_leave_nothing_behind() {
    let exporter = Exporter::new(setup());
    let mut total = 0;
    for i in 0..200u64 {
        let generation = exporter.begin_rules(if i % 2 == 0 { first() } else { second() });
        let slot = usize::from(i % 2 == 1);
        let mut counters = generation.counters(ShardId(0)).unwrap();
        counters.count(slot, i, 0);
        total += i;
        drop((generation, counters));
        assert_eq!(packets(&exporter)[slot].1, total);
    }
    assert_eq!(exporter.generations(), 1);
}
