//! SIP (RFC 3261): media of calls, and requests that a registrar forwards to a phone.
//!
//! A message with a session description announces its media: two UDP flows each, RTP on an even port and RTCP on the
//! next. By default only to the sender itself and from the peer it speaks with (`direct_media`); otherwise, if so
//! configured, only where they cross the router (`external_media`). A call's end withdraws what has not begun. A registration announces requests from the registrar to the phone's contact:
//! inactive until the registrar agrees, then for as long as it says, and for any number of connections, which have
//! this helper too.

mod sdp;
mod text;

use super::{Announced, Class, Context, Defaults, Effects, Flag, Helper, Malformed, Outcome, State};
use crate::net::{Expectation, Tuple, proto};
use sdp::{Media, Wrong};
use text::{Found, Header, Message, decimal, is_letter, starts};

/// How long a connection of signalling may be silent, in milliseconds.
const SILENCE: u32 = 3_600_000;

/// Longest registration in seconds; the clock of expectations wraps.
const LONGEST: u64 = 24 * 86_400;

/// Class of signalling.
const SIGNALLING: u8 = 0;

/// Classes of media.
const MEDIA: std::ops::RangeInclusive<u8> = 1..=3;

/// No message is shorter.
const SHORTEST: usize = b"SIP/2.0 200".len();

/// The begin of a response.
const RESPONSE: &[u8] = b"SIP/2.0 ";

/// Methods that are of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Invite,
    Update,
    Ack,
    Prack,
    Bye,
    Register,
}

/// Their names, in the order in which they are looked for.
const METHODS: [(&[u8], Method); 6] = [
    (b"INVITE", Method::Invite),
    (b"UPDATE", Method::Update),
    (b"ACK", Method::Ack),
    (b"PRACK", Method::Prack),
    (b"BYE", Method::Bye),
    (b"REGISTER", Method::Register),
];

/// What is remembered of a connection: sequence numbers of its last registration and invitation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dialog {
    register: u32,
    invite: u32,
}

/// A message must not pass.
struct Refused(Malformed);

impl From<Wrong> for Refused {
    fn from(_: Wrong) -> Self {
        Refused(Malformed::Arguments)
    }
}

/// Whether something was understood.
type Result = std::result::Result<bool, Refused>;

const UNREADABLE: Refused = Refused(Malformed::Arguments);

/// One message being read.
struct Reading<'a, 'b> {
    ctx: &'a Context<'a>,
    message: Message<'a>,
    dialog: &'b mut Dialog,
    effects: &'b mut dyn Effects,
}

impl Reading<'_, '_> {
    fn read(&mut self) -> Result {
        if starts(self.message.text, 0, RESPONSE) { self.response() } else { self.request() }
    }

    /// The number of the CSeq header, and where it ends.
    fn sequence(&self) -> std::result::Result<(u32, usize), Refused> {
        let span = self.message.header(0, Header::CSeq).value().ok_or(UNREADABLE)?;
        let (number, end) = decimal(self.message.text, span.at);
        if end == span.at { Err(UNREADABLE) } else { Ok((number, end)) }
    }

    fn request(&mut self) -> Result {
        let text = self.message.text;
        let method = METHODS.iter().find(|(name, _)| {
            starts(text, 0, name)
                && text.get(name.len()) == Some(&b' ')
                && text.get(name.len() + 1).is_some_and(|b| is_letter(*b))
        });
        let Some((_, method)) = method else { return Ok(false) };
        let (number, _) = self.sequence()?;
        match method {
            Method::Invite => {
                self.effects.withdraw_classes(MEDIA);
                let understood = self.session()?;
                self.dialog.invite = number;
                Ok(understood)
            }
            Method::Update | Method::Ack | Method::Prack => self.session(),
            Method::Bye => {
                self.effects.withdraw_classes(MEDIA);
                Ok(true)
            }
            Method::Register => self.registration(number),
        }
    }

