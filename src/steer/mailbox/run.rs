//! What a ring consists of: lines, of which some say what the frames behind them are.
//!
//! A *run* is a first line and then frames that differ in their octets and lengths only: up to [`SMALL`] of up to 64 octets, or up to
//! [`RUN`] of any length. Each begins on a line of its own, so that a small one is moved as a whole, and by one line's way from
//! one core to the other.

use super::{Handoff, Stage};
use crate::frame::{Checksum, Frame, Gso, GsoKind, HeaderSum, Meta, Origin};
use crate::net::wide::{Wide, Work};
use crate::net::{PortId, in_one, prefetch_to_write};
use std::mem::MaybeUninit;

/// Octets of a line.
pub(super) const LINE: usize = 64;

/// Frames of a run, at most, and of one of which none has more than a line.
pub(super) const RUN: usize = 16;
const SMALL: usize = 2 * RUN;

/// Lines ahead of the one that is written that are asked for: as many as the burst after this one takes.
const AHEAD: usize = 66;

/// Moved as a whole: octets that are written one by one are read slowly as more.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct Line([u64; LINE / 8]);

impl Line {
    #[inline(always)]
    fn of(octets: &[u8; LINE]) -> Line {
        // SAFETY: as many octets, of which any are words.
        unsafe { octets.as_ptr().cast::<Line>().read_unaligned() }
    }

    /// The octets of the lengths in a run's first line.
    #[inline(always)]
    fn lens(&mut self) -> &mut [u8] {
        // SAFETY: words are octets.
        self.0.get_mut(WORDS..).map_or(&mut [], |words| unsafe { words.align_to_mut().1 })
    }

    #[inline(always)]
    pub(super) fn copy_to(&self, octets: &mut [u8; LINE]) {
        // SAFETY: as many octets, and any will do.
        unsafe { octets.as_mut_ptr().cast::<Line>().write_unaligned(*self) }
    }
}

/// Lines that a frame of `len` octets takes, beside its run's first.
#[inline(always)]
pub(super) const fn lines(len: usize) -> usize {
    if len == 0 { 1 } else { len.div_ceil(LINE) }
}

/// What the frames of a run have in common, and their lengths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// What is to be done with them. Of single packets the index is 0 and the count 1, of a group's frame it is its own: that is a
    /// run for itself.
    pub(super) how: Handoff,
    pub(super) meta: Meta,
    /// The length of each, if all are small; else two octets of it, little-endian, and the bit above them.
    lens: [u8; SMALL],
    tall: u16,
    /// No frame has more than one line.
    pub(super) small: bool,
    count: usize,
    /// Frames that were taken.
    next: usize,
}

/// Words in front of the lengths in a run's first line, and the one that has the count.
const WORDS: usize = 4;
const COUNTED: usize = 3;

const GSO_ECN: u8 = 0x80;

/// Beside what is known of the transport checksum.
const HEADER_VERIFIED: u8 = 0x80;

impl Run {
    /// Of no frame.
    pub(super) const DONE: Run = Run {
        how: SINGLE,
        meta: Meta {
            gso: None,
            ingress: PortId(0),
            header: HeaderSum::Unknown,
            checksum: Checksum::Unknown,
            origin: Origin::Received,
            family: None,
            seq: 0,
        },
        lens: [0; SMALL],
        tall: 0,
        small: false,
        count: 0,
        next: 0,
    };

    /// Of frames with that meta data, without any yet.
    #[inline(always)]
    fn new(how: Handoff, meta: Meta) -> Run {
        Run { how, meta, ..Run::DONE }
    }

    /// Adds a frame of any length.
    #[inline(always)]
    fn add(&mut self, len: usize) {
        let (places, _) = self.lens.as_chunks_mut();
        if let Some(place) = places.get_mut(self.count) {
            *place = (len as u16).to_le_bytes();
            self.tall |= ((len >> 16 & 1) << self.count) as u16;
            self.count += 1;
        }
    }

