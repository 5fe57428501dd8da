//! TCP connections: clients behind one port, servers behind the other, each driven by nothing but what it receives.
//!
//! Owns the connections of one worker's part of a stream. A client opens a connection (three-way handshake with MSS
//! and window scale), sends requests, reads answers, and closes; a server answers what comes. Lost segments are sent
//! again after a timeout (RFC 6298 in its simplest form: a fixed timeout, doubled each time). Data is checked octet by octet.
//! Holds always: a connection has a fresh tuple; both ends of a tuple live on the worker that its owner function names;
//! nothing is allocated after the start. Must not know: clocks, ports, pools; it writes segments where it is told to.
//!
//! Left out: congestion control, selective acknowledgment, out-of-order reassembly (a segment that is not the next one
//! is answered with a repeated ACK, and sent again).

use super::plan::{Close, Space, Tcp, network_end};
use crate::net::{MacAddr, Segment, TcpFlags, Tuple};
use segment::{Cut, Header};
use serde::Serialize;

mod segment;

pub(super) use segment::{Bytes, Emit, Spoilt};

/// First timeout of a segment without answer, in nanoseconds, and how often it is sent again.
const TIMEOUT: u64 = 200_000_000;
const RETRIES: u8 = 6;

/// For a RST to arrive, also where a busy machine lets the worker wait.
const RESET: u64 = 1_000_000_000;

/// When to try again what found no room.
const SOON: u64 = 1_000_000;

/// Octets that may be under way in one direction.
const WINDOW: u32 = 64 * 1024 - 1;

/// Octets of a header without options.
const HEADER: usize = 20;

macro_rules! counts {
    ($($(#[$doc:meta])* $field:ident,)+) => {
        /// Connections of a stream.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct TcpCounts { $($(#[$doc])* pub $field: u64,)+ }

        impl TcpCounts {
            /// Adds another worker's counts.
            pub fn add(&mut self, other: &TcpCounts) {
                $(self.$field += other.$field;)+
            }

            /// Every count with its name.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((concat!("tcp_", stringify!($field)), self.$field),)+]
            }
        }
    };
}

counts! {
    /// Connections whose SYN was sent.
    opened,
    /// Connections whose handshake was done, at the client.
    established,
    /// Connections that did everything and were closed as planned, at both ends.
    completed,
    /// Connections given up because an answer did not come.
    timed_out,
    /// Connections ended by a RST that was not planned.
    reset,
    /// Connections that were under way when the trial ended.
    unfinished,
    /// Handshakes done at the server.
    accepted,
    /// Segments sent again.
    retransmitted,
    /// Octets of requests and answers received in order.
    octets,
    /// Segments whose data was not what was sent.
    corrupt,
    /// Most connections open at the same time, of all workers together.
    concurrent,
}

/// Where an end stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    SynSent,
    SynReceived,
    Established,
    /// FIN sent, not acknowledged or the other's not seen.
    Closing,
}

/// One end of a connection. Sequence numbers count from the initial one.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    state: State,
    /// Initial sequence number.
    iss: u32,
    /// The other's.
    irs: u32,
    /// Next octet to send, first not acknowledged, and one past the last of what may be sent now.
    next: u32,
    unacked: u32,
    limit: u32,
    /// Octets received in order, SYN and FIN counted.
    received: u32,
    /// One past what was ever sent.
    high: u32,
    /// Place of its FIN; 0 for none yet.
    fin_at: u32,
    fin_seen: bool,
    /// When the oldest segment is sent again, and how often that was done.
    again_at: u64,
    retries: u8,
    /// When the connection began.
    born: u64,
}

/// Both ends of a tuple.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Number of the tuple in its space, plus 1; 0 for free.
    tuple: u64,
    client: End,
    server: End,
    /// Everything that was planned was received by the client.
    done: bool,
}

/// Which end a segment comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// Octets two ends exchange: a request and an answer, so many times.
fn planned(tcp: &Tcp) -> (u32, u32) {
    (tcp.request.saturating_mul(tcp.requests), tcp.response.saturating_mul(tcp.requests))
}

