//! The common step of a connection, taken on its packed entry.
//!
//! What an established connection does with nearly every packet (a segment inside the window, a datagram of
//! either side) changes a few words of the entry. Unpacking the protocol's state, judging, and packing it again
//! costs several times as much as the change, so this module makes it in place. It is a copy of what
//! [`Tracker::advance`](super::tracker::Tracker::advance) comes to for such packets and no second opinion:
//! whatever it does not recognise it leaves alone and untouched, and the tests hold both to the same octets.

use super::entry::{Entry, status};
use super::proto::tcp::{Class, Last, Peer};
use super::proto::{Flow, Outcome, Settings, TcpState, Timeouts, Timer, Udp, tcp, udp};
use crate::net::{Direction, Family, L4, Millis, Segment, Summary, TcpFlags};

/// Flags of `scale`'s upper half.
const UNACKED: u8 = Peer::UNACKED << 4;
const SACK_PERM: u8 = Peer::SACK_PERM << 4;

/// The fields of TCP's word 9; see [`super::pack`].
const STATE: u32 = 0xf;
const CLASS: u32 = 7 << 4;
const DIRECTION: u32 = 1 << 7;
const WINDOW_ZERO: u32 = 1 << 8;
const DIGEST: u32 = 0x1ff << 11;
const RETRANS: u32 = 0xff << 20;
const MAXACK_KNOWN: [u32; 2] = [1 << 29, 1 << 31];

/// Moves a connection on by a packet that travels in `direction`, if this is the common step. `false`: it is
/// not, and nothing was changed. The caller has seen that the connection is live, answered and not expired, and that
/// the packet has no defect.
#[inline(always)]
pub(super) fn step(
    entry: &mut Entry,
    settings: &Settings,
    packet: &Summary,
    direction: Direction,
    now: Millis,
) -> bool {
    match &packet.l4 {
        L4::Tcp(segment) => tcp_step(entry, settings, segment, direction, now),
        L4::Udp => udp_step(entry, &settings.timeouts, now),
        L4::Icmp(_) => {
            let t = &settings.timeouts;
            entry.deadline = now.plus(if packet.tuple.family == Family::V4 { t.icmp } else { t.icmpv6 });
            true
        }
        _ => false,
    }
}

#[inline(always)]
fn udp_step(entry: &mut Entry, timeouts: &Timeouts, now: Millis) -> bool {
    let assured = entry.is(status::ASSURED);
    let flow = Flow { seen_reply: true, assured, remaining_ms: entry.remaining(now) };
    let step = udp::advance(timeouts, Udp { created: Millis(entry.words[0]) }, flow, now);
    let (Timer::Set(ms), Outcome::Accept) = (step.timer, step.outcome) else { return false };
    // Becoming assured is noted in the table too.
    if step.assured && !assured {
        return false;
    }
    entry.deadline = now.plus(ms);
    true
}

/// An ACK of an assured connection in ESTABLISHED that both windows allow. A function of its own, for it needs
/// all registers.
#[inline(never)]
fn tcp_step(entry: &mut Entry, settings: &Settings, seg: &Segment, direction: Direction, now: Millis) -> bool {
    const JUDGED: u8 = TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST | TcpFlags::ACK;
    let (me, other) = match direction {
        Direction::Original => (0usize, 1usize),
        Direction::Reply => (1, 0),
    };
    let w = &mut entry.words;
    let small = w[9];
    let maxwin = [w[6 + me], w[6 + other]];
    if seg.flags.0 & JUDGED != TcpFlags::ACK
        || small & STATE != TcpState::Established as u32
        || entry.status & status::ASSURED == 0
        || maxwin[0] == 0
        || maxwin[1] == 0
    {
        return false;
    }
    let end = seg.seq.wrapping_add(seg.payload);
    let sack = if entry.scale[other] & SACK_PERM != 0 { seg.sack } else { seg.ack };
    let [sent, acked] = [w[me], w[other]];
    let maxend = w[2 + me];
    // The four tests of `proto::tcp::window`.
    let slack = maxwin[0].max(tcp::MIN_SLACK);
    let fits = !tcp::after(seg.seq, maxend)
        & !tcp::after(sack, acked)
        & tcp::after(end, sent.wrapping_sub(maxwin[1]).wrapping_sub(1))
        & tcp::after(sack, acked.wrapping_sub(slack).wrapping_sub(1));
    if !fits {
        return false;
    }
    let win = u32::from(seg.window) << (entry.scale[me] & 0xf);
    w[6 + me] = maxwin[0].max(win.wrapping_add(sack.wrapping_sub(seg.ack)));
    if tcp::after(end, sent) {
        w[me] = end;
        entry.scale[me] |= UNACKED;
    }
    if small & MAXACK_KNOWN[me] == 0 || tcp::after(seg.ack, w[4 + me]) {
        w[4 + me] = seg.ack;
    }
    if tcp::after(end, maxend) {
        w[6 + other] = maxwin[1].wrapping_add(end.wrapping_sub(maxend));
    }
    let edge = sack.wrapping_add(win);
    if !tcp::after(w[2 + other], edge) {
        w[2 + other] = edge.wrapping_add(u32::from(win == 0));
    }
    if seg.ack == acked {
        entry.scale[other] &= !UNACKED;
    }
    // Repetitions, and the record of the last segment.
    let digest = u32::from(Last::digest(seg.payload, seg.ack, seg.window)) << 11;
    let toward = (direction as u32) << 7;
    let mut now_small = small & !(CLASS | DIRECTION) | (Class::Ack as u32) << 4 | toward | MAXACK_KNOWN[me];
    let window_zero = u32::from(seg.window == 0) << 8;
    if w[8] == end && small & (DIRECTION | DIGEST | WINDOW_ZERO) == toward | digest | window_zero {
        if small & RETRANS != RETRANS {
            now_small += 1 << 20;
        }
    } else {
        w[8] = end;
        now_small &= !(DIGEST | RETRANS | WINDOW_ZERO);
        now_small |= digest | window_zero;
    }
    w[9] = now_small;
    // The timer, as `proto::tcp` chooses it.
    let t = &settings.timeouts;
    let own = t.tcp_established;
    let repeated = (now_small >> 20) as u8 >= settings.tcp_max_retrans;
    let stuck = repeated | (now_small & WINDOW_ZERO != 0);
    let unacked = (entry.scale[0] | entry.scale[1]) & UNACKED != 0;
    let ms = if !stuck & !unacked { own } else { doubtful(t, repeated, unacked, stuck) };
    entry.deadline = now.plus(ms);
    true
}

/// A timer lowered by doubts that the ends still talk.
#[inline(always)]
const fn doubtful(t: &Timeouts, repeated: bool, unacked: bool, stuck: bool) -> u32 {
    let own = t.tcp_established;
    if repeated && own > t.tcp_max_retrans {
        t.tcp_max_retrans
    } else if unacked && own > t.tcp_unacknowledged {
        t.tcp_unacknowledged
    } else if stuck && own > t.tcp_max_retrans {
        t.tcp_max_retrans
    } else {
        own
    }
}

#[cfg(test)]
mod tests;
