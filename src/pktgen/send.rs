//! The sending side of one worker: what is due becomes frames, and what the port took is counted.

use super::counts::{PortCounts, StreamCounts};
use super::pace::{Bucket, Share};
use super::pick::Picker;
use super::plan::{FCS, Space};
use super::signature::{Purpose, Secret, Signature};
use super::tags::Tags;
use super::template::{Template, replace_mark};
use crate::driver::{QueuePair, TxStop};
use crate::frame::{Burst, Frame, Pool};
use std::collections::VecDeque;

/// Frames a port is offered at once.
pub(super) const BURST: usize = 32;

/// Frames that may wait for a port: a burst, and what receive calls ask for, which may be several for each frame.
const WAITING: usize = 32 * BURST;

/// What a waiting frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// A stream's packet.
    Stream(u16, Purpose),
    /// An answer to somebody, or a question.
    Other,
}

/// Frames on their way to a port, oldest first, each with what it is.
pub(super) struct Out {
    burst: Burst,
    marks: VecDeque<Tag>,
    lengths: Box<[u32]>,
    /// The oldest frames were offered before.
    stale: bool,
    /// What the port's frames have in front.
    vlan: Tags,
}

impl Out {
    pub(super) fn new(vlan: Tags) -> Out {
        let lengths = vec![0; WAITING].into();
        let marks = VecDeque::with_capacity(WAITING);
        Out { burst: Burst::with_limit(WAITING), marks, lengths, stale: false, vlan }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.burst.is_empty()
    }

    /// The port had no room for what is in here.
    #[inline]
    pub(super) fn is_stale(&self) -> bool {
        self.stale && !self.burst.is_empty()
    }

    #[inline]
    pub(super) fn room(&self) -> usize {
        self.burst.room()
    }

    /// Adds a frame without tags; false, and the frame is gone, if there is no room.
    #[inline]
    pub(super) fn push(&mut self, mut frame: Frame, tag: Tag) -> bool {
        let fits = self.vlan.put_on(&mut frame) && self.burst.push(frame).is_ok();
        if fits {
            self.marks.push_back(tag);
        }
        fits
    }

    /// Offers everything to the port. Calls `taken` and `refused` for each frame with what it was and its octets.
    pub(super) fn flush(
        &mut self,
        queue: &mut dyn QueuePair,
        counts: &mut PortCounts,
        mut note: impl FnMut(Tag, usize, bool),
    ) {
        let Out { burst, marks, lengths, stale, .. } = self;
        // Lengths are looked up before the port takes the frames away.
        while !burst.is_empty() {
            for (length, frame) in lengths.iter_mut().zip(burst.as_slice()) {
                *length = frame.len() as u32;
            }
            let status = queue.transmit(burst);
            counts.tx_packets += status.sent as u64;
            for (tag, length) in marks.drain(..status.sent.min(marks.len())).zip(lengths.iter()) {
                note(tag, *length as usize, true);
            }
            *stale = false;
            match status.stop {
                None => {}
                Some(TxStop::Full) => {
                    counts.full += 1;
                    *stale = true;
                    return;
                }
                Some(stop) => {
                    let gone = if stop.blames_first() { 1 } else { burst.len() };
                    burst.consume(gone);
                    for (tag, length) in marks.drain(..gone.min(marks.len())).zip(lengths.iter().skip(status.sent)) {
                        note(tag, *length as usize, false);
                    }
                }
            }
        }
    }

    /// Gives the streams' packets that wait for room the present time, so that the wait is not taken for the network's.
    pub(super) fn restamp(&mut self, now: u64, secret: Secret, places: impl Fn(u16) -> Option<(usize, usize)>) {
        if !self.stale {
            return;
        }
        let front = self.vlan.len();
        for (frame, tag) in self.burst.as_mut_slice().iter_mut().zip(&self.marks) {
            if let Tag::Stream(stream, Purpose::Data) = *tag
                && let Some((at, payload)) = places(stream)
                && let (at, payload) = (front + at, front + payload)
                && let Some(mark) = frame.data().get(payload..).and_then(|p| Signature::read(p, secret))
                && mark.time.is_some()
            {
                replace_mark(frame.data_mut(), (at, payload), &Signature { time: Some(now), ..mark }, secret);
            }
        }
    }

    /// Forgets what waits.
    pub(super) fn clear(&mut self) {
        self.burst.consume(usize::MAX);
        self.marks.clear();
        self.stale = false;
    }
}

/// One worker's part of a UDP stream.
pub(super) struct Sender {
    /// Number of the stream.
    pub(super) number: u16,
    /// Port it sends by.
    pub(super) from: usize,
    /// Port unsolicited packets are sent by.
    pub(super) to: usize,
    pub(super) space: Space,
    pub(super) templates: Vec<Template>,
    /// The order of sizes.
    pub(super) cycle: Vec<u16>,
    pub(super) at: usize,
    /// A frame from the far side, for what nobody asked for.
    pub(super) back: Option<Template>,
    pub(super) picker: Picker,
    pub(super) bucket: Bucket,
    /// Next number of each of the picker's flows.
    pub(super) seqs: Box<[u32]>,
    /// Packets left, if they are numbered.
    pub(super) left: Option<u64>,
    pub(super) invalid: Share,
    pub(super) unsolicited: Share,
    pub(super) odd: u32,
    pub(super) counts: StreamCounts,
}

