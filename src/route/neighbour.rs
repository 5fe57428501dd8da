//! The neighbour state machine: which link address a next hop has, and whether it still answers.
//!
//! One machine for ARP (RFC 826) and neighbour discovery (RFC 4861 section 7.3) with the states, timers and
//! rulings of Linux (`net.ipv4.neigh.*`, `arp_accept=0`). Pure: it is told requests, facts and the time, and
//! says what to ask and what the shards must know. Its owner is the control plane; shards read their own
//! [`super::NeighbourView`].
//!
//! Always holds: at most `capacity` entries that were not configured, at most half of them unanswered, so a
//! sweep over a large subnet cannot push out neighbours in use (RFC 6583); a configured neighbour never
//! changes by what the wire says.

use crate::net::{MacAddr, Now, PortId};
use std::collections::BTreeMap;

mod words;

pub use words::{Fact, NeighbourAction, NeighbourConfig, NeighbourEvent, NeighbourInfo, NeighbourKey, Nud, ProbeTo};

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: Nud,
    /// Meaningful while `state.is_valid()`.
    mac: MacAddr,
    /// Probes sent since the state was entered.
    probes: u32,
    /// Last proof that it hears us.
    confirmed: Now,
    /// Last use by a shard.
    used: Now,
    /// Last change of `mac`, or its confirmation by an answer.
    updated: Now,
    /// When the state's timer runs out; no meaning in stale, failed and permanent.
    due: Now,
    /// How long this entry trusts an answer.
    reachable_ms: u64,
}

/// All neighbours.
#[derive(Debug)]
pub struct NeighbourTable {
    config: NeighbourConfig,
    entries: BTreeMap<NeighbourKey, Entry>,
    permanent: usize,
    random: u64,
    overflows: u64,
}

impl NeighbourTable {
    /// An empty table.
    #[must_use]
    pub fn new(config: NeighbourConfig) -> Self {
        NeighbourTable { config, entries: BTreeMap::new(), permanent: 0, random: config.seed | 1, overflows: 0 }
    }

    /// A shard has packets for `key`. An unknown or failed neighbour is asked for; of a known one the shards
    /// are told again, so that one that missed the news gets it.
    pub fn resolve(&mut self, key: NeighbourKey, now: Now, out: &mut Vec<NeighbourAction>) {
        match self.entries.get(&key).map(|e| (e.state, e.mac)) {
            Some((Nud::Incomplete, _)) => {}
            Some((Nud::Failed, _)) | None => {
                self.entries.remove(&key);
                if !self.make_room(Nud::Incomplete, out) {
                    self.overflows += 1;
                    out.push(NeighbourAction::Event(NeighbourEvent::Failed { key }));
                    return;
                }
                let mut entry = self.fresh(Nud::Incomplete, MacAddr::default(), now);
                entry.probes = 1;
                entry.due = now.plus_millis(self.config.retrans_ms);
                self.entries.insert(key, entry);
                out.push(NeighbourAction::Probe { key, to: ProbeTo::Group });
            }
            Some((_, mac)) => {
                out.push(NeighbourAction::Event(NeighbourEvent::Update { key, mac }));
                self.used(key, now);
            }
        }
    }

