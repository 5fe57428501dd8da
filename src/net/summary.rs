//! What connection tracking needs to know of a packet, declared here so that it never sees bytes.

use super::{InvalidReason, Tuple};

/// How a packet enters connection tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// By its tuple.
    Tuple,
    /// By its tuple, which lacks its source key: enhanced GRE (RFC 2637 section 4.1) carries only the receiver's call id.
    Call,
    /// An ICMP or ICMPv6 error: state comes from the packet it quotes.
    Error,
    /// Never tracked (neighbour discovery, MLD).
    Untracked,
    /// No tuple can be formed.
    Invalid(InvalidReason),
}

/// The TCP flag octet (RFC 9293 section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No more data from sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push function.
    pub const PSH: u8 = 0x08;
    /// Acknowledgment field is significant.
    pub const ACK: u8 = 0x10;
    /// Urgent pointer is significant.
    pub const URG: u8 = 0x20;
    /// ECN echo.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;

    /// Whether any of `mask` is set.
    #[inline]
    #[must_use]
    pub const fn has(self, mask: u8) -> bool {
        self.0 & mask != 0
    }
}

/// One TCP segment as the tracker sees it. Sequence numbers are as on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number (meaningless without ACK).
    pub ack: u32,
    /// Furthest right edge among the SACK blocks and `ack`, by serial order; `ack` without a SACK option.
    pub sack: u32,
    /// Octets of payload.
    pub payload: u32,
    /// Window field, unscaled.
    pub window: u16,
    /// Flags.
    pub flags: TcpFlags,
    /// Window scale option's shift, at most 14 (RFC 7323); `None` if absent.
    pub wscale: Option<u8>,
    /// SACK-permitted option present (RFC 2018).
    pub sack_permitted: bool,
    /// The header has an option area, whatever it holds.
    pub has_options: bool,
}

impl Segment {
    /// Sequence number after this segment: payload, SYN and FIN counted.
    #[inline]
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.seq
            .wrapping_add(self.payload)
            .wrapping_add(self.flags.has(TcpFlags::SYN) as u32)
            .wrapping_add(self.flags.has(TcpFlags::FIN) as u32)
    }
}

/// Type and code of an ICMP or ICMPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp {
    /// Type field.
    pub kind: u8,
    /// Code field.
    pub code: u8,
}

/// An SCTP packet's chunks (RFC 9260 section 3.2) in order, four bits each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sctp {
    /// Verification tag of the common header.
    pub vtag: u32,
    /// Initiate tag of an INIT or INIT ACK chunk, 0 if there is none.
    pub init_tag: u32,
    /// Chunk kinds, first in the low nibble: the type if it is 0 ..= 14, else 15. At most 16 are listed.
    pub kinds: u64,
    /// Chunks listed.
    pub count: u8,
    /// T flags of ABORT and SHUTDOWN COMPLETE chunks: bit `i` for the `i`-th chunk listed.
    pub t_flags: u16,
}

impl Sctp {
    /// The kinds in order.
    pub fn chunks(&self) -> impl Iterator<Item = u8> + use<> {
        let kinds = self.kinds;
        (0..self.count).map(move |i| ((kinds >> (4 * u32::from(i))) & 0xf) as u8)
    }
}

/// The transport part of a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4 {
    /// TCP.
    Tcp(Segment),
    /// UDP.
    Udp,
    /// UDP-Lite.
    UdpLite,
    /// ICMP or ICMPv6.
    Icmp(Icmp),
    /// SCTP.
    Sctp(Sctp),
    /// GRE.
    Gre,
    /// Any other protocol, or no transport header at all.
    Other,
}

/// One packet for the tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// How it is tracked.
    pub track: Track,
    /// Its tuple; addresses, protocol and family always hold, the keys are 0 unless `track` is `Tuple`
    /// or the ports could be read.
    pub tuple: Tuple,
    /// Transport fields.
    pub l4: L4,
    /// Why the transport header fails its protocol's sanity checks. Looked at only after the table and the
    /// expectations were, as netfilter does, so an invalid first packet still spends its expectation.
    pub defect: Option<InvalidReason>,
}
