//! Packet buffers: a pool per worker, frames that return home on drop, bursts.
//!
//! Holds always: a frame belongs to exactly one pool and goes back to it when it is dropped; it never
//! leaves the thread of that pool. Other workers get a copy of the bytes.
//! Must not know: what the bytes mean, and where they came from.

#[allow(unsafe_code)]
mod burst;
#[allow(unsafe_code)]
mod filling;
mod meta;
#[allow(unsafe_code)]
mod pool;
#[allow(unsafe_code)]
mod taken;

pub use burst::{Burst, Filled, Untouched};
pub use filling::Filling;
pub use meta::{Asks, Checksum, Gso, GsoKind, HeaderSum, Meta, Origin};
pub use pool::{Alike, FRONT, Frame, HEADROOM, Head, Lender, MAX_FRAME, Mould, Pool, PoolConfig, PoolError, Survey};
pub use taken::Taken;

#[cfg(test)]
mod tests;
