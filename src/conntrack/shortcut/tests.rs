//! The shortcut and the whole way leave the same octets behind.

use crate::conntrack::entry::{Entry, status};
use crate::conntrack::key::{Key, Seed};
use crate::conntrack::pack;
use crate::conntrack::proto::tcp::{Class, Last, Peer};
use crate::conntrack::proto::{Settings, State, Tcp, TcpState, Timeouts};
use crate::conntrack::shortcut::{Ack, Plain, Turn};
use crate::conntrack::table::Found;
use crate::conntrack::tracker::{Config, Conn, Tracker};
use crate::net::wide::{Wide, Widest, Work};
use crate::net::{Addr, CtState, Direction, Family, L4, Millis, Segment, Summary, TcpFlags, Track, Tuple, proto};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::Cell;

/// A difference to a base: often none, often small, sometimes anything.
fn offset() -> impl Strategy<Value = u32> {
    prop_oneof![
        20 => Just(0u32),
        10 => (-3000i32..=0).prop_map(|n| n as u32),
        4 => (0i32..3000).prop_map(|n| n as u32),
        2 => (-200_000i32..200_000).prop_map(|n| n as u32),
        1 => any::<u32>(),
    ]
}

fn window() -> impl Strategy<Value = u32> {
    prop_oneof![1 => Just(0u32), 12 => 1u32..70_000, 2 => any::<u32>()]
}

/// A side whose numbers lie near `base`, and what the other acknowledged near it.
fn peer(base: u32) -> impl Strategy<Value = Peer> {
    (offset(), offset(), offset(), window(), 0u8..=15, any::<u8>()).prop_map(
        move |(end, maxend, maxack, maxwin, scale, flags)| Peer {
            end: base.wrapping_add(end),
            maxend: base.wrapping_add(8192).wrapping_add(maxend),
            maxack: (!base).wrapping_add(maxack),
            maxwin,
            scale,
            flags: flags & 0x3f,
        },
    )
}

#[derive(Clone, Debug)]
struct Case {
    entry: Entry,
    segment: Segment,
    direction: Direction,
    settings: Settings,
    now: u32,
}

fn settings() -> impl Strategy<Value = Settings> {
    (any::<[bool; 2]>(), 0u8..5, prop::array::uniform4(1u32..1000)).prop_map(
        |([liberal, ignore], max_retrans, [a, b, c, d])| Settings {
            tcp_be_liberal: liberal,
            tcp_ignore_invalid_rst: ignore,
            tcp_max_retrans: max_retrans,
            timeouts: Timeouts {
                tcp_established: a,
                tcp_max_retrans: b,
                tcp_unacknowledged: c,
                udp: d,
                udp_stream: a ^ d,
                ..Timeouts::default()
            },
            ..Settings::default()
        },
    )
}

fn direction() -> impl Strategy<Value = Direction> {
    any::<bool>().prop_map(|reply| if reply { Direction::Reply } else { Direction::Original })
}

fn flags() -> impl Strategy<Value = u8> {
    use TcpFlags as F;
    prop_oneof![
        6 => prop::sample::select(vec![F::ACK, F::ACK | F::PSH, F::ACK | F::URG, F::ACK | F::ECE]),
        1 => any::<u8>(),
    ]
}

