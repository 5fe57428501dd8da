//! flowgate as the kernel's double: the same two ports, addresses and settings.

use crate::batch::Batch;
use flowgate::cli::replay::session::{Deal, Options, Session};
use flowgate::conntrack::entry::status;
use flowgate::conntrack::key::Key;
use flowgate::conntrack::proto::Settings;
use flowgate::frag::Limits;
use flowgate::frame::{Burst, Pool, PoolConfig};
use flowgate::helper::{Attach, HelperConfig, HelperKind};
use flowgate::metrics::{Counters, Layout, RuleCounters};
use flowgate::net::{MacAddr, Now, PortId, ShardId};
use flowgate::policy::Ruleset;
use flowgate::policy::spec::{ChainPolicy, ChainSpec, PolicySpec};
use flowgate::route::{Fib, FibSpec, NeighbourKey, PortSpec, RouteKind, RouteSpec, Via, ViewConfig};
use flowgate::shard::{End, Fate, PortView, Shard, ShardConfig, Snapshot, Surroundings, Upcall, Watch};
use flowgate::steer::{Directory, RingConfig, mesh};
use flowgate::wire::{self, Verify};
use std::fmt;
use std::sync::Arc;

/// Entries, expectations, octets of a frame.
const ENTRIES: usize = 1 << 16;
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
    let snapshot = Arc::new(snapshot(batch));
    let fragments = fragments(batch);
    let at = |micros: u64| Now(1_000_000_000 + micros * 1000);
    match workers {
        None => {
            let mut one = One::new(&snapshot, fragments);
            batch.packets.iter().map(|p| one.feed(PortId(p.port), &p.frame, at(p.micros))).collect()
        }
        Some(workers) => {
            let options = Options {
                workers,
                deal: Deal::Random(0x5eed),
                max_entries: ENTRIES,
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
    fn new(snapshot: &Arc<Snapshot>, fragments: Limits) -> One {
        let pool = PoolConfig { buffers: 8192, frame_size: FRAME };
        let links = mesh(1, RingConfig { bytes: 1 << 20, pool }).expect("rings").pop().expect("one set of links");
        let directory = Arc::new(Directory::new(EXPECTATIONS));
        let config = ShardConfig {
            id: ShardId(0),
            shards: 1,
            entries: ENTRIES,
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
            let key = Key::new(parsed.summary.tuple, shard.tracker().seed())?;
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

fn snapshot(batch: &Batch) -> Snapshot {
    let ports = [("left", 1u8), ("right", 2)];
    let fib = FibSpec {
        ports: ports
            .iter()
            .map(|(_, n)| PortSpec {
                id: PortId(n - 1),
                addresses: [format!("10.{n}.0.1/24"), format!("fd0{n}::1/64")]
                    .iter()
                    .map(|a| a.parse().unwrap())
                    .collect(),
                mac: MacAddr([2, 0, 0, 0, 0, *n]),
                mtu: 1500,
            })
            .collect(),
        routes: ports
            .iter()
            .flat_map(|(_, n)| {
                [(format!("10.{n}.0.0/16"), format!("10.{n}.0.2")), (format!("fd0{n}::/32"), format!("fd0{n}::2"))]
            })
            .map(|(to, via)| RouteSpec {
                to: to.parse().unwrap(),
                via: vec![Via { gateway: via.parse().unwrap(), weight: 1 }],
                dev: None,
                metric: 1,
                kind: RouteKind::Unicast,
            })
            .collect(),
    };
    let forward = ChainSpec { name: "forward".into(), policy: ChainPolicy::Accept, rules: vec![] };
    let policy = PolicySpec { chains: vec![forward], sets: vec![] };
    let mut snapshot = Snapshot {
        epoch: 1,
        ruleset: Ruleset::compile(&policy).expect("a policy"),
        fib: Fib::build(&fib).expect("routes"),
        ports: ports
            .iter()
            .map(|(name, n)| PortView {
                name: (*name).into(),
                mac: MacAddr([2, 0, 0, 0, 0, *n]),
                check_destination: true,
                mtu: 1500,
                vlan: vec![],
                tx_checksum_partial: false,
            })
            .collect(),
        tracking: Settings::default(),
        evict: true,
        verify: true,
        helpers: Attach::new(if batch.ftp { vec![HelperConfig::usual("ftp", HelperKind::Ftp)] } else { vec![] }),
        icmp_limit: (1000, 50),
        assume_neighbours: true,
    };
    for (name, value) in &batch.sysctls {
        set(&mut snapshot, name, *value);
    }
    snapshot
}

fn fragments(batch: &Batch) -> Limits {
    // Room for the fragments of all cases of a batch at once, also when buffers are as large as a session's.
    let mut limits = Limits { bytes: [1 << 30; 2], ..Limits::default() };
    for (name, value) in &batch.sysctls {
        match name.as_str() {
            "ipv4.ipfrag_time" => limits.timeout_ms[0] = (value * 1000) as u32,
            "netfilter.nf_conntrack_frag6_timeout" => limits.timeout_ms[1] = (value * 1000) as u32,
            "ipv4.ipfrag_max_dist" => limits.max_distance = *value as u32,
            _ => {}
        }
    }
    limits
}

/// One of Linux's sysctls, below `net.`.
fn set(snapshot: &mut Snapshot, name: &str, value: u64) {
    let on = value != 0;
    let settings = &mut snapshot.tracking;
    let Some(name) = name.strip_prefix("netfilter.nf_conntrack_") else {
        assert!(name.starts_with("ipv4.ipfrag_"), "flowgate has no setting for {name}");
        return;
    };
    match name {
        "checksum" => snapshot.verify = on,
        "tcp_loose" => settings.tcp_loose = on,
        "tcp_be_liberal" => settings.tcp_be_liberal = on,
        "tcp_ignore_invalid_rst" => settings.tcp_ignore_invalid_rst = on,
        "tcp_max_retrans" => settings.tcp_max_retrans = value as u8,
        _ => {
            let t = &mut settings.timeouts;
            let timeout = match name {
                "generic_timeout" => &mut t.generic,
                "udp_timeout" => &mut t.udp,
                "udp_timeout_stream" => &mut t.udp_stream,
                "icmp_timeout" => &mut t.icmp,
                "icmpv6_timeout" => &mut t.icmpv6,
                "gre_timeout" => &mut t.gre,
                "gre_timeout_stream" => &mut t.gre_stream,
                "tcp_timeout_syn_sent" => &mut t.tcp_syn_sent,
                "tcp_timeout_syn_recv" => &mut t.tcp_syn_recv,
                "tcp_timeout_established" => &mut t.tcp_established,
                "tcp_timeout_fin_wait" => &mut t.tcp_fin_wait,
                "tcp_timeout_close_wait" => &mut t.tcp_close_wait,
                "tcp_timeout_last_ack" => &mut t.tcp_last_ack,
                "tcp_timeout_time_wait" => &mut t.tcp_time_wait,
                "tcp_timeout_close" => &mut t.tcp_close,
                "tcp_timeout_max_retrans" => &mut t.tcp_max_retrans,
                "tcp_timeout_unacknowledged" => &mut t.tcp_unacknowledged,
                "sctp_timeout_closed" => &mut t.sctp_closed,
                "sctp_timeout_cookie_wait" => &mut t.sctp_cookie_wait,
                "sctp_timeout_cookie_echoed" => &mut t.sctp_cookie_echoed,
                "sctp_timeout_established" => &mut t.sctp_established,
                "sctp_timeout_shutdown_sent" => &mut t.sctp_shutdown_sent,
                "sctp_timeout_shutdown_recd" => &mut t.sctp_shutdown_recd,
                "sctp_timeout_shutdown_ack_sent" => &mut t.sctp_shutdown_ack_sent,
                "sctp_timeout_heartbeat_sent" => &mut t.sctp_heartbeat_sent,
                "frag6_timeout" => &mut t.frag6,
                _ => panic!("flowgate has no setting for {name}"),
            };
            *timeout = (value * 1000) as u32;
        }
    }
}
