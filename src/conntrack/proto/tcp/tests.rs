//! The conformance vectors for TCP, row by row, then properties.
//!
//! Rows marked *observed* in the specification came from a real kernel. Sequence numbers: the client starts at
//! 1000, the server at 5000; windows are 8192 unless a row says otherwise.

use super::super::lab::{self, Lab, parse_flags, play, play_with};
use super::super::{Outcome, Settings, State, Timer};
use super::table::{Next, next};
use super::{Class, Last, TcpState};
use crate::net::{CtState, Direction, Family, InvalidReason, L4, Segment, Summary, TcpFlags, Track, proto};
use proptest::prelude::*;

fn play_all(rows: &[&str]) {
    for row in rows {
        play(row);
    }
}

fn liberal() -> Settings {
    Settings { tcp_be_liberal: true, ..Settings::default() }
}

fn ignore_invalid_rst() -> Settings {
    Settings { tcp_ignore_invalid_rst: true, ..Settings::default() }
}

/// The table of the specification, rows by state, columns syn, synack, fin, ack, rst, none.
const TABLE: [(Direction, &str); 2] = [
    (
        Direction::Original,
        "NO SS INV INV ES INV INV
         SS SS INV INV INV CL INV
         S2 S2 SR INV INV CL INV
         SR ign SR FW ES CL INV
         ES ign INV FW ES CL INV
         FW ign INV LA CW CL INV
         CW ign INV LA CW CL INV
         LA ign INV LA TW CL INV
         TW SS INV TW TW CL INV
         CL SS INV CL CL CL INV",
    ),
    (
        Direction::Reply,
        "NO INV INV INV INV INV INV
         SS S2 SR INV ign CL INV
         S2 S2 SR INV ign CL INV
         SR INV ign FW SR CL INV
         ES INV ign FW ES CL INV
         FW INV ign LA CW CL INV
         CW INV ign LA CW CL INV
         LA INV ign LA TW CL INV
         TW SS ign TW TW CL INV
         CL INV ign CL CL CL INV",
    ),
];

fn short(name: &str) -> TcpState {
    match name {
        "NO" => TcpState::None,
        "SS" => TcpState::SynSent,
        "S2" => TcpState::SynSent2,
        "SR" => TcpState::SynRecv,
        "ES" => TcpState::Established,
        "FW" => TcpState::FinWait,
        "CW" => TcpState::CloseWait,
        "LA" => TcpState::LastAck,
        "TW" => TcpState::TimeWait,
        "CL" => TcpState::Close,
        _ => panic!("no state: {name}"),
    }
}

#[test]
fn transition_table_is_complete_and_as_specified() {
    let columns = [Class::Syn, Class::SynAck, Class::Fin, Class::Ack, Class::Rst, Class::None];
    for (dir, grid) in TABLE {
        let mut states = Vec::new();
        for line in grid.lines() {
            let mut cells = line.split_whitespace();
            let state = short(cells.next().unwrap());
            states.push(state as u8);
            for class in columns {
                let wanted = match cells.next().unwrap() {
                    "INV" => Next::Invalid,
                    "ign" => Next::Ignore,
                    name => Next::To(short(name)),
                };
                assert_eq!(next(dir, state, class), wanted, "{dir:?} {state} {class:?}");
            }
        }
        states.sort_unstable();
        assert_eq!(states, TcpState::ALL.map(|state| state as u8));
    }
}

#[test]
fn stored_numbers_come_back() {
    for state in TcpState::ALL {
        assert_eq!(TcpState::from_bits(state as u8), state);
    }
    for class in Class::ALL {
        assert_eq!(Class::from_bits(class as u8), class);
    }
    assert_eq!(TcpState::from_bits(13), TcpState::None);
    assert_eq!(TcpState::LastAck.to_string(), "LAST_ACK");
}

