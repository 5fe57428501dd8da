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
use super::pack;
use super::pack::layout::{
    self, CLASS_SHIFT, DIGEST_SHIFT, DIRECTION_SHIFT, LAST_END, LAST_MASK, MAXACK_KNOWN_MASK, RECORD_MASK, REPEAT_MASK,
    RETRANS_MASK, RETRANS_MOST, RETRANS_SHIFT, SACK_PERM_MASK, SCALE_MASK, SMALL, STATE_MASK, UNACKED_MASK,
    WINDOW_ZERO_SHIFT,
};
use super::pack::window::Bounds;
use super::proto::tcp::{Class, Last};
use super::proto::{Settings, TcpState, Timeouts, tcp, udp};
use crate::net::four::NO;
use crate::net::wide::Wide;
use crate::net::{Direction, Family, Millis, proto as protocol, reread};

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
    /// What tells connections that are open to the shortcut, by family and protocol.
    open: [[u32; 2]; 2],
}

impl Turn {
    /// Of no time and no epoch yet.
    pub(super) fn of(settings: &Settings) -> Turn {
        let t = &settings.timeouts;
        Turn {
            now: Millis(0),
            epoch: 0,
            max_retrans: settings.tcp_max_retrans,
            udp: t.udp,
            udp_stream: t.udp_stream,
            established: std::array::from_fn(|doubts| {
                established(t, doubts & 4 != 0, doubts & 2 != 0, doubts & 1 != 0)
            }),
            expiry: [Millis(0); 2],
            open: [[0; 2]; 2],
        }
    }

