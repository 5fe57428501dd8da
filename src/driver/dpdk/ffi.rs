//! DPDK as functions that are safe to call, but for the burst calls, which are in `queue`.
//!
//! `shim.c` stands between: it has the inline functions, and structures that are the same in every release.

use crate::frame::{HEADROOM, Head, Lender, PoolConfig};
use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What bindgen made of `shim.h`.
#[allow(dead_code, missing_docs, unreachable_pub, clippy::all, clippy::undocumented_unsafe_blocks)]
#[allow(non_camel_case_types, non_snake_case, non_upper_case_globals, unsafe_op_in_unsafe_fn)]
pub(super) mod raw {
    include!(concat!(env!("OUT_DIR"), "/dpdk.rs"));
}

pub(super) use raw::{fg_counts as Counts, fg_link as Link, fg_offer as Offer, rte_mbuf};

/// Octets of a buffer's description: DPDK's, and behind it, in what DPDK calls the private area, the frame's.
pub(super) const MBUF: usize = size_of::<rte_mbuf>();
const _: () = assert!(MBUF.is_multiple_of(align_of::<Head>()), "a frame's head is aligned behind the mbuf");

/// Buffers each thread keeps at hand in a mempool.
const CACHE: u32 = 256;

/// A negative errno as an error.
fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::from_raw_os_error(-result)) } else { Ok(result) }
}

/// Receives each finished line of DPDK's log.
///
/// # Safety
/// `text` points at `length` octets. Called by `shim.c` alone.
#[unsafe(no_mangle)]
unsafe extern "C" fn flowgate_dpdk_log(level: u32, text: *const c_char, length: usize) {
    // SAFETY: the contract of this function.
    let octets = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), length) };
    super::log::line(level, &String::from_utf8_lossy(octets));
}

/// Starts DPDK. Once per process, on its main thread.
pub(super) fn start(arguments: &[String]) -> io::Result<()> {
    let owned: Vec<CString> = arguments.iter().map(|a| CString::new(a.as_str())).collect::<Result<_, _>>()?;
    // DPDK writes into the list and keeps parts of it for as long as the process lives.
    let mut pointers: Vec<*mut c_char> = owned.into_iter().map(CString::into_raw).collect();
    let count = pointers.len() as c_int;
    pointers.push(std::ptr::null_mut());
    // SAFETY: `count` strings and the null pointer that ends an argv, all of which stay.
    check(unsafe { raw::fg_start(count, pointers.leak().as_mut_ptr()) }).map(|_| ())
}

/// Has `call` run once on DPDK's own thread for interrupts and alarms.
pub(super) fn on_interrupt_thread(call: unsafe extern "C" fn(*mut c_void)) -> io::Result<()> {
    // SAFETY: `call` ignores its argument and stays as long as the program.
    check(unsafe { raw::fg_on_interrupt_thread(Some(call)) }).map(|_| ())
}

thread_local! {
    static MEMBERSHIP: Membership = Membership::join();
}

/// Being one of DPDK's threads, until the thread ends.
struct Membership(io::Result<()>);

impl Membership {
    fn join() -> Membership {
        // SAFETY: any thread may register once DPDK runs.
        Membership(check(unsafe { raw::fg_register_thread() }).map(|_| ()))
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if self.0.is_ok() {
            // SAFETY: it is registered.
            unsafe { raw::fg_unregister_thread() }
        }
    }
}

/// Makes the calling thread one of DPDK's. Without that it works too, and slower.
pub(super) fn join_thread() -> Result<(), String> {
    MEMBERSHIP.with(|member| member.0.as_ref().copied().map_err(io::Error::to_string))
}

/// NUMA node of a CPU; -1 when it is not known.
pub(super) fn node_of(cpu: usize) -> c_int {
    // SAFETY: looks at files.
    unsafe { raw::fg_socket_of(cpu as u32) }
}

/// Held by whoever changes which devices there are: EAL's list of them is not for two threads at once.
static DEVICES: Mutex<()> = Mutex::new(());

/// Keeps others from attaching and detaching.
pub(super) fn hold_devices() -> MutexGuard<'static, ()> {
    DEVICES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port of DPDK's. A number of no port makes every call fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port(pub(super) u16);

/// How a port is to be configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) rx_offloads: u64,
    pub(super) tx_offloads: u64,
    pub(super) rss_types: u64,
    pub(super) key: Vec<u8>,
    pub(super) rx_queues: u16,
    pub(super) tx_queues: u16,
    pub(super) mtu: u16,
}

impl Port {
    /// Attaches a device by its devargs string.
    pub(super) fn attach(device: &str) -> io::Result<Port> {
        let _devices = hold_devices();
        Port::attach_held(device)
    }

