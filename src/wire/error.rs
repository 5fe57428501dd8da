//! ICMP and ICMPv6 errors about a packet (RFC 792, RFC 1812 section 4.3, RFC 4443 section 3).

use super::build::{self, HOPS, IpHeader, Link};
use super::ethernet::{self, ethertype};
use super::ipv6::{self, Stop};
use super::ipv6_options::check_at_end;
use super::parse::{Kind, Parsed, Verify, finish};
use super::{icmp, icmpv6, ipv4};
use crate::net::{Addr, Family, proto};

/// Largest ICMP datagram an error makes (RFC 1812 section 4.3.2.3).
const MAX_V4: usize = 576;

/// Largest ICMPv6 datagram an error makes: the minimum MTU (RFC 4443 section 2.4 (c)).
const MAX_V6: usize = 1280;

/// Precedence of the router's errors: internetwork control (RFC 1812 section 4.3.2.5).
const PRECEDENCE: u8 = 0xc0;

/// Why a destination cannot be reached, and the codes (ICMP; ICMPv6) that say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unreachable {
    /// No route: 0; 0.
    Net,
    /// The next hop does not answer: 1; 3 (address unreachable).
    Host,
    /// Nobody serves the protocol: 2; parameter problem code 1.
    Protocol,
    /// Nobody listens: 3; 4.
    Port,
    /// A filter forbids it: 13; 1.
    AdminProhibited,
}

/// An error to report, in terms that hold for both families.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IcmpError {
    /// Destination unreachable.
    Unreachable(Unreachable),
    /// Fragmentation needed and DF set (RFC 1191), or packet too big.
    TooBig {
        /// MTU of the egress, octets.
        mtu: u32,
    },
    /// TTL or hop limit ran out on the way.
    TimeExceeded,
    /// The fragments did not all arrive in time.
    ReassemblyTimeExceeded,
    /// A field of the header cannot be understood.
    ParameterProblem {
        /// Code: ICMP 0 (pointer) …; ICMPv6 0 header field, 1 next header, 2 option.
        code: u8,
        /// Offset of the field from the IP header, octets.
        pointer: u32,
    },
}

/// Type, code and the four octets behind the checksum.
fn message(error: IcmpError, data: &[u8], parsed: &Parsed, family: Family) -> (u8, u8, u32) {
    use Unreachable as U;
    match (family, error) {
        (Family::V4, IcmpError::Unreachable(why)) => {
            let code = match why {
                U::Net => 0,
                U::Host => 1,
                U::Protocol => 2,
                U::Port => 3,
                U::AdminProhibited => 13,
            };
            (icmp::UNREACHABLE, code, 0)
        }
        (Family::V4, IcmpError::TooBig { mtu }) => (icmp::UNREACHABLE, 4, mtu.min(0xffff)),
        (Family::V4, IcmpError::TimeExceeded) => (icmp::TIME_EXCEEDED, 0, 0),
        (Family::V4, IcmpError::ReassemblyTimeExceeded) => (icmp::TIME_EXCEEDED, 1, 0),
        (Family::V4, IcmpError::ParameterProblem { code, pointer }) => (icmp::PARAMETER_PROBLEM, code, pointer << 24),
        (Family::V6, IcmpError::Unreachable(why)) => match why {
            U::Net => (icmpv6::UNREACHABLE, 0, 0),
            U::AdminProhibited => (icmpv6::UNREACHABLE, 1, 0),
            U::Host => (icmpv6::UNREACHABLE, 3, 0),
            U::Port => (icmpv6::UNREACHABLE, 4, 0),
            U::Protocol => {
                let named_at = upper_v6(parsed.datagram(data)).map_or(6, |walk| walk.named_at);
                (icmpv6::PARAMETER_PROBLEM, 1, named_at as u32)
            }
        },
        (Family::V6, IcmpError::TooBig { mtu }) => (icmpv6::PACKET_TOO_BIG, 0, mtu),
        (Family::V6, IcmpError::TimeExceeded) => (icmpv6::TIME_EXCEEDED, 0, 0),
        (Family::V6, IcmpError::ReassemblyTimeExceeded) => (icmpv6::TIME_EXCEEDED, 1, 0),
        (Family::V6, IcmpError::ParameterProblem { code, pointer }) => (icmpv6::PARAMETER_PROBLEM, code, pointer),
    }
}

/// Where the upper-layer header of an IPv6 datagram, or of a first fragment, stands.
fn upper_v6(datagram: &[u8]) -> Option<ipv6::Walk> {
    let mut end = ipv6::walk(datagram, *datagram.get(6)?, ipv6::HEADER_LEN, 6);
    if let Stop::Fragment(_) = end.stop {
        end = ipv6::walk(datagram, end.proto, end.at, end.named_at);
    }
    matches!(end.stop, Stop::Upper).then_some(end)
}

