//! The program that hands an interface's frames to the sockets, and the bpf(2) calls that load and attach it.
//!
//! A dozen instructions put together here, so that no compiler and no library is needed. The attachment is a BPF link:
//! the kernel takes the program off when the descriptor's last holder ends, however it ends.

use crate::driver::interface::sys::last_error;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

/// Commands of bpf(2).
const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE_ELEM: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;

const MAP_TYPE_ARRAY: u32 = 2;
const MAP_TYPE_XSKMAP: u32 = 17;
/// The map can be read like memory.
const MMAPABLE: u32 = 1 << 10;
const PROG_TYPE_XDP: u32 = 6;
/// As type of an attachment.
const BPF_XDP: u32 = 37;

const XDP_DROP: i32 = 1;
/// Offset of the queue's number in the program's context (`struct xdp_md`).
const RX_QUEUE_INDEX: i16 = 16;
const REDIRECT_MAP: i32 = 51;

/// Octets of a page, the least a map is mapped by.
const PAGE: usize = 4096;

/// `struct bpf_insn`; the two registers share an octet, the source in the upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: source << 4 | destination, offset, immediate }
}

/// A 64-bit constant load, which takes two places. The source says what the constant is the descriptor of.
const fn load(destination: u8, source: u8, fd: RawFd) -> [Instruction; 2] {
    [instruction(0x18, destination, source, 0, fd), instruction(0, 0, 0, 0, 0)]
}

/// Redirects a frame to the socket of the queue it came by. Where there is no socket it is dropped and counted, for
/// the kernel's own stack must stay silent on a router's interface.
fn program(sockets: RawFd, missed: RawFd) -> [Instruction; 12] {
    const MAP: u8 = 1;
    const MAP_VALUE: u8 = 2;
    let [sockets, sockets_too] = load(1, MAP, sockets);
    let [missed, missed_too] = load(1, MAP_VALUE, missed);
    [
        // r2 = context.rx_queue_index
        instruction(0x61, 2, 1, RX_QUEUE_INDEX, 0),
        // r0 = bpf_redirect_map(sockets, r2, XDP_DROP), which gives XDP_DROP where the map has nothing
        sockets,
        sockets_too,
        instruction(0xb7, 3, 0, 0, XDP_DROP),
        instruction(0x85, 0, 0, 0, REDIRECT_MAP),
        // if r0 != XDP_DROP goto the end
        instruction(0x55, 0, 0, 5, XDP_DROP),
        // *missed += 1, atomically
        missed,
        missed_too,
        instruction(0xb7, 2, 0, 0, 1),
        instruction(0xdb, 1, 2, 0, 0),
        instruction(0xb7, 0, 0, 0, XDP_DROP),
        // return r0
        instruction(0x95, 0, 0, 0, 0),
    ]
}

/// Makes one call. The attribute must be the one of the command; all callers are in this file.
fn bpf<T>(command: libc::c_int, attribute: &T) -> Result<libc::c_long, Errno> {
    // SAFETY: the pointer and length describe `attribute`, which lives through the call, as does all that it points to;
    // the kernel reads it only, for the commands of this file.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_ref(attribute), size_of::<T>()) };
    if result < 0 { Err(last_error()) } else { Ok(result) }
}

fn descriptor(result: libc::c_long) -> OwnedFd {
    // SAFETY: the call has just given this descriptor to us and to nobody else.
    unsafe { OwnedFd::from_raw_fd(result as RawFd) }
}

fn map(kind: u32, value_size: u32, entries: u32, flags: u32) -> Result<OwnedFd, Errno> {
    #[repr(C)]
    struct Attribute {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
    }
    let attribute = Attribute { map_type: kind, key_size: 4, value_size, max_entries: entries, map_flags: flags };
    bpf(MAP_CREATE, &attribute).map(descriptor)
}

/// A count that a program keeps, read like memory.
struct Count {
    place: NonNull<AtomicU64>,
}

// SAFETY: the mapping belongs to the process and is only read, atomically.
unsafe impl Send for Count {}
// SAFETY: as above.
unsafe impl Sync for Count {}

