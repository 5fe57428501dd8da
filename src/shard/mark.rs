//! First pass over a burst: a glance at each frame, the hash of its tuple, its bucket fetched.
//!
//! What is the same for all packets that come in by a port is looked at once ([`Entrance`]).

use super::network::{Network, V4, V6};
use super::{Shard, Watch};
use crate::conntrack::key::Seed;
use crate::conntrack::table::NIL;
use crate::conntrack::tracker::Tracker;
use crate::frame::{Checksum, Frame, HeaderSum, Meta};
use crate::net::wide::{Wide, Work};
use crate::net::{DropReason, MacAddr, PortId, in_one, proto};
use crate::policy::spec::Hook;
use crate::steer::Stage;
use crate::wire::Parsed;
use crate::wire::glance::{self, Extent, Plain, Tell};
use std::marker::PhantomData;

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
#[repr(C)]
pub(super) struct Mark {
    /// Under the table's seed.
    pub(super) hash: u64,
    /// Where the table may have it: its bucket until the second pass, then the entry's slot.
    pub(super) slot: u32,
    /// One past the datagram.
    pub(super) end: u32,
    pub(super) extent: Extent,
    pub(super) path: Path,
    /// The transport checksum is partial.
    pub(super) partial: bool,
    /// A segment that opens or closes a connection, which is not for the shortcut.
    pub(super) turning: bool,
    /// Why it is dropped, if it is. Of plain packets these four are the same, and so one word.
    pub(super) reason: DropReason,
    pub(super) stage: Stage,
}

const _: () = assert!(size_of::<Mark>() <= 32, "two marks to a line");

impl Mark {
    /// Of no frame yet.
    pub(super) const NOTHING: Mark = Mark {
        hash: 0,
        slot: NIL,
        end: 0,
        extent: Extent::NOTHING,
        path: Path::Whole,
        partial: false,
        turning: false,
        stage: Stage::Packet,
        reason: DropReason::NotForUs,
    };

    /// Notes what a look at the frame showed, but for the bucket. Its transport checksum is taken to be complete.
    #[inline(always)]
    fn note(&mut self, plain: Plain, (hash, end, extent): (u64, u32, Extent), turning: bool, stage: Stage) {
        (self.hash, self.end, self.extent) = (hash, end, extent);
        self.path = Path::Plain(plain);
        (self.partial, self.turning, self.reason, self.stage) = (false, turning, DropReason::NotForUs, stage);
    }

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
    /// [`Meta::told`] of frames of which nothing is left to be verified.
    verified: u32,
    /// Packets of this port may be plain.
    open: bool,
    /// Transport checksums are verified here unless the port did.
    verify: bool,
    /// The destination's link address, if more matters than that it is none of a group.
    to: Option<MacAddr>,
}

impl Entrance {
    /// Of no port.
    pub(super) const CLOSED: Entrance =
        Entrance { ingress: PortId(u8::MAX), verified: 0, open: false, verify: true, to: None };

    /// First pass over a burst: looks at frames, hashes their tuples and fetches their buckets, up to the first that is
    /// not plain or came in elsewhere. Gives how many were marked.
    pub(super) fn mark_plain(&self, tracker: &Tracker, frames: &[Frame], marks: &mut [Mark], stage: Stage) -> usize {
        if !self.open {
            return 0;
        }
        let mut plain = 0;
        loop {
            let (Some(frames @ [frame, ..]), Some(marks)) = (frames.get(plain..), marks.get_mut(plain..)) else {
                return plain;
            };
            let alike = match frame.data().first_chunk().and_then(glance::kind) {
                Some(Plain::Tcp4) => self.mark_alike::<V4, { proto::TCP }>(tracker, frames, marks, stage),
                Some(Plain::Udp4) => self.mark_alike::<V4, { proto::UDP }>(tracker, frames, marks, stage),
                Some(Plain::Tcp6) => self.mark_alike::<V6, { proto::TCP }>(tracker, frames, marks, stage),
                Some(Plain::Udp6) => self.mark_alike::<V6, { proto::UDP }>(tracker, frames, marks, stage),
                None => 0,
            };
            if alike == 0 {
                return plain;
            }
            plain += alike;
        }
    }

