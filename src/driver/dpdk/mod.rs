//! Any device DPDK has a driver for, as a port: NICs, virtio-user, vhost, memif, and DPDK's other virtual devices.
//!
//! Owns DPDK's environment (one per process, started with the first port), one mempool per worker, and a receive and a
//! transmit queue per worker and port, where the device has as many; else workers share them. Built with the cargo feature `dpdk` only.
//! Holds always: a frame stays the mbuf it was received in, from any DPDK port to any other, and a burst that nobody looked
//! at goes on as it came; the mempool of a worker is that worker's [`Pool`](crate::frame::Pool), so what other ports receive
//! and what the router makes lies there too; a device that steers otherwise than the owner function is not believed; nothing is sent by a queue that the peer does
//! not receive by, as long as there is one it does; no queue calls a device while it is taken away; what a killed process leaves does not stop the next.
//! Must not know: what the frames mean beyond the headers that checksums need.
//!
//! Life of the link. A vhost server and a virtio-user server wait for the next peer by themselves, and so does a vhost
//! client. A device that cannot is given up when its peer ends ([`LinkState::Gone`]), and
//! [`PortControl::reopen`](super::PortControl::reopen) attaches it anew.

mod control;
mod device;
mod eal;
#[allow(unsafe_code)]
mod ffi;
mod log;
mod pending;
#[allow(unsafe_code)]
mod queue;
mod rss;
mod share;
mod socket;

use super::{DpdkSpec, OpenError, OpenPort, PortCaps, PortSpec, QueueSeed};
use crate::frame::PoolConfig;
use control::Control;
use device::Opened;
use pending::Attaching;
use queue::Queue;
use rss::Steering;
use std::sync::Arc;
use tracing::info;

/// A step that DPDK refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    /// What was tried, after "could not".
    step: &'static str,
    reason: String,
}

impl Fault {
    fn of_port(self, spec: &PortSpec) -> OpenError {
        OpenError::Dpdk { port: spec.name.clone(), step: self.step, reason: self.reason }
    }
}

/// Opens the device of `spec.dpdk`.
pub(super) fn open(spec: &PortSpec) -> Result<OpenPort, OpenError> {
    let Some(dpdk) = &spec.dpdk else {
        return Err(OpenError::Missing { port: spec.name.clone(), key: "device" });
    };
    let (pools, buffer) = eal::pools(&dpdk.process).map_err(|fault| fault.of_port(spec))?;
    if pools.len() < spec.queues {
        return Err(OpenError::Queues { port: spec.name.clone(), asked: spec.queues, most: pools.len() });
    }
    let spec = device::with_mac(spec, dpdk);
    let context = Context { dpdk: dpdk.clone(), pools, buffer, spec };
    let (control, opened) = match device::attach(&context.spec, dpdk).map_err(|fault| fault.of_port(&context.spec))? {
        Attaching::Done(port) => {
            let opened = context.start(port).map_err(|fault| fault.of_port(&context.spec))?;
            (Control::of_device(context, &opened), Some(opened))
        }
        Attaching::Waits(pending) => (Control::of_peer(context, pending), None),
    };
    let Context { spec, pools, .. } = control.context();
    let shared = control.shared();
    let seed = |(index, pool): (usize, &ffi::Mempool)| {
        let (id, pool, shared) = (spec.id, *pool, Arc::clone(shared));
        QueueSeed::new(move || Box::new(Queue::new(id, index as u16, pool, shared)))
    };
    let queues = pools.iter().take(spec.queues).enumerate().map(seed).collect();
    let info = control.info().clone();
    let caps = PortCaps {
        // What a device that is still to come can do is not known; a checksum that is finished suits every one.
        tx_checksum_partial: opened.as_ref().is_some_and(|opened| opened.tx_checksum),
        tx_gso: false,
        rx_partial: opened.as_ref().is_none_or(|opened| opened.rx_checksum),
        rx_gso: false,
        max_frame: device::largest_frame(info.mtu),
        steered: opened.as_ref().is_some_and(|opened| opened.steering == Steering::Exact) || spec.queues == 1,
    };
    let warnings = match opened {
        Some(opened) => opened.warnings,
        None => vec![format!("port {}: no backend has connected yet; frames flow as soon as one does", spec.name)],
    };
    Ok(OpenPort { id: spec.id, info, caps, queues, control: Box::new(control), warnings })
}

/// What a device is opened with, now and again later.
struct Context {
    spec: PortSpec,
    dpdk: DpdkSpec,
    pools: Vec<ffi::Mempool>,
    buffer: PoolConfig,
}

impl Context {
    /// Configures and starts the device.
    fn start(&self, port: ffi::Port) -> Result<Opened, Fault> {
        let opened = device::start(port, &self.spec, &self.dpdk, &self.pools, self.buffer)?;
        let name = &self.spec.name;
        info!("port {name}: DPDK driver {}, mtu {}; {}", opened.driver, opened.mtu, opened.steering);
        Ok(opened)
    }
}
