//! Random policies and packets: the compiled ruleset must agree with the specification read literally.

use super::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Reads the specification as a person would.
struct Naive<'a>(&'a PolicySpec);

impl Naive<'_> {
    fn addr(&self, m: &AddrMatch, family: Family, addr: Addr) -> bool {
        let ip = addr.to_ip(family);
        let in_set = |name: &String| {
            let set = self.0.sets.iter().find(|s| s.name == *name).unwrap();
            set.elements.iter().any(|n| n.contains(&ip))
        };
        (m.prefixes.is_empty() && m.sets.is_empty())
            || m.prefixes.iter().any(|n| n.contains(&ip))
            || m.sets.iter().any(in_set)
    }

    fn matches(&self, m: &Matches, p: &Input) -> bool {
        let ports = |list: &[std::ops::RangeInclusive<u16>], port: u16| {
            list.is_empty() || (p.has_ports && list.iter().any(|r| r.contains(&port)))
        };
        m.ct_state.is_none_or(|mask| p.state.is_some_and(|s| mask.contains(s)))
            && (m.iif.is_empty() || m.iif.contains(&p.iif))
            && (m.oif.is_empty() || p.oif.is_some_and(|o| m.oif.contains(&o)))
            && (m.l4proto.is_empty() || m.l4proto.contains(&p.tuple.proto))
            && self.addr(&m.saddr, p.tuple.family, p.tuple.src)
            && self.addr(&m.daddr, p.tuple.family, p.tuple.dst)
            && ports(&m.sport, p.tuple.src_key)
            && ports(&m.dport, p.tuple.dst_key)
    }

    /// The final verdict in a chain, `None` if its end was reached; lists the matching rules passed.
    fn chain(&self, name: &str, p: &Input, seen: &mut Vec<(String, String)>) -> Option<Verdict> {
        let chain = self.0.chains.iter().find(|c| c.name == name).unwrap();
        for rule in &chain.rules {
            if !self.matches(&rule.matches, p) {
                continue;
            }
            seen.push((chain.name.clone(), rule.id.clone()));
            match &rule.verdict {
                VerdictSpec::Accept => return Some(Verdict::Accept),
                VerdictSpec::Drop => return Some(Verdict::Drop),
                VerdictSpec::Reject(with) => return Some(Verdict::Reject(*with)),
                VerdictSpec::NoTrack => return Some(Verdict::NoTrack),
                VerdictSpec::Return => return None,
                VerdictSpec::Goto(to) => return self.chain(to, p, seen),
                VerdictSpec::Jump(to) => {
                    if let Some(verdict) = self.chain(to, p, seen) {
                        return Some(verdict);
                    }
                }
            }
        }
        None
    }

    fn decide(&self, hook: Hook, p: &Input) -> (Verdict, bool, Vec<(String, String)>) {
        let mut seen = Vec::new();
        let Some(base) = self.0.chains.iter().find(|c| c.name == hook.chain_name()) else {
            return (Verdict::Accept, false, seen);
        };
        match self.chain(&base.name, p, &mut seen) {
            Some(verdict) => (verdict, true, seen),
            None => {
                let policy = match base.policy {
                    ChainPolicy::Accept => Verdict::Accept,
                    ChainPolicy::Drop => Verdict::Drop,
                };
                seen.push((base.name.clone(), String::new()));
                (policy, false, seen)
            }
        }
    }
}

const ADDRS4: [&str; 6] = ["10.0.0.0", "10.0.0.1", "10.0.1.255", "10.128.0.1", "192.0.2.7", "255.255.255.255"];
const ADDRS6: [&str; 6] = ["::", "::10.0.0.1", "2001:db8::1", "2001:db8:0:1::", "fd00::2", "ffff::ffff"];
const NETS4: [&str; 6] = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/23", "10.0.0.1/32", "192.0.2.0/24", "128.0.0.0/1"];
const NETS6: [&str; 6] = ["::/0", "::/96", "2001:db8::/48", "2001:db8:0:1::/64", "fd00::2/128", "8000::/1"];
const PORTED: [u8; 4] = [proto::TCP, proto::UDP, proto::UDPLITE, proto::SCTP];

