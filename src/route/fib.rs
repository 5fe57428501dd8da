//! The forwarding table: longest prefix match, and what the router is itself.
//!
//! Built once per snapshot and never changed. One list of prefixes per family holds everything a destination can be: the
//! router's own addresses and subnet broadcasts as host prefixes, connected subnets, static routes. So a
//! lookup is one search, and an own address wins over any route, as Linux' local table does. While it is built the prefixes
//! are in a trie; then they are cut into intervals, which are searched several times faster.
//!
//! IPv6 link-local addresses are not among them: fe80::/64 is on every port, so they have a meaning only
//! together with a port (RFC 4007). [`Fib::lookup`] never forwards to one; [`Fib::lookup_reply`] may.

use super::intervals::{self, Bits, Intervals};
use super::spec::{FibError, FibSpec};
use crate::net::{Addr, Family, MacAddr, PortId};
use prefix_trie::PrefixMap;
use std::collections::HashMap;

/// Where a packet goes next on its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// Egress port.
    pub port: PortId,
    /// Whose link address is wanted: the gateway, or the destination itself when it is on the link. Of the
    /// packet's family.
    pub via: Addr,
}

/// What becomes of a packet by its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// For the router itself: an address of this port. The subnet-router anycast address (RFC 4291 section
    /// 2.6.1) counts as one.
    Local(PortId),
    /// To the next hop.
    Forward(NextHop),
    /// Dropped silently.
    Blackhole,
    /// Dropped; host unreachable (ICMPv6: no route) is answered.
    Unreachable,
    /// Dropped; administratively prohibited is answered.
    Prohibit,
    /// No route.
    None,
    /// To a group; never forwarded.
    Multicast {
        /// The router listens to it: all-nodes, all-routers, or the solicited-node group of an own address;
        /// in IPv4 all-hosts and all-routers.
        joined: bool,
    },
    /// Limited or subnet broadcast; for the router too, never forwarded (RFC 2644).
    Broadcast,
    /// A destination no router forwards to (RFC 1812 section 5.3.7): loopback, `::`, or the
    /// link-local address of another host.
    Martian,
}

/// An address of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortAddr {
    /// Family.
    pub family: Family,
    /// The address.
    pub addr: Addr,
    /// Length of the subnet's prefix, in bits.
    pub prefix_len: u8,
}

impl PortAddr {
    /// Whether `addr`, of the same family, is in the subnet.
    #[must_use]
    pub const fn contains(&self, addr: Addr) -> bool {
        common_bits(self.family, self.addr, addr) >= self.prefix_len
    }

    /// The IPv4 subnet's broadcast address; prefixes of 31 and 32 bits have none (RFC 3021).
    #[must_use]
    pub const fn broadcast(&self) -> Option<Addr> {
        match self.family {
            Family::V4 if self.prefix_len < 31 => Some(Addr::v4(self.addr.as_v4() | u32::MAX >> self.prefix_len)),
            _ => None,
        }
    }

    /// The IPv6 subnet-router anycast address (RFC 4291 section 2.6.1); prefixes of 127 and 128 bits have
    /// none (RFC 6164).
    #[must_use]
    pub const fn router_anycast(&self) -> Option<Addr> {
        match self.family {
            Family::V6 if self.prefix_len < 127 => {
                let host = u128::MAX >> self.prefix_len;
                Some(Addr::v6((u128::from_be_bytes(self.addr.octets_v6()) & !host).to_be_bytes()))
            }
            _ => None,
        }
    }
}

/// Leading bits two addresses share.
pub(super) const fn common_bits(family: Family, a: Addr, b: Addr) -> u8 {
    match family {
        Family::V4 => (a.as_v4() ^ b.as_v4()).leading_zeros() as u8,
        Family::V6 => {
            let high = (a.hi ^ b.hi).leading_zeros() as u8;
            if high < 64 { high } else { 64 + (a.lo ^ b.lo).leading_zeros() as u8 }
        }
    }
}

