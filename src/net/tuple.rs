//! The key of a connection in one direction, and its inversion.

use super::{Addr, Family};
use std::fmt;

/// IP protocol numbers (IANA) the program names.
pub mod proto {
    /// Internet Control Message Protocol.
    pub const ICMP: u8 = 1;
    /// Transmission Control Protocol.
    pub const TCP: u8 = 6;
    /// User Datagram Protocol.
    pub const UDP: u8 = 17;
    /// Generic Routing Encapsulation.
    pub const GRE: u8 = 47;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// Stream Control Transmission Protocol.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDPLITE: u8 = 136;
}

/// A connection's key as one packet carries it: addresses, protocol and the protocol's two 16-bit keys.
///
/// Ports for TCP, UDP, UDP-Lite and SCTP; for ICMP and ICMPv6 queries the source key is the identifier and
/// the destination key is `type << 8 | code`; 0 for protocols without keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port or ICMP identifier.
    pub src_key: u16,
    /// Destination port, or ICMP `type << 8 | code`.
    pub dst_key: u16,
    /// IP protocol number.
    pub proto: u8,
    /// Address family.
    pub family: Family,
}

/// The ICMP query types that answer one another (RFC 792, RFC 950).
const fn invert_icmp(kind: u8) -> Option<u8> {
    match kind {
        8 => Some(0),
        0 => Some(8),
        13 => Some(14),
        14 => Some(13),
        15 => Some(16),
        16 => Some(15),
        17 => Some(18),
        18 => Some(17),
        _ => None,
    }
}

/// The ICMPv6 query types that answer one another (RFC 4443, RFC 4620).
const fn invert_icmpv6(kind: u8) -> Option<u8> {
    match kind {
        128 => Some(129),
        129 => Some(128),
        139 => Some(140),
        140 => Some(139),
        _ => None,
    }
}

impl Tuple {
    /// The tuple a reply to this packet carries, or `None` for an ICMP type that has no counterpart.
    #[inline]
    #[must_use]
    pub const fn inverse(&self) -> Option<Tuple> {
        let (src_key, dst_key) = match self.proto {
            proto::ICMP | proto::ICMPV6 => {
                let kind = (self.dst_key >> 8) as u8;
                let inverted = if self.proto == proto::ICMP { invert_icmp(kind) } else { invert_icmpv6(kind) };
                match inverted {
                    Some(k) => (self.src_key, (k as u16) << 8 | (self.dst_key & 0xff)),
                    None => return None,
                }
            }
            _ => (self.dst_key, self.src_key),
        };
        Some(Tuple { src: self.dst, dst: self.src, src_key, dst_key, proto: self.proto, family: self.family })
    }

    /// Whether the protocol's keys are ports.
    #[inline]
    #[must_use]
    pub const fn has_ports(&self) -> bool {
        matches!(self.proto, proto::TCP | proto::UDP | proto::UDPLITE | proto::SCTP)
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src, dst) = (self.src.to_ip(self.family), self.dst.to_ip(self.family));
        match self.proto {
            proto::ICMP | proto::ICMPV6 => write!(
                f,
                "src={src} dst={dst} type={} code={} id={}",
                self.dst_key >> 8,
                self.dst_key & 0xff,
                self.src_key
            ),
            _ if self.has_ports() => {
                write!(f, "src={src} dst={dst} sport={} dport={}", self.src_key, self.dst_key)
            }
            _ => write!(f, "src={src} dst={dst}"),
        }
    }
}
