//! What a port is asked to be, and what it turned out to be.

use super::{DpdkSpec, OpenError, QueuePair, Umem};
use crate::frame::{Pool, PoolConfig, PoolError};
use crate::net::ids::MAX_SHARDS;
use crate::net::{MacAddr, PortId};
use std::fmt;
use std::path::PathBuf;

/// The kinds of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DriverKind {
    /// Rings in this process.
    Memory,
    /// Capture files.
    Pcap,
    /// A kernel interface through packet sockets.
    AfPacket,
    /// A kernel interface through AF_XDP sockets.
    AfXdp,
    /// A TAP device.
    Tap,
    /// A device of DPDK's.
    Dpdk,
}

impl DriverKind {
    /// Every kind that is built.
    pub const ALL: [DriverKind; 6] = [
        DriverKind::Memory,
        DriverKind::Pcap,
        DriverKind::AfPacket,
        DriverKind::AfXdp,
        DriverKind::Tap,
        DriverKind::Dpdk,
    ];

    /// The word of the configuration file.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            DriverKind::Memory => "memory",
            DriverKind::Pcap => "pcap",
            DriverKind::AfPacket => "af_packet",
            DriverKind::AfXdp => "af_xdp",
            DriverKind::Tap => "tap",
            DriverKind::Dpdk => "dpdk",
        }
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One instruction of a classic BPF program (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BpfInstr {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when a jump's condition holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Where an interface's XDP program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver if it can, else before the kernel's stack.
    #[default]
    Auto,
    /// In the driver.
    Native,
    /// Before the kernel's stack, with any driver.
    Generic,
}

/// A port as the configuration describes it.
#[derive(Clone, Debug)]
pub struct PortSpec {
    /// The configured name; appears in messages.
    pub name: String,
    /// Its number; goes into every received frame.
    pub id: PortId,
    /// Its kind.
    pub driver: DriverKind,
    /// Kernel interface (`af_packet`, `af_xdp`, `tap`).
    pub device: Option<String>,
    /// Capture to read (`pcap`).
    pub path: Option<PathBuf>,
    /// Capture to write (`pcap`). Without one, what is sent is counted and forgotten.
    pub write_path: Option<PathBuf>,
    /// Queue pairs, one per worker that uses the port.
    pub queues: usize,
    /// Frames a queue holds before it drops; sizes the socket buffers.
    pub ring: usize,
    /// Largest IP packet, in octets; the device's own when not given.
    pub mtu: Option<usize>,
    /// Link address of the router on this port; the device's own when not given.
    pub mac: Option<MacAddr>,
    /// Where the XDP program runs (`af_xdp`).
    pub xdp_mode: XdpMode,
    /// Memory that holds all frames of the workers and that the port's queues use as it is (`af_xdp`). Without it a queue
    /// has memory of its own, and frames are copied.
    pub umem: Option<Umem>,
    /// A classic BPF program whose value, modulo the number of queues, is the queue of a frame. The kernel
    /// runs it with offset 0 at the network header and the outermost VLAN tag removed. Without one the
    /// kernel's symmetric flow hash chooses.
    pub fanout: Option<Vec<BpfInstr>>,
    /// What DPDK is asked for (`dpdk`).
    pub dpdk: Option<DpdkSpec>,
}

impl PortSpec {
    /// One queue of 1024 frames, the device's own MTU and address.
    #[must_use]
    pub fn new(name: &str, id: PortId, driver: DriverKind) -> PortSpec {
        PortSpec {
            name: name.to_owned(),
            id,
            driver,
            device: None,
            path: None,
            write_path: None,
            queues: 1,
            ring: 1024,
            mtu: None,
            mac: None,
            xdp_mode: XdpMode::Auto,
            umem: None,
            fanout: None,
            dpdk: None,
        }
    }

    /// The limits that hold for every kind of port.
    pub(super) fn validate(&self) -> Result<(), OpenError> {
        let most = if self.driver == DriverKind::Pcap { 1 } else { MAX_SHARDS };
        if self.queues == 0 || self.queues > most {
            return Err(OpenError::Queues { port: self.name.clone(), asked: self.queues, most });
        }
        Ok(())
    }
}

/// What a port can do. Callers ask this and never the kind of port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortCaps {
    /// Sends frames whose checksum is [`Partial`](crate::frame::Checksum::Partial); else the sender finishes it.
    pub tx_checksum_partial: bool,
    /// Sends super-frames; else the sender cuts them.
    pub tx_gso: bool,
    /// May deliver frames with a partial checksum.
    pub rx_partial: bool,
    /// May deliver super-frames, so buffers must hold [`MAX_FRAME`](crate::frame::MAX_FRAME) octets.
    pub rx_gso: bool,
    /// Largest frame that may be delivered, in octets with its Ethernet header.
    pub max_frame: usize,
    /// The queue of a received frame is the one `fanout` names; else any queue may get any frame.
    pub steered: bool,
}

