//! One run: a workload on a router and on the ruler, in turn, and what was measured.

use super::feed::{Chunk, Tally};
use super::floor::Floor;
use super::load::{Load, States, Workload};
use super::measure::{cpu_ns, median, quantile};
use super::packet::Way;
use super::seat::{Bare, Router, Seat, post};
use crate::frame::Checksum;
use crate::metrics::Exporter;
use crate::net::{CtState, DropReason, Family, PortId};
use crate::worker::Clock;
use serde::Serialize;
use stats_alloc::INSTRUMENTED_SYSTEM;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Packets of a timed stretch, and of the stretch before it that fills the caches.
const STRETCH: u64 = 64 * 1024;
const WARM: u64 = 8 * 1024;

/// Timed stretches at least.
const ROUNDS: usize = 3;

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Which packets.
    pub workload: Workload,
    /// Address family.
    pub family: Family,
    /// Flows.
    pub flows: u64,
    /// Workers.
    pub workers: usize,
    /// The port verified the transport checksums; else the router does.
    pub nic_checksum: bool,
    /// Time for the timed stretches and what is between them. Zero is one short stretch, which measures little but
    /// verifies all.
    pub time: Duration,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Workload.
    pub workload: &'static str,
    /// Address family.
    pub family: &'static str,
    /// Flows.
    pub flows: u64,
    /// Workers.
    pub workers: usize,
    /// Who verified the checksums.
    pub checksum: &'static str,
    /// Nanoseconds of processor time per packet: the median of all stretches.
    pub ns_per_packet: f64,
    /// Million packets per second of processor time.
    pub mpps: f64,
    /// The ruler's nanoseconds.
    pub floor_ns_per_packet: f64,
    /// Router over ruler: the median of the ratios of each stretch.
    pub ratio: f64,
    /// Tenth and ninetieth percentile of the stretches' nanoseconds.
    pub spread: [f64; 2],
    /// Packets timed.
    pub packets: u64,
    /// Allocations per packet; `null` if this program does not count them.
    pub allocations_per_packet: Option<f64>,
    /// Octets the router reserved per flow, all its tables together.
    pub bytes_per_flow: f64,
}

