//! The receiving side of one worker: whose packet is it, and is it as it was sent?

use super::counts::{Latencies, PortCounts, StreamCounts};
use super::plan::{FCS, Kind, Space, Stream};
use super::signature::{COMPACT, FULL, Purpose, Secret, Signature, elapsed};
use super::template::{payload_start, replace_mark};
use super::track::{Arrival, Tracks};
use crate::frame::{Checksum, Frame, Meta};
use crate::net::{Family, Icmp, L4, Tuple, proto};
use crate::wire::{Kind as Net, Parsed, Verify, finish_partial, link_addresses, parse, set_link};
use std::sync::Arc;

/// What was received of one stream.
pub(super) struct Receiver {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) space: Space,
    pub(super) replies: bool,
    pub(super) tracks: Tracks,
    pub(super) back: Option<Tracks>,
    pub(super) latency: Latencies,
    pub(super) counts: StreamCounts,
}

impl Receiver {
    /// For a stream; `None` if there is no room for its histogram.
    pub(super) fn new(stream: &Stream) -> Option<Receiver> {
        let replies = matches!(stream.kind, Kind::Udp { replies: true });
        let udp = matches!(stream.kind, Kind::Udp { .. });
        let flows = stream.flows.count as usize;
        Some(Receiver {
            from: stream.from,
            to: stream.to,
            space: stream.space,
            replies,
            tracks: Tracks::new(if udp { flows } else { 0 }),
            back: replies.then(|| Tracks::new(flows)),
            latency: super::counts::latencies()?,
            counts: StreamCounts::default(),
        })
    }
}

/// What became of a received frame.
pub(super) enum Taken {
    /// It was counted.
    Done,
    /// It goes back by the port it came in by, as a reply of that stream.
    Reply(Frame, u16),
    /// It is none of the streams' marked packets.
    Stranger(Frame, Parsed),
}

/// The receivers of all streams.
pub(super) struct Receivers {
    pub(super) streams: Vec<Receiver>,
    pub(super) secret: Secret,
    pub(super) filler: Arc<[u8]>,
}

/// How a frame's checksum is to be looked at.
pub(super) const fn verify(meta: &Meta) -> Verify {
    match meta.checksum {
        Checksum::Unknown => Verify::Check,
        Checksum::Verified | Checksum::Partial { .. } => Verify::Trust,
    }
}

impl Receivers {
    /// Takes a frame that came in by `port` at `now`; so many octets of tags were taken off it.
    #[inline]
    pub(super) fn take(
        &mut self,
        (port, front): (usize, usize),
        frame: Frame,
        now: u64,
        ports: &mut PortCounts,
    ) -> Taken {
        let data = frame.data();
        let parsed = match parse(data, verify(&frame.meta)) {
            Ok(parsed) => parsed,
            Err(_) => {
                self.damaged(port, data, None, ports);
                return Taken::Done;
            }
        };
        let ported = parsed.summary.tuple.has_ports() && parsed.kind != Net::Arp;
        match Signature::read(if ported { parsed.payload(data) } else { &[] }, self.secret) {
            Some(mark) if usize::from(mark.stream) < self.streams.len() => {
                self.marked((port, front), frame, &parsed, mark, now)
            }
            // Whole, but with a mark of nobody: a former trial's, or somebody else's.
            _ if ported && parsed.summary.tuple.proto == proto::UDP => {
                if parsed.summary.defect.is_some() || verify(&frame.meta) == Verify::Trust {
                    self.damaged(port, data, Some(&parsed.summary.tuple), ports);
                } else {
                    ports.foreign += 1;
                }
                Taken::Done
            }
            _ if parsed.kind != Net::Arp && !ported && self.mark_anywhere(data).is_some() => {
                self.damaged(port, data, None, ports);
                Taken::Done
            }
            _ => Taken::Stranger(frame, parsed),
        }
    }

    fn marked(
        &mut self,
        (port, front): (usize, usize),
        mut frame: Frame,
        parsed: &Parsed,
        mark: Signature,
        now: u64,
    ) -> Taken {
        let filler = Arc::clone(&self.filler);
        let secret = self.secret;
        let Some(receiver) = self.streams.get_mut(usize::from(mark.stream)) else { return Taken::Done };
        let counts = &mut receiver.counts;
        match mark.purpose {
            Purpose::Learning => return Taken::Done,
            Purpose::Invalid => {
                counts.invalid_rx += 1;
                return Taken::Done;
            }
            Purpose::Unsolicited => {
                counts.unsolicited_rx += 1;
                return Taken::Done;
            }
            Purpose::Data | Purpose::Reply => {}
        }
        let reply = mark.purpose == Purpose::Reply;
        if parsed.summary.defect.is_some() || !is_whole(frame.data(), parsed, receiver.space, &filler) {
            counts.corrupt += 1;
            return Taken::Done;
        }
        if port != if reply { receiver.from } else { receiver.to } {
            counts.misdirected += 1;
            return Taken::Done;
        }
        let tuple = &parsed.summary.tuple;
        let sent = if reply { tuple.inverse().unwrap_or(*tuple) } else { *tuple };
        let Some(flow) = mark.flow.or_else(|| receiver.space.flow(&sent).and_then(|f| u32::try_from(f).ok())) else {
            counts.altered += 1;
            return Taken::Done;
        };
        let tracks = if reply { receiver.back.as_mut() } else { Some(&mut receiver.tracks) };
        let Some(arrival) = tracks.and_then(|tracks| tracks.note(flow, mark.seq)) else {
            counts.altered += 1;
            return Taken::Done;
        };
        if arrival == Arrival::Duplicate {
            *(if reply { &mut counts.reply_duplicate } else { &mut counts.duplicate }) += 1;
            return Taken::Done;
        }
        let late = u64::from(arrival != Arrival::InOrder);
        if reply {
            counts.reply_rx += 1;
            counts.reply_reordered += late;
        } else {
            counts.rx_packets += 1;
            counts.rx_octets += (front + frame.len() + FCS) as u64;
            counts.reordered += late;
            counts.too_late += u64::from(arrival == Arrival::TooLate);
            counts.altered += u64::from(receiver.space.tuple(u64::from(flow)) != sent);
        }
        // With replies the round trip is what is measured.
        if let Some(time) = mark.time
            && reply == receiver.replies
        {
            receiver.latency.saturating_record(elapsed(now, time).max(1));
        }
        if !reply && receiver.replies && mark.time.is_some() {
            turn_around(&mut frame, parsed, &Signature { purpose: Purpose::Reply, ..mark }, secret);
            return Taken::Reply(frame, mark.stream);
        }
        Taken::Done
    }

