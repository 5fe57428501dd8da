//! The transition table: what a segment's class proposes in each state, per direction.

use super::{Class, TcpState};
use crate::net::Direction;

/// What the table proposes. Window and RST checks may still refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::conntrack) enum Next {
    /// This state.
    To(TcpState),
    /// The segment is INVALID.
    Invalid,
    /// The segment changes nothing.
    Ignore,
}

/// A state and its row: syn, synack, fin, ack, rst. (No flags at all are INVALID everywhere.)
type Row = (TcpState, [Next; 5]);

const NO: TcpState = TcpState::None;
const SS: TcpState = TcpState::SynSent;
const S2: TcpState = TcpState::SynSent2;
const SR: TcpState = TcpState::SynRecv;
const ES: TcpState = TcpState::Established;
const FW: TcpState = TcpState::FinWait;
const CW: TcpState = TcpState::CloseWait;
const LA: TcpState = TcpState::LastAck;
const TW: TcpState = TcpState::TimeWait;
const CL: TcpState = TcpState::Close;

const INV: Next = Next::Invalid;
const IGN: Next = Next::Ignore;

const fn to(state: TcpState) -> Next {
    Next::To(state)
}

/// Segments of the originator.
#[rustfmt::skip]
static ORIGINAL: Laid = lay([
    //     syn      synack   fin      ack      rst
    (NO, [to(SS),  INV,     INV,     to(ES),  INV]),
    (SS, [to(SS),  INV,     INV,     INV,     to(CL)]),
    (S2, [to(S2),  to(SR),  INV,     INV,     to(CL)]),
    (SR, [IGN,     to(SR),  to(FW),  to(ES),  to(CL)]),
    (ES, [IGN,     INV,     to(FW),  to(ES),  to(CL)]),
    (FW, [IGN,     INV,     to(LA),  to(CW),  to(CL)]),
    (CW, [IGN,     INV,     to(LA),  to(CW),  to(CL)]),
    (LA, [IGN,     INV,     to(LA),  to(TW),  to(CL)]),
    (TW, [to(SS),  INV,     to(TW),  to(TW),  to(CL)]),
    (CL, [to(SS),  INV,     to(CL),  to(CL),  to(CL)]),
]);

/// Segments of the other side.
#[rustfmt::skip]
static REPLY: Laid = lay([
    //     syn      synack   fin      ack      rst
    (NO, [INV,     INV,     INV,     INV,     INV]),
    (SS, [to(S2),  to(SR),  INV,     IGN,     to(CL)]),
    (S2, [to(S2),  to(SR),  INV,     IGN,     to(CL)]),
    (SR, [INV,     IGN,     to(FW),  to(SR),  to(CL)]),
    (ES, [INV,     IGN,     to(FW),  to(ES),  to(CL)]),
    (FW, [INV,     IGN,     to(LA),  to(CW),  to(CL)]),
    (CW, [INV,     IGN,     to(LA),  to(CW),  to(CL)]),
    (LA, [INV,     IGN,     to(LA),  to(TW),  to(CL)]),
    (TW, [to(SS),  IGN,     to(TW),  to(TW),  to(CL)]),
    (CL, [INV,     IGN,     to(CL),  to(CL),  to(CL)]),
]);

/// By state and class; padded to the widths of their numbers, so that a masked index is always inside.
type Laid = [[Next; 8]; 16];

const fn lay(rows: [Row; 10]) -> Laid {
    let mut laid = [[INV; 8]; 16];
    let mut i = 0;
    while i < rows.len() {
        let (state, [syn, synack, fin, ack, rst]) = rows[i];
        let row = &mut laid[state as usize];
        row[Class::Syn as usize] = syn;
        row[Class::SynAck as usize] = synack;
        row[Class::Fin as usize] = fin;
        row[Class::Ack as usize] = ack;
        row[Class::Rst as usize] = rst;
        i += 1;
    }
    laid
}

/// What a segment of `class`, sent in `dir`, proposes in `state`.
#[inline]
pub(in crate::conntrack) const fn next(dir: Direction, state: TcpState, class: Class) -> Next {
    let table = match dir {
        Direction::Original => &ORIGINAL,
        Direction::Reply => &REPLY,
    };
    table[state as usize & 15][class as usize & 7]
}