    /// Frames that were not taken yet.
    #[inline(always)]
    pub(super) fn left(&self) -> usize {
        self.count - self.next
    }

    /// Length of the next one.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        if self.small {
            return self.lens.get(self.next).map_or(0, |len| usize::from(*len));
        }
        let (lens, _) = self.lens.as_chunks();
        let low = lens.get(self.next).map_or(0, |len| u16::from_le_bytes(*len));
        usize::from(low) | usize::from(self.tall >> self.next & 1) << 16
    }

    /// Lengths of those that were not taken yet, if all are small.
    #[inline(always)]
    pub(super) fn small_lens(&self) -> &[u8] {
        self.lens.get(self.next..self.count).unwrap_or_default()
    }

    /// Some were taken.
    #[inline(always)]
    pub(super) fn advance(&mut self, by: usize) {
        self.next = (self.next + by).min(self.count);
    }

    /// Single packets: not a group's frame, and nothing else than to be judged.
    #[inline(always)]
    pub(super) fn is_single(&self) -> bool {
        self.how == SINGLE
    }

    /// The word of its first line in which its frames are counted.
    #[inline(always)]
    fn counted(&self) -> u64 {
        self.how.stage as u64 | (self.count as u64) << 8 | u64::from(self.small) << 16
    }

    /// Its first line.
    #[inline]
    fn write(&self) -> Line {
        let meta = &self.meta;
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
        let words = [
            u64::from(meta.seq) | u64::from(self.how.count) << 32 | u64::from(self.how.index) << 48,
            u64::from(flags) | u64::from(start) << 32 | u64::from(offset) << 48,
            u64::from(size) | u64::from(header_len) << 16 | u64::from(self.tall) << 32,
            self.counted(),
        ];
        let mut line = Line([0; LINE / 8]);
        let (first, lens) = line.0.split_at_mut(WORDS);
        first.copy_from_slice(&words);
        for (to, from) in lens.iter_mut().zip(self.lens.as_chunks().0) {
            *to = u64::from_ne_bytes(*from);
        }
        line
    }

    /// What a run's first line says. `None`: it is none.
    #[inline]
    pub(super) fn read(line: &Line) -> Option<Run> {
        let [first, second, third, fourth, lens @ ..] = line.0;
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
            seq: first as u32,
        };
        let [stage, count, small, ..] = fourth.to_le_bytes();
        let stage = Stage::from_octet(stage)?;
        let how = Handoff { stage, count: (first >> 32) as u16, index: (first >> 48) as u16 };
        let mut run = Run { tall: (third >> 32) as u16, small: small != 0, ..Run::new(how, meta) };
        for (to, from) in run.lens.as_chunks_mut().0.iter_mut().zip(lens) {
            *to = from.to_ne_bytes();
        }
        run.count = usize::from(count).min(if run.small { SMALL } else { RUN });
        Some(run)
    }
}

/// What single packets come with.
const SINGLE: Handoff = Handoff { stage: Stage::Packet, count: 1, index: 0 };

/// What frames of a run must have in common. `None`: those that ask for something are runs for themselves.
#[derive(Clone, Copy)]
struct Kind {
    told: u32,
    seq: u32,
    origin: Origin,
}

impl Kind {
    #[inline(always)]
    fn of(meta: &Meta) -> Option<Kind> {
        let ordinary = meta.gso.is_none() && !matches!(meta.checksum, Checksum::Partial { .. });
        ordinary.then(|| Kind { told: meta.told(), seq: meta.seq, origin: meta.origin })
    }

    #[inline(always)]
    fn is_of(&self, meta: &Meta) -> bool {
        (in_one(meta.told()) ^ self.told) | (meta.seq ^ self.seq) | u32::from(meta.origin as u8 ^ self.origin as u8)
            == 0
    }
}

