//! The table's key: both orientations of a tuple, and the keyed symmetric hash that finds either.
//!
//! A packet and its answer hash alike, so one index item serves both directions of a connection. The two
//! ends are hidden under secret seeds and multiplied; the product makes it symmetric, the seeds make it
//! unpredictable from outside (decision D6). It is never the steering hash.

use crate::net::{Addr, Direction, Family, Tuple, Zone, proto};

/// Secret of one table, drawn at start.
#[derive(Clone, Copy, Debug)]
pub struct Seed([u64; 4]);

/// Folded 64 x 64 -> 128 bit product.
#[inline(always)]
const fn mum(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

impl Seed {
    /// From random words. They are spread over all bits first, so that even poor ones make a good hash.
    #[must_use]
    pub fn new(words: [u64; 4]) -> Seed {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        Seed(words.map(|word| {
            // Vigna's splitmix64.
            state = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        }))
    }

    /// One end, as it lies in the header: its hash for IPv6, itself for IPv4, whose ends fit a word.
    #[inline(always)]
    const fn end6(&self, hi: u64, lo: u64, key: u16) -> u64 {
        mum(hi ^ self.0[0], lo ^ self.0[1]) ^ (key as u64) << 48
    }

    /// Mixes both ends. The product is the same for both directions; of ends that lie in a row it alone would be a row
    /// too, so it is mixed once more, with what else is hashed. The lowest bit is set,
    /// so that the lower 16 bits, which are the table's tags, are never 0.
    #[inline(always)]
    const fn both(&self, a: u64, b: u64, tail: u64) -> u64 {
        let seed = self.0[2];
        mum(mum(a ^ seed, b ^ seed), self.0[3] ^ tail) | 1
    }

    /// [`Key::hash`] of a protocol with ports over IPv4, of both ends as [`end_v4`] gives them.
    #[inline(always)]
    #[must_use]
    pub const fn hash_v4(&self, ends: [u64; 2], proto: u8) -> u64 {
        self.both(ends[0], ends[1], tail(proto, Family::V4, 0))
    }

    /// The same over IPv6: addresses and ports as they lie in the headers, source first.
    #[inline(always)]
    #[must_use]
    pub const fn hash_v6(&self, addresses: &[u64; 4], ports: [u16; 2], proto: u8) -> u64 {
        let [a, b, c, d] = *addresses;
        self.both(self.end6(a, b, ports[0]), self.end6(c, d, ports[1]), tail(proto, Family::V6, 0))
    }
}

/// One end of IPv4 as it is hashed, of words as they lie in the headers: its address, the other end's port and its own. So
/// the destination's end lies in a packet without IP options.
#[inline(always)]
#[must_use]
pub const fn end_v4(addr: u32, other: u16, own: u16) -> u64 {
    let ([a, b, c, d], [e, f], [g, h]) = (addr.to_ne_bytes(), other.to_ne_bytes(), own.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// What else is hashed.
#[inline(always)]
const fn tail(proto: u8, family: Family, class: u16) -> u64 {
    (proto as u64) << 8 | family as u64 | (class as u64) << 16
}

#[inline(always)]
const fn is_icmp(tuple: &Tuple) -> bool {
    tuple.proto == proto::ICMP || tuple.proto == proto::ICMPV6
}

/// A tuple in the form the table compares.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The tuple as the packet carries it.
    pub tuple: Tuple,
    /// The packet's zone; not part of the hash, so that one search finds what either of its ids stands for. Equal
    /// tuples of different zones share a bucket, and there are no more zones than ports.
    pub zone: Zone,
    /// Hash under the table's seed; the same for both directions.
    pub hash: u64,
    pub(super) ends: [u32; 2],
    pub(super) keys: [u16; 2],
    pub(super) inverse_keys: [u16; 2],
}

impl Key {
    /// Forms the key, or `None` for a tuple that no reply can answer (an ICMP type without counterpart):
    /// such a tuple is in no table.
    #[inline]
    #[must_use]
    pub fn new(tuple: Tuple, seed: &Seed) -> Option<Key> {
        let hash = Key::hash(&tuple, seed)?;
        Key::hashed(tuple, hash)
    }

    /// The hash alone: all that is wanted of most packets.
    #[inline(always)]
    #[must_use]
    pub fn hash(tuple: &Tuple, seed: &Seed) -> Option<u64> {
        let ([src, dst], class) = if is_icmp(tuple) {
            let inverse = tuple.inverse()?;
            ([tuple.src_key; 2], if inverse.dst_key < tuple.dst_key { inverse.dst_key } else { tuple.dst_key })
        } else {
            ([tuple.src_key, tuple.dst_key], 0)
        };
        let end = |addr: Addr, own: u16, other: u16| match tuple.family {
            Family::V4 => end_v4(addr.as_v4().to_be(), other.to_be(), own.to_be()),
            Family::V6 => seed.end6(addr.hi.to_be(), addr.lo.to_be(), own.to_be()),
        };
        let (a, b) = (end(tuple.src, src, dst), end(tuple.dst, dst, src));
        Some(seed.both(a, b, tail(tuple.proto, tuple.family, class)))
    }

    /// Forms the key of a tuple whose hash is known.
    #[inline]
    #[must_use]
    pub fn hashed(tuple: Tuple, hash: u64) -> Option<Key> {
        let inverse_keys = if is_icmp(&tuple) {
            let inverse = tuple.inverse()?;
            [inverse.src_key, inverse.dst_key]
        } else {
            [tuple.dst_key, tuple.src_key]
        };
        let ends = match tuple.family {
            Family::V4 => [tuple.src.as_v4(), tuple.dst.as_v4()],
            Family::V6 => [fold(tuple.src), fold(tuple.dst)],
        };
        Some(Key { tuple, zone: Zone::DEFAULT, hash, ends, keys: [tuple.src_key, tuple.dst_key], inverse_keys })
    }

    /// The same for a packet of that zone.
    #[inline]
    #[must_use]
    pub fn in_zone(self, zone: Zone) -> Key {
        Key { zone, ..self }
    }

    /// The direction in which an entry with these fields matches the packet, addresses of IPv6 still to be
    /// compared in full.
    #[inline(always)]
    pub(super) fn direction(&self, ends: [u32; 2], keys: [u16; 2]) -> Option<Direction> {
        if ends == self.ends && keys == self.keys {
            Some(Direction::Original)
        } else if ends == [self.ends[1], self.ends[0]] && keys == self.inverse_keys {
            Some(Direction::Reply)
        } else {
            None
        }
    }
}

/// 32 bits of an IPv6 address that stand in the entry's first line; a cheap filter, not a proof.
#[inline(always)]
pub(super) const fn fold(addr: Addr) -> u32 {
    let x = addr.hi.rotate_left(32) ^ addr.lo;
    (x as u32) ^ ((x >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tuples() -> impl Strategy<Value = Tuple> {
        (any::<u64>(), any::<u64>(), any::<u64>(), any::<(u16, u16)>(), 0u8..4, any::<bool>()).prop_map(
            |(a, b, c, (s, d), p, v6)| {
                let (family, src, dst) = if v6 {
                    (Family::V6, Addr { hi: a, lo: b }, Addr { hi: c, lo: a ^ b })
                } else {
                    (Family::V4, Addr::v4(a as u32), Addr::v4(b as u32))
                };
                let proto = [proto::TCP, proto::UDP, proto::ICMP, 50][p as usize];
                let dst_key = if proto == proto::ICMP { [8u16, 0, 13, 14][d as usize % 4] << 8 } else { d };
                Tuple { src, dst, src_key: s, dst_key, proto, family }
            },
        )
    }

    proptest! {
        #[test]
        fn a_reply_hashes_like_its_packet(tuple in tuples(), seed: [u64; 4]) {
            let seed = Seed::new(seed);
            let there = Key::new(tuple, &seed).unwrap();
            let back = Key::new(tuple.inverse().unwrap(), &seed).unwrap();
            prop_assert_eq!(there.hash, back.hash);
            prop_assert_eq!(back.direction(there.ends, there.keys).is_some(), true);
            if tuple.inverse() != Some(tuple) {
                prop_assert_eq!(back.direction(there.ends, there.keys), Some(Direction::Reply));
            }
        }

        #[test]
        fn what_a_glance_shows_hashes_alike(tuple in tuples(), seed: [u64; 4]) {
            prop_assume!(tuple.proto != proto::ICMP);
            let seed = Seed::new(seed);
            let ports = [tuple.src_key, tuple.dst_key].map(u16::to_be);
            let hash = match tuple.family {
                Family::V4 => {
                    let [src, dst] = [tuple.src, tuple.dst].map(|end| end.as_v4().to_be());
                    let ends = [end_v4(src, ports[1], ports[0]), end_v4(dst, ports[0], ports[1])];
                    seed.hash_v4(ends, tuple.proto)
                }
                Family::V6 => {
                    let words = [tuple.src.hi, tuple.src.lo, tuple.dst.hi, tuple.dst.lo].map(u64::to_be);
                    seed.hash_v6(&words, ports, tuple.proto)
                }
            };
            prop_assert_eq!(Key::hash(&tuple, &seed), Some(hash));
        }

        #[test]
        fn no_tag_is_0(tuple in tuples(), seed: [u64; 4]) {
            prop_assert_ne!(Key::new(tuple, &Seed::new(seed)).unwrap().hash as u16, 0);
        }

        #[test]
        fn a_changed_port_changes_the_hash(tuple in tuples(), seed: [u64; 4]) {
            let seed = Seed::new(seed);
            let other = Tuple { src_key: tuple.src_key ^ 1, ..tuple };
            prop_assert_ne!(Key::new(tuple, &seed).unwrap().hash, Key::new(other, &seed).unwrap().hash);
        }
    }

    #[test]
    fn errors_have_no_key() {
        let seed = Seed::new([1, 2, 3, 4]);
        let tuple = Tuple {
            src: Addr::v4(1),
            dst: Addr::v4(2),
            src_key: 0,
            dst_key: 3 << 8,
            proto: proto::ICMP,
            family: Family::V4,
        };
        assert!(Key::new(tuple, &seed).is_none());
    }
}
