//! What travels with a frame beside its bytes.

use crate::net::{Family, PortId};

/// What is known of the transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing: whoever cares verifies it.
    #[default]
    Unknown,
    /// The port verified it, or the sender is on this machine and never put the frame on a wire.
    Verified,
    /// The field holds only the pseudo-header's sum; the rest is still to be added, from `start` to the
    /// end of the frame, and stored at `start + offset` (virtio 1.2 section 5.1.6.2, NEEDS_CSUM).
    /// Counts as verified.
    Partial {
        /// Offset of the first summed octet from the start of the frame.
        start: u16,
        /// Offset of the checksum field from `start`.
        offset: u16,
    },
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
pub struct Gso {
    /// Transport.
    pub kind: GsoKind,
    /// ECN bit semantics requested by the sender (virtio GSO_ECN).
    pub ecn: bool,
    /// Payload octets of each segment.
    pub size: u16,
    /// Octets of all headers.
    pub header_len: u16,
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
pub struct Meta {
    /// Transport checksum.
    pub checksum: Checksum,
    /// Set for a super-frame.
    pub gso: Option<Gso>,
    /// Port it was received on.
    pub ingress: PortId,
    /// Received or made here.
    pub origin: Origin,
    /// Address family, once it is known; what is sent is counted by it.
    pub family: Option<Family>,
    /// Number given by the driver of a replay; 0 elsewhere.
    pub seq: u32,
}