/// The connections of one worker.
pub(super) struct Engine {
    tcp: Tcp,
    space: Space,
    slots: Box<[Slot]>,
    /// Tuple that is tried next.
    next_tuple: u64,
    /// Only tuples this is true for are this worker's.
    mine: Box<dyn Fn(&Tuple) -> bool + Send>,
    /// Links of the client's and of the server's frames.
    links: [(MacAddr, MacAddr); 2],
    /// Octets of data in a segment at most.
    mss: u32,
    content: Box<[u8]>,
    open: u32,
    most: u32,
    /// Slot at which the search for timeouts goes on.
    sweep: usize,
    seed: u32,
    spoil: super::pace::Share,
    unsolicited: super::pace::Share,
    kind: u32,
    ended: bool,
    pub(super) counts: TcpCounts,
    /// Times from SYN to SYN-ACK, and from SYN to the end.
    pub(super) handshakes: super::counts::Latencies,
    pub(super) lifetimes: super::counts::Latencies,
}

/// How far outside of the window a spoilt segment is.
const FAR: u32 = 0x4000_0000;

/// What stands at each place of a direction's data.
const PERIOD: usize = 65_521;

/// What an engine is made from.
pub(super) struct Setup {
    pub(super) tcp: Tcp,
    pub(super) space: Space,
    pub(super) mine: Box<dyn Fn(&Tuple) -> bool + Send>,
    pub(super) links: [(MacAddr, MacAddr); 2],
    /// Largest frame, frame check sequence included.
    pub(super) frame: usize,
    pub(super) invalid: f64,
    pub(super) unsolicited: f64,
    pub(super) share: f64,
    pub(super) seed: u64,
}

impl Engine {
    /// Nothing open. `None` if a frame has no room for data, or memory for the histograms is short.
    pub(super) fn new(setup: Setup) -> Option<Engine> {
        let mss = setup.frame.checked_sub(network_end(setup.space.family) + HEADER + super::plan::FCS)?;
        let most = ((f64::from(setup.tcp.concurrent) * setup.share).round() as u32).max(1);
        // Twice as many places as connections, so that a fresh tuple nearly always finds its place free.
        let slots = (most as usize).saturating_mul(2).next_power_of_two();
        Some(Engine {
            tcp: setup.tcp,
            space: setup.space,
            slots: vec![Slot::default(); slots].into(),
            next_tuple: 0,
            mine: setup.mine,
            links: setup.links,
            mss: u32::try_from(mss).ok().filter(|mss| *mss > 0)?,
            content: super::template::filler(PERIOD + 65_536),
            open: 0,
            most,
            sweep: 0,
            seed: setup.seed as u32 | 1,
            spoil: super::pace::Share::new(setup.invalid),
            unsolicited: super::pace::Share::new(setup.unsolicited),
            kind: 0,
            ended: false,
            counts: TcpCounts::default(),
            handshakes: super::counts::latencies()?,
            lifetimes: super::counts::latencies()?,
        })
    }

    /// Connections that may be opened now.
    pub(super) const fn room(&self) -> u32 {
        self.most.saturating_sub(self.open)
    }

    /// Spoilt segments are sent.
    pub(super) const fn spoils(&self) -> bool {
        self.spoil.is_some()
    }

    /// Nothing is open.
    pub(super) const fn is_idle(&self) -> bool {
        self.open == 0
    }

    fn place(&self, tuple: u64) -> usize {
        (tuple as usize) & (self.slots.len() - 1)
    }

    /// Opens a connection; false if no tuple is free now.
    pub(super) fn open(&mut self, now: u64, emit: &mut Emit<'_>) -> bool {
        // A tuple of another worker or with a busy place is passed over; that many in a row are not.
        for _ in 0..64 * 64 {
            let tuple = self.next_tuple;
            self.next_tuple = (tuple + 1) % self.space.size();
            let place = self.place(tuple);
            if self.slots.get(place).is_none_or(|slot| slot.tuple != 0) || !(self.mine)(&self.space.tuple(tuple)) {
                continue;
            }
            self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let client = End {
                state: State::SynSent,
                iss: self.seed,
                next: 1,
                high: 1,
                again_at: now + TIMEOUT,
                born: now,
                ..End::default()
            };
            if let Some(slot) = self.slots.get_mut(place) {
                *slot = Slot { tuple: tuple + 1, client, ..Slot::default() };
            }
            self.open += 1;
            self.counts.opened += 1;
            self.counts.concurrent = self.counts.concurrent.max(u64::from(self.open));
            self.send(place, Side::Client, Cut::SYN, emit);
            if self.unsolicited.hit() {
                let header = Header { seq: self.seed, ack: 0, flags: TcpFlags::SYN };
                self.write((tuple, Side::Server), header, (0, 0), Some(Spoilt::Tuple), emit);
            }
            return true;
        }
        false
    }

