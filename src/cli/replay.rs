//! `flowgate replay`: captures through the router, without privileges.
//!
//! Owns the order of packets ([`merge`]), the words for what became of them ([`record`], [`table`], [`totals`]) and the router
//! they go through ([`session`]): the real one, in one thread, with capture time as its clock.

pub mod merge;
pub mod record;
pub mod session;
pub mod table;
pub mod totals;

use crate::config::settings::{Port, Settings};
use crate::config::{self, Loaded, Machine, Marks};
use crate::control::{PortFacts, compile, fixed_neighbours};
use crate::driver::pcap::CaptureWriter;
use crate::net::ids::MAX_SHARDS;
use crate::net::{MacAddr, Now, PortId};
use crate::shard::Snapshot;
use crate::wire;
use merge::{Captures, Packet};
use record::Record;
use session::{Deal, Options, Session, fragment_limits};
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use table::{Screen, Table};
use totals::Totals;

/// What `replay` is given.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The configuration, a YAML file. Drivers and devices of its ports are not opened.
    #[arg(long, short, value_name = "FILE")]
    pub config: PathBuf,
    /// What came in by a configured port: a pcap or pcapng file of Ethernet frames; other link types are refused. Once per
    /// port; a port without a capture only sends. A packet stamped earlier than one before it in its file counts as of that
    /// one's time, which a warning says.
    #[arg(long = "port", short, value_name = "NAME=CAPTURE", required = true, value_parser = named)]
    pub ports: Vec<(String, PathBuf)>,
    /// Writes one JSON object per packet, in the order the packets were taken.
    ///
    /// `seq`: its number, from 0. `time`: nanoseconds since 1970. `port`: where it came in. `state`: NEW, ESTABLISHED,
    /// RELATED, INVALID, UNTRACKED, or NONE for what ended before tracking and for a held fragment. `direction`: original or
    /// reply. `protocol_state`: the protocol's own state after it, as SYN_SENT. `invalid`: why it is INVALID. `verdict`:
    /// accept, drop, punt (the router took it or answered it) or held. `reason`: why it was dropped. `rule`: the rule that
    /// decided, null for a chain's policy. `egress`: where it left. `worker`: who judged it.
    ///
    /// A fragment is held until its datagram is complete. The one that completes it carries the datagram's state, and in
    /// `completes` the `seq`s of the held ones, which share its fate. `gave_up` lists held fragments that were dropped when
    /// a packet came, each with its `seq` and `reason`. Both keys are left out where they would be empty. A held fragment
    /// that no record names was held still when the captures ended.
    #[arg(long, value_name = "FILE")]
    pub verdicts: Option<PathBuf>,
    /// Writes what left by a port, the router's own packets included, with capture time. Once per port.
    #[arg(long, short, value_name = "NAME=FILE", value_parser = named)]
    pub write: Vec<(String, PathBuf)>,
    /// Shards, 1 to 64; the configuration's number if not given. All states and verdicts are the same for any
    /// number, except where a bound is each shard's own: once the connection table or the memory for fragments is
    /// full, it may depend on the number who finds room.
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u8).range(1..=MAX_SHARDS as i64))]
    pub workers: Option<u8>,
    /// Which shard gets a packet first: `owner`, the one that owns its tuple, or `random[=SEED]`, any, as from a
    /// port that cannot steer. Changes no verdict.
    #[arg(long, value_name = "HOW", default_value = "owner", value_parser = deal)]
    pub deal: Deal,
    /// Leaves the table out; the totals stay.
    #[arg(long, short)]
    pub quiet: bool,
}

/// `NAME=FILE`.
fn named(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), PathBuf::from(file))),
        _ => Err("expected the name of a port, `=`, and a file".to_owned()),
    }
}

fn deal(text: &str) -> Result<Deal, String> {
    match text.split_once('=') {
        None if text == "owner" => Ok(Deal::Owner),
        None if text == "random" => Ok(Deal::Random(0)),
        Some(("random", seed)) => seed.parse().map(Deal::Random).map_err(|_| format!("`{seed}` is not a number")),
        _ => Err("expected `owner`, `random` or `random=SEED`".to_owned()),
    }
}

/// Why a replay did not come to its end.
#[derive(Debug)]
enum Failure {
    /// The configuration or a capture is bad, or something cannot be written.
    Bad(String),
    /// The command line names what does not exist.
    Usage(String),
}

impl Failure {
    fn writing(path: &Path, error: impl std::fmt::Display) -> Failure {
        Failure::Bad(format!("cannot write {}: {error}", path.display()))
    }
}

/// Replays, and says how it went: 0 to the end, 1 a bad configuration or capture, 2 bad usage.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    match replay(args, &mut io::stdout().lock(), screen()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Bad(message)) => {
            eprintln!("flowgate: {}", message.trim_end());
            ExitCode::FAILURE
        }
        Err(Failure::Usage(message)) => {
            eprintln!("flowgate: {message}");
            ExitCode::from(2)
        }
    }
}

