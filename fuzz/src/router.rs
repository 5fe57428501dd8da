//! A whole router with capture time as its clock, and what must hold of it after every packet.

use flowgate::cli::replay::snapshot;
use flowgate::conntrack::entry::status;
use flowgate::conntrack::key::Key;
use flowgate::frag::Limits;
use flowgate::frame::{Burst, Pool, PoolConfig};
use flowgate::helper::HelperKind;
use flowgate::metrics::{Balance, Counters, Layout, RuleCounters};
use flowgate::net::{CtState, Direction, Now, PortId};
use flowgate::route::{NeighbourKey, ViewConfig};
use flowgate::shard::{Fate, Shard, ShardConfig, Snapshot, Surroundings, Upcall, Watch};
use flowgate::steer::{Directory, RingConfig, mesh};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock};

/// How a router is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Setup {
    pub workers: usize,
    pub entries: usize,
    pub evict: bool,
    pub helpers: bool,
    /// Every timeout one second.
    pub short: bool,
    pub loose: bool,
    /// What becomes of the zones of the two ports.
    pub zones: [Option<&'static str>; 2],
    /// Most connections of a source address.
    pub per_source: Option<u32>,
}

/// Zones a port can be given: whole ones, one direction's, and two of one id.
pub const ZONES: [Option<&str>; 8] = [
    None,
    Some("5"),
    Some("6"),
    Some("{ id: 5, direction: original }"),
    Some("{ id: 6, direction: original }"),
    Some("{ id: 5, direction: reply }"),
    Some("{ id: 7, limit: 2 }"),
    Some("{ id: 7, limit: 2, direction: original }"),
];

/// Most connections of zone 7.
const ZONE_LIMIT: u32 = 2;

/// Keeps the first end of the packet being fed.
#[derive(Debug, Default)]
struct Recorder {
    seq: u32,
    fate: Option<Fate>,
}

