//! Frames on their way from one burst into others.

use super::{Burst, Frame, Taken};
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

/// Frames that are taken out of a burst, one by one and in order, and put into others. Mostly one and the next go to the same, and
/// as long as they do, the place of each there is as far from its place here. So adding one costs next to nothing.
///
/// A burst says how many frames it holds once another is filled, or this is dropped.
pub struct Filling<'t, 'a, 'b> {
    taken: &'t mut Taken<'a>,
    bursts: &'b mut [Burst],
    /// The next frame.
    at: *mut Frame,
    /// The burst that is filled, [`NONE`] if there is none.
    into: usize,
    /// What a frame's place there is, less the address of its place here.
    beyond: *mut Frame,
}

/// No burst.
const NONE: usize = usize::MAX;

impl<'t, 'a, 'b> Filling<'t, 'a, 'b> {
    /// None of which is filled yet.
    #[inline]
    pub fn of(taken: &'t mut Taken<'a>, bursts: &'b mut [Burst]) -> Filling<'t, 'a, 'b> {
        let at = taken.at;
        Filling { taken, bursts, at, into: NONE, beyond: std::ptr::null_mut() }
    }

    /// A look at one frame after the other, each with the element of `along` that belongs to it, as long as they are put somewhere.
    #[inline(always)]
    pub fn along<'f, 'm, T>(&'f mut self, along: &'m [T]) -> Along<'f, 't, 'a, 'b, 'm, T> {
        let n = along.len().min(left(self.taken, self.at));
        Along { from: self.at, filling: self, along: along.get(..n).unwrap_or_default().iter() }
    }
}

/// Frames that were not taken yet.
#[inline(always)]
fn left(taken: &Taken<'_>, at: *mut Frame) -> usize {
    // SAFETY: both are of one list, the next one in front of the end or that.
    unsafe { taken.end.offset_from_unsigned(at) }
}

/// The place of a frame in the burst that is filled.
#[inline(always)]
fn place(beyond: *mut Frame, at: *mut Frame) -> *mut Frame {
    beyond.wrapping_byte_add(at.addr())
}

/// Frames that are looked at one after the other.
pub struct Along<'f, 't, 'a, 'b, 'm, T> {
    filling: &'f mut Filling<'t, 'a, 'b>,
    from: *mut Frame,
    /// What belongs to the frames in front of the end.
    along: std::slice::Iter<'m, T>,
}

impl<'t, 'a, 'b, 'm, T> Along<'_, 't, 'a, 'b, 'm, T> {
    /// The next frame, and what belongs to it. If it is put nowhere, it is the last.
    #[inline(always)]
    pub fn look(&mut self) -> Option<(Next<'_, 't, 'a, 'b>, &'m T)> {
        let with = self.along.next()?;
        // SAFETY: it is there, for there are not more of `along` than frames; put somewhere or back, there is one of it.
        let frame = ManuallyDrop::new(unsafe { self.filling.at.read() });
        Some((Next { filling: self.filling, frame }, with))
    }

    /// Frames that were put somewhere.
    #[inline(always)]
    #[must_use]
    pub fn count(&self) -> usize {
        // SAFETY: both are of one list, and it goes forward.
        unsafe { self.filling.at.offset_from_unsigned(self.from) }
    }
}

/// The next frame. If it is put nowhere, it goes back to its place.
pub struct Next<'f, 't, 'a, 'b> {
    filling: &'f mut Filling<'t, 'a, 'b>,
    frame: ManuallyDrop<Frame>,
}

impl Next<'_, '_, '_, '_> {
    /// Puts it into a burst.
    ///
    /// # Errors
    /// Gives the frame back, which is taken out, when the burst is full or there is no such.
    #[inline(always)]
    pub fn put(self, into: usize) -> Result<(), Frame> {
        let mut next = ManuallyDrop::new(self);
        // SAFETY: this is not used again, nor put back, for the next one is the one behind it. If something goes wrong in
        // here, the frame is lost.
        let frame = unsafe { ManuallyDrop::take(&mut next.frame) };
        let frame = ManuallyDrop::new(frame);
        let Filling { taken, bursts, at, into: filled, beyond } = &mut *next.filling;
        let here = *at;
        if into != *filled {
            // Nothing of this is lent, so that it stays in registers.
            let turned = turn(bursts, (*filled, *beyond), (here, left(taken, here)), into);
            *filled = if turned.is_some() { into } else { NONE };
            match turned {
                Some(there) => *beyond = there,
                None => {
                    // SAFETY: the frame was there.
                    *at = unsafe { here.add(1) };
                    return alone(bursts, into, ManuallyDrop::into_inner(frame));
                }
            }
        }
        // SAFETY: the frame was there. In the burst that is filled there was room for all that were left.
        unsafe {
            place(*beyond, here).write(ManuallyDrop::into_inner(frame));
            *at = here.add(1);
        }
        Ok(())
    }
}

impl Deref for Next<'_, '_, '_, '_> {
    type Target = Frame;

    #[inline(always)]
    fn deref(&self) -> &Frame {
        &self.frame
    }
}

impl DerefMut for Next<'_, '_, '_, '_> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Frame {
        &mut self.frame
    }
}

impl Drop for Next<'_, '_, '_, '_> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: its place is there and this the only use of it.
        unsafe { self.filling.at.write(ManuallyDrop::take(&mut self.frame)) }
    }
}

/// Leaves the burst that is filled and gives what leads from the frames that are left to their places in another, if all of them
/// have room there.
#[cold]
#[inline(never)]
fn turn(
    bursts: &mut [Burst],
    before: (usize, *mut Frame),
    (at, left): (*mut Frame, usize),
    into: usize,
) -> Option<*mut Frame> {
    leave(bursts, before, at);
    let burst = bursts.get_mut(into).filter(|burst| burst.room() >= left)?;
    Some(burst.places().wrapping_byte_sub(at.addr()))
}

/// Leaves the burst that is filled; `at` is the first frame that was not put into it.
#[cold]
#[inline(never)]
fn leave(bursts: &mut [Burst], (into, beyond): (usize, *mut Frame), at: *mut Frame) {
    if let Some(burst) = bursts.get_mut(into) {
        // SAFETY: the places in front of this one are the burst's and filled.
        unsafe { burst.reach(place(beyond, at)) }
    }
}

/// Puts a frame where not all have room.
#[cold]
#[inline(never)]
fn alone(bursts: &mut [Burst], into: usize, frame: Frame) -> Result<(), Frame> {
    match bursts.get_mut(into) {
        Some(burst) => burst.push(frame),
        None => Err(frame),
    }
}

impl Drop for Filling<'_, '_, '_> {
    #[inline(always)]
    fn drop(&mut self) {
        self.taken.at = self.at;
        if self.into != NONE {
            leave(self.bursts, (self.into, self.beyond), self.at);
        }
    }
}
