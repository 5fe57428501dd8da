//! Builds the frames of a bench, and what should become of them.

use crate::frame::{Alike, Frame, Survey};
use crate::net::wide::{Wide, Work};
use crate::net::{Family, MacAddr, Tuple, proto};
use crate::wire::{checksum, ipv4, set_link};

/// Octets of the link header.
pub const ETHERNET: usize = 14;

/// Octets of a frame that are prepared and copied; what lies behind them is zero.
pub const MAX_PREPARED: usize = 128;

/// TTL or hop limit before the router.
pub const TTL: u8 = 64;

/// TCP flags.
pub mod flags {
    /// FIN and ACK.
    pub const FIN_ACK: u8 = 0x11;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// SYN and ACK.
    pub const SYN_ACK: u8 = 0x12;
    /// ACK.
    pub const ACK: u8 = 0x10;
    /// PSH and ACK.
    pub const PSH_ACK: u8 = 0x18;
}

/// The transport layer of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Transport {
    /// A TCP segment.
    Tcp {
        /// Sequence number.
        seq: u32,
        /// Acknowledgment number.
        ack: u32,
        /// Flags.
        flags: u8,
        /// Octets of payload.
        payload: u16,
    },
    /// A UDP datagram.
    Udp {
        /// Octets of payload.
        payload: u16,
    },
}

/// The link addresses a frame has on the way to the router and on the way from it.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// Destination and source before the router.
    pub before: [MacAddr; 2],
    /// Destination and source after it.
    pub after: [MacAddr; 2],
}

