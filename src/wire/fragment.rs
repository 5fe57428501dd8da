//! Splitting a datagram for a smaller MTU: of IPv4 on the way (RFC 791 section 3.2, RFC 1812 section 4.2.2.7), of IPv6
//! only what the router itself sends (RFC 8200 section 4.5).

use super::ipv4::{self, FLAG_MF, OFFSET_MASK};
use super::ipv6;
use super::parse::{Kind, Parsed};

/// Bit of an option's type that asks for a copy in every fragment.
const COPIED: u8 = 0x80;

/// Most octets of options.
const MAX_OPTIONS: usize = 40;

/// The pieces of a datagram, written one after the other by [`Fragments::write_next`].
#[derive(Clone, Debug)]
pub struct Fragments<'a> {
    /// Link header, as in the original.
    link: &'a [u8],
    /// The datagram's header without options, to be patched.
    header: [u8; ipv4::HEADER_LEN],
    /// Options of the next piece, padded to a multiple of four.
    options: [u8; MAX_OPTIONS],
    options_len: usize,
    /// Options of the pieces after it.
    copied: [u8; MAX_OPTIONS],
    copied_len: usize,
    /// What is still to be sent.
    rest: &'a [u8],
    /// Offset of `rest` in the datagram as it was first sent, in units of 8 octets.
    offset: u16,
    /// More pieces follow the original, which is a fragment itself.
    more: bool,
    mtu: usize,
}

/// Prepares to split the datagram in `data` into pieces of at most `mtu` octets, IP header included. `None` if it is not
/// IPv4, may not be fragmented, or `mtu` leaves no room for data. The transport checksum must be complete.
#[must_use]
pub fn fragment_ipv4<'a>(data: &'a [u8], parsed: &Parsed, mtu: u32) -> Option<Fragments<'a>> {
    if parsed.kind != Kind::Ipv4 || parsed.dont_fragment {
        return None;
    }
    let l3 = usize::from(parsed.l3);
    let rest = parsed.transport(data);
    let header = *parsed.datagram(data).first_chunk::<{ ipv4::HEADER_LEN }>()?;
    let area = data.get(l3 + ipv4::HEADER_LEN..usize::from(parsed.l4))?;
    let mtu = mtu as usize;
    if mtu < ipv4::HEADER_LEN + area.len() + 8 || rest.is_empty() {
        return None;
    }
    let mut options = [0; MAX_OPTIONS];
    options.get_mut(..area.len())?.copy_from_slice(area);
    let (copied, copied_len) = copied_options(area);
    let field = u16::from_be_bytes([header[6], header[7]]);
    Some(Fragments {
        link: data.get(..l3)?,
        header,
        options,
        options_len: area.len(),
        copied,
        copied_len,
        rest,
        offset: field & OFFSET_MASK,
        more: field & FLAG_MF != 0,
        mtu,
    })
}

/// The options that every fragment carries, padded with end-of-list.
fn copied_options(area: &[u8]) -> ([u8; MAX_OPTIONS], usize) {
    let mut copied = [0; MAX_OPTIONS];
    let mut len = 0;
    for option in ipv4::options(area).filter(|o| o.first().is_some_and(|kind| kind & COPIED != 0)) {
        if let Some(room) = copied.get_mut(len..len + option.len()) {
            room.copy_from_slice(option);
            len += option.len();
        }
    }
    (copied, len.next_multiple_of(4))
}

