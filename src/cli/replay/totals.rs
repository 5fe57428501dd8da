//! The sums below the table.

use super::record::{Record, VERDICTS};
use super::session::Session;
use crate::net::{CtState, DropReason};
use crate::shard::Snapshot;
use std::io::{self, Write};

/// What is counted over a replay.
#[derive(Clone, Debug)]
pub struct Totals {
    packets: u64,
    first: Option<u64>,
    last: u64,
    /// By [`CtState`], and those without a state.
    states: [u64; CtState::ALL.len() + 1],
    verdicts: [u64; VERDICTS.len()],
    /// Held fragments that went on with their datagram, and that were dropped.
    released: [u64; 2],
    /// Frames sent, by port.
    sent: Vec<u64>,
    /// By [`DropReason`]; fragments given up later are among them.
    drops: Vec<u64>,
    originated: u64,
    connections: usize,
    cut_short: u64,
}

impl Totals {
    /// All zero.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Totals {
        Totals {
            packets: 0,
            first: None,
            last: 0,
            states: [0; CtState::ALL.len() + 1],
            verdicts: [0; VERDICTS.len()],
            released: [0; 2],
            sent: vec![0; snapshot.ports.len()],
            drops: Vec::new(),
            originated: 0,
            connections: 0,
            cut_short: 0,
        }
    }

    /// Packets so far.
    #[must_use]
    pub const fn packets(&self) -> u64 {
        self.packets
    }

    /// Counts a packet and what was sent when it came.
    pub fn add(&mut self, record: &Record<'_>, session: &Session) {
        self.packets += 1;
        self.first.get_or_insert(record.time);
        self.last = record.time;
        let state = CtState::ALL.iter().position(|state| state.word() == record.state);
        if let Some(count) = self.states.get_mut(state.unwrap_or(CtState::ALL.len())) {
            *count += 1;
        }
        let verdict = VERDICTS.iter().position(|verdict| *verdict == record.verdict);
        if let Some(count) = verdict.and_then(|verdict| self.verdicts.get_mut(verdict)) {
            *count += 1;
        }
        let completed = record.completes.len() as u64;
        let [on, dropped] = &mut self.released;
        *(if record.verdict == "drop" { &mut *dropped } else { on }) += completed;
        *dropped += record.gave_up.len() as u64;
        for (port, _) in session.sent() {
            if let Some(count) = self.sent.get_mut(port.index()) {
                *count += 1;
            }
        }
    }

    /// Takes over what the shards counted, and how many packets the captures held in part only.
    pub fn close(&mut self, session: &Session, cut_short: u64) {
        let counters = session.counters();
        let ports = || (0..self.sent.len()).map(|n| crate::net::PortId(n as u8));
        let drops = DropReason::ALL.iter().map(|reason| ports().map(|port| counters.dropped(port, *reason)).sum());
        self.drops = drops.collect();
        self.originated = counters.originated();
        self.connections = session.connections();
        self.cut_short = cut_short;
    }

    /// Writes the sums, a line each, without those that are nothing.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, to: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
        let span = self.last - self.first.unwrap_or(self.last);
        let (s, us) = (span / 1_000_000_000, span % 1_000_000_000 / 1000);
        writeln!(to, "{} in {s}.{us:06} s", some(self.packets, "packet"))?;
        let states = CtState::ALL.iter().map(|state| state.word()).chain(["NONE"]).zip(self.states);
        line(to, "states", states)?;
        line(to, "verdicts", VERDICTS.into_iter().zip(self.verdicts))?;
        let [on, dropped] = self.released;
        let [.., held] = self.verdicts;
        let left = held.saturating_sub(on + dropped);
        line(to, "held", [("went on with their datagram", on), ("dropped", dropped), ("still held at the end", left)])?;
        line(to, "drops", DropReason::ALL.iter().map(|reason| reason.label()).zip(self.drops.iter().copied()))?;
        let sent = snapshot.ports.iter().map(|port| port.name.as_str()).zip(self.sent.iter().copied());
        line(to, "sent", sent.chain([("of them the router's own", self.originated)]))?;
        line(to, "left", [("connections", self.connections as u64)])?;
        if self.cut_short > 0 {
            let short = some(self.cut_short, "packet");
            writeln!(to, "{short} cut short by the capture; they cannot be judged as the router would have")?;
        }
        Ok(())
    }
}

fn some(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// One line of counts with their words; none if all are zero.
fn line<'a>(to: &mut impl Write, head: &str, counts: impl IntoIterator<Item = (&'a str, u64)>) -> io::Result<()> {
    let counts: Vec<_> = counts.into_iter().filter(|(_, n)| *n > 0).map(|(word, n)| format!("{n} {word}")).collect();
    if counts.is_empty() { Ok(()) } else { writeln!(to, "  {head:<9} {}", counts.join(", ")) }
}
