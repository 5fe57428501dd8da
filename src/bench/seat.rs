//! The router under test: workers with all they are connected to, between two ports.

use super::feed::{Chunk, Feed, Tally};
use super::memory::resident;
use super::packet::Way;
use crate::config;
use crate::control::{compile, exporter, facts, rule_slots, sizes};
use crate::driver::QueueSeed;
use crate::driver::memory::bench::{BenchConfig, BenchEnd, open};
use crate::frame::{Pool, PoolConfig};
use crate::metrics::{Counters, Exporter};
use crate::net::{Addr, Family, HugePages, MacAddr, PortId};
use crate::route::{NeighbourEvent, NeighbourKey};
use crate::shard::{BURST, ShardConfig};
use crate::steer::{Directory, RingConfig, mesh};
use crate::worker::{Bell, Calls, Clock, Event, Handle, Idle, Message, Plan, Request, Wiring, Worker, mailbox};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::sync::Arc;

/// Routers next to the one under test: beyond the first port all clients, beyond the second all servers.
const GATEWAYS: [MacAddr; 2] = [MacAddr([2, 0, 0, 0, 1, 2]), MacAddr([2, 0, 0, 0, 2, 2])];

/// Their addresses.
const HOPS: [[Addr; 2]; 2] = [
    [Addr::v4(0x0a00_0102), Addr { hi: 0xfd00_00f1_0000_0000, lo: 2 }],
    [Addr::v4(0x0a00_0202), Addr { hi: 0xfd00_00f2_0000_0000, lo: 2 }],
];

