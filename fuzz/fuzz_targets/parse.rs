//! Any octets as a frame: no panic, offsets in order, and rewriting does not change whose packet it is.

#![no_main]

use flowgate::wire::{self, Kind, Verify};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = wire::describe(data).to_string();
    let trusted = wire::parse(data, Verify::Trust);
    let checked = wire::parse(data, Verify::Check);
    assert_eq!(trusted.is_ok(), checked.is_ok(), "checksums of transports never make a header error");
    let Ok(parsed) = trusted else { return };
    // An ICMP message with a wrong checksum has no keys.
    let whose = |parsed: &wire::Parsed| (parsed.kind, parsed.summary.tuple.src, parsed.summary.tuple.dst);
    assert_eq!(whose(&parsed), whose(&checked.unwrap()));
    if parsed.kind == Kind::Arp {
        let _ = wire::arp::parse(data, &parsed);
        return;
    }
    assert!(parsed.l3 <= parsed.l4 && u32::from(parsed.l4) <= parsed.end && parsed.end as usize <= data.len());
    assert!(parsed.transport(data).len() >= parsed.payload(data).len());
    let _ = wire::nd::parse(data, &parsed);
    if let Ok(quoted) = wire::quoted(data, &parsed) {
        assert!(quoted.tuple.inverse().is_none_or(|inverse| inverse.inverse() == Some(quoted.tuple)));
    }
    // The same packet seen as a bare datagram.
    if parsed.vlan.depth == 0 {
        let bare = wire::parse_ip(parsed.datagram(data), Verify::Trust).expect("what parses in a frame parses alone");
        assert_eq!(bare.summary, parsed.summary);
    }
    let mut copy = data.to_vec();
    if parsed.ttl > 1 {
        wire::decrement_ttl(&mut copy, &parsed);
        let again = wire::parse(&copy, Verify::Trust).expect("still a packet");
        assert_eq!((again.ttl, again.summary.tuple), (parsed.ttl - 1, parsed.summary.tuple));
    }
    let mut copy = data.to_vec();
    let _ = wire::echo_reply(&mut copy, &parsed);
    let mut out = [0; 1600];
    if let Some(mut pieces) = wire::fragment_ipv4(data, &parsed, 576) {
        while let Some(len) = pieces.write_next(&mut out) {
            let piece = wire::parse(&out[..len], Verify::Trust).expect("a piece is a packet");
            assert_eq!(piece.summary.tuple.src, parsed.summary.tuple.src);
        }
    }
});
