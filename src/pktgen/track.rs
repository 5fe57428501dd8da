//! What has arrived of each flow: order, doubles, gaps.
//!
//! Per flow the next number expected and a window of bits behind it, a ring that is cleared as it moves on
//! (RFC 6479). Numbers are serial: they may wrap.

/// What the number of an arrived packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The next one, or one further on.
    InOrder,
    /// Behind one that was sent later (RFC 4737 section 3.2), and not seen before.
    Late,
    /// Seen before.
    Duplicate,
    /// So far behind that nobody knows whether it was seen before.
    TooLate,
}

/// The flows of a stream.
#[derive(Clone, Debug)]
pub struct Tracks {
    /// Next number expected of each flow.
    next: Box<[u32]>,
    /// `words` of each flow: bit set for seen.
    seen: Box<[u64]>,
    words: u32,
}

/// Bits for all flows together, if there are few.
const BITS: usize = 1 << 20;

/// Words a flow has at most and at least. One of them is always being overwritten.
const WORDS: std::ops::RangeInclusive<usize> = 2..=1 << 10;

impl Tracks {
    /// For that many flows, nothing seen.
    #[must_use]
    pub fn new(flows: usize) -> Tracks {
        let words = 1 << (BITS / 64 / flows.max(1)).clamp(*WORDS.start(), *WORDS.end()).ilog2();
        Tracks { next: vec![0; flows].into(), seen: vec![0; flows * words].into(), words: words as u32 }
    }

    /// How far behind a packet may be and still be known.
    #[must_use]
    pub const fn window(&self) -> u32 {
        (self.words - 1) * 64
    }

    /// Notes an arrival; `None` for a flow that does not exist.
    #[inline]
    pub fn note(&mut self, flow: u32, seq: u32) -> Option<Arrival> {
        let next = self.next.get_mut(flow as usize)?;
        let words = self.words;
        let seen = self.seen.get_mut(flow as usize * words as usize..)?.get_mut(..words as usize)?;
        let place = |seq: u32| ((seq / 64) & (words - 1)) as usize;
        let bit = 1u64 << (seq % 64);
        let ahead = seq.wrapping_sub(*next).cast_signed();
        if ahead >= 0 {
            // Words entered for the first time are cleared, at most all of them.
            let last = next.wrapping_sub(1);
            let entered = (seq / 64).wrapping_sub(last / 64) & (u32::MAX / 64);
            for step in 0..entered.min(words) {
                if let Some(word) = seen.get_mut((seq / 64).wrapping_sub(step) as usize & (words as usize - 1)) {
                    *word = 0;
                }
            }
            if let Some(word) = seen.get_mut(place(seq)) {
                *word |= bit;
            }
            *next = seq.wrapping_add(1);
            return Some(Arrival::InOrder);
        }
        if ahead.unsigned_abs() > (words - 1) * 64 {
            return Some(Arrival::TooLate);
        }
        let word = seen.get_mut(place(seq))?;
        let before = *word;
        *word |= bit;
        Some(if before & bit == 0 { Arrival::Late } else { Arrival::Duplicate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn order_doubles_and_gaps() {
        let mut tracks = Tracks::new(2);
        let steps = [
            (0, Arrival::InOrder),
            (1, Arrival::InOrder),
            (1, Arrival::Duplicate),
            (5, Arrival::InOrder),
            (3, Arrival::Late),
            (3, Arrival::Duplicate),
            (0, Arrival::Duplicate),
            (2, Arrival::Late),
            (6, Arrival::InOrder),
        ];
        for (seq, wanted) in steps {
            assert_eq!(tracks.note(1, seq), Some(wanted), "{seq}");
        }
        assert_eq!(tracks.note(0, 0), Some(Arrival::InOrder), "flows are apart");
        assert_eq!(tracks.note(2, 0), None);
    }

    #[test]
    fn what_is_too_far_behind_is_said_to_be_unknown() {
        let mut tracks = Tracks::new(1 << 16);
        assert_eq!(tracks.window(), 64);
        tracks.note(3, 1000);
        assert_eq!(tracks.note(3, 1001 - 64), Some(Arrival::Late));
        assert_eq!(tracks.note(3, 1001 - 65), Some(Arrival::TooLate));
    }

    #[test]
    fn numbers_wrap() {
        let mut tracks = Tracks::new(1);
        for seq in [0, 0x7fff_ffff, 0xffff_fff0, 0xffff_ffff, 0, 1] {
            assert_eq!(tracks.note(0, seq), Some(Arrival::InOrder), "{seq:x}");
        }
        assert_eq!(tracks.note(0, 0xffff_fff5), Some(Arrival::Late));
        assert_eq!(tracks.note(0, 0xffff_ffff), Some(Arrival::Duplicate));
    }

    proptest! {
        /// Against a set of everything seen.
        #[test]
        fn like_a_set(steps in prop::collection::vec((0u32..400, any::<bool>()), 1..600), flows in 1usize..20_000) {
            let mut tracks = Tracks::new(flows);
            let (mut seen, mut next, mut at) = (BTreeSet::new(), 0u32, 0u32);
            for (jump, back) in steps {
                at = if back { at.saturating_sub(jump) } else { at + jump };
                let wanted = match at {
                    at if at >= next => Arrival::InOrder,
                    at if next - at > tracks.window() => Arrival::TooLate,
                    at if seen.contains(&at) => Arrival::Duplicate,
                    _ => Arrival::Late,
                };
                prop_assert_eq!(tracks.note(flows as u32 - 1, at), Some(wanted), "{}", at);
                seen.insert(at);
                next = next.max(at + 1);
            }
        }
    }
}
