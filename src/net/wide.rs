//! Code compiled twice: for any processor of the kind, and for one that has more.
//!
//! What x86-64 always had is SSE2. Most processors since 2013 (2015 for AMD) have AVX2, BMI and MOVBE as well: a frame's headers are compared
//! by one instruction then, and words are read in network order and rotated as they are loaded. Which it is, is found out
//! once; [`Widest::run`] then runs a piece of [`Work`] as it was compiled for that.

/// What a piece of work may use.
pub trait Wide: Copy {
    /// Whether octets differ from those wanted in a bit of `mask`.
    fn differ(self, octets: &[u8; 32], wanted: &[u8; 32], mask: &[u8; 32]) -> bool;
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
    }
}
