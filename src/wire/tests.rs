//! Properties of the parser, the rewriter and the builders, with etherparse as the independent reading of the same bytes.

mod build;
mod describe;
mod labels;
mod options;
mod oracle;
mod plain;
mod rewrite;
mod segment;

use super::{Parsed, Verify, parse};
use etherparse::{
    IpAuthHeader, IpDscp, IpFragOffset, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions,
    Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader, Ipv6RoutingExtensions, PacketBuilder, TcpHeader,
    TcpOptionElement, VlanId,
};
use proptest::prelude::*;

const MAC_A: [u8; 6] = [0x02, 0, 0, 0, 0, 0xaa];
const MAC_B: [u8; 6] = [0x02, 0, 0, 0, 0, 0xbb];

/// The transport part of a generated packet.
#[derive(Clone, Debug)]
enum Carried {
    Tcp { flags: u8, seq: u32, ack: u32, window: u16, options: Vec<TcpOptionElement> },
    Udp,
    Echo { reply: bool },
}

/// A well-formed packet, before it is bytes.
#[derive(Clone, Debug)]
struct Spec {
    vids: Vec<u16>,
    v6: bool,
    src: [u8; 16],
    dst: [u8; 16],
    ttl: u8,
    dscp: u8,
    dont_fragment: bool,
    options: Vec<[u8; 4]>,
    extensions: u8,
    keys: (u16, u16),
    carried: Carried,
    payload: Vec<u8>,
}

fn option() -> impl Strategy<Value = TcpOptionElement> {
    use TcpOptionElement as E;
    prop_oneof![
        Just(E::Noop),
        any::<u16>().prop_map(E::MaximumSegmentSize),
        any::<u8>().prop_map(E::WindowScale),
        Just(E::SelectiveAcknowledgementPermitted),
        any::<[u32; 4]>().prop_map(|[a, b, c, d]| E::SelectiveAcknowledgement((a, b), [Some((c, d)), None, None])),
        any::<(u32, u32)>().prop_map(|(a, b)| E::Timestamp(a, b)),
    ]
}

/// Options as a real stack orders them, or any that fit.
fn options() -> impl Strategy<Value = Vec<TcpOptionElement>> {
    use TcpOptionElement as E;
    prop_oneof![
        Just(vec![]),
        any::<(u32, u32)>().prop_map(|(a, b)| vec![E::Noop, E::Noop, E::Timestamp(a, b)]),
        prop::collection::vec(option(), 0..3),
    ]
}

fn carried() -> impl Strategy<Value = Carried> {
    prop_oneof![
        3 => (any::<u8>(), any::<u32>(), any::<u32>(), any::<u16>(), options())
            .prop_map(|(flags, seq, ack, window, options)| Carried::Tcp { flags, seq, ack, window, options }),
        1 => Just(Carried::Udp),
        1 => any::<bool>().prop_map(|reply| Carried::Echo { reply }),
    ]
}

fn spec() -> impl Strategy<Value = Spec> {
    let network = (
        prop::collection::vec(0u16..4096, 0..=2),
        any::<bool>(),
        any::<[u8; 16]>(),
        any::<[u8; 16]>(),
        any::<u8>(),
        0u8..64,
        any::<bool>(),
        prop::collection::vec(any::<[u8; 4]>(), 0..=10),
        any::<u8>(),
    );
    let transport = (any::<(u16, u16)>(), carried(), prop::collection::vec(any::<u8>(), 0..100));
    (network, transport).prop_map(
        |((vids, v6, src, dst, ttl, dscp, dont_fragment, options, extensions), (keys, carried, payload))| Spec {
            vids,
            v6,
            src,
            dst,
            ttl,
            dscp,
            dont_fragment,
            options,
            extensions,
            keys,
            carried,
            payload,
        },
    )
}

impl Spec {
    fn ip(&self) -> IpHeaders {
        if self.v6 {
            let raw = |octets: &[u8]| Ipv6RawExtHeader::new_raw(IpNumber::UDP, octets).unwrap();
            let has = |bit: u8| self.extensions >> bit & 1 == 1;
            let extensions = Ipv6Extensions {
                hop_by_hop_options: has(0).then(|| raw(&[1, 4, 0, 0, 0, 0])),
                destination_options: has(1).then(|| raw(&[1; 14])),
                routing: has(2).then(|| Ipv6RoutingExtensions {
                    routing: raw(&[0; 6]),
                    final_destination_options: has(3).then(|| raw(&[1, 4, 0, 0, 0, 0])),
                }),
                fragment: has(4)
                    .then(|| Ipv6FragmentHeader::new(IpNumber::UDP, IpFragOffset::ZERO, false, 0x1234_5678)),
                auth: has(5).then(|| IpAuthHeader::new(IpNumber::UDP, 1, 2, &[0; 12]).unwrap()),
            };
            let header = Ipv6Header {
                traffic_class: self.dscp << 2,
                hop_limit: self.ttl,
                source: self.src,
                destination: self.dst,
                ..Ipv6Header::default()
            };
            return IpHeaders::Ipv6(header, extensions);
        }
        let mut header = Ipv4Header {
            dscp: IpDscp::try_new(self.dscp).unwrap(),
            dont_fragment: self.dont_fragment,
            time_to_live: self.ttl,
            source: *self.src.first_chunk().unwrap(),
            destination: *self.dst.first_chunk().unwrap(),
            ..Ipv4Header::default()
        };
        header.options = self.options.as_flattened().try_into().unwrap();
        IpHeaders::Ipv4(header, Ipv4Extensions::default())
    }

