//! flowgate as the kernel's double: the same two ports, addresses and settings.

use crate::batch::Batch;
use flowgate::cli::replay::session::{Deal, Options, Session};
use flowgate::conntrack::entry::status;
use flowgate::conntrack::key::Key;
use flowgate::frag::Limits;
use flowgate::frame::{Burst, Pool, PoolConfig};
use flowgate::metrics::{Counters, Layout, RuleCounters};
use flowgate::net::{Now, PortId, ShardId};
use flowgate::route::{NeighbourKey, ViewConfig};
use flowgate::shard::{End, Fate, Shard, ShardConfig, Snapshot, Surroundings, Upcall, Watch};
use flowgate::steer::{Directory, RingConfig, mesh};
use flowgate::wire::{self, Verify};
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// Entries of a table that is to be full; see full.py.
const SMALL: usize = 64;
/// Expectations, octets of a frame.
const EXPECTATIONS: usize = 4096;
const FRAME: usize = 2048;

/// What flowgate says of one packet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED, or NONE if it never came to tracking.
    pub(crate) state: String,
    pub(crate) forwarded: bool,
    pub(crate) direction: Option<&'static str>,
    /// netfilter's status bits of its entry after it, and milliseconds left.
    pub(crate) entry: Option<(u32, i32)>,
    pub(crate) protocol_state: Option<&'static str>,
    pub(crate) reason: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |w: Option<&'static str>| w.unwrap_or("-");
        let (bits, left) = self.entry.map_or(("-".into(), "-".into()), |(b, l)| (b.to_string(), l.to_string()));
        let forwarded = if self.forwarded { "forwarded" } else { "kept" };
        let reason = if self.reason.is_empty() { "-" } else { &self.reason };
        let (direction, protocol) = (word(self.direction), word(self.protocol_state));
        write!(f, "{} {forwarded} {direction} {bits} {left} {protocol} {reason}", self.state)
    }
}

impl From<Fate> for Answer {
    fn from(fate: Fate) -> Answer {
        let dropped = match fate.end {
            End::Drop(reason) => Some(reason.label()),
            End::Punt => Some("punted"),
            End::Accept | End::Held => None,
        };
        Answer {
            state: fate.state.map_or("NONE".into(), |state| state.label().to_uppercase()),
            forwarded: fate.end == End::Accept,
            direction: fate.direction.map(|d| d.label()),
            entry: None,
            protocol_state: fate.protocol_state,
            reason: fate.invalid.map(|r| r.label()).or(dropped).unwrap_or_default().to_owned(),
        }
    }
}

/// Takes the packets of a batch through a router of one shard, or of `workers` with packets dealt at random.
pub(crate) fn answers(batch: &Batch, workers: Option<usize>) -> Vec<Answer> {
    let (snapshot, fragments) = snapshot(batch);
    let snapshot = Arc::new(snapshot);
    // No shard must be full, whatever it is given.
    let entries = if batch.full { SMALL } else { batch.packets.len().max(1) };
    let at = |micros: u64| Now(1_000_000_000 + micros * 1000);
    match workers {
        None => {
            let mut one = One::new(&snapshot, fragments, entries);
            batch.packets.iter().map(|p| one.feed(PortId(p.port), &p.frame, at(p.micros))).collect()
        }
        Some(workers) => {
            let options = Options {
                workers,
                deal: Deal::Random(0x5eed),
                max_entries: entries * workers,
                expect_max: EXPECTATIONS,
                fragments,
            };
            let mut session = Session::new(&snapshot, &options).expect("a session");
            let mut feed = |port, bytes: &[u8], now| session.feed(port, bytes, now).fate.into();
            batch.packets.iter().map(|p| feed(PortId(p.port), &p.frame, at(p.micros))).collect()
        }
    }
}

struct Nobody;

impl Upcall for Nobody {
    fn punt(&mut self, _port: PortId, _frame: &[u8]) -> bool {
        true
    }

    fn resolve(&mut self, _key: NeighbourKey) {}
}

#[derive(Default)]
struct Recorder(Option<(u32, Fate)>, u32);

impl Watch for Recorder {
    fn ended(&mut self, seq: u32, fate: &Fate) {
        if seq == self.1 && self.0.is_none() {
            self.0 = Some((seq, *fate));
        }
    }
}

/// One shard whose table can be looked into after each packet.
struct One {
    shard: Shard<Recorder>,
    directory: Arc<Directory>,
    burst: Burst,
    seq: u32,
}

impl One {
    fn new(snapshot: &Arc<Snapshot>, fragments: Limits, entries: usize) -> One {
        let pool = PoolConfig { buffers: 8192, frame_size: FRAME };
        let links = mesh(1, RingConfig { bytes: 1 << 20, pool }).expect("rings").pop().expect("one set of links");
        let directory = Arc::new(Directory::new(EXPECTATIONS));
        let config = ShardConfig {
            id: ShardId(0),
            shards: 1,
            entries,
            seed: [1, 2, 3, 4],
            neighbours: ViewConfig::default(),
            fragments,
        };
        let around = Surroundings {
            pool: Pool::new(pool).expect("buffers"),
            snapshot: Arc::clone(snapshot),
            directory: Arc::clone(&directory),
            links,
            upcall: Box::new(Nobody),
            counters: Counters::new(&Layout { ports: 2, workers: 1, helpers: snapshot.helpers.configs().len() }),
            rules: RuleCounters::unobserved(snapshot.ruleset.slots()),
            watch: Recorder::default(),
        };
        One { shard: Shard::new(&config, around), directory, burst: Burst::with_limit(1), seq: 0 }
    }

