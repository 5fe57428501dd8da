//! A DPDK port from its devargs to the running device, and what its queues and its control share.

use super::ffi::{Mempool, Offer, Port, Setup, raw};
use super::pending::{Attaching, Pending};
use super::rss::{self, Steering};
use super::share::{self, Enabled, Shares};
use super::{Fault, eal, socket};
use crate::driver::{DpdkDevice, DpdkSpec, LinkState, PortSpec, QueueStats};
use crate::frame::PoolConfig;
use crate::net::MacAddr;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};

/// Octets of a frame beside its IP packet: the Ethernet header and two VLAN tags.
const LINK_HEADERS: usize = 14 + 8;

/// Descriptors of a queue of virtio-user, which has its rings in memory: the most its vhost peers commonly take.
const VIRTIO_RING: usize = 1024;

/// A number DPDK gives to no port.
const NO_PORT: u16 = u16::MAX;

/// Which port of DPDK's it is, how its link is, and how often the device was opened anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) port: u16,
    pub(super) link: LinkState,
    pub(super) epoch: u32,
}

impl Status {
    const fn pack(self) -> u64 {
        let link = match self.link {
            LinkState::Up => 0,
            LinkState::Down => 1,
            LinkState::Gone => 2,
        };
        (self.epoch as u64) << 32 | link << 16 | self.port as u64
    }

    pub(super) const fn unpack(word: u64) -> Status {
        let link = match word >> 16 & 0xffff {
            0 => LinkState::Up,
            1 => LinkState::Down,
            _ => LinkState::Gone,
        };
        Status { port: word as u16, link, epoch: (word >> 32) as u32 }
    }
}

/// What the queues of a port and its control share. The last to let go of it closes the device.
#[derive(Debug)]
pub(super) struct Shared {
    /// Read by every queue once per call, written when something changed.
    status: AtomicU64,
    /// By queue: the packed status with which it stopped using the device.
    parked: Box<[AtomicU64]>,
    largest_frame: usize,
    /// The device finishes checksums; as of when it was opened last.
    tx_checksum: AtomicBool,
    /// Receive queues the device has; as of when it was opened last.
    receiving: AtomicU16,
    /// The transmit queues that can be sent by, where workers share them; as of when the device was opened last.
    enabled: RwLock<Option<Enabled>>,
    shares: Shares,
    /// The device's counts when it was opened last, and what it had counted before.
    counts: Mutex<QueueStats>,
}

impl Shared {
    /// Of a port with so many queues; without a device it is one that is gone, and every queue knows.
    pub(super) fn new(opened: Option<&Opened>, mtu: usize, queues: usize) -> Shared {
        let status = match opened {
            Some(opened) => Status { port: opened.port.0, link: opened.link, epoch: 0 },
            None => Status { port: NO_PORT, link: LinkState::Gone, epoch: 0 },
        };
        Shared {
            status: AtomicU64::new(status.pack()),
            parked: (0..queues).map(|_| AtomicU64::new(status.pack())).collect(),
            largest_frame: mtu + LINK_HEADERS,
            tx_checksum: AtomicBool::new(opened.is_some_and(|opened| opened.tx_checksum)),
            receiving: AtomicU16::new(opened.map_or(0, |opened| opened.receiving)),
            enabled: RwLock::new(opened.and_then(|opened| opened.enabled)),
            shares: Shares::new(queues),
            counts: Mutex::default(),
        }
    }

    pub(super) fn status(&self) -> Status {
        Status::unpack(self.word())
    }

    /// The same as one word, for who only wants to know whether it is another than before.
    #[inline(always)]
    pub(super) fn word(&self) -> u64 {
        self.status.load(Ordering::Acquire)
    }

    pub(super) fn largest_frame(&self) -> usize {
        self.largest_frame
    }

    pub(super) fn finishes_checksums(&self) -> bool {
        self.tx_checksum.load(Ordering::Relaxed)
    }

    /// Whether there is a receive queue of this number. Changes with the status only.
    pub(super) fn receives(&self, queue: u16) -> bool {
        queue < self.receiving.load(Ordering::Relaxed)
    }

    /// The transmit queues that can be sent by; `None` where each worker has its own. Changes with the status only.
    pub(super) fn enabled(&self) -> Option<Enabled> {
        self.enabled.read().ok().and_then(|enabled| *enabled)
    }

    pub(super) fn shares(&self) -> &Shares {
        &self.shares
    }

    pub(super) fn park(&self, queue: u16, status: Status) {
        if let Some(place) = self.parked.get(usize::from(queue)) {
            place.store(status.pack(), Ordering::Release);
        }
    }

    /// Every queue stopped using the device since it was said to be gone.
    pub(super) fn all_parked(&self) -> bool {
        let status = self.status();
        let parked = |place: &AtomicU64| place.load(Ordering::Acquire) == status.pack();
        status.link == LinkState::Gone && self.parked.iter().all(parked)
    }

