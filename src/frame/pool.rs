//! The buffer pool of one worker, and the frames it lends.
//!
//! All buffers lie in one mapping made at start, or are lent in turn by a [`Lender`], whose memory a device
//! reaches. The free list is a stack, so the buffer used last, which is the one still in the cache, is used next. A
//! stride that is an odd number of cache lines spreads the buffers' first lines over all cache sets: with a power
//! of two they would all fall into the same few.

mod fill;
mod survey;

pub(super) use fill::Bare;
pub use fill::Mould;
pub use survey::{Alike, Survey};
pub(super) use survey::{give_back, give_back_surveyed};

use super::Meta;
use crate::net::HugePages;
use crate::net::memory::Mapping;
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Octets kept free in front of a received frame, for tags and headers that are pushed.
pub const HEADROOM: usize = 128;

/// Octets in front of a buffer's [`Head`] that are its lender's, such as an mbuf. A frame is known by where they begin;
/// of a buffer that has none in front that is a number and nothing else.
pub const FRONT: usize = 128;

/// Largest frame any port delivers: a 64 KiB IP packet with two VLAN tags and its Ethernet header.
pub const MAX_FRAME: usize = 65_535 + 14 + 8;

/// Size of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Buffers.
    pub buffers: usize,
    /// Octets of frame data each buffer holds, headroom not counted.
    pub frame_size: usize,
}

impl PoolConfig {
    /// Octets from one buffer to the next: description, headroom and data, rounded up to an odd number of
    /// 64-octet lines.
    #[must_use]
    pub const fn stride(&self) -> usize {
        let lines = (size_of::<Head>() + HEADROOM + self.frame_size).div_ceil(64);
        (lines | 1) * 64
    }

    /// Octets the pool reserves.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.stride() * self.buffers
    }
}

/// Why a pool could not be made.
#[derive(Debug)]
pub enum PoolError {
    /// No buffers, or a frame size of zero or above [`MAX_FRAME`].
    BadSize(PoolConfig),
    /// The system gave no memory.
    NoMemory {
        /// Octets asked for.
        bytes: usize,
        /// What the system said.
        source: std::io::Error,
    },
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolError::BadSize(c) => {
                write!(f, "a pool of {} buffers of {} octets makes no sense", c.buffers, c.frame_size)
            }
            PoolError::NoMemory { bytes, source } => {
                write!(f, "could not reserve {} MiB for packet buffers: {source}", bytes >> 20)
            }
        }
    }
}

impl std::error::Error for PoolError {}

/// Whoever owns the buffers of a pool made by [`Pool::lent`]. The pool keeps a few of them at hand, and asks and gives
/// back several at a time.
///
/// # Safety
/// A buffer that was lent is the pool's alone until it is taken back. It begins at an address that is a multiple of 64
/// with room for a [`Head`], and [`HEADROOM`] + `frame_size` octets follow, with the `frame_size` of the pool's
/// configuration.
pub unsafe trait Lender {
    /// Adds up to `count` buffers to `into`, which has the room, each by its [`Head::front`]; fewer when there are no more.
    fn lend(&self, count: usize, into: &mut Vec<NonNull<u8>>);

    /// Takes buffers back that [`Lender::lend`] gave, or that came to the pool by [`Pool::adopt`].
    fn take_back(&self, fronts: &[NonNull<u8>]);

    /// Buffers it could lend now.
    fn available(&self) -> usize;

    /// A number, not 0, that no other lender has. Whoever is behind it knows its own frames by it.
    fn id(&self) -> usize;
}

/// Buffers a pool asks a lender for at once; it keeps up to twice as many at hand.
const LOAN: usize = 32;

enum Backing {
    /// One mapping.
    Own {
        _mapping: Mapping,
    },
    Lender(Box<dyn Lender>),
}

struct Core {
    backing: Backing,
    /// [`Lender::id`], 0 without one.
    lender: usize,
    config: PoolConfig,
    /// Each by its [`Head::front`], as frames are, so that many are moved in one piece.
    free: UnsafeCell<Vec<NonNull<u8>>>,
    /// With this many buffers on the free list there is something to do: see [`Core::overflow`].
    brim: Cell<usize>,
}

impl Core {
    /// The free list was empty: asks the lender, if there is one.
    #[cold]
    fn refill(&self) -> Option<NonNull<u8>> {
        let Backing::Lender(lender) = &self.backing else { return None };
        // SAFETY: as in `Pool::alloc`.
        let free = unsafe { &mut *self.free.get() };
        lender.lend(LOAN, free);
        free.pop()
    }

