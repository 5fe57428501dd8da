//! The router that `--self-test` puts between the generator's ports: the real one, on memory ports.

use super::file::Loaded;
use crate::config;
use crate::control::{Command, Configuration, Parts, Plane, exporter};
use crate::driver::OpenPort;
use crate::driver::memory::{MemoryConfig, cable};
use crate::net::{MacAddr, PortId};
use crate::pktgen::plan::Gateway;
use crate::worker::Clock;
use crossbeam_channel::{Sender, unbounded};
use std::fmt::Write as _;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Frames a memory port's ring holds.
const RING: usize = 4096;

/// A router on a thread.
pub(super) struct Router {
    commands: Sender<Command>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

/// The configuration of a router whose addresses are the generator's gateways: connections begin at the first port.
fn configuration(loaded: &Loaded) -> Result<String, String> {
    let count = loaded.settings.workers.count;
    let mut text = format!(
        "version: 1\nworkers: {{ cores: any, count: {count} }}\nconntrack: {{ max_entries: 1048576 }}\nports:\n"
    );
    for (port, plan) in loaded.settings.ports.iter().zip(&loaded.plan.ports) {
        let mut addresses = Vec::new();
        for net in &port.addresses {
            let family = crate::net::Family::from(net.addr());
            if let Some(Gateway::Ip(gateway)) = plan.gateways[family.index()] {
                addresses.push(format!("\"{}/{}\"", gateway.to_ip(family), net.prefix_len()));
            }
        }
        if addresses.is_empty() {
            return Err(format!("port {}: a self-test needs a gateway address, which the router takes", port.name));
        }
        let addresses = addresses.join(", ");
        let vlan = match plan.vlan.as_slice() {
            [] => String::new(),
            [id] => format!("vlan: {id}, "),
            tags => format!("vlan: {tags:?}, "),
        };
        let _ = writeln!(text, "  {}: {{ driver: memory, {vlan}addresses: [{addresses}] }}", port.name);
    }
    let first = loaded.settings.ports.first().map_or("", |port| port.name.as_str());
    let _ = write!(
        text,
        "chains:
  forward:
    policy: drop
    rules:
      - {{ id: known, ct_state: [established, related], verdict: accept }}
      - {{ id: bad, ct_state: invalid, verdict: drop }}
      - {{ id: out, iif: {first}, ct_state: new, verdict: accept }}
"
    );
    Ok(text)
}

/// Starts a router and gives the ports that are joined to its own.
pub(super) fn start(loaded: &Loaded) -> Result<(Router, Vec<OpenPort>), String> {
    let text = configuration(loaded)?;
    let (settings, mistakes) = config::parse("self-test", &text);
    let settings = settings.ok_or_else(|| mistakes.render(false))?;
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    for port in &loaded.settings.ports {
        let largest = loaded.plan.streams.iter().flat_map(|stream| &stream.sizes).max().copied().unwrap_or(1518);
        let config = |mac: [u8; 6]| MemoryConfig {
            queues: usize::from(loaded.settings.workers.count),
            ring: RING,
            mac: MacAddr(mac),
            mtu: usize::from(largest).max(1518) - 18,
            // As on a wire: checksums are whole.
            offloads: false,
            ..MemoryConfig::new(port.id)
        };
        let PortId(n) = port.id;
        let (ours, routers) = cable(config([2, 0xf6, 1, 0, 0, n]), config([2, 0xf6, 2, 0, 0, n]));
        outside.push(ours);
        inside.push(routers);
    }
    let clock = Clock::start();
    let exporter = Arc::new(exporter(&settings, &inside, clock.now()));
    let configuration =
        Configuration { settings, sha256: String::new(), path: "self-test".to_owned(), warnings: String::new() };
    let mut secret = 0x5eed_u64;
    let parts = Parts {
        configuration,
        ports: inside,
        exporter,
        clock,
        secret: Box::new(move || {
            secret = secret.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            secret
        }),
        loader: Box::new(|| Err("there is no file to reload".to_owned())),
    };
    let (commands, inbox) = unbounded();
    let (running, runs) = unbounded::<()>();
    let thread = std::thread::Builder::new().name("router".to_owned()).spawn(move || {
        let mut plane = Plane::start(parts).map_err(|error| error.to_string())?;
        drop(running);
        plane.run(&inbox).map_err(|failure| failure.to_string())
    });
    let thread = thread.map_err(|error| format!("could not start a thread: {error}"))?;
    // Nobody sends anything: it ends when the router runs, or could not be started, which its end tells.
    let _ = runs.recv();
    Ok((Router { commands, thread: Some(thread) }, outside))
}

impl Router {
    /// Why it ended, if it did.
    pub(super) fn end(&mut self) -> Option<String> {
        let thread = self.thread.take_if(|thread| thread.is_finished())?;
        Some(match thread.join() {
            Ok(Ok(())) => "it stopped".to_owned(),
            Ok(Err(reason)) => reason,
            Err(_) => "it panicked".to_owned(),
        })
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
