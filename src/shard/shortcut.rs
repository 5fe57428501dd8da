//! The way of nearly every packet: its connection is established, what is to be done with it was decided before,
//! and nothing about it is special.
//!
//! It is the journey's own sequence with every branch left out that such a packet does not take. First everything
//! is looked at that could make it special, and nothing is changed; only then the connection is moved on. Whatever
//! does not fit goes the whole way by `judge`, which would do the same with those that do: the tests hold both to the
//! same ends, counters, entries and octets.
//!
//! What is the same for all packets of a burst is looked at once: the port they come in by ([`Entrance`]), and for each
//! decision they share the neighbour, the port they leave by, and the link addresses ([`Kept`](super::decision::Kept)).

use super::decision::{Decisions, ready};
use super::{End, Fate, Shard, Snapshot, Sum, Watch};
use crate::conntrack::entry::Entry;
use crate::conntrack::shortcut::{self, Ack};
use crate::conntrack::table::NIL;
use crate::conntrack::tracker::Tracker;
use crate::frame::{Checksum, Frame};
use crate::net::{CtState, Direction, DropReason, Family, Now, PortId, proto};
use crate::policy::spec::Hook;
use crate::route::NeighbourView;
use crate::steer::Stage;
use crate::wire;
use crate::wire::glance::{self, Addresses, Glance, LINK, PLAIN_V4, PLAIN_V6, Plain, glance};

/// What becomes of a packet that was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// Plain: the shortcut is tried.
    Plain(Plain),
    /// All else: its item says more.
    Whole,
    /// It ends for this reason.
    Drop(DropReason),
    /// It is the control plane's.
    Punt,
}

/// What is known of a packet between the passes over its burst, if it is plain. Nothing that its frame tells as
/// quickly.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// Under the table's seed.
    pub(super) hash: u64,
    /// Where the table may have it.
    pub(super) slot: u32,
    /// One past the datagram.
    end: u32,
    sacked: u32,
    payload: u16,
    pub(super) path: Path,
    /// The transport checksum is partial.
    partial: bool,
    pub(super) stage: Stage,
}

const _: () = assert!(size_of::<Mark>() <= 32, "two marks to a line");

impl Mark {
    /// Of no frame yet.
    pub(super) const NOTHING: Mark = Mark {
        hash: 0,
        slot: NIL,
        end: 0,
        sacked: 0,
        payload: 0,
        path: Path::Whole,
        partial: false,
        stage: Stage::Packet,
    };
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
    /// Whether the frame came in here.
    #[inline(always)]
    pub(super) fn is_of(&self, frame: &Frame) -> bool {
        self.ingress == frame.meta.ingress
    }
}

/// What holds for all packets judged at once.
pub(super) struct Turn {
    number: u64,
    tracking: shortcut::Turn,
}

impl<W: Watch> Shard<W> {
    /// What is asked of plain packets that come in by a port.
    pub(super) fn entrance(&self, ingress: PortId) -> Entrance {
        let mut entrance = Entrance { ingress, open: false, verify: self.snapshot.verify, mask: 1, wanted: 0 };
        if let Some(port) = self.snapshot.ports.get(ingress.index()) {
            // Raw rules ask about every packet, and tags are taken off elsewhere.
            let raw = !self.snapshot.ruleset.is_empty_at(Hook::Prerouting);
            entrance.open = self.shortcuts && !raw && port.vlan.is_empty();
            if port.check_destination {
                let [a, b, c, d, e, f] = port.mac.0;
                (entrance.mask, entrance.wanted) = ((1 << 48) - 1, u64::from_le_bytes([a, b, c, d, e, f, 0, 0]));
            }
        }
        entrance
    }

