//! From a file to settings that nobody has to check again, or to every mistake in it at once.
//!
//! Owns the schema: its words, defaults, limits and what may stand with what. A [`settings::Settings`] that leaves
//! this room is whole: names are resolved, defaults filled in, ranges kept. A mistake always carries the place in
//! the file it was made at. Opens no port and knows nothing of packets.

pub mod settings;

pub use settings::Settings;
