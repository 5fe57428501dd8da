//! The mark every packet carries at the start of its payload, by which it is known again.
//!
//! Full, 18 octets, which is all the payload of a UDP packet over IPv4 in a frame of 64 octets: check (2), kind and
//! stream (2), flow (4), sequence number within the flow (4), time of sending in nanoseconds (6). Compact, 8 octets:
//! check, kind and stream, sequence number; the flow then follows from the addresses, and there is no time. The check
//! depends on a secret of the trial, so that nothing a former trial left on its way is taken for this one's.

/// Octets of the full form.
pub const FULL: usize = 18;

/// Octets of the compact form.
pub const COMPACT: usize = 8;

/// Streams that can be told apart.
pub const MAX_STREAMS: usize = 1 << 12;

/// What a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// The stream itself.
    Data = 1,
    /// Sent back by the far side.
    Reply = 2,
    /// Spoilt on purpose.
    Invalid = 3,
    /// Nobody asked for it.
    Unsolicited = 4,
    /// Sent before the trial so that whoever is in between learns addresses; not counted.
    Learning = 5,
}

impl Purpose {
    const fn from_bits(bits: u16) -> Option<Purpose> {
        Some(match bits {
            1 => Purpose::Data,
            2 => Purpose::Reply,
            3 => Purpose::Invalid,
            4 => Purpose::Unsolicited,
            5 => Purpose::Learning,
            _ => return None,
        })
    }
}

/// A mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What the packet is for.
    pub purpose: Purpose,
    /// Number of its stream.
    pub stream: u16,
    /// Number of its flow; absent from the compact form.
    pub flow: Option<u32>,
    /// Its place in its flow.
    pub seq: u32,
    /// When it was sent, in nanoseconds of the generator's clock, the lower 48 bits; absent from the compact form.
    pub time: Option<u64>,
}

/// Bits of a time that are sent: enough for three days.
const TIME_BITS: u64 = (1 << 48) - 1;

/// The secret of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secret(u64, u64);

impl Secret {
    /// From a random number.
    #[must_use]
    pub const fn new(random: u64) -> Secret {
        // Odd, so that no key is zero (the constants are those of splitmix64).
        Secret(random.wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1, random.wrapping_mul(0x94d0_49bb_1331_11eb) | 1)
    }

    /// The check over both words: a product of keyed halves, folded.
    #[inline]
    const fn check(self, a: u64, b: u64) -> u16 {
        let product = (a ^ self.0) as u128 * (b ^ self.1) as u128;
        let folded = product as u64 ^ (product >> 64) as u64;
        (folded ^ (folded >> 16) ^ (folded >> 32) ^ (folded >> 48)) as u16
    }
}

#[inline]
fn head(purpose: Purpose, stream: u16) -> [u8; 2] {
    ((purpose as u16) << 12 | (stream & 0x0fff)).to_be_bytes()
}

#[inline]
fn words_full(bytes: &[u8; FULL]) -> (u64, u64) {
    let [_, _, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *bytes;
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p]))
}

