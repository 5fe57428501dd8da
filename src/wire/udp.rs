//! UDP (RFC 768) and UDP-Lite (RFC 3828).

use super::checksum;
use super::parse::{Ip, Transport, Verify};
use crate::net::{InvalidReason, L4, proto};

pub(super) const HEADER_LEN: usize = 8;

/// Reads a UDP datagram: ports, whole header, length, checksum. A checksum of 0 is none, in both families.
///
/// The checksum is taken over all the IP datagram carries, as netfilter does, even if the length field says less.
#[inline]
pub(super) fn read(l4: &[u8], ip: &Ip, verify: Verify) -> Transport {
    let mut seen = match Transport::with_ports(l4, L4::Udp) {
        Ok(seen) => seen,
        Err(invalid) => return invalid,
    };
    let Some(h) = l4.first_chunk::<HEADER_LEN>() else { return seen.defective(InvalidReason::Truncated) };
    seen.header = HEADER_LEN;
    let length = usize::from(u16::from_be_bytes([h[4], h[5]]));
    if length < HEADER_LEN || length > l4.len() {
        return seen.defective(InvalidReason::UdpLength);
    }
    if verify == Verify::Check
        && h[6..8] != [0, 0]
        && checksum::fold(ip.pseudo(proto::UDP, l4.len()) + checksum::sum(l4)) != 0xffff
    {
        return seen.defective(InvalidReason::UdpChecksum);
    }
    seen
}

/// Reads a UDP-Lite datagram. The length field is the checksum's coverage, 0 meaning all; the checksum is mandatory
/// and its pseudo-header carries UDP-Lite's own protocol number (RFC 3828 section 3.2), unlike in netfilter.
pub(super) fn read_lite(l4: &[u8], ip: &Ip, verify: Verify) -> Transport {
    let mut seen = match Transport::with_ports(l4, L4::UdpLite) {
        Ok(seen) => seen,
        Err(invalid) => return invalid,
    };
    let Some(h) = l4.first_chunk::<HEADER_LEN>() else { return seen.defective(InvalidReason::Truncated) };
    seen.header = HEADER_LEN;
    let covered = match usize::from(u16::from_be_bytes([h[4], h[5]])) {
        0 => Some(l4),
        n if n < HEADER_LEN => None,
        n => l4.get(..n),
    };
    let Some(covered) = covered else { return seen.defective(InvalidReason::UdpLength) };
    let wrong = verify == Verify::Check
        && checksum::fold(ip.pseudo(proto::UDPLITE, l4.len()) + checksum::sum(covered)) != 0xffff;
    if wrong || h[6..8] == [0, 0] {
        return seen.defective(InvalidReason::UdpChecksum);
    }
    seen
}
