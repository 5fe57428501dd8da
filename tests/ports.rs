//! Ports to kernel interfaces between real network stacks: veth pairs, network namespaces, the kernel's own TCP.
//! Packet sockets here, the other doors in `tests/ports/`.
//!
//! Needs root and what the kernel may lack; skips itself with a message otherwise. Every namespace it makes is named `fgdrv…` and removed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]

use flowgate::driver::{
    BpfInstr, DriverKind, LinkState, OpenError, OpenPort, PoolSeed, PortControl, PortSpec, QueuePair, QueueSeed,
    QueueStats, TxStatus, TxStop, open, privileges,
};
use flowgate::frame::{Burst, Checksum, Gso, GsoKind, MAX_FRAME, Meta, Pool, PoolConfig};
use flowgate::net::PortId;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[path = "ports/af_xdp.rs"]
mod af_xdp;
#[path = "common/namespaces.rs"]
mod namespaces;
#[path = "ports/tap.rs"]
mod tap;

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs `work` on a thread of its own inside a network namespace.
fn inside<T: Send + 'static>(netns: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let file = std::fs::File::open(format!("/var/run/netns/{netns}")).unwrap();
    let thread = std::thread::spawn(move || {
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(kind)).unwrap();
        work()
    });
    thread.join().unwrap()
}

/// Two hosts, `left` and `right`, each with a cable to the router: interfaces `l0` and `r0` there, `p0`
/// and `p1` at the router. Addresses 10.77.0.1/2 and fd77::1/2, as if the router were a wire.
struct Lab {
    left: String,
    router: String,
    right: String,
}

impl Lab {
    fn new(tag: &str) -> Option<Lab> {
        if !namespaces::can_be_made(tag) {
            return None;
        }
        let name = |side: &str| format!("fgdrv{}{tag}{side}", std::process::id());
        let lab = Lab { left: name("l"), router: name("p"), right: name("r") };
        for netns in lab.all() {
            ip(&format!("netns add {netns}"));
            inside(netns, || {
                // Quiet hosts: no address of the link, which they would ask others about for seconds, and of groups they
                // tell at once.
                for (key, value) in
                    [("disable_ipv6", "1"), ("addr_gen_mode", "1"), ("mldv2_unsolicited_report_interval", "1")]
                {
                    std::fs::write(format!("/proc/sys/net/ipv6/conf/default/{key}"), value).unwrap();
                }
            });
        }
        lab.cable("p0", "l0", &lab.left);
        lab.cable("p1", "r0", &lab.right);
        lab.address("l0", &lab.left, 1);
        lab.address("r0", &lab.right, 2);
        Some(lab)
    }

    fn all(&self) -> [&String; 3] {
        [&self.left, &self.router, &self.right]
    }

    fn cable(&self, port: &str, end: &str, host: &str) {
        ip(&format!("-n {} link add {port} type veth peer name {end} netns {host}", self.router));
        ip(&format!("-n {} link set {port} up", self.router));
        ip(&format!("-n {host} link set {end} up"));
        // The carrier follows a moment later.
        let show = ["-n", &self.router, "link", "show", "dev", port];
        eventually("carrier", || {
            let output = Command::new("ip").args(show).output().unwrap();
            String::from_utf8_lossy(&output.stdout).contains("state UP")
        });
    }

    fn address(&self, end: &str, host: &str, last: u8) {
        let path = format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6");
        inside(host, move || std::fs::write(path, "0").unwrap());
        ip(&format!("-n {host} addr add 10.77.0.{last}/24 dev {end}"));
        ip(&format!("-n {host} addr add fd77::{last}/64 dev {end} nodad"));
    }

    fn open(&self, spec: PortSpec) -> Result<OpenPort, OpenError> {
        inside(&self.router, move || open(&spec))
    }

    /// Opens what was open a moment ago.
    fn open_again(&self, spec: &PortSpec) -> OpenPort {
        eventually_good("what was closed is free", || self.open(spec.clone()))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for netns in self.all() {
            let _ = Command::new("ip").args(["netns", "del", netns]).status();
        }
    }
}

fn spec(id: u8, device: &str, queues: usize) -> PortSpec {
    let mut spec = PortSpec::new(&format!("port{id}"), PortId(id), DriverKind::AfPacket);
    spec.device = Some(device.to_owned());
    spec.queues = queues;
    spec
}

