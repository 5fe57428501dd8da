//! Results for programs and spreadsheets, and in words for people.

use super::counts::{Latency, PortCounts, StreamCounts};
use super::plan::LINE_OVERHEAD;
use super::session::{Outcome, Progress};
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

/// Bits per second.
#[must_use]
pub fn bps(bps: f64) -> String {
    scaled(bps, "bit/s")
}

fn scaled(value: f64, unit: &str) -> String {
    match value {
        v if v >= 9.9995e8 => format!("{:.3} G{unit}", v / 1e9),
        v if v >= 9.9995e5 => format!("{:.3} M{unit}", v / 1e6),
        v if v >= 9.9995e2 => format!("{:.2} k{unit}", v / 1e3),
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

impl NamedFigures {
    fn text(&self, out: &mut String) {
        let f = &self.figures;
        let c = &f.counts;
        let _ = writeln!(out, "  {}", self.name);
        let line = |out: &mut String, what: &str, packets: u64, rate: f64, bits: f64| {
            let _ = writeln!(out, "    {what:<9} {packets:>12}   {:>14}   {:>16}", pps(rate), bps(bits));
        };
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
                if c.reply_tx > 0 { "round" } else { "latency" },
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
