//! One worker as a pipeline of capsule's.

use anyhow::{Result, anyhow};
use capsule::batch::{PacketRx, PacketTx, Pipeline};
use capsule::{Mbuf, PortQueue};
use flowgate::config::Settings;
use flowgate::control::{PortFacts, Sizes, compile, fixed_neighbours, sizes};
use flowgate::frame::{Burst, Pool};
use flowgate::metrics::{Counters, Layout, RuleCounters};
use flowgate::net::{DropReason, MacAddr, Now, PortId};
use flowgate::route::{NeighbourEvent, NeighbourKey};
use flowgate::shard::{BURST, Shard, ShardConfig, Surroundings, Unwatched, Upcall};
use flowgate::steer::{Directory, Links, RingConfig, mesh};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

/// Octets of the largest frame a port gives.
const FRAME: usize = 2048;

/// Nanoseconds between two rounds of housekeeping, and table slots looked at in each.
const HOUSEKEEP_EVERY: u64 = 1_000_000;
const HOUSEKEEP_SLOTS: usize = 1024;

/// What all workers have in common.
pub struct Plan {
    settings: Settings,
    sizes: Sizes,
    directory: Arc<Directory>,
    start: Instant,
    seed: [u64; 4],
    /// The counters of each worker, as it last wrote them down.
    counters: Vec<Mutex<Counters>>,
}

impl Plan {
    /// # Errors
    /// When the numbers make no router.
    pub fn new(settings: Settings) -> Result<Plan> {
        let workers = usize::from(settings.workers.count);
        let layout = Layout { ports: settings.ports.len(), workers, helpers: settings.helpers.len() };
        Ok(Plan {
            sizes: sizes(&settings, FRAME),
            directory: Arc::new(Directory::new(settings.conntrack.expect_max as usize)),
            start: Instant::now(),
            seed: random()?,
            counters: (0..workers).map(|_| Mutex::new(Counters::new(&layout))).collect(),
            settings,
        })
    }

    /// Rings between the workers.
    pub fn mesh(&self) -> Result<Vec<Links>> {
        let config = RingConfig { bytes: self.sizes.ring, pool: self.sizes.pool };
        mesh(self.counters.len(), config).map_err(|error| anyhow!("{error}"))
    }

    /// Names of the ports, by number.
    pub fn ports(&self) -> impl Iterator<Item = &str> {
        self.settings.ports.iter().map(|port| port.name.as_str())
    }

    /// Counters of all workers, added up.
    pub fn counters(&self) -> Counters {
        let mut all = self.counters.iter().map(|one| one.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let mut sum = all.next().expect("there is a worker");
        for counters in all {
            sum.add(&counters);
        }
        sum
    }

    fn now(&self) -> Now {
        Now(self.start.elapsed().as_nanos() as u64)
    }

    fn shard(&self, links: Links, queues: &[Option<PortQueue>]) -> Result<Shard> {
        let facts: Vec<PortFacts> = self
            .settings
            .ports
            .iter()
            .zip(queues)
            .map(|(port, queue)| PortFacts {
                mac: port.mac.or(queue.as_ref().map(|q| MacAddr(q.mac_addr().octets()))).unwrap_or_default(),
                mtu: port.mtu.unwrap_or(1500).into(),
                tx_checksum_partial: false,
                tx_gso: false,
            })
            .collect();
        let snapshot = Arc::new(compile(&self.settings, &facts, 1)?);
        let workers = self.counters.len();
        let helpers = snapshot.helpers.configs().len();
        let config = ShardConfig {
            id: links.me,
            shards: workers,
            entries: self.sizes.entries,
            seed: self.seed,
            neighbours: self.sizes.neighbours,
            fragments: self.sizes.fragments,
        };
        let around = Surroundings {
            pool: Pool::new(self.sizes.pool).map_err(|error| anyhow!("{error}"))?,
            rules: RuleCounters::unobserved(snapshot.ruleset.slots()),
            counters: Counters::new(&Layout { ports: facts.len(), workers, helpers }),
            snapshot,
            directory: Arc::clone(&self.directory),
            links,
            upcall: Box::new(Nobody),
            watch: Unwatched,
        };
        let mut shard = Shard::new(&config, around);
        for (key, mac) in fixed_neighbours(&self.settings) {
            shard.neighbour(&NeighbourEvent::Update { key, mac }, self.now());
        }
        Ok(shard)
    }
}

/// Secrets of the tables.
fn random() -> Result<[u64; 4]> {
    let mut words = [0; 4];
    for word in &mut words {
        *word = getrandom::u64().map_err(|error| anyhow!("no random numbers from the system: {error}"))?;
    }
    Ok(words)
}

/// There is no control plane.
struct Nobody;

impl Upcall for Nobody {
    fn punt(&mut self, _port: PortId, _frame: &[u8]) -> bool {
        false
    }

