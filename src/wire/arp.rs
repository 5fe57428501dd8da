//! ARP for IPv4 over Ethernet (RFC 826).

use super::build::{self, Link};
use super::ethernet::{self, ethertype};
use super::parse::{Kind, Parsed};
use crate::net::{Addr, DropReason, Family, L4, MacAddr, Summary, Track, Tuple};

/// Octets of a packet.
const LEN: usize = 28;

/// Ethernet, IPv4, six-octet and four-octet addresses.
const FIXED: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];

/// What an ARP packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArpOp {
    /// Asks for the target's link address.
    Request,
    /// Tells the sender's.
    Reply,
}

/// An ARP packet; the addresses are IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Operation.
    pub op: ArpOp,
    /// Sender's link address.
    pub sender_mac: MacAddr,
    /// Sender's address; unspecified in a probe (RFC 5227).
    pub sender: Addr,
    /// Target's link address; zero in a request.
    pub target_mac: MacAddr,
    /// Target's address.
    pub target: Addr,
}

impl Arp {
    /// The request that asks for `target` in the name of `sender`.
    #[must_use]
    pub const fn request(sender_mac: MacAddr, sender: Addr, target: Addr) -> Arp {
        Arp { op: ArpOp::Request, sender_mac, sender, target_mac: MacAddr([0; 6]), target }
    }

    /// The reply to this request from who has its target's address.
    #[must_use]
    pub const fn answer(&self, mac: MacAddr) -> Arp {
        Arp { op: ArpOp::Reply, sender_mac: mac, sender: self.target, target_mac: self.sender_mac, target: self.sender }
    }

    /// The link addresses it travels between: a request is broadcast.
    #[must_use]
    pub const fn link(&self) -> Link {
        let dst = match self.op {
            ArpOp::Request => MacAddr::BROADCAST,
            ArpOp::Reply => self.target_mac,
        };
        Link { dst, src: self.sender_mac }
    }

    /// Writes the frame between `link`'s addresses and returns its length, or `None` if it does not fit.
    #[must_use]
    pub fn write(&self, out: &mut [u8], link: Link) -> Option<usize> {
        let h = build::ethernet(out, link, ethertype::ARP, LEN)?.first_chunk_mut::<LEN>()?;
        h[..6].copy_from_slice(&FIXED);
        h[6..8].copy_from_slice(match self.op {
            ArpOp::Request => &[0, 1],
            ArpOp::Reply => &[0, 2],
        });
        h[8..14].copy_from_slice(&self.sender_mac.0);
        h[14..18].copy_from_slice(&self.sender.as_v4().to_be_bytes());
        h[18..24].copy_from_slice(&self.target_mac.0);
        h[24..].copy_from_slice(&self.target.as_v4().to_be_bytes());
        Some(ethernet::HEADER_LEN + LEN)
    }
}

/// Reads an ARP packet. `None` if it is not one for IPv4 over Ethernet, neither request nor reply, or names a group
/// as the sender's link address (RFC 1812 section 3.3.2).
#[must_use]
pub fn parse(data: &[u8], parsed: &Parsed) -> Option<Arp> {
    if parsed.kind != Kind::Arp {
        return None;
    }
    let h = parsed.datagram(data).first_chunk::<LEN>()?;
    let op = match [h[6], h[7]] {
        [0, 1] => ArpOp::Request,
        [0, 2] => ArpOp::Reply,
        _ => return None,
    };
    let arp = Arp {
        op,
        sender_mac: MacAddr([h[8], h[9], h[10], h[11], h[12], h[13]]),
        sender: Addr::v4(u32::from_be_bytes([h[14], h[15], h[16], h[17]])),
        target_mac: MacAddr([h[18], h[19], h[20], h[21], h[22], h[23]]),
        target: Addr::v4(u32::from_be_bytes([h[24], h[25], h[26], h[27]])),
    };
    (h[..6] == FIXED && !arp.sender_mac.is_multicast()).then_some(arp)
}

/// Finds the extent of an ARP packet in a frame.
pub(super) fn locate(data: &[u8], link: &ethernet::Header) -> Result<Parsed, DropReason> {
    let end = link.l3 + LEN;
    if data.len() < end {
        return Err(DropReason::RxTruncated);
    }
    Ok(Parsed {
        kind: Kind::Arp,
        vlan: link.vlan,
        l3: link.l3 as u16,
        l4: end as u16,
        end: end as u32,
        payload: end as u32,
        ttl: 0,
        tos: 0,
        dont_fragment: false,
        link_group: link.group,
        fragment: None,
        summary: Summary {
            track: Track::Untracked,
            tuple: Tuple {
                src: Addr::UNSPECIFIED,
                dst: Addr::UNSPECIFIED,
                src_key: 0,
                dst_key: 0,
                proto: 0,
                family: Family::V4,
            },
            l4: L4::Other,
            defect: None,
        },
    })
}