impl Sender {
    /// Everything was built that was to be.
    pub(super) fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    /// Places of the transport checksum and of the mark in a frame of this stream.
    pub(super) fn places(&self) -> Option<(usize, usize)> {
        let payload = super::template::payload_start(self.space.family, self.space.proto);
        self.templates.first().map(|template| (template.checksum_at(), payload))
    }

    /// Builds what is due at `now`, at most `most` packets, into the queues of the ports.
    pub(super) fn build(&mut self, now: u64, most: usize, secret: Secret, pool: &Pool, outs: &mut [Out]) -> usize {
        let Some(out) = outs.get_mut(self.from) else { return 0 };
        let most = most.min(out.room());
        let most = self.left.map_or(most, |left| most.min(left as usize));
        let due = self.bucket.take(now, most);
        let mut behind = 0;
        for _ in 0..due {
            let Some(mut frame) = pool.alloc() else { break };
            let Some(template) = self.cycle.get(self.at).and_then(|i| self.templates.get(usize::from(*i))) else {
                break;
            };
            self.at += 1;
            if self.at == self.cycle.len() {
                self.at = 0;
            }
            let index = self.picker.pick();
            let flow = self.picker.flow(index);
            let tuple = self.space.tuple(u64::from(flow));
            let mut mark =
                Signature { purpose: Purpose::Data, stream: self.number, flow: Some(flow), seq: 0, time: Some(now) };
            if self.invalid.hit() {
                mark.purpose = Purpose::Invalid;
                self.odd = self.odd.wrapping_add(1);
                mark.seq = self.odd;
            } else if let Some(seq) = self.seqs.get_mut(index as usize) {
                mark.seq = *seq;
                *seq = seq.wrapping_add(1);
            }
            if !template.write(&mut frame, &tuple, &mark, secret) {
                break;
            }
            if mark.purpose == Purpose::Invalid {
                spoil_checksum(frame.data_mut(), template.checksum_at());
            }
            if let Some(left) = &mut self.left {
                *left -= 1;
            }
            out.push(frame, Tag::Stream(self.number, mark.purpose));
            behind += usize::from(self.unsolicited.hit());
        }
        for _ in 0..behind {
            self.build_unsolicited(now, secret, pool, outs);
        }
        due
    }

    /// A packet from the far side that belongs to no flow: to a flow's source, from a port it never sent to.
    fn build_unsolicited(&mut self, now: u64, secret: Secret, pool: &Pool, outs: &mut [Out]) {
        let (Some(template), Some(out)) = (&self.back, outs.get_mut(self.to)) else { return };
        let index = self.picker.random(self.picker.count());
        let flow = self.picker.flow(index);
        let flow_tuple = self.space.tuple(u64::from(flow));
        let tuple = crate::net::Tuple {
            src: flow_tuple.dst,
            dst: flow_tuple.src,
            src_key: self.space.dport.0.wrapping_sub(1),
            dst_key: flow_tuple.src_key,
            ..flow_tuple
        };
        self.odd = self.odd.wrapping_add(1);
        let mark = Signature {
            purpose: Purpose::Unsolicited,
            stream: self.number,
            flow: Some(flow),
            seq: self.odd,
            time: Some(now),
        };
        if let Some(mut frame) = pool.alloc()
            && template.write(&mut frame, &tuple, &mark, secret)
        {
            out.push(frame, Tag::Stream(self.number, Purpose::Unsolicited));
        }
    }

    /// Notes what a port made of one of the stream's packets, of `octets` in its buffer.
    #[inline]
    pub(super) fn note(&mut self, purpose: Purpose, octets: usize, taken: bool) {
        let counts = &mut self.counts;
        if !taken {
            counts.tx_refused += u64::from(purpose != Purpose::Learning);
            return;
        }
        match purpose {
            Purpose::Data => {
                counts.tx_packets += 1;
                counts.tx_octets += (octets + FCS) as u64;
            }
            Purpose::Reply => counts.reply_tx += 1,
            Purpose::Invalid => counts.invalid_tx += 1,
            Purpose::Unsolicited => counts.unsolicited_tx += 1,
            Purpose::Learning => {}
        }
    }
}

/// Makes a checksum wrong that was right, and not 0, which to UDP over IPv4 would mean that there is none.
fn spoil_checksum(data: &mut [u8], at: usize) {
    if let Some([high, low]) = data.get_mut(at..at + 2) {
        *low ^= 0x55;
        if *high == 0 && *low == 0 {
            *low = 0xaa;
        }
    }
}
