//! From a file to settings: read, tree, typed sections, checks between sections, lint.

use super::diag::{Diagnostics, Place};
use super::machine::Machine;
use super::marks::Marks;
use super::read::{Keys, Reader};
use super::settings::Settings;
use super::tree::{self, Entry, Kind, Node};
use super::value::integer;
use super::{flow, lint, ports, routes, rules, tuning};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest configuration in octets.
const MAX_SIZE: u64 = 8 << 20;

const TOP: Keys = Keys {
    known: &[
        "version",
        "workers",
        "ports",
        "routes",
        "neighbours",
        "sets",
        "helpers",
        "chains",
        "conntrack",
        "fragments",
        "icmp",
        "neigh",
        "metrics",
        "log",
    ],
    later: &["maps", "nat", "zones", "routing", "control", "trace", "export"],
};

/// Keys that a file of the traffic generator has too.
const BOTH: [&str; 2] = ["version", "ports"];

/// A configuration that may be used, and where everything in it was written.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// Where it says so.
    pub marks: Marks,
    /// The warnings, and the texts to show further findings in.
    pub diagnostics: Diagnostics,
}

impl Loaded {
    /// Warns at `conntrack.max_entries` if a run would reserve more than this machine has.
    /// `reserved` is in octets.
    pub fn lint_memory(&mut self, reserved: u64, machine: &Machine) {
        if let Some(memory) = machine.memory
            && reserved > memory
        {
            let message = format!("{} MiB would be reserved, the machine has {} MiB", reserved >> 20, memory >> 20);
            self.diagnostics
                .warning(self.marks.max_entries, message)
                .help("lower `conntrack.max_entries`; the connection table is reserved at start");
            self.diagnostics.sort();
        }
    }
}

/// What names and files a configuration can refer to.
pub(super) struct Scope {
    pub(super) machine: Machine,
    /// Where relative file names start.
    dir: PathBuf,
    pub(super) ports: Vec<String>,
    pub(super) sets: Vec<String>,
    pub(super) chains: Vec<String>,
    /// Whether every port could be read; else a subnet may be missing.
    pub(super) ports_whole: bool,
}

impl Scope {
    /// A file named in the configuration: relative to it, made absolute.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        std::path::absolute(&path).unwrap_or(path)
    }
}

/// Loads a configuration for this machine.
///
/// # Errors
///
/// Everything that is wrong with it, warnings included.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    load_on(&Machine::this(), path)
}

/// Loads a configuration for a given machine.
///
/// # Errors
///
/// Everything that is wrong with it, warnings included.
pub fn load_on(machine: &Machine, path: &Path) -> Result<Loaded, Diagnostics> {
    let name = path.display().to_string();
    match read_limited(path, MAX_SIZE) {
        Ok(text) => parse_on(machine, &name, &text),
        Err(why) => {
            let mut diags = Diagnostics::new(name.clone(), "");
            diags.error(None, format!("cannot read {name}: {why}"));
            Err(diags)
        }
    }
}

/// Checks a text as the file `name`, for this machine. The settings are there unless there was an error.
#[must_use]
pub fn parse(name: &str, text: &str) -> (Option<Settings>, Diagnostics) {
    match parse_on(&Machine::this(), name, text) {
        Ok(loaded) => (Some(loaded.settings), loaded.diagnostics),
        Err(diags) => (None, diags),
    }
}

/// Checks a text as the file `name`, for a given machine. Files it names are read relative to `name`.
///
/// # Errors
///
/// Everything that is wrong with it, warnings included.
pub fn parse_on(machine: &Machine, name: &str, text: &str) -> Result<Loaded, Diagnostics> {
    let mut diags = Diagnostics::new(name, text);
    if text.len() as u64 > MAX_SIZE {
        diags.error(None, format!("{name} is larger than {} MiB", MAX_SIZE >> 20));
        return Err(diags);
    }
    let Some(root) = tree::read(text, &mut diags) else {
        diags.sort();
        return Err(diags);
    };
    let mut reader = Reader { diags };
    let dir = Path::new(name).parent().unwrap_or(Path::new("")).to_owned();
    let scope = Scope {
        machine: machine.clone(),
        dir,
        ports: Vec::new(),
        sets: Vec::new(),
        chains: Vec::new(),
        ports_whole: false,
    };
    let (settings, marks) = document(&mut reader, &root, scope);
    let mut diags = reader.diags;
    flow::policy(&settings, &marks, &mut diags);
    if diags.errors() == 0 {
        lint::lint(&settings, &marks, &mut diags);
    }
    diags.sort();
    if diags.errors() == 0 { Ok(Loaded { settings, marks, diagnostics: diags }) } else { Err(diags) }
}

