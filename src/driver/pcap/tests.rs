use super::*;
use crate::driver::{DriverKind, LinkState, PortSpec, QueuePair, QueueSeed, TxStatus, open as open_port};
use crate::frame::{Burst, Checksum, Pool, PoolConfig};
use crate::net::{Now, PortId};
use proptest::prelude::*;
use std::path::Path;

/// A pcap file by hand: byte order and resolution are the magic number's.
fn classic(big: bool, nanos: bool, link: u32, records: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
    let w32 = |v: u32| if big { v.to_be_bytes() } else { v.to_le_bytes() };
    let w16 = |v: u16| if big { v.to_be_bytes() } else { v.to_le_bytes() };
    let mut out = Vec::new();
    out.extend(w32(if nanos { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }));
    out.extend(w16(2));
    out.extend(w16(4));
    for v in [0, 0, 96, link] {
        out.extend(w32(v));
    }
    for (sec, frac, orig, data) in records {
        for v in [*sec, *frac, data.len() as u32, *orig] {
            out.extend(w32(v));
        }
        out.extend_from_slice(data);
    }
    out
}

struct Ng {
    big: bool,
    out: Vec<u8>,
}

impl Ng {
    fn new(big: bool) -> Ng {
        let mut ng = Ng { big, out: Vec::new() };
        let mut body = ng.word(0x1a2b_3c4d).to_vec();
        body.extend(if big { [0, 1, 0, 0] } else { [1, 0, 0, 0] });
        body.extend([0xff; 8]);
        ng.block(0x0a0d_0d0a, &body);
        ng
    }

    fn word(&self, v: u32) -> [u8; 4] {
        if self.big { v.to_be_bytes() } else { v.to_le_bytes() }
    }

    fn half(&self, v: u16) -> [u8; 2] {
        if self.big { v.to_be_bytes() } else { v.to_le_bytes() }
    }

    fn block(&mut self, kind: u32, body: &[u8]) {
        let padded = body.len().next_multiple_of(4);
        let len = self.word(padded as u32 + 12);
        let kind = self.word(kind);
        self.out.extend(kind);
        self.out.extend(len);
        self.out.extend_from_slice(body);
        self.out.resize(self.out.len() + padded - body.len(), 0);
        self.out.extend(len);
    }

    fn interface(&mut self, link: u16, resolution: Option<u8>) {
        let mut body = self.half(link).to_vec();
        body.extend([0, 0]);
        body.extend(self.word(0));
        if let Some(value) = resolution {
            body.extend(self.half(9));
            body.extend(self.half(1));
            body.extend([value, 0, 0, 0, 0, 0, 0, 0]);
        }
        self.block(1, &body);
    }

    fn packet(&mut self, interface: u32, units: u64, orig: u32, data: &[u8]) {
        let mut body = Vec::new();
        for v in [interface, (units >> 32) as u32, units as u32, data.len() as u32, orig] {
            body.extend(self.word(v));
        }
        body.extend_from_slice(data);
        self.block(6, &body);
    }
}

type Owned = (u64, Vec<u8>, u32, u32);

fn read(bytes: Vec<u8>) -> Result<Vec<Owned>, CaptureError> {
    let mut reader = CaptureReader::new(Box::new(std::io::Cursor::new(bytes)))?;
    let mut out = Vec::new();
    while let Some(record) = reader.next_record() {
        let record = record?;
        out.push((record.at.0, record.data.to_vec(), record.orig_len, record.interface));
    }
    Ok(out)
}

#[test]
fn both_byte_orders_and_resolutions_give_the_same_records() {
    for big in [false, true] {
        for (nanos, frac) in [(false, 5), (true, 5_000)] {
            let file = classic(big, nanos, 1, &[(7, frac, 3, b"abc"), (8, 0, 900, b"cut")]);
            let records = read(file).unwrap();
            assert_eq!(records[0], (7_000_005_000, b"abc".to_vec(), 3, 0));
            assert_eq!(records[1], (8_000_000_000, b"cut".to_vec(), 900, 0), "beyond the snap length");
        }
    }
}

