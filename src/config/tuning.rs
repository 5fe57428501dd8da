//! The sections `helpers`, `conntrack`, `fragments`, `icmp`, `neigh`, `metrics` and `log`.

use super::load::Scope;
use super::marks::Marks;
use super::read::{Keys, Reader};
use super::rules::{addresses, port_list};
use super::settings::{
    Compat, Conntrack, Fragments, Helper, IcmpLimit, Log, LogFormat, LogLevel, Metrics, Neigh, OnFull, Timeouts,
};
use super::tree::{Entry, Node};
use super::value::{self, Wrong};
use super::zones;
use crate::helper::{Flag, HelperConfig, HelperKind};
use crate::policy::spec::AddrMatch;
use std::net::SocketAddr;

const HELPER: Keys = Keys {
    known: &[
        "type",
        "l4proto",
        "ports",
        "iif",
        "daddr",
        "max_expected",
        "timeout",
        "loose",
        "direct_media",
        "external_media",
        "direct_signalling",
    ],
    later: &[],
};

/// Helpers netfilter has and this version has not.
const LATER_HELPERS: &[&str] = &["h323", "snmp", "netbios-ns"];

const CONNTRACK: Keys = Keys {
    known: &[
        "max_entries",
        "on_full",
        "expect_max",
        "checksum",
        "tcp_loose",
        "tcp_be_liberal",
        "tcp_ignore_invalid_rst",
        "tcp_max_retrans",
        "per_source",
        "zones",
        "timeouts",
    ],
    later: &["timeout_policies"],
};

const FRAGMENTS: Keys = Keys { known: &["ipfrag_high_thresh", "frag6_high_thresh"], later: &[] };

const ICMP: Keys = Keys { known: &["msgs_per_sec", "msgs_burst"], later: &[] };

const NEIGH: Keys = Keys {
    known: &["base_reachable_time", "retrans_time", "mcast_solicit", "ucast_solicit", "unres_qlen", "gc_thresh3"],
    later: &[],
};

const METRICS: Keys = Keys { known: &["listen", "per_worker", "compat"], later: &[] };

const LOG: Keys = Keys { known: &["level", "format"], later: &[] };

/// Most helpers: their number is one octet.
const MAX_HELPERS: usize = 256;

/// Shortest timeout: entries are looked at once per second.
const SECOND: u32 = 1000;

/// Reads `helpers`.
pub(super) fn helpers(r: &mut Reader, entries: &[Entry], scope: &Scope, marks: &mut Marks) -> Vec<Helper> {
    let mut helpers = Vec::new();
    if let Some(entry) = entries.get(MAX_HELPERS) {
        r.error(entry.key_place, format!("more than {MAX_HELPERS} helpers"));
    }
    for entry in entries {
        r.name(entry, "helper");
        marks.helpers.push(entry.key_place);
        let mut helper = usual(&entry.key, HelperKind::Ftp);
        if let Some(map) = r.map(&entry.value, &format!("helper `{}`", entry.key), HELPER) {
            match map.get("type") {
                Some(node) => {
                    let words: Vec<_> = HelperKind::ALL.iter().map(|kind| (kind.helper().name(), *kind)).collect();
                    if let Some(kind) = r.word(node, "type", &words, LATER_HELPERS) {
                        helper = usual(&entry.key, kind);
                    }
                }
                None => {
                    r.error(entry.key_place, format!("helper `{}` has no `type`", entry.key)).help("write `type: ftp`");
                }
            }
            if let Some(node) = map.get("l4proto")
                && let Some(number) = r.word(node, "l4proto", value::PROTOCOLS, &[])
            {
                if helper.kind.helper().defaults().l4proto.contains(&number) {
                    helper.l4proto = number;
                } else {
                    let (name, given) = (helper.kind.helper().name(), value::print_protocol(number));
                    r.error(node.place, format!("`l4proto`: {name} does not run over {given}"))
                        .help(format!("write `l4proto: {}`", value::print_protocol(helper.l4proto)));
                }
            }
            if let Some(node) = map.get("ports") {
                let items = r.some(node, "ports");
                helper.ports = items.iter().filter_map(|n| r.int(n, "ports", 1..=65535)).map(|p| p as u16).collect();
            }
            helper.iif = port_list(r, &map, "iif", scope);
            helper.daddr = addresses(r, &map, "daddr", scope);
            // More than 255 expectations of one connection are refused by netfilter too.
            r.set(&map, "max_expected", &mut helper.max_expected, |r, n| {
                Some(Some(r.int(n, "max_expected", 1..=255)? as u8))
            });
            r.set(&map, "timeout", &mut helper.timeout, |r, n| Some(Some(r.duration(n, "timeout", SECOND)?)));
            for flag in Flag::ALL {
                let word = flag.word();
                let Some(node) = map.get(word) else { continue };
                if helper.kind.helper().flags().contains(&flag) {
                    r.set(&map, word, flag.of(&mut helper.options), |r, n| r.bool(n, word));
                } else {
                    let name = helper.kind.helper().name();
                    r.error(node.place, format!("`{word}` is no option of {name}")).help("take it out");
                }
            }
        }
        helpers.push(helper);
    }
    helpers
}

/// A helper of which nothing is said but its kind.
fn usual(name: &str, kind: HelperKind) -> Helper {
    let usual = HelperConfig::usual(name, kind);
    Helper {
        name: usual.name,
        kind,
        l4proto: usual.l4proto,
        ports: usual.ports,
        iif: Vec::new(),
        daddr: AddrMatch::default(),
        max_expected: usual.max_expected,
        timeout: usual.timeout_ms,
        options: usual.settings,
    }
}

