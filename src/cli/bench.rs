//! `flowgate bench`: which runs to make, and how their numbers are shown.

mod plot;
mod results;

use crate::bench::{self, Spec, Workload};
use crate::net::Family;
use crate::net::ids::MAX_SHARDS;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use std::io::Write;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What `bench` is given.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Workloads; all if none is given.
    #[arg(long, short, value_enum, value_delimiter = ',', value_name = "NAME")]
    workload: Vec<Workload>,
    /// Numbers of flows, `k` and `M` for thousands and millions; for each workload the usual ones if none is given.
    #[arg(long, short, value_parser = count, value_delimiter = ',', value_name = "N")]
    flows: Vec<u64>,
    /// Address families; IPv4 alone for all but tcp_established if none is given.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAMILY")]
    family: Vec<FamilyName>,
    /// Numbers of workers, among which the flows are dealt; one, and two for what needs them, if none is given.
    #[arg(long, value_parser = workers, value_delimiter = ',', value_name = "N")]
    workers: Vec<usize>,
    /// Who verifies the checksums, of transport and IPv4 header: the port, as a NIC does, or the router.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "nic", value_name = "WHO")]
    checksum: Vec<Checksum>,
    /// Longest time to measure per run, set-up not counted; 0 for a short look that verifies.
    #[arg(long, value_parser = seconds, default_value = "2", value_name = "SECONDS")]
    seconds: Duration,
    /// Write JSON to FILE, or to standard output.
    #[arg(long, num_args = 0..=1, default_missing_value = "-", value_name = "FILE")]
    json: Option<PathBuf>,
    /// Compare with the JSON of an earlier call, run by run.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Draw nanoseconds per packet over flows, ours and the floor's.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Measure nothing, but take exactly so many packets through a worker whose clock is told: for counting
    /// instructions; see scripts/instructions.
    #[arg(long, hide = true, value_name = "PACKETS")]
    exactly: Option<u64>,
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
        Some(PossibleValue::new(self.label()).help(self.describe()))
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

fn workers(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=MAX_SHARDS) => Ok(n),
        _ => Err(format!("a number from 1 to {MAX_SHARDS} is wanted")),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(s) if (0.0..=3600.0).contains(&s) => Ok(Duration::from_secs_f64(s)),
        _ => Err("a number of seconds from 0 to 3600 is wanted".to_owned()),
    }
}

/// Measures what the command line asks for.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    if let Err(reason) = nothing_is_overwritten(args) {
        let _ = writeln!(std::io::stderr(), "flowgate: {reason}");
        return ExitCode::from(2);
    }
    match measure(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "flowgate: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// An earlier call's numbers stay, and two results do not share a file.
fn nothing_is_overwritten(args: &Args) -> Result<(), String> {
    let mut files = super::files::Files::default();
    if let Some(path) = &args.compare {
        files.reads("--compare", path);
    }
    let outputs = [("--json", &args.json), ("--plot", &args.plot)];
    outputs
        .into_iter()
        .filter_map(|(option, path)| Some((option, path.as_deref()?)))
        .try_for_each(|(option, path)| files.writes(option, path))
}

fn measure(args: &Args) -> Result<(), String> {
    // A file that cannot be read is told before minutes are spent.
    let earlier = args.compare.as_deref().map(results::read).transpose()?;
    let specs = specs(args);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    if let Some(workers) = specs.iter().map(|spec| spec.workers).max().filter(|workers| *workers > cores) {
        let _ = writeln!(
            std::io::stderr(),
            "flowgate: warning: {workers} workers share {cores} core(s); rates are per processor time, summed over the \
             workers, and so above what this machine moves"
        );
    }
    if let Some(packets) = args.exactly {
        let [spec] = specs.as_slice() else { return Err("--exactly takes one run".to_owned()) };
        return bench::count::count(spec, packets).map_err(|error| format!("{}: {error}", name(spec)));
    }
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    let say = |line: &str| {
        // Nobody reads the table, perhaps; the runs go on for the files.
        let _ = if to_stdout { writeln!(std::io::stderr(), "{line}") } else { writeln!(std::io::stdout(), "{line}") };
    };
    say(results::HEADING);
    let mut runs = Vec::with_capacity(specs.len());
    for spec in &specs {
        let report = bench::run(spec).map_err(|error| format!("{}: {error}", name(spec)))?;
        results::rows(&report).iter().for_each(|row| say(row));
        if let Some(line) = earlier.as_ref().and_then(|earlier| results::compared(earlier, &report)) {
            say(&line);
        }
        runs.push(report);
    }
    if let Some(file) = &args.plot {
        plot::write(file, &runs)?;
    }
    if let Some(file) = &args.json {
        let text = results::json(&runs)?;
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
        let families = match args.family.as_slice() {
            [] if *workload == Workload::TcpEstablished => &[FamilyName::Ipv4, FamilyName::Ipv6][..],
            [] => &[FamilyName::Ipv4],
            given => given,
        };
        let flows = if args.flows.is_empty() { workload.usual_flows() } else { &args.flows };
        for family in families {
            for checksum in &args.checksum {
                for workers in worker_counts(args, *workload) {
                    specs.extend(flows.iter().map(|flows| Spec {
                        workload: *workload,
                        family: match family {
                            FamilyName::Ipv4 => Family::V4,
                            FamilyName::Ipv6 => Family::V6,
                        },
                        flows: *flows,
                        workers,
                        nic_checksum: *checksum == Checksum::Nic,
                        time: args.seconds,
                    }));
                }
            }
        }
    }
    specs
}

/// The numbers of workers a workload is run with.
fn worker_counts(args: &Args, workload: Workload) -> Vec<usize> {
    if !workload.is_divisible() {
        return vec![1];
    }
    let mut counts: Vec<usize> = args.workers.iter().copied().filter(|n| *n >= workload.least_workers()).collect();
    if counts.is_empty() {
        counts.push(workload.least_workers());
    }
    counts
}

fn name(spec: &Spec) -> String {
    let Spec { workload, family, flows, workers, .. } = spec;
    format!("{} {}, {flows} flows, {workers} workers", workload.label(), family.label())
}