    fn resolve(&mut self, _key: NeighbourKey) {}
}

/// A shard with its queues. Polled, it takes one burst of every port.
pub struct Host {
    plan: Arc<Plan>,
    shard: Shard,
    /// By the router's numbers of ports.
    queues: Vec<Option<PortQueue>>,
    burst: Burst,
    housekept: Now,
}

impl Host {
    /// Makes the worker on the core it will run on. Without memory the process ends.
    pub fn new(plan: &Arc<Plan>, links: Links, mut queues: HashMap<String, PortQueue>) -> Host {
        let queues: Vec<_> = plan.ports().map(|name| queues.remove(name)).collect();
        let shard = plan.shard(links, &queues).unwrap_or_else(|error| {
            eprintln!("{error:#}");
            std::process::exit(1);
        });
        Host { housekept: plan.now(), plan: Arc::clone(plan), shard, queues, burst: Burst::with_limit(BURST) }
    }

    fn turn(&mut self) {
        let now = self.plan.now();
        self.shard.take_handoffs(now);
        for (index, queue) in (0u8..).zip(&mut self.queues) {
            let Some(queue) = queue else { continue };
            let packets = queue.receive();
            if packets.is_empty() {
                continue;
            }
            let port = PortId(index);
            let octets: usize = packets.iter().map(Mbuf::data_len).sum();
            self.shard.counters.port_rx(port, packets.len() as u64, octets as u64);
            for mbuf in packets {
                take(&mut self.shard, &mut self.burst, port, &mbuf);
            }
            self.shard.process(&mut self.burst, now);
        }
        self.send();
        if now.0 >= self.housekept.0 + HOUSEKEEP_EVERY {
            self.housekept = now;
            self.shard.housekeep(now, HOUSEKEEP_SLOTS);
            self.send();
            self.write_down();
        }
    }

    fn send(&mut self) {
        let queues = &mut self.queues;
        self.shard.flush(|port, burst| {
            let Some(Some(queue)) = queues.get_mut(port.index()) else { return Some(DropReason::PortDown) };
            // What there is no buffer for waits for the next turn. What a full ring refuses capsule drops, and tells only
            // its own metrics.
            let mbufs: Vec<Mbuf> = burst.as_slice().iter().map_while(|f| Mbuf::from_bytes(f.data()).ok()).collect();
            burst.consume(mbufs.len());
            queue.transmit(mbufs);
            None
        });
    }

    fn write_down(&self) {
        if let Some(mine) = self.plan.counters.get(self.shard.id().index()) {
            mine.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.shard.counters);
        }
    }
}

/// Gives a packet to the shard, copied: its frames are its own pool's.
fn take(shard: &mut Shard, burst: &mut Burst, port: PortId, mbuf: &Mbuf) {
    let octets = match mbuf.read_data_slice::<u8>(0, mbuf.data_len()) {
        // SAFETY: the slice is the mbuf's data, which capsule found to be that long and nobody changes while it is borrowed.
        Ok(octets) => unsafe { octets.as_ref() },
        Err(_) => return shard.counters.drop_packet(port, DropReason::RxTruncated, mbuf.data_len()),
    };
    let frame = shard.pool().alloc_from(octets).map(|mut frame| {
        frame.meta.ingress = port;
        frame
    });
    match frame {
        Some(frame) => {
            // A burst of capsule's has at most 32 packets, and this one is emptied after each.
            let _ = burst.push(frame);
        }
        None => shard.counters.drop_packet(port, DropReason::BufferExhausted, octets.len()),
    }
}

impl Future for Host {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.get_mut().turn();
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Pipeline for Host {
    fn name(&self) -> &str {
        "flowgate"
    }

    fn run_once(&mut self) {
        self.turn();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.write_down();
    }
}
