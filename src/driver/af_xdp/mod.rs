//! A kernel interface as a port, through AF_XDP sockets.
//!
//! Owns a small XDP program on the interface, which hands every frame to the socket of the queue it came by, and one
//! socket per queue and worker, with rings shared with the kernel. Where all ports of a run allow it, the workers' frames
//! lie in the memory of the sockets ([`Umem`]), so that a frame is received, forwarded and sent as it lies; else a port
//! has memory of its own and copies.
//! Always holds: a chunk of that memory has one holder; a frame sent comes back to its pool only when the kernel is done
//! with it; sending a burst, or several that follow each other at once, takes one system call, receiving none; the kernel's
//! stack sees no frame; the program goes with the process, however it ends; what a killed process leaves does not stop the
//! next.
//! Must not know: what the frames mean.
//!
//! What the kernel tells packet sockets about a frame beside its octets it does not tell these: an unfinished checksum
//! looks like a wrong one, and a super-frame does not fit. Wires have neither. Veth ends and the like do unless the
//! sender's offloads are off, so that is said when such a port is opened.
//!
//! Memory. Each socket registers its worker's memory by itself, so each has a fill and a completion ring of its own, none
//! depends on another that may be closed, and a frame goes from port to port by its address. XDP_SHARED_UMEM (between
//! devices since Linux 5.10) would copy no less. It would have the pages pinned, mapped by the kernel and counted as locked
//! memory once instead of once for each port; but a socket can only join one that is open and bound, so a device that
//! comes back would need another port's, and one that fails would have to be opened as it is now. It is not used.
//!
//! Chunks an odd number of cache lines apart (XDP_UMEM_UNALIGNED_CHUNK_FLAG), which do not fall into the same few sets of a
//! cache, made a packet half a percent cheaper on a veth, and a device that does not copy could not have one that lies across
//! two pages. They are powers of two.
//!
//! Busy polling (SO_BUSY_POLL, SO_PREFER_BUSY_POLL) is not used either: on a veth no receive work moves into the asking
//! call, as the kernel's napi_poll trace shows for net_af_xdp, which asks for it.
//!
//! Modes. *Native*: the program runs in the driver; with *zero-copy*, where the device can, it reads and writes the
//! chunks itself. *Generic*: the kernel runs it before its stack, with any device, and slower.

#[allow(unsafe_code)]
mod area;
#[allow(unsafe_code)]
mod bpf;
mod offload;
mod peer;
mod queue;
#[allow(unsafe_code)]
mod ring;
mod socket;

use super::interface::{self, Device, Opened, port};
use super::{OpenError, OpenPort, PoolSeed, PortCaps, PortSpec, XdpMode, af_packet, privileges};
use crate::frame::{PoolConfig, PoolError};
use area::Area;
use bpf::Program;
use queue::{Bound, Queue};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket::{Place, Socket};
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{info, warn};

/// For a program to go whose process was just killed.
const LET_GO: Duration = Duration::from_secs(2);

/// Octets around an IP packet: the Ethernet header and two VLAN tags.
const AROUND: usize = 14 + 8;

/// The memory of all workers' frames, one part for each.
#[derive(Clone)]
pub struct Umem {
    areas: Arc<[Arc<Area>]>,
}

impl fmt::Debug for Umem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Umem").field("parts", &self.areas.len()).field("part", &self.config()).finish()
    }
}

impl Umem {
    /// The sizes of a pool for frames received from ports that carry IP packets of `mtu` octets; `None` if these do not
    /// fit into a chunk, which is a page at most.
    #[must_use]
    pub fn sizes(mtu: usize, buffers: usize) -> Option<PoolConfig> {
        let chunk = area::chunk_for(mtu + AROUND)?;
        Some(area::config(chunk, buffers))
    }

    /// Octets that a queue reserves which cannot use its worker's.
    #[must_use]
    pub fn own_bytes(mtu: usize, ring: usize) -> usize {
        Umem::sizes(mtu, own_chunks(ring)).map_or(0, |config| config.buffers * area::chunk_of(config))
    }

    /// Reserves memory for as many workers; `config` is one of [`Umem::sizes`].
    ///
    /// # Errors
    /// When the sizes are others, or the system gives no memory.
    pub fn new(config: PoolConfig, workers: usize) -> Result<Umem, PoolError> {
        let area = |_| Area::new(area::chunk_of(config), config.buffers).map(Arc::new);
        Ok(Umem { areas: (0..workers).map(area).collect::<Result<_, _>>()? })
    }

