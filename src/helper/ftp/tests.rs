use super::super::Tuple;
use super::super::testing::Notes;
use super::super::{Outcome as Whole, Settings};
use super::*;
use Direction::{Original, Reply};
use proptest::prelude::*;
use std::net::Ipv6Addr;

const CLIENT: u32 = 0x0a01_0002;
const SERVER: u32 = 0x0a02_0002;
const STRICT: Settings = Settings { loose: false, direct_media: true, external_media: false, direct_signalling: true };
const LOOSE: Settings = Settings { loose: true, ..STRICT };

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Accept,
    Drop(Malformed),
    Expect(Expectation),
}

fn inspect(ctx: &Context<'_>, state: &mut State, payload: &[u8]) -> Outcome {
    let mut notes = Notes::default();
    match Ftp.inspect(ctx, state, payload, &mut notes) {
        Whole::Ignored => Outcome::Accept,
        Whole::Parsed => Outcome::Expect(notes.expected[0]),
        Whole::Drop(malformed) => Outcome::Drop(malformed),
    }
}

/// A control connection of which both sides have sent one line already.
struct Session {
    original: Tuple,
    state: State,
    next: [u32; 2],
    settings: Settings,
}

impl Session {
    fn new(family: Family) -> Self {
        let (src, dst) = match family {
            Family::V4 => (Addr::v4(CLIENT), Addr::v4(SERVER)),
            Family::V6 => (v6("2001:db8:1::2"), v6("2001:db8:2::2")),
        };
        let original = Tuple { src, dst, src_key: 40_000, dst_key: 21, proto: proto::TCP, family };
        let mut s = Session { original, state: State::default(), next: [1001, u32::MAX - 20], settings: STRICT };
        assert_eq!(s.send(Original, b"USER anonymous\r\n"), Outcome::Accept);
        assert_eq!(s.send(Reply, b"331 Tell me a password.\r\n"), Outcome::Accept);
        s
    }

    fn at(&mut self, direction: Direction, seq: u32, payload: &[u8]) -> Outcome {
        let reply = self.original.inverse().unwrap();
        let ctx = Context {
            original: &self.original,
            reply: &reply,
            direction,
            seq,
            both_seen: true,
            expected: false,
            number: 0,
            settings: self.settings,
        };
        inspect(&ctx, &mut self.state, payload)
    }

    /// The next segment in order; it counts as sent only if it passes.
    fn send(&mut self, direction: Direction, payload: &[u8]) -> Outcome {
        let seq = self.next[direction.index()];
        let outcome = self.at(direction, seq, payload);
        if !matches!(outcome, Outcome::Drop(_)) {
            self.next[direction.index()] = seq.wrapping_add(payload.len() as u32);
        }
        outcome
    }
}

fn v6(text: &str) -> Addr {
    Addr::v6(text.parse::<Ipv6Addr>().unwrap().octets())
}

/// What is expected of a segment, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Pass,
    Drop,
    /// A connection to this port of the sender.
    Port(u16),
}

fn short(direction: Direction, session: &Session, outcome: Outcome) -> Is {
    let (sender, other) = match direction {
        Original => (session.original.src, session.original.dst),
        Reply => (session.original.dst, session.original.src),
    };
    match outcome {
        Outcome::Accept => Is::Pass,
        Outcome::Drop(_) => Is::Drop,
        Outcome::Expect(e) => {
            let family = session.original.family;
            assert_eq!(e, Expectation::new(family, proto::TCP, sender, e.dst_key).sent_by(other));
            Is::Port(e.dst_key)
        }
    }
}

fn check(family: Family, direction: Direction, rows: &[(&str, Is)]) {
    for (text, is) in rows {
        let mut session = Session::new(family);
        let outcome = session.send(direction, text.as_bytes());
        assert_eq!(short(direction, &session, outcome), *is, "{direction:?} {text:?}");
    }
}

