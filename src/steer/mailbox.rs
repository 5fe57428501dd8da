//! Hand-off rings: one bounded single-producer single-consumer ring of half cache lines per ordered pair of workers.
//!
//! A frame stays with the worker whose pool lent its buffer; its octets and what is known beside them are
//! copied into the ring and out of it into a buffer of the receiver's pool. A record takes as many of them as its
//! frame needs, so a ring of a given size holds many small packets or a few super-frames. One send is
//! one group of one or more frames that arrive together or not at all; the receiver starts on a group only
//! when all of it is there.
//!
//! What both ends write, the ring's indices, costs a line's way between two cores each time it changes hands. So packets are
//! sent by the burst, and a receiver looks at the sender's index once for many.

use crate::frame::{Burst, Checksum, Frame, Gso, GsoKind, HeaderSum, MAX_FRAME, Meta, Origin, Pool, PoolConfig};
use crate::net::{PortId, ShardId, ids::MAX_SHARDS};
use rtrb::{Consumer, Producer, RingBuffer};
use std::fmt;
use std::mem::MaybeUninit;

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

/// Octets of a cell. The first one of a record has the frame's length, its meta data and its place in its group, the others its
/// octets.
const CELL: usize = 32;

/// Octets of a small frame, at most, and the fewest that take as many cells. Nearly all are such, or long.
const SMALL: usize = 2 * CELL;
const SMALLEST: usize = CELL + 1;

/// Buffers that a receiver takes together.
const GROUP: usize = 16;

/// What the ring consists of, moved as a whole: octets that are written one by one are read slowly as more.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
struct Cell([u64; CELL / 8]);

impl Cell {
    #[inline(always)]
    fn of(octets: &[u8; CELL]) -> Cell {
        // SAFETY: as many octets, of which any are words.
        unsafe { octets.as_ptr().cast::<Cell>().read_unaligned() }
    }

    #[inline(always)]
    fn copy_to(&self, octets: &mut [u8; CELL]) {
        // SAFETY: as many octets, and any will do.
        unsafe { octets.as_mut_ptr().cast::<Cell>().write_unaligned(*self) }
    }
}

/// Cells that a frame of `len` octets takes.
#[inline(always)]
const fn cells(len: usize) -> usize {
    1 + len.div_ceil(CELL)
}

#[inline(always)]
fn is_small(len: usize) -> bool {
    (SMALLEST..=SMALL).contains(&len)
}

impl Cell {
    /// Of two first cells: whether all that they say is the same, but for the lengths of their frames.
    #[inline(always)]
    fn is_like(&self, other: &Cell) -> bool {
        let [a, b, c, d] = self.0;
        let [e, f, g, h] = other.0;
        ((a ^ e) >> 32) | (b ^ f) | (c ^ g) | (d ^ h) == 0
    }
}

const GSO_ECN: u8 = 0x80;

/// Beside what is known of the transport checksum.
const HEADER_VERIFIED: u8 = 0x80;

/// The first cell of a frame's record.
#[inline(always)]
fn head(frame: &Frame, how: Handoff) -> Cell {
    let meta = &frame.meta;
    let (checksum, start, offset) = match meta.checksum {
        Checksum::Unknown => (0u8, 0, 0),
        Checksum::Verified => (1, 0, 0),
        Checksum::Partial { start, offset } => (2, start, offset),
    };
    let (gso, size, header_len) = match meta.gso {
        None => (0, 0, 0),
        Some(gso) => {
            let kind = match gso.kind {
                GsoKind::Tcp4 => 1,
                GsoKind::Tcp6 => 2,
                GsoKind::UdpL4 => 3,
            };
            (kind | if gso.ecn { GSO_ECN } else { 0 }, gso.size, gso.header_len)
        }
    };
    let origin = match meta.origin {
        Origin::Received => 0u8,
        Origin::Originated => 1,
    };
    let header = if meta.header == HeaderSum::Verified { HEADER_VERIFIED } else { 0 };
    let flags = u32::from_le_bytes([meta.ingress.0, origin, checksum | header, gso]);
    Cell([
        frame.len() as u64 | u64::from(meta.seq) << 32,
        u64::from(flags) | u64::from(start) << 32 | u64::from(offset) << 48,
        u64::from(size) | u64::from(header_len) << 16 | u64::from(how.count) << 32 | u64::from(how.index) << 48,
        how.stage as u64,
    ])
}

