//! Neighbour discovery for IPv6 (RFC 4861): solicitations and advertisements.

use super::build::{self, IpHeader, Link};
use super::icmpv6::{NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION};
use super::parse::{Kind, Parsed};
use crate::net::{Addr, Family, Icmp, L4, MacAddr, Track, proto};

/// Octets of either message before its options.
const LEN: usize = 24;

/// Octets of a link-layer address option for Ethernet.
const OPTION_LEN: usize = 8;

/// Every message's hop limit: proof that no router forwarded it.
const HOP_LIMIT: u8 = 255;

const OPT_SOURCE_LINK: u8 = 1;
const OPT_TARGET_LINK: u8 = 2;

const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// ff02::1, where everyone listens.
const ALL_NODES: Addr = Addr { hi: 0xff02 << 48, lo: 1 };

/// A neighbour discovery message that was checked as RFC 4861 section 7.1 demands. Its source and destination are in the
/// packet's tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbour {
    /// Asks for the target's link address.
    Solicitation {
        /// Whose address is asked for.
        target: Addr,
        /// Link address of who asks; absent from a probe for duplicates (RFC 4862 section 5.4.2).
        source_mac: Option<MacAddr>,
    },
    /// Tells the target's link address.
    Advertisement {
        /// Whose address it is.
        target: Addr,
        /// Its link address; may be left out of an answer to a unicast solicitation.
        target_mac: Option<MacAddr>,
        /// The sender is a router.
        router: bool,
        /// Answers a solicitation.
        solicited: bool,
        /// Replaces a cached link address.
        overriding: bool,
    },
}

/// The group an address's solicitations go to (RFC 4291 section 2.7.1).
#[must_use]
pub const fn solicited_node(addr: Addr) -> Addr {
    Addr { hi: 0xff02 << 48, lo: 0x1_ff00_0000 | (addr.lo & 0x00ff_ffff) }
}

/// Reads and checks a message (RFC 4861 sections 7.1.1 and 7.1.2). `None` if it is none, or must be discarded silently.
#[must_use]
pub fn parse(data: &[u8], parsed: &Parsed) -> Option<Neighbour> {
    let L4::Icmp(Icmp { kind, code: 0 }) = parsed.summary.l4 else { return None };
    // An untracked message has passed its checksum.
    if parsed.kind != Kind::Ipv6 || parsed.ttl != HOP_LIMIT || parsed.summary.track != Track::Untracked {
        return None;
    }
    let (src, dst) = (parsed.summary.tuple.src, parsed.summary.tuple.dst);
    let (h, options) = parsed.transport(data).split_first_chunk::<LEN>()?;
    let target = Addr::v6(*h.last_chunk::<16>()?);
    if target.is_multicast(Family::V6) || !sane_options(options) {
        return None;
    }
    match kind {
        NEIGHBOUR_SOLICITATION => {
            let source_mac = link_option(options, OPT_SOURCE_LINK);
            let to_group = dst == solicited_node(target);
            if src.is_unspecified() && (!to_group || source_mac.is_some()) {
                return None;
            }
            Some(Neighbour::Solicitation { target, source_mac })
        }
        NEIGHBOUR_ADVERTISEMENT => {
            let solicited = h[4] & SOLICITED != 0;
            if solicited && dst.is_multicast(Family::V6) {
                return None;
            }
            Some(Neighbour::Advertisement {
                target,
                target_mac: link_option(options, OPT_TARGET_LINK),
                router: h[4] & ROUTER != 0,
                solicited,
                overriding: h[4] & OVERRIDE != 0,
            })
        }
        _ => None,
    }
}

/// Each option with its type and length octets; ends at the first that is empty or runs over.
fn options(mut area: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = usize::from(*area.get(1)?) * 8;
        if len == 0 {
            return None;
        }
        let (option, rest) = area.split_at_checked(len)?;
        area = rest;
        Some(option)
    })
}

/// Whether the options fill their area, none of length 0.
fn sane_options(area: &[u8]) -> bool {
    options(area).map(<[u8]>::len).sum::<usize>() == area.len()
}

/// The link address in the first option of type `kind`; a group's is not believed.
fn link_option(area: &[u8], kind: u8) -> Option<MacAddr> {
    let option = options(area).find(|o| o.first() == Some(&kind))?;
    let mac = MacAddr(*option.get(2..)?.first_chunk::<6>()?);
    (!mac.is_multicast()).then_some(mac)
}

/// Writes a message with one link-layer address option, the sender's.
fn write(out: &mut [u8], link: Link, ends: (Addr, Addr), message: (u8, u8), target: Addr) -> Option<usize> {
    let (kind, flags) = message;
    let header =
        IpHeader { family: Family::V6, src: ends.0, dst: ends.1, proto: proto::ICMPV6, hops: HOP_LIMIT, tos: 0 };
    let (body, len) = build::ip(out, link, &header, LEN + OPTION_LEN)?;
    let h = body.first_chunk_mut::<{ LEN + OPTION_LEN }>()?;
    h[..8].copy_from_slice(&[kind, 0, 0, 0, flags, 0, 0, 0]);
    h[8..24].copy_from_slice(&target.octets_v6());
    h[24] = if kind == NEIGHBOUR_SOLICITATION { OPT_SOURCE_LINK } else { OPT_TARGET_LINK };
    h[25] = 1;
    h[26..].copy_from_slice(&link.src.0);
    build::seal(body, 2, build::pseudo(&header, LEN + OPTION_LEN))?;
    Some(len)
}

/// Writes a solicitation for `target` from `src`, whose link address is `mac`, and returns the frame's length, or `None`
/// if it does not fit. Goes to the solicited-node group, or straight to `known` to learn whether it is still there.
#[must_use]
pub fn solicitation(out: &mut [u8], mac: MacAddr, src: Addr, target: Addr, known: Option<MacAddr>) -> Option<usize> {
    let (dst, dst_mac) = match known {
        Some(mac) => (target, mac),
        None => {
            let group = solicited_node(target);
            (group, MacAddr::for_multicast(group, Family::V6))
        }
    };
    write(out, Link { dst: dst_mac, src: mac }, (src, dst), (NEIGHBOUR_SOLICITATION, 0), target)
}

/// Writes the router's advertisement of `target`, whose link address is `link.src`, and returns the frame's length, or
/// `None` if it does not fit. `asker` is who solicited it; if that is unspecified, a probe for duplicates, the answer
/// goes to all nodes, whatever `link.dst` says (RFC 4861 section 7.2.4).
#[must_use]
pub fn advertisement(out: &mut [u8], link: Link, target: Addr, asker: Addr) -> Option<usize> {
    if asker.is_unspecified() {
        let link = Link { dst: MacAddr::for_multicast(ALL_NODES, Family::V6), ..link };
        return write(out, link, (target, ALL_NODES), (NEIGHBOUR_ADVERTISEMENT, ROUTER | OVERRIDE), target);
    }
    let flags = ROUTER | SOLICITED | OVERRIDE;
    write(out, link, (target, asker), (NEIGHBOUR_ADVERTISEMENT, flags), target)
}
