//! From a frame to [`Parsed`]: the one pass over a packet's headers.

use super::ethernet::{self, Vlan, ethertype};
use super::{arp, gre, icmp, icmpv6, ipv4, ipv6, plain, sctp, tcp, udp};
use crate::net::{Addr, DropReason, Family, InvalidReason, L4, Summary, Track, Tuple, proto};

/// What stands behind the link header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
    /// ARP; only the link fields, `l3` and `end` of [`Parsed`] mean anything.
    Arp,
}

/// Whether transport checksums are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verify {
    /// Computed and compared.
    #[default]
    Check,
    /// Taken as right: the port verified it, it is still partial, or `nf_conntrack_checksum` is 0. The IPv4 header
    /// checksum is compared all the same.
    Trust,
}

/// A fragment of a larger datagram. An IPv6 atomic fragment (RFC 6946) is an ordinary packet and not one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Identification: 16 bits in IPv4, 32 in IPv6.
    pub id: u32,
    /// Where this piece stands in the datagram's fragmentable part, in octets.
    pub offset: u16,
    /// More pieces follow.
    pub more: bool,
    /// IPv6: offset of the fragment header from the frame's first octet; what stands between `l3` and it is the
    /// unfragmentable part. IPv4: `l3`.
    pub header: u16,
    /// Offset of the octet that names what follows the unfragmentable part; a whole IPv6 datagram has
    /// `next_header` there.
    pub next_header_at: u16,
    /// Protocol of the fragmentable part's first header (IPv6: as in the fragment header).
    pub next_header: u8,
    /// `false` for an IPv6 first fragment that does not hold the upper-layer header whole, which netfilter does not
    /// put together.
    pub whole_header: bool,
}

/// What later stages see of a frame; they re-check none of it. Offsets count from the frame's first octet (for
/// [`parse_ip`]: the datagram's) and lie within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Network protocol.
    pub kind: Kind,
    /// VLAN tags.
    pub vlan: Vlan,
    /// Offset of the network header.
    pub l3: u16,
    /// Offset of the transport header; of the fragment's data in a fragment.
    pub l4: u16,
    /// One past the IP datagram; never the frame's padding.
    pub end: u32,
    /// Offset of the transport payload; equals `end` if there is none. Behind a UDP header it may be more than the UDP
    /// length says.
    pub payload: u32,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class octet.
    pub tos: u8,
    /// May not be fragmented on the way: the DF flag in IPv4, always in IPv6.
    pub dont_fragment: bool,
    /// The destination link address is a group (multicast or broadcast).
    pub link_group: bool,
    /// Set for a piece of a larger datagram; then `summary.track` is `Invalid(Fragment)`.
    pub fragment: Option<Fragment>,
    /// For connection tracking.
    pub summary: Summary,
}

const _: () = assert!(std::mem::size_of::<Parsed>() <= 192, "Parsed stays within three cache lines");

impl Parsed {
    /// Of no frame: to be overwritten by [`parse_into`].
    pub const NOTHING: Parsed = Parsed {
        kind: Kind::Arp,
        vlan: Vlan { depth: 0, vids: [0; 2] },
        l3: 0,
        l4: 0,
        end: 0,
        payload: 0,
        ttl: 0,
        tos: 0,
        dont_fragment: false,
        link_group: false,
        fragment: None,
        summary: Summary {
            track: Track::Untracked,
            tuple: Tuple {
                src: Addr::UNSPECIFIED,
                dst: Addr::UNSPECIFIED,
                src_key: 0,
                dst_key: 0,
                proto: 0,
                family: Family::V4,
            },
            l4: L4::Other,
            defect: None,
        },
    };

    /// The IP datagram inside the frame it was parsed from; empty if `data` is another, shorter one.
    #[inline]
    #[must_use]
    pub fn datagram<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        data.get(usize::from(self.l3)..self.end as usize).unwrap_or_default()
    }

    /// The transport header and payload.
    #[inline]
    #[must_use]
    pub fn transport<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        data.get(usize::from(self.l4)..self.end as usize).unwrap_or_default()
    }

    /// The transport payload.
    #[inline]
    #[must_use]
    pub fn payload<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        data.get(self.payload as usize..self.end as usize).unwrap_or_default()
    }
}

/// What the network header says; offsets as in [`Parsed`].
pub(super) struct Ip {
    pub(super) src: Addr,
    pub(super) dst: Addr,
    pub(super) family: Family,
    pub(super) proto: u8,
    pub(super) l4: usize,
    pub(super) end: usize,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) dont_fragment: bool,
    pub(super) fragment: Option<Fragment>,
    /// Why no transport header can be found.
    pub(super) broken: Option<InvalidReason>,
}

impl Ip {
    /// Sum of the pseudo-header of `len` octets of transport.
    #[inline]
    pub(super) fn pseudo(&self, proto: u8, len: usize) -> u32 {
        super::checksum::pseudo(self.src, self.dst, proto, len as u32)
    }
}

/// What a transport parser found.
pub(super) struct Transport {
    pub(super) track: Track,
    pub(super) src_key: u16,
    pub(super) dst_key: u16,
    pub(super) l4: L4,
    pub(super) defect: Option<InvalidReason>,
    /// Octets in front of the payload.
    pub(super) header: usize,
}

impl Transport {
    /// No tuple. The header counts as everything.
    pub(super) const fn invalid(reason: InvalidReason, l4: L4) -> Self {
        Transport { track: Track::Invalid(reason), src_key: 0, dst_key: 0, l4, defect: None, header: usize::MAX }
    }