fn start(port: OpenPort) -> (Vec<Box<dyn QueuePair>>, Box<dyn PortControl>) {
    (port.queues.into_iter().map(QueueSeed::start).collect(), port.control)
}

/// What the forwarding threads saw.
#[derive(Default)]
struct Seen {
    stop: AtomicBool,
    partial: AtomicU64,
    long: AtomicU64,
    /// Link changes told by queues, as counts of down, gone and up.
    links: [AtomicU64; 3],
}

/// A two-port wire: whatever comes in at one port goes out of the other, one thread per queue.
struct Wire {
    seen: Arc<Seen>,
    threads: Vec<std::thread::JoinHandle<[QueueStats; 2]>>,
    controls: Vec<Box<dyn PortControl>>,
}

impl Wire {
    fn new(lab: &Lab, queues: usize) -> Wire {
        let ports = [spec(0, "p0", queues), spec(1, "p1", queues)].map(|spec| lab.open(spec).unwrap());
        for port in &ports {
            assert_eq!(port.info.link, LinkState::Up);
            assert_eq!(port.info.mtu, 1500);
            assert_eq!(port.warnings, Vec::<String>::new());
        }
        Wire::between(ports)
    }

    fn between(ports: [OpenPort; 2]) -> Wire {
        let config = PoolConfig { buffers: 256, frame_size: MAX_FRAME };
        let pools = ports[0].queues.iter().map(|_| PoolSeed::new(config, move || Pool::new(config))).collect();
        Wire::with_pools(ports, pools)
    }

    fn with_pools([left, right]: [OpenPort; 2], pools: Vec<PoolSeed>) -> Wire {
        let seen = Arc::new(Seen::default());
        let pairs = left.queues.into_iter().zip(right.queues);
        let threads = pairs.zip(pools).map(|((a, b), pool)| {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || forward([a, b], pool, &seen))
        });
        Wire { threads: threads.collect(), seen, controls: vec![left.control, right.control] }
    }

    /// Stops the threads and gives what each queue of each port counted.
    fn finish_each(self) -> Vec<[QueueStats; 2]> {
        self.seen.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    }

    /// Stops the threads and adds up what each port counted.
    fn finish(self) -> (Arc<Seen>, [QueueStats; 2]) {
        let seen = Arc::clone(&self.seen);
        let mut sums = [QueueStats::default(); 2];
        for each in self.finish_each() {
            for (sum, stats) in sums.iter_mut().zip(each) {
                sum.add(&stats);
            }
        }
        (seen, sums)
    }
}

fn forward(queues: [QueueSeed; 2], pool: PoolSeed, seen: &Seen) -> [QueueStats; 2] {
    let pool = pool.start().unwrap();
    let mut queues = queues.map(QueueSeed::start);
    let mut bursts = [Burst::with_limit(32), Burst::with_limit(32)];
    // What it holds when it is told to stop, it still sends.
    while !seen.stop.load(Ordering::Relaxed) || bursts.iter().any(|burst| !burst.is_empty()) {
        let mut busy = false;
        for (from, burst) in bursts.iter_mut().enumerate() {
            let held = burst.len();
            let status = queues[from].receive(&pool, burst);
            busy |= status.received > 0;
            match status.link {
                Some(LinkState::Down) => seen.links[0].fetch_add(1, Ordering::Relaxed),
                Some(LinkState::Gone) => seen.links[1].fetch_add(1, Ordering::Relaxed),
                Some(LinkState::Up) => seen.links[2].fetch_add(1, Ordering::Relaxed),
                None => 0,
            };
            for frame in &burst.as_slice()[held..] {
                assert_eq!(frame.meta.ingress, PortId(from as u8));
                let count = |which: &AtomicU64, yes: bool| which.fetch_add(u64::from(yes), Ordering::Relaxed);
                count(&seen.partial, matches!(frame.meta.checksum, Checksum::Partial { .. }));
                count(&seen.long, frame.len() > 1514 && frame.meta.gso.is_some());
                assert!(frame.len() <= 1518 || frame.meta.gso.is_some(), "{frame:?}");
            }
            loop {
                let TxStatus { stop, .. } = queues[1 - from].transmit(burst);
                match stop {
                    Some(stop) if stop.blames_first() => panic!("{stop:?}: {:?}", burst.as_slice()[0]),
                    Some(TxStop::Down | TxStop::Gone) => burst.consume(usize::MAX),
                    _ => break,
                }
            }
        }
        if !busy {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    queues.map(|queue| queue.stats())
}

fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut x = seed | 1;
    std::iter::repeat_with(|| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x as u8
    })
    .take(len)
    .collect()
}