/// Runs that are written into a part of the ring, which may go round its end.
pub(super) struct Writer<'a> {
    parts: [&'a mut [MaybeUninit<Line>]; 2],
    /// Lines that are written: the first ones.
    at: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(parts: (&'a mut [MaybeUninit<Line>], &'a mut [MaybeUninit<Line>])) -> Writer<'a> {
        Writer { parts: [parts.0, parts.1], at: 0 }
    }

    /// Lines from the first on that are written.
    pub(super) fn written(&self) -> usize {
        self.at
    }

    #[inline(always)]
    fn put(&mut self, line: Line) {
        let [first, second] = &mut self.parts;
        let place = match first.get_mut(self.at) {
            Some(place) => Some(place),
            None => second.get_mut(self.at - first.len()),
        };
        if let Some(place) = place {
            place.write(line);
            self.at += 1;
        }
    }

    #[inline(always)]
    fn put_all(&mut self, lines: &[[u8; LINE]]) {
        let [first, _] = &mut self.parts;
        if let Some(to) = first.get_mut(self.at..self.at + lines.len()) {
            // SAFETY: as many octets, apart from each other, and any of them are words.
            unsafe { std::ptr::copy_nonoverlapping(lines.as_ptr(), to.as_mut_ptr().cast(), lines.len()) }
            self.at += lines.len();
        } else {
            lines.iter().for_each(|line| self.put(Line::of(line)));
        }
    }

    /// Writes single packets, up to the first that is longer than `longest`. Gives how many that were.
    #[inline(always)]
    fn write_packets(&mut self, frames: &[Frame], longest: usize) -> usize {
        let mut done = 0;
        while let Some(rest) = frames.get(done..).filter(|rest| !rest.is_empty()) {
            let small = if longest < LINE { 0 } else { self.write_small(rest) };
            let count = if small != 0 { small } else { self.write_run(rest, longest) };
            done += count;
            if count == 0 {
                break;
            }
        }
        done
    }

    /// A run of small frames, all octets of whose lines are copied, for fewer would be copied one by one.
    #[inline(always)]
    fn write_small(&mut self, frames: &[Frame]) -> usize {
        let Some(meta) = frames.first().map(|first| first.meta) else { return 0 };
        let Some(kind) = Kind::of(&meta) else { return 0 };
        let [first, second] = &mut self.parts;
        let rest = match self.at.checked_sub(first.len()) {
            None => first.get_mut(self.at..),
            Some(at) => second.get_mut(at..),
        };
        let Some((head, lines)) = rest.and_then(|rest| rest.split_first_mut()) else { return 0 };
        prefetch_to_write(std::ptr::from_ref(head).wrapping_add(AHEAD));
        // Two loops, so that each has the registers to itself.
        let most = frames.len().min(lines.len()).min(SMALL);
        let mut count = 0;
        for frame in frames.get(..most).unwrap_or_default() {
            if frame.len() > LINE || !kind.is_of(&frame.meta) {
                break;
            }
            count += 1;
        }
        let mut run = Run { small: true, count, ..Run::new(SINGLE, meta) };
        let head = head.write(run.write());
        let (Some(frames), Some(lines)) = (frames.get(..count), lines.get_mut(..count)) else { return 0 };
        let Some(lens) = head.lens().get_mut(..count) else { return 0 };
        let mut at = 0;
        for ((frame, line), len) in frames.iter().zip(lines).zip(lens) {
            let Some(octets) = frame.octets(LINE).and_then(<[u8]>::first_chunk) else { break };
            prefetch_to_write(std::ptr::from_ref(line).wrapping_add(AHEAD));
            line.write(Line::of(octets));
            *len = frame.len() as u8;
            at += 1;
        }
        if at != count {
            // The next one's buffer does not go as far.
            run.count = at;
            head.0[COUNTED] = run.counted();
        }
        // Without any it is not written.
        self.at += if at == 0 { 0 } else { 1 + at };
        at
    }

    /// A run of any.
    #[inline(never)]
    fn write_run(&mut self, frames: &[Frame], longest: usize) -> usize {
        let Some(meta) = frames.first().map(|first| first.meta) else { return 0 };
        let kind = Kind::of(&meta);
        let most = if kind.is_some() { RUN } else { 1 };
        let mut run = Run::new(SINGLE, meta);
        for (at, frame) in frames.iter().take(most).enumerate() {
            if frame.len() > longest || (at != 0 && !kind.is_some_and(|kind| kind.is_of(&frame.meta))) {
                break;
            }
            run.add(frame.len());
        }
        if run.count != 0 {
            self.put(run.write());
        }
        frames.iter().take(run.count).for_each(|frame| self.write_octets(frame));
        run.count
    }

    /// A frame of a group.
    pub(super) fn write_one(&mut self, frame: &Frame, how: Handoff) {
        let mut run = Run::new(how, frame.meta);
        run.add(frame.len());
        self.put(run.write());
        self.write_octets(frame);
    }

    fn write_octets(&mut self, frame: &Frame) {
        // Whole lines where the buffer goes as far.
        if let Some((whole, _)) = frame.octets(lines(frame.len()) * LINE).map(<[u8]>::as_chunks) {
            return self.put_all(whole);
        }
        let (whole, rest) = frame.data().as_chunks();
        self.put_all(whole);
        if !rest.is_empty() || whole.is_empty() {
            let mut octets = [0; LINE];
            if let Some(to) = octets.get_mut(..rest.len()) {
                to.copy_from_slice(rest);
            }
            self.put(Line::of(&octets));
        }
    }
}

