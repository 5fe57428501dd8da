//! `flowgate bench`: every workload runs and verifies itself, and the results have the form that is promised.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of it is test code")]

use flowgate::bench::Workload;
use std::collections::BTreeSet;
use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flowgate")).arg("bench").args(arguments).output().expect("flowgate runs")
}

fn runs(output: &Output) -> Vec<serde_json::Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    results["runs"].as_array().expect("runs").clone()
}

#[test]
fn every_workload_runs_verifies_itself_and_reports_its_numbers() {
    let runs = runs(&bench(&["--flows", "300", "--family", "ipv4,ipv6", "--seconds", "0", "--json"]));
    let named: BTreeSet<_> = runs.iter().map(|run| run["workload"].as_str().unwrap().to_owned()).collect();
    let known: BTreeSet<_> = Workload::ALL.iter().map(|workload| workload.label().to_owned()).collect();
    assert_eq!(named, known);
    assert_eq!(runs.len(), 2 * known.len());
    for run in &runs {
        for key in ["ns_per_packet", "mpps", "floor_ns_per_packet", "ratio", "bytes_per_flow"] {
            assert!(run[key].as_f64().is_some_and(|n| n > 0.0), "{key}: {run}");
        }
        let stages = ["receive", "admit", "judge", "transmit"].map(|stage| run["stages"][stage].as_f64().unwrap());
        assert!(stages.iter().all(|share| *share > 0.0) && (stages.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{run}");
        for key in ["cycles_per_packet", "instructions_per_packet"] {
            assert!(run[key].is_null() || run[key].as_f64().is_some_and(|n| n > 0.0), "{key}: {run}");
        }
        let workload = run["workload"].as_str().unwrap();
        assert_eq!(run["workers"], if workload == "handoff" { 2 } else { 1 }, "{run}");
        assert_eq!(run["flows"], 300, "{run}");
        assert_eq!(run["checksum"], "nic", "{run}");
        assert_eq!(run["attack"].is_object(), workload == "syn_flood", "{run}");
        let connects = ["udp_new", "tcp_connections"].contains(&workload);
        assert_eq!(run["connections_per_second"].is_f64(), connects, "{run}");
    }
}

#[test]
fn results_are_compared_with_earlier_ones_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, plot) = (path("earlier.json"), path("plot.svg"));
    let common = ["--workload", "udp_established", "--flows", "100,200", "--checksum", "software", "--seconds", "0"];
    let first = bench(&[&common[..], &["--json", &json, "--plot", &plot]].concat());
    assert!(first.status.success(), "{first:?}");
    assert!(String::from_utf8_lossy(&first.stdout).contains("udp_established"), "the table still goes to people");
    let drawn = std::fs::read_to_string(plot).unwrap();
    assert!(drawn.starts_with("<svg") && drawn.contains("udp_established ipv4 software: floor"));
    let second = bench(&[&common[..], &["--workers", "2", "--compare", &json]].concat());
    assert_eq!(String::from_utf8_lossy(&second.stdout).matches("no such run").count(), 2, "other numbers of workers");
    let third = bench(&[&common[..], &["--compare", &json]].concat());
    assert_eq!(String::from_utf8_lossy(&third.stdout).matches("  earlier ").count(), 2, "{third:?}");
}

#[test]
fn workers_without_a_core_each_are_warned_of() {
    let cores = std::thread::available_parallelism().unwrap().get();
    let run = |workers: usize| {
        let workers = workers.min(flowgate::net::ids::MAX_SHARDS).to_string();
        let common = ["--workload", "udp_established", "--flows", "100", "--seconds", "0", "--json"];
        let output = bench(&[&common[..], &["--workers", &workers]].concat());
        assert_eq!(runs(&output).len(), 1);
        String::from_utf8(output.stderr).unwrap()
    };
    let warning = "warning: ";
    assert!(!run(cores).contains(warning));
    assert_eq!(run(cores + 1).contains(warning), cores < flowgate::net::ids::MAX_SHARDS);
}

#[test]
fn bad_arguments_are_said_and_nothing_runs() {
    for wrong in
        [["--flows", "0"], ["--flows", "many"], ["--workload", "nothing"], ["--seconds", "-1"], ["--workers", "0"]]
    {
        let output = bench(&wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let output =
        bench(&["--flows", "10", "--seconds", "0", "--workload", "udp_established", "--json", "/no/such/file"]);
    assert_eq!(output.status.code(), Some(1));
    let output = bench(&["--flows", "10", "--seconds", "0", "--compare", "Cargo.toml"]);
    assert_eq!(output.status.code(), Some(1), "that is no JSON");
    // An earlier call's numbers are not overwritten, nor one result by another.
    for wrong in [["--compare", "Cargo.toml", "--json", "./Cargo.toml"], ["--json", "new", "--plot", "./new"]] {
        let output = bench(&[&wrong[..], &["--flows", "10", "--seconds", "0"]].concat());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
    assert!(output.stdout.is_empty(), "told before anything runs");
}
