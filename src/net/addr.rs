//! Network and link addresses in the fixed form the packet path compares and hashes.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Address family of a packet, tuple or route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Family {
    /// IPv4 (RFC 791).
    V4 = 4,
    /// IPv6 (RFC 8200).
    V6 = 6,
}

impl Family {
    /// Both families, in the order counters and labels use.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// Label used in metrics and listings.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        }
    }

    /// Index for per-family arrays.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Family::V4 => 0,
            Family::V6 => 1,
        }
    }
}

/// An IPv4 or IPv6 address as two words in host order; the family is known from where it stands.
///
/// An IPv4 address is held as `hi = 0, lo = the 32 bits`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Addr {
    /// Upper 64 bits of an IPv6 address; 0 for IPv4.
    pub hi: u64,
    /// Lower 64 bits of an IPv6 address, or the 32 bits of an IPv4 address.
    pub lo: u64,
}

impl Addr {
    /// The all-zero address of either family.
    pub const UNSPECIFIED: Addr = Addr { hi: 0, lo: 0 };

    /// From an IPv4 address in host order.
    #[inline]
    #[must_use]
    pub const fn v4(bits: u32) -> Self {
        Addr { hi: 0, lo: bits as u64 }
    }

    /// From the 16 octets of an IPv6 address.
    #[inline]
    #[must_use]
    pub const fn v6(octets: [u8; 16]) -> Self {
        let bits = u128::from_be_bytes(octets);
        Addr { hi: (bits >> 64) as u64, lo: bits as u64 }
    }

    /// The 32 bits of an IPv4 address.
    #[inline]
    #[must_use]
    pub const fn as_v4(self) -> u32 {
        self.lo as u32
    }

    /// The 16 octets of an IPv6 address.
    #[inline]
    #[must_use]
    pub const fn octets_v6(self) -> [u8; 16] {
        (((self.hi as u128) << 64) | self.lo as u128).to_be_bytes()
    }

    /// As the standard library's type, for printing and configuration.
    #[must_use]
    pub fn to_ip(self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(self.as_v4())),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(self.octets_v6())),
        }
    }

    /// Multicast: 224.0.0.0/4 (RFC 5771) or ff00::/8 (RFC 4291).
    #[must_use]
    pub const fn is_multicast(self, family: Family) -> bool {
        match family {
            Family::V4 => self.as_v4() >> 28 == 0xe,
            Family::V6 => self.hi >> 56 == 0xff,
        }
    }

    /// Loopback: 127.0.0.0/8 or ::1.
    #[must_use]
    pub const fn is_loopback(self, family: Family) -> bool {
        match family {
            Family::V4 => self.as_v4() >> 24 == 127,
            Family::V6 => self.hi == 0 && self.lo == 1,
        }
    }

    /// Link-local: 169.254.0.0/16 or fe80::/10.
    #[inline]
    #[must_use]
    pub const fn is_link_local(self, family: Family) -> bool {
        match family {
            Family::V4 => self.as_v4() >> 16 == 0xa9fe,
            Family::V6 => self.hi >> 54 == 0x3fa,
        }
    }

    /// All bits zero.
    #[must_use]
    pub const fn is_unspecified(self) -> bool {
        self.hi == 0 && self.lo == 0
    }
}

impl From<IpAddr> for Addr {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(a) => Addr::v4(a.into()),
            IpAddr::V6(a) => Addr::v6(a.octets()),
        }
    }
}

/// Family of a standard-library address.
impl From<IpAddr> for Family {
    fn from(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// A 48-bit Ethernet address (IEEE 802.3).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);

    /// Group bit set: multicast or broadcast.
    #[inline]
    #[must_use]
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The multicast address that carries `group` (RFC 1112 section 6.4, RFC 2464 section 7).
    #[must_use]
    pub const fn for_multicast(group: Addr, family: Family) -> MacAddr {
        match family {
            Family::V4 => {
                let b = group.as_v4().to_be_bytes();
                MacAddr([0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]])
            }
            Family::V6 => {
                let b = group.octets_v6();
                MacAddr([0x33, 0x33, b[12], b[13], b[14], b[15]])
            }
        }
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not an Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MacAddrError;

impl fmt::Display for MacAddrError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected six two-digit hexadecimal octets separated by ':'")
    }
}

impl std::error::Error for MacAddrError {}

impl std::str::FromStr for MacAddr {
    type Err = MacAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut octets = [0u8; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or(MacAddrError)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(MacAddrError);
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| MacAddrError)?;
        }
        if parts.next().is_some() { Err(MacAddrError) } else { Ok(MacAddr(octets)) }
    }
}
