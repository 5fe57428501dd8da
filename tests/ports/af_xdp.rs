//! AF_XDP ports on veth ends, native and generic.

use super::{Lab, Wire, eventually, eventually_good, inside, ip, spec, start, transfer};
use flowgate::driver::privileges::{Keep, drop_to};
use flowgate::driver::{
    DriverKind, LinkState, OpenPort, PortControl, PortSpec, QueueStats, TxStatus, Umem, XdpMode, open,
};
use flowgate::frame::{Burst, Pool, PoolConfig};
use flowgate::net::PortId;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

fn xdp(id: u8, device: &str, queues: usize, mode: XdpMode) -> PortSpec {
    let mut spec = PortSpec::new(&format!("port{id}"), PortId(id), DriverKind::AfXdp);
    spec.device = Some(device.to_owned());
    spec.queues = queues;
    spec.xdp_mode = mode;
    spec
}

/// Runs ethtool(8) in a network namespace.
fn ethtool(netns: &str, arguments: &str) -> String {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns, "ethtool"]).args(arguments.split_whitespace());
    let output = command.output().unwrap();
    assert!(output.status.success(), "ethtool {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A lab on a kernel that has AF_XDP.
fn bare_lab(tag: &str) -> Option<Lab> {
    if !std::fs::read_to_string("/proc/net/protocols").unwrap().contains("\nXDP ") {
        println!("skipped: {tag} needs AF_XDP (CONFIG_XDP_SOCKETS)");
        return None;
    }
    Lab::new(tag)
}

/// One whose hosts finish their checksums.
fn lab(tag: &str) -> Option<Lab> {
    let lab = bare_lab(tag)?;
    for (host, end) in [(&lab.left, "l0"), (&lab.right, "r0")] {
        ethtool(host, &format!("-K {end} tx off"));
    }
    Some(lab)
}

fn opened(lab: &Lab, spec: PortSpec) -> OpenPort {
    let port = lab.open(spec).unwrap();
    assert_eq!((port.info.link, port.info.mtu, port.warnings.len()), (LinkState::Up, 1500, 0));
    port
}

/// Two ports whose frames lie in memory they share.
fn in_place(lab: &Lab, queues: usize, mode: XdpMode) -> Wire {
    let umem = Umem::new(Umem::sizes(1500, 8192).unwrap(), queues).unwrap();
    let port = |id, device| {
        let mut spec = xdp(id, device, queues, mode);
        spec.umem = Some(umem.clone());
        opened(lab, spec)
    };
    let ports = [port(0, "p0"), port(1, "p1")];
    Wire::with_pools(ports, umem.pools())
}

fn none_lost([left, right]: [QueueStats; 2]) {
    for stats in [left, right] {
        let errors: u64 = stats.errors().iter().map(|(_, _, count)| count).sum();
        assert_eq!(errors, 0, "{stats:?}");
    }
    assert_eq!((left.rx_packets, right.rx_packets), (right.tx_packets, left.tx_packets));
    assert_eq!((left.rx_bytes, right.rx_bytes), (right.tx_bytes, left.tx_bytes));
}

#[test]
fn tcp_crosses_in_place_native() {
    let Some(lab) = lab("xn") else { return };
    let wire = in_place(&lab, 1, XdpMode::Native);
    transfer(&lab, "10.77.0.2:0", 8 << 20);
    transfer(&lab, "[fd77::2]:0", 8 << 20);
    let (_, stats) = wire.finish();
    assert!(stats[0].rx_bytes > 16 << 20, "{stats:?}");
    none_lost(stats);
}

#[test]
fn tcp_crosses_generic_with_memory_of_its_own() {
    let Some(lab) = lab("xg") else { return };
    let wire = Wire::between([0, 1].map(|n| opened(&lab, xdp(n, ["p0", "p1"][usize::from(n)], 1, XdpMode::Generic))));
    transfer(&lab, "10.77.0.2:0", 8 << 20);
    transfer(&lab, "[fd77::2]:0", 8 << 20);
    none_lost(wire.finish().1);
}

#[test]
fn each_worker_has_a_queue_and_the_device_gets_as_many() {
    let Some(lab) = lab("xq") else { return };
    assert!(ethtool(&lab.router, "-l p0").contains("RX:\t\t1\n"));
    let wire = in_place(&lab, 2, XdpMode::Native);
    let after = ethtool(&lab.router, "-l p0");
    assert!(after.ends_with("RX:\t\t2\nTX:\t\t2\nOther:\t\tn/a\nCombined:\tn/a\n"), "{after}");
    for (host, end) in [(&lab.left, "l0"), (&lab.right, "r0")] {
        ethtool(host, &format!("-L {end} rx 2 tx 2"));
    }
    // Many flows, so that both queues get some.
    inside(&lab.left, || {
        for port in 1..=64 {
            let socket = UdpSocket::bind("10.77.0.1:0").unwrap();
            socket.send_to(&[0; 100], ("10.77.0.2", 40_000 + port)).unwrap();
        }
    });
    transfer(&lab, "10.77.0.2:0", 4 << 20);
    let received: Vec<u64> = wire.finish_each().iter().map(|stats| stats[0].rx_packets).collect();
    let (first, second) = (received[0], received[1]);
    assert!(first > 5 && second > 5, "{first} and {second} frames");
    for (host, end) in [(&lab.left, "l0"), (&lab.right, "r0")] {
        ethtool(host, &format!("-L {end} rx 1 tx 1"));
    }
}

#[test]
fn what_is_held_back_goes_when_it_is_enough_or_asked_for() {
    let Some(lab) = lab("xh") else { return };
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let (mut receivers, _receiver_control) = start(inside(&lab.left, || open(&spec(1, "l0", 1)).unwrap()));
        let (mut senders, _sender_control) = start(opened(&lab, xdp(0, "p0", 1, mode)));
        let pool = Pool::new(PoolConfig { buffers: 64, frame_size: 2048 }).unwrap();
        let (mut burst, mut arrived) = (Burst::with_limit(64), Burst::with_limit(64));
        // An experimental type that no stack answers (IEEE 802, 0x88b5).
        let mut bytes = vec![0xff; 12];
        bytes.extend([0x88, 0xb5]);
        bytes.resize(60, 0);
        // Sends so many, or what was held back if none, and waits until `due` have arrived.
        let mut step = |send: usize, due: usize| {
            for _ in 0..send {
                burst.push(pool.alloc_from(&bytes).unwrap()).unwrap();
            }
            let flushed = send == 0 && senders[0].flush();
            if send > 0 {
                assert_eq!(senders[0].transmit(&mut burst), TxStatus { sent: send, stop: None });
            } else {
                senders[0].hold_back(4);
            }
            let mut came = 0;
            eventually("all have arrived", || {
                receivers[0].receive(&pool, &mut arrived);
                came += arrived.as_slice().iter().filter(|frame| frame.data()[12..14] == [0x88, 0xb5]).count();
                arrived.consume(usize::MAX);
                came >= due
            });
            assert_eq!(came, due, "{send} more sent");
            flushed
        };
        assert!(!step(1, 1), "nothing is held back unasked");
        assert!(!step(0, 0));
        assert_eq!([step(1, 0), step(2, 0), step(0, 3), step(0, 0)], [false, false, true, false]);
        assert_eq!([step(3, 0), step(1, 4), step(0, 0)], [false; 3]);
        assert_eq!([step(9, 9), step(0, 0)], [false; 2]);
    }
}

