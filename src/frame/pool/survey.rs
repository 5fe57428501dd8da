//! Frames on their way out, looked at together.

use super::{Core, Head};
use crate::frame::{Asks, Frame};
use crate::net::wide::{Pair, Wide, Widest, Work};
use std::ptr::NonNull;

/// Where a frame goes home to, and where its data lies: one piece of its head, in which nothing is padding.
type Place = [u64; 2];

const _: () = {
    let home = std::mem::offset_of!(Head, home);
    assert!(home + 8 == std::mem::offset_of!(Head, offset) && home + 12 == std::mem::offset_of!(Head, len));
    assert!(size_of::<NonNull<Core>>() == 8 && home % 8 == 0);
};

/// Frames, and what they have in common, found in one pass over their heads.
#[derive(Clone, Copy, Debug)]
pub struct Survey<'a> {
    frames: &'a [Frame],
    /// Bits in which the place of any differs from that of the first.
    differ: Place,
    asks: Asks,
}

/// Frames whose data is equally long and lies in the same octets of each one's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Alike<'a> {
    frames: &'a [Frame],
    offset: usize,
    len: usize,
}

impl<'a> Survey<'a> {
    /// Of these.
    #[inline]
    #[must_use]
    pub fn of(frames: &'a [Frame], widest: Widest) -> Survey<'a> {
        widest.run(Look(frames))
    }

    /// The frames.
    #[inline]
    #[must_use]
    pub fn frames(&self) -> &'a [Frame] {
        self.frames
    }

    /// What they ask of whoever sends them.
    #[inline]
    #[must_use]
    pub fn asks(&self) -> Asks {
        self.asks
    }

    /// The frames, if all are alike and there are any.
    #[inline]
    #[must_use]
    pub fn alike(&self) -> Option<Alike<'a>> {
        let first = self.frames.first().filter(|_| self.differ[1] == 0)?;
        Some(Alike { frames: self.frames, offset: first.headroom(), len: first.len() })
    }

    /// Octets of data of all of them together, and of the longest.
    #[inline]
    #[must_use]
    pub fn octets(&self) -> (u64, usize) {
        match self.alike() {
            Some(alike) => (alike.len as u64 * self.frames.len() as u64, alike.len),
            None => self.frames.iter().fold((0, 0), |(sum, longest), frame| {
                let len = frame.len();
                (sum + len as u64, longest.max(len))
            }),
        }
    }

    /// The pool all of them go home to, if it is one.
    #[inline]
    fn home(&self) -> Option<NonNull<Core>> {
        self.frames.first().filter(|_| self.differ[0] == 0).map(|first| first.home)
    }
}

impl<'a> Alike<'a> {
    /// Octets of each one's data.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Has `add` add the data of each to `sum`. Where it lies is not looked up frame by frame.
    #[inline(always)]
    pub fn fold<T>(&self, mut sum: T, mut add: impl FnMut(T, &'a [u8]) -> T) -> T {
        // Four at a time, or counting them would be half of the work.
        let (fours, rest) = self.frames.as_chunks::<4>();
        for four in fours {
            for frame in four {
                sum = add(sum, self.data(frame));
            }
        }
        for frame in rest {
            sum = add(sum, self.data(frame));
        }
        sum
    }

    /// The data of one of the frames.
    #[inline(always)]
    fn data(&self, frame: &'a Frame) -> &'a [u8] {
        // SAFETY: the frames are borrowed since their heads were read, so their data still lies there.
        unsafe { std::slice::from_raw_parts(frame.start().add(self.offset), self.len) }
    }
}

/// The pass over the heads.
struct Look<'a>(&'a [Frame]);

impl<'a> Work for Look<'a> {
    type Output = Survey<'a>;

    #[inline(always)]
    fn run(self, _: impl Wide) -> Survey<'a> {
        let first = Pair::of(self.0.first().map_or(&[0; 2], place));
        let mut seen = Seen { first, differ: Pair::of(&[0; 2]), asks: Asks::NOTHING };
        // Four at a time, or counting them would be a third of the work.
        let (fours, rest) = self.0.as_chunks::<4>();
        for four in fours {
            for frame in four {
                seen = seen.and(frame);
            }
        }
        for frame in rest {
            seen = seen.and(frame);
        }
        Survey { frames: self.0, differ: seen.differ.words(), asks: seen.asks }
    }
}

/// What was seen of some frames.
#[derive(Clone, Copy)]
struct Seen {
    first: Pair,
    differ: Pair,
    asks: Asks,
}

impl Seen {
    /// And of one more.
    #[inline(always)]
    fn and(mut self, frame: &Frame) -> Seen {
        self.asks.note(&frame.meta);
        Seen { differ: self.differ.or(self.first.xor(Pair::of(place(frame)))), ..self }
    }
}

/// As it lies in the head.
#[inline(always)]
fn place(frame: &Frame) -> &Place {
    // SAFETY: an address and two numbers, which are written whenever a buffer is lent; it stays as it is while the frame is borrowed.
    unsafe { &*(&raw const (*frame.head().as_ptr()).home).cast::<Place>() }
}

/// Gives the first `n` of the frames back that were surveyed.
///
/// # Safety
/// As [`give_back`].
#[inline]
pub(in crate::frame) unsafe fn give_back_surveyed(survey: &Survey<'_>, n: usize) {
    let frames = survey.frames.get(..n).unwrap_or(survey.frames);
    // SAFETY: the caller's word, and that of the survey.
    unsafe {
        match survey.home() {
            Some(home) => return_all(home, frames),
            None => give_back(frames),
        }
    }
}

/// Gives buffers back as dropping each frame would; what is the same for frames of one pool is asked once.
///
/// # Safety
/// The frames are not used, nor dropped, any more.
#[inline]
pub(in crate::frame) unsafe fn give_back(frames: &[Frame]) {
    let Some(home) = frames.first().map(|first| first.home) else { return };
    let (all, any) = frames.iter().fold((usize::MAX, 0), |(all, any), frame| (all & frame.home(), any | frame.home()));
    if all == any {
        // SAFETY: the caller's word; it is one pool.
        unsafe { return_all(home, frames) }
    } else {
        // SAFETY: the caller's word.
        unsafe { return_each(frames) }
    }
}

/// # Safety
/// As [`give_back`].
#[cold]
unsafe fn return_each(frames: &[Frame]) {
    // SAFETY: the caller's word.
    frames.iter().for_each(|frame| drop(unsafe { std::ptr::read(frame) }));
}

/// The same for frames of this pool.
///
/// # Safety
/// They are, and not used, nor dropped, any more.
#[inline(always)]
unsafe fn return_all(home: NonNull<Core>, frames: &[Frame]) {
    // SAFETY: as in `drop`; the frames keep the core. The list is used by nobody else meanwhile.
    let (brim, free) = unsafe { (home.as_ref().brim.get(), &mut *home.as_ref().free.get()) };
    let most = free.len() + frames.len();
    if most >= brim || most > free.capacity() {
        // Now it may be the last one that takes the core with it.
        // SAFETY: the caller's word.
        return unsafe { return_each(frames) };
    }
    // SAFETY: there is room for as many, and a frame is nothing but the address of its front.
    unsafe {
        std::ptr::copy_nonoverlapping(frames.as_ptr().cast(), free.as_mut_ptr().add(free.len()), frames.len());
        free.set_len(most);
    }
}
