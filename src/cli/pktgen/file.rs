//! Stream files: from YAML to a plan, or to every mistake at its place.

use super::value;
use crate::config::schema::{self, Entry, Keys, Kind as NodeKind, Map, Node, Reader, Wrong};
use crate::config::settings::{Cores, Driver, Settings, Vlan, Workers};
use crate::config::{Diagnostics, Place};
use crate::net::{Addr, Family, MacAddr, proto};
use crate::pktgen::Plan;
use crate::pktgen::plan::{Close, Distribution, Flows, Gateway, Kind, Limit, PortPlan, Rate, Space, Stream, Tcp, imix};
use crate::pktgen::signature::MAX_STREAMS;
use crate::pktgen::template::{full_size, least_size};
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

const TOP: Keys =
    Keys { known: &["version", "ports", "streams", "duration", "packets", "drain", "seed", "max_loss"], later: &[] };

/// Keys of a port that are the generator's; the others are the router's.
const OF_PORT: &[&str] = &["gateway", "line"];

const STREAM: Keys = Keys {
    known: &[
        "from",
        "to",
        "proto",
        "family",
        "size",
        "flows",
        "distribution",
        "exponent",
        "saddr",
        "daddr",
        "sport",
        "dport",
        "rate",
        "both",
        "replies",
        "invalid",
        "unsolicited",
        "concurrent",
        "request",
        "response",
        "requests",
        "close",
    ],
    later: &[],
};

/// Frame sizes of RFC 2544 section 9.1 for Ethernet.
const RFC2544: &[u16] = &[64, 128, 256, 512, 1024, 1280, 1518];

/// Most flows of a stream: each costs memory for its numbers and windows.
const MOST_FLOWS: u64 = 1 << 22;

/// Most addresses of a stream on a side.
const MOST_ADDRESSES: u32 = 1 << 16;

/// Most octets of a connection in a direction: half the circle of sequence numbers.
const MOST_OCTETS: u64 = 1 << 30;

/// Largest frame: what the largest IP packet needs, frame check sequence included.
const MOST_SIZE: u64 = 65_535;

/// Defaults of a run.
pub(super) const DURATION: Duration = Duration::from_secs(10);
pub(super) const DRAIN: Duration = Duration::from_millis(500);

/// A stream file that may be used.
pub(super) struct Loaded {
    /// Its ports and the workers on them, in the router's words.
    pub(super) settings: Settings,
    /// What is sent.
    pub(super) plan: Plan,
    /// Loss that is acceptable, as a share.
    pub(super) max_loss: f64,
    /// Some stream says which sizes it has.
    pub(super) sized: bool,
}

/// Reads the file `path` for so many workers on these cores.
pub(super) fn load(path: &Path, workers: u8, cores: &[u16]) -> Result<Loaded, Diagnostics> {
    let name = path.display().to_string();
    match schema::read_text(path) {
        Ok(text) => parse(&name, &text, workers, cores),
        Err(why) => {
            let mut diags = Diagnostics::new(name.clone(), "");
            diags.error(None, format!("cannot read {name}: {why}"));
            Err(diags)
        }
    }
}

/// Reads a text as the file `name`.
pub(super) fn parse(name: &str, text: &str, workers: u8, cores: &[u16]) -> Result<Loaded, Diagnostics> {
    let mut diags = Diagnostics::new(name, text);
    let Some(root) = schema::read(text, &mut diags) else {
        diags.sort();
        return Err(diags);
    };
    let mut r = Reader { diags };
    let dir = Path::new(name).parent().unwrap_or(Path::new("")).to_owned();
    let mut loaded = document(&mut r, &root, workers, &dir);
    if let Cores::Any = loaded.settings.workers.cores
        && !cores.is_empty()
    {
        loaded.settings.workers.cores = Cores::List(cores.to_vec());
    }
    r.diags.sort();
    if r.diags.errors() == 0 { Ok(loaded) } else { Err(r.diags) }
}