/// What the first cell of a record says: the frame's place in its group, its length, its meta data.
#[inline]
fn read_head(cell: &Cell) -> Option<(Handoff, usize, Meta)> {
    let [first, second, third, stage] = cell.0;
    let [ingress, origin, checksum, gso] = (second as u32).to_le_bytes();
    let kind = match gso & !GSO_ECN {
        1 => Some(GsoKind::Tcp4),
        2 => Some(GsoKind::Tcp6),
        3 => Some(GsoKind::UdpL4),
        _ => None,
    };
    let meta = Meta {
        header: if checksum & HEADER_VERIFIED == 0 { HeaderSum::Unknown } else { HeaderSum::Verified },
        checksum: match checksum & !HEADER_VERIFIED {
            1 => Checksum::Verified,
            2 => Checksum::Partial { start: (second >> 32) as u16, offset: (second >> 48) as u16 },
            _ => Checksum::Unknown,
        },
        gso: kind.map(|kind| Gso {
            kind,
            ecn: gso & GSO_ECN != 0,
            size: third as u16,
            header_len: (third >> 16) as u16,
        }),
        ingress: PortId(ingress),
        origin: if origin == 1 { Origin::Originated } else { Origin::Received },
        // The receiver reads the headers anyway.
        family: None,
        seq: (first >> 32) as u32,
    };
    let stage = Stage::from_octet(stage as u8)?;
    let how = Handoff { stage, count: (third >> 32) as u16, index: (third >> 48) as u16 };
    Some((how, first as u32 as usize, meta))
}

/// The first cell of a single packet's record, with the packet's meta data.
#[inline]
fn single(cell: &Cell) -> Option<(Cell, Meta)> {
    let (how, _, meta) = read_head(cell)?;
    (how.stage == Stage::Packet && how.count == 1).then_some((*cell, meta))
}

/// Records that are written into a part of the ring, which may go round its end.
struct Writer<'a> {
    parts: [&'a mut [MaybeUninit<Cell>]; 2],
    /// Cells that are written: the first ones.
    at: usize,
}

impl Writer<'_> {
    #[inline(always)]
    fn put(&mut self, cell: Cell) {
        let [first, second] = &mut self.parts;
        let place = match first.get_mut(self.at) {
            Some(place) => Some(place),
            None => second.get_mut(self.at - first.len()),
        };
        if let Some(place) = place {
            place.write(cell);
            self.at += 1;
        }
    }

    #[inline(always)]
    fn put_all(&mut self, cells: &[[u8; CELL]]) {
        let [first, _] = &mut self.parts;
        if let Some(to) = first.get_mut(self.at..self.at + cells.len()) {
            // SAFETY: as many octets, apart from each other, and any of them are words.
            unsafe { std::ptr::copy_nonoverlapping(cells.as_ptr(), to.as_mut_ptr().cast(), cells.len()) }
            self.at += cells.len();
        } else {
            cells.iter().for_each(|cell| self.put(Cell::of(cell)));
        }
    }

    /// Writes a frame's record. What is behind the data in its buffer may come into view.
    #[inline(always)]
    fn write(&mut self, frame: &mut Frame) {
        let len = frame.len();
        let single = Handoff { stage: Stage::Packet, count: 1, index: 0 };
        if is_small(len) && self.write_small(frame, single) {
            return;
        }
        frame.set_len(len);
        self.write_whole(frame, single);
    }

    /// Whole cells where the buffer has room for them.
    #[inline(never)]
    fn write_whole(&mut self, frame: &mut Frame, how: Handoff) {
        let (head, len) = (head(frame, how), frame.len());
        frame.set_len(len.next_multiple_of(CELL));
        if let (whole, []) = frame.data().as_chunks() {
            self.put(head);
            self.put_all(whole);
        } else {
            frame.set_len(len);
            self.write_any(frame, how);
        }
    }

    /// Both cells are copied whole, for fewer octets would be copied one by one.
    #[inline(always)]
    fn write_small(&mut self, frame: &mut Frame, how: Handoff) -> bool {
        let Some([first, second, third]) = self.parts[0].get_mut(self.at..).and_then(|rest| rest.first_chunk_mut())
        else {
            return false;
        };
        let head = head(frame, how);
        frame.set_len(SMALL);
        let Some(octets) = frame.data().first_chunk::<SMALL>() else { return false };
        let ([one, two], _) = octets.as_chunks() else { return false };
        first.write(head);
        second.write(Cell::of(one));
        third.write(Cell::of(two));
        self.at += 3;
        true
    }

    #[inline(never)]
    fn write_any(&mut self, frame: &Frame, how: Handoff) {
        self.put(head(frame, how));
        let (whole, rest) = frame.data().as_chunks();
        self.put_all(whole);
        if !rest.is_empty() {
            let mut octets = [0; CELL];
            if let Some(to) = octets.get_mut(..rest.len()) {
                to.copy_from_slice(rest);
            }
            self.put(Cell::of(&octets));
        }
    }
}

