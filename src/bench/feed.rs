//! The other ends of a worker's ports: a source that hands out prepared frames, and a sink that adds up what came out.

use super::packet::{DigestAll, MAX_PREPARED, Transport, Way, digest, forwarded, write};
use crate::driver::memory::bench::{Received, Sink, Source};
use crate::frame::{Burst, Checksum, Frame, HeaderSum, Meta, Pool, Survey};
use crate::net::wide::{Wide, Widest, Work};
use crate::net::{PortId, Tuple, prefetch_nth};
use crossbeam_channel::Receiver;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// One cache line of a prepared frame.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub struct Line(pub [u8; 64]);

/// Prepared frames of one port, in the order and the bursts in which its device hands them over.
#[derive(Debug, Default)]
pub struct Stream {
    lines: Vec<Line>,
    lens: Vec<u16>,
    bursts: Vec<u8>,
    /// By burst: the length of each of its frames, or 0 if they differ.
    same: Vec<u16>,
    /// Frames since the last burst ended.
    open: u8,
}

impl Stream {
    fn clear(&mut self) {
        self.lines.clear();
        self.lens.clear();
        self.bursts.clear();
        self.same.clear();
        self.open = 0;
    }

    /// Ends the burst of the frames added since the one before.
    fn end_burst(&mut self) {
        let size = std::mem::take(&mut self.open);
        let lens = self.lens.get(self.lens.len() - usize::from(size)..).unwrap_or_default();
        let first = lens.first().copied().unwrap_or_default();
        self.same.push(if lens.iter().all(|len| *len == first) { first } else { 0 });
        self.bursts.push(size);
    }

    /// Frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lens.len()
    }

    /// No frames.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lens.is_empty()
    }

    /// Some frames from the `at`-th on, of `per` lines each: their lines and lengths.
    #[must_use]
    pub fn part(&self, at: usize, count: usize, per: usize) -> (&[Line], &[u16]) {
        let lines = self.lines.get(at * per..(at + count) * per).unwrap_or_default();
        (lines, self.lens.get(at..at + count).unwrap_or_default())
    }

    /// Sizes of the bursts.
    #[must_use]
    pub fn bursts(&self) -> &[u8] {
        &self.bursts
    }

    /// The prepared octets of each frame, with its length.
    pub fn frames(&self) -> impl Iterator<Item = ([u8; MAX_PREPARED], usize)> {
        let per = self.lines.len().checked_div(self.lens.len()).unwrap_or(1).max(1);
        self.lines.chunks(per).zip(&self.lens).map(|(lines, len)| {
            let mut octets = [0; MAX_PREPARED];
            for (to, from) in octets.chunks_exact_mut(64).zip(lines) {
                to.copy_from_slice(&from.0);
            }
            (octets, usize::from(*len))
        })
    }
}

/// Prepared frames for both ports, to be run through in one go.
#[derive(Debug)]
pub struct Chunk {
    streams: [Stream; 2],
    /// Cache lines prepared and copied of each frame: 1 or 2.
    lines: usize,
    /// What the ports say of the transport checksums.
    checksum: Checksum,
    /// Link addresses of frames that come in by each port.
    ways: [Way; 2],
    /// Sum of the digests of what should come out.
    digest: u64,
}

impl Chunk {
    /// An empty one.
    #[must_use]
    pub fn new(lines: usize, checksum: Checksum, ways: [Way; 2]) -> Chunk {
        Chunk { streams: Default::default(), lines: lines.clamp(1, 2), checksum, ways, digest: 0 }
    }

    /// Makes it empty.
    pub fn clear(&mut self) {
        self.streams.iter_mut().for_each(Stream::clear);
        self.digest = 0;
    }

    /// Link addresses of frames that come in by a port.
    #[must_use]
    pub fn way(&self, port: usize) -> Option<Way> {
        self.ways.get(port).copied()
    }

