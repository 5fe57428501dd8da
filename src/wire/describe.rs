//! One line about a frame, in tcpdump's manner; for people only.

use super::arp::{self, ArpOp};
use super::ethernet;
use super::icmpv6::{NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION};
use super::nd::{self, Neighbour};
use super::parse::{Kind, Parsed, Verify, parse};
use super::quoted::quoted;
use crate::net::{Family, Icmp, InvalidReason, L4, Sctp, Segment, TcpFlags, Track, Tuple, proto};
use std::fmt::{self, Display, Formatter};

/// A frame that prints as one line.
#[derive(Clone, Copy, Debug)]
pub struct Describe<'a>(&'a [u8]);

/// What `data`, a frame from its Ethernet header, is, in one tcpdump-like line. Never fails: of garbage it says why it is
/// garbage. Transport checksums are not looked at.
#[must_use]
pub fn describe(data: &[u8]) -> Describe<'_> {
    Describe(data)
}

impl Display for Describe<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let data = self.0;
        let parsed = match parse(data, Verify::Trust) {
            Ok(parsed) => parsed,
            Err(reason) => {
                return match ethernet::read(data) {
                    Ok(link) => write!(f, "ethertype 0x{:04x}, {reason}, length {}", link.ethertype, data.len()),
                    Err(_) => write!(f, "{reason}, length {}", data.len()),
                };
            }
        };
        for vid in parsed.vlan.as_slice() {
            write!(f, "vlan {vid}, ")?;
        }
        match parsed.kind {
            Kind::Arp => arp_line(f, data, &parsed),
            Kind::Ipv4 | Kind::Ipv6 => ip_line(f, data, &parsed),
        }
    }
}

fn arp_line(f: &mut Formatter<'_>, data: &[u8], parsed: &Parsed) -> fmt::Result {
    let length = parsed.end - u32::from(parsed.l3);
    let Some(arp) = arp::parse(data, parsed) else { return write!(f, "ARP, unknown, length {length}") };
    let (sender, target) = (arp.sender.to_ip(Family::V4), arp.target.to_ip(Family::V4));
    match arp.op {
        ArpOp::Request => write!(f, "ARP, Request who-has {target} tell {sender}, length {length}"),
        ArpOp::Reply => write!(f, "ARP, Reply {sender} is-at {}, length {length}", arp.sender_mac),
    }
}

/// The two ends; ports only where the packet has them.
fn ends(f: &mut Formatter<'_>, tuple: &Tuple, ports: bool) -> fmt::Result {
    let (src, dst) = (tuple.src.to_ip(tuple.family), tuple.dst.to_ip(tuple.family));
    if ports { write!(f, "{src}.{} > {dst}.{}", tuple.src_key, tuple.dst_key) } else { write!(f, "{src} > {dst}") }
}

fn ip_line(f: &mut Formatter<'_>, data: &[u8], parsed: &Parsed) -> fmt::Result {
    let Parsed { summary, .. } = parsed;
    let tuple = &summary.tuple;
    f.write_str(match tuple.family {
        Family::V4 => "IP ",
        Family::V6 => "IP6 ",
    })?;
    ends(f, tuple, tuple.has_ports() && summary.track == Track::Tuple)?;
    f.write_str(": ")?;
    let length = parsed.end - u32::from(parsed.l4);
    if let Some(fragment) = parsed.fragment {
        let more = if fragment.more { "+" } else { "" };
        return write!(f, "{} (frag {}:{length}@{}{more})", protocol(tuple.proto), fragment.id, fragment.offset);
    }
    if let Track::Invalid(InvalidReason::Truncated | InvalidReason::Unknown) = summary.track {
        return write!(f, "{} [no transport header], length {length}", protocol(tuple.proto));
    }
    if summary.defect == Some(InvalidReason::Truncated) {
        return write!(f, "{} [truncated], length {length}", protocol(tuple.proto));
    }
    match summary.l4 {
        L4::Tcp(segment) => tcp_line(f, &segment),
        L4::Udp => write!(f, "UDP, length {}", parsed.end - parsed.payload),
        L4::UdpLite => write!(f, "UDP-Lite, length {}", parsed.end - parsed.payload),
        L4::Icmp(icmp) if tuple.family == Family::V4 => icmp_line(f, data, parsed, icmp),
        L4::Icmp(icmp) => icmpv6_line(f, data, parsed, icmp),
        L4::Sctp(sctp) => sctp_line(f, &sctp),
        L4::Gre => write!(f, "GRE, length {length}"),
        L4::Other => write!(f, "{}, length {length}", protocol(tuple.proto)),
    }?;
    match summary.defect {
        Some(defect) => write!(f, " [{defect}]"),
        None => Ok(()),
    }
}

