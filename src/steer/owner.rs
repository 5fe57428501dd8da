//! The owner function: what a NIC with the repeated 0x6d5a Toeplitz key and a round-robin indirection
//! table computes, in a few XORs and two table reads.
//!
//! A Toeplitz hash XORs, for every set bit of its input, the 32 key bits that start at that bit's position.
//! With a key whose period is 16 bits the position counts only modulo 16, so the hash depends on nothing
//! but the XOR of the input's 16-bit words; swapping source and destination leaves that XOR as it is
//! (Woo and Park, "Scalable TCP Session Monitoring with Symmetric Receive-side Scaling"). The hash is linear,
//! so the hash of a word is the XOR of the hashes of its two octets, each read from a table.
//!
//! There are only 2^16 values and anyone can aim at one: it picks a shard and must never index a table.

use crate::net::{Addr, ShardId, Tuple, proto};

/// The 16 bits the key repeats.
const PATTERN: u16 = 0x6d5a;

const fn repeat<const N: usize>() -> [u8; N] {
    let mut key = [0; N];
    let mut i = 0;
    while i < N {
        key[i] = PATTERN.to_be_bytes()[i % 2];
        i += 1;
    }
    key
}

/// The RSS key of 40 octets to program into a NIC, so that it steers as [`owner`] does.
pub const SYMMETRIC_KEY: [u8; 40] = repeat();

/// The same key for NICs that take 52 octets.
pub const SYMMETRIC_KEY_52: [u8; 52] = repeat();

/// Entries of the indirection table: entry `i` names shard `i` modulo the number of shards.
pub const INDIRECTION_ENTRIES: usize = 128;

/// Low 16 bits of the Toeplitz hash of one 16-bit word; the high 16 bits are equal to them.
const fn toeplitz_word(word: u16) -> u16 {
    let mut hash = 0;
    let mut bit = 0;
    while bit < 16 {
        if word >> (15 - bit) & 1 == 1 {
            hash ^= PATTERN.rotate_left(bit);
        }
        bit += 1;
    }
    hash
}

const fn table(shift: u32) -> [u16; 256] {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        table[octet] = toeplitz_word((octet as u16) << shift);
        octet += 1;
    }
    table
}

static HIGH: [u16; 256] = table(8);
static LOW: [u16; 256] = table(0);

/// XOR of the 16-bit words of both addresses. The words of an IPv4 address stand in the low 32 bits, and
/// the rest is zero, so one expression serves both families.
#[inline]
const fn fold(src: Addr, dst: Addr) -> u16 {
    let x = src.hi ^ src.lo ^ dst.hi ^ dst.lo;
    let x = x ^ (x >> 32);
    (x ^ (x >> 16)) as u16
}

#[inline]
fn hash_word(word: u16) -> u16 {
    let [high, low] = word.to_be_bytes();
    HIGH[usize::from(high)] ^ LOW[usize::from(low)]
}

#[inline]
fn shard_of(hash: u16, shards: usize) -> ShardId {
    ShardId((usize::from(hash) % INDIRECTION_ENTRIES % shards.max(1)) as u8)
}

/// Low 16 bits of the Toeplitz hash a NIC with [`SYMMETRIC_KEY`] gives the packet.
///
/// The input is source and destination address, and for TCP and UDP also the two ports; other protocols
/// are hashed by their addresses alone, as NICs do.
#[inline]
#[must_use]
pub fn steering_hash(tuple: &Tuple) -> u16 {
    let ports = match tuple.proto {
        proto::TCP | proto::UDP => tuple.src_key ^ tuple.dst_key,
        _ => 0,
    };
    hash_word(fold(tuple.src, tuple.dst) ^ ports)
}

/// The shard that owns the connection of `tuple`, out of `shards` (0 counts as 1).
///
/// Pure, and the same for a tuple and its inverse. A full remainder rather than a mask: the number of
/// shards need not be a power of two.
#[inline]
#[must_use]
pub fn owner(tuple: &Tuple, shards: usize) -> ShardId {
    shard_of(steering_hash(tuple), shards)
}

/// The owner function for one number of shards, with its last step, a remainder, taken beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Homes([u8; INDIRECTION_ENTRIES]);

impl Homes {
    /// For so many shards (0 counts as 1).
    #[must_use]
    pub fn new(shards: usize) -> Homes {
        Homes(std::array::from_fn(|entry| shard_of(entry as u16, shards).0))
    }

    /// What [`owner`] says of a tuple with ports: `words` is the XOR of the 16-bit words of its addresses and of its ports, as
    /// they lie in the headers.
    #[inline(always)]
    #[must_use]
    pub fn of(&self, words: u16) -> ShardId {
        let hash = hash_word(u16::from_be(words));
        ShardId(self.0[usize::from(hash) % INDIRECTION_ENTRIES])
    }
}

/// The shard at which all fragments between two addresses meet. NICs hash fragments by their addresses.
#[inline]
#[must_use]
pub fn owner_of_addresses(src: Addr, dst: Addr, shards: usize) -> ShardId {
    shard_of(hash_word(fold(src, dst)), shards)
}

#[cfg(test)]
pub(super) mod tests;
