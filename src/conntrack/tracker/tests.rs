use super::*;
use crate::conntrack::expect::NoExpectations;
use crate::net::{Family, L4, Segment, ShardId, TcpFlags, Track, proto as number};

const SYN: u8 = TcpFlags::SYN;
const ACK: u8 = TcpFlags::ACK;
const RST: u8 = TcpFlags::RST;
const FIN: u8 = TcpFlags::FIN;

fn tracker(limit: usize, evict: bool) -> Tracker {
    Tracker::new(&Config { limit, evict, settings: Settings::default(), seed: Seed::new([11, 22, 33, 44]) })
}

fn tuple(client: u32, proto: u8, family: Family) -> Tuple {
    let (src, dst) = match family {
        Family::V4 => (Addr::v4(0x0a01_0000 + client), Addr::v4(0x0a02_0002)),
        Family::V6 => (Addr { hi: 0xfd01 << 48, lo: u64::from(client) }, Addr { hi: 0xfd02 << 48, lo: 2 }),
    };
    Tuple { src, dst, src_key: 1111, dst_key: 80, proto, family }
}

fn udp(tuple: Tuple) -> Summary {
    Summary { track: Track::Tuple, tuple, l4: L4::Udp, defect: None }
}

fn tcp(tuple: Tuple, flags: u8, seq: u32, ack: u32) -> Summary {
    let segment = Segment { seq, ack, sack: ack, window: 8192, flags: TcpFlags(flags), ..Segment::default() };
    Summary { track: Track::Tuple, tuple, l4: L4::Tcp(segment), defect: None }
}

/// One packet through every step; accepted by every rule.
fn feed(t: &mut Tracker, summary: &Summary, now: u32, expect: &mut impl Expectations) -> Tracked {
    let now = Millis(now);
    let key = Key::new(summary.tuple, t.seed()).unwrap();
    let tracked = match t.find(&key, now).and_then(|found| t.advance(found, summary, now)) {
        Some(tracked) => tracked,
        None => t.open(&key, summary, now, expect),
    };
    if matches!(tracked.conn, Conn::Fresh) {
        t.commit(now).unwrap();
    }
    t.table().check();
    tracked
}

fn state(t: &mut Tracker, summary: &Summary, now: u32) -> CtState {
    feed(t, summary, now, &mut NoExpectations).state
}

#[test]
fn a_handshake_a_close_and_a_new_connection_on_the_same_tuple() {
    for family in Family::ALL {
        let mut t = tracker(8, true);
        let c = tuple(2, number::TCP, family);
        let s = c.inverse().unwrap();
        assert_eq!(state(&mut t, &tcp(c, SYN, 1000, 0), 0), CtState::New);
        assert_eq!(state(&mut t, &tcp(c, SYN, 1000, 0), 10), CtState::New);
        assert_eq!(state(&mut t, &tcp(s, SYN | ACK, 5000, 1001), 20), CtState::Established);
        let third = feed(&mut t, &tcp(c, ACK, 1001, 5001), 30, &mut NoExpectations);
        assert_eq!((third.state, t.protocol_state(&third.conn)), (CtState::Established, Some("ESTABLISHED")));
        assert_eq!(state(&mut t, &tcp(c, ACK, 1001, 9999), 40), CtState::Invalid);
        for (n, packet) in [
            tcp(c, FIN | ACK, 1001, 5001),
            tcp(s, ACK, 5001, 1002),
            tcp(s, FIN | ACK, 5001, 1002),
            tcp(c, ACK, 1002, 5002),
        ]
        .iter()
        .enumerate()
        {
            assert_eq!(state(&mut t, packet, 50 + n as u32), CtState::Established);
        }
        assert_eq!(state(&mut t, &tcp(c, SYN, 77, 0), 100), CtState::New, "TIME_WAIT gives way to a SYN");
        assert_eq!(t.table().len(), 1);
        assert_eq!(t.counts().created[0], 2);
        assert_eq!(t.counts().destroyed[0], [0, 1, 0]);
    }
}

#[test]
fn a_refused_connection_is_forgotten_at_once() {
    let mut t = tracker(8, true);
    let c = tuple(2, number::TCP, Family::V4);
    assert_eq!(state(&mut t, &tcp(c, SYN, 1000, 0), 0), CtState::New);
    assert_eq!(state(&mut t, &tcp(c.inverse().unwrap(), RST | ACK, 0, 1001), 1), CtState::Established);
    assert_eq!(t.table().len(), 0);
}

