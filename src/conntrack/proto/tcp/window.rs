//! Window tracking: may this segment be, given what both sides sent and allowed so far?
//!
//! Per side: `end`, the highest sequence number sent; `maxend`, the highest the other side allows;
//! `maxwin`, the largest window offered. A segment passes four tests: it starts at or before what is
//! allowed (A), acknowledges nothing unsent (B), does not end before the other side's window (C), and does
//! not acknowledge the distant past (D). All comparisons are serial (RFC 1982).
//!
//! With `maxend` the sum of the highest acknowledgment and the window, test A lets pass one octet beyond the
//! window's edge: a zero-window probe.
//!
//! [`check`] is the reference. The steps that nearly every packet is are written down again, on the packed words
//! (`conntrack::pack::layout`), each with what it may assume; whatever is otherwise it leaves to this one, and the entry untouched.
//! What is changed here is changed in all of them:
//!
//! - `conntrack::pack::window` has the four tests, for those of them that go number by number.
//! - `Entry::step_tcp` in `conntrack::shortcut`: an ACK in ESTABLISHED, both windows known, all four tests passed. Held to this by
//!   `conntrack::shortcut::tests::tcp_is_moved_on_alike`.
//! - `Entry::step_ordinary` there, four numbers at once: of those, one in an orderly entry (`conntrack::pack`) whose numbers go
//!   on from there, with a window, without SACK, and not a repetition. Held to `step_tcp` by the same property, with the wide
//!   instructions and without.
//! - `step_tcp` in `conntrack::lifecycle`: a segment with ACK and without RST that the state machine has a place for, both windows
//!   known or a side's first SYN/ACK, all four tests passed; nothing ignored or challenged before it, no simultaneous opening.
//!   Held to this by `conntrack::opening::tests::the_brief_way_changes_nothing`.
//! - `step` and `answer` in `conntrack::lifecycle::ordinary`: of those, an ACK or FIN of an answered connection, and a SYN's
//!   SYN/ACK, with a window, without SACK, and not a repetition. Held to `lifecycle::step_tcp` by the same property.
//!
//! All of them together, in whole bursts: `shard::shortcut::tests::the_shortcut_changes_nothing` and `openings_change_nothing`.

use super::{Class, Last, Peer, Tcp, TcpState, after};
use crate::net::{Direction, InvalidReason, Segment, TcpFlags};

/// How far back an acknowledgment may lie, at least: more than the largest unscaled window.
pub(in crate::conntrack) const MIN_SLACK: u32 = 66_000;

/// Largest window shift (RFC 7323 section 2.3).
pub(in crate::conntrack) const MAX_SCALE: u8 = 14;

/// What window tracking says of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It fits.
    Accept,
    /// An old repetition or a small overshoot: harmless, and nothing to learn from.
    Ignore,
    /// It cannot be.
    Invalid(InvalidReason),
}

/// Reads the options of a SYN into the sender's record. A header with options says all anew; one without
/// says nothing.
pub(super) fn parse_options(peer: &mut Peer, seg: &Segment) {
    if !seg.has_options {
        return;
    }
    peer.scale = 0;
    peer.flags &= Peer::LIBERAL;
    if let Some(shift) = seg.wscale {
        peer.scale = shift.min(MAX_SCALE);
        peer.flags |= Peer::WSCALE;
    }
    if seg.sack_permitted {
        peer.flags |= Peer::SACK_PERM;
    }
}

/// The originator's record after the SYN that opens a connection.
pub(super) fn open_syn(tcp: &mut Tcp, seg: &Segment) {
    let (sender, _) = tcp.sides(Direction::Original);
    start(sender, seg);
}

/// Both records after an ACK from which a connection is picked up: nothing is known of its options, so
/// neither side's window can be judged.
pub(super) fn open_picked_up(tcp: &mut Tcp, seg: &Segment) {
    let (sender, receiver) = tcp.sides(Direction::Original);
    let maxwin = u32::from(seg.window).max(1);
    sender.end = seg.end();
    sender.maxwin = maxwin;
    sender.maxend = seg.end().wrapping_add(maxwin);
    sender.flags = Peer::SACK_PERM | Peer::LIBERAL;
    receiver.flags = Peer::SACK_PERM | Peer::LIBERAL;
}

/// A SYN begins its sender's record.
fn start(sender: &mut Peer, seg: &Segment) {
    sender.end = seg.end();
    sender.maxend = seg.end();
    sender.maxwin = u32::from(seg.window).max(1);
    parse_options(sender, seg);
}

/// Scaling needs the consent of both (RFC 7323 section 2.2); the answer shows whether there is any.
fn agree_on_scaling(sender: &mut Peer, receiver: &mut Peer, dir: Direction) {
    if dir == Direction::Reply && !(sender.has(Peer::WSCALE) && receiver.has(Peer::WSCALE)) {
        sender.scale = 0;
        receiver.scale = 0;
    }
}

