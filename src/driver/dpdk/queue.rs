//! One receive and one transmit queue of a DPDK port, for one worker.
//!
//! A frame is an mbuf from the mempool of its worker: received into it by the device, and given to the next device as
//! it is. Its head is written when somebody asks the burst for frames, and read again when the burst is sent; a burst that
//! nobody asked is the list of mbufs that the device gave. What comes otherwise is copied once: a chain of several segments, a device's own memory, a frame of another
//! pool.

use super::device::{Shared, Status};
use super::ffi::{self, Mempool, head_of, mbuf_of, raw, rte_mbuf};
use super::share::Enabled;
use crate::driver::checksum;
use crate::driver::{LinkState, QueuePair, QueueStats, RxStatus, TxStatus, TxStop};
use crate::frame::{Asks, Burst, Checksum, FRONT, Filled, Frame, HeaderSum, MAX_FRAME, Mould, Pool, Untouched};
use crate::net::PortId;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;

/// Frames per call of the device.
const BATCH: usize = 64;

/// Calls that found the link down, or no room, between two looks at the link.
const LOOK_EVERY: u32 = 1024;

/// Flags of a received mbuf by which a device tells of checksums.
const SUMS: u64 = raw::FG_RX_L4_MASK | raw::FG_RX_IP_MASK;

pub(super) struct Queue {
    id: PortId,
    index: u16,
    /// It receives; else it only sends.
    receives: bool,
    mempool: Mempool,
    shared: Arc<Shared>,
    /// The port's status as this queue knows it, and the same as [`Shared::word`] gives it.
    seen: Status,
    word: u64,
    /// A change of the link nobody was told of yet.
    untold: bool,
    /// Calls without luck.
    unlucky: u32,
    /// The pool over the mempool, once it is known.
    home: usize,
    /// Largest frame the device is given.
    largest: usize,
    /// The device finishes checksums.
    finishes: bool,
    /// The transmit queues that can be sent by, where workers share them.
    enabled: Option<Enabled>,
    stats: QueueStats,
}

impl Queue {
    pub(super) fn new(id: PortId, index: u16, mempool: Mempool, shared: Arc<Shared>) -> Queue {
        let word = shared.word();
        let seen = Status::unpack(word);
        let largest = shared.largest_frame();
        let receives = shared.receives(index);
        let (finishes, enabled, stats) = (shared.finishes_checksums(), shared.enabled(), QueueStats::default());
        Queue {
            id,
            index,
            receives,
            mempool,
            shared,
            seen,
            word,
            untold: false,
            unlucky: 0,
            home: 0,
            largest,
            finishes,
            enabled,
            stats,
        }
    }

    /// Takes note of a change that the control plane or another queue made known.
    #[cold]
    fn catch_up(&mut self, word: u64) {
        let now = Status::unpack(word);
        self.untold |= now.link != self.seen.link;
        (self.seen, self.word) = (now, word);
        self.finishes = self.shared.finishes_checksums();
        self.enabled = self.shared.enabled();
        self.receives = self.shared.receives(self.index);
        if now.link == LinkState::Gone {
            // From here on this queue calls the device no more, until the status changes again.
            self.shared.park(self.index, now);
        }
    }

    #[inline(always)]
    fn look(&mut self) {
        let word = self.shared.word();
        if word != self.word {
            self.catch_up(word);
        }
    }

    /// A call was without luck, maybe because the link changed.
    #[cold]
    fn wonder(&mut self) {
        self.unlucky = self.unlucky.wrapping_add(1);
        if self.unlucky.is_multiple_of(LOOK_EVERY) {
            self.shared.read_link();
        }
    }

    /// Makes a frame of what the device received. `None` when it was lost, and counted.
    #[inline(always)]
    fn accept(&mut self, mbuf: NonNull<rte_mbuf>, pool: &Pool, own: bool) -> Option<Frame> {
        // SAFETY: the device filled it and gave it to this queue alone.
        let (flags, segments, offset, length) = unsafe {
            let mbuf = mbuf.as_ref();
            (mbuf.ol_flags, mbuf.nb_segs, mbuf.data_off, mbuf.data_len)
        };
        if own && segments == 1 && flags & raw::FG_FOREIGN_MEMORY == 0 {
            // SAFETY: it came from the mempool this queue was set up with, which is the pool's lender; a device keeps
            // data within the buffer.
            let mut frame = unsafe { pool.adopt(head_of(mbuf), offset.into(), length.into()) };
            if flags & SUMS != 0 {
                frame.meta.header = received_header(mbuf, flags);
                frame.meta.checksum = received_checksum(mbuf, flags);
            }
            return Some(frame);
        }
        self.copy_in(mbuf, pool)
    }

