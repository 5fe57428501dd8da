//! What the router says of itself: ICMP errors, metrics, messages.

use std::net::{Ipv4Addr, SocketAddr};

/// A token bucket for the errors the router originates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpLimit {
    /// Messages per second over time (`icmp_msgs_per_sec`).
    pub msgs_per_sec: u32,
    /// Messages at once (`icmp_msgs_burst`).
    pub msgs_burst: u32,
}

impl Default for IcmpLimit {
    fn default() -> Self {
        IcmpLimit { msgs_per_sec: 1000, msgs_burst: 50 }
    }
}

words! {
    /// Whose metric names are served beside the router's own.
    Compat {
        /// The two conntrack series of the Prometheus node exporter.
        #[default]
        NodeExporter = "node_exporter",
    }
}

/// The metrics endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Address of the HTTP listener.
    pub listen: SocketAddr,
    /// Whether every series carries the worker.
    pub per_worker: bool,
    /// Further names to serve.
    pub compat: Option<Compat>,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9752)), per_worker: false, compat: None }
    }
}

words! {
    /// How much the router says.
    LogLevel {
        /// Failures only.
        Error = "error",
        /// And what needs attention.
        Warn = "warn",
        /// And what changes.
        #[default]
        Info = "info",
        /// And how it comes about.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

words! {
    /// How messages are written.
    LogFormat {
        /// A line for people.
        #[default]
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }
}

/// The router's own messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// How much.
    pub level: LogLevel,
    /// In which form.
    pub format: LogFormat,
}
