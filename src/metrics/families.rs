//! The names: every metric family, its type, help text and labels. Nothing is served that is not listed here.
//!
//! Rules: one prefix; base units (seconds, bytes); counters end in `_total`; no label grows with traffic.
//! The label `worker` is on the families that always have it; `per_worker` puts it, last, on the others whose
//! numbers come from workers.

/// How a family is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts per upper bound.
    Histogram,
}

/// One metric family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Desc {
    /// Full name.
    pub name: &'static str,
    /// Type.
    pub kind: Kind,
    /// Help text, one line.
    pub help: &'static str,
    /// Label names, in order.
    pub labels: &'static [&'static str],
}

macro_rules! families {
    ($($id:ident $kind:ident $name:literal [$($label:literal)*] $help:literal;)+) => {
        $(
            #[doc = concat!("`", $name, "`: ", $help)]
            pub const $id: Desc = Desc { name: $name, kind: Kind::$kind, help: $help, labels: &[$($label),*] };
        )+

        /// All families, in the order of the text.
        pub const ALL: &[Desc] = &[$($id),+];
    };
}

families! {
    BUILD_INFO Gauge "flowgate_build_info" ["version" "target"]
        "The running program; always 1.";
    START_TIME Gauge "flowgate_start_time_seconds" []
        "When the process started, seconds since 1970.";
    CONFIG_INFO Gauge "flowgate_config_info" ["sha256" "path"]
        "The configuration in force; always 1.";
    CONFIG_LAST_SUCCESS Gauge "flowgate_config_last_reload_success" []
        "Whether the last attempt to load a configuration succeeded.";
    CONFIG_LAST_TIME Gauge "flowgate_config_last_reload_timestamp_seconds" []
        "When a configuration was last loaded with success, seconds since 1970.";
    CONFIG_RELOADS Counter "flowgate_config_reloads_total" ["result"]
        "Attempts to reload the configuration.";

    PORT_INFO Gauge "flowgate_port_info" ["port" "driver" "mac"]
        "A configured port; always 1.";
    PORT_UP Gauge "flowgate_port_up" ["port"]
        "Whether the port's link is up.";
    PORT_MTU Gauge "flowgate_port_mtu_bytes" ["port"]
        "Largest IP packet the port carries.";
    PORT_PACKETS Counter "flowgate_port_packets_total" ["port" "direction"]
        "Frames received from and sent to the port.";
    PORT_BYTES Counter "flowgate_port_bytes_total" ["port" "direction"]
        "Bytes of these frames, from the Ethernet header on.";
    PORT_ERRORS Counter "flowgate_port_errors_total" ["port" "direction" "reason"]
        "Frames the port lost or refused.";
    PORT_FORWARDED Counter "flowgate_port_forwarded_packets_total" ["port"]
        "Packets received on the port that were sent out of some port.";
    PORT_PUNTED Counter "flowgate_port_punted_packets_total" ["port"]
        "Packets received on the port that went to the control plane.";
    PORT_HELD Gauge "flowgate_port_held_packets" ["port"]
        "Packets received on the port that wait, as fragments or for a neighbour's link address.";

    WORKER_INFO Gauge "flowgate_worker_info" ["worker" "cpu"]
        "A worker and the core it is pinned to; always 1.";
    WORKER_CYCLES Counter "flowgate_worker_cycles_total" ["worker" "kind"]
        "Time spent with work and without, in ticks of flowgate_worker_tsc_hertz a second: nanoseconds in this version.";
    WORKER_TSC Gauge "flowgate_worker_tsc_hertz" []
        "Cycles per second of the counter behind flowgate_worker_cycles_total.";
    WORKER_POLLS Counter "flowgate_worker_polls_total" ["worker" "result"]
        "Receive calls.";
    WORKER_PACKETS Counter "flowgate_worker_packets_total" ["worker"]
        "Packets taken from ports.";
    WORKER_HANDOFF Counter "flowgate_worker_handoff_packets_total" ["worker" "to"]
        "Packets given to the worker that owns their connection.";
    WORKER_HANDOFF_DROPS Counter "flowgate_worker_handoff_drops_total" ["worker" "to"]
        "Packets that worker had no room for.";
    WORKER_BATCH Histogram "flowgate_worker_batch_packets" ["worker"]
        "Packets per receive call that returned any.";
    WORKER_ITERATION Histogram "flowgate_worker_iteration_seconds" ["worker"]
        "Duration of one turn of the loop.";
    WORKER_HEARTBEAT Gauge "flowgate_worker_heartbeat_timestamp_seconds" ["worker"]
        "When the worker last said that it is alive, seconds since 1970.";
    BUFFERS Gauge "flowgate_buffers" []
        "Packet buffers.";
    BUFFERS_FREE Gauge "flowgate_buffers_free" []
        "Packet buffers not in use.";

    CT_ENTRIES Gauge "flowgate_conntrack_entries" ["worker"]
        "Connections in the worker's table.";
    CT_ENTRIES_LIMIT Gauge "flowgate_conntrack_entries_limit" ["worker"]
        "Connections the worker's table can hold.";
    CT_EXPIRE_LAG Gauge "flowgate_conntrack_expire_lag_seconds" ["worker"]
        "By how much the last sweep was late for the connection it was latest for.";
    CT_FLOWS Gauge "flowgate_conntrack_flows" ["proto" "state"]
        "Connections by protocol and how far they have come, as the last sweep met them, one to two seconds ago.";
    CT_PACKETS Counter "flowgate_conntrack_packets_total" ["family" "state"]
        "Packets by the state tracking gave them.";
    CT_INVALID Counter "flowgate_conntrack_invalid_total" ["reason"]
        "INVALID packets by reason.";
    CT_CREATED Counter "flowgate_conntrack_created_total" ["proto"]
        "Connections that entered the table.";
    CT_DESTROYED Counter "flowgate_conntrack_destroyed_total" ["proto" "cause"]
        "Connections that left the table.";
    CT_INSERT_FAILED Counter "flowgate_conntrack_insert_failed_total" ["reason"]
        "Connections that did not get into the table.";
    CT_EVICTED Counter "flowgate_conntrack_evicted_total" []
        "Connections removed to make room for others.";
    CT_PROBES Histogram "flowgate_conntrack_lookup_probes" []
        "Places a table lookup looked at.";
    EXPECTATIONS Gauge "flowgate_conntrack_expectations" ["helper"]
        "Connections announced and not yet seen.";
    EXPECTATIONS_TOTAL Counter "flowgate_conntrack_expectations_total" ["helper" "result"]
        "What became of announced connections.";
    HELPER_PACKETS Counter "flowgate_helper_packets_total" ["helper" "result"]
        "Packets shown to helpers.";

    RULE_PACKETS Counter "flowgate_rule_packets_total" ["chain" "rule" "verdict"]
        "Packets a rule matched, those of connections it once decided included.";
    RULE_BYTES Counter "flowgate_rule_bytes_total" ["chain" "rule" "verdict"]
        "Bytes of these packets.";
    CHAIN_POLICY Counter "flowgate_chain_policy_packets_total" ["chain" "verdict"]
        "Packets no rule decided.";
    DROPS Counter "flowgate_drops_total" ["port" "reason"]
        "Packets dropped, by the port they came in by.";
    DROP_BYTES Counter "flowgate_drop_bytes_total" ["port" "reason"]
        "Bytes of these packets.";
    REJECTS Counter "flowgate_rejects_sent_total" ["kind"]
        "Answers sent by rules that reject.";
    FORWARDED Counter "flowgate_forwarded_packets_total" ["family"]
        "Packets received and sent out of a port.";
    FORWARDED_BYTES Counter "flowgate_forwarded_bytes_total" ["family"]
        "Bytes of these packets.";
    ORIGINATED Counter "flowgate_originated_packets_total" []
        "Packets the router sent by itself: answers, errors, requests.";

    FRAGMENTS Counter "flowgate_fragments_total" ["family" "result"]
        "Fragments by what became of them.";
    FRAGMENTS_PENDING Gauge "flowgate_fragments_pending" ["family"]
        "Fragments held until their datagram is complete.";
    ROUTES Gauge "flowgate_routes" ["family" "origin"]
        "Routes in force.";
    ROUTE_LOOKUPS Counter "flowgate_route_lookups_total" ["family" "result"]
        "Route lookups.";
    NEIGHBOURS Gauge "flowgate_neighbours" ["family" "state"]
        "Neighbours by state.";
    NEIGHBOUR_DROPS Counter "flowgate_neighbour_queue_drops_total" ["port"]
        "Packets dropped because too many wait for a neighbour behind the port.";
    ICMP_ERRORS Counter "flowgate_icmp_errors_total" ["family" "direction" "kind"]
        "ICMP and ICMPv6 errors about packets, sent or held back by the rate limit.";

    PROCESS_CPU Counter "process_cpu_seconds_total" []
        "Processor time of the process.";
    PROCESS_RESIDENT Gauge "process_resident_memory_bytes" []
        "Resident memory of the process.";
    PROCESS_FDS Gauge "process_open_fds" []
        "Open file descriptors of the process.";
}

/// As node_exporter names the table's fill, for dashboards and alerts people have (`compat: node_exporter`).
pub const NODE_ENTRIES: Desc = Desc {
    name: "node_nf_conntrack_entries",
    kind: Kind::Gauge,
    help: "Connections in all workers' tables.",
    labels: &[],
};

/// The limit that goes with [`NODE_ENTRIES`].
pub const NODE_ENTRIES_LIMIT: Desc = Desc {
    name: "node_nf_conntrack_entries_limit",
    kind: Kind::Gauge,
    help: "Connections all workers' tables can hold.",
    labels: &[],
};
