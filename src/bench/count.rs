//! A run that repeats to the instruction, for counting them: one worker, a clock that is told, no ruler.

use super::feed::Chunk;
use super::load::Flows;
use super::run::{Error, Spec};
use super::seat::{Router, Seat};
use crate::frame::Checksum;
use crate::worker::{Clock, Worker};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds a turn takes by the clock that is told.
const TURN: u64 = 4000;

/// Packets per chunk.
const CHUNK: u64 = 8 * 1024;

static NANOS: AtomicU64 = AtomicU64::new(0);

/// One turn. Has a name of its own, so that a profiler can count what happens in it alone.
#[inline(never)]
pub fn turn(worker: &mut Worker) -> bool {
    worker.turn()
}

/// Takes about `packets` packets of a workload through one worker. For one call per process.
///
/// # Errors
/// When the router cannot be set up, or frames get lost.
pub fn count(spec: &Spec, packets: u64) -> Result<(), Error> {
    let entries = spec.workload.entries(spec.flows);
    let mut router = Router::new(1, entries, Clock::told(&NANOS)).map_err(Error::SetUp)?;
    let seed = router.seeds.pop().ok_or_else(|| Error::SetUp("no worker".to_owned()))?;
    let mut seat = seed.sit().map_err(Error::SetUp)?;
    let mut load = spec.workload.load(spec.family, Flows::First(spec.flows));
    let checksum = if spec.nic_checksum { Checksum::Verified } else { Checksum::Unknown };
    let lines = spec.workload.lines(spec.family);
    loop {
        let mut chunk = Chunk::new(lines, checksum, router.ways);
        if !load.set_up(&mut chunk) {
            break;
        }
        pass(&mut seat, chunk)?;
    }
    let mut passed = 0;
    while passed < packets {
        let mut chunk = Chunk::new(lines, checksum, router.ways);
        load.fill(&mut chunk, CHUNK.min(packets - passed));
        passed += chunk.frames() as u64;
        pass(&mut seat, chunk)?;
    }
    Ok(())
}

fn pass(seat: &mut Seat, chunk: Chunk) -> Result<(), Error> {
    let wanted = (chunk.frames() as u64, chunk.digest());
    seat.post(&Arc::new(chunk));
    while turn(&mut seat.worker) {
        NANOS.fetch_add(TURN, Ordering::Relaxed);
    }
    match seat.tally().take() {
        out if out == wanted => Ok(()),
        out => Err(Error::Wrong(format!("{} frames went in, {} came out, or were changed", wanted.0, out.0))),
    }
}
