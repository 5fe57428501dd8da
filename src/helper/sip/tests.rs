use super::super::testing::{Talk, addr};
use super::*;
use crate::net::{Addr, Direction, Family};
use Direction::{Original, Reply};
use proptest::prelude::*;

/// The addresses as URIs write them, client and server.
fn hosts(family: Family) -> [&'static str; 2] {
    match family {
        Family::V4 => ["10.1.0.2", "10.2.0.2"],
        Family::V6 => ["[2001:db8:1::2]", "[2001:db8:2::2]"],
    }
}

/// A message with a session description of one connection line and some media.
fn message(family: Family, first: &str, headers: &str, connection: &str, media: &[(&str, u32)]) -> String {
    let kind = if family == Family::V4 { 4 } else { 6 };
    let mut body = String::new();
    if !media.is_empty() {
        body.push_str(&format!("v=0\r\no=- 1 1 IN IP{kind} x\r\ns=-\r\nc=IN IP{kind} {connection}\r\nt=0 0\r\n"));
        media.iter().for_each(|(what, port)| body.push_str(&format!("m={what} {port} RTP/AVP 0\r\n")));
    }
    format!("{first}\r\nVia: SIP/2.0/UDP x\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// The client's invitation.
fn invite(family: Family, media: &[(&str, u32)]) -> String {
    let own = hosts(family)[0].trim_matches(['[', ']']);
    message(family, "INVITE sip:b@x SIP/2.0", "CSeq: 1 INVITE\r\n", own, media)
}

fn register(family: Family, contact: &str, expires: &str) -> String {
    let headers = format!("CSeq: 7 REGISTER\r\nContact: {contact}\r\n{expires}").replace('%', hosts(family)[0]);
    message(family, "REGISTER sip:x SIP/2.0", &headers, "", &[])
}

fn registered(family: Family, code: u32, contact: &str) -> String {
    let headers = format!("CSeq: 7 REGISTER\r\nm: {contact}\r\n").replace('%', hosts(family)[0]);
    message(family, &format!("SIP/2.0 {code} x"), &headers, "", &[])
}

fn media(family: Family, src: Option<Addr>, dst: Addr, (class, port): (u8, u16)) -> Expectation {
    Expectation { src, class, shared: true, ..Expectation::new(family, proto::UDP, dst, port) }
}

/// Classes and ports of what is open.
fn open(talk: &Talk<'_>) -> Vec<(u8, u16)> {
    talk.notes.open.iter().map(|(e, _)| (e.class, e.dst_key)).collect()
}

#[test]
fn a_call_announces_two_flows_for_each_medium_of_each_side() {
    for family in Family::ALL {
        let mut talk = Talk::new(&Sip, family);
        talk.both_seen = false;
        let (client, server) = (talk.original.src, talk.original.dst);
        let text = invite(family, &[("audio", 4001), ("video", 5000), ("image", 6000), ("audio", 7000)]);
        assert_eq!(talk.show(Original, text.as_bytes()), Outcome::Parsed);
        assert_eq!(talk.notes.timer, Some(3_600_000));
        let flows = [(1, 4000), (1, 4001), (2, 5000), (2, 5001), (3, 6000), (3, 6001)];
        assert_eq!(talk.announced(), flows.map(|flow| media(family, Some(server), client, flow)));
        let peer = hosts(family)[1].trim_matches(['[', ']']);
        let answer = message(family, "SIP/2.0 200 OK", "CSeq: 1 INVITE\r\n", peer, &[("audio", 9000)]);
        assert_eq!(talk.show(Reply, answer.as_bytes()), Outcome::Parsed);
        let flows = [(1, 9000), (1, 9001)];
        assert_eq!(talk.announced(), flows.map(|flow| media(family, Some(client), server, flow)));
    }
}

#[test]
fn media_of_another_host_are_expected_only_if_they_need_not_be_direct() {
    let mut talk = Talk::new(&Sip, Family::V4);
    let text = message(Family::V4, "INVITE sip:b SIP/2.0", "CSeq: 1 INVITE\r\n", "10.9.0.9", &[("audio", 4000)]);
    assert_eq!(talk.show(Original, text.as_bytes()), Outcome::Ignored);
    assert_eq!(talk.announced(), []);
    talk.settings.direct_media = false;
    assert_eq!(talk.show(Original, text.as_bytes()), Outcome::Parsed);
    let elsewhere = addr("10.9.0.9").1;
    assert_eq!(talk.announced(), [(1, 4000), (1, 4001)].map(|flow| media(Family::V4, None, elsewhere, flow)));
}

#[test]
fn media_behind_the_receivers_own_port_need_not_cross_the_router() {
    let v4 = Family::V4;
    let (near, far) = ("10.2.0.9", "10.1.0.9");
    let announced = |direct, external, connection| {
        let mut talk = Talk::new(&Sip, v4);
        (talk.settings.direct_media, talk.settings.external_media) = (direct, external);
        talk.notes.near = vec![addr("10.2.0.9").1, talk.original.dst];
        talk.show(
            Original,
            message(v4, "INVITE sip:b@x SIP/2.0", "CSeq: 1 INVITE\r\n", connection, &[("audio", 4000)]).as_bytes(),
        );
        talk.announced().len()
    };
    assert_eq!([announced(false, true, near), announced(false, true, far)], [0, 2]);
    assert_eq!([announced(false, false, near), announced(true, true, near)], [2, 0]);
}

#[test]
fn what_ends_a_call_withdraws_its_media() {
    let v4 = Family::V4;
    let say = |first: &str, method: &str, number: u32| {
        message(v4, first, &format!("CSeq: {number} {method}\r\n"), "10.1.0.2", &[])
    };
    let kept: &[(u8, u16)] = &[(1, 4000), (1, 4001)];
    let gone: &[(u8, u16)] = &[];
    let rows = [
        (Original, say("BYE sip:b SIP/2.0", "BYE", 2), gone),
        (Reply, say("BYE sip:b SIP/2.0", "BYE", 2), gone),
        (Original, say("INVITE sip:b SIP/2.0", "INVITE", 2), gone),
        (Reply, say("SIP/2.0 486 Busy", "INVITE", 1), gone),
        (Reply, say("SIP/2.0 302 Moved", "UPDATE", 1), gone),
        (Reply, say("SIP/2.0 500 Error", "PRACK", 1), gone),
        (Reply, say("SIP/2.0 486 Busy", "INVITE", 2), kept),
        (Reply, say("SIP/2.0 180 Ringing", "INVITE", 1), kept),
        (Reply, say("SIP/2.0 486 Busy", "BYE", 1), kept),
        (Original, say("CANCEL sip:b SIP/2.0", "CANCEL", 1), kept),
    ];
    for (direction, text, left) in rows {
        let mut talk = Talk::new(&Sip, v4);
        talk.show(Original, invite(v4, &[("audio", 4000)]).as_bytes());
        talk.show(direction, text.as_bytes());
        assert_eq!(open(&talk), left, "{text}");
    }
}

#[test]
fn a_registration_waits_for_the_registrar_and_lasts_as_long_as_it_says() {
    for family in Family::ALL {
        for transport in [proto::UDP, proto::TCP] {
            let mut talk = Talk::new(&Sip, family);
            talk.original.proto = transport;
            let (client, server) = (talk.original.src, talk.original.dst);
            let text = register(family, "<sip:me@%:5070>", "Expires: 60\r\n");
            assert_eq!(talk.show(Original, text.as_bytes()), Outcome::Parsed);
            let requests = Expectation {
                permanent: true,
                inactive: true,
                helper: Some(3),
                ..Expectation::new(family, transport, client, 5070).sent_by(server)
            };
            assert_eq!(talk.announced(), [requests]);
            let other = if family == Family::V4 { "10.9.9.9" } else { "[2001:db8::9]" };
            let list = format!("<sip:x@{other}:5070>;expires=5, <sip:me@%:5070>;expires=90");
            let ok = registered(family, 200, &list);
            assert_eq!(talk.show(Reply, ok.as_bytes()), Outcome::Parsed);
            assert_eq!(talk.notes.open, [(requests, Some(90_000))]);
            assert_eq!(talk.show(Reply, registered(family, 403, "").as_bytes()), Outcome::Parsed);
            assert_eq!(talk.notes.open, []);
        }
    }
}

#[test]
fn registrations_in_rows() {
    let v4 = Family::V4;
    let refused = Outcome::Drop(Malformed::Arguments);
    let rows = [
        ("<sip:me@%>", "Expires: 60\r\n", Outcome::Parsed, Some(5060)),
        ("sip:%:5070", "Expires: 60\r\n", Outcome::Parsed, Some(5070)),
        ("<sip:me@%:5070>;expires=60", "", Outcome::Parsed, Some(5070)),
        ("<sip:me@%:5070>;expires=0", "Expires: 60\r\n", Outcome::Parsed, None),
        ("<sip:me@%:5070>", "", Outcome::Parsed, None),
        ("<sip:me@%:5070;transport=UDP>", "Expires: 60\r\n", Outcome::Parsed, Some(5070)),
        ("<sip:me@%:5070;transport=tcp>", "Expires: 60\r\n", Outcome::Ignored, None),
        ("<sip:me@%:5070;transport=tls>", "Expires: 60\r\n", Outcome::Ignored, None),
        ("<sip:me@10.1.0.3:5070>", "Expires: 60\r\n", Outcome::Ignored, None),
        ("<sip:me@host.example>", "Expires: 60\r\n", Outcome::Ignored, None),
        ("<sip:me@%:80>", "Expires: 60\r\n", Outcome::Ignored, None),
        ("*", "Expires: 60\r\n", Outcome::Ignored, None),
        ("<sip:me@%:5070>;expires=soon", "Expires: 60\r\n", refused, None),
        ("<sip:me@%:5070>;expires=4294967296", "", refused, None),
    ];
    for (contact, expires, outcome, port) in rows {
        let mut talk = Talk::new(&Sip, v4);
        assert_eq!(talk.show(Original, register(v4, contact, expires).as_bytes()), outcome, "{contact} {expires}");
        assert_eq!(talk.announced().first().map(|e| e.dst_key), port, "{contact} {expires}");
    }
    // Not for any registrar, unless told so; and not on a connection that was itself announced.
    let text = register(v4, "<sip:me@%:5070>", "Expires: 60\r\n");
    let mut talk = Talk::new(&Sip, v4);
    talk.settings.direct_signalling = false;
    talk.show(Original, text.as_bytes());
    assert_eq!(talk.announced()[0].src, None);
    talk.expected = true;
    assert_eq!(talk.show(Original, text.as_bytes()), Outcome::Ignored);
}

#[test]
fn a_longest_registration_fits_the_clock() {
    let mut talk = Talk::new(&Sip, Family::V4);
    talk.show(Original, register(Family::V4, "<sip:me@%:5070>", "Expires: 60\r\n").as_bytes());
    talk.show(Reply, registered(Family::V4, 200, "<sip:me@%:5070>;expires=4294967295").as_bytes());
    assert_eq!(talk.notes.open[0].1, Some(24 * 86_400_000));
}

#[test]
fn messages_that_must_not_pass() {
    let v4 = Family::V4;
    let good = invite(v4, &[("audio", 4000)]);
    let rows = [
        good.replace("CSeq: 1 INVITE\r\n", ""),
        good.replace("CSeq: 1", "CSeq: one"),
        good.replace("CSeq: 1", "CSeq: 4294967296"),
        good.replace("audio 4000", "audio 1023"),
        good.replace("audio 4000", "audio 65536"),
        good.replace("c=IN", "x=IN"),
        good.replace("INVITE sip:b@x SIP/2.0", "SIP/2.0 OK"),
        good.replace("INVITE sip:b@x SIP/2.0", "SIP/2.0 200 OK").replace("CSeq: 1", "CSeq: "),
    ];
    for text in rows {
        let mut talk = Talk::new(&Sip, v4);
        assert_eq!(talk.show(Original, text.as_bytes()), Outcome::Drop(Malformed::Arguments), "{text}");
        assert_eq!(talk.announced(), []);
    }
    let mut talk = Talk::new(&Sip, v4);
    talk.notes.answer = Announced::Refused;
    assert_eq!(talk.show(Original, good.as_bytes()), Outcome::Drop(Malformed::Refused));
    // What others have announced is as good.
    talk.notes.answer = Announced::Already;
    assert_eq!(talk.show(Original, good.as_bytes()), Outcome::Parsed);
    let flow = Tuple { src_key: 0, dst_key: 4000, ..talk.original.inverse().unwrap() };
    talk.notes.elsewhere.push((flow, 1));
    talk.notes.answer = Announced::Refused;
    assert_eq!(talk.show(Original, good.as_bytes()), Outcome::Parsed);
}

#[test]
fn a_stream_is_read_message_by_message() {
    let v4 = Family::V4;
    let stream = |parts: &[&str]| {
        let mut talk = Talk::new(&Sip, v4);
        talk.original.proto = proto::TCP;
        let outcome = talk.show(Original, parts.concat().as_bytes());
        (outcome, open(&talk))
    };
    let call = invite(v4, &[("audio", 4000)]);
    let bye = message(v4, "BYE sip:b SIP/2.0", "CSeq: 2 BYE\r\n", "", &[]);
    let both = vec![(1, 4000), (1, 4001)];
    assert_eq!(stream(&[&call]), (Outcome::Parsed, both.clone()));
    assert_eq!(stream(&[&call, &bye]), (Outcome::Parsed, vec![]));
    assert_eq!(stream(&[&bye, &call]), (Outcome::Parsed, both.clone()));
    assert_eq!(stream(&[&call, &bye[..40]]), (Outcome::Parsed, both));
    // A message that is not whole is not read.
    assert_eq!(stream(&[&call[..call.len() - 1]]), (Outcome::Ignored, vec![]));
    assert_eq!(stream(&[&call.replace("Content-Length", "X-Length")]), (Outcome::Ignored, vec![]));
    for length in ["99999", "4294967295", "99999999999999999999"] {
        let text = format!("INVITE sip:b SIP/2.0\r\nCSeq: 1 INVITE\r\nContent-Length: {length}\r\n\r\nv=0\r\n");
        assert_eq!(stream(&[&text]), (Outcome::Ignored, vec![]));
    }
    let mut talk = Talk::new(&Sip, v4);
    talk.original.proto = proto::TCP;
    talk.both_seen = false;
    assert_eq!((talk.show(Original, call.as_bytes()), talk.notes.timer), (Outcome::Ignored, None));
}

proptest! {
    #[test]
    fn any_octets_pass_without_panic(payload in prop::collection::vec(any::<u8>(), 0..200), v6: bool, tcp: bool) {
        let mut talk = Talk::new(&Sip, if v6 { Family::V6 } else { Family::V4 });
        if tcp {
            talk.original.proto = proto::TCP;
        }
        talk.show(Original, &payload);
    }

    /// Messages with pieces cut out, doubled and put elsewhere, in both directions.
    #[test]
    fn anything_like_a_message_passes_without_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, any::<prop::sample::Index>(), any::<u8>()), 0..5),
        which in 0usize..4,
        v6: bool,
        tcp: bool,
    ) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let mut text = [
            invite(family, &[("audio", 4000), ("video", 5000)]),
            message(family, "SIP/2.0 200 OK", "CSeq: 1 INVITE\r\n", "10.2.0.2", &[("audio", 4000)]),
            register(family, "<sip:a@%:5070>, <sip:b@%:5071>;expires=5", "Expires: 60\r\n"),
            registered(family, 200, "<sip:a@%:5071>;expires=5, <sip:b@%:5070>;expires=9"),
        ][which].clone().into_bytes();
        for (from, len, to, octet) in cuts {
            let from = from.index(text.len().max(1)).min(text.len());
            let piece: Vec<u8> = text.drain(from..(from + len).min(text.len())).collect();
            let to = to.index(text.len() + 1);
            text.splice(to..to, piece.iter().copied().chain([octet]).chain(piece.iter().copied()));
        }
        let mut talk = Talk::new(&Sip, family);
        if tcp {
            talk.original.proto = proto::TCP;
        }
        talk.show(Original, register(family, "<sip:a@%:5070>", "Expires: 60\r\n").as_bytes());
        for direction in [Original, Reply] {
            talk.show(direction, &text);
        }
    }
}
