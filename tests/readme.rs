//! What README.md and the pages it leads to say, held against the program.
//!
//! The commands in them are run by `scripts/readme`; here are the tables, the names and the paths.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "all of it is test code")]

use flowgate::conntrack::proto::tcp::Last;
use flowgate::frag::{Limits, MAX_FRAGMENTS};
use flowgate::metrics::families::{self, Kind};
use flowgate::net::ids::{MAX_PORTS, MAX_SHARDS};
use flowgate::net::{CtState, DropReason, InvalidReason};
use flowgate::policy::{MAX_NESTING, MAX_SLOTS};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn file(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn readme() -> String {
    file("README.md")
}

fn departures() -> String {
    format!("\n{}", file("src/conntrack/departures.md"))
}

/// The pages a reader is led to.
const PAGES: [&str; 5] =
    ["README.md", "src/pktgen/pktgen.md", "src/metrics/metrics.md", "src/conntrack/departures.md", "docker/README.md"];

/// The text under a heading, up to the next one of the same or a higher level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let level = heading.bytes().take_while(|b| *b == b'#').count();
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading `{heading}`"));
    let body = &text[start + heading.len() + 2..];
    let mut end = 0;
    let mut fenced = false;
    for line in body.split_inclusive('\n') {
        fenced ^= line.starts_with("```");
        let hashes = line.bytes().take_while(|b| *b == b'#').count();
        if !fenced && (1..=level).contains(&hashes) {
            break;
        }
        end += line.len();
    }
    &body[..end]
}

/// The cells of every row of the tables in a text; the rows of titles and rulers are left out.
fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let title = lines.peek().is_some_and(|next| next.starts_with("|-"));
        if line.starts_with('|') && !line.starts_with("|-") && !title {
            let inside = line.trim_matches('|').replace("\\|", "\u{1}");
            rows.push(inside.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect());
        }
    }
    rows
}

/// Everything that stands between backticks.
fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The word a cell puts between backticks.
fn word(cell: &str) -> &str {
    cell.split('`').nth(1).unwrap_or_else(|| panic!("no `word` in {cell}"))
}

fn same_list<'a>(table: &str, got: impl IntoIterator<Item = &'a str>, wanted: impl IntoIterator<Item = &'a str>) {
    let (got, wanted): (Vec<_>, Vec<_>) = (got.into_iter().collect(), wanted.into_iter().collect());
    let missing: Vec<_> = wanted.iter().filter(|word| !got.contains(word)).collect();
    let surplus: Vec<_> = got.iter().filter(|word| !wanted.contains(word)).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "{table}: missing {missing:?}, surplus {surplus:?}");
    assert_eq!(got, wanted, "{table}: another order");
}

#[test]
fn every_metric_is_listed_as_it_is_served() {
    let page = file("src/metrics/metrics.md");
    let mut wanted = String::new();
    for desc in families::ALL {
        let kind = match desc.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<_> = desc.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(wanted, "| `{}` | {kind} | {} | {} |", desc.name, labels.join(" "), desc.help);
    }
    let table: Vec<_> = section(&page, "## All metrics").lines().filter(|line| line.starts_with("| `")).collect();
    let wanted_lines: Vec<_> = wanted.lines().collect();
    assert!(table == wanted_lines, "the table under `All metrics` must be:\n\n{wanted}");
}

#[test]
fn every_state_and_reason_is_explained() {
    let readme = readme();
    let states = rows(section(&readme, "### States"));
    same_list("states", states.iter().map(|row| word(&row[0])), CtState::ALL.map(CtState::label));
    let drops = rows(section(&readme, "### Why a packet is dropped"));
    same_list("drop reasons", drops.iter().map(|row| word(&row[0])), DropReason::ALL.iter().map(|r| r.label()));
    let invalid = rows(section(&readme, "### Why a packet is INVALID"));
    same_list("INVALID reasons", invalid.iter().map(|r| word(&r[0])), InvalidReason::ALL.iter().map(|r| r.label()));
    for row in states.iter().chain(&drops).chain(&invalid) {
        assert!(row.len() == 2 && row[1].len() > 10, "{row:?}");
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let readme = readme();
    let cargo = file("Cargo.toml");
    let names = |title: &str| -> Vec<String> {
        let list = cargo.split(&format!("\n[{title}]\n")).nth(1).expect("the section");
        let list = list.split("\n[").next().unwrap_or_default();
        list.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.to_owned()).collect()
    };
    let tables = [
        ("dependencies", "### In the program"),
        ("build-dependencies", "### To build the feature `dpdk`"),
        ("dev-dependencies", "### In the tests"),
    ];
    for (title, heading) in tables {
        let table = rows(section(&readme, heading));
        let wanted = names(title);
        same_list(title, table.iter().map(|row| word(&row[0])), wanted.iter().map(String::as_str));
        assert!(table.iter().all(|row| row[1].len() > 10), "{table:?}");
    }
}

