//! Code compiled twice: for any processor of the kind, and for one that has more.
//!
//! What x86-64 always had is SSE2. Most processors since 2013 (2015 for AMD) have AVX2, BMI, MOVBE and PCLMULQDQ as well: a frame's headers
//! are compared by one instruction then, words are read in network order and rotated as they are loaded, and polynomials are multiplied.
//! Which it is, is found out once; [`Widest::run`] then runs a piece of [`Work`] as it was compiled for that.

use super::four::Fours;
use super::prefetch::first_equal_lane;
use std::mem::MaybeUninit;

/// What a piece of work may use.
pub trait Wide: Fours {
    /// 32 octets that are moved and nothing else.
    type HalfLine: Copy;

    /// From memory. They may be padding.
    fn half_line(self, octets: &MaybeUninit<[u64; 4]>) -> Self::HalfLine;

    /// Four words of 64 bits, each a sum of its own.
    type Words: Copy;

    /// Four times 0.
    fn no_words(self) -> Self::Words;

    /// Each with its word of `octets` added.
    fn plus_four(self, words: Self::Words, octets: &[u8; 32]) -> Self::Words;

    /// The first two with their words of `octets` added.
    fn plus_two(self, words: Self::Words, octets: &[u8; 16]) -> Self::Words;

    /// All four together.
    fn sum(self, words: Self::Words) -> u64;

    /// Whether octets differ from those wanted in a bit of `mask`.
    fn differ(self, octets: &[u8; 32], wanted: &[u8; 32], mask: &[u8; 32]) -> bool;

    /// The first lane that equals the lower 16 bits of `word`, which are not 0. 10 or more: there is none.
    fn first_equal_lane(self, lanes: &[u16; 10], word: u64) -> u32;

    /// A sum of products in the field of 2^64 elements, of polynomials modulo x^64 + x^4 + x^3 + x + 1, which is as quick as a few
    /// ordinary products: both halves of `pairs[0]`, each with its key added, multiplied with each other; the same of `pairs[1]`; and
    /// `word` by its key. `None` where there is no such product.
    fn sum_of_products(self, pairs: [&[u8; 16]; 2], word: u64, keys: &Keys) -> Option<u64>;
}

/// Two words of 64 bits that are worked on at once. Compilers do not take them apart to work on several pairs instead.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct Pair(std::arch::x86_64::__m128i);

#[cfg(target_arch = "x86_64")]
impl Pair {
    /// From memory.
    #[inline(always)]
    #[must_use]
    pub fn of(words: &[u64; 2]) -> Pair {
        // SAFETY: every x86-64 has SSE2, and 16 octets are there to be read.
        Pair(unsafe { std::arch::x86_64::_mm_loadu_si128(words.as_ptr().cast()) })
    }

    #[inline(always)]
    fn of_octets(octets: &[u8; 16]) -> Pair {
        // SAFETY: as above.
        Pair(unsafe { std::arch::x86_64::_mm_loadu_si128(octets.as_ptr().cast()) })
    }

    #[inline(always)]
    fn plus(self, other: Pair) -> Pair {
        // SAFETY: as above.
        Pair(unsafe { std::arch::x86_64::_mm_add_epi64(self.0, other.0) })
    }

    /// Bits in which they differ.
    #[inline(always)]
    #[must_use]
    pub fn xor(self, other: Pair) -> Pair {
        // SAFETY: as above.
        Pair(unsafe { std::arch::x86_64::_mm_xor_si128(self.0, other.0) })
    }

    /// Bits that one has.
    #[inline(always)]
    #[must_use]
    pub fn or(self, other: Pair) -> Pair {
        // SAFETY: as above.
        Pair(unsafe { std::arch::x86_64::_mm_or_si128(self.0, other.0) })
    }

    /// Both words.
    #[inline(always)]
    #[must_use]
    pub fn words(self) -> [u64; 2] {
        let mut words = [0; 2];
        // SAFETY: as above, and there is room for 16.
        unsafe { std::arch::x86_64::_mm_storeu_si128(words.as_mut_ptr().cast(), self.0) }
        words
    }
}