    /// Asks the device how the link is and makes a change known. A device that is gone stays gone.
    pub(super) fn read_link(&self) -> LinkState {
        let before = self.status();
        if before.link == LinkState::Gone {
            return LinkState::Gone;
        }
        let link = link_of(Port(before.port));
        if link != before.link {
            let after = Status { link, ..before };
            // Somebody else may have been quicker; then that stands.
            let _ = self.status.compare_exchange(before.pack(), after.pack(), Ordering::AcqRel, Ordering::Acquire);
        }
        link
    }

    /// Says that the device is gone: each queue stops using it at its next call.
    pub(super) fn give_up(&self) {
        let before = self.status();
        let after = Status { link: LinkState::Gone, ..before };
        let _ = self.status.compare_exchange(before.pack(), after.pack(), Ordering::AcqRel, Ordering::Acquire);
    }

    /// Puts a device in the place of the one that is gone.
    pub(super) fn replace(&self, opened: &Opened) {
        let epoch = self.status().epoch.wrapping_add(1);
        self.tx_checksum.store(opened.tx_checksum, Ordering::Relaxed);
        self.receiving.store(opened.receiving, Ordering::Relaxed);
        if let Ok(mut enabled) = self.enabled.write() {
            *enabled = opened.enabled;
        }
        self.status.store(Status { port: opened.port.0, link: opened.link, epoch }.pack(), Ordering::Release);
    }

    fn device_counts(&self) -> QueueStats {
        let status = self.status();
        let counts = if status.link == LinkState::Gone { None } else { Port(status.port).read_counts().ok() };
        let counts = counts.unwrap_or_default();
        QueueStats {
            rx_missed: counts.missed,
            rx_nobuf: counts.nobuf,
            rx_error: counts.rx_errors,
            tx_error: counts.tx_errors,
            ..QueueStats::default()
        }
    }

    /// Keeps the counts of a device that is about to be closed.
    pub(super) fn keep_counts(&self, port: Port) {
        if let Ok(counts) = port.read_counts()
            && let Ok(mut kept) = self.counts.lock()
        {
            kept.rx_missed += counts.missed;
            kept.rx_nobuf += counts.nobuf;
            kept.rx_error += counts.rx_errors;
            kept.tx_error += counts.tx_errors;
        }
    }

    /// Adds what the device counts by itself.
    pub(super) fn add_counts(&self, stats: &mut QueueStats) {
        if let Ok(kept) = self.counts.lock() {
            stats.add(&kept);
        }
        stats.add(&self.device_counts());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let status = self.status();
        if status.port != NO_PORT {
            // Whatever went wrong with it: there is nobody left to be told.
            let _ = Port(status.port).detach();
        }
    }
}

pub(super) fn link_of(port: Port) -> LinkState {
    match port.read_link() {
        Ok(link) if link.up != 0 => LinkState::Up,
        _ => LinkState::Down,
    }
}

/// A device that runs.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) port: Port,
    pub(super) mac: MacAddr,
    pub(super) mtu: usize,
    pub(super) link: LinkState,
    pub(super) mbps: Option<u32>,
    pub(super) driver: String,
    pub(super) steering: Steering,
    /// It finishes the checksums of TCP and UDP.
    pub(super) tx_checksum: bool,
    /// It may hand over partial checksums, or says which it has verified.
    pub(super) rx_checksum: bool,
    /// Receive queues.
    pub(super) receiving: u16,
    /// The transmit queues that can be sent by, where workers share them.
    pub(super) enabled: Option<Enabled>,
    /// Sentences for the log.
    pub(super) warnings: Vec<String>,
}

/// Octets of the largest frame on a port of this mtu.
pub(super) const fn largest_frame(mtu: usize) -> usize {
    mtu + LINK_HEADERS
}

/// EAL's string for the device of a port.
pub(super) fn devargs(spec: &PortSpec, dpdk: &DpdkSpec) -> String {
    let (id, queues) = (spec.id.0, spec.queues);
    let mac = spec.mac.map(|mac| format!(",mac={mac}")).unwrap_or_default();
    match &dpdk.device {
        DpdkDevice::Eal(text) => text.clone(),
        DpdkDevice::Pci(address) => address.clone(),
        DpdkDevice::VhostUser { path, server } => {
            format!("net_vhost_port{id},iface={},queues={queues},client={}", path.display(), u8::from(!server))
        }
        DpdkDevice::VirtioUser { path, server } => {
            let (ring, queues) = (spec.ring.min(VIRTIO_RING), dpdk.receive_queues.clamp(1, queues));
            let (control, server) = (u8::from(queues > 1), u8::from(*server));
            let path = path.display();
            format!(
                "net_virtio_user_port{id},path={path},queues={queues},queue_size={ring},cq={control},server={server}{mac}"
            )
        }
    }
}