fn document(r: &mut Reader, root: &Node, workers: u8, dir: &Path) -> Loaded {
    let plan = Plan {
        ports: Vec::new(),
        streams: Vec::new(),
        limit: Limit { time: DURATION, packets: None },
        drain: DRAIN,
        seed: 1,
        owner: |tuple, workers| crate::steer::owner(tuple, workers).index(),
    };
    let settings = Settings { workers: Workers { count: workers, ..Workers::default() }, ..Settings::default() };
    let mut loaded = Loaded { settings, plan, max_loss: 0.0, sized: false };
    let Some(top) = r.map(root, "the stream file", TOP) else { return loaded };
    let start = Place { end: root.place.start, ..root.place };
    match top.get("version") {
        Some(node) => {
            if let Some(version) = r.parse(node, "version", |text| schema::integer(text, &(0..=u64::MAX)))
                && version != 1
            {
                r.error(node.place, format!("version {version} is not known")).help("this version reads `version: 1`");
            }
        }
        None => {
            r.error(start, "`version` is missing").help("begin with `version: 1`");
        }
    }
    let entries = top.get("ports").map_or(&[] as &[Entry], |node| r.entries(node, "ports"));
    let nets = ports(r, entries, &mut loaded, dir);
    if entries.len() < 2 {
        let place = top.entry("ports").map_or(start, |entry| entry.key_place);
        r.error(place, "two ports are needed").help("one to send by and one to receive by");
    }
    let plan = &mut loaded.plan;
    r.set(&top, "duration", &mut plan.limit.time, |r, n| {
        r.duration(n, "duration", 1).map(|ms| Duration::from_millis(u64::from(ms)))
    });
    r.set(&top, "packets", &mut plan.limit.packets, |r, n| r.int(n, "packets", 1..=u64::from(u32::MAX)).map(Some));
    r.set(&top, "drain", &mut plan.drain, |r, n| {
        r.duration(n, "drain", 0).map(|ms| Duration::from_millis(u64::from(ms)))
    });
    r.set(&top, "seed", &mut plan.seed, |r, n| r.int(n, "seed", 0..=u64::MAX));
    r.set(&top, "max_loss", &mut loaded.max_loss, |r, n| r.parse(n, "max_loss", value::share));
    let streams = top.get("streams").map_or(&[] as &[Entry], |node| r.entries(node, "streams"));
    if streams.is_empty() {
        let place = top.entry("streams").map_or(start, |entry| entry.key_place);
        r.error(place, "no stream is given").help("a stream says what is sent from one port to another");
    }
    for entry in streams {
        r.name(entry, "stream");
        let Some(map) = r.map(&entry.value, &format!("stream `{}`", entry.key), STREAM) else { continue };
        loaded.sized |= map.get("size").is_some();
        let before = r.diags.errors();
        let read = stream(r, &map, entry, plan, &nets);
        if let Some((stream, both)) = read
            && r.diags.errors() == before
        {
            // The way back is let pass only for flows that are known.
            let back = both.then(|| reversed(&stream));
            plan.streams.push(Stream { prime: both, ..stream });
            plan.streams.extend(back);
        }
    }
    if plan.streams.len() > MAX_STREAMS {
        r.error(start, format!("more than {MAX_STREAMS} streams"));
    }
    loaded
}

/// The same packets the other way: the stream whose tuples are the inverse.
fn reversed(stream: &Stream) -> Stream {
    let space = stream.space;
    Stream {
        name: format!("{}/back", stream.name),
        from: stream.to,
        to: stream.from,
        space: Space { src: space.dst, dst: space.src, sport: space.dport, dport: space.sport, ..space },
        ..stream.clone()
    }
}

