//! Results on the terminal, and as JSON, CSV and SVG.

use super::{Args, Failure};
use crate::pktgen::counts::Latency;
use crate::pktgen::plot::{Across, Panel, Plot, Series, Unit};
use crate::pktgen::report::{TrialReport, bps, csv, nanoseconds, percent, pps};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// All of a run, as `--json` writes it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Version of the program.
    version: &'static str,
    /// Loss that is acceptable.
    pub(super) max_loss: f64,
    /// All went as it should.
    pub(super) good: bool,
    /// By frame size, of a search.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) throughput: Vec<Throughput>,
    /// By trial; of a search, those that confirmed its answers.
    pub(super) trials: Vec<TrialReport>,
    /// Times of the last trial by nines.
    #[serde(skip)]
    pub(super) curve: Vec<(f64, f64)>,
}

/// The answer of a search for one frame size.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Throughput {
    /// Octets, frame check sequence included.
    pub(super) frame_size: u16,
    /// Packets per second that passed without more loss than is acceptable; 0 if none did.
    pub(super) pps: f64,
    /// Bits of their frames per second.
    pub(super) bps: f64,
    /// Bits a line would have carried per second, preamble and gap included.
    pub(super) line_bps: f64,
    /// A trial of full length has confirmed it.
    pub(super) confirmed: bool,
    /// The generator sent no more: the device may well do.
    pub(super) generators_limit: bool,
    /// Trials of the search.
    pub(super) probes: usize,
    /// Times at that rate.
    pub(super) latency_ns: Option<Latency>,
}

impl Report {
    pub(super) fn new(max_loss: f64) -> Report {
        Report {
            version: env!("CARGO_PKG_VERSION"),
            max_loss,
            good: false,
            throughput: Vec::new(),
            trials: Vec::new(),
            curve: Vec::new(),
        }
    }
}

/// Writes everything that was asked for.
pub(super) fn write(args: &Args, report: &Report) -> Result<(), Failure> {
    if !args.quiet {
        show(&text(report));
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(report).map_err(|error| Failure::Other(error.to_string()))?;
        save(path, format!("{text}\n").as_bytes())?;
    }
    if let Some(path) = &args.csv {
        save(path, &csv(&report.trials).map_err(|error| Failure::Other(error.to_string()))?)?;
    }
    if let Some(path) = &args.plot {
        let svg = plot(report, &args.title).svg();
        save(path, svg.map_err(|error| Failure::Other(format!("cannot draw: {error}")))?.as_bytes())?;
    }
    Ok(())
}

fn show(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Writes a result; `-` is standard output.
fn save(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if path == Path::new("-") {
        let _ = std::io::stdout().write_all(bytes);
        return Ok(());
    }
    std::fs::write(path, bytes).map_err(|error| Failure::Other(format!("cannot write {}: {error}", path.display())))
}

fn text(report: &Report) -> String {
    if !report.throughput.is_empty() {
        return searched(report);
    }
    match report.trials.as_slice() {
        [one] => one.text(),
        several => ramped(several),
    }
}

fn times(latency: Option<&Latency>) -> String {
    latency.map_or_else(String::new, |l| {
        let ns = |v: u64| nanoseconds(v as f64);
        format!("{:>9} {:>9} {:>9}", ns(l.p50), ns(l.p99), ns(l.max))
    })
}

fn searched(report: &Report) -> String {
    let mut out = format!(
        "{:>6}  {:>14}  {:>16}  {:>16}  {:>9} {:>9} {:>9}\n",
        "octets", "throughput", "of frames", "of the line", "p50", "p99", "max"
    );
    for one in &report.throughput {
        if !one.confirmed {
            let _ = writeln!(out, "{:>6}  {:>14}", one.frame_size, "none found");
            continue;
        }
        let limit = if one.generators_limit { "  (the generator's limit)" } else { "" };
        let _ = writeln!(
            out,
            "{:>6}  {:>14}  {:>16}  {:>16}  {}{limit}",
            one.frame_size,
            pps(one.pps),
            bps(one.bps),
            bps(one.line_bps),
            times(one.latency_ns.as_ref()),
        );
    }
    out
}

fn ramped(trials: &[TrialReport]) -> String {
    let mut out = format!(
        "{:>14}  {:>14}  {:>14}  {:>10}  {:>9} {:>9} {:>9}\n",
        "asked", "sent", "received", "lost", "p50", "p99", "max"
    );
    for trial in trials {
        let total = &trial.total;
        let _ = writeln!(
            out,
            "{:>14}  {:>14}  {:>14}  {:>10}  {}",
            trial.label.as_deref().unwrap_or_default(),
            pps(total.tx_pps),
            pps(total.rx_pps),
            percent(total.loss),
            times(total.latency_ns.as_ref()),
        );
    }
    out
}

/// The picture of a run: by frame size, by rate, or over time.
fn plot(report: &Report, title: &Option<String>) -> Plot {
    let title = title.clone().unwrap_or_else(|| "flowgate pktgen".to_owned());
    let acceptable = match report.max_loss {
        0.0 => "no loss".to_owned(),
        loss => format!("at most {} lost", percent(loss)),
    };
    if !report.throughput.is_empty() {
        let subtitle = format!("Highest rate with {acceptable} (RFC 2544 section 26.1), and one-way times at it");
        return Plot { title, subtitle, panels: by_size(report) };
    }
    if report.trials.len() > 1 {
        let subtitle = format!("{} rates, each for {:.1} s", report.trials.len(), report.trials[0].seconds);
        return Plot { title, subtitle, panels: by_rate(report) };
    }
    let subtitle = report.trials.first().map_or_else(String::new, |trial| {
        let total = &trial.total;
        format!("{} packets sent in {:.1} s, {} lost", total.counts.tx_packets, trial.seconds, percent(total.loss))
    });
    Plot { title, subtitle, panels: over_time(report) }
}

fn series(name: &str, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.to_owned(), points }
}

