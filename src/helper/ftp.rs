//! FTP: PORT and EPRT from the client, the answers 227 and 229 from the server (RFC 959, RFC 1123 section
//! 4.1.2.6, RFC 2428).
//!
//! Commands are looked for only where a line begins, and only at the beginning of a segment: an attacker who
//! makes a server echo text of his choice must not be able to place a command in the middle of a line. To know
//! where lines begin, two sequence numbers that follow a segment ending in LF are kept per direction.
//! A command that is cut off or unreadable is dropped rather than passed, since the connection it announces
//! would come unannounced; the sender repeats it.

use super::address;
use super::{Announced, Class, Context, Defaults, Effects, Flag, Helper, Malformed, Outcome, State};
use crate::net::{Addr, Direction, Expectation, Family, proto};

/// The newest two sequence numbers at which a line begins, in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    starts: [u32; 2],
    known: u8,
}

/// `a` comes before `b` (serial arithmetic, RFC 1982).
const fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

impl Lines {
    /// Whether a line begins at `seq`.
    fn starts_at(&self, seq: u32) -> bool {
        self.starts.iter().take(usize::from(self.known)).any(|start| *start == seq)
    }

    /// Notes that a line begins at `seq`. The oldest makes room, unless `seq` is older still.
    fn note(&mut self, seq: u32) {
        if self.starts_at(seq) {
            return;
        }
        let [first, second] = &mut self.starts;
        match self.known {
            0 => *first = seq,
            1 => *second = seq,
            _ => {
                let oldest = if before(*first, *second) { first } else { second };
                if before(*oldest, seq) {
                    *oldest = seq;
                }
            }
        }
        self.known = (self.known + 1).min(2);
    }
}

/// The address a command names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// None: the sender's own is meant.
    Own,
    /// This one, of the connection's family.
    Address(Addr),
    /// An IPv4 address on an IPv6 connection: nobody's own.
    OtherFamily,
}

/// Reads what follows the word: the address named and the port.
type Read = fn(&[u8], Family) -> Option<(Named, u16)>;

/// A command or answer: word, octet to skip past after it, reader of the rest.
struct Pattern {
    word: &'static [u8],
    skip: Option<u8>,
    read: Read,
}

const ORIGINAL: [Pattern; 2] = [
    Pattern { word: b"PORT", skip: Some(b' '), read: read_port },
    Pattern { word: b"EPRT", skip: Some(b' '), read: read_eprt },
];

const REPLY: [Pattern; 2] = [
    Pattern { word: b"227 ", skip: None, read: read_227 },
    Pattern { word: b"229 ", skip: Some(b'('), read: read_229 },
];

/// What a pattern makes of a payload.
enum Found {
    No,
    Bad(Malformed),
    Yes(Named, u16),
}

impl Pattern {
    fn find(&self, payload: &[u8], family: Family) -> Found {
        if payload.len() <= self.word.len() {
            return match self.word.get(..payload.len()) {
                Some(part) if part.eq_ignore_ascii_case(payload) => Found::Bad(Malformed::Partial),
                _ => Found::No,
            };
        }
        let (word, mut rest) = payload.split_at(self.word.len());
        if !word.eq_ignore_ascii_case(self.word) {
            return Found::No;
        }
        if let Some(skip) = self.skip {
            let Some(at) = rest.iter().position(|b| *b == skip) else {
                return Found::Bad(Malformed::Arguments);
            };
            rest = rest.get(at + 1..).unwrap_or_default();
        }
        match (self.read)(rest, family) {
            Some((named, port)) => Found::Yes(named, port),
            None => Found::Bad(Malformed::Arguments),
        }
    }
}

/// `N` decimals with `separator` between them, up to an octet that is neither; gives them and that octet with
/// its offset. Values are not range-checked: they are shifted together as netfilter does.
fn decimals<const N: usize>(data: &[u8], separator: u8) -> Option<([u32; N], u8, usize)> {
    let mut values = [0u32; N];
    let (mut at, mut digits) = (0, 0);
    for (offset, octet) in data.iter().enumerate() {
        if octet.is_ascii_digit() {
            let value = values.get_mut(at)?;
            *value = value.wrapping_mul(10).wrapping_add(u32::from(octet - b'0'));
            digits += 1;
        } else if digits == 0 {
            return None;
        } else if *octet == separator && at + 1 < N {
            at += 1;
            digits = 0;
        } else {
            return (at + 1 == N && *octet != separator).then_some((values, *octet, offset));
        }
    }
    None
}

/// `h1,h2,h3,h4,p1,p2` and the octet behind it.
fn six_numbers(data: &[u8], family: Family) -> Option<(Named, u16, u8)> {
    let ([a, b, c, d, high, low], end, _) = decimals(data, b',')?;
    let named = match family {
        Family::V4 => Named::Address(Addr::v4(a << 24 | b << 16 | c << 8 | d)),
        Family::V6 => Named::OtherFamily,
    };
    Some((named, (high << 8 | low) as u16, end))
}

fn read_port(data: &[u8], family: Family) -> Option<(Named, u16)> {
    let (named, port, end) = six_numbers(data, family)?;
    (end == b'\r').then_some((named, port))
}

