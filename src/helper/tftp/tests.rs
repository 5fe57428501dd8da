use super::super::testing::Talk;
use super::*;
use crate::net::{Direction, Family};
use proptest::prelude::*;

#[test]
fn a_request_announces_the_servers_data_to_the_clients_port() {
    for family in Family::ALL {
        for (opcode, direction) in [(1, Direction::Original), (2, Direction::Original), (1, Direction::Reply)] {
            for rest in [&b""[..], b"file\0octet\0"] {
                let mut talk = Talk::new(&Tftp, family);
                talk.both_seen = false;
                let payload = [&[0, opcode], rest].concat();
                assert_eq!(talk.show(direction, &payload), Outcome::Parsed);
                let (client, server) = (talk.original.src, talk.original.dst);
                let data = Expectation::new(family, proto::UDP, client, 40_000).sent_by(server);
                assert_eq!(talk.announced(), [data]);
            }
        }
    }
}

#[test]
fn everything_else_is_none_of_its_business() {
    for payload in [&b""[..], &[1], &[0], &[0, 0], &[0, 3, 0, 1], &[0, 4, 0, 1], &[0, 5], &[0, 6], &[1, 0], &[2, 1]] {
        let mut talk = Talk::new(&Tftp, Family::V4);
        assert_eq!(talk.show(Direction::Original, payload), Outcome::Ignored, "{payload:?}");
        assert_eq!(talk.announced(), []);
    }
}

#[test]
fn a_request_whose_data_cannot_be_expected_is_dropped() {
    for answer in [Announced::Already, Announced::Refused] {
        let mut talk = Talk::new(&Tftp, Family::V6);
        talk.notes.answer = answer;
        assert_eq!(talk.show(Direction::Original, &[0, 1]), Outcome::Drop(Malformed::Refused));
    }
}

proptest! {
    #[test]
    fn any_octets_pass_without_panic(payload in prop::collection::vec(any::<u8>(), 0..40)) {
        Talk::new(&Tftp, Family::V4).show(Direction::Original, &payload);
    }
}
