//! What a port needs of the machine, and whether it is there.
//!
//! Looks and changes nothing: it reads `/proc`, `/sys` and the kernel's list of interfaces, by way of a [`Host`]
//! that a test can make up. Whatever is missing comes with the one command that mends it. `flowgate doctor` shows
//! all of it; `flowgate run` shows what is not as it should be when a port cannot be opened.

mod dpdk;
mod host;
mod interface;
mod link;

pub use host::{Host, cpu_list};
pub(super) use link::namespace_id;
pub use link::{Link, Program};

use super::{DriverKind, PortSpec};

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, but not as well or not as alone as it should.
    Warning,
    /// It does not work.
    Missing,
}

impl Level {
    /// The word of reports.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Missing => "missing",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word.
    pub check: &'static str,
    /// How it is.
    pub level: Level,
    /// How it is, in a sentence.
    pub text: String,
    /// The command that mends it; everything that is missing has one.
    pub command: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, text: impl Into<String>) -> Finding {
        Finding { check, level: Level::Ok, text: text.into(), command: None }
    }

    /// Could be better.
    pub fn warning(check: &'static str, text: impl Into<String>) -> Finding {
        Finding { check, level: Level::Warning, text: text.into(), command: None }
    }

    /// Must be mended, by `command`.
    pub fn missing(check: &'static str, text: impl Into<String>, command: impl Into<String>) -> Finding {
        Finding { check, level: Level::Missing, text: text.into(), command: Some(command.into()) }
    }

    /// Names what would mend it.
    #[must_use]
    pub fn by(self, command: impl Into<String>) -> Finding {
        Finding { command: Some(command.into()), ..self }
    }
}

/// What the port `spec` needs, most basic things first.
#[must_use]
pub fn needs(spec: &PortSpec, host: &Host) -> Vec<Finding> {
    match spec.driver {
        DriverKind::Memory => vec![Finding::ok("device", "none needed")],
        DriverKind::Pcap => capture(spec, host),
        DriverKind::AfPacket => interface::packet_socket(spec, host),
        DriverKind::AfXdp => interface::xdp_socket(spec, host),
        DriverKind::Tap => interface::tap(spec, host),
        DriverKind::Dpdk => dpdk::port(spec, host),
    }
}

fn capture(spec: &PortSpec, host: &Host) -> Vec<Finding> {
    let Some(path) = spec.path.as_ref().map(|path| path.display().to_string()) else { return Vec::new() };
    vec![if host.exists(&path) {
        Finding::ok("capture", format!("{path} is there"))
    } else {
        let folder = path.rsplit_once('/').map_or(".", |(folder, _)| folder);
        Finding::missing("capture", format!("{path} is not there"), format!("ls {}", quoted(folder)))
    }]
}

/// A word as a shell takes it literally.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests;
