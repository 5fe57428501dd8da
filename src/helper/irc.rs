//! IRC: what one client says to another of a direct connection (DCC), for instance
//! `PRIVMSG bob :\x01DCC SEND file 167837698 4000 1024\x01`, which the server passes on unread.
//!
//! The number is the address, the port stands behind it. Whoever is told may connect, so the source is any.

use super::{Announced, Class, Context, Defaults, Effects, Helper, Malformed, Outcome, State};
use crate::net::{Addr, Direction, Expectation, Family, Tuple, proto};

/// Octets of a segment that are looked at.
const MOST: usize = 4095;

/// What must be left for a message to be looked for: `PRIVMSG x `.
const SHORTEST_COMMAND: usize = 10;

/// The same behind the command: ` :`, an octet 1, `DCC SEND t AAAAAAAA P`, an octet 1, LF.
const SHORTEST_MESSAGE: usize = 26;

/// And from the argument on: `AAAAAAAA P`, an octet 1, LF.
const SHORTEST_ADDRESS: usize = 12;

/// Requests that announce a connection.
const WORDS: [&[u8]; 5] = [b"SEND ", b"CHAT ", b"MOVE ", b"TSEND ", b"SCHAT "];

/// Decimal digits at the start of `data` as a number that wraps at 64 bits, and what stands behind them.
fn number(data: &[u8]) -> (u64, &[u8]) {
    let digits = data.iter().take_while(|b| b.is_ascii_digit());
    let mut len = 0;
    let value = digits.fold(0u64, |value, digit| {
        len += 1;
        value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))
    });
    (value, data.get(len..).unwrap_or_default())
}

/// Address and port behind a request's word.
fn address(data: &[u8]) -> Option<(Addr, u16)> {
    let blank = data.iter().position(|b| *b == b' ')?;
    let rest = data.get(blank + 1..)?;
    // The argument ends early enough for an address to follow.
    if blank > 0 && data.len() - blank < SHORTEST_ADDRESS {
        return None;
    }
    rest.contains(&b'\n').then_some(())?;
    let (addr, rest) = number(rest);
    let blanks = rest.iter().take_while(|b| **b == b' ').count();
    let (port, _) = number(rest.get(blanks..)?);
    Some((Addr::v4(addr as u32), port as u16))
}

/// The address and port that a segment's first message announces, if it is a client's own.
fn announced(ctx: &Context<'_>, payload: &[u8]) -> Option<u16> {
    let payload = payload.get(..MOST).unwrap_or(payload);
    let at = payload.iter().take_while(|b| matches!(b, b' ' | b'\r' | b'\n')).count();
    let mut data = payload.get(at.min(payload.len().saturating_sub(SHORTEST_COMMAND))..)?;
    if data.len() > SHORTEST_COMMAND {
        let (word, rest) = data.split_at_checked(8)?;
        if !word.eq_ignore_ascii_case(b"PRIVMSG ") {
            return None;
        }
        data = rest;
    }
    while data.len() > SHORTEST_MESSAGE {
        if !data.starts_with(b" :") {
            data = data.get(1..)?;
            continue;
        }
        data = data.get(2..)?.strip_prefix(b"\x01DCC ")?;
        for word in WORDS {
            let Some(rest) = data.strip_prefix(word) else { continue };
            data = rest;
            let Some((addr, port)) = address(rest) else { continue };
            // A forged one ends the search, one that cannot be read does not.
            let own = addr == ctx.this().src || addr == ctx.other().dst;
            return (own && port != 0).then_some(port);
        }
    }
    None
}

/// The IRC helper.
#[derive(Clone, Copy, Debug)]
pub struct Irc;

impl Helper for Irc {
    fn name(&self) -> &'static str {
        "irc"
    }

    fn defaults(&self) -> Defaults {
        const CLASSES: &[Class] = &[Class { max_expected: 8, timeout_ms: 300_000 }];
        Defaults { l4proto: &[proto::TCP], port: 6667, classes: CLASSES }
    }

    fn matches(&self, tuple: &Tuple) -> bool {
        tuple.proto == proto::TCP && tuple.family == Family::V4
    }

    fn inspect(&self, ctx: &Context<'_>, _: &mut State, payload: &[u8], effects: &mut dyn Effects) -> Outcome {
        if !ctx.both_seen || ctx.direction == Direction::Reply {
            return Outcome::Ignored;
        }
        let Some(port) = announced(ctx, payload) else { return Outcome::Ignored };
        let client = ctx.other();
        match effects.expect(Expectation::new(client.family, proto::TCP, client.dst, port)) {
            Announced::Done => Outcome::Parsed,
            Announced::Already | Announced::Refused => Outcome::Drop(Malformed::Refused),
        }
    }
}

#[cfg(test)]
mod tests;
