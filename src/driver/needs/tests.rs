use super::*;
use crate::net::PortId;
use std::fs;
use std::path::Path;

/// A machine of these files.
fn files(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

const STATUS: &str = "Name:\tflowgate\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000002000\n";

/// All that a port on `eth0` needs, without CAP_NET_ADMIN.
const GOOD: &[(&str, &str)] = &[
    ("proc/self/status", STATUS),
    ("proc/sys/net/core/rmem_max", "67108864\n"),
    ("proc/sys/net/ipv4/conf/eth0/forwarding", "0\n"),
    ("proc/sys/net/ipv6/conf/eth0/forwarding", "1\n"),
    ("proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1\n"),
];

fn eth0() -> Link {
    Link { index: 7, name: "eth0".to_owned(), ethernet: true, up: true, carrier: true, mtu: 1500, ..Link::default() }
}

fn spec() -> PortSpec {
    let mut spec = PortSpec::new("lan", PortId(0), DriverKind::AfPacket);
    spec.device = Some("eth0".to_owned());
    spec
}

fn look(root: &Path, links: Vec<Link>) -> Vec<Finding> {
    let findings = needs(&spec(), &Host::at(root, links));
    let lacks = findings.iter().find(|finding| finding.level == Level::Missing && finding.command.is_none());
    assert_eq!(lacks, None, "missing, and nothing mends it");
    findings
}

/// What is not as it should be: check, level, command.
fn wrong(findings: &[Finding]) -> Vec<(&str, Level, &str)> {
    let wrong = findings.iter().filter(|finding| finding.level != Level::Ok);
    wrong.map(|finding| (finding.check, finding.level, finding.command.as_deref().unwrap_or(""))).collect()
}

/// The good machine with some files written anew, and how it differs.
fn differs(changed: &[(&str, &str)], link: Link) -> Vec<(String, Level, String)> {
    let root = files(&[GOOD, changed].concat());
    let findings = look(root.path(), vec![link]);
    wrong(&findings).into_iter().map(|(check, level, command)| (check.to_owned(), level, command.to_owned())).collect()
}

fn one(check: &str, level: Level, command: &str) -> Vec<(String, Level, String)> {
    vec![(check.to_owned(), level, command.to_owned())]
}

#[test]
fn a_machine_with_everything_has_nothing_wrong() {
    assert_eq!(differs(&[], eth0()), []);
}

#[test]
fn each_thing_that_is_wrong_is_named_with_what_mends_it() {
    use Level::{Missing, Warning};
    let link = |change: fn(&mut Link)| {
        let mut link = eth0();
        change(&mut link);
        differs(&[], link)
    };
    let file = |path, text| differs(&[(path, text)], eth0());
    assert_eq!(link(|l| l.up = false), one("link", Missing, "ip link set dev eth0 up"));
    assert_eq!(link(|l| l.carrier = false), one("link", Warning, ""));
    assert_eq!(link(|l| l.ethernet = false), one("device", Missing, "ip -brief link"));
    let program = |l: &mut Link| l.program = Some(Program { mode: "xdpgeneric", id: 5 });
    assert_eq!(link(program), one("program", Warning, "ip link set dev eth0 xdpgeneric off"));
    let address = |l: &mut Link| l.addresses.push([10, 0, 0, 1].into());
    assert_eq!(link(address), one("silence", Missing, "ip -4 address flush dev eth0"));
    let off = "sysctl -w net/ipv6/conf/eth0/disable_ipv6=1";
    assert_eq!(link(|l| l.addresses.push("2001:db8::1".parse().unwrap())), one("silence", Missing, off));
    assert_eq!(link(|l| l.addresses.push("fe80::1".parse().unwrap())), one("silence", Warning, off));
    let four = "proc/sys/net/ipv4/conf/eth0/forwarding";
    assert_eq!(file(four, "1"), one("silence", Missing, "sysctl -w net/ipv4/conf/eth0/forwarding=0"));
    let six = file("proc/sys/net/ipv6/conf/eth0/disable_ipv6", "0");
    assert_eq!(six[0], one("silence", Missing, "sysctl -w net/ipv6/conf/eth0/forwarding=0")[0]);
    assert_eq!(six[1..], one("silence", Warning, off));
    let small = file("proc/sys/net/core/rmem_max", "212992");
    assert_eq!(small, one("buffer", Warning, "sysctl -w net.core.rmem_max=16777216"));
    let raw = file("proc/self/status", "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000001000\n");
    assert_eq!((raw.len(), raw[0].1), (1, Missing));
    assert!(raw[0].2.starts_with("sudo setcap cap_net_raw,cap_net_admin=ep /"), "{raw:?}");
    let contained = file("proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000001000\n");
    assert_eq!(contained, one("permission", Missing, "docker run --cap-add=NET_RAW …"));
    let larger = {
        let mut spec = spec();
        spec.mtu = Some(9000);
        let root = files(GOOD);
        needs(&spec, &Host::at(root.path(), vec![eth0()]))
    };
    assert_eq!(wrong(&larger), [("mtu", Warning, "ip link set dev eth0 mtu 9000")]);
}

#[test]
fn another_flowgate_is_found_by_what_it_holds() {
    let unix = "Num       RefCount Protocol Flags    Type St Inode Path\n\
        0000000000000000: 00000002 00000000 00000000 0002 01  4711 @flowgate/interface/7\n";
    let found = differs(&[("proc/net/unix", unix)], eth0());
    assert_eq!((found[0].0.as_str(), found[0].1), ("use", Level::Missing));
    let root = files(&[GOOD, &[("proc/net/unix", unix), ("proc/99/comm", "flowgate")]].concat());
    fs::create_dir_all(root.path().join("proc/99/fd")).unwrap();
    std::os::unix::fs::symlink("socket:[4711]", root.path().join("proc/99/fd/5")).unwrap();
    assert_eq!(wrong(&look(root.path(), vec![eth0()])), [("use", Level::Missing, "kill 99")]);
    // That of another interface is not ours.
    let other = Link { index: 8, ..eth0() };
    assert_eq!(differs(&[("proc/net/unix", unix)], other), []);
}

#[test]
fn an_absent_interface_is_looked_for() {
    let root = files(GOOD);
    let near = look(root.path(), vec![Link { name: "eht0".to_owned(), ..eth0() }]);
    assert!(near[1].text.ends_with("did you mean eht0?"), "{near:?}");
    assert_eq!(wrong(&look(root.path(), vec![])), [("device", Level::Missing, "ip -brief link")]);
    // In the first network namespace, and this one has a name.
    let root = files(&[GOOD, &[("proc/1/net/dev", "Inter-|\n  eth0: 0 0\n")]].concat());
    for (folder, inode) in [("proc/1/ns", "net:[1]"), ("proc/self/ns", "net:[2]")] {
        fs::create_dir_all(root.path().join(folder)).unwrap();
        std::os::unix::fs::symlink(inode, root.path().join(folder).join("net")).unwrap();
    }
    let wanted = "nsenter -t 1 -n ip link set dev eth0 netns $$";
    assert_eq!(wrong(&look(root.path(), vec![])), [("device", Level::Missing, wanted)]);
}

#[test]
fn a_capture_must_be_there() {
    let root = files(&[("data/in.pcap", "")]);
    let host = Host::at(root.path(), Vec::new());
    let mut spec = PortSpec::new("lan", PortId(0), DriverKind::Pcap);
    spec.path = Some("/data/in.pcap".into());
    assert_eq!(wrong(&needs(&spec, &host)), []);
    spec.path = Some("/data/out's.pcap".into());
    assert_eq!(wrong(&needs(&spec, &host)), [("capture", Level::Missing, "ls /data")]);
}

#[test]
fn words_are_quoted_for_a_shell() {
    for (word, wanted) in [("eth0.5", "eth0.5"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''"), ("$x", "'$x'")] {
        assert_eq!(quoted(word), wanted);
    }
}

#[test]
fn cpu_lists_are_the_kernels() {
    assert_eq!(cpu_list("0-2,5\n"), [0, 1, 2, 5]);
    assert!(cpu_list("").is_empty());
}

/// The kernel lists at least the loopback interface, in any namespace.
#[test]
fn this_machine_has_a_loopback() {
    let host = Host::this();
    let lo = host.link("lo").unwrap();
    assert!(lo.index > 0 && !lo.ethernet && lo.program.is_none(), "{lo:?}");
}

#[test]
fn a_tap_device_is_made_or_attached_to() {
    let mut spec = PortSpec::new("lan", PortId(0), DriverKind::Tap);
    spec.device = Some("tap0".to_owned());
    let root = files(&[GOOD, &[("dev/net/tun", "")]].concat());
    let look = |links: Vec<Link>| needs(&spec, &Host::at(root.path(), links));
    assert_eq!(wrong(&look(Vec::new()))[0].0, "permission", "without CAP_NET_ADMIN none can be made");
    let tap = |kind: &str, up| Link { name: "tap0".to_owned(), kind: Some(kind.to_owned()), up, ..eth0() };
    assert_eq!(wrong(&look(vec![tap("tun", true)])), []);
    assert_eq!(wrong(&look(vec![tap("tun", false)])), [("link", Level::Missing, "ip link set dev tap0 up")]);
    assert_eq!(wrong(&look(vec![tap("veth", true)])), [("device", Level::Missing, "ip tuntap list")]);
    let bare = files(GOOD);
    assert_eq!(wrong(&needs(&spec, &Host::at(bare.path(), Vec::new())))[0].0, "maker");
}

mod dpdk {
    use super::super::dpdk::pages;
    use super::*;
    use crate::driver::{DpdkDevice, DpdkProcess, DpdkSpec, HugePages};
    use crate::frame::PoolConfig;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    fn spec(device: DpdkDevice) -> PortSpec {
        let pool = PoolConfig { buffers: 1024, frame_size: 2048 };
        let process = DpdkProcess { hugepages: HugePages::Never, pci: false, pool, cpus: vec![None] };
        let mut spec = PortSpec::new("lan", PortId(0), DriverKind::Dpdk);
        spec.dpdk = Some(DpdkSpec { device, receive_queues: 1, steering: None, process });
        spec
    }

    /// What is wrong but for the build, which differs from one test run to the next.
    fn wrong_with(device: DpdkDevice, root: &Path) -> Vec<(String, Level, String)> {
        let findings = needs(&spec(device), &Host::at(root, Vec::new()));
        assert_eq!(findings[0].check, "build");
        assert_eq!(findings[0].level == Level::Ok, cfg!(feature = "dpdk"));
        let wrong = findings[1..].iter().filter(|finding| finding.level != Level::Ok);
        wrong.map(|f| (f.check.to_owned(), f.level, f.command.clone().unwrap_or_default())).collect()
    }

    #[test]
    fn sockets_and_their_folders() {
        let root = files(&[("run/lab/x", ""), ("run/other", "")]);
        let frontend = |path: &str, server| DpdkDevice::VirtioUser { path: path.into(), server };
        let backend = |path: &str, server| DpdkDevice::VhostUser { path: path.into(), server };
        let look = |device| wrong_with(device, root.path());
        assert_eq!(look(backend("/run/lab/p.sock", true)), []);
        assert_eq!(look(backend("/run/new/p.sock", true)), one("socket", Level::Missing, "mkdir -p /run/new"));
        assert_eq!(look(frontend("/run/lab/p.sock", false)), one("socket", Level::Missing, "ls -l /run/lab/p.sock"));
        assert_eq!(look(backend("/run/lab/p.sock", false)), one("socket", Level::Warning, "ls -l /run/lab/p.sock"));
        assert_eq!(look(backend("/run/lab/x", true)), one("socket", Level::Missing, "rm /run/lab/x"));
        let _peer = UnixListener::bind(root.path().join("run/lab/p.sock")).unwrap();
        assert_eq!(look(frontend("/run/lab/p.sock", false)), []);
    }

    #[test]
    fn drivers_are_looked_for_where_dpdk_has_its_own() {
        let folder = "usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0";
        let root = files(&[(&format!("{folder}/librte_net_virtio.so.23"), ""), ("run/x", "")]);
        let backend = DpdkDevice::VhostUser { path: "/run/p.sock".into(), server: true };
        let wanted = one("driver", Level::Missing, "apt-get install librte-net-vhost23");
        assert_eq!(wrong_with(backend, root.path()), wanted);
        let wanted = one("driver", Level::Missing, "apt-get install librte-net-af-packet23");
        assert_eq!(wrong_with(DpdkDevice::Eal("net_af_packet0,iface=x".to_owned()), root.path()), wanted);
        assert_eq!(wrong_with(DpdkDevice::Eal("net_virtio_user0".to_owned()), files(&[]).path()), []);
    }

    const NIC: &str = "sys/bus/pci/devices/0000:03:00.0";

    /// A NIC that is vfio's, alone in its group.
    fn machine(bound: &str) -> tempfile::TempDir {
        let root = files(&[
            (&format!("{NIC}/class"), "0x020000\n"),
            ("sys/bus/pci/drivers/vfio-pci/bind", ""),
            ("sys/kernel/iommu_groups/7/devices/x", ""),
            ("proc/self/status", "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n"),
            ("proc/self/limits", "Max locked memory         unlimited            unlimited            bytes\n"),
        ]);
        fs::remove_file(root.path().join("sys/kernel/iommu_groups/7/devices/x")).unwrap();
        let at = |path: &str| root.path().join(path);
        symlink(format!("../../drivers/{bound}"), at(&format!("{NIC}/driver"))).unwrap();
        symlink(at("sys/kernel/iommu_groups/7"), at(&format!("{NIC}/iommu_group"))).unwrap();
        fs::create_dir(at("sys/kernel/iommu_groups/7/devices/0000:03:00.0")).unwrap();
        root
    }

    fn nic() -> DpdkDevice {
        DpdkDevice::Pci("0000:03:00.0".to_owned())
    }

    #[test]
    fn a_nic_belongs_to_vfio_with_its_whole_group() {
        use Level::{Missing, Warning};
        assert_eq!(wrong_with(nic(), machine("vfio-pci").path()), []);
        assert_eq!(wrong_with(nic(), machine("mlx5_core").path()), []);
        let bind = "dpdk-devbind.py --bind=vfio-pci 0000:03:00.0";
        assert_eq!(wrong_with(nic(), machine("ixgbe").path()), one("binding", Missing, bind));
        let without = machine("ixgbe");
        fs::remove_dir_all(without.path().join("sys/bus/pci/drivers")).unwrap();
        assert_eq!(wrong_with(nic(), without.path())[0], one("module", Missing, "modprobe vfio-pci")[0]);
        let gone = DpdkDevice::Pci("0000:04:00.0".to_owned());
        assert_eq!(wrong_with(gone, machine("vfio-pci").path())[0], one("device", Missing, "lspci -D -d ::0200")[0]);

        let shared = machine("vfio-pci");
        fs::create_dir(shared.path().join("sys/kernel/iommu_groups/7/devices/0000:03:00.1")).unwrap();
        assert_eq!(wrong_with(nic(), shared.path()), []);
        let other = shared.path().join("sys/bus/pci/devices/0000:03:00.1");
        fs::create_dir_all(&other).unwrap();
        symlink("../../drivers/ixgbe", other.join("driver")).unwrap();
        let bind = "dpdk-devbind.py --bind=vfio-pci 0000:03:00.1";
        assert_eq!(wrong_with(nic(), shared.path()), one("iommu", Missing, bind));

        let open = machine("vfio-pci");
        fs::remove_file(open.path().join(NIC).join("iommu_group")).unwrap();
        let switch = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
        assert_eq!(wrong_with(nic(), open.path()), one("iommu", Missing, &format!("echo 1 > /{switch}")));
        fs::create_dir_all(open.path().join(switch).parent().unwrap()).unwrap();
        fs::write(open.path().join(switch), "Y\n").unwrap();
        assert_eq!(wrong_with(nic(), open.path()), one("iommu", Warning, ""));

        let pinned = machine("vfio-pci");
        let limits = "Max locked memory         8388608              8388608              bytes\n";
        fs::write(pinned.path().join("proc/self/limits"), limits).unwrap();
        let raise = "sudo prlimit --pid $$ --memlock=unlimited";
        assert_eq!(wrong_with(nic(), pinned.path()), one("memlock", Missing, raise));
    }

    #[test]
    fn huge_pages_are_counted_in_all_sizes() {
        let root = files(&[
            ("proc/meminfo", "Hugepagesize:       2048 kB\n"),
            ("proc/sys/vm/nr_hugepages", "10\n"),
            ("sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "8\n"),
            ("sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "0\n"),
        ]);
        let host = Host::at(root.path(), Vec::new());
        let look = |wanted, mib: u64| pages(wanted, mib << 20, &host);
        assert_eq!(look(HugePages::Never, 900).level, Level::Ok);
        assert_eq!(look(HugePages::Required, 16).level, Level::Ok);
        for (wanted, level) in [(HugePages::Auto, Level::Warning), (HugePages::Required, Level::Missing)] {
            let short = look(wanted, 21);
            assert_eq!((short.level, short.command.as_deref()), (level, Some("sysctl -w vm.nr_hugepages=13")));
        }
        fs::write(root.path().join("sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages"), "1").unwrap();
        assert_eq!(look(HugePages::Required, 900).level, Level::Ok);
    }
}