    /// The free list reached the brim: the last frame of a pool that is gone came home, or a lender gets half of what
    /// is at hand.
    #[cold]
    fn overflow(this: NonNull<Core>) {
        // SAFETY: the caller returned a frame, and a core outlives its frames.
        let core = unsafe { this.as_ref() };
        match &core.backing {
            Backing::Own { .. } => Core::destroy(this),
            Backing::Lender(lender) => {
                // SAFETY: as in `Pool::alloc`.
                let free = unsafe { &mut *core.free.get() };
                // The ones used last are still in the cache, so the oldest go.
                let excess = free.len() - core.brim.get() / 2;
                if let Some(oldest) = free.get(..excess) {
                    lender.take_back(oldest);
                }
                free.drain(..excess);
            }
        }
    }

    fn destroy(this: NonNull<Core>) {
        // SAFETY: `this` came from Box::leak in Pool::over, and is destroyed once: by the pool handle when no
        // frame is out, else by the last frame to return. Nothing refers to the mapping any more, which goes too.
        drop(unsafe { Box::from_raw(this.as_ptr()) });
    }
}

/// A worker's buffers. Stays on the thread that made it.
pub struct Pool {
    core: NonNull<Core>,
    not_send: PhantomData<*mut ()>,
}

impl Pool {
    /// Reserves the buffers.
    ///
    /// # Errors
    /// When the sizes make no sense or the system refuses the memory.
    pub fn new(config: PoolConfig) -> Result<Pool, PoolError> {
        Pool::reserve(config, HugePages::Never)
    }

    /// Reserves the buffers on such pages. The system gives the memory as it is used, reserved pages at once.
    ///
    /// # Errors
    /// When the sizes make no sense or the system refuses the memory.
    pub fn reserve(config: PoolConfig, pages: HugePages) -> Result<Pool, PoolError> {
        let count = u32::try_from(config.buffers).map_err(|_| PoolError::BadSize(config))?;
        if count == 0 || config.frame_size == 0 || config.frame_size > MAX_FRAME {
            return Err(PoolError::BadSize(config));
        }
        let bytes = config.bytes();
        let mapping = Mapping::new(bytes, pages).map_err(|source| PoolError::NoMemory { bytes, source })?;
        let base = mapping.base();
        let slot = |slot: u32| {
            // SAFETY: `slot` < buffers, so the buffer lies inside the mapping; a stride is a multiple of 64, so it is
            // aligned for a head.
            Head::front(unsafe { base.add(slot as usize * config.stride()).cast() })
        };
        let free: Vec<_> = (0..count).rev().map(slot).collect();
        Ok(Pool::over(Core {
            backing: Backing::Own { _mapping: mapping },
            lender: 0,
            config,
            free: UnsafeCell::new(free),
            brim: Cell::new(usize::MAX),
        }))
    }

    /// A pool over somebody else's buffers; `config` says how many those are and how large.
    ///
    /// What is at hand goes back when the pool is dropped, and each frame that is still out when it is dropped. The
    /// lender itself stays for them until the process ends.
    #[must_use]
    pub fn lent(config: PoolConfig, lender: Box<dyn Lender>) -> Pool {
        Pool::over(Core {
            lender: lender.id(),
            backing: Backing::Lender(lender),
            config,
            free: UnsafeCell::new(Vec::with_capacity(2 * LOAN)),
            brim: Cell::new(2 * LOAN),
        })
    }

    fn over(core: Core) -> Pool {
        Pool { core: NonNull::from(Box::leak(Box::new(core))), not_send: PhantomData }
    }

    /// [`Lender::id`] of the buffers' owner; 0 for a pool of its own.
    #[inline]
    #[must_use]
    pub fn lender(&self) -> usize {
        self.core().lender
    }

    /// Makes a frame of a buffer that a device filled: `len` octets of data, `offset` octets behind the head.
    ///
    /// # Safety
    /// The buffer is one of this pool's lender's and nobody else has it; `offset` + `len` is not above [`HEADROOM`] +
    /// `frame_size`.
    #[inline(always)]
    pub unsafe fn adopt(&self, head: NonNull<Head>, offset: usize, len: usize) -> Frame {
        let room = (HEADROOM + self.config().frame_size) as u32;
        // SAFETY: the caller's word: the head is aligned, there is room for it, and nobody else has it.
        unsafe {
            head.write(Head { home: self.core, room, meta: Meta::default(), offset: offset as u32, len: len as u32 });
        }
        Frame { front: Head::front(head) }
    }

    /// A number, not 0, that no other pool has; [`Frame::home`] of its frames.
    #[inline]
    #[must_use]
    pub fn id(&self) -> usize {
        self.core.as_ptr() as usize
    }

    fn core(&self) -> &Core {
        // SAFETY: the core lives at least as long as its pool handle.
        unsafe { self.core.as_ref() }
    }