/// Why a run is worth nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The router could not be set up.
    SetUp(String),
    /// It did not do what it should.
    Wrong(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::SetUp(what) => write!(f, "the router could not be set up: {what}"),
            Error::Wrong(what) => write!(f, "the router did not do what it should: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// Octets in use on the heap; all zero in a program without the counting allocator.
fn heap() -> usize {
    let stats = INSTRUMENTED_SYSTEM.stats();
    stats.bytes_allocated.wrapping_add_signed(stats.bytes_reallocated).wrapping_sub(stats.bytes_deallocated)
}

fn allocations() -> u64 {
    let stats = INSTRUMENTED_SYSTEM.stats();
    (stats.allocations + stats.reallocations) as u64
}

/// One worker and the ruler, and what goes through both.
struct Bench {
    seat: Seat,
    floor: Floor,
    bare: [crossbeam_channel::Sender<Arc<Chunk>>; 2],
    bare_tally: Arc<Tally>,
    load: Box<dyn Load>,
    warm: Arc<Chunk>,
    chunk: Arc<Chunk>,
}

/// Measures.
///
/// # Errors
/// When the router cannot be set up, or does not do with every packet what it should.
pub fn run(spec: &Spec) -> Result<Report, Error> {
    let before = heap();
    let mut router = Router::new(1, spec.flows, "", Clock::start()).map_err(Error::SetUp)?;
    let seed = router.seeds.pop().ok_or_else(|| Error::SetUp("no worker".to_owned()))?;
    let seat = seed.sit().map_err(Error::SetUp)?;
    let reserved = heap().wrapping_sub(before);
    let Bare { queues, chunks: bare, tally: bare_tally } = Bare::new();
    let floor = Floor::new(spec.flows as usize, queues, router.pool, router.ways)
        .map_err(|error| Error::SetUp(error.to_string()))?;
    let checksum = if spec.nic_checksum { Checksum::Verified } else { Checksum::Unknown };
    let chunk = |ways: [Way; 2]| Arc::new(Chunk::new(spec.workload.lines(spec.family), checksum, ways));
    let mut bench = Bench {
        seat,
        floor,
        bare,
        bare_tally,
        load: spec.workload.load(spec.family, spec.flows),
        warm: chunk(router.ways),
        chunk: chunk(router.ways),
    };
    bench.set_up()?;
    bench.compare()?;
    let (mut ours, mut floors, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut packets, mut allocated) = (0, 0);
    let start = Instant::now();
    let (rounds, stretch) = if spec.time.is_zero() { (1, WARM) } else { (ROUNDS, STRETCH) };
    while ours.len() < rounds || start.elapsed() < spec.time {
        let round = bench.round(stretch)?;
        packets += round.packets;
        allocated += round.allocations;
        ours.push(round.ours);
        floors.push(round.floor);
        ratios.push(round.ours / round.floor);
    }
    bench.compare()?;
    bench.seat.drain().map_err(Error::Wrong)?;
    check(&router.exporter, spec.family, bench.load.states())?;
    let ns = median(&mut ours);
    Ok(Report {
        workload: spec.workload.label(),
        family: spec.family.label(),
        flows: spec.flows,
        workers: spec.workers,
        checksum: if spec.nic_checksum { "nic" } else { "software" },
        ns_per_packet: ns,
        mpps: 1e3 / ns,
        floor_ns_per_packet: median(&mut floors),
        ratio: median(&mut ratios),
        spread: [quantile(&mut ours, 0.1), quantile(&mut ours, 0.9)],
        packets,
        allocations_per_packet: (allocations() != 0).then_some(allocated as f64 / packets as f64),
        bytes_per_flow: reserved as f64 / spec.flows as f64,
    })
}

/// One timed stretch of both.
struct Round {
    packets: u64,
    /// Nanoseconds per packet.
    ours: f64,
    floor: f64,
    allocations: u64,
}

impl Bench {
    /// Makes all flows, in the router and in the ruler.
    fn set_up(&mut self) -> Result<(), Error> {
        loop {
            let chunk = own(&mut self.chunk)?;
            chunk.clear();
            if !self.load.set_up(chunk) {
                return Ok(());
            }
            self.floor.learn(chunk);
            self.pass(&Arc::clone(&self.chunk))?;
        }
    }

    /// Runs a chunk through the router and sees that everything came out.
    fn pass(&mut self, chunk: &Arc<Chunk>) -> Result<(), Error> {
        self.seat.post(chunk);
        self.seat.turn_until_idle();
        same("router", self.seat.tally(), chunk)
    }

    /// Compares what comes out, frame by frame.
    fn compare(&mut self) -> Result<(), Error> {
        let chunk = own(&mut self.warm)?;
        chunk.clear();
        self.load.fill(chunk, WARM);
        self.seat.tally().keep();
        let chunk = Arc::clone(&self.warm);
        self.pass(&chunk)?;
        let (mut seen, mut expected) = (self.seat.tally().kept(), chunk.expected());
        seen.sort_unstable();
        expected.sort_unstable();
        match seen.iter().zip(&expected).find(|(seen, expected)| seen != expected) {
            None => Ok(()),
            Some((seen, expected)) => {
                Err(Error::Wrong(format!("a frame came out as {seen:02x?}, expected was {expected:02x?}")))
            }
        }
    }

    fn round(&mut self, stretch: u64) -> Result<Round, Error> {
        for (chunk, frames) in [(&mut self.warm, WARM), (&mut self.chunk, stretch)] {
            let chunk = own(chunk)?;
            chunk.clear();
            self.load.fill(chunk, frames);
        }
        let packets = self.chunk.frames() as f64;
        self.pass(&Arc::clone(&self.warm))?;
        self.seat.post(&self.chunk);
        let allocated = allocations();
        let start = cpu_ns();
        self.seat.turn_until_idle();
        let ours = cpu_ns() - start;
        let allocated = allocations() - allocated;
        same("router", self.seat.tally(), &self.chunk)?;

        post(&self.bare, &self.warm);
        self.floor.run();
        same("ruler", &self.bare_tally, &self.warm)?;
        post(&self.bare, &self.chunk);
        let start = cpu_ns();
        self.floor.run();
        let floor = cpu_ns() - start;
        same("ruler", &self.bare_tally, &self.chunk)?;
        Ok(Round {
            packets: packets as u64,
            ours: ours as f64 / packets,
            floor: floor as f64 / packets,
            allocations: allocated,
        })
    }
}

/// The chunk, to be filled again: all ports are through with it.
fn own(chunk: &mut Arc<Chunk>) -> Result<&mut Chunk, Error> {
    Arc::get_mut(chunk).ok_or_else(|| Error::Wrong("a port is not through with its frames".to_owned()))
}

/// Compares what came out with what should have.
fn same(who: &str, tally: &Tally, chunk: &Chunk) -> Result<(), Error> {
    let (frames, digest) = tally.take();
    if frames != chunk.frames() as u64 {
        return Err(Error::Wrong(format!("{} frames went into the {who}, {frames} came out", chunk.frames())));
    }
    if digest != chunk.digest() {
        return Err(Error::Wrong(format!("the frames that came out of the {who} are not those that should")));
    }
    Ok(())
}

/// Compares the router's own numbers with those of the load.
fn check(exporter: &Exporter, family: Family, states: States) -> Result<(), Error> {
    let total = exporter.total();
    for port in [PortId(0), PortId(1)] {
        let balance = total.balance(port);
        if !balance.is_even() || balance.dropped != 0 || balance.held != 0 || balance.punted != 0 {
            let reasons: Vec<_> = DropReason::ALL.iter().filter(|r| total.dropped(port, **r) != 0).collect();
            return Err(Error::Wrong(format!("port {}: {balance:?} {reasons:?}", port.0)));
        }
    }
    let States { new, established, related } = states;
    for (state, wanted) in [(CtState::New, new), (CtState::Established, established), (CtState::Related, related)] {
        let counted = total.states(family, state);
        if counted != wanted {
            return Err(Error::Wrong(format!("{counted} packets were {}, not {wanted}", state.label())));
        }
    }
    Ok(())
}