/// A protocol's name, or its number.
struct Protocol(u8);

const fn protocol(number: u8) -> Protocol {
    Protocol(number)
}

impl Display for Protocol {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            proto::ICMP => "icmp",
            proto::TCP => "tcp",
            proto::UDP => "udp",
            proto::GRE => "gre",
            proto::ICMPV6 => "icmp6",
            proto::SCTP => "sctp",
            proto::UDPLITE => "udplite",
            50 => "esp",
            51 => "ah",
            other => return write!(f, "ip-proto-{other}"),
        })
    }
}

/// The flags as tcpdump writes them, `none` for no flag at all.
struct Flags(TcpFlags);

impl Display for Flags {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const LETTERS: [(u8, &str); 8] = [
            (TcpFlags::FIN, "F"),
            (TcpFlags::SYN, "S"),
            (TcpFlags::RST, "R"),
            (TcpFlags::PSH, "P"),
            (TcpFlags::ACK, "."),
            (TcpFlags::URG, "U"),
            (TcpFlags::ECE, "E"),
            (TcpFlags::CWR, "W"),
        ];
        if self.0.0 == 0 {
            return f.write_str("none");
        }
        LETTERS.iter().filter(|(bit, _)| self.0.has(*bit)).try_for_each(|(_, letter)| f.write_str(letter))
    }
}

fn tcp_line(f: &mut Formatter<'_>, segment: &Segment) -> fmt::Result {
    write!(f, "Flags [{}], seq {}", Flags(segment.flags), segment.seq)?;
    if segment.payload != 0 {
        write!(f, ":{}", segment.seq.wrapping_add(segment.payload))?;
    }
    if segment.flags.has(TcpFlags::ACK) {
        write!(f, ", ack {}", segment.ack)?;
    }
    write!(f, ", win {}, length {}", segment.window, segment.payload)
}

fn sctp_line(f: &mut Formatter<'_>, sctp: &Sctp) -> fmt::Result {
    const NAMES: [&str; 15] = [
        "DATA",
        "INIT",
        "INIT ACK",
        "SACK",
        "HB REQ",
        "HB ACK",
        "ABORT",
        "SHUTDOWN",
        "SHUTDOWN ACK",
        "OP ERR",
        "COOKIE ECHO",
        "COOKIE ACK",
        "ECNE",
        "CWR",
        "SHUTDOWN COMPLETE",
    ];
    f.write_str("sctp")?;
    for (i, kind) in sctp.chunks().enumerate() {
        write!(f, " ({}) [{}]", i + 1, NAMES.get(usize::from(kind)).unwrap_or(&"other"))?;
    }
    write!(f, ", tag {}", sctp.vtag)
}

/// Identifier and sequence number of a query.
fn query(parsed: &Parsed, data: &[u8]) -> Option<(u16, u16)> {
    let h = parsed.transport(data).first_chunk::<8>()?;
    Some((u16::from_be_bytes([h[4], h[5]]), u16::from_be_bytes([h[6], h[7]])))
}

/// The packet an error quotes, in parentheses.
fn about(f: &mut Formatter<'_>, data: &[u8], parsed: &Parsed) -> fmt::Result {
    let Ok(inner) = quoted(data, parsed) else { return Ok(()) };
    write!(f, " (")?;
    ends(f, &inner.tuple, inner.tuple.has_ports())?;
    write!(f, " {})", protocol(inner.tuple.proto))
}