/// Octets of the IP header of a family.
#[must_use]
pub const fn ip_header(family: Family) -> usize {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

/// Writes a packet with right checksums into `out`, which is zero beyond it, and gives the frame's length. Payload
/// is zero, and there is no padding.
#[must_use]
pub fn write(out: &mut [u8; MAX_PREPARED], way: &Way, tuple: &Tuple, transport: Transport) -> usize {
    *out = [0; MAX_PREPARED];
    let at = ETHERNET + ip_header(tuple.family);
    let (header, payload) = match transport {
        Transport::Tcp { flags, payload, .. } if flags & flags::SYN != 0 => (28, payload),
        Transport::Tcp { payload, .. } => (20, payload),
        Transport::Udp { payload } => (8, payload),
    };
    let segment = header + usize::from(payload);
    write_ip(out, way, tuple, segment);
    let Some(l4) = out.get_mut(at..) else { return 0 };
    put(l4, 0, &tuple.src_key.to_be_bytes());
    put(l4, 2, &tuple.dst_key.to_be_bytes());
    let check_at = match transport {
        Transport::Tcp { seq, ack, flags, .. } => {
            put(l4, 4, &seq.to_be_bytes());
            put(l4, 8, &ack.to_be_bytes());
            put(l4, 12, &[(header as u8 / 4) << 4, flags, 0xff, 0xff]);
            if flags & flags::SYN != 0 {
                // MSS 1460, no operation, window scale 7 (RFC 9293 section 3.2, RFC 7323 section 2.2).
                put(l4, 20, &[2, 4, 5, 0xb4, 1, 3, 3, 7]);
            }
            16
        }
        Transport::Udp { .. } => {
            put(l4, 4, &(segment as u16).to_be_bytes());
            6
        }
    };
    let pseudo = checksum::pseudo(tuple.src, tuple.dst, tuple.proto, segment as u32);
    let sum = checksum::sum(l4) + pseudo;
    let check = match !checksum::fold(sum) {
        0 if tuple.proto == proto::UDP => 0xffff,
        check => check,
    };
    put(l4, check_at, &check.to_be_bytes());
    at + segment
}

/// Writes both fragments of a UDP datagram and gives their lengths.
#[must_use]
pub fn fragments(out: &mut [[u8; MAX_PREPARED]; 2], way: &Way, tuple: &Tuple, id: u32) -> [usize; 2] {
    // The header and two words of payload in the first, three words in the second.
    const PARTS: [usize; 2] = [24, 24];
    let extension = if tuple.family == Family::V6 { 8 } else { 0 };
    let at = ETHERNET + ip_header(tuple.family) + extension;
    for (n, (out, len)) in out.iter_mut().zip(PARTS).enumerate() {
        *out = [0; MAX_PREPARED];
        write_ip(out, way, tuple, len + extension);
        // RFC 791 section 3.1, RFC 8200 section 4.5: offset in units of eight octets, and whether more follow.
        let offset = (n * PARTS[0] / 8) as u16;
        match tuple.family {
            Family::V4 => {
                put(out, 18, &(id as u16).to_be_bytes());
                put(out, 20, &(offset | if n == 0 { 0x2000 } else { 0 }).to_be_bytes());
                seal_v4(out);
            }
            Family::V6 => {
                put(out, 20, &[44]);
                put(out, at - 8, &[tuple.proto, 0]);
                put(out, at - 6, &(offset << 3 | u16::from(n == 0)).to_be_bytes());
                put(out, at - 4, &id.to_be_bytes());
            }
        }
    }
    let whole = PARTS[0] + PARTS[1];
    let first = &mut out[0];
    put(first, at, &tuple.src_key.to_be_bytes());
    put(first, at + 2, &tuple.dst_key.to_be_bytes());
    put(first, at + 4, &(whole as u16).to_be_bytes());
    let pseudo = checksum::pseudo(tuple.src, tuple.dst, tuple.proto, whole as u32);
    let sum = checksum::sum(first.get(at..).unwrap_or_default()) + pseudo;
    put(first, at + 6, &(!checksum::fold(sum)).max(1).to_be_bytes());
    PARTS.map(|len| at + len)
}

/// Writes the server's ICMP error about a packet of `tuple`, port unreachable, and gives its length.
#[must_use]
pub fn unreachable(out: &mut [u8; MAX_PREPARED], way: &Way, tuple: &Tuple) -> usize {
    let header = ip_header(tuple.family);
    // What it quotes: an IP header as it came to the server, and eight octets.
    let mut quoted = [0; MAX_PREPARED];
    write_ip(&mut quoted, way, tuple, 20);
    put(&mut quoted, ETHERNET + header, &tuple.src_key.to_be_bytes());
    put(&mut quoted, ETHERNET + header + 2, &tuple.dst_key.to_be_bytes());
    let quoted = quoted.get(ETHERNET..ETHERNET + header + 8).unwrap_or_default();
    let (proto, kind) = match tuple.family {
        Family::V4 => (proto::ICMP, [3, 3]),
        Family::V6 => (proto::ICMPV6, [1, 4]),
    };
    let outer = Tuple { src: tuple.dst, dst: tuple.src, proto, ..*tuple };
    let len = 8 + quoted.len();
    *out = [0; MAX_PREPARED];
    write_ip(out, way, &outer, len);
    let at = ETHERNET + header;
    put(out, at, &kind);
    put(out, at + 8, quoted);
    let pseudo = match tuple.family {
        Family::V4 => 0,
        Family::V6 => checksum::pseudo(outer.src, outer.dst, proto, len as u32),
    };
    let sum = checksum::sum(out.get(at..).unwrap_or_default()) + pseudo;
    put(out, at + 2, &(!checksum::fold(sum)).to_be_bytes());
    at + len
}

/// Link and IP header of a packet with `len` octets behind them.
fn write_ip(out: &mut [u8; MAX_PREPARED], way: &Way, tuple: &Tuple, len: usize) {
    set_link(out, way.before[0], way.before[1]);
    match tuple.family {
        Family::V4 => {
            put(out, 12, &[8, 0, 0x45, 0]);
            put(out, 16, &((20 + len) as u16).to_be_bytes());
            put(out, 20, &[0x40, 0, TTL, tuple.proto]);
            put(out, 26, &tuple.src.as_v4().to_be_bytes());
            put(out, 30, &tuple.dst.as_v4().to_be_bytes());
            seal_v4(out);
        }
        Family::V6 => {
            put(out, 12, &[0x86, 0xdd, 0x60, 0]);
            put(out, 18, &(len as u16).to_be_bytes());
            put(out, 20, &[tuple.proto, TTL]);
            put(out, 22, &tuple.src.hi.to_be_bytes());
            put(out, 30, &tuple.src.lo.to_be_bytes());
            put(out, 38, &tuple.dst.hi.to_be_bytes());
            put(out, 46, &tuple.dst.lo.to_be_bytes());
        }
    }
}

fn put(out: &mut [u8], at: usize, octets: &[u8]) {
    if let Some(place) = out.get_mut(at..at + octets.len()) {
        place.copy_from_slice(octets);
    }
}

fn seal_v4(frame: &mut [u8]) {
    if let Some(header) = frame.get_mut(ETHERNET..ETHERNET + 20) {
        ipv4::seal(header);
    }
}

/// Turns a frame before the router into the same frame after it: link addresses, TTL, header checksum. The checksum
/// is computed anew, not updated as the router does. Gives the frame's length.
pub fn forwarded(frame: &mut [u8; MAX_PREPARED], way: &Way) -> usize {
    set_link(frame, way.after[0], way.after[1]);
    if frame[12..14] == [8, 0] {
        put(frame, 22, &[TTL - 1]);
        seal_v4(frame);
        ETHERNET + usize::from(u16::from_be_bytes([frame[16], frame[17]]))
    } else {
        put(frame, 21, &[TTL - 1]);
        ETHERNET + 40 + usize::from(u16::from_be_bytes([frame[18], frame[19]]))
    }
}

/// A sum over a frame's prepared octets and its length. Sums of frames compare what came out with what should have,
/// whatever the order.
#[inline(always)]
#[must_use]
pub fn digest(frame: &[u8]) -> u64 {
    across(blocks(frame.get(..MAX_PREPARED).unwrap_or(frame))).wrapping_add(frame.len() as u64)
}

/// Octets of a block.
const BLOCK: usize = 32;

/// Octets of a word.
const WORD: usize = 8;

/// The sum of blocks, word by word. What is left of a frame are its last words if they are whole ones, and else the block that
/// ends where the frame does, if there is one. That has some octets of the block before, which then lie in other places of their
/// words, so that no change of one of them adds up to nothing.
#[inline(always)]
fn blocks(octets: &[u8]) -> [u64; 4] {
    let (whole, rest) = octets.as_chunks::<BLOCK>();
    let sums = whole.iter().fold([0; 4], plus);
    match octets.last_chunk::<BLOCK>() {
        Some(last) if rest.len() % WORD != 0 => plus(sums, last),
        _ => {
            let mut padded = [0; BLOCK];
            padded.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            plus(sums, &padded)
        }
    }
}

/// By value, so that sums stay in a register.
#[inline(always)]
fn plus(mut sums: [u64; 4], block: &[u8; BLOCK]) -> [u64; 4] {
    for (sum, word) in sums.iter_mut().zip(block.as_chunks::<WORD>().0) {
        *sum = sum.wrapping_add(u64::from_le_bytes(*word));
    }
    sums
}

#[inline(always)]
fn across(sums: [u64; 4]) -> u64 {
    sums.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word))
}

