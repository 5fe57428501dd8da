//! IPv4 and IPv6 as the passes over a burst see them: code that is the same for both but for where a field stands.

use super::mark::Mark;
use crate::conntrack::ends::Ends;
use crate::conntrack::entry::Entry;
use crate::conntrack::key::Seed;
use crate::conntrack::shortcut::Turn;
use crate::conntrack::table::has_addresses;
use crate::conntrack::tracker::Tracker;
use crate::frame::Meta;
use crate::net::wide::Wide;
use crate::net::{Direction, Family, proto};
use crate::wire::glance::{self, Extent, PLAIN_V4, PLAIN_V6, Plain, TCP_V4, TCP_V6, UDP_V4, UDP_V6};

/// Where the two network protocols differ.
pub(super) trait Network {
    const FAMILY: Family;
    const TCP: Plain;
    const UDP: Plain;
    /// Where the transport header begins.
    const AT: usize;
    /// Octets in front of the transport header.
    type Front;
    /// Its addresses.
    type Ends: Ends;

    /// Octets behind the IP header, if that is as it should be.
    fn len(data: &[u8]) -> Option<usize>;
    /// Octets up to the end of the transport header.
    fn least<const PROTO: u8>() -> usize;
    /// Whether what a port says of an IP header's checksum matters: bits of [`Meta::told`] that do not.
    const UNTOLD: u32;
    /// Whether the IP header sums up.
    fn header_sums_up(data: &[u8]) -> bool;
    /// The hash of a packet's tuple, one past its datagram, and its extent, if it is plain, of which
    /// [`Network::header_sums_up`] is left out.
    fn look<const PROTO: u8>(wide: impl Wide, seed: &Seed, data: &[u8]) -> Option<(u64, u32, Extent)>;
    /// The same of a TCP segment, and whether it is turning, if it is either and its options are none or ordinary.
    fn look_at_any(wide: impl Wide, seed: &Seed, data: &[u8]) -> Option<(u64, u32, Extent, bool)>;
    /// Hash and extent of a segment that opens or closes a connection.
    fn turning(seed: &Seed, data: &[u8], len: usize) -> Option<(u64, Extent)>;
    fn ends(front: &Self::Front) -> Self::Ends;
    fn split(data: &mut [u8]) -> Option<(&mut Self::Front, &mut [u8])>;
    /// The same, to be read only.
    fn parts(data: &[u8]) -> Option<(&Self::Front, &[u8])>;
    fn ttl(front: &Self::Front) -> u8;
    fn send_on(front: &mut Self::Front, link: &[u8; 12]);
    /// Whether [`Network::send_on_at_once`] does the same, as it does with nearly all packets.
    fn is_sent_on_at_once(front: &Self::Front) -> bool;
    fn send_on_at_once(front: &mut Self::Front, link: &[u8; 12]);
    /// Whether the packet, travelling in that direction, is between the ends of the entry in its mark's slot.
    fn is_between(ends6: &[[u64; 4]], entry: &Entry, mark: &Mark, front: &Self::Front, side: usize) -> bool;
    fn recognise<'a>(
        tracker: &'a mut Tracker,
        mark: &Mark,
        front: &Self::Front,
        ports: u32,
        proto: u8,
        turn: &Turn,
    ) -> Option<(&'a mut Entry, Direction)>;
}

pub(super) struct V4;

impl Network for V4 {
    const FAMILY: Family = Family::V4;
    const TCP: Plain = Plain::Tcp4;
    const UDP: Plain = Plain::Udp4;
    const AT: usize = PLAIN_V4;
    const UNTOLD: u32 = 0;
    type Front = [u8; PLAIN_V4];
    type Ends = u64;

    #[inline(always)]
    fn turning(seed: &Seed, data: &[u8], len: usize) -> Option<(u64, Extent)> {
        let front = data.first_chunk::<TCP_V4>()?;
        let extent = glance::turning::<PLAIN_V4>(data, len)?;
        Some((seed.hash_v4(glance::whole_ends_v4(front), proto::TCP), extent))
    }