/// Judges a segment and, if it fits, learns from it.
pub(super) fn check(liberal: bool, tcp: &mut Tcp, seg: &Segment, class: Class, dir: Direction) -> Verdict {
    let state = tcp.state;
    let (sender, receiver) = tcp.sides(dir);
    let is_syn = seg.flags.has(TcpFlags::SYN);
    let has_ack = seg.flags.has(TcpFlags::ACK);
    let is_rst = seg.flags.has(TcpFlags::RST);
    let mut seq = seg.seq;
    let mut end = seg.end();
    let mut ack = seg.ack;
    let mut sack = if receiver.has(Peer::SACK_PERM) { seg.sack } else { seg.ack };
    let mut win = u32::from(seg.window);

    if sender.maxwin == 0 {
        // 1. The first segment from this side.
        if is_syn {
            start(sender, seg);
            agree_on_scaling(sender, receiver, dir);
            if !has_ack {
                return Verdict::Accept; // simultaneous open
            }
        } else {
            sender.end = end;
            sender.maxwin = (win << sender.scale).max(1);
            sender.maxend = end.wrapping_add(sender.maxwin);
            if receiver.maxwin == 0 {
                receiver.end = sack;
                receiver.maxend = sack;
            } else if sack == receiver.end.wrapping_add(1) {
                receiver.end = sack; // the answer to a keep-alive
            }
        }
    } else if is_syn && after(end, sender.end) && matches!(state, TcpState::SynSent | TcpState::SynRecv) {
        // 1b. A new attempt with higher numbers.
        start(sender, seg);
        agree_on_scaling(sender, receiver, dir);
        if dir == Direction::Reply && !has_ack {
            return Verdict::Accept;
        }
    }

    // 2. Fields that mean nothing are given values that pass.
    if !has_ack || (is_rst && ack == 0) {
        ack = receiver.end;
        sack = receiver.end;
    }
    if is_rst && seq == 0 && state == TcpState::SynSent {
        seq = sender.end;
        end = sender.end;
    }

    // 3. The four tests.
    let slack = sender.maxwin.max(MIN_SLACK);
    let in_receive_window =
        receiver.maxwin == 0 || after(end, sender.end.wrapping_sub(receiver.maxwin).wrapping_sub(1));
    let fresh_ack = after(sack, receiver.end.wrapping_sub(slack).wrapping_sub(1));
    let ack_of_sent = !after(sack, receiver.end);
    let failed = if after(seq, sender.maxend) {
        // A. Beyond what is allowed. A little beyond may be a sender that knows of a larger window than we do.
        let over = end.wrapping_sub(sender.maxend).wrapping_add(1);
        if receiver.maxwin != 0 && in_receive_window && fresh_ack && over <= receiver.maxwin && ack_of_sent {
            sender.end = end;
            sender.flags |= Peer::UNACKED;
            Some(Verdict::Ignore)
        } else {
            Some(Verdict::Invalid(InvalidReason::TcpSeqOver))
        }
    } else if !ack_of_sent {
        Some(Verdict::Invalid(InvalidReason::TcpAckOver)) // B
    } else if !in_receive_window || !fresh_ack {
        Some(Verdict::Ignore) // C, D
    } else {
        None
    };
    if let Some(verdict) = failed {
        return if liberal || sender.has(Peer::LIBERAL) { Verdict::Accept } else { verdict };
    }

    // 4. It fits: learn from it.
    if !is_syn {
        win <<= sender.scale;
    }
    let offered = win.wrapping_add(sack.wrapping_sub(ack));
    sender.maxwin = sender.maxwin.max(offered);
    if after(end, sender.end) {
        sender.end = end;
        sender.flags |= Peer::UNACKED;
    }
    if has_ack {
        if !sender.has(Peer::MAXACK_KNOWN) || after(ack, sender.maxack) {
            sender.maxack = ack;
        }
        sender.flags |= Peer::MAXACK_KNOWN;
    }
    if receiver.maxwin != 0 && after(end, sender.maxend) {
        let more = end.wrapping_sub(sender.maxend);
        receiver.maxwin = receiver.maxwin.wrapping_add(more);
    }
    let edge = sack.wrapping_add(win);
    if !after(receiver.maxend, edge) {
        receiver.maxend = edge.wrapping_add(u32::from(win == 0));
    }
    if ack == receiver.end {
        receiver.flags &= !Peer::UNACKED;
    }
    if class == Class::Ack {
        count_repetition(tcp, seg, dir);
    }
    Verdict::Accept
}

/// Counts how often one ACK came in a row.
fn count_repetition(tcp: &mut Tcp, seg: &Segment, dir: Direction) {
    let last = &mut tcp.last;
    let (end, digest) = (seg.end(), Last::digest(seg.end().wrapping_sub(seg.seq), seg.ack, seg.window));
    let window_zero = seg.window == 0;
    // A closed window and an open one are told apart for certain, for timers hang on it.
    if last.dir == dir && last.end == end && last.digest == digest && last.window_zero == window_zero {
        tcp.retrans = tcp.retrans.saturating_add(1);
    } else {
        tcp.retrans = 0;
        last.dir = dir;
        last.end = end;
        last.digest = digest;
        last.window_zero = window_zero;
    }
}
