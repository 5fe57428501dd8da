//! DPDK's environment: started once, before the first port; and the mempools, one per worker.
//!
//! Nothing is left on disk that could stop the next start, however this process ends: memory is anonymous
//! (`--in-memory`, or a memfd without huge pages), and no configuration is shared with other processes.

use super::Fault;
use super::ffi::{self, Mempool};
use crate::driver::{DpdkProcess, HugePages};
use crate::frame::{HEADROOM, Head, PoolConfig};
use std::ffi::c_void;
use std::fs;
use std::sync::Mutex;
use tracing::info;

/// Octets beside the mempools: queues of virtual devices, DPDK's own tables.
const BESIDE: usize = 96 << 20;

/// DPDK's state in this process.
struct Eal {
    /// By worker.
    pools: Vec<Mempool>,
    config: PoolConfig,
}

static EAL: Mutex<Option<Eal>> = Mutex::new(None);

/// Largest frame an mbuf can hold: its length and headroom are one 16-bit number.
pub(in crate::driver) const MAX_MBUF_FRAME: usize = 65_535 - HEADROOM;

/// The workers' mempools; starts DPDK for the first port that asks. A later port gets what the first asked for.
pub(super) fn pools(process: &DpdkProcess) -> Result<(Vec<Mempool>, PoolConfig), Fault> {
    let mut eal = EAL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(eal) = &*eal {
        return Ok((eal.pools.clone(), eal.config));
    }
    let mut config = process.pool;
    config.frame_size = config.frame_size.min(MAX_MBUF_FRAME);
    let needed = memory(config, process.cpus.len());
    let huge = take_huge_pages(process.hugepages, needed)?;
    ffi::start(&arguments(process, huge, needed)).map_err(Fault::at("start"))?;
    // It inherited this thread's privileges and needs none of them.
    ffi::on_interrupt_thread(give_up_privileges).map_err(Fault::at("reach its interrupt thread"))?;
    let make = |(worker, cpu): (usize, &Option<usize>)| {
        let node = cpu.map_or(-1, ffi::node_of);
        Mempool::make(&format!("worker {worker}"), config, node)
    };
    let pools = process.cpus.iter().enumerate().map(make).collect::<Result<Vec<_>, _>>();
    let pools = pools.map_err(Fault::at("reserve packet buffers"))?;
    *eal = Some(Eal { pools: pools.clone(), config });
    Ok((pools, config))
}

extern "C" fn give_up_privileges(_: *mut c_void) {
    if let Err(error) = crate::driver::privileges::drop_privileges(false) {
        tracing::error!("a thread of DPDK's keeps its privileges: {error}");
    }
}

/// Does something on a thread that has given up its privileges, so that threads which DPDK starts meanwhile have none.
/// `None` if it has no thread.
pub(super) fn unprivileged<T: Send>(act: impl FnOnce() -> T + Send) -> Option<T> {
    let act = || {
        give_up_privileges(std::ptr::null_mut());
        act()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, act).ok()?;
        thread.join().ok()
    })
}

/// Octets of memory DPDK is to have.
fn memory(config: PoolConfig, workers: usize) -> usize {
    // An object's header, the mbuf, the frame's head and its octets, and what rounding adds.
    let object = 64 + ffi::MBUF + size_of::<Head>() + HEADROOM + config.frame_size + 128;
    workers * config.buffers * object + BESIDE
}

/// Decides whether to take huge pages.
fn take_huge_pages(wanted: HugePages, needed: usize) -> Result<bool, Fault> {
    let free = free_huge_pages();
    let enough = free >= needed;
    let (needed, free) = (needed.div_ceil(1 << 20), free >> 20);
    match wanted {
        HugePages::Never => Ok(false),
        HugePages::Auto if enough => Ok(true),
        HugePages::Auto => {
            info!("DPDK: ordinary pages, for {needed} MiB of huge pages are needed and {free} MiB are free");
            Ok(false)
        }
        HugePages::Required if enough => Ok(true),
        HugePages::Required => Err(Fault {
            step: "reserve huge pages",
            reason: format!(
                "{needed} MiB are needed and {free} MiB are free; `sysctl vm.nr_hugepages=N` reserves pages, \
                 `workers.hugepages: auto` does without"
            ),
        }),
    }
}

/// Octets of free huge pages, of all sizes.
fn free_huge_pages() -> usize {
    let Ok(sizes) = fs::read_dir("/sys/kernel/mm/hugepages") else { return 0 };
    let each = sizes.filter_map(|entry| {
        let entry = entry.ok()?;
        let name = entry.file_name().into_string().ok()?;
        let kib: usize = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let free: usize = fs::read_to_string(entry.path().join("free_hugepages")).ok()?.trim().parse().ok()?;
        Some(kib * 1024 * free)
    });
    each.sum()
}

/// EAL's command line.
fn arguments(process: &DpdkProcess, huge: bool, needed: usize) -> Vec<String> {
    let cpus = rustix::thread::sched_getaffinity(None).ok();
    let allowed = |cpu: &usize| cpus.as_ref().is_none_or(|set| set.is_set(*cpu));
    let cpus: Vec<String> = (0..rustix::thread::CpuSet::MAX_CPU).filter(allowed).map(|c| c.to_string()).collect();
    let mut arguments: Vec<String> = vec![
        "flowgate".into(),
        // One thread of its own, the main one, which stays on the cores it may use now.
        format!("--lcores=0@({})", cpus.join(",")),
        "--no-telemetry".into(),
        "--no-shconf".into(),
        "--file-prefix=flowgate".into(),
    ];
    if huge {
        arguments.push("--in-memory".into());
        // Few regions, for a vhost-user peer maps each of them.
        arguments.push("--single-file-segments".into());
    } else {
        arguments.push("--no-huge".into());
        arguments.push("-m".into());
        arguments.push(needed.div_ceil(1 << 20).to_string());
    }
    if process.pci {
        // Devices are attached by name later: without a list every one that is bound to vfio would be taken.
        arguments.extend(["-a".into(), "0000:00:00.0".into()]);
    } else {
        arguments.push("--no-pci".into());
        arguments.push("--iova-mode=va".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process() -> DpdkProcess {
        let pool = PoolConfig { buffers: 1024, frame_size: 2048 };
        DpdkProcess { hugepages: HugePages::Auto, pci: false, pool, cpus: vec![None; 2] }
    }

    #[test]
    fn the_command_line_follows_what_is_wanted() {
        let needed = memory(process().pool, 2);
        assert_eq!(process().octets(), needed as u64, "doctor says otherwise");
        assert!(needed > 2 * 1024 * 2048 + BESIDE && needed < 2 * 1024 * 3000 + BESIDE);
        let with = arguments(&process(), true, needed).join(" ");
        assert!(with.contains("--in-memory --single-file-segments --no-pci --iova-mode=va"), "{with}");
        let without = arguments(&DpdkProcess { pci: true, ..process() }, false, needed).join(" ");
        assert!(without.contains("--no-huge -m 1") && without.contains("-a 0000:00:00.0"), "{without}");
        assert!(!without.contains("in-memory") && !without.contains("--no-pci"), "{without}");
    }

    #[test]
    fn huge_pages_are_taken_only_when_there_are_enough() {
        assert!(!take_huge_pages(HugePages::Never, 0).unwrap());
        assert!(take_huge_pages(HugePages::Required, 0).unwrap());
        assert!(!take_huge_pages(HugePages::Auto, usize::MAX).unwrap());
        let refusal = take_huge_pages(HugePages::Required, usize::MAX).unwrap_err();
        assert!(refusal.reason.contains("nr_hugepages"), "{}", refusal.reason);
    }
}
