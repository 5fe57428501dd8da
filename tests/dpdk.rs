//! DPDK ports with real peers: routers as processes of their own, joined by vhost-user and memif sockets, with this
//! process at both ends. No NIC and no huge pages are needed, and root for one test only; DPDK is.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]

mod common;
#[path = "dpdk/ends.rs"]
mod ends;
#[path = "dpdk/kernel.rs"]
mod kernel;
#[path = "common/namespaces.rs"]
mod namespaces;
#[path = "dpdk/process.rs"]
mod process;

use common::{udp, verified, with_ttl};
use ends::{Conversations, End, PATIENCE, QUEUES};
use flowgate::driver::DpdkDevice;
use flowgate::frame::Checksum;
use process::Process;
use std::path::Path;
use std::time::{Duration, Instant};

/// Two routers in a row, with two workers each:
///
/// ```text
/// this process ── vhost-user ── first ── vhost-user ── second ── memif ── this process
///    (frontend)      (backend)    (frontend, server)  (backend, client) (server)    (client)
/// ```
fn first(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"
version: 1
workers: {{ count: 2, hugepages: none }}
ports:
  lan: {{ driver: vhost_user, path: {folder}/lan.sock, mac: "02:00:00:00:0a:01", addresses: [10.1.0.1/24] }}
  mid: {{ driver: virtio_user, path: {folder}/mid.sock, server: true, queues: 2, mac: "02:00:00:00:0a:02", addresses: [10.2.0.1/24] }}
routes: [ {{ to: 10.3.0.0/24, via: 10.2.0.2 }} ]
neighbours:
  - {{ ip: 10.1.0.2, lladdr: "02:00:00:00:00:01", dev: lan }}
  - {{ ip: 10.2.0.2, lladdr: "02:00:00:00:0b:01", dev: mid }}
{RULES}"#
    )
}

fn second(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"
version: 1
workers: {{ count: 2, hugepages: none }}
ports:
  lan: {{ driver: vhost_user, path: {folder}/mid.sock, server: false, mac: "02:00:00:00:0b:01", addresses: [10.2.0.2/24] }}
  wan: {{ driver: dpdk, device: "net_memif0,role=server,socket={folder}/wan.sock,socket-abstract=no", mac: "02:00:00:00:0b:02", addresses: [10.3.0.1/24] }}
routes: [ {{ to: 10.1.0.0/24, via: 10.2.0.1 }} ]
neighbours:
  - {{ ip: 10.2.0.1, lladdr: "02:00:00:00:0a:02", dev: lan }}
  - {{ ip: 10.3.0.2, lladdr: "02:00:00:00:00:02", dev: wan }}
{RULES}"#
    )
}

const RULES: &str = r#"
chains:
  forward:
    policy: drop
    rules:
      - { id: known, ct_state: [established, related], verdict: accept }
      - { id: bad, ct_state: invalid, verdict: drop }
      - { id: out, iif: lan, ct_state: new, verdict: accept }
conntrack: { timeouts: { udp: 10m, udp_stream: 10m } }
metrics: { listen: "127.0.0.1:0", per_worker: true }
"#;

#[test]
fn two_routers_between_sockets_forward_and_survive_each_others_death() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (one, two) = (first(path), second(path));
    let mut a = Process::start(path, "first", &one);
    let mut b = Process::start(path, "second", &two);
    a.has_no_privileges();
    b.has_no_privileges();
    let socket = path.join("wan.sock");
    let memif = format!("net_memif1,role=client,socket={},socket-abstract=no", socket.display());
    let lan = DpdkDevice::VirtioUser { path: path.join("lan.sock"), server: false };
    let mut left = End::open(0, lan, [2, 0, 0, 0, 0, 1], QUEUES);
    let mut right = End::open(1, DpdkDevice::Eal(memif), [2, 0, 0, 0, 0, 2], QUEUES);

    let mut talk = Conversations::new(2);
    talk.hold(&mut left, &mut right);
    for router in [&a, &b] {
        talk.check(router, 1);
    }

    // The second dies and comes back: its frontend, a server, takes the new backend; memif too.
    b.kill();
    b = Process::start(path, "second", &two);
    talk.hold(&mut left, &mut right);
    talk.check(&a, 2);
    talk.check(&b, 1);

    // The first dies and comes back: the client end connects again, and its own frontend here is opened anew.
    a.kill();
    a = Process::start(path, "first", &one);
    talk.hold(&mut left, &mut right);
    talk.check(&a, 1);
    talk.check(&b, 2);

    a.stop();
    b.stop();
    let left_over: Vec<_> = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left_over.iter().any(|name| name.to_string_lossy().ends_with(".sock")), "{left_over:?}");
}