/// The sending end of one ring.
#[derive(Debug)]
pub struct Sender {
    ring: Producer<Cell>,
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
        let wanted: usize = frames.iter().map(|f| cells(f.len())).sum();
        let mut chunk = self.ring.write_chunk_uninit(wanted).map_err(|_| Full)?;
        let (first, second) = chunk.as_mut_slices();
        let mut writer = Writer { parts: [first, second], at: 0 };
        for (index, frame) in (0..count).zip(frames) {
            writer.write_any(frame, Handoff { stage, count, index });
        }
        let written = writer.at;
        // All of them are there for the receiver at once.
        // SAFETY: a writer counts the cells it has written, which are the first.
        unsafe { chunk.commit(written) }
        Ok(())
    }

    /// Sends single packets from the front of a burst, up to the first that there is no room for, or never is. Those sent are
    /// taken out and return to their pool. Gives how many that were.
    pub fn send_packets(&mut self, burst: &mut Burst) -> usize {
        let frames = burst.as_mut_slice();
        let (mut count, mut wanted) = (0, 0);
        let mut room = self.ring.cached_slots();
        for frame in frames.iter() {
            let more = wanted + cells(frame.len());
            if more > room {
                room = self.ring.slots();
            }
            if more > room || frame.len() > self.max_frame {
                break;
            }
            (count, wanted) = (count + 1, more);
        }
        if count == 0 {
            return 0;
        }
        let Ok(mut chunk) = self.ring.write_chunk_uninit(wanted) else { return 0 };
        let (first, second) = chunk.as_mut_slices();
        let mut writer = Writer { parts: [first, second], at: 0 };
        for frame in frames.iter_mut().take(count) {
            writer.write(frame);
        }
        let written = writer.at;
        // SAFETY: a writer counts the cells it has written, which are the first.
        unsafe { chunk.commit(written) }
        burst.consume(count);
        count
    }
}

/// The receiving end of one ring.
#[derive(Debug)]
pub struct Receiver {
    ring: Consumer<Cell>,
}

/// Both parts of a read as one row.
#[derive(Clone, Copy)]
struct Row<'a>(&'a [Cell], &'a [Cell]);

impl<'a> Row<'a> {
    #[inline(always)]
    fn get(&self, at: usize) -> Option<&'a Cell> {
        match self.0.get(at) {
            Some(cell) => Some(cell),
            None => self.1.get(at - self.0.len()),
        }
    }

    /// Copies the single packet whose record begins at `at` into a frame, which has the meta data of the first cell `mould`. Gives
    /// where the next record begins. `None`: there is none, or it is not a single packet.
    #[inline(always)]
    fn take(&self, at: usize, mould: &Cell, frame: &mut Frame) -> Option<usize> {
        let head = self.0.get(at).filter(|head| head.is_like(mould));
        let Some(len) = head.map(|head| head.0[0] as u32 as usize) else { return self.take_any(at, frame) };
        if is_small(len)
            && let Some([one, two]) = self.0.get(at + 1..).and_then(|rest| rest.first_chunk())
            && let Some(octets) = frame.data_mut().first_chunk_mut::<SMALL>()
            && let ([first, second], _) = octets.as_chunks_mut()
        {
            one.copy_to(first);
            two.copy_to(second);
            frame.set_len(len);
        } else {
            self.take_long(at, frame, len)?;
        }
        Some(at + cells(len))
    }

    /// A function of its own, so that small ones keep their registers.
    #[inline(never)]
    fn take_long(&self, at: usize, frame: &mut Frame, len: usize) -> Option<()> {
        self.copy(at, frame, len)
    }

    #[inline(never)]
    fn take_any(&self, at: usize, frame: &mut Frame) -> Option<usize> {
        let head = self.get(at)?;
        let (_, meta) = single(head)?;
        let len = head.0[0] as u32 as usize;
        self.copy(at, frame, len)?;
        frame.meta = meta;
        Some(at + cells(len))
    }

    /// Copies the frame of `len` octets whose record begins at `at`.
    #[inline(always)]
    fn copy(&self, at: usize, frame: &mut Frame, len: usize) -> Option<()> {
        let count = cells(len) - 1;
        // Whole cells where the buffer has room for them.
        frame.set_len(count * CELL);
        if frame.len() != count * CELL {
            frame.set_len(len);
        }
        let (whole, rest) = frame.data_mut().as_chunks_mut::<CELL>();
        let mut at = at + 1;
        if let Some(cells) = self.0.get(at..at + whole.len()) {
            // SAFETY: as many octets, apart from each other, and any will do.
            unsafe { std::ptr::copy_nonoverlapping(cells.as_ptr().cast(), whole.as_mut_ptr(), whole.len()) }
            at += whole.len();
        } else {
            for to in whole {
                self.get(at)?.copy_to(to);
                at += 1;
            }
        }
        if !rest.is_empty() {
            let mut octets = [0; CELL];
            self.get(at)?.copy_to(&mut octets);
            rest.copy_from_slice(octets.get(..rest.len())?);
        }
        frame.set_len(len);
        Some(())
    }
}