#[test]
fn an_ignored_segment_is_remembered_beside_the_entry() {
    let mut t = tracker(8, true);
    let c = tuple(2, number::TCP, Family::V4);
    let s = c.inverse().unwrap();
    state(&mut t, &tcp(c, SYN, 1000, 0), 0);
    state(&mut t, &tcp(s, SYN | ACK, 5000, 1001), 1);
    state(&mut t, &tcp(c, ACK, 1001, 5001), 2);
    // The client restarted: its SYN is ignored, the server's answer to it resynchronises the entry.
    assert_eq!(state(&mut t, &tcp(c, SYN, 900_000, 0), 3), CtState::Established);
    let answer = feed(&mut t, &tcp(s, SYN | ACK, 700_000, 900_001), 4, &mut NoExpectations);
    assert_eq!((answer.state, t.protocol_state(&answer.conn)), (CtState::Established, Some("SYN_RECV")));
}

#[test]
fn an_expired_entry_is_invisible_before_it_is_swept() {
    let mut t = tracker(8, true);
    let c = tuple(2, number::UDP, Family::V4);
    assert_eq!(state(&mut t, &udp(c), 0), CtState::New);
    assert_eq!(state(&mut t, &udp(c.inverse().unwrap()), 29_999), CtState::Established);
    assert_eq!(state(&mut t, &udp(c.inverse().unwrap()), 29_999 + 30_000), CtState::New, "roles swap after expiry");
    assert_eq!(t.table().len(), 1);
    assert_eq!(t.sweep(Millis(29_999 + 60_000), 1, 100), 1);
    assert_eq!(t.table().len(), 0);
}

#[test]
fn a_full_table_gives_up_unassured_connections_and_never_an_assured_one() {
    let mut t = tracker(64, true);
    for n in 0..64 {
        let c = tuple(n, number::UDP, Family::V4);
        state(&mut t, &udp(c), 0);
        if n % 2 == 0 {
            state(&mut t, &udp(c.inverse().unwrap()), 1);
            state(&mut t, &udp(c), 2500);
        }
    }
    let mut opened = 0;
    for n in 1000..1400 {
        opened += usize::from(state(&mut t, &udp(tuple(n, number::UDP, Family::V4)), 3000) == CtState::New);
    }
    assert!(opened > 300, "only {opened} of 400 new flows found room");
    for n in (0..64).step_by(2) {
        assert_eq!(state(&mut t, &udp(tuple(n, number::UDP, Family::V4)), 3001), CtState::Established);
    }
    assert!(t.counts().destroyed[1][Cause::Evicted as usize] > 300);
}

#[test]
fn a_table_full_of_assured_flows_refuses_and_says_so() {
    for evict in [true, false] {
        let mut t = tracker(16, evict);
        for n in 0..16 {
            let c = tuple(n, number::UDP, Family::V4);
            state(&mut t, &udp(c), 0);
            state(&mut t, &udp(c.inverse().unwrap()), 1);
            state(&mut t, &udp(c), 2500);
        }
        let refused = feed(&mut t, &udp(tuple(99, number::UDP, Family::V4)), 2600, &mut NoExpectations);
        assert_eq!((refused.state, refused.invalid), (CtState::Invalid, Some(InvalidReason::TableFull)));
        assert_eq!(t.counts().refused, 1);
        // Once their time is over the dead make room without a sweep.
        assert_eq!(state(&mut t, &udp(tuple(99, number::UDP, Family::V4)), 200_000), CtState::New);
    }
}

struct One(Option<Tuple>);

impl Expectations for One {
    fn claim(&mut self, tuple: &Tuple, _now: Millis) -> Option<MasterRef> {
        self.0.take_if(|expected| expected == tuple).map(|_| MasterRef {
            shard: ShardId(0),
            slot: 7,
            generation: 1,
            helper: 0,
        })
    }
}

#[test]
fn an_expected_connection_is_related_until_its_first_reply() {
    let mut t = tracker(8, true);
    let data = tuple(3, number::TCP, Family::V4);
    let mut expect = One(Some(data));
    assert_eq!(feed(&mut t, &tcp(data, SYN, 1, 0), 0, &mut expect).state, CtState::Related);
    assert_eq!(feed(&mut t, &tcp(data, SYN, 1, 0), 1, &mut expect).state, CtState::Related);
    assert_eq!(
        feed(&mut t, &tcp(data.inverse().unwrap(), SYN | ACK, 9, 2), 2, &mut expect).state,
        CtState::Established
    );
    assert_eq!(feed(&mut t, &tcp(data, ACK, 2, 10), 3, &mut expect).state, CtState::Established);
}

