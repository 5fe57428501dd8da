//! A port whose other end is a handle in the same process.
//!
//! Owns two bounded rings per queue, one each way, and the byte buffers that travel in them. Frames are
//! copied at both ends, so pools stay on their threads. A buffer that was read goes back to the side that
//! fills it; once the buffers have grown to the frames in use nothing is allocated.
//! With `offloads` the port behaves like a kernel interface: partial checksums and super-frames travel
//! along. Without, it refuses them, as a plain wire would.
//!
//! [`mod@bench`] has the same port without rings, for measuring.

pub mod bench;
mod ring;

pub use ring::Delivered;

use super::port::made_up_mac;
use super::{
    LinkState, OpenError, OpenPort, PortCaps, PortControl, PortInfo, PortSpec, QueuePair, QueueSeed, QueueStats,
    RxStatus, TxStatus, TxStop,
};
use crate::frame::{Burst, Checksum, MAX_FRAME, Meta, Pool};
use crate::net::{MacAddr, PortId};
use ring::{Reader, Writer};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// How a memory port is made.
#[derive(Clone, Copy, Debug)]
pub struct MemoryConfig {
    /// Number that goes into received frames.
    pub id: PortId,
    /// Queue pairs.
    pub queues: usize,
    /// Frames each ring holds.
    pub ring: usize,
    /// Link address.
    pub mac: MacAddr,
    /// Largest IP packet, in octets.
    pub mtu: usize,
    /// Carry partial checksums and super-frames.
    pub offloads: bool,
}

impl MemoryConfig {
    /// One queue of 1024 frames, MTU 1500, offloads carried.
    #[must_use]
    pub fn new(id: PortId) -> MemoryConfig {
        MemoryConfig { id, queues: 1, ring: 1024, mac: made_up_mac(id), mtu: 1500, offloads: true }
    }
}

/// The link switch that both ends see.
#[derive(Clone, Debug)]
struct Link(Arc<AtomicU8>);

impl Link {
    fn new() -> Link {
        Link(Arc::new(AtomicU8::new(0)))
    }

    fn get(&self) -> LinkState {
        match self.0.load(Ordering::Acquire) {
            0 => LinkState::Up,
            1 => LinkState::Down,
            _ => LinkState::Gone,
        }
    }

    fn set(&self, state: LinkState) {
        let code = match state {
            LinkState::Up => 0,
            LinkState::Down => 1,
            LinkState::Gone => 2,
        };
        self.0.store(code, Ordering::Release);
    }
}

/// Makes a port and the handle of its other end.
#[must_use]
pub fn pair(config: MemoryConfig) -> (OpenPort, Peer) {
    let link = Link::new();
    let mut seeds = Vec::with_capacity(config.queues);
    let mut peers = Vec::with_capacity(config.queues);
    for _ in 0..config.queues {
        let (to_router, from_peer) = ring::ring(config.ring);
        let (to_peer, from_router) = ring::ring(config.ring);
        let link = link.clone();
        seeds.push(QueueSeed::new(move || {
            Box::new(MemoryQueue {
                config,
                rx: from_peer,
                tx: to_peer,
                seen: link.get(),
                link,
                stats: QueueStats::default(),
            })
        }));
        peers.push(PeerQueue { tx: to_router, rx: from_router });
    }
    let port = port(config, seeds, link.clone());
    (port, Peer { queues: peers, link })
}

/// Makes two ports joined by a cable: what one sends the other receives, queue by queue. Both have as many queues
/// and frames per ring as `a`.
#[must_use]
pub fn cable(a: MemoryConfig, b: MemoryConfig) -> (OpenPort, OpenPort) {
    let b = MemoryConfig { queues: a.queues, ring: a.ring, ..b };
    let link = Link::new();
    let (mut seeds_a, mut seeds_b) = (Vec::with_capacity(a.queues), Vec::with_capacity(a.queues));
    for _ in 0..a.queues {
        let (to_b, from_a) = ring::ring(a.ring);
        let (to_a, from_b) = ring::ring(a.ring);
        for (seeds, config, rx, tx) in [(&mut seeds_a, a, from_b, to_b), (&mut seeds_b, b, from_a, to_a)] {
            let link = link.clone();
            seeds.push(QueueSeed::new(move || {
                Box::new(MemoryQueue { config, rx, tx, seen: link.get(), link, stats: QueueStats::default() })
            }));
        }
    }
    (port(a, seeds_a, link.clone()), port(b, seeds_b, link))
}

fn port(config: MemoryConfig, queues: Vec<QueueSeed>, link: Link) -> OpenPort {
    let info = PortInfo { mac: config.mac, mtu: config.mtu, link: LinkState::Up, ifindex: None, speed_mbps: None };
    OpenPort {
        id: config.id,
        info: info.clone(),
        caps: caps(config.offloads, config.mtu),
        queues,
        control: Box::new(MemoryControl { info, link }),
        warnings: Vec::new(),
    }
}

fn caps(offloads: bool, mtu: usize) -> PortCaps {
    PortCaps {
        tx_checksum_partial: offloads,
        tx_gso: offloads,
        rx_partial: offloads,
        rx_gso: offloads,
        max_frame: if offloads { MAX_FRAME } else { largest_frame(mtu) },
        steered: true,
    }
}

/// Octets of a frame with a full packet and two VLAN tags.
const fn largest_frame(mtu: usize) -> usize {
    mtu + 14 + 8
}

