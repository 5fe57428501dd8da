//! Large memory that is taken once, at start, on huge pages where they are wanted.
//!
//! A table of millions of connections is looked at in random places; with pages of 4 KiB nearly every look would miss
//! the processor's store of page addresses and read the page table first.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Whether memory lies on huge pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HugePages {
    /// If the kernel has some to give.
    #[default]
    Auto,
    /// Reserved ones, or not at all.
    Required,
    /// Never.
    Never,
}

/// Octets of a huge page.
const HUGE: usize = 2 << 20;

/// A private mapping, zero and untouched at first.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    /// What was mapped, `base` somewhere inside.
    whole: NonNull<u8>,
    mapped: usize,
}

// SAFETY: the mapping is this value's alone, and nothing about it is bound to a thread.
unsafe impl Send for Mapping {}
// SAFETY: a shared mapping value gives its address and nothing else.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` octets, aligned to a cache line at least. [`HugePages::Auto`] advises the kernel to use huge pages,
    /// which it may do at any time; [`HugePages::Required`] takes them from the reserved ones.
    ///
    /// # Errors
    /// When the system has no memory, or not enough reserved huge pages where they are required.
    pub fn new(bytes: usize, pages: HugePages) -> io::Result<Mapping> {
        use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous};
        let bytes = bytes.max(1);
        let large = bytes >= HUGE;
        let (mapped, flags) = match pages {
            HugePages::Required => {
                (bytes.next_multiple_of(HUGE), MapFlags::PRIVATE | MapFlags::HUGETLB | MapFlags::HUGE_2MB)
            }
            // Room to begin at a huge page's boundary.
            HugePages::Auto if large => (bytes.next_multiple_of(HUGE) + HUGE, MapFlags::PRIVATE),
            HugePages::Auto | HugePages::Never => (bytes, MapFlags::PRIVATE),
        };
        // SAFETY: a fresh private anonymous mapping, at an address the kernel picks, aliases nothing.
        let whole = unsafe { mmap_anonymous(std::ptr::null_mut(), mapped, ProtFlags::READ | ProtFlags::WRITE, flags) }?;
        let whole = NonNull::new(whole.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut base = whole;
        if pages == HugePages::Auto && large {
            let skip = whole.as_ptr().align_offset(HUGE).min(HUGE);
            // SAFETY: at most HUGE octets in, and the mapping is that much larger than `bytes`; the advice changes no
            // content. A kernel without huge pages refuses it, and ordinary ones do.
            unsafe {
                base = whole.add(skip);
                let _ = madvise(base.as_ptr().cast(), bytes, Advice::LinuxHugepage);
            }
        }
        Ok(Mapping { base, whole, mapped })
    }

    /// The first octet.
    #[inline]
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: what was mapped in `new`, once; whoever has pointers into it must not outlive it.
        let _ = unsafe { rustix::mm::munmap(self.whole.as_ptr().cast(), self.mapped) };
    }
}

/// An array in a mapping of its own.
pub struct Stretch<T> {
    at: NonNull<T>,
    len: usize,
    _mapping: Mapping,
}

// SAFETY: it owns its elements, as a Box does.
unsafe impl<T: Send> Send for Stretch<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Stretch<T> {}

/// Types for which octets of zero are a value.
///
/// # Safety
/// They are.
pub unsafe trait Zero: Copy {}

// SAFETY: an integer.
unsafe impl Zero for u32 {}
// SAFETY: an integer.
unsafe impl Zero for u64 {}
// SAFETY: nothing but elements for which it holds.
unsafe impl<T: Zero, const N: usize> Zero for [T; N] {}

impl<T: Copy> Stretch<T> {
    const FITS: () = assert!(align_of::<T>() <= 4096, "a mapping is aligned to its pages");

    fn map(len: usize, pages: HugePages) -> io::Result<Stretch<T>> {
        const { Self::FITS };
        let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let mapping = Mapping::new(bytes, pages)?;
        Ok(Stretch { at: mapping.base().cast(), len, _mapping: mapping })
    }

    /// `len` times `value`: every page is there from the start.
    ///
    /// # Errors
    /// As [`Mapping::new`].
    pub fn filled(len: usize, value: T, pages: HugePages) -> io::Result<Stretch<T>> {
        let stretch = Stretch::map(len, pages)?;
        for i in 0..len {
            // SAFETY: `i` < len, which the mapping has room for.
            unsafe { stretch.at.add(i).write(value) };
        }
        Ok(stretch)
    }

    /// `len` times zero: a page costs memory once something in it is written.
    ///
    /// # Errors
    /// As [`Mapping::new`].
    pub fn zeroed(len: usize, pages: HugePages) -> io::Result<Stretch<T>>
    where
        T: Zero,
    {
        Stretch::map(len, pages)
    }
}

impl<T> Deref for Stretch<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `len` elements, all written or valid as zeros, mapped as long as this value lives.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Stretch<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` makes it the only access.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

impl<T> fmt::Debug for Stretch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stretch").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_is_an_array() {
        for pages in [HugePages::Auto, HugePages::Never] {
            for len in [0, 1, 1000, 600_000] {
                let mut filled = Stretch::filled(len, 7u64, pages).unwrap();
                assert_eq!((filled.len(), filled.iter().all(|n| *n == 7)), (len, true));
                filled.iter_mut().for_each(|n| *n = 8);
                assert!(filled.iter().all(|n| *n == 8));
                let zeroed = Stretch::<[u64; 4]>::zeroed(len, pages).unwrap();
                assert!(zeroed.len() == len && zeroed.iter().all(|n| *n == [0; 4]));
            }
        }
        assert!(Stretch::<u64>::zeroed(usize::MAX / 2, HugePages::Auto).is_err());
    }

    #[test]
    fn large_memory_begins_at_a_huge_page() {
        let mapping = Mapping::new(3 * HUGE + 5, HugePages::Auto).unwrap();
        assert_eq!(mapping.base().as_ptr().align_offset(HUGE), 0);
    }

    #[test]
    fn required_pages_are_reserved_ones_or_none() {
        // More than any machine reserves.
        assert!(Mapping::new(1 << 46, HugePages::Required).is_err());
    }
}
