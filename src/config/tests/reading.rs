//! What is right is read right: against a second YAML reader, and against its own print.

use super::settings::{Cores, Driver, Idle, Metrics, OnFull, RouteTarget, Vlan, XdpMode};
use super::tree::{self, Kind, Node};
use super::*;
use crate::net::{CtState, MacAddr, PortId, proto};
use crate::policy::spec::{ChainPolicy, RejectWith, VerdictSpec};
use proptest::prelude::*;
use serde_yaml::Value;

fn settings(text: &str) -> Settings {
    match check(text) {
        Ok(loaded) => loaded.settings,
        Err(diags) => panic!("{text}\n{diags}"),
    }
}

#[test]
fn defaults_are_linuxs() {
    let settings = settings(PORTS);
    assert_eq!(settings.workers, settings::Workers::default());
    assert_eq!(settings.conntrack, settings::Conntrack::default());
    let timeouts = settings.conntrack.timeouts;
    assert_eq!((timeouts.tcp_established, timeouts.udp, timeouts.udp_stream), (432_000_000, 30_000, 120_000));
    assert_eq!(settings::Timeouts::NAMES.len(), 27);
    assert_eq!(settings.metrics, None);
    assert_eq!((settings.ports[0].queues, settings.ports[0].ring, settings.ports[0].mtu), (1, 1024, None));
}

#[test]
fn a_frontend_has_one_queue_unless_it_is_said() {
    let read = settings(
        "version: 1\nworkers: { count: 4 }\nports:\n  a: { driver: virtio_user, path: /run/a.sock }\n  b: { driver: virtio_user, path: /run/b.sock, queues: 4 }\n  c: { driver: vhost_user, path: /run/c.sock }\n",
    );
    let queues: Vec<u8> = read.ports.iter().map(|port| port.queues).collect();
    assert_eq!(queues, [1, 4, 4]);
    assert_eq!(settings(&serde_yaml::to_string(&read).unwrap()).ports, read.ports);
}

#[test]
fn an_af_xdp_port_has_a_mode() {
    let ports = "version: 1\nports:\n  a: { driver: af_xdp, device: eth0 }\n  b: { driver: af_xdp, device: eth1, xdp_mode: generic }\n";
    let read = settings(ports);
    let port = |device: &str, mode| Driver::AfXdp { device: device.into(), mode };
    assert_eq!(read.ports[0].driver, port("eth0", XdpMode::Auto));
    assert_eq!(read.ports[1].driver, port("eth1", XdpMode::Generic));
    let printed = serde_yaml::to_string(&read).unwrap();
    assert_eq!(settings(&printed).ports, read.ports);
}

