//! The table's key: both orientations of a tuple, and the keyed symmetric hash that finds either.
//!
//! A packet and its answer hash alike, so one index item serves both directions of a connection. The two
//! ends are hidden under secret seeds and multiplied; the product makes it symmetric, the seeds make it
//! unpredictable from outside (decision D6). It is never the steering hash.
//!
//! IPv6 has more to hash than fits two words, and more to compare than fits an entry. Where the processor multiplies polynomials its hash is
//! therefore a fingerprint too. The ends are put in order, by their ports, or by their addresses where the ports are the same; with the four
//! halves of their addresses a to d, all else in one word w, and five secret words k, it is formed of
//!
//! > (a + k0)(b + k1) + (c + k2)(d + k3) + w k4
//!
//! in the field of 2^64 elements. Of two tuples with the same ports but other addresses the sums differ by a polynomial that is linear in
//! k0 to k3 and not constant, for the products of these cancel, and the factor of one of them is the difference of a half. So of all keys
//! exactly one in 2^64 makes the difference a given one (Lemire and Kaser, "Faster 64-bit universal hashing using carry-less
//! multiplications", 2016). The lowest bit is then set, which makes one value of two. A product with an odd number brings all bits into the
//! upper half, which is then added to the lower one, for the sum alone would leave ends in a row with few tags; both give each value
//! another one. Hence, for whoever does not know the secret, two such tuples have the same hash in 2 of 2^64 cases, whatever they are.

use crate::net::wide::{Keys, Wide, Widest, Work};
use crate::net::{Addr, Direction, Family, Tuple, Zone, proto};
use std::hint::select_unpredictable;

/// Secret of one table, drawn at start.
#[derive(Clone, Copy, Debug)]
pub struct Seed {
    words: [u64; 4],
    /// Of the sum over IPv6.
    keys: Keys,
    /// Odd.
    factor: u64,
    /// What the processor has, for the passes over a burst and for the hash of IPv6.
    widest: Widest,
}

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
        let mut spread = |word: u64| {
            // Vigna's splitmix64.
            state = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        };
        let words = words.map(&mut spread);
        // As independent as the words were. What the last two are multiplied with is compared in full anyway.
        let [a, b, c, d] = words;
        let (word, factor) = (spread(0), spread(0) | 1);
        Seed { words, keys: Keys { pairs: [[a, b], [c, d]], word }, factor, widest: Widest::here() }
    }

    /// What the processor has.
    #[inline(always)]
    #[must_use]
    pub(super) const fn widest(&self) -> Widest {
        self.widest
    }

    /// The same seed on a processor that has no more than all have.
    #[cfg(test)]
    pub(super) fn on_common(self) -> Seed {
        Seed { widest: Widest::COMMON, ..self }
    }

    /// One end over IPv6, as it lies in the header, where polynomials are not multiplied.
    #[inline(always)]
    const fn end6(&self, hi: u64, lo: u64, key: u16) -> u64 {
        mum(hi ^ self.words[0], lo ^ self.words[1]) ^ (key as u64) << 48
    }

    /// Mixes both ends. The product is the same for both directions; of ends that lie in a row it alone would be a row
    /// too, so it is mixed once more, with what else is hashed. The lowest bit is set,
    /// so that the lower 16 bits, which are the table's tags, are never 0.
    #[inline(always)]
    const fn both(&self, a: u64, b: u64, tail: u64) -> u64 {
        let seed = self.words[2];
        mum(mum(a ^ seed, b ^ seed), self.words[3] ^ tail) | 1
    }

    /// [`Key::hash`] of a protocol with ports over IPv4, of both ends as [`end_v4`] gives them.
    #[inline(always)]
    #[must_use]
    pub const fn hash_v4(&self, ends: [u64; 2], proto: u8) -> u64 {
        self.both(ends[0], ends[1], tail(proto, Family::V4, 0))
    }

    /// The same over IPv6: addresses and ports as they lie in the headers, source first. `wide` is what the seed gives.
    #[inline(always)]
    #[must_use]
    pub fn hash_v6(&self, wide: impl Wide, addresses: &[u8; 32], ports: u32, proto: u8) -> u64 {
        self.both_v6(wide, addresses, ports, tail(proto, Family::V6, 0))
    }

    /// The same where the code is that of any processor.
    #[inline]
    #[must_use]
    pub fn hash_v6_anywhere(&self, addresses: &[u8; 32], ports: u32, proto: u8) -> u64 {
        self.widest.run(HashV6(self, addresses, ports, tail(proto, Family::V6, 0)))
    }

    #[inline(always)]
    fn both_v6(&self, wide: impl Wide, addresses: &[u8; 32], ports: u32, tail: u64) -> u64 {
        let ([source, destination], _) = addresses.as_chunks::<16>() else { return 1 };
        // In the order in which the ports make the smaller number.
        let other = ports.rotate_left(16);
        let turned = if ports == other { is_after(source, destination) } else { ports > other };
        let first = select_unpredictable(turned, destination, source);
        let second = select_unpredictable(turned, source, destination);
        let word = u64::from(select_unpredictable(turned, other, ports)) | tail << 32;
        let sum = wide.sum_of_products([first, second], word, &self.keys);
        debug_assert_eq!(sum.is_some(), self.widest.has_products(), "the hash is formed in one way only");
        if let Some(sum) = sum {
            let spread = (sum | 1).wrapping_mul(self.factor);
            return spread ^ (spread >> 32 & !1);
        }
        let [a, b, c, d] = ports.to_ne_bytes();
        let ends = [(source, [a, b]), (destination, [c, d])].map(|(address, port)| {
            let half = |at: usize| address.get(at..).and_then(|half| half.first_chunk()).copied().unwrap_or_default();
            let [hi, lo] = [half(0), half(8)].map(u64::from_ne_bytes);
            self.end6(hi, lo, u16::from_ne_bytes(port))
        });
        self.both(ends[0], ends[1], tail)
    }

    /// What an entry of IPv6 keeps of the hash. It is odd, as the hash is, where an equal hash and equal ports mean equal addresses: the
    /// hash is a fingerprint, and the ports tell the direction.
    #[inline(always)]
    pub(super) const fn fingerprint(&self, hash: u64, keys: [u16; 2]) -> u64 {
        if self.widest.has_products() && keys[0] != keys[1] { hash } else { hash & !1 }
    }
}

