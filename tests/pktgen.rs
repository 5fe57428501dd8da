//! `flowgate pktgen` through the real router on memory ports, and its exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]

use serde_json::Value;
use std::process::{Command, Output};

fn pktgen(arguments: &str) -> Output {
    let arguments = arguments.split_whitespace();
    Command::new(env!("CARGO_BIN_EXE_flowgate")).arg("pktgen").args(arguments).output().expect("flowgate runs")
}

/// A run through the router in memory, without text.
fn results(arguments: &str) -> (Value, Option<i32>) {
    let output = pktgen(&format!("--self-test --quiet --json - --drain 800ms {arguments}"));
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    (serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{errors}")), output.status.code())
}

fn counts<const N: usize>(trial: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| trial["total"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {trial}")))
}

#[test]
fn udp_streams_pass_the_router_whole() {
    for family in ["ipv4", "ipv6"] {
        let (all, code) = results(&format!(
            "--packets 2000 --rate 4kpps --size 84,594,1518 --flows 100 --exponent 1.1 --both --family {family}"
        ));
        let trial = &all["trials"][0];
        assert_eq!((code, &all["good"]), (Some(0), &Value::Bool(true)), "{trial}");
        assert_eq!(counts(trial, ["tx_packets", "rx_packets", "lost"]), [4000, 4000, 0]);
        let odd = counts(trial, ["duplicate", "reordered", "corrupt", "misdirected", "altered"]);
        assert_eq!(odd, [0; 5], "{trial}");
        assert_eq!(trial["total"]["latency_ns"]["count"], 4000);
        assert_eq!(trial["streams"].as_array().map(Vec::len), Some(2));
    }
}

#[test]
fn the_router_stops_what_is_spoilt_or_unasked_and_lets_replies_pass() {
    let (all, code) =
        results("--packets 2000 --rate 4kpps --size 128 --flows 20 --replies --invalid 10% --unsolicited 5%");
    let trial = &all["trials"][0];
    assert_eq!(counts(trial, ["tx_packets", "invalid_tx", "unsolicited_tx"]), [1800, 200, 100]);
    assert_eq!(counts(trial, ["invalid_rx", "unsolicited_rx", "lost", "reply_lost"]), [0; 4], "{trial}");
    assert_eq!((counts(trial, ["reply_rx"]), code), ([1800], Some(0)));
}

#[test]
fn a_search_finds_what_passes_and_writes_it_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    // Loss is accepted, since a busy machine may stop the router for a while; what is asked for it must reach.
    let (all, code) = results(&format!(
        "--rfc2544 --size 128,64 --rate 4kpps --trial 100ms --duration 200ms --resolution 10% --max-loss 20% \
         --csv {} --plot {}",
        path("r.csv"),
        path("r.svg")
    ));
    assert_eq!(code, Some(0), "{all}");
    let sizes: Vec<_> = all["throughput"].as_array().unwrap().iter().map(|one| one["frame_size"].as_u64()).collect();
    assert_eq!(sizes, [Some(64), Some(128)]);
    assert!(
        all["throughput"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["confirmed"] == true && one["pps"].as_f64() > Some(0.0))
    );
    let csv = std::fs::read_to_string(path("r.csv")).unwrap();
    assert_eq!(csv.lines().count(), 5, "{csv}");
    assert!(std::fs::read_to_string(path("r.svg")).unwrap().starts_with("<svg"));
}

#[test]
fn a_ramp_has_a_trial_for_each_rate() {
    let (all, code) = results("--ramp 1kpps:3kpps:1kpps:150ms");
    let asked: Vec<_> = all["trials"].as_array().unwrap().iter().map(|trial| trial["asked_pps"].as_f64()).collect();
    assert_eq!((asked, code), (vec![Some(1e3), Some(2e3), Some(3e3)], Some(0)), "{all}");
}

#[test]
fn connections_pass_the_router_and_what_is_spoilt_does_not() {
    for family in ["ipv4", "ipv6"] {
        let (all, code) = results(&format!(
            "--proto tcp --packets 200 --rate 500cps --request 2000 --response 20000 --invalid 5% --unsolicited 10% \
             --family {family}"
        ));
        let (trial, stream) = (&all["trials"][0], &all["trials"][0]["streams"][0]);
        let tcp = ["opened", "completed", "timed_out", "reset", "octets"].map(|name| stream["tcp"][name].as_u64());
        assert_eq!(tcp.map(Option::unwrap_or_default), [200, 200, 0, 0, 200 * 22_000], "{stream}");
        assert!(counts(trial, ["invalid_tx"])[0] > 50, "{trial}");
        assert_eq!(counts(trial, ["unsolicited_tx", "invalid_rx", "unsolicited_rx", "lost"]), [20, 0, 0, 0], "{trial}");
        assert_eq!(code, Some(0));
    }
}

#[test]
fn tagged_ports_meet_a_router_with_tagged_ports() {
    let ports = "--port left=memory,10.77.1.2/24,via=10.77.1.1,vlan=7 --port right=memory,10.77.2.2/24,via=10.77.2.1,vlan=100.20";
    let (all, code) = results(&format!("{ports} --packets 2000 --rate 4kpps --flows 50 --replies"));
    let trial = &all["trials"][0];
    assert_eq!(
        counts(trial, ["tx_packets", "rx_packets", "reply_rx", "misdirected"]),
        [2000, 2000, 2000, 0],
        "{trial}"
    );
    // One tag there, two behind the router.
    assert_eq!(counts(trial, ["tx_octets", "rx_octets"]), [2000 * 68, 2000 * 72], "{trial}");
    assert_eq!(code, Some(0));
}

#[test]
fn several_workers_share_the_streams() {
    let (all, code) = results("--packets 3000 --rate 4kpps --size 64 --flows 64 --workers 2");
    let trial = &all["trials"][0];
    assert_eq!(counts(trial, ["tx_packets", "rx_packets", "reordered", "duplicate"]), [3000, 3000, 0, 0], "{trial}");
    assert_eq!(code, Some(0));
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    let code = |arguments: &str| pktgen(arguments).status.code();
    assert_eq!(code(""), Some(2));
    assert_eq!(code("--no-such-option"), Some(2));
    assert_eq!(code("--self-test --rate fast"), Some(2));
    for (arguments, named) in [
        ("--self-test --size 10", "flowgate pktgen: --size: "),
        ("--self-test --flows 99999999", "flowgate pktgen: --flows: "),
        ("--self-test --invalid 1.5", "flowgate pktgen: --invalid: "),
        ("--port a=memory,10.0.0.1/24,mtv=9 --port b=memory,10.0.1.1/24", "flowgate pktgen: --port a: "),
        ("--port a=memory,10.0.0.1/24 --port a=memory,10.0.1.1/24", "flowgate pktgen: --port a: "),
        ("--port a=memroy,10.0.0.1/24 --port b=memory,10.0.1.1/24", "did you mean `memory`?"),
    ] {
        let output = pktgen(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(named), "{arguments}: {said}");
        assert!(!said.contains("-->") && !said.contains("command line"), "no place in a file there is not: {said}");
    }
    assert_eq!(code("no-such-file.yaml"), Some(1));
    assert_eq!(code("conf/pktgen.yaml --json ./conf/../conf/pktgen.yaml"), Some(2));
    assert_eq!(code("--self-test --csv ./new --plot new"), Some(2));
    assert_eq!(code("--self-test --json /no/such/place --packets 10 --rate 1kpps"), Some(1));
    let output = pktgen("--port a=af_packet:no-such-dev,10.0.0.1/24 --port b=memory,10.0.1.1/24");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("port a: "), "{said}");
    // Nobody is there: what is sent into a memory port without a router is lost, and nobody answers.
    let output = pktgen("--port a=memory,10.0.0.1/24 --port b=memory,10.0.1.1/24");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("no answer from 10.0.1.1 on port a"), "{said}");
    // A link address needs no answer; then all is lost, which is not good.
    let output = pktgen(
        "--port a=memory,10.0.0.1/24,via=02:00:00:00:00:01 --port b=memory,10.0.1.1/24,via=02:00:00:00:00:01 \
         --packets 10 --drain 10ms",
    );
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.code() == Some(1) && said.contains("100.00 %"), "{said}");
}

#[test]
fn a_mistake_in_a_stream_file_is_shown_at_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s.yaml");
    std::fs::write(
        &path,
        "version: 1\nports:\n  a: { driver: memory }\n  b: { driver: memory }\nstreams:\n  s: { rate: fast }\n",
    )
    .unwrap();
    let output = pktgen(path.to_str().unwrap());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("`rate`: `fast` is not a rate") && said.contains("s.yaml:6:14") && said.contains("^^^^"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(1));
}
