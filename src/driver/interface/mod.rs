//! What the doors to kernel interfaces share: finding a device, keeping others off it, its link, and fresh
//! sockets for its queues when it was gone and came back.
//!
//! Always holds: a queue learns of a change of its link once; sockets made by an older attempt never replace those of
//! a newer one; nothing here is on the packet path but [`Seat`]'s fields.
//! Must not know: how a door moves frames.

mod control;
#[allow(unsafe_code)]
pub(super) mod ethtool;
mod seat;
#[allow(unsafe_code)]
pub(super) mod sys;

pub(super) use control::{Opened, port};
pub(super) use seat::Seat;
pub(super) use sys::Device;

use super::{LinkState, OpenError, PortInfo, PortSpec};
use crate::net::MacAddr;
use rustix::io::Errno;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// For the kernel to clear up after a process that was just killed.
const LET_GO: Duration = Duration::from_millis(300);

/// The interface the configuration names.
pub(super) fn device_name(spec: &PortSpec) -> Result<&str, OpenError> {
    spec.device.as_deref().ok_or_else(|| OpenError::Missing { port: spec.name.clone(), key: "device" })
}

/// Turns a kernel's refusal into an error that names the port and the step, or the permission that is missing.
pub(super) fn fault(
    spec: &PortSpec,
    step: &'static str,
    act: &'static str,
    needs: &'static str,
) -> impl Fn(Errno) -> OpenError + use<> {
    let port = spec.name.clone();
    move |e| match e {
        Errno::PERM | Errno::ACCESS => OpenError::Permission { port: port.clone(), act, needs },
        e => OpenError::System { port: port.clone(), step, source: e.into() },
    }
}

/// Looks for an Ethernet interface of this name in the network namespace of the socket `fd`.
pub(super) fn find<F: Fn(Errno) -> OpenError>(
    spec: &PortSpec,
    fd: BorrowedFd<'_>,
    name: &str,
    fault: impl Fn(&PortSpec, &'static str) -> F,
) -> Result<Device, OpenError> {
    let device = Device::named(fd, name).map_err(|e| match e {
        Errno::NODEV | Errno::NXIO | Errno::NAMETOOLONG | Errno::INVAL => OpenError::NoDevice {
            port: spec.name.clone(),
            device: name.to_owned(),
            nearest: nearest(name, &sys::device_names()),
        },
        e => fault(spec, "look at the interface")(e),
    })?;
    if device.ethernet.is_none() {
        return Err(OpenError::NotEthernet { port: spec.name.clone(), device: name.to_owned() });
    }
    Ok(device)
}

/// What there is to know of a port that has this device.
pub(super) fn info(spec: &PortSpec, name: &str, device: &Device) -> PortInfo {
    PortInfo {
        mac: spec.mac.unwrap_or(MacAddr(device.ethernet.unwrap_or_default())),
        mtu: spec.mtu.unwrap_or(device.mtu),
        link: device.link,
        ifindex: Some(device.ifindex),
        speed_mbps: speed(name, device.ifindex),
    }
}

/// The abstract name that whoever has an interface holds.
pub(super) fn claim_name(ifindex: u32) -> String {
    format!("flowgate/interface/{ifindex}")
}

/// Keeps other routers off an interface: holding a name that there is once in a network namespace and that the
/// kernel frees when its holder ends, however it ends. The kernel itself would serve any number of packet sockets.
pub(in crate::driver) fn claim(spec: &PortSpec, name: &str, ifindex: u32) -> Result<UnixDatagram, OpenError> {
    let deadline = Instant::now() + LET_GO;
    let bind = || SocketAddr::from_abstract_name(claim_name(ifindex)).and_then(|name| UnixDatagram::bind_addr(&name));
    loop {
        match bind() {
            Ok(claim) => return Ok(claim),
            Err(e) if e.kind() != io::ErrorKind::AddrInUse => {
                return Err(OpenError::System { port: spec.name.clone(), step: "claim the interface", source: e });
            }
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Err(_) => return Err(OpenError::Taken { port: spec.name.clone(), device: name.to_owned() }),
        }
    }
}

pub(in crate::driver) fn warnings(spec: &PortSpec, name: &str, device: &Device) -> Vec<String> {
    let mut out = Vec::new();
    if device.link != LinkState::Up {
        out.push(format!("port {}: interface `{name}` is down; frames flow as soon as it is up", spec.name));
    }
    if let Some(mtu) = spec.mtu
        && mtu > device.mtu
    {
        out.push(format!(
            "port {}: mtu {mtu} is more than the {} of interface `{name}`, which will refuse larger packets",
            spec.name, device.mtu
        ));
    }
    out
}

/// That the kernel has an address on an interface whose frames its stack sees too.
pub(super) fn kernel_answers(spec: &PortSpec, name: &str, device: &Device) -> Option<String> {
    device.has_ipv4.then(|| {
        format!(
            "port {}: interface `{name}` has an IPv4 address of the kernel's, which answers beside the router; \
             remove it with `ip addr flush dev {name}`",
            spec.name
        )
    })
}

/// Speed in Mbit/s, if sysfs shows the network namespace this device is in.
fn speed(name: &str, ifindex: u32) -> Option<u32> {
    let read = |file: &str| std::fs::read_to_string(format!("/sys/class/net/{name}/{file}")).ok();
    let same = read("ifindex")?.trim().parse() == Ok(ifindex);
    read("speed")?.trim().parse().ok().filter(|_| same)
}

/// The most similar name, if so few letters differ that it may have been meant.
pub(super) fn nearest(name: &str, existing: &[String]) -> Option<String> {
    let scored = existing.iter().map(|other| (strsim::damerau_levenshtein(name, other), other));
    let (distance, best) = scored.min_by_key(|(distance, _)| *distance)?;
    (distance <= (name.len() / 3).max(1)).then(|| best.clone())
}

#[cfg(test)]
mod tests;
