use super::*;
use crate::frame::{Checksum, Frame, Pool, PoolConfig};
use crate::net::{DropReason, Millis, PortId, proto};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NOW: Millis = Millis(u32::MAX - 10_000);
const BUFFER: PoolConfig = PoolConfig { buffers: 512, frame_size: 2048 };

/// One fragment to be built: everything else is the same for all.
#[derive(Clone, Debug)]
struct Part {
    family: Family,
    src: u32,
    id: u32,
    offset: u16,
    more: bool,
    ecn: u8,
    proto: u8,
    data: Vec<u8>,
}

fn part(family: Family, offset: u16, more: bool, data: &[u8]) -> Part {
    Part { family, src: 9, id: 7, offset, more, ecn: 0, proto: proto::UDP, data: data.to_vec() }
}

/// Data that tells its own place: octet `i` of the datagram is `i * 7 + i / 256`.
fn body(from: usize, to: usize) -> Vec<u8> {
    (from..to).map(|i| (i * 7 + i / 256) as u8).collect()
}

fn slice(family: Family, from: usize, to: usize, more: bool) -> Part {
    part(family, from as u16, more, &body(from, to))
}

const LINK: usize = 14;

impl Part {
    fn octets(&self) -> Vec<u8> {
        let mut o = vec![0xee; LINK];
        let len = self.data.len();
        match self.family {
            Family::V4 => {
                let field = (self.offset / 8) | if self.more { 0x2000 } else { 0 };
                o.extend([0x45, self.ecn]);
                o.extend(((20 + len) as u16).to_be_bytes());
                o.extend((self.id as u16).to_be_bytes());
                o.extend(field.to_be_bytes());
                o.extend([64, self.proto, 0, 0]);
                o.extend(self.src.to_be_bytes());
                o.extend([10, 0, 0, 1]);
                let sum = checksum(&o[LINK..]);
                o[LINK + 10..LINK + 12].copy_from_slice(&sum.to_be_bytes());
            }
            Family::V6 => {
                // A destination options header stands in front of the fragment header.
                o.extend([0x60, self.ecn << 4, 0, 0]);
                o.extend(((16 + len) as u16).to_be_bytes());
                o.extend([60, 64]);
                o.extend([0x20; 12]);
                o.extend(self.src.to_be_bytes());
                o.extend([0x20; 16]);
                o.extend([44, 0, 1, 4, 0, 0, 0, 0]);
                o.extend([self.proto, 0]);
                o.extend((self.offset | u16::from(self.more)).to_be_bytes());
                o.extend(self.id.to_be_bytes());
            }
        }
        o.extend(&self.data);
        // What a short frame is padded with is not data.
        o.resize(o.len().max(60), 0xaa);
        o
    }
}

fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Reads a fragment built above.
fn info(o: &[u8]) -> FragmentInfo {
    let l = &o[LINK..];
    let word = |at: usize| u16::from_be_bytes([l[at], l[at + 1]]);
    if l[0] >> 4 == 4 {
        let addr = |at: usize| Addr::v4(u32::from(word(at)) << 16 | u32::from(word(at + 2)));
        FragmentInfo {
            family: Family::V4,
            src: addr(12),
            dst: addr(16),
            proto: l[9],
            id: u32::from(word(4)),
            zone: 0,
            offset: (word(6) & 0x1fff) << 3,
            more: word(6) & 0x2000 != 0,
            ecn: l[1] & 3,
            l3: LINK as u16,
            header_len: 20,
            next_header: 9,
            len: word(2) - 20,
        }
    } else {
        let addr = |at: usize| Addr::v6(l[at..at + 16].try_into().unwrap());
        FragmentInfo {
            family: Family::V6,
            src: addr(8),
            dst: addr(24),
            proto: l[48],
            id: u32::from(word(52)) << 16 | u32::from(word(54)),
            zone: 0,
            offset: word(50) & 0xfff8,
            more: word(50) & 1 != 0,
            ecn: l[1] >> 4 & 3,
            l3: LINK as u16,
            header_len: 56,
            next_header: 40,
            len: word(4).saturating_sub(16),
        }
    }
}

/// What became of an offered fragment, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    Held,
    Dropped,
    Pass,
    /// Number of frames and the datagram's data.
    Complete(usize, Vec<u8>),
}

struct Bench {
    pool: Pool,
    r: Reassembler,
    now: Millis,
    drops: Vec<DropReason>,
    /// Of the last complete datagram.
    whole: Vec<u8>,
    trusted: bool,
    arrival: Vec<Vec<u8>>,
}

impl Bench {
    fn with(limits: Limits, pool: PoolConfig) -> Bench {
        Bench {
            pool: Pool::new(pool).unwrap(),
            r: Reassembler::new(limits, 42),
            now: NOW,
            drops: Vec::new(),
            whole: Vec::new(),
            trusted: false,
            arrival: Vec::new(),
        }
    }

