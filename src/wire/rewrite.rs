//! Changes in place on the way through the router. Checksums are updated incrementally, so a packet leaves with one as
//! right or wrong as it came.

use super::checksum;
use super::ethernet::{TAG_LEN, ethertype};
use super::parse::{Kind, Parsed};
use crate::net::MacAddr;

/// Octets of both link addresses.
const ADDRESSES: usize = 12;

/// Takes one off the TTL or hop limit and updates the IPv4 header checksum (RFC 1812 section 5.3.1, RFC 1141).
/// A TTL of 0 stays; whether the packet may go on at all is the caller's to decide.
#[inline]
pub fn decrement_ttl(data: &mut [u8], parsed: &Parsed) {
    let Some(header) = data.get_mut(usize::from(parsed.l3)..) else { return };
    match parsed.kind {
        Kind::Ipv4 => set_ttl_v4(header, parsed.ttl.saturating_sub(1)),
        Kind::Ipv6 => {
            if let Some(hop_limit) = header.get_mut(7) {
                *hop_limit = hop_limit.saturating_sub(1);
            }
        }
        Kind::Arp => {}
    }
}

/// Sets the TTL of an IPv4 header and updates its checksum.
#[inline]
pub(super) fn set_ttl_v4(header: &mut [u8], ttl: u8) {
    let Some(h) = header.first_chunk_mut::<20>() else { return };
    let (old, new) = (u16::from_be_bytes([h[8], h[9]]), u16::from_be_bytes([ttl, h[9]]));
    let check = checksum::update16(u16::from_be_bytes([h[10], h[11]]), old, new);
    h[8] = ttl;
    [h[10], h[11]] = check.to_be_bytes();
}

/// Sets both link addresses; does nothing to a frame too short to have them.
#[inline]
pub fn set_link(data: &mut [u8], dst: MacAddr, src: MacAddr) {
    if let Some(h) = data.first_chunk_mut::<ADDRESSES>() {
        let [a, b, c, d, e, f] = dst.0;
        let [g, i, j, k, l, m] = src.0;
        *h = [a, b, c, d, e, f, g, i, j, k, l, m];
    }
}

/// The link addresses, destination first; zero for a frame too short to have them.
#[inline]
#[must_use]
pub fn link_addresses(data: &[u8]) -> (MacAddr, MacAddr) {
    match data.first_chunk::<ADDRESSES>() {
        Some(&[a, b, c, d, e, f, g, i, j, k, l, m]) => (MacAddr([a, b, c, d, e, f]), MacAddr([g, i, j, k, l, m])),
        None => Default::default(),
    }
}

/// Completes a partial checksum: the field at `start + offset`, which holds the folded pseudo-header sum, becomes the
/// checksum of everything from `start` on (virtio 1.2 section 5.1.6.2). A result of 0 is written as 0xffff, which means the
/// same to every protocol but UDP, where 0 would mean "none". Returns `false`, and changes nothing, if the field is not
/// inside `data`, which must end with the datagram.
#[must_use]
pub fn finish_partial(data: &mut [u8], start: u16, offset: u16) -> bool {
    let Some(covered) = data.get_mut(usize::from(start)..) else { return false };
    let value = match checksum::checksum(covered) {
        0 => 0xffff,
        value => value,
    };
    let field = covered.get_mut(usize::from(offset)..).and_then(|d| d.first_chunk_mut::<2>());
    if let Some(field) = field {
        *field = value.to_be_bytes();
        return true;
    }
    false
}

/// The tags for `vids`, outermost first, and how many octets of them count: one 802.1Q tag, or an 802.1ad one with an
/// 802.1Q one inside. Priority 0. More than two identifiers are more than a frame may have; the rest is left out.
#[must_use]
pub fn vlan_header(vids: &[u16]) -> ([u8; 2 * TAG_LEN], usize) {
    let tag = |tpid: u16, vid: u16| (u32::from(tpid) << 16 | u32::from(vid & 0x0fff)).to_be_bytes();
    match *vids {
        [] => ([0; 8], 0),
        [vid] => {
            let [a, b, c, d] = tag(ethertype::VLAN, vid);
            ([a, b, c, d, 0, 0, 0, 0], TAG_LEN)
        }
        [outer, inner, ..] => {
            let ([a, b, c, d], [e, f, g, h]) = (tag(ethertype::QINQ, outer), tag(ethertype::VLAN, inner));
            ([a, b, c, d, e, f, g, h], 2 * TAG_LEN)
        }
    }
}

/// Inserts `tags` behind the link addresses of a frame whose front was just grown by `tags.len()` octets: the addresses
/// move to the front. Returns `false`, and changes nothing, if the frame is too short.
#[must_use]
pub fn push_vlan(grown: &mut [u8], tags: &[u8]) -> bool {
    let Some(head) = grown.get_mut(..ADDRESSES + tags.len()) else { return false };
    head.copy_within(tags.len().., 0);
    for (to, from) in head.iter_mut().skip(ADDRESSES).zip(tags) {
        *to = *from;
    }
    true
}

/// Makes room to cut `len` octets of tags: the link addresses move back over them, and the caller then cuts `len` octets
/// from the front. Returns `false`, and changes nothing, if the frame is too short.
#[must_use]
pub fn pop_vlan(data: &mut [u8], len: usize) -> bool {
    let Some(head) = data.get_mut(..ADDRESSES.saturating_add(len)) else { return false };
    head.copy_within(..ADDRESSES, len);
    true
}
