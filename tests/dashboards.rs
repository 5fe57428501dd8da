//! The dashboard and the alerts in `docker/`, held against the metrics the router serves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of it is test code")]

use flowgate::metrics::families::{self, Desc, Kind};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docker").join(name)).unwrap()
}

fn dashboard() -> serde_json::Value {
    serde_json::from_str(&file("grafana/dashboards/flowgate.json")).expect("JSON")
}

fn alerts() -> serde_yaml::Value {
    serde_yaml::from_str(&file("prometheus/alerts.yml")).expect("YAML")
}

/// Every expression with where it stands.
fn expressions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in dashboard()["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((format!("panel `{title}`"), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for rule in alerts()["groups"][0]["rules"].as_sequence().unwrap() {
        let name = rule["alert"].as_str().unwrap();
        found.push((format!("alert {name}"), rule["expr"].as_str().unwrap().to_owned()));
    }
    found
}

/// The words of an expression, quoted values left out.
fn words(expr: &str) -> Vec<String> {
    let bare: String = expr.split('"').step_by(2).collect();
    let words = bare.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$'));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The family a series belongs to.
fn family(series: &str) -> Option<&'static Desc> {
    let named = |name: &str| families::ALL.iter().find(|desc| desc.name == name);
    let part = || ["_bucket", "_sum", "_count"].iter().find_map(|suffix| series.strip_suffix(suffix));
    named(series).or_else(|| named(part()?).filter(|desc| desc.kind == Kind::Histogram))
}

#[test]
fn every_series_named_is_served() {
    let expressions = expressions();
    assert!(expressions.len() > 40, "{} expressions", expressions.len());
    for (place, expr) in expressions {
        let names: Vec<_> =
            words(&expr).into_iter().filter(|w| w.starts_with("flowgate_") || w.starts_with("process_")).collect();
        assert!(!names.is_empty() || expr.starts_with("up{"), "{place} asks for nothing of ours: {expr}");
        for name in names {
            assert!(family(&name).is_some(), "{place}: no metric is called `{name}`");
        }
    }
}

#[test]
fn every_metric_is_on_the_dashboard() {
    let shown: BTreeSet<_> = expressions()
        .iter()
        .filter(|(place, _)| place.starts_with("panel"))
        .flat_map(|(_, expr)| words(expr))
        .filter_map(|word| family(&word))
        .map(|desc| desc.name)
        .collect();
    let missing: Vec<_> = families::ALL.iter().map(|desc| desc.name).filter(|name| !shown.contains(name)).collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}");
}

/// Labels in braces belong to the metric before them; those an aggregation names, to some metric in it.
#[test]
fn every_label_named_is_one_of_the_metrics() {
    // What Prometheus adds, and the boundary of histograms.
    let always = ["instance", "job", "le"];
    for (place, expr) in expressions() {
        let mut labels: BTreeSet<&str> = always.into();
        for name in words(&expr) {
            labels.extend(family(&name).into_iter().flat_map(|desc| desc.labels.iter().copied()));
        }
        for grouping in ["by (", "on (", "ignoring ("].iter().flat_map(|word| expr.split(word).skip(1)) {
            for label in grouping.split(')').next().unwrap().split(',').map(str::trim) {
                assert!(labels.contains(label), "{place}: `{label}` is no label of its metrics: {expr}");
            }
        }
        for (before, braces) in expr.split('{').zip(expr.split('{').skip(1)) {
            let Some(desc) = words(before).last().and_then(|name| family(name)) else { continue };
            let inside: String = braces.split('}').next().unwrap().split('"').step_by(2).collect();
            for label in words(&inside).iter().filter(|word| !word.starts_with('$')) {
                let known = always.contains(&label.as_str()) || desc.labels.contains(&label.as_str());
                assert!(known, "{place}: {} has no label `{label}`", desc.name);
            }
        }
    }
}

/// Alerts that name a reason that does not exist would never fire.
#[test]
fn every_reason_in_an_alert_exists() {
    let text = file("prometheus/alerts.yml");
    let served: BTreeSet<&str> = ["table_full", "missed", "nobuf", "rx", "busy", "flowgate"].into();
    let quoted: BTreeSet<&str> =
        expressions_of(&text).iter().flat_map(|expr| expr.split('"').skip(1).step_by(2)).collect();
    let quoted: BTreeSet<&str> = quoted.iter().flat_map(|value| value.split('|')).collect();
    assert!(quoted.is_subset(&served), "{quoted:?}");
    // And the router counts under these words.
    let exposed = file_of_source("src/driver/stats.rs") + &file_of_source("src/metrics/label.rs");
    let exposed = exposed + &file_of_source("src/metrics/families.rs") + &file_of_source("src/metrics/collect.rs");
    for word in quoted.iter().filter(|word| **word != "flowgate") {
        assert!(exposed.contains(&format!("\"{word}\"")), "nothing is counted as `{word}`");
    }
}

fn expressions_of(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect()
}

fn file_of_source(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn panels_lie_beside_each_other_and_have_numbers_of_their_own() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap();
    let number = |panel: &serde_json::Value, key: &str| panel["gridPos"][key].as_u64().unwrap();
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let (x, y) = (number(panel, "x"), number(panel, "y"));
        for column in x..x + number(panel, "w") {
            for line in y..y + number(panel, "h") {
                assert!(column < 24 && taken.insert((column, line)), "{} overlaps", panel["title"]);
            }
        }
    }
}
