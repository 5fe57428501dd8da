//! A kernel interface as a port, through packet sockets.
//!
//! Owns one `SOCK_RAW` packet socket per queue, joined to a fan-out group, with virtio-net headers in
//! front of every frame both ways. The headers carry what is not in the bytes: partial checksums and
//! super-frames up to 64 KiB. Without them ping works between veth ends and TCP does not (packet(7),
//! PACKET_VNET_HDR; virtio 1.2 section 5.1.6.2).
//! Always holds: no frame is seen twice or by two queues, also while the sockets are opened (they refuse
//! everything until all of them are in the group); frames this machine sends on the interface are not
//! received; the outermost VLAN tag, which the kernel takes out, is put back; a burst is one system call; no two
//! flowgates of a network namespace have the same interface.
//! Must not know: what the frames mean.
//!
//! What an operator must know: a packet socket gets a copy, so **the kernel's own stack sees every frame
//! too**. Give the interface no address and disable IPv6 on it (`disable_ipv6=1`), and keep `ip_forward`
//! off in its network namespace, or the kernel answers and forwards beside the router. The router owns the
//! device and switches it to promiscuous mode.
//!
//! Life of the link. Down and up again: the kernel unhooks the sockets and hooks them again in the order
//! in which they were made, so queues keep their numbers. Device deleted: the sockets are dead; the queue
//! reports [`LinkState::Gone`] once, and [`PortControl::reopen`](super::PortControl::reopen) sends each
//! queue a fresh socket when a device of that name exists again.

mod control;
mod queue;
#[allow(unsafe_code)]
mod sys;
mod vnet;

use super::{LinkState, OpenError, OpenPort, PortCaps, PortInfo, PortSpec, QueueSeed};
use crate::frame::MAX_FRAME;
use crate::net::MacAddr;
use control::Control;
use queue::{Queue, Shared};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use sys::FanoutMode;

/// Fresh sockets a queue can be offered before it takes one over.
const REPLACEMENTS: usize = 4;

/// Socket buffer a queued frame is given: a full packet costs the kernel about 2.3 KiB, a super-frame up
/// to 70 KiB; most queues hold a mixture.
const BUFFER_PER_FRAME: usize = 16 * 1024;

/// Bounds of the receive buffer, in octets.
const RECEIVE_BUFFER: std::ops::RangeInclusive<usize> = 4 << 20..=64 << 20;

/// Send buffer: what may be under way to the peer before the port reports that it is full.
const SEND_BUFFER: usize = 8 << 20;

/// A socket on its way to its queue, with the number of the attempt that made it.
struct Fresh {
    socket: OwnedFd,
    ifindex: u32,
    epoch: u32,
}

/// Opens the interface `spec.device`.
pub(super) fn open(spec: &PortSpec) -> Result<OpenPort, OpenError> {
    let name = device_name(spec)?;
    let opened = open_sockets(spec, name)?;
    let shared = Arc::new(Shared::default());
    let mut seeds = Vec::with_capacity(spec.queues);
    let mut senders = Vec::with_capacity(spec.queues);
    for socket in opened.sockets {
        let (sender, replacements) = rtrb::RingBuffer::new(REPLACEMENTS);
        senders.push(sender);
        let fresh = Fresh { socket, ifindex: opened.ifindex, epoch: 0 };
        let (id, link, shared) = (spec.id, opened.info.link, Arc::clone(&shared));
        seeds.push(QueueSeed::new(move || Box::new(Queue::new(id, link, fresh, replacements, shared))));
    }
    let control = Control {
        spec: spec.clone(),
        ifindex: opened.ifindex,
        epoch: 0,
        probe: opened.probe,
        claim: Some(opened.claim),
        senders,
        shared,
    };
    Ok(OpenPort {
        id: spec.id,
        info: opened.info,
        caps: PortCaps {
            tx_checksum_partial: true,
            tx_gso: true,
            rx_partial: true,
            rx_gso: true,
            max_frame: MAX_FRAME,
            steered: spec.queues == 1 || spec.fanout.is_some(),
        },
        queues: seeds,
        control: Box::new(control),
        warnings: opened.warnings,
    })
}

fn device_name(spec: &PortSpec) -> Result<&str, OpenError> {
    spec.device.as_deref().ok_or_else(|| OpenError::Missing { port: spec.name.clone(), key: "device" })
}

struct Opened {
    sockets: Vec<OwnedFd>,
    /// For questions about the device.
    probe: OwnedFd,
    claim: UnixDatagram,
    ifindex: u32,
    info: PortInfo,
    warnings: Vec<String>,
}

/// Turns a kernel's refusal into an error that names the port and the step.
fn fault(spec: &PortSpec, step: &'static str) -> impl Fn(Errno) -> OpenError {
    let port = spec.name.clone();
    move |e| match e {
        Errno::PERM | Errno::ACCESS => OpenError::Permission { port: port.clone(), needs: "CAP_NET_RAW" },
        e => OpenError::System { port: port.clone(), step, source: e.into() },
    }
}

