//! TAP devices: the host's own stack on one side, the lab's right host behind a packet socket on the other.

use super::{Lab, Wire, eventually, eventually_good, inside, ip, spec, transfer};
use flowgate::driver::{DriverKind, LinkState, OpenPort, PortSpec, open, privileges};
use flowgate::net::PortId;
use std::process::Command;
use std::sync::atomic::Ordering;

/// A lab on a machine that has TAP devices.
fn lab(tag: &str) -> Option<Lab> {
    if let Err(why) = std::fs::File::open("/dev/net/tun") {
        println!("skipped: {tag} needs /dev/net/tun: {why}");
        return None;
    }
    Lab::new(tag)
}

fn tap(device: &str, queues: usize) -> PortSpec {
    let mut spec = PortSpec::new("tap", PortId(0), DriverKind::Tap);
    spec.device = Some(device.to_owned());
    spec.queues = queues;
    spec
}

/// Opens a TAP device beside the left host's stack, in place of its cable.
fn on_the_left(lab: &Lab, queues: usize) -> OpenPort {
    ip(&format!("-n {} link del l0", lab.left));
    let mut spec = tap("t0", queues);
    spec.mtu = Some(1400);
    let port = inside(&lab.left, move || open(&spec)).unwrap();
    lab.address("t0", &lab.left, 1);
    port
}

fn exists(netns: &str, device: &str) -> bool {
    Command::new("ip").args(["-n", netns, "link", "show", "dev", device]).output().unwrap().status.success()
}

#[test]
fn the_hosts_tcp_crosses_as_super_frames() {
    let Some(lab) = lab("tap") else { return };
    let left = on_the_left(&lab, 2);
    assert_eq!((left.info.mtu, left.info.link, left.warnings.len()), (1400, LinkState::Up, 0));
    assert_eq!(left.info.mac.0[0] & 3, 2, "of our own, and not the device's");
    let wire = Wire::between([left, lab.open(spec(1, "p1", 2)).unwrap()]);
    transfer(&lab, "10.77.0.2:0", 24 << 20);
    transfer(&lab, "[fd77::2]:0", 24 << 20);
    let (seen, [left, right]) = wire.finish();
    assert!(seen.long.load(Ordering::Relaxed) > 100, "super-frames");
    assert!(left.rx_super > 0 && right.tx_super > 0 && left.rx_bytes > 48 << 20, "{left:?}");
    assert_eq!(left.rx_packets, right.tx_packets);
    assert_eq!(right.rx_packets, left.tx_packets);
    assert_eq!((left.rx_truncated, left.rx_refused, left.tx_oversize, left.tx_refused), (0, 0, 0, 0));
    eventually("what was made is gone", || !exists(&lab.left, "t0"));
}

#[test]
fn a_persistent_device_is_attached_to_and_left_as_it_was() {
    let Some(lab) = lab("tapp") else { return };
    let at = |spec: PortSpec| inside(&lab.left, move || open(&spec));
    ip(&format!("-n {} tuntap add dev t1 mode tap", lab.left));
    ip(&format!("-n {} tuntap add dev tm mode tap multi_queue", lab.left));
    let single = at(tap("t1", 1)).unwrap();
    assert_eq!(single.info.link, LinkState::Down);
    assert_eq!(single.warnings, ["port tap: interface `t1` is down; frames flow as soon as it is up"]);
    assert_eq!(
        at(tap("t1", 1)).unwrap_err().to_string(),
        "port tap: interface `t1` cannot be used: another program is attached to it"
    );
    drop(single);
    eventually_good("its one descriptor is free", || {
        let refused = at(tap("t1", 2)).unwrap_err().to_string();
        let wanted = "port tap: interface `t1` cannot be used: it is not a TAP device for several queues; \
                      make it with `ip tuntap add dev t1 mode tap multi_queue`";
        (refused == wanted).then_some(()).ok_or(refused)
    });
    let several = at(tap("tm", 2)).unwrap();
    let refused = at(tap("tm", 2)).unwrap_err().to_string();
    assert_eq!(refused, "port tap: another flowgate has interface `tm`; each packet would be forwarded twice");
    drop(several);
    eventually_good("what was closed is free", || at(tap("tm", 1)));
    assert!(exists(&lab.left, "t1") && exists(&lab.left, "tm"));
    assert_eq!(
        at(tap("l0", 1)).unwrap_err().to_string(),
        "port tap: interface `l0` cannot be used: it is not a TAP device"
    );
    let without = inside(&lab.left, || {
        privileges::drop_privileges(false).unwrap();
        open(&tap("t9", 1)).unwrap_err().to_string()
    });
    assert_eq!(
        without,
        "port tap: no permission to make or attach to a TAP device; run as root or grant CAP_NET_ADMIN"
    );
}

#[test]
fn a_deleted_device_is_attached_to_when_it_exists_again() {
    let Some(lab) = lab("tapg") else { return };
    let left = on_the_left(&lab, 2);
    let mut wire = Wire::between([left, lab.open(spec(1, "p1", 2)).unwrap()]);
    transfer(&lab, "10.77.0.2:0", 1 << 20);
    ip(&format!("-n {} link set t0 down", lab.left));
    eventually("down", || wire.controls[0].link() == LinkState::Down);
    ip(&format!("-n {} link del t0", lab.left));
    eventually("gone", || wire.seen.links[1].load(Ordering::Relaxed) == 2);
    assert_eq!(wire.controls[0].link(), LinkState::Gone);
    ip(&format!("-n {} tuntap add dev t0 mode tap multi_queue", lab.left));
    ip(&format!("-n {} link set t0 up", lab.left));
    lab.address("t0", &lab.left, 1);
    let mut control = wire.controls.remove(0);
    let control = inside(&lab.left, move || {
        // As a running router: its privileges are gone by then.
        privileges::drop_privileges(false).unwrap();
        let back = control.reopen().unwrap();
        assert_eq!(back.mtu, 1400, "the configured one");
        control
    });
    eventually("up", || control.link() == LinkState::Up);
    transfer(&lab, "10.77.0.2:0", 1 << 20);
    wire.finish();
    assert!(exists(&lab.left, "t0"), "it was made by somebody else");
}
