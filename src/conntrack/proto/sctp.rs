//! SCTP (RFC 9260): the association's state from its control chunks, guarded by the verification tags.
//!
//! The chunk layout (no chunk, zero length, chunks that may not stand together) is checked by the parser.
//! Chunks are judged one after the other; what an earlier chunk did stays when a later one makes the packet
//! INVALID, as in netfilter.

use super::{Outcome, Step, Timeouts};
use crate::net::{Direction, InvalidReason, Sctp as Packet};
use std::fmt;
use table::Next;

mod table;
#[cfg(test)]
mod tests;

/// Chunk kinds as [`Packet::chunks`] lists them.
mod chunk {
    pub(super) const DATA: u8 = 0;
    pub(super) const INIT: u8 = 1;
    pub(super) const INIT_ACK: u8 = 2;
    pub(super) const HEARTBEAT: u8 = 4;
    pub(super) const HEARTBEAT_ACK: u8 = 5;
    pub(super) const ABORT: u8 = 6;
    pub(super) const SHUTDOWN: u8 = 7;
    pub(super) const SHUTDOWN_ACK: u8 = 8;
    pub(super) const ERROR: u8 = 9;
    pub(super) const COOKIE_ECHO: u8 = 10;
    pub(super) const COOKIE_ACK: u8 = 11;
    pub(super) const SHUTDOWN_COMPLETE: u8 = 14;
}

/// The state of an association, numbered as netfilter's netlink interface does. Width 4 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SctpState {
    /// Before the first packet.
    #[default]
    None = 0,
    /// INIT was seen, or the association ended.
    Closed = 1,
    /// INIT ACK was seen.
    CookieWait = 2,
    /// COOKIE ECHO was seen.
    CookieEchoed = 3,
    /// COOKIE ACK was seen, or a HEARTBEAT was answered.
    Established = 4,
    /// The originator sent SHUTDOWN.
    ShutdownSent = 5,
    /// The other side sent SHUTDOWN.
    ShutdownRecd = 6,
    /// SHUTDOWN ACK was seen.
    ShutdownAckSent = 7,
    /// A HEARTBEAT opened a secondary path.
    HeartbeatSent = 8,
}

impl SctpState {
    /// Every state, in the order of its number.
    pub const ALL: [SctpState; 9] = [
        SctpState::None,
        SctpState::Closed,
        SctpState::CookieWait,
        SctpState::CookieEchoed,
        SctpState::Established,
        SctpState::ShutdownSent,
        SctpState::ShutdownRecd,
        SctpState::ShutdownAckSent,
        SctpState::HeartbeatSent,
    ];

    /// From the low four bits of a stored number; numbers without a state give `None`.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> SctpState {
        match bits & 0xf {
            1 => SctpState::Closed,
            2 => SctpState::CookieWait,
            3 => SctpState::CookieEchoed,
            4 => SctpState::Established,
            5 => SctpState::ShutdownSent,
            6 => SctpState::ShutdownRecd,
            7 => SctpState::ShutdownAckSent,
            8 => SctpState::HeartbeatSent,
            _ => SctpState::None,
        }
    }

    /// As netfilter prints it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            SctpState::None => "NONE",
            SctpState::Closed => "CLOSED",
            SctpState::CookieWait => "COOKIE_WAIT",
            SctpState::CookieEchoed => "COOKIE_ECHOED",
            SctpState::Established => "ESTABLISHED",
            SctpState::ShutdownSent => "SHUTDOWN_SENT",
            SctpState::ShutdownRecd => "SHUTDOWN_RECD",
            SctpState::ShutdownAckSent => "SHUTDOWN_ACK_SENT",
            SctpState::HeartbeatSent => "HEARTBEAT_SENT",
        }
    }

    /// Whether the association is ending, so that pressure may evict the entry although ASSURED.
    #[inline]
    #[must_use]
    pub const fn early_drop(self) -> bool {
        matches!(self, SctpState::ShutdownSent | SctpState::ShutdownRecd | SctpState::ShutdownAckSent)
    }

    /// The timeout of the state in milliseconds.
    #[inline]
    #[must_use]
    pub const fn timeout(self, t: &Timeouts) -> u32 {
        match self {
            SctpState::None | SctpState::Closed => t.sctp_closed,
            SctpState::CookieWait => t.sctp_cookie_wait,
            SctpState::CookieEchoed => t.sctp_cookie_echoed,
            SctpState::Established => t.sctp_established,
            SctpState::ShutdownSent => t.sctp_shutdown_sent,
            SctpState::ShutdownRecd => t.sctp_shutdown_recd,
            SctpState::ShutdownAckSent => t.sctp_shutdown_ack_sent,
            SctpState::HeartbeatSent => t.sctp_heartbeat_sent,
        }
    }
}

