//! Any device DPDK has a driver for, as a port: NICs, virtio-user, vhost, memif, and DPDK's other virtual devices.
//!
//! Owns DPDK's environment (one per process, started with the first port), one mempool per worker, and a receive and a
//! transmit queue per worker and port. Built with the cargo feature `dpdk` only.
//! Holds always: a frame stays the mbuf it was received in, from any DPDK port to any other; the mempool of a worker is
//! that worker's [`Pool`](crate::frame::Pool), so what other ports receive and what the router makes lies there too; a
//! device that steers otherwise than the owner function is not believed; no queue calls a device while it is taken
//! away; what a killed process leaves does not stop the next.
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
#[allow(unsafe_code)]
mod queue;
mod rss;
mod socket;

use super::{DpdkDevice, OpenError, OpenPort, PortCaps, PortSpec, QueueSeed};
use control::Control;
use device::Shared;
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
    let spec = &device::with_mac(spec, dpdk);
    let opened = device::open(spec, dpdk, &pools, buffer).map_err(|fault| fault.of_port(spec))?;
    info!("port {}: DPDK driver {}, mtu {}; {}", spec.name, opened.driver, opened.mtu, opened.steering);
    let shared = Arc::new(Shared::new(&opened, spec.queues));
    let receive = dpdk.receive_queues;
    let seed = |(index, pool): (usize, &ffi::Mempool)| {
        let (id, pool, shared) = (spec.id, *pool, Arc::clone(&shared));
        QueueSeed::new(move || Box::new(Queue::new(id, index as u16, index < receive, pool, shared)))
    };
    let queues = pools.iter().take(spec.queues).enumerate().map(seed).collect();
    let caps = PortCaps {
        tx_checksum_partial: opened.tx_checksum,
        tx_gso: false,
        rx_partial: opened.rx_checksum,
        rx_gso: false,
        max_frame: opened.largest_frame(),
        steered: opened.steering == Steering::Exact || spec.queues == 1,
    };
    let control = Control::new(spec.clone(), dpdk.clone(), &opened, pools, buffer, shared);
    Ok(OpenPort {
        id: spec.id,
        info: control.info().clone(),
        caps,
        queues,
        control: Box::new(control),
        warnings: opened.warnings,
    })
}

/// Whether a device finds its next peer by itself.
const fn recovers(device: &DpdkDevice) -> bool {
    !matches!(device, DpdkDevice::VirtioUser { server: false, .. })
}