    /// Takes frames of which some are special: the first `count` that the device put into the burst's spare places. Gives
    /// their octets.
    #[cold]
    fn accept_all(&mut self, count: usize, pool: &Pool, burst: &mut Burst) -> u64 {
        let mut received = [const { MaybeUninit::uninit() }; BATCH];
        received.iter_mut().zip(burst.spare()).take(count).for_each(|(to, from)| *to = *from);
        let own = pool.lender() == self.mempool.id();
        let mut octets = 0;
        for place in received.iter().take(count) {
            // SAFETY: one of those the device wrote.
            let mbuf = unsafe { place.assume_init() }.cast();
            if let Some(mut frame) = self.accept(mbuf, pool, own) {
                frame.meta.ingress = self.id;
                octets += frame.len() as u64;
                // There is room: no more were asked for.
                let _ = burst.push(frame);
            }
        }
        octets
    }

    /// Copies what did not come as one buffer of the worker's pool.
    #[cold]
    fn copy_in(&mut self, mbuf: NonNull<rte_mbuf>, pool: &Pool) -> Option<Frame> {
        // SAFETY: as in `accept`.
        let (octets, flags) = unsafe { (mbuf.as_ref().pkt_len as usize, mbuf.as_ref().ol_flags) };
        let frame = pool.alloc().and_then(|mut frame| {
            frame.set_len(octets);
            let room = frame.len() as u32;
            // SAFETY: a valid chain, and `room` octets that are this frame's alone.
            let copied = unsafe { raw::fg_copy_out(mbuf.as_ptr(), frame.data_mut().as_mut_ptr().cast(), room) };
            frame.meta.header = received_header(mbuf, flags);
            frame.meta.checksum = received_checksum(mbuf, flags);
            (copied as usize == octets && octets != 0).then_some(frame).or_else(|| {
                self.stats.rx_truncated += 1;
                None
            })
        });
        if frame.is_none() && pool.available() == 0 {
            self.stats.rx_nobuf += 1;
        }
        // SAFETY: nobody else has the chain.
        unsafe { raw::fg_free(mbuf.as_ptr()) }
        frame
    }

    /// Writes the mbuf of a frame as the device wants it. The frame's buffer is this worker's mempool's.
    #[inline(always)]
    fn describe(frame: &Frame, mbuf: NonNull<rte_mbuf>) {
        Self::describe_data(frame, mbuf);
        if let Checksum::Partial { start, offset } = frame.meta.checksum {
            Self::describe_checksum(frame, mbuf, start, offset);
        }
    }

    /// The same for a frame whose checksum is finished.
    #[inline(always)]
    fn describe_data(frame: &Frame, mbuf: NonNull<rte_mbuf>) {
        let length = frame.len();
        // SAFETY: the frame is this worker's alone, and so is the mbuf in front of it. What is written is what DPDK
        // wants of an mbuf of one segment; a frame's length and headroom fit in 16 bits, for the whole buffer does.
        // No flag of transmission is left in it: devices, the lender and `send` see to that.
        unsafe {
            let mbuf = &mut *mbuf.as_ptr();
            let (now, wanted) = ((mbuf.data_off, mbuf.data_len), (frame.headroom() as u16, length as u16));
            if now != wanted {
                (mbuf.data_off, mbuf.data_len) = wanted;
                mbuf.pkt_len = length as u32;
            }
        }
    }

