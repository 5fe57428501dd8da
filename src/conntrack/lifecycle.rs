//! A connection's ordinary life on its packed entry: how it opens, is answered and closed.
//!
//! As [`shortcut`](super::shortcut) for the one step that nearly every packet is, this makes those that every connection takes
//! once: SYN, SYN/ACK, the ACK after them, data before it is assured, the FINs and their ACKs; and a UDP flow's first packets.
//! Here too nothing is decided anew: whatever is not ordinary is left alone and untouched, for the protocols' own modules to
//! judge, and the tests hold both to the same octets.

pub(super) mod ordinary;

use super::entry::{Entry, status};
use super::pack;
use super::pack::layout::{
    self, CHALLENGE_MASK, CLASS_SHIFT, CLOSE_INIT_MASK, DIGEST_SHIFT, DIRECTION_SHIFT, LAST_END, LAST_MASK,
    LIBERAL_MASK, MAXACK_KNOWN_MASK, RECORD_MASK, REPEAT_MASK, RETRANS_MASK, RETRANS_MOST, RETRANS_SHIFT,
    SACK_PERM_MASK, SCALE_MASK, SIMULTANEOUS_MASK, SMALL, STATE_MASK, UNACKED_MASK, WINDOW_ZERO_MASK, WSCALE_MASK,
};
use super::pack::window::Bounds;
use super::proto::tcp::{Class, Last, MAX_SCALE, Next, after, next};
use super::proto::{Flow, Settings, TcpState, Timeouts, Timer, Udp, udp};
use crate::net::{Direction, Millis, Segment, TcpFlags};

/// The entry of a flow that a datagram opens, addresses and status left out.
#[inline(always)]
pub(super) fn opened_udp(timeouts: &Timeouts, now: Millis) -> Entry {
    let mut entry = Entry::default();
    entry.words[0] = now.0;
    entry.deadline = now.plus(timeouts.udp);
    entry
}

/// The entry of a connection that a SYN opens, addresses and status left out.
#[inline(always)]
pub(super) fn opened_tcp(timeouts: &Timeouts, seg: &Segment, now: Millis) -> Entry {
    let mut entry = Entry::default();
    let window = u32::from(seg.window);
    let w = &mut entry.words;
    (w[layout::end(0)], w[layout::maxend(0)]) = (seg.end(), seg.end());
    w[layout::maxend(1)] = window.max(1);
    w[layout::maxwin(0)] = window.max(1);
    entry.scale[0] = offered(0, seg);
    w[SMALL] = TcpState::SynSent as u32 | (Class::Syn as u32) << CLASS_SHIFT | WINDOW_ZERO_MASK;
    // No acknowledgment and no window of the other side was seen yet, which lowers the timer as a closed window does.
    entry.deadline = now.plus(timeouts.tcp_syn_sent.min(timeouts.tcp_max_retrans));
    entry
}

/// Scale and marks of the sender of a SYN.
#[inline(always)]
fn offered(before: u8, seg: &Segment) -> u8 {
    if !seg.has_options {
        return before;
    }
    let scale = match seg.wscale {
        Some(shift) => shift.min(MAX_SCALE) | WSCALE_MASK,
        None => 0,
    };
    before & LIBERAL_MASK | scale | if seg.sack_permitted { SACK_PERM_MASK } else { 0 }
}

/// Whether a live connection is over if a SYN travels in `direction`, which then opens another in its place.
#[inline(always)]
pub(super) fn is_over(entry: &Entry, direction: Direction) -> bool {
    let small = entry.words[SMALL];
    let state = TcpState::from_bits(small as u8);
    matches!(state, TcpState::TimeWait | TcpState::Close)
        && next(direction, state, Class::Syn) == Next::To(TcpState::SynSent)
        && small & (CLOSE_INIT_MASK[0] | CLOSE_INIT_MASK[1]) != 0
}

