//! A table of a few flows around the trackers, and a script language to send packets through it.
//!
//! It does what the specification's section 2, steps 5 to 9, says and no more: find the entry (expired ones
//! are absent), assign the state, ask the tracker, apply its step, set SEEN_REPLY after an accepted reply.
//! A verdict that drops nothing is assumed, so entries are confirmed at once.
//!
//! A script is items separated by `;`, each `PACKET` or `PACKET => EXPECTATIONS`:
//! `> SYN seq 99000 => NEW SYN_SENT 120 U`. `>` is sent by the client, `<` by the server, `2.1s` lets time
//! pass, `hs` is the handshake of the conformance vectors. Expectations are about the packet (a state,
//! `ignored`) and then its entry: protocol state, whole seconds left, `A`/`notA`, `U`/`replied`, `gone`,
//! `kept` (the timer was not set).

use super::{Flow, Outcome, Settings, State, Timer, state_of};
use crate::net::{
    Addr, CtState, Direction, Family, Icmp, InvalidReason, L4, Millis, Sctp, Segment, Summary, TcpFlags, Track, Tuple,
    proto,
};

pub(super) struct Entry {
    tuple: Tuple,
    pub(super) state: State,
    pub(super) seen_reply: bool,
    pub(super) assured: bool,
    deadline: u64,
}

/// What became of one packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) state: CtState,
    pub(super) outcome: Outcome,
    pub(super) timer: Timer,
}

pub(super) struct Lab {
    pub(super) settings: Settings,
    pub(super) now: u64,
    pub(super) entries: Vec<Entry>,
    family: Family,
    mirrored: bool,
}

/// Plays a script with Linux's defaults.
pub(super) fn play(script: &str) {
    play_with(Settings::default(), script);
}

/// Plays a script for both address families and with either host as the client.
pub(super) fn play_with(settings: Settings, script: &str) {
    for family in Family::ALL {
        for mirrored in [false, true] {
            // A clock about to wrap, as real ones are now and then.
            let mut lab = Lab { settings, now: u64::from(u32::MAX) - 1500, entries: Vec::new(), family, mirrored };
            lab.play(script);
        }
    }
}

impl Lab {
    pub(super) fn new(settings: Settings) -> Self {
        Lab { settings, now: 1_000_000, entries: Vec::new(), family: Family::V4, mirrored: false }
    }

    /// Steps 5 to 9 for one packet.
    pub(super) fn send(&mut self, packet: &Summary) -> Seen {
        let now = Millis(self.now as u32);
        // A restart deletes an entry, so this ends.
        loop {
            self.entries.retain(|entry| entry.deadline > self.now);
            let found = self.entries.iter().enumerate().find_map(|(i, entry)| {
                if entry.tuple == packet.tuple {
                    Some((i, Direction::Original))
                } else if entry.tuple.inverse() == Some(packet.tuple) {
                    Some((i, Direction::Reply))
                } else {
                    None
                }
            });
            let Some((i, dir)) = found else { return self.open(packet, now) };
            let entry = &mut self.entries[i];
            let flow = Flow {
                seen_reply: entry.seen_reply,
                assured: entry.assured,
                remaining_ms: (entry.deadline - self.now) as i32,
            };
            let state = state_of(dir, entry.seen_reply, false);
            let step = entry.state.advance(&self.settings, flow, packet, dir, now);
            assert!(!step.assured || flow.seen_reply || matches!(entry.state, State::Sctp(_)), "{step:?}");
            if let Timer::Set(ms) = step.timer {
                assert!(ms > 0);
                entry.deadline = self.now + u64::from(ms);
            }
            entry.assured |= step.assured;
            let state = match step.outcome {
                Outcome::Accept | Outcome::Ignore => {
                    entry.seen_reply |= dir == Direction::Reply;
                    state
                }
                Outcome::Invalid(_) => CtState::Invalid,
                Outcome::Restart => {
                    self.entries.remove(i);
                    continue;
                }
            };
            if step.delete {
                self.entries.remove(i);
            }
            return Seen { state, outcome: step.outcome, timer: step.timer };
        }
    }

    fn open(&mut self, packet: &Summary, now: Millis) -> Seen {
        let opened = match packet.tuple.inverse() {
            Some(_) => State::open(&self.settings, packet, now),
            None => Err(InvalidReason::Unknown),
        };
        match opened {
            Ok((state, step)) => {
                assert_eq!(step.outcome, Outcome::Accept);
                assert!(!step.assured && !step.delete);
                let Timer::Set(ms) = step.timer else { panic!("a new entry without a timer") };
                let deadline = self.now + u64::from(ms);
                self.entries.push(Entry { tuple: packet.tuple, state, seen_reply: false, assured: false, deadline });
                Seen { state: CtState::New, outcome: step.outcome, timer: step.timer }
            }
            Err(reason) => Seen { state: CtState::Invalid, outcome: Outcome::Invalid(reason), timer: Timer::Keep },
        }
    }

