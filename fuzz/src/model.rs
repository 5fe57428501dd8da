//! TCP as the specification of Linux' tracker states it, written a second time: plainly, with every record in full,
//! and with nothing taken from the router's code but the words for what goes in and comes out.

use flowgate::conntrack::proto::{Outcome, Settings, Timer};
use flowgate::net::{Direction, Segment, TcpFlags};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S {
    No,
    Ss,
    S2,
    Sr,
    Es,
    Fw,
    Cw,
    La,
    Tw,
    Cl,
}

impl S {
    pub fn label(self) -> &'static str {
        ["NONE", "SYN_SENT", "SYN_SENT2", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE"]
            [self as usize]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum C {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    None,
}

/// One row per state from NONE on; per column SYN, SYN+ACK, FIN, ACK, RST. `x` INVALID, `i` ignore.
const ORIGINAL: [&str; 10] = [
    "ss x  x  es x ", "ss x  x  x  cl", "s2 sr x  x  cl", "i  sr fw es cl", "i  x  fw es cl", "i  x  la cw cl", "i  x  la cw cl",
    "i  x  la tw cl", "ss x  tw tw cl", "ss x  cl cl cl",
];
const REPLY: [&str; 10] = [
    "x  x  x  x  x ", "s2 sr x  i  cl", "s2 sr x  i  cl", "x  i  fw sr cl", "x  i  fw es cl", "x  i  la cw cl", "x  i  la cw cl",
    "x  i  la tw cl", "ss i  tw tw cl", "x  i  cl cl cl",
];

enum Next {
    Invalid,
    Ignore,
    To(S),
}

fn next(dir: Direction, now: S, class: C) -> Next {
    if class == C::None {
        return Next::Invalid;
    }
    let row = if dir == Direction::Original { ORIGINAL } else { REPLY }[now as usize];
    match row.split_whitespace().nth(class as usize).unwrap() {
        "x" => Next::Invalid,
        "i" => Next::Ignore,
        word => {
            let names = ["no", "ss", "s2", "sr", "es", "fw", "cw", "la", "tw", "cl"];
            let all = [S::No, S::Ss, S::S2, S::Sr, S::Es, S::Fw, S::Cw, S::La, S::Tw, S::Cl];
            Next::To(all[names.iter().position(|n| *n == word).unwrap()])
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Side {
    end: u32,
    maxend: u32,
    maxwin: u32,
    maxack: Option<u32>,
    scale: u8,
    wscale: bool,
    sack: bool,
    unacked: bool,
    liberal: bool,
    close_init: bool,
}

impl Side {
    fn options(&mut self, seg: &Segment) {
        if seg.has_options {
            // Every mark but this one goes, and so does the highest acknowledgment.
            *self = Side { end: self.end, maxend: self.maxend, maxwin: self.maxwin, liberal: self.liberal, ..Side::default() };
            self.scale = seg.wscale.unwrap_or(0);
            self.wscale = seg.wscale.is_some();
            self.sack = seg.sack_permitted;
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Last {
    class: C,
    dir: Direction,
    seq: u32,
    ack: u32,
    end: u32,
    win: u16,
    scale: u8,
    wscale: bool,
    sack: bool,
    challenge: bool,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    pub state: S,
    sides: [Side; 2],
    last: Last,
    retrans: u8,
    simultaneous: bool,
    pub seen_reply: bool,
    pub assured: bool,
    /// Milliseconds left.
    pub left: i64,
}

/// What a packet did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    Accept,
    Ignore,
    Invalid,
    Restart,
    Delete,
}

impl Did {
    pub fn of(outcome: Outcome, delete: bool) -> Did {
        match outcome {
            Outcome::Accept if delete => Did::Delete,
            Outcome::Accept => Did::Accept,
            Outcome::Ignore => Did::Ignore,
            Outcome::Invalid(_) => Did::Invalid,
            Outcome::Restart => Did::Restart,
        }
    }
}

fn after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

fn class(flags: TcpFlags) -> C {
    match () {
        () if flags.has(TcpFlags::RST) => C::Rst,
        () if flags.has(TcpFlags::SYN) && flags.has(TcpFlags::ACK) => C::SynAck,
        () if flags.has(TcpFlags::SYN) => C::Syn,
        () if flags.has(TcpFlags::FIN) => C::Fin,
        () if flags.has(TcpFlags::ACK) => C::Ack,
        () => C::None,
    }
}

enum Window {
    Accept,
    Ignore,
    Invalid,
}

impl Model {
    /// The first packet; `None` if it is INVALID.
    pub fn open(settings: &Settings, seg: &Segment) -> Option<Model> {
        let class = class(seg.flags);
        let Next::To(to) = next(Direction::Original, S::No, class) else { return None };
        let mut m = Model {
            state: S::No,
            sides: [Side::default(); 2],
            last: Last {
                class: C::None,
                dir: Direction::Original,
                seq: 0,
                ack: 0,
                end: 0,
                win: 0,
                scale: 0,
                wscale: false,
                sack: false,
                challenge: false,
            },
            retrans: 0,
            simultaneous: false,
            seen_reply: false,
            assured: false,
            left: 0,
        };
        let first = &mut m.sides[0];
        first.end = seg.end();
        first.maxwin = u32::from(seg.window).max(1);
        first.maxend = first.end;
        if class == C::Syn {
            first.options(seg);
        } else {
            if !settings.tcp_loose {
                return None;
            }
            first.maxend = first.end.wrapping_add(first.maxwin);
            for side in &mut m.sides {
                (side.sack, side.liberal) = (true, true);
            }
        }
        match m.window(settings, seg, class, Direction::Original) {
            Window::Invalid => None,
            _ => {
                m.finish(settings, class, Direction::Original, S::No, to);
                Some(m)
            }
        }
    }

    fn side(&mut self, dir: Direction) -> &mut Side {
        &mut self.sides[usize::from(dir == Direction::Reply)]
    }

    fn keep(&mut self, seg: &Segment, class: C, dir: Direction) {
        (self.last.class, self.last.dir) = (class, dir);
        (self.last.seq, self.last.end, self.last.win) = (seg.seq, seg.end(), seg.window);
        if class == C::Syn && dir == Direction::Original {
            let mut offered = Side::default();
            offered.options(seg);
            (self.last.scale, self.last.wscale, self.last.sack) = (offered.scale, offered.wscale, offered.sack);
            self.last.challenge = self.state == S::La;
            self.simultaneous = false;
        }
        if self.state == S::Ss && class == C::Ack && dir == Direction::Reply {
            self.last.ack = seg.ack;
        }
    }

    /// A later packet. Time must have been taken off `left` before.
    pub fn advance(&mut self, settings: &Settings, seg: &Segment, dir: Direction) -> Did {
        let class = class(seg.flags);
        // What is stored stays until the packet is accepted.
        let mut from = self.state;
        let mut to = match next(dir, from, class) {
            Next::Invalid => return Did::Invalid,
            Next::Ignore => {
                if class == C::SynAck
                    && self.last.class == C::Syn
                    && self.last.dir != dir
                    && seg.ack == self.last.end
                {
                    from = S::Ss;
                    let last = self.last;
                    *self.side(dir.flip()) = Side {
                        end: last.end,
                        maxend: last.end,
                        maxwin: u32::from(last.win).max(1),
                        scale: last.scale,
                        wscale: last.wscale,
                        sack: last.sack,
                        ..Side::default()
                    };
                    *self.side(dir) = Side { liberal: self.side(dir).liberal, ..Side::default() };
                    self.last.challenge = false;
                    S::Sr
                } else {
                    self.keep(seg, class, dir);
                    return Did::Ignore;
                }
            }
            Next::To(to) => to,
        };
        if to == S::Ss && matches!(self.state, S::Tw | S::Cl) {
            if self.sides.iter().any(|side| side.close_init) || (self.last.class == C::Rst && self.last.dir == dir) {
                return Did::Restart;
            }
            self.keep(seg, class, dir);
            return Did::Ignore;
        }
        if to == S::Tw
            && self.state == S::La
            && class == C::Ack
            && self.last.class == C::Syn
            && self.last.dir != dir
            && self.last.challenge
        {
            self.last.challenge = false;
            return Did::Ignore;
        }
        if to == S::S2 {
            self.simultaneous = true;
        }
        if to == S::Sr && self.simultaneous && class == C::Ack && dir == Direction::Reply {
            to = S::Es;
        }
        let mut look = true;
        if to == S::Cl && class == C::Rst {
            let closing = matches!(self.state, S::Fw | S::Cw | S::La | S::Tw | S::Cl);
            let assured = self.state == S::Es && self.assured;
            let maxack = self.side(dir.flip()).maxack;
            if closing {
                look = false;
            } else if let Some(maxack) = maxack.filter(|_| self.last.class != C::Syn) {
                if seg.seq == 0 && !assured {
                } else if after(maxack, seg.seq) && !settings.tcp_ignore_invalid_rst {
                    return Did::Invalid;
                } else if !assured
                    || seg.seq == maxack
                    || (self.last.class == C::Ack && self.last.dir == dir && seg.seq == self.last.end)
                {
                } else {
                    to = self.state;
                }
            }
            let in_rule_2 = maxack.is_some() && self.last.class != C::Syn;
            if look && !in_rule_2 {
                let answers = (self.seen_reply && self.last.class == C::Syn && self.last.dir != dir)
                    || (!self.assured && self.last.class == C::Ack);
                let half_open = self.state == S::Ss
                    && self.last.class == C::Ack
                    && self.last.dir == Direction::Reply
                    && seg.seq == self.last.ack;
                if (answers && seg.ack == self.last.end) || half_open {
                    look = false;
                }
            }
        }
        if look {
            match self.window(settings, seg, class, dir) {
                Window::Accept => {}
                Window::Ignore => {
                    self.seen_reply |= dir == Direction::Reply;
                    return Did::Ignore;
                }
                Window::Invalid => {
                    self.distrust(settings, class, dir);
                    return Did::Invalid;
                }
            }
        }
        let deleted = self.finish(settings, class, dir, from, to);
        self.seen_reply |= dir == Direction::Reply;
        if deleted { Did::Delete } else { Did::Accept }
    }

    fn window(&mut self, settings: &Settings, seg: &Segment, class: C, dir: Direction) -> Window {
        let reply = dir == Direction::Reply;
        let syn = seg.flags.has(TcpFlags::SYN);
        let acks = seg.flags.has(TcpFlags::ACK);
        let (mut s, mut r) = (*self.side(dir), *self.side(dir.flip()));
        let (mut seq, mut end) = (seg.seq, seg.end());
        let mut ack = seg.ack;
        let mut sack = if r.sack { seg.sack } else { seg.ack };
        let raw = u32::from(seg.window);
        let begin = |s: &mut Side, r: &mut Side| {
            (s.end, s.maxend, s.maxwin) = (end, end, raw.max(1));
            s.options(seg);
            if reply && !(s.wscale && r.wscale) {
                (s.scale, r.scale) = (0, 0);
            }
        };
        if s.maxwin == 0 {
            if syn {
                begin(&mut s, &mut r);
                if !acks {
                    (*self.side(dir), *self.side(dir.flip())) = (s, r);
                    return Window::Accept;
                }
            } else {
                s.end = end;
                s.maxwin = (raw << s.scale).max(1);
                s.maxend = end.wrapping_add(s.maxwin);
                if r.maxwin == 0 {
                    (r.end, r.maxend) = (sack, sack);
                } else if sack == r.end.wrapping_add(1) {
                    r.end = r.end.wrapping_add(1);
                }
            }
        } else if syn && after(end, s.end) && matches!(self.state, S::Ss | S::Sr) {
            begin(&mut s, &mut r);
            if reply && !acks {
                (*self.side(dir), *self.side(dir.flip())) = (s, r);
                return Window::Accept;
            }
        }
        if !acks || (seg.flags.has(TcpFlags::RST) && ack == 0) {
            (ack, sack) = (r.end, r.end);
        }
        if seg.flags.has(TcpFlags::RST) && seq == 0 && self.state == S::Ss {
            (seq, end) = (s.end, s.end);
        }
        let slack = s.maxwin.max(66_000);
        let recent = after(end, s.end.wrapping_sub(r.maxwin).wrapping_sub(1));
        let close = after(sack, r.end.wrapping_sub(slack).wrapping_sub(1));
        let mut failed = None;
        if after(seq, s.maxend) {
            let over = end.wrapping_sub(s.maxend).wrapping_add(1);
            if r.maxwin != 0 && recent && close && over <= r.maxwin && !after(sack, r.end) {
                (s.end, s.unacked) = (end, true);
                failed = Some(Window::Ignore);
            } else {
                failed = Some(Window::Invalid);
            }
        } else if after(sack, r.end) {
            failed = Some(Window::Invalid);
        } else if (r.maxwin != 0 && !recent) || !close {
            failed = Some(Window::Ignore);
        }
        if let Some(verdict) = failed {
            let liberal = settings.tcp_be_liberal || s.liberal;
            (*self.side(dir), *self.side(dir.flip())) = (s, r);
            return if liberal { Window::Accept } else { verdict };
        }
        let win = if syn { raw } else { raw << s.scale };
        s.maxwin = s.maxwin.max(win.wrapping_add(sack.wrapping_sub(ack)));
        if after(end, s.end) {
            (s.end, s.unacked) = (end, true);
        }
        if acks {
            s.maxack = Some(s.maxack.map_or(ack, |old| if after(ack, old) { ack } else { old }));
        }
        if r.maxwin != 0 && after(end, s.maxend) {
            r.maxwin = r.maxwin.wrapping_add(end.wrapping_sub(s.maxend));
        }
        let edge = sack.wrapping_add(win);
        if !after(r.maxend, edge) {
            r.maxend = edge.wrapping_add(u32::from(win == 0));
        }
        if ack == r.end {
            r.unacked = false;
        }
        (*self.side(dir), *self.side(dir.flip())) = (s, r);
        if class == C::Ack {
            let l = self.last;
            if l.dir == dir && (l.seq, l.ack, l.end, l.win) == (seg.seq, ack, end, seg.window) {
                self.retrans = self.retrans.saturating_add(1);
            } else {
                (self.last.dir, self.last.seq, self.last.ack, self.last.end, self.last.win) = (dir, seg.seq, ack, end, seg.window);
                self.retrans = 0;
            }
        }
        Window::Accept
    }

    fn distrust(&mut self, settings: &Settings, class: C, dir: Direction) {
        if !self.assured || !matches!(class, C::Fin | C::Rst) {
            return;
        }
        if self.last.dir != dir && matches!(self.last.class, C::Fin | C::Rst) {
            let short = i64::from(settings.timeouts.tcp_unacknowledged);
            if self.left > 120_000 && self.left > short {
                self.left = short;
            }
        } else {
            (self.last.class, self.last.dir) = (class, dir);
        }
    }

    /// True if the entry is gone.
    fn finish(&mut self, settings: &Settings, class: C, dir: Direction, from: S, to: S) -> bool {
        (self.last.class, self.last.dir) = (class, dir);
        self.state = to;
        if to == S::Fw && from != S::Fw {
            self.side(dir).close_init = true;
        }
        let t = &settings.timeouts;
        let own = match to {
            S::No => 0,
            S::Ss => t.tcp_syn_sent,
            S::S2 => 120_000,
            S::Sr => t.tcp_syn_recv,
            S::Es => t.tcp_established,
            S::Fw => t.tcp_fin_wait,
            S::Cw => t.tcp_close_wait,
            S::La => t.tcp_last_ack,
            S::Tw => t.tcp_time_wait,
            S::Cl => t.tcp_close,
        };
        let mut ms = if self.retrans >= settings.tcp_max_retrans && own > t.tcp_max_retrans {
            t.tcp_max_retrans
        } else if class == C::Rst {
            t.tcp_close
        } else if self.sides.iter().any(|side| side.unacked) && own > t.tcp_unacknowledged {
            t.tcp_unacknowledged
        } else if self.last.win == 0 && own > t.tcp_max_retrans {
            t.tcp_max_retrans
        } else {
            own
        };
        if !self.seen_reply {
            if class == C::Rst {
                return true;
            }
            if class == C::Syn && from == S::Ss {
                return false;
            }
            if to == S::Es {
                ms = ms.min(t.tcp_unacknowledged);
            }
        } else if !self.assured && matches!(from, S::Sr | S::Es) && to == S::Es {
            self.assured = true;
        }
        self.left = i64::from(ms);
        false
    }
}

/// What a timer step leaves of `left`.
pub fn applied(left: i64, timer: Timer) -> i64 {
    match timer {
        Timer::Keep => left,
        Timer::Set(ms) => i64::from(ms),
    }
}
