//! Sorted disjoint ranges: what sets of addresses and lists of ports become.

use crate::net::{Addr, Family};
use ipnet::IpNet;
use std::ops::RangeInclusive;

/// Sorts and merges ranges that touch or overlap. `next` gives the value after one, `None` at the end.
fn merged<T: Copy + Ord>(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut out: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (lo, hi) in ranges {
        match out.last_mut() {
            Some(last) if next(last.1).is_none_or(|n| lo <= n) => last.1 = last.1.max(hi),
            _ => out.push((lo, hi)),
        }
    }
    out
}

/// Whether one of the sorted disjoint `ranges` holds all of `lo ..= hi`.
#[inline]
fn holds<T: Copy + Ord>(ranges: &[(T, T)], lo: T, hi: T) -> bool {
    let after = ranges.partition_point(|r| r.0 <= lo);
    match after.checked_sub(1).and_then(|i| ranges.get(i)) {
        Some(r) => hi <= r.1,
        None => false,
    }
}

/// Port ranges of a rule, merged. A reversed range holds nothing.
pub(super) fn ports(list: &[RangeInclusive<u16>]) -> Vec<(u16, u16)> {
    let kept = list.iter().filter(|r| !r.is_empty()).map(|r| (*r.start(), *r.end())).collect();
    merged(kept, |p| p.checked_add(1))
}

/// Whether a port is in one of the ranges. Few ranges are the rule, so they are walked.
#[inline]
pub(super) fn port_in(ranges: &[(u16, u16)], port: u16) -> bool {
    ranges.iter().any(|&(lo, hi)| lo <= port && port <= hi)
}

/// Whether every port of `inner` is in `outer`; both merged.
pub(super) fn ports_cover(outer: &[(u16, u16)], inner: &[(u16, u16)]) -> bool {
    inner.iter().all(|&(lo, hi)| holds(outer, lo, hi))
}

const fn wide(addr: Addr) -> u128 {
    (addr.hi as u128) << 64 | addr.lo as u128
}

/// First and last address of a prefix, as numbers.
pub(super) fn bounds(net: &IpNet) -> (Family, u128, u128) {
    let family = Family::from(net.network());
    (family, wide(net.network().into()), wide(net.broadcast().into()))
}

/// A set of addresses of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct RangeSet {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl RangeSet {
    /// The union of prefixes.
    pub(super) fn new<'a>(nets: impl IntoIterator<Item = &'a IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for net in nets {
            match bounds(net) {
                (Family::V4, lo, hi) => v4.push((lo as u32, hi as u32)),
                (Family::V6, lo, hi) => v6.push((lo, hi)),
            }
        }
        RangeSet { v4: merged(v4, |a| a.checked_add(1)), v6: merged(v6, |a| a.checked_add(1)) }
    }

    /// Whether the address is in the set.
    #[inline]
    pub(super) fn contains(&self, family: Family, addr: Addr) -> bool {
        match family {
            Family::V4 => holds(&self.v4, addr.as_v4(), addr.as_v4()),
            Family::V6 => holds(&self.v6, wide(addr), wide(addr)),
        }
    }

    /// Whether the set holds every address of `other`.
    pub(super) fn covers(&self, other: &RangeSet) -> bool {
        other.v4.iter().all(|&(lo, hi)| holds(&self.v4, lo, hi))
            && other.v6.iter().all(|&(lo, hi)| holds(&self.v6, lo, hi))
    }

    /// Every address of both families.
    pub(super) fn is_everything(&self) -> bool {
        holds(&self.v4, 0, u32::MAX) && holds(&self.v6, 0, u128::MAX)
    }

    /// No address.
    pub(super) fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// All addresses of the set, first and last of each range.
    pub(super) fn ends(&self) -> impl Iterator<Item = (Family, Addr, Addr)> {
        let v4 = self.v4.iter().map(|&(lo, hi)| (Family::V4, Addr::v4(lo), Addr::v4(hi)));
        let v6 = self.v6.iter().map(|&(lo, hi)| (Family::V6, Addr::v6(lo.to_be_bytes()), Addr::v6(hi.to_be_bytes())));
        v4.chain(v6)
    }

    /// Whether the set holds every address from `lo` to `hi`.
    pub(super) fn covers_range(&self, family: Family, lo: Addr, hi: Addr) -> bool {
        match family {
            Family::V4 => holds(&self.v4, lo.as_v4(), hi.as_v4()),
            Family::V6 => holds(&self.v6, wide(lo), wide(hi)),
        }
    }
}
