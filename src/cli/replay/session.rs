//! A router in one thread, fed packet by packet: capture time is its clock, its shards take turns.
//!
//! The shards, their rings and the directory are the router's own; only the order is fixed: after each packet
//! all rings are emptied before the next one comes, so a replay is totally ordered and repeats bit for bit.
//! Nothing but bounds that are a shard's own (its table, its fragments, its share of ICMP errors) depends on the
//! number of shards, and buffers never run out before those bounds are reached.

use crate::frag::{Limits, MAX_FRAGMENTS};
use crate::frame::{Burst, MAX_FRAME, Pool, PoolConfig, PoolError};
use crate::metrics::{Counters, Layout, RuleCounters};
use crate::net::{DropReason, MacAddr, Now, PortId, ShardId};
use crate::route::{NeighbourEvent, NeighbourKey, ViewConfig};
use crate::shard::{End, Fate, Shard, ShardConfig, Snapshot, Surroundings, TX_QUEUE, Upcall, Watch};
use crate::steer::{Directory, MeshError, RingConfig, mesh, owner, owner_of_addresses};
use crate::wire::{self, Verify};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Which worker a packet is handed to first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deal {
    /// The owner of its tuple, as a NIC with the symmetric key does.
    #[default]
    Owner,
    /// Any, as a port that cannot steer does; the same for the same seed.
    Random(u64),
}

/// How a session is set up.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Shards: 1 ..= [`crate::net::ids::MAX_SHARDS`].
    pub workers: usize,
    /// Who gets a packet first.
    pub deal: Deal,
    /// Most connections, all shards together.
    pub max_entries: usize,
    /// Most expectations.
    pub expect_max: usize,
    /// Bounds of each shard's reassembly.
    pub fragments: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            workers: 1,
            deal: Deal::Owner,
            max_entries: 65_536,
            expect_max: 4096,
            fragments: fragment_limits([4 << 20; 2], Limits::default().timeout_ms),
        }
    }
}

/// Reassembly with these thresholds (octets per family, IPv4 first) and timeouts. The thresholds count whole
/// buffers, and a session's hold the largest frames there are; so they are stretched to mean as many fragments as
/// with buffers for ordinary ones.
#[must_use]
pub fn fragment_limits(thresholds: [usize; 2], timeout_ms: [u32; 2]) -> Limits {
    let ordinary = PoolConfig { buffers: 1, frame_size: 2048 }.stride();
    let stride = PoolConfig { buffers: 1, frame_size: MAX_FRAME }.stride();
    Limits { bytes: thresholds.map(|octets| octets / ordinary * stride), timeout_ms, ..Limits::default() }
}

/// Why a session could not be set up.
#[derive(Debug)]
pub enum SessionError {
    /// No buffers.
    Pool(PoolError),
    /// No rings.
    Mesh(MeshError),
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionError::Pool(e) => e.fmt(f),
            SessionError::Mesh(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for SessionError {}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The worker that ended its way.
    pub worker: ShardId,
    /// How.
    pub fate: Fate,
}

/// Keeps the first end of the packet being fed, and the ends of those that were held until now.
#[derive(Debug, Default)]
struct Recorder {
    /// The packet being fed; while time passes, the next one.
    seq: u32,
    fate: Option<Fate>,
    /// Held packets that ended, in order.
    earlier: Vec<(u32, Fate)>,
}

impl Watch for Recorder {
    fn ended(&mut self, seq: u32, fate: &Fate) {
        if seq != self.seq {
            self.earlier.push((seq, *fate));
        } else if self.fate.is_none() {
            self.fate = Some(*fate);
        }
    }
}

/// Nobody answers in a replay: punted frames are taken and forgotten.
struct Nobody;

impl Upcall for Nobody {
    fn punt(&mut self, _port: PortId, _frame: &[u8]) -> bool {
        true
    }