#[test]
fn digest_tells_segments_apart() {
    let digest = |i: u32| Last::digest(i, 5000, 8192);
    let same = |is_same: &dyn Fn(u32) -> bool| (1..65_536).filter(|i| is_same(*i)).collect::<Vec<_>>();
    let lengths = same(&|i| digest(i) == digest(0));
    let acks = same(&|i| Last::digest(1, i, 2) == Last::digest(1, 0, 2));
    let windows = same(&|i| Last::digest(1, 1, i as u16) == Last::digest(1, 1, 0));
    assert!(acks.iter().chain(&windows).all(|i| *i >= 233), "{:?} {:?}", acks.first(), windows.first());
    for alike in [lengths, acks, windows] {
        assert!((64..192).contains(&alike.len()), "{} of 65535, about 128 expected", alike.len());
    }
    let far = same(&|i| Last::digest(1, i << 16, 2) == Last::digest(1, 0, 2));
    assert!(far.len() < 256, "{} of 65535, about 128 expected", far.len());
    let both = (1..100_000u32)
        .filter(|i| Last::digest(1448 * i, i.wrapping_mul(*i).wrapping_mul(31), 2) == Last::digest(0, 0, 2))
        .count();
    assert!((100..400).contains(&both), "{both} of 100000, about 196 expected");
    assert!(digest(0) < 1 << Last::DIGEST_BITS);
}

// 15.1 open

#[test]
fn open() {
    play_all(&[
        "> SYN => NEW SYN_SENT 120 U",
        "> SYN => NEW; 2.1s; > SYN => NEW 118 kept",
        "> SYN => NEW; > SYN seq 99000 => NEW; < SYN/ACK ack 99001 => EST SYN_RECV 60",
        "> SYN seq 99000 => NEW; > SYN seq 1000 => NEW; < SYN/ACK ack 99001 => EST;
         > ACK seq 99001 => EST ESTABLISHED A",
        "> SYN; < SYN/ACK; > SYN => EST ignored SYN_RECV; < SYN/ACK => EST",
        "> SYN; < SYN/ACK ack 1002 => INVALID tcp_ack_over SYN_SENT U; < SYN/ACK ack 1001 => EST SYN_RECV",
        "> SYN; < SYN/ACK ack 555 => EST SYN_RECV",
        "> SYN seq 100000; < SYN/ACK ack 34001 => EST SYN_RECV",
        "> SYN seq 100000; < SYN/ACK ack 33999 => EST ignored SYN_SENT replied",
        "> SYN len 10 => NEW; < SYN/ACK ack 1001 => EST; > ACK seq 1011 => EST",
        "> SYN => NEW; > ACK => INVALID tcp_state; > FIN => INVALID; < FIN => INVALID; > SYN/ACK => INVALID",
        "> SYN; < RST+ACK seq 0 ack 1001 => EST gone; > SYN => NEW",
        "> SYN; < RST+ACK ack 9001 => INVALID SYN_SENT U",
        "> SYN; < RST seq 5 => EST gone",
        "> SYN; > RST seq 1001 => NEW gone",
        "> SYN => NEW; < ACK seq 777 ack 555 => EST ignored SYN_SENT replied; > SYN => EST;
         > RST seq 555 => EST CLOSE 10",
        "< SYN/ACK => INVALID tcp_no_syn gone",
        "> SYN; < SYN/ACK; > data => EST ESTABLISHED 300 A",
        "> SYN; < SYN/ACK; > FIN => EST FIN_WAIT 120 notA; < ACK ack 1002 => EST CLOSE_WAIT 60 notA",
        "> SYN; < SYN/ACK; < ACK seq 5001 len 1 => EST SYN_RECV; < FIN seq 5002 => EST ignored SYN_RECV;
         > ACK ack 5003 => EST ESTABLISHED",
    ]);
}

#[test]
fn half_open_server_is_reset_by_the_client() {
    // The RST directly after the server's stray ACK: its number is that ACK's, far outside any window.
    play("> SYN; < ACK seq 777 ack 3000000000 => EST ignored; > RST seq 3000000000 => EST CLOSE 10");
    play("> SYN; < ACK seq 777 ack 3000000000 => EST ignored; > RST seq 2000000000 => INVALID SYN_SENT");
}

