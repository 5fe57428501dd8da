//! TCP (RFC 9293) as a bystander sees it: states, window tracking, and the segments it deliberately ignores.
//!
//! The window checks follow van Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2001), with
//! netfilter's later softening: only a sequence number far ahead and an acknowledgment of unseen data are
//! INVALID; what is old is ignored, for the endpoints ignore it too.
//!
//! Why segments are *ignored*: the router may be out of step with the endpoints. A SYN in an open connection
//! is either an attack or the sign that one end restarted, and only the other end's answer tells. So the
//! tracker remembers it ([`Last`], [`Ignored`]), changes nothing, and believes the answer: a SYN/ACK for
//! it moves the entry to the new connection, an RST for it closes the entry.
//!
//! A [`Tcp`] fits 336 bits when stored: each field's doc gives its width. The *last* record of the
//! specification is kept as far as a later packet can ask for it; a 9-bit digest stands for the
//! sequence number, acknowledgment number and window that repeated ACKs are recognised by.

use super::{Flow, Settings, Step, Timeouts, Timer};
use crate::net::{Direction, InvalidReason, Segment};

pub use state::{Class, Ignored, Last, Peer, Tcp, TcpState};
pub(in crate::conntrack) use table::{Next, next};
pub(in crate::conntrack) use window::{MAX_SCALE, MIN_SLACK};

mod state;
mod table;
#[cfg(test)]
mod tests;
mod window;

/// A close outside the window shortens only timers that have more than this left.
const SHORTEN_ABOVE_MS: i32 = 120_000;

impl Tcp {
    /// The sender's record and the receiver's.
    #[inline]
    const fn sides(&mut self, dir: Direction) -> (&mut Peer, &mut Peer) {
        let [original, reply] = &mut self.peers;
        match dir {
            Direction::Original => (original, reply),
            Direction::Reply => (reply, original),
        }
    }

