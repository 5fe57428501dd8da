//! The protocols' states as they lie in an entry's 42 octets.
//!
//! TCP: `words` 0-7 the numbers of both sides, by the side whose segments move them forward (below), 8 the last segment's
//! end, 9 everything small; `scale` the shift below the lower four marks; [`layout`] has each bit of them. UDP: word 0 the time
//! of the first packet. SCTP: words 0-1 the tags, 9 the state and marks.
//!
//! A segment moves forward its sender's end, maxack and maxwin, and the receiver's maxend: these four lie together, words 0-3
//! for the originator's segments and 4-7 for the responder's. Where in such a group a number lies, suits the shortcut, which
//! holds all four against those of a segment at once.
//!
//! *Orderly* ([`status::ORDERLY`]) is a connection in ESTABLISHED, of which nothing is left of an unusual beginning, and in which
//! what was acknowledged, what was sent, what may be sent, and the most that was ever offered beyond what was
//! acknowledged follow each other in this order, on either side. Then a segment need not be asked about all that could be
//! otherwise. `UNACKED` says no more in it than that not all that was sent is acknowledged, so it is not kept.

use super::entry::{Entry, status};
use super::proto::tcp::{Class, Ignored, Last, MAX_SCALE, Peer};
use super::proto::{Sctp, SctpState, State, Tcp, TcpState, Udp};
use crate::net::{Direction, Family, Millis, proto};
use layout::{
    CHALLENGE_MASK, CHALLENGE_SHIFT, CLASS_SHIFT, DIGEST_MASK, DIGEST_SHIFT, DIRECTION_SHIFT, FLAGS_SHIFT, LAST_END,
    LOWER_FLAGS, MAXACK_KNOWN_MASK, RETRANS_SHIFT, SCALE_MASK, SIMULTANEOUS_MASK, SIMULTANEOUS_SHIFT, SMALL,
    STATE_MASK, UNACKED_MASK, UPPER_MASK, UPPER_SHIFT, WINDOW_ZERO_MASK, WINDOW_ZERO_SHIFT, end, maxack, maxend,
    maxwin,
};

pub(super) mod layout;
pub(super) mod window;

/// What matters of word 9 to whether an entry is orderly: the state, whether both sides sent a SYN or a challenge is awaited, and the upper marks of
/// both sides; and what it is then: each side has acknowledged something, and neither has closed.
const REGULAR: u32 = STATE_MASK | SIMULTANEOUS_MASK | CHALLENGE_MASK | UPPER_MASK[0] | UPPER_MASK[1];
pub(super) const OPEN: u32 = TcpState::Established as u32 | MAXACK_KNOWN_MASK[0] | MAXACK_KNOWN_MASK[1];

/// The largest window that a header can offer, and more.
const MOST: u32 = 1 << 30;

/// The protocol state of an entry. `ignored` is what its cold words hold.
#[inline(always)]
pub(super) fn load(entry: &Entry, ignored: Option<Ignored>) -> State {
    match entry.proto {
        proto::TCP => State::Tcp(load_tcp(entry, ignored)),
        proto::UDP => State::Udp(Udp { created: Millis(entry.words[0]) }),
        proto::UDPLITE => State::UdpLite,
        proto::ICMP | proto::ICMPV6 => State::Icmp(if entry.is(status::V6) { Family::V6 } else { Family::V4 }),
        proto::SCTP => State::Sctp(load_sctp(entry)),
        proto::GRE => State::Gre,
        _ => State::Other,
    }
}

/// Writes the protocol state back. Gives what belongs into the cold words, if anything does.
#[inline(always)]
pub(super) fn store(entry: &mut Entry, state: &State) -> Option<Ignored> {
    match state {
        State::Tcp(tcp) => {
            store_tcp(entry, tcp);
            tcp.ignored
        }
        State::Udp(udp) => {
            entry.words[0] = udp.created.0;
            None
        }
        State::Sctp(sctp) => {
            store_sctp(entry, sctp);
            None
        }
        State::UdpLite | State::Icmp(_) | State::Gre | State::Other => None,
    }
}

