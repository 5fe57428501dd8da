//! The packets of one receive or transmit call.

use super::Frame;

/// A bounded list of frames. Filling and emptying it never allocates.
#[derive(Debug)]
pub struct Burst {
    frames: Vec<Frame>,
    limit: usize,
}

impl Burst {
    /// An empty burst that holds at most `limit` frames.
    #[must_use]
    pub fn with_limit(limit: usize) -> Self {
        Burst { frames: Vec::with_capacity(limit), limit }
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

    /// Adds a frame at the end.
    ///
    /// # Errors
    /// Gives the frame back when the burst is full.
    #[inline]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.frames.len() == self.limit {
            return Err(frame);
        }
        self.frames.push(frame);
        Ok(())
    }

    /// Adds frames at the end, as many as fit; the others are not asked for.
    #[inline]
    pub fn extend(&mut self, frames: impl Iterator<Item = Frame>) {
        let room = self.room();
        self.frames.extend(frames.take(room));
    }

    /// Takes all frames out, in order.
    #[inline]
    pub fn drain(&mut self) -> std::vec::Drain<'_, Frame> {
        self.frames.drain(..)
    }

    /// Takes the first `n` frames out, in order (all if fewer).
    #[inline]
    pub fn take(&mut self, n: usize) -> std::vec::Drain<'_, Frame> {
        let n = n.min(self.frames.len());
        self.frames.drain(..n)
    }

    /// Removes the first `n` frames (all if fewer); they return to their pool.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        let n = n.min(self.frames.len());
        self.frames.drain(..n);
    }

    /// Removes the first `n` frames (all if fewer), each of which is given to `take`.
    #[inline]
    pub fn hand_over(&mut self, n: usize, take: impl FnMut(Frame)) {
        let n = n.min(self.frames.len());
        self.frames.drain(..n).for_each(take);
    }

    /// Removes the last frame.
    #[inline]
    pub fn pop(&mut self) -> Option<Frame> {
        self.frames.pop()
    }

    /// The frames in order.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[Frame] {
        &self.frames
    }

    /// The frames in order, to be changed in place.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Frame] {
        &mut self.frames
    }
}
