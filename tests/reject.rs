//! `reject` answers the same wherever it stands: behind routing, in `prerouting`, in a chain of one's own.
//!
//! What `prerouting` answers was compared with nftables at priority raw on Linux 6.18, which differs in one thing: it
//! answers packets to groups and broadcast addresses too (RFC 1122 sections 3.2.2 and 4.2.3.10 forbid it).

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is test code")]

mod common;

use common::*;
use flowgate::cli::replay::session::{Deal, Options};
use flowgate::driver::pcap::{CaptureReader, CaptureWriter};
use flowgate::metrics::label::RejectKind;
use flowgate::net::{InvalidReason, Now};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const RULES: &str = "
      - { id: reset, l4proto: tcp, dport: [113, 114], verdict: reject with tcp-reset }
      - { id: told, l4proto: tcp, dport: 115, verdict: reject }
      - { id: prohibited, l4proto: udp, dport: 25, verdict: reject with icmp-admin-prohibited }
      - { id: host, l4proto: udp, dport: 26, verdict: reject with icmp-host-unreachable }
      - { id: net, l4proto: udp, dport: 27, verdict: reject with icmp-net-unreachable }
      - { id: default, l4proto: udp, dport: 99, verdict: reject }
";

/// The rules in `forward` and `input`, in `prerouting`, and behind a jump from there.
fn places() -> [String; 3] {
    let rules = RULES;
    [
        format!("chains:\n  forward:\n    rules:\n{rules}\n  input:\n    rules:\n{rules}\n"),
        format!("chains:\n  prerouting:\n    rules:\n{rules}\n"),
        format!(
            "chains:\n  prerouting: {{ rules: [ {{ id: down, iif: lan, verdict: jump mine }} ] }}\n  mine:\n    rules:\n{rules}\n"
        ),
    ]
}

/// How a packet ended, by which rule, and what was sent.
type Answer = (String, Option<String>, Vec<(String, Vec<u8>)>);

/// What the router does about packets of the lan.
fn answers(sections: &str, packets: &[Vec<u8>]) -> Vec<Answer> {
    let mut router = Router::new(sections);
    let mut out = Vec::new();
    for packet in packets {
        let seen = router.send("lan", packet);
        let end = seen.short().rsplit(' ').next().unwrap().to_owned();
        out.push((end, seen.rule, seen.sent));
        assert_eq!(router.session.connections(), 0);
    }
    out
}

fn damaged(mut frame: Vec<u8>) -> Vec<u8> {
    *frame.last_mut().unwrap() ^= 1;
    frame
}

