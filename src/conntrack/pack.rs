//! The protocols' states as they lie in an entry's 42 octets.
//!
//! TCP: `words` 0-3 the originator's end, maxend, maxack and maxwin, 4-7 the responder's, 8 the last segment's end, 9
//! everything small; `scale` the shift below the lower four marks. UDP: word 0 the time of
//! the first packet. SCTP: words 0-1 the tags, 9 the state and marks.

use super::entry::{Entry, status};
use super::proto::tcp::{Class, Ignored, Last, Peer};
use super::proto::{Sctp, SctpState, State, Tcp, TcpState, Udp};
use crate::net::{Direction, Family, Millis, proto};

/// Where the upper two marks of each side lie in word 9.
const MARKS: [u32; 2] = [28, 30];

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
    let peer = |side: usize| {
        let scale = entry.scale[side];
        Peer {
            end: w[4 * side],
            maxend: w[4 * side + 1],
            maxack: w[4 * side + 2],
            maxwin: w[4 * side + 3],
            scale: scale & 0xf,
            flags: scale >> 4 | ((w[9] >> MARKS[side]) as u8 & 3) << 4,
        }
    };
    let small = w[9];
    Tcp {
        state: TcpState::from_bits(small as u8),
        peers: [peer(0), peer(1)],
        last: Last {
            class: Class::from_bits((small >> 4) as u8),
            dir: direction(small >> 7),
            end: w[8],
            window_zero: small >> 8 & 1 == 1,
            digest: (small >> 11 & 0x1ff) as u16,
        },
        retrans: (small >> 20) as u8,
        simultaneous: small >> 9 & 1 == 1,
        challenge: small >> 10 & 1 == 1,
        ignored,
    }
}

#[inline(always)]
fn store_tcp(entry: &mut Entry, tcp: &Tcp) {
    let w = &mut entry.words;
    for (side, peer) in tcp.peers.iter().enumerate() {
        w[4 * side] = peer.end;
        w[4 * side + 1] = peer.maxend;
        w[4 * side + 2] = peer.maxack;
        w[4 * side + 3] = peer.maxwin;
        entry.scale[side] = peer.scale | peer.flags << 4;
    }
    w[8] = tcp.last.end;
    w[9] = tcp.state as u32
        | (tcp.last.class as u32) << 4
        | (tcp.last.dir as u32) << 7
        | u32::from(tcp.last.window_zero) << 8
        | u32::from(tcp.simultaneous) << 9
        | u32::from(tcp.challenge) << 10
        | u32::from(tcp.last.digest) << 11
        | u32::from(tcp.retrans) << 20
        | u32::from(tcp.peers[0].flags >> 4) << MARKS[0]
        | u32::from(tcp.peers[1].flags >> 4) << MARKS[1];
}

#[inline(always)]
const fn direction(bits: u32) -> Direction {
    if bits & 1 == 0 { Direction::Original } else { Direction::Reply }
}

const INIT_SEEN: [u32; 2] = [1 << 4, 1 << 5];
const HEARTBEAT_FAILED: u32 = 1 << 6;
const HEARTBEAT_DIRECTION: u32 = 7;

fn load_sctp(entry: &Entry) -> Sctp {
    let mut sctp = Sctp::default();
    let small = entry.words[9];
    sctp.state = SctpState::from_bits(small as u8);
    for (side, path) in sctp.paths.iter_mut().enumerate() {
        path.tag = entry.words[side];
        path.init_seen = small & INIT_SEEN[side] != 0;
    }
    sctp.heartbeat_failed = (small & HEARTBEAT_FAILED != 0).then(|| direction(small >> HEARTBEAT_DIRECTION));
    sctp
}

fn store_sctp(entry: &mut Entry, sctp: &Sctp) {
    let mut small = sctp.state as u32;
    for (side, path) in sctp.paths.iter().enumerate() {
        entry.words[side] = path.tag;
        if path.init_seen {
            small |= INIT_SEEN[side];
        }
    }
    if let Some(direction) = sctp.heartbeat_failed {
        small |= HEARTBEAT_FAILED | (direction as u32) << HEARTBEAT_DIRECTION;
    }
    entry.words[9] = small;
}

/// The state of a TCP connection.
#[inline]
pub(super) fn tcp_state(entry: &Entry) -> TcpState {
    TcpState::from_bits(entry.words[9] as u8)
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