    fn resolve(&mut self, _key: NeighbourKey) {}
}

/// Octets of each hand-off ring. It is emptied after each packet, so it holds one datagram at most: 64 KiB of
/// data and the headers of [`MAX_FRAGMENTS`] fragments.
const RING: usize = 1 << 20;

/// Milliseconds the clock goes forward at most between two looks at what is due: far less than the 24 days in
/// which a deadline in the past could be taken for one in the future.
const STRIDE_MS: u64 = 86_400_000;

const NANOS: u64 = 1_000_000_000;

/// See the module's documentation.
pub struct Session {
    shards: Vec<Shard<Recorder>>,
    deal: Deal,
    directory: Arc<Directory>,
    burst: Burst,
    clock: Option<Now>,
    seq: u32,
    sent: Vec<(PortId, Range<usize>)>,
    octets: Vec<u8>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("shards", &self.shards.len())
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Sets the shards up.
    ///
    /// # Errors
    /// When memory is refused or the number of workers is out of bounds.
    pub fn new(snapshot: &Arc<Snapshot>, options: &Options) -> Result<Session, SessionError> {
        // All fragments a shard may hold, one datagram in transit, and one packet cut into as many pieces as a
        // transmit queue takes. Buffers cost memory when they are used, and the one used last is used next.
        let buffers = options.fragments.fragments + 2 * usize::from(MAX_FRAGMENTS) + 2 * TX_QUEUE;
        let pool = PoolConfig { buffers, frame_size: MAX_FRAME };
        let links = mesh(options.workers, RingConfig { bytes: RING, pool }).map_err(SessionError::Mesh)?;
        let directory = Arc::new(Directory::new(options.expect_max));
        let layout =
            Layout { ports: snapshot.ports.len(), workers: options.workers, helpers: snapshot.helpers.configs().len() };
        let mut shards = Vec::with_capacity(options.workers);
        for link in links {
            let config = ShardConfig {
                id: link.me,
                shards: options.workers,
                entries: options.max_entries.div_ceil(options.workers),
                // No verdict depends on it, and nobody aims at a replay's table.
                seed: [1, 2, 3, 4],
                neighbours: ViewConfig::default(),
                fragments: options.fragments,
            };
            let around = Surroundings {
                pool: Pool::new(pool).map_err(SessionError::Pool)?,
                snapshot: Arc::clone(snapshot),
                directory: Arc::clone(&directory),
                links: link,
                upcall: Box::new(Nobody),
                counters: Counters::new(&layout),
                rules: RuleCounters::unobserved(snapshot.ruleset.slots()),
                watch: Recorder::default(),
            };
            shards.push(Shard::new(&config, around));
        }
        Ok(Session {
            shards,
            deal: options.deal,
            directory,
            burst: Burst::with_limit(1),
            clock: None,
            seq: 0,
            sent: Vec::new(),
            octets: Vec::new(),
        })
    }

    /// Makes neighbours known before the first packet; others have made-up link addresses.
    pub fn know(&mut self, neighbours: &[(NeighbourKey, MacAddr)]) {
        for shard in &mut self.shards {
            for (key, mac) in neighbours {
                shard.neighbour(&NeighbourEvent::Update { key: *key, mac: *mac }, Now::default());
            }
        }
    }

    /// Takes one packet through the router. A `now` before an earlier packet's counts as that packet's.
    pub fn feed(&mut self, port: PortId, bytes: &[u8], now: Now) -> Outcome {
        let now = self.advance(now);
        let seq = self.seq;
        self.seq = self.seq.wrapping_add(1);
        let first = self.dealt_to(bytes, seq);
        for shard in &mut self.shards {
            shard.watch.seq = seq;
            shard.watch.fate = None;
        }
        if let Some(shard) = self.shards.get_mut(first.index()) {
            shard.counters.port_rx(port, 1, bytes.len() as u64);
            let frame = shard.pool().alloc_from(bytes).map(|mut frame| {
                frame.meta.ingress = port;
                frame.meta.seq = seq;
                frame
            });
            match frame.map(|frame| self.burst.push(frame)) {
                Some(Ok(())) => shard.process(&mut self.burst, now),
                // Larger than any frame, for the buffers suffice.
                _ => {
                    shard.counters.drop_packet(port, DropReason::RxTruncated, bytes.len());
                    shard.watch.ended(seq, &Fate::of(End::Drop(DropReason::RxTruncated)));
                }
            }
        }
        self.settle(now);
        let outcome = self.shards.iter().find_map(|s| Some(Outcome { worker: s.id(), fate: s.watch.fate? }));
        debug_assert!(outcome.is_some(), "a packet ended without a recorded fate");
        outcome.unwrap_or(Outcome { worker: first, fate: Fate::of(End::Held) })
    }