/// The link-local address an Ethernet port has: fe80::/64 with the modified EUI-64 of its link address
/// (RFC 4291 appendix A).
#[must_use]
pub const fn link_local_of(mac: MacAddr) -> Addr {
    let [a, b, c, d, e, f] = mac.0;
    Addr { hi: 0xfe80 << 48, lo: u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]) }
}

/// The solicited-node multicast group of an IPv6 address (RFC 4291 section 2.7.1).
#[must_use]
pub const fn solicited_node(addr: Addr) -> Addr {
    Addr { hi: 0xff02 << 48, lo: 0x1_ff00_0000 | addr.lo & 0xff_ffff }
}

/// ff02::1, all nodes on the link.
pub const ALL_NODES: Addr = Addr { hi: 0xff02 << 48, lo: 1 };
/// ff02::2, all routers on the link.
pub const ALL_ROUTERS: Addr = Addr { hi: 0xff02 << 48, lo: 2 };

/// A port as the packet path asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// Its number.
    pub id: PortId,
    /// Link address.
    pub mac: MacAddr,
    /// Largest IP packet, in octets.
    pub mtu: u32,
    /// IPv6 link-local address derived from `mac`.
    pub link_local: Addr,
    /// Configured addresses, in the order of the configuration.
    pub addresses: Vec<PortAddr>,
}

impl PortInfo {
    /// Whether `addr` is a unicast address of this port, its derived link-local address included.
    #[must_use]
    pub fn owns(&self, family: Family, addr: Addr) -> bool {
        (family == Family::V6 && addr == self.link_local)
            || self.addresses.iter().any(|a| a.family == family && a.addr == addr)
    }

    /// Whether `addr` is the anycast address of one of this port's IPv6 subnets.
    #[must_use]
    pub fn owns_anycast(&self, addr: Addr) -> bool {
        self.addresses.iter().any(|a| a.router_anycast() == Some(addr))
    }

    /// Whether `addr` can be reached on this port's link without a gateway.
    #[must_use]
    pub fn on_link(&self, family: Family, addr: Addr) -> bool {
        (family == Family::V6 && addr.is_link_local(family))
            || self.addresses.iter().any(|a| a.family == family && a.contains(addr))
    }

    fn listens(&self, group: Addr) -> bool {
        let own = self.addresses.iter().filter(|a| a.family == Family::V6);
        solicited_node(self.link_local) == group
            || own.clone().any(|a| solicited_node(a.addr) == group)
            || own.filter_map(PortAddr::router_anycast).any(|a| solicited_node(a) == group)
    }
}

/// What a prefix leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Entry {
    /// An own address.
    Local(PortId),
    /// A subnet's broadcast address.
    Broadcast,
    /// The destination is on the port's link.
    OnLink(PortId),
    /// One gateway.
    Via(NextHop),
    /// Several gateways: index into `Fib::paths`.
    Paths(u32),
    /// Drops silently.
    Blackhole,
    /// Drops and answers unreachable.
    Unreachable,
    /// Drops and answers prohibited.
    Prohibit,
    /// Addresses with a meaning of their own, whatever the routes say; see [`special_v4`] and [`special_v6`].
    Special,
}

/// IPv4 addresses that no route changes the meaning of: 0.0.0.0, loopback, groups, limited broadcast.
const fn special_v4() -> [(u32, u8); 4] {
    [(0, 32), (127 << 24, 8), (0xe0 << 24, 4), (u32::MAX, 32)]
}

/// The same of IPv6: `::` and loopback, link-local addresses, groups.
const fn special_v6() -> [(u128, u8); 3] {
    [(0, 127), (0xfe80 << 112, 10), (0xff << 120, 8)]
}

/// One of several gateways: taken by flows whose hash is at most `upper` and above that of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Path {
    pub(super) upper: u32,
    pub(super) hop: NextHop,
}

