//! `flowgate bench`: which runs to make, and how their numbers are shown.

use crate::bench::{self, Report, Spec, Workload};
use crate::net::Family;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::Serialize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What `bench` is given.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Workloads; all if none is given.
    #[arg(long, short, value_enum, value_delimiter = ',', value_name = "NAME")]
    workload: Vec<Workload>,
    /// Numbers of flows; `k` and `M` mean thousands and millions.
    #[arg(long, short, value_parser = count, value_delimiter = ',', default_value = "1k,64k,1M,10M", value_name = "N")]
    flows: Vec<u64>,
    /// Address families.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "ipv4,ipv6", value_name = "FAMILY")]
    family: Vec<FamilyName>,
    /// Who verifies the transport checksums: the port, as a NIC does, or the router.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "nic", value_name = "WHO")]
    checksum: Vec<Checksum>,
    /// Longest time to measure per run, set-up not counted; 0 for a short look that verifies.
    #[arg(long, value_parser = seconds, default_value = "2", value_name = "SECONDS")]
    seconds: Duration,
    /// Write JSON to FILE, or to standard output.
    #[arg(long, num_args = 0..=1, default_missing_value = "-", value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FamilyName {
    Ipv4,
    Ipv6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Checksum {
    Nic,
    Software,
}

impl ValueEnum for Workload {
    fn value_variants<'a>() -> &'a [Workload] {
        &Workload::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.label()))
    }
}

/// `64k` and the like.
fn count(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1000),
        None => text.strip_suffix('M').map_or((text, 1), |digits| (digits, 1_000_000)),
    };
    match digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)) {
        Some(n @ 1..=100_000_000) => Ok(n),
        _ => Err("a number from 1 to 100M is wanted, such as 1000, 64k or 1M".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(s) if (0.0..=3600.0).contains(&s) => Ok(Duration::from_secs_f64(s)),
        _ => Err("a number of seconds from 0 to 3600 is wanted".to_owned()),
    }
}

/// All runs, in the form programs read.
#[derive(Debug, Serialize)]
struct Results {
    runs: Vec<Report>,
}

/// Measures what the command line asks for.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    match measure(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("flowgate: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<(), String> {
    let specs = specs(args);
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    let say = |line: &str| {
        // Nobody reads the table, perhaps; the runs go on for the files.
        let _ = if to_stdout { writeln!(std::io::stderr(), "{line}") } else { writeln!(std::io::stdout(), "{line}") };
    };
    say(HEADING);
    let mut runs = Vec::with_capacity(specs.len());
    for spec in &specs {
        let report = bench::run(spec).map_err(|error| format!("{}: {error}", name(spec)))?;
        say(&row(&report));
        runs.push(report);
    }
    if let Some(file) = &args.json {
        let mut text = serde_json::to_string_pretty(&Results { runs }).map_err(|error| error.to_string())?;
        text.push('\n');
        if to_stdout {
            std::io::stdout().write_all(text.as_bytes()).map_err(|error| format!("cannot write: {error}"))?;
        } else {
            std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        }
    }
    Ok(())
}

/// The runs asked for.
fn specs(args: &Args) -> Vec<Spec> {
    let workloads = if args.workload.is_empty() { &Workload::ALL[..] } else { &args.workload };
    let mut specs = Vec::new();
    for workload in workloads {
        for family in &args.family {
            for checksum in &args.checksum {
                for flows in &args.flows {
                    specs.push(Spec {
                        workload: *workload,
                        family: match family {
                            FamilyName::Ipv4 => Family::V4,
                            FamilyName::Ipv6 => Family::V6,
                        },
                        flows: *flows,
                        workers: 1,
                        nic_checksum: *checksum == Checksum::Nic,
                        time: args.seconds,
                    });
                }
            }
        }
    }
    specs
}

fn name(spec: &Spec) -> String {
    format!("{} {} with {} flows", spec.workload.label(), spec.family.label(), spec.flows)
}

const HEADING: &str =
    "workload         family     flows  checksum   ns/packet   Mpps   floor ns  ratio  allocations  bytes/flow";

fn row(r: &Report) -> String {
    let allocations = r.allocations_per_packet.map_or("-".to_owned(), |n| format!("{n}"));
    format!(
        "{:<16} {:<6} {:>9}  {:<8}  {:>10.1} {:>6.2} {:>10.1} {:>6.2}  {allocations:>11}  {:>10.1}",
        r.workload,
        r.family,
        r.flows,
        r.checksum,
        r.ns_per_packet,
        r.mpps,
        r.floor_ns_per_packet,
        r.ratio,
        r.bytes_per_flow
    )
}
