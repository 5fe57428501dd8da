//! The counters of one worker.

use super::Published;
use super::groups::{BATCH, Bounds, Groups, ITERATION, Layout, PROBES, cell};
use super::label::{
    DestroyCause, ExpectResult, FlowState, FragmentResult, HelperResult, IcmpKind, IcmpOutcome, InsertFailure,
    PortError, Proto, RejectKind, RouteResult,
};
use crate::net::{CtState, DropReason, Family, InvalidReason, Now, PortId, ShardId};

/// One worker's numbers: plain memory, written by nobody else.
///
/// No method fails or allocates; what names a port, worker or helper beyond the [`Layout`] is not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    groups: Groups,
    layout: Layout,
    values: Box<[u64]>,
}

/// The fate of the packets received on one port (decision D4). At a quiet moment
/// `received == forwarded + dropped + punted + held`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Handed to the workers by the port.
    pub received: u64,
    /// Sent out of some port.
    pub forwarded: u64,
    /// Dropped, for any reason.
    pub dropped: u64,
    /// Given to the control plane.
    pub punted: u64,
    /// Waiting: fragments, and packets for a neighbour being asked.
    pub held: u64,
}

impl Balance {
    /// Whether every packet's fate is known.
    #[must_use]
    pub const fn is_even(&self) -> bool {
        self.received == self.forwarded.wrapping_add(self.dropped).wrapping_add(self.punted).wrapping_add(self.held)
    }
}

impl Counters {
    /// All zero.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        let groups = Groups::new(layout);
        Counters { groups, layout: *layout, values: vec![0; groups.len].into_boxed_slice() }
    }

    /// Makes the numbers visible to scrapes. For the worker that owns `to`, every so many turns.
    pub fn publish(&self, to: &Published) {
        to.store(&self.values);
    }

    pub(super) fn from_values(layout: &Layout, values: Vec<u64>) -> Self {
        let mut counters = Counters::new(layout);
        for (place, value) in counters.values.iter_mut().zip(values) {
            *place = value;
        }
        counters
    }

    /// Adds another worker's numbers; gauges add up too.
    pub fn add(&mut self, other: &Counters) {
        for (place, value) in self.values.iter_mut().zip(&other.values) {
            *place = place.wrapping_add(*value);
        }
    }

    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    pub(super) fn at(&self, index: usize) -> u64 {
        self.values.get(index).copied().unwrap_or_default()
    }

    #[inline]
    fn bump(&mut self, index: usize, n: u64) {
        if let Some(place) = self.values.get_mut(index) {
            *place = place.wrapping_add(n);
        }
    }

    #[inline]
    fn set(&mut self, index: usize, value: u64) {
        if let Some(place) = self.values.get_mut(index) {
            *place = value;
        }
    }

    #[inline]
    fn observe(&mut self, group: usize, bounds: Bounds, value: u64) {
        let bucket = bounds.iter().position(|bound| value <= *bound).unwrap_or(bounds.len());
        self.bump(group + bucket, 1);
        self.bump(group + bounds.len() + 1, value);
    }

    #[inline]
    const fn port(&self, group: usize, port: PortId, width: usize, column: usize) -> usize {
        cell(group, self.layout.ports, port.index(), width, column)
    }

    const fn drop_cell(&self, port: PortId, reason: DropReason, column: usize) -> usize {
        self.port(self.groups.drops, port, DropReason::COUNT * 2, reason.index() * 2 + column)
    }
}

/// A packet's way.
impl Counters {
    /// Tracking gave packets this state.
    #[inline]
    pub fn state(&mut self, family: Family, state: CtState, packets: u64) {
        self.bump(self.groups.states + family.index() * CtState::ALL.len() + state.index(), packets);
    }

    /// A packet is INVALID for this reason. Beside [`state`](Self::state), not instead of it.
    #[inline]
    pub fn invalid(&mut self, reason: InvalidReason) {
        self.bump(self.groups.invalid + reason.index(), 1);
    }

