//! The four tests of `proto::tcp::window`, which is the reference, as the steps on packed words make them number by number.

use crate::conntrack::proto::tcp::MIN_SLACK;

/// The numbers that a segment must fit.
#[derive(Clone, Copy)]
pub(in crate::conntrack) struct Bounds {
    /// The sender's end, maxend and maxwin.
    pub(in crate::conntrack) sent: u32,
    pub(in crate::conntrack) maxend: u32,
    pub(in crate::conntrack) mine: u32,
    /// The receiver's end and maxwin.
    pub(in crate::conntrack) acked: u32,
    pub(in crate::conntrack) theirs: u32,
}

impl Bounds {
    /// Whether a segment from `seq` to `end` that acknowledges up to `sack` passes all four tests, and the windows of both sides are
    /// known. The sign says that one fails. A window of 0 or of a size that no window has makes it fail too.
    #[inline(always)]
    pub(in crate::conntrack) fn allow(self, seq: u32, end: u32, sack: u32) -> bool {
        let Bounds { sent, maxend, mine, acked, theirs } = self;
        let early = maxend.wrapping_sub(seq);
        let late = end.wrapping_sub(sent).wrapping_add(theirs);
        let behind = acked.wrapping_sub(sack);
        let odd = mine | mine.wrapping_sub(1) | theirs.wrapping_sub(1);
        (early | late | odd).cast_signed() >= 0 && behind <= mine.max(MIN_SLACK)
    }
}
