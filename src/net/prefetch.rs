//! What the processor offers and the language does not, wrapped once.

/// Asks for the cache line that holds the start of `value`. Changes nothing but timing.
#[inline(always)]
pub fn prefetch<T: ?Sized>(value: &T) {
    prefetch_at(std::ptr::from_ref(value).cast());
}

/// Asks for the cache line at an address, which may be any. Changes nothing but timing.
#[inline(always)]
pub fn prefetch_at(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing the program can observe, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for the cache line at an address, which may be any, as one that is about to be written: so that no other core has it any
/// more by then. Changes nothing but timing.
#[inline(always)]
pub fn prefetch_to_write<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as a prefetch to read. A processor that does not know the instruction takes it for none.
    unsafe {
        std::arch::asm!("prefetchw [{0}]", in(reg) address, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for the line that holds the start of the element at `index`, if there is one.
#[inline(always)]
pub fn prefetch_nth<T>(slice: &[T], index: usize) {
    prefetch_at(slice.as_ptr().wrapping_add(index).cast());
}

/// The same value, of which the compiler forgets what it has read: it reads again what is wanted, as it would before a call of a
/// function it cannot see. So nothing is kept in a register, or on the stack for want of one, that lies in memory anyway.
#[inline(always)]
#[must_use]
pub fn reread<T>(value: &mut T) -> &mut T {
    #[cfg(target_arch = "x86_64")]
    {
        let mut at = std::ptr::from_mut(value);
        // SAFETY: there is no instruction in it, and the address stays as it is.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) at, options(nostack, preserves_flags));
            &mut *at
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::hint::black_box(value)
    }
}

/// The same value. To the compiler it may lie anywhere, and so is reached by one address, in one register.
#[inline(always)]
#[must_use]
pub fn somewhere<T>(value: &T) -> &T {
    let at = unforeseen(std::ptr::from_ref(value).cast_mut());
    // SAFETY: the same address.
    unsafe { &*at }
}

/// The same, to be changed.
#[inline(always)]
#[must_use]
pub fn somewhere_mut<T>(value: &mut T) -> &mut T {
    let at = unforeseen(std::ptr::from_mut(value));
    // SAFETY: the same address.
    unsafe { &mut *at }
}

/// The same number. The compiler forms it in one piece, where it would form only the octets of it that are wanted, each by itself.
#[inline(always)]
#[must_use]
pub fn in_one(number: u32) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        let mut number = number;
        // SAFETY: there is no instruction in it.
        unsafe {
            std::arch::asm!("/* {0:e} */", inout(reg) number, options(pure, nomem, nostack, preserves_flags));
        }
        number
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        number
    }
}

/// The same address, about which the compiler knows nothing.
#[inline(always)]
fn unforeseen<T>(at: *mut T) -> *mut T {
    #[cfg(target_arch = "x86_64")]
    {
        let mut at = at;
        // SAFETY: there is no instruction in it, and the address stays as it is.
        #[allow(clippy::pointers_in_nomem_asm_block, reason = "nothing is read or written")]
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) at, options(pure, nomem, nostack, preserves_flags));
        }
        at
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::hint::black_box(at)
    }
}

/// Bit `i` is set if `lanes[i]` equals `wanted`.
#[inline(always)]
#[must_use]
pub fn equal_lanes(lanes: &[u16; 10], wanted: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{
            _mm_cmpeq_epi16, _mm_cvtsi32_si128, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16,
        };
        let [.., i, j] = *lanes;
        let rest = (u32::from(i) | u32::from(j) << 16).cast_signed();
        // SAFETY: every x86-64 has SSE2, and the first 16 octets of the lanes are there to be read.
        let equal = unsafe {
            let wanted = _mm_set1_epi16(wanted.cast_signed());
            let low = _mm_cmpeq_epi16(_mm_loadu_si128(lanes.as_ptr().cast()), wanted);
            let high = _mm_cmpeq_epi16(_mm_cvtsi32_si128(rest), wanted);
            _mm_movemask_epi8(_mm_packs_epi16(low, high))
        };
        // Above the tenth bit there are no lanes.
        equal.cast_unsigned() & 0x3ff
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        lanes.iter().enumerate().fold(0, |bits, (i, lane)| bits | u32::from(*lane == wanted) << i)
    }
}

/// The first lane that equals the lower 16 bits of `word`, which are not 0. 10 or more: there is none.
#[inline(always)]
#[must_use]
pub fn first_equal_lane(lanes: &[u16; 10], word: u64) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{
            _mm_cmpeq_epi16, _mm_cvtsi32_si128, _mm_cvtsi64_si128, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16,
            _mm_shufflelo_epi16, _mm_unpacklo_epi64,
        };
        let [.., i, j] = *lanes;
        let rest = (u32::from(i) | u32::from(j) << 16).cast_signed();
        // SAFETY: as above.
        let equal = unsafe {
            let wanted = _mm_shufflelo_epi16::<0>(_mm_cvtsi64_si128(word.cast_signed()));
            let wanted = _mm_unpacklo_epi64(wanted, wanted);
            let low = _mm_cmpeq_epi16(_mm_loadu_si128(lanes.as_ptr().cast()), wanted);
            let high = _mm_cmpeq_epi16(_mm_cvtsi32_si128(rest), wanted);
            _mm_movemask_epi8(_mm_packs_epi16(low, high))
        };
        equal.cast_unsigned().trailing_zeros()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        equal_lanes(lanes, word as u16).trailing_zeros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn equal_lanes_are_found(lanes in prop::array::uniform10(0u16..4), scale in 1u16..9000, wanted in 0u16..4) {
            let lanes = lanes.map(|lane| lane * scale);
            let expected = (0..10).filter(|i| lanes[*i] == wanted * scale).fold(0, |bits, i| bits | 1 << i);
            prop_assert_eq!(equal_lanes(&lanes, wanted * scale), expected);
        }
    }
}
