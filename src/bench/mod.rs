//! The measuring bench: a router's workers between ports that hand out prepared frames, and the ruler beside them.
//!
//! Owns the frames of each workload ([`flows`], [`load`]), the ports' other ends ([`feed`]), the worker under test
//! ([`seat`]), the ruler ([`floor`]), and one run of them all ([`run()`]).
//! Holds always: packets take the router's own way, [`Worker::turn`](crate::worker::Worker::turn) with all it does
//! per turn; the ruler works on the same frames in the same run, in turn with the router; what comes out is compared
//! with what should, frame by frame at the start and the end of a run and by a digest in between.
//!
//! The ports count as the router's. Frames are prepared before the clock starts. While it runs, the source takes a
//! buffer of the worker's pool, describes it as a driver does, and copies the frame's first line or two into it, which
//! a NIC would do by itself; the sink adds the octets up, where a driver would write a descriptor, and the buffers go
//! back to the pool. The ruler has no ports and works on the frames where they lie.
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
mod perf;

pub use load::Workload;
pub use run::{Error, Report, Spec, run};