const OPENING_SYN: [&str; 4] = ["SYN", "SYN+URG", "SYN+PSH", "SYN+ECE+CWR"];
const OPENING_ACK: [&str; 4] = ["ACK", "ACK+URG", "ACK+PSH", "ACK+PSH+URG"];
const OPENING_NEVER: [&str; 19] = [
    "SYN+ACK",
    "SYN+ACK+ECE",
    "bareFIN+ACK",
    "bareFIN+ACK+URG",
    "bareFIN",
    "RST",
    "RST+ACK",
    "none",
    "PSH",
    "URG",
    "bareFIN+PSH+URG",
    "SYN+bareFIN",
    "SYN+RST",
    "SYN+RST+ACK",
    "bareFIN+RST",
    "SYN+bareFIN+ACK",
    "RST+ACK+URG",
    "SYN+ACK+URG",
    "bareFIN+URG",
];

#[test]
fn first_packet_flags() {
    let strict = Settings { tcp_loose: false, ..Settings::default() };
    for flags in OPENING_SYN {
        play(&format!("> {flags} => NEW SYN_SENT 120 U"));
        play_with(strict, &format!("> {flags} => NEW SYN_SENT 120 U"));
    }
    for flags in OPENING_ACK {
        play(&format!("> {flags} => NEW ESTABLISHED 300 U"));
        play_with(strict, &format!("> {flags} => INVALID gone tcp_no_syn"));
    }
    for flags in OPENING_NEVER.into_iter().chain(["RST+URG"]) {
        play(&format!("> {flags} => INVALID gone"));
        play_with(strict, &format!("> {flags} => INVALID gone"));
    }
    play("> PSH => INVALID tcp_flags; > RST => INVALID tcp_no_syn");
}

#[test]
fn only_nine_flag_combinations_have_a_class() {
    let odd = TcpFlags::PSH | TcpFlags::ECE | TcpFlags::CWR;
    let classified: Vec<u8> = (0..=255).filter(|f| Class::of(TcpFlags(*f)) != Class::None).collect();
    assert_eq!(classified.len(), 9 * 8);
    for flags in classified {
        assert_eq!(Class::of(TcpFlags(flags)), Class::of(TcpFlags(flags & !odd)));
    }
    assert_eq!(Class::of(parse_flags("bareFIN+ACK+URG")), Class::Fin);
    assert_eq!(Class::of(parse_flags("SYN/ACK")), Class::SynAck);
}

#[test]
fn simultaneous_open() {
    play_all(&[
        "> SYN => NEW; < SYN => EST SYN_SENT2 120; > SYN/ACK => EST SYN_RECV; < SYN/ACK => EST SYN_RECV;
         > ACK => EST ESTABLISHED A",
        "> SYN => NEW; < SYN => EST SYN_SENT2; < SYN/ACK => EST SYN_RECV; > SYN/ACK => EST SYN_RECV;
         < ACK => EST ESTABLISHED A",
        "> SYN; < SYN => EST SYN_SENT2; > ACK => INVALID",
        "> SYN; < SYN => EST SYN_SENT2; < ACK => EST ignored SYN_SENT2",
        "> SYN; < SYN => EST SYN_SENT2; > SYN => EST SYN_SENT2",
        // A new SYN of the client takes the mark away. (A kernel showed this row.)
        "> SYN; < SYN => SYN_SENT2; > SYN/ACK => SYN_RECV; > SYN => EST ignored; < ACK => EST SYN_RECV notA",
        // Without the mark an ACK of the server alone does not open.
        "> SYN; < SYN/ACK; < ACK => EST SYN_RECV notA",
    ]);
}

// 15.2 established

