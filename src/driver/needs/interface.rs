//! Kernel interfaces: there, up, nobody else's, and silent.

use super::{Finding, Host, Link, quoted};
use crate::driver::PortSpec;
use crate::driver::af_packet::receive_buffer;
use crate::driver::interface::{claim_name, nearest};
use std::net::IpAddr;

const CAP_NET_ADMIN: u8 = 12;
const CAP_NET_RAW: u8 = 13;
const CAP_SYS_ADMIN: u8 = 21;
const CAP_BPF: u8 = 39;

/// What a port on packet sockets needs.
pub(super) fn packet_socket(spec: &PortSpec, host: &Host) -> Vec<Finding> {
    let mut findings = vec![permission(host, CAP_NET_RAW)];
    let Some(device) = spec.device.as_deref() else { return findings };
    let Some(link) = host.link(device) else {
        findings.push(absent(device, host));
        return findings;
    };
    if !link.ethernet {
        let text = format!("interface {device} does not speak Ethernet");
        findings.push(Finding::missing("device", text, "ip -brief link"));
        return findings;
    }
    findings.push(Finding::ok("device", format!("interface {device} is there{}", kind(link))));
    findings.push(state(link));
    findings.push(user(link, host));
    findings.extend(program(link));
    findings.extend(silence(link, host));
    findings.extend(mtu(spec, link));
    findings.push(buffer(spec, host));
    findings.push(Finding::ok("offloads", "may stay as they are: unfinished checksums and super-frames pass"));
    findings
}

/// What a port on AF_XDP sockets needs.
pub(super) fn xdp_socket(spec: &PortSpec, host: &Host) -> Vec<Finding> {
    let mut findings = vec![permission(host, CAP_NET_RAW), permission(host, CAP_NET_ADMIN)];
    if !host.has_capability(CAP_BPF) && !host.has_capability(CAP_SYS_ADMIN) {
        findings.push(permission(host, CAP_BPF));
    }
    let Some(device) = spec.device.as_deref() else { return findings };
    let Some(link) = host.link(device) else {
        findings.push(absent(device, host));
        return findings;
    };
    if !link.ethernet {
        let text = format!("interface {device} does not speak Ethernet");
        findings.push(Finding::missing("device", text, "ip -brief link"));
        return findings;
    }
    findings.push(Finding::ok("device", format!("interface {device} is there{}", kind(link))));
    findings.push(state(link));
    findings.push(user(link, host));
    if let Some(program) = link.program {
        let text = format!("XDP program {} is attached", program.id);
        let command = format!("ip link set dev {} {} off", quoted(&link.name), program.mode);
        findings.push(Finding::missing("program", text, command));
    }
    findings.extend(mtu(spec, link));
    findings
}

/// What a TAP port needs.
pub(super) fn tap(spec: &PortSpec, host: &Host) -> Vec<Finding> {
    let mut findings = vec![match host.exists("/dev/net/tun") {
        true => Finding::ok("maker", "/dev/net/tun is there"),
        false if host.is_root() => Finding::missing("maker", "/dev/net/tun is not there", "modprobe tun"),
        false => Finding::missing("maker", "/dev/net/tun is not there", "sudo modprobe tun"),
    }];
    let Some(device) = spec.device.as_deref() else { return findings };
    let Some(link) = host.link(device) else {
        findings.push(permission(host, CAP_NET_ADMIN));
        findings.push(Finding::ok("device", format!("interface {device} will be made")));
        return findings;
    };
    if link.kind.as_deref() != Some("tun") {
        let text = format!("interface {device} is no TAP device");
        findings.push(Finding::missing("device", text, "ip tuntap list"));
        return findings;
    }
    findings.push(Finding::ok("device", format!("interface {device} is there")));
    if link.up {
        findings.push(Finding::ok("link", "switched on"));
    } else {
        let text = format!("interface {device} is down");
        findings.push(Finding::missing("link", text, format!("ip link set dev {} up", quoted(device))));
    }
    findings.push(user(link, host));
    findings.extend(mtu(spec, link));
    findings
}