#[test]
fn frames_go_between_af_xdp_and_a_packet_socket() {
    let Some(lab) = lab("xm") else { return };
    let left = opened(&lab, xdp(0, "p0", 1, XdpMode::Auto));
    let wire = Wire::between([left, lab.open(spec(1, "p1", 1)).unwrap()]);
    transfer(&lab, "10.77.0.2:0", 4 << 20);
    transfer(&lab, "[fd77::2]:0", 4 << 20);
    none_lost(wire.finish().1);
}

#[test]
fn the_other_end_of_a_veth_is_told_to_finish_its_checksums() {
    let Some(lab) = bare_lab("xo") else { return };
    let warnings = lab.open(xdp(0, "p0", 1, XdpMode::Auto)).unwrap().warnings;
    let command = format!("`ip netns exec {} ethtool -K l0 tx off txvlan off`", lab.left);
    assert!(warnings.len() == 1 && warnings[0].ends_with(&command), "{warnings:?}");
    assert!(warnings[0].starts_with("port port0: `l0`, the other end of interface `p0`, leaves"), "{warnings:?}");
    ethtool(&lab.left, "-K l0 tx off txvlan off");
    assert_eq!(lab.open_again(&xdp(0, "p0", 1, XdpMode::Auto)).warnings, Vec::<String>::new());
}

