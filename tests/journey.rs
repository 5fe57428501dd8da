//! A packet's whole journey through one shard, and what the router says of its own accord.
//!
//! Frames are built by etherparse and by hand; what comes out is checked by hand, checksums included.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is test code")]

mod common;

use common::*;
use flowgate::cli::replay::session::Options;
use flowgate::net::{DropReason, InvalidReason};

#[test]
fn a_connection_is_new_until_its_reply_and_then_established() {
    for pair in BOTH {
        let mut router = Router::new(STANCE);
        let mut talk = Talk::open(&mut router, pair, (40_000, 80));
        let seen = talk.say(&mut router, b"GET / HTTP/1.0\r\n\r\n");
        assert_eq!((seen.short().as_str(), seen.rule.as_deref()), ("ESTABLISHED > accept", Some("known")));
        assert_eq!(seen.fate.protocol_state, Some("ESTABLISHED"));
        let out = seen.one("wan");
        assert_eq!(addresses(out), (ip(pair.client), ip(pair.server)));
        assert_eq!((ttl(out), verified(out).0), (63, 6));
        assert!(out.ends_with(b"\r\n\r\n"));
        assert_eq!(talk.answer(&mut router, b"HTTP/1.0 204\r\n\r\n").short(), "ESTABLISHED < accept");
        assert_eq!(router.session.connections(), 1);
    }
}

#[test]
fn udp_and_echo_are_new_until_answered() {
    for pair in BOTH {
        let mut router = Router::new(STANCE);
        let (client, server) = (pair.client, pair.server);
        let ask = udp(client, server, (5000, 53), b"?");
        let reply = udp(server, client, (53, 5000), b"!");
        for (port, frame, expected) in [
            ("lan", &ask, "NEW > accept"),
            ("lan", &ask, "NEW > accept"),
            ("wan", &reply, "ESTABLISHED < accept"),
            ("lan", &ask, "ESTABLISHED > accept"),
        ] {
            assert_eq!(router.judge(port, frame), expected);
        }
        assert_eq!(router.judge("lan", &echo(client, server, false, 7, b"x")), "NEW > accept");
        assert_eq!(router.judge("wan", &echo(server, client, true, 8, b"x")), "INVALID - policy_rule");
        assert_eq!(router.judge("wan", &echo(server, client, true, 7, b"x")), "ESTABLISHED < accept");
        assert_eq!(router.judge("wan", &echo(server, client, false, 7, b"x")), "NEW > policy_default");
        // Forgotten after its time.
        router.wait(31_000);
        assert_eq!(router.judge("wan", &reply), "NEW > policy_default");
        assert_eq!(router.session.connections(), 0);
    }
}

#[test]
fn what_the_policy_drops_leaves_no_entry() {
    for pair in BOTH {
        let mut router = Router::new(STANCE);
        let syn = tcp(pair.server, pair.client, (50_000, 22), "S", (1, 0), b"");
        for _ in 0..3 {
            let seen = router.send("wan", &syn);
            assert_eq!((seen.short().as_str(), seen.rule, seen.sent.len()), ("NEW > policy_default", None, 0));
        }
        assert_eq!(router.session.connections(), 0);
        // An answer to what never was.
        let ack = tcp(pair.client, pair.server, (22, 50_000), "S.", (1, 2), b"");
        assert_eq!(router.judge("lan", &ack), "INVALID - policy_rule");
    }
}

const NOTRACK: &str = r#"
chains:
  prerouting:
    rules:
      - { id: bulk, l4proto: udp, dport: 9000, verdict: notrack }
      - { id: ban, saddr: [10.0.1.66/32, "fd00:1::66/128"], verdict: drop }
  forward:
    policy: drop
    rules:
      - { id: exempt, ct_state: untracked, verdict: accept }
      - { id: bad, ct_state: invalid, verdict: drop }
      - { id: out, iif: lan, verdict: accept }
"#;

#[test]
fn raw_rules_exempt_and_drop_before_tracking() {
    for pair in BOTH {
        let mut router = Router::new(NOTRACK);
        let seen = router.send("lan", &udp(pair.client, pair.server, (1, 9000), b""));
        assert_eq!((seen.short().as_str(), seen.rule.as_deref()), ("UNTRACKED - accept", Some("exempt")));
        assert_eq!(router.session.connections(), 0);
        assert_eq!(router.judge("wan", &udp(pair.server, pair.client, (9000, 1), b"")), "NEW > policy_default");
        let banned = if is_v4(&udp(pair.client, pair.server, (1, 1), b"")) { "10.0.1.66" } else { "fd00:1::66" };
        let seen = router.send("lan", &udp(banned, pair.server, (1, 1), b""));
        assert_eq!((seen.short().as_str(), seen.rule.as_deref()), ("NONE - policy_rule", Some("ban")));
        // Reassembled first, exempt then; a fragment that cannot be is exempt alone, if the rule wants it.
        let whole = udp(pair.client, pair.server, (1, 9000), &[7; 100]);
        assert_eq!(router.send_all("lan", &pieces(&whole, 64, 9)).short(), "UNTRACKED - accept");
    }
}

