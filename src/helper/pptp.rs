//! PPTP (RFC 2637): the control connection sets calls up, whose data travel as enhanced GRE.
//!
//! Two expectations per call, one for either direction, of which the first packet spends both; and the two call ids,
//! without which a packet's tuple cannot be formed, for it carries only its receiver's. The client (PNS) opens the control
//! connection. Messages out of order are ignored.

use super::{Announced, Class, Context, Defaults, Effects, Helper, Outcome, State};
use crate::net::{Direction, Expectation, Family, Tuple, proto};

/// Octets in front of a message: length, type 1, magic cookie, message type, reserved (RFC 2637 section 1.4).
const HEADER: usize = 12;

const CONTROL: u16 = 1;

const MAGIC_COOKIE: u32 = 0x1a2b_3c4d;

/// Control messages (RFC 2637 section 2), by their numbers, and the octets behind the header that each needs.
const SIZES: [usize; 16] = [0, 144, 144, 4, 4, 0, 0, 156, 20, 208, 12, 16, 4, 136, 28, 12];

mod message {
    pub(super) const START_REQUEST: u16 = 1;
    pub(super) const START_REPLY: u16 = 2;
    pub(super) const STOP_REQUEST: u16 = 3;
    pub(super) const STOP_REPLY: u16 = 4;
    pub(super) const OUT_CALL_REQUEST: u16 = 7;
    pub(super) const OUT_CALL_REPLY: u16 = 8;
    pub(super) const IN_CALL_REQUEST: u16 = 9;
    pub(super) const IN_CALL_REPLY: u16 = 10;
    pub(super) const IN_CALL_CONNECT: u16 = 11;
    pub(super) const CALL_CLEAR: u16 = 12;
    pub(super) const CALL_DISCONNECT: u16 = 13;
}

/// How far a control session has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Session {
    #[default]
    None,
    Error,
    Stopping,
    Requested,
    Confirmed,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Call {
    #[default]
    None,
    OutRequested,
    OutConfirmed,
    InRequested,
    InReplied,
    InConfirmed,
    Clearing,
}

/// What is remembered of a control connection: its last call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    session: Session,
    call: Call,
    /// Call ids of client (PNS) and server (PAC).
    ids: [u16; 2],
}

/// The result octet of an accepted call or session.
const ACCEPTED: u8 = 1;

/// What a message says: its type and what follows the header.
fn read(payload: &[u8]) -> Option<(u16, &[u8])> {
    let (header, rest) = payload.split_first_chunk::<HEADER>()?;
    let [_, _, t0, t1, c0, c1, c2, c3, m0, m1, _, _] = *header;
    let control = u16::from_be_bytes([t0, t1]) == CONTROL && u32::from_be_bytes([c0, c1, c2, c3]) == MAGIC_COOKIE;
    let kind = u16::from_be_bytes([m0, m1]);
    let whole = SIZES.get(usize::from(kind)).is_none_or(|size| rest.len() >= *size);
    (control && whole).then_some((kind, rest))
}

fn word(data: &[u8], at: usize) -> u16 {
    data.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |octets| u16::from_be_bytes(*octets))
}

fn octet(data: &[u8], at: usize) -> u8 {
    data.get(at).copied().unwrap_or_default()
}

/// GRE from the sender's side to the other, with their call ids.
fn gre(control: &Tuple, sender: u16, receiver: u16) -> Tuple {
    Tuple { src_key: sender, dst_key: receiver, proto: proto::GRE, ..*control }
}

impl Control {
    /// The packets of the last call, in both directions.
    fn flows(&self, ctx: &Context<'_>) -> [Tuple; 2] {
        let [client, server] = self.ids;
        [gre(ctx.original, client, server), gre(ctx.reply, server, client)]
    }

    /// What the client says. Whether it was understood.
    fn outbound(&mut self, kind: u16, data: &[u8]) -> bool {
        match kind {
            message::START_REQUEST if self.session == Session::None => self.session = Session::Requested,
            message::STOP_REQUEST => self.session = Session::Stopping,
            message::OUT_CALL_REQUEST if self.session == Session::Confirmed => {
                self.call = Call::OutRequested;
                self.ids[0] = word(data, 0);
            }
            message::IN_CALL_REPLY
                if matches!(self.call, Call::InRequested | Call::InReplied) && self.ids[1] == word(data, 2) =>
            {
                if octet(data, 4) == ACCEPTED {
                    self.call = Call::InReplied;
                    self.ids[0] = word(data, 0);
                } else {
                    self.call = Call::None;
                }
            }
            message::CALL_CLEAR if self.session == Session::Confirmed => self.call = Call::Clearing,
            _ => return false,
        }
        true
    }

