//! The conformance vectors for SCTP, then properties.

use super::super::lab::{self, Lab, play};
use super::super::{Settings, State};
use super::table::{Next, next};
use super::{SctpState, chunk};
use crate::net::{CtState, Direction, Family, L4, Sctp as Packet, Summary, Track, proto};
use proptest::prelude::*;

const OPEN: &str = "> INIT => NEW CLOSED 10 U; < INIT_ACK => EST COOKIE_WAIT 3 notA;
    > COOKIE_ECHO => EST COOKIE_ECHOED 3 notA; < COOKIE_ACK => EST ESTABLISHED 210 A;";

#[test]
fn association() {
    play(&format!(
        "{OPEN} > DATA => EST ESTABLISHED 210; < SACK => EST; > DATA+SACK => EST; < UNKNOWN => EST;
         > DATA tag 3 => INVALID sctp_tag ESTABLISHED; < DATA tag 2222 => INVALID;
         > SHUTDOWN => EST SHUTDOWN_SENT 3; < SHUTDOWN_ACK => EST SHUTDOWN_ACK_SENT 3;
         > SHUTDOWN_COMPLETE => EST CLOSED 10"
    ));
    play(&format!("{OPEN} < SHUTDOWN => EST SHUTDOWN_RECD 3; > SHUTDOWN_ACK => EST SHUTDOWN_ACK_SENT 3"));
    play("> INIT; < INIT_ACK; > COOKIE_ECHO+DATA => EST COOKIE_ECHOED; < COOKIE_ACK+SACK => EST ESTABLISHED 210 A");
}

#[test]
fn first_packets() {
    play("> HEARTBEAT tag 9 => NEW HEARTBEAT_SENT 30 U");
    play("> HEARTBEAT_ACK tag 9 => NEW CLOSED 10");
    play("> SHUTDOWN_ACK tag 9 => NEW SHUTDOWN_ACK_SENT 3");
    for what in [
        "DATA",
        "SACK",
        "ABORT",
        "SHUTDOWN",
        "ERROR",
        "COOKIE_ECHO",
        "COOKIE_ACK",
        "SHUTDOWN_COMPLETE",
        "INIT_ACK",
        "UNKNOWN",
        "INIT tag 5",
        "INIT+DATA",
        "HEARTBEAT+DATA",
        "no_chunk",
    ] {
        play(&format!("> {what} => INVALID gone"));
    }
    play("> DATA => sctp_chunk; > COOKIE_ECHO => sctp_tag; > INIT tag 5 => sctp_tag");
    // The RFC forbids tag 0, netfilter does not look.
    play("> INIT itag 0 => NEW CLOSED 10");
    // A parser refuses two INITs in one packet; should one come, the new entry has a timer all the same.
    play("> INIT+INIT => NEW CLOSED 10");
    // With tag 0 the chunks that have no tag of their own to match do open, as in netfilter.
    play("> ERROR tag 0 => NEW CLOSED");
}

#[test]
fn secondary_path() {
    play(
        "> HEARTBEAT tag 9 => NEW; < HEARTBEAT_ACK tag 8 => EST ESTABLISHED 210 A; > DATA tag 9 => EST;
          < DATA tag 8 => EST; < DATA tag 9 => INVALID",
    );
}

#[test]
fn tags_and_timers() {
    play("> INIT => NEW; 1.1s; > INIT => NEW CLOSED 9 kept");
    play("> INIT => NEW; < INIT_ACK tag 7 => INVALID sctp_tag CLOSED U; < INIT_ACK => EST COOKIE_WAIT");
    play(&format!("{OPEN} > ABORT tag 1111 => INVALID ESTABLISHED; > ABORT tag 1111 T => EST CLOSED 10"));
    play(&format!("{OPEN} < ABORT => EST CLOSED 10"));
    play(&format!("{OPEN} > ABORT tag 2222 T => INVALID"));
    play("> INIT => NEW; < INIT => EST CLOSED");
    play("> INIT => NEW; < INIT tag 4 => INVALID");
    play(&format!("{OPEN} > COOKIE_ECHO tag 77 => INVALID; < SHUTDOWN_ACK tag 77 => EST"));
}

#[test]
fn heartbeat_with_another_tag() {
    // Not refreshed, but remembered; the answer from the other side sets the tags anew.
    play(&format!(
        "{OPEN} 1s; > HEARTBEAT tag 77 => EST ESTABLISHED 209 kept; < HEARTBEAT_ACK tag 88 => EST 210;
         < DATA tag 88 => EST; > HEARTBEAT tag 77 => EST; > DATA tag 77 => EST; < DATA => INVALID"
    ));
    play(&format!("{OPEN} > HEARTBEAT tag 77 => EST kept; > HEARTBEAT_ACK tag 88 => INVALID"));
    play(&format!("{OPEN} > HEARTBEAT tag 77 => EST; > HEARTBEAT => EST 210; < HEARTBEAT_ACK tag 88 => INVALID"));
    play(&format!("{OPEN} > HEARTBEAT+DATA tag 77 => INVALID; > HEARTBEAT+HEARTBEAT tag 77 => INVALID"));
    play(&format!("{OPEN} < HEARTBEAT_ACK tag 88 => INVALID"));
}

#[test]
fn restart_inside_an_association_stays_established() {
    play(&format!(
        "{OPEN} > INIT itag 3333 => EST ESTABLISHED; < INIT_ACK tag 3333 itag 4444 => EST ESTABLISHED;
         > COOKIE_ECHO tag 4444 => EST ESTABLISHED; < COOKIE_ACK tag 3333 => EST ESTABLISHED; > DATA tag 4444 => EST;
         < DATA tag 3333 => EST; > DATA => INVALID"
    ));
    // An INIT ACK nobody asked for must not replace a tag.
    play(&format!("{OPEN} < INIT_ACK itag 4444 => INVALID; > DATA => EST"));
}