#[test]
fn established() {
    play_all(&[
        "hs; > ACK seq 9193 => EST 300",
        "hs; > ACK seq 9193 len 1 => EST 300",
        "hs; > ACK seq 9194 => EST ignored 432000 kept",
        "hs; > ACK seq 9194 len 1 => EST ignored kept",
        "hs; > ACK seq 9194 len 100 => EST ignored kept",
        "hs; > ACK seq 9194 len 8000 => EST ignored kept",
        "hs; > ACK seq 9290 len 8000 => EST ignored kept",
        "hs; > ACK seq 500000 => INVALID tcp_seq_over",
        "hs; > ACK ack 5002 => INVALID tcp_ack_over",
        "hs; > ACK ack 5000 => EST ESTABLISHED",
        "hs; > ACK ack -60999 => EST 432000",
        "hs; > ACK ack -61000 => EST ignored",
        "hs; > ACK ack -900000 => EST ignored",
        "hs; > ACK seq -7191 => EST 432000",
        "hs; > ACK seq -7192 => EST ignored kept",
        "hs; > ACK seq -90000 => EST ignored kept",
        "hs; > none => INVALID tcp_flags; > PSH => INVALID; > bareFIN => INVALID; > bareFIN+PSH+URG => INVALID;
         > SYN+bareFIN => INVALID; < none => INVALID; < SYN+RST => INVALID",
        "hs; < SYN seq 5001 => INVALID tcp_state; > SYN/ACK => INVALID tcp_state",
        "hs; < SYN/ACK => EST ignored ESTABLISHED",
        "hs; > SYN seq 1001 => EST ignored; < ACK => EST ESTABLISHED",
        "hs; > SYN seq 900000 => EST ignored ESTABLISHED; < SYN/ACK seq 700000 ack 900001 => EST SYN_RECV 60;
         > ACK seq 900001 ack 700001 => EST ESTABLISHED A; > data seq 900001 ack 700001 => EST 300",
        "hs; > SYN seq 900000 => EST; < RST+ACK seq 0 ack 900001 => EST CLOSE 10",
        "hs; > SYN seq 900000 => EST; < RST+ACK ack 900002 => INVALID tcp_ack_over ESTABLISHED",
        "hs; > SYN seq 900000 => EST; > RST+ACK seq 500 ack 900001 => INVALID tcp_ack_over",
        "hs; > SYN seq 900000 => EST; > RST seq 500 => EST CLOSE",
        "hs; > SYN seq 900000 => EST; < SYN/ACK seq 700000 ack 900002 => EST ignored ESTABLISHED",
    ]);
    play_with(liberal(), "hs; > ACK seq 500000 => EST");
}

#[test]
fn ack_slack_is_66000_below_what_the_peer_sent() {
    // Test D is "after R.end - 66000 - 1", and R.end is 5001.
    play_all(&["hs; > ACK ack -60999 => EST 432000", "hs; > ACK ack -61000 => EST ignored"]);
}

#[test]
fn timers_follow_doubt() {
    play_all(&[
        // The fourth identical ACK in a row; then data that is acknowledged.
        "hs; < ACK => EST 432000; < ACK => EST 432000; < ACK => EST 432000; < ACK => EST 300;
         > data => EST; < ACK ack 1011 => EST 432000",
        // The same ACK from the other side, or with another window, is no repetition.
        "hs; < ACK; < ACK; < ACK; > ACK; < ACK => EST 432000",
        "hs; < ACK; < ACK; < ACK; < ACK win 8191 => EST 432000",
        "hs; < ACK win 0 => EST 300; > ACK seq 1000 => EST; < ACK win 5000 => EST 432000",
        "hs; > data => EST 300; < ACK ack 1011 => EST 432000",
        "hs; < ACK win 10 => EST; > data seq 9193 => EST",
    ]);
    let never = Settings { tcp_max_retrans: 255, ..Settings::default() };
    play_with(never, &format!("hs; {} < ACK => 300", "< ACK => 432000;".repeat(255)));
}