/// Frames of which the digests' sum is wanted.
pub struct DigestAll<'a>(pub &'a Survey<'a>);

impl Work for DigestAll<'_> {
    type Output = u64;

    #[inline(always)]
    fn run(self, wide: impl Wide) -> u64 {
        let frames = self.0.frames();
        let Some(alike) = self.0.alike() else { return each(wide, frames) };
        let (len, prepared) = (alike.len(), alike.len().min(MAX_PREPARED));
        let ends = prepared % WORD != 0;
        let sum = match (prepared / BLOCK, prepared % BLOCK) {
            (1, _) if ends => of_blocks::<1, ENDING>(wide, &alike),
            (2, _) if ends => of_blocks::<2, ENDING>(wide, &alike),
            (2, 0) => of_blocks::<2, 0>(wide, &alike),
            // TCP over IPv6, with the payload that fills the least frame over IPv4.
            (2, 16) => of_blocks::<2, 16>(wide, &alike),
            (4, _) => of_blocks::<4, 0>(wide, &alike),
            _ => return each(wide, frames),
        };
        sum.wrapping_add(len as u64 * frames.len() as u64)
    }
}

/// Of frames that differ, and of those with lengths that are seldom.
#[inline(always)]
fn each(wide: impl Wide, frames: &[Frame]) -> u64 {
    let (mut sums, mut rest) = (wide.no_words(), 0u64);
    for frame in frames {
        let data = frame.data();
        // Most are of two blocks, of which the last ends where the frame does.
        if data.len() > BLOCK
            && data.len() <= 2 * BLOCK
            && (data.len() % WORD != 0 || data.len() == 2 * BLOCK)
            && let (Some(first), Some(last)) = (data.first_chunk(), data.last_chunk())
        {
            sums = wide.plus_four(wide.plus_four(sums, first), last);
            rest = rest.wrapping_add(data.len() as u64);
        } else if let Some(prepared) = data.first_chunk::<MAX_PREPARED>() {
            for block in prepared.as_chunks().0 {
                sums = wide.plus_four(sums, block);
            }
            rest = rest.wrapping_add(data.len() as u64);
        } else {
            rest = rest.wrapping_add(digest(data));
        }
    }
    wide.sum(sums).wrapping_add(rest)
}

