//! Headers of the packets the router sends by itself. Frames are untagged; a tag is added as to any other frame.

use super::checksum;
use super::ethernet::{self, ethertype};
use super::{ipv4, ipv6};
use crate::net::{Addr, Family, MacAddr};

/// Hop count of what the router sends (RFC 1700's default TTL).
pub(super) const HOPS: u8 = 64;

/// The link addresses of a frame to build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Destination.
    pub dst: MacAddr,
    /// Source.
    pub src: MacAddr,
}

/// The network header of a frame to build.
pub(super) struct IpHeader {
    pub(super) family: Family,
    pub(super) src: Addr,
    pub(super) dst: Addr,
    pub(super) proto: u8,
    pub(super) hops: u8,
    pub(super) tos: u8,
}

/// Writes the link header and gives what follows it, `len` octets; `None` if `out` is too small.
pub(super) fn ethernet(out: &mut [u8], link: Link, ethertype: u16, len: usize) -> Option<&mut [u8]> {
    let frame = out.get_mut(..ethernet::HEADER_LEN.checked_add(len)?)?;
    let (h, rest) = frame.split_first_chunk_mut::<{ ethernet::HEADER_LEN }>()?;
    h[..6].copy_from_slice(&link.dst.0);
    h[6..12].copy_from_slice(&link.src.0);
    h[12..].copy_from_slice(&ethertype.to_be_bytes());
    Some(rest)
}

/// Writes link and network header and gives the transport part, `len` octets, with the length of the whole frame;
/// `None` if `out` is too small or no datagram is that large.
///
/// IPv4 datagrams have DF set and so need no identification (RFC 6864 section 4.1).
pub(super) fn ip<'a>(out: &'a mut [u8], link: Link, header: &IpHeader, len: usize) -> Option<(&'a mut [u8], usize)> {
    match header.family {
        Family::V4 => {
            let total = u16::try_from(ipv4::HEADER_LEN + len).ok()?;
            let datagram = ethernet(out, link, ethertype::IPV4, usize::from(total))?;
            let (h, rest) = datagram.split_first_chunk_mut::<{ ipv4::HEADER_LEN }>()?;
            h.fill(0);
            h[0] = 0x45;
            h[1] = header.tos;
            h[2..4].copy_from_slice(&total.to_be_bytes());
            h[6..8].copy_from_slice(&ipv4::FLAG_DF.to_be_bytes());
            h[8] = header.hops;
            h[9] = header.proto;
            h[12..16].copy_from_slice(&header.src.as_v4().to_be_bytes());
            h[16..].copy_from_slice(&header.dst.as_v4().to_be_bytes());
            ipv4::seal(h);
            Some((rest, ethernet::HEADER_LEN + usize::from(total)))
        }
        Family::V6 => {
            let payload = u16::try_from(len).ok()?;
            let total = ipv6::HEADER_LEN + len;
            let datagram = ethernet(out, link, ethertype::IPV6, total)?;
            let (h, rest) = datagram.split_first_chunk_mut::<{ ipv6::HEADER_LEN }>()?;
            h[..4].copy_from_slice(&(6 << 28 | u32::from(header.tos) << 20).to_be_bytes());
            h[4..6].copy_from_slice(&payload.to_be_bytes());
            h[6] = header.proto;
            h[7] = header.hops;
            h[8..24].copy_from_slice(&header.src.octets_v6());
            h[24..].copy_from_slice(&header.dst.octets_v6());
            Some((rest, ethernet::HEADER_LEN + total))
        }
    }
}

/// Sum of the pseudo-header in front of `len` octets; ICMP has none.
pub(super) fn pseudo(header: &IpHeader, len: usize) -> u32 {
    match header.proto {
        crate::net::proto::ICMP => 0,
        _ => checksum::pseudo(header.src, header.dst, header.proto, len as u32),
    }
}

/// Computes the checksum of `transport` over the sum `pseudo` and stores it at `at`.
pub(super) fn seal(transport: &mut [u8], at: usize, pseudo: u32) -> Option<()> {
    transport.get_mut(at..)?.first_chunk_mut::<2>()?.fill(0);
    let value = !checksum::fold(pseudo + checksum::sum(transport));
    *transport.get_mut(at..)?.first_chunk_mut::<2>()? = value.to_be_bytes();
    Some(())
}
