//! A first packet: the tracker asks the directory what was expected.

use crate::conntrack::expect::Expectations;
use crate::conntrack::key::Key;
use crate::conntrack::tracker::Tracked;
use crate::helper::HelperId;
use crate::metrics::Counters;
use crate::metrics::label::ExpectResult;
use crate::net::{InvalidReason, MasterRef, Millis, Now, Summary, Track, Tuple, Zone, proto};
use crate::shard::{Shard, Watch};
use crate::steer::{Directory, owner};
use crate::wire::{self, Parsed};

/// The directory as the tracker sees it. Costs one load while nothing is expected.
struct Claims<'a> {
    directory: &'a Directory,
    counters: &'a mut Counters,
    /// Helper of the connection that spends one.
    helper: Option<HelperId>,
    zone: u16,
}

impl Expectations for Claims<'_> {
    #[inline]
    fn claim(&mut self, tuple: &Tuple, now: Millis) -> Option<MasterRef> {
        if self.directory.is_empty() {
            return None;
        }
        let claim = self.directory.claim(tuple, self.zone, now)?;
        self.counters.expectation(usize::from(claim.master.helper), ExpectResult::Matched);
        self.helper = claim.expectation.helper.map(HelperId);
        if claim.expectation.twin
            && let Some(twin) = tuple.inverse().and_then(|inverse| self.directory.find(&inverse, self.zone, now))
            && self.directory.remove(&twin.handle)
        {
            self.counters.expectation(usize::from(twin.master.helper), ExpectResult::Removed);
        }
        Some(claim.master)
    }
}

impl<W: Watch> Shard<W> {
    /// Judges a packet that has no connection.
    pub(in crate::shard) fn open(&mut self, key: &Key, summary: &Summary, now: Millis) -> Tracked {
        debug_assert_eq!(owner(&summary.tuple, self.shards), self.id, "a tuple is judged by its owner alone");
        // Those of masters that have just gone are none any more.
        self.forget_orphans(now);
        let mut claims =
            Claims { directory: &self.directory, counters: &mut self.counters, helper: None, zone: key.zone.id() };
        let tracked = self.tracker.open(key, summary, now, &mut claims);
        self.expected_helper = claims.helper;
        tracked
    }

    /// A packet of enhanced GRE with its tuple completed.
    #[cold]
    pub(in crate::shard) fn complete_call(&mut self, parsed: &Parsed, now: Now) -> Parsed {
        let mut whole = *parsed;
        whole.summary.track = Track::Tuple;
        whole.summary.tuple.src_key = self.source_key(&whole.summary.tuple, now);
        whole
    }

    /// The call id of the sender of an enhanced GRE packet; 0 if it is not known.
    fn source_key(&mut self, tuple: &Tuple, now: Now) -> u16 {
        self.end_calls(now);
        self.tracker.abandon_call();
        self.forget_orphans(now.millis());
        self.calls.changed(self.directory.calls());
        self.calls.source_key(self.directory.calls(), tuple)
    }

    /// Ends the connections of calls that are over.
    #[inline]
    pub(in crate::shard) fn end_calls(&mut self, now: Now) {
        if self.calls.changed(self.directory.calls()) {
            self.end_those_over(now);
        }
    }

    #[cold]
    #[inline(never)]
    fn end_those_over(&mut self, now: Now) {
        // Those that ended otherwise first: they ended before.
        self.forget_orphans(now.millis());
        for ended in self.calls.take_ended(self.directory.calls(), self.id) {
            if let Some(key) = Key::new(ended.tuple, self.tracker.seed())
                && let Some(found) = self.tracker.find(&key.in_zone(ended.zone), now.millis())
            {
                self.tracker.end(found);
                while let Some(master) = self.tracker.take_ended_call() {
                    self.directory.calls().remove(&master, ended.when);
                }
            }
        }
    }

    /// The state of an ICMP error: RELATED if it is about a connection of this shard and goes to its sender.
    #[cold]
    pub(in crate::shard) fn track_error(&mut self, data: &[u8], parsed: &Parsed, zone: Zone, now: Now) -> Tracked {
        if let Some(defect) = parsed.summary.defect {
            return Tracked::invalid(defect);
        }
        let quoted = match wire::quoted(data, parsed) {
            Ok(quoted) => quoted,
            Err(reason) => return Tracked::invalid(reason),
        };
        let mut tuple = quoted.tuple;
        let transport = data.get(usize::from(quoted.l4)..parsed.end as usize).unwrap_or_default();
        if tuple.proto == proto::GRE && wire::is_enhanced_gre(transport) {
            tuple.src_key = self.source_key(&tuple, now);
        }
        let inverse = tuple.inverse().and_then(|tuple| Key::new(tuple, self.tracker.seed()));
        match inverse.map(|key| key.in_zone(zone)) {
            Some(key) => self.tracker.quoted(&key, parsed.summary.tuple.dst, now.millis()),
            None => Tracked::invalid(InvalidReason::IcmpInner),
        }
    }
}