    /// The same up to the first of another kind.
    fn mark_alike<N: Network, const PROTO: u8>(
        &self,
        tracker: &Tracker,
        frames: &[Frame],
        marks: &mut [Mark],
        stage: Stage,
    ) -> usize {
        let tell = self.tell(if PROTO == proto::TCP { N::TCP } else { N::UDP });
        let widest = tracker.table().widest();
        let work = Alike::<N, PROTO> { entrance: self, tell, tracker, frames, marks, stage, of: PhantomData };
        let plain = widest.run(work);
        // Where one segment turns, others will.
        match (frames.get(plain..), marks.get_mut(plain..)) {
            (Some(frames @ [_, ..]), Some(marks @ [_, ..])) if PROTO == proto::TCP => {
                plain + widest.run(Mixed::<N> { entrance: self, tell, tracker, frames, marks, stage, of: PhantomData })
            }
            _ => plain,
        }
    }

    /// Whether the port that a marked frame came in by is this one, and it is sound as far as the port did not verify it.
    #[inline(always)]
    fn is_sound<N: Network>(&self, verified: u32, frame: &Frame, mark: &mut Mark) -> bool {
        // Of one word only the octets that matter would be read, each by itself.
        (in_one(frame.meta.told()) | N::UNTOLD) == verified
            || (self.is_of(frame)
                && frame.meta.gso.is_none()
                && (frame.meta.header == HeaderSum::Verified || N::header_sums_up(frame.data()))
                && (frame.meta.checksum == Checksum::Verified || self.verifies(frame, mark)))
    }

    /// Whether the checksum of a frame that was marked, which the port did not verify, may be relied on.
    #[cold]
    #[inline(never)]
    fn verifies(&self, frame: &Frame, mark: &mut Mark) -> bool {
        let Path::Plain(plain) = mark.path else { return false };
        mark.partial = matches!(frame.meta.checksum, Checksum::Partial { .. });
        let at = if matches!(plain, Plain::Tcp4 | Plain::Udp4) { V4::AT } else { V6::AT };
        let len = (mark.end as usize).saturating_sub(at);
        mark.partial
            || !self.verify
            || frame.meta.checksum == Checksum::Verified
            || glance::sums_up(frame.data(), plain, len)
    }

    /// Notes a segment about whose options there is something special, if it is plain or turning. A function of its own, so that
    /// the others keep their registers.
    #[cold]
    #[inline(never)]
    fn note_special<N: Network>(&self, tracker: &Tracker, frame: &Frame, mark: &mut Mark, stage: Stage) -> bool {
        if !self.is_of(frame) || frame.meta.gso.is_some() {
            return false;
        }
        let data = frame.data();
        let look = Look::<N>(tracker.seed(), data, PhantomData);
        if let Some(seen) = tracker.table().widest().run(look) {
            mark.slot = tracker.table().fetch_bucket(seen.0);
            mark.note(N::TCP, seen, false, stage);
            return self.is_sound::<N>(self.verified | N::UNTOLD, frame, mark);
        }
        let Some(len) = N::len(data) else { return false };
        let Some((hash, extent)) = N::turning(tracker.seed(), data, len) else { return false };
        mark.slot = tracker.table().fetch_bucket(hash);
        mark.note(N::TCP, (hash, (N::AT + len) as u32, extent), true, stage);
        self.verifies(frame, mark)
    }

    /// Notes a frame that was parsed, if it is plain now that its tags are off; its checksum is right.
    pub(super) fn mark(&self, tracker: &Tracker, frame: &Frame, mark: &mut Mark) -> bool {
        let stage = mark.stage;
        self.mark_plain(tracker, std::slice::from_ref(frame), std::slice::from_mut(mark), stage) == 1
    }

    /// What tells frames of a kind that are for this port.
    #[inline]
    pub(super) fn tell(&self, plain: Plain) -> Tell {
        let tell = Tell::of(plain);
        self.to.map_or(tell, |mac| tell.to(mac.0))
    }

    /// What kind of packet a frame has, if a glance may tell that.
    #[inline]
    pub(super) fn kind_at_a_glance(&self, frame: &Frame) -> Option<Plain> {
        let front = frame.data().first_chunk()?;
        let lets_in = self.open
            && self.is_of(frame)
            && match (self.to, front.first_chunk()) {
                (Some(mac), Some(destination)) => mac.0 == *destination,
                _ => front[0] & 1 == 0,
            };
        if lets_in { glance::kind(front) } else { None }
    }