#[test]
fn what_was_switched_off_is_switched_on_again() {
    let Some(lab) = lab("xr") else { return };
    let features = || {
        let all = ethtool(&lab.router, "-k p0");
        let of = |name: &str| all.lines().find(|line| line.starts_with(name)).unwrap().ends_with(": on");
        [of("generic-receive-offload"), of("rx-vlan-offload")]
    };
    ethtool(&lab.router, "-K p0 gro on");
    assert_eq!(features(), [true, true]);
    let port = opened(&lab, xdp(0, "p0", 2, XdpMode::Generic));
    assert_eq!(features(), [false, false]);
    assert!(ethtool(&lab.router, "-l p0").ends_with("RX:\t\t2\nTX:\t\t2\nOther:\t\tn/a\nCombined:\tn/a\n"));
    inside(&lab.router, move || {
        drop_to(Keep::Admin).unwrap();
        drop(port);
    });
    assert_eq!(features(), [true, true]);
    assert!(ethtool(&lab.router, "-l p0").ends_with("RX:\t\t1\nTX:\t\t1\nOther:\t\tn/a\nCombined:\tn/a\n"));
}

#[test]
fn a_deleted_device_is_taken_again_when_it_exists_again() {
    let Some(lab) = lab("xd") else { return };
    let mut wire = in_place(&lab, 1, XdpMode::Auto);
    transfer(&lab, "10.77.0.2:0", 1 << 20);
    ip(&format!("-n {} link set p0 down", lab.router));
    eventually("down", || wire.controls[0].link() == LinkState::Down);
    ip(&format!("-n {} link set p0 up", lab.router));
    eventually("up", || wire.controls[0].link() == LinkState::Up);
    transfer(&lab, "10.77.0.2:0", 1 << 20);
    let mut control = wire.controls.remove(0);
    // Again and again: what the rings of a dead socket held is not lost.
    for _ in 0..8 {
        ip(&format!("-n {} link del p0", lab.router));
        eventually("gone", || control.link() == LinkState::Gone);
        lab.cable("p0", "l0", &lab.left);
        ethtool(&lab.left, "-K l0 tx off");
        control = reopen_as_a_running_router(&lab, control);
    }
    lab.address("l0", &lab.left, 1);
    transfer(&lab, "10.77.0.2:0", 1 << 20);
    let (_, [left, _]) = wire.finish();
    // A frame may come before the queue has given a fresh socket its chunks.
    assert!(left.rx_nobuf < 8, "{left:?}");
    assert_eq!((left.rx_refused, left.tx_refused), (0, 0), "{left:?}");
}

fn reopen_as_a_running_router(lab: &Lab, mut control: Box<dyn PortControl>) -> Box<dyn PortControl> {
    inside(&lab.router, move || {
        drop_to(Keep::Admin).unwrap();
        assert_eq!(control.reopen().unwrap().link, LinkState::Up);
        control
    })
}

/// A process that is killed like a crash would end it.
struct Crashing(Child);

impl Drop for Crashing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `flowgate run` in the router's namespace, ready. `ip netns exec` becomes the router, so it has its number.
fn daemon(lab: &Lab, config: &std::path::Path) -> Crashing {
    let mut child = Command::new("ip")
        .args(["netns", "exec", &lab.router, env!("CARGO_BIN_EXE_flowgate"), "run", "--config"])
        .arg(config)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let router = Crashing(child);
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    assert!(line.starts_with("flowgate ready: "), "{line}");
    router
}

#[test]
fn a_killed_router_leaves_nothing_that_stops_the_next() {
    let Some(lab) = lab("xk") else { return };
    let config = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let port = |n: u8| format!("  p{n}: {{ driver: af_xdp, device: p{n}, addresses: [10.77.{n}.254/24] }}\n");
    let rest = "workers: { cores: any, count: 2 }\nchains: { forward: { policy: accept } }\n";
    std::fs::write(config.path(), format!("version: 1\nports:\n{}{}{rest}", port(0), port(1))).unwrap();
    for _ in 0..3 {
        let router = daemon(&lab, config.path());
        let ping = ["netns", "exec", &lab.left, "ping", "-c", "5", "-i", "0.2", "-W", "3", "10.77.0.254"];
        let answered = Command::new("ip").args(ping).stdout(Stdio::null()).status().unwrap();
        assert!(answered.success(), "the router does not answer");
        drop(router);
    }
    eventually("the program goes", || {
        let shown = Command::new("ip").args(["-n", &lab.router, "link", "show", "dev", "p0"]).output().unwrap();
        !String::from_utf8_lossy(&shown.stdout).contains("xdp")
    });
}

