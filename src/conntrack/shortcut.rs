//! The common step of a connection, taken on its packed entry.
//!
//! What an established connection does with nearly every packet (a segment inside the window, a datagram of
//! either side) changes a few words of the entry. Unpacking the protocol's state, judging, and packing it again
//! costs several times as much as the change, so this module makes it in place. It is a copy of what
//! [`Tracker::advance`](super::tracker::Tracker::advance) comes to for such packets and no second opinion:
//! whatever it does not recognise it leaves alone and untouched, and the tests hold both to the same octets.
//!
//! Few of its branches depend on a packet: what may be one way or the other is computed, for a branch that cannot be
//! foreseen costs as much as thirty instructions.

use super::entry::{Entry, pair, status};
use super::proto::tcp::{Class, Last, Peer};
use super::proto::{Settings, TcpState, Timeouts, tcp, udp};
use crate::net::{Direction, Family, Millis, proto as protocol, reread};

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
const MAXACK_KNOWN: u32 = 1 << 29;

/// What holds for all packets judged at once.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub(super) now: Millis,
    pub(super) epoch: u8,
    max_retrans: u8,
    udp: u32,
    udp_stream: u32,
    /// Timers of an open TCP connection: by whether an ACK is repeated, data is unacknowledged, a window is zero.
    established: [u32; 8],
    /// When one expires that only what is unacknowledged makes doubtful: without that, and with it.
    expiry: [Millis; 2],
    /// What tells connections that are open, by family and protocol: what matters of a word of their entry, and what that is.
    open: [[[u32; 2]; 2]; 2],
}

impl Turn {
    pub(super) fn new(settings: &Settings, epoch: u8, now: Millis) -> Turn {
        let t = &settings.timeouts;
        // Where repetitions are not waited for, every ACK counts as one.
        let repeated = settings.tcp_max_retrans == 0;
        Turn {
            now,
            epoch,
            max_retrans: settings.tcp_max_retrans,
            udp: t.udp,
            udp_stream: t.udp_stream,
            established: std::array::from_fn(|doubts| {
                established(t, doubts & 4 != 0, doubts & 2 != 0, doubts & 1 != 0)
            }),
            expiry: [false, true].map(|unacked| now.plus(established(t, repeated, unacked, false))),
            open: [Family::V4, Family::V6]
                .map(|family| [true, false].map(|tcp| [matters(tcp), open(family, tcp, epoch)])),
        }
    }
}

/// Protocol, epoch and status of connections that are open to the shortcut, as far as [`matters`] says.
const fn open(family: Family, tcp: bool, epoch: u8) -> u32 {
    let proto = if tcp { protocol::TCP } else { protocol::UDP };
    let kind = if matches!(family, Family::V6) { status::V6 } else { 0 };
    let assured = if tcp { status::ASSURED } else { 0 };
    word(proto, epoch, status::LIVE | status::SEEN_REPLY | assured | kind)
}

/// What of protocol, epoch and status is looked at.
const fn matters(tcp: bool) -> u32 {
    let assured = if tcp { status::ASSURED } else { 0 };
    word(u8::MAX, u8::MAX, status::LIVE | status::V6 | status::SEEN_REPLY | status::HELPER | assured)
}

/// The three as they lie in an entry.
#[inline(always)]
const fn word(proto: u8, epoch: u8, status: u16) -> u32 {
    proto as u32 | (epoch as u32) << 8 | (status as u32) << 16
}

/// The timer of an open connection, lowered by doubts that the ends still talk, as `proto::tcp` chooses it.
const fn established(t: &Timeouts, repeated: bool, unacked: bool, window_zero: bool) -> u32 {
    let own = t.tcp_established;
    if repeated && own > t.tcp_max_retrans {
        t.tcp_max_retrans
    } else if unacked && own > t.tcp_unacknowledged {
        t.tcp_unacknowledged
    } else if (repeated || window_zero) && own > t.tcp_max_retrans {
        t.tcp_max_retrans
    } else {
        own
    }
}

/// An ACK, with or without data, that neither opens nor closes anything.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// By how much the furthest SACK block reaches beyond `ack`.
    pub sacked: u32,
    /// Octets of payload.
    pub payload: u16,
    /// Window field, unscaled.
    pub window: u16,
}

/// Where connections lie, by slot.
#[derive(Debug)]
pub struct Lines<'a> {
    /// Of each connection, one line.
    pub entries: &'a mut [Entry],
    /// Both addresses of each IPv6 connection, as they lie in the header of a packet in original direction.
    pub ends6: &'a [[u64; 4]],
}

