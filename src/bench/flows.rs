//! The flows of a bench: which addresses the n-th one has.

use crate::net::{Addr, Family, Tuple};

/// Client addresses per server address.
const CLIENTS: u64 = 1 << 23;

/// Server addresses.
const SERVERS: u64 = 1 << 17;

/// First client: 10.128.0.0, fd00:1:: and up.
const CLIENT: [Addr; 2] = [Addr { hi: 0, lo: 0x0a80_0000 }, Addr { hi: 0xfd00_0001_0000_0000, lo: 0 }];

/// First server: 198.18.0.0 (RFC 2544), fd00:2:: and up.
const SERVER: [Addr; 2] = [Addr { hi: 0, lo: 0xc612_0000 }, Addr { hi: 0xfd00_0002_0000_0000, lo: 0 }];

/// Spreads a number over all bits, the same every time.
#[inline]
#[must_use]
pub const fn mix(n: u64) -> u64 {
    let n = (n ^ n >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ n >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n ^ n >> 32
}

/// The tuple of flow `n` in original direction, client to server. No two of the first 2^40 are equal.
#[inline]
#[must_use]
pub const fn tuple(family: Family, proto: u8, port: u16, n: u64) -> Tuple {
    let client = n % CLIENTS;
    let spread = mix(client);
    let server = (n / CLIENTS + spread) % SERVERS;
    let at = family.index();
    Tuple {
        src: Addr { hi: CLIENT[at].hi, lo: CLIENT[at].lo + client },
        dst: Addr { hi: SERVER[at].hi, lo: SERVER[at].lo + server },
        src_key: 1024 + (spread >> 40) as u16 % 60_000,
        dst_key: port,
        proto,
        family,
    }
}

/// A generator of random numbers (Marsaglia's xorshift64*), the same for the same start.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts it.
    #[must_use]
    pub const fn new(seed: u64) -> Random {
        Random(mix(seed) | 1)
    }

    /// The next number below `limit`.
    #[inline]
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(word) * u128::from(limit)) >> 64) as u64
    }
}