    /// Lets time pass without packets: what is due ends. The clock never goes back; gives what it shows.
    pub fn advance(&mut self, now: Now) -> Now {
        self.sent.clear();
        self.octets.clear();
        for shard in &mut self.shards {
            shard.watch = Recorder { seq: self.seq, ..Recorder::default() };
        }
        let Some(mut clock) = self.clock else {
            self.clock = Some(now);
            return now;
        };
        while clock < now {
            // With nothing that could end, no step is needed.
            let next = if self.is_empty() { now } else { now.min(clock.plus_millis(STRIDE_MS)) };
            if next.0 / NANOS != clock.0 / NANOS {
                self.tidy(next);
            }
            clock = next;
        }
        self.clock = Some(clock);
        clock
    }

    fn is_empty(&self) -> bool {
        let empty = |shard: &Shard<Recorder>| shard.tracker().table().is_empty() && shard.fragments() == 0;
        self.directory.is_empty() && self.shards.iter().all(empty)
    }

    /// Ends all that is due. Once a second of capture time: what has expired is not found meanwhile either.
    fn tidy(&mut self, now: Now) {
        for shard in &mut self.shards {
            shard.housekeep(now, usize::MAX);
            // Fragments are given up in small portions.
            loop {
                let before = shard.fragments();
                shard.housekeep(now, 0);
                if shard.fragments() == before {
                    break;
                }
            }
        }
        self.directory.sweep(now.millis(), usize::MAX);
        self.shards.iter_mut().for_each(Shard::count_expired);
        self.settle(now);
    }

    /// Empties rings and queues until nothing moves.
    fn settle(&mut self, now: Now) {
        loop {
            let mut moved = 0;
            for shard in &mut self.shards {
                moved += shard.take_handoffs(now);
            }
            if moved == 0 {
                break;
            }
        }
        let Session { shards, sent, octets, .. } = self;
        for shard in shards {
            shard.flush(|port, queue| {
                for frame in queue.drain() {
                    let start = octets.len();
                    octets.extend_from_slice(frame.data());
                    sent.push((port, start..octets.len()));
                }
                None
            });
        }
    }

    fn dealt_to(&self, bytes: &[u8], seq: u32) -> ShardId {
        let workers = self.shards.len();
        match self.deal {
            Deal::Random(seed) => {
                let mixed = (u64::from(seq) ^ seed.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                ShardId(((mixed >> 32) % workers as u64) as u8)
            }
            Deal::Owner => match wire::parse(bytes, Verify::Trust) {
                Ok(parsed) if parsed.fragment.is_some() => {
                    owner_of_addresses(parsed.summary.tuple.src, parsed.summary.tuple.dst, workers)
                }
                Ok(parsed) if parsed.kind != wire::Kind::Arp => owner(&parsed.summary.tuple, workers),
                _ => ShardId(0),
            },
        }
    }

    /// Frames sent during the last [`Session::feed`] or [`Session::advance`], with their ports, in order.
    pub fn sent(&self) -> impl Iterator<Item = (PortId, &[u8])> {
        self.sent.iter().map(|(port, range)| (*port, self.octets.get(range.clone()).unwrap_or_default()))
    }

    /// Packets that were held and ended during the last [`Session::feed`] or [`Session::advance`]: their numbers, counted
    /// from 0 in the order in which they were fed (modulo 2^32), and how they ended.
    pub fn released(&self) -> impl Iterator<Item = (u32, &Fate)> {
        self.shards.iter().flat_map(|shard| &shard.watch.earlier).map(|(seq, fate)| (*seq, fate))
    }

    /// Counters of all shards, added up.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut shards = self.shards.iter();
        let first = shards.next().map(|shard| shard.counters.clone());
        let mut sum = first.unwrap_or_else(|| Counters::new(&Layout { ports: 0, workers: 0, helpers: 0 }));
        for shard in shards {
            sum.add(&shard.counters);
        }
        sum
    }

    /// Connections in all tables, expired ones that were not swept yet among them.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shards.iter().map(|s| s.tracker().table().len()).sum()
    }

    /// Expectations in the directory.
    #[must_use]
    pub fn expectations(&self) -> usize {
        self.directory.len()
    }

    /// Installs another configuration, as a reload does: connections stay. The ports must be the same.
    pub fn install(&mut self, snapshot: &Arc<Snapshot>) {
        for shard in &mut self.shards {
            shard.install(Arc::clone(snapshot), RuleCounters::unobserved(snapshot.ruleset.slots()));
        }
    }
}