#[test]
fn client_rows() {
    check(
        Family::V4,
        Original,
        &[
            ("PORT 10,1,0,2,4,210\r\n", Is::Port(1234)),
            ("port 10,1,0,2,4,210\r\n", Is::Port(1234)),
            ("PoRt 10,1,0,2,4,210\r\n", Is::Port(1234)),
            ("PORT 10,1,0,2,4,210\r\nNOOP\r\n", Is::Port(1234)),
            ("PORT 10,1,0,2,4,210\r", Is::Port(1234)),
            ("PORT 10,1,0,2,4,210\n", Is::Drop),
            ("PORT 10,1,0,2,4\r\n", Is::Drop),
            ("PORT 10,1,0,2,,210\r\n", Is::Drop),
            ("PORT 10,1,0,2,4,\r\n", Is::Drop),
            ("PORT 10,1,0,2,4,210,\r\n", Is::Drop),
            ("PORT 10,1,0,2,4,210,7\r\n", Is::Drop),
            ("PORT 10,1,0,2", Is::Drop),
            ("PORT 1,2,3,4,5", Is::Drop),
            ("PORT 10,1, 0,2,4,210\r\n", Is::Drop),
            ("PORT 10,1,0,2,4,210 \r\n", Is::Drop),
            ("PORT  10,1,0,2,4,210\r\n", Is::Drop),
            ("PORT\r\n", Is::Drop),
            ("PORT ", Is::Drop),
            (" PORT 10,1,0,2,4,210\r\n", Is::Pass),
            ("  PORT 10,1,0,2,4,210\r\n", Is::Pass),
            ("NOOP\r\nPORT 10,1,0,2,4,210\r\n", Is::Pass),
            ("PORTX 10,1,0,2,4,210\r\n", Is::Port(1234)),
            ("PORT 10,1,0,77,4,210\r\n", Is::Pass),
            ("PORT 10,1,0,2,0,0\r\n", Is::Port(0)),
            // Not range-checked: 256 spills into the octet above.
            ("PORT 10,0,256,2,4,210\r\n", Is::Port(1234)),
            ("PORT 10,1,0,2,3,466\r\n", Is::Port(0x3d2)),
            ("EPRT !1!10.1.0.2!1301!\r\n", Is::Port(1301)),
            ("eprt |1|10.1.0.2|1301|\r\n", Is::Port(1301)),
            ("EPRT |1|10.1.0.2|1301|", Is::Port(1301)),
            ("EPRT |1|10.1.0.2|70000|\r\n", Is::Port(4464)),
            ("EPRT |1|10.1.0.2|0|\r\n", Is::Drop),
            ("EPRT |1|10.1.0.2|65536|\r\n", Is::Drop),
            ("EPRT |1|10.1.0.2||\r\n", Is::Drop),
            ("EPRT |2|10.1.0.2|1301|\r\n", Is::Drop),
            ("EPRT |2|2001:db8:1::2|1301|\r\n", Is::Drop),
            ("EPRT |1|10.1.0|1301|\r\n", Is::Drop),
            ("EPRT |1|10.1.0.2.9|1301|\r\n", Is::Drop),
            ("EPRT |1|10.1.0.2|1301\r\n", Is::Drop),
            ("EPRT |1|10.1.0.2|13 1|\r\n", Is::Drop),
            ("EPRT |1!10.1.0.2|1301|\r\n", Is::Drop),
            ("EPRT  1 10.1.0.2 1301 \r\n", Is::Drop),
            ("EPRT 11110.1.0.2113011\r\n", Is::Drop),
            ("EPRT |1|10.1.0.77|1301|\r\n", Is::Pass),
            ("P", Is::Drop),
            ("PO", Is::Drop),
            ("PORT", Is::Drop),
            ("E", Is::Drop),
            ("EP", Is::Drop),
            ("EPR", Is::Drop),
            ("EPSV\r\n", Is::Pass),
            ("PASV\r\n", Is::Pass),
            ("STOR P", Is::Pass),
            ("227 x (10,1,0,2,5,1)\r\n", Is::Pass),
        ],
    );
}

#[test]
fn server_rows() {
    check(
        Family::V4,
        Reply,
        &[
            ("227 Entering Passive Mode (10,2,0,2,5,1).\r\n", Is::Port(1281)),
            ("227 =10,2,0,2,5,2\r\n", Is::Port(1282)),
            ("227 10,2,0,2,5,2 \r\n", Is::Port(1282)),
            ("227 Entering Passive Mode (10,2,0,77,5,1).\r\n", Is::Pass),
            ("227 Entering Passive Mode (10,2,0,2,5,1", Is::Drop),
            ("227 Entering Passive Mode (10,2,0,2,5,", Is::Drop),
            ("227 Entering Passive Mode (10,2,0", Is::Drop),
            ("227 (10,2,0,2,5,1,)\r\n", Is::Drop),
            ("227 foo", Is::Drop),
            ("227 foo\r\n", Is::Drop),
            ("229 Entering Extended Passive Mode (|||1400|)\r\n", Is::Port(1400)),
            ("229 (!!!1401!)\r\n", Is::Port(1401)),
            ("229 ok |||1402|\r\n", Is::Drop),
            ("229 (|1||1403|)\r\n", Is::Drop),
            ("229 (|||0|)\r\n", Is::Drop),
            ("229 (|||1400)\r\n", Is::Drop),
            ("229 (   1400 )\r\n", Is::Drop),
            ("229 (1111400 )\r\n", Is::Drop),
            ("229 (", Is::Drop),
            ("2", Is::Drop),
            ("22", Is::Drop),
            ("227", Is::Drop),
            ("227 ", Is::Drop),
            ("229", Is::Drop),
            ("227-Entering (10,2,0,2,5,1)\r\n", Is::Pass),
            ("228 Long Passive Mode (4,4,10,2,0,2,2,5,1)\r\n", Is::Pass),
            ("229-(|||1400|)\r\n", Is::Pass),
            ("220 hello\r\n", Is::Pass),
            ("PORT 10,2,0,2,5,1\r\n", Is::Pass),
        ],
    );
}

