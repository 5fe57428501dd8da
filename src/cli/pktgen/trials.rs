//! The trials of a run, one after another: a plain one, the steps of a ramp, or searches for throughput.

use super::file::Loaded;
use super::output::{Report, Throughput};
use super::progress::Line;
use super::value::Ramp;
use super::{Args, Failure, failure, output};
use crate::pktgen::plan::{Limit, Rate, Stream, mean_size};
use crate::pktgen::report::{TrialReport, pps};
use crate::pktgen::search::{Probe, Search, search};
use crate::pktgen::template::least_size;
use crate::pktgen::{Outcome, Session, Trial};
use std::time::Duration;

/// How trials are made.
pub(super) enum Mode {
    /// One, as the plan says.
    Plain,
    /// One for each rate.
    Ramp(Ramp),
    /// A search for each frame size.
    Rfc2544 {
        /// How long each trial of the search takes.
        trial: Duration,
        /// How exactly the answer is wanted, as a share of the highest rate.
        resolution: f64,
    },
}

/// Trials that may confirm a search's answer; each that fails asks for less.
const CONFIRMATIONS: usize = 5;

struct Runner<'a> {
    loaded: &'a Loaded,
    session: &'a Session,
    line: Line,
    seed: u64,
}

/// Carries out what is asked for and writes the results. True if all is well.
pub(super) fn run(args: &Args, loaded: &Loaded, mode: &Mode, session: &Session) -> Result<bool, Failure> {
    let plan = &loaded.plan;
    let mut runner = Runner { loaded, session, line: Line::new(args.quiet), seed: plan.seed };
    session.learn(&runner.trial(&plan.streams, plan.limit)).map_err(failure)?;
    let mut report = Report::new(loaded.max_loss);
    match mode {
        Mode::Plain => {
            let outcome = runner.measure("", &plan.streams, plan.limit)?;
            let total = runner.note(&mut report, None, &plan.streams, &outcome);
            report.good = total.0 > 0 && total.1 <= loaded.max_loss;
        }
        Mode::Ramp(ramp) => runner.ramp(ramp, &mut report)?,
        Mode::Rfc2544 { trial, resolution } => runner.rfc2544(*trial, *resolution, &mut report)?,
    }
    runner.line.clear();
    output::write(args, &report)?;
    Ok(report.good)
}