/// Sends `len` octets over TCP from the left host to `to` on the right one and compares them.
fn transfer(lab: &Lab, to: &str, len: usize) {
    let address: SocketAddr = to.parse().unwrap();
    let listener = inside(&lab.right, move || TcpListener::bind(address).unwrap());
    // So little is under way that no ring overflows, however long whoever serves it has to wait for a processor.
    rustix::net::sockopt::set_socket_recv_buffer_size(&listener, 256 << 10).unwrap();
    let target = listener.local_addr().unwrap();
    let sent = pattern(len, 77);
    let expected = sent.clone();
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut got = Vec::with_capacity(expected.len());
        stream.read_to_end(&mut got).unwrap();
        assert!(got == expected, "{} octets of {} arrived, or others", got.len(), expected.len());
    });
    inside(&lab.left, move || {
        let mut stream = TcpStream::connect_timeout(&target, PATIENCE).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&sent).unwrap();
    });
    receiver.join().unwrap();
}

/// It notes carriers once a second for all interfaces of the machine together, after whatever else holds the lock of its network
/// configuration, such as the end of a namespace; so this is long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for what the kernel does in its own time. Frames are among that: even what crosses a veth arrives later where others keep
/// its softirqs busy.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    eventually_good(what, || condition().then_some(()).ok_or("not yet"));
}

