//! Ports and what carries their frames.

use crate::net::{MacAddr, PortId};
use ipnet::IpNet;
use std::path::PathBuf;

/// One port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Position in the file.
    pub id: PortId,
    /// Name in rules, metrics and logs.
    pub name: String,
    /// What carries its frames.
    pub driver: Driver,
    /// Queue pairs: 1 ..= workers; 1 for `virtio_user` and as many as workers for others unless it is said.
    pub queues: u8,
    /// Descriptors per ring, a power of two.
    pub ring: u32,
    /// Largest IP packet in octets; `None` takes the device's (1500 where there is none).
    pub mtu: Option<u16>,
    /// Link address; `None` takes the device's.
    pub mac: Option<MacAddr>,
    /// Tags around its frames.
    pub vlan: Vlan,
    /// A label for people; the policy does not see it.
    pub zone: Option<String>,
    /// The router's addresses on this port with the length of the connected prefix.
    pub addresses: Vec<IpNet>,
}

words! {
    /// Where the XDP program of an `af_xdp` port runs.
    XdpMode {
        /// In the driver if that can, else as with `generic`.
        #[default]
        Auto = "auto",
        /// In the driver, or the port is not opened.
        Native = "native",
        /// In the kernel before its stack, with any driver.
        Generic = "generic",
    }
}

/// What carries a port's frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Rings in this process, for tests and benchmarks.
    Memory,
    /// A capture file.
    Pcap {
        /// The capture; absolute.
        path: PathBuf,
    },
    /// A kernel interface through a packet socket.
    AfPacket {
        /// Interface name.
        device: String,
    },
    /// A kernel interface through AF_XDP sockets.
    AfXdp {
        /// Interface name.
        device: String,
        /// Where the XDP program runs.
        mode: XdpMode,
    },
    /// A TAP device, made if there is none.
    Tap {
        /// Interface name.
        device: String,
    },
    /// Any device of DPDK's.
    Dpdk {
        /// DPDK's own string for it, as after `--vdev`.
        device: String,
    },
    /// A NIC that is bound to vfio, through DPDK.
    Vfio {
        /// Its PCI address with the domain.
        pci: String,
    },
    /// The backend of a vhost-user connection, through DPDK.
    VhostUser {
        /// Its socket; absolute.
        path: PathBuf,
        /// Makes the socket; else connects to it.
        server: bool,
    },
    /// The frontend of a vhost-user connection, through DPDK.
    VirtioUser {
        /// Its socket; absolute.
        path: PathBuf,
        /// Makes the socket; else connects to it.
        server: bool,
    },
}

impl Driver {
    /// The drivers' words in the file.
    pub const WORDS: &'static [&'static str] =
        &["memory", "pcap", "af_packet", "af_xdp", "tap", "dpdk", "vfio", "vhost_user", "virtio_user"];

    /// The kernel interface it has, if it has one.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        match self {
            Driver::Memory | Driver::Pcap { .. } | Driver::Dpdk { .. } | Driver::Vfio { .. } => None,
            Driver::VhostUser { .. } | Driver::VirtioUser { .. } => None,
            Driver::AfPacket { device } | Driver::AfXdp { device, .. } | Driver::Tap { device } => Some(device),
        }
    }

    /// It needs DPDK.
    #[must_use]
    pub const fn is_dpdk(&self) -> bool {
        matches!(self, Driver::Dpdk { .. } | Driver::Vfio { .. } | Driver::VhostUser { .. } | Driver::VirtioUser { .. })
    }

    /// What it opens, whatever that is, as the file names it; empty for memory.
    #[must_use]
    pub fn target(&self) -> String {
        match self {
            Driver::Memory => String::new(),
            Driver::AfPacket { device } | Driver::AfXdp { device, .. } | Driver::Tap { device } => device.clone(),
            Driver::Dpdk { device } => device.clone(),
            Driver::Vfio { pci } => pci.clone(),
            Driver::Pcap { path } | Driver::VhostUser { path, .. } | Driver::VirtioUser { path, .. } => {
                path.display().to_string()
            }
        }
    }

    /// The word of the file, also the metrics' label.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Driver::Memory => "memory",
            Driver::Pcap { .. } => "pcap",
            Driver::AfPacket { .. } => "af_packet",
            Driver::AfXdp { .. } => "af_xdp",
            Driver::Tap { .. } => "tap",
            Driver::Dpdk { .. } => "dpdk",
            Driver::Vfio { .. } => "vfio",
            Driver::VhostUser { .. } => "vhost_user",
            Driver::VirtioUser { .. } => "virtio_user",
        }
    }
}

/// The 802.1Q tags a port's frames carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vlan {
    /// None.
    #[default]
    Untagged,
    /// One (802.1Q).
    Tagged(u16),
    /// Two (802.1ad): the service tag and the customer tag within.
    QinQ {
        /// Service tag.
        outer: u16,
        /// Customer tag.
        inner: u16,
    },
}