/// Two words of 64 bits.
#[cfg(not(target_arch = "x86_64"))]
#[derive(Clone, Copy, Debug)]
pub struct Pair([u64; 2]);

#[cfg(not(target_arch = "x86_64"))]
impl Pair {
    /// From memory.
    #[inline(always)]
    #[must_use]
    pub fn of(words: &[u64; 2]) -> Pair {
        Pair(*words)
    }

    #[inline(always)]
    fn of_octets(octets: &[u8; 16]) -> Pair {
        let mut pair = [0; 2];
        for (word, octets) in pair.iter_mut().zip(octets.as_chunks().0) {
            *word = u64::from_le_bytes(*octets);
        }
        Pair(pair)
    }

    #[inline(always)]
    fn plus(self, other: Pair) -> Pair {
        Pair([self.0[0].wrapping_add(other.0[0]), self.0[1].wrapping_add(other.0[1])])
    }

    /// Bits in which they differ.
    #[inline(always)]
    #[must_use]
    pub fn xor(self, other: Pair) -> Pair {
        Pair([self.0[0] ^ other.0[0], self.0[1] ^ other.0[1]])
    }

    /// Bits that one has.
    #[inline(always)]
    #[must_use]
    pub fn or(self, other: Pair) -> Pair {
        Pair([self.0[0] | other.0[0], self.0[1] | other.0[1]])
    }

    /// Both words.
    #[inline(always)]
    #[must_use]
    pub fn words(self) -> [u64; 2] {
        self.0
    }
}

/// Keys of a [sum of products](Wide::sum_of_products).
#[derive(Clone, Copy, Debug)]
pub struct Keys {
    /// Of the halves of both pairs.
    pub pairs: [[u64; 2]; 2],
    /// Of the word.
    pub word: u64,
}

/// What every processor has.
#[derive(Clone, Copy, Debug)]
pub struct Common;

impl Wide for Common {
    type HalfLine = MaybeUninit<[u64; 4]>;

    #[inline(always)]
    fn half_line(self, octets: &MaybeUninit<[u64; 4]>) -> Self::HalfLine {
        *octets
    }

    type Words = [Pair; 2];

    #[inline(always)]
    fn no_words(self) -> [Pair; 2] {
        [Pair::of(&[0; 2]); 2]
    }

    #[inline(always)]
    fn plus_four(self, [low, high]: [Pair; 2], octets: &[u8; 32]) -> [Pair; 2] {
        let [first, second] = [octets.first_chunk(), octets.last_chunk()].map(|half| half.map(Pair::of_octets));
        let plus = |pair: Pair, more: Option<Pair>| more.map_or(pair, |more| pair.plus(more));
        [plus(low, first), plus(high, second)]
    }

    #[inline(always)]
    fn plus_two(self, [low, high]: [Pair; 2], octets: &[u8; 16]) -> [Pair; 2] {
        [low.plus(Pair::of_octets(octets)), high]
    }

    #[inline(always)]
    fn sum(self, [low, high]: [Pair; 2]) -> u64 {
        let [a, b] = low.plus(high).words();
        a.wrapping_add(b)
    }

    #[inline(always)]
    fn differ(self, octets: &[u8; 32], wanted: &[u8; 32], mask: &[u8; 32]) -> bool {
        let words = |octets: &[u8; 32]| {
            let mut words = [0; 4];
            for (word, octets) in words.iter_mut().zip(octets.as_chunks().0) {
                *word = u64::from_ne_bytes(*octets);
            }
            words
        };
        let [(a, b, c), (d, e, f), (g, h, i), (j, k, l)] = {
            let ([a, d, g, j], [b, e, h, k], [c, f, i, l]) = (words(octets), words(wanted), words(mask));
            [(a, b, c), (d, e, f), (g, h, i), (j, k, l)]
        };
        (a ^ b) & c | (d ^ e) & f | (g ^ h) & i | (j ^ k) & l != 0
    }

    #[inline(always)]
    fn first_equal_lane(self, lanes: &[u16; 10], word: u64) -> u32 {
        first_equal_lane(lanes, word)
    }

