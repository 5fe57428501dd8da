//! Connection tracking: helpers, limits, zones, timeouts, and the reassembly before it.

use crate::helper::{HelperKind, Settings as HelperOptions};
use crate::net::PortId;
use crate::policy::spec::AddrMatch;

/// A helper and the connections it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    /// Name in metrics and listings.
    pub name: String,
    /// Application protocol.
    pub kind: HelperKind,
    /// IP protocol number of the connections.
    pub l4proto: u8,
    /// Destination ports of the connections' first packet.
    pub ports: Vec<u16>,
    /// Ports the first packet may have come in by; empty means any.
    pub iif: Vec<PortId>,
    /// Destination address of the first packet.
    pub daddr: AddrMatch,
    /// Expectations of each class that one connection may have open; `None` leaves it to the helper.
    pub max_expected: Option<u8>,
    /// Lifetime of an expectation; `None` leaves it to the helper.
    pub timeout: Option<u32>,
    /// The helper's own options.
    pub options: HelperOptions,
}

words! {
    /// What becomes of a new connection when the table is full.
    OnFull {
        /// An old connection without a reply makes room.
        #[default]
        Evict = "evict",
        /// It is not tracked.
        Drop = "drop",
    }
}

/// Connection tracking; names and defaults are Linux's sysctls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// Connections in all shards together.
    pub max_entries: u32,
    /// What becomes of a new connection when the table is full.
    pub on_full: OnFull,
    /// Expectations in all shards together (`nf_conntrack_expect_max`).
    pub expect_max: u32,
    /// Whether a wrong transport checksum makes a packet INVALID (`nf_conntrack_checksum`).
    pub checksum: bool,
    /// Whether a connection may be picked up in mid-stream (`nf_conntrack_tcp_loose`).
    pub tcp_loose: bool,
    /// Whether only RSTs outside the window are INVALID (`nf_conntrack_tcp_be_liberal`).
    pub tcp_be_liberal: bool,
    /// Whether an RST outside the window is not INVALID (`nf_conntrack_tcp_ignore_invalid_rst`).
    pub tcp_ignore_invalid_rst: bool,
    /// Retransmissions after which `tcp_max_retrans` is the timeout (`nf_conntrack_tcp_max_retrans`).
    pub tcp_max_retrans: u8,
    /// Most connections of one source address, all workers together; `None` for any number.
    pub per_source: Option<u32>,
    /// Zones by ingress port, in the order of the ports.
    pub zones: Vec<PortZone>,
    /// Timeouts.
    pub timeouts: Timeouts,
}

/// The zone of the packets that come in by a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortZone {
    /// The port.
    pub port: PortId,
    /// Zone id, not 0.
    pub id: u16,
    /// Which directions of a connection the id covers; 0 holds for the other.
    pub direction: ZoneDirection,
    /// Most connections of the zone, all workers together.
    pub limit: Option<u32>,
}

words! {
    /// Directions that a zone id covers.
    ZoneDirection {
        #[default]
        /// Both.
        Both = "both",
        /// Only the original direction; replies are looked up in zone 0.
        Original = "original",
        /// Only the reply direction.
        Reply = "reply",
    }
}

impl Default for Conntrack {
    fn default() -> Self {
        Conntrack {
            max_entries: 262_144,
            on_full: OnFull::default(),
            // Linux: four times its 262,144-entry table's size divided by 256.
            expect_max: 4096,
            checksum: true,
            tcp_loose: true,
            tcp_be_liberal: false,
            tcp_ignore_invalid_rst: false,
            tcp_max_retrans: 3,
            per_source: None,
            zones: Vec::new(),
            timeouts: Timeouts::default(),
        }
    }
}

macro_rules! timeouts {
    ($($(#[$doc:meta])* $name:ident = $seconds:literal,)+) => {
        /// How long a connection or a held fragment stays without a packet, in milliseconds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Timeouts { $($(#[$doc])* pub $name: u32,)+ }

        impl Default for Timeouts {
            fn default() -> Self { Timeouts { $($name: $seconds * 1000,)+ } }
        }

        impl Timeouts {
            /// The names in the file.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($name),)+];

            /// The field of that name.
            pub fn get_mut(&mut self, name: &str) -> Option<&mut u32> {
                match name { $(stringify!($name) => Some(&mut self.$name),)+ _ => None }
            }

            /// Every name with its value.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u32)> + use<> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }
    };
}

timeouts! {
    /// Protocols without a tracker of their own (`nf_conntrack_generic_timeout`).
    generic = 600,
    /// UDP and UDP-Lite before the stream (`nf_conntrack_udp_timeout`).
    udp = 30,
    /// UDP and UDP-Lite with traffic both ways for a while (`nf_conntrack_udp_timeout_stream`).
    udp_stream = 120,
    /// ICMP queries.
    icmp = 30,
    /// ICMPv6 queries.
    icmpv6 = 30,
    /// GRE without a reply.
    gre = 30,
    /// GRE with traffic both ways.
    gre_stream = 180,
    /// An incomplete IPv4 datagram (`ipfrag_time`).
    frag4 = 30,
    /// An incomplete IPv6 datagram (`nf_conntrack_frag6_timeout`).
    frag6 = 60,
    /// TCP in SYN_SENT.
    tcp_syn_sent = 120,
    /// TCP in SYN_RECV.
    tcp_syn_recv = 60,
    /// TCP in ESTABLISHED.
    tcp_established = 432_000,
    /// TCP in FIN_WAIT.
    tcp_fin_wait = 120,
    /// TCP in CLOSE_WAIT.
    tcp_close_wait = 60,
    /// TCP in LAST_ACK.
    tcp_last_ack = 30,
    /// TCP in TIME_WAIT.
    tcp_time_wait = 120,
    /// TCP in CLOSE.
    tcp_close = 10,
    /// TCP after `tcp_max_retrans` retransmissions without an answer.
    tcp_max_retrans = 300,
    /// TCP with data not yet acknowledged.
    tcp_unacknowledged = 300,
    /// SCTP in CLOSED.
    sctp_closed = 10,
    /// SCTP in COOKIE_WAIT.
    sctp_cookie_wait = 3,
    /// SCTP in COOKIE_ECHOED.
    sctp_cookie_echoed = 3,
    /// SCTP in ESTABLISHED.
    sctp_established = 210,
    /// SCTP in SHUTDOWN_SENT.
    sctp_shutdown_sent = 3,
    /// SCTP in SHUTDOWN_RECD.
    sctp_shutdown_recd = 3,
    /// SCTP in SHUTDOWN_ACK_SENT.
    sctp_shutdown_ack_sent = 3,
    /// SCTP in HEARTBEAT_SENT.
    sctp_heartbeat_sent = 30,
}

/// Memory that incomplete datagrams may hold, all workers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragments {
    /// Octets for IPv4 (`ipfrag_high_thresh`).
    pub ipfrag_high_thresh: u32,
    /// Octets for IPv6 (`nf_conntrack_frag6_high_thresh`).
    pub frag6_high_thresh: u32,
}

impl Default for Fragments {
    fn default() -> Self {
        Fragments { ipfrag_high_thresh: 4 << 20, frag6_high_thresh: 4 << 20 }
    }
}
