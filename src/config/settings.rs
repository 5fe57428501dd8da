//! What a configuration file says once it has been checked: names resolved, defaults filled in.
//!
//! Whoever holds a `Settings` need not check anything again. All durations are milliseconds.

use crate::helper::{HelperKind, Settings as HelperOptions};
use crate::net::{MacAddr, PortId};
use crate::policy::spec::{AddrMatch, PolicySpec};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Gives an enum of the schema its words, in both directions.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every value with its word in the file.
            pub const WORDS: &'static [(&'static str, $name)] = &[$(($word, $name::$variant),)+];

            /// The word of the file.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }
    };
}

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    /// Threads and the cores they run on.
    pub workers: Workers,
    /// Ports in file order; `ports[id.index()]` is the port `id`.
    pub ports: Vec<Port>,
    /// Static routes in file order; connected routes follow from the ports' addresses.
    pub routes: Vec<Route>,
    /// Permanent neighbours.
    pub neighbours: Vec<Neighbour>,
    /// Chains and sets.
    pub policy: PolicySpec,
    /// Helpers; one that is not listed is off.
    pub helpers: Vec<Helper>,
    /// Connection tracking.
    pub conntrack: Conntrack,
    /// Reassembly limits.
    pub fragments: Fragments,
    /// Limit on ICMP and ICMPv6 errors the router originates.
    pub icmp: IcmpLimit,
    /// How neighbours are asked for and forgotten.
    pub neigh: Neigh,
    /// The metrics endpoint; `None` without a `metrics` section.
    pub metrics: Option<Metrics>,
    /// The router's own messages.
    pub log: Log,
}

/// The worker threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workers {
    /// Where they run.
    pub cores: Cores,
    /// How many there are: 1 ..= `MAX_SHARDS`. Equal to the length of a list of cores.
    pub count: u8,
    /// Core of the control thread; `None` leaves it to the scheduler.
    pub main_core: Option<u16>,
    /// How frames find their worker.
    pub dispatch: Dispatch,
    /// Memory pages for DPDK's buffers.
    pub hugepages: Hugepages,
    /// What a worker does when there is nothing to do.
    pub idle: Idle,
}

impl Default for Workers {
    fn default() -> Self {
        Workers {
            cores: Cores::Any,
            count: 1,
            main_core: None,
            dispatch: Dispatch::default(),
            hugepages: Hugepages::default(),
            idle: Idle::default(),
        }
    }
}

/// The cores workers are pinned to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cores {
    /// Not pinned to a particular core.
    #[default]
    Any,
    /// CPU numbers, one per worker, in worker order.
    List(Vec<u16>),
}

words! {
    /// How frames find their worker.
    Dispatch {
        /// By the port's own spreading over its queues, corrected by hand-off.
        #[default]
        Rss = "rss",
        /// Every frame is steered by the receiving worker.
        Software = "software",
    }
}

words! {
    /// Whether connection tables and packet buffers, and DPDK's memory, are to be on huge pages.
    Hugepages {
        /// If the kernel has some to give.
        #[default]
        Auto = "auto",
        /// Without enough of them a run does not start.
        Required = "required",
        /// Never.
        None = "none",
    }
}

words! {
    /// What a worker without work does.
    Idle {
        /// Sleeps until a port has something, after a short time of polling.
        #[default]
        Sleep = "sleep",
        /// Polls on.
        Spin = "spin",
    }
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Position in the file.
    pub id: PortId,
    /// Name in rules, metrics and logs.
    pub name: String,
    /// What carries its frames.
    pub driver: Driver,
    /// Queue pairs: 1 ..= workers; 1 for `virtio_user` and as many as workers for others unless it is said.
    pub queues: u8,
    /// Descriptors per ring, a power of two.
    pub ring: u32,
    /// Largest IP packet in octets; `None` takes the device's (1500 where there is none).
    pub mtu: Option<u16>,
    /// Link address; `None` takes the device's.
    pub mac: Option<MacAddr>,
    /// Tags around its frames.
    pub vlan: Vlan,
    /// A label for people; the policy does not see it.
    pub zone: Option<String>,
    /// The router's addresses on this port with the length of the connected prefix.
    pub addresses: Vec<IpNet>,
}

words! {
    /// Where the XDP program of an `af_xdp` port runs.
    XdpMode {
        /// In the driver if that can, else as with `generic`.
        #[default]
        Auto = "auto",
        /// In the driver, or the port is not opened.
        Native = "native",
        /// In the kernel before its stack, with any driver.
        Generic = "generic",
    }
}

/// What carries a port's frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Rings in this process, for tests and benchmarks.
    Memory,
    /// A capture file.
    Pcap {
        /// The capture; absolute.
        path: PathBuf,
    },
    /// A kernel interface through a packet socket.
    AfPacket {
        /// Interface name.
        device: String,
    },
    /// A kernel interface through AF_XDP sockets.
    AfXdp {
        /// Interface name.
        device: String,
        /// Where the XDP program runs.
        mode: XdpMode,
    },
    /// A TAP device, made if there is none.
    Tap {
        /// Interface name.
        device: String,
    },
    /// Any device of DPDK's.
    Dpdk {
        /// DPDK's own string for it, as after `--vdev`.
        device: String,
    },
    /// A NIC that is bound to vfio, through DPDK.
    Vfio {
        /// Its PCI address with the domain.
        pci: String,
    },
    /// The backend of a vhost-user connection, through DPDK.
    VhostUser {
        /// Its socket; absolute.
        path: PathBuf,
        /// Makes the socket; else connects to it.
        server: bool,
    },
    /// The frontend of a vhost-user connection, through DPDK.
    VirtioUser {
        /// Its socket; absolute.
        path: PathBuf,
        /// Makes the socket; else connects to it.
        server: bool,
    },
}

