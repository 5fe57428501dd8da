//! Results for programs and spreadsheets, and in words for people.

use super::counts::{Latency, PortCounts, StreamCounts};
use super::plan::LINE_OVERHEAD;
use super::session::{Outcome, Progress};
use super::tcp::TcpCounts;
use serde::Serialize;
use std::fmt::Write as _;

/// A trial's result.
#[derive(Clone, Debug, Serialize)]
pub struct TrialReport {
    /// What is special about it: `rate`, `size`, or nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Mean frame size in octets, frame check sequence included.
    pub frame_size: f64,
    /// Packets per second that were asked for; absent for as many as possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_pps: Option<f64>,
    /// Seconds in which packets were sent.
    pub seconds: f64,
    /// It was told to stop before its end.
    pub stopped: bool,
    /// All streams together.
    pub total: Figures,
    /// By stream.
    pub streams: Vec<NamedFigures>,
    /// By port.
    pub ports: Vec<PortReport>,
    /// Numbers over time.
    pub samples: Vec<Sample>,
}

/// Numbers at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// Seconds since the first moment.
    pub seconds: f64,
    /// Packets sent so far.
    pub tx_packets: u64,
    /// Packets received so far.
    pub rx_packets: u64,
}

impl From<&Progress> for Sample {
    fn from(progress: &Progress) -> Sample {
        Sample { seconds: progress.seconds, tx_packets: progress.packets.0, rx_packets: progress.packets.1 }
    }
}

/// Figures of a stream.
#[derive(Clone, Debug, Serialize)]
pub struct NamedFigures {
    /// Its name.
    pub name: String,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// What became of TCP connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Connections>,
}

/// What became of the connections of a stream.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Connections {
    /// Connections opened per second.
    pub cps: f64,
    /// Octets of requests and answers per second, in bits.
    pub goodput_bps: f64,
    /// Share of the connections opened that timed out or were reset.
    pub failed: f64,
    /// Counts.
    #[serde(flatten)]
    pub counts: TcpCounts,
    /// How long completed connections lived, in nanoseconds.
    pub lifetime_ns: Option<Latency>,
}

impl Connections {
    fn new(counts: TcpCounts, lifetime_ns: Option<Latency>, seconds: f64) -> Connections {
        let per_second = |n: u64| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
        let failed = (counts.timed_out + counts.reset) as f64 / counts.opened.max(1) as f64;
        Connections {
            cps: per_second(counts.opened),
            goodput_bps: 8.0 * per_second(counts.octets),
            failed,
            counts,
            lifetime_ns,
        }
    }
}

/// What counts and times come to.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figures {
    /// Packets sent per second.
    pub tx_pps: f64,
    /// Bits of frames sent per second, frame check sequence included.
    pub tx_bps: f64,
    /// Packets received per second of sending.
    pub rx_pps: f64,
    /// Bits of frames received per second of sending.
    pub rx_bps: f64,
    /// Bits a line would have carried per second for what was received, preamble and gap included.
    pub rx_line_bps: f64,
    /// Packets sent that did not arrive, neither whole nor damaged.
    pub lost: u64,
    /// Replies sent that did not arrive.
    pub reply_lost: u64,
    /// Share of the packets and replies sent that did not arrive whole.
    pub loss: f64,
    /// Counts.
    #[serde(flatten)]
    pub counts: StreamCounts,
    /// Times in nanoseconds: one way, or the round trip of streams with replies.
    pub latency_ns: Option<Latency>,
}

impl Figures {
    /// Of counts over so many seconds.
    #[must_use]
    pub fn new(counts: StreamCounts, latency: Option<Latency>, seconds: f64) -> Figures {
        let per_second = |n: u64| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
        Figures {
            tx_pps: per_second(counts.tx_packets),
            tx_bps: 8.0 * per_second(counts.tx_octets),
            rx_pps: per_second(counts.rx_packets),
            rx_bps: 8.0 * per_second(counts.rx_octets),
            rx_line_bps: 8.0 * per_second(counts.rx_octets + counts.rx_packets * LINE_OVERHEAD as u64),
            lost: counts.lost(),
            reply_lost: counts.reply_lost(),
            loss: counts.loss(),
            counts,
            latency_ns: latency,
        }
    }
}

/// What a port saw.
#[derive(Clone, Debug, Serialize)]
pub struct PortReport {
    /// Its name.
    pub name: String,
    /// Its counts.
    #[serde(flatten)]
    pub counts: PortCounts,
}