/// What is known of standard output.
fn screen() -> Screen {
    let out = io::stdout();
    if !out.is_terminal() {
        return Screen::default();
    }
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let told = || rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col)).filter(|n| *n > 0);
    Screen { width: asked.or_else(told), color: std::env::var_os("NO_COLOR").is_none() }
}

fn replay(args: &Args, out: &mut dyn Write, screen: Screen) -> Result<(), Failure> {
    let Loaded { settings, marks, .. } = load(&args.config)?;
    let read = assign("--port", &args.ports, &settings)?;
    let written = assign("--write", &args.write, &settings)?;
    nothing_is_overwritten(args, &marks)?;
    let mut captures = Captures::default();
    for (port, path) in read {
        captures.add(port, path).map_err(|fault| Failure::Bad(fault.to_string()))?;
    }
    let snapshot = Arc::new(snapshot(&settings).map_err(Failure::Bad)?);
    let mut session =
        Session::new(&snapshot, &options(args, &settings)).map_err(|error| Failure::Bad(error.to_string()))?;
    session.know(&fixed_neighbours(&settings));
    let mut files = Files::create(args, written)?;
    let table = (!args.quiet).then(|| Table::new(screen));
    let mut shown = Shown { out: BufWriter::new(out), table, unread: false };
    let mut totals = Totals::new(&snapshot);
    let ended = loop {
        let Packet { port, at, octets } = match captures.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => break Ok(()),
            Err(fault) => break Err(Failure::Bad(fault.to_string())),
        };
        let outcome = session.feed(port, octets, at);
        let mut record = Record::new(&snapshot, totals.packets(), at, port, &outcome);
        record.release(session.released(), &outcome);
        files.verdict(&record)?;
        files.sent(at, &session)?;
        totals.add(&record, &session);
        shown.row(&record, octets)?;
        if shown.unread && files.none() {
            return Ok(());
        }
    };
    files.finish()?;
    captures.set_back().for_each(|(path, packets)| warn_of_time(path, packets));
    totals.close(&session, captures.cut_short());
    shown.finish(&totals, &snapshot)?;
    ended
}

fn warn_of_time(path: &Path, packets: u64) {
    let are = if packets == 1 { "packet is" } else { "packets are" };
    eprintln!(
        "flowgate: warning: {}: {packets} {are} stamped earlier than one before; time does not go back, so they count as of the latest time until then",
        path.display()
    );
}

fn load(path: &Path) -> Result<Loaded, Failure> {
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // The machine the configuration is for may be another one.
    match config::load_on(&Machine::default(), path) {
        Ok(loaded) => Ok(loaded),
        Err(mistakes) => {
            let count = mistakes.errors();
            let s = if count == 1 { "" } else { "s" };
            eprint!("{}", mistakes.render(color));
            Err(Failure::Bad(format!("{}: {count} error{s}", path.display())))
        }
    }
}

/// Refuses to write what is read, or one file twice, before any file is touched.
fn nothing_is_overwritten(args: &Args, marks: &Marks) -> Result<(), Failure> {
    let mut files = super::files::Files::default();
    files.reads("the configuration", &args.config);
    marks.set_files.iter().for_each(|path| files.reads("a set of the configuration", path));
    for (port, path) in &args.ports {
        files.reads(format!("--port {port}"), path);
    }
    if let Some(path) = &args.verdicts {
        files.writes("--verdicts", path).map_err(Failure::Usage)?;
    }
    args.write.iter().try_for_each(|(port, path)| files.writes(format!("--write {port}"), path)).map_err(Failure::Usage)
}

/// Finds the ports that an option names; each at most once.
fn assign<'a>(
    option: &str,
    given: &'a [(String, PathBuf)],
    settings: &Settings,
) -> Result<Vec<(PortId, &'a Path)>, Failure> {
    let mut found: Vec<(PortId, &Path)> = Vec::new();
    for (name, path) in given {
        let Some(port) = settings.ports.iter().find(|port| port.name == *name) else {
            return Err(Failure::Usage(format!("{option}: {}", no_such_port(name, &settings.ports))));
        };
        if found.iter().any(|(id, _)| *id == port.id) {
            return Err(Failure::Usage(format!("{option}: port `{name}` is given twice")));
        }
        found.push((port.id, path));
    }
    Ok(found)
}

fn no_such_port(name: &str, ports: &[Port]) -> String {
    let near = |other: &&Port| strsim::damerau_levenshtein(name, &other.name) <= 1 + name.chars().count() / 4;
    let nearest = ports.iter().filter(near).min_by_key(|other| strsim::damerau_levenshtein(name, &other.name));
    match nearest {
        Some(port) => format!("no port is named `{name}`; did you mean `{}`?", port.name),
        None => {
            let names: Vec<_> = ports.iter().map(|port| format!("`{}`", port.name)).collect();
            format!("no port is named `{name}`; the configuration has {}", names.join(", "))
        }
    }
}

