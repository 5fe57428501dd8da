//! Where a shard's work goes: frames to send per port, and calls to the control plane.

use crate::frame::{Burst, Frame, Origin};
use crate::net::{DropReason, Family, PortId};
use crate::route::NeighbourKey;
use crate::wire::glance;
use smallvec::SmallVec;

/// Frames a port's queue holds between two transmit calls.
pub const TX_QUEUE: usize = 1024;

/// What a shard asks of the control plane. Off the path of known flows.
pub trait Upcall {
    /// Takes a copy of a frame that the control plane answers (ARP, neighbour discovery). `false`: its queue is
    /// full.
    fn punt(&mut self, port: PortId, frame: &[u8]) -> bool;

    /// Asks for the link address of a next hop. A lost request is repeated by the next packet that waits.
    fn resolve(&mut self, key: NeighbourKey);
}

/// Frames of one kind, and their octets from the Ethernet header on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    /// Where they came in and of which family they are, if their fate is to be counted.
    pub(super) kind: Option<(PortId, Family)>,
    pub(super) packets: u64,
    pub(super) octets: u64,
}

impl Sum {
    fn of(frame: &Frame) -> Sum {
        let kind = match frame.meta.origin {
            // Where nobody noted the family, the packet tells it.
            Origin::Received => frame.meta.family.or_else(|| glance::family(frame.data())),
            Origin::Originated => None,
        };
        let kind = kind.map(|family| (frame.meta.ingress, family));
        Sum { kind, packets: 1, octets: frame.len() as u64 }
    }

    const fn negated(self) -> Sum {
        Sum { packets: self.packets.wrapping_neg(), octets: self.octets.wrapping_neg(), ..self }
    }
}

/// What became of frames that were to be sent.
pub(super) enum Told {
    /// A port took as many.
    Sent(PortId, Sum),
    /// None did, for that reason.
    Lost(Frame, DropReason),
}

/// Sums by kind.
type Sums = SmallVec<[Sum; 4]>;

fn add(sums: &mut Sums, more: Sum) {
    match sums.iter_mut().find(|sum| sum.kind == more.kind) {
        Some(sum) => {
            sum.packets = sum.packets.wrapping_add(more.packets);
            sum.octets = sum.octets.wrapping_add(more.octets);
        }
        None => sums.push(more),
    }
}

/// Takes frames that are still there off what was to be sent, and gives their sums.
#[cold]
#[inline(never)]
fn subtract(left: &Burst, sums: &mut Sums) -> Sums {
    let mut kept = Sums::new();
    left.as_slice().iter().for_each(|frame| add(&mut kept, Sum::of(frame)));
    kept.iter().for_each(|sum| add(sums, sum.negated()));
    kept
}

/// Frames to send, by egress port.
#[derive(Debug, Default)]
pub struct Outbox {
    queues: Vec<Burst>,
    /// What those of each queue add up to, so that they need not be looked at again to be counted.
    sums: Vec<Sums>,
}

impl Outbox {
    /// One empty queue for each of `ports` ports.
    #[must_use]
    pub fn new(ports: usize) -> Outbox {
        let queues = (0..ports).map(|_| Burst::with_limit(TX_QUEUE)).collect();
        Outbox { queues, sums: vec![Sums::new(); ports] }
    }

    /// Adds a frame to a port's queue.
    ///
    /// # Errors
    /// Gives the frame back when the queue is full or there is no such port.
    #[inline]
    pub fn push(&mut self, port: PortId, frame: Frame) -> Result<(), Frame> {
        let sum = Sum::of(&frame);
        self.push_uncounted(port, frame)?;
        self.add(port, sum);
        Ok(())
    }

    /// [`Outbox::push`] for one of several frames, of whose sum [`Outbox::add`] is told before the queues are looked at.
    #[inline(always)]
    pub(super) fn push_uncounted(&mut self, port: PortId, frame: Frame) -> Result<(), Frame> {
        match self.queues.get_mut(port.index()) {
            Some(queue) => queue.push(frame),
            None => Err(frame),
        }
    }

    /// Lends the queues, to be filled with several frames, uncounted too. Until they are given back there are none here.
    #[inline(always)]
    pub(super) fn lend(&mut self) -> Vec<Burst> {
        std::mem::take(&mut self.queues)
    }

    /// Takes them back.
    #[inline(always)]
    pub(super) fn take_back(&mut self, queues: Vec<Burst>) {
        // What lies there meanwhile is nothing, and need not be dropped.
        std::mem::forget(std::mem::replace(&mut self.queues, queues));
    }

    /// Takes a frame back that [`Outbox::push_uncounted`] had no room for.
    pub(super) fn uncount(&mut self, port: PortId, frame: &Frame) {
        self.add(port, Sum::of(frame).negated());
    }

    /// The sum of frames that were pushed uncounted.
    pub(super) fn add(&mut self, port: PortId, sum: Sum) {
        if let Some(sums) = self.sums.get_mut(port.index()) {
            add(sums, sum);
        }
    }

    /// Lets `send` take frames from the front of each queue that is not empty, as a port does, or name a reason for
    /// which all it leaves is lost. Tells what became of them.
    pub(super) fn send(
        &mut self,
        mut send: impl FnMut(PortId, &mut Burst) -> Option<DropReason>,
        mut tell: impl FnMut(Told),
    ) {
        for (port, (queue, sums)) in (0..).map(PortId).zip(self.queues.iter_mut().zip(&mut self.sums)) {
            if queue.is_empty() {
                continue;
            }
            let gone = send(port, queue);
            // Frames are gone once they are sent, so what is left is subtracted, which is rare.
            let left = if queue.is_empty() { None } else { Some(subtract(queue, sums)) };
            for sum in sums.iter().filter(|sum| sum.packets != 0) {
                tell(Told::Sent(port, *sum));
            }
            sums.clear();
            if let Some(left) = left {
                match gone {
                    Some(reason) => queue.drain().for_each(|frame| tell(Told::Lost(frame, reason))),
                    None => *sums = left,
                }
            }
        }
    }

    /// Takes the first frame out of a port's queue.
    pub fn take_first(&mut self, port: PortId) -> Option<Frame> {
        let queue = self.queues.get_mut(port.index())?;
        let first = queue.take(1).next()?;
        self.uncount(port, &first);
        Some(first)
    }

    /// Frames in all queues.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queues.iter().map(Burst::len).sum()
    }

    /// No frame in any queue.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(Burst::is_empty)
    }
}