    /// What the server says.
    fn inbound(&mut self, kind: u16, data: &[u8], ctx: &Context<'_>, effects: &mut dyn Effects) -> bool {
        let confirmed = self.session == Session::Confirmed;
        match kind {
            message::START_REPLY if self.session >= Session::Requested => {
                self.session = if octet(data, 2) == ACCEPTED { Session::Confirmed } else { Session::Error };
            }
            message::STOP_REPLY if self.session <= Session::Stopping => {
                self.session = if octet(data, 0) == ACCEPTED { Session::None } else { Session::Error };
            }
            message::OUT_CALL_REPLY
                if confirmed
                    && matches!(self.call, Call::OutRequested | Call::OutConfirmed)
                    && self.ids[0] == word(data, 2) =>
            {
                if octet(data, 4) == ACCEPTED {
                    self.call = Call::OutConfirmed;
                    self.ids[1] = word(data, 0);
                    self.expect(ctx, effects);
                } else {
                    self.call = Call::None;
                }
            }
            message::IN_CALL_REQUEST if confirmed => {
                self.call = Call::InRequested;
                self.ids[1] = word(data, 0);
            }
            message::IN_CALL_CONNECT
                if confirmed
                    && matches!(self.call, Call::InReplied | Call::InConfirmed)
                    && self.ids[0] == word(data, 0) =>
            {
                self.call = Call::InConfirmed;
                self.expect(ctx, effects);
            }
            message::CALL_DISCONNECT => {
                self.call = Call::None;
                self.end(ctx, effects);
            }
            _ => return false,
        }
        true
    }

    /// Announces the call's packets. What cannot be announced does not keep the message from passing.
    fn expect(&mut self, ctx: &Context<'_>, effects: &mut dyn Effects) {
        let flows = self.flows(ctx);
        let [there, back] = flows.map(|flow| Expectation {
            src: Some(flow.src),
            src_key: Some(flow.src_key),
            twin: true,
            ..Expectation::new(flow.family, flow.proto, flow.dst, flow.dst_key)
        });
        if effects.expect(there) != Announced::Done {
            return;
        }
        if effects.expect(back) != Announced::Done {
            return effects.withdraw(&there);
        }
        // Ids of another call may not be replaced before that one has ended.
        let [there_flow, back_flow] = &flows;
        let paired = effects.pair_call(there_flow);
        if !paired || !effects.pair_call(back_flow) {
            if paired {
                effects.unpair_calls();
            }
            effects.withdraw(&back);
            effects.withdraw(&there);
        }
    }

    /// Ends the last call: its ids, its connection, and what is expected of it.
    fn end(&mut self, ctx: &Context<'_>, effects: &mut dyn Effects) {
        effects.unpair_calls();
        for flow in self.flows(ctx) {
            effects.end(&flow);
        }
    }
}

/// The PPTP helper.
#[derive(Clone, Copy, Debug)]
pub struct Pptp;

fn control(state: &State) -> Control {
    match *state {
        State::Pptp(control) => control,
        _ => Control::default(),
    }
}

impl Helper for Pptp {
    fn name(&self) -> &'static str {
        "pptp"
    }

    fn defaults(&self) -> Defaults {
        const CLASSES: &[Class] = &[Class { max_expected: 2, timeout_ms: 300_000 }];
        Defaults { l4proto: &[proto::TCP], port: 1723, classes: CLASSES }
    }

    fn matches(&self, tuple: &Tuple) -> bool {
        tuple.proto == proto::TCP && tuple.family == Family::V4
    }

    fn inspect(&self, ctx: &Context<'_>, state: &mut State, payload: &[u8], effects: &mut dyn Effects) -> Outcome {
        if !ctx.both_seen {
            return Outcome::Ignored;
        }
        let Some((kind, data)) = read(payload) else { return Outcome::Ignored };
        let mut control = control(state);
        let understood = match ctx.direction {
            Direction::Original => control.outbound(kind, data),
            Direction::Reply => control.inbound(kind, data, ctx, effects),
        };
        *state = State::Pptp(control);
        if understood { Outcome::Parsed } else { Outcome::Ignored }
    }

    fn ended(&self, ctx: &Context<'_>, state: &mut State, effects: &mut dyn Effects) {
        let mut control = control(state);
        control.end(ctx, effects);
        *state = State::Pptp(control);
    }
}

#[cfg(test)]
mod tests;