    /// The same while the caller, or who started its thread, holds the devices.
    pub(super) fn attach_held(device: &str) -> io::Result<Port> {
        let device = CString::new(device)?;
        // SAFETY: a string that ends in 0, which is read only.
        let port = check(unsafe { raw::fg_attach(device.as_ptr()) })?;
        Ok(Port(port as u16))
    }

    /// Follows which transmit queues the peer has enabled, a bit each; before the port is configured. `None` when the
    /// driver does not tell.
    pub(super) fn watch_queues(self) -> Option<&'static AtomicU64> {
        // SAFETY: a number, which DPDK checks. What it gives stays as long as the process, is aligned, and is read and
        // written by atomic instructions only.
        unsafe { raw::fg_watch_queues(self.0).cast::<AtomicU64>().as_ref() }
    }

    /// Stops it and takes its device away. Nobody may be in a burst call of this port.
    pub(super) fn detach(self) -> io::Result<()> {
        let _devices = hold_devices();
        // SAFETY: DPDK checks the number; the queues' contract is that none of them is used any more.
        check(unsafe { raw::fg_detach(self.0) }).map(|_| ())
    }

    pub(super) fn ask(self) -> io::Result<Offer> {
        let mut offer = Offer::default();
        // SAFETY: `offer` is written in place.
        check(unsafe { raw::fg_ask(self.0, &raw mut offer) })?;
        Ok(offer)
    }

    pub(super) fn configure(self, setup: &Setup) -> io::Result<()> {
        let mut key = setup.key.clone();
        let raw = raw::fg_setup {
            rx_offloads: setup.rx_offloads,
            tx_offloads: setup.tx_offloads,
            rss_types: setup.rss_types,
            key: if key.is_empty() { std::ptr::null_mut() } else { key.as_mut_ptr() },
            key_size: key.len() as u16,
            rx_queues: setup.rx_queues,
            tx_queues: setup.tx_queues,
            mtu: setup.mtu,
        };
        // SAFETY: read during the call; the key has the size given.
        check(unsafe { raw::fg_configure(self.0, &raw const raw) }).map(|_| ())
    }

    pub(super) fn setup_rx(self, queue: u16, descriptors: u16, pool: Mempool) -> io::Result<()> {
        // SAFETY: the pool stays as long as the process.
        check(unsafe { raw::fg_setup_rx(self.0, queue, descriptors, pool.0.as_ptr()) }).map(|_| ())
    }

    pub(super) fn setup_tx(self, queue: u16, descriptors: u16) -> io::Result<()> {
        // SAFETY: numbers only.
        check(unsafe { raw::fg_setup_tx(self.0, queue, descriptors) }).map(|_| ())
    }

    /// The sizes the device takes that are nearest to these.
    pub(super) fn adjust_rings(self, mut rx: u16, mut tx: u16) -> io::Result<(u16, u16)> {
        // SAFETY: two numbers that are written in place.
        check(unsafe { raw::fg_adjust_rings(self.0, &raw mut rx, &raw mut tx) })?;
        Ok((rx, tx))
    }

    pub(super) fn run(self) -> io::Result<()> {
        // SAFETY: DPDK checks the number and that the queues are set up.
        check(unsafe { raw::fg_run(self.0) }).map(|_| ())
    }

    pub(super) fn set_mac(self, mac: [u8; 6]) -> io::Result<()> {
        // SAFETY: six octets, read during the call.
        check(unsafe { raw::fg_set_mac(self.0, mac.as_ptr()) }).map(|_| ())
    }

    pub(super) fn set_promiscuous(self) -> io::Result<()> {
        // SAFETY: a number only.
        check(unsafe { raw::fg_set_promiscuous(self.0) }).map(|_| ())
    }

    pub(super) fn set_allmulticast(self) -> io::Result<()> {
        // SAFETY: a number only.
        check(unsafe { raw::fg_set_allmulticast(self.0) }).map(|_| ())
    }

    /// Says which queue each value of the hash, modulo the table's size, goes to.
    pub(super) fn write_table(self, queues: &[u16]) -> io::Result<()> {
        // SAFETY: as many numbers as said, read during the call.
        check(unsafe { raw::fg_write_table(self.0, queues.as_ptr(), queues.len() as u16) }).map(|_| ())
    }

    pub(super) fn read_table(self, size: u16) -> io::Result<Vec<u16>> {
        let mut queues = vec![0; usize::from(size)];
        // SAFETY: room for as many numbers as said.
        check(unsafe { raw::fg_read_table(self.0, queues.as_mut_ptr(), size) })?;
        Ok(queues)
    }

    /// The hash's key and the packet types it is made of.
    pub(super) fn read_hash(self, key_size: u16) -> io::Result<(Vec<u8>, u64)> {
        let mut key = vec![0; usize::from(key_size)];
        let mut types = 0;
        // SAFETY: room for as many octets as said.
        check(unsafe { raw::fg_read_hash(self.0, key.as_mut_ptr(), key_size, &raw mut types) })?;
        Ok((key, types))
    }

    pub(super) fn read_link(self) -> io::Result<Link> {
        let mut link = Link::default();
        // SAFETY: written in place.
        check(unsafe { raw::fg_read_link(self.0, &raw mut link) })?;
        Ok(link)
    }

    pub(super) fn read_counts(self) -> io::Result<Counts> {
        let mut counts = Counts::default();
        // SAFETY: written in place.
        check(unsafe { raw::fg_read_counts(self.0, &raw mut counts) })?;
        Ok(counts)
    }
}

