//! A batch: settings, and packets with port and time. One JSON value a line; the first holds the settings.
//!
//! Packets are `[port, microseconds, "frame in hex", "case", "kernel's answer"]`; the last is there only in
//! recordings.

use serde_json::Value;
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
    /// The FTP helper is attached to TCP port 21.
    pub(crate) ftp: bool,
    pub(crate) packets: Vec<Packet>,
}

impl Batch {
    pub(crate) fn read(path: &Path) -> Batch {
        let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut lines = text.lines();
        let head: Value = serde_json::from_str(lines.next().unwrap_or_default()).expect("the first line is JSON");
        let sysctls = head["sysctls"].as_object().expect("sysctls is an object");
        Batch {
            sysctls: sysctls.iter().map(|(name, v)| (name.clone(), v.as_u64().expect("a number"))).collect(),
            ftp: head["ftp"].as_bool().expect("ftp is true or false"),
            packets: lines.map(packet).collect(),
        }
    }
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

fn unhex(text: &str) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).expect("a hex digit") as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
