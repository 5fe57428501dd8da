//! The closed lists of why a packet ended and why it was INVALID.
//!
//! The same words stand in metrics, replays, captures and logs. A new reason is one line here; the
//! compiler and the counter tests ask for the rest.

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every reason, in the order of its discriminant.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The word used everywhere outside the program.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $($name::$variant => $label,)+ }
            }

            /// As an index into per-reason arrays.
            #[inline]
            #[must_use]
            pub const fn index(self) -> usize { self as usize }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.label()) }
        }
    };
}

reasons! {
    /// Why a packet was dropped. Every dropped packet has exactly one.
    DropReason {
        /// The port reported a damaged frame.
        RxChecksum = "rx_checksum",
        /// Fewer octets than the headers promise, below the transport layer.
        RxTruncated = "rx_truncated",
        /// Neither IPv4, IPv6 nor ARP.
        BadEthertype = "bad_ethertype",
        /// Addressed to another host's link address, or to a group the router does not serve.
        NotForUs = "not_for_us",
        /// A VLAN tag that no port is configured for.
        VlanUnknown = "vlan_unknown",
        /// IPv4 header version, length or checksum wrong (RFC 1812 section 5.2.2).
        Ipv4Header = "ipv4_header",
        /// IPv6 header version or length wrong.
        Ipv6Header = "ipv6_header",
        /// More extension headers than the walk allows.
        Ipv6ExtLimit = "ipv6_ext_limit",
        /// IPv4 options or IPv6 hop-by-hop options malformed, or such as stop the packet (RFC 1812 section 5.2.4, RFC 8200
        /// section 4.2).
        IpOptions = "ip_options",
        /// TTL or hop limit ran out (RFC 1812 section 5.3.1).
        TtlExpired = "ttl_expired",
        /// Source or destination address that may not be forwarded (RFC 1812 section 5.3.7).
        MartianSource = "martian_source",
        /// Fragments of the datagram overlap or contradict one another.
        FragmentOverlap = "fragment_overlap",
        /// The datagram was not complete in time.
        FragmentTimeout = "fragment_timeout",
        /// No room to hold the fragment.
        FragmentLimit = "fragment_limit",
        /// The connection table is full and nothing could be evicted.
        CtTableFull = "ct_table_full",
        /// The zone has as many connections as it may.
        CtZoneLimit = "ct_zone_limit",
        /// The source has as many connections as it may.
        CtSourceLimit = "ct_source_limit",
        /// A connection of another zone answers to the same reply.
        CtClash = "ct_clash",
        /// A rule said drop or reject.
        PolicyRule = "policy_rule",
        /// No rule matched and the chain's policy is drop.
        PolicyDefault = "policy_default",
        /// A helper found a command it must not let pass.
        HelperMalformed = "helper_malformed",
        /// No route to the destination.
        NoRoute = "no_route",
        /// The route is a blackhole, unreachable or prohibit route.
        Blackhole = "blackhole",
        /// The next hop did not answer.
        NeighbourUnresolved = "neighbour_unresolved",
        /// Too many packets wait for the next hop's link address.
        NeighbourQueue = "neighbour_queue",
        /// Larger than the egress MTU and not to be fragmented.
        MtuExceeded = "mtu_exceeded",
        /// The egress port took no more.
        TxRingFull = "tx_ring_full",
        /// The ring to the owning worker was full.
        HandoffFull = "handoff_full",
        /// The control plane's queue was full.
        PuntFull = "punt_full",
        /// No buffer was free.
        BufferExhausted = "buffer_exhausted",
        /// The egress port is down.
        PortDown = "port_down",
        /// A reload took the port away while the packet waited. Reserved: a reload that changes the ports is refused.
        ReloadRemovedPort = "reload_removed_port",
    }
}

reasons! {
    /// Why a packet is INVALID.
    InvalidReason {
        /// Flags that no TCP sends together.
        TcpFlags = "tcp_flags",
        /// TCP checksum wrong.
        TcpChecksum = "tcp_checksum",
        /// Sequence number beyond what the receiver allows.
        TcpSeqOver = "tcp_seq_over",
        /// Sequence number before the receiver's window. Reserved: as in Linux, such a segment is ESTABLISHED and moves nothing.
        TcpSeqUnder = "tcp_seq_under",
        /// Acknowledges data never sent.
        TcpAckOver = "tcp_ack_over",
        /// Acknowledges data long acknowledged. Reserved: as in Linux, such a segment is ESTABLISHED and moves nothing.
        TcpAckUnder = "tcp_ack_under",
        /// First packet is neither a SYN nor one a connection may be picked up from.
        TcpNoSyn = "tcp_no_syn",
        /// The connection's state has no place for this segment.
        TcpState = "tcp_state",
        /// RST whose sequence number was acknowledged already.
        RstInexact = "rst_inexact",
        /// UDP or UDP-Lite length or coverage field wrong.
        UdpLength = "udp_length",
        /// UDP or UDP-Lite checksum wrong.
        UdpChecksum = "udp_checksum",
        /// ICMP reply or error about no known connection.
        IcmpNoFlow = "icmp_no_flow",
        /// ICMP type that is neither error, query nor reply.
        IcmpType = "icmp_type",
        /// ICMP checksum wrong.
        IcmpChecksum = "icmp_checksum",
        /// The packet an ICMP error quotes cannot be read.
        IcmpInner = "icmp_inner",
        /// SCTP verification tag wrong.
        SctpTag = "sctp_tag",
        /// SCTP chunks that may not stand together, or not here.
        SctpChunk = "sctp_chunk",
        /// SCTP CRC32c wrong.
        SctpChecksum = "sctp_checksum",
        /// A fragment that could not be put together.
        Fragment = "fragment",
        /// Transport header shorter than its protocol needs.
        Truncated = "truncated",
        /// The connection table is full and nothing could be evicted.
        TableFull = "table_full",
        /// Nothing of the above.
        Unknown = "unknown",
    }
}
