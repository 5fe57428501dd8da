//! Captures of several ports as one stream of packets, by time.

use crate::driver::pcap::{CaptureError, CaptureReader};
use crate::net::{Now, PortId};
use std::fmt;
use std::path::{Path, PathBuf};

/// What is wrong with a capture, and where.
#[derive(Debug)]
pub struct CaptureFault {
    /// The file.
    pub path: PathBuf,
    /// Number of the damaged record, from 1; `None` when not even the header could be read.
    pub record: Option<u64>,
    /// What is wrong.
    pub source: CaptureError,
}

impl fmt::Display for CaptureFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.record {
            Some(record) => write!(f, "{}: record {record}: {}", self.path.display(), self.source),
            None => write!(f, "{}: {}", self.path.display(), self.source),
        }
    }
}

impl std::error::Error for CaptureFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// One capture, and its next packet.
#[derive(Debug)]
struct Source {
    port: PortId,
    path: PathBuf,
    reader: CaptureReader,
    /// When the next packet came; `None` behind the last.
    next: Option<Now>,
    octets: Vec<u8>,
    records: u64,
    /// Records stamped earlier than one before.
    set_back: u64,
}

impl Source {
    /// Reads one packet ahead. A packet stamped earlier than the one before it in its file counts as
    /// simultaneous with that one: captures are in order of arrival, whatever their clock did.
    fn read(&mut self) -> Result<(), CaptureFault> {
        self.records += 1;
        let record = match self.reader.next_record() {
            None => None,
            Some(Ok(record)) => Some(record),
            Some(Err(source)) => {
                self.next = None;
                return Err(CaptureFault { path: self.path.clone(), record: Some(self.records), source });
            }
        };
        self.octets.clear();
        self.next = record.map(|record| {
            self.octets.extend_from_slice(record.data);
            let before = self.next.unwrap_or_default();
            self.set_back += u64::from(record.at < before);
            record.at.max(before)
        });
        Ok(())
    }
}

/// The next packet of all captures.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The port it came in by.
    pub port: PortId,
    /// When.
    pub at: Now,
    /// From its Ethernet header.
    pub octets: &'a [u8],
}

/// Several captures, read packet by packet in order of time; packets of the same time in order of the captures.
#[derive(Debug, Default)]
pub struct Captures {
    sources: Vec<Source>,
    /// Whose packet was given last, and is to be read on before the next is given.
    given: Option<usize>,
}

impl Captures {
    /// Adds a capture, up to its first packet.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn add(&mut self, port: PortId, path: &Path) -> Result<(), CaptureFault> {
        let reader =
            CaptureReader::open(path).map_err(|source| CaptureFault { path: path.to_owned(), record: None, source })?;
        let mut source =
            Source { port, path: path.to_owned(), reader, next: None, octets: Vec::new(), records: 0, set_back: 0 };
        source.read()?;
        self.sources.push(source);
        Ok(())
    }

    /// The next packet; `None` at the end of all.
    ///
    /// # Errors
    /// When a capture is damaged: there the merging ends.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, CaptureFault> {
        if let Some(source) = self.given.take().and_then(|given| self.sources.get_mut(given)) {
            source.read()?;
        }
        let first = self.sources.iter().enumerate().filter_map(|(n, s)| Some((s.next?, n))).min();
        let Some((at, number)) = first else { return Ok(None) };
        self.given = Some(number);
        Ok(self.sources.get(number).map(|source| Packet { port: source.port, at, octets: &source.octets }))
    }

    /// Captures in which packets so far were stamped earlier than one before, and how many.
    pub fn set_back(&self) -> impl Iterator<Item = (&Path, u64)> {
        self.sources.iter().map(|source| (source.path.as_path(), source.set_back)).filter(|(_, packets)| *packets > 0)
    }

    /// Packets so far that a capture had not kept whole.
    #[must_use]
    pub fn cut_short(&self) -> u64 {
        self.sources.iter().map(|source| source.reader.truncated()).sum()
    }
}
