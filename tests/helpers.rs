//! Helpers within a whole router: when they are shown a packet, what becomes of what they announce, and what is
//! counted. What each of them makes of a payload is the business of its own tests and of the referee.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is test code")]

mod common;

use common::*;
use flowgate::cli::replay::session::{Deal, Options};
use flowgate::metrics::label::{ExpectResult, HelperResult};

/// In this order they are counted.
const HELPERS: [&str; 5] = ["ftp", "tftp", "irc", "phones", "tunnels"];

const POLICY: &str = r#"
helpers:
  ftp: { type: ftp }
  tftp: { type: tftp, ports: [69, 6969] }
  irc: { type: irc, max_expected: 2, timeout: 10s }
  phones: { type: sip }
  tunnels: { type: pptp }
chains:
  forward:
    policy: drop
    rules:
      - { id: known, ct_state: [established, related], verdict: accept }
      - { id: closed, iif: wan, l4proto: gre, ct_state: new, verdict: drop }
      - { id: secret, daddr: 10.0.2.99, verdict: drop }
      - { id: out, iif: lan, ct_state: new, verdict: accept }
"#;

/// One worker, and several with every packet dealt to one of them at random.
fn routers() -> impl Iterator<Item = Router> {
    [1, 2, 7].into_iter().map(|workers| {
        let deal = Deal::Random(workers as u64);
        Router::with(snapshot(POLICY), &Options { workers, deal, ..Options::default() })
    })
}

/// Created, matched, expired, removed, refused of a helper.
fn expectations(router: &Router, helper: &str) -> [u64; 5] {
    use ExpectResult::{Created, Expired, Matched, Refused, Removed};
    let number = HELPERS.iter().position(|name| *name == helper).unwrap();
    let counters = router.session.counters();
    [Created, Matched, Expired, Removed, Refused].map(|result| counters.expectations(number, result))
}

const REQUEST: &[u8] = b"\0\x01file\0octet\0";

#[test]
fn the_first_packet_of_a_connection_is_read() {
    for mut router in routers() {
        for pair in BOTH {
            let request = udp(pair.client, pair.server, (2000, 69), REQUEST);
            assert_eq!(router.judge("lan", &request), "NEW > accept");
            assert_eq!(router.session.expectations(), 1);
            let data = udp(pair.server, pair.client, (3000, 2000), b"\0\x03\0\x01data");
            assert_eq!(router.judge("wan", &data), "RELATED > accept");
            let ack = udp(pair.client, pair.server, (2000, 3000), b"\0\x04\0\x01");
            assert_eq!(router.judge("lan", &ack), "ESTABLISHED < accept");
            assert_eq!(router.judge("wan", &data), "ESTABLISHED > accept");
        }
        assert_eq!(expectations(&router, "tftp"), [2, 2, 0, 0, 0]);
        assert_eq!(router.session.counters().helper_packets(1, HelperResult::Parsed), 2);
        router.assert_balance();
    }
}

#[test]
fn a_first_packet_that_the_policy_drops_announces_nothing() {
    for mut router in routers() {
        let request = udp(V4.client, "10.0.2.99", (2000, 69), REQUEST);
        assert_eq!(router.judge("lan", &request), "NEW > policy_rule");
        assert_eq!((router.session.connections(), router.session.expectations()), (0, 0));
        assert_eq!(expectations(&router, "tftp"), [0; 5]);
    }
}

#[test]
fn a_first_packet_that_its_helper_drops_leaves_neither_connection_nor_announcement() {
    for mut router in routers() {
        assert_eq!(router.judge("lan", &udp(V4.client, V4.server, (2000, 69), REQUEST)), "NEW > accept");
        // Another request, to another port: its data would come to where the first one's is awaited.
        let second = udp(V4.client, V4.server, (2000, 6969), REQUEST);
        for _ in 0..2 {
            assert_eq!(router.judge("lan", &second), "NEW > helper_malformed");
        }
        assert_eq!((router.session.connections(), router.session.expectations()), (1, 1));
        assert_eq!(expectations(&router, "tftp"), [1, 0, 0, 0, 2]);
        // Once the data has come there is room for it.
        assert_eq!(router.judge("wan", &udp(V4.server, V4.client, (3000, 2000), b"data")), "RELATED > accept");
        assert_eq!(router.judge("lan", &second), "NEW > accept");
        router.assert_balance();
    }
}

fn dcc(port: u16) -> Vec<u8> {
    format!("PRIVMSG bob :\x01DCC CHAT chat {} {port}\x01\r\n", u32::from_be_bytes([10, 0, 1, 2])).into_bytes()
}

