//! Memory that a port's sockets and a worker's frames share (a UMEM), and how its chunks become frames and back.
//!
//! A chunk holds one frame: its description, then headroom and data. The kernel leaves 256 octets at the front of a
//! chunk alone (XDP_PACKET_HEADROOM), in which the description fits. A chunk has one holder: the pool's free list, a
//! frame, or a socket's rings, which [`Loans`] keeps the books of.

use crate::frame::{Frame, HEADROOM, Head, Lender, Pool, PoolConfig, PoolError};
use crate::net::memory::Mapping;
use crate::net::{HugePages, prefetch_at};
use std::cell::RefCell;
use std::mem::size_of;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Octets the kernel leaves free in front of a received frame.
const KERNEL_HEADROOM: usize = 256;

/// Octets of a chunk in front of what a pool calls frame size.
const FRONT: usize = size_of::<Head>() + HEADROOM;

const _: () = assert!(FRONT <= KERNEL_HEADROOM, "the kernel never writes into a frame's description");

/// Sizes a chunk may have: powers of two up to a page.
const CHUNKS: [usize; 2] = [2048, 4096];

/// The chunk that holds received frames of `largest` octets; `None` when no chunk does.
pub(super) fn chunk_for(largest: usize) -> Option<usize> {
    CHUNKS.into_iter().find(|chunk| largest + KERNEL_HEADROOM <= *chunk)
}

/// The largest frame that any chunk holds when it is received.
pub(super) const LARGEST: usize = CHUNKS[1] - KERNEL_HEADROOM;

/// The sizes of a pool of such chunks.
pub(super) const fn config(chunk: usize, buffers: usize) -> PoolConfig {
    PoolConfig { buffers, frame_size: chunk - FRONT }
}

/// The chunk behind a pool's sizes.
pub(super) const fn chunk_of(config: PoolConfig) -> usize {
    config.frame_size + FRONT
}

/// The largest frame that such a pool's chunks hold when it is received.
pub(super) const fn largest(config: PoolConfig) -> usize {
    chunk_of(config).saturating_sub(KERNEL_HEADROOM)
}

/// Chunks in one mapping.
pub(super) struct Area {
    memory: Mapping,
    chunk: usize,
    chunks: usize,
    /// So many chunks from the first on are the rings' of sockets that were opened before there was a pool.
    reserved: AtomicUsize,
}

// SAFETY: the mapping belongs to the process, not to a thread. Its octets are reached through frames alone, and each
// chunk has one holder.
unsafe impl Send for Area {}
// SAFETY: as above; one field changes, atomically.
unsafe impl Sync for Area {}

impl Area {
    /// Maps memory for `chunks` chunks.
    pub(super) fn new(chunk: usize, chunks: usize) -> Result<Area, PoolError> {
        let bytes = chunk * chunks;
        let config = PoolConfig { buffers: chunks, frame_size: chunk.saturating_sub(FRONT) };
        if !CHUNKS.contains(&chunk) || chunks == 0 {
            return Err(PoolError::BadSize(config));
        }
        let memory = Mapping::new(bytes, HugePages::Auto).map_err(|source| PoolError::NoMemory { bytes, source })?;
        Ok(Area { memory, chunk, chunks, reserved: AtomicUsize::new(0) })
    }

    /// Address of its first octet.
    pub(super) fn address(&self) -> u64 {
        self.memory.base().as_ptr() as u64
    }

    /// Octets.
    pub(super) fn len(&self) -> usize {
        self.chunk * self.chunks
    }

    /// Octets of a chunk.
    pub(super) fn chunk(&self) -> usize {
        self.chunk
    }

    /// What pools of these chunks have and hold.
    pub(super) fn config(&self) -> PoolConfig {
        config(self.chunk, self.chunks)
    }

    /// The number pools of this memory know their lender by: odd, so that it is no address of anything else.
    pub(super) fn id(&self) -> usize {
        self.memory.base().as_ptr() as usize | 1
    }

    /// Sets `count` chunks aside for a socket's rings, so that it can receive at once. None once there is a pool, which has
    /// them all.
    pub(super) fn reserve(&self, count: usize) -> Range<usize> {
        let first = self.reserved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |first| {
            Some(first + count).filter(|end| *end <= self.chunks)
        });
        first.map_or(0..0, |first| first..first + count)
    }

    /// A pool of all its chunks but those set aside, which come to it when the rings are done with them. Call it once for
    /// an area.
    pub(super) fn pool(self: &Arc<Area>) -> Pool {
        let first = self.reserved.swap(self.chunks, Ordering::Relaxed);
        // SAFETY: chunk `n` lies within the mapping.
        let fronts =
            (first..self.chunks).rev().map(|n| Head::front(unsafe { self.memory.base().add(n * self.chunk).cast() }));
        let lender = Chunks { area: Arc::clone(self), free: RefCell::new(fronts.collect()) };
        Pool::lent(self.config(), Box::new(lender))
    }
}