impl Entry {
    /// Whether this is a live, answered connection without helper, of that protocol and kind, decided in this epoch;
    /// with TCP, whether it is assured too.
    #[inline(always)]
    #[must_use]
    pub fn is_open(&self, family: Family, proto: u8, turn: &Turn) -> bool {
        let tcp = proto == protocol::TCP;
        // One word is read as long as it is not known what matters of it.
        let [matters, wanted] = turn.open[usize::from(family == Family::V6)][usize::from(!tcp)];
        word(self.proto, self.epoch, self.status) & matters == wanted && self.remaining(turn.now) > 0
    }

    /// Whether a packet with these ports, source and destination as they lie there, travels in that direction if it is one of
    /// this connection's.
    #[inline(always)]
    #[must_use]
    pub const fn has_ports(&self, ports: [u16; 2], side: usize) -> bool {
        let ports = pair(ports);
        pair(self.keys) == if side == 0 { ports } else { ports.rotate_left(16) }
    }

    /// The same with the addresses of an IPv4 packet.
    #[inline(always)]
    #[must_use]
    pub const fn has_addresses(&self, [source, destination]: [u32; 2], side: usize) -> bool {
        let have = self.ends[0] as u64 | (self.ends[1] as u64) << 32;
        let addresses = source as u64 | (destination as u64) << 32;
        have == if side == 0 { addresses } else { addresses.rotate_left(32) }
    }

    /// The decision cached for it, 0 if there is none.
    #[inline(always)]
    #[must_use]
    pub const fn decision(&self) -> u16 {
        self.decision
    }

    /// Moves an open UDP flow on by a datagram, if this is the common step. `false`: it is not, and nothing was changed.
    #[inline(always)]
    pub fn step_udp(&mut self, turn: &Turn) -> bool {
        let mut timer = turn.udp_stream;
        if !self.is(status::ASSURED) {
            // Becoming a stream is noted in the table too.
            if turn.now.0.wrapping_sub(self.words[0]) > udp::STREAM_AGE_MS {
                return false;
            }
            timer = turn.udp;
        }
        self.deadline = turn.now.plus(timer);
        true
    }

    /// Moves an open, assured TCP connection on by an ACK of its `SIDE` (0 is who opened it) about which nothing is special
    /// at all: no SACK, no closed window, no repetition, not the side's first. `false`: it is not that, and nothing was
    /// changed. What [`Entry::step_tcp`] does with less to ask and with every word at a fixed place.
    #[inline(always)]
    pub fn step_ordinary<const SIDE: usize>(&mut self, seg: Ack, turn: &Turn) -> bool {
        let (me, other) = (4 * (SIDE & 1), 4 * (SIDE & 1 ^ 1));
        let w = &self.words;
        let end = seg.seq.wrapping_add(seg.payload.into());
        let ahead = end.wrapping_sub(w[me]);
        let behind = w[other].wrapping_sub(seg.ack);
        // As in `step_tcp`.
        let (mine, theirs) = (w[me + 3], w[other + 3]);
        let early = w[me + 1].wrapping_sub(seg.seq);
        let late = ahead.wrapping_add(theirs);
        let odd = mine | mine.wrapping_sub(1) | theirs.wrapping_sub(1);
        let known = MAXACK_KNOWN << (2 * SIDE);
        if (early | late | odd).cast_signed() < 0
            || behind > mine.max(tcp::MIN_SLACK)
            || w[9] & (STATE | known) != TcpState::Established as u32 | known
            || seg.window == 0
            || seg.sacked != 0
        {
            return false;
        }
        let record = (SIDE as u32) << 7 | u32::from(Last::digest(seg.payload.into(), seg.ack, seg.window)) << 11;
        if w[8] == end && (w[9] ^ record) & (DIRECTION | DIGEST | WINDOW_ZERO) == 0 {
            return false;
        }
        // What was read is not kept: it is as quickly read again.
        let Entry { words: w, scale, deadline, .. } = reread(self);
        let win = u32::from(seg.window) << (scale[SIDE & 1] & 0xf);
        let more = end.wrapping_sub(w[me + 1]).cast_signed().max(0).cast_unsigned();
        let edge = seg.ack.wrapping_add(win);
        let new = ahead.cast_signed().max(0).cast_unsigned();
        w[me] = w[me].wrapping_add(new);
        w[me + 2] = if tcp::after(seg.ack, w[me + 2]) { seg.ack } else { w[me + 2] };
        w[me + 3] = w[me + 3].max(win);
        w[other + 1] = if tcp::after(w[other + 1], edge) { w[other + 1] } else { edge };
        w[other + 3] = w[other + 3].wrapping_add(more);
        w[8] = end;
        w[9] = w[9] & !(CLASS | DIRECTION | DIGEST | WINDOW_ZERO | RETRANS) | (Class::Ack as u32) << 4 | record;
        let marks = u32::from(u16::from_le_bytes(*scale)) | (u32::from(new != 0) * u32::from(UNACKED)) << (8 * SIDE);
        let answered = marks & !(u32::from(UNACKED) << (8 * (SIDE ^ 1)));
        let marks = if w[other] == seg.ack { answered } else { marks };
        *scale = (marks as u16).to_le_bytes();
        *deadline = turn.expiry[usize::from(marks & (u32::from(UNACKED) * 0x101) != 0)];
        true
    }

