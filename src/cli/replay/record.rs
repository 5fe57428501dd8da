//! What became of one packet, in words.

use super::session::Outcome;
use crate::net::{Now, PortId};
use crate::policy::Ruleset;
use crate::shard::{End, Snapshot};
use serde::Serialize;

/// One packet's record: a line of `--verdicts`, a row of the table. The names of its fields are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Record<'a> {
    /// Number of the packet among all captures, from 0.
    pub seq: u64,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// The port it came in by.
    pub port: &'a str,
    /// NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED; NONE if it ended before tracking.
    pub state: &'static str,
    /// original or reply.
    pub direction: Option<&'static str>,
    /// The protocol's own state after it.
    pub protocol_state: Option<&'static str>,
    /// Why it is INVALID.
    pub invalid: Option<&'static str>,
    /// accept, drop, punt or held.
    pub verdict: &'static str,
    /// Why it was dropped.
    pub reason: Option<&'static str>,
    /// The rule that decided; none for a chain's policy.
    pub rule: Option<&'a str>,
    /// The port it left by.
    pub egress: Option<&'a str>,
    /// The worker that judged it.
    pub worker: u8,
}

/// The words of the verdicts.
pub const VERDICTS: [&str; 4] = ["accept", "drop", "punt", "held"];

impl<'a> Record<'a> {
    /// Puts an outcome into words.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, seq: u64, at: Now, port: PortId, outcome: &Outcome) -> Record<'a> {
        let fate = &outcome.fate;
        let name = |port: PortId| snapshot.port(port).map(|p| p.name.as_str());
        let (verdict, reason) = match fate.end {
            End::Accept => (VERDICTS[0], None),
            End::Drop(reason) => (VERDICTS[1], Some(reason.label())),
            End::Punt => (VERDICTS[2], None),
            End::Held => (VERDICTS[3], None),
        };
        let ruleset: &Ruleset = &snapshot.ruleset;
        Record {
            seq,
            time: at.0,
            port: name(port).unwrap_or_default(),
            state: fate.state.map_or("NONE", |state| state.word()),
            direction: fate.direction.map(|direction| direction.label()),
            protocol_state: fate.protocol_state,
            invalid: fate.invalid.map(|reason| reason.label()),
            verdict,
            reason,
            rule: fate.rule.and_then(|slot| ruleset.slot_info(slot)?.rule),
            egress: fate.egress.and_then(name),
            worker: outcome.worker.0,
        }
    }

    /// Which rule decided, or else why it was dropped or is INVALID; of both what says more.
    #[must_use]
    pub fn why(&self) -> String {
        let decided = self.rule.or(self.reason);
        match (decided, self.invalid) {
            (Some(decided), Some(invalid)) => format!("{decided} ({invalid})"),
            (Some(word), None) | (None, Some(word)) => word.to_owned(),
            (None, None) => String::new(),
        }
    }
}