/// The chunks no pool has at hand.
struct Chunks {
    area: Arc<Area>,
    free: RefCell<Vec<NonNull<u8>>>,
}

// SAFETY: chunks are powers of two of at least 2048 octets at a page's start, so they are aligned; FRONT octets and
// the pool's frame size make one chunk; each is in `free` at most once and leaves it when it is lent.
unsafe impl Lender for Chunks {
    fn lend(&self, count: usize, into: &mut Vec<NonNull<u8>>) {
        let mut free = self.free.borrow_mut();
        let rest = free.len().saturating_sub(count);
        into.extend(free.drain(rest..));
    }

    fn take_back(&self, fronts: &[NonNull<u8>]) {
        self.free.borrow_mut().extend_from_slice(fronts);
    }

    fn available(&self) -> usize {
        self.free.borrow().len()
    }

    fn id(&self) -> usize {
        self.area.id()
    }
}

/// Which chunks the rings of one queue hold.
pub(super) struct Loans {
    area: Arc<Area>,
    /// The area's, at hand: first octet, its number among lenders, and a chunk's size as a power of two.
    base: NonNull<u8>,
    id: usize,
    shift: u32,
    lent: Box<[bool]>,
}

impl Loans {
    /// `reserved` is what was set aside for the queue's rings.
    pub(super) fn new(area: Arc<Area>, reserved: Range<usize>) -> Loans {
        let lent = (0..area.chunks).map(|chunk| reserved.contains(&chunk)).collect();
        Loans { base: area.memory.base(), id: area.id(), shift: area.chunk.trailing_zeros(), area, lent }
    }

    /// Whether the pool's chunks are of this memory.
    #[inline]
    pub(super) fn is_of(&self, pool: &Pool) -> bool {
        pool.lender() == self.id
    }

    /// Where the frame's data are, as an offset into the memory; `None` when it lies elsewhere.
    #[inline]
    pub(super) fn offset_of(&self, frame: &Frame) -> Option<u64> {
        (frame.lender() == self.id).then(|| (frame.data().as_ptr() as usize - self.base.as_ptr() as usize) as u64)
    }

    /// Fetches the first lines of a chunk and of the data in it, which the kernel wrote on another core.
    #[inline]
    pub(super) fn prefetch(&self, offset: u64) {
        let data = self.base.as_ptr().wrapping_add(offset as usize);
        prefetch_at(data);
        prefetch_at(data.wrapping_sub(offset as usize & ((1 << self.shift) - 1)));
    }

    /// Gives a frame of this memory away to the rings. One of another memory goes home.
    #[inline]
    pub(super) fn lend(&mut self, frame: Frame) -> Option<u64> {
        if frame.lender() != self.id {
            return None;
        }
        let offset = frame.into_head().as_ptr() as usize - self.base.as_ptr() as usize;
        if let Some(lent) = self.lent.get_mut(offset >> self.shift) {
            *lent = true;
        }
        Some(offset as u64)
    }

    /// Takes back what the rings held: the chunk around `offset`, whose data begin there. `None` when the rings did not
    /// have it, or what they say of it is impossible.
    #[inline]
    pub(super) fn take_back(&mut self, pool: &Pool, offset: u64, len: usize) -> Option<Frame> {
        let (number, chunk) = (offset as usize >> self.shift, 1 << self.shift);
        let within = offset as usize & (chunk - 1);
        let lent = self.lent.get_mut(number)?;
        if !*lent || pool.lender() != self.id {
            return None;
        }
        let start = within.checked_sub(size_of::<Head>())?;
        if within + len > chunk {
            return None;
        }
        *lent = false;
        // SAFETY: `number` is a chunk of the mapping; the pool's lender is this memory's; the rings had the chunk, so
        // nobody else has; data within the chunk end where the pool's room does.
        Some(unsafe { pool.adopt(self.base.add(number << self.shift).cast(), start, len) })
    }

    /// Takes back everything, from rings whose socket is closed.
    pub(super) fn take_all(&mut self, pool: &Pool) {
        for number in 0..self.lent.len() {
            let start = (number * self.area.chunk + FRONT) as u64;
            drop(self.take_back(pool, start, 0));
        }
    }
}
