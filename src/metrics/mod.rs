//! What the router counts, and how a person reads it: Prometheus text over HTTP.
//!
//! Owns the counters of a worker ([`Counters`], [`RuleCounters`]), the places where it publishes them
//! ([`Published`], [`RuleGeneration`]), the sums and names ([`Exporter`]) and the endpoint ([`serve`]).
//! Holds always: a packet costs plain additions to memory of its worker alone; a worker publishes by plain
//! stores to cache lines nobody else writes, and never waits for whoever reads them; counters never go
//! backwards, also not across a reload; every series exists from the start; the list of names in
//! [`families`] is the only one. Must not know: what a packet is, where the numbers come from.
//!
//! The life of a number: the worker adds to its `Counters`; every so many turns [`Counters::publish`] copies
//! them to its `Published`; a scrape reads all blocks, adds them up and writes the text. Between two
//! publications a scrape sees the older numbers, and different counters may be of different moments; sums are
//! exact whenever the router is quiet.

pub mod families;
pub mod label;
mod block;
mod collect;
mod counters;
mod exporter;
mod groups;
mod http;
mod process;
mod rules;

pub use block::Published;
pub use counters::{Balance, Counters};
pub use exporter::{Exporter, PortLabel, Setup};
pub use groups::Layout;
pub use http::{Server, serve};
pub use rules::{RuleCounters, RuleGeneration, RuleSlot};

#[cfg(test)]
mod tests;
