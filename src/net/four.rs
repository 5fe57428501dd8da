//! Four words of 32 bits that are worked on at once.
//!
//! Words that go around, as sequence numbers do: sums and differences wrap, and less than nothing is what has its highest bit set.

#[cfg(target_arch = "x86_64")]
use super::wide::Avx2;
use super::wide::Common;

/// What can be done with four words.
pub trait Fours: Copy {
    /// The four.
    type Four: Copy;

    /// From memory.
    fn load(self, words: &[u32; 4]) -> Self::Four;
    /// Into memory.
    fn store(self, four: Self::Four, words: &mut [u32; 4]);
    /// Words of which `order` says, octet by octet and the lowest first, which of `octets` they are; [`NO`] is a zero.
    fn pick(self, octets: &[u8; 16], order: &[u8; 16]) -> Self::Four;
    /// The sums, word by word.
    fn plus(self, a: Self::Four, b: Self::Four) -> Self::Four;
    /// The differences.
    fn minus(self, a: Self::Four, b: Self::Four) -> Self::Four;
    /// The same words, but 0 for those below 0.
    fn or_0(self, a: Self::Four) -> Self::Four;
    /// Each shifted to the left by those bits of `by` that are in its `mask`, at most 31.
    fn shifted(self, a: Self::Four, by: u8, mask: &[u32; 4]) -> Self::Four;
    /// With `half` in place of one of the eight halves of words.
    fn with_half<const AT: i32>(self, a: Self::Four, half: u16) -> Self::Four;
    /// For each word, the one that two bits of `ORDER` name, those of the first word being the lowest.
    fn spread<const ORDER: i32>(self, a: Self::Four) -> Self::Four;
    /// Those of `b` whose bit in `OTHERS` is set, and of `a` else.
    fn mixed<const OTHERS: i32>(self, a: Self::Four, b: Self::Four) -> Self::Four;
    /// Whether one is below 0.
    fn is_below_0(self, a: Self::Four) -> bool;
    /// Whether no bit of `mask` is set.
    fn are_0(self, a: Self::Four, mask: &[u32; 4]) -> bool;
    /// The first.
    fn first(self, a: Self::Four) -> u32;
    /// The first two, the first in the lower half.
    fn first_two(self, a: Self::Four) -> u64;
}

/// No octet.
pub const NO: u8 = 0x80;

#[inline(always)]
const fn octet(octets: &[u8; 16], at: u8) -> u8 {
    if at < 16 { octets[(at & 15) as usize] } else { 0 }
}

#[inline(always)]
const fn word(octets: &[u8; 16], order: &[u8; 16], at: usize) -> u32 {
    let [a, b, c, d] = [order[at], order[at + 1], order[at + 2], order[at + 3]];
    u32::from_le_bytes([octet(octets, a), octet(octets, b), octet(octets, c), octet(octets, d)])
}

/// Word by word.
impl Fours for Common {
    type Four = [u32; 4];

    #[inline(always)]
    fn load(self, words: &[u32; 4]) -> [u32; 4] {
        *words
    }

    #[inline(always)]
    fn store(self, four: [u32; 4], words: &mut [u32; 4]) {
        *words = four;
    }

    #[inline(always)]
    fn pick(self, octets: &[u8; 16], order: &[u8; 16]) -> [u32; 4] {
        [word(octets, order, 0), word(octets, order, 4), word(octets, order, 8), word(octets, order, 12)]
    }

    #[inline(always)]
    fn plus(self, [a, b, c, d]: [u32; 4], [e, f, g, h]: [u32; 4]) -> [u32; 4] {
        [a.wrapping_add(e), b.wrapping_add(f), c.wrapping_add(g), d.wrapping_add(h)]
    }

    #[inline(always)]
    fn minus(self, [a, b, c, d]: [u32; 4], [e, f, g, h]: [u32; 4]) -> [u32; 4] {
        [a.wrapping_sub(e), b.wrapping_sub(f), c.wrapping_sub(g), d.wrapping_sub(h)]
    }

    #[inline(always)]
    fn or_0(self, [a, b, c, d]: [u32; 4]) -> [u32; 4] {
        let or_0 = |a: u32| a.cast_signed().max(0).cast_unsigned();
        [or_0(a), or_0(b), or_0(c), or_0(d)]
    }

    #[inline(always)]
    fn shifted(self, [a, b, c, d]: [u32; 4], by: u8, [e, f, g, h]: &[u32; 4]) -> [u32; 4] {
        let by = u32::from(by);
        [a << (by & e & 31), b << (by & f & 31), c << (by & g & 31), d << (by & h & 31)]
    }