const REJECT: &str = r#"
chains:
  forward:
    policy: drop
    rules:
      - { id: known, ct_state: [established, related], verdict: accept }
      - { id: closed, l4proto: tcp, dport: 113, verdict: reject with tcp-reset }
      - { id: open, iif: lan, l4proto: tcp, dport: 80, verdict: accept }
      - { id: prohibited, l4proto: udp, dport: 25, verdict: reject with icmp-admin-prohibited }
      - { id: default, iif: lan, verdict: reject }
  input:
    policy: accept
    rules:
      - { id: here, l4proto: udp, dport: 7, verdict: reject }
"#;

/// An ICMP error from the router: its type and code, the second word, and what it quotes.
#[track_caller]
fn error<'a>(frame: &'a [u8], from: &str, to: &str) -> ((u8, u8), u32, &'a [u8]) {
    assert_eq!(addresses(frame), (ip(from), ip(to)));
    let (protocol, l4) = verified(frame);
    assert_eq!(protocol, if is_v4(frame) { 1 } else { 58 });
    assert_eq!(ttl(frame), 64);
    ((l4[0], l4[1]), u32::from_be_bytes([l4[4], l4[5], l4[6], l4[7]]), &l4[8..])
}

#[test]
fn a_reject_answers_with_an_error_that_quotes_the_packet() {
    for (pair, default, prohibited) in [(V4, (3, 3), (3, 13)), (V6, (1, 4), (1, 1))] {
        let mut router = Router::new(REJECT);
        for (dport, code, rule) in [(99, default, "default"), (25, prohibited, "prohibited")] {
            let frame = udp(pair.client, pair.server, (4000, dport), b"hello");
            let seen = router.send("lan", &frame);
            assert_eq!((seen.short().as_str(), seen.rule.as_deref()), ("NEW > policy_rule", Some(rule)));
            let (found, _, quote) = error(seen.one("lan"), pair.lan, pair.client);
            assert_eq!((found, quote), (code, &frame[LINK..]));
        }
        let here = udp(pair.client, pair.lan, (4000, 7), b"hello");
        let seen = router.send("lan", &here);
        assert_eq!((seen.short().as_str(), seen.rule.as_deref()), ("NEW > policy_rule", Some("here")));
        assert_eq!(error(seen.one("lan"), pair.lan, pair.client).2, &here[LINK..]);
        assert_eq!(router.session.connections(), 0);
        assert_eq!(router.session.counters().originated(), 3);
    }
}

#[test]
fn a_reject_with_reset_answers_as_the_destination() {
    for pair in BOTH {
        let mut router = Router::new(REJECT);
        let seen = router.send("lan", &pair.up((4000, 113), "S", (77, 0), b""));
        assert_eq!((seen.short().as_str(), seen.rule.as_deref()), ("NEW > policy_rule", Some("closed")));
        let out = seen.one("lan");
        assert_eq!(addresses(out), (ip(pair.server), ip(pair.client)));
        let (protocol, l4) = verified(out);
        assert_eq!(protocol, 6);
        assert_eq!(l4[..4], [0, 113, 0x0f, 0xa0]);
        assert_eq!(l4[4..14], [0, 0, 0, 0, 0, 0, 0, 78, 0x50, 0x14], "seq 0, ack of the SYN, RST and ACK");
    }
}

#[test]
fn a_rejected_connection_is_closed() {
    let sections = "
chains:
  forward:
    policy: accept
    rules:
      - { id: cut, l4proto: tcp, iif: lan, ct_state: established, dport: 113, verdict: reject with tcp-reset }
";
    for pair in BOTH {
        let mut router = Router::new(sections);
        let ports = (4000, 113);
        assert_eq!(router.judge("lan", &pair.up(ports, "S", (10, 0), b"")), "NEW > accept");
        assert_eq!(router.judge("wan", &pair.down(ports, "S.", (20, 11), b"")), "ESTABLISHED < accept");
        assert_eq!(router.judge("lan", &pair.up(ports, ".", (11, 21), b"")), "ESTABLISHED > policy_rule");
        let seen = router.send("wan", &pair.down(ports, ".", (21, 11), b""));
        assert_eq!(seen.fate.protocol_state, Some("CLOSE"));
        router.wait(10_001);
        assert_eq!(router.session.connections(), 0);
    }
}

