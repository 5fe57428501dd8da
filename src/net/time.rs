//! Time as an argument: the worker reads a clock once per turn and hands the reading down.

/// A point in time: nanoseconds since an arbitrary start. In a replay it is the capture's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(pub u64);

impl Now {
    /// From whole seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Now(secs * 1_000_000_000)
    }

    /// From milliseconds.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Now(ms * 1_000_000)
    }

    /// On the wrapping millisecond clock that entries keep.
    #[inline]
    #[must_use]
    pub const fn millis(self) -> Millis {
        Millis((self.0 / 1_000_000) as u32)
    }

    /// This point plus `ms` milliseconds.
    #[must_use]
    pub const fn plus_millis(self, ms: u64) -> Self {
        Now(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }
}

/// Milliseconds on a clock that wraps every 49 days; compared as serial numbers.
///
/// Valid while the two points are less than 24.8 days apart, which the configuration's upper bound on
/// timeouts keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Millis(pub u32);

impl Millis {
    /// `self - earlier`, negative when `self` is the earlier one.
    #[inline]
    #[must_use]
    pub const fn since(self, earlier: Millis) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }

    /// This point plus `ms`.
    #[inline]
    #[must_use]
    pub const fn plus(self, ms: u32) -> Millis {
        Millis(self.0.wrapping_add(ms))
    }
}