    fn feed(&mut self, port: PortId, bytes: &[u8], now: Now) -> Answer {
        self.shard.housekeep(now, 256);
        self.directory.sweep(now.millis(), 8);
        let shard = &mut self.shard;
        let mut frame = shard.pool().alloc_from(bytes).expect("a buffer");
        frame.meta.ingress = port;
        frame.meta.seq = self.seq;
        shard.watch = Recorder(None, self.seq);
        self.seq += 1;
        assert!(self.burst.push(frame).is_ok(), "the burst was empty");
        shard.process(&mut self.burst, now);
        shard.flush(|_, queue| {
            drop(queue.drain());
            None
        });
        let (_, fate) = shard.watch.0.take().expect("every packet ends with a recorded fate");
        let entry = wire::parse(bytes, Verify::Trust).ok().and_then(|parsed| {
            if parsed.fragment.is_some() {
                return None;
            }
            let zone = shard.snapshot().zone(port);
            let key = Key::new(parsed.summary.tuple, shard.tracker().seed())?.in_zone(zone);
            let table = shard.tracker().table();
            let entry = table.entry(table.find(&key)?.slot)?;
            let bits = [(status::EXPECTED, 1), (status::SEEN_REPLY, 2), (status::ASSURED, 4)];
            let bits = bits.iter().filter(|(ours, _)| entry.is(*ours)).map(|(_, theirs)| theirs).sum();
            Some((bits, entry.remaining(now.millis())))
        });
        let tracked = fate.state.is_some() && fate.direction.is_some();
        Answer { entry: entry.filter(|_| tracked), ..Answer::from(fate) }
    }
}

/// The kernel's double as a configuration file.
fn configuration(batch: &Batch) -> String {
    let mut text = String::from("version: 1\nports:\n");
    for (name, n) in [("left", 1), ("right", 2)] {
        let _ = writeln!(
            text,
            "  {name}: {{ driver: memory, mac: \"02:00:00:00:00:0{n}\", mtu: 1500, addresses: [10.{n}.0.1/24, \"fd0{n}::1/64\", 10.77.{n}.1/24, \"fd77:{n}::1/64\"] }}"
        );
    }
    text.push_str("routes:\n");
    for n in [1, 2] {
        let _ = writeln!(text, "  - {{ to: 10.{n}.0.0/16, via: 10.{n}.0.2 }}");
        let _ = writeln!(text, "  - {{ to: \"fd0{n}::/32\", via: \"fd0{n}::2\" }}");
    }
    text.push_str("chains:\n  forward: { policy: accept }\n");
    if !batch.notrack.is_empty() {
        text.push_str("  prerouting:\n    rules:\n");
        for (n, what) in batch.notrack.iter().enumerate() {
            let (protocol, port) = what.split_once('/').expect("PROTOCOL/PORT");
            let _ = writeln!(text, "      - {{ id: r{n}, l4proto: {protocol}, dport: {port}, verdict: notrack }}");
        }
    }
    if !batch.helpers.is_empty() {
        text.push_str("helpers:\n");
        for name in &batch.helpers {
            let (kind, protocol) = name.split_once('-').unwrap_or((name, ""));
            let protocol = if protocol.is_empty() { String::new() } else { format!(", l4proto: {protocol}") };
            let options = batch.options.iter().filter(|(helper, _, _)| helper == kind);
            let options: String = options.map(|(_, option, value)| format!(", {option}: {value}")).collect();
            let _ = writeln!(text, "  {name}: {{ type: {kind}{protocol}{options} }}");
        }
    }
    text.push_str("conntrack:\n");
    for (name, value) in &batch.sysctls {
        if let Some((name, value)) = conntrack(name, *value) {
            let _ = writeln!(text, "  {name}: {value}");
        }
    }
    if !batch.zones.is_empty() {
        text.push_str("  zones:\n");
        for (port, id, direction) in &batch.zones {
            let _ = writeln!(text, "    {port}: {{ id: {id}, direction: {direction} }}");
        }
    }
    text.push_str("  timeouts:\n    frag4: 30\n");
    for (name, value) in &batch.sysctls {
        if let Some(name) = timeout(name) {
            let _ = writeln!(text, "    {name}: {value}");
        }
    }
    text.replace("    frag4: 30\n    frag4", "    frag4")
}

/// The key of `conntrack` for one of Linux's sysctls below `net.`, with its value.
fn conntrack(sysctl: &str, value: u64) -> Option<(&str, String)> {
    let name = sysctl.strip_prefix("netfilter.nf_conntrack_")?;
    match name {
        "tcp_max_retrans" => Some((name, value.to_string())),
        _ if name.contains("timeout") => None,
        _ => Some((name, (value != 0).to_string())),
    }
}

/// The key of `conntrack.timeouts` for a sysctl.
fn timeout(sysctl: &str) -> Option<String> {
    if sysctl == "ipv4.ipfrag_time" {
        return Some("frag4".into());
    }
    let name = sysctl.strip_prefix("netfilter.nf_conntrack_")?;
    name.contains("_timeout").then(|| name.replacen("_timeout", "", 1))
}

fn snapshot(batch: &Batch) -> (Snapshot, Limits) {
    let text = configuration(batch);
    let (settings, mistakes) = flowgate::config::parse("referee.yaml", &text);
    let settings = settings.unwrap_or_else(|| panic!("{mistakes}\n{text}"));
    let timeouts = &settings.conntrack.timeouts;
    // Room for the fragments of all cases of a batch at once, also when buffers are as large as a session's.
    let mut limits = Limits { bytes: [1 << 30; 2], timeout_ms: [timeouts.frag4, timeouts.frag6], ..Limits::default() };
    if let Some((_, value)) = batch.sysctls.iter().find(|(name, _)| name == "ipv4.ipfrag_max_dist") {
        limits.max_distance = *value as u32;
    }
    (flowgate::cli::replay::snapshot(&settings).expect("a snapshot"), limits)
}