prop_compose! {
    fn case()(base in any::<u32>())(
        peers in (peer(base), peer(!base)),
        state in prop_oneof![6 => Just(TcpState::Established), 1 => prop::sample::select(TcpState::ALL.to_vec())],
        class in prop::sample::select(Class::ALL.to_vec()),
        direction in direction(), last in direction(),
        numbers in (offset(), offset(), offset(), prop_oneof![Just(0u32), 1u32..3000], offset(), any::<u16>()),
        flags in flags(),
        bits in any::<[bool; 6]>(),
        counts in (0u16..512, prop_oneof![0u8..5, 250u8..=255]),
        settings in settings(),
        now in any::<u32>(), repeats in any::<bool>(), tame in prop::bool::weighted(0.6), base in Just(base),
    ) -> Case {
        let (own, theirs) = match direction {
            Direction::Original => (base, !base),
            Direction::Reply => (!base, base),
        };
        let (seq, ack, sack, payload, last_end, window) = numbers;
        let ack = theirs.wrapping_add(ack);
        let segment = Segment {
            seq: own.wrapping_add(seq),
            ack,
            sack: ack.wrapping_add(sack),
            payload,
            window,
            flags: TcpFlags(flags),
            ..Segment::default()
        };
        let mut last = Last {
            class,
            dir: last,
            end: own.wrapping_add(last_end),
            window_zero: bits[0],
            digest: counts.0.min(508),
        };
        if repeats {
            (last.end, last.digest) = (segment.end(), Last::digest(payload, ack, window));
        }
        let tcp = Tcp {
            state,
            peers: [peers.0, peers.1],
            last,
            retrans: counts.1,
            simultaneous: bits[1],
            challenge: bits[2],
            ignored: None,
        };
        let mut entry = Entry { proto: proto::TCP, epoch: 3, decision: 7, ..Entry::default() };
        entry.status = status::SEEN_REPLY
            | if bits[3] || bits[4] { status::ASSURED } else { 0 }
            | if bits[5] { status::EXPECTED } else { 0 };
        let tcp = if tame { tamed(tcp) } else { tcp };
        pack::store(&mut entry, &State::Tcp(tcp));
        entry.deadline = Millis(now).plus(1000);
        Case { entry, segment, direction, settings, now }
    }
}

/// The same connection, open and without anything unusual, its numbers in their order, unless they are far apart.
fn tamed(mut tcp: Tcp) -> Tcp {
    for side in 0..2 {
        let [a, b] = &mut tcp.peers;
        let (own, other) = if side == 0 { (a, b) } else { (b, a) };
        if own.end.wrapping_sub(other.maxack).cast_signed() < 0 {
            (own.end, other.maxack) = (other.maxack, own.end);
        }
        other.maxwin = other.maxwin.max(own.maxend.wrapping_sub(other.maxack));
        let awaited = if own.end == other.maxack { 0 } else { Peer::UNACKED };
        own.flags = own.flags & (Peer::WSCALE | Peer::SACK_PERM | Peer::LIBERAL) | Peer::MAXACK_KNOWN | awaited;
    }
    Tcp { state: TcpState::Established, simultaneous: false, challenge: false, ..tcp }
}

fn tuple(v6: bool, number: u8) -> Tuple {
    let family = if v6 { Family::V6 } else { Family::V4 };
    let addr = |n: u64| if v6 { Addr { hi: n << 32, lo: n } } else { Addr::v4(n as u32) };
    Tuple { src: addr(1), dst: addr(2), src_key: 1111, dst_key: 80, proto: number, family }
}

/// A tracker that holds one connection, which looks like this.
fn tracker(settings: Settings, tuple: Tuple, entry: &Entry) -> (Tracker, Found) {
    let mut t = Tracker::new(&Config { limit: 16, evict: true, settings, seed: Seed::new([1, 2, 3, 4]) });
    let key = Key::new(tuple, t.seed()).unwrap();
    let found = t.table.insert(&key, entry).unwrap();
    (t, found)
}

thread_local! {
    /// Steps that were ordinary.
    static ORDINARY: Cell<u32> = const { Cell::new(0) };
}

/// The ordinary step of a segment.
struct Ordinary<'a>(&'a mut Entry, Direction, Ack, &'a Turn);

impl Work for Ordinary<'_> {
    type Output = bool;

    #[inline(always)]
    fn run(self, wide: impl Wide) -> bool {
        let Ordinary(entry, direction, Ack { seq, ack, sacked, payload, window }, turn) = self;
        // Ports, offset and flags do not matter.
        let mut header = [0xa5; 16];
        header[4..8].copy_from_slice(&seq.to_be_bytes());
        header[8..12].copy_from_slice(&ack.to_be_bytes());
        header[14..].copy_from_slice(&window.to_be_bytes());
        let segment = Plain { header: &header, payload, sacked };
        match direction {
            Direction::Original => entry.step_ordinary::<0>(wide, &segment, turn),
            Direction::Reply => entry.step_ordinary::<1>(wide, &segment, turn),
        }
    }
}

