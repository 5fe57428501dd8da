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
    /// Class within the helper; limits and lifetimes are per class.
    pub class: u8,
    /// Not spent by its first packet: it may open any number of connections (netfilter's PERMANENT).
    pub permanent: bool,
    /// Matches nothing until it is activated (netfilter's INACTIVE).
    pub inactive: bool,
    /// An equal one of another master or class will do instead (netfilter's "skip master").
    pub shared: bool,
    /// The connection it opens has the inverse of an expectation too, which goes when this one is spent (PPTP).
    pub twin: bool,
    /// Number of the helper that the connection it opens gets, as in the configuration.
    pub helper: Option<u8>,
}

impl Expectation {
    /// Of class 0, spent by the first packet that goes to `key` of `dst`, wherever it comes from.
    #[must_use]
    pub const fn new(family: Family, proto: u8, dst: Addr, key: u16) -> Expectation {
        Expectation {
            family,
            proto,
            src: None,
            src_key: None,
            dst,
            dst_key: key,
            class: 0,
            permanent: false,
            inactive: false,
            shared: false,
            twin: false,
            helper: None,
        }
    }

    /// The same from that address only.
    #[must_use]
    pub const fn sent_by(self, src: Addr) -> Expectation {
        Expectation { src: Some(src), ..self }
    }
}