#[test]
fn a_packet_whose_ttl_runs_out_is_told_so() {
    for (pair, code) in [(V4, (11, 0)), (V6, (3, 0))] {
        let mut router = Router::new(STANCE);
        let frame = with_ttl(udp(pair.client, pair.server, (4000, 33_434), b"probe"), 1);
        let seen = router.send("lan", &frame);
        assert_eq!((seen.short().as_str(), seen.rule.clone()), ("NEW > ttl_expired", None));
        let (found, _, quote) = error(seen.one("lan"), pair.lan, pair.client);
        assert_eq!((found, quote), (code, &frame[LINK..]));
        assert_eq!(router.session.connections(), 0);
        // The same for a known connection whose decision is remembered.
        let mut talk = Talk::open(&mut router, pair, (4000, 80));
        talk.say(&mut router, b"x");
        let seen = router.send("lan", &with_ttl(talk.next(b"y"), 1));
        assert_eq!((seen.short().as_str(), seen.rule.clone()), ("ESTABLISHED > ttl_expired", None));
        assert_eq!(error(seen.one("lan"), pair.lan, pair.client).0, code);
        // Never about an error.
        let about = unreachable(pair.client, pair.server, &pair.down((4000, 80), ".", (5001, 1001), b""));
        let seen = router.send("lan", &with_ttl(about, 1));
        assert_eq!((seen.short().as_str(), seen.sent.len()), ("RELATED > ttl_expired", 0));
    }
}

#[test]
fn without_a_route_the_sender_is_told() {
    for (pair, code) in [(V4, (3, 0)), (V6, (1, 0))] {
        let mut router = Router::new(STANCE);
        let frame = udp(pair.client, pair.nowhere, (4000, 53), b"?");
        let seen = router.send("lan", &frame);
        assert_eq!(seen.short(), "NEW > no_route");
        let (found, _, quote) = error(seen.one("lan"), pair.lan, pair.client);
        assert_eq!((found, quote), (code, &frame[LINK..]));
    }
    let mut router = Router::new(STANCE);
    for (dst, code) in [("10.9.0.1", None), ("10.9.1.1", Some((3, 1))), ("10.9.2.1", Some((3, 13)))] {
        let seen = router.send("lan", &udp("10.0.1.2", dst, (1, 2), b""));
        assert_eq!(seen.short(), "NEW > blackhole");
        let said = (!seen.sent.is_empty()).then(|| error(seen.one("lan"), "10.0.1.1", "10.0.1.2").0);
        assert_eq!(said, code, "{dst}");
    }
}

#[test]
fn errors_are_limited_and_the_limit_refills() {
    let mut router = Router::new("icmp: { msgs_per_sec: 10, msgs_burst: 3 }\n");
    let frame = udp(V4.client, V4.nowhere, (1, 2), b"");
    let said = |router: &mut Router| (0..8).filter(|_| !router.send("lan", &frame).sent.is_empty()).count();
    assert_eq!(said(&mut router), 3);
    router.wait(200);
    assert_eq!(said(&mut router), 2);
}

#[test]
fn too_big_and_not_to_be_fragmented_names_the_mtu() {
    let mut router = Router::new(STANCE);
    let fits = with_df(udp(V4.client, V4.small, (1, 2), &[3; 1280 - 28]));
    assert_eq!(router.judge("lan", &fits), "NEW > accept");
    let frame = with_df(udp(V4.client, V4.small, (1, 2), &[3; 1281 - 28]));
    let seen = router.send("lan", &frame);
    assert_eq!(seen.short(), "NEW > mtu_exceeded");
    let (code, mtu, quote) = error(seen.one("lan"), V4.lan, V4.client);
    assert_eq!((code, mtu), ((3, 4), 1280));
    assert_eq!(quote, &frame[LINK..LINK + quote.len()]);
    assert_eq!(seen.one("lan").len(), LINK + 576);

    let frame = udp(V6.client, V6.small, (1, 2), &[3; 1281 - 48]);
    let seen = router.send("lan", &frame);
    assert_eq!(seen.short(), "NEW > mtu_exceeded");
    let (code, mtu, quote) = error(seen.one("lan"), V6.lan, V6.client);
    assert_eq!((code, mtu), ((2, 0), 1280));
    assert_eq!(quote, &frame[LINK..LINK + quote.len()]);
    assert_eq!(seen.one("lan").len(), LINK + 1280);
}

