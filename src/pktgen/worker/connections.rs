//! The TCP streams of a worker: whose connection a segment belongs to, and where the answers go.

use super::{Trial, Worker};
use crate::frame::{Frame, Pool};
use crate::net::{Addr, L4, Tuple};
use crate::pktgen::counts::StreamCounts;
use crate::pktgen::pace::Bucket;
use crate::pktgen::plan::{FCS, Kind, Space, Stream, Tcp};
use crate::pktgen::send::{BURST, Out, Tag};
use crate::pktgen::signature::{Purpose, Secret};
use crate::pktgen::tcp::{Bytes, Engine, Setup, Side, Spoilt};
use crate::wire::Parsed;

/// One worker's part of a TCP stream.
pub(super) struct Connections {
    pub(super) number: u16,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) space: Space,
    pub(super) bucket: Bucket,
    pub(super) left: Option<u64>,
    pub(super) engine: Engine,
    pub(super) counts: StreamCounts,
}

impl Connections {
    pub(super) fn is_done(&self) -> bool {
        self.left == Some(0) && self.engine.is_idle()
    }

    pub(super) fn note(&mut self, purpose: Purpose, octets: usize, taken: bool) {
        let counts = &mut self.counts;
        match (taken, purpose) {
            (false, _) => counts.tx_refused += 1,
            (true, Purpose::Invalid) => counts.invalid_tx += 1,
            (true, Purpose::Unsolicited) => counts.unsolicited_tx += 1,
            (true, _) => {
                counts.tx_packets += 1;
                counts.tx_octets += (octets + FCS) as u64;
            }
        }
    }
}

impl Worker {
    /// This worker's part of the TCP streams.
    pub(super) fn connections(&self, trial: &Trial, now: u64) -> Result<Vec<Connections>, String> {
        let mut all = Vec::new();
        for (number, stream) in trial.streams.iter().enumerate() {
            if let Kind::Tcp(tcp) = stream.kind {
                all.push(self.connections_of((number, stream), tcp, trial, now)?);
            }
        }
        Ok(all)
    }

    fn connections_of(
        &self,
        (number, stream): (usize, &Stream),
        tcp: Tcp,
        trial: &Trial,
        now: u64,
    ) -> Result<Connections, String> {
        let ports = &self.ports;
        let link = |port: usize, remote: Addr| {
            let hop = ports.next_hop(port, stream.family, remote);
            let own = ports.macs.get(port).copied().unwrap_or_default();
            hop.map(|hop| (hop, own)).ok_or_else(|| format!("stream {}: no next hop", stream.name))
        };
        let (index, workers, owner) = (self.index, self.workers, ports.owner);
        let share = 1.0 / workers as f64;
        let part = |n: u64, workers_before: usize| n * workers_before as u64 / workers as u64;
        let engine = Engine::new(Setup {
            tcp,
            space: stream.space,
            mine: Box::new(move |tuple| workers == 1 || owner(tuple, workers) == index),
            links: [link(stream.from, stream.space.dst.0)?, link(stream.to, stream.space.src.0)?],
            frame: usize::from(stream.sizes.iter().copied().max().unwrap_or(1518)),
            invalid: stream.invalid,
            unsolicited: stream.unsolicited,
            share,
            seed: trial.seed ^ (number as u64) << 16 ^ (index as u64) << 8,
        });
        Ok(Connections {
            number: number as u16,
            from: stream.from,
            to: stream.to,
            space: stream.space,
            bucket: Bucket::new(stream.rate.pps(1.0, None).map(|cps| cps * share), now),
            left: trial.limit.packets.map(|n| part(n, index + 1) - part(n, index)),
            engine: engine.ok_or("a frame size has no room for TCP data")?,
            counts: StreamCounts::default(),
        })
    }

