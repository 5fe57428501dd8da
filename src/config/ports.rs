//! The sections `workers` and `ports`.

use super::diag::Place;
use super::load::Scope;
use super::marks::Marks;
use super::read::{Keys, Map, Reader};
use super::settings::{Cores, Dispatch, Driver, Hugepages, Idle, Port, Vlan, Workers, XdpMode};
use super::tree::{Entry, Kind, Node};
use super::value::{self, Wrong};
use crate::net::ids::{MAX_PORTS, MAX_SHARDS};
use crate::net::{Addr, Family, MacAddr, PortId};
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::PathBuf;

const WORKERS: Keys = Keys { known: &["cores", "count", "main_core", "dispatch", "hugepages", "idle"], later: &[] };

const PORT: Keys = Keys {
    known: &[
        "driver",
        "device",
        "path",
        "server",
        "pci",
        "xdp_mode",
        "queues",
        "ring",
        "mtu",
        "mac",
        "vlan",
        "zone",
        "addresses",
        "mode",
    ],
    later: &["peer"],
};

/// Reads `workers`.
pub(super) fn workers(r: &mut Reader, node: &Node, scope: &Scope) -> Workers {
    let mut workers = Workers::default();
    let Some(map) = r.map(node, "workers", WORKERS) else { return workers };
    let mut places = Vec::new();
    if let Some(node) = map.get("cores") {
        if let Kind::List(items) = &node.kind {
            let (cores, at) = core_list(r, node, items, scope);
            if !cores.is_empty() {
                workers.count = cores.len() as u8;
                workers.cores = Cores::List(cores);
                places = at;
            }
        } else if r.text(node, "cores").is_some_and(|text| text != "any") {
            r.error(node.place, "`cores` must be a list of CPU numbers or `any`");
        }
    }
    if let Some(node) = map.get("count")
        && let Some(count) = r.int(node, "count", 1..=MAX_SHARDS as u64)
    {
        if let Cores::List(cores) = &workers.cores
            && cores.len() as u64 != count
        {
            let message = format!("`count` is {count} but `cores` lists {}", cores.len());
            r.error(node.place, message).help("leave `count` out: there is one worker per core");
        } else {
            workers.count = count as u8;
        }
    }
    if let Some(node) = map.get("main_core")
        && let Some(core) = r.int(node, "main_core", 0..=1023)
    {
        let core = core as u16;
        if let Cores::List(cores) = &workers.cores
            && let Some(at) = cores.iter().position(|other| *other == core)
        {
            r.error(node.place, format!("core {core} is a worker's already"))
                .related(places[at], "here")
                .help("the main core answers for control; a worker would starve it");
        }
        present(r, node.place, core, scope);
        workers.main_core = Some(core);
    }
    r.set(&map, "dispatch", &mut workers.dispatch, |r, n| r.word(n, "dispatch", Dispatch::WORDS, &[]));
    r.set(&map, "hugepages", &mut workers.hugepages, |r, n| r.word(n, "hugepages", Hugepages::WORDS, &[]));
    r.set(&map, "idle", &mut workers.idle, |r, n| r.word(n, "idle", Idle::WORDS, &[]));
    workers
}

fn core_list(r: &mut Reader, node: &Node, items: &[Node], scope: &Scope) -> (Vec<u16>, Vec<Place>) {
    let (mut cores, mut places) = (Vec::new(), Vec::new());
    for item in items {
        let Some(core) = r.int(item, "cores", 0..=1023) else { continue };
        let core = core as u16;
        if let Some(at) = cores.iter().position(|other| *other == core) {
            r.error(item.place, format!("core {core} is used twice")).related(places[at], "first");
            continue;
        }
        present(r, item.place, core, scope);
        cores.push(core);
        places.push(item.place);
    }
    if items.is_empty() {
        r.error(node.place, "`cores` is an empty list").help("name the cores, or write `any`");
    }
    if cores.len() > MAX_SHARDS {
        r.error(node.place, format!("{} cores, at most {MAX_SHARDS} are possible", cores.len()));
        cores.clear();
    }
    (cores, places)
}

fn present(r: &mut Reader, place: Place, core: u16, scope: &Scope) {
    if let Some(cpus) = &scope.machine.cpus
        && !cpus.contains(&core)
    {
        let all: Vec<_> = cpus.iter().map(u16::to_string).collect();
        r.error(place, format!("core {core} is absent")).help(format!("this machine has: {}", all.join(", ")));
    }
}