    /// A packet that came in by `ingress` was dropped.
    #[inline]
    pub fn drop_packet(&mut self, ingress: PortId, reason: DropReason, bytes: usize) {
        self.bump(self.drop_cell(ingress, reason, 0), 1);
        self.bump(self.drop_cell(ingress, reason, 1), bytes as u64);
    }

    /// Packets that came in by `ingress` went out of a port; `bytes` from their Ethernet headers on.
    #[inline]
    pub fn forward(&mut self, ingress: PortId, family: Family, packets: u64, bytes: u64) {
        self.bump(self.groups.forwarded + family.index() * 2, packets);
        self.bump(self.groups.forwarded + family.index() * 2 + 1, bytes);
        self.bump(self.port(self.groups.port_forwarded, ingress, 1, 0), packets);
    }

    /// A packet that came in by `ingress` went to the control plane.
    #[inline]
    pub fn punt(&mut self, ingress: PortId) {
        self.bump(self.port(self.groups.punted, ingress, 1, 0), 1);
    }

    /// Packets that came in by `ingress` wait: fragments, or packets for a neighbour being asked.
    #[inline]
    pub fn hold(&mut self, ingress: PortId, packets: u64) {
        self.bump(self.port(self.groups.held, ingress, 1, 0), packets);
    }

    /// Packets wait no more. May be called by another worker than the one that called [`hold`](Self::hold).
    #[inline]
    pub fn release(&mut self, ingress: PortId, packets: u64) {
        self.bump(self.port(self.groups.held, ingress, 1, 0), packets.wrapping_neg());
    }

    /// The router sent packets of its own: answers, errors, requests.
    #[inline]
    pub fn originate(&mut self, packets: u64) {
        self.bump(self.groups.originated, packets);
    }

    /// Results of route lookups.
    #[inline]
    pub fn route_lookup(&mut self, family: Family, result: RouteResult, lookups: u64) {
        self.bump(self.groups.route_lookups + family.index() * RouteResult::COUNT + result.index(), lookups);
    }

    /// An ICMP or ICMPv6 error was sent, or was not because of the rate limit.
    #[inline]
    pub fn icmp_error(&mut self, family: Family, outcome: IcmpOutcome, kind: IcmpKind) {
        let row = family.index() * IcmpOutcome::COUNT + outcome.index();
        self.bump(self.groups.icmp + row * IcmpKind::COUNT + kind.index(), 1);
    }

    /// A reject was answered.
    #[inline]
    pub fn reject(&mut self, kind: RejectKind) {
        self.bump(self.groups.rejects + kind.index(), 1);
    }

    /// Fragments met this end.
    #[inline]
    pub fn fragments(&mut self, family: Family, result: FragmentResult, n: u64) {
        self.bump(self.groups.fragments + family.index() * FragmentResult::COUNT + result.index(), n);
    }

    /// Fragments this worker holds now.
    #[inline]
    pub fn set_fragments_pending(&mut self, family: Family, fragments: usize) {
        self.set(self.groups.fragments_pending + family.index(), fragments as u64);
    }

    /// A packet for a neighbour behind `egress` found its queue full.
    #[inline]
    pub fn neighbour_queue_drop(&mut self, egress: PortId) {
        self.bump(self.port(self.groups.neighbour_drops, egress, 1, 0), 1);
    }
}

/// Connection tracking and helpers.
impl Counters {
    /// Connections in this worker's table now, and how many fit.
    #[inline]
    pub fn set_entries(&mut self, entries: usize, limit: usize) {
        self.set(self.groups.entries, entries as u64);
        self.set(self.groups.entries_limit, limit as u64);
    }

    /// By how much the last sweep was late for the connection it was latest for.
    #[inline]
    pub fn set_expire_lag(&mut self, millis: u32) {
        self.set(self.groups.expire_lag, u64::from(millis));
    }

    /// Connections of a protocol that have come so far, as of the last sweep.
    #[inline]
    pub fn set_flows(&mut self, proto: Proto, state: FlowState, connections: u32) {
        let at = self.groups.flows + proto.index() * FlowState::COUNT + state.index();
        self.set(at, u64::from(connections));
    }

