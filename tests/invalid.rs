//! Every reason to call a packet INVALID, provoked, but for those whose documentation says that they are reserved.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is test code")]

mod common;

use common::reserved::reserved;
use common::*;
use flowgate::cli::replay::session::Options;
use flowgate::net::{CtState, InvalidReason};
use std::collections::BTreeSet;

/// CRC32c (RFC 9260 appendix A).
fn crc32c(octets: &[u8]) -> u32 {
    !octets.iter().fold(u32::MAX, |crc, octet| {
        (0..8).fold(crc ^ u32::from(*octet), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
    })
}

/// An SCTP packet of one chunk.
fn sctp(pair: Pair, tag: u32, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x10, 0, 0x20, 0];
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend([kind, 0, 0, 4 + body.len() as u8]);
    packet.extend(body);
    let crc = crc32c(&packet);
    packet[8..12].copy_from_slice(&crc.to_le_bytes());
    raw(pair.client, pair.server, 132, &packet)
}

/// With its last octet changed.
fn damaged(mut frame: Vec<u8>) -> Vec<u8> {
    *frame.last_mut().unwrap() ^= 0xff;
    frame
}

/// Packets, one after the other, the last of which is INVALID.
type Case = (InvalidReason, Vec<(&'static str, Vec<u8>)>);

fn cases(pair: Pair) -> Vec<Case> {
    use InvalidReason::*;
    let ports = (4000, 80);
    let one = |reason, frame| (reason, vec![("lan", frame)]);
    let open = || {
        vec![
            ("lan", pair.up(ports, "S", (1000, 0), b"")),
            ("wan", pair.down(ports, "S.", (5000, 1001), b"")),
            ("lan", pair.up(ports, ".", (1001, 5001), b"")),
            ("lan", pair.up(ports, ".", (1001, 5001), b"some data")),
            ("wan", pair.down(ports, ".", (5001, 1010), b"")),
        ]
    };
    let after_open = |reason, frame| {
        let mut packets = open();
        packets.push(("lan", frame));
        (reason, packets)
    };
    let datagram = udp(pair.client, pair.server, (1, 2), b"data");
    let transport = datagram.len() - 12;
    let mut long = datagram.clone();
    long[transport + 5] += 1;
    let no_ppp = [0x30, 0x81, 0, 1, 0, 0, 0, 7];
    vec![
        one(TcpFlags, pair.up(ports, "SF", (1, 0), b"")),
        one(TcpChecksum, damaged(pair.up(ports, "S", (1, 0), b"data"))),
        after_open(TcpSeqOver, pair.up(ports, ".", (10_000_000, 5001), b"far")),
        after_open(TcpAckOver, pair.up(ports, ".", (1010, 10_000_000), b"")),
        one(TcpNoSyn, pair.up(ports, "S.", (1, 1), b"")),
        (TcpState, vec![("lan", pair.up(ports, "S", (1, 0), b"")), ("lan", pair.up(ports, ".", (2, 1), b""))]),
        after_open(RstInexact, pair.up(ports, "R", (900, 0), b"")),
        one(UdpLength, long),
        one(UdpChecksum, damaged(datagram.clone())),
        one(IcmpNoFlow, echo(pair.client, pair.server, true, 1, b"data")),
        one(IcmpType, icmp(pair.client, pair.server, 200, 0, 0, b"")),
        one(IcmpChecksum, damaged(echo(pair.client, pair.server, false, 1, b"data"))),
        one(IcmpInner, unreachable(pair.client, pair.server, &datagram[..LINK + 12])),
        one(SctpTag, sctp(pair, 7, 1, &[1; 16])),
        one(SctpChunk, sctp(pair, 7, 11, &[])),
        one(SctpChecksum, damaged(sctp(pair, 0, 1, &[1; 16]))),
        one(Truncated, raw(pair.client, pair.server, 6, &[0; 10])),
        one(Unknown, raw(pair.client, pair.server, 47, &no_ppp)),
    ]
}

/// The middle of an IPv6 datagram whose length is no multiple of eight octets (RFC 8200 section 4.5).
fn odd_fragment() -> Case {
    let mut odd = pieces(&udp(V6.client, V6.server, (1, 2), &[1; 60]), 16, 7).remove(1);
    odd.pop();
    odd[LINK + 5] -= 1;
    (InvalidReason::Fragment, vec![("lan", odd)])
}

fn provoke(reason: InvalidReason, packets: &[(&str, Vec<u8>)]) {
    let mut router = Router::new(OPEN);
    let (last, first) = packets.split_last().unwrap();
    for (port, frame) in first {
        assert_eq!(router.send(port, frame).fate.invalid, None, "{reason}: before");
    }
    let fate = router.send(last.0, &last.1).fate;
    assert_eq!((fate.state, fate.invalid), (Some(CtState::Invalid), Some(reason)), "{reason}");
    assert_eq!(router.session.counters().invalids(reason), 1, "{reason} is counted");
}

fn full_table() {
    let options = Options { max_entries: 2, ..Options::default() };
    let mut router = Router::with(snapshot("conntrack: { on_full: drop }\n"), &options);
    let whys: BTreeSet<_> =
        (0..100).filter_map(|n| router.send("lan", &udp(V4.client, V4.server, (n, 2), b"")).fate.invalid).collect();
    assert_eq!(whys, BTreeSet::from([InvalidReason::TableFull]));
    assert!(router.session.counters().invalids(InvalidReason::TableFull) > 0);
}

#[test]
fn every_invalid_reason_is_provoked_or_reserved() {
    let mut provoked = BTreeSet::new();
    for (reason, packets) in BOTH.into_iter().flat_map(cases).chain([odd_fragment()]) {
        provoke(reason, &packets);
        provoked.insert(reason.label().to_owned());
    }
    full_table();
    provoked.insert(InvalidReason::TableFull.label().to_owned());
    let reserved = reserved(include_str!("../src/net/reason.rs"), "InvalidReason");
    assert!(provoked.is_disjoint(&reserved), "{provoked:?} are not reserved any more");
    let all = InvalidReason::ALL.iter().map(|reason| reason.label().to_owned()).collect::<BTreeSet<_>>();
    let missing: Vec<_> = all.iter().filter(|word| !provoked.contains(*word) && !reserved.contains(*word)).collect();
    assert!(missing.is_empty(), "{missing:?} want a case here");
}