    /// The port of the far side that no connection has.
    pub(super) const fn stranger(&self) -> u16 {
        self.space.dport.0.wrapping_sub(1)
    }

    /// Whether a segment is one of those that were sent outside of every window on purpose.
    pub(super) fn is_far(&self, (from, number): (Side, u64), segment: &Segment) -> bool {
        let Some(slot) = self.slots.get(self.place(number)).filter(|slot| slot.tuple == number + 1) else {
            return false;
        };
        let sender = slot.get(from);
        let offset = segment.seq.wrapping_sub(sender.iss);
        offset.wrapping_sub(FAR) <= sender.high
    }

    /// Takes a segment of one of the space's tuples, received whole. `number` is the client's tuple's.
    pub(super) fn take(
        &mut self,
        (from, number): (Side, u64),
        segment: &Segment,
        data: &[u8],
        now: u64,
        emit: &mut Emit<'_>,
    ) {
        let place = self.place(number);
        let Some(slot) = self.slots.get_mut(place).filter(|slot| slot.tuple == number + 1) else { return };
        let to = if from == Side::Client { Side::Server } else { Side::Client };
        let end = slot.end(to);
        let flags = segment.flags;
        if flags.has(TcpFlags::RST) {
            // Only at the place where it is expected (RFC 5961 section 3.2).
            let expected = end.irs.wrapping_add(end.received);
            let refused = end.state == State::SynSent && segment.ack == end.iss.wrapping_add(1);
            if end.state != State::Closed && (segment.seq == expected || refused) {
                let planned = to == Side::Server && self.tcp.close == Close::Rst && slot.server.is_open();
                self.finish(place, planned, now, true);
            }
            return;
        }
        if end.state != State::Established && end.state != State::Closing && self.greet((place, to), segment, now, emit)
        {
            return;
        }
        if !flags.has(TcpFlags::ACK) {
            return;
        }
        self.note_ack((place, to), segment.ack, now);
        if let Some(answer) = self.read((place, to), segment, data) {
            self.proceed(place, to, now, answer, emit);
        }
    }

    /// Takes a segment that may be the handshake's; true if there is no more to it.
    fn greet(&mut self, (place, to): (usize, Side), segment: &Segment, now: u64, emit: &mut Emit<'_>) -> bool {
        let flags = segment.flags;
        let Some(end) = self.slots.get_mut(place).map(|slot| slot.end(to)) else { return true };
        match end.state {
            State::Closed if to == Side::Server && flags.0 & (TcpFlags::SYN | TcpFlags::ACK) == TcpFlags::SYN => {
                self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                *end = End {
                    state: State::SynReceived,
                    iss: self.seed,
                    irs: segment.seq,
                    next: 1,
                    high: 1,
                    received: 1,
                    again_at: now + TIMEOUT,
                    born: now,
                    ..End::default()
                };
                self.send(place, to, Cut::SYN, emit);
            }
            State::Closed => {}
            State::SynSent => {
                let good = flags.has(TcpFlags::SYN) && flags.has(TcpFlags::ACK);
                if !good || segment.ack != end.iss.wrapping_add(1) {
                    return true;
                }
                end.irs = segment.seq;
                end.received = 1;
                end.unacked = 1;
                end.retries = 0;
                end.state = State::Established;
                end.again_at = u64::MAX;
                let took = now.saturating_sub(end.born).max(1);
                self.counts.established += 1;
                self.handshakes.saturating_record(took);
                self.proceed(place, to, now, true, emit);
            }
            State::SynReceived if flags.has(TcpFlags::SYN) => {
                self.send(place, to, Cut::SYN, emit);
            }
            _ => return false,
        }
        true
    }

