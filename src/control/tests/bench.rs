//! The bench: a router between two memory ports, and the hosts at their other ends.

use crate::config;
use crate::config::Settings;
use crate::control::{Command, Configuration, Failure, Parts, Plane, exporter};
use crate::driver::memory::{MemoryConfig, Peer, pair};
use crate::driver::{LinkState, OpenPort, QueueSeed};
use crate::frame::Meta;
use crate::metrics::{Balance, Counters, Exporter};
use crate::net::{MacAddr, PortId};
use crate::worker::Clock;
use crossbeam_channel::{Sender, unbounded};
use etherparse::PacketBuilder;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// For what must happen; how long it takes on a busy machine says nothing.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const LAN: usize = 0;
pub(super) const WAN: usize = 1;

/// The hosts and the router's address beside each.
pub(super) const HOST: [[u8; 4]; 2] = [[10, 0, 1, 2], [10, 0, 2, 2]];
pub(super) const ROUTER: [[u8; 4]; 2] = [[10, 0, 1, 1], [10, 0, 2, 1]];
pub(super) const HOST_MAC: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 2], [2, 0, 0, 0, 2, 2]];

/// New connections from the lan, replies, and pings to the router.
pub(super) const RULES: &str = "
chains:
  forward:
    policy: drop
    rules:
      - { id: known, ct_state: [established, related], verdict: accept }
      - { id: out, iif: lan0, ct_state: new, verdict: accept }
";

/// A configuration with that many workers and the given further sections.
pub(super) fn text(workers: usize, more: &str) -> String {
    format!(
        "version: 1
workers: {{ cores: any, count: {workers} }}
conntrack: {{ max_entries: 4096 }}
ports:
  lan0: {{ driver: memory, queues: {workers}, addresses: [10.0.1.1/24] }}
  wan0: {{ driver: memory, queues: {workers}, addresses: [10.0.2.1/24] }}
{more}"
    )
}

pub(super) fn settings(text: &str) -> Settings {
    let (settings, mistakes) = config::parse("t.yaml", text);
    settings.unwrap_or_else(|| panic!("{}", mistakes.render(false)))
}

pub(super) struct Bench {
    pub(super) peers: Vec<Peer>,
    pub(super) exporter: Arc<Exporter>,
    pub(super) commands: Sender<Command>,
    /// What the next reload reads.
    pub(super) file: Arc<Mutex<String>>,
    plane: Option<JoinHandle<Result<(), Failure>>>,
    /// Frames of each port that nobody asked for yet.
    seen: [VecDeque<Vec<u8>>; 2],
    /// Whose questions are answered.
    introduced: [bool; 2],
    queues: usize,
    next: usize,
}

/// Changes a port before it is used.
pub(super) type Twist = fn(&mut OpenPort);

impl Bench {
    pub(super) fn new(workers: usize) -> Bench {
        Bench::with(&text(workers, RULES), |_| {})
    }

    pub(super) fn with(text: &str, twist: Twist) -> Bench {
        let settings = settings(text);
        let queues = usize::from(settings.workers.count);
        let (mut ports, mut peers) = (Vec::new(), Vec::new());
        for id in 0..settings.ports.len() {
            let config = MemoryConfig { queues, ring: 4096, ..MemoryConfig::new(PortId(id as u8)) };
            let (mut port, peer) = pair(config);
            twist(&mut port);
            ports.push(port);
            peers.push(peer);
        }
        let clock = Clock::start();
        let exporter = Arc::new(exporter(&settings, &ports, clock.now()));
        let file = Arc::new(Mutex::new(text.to_owned()));
        let mut secret = 0x5eed_u64;
        let parts = Parts {
            configuration: Configuration {
                settings,
                sha256: "0".repeat(64),
                path: "t.yaml".to_owned(),
                warnings: String::new(),
            },
            ports,
            exporter: Arc::clone(&exporter),
            clock,
            secret: Box::new(move || {
                secret = secret.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                secret
            }),
            loader: {
                let file = Arc::clone(&file);
                Box::new(move || {
                    let (settings, mistakes) = config::parse("t.yaml", &file.lock().unwrap());
                    let settings = settings.ok_or_else(|| mistakes.render(false))?;
                    Ok(Configuration {
                        settings,
                        sha256: "1".repeat(64),
                        path: "t.yaml".to_owned(),
                        warnings: String::new(),
                    })
                })
            },
        };
        let (commands, inbox) = unbounded();
        let plane = std::thread::spawn(move || {
            let mut plane = Plane::start(parts).map_err(|error| Failure { worker: None, reason: error.to_string() })?;
            plane.run(&inbox)
        });
        Bench {
            peers,
            exporter,
            commands,
            file,
            plane: Some(plane),
            seen: Default::default(),
            introduced: [false; 2],
            queues,
            next: 0,
        }
    }

