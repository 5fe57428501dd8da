//! Reading SIP's and SDP's text, leniently where netfilter is lenient: what phones send is read by what routers have
//! made of it for years.

use crate::helper::address;
use crate::net::{Addr, Family};

/// Where a value stands in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Its first octet.
    pub(super) at: usize,
    /// Its length, never 0.
    pub(super) len: usize,
}

impl Span {
    pub(super) const fn end(self) -> usize {
        self.at + self.len
    }
}

/// What a search finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found<T> {
    /// Nothing of that name.
    Absent,
    /// Something whose value cannot be read; where it stands.
    Broken(usize),
    /// A value.
    Value(T),
}

impl<T> Found<T> {
    pub(super) fn value(self) -> Option<T> {
        match self {
            Found::Value(value) => Some(value),
            Found::Absent | Found::Broken(_) => None,
        }
    }
}

const fn is_eol(octet: u8) -> bool {
    octet == b'\r' || octet == b'\n'
}

const fn is_blank(octet: u8) -> bool {
    octet == b' ' || octet == b'\t'
}

/// A letter, those of Latin-1 among them.
pub(super) const fn is_letter(octet: u8) -> bool {
    octet.is_ascii_alphabetic() || (octet >= 0xc0 && octet != 0xd7 && octet != 0xf7)
}

/// Whether `word` stands at `at`, in capitals or not.
pub(super) fn starts(text: &[u8], at: usize, word: &[u8]) -> bool {
    text.get(at..).and_then(|rest| rest.get(..word.len())).is_some_and(|part| part.eq_ignore_ascii_case(word))
}

/// A decimal number at `at`, and where it ends; 0 and `at` itself if there is none, or one of more than 32 bits or 11
/// digits.
pub(super) fn decimal(text: &[u8], at: usize) -> (u32, usize) {
    let len = digits_len(text, at);
    let digits = text.get(at..at + len).filter(|digits| digits.len() <= 11).and_then(|d| std::str::from_utf8(d).ok());
    digits.and_then(|digits| digits.parse().ok()).map_or((0, at), |value| (value, at + len))
}

/// How many decimal digits stand at `at`.
pub(super) fn digits_len(text: &[u8], at: usize) -> usize {
    text.get(at..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count()
}

/// How many letters stand at `at`.
pub(super) fn letters_len(text: &[u8], at: usize) -> usize {
    text.get(at..).unwrap_or_default().iter().take_while(|b| is_letter(**b)).count()
}

/// The first octet of the text of a continuation line (RFC 3261 section 7.3.1), if the line end at `at` has one before
/// `limit`.
fn continuation(text: &[u8], at: usize, limit: usize) -> Option<usize> {
    let text = text.get(..limit)?;
    let mut next = at + 1;
    if text.get(at) == Some(&b'\r') && *text.get(next)? == b'\n' {
        next += 1;
    }
    is_blank(*text.get(next)?).then(|| {
        let blanks = text.iter().skip(next).take_while(|b| is_blank(**b)).count();
        next + blanks
    })
}

/// Past blanks, and past one line end that a continuation line follows.
fn skip_blanks(text: &[u8], mut at: usize) -> Option<usize> {
    while text.get(at).is_some_and(|b| is_blank(*b)) {
        at += 1;
    }
    if text.get(at).is_some_and(|b| is_eol(*b)) { continuation(text, at, text.len()) } else { Some(at) }
}

/// Where `needle` stands between `at` and `limit`, continuation lines included.
pub(super) fn search(text: &[u8], mut at: usize, limit: usize, needle: &[u8]) -> Option<usize> {
    let limit = limit.min(text.len()).checked_sub(needle.len())?;
    while at < limit {
        if is_eol(*text.get(at)?) {
            at = continuation(text, at, limit)?;
        } else if starts(text, at, needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Begins of lines behind the one at `from`, in order.
pub(super) fn lines(text: &[u8], from: usize) -> impl Iterator<Item = usize> + '_ {
    let mut at = from;
    std::iter::from_fn(move || {
        while !is_eol(*text.get(at)?) {
            at += 1;
        }
        at += 1;
        if text.get(at - 1) == Some(&b'\r') && text.get(at) == Some(&b'\n') {
            at += 1;
        }
        let line = at;
        // A line end there is looked at again as such only from its second octet on.
        at += 1;
        (line < text.len()).then_some(line)
    })
}

/// Headers that are looked for (RFC 3261 section 20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    CSeq,
    Contact,
    Expires,
    ContentLength,
}

impl Header {
    /// Name and compact form.
    const fn names(self) -> (&'static [u8], Option<u8>) {
        match self {
            Header::CSeq => (b"CSeq", None),
            Header::Contact => (b"Contact", Some(b'm')),
            Header::Expires => (b"Expires", None),
            Header::ContentLength => (b"Content-Length", Some(b'l')),
        }
    }

    /// Whether its name stands at `at`; where it ends. A compact form must not be the begin of a longer name.
    fn named(self, text: &[u8], at: usize) -> Option<usize> {
        let (name, compact) = self.names();
        if starts(text, at, name) {
            return Some(at + name.len());
        }
        let next = text.get(at + 1).is_some_and(|b| !is_letter(*b));
        compact.filter(|c| next && starts(text, at, &[*c])).map(|_| at + 1)
    }
}

/// A URI's host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Uri {
    pub(super) addr: Addr,
    pub(super) port: u16,
    /// Where it ends; parameters follow.
    pub(super) end: usize,
}

/// Port of a URI that names none (RFC 3261 section 19.1.2).
const SIP_PORT: u16 = 5060;

/// One message of a connection of that family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) text: &'a [u8],
    pub(super) family: Family,
}

