//! Reading captures, one record at a time.

use super::{CaptureError, LINKTYPE_ETHERNET};
use crate::net::Now;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::{Endianness, TsResolution};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

/// Block types of pcapng that hold a packet, and the one that opens a section.
const SIMPLE_PACKET: u32 = 3;
const OBSOLETE_PACKET: u32 = 2;
const ENHANCED_PACKET: u32 = 6;
const SECTION_HEADER: u32 = 0x0a0d_0d0a;

const NANOS: u128 = 1_000_000_000;

/// One captured frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it was captured: nanoseconds since 1970.
    pub at: Now,
    /// What was kept of it.
    pub data: &'a [u8],
    /// Its length on the link; larger than `data` when the capture cut it short.
    pub orig_len: u32,
    /// Interface number in a pcapng file, 0 otherwise.
    pub interface: u32,
}

impl Record<'_> {
    /// The capture did not keep the whole frame.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.data.len() < self.orig_len as usize
    }
}

type Input = Box<dyn Read + Send>;

enum Format {
    Pcap { reader: PcapReader<Input>, nanos_per_unit: u64 },
    PcapNg { reader: Box<PcapNgReader<Input>>, interfaces: Vec<Interface> },
}

/// What a pcapng interface block says about the records that follow.
#[derive(Clone, Copy)]
struct Interface {
    link_type: u32,
    resolution: u8,
    offset_seconds: u64,
    snap_len: u32,
}

/// Reads a capture file from its first record to its last.
pub struct CaptureReader {
    format: Format,
    /// The record shown last.
    data: Vec<u8>,
    truncated: u64,
    ended: bool,
}

impl std::fmt::Debug for CaptureReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureReader").field("truncated", &self.truncated).finish_non_exhaustive()
    }
}

/// The fixed fields of a record whose bytes lie in the reader's buffer.
struct Head {
    at: Now,
    orig_len: u32,
    interface: u32,
}

impl CaptureReader {
    /// Opens a capture file of either format.
    ///
    /// # Errors
    /// When it cannot be read, is no capture, or is a pcap of another link type.
    pub fn open(path: &Path) -> Result<CaptureReader, CaptureError> {
        CaptureReader::new(Box::new(File::open(path)?))
    }

    /// Reads a capture from any stream.
    ///
    /// # Errors
    /// As [`CaptureReader::open`].
    pub fn new(mut input: Box<dyn Read + Send>) -> Result<CaptureReader, CaptureError> {
        let mut magic = [0; 4];
        input.read_exact(&mut magic).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => CaptureError::NotACapture,
            _ => CaptureError::Io(e),
        })?;
        let input: Input = Box::new(Cursor::new(magic).chain(input));
        let format = match magic {
            [0xa1, 0xb2, 0xc3, 0xd4]
            | [0xd4, 0xc3, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0x4d, 0x3c, 0xb2, 0xa1] => {
                let reader = PcapReader::new(input)?;
                // The upper half of the field tells about frame check sequences.
                let found = u32::from(reader.header().datalink) & 0xffff;
                if found != LINKTYPE_ETHERNET {
                    return Err(CaptureError::LinkType { found, interface: 0 });
                }
                let nanos_per_unit = match reader.header().ts_resolution {
                    TsResolution::MicroSecond => 1_000,
                    TsResolution::NanoSecond => 1,
                };
                Format::Pcap { reader, nanos_per_unit }
            }
            [0x0a, 0x0d, 0x0d, 0x0a] => {
                Format::PcapNg { reader: Box::new(PcapNgReader::new(input)?), interfaces: Vec::new() }
            }
            _ => return Err(CaptureError::NotACapture),
        };
        Ok(CaptureReader { format, data: Vec::new(), truncated: 0, ended: false })
    }

    /// The next record; `None` at the end, and after an error.
    pub fn next_record(&mut self) -> Option<Result<Record<'_>, CaptureError>> {
        if self.ended {
            return None;
        }
        let head = match &mut self.format {
            Format::Pcap { reader, nanos_per_unit } => next_pcap(reader, *nanos_per_unit, &mut self.data),
            Format::PcapNg { reader, interfaces } => next_pcapng(reader, interfaces, &mut self.data),
        };
        match head {
            Ok(Some(Head { at, orig_len, interface })) => {
                let record = Record { at, data: &self.data, orig_len, interface };
                self.truncated += u64::from(record.is_truncated());
                Some(Ok(record))
            }
            Ok(None) => {
                self.ended = true;
                None
            }
            Err(e) => {
                self.ended = true;
                Some(Err(e))
            }
        }
    }

    /// Records so far that the capture had cut short.
    #[must_use]
    pub fn truncated(&self) -> u64 {
        self.truncated
    }
}

