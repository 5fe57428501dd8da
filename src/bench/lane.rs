//! One worker's part of a run: its thread prepares frames, turns the worker, and measures both it and the ruler. All
//! lanes of a run go in step, so that each stretch is measured on all of them at once.

use super::feed::{Chunk, Tally};
use super::floor::Floor;
use super::load::{Flows, Load, States, Workload};
use super::measure::{cpu_ns, quantile};
use super::memory::{allocations, resident};
use super::packet::Way;
use super::perf::{Counted, Perf};
use super::run::{Error, Spec};
use super::seat::{Seat, Seed};
use crate::frame::Checksum;
use crate::shard::Part;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Packets of a timed stretch, all lanes together, and of a lane's stretch before it that fills the caches. What is
/// handed over must fit the rings even if its owner is not given a core.
const STRETCH: u64 = 64 * 1024;
const WARM: u64 = 8 * 1024;

/// Packets whose turns are timed one by one, in a stretch of its own.
const TURNS: u64 = 16 * 1024;

/// Timed stretches at least.
const ROUNDS: usize = 3;

/// Sleep of a worker that waits for frames of others.
const NAP: Duration = Duration::from_micros(20);

/// Longest time without a frame.
const STUCK: Duration = Duration::from_secs(20);

/// What one lane measured, stretch by stretch.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    /// Nanoseconds of processor time per packet: the router's and the ruler's.
    pub(super) ours: Vec<f64>,
    pub(super) floors: Vec<f64>,
    /// Packets timed.
    pub(super) packets: u64,
    /// Allocations meanwhile.
    pub(super) allocations: u64,
    /// Octets that became resident while the flows were made.
    pub(super) resident: u64,
    /// Durations of turns, in nanoseconds.
    pub(super) turns: Vec<f64>,
    /// Cycles and instructions of the packets timed, where the machine counts them.
    pub(super) counted: Option<Counted>,
    /// Nanoseconds of the parts of a burst's way, in a stretch of its own.
    pub(super) parts: Parts,
    /// Nanoseconds per packet of turns beside an attack, and without one.
    pub(super) attacked: Vec<f64>,
    pub(super) quiet: Vec<f64>,
}

/// Nanoseconds of the wall clock that the parts of each burst's way took.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    pub(super) receive: Vec<f64>,
    pub(super) admit: Vec<f64>,
    pub(super) judge: Vec<f64>,
    pub(super) transmit: Vec<f64>,
}

impl Parts {
    fn add(&mut self, part: Part, nanos: f64) {
        match part {
            Part::Between => {}
            Part::Receive => self.receive.push(nanos),
            Part::Admit => self.admit.push(nanos),
            Part::Judge => self.judge.push(nanos),
            Part::Transmit => self.transmit.push(nanos),
        }
    }
}

/// What the lanes of one run share.
pub(super) struct Shared {
    barrier: Barrier,
    /// What went in since the last comparison: frames, and the sum of their digests.
    frames: AtomicU64,
    digest: AtomicU64,
    tallies: Vec<Arc<Tally>>,
    failed: Mutex<Option<Error>>,
    broken: AtomicBool,
    /// The time is over.
    over: AtomicBool,
}