    #[inline(always)]
    fn ends(front: &Self::Front) -> u64 {
        glance::addresses_v4(front)
    }

    #[inline(always)]
    fn len(data: &[u8]) -> Option<usize> {
        glance::len_v4(data)
    }

    #[inline(always)]
    fn header_sums_up(data: &[u8]) -> bool {
        data.first_chunk::<PLAIN_V4>().is_some_and(glance::header_sums_up)
    }

    #[inline(always)]
    fn least<const PROTO: u8>() -> usize {
        if PROTO == proto::TCP { TCP_V4 } else { UDP_V4 }
    }

    #[inline(always)]
    fn look<const PROTO: u8>(_: impl Wide, seed: &Seed, data: &[u8]) -> Option<(u64, u32, Extent)> {
        let (ends, end, extent) = if PROTO == proto::TCP {
            let front = data.first_chunk::<TCP_V4>()?;
            let end = glance::end_v4(front);
            let extent = glance::segment::<PLAIN_V4, _>(data, front, end)?;
            (glance::whole_ends_v4(front), end, extent)
        } else {
            let front = data.first_chunk::<UDP_V4>()?;
            let end = glance::end_v4(front);
            (glance::datagram(data, front, end).then(|| glance::whole_ends_v4(front))?, end, Extent::NOTHING)
        };
        Some((seed.hash_v4(ends, PROTO), end, extent))
    }

    #[inline(always)]
    fn look_at_any(_: impl Wide, seed: &Seed, data: &[u8]) -> Option<(u64, u32, Extent, bool)> {
        let front = data.first_chunk::<TCP_V4>()?;
        let end = glance::end_v4(front);
        let extent = glance::any_segment::<PLAIN_V4, _>(data, front, end)?;
        let ends = glance::whole_ends_v4(front);
        Some((seed.hash_v4(ends, proto::TCP), end, extent, glance::is_turning(front, PLAIN_V4)))
    }

    #[inline(always)]
    fn split(data: &mut [u8]) -> Option<(&mut Self::Front, &mut [u8])> {
        data.split_first_chunk_mut()
    }

    #[inline(always)]
    fn parts(data: &[u8]) -> Option<(&Self::Front, &[u8])> {
        data.split_first_chunk()
    }

    #[inline(always)]
    fn ttl(front: &Self::Front) -> u8 {
        front[22]
    }

    #[inline(always)]
    fn send_on(front: &mut Self::Front, link: &[u8; 12]) {
        glance::send_on_v4(front, link);
    }

    #[inline(always)]
    fn is_sent_on_at_once(front: &Self::Front) -> bool {
        glance::carries_nothing_v4(front)
    }

    #[inline(always)]
    fn send_on_at_once(front: &mut Self::Front, link: &[u8; 12]) {
        glance::send_on_at_once_v4(front, link);
    }

    #[inline(always)]
    fn is_between(_: &[[u64; 4]], entry: &Entry, _: &Mark, front: &Self::Front, side: usize) -> bool {
        entry.has_addresses(glance::ends_v4(front), side)
    }

    #[inline(always)]
    fn recognise<'a>(
        tracker: &'a mut Tracker,
        mark: &Mark,
        front: &Self::Front,
        ports: u32,
        proto: u8,
        turn: &Turn,
    ) -> Option<(&'a mut Entry, Direction)> {
        tracker.recognise_v4(mark.slot, glance::addresses_v4(front), ports, proto, turn)
    }
}

pub(super) struct V6;

impl Network for V6 {
    const FAMILY: Family = Family::V6;
    const TCP: Plain = Plain::Tcp6;
    const UDP: Plain = Plain::Udp6;
    const AT: usize = PLAIN_V6;
    const UNTOLD: u32 = Meta::HEADER;
    type Front = [u8; PLAIN_V6];
    type Ends = [u64; 4];

