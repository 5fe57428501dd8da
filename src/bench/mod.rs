//! The measuring bench: a router's workers between ports that hand out prepared frames, and the ruler beside them.
//!
//! Owns the frames of each workload ([`flows`], [`load`]), the ports' other ends ([`feed`]), the worker under test
//! ([`seat`]), the ruler ([`floor`]), and one run of them all ([`run()`]).
//! Holds always: packets take the router's own way, [`Worker::turn`](crate::worker::Worker::turn) with all it does
//! per turn; frames are prepared before the clock starts and copied into the worker's buffers while it runs, as a NIC
//! would; the ruler gets the same frames by the same ports in the same run, in turn with the router; what comes out is
//! compared with what should, frame by frame at the start and the end of a run and by a digest in between.
//! Must not know: how numbers are shown.

pub mod count;
pub mod feed;
pub mod floor;
pub mod flows;
pub mod load;
pub mod packet;
pub mod run;
pub mod seat;

mod lane;
mod measure;
#[allow(unsafe_code)]
mod memory;

pub use load::Workload;
pub use run::{Error, Report, Spec, run};
