//! How much of everything a run reserves at start.

use crate::config::Settings;
use crate::config::settings::{Driver, Port};
use crate::conntrack::table;
use crate::driver::Umem;
use crate::frag::{self, Limits, MAX_FRAGMENTS, Reassembler};
use crate::frame::{MAX_FRAME, PoolConfig};
use crate::route::ViewConfig;
use crate::shard::{BURST, TX_QUEUE};

/// Octets of a frame where no port delivers super-frames: a full Ethernet packet, and some.
const FRAME: usize = 2048;

/// Largest packet of a device of which nothing else is known.
const MTU: usize = 1500;

/// Frames a port's transmit queue is given buffers for when they have the size of super-frames. The queue may
/// hold more; then receiving pauses until some are sent.
const LARGE_TX_QUEUE: usize = 512;

/// Buffers that lie idle in DPDK's caches, the worker's and the main thread's.
const DPDK_CACHES: usize = 1024;

/// Octets for all hand-off rings, and bounds of one.
const RINGS: usize = 64 << 20;
const RING: std::ops::RangeInclusive<usize> = 512 << 10..=4 << 20;

/// What one worker is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Entries of its connection table.
    pub entries: usize,
    /// Its buffers.
    pub pool: PoolConfig,
    /// Octets of a hand-off ring.
    pub ring: usize,
    /// Reassembly.
    pub fragments: Limits,
    /// Neighbours and the packets that wait for them.
    pub neighbours: ViewConfig,
}

/// Octets a run reserves, all workers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breakdown {
    /// Workers they are shared among in equal parts.
    pub workers: u64,
    /// Connection tables.
    pub table: u64,
    /// Packet buffers; the system gives the memory as it is used.
    pub buffers: u64,
    /// Hand-off rings.
    pub rings: u64,
    /// Memory of AF_XDP ports beside the packet buffers; 0 where they have it in common.
    pub umem: u64,
    /// Reassembly, the fragments themselves not counted: they lie in the buffers.
    pub fragments: u64,
}

impl Breakdown {
    /// Each part with its name.
    #[must_use]
    pub const fn parts(&self) -> [(&'static str, u64); 5] {
        [
            ("connection table", self.table),
            ("packet buffers", self.buffers),
            ("AF_XDP memory", self.umem),
            ("hand-off rings", self.rings),
            ("fragments", self.fragments),
        ]
    }

    /// All parts.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.table + self.buffers + self.umem + self.rings + self.fragments
    }

    /// The share of one worker.
    #[must_use]
    pub const fn per_worker(&self) -> u64 {
        match self.total().checked_div(self.workers) {
            Some(each) => each,
            None => 0,
        }
    }
}

/// The largest frame the configured ports may deliver, as far as can be told before they are opened.
#[must_use]
pub fn largest_frame(settings: &Settings) -> usize {
    let of = |port: &Port| match port.driver {
        Driver::Memory | Driver::AfPacket { .. } | Driver::Tap { .. } => MAX_FRAME,
        _ => port.mtu.map_or(FRAME, |mtu| usize::from(mtu) + 22),
    };
    settings.ports.iter().map(of).max().unwrap_or(FRAME)
}

fn is_xdp(port: &Port) -> bool {
    matches!(port.driver, Driver::AfXdp { .. })
}

/// The size of frames whose memory is the AF_XDP sockets' own: when there are such ports and no others, and their packets
/// fit. Where the file gives no MTU, a device with a larger one than usual is refused when it is opened.
fn umem_frame(settings: &Settings) -> Option<usize> {
    let ports = &settings.ports;
    if ports.is_empty() || !ports.iter().all(is_xdp) {
        return None;
    }
    let mtu = ports.iter().map(|port| port.mtu.map_or(MTU, usize::from)).max()?;
    Umem::sizes(mtu, 1).map(|config| config.frame_size)
}

/// The pool of a worker whose frames lie in the memory of AF_XDP sockets.
pub(super) fn umem_pool(settings: &Settings) -> Option<PoolConfig> {
    umem_frame(settings).map(|frame_size| sizes(settings, frame_size).pool)
}