/// What the program prints, without its line breaks.
fn printed(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_flowgate")).args(arguments).output().expect("flowgate runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The options that a help text explains, with both their names: `-c` and `--config`.
fn options(help: &str) -> BTreeSet<String> {
    let explained = help.lines().map(str::trim_start).filter(|line| line.starts_with('-') && !line.starts_with("- "));
    let words = explained.flat_map(|line| line.split([' ', ',']));
    words.filter(|word| word.starts_with('-')).map(str::to_owned).collect()
}

#[test]
fn commands_options_and_exit_codes_are_those_of_the_help() {
    let readme = readme();
    let commands = section(&readme, "## Commands");
    let help = printed(&["--help"]);
    let list = help.split("Commands:\n").nth(1).expect("commands").split("\n\n").next().unwrap_or_default();
    let names: Vec<_> = list.lines().filter_map(|l| l.split_whitespace().next()).filter(|n| *n != "help").collect();
    let headings = commands.lines().filter_map(|line| line.strip_prefix("### flowgate "));
    same_list("subcommands", headings, names.iter().copied());
    for name in names {
        let help = printed(&[name, "--help"]);
        let mut text = section(commands, &format!("### flowgate {name}")).to_owned();
        if name == "pktgen" {
            text += &file("src/pktgen/pktgen.md");
        }
        let mut wanted = options(&help);
        wanted.retain(|option| option != "-h" && option != "--help");
        let listed: BTreeSet<_> = rows(&text).iter().flat_map(|row| options(&row[0].replace('`', ""))).collect();
        assert_eq!(listed, wanted, "options of {name}");
        let flat = on_one_line(&help);
        let codes = flat.split("Exit codes: ").nth(1).expect("exit codes").split(" Usage:").next().unwrap_or_default();
        assert!(on_one_line(&text).contains(codes), "{name}: the README does not say `Exit codes: {codes}`");
    }
}

#[test]
fn every_key_of_the_configuration_is_listed() {
    let readme = readme();
    let listed = quoted(section(&readme, "## Configuration"));
    let printed = printed(&["check", "--print", root().join("conf/gateway.yaml").to_str().expect("UTF-8")]);
    let tree: serde_yaml::Value = serde_yaml::from_str(&printed).expect("YAML");
    let mut keys = BTreeSet::new();
    let top = tree.as_mapping().expect("a mapping");
    for (name, value) in top {
        let name = name.as_str().expect("a name").to_owned();
        match name.as_str() {
            // Below these, the names are the user's.
            "ports" | "sets" | "helpers" => value.as_mapping().unwrap().values().for_each(|v| collect(v, &mut keys)),
            "chains" => collect_chains(value, &mut keys),
            "conntrack" => {
                let sections = value.as_mapping().unwrap().iter().filter(|(key, _)| key.as_str() != Some("timeouts"));
                keys.extend(sections.map(|(key, _)| key.as_str().unwrap().to_owned()));
                keys.extend(value["timeouts"].as_mapping().unwrap().keys().map(|k| k.as_str().unwrap().to_owned()));
            }
            _ => collect(value, &mut keys),
        }
        keys.insert(name);
    }
    let missing: Vec<_> = keys.iter().filter(|key| !listed.contains(key.as_str())).collect();
    assert!(keys.len() > 80 && missing.is_empty(), "{} keys, not in the README: {missing:?}", keys.len());
}

fn collect(value: &serde_yaml::Value, keys: &mut BTreeSet<String>) {
    match value {
        serde_yaml::Value::Mapping(map) => keys.extend(map.keys().map(|key| key.as_str().unwrap().to_owned())),
        serde_yaml::Value::Sequence(list) => list.iter().for_each(|item| collect(item, keys)),
        _ => {}
    }
}

fn collect_chains(chains: &serde_yaml::Value, keys: &mut BTreeSet<String>) {
    for chain in chains.as_mapping().unwrap().values() {
        collect(chain, keys);
        chain.get("rules").into_iter().for_each(|rules| collect(rules, keys));
    }
}

#[test]
fn numbers_are_those_of_the_code() {
    let (readme, departures) = (readme(), on_one_line(&departures()));
    let limits = on_one_line(section(&readme, "## Limits"));
    let thousands = |n: usize| format!("{},{:03}", n / 1000, n % 1000);
    for wanted in [
        format!("{MAX_SHARDS} workers, {MAX_PORTS} ports"),
        format!("{} rules", thousands(MAX_SLOTS)),
        format!("jumps {MAX_NESTING} deep"),
    ] {
        assert!(limits.contains(&wanted), "the limits do not say `{wanted}`");
    }
    for wanted in [
        format!("decided by {} bits", Last::DIGEST_BITS),
        format!("more than {MAX_FRAGMENTS} fragments"),
        format!("more than {} other fragments", Limits::default().max_distance),
    ] {
        assert!(departures.contains(&wanted), "the departures do not say `{wanted}`");
    }
}

#[test]
fn the_minimal_configuration_is_the_one_that_ships() {
    let readme = readme();
    let shown = readme.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a YAML block");
    let shown: serde_yaml::Value = serde_yaml::from_str(shown).expect("YAML");
    let shipped: serde_yaml::Value = serde_yaml::from_str(&file("conf/minimal.yaml")).expect("YAML");
    assert_eq!(shown, shipped);
}

/// Paths of this repository that a text names between backticks.
fn paths(text: &str) -> BTreeSet<String> {
    let starts = ["src/", "conf/", "scripts/", "docker/", "tests/", ".ci/"];
    quoted(text)
        .into_iter()
        .filter(|word| starts.iter().any(|start| word.starts_with(start)))
        .filter_map(|word| word.split([' ', '#']).next())
        .map(|path| path.trim_end_matches('/').to_owned())
        .collect()
}

#[test]
fn every_path_exists_and_the_tour_leaves_no_room_out() {
    for name in PAGES {
        let text = file(name);
        let beside = root().join(name).parent().unwrap().to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for link in links.filter(|link| !link.is_empty() && !link.contains("://")) {
            assert!(beside.join(link).exists(), "{name} leads to {link}, which is not there");
        }
        for path in paths(&text) {
            // `{a,b}` stands for several.
            let (before, several, after) = match (path.find('{'), path.find('}')) {
                (Some(open), Some(close)) => (&path[..open], &path[open + 1..close], &path[close + 1..]),
                _ => (path.as_str(), "", ""),
            };
            for one in several.split(',') {
                let path = format!("{before}{one}{after}");
                assert!(root().join(&path).exists(), "{name} names {path}, which is not there");
            }
        }
    }
    let readme = readme();
    let tour = section(&readme, "## A tour of the code");
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(tour.contains(&format!("src/{name}")), "the tour does not pass src/{name}");
    }
}

