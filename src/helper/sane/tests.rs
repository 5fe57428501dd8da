use super::super::testing::Talk;
use super::*;
use crate::net::Family;
use Direction::{Original, Reply};
use proptest::prelude::*;

const REQUEST: &[u8] = &[0, 0, 0, 7, 0, 0, 0, 1];
const ANSWER: &[u8] = &[0, 0, 0, 0, 0, 0, 0x30, 0x39, 0, 0, 0x12, 0x34, 0, 0, 0, 0];

#[test]
fn the_answer_to_a_start_announces_the_image() {
    for family in Family::ALL {
        let mut talk = Talk::new(&Sane, family);
        assert_eq!(talk.show(Original, REQUEST), Outcome::Ignored);
        assert_eq!(talk.show(Reply, ANSWER), Outcome::Parsed);
        let Talk { original, .. } = talk;
        let image = Expectation::new(family, proto::TCP, original.dst, 12345).sent_by(original.src);
        assert_eq!(talk.announced(), [image]);
        // For one answer only.
        assert_eq!(talk.show(Reply, ANSWER), Outcome::Ignored);
        talk.show(Original, REQUEST);
        talk.notes.answer = Announced::Refused;
        assert_eq!(talk.show(Reply, ANSWER), Outcome::Drop(Malformed::Refused));
    }
}

#[test]
fn other_requests_and_answers_announce_nothing() {
    let rows: [(&[u8], &[u8]); 8] = [
        (&[0, 0, 0, 6, 0, 0, 0, 1], ANSWER),
        (&REQUEST[..7], ANSWER),
        (&[0, 0, 0, 7, 0, 0, 0, 1, 0], ANSWER),
        (REQUEST, &ANSWER[..7]),
        (REQUEST, &[0, 0, 0, 1, 0, 0, 0x30, 0x39]),
        (REQUEST, &[0, 0, 0, 0, 0, 1, 0x30, 0x39]),
        (REQUEST, &[0]),
        (REQUEST, b""),
    ];
    for (request, answer) in rows {
        let mut talk = Talk::new(&Sane, Family::V4);
        talk.show(Original, request);
        assert_eq!(talk.show(Reply, answer), Outcome::Ignored, "{request:?} {answer:?}");
        assert_eq!(talk.announced(), []);
    }
}

#[test]
fn another_request_takes_the_first_back_and_a_piece_of_one_does_not() {
    let mut talk = Talk::new(&Sane, Family::V4);
    talk.show(Original, REQUEST);
    talk.show(Original, &[0, 0, 0, 7]);
    assert_eq!(talk.show(Reply, &ANSWER[..8]), Outcome::Parsed);
    talk.show(Original, REQUEST);
    talk.show(Original, &[0, 0, 0, 9, 0, 0, 0, 1]);
    assert_eq!(talk.show(Reply, ANSWER), Outcome::Ignored);
}

proptest! {
    #[test]
    fn any_octets_pass_without_panic(steps in prop::collection::vec((any::<bool>(), prop::collection::vec(0u8..9, 0..12)), 1..8)) {
        let mut talk = Talk::new(&Sane, Family::V4);
        for (reply, payload) in steps {
            talk.show(if reply { Reply } else { Original }, &payload);
        }
    }
}