/// A router with two workers between two peers that may have fewer queues.
fn single(folder: &Path, wan: &str) -> String {
    let folder = folder.display();
    format!(
        r#"
version: 1
workers: {{ count: 2, hugepages: none }}
ports:
  lan: {{ driver: vhost_user, path: {folder}/lan.sock, mac: "02:00:00:00:0a:01", addresses: [10.1.0.1/24] }}
  wan: {{ {wan}, mac: "02:00:00:00:0b:02", addresses: [10.3.0.1/24] }}
neighbours:
  - {{ ip: 10.1.0.2, lladdr: "02:00:00:00:00:01", dev: lan }}
  - {{ ip: 10.3.0.2, lladdr: "02:00:00:00:00:02", dev: wan }}
{RULES}"#
    )
}

#[test]
fn a_peer_with_fewer_queues_than_workers_gets_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let wan = format!("driver: vhost_user, path: {}/wan.sock", path.display());
    let mut router = Process::start(path, "single", &single(path, &wan));
    let lan = || DpdkDevice::VirtioUser { path: path.join("lan.sock"), server: false };
    let wan = DpdkDevice::VirtioUser { path: path.join("wan.sock"), server: false };
    let mut left = End::open(2, lan(), [2, 0, 0, 0, 0, 1], 1);
    let mut right = End::open(3, wan, [2, 0, 0, 0, 0, 2], 1);
    let mut talk = Conversations::new(1);
    talk.hold(&mut left, &mut right);
    talk.check(&router, 1);

    // Another peer takes its place, and that one has a queue for each worker.
    drop(left);
    let mut left = End::open(2, lan(), [2, 0, 0, 0, 0, 1], QUEUES);
    talk.hold(&mut left, &mut right);
    talk.check(&router, 2);
    let log = router.log();
    for said in ["wan: its peer has 1 transmit queues for 2", "lan: its peer has 2 transmit queues for 2"] {
        assert!(log.contains(said), "{log}");
    }
    router.stop();
}

/// A router with a port whose ring gives back what was sent into it, and one that swallows everything.
fn looped(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"
version: 1
workers: {{ count: 1, hugepages: none }}
ports:
  lan: {{ driver: vhost_user, path: {folder}/lan.sock, mac: "02:00:00:00:0a:01", addresses: [10.1.0.1/24] }}
  ring: {{ driver: dpdk, device: net_ring0, mac: "02:00:00:00:0c:01", addresses: [10.2.0.1/24] }}
  sink: {{ driver: dpdk, device: "net_null0,no-rx=1", mac: "02:00:00:00:0d:01", addresses: [10.4.0.1/24] }}
routes: [ {{ to: 10.9.0.0/24, via: 10.2.0.2 }} ]
neighbours:
  - {{ ip: 10.1.0.2, lladdr: "02:00:00:00:00:01", dev: lan }}
  - {{ ip: 10.2.0.2, lladdr: "02:00:00:00:0c:01", dev: ring }}
  - {{ ip: 10.4.0.2, lladdr: "02:00:00:00:00:04", dev: sink }}
chains: {{ forward: {{ policy: accept }} }}
metrics: {{ listen: "127.0.0.1:0" }}
"#
    )
}

/// A frame for that router.
fn for_looped(to: &str, number: u16, ttl: u8) -> Vec<u8> {
    let payload: Vec<u8> = (0..40 + number % 300).map(|at| (at as u8).wrapping_mul(37) ^ number as u8).collect();
    let mut frame = with_ttl(udp("10.1.0.2", to, (1024 + number, 7), &payload), ttl);
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0x0a, 1]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame
}