impl TrialReport {
    /// Of an outcome.
    #[must_use]
    pub fn new(label: Option<String>, frame_size: f64, asked_pps: Option<f64>, outcome: &Outcome) -> TrialReport {
        let seconds = outcome.seconds;
        let streams = outcome.streams.iter().map(|stream| NamedFigures {
            name: stream.name.clone(),
            figures: Figures::new(stream.counts, stream.latency(), seconds),
            tcp: stream.tcp.as_ref().map(|(counts, lives)| Connections::new(*counts, Latency::of(lives), seconds)),
        });
        TrialReport {
            label,
            frame_size,
            asked_pps,
            seconds,
            stopped: outcome.stopped,
            total: Figures::new(outcome.total(), outcome.latency(), seconds),
            streams: streams.collect(),
            ports: outcome
                .ports
                .iter()
                .map(|(name, counts)| PortReport { name: name.clone(), counts: *counts })
                .collect(),
            samples: outcome.samples.iter().map(Sample::from).collect(),
        }
    }
}

/// A number of packets per second in three or four digits.
#[must_use]
pub fn pps(pps: f64) -> String {
    scaled(pps, "pps")
}

/// The same with no more digits than it takes, for axes.
#[must_use]
pub fn pps_short(pps: f64) -> String {
    let (value, unit) = match pps {
        v if v >= 9.9995e8 => (v / 1e9, "Gpps"),
        v if v >= 9.9995e5 => (v / 1e6, "Mpps"),
        v if v >= 999.5 => (v / 1e3, "kpps"),
        v => (v, "pps"),
    };
    // At most three digits behind the point, without zeros at the end.
    format!("{} {unit}", (value * 1e3).round() / 1e3)
}

/// Bits per second.
#[must_use]
pub fn bps(bps: f64) -> String {
    scaled(bps, "bit/s")
}

fn scaled(value: f64, unit: &str) -> String {
    match value {
        v if v >= 9.9995e8 => format!("{:.3} G{unit}", v / 1e9),
        v if v >= 9.9995e5 => format!("{:.3} M{unit}", v / 1e6),
        v if v >= 999.5 => format!("{:.2} k{unit}", v / 1e3),
        v => format!("{v:.0} {unit}"),
    }
}

/// A time in nanoseconds.
#[must_use]
pub fn nanoseconds(ns: f64) -> String {
    match ns {
        ns if ns >= 1e9 => format!("{:.2} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{:.2} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{:.1} µs", ns / 1e3),
        ns => format!("{ns:.0} ns"),
    }
}

/// A share in percent, with as many digits as it takes to see that it is not 0.
#[must_use]
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_owned(),
        p if p < 0.0001 => format!("{p:.1e} %"),
        p if p < 0.1 => format!("{p:.4} %"),
        p => format!("{p:.2} %"),
    }
}

impl TrialReport {
    /// The largest share of packets lost or of connections that failed.
    #[must_use]
    pub fn worst(&self) -> f64 {
        let failed = self.streams.iter().filter_map(|stream| stream.tcp).map(|tcp| tcp.failed);
        failed.fold(self.total.loss, f64::max)
    }

    /// For people: a few lines for each stream, and for what is unusual.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        let label = self.label.as_ref().map_or_else(String::new, |label| format!("{label}: "));
        let stopped = if self.stopped { ", stopped early" } else { "" };
        let _ = writeln!(out, "{label}{:.2} s{stopped}", self.seconds);
        for stream in &self.streams {
            stream.text(&mut out);
        }
        for port in &self.ports {
            let c = &port.counts;
            let unusual = [
                (c.missed, "not fetched in time (the generator's own loss)"),
                (c.errors, "dropped by the device"),
                (c.icmp_errors, "ICMP errors"),
                (c.foreign, "of nobody"),
            ];
            let unusual: Vec<_> =
                unusual.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
            if !unusual.is_empty() {
                let _ = writeln!(out, "  port {}: {}", port.name, unusual.join(", "));
            }
        }
        out
    }
}

impl Connections {
    fn text(&self, out: &mut String) {
        let c = &self.counts;
        let _ = writeln!(
            out,
            "    {:<9} {:>12}   {:>14}   {:>16} of data",
            "opened",
            c.opened,
            format!("{:.0} cps", self.cps),
            bps(self.goodput_bps)
        );
        let _ = writeln!(out, "    {:<9} {:>12}   {} at once at most", "completed", c.completed, c.concurrent);
        let unusual = [
            (c.timed_out, "timed out"),
            (c.reset, "reset"),
            (c.unfinished, "still open at the end"),
            (c.retransmitted, "segments sent again"),
            (c.corrupt, "segments with other data"),
        ];
        for (n, what) in unusual.iter().filter(|(n, _)| *n > 0) {
            let _ = writeln!(out, "    {:<9} {n:>12}   {what}", "");
        }
        if let Some(life) = &self.lifetime_ns {
            let ns = |v: u64| nanoseconds(v as f64);
            let _ =
                writeln!(out, "    {:<9} p50 {}, p99 {}, max {}", "lifetime", ns(life.p50), ns(life.p99), ns(life.max));
        }
    }
}

