//! The load generator: sends streams of packets by the ports the router uses, and says what became of each.
//!
//! Owns streams and their flows ([`plan`], [`pick`]), the frames and the marks in them ([`template`],
//! [`signature`]), pacing ([`pace`]), what is learnt from arrivals ([`track`], [`counts`]), and the threads that do
//! it ([`Session`]).
//! Holds always: a packet is counted as sent when the port took it and not before; what was due and could not be
//! sent is told apart; nothing received changes what was sent, except where a stream answers; per packet nothing is
//! allocated and no clock is read; time is an argument below the worker's loop.
//! Must not know: the router. It meets whatever is between its ports as a host on the wire does.

pub mod counts;
pub mod neighbour;
pub mod pace;
pub mod pick;
pub mod plan;
pub mod plot;
pub mod report;
pub mod search;
pub mod session;
pub mod signature;
pub mod tcp;
pub mod template;
pub mod track;
mod receive;
mod send;
mod tags;
mod worker;

pub use plan::Plan;
pub use session::{Outcome, Progress, Session, SessionError};
pub use worker::Trial;

#[cfg(test)]
mod tests;