/// Reads the ports; the router's keys by the router's reader.
fn ports(r: &mut Reader, entries: &[Entry], loaded: &mut Loaded, dir: &Path) -> Vec<Vec<IpNet>> {
    let mut shared = Vec::with_capacity(entries.len());
    let mut own = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut mine = Vec::new();
        let mut value = entry.value.clone();
        if let NodeKind::Map(keys) = &mut value.kind {
            keys.retain(|key| {
                let is_mine = OF_PORT.contains(&key.key.as_str());
                if is_mine {
                    mine.push(key.clone());
                }
                !is_mine
            });
        }
        shared.push(Entry { value, ..entry.clone() });
        own.push(mine);
    }
    let ports = schema::read_ports(r, &shared, loaded.settings.workers.count, dir);
    let mut nets = Vec::new();
    for ((port, mine), entry) in ports.iter().zip(own).zip(entries) {
        if matches!(port.driver, Driver::Pcap { .. }) {
            r.error(entry.key_place, "a capture is no port for a generator");
        }
        let vlan = match port.vlan {
            Vlan::Untagged => Vec::new(),
            Vlan::Tagged(id) => vec![id],
            Vlan::QinQ { outer, inner } => vec![outer, inner],
        };
        let mut plan = PortPlan { name: port.name.clone(), vlan, ..PortPlan::default() };
        plan.addresses.extend(port.addresses.iter().map(|net| (Addr::from(net.addr()), Family::from(net.addr()))));
        for key in mine {
            match key.key.as_str() {
                "gateway" => gateways(r, &key.value, &port.addresses, &mut plan),
                _ => plan.line = r.parse(&key.value, "line", value::line).or(plan.line),
            }
        }
        nets.push(port.addresses.clone());
        loaded.plan.ports.push(plan);
    }
    loaded.settings.ports = ports;
    nets
}

fn gateways(r: &mut Reader, node: &Node, addresses: &[IpNet], plan: &mut PortPlan) {
    for item in r.some(node, "gateway") {
        let Some(text) = r.text(item, "gateway") else { continue };
        if let Ok(mac) = text.parse::<MacAddr>() {
            for gateway in &mut plan.gateways {
                gateway.get_or_insert(Gateway::Mac(mac));
            }
            continue;
        }
        let Some(ip) = r.parse(item, "gateway", |text| {
            text.parse::<IpAddr>().map_err(|_| Wrong::new(format!("`{text}` is neither an address nor a link address")))
        }) else {
            continue;
        };
        if !addresses.iter().any(|net| net.contains(&ip)) {
            r.error(item.place, format!("{ip} is on no subnet of port `{}`", plan.name));
        }
        plan.gateways[Family::from(ip).index()] = Some(Gateway::Ip(ip.into()));
    }
}

fn stream(r: &mut Reader, map: &Map<'_>, entry: &Entry, plan: &Plan, nets: &[Vec<IpNet>]) -> Option<(Stream, bool)> {
    let names: Vec<&str> = plan.ports.iter().map(|port| port.name.as_str()).collect();
    let port = |r: &mut Reader, key: &str, default: usize| match map.get(key) {
        None => Some(default),
        Some(node) => {
            let text = r.text(node, key)?;
            r.reference(node.place, "port", text, names.iter().copied())
        }
    };
    let (from, to) = (port(r, "from", 0), port(r, "to", 1));
    let (from, to) = (from?, to?);
    if from == to {
        r.error(entry.key_place, "a stream goes from one port to another");
    }
    let mut proto = proto::UDP;
    r.set(map, "proto", &mut proto, |r, n| r.word(n, "proto", &[("udp", proto::UDP), ("tcp", proto::TCP)], &[]));
    let mut family = Family::V4;
    let families = [("ipv4", Family::V4), ("ipv6", Family::V6)];
    r.set(map, "family", &mut family, |r, n| r.word(n, "family", &families, &[]));
    let mut sizes = vec![if proto == proto::TCP { 1518 } else { 64.max(least_size(family, proto) as u16) }];
    r.set(map, "size", &mut sizes, |r, n| size(r, n, (family, proto), plan.seed));
    let mut rate = Rate::Max;
    r.set(map, "rate", &mut rate, |r, n| r.parse(n, "rate", value::rate));
    let (mut both, mut replies) = (false, false);
    r.set(map, "both", &mut both, |r, n| r.bool(n, "both"));
    r.set(map, "replies", &mut replies, |r, n| r.bool(n, "replies"));
    if replies && let Some(size) = sizes.iter().find(|size| usize::from(**size) < full_size(family, proto)) {
        let place = map.get("replies").map_or(entry.key_place, |node| node.place);
        r.error(place, format!("a frame of {size} octets has no room for the mark that replies need"))
            .help(format!("at least {}", full_size(family, proto)));
    }
    let (mut invalid, mut unsolicited) = (0.0, 0.0);
    r.set(map, "invalid", &mut invalid, |r, n| r.parse(n, "invalid", value::share));
    r.set(map, "unsolicited", &mut unsolicited, |r, n| r.parse(n, "unsolicited", value::share));
    let space = Space {
        family,
        proto,
        src: addresses(r, map, "saddr", entry, (family, nets.get(from)?))?,
        dst: addresses(r, map, "daddr", entry, (family, nets.get(to)?))?,
        sport: port_range(r, map, "sport", (1024, 64_512))?,
        dport: port_range(r, map, "dport", (9, 1))?,
    };
    let flows = flows(r, map, space.size())?;
    let kind = match tcp(r, map, (proto, rate))? {
        Some(tcp) => Kind::Tcp(tcp),
        None => Kind::Udp { replies },
    };
    let stream = Stream {
        name: entry.key.clone(),
        from,
        to,
        family,
        kind,
        space,
        flows,
        prime: false,
        sizes,
        rate,
        invalid,
        unsolicited,
    };
    Some((stream, both))
}