#[test]
fn window_scaling_and_sack() {
    play_all(&[
        "> SYN scale 7 win 1000; < SYN/ACK scale 7; > ACK win 1000 => A; < ACK seq 132001 => EST",
        "> SYN scale 7 win 1000; < SYN/ACK scale 7; > ACK win 1000 => A; < ACK seq 305001 => INVALID tcp_seq_over",
        "> SYN scale 7 win 1000; < SYN/ACK; > ACK win 1000 => A; < ACK seq 8001 => INVALID",
        "> SYN win 1000; < SYN/ACK scale 7; > ACK win 1000 => A; < ACK seq 8001 => INVALID",
        "> SYN sackok; < SYN/ACK sackok; > ACK => A; > ACK len 300 => EST; < ACK sack 1301 => EST",
        "> SYN sackok; < SYN/ACK sackok; > ACK => A; > ACK len 300 => EST; < ACK sack 9301 => INVALID tcp_ack_over",
        "hs; > ACK len 300 => EST; < ACK sack 9301 => EST",
        // A shift above 14 counts as 14.
        "> SYN scale 20; < SYN/ACK scale 3; > ACK win 65535 => A; < ACK seq 1000000000 => EST",
        // Options of another kind do not hide that scaling was not offered.
        "> SYN options win 1000; < SYN/ACK options; > ACK win 1000 => A; < ACK seq 8001 => INVALID",
    ]);
}

#[test]
fn closes_outside_the_window_from_both_sides_shorten_the_timer() {
    play_all(&[
        "hs; > FIN seq 500000 => INVALID 432000; < FIN seq 500000 => INVALID ESTABLISHED 300",
        "hs; > RST seq 500000 => INVALID 432000; < FIN seq 500000 => INVALID 300",
        "hs; > FIN seq 500000 => INVALID; > FIN seq 500000 => INVALID 432000",
        // An RST below the acknowledged edge does not count.
        "hs; < ACK; > RST seq 1000 => INVALID; < FIN seq 500000 => INVALID 432000",
        // Nor does anything while the connection is not assured.
        "> SYN; < SYN/ACK; > FIN seq 500000 => INVALID; < FIN seq 500000 => INVALID 60",
        // An RST that closed counts as the first of the two, and is not forgotten for a stray FIN: the side that
        // sent it may begin anew. (A kernel showed this row.)
        "hs; > RST => EST CLOSE; < FIN seq 500000 => INVALID CLOSE; > SYN => NEW",
        // A timer that is short already is not prolonged.
        "hs; > FIN => FIN_WAIT; > FIN seq 500000 => INVALID; < FIN seq 500000 => INVALID 120",
    ]);
}

// 3.7 resets

#[test]
fn resets_of_an_established_connection() {
    // The client sent up to 1000, the server acknowledged 1001.
    play_all(&[
        "hs; < ACK; > RST seq 1001 => EST CLOSE 10",
        "hs; < ACK; > RST seq 1000 => INVALID rst_inexact ESTABLISHED",
        "hs; < ACK; > RST seq 500 => INVALID",
        "hs; < ACK; > RST seq 1002 => EST ESTABLISHED 10",
        "hs; < ACK; > RST seq 9193 => EST ESTABLISHED 10",
        "hs; < ACK; > RST seq 9194 => EST ignored ESTABLISHED 432000",
        "hs; < ACK; > RST seq 100000 => INVALID tcp_seq_over",
        "hs; < ACK; > data => EST; > RST seq 1011 => EST CLOSE",
        "hs; < ACK; > RST+ACK seq 1001 ack 0 => EST CLOSE",
        "hs; < ACK; > RST+ACK seq 1001 ack 9999 => INVALID tcp_ack_over",
        // An ordinary packet restores the timer.
        "hs; < ACK; > RST seq 1002 => EST 10; > ACK => EST ESTABLISHED 300; < ACK ack 1002 => EST 432000",
        "hs; > ACK len 19 => EST; > RST seq 1020 => EST CLOSE",
        "hs; > ACK len 19 => EST; > RST seq 1001 => EST CLOSE",
        "hs; > ACK len 19 => EST; > RST seq 1010 => EST ESTABLISHED 10",
        "hs; < RST seq 5001 => EST CLOSE 10",
        "hs; < RST seq 5000 => INVALID rst_inexact",
    ]);
    play_with(ignore_invalid_rst(), "hs; < ACK; > RST seq 1000 => EST ESTABLISHED 10");
    play_with(ignore_invalid_rst(), "hs; < ACK; > RST seq 500 => EST ESTABLISHED 10");
    play_with(liberal(), "hs; < ACK; > RST seq 500000 => EST ESTABLISHED 10");
    play_with(liberal(), "hs; < ACK; > RST seq 900 => INVALID");
}

