//! The way of nearly every packet: its connection is established, what is to be done with it was decided before,
//! and nothing about it is special.
//!
//! It is the journey's own sequence with every branch left out that such a packet does not take. First everything
//! is looked at that could make it special, and nothing is changed; only then the connection is moved on. Whatever
//! does not fit goes the whole way by `judge`, which would do the same with those that do: the tests hold both to the
//! same ends, counters, entries and octets.

use super::{End, Fate, Item, Shard, Watch};
use crate::frame::{Checksum, Frame};
use crate::net::{CtState, DropReason, Family, Millis, Now};
use crate::policy::spec::Hook;
use crate::wire;

/// What holds for all packets judged at once.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    open: bool,
    epoch: u8,
    now: Millis,
}

/// What is counted once for all packets judged at once: the ESTABLISHED, by family.
#[derive(Debug, Default)]
pub(super) struct Tally {
    established: [u64; 2],
    #[cfg(test)]
    taken: u64,
}

impl<W: Watch> Shard<W> {
    #[inline]
    pub(super) fn shortcut_turn(&self, now: Now) -> Turn {
        // Raw rules ask about every packet.
        let open = self.shortcuts && self.snapshot.ruleset.is_empty_at(Hook::Prerouting);
        Turn { open, epoch: self.snapshot.epoch_octet(), now: now.millis() }
    }

    /// Takes a packet all its way, or gives the frame back untouched.
    #[inline(always)]
    pub(super) fn shortcut(&mut self, mut frame: Frame, item: &Item, turn: Turn) -> Result<(), Frame> {
        let parsed = &item.parsed;
        let summary = &parsed.summary;
        let Some((direction, pair)) = self.tracker.recognise(item.slot, &summary.tuple, turn.epoch, turn.now) else {
            return Err(frame);
        };
        let Some(action) = self.decisions.get(pair, direction) else { return Err(frame) };
        let Some(port) = self.snapshot.ports.get(action.egress.index()) else { return Err(frame) };
        let plain = turn.open
            & summary.defect.is_none()
            & (action.ingress == frame.meta.ingress)
            & !parsed.link_group
            & (parsed.ttl > 1)
            & (parsed.end - u32::from(parsed.l3) <= port.mtu)
            & frame.meta.gso.is_none()
            & (port.tx_checksum_partial | !matches!(frame.meta.checksum, Checksum::Partial { .. }))
            & port.vlan.is_empty();
        if !plain {
            return Err(frame);
        }
        let (egress, neighbour, rule) = (action.egress, action.neighbour, action.trail.slots().last().copied());
        let Some((_, mac)) = self.neighbours.peek(neighbour).filter(|(by, _)| *by == egress) else { return Err(frame) };
        if !self.tracker.step(item.slot, summary, direction, turn.now) {
            return Err(frame);
        }
        // From here on it is decided.
        self.neighbours.mark_used(neighbour);
        self.tally.established[summary.tuple.family.index()] += 1;
        self.decisions.count(pair, direction, frame.len());
        wire::send_on(frame.data_mut(), parsed, mac, port.mac);
        if W::WATCHING {
            let fate = Fate {
                end: End::Accept,
                state: Some(CtState::Established),
                direction: Some(direction),
                invalid: None,
                rule,
                egress: Some(egress),
                protocol_state: self.tracker.protocol_state_of(item.slot),
            };
            self.watch.ended(frame.meta.seq, &fate);
        }
        if frame.len() > parsed.end as usize {
            frame.set_len(parsed.end as usize);
        }
        if let Err(frame) = self.out.push(egress, frame) {
            self.lost(frame, DropReason::TxRingFull);
        }
        Ok(())
    }

    /// Passes on what the packets judged at once add up to.
    #[inline]
    pub(super) fn settle_tally(&mut self) {
        for family in Family::ALL {
            let packets = std::mem::take(&mut self.tally.established[family.index()]);
            if packets != 0 {
                self.counters.state(family, CtState::Established, packets);
            }
            #[cfg(test)]
            {
                self.tally.taken += packets;
            }
        }
        let rules = &mut self.rules;
        self.decisions.settle(|rule, packets, bytes| rules.count(rule.index(), packets, bytes));
    }
}

#[cfg(test)]
mod tests;