    /// Writes the mbufs of frames and gives their octets, if all are this worker's own and ask for nothing.
    #[inline(always)]
    fn describe_plain(&self, frames: &[Frame]) -> Option<u64> {
        let (mut octets, mut longest, mut asks) = (0, 0, Asks::NOTHING);
        for frame in frames {
            if frame.home() != self.home {
                return None;
            }
            asks.note(&frame.meta);
            Self::describe_data(frame, mbuf_of(frame.head()));
            octets += frame.len() as u64;
            longest = longest.max(frame.len());
        }
        (asks.is_nothing() && longest <= self.largest).then_some(octets)
    }

    /// Asks the device to finish a checksum whose field holds the pseudo-header's sum, as DPDK wants it.
    fn describe_checksum(frame: &Frame, mbuf: NonNull<rte_mbuf>, start: u16, offset: u16) {
        let Some((link, version)) = network(frame.data()) else { return };
        let network = u64::from(start).saturating_sub(link as u64);
        // SAFETY: as in `describe`.
        unsafe {
            let mbuf = &mut *mbuf.as_ptr();
            mbuf.ol_flags = (if version == 4 { raw::FG_TX_IPV4 } else { raw::FG_TX_IPV6 })
                | (if offset == UDP_CHECKSUM { raw::FG_TX_UDP_CKSUM } else { raw::FG_TX_TCP_CKSUM });
            // l2_len in the low 7 bits, l3_len in the next 9.
            mbuf.__bindgen_anon_3.tx_offload = link as u64 & 0x7f | (network & 0x1ff) << 7;
        }
    }

    /// A frame of another pool, as a frame of this worker's mempool. `None` when there is no buffer or it does not fit.
    #[cold]
    fn copied(&self, frame: &Frame) -> Option<NonNull<rte_mbuf>> {
        let mut object = std::ptr::null_mut();
        // SAFETY: room for one pointer.
        if unsafe { raw::fg_pool_get(self.mempool.0.as_ptr(), &raw mut object, 1) } != 0 {
            return None;
        }
        let mbuf = NonNull::new(object.cast::<rte_mbuf>())?;
        // SAFETY: nobody else has this mbuf.
        let fits = unsafe {
            let mbuf = &mut *mbuf.as_ptr();
            (mbuf.data_len, mbuf.pkt_len, mbuf.ol_flags) = (0, 0, 0);
            let fits = usize::from(mbuf.buf_len) >= frame.headroom() + frame.len();
            if fits {
                let to = mbuf.buf_addr.cast::<u8>().add(frame.headroom());
                std::ptr::copy_nonoverlapping(frame.data().as_ptr(), to, frame.len());
            }
            fits
        };
        if !fits {
            // SAFETY: as above.
            unsafe { raw::fg_free(mbuf.as_ptr()) }
            return None;
        }
        Self::describe(frame, mbuf);
        Some(mbuf)
    }

    /// Offers the device a burst. Gives how many frames it took, and why not all.
    #[inline]
    fn send_all(&mut self, queue: u16, burst: &mut Burst) -> (usize, Option<TxStop>) {
        let (mut sent, mut stop) = (0, None);
        while stop.is_none() && !burst.is_empty() {
            let taken;
            (taken, stop) = self.send(queue, burst);
            sent += taken;
        }
        (sent, stop)
    }

    /// The same by a queue that other workers may send by too.
    fn send_shared(&mut self, enabled: Enabled, burst: &mut Burst) -> (usize, Option<TxStop>) {
        let Some(queue) = self.shared.shares().claim(self.index, enabled) else { return (0, Some(TxStop::Full)) };
        let done = self.send_all(queue, burst);
        self.shared.shares().release(queue);
        done
    }

    /// Offers the device a burst as another one received it: with what that one wrote into the mbufs, which is right for
    /// this one too.
    #[inline]
    fn pass_on(&mut self, queue: u16, known: Untouched, burst: &mut Burst) -> (usize, Option<TxStop>) {
        let count = burst.len();
        // SAFETY: as in `send`. A frame of this worker's mempool is the address of its mbuf, and a device leaves those it
        // does not take at the end.
        let sent =
            usize::from(unsafe { raw::fg_transmit(self.seen.port, queue, known.fronts.as_ptr().cast(), count as u16) });
        burst.forget(sent);
        let left: u64 = if sent < count { burst.as_slice().iter().map(|frame| frame.len() as u64).sum() } else { 0 };
        self.count_sent(sent, count, known.octets - left)
    }

