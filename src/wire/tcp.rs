//! The TCP header (RFC 9293 section 3.1) and the options connection tracking reads.

use super::checksum;
use super::parse::{Ip, Transport, Verify};
use crate::net::{InvalidReason, L4, Segment, TcpFlags, proto};

pub(super) const HEADER_LEN: usize = 20;

const OPT_END: u8 = 0;
const OPT_NOP: u8 = 1;
const OPT_SEGMENT_SIZE: u8 = 2;
const OPT_WINDOW_SCALE: u8 = 3;
const OPT_SACK_PERMITTED: u8 = 4;
const OPT_SACK: u8 = 5;

/// NOP, NOP, timestamps: the option area of nearly every established segment (RFC 7323 appendix A).
pub(super) const TIMESTAMPS_ONLY: [u8; 4] = [1, 1, 8, 10];

/// Largest window shift (RFC 7323 section 2.3).
const MAX_SHIFT: u8 = 14;

/// Flag combinations a TCP sends, PSH, ECE and CWR left out: one bit for each value of the low six flag bits.
const SENSIBLE: u64 = {
    use TcpFlags as F;
    let list = [
        F::SYN,
        F::SYN | F::URG,
        F::SYN | F::ACK,
        F::RST,
        F::RST | F::ACK,
        F::FIN | F::ACK,
        F::FIN | F::ACK | F::URG,
        F::ACK,
        F::ACK | F::URG,
    ];
    let mut bits = 0;
    let mut i = 0;
    while i < list.len() {
        bits |= 1 << list[i];
        i += 1;
    }
    bits
};

/// Whether a TCP sends these flags together.
#[inline]
pub(super) const fn sensible(flags: TcpFlags) -> bool {
    let relevant = flags.0 & !(TcpFlags::PSH | TcpFlags::ECE | TcpFlags::CWR);
    SENSIBLE >> relevant & 1 == 1
}

/// Reads a segment. Without both ports there is no tuple; then, in this order: the whole header, the data offset, the
/// checksum, the flags.
#[inline]
pub(super) fn read(l4: &[u8], ip: &Ip, verify: Verify) -> Transport {
    let mut seen = match Transport::with_ports(l4, L4::Tcp(Segment::default())) {
        Ok(seen) => seen,
        Err(invalid) => return invalid,
    };
    let Some(h) = l4.first_chunk::<HEADER_LEN>() else { return seen.defective(InvalidReason::Truncated) };
    let header = usize::from(h[12] >> 4) * 4;
    let Some(options) = l4.get(HEADER_LEN..header) else { return seen.defective(InvalidReason::Truncated) };
    let ack = u32::from_be_bytes([h[8], h[9], h[10], h[11]]);
    let mut segment = Segment {
        seq: u32::from_be_bytes([h[4], h[5], h[6], h[7]]),
        ack,
        sack: ack,
        payload: (l4.len() - header) as u32,
        window: u16::from_be_bytes([h[14], h[15]]),
        flags: TcpFlags(h[13]),
        wscale: None,
        sack_permitted: false,
        has_options: !options.is_empty(),
    };
    let timestamps_only = options.len() == 12 && options.first_chunk() == Some(&TIMESTAMPS_ONLY);
    if segment.has_options && !timestamps_only {
        read_options(options, &mut segment);
    }
    seen.l4 = L4::Tcp(segment);
    seen.header = header;
    if verify == Verify::Check && checksum::fold(ip.pseudo(proto::TCP, l4.len()) + checksum::sum(l4)) != 0xffff {
        return seen.defective(InvalidReason::TcpChecksum);
    }
    if !sensible(segment.flags) {
        return seen.defective(InvalidReason::TcpFlags);
    }
    seen
}

/// The window shift and whether SACK is permitted, where the options behind the segment size are laid out as usual: none; a
/// window scale; SACK permitted; Linux's, with timestamps and without; Windows'.
#[inline]
const fn usual(rest: &[u8]) -> Option<(Option<u8>, bool)> {
    match rest {
        [] => Some((None, false)),
        [1, 3, 3, shift] => Some((Some(*shift), false)),
        [1, 1, 4, 2] => Some((None, true)),
        [4, 2, 8, 10, _, _, _, _, _, _, _, _, 1, 3, 3, shift] => Some((Some(*shift), true)),
        [1, 1, 4, 2, 1, 3, 3, shift] | [1, 3, 3, shift, 1, 1, 4, 2] => Some((Some(*shift), true)),
        _ => None,
    }
}

/// Reads what the options say.
pub(super) fn read_options(area: &[u8], segment: &mut Segment) {
    // Most SYNs begin with the segment size, and have behind it what their system always has.
    if let [OPT_SEGMENT_SIZE, 4, _, _, rest @ ..] = area
        && let Some((shift, sack)) = usual(rest)
    {
        (segment.wscale, segment.sack_permitted) = (shift.map(|shift| shift.min(MAX_SHIFT)), sack);
        return;
    }
    read_each(area, segment);
}

/// Reads until end-of-list, a length below two or an option running over; what was read until then counts.
pub(super) fn read_each(mut area: &[u8], segment: &mut Segment) {
    let mut sack_seen = false;
    while let Some((&kind, rest)) = area.split_first() {
        match kind {
            OPT_END => return,
            OPT_NOP => {
                area = rest;
                continue;
            }
            _ => {}
        }
        let Some((&len, _)) = rest.split_first() else { return };
        let Some((option, behind)) = area.split_at_checked(usize::from(len)) else { return };
        let Some((_, body)) = option.split_at_checked(2) else { return };
        match (kind, body) {
            (OPT_WINDOW_SCALE, [shift]) => segment.wscale = Some((*shift).min(MAX_SHIFT)),
            (OPT_SACK_PERMITTED, []) => segment.sack_permitted = true,
            (OPT_SACK, blocks) if !sack_seen => {
                let (blocks, odd) = blocks.as_chunks::<8>();
                if odd.is_empty() && !blocks.is_empty() {
                    sack_seen = true;
                    for b in blocks {
                        let right = u32::from_be_bytes([b[4], b[5], b[6], b[7]]);
                        // Serial order; half the circle away counts as further, as with Linux.
                        if segment.sack.wrapping_sub(right).cast_signed() < 0 {
                            segment.sack = right;
                        }
                    }
                }
            }
            _ => {}
        }
        area = behind;
    }
}