    /// A shard sent packets to `key` since its last report.
    pub fn used(&mut self, key: NeighbourKey, now: Now) {
        let delay = self.config.delay_first_probe_ms;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.used = now;
            if entry.state == Nud::Stale {
                entry.state = Nud::Delay;
                entry.due = now.plus_millis(delay);
            }
        }
    }

    /// A message said something of `key`. `mac` is the sender's link address; a neighbour advertisement may
    /// lack it. The caller has checked that the message is valid and that `key` is on the port's link.
    pub fn learn(
        &mut self,
        key: NeighbourKey,
        mac: Option<MacAddr>,
        fact: Fact,
        now: Now,
        out: &mut Vec<NeighbourAction>,
    ) {
        if mac.is_some_and(|m| m.is_multicast() || m == MacAddr::default()) {
            return;
        }
        let state = self.entries.get(&key).map(|e| e.state);
        match (state, mac) {
            (Some(Nud::Permanent), _) => {}
            (None, Some(mac)) => {
                if fact == Fact::AskedUs {
                    if self.make_room(Nud::Stale, out) {
                        let entry = self.fresh(Nud::Stale, mac, now);
                        self.entries.insert(key, entry);
                        out.push(NeighbourAction::Event(NeighbourEvent::Update { key, mac }));
                    } else {
                        self.overflows += 1;
                    }
                }
            }
            // An advertisement that comes after giving up is nobody's answer (RFC 4861 section 7.2.5).
            (Some(Nud::Failed), _) if matches!(fact, Fact::Advert { .. }) => {}
            (Some(Nud::Incomplete | Nud::Failed), Some(mac)) => self.first_address(key, mac, fact, now, out),
            (Some(Nud::Incomplete | Nud::Failed) | None, None) => {}
            (Some(_), _) => self.refresh(key, mac, fact, now, out),
        }
    }

    /// The port's link went down: everything learnt on it is void.
    pub fn link_down(&mut self, port: PortId, out: &mut Vec<NeighbourAction>) {
        self.entries.retain(|key, entry| {
            let keep = key.port != port || entry.state == Nud::Permanent;
            if !keep {
                out.push(NeighbourAction::Event(NeighbourEvent::Forget { key: *key }));
            }
            keep
        });
    }

    /// Replaces the configured neighbours; shards are told of each.
    pub fn set_permanent(&mut self, list: &[(NeighbourKey, MacAddr)], now: Now, out: &mut Vec<NeighbourAction>) {
        self.entries.retain(|key, entry| {
            let keep = entry.state != Nud::Permanent || list.iter().any(|(k, _)| k == key);
            if !keep {
                out.push(NeighbourAction::Event(NeighbourEvent::Forget { key: *key }));
            }
            keep
        });
        for &(key, mac) in list {
            let entry = self.fresh(Nud::Permanent, mac, now);
            self.entries.insert(key, entry);
            out.push(NeighbourAction::Event(NeighbourEvent::Update { key, mac }));
        }
        self.permanent = self.entries.values().filter(|e| e.state == Nud::Permanent).count();
    }

    /// Runs the timers. Call a few times a second; costs one pass over the table.
    pub fn tick(&mut self, now: Now, out: &mut Vec<NeighbourAction>) {
        let (config, crowded) = (self.config, self.learnt() >= self.config.gc_keep);
        self.entries.retain(|key, entry| {
            let idle = now >= entry.used.max(entry.confirmed).plus_millis(config.gc_stale_ms);
            match entry.state {
                Nud::Permanent => return true,
                Nud::Stale if idle && crowded => {
                    out.push(NeighbourAction::Event(NeighbourEvent::Forget { key: *key }));
                    return false;
                }
                Nud::Failed if idle => return false,
                Nud::Stale | Nud::Failed => return true,
                _ => {}
            }
            if now >= entry.due {
                entry.expire(*key, &config, now, out);
            }
            true
        });
    }

    /// Everything known, by port, family and address.
    pub fn iter(&self) -> impl Iterator<Item = NeighbourInfo> {
        self.entries.iter().map(|(key, e)| NeighbourInfo {
            key: *key,
            mac: e.state.is_valid().then_some(e.mac),
            state: e.state,
        })
    }

    /// State of one neighbour.
    #[must_use]
    pub fn state(&self, key: NeighbourKey) -> Option<Nud> {
        self.entries.get(&key).map(|e| e.state)
    }

    /// Entries by family and state, indexed by [`crate::net::Family::index`] and the discriminant of [`Nud`].
    #[must_use]
    pub fn counts(&self) -> [[u32; Nud::ALL.len()]; 2] {
        let mut counts = [[0; Nud::ALL.len()]; 2];
        for (key, entry) in &self.entries {
            counts[key.family.index()][entry.state as usize] += 1;
        }
        counts
    }

    /// Neighbours refused because the table was full.
    #[must_use]
    pub const fn overflows(&self) -> u64 {
        self.overflows
    }

    fn learnt(&self) -> usize {
        self.entries.len() - self.permanent
    }

    fn fresh(&mut self, state: Nud, mac: MacAddr, now: Now) -> Entry {
        // xorshift64: the draw only keeps neighbours from being asked in step (RFC 4861 section 6.3.2).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let base = self.config.base_reachable_ms;
        let reachable_ms = base / 2 + self.random % base.max(1);
        Entry { state, mac, probes: 0, confirmed: now, used: now, updated: now, due: now, reachable_ms }
    }

    /// Makes sure one more entry of this state fits, at the cost of a failed one or else of the stale one that
    /// was not used for longest. `false` if every entry is in use.
    fn make_room(&mut self, state: Nud, out: &mut Vec<NeighbourAction>) -> bool {
        if state == Nud::Incomplete {
            let unanswered = self.entries.values().filter(|e| e.state == Nud::Incomplete).count();
            if unanswered >= (self.config.capacity / 2).max(1) {
                return false;
            }
        }
        if self.learnt() < self.config.capacity {
            return true;
        }
        let victim = self
            .entries
            .iter()
            .filter(|(_, e)| matches!(e.state, Nud::Failed | Nud::Stale))
            .min_by_key(|(_, e)| (e.state != Nud::Failed, e.used))
            .map(|(key, e)| (*key, e.state));
        if let Some((key, state)) = victim {
            self.entries.remove(&key);
            if state == Nud::Stale {
                out.push(NeighbourAction::Event(NeighbourEvent::Forget { key }));
            }
        }
        victim.is_some()
    }

    /// The link address of a neighbour that had none.
    fn first_address(&mut self, key: NeighbourKey, mac: MacAddr, fact: Fact, now: Now, out: &mut Vec<NeighbourAction>) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.mac = mac;
            entry.updated = now;
            entry.probes = 0;
            if fact.confirms() {
                entry.reach(now);
            } else if entry.state == Nud::Incomplete {
                // Packets were waiting and go out now, so it is in use (Linux sends them and enters delay).
                entry.state = Nud::Delay;
                entry.used = now;
                entry.due = now.plus_millis(self.config.delay_first_probe_ms);
            } else {
                entry.state = Nud::Stale;
            }
            out.push(NeighbourAction::Event(NeighbourEvent::Update { key, mac }));
        }
    }

    /// Something new of a neighbour whose link address is known.
    fn refresh(
        &mut self,
        key: NeighbourKey,
        mac: Option<MacAddr>,
        fact: Fact,
        now: Now,
        out: &mut Vec<NeighbourAction>,
    ) {
        let locktime = self.config.locktime_ms;
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let replaces = match fact {
            Fact::AskedUs | Fact::Gratuitous => true,
            Fact::ArpMention | Fact::ArpReply { .. } => now > entry.updated.plus_millis(locktime),
            Fact::Advert { override_, .. } => override_,
        };
        match mac {
            Some(mac) if mac != entry.mac => {
                if !replaces {
                    // RFC 4861 section 7.2.5: doubt what was sure, keep the address.
                    if matches!(fact, Fact::Advert { .. }) && entry.state == Nud::Reachable {
                        entry.state = Nud::Stale;
                    }
                    return;
                }
                entry.mac = mac;
                entry.updated = now;
                if fact.confirms() {
                    entry.reach(now);
                } else {
                    entry.state = Nud::Stale;
                }
                out.push(NeighbourAction::Event(NeighbourEvent::Update { key, mac }));
            }
            _ if fact.confirms() => {
                entry.updated = now;
                entry.reach(now);
            }
            // The same address, not as an answer: nothing new.
            _ => {}
        }
    }
}

