use super::super::testing::Talk;
use super::*;
use proptest::prelude::*;

/// 10.1.0.2, the client.
const OWN: &str = "167837698";

/// The port announced by a segment of the client.
fn port(text: &str) -> Option<u16> {
    let mut talk = Talk::new(&Irc, Family::V4);
    let outcome = talk.show(Direction::Original, text.as_bytes());
    let announced = talk.announced();
    assert_eq!(outcome == Outcome::Parsed, !announced.is_empty(), "{text:?}");
    let own = talk.original.src;
    announced.first().map(|e| {
        assert_eq!(*e, Expectation::new(Family::V4, proto::TCP, own, e.dst_key));
        e.dst_key
    })
}

#[test]
fn requests_of_every_kind_are_read() {
    for word in ["SEND f.txt", "CHAT chat", "MOVE f", "TSEND f.txt", "SCHAT chat"] {
        assert_eq!(port(&format!("PRIVMSG bob :\x01DCC {word} {OWN} 4000 12\x01\r\n")), Some(4000), "{word}");
    }
}

#[test]
fn rows() {
    let rows = [
        (format!("PRIVMSG bob :\x01DCC CHAT chat {OWN} 4000\x01\n"), Some(4000)),
        (format!("privmsg bob :\x01DCC CHAT chat {OWN} 4000\x01\n"), Some(4000)),
        (format!(" \r\n PRIVMSG bob :\x01DCC CHAT chat {OWN} 4000\x01\n"), Some(4000)),
        (format!("PRIVMSG bob :\x01DCC CHAT chat {OWN}    4000\x01\n"), Some(4000)),
        (format!("PRIVMSG bob :\x01DCC CHAT chat {OWN} 70000\x01\n"), Some(4464)),
        (format!("PRIVMSG bob :\x01DCC CHAT chat {OWN} 4000\x01\nJOIN #x\r\n"), Some(4000)),
        // As long as the line goes on it does not matter what it says.
        (format!("PRIVMSG bob :\x01DCC CHAT chat {OWN} 4000xyz\n"), Some(4000)),
        // An empty argument.
        (format!("PRIVMSG bob :\x01DCC CHAT  {OWN} 4000\x01\n"), Some(4000)),
        // No LF.
        (format!("PRIVMSG bob :\x01DCC CHAT chat {OWN} 4000\x01"), None),
        // Lower case.
        (format!("PRIVMSG bob :\x01dcc CHAT chat {OWN} 4000\x01\n"), None),
        (format!("PRIVMSG bob :\x01DCC chat chat {OWN} 4000\x01\n"), None),
        (format!("PRIVMSG bob :\x01DCC RESUME f {OWN} 4000\x01\n"), None),
        // Not the first " :" of the line, or nothing like a message.
        (format!("PRIVMSG bob :see :\x01DCC CHAT chat {OWN} 4000\x01\n"), None),
        (format!("PRIVMSG bob:\x01DCC CHAT chat {OWN} 4000\x01\n"), None),
        (format!("NOTICE bob :\x01DCC CHAT chat {OWN} 4000\x01\n"), None),
        (format!(":me PRIVMSG bob :\x01DCC CHAT chat {OWN} 4000\x01\n"), None),
        // Blanks where they do not belong.
        (format!("PRIVMSG bob :\x01DCC CHAT chat  {OWN} 4000\x01\n"), None),
        (format!("PRIVMSG bob :\x01DCC SEND my file {OWN} 4000 1\x01\n"), None),
        // Forged.
        ("PRIVMSG bob :\x01DCC CHAT chat 167837699 4000\x01\n".into(), None),
        (format!("PRIVMSG bob :\x01DCC CHAT chat {OWN} 0\x01\n"), None),
        (format!("PRIVMSG bob :\x01DCC CHAT chat {OWN} 65536\x01\n"), None),
        (format!("PRIVMSG bob :\x01DCC CHAT chat {OWN}\x01\n"), None),
    ];
    for (text, announced) in rows {
        assert_eq!(port(&text), announced, "{text:?}");
    }
}

#[test]
fn only_what_the_client_says_once_both_were_heard() {
    let line = format!("PRIVMSG bob :\x01DCC CHAT chat {OWN} 4000\x01\r\n");
    let mut talk = Talk::new(&Irc, Family::V4);
    assert_eq!(talk.show(Direction::Reply, line.as_bytes()), Outcome::Ignored);
    talk.both_seen = false;
    assert_eq!(talk.show(Direction::Original, line.as_bytes()), Outcome::Ignored);
    talk.both_seen = true;
    talk.notes.answer = Announced::Refused;
    assert_eq!(talk.show(Direction::Original, line.as_bytes()), Outcome::Drop(Malformed::Refused));
    assert!(Irc.matches(&talk.original));
    assert!(!Irc.matches(&Talk::new(&Irc, Family::V6).original));
}

#[test]
fn what_stands_behind_4095_octets_is_not_read() {
    let line = format!("PRIVMSG bob :\x01DCC CHAT chat {OWN} 4000\x01\n");
    for (blanks, announced) in [(4095 - line.len(), Some(4000)), (4096 - line.len(), None)] {
        assert_eq!(port(&format!("{}{line}", " ".repeat(blanks))), announced);
    }
}

proptest! {
    #[test]
    fn any_octets_pass_without_panic(payload in prop::collection::vec(any::<u8>(), 0..80)) {
        Talk::new(&Irc, Family::V4).show(Direction::Original, &payload);
    }

    #[test]
    fn anything_like_a_request_passes_without_panic(
        head in "[ \r\n]{0,3}(PRIVMSG |privmsg )?[a-z]{0,3}( :)?(\x01DCC )?(SEND |CHAT )?",
        tail in "[ 0-9a\n]{0,40}",
    ) {
        let text = format!("{head}{tail}");
        for cut in 0..=text.len() {
            Talk::new(&Irc, Family::V4).show(Direction::Original, &text.as_bytes()[..cut]);
        }
    }
}