#[test]
fn every_shell_block_says_how_it_is_tried() {
    let pages = [readme(), file("src/pktgen/pktgen.md")].join("\n");
    let lines: Vec<_> = pages.lines().collect();
    let mut blocks = 0;
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("```sh")) {
        let before = lines[at - 1];
        let how = before.strip_prefix("<!-- try: ").and_then(|rest| rest.strip_suffix(" -->"));
        let known = ["anyone", "root", "devices", "serve", "elsewhere"];
        assert!(how.is_some_and(|how| known.contains(&how)), "{line} after `{before}`, before `{}`", lines[at + 1]);
        blocks += 1;
    }
    assert!(blocks > 5, "only {blocks} blocks");
}

/// Names of all tests in the tree: functions that follow a `#[test]`.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let after = text.split("#[test]").skip(1);
                let heads = after.filter_map(|rest| rest.split_once("fn ").map(|(_, rest)| rest));
                names.extend(heads.filter_map(|head| head.split('(').next()).map(str::to_owned));
            }
        }
    }
    names
}

#[test]
fn every_departure_names_tests_that_exist() {
    let known = tests();
    assert!(known.contains("every_departure_names_tests_that_exist") && known.len() > 200);
    let departures = departures();
    let rows = rows(section(&departures, "# Departures from Linux"));
    assert!(rows.len() > 15, "{} rows", rows.len());
    for row in &rows {
        assert_eq!(row.len(), 4, "{row:?}");
        let named = quoted(&row[3]);
        assert!(!named.is_empty(), "no test holds: {}", row[0]);
        for name in named {
            assert!(known.contains(name), "there is no test `{name}`, which is to hold: {}", row[0]);
        }
    }
}