/// Memory of AF_XDP sockets that cannot have it in common with the workers.
fn separate_umem(settings: &Settings) -> u64 {
    if umem_frame(settings).is_some() {
        return 0;
    }
    let of = |port: &Port| Umem::own_bytes(port.mtu.map_or(MTU, usize::from), port.ring as usize) as u64;
    let each: u64 = settings.ports.iter().filter(|port| is_xdp(port)).map(of).sum();
    each * u64::from(settings.workers.count.max(1))
}

/// What one worker is given when its ports deliver frames of at most `largest` octets.
#[must_use]
pub fn sizes(settings: &Settings, largest: usize) -> Sizes {
    let workers = usize::from(settings.workers.count).max(1);
    let frame_size = umem_frame(settings).unwrap_or(largest.clamp(FRAME, MAX_FRAME));
    let large = frame_size > 4 * FRAME;
    let neighbours = ViewConfig {
        capacity: u16::try_from(settings.neigh.gc_thresh3.saturating_mul(2)).unwrap_or(u16::MAX - 1).max(16),
        queue_each: settings.neigh.unres_qlen,
        queue_total: if large { 256 } else { 1024 },
        ..ViewConfig::default()
    };
    let per_port = if large { LARGE_TX_QUEUE } else { TX_QUEUE } + BURST;
    // The rings of AF_XDP sockets hold buffers: those to receive into, and those sent that did not come back yet.
    let rings: usize = settings.ports.iter().filter(|port| is_xdp(port)).map(|port| 2 * port.ring as usize).sum();
    let rings = if umem_frame(settings).is_some() { rings } else { 0 };
    let busy = settings.ports.len() * per_port + rings + 2 * BURST + usize::from(neighbours.queue_total);
    // A third on top for fragments, which then have a quarter of all.
    let mut pool = PoolConfig { buffers: (busy + busy / 3).next_multiple_of(BURST), frame_size };
    // A device has buffers in its rings, both ways, and DPDK keeps some at hand for each thread.
    let dpdk = settings.ports.iter().filter(|port| port.driver.is_dpdk());
    let rings: usize = dpdk.map(|port| 2 * port.ring as usize).sum();
    if rings != 0 {
        pool.buffers += rings + DPDK_CACHES;
    }
    let pairs = (workers * (workers - 1)).max(1);
    // At least a few of the largest frames.
    let ring = (RINGS / pairs).clamp(*RING.start(), *RING.end());
    Sizes {
        entries: (settings.conntrack.max_entries as usize).div_ceil(workers),
        pool,
        ring,
        fragments: fragments(settings, pool, workers),
        neighbours,
    }
}

/// The thresholds count buffers with their whole size. With buffers for super-frames they are stretched, so that
/// a threshold means as many fragments as it does with buffers for ordinary frames.
fn fragments(settings: &Settings, pool: PoolConfig, workers: usize) -> Limits {
    let ordinary = PoolConfig { buffers: 1, frame_size: FRAME }.stride();
    let count = |threshold: u32| {
        let threshold = threshold as usize / ordinary;
        // A share too small for one datagram would be none.
        (threshold / workers).max(threshold.min(usize::from(MAX_FRAGMENTS)))
    };
    let counts = [count(settings.fragments.ipfrag_high_thresh), count(settings.fragments.frag6_high_thresh)];
    let timeouts = &settings.conntrack.timeouts;
    let fragments = (counts[0] + counts[1]).clamp(1, (pool.buffers / 4).max(1));
    Limits {
        bytes: counts.map(|count| count * pool.stride()),
        timeout_ms: [timeouts.frag4, timeouts.frag6],
        datagrams: fragments.min(frag::Limits::default().datagrams),
        fragments,
        ..Limits::default()
    }
}

/// Memory a run of these settings reserves at start.
#[must_use]
pub fn reserved_bytes(settings: &Settings) -> Breakdown {
    let sizes = sizes(settings, largest_frame(settings));
    let workers = u64::from(settings.workers.count.max(1));
    Breakdown {
        workers,
        table: workers * table::reserved_bytes(sizes.entries) as u64,
        buffers: workers * sizes.pool.bytes() as u64,
        umem: separate_umem(settings),
        rings: workers * (workers - 1) * sizes.ring as u64,
        fragments: workers * Reassembler::reserved(&sizes.fragments) as u64,
    }
}
