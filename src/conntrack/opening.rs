//! The tracker's answers about ordinary packets that the shortcut has no word for: those of new connections, and of
//! connections that are being opened or closed. Each is what [`Tracker::find`], [`Tracker::advance`], [`Tracker::open`] and
//! [`Tracker::commit`] come to for such a packet, or nothing.

use super::counts::Cause;
use super::ends::Ends;
use super::entry::{Entry, status};
use super::lifecycle::{self, ordinary};
use super::shortcut::{Plain, Turn};
use super::tracker::Tracker;
use crate::net::wide::Common;
use crate::net::{CtState, Direction, Segment, Tuple};

/// Where a packet's connection stands.
#[derive(Clone, Copy, Debug)]
pub enum Standing {
    /// There is none.
    None,
    /// One that is over, in this slot, and why it goes.
    Over(u32, Cause),
    /// One that lives.
    Live(Member),
}

/// A packet's place in a live connection.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Slot of the connection.
    pub slot: u32,
    /// The way the packet travels.
    pub direction: Direction,
    /// The state netfilter gives it, unless its protocol finds it INVALID.
    pub state: CtState,
    /// The decision cached under the epoch asked about; 0 if there is none.
    pub decision: u16,
}

/// A packet of TCP or UDP in the default zone, as this way sees it.
#[derive(Clone, Copy, Debug)]
pub struct Packet<A> {
    /// Hash of its tuple under the table's seed.
    pub hash: u64,
    /// Its addresses.
    pub ends: A,
    /// Its ports, the source in the upper half.
    pub ports: u32,
    /// TCP or UDP.
    pub proto: u8,
    /// It is a SYN without ACK.
    pub opens: bool,
}

impl<A: Ends> Packet<A> {
    /// Its tuple.
    #[inline(always)]
    #[must_use]
    pub fn tuple(&self) -> Tuple {
        self.ends.tuple(self.ports, self.proto)
    }
}

impl Entry {
    /// Whether this is a live connection of that protocol, with addresses of kind [`Ends::KIND`], with which no helper and no limit
    /// has to do, and whose packets of `SIDE` (0 is who opened it) are ESTABLISHED.
    #[inline(always)]
    #[must_use]
    pub fn goes_on<const SIDE: usize>(&self, (kind, proto): (u16, u8), turn: &Turn) -> bool {
        let answered = if SIDE == 0 { status::SEEN_REPLY } else { 0 };
        let mask = status::LIVE | status::V6 | SPECIAL | answered;
        self.status & mask == status::LIVE | kind | answered && self.proto == proto && !self.is_over(turn.now)
    }

    /// The same of one that nobody answered or announced, so that its packets in original direction are NEW.
    #[inline(always)]
    #[must_use]
    pub fn is_unanswered(&self, (kind, proto): (u16, u8), turn: &Turn) -> bool {
        let mask = status::LIVE | status::V6 | SPECIAL | status::SEEN_REPLY | status::EXPECTED;
        self.status & mask == status::LIVE | kind && self.proto == proto && !self.is_over(turn.now)
    }

    /// The decision cached under the epoch asked about; 0 if there is none.
    #[inline(always)]
    #[must_use]
    pub fn decision_under(&self, turn: &Turn) -> u16 {
        if self.epoch == turn.epoch { self.decision } else { 0 }
    }
}

/// A helper or a limit has to do with the connection.
const SPECIAL: u16 = status::HELPER | status::COUNTED;

impl Tracker {
    /// Whether some connection is not in the default zone.
    #[inline]
    #[must_use]
    pub fn has_zones(&self) -> bool {
        self.table.zoned() != 0
    }

    /// Where the connection stands that a packet belongs to; `slot` is where
    /// [`WayIn::likely`](super::table::WayIn::likely) says that it may be. `None` if a helper, a limit or a parent has to do
    /// with it.
    #[inline(always)]
    #[must_use]
    pub fn standing<A: Ends>(&mut self, slot: u32, packet: &Packet<A>, turn: &Turn) -> Option<Standing> {
        let wanted = status::LIVE | A::KIND;
        let likely = packet.ends.matched(&mut self.table, slot, packet.hash, packet.ports);
        let likely = likely
            .filter(|(entry, _)| entry.status & (status::LIVE | status::V6) == wanted && entry.proto == packet.proto);
        let found = match likely.map(|(_, way)| way) {
            Some(way) => Some((slot, way)),
            _ if self.table.is_absent(packet.hash) => None,
            _ => self.table.search(packet.hash, &packet.tuple()),
        };
        let Some((slot, direction)) = found else { return Some(Standing::None) };
        let entry = self.table.entry(slot)?;
        if entry.status & SPECIAL != 0 {
            return None;
        }
        let expired = entry.is_over(turn.now);
        if expired || (packet.opens && lifecycle::is_over(entry, direction)) {
            let cause = if expired { Cause::Timeout } else { Cause::Closed };
            return (!entry.is(status::EXPECTED)).then_some(Standing::Over(slot, cause));
        }
        let decision = entry.decision_under(turn);
        Some(Standing::Live(Member { slot, direction, state: entry.state_of(direction), decision }))
    }