#[test]
fn every_key_arrives() {
    let text = r#"
version: 1
workers: { cores: [1, 3], main_core: 0, dispatch: software, hugepages: none, idle: spin }
ports:
  a: { driver: af_packet, device: eth0, queues: 1, ring: 256, mtu: 9000, mac: "02:00:00:00:00:0a", vlan: 7, zone: dmz, addresses: [10.0.1.1/24] }
  b: { driver: pcap, path: /x/b.pcap, vlan: [8, 9], mode: route, addresses: ["fd00::1/64"] }
routes:
  - { to: default, via: 10.0.1.2, metric: 5 }
  - { to: 10.2.0.0/16, dev: a }
  - { to: default, via: "fe80::2", dev: b }
  - { to: 10.3.0.1, type: prohibit }
neighbours: [ { ip: 10.0.1.9, lladdr: "02:00:00:00:00:09" }, { ip: "fe80::9", lladdr: "02:00:00:00:00:09", dev: b } ]
sets: { s: { type: ip, elements: [10.0.0.0/8, "fd00::5"] } }
helpers: { h: { type: ftp, ports: [21, 2121], iif: [a, b], daddr: "@s", max_expected: 3, timeout: 90s, loose: true } }
chains:
  prerouting: { rules: [ { id: n, l4proto: esp, verdict: notrack } ] }
  forward:
    policy: drop
    rules:
      - { id: j, ct_state: [established, related], iif: a, oif: [b], saddr: [10.1.0.0/16, "@s"], l4proto: [tcp, 17], sport: 1024-65535, dport: [80, "8000-8010"], verdict: jump c }
      - { id: k, l4proto: tcp, verdict: reject with tcp-reset }
      - { id: l, verdict: reject }
  c: { rules: [ { id: g, l4proto: udplite, verdict: return } ] }
conntrack: { max_entries: 1000, on_full: drop, expect_max: 7, checksum: false, tcp_loose: false, tcp_be_liberal: true, tcp_ignore_invalid_rst: true, tcp_max_retrans: 9, timeouts: { udp: 5, icmp: 1500ms, tcp_established: 2h } }
fragments: { ipfrag_high_thresh: 65536, frag6_high_thresh: 131072 }
icmp: { msgs_per_sec: 10, msgs_burst: 2 }
neigh: { base_reachable_time: 10s, retrans_time: 250ms, mcast_solicit: 4, ucast_solicit: 5, unres_qlen: 6, gc_thresh3: 77 }
metrics: { listen: "[::1]:1234", per_worker: true, compat: node_exporter }
log: { level: debug, format: json }
"#;
    let s = settings(text);
    assert_eq!((&s.workers.cores, s.workers.count, s.workers.main_core), (&Cores::List(vec![1, 3]), 2, Some(0)));
    assert_eq!(
        (s.workers.dispatch.word(), s.workers.hugepages.word(), s.workers.idle),
        ("software", "none", Idle::Spin)
    );
    let [a, b] = s.ports.as_slice() else { panic!("two ports") };
    assert_eq!((a.id, a.name.as_str(), a.queues, a.ring, a.mtu), (PortId(0), "a", 1, 256, Some(9000)));
    assert_eq!(a.driver, Driver::AfPacket { device: "eth0".into() });
    assert_eq!((a.mac, a.vlan, a.zone.as_deref()), (Some(MacAddr([2, 0, 0, 0, 0, 10])), Vlan::Tagged(7), Some("dmz")));
    assert_eq!(b.driver, Driver::Pcap { path: "/x/b.pcap".into() });
    assert_eq!((b.vlan, b.queues), (Vlan::QinQ { outer: 8, inner: 9 }, 2));
    let route = |at: usize| (s.routes[at].to.to_string(), s.routes[at].target, s.routes[at].metric);
    let unicast = |dev, via: &str| RouteTarget::Unicast { dev: PortId(dev), via: via.parse().ok() };
    assert_eq!(route(0), ("0.0.0.0/0".into(), unicast(0, "10.0.1.2"), 5));
    assert_eq!(route(1), ("10.2.0.0/16".into(), RouteTarget::Unicast { dev: PortId(0), via: None }, 0));
    assert_eq!(route(2), ("::/0".into(), unicast(1, "fe80::2"), 0));
    assert_eq!(route(3), ("10.3.0.1/32".into(), RouteTarget::Prohibit, 0));
    assert_eq!(s.neighbours.iter().map(|n| n.dev.0).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(s.policy.sets[0].elements.len(), 2);
    let h = &s.helpers[0];
    assert_eq!((h.ports.as_slice(), h.iif.len(), h.daddr.sets.as_slice()), (&[21, 2121][..], 2, &["s".to_owned()][..]));
    assert_eq!((h.max_expected, h.timeout, h.options.loose, h.l4proto), (Some(3), Some(90_000), true, proto::TCP));
    let [pre, forward, own] = s.policy.chains.as_slice() else { panic!("three chains") };
    assert_eq!((pre.policy, forward.policy), (ChainPolicy::Accept, ChainPolicy::Drop));
    assert_eq!((pre.rules[0].matches.l4proto.as_slice(), &pre.rules[0].verdict), (&[50][..], &VerdictSpec::NoTrack));
    let m = &forward.rules[0].matches;
    let states: Vec<_> = CtState::ALL.into_iter().filter(|state| m.ct_state.unwrap().contains(*state)).collect();
    assert_eq!(states, [CtState::Established, CtState::Related]);
    assert_eq!((m.iif.as_slice(), m.oif.as_slice()), (&[PortId(0)][..], &[PortId(1)][..]));
    assert_eq!((m.saddr.prefixes.len(), m.saddr.sets.len(), m.daddr.prefixes.len()), (1, 1, 0));
    assert_eq!(m.l4proto, [6, 17]);
    assert_eq!((m.sport.as_slice(), m.dport.as_slice()), (&[1024..=65535][..], &[80..=80, 8000..=8010][..]));
    let verdicts: Vec<_> = forward.rules.iter().map(|rule| rule.verdict.clone()).collect();
    let rejects = [RejectWith::TcpReset, RejectWith::PortUnreachable].map(VerdictSpec::Reject);
    assert_eq!(verdicts, [&[VerdictSpec::Jump("c".into())][..], &rejects].concat());
    assert_eq!((own.name.as_str(), &own.rules[0].verdict), ("c", &VerdictSpec::Return));
    let ct = &s.conntrack;
    assert_eq!((ct.max_entries, ct.on_full, ct.expect_max, ct.tcp_max_retrans), (1000, OnFull::Drop, 7, 9));
    assert_eq!((ct.checksum, ct.tcp_loose, ct.tcp_be_liberal, ct.tcp_ignore_invalid_rst), (false, false, true, true));
    assert_eq!((ct.timeouts.udp, ct.timeouts.icmp, ct.timeouts.tcp_established), (5000, 1500, 7_200_000));
    assert_eq!((s.fragments.ipfrag_high_thresh, s.fragments.frag6_high_thresh), (65536, 131_072));
    assert_eq!((s.icmp.msgs_per_sec, s.icmp.msgs_burst), (10, 2));
    let n = s.neigh;
    assert_eq!((n.base_reachable_time, n.retrans_time, n.mcast_solicit), (10_000, 250, 4));
    assert_eq!((n.ucast_solicit, n.unres_qlen, n.gc_thresh3), (5, 6, 77));
    let metrics = Metrics {
        listen: "[::1]:1234".parse().unwrap(),
        per_worker: true,
        compat: Some(settings::Compat::NodeExporter),
    };
    assert_eq!(s.metrics, Some(metrics));
    assert_eq!((s.log.level.word(), s.log.format.word()), ("debug", "json"));
    fixed_point(&s);
}

/// What is printed says the same as what was read, and is printed the same again.
fn fixed_point(first: &Settings) {
    let text = serde_yaml::to_string(first).unwrap();
    let second = settings(&text);
    assert_eq!(&second, first, "{text}");
    assert_eq!(serde_yaml::to_string(&second).unwrap(), text);
}

#[test]
fn printing_is_a_fixed_point() {
    for name in ["gateway", "lab", "minimal"] {
        fixed_point(&settings(&std::fs::read_to_string(format!("conf/{name}.yaml")).unwrap()));
    }
    // Words that other readers would take for something else, generated names, relative paths.
    fixed_point(&settings(
        "version: 1\nports:\n  'null': { driver: pcap, path: x.pcap, zone: 'true' }\n  no: { driver: memory, zone: \"1e3\" }\nchains:\n  input: { rules: [ { iif: 'null', verdict: drop }, { id: '0x10', verdict: drop } ] }\n  'on': { rules: ~ }\n",
    ));
}

#[test]
fn marks_lead_back_to_the_file() {
    let text = format!(
        "{PORTS}chains:\n  forward:\n    policy: drop\n    rules:\n      - {{ id: a, l4proto: tcp, dport: 80, verdict: accept }}\n"
    );
    let loaded = check(&text).unwrap();
    let at = |rule, field| &text[loaded.marks.rule(0, rule, field).unwrap().bytes()];
    assert_eq!(at(Some(0), Some("dport")), "80");
    assert_eq!(at(Some(0), Some("saddr")), "{ id: a, l4proto: tcp, dport: 80, verdict: accept }");
    assert_eq!(at(None, Some("policy")), "drop");
    assert_eq!(at(None, None), "forward");
    assert_eq!(loaded.marks.rule(1, None, None), None);
    assert_eq!(&text[loaded.marks.ports[1].bytes()], "wan0");
}

#[test]
fn set_files_are_read_relative_to_the_configuration() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ban.txt"), "10.1.0.0/16 # a\n#\n\n fd00::1\r\n").unwrap();
    let path = dir.path().join("t.yaml");
    std::fs::write(&path, format!("{PORTS}sets: {{ ban: {{ type: ip, elements: [10.9.9.9], file: ban.txt }} }}\n"))
        .unwrap();
    let elements: Vec<String> =
        load(&path).unwrap().settings.policy.sets[0].elements.iter().map(ToString::to_string).collect();
    assert_eq!(elements, ["10.9.9.9/32", "10.1.0.0/16", "fd00::1/128"]);
}

