//! Cutting a super-frame into the segments it stands for, as a NIC with segmentation offload would (virtio 1.2 section
//! 5.1.6.2): for TCP, and for UDP whose sender asked for equal datagrams.

use super::checksum::{checksum, fold, sum};
use super::{ethernet, ipv4};

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Octets of an IPv6 header.
const IPV6: usize = 40;

/// The segments of a super-frame, written one after the other by [`Segments::write_next`].
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    /// All headers, as in the original.
    headers: &'a [u8],
    /// What is still to be sent.
    rest: &'a [u8],
    /// Where the transport header begins.
    l4: usize,
    /// Payload of a segment.
    size: usize,
    /// Sum of the pseudo-header but for the length.
    pseudo: u32,
    /// Payload written so far, and in how many segments.
    written: (u32, u16),
    udp: bool,
}

/// Prepares to cut the untagged super-frame `data` into segments of `size` octets of payload. Its transport header is at
/// `l4`, ends at `headers`, and has the pseudo-header's sum in its checksum field at `l4 + offset`. `None` if it cannot be
/// one.
#[must_use]
pub fn segments(data: &[u8], l4: u16, offset: u16, headers: u16, size: u16) -> Option<Segments<'_>> {
    let (l4, offset, size) = (usize::from(l4), usize::from(offset), usize::from(size));
    let (headers, rest) = data.split_at_checked(usize::from(headers))?;
    let udp = match (offset, headers.len().checked_sub(l4)?) {
        (6, 8) => true,
        (16, 20..=60) => false,
        _ => return None,
    };
    let least = match headers.get(ethernet::HEADER_LEN)? >> 4 {
        4 => ethernet::HEADER_LEN + ipv4::HEADER_LEN,
        6 => ethernet::HEADER_LEN + IPV6,
        _ => return None,
    };
    if l4 < least || size == 0 || rest.is_empty() {
        return None;
    }
    let field = headers.get(l4 + offset..)?.first_chunk::<2>()?;
    // In one's complement, what is taken away is added as its complement.
    let length = fold(u32::try_from(data.len() - l4).ok()?);
    let pseudo = u32::from(u16::from_be_bytes(*field)) + u32::from(!length);
    Some(Segments { headers, rest, l4, size, pseudo, written: (0, 0), udp })
}

impl Segments<'_> {
    /// No segment is left.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// Writes the next segment, all its checksums complete, to the beginning of `out`: its length, or `None` if there is
    /// none left or no room for it.
    pub fn write_next(&mut self, out: &mut [u8]) -> Option<usize> {
        let (payload, rest) = self.rest.split_at_checked(self.size.min(self.rest.len()))?;
        if payload.is_empty() {
            return None;
        }
        let length = self.headers.len() + payload.len();
        let frame = out.get_mut(..length)?;
        let (head, body) = frame.split_at_mut_checked(self.headers.len())?;
        head.copy_from_slice(self.headers);
        body.copy_from_slice(payload);
        let (written, index) = self.written;
        let (network, transport) =
            head.get_mut(ethernet::HEADER_LEN..)?.split_at_mut_checked(self.l4 - ethernet::HEADER_LEN)?;
        lengths(network, transport.len() + payload.len(), index)?;
        let field = if self.udp { 6 } else { 16 };
        if self.udp {
            put16(transport, 4, (transport.len() + payload.len()) as u16)?;
        } else {
            let seq = transport.get_mut(4..)?.first_chunk_mut::<4>()?;
            *seq = u32::from_be_bytes(*seq).wrapping_add(written).to_be_bytes();
            let flags = transport.get_mut(13)?;
            // The sender says once that it has slowed down, and what ends the stream ends its last segment.
            *flags &= if index == 0 { !0 } else { !CWR };
            *flags &= if rest.is_empty() { !0 } else { !(FIN | PSH) };
        }
        put16(transport, field, 0)?;
        let covered = transport.len() + payload.len();
        // The transport header's length is even, so the sums of both can be added.
        let total = self.pseudo + covered as u32 + sum(transport) + sum(payload);
        let value = match !fold(total) {
            0 => 0xffff,
            value => value,
        };
        put16(transport, field, value)?;
        self.written = (written.wrapping_add(payload.len() as u32), index.wrapping_add(1));
        self.rest = rest;
        Some(length)
    }
}

/// Gives the network header its length, and in IPv4 an identification of its own (RFC 6864 section 4).
fn lengths(network: &mut [u8], behind: usize, index: u16) -> Option<()> {
    if network.first()? >> 4 == 6 {
        return put16(network, 4, (network.len() - IPV6 + behind) as u16);
    }
    put16(network, 2, (network.len() + behind) as u16)?;
    let id = network.get(4..)?.first_chunk::<2>()?;
    put16(network, 4, u16::from_be_bytes(*id).wrapping_add(index))?;
    put16(network, 10, 0)?;
    let value = checksum(network);
    put16(network, 10, value)
}

fn put16(to: &mut [u8], at: usize, value: u16) -> Option<()> {
    *to.get_mut(at..)?.first_chunk_mut::<2>()? = value.to_be_bytes();
    Some(())
}