impl Entry {
    fn reach(&mut self, now: Now) {
        self.state = Nud::Reachable;
        self.confirmed = now;
        self.probes = 0;
        self.due = now.plus_millis(self.reachable_ms);
    }

    /// The state's timer ran out.
    fn expire(&mut self, key: NeighbourKey, config: &NeighbourConfig, now: Now, out: &mut Vec<NeighbourAction>) {
        match self.state {
            Nud::Reachable => {
                let delay = config.delay_first_probe_ms;
                if now <= self.used.plus_millis(delay) {
                    self.state = Nud::Delay;
                    self.due = now.plus_millis(delay);
                } else {
                    self.state = Nud::Stale;
                }
            }
            Nud::Delay => {
                self.state = Nud::Probe;
                self.probes = 0;
                self.probe(key, config, now, out);
            }
            Nud::Probe | Nud::Incomplete => self.probe(key, config, now, out),
            Nud::Stale | Nud::Failed | Nud::Permanent => {}
        }
    }

    /// Asks once more, or gives up.
    fn probe(&mut self, key: NeighbourKey, config: &NeighbourConfig, now: Now, out: &mut Vec<NeighbourAction>) {
        let (to, most) = match self.state {
            Nud::Incomplete => (ProbeTo::Group, config.mcast_solicit),
            _ => (ProbeTo::Unicast(self.mac), config.ucast_solicit),
        };
        if self.probes >= most {
            self.state = Nud::Failed;
            out.push(NeighbourAction::Event(NeighbourEvent::Failed { key }));
        } else {
            self.probes += 1;
            self.due = now.plus_millis(config.retrans_ms);
            out.push(NeighbourAction::Probe { key, to });
        }
    }
}

#[cfg(test)]
mod tests;