    fn new() -> Bench {
        Bench::with(Limits::default(), BUFFER)
    }

    fn frame(&self, part: &Part) -> Frame {
        self.pool.alloc_from(&part.octets()).unwrap()
    }

    fn offer(&mut self, part: &Part) -> Got {
        let frame = self.frame(part);
        self.offer_frame(frame)
    }

    fn offer_frame(&mut self, frame: Frame) -> Got {
        let i = info(frame.data());
        let drops = &mut self.drops;
        let got = match self.r.offer(frame, &i, self.now, &mut |_, reason| drops.push(reason)) {
            Offered::Held => Got::Held,
            Offered::Dropped => Got::Dropped,
            Offered::Pass(_) => Got::Pass,
            Offered::Complete(datagram) => {
                self.whole = datagram.whole.bytes.to_vec();
                self.trusted = datagram.whole.trusted;
                assert_eq!(datagram.whole.l3, LINK);
                self.arrival = datagram.frames.map(|f| f.data().to_vec()).collect();
                let headers = if i.family == Family::V4 { 20 } else { 48 };
                Got::Complete(self.arrival.len(), self.whole[LINK + headers..].to_vec())
            }
        };
        // A frame is held or back in the pool.
        assert_eq!(self.pool.available() + self.r.pending(), self.pool.config().buffers);
        assert_eq!(self.r.pending() == 0, self.r.bytes(Family::V4) + self.r.bytes(Family::V6) == 0);
        got
    }

    /// Offers all; gives what became of the last, after checking that the others are held.
    fn play(&mut self, parts: &[Part]) -> Got {
        let (last, others) = parts.split_last().unwrap();
        for part in others {
            assert_eq!(self.offer(part), Got::Held, "{part:?}");
        }
        self.offer(last)
    }

    fn expire(&mut self, budget: usize) -> usize {
        let drops = &mut self.drops;
        self.r.expire(self.now, budget, &mut |_, reason| drops.push(reason))
    }
}

fn both(test: impl Fn(Family)) {
    for family in Family::ALL {
        test(family);
    }
}

use DropReason::{FragmentLimit, FragmentOverlap, FragmentTimeout, RxTruncated};

#[test]
fn a_datagram_is_complete_in_any_order() {
    both(|family| {
        let parts = [
            slice(family, 0, 64, true),
            slice(family, 64, 128, true),
            slice(family, 128, 200, true),
            slice(family, 200, 233, false),
        ];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1], [3, 0, 1, 2]] {
            let mut b = Bench::new();
            let parts = order.map(|i| parts[i].clone());
            assert_eq!(b.play(&parts), Got::Complete(4, body(0, 233)), "{family:?} {order:?}");
            assert_eq!(b.arrival, parts.map(|p| p.octets()));
            assert_eq!((b.r.pending(), b.r.datagrams()), (0, 0));
            assert!(b.drops.is_empty());
        }
    });
}

#[test]
fn the_whole_has_the_first_fragments_header() {
    let mut b = Bench::new();
    let mut first = slice(Family::V4, 0, 64, true);
    first.ecn = 0xb8;
    assert_eq!(b.offer(&slice(Family::V4, 64, 100, false)), Got::Held);
    let mut frame = b.frame(&first);
    frame.data_mut()[LINK + 6] |= 0x40;
    assert!(matches!(b.offer_frame(frame), Got::Complete(2, _)));
    let header = &b.whole[LINK..LINK + 20];
    assert_eq!(&b.whole[..LINK], [0xee; LINK]);
    assert_eq!((header[1], &header[2..4], &header[6..8]), (0xb8, &[0, 120][..], &[0x40, 0][..]));
    assert_eq!(checksum(header), 0);
    assert_eq!(
        etherparse::Ipv4HeaderSlice::from_slice(header).unwrap().to_header().calc_header_checksum().to_be_bytes(),
        header[10..12]
    );

    assert!(matches!(
        b.play(&[slice(Family::V6, 64, 100, false), slice(Family::V6, 0, 64, true)]),
        Got::Complete(2, _)
    ));
    let headers = &b.whole[LINK..LINK + 48];
    assert_eq!((&headers[4..6], headers[6], headers[40]), (&[0, 108][..], 60, proto::UDP));
}

/// (what, fragments but the last held, what becomes of the last, reasons)
fn row(what: &str, parts: &[Part], got: Got, drops: &[DropReason]) {
    let mut b = Bench::new();
    assert_eq!(b.play(parts), got, "{what}");
    assert_eq!(b.drops, drops, "{what}");
    if got == Got::Dropped && drops.len() == parts.len() {
        assert_eq!(b.r.datagrams(), 0, "{what}");
    }
}