#[test]
fn each_end_of_an_expectation_is_counted_for_its_helper() {
    for mut router in routers() {
        let mut talk = Talk::open(&mut router, V4, (4000, 6667));
        // Two at a time: the third pushes the first out.
        for port in [4100, 4101, 4102] {
            assert_eq!(talk.say(&mut router, &dcc(port)).short(), "ESTABLISHED > accept");
        }
        assert_eq!(router.session.expectations(), 2);
        assert_eq!(expectations(&router, "irc"), [3, 0, 0, 1, 0]);
        let knock = |port| tcp("10.0.2.77", V4.client, (9, port), "S", (1, 0), b"");
        assert_eq!(router.judge("wan", &knock(4100)), "NEW > policy_default");
        assert_eq!(router.judge("wan", &knock(4101)), "RELATED > accept");
        assert_eq!(expectations(&router, "irc"), [3, 1, 0, 1, 0]);
        // Another connection may not announce the same, and the packet that does is dropped.
        let mut other = Talk::open(&mut router, V4, (4001, 6667));
        assert_eq!(other.say(&mut router, &dcc(4102)).short(), "ESTABLISHED > helper_malformed");
        assert_eq!(expectations(&router, "irc"), [3, 1, 0, 1, 1]);
        // The same connection may: the announcement starts anew.
        router.wait(6_000);
        talk.say(&mut router, &dcc(4102));
        router.wait(6_000);
        assert_eq!(expectations(&router, "irc"), [4, 1, 0, 2, 1]);
        router.wait(5_000);
        assert_eq!(router.session.expectations(), 0);
        assert_eq!(expectations(&router, "irc"), [4, 1, 1, 2, 1]);
        assert_eq!((expectations(&router, "ftp"), expectations(&router, "tftp")), ([0; 5], [0; 5]));
        // And what is open when its connection ends goes with it.
        talk.say(&mut router, &dcc(4103));
        let reset = V4.down(talk.ports, "R", (talk.server, talk.client), b"");
        assert_eq!(router.judge("wan", &reset), "ESTABLISHED < accept");
        router.wait(9_000);
        assert_eq!(router.session.expectations(), 1);
        router.wait(1_001);
        assert_eq!(router.session.expectations(), 0);
        router.assert_balance();
    }
}

#[test]
fn a_first_packet_in_fragments_is_read_whole() {
    for mut router in routers() {
        for pair in BOTH {
            let name = [b'x'; 200];
            let request = udp(pair.client, pair.server, (2000, 69), &[b"\0\x01", &name[..], b"\0octet\0"].concat());
            let seen = router.send_all("lan", &pieces(&request, 64, 7));
            assert_eq!(seen.short(), "NEW > accept");
            let data = udp(pair.server, pair.client, (3000, 2000), b"\0\x03\0\x01data");
            assert_eq!(router.judge("wan", &data), "RELATED > accept");
        }
    }
}

