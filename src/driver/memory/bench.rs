//! A memory port without rings, for measuring: frames come from a [`Source`] straight into the pool, and
//! what is sent is shown to a sink and forgotten.

use super::{caps, largest_frame, made_up_mac, refuse};
use crate::driver::port::FixedControl;
use crate::driver::{LinkState, OpenPort, PortInfo, QueuePair, QueueSeed, QueueStats, RxStatus, TxStatus, TxStop};
use crate::frame::{Burst, Frame, Meta, Pool, Survey};
use crate::net::wide::Widest;
use crate::net::{MacAddr, PortId};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Where the frames of one queue come from.
pub trait Source: Send {
    /// Adds frames lent by `pool` to `burst`, as many as there are now and fit, as if they had come in by
    /// `ingress`. Must not allocate.
    fn receive(&mut self, ingress: PortId, pool: &Pool, burst: &mut Burst) -> Received;
}

/// What a [`Source`] gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Frames.
    pub frames: usize,
    /// Their octets.
    pub bytes: u64,
    /// There were more, but no buffers for them.
    pub nobuf: bool,
}

/// A source that never has anything.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Source for Nothing {
    fn receive(&mut self, _ingress: PortId, _pool: &Pool, _burst: &mut Burst) -> Received {
        Received::default()
    }
}

/// Copies of a fixed set of frames, in order, again and again, up to a number of frames.
#[derive(Clone, Debug)]
pub struct Templates {
    set: Arc<[(Vec<u8>, Meta)]>,
    next: usize,
    left: u64,
}

impl Templates {
    /// `count` frames in all, starting with the template at `first` (modulo the size of the set).
    #[must_use]
    pub fn new(set: Arc<[(Vec<u8>, Meta)]>, first: usize, count: u64) -> Templates {
        let next = first.checked_rem(set.len()).unwrap_or(0);
        Templates { set, next, left: count }
    }
}

impl Source for Templates {
    fn receive(&mut self, ingress: PortId, pool: &Pool, burst: &mut Burst) -> Received {
        let mut got = Received::default();
        while burst.room() > 0 && self.left > 0 {
            let Some((bytes, meta)) = self.set.get(self.next) else { break };
            let Some(mut frame) = pool.alloc() else {
                got.nobuf = true;
                break;
            };
            frame.set_len(bytes.len());
            if frame.len() != bytes.len() {
                break;
            }
            frame.data_mut().copy_from_slice(bytes);
            frame.meta = *meta;
            frame.meta.ingress = ingress;
            self.left -= 1;
            self.next += 1;
            if self.next == self.set.len() {
                self.next = 0;
            }
            got.bytes += bytes.len() as u64;
            got.frames += usize::from(burst.push(frame).is_ok());
        }
        got
    }
}

/// Is shown the frames a queue sends, call by call, to count or to verify them.
pub type Sink = Box<dyn FnMut(&Survey<'_>) + Send>;

/// Both ends of one queue.
pub struct BenchEnd {
    /// Gives the frames to receive.
    pub source: Box<dyn Source>,
    /// Sees the frames sent; without one they are counted only.
    pub sink: Option<Sink>,
}

impl std::fmt::Debug for BenchEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BenchEnd").field("sink", &self.sink.is_some()).finish_non_exhaustive()
    }
}

/// How a bench port is made.
#[derive(Clone, Copy, Debug)]
pub struct BenchConfig {
    /// Number that goes into received frames.
    pub id: PortId,
    /// Link address.
    pub mac: MacAddr,
    /// Largest IP packet, in octets.
    pub mtu: usize,
    /// Take partial checksums and super-frames.
    pub offloads: bool,
}

impl BenchConfig {
    /// MTU 1500, offloads taken.
    #[must_use]
    pub fn new(id: PortId) -> BenchConfig {
        BenchConfig { id, mac: made_up_mac(id), mtu: 1500, offloads: true }
    }
}

/// Makes a port with one queue per end.
#[must_use]
pub fn open(config: BenchConfig, ends: Vec<BenchEnd>) -> OpenPort {
    let info = PortInfo { mac: config.mac, mtu: config.mtu, link: LinkState::Up, ifindex: None, speed_mbps: None };
    let seed = |BenchEnd { source, sink }| {
        let (stats, widest) = (QueueStats::default(), Widest::here());
        QueueSeed::new(move || Box::new(BenchQueue { config, source, sink, widest, stats }))
    };
    OpenPort {
        id: config.id,
        info: info.clone(),
        caps: caps(config.offloads, config.mtu),
        queues: ends.into_iter().map(seed).collect(),
        control: Box::new(FixedControl(info)),
        warnings: Vec::new(),
    }
}

struct BenchQueue {
    config: BenchConfig,
    source: Box<dyn Source>,
    sink: Option<Sink>,
    widest: Widest,
    stats: QueueStats,
}

impl BenchQueue {
    /// How many of the first frames may be sent, and why not all.
    #[cold]
    fn look_closely(config: &BenchConfig, stats: &mut QueueStats, frames: &[Frame]) -> (usize, Option<TxStop>) {
        for (at, frame) in frames.iter().enumerate() {
            let stop = refuse(&frame.meta, frame.len(), config.offloads, config.mtu);
            if stop.is_some() {
                return (at, stop);
            }
            stats.tx_super += u64::from(frame.meta.gso.is_some());
        }
        (frames.len(), None)
    }
}

impl QueuePair for BenchQueue {
    fn receive(&mut self, pool: &Pool, burst: &mut Burst) -> RxStatus {
        let Received { frames, bytes, nobuf } = self.source.receive(self.config.id, pool, burst);
        self.stats.rx_packets += frames as u64;
        self.stats.rx_bytes += bytes;
        self.stats.rx_nobuf += u64::from(nobuf);
        RxStatus { received: frames, octets: bytes, link: None }
    }

    fn transmit(&mut self, burst: &mut Burst) -> TxStatus {
        let BenchQueue { config, sink, stats, widest, .. } = self;
        let mut stop = None;
        let sent = burst.offer(*widest, |all| {
            let (mut octets, longest) = all.octets();
            let mut show = |some: &Survey<'_>| sink.iter_mut().for_each(|sink| sink(some));
            // Mostly they ask for nothing, and none is too large.
            let sent = if all.asks().is_nothing() && longest <= largest_frame(config.mtu) {
                show(all);
                all.frames().len()
            } else {
                let sent;
                (sent, stop) = Self::look_closely(config, stats, all.frames());
                let some = Survey::of(all.frames().get(..sent).unwrap_or_default(), *widest);
                (octets, _) = some.octets();
                show(&some);
                sent
            };
            stats.tx_bytes += octets;
            stats.tx_packets += sent as u64;
            sent
        });
        stats.count_stop(stop, burst.len());
        TxStatus { sent, stop }
    }

    fn stats(&self) -> QueueStats {
        self.stats
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}