/// One figure of the times.
type Pick = fn(&Latency) -> u64;

/// The lines of times, each named by how many packets were not slower.
fn latency_series(points: &[(f64, Option<Latency>)]) -> Vec<Series> {
    let of: [(&str, Pick); 4] = [("p50", |l| l.p50), ("p99", |l| l.p99), ("p99.9", |l| l.p999), ("max", |l| l.max)];
    let line = |pick: Pick| points.iter().filter_map(|(x, l)| l.as_ref().map(|l| (*x, pick(l) as f64))).collect();
    of.iter().map(|(name, pick)| series(name, line(*pick))).collect()
}

type Panels = Vec<(Panel, Across, String)>;

fn by_size(report: &Report) -> Panels {
    let names: Vec<String> = report.throughput.iter().map(|one| one.frame_size.to_string()).collect();
    let places = || report.throughput.iter().enumerate().map(|(place, one)| (place as f64, one));
    let rates = places().map(|(x, one)| (x, one.pps)).collect();
    let times: Vec<_> = places().map(|(x, one)| (x, one.latency_ns)).collect();
    let across = "frame size in octets";
    vec![
        (
            Panel {
                title: "Throughput".to_owned(),
                unit: Unit::Pps,
                series: vec![series("throughput", rates)],
                bars: true,
            },
            Across::Names(names.clone()),
            across.to_owned(),
        ),
        (
            Panel {
                title: "Time at that rate".to_owned(),
                unit: Unit::Time,
                series: latency_series(&times),
                bars: false,
            },
            Across::Names(names),
            across.to_owned(),
        ),
    ]
}

fn by_rate(report: &Report) -> Panels {
    let trials = || report.trials.iter().map(|trial| (trial.asked_pps.unwrap_or(trial.total.tx_pps), trial));
    let received = trials().map(|(x, trial)| (x, trial.total.rx_pps)).collect();
    let sent = trials().map(|(x, trial)| (x, trial.total.tx_pps)).collect();
    let times: Vec<_> = trials().map(|(x, trial)| (x, trial.total.latency_ns)).collect();
    vec![
        (
            Panel {
                title: "Sent and received".to_owned(),
                unit: Unit::Pps,
                series: vec![series("sent", sent), series("received", received)],
                bars: false,
            },
            Across::Pps,
            "packets asked for per second".to_owned(),
        ),
        (
            Panel { title: "Time".to_owned(), unit: Unit::Time, series: latency_series(&times), bars: false },
            Across::Pps,
            "packets asked for per second".to_owned(),
        ),
    ]
}

fn over_time(report: &Report) -> Panels {
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    if let Some(trial) = report.trials.first() {
        let mut last = (0.0, 0, 0);
        for sample in &trial.samples {
            let seconds = sample.seconds - last.0;
            if seconds > 0.0 {
                sent.push((sample.seconds, sample.tx_packets.saturating_sub(last.1) as f64 / seconds));
                received.push((sample.seconds, sample.rx_packets.saturating_sub(last.2) as f64 / seconds));
            }
            last = (sample.seconds, sample.tx_packets, sample.rx_packets);
        }
    }
    vec![
        (
            Panel {
                title: "Rate".to_owned(),
                unit: Unit::Pps,
                series: vec![series("sent", sent), series("received", received)],
                bars: false,
            },
            Across::Seconds,
            "seconds".to_owned(),
        ),
        (
            Panel {
                title: "Time within which so many packets arrived".to_owned(),
                unit: Unit::Time,
                series: vec![series("time", report.curve.clone())],
                bars: false,
            },
            Across::Nines,
            "share of packets".to_owned(),
        ),
    ]
}
