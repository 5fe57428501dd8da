//! Names, sums, generations of rules and the endpoint.

mod counting;
mod endpoint;
mod generations;
mod names;

use super::label::*;
use super::*;
use crate::net::{CtState, DropReason, Family, InvalidReason, MacAddr, Now, PortId, ShardId};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

fn setup() -> Setup {
    let port = |name: &str| PortLabel { name: name.to_owned(), driver: "memory", mac: MacAddr([2; 6]), mtu: 1500 };
    Setup {
        ports: vec![port("lan0"), port("wan0")],
        cpus: vec![Some(3), None],
        helpers: vec!["ftp".to_owned()],
        per_worker: false,
        node_exporter: false,
        start: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
        start_now: Now::from_secs(50),
    }
}

fn slot(chain: &str, rule: Option<&str>, verdict: &'static str) -> RuleSlot {
    RuleSlot { chain: chain.to_owned(), rule: rule.map(str::to_owned), verdict }
}

fn text(exporter: &Exporter) -> String {
    String::from_utf8(exporter.text().unwrap()).unwrap()
}

/// Series by their text, labels included; those of the process itself move by themselves and are left out.
fn series(exporter: &Exporter) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    for line in text(exporter).lines().filter(|l| !l.starts_with('#') && !l.starts_with("process_")) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(out.insert(name.to_owned(), value.parse().unwrap()).is_none(), "twice: {name}");
    }
    out
}

/// The series that differ, as `name value`, without the prefix.
fn moved(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> Vec<String> {
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    let differ = after.iter().filter(|(name, value)| before[*name] != **value);
    differ.map(|(name, value)| format!("{} {value}", name.trim_start_matches("flowgate_"))).collect()
}

fn of(series: &BTreeMap<String, f64>, name: &str) -> f64 {
    *series.get(name).unwrap_or_else(|| panic!("no {name}"))
}