/// The socket a port would make, and on which an earlier process may have left its name.
fn own_socket(dpdk: &DpdkSpec) -> Option<&Path> {
    match &dpdk.device {
        DpdkDevice::VhostUser { path, server: true } | DpdkDevice::VirtioUser { path, server: true } => Some(path),
        DpdkDevice::Eal(text) => socket::of_device(text).map(Path::new),
        _ => None,
    }
}

/// Attaches the device of a port, or begins to.
pub(super) fn attach(spec: &PortSpec, dpdk: &DpdkSpec) -> Result<Attaching, Fault> {
    if let Some(path) = own_socket(dpdk) {
        socket::clear(path).map_err(|reason| Fault { step: "make its socket", reason })?;
    }
    let device = devargs(spec, dpdk);
    if let DpdkDevice::VirtioUser { path, server: true } = &dpdk.device {
        return Pending::begin(device, path.clone());
    }
    Port::attach(&device).map(Attaching::Done).map_err(Fault::at("attach the device"))
}

/// Configures and starts a device that was attached; one that cannot be is taken away again.
pub(super) fn start(
    port: Port,
    spec: &PortSpec,
    dpdk: &DpdkSpec,
    pools: &[Mempool],
    buffer: PoolConfig,
) -> Result<Opened, Fault> {
    configure(port, spec, dpdk, pools, buffer).inspect_err(|_| {
        // The fault that matters is the first.
        let _ = port.detach();
    })
}

fn configure(
    port: Port,
    spec: &PortSpec,
    dpdk: &DpdkSpec,
    pools: &[Mempool],
    buffer: PoolConfig,
) -> Result<Opened, Fault> {
    let offer = port.ask().map_err(Fault::at("ask the device"))?;
    let mut warnings = Vec::new();
    let driver: String = offer.driver.iter().take_while(|c| **c != 0).map(|c| *c as u8 as char).collect();
    let (workers, receive) = (spec.queues as u16, dpdk.receive_queues.clamp(1, spec.queues) as u16);
    let queues = workers.min(share::reliable(&driver, offer.max_tx_queues));
    let receive = receive.min(share::reliable(&driver, offer.max_rx_queues));
    if queues == 0 || receive == 0 || queues < workers && !share::can_be_shared(&driver) {
        let (wanted, has) = (spec.queues, offer.max_tx_queues.min(offer.max_rx_queues));
        let reason = format!("{wanted} queues are needed, one per worker, and it has {has}");
        return Err(Fault { step: "configure the device", reason });
    }
    let mtu = mtu(&offer, spec, buffer)?;
    let enabled = share::watch(port, &driver, queues, workers);
    let plan = rss::plan(&rss::Offer::from(&offer), usize::from(receive), dpdk.steering.as_ref());
    let setup = Setup {
        rx_offloads: offer.rx_offloads & (raw::FG_RX_TCP_CKSUM | raw::FG_RX_UDP_CKSUM | raw::FG_RX_IPV4_CKSUM),
        tx_offloads: tx_offloads(&offer, enabled.is_some()),
        rss_types: plan.types,
        key: plan.key.to_vec(),
        rx_queues: receive,
        tx_queues: queues,
        mtu: mtu as u16,
    };
    // Now a vhost device makes its socket and, if it is the first, the thread that serves all of them, which keeps for
    // good the privileges of whoever made it. A socket in a folder of somebody else's may want them all the same.
    let is_vhost = driver == share::VHOST;
    let apart = is_vhost.then(|| eal::unprivileged(|| port.configure(&setup))).flatten();
    match apart {
        Some(Ok(())) => {}
        _ => port.configure(&setup).map_err(Fault::at("configure the device"))?,
    }
    let wanted = spec.ring as u16;
    let (rx, tx) = port.adjust_rings(wanted, wanted).map_err(Fault::at("size the rings"))?;
    for (queue, pool) in (0..receive).zip(pools) {
        port.setup_rx(queue, rx, *pool).map_err(Fault::at("set up a receive queue"))?;
    }
    for queue in 0..queues {
        port.setup_tx(queue, tx).map_err(Fault::at("set up a transmit queue"))?;
    }
    port.run().map_err(Fault::at("start the device"))?;
    if let Some(mac) = spec.mac
        && port.set_mac(mac.0).is_err()
    {
        // In promiscuous mode it gets the frames all the same.
        tracing::debug!("port {}: the device keeps its own link address", spec.name);
    }
    if port.set_promiscuous().is_err() {
        let _ = port.set_allmulticast();
        tracing::debug!("port {}: the device has no promiscuous mode", spec.name);
    }
    let steering = rss::apply(port, &plan);
    let link = port.read_link().map_err(Fault::at("read the link"))?;
    if link.up == 0 {
        warnings.push(format!("port {}: the link is down; frames flow as soon as it is up", spec.name));
    }
    Ok(Opened {
        port,
        mac: spec.mac.unwrap_or(match MacAddr(offer.mac) {
            // Some virtual devices have none.
            mac if mac == MacAddr::default() => random_mac(),
            mac => mac,
        }),
        mtu,
        link: if link.up == 0 { LinkState::Down } else { LinkState::Up },
        mbps: (link.mbps != 0).then_some(link.mbps),
        driver,
        steering,
        tx_checksum: setup.tx_offloads & TX_CHECKSUMS == TX_CHECKSUMS,
        rx_checksum: setup.rx_offloads != 0,
        receiving: receive,
        enabled,
        warnings,
    })
}