#[test]
fn helpers_get_their_sets_written_out() {
    let text = "\
sets: { s: { type: ip, elements: [10.0.0.0/8] }, empty: { type: ip } }
helpers:
  a: { type: ftp, daddr: [192.0.2.1, \"@s\"] }
  b: { type: ftp, daddr: \"@empty\" }
  c: { type: ftp, ports: [2121], timeout: 1m }
";
    let settings = settings(&format!("{PORTS}{text}"));
    let configs = settings.helper_configs();
    let names: Vec<_> = configs.iter().map(|config| config.name.as_str()).collect();
    assert_eq!(names, ["a", "c"], "a helper for the addresses of an empty set fits nothing, rather than anything");
    let daddr: Vec<_> = configs[0].daddr.iter().map(ToString::to_string).collect();
    assert_eq!(daddr, ["192.0.2.1/32", "10.0.0.0/8"]);
    assert_eq!(
        (configs[1].daddr.len(), configs[1].ports.as_slice(), configs[1].timeout_ms),
        (0, &[2121][..], Some(60_000))
    );
}

#[test]
fn the_defaults_are_those_of_the_rooms_that_work_by_them() {
    let neigh = crate::route::NeighbourConfig::from(&settings::Neigh::default());
    assert_eq!(neigh, crate::route::NeighbourConfig::default());
    let settings = settings(&format!("{PORTS}helpers: {{ h: {{ type: ftp }} }}\n"));
    let usual = crate::helper::HelperConfig::usual("h", crate::helper::HelperKind::Ftp);
    assert_eq!(settings.helper_configs(), [usual]);
    let icmp = settings.icmp;
    assert_eq!(
        (icmp.msgs_per_sec, icmp.msgs_burst),
        (crate::route::limit::DEFAULT_PER_SECOND, crate::route::limit::DEFAULT_BURST)
    );
}

/// Our tree as the other reader's value.
fn value(node: &Node) -> Value {
    match &node.kind {
        Kind::Scalar { text, plain: false } => Value::from(text.as_str()),
        // What a plain word means is the other reader's affair; that it is this word is ours.
        Kind::Scalar { text, plain: true } => serde_yaml::from_str(text).unwrap_or(Value::Null),
        Kind::List(items) => Value::Sequence(items.iter().map(value).collect()),
        Kind::Map(entries) => {
            Value::Mapping(entries.iter().map(|entry| (Value::from(entry.key.as_str()), value(&entry.value))).collect())
        }
    }
}

fn tree(text: &str) -> Option<Node> {
    let mut diags = Diagnostics::new("t", text);
    let node = tree::read(text, &mut diags);
    assert!(diags.errors() == 0, "{text}\n{diags}");
    node
}

#[test]
fn trees_of_all_styles_are_the_other_readers() {
    let texts = [
        "a: 1\nb:\n  - x\n  - {c: d, e: [1, 2]}\n  -\n    f: g\n",
        "a: \"x\\ny\"\nb: 'it''s'\nc: |\n  one\n  two\nd: >\n  folded\n  text\n",
        "{a: [], b: {}, c: , d: ~}",
        "- - 1\n  - 2\n-\n  - 3\n",
        "a: 10.0.0.1/24\nb: fd00::1\nc: x # comment\n'd e': \"@set\"\r\nf: g\r\n",
        "---\na: 1\n...\n",
        "ä: ö\nb: ['ü', \u{1f600}]\n",
    ];
    for text in texts {
        assert_eq!(value(&tree(text).unwrap()), serde_yaml::from_str::<Value>(text).unwrap(), "{text}");
    }
}

/// Every plain scalar stands where its place says.
fn places_hold(node: &Node, text: &str) {
    match &node.kind {
        Kind::Scalar { text: scalar, plain } => {
            // A long word may be folded over lines.
            if *plain && !text[node.place.bytes()].contains('\n') {
                assert_eq!(text[node.place.bytes()].trim(), scalar.trim(), "{text}");
            }
        }
        Kind::List(items) => items.iter().for_each(|item| places_hold(item, text)),
        Kind::Map(entries) => {
            for entry in entries {
                assert!(
                    text[entry.key_place.bytes()].contains(entry.key.trim())
                        || text[entry.key_place.bytes()].starts_with(['"', '\'', '|', '?']),
                    "{text}"
                );
                places_hold(&entry.value, text);
            }
        }
    }
}

fn yaml() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~äöü€\u{1f600}]{0,12}".prop_map(Value::from),
        "[a-z0-9./:@-]{1,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Sequence),
            prop::collection::btree_map("[a-zäö][ -~äö]{0,8}", inner, 0..5)
                .prop_map(|map| Value::Mapping(map.into_iter().map(|(k, v)| (Value::from(k), v)).collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_documents_are_the_other_readers(document in prop::collection::btree_map("[a-z]{1,8}", yaml(), 1..4)) {
        let document = Value::Mapping(document.into_iter().map(|(k, v)| (Value::from(k), v)).collect());
        let text = serde_yaml::to_string(&document).unwrap();
        let node = tree(&text).expect("a document");
        prop_assert_eq!(value(&node), document, "{}", text);
        places_hold(&node, &text);
        let windows = text.replace('\n', "\r\n");
        places_hold(&tree(&windows).expect("a document"), &windows);
    }

    #[test]
    fn durations_are_printed_as_they_are_read(ms in 0u32..=value::MAX_DURATION) {
        prop_assert_eq!(value::duration(&value::print_duration(ms), 0), Ok(ms));
    }
}
