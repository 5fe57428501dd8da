//! From a file to settings that nobody has to check again, or to every mistake in it at once.
//!
//! Owns the schema: its words, defaults, limits and what may stand with what. A [`Settings`] that leaves this room
//! is whole: names are resolved, defaults filled in, ranges kept. A mistake always carries the place in the file it
//! was made at, and one mistake does not hide another; only a syntax error ends the reading. Reads the file and
//! those it names, and nothing else; opens no port and knows nothing of packets.
//!
//! The way: text → tree of marked nodes → typed sections → checks between sections → lint.

mod convert;
mod diag;
mod flow;
mod lint;
mod load;
mod machine;
mod marks;
mod ports;
mod print;
mod read;
mod routes;
mod rules;
pub mod settings;
mod tree;
mod tuning;
mod value;
mod zones;

#[cfg(test)]
mod tests;

/// The means to read other files in the same grammar, with the same findings.
pub(crate) mod schema {
    pub(crate) use super::load::{read_ports, read_text};
    pub(crate) use super::read::{Keys, Map, Reader};
    pub(crate) use super::tree::{Entry, Kind, Node, read};
    pub(crate) use super::value::{Wrong, duration, integer, ports, prefix};
}

pub use diag::{Diagnostic, Diagnostics, Place, Severity, Source};
pub use load::{Loaded, load, load_on, parse, parse_on};
pub use machine::Machine;
pub use marks::{ChainMarks, Marks, RuleMarks};
pub use settings::Settings;
