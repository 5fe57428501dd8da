//! The control plane's side: how the link is, the workers' pools, and the device anew when its peer came back.

use super::device::{self, Opened, Shared};
use super::ffi::{self, Mempool, MempoolLender, Port};
use super::pending::{Attaching, Pending};
use super::share::Enabled;
use super::socket::Peer;
use super::{Context, Fault};
use crate::driver::{LinkState, OpenError, PoolSeed, PortControl, PortInfo};
use crate::frame::Pool;
use crate::net::MacAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tracing::{debug, error, info};

/// The mtu of a device that is still to come, where the configuration says none.
const MTU: usize = 1500;

pub(super) struct Control {
    context: Context,
    info: PortInfo,
    shared: Arc<Shared>,
    /// The peer without which there is no device yet.
    awaited: Mutex<Option<Pending>>,
    /// The link was up since the device was opened last.
    was_up: AtomicBool,
    /// The device that is gone was closed.
    closed: bool,
    /// Transmit queues to send by when it was looked at last.
    in_use: AtomicU32,
}

impl Control {
    pub(super) fn of_device(context: Context, opened: &Opened) -> Control {
        let shared = Arc::new(Shared::new(Some(opened), opened.mtu, context.spec.queues));
        let was_up = AtomicBool::new(opened.link == LinkState::Up);
        Control {
            info: info_of(opened),
            context,
            shared,
            awaited: Mutex::new(None),
            was_up,
            closed: false,
            in_use: AtomicU32::new(0),
        }
    }

    pub(super) fn of_peer(mut context: Context, pending: Pending) -> Control {
        let mtu = context.spec.mtu.unwrap_or(MTU);
        context.spec.mtu = Some(mtu);
        let shared = Arc::new(Shared::new(None, mtu, context.spec.queues));
        let mac = context.spec.mac.unwrap_or(MacAddr([2, 0, 0, 0, 0, 1]));
        let info = PortInfo { mac, mtu, link: LinkState::Down, ifindex: None, speed_mbps: None };
        let awaited = Mutex::new(Some(pending));
        Control {
            context,
            info,
            shared,
            awaited,
            was_up: AtomicBool::new(false),
            closed: false,
            in_use: AtomicU32::new(0),
        }
    }

    pub(super) fn info(&self) -> &PortInfo {
        &self.info
    }

    pub(super) fn context(&self) -> &Context {
        &self.context
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Starts the device if its peer has come. Gives whether there is a device.
    fn welcome(&self) -> bool {
        let Ok(mut awaited) = self.awaited.lock() else { return false };
        let Some(pending) = &*awaited else { return true };
        let Some(attached) = pending.take() else { return false };
        match attached.and_then(|port| self.context.start(port)) {
            Ok(opened) => {
                *awaited = None;
                self.shared.replace(&opened);
                true
            }
            Err(fault) => {
                self.complain(&fault);
                // For the next peer.
                match device::attach(&self.context.spec, &self.context.dpdk) {
                    Ok(Attaching::Waits(next)) => *awaited = Some(next),
                    Ok(Attaching::Done(port)) => drop(port.detach()),
                    Err(fault) => self.complain(&fault),
                }
                false
            }
        }
    }

    /// Says so when there are more or fewer queues to send by than before.
    fn look_at_queues(&self) {
        let Some(enabled) = self.shared.enabled() else { return };
        let (count, all) = self.shared.shares().in_use(enabled);
        if count != 0 && self.in_use.swap(count, Ordering::Relaxed) != count {
            let name = &self.context.spec.name;
            let who = if matches!(enabled, Enabled::Told(_)) { "its peer" } else { "the device" };
            info!("port {name}: {who} has {count} transmit queues for {all} workers, which share them");
        }
    }

    fn complain(&self, fault: &Fault) {
        error!("port {}: DPDK could not {}: {}", self.context.spec.name, fault.step, fault.reason);
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Ok(awaited) = self.awaited.get_mut()
            && let Some(pending) = awaited
        {
            pending.give_up();
        }
    }
}

fn info_of(opened: &Opened) -> PortInfo {
    PortInfo { mac: opened.mac, mtu: opened.mtu, link: opened.link, ifindex: None, speed_mbps: opened.mbps }
}

impl PortControl for Control {
    fn link(&self) -> LinkState {
        if !self.welcome() {
            return LinkState::Down;
        }
        let link = self.shared.read_link();
        self.look_at_queues();
        match link {
            LinkState::Up => self.was_up.store(true, Ordering::Relaxed),
            LinkState::Down if self.was_up.load(Ordering::Relaxed) && Peer::of(&self.context.dpdk.device).is_some() => {
                self.shared.give_up();
                return LinkState::Gone;
            }
            _ => {}
        }
        link
    }

    fn reopen(&mut self) -> Result<PortInfo, OpenError> {
        let Context { spec, dpdk, .. } = &self.context;
        if !self.shared.all_parked() {
            return Err(OpenError::Busy { port: spec.name.clone() });
        }
        if !self.closed {
            let port = Port(self.shared.status().port);
            self.shared.keep_counts(port);
            port.detach().unwrap_or_else(|error| debug!("port {}: {error}", spec.name));
            self.closed = true;
        }
        let gone =
            || OpenError::NoDevice { port: spec.name.clone(), device: device::devargs(spec, dpdk), nearest: None };
        // Trying would only fill the log.
        if Peer::of(&dpdk.device).is_some_and(|peer| !peer.is_there()) {
            return Err(gone());
        }
        let opened = match device::attach(spec, dpdk) {
            Ok(Attaching::Done(port)) => self.context.start(port).map_err(|fault| fault.of_port(spec))?,
            Ok(Attaching::Waits(pending)) => {
                self.awaited = Mutex::new(Some(pending));
                return Err(gone());
            }
            Err(fault) => return Err(fault.of_port(spec)),
        };
        self.closed = false;
        self.was_up.store(opened.link == LinkState::Up, Ordering::Relaxed);
        self.shared.replace(&opened);
        // Frames of the size told at start stay possible.
        self.info = PortInfo { mtu: self.info.mtu, ..info_of(&opened) };
        Ok(self.info.clone())
    }

    fn pools(&self) -> Vec<PoolSeed> {
        let config = self.context.buffer;
        let seed = |pool: &Mempool| {
            let pool = *pool;
            PoolSeed::new(config, move || {
                if let Err(error) = ffi::join_thread() {
                    debug!("DPDK does not know this thread: {error}");
                }
                Ok(Pool::lent(config, Box::new(MempoolLender::new(pool))))
            })
        };
        self.context.pools.iter().map(seed).collect()
    }
}