    /// A connection entered the table.
    #[inline]
    pub fn created(&mut self, proto: Proto) {
        self.bump(self.groups.created + proto.index(), 1);
    }

    /// A connection left the table. An evicted one moves `flowgate_conntrack_evicted_total` too.
    #[inline]
    pub fn destroyed(&mut self, proto: Proto, cause: DestroyCause) {
        self.bump(self.groups.destroyed + proto.index() * DestroyCause::COUNT + cause.index(), 1);
    }

    /// Connections that entered the table in all, for a tracker that counts by itself.
    #[inline]
    pub fn set_created(&mut self, proto: Proto, connections: u64) {
        self.set(self.groups.created + proto.index(), connections);
    }

    /// Connections that left it in all, for a tracker that counts by itself.
    #[inline]
    pub fn set_destroyed(&mut self, proto: Proto, cause: DestroyCause, connections: u64) {
        self.set(self.groups.destroyed + proto.index() * DestroyCause::COUNT + cause.index(), connections);
    }

    /// Connections that did not get into it in all, for a tracker that counts by itself.
    #[inline]
    pub fn set_insert_failed(&mut self, reason: InsertFailure, connections: u64) {
        self.set(self.groups.insert_failed + reason.index(), connections);
    }

    /// A connection did not get into the table.
    #[inline]
    pub fn insert_failed(&mut self, reason: InsertFailure) {
        self.bump(self.groups.insert_failed + reason.index(), 1);
    }

    /// A lookup looked at so many places.
    #[inline]
    pub fn lookup(&mut self, probes: u32) {
        self.observe(self.groups.probes, PROBES, u64::from(probes));
    }

    /// What became of an expectation of the `helper`-th name. Every end but `Refused` is of one `Created`,
    /// perhaps by another worker.
    #[inline]
    pub fn expectation(&mut self, helper: usize, result: ExpectResult) {
        let width = ExpectResult::COUNT;
        self.bump(cell(self.groups.expectations, self.layout.helpers, helper, width, result.index()), 1);
    }

    /// What the `helper`-th name made of a packet.
    #[inline]
    pub fn helper_packet(&mut self, helper: usize, result: HelperResult) {
        let width = HelperResult::COUNT;
        self.bump(cell(self.groups.helper_packets, self.layout.helpers, helper, width, result.index()), 1);
    }
}

/// Ports, as their queues report: what was added since the last report.
impl Counters {
    /// Frames received, and their bytes.
    #[inline]
    pub fn port_rx(&mut self, port: PortId, packets: u64, bytes: u64) {
        self.bump(self.port(self.groups.port_rx, port, 2, 0), packets);
        self.bump(self.port(self.groups.port_rx, port, 2, 1), bytes);
    }

    /// Frames sent, and their bytes.
    #[inline]
    pub fn port_tx(&mut self, port: PortId, packets: u64, bytes: u64) {
        self.bump(self.port(self.groups.port_tx, port, 2, 0), packets);
        self.bump(self.port(self.groups.port_tx, port, 2, 1), bytes);
    }

    /// What the port lost or refused.
    #[inline]
    pub fn port_error(&mut self, port: PortId, error: PortError, n: u64) {
        self.bump(self.port(self.groups.port_errors, port, PortError::COUNT, error.index()), n);
    }
}

/// The worker itself.
impl Counters {
    /// A receive call returned so many packets.
    #[inline]
    pub fn poll(&mut self, packets: usize) {
        self.bump(self.groups.polls + usize::from(packets != 0), 1);
        if packets != 0 {
            self.bump(self.groups.worker_packets, packets as u64);
            self.observe(self.groups.batch, BATCH, packets as u64);
        }
    }

    /// A turn of the loop took so long.
    #[inline]
    pub fn iteration(&mut self, nanos: u64) {
        self.observe(self.groups.iteration, ITERATION, nanos);
    }

    /// Processor cycles spent with something to do, and with nothing.
    #[inline]
    pub fn cycles(&mut self, busy: u64, idle: u64) {
        self.bump(self.groups.cycles, busy);
        self.bump(self.groups.cycles + 1, idle);
    }