/// What TCP connections do; `None` for UDP. Keys of the other protocol are mistakes.
fn tcp(r: &mut Reader, map: &Map<'_>, (proto, rate): (u8, Rate)) -> Option<Option<Tcp>> {
    let is_tcp = proto == proto::TCP;
    let (foreign, of): (&[&str], &str) = match is_tcp {
        true => (&["flows", "distribution", "exponent", "replies", "both"], "udp"),
        false => (&["concurrent", "request", "response", "requests", "close"], "tcp"),
    };
    for key in foreign {
        if let Some(entry) = map.entry(key) {
            r.error(entry.key_place, format!("`{key}` belongs to `proto: {of}`"));
        }
    }
    if !is_tcp {
        return Some(None);
    }
    if let (Rate::Bps(_) | Rate::Line(_), Some(node)) = (rate, map.get("rate")) {
        r.error(node.place, "connections are counted per second").help("`max` or a number of cps, as in 1kcps");
    }
    let mut tcp = Tcp { concurrent: 100, request: 100, response: 1000, requests: 1, close: Close::Fin };
    let int = |r: &mut Reader, key: &str, range: std::ops::RangeInclusive<u64>, target: &mut u32| {
        r.set(map, key, target, |r, n| r.int(n, key, range).map(|n| n as u32));
    };
    int(r, "concurrent", 1..=MOST_FLOWS, &mut tcp.concurrent);
    int(r, "request", 0..=MOST_OCTETS, &mut tcp.request);
    int(r, "response", 0..=MOST_OCTETS, &mut tcp.response);
    int(r, "requests", 1..=1_000_000, &mut tcp.requests);
    let total = |octets: u32| u64::from(octets) * u64::from(tcp.requests);
    if total(tcp.request.max(tcp.response)) > MOST_OCTETS {
        let place = map.get("requests").or(map.get("response")).map_or(Place::default(), |node| node.place);
        r.error(place, format!("a connection carries at most {MOST_OCTETS} octets each way"));
    }
    r.set(map, "close", &mut tcp.close, |r, n| r.word(n, "close", &[("fin", Close::Fin), ("rst", Close::Rst)], &[]));
    Some(Some(tcp))
}

/// `imix`, `rfc2544`, a size, a range or a list of sizes.
fn size(r: &mut Reader, node: &Node, (family, proto): (Family, u8), seed: u64) -> Option<Vec<u16>> {
    let least = least_size(family, proto) as u16;
    match &node.kind {
        NodeKind::Scalar { text, .. } if text == "imix" => return Some(imix(least)),
        NodeKind::Scalar { text, .. } if text == "rfc2544" => {
            return Some(RFC2544.iter().map(|size| least.max(*size)).collect());
        }
        _ => {}
    }
    let mut sizes = Vec::new();
    for item in r.some(node, "size") {
        let help = || format!("a number, a range as in 64-1518, a list of them, `imix` or `rfc2544`; at least {least}");
        let text = r.text(item, "size")?;
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = u64::from(least)..=MOST_SIZE;
        let parse = |text: &str| schema::integer(text.trim(), &range);
        match (parse(first), parse(last)) {
            (Ok(first), Ok(last)) if first <= last => sizes.extend((first..=last).map(|size| size as u16)),
            (Ok(_), Ok(_)) => {
                r.error(item.place, format!("the range `{text}` is reversed"));
            }
            (Err(wrong), _) | (_, Err(wrong)) => {
                r.error(item.place, format!("`size`: {}", wrong.message)).help(help());
            }
        }
    }
    let list = matches!(node.kind, NodeKind::List(_));
    if !list && sizes.len() > 1 {
        // A range is meant to be mixed.
        use rand::SeedableRng;
        use rand::seq::SliceRandom;
        sizes.shuffle(&mut rand::rngs::SmallRng::seed_from_u64(seed));
    }
    (!sizes.is_empty()).then_some(sizes)
}

