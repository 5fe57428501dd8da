//! The control plane's side: how the link is, the workers' pools, and the device anew when its peer came back.

use super::device::{self, Opened, Shared};
use super::ffi::{self, Mempool, MempoolLender, Port};
use super::recovers;
use crate::driver::{DpdkSpec, LinkState, OpenError, PoolSeed, PortControl, PortInfo, PortSpec};
use crate::frame::{Pool, PoolConfig};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tracing::{debug, info};

pub(super) struct Control {
    spec: PortSpec,
    dpdk: DpdkSpec,
    info: PortInfo,
    pools: Vec<Mempool>,
    buffer: PoolConfig,
    shared: Arc<Shared>,
    /// The link was up since the device was opened last.
    was_up: AtomicBool,
    /// The device that is gone was closed.
    closed: bool,
}

impl Control {
    pub(super) fn new(
        spec: PortSpec,
        dpdk: DpdkSpec,
        opened: &Opened,
        pools: Vec<Mempool>,
        buffer: PoolConfig,
        shared: Arc<Shared>,
    ) -> Control {
        let was_up = AtomicBool::new(opened.link == LinkState::Up);
        Control { info: info_of(opened), spec, dpdk, pools, buffer, shared, was_up, closed: false }
    }

    pub(super) fn info(&self) -> &PortInfo {
        &self.info
    }
}

fn info_of(opened: &Opened) -> PortInfo {
    PortInfo { mac: opened.mac, mtu: opened.mtu, link: opened.link, ifindex: None, speed_mbps: opened.mbps }
}

impl PortControl for Control {
    fn link(&self) -> LinkState {
        let link = self.shared.read_link();
        match link {
            LinkState::Up => self.was_up.store(true, Ordering::Relaxed),
            LinkState::Down if self.was_up.load(Ordering::Relaxed) && !recovers(&self.dpdk.device) => {
                self.shared.give_up();
                return LinkState::Gone;
            }
            _ => {}
        }
        link
    }

    fn reopen(&mut self) -> Result<PortInfo, OpenError> {
        if !self.shared.all_parked() {
            return Err(OpenError::Busy { port: self.spec.name.clone() });
        }
        if !self.closed {
            let port = Port(self.shared.status().port);
            self.shared.keep_counts(port);
            port.detach().unwrap_or_else(|error| debug!("port {}: {error}", self.spec.name));
            self.closed = true;
        }
        let opened = device::open(&self.spec, &self.dpdk, &self.pools, self.buffer).map_err(|fault| {
            debug!("port {}: could not {}: {}", self.spec.name, fault.step, fault.reason);
            OpenError::NoDevice {
                port: self.spec.name.clone(),
                device: device::devargs(&self.spec, &self.dpdk),
                nearest: None,
            }
        })?;
        info!("port {}: DPDK driver {}; {}", self.spec.name, opened.driver, opened.steering);
        self.closed = false;
        self.was_up.store(opened.link == LinkState::Up, Ordering::Relaxed);
        self.shared.replace(opened.port, opened.link);
        // Frames of the size told at start stay possible.
        self.info = PortInfo { mtu: self.info.mtu, ..info_of(&opened) };
        Ok(self.info.clone())
    }

    fn pools(&self) -> Vec<PoolSeed> {
        let config = self.buffer;
        let seed = |pool: &Mempool| {
            let pool = *pool;
            PoolSeed::new(config, move || {
                if let Err(error) = ffi::join_thread() {
                    debug!("DPDK does not know this thread: {error}");
                }
                Ok(Pool::lent(config, Box::new(MempoolLender::new(pool))))
            })
        };
        self.pools.iter().map(seed).collect()
    }
}