/// Reads the ports, in file order.
pub(super) fn ports(
    r: &mut Reader,
    entries: &[Entry],
    workers: &Workers,
    scope: &Scope,
    marks: &mut Marks,
) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    let mut addresses: Vec<(PortId, IpNet, Place)> = Vec::new();
    let mut doors: Vec<(Driver, Place)> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        marks.ports.push(entry.key_place);
        if index == MAX_PORTS {
            r.error(entry.key_place, format!("more than {MAX_PORTS} ports"));
        }
        if index >= MAX_PORTS {
            continue;
        }
        r.name(entry, "port");
        let id = PortId(index as u8);
        let mut port = Port {
            id,
            name: entry.key.clone(),
            driver: Driver::Memory,
            queues: workers.count,
            ring: 1024,
            mtu: None,
            mac: None,
            vlan: Vlan::default(),
            zone: None,
            addresses: Vec::new(),
        };
        if let Some(map) = r.map(&entry.value, &format!("port `{}`", entry.key), PORT) {
            if let Some((driver, place)) = driver(r, &map, entry, scope) {
                let same = doors.iter().find(|(other, _)| is_same_door(other, &driver));
                if let Some((_, first)) = same {
                    r.error(place, "this device is another port's already").related(*first, "first");
                }
                doors.push((driver.clone(), place));
                port.driver = driver;
            }
            link(r, &map, workers, &mut port);
            if let Some(node) = map.get("addresses") {
                for item in r.list(node, "addresses") {
                    if let Some(net) = r.parse(item, "addresses", interface) {
                        clash(r, id, net, item.place, &addresses, entries);
                        addresses.push((id, net, item.place));
                        port.addresses.push(net);
                    }
                }
            }
            if let (Some(mtu), Some(node)) = (port.mtu, map.get("mtu"))
                && mtu < 1280
                && port.addresses.iter().any(|net| net.addr().is_ipv6())
            {
                r.error(node.place, format!("`mtu`: {mtu} is too small for IPv6")).help("at least 1280 (RFC 8200)");
            }
        }
        ports.push(port);
    }
    ports
}

fn driver(r: &mut Reader, map: &Map<'_>, entry: &Entry, scope: &Scope) -> Option<(Driver, Place)> {
    let Some(node) = map.get("driver") else {
        r.error(entry.key_place, format!("port `{}` has no `driver`", entry.key))
            .help(format!("one of: {}", Driver::WORDS.join(", ")));
        return None;
    };
    let words: Vec<(&str, &str)> = Driver::WORDS.iter().map(|word| (*word, *word)).collect();
    let driver = r.word(node, "driver", &words, &[])?;
    let wanted = match driver {
        "af_packet" | "af_xdp" | "tap" | "dpdk" => Some("device"),
        "pcap" | "vhost_user" | "virtio_user" => Some("path"),
        "vfio" => Some("pci"),
        _ => None,
    };
    let socket = matches!(driver, "vhost_user" | "virtio_user");
    for key in ["device", "path", "pci", "server"] {
        if let Some(entry) = map.entry(key)
            && wanted != Some(key)
            && !(socket && key == "server")
        {
            let diagnostic = r.error(entry.key_place, format!("driver `{driver}` takes no `{key}`"));
            if let Some(wanted) = wanted {
                diagnostic.help(format!("it takes `{wanted}`"));
            }
        }
    }
    // The frontend connects to the backend, unless told otherwise.
    let mut server = driver == "vhost_user";
    if socket {
        r.set(map, "server", &mut server, |r, n| r.bool(n, "server"));
    }
    if driver != "af_xdp"
        && let Some(entry) = map.entry("xdp_mode")
    {
        r.error(entry.key_place, format!("driver `{driver}` takes no `xdp_mode`")).help("only `af_xdp` does");
    }
    let Some(key) = wanted else { return Some((Driver::Memory, node.place)) };
    let Some(value) = map.get(key) else {
        let what = match (driver, key) {
            ("dpdk", _) => "the device as DPDK does after `--vdev`, such as net_null0",
            (_, "device") => "the kernel interface",
            (_, "pci") => "the NIC, such as \"0000:03:00.0\"",
            ("pcap", _) => "the capture file",
            _ => "the socket",
        };
        r.error(node.place, format!("driver `{driver}` needs `{key}`")).help(format!("`{key}` names {what}"));
        return None;
    };
    let driver = match driver {
        "tap" => Driver::Tap { device: r.parse(value, key, interface_name)? },
        "af_xdp" => Driver::AfXdp { device: r.parse(value, key, interface_name)?, mode: xdp_mode(r, map) },
        "dpdk" => Driver::Dpdk { device: r.parse(value, key, dpdk_device)? },
        "vfio" => Driver::Vfio { pci: r.parse(value, key, pci_address)? },
        "vhost_user" => Driver::VhostUser { path: socket_path(r, value, scope)?, server },
        "virtio_user" => Driver::VirtioUser { path: socket_path(r, value, scope)?, server },
        "pcap" => Driver::Pcap { path: scope.file(r.text(value, key)?) },
        _ => Driver::AfPacket { device: r.parse(value, key, interface_name)? },
    };
    Some((driver, value.place))
}

