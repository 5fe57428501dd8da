//! The lines people read.

use super::*;
use crate::net::{Addr, MacAddr};
use crate::wire::arp::Arp;
use crate::wire::{IcmpError, Link, Unreachable, describe, icmp_error, nd};

fn line(frame: &[u8]) -> String {
    describe(frame).to_string()
}

fn tcp(flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut l4 = vec![0x10, 0x92, 0, 80, 0, 0, 0, 1, 0, 0, 0, 7, 0x50, flags, 0xfa, 0xf0, 0, 0, 0, 0];
    l4.extend(payload);
    l4
}

#[test]
fn tcp_lines() {
    assert_eq!(line(&v4(6, &tcp(0x02, &[]))), "IP 10.0.0.1.4242 > 10.0.1.2.80: Flags [S], seq 1, win 64240, length 0");
    assert_eq!(
        line(&v6(6, &tcp(0x18, b"hello"))),
        "IP6 2001:db8::1.4242 > 2001:db8:1::2.80: Flags [P.], seq 1:6, ack 7, win 64240, length 5"
    );
    assert_eq!(
        line(&v4(6, &tcp(0, &[]))),
        "IP 10.0.0.1.4242 > 10.0.1.2.80: Flags [none], seq 1, win 64240, length 0 [tcp_flags]"
    );
    assert_eq!(line(&v4(6, &tcp(2, &[])[..9])), "IP 10.0.0.1.4242 > 10.0.1.2.80: tcp [truncated], length 9");
    assert_eq!(line(&v4(6, &[1, 2])), "IP 10.0.0.1 > 10.0.1.2: tcp [no transport header], length 2");
}

#[test]
fn datagram_lines() {
    let udp = [0, 7, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];
    assert_eq!(line(&v4(17, &udp)), "IP 10.0.0.1.7 > 10.0.1.2.53: UDP, length 4");
    assert_eq!(line(&v4(17, &udp[..8])), "IP 10.0.0.1.7 > 10.0.1.2.53: UDP, length 0 [udp_length]");
    assert_eq!(line(&v4(47, &[0; 10])), "IP 10.0.0.1 > 10.0.1.2: GRE, length 10");
    assert_eq!(line(&v4(50, &[0; 10])), "IP 10.0.0.1 > 10.0.1.2: esp, length 10");
    assert_eq!(line(&v4(89, &[0; 10])), "IP 10.0.0.1 > 10.0.1.2: ip-proto-89, length 10");
    let sctp = [0, 7, 0, 9, 0, 0, 0, 5, 0, 0, 0, 0, 10, 0, 0, 4, 0, 0, 0, 4];
    assert_eq!(line(&v4(132, &sctp)), "IP 10.0.0.1.7 > 10.0.1.2.9: sctp (1) [COOKIE ECHO] (2) [DATA], tag 5");
}

#[test]
fn icmp_lines() {
    assert_eq!(
        line(&v4(1, &[8, 0, 0, 0, 0, 5, 0, 1, 0, 0])),
        "IP 10.0.0.1 > 10.0.1.2: ICMP echo request, id 5, seq 1, length 10"
    );
    assert_eq!(
        line(&v6(58, &[129, 0, 0, 0, 0, 5, 0, 1])),
        "IP6 2001:db8::1 > 2001:db8:1::2: ICMP6, echo reply, id 5, seq 1, length 8"
    );
    let udp = v4(17, &[0, 7, 0, 53, 0, 8, 0, 0]);
    let mut out = [0; 256];
    let mut about = |error: IcmpError, original: &[u8], source: &str| {
        let source = Addr::from(source.parse::<std::net::IpAddr>().unwrap());
        let len = icmp_error(&mut out, Link::default(), source, error, original, &trusted(original)).unwrap();
        line(&out[..len])
    };
    assert_eq!(
        about(IcmpError::Unreachable(Unreachable::Port), &udp, "10.0.1.2"),
        "IP 10.0.1.2 > 10.0.0.1: ICMP port unreachable (10.0.0.1.7 > 10.0.1.2.53 udp), length 36"
    );
    assert_eq!(
        about(IcmpError::TooBig { mtu: 1400 }, &udp, "10.0.1.2"),
        "IP 10.0.1.2 > 10.0.0.1: ICMP unreachable - need to frag (mtu 1400) (10.0.0.1.7 > 10.0.1.2.53 udp), length 36"
    );
    let udp = v6(17, &[0, 7, 0, 53, 0, 8, 0, 0]);
    assert_eq!(
        about(IcmpError::TooBig { mtu: 70000 }, &udp, "2001:db8::ff"),
        "IP6 2001:db8::ff > 2001:db8::1: ICMP6, packet too big, mtu 70000 \
         (2001:db8::1.7 > 2001:db8:1::2.53 udp), length 56"
    );
}

#[test]
fn neighbour_lines() {
    let mut out = [0; 86];
    let arp = Arp::request(MacAddr(MAC_A), Addr::v4(0x0a00_0001), Addr::v4(0x0a00_0002));
    let len = arp.write(&mut out, arp.link()).unwrap();
    assert_eq!(line(&out[..len]), "ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28");
    let reply = arp.answer(MacAddr(MAC_B));
    reply.write(&mut out, reply.link()).unwrap();
    assert_eq!(line(&out), "ARP, Reply 10.0.0.2 is-at 02:00:00:00:00:bb, length 28");
    let (me, you) = (Addr { hi: 0xfe80 << 48, lo: 1 }, Addr { hi: 0xfe80 << 48, lo: 2 });
    nd::solicitation(&mut out, MacAddr(MAC_A), me, you, None).unwrap();
    assert_eq!(line(&out), "IP6 fe80::1 > ff02::1:ff00:2: ICMP6, neighbor solicitation, who has fe80::2, length 32");
    nd::advertisement(&mut out, Link::default(), you, me).unwrap();
    assert_eq!(line(&out), "IP6 fe80::2 > fe80::1: ICMP6, neighbor advertisement, tgt is fe80::2, length 32");
}

#[test]
fn fragments_and_tags() {
    let mut frame = v4(17, &[0; 24]);
    frame[18..22].copy_from_slice(&[0, 77, 0x20, 3]);
    crate::wire::ipv4::seal(&mut frame[14..34]);
    assert_eq!(line(&frame), "IP 10.0.0.1 > 10.0.1.2: udp (frag 77:24@24+)");
    let mut tagged = frame[..12].to_vec();
    tagged.extend([0x88, 0xa8, 0, 10, 0x81, 0, 0, 20]);
    tagged.extend(&frame[12..]);
    assert_eq!(line(&tagged), "vlan 10, vlan 20, IP 10.0.0.1 > 10.0.1.2: udp (frag 77:24@24+)");
}

#[test]
fn garbage_says_why() {
    assert_eq!(line(&[1, 2, 3]), "rx_truncated, length 3");
    let mut frame = v4(17, &[0; 8]);
    frame[24] ^= 1;
    assert_eq!(line(&frame), "ethertype 0x0800, ipv4_header, length 42");
    frame[12..14].copy_from_slice(&[0x88, 0xcc]);
    assert_eq!(line(&frame), "ethertype 0x88cc, bad_ethertype, length 42");
}