/// Addresses whose families are `kind`: 0 none asked, 1 IPv4, 2 IPv6, 3 both.
fn addrs(kind: u8) -> BoxedStrategy<AddrMatch> {
    let from = |list: &'static [&'static str], sets: &'static [&'static str]| {
        (subsequence(list.to_vec(), 1..=3), subsequence(sets.to_vec(), 0..=sets.len()))
            .prop_map(|(nets, sets)| addr(&[nets, sets].concat()))
    };
    match kind {
        1 => from(&NETS4, &["@four"]).boxed(),
        2 => from(&NETS6, &["@six"]).boxed(),
        3 => from(&["10.0.0.0/8", "fd00::/8", "::/1"], &["@four", "@six", "@none"])
            .prop_map(|mut m| {
                m.sets.push("both".to_owned());
                m
            })
            .boxed(),
        _ => Just(AddrMatch::default()).boxed(),
    }
}

fn port_list() -> impl Strategy<Value = Vec<std::ops::RangeInclusive<u16>>> {
    let range = (select(vec![0u16, 1, 79, 80, 81, 443, 65535]), 0u16..3).prop_map(|(a, n)| a..=a.saturating_add(n));
    vec(range, 0..4)
}

fn door() -> impl Strategy<Value = PortId> {
    select(vec![PortId(0), PortId(1), PortId(5), PortId(63)])
}

/// Conditions that may stand where `ct` and `oif` say what is known.
fn matches(ct: bool, oif: bool) -> impl Strategy<Value = Matches> {
    let families = select(vec![(0u8, 0u8), (1, 0), (0, 2), (1, 1), (2, 2), (3, 1), (2, 3), (3, 3)]);
    let addresses = families.prop_flat_map(|(s, d)| (addrs(s), addrs(d)));
    let transport = prop_oneof![
        3 => Just((vec![], vec![], vec![])),
        1 => (subsequence(vec![1u8, 6, 17, 47, 58, 64, 132, 255], 1..4)).prop_map(|l| (l, vec![], vec![])),
        3 => (subsequence(PORTED.to_vec(), 1..=4), port_list(), port_list()),
    ];
    let doors = (vec(door(), 0..2), vec(door(), 0..2));
    (option::of(0u8..32), doors, addresses, transport).prop_map(move |(mask, doors, addresses, transport)| Matches {
        ct_state: mask.filter(|_| ct).map(StateMask),
        iif: doors.0,
        oif: if oif { doors.1 } else { vec![] },
        saddr: addresses.0,
        daddr: addresses.1,
        l4proto: transport.0,
        sport: transport.1,
        dport: transport.2,
    })
}

