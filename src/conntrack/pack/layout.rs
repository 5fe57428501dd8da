//! Where each number and mark of a TCP connection lies in its entry.
//!
//! `words[0..8]` are the numbers of both sides: [`end`], [`maxend`], [`maxack`] and [`maxwin`]. `words[LAST_END]` is the end of
//! the last ACK or ignored segment; and `words[SMALL]`, from its lowest bit:
//!
//! | bits   | name           | what                                                                     |
//! |--------|----------------|--------------------------------------------------------------------------|
//! | 0-3    | `STATE`        | the [`TcpState`](super::TcpState)                                        |
//! | 4-6    | `CLASS`        | of the last segment, the [`Class`](super::Class)                         |
//! | 7      | `DIRECTION`    | its direction, 1 for reply                                               |
//! | 8      | `WINDOW_ZERO`  | written with `LAST_END`: the window was 0                                |
//! | 9      | `SIMULTANEOUS` | both sides sent a SYN                                                    |
//! | 10     | `CHALLENGE`    | the answer to a challenge is awaited                                     |
//! | 11-19  | `DIGEST`       | written with `LAST_END`: [`Last::digest`]                                |
//! | 20-27  | `RETRANS`      | how often the last ACK came again                                        |
//! | 28, 30 | `CLOSE_INIT`   | the FIN of the originator, of the responder began the closing            |
//! | 29, 31 | `MAXACK_KNOWN` | the originator, the responder has acknowledged something                 |
//!
//! An octet of `scale` belongs to each side: its window shift in bits 0-3, above it the lower four flags of its [`Peer`]; the
//! upper two are the last rows of the table.
//!
//! `*_SHIFT` is a field's lowest bit, `*_MASK` all of them where they lie.

use super::{Last, Peer};

/// The word with the end of the last segment.
pub(in crate::conntrack) const LAST_END: usize = 8;
/// The word with everything small.
pub(in crate::conntrack) const SMALL: usize = 9;

/// That many bits from `shift` on.
const fn field(shift: u32, bits: u32) -> u32 {
    ((1 << bits) - 1) << shift
}

const STATE_BITS: u32 = 4;
pub(in crate::conntrack) const STATE_MASK: u32 = field(0, STATE_BITS);

const CLASS_BITS: u32 = 3;
pub(in crate::conntrack) const CLASS_SHIFT: u32 = STATE_BITS;
const CLASS_MASK: u32 = field(CLASS_SHIFT, CLASS_BITS);

pub(in crate::conntrack) const DIRECTION_SHIFT: u32 = CLASS_SHIFT + CLASS_BITS;
const DIRECTION_MASK: u32 = field(DIRECTION_SHIFT, 1);

pub(in crate::conntrack) const WINDOW_ZERO_SHIFT: u32 = DIRECTION_SHIFT + 1;
pub(in crate::conntrack) const WINDOW_ZERO_MASK: u32 = field(WINDOW_ZERO_SHIFT, 1);

pub(in crate::conntrack) const SIMULTANEOUS_SHIFT: u32 = WINDOW_ZERO_SHIFT + 1;
pub(in crate::conntrack) const SIMULTANEOUS_MASK: u32 = field(SIMULTANEOUS_SHIFT, 1);

pub(in crate::conntrack) const CHALLENGE_SHIFT: u32 = SIMULTANEOUS_SHIFT + 1;
pub(in crate::conntrack) const CHALLENGE_MASK: u32 = field(CHALLENGE_SHIFT, 1);

pub(in crate::conntrack) const DIGEST_SHIFT: u32 = CHALLENGE_SHIFT + 1;
pub(in crate::conntrack) const DIGEST_MASK: u32 = field(DIGEST_SHIFT, Last::DIGEST_BITS);

const RETRANS_BITS: u32 = 8;
pub(in crate::conntrack) const RETRANS_SHIFT: u32 = DIGEST_SHIFT + Last::DIGEST_BITS;
pub(in crate::conntrack) const RETRANS_MASK: u32 = field(RETRANS_SHIFT, RETRANS_BITS);
/// What it stops at.
pub(in crate::conntrack) const RETRANS_MOST: u32 = RETRANS_MASK >> RETRANS_SHIFT;

