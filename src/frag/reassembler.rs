//! The rules: what becomes of a fragment and of its datagram.

use super::merge::{Extent, Piece, Scratch, Whole, cut_ipv4, fits, is_jumbo, lacks_upper_header};
use super::queue::{Key, Place, Queue, Store, all_to};
use super::{FragmentInfo, Limits, MAX_FRAGMENTS};
use crate::frame::{Checksum, Frame};
use crate::net::{DropReason, Family, Millis};

/// Where dropped frames go, each with its reason, so that every one is counted.
pub type Sink<'a> = &'a mut dyn FnMut(Frame, DropReason);

/// A complete datagram.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Its fragments in the order they came, to be forwarded as they are. What is not taken is dropped.
    pub frames: std::vec::Drain<'a, Frame>,
    /// All of it in one piece, to be judged.
    pub whole: Whole<'a>,
}

/// What became of a fragment.
#[derive(Debug)]
pub enum Offered<'a> {
    /// It is held.
    Held,
    /// It was dropped, alone or with its datagram: the sink has seen all of it.
    Dropped,
    /// It completed its datagram.
    Complete(Datagram<'a>),
    /// It is not to be put together, and goes on alone as INVALID ([`crate::net::InvalidReason::Fragment`]).
    Pass(Frame),
}

/// As [`Offered`], before anything is borrowed.
enum Step {
    Held,
    Dropped,
    Complete(Extent, bool),
    Pass(Frame),
}

/// One shard's fragments.
#[derive(Debug)]
pub struct Reassembler {
    limits: Limits,
    store: Store,
    scratch: Scratch,
    /// The fragments of the datagram completed last.
    done: Vec<Frame>,
}

fn is_trusted(frame: &Frame) -> bool {
    frame.meta.checksum != Checksum::Unknown
}

/// Whether ECN fields (a set of bits `1 << field`) may stand together in one datagram, and whether the whole is to be
/// marked: not-ECT (0) excludes ECT and CE; CE (3) beside ECT marks (RFC 3168 section 5.3).
const fn ecn(seen: u8) -> Option<bool> {
    if seen & 0b0001 != 0 && seen & 0b1110 != 0 {
        return None;
    }
    Some(seen & 0b1000 != 0)
}

impl Reassembler {
    /// An empty one. `seed` must be random: it keys the hash of the queues.
    #[must_use]
    pub fn new(limits: Limits, seed: u64) -> Self {
        let done = Vec::with_capacity(usize::from(MAX_FRAGMENTS));
        Reassembler { limits, store: Store::new(&limits, seed), scratch: Scratch::new(), done }
    }

    /// Octets of memory one of these limits reserves, held frames not counted.
    #[must_use]
    pub fn reserved(limits: &Limits) -> usize {
        Store::reserved(limits) + (1 << 16) + usize::from(MAX_FRAGMENTS) * std::mem::size_of::<Frame>()
    }