    fn tcp(&self) -> Option<TcpHeader> {
        let Carried::Tcp { flags, seq, ack, window, options } = &self.carried else { return None };
        let mut header = TcpHeader::new(self.keys.0, self.keys.1, *seq, *window);
        header.acknowledgment_number = *ack;
        header.fin = flags & 1 != 0;
        header.syn = flags & 2 != 0;
        header.rst = flags & 4 != 0;
        header.psh = flags & 8 != 0;
        header.ack = flags & 16 != 0;
        header.urg = flags & 32 != 0;
        header.ece = flags & 64 != 0;
        header.cwr = flags & 128 != 0;
        // Too many options are left out, not cut.
        let _ = header.set_options(options);
        Some(header)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let link = PacketBuilder::ethernet2(MAC_A, MAC_B);
        let id = |n: u16| VlanId::try_new(n).unwrap();
        let ip = match *self.vids.as_slice() {
            [] => link.ip(self.ip()),
            [a] => link.single_vlan(id(a)).ip(self.ip()),
            [a, b, ..] => link.double_vlan(id(a), id(b)).ip(self.ip()),
        };
        let (a, b) = self.keys;
        let payload = &self.payload;
        match self.carried {
            Carried::Tcp { .. } => ip.tcp_header(self.tcp().unwrap()).write(&mut out, payload).unwrap(),
            Carried::Udp => ip.udp(a, b).write(&mut out, payload).unwrap(),
            Carried::Echo { reply } => {
                let step = match (self.v6, reply) {
                    (false, false) => return echo(ip.icmpv4_echo_request(a, b), payload),
                    (false, true) => return echo(ip.icmpv4_echo_reply(a, b), payload),
                    (true, false) => ip.icmpv6_echo_request(a, b),
                    (true, true) => ip.icmpv6_echo_reply(a, b),
                };
                step.write(&mut out, payload).unwrap();
            }
        }
        out
    }
}

fn echo(step: etherparse::PacketBuilderStep<etherparse::Icmpv4Header>, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    step.write(&mut out, payload).unwrap();
    out
}

/// A frame with one IPv4 or IPv6 header (by the addresses' text) and `l4` behind it as it is.
fn carrying(src: &str, dst: &str, proto: u8, l4: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let link = PacketBuilder::ethernet2(MAC_A, MAC_B);
    let ip = if src.contains(':') {
        let octets = |s: &str| s.parse::<std::net::Ipv6Addr>().unwrap().octets();
        link.ipv6(octets(src), octets(dst), 64)
    } else {
        let octets = |s: &str| s.parse::<std::net::Ipv4Addr>().unwrap().octets();
        link.ipv4(octets(src), octets(dst), 64)
    };
    // An experimental number first: etherparse refuses to write some of those we want to see.
    ip.write(&mut out, IpNumber(253), l4).unwrap();
    if src.contains(':') {
        out[20] = proto;
    } else {
        out[23] = proto;
        super::ipv4::seal(&mut out[14..34]);
    }
    out
}

fn v4(proto: u8, l4: &[u8]) -> Vec<u8> {
    carrying("10.0.0.1", "10.0.1.2", proto, l4)
}

fn v6(proto: u8, l4: &[u8]) -> Vec<u8> {
    carrying("2001:db8::1", "2001:db8:1::2", proto, l4)
}

/// `l4` with its checksum at `at` made right for what [`v4`] or [`v6`] puts in front.
fn sealed(six: bool, proto: u8, l4: &[u8], at: usize) -> Vec<u8> {
    let tuple = trusted(&if six { v6(proto, l4) } else { v4(proto, l4) }).summary.tuple;
    let pseudo = match proto {
        1 => 0,
        _ => super::checksum::pseudo(tuple.src, tuple.dst, proto, l4.len() as u32),
    };
    let mut l4 = l4.to_vec();
    l4[at..at + 2].fill(0);
    let value = !super::checksum::fold(pseudo + super::checksum::sum(&l4));
    l4[at..at + 2].copy_from_slice(&value.to_be_bytes());
    l4
}

fn checked(frame: &[u8]) -> Parsed {
    parse(frame, Verify::Check).unwrap()
}

fn trusted(frame: &[u8]) -> Parsed {
    parse(frame, Verify::Trust).unwrap()
}
