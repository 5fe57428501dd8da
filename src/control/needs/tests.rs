use super::*;
use crate::config::{Machine, parse_on};
use crate::driver::needs::{Level, Link};
use std::fs;

const GOOD: &[(&str, &str)] = &[
    ("proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000003000\nCpus_allowed_list:\t0-7\n"),
    ("proc/meminfo", "MemTotal: 9000000 kB\nMemAvailable: 8000000 kB\n"),
    ("sys/devices/system/cpu/isolated", "2-3\n"),
    ("sys/devices/system/cpu/online", "0-7\n"),
    ("sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2,6\n"),
    ("sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "3,7\n"),
    ("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "performance\n"),
    ("proc/irq/9/acpi/x", ""),
    ("proc/irq/9/effective_affinity_list", "0\n"),
    ("proc/irq/10/smp_affinity_list", "2\n"),
    ("sys/devices/system/node/node0/cpulist", "0-3\n"),
    ("sys/devices/system/node/node1/cpulist", "4-7\n"),
    ("sys/class/net/eth0/ifindex", "4\n"),
    ("sys/class/net/eth0/device/numa_node", "0\n"),
];

const WORKERS: &str = "workers: { cores: [2, 3], main_core: 1, idle: spin }\n";

/// What is not as it should be on the good machine with some files written anew.
fn wrong(workers: &str, changed: &[(&str, &str)]) -> Vec<String> {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in GOOD.iter().chain(changed) {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let port = "ports: { lan: { driver: af_packet, device: eth0, addresses: [10.0.0.1/24] } }\n";
    let text = format!("version: 1\n{workers}{port}");
    let settings = parse_on(&Machine::default(), "test.yaml", &text).unwrap().settings;
    let link = Link { index: 4, name: "eth0".to_owned(), ethernet: true, up: true, carrier: true, ..Link::default() };
    let host = Host::at(root.path(), vec![link]);
    let mut wrong = Vec::new();
    for report in run_needs(&settings, &host) {
        for finding in report.findings.iter().filter(|finding| finding.level != Level::Ok) {
            assert!(finding.level == Level::Warning || finding.command.is_some(), "{finding:?}");
            let command = finding.command.as_deref().unwrap_or("-");
            wrong.push(format!("{} {} {}: {command}", report.subject, finding.level.label(), finding.check));
        }
    }
    wrong
}

#[test]
fn a_machine_with_everything_has_nothing_wrong() {
    assert_eq!(wrong(WORKERS, &[]), [""; 0]);
    assert_eq!(wrong("", &[]), [""; 0]);
}

#[test]
fn each_thing_that_is_wrong_is_named_with_what_mends_it() {
    let changed = |path, text| wrong(WORKERS, &[(path, text)]);
    let status = "CapEff:\t0000000000003000\nCpus_allowed_list:\t0-2\n";
    assert_eq!(changed("proc/self/status", status), ["workers missing cores: taskset --pid --cpu-list 2,3,1 $$"]);
    assert_eq!(changed("sys/devices/system/cpu/isolated", "\n"), ["workers warning isolation: -"]);
    let siblings = "sys/devices/system/cpu/cpu2/topology/thread_siblings_list";
    assert_eq!(changed(siblings, "2,3"), ["workers warning siblings: -"]);
    assert_eq!(
        changed("proc/irq/9/effective_affinity_list", "3"),
        ["workers warning interrupts: for irq in 9; do echo 0,1,4,5,6,7 > /proc/irq/$irq/smp_affinity_list; done"]
    );
    assert_eq!(
        changed("sys/devices/system/cpu/cpu2/cpufreq/scaling_governor", "powersave"),
        ["workers warning governor: cpupower --cpu 2 frequency-set --governor performance"]
    );
    assert_eq!(changed("sys/class/net/eth0/device/numa_node", "1"), ["port lan warning numa: -"]);
    assert_eq!(
        changed("proc/meminfo", "MemAvailable: 1000 kB\n"),
        ["memory missing available: ps --sort=-rss -eo pid,rss,comm | head"]
    );
}

#[test]
fn workers_that_never_sleep_want_a_core_each() {
    let spin = "workers: { count: 9, idle: spin }\n";
    assert_eq!(wrong(spin, &[]), ["workers warning cores: -"]);
    assert_eq!(wrong(&spin.replace("spin", "sleep"), &[]), [""; 0]);
}

#[test]
fn a_node_of_another_namespaces_interface_says_nothing() {
    let wrong = wrong(WORKERS, &[("sys/class/net/eth0/ifindex", "5"), ("sys/class/net/eth0/device/numa_node", "1")]);
    assert_eq!(wrong, [""; 0]);
}