    #[inline(always)]
    fn with_half<const AT: i32>(self, mut a: [u32; 4], half: u16) -> [u32; 4] {
        let (word, up) = ((AT as usize / 2) & 3, 16 * (AT as u32 & 1));
        a[word] = a[word] & !(0xffff << up) | u32::from(half) << up;
        a
    }

    #[inline(always)]
    fn spread<const ORDER: i32>(self, a: [u32; 4]) -> [u32; 4] {
        let word = |at: u32| a[(ORDER >> (2 * at)) as usize & 3];
        [word(0), word(1), word(2), word(3)]
    }

    #[inline(always)]
    fn mixed<const OTHERS: i32>(self, a: [u32; 4], b: [u32; 4]) -> [u32; 4] {
        let word = |at: usize| if OTHERS >> at & 1 == 0 { a[at] } else { b[at] };
        [word(0), word(1), word(2), word(3)]
    }

    #[inline(always)]
    fn is_below_0(self, [a, b, c, d]: [u32; 4]) -> bool {
        (a | b | c | d).cast_signed() < 0
    }

    #[inline(always)]
    fn are_0(self, [a, b, c, d]: [u32; 4], [e, f, g, h]: &[u32; 4]) -> bool {
        a & e | b & f | c & g | d & h == 0
    }

    #[inline(always)]
    fn first(self, [a, ..]: [u32; 4]) -> u32 {
        a
    }

    #[inline(always)]
    fn first_two(self, [a, b, ..]: [u32; 4]) -> u64 {
        u64::from(a) | u64::from(b) << 32
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{Avx2, Fours};
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_and_si128, _mm_blend_epi32, _mm_castsi128_ps, _mm_cvtsi128_si32, _mm_cvtsi128_si64,
        _mm_insert_epi16, _mm_loadu_si128, _mm_max_epi32, _mm_set1_epi8, _mm_setzero_si128, _mm_shuffle_epi8,
        _mm_shuffle_epi32, _mm_sllv_epi32, _mm_storeu_si128, _mm_sub_epi32, _mm_testz_ps, _mm_testz_si128,
    };

    // Each of these is one instruction, or two.
    impl Fours for Avx2 {
        type Four = __m128i;

        #[inline(always)]
        fn load(self, words: &[u32; 4]) -> __m128i {
            // SAFETY: 16 octets are there, which may lie anywhere.
            unsafe { _mm_loadu_si128(words.as_ptr().cast()) }
        }