    /// The workers' pools, in order. Call it once.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolSeed> {
        let seed = |area: &Arc<Area>| {
            let area = Arc::clone(area);
            PoolSeed::new(area.config(), move || Ok(area.pool()))
        };
        self.areas.iter().map(seed).collect()
    }

    /// Each pool's sizes.
    fn config(&self) -> Option<PoolConfig> {
        self.areas.first().map(|area| area.config())
    }
}

/// What outlives the sockets: a device that comes back gets the same program and the same memory.
struct Kept {
    program: Arc<Program>,
    areas: Arc<[Arc<Area>]>,
    /// The areas are the queues' own.
    copies: bool,
}

/// Opens the interface `spec.device`.
pub(super) fn open(spec: &PortSpec) -> Result<OpenPort, OpenError> {
    let mut kept = None;
    let opened = open_interface(spec, &mut kept)?;
    let caps = PortCaps {
        tx_checksum_partial: false,
        tx_gso: false,
        rx_partial: false,
        rx_gso: false,
        max_frame: opened.info.mtu + AROUND,
        steered: spec.queues == 1,
    };
    let again = move |spec: &PortSpec| privileges::with_admin(|| open_interface(spec, &mut kept));
    Ok(port(spec, opened, caps, again, |id, seat| Box::new(Queue::new(id, seat))))
}

fn fault(spec: &PortSpec, step: &'static str) -> impl Fn(Errno) -> OpenError + use<> {
    interface::fault(spec, step, "use AF_XDP", "CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF")
}

fn open_interface(spec: &PortSpec, kept: &mut Option<Kept>) -> Result<Opened<Bound>, OpenError> {
    let name = interface::device_name(spec)?;
    // Bound to nothing, it receives nothing: for questions, and for promiscuous mode.
    let probe = af_packet::sys::packet_socket().map_err(fault(spec, "open a packet socket"))?;
    let device = interface::find(spec, probe.as_fd(), name, fault)?;
    let claim = interface::claim(spec, name, device.ifindex)?;
    let info = interface::info(spec, name, &device);
    let mut warnings = interface::warnings(spec, name, &device);
    warnings.extend(peer::warning(spec, name));
    fits(spec, name, info.mtu)?;
    lift_memory_limit();
    let restore = offload::prepare(spec, name, &device)?;
    let kept = match kept {
        Some(kept) => kept,
        none => none.insert(keep(spec, info.mtu)?),
    };
    let counted = kept.program.missed();
    let (link, native) = attach(spec, name, &device, &kept.program)?;
    let mut sockets = Vec::with_capacity(spec.queues);
    for (queue, area) in kept.areas.iter().enumerate().take(spec.queues) {
        let number = queue as u32;
        let ring = spec.ring as u32;
        let socket = Socket::open(Place { ifindex: device.ifindex, queue: number, native }, ring, area)
            .map_err(|refusal| refused(spec, name, refusal))?;
        kept.program.set_socket(number, &socket.fd).map_err(fault(spec, "give the program its sockets"))?;
        sockets.push(Bound {
            socket,
            copies: kept.copies,
            ring,
            largest: device.mtu + AROUND,
            program: (queue == 0).then(|| Arc::clone(&kept.program)),
        });
    }
    kept.program.begin(counted);
    af_packet::sys::set_promiscuous(probe.as_fd(), device.ifindex).map_err(fault(spec, "set promiscuous mode"))?;
    let zero_copy = sockets.first().is_some_and(|bound| bound.socket.is_zero_copy());
    info!(
        "port {}: AF_XDP on interface `{name}`: {} mode, {}; {}",
        spec.name,
        if native { "native" } else { "generic" },
        if zero_copy { "zero-copy" } else { "the kernel copies (the driver has no zero-copy here)" },
        if kept.copies {
            "frames are copied once more, for another port's frames do not fit"
        } else {
            "frames stay in place"
        },
    );
    let held: Box<(OwnedFd, offload::Restore)> = Box::new((link, restore));
    Ok(Opened { sockets, probe, claim, ifindex: device.ifindex, info, warnings, held })
}

/// A received frame, tags included, has to fit into a chunk.
fn fits(spec: &PortSpec, name: &str, mtu: usize) -> Result<(), OpenError> {
    let most = spec.umem.as_ref().and_then(Umem::config).map_or(area::LARGEST, area::largest) - AROUND;
    if mtu <= most {
        return Ok(());
    }
    let why = if most < area::LARGEST - AROUND {
        format!(
            "its MTU is {mtu}, more than the {most} that was made room for; write `mtu: {mtu}` in the configuration of the port"
        )
    } else {
        format!(
            "its MTU is {mtu}, and AF_XDP carries {most} at most; `ip link set dev {name} mtu {most}` (both ends), or `driver: \
             af_packet`"
        )
    };
    Err(OpenError::Unfit { port: spec.name.clone(), device: name.to_owned(), why })
}

