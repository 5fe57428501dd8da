//! The tracker's answers about ordinary packets that the shortcut has no word for: those of new connections, and of
//! connections that are being opened or closed. Each is what [`Tracker::find`], [`Tracker::advance`], [`Tracker::open`] and
//! [`Tracker::commit`] come to for such a packet, or nothing.

use super::counts::Cause;
use super::entry::status;
use super::lifecycle;
use super::tracker::Tracker;
use crate::net::{CtState, Direction, Millis, Summary};

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

impl Tracker {
    /// Whether some connection is not in the default zone.
    #[inline]
    #[must_use]
    pub fn has_zones(&self) -> bool {
        self.table.zoned() != 0
    }

    /// Where the connection stands that a packet of TCP or UDP in the default zone belongs to; `slot` is where
    /// [`Table::likely`](super::table::Table::likely) says that it may be. `None` if a helper, a limit or a parent has to do
    /// with it.
    #[inline]
    #[must_use]
    pub fn standing(&self, (slot, hash): (u32, u64), packet: &Summary, epoch: u8, now: Millis) -> Option<Standing> {
        const SPECIAL: u16 = status::HELPER | status::COUNTED;
        let found = match self.table.stands_in(slot, &packet.tuple) {
            Some(direction) => Some((slot, direction)),
            None => self.table.search(hash, &packet.tuple),
        };
        let Some((slot, direction)) = found else { return Some(Standing::None) };
        let entry = self.table.entry(slot)?;
        if entry.status & SPECIAL != 0 {
            return None;
        }
        let expired = entry.remaining(now) <= 0;
        if expired || lifecycle::is_over(entry, packet, direction) {
            let cause = if expired { Cause::Timeout } else { Cause::Closed };
            return (!entry.is(status::EXPECTED)).then_some(Standing::Over(slot, cause));
        }
        let decision = if entry.epoch == epoch { entry.decision } else { 0 };
        Some(Standing::Live(Member { slot, direction, state: entry.state_of(direction), decision }))
    }

    /// Makes the connection of an ordinary first packet whose verdict is known, in place of the one that is over, if there is
    /// one. Gives its slot. `None`: the packet is not ordinary, or there is no room for it; then it is for [`Tracker::open`].
    #[inline]
    pub fn open_at_once(&mut self, hash: u64, packet: &Summary, standing: Standing, now: Millis) -> Option<u32> {
        let entry = lifecycle::opened(&self.settings, packet, now)?;
        if let Standing::Over(slot, cause) = standing {
            self.remove(slot, cause);
        }
        if !self.make_room(hash, now) {
            return None;
        }
        self.forget_candidate();
        let slot = self.table.insert_plain(hash, &packet.tuple, &entry)?;
        self.count_made(&packet.tuple);
        Some(slot)
    }

    /// Moves a live connection on by an ordinary packet without a defect. `false`: it is not ordinary, and nothing was changed.
    #[inline]
    pub fn move_on(&mut self, hash: u64, packet: &Summary, member: &Member, now: Millis) -> bool {
        let Some(entry) = self.table.entry_mut(member.slot) else { return false };
        match lifecycle::step(entry, &self.settings, packet, member.direction, now) {
            None => return false,
            Some(false) => {}
            Some(true) => self.table.mark_slot_assured(member.slot, hash),
        }
        true
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
