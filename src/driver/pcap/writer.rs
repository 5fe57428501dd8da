//! Writing captures.

use super::CaptureError;
use crate::driver::checksum;
use crate::frame::{Checksum, Frame};
use crate::net::Now;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::{DataLink, Endianness, TsResolution};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

/// Largest record written, in octets; more than any frame has.
const SNAP_LEN: u32 = 262_144;

/// Writes a pcap file with nanosecond timestamps.
pub struct CaptureWriter {
    inner: PcapWriter<BufWriter<Box<dyn Write + Send>>>,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for CaptureWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureWriter").finish_non_exhaustive()
    }
}

impl CaptureWriter {
    /// Creates the file, or empties it, and writes the header.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path) -> Result<CaptureWriter, CaptureError> {
        CaptureWriter::new(Box::new(File::create(path)?))
    }

    /// Writes to any stream.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub fn new(output: Box<dyn Write + Send>) -> Result<CaptureWriter, CaptureError> {
        let header = PcapHeader {
            version_major: 2,
            version_minor: 4,
            ts_correction: 0,
            ts_accuracy: 0,
            snaplen: SNAP_LEN,
            datalink: DataLink::ETHERNET,
            ts_resolution: TsResolution::NanoSecond,
            endianness: Endianness::Little,
        };
        let inner = PcapWriter::with_header(BufWriter::new(output), header)?;
        Ok(CaptureWriter { inner, scratch: Vec::new() })
    }

    /// Appends a frame as it is.
    ///
    /// # Errors
    /// When the stream cannot be written to, or the time is after the year 2106.
    pub fn write(&mut self, at: Now, bytes: &[u8]) -> Result<(), CaptureError> {
        let packet = PcapPacket::new(Duration::from_nanos(at.0), bytes.len() as u32, bytes);
        self.inner.write_packet(&packet)?;
        Ok(())
    }

    /// Appends a frame, with a partial checksum finished.
    ///
    /// # Errors
    /// As [`CaptureWriter::write`].
    pub fn write_frame(&mut self, at: Now, frame: &Frame) -> Result<(), CaptureError> {
        if !matches!(frame.meta.checksum, Checksum::Partial { .. }) {
            return self.write(at, frame.data());
        }
        let mut copy = std::mem::take(&mut self.scratch);
        copy.clear();
        copy.extend_from_slice(frame.data());
        // Offsets outside the frame leave the bytes as they are, for the reader of the capture to see.
        checksum::finish(&mut copy, frame.meta.checksum);
        let written = self.write(at, &copy);
        self.scratch = copy;
        written
    }

    /// Writes out what is buffered and closes the stream.
    ///
    /// # Errors
    /// When the stream cannot be written to. Without this call the same happens on drop, unreported.
    pub fn finish(self) -> Result<(), CaptureError> {
        let mut stream = self.inner.into_writer();
        stream.flush()?;
        Ok(())
    }
}
