//! Packets that another shard owns, on their way to it.
//!
//! A packet is a *stray* if it came in here and another shard owns its tuple. Where they are rare each is marked and sought
//! as all are, and goes its way when it is in no table here. From a port whose last burst had many they are *sifted* out of the next
//! one before anything else is done: the owner follows from a few words of the frame, and the owner alone looks closer.
//! Either way they wait in a list for each owner, and go into its ring together.

use super::mark::{Entrance, Mark};
use super::{BURST, End, Fate, Shard, Watch};
use crate::frame::{Burst, Frame};
use crate::net::wide::{Wide, Work};
use crate::net::{DropReason, PortId, ShardId};
use crate::steer::{Homes, Stage};
use crate::wire::glance::{self, Plain, Tell};

/// Of so many packets of a burst one must have been a stray for the port's next burst to be sifted. To ask for the owner
/// costs a fifth of what it saves.
const ONE_IN: usize = 8;

/// Strays of one worker.
pub(super) struct Strays {
    homes: Homes,
    /// Those that wait to be sent, by owner, and the owners that have some, one bit each. Of this worker's there are some only
    /// while a burst is sifted.
    waiting: Vec<Burst>,
    awaited: u64,
    /// Ports whose bursts are sifted, one bit each.
    sifted: u64,
    /// How many there were.
    count: usize,
    /// How many were sifted out, and whether all bursts are sifted, or none.
    #[cfg(test)]
    sifted_out: u64,
    #[cfg(test)]
    forced: Option<bool>,
}

impl Strays {
    pub(super) fn new(shards: usize) -> Strays {
        let limit = if shards > 1 { BURST } else { 0 };
        Strays {
            homes: Homes::new(shards),
            waiting: (0..shards).map(|_| Burst::with_limit(limit)).collect(),
            awaited: 0,
            sifted: 0,
            count: 0,
            #[cfg(test)]
            sifted_out: 0,
            #[cfg(test)]
            forced: None,
        }
    }
}

/// The XOR of a plain packet's 16-bit words of addresses and ports, as they lie there.
#[inline(always)]
fn words(data: &[u8], plain: Plain) -> Option<u16> {
    let (addresses, transport) = match plain {
        Plain::Tcp4 | Plain::Udp4 => {
            let (front, transport) = data.split_first_chunk()?;
            let [a, b] = glance::ends_v4(front);
            (a ^ b, transport)
        }
        Plain::Tcp6 | Plain::Udp6 => {
            let (front, transport) = data.split_first_chunk()?;
            let [a, b, c, d] = glance::addresses_v6(front);
            let both = a ^ b ^ c ^ d;
            ((both ^ both >> 32) as u32, transport)
        }
    };
    let [source, destination] = glance::port_ends(transport.first_chunk()?);
    Some((addresses ^ addresses >> 16) as u16 ^ source ^ destination)
}

impl<W: Watch> Shard<W> {
    /// The shard a plain packet is handed to, if that much can be told without parsing it.
    #[inline(never)]
    pub(super) fn elsewhere(&self, frame: &Frame, mark: &Mark, plain: Plain) -> Option<ShardId> {
        if self.shards == 1 || mark.stage != Stage::Packet || !self.tracker.table().is_absent(mark.hash) {
            return None;
        }
        let home = self.strays.homes.of(words(frame.data(), plain)?);
        (home != self.id).then_some(home)
    }

    /// Whether a plain packet's tuple is this shard's.
    pub(super) fn is_at_home(&self, frame: &Frame, plain: Plain) -> bool {
        words(frame.data(), plain).is_some_and(|words| self.strays.homes.of(words) == self.id)
    }

    /// Takes the strays out of a burst that came in by one port, if many are to be expected. No packet overtakes another of its
    /// flow: those behind one whose owner a glance does not tell stay too.
    #[inline]
    pub(super) fn sift(&mut self, burst: &mut Burst) {
        if self.strays.sifted != 0
            && let Some(ingress) = burst.as_slice().first().map(|frame| frame.meta.ingress)
            && self.strays.sifted & bit(ingress) != 0
        {
            self.sift_all(burst, ingress);
        }
    }

    #[inline(never)]
    fn sift_all(&mut self, burst: &mut Burst, ingress: PortId) {
        if burst.len() > BURST {
            return;
        }
        // What the others sent meanwhile is on its way here while these are looked at.
        self.links.receivers().for_each(|(_, ring)| ring.fetch());
        let mut homes = [self.id.0; BURST];
        let (told, owners) = self.homes_at_a_glance(ingress, burst.as_slice(), &mut homes);
        let strays = owners & !(1 << self.id.0);
        if strays == 0 {
            return;
        }
        // From here on there is room for them all.
        self.send_strays();
        #[cfg(test)]
        {
            self.strays.sifted_out += homes.iter().filter(|home| **home != self.id.0).count() as u64;
        }
        if owners == strays && strays.is_power_of_two() && told == burst.len() {
            self.strays.count += told;
            return self.send_all(ShardId(strays.trailing_zeros() as u8), burst);
        }
        let Strays { waiting, awaited, count, .. } = &mut self.strays;
        *awaited = strays;
        *count += burst.len();
        for (frame, home) in burst.drain().zip(homes) {
            if let Some(list) = waiting.get_mut(usize::from(home)) {
                let _ = list.push(frame);
            }
        }
        if let Some(own) = waiting.get_mut(self.id.index()) {
            *count -= own.len();
            own.drain().for_each(|frame| drop(burst.push(frame)));
        }
        self.send_strays();
    }