    fn play(&mut self, script: &str) {
        for item in script.split(';').map(str::trim).filter(|item| !item.is_empty()) {
            let (packet, wanted) = item.split_once("=>").unwrap_or((item, ""));
            let packet = packet.trim();
            if packet == "hs" {
                self.play("> SYN => NEW; < SYN/ACK => EST; > ACK => EST ESTABLISHED 432000 A");
                assert!(wanted.is_empty());
            } else if let Some(secs) = packet.strip_suffix('s').and_then(|n| n.parse::<f64>().ok()) {
                self.now += (secs * 1000.0) as u64;
                self.entries.retain(|entry| entry.deadline > self.now);
                self.check(None, wanted, item, script);
            } else {
                let summary = self.parse(packet);
                let seen = self.send(&summary);
                self.check(Some(seen), wanted, item, script);
            }
        }
    }

    fn check(&self, seen: Option<Seen>, wanted: &str, item: &str, script: &str) {
        let entry = self.entries.last();
        let left = entry.map(|entry| (entry.deadline - self.now).div_ceil(1000));
        let label = entry.and_then(|entry| entry.state.label());
        for word in wanted.split_whitespace() {
            let state = |state| seen.is_some_and(|seen| seen.state == state);
            let right = match word {
                "NEW" => state(CtState::New),
                "EST" => state(CtState::Established),
                "INVALID" => state(CtState::Invalid),
                "ignored" => seen.is_some_and(|seen| seen.outcome == Outcome::Ignore),
                "kept" => seen.is_some_and(|seen| seen.timer == Timer::Keep),
                "A" => entry.is_some_and(|entry| entry.assured),
                "notA" => entry.is_some_and(|entry| !entry.assured),
                "U" => entry.is_some_and(|entry| !entry.seen_reply),
                "replied" => entry.is_some_and(|entry| entry.seen_reply),
                "gone" => entry.is_none(),
                _ => match (word.parse::<u64>(), word.parse::<Reason>()) {
                    (Ok(secs), _) => left == Some(secs),
                    (_, Ok(Reason(reason))) => seen.is_some_and(|seen| seen.outcome == Outcome::Invalid(reason)),
                    _ => label == Some(word),
                },
            };
            assert!(
                right,
                "{word}: not so after `{item}`: {seen:?}, {label:?}, {left:?} s left, assured {:?}, replied {:?}\nin {script}",
                entry.map(|e| e.assured),
                entry.map(|e| e.seen_reply),
            );
        }
    }

    /// One packet from its words: `>` or `<`, what it is, then `name value` pairs.
    fn parse(&self, text: &str) -> Summary {
        let mut words = text.split_whitespace();
        let from_client = match words.next() {
            Some(">") => true,
            Some("<") => false,
            _ => panic!("neither > nor <: {text}"),
        };
        let what = words.next().unwrap_or_else(|| panic!("no packet: {text}"));
        let args = Args { words: words.collect(), text };
        let (protocol, l4) = match what {
            "udp" => (proto::UDP, L4::Udp),
            "udplite" => (proto::UDPLITE, L4::UdpLite),
            "gre" => (proto::GRE, L4::Gre),
            "other" => (254, L4::Other),
            "echo" | "reply" | "icmp" => {
                let (protocol, request, reply) =
                    if self.family == Family::V4 { (proto::ICMP, 8, 0) } else { (proto::ICMPV6, 128, 129) };
                let kind = args.number("type", if what == "echo" { request } else { reply }) as u8;
                (protocol, L4::Icmp(Icmp { kind, code: args.number("code", 0) as u8 }))
            }
            _ => match parse_chunks(what, from_client, &args) {
                Some(sctp) => (proto::SCTP, L4::Sctp(sctp)),
                None => (proto::TCP, L4::Tcp(parse_segment(what, from_client, &args))),
            },
        };
        let (src_key, dst_key) = match l4 {
            L4::Icmp(icmp) => (args.number("id", 7) as u16, u16::from(icmp.kind) << 8 | u16::from(icmp.code)),
            L4::Gre | L4::Other => (0, 0),
            _ if from_client => (40000, 80),
            _ => (80, 40000),
        };
        let tuple = tuple(self.family, protocol, from_client != self.mirrored, (src_key, dst_key));
        Summary { track: Track::Tuple, tuple, l4, defect: None }
    }
}

/// A word that is the label of an [`InvalidReason`].
struct Reason(InvalidReason);

