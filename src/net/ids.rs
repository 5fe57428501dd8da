//! Small identifiers: which port, which shard.

/// A configured port, numbered in the order of the configuration file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u8);

impl PortId {
    /// As an index into per-port arrays.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A shard, and the worker that owns it: 0 .. worker count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u8);

impl ShardId {
    /// As an index into per-shard arrays.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Most workers one process runs.
pub const MAX_SHARDS: usize = 64;

/// Most ports one process runs.
pub const MAX_PORTS: usize = 64;
