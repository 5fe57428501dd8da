//! Connection tracking: which connection a packet belongs to, and the state that gives it.
//!
//! Owns the table of one shard, its entries, and the protocols' state machines. Holds always: an entry is in
//! the table only once its first packet has passed every check; an expired entry is never found; memory is
//! reserved at start and never grows. Must not know: bytes, ports, policy, clocks, other shards.

#![doc = include_str!("departures.md")]

pub mod census;
pub mod counts;
pub mod ends;
pub mod entry;
pub mod expect;
pub mod key;
mod lifecycle;
pub mod opening;
mod pack;
pub mod proto;
pub mod shortcut;
pub mod table;
pub mod tracker;