    /// Sends a frame to the router, by one queue after the other.
    pub(super) fn inject(&mut self, port: usize, frame: &[u8]) {
        self.next += 1;
        let queue = self.next % self.queues;
        assert!(self.peers[port].queue(queue).unwrap().inject(frame), "the ring has room");
    }

    /// Sends a frame with what is known beside its octets.
    pub(super) fn inject_with(&mut self, port: usize, frame: &[u8], meta: &Meta) {
        assert!(self.peers[port].queue(0).unwrap().inject_with(frame, meta), "the ring has room");
    }

    fn collect(&mut self) {
        for port in [LAN, WAN] {
            for queue in 0..self.queues {
                while let Some(frame) = self.peers[port].queue(queue).unwrap().take() {
                    // A host that was introduced stays known, however long the test takes.
                    if self.introduced[port] && asks_for(&frame.bytes, HOST[port]) {
                        let answer = arp(2, HOST_MAC[port], HOST[port], self.router_mac(port).0, ROUTER[port]);
                        let _ = self.peers[port].queue(queue).unwrap().inject(&answer);
                    }
                    self.seen[port].push_back(frame.bytes);
                }
            }
        }
    }

    /// The next frame out of a port that is wanted.
    pub(super) fn expect(&mut self, port: usize, what: &str, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        self.look(port, PATIENCE, wanted).unwrap_or_else(|| panic!("no {what} came out of port {port}"))
    }

    /// Sees that no wanted frame comes out of a port for a while.
    pub(super) fn expect_none(&mut self, port: usize, what: &str, wanted: impl Fn(&[u8]) -> bool) {
        let frame = self.look(port, Duration::from_millis(150), wanted);
        assert!(frame.is_none(), "{what} came out of port {port}");
    }