    /// First pass over a burst: looks at a frame, hashes its tuple and fetches its bucket. `false`: it is not plain.
    #[inline(always)]
    pub(super) fn mark(tracker: &Tracker, entrance: &Entrance, frame: &Frame, mark: &mut Mark) -> bool {
        let data = frame.data();
        if !entrance.open
            || frame.meta.gso.is_some()
            || (glance::destination_word(data) ^ entrance.wanted) & entrance.mask != 0
        {
            return false;
        }
        let (partial, verify) = match frame.meta.checksum {
            Checksum::Unknown => (false, entrance.verify),
            Checksum::Verified => (false, false),
            Checksum::Partial { .. } => (true, false),
        };
        let Some(seen) = glance(data, verify) else { return false };
        let Glance { plain, addresses, ports, end, payload, sacked } = seen;
        let proto = match plain {
            Plain::Tcp4 | Plain::Tcp6 => proto::TCP,
            Plain::Udp4 | Plain::Udp6 => proto::UDP,
        };
        let seed = tracker.seed();
        let hash = match addresses {
            Addresses::V4(addresses) => seed.hash_v4(addresses, ports, proto),
            Addresses::V6(addresses) => seed.hash_v6(&addresses, ports, proto),
        };
        tracker.table().prefetch_bucket(hash);
        *mark = Mark { hash, slot: NIL, end, sacked, payload, path: Path::Plain(plain), partial, ..*mark };
        true
    }

    pub(super) fn begin_turn(&mut self, now: Now) -> Turn {
        self.turn += 1;
        Turn { number: self.turn, tracking: self.tracker.turn(self.snapshot.epoch_octet(), now.millis()) }
    }

    /// Takes a plain packet all its way, or gives the frame back untouched.
    #[inline(always)]
    pub(super) fn shortcut(&mut self, frame: Frame, mark: &Mark, plain: Plain, turn: &Turn) -> Result<(), Frame> {
        match plain {
            Plain::Tcp4 => self.take::<V4, { proto::TCP }>(frame, mark, turn),
            Plain::Udp4 => self.take::<V4, { proto::UDP }>(frame, mark, turn),
            Plain::Tcp6 => self.take::<V6, { proto::TCP }>(frame, mark, turn),
            Plain::Udp6 => self.take::<V6, { proto::UDP }>(frame, mark, turn),
        }
    }

    #[inline(always)]
    fn take<N: Network, const PROTO: u8>(&mut self, mut frame: Frame, mark: &Mark, turn: &Turn) -> Result<(), Frame> {
        let (ingress, len) = (frame.meta.ingress, frame.len());
        let Some((front, transport)) = N::split(frame.data_mut()) else { return Err(frame) };
        let Some(ports) = transport.first_chunk().map(glance::ports) else { return Err(frame) };
        let found = N::recognise(&mut self.tracker, mark.slot, front, ports, PROTO, &turn.tracking);
        let Some((entry, direction)) = found else { return Err(frame) };
        let Some(place) = self.decisions.place(entry.decision(), direction) else { return Err(frame) };
        let ready = ready(turn.number, ingress);
        if self.decisions.kept(place).is_none_or(|kept| kept.ready != ready)
            && !prepare(&mut self.decisions, &self.snapshot, &self.neighbours, place, ready)
        {
            return Err(frame);
        }
        let Some(kept) = self.decisions.kept(place) else { return Err(frame) };
        let size = mark.end - LINK;
        if N::ttl(front) <= 1 || size > kept.most[usize::from(mark.partial)] {
            return Err(frame);
        }
        let stepped = if PROTO == proto::TCP {
            let Some((seq, ack, window)) = transport.first_chunk().map(glance::numbers) else { return Err(frame) };
            let ack = Ack { seq, ack, sacked: mark.sacked, payload: mark.payload, window };
            entry.step_tcp(ack, direction, &turn.tracking)
        } else {
            entry.step_udp(&turn.tracking)
        };
        if !stepped {
            return Err(frame);
        }
        // From here on it is decided.
        kept.packets += 1;
        kept.octets += len as u64;
        N::send_on(front, &kept.link);
        let egress = kept.egress;
        if W::WATCHING {
            let fate = Fate {
                end: End::Accept,
                state: Some(CtState::Established),
                direction: Some(direction),
                invalid: None,
                rule: kept.rule(),
                egress: Some(egress),
                protocol_state: self.tracker.protocol_state_of(mark.slot),
            };
            self.watch.ended(frame.meta.seq, &fate);
        }
        frame.meta.family = Some(N::FAMILY);
        // Link padding of the ingress is not the datagram's.
        if len > mark.end as usize {
            kept.unsent_octets += len as u64 - u64::from(mark.end);
            frame.set_len(mark.end as usize);
        }
        if let Err(frame) = self.out.push_uncounted(egress, frame) {
            kept.unsent_octets += u64::from(mark.end);
            kept.unsent_packets += 1;
            self.lost(frame, DropReason::TxRingFull);
        }
        Ok(())
    }