impl Shared {
    pub(super) fn new(lanes: usize, tallies: Vec<Arc<Tally>>) -> Shared {
        Shared {
            barrier: Barrier::new(lanes),
            frames: AtomicU64::new(0),
            digest: AtomicU64::new(0),
            tallies,
            failed: Mutex::new(None),
            broken: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    fn announce(&self, chunk: &Chunk) {
        self.frames.fetch_add(chunk.frames() as u64, Ordering::Relaxed);
        self.digest.fetch_add(chunk.digest(), Ordering::Relaxed);
    }

    fn all_out(&self) -> bool {
        let out: u64 = self.tallies.iter().map(|tally| tally.frames()).sum();
        out >= self.frames.load(Ordering::Relaxed)
    }

    /// Compares what came out with what should have, and forgets both. For one lane, while all others wait.
    fn settle(&self) -> Result<(), Error> {
        let (frames, digest) = (self.frames.swap(0, Ordering::Relaxed), self.digest.swap(0, Ordering::Relaxed));
        let out = self.tallies.iter().map(|tally| tally.take());
        let (out, seen) = out.fold((0, 0u64), |(n, sum), (frames, digest)| (n + frames, sum.wrapping_add(digest)));
        if out != frames {
            return Err(Error::Wrong(format!("{frames} frames went in, {out} came out")));
        }
        if seen != digest {
            return Err(Error::Wrong("the frames that came out are not those that should".to_owned()));
        }
        Ok(())
    }

    fn fail(&self, error: Error) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.broken.store(true, Ordering::Relaxed);
    }

    fn failure(&self) -> Result<(), Error> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.clone().map_or(Ok(()), Err)
    }
}

/// One worker, the ruler, and what goes through both.
pub(super) struct Lane<'a> {
    index: usize,
    shared: &'a Shared,
    seat: Seat,
    floor: Floor,
    load: Box<dyn Load>,
    warm: Arc<Chunk>,
    chunk: Arc<Chunk>,
    samples: Samples,
    /// Allocations of the process while the last chunk was passed.
    allocated: u64,
    perf: Option<Perf>,
    /// What the processor counted while the last chunk was passed.
    counted: Option<Counted>,
}

/// What the lane's thread is doing while its chunk is passed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Watch {
    /// Nothing else.
    None,
    /// It times each turn.
    Turns,
}

