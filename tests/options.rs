//! Options of IPv4 and IPv6 on the way through the router and to it. What is expected is what Linux 6.18 does with these
//! packets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is test code")]

mod common;

use common::*;
use flowgate::net::DropReason;

/// The octets that a line of hexadecimal digits says.
fn hex(line: &str) -> Vec<u8> {
    let digits: Vec<u8> = line.bytes().filter(|c| *c != b' ').collect();
    let text = |pair: &[u8]| std::str::from_utf8(pair).unwrap().to_owned();
    digits.chunks(2).map(|pair| u8::from_str_radix(&text(pair), 16).unwrap()).collect()
}

/// The same filled up to a multiple of four.
fn octets(line: &str) -> Vec<u8> {
    let mut octets = hex(line);
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

/// Puts options into a packet that has none.
fn with_options(mut frame: Vec<u8>, options: &str) -> Vec<u8> {
    let options = octets(options);
    let total = u16::from_be_bytes([frame[LINK + 2], frame[LINK + 3]]) + options.len() as u16;
    frame[LINK] += (options.len() / 4) as u8;
    frame[LINK + 2..LINK + 4].copy_from_slice(&total.to_be_bytes());
    frame.splice(LINK + 20..LINK + 20, options);
    seal(&mut frame);
    frame
}

fn options_of(frame: &[u8]) -> &[u8] {
    &frame[LINK + 20..LINK + usize::from(frame[LINK] & 15) * 4]
}

fn question(to: &str) -> Vec<u8> {
    udp(V4.client, to, (1, 2), b"x")
}

/// Time of the first packet: 22:13:20.001 UT.
const FIRST: &str = "04c4b401";

#[test]
fn options_are_forwarded_with_the_routers_entry() {
    for (came, left) in [
        ("01010101", "01010101"),
        // Behind the end nothing is said.
        ("00112233", "00000000"),
        ("1e02", "1e02"),
        ("94040000", "94040000"),
        ("94040001", "94040001"),
        ("820b0000000000000000 00", "820b0000000000000000 00"),
        // A record of the route: the address towards the next hop, if there is room.
        ("070704 00000000", "070708 0a000201"),
        ("070b08 01010101 00000000", "070b0c 01010101 0a000201"),
        ("070805 0000000000", "070809 000a000201"),
        ("070708 01020304", "070708 01020304"),
        ("070304", "070304"),
        ("0707ff 00000000", "0707ff 00000000"),
        // Times: alone, with the address towards the sender, or for addresses that ask for one.
        ("44080500 00000000", "44080900 T"),
        ("440c0501 00000000 00000000", "440c0d01 0a000101 T"),
        ("440c0503 0a000101 00000000", "440c0d03 0a000101 T"),
        ("440c0503 0a000201 00000000", "440c0d03 0a000201 T"),
        ("440c0503 0a0001ff 00000000", "440c0d03 0a0001ff T"),
        ("440c0503 e0000005 00000000", "440c0d03 e0000005 T"),
        ("440c0503 0a000202 00000000", "440c0503 0a000202 00000000"),
        ("44080502 00000000", "44080502 00000000"),
        // Without room the routers are counted.
        ("44080900 00000000", "44080910 00000000"),
        ("44080901 00000000", "44080911 00000000"),
        ("44080912 00000000", "44080922 00000000"),
        ("440c0df3 0a000101 00000000", "440c0df3 0a000101 00000000"),
        ("44040500", "44040510"),
        ("01 070704 00000000 44080500 00000000", "01 070708 0a000201 44080900 T"),
    ] {
        let mut router = Router::new(OPEN);
        let seen = router.send("lan", &with_options(question(V4.server), came));
        assert_eq!(seen.short(), "NEW > accept", "{came}");
        let out = seen.one("wan");
        assert_eq!(options_of(out), octets(&left.replace('T', FIRST)), "{came}");
        assert_eq!((verified(out).0, ttl(out)), (17, 63));
    }
}

#[test]
fn malformed_options_are_a_parameter_problem() {
    let mut router = Router::new("icmp: { msgs_per_sec: 10000, msgs_burst: 10000 }\n");
    for (options, pointer) in [
        ("01010107", 23),
        ("0700", 20),
        ("0701", 20),
        ("0730", 20),
        ("1e01", 20),
        ("1e05", 20),
        ("0702", 21),
        ("070303", 22),
        ("070703 00000000", 22),
        ("070705 00000000", 22),
        ("070704 00000000 070704 00000000", 27),
        ("44020000", 21),
        ("44030500", 21),
        ("44080400 00000000", 22),
        ("44080600 00000000", 22),
        ("44080501 00000000", 22),
        ("44080503 00000000", 22),
        ("440809f0 00000000", 23),
        ("44080500 00000000 44080500 00000000", 28),
        ("83020000", 21),
        ("830703 00000000", 22),
        ("830704 00000000 890704 00000000", 27),
        ("830704 00000000 0700", 27),
        ("070704 00000000 1e00", 27),
        ("94020000", 21),
        ("94030000", 21),
    ] {
        for to in [V4.server, V4.lan, V4.nowhere, "10.9.0.1", "10.9.1.1", "10.9.2.1"] {
            let bad = with_options(question(to), options);
            for packet in [bad.clone(), with_ttl(bad, 1)] {
                let seen = router.send("lan", &packet);
                assert_eq!(seen.short(), "NEW > ip_options", "{options} to {to}");
                let out = seen.one("lan");
                assert_eq!(addresses(out), (ip(V4.lan), ip(V4.client)));
                let (_, error) = verified(out);
                assert_eq!((&error[..2], error[4]), (&[12, 0][..], pointer), "{options}");
                assert_eq!(&error[8..], &packet[LINK..], "the packet as it came");
            }
        }
        assert_eq!(router.send("lan", &with_options(question("10.0.1.255"), options)).sent, []);
    }
}

#[test]
fn labels_are_passed() {
    for cipso in ["8606 00000001", "860a 00000000 01040000", "860a 00000001 01040000"] {
        let seen = Router::new(OPEN).send("lan", &with_options(question(V4.server), cipso));
        assert_eq!(options_of(seen.one("wan")), octets(cipso));
    }
}

#[test]
fn errors_carry_no_options() {
    for (packet, error) in [(with_ttl(question(V4.server), 1), [11, 0]), (question(V4.lan), [3, 3])] {
        let packet = with_options(packet, "070b04 00000000 00000000");
        let seen = Router::new(OPEN).send("lan", &packet);
        let out = seen.one("lan");
        assert!(options_of(out).is_empty());
        let (_, message) = verified(out);
        assert_eq!((&message[..2], &message[8..]), (&error[..], &packet[LINK..]));
    }
}

#[test]
fn source_routes_go_nowhere() {
    let on = "0a000209";
    for to in [V4.server, V4.lan, V4.nowhere] {
        for kind in ["83", "89"] {
            // To be followed, and followed to its end.
            for rest in [format!("0704{on}"), format!("0708{on}"), "0304".to_owned()] {
                let seen = Router::new(OPEN).send("lan", &with_options(question(to), &format!("{kind}{rest}")));
                assert_eq!((seen.reason(), seen.sent.len()), (Some(DropReason::IpOptions), 0), "{kind}{rest} to {to}");
            }
        }
    }
}

#[test]
fn what_options_stop_opens_nothing_and_a_bad_address_comes_first() {
    let mut router = Router::new(OPEN);
    let bad = with_options(question(V4.server), "0730");
    assert_eq!(router.judge("lan", &bad), "NEW > ip_options");
    assert_eq!(router.judge("wan", &udp(V4.server, V4.client, (2, 1), b"")), "NEW > accept");
    // It moves a connection that is there, for tracking comes first.
    assert_eq!(router.judge("lan", &bad), "ESTABLISHED < ip_options");
    assert_eq!(router.judge("wan", &udp(V4.server, V4.client, (2, 1), b"")), "ESTABLISHED > accept");
    let spoofed = with_options(udp(V4.lan, V4.server, (1, 2), b""), "0730");
    assert_eq!(router.judge("lan", &spoofed), "NEW > martian_source");
}

#[test]
fn packets_of_established_connections_have_their_options_looked_at() {
    for (family, plain) in [("udp", question(V4.server)), ("tcp", Vec::new())] {
        let mut router = Router::new(STANCE);
        let plain = if family == "udp" {
            router.judge("lan", &plain);
            router.judge("wan", &udp(V4.server, V4.client, (2, 1), b""));
            plain
        } else {
            Talk::open(&mut router, V4, (40_000, 80)).next(b"data")
        };
        for _ in 0..2 {
            assert_eq!(router.judge("lan", &plain), "ESTABLISHED > accept");
            let seen = router.send("lan", &with_options(plain.clone(), "070704 00000000"));
            assert_eq!((seen.short().as_str(), seen.rule.as_deref()), ("ESTABLISHED > accept", Some("known")));
            assert_eq!(options_of(seen.one("wan")), octets("070708 0a000201"));
            assert_eq!(router.judge("lan", &with_options(plain.clone(), "0730")), "ESTABLISHED > ip_options");
            assert_eq!(
                router.judge("lan", &with_options(plain.clone(), "830704 0a000209")),
                "ESTABLISHED > ip_options"
            );
        }
    }
}

#[test]
fn parameter_problems_are_rate_limited() {
    let mut router = Router::new("icmp: { msgs_per_sec: 1, msgs_burst: 2 }\n");
    let bad = with_options(question(V4.server), "0730");
    let answered: Vec<usize> = (0..4).map(|_| router.send("lan", &bad).sent.len()).collect();
    assert_eq!(answered, [1, 1, 0, 0]);
}

#[test]
fn an_echo_answer_has_the_records_of_its_request() {
    for (asked, answered) in [
        ("1e040000", ""),
        ("01010101", ""),
        ("00010203", ""),
        ("070704 00000000", "070708 0a000101"),
        ("070f04 000000000000000000000000", "070f0c 0a000101 0a000101 00000000"),
        ("070708 00000000", "070708 00000000"),
        ("440c0500 00000000 00000000", "440c0d00 T T"),
        ("44080500 00000000", "44080900 T"),
        ("44080900 00000000", "44080910 00000000"),
        ("44140501 00000000 00000000 00000000 00000000", "44141501 0a000101 T 0a000101 T"),
        ("44140503 0a000101 00000000 0a000201 00000000", "44141503 0a000101 T 0a000201 T"),
        ("44140503 0a000101 00000000 0a000202 00000000", "44140d03 0a000101 T 0a000202 00000000"),
        ("94040000 01 070b04 0000000000000000 44080500 00000000", "070b0c 0a000101 0a000101 44080900 T"),
    ] {
        let asked = with_options(echo(V4.client, V4.lan, false, 7, b"abcd"), asked);
        let seen = Router::new(OPEN).send("lan", &asked);
        assert_eq!(seen.short(), "NEW > punt");
        let out = seen.one("lan");
        assert_eq!(options_of(out), octets(&answered.replace('T', FIRST)), "{answered}");
        let (protocol, reply) = verified(out);
        assert_eq!((protocol, reply[0], &reply[8..]), (1, 0, &b"abcd"[..]));
        assert_eq!(addresses(out), (ip(V4.lan), ip(V4.client)));
    }
    // Room for half an entry: no answer.
    for asked in ["070904 000000000000", "070a04 00000000000000", "440a0500 000000000000"] {
        let asked = with_options(echo(V4.client, V4.lan, false, 7, b"abcd"), asked);
        let seen = Router::new(OPEN).send("lan", &asked);
        assert_eq!((seen.short().as_str(), seen.sent.len()), ("NEW > punt", 0));
    }
}

/// A datagram in two fragments with these options each.
fn halves(first: &str, second: &str) -> Vec<Vec<u8>> {
    let cut = pieces(&udp(V4.client, V4.server, (7, 8), &[1; 40]), 24, 5);
    let with = |frame: &Vec<u8>, options: &str| {
        if options.is_empty() { frame.clone() } else { with_options(frame.clone(), options) }
    };
    vec![with(&cut[0], first), with(&cut[1], second)]
}

#[test]
fn the_first_fragments_options_are_the_datagrams() {
    let record = "070b04 00000000 00000000";
    for order in [false, true] {
        let mut fragments = halves(record, record);
        if order {
            fragments.reverse();
        }
        let seen = Router::new(OPEN).send_all("lan", &fragments);
        assert_eq!(seen.short(), "NEW > accept");
        for (_, out) in &seen.sent {
            let first = out[LINK + 7] == 0;
            assert_eq!(options_of(out), octets(if first { "070b08 0a000201 00000000" } else { record }));
        }
    }
    let seen = Router::new(OPEN).send_all("lan", &halves("0730", ""));
    assert_eq!(seen.short(), "NEW > ip_options");
    let (_, error) = verified(seen.one("lan"));
    assert_eq!((&error[..2], error[4]), (&[12, 0][..], 20));
    // A later one is not let pass to be read by another router; its sender is not told.
    for bad in ["0730", "830704 0a000209"] {
        let seen = Router::new(OPEN).send_all("lan", &halves("", bad));
        assert_eq!((seen.short().as_str(), seen.sent.len()), ("NEW > ip_options", 0), "{bad}");
    }
}

#[test]
fn a_packet_cut_to_the_mtu_keeps_what_is_to_be_copied() {
    let long = with_options(udp(V4.client, V4.small, (1, 2), &[7; 1400]), "820b0000000000000000 00 01 070704 00000000");
    let seen = Router::new(OPEN).send("lan", &long);
    assert_eq!(seen.short(), "NEW > accept");
    let options: Vec<_> = seen.sent.iter().map(|(_, frame)| options_of(frame).to_vec()).collect();
    assert_eq!(options, [octets("820b0000000000000000 00 01 070708 0a000501"), octets("820b0000000000000000 00")]);
}

/// An IPv6 UDP packet behind these extension headers, each with its number and its octets from the second on.
fn behind(to: &str, headers: &[(u8, &str)], next: u8, upper: &[u8]) -> Vec<u8> {
    let mut payload = upper.to_vec();
    let mut first = next;
    for (kind, rest) in headers.iter().rev() {
        let mut header = [&[first][..], &hex(rest)].concat();
        header.resize(header.len().next_multiple_of(8), 0);
        if *kind != 51 {
            header[1] = (header.len() / 8 - 1) as u8;
        }
        payload.splice(..0, header);
        first = *kind;
    }
    // An experimental number first: etherparse writes none of these.
    let mut frame = raw(V6.client, to, 253, &payload);
    frame[LINK + 6] = first;
    frame
}

fn asking(to: &str) -> Vec<u8> {
    udp(V6.client, to, (1, 2), b"x")[LINK + 40..].to_vec()
}

/// Code and pointer of the parameter problem about a packet, if there is one.
fn problem(seen: &Seen, packet: &[u8]) -> Option<(u8, u32)> {
    let (_, out) = seen.sent.first()?;
    assert_eq!((seen.sent.len(), addresses(out)), (1, (ip(V6.lan), ip(V6.client))));
    let (protocol, message) = verified(out);
    assert_eq!((protocol, message[0]), (58, 4), "parameter problem");
    assert_eq!(&message[8..], &packet[LINK..], "the packet as it came");
    Some((message[1], u32::from_be_bytes(message[4..8].try_into().unwrap())))
}

const UNLIMITED: &str = "icmp: { msgs_per_sec: 10000, msgs_burst: 10000 }\n";

#[test]
fn hop_by_hop_options_that_stop_a_packet_may_ask_for_an_error() {
    let mut router = Router::new(UNLIMITED);
    for (options, told) in [
        ("009e04 00000000", Some((2, 42))),
        ("00de04 00000000", Some((2, 42))),
        ("005e04 00000000", None),
        ("001e00 9e00", Some((2, 44))),
        // Jumbograms: too short, with a payload length, of a wrong length.
        ("00c204 0000ffff", Some((0, 44))),
        ("00c204 00010000", Some((0, 42))),
        ("00c205 00010000 00", None),
        // More than eight options.
        ("001e00 1e00 1e00 1e00 1e00 1e00 1e00 1e00 9e00", None),
        ("000104 01000000", None),
    ] {
        for to in [V6.server, V6.lan, V6.nowhere] {
            let packet = behind(to, &[(0, options)], 17, &asking(to));
            let seen = router.send("lan", &packet);
            assert_eq!(seen.short(), "NONE - ip_options", "{options} to {to}");
            assert_eq!(problem(&seen, &packet), told, "{options} to {to}");
        }
    }
}

#[test]
fn groups_are_told_of_options_only_if_these_want_it() {
    for (options, told) in [("009e04 00000000", Some((2, 42))), ("00de04 00000000", None), ("00c204 00010000", None)] {
        let mut packet = behind("ff0e::99", &[(0, options)], 17, &asking("ff0e::99"));
        packet[..6].copy_from_slice(&[0x33, 0x33, 0, 0, 0, 0x99]);
        let seen = Router::new(OPEN).send("lan", &packet);
        assert_eq!((seen.short().as_str(), problem(&seen, &packet)), ("NONE - ip_options", told), "{options}");
    }
}

#[test]
fn no_error_is_told_of_an_error_and_of_another_links_packets() {
    let bad = "009e04 00000000";
    let quoted = unreachable(V6.client, V6.server, &udp(V6.server, V6.client, (2, 1), b""))[LINK + 40..].to_vec();
    let seen = Router::new(OPEN).send("lan", &behind(V6.server, &[(0, bad)], 58, &quoted));
    assert_eq!((seen.short().as_str(), seen.sent.len()), ("NONE - ip_options", 0));
    let tagged = with_tags(&behind(V6.server, &[(0, bad)], 17, &asking(V6.server)), &[(0x8100, 9)]);
    assert_eq!(Router::new(OPEN).send("lan", &tagged).sent, []);
    // By the port whose tag it has, the error carries that tag.
    let tagged = with_tags(&behind(V6.server, &[(0, bad)], 17, &asking(V6.server)), &[(0x8100, 100)]);
    assert_eq!(Router::new(OPEN).send("tag", &tagged).sent.len(), 1);
    let mut router = Router::new("icmp: { msgs_per_sec: 1, msgs_burst: 1 }\n");
    let packet = behind(V6.server, &[(0, bad)], 17, &asking(V6.server));
    assert_eq!([(); 3].map(|()| router.send("lan", &packet).sent.len()), [1, 0, 0], "rate-limited");
}

#[test]
fn the_end_of_the_way_reads_what_routers_pass() {
    let mut router = Router::new(UNLIMITED);
    let route = |kind: &str, left: &str| format!("00{kind}{left} 00000000 fd0000020000000000000000 00000002");
    for (headers, told) in [
        (vec![(60, "009e04 00000000".to_owned())], Some((2, 42))),
        (vec![(60, "00de04 00000000".to_owned())], Some((2, 42))),
        (vec![(60, "00c204 00010000".to_owned())], Some((2, 42))),
        (vec![(43, route("00", "01"))], Some((0, 42))),
        (vec![(43, route("05", "01"))], Some((0, 42))),
        (vec![(60, "000104 00000000".to_owned()), (43, route("00", "01"))], Some((0, 50))),
        (vec![(60, "000104 00000000".to_owned()), (0, "000104 00000000".to_owned())], Some((1, 40))),
        (vec![(51, format!("04{}", "00".repeat(22)))], Some((1, 6))),
        // In silence.
        (vec![(60, "005e04 00000000".to_owned())], None),
        (vec![(60, "00".repeat(15))], None),
        (vec![(43, route("03", "00"))], None),
        (vec![(43, route("04", "01"))], None),
    ] {
        let headers: Vec<(u8, &str)> = headers.iter().map(|(kind, hex)| (*kind, hex.as_str())).collect();
        let packet = behind(V6.lan, &headers, 17, &asking(V6.lan));
        let seen = router.send("lan", &packet);
        assert!(seen.short().ends_with("punt"), "{headers:?}: {}", seen.short());
        assert_eq!(problem(&seen, &packet), told, "{headers:?}");
        // On the way nobody minds.
        let passing = behind(V6.server, &headers, 17, &asking(V6.server));
        assert_eq!(router.send("lan", &passing).sent.len(), 1, "{headers:?}");
    }
    // Behind what is good the upper layer answers.
    for header in [(60, "000104 00000000"), (60, "001e04 00000000"), (43, "000000 00000000"), (0, "000502 00000000")] {
        let request = echo(V6.client, V6.lan, false, 7, b"abcd")[LINK + 40..].to_vec();
        let seen = router.send("lan", &behind(V6.lan, &[header], 58, &request));
        let (protocol, reply) = verified(seen.one("lan"));
        assert_eq!((protocol, reply[0], &reply[8..]), (58, 129, &b"abcd"[..]), "{header:?}");
    }
}
