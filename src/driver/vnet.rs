//! The virtio-net header in front of every frame, and its meaning (virtio 1.2 section 5.1.6).

use crate::frame::{Checksum, Frame, Gso, GsoKind, Meta};

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;

const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;

/// `struct virtio_net_hdr`, in the machine's byte order as packet sockets and TAP devices have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(in crate::driver) struct VnetHeader {
    pub(in crate::driver) flags: u8,
    pub(in crate::driver) gso_type: u8,
    pub(in crate::driver) hdr_len: u16,
    pub(in crate::driver) gso_size: u16,
    pub(in crate::driver) csum_start: u16,
    pub(in crate::driver) csum_offset: u16,
}

/// Octets of the header.
pub(in crate::driver) const HEADER_LEN: usize = 10;

const _: () = assert!(std::mem::size_of::<VnetHeader>() == HEADER_LEN);

impl VnetHeader {
    /// What it says about `frame`, which begins at its Ethernet header; `None` when the kind of
    /// super-frame has no word in [`GsoKind`].
    pub(in crate::driver) fn meta(&self, frame: &[u8]) -> Option<(Checksum, Option<Gso>)> {
        let checksum = if self.flags & NEEDS_CSUM != 0 {
            Checksum::Partial { start: self.csum_start, offset: self.csum_offset }
        } else if self.flags & DATA_VALID != 0 {
            Checksum::Verified
        } else {
            Checksum::Unknown
        };
        let kind = match self.gso_type & !GSO_ECN {
            GSO_NONE => return Some((checksum, None)),
            GSO_TCPV4 => GsoKind::Tcp4,
            GSO_TCPV6 => GsoKind::Tcp6,
            GSO_UDP_L4 => GsoKind::UdpL4,
            _ => return None,
        };
        let gso = Gso {
            kind,
            ecn: self.gso_type & GSO_ECN != 0,
            size: self.gso_size,
            header_len: header_len(frame, kind, checksum).unwrap_or(self.hdr_len),
        };
        Some((checksum, Some(gso)))
    }

    /// From the octets in front of a frame.
    pub(in crate::driver) fn from_octets(octets: [u8; HEADER_LEN]) -> VnetHeader {
        let [flags, gso_type, a, b, c, d, e, f, g, h] = octets;
        VnetHeader {
            flags,
            gso_type,
            hdr_len: u16::from_ne_bytes([a, b]),
            gso_size: u16::from_ne_bytes([c, d]),
            csum_start: u16::from_ne_bytes([e, f]),
            csum_offset: u16::from_ne_bytes([g, h]),
        }
    }

    /// The octets in front of a frame.
    pub(in crate::driver) fn octets(&self) -> [u8; HEADER_LEN] {
        let [a, b] = self.hdr_len.to_ne_bytes();
        let [c, d] = self.gso_size.to_ne_bytes();
        let [e, f] = self.csum_start.to_ne_bytes();
        let [g, h] = self.csum_offset.to_ne_bytes();
        [self.flags, self.gso_type, a, b, c, d, e, f, g, h]
    }

    /// The header that says of a frame what `meta` says.
    pub(in crate::driver) fn from_meta(meta: &Meta) -> VnetHeader {
        let mut header = VnetHeader::default();
        if let Checksum::Partial { start, offset } = meta.checksum {
            header.flags = NEEDS_CSUM;
            header.csum_start = start;
            header.csum_offset = offset;
        }
        if let Some(gso) = meta.gso {
            header.gso_type = match gso.kind {
                GsoKind::Tcp4 => GSO_TCPV4,
                GsoKind::Tcp6 => GSO_TCPV6,
                GsoKind::UdpL4 => GSO_UDP_L4,
            };
            if gso.ecn {
                header.gso_type |= GSO_ECN;
            }
            header.hdr_len = gso.header_len;
            header.gso_size = gso.size;
        }
        header
    }
}

/// Octets of all headers. The kernel's own number is only a hint (how much lies in one piece), so it is
/// taken from the transport header where the checksum says where that begins.
fn header_len(frame: &[u8], kind: GsoKind, checksum: Checksum) -> Option<u16> {
    let Checksum::Partial { start, .. } = checksum else { return None };
    match kind {
        GsoKind::UdpL4 => start.checked_add(8),
        GsoKind::Tcp4 | GsoKind::Tcp6 => {
            let offset = frame.get(usize::from(start) + 12)?;
            start.checked_add(u16::from(offset >> 4) * 4)
        }
    }
}

/// Puts a tag back that the kernel took out: type and control information after the two addresses.
/// False when the frame has no room or no Ethernet header.
pub(in crate::driver) fn insert_tag(frame: &mut Frame, tpid: u16, tci: u16) -> bool {
    const ADDRESSES: usize = 12;
    const TAG: usize = 4;
    if frame.len() < ADDRESSES + 2 || frame.push_front(TAG).is_none() {
        return false;
    }
    let data = frame.data_mut();
    data.copy_within(TAG..TAG + ADDRESSES, 0);
    let [t0, t1] = tpid.to_be_bytes();
    let [c0, c1] = tci.to_be_bytes();
    match data.get_mut(ADDRESSES..ADDRESSES + TAG) {
        Some(tag) => {
            tag.copy_from_slice(&[t0, t1, c0, c1]);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests;
