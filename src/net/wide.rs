//! Code compiled twice: for any processor of the kind, and for one that has more.
//!
//! What x86-64 always had is SSE2. Most processors since 2013 (2015 for AMD) have AVX2, BMI and MOVBE as well: a frame's headers are compared
//! by one instruction then, and words are read in network order and rotated as they are loaded. Which it is, is found out
//! once; [`Widest::run`] then runs a piece of [`Work`] as it was compiled for that.

use super::prefetch::first_equal_lane;

/// What a piece of work may use.
pub trait Wide: Copy {
    /// Whether octets differ from those wanted in a bit of `mask`.
    fn differ(self, octets: &[u8; 32], wanted: &[u8; 32], mask: &[u8; 32]) -> bool;

    /// The first lane that equals the lower 16 bits of `word`, which are not 0. 10 or more: there is none.
    fn first_equal_lane(self, lanes: &[u16; 10], word: u64) -> u32;
}

/// What every processor has.
#[derive(Clone, Copy, Debug)]
pub struct Common;

impl Wide for Common {
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
}

/// AVX2, BMI and MOVBE; exists only where they do.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

#[cfg(target_arch = "x86_64")]
impl Wide for Avx2 {
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
            && is_x86_feature_detected!("movbe");
        #[cfg(not(target_arch = "x86_64"))]
        let avx2 = false;
        Widest { avx2 }
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
#[target_feature(enable = "avx2,bmi1,bmi2,movbe")]
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

    struct FirstEqual<'a>(&'a [u16; 10], u64);

    impl Work for FirstEqual<'_> {
        type Output = u32;

        #[inline(always)]
        fn run(self, wide: impl Wide) -> u32 {
            wide.first_equal_lane(self.0, self.1)
        }
    }

    proptest! {
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
