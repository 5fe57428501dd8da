//! TFTP (RFC 1350): the server answers a request from a port of its own choice, to the port the request came from.

use super::{Announced, Class, Context, Defaults, Effects, Helper, Malformed, Outcome, State};
use crate::net::{Expectation, proto};

/// Opcodes of read and write request (RFC 1350 section 5).
const REQUESTS: [u16; 2] = [1, 2];

/// The TFTP helper.
#[derive(Clone, Copy, Debug)]
pub struct Tftp;

impl Helper for Tftp {
    fn name(&self) -> &'static str {
        "tftp"
    }

    fn defaults(&self) -> Defaults {
        const CLASSES: &[Class] = &[Class { max_expected: 1, timeout_ms: 300_000 }];
        Defaults { l4proto: &[proto::UDP], port: 69, classes: CLASSES }
    }

    fn inspect(&self, ctx: &Context<'_>, _: &mut State, payload: &[u8], effects: &mut dyn Effects) -> Outcome {
        let opcode = payload.first_chunk().map(|octets| u16::from_be_bytes(*octets));
        if opcode.is_none_or(|opcode| !REQUESTS.contains(&opcode)) {
            return Outcome::Ignored;
        }
        // Also for a request that travels in reply direction: the client is who opened the connection.
        let reply = ctx.reply;
        let data = Expectation::new(reply.family, proto::UDP, reply.dst, reply.dst_key).sent_by(reply.src);
        match effects.expect(data) {
            Announced::Done => Outcome::Parsed,
            Announced::Already | Announced::Refused => Outcome::Drop(Malformed::Refused),
        }
    }
}

#[cfg(test)]
mod tests;
