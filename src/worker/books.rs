//! Carries what others count over to the worker's counters, and publishes them.

use crate::conntrack::census::Stage;
use crate::conntrack::counts::{Cause, Counts, ProtoClass};
use crate::conntrack::proto::TcpState;
use crate::driver::{QueuePair, QueueStats};
use crate::metrics::label::{DestroyCause, FlowState, InsertFailure, PortError, Proto};
use crate::metrics::{Counters, Published};
use crate::net::{Now, PortId};
use crate::shard::Shard;
use std::sync::Arc;

/// Nanoseconds between two publications.
const PUBLISH_EVERY: u64 = 50_000_000;

/// Publications between two looks at the ports' statistics, for which the kernel is asked.
const PORTS_EVERY: u32 = 5;

/// What was carried over so far, and where it goes.
#[derive(Debug)]
pub(super) struct Books {
    published: Arc<Published>,
    due: Now,
    round: u32,
    /// By port: its statistics when they were last carried over.
    ports: Vec<QueueStats>,
}

impl Books {
    pub(super) fn new(published: Arc<Published>, ports: usize) -> Books {
        Books { published, due: Now(0), round: 0, ports: vec![QueueStats::default(); ports] }
    }

    #[inline]
    pub(super) fn is_due(&self, now: Now) -> bool {
        now >= self.due
    }

    /// Publishes everything. `thorough` asks the ports too, whatever the round.
    pub(super) fn publish(&mut self, shard: &mut Shard, queues: &[Box<dyn QueuePair>], now: Now, thorough: bool) {
        self.due = Now(now.0 + PUBLISH_EVERY);
        self.round += 1;
        if thorough || self.round >= PORTS_EVERY {
            self.round = 0;
            for (index, (queue, seen)) in queues.iter().zip(&mut self.ports).enumerate() {
                let stats = queue.stats();
                for (direction, reason, n) in stats.since(seen).errors() {
                    if n != 0
                        && let Some(error) = PortError::find(direction, reason)
                    {
                        shard.counters.port_error(PortId(index as u8), error, n);
                    }
                }
                *seen = stats;
            }
        }
        let (total, free) = (shard.pool().config().buffers, shard.pool().available());
        let table = shard.tracker().table();
        let (entries, limit) = (table.len(), table.limit());
        let counts = *shard.tracker().counts();
        shard.counters.set_buffers(total, free);
        shard.counters.set_entries(entries, limit);
        carry_tracker(&mut shard.counters, &counts);
        for (class, stage, connections) in shard.tracker().census() {
            if let Some(state) = state_of(stage) {
                shard.counters.set_flows(proto_of(class), state, connections);
            }
        }
        shard.counters.heartbeat(now);
        shard.counters.publish(&self.published);
        shard.rules.publish();
    }
}

/// The tracker's own counts are totals, as the metrics are.
fn carry_tracker(counters: &mut Counters, counts: &Counts) {
    counters.set_expire_lag(counts.expire_lag_ms);
    counters.set_insert_failed(InsertFailure::TableFull, counts.refused);
    for class in ProtoClass::ALL {
        let proto = proto_of(class);
        counters.set_created(proto, counts.created[class as usize]);
        for cause in Cause::ALL {
            let n = counts.destroyed[class as usize][cause as usize];
            counters.set_destroyed(proto, cause_of(cause), n);
        }
    }
}

const fn proto_of(class: ProtoClass) -> Proto {
    match class {
        ProtoClass::Tcp => Proto::Tcp,
        ProtoClass::Udp => Proto::Udp,
        ProtoClass::Icmp => Proto::Icmp,
        ProtoClass::Icmpv6 => Proto::Icmpv6,
        ProtoClass::Sctp => Proto::Sctp,
        ProtoClass::Gre => Proto::Gre,
        ProtoClass::Other => Proto::Other,
    }
}

/// `None` for TCP's state before the first segment, in which no connection is kept.
const fn state_of(stage: Stage) -> Option<FlowState> {
    Some(match stage {
        Stage::Tcp(TcpState::None) => return None,
        Stage::Tcp(TcpState::SynSent) => FlowState::SynSent,
        Stage::Tcp(TcpState::SynRecv) => FlowState::SynRecv,
        Stage::Tcp(TcpState::Established) => FlowState::Established,
        Stage::Tcp(TcpState::FinWait) => FlowState::FinWait,
        Stage::Tcp(TcpState::CloseWait) => FlowState::CloseWait,
        Stage::Tcp(TcpState::LastAck) => FlowState::LastAck,
        Stage::Tcp(TcpState::TimeWait) => FlowState::TimeWait,
        Stage::Tcp(TcpState::Close) => FlowState::Close,
        Stage::Tcp(TcpState::SynSent2) => FlowState::SynSent2,
        Stage::Unreplied => FlowState::Unreplied,
        Stage::Replied => FlowState::Replied,
        Stage::Assured => FlowState::Assured,
    })
}

const fn cause_of(cause: Cause) -> DestroyCause {
    match cause {
        Cause::Timeout => DestroyCause::Timeout,
        Cause::Closed => DestroyCause::Closed,
        Cause::Evicted => DestroyCause::Evicted,
    }
}