    /// Frames held.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.store.fragments()
    }

    /// Datagrams being collected.
    #[must_use]
    pub fn datagrams(&self) -> usize {
        self.store.datagrams()
    }

    /// Octets of frame buffers held.
    #[must_use]
    pub fn bytes(&self, family: Family) -> usize {
        self.store.bytes(family)
    }

    /// Takes a fragment: an IPv4 packet with an offset or more-fragments, or an IPv6 packet with a fragment header.
    ///
    /// Frames that end here, this one and others, are shown to `sink` with their reason: `FragmentOverlap` for
    /// any contradiction, `FragmentLimit`, `FragmentTimeout`, or `RxTruncated` if `info` does not fit the frame.
    pub fn offer(&mut self, frame: Frame, info: &FragmentInfo, now: Millis, sink: Sink<'_>) -> Offered<'_> {
        match self.take(frame, info, now, sink) {
            Step::Held => Offered::Held,
            Step::Dropped => Offered::Dropped,
            Step::Pass(frame) => Offered::Pass(frame),
            Step::Complete(extent, trusted) => {
                Offered::Complete(Datagram { frames: self.done.drain(..), whole: self.scratch.whole(extent, trusted) })
            }
        }
    }

    fn take(&mut self, frame: Frame, info: &FragmentInfo, now: Millis, sink: Sink<'_>) -> Step {
        self.done.clear();
        if !fits(info, frame.data()) {
            sink(frame, DropReason::RxTruncated);
            return Step::Dropped;
        }
        if is_jumbo(info, frame.data()) || lacks_upper_header(info, frame.data()) {
            return Step::Pass(frame);
        }
        if info.offset == 0 && !info.more {
            return self.alone(frame, info, sink);
        }
        let family = info.family;
        if self.store.bytes(family) > self.limits.bytes[family.index()] || !self.store.has_room_for_fragment() {
            sink(frame, DropReason::FragmentLimit);
            return Step::Dropped;
        }
        let Some(queue) = self.queue_for(info, &frame, now, sink) else {
            sink(frame, DropReason::FragmentLimit);
            return Step::Dropped;
        };
        let distance = self.store.distance(queue);
        if self.limits.max_distance != 0 && distance > self.limits.max_distance {
            let deadline = now.plus(self.limits.timeout_ms[family.index()]);
            self.store.restart(queue, deadline, all_to(sink, DropReason::FragmentLimit));
        }
        self.add(queue, frame, info, sink)
    }

    /// The queue of the fragment's datagram, made if there is none. One that expired is cleared away first.
    fn queue_for(&mut self, info: &FragmentInfo, frame: &Frame, now: Millis, sink: Sink<'_>) -> Option<u32> {
        let key = Key::new(info, frame);
        if let Some(at) = self.store.find(&key) {
            if self.store.queue(at).is_some_and(|queue| queue.deadline.since(now) > 0) {
                return Some(at);
            }
            self.store.remove(at, all_to(sink, DropReason::FragmentTimeout));
        }
        self.store.create(key, now.plus(self.limits.timeout_ms[info.family.index()]))
    }

    /// A datagram in one fragment is independent of all others (RFC 6946 section 4).
    fn alone(&mut self, frame: Frame, info: &FragmentInfo, sink: Sink<'_>) -> Step {
        let piece = Piece::new(info, info.len);
        let extent = self
            .scratch
            .start(info.family, &piece, u32::from(info.len), frame.data())
            .filter(|_| self.scratch.add(info.family, &piece, &piece, frame.data()).is_some());
        let Some(extent) = extent else {
            sink(frame, DropReason::RxTruncated);
            return Step::Dropped;
        };
        let trusted = is_trusted(&frame);
        self.done.push(frame);
        Step::Complete(extent, trusted)
    }

    /// Ends a queue, and a frame with it.
    fn discard(&mut self, queue: u32, frame: Frame, reason: DropReason, sink: Sink<'_>) -> Step {
        self.store.remove(queue, all_to(sink, reason));
        sink(frame, reason);
        Step::Dropped
    }

    /// Ends one frame. A queue that holds nothing and knows nothing does not stay for it.
    fn refuse(&mut self, at: u32, frame: Frame, reason: DropReason, sink: Sink<'_>) -> Step {
        sink(frame, reason);
        if self.store.queue(at).is_some_and(|queue| queue.count == 0 && queue.total == 0) {
            self.store.remove(at, |_, _| {});
        }
        Step::Dropped
    }

    /// Adds a fragment to its queue, by the rules in the order Linux applies them.
    fn add(&mut self, at: u32, mut frame: Frame, info: &FragmentInfo, sink: Sink<'_>) -> Step {
        let offset = u32::from(info.offset);
        let mut len = info.len;
        if info.family == Family::V6 && offset + u32::from(len) > u32::from(u16::MAX) {
            return self.refuse(at, frame, DropReason::FragmentOverlap, sink);
        }
        if info.more && !len.is_multiple_of(8) {
            match info.family {
                Family::V4 => len &= !7,
                Family::V6 => {
                    self.store.remove(at, all_to(sink, DropReason::FragmentOverlap));
                    return Step::Pass(frame);
                }
            }
        }
        let end = offset + u32::from(len);
        let Some(queue) = self.store.queue_mut(at) else {
            return self.refuse(at, frame, DropReason::FragmentLimit, sink);
        };
        let contradiction = contradicts(queue, end, info.more);
        if !contradiction {
            // An empty fragment is of no use, but where it says the end is counts.
            queue.total = queue.total.max(end);
            queue.has_end |= !info.more;
        }
        if contradiction || len == 0 {
            // Linux gives up the datagram in IPv4, and only the fragment in IPv6.
            return match info.family {
                Family::V4 => self.discard(at, frame, DropReason::FragmentOverlap, sink),
                Family::V6 => self.refuse(at, frame, DropReason::FragmentOverlap, sink),
            };
        }
        if queue.count >= MAX_FRAGMENTS {
            return self.discard(at, frame, DropReason::FragmentLimit, sink);
        }
        let place = self.store.place(at, offset, end);
        match place {
            Place::Duplicate => return self.refuse(at, frame, DropReason::FragmentOverlap, sink),
            Place::Overlap => return self.discard(at, frame, DropReason::FragmentOverlap, sink),
            Place::Continues | Place::Behind(_) => {}
        }
        if len != info.len {
            cut_ipv4(info, len, &mut frame);
        }
        let trusted = is_trusted(&frame);
        if let Err(frame) = self.store.hold(at, place, frame, Piece::new(info, len)) {
            return self.refuse(at, frame, DropReason::FragmentLimit, sink);
        }
        let Some(queue) = self.store.queue_mut(at) else { return Step::Held };
        queue.ecn |= 1 << (info.ecn & 3);
        queue.trusted &= trusted;
        // No two fragments overlap, so the octets held are the datagram when there are as many as it has.
        if queue.has_end && queue.held == queue.total { self.complete(at, info.family, sink) } else { Step::Held }
    }

    fn complete(&mut self, at: u32, family: Family, sink: Sink<'_>) -> Step {
        let Reassembler { store, scratch, done, .. } = self;
        let started = store.queue(at).zip(store.first(at)).and_then(|(queue, (frame, first))| {
            let marked = ecn(queue.ecn)?;
            let extent = scratch.start(family, &first, queue.total, frame.data())?;
            if marked {
                scratch.mark_congestion(family, &first);
            }
            Some((first, extent, queue.trusted))
        });
        let Some((first, extent, trusted)) = started else {
            store.remove(at, all_to(sink, DropReason::FragmentOverlap));
            return Step::Dropped;
        };
        store.remove(at, |frame, piece| {
            // Cannot fail: `fits` has checked the frame, and `start` the size of the whole.
            let added = scratch.add(family, &first, piece, frame.data());
            debug_assert!(added.is_some());
            done.push(frame);
        });
        Step::Complete(extent, trusted)
    }

    /// Puts together a datagram whose fragments were all collected elsewhere, for parsing. `info` reads a frame's
    /// description. `None` if they are not all the fragments of one datagram after all.
    pub fn merge(&mut self, frames: &[Frame], info: impl Fn(&Frame) -> Option<FragmentInfo>) -> Option<Whole<'_>> {
        let (mut first, mut total, mut held) = (None, None, 0u32);
        let mut seen = 0;
        for frame in frames {
            let i = info(frame).filter(|i| fits(i, frame.data()))?;
            held += u32::from(i.len);
            seen |= 1 << (i.ecn & 3);
            if i.offset == 0 {
                first = Some((frame, i));
            }
            if !i.more {
                total = Some(u32::from(i.offset) + u32::from(i.len));
            }
        }
        let (frame, head) = first?;
        // Of IPv6 the last one may have been empty, which told the end and was dropped.
        let total = total.or((head.family == Family::V6).then_some(held)).filter(|total| *total == held)?;
        let piece = Piece::new(&head, head.len);
        let extent = self.scratch.start(head.family, &piece, total, frame.data())?;
        if ecn(seen)? {
            self.scratch.mark_congestion(head.family, &piece);
        }
        for frame in frames {
            let i = info(frame).filter(|i| u32::from(i.offset) + u32::from(i.len) <= total)?;
            self.scratch.add(head.family, &piece, &Piece::new(&i, i.len), frame.data())?;
        }
        Some(self.scratch.whole(extent, frames.iter().all(is_trusted)))
    }

    /// Gives up at most `budget` datagrams of each family whose time is over; their frames go to `sink` as `FragmentTimeout`.
    /// Gives the number of datagrams.
    pub fn expire(&mut self, now: Millis, budget: usize, sink: Sink<'_>) -> usize {
        let mut total = 0;
        for family in Family::ALL {
            let mut expired = 0;
            while expired < budget
                && let Some(at) = self.store.oldest(family)
                && self.store.queue(at).is_some_and(|queue| queue.deadline.since(now) <= 0)
            {
                self.store.remove(at, all_to(sink, DropReason::FragmentTimeout));
                expired += 1;
            }
            total += expired;
        }
        total
    }

    /// Gives everything up, at a shutdown or when a port goes; all frames go to `sink` with `reason`.
    pub fn flush(&mut self, reason: DropReason, sink: Sink<'_>) {
        for family in Family::ALL {
            while let Some(at) = self.store.oldest(family) {
                self.store.remove(at, all_to(sink, reason));
            }
        }
    }
}

/// Whether a fragment up to `end` cannot belong to what is known: a last fragment in front of data held or of another
/// end, or data beyond the end.
fn contradicts(queue: &Queue, end: u32, more: bool) -> bool {
    if more { queue.has_end && end > queue.total } else { end < queue.total || (queue.has_end && end != queue.total) }
}