/// Moves a live flow on by a datagram, and tells whether it is assured from now on.
#[inline(always)]
pub(super) fn step_udp(entry: &mut Entry, timeouts: &Timeouts, direction: Direction, now: Millis) -> bool {
    let flow = Flow {
        seen_reply: entry.is(status::SEEN_REPLY),
        assured: entry.is(status::ASSURED),
        remaining_ms: entry.remaining(now),
    };
    let step = udp::advance(timeouts, Udp { created: Millis(entry.words[0]) }, flow, now);
    if let Timer::Set(ms) = step.timer {
        entry.deadline = now.plus(ms);
    }
    if direction == Direction::Reply {
        entry.status |= status::SEEN_REPLY;
    }
    step.assured && !flow.assured
}

/// Timers of each state by the doubts that the ends still talk, worked out once for the settings in force.
#[derive(Clone, Debug)]
pub(super) struct Timers([[u32; 8]; 16]);

/// The doubts: the last ACK was repeated too often, data is not acknowledged, the last window was zero.
const REPEATED: usize = 4;
const UNANSWERED: usize = 2;
const CLOSED: usize = 1;

impl Timers {
    pub(super) fn new(t: &Timeouts) -> Timers {
        Timers(std::array::from_fn(|state| {
            let own = TcpState::from_bits(state as u8).timeout(t);
            // As `proto::tcp` chooses.
            std::array::from_fn(|doubts| {
                if doubts & REPEATED != 0 && own > t.tcp_max_retrans {
                    t.tcp_max_retrans
                } else if doubts & UNANSWERED != 0 && own > t.tcp_unacknowledged {
                    t.tcp_unacknowledged
                } else if doubts & CLOSED != 0 && own > t.tcp_max_retrans {
                    t.tcp_max_retrans
                } else {
                    own
                }
            })
        }))
    }

    #[inline(always)]
    const fn of(&self, state: u32, doubts: usize) -> u32 {
        self.0[(state & STATE_MASK) as usize][doubts & 7]
    }
}

/// What makes it doubtful that the ends still talk.
#[inline(always)]
fn doubts(word: u32, marks: u8, max_retrans: u8) -> usize {
    let repeated = usize::from((word >> RETRANS_SHIFT) as u8 >= max_retrans) * REPEATED;
    let unanswered = usize::from(marks & UNACKED_MASK != 0) * UNANSWERED;
    let closed = usize::from(word & WINDOW_ZERO_MASK != 0) * CLOSED;
    repeated | unanswered | closed
}

/// What an ordinary segment makes of a state, by direction, state and class: 0 if it is not ordinary there.
static STEPS: [[[u8; 8]; 16]; 2] = [steps(Direction::Original), steps(Direction::Reply)];

const fn steps(direction: Direction) -> [[u8; 8]; 16] {
    let mut steps = [[0; 8]; 16];
    let mut state = TcpState::SynSent as u8;
    while state <= TcpState::Close as u8 {
        let mut class = Class::SynAck as u8;
        while class <= Class::Ack as u8 {
            if let Next::To(to) = next(direction, TcpState::from_bits(state), Class::from_bits(class)) {
                steps[state as usize][class as usize] = to as u8;
            }
            class += 1;
        }
        state += 1;
    }
    steps
}

/// The classes of segments, by the flags that matter.
static CLASSES: [Class; 64] = {
    let mut classes = [Class::None; 64];
    let mut flags = 0;
    while flags < 64 {
        classes[flags as usize] = Class::of(TcpFlags(flags));
        flags += 1;
    }
    classes
};

#[inline(always)]
fn class_of(seg: &Segment) -> Class {
    CLASSES[usize::from(seg.flags.0 & 63)]
}