#[test]
fn resets_of_a_half_open_connection() {
    play_all(&[
        "> SYN; < SYN/ACK; > RST seq 1001 => EST CLOSE 10",
        "> SYN; < SYN/ACK; > RST seq 1002 => EST CLOSE",
        "> SYN; < SYN/ACK; > RST seq 0 => EST CLOSE",
        "> SYN; < SYN/ACK; > RST seq 1000 => INVALID rst_inexact SYN_RECV",
        "> SYN; < SYN/ACK; > RST seq 777 => INVALID",
        "> SYN; < SYN/ACK; < RST+ACK seq 5001 => EST CLOSE",
        "> SYN; < SYN/ACK; < RST+ACK seq 0 => EST CLOSE",
        "> SYN; < SYN/ACK; < RST+ACK seq 5000 => EST CLOSE",
    ]);
}

// 15.3 close

#[test]
fn close() {
    play_all(&[
        "hs; > FIN => EST FIN_WAIT 120; < ACK ack 1002 => EST CLOSE_WAIT 60; < FIN ack 1002 => EST LAST_ACK 30;
         > ACK seq 1002 ack 5002 => EST TIME_WAIT 120",
        "hs; > FIN => FIN_WAIT; > FIN => LAST_ACK; < ACK ack 1002 => TIME_WAIT; < data => TIME_WAIT;
         < FIN seq 5011 => EST TIME_WAIT",
        "hs; > FIN => FIN_WAIT; < data ack 1001 => EST CLOSE_WAIT",
        "hs; > FIN; < RST seq 999999 => EST CLOSE",
        "hs; > RST => EST CLOSE; > SYN => NEW SYN_SENT U",
        "hs; < RST => EST CLOSE; > SYN seq 9000 => EST ignored; < SYN/ACK ack 9001 => EST SYN_RECV;
         > ACK seq 9001 => EST ESTABLISHED A",
        "hs; > FIN; < RST => CLOSE; > SYN => NEW SYN_SENT",
        "hs; > RST => CLOSE; < SYN => INVALID; > ACK => EST CLOSE 10; > data => EST CLOSE 10; > FIN => EST CLOSE 10",
    ]);
}

const TO_TIME_WAIT: &str = "hs; > FIN; < ACK ack 1002; < FIN ack 1002; > ACK seq 1002 ack 5002 => TIME_WAIT;";

#[test]
fn time_wait() {
    for row in [
        "60s; > FIN ack 5002 => EST TIME_WAIT 120",
        "60s; < FIN ack 1002 => EST TIME_WAIT 120",
        "60s; > data seq 1002 ack 5002 => EST TIME_WAIT 120",
        "> SYN seq 3 => NEW SYN_SENT 120 U notA",
        "> SYN seq 3000000 => NEW SYN_SENT U",
        "< SYN => NEW SYN_SENT U; > SYN/ACK => EST SYN_RECV; < ACK => EST ESTABLISHED A",
        "< SYN/ACK => EST ignored TIME_WAIT",
        "> SYN/ACK => INVALID TIME_WAIT",
        "> RST seq 77 => EST CLOSE 10",
        "120s => gone",
    ] {
        play(&format!("{TO_TIME_WAIT} {row}"));
    }
}

#[test]
fn syn_while_closing() {
    play_all(&[
        "hs; > FIN; > SYN seq 70000 => EST ignored FIN_WAIT",
        "hs; > FIN; < ACK ack 1002; > SYN seq 70000 => EST ignored CLOSE_WAIT",
        "hs; > FIN; < FIN ack 1002 => LAST_ACK; > SYN seq 70000 => EST ignored LAST_ACK;
         < ACK ack 1002 => EST ignored LAST_ACK; < ACK ack 1002 => EST TIME_WAIT",
        // The challenge is expected from the other side only.
        "hs; > FIN; < FIN ack 1002 => LAST_ACK; > SYN seq 70000 => EST ignored LAST_ACK;
         > ACK seq 1002 ack 5002 => EST TIME_WAIT",
        // A SYN ignored before LAST_ACK expects none.
        "hs; > FIN; > SYN seq 70000 => ignored; < FIN ack 1002 => LAST_ACK; < ACK ack 1002 => TIME_WAIT",
    ]);
}

