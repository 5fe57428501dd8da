//! Histories of connections, with and without the brief way, leave the same octets behind.

use super::*;
use crate::conntrack::expect::NoExpectations;
use crate::conntrack::key::{Key, Seed};
use crate::conntrack::proto::tcp::Class;
use crate::conntrack::proto::{Settings, Timeouts};
use crate::conntrack::shortcut::Ack;
use crate::conntrack::tracker::{Config, Conn};
use crate::net::{Addr, Family, L4, Millis, Segment, Summary, TcpFlags, Track, Tuple, proto};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::Cell;
use std::collections::HashMap;

/// A packet of one of some flows.
#[derive(Clone, Debug)]
struct Step {
    flow: u8,
    reply: bool,
    flags: u8,
    /// How far its numbers are from what is due.
    off: [u32; 3],
    payload: u32,
    window: u16,
    options: Option<(Option<u8>, bool)>,
    wait: u32,
}

fn off() -> impl Strategy<Value = u32> {
    prop_oneof![
        30 => Just(0u32),
        2 => (-2000i32..2000).prop_map(i32::cast_unsigned),
        1 => any::<u32>(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    use TcpFlags as F;
    let flags = prop_oneof![
        3 => Just(F::SYN),
        3 => Just(F::SYN | F::ACK),
        6 => Just(F::ACK),
        4 => Just(F::ACK | F::PSH),
        4 => Just(F::FIN | F::ACK),
        1 => Just(F::RST),
        1 => any::<u8>(),
    ];
    let numbers =
        ([off(), off(), off()], prop_oneof![Just(0u32), 1u32..1500], prop_oneof![1 => Just(0u16), 9 => any::<u16>()]);
    let options = prop::option::weighted(0.8, (prop::option::of(0u8..16), any::<bool>()));
    let wait = prop_oneof![20 => 0u32..20, 3 => 0u32..3000, 1 => 0u32..200_000];
    (0u8..24, any::<bool>(), flags, numbers, options, wait).prop_map(
        |(flow, reply, flags, (off, payload, window), options, wait)| Step {
            flow,
            reply,
            flags,
            off,
            payload,
            window,
            options,
            wait,
        },
    )
}

/// A step, or what a connection does from its first to its last segment, of which some get lost.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    use TcpFlags as F;
    let whole = (step(), 0u8..24, any::<[bool; 8]>()).prop_map(|(step, flow, lost)| {
        let segments = [
            (F::SYN, false),
            (F::SYN | F::ACK, true),
            (F::ACK, false),
            (F::ACK | F::PSH, false),
            (F::ACK | F::PSH, true),
            (F::FIN | F::ACK, false),
            (F::FIN | F::ACK, true),
            (F::ACK, false),
        ];
        let payload = |flags| if flags & F::PSH == 0 { 0 } else { step.payload };
        let kept = segments.into_iter().zip(lost).enumerate().filter(|(at, (_, lost))| !lost || *at < 2);
        kept.map(|(_, ((flags, reply), _))| Step {
            flow,
            reply,
            flags,
            off: [0; 3],
            payload: payload(flags),
            window: step.window | 1024,
            ..step
        })
        .collect()
    });
    let some = prop_oneof![2 => prop::collection::vec(step(), 1..8), 3 => whole];
    prop::collection::vec(some, 10..60).prop_map(|all| all.concat())
}

fn settings() -> impl Strategy<Value = Settings> {
    (any::<[bool; 3]>(), 0u8..4, prop::array::uniform8(1u32..200_000)).prop_map(
        |([liberal, loose, ignore], max_retrans, [a, b, c, d, e, f, g, h])| Settings {
            tcp_be_liberal: liberal,
            tcp_loose: loose,
            tcp_ignore_invalid_rst: ignore,
            tcp_max_retrans: max_retrans,
            timeouts: Timeouts {
                tcp_syn_sent: a,
                tcp_syn_recv: b,
                tcp_established: c,
                tcp_fin_wait: d,
                tcp_time_wait: e,
                tcp_max_retrans: f,
                tcp_unacknowledged: g,
                udp: h,
                ..Timeouts::default()
            },
        },
    )
}

fn tuple(flow: u8) -> Tuple {
    let v6 = flow & 1 == 1;
    let addr = |n: u64| if v6 { Addr { hi: n << 32, lo: n } } else { Addr::v4(n as u32) };
    Tuple {
        src: addr(1),
        dst: addr(2),
        src_key: 1000 + u16::from(flow),
        dst_key: 80,
        proto: if flow % 6 == 4 { proto::UDP } else { proto::TCP },
        family: if v6 { Family::V6 } else { Family::V4 },
    }
}

/// Next numbers of both sides of each flow.
#[derive(Default)]
struct Numbers(HashMap<u8, [u32; 2]>);

impl Numbers {
    fn packet(&mut self, step: &Step) -> Summary {
        let there = tuple(step.flow);
        let tuple = if step.reply { there.inverse().unwrap() } else { there };
        let due = self.0.entry(step.flow).or_insert([1000, 5000]);
        let (me, other) = if step.reply { (1, 0) } else { (0, 1) };
        let [seq, ack, sack] = step.off;
        let ack = due[other].wrapping_add(ack);
        let flags = TcpFlags(step.flags);
        let opens = flags.has(TcpFlags::SYN);
        let segment = Segment {
            seq: due[me].wrapping_add(seq),
            ack: if flags.has(TcpFlags::ACK) { ack } else { 0 },
            sack: ack.wrapping_add(sack),
            payload: if opens { 0 } else { step.payload },
            window: step.window,
            flags,
            wscale: step.options.and_then(|(scale, _)| scale),
            sack_permitted: step.options.is_some_and(|(_, sack)| sack),
            has_options: step.options.is_some(),
        };
        if step.off[0] == 0 {
            due[me] = segment.end();
        }
        let l4 = if there.proto == proto::UDP { L4::Udp } else { L4::Tcp(segment) };
        Summary { track: Track::Tuple, tuple, l4, defect: None }
    }
}

fn tracker(settings: Settings, limit: usize) -> Tracker {
    Tracker::new(&Config { limit, evict: true, settings, seed: Seed::new([1, 2, 3, 4]) })
}

/// What a packet is, and its direction.
type Answer = (CtState, Option<Direction>);

/// The whole way of a packet that every rule accepts.
fn whole(t: &mut Tracker, packet: &Summary, now: Millis) -> Answer {
    let key = Key::new(packet.tuple, t.seed()).unwrap();
    let known = t.find(&key, now).and_then(|found| t.advance(found, packet, now));
    let tracked = known.unwrap_or_else(|| t.open(&key, packet, now, &mut NoExpectations));
    if matches!(tracked.conn, Conn::Fresh) {
        t.commit(now).unwrap();
    }
    (tracked.state, tracked.direction)
}

/// The brief way, if it is one for the packet.
fn brief(t: &mut Tracker, packet: &Summary, now: Millis) -> Option<Answer> {
    let Tuple { src, dst, src_key, dst_key, family, .. } = packet.tuple;
    let ports = u32::from(src_key) << 16 | u32::from(dst_key);
    match family {
        Family::V4 => taken(t, packet, (src.lo << 32 | dst.lo, ports), now),
        Family::V6 => taken(t, packet, ([src.hi, src.lo, dst.hi, dst.lo].map(u64::to_be), ports), now),
    }
}

fn taken<A: Ends>(t: &mut Tracker, packet: &Summary, (ends, ports): (A, u32), now: Millis) -> Option<Answer> {
    let hash = Key::hash(&packet.tuple, t.seed()).unwrap();
    let slot = t.table.way_in().likely(crate::net::wide::Common, t.table.fetch_bucket(hash), hash);
    let turn = t.turn(0, now);
    let segment = match packet.l4 {
        L4::Tcp(segment) => Some(segment),
        _ => None,
    };
    let opens = segment.is_some_and(|segment| Class::of(segment.flags) == Class::Syn);
    let first = Packet { hash, ends, ports, proto: packet.tuple.proto, opens };
    assert_eq!(first.tuple(), packet.tuple);
    match t.standing(slot, &first, &turn)? {
        Standing::Live(member) => {
            let moved = match &segment {
                Some(segment) => {
                    let ordinary = ordinarily(t, segment, (member.slot, member.direction), &turn);
                    let moved = t.move_tcp_on(hash, segment, (member.slot, member.direction), &turn);
                    let entry = t.table.entry(member.slot).unwrap();
                    // That it is assured is noted elsewhere.
                    let same =
                        |stepped: Entry| Entry { status: stepped.status | entry.status & status::ASSURED, ..stepped };
                    assert!(ordinary.is_none_or(|stepped| moved && same(stepped) == *entry), "{segment:?}");
                    moved
                }
                None => t.move_udp_on(hash, (member.slot, member.direction), &turn),
            };
            moved.then_some((member.state, Some(member.direction)))
        }
        gone => {
            t.open_at_once(&first, segment.as_ref(), gone, &turn)?;
            Some((CtState::New, Some(Direction::Original)))
        }
    }
}

thread_local! {
    /// Steps that every connection takes: SYN/ACK, ACK and FIN of either side.
    static ORDINARY: [[Cell<u32>; 3]; 2] = const { [const { [const { Cell::new(0) }; 3] }; 2] };
}

/// What the step makes of an entry that every connection takes, if a segment is that.
fn ordinarily(t: &Tracker, segment: &Segment, (slot, direction): (u32, Direction), turn: &Turn) -> Option<Entry> {
    let before = *t.table.entry(slot).unwrap();
    let mut entry = before;
    let how = (&t.timers, t.settings.tcp_max_retrans);
    let Segment { seq, ack, payload, window, .. } = *segment;
    let seg = Ack { seq, ack, sacked: segment.sack.wrapping_sub(ack), payload: payload as u16, window };
    let class = Class::of(segment.flags);
    let (kind, stepped) = match (class, direction) {
        (Class::SynAck, Direction::Reply) => (0, ordinary::answer(&mut entry, how, segment, turn.now).then_some(())),
        (Class::Ack, Direction::Original) => {
            (1, ordinary::step::<0>(&mut entry, how, (seg, false), turn.now).map(|_| ()))
        }
        (Class::Ack, Direction::Reply) => (1, ordinary::step::<1>(&mut entry, how, (seg, false), turn.now).map(|_| ())),
        (Class::Fin, Direction::Original) => {
            (2, ordinary::step::<0>(&mut entry, how, (seg, true), turn.now).map(|_| ()))
        }
        (Class::Fin, Direction::Reply) => (2, ordinary::step::<1>(&mut entry, how, (seg, true), turn.now).map(|_| ())),
        _ => return None,
    };
    if stepped.is_none() {
        assert_eq!(entry, before);
        return None;
    }
    ORDINARY.with(|counts| counts[direction.index()][kind].set(counts[direction.index()][kind].get() + 1));
    Some(entry)
}

fn all(t: &Tracker) -> Vec<String> {
    let slots = 0..t.table.touched() as u32;
    slots.map(|slot| format!("{:?} {:?}", t.table.original(slot), t.table.entry(slot))).collect()
}

#[test]
fn the_brief_way_changes_nothing() {
    let (packets, taken) = (Cell::new(0), Cell::new(0));
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() });
    let run = runner.run(&(steps(), settings(), 4usize..32, any::<u32>()), |(steps, settings, limit, from)| {
        let (mut quick, mut slow) = (tracker(settings, limit), tracker(settings, limit));
        let (mut ends, mut now) = (Numbers::default(), Millis(from));
        for step in steps {
            now = now.plus(step.wait);
            let packet = ends.packet(&step);
            let wanted = whole(&mut slow, &packet, now);
            let briefly = brief(&mut quick, &packet, now);
            taken.set(taken.get() + u32::from(briefly.is_some()));
            packets.set(packets.get() + 1);
            prop_assert_eq!(briefly.unwrap_or_else(|| whole(&mut quick, &packet, now)), wanted, "{:?}", packet);
            prop_assert_eq!(all(&quick), all(&slow), "{:?}", packet);
        }
        prop_assert_eq!(format!("{:?}", quick.counts()), format!("{:?}", slow.counts()));
        quick.table.check();
        Ok(())
    });
    run.unwrap();
    // Enough of them go either way, and of each kind.
    let ordinary = ORDINARY.with(|counts| counts.clone().map(|kinds| kinds.map(Cell::into_inner)));
    assert!(ordinary[0][1..].iter().chain(&ordinary[1]).all(|count| *count > 200), "{ordinary:?}");
    assert!(
        taken.get() * 3 > packets.get() && taken.get() * 20 < packets.get() * 19,
        "{} of {}",
        taken.get(),
        packets.get()
    );
}