    /// What is known of the side that sends in `dir`.
    #[inline]
    #[must_use]
    pub const fn sender(&self, dir: Direction) -> &Peer {
        let [original, reply] = &self.peers;
        match dir {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    /// Whether the last recorded segment is of `class` and travelled in `dir`.
    #[inline]
    fn last_was(&self, class: Class, dir: Direction) -> bool {
        self.last.class == class && self.last.dir == dir
    }

    /// Writes a segment that changes nothing into the *last* record.
    #[cold]
    fn record_ignored(&mut self, seg: &Segment, class: Class, dir: Direction) {
        let mut ignored = self.ignored.unwrap_or_default();
        ignored.window = seg.window;
        if class == Class::Syn && dir == Direction::Original {
            let mut offered = Peer::default();
            window::parse_options(&mut offered, seg);
            (ignored.scale, ignored.flags) = (offered.scale, offered.flags);
            // One set of flags in netfilter: a new SYN of the originator rewrites these too.
            self.simultaneous = false;
            self.challenge = self.state == TcpState::LastAck;
        }
        if self.state == TcpState::SynSent && class == Class::Ack && dir == Direction::Reply {
            ignored.ack = seg.ack;
        }
        self.last = Last {
            class,
            dir,
            end: seg.end(),
            window_zero: seg.window == 0,
            digest: Last::digest(seg.end().wrapping_sub(seg.seq), ignored.ack, seg.window),
        };
        self.ignored = Some(ignored);
    }

    /// If this SYN/ACK answers a SYN that was ignored, takes the endpoints' word that a new connection opens:
    /// the records of both sides start afresh.
    #[cold]
    fn resynchronise(&mut self, seg: &Segment, class: Class, dir: Direction) -> bool {
        if class != Class::SynAck || !self.last_was(Class::Syn, dir.flip()) || seg.ack != self.last.end {
            return false;
        }
        let syn = self.ignored.unwrap_or_default();
        let end = self.last.end;
        let (sender, receiver) = self.sides(dir);
        *receiver = Peer {
            end,
            maxend: end,
            maxwin: u32::from(syn.window).max(1),
            scale: syn.scale,
            flags: syn.flags,
            maxack: 0,
        };
        *sender = Peer { flags: sender.flags & Peer::LIBERAL, ..Peer::default() };
        self.challenge = false;
        true
    }

    /// Closes the connection because the router itself rejected one of its segments with an RST. The result
    /// applies to a stored entry only.
    #[must_use]
    pub const fn reject(&mut self, timeouts: &Timeouts) -> Timer {
        self.state = TcpState::Close;
        Timer::Set(timeouts.tcp_close)
    }
}

/// One accepted segment's way through the state machine.
#[derive(Clone, Copy)]
struct Move {
    class: Class,
    dir: Direction,
    from: TcpState,
    to: TcpState,
}

/// Judges the first segment of a connection: a SYN, or an ACK to pick the connection up from.
///
/// # Errors
/// `TcpFlags` for flags no TCP sends together, `TcpNoSyn` for anything else that opens nothing.
#[inline]
pub fn open(settings: &Settings, seg: &Segment) -> Result<(Tcp, Step), InvalidReason> {
    let class = Class::of(seg.flags);
    let dir = Direction::Original;
    let mut tcp = Tcp::default();
    let to = match table::next(dir, TcpState::None, class) {
        Next::To(TcpState::SynSent) => {
            window::open_syn(&mut tcp, seg);
            TcpState::SynSent
        }
        Next::To(to) if settings.tcp_loose => {
            window::open_picked_up(&mut tcp, seg);
            to
        }
        _ if class == Class::None => return Err(InvalidReason::TcpFlags),
        _ => return Err(InvalidReason::TcpNoSyn),
    };
    // The creating segment is judged like any other; both kinds come out accepted.
    match window::check(settings.tcp_be_liberal, &mut tcp, seg, class, dir) {
        window::Verdict::Accept | window::Verdict::Ignore => {}
        window::Verdict::Invalid(reason) => return Err(reason),
    }
    let step = finish(settings, &mut tcp, Flow::default(), Move { class, dir, from: TcpState::None, to });
    Ok((tcp, step))
}

/// Judges a later segment and moves the connection.
#[inline]
pub fn advance(settings: &Settings, tcp: &mut Tcp, flow: Flow, seg: &Segment, dir: Direction) -> Step {
    let class = Class::of(seg.flags);
    let from = tcp.state;
    let mut step = Move { class, dir, from, to: from };
    match table::next(dir, from, class) {
        Next::Invalid if class == Class::None => return Step::invalid(InvalidReason::TcpFlags),
        Next::Invalid => return Step::invalid(InvalidReason::TcpState),
        Next::Ignore => {
            if !tcp.resynchronise(seg, class, dir) {
                tcp.record_ignored(seg, class, dir);
                return Step::ignore();
            }
            (step.from, step.to) = (TcpState::SynSent, TcpState::SynRecv);
        }
        Next::To(TcpState::SynSent) if matches!(from, TcpState::TimeWait | TcpState::Close) => {
            // A SYN where the connection ended: orderly, or reset by the side that now begins anew.
            let [original, reply] = &tcp.peers;
            if original.has(Peer::CLOSE_INIT) || reply.has(Peer::CLOSE_INIT) || tcp.last_was(Class::Rst, dir) {
                return Step::restart();
            }
            tcp.record_ignored(seg, class, dir);
            return Step::ignore();
        }
        Next::To(TcpState::TimeWait)
            if from == TcpState::LastAck
                && class == Class::Ack
                && tcp.challenge
                && tcp.last_was(Class::Syn, dir.flip()) =>
        {
            // RFC 5961 section 4.2: this answers the SYN, not the FIN. The SYN stays on record.
            tcp.challenge = false;
            return Step::ignore();
        }
        Next::To(TcpState::SynSent2) => {
            tcp.simultaneous = true;
            step.to = TcpState::SynSent2;
        }
        Next::To(TcpState::SynRecv) if tcp.simultaneous && class == Class::Ack && dir == Direction::Reply => {
            step.to = TcpState::Established;
        }
        Next::To(TcpState::Close) if class == Class::Rst => match judge_reset(settings, tcp, flow, seg, dir) {
            Reset::Accept => {
                step.to = TcpState::Close;
                return finish(settings, tcp, flow, step);
            }
            Reset::Window(to) => step.to = to,
            Reset::Invalid => return Step::invalid(InvalidReason::RstInexact),
        },
        Next::To(to) => step.to = to,
    }
    match window::check(settings.tcp_be_liberal, tcp, seg, class, dir) {
        window::Verdict::Accept => finish(settings, tcp, flow, step),
        window::Verdict::Ignore => Step::ignore(),
        window::Verdict::Invalid(reason) => {
            Step { timer: distrust(settings, tcp, flow, class, dir), ..Step::invalid(reason) }
        }
    }
}

/// What the sequence number of an RST makes of it.
enum Reset {
    /// It closes; the window does not matter.
    Accept,
    /// The window decides; then the connection goes to this state.
    Window(TcpState),
    /// It is INVALID.
    Invalid,
}

/// Judges an RST (compare RFC 5961 section 3): only one that hits the acknowledged edge closes an assured
/// connection. The numbers are the specification's.
fn judge_reset(settings: &Settings, tcp: &Tcp, flow: Flow, seg: &Segment, dir: Direction) -> Reset {
    // 1. A closing connection has nothing left to protect.
    if tcp.state.early_drop() {
        return Reset::Accept;
    }
    let peer = tcp.sender(dir.flip());
    let to = TcpState::Close;
    // 2. The other side's acknowledgments tell which RST it would believe, unless a SYN was ignored:
    // the ends may then be talking about another connection.
    if peer.has(Peer::MAXACK_KNOWN) && tcp.last.class != Class::Syn {
        let established = tcp.state == TcpState::Established && flow.assured;
        if seg.seq == 0 && !established {
            return Reset::Window(to); // 2a
        }
        if before(seg.seq, peer.maxack) && !settings.tcp_ignore_invalid_rst {
            return Reset::Invalid; // 2b
        }
        if !established || seg.seq == peer.maxack {
            return Reset::Window(to); // 2c
        }
        if tcp.last_was(Class::Ack, dir) && seg.seq == tcp.last.end {
            return Reset::Window(to); // 2d: right behind its sender's own data
        }
        // 2e: the other side will challenge it; stay, with a short timer. (3 and 4 cannot hold here: the
        // connection is assured and past SYN_SENT, and no SYN was ignored last.)
        return Reset::Window(tcp.state);
    }
    // 3. It answers a segment that was ignored or left the connection unassured.
    let answers =
        (flow.seen_reply && tcp.last_was(Class::Syn, dir.flip())) || (!flow.assured && tcp.last.class == Class::Ack);
    if answers && seg.ack == tcp.last.end {
        return Reset::Accept;
    }
    // 4. The client resets a half-open server that answered its SYN with an ACK.
    if tcp.state == TcpState::SynSent
        && tcp.last_was(Class::Ack, Direction::Reply)
        && tcp.ignored.is_some_and(|ignored| seg.seq == ignored.ack)
    {
        return Reset::Accept;
    }
    Reset::Window(to) // 5
}

/// Completes an accepted segment: the new state, the timer, ASSURED.
#[inline]
fn finish(settings: &Settings, tcp: &mut Tcp, flow: Flow, step: Move) -> Step {
    let Move { class, dir, from, to } = step;
    (tcp.last.class, tcp.last.dir) = (class, dir);
    tcp.ignored = None;
    tcp.state = to;
    if to == TcpState::FinWait && from != to {
        tcp.sides(dir).0.flags |= Peer::CLOSE_INIT;
    }
    let t = &settings.timeouts;
    let mut ms = choose_timeout(settings, tcp, class);
    if !flow.seen_reply {
        if class == Class::Rst {
            // The opening was refused or taken back: nothing to keep.
            return Step { timer: Timer::Keep, delete: true, ..Step::accept(ms) };
        }
        if class == Class::Syn && from == TcpState::SynSent {
            // A client that retries for ever must not keep a stale entry.
            return Step::accept_keeping_timer();
        }
        if to == TcpState::Established {
            ms = ms.min(t.tcp_unacknowledged);
        }
        return Step::accept(ms);
    }
    let opened = to == TcpState::Established && matches!(from, TcpState::SynRecv | TcpState::Established);
    Step::accept(ms).assuring(opened && !flow.assured)
}

/// The timer an accepted segment asks for: the new state's, lowered by doubts that the ends still talk.
#[inline]
fn choose_timeout(settings: &Settings, tcp: &Tcp, class: Class) -> u32 {
    let t = &settings.timeouts;
    let own = tcp.state.timeout(t);
    let [original, reply] = &tcp.peers;
    if tcp.retrans >= settings.tcp_max_retrans && own > t.tcp_max_retrans {
        t.tcp_max_retrans
    } else if class == Class::Rst {
        t.tcp_close
    } else if (original.flags | reply.flags) & Peer::UNACKED != 0 && own > t.tcp_unacknowledged {
        t.tcp_unacknowledged
    } else if tcp.last.window_zero && own > t.tcp_max_retrans {
        t.tcp_max_retrans
    } else {
        own
    }
}

/// A FIN or RST outside the window of an assured connection: one may be forged, but one from each side means
/// that the ends are done and the tracker is out of step. Then the days that may be left become minutes.
#[cold]
fn distrust(settings: &Settings, tcp: &mut Tcp, flow: Flow, class: Class, dir: Direction) -> Timer {
    if !flow.assured || !matches!(class, Class::Fin | Class::Rst) {
        return Timer::Keep;
    }
    if tcp.last_was(Class::Fin, dir.flip()) || tcp.last_was(Class::Rst, dir.flip()) {
        let short = settings.timeouts.tcp_unacknowledged;
        let long = flow.remaining_ms > SHORTEN_ABOVE_MS && i64::from(flow.remaining_ms) > i64::from(short);
        return if long { Timer::Set(short) } else { Timer::Keep };
    }
    // The first of the two: remember it, in place of whatever was recorded.
    (tcp.last.class, tcp.last.dir) = (class, dir);
    tcp.ignored = None;
    Timer::Keep
}

/// Serial-number order (RFC 1982): `a` comes after `b`. Numbers half the circle apart, which the RFC leaves
/// undefined, come after each other, as with Linux.
#[inline]
pub(in crate::conntrack) const fn after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

/// Serial-number order: `a` comes before `b`.
#[inline]
const fn before(a: u32, b: u32) -> bool {
    after(b, a)
}