impl fmt::Display for SctpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What is known of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    /// Verification tag its packets must carry; 0 while unknown. 32 bits.
    pub tag: u32,
    /// An INIT was seen in it and not yet completed by COOKIE ACK. 1 bit.
    pub init_seen: bool,
}

/// The SCTP state of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sctp {
    /// The state. 4 bits.
    pub state: SctpState,
    /// Both directions, by [`Direction::index`].
    pub paths: [Path; 2],
    /// The direction of a HEARTBEAT whose tag was wrong; its HEARTBEAT ACK may set the tags anew. 2 bits.
    pub heartbeat_failed: Option<Direction>,
}

impl Sctp {
    /// The direction's own record and the other's.
    #[inline]
    const fn paths(&mut self, dir: Direction) -> (&mut Path, &mut Path) {
        let [original, reply] = &mut self.paths;
        match dir {
            Direction::Original => (original, reply),
            Direction::Reply => (reply, original),
        }
    }
}

/// The kinds a packet holds, one bit each.
fn kinds_of(packet: &Packet) -> u16 {
    packet.chunks().fold(0, |set, kind| set | bit(kind))
}

const fn bit(kind: u8) -> u16 {
    1 << (kind & 0xf)
}

/// Kinds no association begins with, whatever the tags.
const NEVER_FIRST: u16 = bit(chunk::ABORT) | bit(chunk::SHUTDOWN_COMPLETE) | bit(chunk::COOKIE_ACK);

/// Kinds with a tag rule of their own; a packet without any must carry its direction's tag.
const OWN_TAG_RULE: u16 = bit(chunk::INIT)
    | bit(chunk::SHUTDOWN_COMPLETE)
    | bit(chunk::COOKIE_ECHO)
    | bit(chunk::ABORT)
    | bit(chunk::SHUTDOWN_ACK)
    | bit(chunk::HEARTBEAT)
    | bit(chunk::HEARTBEAT_ACK);

/// Judges the first packet of an association or of one of its paths.
///
/// # Errors
/// `SctpChunk` for chunks that open nothing, `SctpTag` for a wrong verification tag.
pub fn open(timeouts: &Timeouts, packet: &Packet) -> Result<(Sctp, Step), InvalidReason> {
    if packet.count == 0 || kinds_of(packet) & NEVER_FIRST != 0 {
        return Err(InvalidReason::SctpChunk);
    }
    let dir = Direction::Original;
    let mut sctp = Sctp::default();
    let (own, other) = sctp.paths(dir);
    for kind in packet.chunks() {
        // Every chunk must be one that may begin; data beside a HEARTBEAT is not.
        if !matches!(table::next(dir, SctpState::None, kind), Next::To(_)) {
            return Err(InvalidReason::SctpChunk);
        }
        match kind {
            chunk::INIT if packet.vtag != 0 => return Err(InvalidReason::SctpTag),
            chunk::INIT => other.tag = packet.init_tag,
            chunk::HEARTBEAT => own.tag = packet.vtag,
            chunk::SHUTDOWN_ACK => other.tag = packet.vtag,
            _ => {}
        }
    }
    let step = advance(timeouts, &mut sctp, packet, dir);
    match step.outcome {
        Outcome::Invalid(reason) => Err(reason),
        // What keeps a running timer from being refreshed does not concern an entry that has none yet.
        _ => Ok((sctp, Step::accept(sctp.state.timeout(timeouts)))),
    }
}

/// Judges a later packet and moves the association. ASSURED comes with the chunk that opens it, even if a later
/// chunk makes the packet INVALID.
pub fn advance(timeouts: &Timeouts, sctp: &mut Sctp, packet: &Packet, dir: Direction) -> Step {
    let mut opened = false;
    let step = judge_chunks(timeouts, sctp, packet, dir, &mut opened);
    step.assuring(opened)
}

