//! The IPv4 header (RFC 791, RFC 1812 section 5.2.2).

use super::checksum;
use super::parse::{Fragment, Ip};
use crate::net::{Addr, DropReason, Family};

/// Octets of a header without options.
pub const HEADER_LEN: usize = 20;

pub(super) const FLAG_DF: u16 = 0x4000;
pub(super) const FLAG_MF: u16 = 0x2000;
pub(super) const OFFSET_MASK: u16 = 0x1fff;

/// Reads the header at `l3`. Checks version, header length, total length and header checksum.
#[inline]
pub(super) fn read(data: &[u8], l3: usize) -> Result<Ip, DropReason> {
    let packet = data.get(l3..).ok_or(DropReason::RxTruncated)?;
    let h = packet.first_chunk::<HEADER_LEN>().ok_or(DropReason::RxTruncated)?;
    let header_len = usize::from(h[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([h[2], h[3]]));
    if h[0] >> 4 != 4 || header_len < HEADER_LEN || total < header_len {
        return Err(DropReason::Ipv4Header);
    }
    if total > packet.len() {
        return Err(DropReason::RxTruncated);
    }
    let header = packet.get(..header_len).ok_or(DropReason::RxTruncated)?;
    if checksum::fold(checksum::sum(header)) != 0xffff {
        return Err(DropReason::Ipv4Header);
    }
    let flags = u16::from_be_bytes([h[6], h[7]]);
    let l4 = l3 + header_len;
    let fragment = if flags & (FLAG_MF | OFFSET_MASK) == 0 {
        None
    } else {
        Some(Fragment {
            id: u32::from(u16::from_be_bytes([h[4], h[5]])),
            offset: (flags & OFFSET_MASK) << 3,
            more: flags & FLAG_MF != 0,
            header: l3 as u16,
            next_header_at: (l3 + 9) as u16,
            next_header: h[9],
            whole_header: true,
        })
    };
    Ok(Ip {
        src: Addr::v4(u32::from_be_bytes([h[12], h[13], h[14], h[15]])),
        dst: Addr::v4(u32::from_be_bytes([h[16], h[17], h[18], h[19]])),
        family: Family::V4,
        proto: h[9],
        l4,
        end: l3 + total,
        ttl: h[8],
        tos: h[1],
        dont_fragment: flags & FLAG_DF != 0,
        fragment,
        broken: None,
    })
}

/// Computes the header checksum of `header`, an IPv4 header with its options and nothing behind, and stores it.
/// Returns whether there was a whole header.
pub fn seal(header: &mut [u8]) -> bool {
    let Some(field) = header.get_mut(10..12) else { return false };
    field.fill(0);
    let value = checksum::checksum(header);
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&value.to_be_bytes());
    }
    header.len() >= HEADER_LEN
}

/// The options of a header's option area, in order: each with its type and length octets. Ends at end-of-list or at
/// the first option that does not fit (RFC 791 section 3.1).
pub(super) fn options(mut area: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let len = match *area.first()? {
            0 => return None,
            1 => 1,
            _ => usize::from(*area.get(1)?).max(2),
        };
        let (option, rest) = area.split_at_checked(len)?;
        area = rest;
        Some(option)
    })
}