    /// Makes the connection of an ordinary first packet whose verdict is known, in place of the one that is over, if there is
    /// one. Gives its slot. `segment` is a TCP packet's; the packet has no defect. `None`: the packet is not ordinary, or there
    /// is no room for it; then it is for [`Tracker::open`].
    #[inline(always)]
    pub fn open_at_once<A: Ends>(
        &mut self,
        packet: &Packet<A>,
        segment: Option<&Segment>,
        standing: Standing,
        turn: &Turn,
    ) -> Option<u32> {
        let entry = match segment {
            Some(segment) if packet.opens => lifecycle::opened_tcp(&self.settings.timeouts, segment, turn.now),
            Some(_) => return None,
            None => lifecycle::opened_udp(&self.settings.timeouts, turn.now),
        };
        if let Standing::Over(slot, cause) = standing {
            self.let_go(slot, cause);
            if self.table.renew(slot, packet.hash, &packet.tuple(), &entry) {
                self.forget_candidate();
                self.count_made(packet.proto);
                return Some(slot);
            }
            self.table.remove(slot);
        }
        if !self.make_room(packet.hash, turn.now) {
            return None;
        }
        self.forget_candidate();
        let slot = self.table.insert_plain(packet.hash, &packet.tuple(), &entry)?;
        self.count_made(packet.proto);
        Some(slot)
    }

    /// Moves a live TCP connection on by an ordinary segment without a defect. `false`: it is not ordinary, and nothing was
    /// changed. A function of its own, for it needs all registers.
    #[inline(never)]
    pub fn move_tcp_on(
        &mut self,
        hash: u64,
        segment: &Segment,
        (slot, direction): (u32, Direction),
        turn: &Turn,
    ) -> bool {
        let Some(entry) = self.table.entry_mut(slot) else { return false };
        let stepped = lifecycle::step_tcp(entry, (&self.settings, &self.timers), segment, direction, turn.now);
        self.assure(stepped, hash, slot)
    }

    /// Moves the answered connection in a slot on by an ACK, or an ACK with FIN, of its `SIDE` (0 is who opened it), and tells
    /// whether it is open. `None`: it is not a step that every connection takes, and nothing was changed.
    #[inline(always)]
    pub fn step_on<const SIDE: usize>(
        &mut self,
        hash: u64,
        slot: u32,
        (seg, fin): (&Plain<'_>, bool),
        turn: &Turn,
    ) -> Option<bool> {
        let entry = self.table.entry_mut(slot)?;
        let unlike = !entry.status & (status::ASSURED | status::ORDERLY) | u16::from(fin);
        if unlike == 0 && entry.step_ordinary::<SIDE>(Common, seg, turn) {
            return Some(true);
        }
        let how = (&self.timers, self.settings.tcp_max_retrans);
        let stepped = ordinary::step::<SIDE>(entry, how, (seg.ack(), fin), turn.now)?;
        if stepped.assured {
            self.table.mark_slot_assured(slot, hash);
        }
        Some(stepped.open)
    }

    /// The same by the SYN/ACK that answers a connection's SYN. `false`: it is not that.
    #[inline(always)]
    pub fn step_answer(&mut self, slot: u32, segment: &Segment, turn: &Turn) -> bool {
        let Some(entry) = self.table.entry_mut(slot) else { return false };
        ordinary::answer(entry, (&self.timers, self.settings.tcp_max_retrans), segment, turn.now)
    }

    /// Moves the live UDP flow in a slot on.
    #[inline(always)]
    pub fn move_udp_on(&mut self, hash: u64, (slot, direction): (u32, Direction), turn: &Turn) -> bool {
        let Some(entry) = self.table.entry_mut(slot) else { return false };
        let assured = lifecycle::step_udp(entry, &self.settings.timeouts, direction, turn.now);
        self.assure(Some(assured), hash, slot)
    }

    #[inline(always)]
    fn assure(&mut self, stepped: Option<bool>, hash: u64, slot: u32) -> bool {
        if stepped == Some(true) {
            self.table.mark_slot_assured(slot, hash);
        }
        stepped.is_some()
    }

    /// Caches a decision under `epoch` for the connection in a slot.
    #[inline]
    pub fn keep_decision(&mut self, slot: u32, epoch: u8, decision: u16) {
        if let Some(entry) = self.table.entry_mut(slot) {
            entry.epoch = epoch;
            entry.decision = decision;
        }
    }
}

#[cfg(test)]
mod tests;