fn icmp_line(f: &mut Formatter<'_>, data: &[u8], parsed: &Parsed, icmp: Icmp) -> fmt::Result {
    let length = parsed.end - u32::from(parsed.l4);
    let (id, seq) = query(parsed, data).unwrap_or_default();
    match (icmp.kind, icmp.code) {
        (0, _) => write!(f, "ICMP echo reply, id {id}, seq {seq}"),
        (8, _) => write!(f, "ICMP echo request, id {id}, seq {seq}"),
        (3, 0) => f.write_str("ICMP net unreachable"),
        (3, 1) => f.write_str("ICMP host unreachable"),
        (3, 2) => f.write_str("ICMP protocol unreachable"),
        (3, 3) => f.write_str("ICMP port unreachable"),
        (3, 4) => write!(f, "ICMP unreachable - need to frag (mtu {seq})"),
        (3, 9 | 10 | 13) => f.write_str("ICMP unreachable - admin prohibited"),
        (3, code) => write!(f, "ICMP unreachable - #{code}"),
        (4, _) => f.write_str("ICMP source quench"),
        (5, _) => f.write_str("ICMP redirect"),
        (11, 0) => f.write_str("ICMP time exceeded in-transit"),
        (11, _) => f.write_str("ICMP ip reassembly time exceeded"),
        (12, _) => f.write_str("ICMP parameter problem"),
        (13, _) => write!(f, "ICMP time stamp query id {id} seq {seq}"),
        (14, _) => write!(f, "ICMP time stamp reply id {id} seq {seq}"),
        (17, _) => f.write_str("ICMP address mask request"),
        (18, _) => f.write_str("ICMP address mask reply"),
        (kind, code) => write!(f, "ICMP type-#{kind} code {code}"),
    }?;
    about(f, data, parsed)?;
    write!(f, ", length {length}")
}

fn icmpv6_line(f: &mut Formatter<'_>, data: &[u8], parsed: &Parsed, icmp: Icmp) -> fmt::Result {
    let length = parsed.end - u32::from(parsed.l4);
    let (id, seq) = query(parsed, data).unwrap_or_default();
    f.write_str("ICMP6, ")?;
    match (icmp.kind, icmp.code) {
        (1, 0) => f.write_str("destination unreachable, no route"),
        (1, 1) => f.write_str("destination unreachable, admin prohibited"),
        (1, 3) => f.write_str("destination unreachable, address"),
        (1, 4) => f.write_str("destination unreachable, port"),
        (1, code) => write!(f, "destination unreachable, code {code}"),
        (2, _) => write!(f, "packet too big, mtu {}", u32::from(id) << 16 | u32::from(seq)),
        (3, 0) => f.write_str("time exceeded in-transit"),
        (3, _) => f.write_str("time exceeded (reassembly)"),
        (4, code) => write!(f, "parameter problem, code {code}"),
        (128, _) => write!(f, "echo request, id {id}, seq {seq}"),
        (129, _) => write!(f, "echo reply, id {id}, seq {seq}"),
        (130, _) => f.write_str("multicast listener query"),
        (131, _) => f.write_str("multicast listener report"),
        (132, _) => f.write_str("multicast listener done"),
        (133, _) => f.write_str("router solicitation"),
        (134, _) => f.write_str("router advertisement"),
        (NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT, _) => neighbour(f, data, parsed, icmp.kind),
        (137, _) => f.write_str("redirect"),
        (143, _) => f.write_str("multicast listener report v2"),
        (kind, code) => write!(f, "type-#{kind} code {code}"),
    }?;
    about(f, data, parsed)?;
    write!(f, ", length {length}")
}

fn neighbour(f: &mut Formatter<'_>, data: &[u8], parsed: &Parsed, kind: u8) -> fmt::Result {
    match nd::parse(data, parsed) {
        Some(Neighbour::Solicitation { target, .. }) => {
            write!(f, "neighbor solicitation, who has {}", target.to_ip(Family::V6))
        }
        Some(Neighbour::Advertisement { target, .. }) => {
            write!(f, "neighbor advertisement, tgt is {}", target.to_ip(Family::V6))
        }
        None if kind == NEIGHBOUR_SOLICITATION => f.write_str("neighbor solicitation, malformed"),
        None => f.write_str("neighbor advertisement, malformed"),
    }
}