    /// Lends an empty frame: length 0, [`HEADROOM`] octets in front. `None` when no buffer is free.
    #[inline]
    #[must_use]
    pub fn alloc(&self) -> Option<Frame> {
        let core = self.core();
        // SAFETY: the pool and its frames are on one thread (neither is Send), and no reference to the
        // free list outlives this call, so this is the only one.
        let front = match unsafe { (*core.free.get()).pop() } {
            Some(front) => front,
            None => core.refill()?,
        };
        // SAFETY: buffers on the free list are this pool's and nobody has them.
        Some(unsafe { self.adopt(Head::behind(front), HEADROOM, 0) })
    }

    /// Lends a frame that holds a copy of `bytes`. `None` when no buffer is free or it does not fit.
    #[must_use]
    pub fn alloc_from(&self, bytes: &[u8]) -> Option<Frame> {
        if bytes.len() > self.config().frame_size {
            return None;
        }
        let mut frame = self.alloc()?;
        frame.set_len(bytes.len());
        frame.data_mut().copy_from_slice(bytes);
        Some(frame)
    }

    /// Buffers not lent.
    #[must_use]
    pub fn available(&self) -> usize {
        let behind = match &self.core().backing {
            Backing::Own { .. } => 0,
            Backing::Lender(lender) => lender.available(),
        };
        self.at_hand() + behind
    }

    /// Whether `count` buffers are not lent. Cheaper than [`Pool::available`] where a lender is behind the pool.
    #[inline]
    #[must_use]
    pub fn has(&self, count: usize) -> bool {
        self.at_hand() >= count || self.available() >= count
    }

    #[inline]
    fn at_hand(&self) -> usize {
        // SAFETY: as in `alloc`.
        unsafe { (*self.core().free.get()).len() }
    }

    /// The sizes it was made with.
    #[inline]
    #[must_use]
    pub fn config(&self) -> PoolConfig {
        self.core().config
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("config", &self.config()).field("available", &self.available()).finish()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let core = self.core();
        match &core.backing {
            Backing::Own { .. } if self.available() == core.config.buffers => Core::destroy(self.core),
            Backing::Own { .. } => core.brim.set(core.config.buffers),
            Backing::Lender(_) => {
                core.brim.set(0);
                Core::overflow(self.core);
            }
        }
    }
}

/// What is known of a buffer, in the line in front of it.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Head {
    /// What is known beside the bytes.
    pub meta: Meta,
    /// Octets of the buffer behind the head.
    room: u32,
    home: NonNull<Core>,
    /// First octet of data.
    offset: u32,
    /// Octets of data.
    len: u32,
}

const _: () = assert!(size_of::<Head>() == 64, "a frame's description is one cache line");

impl Head {
    /// Where the [`FRONT`] octets in front of a head begin. The buffer is known by that.
    #[inline(always)]
    #[must_use]
    pub fn front(head: NonNull<Head>) -> NonNull<u8> {
        // SAFETY: no head lies so low that this would be null.
        unsafe { NonNull::new_unchecked(head.as_ptr().wrapping_byte_sub(FRONT).cast()) }
    }

    /// The head behind its front.
    #[inline(always)]
    pub(super) fn behind(front: NonNull<u8>) -> NonNull<Head> {
        let head = front.as_ptr().wrapping_byte_add(FRONT);
        // SAFETY: an address that came of a head's, and is that again. Whoever asks whether there is data knows so then.
        unsafe {
            std::hint::assert_unchecked(!head.is_null());
            NonNull::new_unchecked(head.cast())
        }
    }
}

/// One packet's buffer, lent by a [`Pool`]; dropping it gives the buffer back.
///
/// A frame is nothing but an address, [`Frame::front`], so passing it on costs nothing. What is known of the packet stands in
/// the buffer's first line and is reached as if it were a field: `frame.meta`.
#[repr(transparent)]
pub struct Frame {
    /// [`FRONT`] octets in front of its head.
    front: NonNull<u8>,
}

impl Head {
    /// Octets of data.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Octets the data can grow to without moving.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        (self.room - self.offset) as usize
    }

    /// Sets the length of the data, cut down to [`Head::capacity`]. What comes into view is old content.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        self.len = len.min(self.capacity()) as u32;
    }
}

impl Deref for Frame {
    type Target = Head;

    #[inline(always)]
    fn deref(&self) -> &Head {
        // SAFETY: the head was written when the buffer was lent, and the buffer is this frame's alone until it
        // is dropped.
        unsafe { self.head().as_ref() }
    }
}

impl DerefMut for Frame {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Head {
        // SAFETY: as in `deref`, and `&mut self` makes it the only access.
        unsafe { self.head().as_mut() }
    }
}