#[inline(always)]
fn load_tcp(entry: &Entry, ignored: Option<Ignored>) -> Tcp {
    let w = &entry.words;
    let scales = scales(entry);
    let peer = |side: usize| {
        let scale = scales[side];
        Peer {
            end: w[end(side)],
            maxend: w[maxend(side)],
            maxack: w[maxack(side)],
            maxwin: w[maxwin(side)],
            scale: scale & SCALE_MASK,
            flags: scale >> FLAGS_SHIFT | (((w[SMALL] & UPPER_MASK[side]) >> UPPER_SHIFT[side]) as u8) << LOWER_FLAGS,
        }
    };
    let small = w[SMALL];
    Tcp {
        state: TcpState::from_bits(small as u8),
        peers: [peer(0), peer(1)],
        last: Last {
            class: Class::from_bits((small >> CLASS_SHIFT) as u8),
            dir: direction(small >> DIRECTION_SHIFT),
            end: w[LAST_END],
            window_zero: small & WINDOW_ZERO_MASK != 0,
            digest: ((small & DIGEST_MASK) >> DIGEST_SHIFT) as u16,
        },
        retrans: (small >> RETRANS_SHIFT) as u8,
        simultaneous: small & SIMULTANEOUS_MASK != 0,
        challenge: small & CHALLENGE_MASK != 0,
        ignored,
    }
}

#[inline(always)]
fn store_tcp(entry: &mut Entry, tcp: &Tcp) {
    let w = &mut entry.words;
    for (side, peer) in tcp.peers.iter().enumerate() {
        w[end(side)] = peer.end;
        w[maxend(side)] = peer.maxend;
        w[maxack(side)] = peer.maxack;
        w[maxwin(side)] = peer.maxwin;
        entry.scale[side] = peer.scale | peer.flags << FLAGS_SHIFT;
    }
    w[LAST_END] = tcp.last.end;
    w[SMALL] = tcp.state as u32
        | (tcp.last.class as u32) << CLASS_SHIFT
        | (tcp.last.dir as u32) << DIRECTION_SHIFT
        | u32::from(tcp.last.window_zero) << WINDOW_ZERO_SHIFT
        | u32::from(tcp.simultaneous) << SIMULTANEOUS_SHIFT
        | u32::from(tcp.challenge) << CHALLENGE_SHIFT
        | u32::from(tcp.last.digest) << DIGEST_SHIFT
        | u32::from(tcp.retrans) << RETRANS_SHIFT
        | u32::from(tcp.peers[0].flags >> LOWER_FLAGS) << UPPER_SHIFT[0]
        | u32::from(tcp.peers[1].flags >> LOWER_FLAGS) << UPPER_SHIFT[1];
    put_in_order(entry);
}

/// The mark in `scale` that not all that a side sent is acknowledged, of an orderly entry, which does not keep it; else 0.
#[inline(always)]
pub(super) fn awaited(entry: &Entry, side: usize) -> u8 {
    const { assert!(status::ORDERLY >> 3 == UNACKED_MASK as u16, "moved to its place by a shift") };
    let orderly = ((entry.status & status::ORDERLY) >> 3) as u8;
    if entry.words[end(side)] == entry.words[maxack(side ^ 1)] { 0 } else { orderly }
}

/// `scale` of both sides with all marks.
#[inline(never)]
pub(super) fn scales(entry: &Entry) -> [u8; 2] {
    [entry.scale[0] | awaited(entry, 0), entry.scale[1] | awaited(entry, 1)]
}

/// Notes whether an entry, in which all marks are written, is orderly.
#[inline(always)]
pub(super) fn put_in_order(entry: &mut Entry) {
    leave_order(entry);
    if entry.words[SMALL] & REGULAR == OPEN {
        note_order(entry);
    }
}

/// The same of one that only its numbers can keep from it.
#[inline(never)]
fn note_order(entry: &mut Entry) {
    if is_in_order(entry, 0) & is_in_order(entry, 1) {
        entry.status |= status::ORDERLY;
        entry.scale = [entry.scale[0] & !UNACKED_MASK, entry.scale[1] & !UNACKED_MASK];
    }
}

/// The same of an entry that can not be.
#[inline(always)]
pub(super) fn leave_order(entry: &mut Entry) {
    entry.status &= !status::ORDERLY;
}

