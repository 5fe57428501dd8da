//! How long entries live, in milliseconds; names are the configuration's, defaults Linux's.

/// Timeouts in milliseconds. Zero is not a useful value; the configuration refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Protocols without a tracker of their own.
    pub generic: u32,
    /// UDP and UDP-Lite without a reply, or young.
    pub udp: u32,
    /// UDP and UDP-Lite with traffic both ways.
    pub udp_stream: u32,
    /// ICMP queries.
    pub icmp: u32,
    /// ICMPv6 queries.
    pub icmpv6: u32,
    /// GRE without a reply.
    pub gre: u32,
    /// GRE with traffic both ways.
    pub gre_stream: u32,
    /// A SYN was seen.
    pub tcp_syn_sent: u32,
    /// A SYN/ACK was seen.
    pub tcp_syn_recv: u32,
    /// The connection is open.
    pub tcp_established: u32,
    /// A FIN was seen.
    pub tcp_fin_wait: u32,
    /// An ACK was seen after the first FIN.
    pub tcp_close_wait: u32,
    /// A second FIN was seen.
    pub tcp_last_ack: u32,
    /// An ACK was seen after the second FIN.
    pub tcp_time_wait: u32,
    /// An RST was seen.
    pub tcp_close: u32,
    /// Upper bound while one ACK is repeated, or a window is zero.
    pub tcp_max_retrans: u32,
    /// Upper bound while data is unacknowledged, or a picked-up connection has no reply.
    pub tcp_unacknowledged: u32,
    /// Association not open: INIT or ABORT was seen.
    pub sctp_closed: u32,
    /// INIT ACK was seen.
    pub sctp_cookie_wait: u32,
    /// COOKIE ECHO was seen.
    pub sctp_cookie_echoed: u32,
    /// The association is open.
    pub sctp_established: u32,
    /// SHUTDOWN of the originator was seen.
    pub sctp_shutdown_sent: u32,
    /// SHUTDOWN of the other side was seen.
    pub sctp_shutdown_recd: u32,
    /// SHUTDOWN ACK was seen.
    pub sctp_shutdown_ack_sent: u32,
    /// A HEARTBEAT opened a secondary path.
    pub sctp_heartbeat_sent: u32,
    /// An incomplete IPv4 datagram.
    pub frag4: u32,
    /// An incomplete IPv6 datagram (RFC 8200 section 4.5).
    pub frag6: u32,
}

/// Seconds as milliseconds.
const fn secs(s: u32) -> u32 {
    s * 1000
}

impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            generic: secs(600),
            udp: secs(30),
            udp_stream: secs(120),
            icmp: secs(30),
            icmpv6: secs(30),
            gre: secs(30),
            gre_stream: secs(180),
            tcp_syn_sent: secs(120),
            tcp_syn_recv: secs(60),
            tcp_established: secs(432_000),
            tcp_fin_wait: secs(120),
            tcp_close_wait: secs(60),
            tcp_last_ack: secs(30),
            tcp_time_wait: secs(120),
            tcp_close: secs(10),
            tcp_max_retrans: secs(300),
            tcp_unacknowledged: secs(300),
            sctp_closed: secs(10),
            sctp_cookie_wait: secs(3),
            sctp_cookie_echoed: secs(3),
            sctp_established: secs(210),
            sctp_shutdown_sent: secs(3),
            sctp_shutdown_recd: secs(3),
            sctp_shutdown_ack_sent: secs(3),
            sctp_heartbeat_sent: secs(30),
            frag4: secs(30),
            frag6: secs(60),
        }
    }
}
