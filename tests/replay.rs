//! `flowgate replay`: the same for any number of workers, and as its interface says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is test code")]

mod common;

use common::traffic::{Packet, mixed};
use common::*;
use flowgate::cli::replay::session::{Deal, Options};
use flowgate::driver::pcap::{CaptureReader, CaptureWriter};
use flowgate::net::{CtState, DropReason, InvalidReason, Now};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The lan opens connections, FTP is helped, some is exempt, the rest is told.
const POLICY: &str = r#"
helpers:
  ftp: { type: ftp, l4proto: tcp, ports: [21], iif: lan }
chains:
  prerouting:
    rules:
      - { id: exempt, l4proto: udp, dport: 9000, verdict: notrack }
  forward:
    policy: drop
    rules:
      - { id: known, ct_state: [established, related], verdict: accept }
      - { id: bad, ct_state: invalid, verdict: drop }
      - { id: ident, l4proto: tcp, dport: 113, verdict: reject with tcp-reset }
      - { id: out, iif: lan, ct_state: [new, untracked], verdict: accept }
      - { id: told, l4proto: udp, verdict: reject }
  input:
    policy: accept
icmp: { msgs_per_sec: 1000000, msgs_burst: 1000000 }
"#;

/// Every packet's fate without the worker, and every frame that left.
fn fates(packets: &[Packet], workers: usize, deal: Deal) -> (Vec<Seen>, Vec<u8>) {
    let options = Options { workers, deal, ..Options::default() };
    let mut router = Router::with(snapshot(POLICY), &options);
    let mut by = Vec::with_capacity(packets.len());
    let seen = packets.iter().map(|(port, frame)| {
        // Now and then time passes.
        if frame.len() % 97 == 0 {
            router.wait(7_000);
        }
        let before = router.session.counters().originated();
        let mut seen = router.send(port, frame);
        by.push(router.worker.0);
        // What the router itself says in fragments has an identification of its own.
        if router.session.counters().originated() != before {
            seen.sent.retain(|(_, frame)| is_v4(frame));
        }
        seen
    });
    (seen.collect(), by)
}

fn check_any_number_of_workers(packets: &[Packet], seeds: &[u64]) -> Vec<Seen> {
    let (expected, _) = fates(packets, 1, Deal::Owner);
    for workers in [1, 2, 4, 8] {
        let deals = std::iter::once(Deal::Owner).chain(seeds.iter().map(|seed| Deal::Random(*seed)));
        for deal in deals {
            let (found, by) = fates(packets, workers, deal);
            for (n, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let what = format!("packet {n} with {workers} workers and {deal:?}");
                let packet = flowgate::wire::describe(&packets[n].1);
                assert_eq!((found.fate, &found.rule), (expected.fate, &expected.rule), "{what}: {packet}");
                assert!(found.sent == expected.sent, "other frames left: {what}: {packet}");
            }
            let mut used = by;
            used.sort_unstable();
            used.dedup();
            assert_eq!(used.len(), workers, "all workers work");
        }
    }
    expected
}

#[test]
fn mixed_traffic_fares_the_same_with_any_number_of_workers() {
    let mut states: BTreeMap<String, usize> = BTreeMap::new();
    let mut invalid: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 1..=4 {
        for seen in check_any_number_of_workers(&mixed(seed, 150), &[seed, 1 << 40]) {
            *states.entry(seen.short()).or_default() += 1;
            if let Some(reason) = seen.fate.invalid {
                *invalid.entry(reason.label()).or_default() += 1;
            }
        }
    }
    // The traffic holds what matters, and enough of it.
    for (what, least) in [
        ("NEW > accept", 100),
        ("ESTABLISHED > accept", 300),
        ("ESTABLISHED < accept", 300),
        ("RELATED > accept", 30),
        ("RELATED < accept", 30),
        ("INVALID - policy_rule", 50),
        ("UNTRACKED - accept", 3),
        ("NONE - held", 200),
        ("ESTABLISHED > helper_malformed", 5),
        ("NONE - fragment_overlap", 3),
        ("NEW > punt", 5),
        ("NEW > no_route", 3),
    ] {
        let count = states.get(what).copied().unwrap_or(0);
        assert!(count >= least, "{count} times {what}: {states:#?}");
    }
    assert!(invalid.len() >= 6, "{invalid:?}");
}

