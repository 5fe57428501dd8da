//! Which flow comes next.

use super::plan::{Distribution, Flows};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::Distribution as _;
use rand_distr::weighted::WeightedAliasIndex;

/// The flows of a stream that one worker sends: every `workers`-th, so that a flow has one sender and its packets
/// leave in order.
#[derive(Debug)]
pub struct Picker {
    how: How,
    rng: SmallRng,
    first: u32,
    step: u32,
    count: u32,
    next: u32,
    share: f64,
    before: f64,
}

#[derive(Debug)]
enum How {
    Sequential,
    Uniform,
    Weighted(WeightedAliasIndex<f64>),
}

/// Weight of the flow at index `k` from 0.
fn weight(distribution: Distribution, k: u32) -> f64 {
    match distribution {
        Distribution::Zipf(s) => (f64::from(k) + 1.0).powf(-s),
        Distribution::Sequential | Distribution::Uniform => 1.0,
    }
}

impl Picker {
    /// The flows of worker `worker` of `workers`; `None` if there are none for it.
    #[must_use]
    pub fn new(flows: Flows, worker: usize, workers: usize, seed: u64) -> Option<Picker> {
        let (first, step) = (u32::try_from(worker).ok()?, u32::try_from(workers.max(1)).ok()?);
        if first >= flows.count {
            return None;
        }
        let count = (flows.count - first).div_ceil(step);
        let mine = || (0..count).map(|i| weight(flows.distribution, first + i * step));
        let all: f64 = (0..flows.count).map(|k| weight(flows.distribution, k)).sum();
        let how = match flows.distribution {
            Distribution::Sequential => How::Sequential,
            Distribution::Uniform => How::Uniform,
            Distribution::Zipf(_) => How::Weighted(WeightedAliasIndex::new(mine().collect()).ok()?),
        };
        // Summed worker by worker, so that the parts add up to one.
        let part = |worker: u32| (worker..flows.count).step_by(step as usize).map(|k| weight(flows.distribution, k));
        let before = (0..first).flat_map(part).sum::<f64>() / all;
        let rng = SmallRng::seed_from_u64(seed ^ (worker as u64) << 32);
        Some(Picker { how, rng, first, step, count, next: 0, share: mine().sum::<f64>() / all, before })
    }

    /// Share of the stream's packets that this worker sends.
    #[must_use]
    pub const fn share(&self) -> f64 {
        self.share
    }

    /// Share of those that workers before it send.
    #[must_use]
    pub const fn before(&self) -> f64 {
        self.before
    }

    /// Flows it picks from.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Index of the next flow among this worker's.
    #[inline]
    pub fn pick(&mut self) -> u32 {
        match &self.how {
            How::Sequential => {
                let flow = self.next;
                self.next += 1;
                if self.next == self.count {
                    self.next = 0;
                }
                flow
            }
            How::Uniform => self.rng.random_range(0..self.count),
            How::Weighted(weights) => weights.sample(&mut self.rng) as u32,
        }
    }

    /// The flow's number in the stream.
    #[inline]
    #[must_use]
    pub const fn flow(&self, index: u32) -> u32 {
        self.first + index * self.step
    }

    /// A number below `n`, for choices that are not flows.
    #[inline]
    pub fn random(&mut self, n: u32) -> u32 {
        self.rng.random_range(0..n.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(distribution: Distribution, flows: u32, workers: usize, n: usize) -> Vec<f64> {
        let mut counts = vec![0.0; flows as usize];
        for worker in 0..workers {
            let flows = Flows { count: flows, distribution };
            let Some(mut picker) = Picker::new(flows, worker, workers, 7) else { continue };
            for _ in 0..(n as f64 * picker.share()).round() as usize {
                let index = picker.pick();
                counts[picker.flow(index) as usize] += 1.0;
            }
        }
        counts
    }

    #[test]
    fn one_after_the_other_is_even() {
        for workers in [1, 3] {
            assert!(counts(Distribution::Sequential, 12, workers, 1200).iter().all(|n| *n == 100.0), "{workers}");
        }
    }

    #[test]
    fn uniform_is_even_on_average() {
        let counts = counts(Distribution::Uniform, 10, 2, 100_000);
        // Five standard deviations of a binomial distribution.
        assert!(counts.iter().all(|n| (n - 10_000.0).abs() < 5.0 * 95.0), "{counts:?}");
    }

    #[test]
    fn zipf_has_its_exponent() {
        for (s, workers) in [(0.8, 1), (1.0, 1), (1.2, 4)] {
            let n = 200_000;
            let counts = counts(Distribution::Zipf(s), 1000, workers, n);
            let all: f64 = (1..=1000).map(|k| f64::from(k).powf(-s)).sum();
            for k in [1usize, 2, 5, 20, 100] {
                let wanted = n as f64 * (k as f64).powf(-s) / all;
                let got = counts[k - 1];
                assert!((got - wanted).abs() < 5.0 * wanted.sqrt() + 1.0, "s {s}, {k}: {got} for {wanted}");
            }
        }
    }

    #[test]
    fn every_flow_has_one_worker() {
        let flows = Flows { count: 10, distribution: Distribution::Sequential };
        let mut seen = vec![0; 10];
        for worker in 0..4 {
            let picker = Picker::new(flows, worker, 4, 1).unwrap();
            (0..picker.count()).for_each(|index| seen[picker.flow(index) as usize] += 1);
        }
        assert_eq!(seen, [1; 10]);
        assert!(Picker::new(Flows { count: 1, ..flows }, 1, 2, 1).is_none());
    }
}
