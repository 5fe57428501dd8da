//! Every system call of the packet-socket port, behind safe functions. See packet(7) and netdevice(7).

use crate::driver::BpfInstr;
use crate::driver::interface::sys::{checked, last_error};
use crate::driver::vnet::{HEADER_LEN, VnetHeader};
use crate::frame::Frame;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

type Fd<'a> = BorrowedFd<'a>;

/// All protocols, in network byte order as packet sockets want it.
const ALL_PROTOCOLS: u16 = (libc::ETH_P_ALL as u16).to_be();

/// A packet socket that receives nothing until it is bound.
pub(in crate::driver) fn packet_socket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)
}

/// `T` must be what the kernel expects for this option; all callers are in this file.
fn set_option<T: Copy>(fd: Fd<'_>, level: libc::c_int, name: libc::c_int, value: &T) -> Result<(), Errno> {
    // SAFETY: the pointer and length describe `value`, which lives through the call; the kernel only reads.
    checked(unsafe {
        libc::setsockopt(fd.as_raw_fd(), level, name, ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t)
    })
}

fn get_int(fd: Fd<'_>, level: libc::c_int, name: libc::c_int) -> Result<libc::c_int, Errno> {
    let mut value: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both pointers are to locals of the sizes given.
    checked(unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, ptr::from_mut(&mut value).cast(), ptr::from_mut(&mut len))
    })?;
    Ok(value)
}

/// A virtio-net header in front of every frame, both ways.
pub(super) fn set_vnet_headers(fd: Fd<'_>) -> Result<(), Errno> {
    set_option(fd, libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1i32)
}

/// A control message with the VLAN tag the kernel took out.
pub(super) fn set_auxdata(fd: Fd<'_>) -> Result<(), Errno> {
    set_option(fd, libc::SOL_PACKET, libc::PACKET_AUXDATA, &1i32)
}

/// Do not receive what this machine sends.
pub(super) fn ignore_outgoing(fd: Fd<'_>) -> Result<(), Errno> {
    set_option(fd, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, &1i32)
}

/// Sizes the receive buffer, past the system's limit when that is permitted. Gives the octets granted.
pub(super) fn set_receive_buffer(fd: Fd<'_>, octets: usize) -> Result<usize, Errno> {
    set_buffer(fd, octets, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF)
}

/// Sizes the send buffer likewise.
pub(super) fn set_send_buffer(fd: Fd<'_>, octets: usize) -> Result<usize, Errno> {
    set_buffer(fd, octets, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)
}

fn set_buffer(fd: Fd<'_>, octets: usize, force: libc::c_int, plain: libc::c_int) -> Result<usize, Errno> {
    let value = i32::try_from(octets).unwrap_or(i32::MAX / 2);
    set_option(fd, libc::SOL_SOCKET, force, &value).or_else(|_| set_option(fd, libc::SOL_SOCKET, plain, &value))?;
    // The kernel doubles what it is asked for, and reports the double.
    Ok(usize::try_from(get_int(fd, libc::SOL_SOCKET, plain)?).unwrap_or(0) / 2)
}

