//! Why a port could not be opened, in words an operator can act on.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a port could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The specification lacks something this kind of port needs.
    Missing {
        /// Configured port.
        port: String,
        /// Key of the configuration that is missing.
        key: &'static str,
    },
    /// Zero queues, or more than this kind of port has.
    Queues {
        /// Configured port.
        port: String,
        /// Queues asked for.
        asked: usize,
        /// Most there can be.
        most: usize,
    },
    /// No interface of this name in this network namespace.
    NoDevice {
        /// Configured port.
        port: String,
        /// Name asked for.
        device: String,
        /// The nearest name there is.
        nearest: Option<String>,
    },
    /// The interface does not speak Ethernet.
    NotEthernet {
        /// Configured port.
        port: String,
        /// Its interface.
        device: String,
    },
    /// Another flowgate has this interface.
    Taken {
        /// Configured port.
        port: String,
        /// Its interface.
        device: String,
    },
    /// The interface cannot be used in this way.
    Unfit {
        /// Configured port.
        port: String,
        /// Its interface.
        device: String,
        /// Why not, and what to do.
        why: String,
    },
    /// The process lacks a privilege.
    Permission {
        /// Configured port.
        port: String,
        /// What it may not do.
        act: &'static str,
        /// Capability that would allow it.
        needs: &'static str,
    },
    /// The control plane offered fresh sockets that no worker has taken yet.
    Busy {
        /// Configured port.
        port: String,
    },
    /// The kernel refused a step.
    System {
        /// Configured port.
        port: String,
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// This program was built without this kind of port.
    NotBuilt {
        /// Configured port.
        port: String,
        /// The cargo feature that has it.
        feature: &'static str,
    },
    /// DPDK refused a step.
    Dpdk {
        /// Configured port.
        port: String,
        /// What was tried.
        step: &'static str,
        /// What DPDK said.
        reason: String,
    },
    /// A capture file could not be used.
    Capture {
        /// Configured port.
        port: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: super::pcap::CaptureError,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Missing { port, key } => write!(f, "port {port}: `{key}` is missing"),
            OpenError::Queues { port, asked, most } => {
                write!(f, "port {port}: {asked} queues asked for, it can have 1 to {most}")
            }
            OpenError::NoDevice { port, device, nearest } => {
                write!(f, "port {port}: there is no interface `{device}`")?;
                match nearest {
                    Some(name) => write!(f, "; did you mean `{name}`?"),
                    None => Ok(()),
                }
            }
            OpenError::NotEthernet { port, device } => {
                write!(f, "port {port}: interface `{device}` is not an Ethernet interface")
            }
            OpenError::Taken { port, device } => {
                write!(
                    f,
                    "port {port}: another flowgate has interface `{device}`; each packet would be forwarded twice"
                )
            }
            OpenError::Unfit { port, device, why } => {
                write!(f, "port {port}: interface `{device}` cannot be used: {why}")
            }
            OpenError::Permission { port, act, needs } => {
                write!(f, "port {port}: no permission to {act}; run as root or grant {needs}")
            }
            OpenError::Busy { port } => {
                write!(f, "port {port}: its workers have not taken over the sockets of the last attempt")
            }
            OpenError::System { port, step, source } => write!(f, "port {port}: could not {step}: {source}"),
            OpenError::NotBuilt { port, feature } => write!(
                f,
                "port {port}: this flowgate was built without {feature}; \
                 build it with `cargo build --release --features {feature}`"
            ),
            OpenError::Dpdk { port, step, reason } => write!(f, "port {port}: DPDK could not {step}: {reason}"),
            OpenError::Capture { port, path, source } => {
                write!(f, "port {port}: capture {}: {source}", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::System { source, .. } => Some(source),
            OpenError::Capture { source, .. } => Some(source),
            _ => None,
        }
    }
}
