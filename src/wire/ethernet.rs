//! Ethernet II framing with up to two VLAN tags (IEEE 802.3, 802.1Q).

use crate::net::DropReason;

/// Octets of the two addresses and the EtherType.
pub const HEADER_LEN: usize = 14;

/// Octets of one VLAN tag.
pub const TAG_LEN: usize = 4;

/// EtherType values (IANA) the program names.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// 802.1Q customer tag.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1ad service tag.
    pub const QINQ: u16 = 0x88a8;
}

/// The VLAN tags of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vlan {
    /// How many tags, 0 ..= 2.
    pub depth: u8,
    /// VLAN identifiers, outermost first; 0 where there is no tag.
    pub vids: [u16; 2],
}

impl Vlan {
    /// The identifiers that are there, outermost first.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u16] {
        match self.depth {
            0 => &[],
            1 => &self.vids[..1],
            _ => &self.vids,
        }
    }
}

/// What the link header says.
pub(super) struct Header {
    pub(super) l3: usize,
    pub(super) ethertype: u16,
    pub(super) vlan: Vlan,
    pub(super) group: bool,
}

/// Reads the link header and its tags.
#[inline]
pub(super) fn read(data: &[u8]) -> Result<Header, DropReason> {
    let fixed = data.first_chunk::<HEADER_LEN>().ok_or(DropReason::RxTruncated)?;
    let mut header = Header {
        l3: HEADER_LEN,
        ethertype: u16::from_be_bytes([fixed[12], fixed[13]]),
        vlan: Vlan::default(),
        group: fixed[0] & 1 == 1,
    };
    while matches!(header.ethertype, ethertype::VLAN | ethertype::QINQ) {
        let slot = header.vlan.vids.get_mut(usize::from(header.vlan.depth)).ok_or(DropReason::VlanUnknown)?;
        let tag = data.get(header.l3..).and_then(|d| d.first_chunk::<TAG_LEN>()).ok_or(DropReason::RxTruncated)?;
        *slot = u16::from_be_bytes([tag[0], tag[1]]) & 0x0fff;
        header.ethertype = u16::from_be_bytes([tag[2], tag[3]]);
        header.vlan.depth += 1;
        header.l3 += TAG_LEN;
    }
    Ok(header)
}
