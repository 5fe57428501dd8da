//! Where in a worker's flat array of numbers each counter stands.

use super::label::{
    DestroyCause, ExpectResult, FlowState, FragmentResult, HelperResult, IcmpKind, IcmpOutcome, InsertFailure,
    PortError, Proto, RejectKind, RouteResult,
};
use crate::net::{CtState, DropReason, Family, InvalidReason};

/// What the size of the array depends on. The same for all workers and for the life of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Configured ports.
    pub ports: usize,
    /// Workers.
    pub workers: usize,
    /// Names under which helpers are counted.
    pub helpers: usize,
}

/// Buckets of a histogram over whole numbers: upper bounds, inclusive.
pub(super) type Bounds = &'static [u64];

/// Probes of a lookup.
pub(super) const PROBES: Bounds = &[1, 2, 3, 4, 6, 8, 16];

/// Packets of a burst.
pub(super) const BATCH: Bounds = &[1, 2, 4, 8, 16, 32, 64, 128, 256];

/// Nanoseconds of a turn: 1 us to 10 ms in steps of about 2.5.
pub(super) const ITERATION: Bounds =
    &[1_000, 2_500, 6_250, 15_600, 39_000, 97_700, 244_000, 610_000, 1_530_000, 3_810_000, 10_000_000];

/// Numbers a histogram takes: its buckets, one for all beyond, and the sum.
pub(super) const fn histogram(bounds: Bounds) -> usize {
    bounds.len() + 2
}

const FAMILIES: usize = Family::ALL.len();

macro_rules! groups {
    ($layout:ident; $($(#[$doc:meta])* $name:ident: $len:expr,)+) => {
        /// Offset of each group.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) struct Groups {
            $($(#[$doc])* pub(super) $name: usize,)+
            /// Numbers in all.
            pub(super) len: usize,
        }

        impl Groups {
            pub(super) const fn new($layout: &Layout) -> Self {
                let len = 0;
                $(let $name = len; let len = len + $len;)+
                Groups { $($name,)+ len }
            }
        }
    };
}

groups! { layout;
    /// [family][state]
    states: FAMILIES * CtState::ALL.len(),
    /// [reason]
    invalid: InvalidReason::COUNT,
    /// [family][packets, bytes]
    forwarded: FAMILIES * 2,
    /// One.
    originated: 1,
    /// [worker's own: packets]
    worker_packets: 1,
    /// [empty, nonempty]
    polls: 2,
    /// Histogram.
    batch: histogram(BATCH),
    /// Histogram.
    iteration: histogram(ITERATION),
    /// [busy, idle]
    cycles: 2,
    /// Nanoseconds of `Now`.
    heartbeat: 1,
    /// Histogram.
    probes: histogram(PROBES),
    /// Gauge.
    entries: 1,
    /// Gauge.
    entries_limit: 1,
    /// Gauge, milliseconds.
    expire_lag: 1,
    /// [proto][state], gauge
    flows: Proto::COUNT * FlowState::COUNT,
    /// [proto]
    created: Proto::COUNT,
    /// [proto][cause]
    destroyed: Proto::COUNT * DestroyCause::COUNT,
    /// [reason]
    insert_failed: InsertFailure::COUNT,
    /// [family][result]
    route_lookups: FAMILIES * RouteResult::COUNT,
    /// [family][outcome][kind]
    icmp: FAMILIES * IcmpOutcome::COUNT * IcmpKind::COUNT,
    /// [kind]
    rejects: RejectKind::COUNT,
    /// [family][result]
    fragments: FAMILIES * FragmentResult::COUNT,
    /// [family], gauge
    fragments_pending: FAMILIES,
    /// [total, free], gauges
    buffers: 2,
    /// [worker]
    handoff: layout.workers,
    /// [worker]
    handoff_drops: layout.workers,
    /// [helper][result]
    expectations: layout.helpers * ExpectResult::COUNT,
    /// [helper][result]
    helper_packets: layout.helpers * HelperResult::COUNT,
    /// [port][packets, bytes]
    port_rx: layout.ports * 2,
    /// [port][packets, bytes]
    port_tx: layout.ports * 2,
    /// [port][error]
    port_errors: layout.ports * PortError::COUNT,
    /// [port]
    port_forwarded: layout.ports,
    /// [port]
    punted: layout.ports,
    /// [port], signed
    held: layout.ports,
    /// [port]
    neighbour_drops: layout.ports,
    /// [port][reason][packets, bytes]
    drops: layout.ports * DropReason::COUNT * 2,
}

/// Offset of `[row][column]` in a group of `rows` rows of `width`; out of every array if the row is not in it.
#[inline]
pub(super) const fn cell(group: usize, rows: usize, row: usize, width: usize, column: usize) -> usize {
    if row < rows && column < width { group + row * width + column } else { usize::MAX }
}
