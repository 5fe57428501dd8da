//! Where a shard's work goes: frames to send per port, and calls to the control plane.

use crate::frame::{Burst, Frame};
use crate::net::PortId;
use crate::route::NeighbourKey;

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

/// Frames to send, by egress port.
#[derive(Debug)]
pub struct Outbox {
    queues: Vec<Burst>,
}

impl Outbox {
    /// One empty queue for each of `ports` ports.
    #[must_use]
    pub fn new(ports: usize) -> Outbox {
        Outbox { queues: (0..ports).map(|_| Burst::with_limit(TX_QUEUE)).collect() }
    }

    /// Adds a frame to a port's queue.
    ///
    /// # Errors
    /// Gives the frame back when the queue is full or there is no such port.
    #[inline]
    pub fn push(&mut self, port: PortId, frame: Frame) -> Result<(), Frame> {
        match self.queues.get_mut(port.index()) {
            Some(queue) => queue.push(frame),
            None => Err(frame),
        }
    }

    /// The queues, by port, to be emptied by whoever sends.
    pub fn queues_mut(&mut self) -> impl Iterator<Item = (PortId, &mut Burst)> {
        self.queues.iter_mut().enumerate().map(|(n, queue)| (PortId(n as u8), queue))
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