#[test]
fn an_invalid_first_packet_spends_its_expectation() {
    let mut t = tracker(8, true);
    let data = tuple(3, number::TCP, Family::V4);
    let mut expect = One(Some(data));
    assert_eq!(feed(&mut t, &tcp(data, RST, 1, 0), 0, &mut expect).state, CtState::Invalid);
    assert_eq!(feed(&mut t, &tcp(data, SYN, 1, 0), 1, &mut expect).state, CtState::New);
}

#[test]
fn an_error_is_related_only_to_the_sender_of_the_quoted_packet() {
    let mut t = tracker(8, true);
    let c = tuple(2, number::UDP, Family::V4);
    state(&mut t, &udp(c), 0);
    let inverse = Key::new(c.inverse().unwrap(), t.seed()).unwrap();
    let related = t.quoted(&inverse, c.src, Millis(1));
    assert_eq!((related.state, related.direction), (CtState::Related, Some(Direction::Reply)));
    assert_eq!(t.quoted(&inverse, Addr::v4(1), Millis(1)).state, CtState::Invalid);
    assert_eq!(t.quoted(&inverse, c.src, Millis(30_000)).state, CtState::Invalid, "expired meanwhile");
}

#[test]
fn a_decision_of_another_epoch_is_not_seen() {
    let mut t = tracker(8, true);
    let c = tuple(2, number::UDP, Family::V4);
    state(&mut t, &udp(c), 0);
    let key = Key::new(c, t.seed()).unwrap();
    let found = t.find(&key, Millis(1)).unwrap();
    t.set_decision(found, 1, 42);
    assert_eq!((t.decision(found, 1), t.decision(found, 2)), (42, 0));
    t.sweep(Millis(2), 2, 10);
    assert_eq!(t.decision(found, 1), 0, "or it would come true again when the octet wraps");
}

#[test]
fn the_helper_record_of_a_dead_connection_is_handed_out() {
    let mut t = tracker(8, true);
    let c = tuple(2, number::UDP, Family::V4);
    state(&mut t, &udp(c), 0);
    let key = Key::new(c, t.seed()).unwrap();
    let found = t.find(&key, Millis(1)).unwrap();
    t.attach_helper(found, 5);
    assert_eq!(t.helper_of(found), Some(5));
    t.sweep(Millis(31_000), 1, 10);
    assert_eq!((t.take_orphan(), t.take_orphan()), (Some(5), None));
}

#[test]
fn the_sweep_counts_what_is_there_by_protocol_and_stage() {
    let mut t = tracker(64, true);
    let count = |t: &Tracker, class, stage| {
        t.census().find(|(of, at, _)| (*of, *at) == (class, stage)).map(|(_, _, count)| count)
    };
    let all = |t: &Tracker| t.census().map(|(_, _, count)| count).sum::<u32>();
    for client in 2..5 {
        let c = tuple(client, number::TCP, Family::V4);
        state(&mut t, &tcp(c, SYN, 1000, 0), 0);
    }
    for client in 5..7 {
        let c = tuple(client, number::TCP, Family::V6);
        state(&mut t, &tcp(c, SYN, 1000, 0), 0);
        state(&mut t, &tcp(c.inverse().unwrap(), SYN | ACK, 5000, 1001), 1);
        state(&mut t, &tcp(c, ACK, 1001, 5001), 2);
    }
    let (asked, answered) = (tuple(2, number::UDP, Family::V4), tuple(3, number::UDP, Family::V4));
    state(&mut t, &udp(asked), 0);
    state(&mut t, &udp(answered), 0);
    state(&mut t, &udp(answered.inverse().unwrap()), 1);
    assert_eq!(all(&t), 0);
    // A budget cuts a round in two; it is told once the next begins.
    for _ in 0..3 {
        t.sweep(Millis(10), 1, 4);
    }
    assert_eq!((t.table().len(), all(&t)), (7, 7));
    assert_eq!(count(&t, ProtoClass::Tcp, Stage::Tcp(proto::TcpState::SynSent)), Some(3));
    assert_eq!(count(&t, ProtoClass::Tcp, Stage::Tcp(proto::TcpState::Established)), Some(2));
    assert_eq!(count(&t, ProtoClass::Udp, Stage::Unreplied), Some(1));
    assert_eq!(count(&t, ProtoClass::Udp, Stage::Replied), Some(1));
    assert_eq!(count(&t, ProtoClass::Udp, Stage::Tcp(proto::TcpState::Established)), None);
    // What is over is no longer among them.
    for _ in 0..4 {
        t.sweep(Millis(121_000), 1, 4);
    }
    assert_eq!((t.table().len(), all(&t)), (2, 2));
}