#[test]
fn rows_on_ipv6() {
    check(
        Family::V6,
        Original,
        &[
            ("EPRT |2|2001:db8:1::2|5282|\r\n", Is::Port(5282)),
            ("EPRT |2|2001:DB8:1:0:0:0:0:2|5282|\r\n", Is::Port(5282)),
            ("EPRT |2|2001:db8:1::3|5282|\r\n", Is::Pass),
            ("EPRT |2|::ffff:10.1.0.2|5282|\r\n", Is::Pass),
            ("EPRT |1|10.1.0.2|5282|\r\n", Is::Drop),
            ("EPRT |2|2001:db8:1::2%eth0|5282|\r\n", Is::Drop),
            ("EPRT |2|[2001:db8:1::2]|5282|\r\n", Is::Drop),
            ("EPRT |2||5282|\r\n", Is::Drop),
            ("EPRT :2:2001:db8:1::2:5282:\r\n", Is::Drop),
            ("EPRT |2|2001:db8:1::2", Is::Drop),
            ("PORT 10,1,0,2,4,210\r\n", Is::Pass),
            ("PORT 10,1,0,2,4\r\n", Is::Drop),
        ],
    );
    check(
        Family::V6,
        Reply,
        &[
            ("229 Entering Extended Passive Mode (|||1400|)\r\n", Is::Port(1400)),
            ("227 Entering Passive Mode (10,2,0,2,5,1).\r\n", Is::Pass),
        ],
    );
}

/// A command cut anywhere within what it needs is dropped, and works when it is repeated whole.
#[test]
fn commands_cut_at_every_octet() {
    let whole: [(Family, Direction, &str, &str, u16); 6] = [
        (Family::V4, Original, "PORT 10,1,0,2,4,210\r", "\n", 1234),
        (Family::V4, Original, "EPRT |1|10.1.0.2|1301|", "\r\n", 1301),
        (Family::V6, Original, "EPRT |2|2001:db8:1::2|1301|", "\r\n", 1301),
        (Family::V4, Reply, "227 Passive (10,2,0,2,5,1)", ".\r\n", 1281),
        (Family::V4, Reply, "229 Passive (|||1400|", ")\r\n", 1400),
        (Family::V6, Reply, "229 Passive (|||1400|", ")\r\n", 1400),
    ];
    for (family, direction, needed, rest, port) in whole {
        let line = format!("{needed}{rest}");
        for cut in 1..line.len() {
            let mut session = Session::new(family);
            let outcome = session.send(direction, &line.as_bytes()[..cut]);
            let expected = if cut < needed.len() { Is::Drop } else { Is::Port(port) };
            assert_eq!(short(direction, &session, outcome), expected, "{:?}", &line[..cut]);
            if expected == Is::Drop {
                let again = session.send(direction, line.as_bytes());
                assert_eq!(short(direction, &session, again), Is::Port(port));
            }
        }
    }
}

#[test]
fn a_loose_helper_believes_another_address() {
    let rows = [
        (Family::V4, Original, "PORT 10,1,0,77,4,210\r\n", Addr::v4(0x0a01_004d), 1234),
        (Family::V4, Reply, "227 (10,9,0,1,4,210)\r\n", Addr::v4(0x0a09_0001), 1234),
        (Family::V6, Original, "EPRT |2|2001:db8::7|5282|\r\n", v6("2001:db8::7"), 5282),
    ];
    for (family, direction, text, dst, port) in rows {
        let mut session = Session { settings: LOOSE, ..Session::new(family) };
        let Outcome::Expect(e) = session.send(direction, text.as_bytes()) else { panic!("{text}") };
        let other = if direction == Original { session.original.dst } else { session.original.src };
        assert_eq!((e.dst, e.dst_key, e.src, e.src_key), (dst, port, Some(other), None));
    }
    let mut session = Session { settings: LOOSE, ..Session::new(Family::V6) };
    assert_eq!(session.send(Original, b"PORT 10,1,0,2,4,210\r\n"), Outcome::Accept);
}

const PORT_LINE: &[u8] = b"PORT 10,1,0,2,4,210\r\n";

#[test]
fn the_first_line_of_a_direction_is_not_read() {
    let mut session = Session::new(Family::V4);
    session.state = State::default();
    assert_eq!(session.send(Original, PORT_LINE), Outcome::Accept);
    assert!(matches!(session.send(Original, PORT_LINE), Outcome::Expect(_)));
    // The other direction knows nothing yet.
    assert_eq!(session.send(Reply, b"227 (10,2,0,2,5,1)\r\n"), Outcome::Accept);
}

