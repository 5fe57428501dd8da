use super::super::testing::Talk;
use super::*;
use crate::net::Family;
use proptest::prelude::*;

/// The ports that an answer announces.
fn ports(text: &str) -> Vec<u16> {
    let mut talk = Talk::new(&Amanda, Family::V6);
    let outcome = talk.show(Direction::Reply, text.as_bytes());
    let announced = talk.announced();
    assert_eq!(outcome == Outcome::Parsed, !announced.is_empty(), "{text:?}");
    let Talk { original, .. } = talk;
    let ports: Vec<u16> = announced.iter().map(|e| e.dst_key).collect();
    let whole = |port| Expectation::new(Family::V6, proto::TCP, original.dst, port).sent_by(original.src);
    assert_eq!(announced, ports.iter().map(|port| whole(*port)).collect::<Vec<_>>());
    assert_eq!(talk.notes.timer, Some(300_000));
    ports
}

#[test]
fn rows() {
    let rows: [(&str, &[u16]); 16] = [
        ("Amanda 2.6 REP\nCONNECT DATA 50001 MESG 50002 INDEX 50003\nOPTIONS\n", &[50001, 50002, 50003]),
        ("CONNECT STATE 4 INDEX 3 MESG 2 DATA 1\n", &[1, 2, 3, 4]),
        ("CONNECT DATA 50001\n", &[50001]),
        ("CONNECT DATA 50001;\n", &[50001]),
        ("CONNECT DATA 70000\n", &[4464]),
        ("CONNECT DATA 123456\n", &[12345]),
        // A stream without a port ends the search.
        ("CONNECT DATA MESG 2\n", &[]),
        ("CONNECT DATA 1 MESG x INDEX 3\n", &[1]),
        ("CONNECT DATA 1 MESG 0 INDEX 3\n", &[1]),
        ("CONNECT INDEX 3 DATA x\n", &[]),
        ("CONNECT  DATA 7 DATA 8\n", &[7]),
        ("CONNECT DATA 1", &[]),
        ("CONNECT \nDATA 1\n", &[]),
        ("connect DATA 1\n", &[]),
        ("CONNECTDATA 1\n", &[]),
        ("", &[]),
    ];
    for (text, expected) in rows {
        assert_eq!(ports(text), expected, "{text:?}");
    }
}

#[test]
fn what_the_server_says_is_not_looked_at() {
    let mut talk = Talk::new(&Amanda, Family::V4);
    assert_eq!(talk.show(Direction::Original, b"CONNECT DATA 1\n"), Outcome::Ignored);
    assert_eq!((talk.notes.timer, talk.announced().len()), (None, 0));
}

#[test]
fn a_refusal_drops_the_answer() {
    let mut talk = Talk::new(&Amanda, Family::V4);
    talk.notes.answer = Announced::Refused;
    assert_eq!(talk.show(Direction::Reply, b"CONNECT DATA 1 MESG 2\n"), Outcome::Drop(Malformed::Refused));
}

proptest! {
    #[test]
    fn any_octets_pass_without_panic(payload in prop::collection::vec(any::<u8>(), 0..80)) {
        Talk::new(&Amanda, Family::V4).show(Direction::Reply, &payload);
    }

    #[test]
    fn anything_like_an_answer_passes_without_panic(text in "(CONNECT )?((DATA|MESG|INDEX|STATE|X)? ?[0-9]{0,7}[ \n]?){0,6}") {
        for cut in 0..=text.len() {
            Talk::new(&Amanda, Family::V4).show(Direction::Reply, &text.as_bytes()[..cut]);
        }
    }
}
