//! `flowgate pktgen`: from options and a stream file to ports, trials and results.

mod file;
mod flags;
mod output;
mod progress;
mod router;
mod trials;
mod value;

use crate::config::Diagnostics;
use crate::control::port_spec;
use crate::driver::{self, OpenPort};
use crate::pktgen::plan::{Kind, Rate};
use crate::pktgen::{Session, SessionError};
use file::Loaded;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use trials::Mode;

/// What `pktgen` is given.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Ports and streams, a YAML file.
    #[arg(value_name = "FILE", conflicts_with_all = ["port", "stream"])]
    file: Option<PathBuf>,
    /// A port: NAME=DRIVER:PLACE, then its addresses with their prefix lengths, `via=` the next hop (an address or a
    /// link address), and any key the router's ports have, with commas between them; `vlan=100.20` is two tags. Traffic
    /// goes from the first port to the second.
    #[arg(long, short, value_name = "NAME=PORT")]
    port: Vec<String>,
    #[command(flatten)]
    stream: StreamArgs,
    /// How much each stream sends: `max`, or a number with pps, bit/s or % of the line, as in 1.5Mpps; for TCP, cps:
    /// connections per second.
    #[arg(long, short, value_name = "RATE")]
    rate: Option<String>,
    /// For how long. Of an RFC 2544 search: the trial that confirms a rate.
    #[arg(long, short, value_name = "TIME")]
    duration: Option<String>,
    /// One trial for each rate from START to STOP, all of one unit, each for TIME, as in 10kpps:100kpps:10kpps:2s.
    #[arg(long, value_name = "START:STOP:STEP:TIME", conflicts_with_all = ["rate", "duration", "packets"])]
    ramp: Option<String>,
    /// Find for each frame size the highest rate without loss (RFC 2544 section 26.1), and the times at it. The sizes
    /// are the streams', or the RFC's if they name none; the highest rate tried is `--rate`, or the generator's.
    #[arg(long, conflicts_with_all = ["ramp", "packets"])]
    rfc2544: bool,
    /// Of an RFC 2544 search: how long a trial takes.
    #[arg(long, value_name = "TIME", requires = "rfc2544", default_value = "2s")]
    trial: String,
    /// Of an RFC 2544 search: it ends when the answer is known to this share of the highest rate.
    #[arg(long, value_name = "SHARE", requires = "rfc2544", default_value = "1%")]
    resolution: String,
    /// Packets, or connections, of each stream, after which it ends.
    #[arg(long, value_name = "N")]
    packets: Option<u32>,
    /// How long packets are received after the last was sent.
    #[arg(long, value_name = "TIME")]
    drain: Option<String>,
    /// Share of packets that may be lost.
    #[arg(long, value_name = "SHARE")]
    max_loss: Option<String>,
    /// Threads; each has a queue of every port.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: u8,
    /// Cores to pin the threads to, with commas between them.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Vec<u16>,
    /// Put a router of this program between the ports, in memory. Needs no privileges; drivers and devices of the
    /// ports do not matter.
    #[arg(long)]
    self_test: bool,
    /// Write the results as JSON; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the results as comma-separated values, a row for each trial and stream; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw the results as SVG: over frame sizes, over rates, or over time.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// What stands above the picture.
    #[arg(long, value_name = "TEXT", requires = "plot")]
    title: Option<String>,
    /// Leave out the progress line and the text on standard output.
    #[arg(long, short)]
    quiet: bool,
}

/// The one stream that options describe. Each means what the key of the same name means in a stream file.
#[derive(Debug, clap::Args)]
#[group(id = "stream", multiple = true)]
struct StreamArgs {
    /// Frame sizes, check sequence included: a number, a range, a list with commas, `imix` or `rfc2544`.
    #[arg(long, value_name = "SIZES")]
    size: Option<String>,
    /// Flows, told apart by ports and addresses.
    #[arg(long, value_name = "N")]
    flows: Option<String>,
    /// Which flow is next: `sequential`, `uniform` or `zipf`.
    #[arg(long, value_name = "WORD")]
    distribution: Option<String>,
    /// Exponent of the Zipf distribution.
    #[arg(long, value_name = "S")]
    exponent: Option<String>,
    /// `udp` or `tcp`.
    #[arg(long, value_name = "PROTO")]
    proto: Option<String>,
    /// TCP: connections open at the same time, at most.
    #[arg(long, value_name = "N")]
    concurrent: Option<String>,
    /// TCP: octets of a request.
    #[arg(long, value_name = "OCTETS")]
    request: Option<String>,
    /// TCP: octets of the answer to a request.
    #[arg(long, value_name = "OCTETS")]
    response: Option<String>,
    /// TCP: requests of a connection.
    #[arg(long, value_name = "N")]
    requests: Option<String>,
    /// TCP: how a connection ends, `fin` or `rst`.
    #[arg(long, value_name = "WORD")]
    close: Option<String>,
    /// `ipv4` or `ipv6`.
    #[arg(long, value_name = "FAMILY")]
    family: Option<String>,
    /// Source address, or a prefix whose addresses are used.
    #[arg(long, value_name = "PREFIX")]
    saddr: Option<String>,
    /// Destination address, or a prefix whose addresses are used.
    #[arg(long, value_name = "PREFIX")]
    daddr: Option<String>,
    /// Source port or range.
    #[arg(long, value_name = "PORTS")]
    sport: Option<String>,
    /// Destination port or range.
    #[arg(long, value_name = "PORTS")]
    dport: Option<String>,
    /// Send the same the other way too.
    #[arg(long)]
    both: bool,
    /// Have the far side send every packet back.
    #[arg(long)]
    replies: bool,
    /// Share of packets that are spoilt: a wrong checksum; for TCP also impossible flags and places outside of the window.
    #[arg(long, value_name = "SHARE")]
    invalid: Option<String>,
    /// Packets of no connection from the far side, for each packet of the stream.
    #[arg(long, value_name = "SHARE")]
    unsolicited: Option<String>,
}