    /// The owners of the first frames' tuples, as far as a glance tells them. Gives how many those are, and the owners, one bit
    /// each.
    fn homes_at_a_glance(&self, ingress: PortId, frames: &[Frame], homes: &mut [u8; BURST]) -> (usize, u64) {
        let entrance = self.entrance(ingress);
        let widest = self.tracker.table().widest();
        let (mut told, mut owners) = (0, 0);
        while let (Some(frames @ [frame, ..]), Some(places)) = (frames.get(told..), homes.get_mut(told..)) {
            let Some(plain) = entrance.kind_at_a_glance(frame) else { break };
            let tell = entrance.tell(plain);
            let glances = Glances { entrance: &entrance, tell, homes: &self.strays.homes, frames, places };
            let (alike, of_these) = match plain {
                Plain::Tcp4 | Plain::Udp4 => widest.run(OfFamily::<_, 4>(glances)),
                Plain::Tcp6 | Plain::Udp6 => widest.run(OfFamily::<_, 6>(glances)),
            };
            if alike == 0 {
                break;
            }
            (told, owners) = (told + alike, owners | of_these);
        }
        (told, owners)
    }

    /// Notes how many of a port's packets were strays.
    #[inline]
    pub(super) fn learn_of_strays(&mut self, ingress: PortId, packets: usize) {
        let strays = std::mem::take(&mut self.strays.count);
        #[cfg(test)]
        if self.strays.forced.is_some() {
            return;
        }
        if strays * ONE_IN >= packets {
            self.strays.sifted |= bit(ingress);
        } else {
            self.strays.sifted &= !bit(ingress);
        }
    }

    /// Passes a frame to the shard that owns it.
    pub(super) fn hand_over(&mut self, home: ShardId, stage: Stage, frame: Frame) {
        if stage == Stage::Packet {
            return self.stray(home, frame);
        }
        if !self.hand_group(home, stage, std::slice::from_ref(&frame)) {
            self.drop(frame, Fate::of(End::Drop(DropReason::HandoffFull)));
        }
    }

    /// Passes frames on that belong together, behind all that was handed over before. `false`: there is no room for them, which is
    /// counted, and they are still to be dropped.
    pub(super) fn hand_group(&mut self, home: ShardId, stage: Stage, frames: &[Frame]) -> bool {
        self.send_strays_to(home);
        let sent = self.links.sender(home).is_some_and(|ring| ring.send(stage, frames).is_ok());
        if sent {
            self.handed |= 1 << home.0;
            self.counters.handoff(home, frames.len() as u64);
        } else {
            self.counters.handoff_drops(home, frames.len() as u64);
        }
        sent
    }

    /// Has a packet wait for its way to its owner.
    #[inline]
    fn stray(&mut self, home: ShardId, frame: Frame) {
        if self.strays.waiting.get(home.index()).is_some_and(|waiting| waiting.room() == 0) {
            self.send_strays_to(home);
        }
        self.strays.count += 1;
        self.strays.awaited |= 1 << home.0;
        if let Some(waiting) = self.strays.waiting.get_mut(home.index()) {
            let _ = waiting.push(frame);
        }
    }

    /// Sends the packets that wait on their way.
    #[inline]
    pub(super) fn send_strays(&mut self) {
        while self.strays.awaited != 0 {
            self.send_strays_to(ShardId(self.strays.awaited.trailing_zeros() as u8));
        }
    }

    #[inline(never)]
    fn send_strays_to(&mut self, home: ShardId) {
        self.strays.awaited &= !(1 << home.0);
        let Some(place) = self.strays.waiting.get_mut(home.index()) else { return };
        let mut waiting = std::mem::replace(place, Burst::with_limit(0));
        self.send_all(home, &mut waiting);
        if let Some(place) = self.strays.waiting.get_mut(home.index()) {
            *place = waiting;
        }
    }

    /// Sends single packets on their way, or drops those that there is no room for.
    #[inline]
    fn send_all(&mut self, home: ShardId, waiting: &mut Burst) {
        while !waiting.is_empty() {
            let sent = self.links.sender(home).map_or(0, |ring| ring.send_packets(waiting));
            if sent != 0 {
                self.handed |= 1 << home.0;
                self.counters.handoff(home, sent as u64);
            } else {
                // One behind it may be shorter.
                self.drop_first(home, waiting);
            }
        }
    }

    #[cold]
    fn drop_first(&mut self, home: ShardId, waiting: &mut Burst) {
        let Some(frame) = waiting.take(1).next() else { return };
        self.counters.handoff_drops(home, 1);
        self.drop(frame, Fate::of(End::Drop(DropReason::HandoffFull)));
    }
}

/// Glances at frames of one kind that came in by one port, for their owners.
struct Glances<'a> {
    entrance: &'a Entrance,
    tell: Tell,
    homes: &'a Homes,
    frames: &'a [Frame],
    places: &'a mut [u8],
}

/// The same of a version of IP. Gives how many of the first are of that kind, and their owners, one bit each.
struct OfFamily<G, const VERSION: u8>(G);

impl<const VERSION: u8> Work for OfFamily<Glances<'_>, VERSION> {
    type Output = (usize, u64);

    #[inline(always)]
    fn run(self, wide: impl Wide) -> (usize, u64) {
        let Glances { entrance, tell, homes, frames, places } = self.0;
        let plain = if VERSION == 4 { Plain::Tcp4 } else { Plain::Tcp6 };
        let (mut count, mut owners) = (0, 0);
        for (frame, place) in frames.iter().zip(places) {
            let data = frame.data();
            let Some(words) = words(data, plain) else { break };
            let Some(telling) = data.first_chunk() else { break };
            if wide.differ(telling, &tell.wanted, &tell.mask) || !entrance.is_of(frame) {
                break;
            }
            *place = homes.of(words).0;
            owners |= 1 << *place;
            count += 1;
        }
        (count, owners)
    }
}

fn bit(port: PortId) -> u64 {
    1u64.checked_shl(port.0.into()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