    /// Passes on what the packets judged at once add up to.
    #[inline]
    pub(super) fn settle(&mut self) {
        let Shard { decisions, rules, counters, neighbours, out, .. } = self;
        #[cfg(test)]
        let taken = &mut self.taken;
        decisions.settle(|done| {
            for rule in done.action.trail.slots() {
                rules.count(rule.index(), done.packets, done.octets);
            }
            counters.state(done.family, CtState::Established, done.packets);
            neighbours.mark_used(done.action.neighbour);
            let (packets, octets) = done.sent;
            out.add(done.action.egress, Sum { kind: Some((done.action.ingress, done.family)), packets, octets });
            #[cfg(test)]
            {
                *taken += done.packets;
            }
        });
    }
}

/// Makes a decision ready for the packets judged at once that come in by its port. `false`: there is something about it
/// that the shortcut knows nothing of.
#[cold]
#[inline(never)]
fn prepare(
    decisions: &mut Decisions,
    snapshot: &Snapshot,
    neighbours: &NeighbourView<Frame>,
    place: usize,
    wanted: u64,
) -> bool {
    let Some(action) = decisions.action(place) else { return false };
    let Some(port) = snapshot.ports.get(action.egress.index()) else { return false };
    let Some((key, mac)) = neighbours.peek(action.neighbour) else { return false };
    // Rules may ask for the port; a packet from elsewhere is decided anew.
    if ready(wanted >> 8, action.ingress) != wanted || key.port != action.egress || !port.vlan.is_empty() {
        return false;
    }
    let most = [port.mtu, if port.tx_checksum_partial { port.mtu } else { 0 }];
    let mut link = [0; 12];
    wire::set_link(&mut link, mac, port.mac);
    decisions.prepare(place, wanted, key.family, most, link);
    true
}

/// Where the two network protocols differ.
trait Network {
    const FAMILY: Family;
    /// Octets in front of the transport header.
    type Front;

    fn split(data: &mut [u8]) -> Option<(&mut Self::Front, &mut [u8])>;
    fn ttl(front: &Self::Front) -> u8;
    fn send_on(front: &mut Self::Front, link: &[u8; 12]);
    fn recognise<'a>(
        tracker: &'a mut Tracker,
        slot: u32,
        front: &Self::Front,
        ports: u32,
        proto: u8,
        turn: &shortcut::Turn,
    ) -> Option<(&'a mut Entry, Direction)>;
}

struct V4;

impl Network for V4 {
    const FAMILY: Family = Family::V4;
    type Front = [u8; PLAIN_V4];

    #[inline(always)]
    fn split(data: &mut [u8]) -> Option<(&mut Self::Front, &mut [u8])> {
        data.split_first_chunk_mut()
    }

    #[inline(always)]
    fn ttl(front: &Self::Front) -> u8 {
        front[22]
    }

    #[inline(always)]
    fn send_on(front: &mut Self::Front, link: &[u8; 12]) {
        glance::send_on_v4(front, link);
    }

    #[inline(always)]
    fn recognise<'a>(
        tracker: &'a mut Tracker,
        slot: u32,
        front: &Self::Front,
        ports: u32,
        proto: u8,
        turn: &shortcut::Turn,
    ) -> Option<(&'a mut Entry, Direction)> {
        tracker.recognise_v4(slot, glance::addresses_v4(front), ports, proto, turn)
    }
}

struct V6;

impl Network for V6 {
    const FAMILY: Family = Family::V6;
    type Front = [u8; PLAIN_V6];

    #[inline(always)]
    fn split(data: &mut [u8]) -> Option<(&mut Self::Front, &mut [u8])> {
        data.split_first_chunk_mut()
    }

    #[inline(always)]
    fn ttl(front: &Self::Front) -> u8 {
        front[21]
    }

    #[inline(always)]
    fn send_on(front: &mut Self::Front, link: &[u8; 12]) {
        glance::send_on_v6(front, link);
    }

    #[inline(always)]
    fn recognise<'a>(
        tracker: &'a mut Tracker,
        slot: u32,
        front: &Self::Front,
        ports: u32,
        proto: u8,
        turn: &shortcut::Turn,
    ) -> Option<(&'a mut Entry, Direction)> {
        tracker.recognise_v6(slot, &glance::addresses_v6(front), ports, proto, turn)
    }
}

#[cfg(test)]
mod tests;
