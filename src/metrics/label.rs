//! The closed lists of label values that are not in `net`.

use crate::net::proto;

macro_rules! labels {
    ($($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $label:literal,)+ })+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of its discriminant.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The label's value.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $($name::$variant => $label,)+ }
            }

            /// As an index into per-value arrays.
            #[inline]
            #[must_use]
            pub const fn index(self) -> usize { self as usize }
        }
    )+};
}

labels! {
    /// How far a connection has come: TCP's own states, and of the others whether there was an answer.
    FlowState {
        /// A SYN was seen.
        SynSent = "syn_sent",
        /// A SYN/ACK was seen.
        SynRecv = "syn_recv",
        /// Open, or picked up mid-stream.
        Established = "established",
        /// A FIN was seen.
        FinWait = "fin_wait",
        /// An ACK was seen after it.
        CloseWait = "close_wait",
        /// A second FIN was seen.
        LastAck = "last_ack",
        /// An ACK was seen after that.
        TimeWait = "time_wait",
        /// An RST was seen.
        Close = "close",
        /// Both sides sent a SYN.
        SynSent2 = "syn_sent2",
        /// Nobody answered yet.
        Unreplied = "unreplied",
        /// There was an answer.
        Replied = "replied",
        /// It lasts, and is not given up for others.
        Assured = "assured",
    }

    /// Transport of a connection.
    Proto {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
        /// ICMP.
        Icmp = "icmp",
        /// ICMPv6.
        Icmpv6 = "icmpv6",
        /// SCTP.
        Sctp = "sctp",
        /// GRE.
        Gre = "gre",
        /// Any other, UDP-Lite included.
        Other = "other",
    }

    /// What a port lost or refused.
    PortError {
        /// The kernel or device dropped frames that nobody fetched in time.
        RxMissed = "missed",
        /// No buffer was free for what had arrived.
        RxNobuf = "nobuf",
        /// A checksum of the link was wrong.
        RxChecksum = "checksum",
        /// Larger than a buffer, or cut short.
        RxTruncated = "truncated",
        /// Its offload has no form in which it could be handed over.
        RxRefused = "refused",
        /// The device received it damaged.
        RxError = "error",
        /// The transmit ring had no room.
        TxRingFull = "ring_full",
        /// Larger than the device sends.
        TxOversize = "oversize",
        /// The device cannot make sense of it.
        TxRefused = "refused",
        /// The link was down or gone.
        TxDown = "down",
        /// The device took it and could not send it.
        TxError = "error",
    }

    /// Why a connection left the table.
    DestroyCause {
        /// Its timeout ran out.
        Timeout = "timeout",
        /// Its protocol ended it at once.
        Closed = "closed",
        /// It made room for another.
        Evicted = "evicted",
        /// A person removed it. Reserved: no command of this version does.
        Flushed = "flushed",
        /// A reload removed it. Reserved: connections outlast every reload of this version.
        Reload = "reload",
    }

    /// Why a connection did not get into the table.
    InsertFailure {
        /// The table is full and nothing could be evicted.
        TableFull = "table_full",
        /// No place left where the tuple's hash points. Reserved: a full bucket flows over into the next ones.
        ChainLimit = "chain_limit",
        /// Another connection has one of the tuples.
        Clash = "clash",
        /// The zone has as many connections as it may.
        ZoneLimit = "zone_limit",
        /// The source has as many connections as it may.
        SourceLimit = "source_limit",
    }

    /// What became of an announced connection.
    ExpectResult {
        /// Announced.
        Created = "created",
        /// Its first packet came.
        Matched = "matched",
        /// It did not come in time.
        Expired = "expired",
        /// Withdrawn: replaced, pushed out by a newer one, or its master went.
        Removed = "removed",
        /// Not announced, because it overlaps another or there are too many.
        Refused = "refused",
    }

    /// What a helper made of a packet.
    HelperResult {
        /// It understood something.
        Parsed = "parsed",
        /// Nothing of interest.
        Ignored = "ignored",
        /// It must not pass.
        Malformed = "malformed",
        /// The helper cannot read it any more.
        Encrypted = "encrypted",
    }

    /// Whether an ICMP error went out.
    IcmpOutcome {
        /// It did.
        Sent = "sent",
        /// It did not, because too many had.
        RateLimited = "ratelimited",
    }

    /// What an ICMP or ICMPv6 error says.
    IcmpKind {
        /// No route.
        NetUnreachable = "net_unreachable",
        /// The next hop does not answer.
        HostUnreachable = "host_unreachable",
        /// Nobody serves the protocol.
        ProtocolUnreachable = "protocol_unreachable",
        /// Nobody listens.
        PortUnreachable = "port_unreachable",
        /// A rule forbids it.
        AdminProhibited = "admin_prohibited",
        /// Fragmentation needed; packet too big.
        TooBig = "too_big",
        /// TTL or hop limit ran out.
        TimeExceeded = "time_exceeded",
        /// The fragments did not all come in time.
        ReassemblyTimeExceeded = "reassembly_time_exceeded",
        /// A header field makes no sense.
        ParameterProblem = "parameter_problem",
    }

    /// What the route lookup found.
    RouteResult {
        /// A next hop.
        Hit = "hit",
        /// The router itself, or a group it listens to.
        Local = "local",
        /// Nothing.
        NoRoute = "noroute",
        /// A route that drops, or a destination that is never forwarded to.
        Blackhole = "blackhole",
    }

    /// What became of a fragment.
    FragmentResult {
        /// Its datagram became complete.
        Complete = "complete",
        /// It or one before it overlaps or contradicts another.
        Overlap = "overlap",
        /// Its datagram was not complete in time.
        Timeout = "timeout",
        /// No room to hold it.
        Limit = "limit",
        /// It cannot be a fragment (RFC 8200 section 4.5).
        Invalid = "invalid",
    }

    /// What a reject answered with.
    RejectKind {
        /// TCP RST.
        TcpReset = "tcp_reset",
        /// An ICMP error.
        Icmp = "icmp",
        /// An ICMPv6 error.
        Icmpv6 = "icmpv6",
    }

    /// Where a route comes from.
    RouteOrigin {
        /// A port's own subnet.
        Connected = "connected",
        /// The configuration.
        Static = "static",
    }

    /// A neighbour's state, in the order and words of the neighbour table.
    NeighbourState {
        /// Asked for, no answer yet.
        Incomplete = "incomplete",
        /// Answered lately.
        Reachable = "reachable",
        /// Known, not confirmed lately, not in use.
        Stale = "stale",
        /// In use again, not yet asked again.
        Delay = "delay",
        /// Being asked again.
        Probe = "probe",
        /// Did not answer.
        Failed = "failed",
        /// Configured.
        Permanent = "permanent",
    }
}

impl FlowState {
    /// One of TCP's.
    #[must_use]
    pub const fn is_tcp(self) -> bool {
        !matches!(self, FlowState::Unreplied | FlowState::Replied | FlowState::Assured)
    }
}

impl Proto {
    /// The label of an IP protocol number.
    #[inline]
    #[must_use]
    pub const fn of(number: u8) -> Self {
        match number {
            proto::TCP => Proto::Tcp,
            proto::UDP => Proto::Udp,
            proto::ICMP => Proto::Icmp,
            proto::ICMPV6 => Proto::Icmpv6,
            proto::SCTP => Proto::Sctp,
            proto::GRE => Proto::Gre,
            _ => Proto::Other,
        }
    }
}

impl PortError {
    /// The `direction` label that goes with it.
    #[must_use]
    pub const fn direction(self) -> &'static str {
        if (self as u8) < PortError::TxRingFull as u8 { "rx" } else { "tx" }
    }

    /// The error with these two labels, as a port names them.
    #[must_use]
    pub fn find(direction: &str, reason: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|e| e.direction() == direction && e.label() == reason)
    }
}