/// Routes of one family, for the gauge of routes by origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteCounts {
    /// From port addresses.
    pub connected: u32,
    /// From the configuration; those that lost by metric are not counted.
    pub fixed: u32,
}

/// Whether a prefix lies within one of these.
fn is_inside<K: Bits>(first: K, len: u8, around: &[(K, u8)]) -> bool {
    around.iter().any(|(begin, most)| len >= *most && (*begin..=begin.last_of(*most)).contains(&first))
}

/// Set in the number of what an address leads to where packets from it are not forwarded.
const ODD: u32 = 1 << 31;

/// The forwarding table of one snapshot.
#[derive(Debug, Default)]
pub struct Fib {
    /// Prefixes until the table is sealed.
    pub(super) v4: PrefixMap<(u32, u8), Entry>,
    pub(super) v6: PrefixMap<(u128, u8), Entry>,
    /// What they lead to, each once, and from then on where.
    entries: Vec<Entry>,
    quick_v4: Intervals<u32>,
    quick_v6: Intervals<u128>,
    pub(super) paths: Vec<Vec<Path>>,
    pub(super) ports: Vec<Option<PortInfo>>,
    pub(super) counts: [RouteCounts; 2],
}

impl Fib {
    /// Builds the table.
    ///
    /// # Errors
    /// Every mistake in `spec`, in the order of its lists: ports, their addresses, routes.
    pub fn build(spec: &FibSpec) -> Result<Fib, Vec<FibError>> {
        super::build::build(spec)
    }

    /// Ends the building: prefixes become intervals.
    pub(super) fn seal(&mut self) {
        let mut numbers = HashMap::new();
        let entries = &mut self.entries;
        let mut number = |entry: Entry| {
            *numbers.entry(entry).or_insert_with(|| {
                let odd = matches!(entry, Entry::Local(_) | Entry::Broadcast | Entry::Special);
                entries.push(entry);
                if odd { (entries.len() as u32 - 1) | ODD } else { entries.len() as u32 - 1 }
            })
        };
        let (v4, v6) = (std::mem::take(&mut self.v4), std::mem::take(&mut self.v6));
        let special = number(Entry::Special);
        let usual = v4.into_iter().filter(|((first, len), _)| !is_inside(*first, *len, &special_v4()));
        let usual: Vec<_> = usual.map(|((first, len), entry)| (first, len, number(entry))).collect();
        self.quick_v4 = Intervals::new(usual.into_iter().chain(special_v4().map(|(first, len)| (first, len, special))));
        let usual = v6.into_iter().filter(|((first, len), _)| !is_inside(*first, *len, &special_v6()));
        let usual: Vec<_> = usual.map(|((first, len), entry)| (first, len, number(entry))).collect();
        self.quick_v6 = Intervals::new(usual.into_iter().chain(special_v6().map(|(first, len)| (first, len, special))));
    }

    /// The next hop of a packet that [`Fib::lookup_with`] forwards; nothing of any other.
    #[inline(always)]
    #[must_use]
    pub fn hop(&self, family: Family, dst: Addr, flow_hash: impl FnOnce() -> u32) -> Option<NextHop> {
        match self.entry(family, dst)? {
            // Not as a whole: what pads it would be copied too.
            Entry::Via(NextHop { port, via }) => Some(NextHop { port: *port, via: *via }),
            Entry::OnLink(port) => Some(NextHop { port: *port, via: dst }),
            Entry::Paths(index) => self.path(*index, flow_hash()),
            _ => None,
        }
    }

    /// Whether packets with this source may be forwarded: it is no martian ([`Fib::is_martian_source`]) and not link-local.
    /// `reached` says that packets to it are.
    #[inline(always)]
    #[must_use]
    pub fn forwards_from(&self, family: Family, src: Addr, reached: bool) -> bool {
        let odd = family == Family::V4 && src.is_link_local(family);
        if odd || reached {
            return !odd;
        }
        let number = self.number(family, src);
        number & ODD == 0 || number == intervals::NONE
    }