    fn response(&mut self) -> Result {
        let text = self.message.text;
        if text.len() < SHORTEST {
            return Ok(false);
        }
        let (code, _) = decimal(text, RESPONSE.len());
        if code == 0 {
            return Err(UNREADABLE);
        }
        let (number, end) = self.sequence()?;
        let method = METHODS.iter().find(|(name, _)| starts(text, end + 1, name));
        match method {
            Some((_, Method::Invite | Method::Update | Method::Prack)) if matches!(code, 100..=299) => self.session(),
            Some((_, Method::Invite | Method::Update | Method::Prack)) => {
                if number == self.dialog.invite {
                    self.effects.withdraw_classes(MEDIA);
                }
                Ok(true)
            }
            Some((_, Method::Register)) => self.registered(number, code),
            Some((_, Method::Ack | Method::Bye)) | None => Ok(false),
        }
    }

    /// The media of a session description.
    fn session(&mut self) -> Result {
        let (message, ctx) = (self.message, self.ctx);
        let mut understood = false;
        message.media(|media| -> std::result::Result<(), Refused> {
            understood |= self.expect_media(ctx, media)?;
            Ok(())
        })?;
        Ok(understood)
    }

    fn expect_media(&mut self, ctx: &Context<'_>, media: Media) -> Result {
        let Media { addr, port, class } = media;
        if ctx.settings.direct_media && addr != ctx.this().src {
            return Ok(false);
        }
        let family = ctx.original.family;
        let external = ctx.settings.external_media && !ctx.settings.direct_media;
        if external && self.effects.same_way(family, addr, ctx.this().dst) {
            return Ok(false);
        }
        let src = ctx.settings.direct_media.then_some(ctx.other().src);
        // The same medium is described to everybody who is called.
        let packet =
            Tuple { src: src.unwrap_or_default(), dst: addr, src_key: 0, dst_key: port, proto: proto::UDP, family };
        if self.effects.expects_elsewhere(&packet, class) {
            return Ok(true);
        }
        let flow = |port| Expectation { src, class, shared: true, ..Expectation::new(family, proto::UDP, addr, port) };
        let (rtp, rtcp) = (flow(port & !1), flow(port | 1));
        let first = self.effects.expect(rtp);
        if first != Announced::Refused {
            if self.effects.expect(rtcp) != Announced::Refused {
                return Ok(true);
            }
            if first == Announced::Done {
                self.effects.withdraw(&rtp);
            }
        }
        Err(Refused(Malformed::Refused))
    }

    /// The seconds of the Expires header.
    fn expires(&self) -> u32 {
        let span = self.message.header(0, Header::Expires).value();
        span.map_or(0, |span| decimal(self.message.text, span.at).0)
    }

    /// The protocol of a URI that ends at `at`, if it is the connection's.
    fn is_own_transport(&self, at: usize) -> bool {
        let own = self.ctx.original.proto;
        match self.message.parameter(at, b"transport=") {
            None => true,
            Some(at) if starts(self.message.text, at, b"TCP") => own == proto::TCP,
            Some(at) if starts(self.message.text, at, b"UDP") => own == proto::UDP,
            Some(_) => false,
        }
    }

    /// The seconds of the parameter of a URI that ends at `at`; `usual` if there is none.
    fn expires_of(&self, at: usize, usual: u32) -> std::result::Result<u32, Refused> {
        let Some(at) = self.message.parameter(at, b"expires=") else { return Ok(usual) };
        let (value, end) = decimal(self.message.text, at);
        if end == at { Err(UNREADABLE) } else { Ok(value) }
    }

    fn registration(&mut self, sequence: u32) -> Result {
        let ctx = self.ctx;
        // Who was itself announced does not register.
        if ctx.expected {
            return Ok(false);
        }
        let usual = self.expires();
        let contact = match self.message.contact(0, false) {
            Found::Absent => return Ok(false),
            Found::Broken(_) => return Err(UNREADABLE),
            Found::Value(uri) => uri,
        };
        // For itself only.
        if contact.addr != ctx.this().src || !self.is_own_transport(contact.end) {
            return Ok(false);
        }
        // Nothing is expected of a phone that signs off; what there is goes with the registrar's answer.
        if self.expires_of(contact.end, usual)? != 0 {
            let requests = Expectation {
                src: ctx.settings.direct_signalling.then_some(ctx.other().src),
                class: SIGNALLING,
                permanent: true,
                inactive: true,
                helper: Some(ctx.number),
                ..Expectation::new(ctx.original.family, ctx.original.proto, contact.addr, contact.port)
            };
            if self.effects.expect(requests) != Announced::Done {
                return Err(Refused(Malformed::Refused));
            }
        }
        self.dialog.register = sequence;
        Ok(true)
    }

