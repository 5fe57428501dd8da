//! The vocabulary every other room speaks: addresses, tuples, time, states, reasons.
//!
//! Owns no behaviour beyond what its words mean. Names nothing outside itself, so any room may use it.

pub mod addr;
pub mod expect;
#[allow(unsafe_code)]
pub mod four;
pub mod ids;
#[allow(unsafe_code)]
pub mod memory;
#[allow(unsafe_code)]
pub mod prefetch;
pub mod reason;
pub mod state;
pub mod summary;
pub mod time;
pub mod tuple;
#[allow(unsafe_code)]
pub mod wide;
pub mod zone;

pub use addr::{Addr, Family, MacAddr};
pub use expect::{Expectation, MasterRef};
pub use ids::{PortId, ShardId};
pub use memory::{HugePages, Stretch};
pub use prefetch::{
    equal_lanes, in_one, prefetch, prefetch_at, prefetch_nth, prefetch_to_write, reread, somewhere, somewhere_mut,
};
pub use reason::{DropReason, InvalidReason};
pub use state::{CtState, Direction};
pub use summary::{Icmp, L4, Sctp, Segment, Summary, TcpFlags, Track};
pub use time::{Millis, Now};
pub use tuple::{Tuple, proto};
pub use zone::Zone;