    /// A frame with other tags than the port's.
    #[cold]
    pub(super) fn astray(&mut self, frame: &Frame, ports: &mut PortCounts) {
        let data = frame.data();
        let mark =
            parse(data, Verify::Trust).ok().and_then(|parsed| Signature::read(parsed.payload(data), self.secret));
        match mark.and_then(|mark| self.streams.get_mut(usize::from(mark.stream))) {
            Some(receiver) => receiver.counts.misdirected += 1,
            None => ports.foreign += 1,
        }
    }

    /// A frame with damage, or a stranger: a mark or a tuple tells.
    #[cold]
    fn damaged(&mut self, port: usize, data: &[u8], tuple: Option<&Tuple>, ports: &mut PortCounts) {
        let by_tuple = tuple.and_then(|tuple| {
            let back = tuple.inverse();
            self.streams.iter().position(|receiver| {
                let is = |at: usize, tuple: &Tuple| at == port && receiver.space.flow(tuple).is_some();
                is(receiver.to, tuple) || receiver.replies && back.is_some_and(|back| is(receiver.from, &back))
            })
        });
        let by_mark = || self.mark_anywhere(data).map(|mark| usize::from(mark.stream));
        match by_tuple.or_else(by_mark).and_then(|stream| self.streams.get_mut(stream)) {
            Some(receiver) => receiver.counts.corrupt += 1,
            None => ports.foreign += 1,
        }
    }

    /// A mark where one would be in a frame that cannot be parsed.
    #[cold]
    fn mark_anywhere(&self, data: &[u8]) -> Option<Signature> {
        Family::ALL.iter().find_map(|family| {
            let payload = data.get(payload_start(*family, proto::UDP)..)?;
            Signature::read(payload, self.secret).filter(|mark| usize::from(mark.stream) < self.streams.len())
        })
    }
}

/// Whether a stream's packet has the filler it was sent with, and the octets of an IPv6 header no checksum covers.
#[inline]
fn is_whole(data: &[u8], parsed: &Parsed, space: Space, filler: &[u8]) -> bool {
    let payload = parsed.payload(data);
    let mark = if payload.len() >= FULL { FULL } else { COMPACT };
    let sent_at = payload_start(space.family, space.proto) + mark;
    let (Some(got), Some(sent)) = (payload.get(mark..), filler.get(sent_at..)) else { return false };
    let same = sent.get(..got.len()).is_some_and(|sent| sent == got);
    let l3 = usize::from(parsed.l3);
    same && (parsed.kind != Net::Ipv6 || data.get(l3..l3 + 4) == Some(&[0x60, 0, 0, 0]))
}

/// Makes a received packet into its reply: all addresses and ports swapped, the mark replaced.
fn turn_around(frame: &mut Frame, parsed: &Parsed, mark: &Signature, secret: Secret) {
    let meta = frame.meta;
    if let Checksum::Partial { start, offset } = meta.checksum {
        let _ = finish_partial(frame.data_mut(), start, offset);
    }
    frame.meta = Meta::default();
    let data = frame.data_mut();
    let (dst, src) = link_addresses(data);
    set_link(data, src, dst);
    let (l3, l4) = (usize::from(parsed.l3), usize::from(parsed.l4));
    let (first, len) = match parsed.kind {
        Net::Ipv6 => (l3 + 8, 16),
        _ => (l3 + 12, 4),
    };
    if let Some(addresses) = data.get_mut(first..first + 2 * len) {
        addresses.rotate_left(len);
    }
    if let Some(ports) = data.get_mut(l4..l4 + 4) {
        ports.rotate_left(2);
    }
    replace_mark(data, (l4 + 6, parsed.payload as usize), mark, secret);
}

/// Whether a packet is an ICMP or ICMPv6 error.
pub(super) const fn is_icmp_error(parsed: &Parsed) -> bool {
    match (parsed.summary.l4, parsed.summary.tuple.family) {
        (L4::Icmp(Icmp { kind, .. }), Family::V4) => matches!(kind, 3 | 4 | 5 | 11 | 12),
        (L4::Icmp(Icmp { kind, .. }), Family::V6) => kind < 128,
        _ => false,
    }
}