impl Count {
    fn new(map: &OwnedFd) -> Result<Count, Errno> {
        // SAFETY: a fresh mapping at an address the kernel picks aliases nothing.
        let page =
            unsafe { rustix::mm::mmap(ptr::null_mut(), PAGE, ProtFlags::READ, MapFlags::SHARED, map.as_fd(), 0) }?;
        NonNull::new(page.cast()).map(|place| Count { place }).ok_or(Errno::FAULT)
    }

    fn read(&self) -> u64 {
        // SAFETY: the mapping lives as long as this, is aligned to a page and holds a counter at its start.
        unsafe { self.place.as_ref() }.load(Ordering::Relaxed)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, unmapped once.
        let _ = unsafe { rustix::mm::munmap(self.place.as_ptr().cast(), PAGE) };
    }
}

/// The loaded program and its maps.
pub(super) struct Program {
    program: OwnedFd,
    sockets: OwnedFd,
    missed: Count,
    /// What was counted while there were no sockets yet.
    before: AtomicU64,
    // Held, not used: the program has it.
    _missed: OwnedFd,
}

impl Program {
    /// Loads the program, for as many queues.
    pub(super) fn load(queues: u32) -> Result<Program, Errno> {
        #[repr(C)]
        struct Attribute {
            prog_type: u32,
            insn_cnt: u32,
            insns: u64,
            license: u64,
            log_level: u32,
            log_size: u32,
            log_buf: u64,
            kern_version: u32,
            prog_flags: u32,
            prog_name: [u8; 16],
            prog_ifindex: u32,
            expected_attach_type: u32,
        }
        let sockets = map(MAP_TYPE_XSKMAP, 4, queues, 0)?;
        let missed = map(MAP_TYPE_ARRAY, 8, 1, MMAPABLE)?;
        let count = Count::new(&missed)?;
        let code = program(sockets.as_raw_fd(), missed.as_raw_fd());
        let mut name = [0; 16];
        for (place, byte) in name.iter_mut().zip(b"flowgate") {
            *place = *byte;
        }
        let attribute = Attribute {
            prog_type: PROG_TYPE_XDP,
            insn_cnt: code.len() as u32,
            insns: code.as_ptr() as u64,
            // No helper that it calls asks for another.
            license: c"MIT".as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log_buf: 0,
            kern_version: 0,
            prog_flags: 0,
            prog_name: name,
            prog_ifindex: 0,
            expected_attach_type: BPF_XDP,
        };
        let program = bpf(PROG_LOAD, &attribute).map(descriptor)?;
        Ok(Program { program, sockets, missed: count, before: AtomicU64::new(0), _missed: missed })
    }

    /// Attaches the program to an interface, for as long as the descriptor is open. `native`: within the driver.
    pub(super) fn attach(&self, ifindex: u32, native: bool) -> Result<OwnedFd, Errno> {
        #[repr(C)]
        struct Attribute {
            prog_fd: u32,
            target_ifindex: u32,
            attach_type: u32,
            flags: u32,
        }
        let attribute = Attribute {
            prog_fd: self.program.as_raw_fd() as u32,
            target_ifindex: ifindex,
            attach_type: BPF_XDP,
            flags: if native { 1 << 2 } else { 1 << 1 },
        };
        bpf(LINK_CREATE, &attribute).map(descriptor)
    }

    /// Has the frames of a queue redirected to this socket.
    pub(super) fn set_socket(&self, queue: u32, socket: &OwnedFd) -> Result<(), Errno> {
        #[repr(C)]
        struct Attribute {
            map_fd: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let socket = socket.as_raw_fd();
        let attribute = Attribute {
            map_fd: self.sockets.as_raw_fd() as u32,
            key: ptr::from_ref(&queue) as u64,
            value: ptr::from_ref(&socket) as u64,
            flags: 0,
        };
        bpf(MAP_UPDATE_ELEM, &attribute).map(drop)
    }

    /// From here on all queues have their sockets, and what has none is missed.
    pub(super) fn begin(&self, counted: u64) {
        self.before.store(self.missed.read() - counted, Ordering::Relaxed);
    }

    /// Frames dropped because their queue had no socket.
    pub(super) fn missed(&self) -> u64 {
        self.missed.read().saturating_sub(self.before.load(Ordering::Relaxed))
    }
}