#[inline(always)]
fn is_in_order(entry: &Entry, side: usize) -> bool {
    let w = &entry.words;
    let (acked, most, scale) = (w[maxack(side ^ 1)], w[maxwin(side ^ 1)], entry.scale[side & 1]);
    // What is less than nothing is a great number.
    let (sent, allowed) = (w[end(side)].wrapping_sub(acked), w[maxend(side)].wrapping_sub(acked));
    (sent <= allowed)
        & (allowed <= most)
        & (most.wrapping_sub(1) < MOST)
        & (scale & SCALE_MASK <= MAX_SCALE)
        & ((scale & UNACKED_MASK != 0) == (sent != 0))
}

#[inline(always)]
const fn direction(bits: u32) -> Direction {
    if bits & 1 == 0 { Direction::Original } else { Direction::Reply }
}

/// The fields of SCTP's word 9, above the state in the lowest four bits: of either side whether its INIT was seen; whether a
/// HEARTBEAT failed, and its direction.
const INIT_SEEN_MASK: [u32; 2] = [1 << 4, 1 << 5];
const HEARTBEAT_FAILED_MASK: u32 = 1 << 6;
const HEARTBEAT_DIRECTION_SHIFT: u32 = 7;

fn load_sctp(entry: &Entry) -> Sctp {
    let mut sctp = Sctp::default();
    let small = entry.words[SMALL];
    sctp.state = SctpState::from_bits(small as u8);
    for (side, path) in sctp.paths.iter_mut().enumerate() {
        path.tag = entry.words[side];
        path.init_seen = small & INIT_SEEN_MASK[side] != 0;
    }
    sctp.heartbeat_failed = (small & HEARTBEAT_FAILED_MASK != 0).then(|| direction(small >> HEARTBEAT_DIRECTION_SHIFT));
    sctp
}

fn store_sctp(entry: &mut Entry, sctp: &Sctp) {
    let mut small = sctp.state as u32;
    for (side, path) in sctp.paths.iter().enumerate() {
        entry.words[side] = path.tag;
        if path.init_seen {
            small |= INIT_SEEN_MASK[side];
        }
    }
    if let Some(direction) = sctp.heartbeat_failed {
        small |= HEARTBEAT_FAILED_MASK | (direction as u32) << HEARTBEAT_DIRECTION_SHIFT;
    }
    entry.words[SMALL] = small;
}

/// The state of a TCP connection.
#[inline]
pub(super) fn tcp_state(entry: &Entry) -> TcpState {
    TcpState::from_bits(entry.words[SMALL] as u8)
}

/// Whether memory pressure may take the connection although it is assured.
pub(super) fn is_closing(entry: &Entry) -> bool {
    load(entry, None).early_drop()
}

/// From the cold words.
pub(super) fn load_ignored(words: &[u32; 2]) -> Ignored {
    let [ack, rest] = *words;
    Ignored { ack, window: rest as u16, scale: (rest >> 16) as u8, flags: (rest >> 24) as u8 }
}

