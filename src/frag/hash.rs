//! A keyed hash for the fragment queues: whoever chooses addresses and identifications must not be able to make
//! them collide.

use std::hash::{BuildHasher, Hasher};

/// Makes hashers that share one random key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyed {
    start: u64,
    factor: u64,
}

impl Keyed {
    /// From a random seed.
    pub(super) fn new(seed: u64) -> Self {
        let start = mix(seed, 0x9e37_79b9_7f4a_7c15);
        // Odd, so that no input is lost in the multiplication.
        Keyed { start, factor: mix(start, 0xd6e8_feb8_6659_fd93) | 1 }
    }
}

/// Both halves of the 128-bit product, XORed.
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a ^ b.rotate_left(32)) * u128::from(b | 1);
    (product as u64) ^ (product >> 64) as u64
}

impl BuildHasher for Keyed {
    type Hasher = KeyedHasher;

    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher { state: self.start, factor: self.factor }
    }
}

/// Hashes one key.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyedHasher {
    state: u64,
    factor: u64,
}

impl Hasher for KeyedHasher {
    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.factor);
        self.state = (product as u64) ^ (product >> 64) as u64 ^ self.factor.rotate_left(17);
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u8(&mut self, octet: u8) {
        self.write_u64(u64::from(octet));
    }

    fn write(&mut self, octets: &[u8]) {
        for chunk in octets.chunks(8) {
            let mut word = [0; 8];
            word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn finish(&self) -> u64 {
        let product = u128::from(self.state) * u128::from(self.factor);
        (product as u64) ^ (product >> 64) as u64
    }
}
