//! Ports through DPDK: the program and its drivers, memory, sockets, and NICs that are vfio's.

use super::{Finding, Host, quoted};
use crate::driver::{DpdkDevice, DpdkSpec, HugePages, PortSpec};
use std::path::Path;

const CAP_IPC_LOCK: u8 = 14;

/// What a port of DPDK's needs.
pub(super) fn port(spec: &PortSpec, host: &Host) -> Vec<Finding> {
    let mut findings = vec![if cfg!(feature = "dpdk") {
        Finding::ok("build", "with DPDK")
    } else {
        Finding::missing("build", "this flowgate was built without DPDK", "cargo build --release --features dpdk")
    }];
    let Some(dpdk) = &spec.dpdk else { return findings };
    findings.extend(driver(&dpdk.device, host));
    match &dpdk.device {
        DpdkDevice::VhostUser { path, server } => findings.push(socket(path, *server, true, host)),
        DpdkDevice::VirtioUser { path, server } => findings.push(socket(path, *server, *server, host)),
        DpdkDevice::Pci(address) => findings.extend(nic(address, host)),
        DpdkDevice::Eal(_) => {}
    }
    findings.extend(memory(dpdk, host));
    findings
}

/// The driver is a library that DPDK loads when it starts, and of a package of its own.
fn driver(device: &DpdkDevice, host: &Host) -> Option<Finding> {
    let name = match device {
        DpdkDevice::VhostUser { .. } => "vhost",
        DpdkDevice::VirtioUser { .. } => "virtio",
        DpdkDevice::Eal(text) => {
            let name = text.split(',').next().unwrap_or_default().trim_end_matches(|c: char| c.is_ascii_digit());
            name.strip_prefix("net_")?
        }
        DpdkDevice::Pci(_) => return None,
    };
    // Where it is installed elsewhere, nothing can be said.
    let folders: Vec<String> = host
        .names("/usr/lib")
        .iter()
        .map(|triple| format!("/usr/lib/{triple}/dpdk"))
        .flat_map(|folder| host.names(&folder).into_iter().map(move |name| format!("{folder}/{name}")))
        .filter(|folder| folder.contains("/dpdk/pmds-"))
        .collect();
    let first = folders.first()?;
    let file = format!("librte_net_{name}.so");
    let has = |folder: &String| host.names(folder).iter().any(|found| found.starts_with(&file));
    if folders.iter().any(has) {
        return Some(Finding::ok("driver", format!("DPDK's driver {name} is there")));
    }
    // `pmds-23.0` belongs to packages that end in 23.
    let version = first.rsplit('-').next().unwrap_or_default().split('.').next().unwrap_or_default();
    let text = format!("DPDK's driver {name} is not in {first}");
    Some(Finding::missing("driver", text, format!("apt-get install librte-net-{}{version}", name.replace('_', "-"))))
}

/// The side that makes the socket needs its folder; the other needs the socket, unless it goes on trying.
fn socket(path: &Path, server: bool, patient: bool, host: &Host) -> Finding {
    use std::os::unix::fs::FileTypeExt;
    let name = path.display().to_string();
    let here = host.path(&name);
    let found = here.symlink_metadata().ok();
    let may_write = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    if found.as_ref().is_some_and(|found| !found.file_type().is_socket()) {
        return Finding::missing(
            "socket",
            format!("{name} is there and is no socket"),
            format!("rm {}", quoted(&name)),
        );
    }
    if server {
        let folder = path.parent().map(|folder| folder.display().to_string()).unwrap_or_default();
        let there = host.path(&folder);
        if !there.is_dir() {
            let text = format!("{folder} is not there, where the socket is to be");
            return Finding::missing("socket", text, format!("mkdir -p {}", quoted(&folder)));
        }
        if !may_write(&there) {
            let text = format!("this user may not make a socket in {folder}");
            return Finding::missing("socket", text, format!("sudo chown $(id -u) {}", quoted(&folder)));
        }
        return Finding::ok("socket", format!("{name} can be made"));
    }
    let look = format!("ls -l {}", quoted(&name));
    match found {
        None if patient => Finding::warning("socket", format!("{name} is not there yet")).by(look),
        None => Finding::missing("socket", format!("{name} is not there; start what makes it first"), look),
        Some(_) if may_write(&here) => Finding::ok("socket", format!("{name} is there")),
        Some(_) => {
            let text = format!("this user may not connect to {name}");
            Finding::missing("socket", text, format!("sudo chmod o+rw {}", quoted(&name)))
        }
    }
}