#[test]
fn colliding_inits_keep_the_tags_they_gave() {
    play(
        "> INIT => NEW; < INIT => EST CLOSED; < INIT_ACK itag 9 => INVALID; < INIT_ACK => EST COOKIE_WAIT;
          > COOKIE_ECHO => EST COOKIE_ECHOED; < COOKIE_ACK => EST ESTABLISHED A",
    );
}

/// Rows that random histories through a kernel showed.
#[test]
fn rows_a_kernel_showed() {
    // What the earlier chunks did stays, ASSURED included, when a later one makes the packet INVALID.
    play("> INIT; < INIT_ACK; > COOKIE_ECHO => COOKIE_ECHOED notA; < COOKIE_ACK+ABORT T => INVALID ESTABLISHED A");
    play("> INIT; < INIT_ACK; > COOKIE_ECHO; < COOKIE_ACK+HEARTBEAT tag 9 => EST kept ESTABLISHED A");
    // The HEARTBEAT ACK of the association's own tag also forgets the stray HEARTBEAT.
    play(&format!("{OPEN} > HEARTBEAT tag 77 => EST; < HEARTBEAT_ACK => EST; < HEARTBEAT_ACK tag 88 => INVALID"));
    // With INITs seen both ways, an INIT ACK must answer the other's INIT even if its tag was unlearnt since.
    play(
        "> INIT; < INIT; > HEARTBEAT => EST; < HEARTBEAT tag 9 => EST kept; > HEARTBEAT_ACK tag 8 => EST;
          > INIT_ACK tag 8 itag 5 => INVALID sctp_tag",
    );
}

const TABLE: [(Direction, &str); 2] = [
    (
        Direction::Original,
        "1 CL = = = = CL CL = CW
         2 CL = = = = = = = CL
         6 CL CL CL CL CL CL CL CL CL
         7 CL = = = SS = = = CL
         8 SA = = = = SA SA = SA
         9 CL = = = = = = = CL
         10 CL = CE = = = = = CL
         11 CL = = ES = = = = CL
         14 CL = = = = = = CL CL
         4 HS = = = = = = = =
         5 CL = = = = = = = =",
    ),
    (
        Direction::Reply,
        "1 INV = = = = = = = INV
         2 INV CW = = = = = = INV
         6 INV CL CL CL CL CL CL CL INV
         7 INV = = = SR = = = INV
         8 INV = = = = SA SA = INV
         9 INV = = CL = = = = INV
         10 INV = CE = = = = = INV
         11 INV = = ES = = = = INV
         14 INV = = = = = = CL INV
         4 INV = = = = = = = =
         5 INV = = = = = = = ES",
    ),
];

#[test]
fn transition_table_is_complete_and_as_specified() {
    for (dir, grid) in TABLE {
        let mut rows = [false; 16];
        for line in grid.lines() {
            let mut cells = line.split_whitespace();
            let kind: u8 = cells.next().unwrap().parse().unwrap();
            rows[usize::from(kind)] = true;
            for state in SctpState::ALL {
                let wanted = match cells.next().unwrap() {
                    "=" => Next::Same,
                    "INV" => Next::Invalid,
                    "CL" => Next::To(SctpState::Closed),
                    "CW" => Next::To(SctpState::CookieWait),
                    "CE" => Next::To(SctpState::CookieEchoed),
                    "ES" => Next::To(SctpState::Established),
                    "SS" => Next::To(SctpState::ShutdownSent),
                    "SR" => Next::To(SctpState::ShutdownRecd),
                    "SA" => Next::To(SctpState::ShutdownAckSent),
                    "HS" => Next::To(SctpState::HeartbeatSent),
                    cell => panic!("{cell}"),
                };
                assert_eq!(next(dir, state, kind), wanted, "{dir:?} {state} chunk {kind}");
            }
            assert!(cells.next().is_none());
        }
        for kind in (0..16u8).filter(|kind| !rows[usize::from(*kind)]) {
            assert!(SctpState::ALL.iter().all(|state| next(dir, *state, kind) == Next::Same));
        }
    }
}

#[test]
fn stored_numbers_come_back() {
    for state in SctpState::ALL {
        assert_eq!(SctpState::from_bits(state as u8), state);
    }
    assert_eq!(SctpState::ShutdownRecd.to_string(), "SHUTDOWN_RECD");
    assert!(SctpState::ShutdownRecd.early_drop() && !SctpState::Closed.early_drop());
    assert!(std::mem::size_of::<super::Sctp>() <= 40);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any chunks in any order, with tags that often match: no panic, and never back to NONE.
    #[test]
    fn any_history_keeps_the_invariants(
        history in proptest::collection::vec(
            (any::<bool>(), any::<u64>(), 0..4u8, 0..3u32, 0..3u32, any::<u16>()), 1..60),
    ) {
        let mut lab = Lab::new(Settings::default());
        for (from_client, kinds, count, vtag, init_tag, t_flags) in history {
            lab.now += 500;
            let keys = if from_client { (40000, 80) } else { (80, 40000) };
            let tuple = lab::tuple(Family::V4, proto::SCTP, from_client, keys);
            let l4 = L4::Sctp(Packet { vtag, init_tag, kinds, count, t_flags });
            let seen = lab.send(&Summary { track: Track::Tuple, tuple, l4, defect: None });
            for entry in &lab.entries {
                let State::Sctp(sctp) = entry.state else { panic!() };
                prop_assert!(sctp.state != SctpState::None);
            }
            let data = kinds & 0xf == u64::from(chunk::DATA);
            prop_assert!(!(data && seen.state == CtState::New && lab.entries.is_empty()));
        }
    }
}
