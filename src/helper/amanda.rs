//! Amanda, the backup system: the client's answer names the ports on which the server is to fetch data, messages,
//! index and state, for instance `CONNECT DATA 50001 MESG 50002 INDEX 50003`.

use super::{Announced, Class, Context, Defaults, Effects, Helper, Malformed, Outcome, State};
use crate::net::{Direction, Expectation, proto};

/// An answer may take its time; the connection waits this long for it, in milliseconds.
const PATIENCE: u32 = 300_000;

/// The streams there may be.
const STREAMS: [&[u8]; 4] = [b"DATA ", b"MESG ", b"INDEX ", b"STATE "];

/// What stands behind the first `word`.
fn behind<'a>(text: &'a [u8], word: &[u8]) -> Option<&'a [u8]> {
    let at = text.windows(word.len()).position(|window| window == word)?;
    text.get(at + word.len()..)
}

/// The line that announces: what stands between `CONNECT ` and the end of the line, if the line ends.
fn announcement(payload: &[u8]) -> Option<&[u8]> {
    let rest = behind(payload, b"CONNECT ")?;
    rest.get(..rest.iter().position(|b| *b == b'\n')?)
}

/// Up to five decimals as a port; larger ones lose their upper bits.
fn port(text: &[u8]) -> u16 {
    let digits = text.iter().take(5).take_while(|b| b.is_ascii_digit());
    digits.fold(0u32, |value, digit| value * 10 + u32::from(digit - b'0')) as u16
}

/// The Amanda helper.
#[derive(Clone, Copy, Debug)]
pub struct Amanda;

impl Helper for Amanda {
    fn name(&self) -> &'static str {
        "amanda"
    }

    fn defaults(&self) -> Defaults {
        const CLASSES: &[Class] = &[Class { max_expected: 4, timeout_ms: 180_000 }];
        Defaults { l4proto: &[proto::UDP], port: 10_080, classes: CLASSES }
    }

    fn inspect(&self, ctx: &Context<'_>, _: &mut State, payload: &[u8], effects: &mut dyn Effects) -> Outcome {
        if ctx.direction == Direction::Original {
            return Outcome::Ignored;
        }
        effects.set_timer(PATIENCE);
        let Some(line) = announcement(payload) else { return Outcome::Ignored };
        let mut outcome = Outcome::Ignored;
        for stream in STREAMS {
            let Some(rest) = behind(line, stream) else { continue };
            let port = port(rest);
            if port == 0 {
                break;
            }
            let server = ctx.original;
            let e = Expectation::new(server.family, proto::TCP, server.dst, port).sent_by(server.src);
            // One that is refused does not keep the others from being announced.
            match (effects.expect(e), outcome) {
                (Announced::Done, Outcome::Ignored) => outcome = Outcome::Parsed,
                (Announced::Done, _) => {}
                (Announced::Already | Announced::Refused, _) => outcome = Outcome::Drop(Malformed::Refused),
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