/// A memory port named in a configuration: nobody is at its other end, so nothing is received and what is
/// sent is counted and forgotten. It lets a router start without privileges.
#[must_use]
pub(super) fn open(spec: &PortSpec) -> OpenPort {
    let mut config = bench::BenchConfig::new(spec.id);
    config.mtu = spec.mtu.unwrap_or(config.mtu);
    config.mac = spec.mac.unwrap_or(config.mac);
    let ends = (0..spec.queues).map(|_| bench::BenchEnd { source: Box::new(bench::Nothing), sink: None });
    let mut port = bench::open(config, ends.collect());
    port.warnings.push(format!(
        "port {}: a memory port has nobody at its other end; it receives nothing and forgets what it sends",
        spec.name
    ));
    port
}

struct MemoryControl {
    info: PortInfo,
    link: Link,
}

impl PortControl for MemoryControl {
    fn link(&self) -> LinkState {
        self.link.get()
    }

    fn reopen(&mut self) -> Result<PortInfo, OpenError> {
        self.link.set(LinkState::Up);
        Ok(self.info.clone())
    }
}

struct MemoryQueue {
    config: MemoryConfig,
    rx: Reader,
    tx: Writer,
    link: Link,
    /// Link as last reported.
    seen: LinkState,
    stats: QueueStats,
}

impl QueuePair for MemoryQueue {
    fn receive(&mut self, pool: &Pool, burst: &mut Burst) -> RxStatus {
        let mut status = RxStatus::default();
        let link = self.link.get();
        if link != self.seen {
            self.seen = link;
            status.link = Some(link);
        }
        if link != LinkState::Up {
            return status;
        }
        while burst.room() > 0 && !self.rx.is_empty() {
            let Some(mut frame) = pool.alloc() else {
                self.stats.rx_nobuf += 1;
                break;
            };
            let fits = self.rx.read(|bytes, meta| {
                frame.set_len(bytes.len());
                frame.meta = *meta;
                let fits = frame.len() == bytes.len();
                if fits {
                    frame.data_mut().copy_from_slice(bytes);
                }
                fits
            });
            match fits {
                Some(true) => {
                    frame.meta.ingress = self.config.id;
                    self.stats.rx_packets += 1;
                    self.stats.rx_bytes += frame.len() as u64;
                    self.stats.rx_super += u64::from(frame.meta.gso.is_some());
                    status.octets += frame.len() as u64;
                    status.received += usize::from(burst.push(frame).is_ok());
                }
                Some(false) => self.stats.rx_truncated += 1,
                None => break,
            }
        }
        status
    }

    fn transmit(&mut self, burst: &mut Burst) -> TxStatus {
        let mut sent = 0;
        let mut stop = None;
        for frame in burst.as_slice() {
            stop = match self.link.get() {
                LinkState::Down => Some(TxStop::Down),
                LinkState::Gone => Some(TxStop::Gone),
                LinkState::Up => refuse(&frame.meta, frame.len(), self.config.offloads, self.config.mtu),
            };
            if stop.is_some() {
                break;
            }
            if !self.tx.write(frame.data(), &frame.meta) {
                stop = Some(TxStop::Full);
                break;
            }
            sent += 1;
            self.stats.tx_packets += 1;
            self.stats.tx_bytes += frame.len() as u64;
            self.stats.tx_super += u64::from(frame.meta.gso.is_some());
        }
        burst.consume(sent);
        self.stats.count_stop(stop, burst.len());
        TxStatus { sent, stop }
    }

    fn stats(&self) -> QueueStats {
        self.stats
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Whether a device with or without offloads could send this frame.
fn refuse(meta: &Meta, len: usize, offloads: bool, mtu: usize) -> Option<TxStop> {
    let asks = meta.gso.is_some() || matches!(meta.checksum, Checksum::Partial { .. });
    if asks && !offloads {
        return Some(TxStop::Refused);
    }
    let most = if meta.gso.is_some() { MAX_FRAME } else { largest_frame(mtu) };
    (len > most).then_some(TxStop::Oversize)
}

/// The other end of a memory port.
#[derive(Debug)]
pub struct Peer {
    queues: Vec<PeerQueue>,
    link: Link,
}

impl Peer {
    /// One queue's end.
    pub fn queue(&mut self, index: usize) -> Option<&mut PeerQueue> {
        self.queues.get_mut(index)
    }

    /// Takes the queues apart, for a thread each.
    #[must_use]
    pub fn into_queues(self) -> Vec<PeerQueue> {
        self.queues
    }

    /// Plugs the cable in or out, or takes the whole device away.
    pub fn set_link(&self, state: LinkState) {
        self.link.set(state);
    }
}

/// The other end of one queue.
#[derive(Debug)]
pub struct PeerQueue {
    tx: Writer,
    rx: Reader,
}

impl PeerQueue {
    /// Sends a frame to the router; false when the ring is full.
    pub fn inject(&mut self, bytes: &[u8]) -> bool {
        self.inject_with(bytes, &Meta::default())
    }

    /// Sends a frame with what is known beside its bytes; false when the ring is full.
    pub fn inject_with(&mut self, bytes: &[u8], meta: &Meta) -> bool {
        self.tx.write(bytes, meta)
    }

    /// Takes the next frame the router sent.
    pub fn take(&mut self) -> Option<Delivered> {
        self.rx.read(|bytes, meta| Delivered { bytes: bytes.to_vec(), meta: *meta })
    }

    /// Looks at the next frame the router sent, without copying it, and removes it.
    pub fn take_with<T>(&mut self, look: impl FnOnce(&[u8], &Meta) -> T) -> Option<T> {
        self.rx.read(look)
    }
}

#[cfg(test)]
mod tests;
