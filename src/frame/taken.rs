//! Frames on their way out of a burst.

use super::{Burst, Frame};
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

/// The first frames of a burst, which are taken out one by one and in order. Those that nobody took when it ends return to their
/// pool.
///
/// As a list's own `drain`, but that a frame may be looked at, and changed, while it stays the next one.
pub struct Taken<'a> {
    /// The next one, and the end of them.
    pub(super) at: *mut Frame,
    pub(super) end: *mut Frame,
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

    /// A look at one frame after the other, each with the element of `along` that belongs to it, as long as they are taken out.
    #[inline(always)]
    pub fn along<'t, 'm, T>(&'t mut self, along: &'m [T]) -> Giving<'t, 'a, 'm, T> {
        // SAFETY: both are of one list.
        let n = along.len().min(unsafe { self.end.offset_from_unsigned(self.at) });
        let along = along.get(..n).unwrap_or_default().iter();
        Giving { at: self.at, taken: self, along }
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

/// The next frame. If it is not taken out, it goes back to its place.
pub struct Next<'a> {
    /// There is one there, which is the one below meanwhile.
    at: &'a mut *mut Frame,
    frame: ManuallyDrop<Frame>,
}

impl<'a> Next<'a> {
    #[inline(always)]
    fn of(at: &'a mut *mut Frame) -> Next<'a> {
        // SAFETY: it is there; taken out or put back, there is one of it.
        let frame = ManuallyDrop::new(unsafe { at.read() });
        Next { at, frame }
    }

    /// Takes it out.
    #[inline(always)]
    #[must_use]
    pub fn out(self) -> Frame {
        let mut next = ManuallyDrop::new(self);
        // SAFETY: the next one is the one behind it; this one is not used again, nor put back.
        unsafe {
            *next.at = next.at.add(1);
            ManuallyDrop::take(&mut next.frame)
        }
    }
}

impl Deref for Next<'_> {
    type Target = Frame;

    #[inline(always)]
    fn deref(&self) -> &Frame {
        &self.frame
    }
}

impl DerefMut for Next<'_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Frame {
        &mut self.frame
    }
}

impl Drop for Next<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: its place is there and this the only use of it.
        unsafe { self.at.write(ManuallyDrop::take(&mut self.frame)) }
    }
}

/// Frames that are looked at one after the other. Where it has come to is in a register; it is noted however it ends.
pub struct Giving<'t, 'a, 'm, T> {
    at: *mut Frame,
    taken: &'t mut Taken<'a>,
    /// What belongs to the frames in front of the end from `at` on.
    along: std::slice::Iter<'m, T>,
}

impl<'m, T> Giving<'_, '_, 'm, T> {
    /// The next frame, and what belongs to it. If it is not taken out, it is the last.
    #[inline(always)]
    pub fn look(&mut self) -> Option<(Next<'_>, &'m T)> {
        let with = self.along.next()?;
        Some((Next::of(&mut self.at), with))
    }

    /// Frames that were taken out.
    #[inline(always)]
    #[must_use]
    pub fn count(&self) -> usize {
        // SAFETY: both are of one list, and it goes forward.
        unsafe { self.at.offset_from_unsigned(self.taken.at) }
    }
}

impl<T> Drop for Giving<'_, '_, '_, T> {
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