#[test]
fn pcapng_times_follow_the_interface_and_sections_begin_anew() {
    for big in [false, true] {
        let mut file = Ng::new(big);
        file.interface(1, None);
        file.interface(1, Some(9));
        file.interface(1, Some(0x80 | 10));
        file.packet(0, 2_000_001, 3, b"abc");
        file.packet(1, 0x1_0000_0001, 10, b"defg");
        file.packet(2, 1536, 1, b"h");
        file.block(5, &[0; 12]);
        let mut simple = file.word(9).to_vec();
        simple.extend_from_slice(b"ninebytes");
        file.block(3, &simple);
        let next = Ng::new(!big);
        file.out.extend(next.out);
        file.big = !big;
        file.interface(1, Some(3));
        file.packet(0, 5, 1, b"i");
        assert_eq!(
            read(file.out).unwrap(),
            [
                (2_000_001_000, b"abc".to_vec(), 3, 0),
                (0x1_0000_0001, b"defg".to_vec(), 10, 1),
                (1_500_000_000, b"h".to_vec(), 1, 2),
                (0, b"ninebytes".to_vec(), 9, 0),
                (5_000_000, b"i".to_vec(), 1, 0),
            ]
        );
    }
}

#[test]
fn what_cannot_be_read_says_why() {
    let text = |bytes: Vec<u8>| read(bytes).unwrap_err().to_string();
    assert_eq!(text(b"PK\x03\x04 a zip".to_vec()), "this is neither a pcap nor a pcapng file");
    assert_eq!(text(b"".to_vec()), "this is neither a pcap nor a pcapng file");
    let cooked = "interface 0 was captured with link type 113; only Ethernet (1) can be read";
    assert_eq!(text(classic(false, false, 113, &[])), cooked);
    let mut file = Ng::new(false);
    file.interface(113, None);
    file.packet(0, 0, 1, b"x");
    assert_eq!(text(file.out), cooked);
    let mut file = Ng::new(false);
    file.packet(4, 0, 1, b"x");
    assert_eq!(text(file.out), "malformed capture: a packet names interface 4, which does not exist");
    let mut cut = classic(true, true, 1, &[(1, 1, 4, b"full"), (2, 2, 4, b"part")]);
    cut.pop();
    assert_eq!(text(cut), "the file ends in the middle of a record");
}

#[test]
fn an_error_ends_the_reading() {
    let mut cut = classic(false, false, 1, &[(1, 1, 4, b"full")]);
    cut.pop();
    let mut reader = CaptureReader::new(Box::new(std::io::Cursor::new(cut))).unwrap();
    assert!(matches!(reader.next_record(), Some(Err(CaptureError::CutOff))));
    assert!(reader.next_record().is_none());
}

fn port(read: &Path, write: Option<&Path>) -> Box<dyn QueuePair> {
    let mut spec = PortSpec::new("p0", PortId(2), DriverKind::Pcap);
    spec.path = Some(read.to_owned());
    spec.write_path = write.map(Path::to_owned);
    open_port(&spec).unwrap().queues.into_iter().next().map(QueueSeed::start).unwrap()
}

#[test]
fn the_port_numbers_frames_and_counts_those_cut_short() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("in.pcap"), dir.path().join("out.pcap"));
    let records: [(u32, u32, u32, &[u8]); 3] = [(1, 0, 4, b"one."), (2, 0, 500, b"cut."), (3, 0, 6, b"three.")];
    std::fs::write(&from, classic(false, false, 1, &records)).unwrap();
    let mut queue = port(&from, Some(&to));
    let pool = Pool::new(PoolConfig { buffers: 8, frame_size: 64 }).unwrap();
    let mut burst = Burst::with_limit(8);
    assert_eq!(queue.receive(&pool, &mut burst).received, 2);
    let seen: Vec<_> = burst.as_slice().iter().map(|f| (f.meta.seq, f.meta.ingress)).collect();
    assert_eq!(seen, [(1, PortId(2)), (3, PortId(2))]);
    assert_eq!(queue.stats().rx_truncated, 1);
    assert_eq!(queue.receive(&pool, &mut burst).received, 0);
    assert_eq!(queue.transmit(&mut burst), TxStatus { sent: 2, stop: None });
    drop(queue);
    let written = read(std::fs::read(&to).unwrap()).unwrap();
    assert_eq!(written, [(3_000_000_000, b"one.".to_vec(), 4, 0), (3_000_000_000, b"three.".to_vec(), 6, 0)]);
}