    /// Number of what an address leads to, where the table is sealed.
    #[inline(always)]
    fn number(&self, family: Family, addr: Addr) -> u32 {
        match family {
            Family::V4 => self.quick_v4.find(addr.as_v4()),
            Family::V6 => self.quick_v6.find(u128::from(addr.hi) << 64 | u128::from(addr.lo)),
        }
    }

    /// What it is.
    #[inline(always)]
    fn entry(&self, family: Family, addr: Addr) -> Option<&Entry> {
        self.entries.get((self.number(family, addr) & !ODD) as usize)
    }

    fn path(&self, index: u32, hash: u32) -> Option<NextHop> {
        let paths = self.paths.get(index as usize)?;
        paths.iter().find(|path| hash <= path.upper).map(|path| path.hop)
    }

    /// What becomes of a packet to `dst`.
    ///
    /// `flow_hash` picks among several gateways by hash threshold (RFC 2992), so one flow keeps its path; give
    /// a hash that is equal for both directions or not, as wanted. All 32 bits count.
    #[inline]
    #[must_use]
    pub fn lookup(&self, family: Family, dst: Addr, flow_hash: u32) -> Route {
        self.lookup_with(family, dst, || flow_hash)
    }

    /// The same with a hash that is only asked for where there are several gateways.
    #[inline]
    #[must_use]
    pub fn lookup_with(&self, family: Family, dst: Addr, flow_hash: impl FnOnce() -> u32) -> Route {
        match family {
            Family::V4 => self.lookup_v4(dst, flow_hash),
            Family::V6 => self.lookup_v6(dst, flow_hash),
        }
    }

    /// As [`Fib::lookup`], for a packet the router itself sends because of one that came in on `port`: a
    /// link-local destination is on that port's link.
    #[must_use]
    pub fn lookup_reply(&self, port: PortId, family: Family, dst: Addr, flow_hash: u32) -> Route {
        if family == Family::V6 && dst.is_link_local(family) && !self.owns_link_local(dst) {
            return Route::Forward(NextHop { port, via: dst });
        }
        self.lookup(family, dst, flow_hash)
    }

    #[inline]
    fn lookup_v4(&self, dst: Addr, flow_hash: impl FnOnce() -> u32) -> Route {
        let bits = dst.as_v4();
        match bits >> 24 {
            0 if bits == 0 => return Route::Broadcast,
            127 => return Route::Martian,
            // 224.0.0.1 all hosts, 224.0.0.2 all routers.
            224..=239 => return Route::Multicast { joined: bits == 0xe000_0001 || bits == 0xe000_0002 },
            255 if bits == u32::MAX => return Route::Broadcast,
            _ => {}
        }
        if self.quick_v4.is_empty() {
            return self.resolve(self.v4.get_lpm(&(bits, 32)).map(|(_, e)| e), dst, flow_hash);
        }
        self.resolve(self.entry(Family::V4, dst), dst, flow_hash)
    }

    fn lookup_v6(&self, dst: Addr, flow_hash: impl FnOnce() -> u32) -> Route {
        if dst.is_multicast(Family::V6) {
            let joined = dst == ALL_NODES || dst == ALL_ROUTERS || self.ports().any(|p| p.listens(dst));
            return Route::Multicast { joined };
        }
        if dst.is_link_local(Family::V6) {
            return match self.ports().find(|p| p.owns(Family::V6, dst)) {
                Some(p) => Route::Local(p.id),
                None => Route::Martian,
            };
        }
        if dst.hi == 0 && dst.lo <= 1 {
            return Route::Martian;
        }
        let bits = u128::from(dst.hi) << 64 | u128::from(dst.lo);
        if self.quick_v6.is_empty() {
            return self.resolve(self.v6.get_lpm(&(bits, 128)).map(|(_, e)| e), dst, flow_hash);
        }
        self.resolve(self.entry(Family::V6, dst), dst, flow_hash)
    }

