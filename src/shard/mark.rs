//! First pass over a burst: a glance at each frame, the hash of its tuple, its bucket fetched.
//!
//! What is the same for all packets that come in by a port is looked at once ([`Entrance`]).

use super::network::{Network, V4, V6};
use super::{Shard, Watch};
use crate::conntrack::table::NIL;
use crate::conntrack::tracker::Tracker;
use crate::frame::{Checksum, Frame};
use crate::net::{DropReason, PortId, proto};
use crate::policy::spec::Hook;
use crate::steer::Stage;
use crate::wire::Parsed;
use crate::wire::glance::{self, Extent, Plain};

/// What becomes of a packet that was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// Plain, or a turning segment: the shortcut is tried, then the way of openings.
    Plain(Plain),
    /// All else: its item says more.
    Whole,
    /// It ends, for the reason that the mark has.
    Drop,
    /// It is the control plane's.
    Punt,
}

/// What is known of a packet between the passes over its burst, if it is plain or turning. Nothing that its frame tells as
/// quickly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// Under the table's seed.
    pub(super) hash: u64,
    /// Where the table may have it.
    pub(super) slot: u32,
    /// One past the datagram.
    pub(super) end: u32,
    pub(super) extent: Extent,
    pub(super) path: Path,
    /// The transport checksum is partial.
    pub(super) partial: bool,
    /// A segment that opens or closes a connection, which is not for the shortcut.
    pub(super) turning: bool,
    pub(super) stage: Stage,
    /// Why it is dropped, if it is.
    pub(super) reason: DropReason,
}

const _: () = assert!(size_of::<Mark>() <= 32, "two marks to a line");

impl Mark {
    /// Of no frame yet.
    pub(super) const NOTHING: Mark = Mark {
        hash: 0,
        slot: NIL,
        end: 0,
        extent: Extent { payload: 0, sacked: 0 },
        path: Path::Whole,
        partial: false,
        turning: false,
        stage: Stage::Packet,
        reason: DropReason::NotForUs,
    };

    /// What parsing says of the frame, if it is plain or turning.
    #[inline]
    pub(super) fn expand(&self, out: &mut Parsed, data: &[u8]) -> bool {
        match self.path {
            Path::Plain(plain) => glance::expand(out, data, plain, (self.end, self.extent)),
            _ => false,
        }
    }
}

/// What is asked of plain packets that come in by one port.
#[derive(Clone, Copy)]
pub(super) struct Entrance {
    ingress: PortId,
    /// Packets of this port may be plain.
    open: bool,
    /// Transport checksums are verified here unless the port did.
    verify: bool,
    /// Octets of the destination's link address that matter, and what they must be.
    mask: u64,
    wanted: u64,
}

impl Entrance {
    /// Of no port.
    pub(super) const CLOSED: Entrance =
        Entrance { ingress: PortId(u8::MAX), open: false, verify: true, mask: 1, wanted: 0 };

    /// First pass over a burst: looks at frames, hashes their tuples and fetches their buckets, up to the first that is
    /// not plain or came in elsewhere. Gives how many were marked. A function of its own, for it needs all registers.
    #[inline(never)]
    pub(super) fn mark_plain(&self, tracker: &Tracker, frames: &[Frame], marks: &mut [Mark], stage: Stage) -> usize {
        let mut plain = 0;
        for (frame, mark) in frames.iter().zip(marks) {
            if !self.is_of(frame) || !self.mark(tracker, frame, mark) {
                break;
            }
            mark.stage = stage;
            plain += 1;
        }
        plain
    }