impl Watch for Recorder {
    fn ended(&mut self, seq: u32, fate: &Fate) {
        if seq == self.seq && self.fate.is_none() {
            self.fate = Some(*fate);
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

/// Shards with as little memory as they can do with, for a router is made anew for every input.
pub struct Router {
    shards: Vec<Shard<Recorder>>,
    directory: Arc<Directory>,
    burst: Burst,
    setup: Setup,
    now: Now,
    seq: u32,
}

/// The two hosts of a family, the first behind port 0.
pub fn hosts(v6: bool, n: u8) -> [IpAddr; 2] {
    if v6 {
        [format!("fd01::{:x}", 2 + n % 2), format!("fd02::{:x}", 2 + n / 2 % 2)].map(|text| text.parse().unwrap())
    } else {
        [[10, 1, 0, 2 + n % 2].into(), [10, 2, 0, 2 + n / 2 % 2].into()]
    }
}

fn configuration(setup: Setup) -> String {
    let mut text = String::from("version: 1\nports:\n");
    for (name, n) in [("left", 1), ("right", 2)] {
        writeln!(
            text,
            "  {name}: {{ driver: memory, mac: \"02:00:00:00:00:0{n}\", addresses: [10.{n}.0.1/24, \"fd0{n}::1/64\"] }}"
        )
        .unwrap();
    }
    text.push_str("chains: { forward: { policy: accept } }\n");
    if setup.helpers {
        text.push_str("helpers:\n");
        for kind in HelperKind::ALL {
            let name = kind.helper().name();
            writeln!(text, "  {name}: {{ type: {name} }}").unwrap();
        }
    }
    writeln!(text, "conntrack:\n  on_full: {}\n  checksum: false", if setup.evict { "evict" } else { "drop" }).unwrap();
    writeln!(text, "  expect_max: 8\n  tcp_loose: {}", setup.loose).unwrap();
    if let Some(most) = setup.per_source {
        writeln!(text, "  per_source: {most}").unwrap();
    }
    if setup.zones != [None; 2] {
        text.push_str("  zones:\n");
        for (port, zone) in ["left", "right"].iter().zip(setup.zones) {
            zone.map(|zone| writeln!(text, "    {port}: {zone}").unwrap());
        }
    }
    if setup.short {
        text.push_str("  timeouts: { tcp_syn_sent: 1, tcp_syn_recv: 1, tcp_established: 1, tcp_fin_wait: 1, tcp_close_wait: 1, tcp_last_ack: 1, tcp_time_wait: 1, tcp_close: 1, udp: 1, udp_stream: 1, icmp: 1, icmpv6: 1, generic: 1, frag4: 1, frag6: 1 }\n");
    }
    text
}

fn compiled(setup: Setup) -> Arc<Snapshot> {
    static KNOWN: OnceLock<Mutex<HashMap<String, Arc<Snapshot>>>> = OnceLock::new();
    let text = configuration(setup);
    let mut known = KNOWN.get_or_init(Mutex::default).lock().unwrap();
    Arc::clone(known.entry(text.clone()).or_insert_with(|| {
        let (settings, mistakes) = flowgate::config::parse("fuzz.yaml", &text);
        Arc::new(snapshot(&settings.unwrap_or_else(|| panic!("{mistakes}"))).unwrap())
    }))
}

impl Router {
    pub fn new(setup: Setup) -> Router {
        let snapshot = compiled(setup);
        let pool = PoolConfig { buffers: 160, frame_size: 4096 };
        let directory = Arc::new(Directory::new(8));
        let layout = Layout { ports: 2, workers: setup.workers, helpers: snapshot.helpers.configs().len() };
        let shards = mesh(setup.workers, RingConfig { bytes: 1 << 18, pool }).unwrap().into_iter().map(|links| {
            let config = ShardConfig {
                id: links.me,
                shards: setup.workers,
                entries: setup.entries.div_ceil(setup.workers),
                seed: [1, 2, 3, 4],
                neighbours: ViewConfig { capacity: 64, queue_each: 2, queue_total: 8, ..ViewConfig::default() },
                fragments: Limits { fragments: 32, datagrams: 8, ..Limits::default() },
            };
            let around = Surroundings {
                pool: Pool::new(pool).unwrap(),
                snapshot: Arc::clone(&snapshot),
                directory: Arc::clone(&directory),
                links,
                upcall: Box::new(Nobody),
                counters: Counters::new(&layout),
                rules: RuleCounters::unobserved(snapshot.ruleset.slots()),
                watch: Recorder::default(),
            };
            Shard::new(&config, around)
        });
        let shards = shards.collect();
        Router { shards, directory, burst: Burst::with_limit(1), setup, now: Now::from_secs(1000), seq: 0 }
    }

    /// One packet, dealt to any worker, and all that must hold after it.
    pub fn feed(&mut self, side: usize, frame: &[u8]) -> Fate {
        self.seq += 1;
        for shard in &mut self.shards {
            shard.watch = Recorder { seq: self.seq, fate: None };
        }
        let dealt = self.seq.wrapping_mul(0x9e37_79b9) as usize >> 8;
        let count = self.shards.len();
        let shard = &mut self.shards[dealt % count];
        let port = PortId(side as u8);
        shard.counters.port_rx(port, 1, frame.len() as u64);
        let mut buffer = shard.pool().alloc_from(&frame[..frame.len().min(4000)]).expect("buffers come back");
        buffer.meta.ingress = port;
        buffer.meta.seq = self.seq;
        assert!(self.burst.push(buffer).is_ok());
        shard.process(&mut self.burst, self.now);
        self.settle();
        let fate = self.shards.iter().find_map(|shard| shard.watch.fate).expect("every packet has a fate");
        if fate.state == Some(CtState::Related) && !self.setup.helpers {
            assert!(is_icmp(frame), "RELATED without an expectation or a quoted packet");
        }
        if let Some(CtState::Invalid | CtState::Untracked) = fate.state {
            assert_eq!(fate.direction, None);
        }
        if fate.state == Some(CtState::New) {
            assert_eq!(fate.direction, Some(Direction::Original));
        }
        assert_eq!(fate.invalid.is_some(), fate.state == Some(CtState::Invalid));
        self.check();
        fate
    }

    /// Lets time pass, with the housekeeping that comes with it.
    pub fn wait(&mut self, millis: u64) {
        let until = self.now.plus_millis(millis);
        while self.now < until {
            self.now = until.min(self.now.plus_millis(86_400_000));
            for shard in &mut self.shards {
                // Fragments are given up in small portions.
                for _ in 0..4 {
                    shard.housekeep(self.now, usize::MAX);
                }
            }
            self.directory.sweep(self.now.millis(), usize::MAX);
            self.settle();
        }
        self.check();
    }

    fn settle(&mut self) {
        while self.shards.iter_mut().map(|shard| shard.take_handoffs(self.now)).sum::<usize>() > 0 {}
        for shard in &mut self.shards {
            shard.flush(|_, queue| {
                drop(queue.drain());
                None
            });
        }
    }

    pub fn expectations(&self) -> usize {
        self.directory.len()
    }

    /// Nothing lives for ever, and what has ended is counted nowhere.
    pub fn end(&mut self) {
        self.wait(500_000_000);
        assert_eq!(self.expectations(), 0);
        assert!(self.shards.iter().all(|shard| shard.tracker().table().is_empty()));
        assert!(self.directory.counts().is_empty(), "{:?}", self.directory.counts());
    }

    /// Both directions of every connection are found, and nothing exceeds its limit; every packet is accounted for.
    fn check(&self) {
        let part = self.setup.entries.div_ceil(self.setup.workers);
        let mut sums = [Balance::default(); 2];
        let mut counted: HashMap<_, u32> = HashMap::new();
        for shard in &self.shards {
            let tracker = shard.tracker();
            let table = tracker.table();
            assert!(table.len() <= part, "{} entries, and {part} are allowed", table.len());
            let mut live = 0;
            for slot in 0..table.touched() as u32 {
                let Some(entry) = table.entry(slot).filter(|entry| entry.is(status::LIVE)) else { continue };
                live += 1;
                let tuple = table.original(slot).expect("a live slot has a tuple");
                let zone = table.zone(slot);
                let key = |tuple| Key::new(tuple, tracker.seed()).unwrap().in_zone(zone);
                let there = table.find(&key(tuple)).expect("it is found");
                assert_eq!((there.slot, there.direction), (slot, Direction::Original));
                if let Some(inverse) = tuple.inverse().filter(|inverse| *inverse != tuple) {
                    let back = table.find(&key(inverse)).expect("its answers are found");
                    // Where the ids of the directions differ, this zone's packets may also be those that open another one.
                    let other = zone.original != zone.reply && back.direction == Direction::Original;
                    assert!(other || (back.slot, back.direction) == (slot, Direction::Reply), "{back:?} {slot}");
                }
                assert!(self.setup.zones != [None; 2] || zone.is_default());
                if entry.is(status::COUNTED) {
                    *counted.entry((zone.id(), Some(tuple.src))).or_default() += 1;
                    *counted.entry((zone.id(), None)).or_default() += 1;
                }
                assert!(entry.remaining(self.now.millis()) < 433_000_000);
            }
            assert_eq!(live, table.len());
        }
        assert!(self.expectations() <= 8);
        for ((zone, src), count) in counted {
            let limit = if src.is_some() { self.setup.per_source } else { (zone == 7).then_some(ZONE_LIMIT) };
            assert!(count <= limit.unwrap_or(u32::MAX), "{count} connections of zone {zone}, source {src:?}");
        }
        // Counters of one packet may stand on several shards.
        for (port, sum) in sums.iter_mut().enumerate() {
            for shard in &self.shards {
                let part = shard.counters.balance(PortId(port as u8));
                sum.received += part.received;
                sum.forwarded += part.forwarded;
                sum.dropped += part.dropped;
                sum.punted += part.punted;
                sum.held = sum.held.wrapping_add(part.held);
            }
            let known = sum.forwarded + sum.dropped + sum.punted;
            assert_eq!(sum.received, known.wrapping_add(sum.held), "port {port}: {sum:?}");
        }
    }
}

fn is_icmp(frame: &[u8]) -> bool {
    // A quoted packet may stand behind tags, extension headers or in fragments.
    flowgate::wire::parse(frame, flowgate::wire::Verify::Trust)
        .is_ok_and(|parsed| parsed.fragment.is_some() || matches!(parsed.summary.tuple.proto, 1 | 58))
}