    /// A TCP segment, and the octets of tags it came with: for a connection of which stream? False if it is none's.
    pub(super) fn segment(
        &mut self,
        (port, front): (usize, usize),
        frame: &Frame,
        parsed: &Parsed,
        tcp: &mut [Connections],
        now: u64,
    ) -> bool {
        let L4::Tcp(segment) = parsed.summary.l4 else { return false };
        let (outs, pool) = (&mut self.outs, &self.segments);
        let tuple = parsed.summary.tuple;
        let back = tuple.inverse().unwrap_or(tuple);
        for one in tcp {
            let from = match (one.space.flow(&tuple), one.space.flow(&back)) {
                (Some(number), _) => (Side::Client, number, one.to),
                (None, Some(number)) => (Side::Server, number, one.from),
                // From the far side and of no connection.
                (None, None) if tuple.src_key == one.engine.stranger() && port == one.from => {
                    let known = Tuple { dst_key: one.space.dport.0, ..back };
                    if one.space.flow(&known).is_none() {
                        continue;
                    }
                    one.counts.unsolicited_rx += 1;
                    return true;
                }
                (None, None) => continue,
            };
            let (side, number, expected) = from;
            let counts = &mut one.counts;
            if port != expected {
                counts.misdirected += 1;
            } else if parsed.summary.defect.is_some() || one.engine.is_far((side, number), &segment) {
                // Nobody can tell damage from what was spoilt on purpose, where that is asked for.
                *(if one.engine.spoils() { &mut counts.invalid_rx } else { &mut counts.corrupt }) += 1;
            } else {
                // A super-frame is several.
                let pieces =
                    frame.meta.gso.map_or(1, |gso| u64::from(segment.payload).div_ceil(u64::from(gso.size.max(1))));
                counts.rx_packets += pieces.max(1);
                counts.rx_octets += (front + frame.len() + FCS) as u64;
                let data = parsed.payload(frame.data());
                let ports = (one.number, one.from, one.to);
                one.engine.take((side, number), &segment, data, now, &mut emitter(outs, pool, ports));
            }
            return true;
        }
        false
    }

    /// Opens connections that are due, and looks after those that wait.
    pub(super) fn keep_connections(&mut self, tcp: &mut [Connections], now: u64, open: bool) -> usize {
        let (outs, pool) = (&mut self.outs, &self.segments);
        let mut opened = 0;
        for one in tcp {
            let ports = (one.number, one.from, one.to);
            let room = outs.get(one.from).map_or(0, |out| out.room().min(BURST));
            if open && outs.get(one.from).is_some_and(|out| !out.is_stale()) {
                let most = room.min(one.engine.room() as usize);
                let most = one.left.map_or(most, |left| most.min(left as usize));
                for _ in 0..one.bucket.take(now, most) {
                    if !one.engine.open(now, &mut emitter(outs, pool, ports)) {
                        break;
                    }
                    opened += 1;
                    if let Some(left) = &mut one.left {
                        *left -= 1;
                    }
                }
            }
            one.engine.tick(now, &mut emitter(outs, pool, ports));
        }
        opened
    }

    /// The end: connections that are still open are given up.
    pub(super) fn abandon(&mut self, tcp: &mut [Connections], secret: Secret) {
        for index in 0..tcp.len() {
            let Some(one) = tcp.get_mut(index) else { continue };
            let ports = (one.number, one.from, one.to);
            one.engine.abandon(&mut emitter(&mut self.outs, &self.segments, ports));
            // These are not followed any more, and so not counted as sent.
            let before = one.counts;
            self.flush((&mut [], tcp), secret, 0);
            if let Some(one) = tcp.get_mut(index) {
                one.counts = before;
            }
        }
    }
}

/// Writes segments into the queue of the port their side is behind.
fn emitter<'a>(
    outs: &'a mut [Out],
    pool: &'a Pool,
    (number, from, to): (u16, usize, usize),
) -> impl FnMut((Side, Option<Spoilt>), usize, &mut Bytes<'_>) -> bool + 'a {
    move |(side, spoilt), len, write| {
        let Some(out) = outs.get_mut(if side == Side::Client { from } else { to }) else { return false };
        if out.room() == 0 {
            return false;
        }
        let Some(mut frame) = pool.alloc() else { return false };
        frame.set_len(len);
        if frame.len() != len {
            return false;
        }
        write(frame.data_mut());
        // The shortest frame a line carries (IEEE 802.3), padding not counted by IP.
        if len < SHORTEST {
            frame.set_len(SHORTEST);
            if let Some(padding) = frame.data_mut().get_mut(len..) {
                padding.fill(0);
            }
        }
        let purpose = match spoilt {
            None => Purpose::Data,
            Some(Spoilt::Tuple) => Purpose::Unsolicited,
            Some(_) => Purpose::Invalid,
        };
        out.push(frame, Tag::Stream(number, purpose))
    }
}

/// Octets of the shortest frame, without frame check sequence.
const SHORTEST: usize = 60;
