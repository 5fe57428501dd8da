//! Whom a full table gives up for a new connection.

use super::{BUCKET_ITEMS, Table};
use crate::net::{Millis, prefetch};

/// Buckets whose entries are looked at for one that has expired, as netfilter does.
pub(super) const EXPIRED_BUCKETS: usize = 8;

/// Buckets looked at for a victim: their own lines tell, one after the other, which a processor fetches ahead. With six entries in a
/// hundred not assured, eight buckets had none 7 times in a hundred (`flowgate bench -w syn_flood -f 1M`); eight times as many have none
/// with about the eighth power of that.
const VICTIM_BUCKETS: usize = 64;

/// Connections of one bucket that may be given up.
#[derive(Clone, Copy, Debug)]
pub(in crate::conntrack) struct Victims {
    bucket: u32,
    /// One bit for each.
    items: u32,
    /// Nobody passed over the bucket before theirs, and so all of them are at home there: their hashes are not wanted.
    at_home: bool,
}

impl Table {
    /// Connections that may be given up for a new one with this hash: all that are not assured in the first bucket, of
    /// [`VICTIM_BUCKETS`] from the home bucket on, that has any. Their entries are fetched.
    #[must_use]
    pub(in crate::conntrack) fn victims(&self, hash: u64) -> Victims {
        let mut at = self.home(hash);
        for _ in 0..VICTIM_BUCKETS {
            let Some(bucket) = self.buckets.get(at) else { break };
            let items = !bucket.matches(0) & !u32::from(bucket.assured) & ((1 << BUCKET_ITEMS) - 1);
            if items != 0 {
                let mut left = items;
                while let Some(&slot) = bucket.slots.get(left.trailing_zeros() as usize) {
                    if let Some(entry) = self.entries.get(slot as usize) {
                        prefetch(entry);
                    }
                    left &= left - 1;
                }
                let before = at.checked_sub(1).unwrap_or(self.buckets.len().saturating_sub(1));
                let at_home = self.buckets.get(before).is_some_and(|bucket| bucket.overflow == 0);
                return Victims { bucket: at as u32, items, at_home };
            }
            at = self.next(at);
        }
        Victims { bucket: 0, items: 0, at_home: true }
    }

    /// The slot of the first of some victims, and the others.
    #[inline]
    pub(in crate::conntrack) fn next_victim(&self, victims: Victims) -> Option<(u32, Victims)> {
        let item = victims.items.trailing_zeros();
        let slot = *self.buckets.get(victims.bucket as usize)?.slots.get(item as usize)?;
        Some((slot, Victims { items: victims.items & (victims.items - 1), ..victims }))
    }

    /// Slots in the first eight buckets that [`Table::victims`] looks at, whose time is over.
    #[must_use]
    pub(in crate::conntrack) fn expired_near(&self, hash: u64, now: Millis) -> ([u32; BUCKET_ITEMS], usize) {
        let mut expired = [0; BUCKET_ITEMS];
        let mut count = 0;
        let mut at = self.home(hash);
        for _ in 0..EXPIRED_BUCKETS {
            let Some(bucket) = self.buckets.get(at) else { break };
            for (tag, slot) in bucket.tags.iter().zip(&bucket.slots) {
                let over = self.entries.get(*slot as usize).is_some_and(|e| e.is_over(now));
                if *tag != 0
                    && over
                    && let Some(place) = expired.get_mut(count)
                {
                    *place = *slot;
                    count += 1;
                }
            }
            at = self.next(at);
        }
        (expired, count)
    }

    /// Takes the first of some victims out.
    #[inline]
    pub(in crate::conntrack) fn remove_victim(&mut self, victims: Victims) {
        let item = victims.items.trailing_zeros() as usize;
        let Some(bucket) = self.buckets.get_mut(victims.bucket as usize) else { return };
        let Some(&slot) = bucket.slots.get(item) else { return };
        if victims.at_home {
            bucket.set(item, 0, 0, false);
            self.give_back(slot);
        } else {
            self.remove(slot);
        }
    }
}
