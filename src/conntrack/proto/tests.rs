//! The conformance vectors for UDP, UDP-Lite, ICMP, ICMPv6, GRE and generic protocols.

use super::lab::{play, play_with};
use super::{Settings, State, Timeouts, icmp, state_of};
use crate::net::{Addr, CtState, Direction, Family, Icmp, InvalidReason, L4, Millis, Summary, Track, Tuple, proto};

// 15.4

#[test]
fn udp() {
    play("> udp => NEW 30 U; > udp => NEW 30; < udp => EST 30; > udp => EST 30 notA; 2.4s; > udp => EST 120 A");
    play("> udp => NEW; 2.5s; < udp => EST 30 notA; < udp => EST 120 A");
    play("> udp => NEW; 2.5s; < udp => EST 30 notA; > udp => EST 120 A");
    // "More than" two seconds.
    play("> udp; < udp; 2s; > udp => EST 30 notA; 0.001s; > udp => EST 120 A");
    // A one-way stream is NEW for ever.
    play("> udp => NEW; 20s; > udp => NEW 30; 20s; > udp => NEW 30; 20s; > udp => NEW 30 notA U");
    // Expired: the late reply opens its own flow.
    play("> udp => NEW; 30s => gone; < udp => NEW 30 U; > udp => EST");
    play("> udp => NEW; 29.999s; < udp => EST");
    play("> udp; < udp; 3s; > udp => A 120; 119s; < udp => EST 120");
}

#[test]
fn udp_stream_lives_longer_than_the_millisecond_clock() {
    let timeouts = Timeouts { udp: 2_000_000_000, udp_stream: 2_000_000_000, ..Timeouts::default() };
    let settings = Settings { timeouts, ..Settings::default() };
    // 1.9 million seconds three times is more than the 4.29 million seconds of the clock.
    play_with(settings, "> udp; < udp; 3s; > udp => A; 1900000s; > udp; 1900000s; < udp; 495000s; > udp => EST A");
    // Unanswered for 34 days, then answered: still old.
    play_with(settings, "> udp; 1900000s; > udp; 1100000s; < udp => EST notA; > udp => EST A");
}

#[test]
fn udp_lite() {
    play("> udplite => NEW 30; < udplite => EST 30 notA; > udplite => EST 120 A");
    play("> udplite => NEW; < udplite => EST; < udplite => EST 120 A");
}

// 15.5, without errors: those never reach a protocol tracker.

#[test]
fn echo() {
    play(
        "> echo => NEW 30 U; > echo => NEW; < reply => EST 30; < reply => EST; > echo => EST notA; 29s; < reply => EST 30",
    );
    play("> echo => NEW; < reply id 8 => INVALID icmp_no_flow; < reply code 1 => INVALID");
    play("> echo => NEW; < echo => NEW; > reply => EST; < reply => EST");
    play("> echo code 5 => NEW; < reply code 5 => EST");
    play("> echo; < reply => EST; 31s; < reply => INVALID");
}

#[test]
fn icmp_types_that_open() {
    let timeouts = Timeouts::default();
    let opens = |family, kind| icmp::open(&timeouts, family, Icmp { kind, code: 0 });
    let v4: Vec<u8> = (0..=255).filter(|kind| opens(Family::V4, *kind).is_ok()).collect();
    let v6: Vec<u8> = (0..=255).filter(|kind| opens(Family::V6, *kind).is_ok()).collect();
    assert_eq!((v4, v6), (vec![8, 13, 15, 17], vec![128, 139]));
    assert_eq!(opens(Family::V4, 14), Err(InvalidReason::IcmpNoFlow));
    assert_eq!(opens(Family::V4, 9), Err(InvalidReason::IcmpType));
    assert_eq!(opens(Family::V6, 153), Err(InvalidReason::IcmpType));
}

#[test]
fn icmp_and_icmpv6_have_timeouts_of_their_own() {
    let timeouts = Timeouts { icmp: 1, icmpv6: 2, ..Timeouts::default() };
    assert_eq!(icmp::advance(&timeouts, Family::V4), super::Step::accept(1));
    assert_eq!(icmp::advance(&timeouts, Family::V6), super::Step::accept(2));
}

#[test]
fn gre() {
    play("> gre => NEW 30 U; > gre => NEW 30; < gre => EST 30 notA; > gre => EST 180 A; < gre => EST 180");
}

#[test]
fn generic() {
    play("> other => NEW 600 U; 500s; > other => NEW 600; < other => EST 600; > other => EST 600 notA; 600s => gone");
}

#[test]
fn state_of_a_packet_before_its_tracker() {
    use Direction::{Original, Reply};
    assert_eq!(state_of(Original, false, false), CtState::New);
    assert_eq!(state_of(Original, false, true), CtState::Related);
    for expected in [false, true] {
        assert_eq!(state_of(Original, true, expected), CtState::Established);
        assert_eq!(state_of(Reply, false, expected), CtState::Established);
        assert_eq!(state_of(Reply, true, expected), CtState::Established);
    }
}

#[test]
fn packet_of_another_protocol_never_advances_an_entry() {
    let settings = Settings::default();
    let tuple =
        Tuple { src: Addr::v4(1), dst: Addr::v4(2), src_key: 0, dst_key: 0, proto: proto::GRE, family: Family::V4 };
    let gre = Summary { track: Track::Tuple, tuple, l4: L4::Gre, defect: None };
    let (mut state, _) = State::open(&settings, &gre, Millis(0)).unwrap();
    let udp = Summary { l4: L4::Udp, ..gre };
    let step = state.advance(&settings, super::Flow::default(), &udp, Direction::Reply, Millis(1));
    assert_eq!(step, super::Step::invalid(InvalidReason::Unknown));
    assert!(!state.early_drop() && state.label().is_none());
}
