//! The packets of one receive or transmit call.

use super::pool::{Bare, give_back, give_back_surveyed};
use super::{Frame, Mould, Pool, Survey, Taken};
use crate::net::PortId;
use crate::net::wide::Widest;
use std::cell::Cell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

/// A bounded list of frames. Filling and emptying it never allocates.
///
/// What a device received may lie in it bare: as the device left it, without a frame's head, which is written when somebody
/// asks for the frames. So a burst that goes on to a device of the same lender's as it came costs nothing per frame.
pub struct Burst {
    frames: Vec<Frame>,
    limit: usize,
    /// With so many frames there is something to do before another is added: the burst is full, or bare.
    brim: Cell<usize>,
    /// Set while the frames have no heads; it is the same for all of them.
    bare: Cell<Option<Bare>>,
}

/// What is known of buffers that a device filled.
#[derive(Clone, Copy, Debug)]
pub struct Filled {
    /// Octets of data in all of them.
    pub octets: u64,
    /// Octets of data in the longest.
    pub longest: usize,
    /// The port of the device.
    pub ingress: PortId,
    /// Casts a frame of each buffer, which are given as [`Frame::front`] would give them.
    ///
    /// # Safety
    /// The device filled these buffers, and the mould is of the pool they belong to.
    pub write_heads: unsafe fn(&Mould, &[NonNull<u8>]),
}

/// What [`Burst::untouched`] finds.
#[derive(Clone, Copy, Debug)]
pub struct Untouched {
    /// All frames of the burst, each by its [`Frame::front`], as they lie in memory.
    pub fronts: NonNull<NonNull<u8>>,
    /// Octets of data in all of them.
    pub octets: u64,
    /// Octets of data in the longest.
    pub longest: usize,
}

