//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Sums are kept as the value of big-endian 16-bit words, in 32 bits with room for carries, so that the sums of a
//! pseudo-header and of several even-length pieces can simply be added and folded once.

use crate::net::Addr;

/// Folds a sum's carries into 16 bits.
#[inline]
#[must_use]
pub const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    ((once & 0xffff) + (once >> 16)) as u16
}

#[inline]
const fn fold64(sum: u64) -> u32 {
    let once = (sum & 0xffff_ffff) + (sum >> 32);
    let twice = (once & 0xffff_ffff) + (once >> 32);
    fold(twice as u32) as u32
}

/// Both 32-bit halves of a word: sums of these cannot overflow on anything that fits a frame.
#[inline]
const fn halves(word: u64) -> u64 {
    (word & 0xffff_ffff) + (word >> 32)
}

/// One's-complement sum of `data`, an odd last octet padded with zero; at most 0xffff.
#[inline]
#[must_use]
pub fn sum(data: &[u8]) -> u32 {
    // Native-order words: the sum does not care about octet order but for the final swap (RFC 1071 section 2 (B)).
    let (blocks, tail) = data.as_chunks::<32>();
    let mut lanes = [0u64; 4];
    for block in blocks {
        let (words, _) = block.as_chunks::<8>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane += halves(u64::from_ne_bytes(*word));
        }
    }
    let mut total: u64 = lanes.iter().sum();
    let (words, rest) = tail.as_chunks::<8>();
    for word in words {
        total += halves(u64::from_ne_bytes(*word));
    }
    let mut last = [0u8; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    total += halves(u64::from_ne_bytes(last));
    u32::from(u16::from_be(fold64(total) as u16))
}

/// The checksum of `data` alone.
#[inline]
#[must_use]
pub fn checksum(data: &[u8]) -> u16 {
    !fold(sum(data))
}

/// Sum of the IPv4 (RFC 9293 section 3.1) or IPv6 (RFC 8200 section 8.1) pseudo-header. `len` is the length of the
/// upper-layer packet in octets. Both families need the same words, since an IPv4 address has no upper half.
#[inline]
#[must_use]
pub const fn pseudo(src: Addr, dst: Addr, proto: u8, len: u32) -> u32 {
    fold64(halves(src.hi) + halves(src.lo) + halves(dst.hi) + halves(dst.lo) + proto as u64 + len as u64)
}

/// `check` after a 16-bit word it covers went from `old` to `new` (RFC 1624 equation 3).
#[inline]
#[must_use]
pub const fn update16(check: u16, old: u16, new: u16) -> u16 {
    !fold(!check as u32 + !old as u32 + new as u32)
}

/// `check` after an even-aligned 32-bit word it covers went from `old` to `new`.
#[inline]
#[must_use]
#[cfg(test)]
pub(crate) const fn update32(check: u16, old: u32, new: u32) -> u16 {
    let not_old = !old;
    !fold(!check as u32 + (not_old >> 16) + (not_old & 0xffff) + (new >> 16) + (new & 0xffff))
}
