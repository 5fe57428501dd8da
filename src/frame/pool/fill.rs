//! Frames of buffers that are filled many at a time: what they have in common is put together once.

use super::{Core, HEADROOM, Head, Pool};
use crate::frame::{Burst, Filled, Frame, Meta};
use crate::net::wide::Wide;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

impl Pool {
    /// Lends `count` frames with that `meta`, or as many as there are `items`, buffers at hand and room in `burst`, to which
    /// they are added. `fill` is given an item for each, and the octets it has for data, which are
    /// [`PoolConfig::frame_size`](super::PoolConfig::frame_size) of old content; it says how many of the first are the frame's.
    #[inline(always)]
    pub fn fill_all<T>(
        &self,
        count: usize,
        items: impl Iterator<Item = T>,
        meta: &Meta,
        burst: &mut Burst,
        mut fill: impl FnMut(T, &mut [u8]) -> usize,
    ) {
        let (mould, size) = (Mould::new(self.core, *meta), self.config().frame_size);
        let taken = self.take_buffers(count, burst);
        let mut count = 0;
        for (front, item) in taken.iter().zip(items) {
            // SAFETY: the buffer is this pool's and nobody has it; its octets follow the head.
            unsafe {
                let head = Head::behind(*front);
                let len = fill(item, data_of(head, size)).min(size);
                mould.cast(head, HEADROOM as u32, len as u32);
            }
            count += 1;
        }
        // SAFETY: these have heads, and there was no item for the others.
        unsafe { self.hold(count, taken.len(), burst) }
    }

    /// The same for frames that are alike, with that `meta` and of `len` octets each, cut down to
    /// [`PoolConfig::frame_size`](super::PoolConfig::frame_size), of which `fill` writes what it likes: as many as there are
    /// `items`, buffers at hand and room.
    #[inline(always)]
    pub fn fill_alike<T>(
        &self,
        wide: impl Wide,
        (len, meta): (usize, &Meta),
        items: &[T],
        burst: &mut Burst,
        mut fill: impl FnMut(&T, &mut [u8]),
    ) {
        let (mould, size) = (Mould::new(self.core, *meta), self.config().frame_size);
        let (common, data) = (wide.half_line(&mould.common), data_words(len.min(size) as u32));
        let taken = self.take_buffers(items.len(), burst);
        let mut one = |front: &NonNull<u8>, item: &T| {
            // SAFETY: as above.
            unsafe {
                let head = Head::behind(*front);
                fill(item, data_of(head, size));
                cast(common, head, data);
            }
        };
        // Four at a time, or counting them would be a fifth of the work.
        let (fours, rest) = taken.as_chunks::<4>();
        let (items, others) = items.get(..taken.len()).unwrap_or_default().as_chunks::<4>();
        for (fronts, items) in fours.iter().zip(items) {
            fronts.iter().zip(items).for_each(|(front, item)| one(front, item));
        }
        rest.iter().zip(others).for_each(|(front, item)| one(front, item));
        let count = taken.len();
        // SAFETY: all have heads.
        unsafe { self.hold(count, count, burst) }
    }

    /// Takes `count` buffers, or as many as are at hand and fit, off the free list into the spare places of a burst.
    #[inline(always)]
    fn take_buffers<'b>(&self, count: usize, burst: &'b mut Burst) -> &'b [NonNull<u8>] {
        // SAFETY: as in `alloc`; nothing is called while it is used that uses the list too.
        let free = unsafe { &mut *self.core().free.get() };
        let places = burst.spare();
        let taken = count.min(free.len()).min(places.len());
        let left = free.len() - taken;
        // SAFETY: the last so many of the list, to as many places, which are written then.
        unsafe {
            let to = places.as_mut_ptr().cast::<NonNull<u8>>();
            std::ptr::copy_nonoverlapping(free.as_ptr().add(left), to, taken);
            free.set_len(left);
            std::slice::from_raw_parts(to, taken)
        }
    }

    /// Has a burst hold the first `count` of `taken` buffers; the others go back as they are.
    ///
    /// # Safety
    /// They are in the burst's spare places, and the first have heads.
    #[inline(always)]
    unsafe fn hold(&self, count: usize, taken: usize, burst: &mut Burst) {
        for place in burst.spare().get(count..taken).unwrap_or_default() {
            // SAFETY: as in `alloc`; a buffer of this pool that nobody has.
            unsafe { (*self.core().free.get()).push(place.assume_init()) }
        }
        // SAFETY: these are frames.
        unsafe { burst.hold(count) }
    }

    /// Lends `count` frames with that `meta` and `len` octets of old content in view, as [`Pool::fill_all`] does.
    #[inline]
    pub fn alloc_all(&self, count: usize, len: usize, meta: &Meta, burst: &mut Burst) {
        self.fill_all(count, std::iter::repeat_n((), count), meta, burst, |(), _| len);
    }
}

