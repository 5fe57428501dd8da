//! Longest prefix match as a search among disjoint intervals.
//!
//! Nested prefixes cut the addresses into at most twice as many intervals, plus one, as there are prefixes, each with one answer:
//! that of the longest prefix around it (Lampson, Srinivasan and Varghese, "IP Lookups using Multiway and
//! Multicolumn Search", 1998). An index by the leading bits, 16 for IPv4, leaves a search of few steps in one or two cache
//! lines.

/// No prefix holds the address.
pub(super) const NONE: u32 = u32::MAX;

/// An address as a number.
pub(super) trait Bits: Copy + Ord + Default {
    /// Its width.
    const WIDTH: u32;
    /// Leading bits that an index looks at, at least and at most. Those of IPv6 tell little.
    const INDEXED: [u32; 2];
    /// Its `count` leading bits, 1 to 16.
    fn leading(self, count: u32) -> usize;
    /// The first address with these leading bits.
    fn first_of(leading: usize, count: u32) -> Self;
    /// The address after it; `None` at the end.
    fn next(self) -> Option<Self>;
    /// The last address of the prefix of `len` bits that begins with it.
    fn last_of(self, len: u8) -> Self;
}

macro_rules! bits {
    ($word:ty, $indexed:expr) => {
        impl Bits for $word {
            const WIDTH: u32 = <$word>::BITS;
            const INDEXED: [u32; 2] = $indexed;

            #[inline(always)]
            fn leading(self, count: u32) -> usize {
                (self >> (Self::WIDTH - count)) as usize
            }

            fn first_of(leading: usize, count: u32) -> Self {
                (leading as Self) << (Self::WIDTH - count)
            }

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn last_of(self, len: u8) -> Self {
                self | Self::MAX.checked_shr(u32::from(len)).unwrap_or_default()
            }
        }
    };
}

bits!(u32, [16, 16]);
bits!(u128, [2, 16]);

/// Where an interval begins, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Start<K> {
    first: K,
    answer: u32,
}

/// The intervals of one family.
#[derive(Debug, Default)]
pub(super) struct Intervals<K> {
    starts: Vec<Start<K>>,
    /// By leading bits: the interval that holds the first address with these bits. One more place at the end.
    index: Vec<u32>,
    bits: u32,
}

impl<K: Bits> Intervals<K> {
    /// From prefixes: network address, length, answer. No prefix may be there twice.
    pub(super) fn new(prefixes: impl IntoIterator<Item = (K, u8, u32)>) -> Self {
        let mut prefixes: Vec<_> = prefixes.into_iter().collect();
        // Those around others come first.
        prefixes.sort_unstable();
        let mut starts = vec![Start { first: K::default(), answer: NONE }];
        let mut around: Vec<(K, u32)> = Vec::new();
        for (first, len, answer) in prefixes {
            leave(&mut starts, &mut around, |last| last < first);
            begin(&mut starts, first, answer);
            around.push((first.last_of(len), answer));
        }
        leave(&mut starts, &mut around, |_| true);
        let [least, most] = K::INDEXED;
        let bits = starts.len().next_power_of_two().trailing_zeros().clamp(least, most);
        let mut at = 0;
        let holding = |addr| {
            while starts.get(at + 1).is_some_and(|start: &Start<K>| start.first <= addr) {
                at += 1;
            }
            at as u32
        };
        let mut index: Vec<u32> = (0..1 << bits).map(|place| K::first_of(place, bits)).map(holding).collect();
        index.push(starts.len() as u32 - 1);
        Intervals { starts, index, bits }
    }

    /// The answer of the longest prefix that holds the address; [`NONE`] if none does.
    #[inline(always)]
    pub(super) fn find(&self, addr: K) -> u32 {
        let place = addr.leading(self.bits);
        let (Some(&from), Some(&to)) = (self.index.get(place), self.index.get(place + 1)) else { return NONE };
        let (mut from, mut to) = (from as usize, to as usize);
        // The last one that begins at the address or before it.
        while from < to {
            let middle = (from + to).div_ceil(2);
            match self.starts.get(middle) {
                Some(start) if start.first <= addr => from = middle,
                _ => to = middle - 1,
            }
        }
        self.starts.get(from).map_or(NONE, |start| start.answer)
    }

    /// Nothing was put in.
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }
}

/// Ends the innermost of the prefixes around, as long as `over` says so of their last address; what is around them goes on.
fn leave<K: Bits>(starts: &mut Vec<Start<K>>, around: &mut Vec<(K, u32)>, over: impl Fn(K) -> bool) {
    while let Some((last, _)) = around.pop_if(|(last, _)| over(*last)) {
        if let Some(first) = last.next() {
            begin(starts, first, around.last().map_or(NONE, |(_, answer)| *answer));
        }
    }
}

/// Begins an interval, unless the one before has the same answer.
fn begin<K: Bits>(starts: &mut Vec<Start<K>>, first: K, answer: u32) {
    starts.pop_if(|start| start.first == first);
    if starts.last().is_none_or(|start| start.answer != answer) {
        starts.push(Start { first, answer });
    }
}
