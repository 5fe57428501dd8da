//! The rings a socket shares with the kernel: one side writes, the other reads, and each tells the other how far it is.
//!
//! See the kernel's networking/af_xdp documentation. The position a side has reached is published with release order
//! and read with acquire order, so what it announces is there.

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::net::xdp::XdpRingOffset;
use std::mem::size_of;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering, fence};

/// The kernel waits for a call before it goes on with the ring.
const NEED_WAKEUP: u32 = 1;

/// A ring's memory. `T` is what the kernel has in this ring: integers of any value.
struct Shared<T> {
    map: NonNull<u8>,
    octets: usize,
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    size: u32,
}

// SAFETY: the mapping belongs to the process, and this side of the ring to whoever has the value.
unsafe impl<T: Copy + Send> Send for Shared<T> {}

impl<T: Copy> Shared<T> {
    /// Maps the ring that the kernel has at `page` of the socket, with this many entries: a power of two.
    fn map(fd: &OwnedFd, at: &XdpRingOffset, page: u64, size: u32) -> Result<Shared<T>, Errno> {
        let octets = at.desc as usize + size as usize * size_of::<T>();
        // SAFETY: a fresh mapping at an address the kernel picks aliases nothing of ours.
        let map = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                octets,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                fd.as_fd(),
                page,
            )
        }?;
        let map = NonNull::new(map.cast::<u8>()).ok_or(Errno::FAULT)?;
        // Without a place of its own (Linux 5.3) the flag is never set; any word that stays 0 or is no flag will not do,
        // so such kernels are refused where rings are sized.
        let flags = at.flags.ok_or(Errno::OPNOTSUPP)?;
        // SAFETY: the kernel gave these offsets for this mapping, each aligned for what lies there.
        let shared = unsafe {
            Shared {
                map,
                octets,
                producer: map.add(at.producer as usize).cast(),
                consumer: map.add(at.consumer as usize).cast(),
                flags: map.add(flags as usize).cast(),
                entries: map.add(at.desc as usize).cast(),
                size,
            }
        };
        Ok(shared)
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: mapped as long as `self`; both sides reach it atomically only.
        unsafe { self.producer.as_ref() }
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.consumer.as_ref() }
    }

    #[inline]
    fn needs_wakeup(&self) -> bool {
        // SAFETY: as for `producer`.
        unsafe { self.flags.as_ref() }.load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }

    #[inline]
    fn entry(&self, position: u32) -> *mut T {
        // SAFETY: the index is below `size`, a power of two, so the entry lies in the mapping.
        unsafe { self.entries.as_ptr().add((position & (self.size - 1)) as usize) }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, unmapped once; no reference into it outlives `self`.
        let _ = unsafe { rustix::mm::munmap(self.map.as_ptr().cast(), self.octets) };
    }
}

/// The side of a ring that writes: the fill ring and the transmit ring.
pub(super) struct Producer<T: Copy> {
    ring: Shared<T>,
    /// Next position to write; what is before `published` the kernel may read.
    next: u32,
    published: u32,
    /// The other side's position when last looked at.
    seen: u32,
}

impl<T: Copy> Producer<T> {
    pub(super) fn map(fd: &OwnedFd, at: &XdpRingOffset, page: u64, size: u32) -> Result<Producer<T>, Errno> {
        let ring = Shared::map(fd, at, page, size)?;
        let (next, seen) = (ring.producer().load(Ordering::Relaxed), ring.consumer().load(Ordering::Acquire));
        Ok(Producer { ring, next, published: next, seen })
    }

    /// Entries that can be written now, up to `wanted`.
    #[inline]
    pub(super) fn room(&mut self, wanted: u32) -> u32 {
        let free = |seen: u32| self.ring.size - self.next.wrapping_sub(seen).min(self.ring.size);
        if free(self.seen) < wanted {
            let seen = self.ring.consumer().load(Ordering::Acquire);
            let now = free(seen);
            self.seen = seen;
            return now.min(wanted);
        }
        wanted
    }

    /// Writes an entry, for which there must be room.
    #[inline]
    pub(super) fn write(&mut self, entry: T) {
        // SAFETY: within the mapping; the kernel does not read it before it is published.
        unsafe { self.ring.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
    }

    /// Lets the kernel see what was written.
    #[inline]
    pub(super) fn publish(&mut self) {
        if self.published != self.next {
            self.published = self.next;
            self.ring.producer().store(self.next, Ordering::Release);
        }
    }

    /// Entries the kernel has not taken yet.
    #[inline]
    pub(super) fn pending(&self) -> u32 {
        self.published.wrapping_sub(self.ring.consumer().load(Ordering::Relaxed))
    }

    /// The kernel waits for a call.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        // Where the device has to be woken always, as with the kernel copying, that is known without waiting.
        if self.ring.needs_wakeup() {
            return true;
        }
        // What was published must be seen before the kernel's wish is looked at, or both sides wait.
        fence(Ordering::SeqCst);
        self.ring.needs_wakeup()
    }
}

/// The side of a ring that reads: the receive ring and the completion ring.
pub(super) struct Consumer<T: Copy> {
    ring: Shared<T>,
    /// Next position to read; what is before `released` the kernel may write again.
    next: u32,
    released: u32,
    /// The other side's position when last looked at.
    seen: u32,
}

impl<T: Copy> Consumer<T> {
    pub(super) fn map(fd: &OwnedFd, at: &XdpRingOffset, page: u64, size: u32) -> Result<Consumer<T>, Errno> {
        let ring = Shared::map(fd, at, page, size)?;
        let (next, seen) = (ring.consumer().load(Ordering::Relaxed), ring.producer().load(Ordering::Acquire));
        Ok(Consumer { ring, next, released: next, seen })
    }

    /// Reads an entry if there is one.
    #[inline]
    pub(super) fn read(&mut self) -> Option<T> {
        if self.next == self.seen {
            self.seen = self.ring.producer().load(Ordering::Acquire);
            if self.next == self.seen {
                return None;
            }
        }
        // SAFETY: within the mapping; the kernel has published it and does not write it before it is released.
        let entry = unsafe { self.ring.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// The entries there are to read, at most `most`, for a look ahead.
    #[inline]
    pub(super) fn ahead(&mut self, most: u32) -> impl Iterator<Item = T> + '_ {
        if self.next == self.seen {
            self.seen = self.ring.producer().load(Ordering::Acquire);
        }
        let there = self.seen.wrapping_sub(self.next).min(most);
        // SAFETY: as in `read`.
        (0..there).map(|n| unsafe { self.ring.entry(self.next.wrapping_add(n)).read() })
    }

    /// Gives the entries read back to the kernel.
    #[inline]
    pub(super) fn release(&mut self) {
        if self.released != self.next {
            self.released = self.next;
            self.ring.consumer().store(self.next, Ordering::Release);
        }
    }
}