#[test]
fn repetitions_are_dropped_and_the_datagram_lives() {
    both(|family| {
        let s = |from, to, more| slice(family, from, to, more);
        let head = [s(0, 64, true), s(64, 128, true)];
        let with = |p: Part| [head[0].clone(), head[1].clone(), p];
        row("exact", &with(s(0, 64, true)), Got::Dropped, &[FragmentOverlap]);
        row("of the newest", &with(s(64, 128, true)), Got::Dropped, &[FragmentOverlap]);
        row("inside a run, over a seam", &with(s(32, 96, true)), Got::Dropped, &[FragmentOverlap]);
        row("a whole run", &with(s(0, 128, true)), Got::Dropped, &[FragmentOverlap]);
        let mut b = Bench::new();
        b.play(&with(s(0, 128, true)));
        assert_eq!(b.offer(&s(128, 130, false)), Got::Complete(3, body(0, 130)));
        // A repeated last fragment does no harm either.
        let mut b = Bench::new();
        b.play(&[s(64, 70, false), s(64, 70, false)]);
        assert_eq!(b.drops, [FragmentOverlap]);
        assert_eq!(b.offer(&s(0, 64, true)), Got::Complete(2, body(0, 70)));
    });
}

#[test]
fn overlaps_end_the_datagram() {
    both(|family| {
        let s = |from, to, more| slice(family, from, to, more);
        let gone = |n| vec![FragmentOverlap; n];
        row("over the tail", &[s(0, 64, true), s(56, 128, true)], Got::Dropped, &gone(2));
        row("over the head", &[s(64, 128, true), s(0, 72, true)], Got::Dropped, &gone(2));
        row("around", &[s(64, 128, true), s(0, 136, true)], Got::Dropped, &gone(2));
        row("same start, longer", &[s(0, 64, true), s(0, 72, true)], Got::Dropped, &gone(2));
        row("over two runs", &[s(0, 64, true), s(128, 192, true), s(56, 136, true)], Got::Dropped, &gone(3));
        // The middle one came last, so it is a run of its own: what spans it is no mere repetition.
        let three = [s(0, 64, true), s(128, 192, true), s(64, 128, true), s(32, 96, true)];
        row("over touching runs", &three, Got::Dropped, &gone(4));
        row("after the end", &[s(128, 140, false), s(120, 136, true)], Got::Dropped, &gone(2));
    });
}

#[test]
fn contradicting_ends_end_the_datagram() {
    both(|family| {
        let s = |from, to, more| slice(family, from, to, more);
        // Linux gives up the datagram in IPv4, and only the fragment in IPv6.
        let gone = |n: usize| vec![FragmentOverlap; if family == Family::V4 { n } else { 1 }];
        row("beyond the end", &[s(64, 100, false), s(104, 112, true)], Got::Dropped, &gone(2));
        row("a second end behind", &[s(64, 100, false), s(104, 120, false)], Got::Dropped, &gone(2));
        row("a second end in front", &[s(64, 100, false), s(8, 30, false)], Got::Dropped, &gone(2));
        row("an end in front of data", &[s(64, 128, true), s(32, 40, false)], Got::Dropped, &gone(2));
        row("an end inside data", &[s(64, 128, true), s(64, 100, false)], Got::Dropped, &gone(2));
        row("no data at all", &[s(64, 128, true), s(128, 128, true)], Got::Dropped, &gone(2));
        row("an empty last", &[s(0, 128, true), s(128, 128, false)], Got::Dropped, &gone(2));
    });
    row("empty and alone", &[slice(Family::V4, 8, 8, true)], Got::Dropped, &[FragmentOverlap]);
}

#[test]
fn an_empty_ipv6_fragment_still_tells_where_the_end_is() {
    let mut b = Bench::new();
    assert_eq!(b.offer(&slice(Family::V6, 64, 64, false)), Got::Dropped);
    assert_eq!(b.offer(&slice(Family::V6, 0, 64, true)), Got::Complete(1, body(0, 64)));
}

#[test]
fn an_ipv4_middle_fragment_is_cut_to_a_multiple_of_eight() {
    let mut b = Bench::new();
    let odd = part(Family::V4, 64, true, &[body(64, 128), vec![0xbb; 5]].concat());
    assert_eq!(
        b.play(&[slice(Family::V4, 0, 64, true), odd, slice(Family::V4, 128, 140, false)]),
        Got::Complete(3, body(0, 140))
    );
    // The fragment that goes out no longer has the octets that were not judged.
    let cut = &b.arrival[1];
    assert_eq!(cut.len(), LINK + 20 + 64);
    assert_eq!(&cut[LINK + 2..LINK + 4], [0, 84]);
    assert_eq!(checksum(&cut[LINK..LINK + 20]), 0);
    let nothing = part(Family::V4, 64, true, &[1; 7]);
    row("nothing left", &[slice(Family::V4, 0, 64, true), nothing], Got::Dropped, &[FragmentOverlap; 2]);
}