impl Frame {
    /// Octets of data.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        Head::len(self)
    }

    /// Octets the data can grow to without moving.
    #[inline(always)]
    #[must_use]
    pub fn capacity(&self) -> usize {
        Head::capacity(self)
    }

    /// Sets the length of the data, cut down to [`Frame::capacity`]. What comes into view is old content.
    #[inline(always)]
    pub fn set_len(&mut self, len: usize) {
        Head::set_len(self, len);
    }

    /// The buffer, which now belongs to the caller: it is given to a device of its lender's, and lost otherwise.
    #[inline(always)]
    #[must_use]
    pub fn into_head(self) -> NonNull<Head> {
        std::mem::ManuallyDrop::new(self).head()
    }

    /// Where the head begins.
    #[inline(always)]
    #[must_use]
    pub fn head(&self) -> NonNull<Head> {
        Head::behind(self.front)
    }

    /// Where the lender's octets in front of the head begin. In memory this is all a frame consists of.
    #[inline(always)]
    #[must_use]
    pub fn front(&self) -> NonNull<u8> {
        self.front
    }

    /// [`Lender::id`] of the buffer's owner; 0 for a pool of its own.
    #[inline(always)]
    #[must_use]
    pub fn lender(&self) -> usize {
        // SAFETY: a core outlives its frames.
        unsafe { self.home.as_ref() }.lender
    }

    /// [`Pool::id`] of the pool it returns to.
    #[inline(always)]
    #[must_use]
    pub fn home(&self) -> usize {
        self.home.as_ptr() as usize
    }

    /// First octet behind the head.
    #[inline(always)]
    fn start(&self) -> *mut u8 {
        let start = self.front.as_ptr().wrapping_byte_add(FRONT + size_of::<Head>());
        // SAFETY: the buffer's octets follow its head within one mapping. Whoever asks whether there is data knows so then.
        unsafe { std::hint::assert_unchecked(!start.is_null()) };
        start
    }

    /// The packet, from its Ethernet header.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        // SAFETY: offset + len <= room, kept by every method that changes them; the buffer is lent to this
        // frame alone and mapped as long as the frame lives.
        unsafe { std::slice::from_raw_parts(self.start().add(self.offset as usize), self.len as usize) }
    }

    /// So many octets from where the packet begins, if the buffer goes as far: what is behind its end is old content.
    #[inline(always)]
    #[must_use]
    pub fn octets(&self, count: usize) -> Option<&[u8]> {
        // SAFETY: as in `data`; so many octets are there, and were always some.
        let octets = || unsafe { std::slice::from_raw_parts(self.start().add(self.offset as usize), count) };
        (count <= self.capacity()).then(octets)
    }

    /// The packet, to be changed.
    #[inline]
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `data`, and `&mut self` makes it the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start().add(self.offset as usize), self.len as usize) }
    }

    /// Octets free in front of the data.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.offset as usize
    }

    /// Grows the data by `n` octets at its front and gives them; `None` if the headroom is smaller.
    /// A partial checksum's start moves along.
    pub fn push_front(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.offset as usize {
            return None;
        }
        self.offset -= n as u32;
        self.len += n as u32;
        self.shift_checksum(n as i32);
        self.data_mut().get_mut(..n)
    }

    /// Cuts `n` octets from the front (all, if there are fewer). A partial checksum's start moves along.
    pub fn pull_front(&mut self, n: usize) {
        let n = (n as u32).min(self.len);
        self.offset += n;
        self.len -= n;
        self.shift_checksum(-(n as i32));
    }

    fn shift_checksum(&mut self, by: i32) {
        if let super::Checksum::Partial { start, .. } = &mut self.meta.checksum {
            *start = (i32::from(*start) + by).clamp(0, i32::from(u16::MAX)) as u16;
        }
        if let Some(gso) = &mut self.meta.gso {
            gso.header_len = (i32::from(gso.header_len) + by).clamp(0, i32::from(u16::MAX)) as u16;
        }
    }

    /// Asks the processor to fetch the packet's first two cache lines.
    #[inline]
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a prefetch of any address has no effect on the program's state.
            unsafe {
                let p = self.start().add(self.offset as usize).cast::<i8>();
                _mm_prefetch::<_MM_HINT_T0>(p);
            }
        }
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame").field("len", &self.len).field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        let home = self.home;
        // SAFETY: the core outlives its frames: the pool handle destroys it only when every buffer is free.
        let core = unsafe { home.as_ref() };
        // SAFETY: one thread, and no other reference to the free list is alive (see `alloc`).
        let free = unsafe { &mut *core.free.get() };
        free.push(self.front);
        if free.len() >= core.brim.get() {
            Core::overflow(home);
        }
    }
}