    /// Whether the frame came in here.
    #[inline(always)]
    pub(super) fn is_of(&self, frame: &Frame) -> bool {
        self.ingress == frame.meta.ingress
    }
}

/// Frames that are marked up to the first that is of another kind than this, or came in elsewhere. For each kind it is code of
/// its own, in which nothing is asked twice and which has all registers. Gives how many were marked.
struct Alike<'a, N, const PROTO: u8> {
    entrance: &'a Entrance,
    tell: Tell,
    tracker: &'a Tracker,
    frames: &'a [Frame],
    marks: &'a mut [Mark],
    stage: Stage,
    of: PhantomData<N>,
}

impl<N: Network, const PROTO: u8> Work for Alike<'_, N, PROTO> {
    type Output = usize;

    #[inline(always)]
    fn run(self, wide: impl Wide) -> usize {
        let Alike { entrance, tell, tracker, frames, marks, stage, .. } = self;
        let (seed, homes) = (*tracker.seed(), tracker.table().homes());
        let verified = entrance.verified | N::UNTOLD;
        let count = frames.len().min(marks.len());
        let (Some(frames), Some(marks)) = (frames.get(..count), marks.get_mut(..count)) else { return 0 };
        let mut at = 0;
        while let (Some(frame), Some(mark)) = (frames.get(at), marks.get_mut(at)) {
            let data = frame.data();
            if data.len() < N::least::<PROTO>() {
                break;
            }
            let Some(telling) = data.first_chunk() else { break };
            if wide.differ(telling, &tell.wanted, &tell.mask) {
                break;
            }
            let Some(seen) = N::look::<PROTO>(wide, &seed, data) else { break };
            mark.slot = homes.fetch(seen.0);
            mark.note(if PROTO == proto::TCP { N::TCP } else { N::UDP }, seen, false, stage);
            if !entrance.is_sound::<N>(verified, frame, mark) {
                break;
            }
            at += 1;
        }
        at
    }
}

/// A look at one TCP segment.
struct Look<'a, N>(&'a Seed, &'a [u8], PhantomData<N>);

impl<N: Network> Work for Look<'_, N> {
    type Output = Option<(u64, u32, Extent)>;

    #[inline(always)]
    fn run(self, wide: impl Wide) -> Self::Output {
        N::look::<{ proto::TCP }>(wide, self.0, self.1)
    }
}

/// The same of TCP, where some segments turn.
struct Mixed<'a, N> {
    entrance: &'a Entrance,
    tell: Tell,
    tracker: &'a Tracker,
    frames: &'a [Frame],
    marks: &'a mut [Mark],
    stage: Stage,
    of: PhantomData<N>,
}

impl<N: Network> Work for Mixed<'_, N> {
    type Output = usize;

    #[inline(always)]
    fn run(self, wide: impl Wide) -> usize {
        let Mixed { entrance, tell, tracker, frames, marks, stage, .. } = self;
        let (seed, homes) = (*tracker.seed(), tracker.table().homes());
        let verified = entrance.verified | N::UNTOLD;
        let mut at = 0;
        while let (Some(frame), Some(mark)) = (frames.get(at), marks.get_mut(at)) {
            let data = frame.data();
            let Some(telling) = data.first_chunk() else { break };
            if wide.differ(telling, &tell.wanted, &tell.mask) {
                break;
            }
            let sound = if let Some((hash, end, extent, turning)) = N::look_at_any(wide, &seed, data) {
                mark.slot = homes.fetch(hash);
                mark.note(N::TCP, (hash, end, extent), turning, stage);
                entrance.is_sound::<N>(verified, frame, mark)
            } else {
                entrance.note_special::<N>(tracker, frame, mark, stage)
            };
            if !sound {
                break;
            }
            at += 1;
        }
        at
    }
}

impl<W: Watch> Shard<W> {
    /// What is asked of plain packets that come in by a port.
    pub(super) fn entrance(&self, ingress: PortId) -> Entrance {
        let verified = Meta { ingress, header: HeaderSum::Verified, checksum: Checksum::Verified, ..Meta::default() };
        let verified = verified.told();
        let mut entrance = Entrance { ingress, verified, open: false, verify: self.snapshot.verify, to: None };
        if let Some(port) = self.snapshot.ports.get(ingress.index()) {
            // Tags are taken off elsewhere.
            entrance.open = self.glances() && port.vlan.is_empty();
            entrance.to = port.check_destination.then_some(port.mac);
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
