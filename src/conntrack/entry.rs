//! One connection in one cache line.
//!
//! Everything a packet of a known connection reads or writes stands in these 64 octets; what only matters
//! now and then (the full addresses of IPv6, a record of an ignored segment, the parent) lies in arrays of
//! its own beside it, under the same slot number.

use crate::net::{CtState, Direction, Millis};

/// Bits of an entry's status, netfilter's where it has them.
pub mod status {
    /// The slot holds a connection.
    pub const LIVE: u16 = 1 << 0;
    /// An IPv6 connection: the full addresses lie in the side array.
    pub const V6: u16 = 1 << 1;
    /// A packet was accepted in reply direction.
    pub const SEEN_REPLY: u16 = 1 << 2;
    /// Not to be sacrificed when the table is full.
    pub const ASSURED: u16 = 1 << 3;
    /// Born of an expectation.
    pub const EXPECTED: u16 = 1 << 4;
    /// A helper reads its payload.
    pub const HELPER: u16 = 1 << 5;
    /// The side array holds the record of an ignored TCP segment.
    pub const IGNORED: u16 = 1 << 6;
    /// Not in the default zone: the side array holds which.
    pub const ZONED: u16 = 1 << 7;
    /// Counted against its source's limit or its zone's.
    pub const COUNTED: u16 = 1 << 8;
    /// TCP: open, and its numbers are in order. Kept by `pack`, which says what that is.
    pub const ORDERLY: u16 = 1 << 9;
}

/// Two keys as one word.
#[inline(always)]
pub(super) const fn pair(keys: [u16; 2]) -> u32 {
    keys[0] as u32 | (keys[1] as u32) << 16
}

/// The hot part of a connection.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// IPv4 source and destination of the original direction, as they lie in a header; over IPv6 what
    /// [`Seed::fingerprint`](super::key::Seed) gives, the lower half first.
    pub(super) ends: [u32; 2],
    /// Source and destination key of the original direction, as ports lie in a header.
    pub(super) keys: [u16; 2],
    /// When it expires.
    pub(super) deadline: Millis,
    /// The protocol's own 40 octets; see the packing beside each protocol.
    pub(super) words: [u32; 10],
    /// Two octets more for the protocol: window scales and marks of TCP.
    pub(super) scale: [u8; 2],
    /// Cached decision of the owner; 0 is none.
    pub(super) decision: u16,
    /// IP protocol number. This and the next two are compared as one word.
    pub(super) proto: u8,
    /// Snapshot epoch under which `decision` was taken.
    pub(super) epoch: u8,
    /// Bits of [`status`].
    pub(super) status: u16,
}

const _: () = assert!(size_of::<Entry>() == 64, "an entry is one cache line");

impl Entry {
    /// Whether all of `bits` are set.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, bits: u16) -> bool {
        self.status & bits == bits
    }

    /// IP protocol number.
    #[inline]
    #[must_use]
    pub const fn proto(&self) -> u8 {
        self.proto
    }

    /// What these ports, the source in the upper half, differ by from the entry's in the original direction, and in the
    /// reply direction.
    #[inline(always)]
    pub(super) const fn ports(&self, ports: u32) -> (u64, u64) {
        let (have, there) = (pair(self.keys), pair([((ports >> 16) as u16).to_be(), (ports as u16).to_be()]));
        ((have ^ there) as u64, (have ^ there.rotate_left(16)) as u64)
    }

    /// What an IPv6 connection's entry keeps of the hash.
    #[inline(always)]
    pub(super) const fn fingerprint(&self) -> u64 {
        self.ends[0] as u64 | (self.ends[1] as u64) << 32
    }

    /// Whether an IPv6 packet with that hash, whose ports are the connection's, is between its ends. `are_equal` compares the
    /// addresses, where the hash is not enough.
    #[inline(always)]
    pub fn has_hash(&self, hash: u64, are_equal: impl FnOnce() -> bool) -> bool {
        let differs = self.fingerprint() ^ hash;
        differs == 0 || differs == 1 && are_equal()
    }

    /// Milliseconds left; expired when not positive.
    #[inline(always)]
    #[must_use]
    pub const fn remaining(&self, now: Millis) -> i32 {
        self.deadline.since(now)
    }

    /// Expired. The sign of one difference says it.
    #[inline(always)]
    #[must_use]
    pub const fn is_over(&self, now: Millis) -> bool {
        now.since(self.deadline) >= 0
    }

    /// The state netfilter gives a packet of this connection that travels in `direction`.
    #[inline(always)]
    #[must_use]
    pub const fn state_of(&self, direction: Direction) -> CtState {
        match direction {
            Direction::Reply => CtState::Established,
            Direction::Original if self.is(status::SEEN_REPLY) => CtState::Established,
            Direction::Original if self.is(status::EXPECTED) => CtState::Related,
            Direction::Original => CtState::New,
        }
    }
}
