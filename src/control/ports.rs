//! Ports as the settings name them, in the words of the rooms that use them.

use super::PortFacts;
use super::sizing::{largest_frame, sizes, umem_pool};
use crate::config::settings::{self, Cores, Dispatch, Driver, Hugepages, Port, Settings};
use crate::driver::{
    BpfInstr, DpdkDevice, DpdkProcess, DpdkSpec, DpdkSteering, DriverKind, HugePages, OpenPort, PortSpec, Umem, XdpMode,
};
use crate::frame::PoolError;
use crate::metrics::{Exporter, PortLabel, Setup};
use crate::steer::{INDIRECTION_ENTRIES, SYMMETRIC_KEY_52, fanout_program};
use std::time::SystemTime;

/// How a port is to be opened. There is a queue for every worker, since every worker may send on every port;
/// `queues` of the settings says how many of them receive.
#[must_use]
pub fn port_spec(settings: &Settings, port: &Port) -> PortSpec {
    let workers = usize::from(settings.workers.count);
    let kind = match &port.driver {
        Driver::Memory => DriverKind::Memory,
        Driver::Pcap { .. } => DriverKind::Pcap,
        Driver::AfPacket { .. } => DriverKind::AfPacket,
        Driver::AfXdp { .. } => DriverKind::AfXdp,
        Driver::Tap { .. } => DriverKind::Tap,
        Driver::Dpdk { .. } | Driver::Vfio { .. } | Driver::VhostUser { .. } | Driver::VirtioUser { .. } => {
            DriverKind::Dpdk
        }
    };
    let mut spec = PortSpec::new(&port.name, port.id, kind);
    spec.queues = workers;
    spec.ring = port.ring as usize;
    spec.mtu = port.mtu.map(usize::from);
    spec.mac = port.mac;
    match &port.driver {
        Driver::Memory => {}
        Driver::Tap { device } => spec.device = Some(device.clone()),
        Driver::AfXdp { device, mode } => {
            spec.device = Some(device.clone());
            spec.xdp_mode = match mode {
                settings::XdpMode::Auto => XdpMode::Auto,
                settings::XdpMode::Native => XdpMode::Native,
                settings::XdpMode::Generic => XdpMode::Generic,
            };
        }
        Driver::Pcap { path } => spec.path = Some(path.clone()),
        Driver::Dpdk { device } => spec.dpdk = Some(dpdk(settings, port, DpdkDevice::Eal(device.clone()))),
        Driver::Vfio { pci } => spec.dpdk = Some(dpdk(settings, port, DpdkDevice::Pci(pci.clone()))),
        Driver::VhostUser { path, server } => {
            let device = DpdkDevice::VhostUser { path: path.clone(), server: *server };
            spec.dpdk = Some(dpdk(settings, port, device));
        }
        Driver::VirtioUser { path, server } => {
            let device = DpdkDevice::VirtioUser { path: path.clone(), server: *server };
            spec.dpdk = Some(dpdk(settings, port, device));
        }
        Driver::AfPacket { device } => {
            spec.device = Some(device.clone());
            let queues = usize::from(port.queues);
            // The kernel's own hash spreads over all queues, so fewer of them need the program too.
            if workers > 1 && (settings.workers.dispatch == Dispatch::Rss || queues < workers) {
                let program = fanout_program(queues);
                spec.fanout =
                    Some(program.iter().map(|i| BpfInstr { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect());
            }
        }
    }
    spec
}

/// What DPDK is asked for.
fn dpdk(settings: &Settings, port: &Port, device: DpdkDevice) -> DpdkSpec {
    let workers = usize::from(settings.workers.count);
    let steering = (settings.workers.dispatch == Dispatch::Rss).then(|| DpdkSteering {
        key: SYMMETRIC_KEY_52.to_vec(),
        owners: (0..INDIRECTION_ENTRIES).map(|entry| (entry % workers.max(1)) as u16).collect(),
    });
    let process = DpdkProcess {
        hugepages: huge_pages(settings),
        pci: settings.ports.iter().any(|port| matches!(port.driver, Driver::Vfio { .. })),
        pool: sizes(settings, largest_frame(settings)).pool,
        cpus: (0..workers).map(|worker| core_of(settings, worker)).collect(),
    };
    DpdkSpec { device, receive_queues: usize::from(port.queues), steering, process }
}

/// The memory that all workers' frames lie in, where every port can have them there; `None` where one cannot.
///
/// # Errors
/// When the system gives no memory.
pub fn umem(settings: &Settings) -> Result<Option<Umem>, PoolError> {
    let workers = usize::from(settings.workers.count).max(1);
    umem_pool(settings).map(|config| Umem::new(config, workers)).transpose()
}

/// What a snapshot needs to know of an open port.
#[must_use]
pub fn facts(port: &OpenPort) -> PortFacts {
    PortFacts {
        mac: port.info.mac,
        mtu: u32::try_from(port.info.mtu).unwrap_or(u32::MAX),
        tx_checksum_partial: port.caps.tx_checksum_partial,
        tx_gso: port.caps.tx_gso,
    }
}

/// The exporter of a run. `clock` is the workers' clock now.
#[must_use]
pub fn exporter(settings: &Settings, ports: &[OpenPort], clock: crate::net::Now) -> Exporter {
    let label = |(port, open): (&Port, &OpenPort)| PortLabel {
        name: port.name.clone(),
        driver: port.driver.word(),
        mac: open.info.mac,
        mtu: facts(open).mtu,
    };
    let exporter = Exporter::new(Setup {
        ports: settings.ports.iter().zip(ports).map(label).collect(),
        cpus: (0..usize::from(settings.workers.count)).map(|worker| core_of(settings, worker)).collect(),
        helpers: settings.helpers.iter().map(|helper| helper.name.clone()).collect(),
        per_worker: settings.metrics.is_some_and(|m| m.per_worker),
        node_exporter: settings.metrics.is_some_and(|m| m.compat.is_some()),
        start: SystemTime::now(),
        start_now: clock,
    });
    // Workers book nanoseconds of their clock.
    exporter.set_tsc_hertz(1e9);
    exporter
}

/// The core a worker is pinned to.
pub(super) fn core_of(settings: &Settings, worker: usize) -> Option<usize> {
    match &settings.workers.cores {
        Cores::Any => None,
        Cores::List(cores) => cores.get(worker).map(|core| usize::from(*core)),
    }
}

/// The pages the settings ask for.
pub(super) const fn huge_pages(settings: &Settings) -> HugePages {
    match settings.workers.hugepages {
        Hugepages::Auto => HugePages::Auto,
        Hugepages::Required => HugePages::Required,
        Hugepages::None => HugePages::Never,
    }
}