    #[inline(always)]
    fn turning(seed: &Seed, data: &[u8], len: usize) -> Option<(u64, Extent)> {
        let (front, transport) = data.split_first_chunk()?;
        let ports = transport.first_chunk().map(glance::both_ports)?;
        let extent = glance::turning::<PLAIN_V6>(data, len)?;
        Some((seed.hash_v6_anywhere(glance::address_octets_v6(front), ports, proto::TCP), extent))
    }

    #[inline(always)]
    fn ends(front: &Self::Front) -> [u64; 4] {
        glance::addresses_v6(front)
    }

    #[inline(always)]
    fn len(data: &[u8]) -> Option<usize> {
        glance::len_v6(data)
    }

    #[inline(always)]
    fn header_sums_up(_: &[u8]) -> bool {
        true
    }

    #[inline(always)]
    fn least<const PROTO: u8>() -> usize {
        if PROTO == proto::TCP { TCP_V6 } else { UDP_V6 }
    }

    #[inline(always)]
    fn look<const PROTO: u8>(wide: impl Wide, seed: &Seed, data: &[u8]) -> Option<(u64, u32, Extent)> {
        let (front, transport) = data.split_first_chunk()?;
        let ports = transport.first_chunk().map(glance::both_ports)?;
        let end = glance::end_v6(front);
        let extent = if PROTO == proto::TCP {
            glance::segment::<PLAIN_V6, TCP_V6>(data, data.first_chunk()?, end)?
        } else {
            glance::datagram::<UDP_V6>(data, data.first_chunk()?, end).then_some(Extent::NOTHING)?
        };
        Some((seed.hash_v6(wide, glance::address_octets_v6(front), ports, PROTO), end, extent))
    }

    #[inline(always)]
    fn look_at_any(wide: impl Wide, seed: &Seed, data: &[u8]) -> Option<(u64, u32, Extent, bool)> {
        let front = data.first_chunk::<TCP_V6>()?;
        let (addresses, transport) = data.split_first_chunk()?;
        let ports = transport.first_chunk().map(glance::both_ports)?;
        let end = glance::end_v6(front);
        let extent = glance::any_segment::<PLAIN_V6, _>(data, front, end)?;
        let hash = seed.hash_v6(wide, glance::address_octets_v6(addresses), ports, proto::TCP);
        Some((hash, end, extent, glance::is_turning(front, PLAIN_V6)))
    }

    #[inline(always)]
    fn split(data: &mut [u8]) -> Option<(&mut Self::Front, &mut [u8])> {
        data.split_first_chunk_mut()
    }

    #[inline(always)]
    fn parts(data: &[u8]) -> Option<(&Self::Front, &[u8])> {
        data.split_first_chunk()
    }

    #[inline(always)]
    fn ttl(front: &Self::Front) -> u8 {
        front[21]
    }

    #[inline(always)]
    fn send_on(front: &mut Self::Front, link: &[u8; 12]) {
        glance::send_on_v6(front, link);
    }

    #[inline(always)]
    fn is_sent_on_at_once(_: &Self::Front) -> bool {
        true
    }

    #[inline(always)]
    fn send_on_at_once(front: &mut Self::Front, link: &[u8; 12]) {
        glance::send_on_v6(front, link);
    }

    #[inline(always)]
    fn is_between(ends6: &[[u64; 4]], entry: &Entry, mark: &Mark, front: &Self::Front, side: usize) -> bool {
        entry.has_hash(mark.hash, || has_addresses(ends6, mark.slot, &glance::addresses_v6(front), side))
    }

    #[inline(always)]
    fn recognise<'a>(
        tracker: &'a mut Tracker,
        mark: &Mark,
        front: &Self::Front,
        ports: u32,
        proto: u8,
        turn: &Turn,
    ) -> Option<(&'a mut Entry, Direction)> {
        tracker.recognise_v6((mark.slot, mark.hash), &glance::addresses_v6(front), ports, proto, turn)
    }
}