impl Lane<'_> {
    /// Makes a run's measurements. For a thread of its own.
    pub(super) fn run(
        index: usize,
        seed: Seed,
        (spec, flows, ways): (&Spec, Flows, [Way; 2]),
        shared: &Shared,
    ) -> Result<(Samples, States), Error> {
        let checksum = if spec.nic_checksum { Checksum::Verified } else { Checksum::Unknown };
        let chunk = || Arc::new(Chunk::new(spec.workload.lines(spec.family), checksum, ways));
        let entries = spec.workload.entries(flows.len());
        let floor = Floor::new(entries as usize, ways);
        let load = spec.workload.load(spec.family, flows);
        // All lanes must come to the barrier, whatever happens to one.
        let seat = seed.sit().map_err(|error| shared.fail(Error::SetUp(error)));
        shared.barrier.wait();
        let (Ok(seat), false) = (seat, shared.broken.load(Ordering::Relaxed)) else {
            return shared.failure().map(|()| Default::default());
        };
        let mut lane = Lane {
            index,
            shared,
            samples: Samples { resident: seat.resident, ..Samples::default() },
            seat,
            floor,
            load,
            warm: chunk(),
            chunk: chunk(),
            allocated: 0,
            perf: Perf::open(),
            counted: None,
        };
        let measured = lane.measure(spec);
        shared.barrier.wait();
        // Also after a failure, for its counters say what went wrong.
        let drained = lane.seat.drain().map_err(Error::Wrong);
        measured.and(drained)?;
        Ok((lane.samples, lane.load.states()))
    }

    fn measure(&mut self, spec: &Spec) -> Result<(), Error> {
        self.set_up()?;
        self.compare(spec.workload)?;
        let start = Instant::now();
        let (rounds, stretch) =
            if spec.time.is_zero() { (1, WARM) } else { (ROUNDS, STRETCH / spec.workers.max(1) as u64) };
        loop {
            // One lane decides for all.
            if self.index == 0 && self.samples.ours.len() >= rounds && start.elapsed() >= spec.time {
                self.shared.over.store(true, Ordering::Relaxed);
            }
            self.shared.barrier.wait();
            self.shared.failure()?;
            if self.shared.over.load(Ordering::Relaxed) {
                break;
            }
            self.round(stretch)?;
        }
        self.compare(spec.workload)
    }

    /// Makes all flows, in the router and in the ruler.
    fn set_up(&mut self) -> Result<(), Error> {
        loop {
            let mut more = false;
            if let Some(chunk) = Arc::get_mut(&mut self.chunk) {
                chunk.clear();
                more = self.load.set_up(chunk);
                self.floor.learn(chunk);
            }
            self.shared.frames.fetch_add(u64::from(more), Ordering::Relaxed);
            // As long as one lane has more, all go on.
            self.shared.barrier.wait();
            let last = self.shared.frames.load(Ordering::Relaxed) == 0;
            self.shared.barrier.wait();
            if self.index == 0 {
                self.shared.frames.store(0, Ordering::Relaxed);
            }
            self.shared.barrier.wait();
            if last {
                // The chunk's own memory is no flow's.
                let others = self.samples.resident + self.chunk.octets();
                self.samples.resident = resident().saturating_sub(others);
                return Ok(());
            }
            let chunk = Arc::clone(&self.chunk);
            self.pass(&chunk, Watch::None)?;
        }
    }

    /// Runs a chunk through the router, in step with the other lanes, and sees that everything came out. Gives the
    /// processor time it took.
    fn pass(&mut self, chunk: &Arc<Chunk>, watch: Watch) -> Result<u64, Error> {
        self.shared.announce(chunk);
        self.seat.post(chunk);
        self.shared.barrier.wait();
        let before = allocations();
        let counted = self.perf.as_mut().and_then(Perf::read);
        let spent = match watch {
            Watch::None => self.turn_until_out(),
            Watch::Turns => {
                self.turn_by_turn();
                0
            }
        };
        self.counted = self.perf.as_mut().and_then(Perf::read).zip(counted).map(|(now, before)| now.since(before));
        self.allocated = allocations() - before;
        self.shared.barrier.wait();
        if self.index == 0
            && let Err(error) = self.shared.settle()
        {
            self.shared.fail(error);
        }
        self.shared.barrier.wait();
        self.shared.failure()?;
        Ok(spent)
    }

    /// Turns until all lanes' frames are out. Gives the processor time of the turns that had work.
    fn turn_until_out(&mut self) -> u64 {
        let mut spent = 0;
        let began = Instant::now();
        loop {
            let from = cpu_ns();
            self.seat.turn_until_idle();
            spent += cpu_ns() - from;
            if self.shared.all_out() || self.shared.broken.load(Ordering::Relaxed) || began.elapsed() > STUCK {
                return spent;
            }
            std::thread::sleep(NAP);
        }
    }

    /// The same, with the duration of each turn noted.
    fn turn_by_turn(&mut self) {
        let began = Instant::now();
        let mut last = began;
        while !self.shared.all_out() && last.duration_since(began) < STUCK {
            let worked = self.seat.worker.turn();
            let now = Instant::now();
            if worked {
                self.samples.turns.push(now.duration_since(last).as_nanos() as f64);
            }
            last = now;
        }
        // The ports let go of what they are through with.
        self.seat.turn_until_idle();
    }

    /// Compares what comes out, frame by frame.
    fn compare(&mut self, workload: Workload) -> Result<(), Error> {
        self.fill(WARM, false);
        let chunk = Arc::clone(&self.warm);
        // What is handed over comes out elsewhere; a digest must do.
        let keep = workload != Workload::Handoff;
        if keep {
            self.seat.tally().keep();
        }
        self.pass(&chunk, Watch::None)?;
        if keep {
            let (mut seen, mut expected) = (self.seat.tally().kept(), chunk.expected());
            seen.sort_unstable();
            expected.sort_unstable();
            if let Some((seen, expected)) = seen.iter().zip(&expected).find(|(seen, expected)| seen != expected) {
                let what = format!("a frame came out as {seen:02x?}, expected was {expected:02x?}");
                self.shared.fail(Error::Wrong(what));
            }
        }
        self.shared.barrier.wait();
        self.shared.failure()
    }

    /// Fills the warm chunk with the workload, or what goes on beside an attack; false if there is no such thing.
    fn fill(&mut self, frames: u64, quiet: bool) -> bool {
        let Some(chunk) = Arc::get_mut(&mut self.warm) else { return false };
        chunk.clear();
        if quiet {
            return self.load.fill_quiet(chunk, frames);
        }
        self.load.fill(chunk, frames);
        true
    }

    fn round(&mut self, stretch: u64) -> Result<(), Error> {
        self.fill(WARM, false);
        if let Some(chunk) = Arc::get_mut(&mut self.chunk) {
            chunk.clear();
            self.load.fill(chunk, stretch);
        }
        let packets = self.chunk.frames();
        let (warm, chunk) = (Arc::clone(&self.warm), Arc::clone(&self.chunk));
        self.pass(&warm, Watch::None)?;
        let ours = self.pass(&chunk, Watch::None)?;
        self.samples.allocations += self.allocated;
        if let Some(counted) = self.counted {
            let sum = self.samples.counted.get_or_insert_default();
            sum.cycles += counted.cycles;
            sum.instructions += counted.instructions;
        }

        self.floor.take(&warm);
        self.floor.run();
        self.floor.take(&chunk);
        let start = cpu_ns();
        self.floor.run();
        let floor = cpu_ns() - start;
        if self.floor.result() != (packets as u64, chunk.digest()) {
            self.shared.fail(Error::Wrong("the ruler did not do what it should".to_owned()));
        }
        drop((warm, chunk));
        self.samples.ours.push(ours as f64 / packets as f64);
        self.samples.floors.push(floor as f64 / packets as f64);
        self.samples.packets += packets as u64;
        self.watch_parts(stretch)?;
        self.watch_turns(stretch)
    }

    /// Times the parts of bursts' ways.
    fn watch_parts(&mut self, stretch: u64) -> Result<(), Error> {
        self.fill(TURNS.min(stretch), false);
        let chunk = Arc::clone(&self.warm);
        let state = Rc::new(RefCell::new((Instant::now(), std::mem::take(&mut self.samples.parts))));
        let noted = Rc::clone(&state);
        self.seat.worker.set_pace(Some(Box::new(move |part| {
            let now = Instant::now();
            let (last, parts) = &mut *noted.borrow_mut();
            parts.add(part, now.duration_since(*last).as_nanos() as f64);
            *last = now;
        })));
        let passed = self.pass(&chunk, Watch::None);
        self.seat.worker.set_pace(None);
        self.samples.parts = std::mem::take(&mut state.borrow_mut().1);
        passed.map(|_| ())
    }

    /// Times the turns one by one: all, or the established connections' beside an attack and without one.
    fn watch_turns(&mut self, stretch: u64) -> Result<(), Error> {
        let frames = TURNS.min(stretch);
        self.fill(frames, false);
        let from = self.samples.turns.len();
        let chunk = Arc::clone(&self.warm);
        self.pass(&chunk, Watch::Turns)?;
        drop(chunk);
        let per_turn = 2.0 * super::load::BURST as f64;
        let mut beside: Vec<f64> =
            self.samples.turns.get(from..).unwrap_or_default().iter().step_by(2).map(|ns| ns / per_turn).collect();
        if !self.fill(frames, true) {
            return Ok(());
        }
        let until = self.samples.turns.len();
        let chunk = Arc::clone(&self.warm);
        self.pass(&chunk, Watch::Turns)?;
        let mut alone: Vec<f64> = self.samples.turns.drain(until..).map(|ns| ns / per_turn).collect();
        self.samples.attacked.push(quantile(&mut beside, 0.5));
        self.samples.quiet.push(quantile(&mut alone, 0.5));
        Ok(())
    }
}
