//! How many connections a source address or a zone has, over all workers.
//!
//! Counted where connections begin and end, and only where a limit is configured; no packet of a known connection
//! comes here. A connection that began while nothing was limited is not counted.

use crate::net::{Addr, Family, Zone};
use dashmap::DashMap;

/// Most connections of a source and of zones; part of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Of one source address in one zone.
    pub per_source: Option<u32>,
    /// Of zones, by id.
    pub zones: Vec<(u16, u32)>,
}

impl Quotas {
    /// Nothing is limited.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.per_source.is_none() && self.zones.is_empty()
    }
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The source's.
    Source,
    /// The zone's.
    Zone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    Source(u16, Family, Addr),
    Zone(u16),
}

/// The counts of all workers.
#[derive(Debug, Default)]
pub struct Counts(DashMap<Who, u32>);

impl Counts {
    /// Counts a connection from `src`, unless a limit is reached.
    ///
    /// # Errors
    /// The limit that is; then nothing is counted.
    pub fn take(&self, quotas: &Quotas, zone: Zone, family: Family, src: Addr) -> Result<(), Reached> {
        let source = Who::Source(zone.id(), family, src);
        if !self.add(source, quotas.per_source.unwrap_or(u32::MAX)) {
            return Err(Reached::Source);
        }
        let limit = quotas.zones.iter().find(|(id, _)| *id == zone.id()).map_or(u32::MAX, |(_, limit)| *limit);
        if !self.add(Who::Zone(zone.id()), limit) {
            self.subtract(source);
            return Err(Reached::Zone);
        }
        Ok(())
    }

    /// Counts a connection no more that [`Counts::take`] counted.
    pub fn give_back(&self, zone: Zone, family: Family, src: Addr) {
        self.subtract(Who::Source(zone.id(), family, src));
        self.subtract(Who::Zone(zone.id()));
    }

    fn add(&self, who: Who, limit: u32) -> bool {
        let mut count = self.0.entry(who).or_insert(0);
        let room = *count < limit;
        *count += u32::from(room);
        room
    }

    fn subtract(&self, who: Who) {
        self.0.remove_if_mut(&who, |_, count| {
            *count = count.saturating_sub(1);
            *count == 0
        });
    }

    /// Sources and zones that have connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nobody has any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Addr = Addr::v4(1);
    const B: Addr = Addr::v4(2);
    const FIVE: Zone = Zone { original: 5, reply: 0 };

    #[test]
    fn each_source_of_each_zone_has_its_limit() {
        let (counts, quotas) = (Counts::default(), Quotas { per_source: Some(2), zones: vec![] });
        let take = |zone, src| counts.take(&quotas, zone, Family::V4, src);
        assert_eq!([take(FIVE, A), take(FIVE, A), take(FIVE, A)], [Ok(()), Ok(()), Err(Reached::Source)]);
        assert_eq!([take(FIVE, B), take(Zone::DEFAULT, A)], [Ok(()), Ok(())]);
        counts.give_back(FIVE, Family::V4, A);
        assert_eq!([take(FIVE, A), take(FIVE, A)], [Ok(()), Err(Reached::Source)]);
    }

    #[test]
    fn a_full_zone_costs_its_sources_nothing() {
        let (counts, quotas) = (Counts::default(), Quotas { per_source: Some(9), zones: vec![(5, 1)] });
        let take = |zone, src| counts.take(&quotas, zone, Family::V4, src);
        assert_eq!([take(FIVE, A), take(FIVE, B), take(Zone::DEFAULT, B)], [Ok(()), Err(Reached::Zone), Ok(())]);
        counts.give_back(FIVE, Family::V4, A);
        counts.give_back(Zone::DEFAULT, Family::V4, B);
        assert!(counts.is_empty(), "what has ended takes no room: {counts:?}");
    }
}
