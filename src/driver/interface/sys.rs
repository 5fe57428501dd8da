//! The system calls of kernel interfaces that several doors make, behind safe functions. See netdevice(7).

use crate::driver::LinkState;
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

type Fd<'a> = BorrowedFd<'a>;

/// The error of the system call that has just failed.
pub(in crate::driver) fn last_error() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// The error of a system call that gave less than 0.
pub(in crate::driver) fn checked(result: libc::c_int) -> Result<(), Errno> {
    if result < 0 { Err(last_error()) } else { Ok(()) }
}

/// What the kernel says of an interface.
#[derive(Debug)]
pub(in crate::driver) struct Device {
    pub(in crate::driver) ifindex: u32,
    /// Link address, when it is an Ethernet interface.
    pub(in crate::driver) ethernet: Option<[u8; 6]>,
    pub(in crate::driver) mtu: usize,
    pub(in crate::driver) link: LinkState,
    pub(in crate::driver) has_ipv4: bool,
}

impl Device {
    /// Asks about the interface with this name, in the socket's network namespace.
    pub(in crate::driver) fn named(fd: Fd<'_>, name: &str) -> Result<Device, Errno> {
        let mut ifr = request(name)?;
        ask(fd, libc::SIOCGIFINDEX, &mut ifr)?;
        // SAFETY: SIOCGIFINDEX filled this member; every octet pattern is a valid integer.
        let ifindex = unsafe { ifr.ifr_ifru.ifru_ifindex } as u32;
        ask(fd, libc::SIOCGIFHWADDR, &mut ifr)?;
        // SAFETY: SIOCGIFHWADDR filled this member; every octet pattern is valid.
        let address = unsafe { ifr.ifr_ifru.ifru_hwaddr };
        let mut octets = [0; 6];
        for (octet, byte) in octets.iter_mut().zip(address.sa_data) {
            *octet = byte as u8;
        }
        ask(fd, libc::SIOCGIFMTU, &mut ifr)?;
        // SAFETY: SIOCGIFMTU filled this member; every octet pattern is a valid integer.
        let mtu = unsafe { ifr.ifr_ifru.ifru_mtu };
        let link = link_of(fd, ifindex);
        let has_ipv4 = ask(fd, libc::SIOCGIFADDR, &mut ifr).is_ok();
        Ok(Device {
            ifindex,
            ethernet: (address.sa_family == libc::ARPHRD_ETHER).then_some(octets),
            mtu: usize::try_from(mtu).unwrap_or(0),
            link,
            has_ipv4,
        })
    }
}

/// An empty interface request.
fn empty_request() -> libc::ifreq {
    // SAFETY: all-zero octets are a valid ifreq: integers, and a null pointer at most.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// A request about the interface of this name.
pub(in crate::driver) fn request(name: &str) -> Result<libc::ifreq, Errno> {
    let mut ifr = empty_request();
    // One octet is left for the terminating zero.
    if name.is_empty() || name.len() >= ifr.ifr_name.len() || name.contains('\0') {
        return Err(Errno::NAMETOOLONG);
    }
    for (place, byte) in ifr.ifr_name.iter_mut().zip(name.bytes()) {
        *place = byte as libc::c_char;
    }
    Ok(ifr)
}

/// One request of netdevice(7); the kernel reads and writes an `ifreq` for each that callers here name.
pub(in crate::driver) fn ask(fd: Fd<'_>, what: libc::Ioctl, ifr: &mut libc::ifreq) -> Result<(), Errno> {
    // SAFETY: every request made here reads and writes one ifreq, which is what the pointer is to.
    checked(unsafe { libc::ioctl(fd.as_raw_fd(), what, ptr::from_mut(ifr)) })
}

/// The link of the interface with this number, whatever its name is now.
pub(in crate::driver) fn link_of(fd: Fd<'_>, ifindex: u32) -> LinkState {
    let mut ifr = empty_request();
    ifr.ifr_ifru.ifru_ifindex = ifindex as i32;
    if ask(fd, libc::SIOCGIFNAME, &mut ifr).and_then(|()| ask(fd, libc::SIOCGIFFLAGS, &mut ifr)).is_err() {
        return LinkState::Gone;
    }
    // SAFETY: SIOCGIFFLAGS filled this member; every octet pattern is a valid integer.
    let flags = libc::c_int::from(unsafe { ifr.ifr_ifru.ifru_flags });
    let both = libc::IFF_UP | libc::IFF_RUNNING;
    if flags & both == both { LinkState::Up } else { LinkState::Down }
}

/// The largest IP packet of the interface with this number; nothing if there is no such interface any more.
pub(in crate::driver) fn mtu_of(fd: Fd<'_>, ifindex: u32) -> Option<usize> {
    let mut ifr = empty_request();
    ifr.ifr_ifru.ifru_ifindex = ifindex as i32;
    ask(fd, libc::SIOCGIFNAME, &mut ifr).and_then(|()| ask(fd, libc::SIOCGIFMTU, &mut ifr)).ok()?;
    // SAFETY: SIOCGIFMTU filled this member; every octet pattern is a valid integer.
    usize::try_from(unsafe { ifr.ifr_ifru.ifru_mtu }).ok()
}

/// Sets the largest IP packet of an interface.
pub(in crate::driver) fn set_mtu(fd: Fd<'_>, name: &str, mtu: usize) -> Result<(), Errno> {
    let mut ifr = request(name)?;
    ifr.ifr_ifru.ifru_mtu = i32::try_from(mtu).map_err(|_| Errno::INVAL)?;
    ask(fd, libc::SIOCSIFMTU, &mut ifr)
}

/// Switches an interface on.
pub(in crate::driver) fn set_up(fd: Fd<'_>, name: &str) -> Result<(), Errno> {
    let mut ifr = request(name)?;
    ask(fd, libc::SIOCGIFFLAGS, &mut ifr)?;
    // SAFETY: SIOCGIFFLAGS filled this member; every octet pattern is a valid integer.
    let flags = unsafe { ifr.ifr_ifru.ifru_flags };
    ifr.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
    ask(fd, libc::SIOCSIFFLAGS, &mut ifr)
}

/// The names of all interfaces in the calling thread's network namespace.
pub(in crate::driver) fn device_names() -> Vec<String> {
    let mut names = Vec::new();
    // SAFETY: no arguments; the result is null or a list that is freed below.
    let list = unsafe { libc::if_nameindex() };
    let mut entry = list;
    while !entry.is_null() {
        // SAFETY: the list ends with an entry whose index is 0 and whose name is null; this one is not past it.
        let this = unsafe { &*entry };
        if this.if_index == 0 || this.if_name.is_null() {
            break;
        }
        // SAFETY: names in the list are zero-terminated and live as long as the list.
        let name = unsafe { std::ffi::CStr::from_ptr(this.if_name) };
        names.push(name.to_string_lossy().into_owned());
        // SAFETY: an entry that is not the last has a successor.
        entry = unsafe { entry.add(1) };
    }
    if !list.is_null() {
        // SAFETY: from if_nameindex, freed once, no reference into it is left.
        unsafe { libc::if_freenameindex(list) };
    }
    names
}

/// A socket for questions about interfaces, which any process may open.
pub(in crate::driver) fn question_socket() -> Result<std::os::fd::OwnedFd, Errno> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
}

/// Sets an option of a socket that is a number.
pub(in crate::driver) fn set_number(
    fd: Fd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> Result<(), Errno> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer and length describe `value`, which lives through the call; the kernel only reads.
    checked(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, ptr::from_ref(&value).cast(), len) })
}
