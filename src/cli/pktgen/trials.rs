//! The trials of a run, and what is made of their results.

use super::file::Loaded;
use super::progress::Line;
use super::{Args, Failure, failure};
use crate::pktgen::plan::{Stream, mean_size};
use crate::pktgen::report::TrialReport;
use crate::pktgen::{Session, Trial};
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// All of a run, as `--json` writes it.
#[derive(Debug, Serialize)]
struct Report {
    /// Version of the program.
    version: &'static str,
    /// Loss that is acceptable.
    max_loss: f64,
    /// No more was lost.
    good: bool,
    /// By trial.
    trials: Vec<TrialReport>,
}

/// Mean frame size and packets per second asked for, all streams together.
fn asked(loaded: &Loaded, streams: &[Stream]) -> (f64, Option<f64>) {
    let sizes: Vec<u16> = streams.iter().flat_map(|stream| stream.sizes.iter().copied()).collect();
    let line = |stream: &Stream| loaded.plan.ports.get(stream.from).and_then(|port| port.line);
    let pps = streams.iter().map(|stream| stream.rate.pps(mean_size(&stream.sizes), line(stream)));
    (mean_size(&sizes), pps.sum())
}

/// Carries out what is asked for and writes the results. True if all is well.
pub(super) fn run(args: &Args, loaded: &Loaded, session: &Session) -> Result<bool, Failure> {
    let mut line = Line::new(args.quiet);
    let plan = &loaded.plan;
    let trial = Trial { streams: plan.streams.clone().into(), limit: plan.limit, drain: plan.drain, seed: plan.seed };
    session.learn(&trial).map_err(failure)?;
    let outcome = session.run(&trial, &mut |progress| line.show(progress)).map_err(failure)?;
    line.clear();
    let (size, pps) = asked(loaded, &plan.streams);
    let report = TrialReport::new(None, size, pps, &outcome);
    if !args.quiet {
        show(&report.text());
    }
    let good = report.total.counts.tx_packets > 0 && report.total.loss <= loaded.max_loss;
    let all = Report { version: env!("CARGO_PKG_VERSION"), max_loss: loaded.max_loss, good, trials: vec![report] };
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&all).map_err(|error| Failure::Other(error.to_string()))?;
        write(path, &format!("{text}\n"))?;
    }
    Ok(good)
}

fn show(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Writes a result; `-` is standard output.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    if path == Path::new("-") {
        show(text);
        return Ok(());
    }
    std::fs::write(path, text).map_err(|error| Failure::Other(format!("cannot write {}: {error}", path.display())))
}
