//! The control plane's side: how the link is, and fresh sockets when the device comes back.

use super::seat::{Fresh, Seat, Shared};
use super::sys;
use crate::driver::{
    LinkState, OpenError, OpenPort, PoolSeed, PortCaps, PortControl, PortInfo, PortSpec, QueuePair, QueueSeed, Umem,
};
use crate::net::PortId;
use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

/// Fresh sockets a queue can be offered before it takes one over.
const REPLACEMENTS: usize = 4;

/// An opened interface: a socket, or what a door has for one, per queue.
pub(in crate::driver) struct Opened<S> {
    pub(in crate::driver) sockets: Vec<S>,
    /// For questions about the device.
    pub(in crate::driver) probe: OwnedFd,
    pub(in crate::driver) claim: UnixDatagram,
    pub(in crate::driver) ifindex: u32,
    pub(in crate::driver) info: PortInfo,
    pub(in crate::driver) warnings: Vec<String>,
    /// What must live as long as the sockets are in use.
    pub(in crate::driver) held: Box<dyn Any + Send>,
}

/// Opens the interface of a port once more, after it was gone.
type Opener<S> = Box<dyn FnMut(&PortSpec) -> Result<Opened<S>, OpenError> + Send>;

/// The port of an opened interface. `start` makes a queue on its worker's thread.
pub(in crate::driver) fn port<S: Send + 'static>(
    spec: &PortSpec,
    opened: Opened<S>,
    caps: PortCaps,
    opener: impl FnMut(&PortSpec) -> Result<Opened<S>, OpenError> + Send + 'static,
    start: fn(PortId, Seat<S>) -> Box<dyn QueuePair>,
) -> OpenPort {
    let shared = Arc::new(Shared::default());
    let mut seeds = Vec::with_capacity(spec.queues);
    let mut senders = Vec::with_capacity(spec.queues);
    for socket in opened.sockets {
        let (sender, replacements) = rtrb::RingBuffer::new(REPLACEMENTS);
        senders.push(sender);
        let fresh = Fresh { socket, ifindex: opened.ifindex, epoch: 0 };
        let (id, link, shared) = (spec.id, opened.info.link, Arc::clone(&shared));
        seeds.push(QueueSeed::new(move || start(id, Seat::new(fresh, link, replacements, shared))));
    }
    let control = Control {
        spec: spec.clone(),
        opener: Box::new(opener),
        ifindex: opened.ifindex,
        epoch: 0,
        probe: opened.probe,
        claim: Some(opened.claim),
        held: opened.held,
        senders,
        shared,
    };
    OpenPort {
        id: spec.id,
        info: opened.info,
        caps,
        queues: seeds,
        control: Box::new(control),
        warnings: opened.warnings,
    }
}

struct Control<S> {
    spec: PortSpec,
    opener: Opener<S>,
    ifindex: u32,
    /// Attempt that made the sockets in use.
    epoch: u32,
    probe: OwnedFd,
    /// Held, not used.
    claim: Option<UnixDatagram>,
    /// Likewise.
    held: Box<dyn Any + Send>,
    senders: Vec<rtrb::Producer<Fresh<S>>>,
    shared: Arc<Shared>,
}

impl<S: Send> PortControl for Control<S> {
    fn link(&self) -> LinkState {
        // A device that was moved to another namespace and back has its old number, but dead sockets.
        if self.shared.is_gone(self.epoch) {
            return LinkState::Gone;
        }
        sys::link_of(self.probe.as_fd(), self.ifindex)
    }

    fn mtu(&self) -> Option<usize> {
        // What the configuration says stands, whatever the device says.
        if self.spec.mtu.is_some() { None } else { sys::mtu_of(self.probe.as_fd(), self.ifindex) }
    }

    fn pools(&self) -> Vec<PoolSeed> {
        self.spec.umem.as_ref().map(Umem::pools).unwrap_or_default()
    }

    fn reopen(&mut self) -> Result<PortInfo, OpenError> {
        if self.senders.iter().any(rtrb::Producer::is_full) {
            return Err(OpenError::Busy { port: self.spec.name.clone() });
        }
        // It may be the same device, back from another namespace.
        self.claim = None;
        self.held = Box::new(());
        let opened = (self.opener)(&self.spec)?;
        self.epoch += 1;
        self.ifindex = opened.ifindex;
        self.probe = opened.probe;
        self.claim = Some(opened.claim);
        self.held = opened.held;
        for (sender, socket) in self.senders.iter_mut().zip(opened.sockets) {
            // Room was seen above and only this side fills it.
            let _ = sender.push(Fresh { socket, ifindex: self.ifindex, epoch: self.epoch });
        }
        Ok(opened.info)
    }
}