#[test]
fn an_ipv6_fragment_of_odd_length_passes_and_ends_the_datagram() {
    let odd = part(Family::V6, 64, true, &[0; 61]);
    row("odd", &[slice(Family::V6, 0, 64, true), odd.clone()], Got::Pass, &[FragmentOverlap]);
    let mut b = Bench::new();
    assert_eq!(b.offer(&odd), Got::Pass);
    assert_eq!(b.r.datagrams(), 0);
}

#[test]
fn ecn_fields_that_contradict_end_the_datagram() {
    both(|family| {
        // (ECN of both fragments, ECN of the whole)
        let rows: [(u8, u8, Option<u8>); 11] = [
            (0, 0, Some(0)),
            (1, 1, Some(1)),
            (2, 2, Some(2)),
            (3, 3, Some(3)),
            (1, 2, Some(1)),
            (2, 3, Some(3)),
            (3, 1, Some(3)),
            (0, 1, None),
            (2, 0, None),
            (0, 3, None),
            (3, 0, None),
        ];
        for (first, last, whole) in rows {
            let mut b = Bench::new();
            let one = Part { ecn: first, ..slice(family, 0, 64, true) };
            let two = Part { ecn: last, ..slice(family, 64, 100, false) };
            let got = b.play(&[one, two]);
            match whole {
                None => assert_eq!((got, &b.drops[..]), (Got::Dropped, &[FragmentOverlap; 2][..])),
                Some(ecn) => {
                    assert_eq!(got, Got::Complete(2, body(0, 100)));
                    let field = match family {
                        Family::V4 => b.whole[LINK + 1],
                        Family::V6 => b.whole[LINK + 1] >> 4,
                    };
                    assert_eq!(field, ecn, "{first} {last}");
                    assert!(family == Family::V6 || checksum(&b.whole[LINK..LINK + 20]) == 0);
                }
            }
        }
    });
}

/// Pieces of 1024 octets from `from` on, and a last one that ends at `end`.
fn large(family: Family, end: usize) -> Vec<Part> {
    let mut parts: Vec<Part> =
        (0..end - 1).step_by(1024).map(|at| slice(family, at, (at + 1024).min(end), true)).collect();
    parts.last_mut().unwrap().more = false;
    parts
}

#[test]
fn datagrams_may_be_as_large_as_an_ip_packet_and_no_larger() {
    // Total length counts the IPv4 header; payload length counts the options header in front of the fragment's.
    for (family, most) in [(Family::V4, 65_535 - 20), (Family::V6, 65_535 - 8)] {
        let parts = large(family, most);
        let mut b = Bench::new();
        assert_eq!(b.play(&parts), Got::Complete(parts.len(), body(0, most)));
        let parts = large(family, most + 1);
        let mut b = Bench::new();
        assert_eq!(b.play(&parts), Got::Dropped, "{family:?}");
        assert_eq!((b.drops.len(), b.r.datagrams()), (parts.len(), 0));
    }
    // IPv6 looks at each fragment's end: only that one goes.
    let mut b = Bench::new();
    let far = slice(Family::V6, 65_528, 65_540, false);
    assert_eq!(b.play(&[slice(Family::V6, 0, 64, true), far.clone()]), Got::Dropped);
    assert_eq!((&b.drops[..], b.r.pending()), (&[FragmentOverlap][..], 1));
    let mut b = Bench::new();
    assert_eq!((b.offer(&far), b.r.datagrams()), (Got::Dropped, 0));
}

#[test]
fn an_atomic_fragment_is_released_at_once_and_touches_nothing_else() {
    both(|family| {
        let mut b = Bench::new();
        assert_eq!(b.offer(&slice(family, 64, 128, true)), Got::Held);
        assert_eq!(b.offer(&slice(family, 0, 30, false)), Got::Complete(1, body(0, 30)));
        assert_eq!((b.r.pending(), b.drops.len()), (1, 0));
    });
}