/// Reads `conntrack`.
pub(super) fn conntrack(r: &mut Reader, node: &Node, scope: &Scope, marks: &mut Marks) -> Conntrack {
    let mut ct = Conntrack::default();
    let Some(map) = r.map(node, "conntrack", CONNTRACK) else { return ct };
    marks.max_entries = map.get("max_entries").map(|n| n.place);
    r.set(&map, "max_entries", &mut ct.max_entries, |r, n| Some(r.int(n, "max_entries", 1..=1 << 28)? as u32));
    r.set(&map, "on_full", &mut ct.on_full, |r, n| r.word(n, "on_full", OnFull::WORDS, &[]));
    r.set(&map, "expect_max", &mut ct.expect_max, |r, n| Some(r.int(n, "expect_max", 1..=1 << 24)? as u32));
    r.set(&map, "checksum", &mut ct.checksum, |r, n| r.bool(n, "checksum"));
    r.set(&map, "tcp_loose", &mut ct.tcp_loose, |r, n| r.bool(n, "tcp_loose"));
    r.set(&map, "tcp_be_liberal", &mut ct.tcp_be_liberal, |r, n| r.bool(n, "tcp_be_liberal"));
    r.set(&map, "tcp_ignore_invalid_rst", &mut ct.tcp_ignore_invalid_rst, |r, n| r.bool(n, "tcp_ignore_invalid_rst"));
    r.set(&map, "tcp_max_retrans", &mut ct.tcp_max_retrans, |r, n| Some(r.int(n, "tcp_max_retrans", 0..=255)? as u8));
    r.set(&map, "per_source", &mut ct.per_source, |r, n| Some(Some(r.int(n, "per_source", 1..=1 << 28)? as u32)));
    r.set(&map, "zones", &mut ct.zones, |r, n| Some(zones::zones(r, n, scope)));
    if let Some(node) = map.get("timeouts")
        && let Some(map) = r.map(node, "timeouts", Keys { known: Timeouts::NAMES, later: &[] })
    {
        for name in Timeouts::NAMES {
            if let (Some(node), Some(target)) = (map.get(name), ct.timeouts.get_mut(name))
                && let Some(ms) = r.duration(node, name, SECOND)
            {
                *target = ms;
            }
        }
    }
    ct
}

/// Reads `fragments`.
pub(super) fn fragments(r: &mut Reader, node: &Node) -> Fragments {
    let mut fragments = Fragments::default();
    let Some(map) = r.map(node, "fragments", FRAGMENTS) else { return fragments };
    for (key, target) in [
        ("ipfrag_high_thresh", &mut fragments.ipfrag_high_thresh),
        ("frag6_high_thresh", &mut fragments.frag6_high_thresh),
    ] {
        // Less than one whole datagram would let none be completed.
        r.set(&map, key, target, |r, n| Some(r.int(n, key, 65536..=1 << 30)? as u32));
    }
    fragments
}

/// Reads `icmp`.
pub(super) fn icmp(r: &mut Reader, node: &Node) -> IcmpLimit {
    let mut icmp = IcmpLimit::default();
    let Some(map) = r.map(node, "icmp", ICMP) else { return icmp };
    for (key, target) in [("msgs_per_sec", &mut icmp.msgs_per_sec), ("msgs_burst", &mut icmp.msgs_burst)] {
        r.set(&map, key, target, |r, n| Some(r.int(n, key, 1..=1_000_000)? as u32));
    }
    icmp
}

/// Reads `neigh`.
pub(super) fn neigh(r: &mut Reader, node: &Node) -> Neigh {
    let mut neigh = Neigh::default();
    let Some(map) = r.map(node, "neigh", NEIGH) else { return neigh };
    r.set(&map, "base_reachable_time", &mut neigh.base_reachable_time, |r, n| {
        r.duration(n, "base_reachable_time", SECOND)
    });
    r.set(&map, "retrans_time", &mut neigh.retrans_time, |r, n| r.duration(n, "retrans_time", 100));
    for (key, target) in [("mcast_solicit", &mut neigh.mcast_solicit), ("ucast_solicit", &mut neigh.ucast_solicit)] {
        r.set(&map, key, target, |r, n| Some(r.int(n, key, 1..=100)? as u8));
    }
    r.set(&map, "unres_qlen", &mut neigh.unres_qlen, |r, n| Some(r.int(n, "unres_qlen", 0..=4096)? as u16));
    r.set(&map, "gc_thresh3", &mut neigh.gc_thresh3, |r, n| Some(r.int(n, "gc_thresh3", 1..=1 << 20)? as u32));
    neigh
}

/// Reads `metrics`.
pub(super) fn metrics(r: &mut Reader, node: &Node, marks: &mut Marks) -> Metrics {
    let mut metrics = Metrics::default();
    let Some(map) = r.map(node, "metrics", METRICS) else { return metrics };
    marks.listen = map.get("listen").map(|n| n.place);
    r.set(&map, "listen", &mut metrics.listen, |r, n| r.parse(n, "listen", listener));
    r.set(&map, "per_worker", &mut metrics.per_worker, |r, n| r.bool(n, "per_worker"));
    r.set(&map, "compat", &mut metrics.compat, |r, n| r.word(n, "compat", Compat::WORDS, &[]).map(Some));
    metrics
}

fn listener(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        Wrong::new(format!("`{text}` is not an address and a port")).help("as in \"127.0.0.1:9752\" or \"[::1]:9752\"")
    })
}

/// Reads `log`.
pub(super) fn log(r: &mut Reader, node: &Node) -> Log {
    let mut log = Log::default();
    let Some(map) = r.map(node, "log", LOG) else { return log };
    r.set(&map, "level", &mut log.level, |r, n| r.word(n, "level", LogLevel::WORDS, &[]));
    r.set(&map, "format", &mut log.format, |r, n| r.word(n, "format", LogFormat::WORDS, &[]));
    log
}
