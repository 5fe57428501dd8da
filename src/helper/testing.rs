//! What the helpers' tests share: a connection and effects that are only noted.

use super::{Announced, Context, Effects, Helper, Outcome, Settings, State};
use crate::net::{Addr, Direction, Expectation, Family, Tuple};
use std::ops::RangeInclusive;

/// Effects as a list.
#[derive(Debug)]
pub(super) struct Notes {
    pub(super) expected: Vec<Expectation>,
    /// What becomes of every announcement.
    pub(super) answer: Announced,
    pub(super) timer: Option<u32>,
    /// What was announced and not withdrawn, oldest first, with the lifetime of those that were activated.
    pub(super) open: Vec<(Expectation, Option<u32>)>,
    /// What others have announced.
    pub(super) elsewhere: Vec<(Tuple, u8)>,
    /// Calls that were paired and not taken back.
    pub(super) calls: Vec<Tuple>,
    /// Connections that were ended.
    pub(super) ended: Vec<Tuple>,
    /// Addresses behind one port; all others are behind another.
    pub(super) near: Vec<Addr>,
}

impl Default for Notes {
    fn default() -> Self {
        Notes {
            expected: Vec::new(),
            answer: Announced::Done,
            timer: None,
            open: Vec::new(),
            elsewhere: Vec::new(),
            calls: Vec::new(),
            ended: Vec::new(),
            near: Vec::new(),
        }
    }
}

impl Effects for Notes {
    fn expect(&mut self, expectation: Expectation) -> Announced {
        if self.answer == Announced::Done {
            self.expected.push(expectation);
            self.open.retain(|(e, _)| *e != expectation);
            self.open.push((expectation, None));
        }
        self.answer
    }

    fn withdraw(&mut self, expectation: &Expectation) {
        self.open.retain(|(e, _)| e != expectation);
    }

    fn withdraw_classes(&mut self, classes: RangeInclusive<u8>) {
        self.open.retain(|(e, _)| !classes.contains(&e.class));
    }

    fn withdraw_newest(&mut self, class: u8) {
        if let Some(at) = self.open.iter().rposition(|(e, _)| e.class == class) {
            self.open.remove(at);
        }
    }

    fn activate(&mut self, class: u8, proto: u8, to: (Addr, u16), ms: u32) -> bool {
        let fits = |e: &Expectation| e.class == class && e.proto == proto && (e.dst, e.dst_key) == to;
        let found = self.open.iter_mut().rev().find(|(e, _)| fits(e));
        found.map(|(_, life)| *life = Some(ms)).is_some()
    }

    fn expects_elsewhere(&self, packet: &Tuple, class: u8) -> bool {
        self.elsewhere.contains(&(*packet, class))
    }

    fn same_way(&self, _family: Family, one: Addr, other: Addr) -> bool {
        self.near.contains(&one) == self.near.contains(&other)
    }

    fn pair_call(&mut self, flow: &Tuple) -> bool {
        if let Some(before) = self.calls.iter().find(|call| call.src == flow.src) {
            return before.dst_key == flow.dst_key;
        }
        self.calls.push(*flow);
        true
    }

    fn unpair_calls(&mut self) {
        self.calls.clear();
    }

    fn end(&mut self, flow: &Tuple) {
        self.ended.push(*flow);
        self.open.retain(|(e, _)| e.dst != flow.dst || e.dst_key != flow.dst_key || e.proto != flow.proto);
    }

    fn set_timer(&mut self, ms: u32) {
        self.timer = Some(ms);
    }
}

pub(super) fn addr(text: &str) -> (Family, Addr) {
    let ip: std::net::IpAddr = text.parse().unwrap();
    (ip.into(), ip.into())
}

/// A connection with its helper's memory.
pub(super) struct Talk<'a> {
    pub(super) helper: &'a dyn Helper,
    pub(super) original: Tuple,
    pub(super) state: State,
    pub(super) settings: Settings,
    pub(super) both_seen: bool,
    pub(super) expected: bool,
    pub(super) notes: Notes,
}

impl<'a> Talk<'a> {
    /// From 10.1.0.2 or 2001:db8:1::2 to 10.2.0.2 or 2001:db8:2::2, port 40000 to the helper's usual one.
    pub(super) fn new(helper: &'a dyn Helper, family: Family) -> Talk<'a> {
        let (src, dst) = match family {
            Family::V4 => (addr("10.1.0.2").1, addr("10.2.0.2").1),
            Family::V6 => (addr("2001:db8:1::2").1, addr("2001:db8:2::2").1),
        };
        let defaults = helper.defaults();
        let original = Tuple { src, dst, src_key: 40_000, dst_key: defaults.port, proto: defaults.l4proto[0], family };
        Talk {
            helper,
            original,
            state: State::default(),
            settings: Settings::default(),
            both_seen: true,
            expected: false,
            notes: Notes::default(),
        }
    }

    /// Shows the helper a packet.
    pub(super) fn show(&mut self, direction: Direction, payload: &[u8]) -> Outcome {
        let reply = self.original.inverse().unwrap();
        let ctx = Context {
            original: &self.original,
            reply: &reply,
            direction,
            seq: 0,
            both_seen: self.both_seen,
            expected: self.expected,
            number: 3,
            settings: self.settings,
        };
        self.helper.inspect(&ctx, &mut self.state, payload, &mut self.notes)
    }

    /// What was announced since the last call.
    pub(super) fn announced(&mut self) -> Vec<Expectation> {
        std::mem::take(&mut self.notes.expected)
    }
}
