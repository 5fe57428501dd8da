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
//! reports [`LinkState::Gone`](super::LinkState::Gone) once, and [`PortControl::reopen`](super::PortControl::reopen) sends each
//! queue a fresh socket when a device of that name exists again.

mod queue;
#[allow(unsafe_code)]
pub(super) mod sys;

use super::interface::{self, Opened, port};
use super::{OpenError, OpenPort, PortCaps, PortSpec};
use crate::frame::MAX_FRAME;
use queue::Queue;
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use sys::FanoutMode;

/// Socket buffer a queued frame is given: a full packet costs the kernel about 2.3 KiB, a super-frame up
/// to 70 KiB; most queues hold a mixture.
const BUFFER_PER_FRAME: usize = 16 * 1024;

/// Bounds of the receive buffer, in octets.
const RECEIVE_BUFFER: std::ops::RangeInclusive<usize> = 4 << 20..=64 << 20;

/// Send buffer: what may be under way to the peer before the port reports that it is full.
const SEND_BUFFER: usize = 8 << 20;

/// Opens the interface `spec.device`.
pub(super) fn open(spec: &PortSpec) -> Result<OpenPort, OpenError> {
    let opened = open_sockets(spec)?;
    let caps = PortCaps {
        tx_checksum_partial: true,
        tx_gso: true,
        rx_partial: true,
        rx_gso: true,
        max_frame: MAX_FRAME,
        steered: spec.queues == 1 || spec.fanout.is_some(),
    };
    Ok(port(spec, opened, caps, open_sockets, |id, seat| Box::new(Queue::new(id, seat))))
}

/// Turns a kernel's refusal into an error that names the port and the step.
fn fault(spec: &PortSpec, step: &'static str) -> impl Fn(Errno) -> OpenError + use<> {
    interface::fault(spec, step, "open packet sockets", "CAP_NET_RAW")
}

fn open_sockets(spec: &PortSpec) -> Result<Opened<OwnedFd>, OpenError> {
    let name = interface::device_name(spec)?;
    let probe = sys::packet_socket().map_err(fault(spec, "open a packet socket"))?;
    let device = interface::find(spec, probe.as_fd(), name, fault)?;
    let claim = interface::claim(spec, name, device.ifindex)?;
    let mut warnings = interface::warnings(spec, name, &device);
    warnings.extend(interface::kernel_answers(spec, name, &device));
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
    let info = interface::info(spec, name, &device);
    Ok(Opened { sockets, probe, claim, ifindex: device.ifindex, info, warnings, held: Box::new(()) })
}

/// Octets of a queue's receive buffer.
pub(super) fn receive_buffer(spec: &PortSpec) -> usize {
    (spec.ring * BUFFER_PER_FRAME).clamp(*RECEIVE_BUFFER.start(), *RECEIVE_BUFFER.end())
}