impl Message<'_> {
    /// The next header of that name in lines behind `from`.
    pub(super) fn header(&self, from: usize, header: Header) -> Found<Span> {
        let text = self.text;
        for line in lines(text, from) {
            if text.get(line).is_some_and(|b| is_blank(*b)) {
                continue;
            }
            let Some(end) = header.named(text, line) else { continue };
            let colon = skip_blanks(text, end).filter(|at| text.get(*at) == Some(&b':') && at + 1 < text.len());
            let Some(at) = colon.and_then(|colon| skip_blanks(text, colon + 1)) else { return Found::Absent };
            let value = match header {
                Header::Contact => search(text, at, text.len(), URI).and_then(|uri| self.host(uri + URI.len())),
                _ => Some(Span { at, len: digits_len(text, at) }).filter(|span| span.len > 0),
            };
            return value.map_or(Found::Broken(at), Found::Value);
        }
        Found::Absent
    }

    /// The next URI of a Contact header: of the list that `from` stands in, if it stands in one, or of a header
    /// behind it.
    pub(super) fn contact(&self, mut from: usize, in_list: bool) -> Found<Uri> {
        let mut found = if in_list { self.next_in_list(&mut from) } else { None };
        while found.is_none() {
            match self.header(from, Header::Contact) {
                Found::Value(span) => found = Some(span),
                Found::Absent => return Found::Absent,
                Found::Broken(at) => from = at,
            }
        }
        found.and_then(|span| self.uri(span)).map_or(Found::Broken(from), Found::Value)
    }

    /// The next URI behind a comma, bad ones left out; `from` moves along.
    fn next_in_list(&self, from: &mut usize) -> Option<Span> {
        loop {
            let comma = search(self.text, *from, self.text.len(), b",")?;
            let uri = search(self.text, comma, self.text.len(), URI)? + URI.len();
            match self.host(uri) {
                Some(span) => return Some(span),
                None => *from = uri,
            }
        }
    }

    /// The host part of a URI at `at`, port included; user information is skipped.
    fn host(&self, at: usize) -> Option<Span> {
        let rest = self.text.get(at..)?;
        let user = rest.iter().position(|b| *b == b'@' || is_eol(*b)).filter(|end| rest.get(*end) == Some(&b'@'));
        let at = user.map_or(at, |end| at + end + 1);
        let (_, end) = self.address(at, self.text.len(), true)?;
        let (_, end) = self.port(end)?;
        Some(Span { at, len: end - at })
    }

    fn uri(&self, span: Span) -> Option<Uri> {
        let (addr, end) = self.address(span.at, self.text.len(), true)?;
        let (port, end) = self.port(end)?;
        Some(Uri { addr, port, end })
    }

    /// The port of a URI whose host ends at `at`, and where it ends. Something must follow it, or it might be cut off.
    fn port(&self, at: usize) -> Option<(u16, usize)> {
        if *self.text.get(at)? != b':' {
            return Some((SIP_PORT, at));
        }
        let len = digits_len(self.text, at + 1);
        let (port, end) = decimal(self.text, at + 1);
        let port = u16::try_from(port).ok().filter(|port| *port >= 1024 && len <= 5)?;
        (end < self.text.len()).then_some((port, end))
    }

    /// An address at `at`, and where it ends. IPv6 stands in brackets, which only may be there unless `brackets`.
    pub(super) fn address(&self, at: usize, limit: usize, brackets: bool) -> Option<(Addr, usize)> {
        let text = self.text.get(..limit.min(self.text.len()))?;
        match self.family {
            Family::V4 => address_v4(text, at),
            Family::V6 => address_v6(text, at, brackets),
        }
    }

    /// The value of the parameter `name=` of the header field at `from`, up to the next field of a list.
    pub(super) fn parameter(&self, from: usize, name: &[u8]) -> Option<usize> {
        let limit = search(self.text, from, self.text.len(), b",").unwrap_or(self.text.len());
        search(self.text, from, limit, name).map(|at| at + name.len())
    }
}

/// What a URI begins with.
const URI: &[u8] = b"sip:";

/// Four decimals up to 255, and behind them anything that continues neither.
fn address_v4(text: &[u8], mut at: usize) -> Option<(Addr, usize)> {
    let mut bits = 0u32;
    for octet in 0..4 {
        let mut value = 0;
        let start = at;
        while let Some(digit) = text.get(at).filter(|b| b.is_ascii_digit()) {
            value = value * 10 + u32::from(digit - b'0');
            if value > 255 {
                return None;
            }
            at += 1;
        }
        if at == start {
            return None;
        }
        bits = bits << 8 | value;
        if octet < 3 {
            if text.get(at) != Some(&b'.') {
                return None;
            }
            at += 1;
        }
    }
    let next = text.get(at).copied().unwrap_or_default();
    (next != b'.' && !next.is_ascii_hexdigit()).then_some((Addr::v4(bits), at))
}

fn address_v6(text: &[u8], at: usize, brackets: bool) -> Option<(Addr, usize)> {
    let open = text.get(at) == Some(&b'[');
    if brackets && !open {
        return None;
    }
    let start = at + usize::from(open);
    let rest = text.get(start..)?;
    let len = rest.iter().take_while(|b| b.is_ascii_hexdigit() || **b == b':' || **b == b'.').count();
    let addr = address::v6(rest.get(..len)?)?;
    let mut end = start + len;
    if text.get(end) == Some(&b']') {
        end += 1;
    } else if brackets {
        return None;
    }
    Some((Addr::v6(addr.octets()), end))
}