    fn registered(&mut self, sequence: u32, code: u32) -> Result {
        // A late answer to an earlier registration says nothing.
        if sequence != self.dialog.register || matches!(code, 100..=199) {
            return Ok(false);
        }
        if matches!(code, 200..=299) {
            let usual = self.expires();
            let (mut from, mut in_list) = (0, false);
            loop {
                let contact = match self.message.contact(from, in_list) {
                    Found::Absent => break,
                    Found::Broken(_) => return Err(UNREADABLE),
                    Found::Value(uri) => uri,
                };
                (from, in_list) = (contact.end, true);
                if contact.addr != self.ctx.this().dst || !self.is_own_transport(contact.end) {
                    continue;
                }
                let seconds = self.expires_of(contact.end, usual)?;
                if seconds == 0 {
                    break;
                }
                let ms = (u64::from(seconds).min(LONGEST) * 1000) as u32;
                let to = (contact.addr, contact.port);
                if self.effects.activate(SIGNALLING, self.ctx.original.proto, to, ms) {
                    return Ok(true);
                }
            }
        }
        self.effects.withdraw_newest(SIGNALLING);
        Ok(true)
    }
}

/// The SIP helper.
#[derive(Clone, Copy, Debug)]
pub struct Sip;

/// The length of the first message of a stream: what its Content-Length header says, behind an empty line. `None` if
/// that cannot be seen.
fn framed(message: Message<'_>) -> Option<usize> {
    let span = message.header(0, Header::ContentLength).value()?;
    let (length, end) = decimal(message.text, span.at);
    if end == span.at {
        return None;
    }
    let body = message.text.get(end..)?.windows(4).position(|w| w == b"\r\n\r\n")?;
    (end + body + 4).checked_add(usize::try_from(length).ok()?)
}

impl Helper for Sip {
    fn name(&self) -> &'static str {
        "sip"
    }

    fn defaults(&self) -> Defaults {
        const fn class(max_expected: u8) -> Class {
            Class { max_expected, timeout_ms: 180_000 }
        }
        const CLASSES: &[Class] = &[class(1), class(4), class(4), class(2)];
        Defaults { l4proto: &[proto::UDP, proto::TCP], port: 5060, classes: CLASSES }
    }

    fn flags(&self) -> &'static [Flag] {
        &[Flag::DirectMedia, Flag::ExternalMedia, Flag::DirectSignalling]
    }

    fn inspect(&self, ctx: &Context<'_>, state: &mut State, payload: &[u8], effects: &mut dyn Effects) -> Outcome {
        let stream = ctx.original.proto == proto::TCP;
        if payload.is_empty() || (stream && !ctx.both_seen) {
            return Outcome::Ignored;
        }
        effects.set_timer(SILENCE);
        if payload.len() < SHORTEST {
            return Outcome::Ignored;
        }
        let mut dialog = match *state {
            State::Sip(dialog) => dialog,
            _ => Dialog::default(),
        };
        let mut rest = payload;
        let mut outcome = Outcome::Ignored;
        loop {
            let mut message = Message { text: rest, family: ctx.original.family };
            if stream {
                let Some(text) = framed(message).filter(|len| *len > 0).and_then(|len| rest.get(..len)) else { break };
                message.text = text;
            }
            rest = rest.get(message.text.len()..).unwrap_or_default();
            match (Reading { ctx, message, dialog: &mut dialog, effects: &mut *effects }).read() {
                Ok(true) => outcome = Outcome::Parsed,
                Ok(false) => {}
                Err(Refused(why)) => {
                    outcome = Outcome::Drop(why);
                    break;
                }
            }
            if !stream {
                break;
            }
        }
        *state = State::Sip(dialog);
        outcome
    }
}

#[cfg(test)]
mod tests;