/// A link address nobody else has: a locally administered one at random.
fn random_mac() -> MacAddr {
    let mut octets = [0; 6];
    // Without random numbers the process would not have come so far.
    let _ = getrandom::fill(&mut octets);
    octets[0] = octets[0] & 0xfc | 0x02;
    MacAddr(octets)
}

/// The specification with a link address for a device that has none of its own, or the same as its like elsewhere.
pub(super) fn with_mac(spec: &PortSpec, dpdk: &DpdkSpec) -> PortSpec {
    let mut spec = spec.clone();
    if matches!(dpdk.device, DpdkDevice::VhostUser { .. } | DpdkDevice::VirtioUser { .. }) {
        spec.mac = spec.mac.or_else(|| Some(random_mac()));
    }
    spec
}

const TX_CHECKSUMS: u64 = raw::FG_TX_OFFLOAD_TCP | raw::FG_TX_OFFLOAD_UDP;

/// Both checksums or none: a frame does not know which of them its port has. Frames have one segment and one owner, and
/// all that a queue sends come from one mempool unless workers share it, so they can be freed fast.
fn tx_offloads(offer: &Offer, shared: bool) -> u64 {
    let both = if offer.tx_offloads & TX_CHECKSUMS == TX_CHECKSUMS { TX_CHECKSUMS } else { 0 };
    let fast_free = if shared { 0 } else { raw::FG_TX_OFFLOAD_FAST_FREE };
    both | offer.tx_offloads & fast_free
}

/// The largest IP packet: what the configuration says, else the device's own, as far as a buffer holds it.
fn mtu(offer: &Offer, spec: &PortSpec, buffer: PoolConfig) -> Result<usize, Fault> {
    let most = (buffer.frame_size - LINK_HEADERS).min(usize::from(offer.max_mtu));
    let wanted = spec.mtu.unwrap_or_else(|| usize::from(offer.mtu).clamp(usize::from(offer.min_mtu), most));
    if wanted > most || wanted < usize::from(offer.min_mtu) {
        let reason = format!("an mtu of {wanted} was asked for, it takes {} to {most}", offer.min_mtu);
        return Err(Fault { step: "configure the device", reason });
    }
    Ok(wanted)
}

impl Fault {
    /// Makes a fault of what the system or DPDK says.
    pub(super) fn at(step: &'static str) -> impl Fn(io::Error) -> Fault {
        move |error| {
            let said = super::log::complaints();
            let reason = if said.is_empty() { error.to_string() } else { format!("{error} (DPDK says: {said})") };
            Fault { step, reason }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_its_word() {
        for link in [LinkState::Up, LinkState::Down, LinkState::Gone] {
            let status = Status { port: 517, link, epoch: 9 };
            assert_eq!(Status::unpack(status.pack()), status);
        }
    }

    #[test]
    fn devices_are_named_as_dpdk_wants_it() {
        use crate::driver::{DpdkProcess, DriverKind, HugePages};
        let mut spec = PortSpec::new("p", crate::net::PortId(3), DriverKind::Dpdk);
        spec.queues = 2;
        let pool = PoolConfig { buffers: 1, frame_size: 2048 };
        let process = DpdkProcess { hugepages: HugePages::Auto, pci: false, pool, cpus: vec![None] };
        let of =
            |device| devargs(&spec, &DpdkSpec { device, receive_queues: 2, steering: None, process: process.clone() });
        let path = std::path::PathBuf::from("/run/p.sock");
        assert_eq!(
            of(DpdkDevice::VhostUser { path: path.clone(), server: true }),
            "net_vhost_port3,iface=/run/p.sock,queues=2,client=0"
        );
        assert_eq!(
            of(DpdkDevice::VirtioUser { path, server: false }),
            "net_virtio_user_port3,path=/run/p.sock,queues=2,queue_size=1024,cq=1,server=0"
        );
        assert_eq!(of(DpdkDevice::Pci("0000:03:00.0".into())), "0000:03:00.0");
    }
}