impl Burst {
    /// An empty burst that holds at most `limit` frames.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Burst { frames: Vec::with_capacity(limit), limit, brim: Cell::new(limit), bare: Cell::new(None) }
    }

    /// Frames held.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// No frame held.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames that still fit.
    #[inline]
    #[must_use]
    pub fn room(&self) -> usize {
        self.limit - self.frames.len()
    }

    /// Writes the heads of frames that have none.
    #[inline]
    fn settle(&self) {
        if self.bare.get().is_some() {
            self.write_heads();
        }
    }

    #[inline(never)]
    fn write_heads(&self) {
        self.brim.set(self.limit);
        if let Some(bare) = self.bare.take() {
            // SAFETY: while it is set, it is about every frame held, and none of them has a head.
            unsafe { bare.write_heads(&self.frames) }
        }
    }

    /// Places for frames that a device receives into itself, by their address ([`Frame::front`]): as many as fit.
    #[inline]
    pub fn spare(&mut self) -> &mut [MaybeUninit<NonNull<u8>>] {
        let room = self.room();
        let spare = self.frames.spare_capacity_mut();
        // SAFETY: a frame is nothing but that address, and there is room for `limit` of them.
        unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast(), room) }
    }

    /// Holds from now on what a device put into the first `count` places of [`Burst::spare`].
    ///
    /// # Safety
    /// It did, there are as many, and [`Filled::write_heads`] does for each what [`Pool::adopt`] would be right to do.
    #[inline]
    pub unsafe fn fill(&mut self, count: usize, pool: &Pool, filled: Filled) {
        let before = self.frames.len();
        if before != 0 {
            self.settle();
        }
        let bare = Bare::new(pool, filled);
        // SAFETY: there is room for as many, and they are written.
        unsafe { self.frames.set_len(before + count) }
        if before == 0 {
            self.brim.set(count);
            self.bare.set(Some(bare));
        } else if let Some(new) = self.frames.get(before..) {
            // SAFETY: these are the buffers it is about.
            unsafe { bare.write_heads(new) }
        }
    }

    /// What is known of the frames if all are as a device left them, of buffers of the lender with this
    /// [`Lender::id`](super::Lender::id), and nobody has seen them since. They may be written in another order.
    #[inline]
    #[must_use]
    pub fn untouched(&mut self, lender: usize) -> Option<Untouched> {
        let bare = self.bare.get_mut().as_ref().filter(|bare| bare.lender() == lender)?;
        let (octets, longest) = (bare.filled.octets, bare.filled.longest);
        // SAFETY: a list's memory is nowhere near null.
        let fronts = unsafe { NonNull::new_unchecked(self.frames.as_mut_ptr().cast()) };
        Some(Untouched { fronts, octets, longest })
    }

    /// Removes the first `n` frames (all if fewer). Their buffers belong to the caller and are lost otherwise; heads they
    /// may have or not.
    #[inline]
    pub fn forget(&mut self, n: usize) {
        if n >= self.frames.len() {
            self.brim.set(self.limit);
            self.bare.set(None);
            // SAFETY: none is not more than there are.
            unsafe { self.frames.set_len(0) }
        } else {
            self.frames.drain(..n).for_each(std::mem::forget);
            // What is known was known of all together.
            self.settle();
        }
    }

    /// Adds a frame at the end.
    ///
    /// # Errors
    /// Gives the frame back when the burst is full.
    #[inline]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.frames.len() == self.brim.get() {
            self.settle();
            if self.frames.len() == self.limit {
                return Err(frame);
            }
        }
        let len = self.frames.len();
        // SAFETY: there are fewer than `limit`, for which there is memory.
        unsafe {
            self.frames.as_mut_ptr().add(len).write(frame);
            self.frames.set_len(len + 1);
        }
        Ok(())
    }

    /// Where the next frame's place is; there are [`Burst::room`] of them.
    #[inline]
    pub(super) fn places(&mut self) -> *mut Frame {
        self.settle();
        // SAFETY: there is memory for `limit` frames.
        unsafe { self.frames.as_mut_ptr().add(self.frames.len()) }
    }

    /// Holds from now on the frames up to a place.
    ///
    /// # Safety
    /// It is one of [`Burst::places`], or their end, and nothing else happened to the burst since; the places in front of it were filled.
    #[inline]
    pub(super) unsafe fn reach(&mut self, place: *const Frame) {
        // SAFETY: the caller's word.
        unsafe { self.frames.set_len(place.offset_from_unsigned(self.frames.as_ptr())) }
    }

    /// Holds from now on the frames whose addresses are in the first `count` places of [`Burst::spare`].
    ///
    /// # Safety
    /// They are there, and have heads.
    #[inline]
    pub(super) unsafe fn hold(&mut self, count: usize) {
        self.settle();
        // SAFETY: there is room for as many, and they are written.
        unsafe { self.frames.set_len(self.frames.len() + count) }
    }

    /// Takes all frames out, in order.
    #[inline]
    pub fn drain(&mut self) -> std::vec::Drain<'_, Frame> {
        self.settle();
        self.frames.drain(..)
    }

    /// Takes the first `n` frames out, in order (all if fewer).
    #[inline]
    pub fn take(&mut self, n: usize) -> std::vec::Drain<'_, Frame> {
        self.settle();
        let n = n.min(self.frames.len());
        self.frames.drain(..n)
    }

    /// The same, with a way to leave the next one where it is.
    #[inline]
    pub fn taking(&mut self, n: usize) -> Taken<'_> {
        self.settle();
        self.brim.set(self.limit);
        Taken::of(&mut self.frames, n)
    }

    /// Removes the first `n` frames (all if fewer); they return to their pool.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        self.settle();
        let (len, at) = (self.frames.len(), self.frames.as_mut_ptr());
        let n = n.min(len);
        // SAFETY: the first `n` are given back, and nobody has them any more; the others move to their places.
        unsafe {
            self.frames.set_len(0);
            give_back(std::slice::from_raw_parts(at, n));
            if n < len {
                std::ptr::copy(at.add(n), at, len - n);
                self.frames.set_len(len - n);
            }
        }
    }

    /// Shows all frames together to `send`, which says how many of the first are sent. Removes those, which return to their pool,
    /// and gives how many they are.
    #[inline]
    pub fn offer(&mut self, widest: Widest, send: impl FnOnce(&Survey<'_>) -> usize) -> usize {
        self.settle();
        let (len, at) = (self.frames.len(), self.frames.as_mut_ptr());
        // SAFETY: so many lie there, and nothing happens to them before they are given back.
        let survey = Survey::of(unsafe { std::slice::from_raw_parts(at, len) }, widest);
        let n = send(&survey).min(len);
        // SAFETY: as in `consume`.
        unsafe {
            self.frames.set_len(0);
            give_back_surveyed(&survey, n);
            if n < len {
                std::ptr::copy(at.add(n), at, len - n);
                self.frames.set_len(len - n);
            }
        }
        n
    }

    /// Removes the first `n` frames (all if fewer), each of which is given to `take`.
    #[inline]
    pub fn hand_over(&mut self, n: usize, take: impl FnMut(Frame)) {
        self.settle();
        let n = n.min(self.frames.len());
        self.frames.drain(..n).for_each(take);
    }

    /// Removes the last frame.
    #[inline]
    pub fn pop(&mut self) -> Option<Frame> {
        self.settle();
        self.frames.pop()
    }

    /// The frames in order.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[Frame] {
        self.settle();
        &self.frames
    }

    /// The frames in order, to be changed in place.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Frame] {
        self.settle();
        &mut self.frames
    }
}

impl fmt::Debug for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Burst").field("frames", &self.as_slice()).field("limit", &self.limit).finish()
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        // A frame goes home by what its head says.
        self.settle();
    }
}