    /// Counts that of a batch so many were sent.
    #[inline]
    fn count_sent(&mut self, sent: usize, of: usize, octets: u64) -> (usize, Option<TxStop>) {
        self.stats.tx_bytes += octets;
        self.stats.tx_packets += sent as u64;
        (sent, (sent < of).then_some(TxStop::Full))
    }

    /// Offers the device the first frames of the burst, up to a batch. Gives how many it took and how many were offered,
    /// and why not all.
    #[inline]
    fn send(&mut self, queue: u16, burst: &mut Burst) -> (usize, Option<TxStop>) {
        if let Some(known) = burst.untouched(self.mempool.id())
            && known.longest <= self.largest
        {
            return self.pass_on(queue, known, burst);
        }
        let count = burst.len().min(BATCH);
        let plain = burst.as_mut_slice().get_mut(..count).unwrap_or_default();
        if let Some(octets) = self.describe_plain(plain) {
            // SAFETY: as below. A frame of this worker's mempool is the address of its mbuf.
            let sent = usize::from(unsafe {
                raw::fg_transmit(self.seen.port, queue, plain.as_mut_ptr().cast(), count as u16)
            });
            let left: u64 = plain.iter().skip(sent).map(|frame| frame.len() as u64).sum();
            burst.forget(sent);
            return self.count_sent(sent, count, octets - left);
        }
        let mut mbufs = [const { MaybeUninit::<NonNull<rte_mbuf>>::uninit() }; BATCH];
        let (mut count, mut octets, mut stop, mut copies) = (0, 0, None, 0_u64);
        for (place, frame) in mbufs.iter_mut().zip(burst.as_mut_slice()) {
            if !self.finishes && matches!(frame.meta.checksum, Checksum::Partial { .. }) && !finish(frame) {
                stop = Some(TxStop::Refused);
                break;
            }
            if frame.len() > self.largest || frame.meta.gso.is_some() {
                stop = Some(if frame.meta.gso.is_some() { TxStop::Refused } else { TxStop::Oversize });
                break;
            }
            let mbuf = if frame.lender() == self.mempool.id() {
                self.home = frame.home();
                let mbuf = mbuf_of(frame.head());
                Self::describe(frame, mbuf);
                mbuf
            } else {
                match self.copied(frame) {
                    Some(mbuf) => {
                        copies |= 1 << count;
                        mbuf
                    }
                    None => {
                        stop = Some(TxStop::Full);
                        break;
                    }
                }
            };
            place.write(mbuf);
            octets += frame.len() as u64;
            count += 1;
        }
        if count == 0 {
            return (0, stop);
        }
        // SAFETY: the port runs as long as this queue is not parked, and nobody else calls this transmit queue
        // (see `share`); the first `count` places are mbufs that are this worker's alone.
        let sent =
            usize::from(unsafe { raw::fg_transmit(self.seen.port, queue, mbufs.as_mut_ptr().cast(), count as u16) });
        for frame in burst.as_slice().iter().take(count).skip(sent) {
            octets -= frame.len() as u64;
        }
        for (at, place) in mbufs.iter().enumerate().take(count).skip(sent) {
            // SAFETY: a place below `count`, whose mbuf the device did not take; a copy is nobody's any more, another
            // mbuf is a frame's and must not keep what was asked for it.
            unsafe {
                let mbuf = place.assume_init().as_ptr();
                (*mbuf).ol_flags = 0;
                if copies >> at & 1 == 1 {
                    raw::fg_free(mbuf);
                }
            }
        }
        if copies == 0 {
            burst.forget(sent);
        } else {
            burst.hand_over(sent, |frame| {
                if frame.lender() == self.mempool.id() {
                    let _ = frame.into_head();
                }
            });
        }
        self.stats.tx_bytes += octets;
        self.stats.tx_packets += sent as u64;
        (sent, if sent < count { Some(TxStop::Full) } else { stop })
    }
}

/// Finishes the checksum that the device would not. False when it does not lie within the frame.
#[cold]
fn finish(frame: &mut Frame) -> bool {
    let unfinished = frame.meta.checksum;
    let done = checksum::finish(frame.data_mut(), unfinished);
    frame.meta.checksum = Checksum::Verified;
    done
}

