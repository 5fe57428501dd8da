//! Frames on their way into bursts.

use super::{Burst, Frame};
use std::mem::ManuallyDrop;

/// Several bursts, of which one is filled at a time: where its next frame goes is known, so that adding one costs next to nothing
/// as long as it goes into the same burst as the one before.
///
/// A burst says how many frames it holds once another is filled, or this is dropped.
pub struct Filling<'a> {
    bursts: &'a mut [Burst],
    /// The burst that is filled, [`NONE`] if there is none.
    into: usize,
    /// Its next place, and the end of them, which is another.
    at: *mut Frame,
    end: *mut Frame,
}

/// No burst.
const NONE: usize = usize::MAX;

impl<'a> Filling<'a> {
    /// None of which is filled yet.
    #[inline]
    pub fn of(bursts: &'a mut [Burst]) -> Filling<'a> {
        let nowhere = std::ptr::null_mut();
        Filling { bursts, into: NONE, at: nowhere, end: nowhere }
    }

    /// Adds a frame at the end of a burst.
    ///
    /// # Errors
    /// Gives the frame back when the burst is full or there is no such.
    #[inline(always)]
    pub fn push(&mut self, into: usize, frame: Frame) -> Result<(), Frame> {
        // If something goes wrong in here, it is lost.
        let frame = ManuallyDrop::new(frame);
        if into != self.into {
            // Nothing of this is lent, so that it stays in registers.
            (self.at, self.end) = turn(self.bursts, (self.into, self.at), into);
            self.into = NONE;
            if self.at == self.end {
                return Err(ManuallyDrop::into_inner(frame));
            }
            self.into = into;
        }
        // SAFETY: a place of the burst that is filled, behind its last frame: there is one more.
        unsafe {
            self.at.write(ManuallyDrop::into_inner(frame));
            self.at = self.at.add(1);
        }
        if self.at == self.end {
            leave(self.bursts, (self.into, self.at));
            self.into = NONE;
        }
        Ok(())
    }
}

/// Leaves the burst that is filled and gives the places of another.
#[cold]
#[inline(never)]
fn turn(bursts: &mut [Burst], before: (usize, *mut Frame), into: usize) -> (*mut Frame, *mut Frame) {
    leave(bursts, before);
    match bursts.get_mut(into) {
        Some(burst) => burst.places(),
        None => (std::ptr::null_mut(), std::ptr::null_mut()),
    }
}

#[cold]
#[inline(never)]
fn leave(bursts: &mut [Burst], (into, at): (usize, *mut Frame)) {
    if let Some(burst) = bursts.get_mut(into) {
        // SAFETY: the places in front of `at` are this burst's and filled.
        unsafe { burst.reach(at) }
    }
}

impl Drop for Filling<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.into != NONE {
            leave(self.bursts, (self.into, self.at));
        }
    }
}
