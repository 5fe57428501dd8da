//! A connection's ordinary life on its packed entry: how it opens, is answered and closed.
//!
//! As [`shortcut`](super::shortcut) for the one step that nearly every packet is, this makes those that every connection takes
//! once: SYN, SYN/ACK, the ACK after them, data before it is assured, the FINs and their ACKs; and a UDP flow's first packets.
//! Here too nothing is decided anew: whatever is not ordinary is left alone and untouched, for the protocols' own modules to
//! judge, and the tests hold both to the same octets.

use super::entry::{Entry, status};
use super::proto::tcp::{Class, Last, MAX_SCALE, MIN_SLACK, Next, Peer, after, next};
use super::proto::{Flow, Settings, TcpState, Timeouts, Timer, Udp, udp};
use crate::net::{Direction, Millis, Segment};

/// Flags of `scale`'s upper half; see [`super::pack`].
const SCALE: u8 = 0xf;
const WSCALE: u8 = Peer::WSCALE << 4;
const SACK_PERM: u8 = Peer::SACK_PERM << 4;
const UNACKED: u8 = Peer::UNACKED << 4;
const LIBERAL: u8 = Peer::LIBERAL << 4;

/// The fields of TCP's word 9.
const STATE: u32 = 0xf;
const CLASS: u32 = 4;
const DIRECTION: u32 = 7;
const WINDOW_ZERO: u32 = 1 << 8;
const SIMULTANEOUS: u32 = 1 << 9;
const CHALLENGE: u32 = 1 << 10;
const DIGEST: u32 = 11;
const RETRANS: u32 = 20;
const CLOSE_INIT: [u32; 2] = [1 << 28, 1 << 30];
const MAXACK_KNOWN: [u32; 2] = [1 << 29, 1 << 31];
/// Class and direction of the last segment; and what is written with its end.
const LAST: u32 = 7 << CLASS | 1 << DIRECTION;
const RECORD: u32 = WINDOW_ZERO | 0x1ff << DIGEST | 0xff << RETRANS;

/// The entry of a flow that a datagram opens, addresses and status left out.
#[inline(always)]
pub(super) fn opened_udp(timeouts: &Timeouts, now: Millis) -> Entry {
    let mut entry = Entry::default();
    entry.words[0] = now.0;
    entry.deadline = now.plus(timeouts.udp);
    entry
}

/// The entry of a connection that a SYN opens, addresses and status left out. `None`: the segment is no SYN.
#[inline(always)]
pub(super) fn opened_tcp(timeouts: &Timeouts, seg: &Segment, now: Millis) -> Option<Entry> {
    if Class::of(seg.flags) != Class::Syn {
        return None;
    }
    let mut entry = Entry::default();
    let window = u32::from(seg.window);
    let w = &mut entry.words;
    (w[0], w[1]) = (seg.end(), seg.end());
    w[5] = window.max(1);
    w[3] = window.max(1);
    entry.scale[0] = offered(0, seg);
    w[9] = TcpState::SynSent as u32 | (Class::Syn as u32) << CLASS | WINDOW_ZERO;
    // No acknowledgment and no window of the other side was seen yet, which lowers the timer as a closed window does.
    entry.deadline = now.plus(timeouts.tcp_syn_sent.min(timeouts.tcp_max_retrans));
    Some(entry)
}

/// Scale and marks of the sender of a SYN.
#[inline(always)]
fn offered(before: u8, seg: &Segment) -> u8 {
    if !seg.has_options {
        return before;
    }
    let scale = match seg.wscale {
        Some(shift) => shift.min(MAX_SCALE) | WSCALE,
        None => 0,
    };
    before & LIBERAL | scale | if seg.sack_permitted { SACK_PERM } else { 0 }
}

/// Whether a live connection is over and the segment opens another in its place.
#[inline(always)]
pub(super) fn is_over(entry: &Entry, seg: &Segment, direction: Direction) -> bool {
    Class::of(seg.flags) == Class::Syn && {
        let small = entry.words[9];
        let state = TcpState::from_bits(small as u8);
        matches!(state, TcpState::TimeWait | TcpState::Close)
            && next(direction, state, Class::Syn) == Next::To(TcpState::SynSent)
            && small & (CLOSE_INIT[0] | CLOSE_INIT[1]) != 0
    }
}

/// Moves a live flow on by a datagram, and tells whether it is assured from now on.
#[inline(always)]
pub(super) fn step_udp(entry: &mut Entry, timeouts: &Timeouts, direction: Direction, now: Millis) -> bool {
    let flow = flow_of(entry, now);
    let step = udp::advance(timeouts, Udp { created: Millis(entry.words[0]) }, flow, now);
    if let Timer::Set(ms) = step.timer {
        entry.deadline = now.plus(ms);
    }
    if direction == Direction::Reply {
        entry.status |= status::SEEN_REPLY;
    }
    step.assured && !flow.assured
}

/// Moves a live connection on by an ordinary segment, and tells whether it is assured from now on. `None`: the segment is not
/// ordinary, and nothing was changed.
#[inline(always)]
pub(super) fn step_tcp(
    entry: &mut Entry,
    settings: &Settings,
    seg: &Segment,
    direction: Direction,
    now: Millis,
) -> Option<bool> {
    let flow = flow_of(entry, now);
    if entry.is(status::IGNORED) {
        return None;
    }
    let (ms, assured) = tcp(entry, settings, flow, seg, direction)?;
    entry.deadline = now.plus(ms);
    if direction == Direction::Reply {
        entry.status |= status::SEEN_REPLY;
    }
    Some(assured && !flow.assured)
}

