//! GRE (RFC 2784) and its PPTP variant (RFC 2637 section 4.1).

use super::parse::Transport;
use crate::net::{InvalidReason, L4, Track};

const PROTOCOL_PPP: u16 = 0x880b;

/// The tuple keys, or `None` for a PPTP packet that does not carry PPP. Only version 1 has a key, the call id; the
/// peer's call id is not in the packet. Anything too short has keys 0.
pub(super) fn keys(l4: &[u8]) -> Option<(u16, u16)> {
    let Some(h) = l4.first_chunk::<8>() else { return Some((0, 0)) };
    if h[1] & 7 != 1 {
        return Some((0, 0));
    }
    (u16::from_be_bytes([h[2], h[3]]) == PROTOCOL_PPP).then_some((0, u16::from_be_bytes([h[6], h[7]])))
}

/// Whether a GRE packet is one of PPTP's, whose tuple lacks the source key.
#[must_use]
pub fn is_enhanced_gre(l4: &[u8]) -> bool {
    l4.first_chunk::<8>().is_some_and(|h| h[1] & 7 == 1)
}

/// Reads a packet. There is no checksum and no length to verify.
pub(super) fn read(l4: &[u8]) -> Transport {
    let mut seen = Transport { header: 0, ..Transport::invalid(InvalidReason::Unknown, L4::Gre) };
    if let Some((src_key, dst_key)) = keys(l4) {
        let track = if is_enhanced_gre(l4) { Track::Call } else { Track::Tuple };
        (seen.track, seen.src_key, seen.dst_key) = (track, src_key, dst_key);
    }
    seen
}
