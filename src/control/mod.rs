//! The control plane: everything that is not done per packet.
//!
//! Owns the compilation of settings into a [`Snapshot`](crate::shard::Snapshot) ([`compile`]), the memory a run
//! reserves ([`sizes`], [`reserved_bytes`]) and what it needs of the machine ([`run_needs`]), the neighbours ([`neighbour`]), and the thread that starts the
//! workers, answers what they ask, watches the links and reloads ([`Plane`]).
//! Holds always: workers never wait for it; a configuration is compiled whole before any worker sees it, so a
//! bad one changes nothing; all workers get messages in the same order; a worker that ends unasked ends the
//! run. Must not know: the packet path's state, and what a port is made of.

mod needs;
mod ports;
mod restart;
mod sizing;
mod snapshot;

pub mod neighbour;
pub mod plane;

pub use needs::{Report, port_needs, run_needs};
pub use plane::{Command, Configuration, Failure, Loader, Parts, Plane, StartError, fixed_neighbours};
pub use ports::{exporter, facts, port_spec, umem};
pub use restart::needs_restart;
pub use sizing::{Breakdown, Sizes, largest_frame, reserved_bytes, sizes};
pub use snapshot::{CompileError, PortFacts, compile, rule_slots};

#[cfg(test)]
mod tests;