#[test]
fn fragments_between_other_hosts_do_not_disturb_a_datagram() {
    // A server that sends fragments to many clients at once. All of them count against ipfrag_max_dist in Linux.
    let packets = |between: u32| {
        let parts = pieces(&udp(V4.server, V4.client, (53, 1), &[1; 60]), 40, 1);
        let other = |n: u32| pieces(&udp(V4.server, &format!("10.0.1.{}", 10 + n), (53, 1), &[1; 60]), 40, n).remove(0);
        let mut packets = vec![("wan", parts[0].clone())];
        packets.extend((0..between).map(|n| ("wan", other(n))));
        packets.push(("wan", parts[1].clone()));
        packets
    };
    let seen = check_any_number_of_workers(&packets(200), &[5]);
    assert_eq!(seen.last().unwrap().short(), "NEW > policy_rule");
}

fn capture(path: &Path) -> Vec<(Now, Vec<u8>)> {
    let mut reader = CaptureReader::open(path).unwrap();
    let mut out = Vec::new();
    while let Some(record) = reader.next_record() {
        let record = record.unwrap();
        out.push((record.at, record.data.to_vec()));
    }
    out
}

fn conf(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

fn flowgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flowgate")).arg("replay").args(arguments).output().unwrap()
}

/// A directory with a configuration in it, to replay in.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(config: &str) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("router.yaml"), config).unwrap();
        Bench { dir }
    }

    fn lab() -> Bench {
        Bench::new(&fs::read_to_string(conf("lab.yaml")).unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// A capture of frames, each with its time in milliseconds.
    fn capture(&self, name: &str, frames: &[(u64, Vec<u8>)]) -> String {
        let mut writer = CaptureWriter::create(&self.dir.path().join(name)).unwrap();
        for (at, octets) in frames {
            writer.write(Now::from_millis(*at), octets).unwrap();
        }
        writer.finish().unwrap();
        self.path(name)
    }

    fn command(&self, arguments: &[&str]) -> Output {
        flowgate(&[&["--config", &self.path("router.yaml")], arguments].concat())
    }

    /// Replays with success; the verdicts.
    #[track_caller]
    fn verdicts(&self, arguments: &[&str]) -> Vec<Value> {
        let out = self.path("verdicts.jsonl");
        let output = self.command(&[&["--verdicts", &out], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read_to_string(out).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Exit code and standard error.
    fn fails(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(arguments);
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

/// Options that replay the samples.
fn samples() -> [String; 2] {
    [format!("lan0={}", conf("sample-lan.pcap").display()), format!("wan0={}", conf("sample-wan.pcap").display())]
}

fn without_worker(mut record: Value) -> Value {
    record.as_object_mut().unwrap().remove("worker");
    record
}

#[test]
fn the_samples_have_the_states_that_linux_gave_with_any_number_of_workers() {
    let bench = Bench::lab();
    let [lan, wan] = samples();
    let expected = bench.verdicts(&["--port", &lan, "--port", &wan]);
    let mut linux: BTreeMap<String, u64> = BTreeMap::new();
    for line in fs::read_to_string(conf("sample-states.txt")).unwrap().lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<_> = line.split_whitespace().collect();
        *linux.entry(words[0].to_uppercase()).or_default() += words[2].parse::<u64>().unwrap();
    }
    let mut found: BTreeMap<String, u64> = BTreeMap::new();
    for record in expected.iter().filter(|record| record["state"] != "NONE") {
        *found.entry(record["state"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(found, linux);

    let expected: Vec<_> = expected.into_iter().map(without_worker).collect();
    for workers in ["1", "2", "4", "8"] {
        for deal in ["owner", "random", "random=7", "random=99"] {
            let found = bench.verdicts(&["--port", &lan, "--port", &wan, "--workers", workers, "--deal", deal]);
            assert!(found.iter().all(|record| record["worker"].as_u64() < workers.parse().ok()));
            let found: Vec<_> = found.into_iter().map(without_worker).collect();
            assert_eq!(found, expected, "{workers} workers, {deal}");
        }
    }
}

#[test]
fn every_record_keeps_to_the_interface() {
    let bench = Bench::lab();
    let [lan, wan] = samples();
    let records = bench.verdicts(&["--port", &lan, "--port", &wan]);
    let settings = flowgate::config::load(&conf("lab.yaml")).unwrap().settings;
    let rules: Vec<&str> =
        settings.policy.chains.iter().flat_map(|chain| &chain.rules).map(|rule| rule.id.as_str()).collect();
    let one_of = |value: &Value, words: &[&str]| value.as_str().is_some_and(|word| words.contains(&word));
    let labels: Vec<&str> = DropReason::ALL.iter().map(|reason| reason.label()).collect();
    let states: Vec<&str> = CtState::ALL.iter().map(|state| state.word()).chain(["NONE"]).collect();
    let whys: Vec<&str> = InvalidReason::ALL.iter().map(|reason| reason.label()).collect();
    let ports = ["lan0", "wan0"];
    for (n, record) in records.iter().enumerate() {
        assert_eq!(record["seq"], n);
        assert!(one_of(&record["port"], &ports), "{record}");
        assert!(one_of(&record["state"], &states), "{record}");
        assert!(record["direction"].is_null() || one_of(&record["direction"], &["original", "reply"]), "{record}");
        assert!(one_of(&record["verdict"], &["accept", "drop", "punt", "held"]), "{record}");
        assert_eq!(record["verdict"] == "drop", one_of(&record["reason"], &labels), "{record}");
        assert_eq!(record["verdict"] == "drop", !record["reason"].is_null(), "{record}");
        assert!(record["rule"].is_null() || one_of(&record["rule"], &rules), "{record}");
        assert_eq!(record["verdict"] == "accept", one_of(&record["egress"], &ports), "{record}");
        assert_eq!(record["state"] == "INVALID", one_of(&record["invalid"], &whys), "{record}");
        assert!(record["worker"].is_u64() && record["time"].is_u64(), "{record}");
        let more = ["completes", "gave_up"].iter().filter(|key| record.get(**key).is_some()).count();
        assert_eq!(record.as_object().unwrap().len(), 12 + more, "{record}");
    }
    // By the chain's policy, by a rule, and before any.
    let count = |reason: &str| records.iter().filter(|record| record["reason"] == reason).count();
    assert!(count("policy_default") > 0 && count("policy_rule") > 0 && count("ttl_expired") > 0);
    assert!(records.iter().filter(|r| r["reason"] == "policy_default").all(|r| r["rule"].is_null()));
    assert!(records.iter().filter(|r| r["reason"] == "policy_rule").all(|r| r["rule"].is_string()));
}

/// Two ports whose drivers could not be opened anywhere, on cores that no machine has.
const ELSEWHERE: &str = r#"
version: 1
workers: { cores: [1000, 1001] }
ports:
  inside:  { driver: af_packet, device: nowhere0, addresses: [10.0.1.1/24, "fd00:1::1/64"] }
  outside: { driver: pcap, path: /nonexistent.pcap, addresses: [10.0.2.1/24, "fd00:2::1/64"] }
"#;

#[test]
fn captures_are_merged_by_time_and_ties_go_by_the_options() {
    let bench = Bench::new(ELSEWHERE);
    let up = |n: u16| udp(V4.client, V4.server, (n, 53), b"");
    let down = |n: u16| udp(V4.server, V4.client, (53, n), b"");
    let inside = format!("inside={}", bench.capture("in.pcap", &[(10, up(1)), (20, up(2)), (40, up(3))]));
    let outside = format!("outside={}", bench.capture("out.pcap", &[(20, down(2)), (30, down(1)), (40, down(3))]));
    let order = |records: &[Value]| {
        let one =
            |r: &Value| format!("{}{}", &r["port"].as_str().unwrap()[..1], r["time"].as_u64().unwrap() / 1_000_000);
        records.iter().map(one).collect::<Vec<_>>().join(" ")
    };
    let states =
        |records: &[Value]| records.iter().map(|r| r["state"].as_str().unwrap()[..1].to_owned()).collect::<String>();
    let records = bench.verdicts(&["--port", &inside, "--port", &outside]);
    assert_eq!((order(&records).as_str(), states(&records).as_str()), ("i10 i20 o20 o30 i40 o40", "NNEENE"));
    assert_eq!(records[0]["egress"], "outside");
    // The other order: the answer comes first, and opens the connection.
    let records = bench.verdicts(&["--port", &outside, "--port", &inside]);
    assert_eq!((order(&records).as_str(), states(&records).as_str()), ("i10 o20 i20 o30 o40 i40", "NNEENE"));
    // A port without a capture only sends.
    let records = bench.verdicts(&["--port", &outside]);
    assert_eq!((order(&records).as_str(), states(&records).as_str()), ("o20 o30 o40", "NNN"));
}

#[test]
fn capture_time_is_the_clock_and_never_goes_back() {
    let bench = Bench::new(ELSEWHERE);
    let ask = udp(V4.client, V4.server, (1, 53), b"");
    let answer = udp(V4.server, V4.client, (53, 1), b"");
    let late = 1_700_000_000_000;
    // Answered after 29 s; then nothing for 30 s.
    let inside = bench.capture("in.pcap", &[(late, ask.clone()), (late + 59_500, ask.clone())]);
    let outside = bench.capture("out.pcap", &[(late + 29_000, answer.clone())]);
    let records = bench.verdicts(&["--port", &format!("inside={inside}"), "--port", &format!("outside={outside}")]);
    let states: Vec<_> = records.iter().map(|r| r["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["NEW", "ESTABLISHED", "NEW"]);

    // The file's order holds, and a stamp in the past counts as the time it was.
    let other = udp(V4.client, V4.server, (2, 53), b"");
    let file = bench.capture("in.pcap", &[(late, ask.clone()), (late - 60_000, other), (late + 29_000, ask.clone())]);
    let records = bench.verdicts(&["--port", &format!("inside={file}")]);
    let times: Vec<_> = records.iter().map(|r| r["time"].as_u64().unwrap() / 1_000_000).collect();
    assert_eq!(times, [late, late, late + 29_000]);
    let (code, warning) = bench.fails(&["--port", &format!("inside={file}"), "--quiet"]);
    assert!(code == Some(0) && warning.contains("in.pcap: 1 packet is stamped earlier than one before"), "{warning}");

    // Half a century between two captures: nothing of the first is left.
    for gap in [3, 25, 40, 49, 50, 60, 18_000] {
        let days = gap * 86_400_000;
        let inside = bench.capture("in.pcap", &[(1000, ask.clone()), (1000 + days, ask.clone())]);
        let outside = bench.capture("out.pcap", &[(1500, answer.clone())]);
        let records = bench.verdicts(&["--port", &format!("inside={inside}"), "--port", &format!("outside={outside}")]);
        let states: Vec<_> = records.iter().map(|r| r["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["NEW", "ESTABLISHED", "NEW"], "{gap} days");
    }
}

#[test]
fn the_last_fragment_carries_the_state_of_the_datagram() {
    let bench = Bench::new(ELSEWHERE);
    for pair in BOTH {
        let parts = pieces(&udp(pair.client, pair.server, (1, 53), &[1; 200]), 80, 4);
        let mut frames: Vec<_> = parts.into_iter().zip(1..).map(|(part, at)| (at, part)).collect();
        // One that is never completed.
        frames.push((9, pieces(&udp(pair.client, pair.server, (1, 53), &[1; 200]), 80, 5).remove(0)));
        let file = bench.capture("in.pcap", &frames);
        let out = bench.path("out.pcap");
        let records = bench.verdicts(&["--port", &format!("inside={file}"), "--write", &format!("outside={out}")]);
        let shown: Vec<_> =
            records.iter().map(|r| format!("{} {}", r["state"], r["verdict"]).replace('"', "")).collect();
        assert_eq!(shown, ["NONE held", "NONE held", "NEW accept", "NONE held"]);
        assert_eq!(capture(Path::new(&out)).len(), 3, "unmerged, as they came");
    }
}

/// What the records say of each fragment that was held, and the lines of the totals about packets.
fn held(bench: &Bench, frames: &[(u64, Vec<u8>)], workers: &str) -> (Vec<String>, Vec<String>) {
    let file = format!("inside={}", bench.capture("in.pcap", frames));
    let records = bench.verdicts(&["--port", &file, "--workers", workers, "--deal", "random=4"]);
    let mut said = Vec::new();
    for record in &records {
        let by = &record["seq"];
        for seq in record["completes"].as_array().into_iter().flatten() {
            said.push(format!("{seq} completed by {by}: {}", record["verdict"].as_str().unwrap()));
        }
        for one in record["gave_up"].as_array().into_iter().flatten() {
            said.push(format!("{} given up at {by}: {}", one["seq"], one["reason"].as_str().unwrap()));
        }
        let held = |seq: &Value| records[seq.as_u64().unwrap() as usize]["verdict"] == "held";
        assert!(record["completes"].as_array().into_iter().flatten().all(held), "{record}");
        assert!(record["gave_up"].as_array().into_iter().flatten().all(|one| held(&one["seq"])), "{record}");
    }
    let output = bench.command(&["--port", &file, "--workers", workers, "--quiet"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let of = ["verdicts", "held", "drops", "sent"];
    let lines = text.lines().map(str::trim).filter(|line| of.iter().any(|head| line.starts_with(head)));
    (said, lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
}

#[test]
fn what_became_of_held_fragments_is_said_and_adds_up() {
    let drop = Bench::new(&format!("{ELSEWHERE}chains: {{ forward: {{ policy: drop }} }}\n"));
    let pass = Bench::new(ELSEWHERE);
    for (pair, workers) in [(V4, "1"), (V4, "4"), (V6, "1"), (V6, "4")] {
        let cut = |id| pieces(&udp(pair.client, pair.server, (1, 53), &[1; 200]), 80, id);
        let timed = |parts: &[Vec<u8>], from: u64| (from..).zip(parts.to_vec()).collect::<Vec<_>>();
        let whole = timed(&cut(4), 1);
        let (said, lines) = held(&pass, &whole, workers);
        assert_eq!(said, ["0 completed by 2: accept", "1 completed by 2: accept"]);
        assert_eq!(lines, ["verdicts 1 accept, 2 held", "held 2 went on with their datagram", "sent 3 outside"]);
        let (said, lines) = held(&drop, &whole, workers);
        assert_eq!(said, ["0 completed by 2: drop", "1 completed by 2: drop"]);
        assert_eq!(lines, ["verdicts 1 drop, 2 held", "held 2 dropped", "drops 3 policy_default"]);

        // Two of one datagram, then one that overlaps the second.
        let [a, b, _] = <[Vec<u8>; 3]>::try_from(cut(5)).unwrap();
        let across = pieces(&udp(pair.client, pair.server, (1, 53), &[1; 200]), 120, 5).remove(1);
        let (said, lines) = held(&pass, &timed(&[a, b, across], 1), workers);
        assert_eq!(said, ["0 given up at 2: fragment_overlap", "1 given up at 2: fragment_overlap"]);
        assert_eq!(lines, ["verdicts 1 drop, 2 held", "held 2 dropped", "drops 3 fragment_overlap"]);

        // Too late, and one left when the capture ends.
        let mut frames = timed(&cut(6)[..2], 1);
        frames.push((120_000, cut(7).remove(0)));
        let (said, lines) = held(&pass, &frames, workers);
        assert_eq!(said, ["0 given up at 2: fragment_timeout", "1 given up at 2: fragment_timeout"]);
        let ends = ["verdicts 3 held", "held 2 dropped, 1 still held at the end", "drops 2 fragment_timeout"];
        assert_eq!(lines[..3], ends);
    }
    let file = format!("inside={}", pass.path("in.pcap"));
    let table = String::from_utf8(pass.command(&["--port", &file]).stdout).unwrap();
    assert!(table.lines().any(|line| line.ends_with("held     gave up 0 1")), "{table}");
}

#[test]
fn a_configured_neighbour_has_its_link_address() {
    let bench = Bench::new(&format!(
        "{ELSEWHERE}neighbours: [{{ ip: {}, lladdr: \"02:aa:bb:cc:dd:ee\", dev: outside }}]\n",
        V4.server
    ));
    let file = bench.capture("in.pcap", &[(1, udp(V4.client, V4.server, (1, 53), b"x"))]);
    let out = bench.path("out.pcap");
    bench.verdicts(&["--port", &format!("inside={file}"), "--write", &format!("outside={out}")]);
    let frames = capture(Path::new(&out));
    assert_eq!(frames[0].1[..6], [0x02, 0xaa, 0xbb, 0xcc, 0xdd, 0xee]);
}

#[test]
fn what_leaves_a_port_is_written_with_capture_time() {
    let bench = Bench::new(ELSEWHERE);
    let at = 1_700_000_000_123;
    let frames = [
        (at, udp(V4.client, V4.server, (1, 53), b"x")),
        (at + 1, with_ttl(udp(V4.client, V4.server, (2, 53), b"y"), 1)),
    ];
    let file = bench.capture("in.pcap", &frames);
    let (inside, outside) = (bench.path("i.pcap"), bench.path("o.pcap"));
    bench.verdicts(&[
        "--port",
        &format!("inside={file}"),
        "--write",
        &format!("inside={inside}"),
        "--write",
        &format!("outside={outside}"),
    ]);
    let out = capture(Path::new(&outside));
    assert_eq!((out.len(), out[0].0), (1, Now::from_millis(at)));
    assert_eq!((ttl(&out[0].1), verified(&out[0].1).0), (63, 17));
    let told = capture(Path::new(&inside));
    assert_eq!((told.len(), told[0].0), (1, Now::from_millis(at + 1)));
    assert_eq!(verified(&told[0].1).1[0], 11, "time exceeded, from the router itself");
}

#[test]
fn frames_of_any_size_have_a_record() {
    let bench = Bench::new(ELSEWHERE);
    let large = udp(V4.client, V4.server, (1, 53), &vec![0; 65_000]);
    let file = bench.capture("in.pcap", &[(1, vec![]), (2, vec![1; 5]), (3, large), (4, vec![8; 200_000])]);
    let records = bench.verdicts(&["--port", &format!("inside={file}")]);
    let shown: Vec<_> = records.iter().map(|r| format!("{} {}", r["verdict"], r["reason"]).replace('"', "")).collect();
    assert_eq!(shown, ["drop rx_truncated", "drop rx_truncated", "accept null", "drop rx_truncated"]);
}

#[test]
fn the_table_and_the_totals_are_for_people() {
    let bench = Bench::lab();
    let [lan, wan] = samples();
    let output = bench.command(&["--port", &lan, "--port", &wan]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains("time") && lines[0].contains("protocol") && lines[0].ends_with("rule or reason"));
    let states = lines[0].find("state").unwrap();
    let row = lines.iter().find(|line| line.contains("Flags [S]")).unwrap();
    assert!(row[states..].starts_with("NEW ") && row.ends_with("lan-out") && row.contains("SYN_SENT"), "{row}");
    let row = lines.iter().find(|line| line.contains("INVALID")).unwrap();
    assert!(row.contains(" drop ") && row.contains("bad ("), "{row}");
    assert!(text.contains("\n207 packets in 2.056202 s\n"), "{text}");
    assert!(text.contains("  states    19 NEW, 167 ESTABLISHED, 8 RELATED, 6 INVALID, 5 UNTRACKED, 2 NONE\n"));
    assert!(!text.contains('\x1b') && output.stderr.is_empty());

    let quiet = bench.command(&["--port", &lan, "--port", &wan, "--quiet"]);
    let quiet = String::from_utf8(quiet.stdout).unwrap();
    assert!(quiet.starts_with("207 packets in ") && text.ends_with(&quiet), "{quiet}");
}

#[test]
fn mistakes_on_the_command_line_are_bad_usage() {
    let bench = Bench::new(ELSEWHERE);
    let file = bench.capture("in.pcap", &[]);
    let given = |name: &str| format!("{name}={file}");
    for (arguments, message) in [
        (vec!["--port".to_owned(), given("insid")], "no port is named `insid`; did you mean `inside`?"),
        (vec!["--port".into(), given("eth7")], "no port is named `eth7`; the configuration has `inside`, `outside`"),
        (
            vec!["--port".into(), given("inside"), "--port".into(), given("inside")],
            "--port: port `inside` is given twice",
        ),
        (
            vec!["--port".into(), given("inside"), "--write".into(), given("outsid")],
            "--write: no port is named `outsid`",
        ),
        (vec!["--port".into(), file.clone()], "expected the name of a port"),
        (vec!["--port".into(), "inside=".into()], "expected the name of a port"),
        (vec![], "required arguments were not provided"),
        (vec!["--port".into(), given("inside"), "--workers".into(), "0".into()], "0 is not in 1..=64"),
        (vec!["--port".into(), given("inside"), "--workers".into(), "65".into()], "65 is not in 1..=64"),
        (vec!["--port".into(), given("inside"), "--deal".into(), "all".into()], "expected `owner`, `random`"),
        (vec!["--port".into(), given("inside"), "--deal".into(), "random=x".into()], "`x` is not a number"),
    ] {
        let (code, error) = bench.fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(code == Some(2) && error.contains(message), "{arguments:?}: {code:?} {error}");
    }
}

#[test]
fn bad_files_are_named_and_said_what_is_wrong_with() {
    let bench = Bench::new(ELSEWHERE);
    let frame = udp(V4.client, V4.server, (1, 53), b"");
    let good = fs::read(bench.capture("good.pcap", &[(1, frame.clone()), (2, frame)])).unwrap();
    let mut linux_cooked = good.clone();
    linux_cooked[20] = 113;
    let cut = &good[..good.len() - 3];
    for (name, octets, message) in [
        ("text.pcap", &b"not a capture at all"[..], "text.pcap: this is neither a pcap nor a pcapng file"),
        ("empty.pcap", b"", "empty.pcap: this is neither a pcap nor a pcapng file"),
        ("cooked.pcap", &linux_cooked, "captured with link type 113; only Ethernet (1) can be read"),
        ("cut.pcap", cut, "cut.pcap: record 2: the file ends in the middle of a record"),
    ] {
        fs::write(bench.path(name), octets).unwrap();
        let (code, error) = bench.fails(&["--port", &format!("inside={}", bench.path(name))]);
        assert!(code == Some(1) && error.contains(message), "{code:?} {error}");
    }
    let (code, error) = bench.fails(&["--port", &format!("inside={}", bench.path("none.pcap"))]);
    assert!(code == Some(1) && error.contains("none.pcap: No such file"), "{error}");

    // What came before the damage is told all the same.
    let output = bench.command(&["--port", &format!("inside={}", bench.path("cut.pcap"))]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 packet in"));

    let port = format!("inside={}", bench.path("good.pcap"));
    let (code, error) = bench.fails(&["--port", &port, "--verdicts", &bench.path("no/such/place")]);
    assert!(code == Some(1) && error.contains("cannot write") && error.contains("no/such/place"), "{error}");
    let (code, error) = bench.fails(&["--port", &port, "--write", &format!("inside={}", bench.path("no/place"))]);
    assert!(code == Some(1) && error.contains("cannot write"), "{error}");

    let bad = Bench::new("version: 1\nports: { a: { driver: memroy } }\n");
    let (code, error) = bad.fails(&["--port", &port]);
    assert!(code == Some(1) && error.contains("router.yaml:2:23") && error.contains("1 error"), "{error}");
    let (code, error) = bench.fails(&["--config", "/nonexistent.yaml"]);
    assert_eq!(code, Some(2), "{error}");
    let output = flowgate(&["--config", "/nonexistent.yaml", "--port", &port]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read /nonexistent.yaml"));
}

#[test]
fn nobody_has_to_read_to_the_end() {
    let bench = Bench::new(ELSEWHERE);
    // More than a pipe holds.
    let frames: Vec<_> = (0..5000).map(|n| (n, udp(V4.client, V4.server, (n as u16, 53), b""))).collect();
    let file = bench.capture("in.pcap", &frames);
    let verdicts = bench.path("verdicts.jsonl");
    let mut child = Command::new(env!("CARGO_BIN_EXE_flowgate"))
        .args(["replay", "--config", &bench.path("router.yaml"), "--port", &format!("inside={file}")])
        .args(["--verdicts", &verdicts])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(verdicts).unwrap().lines().count(), 5000, "files are written to the end");
}

#[test]
fn nothing_that_is_read_is_overwritten_and_nothing_is_written_twice() {
    let bench = Bench::new(&format!("{ELSEWHERE}sets: {{ all: {{ type: ip, file: set.txt }} }}\n"));
    fs::write(bench.path("set.txt"), "10.0.0.0/8\n").unwrap();
    let file = bench.capture("in.pcap", &[(1, udp(V4.client, V4.server, (1, 53), b"x"))]);
    fs::hard_link(&file, bench.path("hard")).unwrap();
    std::os::unix::fs::symlink("in.pcap", bench.path("soft")).unwrap();
    std::os::unix::fs::symlink("new", bench.path("to-new")).unwrap();
    let port = format!("inside={file}");
    let to = |name: &str| bench.path(name);
    let write = |port: &str, name: &str| ["--write".to_owned(), format!("{port}={}", bench.path(name))];
    let verdicts = |name: &str| ["--verdicts".to_owned(), bench.path(name)];
    let before: Vec<_> = ["router.yaml", "set.txt", "in.pcap"].map(|name| fs::read(to(name)).unwrap()).into();
    for (arguments, message) in [
        (vec![write("outside", "in.pcap")], "--write outside: "),
        (vec![write("inside", "./in.pcap")], "and --port inside is read from it"),
        (vec![write("inside", "hard")], "and --port inside is read from it"),
        (vec![verdicts("soft")], "--verdicts: "),
        (vec![verdicts("router.yaml")], "and the configuration is read from it"),
        (vec![write("outside", "router.yaml")], "and the configuration is read from it"),
        (vec![verdicts("set.txt")], "and a set of the configuration is read from it"),
        (vec![verdicts("new"), write("outside", "./new")], "is written by --verdicts already"),
        (vec![write("inside", "new"), write("outside", "to-new")], "is written by --write inside already"),
    ] {
        let arguments = [&["--port".to_owned(), port.clone()][..], arguments.concat().as_slice()].concat();
        let (code, error) = bench.fails(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(code == Some(2) && error.contains(message), "{arguments:?}: {code:?} {error}");
    }
    let after: Vec<_> = ["router.yaml", "set.txt", "in.pcap"].map(|name| fs::read(to(name)).unwrap()).into();
    assert_eq!(after, before);
    assert!(!Path::new(&to("new")).exists());
    // A device takes anything.
    let (code, error) =
        bench.fails(&["--port", &port, "--verdicts", "/dev/null", "--write", "inside=/dev/null", "--quiet"]);
    assert_eq!(code, Some(0), "{error}");
}
