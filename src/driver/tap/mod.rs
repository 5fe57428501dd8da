//! A TAP device as a port: this machine's own stack, or whatever the device is bridged to, is the other end.
//!
//! Owns one descriptor of `/dev/net/tun` per queue, with virtio-net headers in front of every frame both ways, as
//! packet sockets have them: partial checksums and super-frames pass. A device that does not exist is made, switched
//! on, and vanishes with its last descriptor; one that was made persistent (`ip tuntap add NAME mode tap
//! multi_queue`) is attached to and left as it was.
//! Always holds: a call never blocks; every queue sends and receives; which queue a frame comes to is the kernel's
//! choice (it follows the queue the flow was last sent on); no two flowgates of a network namespace have the same
//! device; the router's link address is not the device's, which is the peer's.
//! Must not know: what the frames mean.
//!
//! A device that is deleted is lost to its descriptors. It is attached to again when one of that name exists.

mod queue;
#[allow(unsafe_code)]
mod sys;

use super::interface::{self, Opened, port};
use super::vnet::HEADER_LEN;
use super::{OpenError, OpenPort, PortCaps, PortInfo, PortSpec};
use crate::frame::MAX_FRAME;
use crate::net::MacAddr;
use queue::Queue;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use sys::Attach;

/// Opens the device `spec.device`, and makes it if there is none.
pub(super) fn open(spec: &PortSpec) -> Result<OpenPort, OpenError> {
    let opened = open_device(spec, true)?;
    let caps = PortCaps {
        tx_checksum_partial: true,
        tx_gso: true,
        rx_partial: true,
        rx_gso: true,
        max_frame: MAX_FRAME,
        steered: spec.queues == 1,
    };
    // A device that was deleted is waited for: making one takes privileges that are dropped by then.
    let again = |spec: &PortSpec| open_device(spec, false);
    Ok(port(spec, opened, caps, again, |id, seat| Box::new(Queue::new(id, seat))))
}

fn fault(spec: &PortSpec, step: &'static str) -> impl Fn(Errno) -> OpenError + use<> {
    interface::fault(spec, step, "make or attach to a TAP device", "CAP_NET_ADMIN")
}

fn open_device(spec: &PortSpec, may_make: bool) -> Result<Opened<OwnedFd>, OpenError> {
    let name = interface::device_name(spec)?;
    let probe = interface::sys::question_socket().map_err(fault(spec, "open a socket"))?;
    let exists = match interface::find(spec, probe.as_fd(), name, fault) {
        Ok(_) => true,
        Err(OpenError::NoDevice { .. }) if may_make => false,
        Err(e) => return Err(e),
    };
    let sockets = attach_all(spec, name, exists)?;
    let mut device = interface::find(spec, probe.as_fd(), name, fault)?;
    let claim = interface::claim(spec, name, device.ifindex)?;
    if !exists {
        if let Some(mtu) = spec.mtu {
            interface::sys::set_mtu(probe.as_fd(), name, mtu).map_err(fault(spec, "set the MTU"))?;
        }
        interface::sys::set_up(probe.as_fd(), name).map_err(fault(spec, "switch the device on"))?;
        device = interface::find(spec, probe.as_fd(), name, fault)?;
    }
    let own = device.ethernet.unwrap_or_default();
    let info = PortInfo { mac: spec.mac.unwrap_or(opposite(own)), ..interface::info(spec, name, &device) };
    let warnings = interface::warnings(spec, name, &device);
    Ok(Opened { sockets, probe, claim, ifindex: device.ifindex, info, warnings, held: Box::new(()) })
}

/// The address at our end of the cable: the device's own, locally administered, with one bit turned. As unique as the
/// device's, and the same at every start with the same device.
fn opposite(device: [u8; 6]) -> MacAddr {
    let [first, rest @ ..] = device;
    let [a, b, c, d, e] = rest;
    MacAddr([(first | 0x02) ^ 0x04, a, b, c, d, e])
}

/// One descriptor per queue.
fn attach_all(spec: &PortSpec, name: &str, exists: bool) -> Result<Vec<OwnedFd>, OpenError> {
    let several = Attach::MultiQueue;
    let mut descriptors = Vec::with_capacity(spec.queues);
    for _ in 0..spec.queues {
        let fd = sys::open().map_err(fault(spec, "open /dev/net/tun (is the module `tun` there?)"))?;
        let mut result = sys::attach(&fd, name, several);
        if result == Err(Errno::INVAL) && spec.queues == 1 {
            // A device that was made for one descriptor only.
            result = sys::attach(&fd, name, Attach::Single);
        }
        result.map_err(|e| refusal(spec, name, exists, e))?;
        sys::set_header_len(fd.as_fd(), HEADER_LEN).map_err(fault(spec, "size the virtio-net header"))?;
        sys::set_offloads(fd.as_fd()).map_err(fault(spec, "switch the offloads on"))?;
        descriptors.push(fd);
    }
    Ok(descriptors)
}

fn refusal(spec: &PortSpec, name: &str, exists: bool, error: Errno) -> OpenError {
    let why = match error {
        Errno::BUSY => "another program is attached to it".to_owned(),
        Errno::INVAL if exists && spec.queues > 1 => format!(
            "it is not a TAP device for several queues; make it with `ip tuntap add dev {name} mode tap multi_queue`"
        ),
        Errno::INVAL if exists => "it is not a TAP device".to_owned(),
        e => return fault(spec, "attach to the TAP device")(e),
    };
    OpenError::Unfit { port: spec.name.clone(), device: name.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ends_have_different_addresses_of_stations() {
        for first in [0x00, 0x02, 0x06, 0x5e] {
            let device = [first, 1, 2, 3, 4, 5];
            let ours = opposite(device);
            assert_ne!(ours, MacAddr(device));
            assert!(!ours.is_multicast() && ours.0[0] & 2 == 2);
        }
    }
}
