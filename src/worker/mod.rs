//! The poll loop: one pinned thread, the shard it owns, and its queue of every port.
//!
//! Owns the threads ([`spawn`]), the turn ([`Worker::turn`]), what workers and control plane tell each other
//! ([`Message`], [`Request`], [`Event`]), and the transfer of a worker's numbers to its published block.
//! Holds always: nobody else touches what a worker owns; a turn is bounded, reads the clock once and blocks
//! nowhere; a worker that sleeps is woken by its ports, by the control plane and by other workers; a worker
//! that ends says so, also when it panics ([`Event::Ended`]).
//! Must not know: configuration files, what a frame means, how neighbours are found.
//!
//! A turn: read clock → look at the mailbox, if its word moved → take hand-offs → for each port receive and
//! process → transmit → housekeep within a budget → have ports send what they held back, unless more is waiting → now and
//! then publish numbers.

mod bell;
mod books;
mod mail;
mod thread;
mod turn;

pub use bell::Bell;
pub use mail::{Calls, Event, Handle, Message, Request, mailbox};
pub use thread::{Clock, Idle, Plan, Wiring, spawn};
pub use turn::Worker;

#[cfg(test)]
mod tests;
