//! `flowgate bench`: every workload runs and verifies itself, and the results have the form that is promised.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of it is test code")]

use std::process::{Command, Output};

fn bench(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flowgate")).arg("bench").args(arguments).output().expect("flowgate runs")
}

#[test]
fn every_workload_runs_verifies_itself_and_reports_its_numbers() {
    let output = bench(&["--flows", "300", "--seconds", "0", "--checksum", "nic,software", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let results: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON and nothing else");
    let runs = results["runs"].as_array().expect("runs");
    assert!(!runs.is_empty());
    for run in runs {
        for key in ["workload", "family", "checksum"] {
            assert!(run[key].is_string(), "{key}: {run}");
        }
        for key in ["ns_per_packet", "mpps", "floor_ns_per_packet", "ratio", "bytes_per_flow"] {
            assert!(run[key].as_f64().is_some_and(|n| n > 0.0), "{key}: {run}");
        }
        assert_eq!(run["workers"], 1, "{run}");
        assert_eq!(run["allocations_per_packet"].as_f64(), Some(0.0), "{run}");
    }
}

#[test]
fn bad_arguments_are_said_and_nothing_runs() {
    for wrong in [["--flows", "0"], ["--flows", "many"], ["--workload", "nothing"], ["--seconds", "-1"]] {
        let output = bench(&wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    let output =
        bench(&["--flows", "10", "--seconds", "0", "--workload", "udp_established", "--json", "/no/such/file"]);
    assert_eq!(output.status.code(), Some(1));
}