    /// The same in that epoch, at that time.
    #[inline]
    pub(super) const fn at(&self, epoch: u8, now: Millis) -> Turn {
        // Where repetitions are not waited for, every ACK counts as one.
        let repeated = if self.max_retrans == 0 { 4 } else { 0 };
        Turn {
            now,
            epoch,
            expiry: [now.plus(self.established[repeated]), now.plus(self.established[repeated | 2])],
            open: [
                [open(Family::V4, true, epoch) | orderly(true), open(Family::V4, false, epoch) | orderly(false)],
                [open(Family::V6, true, epoch) | orderly(true), open(Family::V6, false, epoch) | orderly(false)],
            ],
            ..*self
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

/// What is asked of TCP besides.
const fn orderly(tcp: bool) -> u32 {
    word(0, 0, if tcp { status::ORDERLY } else { 0 })
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

/// The same as it lies in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a> {
    /// The TCP header up to the window.
    pub header: &'a [u8; 16],
    /// Octets of payload.
    pub payload: u16,
    /// By how much the furthest SACK block reaches beyond the acknowledgment.
    pub sacked: u32,
}

impl Plain<'_> {
    /// By its numbers.
    #[inline(always)]
    #[must_use]
    pub const fn ack(&self) -> Ack {
        let [_, _, _, _, a, b, c, d, e, f, g, h, _, _, i, j] = *self.header;
        let (seq, ack) = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
        Ack { seq, ack, sacked: self.sacked, payload: self.payload, window: u16::from_be_bytes([i, j]) }
    }
}

/// How the numbers of a side's segment are put where those lie that it moves: maxend of the other side, maxack, and its own maxwin and
/// end, which change places with the side (see [`super::pack`]).
struct Order {
    /// Window, acknowledgment, window and sequence number, by the octets of the header.
    fields: [u8; 16],
    /// What is added: to the window the acknowledgment.
    onto: [u8; 16],
    /// Which of them are scaled.
    scale: [u32; 4],
    /// Of the numbers that the segment must not pass, maxack and end of the other side: if the segment has reached both, nothing is
    /// unacknowledged.
    settled: [u32; 4],
}

impl Order {
    const fn of(side: usize) -> Order {
        const SEQ: [u8; 4] = [7, 6, 5, 4];
        const ACK: [u8; 4] = [11, 10, 9, 8];
        const WINDOW: [u8; 4] = [15, 14, NO, NO];
        const NOTHING: [u8; 4] = [NO; 4];
        const ALL: u32 = u32::MAX;
        let onto = joined([ACK, NOTHING, NOTHING, NOTHING]);
        if side == 0 {
            Order {
                fields: joined([WINDOW, ACK, WINDOW, SEQ]),
                onto,
                scale: [SCALE_MASK as u32, 0, SCALE_MASK as u32, 0],
                settled: [0, ALL, ALL, 0],
            }
        } else {
            Order {
                fields: joined([WINDOW, ACK, SEQ, WINDOW]),
                onto,
                scale: [SCALE_MASK as u32, 0, 0, SCALE_MASK as u32],
                settled: [0, ALL, 0, ALL],
            }
        }
    }
}

const fn joined([a, b, c, d]: [[u8; 4]; 4]) -> [u8; 16] {
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
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
        self.standing() & matters(tcp) == open(family, tcp, turn.epoch) && !self.is_over(turn.now)
    }

    /// Whether it is open to the shortcut's own steps: with TCP, orderly too.
    #[inline(always)]
    #[must_use]
    pub fn is_ordinary(&self, family: Family, proto: u8, turn: &Turn) -> bool {
        let tcp = proto == protocol::TCP;
        let wanted = turn.open[usize::from(family == Family::V6)][usize::from(!tcp)];
        (self.standing() ^ wanted) & (matters(tcp) | orderly(tcp)) == 0 && !self.is_over(turn.now)
    }

    /// Protocol, epoch and status.
    #[inline(always)]
    const fn standing(&self) -> u32 {
        word(self.proto, self.epoch, self.status)
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

    /// Moves an open, orderly TCP connection on by an ACK of its `SIDE` (0 is who opened it) that goes on where the connection
    /// stands: neither number lies before those of its side, nothing is acknowledged that was not sent, or sent that was not
    /// allowed; with a window and without SACK, and no repetition. `false`: it is not that, and nothing was changed.
    ///
    /// The entry stays orderly: end and maxack become the segment's, which are not beyond what they must not pass; and maxend
    /// is at most an acknowledgment, which is not beyond maxack, and a window, which is not beyond maxwin. No difference of
    /// two of the numbers exceeds the largest window, so none is ambiguous. That the segment does not end in front of the
    /// other side's window, and acknowledges nothing of the distant past, follows.
    #[inline(always)]
    pub fn step_ordinary<const SIDE: usize>(&mut self, wide: impl Wide, seg: &Plain<'_>, turn: &Turn) -> bool {
        let order = &const { Order::of(SIDE) };
        let ([first, second], [last_end, small]) = self.words.as_chunks_mut::<4>() else { return false };
        let (moved, held) = if SIDE == 0 { (first, second) } else { (second, first) };
        // Each number in the place of the one that it moves; and end and acknowledgment in those of what they must not pass.
        let fields = wide.pick(seg.header, &order.fields);
        let onto = wide.pick(seg.header, &order.onto);
        let onto =
            if SIDE == 0 { wide.with_half::<6>(onto, seg.payload) } else { wide.with_half::<4>(onto, seg.payload) };
        let new = wide.plus(wide.shifted(fields, self.scale[SIDE & 1], &order.scale), onto);
        let ends = if SIDE == 0 { wide.spread::<0b01_01_11_11>(new) } else { wide.spread::<0b01_01_10_10>(new) };
        let (old, bounds) = (wide.load(moved), wide.load(held));
        let (further, room) = (wide.minus(new, old), wide.minus(bounds, ends));
        let odd = if SIDE == 0 { wide.mixed::<0b1010>(room, further) } else { wide.mixed::<0b0110>(room, further) };
        let ack_and_window = wide.first_two(fields);
        if wide.is_below_0(odd) {
            // Compilers would make one question of this and the next.
            let _ = reread(self);
            return false;
        }
        if ack_and_window as u32 == 0 || seg.sacked != 0 {
            return false;
        }
        let record = (SIDE as u32) << DIRECTION_SHIFT
            | u32::from(Last::digest_of(seg.payload.into(), ack_and_window)) << DIGEST_SHIFT;
        let end = wide.first(ends);
        if *last_end == end && (*small ^ record) & REPEAT_MASK == 0 {
            return false;
        }
        wide.store(wide.plus(wide.or_0(further), old), moved);
        *last_end = end;
        *small = pack::OPEN | (Class::Ack as u32) << CLASS_SHIFT | record;
        self.deadline = turn.expiry[usize::from(!wide.are_0(room, &order.settled))];
        true
    }

    /// Moves an open, assured TCP connection on by an ACK that both windows allow. `false`: it is not the common step,
    /// and nothing was changed.
    #[inline(always)]
    pub fn step_tcp(&mut self, seg: Ack, direction: Direction, turn: &Turn) -> bool {
        let side = direction as usize & 1;
        let far = side ^ 1;
        let w = &mut self.words;
        let before = w[SMALL];
        if before & STATE_MASK != TcpState::Established as u32 {
            return false;
        }
        let end = seg.seq.wrapping_add(seg.payload.into());
        let sacked = if self.scale[far] & SACK_PERM_MASK != 0 { seg.sacked } else { 0 };
        let sack = seg.ack.wrapping_add(sacked);
        let (sent, maxend, maxack, mine) =
            (w[layout::end(side)], w[layout::maxend(side)], w[layout::maxack(side)], w[layout::maxwin(side)]);
        let (acked, limit, theirs) = (w[layout::end(far)], w[layout::maxend(far)], w[layout::maxwin(far)]);
        if !(Bounds { sent, maxend, mine, acked, theirs }).allow(seg.seq, end, sack) {
            return false;
        }
        let mut scale = pack::scales(self);
        let w = &mut self.words;
        let win = u32::from(seg.window) << (scale[side] & SCALE_MASK);
        let newer = tcp::after(end, sent);
        let known = MAXACK_KNOWN_MASK[side];
        w[layout::end(side)] = if newer { end } else { sent };
        w[layout::maxack(side)] = if before & known == 0 || tcp::after(seg.ack, maxack) { seg.ack } else { maxack };
        w[layout::maxwin(side)] = mine.max(win.wrapping_add(sacked));
        if tcp::after(end, maxend) {
            w[layout::maxwin(far)] = theirs.wrapping_add(end.wrapping_sub(maxend));
        }
        let edge = sack.wrapping_add(win);
        w[layout::maxend(far)] = if tcp::after(limit, edge) { limit } else { edge.wrapping_add(u32::from(win == 0)) };
        scale[side] |= u8::from(newer) * UNACKED_MASK;
        scale[far] &= !(u8::from(seg.ack == acked) * UNACKED_MASK);
        // Repetitions, and the record of the last segment.
        let window_zero = u32::from(seg.window == 0);
        let digest = u32::from(Last::digest(seg.payload.into(), seg.ack, seg.window));
        let record = (side as u32) << DIRECTION_SHIFT | window_zero << WINDOW_ZERO_SHIFT | digest << DIGEST_SHIFT;
        let mut repeats = 0;
        if w[LAST_END] == end && before & REPEAT_MASK == record {
            repeats = (((before & RETRANS_MASK) >> RETRANS_SHIFT) + 1).min(RETRANS_MOST);
        }
        w[LAST_END] = end;
        w[SMALL] = before & !(LAST_MASK | RECORD_MASK)
            | (Class::Ack as u32) << CLASS_SHIFT
            | known
            | record
            | repeats << RETRANS_SHIFT;
        let repeated = usize::from(repeats as u8 >= turn.max_retrans);
        let unacked = usize::from((scale[0] | scale[1]) & UNACKED_MASK != 0);
        let doubts = repeated << 2 | unacked << 1 | window_zero as usize;
        self.deadline = turn.now.plus(turn.established[doubts & 7]);
        self.scale = scale;
        pack::put_in_order(self);
        true
    }
}

#[cfg(test)]
mod tests;