/// The numbers may stand in parentheses, behind other text, or bare (RFC 1123 section 4.1.2.6).
fn read_227(data: &[u8], family: Family) -> Option<(Named, u16)> {
    let from = data.iter().position(u8::is_ascii_digit)?;
    let (named, port, _) = six_numbers(data.get(from..)?, family)?;
    Some((named, port))
}

/// A delimiter is any printable ASCII character but a digit (RFC 2428 section 2).
fn delimiter(octet: u8) -> Option<u8> {
    (octet.is_ascii_graphic() && !octet.is_ascii_digit()).then_some(octet)
}

/// A port up to `delimiter`, summed up in 16 bits; not 0.
fn delimited_port(data: &[u8], delimiter: u8) -> Option<u16> {
    let end = data.iter().position(|b| *b == delimiter)?;
    let port = data.get(..end)?.iter().try_fold(0u16, |port, octet| {
        let digit = octet.is_ascii_digit().then(|| u16::from(octet - b'0'))?;
        Some(port.wrapping_mul(10).wrapping_add(digit))
    })?;
    (port != 0).then_some(port)
}

/// `|1|address|port|` or `|2|address|port|` (RFC 2428 section 2); the number must fit the family.
fn read_eprt(data: &[u8], family: Family) -> Option<(Named, u16)> {
    let (&[first, kind, second], rest) = data.split_first_chunk::<3>()?;
    let delimiter = delimiter(first).filter(|d| *d == second)?;
    let (addr, end) = match (kind, family) {
        (b'1', Family::V4) => {
            let ([a, b, c, d], end, at) = decimals(rest, b'.')?;
            (end == delimiter).then_some((Addr::v4(a << 24 | b << 16 | c << 8 | d), at))?
        }
        (b'2', Family::V6) => {
            let end = rest.iter().position(|b| *b == delimiter)?;
            (Addr::v6(address::v6(rest.get(..end)?)?.octets()), end)
        }
        _ => return None,
    };
    Some((Named::Address(addr), delimited_port(rest.get(end + 1..)?, delimiter)?))
}

/// `|||port|` (RFC 2428 section 3).
fn read_229(data: &[u8], _: Family) -> Option<(Named, u16)> {
    let (&[first, second, third], rest) = data.split_first_chunk::<3>()?;
    let delimiter = delimiter(first).filter(|d| *d == second && *d == third)?;
    Some((Named::Own, delimited_port(rest, delimiter)?))
}

/// The FTP helper.
#[derive(Clone, Copy, Debug)]
pub struct Ftp;

impl Ftp {
    /// The connection a command announces: to the command's sender, as the other side addresses it, from the
    /// other side. `None` if the address named is not the sender's own and the option does not allow that.
    fn expectation(ctx: &Context<'_>, named: Named, port: u16) -> Option<Expectation> {
        let (this, other) = (ctx.this(), ctx.other());
        let dst = match named {
            Named::Own => other.dst,
            Named::Address(addr) if addr == this.src => other.dst,
            Named::Address(addr) if ctx.settings.loose => addr,
            Named::Address(_) | Named::OtherFamily => return None,
        };
        Some(Expectation::new(this.family, proto::TCP, dst, port).sent_by(other.src))
    }
}

impl Helper for Ftp {
    fn name(&self) -> &'static str {
        "ftp"
    }

    fn defaults(&self) -> Defaults {
        const CLASSES: &[Class] = &[Class { max_expected: 1, timeout_ms: 300_000 }];
        Defaults { l4proto: &[proto::TCP], port: 21, classes: CLASSES }
    }

    fn flags(&self) -> &'static [Flag] {
        &[Flag::Loose]
    }

    fn inspect(&self, ctx: &Context<'_>, state: &mut State, payload: &[u8], effects: &mut dyn Effects) -> Outcome {
        if !ctx.both_seen || payload.is_empty() {
            return Outcome::Ignored;
        }
        let mut both = match *state {
            State::Ftp(lines) => lines,
            _ => Default::default(),
        };
        let [original, reply] = &mut both;
        let (lines, patterns) = match ctx.direction {
            Direction::Original => (original, &ORIGINAL),
            Direction::Reply => (reply, &REPLY),
        };
        let mut outcome = Outcome::Ignored;
        if lines.starts_at(ctx.seq) {
            for pattern in patterns {
                match pattern.find(payload, ctx.original.family) {
                    Found::No => continue,
                    // Without noting where the next line begins: the repetition is searched again.
                    Found::Bad(malformed) => return Outcome::Drop(malformed),
                    Found::Yes(named, port) => {
                        if let Some(expectation) = Ftp::expectation(ctx, named, port) {
                            outcome = match effects.expect(expectation) {
                                Announced::Done => Outcome::Parsed,
                                Announced::Already | Announced::Refused => Outcome::Drop(Malformed::Refused),
                            };
                        }
                    }
                }
                break;
            }
        }
        if payload.last() == Some(&b'\n') {
            lines.note(ctx.seq.wrapping_add(payload.len() as u32));
        }
        *state = State::Ftp(both);
        outcome
    }
}

#[cfg(test)]
mod tests;