#[test]
fn nothing_is_noted_before_both_sides_were_seen() {
    let mut session = Session::new(Family::V4);
    session.state = State::default();
    let reply = session.original.inverse().unwrap();
    let ctx = Context {
        original: &session.original,
        reply: &reply,
        direction: Original,
        seq: 500,
        both_seen: false,
        expected: false,
        number: 0,
        settings: STRICT,
    };
    assert_eq!(inspect(&ctx, &mut session.state, b"USER x\r\n"), Outcome::Accept);
    assert_eq!(session.state, State::default());
}

#[test]
fn after_a_gap_nothing_is_read_until_lines_are_found_again() {
    let mut session = Session::new(Family::V4);
    let missing = b"CWD somewhere\r\n";
    let start = session.next[0];
    let after = start.wrapping_add(missing.len() as u32);
    // The line in between is lost: its successor is not where a line is known to begin.
    assert_eq!(session.at(Original, after, PORT_LINE), Outcome::Accept);
    assert_eq!(session.at(Original, start, missing), Outcome::Accept);
    assert!(matches!(session.at(Original, after, PORT_LINE), Outcome::Expect(_)));
}

#[test]
fn a_line_in_two_segments_is_not_read_in_its_second() {
    let mut session = Session::new(Family::V4);
    assert_eq!(session.send(Original, b"STOR file"), Outcome::Accept);
    assert_eq!(session.send(Original, PORT_LINE), Outcome::Accept);
    assert!(matches!(session.send(Original, PORT_LINE), Outcome::Expect(_)));
}

#[test]
fn a_retransmission_is_read_again() {
    let mut session = Session::new(Family::V4);
    let seq = session.next[0];
    for _ in 0..3 {
        assert!(matches!(session.at(Original, seq, PORT_LINE), Outcome::Expect(_)));
    }
    // The line after it pushes out the oldest of the two places.
    let next = seq.wrapping_add(PORT_LINE.len() as u32);
    assert_eq!(session.at(Original, next, b"NOOP\r\n"), Outcome::Accept);
    assert_eq!(session.at(Original, seq, PORT_LINE), Outcome::Accept);
}

#[test]
fn the_newest_two_line_starts_are_kept_by_serial_order() {
    let mut lines = Lines::default();
    for seq in [u32::MAX - 5, 10, 10, u32::MAX - 100, 40] {
        lines.note(seq);
    }
    assert!(lines.starts_at(10) && lines.starts_at(40));
    assert!(!lines.starts_at(u32::MAX - 5) && !lines.starts_at(u32::MAX - 100));
    assert!(!Lines::default().starts_at(0));
}

proptest! {
    #[test]
    fn any_octets_pass_without_panic(
        steps in prop::collection::vec((any::<bool>(), prop::option::of(any::<u32>()), prop::collection::vec(any::<u8>(), 0..40)), 1..12),
        v6 in any::<bool>(),
    ) {
        let mut session = Session::new(if v6 { Family::V6 } else { Family::V4 });
        for (reply, seq, payload) in steps {
            let direction = if reply { Reply } else { Original };
            match seq {
                Some(seq) => session.at(direction, seq, &payload),
                None => session.send(direction, &payload),
            };
        }
    }

    #[test]
    fn anything_after_a_word_passes_without_panic(
        word in prop::sample::select(vec!["PORT ", "EPRT ", "EPRT |1|", "EPRT |2|", "227 (", "229 (|||", "PORT 10,1,0,2,"]),
        tail in "[0-9,.|:! \r\n(a-f]{0,40}",
        v6 in any::<bool>(),
    ) {
        for direction in [Original, Reply] {
            let mut session = Session::new(if v6 { Family::V6 } else { Family::V4 });
            session.send(direction, format!("{word}{tail}").as_bytes());
        }
    }

    #[test]
    fn every_port_is_read_as_written(port in 1u16.., high in any::<bool>()) {
        let texts = [
            (Original, format!("PORT 10,1,0,2,{},{}\r\n", port >> 8, port & 0xff)),
            (Original, format!("EPRT |1|10.1.0.2|{port}|\r\n")),
            (Reply, format!("229 Extended (|||{port}|)\r\n")),
            (Reply, format!("227 Passive {}10,2,0,2,{},{}.\r\n", if high { "(" } else { "" }, port >> 8, port & 0xff)),
        ];
        for (direction, text) in texts {
            let mut session = Session::new(Family::V4);
            let outcome = session.send(direction, text.as_bytes());
            prop_assert_eq!(short(direction, &session, outcome), Is::Port(port));
        }
    }
}
