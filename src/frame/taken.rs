//! Frames on their way out of a burst.

use super::{Burst, Frame};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// The first frames of a burst, which are taken out one by one and in order. Those that nobody took when it ends return to their
/// pool.
///
/// As a list's own `drain`, but that a frame may be looked at, and changed, while it stays the next one.
pub struct Taken<'a> {
    /// The next one, and the end of them.
    at: *mut Frame,
    end: *mut Frame,
    /// Frames behind them, which stay.
    left: usize,
    /// Meanwhile it says that it has none.
    frames: *mut Vec<Frame>,
    burst: PhantomData<&'a mut Burst>,
}

impl<'a> Taken<'a> {
    /// The first `n` frames of a list, all if fewer.
    #[inline]
    pub(super) fn of(frames: &'a mut Vec<Frame>, n: usize) -> Taken<'a> {
        let len = frames.len();
        let n = n.min(len);
        let at = frames.as_mut_ptr();
        // SAFETY: none is not more than there are; `n` of them lie there. If this value is forgotten, the frames are lost, as
        // with a list's `drain`.
        let end = unsafe {
            frames.set_len(0);
            at.add(n)
        };
        Taken { at, end, left: len - n, frames, burst: PhantomData }
    }

    /// Lets `take` have a look at one frame after the other, each with the element of `along` that belongs to it, as long as it
    /// takes them out. Gives how many it took.
    #[inline(always)]
    pub fn give<T>(&mut self, along: &[T], mut take: impl FnMut(Next<'_>, &T) -> bool) -> usize {
        // SAFETY: both are of one list.
        let n = along.len().min(unsafe { self.end.offset_from_unsigned(self.at) });
        let mut place = Place { at: self.at, taken: self };
        let first = place.at;
        for with in along.get(..n).unwrap_or_default() {
            if !take(Next { at: &mut place.at }, with) {
                break;
            }
        }
        // SAFETY: as above.
        unsafe { place.at.offset_from_unsigned(first) }
    }
}

impl Iterator for Taken<'_> {
    type Item = Frame;

    /// Takes the next one out.
    #[inline(always)]
    fn next(&mut self) -> Option<Frame> {
        if self.at == self.end {
            return None;
        }
        // SAFETY: it lies in front of the end, and is read once: the next one is the one behind it.
        unsafe {
            let frame = self.at.read();
            self.at = self.at.add(1);
            Some(frame)
        }
    }
}

/// The next frame, still in its place.
pub struct Next<'a> {
    /// There is one there.
    at: &'a mut *mut Frame,
}

impl Next<'_> {
    /// Takes it out.
    #[inline(always)]
    #[must_use]
    pub fn out(self) -> Frame {
        // SAFETY: it is there, and read once: the next one is the one behind it.
        unsafe {
            let frame = self.at.read();
            *self.at = self.at.add(1);
            frame
        }
    }
}

impl Deref for Next<'_> {
    type Target = Frame;

    #[inline(always)]
    fn deref(&self) -> &Frame {
        // SAFETY: it is there, and its list is borrowed.
        unsafe { &**self.at }
    }
}

impl DerefMut for Next<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Frame {
        // SAFETY: as above, to be changed.
        unsafe { &mut **self.at }
    }
}

/// Where giving away has come to, in a register. It is noted however it ends.
struct Place<'a, 'b> {
    at: *mut Frame,
    taken: &'a mut Taken<'b>,
}

impl Drop for Place<'_, '_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.taken.at = self.at;
    }
}

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        self.for_each(drop);
        if self.left != 0 {
            // SAFETY: the list is the burst's that is borrowed; behind the end there are as many frames, and room for them in
            // front, whose frames are gone.
            unsafe {
                let frames = &mut *self.frames;
                std::ptr::copy(self.end, frames.as_mut_ptr(), self.left);
                frames.set_len(self.left);
            }
        }
    }
}
