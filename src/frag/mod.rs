//! Fragments: held until their datagram is complete, so that it is judged once, as netfilter does; then the
//! fragments go out as they came, unmerged.
//!
//! Owns the frames it holds, the bounds in memory and time, and the buffer in which it puts a datagram together for
//! parsing. Holds always: a frame offered is held, given back, or shown to the caller's sink with the reason it
//! was dropped for; octets of a datagram come from one fragment each, because any overlap ends the datagram
//! (RFC 5722, RFC 8900 section 3.7); all slabs are reserved when it is made.
//! Must not know: connections, policy, routes, and the clock.
//!
//! One [`Reassembler`] per shard. All fragments between two addresses must meet in one shard, which
//! `steer::owner_of_addresses` names; the complete datagram may then go to another as a group, where
//! [`Reassembler::merge`] puts it together again for parsing.

mod hash;
mod merge;
mod queue;
mod reassembler;

pub use merge::Whole;
pub use reassembler::{Datagram, Offered, Reassembler, Sink};

use crate::net::{Addr, Family};
use crate::wire::Parsed;

/// Most fragments one datagram may have. Linux knows no such bound; this one admits 64 KiB in pieces of 256
/// octets and keeps the search for a fragment's place short. The datagram is discarded when it has more.
pub const MAX_FRAGMENTS: u16 = 256;

/// Furthest the IP header may stand from the start of a frame.
pub const MAX_LINK_HEADER: usize = 64;

/// What a fragment says of itself, read from its IP header (RFC 791) or fragment header (RFC 8200 section 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentInfo {
    /// Address family.
    pub family: Family,
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// IPv4: protocol. IPv6: Next Header of the fragment header.
    pub proto: u8,
    /// Identification; 16 bits for IPv4.
    pub id: u32,
    /// Zone id of the original direction: fragments of different zones never meet.
    pub zone: u16,
    /// Fragment offset in octets.
    pub offset: u16,
    /// More fragments follow.
    pub more: bool,
    /// ECN field: the low two bits of TOS or traffic class (RFC 3168 section 5).
    pub ecn: u8,
    /// Where the IP header stands in the frame.
    pub l3: u16,
    /// Octets from the IP header to the fragment's data: IHL times four, or all headers up to and including the
    /// fragment header.
    pub header_len: u16,
    /// IPv6: where, from the IP header, the Next Header octet stands that names the fragment header. Without
    /// meaning for IPv4.
    pub next_header: u16,
    /// Octets of data, by total length or payload length, not by the frame's length.
    pub len: u16,
}

impl FragmentInfo {
    /// From a parsed frame; `None` if it is no fragment. An atomic fragment (RFC 6946) is none.
    #[must_use]
    pub fn of(parsed: &Parsed) -> Option<FragmentInfo> {
        let fragment = parsed.fragment?;
        let tuple = &parsed.summary.tuple;
        Some(FragmentInfo {
            family: tuple.family,
            src: tuple.src,
            dst: tuple.dst,
            proto: fragment.next_header,
            id: fragment.id,
            zone: 0,
            offset: fragment.offset,
            more: fragment.more,
            ecn: parsed.tos & 0b11,
            l3: parsed.l3,
            header_len: parsed.l4.checked_sub(parsed.l3)?,
            next_header: fragment.next_header_at.checked_sub(parsed.l3)?,
            len: u16::try_from(parsed.end.checked_sub(u32::from(parsed.l4))?).ok()?,
        })
    }
}

/// Bounds of one shard's reassembly. The defaults are Linux's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of frame buffers held per family, IPv4 first (ipfrag_high_thresh, nf_conntrack_frag6_high_thresh).
    /// Buffers count with their whole size. Above it nothing more is held until some are gone.
    pub bytes: [usize; 2],
    /// Milliseconds from the first fragment until the datagram is given up, per family (ipfrag_time,
    /// nf_conntrack_frag6_timeout).
    pub timeout_ms: [u32; 2],
    /// An IPv4 datagram starts over when more than so many fragments came since its last one, that one included
    /// (ipfrag_max_dist); 0 means any number. Linux counts all fragments of the source; here only those to the same
    /// destination count, since the others may be another shard's and nothing may depend on the number of shards.
    pub max_distance: u32,
    /// Datagrams held, both families together.
    pub datagrams: usize,
    /// Fragments held, both families together.
    pub fragments: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { bytes: [4 << 20; 2], timeout_ms: [30_000, 60_000], max_distance: 64, datagrams: 2048, fragments: 4096 }
    }
}

#[cfg(test)]
mod tests;