#[inline(always)]
const fn flow_of(entry: &Entry, now: Millis) -> Flow {
    Flow {
        seen_reply: entry.is(status::SEEN_REPLY),
        assured: entry.is(status::ASSURED),
        remaining_ms: entry.remaining(now),
    }
}

/// A segment with ACK and without RST that the state machine has a place for and both windows allow. Gives the timer, and
/// whether the connection is assured.
#[inline(always)]
fn tcp(entry: &mut Entry, settings: &Settings, flow: Flow, seg: &Segment, direction: Direction) -> Option<(u32, bool)> {
    let (me, other) = match direction {
        Direction::Original => (0usize, 1usize),
        Direction::Reply => (1, 0),
    };
    let class = Class::of(seg.flags);
    let mut small = entry.words[9];
    let from = TcpState::from_bits(small as u8);
    let Next::To(to) = next(direction, from, class) else { return None };
    let ordinary = matches!(class, Class::SynAck | Class::Fin | Class::Ack) & (from as u8 != TcpState::SynSent2 as u8);
    if !ordinary || small & (SIMULTANEOUS | CHALLENGE) != 0 {
        return None;
    }
    let w = &entry.words;
    let [mut sent, mut maxend, mut maxwin] = [w[4 * me], w[4 * me + 1], w[4 * me + 3]];
    let [acked, mut other_maxend, mut other_maxwin] = [w[4 * other], w[4 * other + 1], w[4 * other + 3]];
    let (mut marks, mut other_marks) = (entry.scale[me], entry.scale[other]);
    let end = seg.end();
    let sack = if other_marks & SACK_PERM != 0 { seg.sack } else { seg.ack };
    let mut window = u32::from(seg.window);
    if class == Class::SynAck {
        // The first segment of its side, or a repetition, which is not ordinary.
        if maxwin != 0 {
            return None;
        }
        (sent, maxend, maxwin) = (end, end, window.max(1));
        marks = offered(marks, seg);
        if direction == Direction::Reply && marks & other_marks & WSCALE == 0 {
            marks &= !SCALE;
            other_marks &= !SCALE;
        }
    } else if maxwin == 0 {
        return None;
    } else {
        window <<= marks & SCALE;
    }
    // The four tests of `proto::tcp::window`.
    let slack = maxwin.max(MIN_SLACK);
    let fits = !after(seg.seq, maxend)
        & !after(sack, acked)
        & ((other_maxwin == 0) | after(end, sent.wrapping_sub(other_maxwin).wrapping_sub(1)))
        & after(sack, acked.wrapping_sub(slack).wrapping_sub(1));
    if !fits {
        return None;
    }
    maxwin = maxwin.max(window.wrapping_add(sack.wrapping_sub(seg.ack)));
    if after(end, sent) {
        sent = end;
        marks |= UNACKED;
    }
    let w = &mut entry.words;
    if small & MAXACK_KNOWN[me] == 0 || after(seg.ack, w[4 * me + 2]) {
        w[4 * me + 2] = seg.ack;
    }
    if other_maxwin != 0 && after(end, maxend) {
        other_maxwin = other_maxwin.wrapping_add(end.wrapping_sub(maxend));
    }
    let edge = sack.wrapping_add(window);
    if !after(other_maxend, edge) {
        other_maxend = edge.wrapping_add(u32::from(window == 0));
    }
    if seg.ack == acked {
        other_marks &= !UNACKED;
    }
    (w[4 * me], w[4 * me + 1], w[4 * me + 3]) = (sent, maxend, maxwin);
    (w[4 * other + 1], w[4 * other + 3]) = (other_maxend, other_maxwin);
    (entry.scale[me], entry.scale[other]) = (marks, other_marks);
    // The record of the last segment, and how often it came.
    let toward = (direction as u32) << DIRECTION;
    if class == Class::Ack {
        let digest = u32::from(Last::digest(seg.payload, seg.ack, seg.window)) << DIGEST;
        let record = digest | if seg.window == 0 { WINDOW_ZERO } else { 0 };
        let same = w[8] == end && small & (1 << DIRECTION | RECORD & !(0xff << RETRANS)) == toward | record;
        if !same {
            w[8] = end;
            small = small & !RECORD | record;
        } else if small >> RETRANS & 0xff != 0xff {
            small += 1 << RETRANS;
        }
    }
    small = small & !(STATE | LAST) | to as u32 | (class as u32) << CLASS | toward | MAXACK_KNOWN[me];
    if to == TcpState::FinWait && from != to {
        small |= CLOSE_INIT[me];
    }
    w[9] = small;
    // The timer, as `proto::tcp` chooses it.
    let t = &settings.timeouts;
    let own = to.timeout(t);
    let repeated = (small >> RETRANS) as u8 >= settings.tcp_max_retrans && own > t.tcp_max_retrans;
    let mut ms = if repeated {
        t.tcp_max_retrans
    } else if (marks | other_marks) & UNACKED != 0 && own > t.tcp_unacknowledged {
        t.tcp_unacknowledged
    } else if small & WINDOW_ZERO != 0 && own > t.tcp_max_retrans {
        t.tcp_max_retrans
    } else {
        own
    };
    if !flow.seen_reply && to == TcpState::Established {
        ms = ms.min(t.tcp_unacknowledged);
    }
    let opened = to == TcpState::Established && matches!(from, TcpState::SynRecv | TcpState::Established);
    Some((ms, flow.seen_reply && opened))
}