/// A SIP message of a host, with a body.
fn sip(first: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("{first}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[test]
fn a_registered_phone_is_called_by_its_registrar_as_often_as_it_likes() {
    for mut router in routers() {
        let up = |text: &[u8]| udp(V4.client, V4.server, (5062, 5060), text);
        let down = |text: &[u8]| udp(V4.server, V4.client, (5060, 5062), text);
        let contact = "CSeq: 1 REGISTER\r\nContact: <sip:me@10.0.1.2:5070>;expires=600\r\n";
        assert_eq!(router.judge("lan", &up(&sip("REGISTER sip:x SIP/2.0", contact, ""))), "NEW > accept");
        let call = |from, port| {
            let body = "v=0\r\nc=IN IP4 10.0.2.2\r\nm=audio 6000 RTP/AVP 0\r\n";
            udp(from, V4.client, (port, 5070), &sip("INVITE sip:me SIP/2.0", "CSeq: 1 INVITE\r\n", body))
        };
        // Not before the registrar has agreed.
        assert_eq!(router.judge("wan", &call(V4.server, 5071)), "NEW > policy_default");
        assert_eq!(router.judge("wan", &down(&sip("SIP/2.0 200 OK", contact, ""))), "ESTABLISHED < accept");
        for port in [5072, 5073] {
            assert_eq!(router.judge("wan", &call(V4.server, port)), "RELATED > accept");
        }
        assert_eq!(router.judge("wan", &call("10.0.2.77", 5072)), "NEW > policy_default");
        // These connections have the helper too: the call's media are expected. Both calls describe the same.
        assert_eq!(expectations(&router, "phones"), [3, 2, 0, 0, 0]);
        assert_eq!(router.judge("lan", &udp(V4.client, V4.server, (4000, 6000), b"rtp")), "RELATED > accept");
        assert_eq!(router.judge("lan", &udp(V4.client, V4.server, (4001, 6001), b"rtcp")), "RELATED > accept");
        // A connection of signalling lives on for an hour, and the registration as long as was agreed.
        router.wait(599_000);
        assert_eq!(router.judge("wan", &call(V4.server, 5074)), "RELATED > accept");
        router.wait(2_000);
        assert_eq!(router.judge("wan", &call(V4.server, 5075)), "NEW > policy_default");
        router.wait(2_990_000);
        let options = sip("OPTIONS sip:x SIP/2.0", "CSeq: 2 OPTIONS\r\n", "");
        assert_eq!(router.judge("wan", &down(&options)), "ESTABLISHED < accept");
        router.assert_balance();
    }
}

/// A PPTP control message with zeros behind what is given.
fn control_message(kind: u8, len: usize, data: &[u8]) -> Vec<u8> {
    let mut octets = [0, 12 + len as u8, 0, 1, 0x1a, 0x2b, 0x3c, 0x4d, 0, kind, 0, 0].to_vec();
    octets.extend(data);
    octets.resize(12 + len, 0);
    octets
}

/// Enhanced GRE to whoever has that call id.
fn gre(pair: (&str, &str), call: u8) -> Vec<u8> {
    raw(pair.0, pair.1, 47, &[0x30, 1, 0x88, 0x0b, 0, 4, 0, call, 0, 0, 0, 1, b'd', b'a', b't', b'a'])
}

const UP: (&str, &str) = (V4.client, V4.server);
const DOWN: (&str, &str) = (V4.server, V4.client);

/// Sets a call up: the client's id is 50, the server's 60.
fn call(router: &mut Router, talk: &mut Talk) {
    talk.say(router, &control_message(7, 156, &[0, 50]));
    talk.answer(router, &control_message(8, 20, &[0, 60, 0, 50, 1]));
}

fn tunnel(router: &mut Router) -> Talk {
    let mut talk = Talk::open(router, V4, (4000, 1723));
    talk.say(router, &control_message(1, 144, &[1, 0]));
    talk.answer(router, &control_message(2, 144, &[1, 0, 1]));
    call(router, &mut talk);
    assert_eq!(router.session.expectations(), 2);
    talk
}

#[test]
fn both_directions_of_a_pptp_call_are_one_connection_on_any_number_of_workers() {
    for mut router in routers() {
        let mut talk = tunnel(&mut router);
        // Whoever speaks first spends both expectations.
        assert_eq!(router.judge("wan", &gre(DOWN, 50)), "RELATED > accept");
        assert_eq!(router.session.expectations(), 0);
        assert_eq!(expectations(&router, "tunnels"), [2, 1, 0, 1, 0]);
        assert_eq!(router.judge("lan", &gre(UP, 60)), "ESTABLISHED < accept");
        assert_eq!(router.judge("wan", &gre(DOWN, 50)), "ESTABLISHED > accept");
        assert_eq!(router.judge("wan", &unreachable(V4.server, V4.client, &gre(UP, 60))), "RELATED > accept");
        assert_eq!(router.judge("wan", &gre(DOWN, 51)), "NEW > policy_rule");
        assert_eq!(router.session.connections(), 2);
        // The server ends the call: its connection is gone, and its ids are forgotten.
        talk.answer(&mut router, &control_message(13, 136, &[0, 60, 1]));
        assert_eq!(router.judge("wan", &gre(DOWN, 50)), "NEW > policy_rule");
        assert_eq!(router.session.connections(), 1);
        // The next call may have the same ids.
        call(&mut router, &mut talk);
        assert_eq!(router.judge("lan", &gre(UP, 60)), "RELATED > accept");
        assert_eq!(router.judge("wan", &gre(DOWN, 50)), "ESTABLISHED < accept");
        // In fragments too.
        let mut long = gre(UP, 60);
        long.extend([7; 100]);
        let len = (long.len() - LINK) as u16;
        long[LINK + 2..LINK + 4].copy_from_slice(&len.to_be_bytes());
        seal(&mut long);
        assert_eq!(router.send_all("lan", &pieces(&long, 64, 9)).short(), "ESTABLISHED > accept");
        router.assert_balance();
    }
}

#[test]
fn the_end_of_its_control_connection_ends_a_call() {
    for mut router in routers() {
        let talk = tunnel(&mut router);
        assert_eq!(router.judge("lan", &gre(UP, 60)), "RELATED > accept");
        assert_eq!(router.judge("wan", &gre(DOWN, 50)), "ESTABLISHED < accept");
        let reset = V4.down(talk.ports, "R", (talk.server, talk.client), b"");
        assert_eq!(router.judge("wan", &reset), "ESTABLISHED < accept");
        router.wait(9_000);
        assert_eq!(router.judge("wan", &gre(DOWN, 50)), "ESTABLISHED < accept");
        router.wait(2_000);
        assert_eq!(router.judge("wan", &gre(DOWN, 50)), "NEW > policy_rule");
        assert_eq!(router.session.connections(), 0);
        router.assert_balance();
    }
}

#[test]
fn call_ids_are_forgotten_with_the_connection_that_used_them() {
    for mut router in routers() {
        tunnel(&mut router);
        assert_eq!(router.judge("lan", &gre(UP, 60)), "RELATED > accept");
        router.wait(31_000);
        assert_eq!(router.judge("lan", &gre(UP, 60)), "NEW > accept");
        assert_eq!(router.judge("wan", &gre(DOWN, 50)), "NEW > policy_rule");
        router.assert_balance();
    }
}