    #[inline(always)]
    pub(super) fn mark(&self, tracker: &Tracker, frame: &Frame, mark: &mut Mark) -> bool {
        let data = frame.data();
        let Some(front) = data.first_chunk() else { return false };
        if !self.open || frame.meta.gso.is_some() || (glance::destination(front) ^ self.wanted) & self.mask != 0 {
            return false;
        }
        // Each kind has code of its own, in which nothing is asked twice.
        match glance::kind(front) {
            Some(Plain::Tcp4) => self.note::<V4, { proto::TCP }>(tracker, frame, mark),
            Some(Plain::Udp4) => self.note::<V4, { proto::UDP }>(tracker, frame, mark),
            Some(Plain::Tcp6) => self.note::<V6, { proto::TCP }>(tracker, frame, mark),
            Some(Plain::Udp6) => self.note::<V6, { proto::UDP }>(tracker, frame, mark),
            None => false,
        }
    }

    /// Notes a packet of that kind, if it is plain.
    #[inline(always)]
    fn note<N: Network, const PROTO: u8>(&self, tracker: &Tracker, frame: &Frame, mark: &mut Mark) -> bool {
        let data = frame.data();
        let Some(len) = N::len(data) else { return false };
        let plain = if PROTO == proto::TCP { N::TCP } else { N::UDP };
        if self.verify && frame.meta.checksum == Checksum::Unknown && !glance::sums_up(data, plain, len) {
            return false;
        }
        mark.partial = matches!(frame.meta.checksum, Checksum::Partial { .. });
        let Some((hash, extent)) = N::look::<PROTO>(tracker.seed(), data, len) else {
            return PROTO == proto::TCP && mark.note_turning::<N>(tracker, data, len);
        };
        tracker.table().prefetch_bucket(hash);
        (mark.hash, mark.extent) = (hash, extent);
        mark.end = (N::AT + len) as u32;
        mark.path = Path::Plain(plain);
        mark.turning = false;
        true
    }

    /// Whether a glance may tell of the frame what it is.
    #[inline(always)]
    pub(super) fn lets_in(&self, frame: &Frame, front: &[u8; glance::LEAST]) -> bool {
        self.open && self.is_of(frame) && (glance::destination(front) ^ self.wanted) & self.mask == 0
    }

    /// Whether the frame came in here.
    #[inline(always)]
    pub(super) fn is_of(&self, frame: &Frame) -> bool {
        self.ingress == frame.meta.ingress
    }
}

impl Mark {
    /// Notes a segment that opens or closes a connection, if it is one. A function of its own, so that the others keep their
    /// registers.
    #[inline(never)]
    fn note_turning<N: Network>(&mut self, tracker: &Tracker, data: &[u8], len: usize) -> bool {
        let Some((hash, extent)) = N::turning(tracker.seed(), data, len) else { return false };
        tracker.table().prefetch_bucket(hash);
        (self.hash, self.extent) = (hash, extent);
        self.end = (N::AT + len) as u32;
        (self.path, self.turning) = (Path::Plain(N::TCP), true);
        true
    }
}

impl<W: Watch> Shard<W> {
    /// What is asked of plain packets that come in by a port.
    pub(super) fn entrance(&self, ingress: PortId) -> Entrance {
        let mut entrance = Entrance { ingress, open: false, verify: self.snapshot.verify, mask: 1, wanted: 0 };
        if let Some(port) = self.snapshot.ports.get(ingress.index()) {
            // Tags are taken off elsewhere.
            entrance.open = self.glances() && port.vlan.is_empty();
            if port.check_destination {
                let [a, b, c, d, e, f] = port.mac.0;
                (entrance.mask, entrance.wanted) = ((1 << 48) - 1, u64::from_le_bytes([a, b, c, d, e, f, 0, 0]));
            }
        }
        entrance
    }

    /// The same for frames that were parsed: their tags are off, and their checksums are right.
    pub(super) fn entrance_behind_tags(&self, ingress: PortId) -> Entrance {
        Entrance { open: self.glances(), verify: false, ..self.entrance(ingress) }
    }

    /// Whether a glance may be enough: raw rules ask about every packet.
    fn glances(&self) -> bool {
        self.shortcuts && self.snapshot.ruleset.is_empty_at(Hook::Prerouting)
    }
}