impl Runner<'_> {
    fn trial(&self, streams: &[Stream], limit: Limit) -> Trial {
        Trial { streams: streams.to_vec().into(), limit, drain: self.loaded.plan.drain, seed: self.seed }
    }

    fn measure(&mut self, label: &str, streams: &[Stream], limit: Limit) -> Result<Outcome, Failure> {
        // Another seed is another secret, so that no trial takes in what a former one left on its way.
        self.seed = self.seed.wrapping_add(1);
        self.line.label(label);
        let (trial, line) = (self.trial(streams, limit), &mut self.line);
        self.session.run(&trial, &mut |progress| line.show(progress)).map_err(failure)
    }

    /// Adds a trial to the report and gives the packets sent and the loss.
    fn note(&self, report: &mut Report, label: Option<String>, streams: &[Stream], outcome: &Outcome) -> (u64, f64) {
        let sizes: Vec<u16> = streams.iter().flat_map(|stream| stream.sizes.iter().copied()).collect();
        let trial = TrialReport::new(label, mean_size(&sizes), self.asked(streams), outcome);
        let total = (trial.total.counts.tx_packets, trial.worst());
        report.curve = outcome.curve();
        report.trials.push(trial);
        total
    }

    /// Packets per second asked of all streams together; `None` for as many as possible.
    fn asked(&self, streams: &[Stream]) -> Option<f64> {
        streams.iter().map(|stream| self.pps(stream)).sum()
    }

    fn pps(&self, stream: &Stream) -> Option<f64> {
        let line = self.loaded.plan.ports.get(stream.from).and_then(|port| port.line);
        stream.rate.pps(mean_size(&stream.sizes), line)
    }

    fn ramp(&mut self, ramp: &Ramp, report: &mut Report) -> Result<(), Failure> {
        let limit = Limit { time: Duration::from_millis(u64::from(ramp.time)), packets: None };
        for rate in ramp.rates() {
            let streams: Vec<Stream> =
                self.loaded.plan.streams.iter().map(|stream| Stream { rate, ..stream.clone() }).collect();
            let label = pps(self.asked(&streams).unwrap_or(0.0));
            let outcome = self.measure(&format!("{label:>12} "), &streams, limit)?;
            self.note(report, Some(label), &streams, &outcome);
            if outcome.stopped {
                break;
            }
        }
        report.good = report.trials.iter().all(|trial| trial.total.counts.tx_packets > 0 && !trial.stopped);
        Ok(())
    }

    fn rfc2544(&mut self, time: Duration, resolution: f64, report: &mut Report) -> Result<(), Failure> {
        let streams = &self.loaded.plan.streams;
        let mut sizes: Vec<u16> = streams.iter().flat_map(|stream| stream.sizes.iter().copied()).collect();
        sizes.sort_unstable();
        sizes.dedup();
        report.good = true;
        for size in sizes {
            let one = |stream: &Stream| {
                let size = size.max(least_size(stream.family, stream.proto()) as u16);
                Stream { sizes: vec![size], ..stream.clone() }
            };
            let streams: Vec<Stream> = self.loaded.plan.streams.iter().map(one).collect();
            let throughput = self.throughput(&streams, time, resolution, report)?;
            report.good &= throughput.pps > 0.0 && throughput.confirmed;
            report.throughput.push(throughput);
        }
        Ok(())
    }

    /// The highest rate of streams of one size.
    fn throughput(
        &mut self,
        streams: &[Stream],
        time: Duration,
        resolution: f64,
        report: &mut Report,
    ) -> Result<Throughput, Failure> {
        let size = streams.iter().flat_map(|stream| stream.sizes.first()).copied().max().unwrap_or(0);
        let limit = Limit { time, packets: None };
        let acceptable = self.loaded.max_loss;
        // Unless somebody names the highest rate, it is what the generator can do.
        let mut first = None;
        let high = match self.asked(streams) {
            Some(high) => high,
            None => {
                let probe = self.probe(&at_rate(streams, &|_| None), limit, f64::INFINITY, size)?;
                first = Some(probe);
                probe.offered
            }
        };
        let weight = |stream: &Stream| self.pps(stream).map_or(1.0 / streams.len() as f64, |pps| pps / high);
        let weights: Vec<f64> = streams.iter().map(weight).collect();
        let share = |total: f64| at_rate(streams, &|index| Some(total * weights.get(index).copied().unwrap_or(0.0)));
        let spec = Search { high, resolution, acceptable };
        let mut free = first.filter(|probe| probe.loss <= acceptable && probe.offered > 0.0);
        let found = search(spec, |ask| match free.take() {
            Some(probe) => Ok(Probe { asked: ask, ..probe }),
            None => self.probe(&share(ask), limit, ask, size),
        })?;
        let mut answer = Throughput { frame_size: size, probes: found.probes.len(), ..Throughput::default() };
        let Some(best) = found.best else { return Ok(answer) };
        // The answer is what holds for the whole time (RFC 2544 section 24), and its times are those of section 26.2.
        let mut ask = best.asked.min(best.offered);
        for _ in 0..CONFIRMATIONS {
            let streams = share(ask);
            let label = format!("{size:>5} octets, {:>12} ", pps(ask));
            let outcome = self.measure(&label, &streams, self.loaded.plan.limit)?;
            let (sent, loss) = self.note(report, Some(format!("{size} octets")), &streams, &outcome);
            answer.confirmed = sent > 0 && loss <= acceptable && !outcome.stopped;
            if answer.confirmed || outcome.stopped {
                break;
            }
            // Only the one that counts stays.
            report.trials.pop();
            ask -= (resolution * high).max(0.05 * ask);
            if ask <= 0.0 {
                break;
            }
        }
        if let (true, Some(trial)) = (answer.confirmed, report.trials.last()) {
            answer.pps = trial.total.rx_pps;
            answer.bps = trial.total.rx_bps;
            answer.line_bps = trial.total.rx_line_bps;
            answer.latency_ns = trial.total.latency_ns;
            answer.generators_limit = best.asked >= high && first.is_some();
        }
        Ok(answer)
    }

    fn probe(&mut self, streams: &[Stream], limit: Limit, asked: f64, size: u16) -> Result<Probe, Failure> {
        let rate = if asked.is_finite() { pps(asked) } else { "max".to_owned() };
        let outcome = self.measure(&format!("{size:>5} octets, {rate:>12} "), streams, limit)?;
        if outcome.stopped {
            return Err(Failure::Other("stopped before the search was over".to_owned()));
        }
        let total = outcome.total();
        Ok(Probe { asked, offered: total.tx_packets as f64 / outcome.seconds.max(1e-9), loss: total.loss() })
    }
}

/// The streams, each at the rate given for its index.
fn at_rate(streams: &[Stream], rate: &dyn Fn(usize) -> Option<f64>) -> Vec<Stream> {
    let one =
        |(index, stream): (usize, &Stream)| Stream { rate: rate(index).map_or(Rate::Max, Rate::Pps), ..stream.clone() };
    streams.iter().enumerate().map(one).collect()
}
