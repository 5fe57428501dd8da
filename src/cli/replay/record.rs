//! What became of one packet, in words.

use super::session::Outcome;
use crate::net::{DropReason, Now, PortId};
use crate::policy::Ruleset;
use crate::shard::{End, Fate, Snapshot};
use serde::Serialize;

/// One packet's record: a line of `--verdicts`, a row of the table. The names of its fields are stable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record<'a> {
    /// Number of the packet among all captures, from 0.
    pub seq: u64,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// The port it came in by.
    pub port: &'a str,
    /// NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED; NONE if it ended before tracking, or is a fragment that is held.
    pub state: &'static str,
    /// original or reply.
    pub direction: Option<&'static str>,
    /// The protocol's own state after it.
    pub protocol_state: Option<&'static str>,
    /// Why it is INVALID.
    pub invalid: Option<&'static str>,
    /// accept, drop, punt (the router took or answered it) or held (a fragment that waits for others; the record
    /// whose packet ended the wait names it in `completes` or `gave_up`).
    pub verdict: &'static str,
    /// Why it was dropped.
    pub reason: Option<&'static str>,
    /// The rule that decided; none for a chain's policy.
    pub rule: Option<&'a str>,
    /// The port it left by.
    pub egress: Option<&'a str>,
    /// The worker that judged it.
    pub worker: u8,
    /// Held fragments, by their `seq`, of the datagram that this packet completed: they share its state, verdict, reason,
    /// rule and egress. Left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub completes: Vec<u64>,
    /// Held fragments that were dropped when this packet came: because of it, or because their time was over by then.
    /// Left out where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gave_up: Vec<GaveUp>,
}

/// A fragment that was held and then dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GaveUp {
    /// Its number, as in its own record.
    pub seq: u64,
    /// Why it was dropped.
    pub reason: &'static str,
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
            completes: Vec::new(),
            gave_up: Vec::new(),
        }
    }

    /// Adds what became of fragments that were held until this packet came; `outcome` is its own.
    pub fn release<'f>(&mut self, held: impl Iterator<Item = (u32, &'f Fate)>, outcome: &Outcome) {
        for (number, fate) in held {
            // Numbers are given modulo 2^32, and a held packet came before this one.
            let seq = self.seq - u64::from((self.seq as u32).wrapping_sub(number));
            match fate.end {
                End::Drop(reason) if is_of_fragments(reason) || *fate != outcome.fate => {
                    self.gave_up.push(GaveUp { seq, reason: reason.label() });
                }
                _ => self.completes.push(seq),
            }
        }
    }

    /// Which rule decided, or else why it was dropped or is INVALID; of both what says more.
    #[must_use]
    pub fn why(&self) -> String {
        let decided = self.rule.or(self.reason);
        let mut why = match (decided, self.invalid) {
            (Some(decided), Some(invalid)) => format!("{decided} ({invalid})"),
            (Some(word), None) | (None, Some(word)) => word.to_owned(),
            (None, None) => String::new(),
        };
        let mut add = |what: &str, seqs: Vec<u64>| {
            if !seqs.is_empty() {
                let gap = if why.is_empty() { "" } else { ", " };
                let seqs: Vec<_> = seqs.iter().map(u64::to_string).collect();
                why = format!("{why}{gap}{what} {}", seqs.join(" "));
            }
        };
        add("completes", self.completes.clone());
        add("gave up", self.gave_up.iter().map(|one| one.seq).collect());
        why
    }
}

/// Whether a datagram of which a fragment was dropped for this never was complete.
const fn is_of_fragments(reason: DropReason) -> bool {
    matches!(reason, DropReason::FragmentOverlap | DropReason::FragmentTimeout | DropReason::FragmentLimit)
}
