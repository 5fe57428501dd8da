//! A router in one thread, fed packet by packet: capture time is its clock, its shards take turns.
//!
//! The shards, their rings and the directory are the router's own; only the order is fixed: after each packet
//! all rings are emptied before the next one comes, so a replay is total-ordered and repeats bit for bit.

use crate::frag::Limits;
use crate::frame::{Burst, Pool, PoolConfig, PoolError};
use crate::metrics::{Counters, Layout, RuleCounters};
use crate::net::{Now, PortId, ShardId};
use crate::route::{NeighbourKey, ViewConfig};
use crate::shard::{End, Fate, Shard, ShardConfig, Snapshot, Surroundings, Upcall, Watch};
use crate::steer::{Directory, MeshError, RingConfig, mesh, owner, owner_of_addresses};
use crate::wire::{self, Verify};
use std::fmt;
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
    /// Shards.
    pub workers: usize,
    /// Who gets a packet first.
    pub deal: Deal,
    /// Most connections, all shards together.
    pub max_entries: usize,
    /// Most expectations.
    pub expect_max: usize,
    /// Largest frame.
    pub frame_size: usize,
    /// Bounds of reassembly.
    pub fragments: Limits,
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

/// Keeps the first end of the packet being fed; what later packets do to it is theirs.
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

/// Nobody answers in a replay: punted frames are taken and forgotten.
struct Nobody;

impl Upcall for Nobody {
    fn punt(&mut self, _port: PortId, _frame: &[u8]) -> bool {
        true
    }

    fn resolve(&mut self, _key: NeighbourKey) {}
}

/// Buffers of each shard: what a burst and its answers need, fragments and a group in transit.
const BUFFERS: usize = 2048;

/// Octets of each hand-off ring beside one largest group.
const RING: usize = 1 << 20;

/// Table slots swept after each packet.
const SWEEP: usize = 256;

/// See the module's documentation.
pub struct Session {
    shards: Vec<Shard<Recorder>>,
    deal: Deal,
    directory: Arc<Directory>,
    burst: Burst,
    seq: u32,
    sent: Vec<(PortId, Vec<u8>)>,
}

impl Session {
    /// Sets the shards up.
    ///
    /// # Errors
    /// When memory is refused or the number of workers is out of bounds.
    pub fn new(snapshot: &Arc<Snapshot>, options: &Options) -> Result<Session, SessionError> {
        let pool = PoolConfig { buffers: BUFFERS, frame_size: options.frame_size };
        let rings = RingConfig { bytes: RING.max(pool.bytes() / 8), pool };
        let links = mesh(options.workers, rings).map_err(SessionError::Mesh)?;
        let directory = Arc::new(Directory::new(options.expect_max));
        let layout =
            Layout { ports: snapshot.ports.len(), workers: options.workers, helpers: snapshot.helpers.configs().len() };
        let mut shards = Vec::with_capacity(options.workers);
        for link in links {
            let config = ShardConfig {
                id: link.me,
                shards: options.workers,
                entries: options.max_entries.div_ceil(options.workers),
                // States do not depend on it; a fixed one repeats timings too.
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
        let burst = Burst::with_limit(1);
        Ok(Session { shards, deal: options.deal, directory, burst, seq: 0, sent: Vec::new() })
    }

    /// Takes one packet through the router. `now` must not go back.
    ///
    /// `None` when the frame is larger than the session's frames.
    pub fn feed(&mut self, port: PortId, bytes: &[u8], now: Now) -> Option<Outcome> {
        let seq = self.seq;
        self.seq += 1;
        let first = self.dealt_to(bytes, seq);
        for shard in &mut self.shards {
            shard.watch = Recorder { seq, fate: None };
        }
        let shard = self.shards.get_mut(first.index())?;
        let mut frame = shard.pool().alloc_from(bytes)?;
        frame.meta.ingress = port;
        frame.meta.seq = seq;
        shard.counters.port_rx(port, 1, bytes.len() as u64);
        self.burst.push(frame).ok()?;
        shard.process(&mut self.burst, now);
        self.settle(now);
        self.tidy(now);
        let end = |shard: &Shard<Recorder>| Some(Outcome { worker: shard.id(), fate: shard.watch.fate? });
        let outcome = self.shards.iter().find_map(end);
        debug_assert!(outcome.is_some(), "a packet ended without a recorded fate");
        outcome.or(Some(Outcome { worker: first, fate: Fate::of(End::Held) }))
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
        let sent = &mut self.sent;
        for shard in &mut self.shards {
            shard.flush(|port, queue| {
                sent.extend(queue.drain().map(|frame| (port, frame.data().to_vec())));
                None
            });
        }
    }

    fn tidy(&mut self, now: Now) {
        for shard in &mut self.shards {
            shard.housekeep(now, SWEEP);
        }
        self.directory.sweep(now.millis(), 8);
    }

    /// Lets time pass without packets: what is due ends.
    pub fn advance(&mut self, now: Now) {
        self.tidy(now);
        self.settle(now);
    }

    fn dealt_to(&self, bytes: &[u8], seq: u32) -> ShardId {
        let workers = self.shards.len();
        match self.deal {
            Deal::Random(seed) => {
                let mixed = (u64::from(seq) ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
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

    /// Frames sent since the last call, with their ports, in order.
    pub fn take_sent(&mut self) -> Vec<(PortId, Vec<u8>)> {
        std::mem::take(&mut self.sent)
    }

    /// Counters of all shards, added up.
    #[must_use]
    pub fn counters(&self) -> Option<Counters> {
        let mut sum = self.shards.first()?.counters.clone();
        for shard in self.shards.iter().skip(1) {
            sum.add(&shard.counters);
        }
        Some(sum)
    }

    /// The configuration in force.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.shards.first().map(Shard::snapshot)
    }

    /// Connections in all tables.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shards.iter().map(|s| s.tracker().table().len()).sum()
    }
}