#[test]
fn too_big_without_df_leaves_in_fragments_that_make_up_the_original() {
    let mut router = Router::new(STANCE);
    let payload: Vec<u8> = (0..3000u32).map(|n| (n * 7) as u8).collect();
    let frame = udp(V4.client, V4.small, (1, 2), &payload);
    let seen = router.send("lan", &frame);
    assert_eq!(seen.short(), "NEW > accept");
    assert_eq!(seen.sent.len(), 3);
    for (port, piece) in &seen.sent {
        assert_eq!(port, "small");
        assert!(piece.len() <= LINK + 1280);
        assert_eq!((ttl(piece), addresses(piece)), (63, (ip(V4.client), ip(V4.small))));
    }
    let frames: Vec<&[u8]> = seen.sent.iter().map(|(_, piece)| piece.as_slice()).collect();
    assert_eq!(together(&frames), &frame[LINK + 20..]);
    // Fragments that are too large themselves are cut further.
    let parts = pieces(&udp(V4.client, V4.small, (1, 2), &payload), 1480, 77);
    let seen = router.send_all("lan", &parts);
    let frames: Vec<&[u8]> = seen.sent.iter().map(|(_, piece)| piece.as_slice()).collect();
    assert_eq!(frames.len(), 5);
    assert_eq!(together(&frames), &frame[LINK + 20..]);
}

#[test]
fn the_router_answers_echo_requests_to_its_own_addresses() {
    for pair in BOTH {
        let mut router = Router::new(OPEN);
        for own in [pair.lan, pair.wan] {
            let ask = echo(pair.client, own, false, 9, b"are you there");
            let seen = router.send("lan", &ask);
            assert_eq!(seen.short(), "NEW > punt");
            let out = seen.one("lan");
            assert_eq!(addresses(out), (ip(own), ip(pair.client)));
            let (_, l4) = verified(out);
            assert_eq!(l4[0], if is_v4(out) { 0 } else { 129 });
            assert_eq!(l4[4..], ask[ask.len() - l4.len() + 4..]);
            // The answer was a reply, so the next request belongs to an established connection.
            assert_eq!(router.judge("lan", &ask), "ESTABLISHED > punt");
        }
    }
}

#[test]
fn a_fragmented_echo_request_is_answered_whole() {
    let mut router = Router::new(OPEN);
    let payload: Vec<u8> = (0..3000u32).map(|n| (n * 11) as u8).collect();
    for pair in BOTH {
        let ask = echo(pair.client, pair.lan, false, 9, &payload);
        let seen = router.send_all("lan", &pieces(&ask, 1400, 5));
        assert_eq!(seen.short(), "NEW > punt");
        let frames: Vec<&[u8]> = seen.sent.iter().map(|(_, piece)| piece.as_slice()).collect();
        assert_eq!(frames.len(), 3);
        assert!(frames.iter().all(|frame| frame.len() <= LINK + 1500));
        let whole = together(&frames);
        assert_eq!(whole[0], if pair.client == V4.client { 0 } else { 129 });
        assert_eq!(whole[4..], ask[ask.len() - whole.len() + 4..]);
    }
}

#[test]
fn the_router_has_no_services() {
    for pair in BOTH {
        let mut router = Router::new(OPEN);
        let seen = router.send("lan", &tcp(pair.client, pair.lan, (4000, 22), "S", (1, 0), b""));
        assert_eq!(seen.short(), "NEW > punt");
        assert_eq!(verified(seen.one("lan")).1[13], 0x14);
        // Its RST ended the connection.
        assert_eq!(router.session.connections(), 0);
        let seen = router.send("lan", &udp(pair.client, pair.lan, (4000, 22), b"x"));
        assert_eq!(seen.short(), "NEW > punt");
        let unreachable = if is_v4(seen.one("lan")) { (3, 3) } else { (1, 4) };
        assert_eq!(error(seen.one("lan"), pair.lan, pair.client).0, unreachable);
        let seen = router.send("lan", &raw(pair.client, pair.lan, 99, &[1; 20]));
        let unreachable = if is_v4(seen.one("lan")) { (3, 2) } else { (4, 1) };
        assert_eq!(error(seen.one("lan"), pair.lan, pair.client).0, unreachable);
    }
}

