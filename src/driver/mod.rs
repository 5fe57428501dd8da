//! The doors: where frames come from and go to.
//!
//! Owns one adapter per kind of port, all with the same shape: `open` on the main thread while the process
//! still has its privileges, then one [`QueuePair`] per worker, made on the worker's own thread.
//! Always holds: a call never blocks; it costs no allocation and reads no clock; a frame is received into
//! the caller's pool; a frame leaves the burst only when the port took it; whatever a port loses by itself
//! is counted in [`QueueStats`].
//! Must not know: what the bytes mean beyond the Ethernet header and its tags, who owns a packet, why it
//! is sent. Nobody outside this room knows a kernel or a NIC.
//!
//! A new kind of port implements [`QueuePair`], gives its caps, and adds an arm to [`open`].

pub mod af_packet;
pub mod af_xdp;
pub mod memory;
#[cfg(feature = "dpdk")]
pub mod dpdk;
pub mod pcap;
pub mod privileges;
pub mod needs;
pub mod tap;
pub mod wrap;
mod checksum;
mod devices;
mod error;
mod interface;
mod port;
mod stats;
mod vnet;

pub use crate::net::HugePages;
pub use af_xdp::Umem;
pub use devices::{DpdkDevice, DpdkProcess, DpdkSpec, DpdkSteering};
pub use error::OpenError;
pub use port::{
    BpfInstr, DriverKind, LinkState, OpenPort, PoolSeed, PortCaps, PortControl, PortInfo, PortSpec, QueueSeed, XdpMode,
};
pub use stats::QueueStats;

use crate::frame::{Burst, Pool};
use std::os::fd::BorrowedFd;

/// One receive and one transmit queue of a port, used by one worker: one dynamic call per burst.
///
/// Made on the worker's thread by [`QueueSeed::start`] and never leaves it.
pub trait QueuePair {
    /// Adds what has arrived to `burst`, at most [`Burst::room`] frames, each with its port of ingress and
    /// what the port knows of its checksum and segmentation. Never blocks.
    fn receive(&mut self, pool: &Pool, burst: &mut Burst) -> RxStatus;

    /// Takes what it can from the front of `burst` and leaves the rest, with the reason it stopped.
    fn transmit(&mut self, burst: &mut Burst) -> TxStatus;

    /// From now on a transmit call may hold back up to `most` frames it took until [`QueuePair::flush`] is called or there
    /// are more, if that saves the device work. Without this call nothing is held back.
    fn hold_back(&mut self, _most: usize) {}

    /// Has what was held back sent. Gives whether there was anything.
    fn flush(&mut self) -> bool {
        false
    }

    /// What this queue did since it was made. May ask the kernel, so it is for housekeeping and not for
    /// every turn.
    fn stats(&self) -> QueueStats;

    /// A descriptor that becomes readable when frames may have arrived, for a worker that sleeps when idle.
    /// Ask again before each sleep: it changes when the device comes back after it was gone.
    fn wait_fd(&self) -> Option<BorrowedFd<'_>>;
}

/// What a receive call did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxStatus {
    /// Frames added to the burst.
    pub received: usize,
    /// Their octets.
    pub octets: u64,
    /// Set by the one call that noticed that the link changed.
    pub link: Option<LinkState>,
}

/// What a transmit call did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxStatus {
    /// Frames taken from the front of the burst.
    pub sent: usize,
    /// Why frames are left; `None` exactly when the burst is empty.
    pub stop: Option<TxStop>,
}

/// Why a port stopped taking frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxStop {
    /// No room now. Later it may go.
    Full,
    /// The first frame left is larger than the device sends. The ones behind it may go: take it out and
    /// call again.
    Oversize,
    /// The first frame left is malformed in the eyes of the device, or asks for an offload that it does not
    /// have. The ones behind it may go: take it out and call again.
    Refused,
    /// The link is down. Nothing goes.
    Down,
    /// The device is gone. Nothing goes until the control plane has reopened it.
    Gone,
}

impl TxStop {
    /// Only the first frame is at fault, so those behind it are worth another call.
    #[must_use]
    pub const fn blames_first(self) -> bool {
        matches!(self, TxStop::Oversize | TxStop::Refused)
    }
}

/// Opens a port with all its queues. For the main thread, while the process has its privileges; sockets
/// belong to the network namespace of the calling thread.
///
/// # Errors
/// When the port does not exist, is not permitted, or cannot do what is asked; the text says which.
pub fn open(spec: &PortSpec) -> Result<OpenPort, OpenError> {
    spec.validate()?;
    match spec.driver {
        DriverKind::Memory => Ok(memory::open(spec)),
        DriverKind::Pcap => pcap::open(spec),
        DriverKind::AfPacket => af_packet::open(spec),
        DriverKind::AfXdp => af_xdp::open(spec),
        DriverKind::Tap => tap::open(spec),
        #[cfg(feature = "dpdk")]
        DriverKind::Dpdk => dpdk::open(spec),
        #[cfg(not(feature = "dpdk"))]
        DriverKind::Dpdk => Err(OpenError::NotBuilt { port: spec.name.clone(), feature: "dpdk" }),
    }
}

#[cfg(test)]
mod tests;
