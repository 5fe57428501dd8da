//! The control plane's side: how the link is, and fresh sockets when the device comes back.

use super::queue::Shared;
use super::{Fresh, device_name, open_sockets, sys};
use crate::driver::{LinkState, OpenError, PortControl, PortInfo, PortSpec};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

pub(super) struct Control {
    pub(super) spec: PortSpec,
    pub(super) ifindex: u32,
    /// Attempt that made the sockets in use.
    pub(super) epoch: u32,
    pub(super) probe: OwnedFd,
    /// Held, not used.
    pub(super) claim: Option<UnixDatagram>,
    pub(super) senders: Vec<rtrb::Producer<Fresh>>,
    pub(super) shared: Arc<Shared>,
}

impl PortControl for Control {
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

    fn reopen(&mut self) -> Result<PortInfo, OpenError> {
        if self.senders.iter().any(rtrb::Producer::is_full) {
            return Err(OpenError::Busy { port: self.spec.name.clone() });
        }
        // It may be the same device, back from another namespace.
        self.claim = None;
        let opened = open_sockets(&self.spec, device_name(&self.spec)?)?;
        self.epoch += 1;
        self.ifindex = opened.ifindex;
        self.probe = opened.probe;
        self.claim = Some(opened.claim);
        for (sender, socket) in self.senders.iter_mut().zip(opened.sockets) {
            // Room was seen above and only this side fills it.
            let _ = sender.push(Fresh { socket, ifindex: self.ifindex, epoch: self.epoch });
        }
        Ok(opened.info)
    }
}