fn next_pcap(reader: &mut PcapReader<Input>, unit: u64, data: &mut Vec<u8>) -> Result<Option<Head>, CaptureError> {
    // The raw form: the checked one refuses records whose original length exceeds the snap length, which
    // is what every truncated capture has.
    let Some(packet) = reader.next_raw_packet() else { return Ok(None) };
    let packet = packet?;
    data.clear();
    data.extend_from_slice(&packet.data);
    let nanos = u64::from(packet.ts_sec) * 1_000_000_000 + u64::from(packet.ts_frac) * unit;
    Ok(Some(Head { at: Now(nanos), orig_len: packet.orig_len, interface: 0 }))
}

fn next_pcapng(
    reader: &mut PcapNgReader<Input>,
    interfaces: &mut Vec<Interface>,
    data: &mut Vec<u8>,
) -> Result<Option<Head>, CaptureError> {
    loop {
        for block in reader.interfaces().iter().skip(interfaces.len()) {
            interfaces.push(Interface::read(block));
        }
        let order = reader.section().endianness;
        // Raw blocks: the library takes every timestamp for nanoseconds, and reads blocks nobody asks for.
        let Some(block) = reader.next_raw_block() else { return Ok(None) };
        let block = block?;
        let head = match block.type_ {
            ENHANCED_PACKET => enhanced(&block.body, order, interfaces, data)?,
            SIMPLE_PACKET => simple(&block.body, order, interfaces, data)?,
            OBSOLETE_PACKET => {
                return Err(CaptureError::Malformed("packet blocks of type 2 are obsolete and not read".into()));
            }
            SECTION_HEADER => {
                interfaces.clear();
                continue;
            }
            _ => continue,
        };
        return Ok(Some(head));
    }
}

impl Interface {
    fn read(block: &InterfaceDescriptionBlock<'_>) -> Interface {
        let mut interface = Interface {
            link_type: u32::from(block.linktype),
            resolution: 6,
            offset_seconds: 0,
            snap_len: block.snaplen,
        };
        for option in &block.options {
            match option {
                InterfaceDescriptionOption::IfTsResol(value) => interface.resolution = *value,
                InterfaceDescriptionOption::IfTsOffset(value) => interface.offset_seconds = *value,
                _ => {}
            }
        }
        interface
    }

    /// From a count of units to nanoseconds: units of 10^-n seconds, or of 2^-n with the top bit set.
    fn nanos(&self, units: u64) -> u64 {
        let power = u32::from(self.resolution & 0x7f);
        let base: u128 = if self.resolution & 0x80 == 0 { 10 } else { 2 };
        let per_second = base.checked_pow(power).unwrap_or(u128::MAX);
        let nanos = u128::from(units) * NANOS / per_second + u128::from(self.offset_seconds) * NANOS;
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }
}

/// pcapng section 4.3.
fn enhanced(
    body: &[u8],
    order: Endianness,
    interfaces: &[Interface],
    data: &mut Vec<u8>,
) -> Result<Head, CaptureError> {
    let field = |index: usize| word(body, index, order);
    let (Some(number), Some(high), Some(low), Some(kept), Some(orig_len)) =
        (field(0), field(1), field(2), field(3), field(4))
    else {
        return Err(CaptureError::Malformed("a packet block is too short".into()));
    };
    let interface = ethernet(interfaces, number)?;
    let bytes = body.get(20..20usize.saturating_add(kept as usize));
    let bytes = bytes.ok_or_else(|| CaptureError::Malformed("a packet is longer than its block".into()))?;
    data.clear();
    data.extend_from_slice(bytes);
    let at = Now(interface.nanos(u64::from(high) << 32 | u64::from(low)));
    Ok(Head { at, orig_len, interface: number })
}

/// pcapng section 4.4: no time, always the first interface, padded to a multiple of four.
fn simple(body: &[u8], order: Endianness, interfaces: &[Interface], data: &mut Vec<u8>) -> Result<Head, CaptureError> {
    let (Some(orig_len), Some(bytes)) = (word(body, 0, order), body.get(4..)) else {
        return Err(CaptureError::Malformed("a packet block is too short".into()));
    };
    let interface = ethernet(interfaces, 0)?;
    let mut kept = bytes.len().min(orig_len as usize);
    if interface.snap_len != 0 {
        kept = kept.min(interface.snap_len as usize);
    }
    data.clear();
    data.extend_from_slice(bytes.get(..kept).unwrap_or(bytes));
    Ok(Head { at: Now(0), orig_len, interface: 0 })
}

fn ethernet(interfaces: &[Interface], number: u32) -> Result<&Interface, CaptureError> {
    let interface = interfaces
        .get(number as usize)
        .ok_or_else(|| CaptureError::Malformed(format!("a packet names interface {number}, which does not exist")))?;
    if interface.link_type != LINKTYPE_ETHERNET {
        return Err(CaptureError::LinkType { found: interface.link_type, interface: number });
    }
    Ok(interface)
}

/// The 32-bit word with this index.
fn word(body: &[u8], index: usize, order: Endianness) -> Option<u32> {
    let octets = body.get(index * 4..)?.first_chunk::<4>()?;
    Some(match order {
        Endianness::Big => u32::from_be_bytes(*octets),
        Endianness::Little => u32::from_le_bytes(*octets),
    })
}
