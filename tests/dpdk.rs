//! DPDK ports with real peers: routers as processes of their own, joined by vhost-user and memif sockets, with this
//! process at both ends. No root, no NIC and no huge pages are needed; DPDK is.
#![cfg(feature = "dpdk")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed step fails the test")]

mod common;
#[path = "dpdk/ends.rs"]
mod ends;
#[path = "dpdk/process.rs"]
mod process;

use ends::{Conversations, End, QUEUES};
use flowgate::driver::DpdkDevice;
use process::Process;
use std::path::Path;

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
  mid: {{ driver: virtio_user, path: {folder}/mid.sock, server: true, mac: "02:00:00:00:0a:02", addresses: [10.2.0.1/24] }}
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
fn single(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"
version: 1
workers: {{ count: 2, hugepages: none }}
ports:
  lan: {{ driver: vhost_user, path: {folder}/lan.sock, mac: "02:00:00:00:0a:01", addresses: [10.1.0.1/24] }}
  wan: {{ driver: vhost_user, path: {folder}/wan.sock, mac: "02:00:00:00:0b:02", addresses: [10.3.0.1/24] }}
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
    let mut router = Process::start(path, "single", &single(path));
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
    for said in ["wan: its peer receives by 1 of 2 queues", "lan: its peer receives by 2 of 2 queues"] {
        assert!(log.contains(said), "{log}");
    }
    router.stop();
}