    /// Notes what is acknowledged.
    fn note_ack(&mut self, (place, to): (usize, Side), ack: u32, now: u64) {
        let Some(end) = self.slots.get_mut(place).map(|slot| slot.end(to)) else { return };
        let acked = ack.wrapping_sub(end.iss);
        let progress = acked.wrapping_sub(end.unacked);
        if progress > 0 && progress <= end.high.wrapping_sub(end.unacked) {
            end.unacked = acked;
            end.next = end.next.max(acked);
            end.retries = 0;
            end.again_at = if end.unacked == end.high { u64::MAX } else { now + TIMEOUT };
            if end.state == State::SynReceived {
                end.state = State::Established;
                self.counts.accepted += 1;
            }
        }
    }

    /// Takes the next octets of the other end, or none. `None`: they are not what was sent; else whether an answer is due.
    fn read(&mut self, (place, to): (usize, Side), segment: &Segment, data: &[u8]) -> Option<bool> {
        let end = self.slots.get_mut(place)?.end(to);
        let flags = segment.flags;
        let offset = segment.seq.wrapping_sub(end.irs);
        let occupied = segment.payload > 0 || flags.has(TcpFlags::FIN) || flags.has(TcpFlags::SYN);
        if offset == end.received && !end.fin_seen {
            if segment.payload > 0 {
                let start = (offset as usize).wrapping_sub(1) % PERIOD;
                let same = self.content.get(start..start + data.len()).is_some_and(|sent| sent == data);
                if !same {
                    self.counts.corrupt += 1;
                    return None;
                }
                end.received = end.received.wrapping_add(segment.payload);
                self.counts.octets += u64::from(segment.payload);
            }
            if flags.has(TcpFlags::FIN) {
                end.received = end.received.wrapping_add(1);
                end.fin_seen = true;
            }
        }
        // Of what is out of order or was seen before it is said, too, what is expected.
        Some(occupied)
    }

    /// Sends what an end may send now, and closes what is done. `answer` asks for an ACK if there is nothing else.
    fn proceed(&mut self, place: usize, side: Side, now: u64, answer: bool, emit: &mut Emit<'_>) {
        let (requests, responses) = planned(&self.tcp);
        let tcp = self.tcp;
        let Some(slot) = self.slots.get_mut(place) else { return };
        let end = slot.end(side);
        if matches!(end.state, State::Closed | State::SynSent | State::SynReceived) {
            return;
        }
        // Each end sends by what it received: a client one request after each whole answer, a server one answer after
        // each whole request.
        let read = end.received.wrapping_sub(1).wrapping_sub(u32::from(end.fin_seen));
        let (whole, mine) = match side {
            Side::Client => (read.checked_div(tcp.response).unwrap_or(tcp.requests), requests),
            Side::Server => (read.checked_div(tcp.request).unwrap_or(tcp.requests), responses),
        };
        end.limit = 1 + match side {
            Side::Client => (whole + 1).saturating_mul(tcp.request).min(mine),
            Side::Server => whole.saturating_mul(tcp.response).min(mine),
        };
        let mut sent = false;
        while let Some(end) = self.slots.get_mut(place).map(|slot| slot.end(side)) {
            let window = WINDOW.saturating_sub(end.next.wrapping_sub(end.unacked));
            let len = end.limit.saturating_sub(end.next).min(self.mss).min(window);
            if len == 0 {
                break;
            }
            let offset = end.next;
            let room = self.send(place, side, Cut { offset, len, syn: false, fin: false }, emit);
            if !self.sent(place, side, if room { offset + len } else { offset }, now) {
                break;
            }
            sent = true;
        }
        let Some(slot) = self.slots.get_mut(place) else { return };
        if side == Side::Client && read >= responses && slot.client.high > requests {
            slot.done = true;
        }
        let done = slot.done;
        let end = slot.end(side);
        // The client closes first, when everything was answered; the server when it has seen that.
        let close = match side {
            Side::Client => done && end.unacked == end.high,
            Side::Server => end.fin_seen && end.next > responses,
        };
        if close && end.fin_at == 0 {
            if side == Side::Client && tcp.close == Close::Rst {
                if end.state == State::Established {
                    // The server's end is done when the RST arrives; until then, or for a while, the place is taken.
                    end.state = State::Closing;
                    end.again_at = now + RESET;
                    end.retries = RETRIES;
                    self.reset(place, side, emit);
                }
                return;
            }
            end.fin_at = end.next;
            end.state = State::Closing;
        }
        let (fin_at, next) = (end.fin_at, end.next);
        if fin_at != 0 && next == fin_at {
            let room = self.send(place, side, Cut { offset: fin_at, len: 0, syn: false, fin: true }, emit);
            sent |= self.sent(place, side, if room { fin_at + 1 } else { fin_at }, now);
        }
        if answer && !sent {
            let Some(end) = self.slots.get(place).map(|slot| *slot.get(side)) else { return };
            self.send(place, side, Cut { offset: end.next, len: 0, syn: false, fin: false }, emit);
        }
        let over = self.slots.get(place).is_some_and(|slot| {
            let all = |end: &End| end.fin_at != 0 && end.fin_seen && end.unacked == end.fin_at + 1;
            all(&slot.client) && all(&slot.server)
        });
        if over {
            self.finish(place, true, now, false);
        }
    }