/// There, no longer the kernel's, and behind an IOMMU.
fn nic(address: &str, host: &Host) -> Vec<Finding> {
    let folder = format!("/sys/bus/pci/devices/{address}");
    if !host.exists(&folder) {
        return vec![Finding::missing("device", format!("there is no PCI device {address}"), "lspci -D -d ::0200")];
    }
    let class = host.text(&format!("{folder}/class")).unwrap_or_default();
    if !class.starts_with("0x02") {
        let text = format!("PCI device {address} is no network controller");
        return vec![Finding::missing("device", text, "lspci -D -d ::0200")];
    }
    let mut findings = vec![Finding::ok("device", format!("{address} is there"))];
    let bound = bound_to(&folder, host);
    // Of these the kernel keeps control, and DPDK takes the frames.
    if matches!(bound.as_deref(), Some("mlx4_core" | "mlx5_core")) {
        findings.push(Finding::ok("binding", "stays with the kernel's driver, as this kind does"));
        return findings;
    }
    if !host.exists("/sys/bus/pci/drivers/vfio-pci") {
        findings.push(Finding::missing("module", "the kernel's module vfio-pci is not loaded", "modprobe vfio-pci"));
    }
    findings.push(match bound.as_deref() {
        Some("vfio-pci") => Finding::ok("binding", "bound to vfio-pci"),
        other => {
            let interface = host.names(&format!("{folder}/net")).join(" ");
            let interface = if interface.is_empty() { interface } else { format!(", interface {interface}") };
            let text = format!("{address} is bound to {}{interface}", other.unwrap_or("no driver"));
            Finding::missing("binding", text, format!("dpdk-devbind.py --bind=vfio-pci {address}"))
        }
    });
    findings.push(iommu(address, &folder, host));
    findings
}

fn bound_to(folder: &str, host: &Host) -> Option<String> {
    let target = host.target(&format!("{folder}/driver"))?;
    target.rsplit('/').next().map(str::to_owned)
}

/// A group goes to user space as a whole or not at all.
fn iommu(address: &str, folder: &str, host: &Host) -> Finding {
    let switch = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
    let group = host.target(&format!("{folder}/iommu_group")).and_then(|t| t.rsplit('/').next().map(str::to_owned));
    let Some(group) = group else {
        if host.text(switch).as_deref() == Some("Y") {
            return Finding::warning("iommu", "none: the NIC can write to all memory, as was allowed");
        }
        let text = "none; `intel_iommu=on` or `amd_iommu=on` at boot brings it, or this allows to do without";
        return Finding::missing("iommu", text, format!("echo 1 > {switch}"));
    };
    let members = host.names(&format!("{folder}/iommu_group/devices")).into_iter();
    let others = members.filter(|member| member != address).find(|member| {
        let bound = bound_to(&format!("/sys/bus/pci/devices/{member}"), host);
        !matches!(bound.as_deref(), None | Some("vfio-pci" | "pcieport"))
    });
    if let Some(other) = others {
        let text = format!("group {group} has {other} too, which the kernel uses");
        return Finding::missing("iommu", text, format!("dpdk-devbind.py --bind=vfio-pci {other}"));
    }
    let device = format!("/dev/vfio/{group}");
    let may_open = rustix::fs::access(host.path(&device), rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK);
    if host.exists(&device) && may_open.is_err() {
        let text = format!("this user may not open {device}");
        return Finding::missing("iommu", text, format!("sudo chown $(id -u) {device}"));
    }
    Finding::ok("iommu", format!("group {group}"))
}

/// Pages for the buffers, and for a NIC the right to pin them.
fn memory(dpdk: &DpdkSpec, host: &Host) -> Vec<Finding> {
    let needed = dpdk.process.octets();
    let mut findings = vec![pages(dpdk.process.hugepages, needed, host)];
    if matches!(dpdk.device, DpdkDevice::Pci(_)) {
        findings.push(match host.memlock() {
            Some(limit) if limit < needed && !host.has_capability(CAP_IPC_LOCK) => {
                let text = format!("{} MiB are to be pinned, {} MiB may be", needed >> 20, limit >> 20);
                Finding::missing("memlock", text, "sudo prlimit --pid $$ --memlock=unlimited")
            }
            _ => Finding::ok("memlock", format!("{} MiB may be pinned", needed >> 20)),
        });
    }
    findings
}

/// Free huge pages for `needed` octets. None of them need be mounted: DPDK is told to take anonymous ones.
pub(super) fn pages(wanted: HugePages, needed: u64, host: &Host) -> Finding {
    if wanted == HugePages::Never {
        return Finding::ok("hugepages", "none wanted");
    }
    let sizes = "/sys/kernel/mm/hugepages";
    let free: u64 = host
        .names(sizes)
        .iter()
        .filter_map(|name| {
            let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
            Some(kib * 1024 * host.number(&format!("{sizes}/{name}/free_hugepages"))?)
        })
        .sum();
    let needed_mib = needed.div_ceil(1 << 20);
    if free >= needed {
        return Finding::ok("hugepages", format!("{needed_mib} MiB needed, {} MiB free", free >> 20));
    }
    let page = host.value("/proc/meminfo", "Hugepagesize:").and_then(|v| v.strip_suffix("kB")?.trim().parse().ok());
    let page = page.unwrap_or(2048_u64) * 1024;
    let there = host.number("/proc/sys/vm/nr_hugepages").unwrap_or(0);
    let command = format!("sysctl -w vm.nr_hugepages={}", there + (needed - free).div_ceil(page));
    let text = format!("{needed_mib} MiB needed, {} MiB free", free >> 20);
    if wanted == HugePages::Required {
        Finding::missing("hugepages", text, command)
    } else {
        Finding::warning("hugepages", text + "; ordinary pages will do, with more misses in the TLB").by(command)
    }
}
