//! Pacing: how many packets are due. A token bucket whose tokens are packets; time is an argument.

/// A token bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Packets per nanosecond; `None` fills it at once.
    rate: Option<f64>,
    /// Most tokens it holds.
    depth: f64,
    tokens: f64,
    /// When it was last filled.
    filled: u64,
    /// Tokens that found no room: packets that were due and not sent in time.
    spilt: f64,
}

/// Packets sent at once at most when the pacer lags behind, at any rate.
const LEAST_DEPTH: f64 = 64.0;

/// How long the pacer may lag behind and still catch up, in nanoseconds.
const CATCH_UP: f64 = 1_000_000.0;

impl Bucket {
    /// An empty bucket at `now` for `pps` packets per second; `None` is as many as possible.
    #[must_use]
    pub fn new(pps: Option<f64>, now: u64) -> Bucket {
        let rate = pps.map(|pps| pps / 1e9);
        let depth = rate.map_or(f64::MAX, |rate| (rate * CATCH_UP).max(LEAST_DEPTH));
        Bucket { rate, depth, tokens: 0.0, filled: now, spilt: 0.0 }
    }

    /// Changes the rate from `now` on; what is due stays due.
    pub fn set_rate(&mut self, pps: f64, now: u64) {
        self.fill(now);
        self.rate = Some(pps / 1e9);
        self.depth = (pps / 1e9 * CATCH_UP).max(LEAST_DEPTH);
    }

    #[inline]
    fn fill(&mut self, now: u64) {
        let Some(rate) = self.rate else { return };
        let tokens = self.tokens + rate * now.saturating_sub(self.filled) as f64;
        self.filled = self.filled.max(now);
        self.tokens = tokens.min(self.depth);
        self.spilt += tokens - self.tokens;
    }

    /// Packets due at `now`, at most `most`. They are taken out.
    #[inline]
    pub fn take(&mut self, now: u64, most: usize) -> usize {
        if self.rate.is_none() {
            return most;
        }
        self.fill(now);
        let due = (self.tokens as usize).min(most);
        self.tokens -= due as f64;
        due
    }

    /// At the end, `now`: what is due is not sent any more.
    pub fn close(&mut self, now: u64) {
        self.fill(now);
        self.spilt += self.tokens.floor();
        self.tokens = 0.0;
    }

    /// Packets that were due and could not be sent in time, rounded down.
    #[must_use]
    pub const fn spilt(&self) -> u64 {
        self.spilt as u64
    }
}

/// One thing for every so many: spreads a share evenly.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// In parts of [`WHOLE`].
    share: u64,
    sum: u64,
}

/// The whole: a share is kept to a billionth, and without a rounding error that adds up.
const WHOLE: u64 = 1_000_000_000;

impl Share {
    /// A share from 0 to 1.
    #[must_use]
    pub fn new(share: f64) -> Share {
        Share { share: ((share * WHOLE as f64).round() as u64).min(WHOLE), sum: 0 }
    }

    /// Any does at all.
    #[must_use]
    pub const fn is_some(&self) -> bool {
        self.share > 0
    }

    /// Whether this one falls under the share.
    #[inline]
    pub const fn hit(&mut self) -> bool {
        self.sum += self.share;
        let hit = self.sum >= WHOLE;
        if hit {
            self.sum -= WHOLE;
        }
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn sent(bucket: &mut Bucket, from: u64, to: u64, step: u64) -> usize {
        (from..to).step_by(step as usize).map(|now| bucket.take(now + step, 256)).sum()
    }

    #[test]
    fn a_second_has_as_many_packets_as_asked() {
        for pps in [1.0, 999.0, 1e4, 123_456.0, 1e6, 14_880_952.0] {
            for step in [500, 7_000, 10_000] {
                let mut bucket = Bucket::new(Some(pps), 17);
                let n = sent(&mut bucket, 17, 17 + SECOND, step);
                // The last step may reach past the second.
                let slack = 1.0 + pps * step as f64 / 1e9;
                assert!((n as f64 - pps).abs() <= slack, "{pps}: {n}");
                assert_eq!(bucket.spilt(), 0);
            }
        }
    }

    #[test]
    fn a_pause_is_caught_up_with_only_so_far_and_the_rest_is_told() {
        let mut bucket = Bucket::new(Some(1e6), 0);
        assert_eq!(bucket.take(500_000, usize::MAX), 500, "half a millisecond is caught up with");
        assert_eq!(bucket.take(20_500_000, usize::MAX), 1000, "of twenty milliseconds one");
        assert_eq!(bucket.spilt(), 19_000);
        assert_eq!(bucket.take(20_500_000, usize::MAX), 0);
    }

    #[test]
    fn a_changed_rate_holds_from_then_on() {
        let mut bucket = Bucket::new(Some(1e5), 0);
        let before = sent(&mut bucket, 0, SECOND, 10_000);
        bucket.set_rate(2e5, SECOND);
        let after = sent(&mut bucket, SECOND, 2 * SECOND, 10_000);
        assert!(before.abs_diff(100_000) <= 1 && after.abs_diff(200_000) <= 1, "{before} {after}");
    }

    #[test]
    fn time_that_stands_still_or_runs_back_gives_nothing() {
        let mut bucket = Bucket::new(Some(1e9), 1000);
        assert_eq!(bucket.take(1010, usize::MAX), 10);
        assert_eq!(bucket.take(1010, usize::MAX), 0);
        assert_eq!(bucket.take(900, usize::MAX), 0);
        assert_eq!(bucket.take(1011, usize::MAX), 1);
    }

    #[test]
    fn without_a_rate_everything_is_due() {
        assert_eq!(Bucket::new(None, 0).take(0, 64), 64);
    }

    #[test]
    fn shares_are_exact() {
        for share in [0.0, 0.01, 0.1, 0.25, 1.0] {
            let mut s = Share::new(share);
            let hits = (0..10_000).filter(|_| s.hit()).count();
            assert_eq!(hits, (share * 10_000.0) as usize, "{share}");
        }
    }
}
