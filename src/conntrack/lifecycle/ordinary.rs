//! The steps that nearly every connection takes once, each with what it needs alone and with every word at a fixed place:
//! SYN/ACK, ACK and FIN as [`step_tcp`](super::step_tcp) takes them where nothing about them is special.

use super::{STEPS, Timers, doubts, offered};
use crate::conntrack::entry::{Entry, status};
use crate::conntrack::pack;
use crate::conntrack::pack::layout::{
    self, CHALLENGE_MASK, CLASS_SHIFT, CLOSE_INIT_MASK, DIGEST_SHIFT, DIRECTION_SHIFT, LAST_END, LAST_MASK,
    MAXACK_KNOWN_MASK, RECORD_MASK, REPEAT_MASK, SCALE_MASK, SIMULTANEOUS_MASK, SMALL, STATE_MASK, UNACKED_MASK,
    WSCALE_MASK,
};
use crate::conntrack::pack::window::Bounds;
use crate::conntrack::proto::TcpState;
use crate::conntrack::proto::tcp::{Class, Last, MIN_SLACK, after};
use crate::conntrack::shortcut::Ack;
use crate::net::{Millis, Segment};

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::conntrack) struct Stepped {
    /// The connection is open: this is an ACK of many, or the first.
    pub(in crate::conntrack) open: bool,
    /// It is assured from now on.
    pub(in crate::conntrack) assured: bool,
}

/// Moves an answered connection on by an ACK of its `SIDE` (0 is who opened it), or an ACK with FIN, that the state machine has
/// a place for and both windows allow, and about which nothing is special: no SACK, no closed window, no repetition. `None`: it is
/// not that, and nothing was changed.
///
/// Where connections open and close, whether there is FIN cannot be foreseen, and so it is not branched on.
#[inline(always)]
pub(in crate::conntrack) fn step<const SIDE: usize>(
    entry: &mut Entry,
    (timers, max_retrans): (&Timers, u8),
    (seg, fin): (Ack, bool),
    now: Millis,
) -> Option<Stepped> {
    let class = [Class::Ack, Class::Fin][usize::from(fin)];
    let (side, far) = (SIDE & 1, SIDE & 1 ^ 1);
    let w = &entry.words;
    let (sent, maxend, maxack, mine) =
        (w[layout::end(side)], w[layout::maxend(side)], w[layout::maxack(side)], w[layout::maxwin(side)]);
    let (acked, limit, theirs) = (w[layout::end(far)], w[layout::maxend(far)], w[layout::maxwin(far)]);
    let (last_end, before) = (w[LAST_END], w[SMALL]);
    let from = before & STATE_MASK;
    let to = u32::from(STEPS[side][from as usize][class as usize]);
    let end = seg.seq.wrapping_add(seg.payload.into()).wrapping_add(fin.into());
    // Whether it is the last one again; of a FIN nothing is noted, and so none repeats.
    let toward = (SIDE as u32) << DIRECTION_SHIFT;
    let record = u32::from(Last::digest(seg.payload.into(), seg.ack, seg.window)) << DIGEST_SHIFT;
    let differs = (before ^ (record | toward)) & REPEAT_MASK;
    let fresh = (last_end ^ end) | differs | u32::from(fin);
    if !(Bounds { sent, maxend, mine, acked, theirs }).allow(seg.seq, end, seg.ack)
        || to == 0
        || before & (SIMULTANEOUS_MASK | CHALLENGE_MASK) != 0
        || entry.status & (status::SEEN_REPLY | status::IGNORED) != status::SEEN_REPLY
        || seg.window == 0
        || seg.sacked != 0
        || fresh == 0
    {
        return None;
    }
    let w = &mut entry.words;
    let noted = u32::from(fin).wrapping_sub(1);
    let closes = (to == TcpState::FinWait as u32) & (from != to);
    let word = before & !(STATE_MASK | LAST_MASK | RECORD_MASK & noted)
        | to
        | (class as u32) << CLASS_SHIFT
        | toward
        | MAXACK_KNOWN_MASK[side]
        | record & noted
        | (u32::from(closes) * CLOSE_INIT_MASK[side]);
    w[LAST_END] = if fin { last_end } else { end };
    w[SMALL] = word;
    let scale = entry.scale[side];
    let win = u32::from(seg.window) << (scale & SCALE_MASK);
    let edge = seg.ack.wrapping_add(win);
    let newer = end.wrapping_sub(sent).cast_signed() > 0;
    let more = end.wrapping_sub(maxend).cast_signed().max(0).cast_unsigned();
    w[layout::end(side)] = if newer { end } else { sent };
    w[layout::maxack(side)] =
        if (before & MAXACK_KNOWN_MASK[side] == 0) | after(seg.ack, maxack) { seg.ack } else { maxack };
    w[layout::maxwin(side)] = mine.max(win);
    w[layout::maxend(far)] = if after(limit, edge) { limit } else { edge };
    w[layout::maxwin(far)] = theirs.wrapping_add(more);
    entry.scale[side] = scale | (u8::from(newer) * UNACKED_MASK);
    entry.scale[far] &= !(u8::from(seg.ack == acked) * UNACKED_MASK);
    // An orderly one did not keep the marks. The new numbers have them too, for nothing is acknowledged that was not sent.
    entry.scale = [entry.scale[0] | pack::awaited(entry, 0), entry.scale[1] | pack::awaited(entry, 1)];
    entry.deadline = now.plus(timers.of(to, doubts(word, entry.scale[0] | entry.scale[1], max_retrans)));
    pack::put_in_order(entry);
    let open = (to == TcpState::Established as u32) & ((from == TcpState::SynRecv as u32) | (from == to));
    Some(Stepped { open, assured: open & (entry.status & status::ASSURED == 0) })
}