#[test]
fn martians_are_dropped_in_silence() {
    let mut router = Router::new(OPEN);
    for (src, dst) in [
        ("127.0.0.1", "10.0.2.2"),
        ("10.0.2.1", "10.0.2.2"),
        ("224.0.0.9", "10.0.2.2"),
        ("255.255.255.255", "10.0.2.2"),
        ("0.0.0.0", "10.0.2.2"),
        ("169.254.1.1", "10.0.2.2"),
        ("10.0.1.2", "127.0.0.1"),
        ("::1", "fd00:2::2"),
        ("::", "fd00:2::2"),
        ("ff02::9", "fd00:2::2"),
        ("fe80::9", "fd00:2::2"),
        // Linux forwards these: see departures.md.
        ("10.0.1.255", "10.0.2.2"),
        ("10.0.2.255", "10.0.2.2"),
        ("fd00:1::1", "fd00:2::2"),
        ("fd00:2::1", "fd00:2::2"),
        ("fd00:1::2", "::"),
        ("fd00:1::2", "fe80::9"),
        ("fd00:1::2", "::1"),
    ] {
        let seen = router.send("lan", &udp(src, dst, (1, 2), b""));
        assert_eq!((seen.reason(), seen.sent.len()), (Some(DropReason::MartianSource), 0), "{src} > {dst}");
    }
    let mut router = Router::new("  - { to: default, via: 10.0.2.9 }\n  - { to: '::/0', via: 'fd00:2::9' }\n");
    for (src, dst) in [
        ("0.1.2.3", "10.0.2.2"),
        ("10.0.1.2", "0.1.2.3"),
        ("240.0.0.1", "10.0.2.2"),
        ("10.0.1.2", "240.0.0.1"),
        ("::ffff:10.0.1.2", "fd00:2::2"),
        ("fd00:1::2", "::ffff:10.0.2.2"),
        ("::10.0.1.2", "fd00:2::2"),
    ] {
        assert_eq!(router.judge("lan", &udp(src, dst, (1, 2), b"")), "NEW > accept", "{src} > {dst}");
    }
    for (src, dst) in [("fd00:1::2", "::"), ("fd00:1::2", "fe80::9")] {
        let seen = router.send("lan", &udp(src, dst, (1, 2), b""));
        assert_eq!(seen.reason(), Some(DropReason::MartianSource), "{src} > {dst}");
    }
}

#[test]
fn tags_are_taken_off_and_put_on() {
    const TAG: u16 = 0x8100;
    const QINQ: u16 = 0x88a8;
    for pair in BOTH {
        let mut router = Router::new(OPEN);
        let plain = udp(pair.client, pair.tag, (1, 2), b"data");
        let out = router.send("lan", &plain);
        assert_eq!(&out.one("tag")[12..16], [0x81, 0, 0, 100]);
        let back = udp(pair.tag, pair.client, (2, 1), b"data");
        let seen = router.send("tag", &with_tags(&back, &[(TAG, 100)]));
        assert_eq!(seen.short(), "ESTABLISHED < accept");
        verified(seen.one("lan"));

        let to_qinq = udp(pair.tag, pair.qinq, (1, 2), b"data");
        // Priority and drop eligibility do not matter.
        let seen = router.send("tag", &with_tags(&to_qinq, &[(TAG, 0xf000 | 100)]));
        let out = seen.one("qinq");
        assert_eq!(&out[12..20], [0x88, 0xa8, 0, 200, 0x81, 0, 1, 44]);
        let untagged = [&out[..12], &out[20..]].concat();
        assert_eq!((ttl(&untagged), verified(&untagged).0), (63, 17));
        let back = udp(pair.qinq, pair.tag, (2, 1), b"data");
        let seen = router.send("qinq", &with_tags(&back, &[(QINQ, 200), (TAG, 300)]));
        assert_eq!(seen.short(), "ESTABLISHED < accept");

        let strangers: [(&str, &[(u16, u16)]); 7] = [
            ("lan", &[(TAG, 5)]),
            ("tag", &[]),
            ("tag", &[(TAG, 101)]),
            ("tag", &[(TAG, 100), (TAG, 1)]),
            ("qinq", &[(QINQ, 200)]),
            ("qinq", &[(QINQ, 300), (TAG, 200)]),
            ("lan", &[(TAG, 1), (TAG, 2), (TAG, 3)]),
        ];
        for (port, tags) in strangers {
            assert_eq!(router.judge(port, &with_tags(&plain, tags)), "NONE - vlan_unknown", "{port} {tags:?}");
        }
        // A priority tag is none.
        assert_eq!(router.judge("lan", &with_tags(&plain, &[(TAG, 0xe000)])), "ESTABLISHED > accept");
    }
}

#[test]
fn fragments_pass_tagged_ports() {
    for pair in BOTH {
        let mut router = Router::new(OPEN);
        let whole = udp(pair.tag, pair.qinq, (1, 2), &[9; 1000]);
        let tagged: Vec<_> = pieces(&whole, 400, 3).iter().map(|piece| with_tags(piece, &[(0x8100, 100)])).collect();
        let seen = router.send_all("tag", &tagged);
        assert_eq!(seen.short(), "NEW > accept");
        assert_eq!(seen.sent.len(), 3);
        assert!(seen.sent.iter().all(|(port, frame)| port == "qinq" && frame[12..14] == [0x88, 0xa8]));
    }
}