    /// Cache lines prepared of each frame.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.lines
    }

    /// The frames that come in by each port.
    #[must_use]
    pub fn streams(&self) -> &[Stream; 2] {
        &self.streams
    }

    /// Frames of both ports.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.streams.iter().map(Stream::len).sum()
    }

    /// Octets of memory it has.
    #[must_use]
    pub fn octets(&self) -> u64 {
        let of = |s: &Stream| {
            s.lines.capacity() * size_of::<Line>() + 2 * (s.lens.capacity() + s.same.capacity()) + s.bursts.capacity()
        };
        self.streams.iter().map(of).sum::<usize>() as u64
    }

    /// Sum of the digests of what should come out.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// What should come out, frame by frame, cut to the prepared octets.
    #[must_use]
    pub fn expected(&self) -> Vec<Vec<u8>> {
        let mut all = Vec::with_capacity(self.frames());
        for (stream, way) in self.streams.iter().zip(&self.ways) {
            for (mut octets, _) in stream.frames() {
                let len = forwarded(&mut octets, way);
                all.push(seen(octets.get(..len).unwrap_or(&octets), len));
            }
        }
        all
    }

    /// Adds a packet that comes in by port `port`, 0 or 1, and should go out of the other.
    pub fn push(&mut self, port: usize, tuple: &Tuple, transport: Transport) {
        let Some(way) = self.ways.get(port) else { return };
        let mut octets = [0; MAX_PREPARED];
        let len = write(&mut octets, way, tuple, transport);
        self.push_frame(port, octets, len);
    }

    /// Adds a frame of `len` octets that begins with `octets` and ends with zeros.
    pub fn push_frame(&mut self, port: usize, mut octets: [u8; MAX_PREPARED], len: usize) {
        let (Some(way), Some(stream)) = (self.ways.get(port), self.streams.get_mut(port)) else { return };
        for lines in octets.chunks_exact(64).take(self.lines) {
            let mut line = Line([0; 64]);
            line.0.copy_from_slice(lines);
            stream.lines.push(line);
        }
        stream.lens.push(len as u16);
        stream.open += 1;
        let len = forwarded(&mut octets, way);
        let out = digest(octets.get(..len).unwrap_or(&octets));
        // The digest's length is the frame's.
        self.digest = self.digest.wrapping_add(out).wrapping_add(len.saturating_sub(MAX_PREPARED) as u64);
    }

    /// Whether the bursts of a port end in front of this one.
    fn has_no_burst(&self, port: usize, number: usize) -> bool {
        self.streams.get(port).is_none_or(|stream| number >= stream.bursts.len())
    }

    /// Ends the burst of both ports: what was added since goes to the worker in one turn.
    pub fn end_burst(&mut self) {
        self.streams.iter_mut().for_each(Stream::end_burst);
    }
}

/// The prepared octets of a frame, and its length.
fn seen(frame: &[u8], len: usize) -> Vec<u8> {
    let mut octets = frame.get(..MAX_PREPARED).unwrap_or(frame).to_vec();
    octets.extend((len as u32).to_be_bytes());
    octets
}

/// Hands out the stream of one port of the chunks it is sent.
pub struct Feed {
    port: usize,
    widest: Widest,
    chunks: Receiver<Arc<Chunk>>,
    now: Option<Arc<Chunk>>,
    frame: usize,
    burst: usize,
    /// Frames of this burst that were handed over; a dry pool leaves the others.
    done: usize,
}

impl Feed {
    /// The source of port `port`.
    #[must_use]
    pub fn new(port: usize, chunks: Receiver<Arc<Chunk>>) -> Feed {
        Feed { port, widest: Widest::here(), chunks, now: None, frame: 0, burst: 0, done: 0 }
    }

    /// Gets the next chunk, if there is one.
    #[cold]
    fn refill(&mut self) {
        self.now = self.chunks.try_recv().ok();
        (self.frame, self.burst, self.done) = (0, 0, 0);
    }
}

/// Copies frames of `N` prepared lines each into buffers, and fetches the lines of the burst after them.
struct HandOut<'a, const N: usize> {
    lens: &'a [u16],
    /// The length of each, or 0 if they differ.
    same: u16,
    frames: &'a [[Line; N]],
    meta: Meta,
    pool: &'a Pool,
    burst: &'a mut Burst,
}