/// Takes the short way with a packet in `slot`: its direction and decision, and whether the step was the common one.
fn quick(t: &mut Tracker, slot: u32, packet: &Summary, epoch: u8, now: Millis) -> Option<(Direction, u16, bool)> {
    let Tuple { src, dst, src_key, dst_key, proto, family } = packet.tuple;
    let ports = u32::from(src_key) << 16 | u32::from(dst_key);
    let turn = t.turn(epoch, now);
    let found = match family {
        Family::V4 => t.recognise_v4(slot, src.lo << 32 | dst.lo, ports, proto, &turn),
        Family::V6 => {
            let addresses = [src.hi, src.lo, dst.hi, dst.lo].map(u64::to_be);
            let hash = Key::hash(&packet.tuple, t.seed()).unwrap();
            t.recognise_v6((slot, hash), &addresses, ports, proto, &turn)
        }
    };
    let (entry, direction) = found?;
    let decision = entry.decision();
    let stepped = match packet.l4 {
        L4::Tcp(segment) => {
            let Segment { seq, ack, payload, window, flags, .. } = segment;
            let sacked = segment.sack.wrapping_sub(ack);
            let plain = flags.0 & (TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST | TcpFlags::ACK) == TcpFlags::ACK;
            let ack = Ack { seq, ack, sacked, payload: payload as u16, window };
            let (mut ordinary, before) = (*entry, *entry);
            let was_ordinary = entry.is_ordinary(family, proto, &turn) && {
                let was_ordinary = Widest::COMMON.run(Ordinary(&mut ordinary, direction, ack, &turn));
                let mut wide = before;
                assert_eq!(Widest::here().run(Ordinary(&mut wide, direction, ack, &turn)), was_ordinary);
                assert_eq!(wide, ordinary);
                was_ordinary
            };
            let stepped = plain && entry.step_tcp(ack, direction, &turn);
            if plain {
                assert_eq!(ordinary, if was_ordinary { *entry } else { before });
                assert!(stepped || !was_ordinary);
                ORDINARY.set(ORDINARY.get() + u32::from(was_ordinary));
            }
            stepped
        }
        _ => entry.step_udp(&turn),
    };
    Some((direction, decision, stepped))
}

/// Takes the packet both ways. Gives whether there was a shortcut.
fn both(settings: Settings, entry: &Entry, v6: bool, l4: L4, direction: Direction, now: u32) -> bool {
    let original = tuple(v6, entry.proto);
    let tuple = if direction == Direction::Original { original } else { original.inverse().unwrap() };
    let packet = Summary { track: Track::Tuple, tuple, l4, defect: None };
    let now = Millis(now);
    let (mut short, found) = tracker(settings, original, entry);
    let (mut whole, _) = tracker(settings, original, entry);
    let before = *short.table.entry(found.slot).unwrap();
    assert_eq!(quick(&mut short, found.slot, &packet, 4, now), None);
    let other = Summary { tuple: Tuple { src_key: tuple.src_key ^ 1, ..tuple }, ..packet };
    assert_eq!(quick(&mut short, found.slot, &other, 3, now), None);
    let other = Tuple { src: Addr { lo: tuple.src.lo ^ 4, ..tuple.src }, ..tuple };
    assert_eq!(quick(&mut short, found.slot, &Summary { tuple: other, ..packet }, 3, now), None);
    assert_eq!(short.table.entry(found.slot), Some(&before));
    let quick = quick(&mut short, found.slot, &packet, 3, now);
    let recognised = entry.proto != proto::TCP || entry.is(status::ASSURED);
    assert_eq!(quick.map(|(direction, decision, _)| (direction, decision)), recognised.then_some((direction, 7)));
    let taken = quick.is_some_and(|(_, _, taken)| taken);
    let after = *short.table.entry(found.slot).unwrap();
    if !taken {
        assert_eq!(after, before);
        return false;
    }
    let key = Key::new(tuple, whole.seed()).unwrap();
    let found = whole.find(&key, now).unwrap();
    let tracked = whole.advance(found, &packet, now).unwrap();
    assert_eq!((tracked.state, tracked.direction, tracked.invalid), (CtState::Established, Some(direction), None));
    assert!(matches!(tracked.conn, Conn::Known(same) if same == found));
    assert_eq!(whole.table.entry(found.slot).unwrap(), &after);
    true
}

