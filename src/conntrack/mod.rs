//! Connection tracking: table, protocol trackers, classification.

pub mod entry;
pub mod key;
pub mod table;
