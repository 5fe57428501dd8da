//! A packet's addresses as they lie in its header, in either protocol: what the brief ways compare without forming a tuple.

use super::entry::{Entry, status};
use super::table::Table;
use crate::net::{Addr, Direction, Family, Tuple};

/// Source and destination of a packet.
pub trait Ends: Copy {
    /// What tells an entry of this family from one of the other: [`status::V6`] or nothing.
    const KIND: u16;

    /// The family.
    const FAMILY: Family;

    /// Where it comes from.
    fn source(self) -> Addr;

    /// Where it goes.
    fn destination(self) -> Addr;

    /// The entry in `slot` and the direction in which a packet with these addresses and ports (the source in the upper half), whose
    /// tuple has that hash, matches it, if it does; status and protocol are still to be compared.
    fn matched(self, table: &mut Table, slot: u32, hash: u64, ports: u32) -> Option<(&mut Entry, Direction)>;

    /// The tuple of a packet of a protocol with ports.
    fn tuple(self, ports: u32, proto: u8) -> Tuple;
}

/// IPv4: the source in the upper half.
impl Ends for u64 {
    const KIND: u16 = 0;
    const FAMILY: Family = Family::V4;

    #[inline(always)]
    fn source(self) -> Addr {
        Addr::v4((self >> 32) as u32)
    }

    #[inline(always)]
    fn destination(self) -> Addr {
        Addr::v4(self as u32)
    }

    #[inline(always)]
    fn matched(self, table: &mut Table, slot: u32, _: u64, ports: u32) -> Option<(&mut Entry, Direction)> {
        table.recognise_v4(slot, self, ports)
    }

    #[inline(always)]
    fn tuple(self, ports: u32, proto: u8) -> Tuple {
        Tuple {
            src: self.source(),
            dst: self.destination(),
            src_key: (ports >> 16) as u16,
            dst_key: ports as u16,
            proto,
            family: Family::V4,
        }
    }
}

/// IPv6: as they lie there.
impl Ends for [u64; 4] {
    const KIND: u16 = status::V6;
    const FAMILY: Family = Family::V6;

    #[inline(always)]
    fn source(self) -> Addr {
        Addr { hi: u64::from_be(self[0]), lo: u64::from_be(self[1]) }
    }

    #[inline(always)]
    fn destination(self) -> Addr {
        Addr { hi: u64::from_be(self[2]), lo: u64::from_be(self[3]) }
    }

    #[inline(always)]
    fn matched(self, table: &mut Table, slot: u32, hash: u64, ports: u32) -> Option<(&mut Entry, Direction)> {
        table.recognise_v6(slot, hash, &self, ports)
    }

    #[inline(always)]
    fn tuple(self, ports: u32, proto: u8) -> Tuple {
        Tuple {
            src: self.source(),
            dst: self.destination(),
            src_key: (ports >> 16) as u16,
            dst_key: ports as u16,
            proto,
            family: Family::V6,
        }
    }
}