fn xdp_mode(r: &mut Reader, map: &Map<'_>) -> XdpMode {
    let mut mode = XdpMode::Auto;
    r.set(map, "xdp_mode", &mut mode, |r, n| r.word(n, "xdp_mode", XdpMode::WORDS, &[]));
    mode
}

/// Two ports may not have one interface, whatever the drivers, nor one capture, nor one device of DPDK's.
fn is_same_door(one: &Driver, other: &Driver) -> bool {
    match (one, other) {
        (Driver::Dpdk { device: one }, Driver::Dpdk { device: other }) => dpdk_name(one) == dpdk_name(other),
        (Driver::VhostUser { path: one, .. }, Driver::VhostUser { path: other, .. }) => one == other,
        (Driver::VirtioUser { path: one, .. }, Driver::VirtioUser { path: other, .. }) => one == other,
        _ => match (one.device(), other.device()) {
            (Some(one), Some(other)) => one == other,
            (None, None) => one == other && *one != Driver::Memory,
            _ => false,
        },
    }
}

/// The name in DPDK's string for a device; parameters follow it.
fn dpdk_name(device: &str) -> &str {
    device.split_once(',').map_or(device, |(name, _)| name)
}

/// DPDK's string for a device.
fn dpdk_device(text: &str) -> Result<String, Wrong> {
    let name = dpdk_name(text);
    let word = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let wrong = if pci_address(name).is_ok() {
        Wrong::new(format!("`{name}` is a PCI address")).help("`driver: vfio` takes it as `pci`")
    } else if !word || !name.starts_with("net_") {
        Wrong::new(format!("`{name}` cannot be a network device of DPDK's"))
            .help("a driver's name and a number, then parameters: \"net_null0,size=64\"")
    } else if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Wrong::new("a device of DPDK's has no blanks").help("parameters stand between commas: \"net_null0,size=64\"")
    } else {
        return Ok(text.to_owned());
    };
    Err(wrong)
}

/// A PCI address with its domain.
fn pci_address(text: &str) -> Result<String, Wrong> {
    let digits = |part: &str, count| part.len() == count && part.chars().all(|c| c.is_ascii_hexdigit());
    let whole = || {
        let (domain, rest) = text.split_once(':')?;
        let (bus, rest) = rest.split_once(':')?;
        let (device, function) = rest.split_once('.')?;
        let function_fits = digits(function, 1) && function < "8";
        let device_fits = digits(device, 2) && u8::from_str_radix(device, 16).is_ok_and(|device| device < 32);
        Some(digits(domain, 4) && digits(bus, 2) && device_fits && function_fits)
    };
    if whole() == Some(true) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(Wrong::new(format!("`{text}` is not a PCI address")).help("as `lspci -D` shows it: \"0000:03:00.0\""))
}

/// Octets a socket's name can have (`sun_path`, unix(7)), its end mark not counted.
const SOCKET_NAME: usize = 107;

/// The socket of a vhost-user connection.
fn socket_path(r: &mut Reader, node: &Node, scope: &Scope) -> Option<PathBuf> {
    let path = scope.file(r.text(node, "path")?);
    let name = path.as_os_str().as_encoded_bytes();
    if name.len() > SOCKET_NAME {
        let message = format!("`path` is {} octets long, a socket's name has at most {SOCKET_NAME}", name.len());
        r.error(node.place, message).help(path.display().to_string());
        return None;
    }
    if name.iter().any(|c| *c == b',' || c.is_ascii_control()) {
        r.error(node.place, "DPDK takes no comma and no control character in a socket's name");
        return None;
    }
    Some(path)
}

/// What Linux takes for an interface's name.
fn interface_name(text: &str) -> Result<String, Wrong> {
    let fine = text.len() <= 15
        && !matches!(text, "." | "..")
        && !text.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
    if fine {
        Ok(text.to_owned())
    } else {
        Err(Wrong::new(format!("`{text}` cannot be an interface"))
            .help("at most 15 characters without `/`, `:` and blanks"))
    }
}