#[test]
fn tcp_is_moved_on_alike() {
    let taken = Cell::new(0);
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() });
    let run = runner.run(&(case(), any::<bool>()), |(case, v6)| {
        let was = both(case.settings, &case.entry, v6, L4::Tcp(case.segment), case.direction, case.now);
        taken.set(taken.get() + u32::from(was));
        Ok(())
    });
    run.unwrap();
    // Enough of them go either way.
    assert!((600..3500).contains(&taken.get()), "{} shortcuts", taken.get());
    let ordinary = ORDINARY.get();
    assert!((100..taken.get() - 100).contains(&ordinary), "{ordinary} of {} are ordinary", taken.get());
}

proptest! {
    #[test]
    fn udp_is_moved_on_alike(
        settings in settings(), direction in direction(), v6: bool, now: u32, assured: bool, age in 0u32..5000,
    ) {
        let mut entry = Entry { proto: proto::UDP, epoch: 3, decision: 7, ..Entry::default() };
        entry.status = status::SEEN_REPLY | if assured { status::ASSURED } else { 0 };
        entry.words[0] = now.wrapping_sub(age);
        entry.deadline = Millis(now).plus(1);
        let taken = both(settings, &entry, v6, L4::Udp, direction, now);
        // Only what makes it a stream is noted elsewhere too.
        prop_assert_eq!(taken, assured || age <= 2000);
    }
}

#[test]
fn a_plain_exchange_takes_the_shortcut() {
    let peer = |end: u32| Peer { end, maxend: end + 8192, maxwin: 8192, flags: Peer::MAXACK_KNOWN, ..Peer::default() };
    let tcp = Tcp { state: TcpState::Established, peers: [peer(1000), peer(5000)], ..Tcp::default() };
    let mut entry = Entry { proto: proto::TCP, epoch: 3, decision: 7, ..Entry::default() };
    entry.status = status::SEEN_REPLY | status::ASSURED;
    entry.deadline = Millis(1);
    pack::store(&mut entry, &State::Tcp(tcp));
    let data = |seq: u32, ack: u32, flags: u8| {
        L4::Tcp(Segment {
            seq,
            ack,
            sack: ack,
            payload: 100,
            window: 8192,
            flags: TcpFlags(flags),
            ..Segment::default()
        })
    };
    let ack = TcpFlags::ACK;
    for (l4, direction, taken) in [
        (data(1000, 5000, ack), Direction::Original, true),
        (data(5000, 1000, ack | TcpFlags::PSH), Direction::Reply, true),
        (data(1000, 5001, ack), Direction::Original, false),
        (data(10_000, 5000, ack), Direction::Original, false),
        (data(1000, 5000, ack | TcpFlags::FIN), Direction::Original, false),
        (data(1000, 5000, ack | TcpFlags::RST), Direction::Original, false),
    ] {
        let there = tuple(false, proto::TCP);
        let tuple = if direction == Direction::Original { there } else { there.inverse().unwrap() };
        let packet = Summary { track: Track::Tuple, tuple, l4, defect: None };
        let (mut t, found) = tracker(Settings::default(), there, &entry);
        assert_eq!(quick(&mut t, found.slot, &packet, 3, Millis(0)), Some((direction, 7, taken)), "{l4:?}");
    }
}
