//! What a run needs of the machine: each port by itself, then the cores, then the memory.

use super::ports::{core_of, port_spec};
use super::sizing::reserved_bytes;
use crate::config::Settings;
use crate::config::settings::{Cores, Driver, Idle, Port};
use crate::driver::needs::{Finding, Host, cpu_list, needs};

/// What was found about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The thing: a port by its configured name, `workers`, or `memory`.
    pub subject: String,
    /// What it is made of, for people.
    pub detail: String,
    /// Findings, most basic first.
    pub findings: Vec<Finding>,
}

/// Looks at everything a run of `settings` needs.
#[must_use]
pub fn run_needs(settings: &Settings, host: &Host) -> Vec<Report> {
    let mut reports: Vec<_> = settings.ports.iter().map(|port| port_needs(settings, port, host)).collect();
    let count = settings.workers.count;
    let detail = match &settings.workers.cores {
        Cores::Any => format!("{count} on any core"),
        Cores::List(cores) => format!("on cores {}", list(cores)),
    };
    reports.push(Report { subject: "workers".to_owned(), detail, findings: workers(settings, host) });
    let total = reserved_bytes(settings).total();
    let findings = memory(total, host);
    reports.push(Report { subject: "memory".to_owned(), detail: format!("{} MiB", mib(total)), findings });
    reports
}

/// Looks at what one port needs.
#[must_use]
pub fn port_needs(settings: &Settings, port: &Port, host: &Host) -> Report {
    let mut findings = needs(&port_spec(settings, port), host);
    findings.extend(numa(settings, port, host));
    let (driver, target) = (port.driver.word(), port.driver.target());
    let detail = if target.is_empty() { driver.to_owned() } else { format!("{driver} {target}") };
    Report { subject: format!("port {}", port.name), detail, findings }
}