/// The streams of a file for the traffic generator: it has them, and nothing of a router but what both have.
fn of_streams(root: &Node) -> Option<&Entry> {
    let Kind::Map(entries) = &root.kind else { return None };
    let is_routers = |entry: &Entry| TOP.known.contains(&entry.key.as_str()) && !BOTH.contains(&entry.key.as_str());
    entries.iter().find(|entry| entry.key == "streams").filter(|_| !entries.iter().any(is_routers))
}

fn document(r: &mut Reader, root: &Node, mut scope: Scope) -> (Settings, Marks) {
    let (mut settings, mut marks) = (Settings::default(), Marks::default());
    if let Some(streams) = of_streams(root) {
        r.error(streams.key_place, "this is a stream file of `flowgate pktgen`, not the configuration of a router")
            .help("it is read by `flowgate pktgen FILE`");
        return (settings, marks);
    }
    let Some(top) = r.map(root, "the configuration", TOP) else { return (settings, marks) };
    let start = Place { end: root.place.start, ..root.place };
    match top.get("version") {
        Some(node) => {
            if let Some(version) = r.parse(node, "version", |text| integer(text, &(0..=u64::MAX)))
                && version != 1
            {
                r.error(node.place, format!("version {version} is not known")).help("this version reads `version: 1`");
            }
        }
        None => {
            r.error(start, "`version` is missing").help("begin with `version: 1`");
        }
    }
    let section = |r: &mut Reader, key: &str| top.get(key).map_or(&[] as &[Entry], |node| r.entries(node, key));
    let names = |entries: &[Entry]| entries.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>();
    let ports = section(r, "ports");
    let (sets, chains, helpers) = (section(r, "sets"), section(r, "chains"), section(r, "helpers"));
    (scope.ports, scope.sets, scope.chains) = (names(ports), names(sets), names(chains));
    // References to ports past the limit must not wrap around.
    scope.ports.truncate(crate::net::ids::MAX_PORTS);

    if let Some(node) = top.get("workers") {
        settings.workers = ports::workers(r, node, &scope);
    }
    match top.entry("ports") {
        None => {
            r.error(start, "`ports` is missing").help("a router needs at least one port");
        }
        Some(entry) if ports.is_empty() => {
            r.error(entry.key_place, "no port is given").help("a router needs at least one port");
        }
        Some(_) => {}
    }
    let before = r.diags.errors();
    settings.ports = ports::ports(r, ports, &settings.workers, &scope, &mut marks);
    scope.ports_whole = r.diags.errors() == before;
    if let Some(node) = top.get("routes") {
        settings.routes = routes::routes(r, node, &settings.ports, &scope, &mut marks);
    }
    if r.diags.errors() == before {
        flow::forwarding(&settings, &marks, &mut r.diags);
    }
    if let Some(node) = top.get("neighbours") {
        settings.neighbours = routes::neighbours(r, node, &settings.ports, &scope);
    }
    let sets = rules::sets(r, sets, &scope, &mut marks);
    settings.policy = rules::chains(r, chains, sets, &scope, &mut marks);
    settings.helpers = tuning::helpers(r, helpers, &scope, &mut marks);
    if let Some(node) = top.get("conntrack") {
        settings.conntrack = tuning::conntrack(r, node, &scope, &mut marks);
    }
    if let Some(node) = top.get("fragments") {
        settings.fragments = tuning::fragments(r, node);
    }
    if let Some(node) = top.get("icmp") {
        settings.icmp = tuning::icmp(r, node);
    }
    if let Some(node) = top.get("neigh") {
        settings.neigh = tuning::neigh(r, node);
    }
    if let Some(node) = top.get("metrics") {
        settings.metrics = Some(tuning::metrics(r, node, &mut marks));
    }
    if let Some(node) = top.get("log") {
        settings.log = tuning::log(r, node);
    }
    (settings, marks)
}

/// Reads the file of a configuration; an error says why it cannot be read.
pub(crate) fn read_text(path: &Path) -> Result<String, String> {
    read_limited(path, MAX_SIZE)
}

/// Reads a `ports` section of another file than a router's, for that many workers. Files it names are relative to `dir`.
pub(crate) fn read_ports(r: &mut Reader, entries: &[Entry], workers: u8, dir: &Path) -> Vec<super::settings::Port> {
    let workers = super::settings::Workers { count: workers, ..super::settings::Workers::default() };
    let scope = Scope {
        machine: Machine::this(),
        dir: dir.to_owned(),
        ports: Vec::new(),
        sets: Vec::new(),
        chains: Vec::new(),
        ports_whole: false,
    };
    ports::ports(r, entries, &workers, &scope, &mut Marks::default())
}

/// Reads a text file of at most `most` octets.
pub(super) fn read_limited(path: &Path, most: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        return Err(format!("larger than {} MiB", most >> 20));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1;
        format!("line {line} is not UTF-8 text")
    })
}