    /// Packets given to the worker that owns them.
    #[inline]
    pub fn handoff(&mut self, to: ShardId, packets: u64) {
        self.bump(cell(self.groups.handoff, self.layout.workers, to.index(), 1, 0), packets);
    }

    /// Packets that worker had no room for.
    #[inline]
    pub fn handoff_drops(&mut self, to: ShardId, packets: u64) {
        self.bump(cell(self.groups.handoff_drops, self.layout.workers, to.index(), 1, 0), packets);
    }

    /// The worker is alive at this reading of its clock.
    #[inline]
    pub fn heartbeat(&mut self, now: Now) {
        self.set(self.groups.heartbeat, now.0);
    }

    /// Buffers of the worker's pool, and how many of them are free.
    #[inline]
    pub fn set_buffers(&mut self, total: usize, free: usize) {
        self.set(self.groups.buffers, total as u64);
        self.set(self.groups.buffers + 1, free as u64);
    }
}

/// Reading, for tests and summaries; a scrape has all of it.
impl Counters {
    /// The fate of what came in by `port`.
    #[must_use]
    pub fn balance(&self, port: PortId) -> Balance {
        let one = |group| self.at(self.port(group, port, 1, 0));
        Balance {
            received: self.at(self.port(self.groups.port_rx, port, 2, 0)),
            forwarded: one(self.groups.port_forwarded),
            dropped: DropReason::ALL.iter().map(|r| self.dropped(port, *r)).sum(),
            punted: one(self.groups.punted),
            held: one(self.groups.held),
        }
    }

    /// Packets that came in by `port` and were dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, port: PortId, reason: DropReason) -> u64 {
        self.at(self.drop_cell(port, reason, 0))
    }

    /// Packets that got `state`.
    #[must_use]
    pub fn states(&self, family: Family, state: CtState) -> u64 {
        self.at(self.groups.states + family.index() * CtState::ALL.len() + state.index())
    }

    /// Packets that were INVALID for `reason`.
    #[must_use]
    pub fn invalids(&self, reason: InvalidReason) -> u64 {
        self.at(self.groups.invalid + reason.index())
    }

    /// Lookups of routes with a result.
    #[must_use]
    pub fn route_lookups(&self, family: Family, result: RouteResult) -> u64 {
        self.at(self.groups.route_lookups + family.index() * RouteResult::COUNT + result.index())
    }

    /// Answers to rejects that were sent.
    #[must_use]
    pub fn rejects(&self, kind: RejectKind) -> u64 {
        self.at(self.groups.rejects + kind.index())
    }

    /// Packets that went out of a port.
    #[must_use]
    pub fn forwarded(&self, family: Family) -> u64 {
        self.at(self.groups.forwarded + family.index() * 2)
    }

    /// Packets the router sent by itself.
    #[must_use]
    pub fn originated(&self) -> u64 {
        self.at(self.groups.originated)
    }

    /// What became of the expectations of the `helper`-th name.
    #[must_use]
    pub fn expectations(&self, helper: usize, result: ExpectResult) -> u64 {
        self.at(cell(self.groups.expectations, self.layout.helpers, helper, ExpectResult::COUNT, result.index()))
    }

    /// Packets of which the `helper`-th name made that.
    #[must_use]
    pub fn helper_packets(&self, helper: usize, result: HelperResult) -> u64 {
        self.at(cell(self.groups.helper_packets, self.layout.helpers, helper, HelperResult::COUNT, result.index()))
    }

    /// Connections removed to make room for others.
    pub(super) fn evicted(&self) -> u64 {
        let of = |p: &Proto| {
            self.at(self.groups.destroyed + p.index() * DestroyCause::COUNT + DestroyCause::Evicted.index())
        };
        Proto::ALL.iter().map(of).sum()
    }

    /// Connections that entered the table.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn total_created(&self) -> u64 {
        Proto::ALL.iter().map(|p| self.at(self.groups.created + p.index())).sum()
    }
}