    /// A protocol whose first four octets are two ports; `Err` when they are not all there.
    #[inline]
    pub(super) fn with_ports(l4: &[u8], fields: L4) -> Result<Self, Self> {
        match l4.first_chunk::<4>() {
            Some(p) => Ok(Transport {
                track: Track::Tuple,
                src_key: u16::from_be_bytes([p[0], p[1]]),
                dst_key: u16::from_be_bytes([p[2], p[3]]),
                l4: fields,
                defect: None,
                header: usize::MAX,
            }),
            None => Err(Self::invalid(InvalidReason::Truncated, fields)),
        }
    }

    /// The same with a defect.
    #[inline]
    pub(super) fn defective(mut self, reason: InvalidReason) -> Self {
        self.defect = Some(reason);
        self
    }
}

/// Parses a frame from its Ethernet header.
///
/// # Errors
/// The reason for damage below the transport layer: `rx_truncated`, `bad_ethertype`, `vlan_unknown` (more than two
/// tags), `ipv4_header`, `ipv6_header`, `ipv6_ext_limit`, `ip_options`. Damage of the transport layer is in the summary.
#[inline]
pub fn parse(data: &[u8], verify: Verify) -> Result<Parsed, DropReason> {
    let mut parsed = Parsed::NOTHING;
    parse_into(&mut parsed, data, verify)?;
    Ok(parsed)
}

/// The same, written to where it is to stand. After an error `out` means nothing.
///
/// # Errors
/// As [`parse()`].
#[inline(always)]
pub fn parse_into(out: &mut Parsed, data: &[u8], verify: Verify) -> Result<(), DropReason> {
    if plain::read(out, data, verify) {
        return Ok(());
    }
    *out = parse_any(data, verify)?;
    Ok(())
}

/// Parses any frame, the plain ones too.
#[inline(never)]
pub(super) fn parse_any(data: &[u8], verify: Verify) -> Result<Parsed, DropReason> {
    let link = ethernet::read(data)?;
    let (kind, ip) = match link.ethertype {
        ethertype::IPV4 => (Kind::Ipv4, ipv4::read(data, link.l3)?),
        ethertype::IPV6 => (Kind::Ipv6, ipv6::read(data, link.l3)?),
        ethertype::ARP => return arp::locate(data, &link),
        _ => return Err(DropReason::BadEthertype),
    };
    Ok(finish(data, &link, kind, ip, verify))
}

/// Parses an IP datagram without a link header, as a reassembler has it. Octets behind the datagram are ignored.
///
/// # Errors
/// As [`parse`]; a version that is neither 4 nor 6 is `bad_ethertype`.
pub fn parse_ip(datagram: &[u8], verify: Verify) -> Result<Parsed, DropReason> {
    let link = ethernet::Header { l3: 0, ethertype: 0, vlan: Vlan::default(), group: false };
    let (kind, ip) = match datagram.first().ok_or(DropReason::RxTruncated)? >> 4 {
        4 => (Kind::Ipv4, ipv4::read(datagram, 0)?),
        6 => (Kind::Ipv6, ipv6::read(datagram, 0)?),
        _ => return Err(DropReason::BadEthertype),
    };
    Ok(finish(datagram, &link, kind, ip, verify))
}

#[inline]
pub(super) fn finish(data: &[u8], link: &ethernet::Header, kind: Kind, ip: Ip, verify: Verify) -> Parsed {
    let transport = if ip.fragment.is_some() {
        Transport { header: 0, ..Transport::invalid(InvalidReason::Fragment, L4::Other) }
    } else if let Some(reason) = ip.broken {
        Transport::invalid(reason, L4::Other)
    } else {
        transport(data.get(ip.l4..ip.end).unwrap_or_default(), &ip, verify)
    };
    Parsed {
        kind,
        vlan: link.vlan,
        l3: link.l3 as u16,
        l4: ip.l4 as u16,
        end: ip.end as u32,
        payload: ip.l4.saturating_add(transport.header).min(ip.end) as u32,
        ttl: ip.ttl,
        tos: ip.tos,
        dont_fragment: ip.dont_fragment,
        link_group: link.group,
        fragment: ip.fragment,
        summary: Summary {
            track: transport.track,
            tuple: Tuple {
                src: ip.src,
                dst: ip.dst,
                src_key: transport.src_key,
                dst_key: transport.dst_key,
                proto: ip.proto,
                family: ip.family,
            },
            l4: transport.l4,
            defect: transport.defect,
        },
    }
}

#[inline]
fn transport(l4: &[u8], ip: &Ip, verify: Verify) -> Transport {
    match (ip.proto, ip.family) {
        (proto::TCP, _) => tcp::read(l4, ip, verify),
        (proto::UDP, _) => udp::read(l4, ip, verify),
        (proto::ICMP, Family::V4) => icmp::read(l4, verify),
        (proto::ICMPV6, Family::V6) => icmpv6::read(l4, ip, verify),
        (proto::ICMP | proto::ICMPV6, _) => Transport::invalid(InvalidReason::IcmpType, L4::Other),
        (proto::SCTP, _) => sctp::read(l4, verify),
        (proto::UDPLITE, _) => udp::read_lite(l4, ip, verify),
        (proto::GRE, _) => gre::read(l4),
        _ => Transport { track: Track::Tuple, src_key: 0, dst_key: 0, l4: L4::Other, defect: None, header: 0 },
    }
}