#[test]
fn pickup() {
    play_all(&[
        "> ACK seq 1000 ack 5000 => NEW ESTABLISHED 300 U; > data seq 1000 ack 5000 => NEW;
         < ACK seq 5000 ack 1010 => EST 300 notA; > ACK seq 1010 ack 5000 => EST A",
        // Any number is believed afterwards.
        "> ACK; < ACK; > ACK => A; > ACK seq 3000000000 ack 77 => EST; < data seq 12 ack 3999999999 => EST",
        // Nothing the server sent was in a window: any RST closes.
        "> ACK; < ACK seq 900000 ack 700000 => EST; > ACK; > RST seq 12345 => EST CLOSE",
        "> ACK seq 1000 ack 5000 => NEW; > RST seq 1000 => NEW gone",
        "> ACK seq 1000 ack 5000 => NEW; < RST seq 5000 => EST gone",
        "> ACK => NEW; > FIN => NEW FIN_WAIT 120 U",
        "> ACK => NEW; > SYN seq 70000 => NEW ignored; < SYN/ACK ack 70001 => EST SYN_RECV",
    ]);
}

#[test]
fn resets_of_a_picked_up_connection() {
    const NORMAL: &str = "> ACK seq 1000 ack 5000; < ACK seq 5000 ack 1000; > ACK seq 1000 ack 5000 => A;";
    for row in [
        "> RST seq 5 => INVALID",
        "> RST seq 1500 => EST ESTABLISHED 10",
        "> RST seq 1000 => EST CLOSE",
        "< RST seq 4000 => INVALID",
    ] {
        play(&format!("{NORMAL} {row}"));
    }
}

#[test]
fn router_that_rejects_closes() {
    let mut lab = Lab::new(Settings::default());
    lab.send(&summary(segment("SYN", 1000, 0), true));
    let State::Tcp(tcp) = &mut lab.entries[0].state else { panic!() };
    assert_eq!(tcp.reject(&lab.settings.timeouts), Timer::Set(10_000));
    assert_eq!(tcp.state, TcpState::Close);
}

// Properties

fn segment(flags: &str, seq: u32, ack: u32) -> Segment {
    Segment { seq, ack, sack: ack, window: 8192, flags: parse_flags(flags), ..Segment::default() }
}

fn summary(segment: Segment, from_client: bool) -> Summary {
    let keys = if from_client { (40000, 80) } else { (80, 40000) };
    let tuple = lab::tuple(Family::V4, proto::TCP, from_client, keys);
    Summary { track: Track::Tuple, tuple, l4: L4::Tcp(segment), defect: None }
}

/// Numbers near those of a running connection, or anywhere.
fn number(base: u32) -> impl Strategy<Value = u32> {
    prop_oneof![6 => (0..20u32).prop_map(move |n| base + n), 2 => 0..70_000u32, 1 => any::<u32>(), 1 => Just(0)]
}

fn flags() -> impl Strategy<Value = TcpFlags> {
    prop_oneof![
        5 => Just(TcpFlags(TcpFlags::ACK)),
        3 => Just(TcpFlags(TcpFlags::SYN)),
        2 => Just(TcpFlags(TcpFlags::SYN | TcpFlags::ACK)),
        2 => Just(TcpFlags(TcpFlags::FIN | TcpFlags::ACK)),
        1 => Just(TcpFlags(TcpFlags::RST)),
        1 => Just(TcpFlags(TcpFlags::RST | TcpFlags::ACK)),
        1 => any::<u8>().prop_map(TcpFlags),
    ]
}