fn list(numbers: &[u16]) -> String {
    numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

const fn mib(octets: u64) -> u64 {
    octets.div_ceil(1 << 20)
}

/// A worker on another node than the device fetches every frame across the link between them.
fn numa(settings: &Settings, port: &Port, host: &Host) -> Option<Finding> {
    let (device, node) = match &port.driver {
        Driver::AfPacket { device } | Driver::AfXdp { device, .. } => {
            let folder = format!("/sys/class/net/{device}");
            // What is mounted there may be another network namespace's.
            let same = host.number(&format!("{folder}/ifindex")) == Some(u64::from(host.link(device)?.index));
            (device, host.number(&format!("{folder}/device/numa_node")).filter(|_| same)?)
        }
        Driver::Vfio { pci } => (pci, host.number(&format!("/sys/bus/pci/devices/{pci}/numa_node"))?),
        _ => return None,
    };
    let Cores::List(cores) = &settings.workers.cores else { return None };
    let far: Vec<u16> =
        cores.iter().copied().filter(|core| host.node_of_cpu(*core).is_some_and(|n| u64::from(n) != node)).collect();
    if far.is_empty() {
        return Some(Finding::ok("numa", format!("device and cores are on node {node}")));
    }
    let near = host.text(&format!("/sys/devices/system/node/node{node}/cpulist")).unwrap_or_default();
    let text = format!("{device} is on NUMA node {node}, cores {} are not; near it are {near}", list(&far));
    Some(Finding::warning("numa", text))
}

fn workers(settings: &Settings, host: &Host) -> Vec<Finding> {
    let mut findings = Vec::new();
    let allowed = host.value("/proc/self/status", "Cpus_allowed_list:").map(|text| cpu_list(&text));
    let count = usize::from(settings.workers.count);
    let spins = settings.workers.idle == Idle::Spin;
    let Cores::List(cores) = &settings.workers.cores else {
        let Some(allowed) = allowed else { return findings };
        findings.push(if count > allowed.len() && spins {
            let text = format!("{count} workers that never sleep share {} cores", allowed.len());
            Finding::warning("cores", text)
        } else {
            Finding::ok("cores", format!("{} for {count} worker{}", allowed.len(), if count == 1 { "" } else { "s" }))
        });
        return findings;
    };
    let mut wanted = cores.clone();
    wanted.extend(settings.workers.main_core);
    let barred: Vec<u16> =
        wanted.iter().copied().filter(|core| allowed.as_ref().is_some_and(|a| !a.contains(core))).collect();
    findings.push(if barred.is_empty() {
        Finding::ok("cores", format!("{} may be used", list(&wanted)))
    } else {
        let text = format!("this process may not run on {}", list(&barred));
        Finding::missing("cores", text, format!("taskset --pid --cpu-list {} $$", list(&wanted)))
    });
    findings.extend(siblings(settings, host));
    if spins {
        findings.push(isolation(cores, host));
    }
    findings.push(interrupts(cores, host));
    findings.extend(governor(cores, host));
    findings
}

/// Two workers on one core's two threads have half a core each.
fn siblings(settings: &Settings, host: &Host) -> Option<Finding> {
    let cores: Vec<_> = (0..usize::from(settings.workers.count)).filter_map(|w| core_of(settings, w)).collect();
    let threads_of = |core: usize| {
        host.text(&format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")).map(|t| cpu_list(&t))
    };
    cores.iter().enumerate().find_map(|(at, core)| {
        let threads = threads_of(*core)?;
        let other = cores[at + 1..].iter().find(|other| threads.iter().any(|t| usize::from(*t) == **other))?;
        Some(Finding::warning("siblings", format!("{core} and {other} are threads of one core and halve each other")))
    })
}

fn isolation(cores: &[u16], host: &Host) -> Finding {
    let isolated = host.text("/sys/devices/system/cpu/isolated").map(|text| cpu_list(&text)).unwrap_or_default();
    let open: Vec<u16> = cores.iter().copied().filter(|core| !isolated.contains(core)).collect();
    if open.is_empty() {
        return Finding::ok("isolation", "the scheduler keeps other programs off");
    }
    let text = format!(
        "other programs may be scheduled on {}; `isolcpus={}` at boot keeps them off",
        list(&open),
        list(cores)
    );
    Finding::warning("isolation", text)
}

/// Device interrupts that a worker's core serves interrupt the poll loop.
fn interrupts(cores: &[u16], host: &Host) -> Finding {
    let mut found = Vec::new();
    for irq in host.names("/proc/irq") {
        let folder = format!("/proc/irq/{irq}");
        // One with a handler has a folder of the handler's name.
        let used = host.names(&folder).iter().any(|name| host.path(&format!("{folder}/{name}")).is_dir());
        let served = host.text(&format!("{folder}/effective_affinity_list")).filter(|text| !text.is_empty());
        let served = served.or_else(|| host.text(&format!("{folder}/smp_affinity_list")));
        let served = served.map(|text| cpu_list(&text)).unwrap_or_default();
        if used && served.iter().any(|cpu| cores.contains(cpu)) {
            found.push(irq);
        }
    }
    if found.is_empty() {
        return Finding::ok("interrupts", "no device interrupts these cores");
    }
    found.sort_by_key(|irq| irq.parse::<u32>().unwrap_or(u32::MAX));
    let text = format!("these cores serve interrupts {}", found.join(" "));
    let online = host.text("/sys/devices/system/cpu/online").map(|text| cpu_list(&text)).unwrap_or_default();
    let rest: Vec<u16> = online.into_iter().filter(|cpu| !cores.contains(cpu)).collect();
    if rest.is_empty() {
        return Finding::warning("interrupts", text + ", and no core is left for them");
    }
    let command =
        format!("for irq in {}; do echo {} > /proc/irq/$irq/smp_affinity_list; done", found.join(" "), list(&rest));
    Finding::warning("interrupts", text).by(command)
}

fn governor(cores: &[u16], host: &Host) -> Option<Finding> {
    let governor = |core: &u16| host.text(&format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor"));
    let slow: Vec<u16> =
        cores.iter().copied().filter(|core| governor(core).is_some_and(|g| g != "performance")).collect();
    if slow.is_empty() {
        return cores.iter().any(|core| governor(core).is_some()).then(|| Finding::ok("governor", "performance"));
    }
    let text = format!("the clock of cores {} follows the load, which lags behind bursts", list(&slow));
    Some(
        Finding::warning("governor", text)
            .by(format!("cpupower --cpu {} frequency-set --governor performance", list(&slow))),
    )
}

/// Ordinary pages.
fn memory(total: u64, host: &Host) -> Vec<Finding> {
    let kib = |key| host.value("/proc/meminfo", key).and_then(|v| v.strip_suffix("kB")?.trim().parse::<u64>().ok());
    let Some(available) = kib("MemAvailable:").map(|kib| kib << 10) else { return Vec::new() };
    vec![if available < total {
        let text = format!("{} MiB are to be reserved, {} MiB are available", mib(total), available >> 20);
        Finding::missing("available", text, "ps --sort=-rss -eo pid,rss,comm | head")
    } else {
        Finding::ok("available", format!("{} MiB to be reserved, {} MiB available", mib(total), available >> 20))
    }]
}

#[cfg(test)]
mod tests;