#[test]
fn an_ipv6_first_fragment_without_its_upper_header_passes() {
    let options = |next: u8, rest: &[u8]| [&[next, 0, 1, 4, 0, 0, 0, 0], rest].concat();
    let rows: [(u8, Vec<u8>, bool); 17] = [
        (proto::TCP, vec![0; 16], true),
        (proto::TCP, vec![0; 24], false),
        (proto::UDP, vec![0; 8], false),
        (proto::ICMPV6, vec![0; 8], false),
        (proto::SCTP, vec![0; 8], false),
        (60, options(proto::TCP, &[0; 16]), true),
        (60, options(proto::TCP, &[0; 24]), false),
        (60, options(proto::UDP, &[]), true),
        (60, options(proto::ICMPV6, &[0; 8]), false),
        (0, options(60, &options(proto::GRE, &[])), true),
        (43, options(60, &options(proto::GRE, &[0; 8])), false),
        // Authentication header of 24 octets.
        (51, [&[proto::TCP, 4][..], &[0; 38]].concat(), true),
        (51, [&[proto::TCP, 4][..], &[0; 46]].concat(), false),
        // No next header, or a chain that cannot be followed: left alone.
        (59, vec![0; 8], false),
        (60, [&[proto::TCP, 7][..], &[0; 6]].concat(), true),
        (44, [&[proto::TCP, 0, 0, 8][..], &[0; 4]].concat(), false),
        (44, [&[proto::TCP, 0, 0, 1][..], &[0; 4]].concat(), true),
    ];
    for (proto, data, lacks) in rows {
        for more in [true, false] {
            let mut b = Bench::new();
            let p = Part { proto, ..part(Family::V6, 0, more, &data) };
            let got = b.offer(&p);
            assert_eq!(got == Got::Pass, lacks, "{proto} {} octets", data.len());
            assert!(lacks || more == (got == Got::Held));
        }
        // Only the first has to.
        let p = Part { proto, ..part(Family::V6, 8, true, &data) };
        assert_eq!(Bench::new().offer(&p), Got::Held);
    }
    // IPv4 has no such rule: a TCP header in two fragments is put together.
    let mut b = Bench::new();
    let halves =
        [slice(Family::V4, 0, 8, true), slice(Family::V4, 8, 24, false)].map(|p| Part { proto: proto::TCP, ..p });
    assert_eq!(b.play(&halves), Got::Complete(2, body(0, 24)));
}

#[test]
fn a_jumbo_payload_passes() {
    let mut b = Bench::new();
    let mut frame = b.frame(&slice(Family::V6, 8, 64, true));
    frame.data_mut()[LINK + 4..LINK + 6].copy_from_slice(&[0, 0]);
    assert_eq!(b.offer_frame(frame), Got::Pass);
}

#[test]
fn datagrams_that_differ_in_their_key_do_not_mix() {
    both(|family| {
        let base = slice(family, 0, 64, true);
        let last = slice(family, 64, 80, false);
        let mut others = vec![Part { src: 10, ..last.clone() }, Part { id: 8, ..last.clone() }];
        let other_proto = Part { proto: proto::ICMPV6, ..last.clone() };
        if family == Family::V4 {
            others.push(other_proto.clone());
        }
        let mut b = Bench::new();
        assert_eq!(b.offer(&base), Got::Held);
        for other in &others {
            assert_eq!(b.offer(other), Got::Held);
        }
        assert_eq!(b.r.datagrams(), 1 + others.len());
        // IPv6 identifies without the protocol.
        let end = if family == Family::V6 { &other_proto } else { &last };
        assert_eq!(b.offer(end), Got::Complete(2, body(0, 80)));
    });
}

#[test]
fn link_local_destinations_are_told_apart_by_port() {
    for (first_octets, apart) in [([0xfe, 0x80], true), ([0xff, 0x02], true), ([0x20, 0x20], false)] {
        let mut b = Bench::new();
        for (port, p) in [(1, slice(Family::V6, 0, 64, true)), (2, slice(Family::V6, 64, 80, false))] {
            let mut frame = b.frame(&p);
            frame.data_mut()[LINK + 24..LINK + 26].copy_from_slice(&first_octets);
            frame.meta.ingress = PortId(port);
            b.offer_frame(frame);
        }
        assert_eq!(b.r.datagrams(), if apart { 2 } else { 0 });
    }
}

#[test]
fn checksums_are_trusted_only_if_all_are() {
    let rows = [
        (Checksum::Verified, Checksum::Verified, true),
        (Checksum::Verified, Checksum::Partial { start: 34, offset: 6 }, true),
        (Checksum::Verified, Checksum::Unknown, false),
        (Checksum::Unknown, Checksum::Verified, false),
    ];
    for (one, two, trusted) in rows {
        let mut b = Bench::new();
        for (checksum, p) in [(one, slice(Family::V4, 0, 64, true)), (two, slice(Family::V4, 64, 80, false))] {
            let mut frame = b.frame(&p);
            frame.meta.checksum = checksum;
            b.offer_frame(frame);
        }
        assert_eq!(b.trusted, trusted);
    }
}