#[test]
fn a_damaged_capture_takes_the_port_away() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("in.pcap");
    let mut bytes = classic(false, false, 1, &[(1, 0, 4, b"one."), (2, 0, 4, b"two.")]);
    bytes.pop();
    std::fs::write(&from, bytes).unwrap();
    let mut queue = port(&from, None);
    let pool = Pool::new(PoolConfig { buffers: 8, frame_size: 64 }).unwrap();
    let mut burst = Burst::with_limit(8);
    let status = queue.receive(&pool, &mut burst);
    assert_eq!((status.received, status.link), (1, Some(LinkState::Gone)));
}

#[test]
fn a_missing_capture_is_named() {
    let mut spec = PortSpec::new("p0", PortId(2), DriverKind::Pcap);
    assert_eq!(open_port(&spec).unwrap_err().to_string(), "port p0: `path` is missing");
    spec.path = Some("/nowhere/at all.pcap".into());
    let text = open_port(&spec).unwrap_err().to_string();
    assert!(text.starts_with("port p0: capture /nowhere/at all.pcap: No such file"), "{text}");
}

#[test]
fn a_partial_checksum_is_finished_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.pcap");
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([192, 0, 2, 1], [198, 51, 100, 2], 64)
        .udp(1000, 2000);
    let mut whole = Vec::new();
    builder.write(&mut whole, b"odd payload").unwrap();
    let pool = Pool::new(PoolConfig { buffers: 1, frame_size: 256 }).unwrap();
    let mut frame = pool.alloc_from(&whole).unwrap();
    frame.meta.checksum = Checksum::Partial { start: 34, offset: 6 };
    let pseudo: u32 = [0xc000, 0x0201, 0xc633, 0x6402, 17, 8 + 11].iter().sum();
    let folded = ((pseudo & 0xffff) + (pseudo >> 16)) as u16;
    frame.data_mut()[40..42].copy_from_slice(&folded.to_be_bytes());
    let mut writer = CaptureWriter::create(&path).unwrap();
    writer.write_frame(Now(1), &frame).unwrap();
    writer.finish().unwrap();
    assert_eq!(read(std::fs::read(&path).unwrap()).unwrap(), [(1, whole, 53, 0)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_was_written_is_read(records in prop::collection::vec(
        (0u64..u64::from(u32::MAX) * 1_000_000_000, prop::collection::vec(any::<u8>(), 0..200)), 0..20)) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.pcap");
        let mut writer = CaptureWriter::create(&path).unwrap();
        for (at, bytes) in &records {
            writer.write(Now(*at), bytes).unwrap();
        }
        writer.finish().unwrap();
        let expected: Vec<Owned> =
            records.into_iter().map(|(at, bytes)| { let len = bytes.len() as u32; (at, bytes, len, 0) }).collect();
        prop_assert_eq!(read(std::fs::read(&path).unwrap()).unwrap(), expected);
    }

    /// A damaged file gives records or an error, and always an end.
    #[test]
    fn damage_never_panics(ng in any::<bool>(), big in any::<bool>(),
                           hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
                           keep in any::<prop::sample::Index>()) {
        let mut bytes = if ng {
            let mut file = Ng::new(big);
            file.interface(1, Some(9));
            file.packet(0, 77, 9, b"ninebytes");
            file.block(4, &[0, 1, 0, 4, 127, 0, 0, 1, 0, 0, 0, 0]);
            file.packet(0, 78, 5, b"fives");
            file.out
        } else {
            classic(big, false, 1, &[(1, 1, 9, b"ninebytes"), (2, 2, 5, b"fives")])
        };
        for (at, value) in hits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(keep.index(bytes.len()) + 1);
        if let Ok(records) = read(bytes) {
            prop_assert!(records.len() <= 3);
        }
    }
}