/// What is looked at in every mbuf that a device gives.
struct Look {
    octets: u64,
    longest: u16,
    /// Each is one buffer of the mempool's, of whose checksums no more is to be said than whether they are right.
    ordinary: bool,
    /// Of the checksums of some the device says something.
    told: bool,
}

impl Look {
    #[inline(always)]
    fn at(received: &[NonNull<rte_mbuf>]) -> Look {
        let (mut flags, mut segments, mut octets, mut longest) = (0, 0, 0, 0);
        for place in received {
            // SAFETY: the device filled it and gave it to this queue alone.
            let mbuf = unsafe { place.as_ref() };
            flags |= mbuf.ol_flags;
            segments |= mbuf.nb_segs;
            octets += u64::from(mbuf.data_len);
            longest = longest.max(mbuf.data_len);
        }
        let is = |flags, sum| flags & raw::FG_RX_L4_MASK == sum;
        // All of them together look so too if some sums are right and others wrong.
        let partial = is(flags, raw::FG_RX_L4_NONE)
            // SAFETY: as above.
            && received.iter().any(|place| is(unsafe { place.as_ref() }.ol_flags, raw::FG_RX_L4_NONE));
        let ordinary = flags & raw::FG_FOREIGN_MEMORY == 0 && !partial && segments == 1;
        Look { octets, longest, ordinary, told: flags & SUMS != 0 }
    }

    /// What makes frames of them.
    fn write_heads(&self) -> unsafe fn(&Mould, &[NonNull<u8>]) {
        if self.told { write_heads::<true> } else { write_heads::<false> }
    }
}

/// Makes frames of ordinary mbufs, and notes what was `TOLD` of their checksums.
///
/// # Safety
/// As [`Filled::write_heads`] wants it, with mbufs of a mempool.
unsafe fn write_heads<const TOLD: bool>(mould: &Mould, mbufs: &[NonNull<u8>]) {
    let mould = *mould;
    for place in mbufs {
        let place = place.cast::<rte_mbuf>();
        // SAFETY: the device filled it, and keeps data within the buffer; it is of the mempool that is the lender of the
        // mould's pool.
        unsafe {
            let (mbuf, mut head) = (place.as_ref(), head_of(place));
            mould.cast(head, mbuf.data_off.into(), mbuf.data_len.into());
            let flags = mbuf.ol_flags;
            if TOLD && flags & SUMS != 0 {
                let meta = &mut head.as_mut().meta;
                meta.header = received_header(place, flags);
                if flags & raw::FG_RX_L4_MASK == raw::FG_RX_L4_GOOD {
                    meta.checksum = Checksum::Verified;
                }
            }
        }
    }
}

/// Offset of the checksum in a UDP header.
const UDP_CHECKSUM: u16 = 6;

/// What the device says of the IPv4 header's checksum. In a packet that it took for a tunnel's, what it says is said of the header
/// within.
#[inline(always)]
fn received_header(mbuf: NonNull<rte_mbuf>, flags: u64) -> HeaderSum {
    // SAFETY: a valid mbuf, in which the packet type is a word there.
    let kind = unsafe { mbuf.byte_add(raw::FG_PACKET_TYPE as usize).cast::<u32>().read() };
    let good = flags & (raw::FG_RX_IP_MASK | raw::FG_RX_OUTER_IP_BAD) == raw::FG_RX_IP_GOOD;
    // Of anything else it is seen to here, also of one that the device calls bad.
    if good && u64::from(kind) & raw::FG_TUNNEL == 0 { HeaderSum::Verified } else { HeaderSum::Unknown }
}

/// What the device says of the transport checksum.
#[cold]
fn received_checksum(mbuf: NonNull<rte_mbuf>, flags: u64) -> Checksum {
    match flags & raw::FG_RX_L4_MASK {
        raw::FG_RX_L4_GOOD => Checksum::Verified,
        // "Not correct in the packet, but the integrity is verified": it holds the pseudo-header's sum.
        raw::FG_RX_L4_NONE => {
            let (mut start, mut field) = (0, 0);
            // SAFETY: a valid mbuf; two numbers are written in place.
            let found = unsafe { raw::fg_find_checksum(mbuf.as_ptr(), &raw mut start, &raw mut field) };
            if found == 0 { Checksum::Unknown } else { Checksum::Partial { start, offset: field } }
        }
        // Unknown, or bad: whoever cares verifies it.
        _ => Checksum::Unknown,
    }
}