/// Moves a live connection on by a segment with ACK and without RST that the state machine has a place for and both windows
/// allow, and tells whether it is assured from now on. `None`: the segment is another, and nothing was changed.
///
/// As in the shortcut, what cannot be foreseen is computed and not branched on.
#[inline(always)]
pub(super) fn step_tcp(
    entry: &mut Entry,
    (settings, timers): (&Settings, &Timers),
    seg: &Segment,
    direction: Direction,
    now: Millis,
) -> Option<bool> {
    let side = direction as usize & 1;
    let class = class_of(seg);
    let far = side ^ 1;
    let w = &entry.words;
    let before = w[SMALL];
    let from = before & STATE_MASK;
    let to = u32::from(STEPS[side][from as usize][class as usize & 7]);
    if to == 0 || before & (SIMULTANEOUS_MASK | CHALLENGE_MASK) != 0 || entry.status & status::IGNORED != 0 {
        return None;
    }
    let (mut sent, mut maxend, mut mine) = (w[layout::end(side)], w[layout::maxend(side)], w[layout::maxwin(side)]);
    let maxack = w[layout::maxack(side)];
    let (acked, limit, theirs) = (w[layout::end(far)], w[layout::maxend(far)], w[layout::maxwin(far)]);
    let scales = pack::scales(entry);
    let (mut marks, mut other_marks) = (scales[side], scales[far]);
    let end = seg.end();
    let sack = if other_marks & SACK_PERM_MASK != 0 { seg.sack } else { seg.ack };
    let mut window = u32::from(seg.window);
    if class == Class::SynAck {
        // The first segment of its side, or a repetition, which is not ordinary.
        if mine != 0 {
            return None;
        }
        (sent, maxend, mine) = (end, end, window.max(1));
        marks = offered(marks, seg);
        if direction == Direction::Reply && marks & other_marks & WSCALE_MASK == 0 {
            marks &= !SCALE_MASK;
            other_marks &= !SCALE_MASK;
        }
    } else {
        window <<= marks & SCALE_MASK;
    }
    if !(Bounds { sent, maxend, mine, acked, theirs }).allow(seg.seq, end, sack) {
        return None;
    }
    let newer = after(end, sent);
    let known = MAXACK_KNOWN_MASK[side];
    marks |= u8::from(newer) * UNACKED_MASK;
    other_marks &= !(u8::from(seg.ack == acked) * UNACKED_MASK);
    let w = &mut entry.words;
    w[layout::end(side)] = if newer { end } else { sent };
    w[layout::maxend(side)] = maxend;
    w[layout::maxack(side)] = if before & known == 0 || after(seg.ack, maxack) { seg.ack } else { maxack };
    w[layout::maxwin(side)] = mine.max(window.wrapping_add(sack.wrapping_sub(seg.ack)));
    if after(end, maxend) {
        w[layout::maxwin(far)] = theirs.wrapping_add(end.wrapping_sub(maxend));
    }
    let edge = sack.wrapping_add(window);
    w[layout::maxend(far)] = if after(limit, edge) { limit } else { edge.wrapping_add(u32::from(window == 0)) };
    (entry.scale[side], entry.scale[far]) = (marks, other_marks);
    // The record of the last segment, and how often it came.
    let toward = (side as u32) << DIRECTION_SHIFT;
    let mut word = before;
    if class == Class::Ack {
        let digest = u32::from(Last::digest(seg.payload, seg.ack, seg.window)) << DIGEST_SHIFT;
        let record = digest | (u32::from(seg.window == 0) * WINDOW_ZERO_MASK);
        let same = w[LAST_END] == end && before & REPEAT_MASK == toward | record;
        let repeats = if same { (((before & RETRANS_MASK) >> RETRANS_SHIFT) + 1).min(RETRANS_MOST) } else { 0 };
        word = before & !RECORD_MASK | record | repeats << RETRANS_SHIFT;
        w[LAST_END] = end;
    }
    let closes = (to == TcpState::FinWait as u32) & (from != to);
    word = word & !(STATE_MASK | LAST_MASK) | to | (class as u32) << CLASS_SHIFT | toward | known;
    w[SMALL] = word | (u32::from(closes) * CLOSE_INIT_MASK[side]);
    let mut ms = timers.of(to, doubts(word, marks | other_marks, settings.tcp_max_retrans));
    let seen_reply = entry.status & status::SEEN_REPLY != 0;
    let open = to == TcpState::Established as u32;
    if open & !seen_reply {
        ms = ms.min(settings.timeouts.tcp_unacknowledged);
    }
    entry.deadline = now.plus(ms);
    pack::put_in_order(entry);
    entry.status |= side as u16 * status::SEEN_REPLY;
    let opened = open & (from == TcpState::SynRecv as u32 || from == to);
    Some(opened & seen_reply & (entry.status & status::ASSURED == 0))
}