#[test]
fn it_answers_alike_in_every_chain() {
    for pair in BOTH {
        let (a, b) = (pair.client, pair.server);
        let mut packets = vec![
            pair.up((4000, 113), "S", (77, 0), b""),
            pair.up((4000, 114), ".", (77, 55), b"data"),
            pair.up((4000, 115), "S", (77, 0), b""),
            udp(a, pair.lan, (4000, 99), b"to the router itself"),
            udp(a, pair.wan, (4000, 99), b"to its other address"),
        ];
        packets.extend([25, 26, 27, 99].map(|port| udp(a, b, (4000, port), b"hello")));
        // Of a datagram in pieces, once it is whole; errors quote the first.
        let large = udp(a, b, (4000, 99), &[7; 300]);
        packets.extend(pieces(&large, 128, 9));
        packets.extend(pieces(&pair.up((4000, 113), "S", (77, 0), &[1; 90]), 64, 10).into_iter().rev());
        let [behind, before, jumped] = places().map(|sections| answers(&sections, &packets));
        assert_eq!(before, behind);
        assert_eq!(jumped, behind);
        let held = behind.iter().filter(|(end, ..)| end == "held").count();
        assert_eq!(held, 3);
        assert!(behind.iter().all(|(end, rule, sent)| match end.as_str() {
            "held" => rule.is_none() && sent.is_empty(),
            _ => end == "policy_rule" && rule.is_some() && sent.len() == 1 && sent[0].0 == "lan",
        }));
        let code = |n: usize| {
            let (protocol, l4) = verified(&behind[n].2[0].1);
            if protocol == 6 { (6, l4[13]) } else { (l4[0], l4[1]) }
        };
        let expected = match is_v4(&packets[0]) {
            true => [(6, 0x14), (6, 0x04), (3, 3), (3, 3), (3, 3), (3, 13), (3, 1), (3, 0), (3, 3)],
            false => [(6, 0x14), (6, 0x04), (1, 4), (1, 4), (1, 4), (1, 1), (1, 3), (1, 0), (1, 4)],
        };
        assert_eq!((0..9).map(code).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn in_prerouting_it_says_nothing_where_nothing_may_be_said() {
    let [_, before, _] = places();
    for pair in BOTH {
        let (a, b) = (pair.client, pair.server);
        let mut router = Router::new(&before);
        let group = if is_v4(&udp(a, b, (1, 1), b"")) { "224.0.0.5" } else { "ff02::5" };
        let mut to_link_group = udp(a, b, (4000, 99), b"x");
        to_link_group[..6].fill(0xff);
        let mut reset_to_link_group = pair.up((4000, 113), "S", (1, 0), b"");
        reset_to_link_group[..6].fill(0xff);
        let silent = [
            damaged(udp(a, b, (4000, 99), b"wrong checksum")),
            damaged(pair.up((4000, 113), "S", (1, 0), b"x")),
            damaged(pair.up((4000, 115), "S", (1, 0), b"x")),
            pair.up((4000, 113), "R", (1, 0), b""),
            udp(a, group, (4000, 99), b"x"),
            tcp(a, group, (4000, 113), "S", (1, 0), b""),
            to_link_group,
            reset_to_link_group,
            // From an address of the router's own.
            udp(pair.wan, b, (4000, 99), b"x"),
            tcp(pair.wan, b, (4000, 113), "S", (1, 0), b""),
        ];
        for (n, frame) in silent.iter().enumerate() {
            let seen = router.send("lan", frame);
            assert_eq!((seen.short().as_str(), seen.sent.len()), ("NONE - policy_rule", 0), "{n}");
        }
        assert_eq!(router.session.counters().originated(), 0);
    }
    let mut router = Router::new(&before);
    for dst in ["10.0.2.255", "255.255.255.255", "127.0.0.1"] {
        assert_eq!(router.send("lan", &udp("10.0.1.2", dst, (1, 99), b"x")).sent.len(), 0, "{dst}");
        assert_eq!(router.send("lan", &tcp("10.0.1.2", dst, (1, 113), "S", (1, 0), b"")).sent.len(), 0, "{dst}");
    }
    // Where no route leads, a TTL that has run out: prerouting comes before both.
    for frame in [udp("10.0.1.2", "192.0.2.1", (1, 99), b"x"), with_ttl(udp("10.0.1.2", "10.0.2.2", (1, 99), b"x"), 1)]
    {
        let seen = router.send("lan", &frame);
        assert_eq!(verified(seen.one("lan")).1[..2], [3, 3]);
    }
}

#[test]
fn an_error_about_a_wrong_checksum_is_not_sent_behind_routing_either() {
    let [behind, ..] = places();
    let mut router = Router::new(&behind);
    for pair in BOTH {
        let seen = router.send("lan", &damaged(udp(pair.client, pair.server, (4000, 99), b"x")));
        assert_eq!((seen.short().as_str(), seen.sent.len()), ("INVALID - policy_rule", 0));
        assert_eq!(seen.fate.invalid, Some(InvalidReason::UdpChecksum));
    }
}

#[test]
fn it_is_counted_and_limited_alike() {
    let counted = |sections: &str| {
        let mut router = Router::new(&format!("{sections}icmp: {{ msgs_per_sec: 1, msgs_burst: 4 }}\n"));
        let parts = pieces(&udp(V4.client, V4.server, (4000, 99), &[7; 300]), 128, 9);
        for frame in [pair_syn(113), udp(V4.client, V4.server, (1, 99), b"")].iter().chain(&parts) {
            router.send("lan", frame);
        }
        for _ in 0..5 {
            router.send("lan", &udp(V4.client, V4.server, (1, 25), b""));
        }
        let counters = router.session.counters();
        let rejects: Vec<_> = RejectKind::ALL.iter().map(|kind| counters.rejects(*kind)).collect();
        (rejects, counters.originated())
    };
    for sections in places() {
        assert_eq!(counted(&sections), (vec![1, 3, 0], 4));
    }
}

fn pair_syn(port: u16) -> Vec<u8> {
    V4.up((4000, port), "S", (77, 0), b"")
}

/// A RST from `prerouting` is no packet of a tracked connection, so it is tracked itself, as a reply: with its exact
/// number it closes the connection, as one of the server's would. So does Linux's, which passes `output`.
#[test]
fn a_reset_from_prerouting_closes_a_known_connection() {
    let [_, before, _] = places();
    for pair in BOTH {
        let mut router = Router::new("");
        let talk = Talk::open(&mut router, pair, (5000, 114));
        router.snapshot = Arc::new(snapshot(&before));
        router.session.install(&router.snapshot);
        let seen = router.send("lan", &talk.next(b"hi"));
        assert_eq!((seen.short().as_str(), seen.rule.as_deref()), ("NONE - policy_rule", Some("reset")));
        assert_eq!(verified(seen.one("lan")).1[13], 0x04);
        let seen = router.send("wan", &pair.down(talk.ports, ".", (talk.server, talk.client), b""));
        assert_eq!((seen.short().as_str(), seen.fate.protocol_state), ("ESTABLISHED < accept", Some("CLOSE")));
        router.wait(10_001);
        assert_eq!(router.session.connections(), 0);
    }
}

#[test]
fn any_number_of_workers_answers_the_same() {
    let [_, before, _] = places();
    let mut packets = Vec::new();
    for pair in BOTH {
        for port in 4000..4020 {
            packets.push(udp(pair.client, pair.server, (port, 99), b"x"));
            packets.push(pair.up((port, 113), "S", (1, 0), b""));
            packets.extend(pieces(&udp(pair.client, pair.server, (port, 25), &[3; 100]), 64, u32::from(port)));
        }
    }
    let sent = |workers, deal| {
        let sections = format!("{before}icmp: {{ msgs_per_sec: 1000000, msgs_burst: 1000000 }}\n");
        let mut router = Router::with(snapshot(&sections), &Options { workers, deal, ..Options::default() });
        packets.iter().map(|frame| router.send("lan", frame)).map(|seen| (seen.short(), seen.sent)).collect::<Vec<_>>()
    };
    let one = sent(1, Deal::Owner);
    assert_eq!(one.iter().map(|(_, sent)| sent.len()).sum::<usize>(), 120);
    assert_eq!(sent(4, Deal::Owner), one);
    assert_eq!(sent(4, Deal::Random(3)), one);
}

#[test]
fn a_replay_writes_what_prerouting_answers() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let [_, before, _] = places();
    let ports = "version: 1\nports:\n  lan: { driver: memory, addresses: [10.0.1.1/24] }\n  wan: { driver: memory, addresses: [10.0.2.1/24] }\n";
    fs::write(path("router.yaml"), format!("{ports}{before}")).unwrap();
    let mut writer = CaptureWriter::create(Path::new(&path("in.pcap"))).unwrap();
    let told = udp(V4.client, V4.server, (4000, 99), b"hello");
    writer.write(Now::from_secs(5), &told).unwrap();
    writer.write(Now::from_secs(6), &pair_syn(113)).unwrap();
    writer.finish().unwrap();
    let run = |arguments: &[String]| {
        let output = Command::new(env!("CARGO_BIN_EXE_flowgate")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["check".into(), "--strict".into(), path("router.yaml")]);
    run(&[
        "replay".into(),
        "--config".into(),
        path("router.yaml"),
        "--port".into(),
        format!("lan={}", path("in.pcap")),
        "--write".into(),
        format!("lan={}", path("out.pcap")),
        "--verdicts".into(),
        path("verdicts.jsonl"),
    ]);
    let mut reader = CaptureReader::open(Path::new(&path("out.pcap"))).unwrap();
    let mut frames = Vec::new();
    while let Some(record) = reader.next_record() {
        let record = record.unwrap();
        frames.push((record.at, record.data.to_vec()));
    }
    let [(first, error), (second, reset)] = frames.as_slice() else { panic!("{} frames", frames.len()) };
    assert_eq!((*first, *second), (Now::from_secs(5), Now::from_secs(6)));
    let (protocol, l4) = verified(error);
    assert_eq!((protocol, l4[..8].to_vec(), &l4[8..]), (1, vec![3, 3, l4[2], l4[3], 0, 0, 0, 0], &told[LINK..]));
    assert_eq!(addresses(error), (ip("10.0.1.1"), ip("10.0.1.2")));
    assert_eq!(addresses(reset), (ip("10.0.2.2"), ip("10.0.1.2")));
    assert_eq!(verified(reset).1[4..14], [0, 0, 0, 0, 0, 0, 0, 78, 0x50, 0x14]);
    let verdicts = fs::read_to_string(path("verdicts.jsonl")).unwrap();
    assert_eq!(verdicts.matches(r#""state":"NONE""#).count(), 2);
    assert_eq!(verdicts.matches(r#""reason":"policy_rule""#).count(), 2, "{verdicts}");
}