fn filter(code: u16, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

fn set_program(fd: Fd<'_>, level: libc::c_int, name: libc::c_int, code: &mut [libc::sock_filter]) -> Result<(), Errno> {
    let len = u16::try_from(code.len()).map_err(|_| Errno::INVAL)?;
    // The pointer is good for the call that follows; the kernel copies the program.
    let program = libc::sock_fprog { len, filter: code.as_mut_ptr() };
    set_option(fd, level, name, &program)
}

/// A filter that lets nothing through.
pub(super) fn refuse_all(fd: Fd<'_>) -> Result<(), Errno> {
    let mut code = [filter((libc::BPF_RET | libc::BPF_K) as u16, 0)];
    set_program(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &mut code)
}

/// Takes that filter away.
pub(super) fn accept_all(fd: Fd<'_>) -> Result<(), Errno> {
    set_option(fd, libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0i32)
}

/// Starts receiving from the interface.
pub(super) fn bind(fd: Fd<'_>, ifindex: u32) -> Result<(), Errno> {
    // SAFETY: all-zero octets are a valid sockaddr_ll: it holds only integers.
    let mut address: libc::sockaddr_ll = unsafe { MaybeUninit::zeroed().assume_init() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = ALL_PROTOCOLS;
    address.sll_ifindex = ifindex as i32;
    // SAFETY: the pointer and length describe `address`, which lives through the call.
    checked(unsafe {
        libc::bind(fd.as_raw_fd(), ptr::from_ref(&address).cast(), size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    })
}

/// The device this socket was bound to has left its network namespace. Receiving says nothing of that, the
/// socket's own address does: its interface is -1 then.
pub(super) fn is_orphaned(fd: Fd<'_>) -> bool {
    // SAFETY: all-zero octets are a valid sockaddr_ll: it holds only integers.
    let mut address: libc::sockaddr_ll = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: both pointers are to locals of the sizes given.
    let result =
        unsafe { libc::getsockname(fd.as_raw_fd(), ptr::from_mut(&mut address).cast(), ptr::from_mut(&mut len)) };
    result == 0 && address.sll_ifindex < 0
}

/// How a fan-out group chooses the socket of a frame.
#[derive(Clone, Copy)]
pub(super) enum FanoutMode {
    /// The kernel's flow hash, the same in both directions.
    Hash,
    /// The program given with [`set_fanout_program`].
    Program,
}

/// Joins the group, or founds one with an identifier nobody else uses. Gives the identifier.
pub(super) fn join_fanout(fd: Fd<'_>, group: Option<u16>, mode: FanoutMode) -> Result<u16, Errno> {
    let kind = match mode {
        FanoutMode::Hash => libc::PACKET_FANOUT_HASH,
        FanoutMode::Program => libc::PACKET_FANOUT_CBPF,
    };
    // In a group the sockets' own setting does not count.
    let mut flags = libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
    if group.is_none() {
        flags |= libc::PACKET_FANOUT_FLAG_UNIQUEID;
    }
    let value = u32::from(group.unwrap_or(0)) | (kind | flags) << 16;
    set_option(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, &value)?;
    Ok(get_int(fd, libc::SOL_PACKET, libc::PACKET_FANOUT)? as u16)
}

/// Gives the group of this socket its program.
pub(super) fn set_fanout_program(fd: Fd<'_>, program: &[BpfInstr]) -> Result<(), Errno> {
    let instr = |i: &BpfInstr| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k };
    let mut code: Vec<_> = program.iter().map(instr).collect();
    set_program(fd, libc::SOL_PACKET, libc::PACKET_FANOUT_DATA, &mut code)
}

/// Promiscuous mode as long as the socket is open.
pub(in crate::driver) fn set_promiscuous(fd: Fd<'_>, ifindex: u32) -> Result<(), Errno> {
    let request = libc::packet_mreq {
        mr_ifindex: ifindex as i32,
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &request)
}

/// Frames dropped because the receive buffer was full, since the last time this was asked.
pub(super) fn take_drops(fd: Fd<'_>) -> Result<u32, Errno> {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    // SAFETY: both pointers are to locals of the sizes given.
    checked(unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            ptr::from_mut(&mut stats).cast(),
            ptr::from_mut(&mut len),
        )
    })?;
    Ok(stats.tp_drops)
}

/// Room for the one control message a packet socket sends, aligned as its header must be.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

const CONTROL_LEN: usize = 64;

const _: () = {
    // SAFETY: CMSG_SPACE computes with its argument only.
    let needed = unsafe { libc::CMSG_SPACE(size_of::<libc::tpacket_auxdata>() as u32) } as usize;
    assert!(needed <= CONTROL_LEN, "the auxiliary data fits");
    assert!(std::mem::align_of::<Control>() >= std::mem::align_of::<libc::cmsghdr>());
};

/// What the kernel said about one received frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    /// Octets, header included.
    pub(super) octets: usize,
    /// The frame was larger than the buffer.
    pub(super) truncated: bool,
    pub(super) header: VnetHeader,
    /// Type and control information of a tag that was taken out.
    pub(super) tag: Option<(u16, u16)>,
}

/// An array of `recvmmsg` messages, made once. Between calls its pointers may dangle and are not used.
pub(super) struct RecvBatch {
    messages: Vec<libc::mmsghdr>,
    parts: Vec<[libc::iovec; 2]>,
    headers: Vec<VnetHeader>,
    controls: Vec<Control>,
}

fn empty_message() -> libc::mmsghdr {
    // SAFETY: all-zero octets are a valid mmsghdr: integers and null pointers.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn empty_parts() -> [libc::iovec; 2] {
    [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; 2]
}

impl RecvBatch {
    /// For at most `size` frames per call.
    pub(super) fn new(size: usize) -> RecvBatch {
        RecvBatch {
            messages: vec![empty_message(); size],
            parts: vec![empty_parts(); size],
            headers: vec![VnetHeader::default(); size],
            controls: vec![Control([0; CONTROL_LEN]); size],
        }
    }

