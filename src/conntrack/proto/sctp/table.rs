//! The transition table: what a chunk does to the association, per direction.

use super::{SctpState, chunk};
use crate::net::Direction;

/// What a chunk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Moves to this state.
    To(SctpState),
    /// Leaves the state.
    Same,
    /// Makes the packet INVALID.
    Invalid,
}

const CL: Next = Next::To(SctpState::Closed);
const CW: Next = Next::To(SctpState::CookieWait);
const CE: Next = Next::To(SctpState::CookieEchoed);
const ES: Next = Next::To(SctpState::Established);
const SS: Next = Next::To(SctpState::ShutdownSent);
const SR: Next = Next::To(SctpState::ShutdownRecd);
const SA: Next = Next::To(SctpState::ShutdownAckSent);
const HS: Next = Next::To(SctpState::HeartbeatSent);
const EQ: Next = Next::Same;
const INV: Next = Next::Invalid;

/// A chunk and its row: what it does in each state, in the order of the states' numbers.
type Row = (u8, [Next; 9]);

/// Packets of the originator.
#[rustfmt::skip]
static ORIGINAL: Laid = lay([
    //                          NONE CL  CW  CE  ES  SS  SR  SA  HS
    (chunk::INIT,              [CL,  EQ, EQ, EQ, EQ, CL, CL, EQ, CW]),
    (chunk::INIT_ACK,          [CL,  EQ, EQ, EQ, EQ, EQ, EQ, EQ, CL]),
    (chunk::ABORT,             [CL,  CL, CL, CL, CL, CL, CL, CL, CL]),
    (chunk::SHUTDOWN,          [CL,  EQ, EQ, EQ, SS, EQ, EQ, EQ, CL]),
    (chunk::SHUTDOWN_ACK,      [SA,  EQ, EQ, EQ, EQ, SA, SA, EQ, SA]),
    (chunk::ERROR,             [CL,  EQ, EQ, EQ, EQ, EQ, EQ, EQ, CL]),
    (chunk::COOKIE_ECHO,       [CL,  EQ, CE, EQ, EQ, EQ, EQ, EQ, CL]),
    (chunk::COOKIE_ACK,        [CL,  EQ, EQ, ES, EQ, EQ, EQ, EQ, CL]),
    (chunk::SHUTDOWN_COMPLETE, [CL,  EQ, EQ, EQ, EQ, EQ, EQ, CL, CL]),
    (chunk::HEARTBEAT,         [HS,  EQ, EQ, EQ, EQ, EQ, EQ, EQ, EQ]),
    (chunk::HEARTBEAT_ACK,     [CL,  EQ, EQ, EQ, EQ, EQ, EQ, EQ, EQ]),
]);

/// Packets of the other side.
#[rustfmt::skip]
static REPLY: Laid = lay([
    //                          NONE CL  CW  CE  ES  SS  SR  SA  HS
    (chunk::INIT,              [INV, EQ, EQ, EQ, EQ, EQ, EQ, EQ, INV]),
    (chunk::INIT_ACK,          [INV, CW, EQ, EQ, EQ, EQ, EQ, EQ, INV]),
    (chunk::ABORT,             [INV, CL, CL, CL, CL, CL, CL, CL, INV]),
    (chunk::SHUTDOWN,          [INV, EQ, EQ, EQ, SR, EQ, EQ, EQ, INV]),
    (chunk::SHUTDOWN_ACK,      [INV, EQ, EQ, EQ, EQ, SA, SA, EQ, INV]),
    (chunk::ERROR,             [INV, EQ, EQ, CL, EQ, EQ, EQ, EQ, INV]),
    (chunk::COOKIE_ECHO,       [INV, EQ, CE, EQ, EQ, EQ, EQ, EQ, INV]),
    (chunk::COOKIE_ACK,        [INV, EQ, EQ, ES, EQ, EQ, EQ, EQ, INV]),
    (chunk::SHUTDOWN_COMPLETE, [INV, EQ, EQ, EQ, EQ, EQ, EQ, CL, INV]),
    (chunk::HEARTBEAT,         [INV, EQ, EQ, EQ, EQ, EQ, EQ, EQ, EQ]),
    (chunk::HEARTBEAT_ACK,     [INV, EQ, EQ, EQ, EQ, EQ, EQ, EQ, ES]),
]);

/// By chunk kind and state; padded so that a masked index is always inside. Kinds without a row (DATA, SACK,
/// unknown ones) change nothing.
type Laid = [[Next; 16]; 16];

const fn lay(rows: [Row; 11]) -> Laid {
    let mut laid = [[EQ; 16]; 16];
    let mut i = 0;
    while i < rows.len() {
        let (kind, row) = rows[i];
        let mut state = 0;
        while state < row.len() {
            laid[kind as usize][state] = row[state];
            state += 1;
        }
        i += 1;
    }
    laid
}

/// What a chunk of `kind`, sent in `dir`, does in `state`.
#[inline]
pub(super) const fn next(dir: Direction, state: SctpState, kind: u8) -> Next {
    let table = match dir {
        Direction::Original => &ORIGINAL,
        Direction::Reply => &REPLY,
    };
    table[kind as usize & 15][state as usize & 15]
}