/// The right to open the sockets.
fn permission(host: &Host, capability: u8) -> Finding {
    let name = match capability {
        CAP_NET_RAW => "cap_net_raw",
        CAP_BPF => "cap_bpf",
        _ => "cap_net_admin",
    };
    if host.has_capability(capability) {
        return Finding::ok("permission", format!("{} is held", name.to_uppercase()));
    }
    let text = format!("{} is not held", name.to_uppercase());
    if host.is_root() {
        // Root without it is in a container, where a file's capabilities do not help either.
        let option = name.trim_start_matches("cap_").to_uppercase();
        return Finding::missing("permission", text, format!("docker run --cap-add={option} …"));
    }
    let program = std::env::current_exe().map_or_else(|_| "flowgate".to_owned(), |path| path.display().to_string());
    let also = if capability == CAP_BPF { ",cap_bpf" } else { "" };
    Finding::missing("permission", text, format!("sudo setcap cap_net_raw,cap_net_admin{also}=ep {}", quoted(&program)))
}

fn kind(link: &Link) -> String {
    link.kind.as_ref().map(|kind| format!(", kind {kind}")).unwrap_or_default()
}

/// Not in this network namespace; perhaps in the machine's first, or its name is slightly different.
fn absent(device: &str, host: &Host) -> Finding {
    let elsewhere = host.target("/proc/1/ns/net").is_some_and(|first| host.target("/proc/self/ns/net") != Some(first));
    let line = format!("{device}:");
    let first = host.text("/proc/1/net/dev").unwrap_or_default();
    if elsewhere && first.lines().any(|text| text.trim_start().starts_with(&line)) {
        let text = format!("interface {device} is in the network namespace of process 1, not in this one");
        let command = format!("nsenter -t 1 -n ip link set dev {} netns {}", quoted(device), namespace(host));
        return Finding::missing("device", text, command);
    }
    let names: Vec<String> = host.links().iter().map(|link| link.name.clone()).collect();
    let hint = nearest(device, &names).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    Finding::missing("device", format!("there is no interface {device}{hint}"), "ip -brief link")
}

/// The name of this network namespace, or the calling shell's process to name it by.
fn namespace(host: &Host) -> String {
    use std::os::unix::fs::MetadataExt;
    let inode = |path: &str| std::fs::metadata(host.path(path)).ok().map(|data| data.ino());
    let own = inode("/proc/self/ns/net");
    let mut names = host.names("/run/netns").into_iter();
    names
        .find(|name| own.is_some() && inode(&format!("/run/netns/{name}")) == own)
        .map_or("$$".to_owned(), |n| quoted(&n))
}

fn state(link: &Link) -> Finding {
    let name = quoted(&link.name);
    if !link.up {
        let text = format!("interface {} is down", link.name);
        Finding::missing("link", text, format!("ip link set dev {name} up"))
    } else if !link.carrier {
        let what = if link.kind.as_deref() == Some("veth") { "its other end is down" } else { "no cable or peer" };
        Finding::warning("link", format!("interface {} has no carrier: {what}", link.name))
    } else {
        Finding::ok("link", "up")
    }
}

/// Another flowgate would forward each packet a second time.
fn user(link: &Link, host: &Host) -> Finding {
    let wanted = format!("@{}", claim_name(link.index));
    let sockets = host.text("/proc/net/unix").unwrap_or_default();
    let claim = sockets.lines().find(|line| line.split_whitespace().nth(7) == Some(&wanted));
    let Some(claim) = claim else { return Finding::ok("use", "no other flowgate has it") };
    let inode = claim.split_whitespace().nth(6).unwrap_or_default();
    match host.holders(inode).as_slice() {
        [] => {
            let text = format!("another flowgate has interface {}", link.name);
            Finding::missing("use", text, "ss --unix --all --processes '( src @flowgate* )'")
        }
        [pid, ..] => {
            let text = format!("another flowgate, process {pid}, has interface {}", link.name);
            Finding::missing("use", text, format!("kill {pid}"))
        }
    }
}

