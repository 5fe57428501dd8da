use super::super::testing::Talk;
use super::*;
use Direction::{Original, Reply};
use proptest::prelude::*;

/// A control message with zeros behind what is given.
fn message(kind: u16, data: &[u8]) -> Vec<u8> {
    let len = SIZES.get(usize::from(kind)).copied().unwrap_or_default().max(data.len());
    let mut octets = Vec::new();
    octets.extend(((HEADER + len) as u16).to_be_bytes());
    octets.extend(CONTROL.to_be_bytes());
    octets.extend(MAGIC_COOKIE.to_be_bytes());
    octets.extend(kind.to_be_bytes());
    octets.extend([0, 0]);
    octets.extend(data);
    octets.resize(HEADER + len, 0);
    octets
}

/// Client's call 50, server's call 60.
const START: [(Direction, u16, &[u8]); 2] =
    [(Original, message::START_REQUEST, &[1, 0]), (Reply, message::START_REPLY, &[1, 0, 1, 0])];
const OUT: [(Direction, u16, &[u8]); 2] =
    [(Original, message::OUT_CALL_REQUEST, &[0, 50]), (Reply, message::OUT_CALL_REPLY, &[0, 60, 0, 50, 1, 0])];
const IN: [(Direction, u16, &[u8]); 3] = [
    (Reply, message::IN_CALL_REQUEST, &[0, 60]),
    (Original, message::IN_CALL_REPLY, &[0, 50, 0, 60, 1, 0]),
    (Reply, message::IN_CALL_CONNECT, &[0, 50]),
];

fn say(talk: &mut Talk<'_>, messages: &[(Direction, u16, &[u8])]) -> Vec<Outcome> {
    messages.iter().map(|(direction, kind, data)| talk.show(*direction, &message(*kind, data))).collect()
}

fn flows(talk: &Talk<'_>) -> [Tuple; 2] {
    let there = gre(&talk.original, 50, 60);
    [there, there.inverse().unwrap()]
}

fn talk() -> Talk<'static> {
    Talk::new(&Pptp, Family::V4)
}

#[test]
fn an_accepted_call_announces_both_directions_and_tells_of_their_ids() {
    for call in [&OUT[..], &IN[..]] {
        let mut talk = talk();
        assert!(say(&mut talk, &START).iter().all(|outcome| *outcome == Outcome::Parsed));
        assert_eq!(talk.announced(), []);
        assert!(say(&mut talk, call).iter().all(|outcome| *outcome == Outcome::Parsed));
        let flows = flows(&talk);
        let expected = flows.map(|flow| Expectation {
            src_key: Some(flow.src_key),
            twin: true,
            ..Expectation::new(Family::V4, proto::GRE, flow.dst, flow.dst_key).sent_by(flow.src)
        });
        assert_eq!(talk.announced(), expected);
        assert_eq!(talk.notes.calls, flows);
        // The server's word ends it.
        say(&mut talk, &[(Reply, message::CALL_DISCONNECT, &[0, 60])]);
        assert_eq!((talk.notes.calls.len(), talk.notes.open.len()), (0, 0));
        assert_eq!(talk.notes.ended, flows);
    }
}

#[test]
fn nothing_is_announced_out_of_order_or_without_acceptance() {
    type Say<'a> = (Direction, u16, &'a [u8]);
    let all: Vec<Say<'_>> = START.into_iter().chain(OUT).collect();
    for without in 0..all.len() {
        let mut talk = talk();
        let rest: Vec<Say<'_>> = all.iter().enumerate().filter(|(n, _)| *n != without).map(|(_, m)| *m).collect();
        say(&mut talk, &rest);
        assert_eq!(talk.announced(), [], "without {without}");
    }
    let rows: [Say<'_>; 3] = [
        (Reply, message::OUT_CALL_REPLY, &[0, 60, 0, 51, 1, 0]),
        (Reply, message::OUT_CALL_REPLY, &[0, 60, 0, 50, 2, 0]),
        (Original, message::OUT_CALL_REPLY, &[0, 60, 0, 50, 1, 0]),
    ];
    for row in rows {
        let mut talk = talk();
        say(&mut talk, &all[..3]);
        say(&mut talk, &[row]);
        assert_eq!(talk.announced(), [], "{row:?}");
    }
}

#[test]
fn what_is_no_whole_control_message_is_ignored() {
    let reply = message(message::OUT_CALL_REPLY, &[0, 60, 0, 50, 1, 0]);
    let changed = |at: usize, octet: u8| {
        let mut octets = reply.clone();
        octets[at] = octet;
        octets
    };
    for octets in [reply[..31].to_vec(), reply[..11].to_vec(), Vec::new(), changed(3, 2), changed(4, 0), changed(9, 77)]
    {
        let mut talk = talk();
        say(&mut talk, &START);
        say(&mut talk, &OUT[..1]);
        assert_eq!(talk.show(Reply, &octets), Outcome::Ignored);
        assert_eq!(talk.announced(), []);
    }
}

#[test]
fn a_second_call_is_not_announced_before_the_first_has_ended() {
    let mut talk = talk();
    say(&mut talk, &START);
    say(&mut talk, &OUT);
    let (open, calls) = (talk.notes.open.clone(), talk.notes.calls.clone());
    let second: [(Direction, u16, &[u8]); 2] =
        [(Original, message::OUT_CALL_REQUEST, &[0, 51]), (Reply, message::OUT_CALL_REPLY, &[0, 61, 0, 51, 1, 0])];
    say(&mut talk, &second);
    assert_eq!((&talk.notes.open, &talk.notes.calls), (&open, &calls));
    talk.announced();
    say(&mut talk, &[(Reply, message::CALL_DISCONNECT, &[0, 60])]);
    say(&mut talk, &second);
    assert_eq!(talk.announced().len(), 2);
    // One that is refused is taken back.
    talk.notes.answer = Announced::Refused;
    let outcomes = say(&mut talk, &OUT);
    assert_eq!(outcomes, [Outcome::Parsed; 2]);
}

#[test]
fn the_end_of_the_control_connection_ends_the_call() {
    let mut talk = talk();
    say(&mut talk, &START);
    say(&mut talk, &OUT);
    let reply = talk.original.inverse().unwrap();
    let ctx = Context {
        original: &talk.original,
        reply: &reply,
        direction: Original,
        seq: 0,
        both_seen: true,
        expected: false,
        number: 0,
        settings: talk.settings,
    };
    Pptp.ended(&ctx, &mut talk.state, &mut talk.notes);
    assert_eq!((talk.notes.calls.len(), talk.notes.ended.len()), (0, 2));
    assert!(Pptp.matches(&talk.original));
    assert!(!Pptp.matches(&Talk::new(&Pptp, Family::V6).original));
}

proptest! {
    #[test]
    fn any_octets_pass_without_panic(
        steps in prop::collection::vec((any::<bool>(), 0u16..20, prop::collection::vec(0u8..3, 0..12), 0usize..200), 1..16),
    ) {
        let mut talk = talk();
        for (reply, kind, data, cut) in steps {
            let mut octets = message(kind, &data);
            octets.truncate(HEADER + cut);
            talk.show(if reply { Reply } else { Original }, &octets);
        }
    }
}