#[test]
fn super_frames_from_a_packet_socket_go_out_cut() {
    let Some(lab) = bare_lab("xs") else { return };
    ethtool(&lab.right, "-K r0 tx off");
    ip(&format!("-n {} addr add 10.78.0.2/24 dev r0", lab.right));
    ip(&format!("-n {} route add 10.78.0.0/24 via 10.77.0.254", lab.left));
    ip(&format!("-n {} addr del 10.77.0.2/24 dev r0", lab.right));
    ip(&format!("-n {} route add 10.77.0.0/24 via 10.78.0.254", lab.right));
    let config = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let text = "version: 1\nports:\n  p0: { driver: af_packet, device: p0, addresses: [10.77.0.254/24] }\n  p1: { driver: af_xdp, \
                device: p1, addresses: [10.78.0.254/24] }\nchains: { forward: { policy: accept } }\n";
    std::fs::write(config.path(), text).unwrap();
    let _router = daemon(&lab, config.path());
    transfer(&lab, "10.78.0.2:0", 4 << 20);
}

#[test]
fn what_cannot_be_said_how() {
    let Some(lab) = lab("xe") else { return };
    let text = |spec: PortSpec| lab.open(spec).unwrap_err().to_string();
    ip(&format!("-n {} link set r0 mtu 9000", lab.right));
    ip(&format!("-n {} link set p1 mtu 9000", lab.router));
    assert_eq!(
        text(xdp(1, "p1", 1, XdpMode::Auto)),
        "port port1: interface `p1` cannot be used: its MTU is 9000, and AF_XDP carries 3818 at most; `ip link set dev p1 mtu \
         3818` (both ends), or `driver: af_packet`"
    );
    // The other end may send larger frames than the driver takes with a program in it.
    let mut small = xdp(1, "p1", 1, XdpMode::Native);
    small.mtu = Some(1500);
    let refused = text(small.clone());
    assert!(refused.contains("takes no XDP program in native mode") && refused.contains("too large"), "{refused}");
    small.xdp_mode = XdpMode::Auto;
    lab.open_again(&small);
    let mut more = xdp(0, "p0", 1, XdpMode::Auto);
    more.umem = Some(Umem::new(Umem::sizes(1500, 64).unwrap(), 1).unwrap());
    ip(&format!("-n {} link set p0 mtu 2000", lab.router));
    assert!(text(more).ends_with(
        "its MTU is 2000, more than the 1770 that was made room for; write `mtu: 2000` in the configuration of the port"
    ));
    ip(&format!("-n {} link set p0 mtu 1500", lab.router));
    let refused = text(xdp(0, "p0", 3, XdpMode::Auto));
    assert!(refused.ends_with("and each needs one; set `workers: { count: 2 }`"), "{refused}");
    let first = lab.open(xdp(0, "p0", 1, XdpMode::Auto)).unwrap();
    assert!(text(xdp(0, "p0", 1, XdpMode::Auto)).contains("another flowgate has interface `p0`"));
    drop(first);
    let other = other_program(&lab, "p0");
    let refused = text(xdp(0, "p0", 1, XdpMode::Auto));
    assert!(refused.contains("another XDP program is attached to it; `ip link show dev p0` names it"), "{refused}");
    drop(other);
    lab.open_again(&xdp(0, "p0", 1, XdpMode::Auto));
    let without = inside(&lab.router, || {
        drop_to(Keep::Raw).unwrap();
        flowgate::driver::open(&xdp(0, "p0", 1, XdpMode::Auto)).unwrap_err().to_string()
    });
    assert_eq!(
        without,
        "port port0: no permission to use AF_XDP; run as root or grant CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF"
    );
}

#[allow(unsafe_code, reason = "nothing in the library attaches a foreign program")]
/// Attaches a program that passes everything on, as long as the descriptor is open.
fn other_program(lab: &Lab, device: &'static str) -> OwnedFd {
    #[repr(C)]
    struct Load(u32, u32, u64, u64, [u64; 5], [u64; 2]);
    inside(&lab.router, move || {
        // return XDP_PASS
        let code: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];
        let load = Load(6, 2, code.as_ptr() as u64, c"MIT".as_ptr() as u64, [0; 5], [0; 2]);
        let name = std::ffi::CString::new(device).unwrap();
        let (call, size) = (libc::SYS_bpf, std::mem::size_of::<Load>());
        // SAFETY: both attributes are laid out as bpf(2) has them, and live with all they point to through the calls,
        // whose descriptors are nobody else's.
        unsafe {
            let program = OwnedFd::from_raw_fd(libc::syscall(call, 5, &raw const load, size) as i32);
            let index = libc::if_nametoindex(name.as_ptr());
            let link = [std::os::fd::AsRawFd::as_raw_fd(&program) as u32, index, 37, 0];
            // The kernel may be taking the program before it away still.
            let attach = || u32::try_from(libc::syscall(call, 28, link.as_ptr(), 16));
            OwnedFd::from_raw_fd(eventually_good("a program is attached", attach) as i32)
        }
    })
}