#[test]
fn time_runs_from_the_first_fragment() {
    for (family, life) in [(Family::V4, 30_000), (Family::V6, 60_000)] {
        let mut b = Bench::new();
        b.offer(&slice(family, 0, 64, true));
        b.now = NOW.plus(life - 1);
        assert_eq!((b.offer(&slice(family, 64, 128, true)), b.expire(9)), (Got::Held, 0));
        b.now = NOW.plus(life);
        let mut swept = Bench { drops: Vec::new(), ..b };
        assert_eq!(swept.expire(9), 1);
        assert_eq!((&swept.drops[..], swept.r.pending()), (&[FragmentTimeout; 2][..], 0));
        // Not swept yet, but over: the last fragment finds nothing to complete.
        let mut late = Bench::new();
        late.play(&[slice(family, 0, 64, true)]);
        late.now = NOW.plus(life);
        assert_eq!(late.offer(&slice(family, 64, 80, false)), Got::Held);
        assert_eq!((&late.drops[..], late.r.pending()), (&[FragmentTimeout][..], 1));
    }
}

#[test]
fn expiry_keeps_to_its_budget_and_to_the_order_of_age() {
    let mut b = Bench::new();
    for id in 0..10 {
        b.now = NOW.plus(id);
        b.offer(&Part { id, ..slice(Family::V4, 0, 64, true) });
    }
    // One in the middle leaves the row.
    assert!(matches!(b.offer(&Part { id: 4, ..slice(Family::V4, 64, 80, false) }), Got::Complete(..)));
    b.now = NOW.plus(30_000 + 6);
    assert_eq!((b.expire(4), b.expire(4), b.expire(4)), (4, 2, 0));
    assert_eq!((b.r.datagrams(), b.drops.len()), (3, 6));
    let mut flushed = 0;
    b.r.flush(DropReason::PortDown, &mut |_, reason| {
        assert_eq!(reason, DropReason::PortDown);
        flushed += 1;
    });
    assert_eq!((flushed, b.pool.available()), (3, BUFFER.buffers));
}

#[test]
fn memory_is_bounded_by_the_size_of_buffers() {
    both(|family| {
        let buffer = 2048 + crate::frame::HEADROOM;
        let limits = Limits { bytes: [10 * buffer; 2], max_distance: 0, ..Limits::default() };
        let mut b = Bench::with(limits, BUFFER);
        for id in 0..100 {
            b.offer(&Part { id, ..slice(family, 0, 64, true) });
        }
        // Linux's rule: what is there may exceed the threshold by the last one taken.
        assert_eq!((b.r.pending(), b.r.bytes(family)), (11, 11 * buffer));
        assert_eq!(b.drops, vec![FragmentLimit; 89]);
        let other = if family == Family::V4 { Family::V6 } else { Family::V4 };
        assert_eq!(b.offer(&slice(other, 0, 64, true)), Got::Held);
        b.now = NOW.plus(60_000);
        b.expire(100);
        assert_eq!((b.r.bytes(family), b.offer(&slice(family, 0, 64, true))), (0, Got::Held));
    });
}

#[test]
fn slabs_are_bounded_and_used_again() {
    let limits = Limits { datagrams: 4, fragments: 6, max_distance: 0, ..Limits::default() };
    let mut b = Bench::with(limits, BUFFER);
    for round in 0..50 {
        for id in 0..6 {
            let got = b.offer(&Part { id, ..slice(Family::V4, 0, 64, true) });
            assert_eq!(got, if id < 4 { Got::Held } else { Got::Dropped });
        }
        for (id, got) in [(0, Got::Held), (1, Got::Held), (2, Got::Dropped)] {
            assert_eq!(b.offer(&Part { id, ..slice(Family::V4, 64, 128, true) }), got);
        }
        assert_eq!(b.drops, [FragmentLimit; 3]);
        b.drops.clear();
        b.now = NOW.plus(30_000 * (round + 1));
        assert_eq!((b.expire(100), b.r.pending()), (4, 0));
        b.drops.clear();
    }
    assert!(Reassembler::reserved(&Limits::default()) < 4 << 20);
}

#[test]
fn a_datagram_of_too_many_pieces_is_given_up() {
    let mut b = Bench::with(Limits { bytes: [usize::MAX; 2], ..Limits::default() }, BUFFER);
    for n in 0..usize::from(MAX_FRAGMENTS) {
        assert_eq!(b.offer(&slice(Family::V4, 8 * n, 8 * n + 8, true)), Got::Held);
    }
    let n = usize::from(MAX_FRAGMENTS);
    assert_eq!(b.offer(&slice(Family::V4, 8 * n, 8 * n + 8, false)), Got::Dropped);
    assert_eq!((b.drops.len(), b.r.pending()), (n + 1, 0));
    assert!(b.drops.iter().all(|r| *r == FragmentLimit));
}

/// `between` fragments of other datagrams of the same source come between two of one.
fn distance(family: Family, src: u32, between: u32) -> Bench {
    let mut b = Bench::new();
    assert_eq!(b.offer(&slice(family, 0, 64, true)), Got::Held);
    for n in 0..between {
        b.offer(&Part { src, id: 1000 + n, ..slice(family, 0, 64, true) });
    }
    b.now = NOW.plus(20_000);
    let end = slice(family, 64, 80, false);
    b.whole.clear();
    b.offer(&end);
    b
}