/// An XDP program comes before packet sockets, and may keep frames from them.
fn program(link: &Link) -> Option<Finding> {
    let program = link.program?;
    let text = format!("XDP program {} is attached and may take frames before they get here", program.id);
    let command = format!("ip link set dev {} {} off", quoted(&link.name), program.mode);
    Some(Finding::warning("program", text).by(command))
}

/// Whatever the kernel would answer or forward beside the router.
fn silence(link: &Link, host: &Host) -> Vec<Finding> {
    let (name, device) = (&link.name, quoted(&link.name));
    let mut findings = Vec::new();
    if let Some(address) = link.addresses.iter().find(|address| address.is_ipv4()) {
        let text = format!("the kernel has {address} on {name} and answers beside the router");
        findings.push(Finding::missing("silence", text, format!("ip -4 address flush dev {device}")));
    }
    for family in ["ipv4", "ipv6"] {
        let folder = format!("/proc/sys/net/{family}/conf/{name}");
        let off = family == "ipv6" && host.number(&format!("{folder}/disable_ipv6")) == Some(1);
        if !off && host.number(&format!("{folder}/forwarding")) == Some(1) {
            let text = format!("the kernel forwards {} that comes in by {name}", family.replace("ip", "IP"));
            let command = format!("sysctl -w {}", quoted(&format!("net/{family}/conf/{name}/forwarding=0")));
            findings.push(Finding::missing("silence", text, command));
        }
    }
    let six = link.addresses.iter().find_map(|address| match address {
        IpAddr::V6(six) => Some(six),
        IpAddr::V4(_) => None,
    });
    if let Some(address) = six {
        let text = format!("the kernel has {address} on {name} and answers beside the router");
        let command = format!("sysctl -w {}", quoted(&format!("net/ipv6/conf/{name}/disable_ipv6=1")));
        findings.push(match address.is_unicast_link_local() {
            true => Finding::warning("silence", text).by(command),
            false => Finding::missing("silence", text, command),
        });
    } else if host.number(&format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6")) == Some(0) {
        let text = format!("the kernel will give {name} an IPv6 address when its link comes up");
        let command = format!("sysctl -w {}", quoted(&format!("net/ipv6/conf/{name}/disable_ipv6=1")));
        findings.push(Finding::warning("silence", text).by(command));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("silence", format!("the kernel has no address on {name} and forwards nothing")));
    }
    findings
}

fn mtu(spec: &PortSpec, link: &Link) -> Option<Finding> {
    let wanted = spec.mtu.filter(|mtu| *mtu > link.mtu as usize)?;
    let text = format!("mtu {wanted} is more than the {} of {}, which will refuse larger packets", link.mtu, link.name);
    Some(Finding::warning("mtu", text).by(format!("ip link set dev {} mtu {wanted}", quoted(&link.name))))
}

fn buffer(spec: &PortSpec, host: &Host) -> Finding {
    let wanted = receive_buffer(spec) as u64;
    let most = host.number("/proc/sys/net/core/rmem_max");
    if host.has_capability(CAP_NET_ADMIN) {
        return Finding::ok("buffer", format!("{} KiB for each queue; CAP_NET_ADMIN is held", wanted >> 10));
    }
    match most {
        Some(most) if most < wanted => {
            let text = format!("a queue wants {} KiB and net.core.rmem_max grants {}", wanted >> 10, most >> 10);
            Finding::warning("buffer", text).by(format!("sysctl -w net.core.rmem_max={wanted}"))
        }
        _ => Finding::ok("buffer", format!("{} KiB for each queue", wanted >> 10)),
    }
}