#[test]
fn an_error_about_a_connection_is_related_if_it_goes_to_the_sender() {
    for pair in BOTH {
        let mut router = Router::new(STANCE);
        let ask = udp(pair.client, pair.server, (5000, 4567), b"hello");
        assert_eq!(router.judge("lan", &ask), "NEW > accept");
        // From anybody, the outer source does not matter.
        for from in [pair.server, pair.small] {
            let seen = router.send("wan", &unreachable(from, pair.client, &ask));
            assert_eq!((seen.short().as_str(), seen.rule.as_deref()), ("RELATED < accept", Some("known")));
            verified(seen.one("lan"));
        }
        // It changes nothing.
        assert_eq!(router.judge("lan", &ask), "NEW > accept");
        // To another host, about nothing, or travelling with what it quotes: INVALID.
        let no_flow = Some(InvalidReason::IcmpNoFlow);
        let other = udp(pair.client, pair.server, (5000, 4568), b"hello");
        for (port, frame) in [
            ("wan", unreachable(pair.server, pair.tag, &ask)),
            ("wan", unreachable(pair.server, pair.client, &other)),
            ("lan", unreachable(pair.client, pair.server, &ask)),
        ] {
            let seen = router.send(port, &frame);
            assert_eq!((seen.short().as_str(), seen.fate.invalid), ("INVALID - policy_rule", no_flow));
        }
        // From the client, about what the server said.
        let reply = udp(pair.server, pair.client, (4567, 5000), b"hello");
        assert_eq!(router.judge("wan", &reply), "ESTABLISHED < accept");
        assert_eq!(router.judge("lan", &unreachable(pair.client, pair.server, &reply)), "RELATED > accept");
    }
}

#[test]
fn a_fragmented_error_is_judged_by_what_the_whole_quotes() {
    for pair in BOTH {
        let mut router = Router::new(STANCE);
        let ask = udp(pair.client, pair.server, (5000, 4567), &[5; 400]);
        router.send("lan", &ask);
        let whole = unreachable(pair.server, pair.client, &ask);
        // The quoted ports lie in the second fragment, or the third.
        for size in [24, 16] {
            let parts = pieces(&whole, size, 3);
            let parts: Vec<_> = if ip(pair.client).is_ipv4() { parts } else { pieces(&whole, size + 32, 3) };
            let seen = router.send_all("wan", &parts);
            assert_eq!(seen.short(), "RELATED < accept");
            assert_eq!(seen.sent.len(), parts.len());
        }
    }
}

const FTP: &str = r#"
helpers:
  ftp: { type: ftp, l4proto: tcp, ports: [21], iif: lan }
chains:
  forward:
    policy: drop
    rules:
      - { id: known, ct_state: [established, related], verdict: accept }
      - { id: bad, ct_state: invalid, verdict: drop }
      - { id: control, iif: lan, ct_state: new, l4proto: tcp, dport: 21, verdict: accept }
"#;

fn control(pair: Pair) -> (Router, Talk) {
    let mut router = Router::new(FTP);
    let mut talk = Talk::open(&mut router, pair, (4000, 21));
    talk.answer(&mut router, b"220 ready\r\n");
    talk.say(&mut router, b"USER anonymous\r\n");
    (router, talk)
}

/// The data connection, which whoever listens at `port` of `to` was announced: RELATED until its first reply.
#[track_caller]
fn data(router: &mut Router, (from, by): (&str, &str), (to, back): (&str, &str), ports: (u16, u16)) {
    assert_eq!(router.session.expectations(), 1);
    let syn = tcp(from, to, ports, "S", (1, 0), b"");
    assert_eq!(router.judge(by, &syn), "RELATED > accept");
    assert_eq!(router.session.expectations(), 0);
    assert_eq!(router.judge(by, &syn), "RELATED > accept");
    // An error about it is RELATED too.
    assert_eq!(router.judge(back, &unreachable(to, from, &syn)), "RELATED < accept");
    let ports = (ports.1, ports.0);
    assert_eq!(router.judge(back, &tcp(to, from, ports, "S.", (9, 2), b"")), "ESTABLISHED < accept");
    let ports = (ports.1, ports.0);
    assert_eq!(router.judge(by, &tcp(from, to, ports, ".", (2, 10), b"data")), "ESTABLISHED > accept");
    // It was for one connection.
    let second = tcp(from, to, (ports.0 + 1, ports.1), "S", (1, 0), b"");
    assert_eq!(router.judge(by, &second), "NEW > policy_default");
}

#[test]
fn passive_ftp_data_connections_are_related() {
    let (mut router, mut talk) = control(V4);
    assert_eq!(talk.answer(&mut router, b"227 Entering (10,0,2,2,5,1).\r\n").short(), "ESTABLISHED < accept");
    data(&mut router, (V4.client, "lan"), (V4.server, "wan"), (4001, 1281));
    for pair in BOTH {
        let (mut router, mut talk) = control(pair);
        talk.answer(&mut router, b"229 Entering (|||1400|)\r\n");
        data(&mut router, (pair.client, "lan"), (pair.server, "wan"), (4001, 1400));
    }
}

