//! Wrappers: a port that behaves like the one inside it, but for one thing.
//!
//! Owns nothing but that difference. A wrapper is a [`QueuePair`](super::QueuePair) around another, so whoever
//! uses a port does not notice.

pub mod fault;