impl NamedFigures {
    fn text(&self, out: &mut String) {
        let f = &self.figures;
        let c = &f.counts;
        let _ = writeln!(out, "  {}", self.name);
        let line = |out: &mut String, what: &str, packets: u64, rate: f64, bits: f64| {
            let _ = writeln!(out, "    {what:<9} {packets:>12}   {:>14}   {:>16}", pps(rate), bps(bits));
        };
        if let Some(tcp) = &self.tcp {
            tcp.text(out);
        }
        line(out, "sent", c.tx_packets, f.tx_pps, f.tx_bps);
        line(out, "received", c.rx_packets, f.rx_pps, f.rx_bps);
        let _ = writeln!(out, "    {:<9} {:>12}   {}", "lost", f.lost, percent(f.loss));
        if c.reply_tx > 0 {
            let _ = writeln!(
                out,
                "    {:<9} {:>12}   of {} received, {} lost",
                "replies", c.reply_tx, c.reply_rx, f.reply_lost
            );
        }
        for (what, sent, arrived) in
            [("invalid", c.invalid_tx, c.invalid_rx), ("unasked", c.unsolicited_tx, c.unsolicited_rx)]
        {
            if sent > 0 {
                let _ = writeln!(out, "    {what:<9} {sent:>12}   {arrived} passed");
            }
        }
        let unusual = [
            (c.duplicate + c.reply_duplicate, "twice"),
            (c.reordered + c.reply_reordered, "out of order"),
            (c.corrupt, "damaged"),
            (c.misdirected, "at the wrong port"),
            (c.altered, "with other addresses"),
            (c.tx_refused, "refused by the port"),
            (c.tx_missed, "due but not sent in time"),
        ];
        for (n, what) in unusual.iter().filter(|(n, _)| *n > 0) {
            let _ = writeln!(out, "    {:<9} {n:>12}   {what}", "");
        }
        if let Some(l) = &f.latency_ns {
            let ns = |v: u64| nanoseconds(v as f64);
            let _ = writeln!(
                out,
                "    {:<9} p50 {}, p90 {}, p99 {}, p99.9 {}, p99.99 {}, max {}",
                match (self.tcp, c.reply_tx) {
                    (Some(_), _) => "handshake",
                    (None, 0) => "latency",
                    (None, _) => "round",
                },
                ns(l.p50),
                ns(l.p90),
                ns(l.p99),
                ns(l.p999),
                ns(l.p9999),
                ns(l.max)
            );
        }
    }
}

/// A time without fractions, for axes.
#[must_use]
pub fn nanoseconds_short(ns: f64) -> String {
    match ns {
        ns if ns >= 1e9 => format!("{:.0} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{:.0} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{:.0} µs", ns / 1e3),
        ns => format!("{ns:.0} ns"),
    }
}

impl Figures {
    /// Everything by name, for spreadsheets; times that were not measured are empty.
    #[must_use]
    pub fn columns(&self) -> Vec<(&'static str, String)> {
        let mut columns = vec![
            ("tx_pps", format!("{:.1}", self.tx_pps)),
            ("tx_bps", format!("{:.0}", self.tx_bps)),
            ("rx_pps", format!("{:.1}", self.rx_pps)),
            ("rx_bps", format!("{:.0}", self.rx_bps)),
            ("rx_line_bps", format!("{:.0}", self.rx_line_bps)),
            ("lost", self.lost.to_string()),
            ("reply_lost", self.reply_lost.to_string()),
            ("loss", self.loss.to_string()),
        ];
        columns.extend(self.counts.named().into_iter().map(|(name, n)| (name, n.to_string())));
        let l = self.latency_ns.as_ref();
        let time = |of: fn(&Latency) -> u64| l.map(|l| of(l).to_string()).unwrap_or_default();
        columns.extend([
            ("latency_count", time(|l| l.count)),
            ("latency_min_ns", time(|l| l.min)),
            ("latency_mean_ns", l.map(|l| format!("{:.1}", l.mean)).unwrap_or_default()),
            ("latency_p50_ns", time(|l| l.p50)),
            ("latency_p90_ns", time(|l| l.p90)),
            ("latency_p99_ns", time(|l| l.p99)),
            ("latency_p99_9_ns", time(|l| l.p999)),
            ("latency_p99_99_ns", time(|l| l.p9999)),
            ("latency_max_ns", time(|l| l.max)),
        ]);
        columns
    }
}