/// Registered memory is locked memory. Where the limit may not be lifted, registering fails unless CAP_IPC_LOCK is held.
fn lift_memory_limit() {
    let all = Rlimit { current: None, maximum: None };
    if setrlimit(Resource::Memlock, all).is_err() {
        let most = getrlimit(Resource::Memlock).maximum;
        let _ = setrlimit(Resource::Memlock, Rlimit { current: most, maximum: most });
    }
}

/// Enough chunks for a full fill and a full transmit ring.
fn own_chunks(ring: usize) -> usize {
    2 * ring + 64
}

/// Loads the program, and reserves memory if the port cannot use its workers'.
fn keep(spec: &PortSpec, mtu: usize) -> Result<Kept, OpenError> {
    let program = Program::load(spec.queues as u32).map_err(fault(spec, "load the XDP program"))?;
    let own = || {
        let sizes = Umem::sizes(mtu, own_chunks(spec.ring)).ok_or(Errno::MSGSIZE);
        sizes.and_then(|sizes| Umem::new(sizes, spec.queues).map_err(|_| Errno::NOMEM))
    };
    let (umem, copies) = match &spec.umem {
        Some(umem) => (umem.clone(), false),
        None => (own().map_err(fault(spec, "reserve packet memory"))?, true),
    };
    Ok(Kept { program: Arc::new(program), areas: umem.areas, copies })
}

/// Attaches the program in the mode wanted, or the one possible. Gives whether that is the native one.
fn attach(spec: &PortSpec, name: &str, device: &Device, program: &Program) -> Result<(OwnedFd, bool), OpenError> {
    let unfit = |why: String| OpenError::Unfit { port: spec.name.clone(), device: name.to_owned(), why };
    let refused = |error: Errno, mode: &str| match error {
        Errno::BUSY | Errno::EXIST => unfit(format!(
            "another XDP program is attached to it; `ip link show dev {name}` names it, `ip link set dev {name} xdp off` and `… \
             xdpgeneric off` take it away"
        )),
        Errno::PERM | Errno::ACCESS => fault(spec, "attach the XDP program")(error),
        error => unfit(format!("its driver takes no XDP program in {mode} mode ({error}{})", meaning(error))),
    };
    if spec.xdp_mode != XdpMode::Generic {
        match patiently(|| program.attach(device.ifindex, true)) {
            Ok(link) => return Ok((link, true)),
            Err(e @ (Errno::BUSY | Errno::EXIST | Errno::PERM | Errno::ACCESS)) => return Err(refused(e, "native")),
            Err(e) if spec.xdp_mode == XdpMode::Native => return Err(refused(e, "native")),
            Err(e) => warn!(
                "port {}: the driver of interface `{name}` takes no XDP program ({e}{}); falling back to generic mode, which is \
                 slower",
                spec.name,
                meaning(e)
            ),
        }
    }
    let link = patiently(|| program.attach(device.ifindex, false)).map_err(|e| refused(e, "generic"))?;
    Ok((link, false))
}

/// What drivers mean by some of their refusals.
fn meaning(error: Errno) -> &'static str {
    match error {
        Errno::RANGE => ": the MTU of a veth's other end is too large; 3506 is possible",
        Errno::NOSPC => ": the other end of the veth has more transmit queues than this end has receive queues",
        _ => "",
    }
}

/// The program of a process that was just killed goes in the kernel's own time.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let deadline = Instant::now() + LET_GO;
    loop {
        match attempt() {
            Err(Errno::BUSY) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            result => return result,
        }
    }
}

/// What a refused step of opening a socket means for the operator.
fn refused(spec: &PortSpec, name: &str, (step, error): socket::Refusal) -> OpenError {
    let why = match error {
        Errno::NOBUFS => {
            "the limit on locked memory is too low for its packet memory; raise it with `ulimit -l unlimited` or \
                          grant CAP_IPC_LOCK"
                .to_owned()
        }
        Errno::BUSY => "another program has an AF_XDP socket on one of its queues".to_owned(),
        Errno::INVAL if step.starts_with("bind") => {
            format!("it has fewer than {} queues, and each worker needs one", spec.queues)
        }
        Errno::AFNOSUPPORT => "this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)".to_owned(),
        Errno::OPNOTSUPP => "AF_XDP needs Linux 5.9".to_owned(),
        error => return fault(spec, step)(error),
    };
    OpenError::Unfit { port: spec.name.clone(), device: name.to_owned(), why }
}

#[cfg(test)]
mod tests;