    #[inline]
    fn resolve(&self, entry: Option<&Entry>, dst: Addr, flow_hash: impl FnOnce() -> u32) -> Route {
        match entry.copied() {
            None => Route::None,
            Some(Entry::Local(port)) => Route::Local(port),
            Some(Entry::Broadcast) => Route::Broadcast,
            Some(Entry::OnLink(port)) => Route::Forward(NextHop { port, via: dst }),
            Some(Entry::Via(hop)) => Route::Forward(hop),
            Some(Entry::Paths(index)) => self.path(index, flow_hash()).map_or(Route::None, Route::Forward),
            Some(Entry::Blackhole) => Route::Blackhole,
            Some(Entry::Unreachable) => Route::Unreachable,
            Some(Entry::Prohibit) => Route::Prohibit,
            // Who asks has told these apart before.
            Some(Entry::Special) => Route::Martian,
        }
    }

    fn owns_link_local(&self, addr: Addr) -> bool {
        self.ports().any(|p| p.owns(Family::V6, addr))
    }

    /// Whether `addr` is a unicast (or anycast) address of the router.
    #[must_use]
    pub fn is_local(&self, family: Family, addr: Addr) -> bool {
        matches!(self.lookup(family, addr, 0), Route::Local(_))
    }

    /// Whether a packet with this source may not be forwarded (RFC 1812 section 5.3.7, RFC 4291 sections 2.5
    /// and 2.7): a group, broadcast, loopback, unspecified or own address.
    #[must_use]
    pub fn is_martian_source(&self, family: Family, src: Addr) -> bool {
        if family == Family::V6 && src.is_link_local(family) {
            return self.owns_link_local(src);
        }
        matches!(
            self.lookup(family, src, 0),
            Route::Local(_) | Route::Multicast { .. } | Route::Broadcast | Route::Martian
        )
    }

    /// The source of a message the router itself sends out of `port` to `towards` (RFC 1812 section 4.3.2.4,
    /// RFC 4443 section 2.2).
    ///
    /// The port's address with the longest prefix in common with `towards` (RFC 6724 rule 8), the first of
    /// equals; towards a link-local address the port's own link-local one. A port without an address borrows
    /// another port's; IPv6 falls back to the link-local address. `None` if the router has no address of the
    /// family at all, or there is no such port.
    #[must_use]
    pub fn source_for(&self, port: PortId, family: Family, towards: Addr) -> Option<Addr> {
        let own = self.port(port)?;
        if family == Family::V6 && (towards.is_link_local(family) || towards.is_multicast(family)) {
            return Some(own.link_local);
        }
        closest(own, family, towards)
            .or_else(|| self.ports().find_map(|p| closest(p, family, towards)))
            .or((family == Family::V6).then_some(own.link_local))
    }

    /// The port with this number.
    #[inline]
    #[must_use]
    pub fn port(&self, id: PortId) -> Option<&PortInfo> {
        self.ports.get(id.index())?.as_ref()
    }

    /// Every port, by number.
    pub fn ports(&self) -> impl Iterator<Item = &PortInfo> {
        self.ports.iter().flatten()
    }

    /// How many routes of a family there are, by origin.
    #[must_use]
    pub const fn counts(&self, family: Family) -> RouteCounts {
        self.counts[family.index()]
    }
}

fn closest(port: &PortInfo, family: Family, towards: Addr) -> Option<Addr> {
    let mut best: Option<(u8, Addr)> = None;
    let candidates =
        port.addresses.iter().filter(|a| a.family == family && !(family == Family::V6 && a.addr.is_link_local(family)));
    for a in candidates {
        // Bits beyond the subnet's prefix say nothing about nearness (RFC 6724 section 2.2).
        let bits = common_bits(family, a.addr, towards).min(a.prefix_len);
        if best.is_none_or(|(b, _)| bits > b) {
            best = Some((bits, a.addr));
        }
    }
    best.map(|(_, addr)| addr)
}

#[cfg(test)]
mod tests;