/// Octets in front of the network header and the version of IP behind them.
fn network(frame: &[u8]) -> Option<(usize, u8)> {
    let mut at = 12;
    loop {
        match *frame.get(at..at + 2)? {
            [0x08, 0x00] => return Some((at + 2, 4)),
            [0x86, 0xdd] => return Some((at + 2, 6)),
            [0x81, 0x00] | [0x88, 0xa8] => at += 4,
            _ => return None,
        }
    }
}

impl QueuePair for Queue {
    fn receive(&mut self, pool: &Pool, burst: &mut Burst) -> RxStatus {
        self.look();
        let mut status = RxStatus::default();
        if self.untold {
            self.untold = false;
            status.link = Some(self.seen.link);
        }
        if !self.receives || self.seen.link == LinkState::Gone {
            return status;
        }
        let before = burst.len();
        let spare = burst.spare();
        let (places, room) = (spare.as_mut_ptr(), spare.len().min(BATCH));
        // SAFETY: the port runs as long as this queue is not parked, and nobody else calls this receive queue; there
        // is room for as many pointers as said.
        let count = usize::from(unsafe { raw::fg_receive(self.seen.port, self.index, places.cast(), room as u16) });
        if count == 0 {
            if self.seen.link == LinkState::Down {
                self.wonder();
            }
            return status;
        }
        if self.seen.link == LinkState::Down {
            // Frames come by a link that is up.
            self.shared.read_link();
        }
        // SAFETY: the device wrote the first `count` places, and the burst is not touched meanwhile.
        let look = Look::at(unsafe { std::slice::from_raw_parts(places.cast::<NonNull<rte_mbuf>>(), count) });
        let octets = if look.ordinary && pool.lender() == self.mempool.id() {
            self.home = pool.id();
            let (octets, longest, write_heads) = (look.octets, look.longest.into(), look.write_heads());
            // SAFETY: these are mbufs the device filled, from the mempool this queue was set up with, which is the pool's
            // lender.
            unsafe { burst.fill(count, pool, Filled { octets, longest, ingress: self.id, write_heads }) }
            octets
        } else {
            self.accept_all(count, pool, burst)
        };
        status.received = burst.len() - before;
        self.stats.rx_packets += status.received as u64;
        self.stats.rx_bytes += octets;
        status.octets = octets;
        status
    }

    fn transmit(&mut self, burst: &mut Burst) -> TxStatus {
        self.look();
        let mut stop = match self.seen.link {
            LinkState::Up => None,
            LinkState::Down => Some(TxStop::Down),
            LinkState::Gone => Some(TxStop::Gone),
        };
        let mut sent = 0;
        if stop.is_none() && !burst.is_empty() {
            (sent, stop) = match self.enabled {
                None => self.send_all(self.index, burst),
                Some(enabled) => self.send_shared(enabled, burst),
            };
        }
        if burst.is_empty() {
            return TxStatus { sent, stop: None };
        }
        if matches!(stop, Some(TxStop::Full | TxStop::Down)) {
            self.wonder();
        }
        self.stats.count_stop(stop, burst.len());
        TxStatus { sent, stop }
    }

