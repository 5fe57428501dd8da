//! Capture files as a port: frames are read from one and written to another.
//!
//! Owns [`CaptureReader`] (pcap and pcapng, either byte order, any timestamp resolution) and
//! [`CaptureWriter`] (pcap with nanoseconds), which replay uses directly because it needs the time of each
//! frame, and a one-queue port made of both.
//! Always holds: only Ethernet is read, anything else is an error that names the link type; a record cut
//! short by the capture is given with its original length and counted; what is written has its checksums
//! finished, since a file has no side channel for the rest.

mod port;
mod reader;
mod writer;

pub(super) use port::open;
pub use reader::{CaptureReader, Record};
pub use writer::CaptureWriter;

use std::fmt;
use std::io;

/// Link type number of Ethernet in capture files.
const LINKTYPE_ETHERNET: u32 = 1;

/// Why a capture file could not be read or written.
#[derive(Debug)]
pub enum CaptureError {
    /// The file could not be opened, read or written.
    Io(io::Error),
    /// It begins like neither pcap nor pcapng.
    NotACapture,
    /// It was taken on something other than Ethernet.
    LinkType {
        /// The link type number it names.
        found: u32,
        /// Interface of a pcapng file.
        interface: u32,
    },
    /// It ends in the middle of a record.
    CutOff,
    /// A record or block contradicts the format.
    Malformed(String),
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CaptureError::Io(e) => write!(f, "{e}"),
            CaptureError::NotACapture => f.write_str("this is neither a pcap nor a pcapng file"),
            CaptureError::LinkType { found, interface } => {
                write!(f, "interface {interface} was captured with link type {found}; only Ethernet (1) can be read")
            }
            CaptureError::CutOff => f.write_str("the file ends in the middle of a record"),
            CaptureError::Malformed(what) => write!(f, "malformed capture: {what}"),
        }
    }
}

impl std::error::Error for CaptureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CaptureError::Io(e) => Some(e),
            _ => None,
        }
    }
}

impl From<io::Error> for CaptureError {
    fn from(e: io::Error) -> Self {
        CaptureError::Io(e)
    }
}

impl From<pcap_file::PcapError> for CaptureError {
    fn from(e: pcap_file::PcapError) -> Self {
        match e {
            pcap_file::PcapError::IoError(e) if e.kind() == io::ErrorKind::UnexpectedEof => CaptureError::CutOff,
            pcap_file::PcapError::IoError(e) => CaptureError::Io(e),
            pcap_file::PcapError::IncompleteBuffer => CaptureError::CutOff,
            other => CaptureError::Malformed(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;
