//! What is asked of DPDK. Plain words: whether this program was built with DPDK shows when the port is opened.

use crate::frame::{HEADROOM, Head, PoolConfig};
use crate::net::HugePages;
use std::path::PathBuf;

/// A port through DPDK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpdkSpec {
    /// The device.
    pub device: DpdkDevice,
    /// Queues that receive, at most as many as there are; the others only send.
    pub receive_queues: usize,
    /// How a device with a hash is to spread frames; `None` leaves its hash off.
    pub steering: Option<DpdkSteering>,
    /// What holds for the whole process.
    pub process: DpdkProcess,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DpdkDevice {
    /// By DPDK's own string, as after `--vdev`.
    Eal(String),
    /// By PCI address.
    Pci(String),
    /// The backend of a vhost-user connection.
    VhostUser {
        /// Its socket.
        path: PathBuf,
        /// Makes the socket; else connects to it.
        server: bool,
    },
    /// The frontend of a vhost-user connection: virtio without a guest.
    VirtioUser {
        /// Its socket.
        path: PathBuf,
        /// Makes the socket; else connects to it.
        server: bool,
    },
}

/// The function by which frames find their worker, as a Toeplitz key and a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpdkSteering {
    /// As long as the longest key of any device; a shorter one is its beginning.
    pub key: Vec<u8>,
    /// Worker of each value of the hash, modulo the length.
    pub owners: Vec<u16>,
}

/// What all ports of a process have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpdkProcess {
    /// Pages for DPDK's memory.
    pub hugepages: HugePages,
    /// Some port is a PCI device.
    pub pci: bool,
    /// Buffers of one worker, those in the devices' rings included.
    pub pool: PoolConfig,
    /// By worker: the CPU it is pinned to, if any.
    pub cpus: Vec<Option<usize>>,
}

impl DpdkProcess {
    /// Octets of memory DPDK is to have: the workers' buffers with what DPDK and the pool put before each, what
    /// rounding adds, and 96 MiB for the queues of virtual devices and DPDK's own tables.
    #[must_use]
    pub fn octets(&self) -> u64 {
        // Largest frame of an mbuf, whose length and headroom are one 16-bit number; an object's header; the mbuf.
        let frame = self.pool.frame_size.min(65_535 - HEADROOM);
        let object = 64 + 128 + size_of::<Head>() + HEADROOM + frame + 128;
        (self.cpus.len() * self.pool.buffers * object + (96 << 20)) as u64
    }
}
