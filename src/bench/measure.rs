//! Clocks and statistics.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of processor time this thread has used.
pub(super) fn cpu_ns() -> u64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// The value that a share `q` of the values, sorted by this, does not exceed; 0 if there are none.
pub(super) fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (q * values.len() as f64) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// The middle value.
pub(super) fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}