/// Trials as comma-separated values: a row for each stream of each trial, and one for all its streams.
///
/// # Errors
/// Never, with so simple a target.
pub fn csv(trials: &[TrialReport]) -> Result<Vec<u8>, csv::Error> {
    let mut out = csv::Writer::from_writer(Vec::new());
    let mut titled = false;
    for trial in trials {
        let streams = trial.streams.iter().map(|stream| (stream.name.as_str(), &stream.figures, stream.tcp));
        for (name, figures, tcp) in std::iter::once(("", &trial.total, None)).chain(streams) {
            let mut columns = figures.columns();
            // Empty where there are no connections.
            let connections = tcp.map_or_else(TcpCounts::default, |tcp| tcp.counts).named();
            let value = |n: u64| if tcp.is_some() { n.to_string() } else { String::new() };
            columns.extend(connections.into_iter().map(|(name, n)| (name, value(n))));
            if !titled {
                let own = ["trial", "stream", "frame_size", "asked_pps", "seconds"];
                out.write_record(own.into_iter().chain(columns.iter().map(|(name, _)| *name)))?;
                titled = true;
            }
            let own = [
                trial.label.clone().unwrap_or_default(),
                name.to_owned(),
                format!("{:.1}", trial.frame_size),
                trial.asked_pps.map(|pps| format!("{pps:.1}")).unwrap_or_default(),
                format!("{:.6}", trial.seconds),
            ];
            out.write_record(own.iter().chain(columns.iter().map(|(_, value)| value)))?;
        }
    }
    out.into_inner().map_err(|error| csv::Error::from(error.into_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let rates = [0.0, 999.4, 999.6, 12_340.0, 999_960.0, 14_880_952.0, 1.2344e9].map(pps);
        assert_eq!(rates, ["0 pps", "999 pps", "1.00 kpps", "12.34 kpps", "1.000 Mpps", "14.881 Mpps", "1.234 Gpps"]);
        assert_eq!(bps(1.5e9), "1.500 Gbit/s");
        assert_eq!([5.0, 1500.0, 2.5e6, 3e9].map(nanoseconds), ["5 ns", "1.5 µs", "2.50 ms", "3.00 s"]);
        let shares = [0.0, 1e-9, 0.0001, 0.5, 1.0].map(percent);
        assert_eq!(shares, ["0 %", "1.0e-7 %", "0.0100 %", "50.00 %", "100.00 %"]);
    }

    #[test]
    fn figures_are_counts_over_time() {
        let counts = StreamCounts {
            tx_packets: 1000,
            tx_octets: 64_000,
            rx_packets: 900,
            rx_octets: 57_600,
            corrupt: 10,
            ..StreamCounts::default()
        };
        let figures = Figures::new(counts, None, 2.0);
        assert_eq!((figures.tx_pps, figures.tx_bps, figures.rx_pps), (500.0, 256_000.0, 450.0));
        assert_eq!((figures.lost, figures.loss), (90, 0.1));
        assert_eq!(figures.rx_line_bps, 8.0 * 450.0 * 84.0);
        assert_eq!(Figures::new(counts, None, 0.0).tx_pps, 0.0);
    }

    #[test]
    fn every_row_has_a_cell_for_every_title() {
        let figures =
            Figures::new(StreamCounts { tx_packets: 5, ..StreamCounts::default() }, Some(Latency::default()), 1.0);
        let trial = TrialReport {
            label: Some("a, b".to_owned()),
            frame_size: 64.0,
            asked_pps: None,
            seconds: 1.0,
            stopped: false,
            total: figures,
            streams: vec![NamedFigures { name: "one".to_owned(), figures, tcp: None }],
            ports: Vec::new(),
            samples: Vec::new(),
        };
        let bytes = csv(&[trial.clone(), trial]).unwrap();
        let mut rows = csv::ReaderBuilder::new().has_headers(false).from_reader(bytes.as_slice());
        let rows: Vec<_> = rows.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 5);
        assert!(rows.iter().all(|row| row.len() == rows[0].len()));
        let at = rows[0].iter().position(|name| name == "tx_packets").unwrap();
        assert_eq!((&rows[1][0], &rows[1][at], &rows[2][1]), ("a, b", "5", "one"));
    }
}