/// Single packets that are written, up to the first that is longer than `longest`. Gives how many that were.
pub(super) struct Writing<'w, 'a> {
    pub(super) writer: &'w mut Writer<'a>,
    pub(super) frames: &'w [Frame],
    pub(super) longest: usize,
}

impl Work for Writing<'_, '_> {
    type Output = usize;

    #[inline(always)]
    fn run(self, _: impl Wide) -> usize {
        self.writer.write_packets(self.frames, self.longest)
    }
}

/// Both parts of a read as one row.
#[derive(Clone, Copy)]
pub(super) struct Row<'a>(pub(super) &'a [Line], pub(super) &'a [Line]);

impl<'a> Row<'a> {
    #[inline(always)]
    pub(super) fn get(&self, at: usize) -> Option<&'a Line> {
        match self.0.get(at) {
            Some(line) => Some(line),
            None => self.1.get(at - self.0.len()),
        }
    }

    /// The run whose first line is at `at`.
    #[inline(always)]
    pub(super) fn run(&self, at: usize) -> Option<Run> {
        self.get(at).and_then(Run::read)
    }

    /// Copies the frame of `len` octets that begins at `at`.
    #[inline(always)]
    pub(super) fn copy(&self, at: usize, frame: &mut Frame, len: usize) -> Option<()> {
        // Whole lines where the buffer has room for them.
        let count = lines(len);
        frame.set_len(count * LINE);
        if frame.len() != count * LINE {
            frame.set_len(len);
        }
        let (whole, rest) = frame.data_mut().as_chunks_mut::<LINE>();
        let mut at = at;
        if let Some(lines) = self.0.get(at..at + whole.len()) {
            // SAFETY: as many octets, apart from each other, and any will do.
            unsafe { std::ptr::copy_nonoverlapping(lines.as_ptr().cast(), whole.as_mut_ptr(), whole.len()) }
            at += whole.len();
        } else {
            for to in whole {
                self.get(at)?.copy_to(to);
                at += 1;
            }
        }
        if !rest.is_empty() {
            let mut octets = [0; LINE];
            self.get(at)?.copy_to(&mut octets);
            rest.copy_from_slice(octets.get(..rest.len())?);
        }
        frame.set_len(len);
        Some(())
    }
}
