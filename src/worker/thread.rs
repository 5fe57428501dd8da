//! A worker's thread: what it is made from, how it starts, and how its end is told.

use super::{Bell, Calls, Event, Message, Worker};
use crate::conntrack::table;
use crate::driver::{PoolSeed, QueueSeed};
use crate::frame::{Pool, PoolConfig};
use crate::metrics::{Counters, Published, RuleCounters};
use crate::net::{HugePages, Now};
use crate::shard::{ShardConfig, Snapshot};
use crate::steer::{Directory, Links};
use crossbeam_channel::{Receiver, Sender};
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The clock all workers and the control plane share: nanoseconds since a second before it was made, so that
/// no reading is 0.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Time);

#[derive(Clone, Copy, Debug)]
enum Time {
    Passing(Instant),
    Told(&'static AtomicU64),
}

impl Clock {
    /// Starts it.
    #[must_use]
    pub fn start() -> Clock {
        Clock(Time::Passing(Instant::now()))
    }

    /// A clock that shows what it is told, in nanoseconds: for runs that must repeat to the instruction.
    #[must_use]
    pub const fn told(nanos: &'static AtomicU64) -> Clock {
        Clock(Time::Told(nanos))
    }

    /// What to add to a reading to have the time since 1970 began, in nanoseconds. 0 of a clock that is told.
    #[must_use]
    pub fn to_wall_clock(&self) -> u64 {
        let since_1970 = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        match self.0 {
            Time::Passing(_) => since_1970().wrapping_sub(self.now().0),
            Time::Told(_) => 0,
        }
    }

    /// Reads it.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Now {
        Now(1_000_000_000
            + match self.0 {
                Time::Passing(start) => start.elapsed().as_nanos() as u64,
                Time::Told(nanos) => nanos.load(Ordering::Relaxed),
            })
    }
}

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// Polls on.
    Spin,
    /// Sleeps until somebody has something for it.
    #[default]
    Sleep,
}

/// What a worker is.
#[derive(Debug)]
pub struct Plan {
    /// Its shard.
    pub shard: ShardConfig,
    /// Its buffers, where no port has a pool for it.
    pub pool: PoolConfig,
    /// The core it is pinned to, if any.
    pub core: Option<usize>,
    /// What it does when there is nothing to do.
    pub idle: Idle,
    /// Pages of its table, and of its buffers unless a device brings them.
    pub hugepages: HugePages,
}

/// What a worker is connected to.
pub struct Wiring {
    /// Configuration in force.
    pub snapshot: Arc<Snapshot>,
    /// Counters of its rules.
    pub rules: RuleCounters,
    /// Counters, all zero.
    pub counters: Counters,
    /// Where they are published.
    pub published: Arc<Published>,
    /// Its queue of every port, in the order of the ports.
    pub queues: Vec<QueueSeed>,
    /// Its buffers in memory that a port's device reaches, if there is such a port.
    pub pool: Option<PoolSeed>,
    /// Rings to the other workers.
    pub links: Links,
    /// Bells of all workers, its own included.
    pub bells: Arc<[Arc<Bell>]>,
    /// Expectations of all shards.
    pub directory: Arc<Directory>,
    /// Messages for it.
    pub inbox: Receiver<Message>,
    /// Questions to the control plane.
    pub calls: Calls,
    /// News for the control plane.
    pub events: Sender<Event>,
    /// The clock.
    pub clock: Clock,
}

/// Starts a worker on a thread of its own. It says [`Event::Started`] or [`Event::NotPinned`] when it runs, and
/// [`Event::Ended`] last of all.
///
/// # Errors
/// When there is no thread to be had.
pub fn spawn(plan: Plan, wiring: Wiring) -> io::Result<JoinHandle<()>> {
    let id = plan.shard.id;
    std::thread::Builder::new().name(format!("worker {}", id.0)).spawn(move || {
        let events = wiring.events.clone();
        // Nothing of the worker is looked at after a panic: it is gone, and the process with it.
        let end = catch_unwind(AssertUnwindSafe(|| work(plan, wiring)));
        let reason = match end {
            Ok(Ok(())) => None,
            Ok(Err(reason)) => Some(reason),
            Err(panic) => Some(format!("it panicked: {}", text_of(panic.as_ref()))),
        };
        // Nobody listens any more only if the control plane has ended before.
        let _ = events.send(Event::Ended(id, reason));
    })
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// What helps if memory was refused.
const fn advice(pages: HugePages) -> &'static str {
    match pages {
        HugePages::Required => {
            "; `hugepages: required` takes it from the reserved huge pages, of which scripts/tune reserves more"
        }
        HugePages::Auto | HugePages::Never => "",
    }
}

fn work(plan: Plan, mut wiring: Wiring) -> Result<(), String> {
    let (id, core) = (plan.shard.id, plan.core);
    let pinned = core.is_none_or(|id| core_affinity::set_for_current(core_affinity::CoreId { id }));
    let events = wiring.events.clone();
    let pool = match wiring.pool.take() {
        Some(seed) => seed.start(),
        None => Pool::reserve(plan.pool, plan.hugepages),
    };
    let pool = pool.map_err(|error| error.to_string() + advice(plan.hugepages))?;
    let mut worker = Worker::new(&plan, wiring, pool).map_err(|error| {
        let mib = table::reserved_bytes(plan.shard.entries) >> 20;
        format!("could not reserve {mib} MiB for connections: {error}{}", advice(plan.hugepages))
    })?;
    let _ = events.send(match core {
        Some(core) if !pinned => Event::NotPinned(id, core),
        _ => Event::Started(id),
    });
    worker.run();
    Ok(())
}