#[test]
fn active_ftp_data_connections_are_related() {
    let (mut router, mut talk) = control(V4);
    assert_eq!(talk.say(&mut router, b"PORT 10,0,1,2,4,210\r\n").short(), "ESTABLISHED > accept");
    data(&mut router, (V4.server, "wan"), (V4.client, "lan"), (20, 1234));
    for (pair, command) in [(V4, "EPRT |1|10.0.1.2|1301|\r\n"), (V6, "EPRT |2|fd00:1::2|1301|\r\n")] {
        let (mut router, mut talk) = control(pair);
        talk.say(&mut router, command.as_bytes());
        data(&mut router, (pair.server, "wan"), (pair.client, "lan"), (20, 1301));
    }
}

#[test]
fn an_announcement_ends_with_its_time_and_with_its_connection() {
    let (mut router, mut talk) = control(V4);
    talk.say(&mut router, b"PORT 10,0,1,2,4,210\r\n");
    let syn = tcp(V4.server, V4.client, (20, 1234), "S", (1, 0), b"");
    router.wait(300_001);
    assert_eq!(router.judge("wan", &syn), "NEW > policy_default");

    let (mut router, mut talk) = control(V4);
    talk.answer(&mut router, b"331 password\r\n");
    talk.say(&mut router, b"PORT 10,0,1,2,4,210\r\n");
    assert_eq!(router.session.expectations(), 1);
    // The server resets the control connection, whose entry lives on for ten seconds.
    let reset = V4.down(talk.ports, "R", (talk.server, talk.client), b"");
    assert_eq!(router.judge("wan", &reset), "ESTABLISHED < accept");
    router.wait(11_000);
    assert_eq!((router.session.connections(), router.session.expectations()), (0, 0));
    assert_eq!(router.judge("wan", &syn), "NEW > policy_default");
}

#[test]
fn an_expectation_is_spent_by_a_packet_the_policy_drops() {
    let sections = FTP.replace("[established, related]", "established");
    let mut router = Router::new(&sections);
    let mut talk = Talk::open(&mut router, V4, (4000, 21));
    talk.say(&mut router, b"USER anonymous\r\n");
    talk.say(&mut router, b"PORT 10,0,1,2,4,210\r\n");
    let syn = tcp(V4.server, V4.client, (20, 1234), "S", (1, 0), b"");
    assert_eq!(router.judge("wan", &syn), "RELATED > policy_default");
    assert_eq!(router.judge("wan", &syn), "NEW > policy_default");
}

#[test]
fn a_partial_ftp_line_is_dropped_and_read_when_it_comes_whole() {
    let (mut router, mut talk) = control(V4);
    let seen = talk.say(&mut router, b"PORT 10,0,1,2,4");
    assert_eq!((seen.short().as_str(), seen.sent.len()), ("ESTABLISHED > helper_malformed", 0));
    assert_eq!(router.session.expectations(), 0);
    assert_eq!(talk.say(&mut router, b"PORT 10,0,1,2,4,210\r\n").short(), "ESTABLISHED > accept");
    assert_eq!(router.session.expectations(), 1);
    // Also when the decision about the connection is remembered.
    talk.answer(&mut router, b"200 ok\r\n");
    assert_eq!(talk.say(&mut router, b"EPRT |1|10.0.1").short(), "ESTABLISHED > helper_malformed");
}

#[test]
fn a_helper_reads_a_command_that_comes_in_ip_fragments() {
    for (pair, command) in [(V4, "PORT 10,0,1,2,4,210\r\n"), (V6, "EPRT |2|fd00:1::2|1234|\r\n")] {
        let (mut router, mut talk) = control(pair);
        let parts = pieces(&talk.next(command.as_bytes()), 24, 4);
        assert_eq!(router.send_all("lan", &parts).short(), "ESTABLISHED > accept");
        talk.client += command.len() as u32;
        data(&mut router, (pair.server, "wan"), (pair.client, "lan"), (20, 1234));
        let parts = pieces(&talk.next(b"PORT 10,0,1"), 24, 5);
        assert_eq!(router.send_all("lan", &parts).short(), "ESTABLISHED > helper_malformed");
    }
}

