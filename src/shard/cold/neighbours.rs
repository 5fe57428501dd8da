//! Next hops: their link addresses, and the packets that wait for one.

use crate::frame::{Frame, Origin};
use crate::net::{Addr, DropReason, Family, MacAddr, Now, PortId};
use crate::route::{NeighbourEvent, NeighbourId, NeighbourKey, NextHop, Released, Resolution};
use crate::shard::journey::Passage;
use crate::shard::{End, Shard, Watch};
use crate::wire::{self, IcmpError, Unreachable, Verify};

/// A made-up link address for a next hop nobody can be asked for: locally administered, from the address.
fn made_up(addr: Addr) -> MacAddr {
    let [a, b, c, d] = (addr.lo as u32).to_be_bytes();
    MacAddr([0x02, 0x00, a, b, c, d])
}

impl<W: Watch> Shard<W> {
    /// The link address of a next hop, if it is known, and its number if there is room to remember it.
    pub(in crate::shard) fn next_hop(
        &mut self,
        hop: NextHop,
        family: Family,
        now: Now,
    ) -> Option<(Option<NeighbourId>, MacAddr)> {
        let key = NeighbourKey { port: hop.port, family, addr: hop.via };
        if let Some((id, mac)) = self.neighbours.ready(&key) {
            self.neighbours.mark_used(id);
            return Some((Some(id), mac));
        }
        if !self.snapshot.assume_neighbours {
            return None;
        }
        let mac = made_up(hop.via);
        self.neighbour(&NeighbourEvent::Update { key, mac }, now);
        match self.neighbours.lookup(&key) {
            Resolution::Ready(id, mac) => Some((Some(id), mac)),
            Resolution::Pending | Resolution::Unknown => Some((None, mac)),
        }
    }

    /// Keeps an accepted packet until its next hop answers.
    #[cold]
    pub(in crate::shard) fn wait_for_next_hop(&mut self, passage: Passage<'_>, hop: NextHop, now: Now) {
        let Passage { mut frame, parsed, fate, .. } = passage;
        wire::decrement_ttl(frame.data_mut(), parsed);
        if frame.len() > parsed.end as usize {
            frame.set_len(parsed.end as usize);
        }
        self.watch.ended(frame.meta.seq, &fate.ending(End::Held));
        self.wait(frame, NeighbourKey { port: hop.port, family: parsed.summary.tuple.family, addr: hop.via }, now);
    }

    /// Puts a frame whose TTL is counted down into the queue of a neighbour.
    pub(in crate::shard) fn wait(&mut self, frame: Frame, key: NeighbourKey, now: Now) {
        if frame.meta.origin == Origin::Received {
            self.counters.hold(frame.meta.ingress, 1);
        }
        let hold = self.neighbours.hold(key, frame, now);
        if hold.ask {
            self.upcall.resolve(key);
        }
        if let Some((pushed_out, reason)) = hold.dropped {
            self.unhold(&pushed_out);
            self.counters.neighbour_queue_drop(key.port);
            self.lost(pushed_out, reason);
        }
    }

    fn unhold(&mut self, frame: &Frame) {
        if frame.meta.origin == Origin::Received {
            self.counters.release(frame.meta.ingress, 1);
        }
    }

    /// Sends or drops packets that waited for a neighbour.
    pub(in crate::shard) fn release(&mut self, released: &mut Vec<Released<Frame>>, now: Now) {
        for Released { item: frame, outcome } in released.drain(..) {
            self.unhold(&frame);
            match outcome {
                Ok((id, mac)) => match self.neighbours.touch(id) {
                    Some((port, _)) => self.send_waited(port, mac, frame),
                    None => self.lost(frame, DropReason::NeighbourUnresolved),
                },
                Err(reason) => {
                    if reason == DropReason::NeighbourUnresolved && frame.meta.origin == Origin::Received {
                        self.tell_unreachable(&frame, now);
                    }
                    self.lost(frame, reason);
                }
            }
        }
    }

    fn send_waited(&mut self, port: PortId, mac: MacAddr, mut frame: Frame) {
        let Some(own) = self.snapshot.port(port).map(|p| p.mac) else {
            return self.lost(frame, DropReason::ReloadRemovedPort);
        };
        wire::set_link(frame.data_mut(), mac, own);
        self.send_sized(port, frame);
    }

    /// Tells the sender of a packet that its next hop does not answer (RFC 1812 section 5.2.7.1).
    fn tell_unreachable(&mut self, frame: &Frame, now: Now) {
        if let Ok(parsed) = wire::parse(frame.data(), Verify::Trust) {
            self.answer_with_error(frame, &parsed, IcmpError::Unreachable(Unreachable::Host), now);
        }
    }
}