/// Of two addresses with the same port, which is the second.
#[cold]
#[inline(never)]
fn is_after(one: &[u8; 16], other: &[u8; 16]) -> bool {
    one > other
}

/// A hash of IPv6, as the processor forms it.
struct HashV6<'a>(&'a Seed, &'a [u8; 32], u32, u64);

impl Work for HashV6<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self, wide: impl Wide) -> u64 {
        self.0.both_v6(wide, self.1, self.2, self.3)
    }
}

/// Both ports as one word, in which they lie as in a header.
#[inline(always)]
const fn both_ports(ports: [u16; 2]) -> u32 {
    let ([a, b], [c, d]) = (ports[0].to_ne_bytes(), ports[1].to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

/// Both addresses of IPv6 as they lie in a header.
#[inline(always)]
pub(super) fn ends6(src: Addr, dst: Addr) -> [u64; 4] {
    [src.hi.to_be(), src.lo.to_be(), dst.hi.to_be(), dst.lo.to_be()]
}

/// The same as octets.
#[inline(always)]
pub(super) fn octets6(ends: &[u64; 4]) -> [u8; 32] {
    let mut octets = [0; 32];
    for (place, word) in octets.as_chunks_mut().0.iter_mut().zip(ends) {
        *place = word.to_ne_bytes();
    }
    octets
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
        let tail = tail(tuple.proto, tuple.family, class);
        let [a, b] = [src, dst].map(u16::to_be);
        Some(match tuple.family {
            Family::V4 => {
                let [src, dst] = [tuple.src, tuple.dst].map(|addr| addr.as_v4().to_be());
                seed.both(end_v4(src, b, a), end_v4(dst, a, b), tail)
            }
            Family::V6 => {
                seed.widest.run(HashV6(seed, &octets6(&ends6(tuple.src, tuple.dst)), both_ports([a, b]), tail))
            }
        })
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
        Some(Key { tuple, zone: Zone::DEFAULT, hash, keys: [tuple.src_key, tuple.dst_key], inverse_keys })
    }

    /// The same for a packet of that zone.
    #[inline]
    #[must_use]
    pub fn in_zone(self, zone: Zone) -> Key {
        Key { zone, ..self }
    }

    /// The direction in which an entry with these ends and keys matches the packet.
    #[inline(always)]
    pub(super) fn direction<E: PartialEq>(
        &self,
        [a, b]: [E; 2],
        [src, dst]: [E; 2],
        keys: [u16; 2],
    ) -> Option<Direction> {
        if keys == self.keys && a == src && b == dst {
            Some(Direction::Original)
        } else if keys == self.inverse_keys && a == dst && b == src {
            Some(Direction::Reply)
        } else {
            None
        }
    }
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
            let direction =
                back.direction([tuple.src, tuple.dst], [back.tuple.src, back.tuple.dst], there.keys);
            prop_assert!(direction.is_some());
            if tuple.inverse() != Some(tuple) {
                prop_assert_eq!(direction, Some(Direction::Reply));
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
                    seed.hash_v6_anywhere(&octets6(&ends6(tuple.src, tuple.dst)), both_ports(ports), tuple.proto)
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