/// How many of a side's flags lie in `scale`, and how many in the word.
pub(in crate::conntrack) const LOWER_FLAGS: u32 = 4;
const UPPER_FLAGS: u32 = 2;
/// Of either side, its upper flags.
pub(in crate::conntrack) const UPPER_SHIFT: [u32; 2] =
    [RETRANS_SHIFT + RETRANS_BITS, RETRANS_SHIFT + RETRANS_BITS + UPPER_FLAGS];
pub(in crate::conntrack) const UPPER_MASK: [u32; 2] =
    [field(UPPER_SHIFT[0], UPPER_FLAGS), field(UPPER_SHIFT[1], UPPER_FLAGS)];
pub(in crate::conntrack) const CLOSE_INIT_MASK: [u32; 2] = upper(Peer::CLOSE_INIT);
pub(in crate::conntrack) const MAXACK_KNOWN_MASK: [u32; 2] = upper(Peer::MAXACK_KNOWN);

/// One of the upper flags, of either side.
const fn upper(flag: u8) -> [u32; 2] {
    let bits = flag as u32 >> LOWER_FLAGS;
    [bits << UPPER_SHIFT[0], bits << UPPER_SHIFT[1]]
}

/// What every segment writes of itself.
pub(in crate::conntrack) const LAST_MASK: u32 = CLASS_MASK | DIRECTION_MASK;
/// What an ACK writes besides, with its end.
pub(in crate::conntrack) const RECORD_MASK: u32 = WINDOW_ZERO_MASK | DIGEST_MASK | RETRANS_MASK;
/// What does not differ in an ACK that repeats another, if its end does not.
pub(in crate::conntrack) const REPEAT_MASK: u32 = DIRECTION_MASK | WINDOW_ZERO_MASK | DIGEST_MASK;

/// Of an octet of `scale`, the shift.
pub(in crate::conntrack) const SCALE_MASK: u8 = 0xf;
/// And where the flags begin.
pub(in crate::conntrack) const FLAGS_SHIFT: u32 = SCALE_MASK.trailing_ones();
pub(in crate::conntrack) const WSCALE_MASK: u8 = Peer::WSCALE << FLAGS_SHIFT;
pub(in crate::conntrack) const SACK_PERM_MASK: u8 = Peer::SACK_PERM << FLAGS_SHIFT;
pub(in crate::conntrack) const UNACKED_MASK: u8 = Peer::UNACKED << FLAGS_SHIFT;
pub(in crate::conntrack) const LIBERAL_MASK: u8 = Peer::LIBERAL << FLAGS_SHIFT;

const _: () = {
    assert!(UPPER_SHIFT[1] + UPPER_FLAGS == u32::BITS && FLAGS_SHIFT + LOWER_FLAGS == u8::BITS, "nothing is left over");
    let lower = Peer::WSCALE | Peer::SACK_PERM | Peer::UNACKED | Peer::LIBERAL;
    assert!(lower as u32 == field(0, LOWER_FLAGS), "they fit above the shift");
    assert!((Peer::CLOSE_INIT | Peer::MAXACK_KNOWN) as u32 == field(LOWER_FLAGS, UPPER_FLAGS), "and these in the word");
};

/// The word with a side's end.
#[inline(always)]
pub(in crate::conntrack) const fn end(side: usize) -> usize {
    3 + 3 * (side & 1)
}

/// The word with a side's maxend, which the other's segments move.
#[inline(always)]
pub(in crate::conntrack) const fn maxend(side: usize) -> usize {
    4 - 4 * (side & 1)
}

/// The word with a side's maxack.
#[inline(always)]
pub(in crate::conntrack) const fn maxack(side: usize) -> usize {
    1 + 4 * (side & 1)
}

/// The word with a side's maxwin.
#[inline(always)]
pub(in crate::conntrack) const fn maxwin(side: usize) -> usize {
    2 + 5 * (side & 1)
}