impl Driver {
    /// The drivers' words in the file.
    pub const WORDS: &'static [&'static str] =
        &["memory", "pcap", "af_packet", "af_xdp", "tap", "dpdk", "vfio", "vhost_user", "virtio_user"];

    /// The kernel interface it has, if it has one.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        match self {
            Driver::Memory | Driver::Pcap { .. } | Driver::Dpdk { .. } | Driver::Vfio { .. } => None,
            Driver::VhostUser { .. } | Driver::VirtioUser { .. } => None,
            Driver::AfPacket { device } | Driver::AfXdp { device, .. } | Driver::Tap { device } => Some(device),
        }
    }

    /// It needs DPDK.
    #[must_use]
    pub const fn is_dpdk(&self) -> bool {
        matches!(self, Driver::Dpdk { .. } | Driver::Vfio { .. } | Driver::VhostUser { .. } | Driver::VirtioUser { .. })
    }

    /// What it opens, whatever that is, as the file names it; empty for memory.
    #[must_use]
    pub fn target(&self) -> String {
        match self {
            Driver::Memory => String::new(),
            Driver::AfPacket { device } | Driver::AfXdp { device, .. } | Driver::Tap { device } => device.clone(),
            Driver::Dpdk { device } => device.clone(),
            Driver::Vfio { pci } => pci.clone(),
            Driver::Pcap { path } | Driver::VhostUser { path, .. } | Driver::VirtioUser { path, .. } => {
                path.display().to_string()
            }
        }
    }

    /// The word of the file, also the metrics' label.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Driver::Memory => "memory",
            Driver::Pcap { .. } => "pcap",
            Driver::AfPacket { .. } => "af_packet",
            Driver::AfXdp { .. } => "af_xdp",
            Driver::Tap { .. } => "tap",
            Driver::Dpdk { .. } => "dpdk",
            Driver::Vfio { .. } => "vfio",
            Driver::VhostUser { .. } => "vhost_user",
            Driver::VirtioUser { .. } => "virtio_user",
        }
    }
}

/// The 802.1Q tags a port's frames carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vlan {
    /// None.
    #[default]
    Untagged,
    /// One (802.1Q).
    Tagged(u16),
    /// Two (802.1ad): the service tag and the customer tag within.
    QinQ {
        /// Service tag.
        outer: u16,
        /// Customer tag.
        inner: u16,
    },
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination prefix.
    pub to: IpNet,
    /// Where it leads.
    pub target: RouteTarget,
    /// The lower wins among routes to the same prefix.
    pub metric: u32,
}

/// Where a static route leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTarget {
    /// Out of a port.
    Unicast {
        /// The port; where the file names none, the one whose subnet `via` is on.
        dev: PortId,
        /// Next hop; `None` if destinations are neighbours themselves.
        via: Option<IpAddr>,
    },
    /// Dropped in silence.
    Blackhole,
    /// Answered with host unreachable.
    Unreachable,
    /// Answered with communication administratively prohibited.
    Prohibit,
}

impl RouteTarget {
    /// The words of `type`.
    pub const WORDS: &'static [&'static str] = &["unicast", "blackhole", "unreachable", "prohibit"];

    /// The word of the file.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            RouteTarget::Unicast { .. } => "unicast",
            RouteTarget::Blackhole => "blackhole",
            RouteTarget::Unreachable => "unreachable",
            RouteTarget::Prohibit => "prohibit",
        }
    }
}

/// A permanent neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub ip: IpAddr,
    /// Its link address.
    pub lladdr: MacAddr,
    /// The port it is behind.
    pub dev: PortId,
}

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

/// How neighbours are asked for and forgotten; names and defaults are Linux's `neigh/default` sysctls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neigh {
    /// How long an answer counts as fresh (`base_reachable_time_ms`).
    pub base_reachable_time: u32,
    /// Between two requests (`retrans_time_ms`).
    pub retrans_time: u32,
    /// Requests to a neighbour not known yet before giving up (`mcast_solicit`).
    pub mcast_solicit: u8,
    /// Requests to a neighbour known of old before forgetting it (`ucast_solicit`).
    pub ucast_solicit: u8,
    /// Packets held for one neighbour while asking (`unres_qlen`).
    pub unres_qlen: u16,
    /// Most neighbours known at once (`gc_thresh3`).
    pub gc_thresh3: u32,
}

impl Default for Neigh {
    fn default() -> Self {
        Neigh {
            base_reachable_time: 30_000,
            retrans_time: 1_000,
            mcast_solicit: 3,
            ucast_solicit: 3,
            unres_qlen: 101,
            gc_thresh3: 1024,
        }
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
