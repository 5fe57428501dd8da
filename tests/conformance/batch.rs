//! A batch: settings, and packets with port and time. One JSON value a line; the first holds the settings.
//!
//! Packets are `[port, microseconds, "frame in hex", "case", "kernel's answer"]`; the last is there only in
//! recordings.

use serde_json::Value;
use std::io::Read as _;
use std::path::Path;

#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) port: u8,
    pub(crate) micros: u64,
    pub(crate) frame: Vec<u8>,
    pub(crate) case: String,
    pub(crate) kernel: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Batch {
    /// Linux's sysctls below `net.` that differ from their defaults.
    pub(crate) sysctls: Vec<(String, u64)>,
    /// Helpers, attached to their usual ports.
    pub(crate) helpers: Vec<String>,
    /// Options of helpers: helper, option, value.
    pub(crate) options: Vec<(String, String, bool)>,
    /// What is exempted from tracking: protocol/destination port.
    pub(crate) notrack: Vec<String>,
    /// Ports with the ids of their zones and the directions these cover.
    pub(crate) zones: Vec<(String, u64, String)>,
    /// The first packets fill the table.
    pub(crate) full: bool,
    pub(crate) packets: Vec<Packet>,
}

impl Batch {
    pub(crate) fn read(path: &Path) -> Batch {
        let text = text(path);
        let mut lines = text.lines();
        let head: Value = serde_json::from_str(lines.next().unwrap_or_default()).expect("the first line is JSON");
        let sysctls = head["sysctls"].as_object().expect("sysctls is an object");
        Batch {
            sysctls: sysctls.iter().map(|(name, v)| (name.clone(), v.as_u64().expect("a number"))).collect(),
            helpers: words(&head["helpers"]),
            options: options(&head["options"]),
            notrack: words(&head["notrack"]),
            zones: zones(&head["zones"]),
            full: !head["full"].is_null(),
            packets: lines.map(packet).collect(),
        }
    }
}

/// What a file holds, packed or not.
fn text(path: &Path) -> String {
    let file = std::fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut text = String::new();
    let done = if path.extension().is_some_and(|e| e == "gz") {
        flate2::read::GzDecoder::new(file).read_to_string(&mut text)
    } else {
        { file }.read_to_string(&mut text)
    };
    done.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text
}

fn packet(line: &str) -> Packet {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let text = |i: usize| value[i].as_str().map(str::to_owned);
    Packet {
        port: value[0].as_u64().and_then(|p| p.try_into().ok()).expect("a port"),
        micros: value[1].as_u64().expect("a time"),
        frame: unhex(value[2].as_str().expect("a frame")),
        case: text(3).unwrap_or_default(),
        kernel: text(4),
    }
}

fn words(list: &Value) -> Vec<String> {
    let words = list.as_array().into_iter().flatten();
    words.map(|word| word.as_str().expect("a word").to_owned()).collect()
}

fn options(map: &Value) -> Vec<(String, String, bool)> {
    let helpers = map.as_object().into_iter().flatten();
    let option = |helper: &str, (name, value): (&String, &Value)| (helper.to_owned(), name.clone(), value != 0);
    helpers
        .flat_map(|(helper, options)| options.as_object().into_iter().flatten().map(move |o| option(helper, o)))
        .collect()
}

fn zones(map: &Value) -> Vec<(String, u64, String)> {
    let zone = |(port, zone): (&String, &Value)| {
        let direction = zone[1].as_str().expect("a direction").to_owned();
        (port.clone(), zone[0].as_u64().expect("a zone"), direction)
    };
    map.as_object().into_iter().flatten().map(zone).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