impl std::str::FromStr for Reason {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        InvalidReason::ALL.iter().find(|reason| reason.label() == word).map(|reason| Reason(*reason)).ok_or(())
    }
}

struct Args<'a> {
    words: Vec<&'a str>,
    text: &'a str,
}

impl Args<'_> {
    fn has(&self, name: &str) -> bool {
        self.words.contains(&name)
    }

    fn get(&self, name: &str) -> Option<i64> {
        let i = self.words.iter().position(|word| *word == name)?;
        let value = self.words.get(i + 1).and_then(|word| word.parse().ok());
        Some(value.unwrap_or_else(|| panic!("{name} without a number: {}", self.text)))
    }

    fn number(&self, name: &str, default: i64) -> u32 {
        self.get(name).unwrap_or(default) as u32
    }
}

pub(super) fn tuple(family: Family, proto: u8, from_client: bool, keys: (u16, u16)) -> Tuple {
    let (client, server) = match family {
        Family::V4 => (Addr::v4(0x0a01_0002), Addr::v4(0x0a02_0002)),
        Family::V6 => (Addr { hi: 0x2001_0db8_0001_0000, lo: 2 }, Addr { hi: 0x2001_0db8_0002_0000, lo: 2 }),
    };
    let (src, dst) = if from_client { (client, server) } else { (server, client) };
    Tuple { src, dst, src_key: keys.0, dst_key: keys.1, proto, family }
}

/// Names of flags joined by `+`; `SYN/ACK`, `FIN` (with ACK), `data` (ten octets) are the vectors' short forms.
pub(super) fn parse_flags(what: &str) -> TcpFlags {
    TcpFlags(match what {
        "SYN/ACK" => TcpFlags::SYN | TcpFlags::ACK,
        "FIN" => TcpFlags::FIN | TcpFlags::ACK,
        "data" => TcpFlags::ACK | TcpFlags::PSH,
        "none" => 0,
        _ => what.split('+').fold(0, |flags, name| {
            flags
                | match name {
                    "SYN" => TcpFlags::SYN,
                    "bareFIN" => TcpFlags::FIN,
                    "RST" => TcpFlags::RST,
                    "PSH" => TcpFlags::PSH,
                    "ACK" => TcpFlags::ACK,
                    "URG" => TcpFlags::URG,
                    "ECE" => TcpFlags::ECE,
                    "CWR" => TcpFlags::CWR,
                    _ => panic!("no flag: {name}"),
                }
        }),
    })
}

fn parse_segment(what: &str, from_client: bool, args: &Args<'_>) -> Segment {
    let flags = parse_flags(what);
    let (first, other_first) = if from_client { (1000, 5000) } else { (5000, 1000) };
    let opening = i64::from(!flags.has(TcpFlags::SYN));
    let ack = args.number("ack", if flags.has(TcpFlags::ACK) { other_first + 1 } else { 0 });
    Segment {
        seq: args.number("seq", first + opening),
        ack,
        sack: args.number("sack", i64::from(ack)),
        payload: args.number("len", if what == "data" { 10 } else { 0 }),
        window: args.number("win", 8192) as u16,
        flags,
        wscale: args.get("scale").map(|shift| shift as u8),
        sack_permitted: args.has("sackok"),
        has_options: args.has("scale") || args.has("sackok") || args.has("sack") || args.has("options"),
    }
}

/// The tags of the association: the client expects 1111 and the server 2222.
fn parse_chunks(what: &str, from_client: bool, args: &Args<'_>) -> Option<Sctp> {
    const NAMES: [&str; 16] = [
        "DATA",
        "INIT",
        "INIT_ACK",
        "SACK",
        "HEARTBEAT",
        "HEARTBEAT_ACK",
        "ABORT",
        "SHUTDOWN",
        "SHUTDOWN_ACK",
        "ERROR",
        "COOKIE_ECHO",
        "COOKIE_ACK",
        "ECNE",
        "CWR_CHUNK",
        "SHUTDOWN_COMPLETE",
        "UNKNOWN",
    ];
    let mut sctp = Sctp { t_flags: if args.has("T") { u16::MAX } else { 0 }, ..Sctp::default() };
    if what != "no_chunk" {
        for name in what.split('+') {
            let kind = NAMES.iter().position(|n| *n == name)? as u64;
            sctp.kinds |= kind << (4 * sctp.count);
            sctp.count += 1;
        }
    }
    let (own, other) = if from_client { (1111, 2222) } else { (2222, 1111) };
    let is_init = what.starts_with("INIT") && !what.starts_with("INIT_ACK");
    sctp.vtag = args.number("tag", if is_init { 0 } else { other });
    sctp.init_tag = if what.starts_with("INIT") { args.number("itag", own) } else { 0 };
    Some(sctp)
}
