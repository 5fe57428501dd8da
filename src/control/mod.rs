//! Being written.

pub mod neighbour;