/// What frames that are alike have in common lies in front of this.
const COMMON: usize = std::mem::offset_of!(Head, offset);
const _: () = assert!(COMMON == 32, "as a frame's head is written in few wide stores");

/// Makes frames of a pool's buffers as [`Pool::adopt`] does, many that are alike but for their data: for
/// [`Filled::write_heads`].
#[derive(Clone, Copy, Debug)]
pub struct Mould {
    common: MaybeUninit<[u64; COMMON / 8]>,
}

impl Mould {
    /// A function of its own: were it known what is in it, it would be written field by field.
    #[inline(never)]
    fn new(home: NonNull<Core>, meta: Meta) -> Mould {
        // SAFETY: a core outlives its frames, of which the caller has some.
        let room = (HEADROOM + unsafe { home.as_ref() }.config.frame_size) as u32;
        let head = Head { home, room, meta, offset: 0, len: 0 };
        let mut common = MaybeUninit::uninit();
        // SAFETY: both are COMMON octets long and apart from each other. What of it is padding stays padding.
        unsafe { std::ptr::copy_nonoverlapping((&raw const head).cast::<u8>(), (&raw mut common).cast(), COMMON) }
        Mould { common }
    }

    /// Writes the head of a buffer that a device filled: `len` octets of data, `offset` octets behind the head.
    ///
    /// # Safety
    /// As [`Pool::adopt`], for the pool the mould is of.
    #[inline(always)]
    pub unsafe fn cast(self, head: NonNull<Head>, offset: u32, len: u32) {
        // SAFETY: the caller's word.
        unsafe {
            let to = head.as_ptr();
            to.cast::<MaybeUninit<[u64; COMMON / 8]>>().write(self.common);
            (&raw mut (*to).offset).write(offset);
            (&raw mut (*to).len).write(len);
        }
    }
}

/// Writes all of a head.
///
/// # Safety
/// It is aligned, there is room for it, and nobody else has it; `common` is of a mould, and both together are as [`Pool::adopt`]
/// would have it.
#[inline(always)]
unsafe fn cast<T>(common: T, head: NonNull<Head>, data: Data) {
    const { assert!(size_of::<T>() == COMMON) }
    // SAFETY: the caller's word.
    unsafe {
        let to = head.as_ptr().cast::<T>();
        to.write_unaligned(common);
        to.add(1).cast::<Data>().write(data);
    }
}

/// Where data lies in its buffer, and its length, as they lie in the head.
type Data = u64;

const _: () = assert!(std::mem::offset_of!(Head, len) == COMMON + 4 && COMMON.is_multiple_of(align_of::<Data>()));

/// `len` octets behind the headroom.
fn data_words(len: u32) -> Data {
    let [offset, len] = [HEADROOM as u32, len].map(u32::to_ne_bytes);
    let mut octets = [0; 8];
    octets[..4].copy_from_slice(&offset);
    octets[4..].copy_from_slice(&len);
    Data::from_ne_bytes(octets)
}

/// A buffer's octets for data.
///
/// # Safety
/// It is a buffer of a pool with this frame size, and nobody has it.
#[inline(always)]
unsafe fn data_of<'b>(head: NonNull<Head>, size: usize) -> &'b mut [u8] {
    // SAFETY: they follow head and headroom.
    unsafe { std::slice::from_raw_parts_mut(head.add(1).cast::<u8>().add(HEADROOM).as_ptr(), size) }
}

/// Frames of a pool that have no heads yet.
#[derive(Clone, Copy, Debug)]
pub(in crate::frame) struct Bare {
    home: NonNull<Core>,
    pub(in crate::frame) filled: Filled,
}

impl Bare {
    #[inline]
    pub(in crate::frame) fn new(pool: &Pool, filled: Filled) -> Bare {
        Bare { home: pool.core, filled }
    }

    /// [`Lender::id`] of the buffers' owner.
    #[inline]
    pub(in crate::frame) fn lender(&self) -> usize {
        // SAFETY: a core outlives its frames.
        unsafe { self.home.as_ref() }.lender
    }

    /// Writes their heads.
    ///
    /// # Safety
    /// It is of these frames, a device filled them, and none has a head.
    #[inline]
    pub(in crate::frame) unsafe fn write_heads(&self, frames: &[Frame]) {
        let mould = Mould::new(self.home, Meta { ingress: self.filled.ingress, ..Meta::default() });
        // SAFETY: a frame is nothing but the address of its front; the rest is the caller's word.
        unsafe {
            let fronts = std::slice::from_raw_parts(frames.as_ptr().cast::<NonNull<u8>>(), frames.len());
            (self.filled.write_heads)(&mould, fronts);
        }
    }
}
