//! The requests of `/dev/net/tun`, behind safe functions. See the kernel's networking/tuntap documentation.

use crate::driver::interface::sys::{ask, checked, request};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

/// Opens the device that makes others: not blocking, attached to nothing yet.
pub(super) fn open() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/dev/net/tun", OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
}

/// How a descriptor is attached to its device: as the only one, or as one queue of several.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Attach {
    Single,
    MultiQueue,
}

/// Attaches the descriptor to the TAP device of this name, which is made if there is none. Frames carry a virtio-net
/// header and no packet information.
pub(super) fn attach(fd: &OwnedFd, name: &str, how: Attach) -> Result<(), Errno> {
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if how == Attach::MultiQueue {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    let mut ifr = request(name)?;
    ifr.ifr_ifru.ifru_flags = flags as libc::c_short;
    ask(fd.as_fd(), libc::TUNSETIFF, &mut ifr)
}

/// Lets the kernel hand over partial checksums and super-frames: TCP's, and UDP's where it knows them (Linux 6.2).
pub(super) fn set_offloads(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6 | libc::TUN_F_TSO_ECN;
    let set = |flags: libc::c_uint| {
        // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory of ours.
        checked(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(flags)) })
    };
    set(tcp | libc::TUN_F_USO4 | libc::TUN_F_USO6).or_else(|_| set(tcp))
}

/// Sets the length of the virtio-net header, which another program may have left at another one.
pub(super) fn set_header_len(fd: BorrowedFd<'_>, len: usize) -> Result<(), Errno> {
    let len = len as libc::c_int;
    // SAFETY: TUNSETVNETHDRSZ reads one int, which lives through the call.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, ptr::from_ref(&len)) })
}