/// Moves a connection on by the SYN/ACK that answers its SYN. `false`: it is not that, or something about it is special, and
/// nothing was changed.
#[inline(always)]
pub(in crate::conntrack) fn answer(
    entry: &mut Entry,
    (timers, max_retrans): (&Timers, u8),
    seg: &Segment,
    now: Millis,
) -> bool {
    let w = &mut entry.words;
    let (limit, theirs, before) = (w[layout::maxend(0)], w[layout::maxwin(0)], w[SMALL]);
    let behind = w[layout::end(0)].wrapping_sub(seg.ack);
    let window = u32::from(seg.window);
    // The side's first segment is its own measure: only what it acknowledges can be outside of a window.
    if before & (STATE_MASK | SIMULTANEOUS_MASK | CHALLENGE_MASK) != TcpState::SynSent as u32
        || w[layout::maxwin(1)] != 0
        || (theirs | theirs.wrapping_sub(1)).cast_signed() < 0
        || behind > window.max(MIN_SLACK)
        || before & MAXACK_KNOWN_MASK[1] != 0
        || entry.status & status::IGNORED != 0
        || window == 0
        || seg.sack != seg.ack
    {
        return false;
    }
    let (end, edge) = (seg.end(), seg.ack.wrapping_add(window));
    (w[layout::end(1)], w[layout::maxend(1)]) = (end, end);
    (w[layout::maxack(1)], w[layout::maxwin(1)]) = (seg.ack, window);
    w[layout::maxend(0)] = if after(limit, edge) { limit } else { edge };
    let word = before & !(STATE_MASK | LAST_MASK)
        | TcpState::SynRecv as u32
        | (Class::SynAck as u32) << CLASS_SHIFT
        | 1 << DIRECTION_SHIFT
        | MAXACK_KNOWN_MASK[1];
    w[SMALL] = word;
    let (far, own) = (entry.scale[0], offered(entry.scale[1], seg));
    // Both must offer scaling.
    let scaled = SCALE_MASK * u8::from(own & far & WSCALE_MASK != 0);
    let own = own & (!SCALE_MASK | scaled);
    let far = far & (!SCALE_MASK | scaled) & !(u8::from(behind == 0) * UNACKED_MASK);
    entry.scale = [far, own];
    entry.deadline = now.plus(timers.of(TcpState::SynRecv as u32, doubts(word, own | far, max_retrans)));
    entry.status |= status::SEEN_REPLY;
    true
}