/// Gives a stream the sizes of RFC 2544.
pub(super) fn rfc2544(stream: &mut Stream) {
    let least = least_size(stream.family, stream.proto()) as u16;
    stream.sizes = RFC2544.iter().map(|size| least.max(*size)).collect();
}

/// One address or those of a prefix; without any, the port's own.
fn addresses(
    r: &mut Reader,
    map: &Map<'_>,
    key: &str,
    entry: &Entry,
    (family, nets): (Family, &Vec<IpNet>),
) -> Option<(Addr, u32)> {
    let Some(node) = map.get(key) else {
        let own = nets.iter().map(IpNet::addr).find(|address| Family::from(*address) == family);
        if own.is_none() {
            let label = if family == Family::V4 { "IPv4" } else { "IPv6" };
            r.error(entry.key_place, format!("stream `{}`: its port has no {label} address", entry.key))
                .help(format!("give the port one, or the stream `{key}`"));
        }
        return own.map(|address| (address.into(), 1));
    };
    let net = r.parse(node, key, schema::prefix)?;
    if Family::from(net.addr()) != family {
        r.error(node.place, format!("`{key}`: {net} is of another family than the stream"));
        return None;
    }
    let bits = net.max_prefix_len() - net.prefix_len();
    let first = Addr::from(net.network());
    if bits == 0 {
        return Some((first, 1));
    }
    // Neither the network's own address nor, in IPv4, its broadcast address.
    let all = 1u64 << bits.min(32);
    let usable = if bits == 1 { 2 } else { all - 2 };
    let skipped = u64::from(bits > 1);
    Some((Addr { lo: first.lo + skipped, ..first }, usable.min(u64::from(MOST_ADDRESSES)) as u32))
}

fn port_range(r: &mut Reader, map: &Map<'_>, key: &str, default: (u16, u32)) -> Option<(u16, u32)> {
    let Some(node) = map.get(key) else { return Some(default) };
    let range = r.parse(node, key, schema::ports)?;
    Some((*range.start(), u32::from(*range.end() - *range.start()) + 1))
}

fn flows(r: &mut Reader, map: &Map<'_>, space: u64) -> Option<Flows> {
    let mut count = 1;
    r.set(map, "flows", &mut count, |r, n| {
        let count = r.int(n, "flows", 1..=MOST_FLOWS)?;
        if count > space {
            r.error(n.place, format!("{count} flows, but addresses and ports make {space} different ones"))
                .help("widen `sport`, `saddr`, `daddr` or `dport`");
            return None;
        }
        Some(count as u32)
    });
    let words = [("sequential", 0), ("uniform", 1), ("zipf", 2)];
    let mut word = if map.get("exponent").is_some() { 2 } else { 0 };
    r.set(map, "distribution", &mut word, |r, n| r.word(n, "distribution", &words, &[]));
    let mut exponent = 1.0;
    r.set(map, "exponent", &mut exponent, |r, n| r.parse(n, "exponent", value::exponent));
    if let Some(node) = map.get("exponent")
        && word != 2
    {
        r.error(node.place, "`exponent` belongs to `distribution: zipf`");
    }
    let distribution = match word {
        0 => Distribution::Sequential,
        1 => Distribution::Uniform,
        _ => Distribution::Zipf(exponent),
    };
    Some(Flows { count, distribution })
}