#[test]
fn a_full_table_refuses_new_connections_and_keeps_the_old() {
    for pair in BOTH {
        let sections = format!("{STANCE}conntrack: {{ on_full: drop }}\n");
        let mut router = Router::with(snapshot(&sections), &Options { max_entries: 8, ..Options::default() });
        let mut talk = Talk::open(&mut router, pair, (4000, 80));
        let mut port = 1000;
        let refused = loop {
            port += 1;
            let seen = router.send("lan", &udp(pair.client, pair.server, (port, 53), b""));
            if seen.short() != "NEW > accept" {
                break seen;
            }
        };
        assert_eq!(router.session.connections(), 8);
        assert_eq!(refused.short(), "INVALID - ct_table_full");
        assert_eq!((refused.fate.invalid, refused.rule, refused.sent.len()), (Some(InvalidReason::TableFull), None, 0));
        assert_eq!(talk.say(&mut router, b"still here").short(), "ESTABLISHED > accept");
        // Expired ones make room.
        router.wait(31_000);
        assert_eq!(router.judge("lan", &udp(pair.client, pair.server, (port, 53), b"")), "NEW > accept");
    }
}

#[test]
fn a_full_table_gives_up_what_was_never_answered() {
    let options = Options { max_entries: 64, ..Options::default() };
    let mut router = Router::with(snapshot(STANCE), &options);
    let mut talk = Talk::open(&mut router, V4, (4000, 80));
    for port in 0..500 {
        assert_eq!(router.judge("lan", &udp(V4.client, V4.server, (1000 + port, 53), b"")), "NEW > accept");
    }
    assert!(router.session.connections() <= 64);
    assert_eq!(talk.say(&mut router, b"still here").short(), "ESTABLISHED > accept");
}

#[test]
fn a_remembered_decision_is_not_used_for_another_port() {
    let sections = r#"
chains:
  forward:
    policy: drop
    rules:
      - { id: lan, iif: lan, verdict: accept }
      - { id: wan, iif: wan, ct_state: established, verdict: accept }
      - { id: no, iif: tag, verdict: drop }
"#;
    for pair in BOTH {
        let mut router = Router::new(sections);
        let mut talk = Talk::open(&mut router, pair, (4000, 80));
        for _ in 0..3 {
            assert_eq!(talk.say(&mut router, b"x").rule.as_deref(), Some("lan"));
            assert_eq!(talk.answer(&mut router, b"y").rule.as_deref(), Some("wan"));
        }
        let elsewhere = with_tags(&talk.next(b"x"), &[(0x8100, 100)]);
        let seen = router.send("tag", &elsewhere);
        assert_eq!((seen.short().as_str(), seen.rule.as_deref()), ("ESTABLISHED > policy_rule", Some("no")));
        assert_eq!(talk.say(&mut router, b"x").rule.as_deref(), Some("lan"));
    }
}

#[test]
fn a_reload_keeps_connections_and_decides_anew() {
    for pair in BOTH {
        let mut router = Router::new(STANCE);
        let mut talk = Talk::open(&mut router, pair, (4000, 80));
        talk.say(&mut router, b"x");
        let mut changed =
            snapshot(&STANCE.replace("[established, related], verdict: accept", "related, verdict: accept"));
        changed.epoch = 2;
        router.session.install(&std::sync::Arc::new(changed));
        assert_eq!(talk.say(&mut router, b"x").short(), "ESTABLISHED > policy_default");
        assert_eq!(router.session.connections(), 1);
    }
}

#[test]
fn link_padding_ends_at_the_router() {
    for pair in BOTH {
        let mut router = Router::new(STANCE);
        let frame = udp(pair.client, pair.server, (1, 2), b"x");
        let padded = [&frame[..], &[0xaa; 20]].concat();
        assert_eq!(router.send("lan", &padded).one("wan").len(), frame.len());
        let parts = pieces(&udp(pair.client, pair.server, (1, 2), &[1; 40]), 24, 8);
        let padded: Vec<_> = parts.iter().map(|part| [&part[..], &[0xaa; 20]].concat()).collect();
        let seen = router.send_all("lan", &padded);
        let lengths: Vec<_> = seen.sent.iter().map(|(_, frame)| frame.len()).collect();
        assert_eq!(lengths, parts.iter().map(Vec::len).collect::<Vec<_>>());
    }
}

#[test]
fn neighbour_discovery_and_arp_go_to_the_control_plane() {
    let mut router = Router::new(STANCE);
    let arp = [
        &[0xff; 6][..],
        &HOST_MAC,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        &HOST_MAC,
        &[10, 0, 1, 2],
        &[0; 6],
        &[10, 0, 1, 1],
    ];
    let seen = router.send("lan", &arp.concat());
    assert_eq!((seen.short().as_str(), seen.sent.len()), ("NONE - punt", 0));
    let target: [u8; 16] = match ip(V6.lan) {
        std::net::IpAddr::V6(addr) => addr.octets(),
        std::net::IpAddr::V4(_) => unreachable!(),
    };
    let ask = with_ttl(icmp(V6.client, V6.lan, 135, 0, 0, &target), 255);
    assert_eq!(router.judge("lan", &ask), "UNTRACKED - punt");
}