    /// Notes how far an end has sent. False if it got nowhere, for want of room; then it is tried again soon.
    fn sent(&mut self, place: usize, side: Side, next: u32, now: u64) -> bool {
        let Some(end) = self.slots.get_mut(place).map(|slot| slot.end(side)) else { return false };
        let went = next != end.next;
        end.next = next;
        end.high = end.high.max(next);
        if end.again_at == u64::MAX {
            end.again_at = now + if went { TIMEOUT } else { SOON };
        }
        went
    }

    /// A connection is over.
    fn finish(&mut self, place: usize, planned: bool, now: u64, reset: bool) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        if slot.tuple == 0 {
            return;
        }
        let took = now.saturating_sub(slot.client.born).max(1);
        *slot = Slot::default();
        self.open -= 1;
        if planned {
            self.counts.completed += 1;
            self.lifetimes.saturating_record(took);
        } else if reset {
            self.counts.reset += 1;
        } else {
            self.counts.timed_out += 1;
        }
    }

    /// Looks at some of the connections for answers that did not come.
    pub(super) fn tick(&mut self, now: u64, emit: &mut Emit<'_>) {
        let part = (self.slots.len() / 64).clamp(1, 1024);
        for _ in 0..part {
            let place = self.sweep;
            self.sweep = (place + 1) & (self.slots.len() - 1);
            let Some(slot) = self.slots.get(place).filter(|slot| slot.tuple != 0) else { continue };
            for side in [Side::Client, Side::Server] {
                let end = *slot.get(side);
                if end.state == State::Closed || now < end.again_at {
                    continue;
                }
                if end.retries >= RETRIES {
                    self.finish(place, false, now, false);
                    break;
                }
                self.counts.retransmitted += 1;
                if let Some(slot) = self.slots.get_mut(place) {
                    let end = slot.end(side);
                    end.retries += 1;
                    end.again_at = now + (TIMEOUT << end.retries);
                }
                match end.state {
                    State::SynSent | State::SynReceived => {
                        self.send(place, side, Cut::SYN, emit);
                    }
                    // All from the oldest octet on that was not acknowledged.
                    _ => {
                        if let Some(slot) = self.slots.get_mut(place) {
                            let end = slot.end(side);
                            end.next = end.unacked;
                        }
                        self.proceed(place, side, now, false, emit);
                    }
                }
                break;
            }
        }
    }

    /// The trial is over: whatever is open is given up, with a RST so that what is in between forgets it too.
    pub(super) fn abandon(&mut self, emit: &mut Emit<'_>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        for place in 0..self.slots.len() {
            if self.slots.get(place).is_some_and(|slot| slot.tuple != 0) {
                self.reset(place, Side::Client, emit);
                self.counts.unfinished += 1;
                if let Some(slot) = self.slots.get_mut(place) {
                    *slot = Slot::default();
                }
            }
        }
        self.open = 0;
    }
}

impl Slot {
    fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    fn get(&self, side: Side) -> &End {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }
}

impl End {
    /// Open, and not closing yet.
    fn is_open(&self) -> bool {
        self.state == State::Established
    }
}