    /// Receives into `frames`, whose lengths are to be set from [`RecvBatch::get`]. Gives how many.
    pub(super) fn receive(&mut self, fd: Fd<'_>, frames: &mut [Frame]) -> Result<usize, Errno> {
        let arrays = self.messages.iter_mut().zip(&mut self.parts).zip(&mut self.headers).zip(&mut self.controls);
        let mut count: libc::c_uint = 0;
        for ((((message, parts), header), control), frame) in arrays.zip(frames) {
            frame.set_len(usize::MAX);
            let room = frame.data_mut();
            *parts = [
                libc::iovec { iov_base: ptr::from_mut(header).cast(), iov_len: HEADER_LEN },
                libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() },
            ];
            message.msg_hdr.msg_iov = parts.as_mut_ptr();
            message.msg_hdr.msg_iovlen = 2;
            message.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = CONTROL_LEN;
            message.msg_hdr.msg_flags = 0;
            message.msg_len = 0;
            count += 1;
        }
        // SAFETY: the first `count` messages were just pointed at arrays of this batch and at the frames'
        // buffers, each with its true length; all are borrowed mutably until the call returns, and the
        // kernel keeps no pointer after it.
        let result = unsafe {
            libc::recvmmsg(fd.as_raw_fd(), self.messages.as_mut_ptr(), count, libc::MSG_DONTWAIT, ptr::null_mut())
        };
        usize::try_from(result).map_err(|_| last_error())
    }

    /// What was said about the `index`th frame of the last call.
    pub(super) fn get(&self, index: usize) -> Received {
        let (Some(message), Some(header), Some(control)) =
            (self.messages.get(index), self.headers.get(index), self.controls.get(index))
        else {
            return Received { octets: 0, truncated: true, header: VnetHeader::default(), tag: None };
        };
        Received {
            octets: message.msg_len as usize,
            truncated: message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            header: *header,
            tag: tag(control, message.msg_hdr.msg_controllen),
        }
    }
}

/// The tag in the control message, which is the only one these sockets ask for.
fn tag(control: &Control, len: usize) -> Option<(u16, u16)> {
    // SAFETY: CMSG_LEN computes with its argument only.
    let whole = unsafe { libc::CMSG_LEN(size_of::<libc::tpacket_auxdata>() as u32) } as usize;
    // SAFETY: as above.
    let body = unsafe { libc::CMSG_LEN(0) } as usize;
    if len < whole {
        return None;
    }
    // SAFETY: the buffer is larger than a header, aligned for it, and initialised; a header is integers only.
    let head = unsafe { control.0.as_ptr().cast::<libc::cmsghdr>().read() };
    if head.cmsg_level != libc::SOL_PACKET || head.cmsg_type != libc::PACKET_AUXDATA || head.cmsg_len < whole {
        return None;
    }
    // SAFETY: `whole` octets lie within the buffer (asserted at compile time); integers only, read unaligned.
    let aux = unsafe { control.0.as_ptr().add(body).cast::<libc::tpacket_auxdata>().read_unaligned() };
    if aux.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let known = aux.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    Some((if known { aux.tp_vlan_tpid } else { libc::ETH_P_8021Q as u16 }, aux.tp_vlan_tci))
}

/// An array of `sendmmsg` messages, made once.
pub(super) struct SendBatch {
    messages: Vec<libc::mmsghdr>,
    parts: Vec<[libc::iovec; 2]>,
    headers: Vec<VnetHeader>,
}

impl SendBatch {
    /// For at most `size` frames per call.
    pub(super) fn new(size: usize) -> SendBatch {
        SendBatch {
            messages: vec![empty_message(); size],
            parts: vec![empty_parts(); size],
            headers: vec![VnetHeader::default(); size],
        }
    }

    /// Sends frames from the front of `frames`; gives how many went. An error is about the first one.
    pub(super) fn send(&mut self, fd: Fd<'_>, frames: &[Frame]) -> Result<usize, Errno> {
        let arrays = self.messages.iter_mut().zip(&mut self.parts).zip(&mut self.headers);
        let mut count: libc::c_uint = 0;
        for (((message, parts), header), frame) in arrays.zip(frames) {
            *header = VnetHeader::from_meta(&frame.meta);
            let data = frame.data();
            *parts = [
                libc::iovec { iov_base: ptr::from_mut(header).cast(), iov_len: HEADER_LEN },
                libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() },
            ];
            message.msg_hdr.msg_iov = parts.as_mut_ptr();
            message.msg_hdr.msg_iovlen = 2;
            count += 1;
        }
        // SAFETY: the first `count` messages were just pointed at arrays of this batch and at the frames'
        // data, each with its true length; all stay borrowed until the call returns. The kernel only reads
        // through the pointers, writes `msg_len`, and keeps nothing.
        let result = unsafe { libc::sendmmsg(fd.as_raw_fd(), self.messages.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
        usize::try_from(result).map_err(|_| last_error())
    }
}