/// Takes the chunks one after the other; `opened` tells whether one of them opened the association.
fn judge_chunks(timeouts: &Timeouts, sctp: &mut Sctp, packet: &Packet, dir: Direction, opened: &mut bool) -> Step {
    let kinds = kinds_of(packet);
    if packet.count == 0 {
        return Step::invalid(InvalidReason::SctpChunk);
    }
    if kinds & OWN_TAG_RULE == 0 && packet.vtag != sctp.paths(dir).0.tag {
        return Step::invalid(InvalidReason::SctpTag);
    }
    let has_data = kinds & bit(chunk::DATA) != 0;
    let mut keep_timer = false;
    for (place, kind) in packet.chunks().enumerate() {
        let t_flag = packet.t_flags >> place & 1 == 1;
        match judge_tag(sctp, packet.vtag, Chunk { kind, t_flag }, dir) {
            Tag::Right => {}
            Tag::Wrong => return Step::invalid(InvalidReason::SctpTag),
            Tag::StrayHeartbeat if has_data || keep_timer => return Step::invalid(InvalidReason::SctpTag),
            Tag::StrayHeartbeat => {
                match kind {
                    // Perhaps the path's association was set up elsewhere. The answer will tell.
                    chunk::HEARTBEAT => {
                        sctp.heartbeat_failed = Some(dir);
                        keep_timer = true;
                        continue;
                    }
                    // It does, if it answers such a HEARTBEAT: believe its tag and learn the other anew.
                    _ if sctp.heartbeat_failed == Some(dir.flip()) => {
                        sctp.heartbeat_failed = None;
                        let (own, other) = sctp.paths(dir);
                        own.tag = packet.vtag;
                        other.tag = 0;
                    }
                    _ => return Step::invalid(InvalidReason::SctpTag),
                }
            }
        }
        let from = sctp.state;
        let to = match table::next(dir, from, kind) {
            Next::To(to) => to,
            Next::Same => from,
            Next::Invalid => return Step::invalid(InvalidReason::SctpChunk),
        };
        match kind {
            chunk::INIT => {
                note_init(sctp, packet.init_tag, dir);
                // Repeated INITs must not keep a stale entry.
                keep_timer |= from == SctpState::Closed && to == SctpState::Closed;
            }
            chunk::INIT_ACK => {
                let (own, other) = sctp.paths(dir);
                // Unasked for, it may not replace a tag that is known; of colliding INITs it must answer the other's.
                let differs = other.tag != packet.init_tag;
                let unasked = !other.init_seen && other.tag != 0;
                if differs && (unasked || (other.init_seen && own.init_seen)) {
                    return Step::invalid(InvalidReason::SctpTag);
                }
                other.tag = packet.init_tag;
            }
            chunk::COOKIE_ACK => {
                for path in &mut sctp.paths {
                    path.init_seen = false;
                }
            }
            _ => {}
        }
        *opened |= to == SctpState::Established && from != SctpState::Established;
        sctp.state = to;
    }
    if keep_timer {
        return Step::accept_keeping_timer();
    }
    Step::accept(sctp.state.timeout(timeouts))
}

/// A chunk as far as the verification tag depends on it.
struct Chunk {
    kind: u8,
    t_flag: bool,
}

/// What the verification tag is to one chunk.
enum Tag {
    Right,
    Wrong,
    /// A HEARTBEAT or HEARTBEAT ACK with another tag than its direction's.
    StrayHeartbeat,
}

/// Checks the verification tag for one chunk (RFC 9260 section 8.5) and learns an unknown one from heartbeats.
fn judge_tag(sctp: &mut Sctp, vtag: u32, Chunk { kind, t_flag }: Chunk, dir: Direction) -> Tag {
    let (own, other) = sctp.paths(dir);
    let right = match kind {
        chunk::INIT => vtag == 0,
        chunk::COOKIE_ECHO => vtag == own.tag,
        // With the T flag the sender had no association and reflects the tag it was sent.
        chunk::ABORT | chunk::SHUTDOWN_COMPLETE => vtag == if t_flag { other.tag } else { own.tag },
        chunk::HEARTBEAT | chunk::HEARTBEAT_ACK if own.tag == 0 => {
            own.tag = vtag;
            true
        }
        chunk::HEARTBEAT | chunk::HEARTBEAT_ACK if vtag != own.tag => return Tag::StrayHeartbeat,
        chunk::HEARTBEAT | chunk::HEARTBEAT_ACK => {
            sctp.heartbeat_failed = None;
            true
        }
        _ => true,
    };
    if right { Tag::Right } else { Tag::Wrong }
}

/// Takes an INIT's tag for the other direction and marks its own, unless it repeats what is known.
fn note_init(sctp: &mut Sctp, init_tag: u32, dir: Direction) {
    let first = sctp.state == SctpState::None;
    let (own, other) = sctp.paths(dir);
    if first || other.tag != init_tag {
        if own.init_seen && other.init_seen {
            other.init_seen = false;
        }
        own.init_seen = true;
    }
    other.tag = init_tag;
}