/// What is known of an open port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// Link address to use as the router's.
    pub mac: MacAddr,
    /// Largest IP packet, in octets.
    pub mtu: usize,
    /// The link as it was when the port was opened.
    pub link: LinkState,
    /// The kernel's number of the device, where there is one.
    pub ifindex: Option<u32>,
    /// Speed in Mbit/s, where it is known.
    pub speed_mbps: Option<u32>,
}

/// Whether a port can carry frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It can.
    Up,
    /// Switched off or without carrier; may come back by itself.
    Down,
    /// The device does not exist any more; a device of the same name may be opened again.
    Gone,
}

impl LinkState {
    /// The word of logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            LinkState::Up => "up",
            LinkState::Down => "down",
            LinkState::Gone => "gone",
        }
    }
}

/// The control plane's hold on an open port. Stays off the packet path.
pub trait PortControl: Send {
    /// Asks how the link is: a system call or two, so the caller limits how often.
    fn link(&self) -> LinkState;

    /// The device's largest IP packet in octets as it is now; `None` where it does not change while the port is
    /// open. As dear as [`PortControl::link`].
    fn mtu(&self) -> Option<usize> {
        None
    }

    /// After [`LinkState::Gone`]: looks for a device of the same name and hands every queue a fresh
    /// socket, which it takes over at its next receive.
    ///
    /// # Errors
    /// As [`open`](super::open); [`OpenError::NoDevice`] as long as there is no such device.
    fn reopen(&mut self) -> Result<PortInfo, OpenError>;

    /// Pools, one per queue, in memory that the device reaches: with them the workers' frames need no copy on their
    /// way to it. All ports that have any have the same ones, so those of one port are taken. Empty where any
    /// memory will do.
    fn pools(&self) -> Vec<PoolSeed> {
        Vec::new()
    }
}

/// A pool on its way to its worker.
pub struct PoolSeed {
    config: PoolConfig,
    start: Box<dyn FnOnce() -> Result<Pool, PoolError> + Send>,
}

impl PoolSeed {
    /// A pool of this size that `start` makes.
    pub fn new(config: PoolConfig, start: impl FnOnce() -> Result<Pool, PoolError> + Send + 'static) -> PoolSeed {
        PoolSeed { config, start: Box::new(start) }
    }

    /// Its size.
    #[must_use]
    pub fn config(&self) -> PoolConfig {
        self.config
    }

    /// Makes the pool. Call it on the worker's thread.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn start(self) -> Result<Pool, PoolError> {
        (self.start)()
    }
}

impl fmt::Debug for PoolSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolSeed").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A queue on its way to its worker.
pub struct QueueSeed(Box<dyn FnOnce() -> Box<dyn QueuePair> + Send>);

impl QueueSeed {
    /// A queue that `start` makes.
    pub fn new(start: impl FnOnce() -> Box<dyn QueuePair> + Send + 'static) -> QueueSeed {
        QueueSeed(Box::new(start))
    }

    /// Makes the queue. Call it on the worker's thread.
    #[must_use]
    pub fn start(self) -> Box<dyn QueuePair> {
        (self.0)()
    }
}

impl fmt::Debug for QueueSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueueSeed")
    }
}

/// An opened port.
pub struct OpenPort {
    /// Number it was opened with.
    pub id: PortId,
    /// Facts.
    pub info: PortInfo,
    /// Abilities.
    pub caps: PortCaps,
    /// One per queue asked for, in order.
    pub queues: Vec<QueueSeed>,
    /// For the control plane.
    pub control: Box<dyn PortControl>,
    /// What the operator should hear although the port works: sentences for the log.
    pub warnings: Vec<String>,
}

impl fmt::Debug for OpenPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenPort")
            .field("id", &self.id)
            .field("info", &self.info)
            .field("caps", &self.caps)
            .field("queues", &self.queues.len())
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}

/// The control of a port whose link never changes.
#[derive(Debug)]
pub(super) struct FixedControl(pub(super) PortInfo);

impl PortControl for FixedControl {
    fn link(&self) -> LinkState {
        self.0.link
    }

    fn reopen(&mut self) -> Result<PortInfo, OpenError> {
        Ok(self.0.clone())
    }
}

/// A locally administered address that tells ports apart, for ports without a device.
pub(super) const fn made_up_mac(id: PortId) -> MacAddr {
    MacAddr([0x02, 0xf6, 0, 0, 0, id.0])
}