/// A pool of mbufs, for as long as the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mempool(pub(super) NonNull<raw::rte_mempool>);

// SAFETY: DPDK's mempools may be used by any thread at any time; this one was made for many producers and consumers.
unsafe impl Send for Mempool {}
// SAFETY: as above.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// Makes one whose mbufs have room for a frame's head behind their own.
    pub(super) fn make(name: &str, config: PoolConfig, node: c_int) -> io::Result<Mempool> {
        let name = CString::new(name)?;
        let room = u16::try_from(HEADROOM + config.frame_size).map_err(|_| io::ErrorKind::InvalidInput)?;
        let (buffers, private) = (config.buffers as u32, size_of::<Head>() as u16);
        // DPDK wants room for one and a half caches.
        let cache = CACHE.min(buffers / 2);
        // SAFETY: a string that ends in 0, read during the call, and numbers.
        let pool = unsafe { raw::fg_make_pool(name.as_ptr(), buffers, cache, private, room, node) };
        NonNull::new(pool).map(Mempool).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    pub(super) fn id(self) -> usize {
        self.0.as_ptr() as usize
    }
}

/// A mempool as the lender of a worker's pool. For the worker's thread.
pub(super) struct MempoolLender {
    pool: Mempool,
    /// Room for the pointers of one call.
    scratch: Cell<Vec<*mut c_void>>,
}

impl MempoolLender {
    pub(super) fn new(pool: Mempool) -> MempoolLender {
        MempoolLender { pool, scratch: Cell::new(Vec::with_capacity(128)) }
    }
}

// SAFETY: an mbuf got from a mempool is its getter's alone until it is put back. Mempool::make gave each a private area of
// the size of a head, aligned as the mbuf is, that is to a cache line, and octets for headroom and frame behind it. All
// mbufs in a mempool have one segment and one owner, and so have those that are put back here, for `queue` lets no other
// become a frame.
unsafe impl Lender for MempoolLender {
    fn lend(&self, count: usize, into: &mut Vec<NonNull<u8>>) {
        let mut objects = self.scratch.take();
        // A bulk call gives all or none, so the last ones of an almost empty pool come singly.
        for count in [count, 1] {
            objects.clear();
            objects.resize(count, std::ptr::null_mut());
            // SAFETY: room for `count` pointers.
            if unsafe { raw::fg_pool_get(self.pool.0.as_ptr(), objects.as_mut_ptr(), count as u32) } == 0 {
                for mbuf in objects.iter().filter_map(|mbuf| NonNull::new(mbuf.cast::<rte_mbuf>())) {
                    // SAFETY: got just now, so nobody else has it.
                    unsafe {
                        let mbuf = &mut *mbuf.as_ptr();
                        // As a frame's mbuf is: what an earlier use left in it means nothing.
                        (mbuf.data_len, mbuf.pkt_len, mbuf.ol_flags) = (0, 0, 0);
                    }
                    into.push(mbuf.cast());
                }
                break;
            }
        }
        self.scratch.set(objects);
    }

    fn take_back(&self, fronts: &[NonNull<u8>]) {
        // SAFETY: mbufs of this pool that nobody uses any more, each by its address.
        unsafe { raw::fg_pool_put(self.pool.0.as_ptr(), fronts.as_ptr().cast(), fronts.len() as u32) }
    }

    fn available(&self) -> usize {
        // SAFETY: the pool stays as long as the process.
        unsafe { raw::fg_pool_available(self.pool.0.as_ptr()) as usize }
    }

    fn id(&self) -> usize {
        self.pool.id()
    }
}

/// The head of the frame in an mbuf.
#[inline(always)]
pub(super) fn head_of(mbuf: NonNull<rte_mbuf>) -> NonNull<Head> {
    // SAFETY: the private area follows the mbuf in the same object of the pool.
    unsafe { mbuf.byte_add(MBUF) }.cast()
}

/// The mbuf a frame's head is in.
#[inline(always)]
pub(super) fn mbuf_of(head: NonNull<Head>) -> NonNull<rte_mbuf> {
    // SAFETY: the head of a frame of a mempool lies behind its mbuf.
    unsafe { head.byte_sub(MBUF) }.cast()
}
