//! SANE, scanners in the network (SANE standard, section 5.2): the answer to SANE_NET_START names the port from which
//! the client is to fetch the image.

use super::{Announced, Class, Context, Defaults, Effects, Helper, Malformed, Outcome, State};
use crate::net::{Direction, Expectation, proto};

/// Procedure code of SANE_NET_START.
const START: u32 = 7;

/// The SANE helper.
#[derive(Clone, Copy, Debug)]
pub struct Sane;

/// The 32-bit word at the start of a message, and the one behind it.
fn words(payload: &[u8]) -> Option<(u32, u32)> {
    let (&first, rest) = payload.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(first), u32::from_be_bytes(*rest.first_chunk()?)))
}

impl Helper for Sane {
    fn name(&self) -> &'static str {
        "sane"
    }

    fn defaults(&self) -> Defaults {
        const CLASSES: &[Class] = &[Class { max_expected: 1, timeout_ms: 300_000 }];
        Defaults { l4proto: &[proto::TCP], port: 6566, classes: CLASSES }
    }

    fn inspect(&self, ctx: &Context<'_>, state: &mut State, payload: &[u8], effects: &mut dyn Effects) -> Outcome {
        if !ctx.both_seen || payload.is_empty() {
            return Outcome::Ignored;
        }
        if ctx.direction == Direction::Original {
            // A request and its scanner's handle.
            if let (8, Some((code, _))) = (payload.len(), words(payload)) {
                *state = if code == START { State::SaneStarted } else { State::Fresh };
            }
            return Outcome::Ignored;
        }
        if *state != State::SaneStarted {
            return Outcome::Ignored;
        }
        *state = State::Fresh;
        // Status 0 is success; the port is the second word, whose upper half is not used.
        let Some((0, port)) = words(payload) else { return Outcome::Ignored };
        let Ok(port) = u16::try_from(port) else { return Outcome::Ignored };
        let client = ctx.original;
        match effects.expect(Expectation::new(client.family, proto::TCP, client.dst, port).sent_by(client.src)) {
            Announced::Done => Outcome::Parsed,
            Announced::Already | Announced::Refused => Outcome::Drop(Malformed::Refused),
        }
    }
}

#[cfg(test)]
mod tests;
