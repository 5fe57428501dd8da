//! What one connection announces of another: the expectation (netfilter's word).

use super::{Addr, Family, ShardId};

/// Names the connection that announced an expectation, across shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MasterRef {
    /// The shard that owns the connection.
    pub shard: ShardId,
    /// Slot of the connection's helper record in that shard.
    pub slot: u32,
    /// Generation of the slot, so that a later tenant is not mistaken for it.
    pub generation: u32,
    /// Number of its helper in the configuration, for counting.
    pub helper: u8,
}

/// A connection announced by a helper. `None` in a source field means any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expectation {
    /// Address family.
    pub family: Family,
    /// IP protocol number.
    pub proto: u8,
    /// Source address of the first packet.
    pub src: Option<Addr>,
    /// Source key of the first packet.
    pub src_key: Option<u16>,
    /// Destination address of the first packet.
    pub dst: Addr,
    /// Destination key of the first packet.
    pub dst_key: u16,
    /// Class within the helper; limits are per class.
    pub class: u8,
    /// Lifetime in milliseconds.
    pub timeout_ms: u32,
}
