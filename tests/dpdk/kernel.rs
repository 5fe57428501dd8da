//! DPDK's own ways to kernel interfaces, a TAP device and a packet socket, with our packet sockets at the other ends.

use crate::common::udp;
use crate::ends::{End, PATIENCE};
use crate::namespaces;
use flowgate::driver::{DpdkDevice, DriverKind, OpenPort, PortControl, PortSpec, QueuePair, open};
use flowgate::frame::{Burst, Checksum, HeaderSum, MAX_FRAME, Pool, PoolConfig};
use flowgate::net::PortId;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::os::fd::AsFd;
use std::process::Command;
use std::time::Instant;

/// Frames each way.
const FRAMES: u16 = 300;

/// A network namespace that this thread is in.
struct Namespace(String);

impl Namespace {
    /// Without root, or without TAP devices, there is none.
    fn enter() -> Option<Namespace> {
        if !namespaces::can_be_made("DPDK on kernel interfaces") {
            return None;
        }
        if let Err(why) = File::open("/dev/net/tun") {
            println!("skipped: needs /dev/net/tun: {why}");
            return None;
        }
        let name = format!("fgdpdk{}", std::process::id());
        ip(&format!("netns add {name}"));
        let entered = Namespace(name);
        let file = File::open(format!("/run/netns/{}", entered.0)).unwrap();
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        Some(entered)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// In the namespace of this thread.
fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A packet socket on a kernel interface.
struct Socket {
    _control: Box<dyn PortControl>,
    queue: Box<dyn QueuePair>,
    pool: Pool,
}

impl Socket {
    fn open(device: &str) -> Socket {
        let mut spec = PortSpec::new(device, PortId(0), DriverKind::AfPacket);
        spec.device = Some(device.to_owned());
        let OpenPort { control, mut queues, .. } = open(&spec).unwrap();
        let pool = Pool::new(PoolConfig { buffers: 64, frame_size: MAX_FRAME }).unwrap();
        Socket { _control: control, queue: queues.remove(0).start(), pool }
    }

    fn send(&mut self, octets: &[u8]) {
        let mut burst = Burst::with_limit(1);
        burst.push(self.pool.alloc_from(octets).unwrap()).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !burst.is_empty() {
            let status = self.queue.transmit(&mut burst);
            assert!(Instant::now() < deadline, "the socket takes nothing: {status:?}");
        }
    }

    fn receive(&mut self, deliver: &mut dyn FnMut(&[u8])) {
        let mut burst = Burst::with_limit(32);
        self.queue.receive(&self.pool, &mut burst);
        burst.drain().filter(|frame| frame.data()[12..14] == [8, 0]).for_each(|frame| deliver(frame.data()));
    }
}

/// Frame `number` of a direction.
fn frame(direction: u8, number: u16) -> Vec<u8> {
    let length = 40 + usize::from(number) * 7 % 1400;
    let payload: Vec<u8> = (0..length).map(|at| (at as u8).wrapping_mul(29) ^ number as u8 ^ direction).collect();
    udp("10.1.0.1", "10.1.0.2", (u16::from(direction) + 1, number), &payload)
}

/// Frame `number` to the device, some with a checksum that is wrong; whether its header's and its transport's are right.
fn spoilt(number: u16) -> (Vec<u8>, bool, bool) {
    let (mut octets, kind) = (frame(1, number), number % 5);
    match kind {
        3 => octets[25] ^= 1,
        4 => *octets.last_mut().unwrap() ^= 1,
        _ => {}
    }
    (octets, kind != 3, kind != 4)
}

/// Every frame arrives once, in order and unchanged, in both directions at the same time.
/// The device `verifies` checksums or does not.
fn exchange(end: &mut End, socket: &mut Socket, verifies: bool) {
    let deadline = Instant::now() + PATIENCE;
    while !end.is_up() {
        assert!(Instant::now() < deadline, "the link stays down");
    }
    let (mut said, mut by_socket, mut by_end) = (0, 0, 0);
    while by_socket < FRAMES || by_end < FRAMES {
        if said < FRAMES && said < by_socket.min(by_end) + 16 {
            end.send(0, &frame(0, said), Checksum::Unknown);
            socket.send(&spoilt(said).0);
            said += 1;
        }
        socket.receive(&mut |octets| {
            assert!(octets == frame(0, by_socket), "frame {by_socket} to the socket: {octets:02x?}");
            by_socket += 1;
        });
        end.receive(&mut |came| {
            let (octets, header, transport) = spoilt(by_end);
            assert!(came.data() == octets, "frame {by_end} to the device: {:02x?}", came.data());
            let header = if header && verifies { HeaderSum::Verified } else { HeaderSum::Unknown };
            let transport = if transport && verifies { Checksum::Verified } else { Checksum::Unknown };
            assert_eq!((came.meta.header, came.meta.checksum), (header, transport), "frame {by_end}");
            by_end += 1;
        });
        assert!(Instant::now() < deadline, "{by_socket} and {by_end} of {said} frames came");
    }
    let stats = end.stats();
    assert!(stats.tx_packets >= u64::from(FRAMES) && stats.rx_packets >= u64::from(FRAMES), "{stats:?}");
}

#[test]
fn dpdks_own_tap_and_packet_socket_carry_frames_to_the_kernel_and_back() {
    let Some(_namespace) = Namespace::enter() else { return };
    let mut end = End::open(10, DpdkDevice::Eal("net_tap10,iface=fgt0".into()), [2, 0, 0, 0, 0, 10], 1);
    ip("link set fgt0 up");
    exchange(&mut end, &mut Socket::open("fgt0"), true);
    drop(end);

    ip("link add v0 type veth peer name v1");
    ip("link set v0 up");
    ip("link set v1 up");
    let mut end = End::open(11, DpdkDevice::Eal("net_af_packet11,iface=v0".into()), [2, 0, 0, 0, 0, 11], 1);
    exchange(&mut end, &mut Socket::open("v1"), false);
}