impl<const N: usize> Work for HandOut<'_, N> {
    type Output = Received;

    #[inline(always)]
    fn run(self, wide: impl Wide) -> Received {
        let HandOut { lens, same, frames, meta, pool, burst } = self;
        let (before, count) = (burst.len(), lens.len());
        let copy = |from: &[Line; N], data: &mut [u8]| {
            for (line, from) in from.iter().enumerate() {
                if let Some(to) = data.get_mut(line * 64..(line + 1) * 64) {
                    to.copy_from_slice(&from.0);
                }
            }
            // A NIC's writes are in the cache when the worker looks; so what is copied next comes ahead of time.
            (0..N).for_each(|line| prefetch_nth(from, count * N + line));
        };
        let mut bytes = 0;
        if same != 0 {
            let frames = frames.get(..count).unwrap_or_default();
            pool.fill_alike(wide, (usize::from(same), &meta), frames, burst, copy);
            bytes = (burst.len() - before) as u64 * u64::from(same);
        } else {
            pool.fill_all(count, lens.iter().zip(frames), &meta, burst, |(len, from), data| {
                copy(from, data);
                bytes += u64::from(*len);
                usize::from(*len)
            });
        }
        let got = burst.len() - before;
        Received { frames: got, bytes, nobuf: got < count }
    }
}

impl Source for Feed {
    #[inline]
    fn receive(&mut self, ingress: PortId, pool: &Pool, burst: &mut Burst) -> Received {
        if self.now.as_ref().is_none_or(|chunk| chunk.has_no_burst(self.port, self.burst)) {
            self.refill();
        }
        let Some(chunk) = &self.now else { return Received::default() };
        let Some(stream) = chunk.streams.get(self.port) else { return Received::default() };
        let of = (stream.bursts.get(self.burst), stream.same.get(self.burst));
        let (Some(size), Some(same)) = of else { return Received::default() };
        let take = (usize::from(*size) - self.done).min(burst.room());
        let (lens, same) = (stream.lens.get(self.frame..self.frame + take).unwrap_or_default(), *same);
        let lines = stream.lines.get(self.frame * chunk.lines..).unwrap_or_default();
        // A device that verifies the one verifies the other.
        let header = if chunk.checksum == Checksum::Verified { HeaderSum::Verified } else { HeaderSum::Unknown };
        let meta = Meta { ingress, header, checksum: chunk.checksum, ..Meta::default() };
        let got = match chunk.lines {
            1 => self.widest.run(HandOut::<1> { lens, same, frames: lines.as_chunks().0, meta, pool, burst }),
            _ => self.widest.run(HandOut::<2> { lens, same, frames: lines.as_chunks().0, meta, pool, burst }),
        };
        self.frame += got.frames;
        self.done += got.frames;
        if self.done == usize::from(*size) {
            (self.burst, self.done) = (self.burst + 1, 0);
        }
        got
    }
}

/// What came out of a worker's ports.
#[derive(Debug, Default)]
pub struct Tally {
    digest: AtomicU64,
    frames: AtomicU64,
    keep: AtomicBool,
    kept: Mutex<Vec<Vec<u8>>>,
}

impl Tally {
    /// Frames since the last call of [`Tally::take`].
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Frames and the sum of their digests since the last call.
    pub fn take(&self) -> (u64, u64) {
        (self.frames.swap(0, Ordering::Relaxed), self.digest.swap(0, Ordering::Relaxed))
    }

    /// Keeps what comes out from now on, cut to the prepared octets.
    pub fn keep(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }

    /// What was kept; nothing is kept any more.
    pub fn kept(&self) -> Vec<Vec<u8>> {
        self.keep.store(false, Ordering::Relaxed);
        std::mem::take(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, widest: Widest, sent: &Survey<'_>) {
        let frames = sent.frames();
        // One thread adds, so plain loads and stores do.
        let sum = widest.run(DigestAll(sent));
        self.digest.store(self.digest.load(Ordering::Relaxed).wrapping_add(sum), Ordering::Relaxed);
        self.frames.store(self.frames.load(Ordering::Relaxed) + frames.len() as u64, Ordering::Relaxed);
        if self.keep.load(Ordering::Relaxed) {
            self.keep_all(frames);
        }
    }

    #[cold]
    fn keep_all(&self, frames: &[Frame]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(frames.iter().map(|frame| seen(frame.data(), frame.len())));
    }

    /// A port's sink.
    #[must_use]
    pub fn sink(self: &Arc<Tally>) -> Sink {
        let tally = Arc::clone(self);
        let widest = Widest::here();
        Box::new(move |sent| tally.note(widest, sent))
    }
}
