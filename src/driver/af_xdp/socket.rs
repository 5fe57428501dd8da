//! One socket of an interface's queue, bound, with its rings.

use super::area::Area;
use super::ring::{Consumer, Producer};
use crate::driver::interface::sys::set_number;
use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_send_buffer_size, set_socket_send_buffer_size_force, set_xdp_rx_ring_size, set_xdp_tx_ring_size,
    set_xdp_umem_completion_ring_size, set_xdp_umem_fill_ring_size, set_xdp_umem_reg, xdp_mmap_offsets, xdp_options,
    xdp_statistics,
};
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING, XDP_UMEM_PGOFF_COMPLETION_RING,
    XDP_UMEM_PGOFF_FILL_RING, XdpDesc, XdpOptionsFlags, XdpUmemReg, XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};
use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For the kernel to let go of a queue whose last socket was just closed, which it does in its own time.
const LET_GO: Duration = Duration::from_secs(2);

/// Frames may be under way in the kernel up to so many octets, its own bookkeeping included.
const SEND_BUFFER: usize = 8 << 20;

/// The socket option for how many frames one call sends, 32 without it (Linux 6.17).
const MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// A step that the kernel refused.
pub(super) type Refusal = (&'static str, Errno);

fn at(step: &'static str) -> impl Fn(Errno) -> Refusal {
    move |error| (step, error)
}

/// What a socket is bound to.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) ifindex: u32,
    pub(super) queue: u32,
    /// The program runs in the driver, which may then do without copying.
    pub(super) native: bool,
}

/// A bound socket.
pub(super) struct Socket {
    pub(super) fd: OwnedFd,
    pub(super) fill: Producer<u64>,
    pub(super) completion: Consumer<u64>,
    pub(super) rx: Consumer<XdpDesc>,
    pub(super) tx: Producer<XdpDesc>,
    pub(super) area: Arc<Area>,
    /// The chunks set aside for it, which are in the fill ring.
    pub(super) reserved: Range<usize>,
}

impl Socket {
    /// Opens a socket on a queue of an interface, with rings of `ring` entries over the chunks of `area`, which it registers
    /// although they may be those of several: see the module.
    pub(super) fn open(place: Place, ring: u32, area: &Arc<Area>) -> Result<Socket, Refusal> {
        let fd = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .map_err(at("open an AF_XDP socket"))?;
        let registration = XdpUmemReg {
            addr: area.address(),
            len: area.len() as u64,
            chunk_size: area.chunk() as u32,
            headroom: 0,
            flags: XdpUmemRegFlags::empty(),
            tx_metadata_len: 0,
        };
        set_xdp_umem_reg(&fd, registration).map_err(at("register packet memory"))?;
        let rings = at("size the rings");
        set_xdp_umem_fill_ring_size(&fd, ring).map_err(&rings)?;
        set_xdp_umem_completion_ring_size(&fd, ring).map_err(&rings)?;
        set_xdp_rx_ring_size(&fd, ring).map_err(&rings)?;
        set_xdp_tx_ring_size(&fd, ring).map_err(&rings)?;
        let places = xdp_mmap_offsets(&fd).map_err(at("find the rings"))?;
        let map = at("map the rings");
        let mut fill = Producer::map(&fd, &places.fr, XDP_UMEM_PGOFF_FILL_RING, ring).map_err(&map)?;
        let completion = Consumer::map(&fd, &places.cr, XDP_UMEM_PGOFF_COMPLETION_RING, ring).map_err(&map)?;
        let rx = Consumer::map(&fd, &places.rx, XDP_PGOFF_RX_RING, ring).map_err(&map)?;
        let tx = Producer::map(&fd, &places.tx, XDP_PGOFF_TX_RING, ring).map_err(&map)?;
        // Without these sending pauses earlier or takes more calls: the system's limit may be lower, the kernel older.
        let _ = set_socket_send_buffer_size_force(&fd, SEND_BUFFER)
            .or_else(|_| set_socket_send_buffer_size(&fd, SEND_BUFFER));
        let _ = set_number(fd.as_fd(), libc::SOL_XDP, MAX_TX_SKB_BUDGET, ring as libc::c_int);
        let reserved = area.reserve(ring as usize);
        for chunk in reserved.clone() {
            fill.write((chunk * area.chunk()) as u64);
        }
        fill.publish();
        bind_patiently(&fd, place)?;
        Ok(Socket { fd, fill, completion, rx, tx, area: Arc::clone(area), reserved })
    }

    /// Whether the device itself reads and writes the frames' memory.
    pub(super) fn is_zero_copy(&self) -> bool {
        xdp_options(&self.fd).is_ok_and(|options| options.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY))
    }

    /// Has the kernel send what is in the transmit ring.
    pub(super) fn kick(&self) -> Result<(), Errno> {
        send(&self.fd, &[], SendFlags::DONTWAIT).map(drop)
    }

    /// Has the kernel look at the fill ring; tells what is wrong with the socket.
    pub(super) fn look(&self) -> Result<(), Errno> {
        let nothing: &mut [u8] = &mut [];
        recv(&self.fd, nothing, RecvFlags::DONTWAIT).map(drop)
    }

    /// Frames lost for want of room in the receive ring, of chunks, and because they were larger than a chunk; and
    /// frames the kernel did not take.
    pub(super) fn losses(&self) -> Losses {
        let Ok(counts) = xdp_statistics(&self.fd) else { return Losses::default() };
        let starved = counts.rx_fill_ring_empty_descs.unwrap_or(0);
        Losses {
            ring_full: counts.rx_ring_full.unwrap_or(0),
            starved,
            // The kernel counts a frame without a chunk here too.
            too_large: counts.rx_dropped.saturating_sub(starved),
            refused: counts.tx_invalid_descs,
        }
    }
}

/// What the kernel counted of a socket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    pub(super) ring_full: u64,
    pub(super) starved: u64,
    pub(super) too_large: u64,
    pub(super) refused: u64,
}

/// Binds to the queue: without copying where the driver has the program and can do that.
fn bind_patiently(fd: &OwnedFd, place: Place) -> Result<(), Refusal> {
    let mut flags = SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
    flags.set(SocketAddrXdpFlags::XDP_COPY, !place.native);
    let address = SocketAddrXdp::new(flags, place.ifindex, place.queue);
    let deadline = Instant::now() + LET_GO;
    loop {
        match bind(fd, &address) {
            Err(Errno::BUSY) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            result => return result.map_err(at("bind to a queue of the interface")),
        }
    }
}
