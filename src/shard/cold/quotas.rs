//! What may keep a connection out of the table although there is room: a limit, or a connection of another zone.

use crate::metrics::label::InsertFailure;
use crate::net::{Addr, DropReason, Family, Now, Zone};
use crate::shard::{Shard, Watch};
use crate::steer::Reached;

/// Whom a connection is counted for.
pub(in crate::shard) type Counted = (Zone, Family, Addr);

impl<W: Watch> Shard<W> {
    /// Whether the candidate may enter the table; counts it for its source and zone where these are limited.
    #[inline]
    pub(in crate::shard) fn reserve(&mut self, now: Now) -> Result<Option<Counted>, DropReason> {
        if self.snapshot.quotas.is_empty() && self.snapshot.zones.is_none() && self.tracker.table().zoned() == 0 {
            return Ok(None);
        }
        self.reserve_counted(now)
    }

    #[cold]
    fn reserve_counted(&mut self, now: Now) -> Result<Option<Counted>, DropReason> {
        if self.tracker.candidate_clashes(now.millis()) {
            self.counters.insert_failed(InsertFailure::Clash);
            return Err(DropReason::CtClash);
        }
        if self.snapshot.quotas.is_empty() {
            return Ok(None);
        }
        // Who has just gone makes room.
        self.forget_orphans(now.millis());
        let Some(tuple) = self.tracker.candidate().copied() else { return Ok(None) };
        let zone = self.tracker.candidate_zone();
        let (failure, reason) = match self.directory.counts().take(&self.snapshot.quotas, zone, tuple.family, tuple.src)
        {
            Ok(()) => return Ok(Some((zone, tuple.family, tuple.src))),
            Err(Reached::Source) => (InsertFailure::SourceLimit, DropReason::CtSourceLimit),
            Err(Reached::Zone) => (InsertFailure::ZoneLimit, DropReason::CtZoneLimit),
        };
        self.counters.insert_failed(failure);
        Err(reason)
    }

    /// Takes back what [`Shard::reserve`] counted, for the candidate did not enter after all.
    pub(in crate::shard) fn give_back(&mut self, counted: Option<Counted>) {
        if let Some((zone, family, src)) = counted {
            self.directory.counts().give_back(zone, family, src);
        }
    }

    /// Counts those no more that left the table since the last call.
    #[inline]
    pub(in crate::shard) fn forget_counted(&mut self) {
        while let Some((tuple, zone)) = self.tracker.take_uncounted() {
            self.directory.counts().give_back(zone, tuple.family, tuple.src);
        }
    }
}