    /// Moves an open, assured TCP connection on by an ACK that both windows allow. `false`: it is not the common step,
    /// and nothing was changed.
    #[inline(always)]
    pub fn step_tcp(&mut self, seg: Ack, direction: Direction, turn: &Turn) -> bool {
        let side = direction as usize & 1;
        let ([first, second], [last_end, small]) = self.words.as_chunks_mut::<4>() else { return false };
        let (me, other) = if side == 0 { (first, second) } else { (second, first) };
        let before = *small;
        if before & STATE != TcpState::Established as u32 {
            return false;
        }
        let end = seg.seq.wrapping_add(seg.payload.into());
        let sacked = if self.scale[side ^ 1] & SACK_PERM != 0 { seg.sacked } else { 0 };
        let sack = seg.ack.wrapping_add(sacked);
        let [sent, maxend, maxack, mine] = *me;
        let [acked, limit, _, theirs] = *other;
        // The four tests of `proto::tcp::window`; the sign says that one fails. A window of 0 or of a size that no
        // window has makes it fail too.
        let early = maxend.wrapping_sub(seg.seq);
        let late = !sent.wrapping_sub(theirs).wrapping_sub(1).wrapping_sub(end);
        let behind = acked.wrapping_sub(sack);
        let odd = mine | mine.wrapping_sub(1) | theirs.wrapping_sub(1);
        if (early | late | odd).cast_signed() < 0 || behind > mine.max(tcp::MIN_SLACK) {
            return false;
        }
        let win = u32::from(seg.window) << (self.scale[side] & 0xf);
        let newer = tcp::after(end, sent);
        let known = MAXACK_KNOWN << (2 * side);
        me[0] = if newer { end } else { sent };
        me[2] = if before & known == 0 || tcp::after(seg.ack, maxack) { seg.ack } else { maxack };
        me[3] = mine.max(win.wrapping_add(sacked));
        if tcp::after(end, maxend) {
            other[3] = theirs.wrapping_add(end.wrapping_sub(maxend));
        }
        let edge = sack.wrapping_add(win);
        other[1] = if tcp::after(limit, edge) { limit } else { edge.wrapping_add(u32::from(win == 0)) };
        self.scale[side] |= u8::from(newer) * UNACKED;
        self.scale[side ^ 1] &= !(u8::from(seg.ack == acked) * UNACKED);
        // Repetitions, and the record of the last segment.
        let window_zero = u32::from(seg.window == 0);
        let digest = u32::from(Last::digest(seg.payload.into(), seg.ack, seg.window));
        let record = (side as u32) << 7 | window_zero << 8 | digest << 11;
        let mut repeats = 0;
        if *last_end == end && before & (DIRECTION | DIGEST | WINDOW_ZERO) == record {
            repeats = (((before & RETRANS) >> 20) + 1).min(RETRANS >> 20);
        }
        *last_end = end;
        *small = before & !(CLASS | DIRECTION | DIGEST | WINDOW_ZERO | RETRANS)
            | (Class::Ack as u32) << 4
            | known
            | record
            | repeats << 20;
        let repeated = usize::from(repeats as u8 >= turn.max_retrans);
        let unacked = usize::from((self.scale[0] | self.scale[1]) & UNACKED != 0);
        let doubts = repeated << 2 | unacked << 1 | window_zero as usize;
        self.deadline = turn.now.plus(turn.established[doubts & 7]);
        true
    }
}

#[cfg(test)]
mod tests;
