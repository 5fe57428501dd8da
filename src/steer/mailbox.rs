//! Hand-off rings: one bounded single-producer single-consumer ring of cache lines per ordered pair of workers.
//!
//! A frame stays with the worker whose pool lent its buffer; its octets and what is known beside them are
//! copied into the ring and out of it into a buffer of the receiver's pool. A frame takes as many lines as it
//! needs, and frames that are alike share one for all else, so a ring of a given size holds many small packets or a few
//! super-frames. One send is one group of one or more frames that arrive together or not at all; the receiver starts on a group
//! only when all of it is there.
//!
//! What both ends write, the ring's indices, costs a line's way between two cores each time it changes hands. So packets are
//! sent by the burst, and a receiver looks at the sender's index once for many.

mod run;

use crate::frame::{Burst, Frame, MAX_FRAME, Pool, PoolConfig};
use crate::net::wide::{Wide, Widest, Work};
use crate::net::{ShardId, ids::MAX_SHARDS, prefetch};
use rtrb::{Consumer, Producer, RingBuffer};
use run::{LINE, Line, Row, Run, Writer, Writing, lines};
use std::fmt;

/// What the receiver is to do with a frame handed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stage {
    /// Judge it: the receiver owns its tuple.
    Packet = 0,
    /// Hold it: the receiver is where the fragments of its datagram meet.
    Fragment = 1,
    /// All fragments of one complete datagram, in arrival order: judge them once.
    Datagram = 2,
}

impl Stage {
    const fn from_octet(octet: u8) -> Option<Stage> {
        match octet {
            0 => Some(Stage::Packet),
            1 => Some(Stage::Fragment),
            2 => Some(Stage::Datagram),
            _ => None,
        }
    }
}

/// What comes with a received frame beside its own meta data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handoff {
    /// What to do with it.
    pub stage: Stage,
    /// Frames of its group.
    pub count: u16,
    /// Its place in the group, from 0. The frames of a group are delivered without others between them.
    pub index: u16,
}

/// The ring has no room for the group; nothing of it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ring to the owning worker is full")
    }
}

impl std::error::Error for Full {}

/// Size of the rings, and what the receivers' pools are known to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Octets of each ring.
    pub bytes: usize,
    /// The pool every worker has. A frame longer than its frames, or a group of more frames than half its
    /// buffers, is refused at the sender: the receiver could never take it and the ring would stand still.
    pub pool: PoolConfig,
}

/// Why no rings were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeshError {
    /// No workers, or more than [`MAX_SHARDS`].
    Workers(usize),
    /// A ring must hold at least one frame of the pool, and at most `u32::MAX` octets.
    RingBytes {
        /// Octets asked for.
        bytes: usize,
        /// Fewest octets that do.
        least: usize,
    },
}

impl fmt::Display for MeshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MeshError::Workers(n) => write!(f, "{n} workers: there must be 1 to {MAX_SHARDS}"),
            MeshError::RingBytes { bytes, least } => {
                write!(f, "a hand-off ring of {bytes} octets is out of bounds, the least is {least}")
            }
        }
    }
}

impl std::error::Error for MeshError {}

/// Lines ahead of those that are taken that are asked for: as many as a burst takes.
const AHEAD: usize = 66;

/// The sending end of one ring.
#[derive(Debug)]
pub struct Sender {
    ring: Producer<Line>,
    widest: Widest,
    max_frame: usize,
    max_group: usize,
}

impl Sender {
    /// Sends `frames` as one group: all of them or none. The caller keeps and drops the frames.
    ///
    /// A single frame is `std::slice::from_ref(&frame)`. An empty group is nothing to send.
    ///
    /// # Errors
    /// [`Full`] when the ring has not enough room now, or never has (see [`RingConfig`]).
    pub fn send(&mut self, stage: Stage, frames: &[Frame]) -> Result<(), Full> {
        if frames.is_empty() {
            return Ok(());
        }
        let count = u16::try_from(frames.len()).map_err(|_| Full)?;
        if frames.len() > self.max_group || frames.iter().any(|f| f.len() > self.max_frame) {
            return Err(Full);
        }
        let wanted: usize = frames.iter().map(|f| 1 + lines(f.len())).sum();
        let mut chunk = self.ring.write_chunk_uninit(wanted).map_err(|_| Full)?;
        let mut writer = Writer::new(chunk.as_mut_slices());
        for (index, frame) in (0..count).zip(frames) {
            writer.write_one(frame, Handoff { stage, count, index });
        }
        let written = writer.written();
        // All of them are there for the receiver at once.
        // SAFETY: a writer counts the lines it has written, which are the first.
        unsafe { chunk.commit(written) }
        Ok(())
    }