fn open_sockets(spec: &PortSpec, name: &str) -> Result<Opened, OpenError> {
    let probe = sys::packet_socket().map_err(fault(spec, "open a packet socket"))?;
    let device = sys::Device::named(probe.as_fd(), name).map_err(|e| match e {
        Errno::NODEV | Errno::NXIO | Errno::NAMETOOLONG | Errno::INVAL => OpenError::NoDevice {
            port: spec.name.clone(),
            device: name.to_owned(),
            nearest: nearest(name, &sys::device_names()),
        },
        e => fault(spec, "look at the interface")(e),
    })?;
    let Some(own_mac) = device.ethernet else {
        return Err(OpenError::NotEthernet { port: spec.name.clone(), device: name.to_owned() });
    };
    let claim = claim(spec, name, device.ifindex)?;
    let mut warnings = warnings(spec, name, &device);
    let want = receive_buffer(spec);
    let mut sockets = Vec::with_capacity(spec.queues);
    let mut group = None;
    for _ in 0..spec.queues {
        let socket = sys::packet_socket().map_err(fault(spec, "open a packet socket"))?;
        let fd = socket.as_fd();
        sys::set_vnet_headers(fd).map_err(fault(spec, "ask for virtio-net headers"))?;
        sys::set_auxdata(fd).map_err(fault(spec, "ask for VLAN tags"))?;
        sys::ignore_outgoing(fd).map_err(fault(spec, "ignore outgoing frames (Linux 4.20)"))?;
        let granted = sys::set_receive_buffer(fd, want).map_err(fault(spec, "size the receive buffer"))?;
        sys::set_send_buffer(fd, SEND_BUFFER).map_err(fault(spec, "size the send buffer"))?;
        if granted < want && sockets.is_empty() {
            warnings.push(format!(
                "port {}: the receive buffer got {} KiB of {} KiB; raise net.core.rmem_max or grant CAP_NET_ADMIN",
                spec.name,
                granted >> 10,
                want >> 10
            ));
        }
        // Until all sockets are in the group each would get every frame, so all refuse everything.
        sys::refuse_all(fd).map_err(fault(spec, "attach a filter"))?;
        sys::bind(fd, device.ifindex).map_err(fault(spec, "bind to the interface"))?;
        if spec.queues > 1 {
            let mode = if spec.fanout.is_some() { FanoutMode::Program } else { FanoutMode::Hash };
            let id = sys::join_fanout(fd, group, mode).map_err(fault(spec, "join the fan-out group"))?;
            if group.is_none()
                && let Some(program) = &spec.fanout
            {
                sys::set_fanout_program(fd, program).map_err(fault(spec, "load the fan-out program"))?;
            }
            group = Some(id);
        }
        sockets.push(socket);
    }
    if let Some(first) = sockets.first() {
        sys::set_promiscuous(first.as_fd(), device.ifindex).map_err(fault(spec, "set promiscuous mode"))?;
    }
    for socket in &sockets {
        sys::accept_all(socket.as_fd()).map_err(fault(spec, "detach the filter"))?;
    }
    let info = PortInfo {
        mac: spec.mac.unwrap_or(MacAddr(own_mac)),
        mtu: spec.mtu.unwrap_or(device.mtu),
        link: device.link,
        ifindex: Some(device.ifindex),
        speed_mbps: speed(name, device.ifindex),
    };
    Ok(Opened { sockets, probe, claim, ifindex: device.ifindex, info, warnings })
}

/// Octets of a queue's receive buffer.
pub(super) fn receive_buffer(spec: &PortSpec) -> usize {
    (spec.ring * BUFFER_PER_FRAME).clamp(*RECEIVE_BUFFER.start(), *RECEIVE_BUFFER.end())
}

/// The abstract name that whoever has an interface holds.
pub(super) fn interface_claim(ifindex: u32) -> String {
    format!("flowgate/interface/{ifindex}")
}

/// Keeps other routers off an interface: holding a name that there is once in a network namespace and that the
/// kernel frees when its holder ends, however it ends. The kernel itself would serve any number of packet sockets.
fn claim(spec: &PortSpec, name: &str, ifindex: u32) -> Result<UnixDatagram, OpenError> {
    let address = SocketAddr::from_abstract_name(interface_claim(ifindex));
    address.and_then(|address| UnixDatagram::bind_addr(&address)).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => OpenError::Taken { port: spec.name.clone(), device: name.to_owned() },
        _ => OpenError::System { port: spec.name.clone(), step: "claim the interface", source },
    })
}

fn warnings(spec: &PortSpec, name: &str, device: &sys::Device) -> Vec<String> {
    let mut out = Vec::new();
    if device.link != LinkState::Up {
        out.push(format!("port {}: interface `{name}` is down; frames flow as soon as it is up", spec.name));
    }
    if device.has_ipv4 {
        out.push(format!(
            "port {}: interface `{name}` has an IPv4 address of the kernel's, which answers beside the router; \
             remove it with `ip addr flush dev {name}`",
            spec.name
        ));
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