/// A chain whose rules may go to one of `below`.
fn chain_of(name: &'static str, ct: bool, oif: bool, below: &'static [&'static str]) -> BoxedStrategy<ChainSpec> {
    let verdict = prop_oneof![
        Just(VerdictSpec::Accept),
        Just(VerdictSpec::Drop),
        Just(VerdictSpec::Return),
        Just(VerdictSpec::Reject(RejectWith::AdminProhibited)),
        any::<u8>().prop_map(move |n| match below {
            [] => VerdictSpec::Return,
            _ => jump(below[usize::from(n) % below.len()]),
        }),
        any::<u8>().prop_map(move |n| match below {
            [] => VerdictSpec::Drop,
            _ => goto(below[usize::from(n) % below.len()]),
        }),
        Just(if name == "prerouting" { VerdictSpec::NoTrack } else { VerdictSpec::Accept }),
    ];
    let policy = prop_oneof![Just(ChainPolicy::Accept), Just(ChainPolicy::Drop)];
    (vec((matches(ct, oif), verdict), 0..7), policy)
        .prop_map(move |(rules, policy)| {
            let numbered = rules.into_iter().enumerate();
            chain(name, policy, numbered.map(|(i, (m, v))| rule(&format!("r{i}"), m, v)).collect())
        })
        .boxed()
}

fn policies() -> impl Strategy<Value = PolicySpec> {
    let chains = (
        chain_of("shared", false, false, &[]),
        option::of(chain_of("prerouting", false, false, &["raw", "shared"])),
        chain_of("raw", false, false, &["shared"]),
        option::of(chain_of("forward", true, true, &["f1", "f2", "shared"])),
        chain_of("f1", true, true, &["f2", "shared"]),
        chain_of("f2", true, true, &["shared"]),
        option::of(chain_of("input", true, false, &["shared", "in"])),
        chain_of("in", true, false, &["shared"]),
    );
    chains.prop_map(|(a, b, c, d, e, f, g, h)| {
        let chains = [Some(a), b, Some(c), d, Some(e), Some(f), g, Some(h)].into_iter().flatten().collect();
        let set = |name: &str, list: &[&str]| SetSpec {
            name: name.to_owned(),
            elements: list.iter().map(|n| net(n)).collect(),
        };
        let sets = vec![
            set("four", &["10.0.0.0/24", "10.0.1.0/24", "192.0.2.7/32"]),
            set("six", &["2001:db8::/32", "2001:db8::/64", "::/127"]),
            set("both", &["10.128.0.0/9", "ffff::/16"]),
            set("none", &[]),
        ];
        PolicySpec { chains, sets }
    })
}

fn inputs() -> impl Strategy<Value = (Hook, Input)> {
    let pair = |list: [&'static str; 6]| (select(list.to_vec()), select(list.to_vec()));
    let addrs = prop_oneof![pair(ADDRS4), pair(ADDRS6)];
    let port = || select(vec![0u16, 1, 78, 80, 82, 443, 446, 65535]);
    let proto = select(vec![1u8, 6, 6, 17, 17, 47, 58, 64, 132, 136, 255]);
    (select(Hook::ALL.to_vec()), addrs, (port(), port()), proto, (door(), door()), (0usize..5, any::<bool>())).prop_map(
        |(hook, (src, dst), (sport, dport), proto, (iif, oif), (state, has_ports))| {
            let mut input = packet(CtState::ALL[state], src, dst, dport);
            (input.tuple.src_key, input.tuple.proto, input.iif) = (sport, proto, iif);
            input.has_ports = has_ports;
            input.oif = (hook == Hook::Forward).then_some(oif);
            if hook == Hook::Prerouting {
                input.state = None;
            }
            (hook, input)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn agrees_with_the_specification(spec in policies(), packets in vec(inputs(), 64)) {
        let set = Ruleset::compile(&spec).unwrap();
        let naive = Naive(&spec);
        for (hook, input) in packets {
            let (verdict, by_rule, seen) = naive.decide(hook, &input);
            let name = |slot: RuleIndex| {
                let info = set.slot_info(slot).unwrap();
                (info.chain.to_owned(), info.rule.unwrap_or_default().to_owned())
            };
            let got = set.decide(hook, &input);
            prop_assert_eq!(got.verdict, verdict);
            match got.by {
                Decider::Rule(slot) => prop_assert_eq!((true, Some(&name(slot))), (by_rule, seen.last())),
                Decider::ChainPolicy(h) => prop_assert_eq!((false, h), (by_rule, hook)),
            }
            let mut named = Vec::new();
            set.decide_with(hook, &input, |slot| named.push(name(slot)));
            prop_assert_eq!(&named, &seen);
            prop_assert_eq!(got.trail.is_full(), seen.len() > Trail::LEN);
            let trail: Vec<_> = got.trail.slots().iter().map(|s| name(*s)).collect();
            if got.trail.is_full() {
                prop_assert_eq!(&trail[..3], &seen[..3]);
                prop_assert_eq!(trail.last(), seen.last());
            } else {
                prop_assert_eq!(&trail, &seen);
            }
        }
    }

    /// A rule said to be hidden is never the one that takes a packet.
    #[test]
    fn hidden_rules_take_nothing(spec in policies(), packets in vec(inputs(), 64)) {
        let set = Ruleset::compile(&spec).unwrap();
        let hidden: Vec<_> = set.warnings().iter().filter_map(|w| w.rule.map(|r| (w.chain, r))).collect();
        for (hook, input) in packets {
            set.decide_with(hook, &input, |slot| {
                let info = set.slot_info(slot).unwrap();
                let chain = spec.chains.iter().position(|c| c.name == info.chain).unwrap();
                let rule = spec.chains[chain].rules.iter().position(|r| Some(r.id.as_str()) == info.rule);
                assert!(rule.is_none_or(|r| !hidden.contains(&(chain, r))), "{info:?}");
            });
        }
    }
}
