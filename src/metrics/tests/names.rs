use super::families::{ALL, Kind, NODE_ENTRIES, NODE_ENTRIES_LIMIT};
use super::*;
use std::collections::BTreeSet;

fn exporter(setup: Setup) -> Exporter {
    let exporter = Exporter::new(setup);
    let _ = exporter.begin_rules(vec![slot("forward", Some("known"), "accept"), slot("forward", None, "drop")]);
    exporter
}

/// Label names of one line of the text.
fn label_names(line: &str) -> Vec<&str> {
    let Some((_, rest)) = line.split_once('{') else { return Vec::new() };
    let inside = rest.rsplit_once('}').unwrap().0;
    inside.split("\",").map(|pair| pair.split_once('=').unwrap().0).collect()
}

#[test]
fn served_names_are_the_listed_ones() {
    let exporter = exporter(setup());
    let got: Vec<_> = exporter.collect().iter().map(|f| f.name().to_owned()).collect();
    let listed: Vec<_> = ALL.iter().map(|d| d.name).collect();
    let (got_set, listed_set): (BTreeSet<&str>, BTreeSet<&str>) =
        (got.iter().map(String::as_str).collect(), listed.iter().copied().collect());
    assert_eq!(got_set, listed_set);
    assert_eq!(got.len(), got_set.len(), "a family twice");
    assert_eq!(listed.len(), listed_set.len());

    let compat = Exporter::new(Setup { node_exporter: true, ..setup() });
    let more: Vec<_> = compat.collect().iter().map(|f| f.name().to_owned()).collect();
    for desc in [NODE_ENTRIES, NODE_ENTRIES_LIMIT] {
        assert!(more.contains(&desc.name.to_owned()) && !got.contains(&desc.name.to_owned()));
    }
}

#[test]
fn names_follow_the_rules() {
    for desc in ALL {
        let name = desc.name;
        assert!(name.starts_with("flowgate_") || name.starts_with("process_"), "{name}");
        assert_eq!(name.ends_with("_total"), desc.kind == Kind::Counter, "{name}");
        assert!(!name.ends_with("_info") || desc.kind == Kind::Gauge, "{name}");
        assert!(desc.help.ends_with('.') && !desc.help.contains('\n'), "{name}: {}", desc.help);
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(legal) && desc.labels.iter().all(|l| l.chars().all(legal)), "{name}");
        let always_by_worker = desc.labels.contains(&"worker");
        let may_be = name.starts_with("flowgate_worker_") || name.starts_with("flowgate_conntrack_");
        assert!(!always_by_worker || may_be, "{name}");
    }
}

#[test]
fn text_is_well_formed() {
    for per_worker in [false, true] {
        let exporter = exporter(Setup { per_worker, ..setup() });
        let text = text(&exporter);
        let mut current = None;
        let mut seen = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                let desc = ALL.iter().find(|d| d.name == name).unwrap();
                assert_eq!(help, desc.help);
                assert!(seen.insert(name.to_owned()), "{name} twice");
                current = Some(desc);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let desc = current.unwrap();
                let kind = match desc.kind {
                    Kind::Counter => "counter",
                    Kind::Gauge => "gauge",
                    Kind::Histogram => "histogram",
                };
                assert_eq!(rest, format!("{} {kind}", desc.name));
            } else {
                let desc = current.unwrap();
                let (left, value) = line.rsplit_once(' ').unwrap();
                let name = left.split('{').next().unwrap();
                match name.strip_prefix(desc.name) {
                    Some("") => assert_ne!(desc.kind, Kind::Histogram),
                    Some("_bucket" | "_sum" | "_count") => assert_eq!(desc.kind, Kind::Histogram),
                    _ => panic!("{name} under {}", desc.name),
                }
                assert!(value.parse::<f64>().unwrap().is_finite());
                let mut names = label_names(left);
                if names.last() == Some(&"le") {
                    names.pop();
                }
                let optional = names.last() == Some(&"worker") && desc.labels.first() != Some(&"worker");
                assert!(!optional || per_worker);
                if optional {
                    names.pop();
                }
                assert_eq!(names, desc.labels, "{line}");
            }
        }
        assert_eq!(seen.len(), ALL.len());
    }
}

#[test]
fn every_series_is_there_from_the_start() {
    let exporter = exporter(setup());
    let series = series(&exporter);
    for reason in DropReason::ALL {
        for port in ["lan0", "wan0"] {
            assert_eq!(of(&series, &format!("flowgate_drops_total{{port=\"{port}\",reason=\"{reason}\"}}")), 0.0);
            assert_eq!(of(&series, &format!("flowgate_drop_bytes_total{{port=\"{port}\",reason=\"{reason}\"}}")), 0.0);
        }
    }
    for reason in InvalidReason::ALL {
        assert_eq!(of(&series, &format!("flowgate_conntrack_invalid_total{{reason=\"{reason}\"}}")), 0.0);
    }
    let nonzero: BTreeSet<_> =
        series.iter().filter(|(_, v)| **v != 0.0).map(|(n, _)| n.split('{').next().unwrap()).collect();
    let expected = [
        "flowgate_build_info",
        "flowgate_config_info",
        "flowgate_port_info",
        "flowgate_port_mtu_bytes",
        "flowgate_start_time_seconds",
        "flowgate_worker_info",
    ];
    assert_eq!(nonzero, expected.into_iter().collect());
}

#[test]
fn port_errors_have_both_directions_named() {
    for error in PortError::ALL {
        assert_eq!(PortError::find(error.direction(), error.label()), Some(*error));
    }
    assert_eq!(PortError::find("rx", "ring_full"), None);
}

#[test]
fn labels_are_escaped() {
    let mut odd = setup();
    odd.ports[0].name = "a\"b\\c\nd".to_owned();
    let text = text(&Exporter::new(odd));
    assert!(text.contains(r#"flowgate_port_up{port="a\"b\\c\nd"} 0"#));
}

#[test]
fn series_budget_of_a_large_router() {
    let mut large = setup();
    large.ports = (0..8).map(|i| PortLabel { name: format!("port{i}"), ..large.ports[0].clone() }).collect();
    large.cpus = vec![None; 16];
    let exporter = Exporter::new(large);
    let mut slots: Vec<_> = (0..200).map(|i| slot("forward", Some(&format!("r{i}")), "accept")).collect();
    slots.push(slot("forward", None, "drop"));
    let _ = exporter.begin_rules(slots);
    let series = series(&exporter).len();
    assert!(series < 5_000, "{series} series");
}