#[test]
fn an_ipv4_datagram_too_far_behind_starts_over() {
    assert!(!distance(Family::V4, 9, 63).whole.is_empty());
    let mut b = distance(Family::V4, 9, 64);
    assert!(b.whole.is_empty());
    assert_eq!(b.drops, [FragmentLimit]);
    // It goes on from the fragment that came, with a new timer.
    b.now = NOW.plus(20_000 + 29_999);
    b.expire(1000);
    assert_eq!(b.r.datagrams(), 1);
    assert_eq!(b.offer(&slice(Family::V4, 0, 64, true)), Got::Complete(2, body(0, 80)));
    // Other sources and IPv6 do not count.
    assert!(!distance(Family::V4, 77, 100).whole.is_empty());
    assert!(!distance(Family::V6, 9, 100).whole.is_empty());
}

#[test]
fn a_description_that_does_not_fit_its_frame_is_refused() {
    both(|family| {
        let mut b = Bench::new();
        let octets = slice(family, 0, 64, true).octets();
        let good = info(&octets);
        let headers = good.header_len;
        let mut bad = vec![
            FragmentInfo { len: 65, ..good },
            FragmentInfo { len: u16::MAX, ..good },
            FragmentInfo { header_len: 19, ..good },
            FragmentInfo { header_len: u16::MAX, ..good },
            FragmentInfo { l3: 65, ..good },
            FragmentInfo { l3: u16::MAX, ..good },
            FragmentInfo { offset: 4, ..good },
        ];
        if family == Family::V6 {
            bad.push(FragmentInfo { next_header: headers - 8, ..good });
        }
        for i in bad {
            let frame = b.pool.alloc_from(&octets).unwrap();
            let mut drops = Vec::new();
            assert!(matches!(b.r.offer(frame, &i, NOW, &mut |_, r| drops.push(r)), Offered::Dropped));
            assert_eq!(drops, [RxTruncated], "{i:?}");
        }
        assert_eq!(b.pool.available(), BUFFER.buffers);
    });
}

#[test]
fn a_group_collected_elsewhere_is_merged_for_parsing() {
    both(|family| {
        let parts = [slice(family, 64, 128, true), slice(family, 128, 133, false), slice(family, 0, 64, true)];
        let mut b = Bench::new();
        assert_eq!(b.play(&parts), Got::Complete(3, body(0, 133)));
        let mut frames: Vec<Frame> = parts.iter().map(|p| b.frame(p)).collect();
        let read = |f: &Frame| Some(info(f.data()));
        let whole = b.r.merge(&frames, read).unwrap();
        assert_eq!((whole.bytes, whole.l3, whole.trusted), (&b.whole[..], LINK, false));
        for frame in &mut frames {
            frame.meta.checksum = Checksum::Verified;
        }
        assert!(b.r.merge(&frames, read).unwrap().trusted);
        // The last one of IPv6 may have been empty, and is then not among them.
        for without in (0..3).filter(|i| family == Family::V4 || *i != 1) {
            let some: Vec<Frame> = (0..3).filter(|i| *i != without).map(|i| b.frame(&parts[i])).collect();
            assert!(b.r.merge(&some, read).is_none());
        }
        assert!(b.r.merge(&frames, |_| None).is_none());
        assert!(b.r.merge(&[], read).is_none());
    });
}

#[test]
fn descriptions_are_read_from_parsed_frames_and_the_whole_parses() {
    use crate::wire::{Verify, parse};
    both(|family| {
        let ethertype: [u8; 2] = if family == Family::V4 { [8, 0] } else { [0x86, 0xdd] };
        let mut b = Bench::new();
        for p in [slice(family, 64, 100, false), Part { ecn: 0, ..slice(family, 0, 64, true) }] {
            let mut octets = p.octets();
            octets[12..14].copy_from_slice(&ethertype);
            let parsed = parse(&octets, Verify::Check).unwrap();
            assert_eq!(FragmentInfo::of(&parsed), Some(info(&octets)));
            let frame = b.pool.alloc_from(&octets).unwrap();
            b.offer_frame(frame);
        }
        let whole = parse(&b.whole, Verify::Trust).unwrap();
        assert_eq!(whole.end as usize, b.whole.len());
        assert_eq!((whole.summary.tuple.proto, whole.fragment), (proto::UDP, None));
        assert_eq!(FragmentInfo::of(&whole), None);
    });
}

/// The rules once more, octet by octet: each octet held knows the run it came with.
#[derive(Default)]
struct Oracle {
    runs: BTreeMap<usize, usize>,
    last_run: usize,
    total: usize,
    ended: bool,
    frames: usize,
}