    /// Sends single packets from the front of a burst, up to the first that there is no room for, or never is. Those sent are
    /// taken out and return to their pool. Gives how many that were.
    pub fn send_packets(&mut self, burst: &mut Burst) -> usize {
        let frames = burst.as_slice();
        let most = frames.len() * (1 + lines(self.max_frame));
        let (count, wanted) =
            if self.ring.cached_slots() >= most { (frames.len(), most) } else { self.room_for(frames) };
        let Ok(mut chunk) = self.ring.write_chunk_uninit(wanted) else { return 0 };
        let mut writer = Writer::new(chunk.as_mut_slices());
        let frames = frames.get(..count).unwrap_or_default();
        let sent = self.widest.run(Writing { writer: &mut writer, frames, longest: self.max_frame });
        let written = writer.written();
        if sent != 0 {
            // SAFETY: a writer counts the lines it has written, which are the first.
            unsafe { chunk.commit(written) }
            burst.consume(sent);
        }
        sent
    }

    /// How many of the first frames there is room for, and the lines that is, if none has anything in common with another.
    #[cold]
    fn room_for(&self, frames: &[Frame]) -> (usize, usize) {
        let (mut count, mut wanted) = (0, 0);
        let mut room = self.ring.cached_slots();
        for frame in frames {
            let more = wanted + 1 + lines(frame.len());
            if more > room {
                room = self.ring.slots();
            }
            if more > room {
                break;
            }
            (count, wanted) = (count + 1, more);
        }
        (count, wanted)
    }
}

/// The receiving end of one ring.
#[derive(Debug)]
pub struct Receiver {
    ring: Consumer<Line>,
    widest: Widest,
    /// The run that the next frames are of. Its first line was taken.
    run: Run,
    /// Lines that were asked for.
    asked: usize,
}

impl Receiver {
    /// Nothing waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Nothing waited when it was last asked.
    #[inline]
    #[must_use]
    pub fn was_empty(&self) -> bool {
        self.ring.cached_slots() == 0
    }

    /// Lines that are known to wait; it is asked for anew if that are fewer than `max` frames may take.
    #[inline]
    fn waiting(&self, max: usize) -> usize {
        // Most frames take one, and some a run's first.
        match self.ring.cached_slots() {
            seen if seen >= max.saturating_add(max.div_ceil(run::RUN)) => seen,
            _ => self.ring.slots(),
        }
    }

    /// Asks for the lines of what is taken next, as many as are there.
    #[inline]
    pub fn fetch(&mut self) {
        let seen = self.waiting(AHEAD);
        if let Ok(chunk) = self.ring.read_chunk(seen) {
            let (first, second) = chunk.as_slices();
            ask(Row(first, second), &mut self.asked, seen.min(AHEAD));
        }
    }

    /// Takes waiting groups out until about `max` frames were delivered: the last group may go beyond it.
    /// Each frame is a copy in a buffer of `pool`. A group for which the pool has not enough free buffers
    /// stays in the ring, and so does all behind it. Gives the number of frames delivered.
    pub fn drain(&mut self, pool: &Pool, max: usize, mut deliver: impl FnMut(Handoff, Frame)) -> usize {
        let seen = self.waiting(max);
        let Ok(chunk) = self.ring.read_chunk(seen) else { return 0 };
        let (first, second) = chunk.as_slices();
        let row = Row(first, second);
        let (mut delivered, mut at) = (0, 0);
        loop {
            let mut run = self.run;
            let mut next = at;
            if run.left() == 0 {
                let Some(after) = row.run(at) else { break };
                (run, next) = (after, at + 1);
            }
            // A group is there whole, for it was published so.
            if run.how.index == 0 && (delivered >= max || !pool.has(usize::from(run.how.count))) {
                break;
            }
            let Some(mut frame) = pool.alloc() else { break };
            let len = run.len();
            if row.copy(next, &mut frame, len).is_none() {
                break;
            }
            frame.meta = run.meta;
            run.advance(1);
            (self.run, at) = (run, next + lines(len));
            delivered += 1;
            deliver(run.how, frame);
        }
        self.asked = self.asked.saturating_sub(at);
        chunk.commit(at);
        delivered
    }

    /// Takes up to `max` single packets out, as far as they fit into the burst: those in front of the first group of another
    /// kind. Else as [`Receiver::drain`].
    pub fn take_packets(&mut self, pool: &Pool, max: usize, burst: &mut Burst) -> usize {
        let max = max.min(burst.room());
        let seen = self.waiting(max);
        let Receiver { ring, widest, run, asked } = self;
        let Ok(chunk) = ring.read_chunk(seen) else { return 0 };
        let (first, second) = chunk.as_slices();
        let row = Row(first, second);
        let (before, mut at) = (burst.len(), 0);
        while burst.len() - before < max {
            if run.left() == 0 {
                let Some(next) = row.run(at).filter(Run::is_single) else { break };
                (*run, at) = (next, at + 1);
            }
            ask(row, asked, seen.min(at + AHEAD));
            let wanted = (max - (burst.len() - before)).min(run.left());
            let small = Small { row, at, run, wanted, pool, burst };
            let taken = match widest.run(small) {
                0 => take_any(row, &mut at, run, (pool, wanted), burst),
                taken => {
                    at += taken;
                    taken
                }
            };
            run.advance(taken);
            if taken == 0 {
                break;
            }
        }
        *asked = asked.saturating_sub(at);
        chunk.commit(at);
        burst.len() - before
    }
}

