//! Memory: huge pages, and how much there is in use.

use stats_alloc::INSTRUMENTED_SYSTEM;

/// Asks the system to back `slice`, of which nothing was touched yet, with huge pages. Changes nothing but speed.
pub(super) fn advise_huge<T>(slice: &mut [T]) {
    const PAGE: usize = 4096;
    let range = slice.as_mut_ptr_range();
    let start = (range.start as usize).next_multiple_of(PAGE);
    let end = range.end as usize / PAGE * PAGE;
    if start < end {
        let at = range.start.cast::<u8>().wrapping_add(start - range.start as usize);
        // SAFETY: the whole pages within a slice that is ours alone; this advice keeps their contents.
        let _ = unsafe { rustix::mm::madvise(at.cast(), end - start, rustix::mm::Advice::LinuxHugepage) };
    }
}

/// Has every allocation of 128 KiB and more be a mapping of its own, given back when freed, as in a fresh process:
/// else what a run uses would depend on what the runs before it left behind.
pub(super) fn map_large_allocations() {
    // SAFETY: sets a number that later calls of malloc read.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}

/// Octets of this process that are resident; 0 if the system does not say.
pub(super) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() << 10
}

/// Allocations of this process so far; 0 in a program without the counting allocator.
pub(super) fn allocations() -> u64 {
    let stats = INSTRUMENTED_SYSTEM.stats();
    (stats.allocations + stats.reallocations) as u64
}
