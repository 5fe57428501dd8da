//! Hand-off rings: one bounded single-producer single-consumer ring of octets per ordered pair of workers.
//!
//! A frame stays with the worker whose pool lent its buffer; its octets and what is known beside them are
//! copied into the ring and out of it into a buffer of the receiver's pool. Records have the length of
//! their frame, so a ring of a given size holds many small packets or a few super-frames. One send is
//! one group of one or more frames that arrive together or not at all; the receiver starts on a group only
//! when all of it is there.

use crate::frame::{Checksum, Frame, Gso, GsoKind, MAX_FRAME, Meta, Origin, Pool, PoolConfig};
use crate::net::{PortId, ShardId, ids::MAX_SHARDS};
use rtrb::{Consumer, Producer, RingBuffer};
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

/// Octets in front of a group: its length without these (4), frames (2), stage (1), unused (1).
const GROUP: usize = 8;
/// Octets in front of each frame of a group.
const RECORD: usize = 20;

const GSO_ECN: u8 = 0x80;

fn encode(frame: &Frame) -> [u8; RECORD] {
    let meta = &frame.meta;
    let (checksum, start, offset) = match meta.checksum {
        Checksum::Unknown => (0, 0, 0),
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
        Origin::Received => 0,
        Origin::Originated => 1,
    };
    let len = (frame.len() as u32).to_ne_bytes();
    let seq = meta.seq.to_ne_bytes();
    let [start, offset] = [start.to_ne_bytes(), offset.to_ne_bytes()];
    let [size, header_len] = [size.to_ne_bytes(), header_len.to_ne_bytes()];
    [
        len[0],
        len[1],
        len[2],
        len[3],
        seq[0],
        seq[1],
        seq[2],
        seq[3],
        meta.ingress.0,
        origin,
        checksum,
        gso,
        start[0],
        start[1],
        offset[0],
        offset[1],
        size[0],
        size[1],
        header_len[0],
        header_len[1],
    ]
}

/// The length of the frame and its meta data.
fn decode(record: [u8; RECORD]) -> (usize, Meta) {
    let [l0, l1, l2, l3, s0, s1, s2, s3, ingress, origin, checksum, gso, rest @ ..] = record;
    let [a0, a1, o0, o1, z0, z1, h0, h1] = rest;
    let kind = match gso & !GSO_ECN {
        1 => Some(GsoKind::Tcp4),
        2 => Some(GsoKind::Tcp6),
        3 => Some(GsoKind::UdpL4),
        _ => None,
    };
    let meta = Meta {
        checksum: match checksum {
            1 => Checksum::Verified,
            2 => Checksum::Partial { start: u16::from_ne_bytes([a0, a1]), offset: u16::from_ne_bytes([o0, o1]) },
            _ => Checksum::Unknown,
        },
        gso: kind.map(|kind| Gso {
            kind,
            ecn: gso & GSO_ECN != 0,
            size: u16::from_ne_bytes([z0, z1]),
            header_len: u16::from_ne_bytes([h0, h1]),
        }),
        ingress: PortId(ingress),
        origin: if origin == 1 { Origin::Originated } else { Origin::Received },
        // The receiver reads the headers anyway.
        family: None,
        seq: u32::from_ne_bytes([s0, s1, s2, s3]),
    };
    (u32::from_ne_bytes([l0, l1, l2, l3]) as usize, meta)
}

/// The sending end of one ring.
#[derive(Debug)]
pub struct Sender {
    ring: Producer<u8>,
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
        let body: usize = frames.iter().map(|f| RECORD + f.len()).sum();
        let [b0, b1, b2, b3] = u32::try_from(body).map_err(|_| Full)?.to_ne_bytes();
        let [c0, c1] = count.to_ne_bytes();
        // Asking for the slots first makes the pushes below certain to succeed: this is the only producer.
        if self.ring.cached_slots() < GROUP + body && self.ring.slots() < GROUP + body {
            return Err(Full);
        }
        self.push(&[b0, b1, b2, b3, c0, c1, stage as u8, 0])?;
        for frame in frames {
            self.push(&encode(frame))?;
            self.push(frame.data())?;
        }
        Ok(())
    }

    #[inline]
    fn push(&mut self, octets: &[u8]) -> Result<(), Full> {
        self.ring.push_entire_slice(octets).map_err(|_| Full)
    }
}

/// The receiving end of one ring.
#[derive(Debug)]
pub struct Receiver {
    ring: Consumer<u8>,
}

/// Copies `to.len()` octets, from `at` on, out of the two parts of a read.
fn copy_out((first, second): (&[u8], &[u8]), at: usize, to: &mut [u8]) {
    let in_first = first.len().saturating_sub(at).min(to.len());
    let (head, tail) = to.split_at_mut(in_first);
    if let Some(from) = first.get(at..at + in_first) {
        head.copy_from_slice(from);
    }
    let at = (at + in_first).saturating_sub(first.len());
    if let Some(from) = second.get(at..at + tail.len()) {
        tail.copy_from_slice(from);
    }
}

impl Receiver {
    /// Nothing waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Takes waiting groups out until about `max` frames were delivered: the last group may go beyond it.
    /// Each frame is a copy in a buffer of `pool`. A group for which the pool has not enough free buffers
    /// stays in the ring, and so does all behind it. Gives the number of frames delivered.
    pub fn drain(&mut self, pool: &Pool, max: usize, mut deliver: impl FnMut(Handoff, Frame)) -> usize {
        let mut delivered = 0;
        while delivered < max {
            let Some(frames) = self.group(pool, &mut deliver) else { break };
            delivered += frames;
        }
        delivered
    }

    /// One group; `None` if there is no complete one or no room for it.
    fn group(&mut self, pool: &Pool, deliver: &mut impl FnMut(Handoff, Frame)) -> Option<usize> {
        let mut header = [0; GROUP];
        copy_out(self.ring.read_chunk(GROUP).ok()?.as_slices(), 0, &mut header);
        let [b0, b1, b2, b3, c0, c1, stage, _] = header;
        let body = u32::from_ne_bytes([b0, b1, b2, b3]) as usize;
        let count = u16::from_ne_bytes([c0, c1]);
        if !pool.has(usize::from(count)) {
            return None;
        }
        // Too few: the sender is still writing the group.
        let chunk = self.ring.read_chunk(GROUP + body).ok()?;
        let octets = chunk.as_slices();
        let stage = Stage::from_octet(stage)?;
        let mut at = GROUP;
        for index in 0..count {
            let mut record = [0; RECORD];
            copy_out(octets, at, &mut record);
            let (len, meta) = decode(record);
            at += RECORD;
            let mut frame = pool.alloc()?;
            frame.set_len(len);
            frame.meta = meta;
            copy_out(octets, at, frame.data_mut());
            at += len;
            deliver(Handoff { stage, count, index }, frame);
        }
        chunk.commit_all();
        Some(usize::from(count))
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
    let least = GROUP + RECORD + max_frame;
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
            let (producer, consumer) = RingBuffer::new(config.bytes);
            sender.to.push(Some(Sender { ring: producer, max_frame, max_group }));
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