/// The same for what must succeed. What was just closed may be held for a moment more: by the kernel, and by a program that another
/// test starts, which has copies of all descriptors until it runs.
fn eventually_good<T, E: std::fmt::Debug>(what: &str, mut attempt: impl FnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match attempt() {
            Ok(good) => return good,
            Err(why) => assert!(Instant::now() < deadline, "{what} did not happen: {why:?}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn tcp_with_untouched_offloads_crosses_as_super_frames() {
    let Some(lab) = Lab::new("tcp") else { return };
    let wire = Wire::new(&lab, 2);
    transfer(&lab, "10.77.0.2:0", 24 << 20);
    transfer(&lab, "[fd77::2]:0", 24 << 20);
    let (seen, [left, right]) = wire.finish();
    assert!(seen.long.load(Ordering::Relaxed) > 100, "super-frames");
    assert!(seen.partial.load(Ordering::Relaxed) > 100, "partial checksums");
    assert!(left.rx_super > 0 && right.tx_super > 0);
    assert!(left.rx_bytes > 48 << 20 && left.rx_bytes / left.rx_packets > 1500, "{left:?}");
    assert_eq!(left.rx_packets, right.tx_packets);
    assert_eq!(right.rx_packets, left.tx_packets);
    for stats in [left, right] {
        assert_eq!((stats.rx_truncated, stats.rx_refused, stats.tx_oversize, stats.tx_refused), (0, 0, 0, 0));
    }
}

/// A frame with these tags, an IP header, a transport header, and octets that show any shift.
fn tagged(tags: &[[u8; 4]], kind: Option<GsoKind>, payload: usize) -> (Vec<u8>, Meta) {
    let mut bytes = vec![0xff; 6];
    bytes.extend([2, 0, 0, 0, 0, 1]);
    bytes.extend(tags.iter().flatten());
    let network = bytes.len() + 2;
    let builder = etherparse::PacketBuilder::ethernet2([0; 6], [0; 6]);
    let mut packet = Vec::new();
    let data = pattern(payload, 5);
    match kind {
        Some(GsoKind::Tcp6) => {
            let builder = builder.ipv6([0xfd; 16], [0xfc; 16], 9).tcp(1, 2, 3, 4);
            builder.write(&mut packet, &data).unwrap();
        }
        Some(GsoKind::UdpL4) => {
            builder.ipv4([10, 9, 0, 1], [10, 9, 0, 2], 9).udp(1, 2).write(&mut packet, &data).unwrap();
        }
        Some(GsoKind::Tcp4) | None => {
            builder.ipv4([10, 9, 0, 1], [10, 9, 0, 2], 9).tcp(1, 2, 3, 4).write(&mut packet, &data).unwrap();
        }
    }
    bytes.extend(&packet[12..]);
    let Some(kind) = kind else { return (bytes, Meta::default()) };
    let (ip, transport, offset) = match kind {
        GsoKind::Tcp4 => (20, 20, 16),
        GsoKind::Tcp6 => (40, 20, 16),
        GsoKind::UdpL4 => (20, 8, 6),
    };
    let start = (network + ip) as u16;
    let gso = Gso { kind, ecn: false, size: 1400, header_len: start + transport };
    (bytes, Meta { checksum: Checksum::Partial { start, offset }, gso: Some(gso), ..Meta::default() })
}

#[test]
fn tags_and_offloads_arrive_as_they_were_sent() {
    let Some(lab) = Lab::new("tag") else { return };
    let (mut receivers, _receiver_control) = start(lab.open(spec(0, "p0", 1)).unwrap());
    let far = spec(1, "l0", 1);
    let (mut senders, _sender_control) = start(inside(&lab.left, move || open(&far)).unwrap());
    let pool = Pool::new(PoolConfig { buffers: 64, frame_size: MAX_FRAME }).unwrap();
    let (customer, service) = ([0x81, 0x00, 0x60, 0x64], [0x88, 0xa8, 0x0f, 0xfe]);
    let cases = [
        tagged(&[customer], None, 100),
        tagged(&[service], None, 1400),
        tagged(&[service, customer], None, 1400),
        tagged(&[], Some(GsoKind::Tcp4), 60_000),
        tagged(&[], Some(GsoKind::Tcp6), 60_000),
        tagged(&[], Some(GsoKind::UdpL4), 30_000),
        tagged(&[customer], Some(GsoKind::Tcp4), 60_000),
        tagged(&[customer], Some(GsoKind::Tcp6), 60_000),
        tagged(&[customer], Some(GsoKind::UdpL4), 30_000),
    ];
    for (number, (bytes, meta)) in cases.into_iter().enumerate() {
        let mut burst = Burst::with_limit(64);
        let mut frame = pool.alloc_from(&bytes).unwrap();
        frame.meta = meta;
        burst.push(frame).unwrap();
        assert_eq!(senders[0].transmit(&mut burst), TxStatus { sent: 1, stop: None }, "case {number}");
        eventually("the frame", || {
            receivers[0].receive(&pool, &mut burst);
            let sender = |frame: &flowgate::frame::Frame| frame.data()[6..12] == [2, 0, 0, 0, 0, 1];
            burst.as_slice().iter().any(sender)
        });
        let came = burst.as_slice().iter().find(|frame| frame.data()[6..12] == bytes[6..12]).unwrap();
        assert_eq!(came.meta, Meta { ingress: PortId(0), ..meta }, "case {number}");
        assert!(came.data() == bytes, "case {number}: {:02x?}", &came.data()[..60]);
    }
}

#[test]
fn a_flapping_link_is_told_once_and_survived() {
    let Some(lab) = Lab::new("flap") else { return };
    let wire = Wire::new(&lab, 2);
    transfer(&lab, "10.77.0.2:0", 1 << 20);
    // The first time both queues tell; later those that had traffic in between, which the flow's hash picks.
    for least in [2, 3] {
        ip(&format!("-n {} link set p0 down", lab.router));
        eventually("down", || wire.seen.links[0].load(Ordering::Relaxed) >= least);
        assert_eq!(wire.controls[0].link(), LinkState::Down);
        ip(&format!("-n {} link set p0 up", lab.router));
        eventually("up", || wire.controls[0].link() == LinkState::Up);
        transfer(&lab, "10.77.0.2:0", 1 << 20);
    }
    let (seen, _) = wire.finish();
    let [down, gone, up] = seen.links.each_ref().map(|count| count.load(Ordering::Relaxed));
    assert!((3..=4).contains(&down) && gone == 0, "{down} down, {gone} gone");
    assert!((down - 2..=down).contains(&up), "{up} up after {down} down");
}

#[test]
fn a_deleted_device_is_reopened_when_it_exists_again() {
    let Some(lab) = Lab::new("gone") else { return };
    let mut wire = Wire::new(&lab, 2);
    ip(&format!("-n {} link del p0", lab.router));
    eventually("gone", || wire.seen.links[1].load(Ordering::Relaxed) == 2);
    let mut control = wire.controls.remove(0);
    assert_eq!(control.link(), LinkState::Gone);
    let reopen = |mut control: Box<dyn PortControl>| {
        inside(&lab.router, move || {
            let result = control.reopen();
            (control, result)
        })
    };
    let (again, result) = reopen(control);
    assert!(matches!(result, Err(OpenError::NoDevice { .. })), "{result:?}");
    control = again;
    lab.cable("p0", "l0", &lab.left);
    lab.address("l0", &lab.left, 1);
    let (control, result) = reopen(control);
    assert_eq!(result.unwrap().link, LinkState::Up);
    assert_eq!(control.link(), LinkState::Up);
    transfer(&lab, "10.77.0.2:0", 4 << 20);
    eventually("both queues took over", || wire.seen.links[2].load(Ordering::Relaxed) == 2);
    wire.finish();
}

#[test]
fn a_fanout_program_names_the_queue() {
    let Some(lab) = Lab::new("fan") else { return };
    // Load the IP protocol, counted from the network header; UDP goes to queue 1, the rest to queue 0.
    let program = [(0x30, 0, 0, 9), (0x15, 0, 1, 17), (0x06, 0, 0, 1), (0x06, 0, 0, 0)];
    let mut wanted = spec(0, "p0", 2);
    wanted.fanout = Some(program.iter().map(|&(code, jt, jf, k)| BpfInstr { code, jt, jf, k }).collect());
    let port = lab.open(wanted).unwrap();
    assert!(port.caps.steered);
    let (mut queues, _control) = start(port);
    // A static neighbour, since nobody answers here.
    ip(&format!("-n {} neigh add 10.77.0.9 lladdr 02:00:00:00:00:09 dev l0", lab.left));
    inside(&lab.left, || {
        let socket = UdpSocket::bind("10.77.0.1:0").unwrap();
        for _ in 0..20 {
            socket.send_to(b"to queue one", "10.77.0.9:9").unwrap();
        }
        let target = "10.77.0.9:9".parse().unwrap();
        let _ = TcpStream::connect_timeout(&target, Duration::from_millis(20));
    });
    let pool = Pool::new(PoolConfig { buffers: 128, frame_size: 2048 }).unwrap();
    let mut protocols = [Vec::new(), Vec::new()];
    eventually("both queues have theirs", || {
        for (queue, protocols) in queues.iter_mut().zip(&mut protocols) {
            let mut burst = Burst::with_limit(64);
            queue.receive(&pool, &mut burst);
            let ipv4 = burst.as_slice().iter().filter(|frame| frame.data()[12..14] == [8, 0]);
            protocols.extend(ipv4.map(|frame| frame.data()[23]));
        }
        protocols[0].contains(&6) && protocols[1].len() >= 20
    });
    assert_eq!(protocols[1], [17; 20]);
    assert!(!protocols[0].contains(&17), "{protocols:?}");
}

#[test]
fn own_frames_do_not_come_back_and_oversized_ones_are_left() {
    let Some(lab) = Lab::new("own") else { return };
    let (mut queues, _control) = start(lab.open(spec(0, "p0", 1)).unwrap());
    let queue = &mut queues[0];
    let pool = Pool::new(PoolConfig { buffers: 8, frame_size: 2048 }).unwrap();
    let mut burst = Burst::with_limit(8);
    // An experimental type that no stack answers (IEEE 802, 0x88b5).
    let mut bytes = vec![0xff; 12];
    bytes.extend([0x88, 0xb5]);
    bytes.resize(60, 0);
    for len in [60, 1515, 60] {
        let mut frame = bytes.clone();
        frame.resize(len, 0);
        burst.push(pool.alloc_from(&frame).unwrap()).unwrap();
    }
    assert_eq!(queue.transmit(&mut burst), TxStatus { sent: 1, stop: Some(TxStop::Oversize) });
    burst.consume(1);
    assert_eq!(queue.transmit(&mut burst), TxStatus { sent: 1, stop: None });
    std::thread::sleep(Duration::from_millis(50));
    queue.receive(&pool, &mut burst);
    assert!(burst.as_slice().iter().all(|frame| frame.data()[12..14] != [0x88, 0xb5]), "{burst:?}");
    let stats = queue.stats();
    assert_eq!((stats.tx_packets, stats.tx_bytes, stats.tx_oversize), (2, 120, 1));
}

#[test]
fn what_the_kernel_drops_is_counted_as_missed() {
    let Some(lab) = Lab::new("miss") else { return };
    let mut small = spec(0, "p0", 1);
    small.ring = 1;
    let (mut receivers, _receiver_control) = start(lab.open(small).unwrap());
    let far = spec(1, "l0", 1);
    let (mut senders, _sender_control) = start(inside(&lab.left, move || open(&far)).unwrap());
    let pool = Pool::new(PoolConfig { buffers: 128, frame_size: 2048 }).unwrap();
    let mut burst = Burst::with_limit(64);
    let mut bytes = vec![0xff; 12];
    bytes.extend([0x88, 0xb5]);
    bytes.resize(60, 0);
    const COUNT: u64 = 30_000;
    while senders[0].stats().tx_packets < COUNT {
        while senders[0].stats().tx_packets + (burst.len() as u64) < COUNT && burst.room() > 0 {
            burst.push(pool.alloc_from(&bytes).unwrap()).unwrap();
        }
        senders[0].transmit(&mut burst);
    }
    let known = |stats: &QueueStats| stats.rx_packets + stats.rx_missed;
    eventually("all are counted", || {
        receivers[0].receive(&pool, &mut burst);
        burst.consume(usize::MAX);
        known(&receivers[0].stats()) >= COUNT
    });
    let stats = receivers[0].stats();
    assert!(stats.rx_missed > 0, "{stats:?}");
    // The kernel's IPv6 says something too.
    assert!(known(&stats) < COUNT + 50, "{stats:?}");
}

#[test]
fn a_port_that_cannot_be_opened_says_why() {
    let Some(lab) = Lab::new("err") else { return };
    let text = |spec: PortSpec| lab.open(spec).unwrap_err().to_string();
    assert_eq!(text(spec(0, "pO", 1)), "port port0: there is no interface `pO`; did you mean `p0`?");
    assert_eq!(
        text(spec(0, "a-name-that-is-too-long", 1)),
        "port port0: there is no interface `a-name-that-is-too-long`"
    );
    assert_eq!(text(spec(0, "lo", 1)), "port port0: interface `lo` is not an Ethernet interface");
    assert_eq!(text(spec(0, "p0", 65)), "port port0: 65 queues asked for, it can have 1 to 64");
    let mut nameless = spec(0, "p0", 1);
    nameless.device = None;
    assert_eq!(text(nameless), "port port0: `device` is missing");
    let refused = inside(&lab.router, || {
        privileges::drop_privileges(false).unwrap();
        open(&spec(0, "p0", 1)).unwrap_err().to_string()
    });
    assert_eq!(refused, "port port0: no permission to open packet sockets; run as root or grant CAP_NET_RAW");
    let kept = inside(&lab.router, || {
        privileges::drop_privileges(true).unwrap();
        open(&spec(0, "p0", 2)).map(|port| port.queues.len())
    });
    assert_eq!(kept.unwrap(), 2);
}

#[test]
fn an_interface_has_one_flowgate() {
    let Some(lab) = Lab::new("one") else { return };
    let first = lab.open(spec(0, "p0", 1)).unwrap();
    let refused = lab.open(spec(1, "p0", 1)).unwrap_err().to_string();
    assert_eq!(refused, "port port1: another flowgate has interface `p0`; each packet would be forwarded twice");
    let mut control = first.control;
    let (again, moved) = inside(&lab.router, move || (control.reopen(), control));
    assert_eq!(again.unwrap().link, LinkState::Up, "it does not stand in its own way");
    assert!(lab.open(spec(1, "p0", 1)).is_err(), "and still has the interface");
    drop(moved);
    lab.open_again(&spec(1, "p0", 1));
}

#[test]
fn an_open_port_warns_of_what_an_operator_should_know() {
    let Some(lab) = Lab::new("warn") else { return };
    ip(&format!("-n {} addr add 192.0.2.1/24 dev p0", lab.router));
    ip(&format!("-n {} link set p0 down", lab.router));
    let mut wanted = spec(0, "p0", 1);
    wanted.mtu = Some(9000);
    wanted.mac = Some("02:00:00:00:00:42".parse().unwrap());
    let port = lab.open(wanted).unwrap();
    assert_eq!((port.info.link, port.info.mtu), (LinkState::Down, 9000));
    assert_eq!(port.info.mac.to_string(), "02:00:00:00:00:42");
    assert_eq!(port.warnings.len(), 3, "{:?}", port.warnings);
}