    fn stats(&self) -> QueueStats {
        let mut stats = self.stats;
        // The device counts for all its queues together.
        if self.index == 0 {
            self.shared.add_counts(&mut stats);
        }
        stats
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

const _: () = assert!(MAX_FRAME > u16::MAX as usize, "frames may be larger than an mbuf");
const _: () = assert!(ffi::MBUF == FRONT, "a frame of a mempool is the address of its mbuf");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{HEADROOM, Head, Lender, PoolConfig};

    const CONFIG: PoolConfig = PoolConfig { buffers: 4, frame_size: 256 };
    const SIZE: usize = ffi::MBUF + size_of::<Head>() + HEADROOM + CONFIG.frame_size;

    #[repr(align(64))]
    struct Buffers([[u8; SIZE]; 4]);

    /// Lends nothing, and what comes back stays where it is.
    struct Nobody;

    // SAFETY: nothing is lent.
    unsafe impl Lender for Nobody {
        fn lend(&self, _: usize, _: &mut Vec<NonNull<u8>>) {}
        fn take_back(&self, _: &[NonNull<u8>]) {}
        fn available(&self) -> usize {
            0
        }
        fn id(&self) -> usize {
            9
        }
    }

    /// What becomes of mbufs with these flags and packet types: whether they stay a burst, and what their frames say.
    fn received(mbufs: [(u64, u32); 4]) -> (bool, Vec<(HeaderSum, Checksum)>) {
        const { assert!(SIZE.is_multiple_of(64)) };
        let mut memory = Box::new(Buffers([[0; SIZE]; 4]));
        let pool = Pool::lent(CONFIG, Box::new(Nobody));
        let mut burst = Burst::with_limit(4);
        let mut fronts = Vec::new();
        for (buffer, (flags, kind)) in memory.0.iter_mut().zip(mbufs) {
            let mbuf = NonNull::from(buffer).cast::<rte_mbuf>();
            // SAFETY: there is room for it, and all zeroes are one.
            unsafe {
                let mbuf = &mut *mbuf.as_ptr();
                (mbuf.ol_flags, mbuf.nb_segs, mbuf.data_off, mbuf.data_len) = (flags, 1, HEADROOM as u16, 60);
            }
            // SAFETY: as in `received_header`.
            unsafe { mbuf.byte_add(raw::FG_PACKET_TYPE as usize).cast::<u32>().write(kind) }
            fronts.push(mbuf);
        }
        burst.spare().iter_mut().zip(&fronts).for_each(|(place, mbuf)| _ = place.write(mbuf.cast()));
        let look = Look::at(&fronts);
        assert_eq!((look.octets, look.longest), (240, 60));
        let filled = Filled { octets: 240, longest: 60, ingress: PortId(3), write_heads: look.write_heads() };
        // SAFETY: they are there, and nobody else has them.
        unsafe { burst.fill(4, &pool, filled) }
        let told = burst.as_slice().iter().map(|frame| (frame.meta.header, frame.meta.checksum)).collect();
        assert!(burst.as_slice().iter().all(|frame| frame.meta.ingress == PortId(3) && frame.len() == 60));
        burst.forget(4);
        (look.ordinary, told)
    }

    #[test]
    fn what_a_device_says_of_checksums_does_not_part_a_burst() {
        use {Checksum as L4, HeaderSum as Ip};
        let (l4, ip) = (raw::FG_RX_L4_GOOD, raw::FG_RX_IP_GOOD);
        let [l4_bad, ip_bad] = [(raw::FG_RX_L4_MASK, l4), (raw::FG_RX_IP_MASK, ip)].map(|(mask, good)| mask & !good);
        let (ordinary, told) = received([(l4 | ip, 0), (l4 | ip_bad, 0), (l4_bad | ip, 0), (0, 0)]);
        assert!(ordinary);
        let [verified, unknown] = [(Ip::Verified, L4::Verified), (Ip::Unknown, L4::Unknown)];
        assert_eq!(told, [verified, (Ip::Unknown, L4::Verified), (Ip::Verified, L4::Unknown), unknown]);
        // Within a tunnel, behind a header that is bad, or not right in the packet itself.
        let tunnel = raw::FG_TUNNEL as u32;
        let (ordinary, told) =
            received([(l4 | ip, tunnel), (ip | raw::FG_RX_OUTER_IP_BAD, 0), (raw::FG_RX_IP_MASK, 0), (ip, !tunnel)]);
        assert!(ordinary);
        assert_eq!(told, [(Ip::Unknown, L4::Verified), unknown, unknown, (Ip::Verified, L4::Unknown)]);
    }

    #[test]
    fn a_sum_that_is_to_be_finished_and_foreign_memory_do() {
        for flag in [raw::FG_RX_L4_NONE, raw::FG_FOREIGN_MEMORY] {
            assert!(!received([(0, 0), (0, 0), (flag, 0), (raw::FG_RX_L4_GOOD, 0)]).0);
        }
    }
}
