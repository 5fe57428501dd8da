//! The brake on messages the router sends because of others' packets (RFC 1812 section 4.3.2.8, RFC 4443
//! section 2.4 (f)).

use crate::net::Now;

/// Linux' `net.ipv4.icmp_msgs_per_sec`.
pub const DEFAULT_PER_SECOND: u32 = 1000;
/// Linux' `net.ipv4.icmp_msgs_burst`.
pub const DEFAULT_BURST: u32 = 50;

/// A token bucket over all ICMP and ICMPv6 errors of one shard. No clock of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpLimiter {
    /// Nanoseconds of credit one message costs.
    cost: u64,
    /// Most credit there can be.
    cap: u64,
    credit: u64,
    last: Now,
    refused: u64,
}

impl IcmpLimiter {
    /// A full bucket of `burst` messages, refilled with `per_second` messages each second. 0 per second refuses
    /// everything.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        let cost = if per_second == 0 { u64::MAX } else { 1_000_000_000 / per_second as u64 };
        let cap = if per_second == 0 { 0 } else { cost * burst as u64 };
        IcmpLimiter { cost, cap, credit: cap, last: Now(0), refused: 0 }
    }

    /// Whether one more message may be sent at `now`; takes its token if so. A `now` before the last one adds
    /// nothing.
    #[inline]
    pub fn allow(&mut self, now: Now) -> bool {
        self.credit = self.cap.min(self.credit.saturating_add(now.0.saturating_sub(self.last.0)));
        self.last = self.last.max(now);
        let granted = self.credit >= self.cost;
        if granted {
            self.credit -= self.cost;
        } else {
            self.refused += 1;
        }
        granted
    }

    /// Messages refused so far.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }
}

impl Default for IcmpLimiter {
    fn default() -> Self {
        Self::new(DEFAULT_PER_SECOND, DEFAULT_BURST)
    }
}

#[cfg(test)]
mod tests;