/// Writes an ICMP or ICMPv6 error about `original`, which `parsed` describes, from `source` to the original's source, and
/// returns the frame's length. Quotes as much as fits in 576 octets (IPv4) or 1280 (IPv6). `None` if it does not fit
/// `out`, or the original is ARP. Asks nothing of [`may_answer_with_error`].
#[must_use]
pub fn icmp_error(
    out: &mut [u8],
    link: Link,
    source: Addr,
    error: IcmpError,
    original: &[u8],
    parsed: &Parsed,
) -> Option<usize> {
    let (family, proto, tos, room) = match parsed.kind {
        Kind::Ipv4 => (Family::V4, proto::ICMP, PRECEDENCE, MAX_V4 - ipv4::HEADER_LEN - icmp::HEADER_LEN),
        Kind::Ipv6 => (Family::V6, proto::ICMPV6, 0, MAX_V6 - ipv6::HEADER_LEN - icmp::HEADER_LEN),
        Kind::Arp => return None,
    };
    let datagram = parsed.datagram(original);
    let quote = datagram.get(..room).unwrap_or(datagram);
    let header = IpHeader { family, src: source, dst: parsed.summary.tuple.src, proto, hops: HOPS, tos };
    let (body, len) = build::ip(out, link, &header, icmp::HEADER_LEN + quote.len())?;
    let (kind, code, rest) = message(error, original, parsed, family);
    let (h, quoted) = body.split_first_chunk_mut::<{ icmp::HEADER_LEN }>()?;
    let [a, b, c, d] = rest.to_be_bytes();
    *h = [kind, code, 0, 0, a, b, c, d];
    quoted.copy_from_slice(quote);
    let pseudo = build::pseudo(&header, body.len());
    build::seal(body, 2, pseudo)?;
    Some(len)
}

/// What to send about a frame that [`parse()`](super::parse()) refuses for its hop-by-hop options, and what it is
/// otherwise. `None` if nothing is to be sent.
#[must_use]
pub fn hop_by_hop_error(data: &[u8]) -> Option<(Parsed, IcmpError)> {
    let link = ethernet::read(data).ok().filter(|link| link.ethertype == ethertype::IPV6)?;
    let (code, pointer) = ipv6::hop_by_hop_problem(data, link.l3)?;
    let ip = ipv6::read_and(data, link.l3, false).ok()?;
    Some((finish(data, &link, Kind::Ipv6, ip, Verify::Trust), IcmpError::ParameterProblem { code, pointer }))
}

/// What keeps a packet to the router from its upper layer: extension headers that only the end of the way reads.
///
/// # Errors
/// When they do, with what is to be sent about it, if anything.
pub fn at_end_error(data: &[u8], parsed: &Parsed) -> Result<(), Option<IcmpError>> {
    if parsed.kind != Kind::Ipv6 {
        return Ok(());
    }
    let told = |(code, pointer)| IcmpError::ParameterProblem { code, pointer };
    check_at_end(parsed.datagram(data)).map_err(|problem| problem.map(told))
}

/// Whether an error about this packet may be sent at all (RFC 1122 section 3.2.2, RFC 1812 section 4.3.2.7, RFC 4443
/// section 2.4 (e)): never about an error, a fragment but the first, a packet to a group or whose link destination was
/// one, or one whose source names no single host. Packet-too-big, and the parameter problem about an option, may answer
/// IPv6 multicast. A directed broadcast is known only to who has the routes.
#[must_use]
pub fn may_answer_with_error(data: &[u8], parsed: &Parsed, error: IcmpError) -> bool {
    let tuple = &parsed.summary.tuple;
    let family = tuple.family;
    if parsed.kind == Kind::Arp || parsed.fragment.is_some_and(|f| f.offset != 0) {
        return false;
    }
    let no_host = |addr: Addr| {
        addr.is_unspecified() || addr.is_multicast(family) || family == Family::V4 && addr.as_v4() >> 28 == 0xf
    };
    if no_host(tuple.src) || tuple.src.is_loopback(family) {
        return false;
    }
    let group_allowed =
        family == Family::V6 && matches!(error, IcmpError::TooBig { .. } | IcmpError::ParameterProblem { code: 2, .. });
    if !group_allowed && (parsed.link_group || no_host(tuple.dst)) {
        return false;
    }
    match family {
        // A first fragment has no transport fields in its summary, so the type is read from the bytes.
        Family::V4 if tuple.proto == proto::ICMP => {
            parsed.transport(data).first().is_some_and(|&kind| !icmp::is_error(kind) && kind <= 18)
        }
        Family::V4 => true,
        Family::V6 => {
            let datagram = parsed.datagram(data);
            match upper_v6(datagram) {
                Some(upper) if upper.proto == proto::ICMPV6 => {
                    datagram.get(upper.at).is_some_and(|&kind| !icmpv6::is_error(kind))
                }
                _ => true,
            }
        }
    }
}