#[test]
fn a_ring_gives_back_what_went_in_and_null_swallows_it() {
    const LOOPS: u8 = 9;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let mut router = Process::start(path, "looped", &looped(path));
    let lan = DpdkDevice::VirtioUser { path: path.join("lan.sock"), server: false };
    let mut left = End::open(4, lan, [2, 0, 0, 0, 0, 1], 1);

    // A packet goes round by the ring until its time is up; the error about it quotes what it was by then.
    let mut say_and_hear = |number: u16, patience: Duration| {
        let sent = for_looped("10.9.0.9", number, LOOPS + 1);
        let (deadline, mut heard) = (Instant::now() + patience, false);
        left.send(0, &sent, Checksum::Unknown);
        while !heard && Instant::now() < deadline {
            left.receive(&mut |frame| {
                let (protocol, message) = verified(frame.data());
                assert_eq!((protocol, message[0], message[1]), (1, 11, 0), "not time exceeded: {message:02x?}");
                let last = with_ttl(sent.clone(), 1);
                heard |= message[8..] == last[14..];
            });
        }
        heard
    };
    // The link comes up in its own time.
    let deadline = Instant::now() + PATIENCE;
    while !say_and_hear(0, Duration::from_millis(100)) {
        assert!(Instant::now() < deadline, "nothing came back");
    }
    for number in 1..=20 {
        assert!(say_and_hear(number, PATIENCE), "packet {number} was lost: {}", router.log());
    }
    // What went in came out again and has a fate, the router's own announcements too, once none is under way.
    let balance = || {
        let samples = router.metrics();
        let ring = |name: &str, label: &str| -> f64 {
            let of = |key: &str| key.starts_with(name) && key.contains("port=\"ring\"") && key.contains(label);
            samples.iter().filter(|(key, _)| of(key)).map(|(_, value)| value).sum()
        };
        let (forwarded, expired) =
            (ring("flowgate_port_forwarded_packets_total", ""), ring("flowgate_drops_total", "reason=\"ttl_expired\""));
        let others = ring("flowgate_port_punted_packets_total", "") + ring("flowgate_drops_total", "") - expired;
        let packets = |direction| ring("flowgate_port_packets_total", direction);
        (packets("rx"), packets("tx"), forwarded, expired, others)
    };
    // Each went round so often that the last time it came out of the ring it went no further.
    let balanced = || {
        let (came, went, forwarded, expired, others) = balance();
        let added_up = came == went && came == forwarded + expired + others;
        added_up && expired >= 20.0 && forwarded == expired * f64::from(LOOPS - 1)
    };
    let deadline = Instant::now() + PATIENCE;
    while !balanced() {
        assert!(Instant::now() < deadline, "received, sent, forwarded, expired, others: {:?}", balance());
        std::thread::sleep(Duration::from_millis(100));
    }

    let sunk = |router: &Process| router.sum("flowgate_port_packets_total", &["port=\"sink\"", "direction=\"tx\""]);
    let before = sunk(&router);
    for number in 0..500 {
        left.send(0, &for_looped("10.4.0.2", number, 64), Checksum::Unknown);
    }
    let deadline = Instant::now() + PATIENCE;
    while sunk(&router) - before < 500.0 {
        assert!(Instant::now() < deadline, "{} came to the sink", sunk(&router) - before);
    }
    assert_eq!(router.sum("flowgate_port_errors_total", &["port=\"sink\""]), 0.0);
    router.stop();
}

#[test]
fn what_null_makes_passes_a_ring_unchanged() {
    const FRAMES: usize = 5000;
    let mut source = End::open(5, DpdkDevice::Eal("net_null5,size=100".into()), [2, 0, 0, 0, 0, 5], 1);
    let mut ring = End::open(6, DpdkDevice::Eal("net_ring6".into()), [2, 0, 0, 0, 0, 6], 1);
    let mut sink = End::open(7, DpdkDevice::Eal("net_null7,copy=1".into()), [2, 0, 0, 0, 0, 7], 1);
    let stamp = |octets: &mut [u8], number: u64| {
        octets[14..22].copy_from_slice(&number.to_be_bytes());
        octets.iter_mut().skip(22).zip(0_u64..).for_each(|(octet, at)| *octet = (number.wrapping_mul(at)) as u8);
    };
    let (mut sent, mut came) = (0, 0);
    for _ in 0..FRAMES / 100 {
        // Null's memory is not cleared: what is in it says nothing, how much it is does.
        ring.forward(&mut source, 100, &mut |octets| {
            assert_eq!(octets.len(), 100);
            stamp(octets, sent);
            sent += 1;
        });
        sink.forward(&mut ring, 100, &mut |octets| {
            let mut wanted = octets.to_vec();
            stamp(&mut wanted, came);
            assert!(octets == wanted, "frame {came}: {octets:02x?}");
            came += 1;
        });
    }
    let (source, ring, sink) = (source.stats(), ring.stats(), sink.stats());
    let all = (FRAMES as u64, 100 * FRAMES as u64);
    assert_eq!((source.rx_packets, source.rx_bytes), all);
    assert_eq!((ring.tx_packets, ring.tx_bytes), all);
    assert_eq!((ring.rx_packets, ring.rx_bytes), all);
    assert_eq!((sink.tx_packets, sink.tx_bytes), all);
    for stats in [source, ring, sink] {
        assert!(stats.errors().iter().all(|(_, _, count)| *count == 0), "{stats:?}");
    }
}

#[test]
fn a_memif_peer_with_fewer_queues_gets_everything_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let socket = format!("socket={}/wan.sock,socket-abstract=no", path.display());
    let wan = format!("driver: dpdk, device: \"net_memif0,role=server,{socket}\"");
    let mut router = Process::start(path, "single", &single(path, &wan));
    let lan = DpdkDevice::VirtioUser { path: path.join("lan.sock"), server: false };
    let mut left = End::open(8, lan, [2, 0, 0, 0, 0, 1], 1);
    let mut right = End::open(9, DpdkDevice::Eal(format!("net_memif9,role=client,{socket}")), [2, 0, 0, 0, 0, 2], 1);
    let mut talk = Conversations::new(1);
    talk.hold(&mut left, &mut right);
    talk.check(&router, 1);
    router.stop();
}