/// The configuration: connections open from the first port, as behind any office's router.
fn text(workers: usize, entries: u64) -> String {
    format!(
        "version: 1
workers: {{ cores: any, count: {workers}, idle: spin }}
conntrack: {{ max_entries: {entries} }}
ports:
  lan0: {{ driver: memory, queues: {workers}, addresses: [10.0.1.1/24, \"fd00:f1::1/64\"] }}
  wan0: {{ driver: memory, queues: {workers}, addresses: [10.0.2.1/24, \"fd00:f2::1/64\"] }}
routes:
  - {{ to: 10.128.0.0/9, via: 10.0.1.2 }}
  - {{ to: \"fd00:1::/32\", via: \"fd00:f1::2\" }}
  - {{ to: default, via: 10.0.2.2 }}
  - {{ to: \"::/0\", via: \"fd00:f2::2\" }}
chains:
  forward:
    policy: drop
    rules:
      - {{ id: known, ct_state: [established, related], verdict: accept }}
      - {{ id: bad, ct_state: invalid, verdict: drop }}
      - {{ id: out, iif: lan0, ct_state: new, verdict: accept }}
"
    )
}

/// A set of workers before they run, and what stays outside of them.
pub struct Router {
    /// One per worker, to be seated on the thread that turns it.
    pub seeds: Vec<Seed>,
    /// Where their numbers are published.
    pub exporter: Arc<Exporter>,
    /// Link addresses of frames that come in by each port.
    pub ways: [Way; 2],
    /// Sizes of their buffers.
    pub pool: PoolConfig,
    /// What they ask the control plane, which is not there.
    pub asks: Receiver<Request>,
}

/// A worker on its way to its thread.
pub struct Seed {
    plan: Plan,
    wiring: Wiring,
    pool: PoolConfig,
    handle: Handle,
    events: Receiver<Event>,
    chunks: [Sender<Arc<Chunk>>; 2],
    tally: Arc<Tally>,
}

/// A worker on its thread, turned by hand.
pub struct Seat {
    /// The worker.
    pub worker: Worker,
    /// Octets of the process that were resident before the worker was made, its buffers in use included.
    pub resident: u64,
    handle: Handle,
    events: Receiver<Event>,
    chunks: [Sender<Arc<Chunk>>; 2],
    tally: Arc<Tally>,
}

fn bench_port(id: u8) -> BenchConfig {
    BenchConfig { offloads: false, ..BenchConfig::new(PortId(id)) }
}

/// One queue's ends, and the way in for its chunks.
fn end(id: u8, tally: &Arc<Tally>) -> (BenchEnd, Sender<Arc<Chunk>>) {
    let (send, chunks) = unbounded();
    (BenchEnd { source: Box::new(Feed::new(usize::from(id), chunks)), sink: Some(tally.sink()) }, send)
}

/// Sends a chunk in by both ports.
pub fn post(chunks: &[Sender<Arc<Chunk>>; 2], chunk: &Arc<Chunk>) {
    for port in chunks {
        // The queue is there as long as whoever posts.
        let _ = port.send(Arc::clone(chunk));
    }
}

impl Router {
    /// Sets `workers` workers up with room for `entries` connections each.
    ///
    /// # Errors
    /// When the system refuses something, or the numbers make no configuration.
    pub fn new(workers: usize, entries: u64, clock: Clock) -> Result<Router, String> {
        let (settings, mistakes) = config::parse("bench", &text(workers, entries * workers as u64));
        let settings = settings.ok_or_else(|| mistakes.render(false))?;
        let tallies: Vec<_> = (0..workers).map(|_| Arc::new(Tally::default())).collect();
        let (mut ports, mut ways_in) = (Vec::new(), Vec::new());
        for id in [0, 1] {
            let (ends, senders): (Vec<_>, Vec<_>) = tallies.iter().map(|tally| end(id, tally)).unzip();
            ports.push(open(bench_port(id), ends));
            ways_in.push(senders);
        }
        let macs: Vec<MacAddr> = ports.iter().map(|port| port.info.mac).collect();
        let exporter = Arc::new(exporter(&settings, &ports, clock.now()));
        let sizes = sizes(&settings, ports.iter().map(|p| p.caps.max_frame).max().unwrap_or_default());
        let facts: Vec<_> = ports.iter().map(facts).collect();
        let snapshot = Arc::new(compile(&settings, &facts, 1).map_err(|error| error.to_string())?);
        let rules = exporter.begin_rules(rule_slots(&snapshot.ruleset));
        let links = mesh(workers, RingConfig { bytes: sizes.ring, pool: sizes.pool }).map_err(|e| e.to_string())?;
        let directory = Arc::new(Directory::new(settings.conntrack.expect_max as usize));
        let bells = (0..workers).map(|_| Bell::new().map(Arc::new)).collect::<Result<Vec<_>, _>>();
        let bells: Arc<[Arc<Bell>]> = bells.map_err(|error| error.to_string())?.into();
        let (punts, _) = bounded(1);
        let (ask, asks) = bounded(64);
        let mut queues: Vec<Vec<QueueSeed>> = (0..workers).map(|_| Vec::new()).collect();
        for port in ports {
            queues.iter_mut().zip(port.queues).for_each(|(of_worker, queue)| of_worker.push(queue));
        }
        let mut seeds = Vec::with_capacity(workers);
        let parts = links.into_iter().zip(queues).zip(tallies).zip(ways_in.remove(0)).zip(ways_in.remove(0));
        for ((((links, queues), tally), lan), wan) in parts {
            let id = links.me;
            let missing = || format!("worker {} has no place", id.0);
            let (handle, inbox) =
                bells.get(id.index()).map(|bell| mailbox(id, Arc::clone(bell))).ok_or_else(missing)?;
            let (say, events) = unbounded();
            let plan = Plan {
                shard: ShardConfig {
                    id,
                    shards: workers,
                    entries: sizes.entries,
                    // The same in every run, so that runs can be compared.
                    seed: [1, 2, 3, 4],
                    neighbours: sizes.neighbours,
                    fragments: sizes.fragments,
                },
                pool: sizes.pool,
                core: None,
                idle: Idle::Spin,
                hugepages: HugePages::Auto,
            };
            let wiring = Wiring {
                snapshot: Arc::clone(&snapshot),
                rules: rules.counters(id).ok_or_else(missing)?,
                counters: Counters::new(exporter.layout()),
                published: exporter.published(id).ok_or_else(missing)?,
                queues,
                pool: None,
                links,
                bells: Arc::clone(&bells),
                directory: Arc::clone(&directory),
                inbox,
                calls: Calls { punts: punts.clone(), asks: ask.clone() },
                events: say,
                clock,
            };
            seeds.push(Seed { plan, wiring, pool: sizes.pool, handle, events, chunks: [lan, wan], tally });
        }
        let way = |port: usize| {
            let mac = |port: usize| macs.get(port).copied().unwrap_or_default();
            Way { before: [mac(port), GATEWAYS[port]], after: [GATEWAYS[1 - port], mac(1 - port)] }
        };
        Ok(Router { seeds, exporter, ways: [way(0), way(1)], pool: sizes.pool, asks })
    }
}

impl Seed {
    /// What will come out of it.
    #[must_use]
    pub fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Makes the worker, on the thread that will turn it, and tells it its neighbours.
    ///
    /// # Errors
    /// When the system refuses the memory for buffers.
    pub fn sit(self) -> Result<Seat, String> {
        let pool = Pool::reserve(self.pool, self.plan.hugepages).map_err(|error| error.to_string())?;
        touch(&pool);
        let resident = resident();
        let worker = Worker::new(&self.plan, self.wiring, pool).map_err(|error| error.to_string())?;
        for (port, mac) in (0u8..).zip(GATEWAYS) {
            for family in Family::ALL {
                let addr = HOPS[usize::from(port)][family.index()];
                let key = NeighbourKey { port: PortId(port), family, addr };
                if !self.handle.post(Message::Neighbour(NeighbourEvent::Update { key, mac })) {
                    return Err("the worker takes no messages".to_owned());
                }
            }
        }
        Ok(Seat { worker, resident, handle: self.handle, events: self.events, chunks: self.chunks, tally: self.tally })
    }
}

/// Uses the buffers that will be used, so that their memory is not taken for that of flows.
fn touch(pool: &Pool) {
    let frames: Vec<_> = (0..4 * BURST).filter_map(|_| pool.alloc_from(&[0; 1600])).collect();
    drop(frames);
}

impl Seat {
    /// Sends a chunk in.
    pub fn post(&self, chunk: &Arc<Chunk>) {
        post(&self.chunks, chunk);
    }

    /// Turns until a turn had nothing to do.
    #[inline]
    pub fn turn_until_idle(&mut self) {
        while self.worker.turn() {}
    }

    /// What came out.
    #[must_use]
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Has the worker send what it has and publish its last numbers; it receives nothing more.
    ///
    /// # Errors
    /// When it does not come to rest.
    pub fn drain(&mut self) -> Result<(), String> {
        let _ = self.handle.post(Message::Drain);
        for _ in 0..10_000 {
            self.worker.turn();
            if self.events.try_iter().any(|event| matches!(event, Event::Drained(_))) {
                return Ok(());
            }
        }
        Err("the worker does not come to rest".to_owned())
    }
}