impl Receiver {
    /// Nothing waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Cells that are known to wait; it is asked for anew if that are fewer than `max` frames may take.
    #[inline]
    fn waiting(&self, max: usize) -> usize {
        // Most frames take three cells.
        match self.ring.cached_slots() {
            seen if seen / 3 >= max => seen,
            _ => self.ring.slots(),
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
        while let Some((how, len, meta)) = row.get(at).and_then(read_head) {
            // A group is there whole, for it was published so.
            if how.index == 0 && (delivered >= max || !pool.has(usize::from(how.count))) {
                break;
            }
            let Some(mut frame) = pool.alloc() else { break };
            if row.copy(at, &mut frame, len).is_none() {
                break;
            }
            frame.meta = meta;
            at += cells(len);
            delivered += 1;
            deliver(how, frame);
        }
        chunk.commit(at);
        delivered
    }

    /// Takes up to `max` single packets out, as far as they fit into the burst: those in front of the first group of another
    /// kind. Else as [`Receiver::drain`].
    pub fn take_packets(&mut self, pool: &Pool, max: usize, burst: &mut Burst) -> usize {
        let max = max.min(burst.room());
        let seen = self.waiting(max);
        let Ok(chunk) = self.ring.read_chunk(seen) else { return 0 };
        let (first, second) = chunk.as_slices();
        let row = Row(first, second);
        let (before, mut at) = (burst.len(), 0);
        loop {
            let start = burst.len();
            // A packet takes at least two cells.
            let wanted = (max - (start - before)).min(GROUP).min((seen - at).div_ceil(2));
            let Some((mould, meta)) = row.get(at).and_then(single).filter(|_| wanted != 0) else { break };
            pool.alloc_all(wanted, SMALL, &meta, burst);
            if burst.len() == start {
                // A lender may have some that are not at hand.
                let Some(mut frame) = pool.alloc() else { break };
                frame.meta = meta;
                let _ = burst.push(frame);
            }
            let frames = burst.as_mut_slice().get_mut(start..).unwrap_or_default();
            let mut surplus = frames.len();
            for frame in frames {
                let Some(next) = row.take(at, &mould, frame) else { break };
                at = next;
                surplus -= 1;
            }
            let done = surplus == 0;
            for _ in 0..surplus {
                burst.pop();
            }
            if !done {
                break;
            }
        }
        chunk.commit(at);
        burst.len() - before
    }
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
    let least = cells(max_frame) * CELL;
    if config.bytes < least || u32::try_from(config.bytes).is_err() {
        return Err(MeshError::RingBytes { bytes: config.bytes, least });
    }
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
            let (ring, consumer) = RingBuffer::new(config.bytes / CELL);
            sender.to.push(Some(Sender { ring, max_frame, max_group }));
            receivers.push(Some(Receiver { ring: consumer }));
        }
        if let Some(receiver) = links.get_mut(to) {
            receiver.from = receivers;
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests;
