//! What workers and control plane tell each other.

use super::Bell;
use crate::metrics::RuleCounters;
use crate::net::{PortId, ShardId};
use crate::route::{NeighbourEvent, NeighbourKey};
use crate::shard::{Snapshot, Upcall};
use crossbeam_channel::{Receiver, Sender, bounded};
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

/// Messages a worker's box holds.
const BOX: usize = 4096;

/// How long the control plane waits for room in a box: a worker that takes nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_millis(200);

/// From the control plane to a worker.
#[derive(Debug)]
pub enum Message {
    /// Go over to this configuration.
    Install(Arc<Snapshot>, RuleCounters),
    /// News about a neighbour.
    Neighbour(NeighbourEvent),
    /// Send this frame of the router's own.
    Send {
        /// Egress port.
        port: PortId,
        /// The frame without tags and check sequence.
        frame: Box<[u8]>,
    },
    /// Receive nothing more; say [`Event::Drained`] once nothing waits to be sent.
    Drain,
    /// End.
    Stop,
}

/// From a worker to the control plane: what may be lost, because whoever needs it asks again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A frame for the control plane to answer.
    Punt {
        /// Port it came in by.
        port: PortId,
        /// Its bytes.
        frame: Box<[u8]>,
    },
    /// A next hop whose link address is wanted.
    Resolve(NeighbourKey),
    /// Neighbours that packets were sent to lately.
    Used(SmallVec<[NeighbourKey; 8]>),
}

/// From a worker to the control plane: what is said once and must arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It runs, pinned to a core as it was told.
    Started(ShardId),
    /// It runs, but could not be pinned to its core.
    NotPinned(ShardId, usize),
    /// Nothing it received waits any more.
    Drained(ShardId),
    /// It ended: as told, or for this reason.
    Ended(ShardId, Option<String>),
}

/// The control plane's hold on one worker.
#[derive(Clone, Debug)]
pub struct Handle {
    id: ShardId,
    messages: Sender<Message>,
    bell: Arc<Bell>,
}

impl Handle {
    /// The worker.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// Gives the worker a message, in the order of the calls. `false`: it has ended, or has taken nothing for
    /// so long that its box is full.
    #[must_use]
    pub fn post(&self, message: Message) -> bool {
        let taken = self.messages.send_timeout(message, PATIENCE).is_ok();
        if taken {
            self.bell.mail_posted();
        }
        taken
    }
}

/// A worker's box: the hold on it, and the worker's end.
#[must_use]
pub fn mailbox(id: ShardId, bell: Arc<Bell>) -> (Handle, Receiver<Message>) {
    let (messages, inbox) = bounded(BOX);
    (Handle { id, messages, bell }, inbox)
}

/// A shard's calls to the control plane, by way of bounded queues. Frames have one of their own, so that a
/// flood of them does not keep next hops from being asked for.
#[derive(Clone, Debug)]
pub struct Calls {
    /// For [`Request::Punt`].
    pub punts: Sender<Request>,
    /// For all others.
    pub asks: Sender<Request>,
}

impl Upcall for Calls {
    fn punt(&mut self, port: PortId, frame: &[u8]) -> bool {
        !self.punts.is_full() && self.punts.try_send(Request::Punt { port, frame: frame.into() }).is_ok()
    }

    fn resolve(&mut self, key: NeighbourKey) {
        // The next packet that waits asks again.
        let _ = self.asks.try_send(Request::Resolve(key));
    }
}
