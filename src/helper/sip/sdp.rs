//! Session descriptions (RFC 8866): which media are to be sent where.

use super::text::{Found, Message, Span, decimal, digits_len, letters_len, lines, starts};
use crate::net::{Addr, Family};

/// Kinds of media that are expected, with the class of their expectations.
const KINDS: [(&[u8], u8); 3] = [(b"audio ", 1), (b"video ", 2), (b"image ", 3)];

/// Media of one message that are looked at.
const MOST: usize = 3;

/// Lines that are looked for.
#[derive(Clone, Copy)]
enum Line {
    Version,
    Connection,
    Media,
}

impl Line {
    const fn name(self) -> &'static [u8] {
        match self {
            Line::Version => b"v=",
            Line::Connection => b"c=",
            Line::Media => b"m=",
        }
    }
}

/// One medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Media {
    /// Where it is to be sent.
    pub(super) addr: Addr,
    /// The port given.
    pub(super) port: u16,
    /// Class of its expectations.
    pub(super) class: u8,
}

/// A description that must not pass: a port below 1024 or above 65535, or no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong;

impl Message<'_> {
    /// The next line of that kind behind `from`, and its value. Not beyond the next line of kind `end`.
    fn line(&self, from: usize, kind: Line, end: Option<Line>) -> Found<Span> {
        let text = self.text;
        for line in lines(text, from) {
            if end.is_some_and(|end| starts(text, line, end.name())) {
                break;
            }
            if !starts(text, line, kind.name()) {
                continue;
            }
            let at = line + kind.name().len();
            let span = match kind {
                Line::Version => Some(Span { at, len: digits_len(text, at) }).filter(|span| span.len > 0),
                Line::Connection => self.connection(at),
                Line::Media => self.kind_and_port(at),
            };
            return span.map_or(Found::Broken(at), Found::Value);
        }
        Found::Absent
    }

    /// The address in what follows `c=`.
    fn connection(&self, at: usize) -> Option<Span> {
        let word: &[u8] = match self.family {
            Family::V4 => b"IN IP4 ",
            Family::V6 => b"IN IP6 ",
        };
        let rest = self.text.get(at..)?;
        let line = rest.get(..rest.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(rest.len()))?;
        // The word must end before the text does.
        let last = rest.len().checked_sub(word.len())?;
        let found = (0..last.min(line.len())).find(|i| rest.get(*i..).is_some_and(|rest| rest.starts_with(word)))?;
        let at = at + found + word.len();
        let (_, end) = self.address(at, self.text.len(), false)?;
        Some(Span { at, len: end - at })
    }

    /// Letters, a blank and digits.
    fn kind_and_port(&self, at: usize) -> Option<Span> {
        let kind = letters_len(self.text, at);
        (self.text.get(at + kind) == Some(&b' ')).then_some(())?;
        Some(Span { at, len: kind + 1 + digits_len(self.text, at + kind + 1) })
    }

    fn connection_address(&self, from: usize) -> Option<Addr> {
        let span = self.line(from, Line::Connection, Some(Line::Media)).value()?;
        Some(self.address(span.at, span.end(), false)?.0)
    }

    /// Shows the media of the message's session description, if it has one, to `each` until that fails.
    pub(super) fn media<E: From<Wrong>>(&self, mut each: impl FnMut(Media) -> Result<(), E>) -> Result<(), E> {
        let Some(session) = self.line(0, Line::Version, None).value() else { return Ok(()) };
        let usual = self.connection_address(session.at);
        let mut at = session.at;
        let mut seen = 0;
        while seen < MOST {
            let Some(span) = self.line(at, Line::Media, None).value() else { break };
            let kind = KINDS.iter().find(|(word, _)| {
                span.len >= word.len() && self.text.get(span.at..).is_some_and(|rest| rest.starts_with(word))
            });
            let Some((word, class)) = kind else {
                at = span.end();
                continue;
            };
            at = span.at + word.len();
            let (port, _) = decimal(self.text, at);
            // The medium is refused (RFC 3264 section 6), or the port is no number.
            if port == 0 {
                continue;
            }
            let port = u16::try_from(port).ok().filter(|port| *port >= 1024).ok_or(Wrong)?;
            let addr = self.connection_address(at).or(usual).ok_or(Wrong)?;
            each(Media { addr, port, class: *class })?;
            seen += 1;
        }
        Ok(())
    }
}