#[inline]
fn word_compact(bytes: &[u8; COMPACT]) -> u64 {
    let [_, _, a, b, c, d, e, f] = *bytes;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

impl Signature {
    /// The full form; a missing flow or time is written as 0.
    #[inline]
    #[must_use]
    pub fn full(&self, secret: Secret) -> [u8; FULL] {
        let mut out = [0; FULL];
        out[2..4].copy_from_slice(&head(self.purpose, self.stream));
        out[4..8].copy_from_slice(&self.flow.unwrap_or(0).to_be_bytes());
        out[8..12].copy_from_slice(&self.seq.to_be_bytes());
        out[12..].copy_from_slice(&(self.time.unwrap_or(0) & TIME_BITS).to_be_bytes()[2..]);
        let (a, b) = words_full(&out);
        out[..2].copy_from_slice(&secret.check(a, b).to_be_bytes());
        out
    }

    /// The compact form.
    #[inline]
    #[must_use]
    pub fn compact(&self, secret: Secret) -> [u8; COMPACT] {
        let mut out = [0; COMPACT];
        out[2..4].copy_from_slice(&head(self.purpose, self.stream));
        out[4..].copy_from_slice(&self.seq.to_be_bytes());
        let check = secret.check(word_compact(&out), 0);
        out[..2].copy_from_slice(&check.to_be_bytes());
        out
    }

    /// Reads the mark at the start of a payload: the full form if there is room for it. `None` if the check is wrong.
    #[inline]
    #[must_use]
    pub fn read(payload: &[u8], secret: Secret) -> Option<Signature> {
        let (check, body) = match payload.first_chunk::<FULL>() {
            Some(full) => {
                let (a, b) = words_full(full);
                (secret.check(a, b), Some(full))
            }
            None => (secret.check(word_compact(payload.first_chunk()?), 0), None),
        };
        let &[c0, c1, h0, h1, ..] = payload else { return None };
        if u16::from_be_bytes([c0, c1]) != check {
            return None;
        }
        let head = u16::from_be_bytes([h0, h1]);
        let (purpose, stream) = (Purpose::from_bits(head >> 12)?, head & 0x0fff);
        Some(match body {
            Some(&[_, _, _, _, a, b, c, d, e, f, g, h, i, j, k, l, m, n]) => Signature {
                purpose,
                stream,
                flow: Some(u32::from_be_bytes([a, b, c, d])),
                seq: u32::from_be_bytes([e, f, g, h]),
                time: Some(u64::from_be_bytes([0, 0, i, j, k, l, m, n])),
            },
            None => {
                let &[_, _, _, _, a, b, c, d, ..] = payload else { return None };
                Signature { purpose, stream, flow: None, seq: u32::from_be_bytes([a, b, c, d]), time: None }
            }
        })
    }
}

/// Nanoseconds from a sent time to `now`; the sent time has lost its upper bits.
#[inline]
#[must_use]
pub const fn elapsed(now: u64, sent: u64) -> u64 {
    now.wrapping_sub(sent) & TIME_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Signature {
        Signature { purpose: Purpose::Data, stream: 77, flow: Some(0xdead), seq: 9, time: Some(0x1234_5678_9abc) }
    }

    #[test]
    fn both_forms_are_read_back() {
        let secret = Secret::new(5);
        let compact = Signature { flow: None, time: None, ..mark() };
        assert_eq!(Signature::read(&mark().full(secret), secret), Some(mark()));
        assert_eq!(Signature::read(&compact.compact(secret), secret), Some(compact));
        let mut long = mark().full(secret).to_vec();
        long.resize(200, 7);
        assert_eq!(Signature::read(&long, secret), Some(mark()));
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let secret = Secret::new(99);
        for bytes in [mark().full(secret).to_vec(), mark().compact(secret).to_vec()] {
            for bit in 0..bytes.len() * 8 {
                let mut spoilt = bytes.clone();
                spoilt[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Signature::read(&spoilt, secret), None, "bit {bit} of {}", bytes.len());
            }
        }
    }

    #[test]
    fn another_trials_marks_are_strangers() {
        let known = (0..10_000).filter(|n| Signature::read(&mark().full(Secret::new(*n)), Secret::new(!n)).is_some());
        assert!(known.count() < 3);
    }

    #[test]
    fn noise_and_short_payloads_are_no_marks() {
        let secret = Secret::new(1);
        assert_eq!(Signature::read(&[], secret), None);
        assert_eq!(Signature::read(&[0; 7], secret), None);
        assert_eq!(Signature::read(&[0; 64], secret), None);
    }

    #[test]
    fn time_wraps() {
        assert_eq!(elapsed(5, TIME_BITS), 6);
        assert_eq!(elapsed((7 << 48) + 5, 3), 2);
    }
}
