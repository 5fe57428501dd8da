//! What travels with a frame beside its bytes.

use crate::net::{Family, PortId, in_one};

/// What is known of the IPv4 header's checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum HeaderSum {
    /// Nothing: it is verified.
    #[default]
    Unknown,
    /// The device verified it, and a glance does not do so again.
    Verified,
}

/// What is known of the transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Checksum {
    /// Nothing: whoever cares verifies it.
    #[default]
    Unknown = 2,
    /// The port verified it, or the sender is on this machine and never put the frame on a wire.
    Verified = 3,
    /// The field holds only the pseudo-header's sum; the rest is still to be added, from `start` to the
    /// end of the frame, and stored at `start + offset` (virtio 1.2 section 5.1.6.2, NEEDS_CSUM).
    /// Counts as verified. Its number has not the bit that the others' have: see [`Asks`].
    Partial {
        /// Offset of the first summed octet from the start of the frame.
        start: u16,
        /// Offset of the checksum field from `start`.
        offset: u16,
    } = 1,
}

/// Transport of a super-frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP with segmentation (Linux USO, virtio UDP_L4).
    UdpL4,
}

/// A super-frame: one header in front of several segments' payload (virtio 1.2 section 5.1.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Gso {
    /// Payload octets of each segment.
    pub size: u16,
    /// Octets of all headers.
    pub header_len: u16,
    /// Transport.
    pub kind: GsoKind,
    /// ECN bit semantics requested by the sender (virtio GSO_ECN).
    pub ecn: bool,
}

/// Where a frame came from, for the sums of decision D4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Received on a port: its end is counted.
    #[default]
    Received,
    /// Made by the router: an answer, an error, a request for a neighbour.
    Originated,
}

/// Facts about a frame that are not in its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Meta {
    /// Set for a super-frame.
    pub gso: Option<Gso>,
    /// Port it was received on.
    pub ingress: PortId,
    /// Header checksum, of IPv4.
    pub header: HeaderSum,
    /// Transport checksum.
    pub checksum: Checksum,
    /// Received or made here.
    pub origin: Origin,
    /// Address family, once it is known; what is sent is counted by it.
    pub family: Option<Family>,
    /// Number given by the driver of a replay; 0 elsewhere.
    pub seq: u32,
}

impl Meta {
    /// Whether it is a super-frame, where it came in and what the port says of its checksums, as one number: of two frames that are
    /// none it is the same exactly if all of that is. Bits of [`Meta::HEADER`] tell of the header's.
    #[inline(always)]
    #[must_use]
    pub const fn told(&self) -> u32 {
        // In the order in which it lies, and as it lies, so that it is one word to read.
        let large = match self.gso {
            Some(gso) => gso.ecn as u8,
            None => 2,
        };
        let transport = match self.checksum {
            Checksum::Partial { .. } => 1,
            Checksum::Unknown => 2,
            Checksum::Verified => 3,
        };
        u32::from_le_bytes([large, self.ingress.0, self.header as u8, transport])
    }

    /// Bits of [`Meta::told`] about the header's checksum.
    pub const HEADER: u32 = 0x00ff_0000;
}

/// What some frames ask of whoever sends them, found out of all of them together.
#[derive(Clone, Copy, Debug)]
pub struct Asks {
    /// Bits of [`Meta::told`] that all of them have.
    all: u32,
}

impl Asks {
    /// Of no frames.
    pub const NOTHING: Asks = Asks { all: u32::MAX };

    /// Of one more.
    #[inline(always)]
    pub fn note(&mut self, meta: &Meta) {
        self.all &= meta.told();
    }

    /// None is a super-frame or has a checksum that is to be finished.
    #[inline(always)]
    #[must_use]
    pub fn is_nothing(self) -> bool {
        const ORDINARY: u32 = 2;
        const NOT_PARTIAL: u32 = 2 << 24;
        // All of what was noted is wanted here, or it would be noted octet by octet.
        in_one(self.all) & (ORDINARY | NOT_PARTIAL) == ORDINARY | NOT_PARTIAL
    }
}