/// What is left behind the last whole block are not whole words.
const ENDING: usize = BLOCK;

/// The sums of frames that have `WHOLE` blocks, and behind them so many octets, or [`ENDING`].
#[inline(always)]
fn of_blocks<const WHOLE: usize, const LEFT: usize>(wide: impl Wide, frames: &Alike<'_>) -> u64 {
    let sums = frames.fold(wide.no_words(), |mut sums, octets| {
        let (whole, rest) = octets.as_chunks::<BLOCK>();
        if let Some(whole) = whole.first_chunk::<WHOLE>() {
            for block in whole {
                sums = wide.plus_four(sums, block);
            }
        }
        match LEFT {
            0 => sums,
            ENDING => octets.last_chunk().map_or(sums, |last| wide.plus_four(sums, last)),
            _ => rest.first_chunk().map_or(sums, |two| wide.plus_two(sums, two)),
        }
    });
    wide.sum(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Pool, PoolConfig};
    use crate::net::wide::Widest;

    #[test]
    fn frames_together_have_the_sum_of_their_digests() {
        let pool = Pool::new(PoolConfig { buffers: 300, frame_size: 2048 }).unwrap();
        let octets: Vec<u8> = (0..400u32).map(|n| (n * 7 + n / 5) as u8).collect();
        let same = |frames: &[Frame]| {
            let digests = frames.iter().fold(0u64, |sum, frame| sum.wrapping_add(digest(frame.data())));
            for widest in [Widest::COMMON, Widest::here()] {
                assert_eq!(widest.run(DigestAll(&Survey::of(frames, widest))), digests);
            }
        };
        let frames: Vec<Frame> = (0..300).map(|len| pool.alloc_from(&octets[400 - len..]).unwrap()).collect();
        [&frames[..], &frames[33..97], &frames[128..129], &[]].into_iter().for_each(same);
        drop(frames);
        for len in 0..=300 {
            let mut frames: Vec<Frame> =
                (0..7).map(|at| pool.alloc_from(&octets[at * 5..at * 5 + len]).unwrap()).collect();
            (1..=7).for_each(|count| same(&frames[..count]));
            frames[6].pull_front(1);
            same(&frames);
        }
    }

    #[test]
    fn every_bit_of_the_prepared_octets_counts() {
        for len in 1..MAX_PREPARED + 2 {
            let mut octets: Vec<u8> = (0..len).map(|n| (n * 7 + n / 5) as u8).collect();
            let before = digest(&octets);
            for at in 0..len.min(MAX_PREPARED) {
                for change in 1..=255 {
                    octets[at] ^= change;
                    assert_ne!(digest(&octets), before, "octet {at} of {len}, {change}");
                    octets[at] ^= change;
                }
            }
        }
    }
}
