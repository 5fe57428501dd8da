//! What ethtool(8) asks and sets: numbers of queues and offloads. See the kernel's `linux/ethtool.h`.

use super::sys::{checked, request};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

type Fd<'a> = BorrowedFd<'a>;

const GET_TX_CHECKSUM: u32 = 0x16;
const GET_FLAGS: u32 = 0x25;
const SET_FLAGS: u32 = 0x26;
const GET_GRO: u32 = 0x2b;
const SET_GRO: u32 = 0x2c;
const GET_CHANNELS: u32 = 0x3c;
const SET_CHANNELS: u32 = 0x3d;

/// Tags are taken out of received frames.
pub(in crate::driver) const FLAG_RX_VLAN: u32 = 1 << 8;
/// Received segments are put together by the device.
pub(in crate::driver) const FLAG_LRO: u32 = 1 << 15;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ethtool_channels`: how many queues of each kind a device has, and may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(in crate::driver) struct Channels {
    command: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

impl Channels {
    /// Receive queues.
    pub(in crate::driver) fn receive(&self) -> u32 {
        self.rx + self.combined
    }

    /// Transmit queues.
    pub(in crate::driver) fn transmit(&self) -> u32 {
        self.tx + self.combined
    }

    /// Most receive queues it can be given that also send.
    pub(in crate::driver) fn most(&self) -> u32 {
        self.max_combined.max(self.max_rx.min(self.max_tx))
    }

    /// The same device with so many queues, and the words of `ethtool -L` for it.
    pub(in crate::driver) fn with(&self, queues: u32) -> (Channels, String) {
        if self.max_combined > 0 {
            (Channels { rx: 0, tx: 0, combined: queues, ..*self }, format!("combined {queues}"))
        } else {
            (Channels { rx: queues, tx: queues, ..*self }, format!("rx {queues} tx {queues}"))
        }
    }
}

/// Makes one request; `data` is what its command stands in front of.
fn ethtool<T>(fd: Fd<'_>, name: &str, data: &mut T) -> Result<(), Errno> {
    let mut ifr = request(name)?;
    ifr.ifr_ifru.ifru_data = ptr::from_mut(data).cast();
    // SAFETY: `data` is the structure that its command names, for every caller in this file, and lives through the
    // call; the kernel reads and writes no more than that structure.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCETHTOOL, ptr::from_mut(&mut ifr)) })
}

fn get(fd: Fd<'_>, name: &str, command: u32) -> Result<u32, Errno> {
    let mut value = Value { command, data: 0 };
    ethtool(fd, name, &mut value)?;
    Ok(value.data)
}

fn set(fd: Fd<'_>, name: &str, command: u32, data: u32) -> Result<(), Errno> {
    ethtool(fd, name, &mut Value { command, data })
}

/// How many queues the device has; an error from one that cannot be asked.
pub(in crate::driver) fn channels(fd: Fd<'_>, name: &str) -> Result<Channels, Errno> {
    let mut channels = Channels { command: GET_CHANNELS, ..Channels::default() };
    ethtool(fd, name, &mut channels)?;
    Ok(channels)
}

pub(in crate::driver) fn set_channels(fd: Fd<'_>, name: &str, channels: &Channels) -> Result<(), Errno> {
    ethtool(fd, name, &mut Channels { command: SET_CHANNELS, ..*channels })
}

/// The `FLAG_` bits.
pub(in crate::driver) fn flags(fd: Fd<'_>, name: &str) -> Result<u32, Errno> {
    get(fd, name, GET_FLAGS)
}

pub(in crate::driver) fn set_flags(fd: Fd<'_>, name: &str, flags: u32) -> Result<(), Errno> {
    set(fd, name, SET_FLAGS, flags)
}

/// Whether the kernel puts received segments together.
pub(in crate::driver) fn gro(fd: Fd<'_>, name: &str) -> Result<bool, Errno> {
    Ok(get(fd, name, GET_GRO)? != 0)
}

pub(in crate::driver) fn set_gro(fd: Fd<'_>, name: &str, on: bool) -> Result<(), Errno> {
    set(fd, name, SET_GRO, u32::from(on))
}

/// Whether checksums of frames the kernel sends there are left to the device.
pub(in crate::driver) fn tx_checksum(fd: Fd<'_>, name: &str) -> Result<bool, Errno> {
    Ok(get(fd, name, GET_TX_CHECKSUM)? != 0)
}