impl Oracle {
    fn offer(&mut self, family: Family, from: usize, to: usize, more: bool) -> Got {
        let contradiction =
            if more { self.ended && to > self.total } else { to < self.total || (self.ended && to != self.total) };
        if family == Family::V4 && (contradiction || from == to) {
            *self = Oracle::default();
            return Got::Dropped;
        }
        if !contradiction {
            self.ended |= !more;
            self.total = self.total.max(to);
        }
        if contradiction || from == to {
            return Got::Dropped;
        }
        let there: Vec<usize> = (from..to).filter_map(|i| self.runs.get(&i).copied()).collect();
        let furthest = self.runs.last_key_value().map(|(i, run)| (i + 1, *run));
        if !there.is_empty() {
            let inside_one = there.len() == to - from && there.iter().all(|run| *run == there[0]);
            if !inside_one {
                *self = Oracle::default();
            }
            return Got::Dropped;
        }
        let run = match furthest {
            Some((end, run)) if end == from => run,
            _ => {
                self.last_run += 1;
                self.last_run
            }
        };
        self.runs.extend((from..to).map(|i| (i, run)));
        self.frames += 1;
        if self.ended && self.runs.len() == self.total {
            let got = Got::Complete(self.frames, body(0, self.total));
            *self = Oracle::default();
            return got;
        }
        Got::Held
    }
}

fn any_family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

proptest! {
    #[test]
    fn random_fragments_fare_as_the_octets_say(
        family in any_family(),
        steps in prop::collection::vec((0usize..6, 0usize..4, any::<bool>(), 0usize..8), 1..40),
    ) {
        let mut b = Bench::new();
        let mut oracle = Oracle::default();
        for (from, len, more, odd) in steps {
            let from = from * 8;
            let to = from + len * 8 + if more { 0 } else { odd };
            // One in a single fragment is none of the queue's business.
            if from == 0 && !more {
                continue;
            }
            let p = Part { proto: 200, ..slice(family, from, to, more) };
            // An IPv6 first fragment must hold one octet of its upper header.
            if family == Family::V6 && from == 0 && to == 0 {
                continue;
            }
            let held = b.r.pending();
            let got = b.offer(&p);
            prop_assert_eq!(&got, &oracle.offer(family, from, to, more), "{} {} {}", from, to, more);
            prop_assert_eq!(b.r.pending(), oracle.frames);
            prop_assert_eq!(b.drops.len(), match got { Got::Dropped => held + 1 - oracle.frames, _ => 0 });
            b.drops.clear();
        }
    }

    #[test]
    fn shuffled_and_repeated_datagrams_come_out_whole(
        family in any_family(),
        cuts in prop::collection::btree_set(1usize..180, 1..20),
        tail in 1usize..16,
        keys in prop::collection::vec((any::<u32>(), any::<bool>()), 40),
    ) {
        let mut at = 0;
        let mut parts = Vec::new();
        for cut in cuts {
            parts.push(slice(family, at, cut * 8, true));
            at = cut * 8;
        }
        parts.push(slice(family, at, at + tail, false));
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by_key(|i| keys[*i].0);
        let mut b = Bench::new();
        let mut last = Got::Held;
        for (n, i) in order.iter().enumerate() {
            let p = Part { proto: 200, ..parts[*i].clone() };
            last = b.offer(&p);
            // An exact repetition, unless it would begin another datagram.
            if keys[*i].1 && n + 1 < order.len() {
                prop_assert_eq!(b.offer(&p), Got::Dropped);
            }
        }
        prop_assert_eq!(last, Got::Complete(parts.len(), body(0, at + tail)));
        prop_assert_eq!(b.pool.available(), BUFFER.buffers);
    }

    #[test]
    fn any_description_is_survived(
        octets in prop::collection::vec(any::<u8>(), 0..200),
        family in any_family(),
        numbers in any::<(u16, u16, u16, u16, u16, u8, bool)>(),
        small in any::<bool>(),
    ) {
        let mut b = Bench::new();
        let (offset, l3, header_len, next_header, len, proto, more) = numbers;
        let fit = |n: u16, most: u16| if small { n % most } else { n };
        let i = FragmentInfo {
                zone: 0,
            family, src: Addr::v4(1), dst: Addr::v4(2), proto, id: 1, offset: offset & !7, more, ecn: proto,
            l3: fit(l3, 40), header_len: fit(header_len, 90), next_header: fit(next_header, 60), len: fit(len, 90),
        };
        for _ in 0..3 {
            let frame = b.pool.alloc_from(&octets).unwrap();
            let _ = b.r.offer(frame, &i, NOW, &mut |_, _| {});
        }
        prop_assert_eq!(b.pool.available() + b.r.pending(), BUFFER.buffers);
    }
}