fn link(r: &mut Reader, map: &Map<'_>, workers: &Workers, port: &mut Port) {
    if matches!(port.driver, Driver::VirtioUser { .. }) {
        // A backend serves as many as it likes and cannot be asked; what lies in others is lost.
        port.queues = 1;
    }
    if let Some(node) = map.get("queues")
        && let Some(queues) = r.int(node, "queues", 1..=MAX_SHARDS as u64)
    {
        if queues > u64::from(workers.count) {
            let message = format!("{queues} queues for {} workers", workers.count);
            r.error(node.place, message).help("a queue without a worker would never be read");
        } else if queues < u64::from(workers.count) && matches!(port.driver, Driver::Tap { .. } | Driver::AfXdp { .. })
        {
            let message = format!("{queues} queues for {} workers", workers.count);
            let help = format!("every worker has a queue of an `{}` port; leave `queues` out", port.driver.word());
            r.error(node.place, message).help(help);
        } else {
            port.queues = queues as u8;
        }
    }
    r.set(map, "ring", &mut port.ring, |r, n| {
        let ring = r.int(n, "ring", 64..=65536)?;
        if !ring.is_power_of_two() {
            let (below, above) = (1 << ring.ilog2(), ring.next_power_of_two());
            r.error(n.place, format!("`ring`: {ring} is not a power of two")).help(format!("{below} or {above}"));
        }
        Some(ring as u32)
    });
    r.set(map, "mtu", &mut port.mtu, |r, n| r.int(n, "mtu", 68..=65535).map(|mtu| Some(mtu as u16)));
    r.set(map, "mac", &mut port.mac, |r, n| r.parse(n, "mac", station).map(Some));
    r.set(map, "vlan", &mut port.vlan, vlan);
    r.set(map, "zone", &mut port.zone, |r, n| r.text(n, "zone").map(|zone| Some(zone.to_owned())));
    if let Some(node) = map.get("mode") {
        r.word(node, "mode", &[("route", ())], &["wire"]);
    }
}

/// A link address that one station can have.
pub(super) fn station(text: &str) -> Result<MacAddr, Wrong> {
    let mac: MacAddr = text.parse().map_err(|_| {
        Wrong::new(format!("`{text}` is not a link address"))
            .help("six pairs of hexadecimal digits, as in \"02:00:00:00:00:01\"")
    })?;
    if mac.is_multicast() {
        return Err(
            Wrong::new(format!("{mac} is a group's address")).help("the lowest bit of the first octet must be 0")
        );
    }
    if mac == MacAddr::default() {
        return Err(Wrong::new(format!("{mac} is nobody's address")));
    }
    Ok(mac)
}

fn vlan(r: &mut Reader, node: &Node) -> Option<Vlan> {
    match &node.kind {
        Kind::List(items) => {
            let tags: Vec<u16> =
                items.iter().filter_map(|item| r.int(item, "vlan", 1..=4094)).map(|t| t as u16).collect();
            match (tags.as_slice(), items.len()) {
                (&[outer, inner], 2) => Some(Vlan::QinQ { outer, inner }),
                (_, 2) => None,
                _ => {
                    r.error(node.place, "`vlan` as a list is the outer and the inner tag");
                    None
                }
            }
        }
        _ => r.int(node, "vlan", 1..=4094).map(|tag| Vlan::Tagged(tag as u16)),
    }
}

/// An address a router can have on a port.
fn interface(text: &str) -> Result<IpNet, Wrong> {
    let net = value::interface(text)?;
    let (ip, family) = (net.addr(), Family::from(net.addr()));
    let address = Addr::from(ip);
    let kind = if address.is_multicast(family) {
        "a group's address"
    } else if address.is_unspecified() {
        "nobody's address"
    } else if address.is_loopback(family) {
        "a loopback address"
    } else if matches!(ip, IpAddr::V4(v4) if v4.octets()[0] >= 240 || v4.octets()[0] == 0) {
        "a reserved address"
    } else if net.prefix_len() == 0 {
        return Err(Wrong::new("a connected prefix of length 0 would hold the whole world"));
    } else if net.max_prefix_len() - net.prefix_len() >= 2 && ip == net.network() {
        let kind = if ip.is_ipv4() { "the address of the network itself" } else { "the routers' anycast address" };
        return Err(Wrong::new(format!("{ip} is {kind}")).help("give the router's own address on it"));
    } else if ip.is_ipv4() && net.prefix_len() <= 30 && ip == net.broadcast() {
        "the network's broadcast address"
    } else {
        return Ok(net);
    };
    Err(Wrong::new(format!("{ip} is {kind}")))
}

fn clash(r: &mut Reader, id: PortId, net: IpNet, place: Place, known: &[(PortId, IpNet, Place)], entries: &[Entry]) {
    let local = matches!(net.addr(), IpAddr::V6(_)) && Addr::from(net.addr()).is_link_local(Family::V6);
    for (port, other, first) in known {
        let name = &entries[port.index()].key;
        if *port == id {
            if other.addr() == net.addr() {
                r.error(place, format!("{} is given twice", net.addr())).related(*first, "first");
                return;
            }
        // Every port has its own link: the same link-local addresses mean something else on each.
        } else if !local {
            if other.addr() == net.addr() {
                r.error(place, format!("{} is an address of port `{name}` too", net.addr())).related(*first, "first");
                return;
            }
            if other.contains(&net) || net.contains(other) {
                r.error(place, format!("{} overlaps a subnet of port `{name}`", net.trunc()))
                    .related(*first, format!("{}", other.trunc()))
                    .help("a destination could be on either side");
                return;
            }
        }
    }
}