    fn look(&mut self, port: usize, patience: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let deadline = Instant::now() + patience;
        loop {
            self.collect();
            if let Some(at) = self.seen[port].iter().position(|frame| wanted(frame)) {
                return self.seen[port].remove(at);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Introduces a host: it asks for the router, which answers and remembers it.
    pub(super) fn introduce(&mut self, port: usize) {
        let ask = arp(1, HOST_MAC[port], HOST[port], [0; 6], ROUTER[port]);
        self.inject(port, &ask);
        let mac = self.router_mac(port);
        let answer = self.expect(port, "ARP reply", |f| is_arp(f, 2));
        assert_eq!(answer, arp(2, mac.0, ROUTER[port], HOST_MAC[port], HOST[port]));
        self.introduced[port] = true;
    }

    pub(super) fn router_mac(&self, port: usize) -> MacAddr {
        MacAddr([0x02, 0xf6, 0, 0, 0, port as u8])
    }

    /// A UDP packet from the host behind `port` to the other host.
    pub(super) fn udp(&self, port: usize, (src, dst): (u16, u16), payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2(HOST_MAC[port], self.router_mac(port).0)
            .ipv4(HOST[port], HOST[1 - port], 64)
            .udp(src, dst);
        let mut frame = Vec::new();
        builder.write(&mut frame, payload).unwrap();
        frame
    }

    /// What comes out of the other port when `frame` came in by `port` and was forwarded.
    pub(super) fn forwarded(&self, port: usize, frame: &[u8]) -> Vec<u8> {
        let mut out = frame.to_vec();
        out[..6].copy_from_slice(&HOST_MAC[1 - port]);
        out[6..12].copy_from_slice(&self.router_mac(1 - port).0);
        out[22] -= 1;
        // RFC 1624 for a word that lost 256.
        let sum = u32::from(u16::from_be_bytes([out[24], out[25]])) + 0x100;
        let sum = (sum & 0xffff) + (sum >> 16);
        out[24..26].copy_from_slice(&(sum as u16).to_be_bytes());
        out
    }

    /// Sends a packet in by `port` and sees it come out on the other side.
    pub(super) fn passes(&mut self, port: usize, frame: &[u8]) {
        let out = self.forwarded(port, frame);
        self.inject(port, frame);
        self.expect(1 - port, "forwarded packet", |f| f == out);
    }

    /// Sends a packet in by `port` and sees that it does not come out.
    pub(super) fn blocked(&mut self, port: usize, frame: &[u8]) {
        let out = self.forwarded(port, frame);
        self.inject(port, frame);
        self.expect_none(1 - port, "blocked packet", |f| f == out);
    }

    /// Waits until what the workers published fulfils `done` and every packet's fate is in it, and gives it.
    /// Workers publish at different moments, so the sums need not be even before.
    pub(super) fn total(&self, what: &str, done: impl Fn(&Counters) -> bool) -> Counters {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let total = self.exporter.total();
            let even = [0, 1].iter().all(|port| total.balance(PortId(*port)).is_even());
            if even && done(&total) {
                return total;
            }
            let balances: Vec<Balance> = [0, 1].map(|port| total.balance(PortId(port))).into();
            assert!(Instant::now() < deadline, "not {what}: {balances:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a line stands in the metrics.
    pub(super) fn metric(&self, line: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = String::from_utf8(self.exporter.text().unwrap()).unwrap();
            if text.lines().any(|l| l == line) {
                return;
            }
            let name = line.split(['{', ' ']).next().unwrap();
            let found: Vec<_> = text.lines().filter(|l| l.starts_with(name)).collect();
            assert!(Instant::now() < deadline, "no line {line}, but {found:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until something was done.
    pub(super) fn done(&self, what: &str, flag: &AtomicBool) {
        let deadline = Instant::now() + PATIENCE;
        while !flag.load(Ordering::Acquire) {
            assert!(Instant::now() < deadline, "not {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Tells the router to stop and waits for its end.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        self.commands.send(Command::Stop).unwrap();
        self.end()
    }

    pub(super) fn end(&mut self) -> Result<(), Failure> {
        let end = self.plane.take().unwrap().join().unwrap();
        self.collect();
        end
    }

    pub(super) fn left(&self, port: usize) -> &VecDeque<Vec<u8>> {
        &self.seen[port]
    }

    /// Forgets what came out of a port until now.
    pub(super) fn collect_and_forget(&mut self, port: usize) {
        self.collect();
        self.seen[port].clear();
    }

    /// Has the router read `text` as its configuration.
    pub(super) fn reload(&self, text: &str) {
        *self.file.lock().unwrap() = text.to_owned();
        self.commands.send(Command::Reload).unwrap();
    }

    pub(super) fn set_link(&self, port: usize, link: LinkState) {
        self.peers[port].set_link(link);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.plane.is_some() {
            let _ = self.commands.send(Command::Stop);
        }
    }
}

pub(super) fn arp(op: u16, mac: [u8; 6], ip: [u8; 4], target_mac: [u8; 6], target: [u8; 4]) -> Vec<u8> {
    let mut frame = if op == 1 { vec![0xff; 6] } else { target_mac.to_vec() };
    frame.extend(mac);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4]);
    frame.extend(op.to_be_bytes());
    frame.extend(mac);
    frame.extend(ip);
    frame.extend(target_mac);
    frame.extend(target);
    frame
}

pub(super) fn is_arp(frame: &[u8], op: u8) -> bool {
    frame.len() >= 42 && frame[12..14] == [8, 6] && frame[21] == op
}

/// A request for `target` that is no announcement of it.
pub(super) fn asks_for(frame: &[u8], target: [u8; 4]) -> bool {
    is_arp(frame, 1) && frame[38..42] == target && frame[28..32] != target
}

pub(super) fn addresses(frame: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let ip = |at: usize| frame.get(at..at + 4).map(|o| Ipv4Addr::new(o[0], o[1], o[2], o[3]));
    Some((ip(26)?, ip(30)?))
}

/// Queues whose use panics.
pub(super) fn broken(port: &mut OpenPort) {
    struct Broken;
    impl crate::driver::QueuePair for Broken {
        fn receive(&mut self, _: &crate::frame::Pool, _: &mut crate::frame::Burst) -> crate::driver::RxStatus {
            panic!("the test broke this queue");
        }
        fn transmit(&mut self, _: &mut crate::frame::Burst) -> crate::driver::TxStatus {
            crate::driver::TxStatus::default()
        }
        fn stats(&self) -> crate::driver::QueueStats {
            crate::driver::QueueStats::default()
        }
        fn wait_fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
            None
        }
    }
    if port.id == PortId(1) {
        // The second worker's alone.
        if let Some(last) = port.queues.last_mut() {
            *last = QueueSeed::new(|| Box::new(Broken));
        }
    }
}
