//! Finishing a partial checksum, for ports whose other side knows no offloads.

use crate::frame::Checksum;

/// Completes a partial checksum in place: the ones' complement sum (RFC 1071) from `start` to the end of
/// the frame, stored at `start + offset`. The field already holds the pseudo-header's sum. False when the
/// offsets point outside the frame.
///
/// A result of zero is stored as 0xffff, as UDP needs it (RFC 768); for TCP both mean the same.
pub(super) fn finish(frame: &mut [u8], checksum: Checksum) -> bool {
    let Checksum::Partial { start, offset } = checksum else { return true };
    let (start, field) = (usize::from(start), usize::from(start) + usize::from(offset));
    let Some(summed) = frame.get(start..) else { return false };
    let mut sum: u64 = 0;
    let mut pairs = summed.chunks_exact(2);
    for pair in pairs.by_ref() {
        if let [high, low] = *pair {
            sum += u64::from(u16::from_be_bytes([high, low]));
        }
    }
    if let [odd] = *pairs.remainder() {
        sum += u64::from(odd) << 8;
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let value = match !(sum as u16) {
        0 => 0xffff,
        other => other,
    };
    match frame.get_mut(field..field + 2) {
        Some(place) => {
            place.copy_from_slice(&value.to_be_bytes());
            true
        }
        None => false,
    }
}