/// Asks for the lines of a row up to one, from the first on that was not asked for.
#[inline(always)]
fn ask(row: Row<'_>, asked: &mut usize, until: usize) {
    if let Some(next) = row.0.get(*asked..until.min(row.0.len())) {
        next.iter().for_each(prefetch);
    }
    // Those at the ring's other end come as they are read.
    *asked = until.max(*asked);
}

/// Copies small packets of a run, whose next line is at `at`, into frames. Gives how many; none if they are not small, or do not
/// lie in one piece.
struct Small<'a> {
    row: Row<'a>,
    at: usize,
    run: &'a Run,
    wanted: usize,
    pool: &'a Pool,
    burst: &'a mut Burst,
}

impl Work for Small<'_> {
    type Output = usize;

    #[inline(always)]
    fn run(self, _: impl Wide) -> usize {
        let Small { row, at, run, wanted, pool, burst } = self;
        if !run.small || pool.config().frame_size < LINE {
            return 0;
        }
        let lines = match at.checked_sub(row.0.len()) {
            None => row.0.get(at..at + wanted),
            Some(at) => row.1.get(at..at + wanted),
        };
        let Some(lines) = lines else { return 0 };
        let before = burst.len();
        pool.fill_all(wanted, lines.iter().zip(run.small_lens()), &run.meta, burst, |(line, len), data| {
            if let Some(octets) = data.first_chunk_mut() {
                line.copy_to(octets);
            }
            usize::from(*len)
        });
        burst.len() - before
    }
}

/// The same of any, and moves `at` on.
#[inline(never)]
fn take_any(row: Row<'_>, at: &mut usize, run: &Run, (pool, wanted): (&Pool, usize), burst: &mut Burst) -> usize {
    let start = burst.len();
    pool.alloc_all(wanted, 0, &run.meta, burst);
    if burst.len() == start {
        // A lender may have some that are not at hand.
        let Some(mut frame) = pool.alloc() else { return 0 };
        frame.meta = run.meta;
        let _ = burst.push(frame);
    }
    let (mut run, mut taken) = (*run, 0);
    let frames = burst.as_mut_slice().get_mut(start..).unwrap_or_default();
    let count = frames.len();
    for frame in frames {
        let len = run.len();
        if row.copy(*at, frame, len).is_none() {
            break;
        }
        run.advance(1);
        *at += lines(len);
        taken += 1;
    }
    for _ in taken..count {
        burst.pop();
    }
    taken
}

/// The ring ends of one worker, by peer. The entries of the worker itself are `None`.
#[derive(Debug)]
pub struct Links {
    /// The worker they belong to.
    pub me: ShardId,
    /// To each worker.
    pub to: Vec<Option<Sender>>,
    /// From each worker.
    pub from: Vec<Option<Receiver>>,
}

impl Links {
    /// The ring to `peer`; `None` for the worker itself and for one that does not exist.
    #[inline]
    pub fn sender(&mut self, peer: ShardId) -> Option<&mut Sender> {
        self.to.get_mut(peer.index())?.as_mut()
    }

    /// The rings that lead here, each with its sender.
    pub fn receivers(&mut self) -> impl Iterator<Item = (ShardId, &mut Receiver)> {
        self.from.iter_mut().enumerate().filter_map(|(i, r)| Some((ShardId(i as u8), r.as_mut()?)))
    }
}

/// Makes the rings between all ordered pairs of `workers`, and deals their ends out: entry `i` is worker `i`'s.
///
/// # Errors
/// When the number of workers or the size of the rings is out of bounds.
pub fn mesh(workers: usize, config: RingConfig) -> Result<Vec<Links>, MeshError> {
    if workers == 0 || workers > MAX_SHARDS {
        return Err(MeshError::Workers(workers));
    }
    let max_frame = config.pool.frame_size.min(MAX_FRAME);
    let least = (1 + lines(max_frame)) * LINE;
    if config.bytes < least || u32::try_from(config.bytes).is_err() {
        return Err(MeshError::RingBytes { bytes: config.bytes, least });
    }
    let widest = Widest::here();
    let max_group = (config.pool.buffers / 2).max(1);
    let mut links: Vec<Links> = (0..workers)
        .map(|me| Links { me: ShardId(me as u8), to: Vec::with_capacity(workers), from: Vec::new() })
        .collect();
    for to in 0..workers {
        let mut receivers = Vec::with_capacity(workers);
        for (from, sender) in links.iter_mut().enumerate() {
            if from == to {
                sender.to.push(None);
                receivers.push(None);
                continue;
            }
            let (ring, consumer) = RingBuffer::new(config.bytes / LINE);
            sender.to.push(Some(Sender { ring, widest, max_frame, max_group }));
            receivers.push(Some(Receiver { ring: consumer, widest, run: Run::DONE, asked: 0 }));
        }
        if let Some(receiver) = links.get_mut(to) {
            receiver.from = receivers;
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests;
