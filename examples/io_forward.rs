//! What `testpmd --forward-mode=io` does, with our driver, pool and bursts: two ports of DPDK's, one core, every frame
//! received on one is sent by the other. Nothing is parsed or tracked, so the rate is that of the doors alone.
//! `scripts/testpmd-ratio` compares the two.
//!
//!     io_forward DEVICE DEVICE SECONDS FRAMES_AT_ONCE [ordinary|huge]
//!
//! The last word says on which pages the buffers lie; without it on huge ones, if enough are free.

use flowgate::driver::{
    DpdkDevice, DpdkProcess, DpdkSpec, DriverKind, HugePages, PortSpec, QueuePair, QueueSeed, open,
};
use flowgate::frame::{Burst, PoolConfig};
use flowgate::net::PortId;
use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

/// Turns between two looks at the clock.
const TURNS: usize = 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [one, other, seconds, at_once, pages @ ..] = arguments.as_slice() else {
        return Err("io_forward DEVICE DEVICE SECONDS FRAMES_AT_ONCE [ordinary|huge]".into());
    };
    let hugepages = match pages.first().map(String::as_str) {
        None => HugePages::Auto,
        Some("ordinary") => HugePages::Never,
        Some("huge") => HugePages::Required,
        Some(other) => return Err(format!("pages are ordinary or huge, not {other}").into()),
    };
    let limit = Duration::from_secs_f64(seconds.parse()?);

    let process =
        DpdkProcess { hugepages, pci: false, pool: PoolConfig { buffers: 16_384, frame_size: 2048 }, cpus: vec![None] };
    let mut ports = Vec::new();
    for (id, device) in [one, other].into_iter().enumerate() {
        let mut spec = PortSpec::new(device, PortId(id as u8), DriverKind::Dpdk);
        let device = DpdkDevice::Eal(device.clone());
        spec.dpdk = Some(DpdkSpec { device, receive_queues: 1, steering: None, process: process.clone() });
        ports.push(open(&spec)?);
    }
    let seed = ports.first().and_then(|port| port.control.pools().into_iter().next());
    let pool = seed.ok_or("no pool")?.start()?;
    let mut queues: Vec<Box<dyn QueuePair>> = Vec::new();
    let mut controls = Vec::new();
    for port in ports {
        controls.push(port.control);
        queues.extend(port.queues.into_iter().map(QueueSeed::start));
    }

    let mut burst = Burst::with_limit(at_once.parse()?);
    let (mut forwarded, mut lost, began) = (0_u64, 0_u64, Instant::now());
    while began.elapsed() < limit {
        for _ in 0..TURNS {
            for from in 0..queues.len() {
                let to = queues.len() - 1 - from;
                if queues[from].receive(&pool, &mut burst).received != 0 {
                    forwarded += queues[to].transmit(&mut burst).sent as u64;
                    lost += burst.len() as u64;
                    burst.drain().for_each(drop);
                }
            }
        }
    }
    let rate = forwarded as f64 / began.elapsed().as_secs_f64();
    writeln!(std::io::stdout(), "{rate:.0} {lost}")?;
    Ok(())
}