impl Fragments<'_> {
    /// Whether every piece has been written.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// Writes the next piece with its link header and returns the frame's length; `None` when all are written, or if `out`
    /// is too small for it (then it stays the next). [`Fragments::is_done`] tells which.
    pub fn write_next(&mut self, out: &mut [u8]) -> Option<usize> {
        if self.rest.is_empty() {
            return None;
        }
        let header_len = ipv4::HEADER_LEN + self.options_len;
        let room = self.mtu.checked_sub(header_len)?;
        let take = if self.rest.len() <= room { self.rest.len() } else { room & !7 };
        let (piece, rest) = self.rest.split_at_checked(take)?;
        let total = header_len + take;
        let more = self.more || !rest.is_empty();
        let mut header = self.header;
        header[0] = 0x40 | (header_len / 4) as u8;
        header[2..4].copy_from_slice(&u16::try_from(total).ok()?.to_be_bytes());
        let field = self.offset | if more { FLAG_MF } else { 0 };
        header[6..8].copy_from_slice(&field.to_be_bytes());

        let len = self.link.len() + total;
        let (link, datagram) = out.get_mut(..len)?.split_at_mut_checked(self.link.len())?;
        let (head, body) = datagram.split_at_mut_checked(header_len)?;
        let (fixed, options) = head.split_first_chunk_mut::<{ ipv4::HEADER_LEN }>()?;
        link.copy_from_slice(self.link);
        *fixed = header;
        options.copy_from_slice(self.options.get(..self.options_len)?);
        ipv4::seal(head);
        body.copy_from_slice(piece);

        self.rest = rest;
        self.offset = self.offset.wrapping_add((take / 8) as u16) & OFFSET_MASK;
        (self.options, self.options_len) = (self.copied, self.copied_len);
        Some(len)
    }
}

/// The pieces of an IPv6 packet that the router itself sends.
#[derive(Clone, Debug)]
pub struct SourceFragments<'a> {
    /// Link header and IPv6 header of the original.
    head: &'a [u8],
    /// Protocol of the fragmentable part.
    next_header: u8,
    id: u32,
    /// What is still to be sent.
    rest: &'a [u8],
    /// Offset of `rest` in octets.
    offset: u16,
    mtu: usize,
}

/// Octets of the fragment header (RFC 8200 section 4.5).
const FRAGMENT_HEADER: usize = 8;

/// Prepares to split the packet in `data`, an IPv6 one without extension headers, into pieces of at most `mtu` octets
/// that carry `id`. `None` if it is no such packet or `mtu` leaves no room for data. The transport checksum must be
/// complete. Never for a packet of another sender: those are answered with packet too big.
#[must_use]
pub fn fragment_ipv6<'a>(data: &'a [u8], parsed: &Parsed, mtu: u32, id: u32) -> Option<SourceFragments<'a>> {
    let l4 = usize::from(parsed.l4);
    let plain = parsed.kind == Kind::Ipv6 && l4 == usize::from(parsed.l3) + ipv6::HEADER_LEN;
    let mtu = mtu as usize;
    if !plain || mtu < ipv6::HEADER_LEN + FRAGMENT_HEADER + 8 {
        return None;
    }
    let next_header = parsed.summary.tuple.proto;
    Some(SourceFragments { head: data.get(..l4)?, next_header, id, rest: parsed.transport(data), offset: 0, mtu })
}

impl SourceFragments<'_> {
    /// Whether every piece has been written.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// As [`Fragments::write_next`].
    pub fn write_next(&mut self, out: &mut [u8]) -> Option<usize> {
        if self.rest.is_empty() {
            return None;
        }
        let room = self.mtu - ipv6::HEADER_LEN - FRAGMENT_HEADER;
        let take = if self.rest.len() <= room { self.rest.len() } else { room & !7 };
        let (piece, rest) = self.rest.split_at_checked(take)?;
        let len = self.head.len() + FRAGMENT_HEADER + take;
        let (head, body) = out.get_mut(..len)?.split_at_mut_checked(self.head.len())?;
        let (fragment, body) = body.split_first_chunk_mut::<FRAGMENT_HEADER>()?;
        head.copy_from_slice(self.head);
        let ip = head.last_chunk_mut::<{ ipv6::HEADER_LEN }>()?;
        ip[4..6].copy_from_slice(&u16::try_from(FRAGMENT_HEADER + take).ok()?.to_be_bytes());
        ip[6] = ipv6::FRAGMENT;
        let [o0, o1] = (self.offset | u16::from(!rest.is_empty())).to_be_bytes();
        let [i0, i1, i2, i3] = self.id.to_be_bytes();
        *fragment = [self.next_header, 0, o0, o1, i0, i1, i2, i3];
        body.copy_from_slice(piece);
        self.rest = rest;
        self.offset = self.offset.wrapping_add(take as u16);
        Some(len)
    }
}