/// What a port without a device says of itself.
fn facts(port: &Port) -> PortFacts {
    PortFacts {
        mac: port.mac.unwrap_or(MacAddr([0x02, 0, 0, 0, 0xff, port.id.0])),
        mtu: port.mtu.map_or(1500, u32::from),
        tx_checksum_partial: false,
        tx_gso: true,
    }
}

/// Compiles settings for a replay: nobody can be asked for a link address, so every next hop has one; and the
/// captures may come from any machine, so a port takes frames to any link address unless its own is configured.
///
/// # Errors
/// What the settings' own checks let pass.
pub fn snapshot(settings: &Settings) -> Result<Snapshot, String> {
    let facts: Vec<_> = settings.ports.iter().map(facts).collect();
    let mut snapshot = compile(settings, &facts, 1).map_err(|error| error.to_string())?;
    snapshot.assume_neighbours = true;
    for (view, port) in snapshot.ports.iter_mut().zip(&settings.ports) {
        view.check_destination = port.mac.is_some();
    }
    Ok(snapshot)
}

fn options(args: &Args, settings: &Settings) -> Options {
    let thresholds = [settings.fragments.ipfrag_high_thresh, settings.fragments.frag6_high_thresh];
    let timeouts = &settings.conntrack.timeouts;
    Options {
        workers: usize::from(args.workers.unwrap_or(settings.workers.count)),
        deal: args.deal,
        max_entries: settings.conntrack.max_entries as usize,
        expect_max: settings.conntrack.expect_max as usize,
        fragments: fragment_limits(thresholds.map(|octets| octets as usize), [timeouts.frag4, timeouts.frag6]),
    }
}

/// The files that are written.
struct Files<'a> {
    verdicts: Option<(&'a Path, BufWriter<File>)>,
    writers: Vec<(PortId, &'a Path, CaptureWriter)>,
}

impl<'a> Files<'a> {
    fn create(args: &'a Args, write: Vec<(PortId, &'a Path)>) -> Result<Files<'a>, Failure> {
        let verdicts = match args.verdicts.as_deref() {
            Some(path) => {
                let file = File::create(path).map_err(|error| Failure::writing(path, error))?;
                Some((path, BufWriter::new(file)))
            }
            None => None,
        };
        let mut writers = Vec::with_capacity(write.len());
        for (port, path) in write {
            let writer = CaptureWriter::create(path).map_err(|error| Failure::writing(path, error))?;
            writers.push((port, path, writer));
        }
        Ok(Files { verdicts, writers })
    }

    fn none(&self) -> bool {
        self.verdicts.is_none() && self.writers.is_empty()
    }

    fn verdict(&mut self, record: &Record<'_>) -> Result<(), Failure> {
        let Some((path, file)) = &mut self.verdicts else { return Ok(()) };
        serde_json::to_writer(&mut *file, record)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .map_err(|error| Failure::writing(path, error))
    }

    fn sent(&mut self, at: Now, session: &Session) -> Result<(), Failure> {
        for (port, octets) in session.sent() {
            for (_, path, writer) in self.writers.iter_mut().filter(|(id, ..)| *id == port) {
                writer.write(at, octets).map_err(|error| Failure::writing(path, error))?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(), Failure> {
        if let Some((path, mut file)) = self.verdicts {
            file.flush().map_err(|error| Failure::writing(path, error))?;
        }
        for (_, path, writer) in self.writers {
            writer.finish().map_err(|error| Failure::writing(path, error))?;
        }
        Ok(())
    }
}

/// What is shown on standard output, as long as somebody reads it.
struct Shown<'a> {
    out: BufWriter<&'a mut dyn Write>,
    table: Option<Table>,
    unread: bool,
}

impl Shown<'_> {
    fn row(&mut self, record: &Record<'_>, octets: &[u8]) -> Result<(), Failure> {
        let Some(table) = self.table.as_mut().filter(|_| !self.unread) else { return Ok(()) };
        let shown = table.row(&mut self.out, record, wire::describe(octets).to_string());
        self.read(shown)
    }

    fn finish(&mut self, totals: &Totals, snapshot: &Snapshot) -> Result<(), Failure> {
        if self.unread {
            return Ok(());
        }
        let out = &mut self.out;
        let shown = match &mut self.table {
            Some(table) => table.finish(out),
            None => Ok(()),
        };
        let shown = shown.and_then(|()| totals.write(out, snapshot)).and_then(|()| out.flush());
        self.read(shown)
    }

    /// Whoever stops reading does not keep the files from being written.
    fn read(&mut self, shown: io::Result<()>) -> Result<(), Failure> {
        match shown {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.unread = true,
            Err(error) => return Err(Failure::Bad(format!("cannot write to standard output: {error}"))),
            Ok(()) => {}
        }
        Ok(())
    }
}