/// Into the cold words.
pub(super) fn store_ignored(ignored: Ignored) -> [u32; 2] {
    [ignored.ack, u32::from(ignored.window) | u32::from(ignored.scale) << 16 | u32::from(ignored.flags) << 24]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peers() -> impl Strategy<Value = Peer> {
        (any::<[u32; 4]>(), 0u8..=14, 0u8..64).prop_map(|([end, maxend, maxack, maxwin], scale, flags)| Peer {
            end,
            maxend,
            maxack,
            maxwin,
            scale,
            flags,
        })
    }

    /// Often none, mostly of a window's size, sometimes at the edge of what there is, sometimes anything.
    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![3 => Just(0u32), 6 => 0u32..70_000, 1 => (1u32 << 30) - 2..=(1 << 30) + 2, 1 => any::<u32>()]
    }

    proptest! {
        #[test]
        fn tcp_survives_packing(
            a in peers(), b in peers(), state in 0usize..10, class in 0usize..6, reply: bool, end: u32,
            digest in 0u16..512, retrans: u8, marks: [bool; 3],
            ignored: Option<(u32, u16, u8, u8)>,
        ) {
            let [zero, simultaneous, challenge] = marks;
            let tcp = Tcp {
                state: TcpState::ALL[state],
                peers: [a, b],
                last: Last {
                    class: Class::ALL[class],
                    dir: if reply { Direction::Reply } else { Direction::Original },
                    end,
                    window_zero: zero,
                    digest,
                },
                retrans,
                simultaneous,
                challenge,
                ignored: ignored.map(|(ack, window, scale, flags)| Ignored { ack, window, scale, flags }),
            };
            let mut entry = Entry { proto: proto::TCP, ..Entry::default() };
            let cold = store(&mut entry, &State::Tcp(tcp)).map(store_ignored);
            prop_assert_eq!(load(&entry, cold.as_ref().map(load_ignored)), State::Tcp(tcp));
        }

        #[test]
        fn orderly_is_what_it_says(
            base: [u32; 2], numbers in prop::array::uniform2([number(), number(), number()]), scales in any::<[bool; 2]>(),
            flags in prop::array::uniform2(prop_oneof![8 => Just(Peer::MAXACK_KNOWN), 1 => 0u8..64]),
            follow in prop::array::uniform2(prop::bool::weighted(0.9)),
            state in prop_oneof![8 => Just(TcpState::Established), 1 => prop::sample::select(TcpState::ALL.to_vec())],
            marks in [prop::bool::weighted(0.05), prop::bool::weighted(0.05)], status: u16,
        ) {
            let [[sent, left, win], [sent_back, left_back, win_back]] = numbers;
            let peer = |side: usize, acked_back: u32, sent: u32, left: u32, win: u32| {
                let end = base[side].wrapping_add(sent);
                let awaited = if follow[side] && sent != 0 { Peer::UNACKED } else { 0 };
                Peer {
                    end,
                    maxend: end.wrapping_add(left),
                    maxack: base[side ^ 1],
                    maxwin: acked_back.wrapping_add(win),
                    scale: if scales[side] { 14 } else { 15 },
                    flags: flags[side] | awaited,
                }
            };
            let peers = [
                peer(0, sent_back.wrapping_add(left_back), sent, left, win),
                peer(1, sent.wrapping_add(left), sent_back, left_back, win_back),
            ];
            let tcp = Tcp { state, peers, simultaneous: marks[0], challenge: marks[1], ..Tcp::default() };
            let mut entry = Entry { proto: proto::TCP, status, ..Entry::default() };
            store(&mut entry, &State::Tcp(tcp));
            prop_assert_eq!(load(&entry, None), State::Tcp(tcp));
            prop_assert_eq!(entry.status & !status::ORDERLY, status & !status::ORDERLY);
            // By numbers that do not go around.
            let wanted = state == TcpState::Established && marks == [false; 2] && (0..2).all(|side| {
                let (own, other) = (peers[side], peers[side ^ 1]);
                let beyond = |number: u32| i64::from(number.wrapping_sub(other.maxack).cast_signed());
                let most = i64::from(other.maxwin);
                0 <= beyond(own.end)
                    && beyond(own.end) <= beyond(own.maxend)
                    && beyond(own.maxend) <= most
                    && (1..=1 << 30).contains(&most)
                    && own.scale <= 14
                    && own.has(Peer::MAXACK_KNOWN)
                    && !own.has(Peer::CLOSE_INIT)
                    && own.has(Peer::UNACKED) == (own.end != other.maxack)
            });
            prop_assert_eq!(entry.is(status::ORDERLY), wanted);
        }

        #[test]
        fn sctp_survives_packing(state in 0usize..9, tags: [u32; 2], seen: [bool; 2], failed in 0u8..3) {
            let mut sctp = Sctp { state: SctpState::ALL[state], ..Sctp::default() };
            for side in 0..2 {
                sctp.paths[side].tag = tags[side];
                sctp.paths[side].init_seen = seen[side];
            }
            sctp.heartbeat_failed = [None, Some(Direction::Original), Some(Direction::Reply)][failed as usize];
            let mut entry = Entry { proto: proto::SCTP, ..Entry::default() };
            store(&mut entry, &State::Sctp(sctp));
            prop_assert_eq!(load(&entry, None), State::Sctp(sctp));
        }
    }
}