        #[inline(always)]
        fn store(self, four: __m128i, words: &mut [u32; 4]) {
            // SAFETY: as above.
            unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), four) }
        }

        #[inline(always)]
        fn pick(self, octets: &[u8; 16], order: &[u8; 16]) -> __m128i {
            // SAFETY: as above, and there is AVX2.
            unsafe { _mm_shuffle_epi8(_mm_loadu_si128(octets.as_ptr().cast()), _mm_loadu_si128(order.as_ptr().cast())) }
        }

        #[inline(always)]
        fn plus(self, a: __m128i, b: __m128i) -> __m128i {
            // SAFETY: there is AVX2, here and below.
            unsafe { _mm_add_epi32(a, b) }
        }

        #[inline(always)]
        fn minus(self, a: __m128i, b: __m128i) -> __m128i {
            // SAFETY: as above.
            unsafe { _mm_sub_epi32(a, b) }
        }

        #[inline(always)]
        fn or_0(self, a: __m128i) -> __m128i {
            // SAFETY: as above.
            unsafe { _mm_max_epi32(a, _mm_setzero_si128()) }
        }

        #[inline(always)]
        fn shifted(self, a: __m128i, by: u8, mask: &[u32; 4]) -> __m128i {
            // SAFETY: as above.
            unsafe {
                let by = _mm_set1_epi8(by.cast_signed());
                _mm_sllv_epi32(a, _mm_and_si128(by, _mm_loadu_si128(mask.as_ptr().cast())))
            }
        }

        #[inline(always)]
        fn with_half<const AT: i32>(self, a: __m128i, half: u16) -> __m128i {
            // SAFETY: as above.
            unsafe { _mm_insert_epi16::<AT>(a, half.into()) }
        }

        #[inline(always)]
        fn spread<const ORDER: i32>(self, a: __m128i) -> __m128i {
            // SAFETY: as above.
            unsafe { _mm_shuffle_epi32::<ORDER>(a) }
        }

        #[inline(always)]
        fn mixed<const OTHERS: i32>(self, a: __m128i, b: __m128i) -> __m128i {
            // SAFETY: as above.
            unsafe { _mm_blend_epi32::<OTHERS>(a, b) }
        }

        #[inline(always)]
        fn is_below_0(self, a: __m128i) -> bool {
            // SAFETY: as above.
            unsafe { _mm_testz_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(a)) == 0 }
        }

        #[inline(always)]
        fn are_0(self, a: __m128i, mask: &[u32; 4]) -> bool {
            // SAFETY: as above.
            unsafe { _mm_testz_si128(a, _mm_loadu_si128(mask.as_ptr().cast())) != 0 }
        }

        #[inline(always)]
        fn first(self, a: __m128i) -> u32 {
            // SAFETY: as above.
            unsafe { _mm_cvtsi128_si32(a).cast_unsigned() }
        }

        #[inline(always)]
        fn first_two(self, a: __m128i) -> u64 {
            // SAFETY: as above.
            unsafe { _mm_cvtsi128_si64(a).cast_unsigned() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::wide::{Wide, Widest, Work};
    use proptest::prelude::*;

    struct All<'a>([&'a [u32; 4]; 2], &'a [u8; 16], u8, u16);

    const ALL: u32 = u32::MAX;
    const ORDER: [u8; 16] = [3, 2, 1, 0, NO, NO, 15, 14, 7, 7, 7, NO, 4, 5, 6, 8];

    impl Work for All<'_> {
        type Output = (Vec<[u32; 4]>, Vec<u64>, bool);

        #[inline(always)]
        fn run(self, wide: impl Wide) -> Self::Output {
            let All([a, b], octets, by, half) = self;
            let (a, b) = (wide.load(a), wide.load(b));
            let words = |four| {
                let mut words = [0; 4];
                wide.store(four, &mut words);
                words
            };
            let fours = [
                wide.pick(octets, &ORDER),
                wide.plus(a, b),
                wide.minus(a, b),
                wide.or_0(a),
                wide.shifted(a, by, &[0xf, 0, 0x1f, 3]),
                wide.with_half::<3>(a, half),
                wide.with_half::<6>(b, half),
                wide.spread::<0b00_10_11_11>(a),
                wide.mixed::<0b0110>(a, b),
            ];
            let differences = wide.minus(a, b);
            let equal = |mask| u64::from(wide.are_0(differences, mask));
            let equal = [equal(&[0, ALL, ALL, 0]), equal(&[0, 0, 0, ALL]), equal(&[ALL; 4]), equal(&[0, 7, 0, 0])];
            let numbers = [&equal[..], &[wide.first(a).into(), wide.first_two(a)]].concat();
            (fours.map(words).to_vec(), numbers, wide.is_below_0(a))
        }
    }

    proptest! {
        #[test]
        fn four_words_are_worked_on_as_one_by_one(
            a: [u32; 4], b: [u32; 4], alike: [bool; 4], octets: [u8; 16], by: u8, half: u16, positive: bool,
        ) {
            let a = if positive { a.map(|a| a & 0x7fff_ffff) } else { a };
            let b = std::array::from_fn(|at| if alike[at] { a[at] } else { b[at] });
            let (fours, numbers, below) = Widest::here().run(All([&a, &b], &octets, by, half));
            prop_assert_eq!(&(fours.clone(), numbers.clone(), below), &Widest::COMMON.run(All([&a, &b], &octets, by, half)));
            // What they are, said again.
            let picked = ORDER.map(|at| if at == NO { 0 } else { octets[usize::from(at)] });
            let expected = [
                std::array::from_fn(|at| u32::from_le_bytes(*picked[4 * at..].first_chunk().unwrap())),
                std::array::from_fn(|at| a[at].wrapping_add(b[at])),
                std::array::from_fn(|at| a[at].wrapping_sub(b[at])),
                a.map(|a| if a >> 31 == 1 { 0 } else { a }),
                [a[0] << (by & 0xf), a[1], a[2] << (by & 0x1f), a[3] << (by & 3)],
                [a[0], a[1] & 0xffff | u32::from(half) << 16, a[2], a[3]],
                [b[0], b[1], b[2], b[3] >> 16 << 16 | u32::from(half)],
                [a[3], a[3], a[2], a[0]],
                [a[0], b[1], b[2], a[3]],
            ];
            prop_assert_eq!(fours, expected);
            let equal = [a[1..3] == b[1..3], a[3] == b[3], a == b, (a[1] ^ b[1]) & 7 == 0].map(u64::from);
            prop_assert_eq!(&numbers[..4], equal);
            prop_assert_eq!(&numbers[4..], [a[0].into(), u64::from(a[0]) | u64::from(a[1]) << 32]);
            prop_assert_eq!(below, a.iter().any(|a| a >> 31 == 1));
        }
    }
}