impl StreamArgs {
    /// Keys of the stream file with what was given for them.
    fn values(&self) -> Vec<(&'static str, Option<String>)> {
        let flag = |set: bool| set.then(|| "true".to_owned());
        vec![
            ("size", self.size.clone()),
            ("flows", self.flows.clone()),
            ("distribution", self.distribution.clone()),
            ("exponent", self.exponent.clone()),
            ("proto", self.proto.clone()),
            ("concurrent", self.concurrent.clone()),
            ("request", self.request.clone()),
            ("response", self.response.clone()),
            ("requests", self.requests.clone()),
            ("close", self.close.clone()),
            ("family", self.family.clone()),
            ("saddr", self.saddr.clone()),
            ("daddr", self.daddr.clone()),
            ("sport", self.sport.clone()),
            ("dport", self.dport.clone()),
            ("both", flag(self.both)),
            ("replies", flag(self.replies)),
            ("invalid", self.invalid.clone()),
            ("unsolicited", self.unsolicited.clone()),
        ]
    }
}

/// Why nothing was measured, or not all.
enum Failure {
    /// The command line.
    Usage(String),
    /// The stream file, rendered.
    File(String),
    /// A port, a neighbour, a worker.
    Other(String),
}

/// Generates load as told. Exits with 0 if all is well, 1 if too much was lost or nothing could be measured, 2 if the
/// command line cannot be.
pub(super) fn run(args: &Args) -> ExitCode {
    match measure(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failure::Usage(why)) => {
            say(&format!("flowgate pktgen: {why}\n"));
            ExitCode::from(2)
        }
        Err(Failure::File(mistakes)) => {
            say(&mistakes);
            ExitCode::FAILURE
        }
        Err(Failure::Other(why)) => {
            say(&format!("flowgate pktgen: {why}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Reads a stream file as a run would.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check(path: &std::path::Path) -> Result<(), Diagnostics> {
    file::load(path, 1, &[]).map(|_| ())
}

fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn rendered(diagnostics: &Diagnostics) -> Failure {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    Failure::File(diagnostics.render(color))
}

/// The stream file stays, and two results do not share a file.
fn nothing_is_overwritten(args: &Args) -> Result<(), Failure> {
    let mut files = super::files::Files::default();
    if let Some(path) = &args.file {
        files.reads("the stream file", path);
    }
    let outputs = [("--json", &args.json), ("--csv", &args.csv), ("--plot", &args.plot)];
    outputs
        .into_iter()
        .filter_map(|(option, path)| Some((option, path.as_deref()?)))
        .try_for_each(|(option, path)| files.writes(option, path))
        .map_err(Failure::Usage)
}

fn load(args: &Args) -> Result<(Loaded, Mode), Failure> {
    let workers = if args.cores.is_empty() { args.workers } else { u8::try_from(args.cores.len()).unwrap_or(u8::MAX) };
    if !args.cores.is_empty() && args.workers != 1 && args.workers != workers {
        return Err(Failure::Usage(format!("--workers {} but {workers} cores", args.workers)));
    }
    let mut loaded = match &args.file {
        Some(path) => file::load(path, workers, &args.cores).map_err(|mistakes| rendered(&mistakes))?,
        None => file::parse("", &flags::text(args).map_err(Failure::Usage)?, workers, &args.cores)
            .map_err(|mistakes| Failure::Usage(flags::usage(&mistakes)))?,
    };
    let usage = |option: &str, wrong: crate::config::schema::Wrong| {
        let help = wrong.help.map_or_else(String::new, |help| format!("; {help}"));
        Failure::Usage(format!("{option}: {}{help}", wrong.message))
    };
    if let Some(rate) = &args.rate {
        let rate = value::rate(rate).map_err(|wrong| usage("--rate", wrong))?;
        loaded.plan.streams.iter_mut().for_each(|stream| stream.rate = rate);
    }
    let time = |option: &'static str, text: &Option<String>, least: u32| match text {
        None => Ok(None),
        Some(text) => crate::config::schema::duration(text, least)
            .map(|ms| Some(Duration::from_millis(u64::from(ms))))
            .map_err(|wrong| usage(option, wrong)),
    };
    let mode = if let Some(ramp) = &args.ramp {
        let ramp = value::ramp(ramp, |text| crate::config::schema::duration(text, 1));
        Mode::Ramp(ramp.map_err(|wrong| usage("--ramp", wrong))?)
    } else if args.rfc2544 {
        let trial = time("--trial", &Some(args.trial.clone()), 1)?.unwrap_or_default();
        let resolution = value::share(&args.resolution).map_err(|wrong| usage("--resolution", wrong))?;
        if loaded.plan.streams.iter().any(|stream| matches!(stream.kind, Kind::Tcp(_))) {
            return Err(Failure::Usage("--rfc2544 is about UDP streams".to_owned()));
        }
        if !loaded.sized {
            loaded.plan.streams.iter_mut().for_each(file::rfc2544);
        }
        Mode::Rfc2544 { trial, resolution }
    } else {
        Mode::Plain
    };
    let plan = &mut loaded.plan;
    plan.limit.time = time("--duration", &args.duration, 1)?.unwrap_or(plan.limit.time);
    plan.drain = time("--drain", &args.drain, 0)?.unwrap_or(plan.drain);
    plan.limit.packets = args.packets.map(u64::from).or(plan.limit.packets);
    if let Some(share) = &args.max_loss {
        loaded.max_loss = value::share(share).map_err(|wrong| usage("--max-loss", wrong))?;
    }
    Ok((loaded, mode))
}

/// Opens the ports of a plan as the router would.
fn open(loaded: &Loaded) -> Result<Vec<OpenPort>, Failure> {
    let mut ports = Vec::new();
    for port in &loaded.settings.ports {
        let opened = driver::open(&port_spec(&loaded.settings, port)).map_err(|e| Failure::Other(e.to_string()))?;
        for warning in &opened.warnings {
            say(&format!("warning: {warning}\n"));
        }
        ports.push(opened);
    }
    Ok(ports)
}

/// True if no more was lost than is acceptable.
fn measure(args: &Args) -> Result<bool, Failure> {
    nothing_is_overwritten(args)?;
    let (mut loaded, mode) = load(args)?;
    let (mut router, ports) = if args.self_test {
        let (router, ports) = router::start(&loaded).map_err(Failure::Other)?;
        (Some(router), ports)
    } else {
        (None, open(&loaded)?)
    };
    for (plan, port) in loaded.plan.ports.iter_mut().zip(&ports) {
        plan.line = plan.line.or(port.info.speed_mbps.map(|mbps| u64::from(mbps) * 1_000_000));
    }
    let ramp = matches!(&mode, Mode::Ramp(ramp) if matches!(ramp.start, Rate::Line(_)));
    for stream in &loaded.plan.streams {
        let Some(port) = loaded.plan.ports.get(stream.from) else { continue };
        if (ramp || matches!(stream.rate, Rate::Line(_))) && port.line.is_none() {
            let why = format!("port {}: its speed is not known; say it with `line`, as in line=10G", port.name);
            return Err(Failure::Other(why));
        }
    }
    let cores: Vec<usize> = args.cores.iter().map(|core| usize::from(*core)).collect();
    let workers = usize::from(loaded.settings.workers.count);
    let session = Session::open(ports, &loaded.plan, workers, &cores).map_err(failure)?;
    stop_on_signals(&session)?;
    session.resolve().map_err(failure)?;
    let good = trials::run(args, &loaded, &mode, &session);
    drop(session);
    // What was measured behind a dead router means nothing.
    match router.as_mut().and_then(router::Router::end) {
        Some(reason) => Err(Failure::Other(format!("the router of the self-test ended: {reason}"))),
        None => good,
    }
}

fn failure(error: SessionError) -> Failure {
    Failure::Other(error.to_string())
}

/// An interrupt ends the trial under way with the results so far.
fn stop_on_signals(session: &Session) -> Result<(), Failure> {
    let other = |error: std::io::Error| Failure::Other(format!("could not catch signals: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(other)?;
    let stop = session.stopper();
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || signals.forever().for_each(|_| stop.stop())).map_err(other)?;
    Ok(())
}

#[cfg(test)]
mod tests;