    #[inline(always)]
    fn sum_of_products(self, _: [&[u8; 16]; 2], _: u64, _: &Keys) -> Option<u64> {
        None
    }
}

/// AVX2, BMI, MOVBE and PCLMULQDQ; exists only where they do.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Wide for Avx2 {
    type HalfLine = MaybeUninit<std::arch::x86_64::__m256i>;

    #[inline(always)]
    fn half_line(self, octets: &MaybeUninit<[u64; 4]>) -> Self::HalfLine {
        // SAFETY: there are 32 octets, which may be anything.
        unsafe { std::ptr::from_ref(octets).cast::<Self::HalfLine>().read_unaligned() }
    }

    type Words = std::arch::x86_64::__m256i;

    #[inline(always)]
    fn no_words(self) -> Self::Words {
        // SAFETY: there is AVX2.
        unsafe { std::arch::x86_64::_mm256_setzero_si256() }
    }

    #[inline(always)]
    fn plus_four(self, words: Self::Words, octets: &[u8; 32]) -> Self::Words {
        use std::arch::x86_64::{_mm256_add_epi64, _mm256_loadu_si256};
        // SAFETY: there is AVX2, and 32 octets are there to be read.
        unsafe { _mm256_add_epi64(words, _mm256_loadu_si256(octets.as_ptr().cast())) }
    }

    #[inline(always)]
    fn plus_two(self, words: Self::Words, octets: &[u8; 16]) -> Self::Words {
        use std::arch::x86_64::{_mm_loadu_si128, _mm256_add_epi64, _mm256_zextsi128_si256};
        // SAFETY: there is AVX2, and 16 octets are there to be read.
        unsafe { _mm256_add_epi64(words, _mm256_zextsi128_si256(_mm_loadu_si128(octets.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn sum(self, words: Self::Words) -> u64 {
        use std::arch::x86_64::{_mm256_castsi256_si128, _mm256_extracti128_si256};
        // SAFETY: there is AVX2.
        let [low, high] = unsafe { [_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words)] };
        Common.sum([Pair(low), Pair(high)])
    }

    #[inline(always)]
    fn differ(self, octets: &[u8; 32], wanted: &[u8; 32], mask: &[u8; 32]) -> bool {
        use std::arch::x86_64::{__m256i, _mm256_loadu_si256, _mm256_testz_si256, _mm256_xor_si256};
        /// Wherever they lie.
        #[repr(C, packed)]
        struct Octets(__m256i);
        // SAFETY: there is AVX2, and 32 octets are there to be read each time.
        unsafe {
            // Out of an ordinary load every field would be taken again that is read later.
            let Octets(octets) = octets.as_ptr().cast::<Octets>().read_volatile();
            let [wanted, mask] = [wanted, mask].map(|octets| _mm256_loadu_si256(octets.as_ptr().cast()));
            _mm256_testz_si256(_mm256_xor_si256(octets, wanted), mask) == 0
        }
    }

    #[inline(always)]
    fn first_equal_lane(self, lanes: &[u16; 10], word: u64) -> u32 {
        use std::arch::x86_64::{
            _mm256_cmpeq_epi16, _mm256_maskload_epi32, _mm256_movemask_epi8, _mm256_set1_epi16, _mm256_setr_epi32,
        };
        // SAFETY: there is AVX2. Of what is loaded the mask has the 20 octets of the lanes; all else becomes 0, which no
        // lane is looked for as.
        let equal = unsafe {
            let mask = _mm256_setr_epi32(-1, -1, -1, -1, -1, 0, 0, 0);
            let lanes = _mm256_maskload_epi32(lanes.as_ptr().cast(), mask);
            let wanted = _mm256_set1_epi16((word as u16).cast_signed());
            _mm256_movemask_epi8(_mm256_cmpeq_epi16(lanes, wanted))
        };
        // Two octets, and so two bits, to a lane.
        equal.cast_unsigned().trailing_zeros() / 2
    }

    #[inline(always)]
    fn sum_of_products(self, pairs: [&[u8; 16]; 2], word: u64, keys: &Keys) -> Option<u64> {
        use std::arch::x86_64::{
            _mm_clmulepi64_si128, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_loadu_si128, _mm_xor_si128,
        };
        const HIGH_BY_LOW: i32 = 0x01;
        // SAFETY: there is PCLMULQDQ, and 16 octets are there to be read each time.
        let sum = unsafe {
            let [first, second] = [(pairs[0], &keys.pairs[0]), (pairs[1], &keys.pairs[1])].map(|(pair, key)| {
                let pair = _mm_loadu_si128(pair.as_ptr().cast());
                let pair = _mm_xor_si128(pair, _mm_loadu_si128(key.as_ptr().cast()));
                _mm_clmulepi64_si128::<HIGH_BY_LOW>(pair, pair)
            });
            let third = _mm_clmulepi64_si128::<0>(
                _mm_cvtsi64_si128(word.cast_signed()),
                _mm_cvtsi64_si128(keys.word.cast_signed()),
            );
            let sum = _mm_xor_si128(_mm_xor_si128(first, second), third);
            // What is beyond x^64 comes back as its product with x^4 + x^3 + x + 1, and what that has beyond once more.
            let modulus = _mm_cvtsi64_si128(0b1_1011);
            let once = _mm_clmulepi64_si128::<HIGH_BY_LOW>(sum, modulus);
            let twice = _mm_clmulepi64_si128::<HIGH_BY_LOW>(once, modulus);
            _mm_cvtsi128_si64(_mm_xor_si128(_mm_xor_si128(sum, once), twice))
        };
        Some(sum.cast_unsigned())
    }
}

/// Something to be done by whatever there is. `run` must be `#[inline(always)]`, and so must be what it is to be compiled
/// with.
pub trait Work {
    /// What comes of it.
    type Output;

    /// Does it.
    fn run(self, wide: impl Wide) -> Self::Output;
}

/// What the processor has.
#[derive(Clone, Copy, Debug)]
pub struct Widest {
    /// Of all that [`Avx2`] stands for.
    avx2: bool,
}

impl Widest {
    /// What every processor has.
    pub const COMMON: Widest = Widest { avx2: false };

    /// Asks the processor.
    #[must_use]
    pub fn here() -> Widest {
        #[cfg(target_arch = "x86_64")]
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("movbe")
            && is_x86_feature_detected!("pclmulqdq");
        #[cfg(not(target_arch = "x86_64"))]
        let avx2 = false;
        Widest { avx2 }
    }

    /// Whether there is a [sum of products](Wide::sum_of_products).
    #[inline(always)]
    #[must_use]
    pub const fn has_products(self) -> bool {
        self.avx2
    }

    /// Does a piece of work.
    #[inline(always)]
    pub fn run<T: Work>(self, work: T) -> T::Output {
        #[cfg(target_arch = "x86_64")]
        if self.avx2 {
            // SAFETY: the processor was asked.
            return unsafe { run_avx2(work) };
        }
        run_common(work)
    }
}

#[inline(never)]
fn run_common<T: Work>(work: T) -> T::Output {
    work.run(Common)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,movbe,pclmulqdq")]
#[inline(never)]
fn run_avx2<T: Work>(work: T) -> T::Output {
    work.run(Avx2(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Differ<'a>(&'a [u8; 32], &'a [u8; 32], &'a [u8; 32]);

    impl Work for Differ<'_> {
        type Output = bool;

        #[inline(always)]
        fn run(self, wide: impl Wide) -> bool {
            wide.differ(self.0, self.1, self.2)
        }
    }

    /// Sums of blocks and of a pair.
    struct Sums<'a>(&'a [[u8; 32]], &'a [u8; 16]);

    impl Work for Sums<'_> {
        type Output = u64;

        #[inline(always)]
        fn run(self, wide: impl Wide) -> u64 {
            let words = self.0.iter().fold(wide.no_words(), |words, octets| wide.plus_four(words, octets));
            wide.sum(wide.plus_two(words, self.1))
        }
    }

    struct FirstEqual<'a>(&'a [u16; 10], u64);

    impl Work for FirstEqual<'_> {
        type Output = u32;

        #[inline(always)]
        fn run(self, wide: impl Wide) -> u32 {
            wide.first_equal_lane(self.0, self.1)
        }
    }

    struct Products<'a>([&'a [u8; 16]; 2], u64, &'a Keys);

    impl Work for Products<'_> {
        type Output = Option<u64>;

        #[inline(always)]
        fn run(self, wide: impl Wide) -> Option<u64> {
            wide.sum_of_products(self.0, self.1, self.2)
        }
    }

    /// In that field, bit by bit.
    fn product(mut a: u64, b: u64) -> u64 {
        (0..64).fold(0, |sum, bit| {
            let part = if b >> bit & 1 == 1 { a } else { 0 };
            a = a << 1 ^ if a >> 63 == 1 { 0b1_1011 } else { 0 };
            sum ^ part
        })
    }

    proptest! {
        #[test]
        fn sums_are_those_of_all_words(octets in prop::collection::vec(any::<[u8; 32]>(), 0..5), two: [u8; 16]) {
            let all: Vec<u8> = octets.concat().into_iter().chain(two).collect();
            let wanted = all.as_chunks().0.iter().fold(0, |sum: u64, word| sum.wrapping_add(u64::from_le_bytes(*word)));
            for widest in [Widest::COMMON, Widest::here()] {
                prop_assert_eq!(widest.run(Sums(&octets, &two)), wanted);
            }
        }

        #[test]
        fn bits_of_pairs_are_those_of_their_words(a: [u64; 2], b: [u64; 2]) {
            prop_assert_eq!(Pair::of(&a).xor(Pair::of(&b)).words(), [a[0] ^ b[0], a[1] ^ b[1]]);
            prop_assert_eq!(Pair::of(&a).or(Pair::of(&b)).words(), [a[0] | b[0], a[1] | b[1]]);
        }

        #[test]
        fn products_are_those_of_the_field(octets: [[u8; 16]; 2], word: u64, pairs: [[u64; 2]; 2], key: u64) {
            let keys = Keys { pairs, word: key };
            let half = |octets: &[u8]| u64::from_ne_bytes(octets.try_into().unwrap());
            let wanted = octets.iter().zip(pairs).fold(product(word, key), |sum, (octets, keys)| {
                sum ^ product(half(&octets[..8]) ^ keys[0], half(&octets[8..]) ^ keys[1])
            });
            let work = || Products([&octets[0], &octets[1]], word, &keys);
            prop_assert_eq!(Widest::COMMON.run(work()), None);
            let here = Widest::here();
            prop_assert_eq!(here.run(work()), here.has_products().then_some(wanted));
        }

        #[test]
        fn only_what_the_mask_has_is_compared(octets: [u8; 32], mask: [u8; 32], at in 0usize..32, bit in 0u8..8) {
            for widest in [Widest::COMMON, Widest::here()] {
                prop_assert!(!widest.run(Differ(&octets, &octets, &mask)));
                let mut other = octets;
                for (octet, mask) in other.iter_mut().zip(&mask) {
                    *octet ^= !mask;
                }
                prop_assert!(!widest.run(Differ(&other, &octets, &mask)));
                other[at] ^= 1 << bit;
                prop_assert_eq!(widest.run(Differ(&other, &octets, &mask)), mask[at] >> bit & 1 == 1);
            }
        }

        #[test]
        fn the_first_equal_lane_is_found(
            lanes in prop::array::uniform10(0u16..9), scale in 1u16..9000, wanted in 1u16..9, more: u64,
        ) {
            let lanes = lanes.map(|lane| lane.wrapping_mul(scale));
            let wanted = wanted.wrapping_mul(scale).max(1);
            let expected = lanes.iter().position(|lane| *lane == wanted);
            for widest in [Widest::COMMON, Widest::here()] {
                let found = widest.run(FirstEqual(&lanes, u64::from(wanted) | more << 16)) as usize;
                prop_assert_eq!(Some(found).filter(|at| *at < 10), expected);
            }
        }
    }
}