prop_compose! {
    fn any_segment()(
        from_client in any::<bool>(),
        flags in flags(),
        seqs in (number(1000), number(5000)),
        sack in number(1000),
        payload in prop_oneof![3 => Just(0u32), 2 => 1..1500u32, 1 => 0..65_536u32],
        window in prop_oneof![Just(8192u16), Just(0), any::<u16>()],
        options in (proptest::option::of(0..30u8), any::<bool>(), any::<bool>()),
        pause_ms in prop_oneof![4 => Just(0u64), 1 => 0..400_000u64],
    ) -> (Summary, u64) {
        let (seq, ack) = if from_client { seqs } else { (seqs.1, seqs.0) };
        let sack = if options.2 { sack } else { ack };
        let (wscale, sack_permitted, more) = options;
        let has_options = wscale.is_some() || sack_permitted || more;
        let segment = Segment { seq, ack, sack, payload, window, flags, wscale, sack_permitted, has_options };
        (summary(segment, from_client), pause_ms)
    }
}

prop_compose! {
    fn any_settings()(
        tcp_loose in any::<bool>(), tcp_be_liberal in any::<bool>(), tcp_ignore_invalid_rst in any::<bool>(),
        tcp_max_retrans in 0..5u8,
    ) -> Settings {
        Settings { tcp_loose, tcp_be_liberal, tcp_ignore_invalid_rst, tcp_max_retrans, ..Settings::default() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is sent: no panic, every field stays within its stored width, timers are positive, and
    /// ASSURED never comes before a reply (the last two are asserted by the lab).
    #[test]
    fn any_history_keeps_the_invariants(
        settings in any_settings(),
        history in proptest::collection::vec(any_segment(), 1..80),
    ) {
        let mut lab = Lab::new(settings);
        for (packet, pause_ms) in history {
            lab.now += pause_ms;
            let before = lab.entries.first().map(|e| (e.state, e.seen_reply, e.assured));
            let seen = lab.send(&packet);
            if let (Some((state, seen_reply, _)), Some(entry)) = (before, lab.entries.first()) {
                let State::Tcp(old) = state else { panic!() };
                let State::Tcp(new) = entry.state else { panic!() };
                match seen.outcome {
                    Outcome::Ignore => {
                        prop_assert_eq!(old.state, new.state);
                        prop_assert_eq!(seen.timer, Timer::Keep);
                    }
                    Outcome::Invalid(_) => {
                        prop_assert_eq!(old.state, new.state);
                        prop_assert!(seen.timer == Timer::Keep || seen.timer == Timer::Set(300_000));
                        prop_assert_eq!(seen_reply, entry.seen_reply);
                    }
                    Outcome::Accept => {}
                    Outcome::Restart => prop_assert!(false, "the lab looks up again"),
                }
            }
            if seen.state == CtState::Invalid {
                prop_assert!(matches!(seen.outcome, Outcome::Invalid(r) if r != InvalidReason::Unknown));
            }
            for entry in &lab.entries {
                let State::Tcp(tcp) = entry.state else { panic!() };
                prop_assert!(tcp.state != TcpState::None);
                prop_assert!(tcp.last.digest < 1 << Last::DIGEST_BITS);
                for peer in tcp.peers {
                    prop_assert!(peer.scale <= 14 && peer.flags < 1 << 6);
                }
                if let Some(ignored) = tcp.ignored {
                    prop_assert!(ignored.scale <= 14);
                }
                prop_assert!(std::mem::size_of_val(&tcp.ignored) <= 16);
            }
        }
    }

    /// A packet is judged by what is stored and nothing else.
    #[test]
    fn advance_is_a_function(history in proptest::collection::vec(any_segment(), 1..40)) {
        let mut lab = Lab::new(Settings::default());
        let mut twin = Lab::new(Settings::default());
        for (packet, _) in history {
            let (a, b) = (lab.send(&packet), twin.send(&packet));
            prop_assert_eq!(a.outcome, b.outcome);
            prop_assert_eq!(lab.entries.first().map(|e| e.state), twin.entries.first().map(|e| e.state));
        }
    }
}
