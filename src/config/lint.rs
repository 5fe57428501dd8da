//! What is allowed but probably not meant.

use super::diag::Diagnostics;
use super::marks::Marks;
use super::settings::Settings;
use crate::net::{Addr, CtState, Family, proto};
use crate::policy::spec::{AddrMatch, ChainPolicy, ChainSpec, Hook, Matches, VerdictSpec};
use std::collections::HashSet;
use std::net::IpAddr;

/// Warns of all that looks odd in settings without errors.
pub(super) fn lint(settings: &Settings, marks: &Marks, diags: &mut Diagnostics) {
    forward_stance(settings, marks, diags);
    open_metrics(settings, marks, diags);
}

/// A kind of packet to follow through the chains; what a field leaves open may be either way.
struct Probe {
    state: CtState,
    protocol: Option<u8>,
}

/// What becomes of such packets: of some of them, or of all that came so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// A rule accepts at least some.
    Accepted,
    /// A rule ends them all: chain and rule.
    Ended(usize, usize),
    /// They leave the chain at its end.
    Through,
}

impl Probe {
    /// Whether a rule matches some of these packets.
    fn some(&self, m: &Matches) -> bool {
        m.ct_state.is_none_or(|mask| mask.contains(self.state))
            && self.protocol.is_none_or(|p| m.l4proto.is_empty() || m.l4proto.contains(&p))
    }

    /// Whether a rule matches all of them.
    fn all(&self, m: &Matches) -> bool {
        let any = |a: &AddrMatch| a.prefixes.is_empty() && a.sets.is_empty();
        self.some(m)
            && m.iif.is_empty()
            && m.oif.is_empty()
            && any(&m.saddr)
            && any(&m.daddr)
            && m.sport.is_empty()
            && m.dport.is_empty()
            && (m.l4proto.is_empty() || self.protocol.is_some())
    }

    /// Follows them through a chain. Each chain is looked at once: its first visitor found all there is.
    fn follow(&self, chains: &[ChainSpec], at: usize, seen: &mut HashSet<usize>) -> Fate {
        if !seen.insert(at) {
            return Fate::Through;
        }
        for (number, rule) in chains[at].rules.iter().enumerate() {
            if !self.some(&rule.matches) {
                continue;
            }
            let all = self.all(&rule.matches);
            match &rule.verdict {
                VerdictSpec::Accept | VerdictSpec::NoTrack => return Fate::Accepted,
                VerdictSpec::Drop | VerdictSpec::Reject(_) if all => return Fate::Ended(at, number),
                VerdictSpec::Return if all => return Fate::Through,
                VerdictSpec::Jump(name) | VerdictSpec::Goto(name) => {
                    let next = chains.iter().position(|chain| chain.name == *name);
                    let fate = next.map_or(Fate::Through, |next| self.follow(chains, next, seen));
                    match fate {
                        Fate::Accepted => return fate,
                        Fate::Ended(..) if all => return fate,
                        _ if all && matches!(rule.verdict, VerdictSpec::Goto(_)) => return Fate::Through,
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        Fate::Through
    }
}

/// Warns if packets that belong to accepted connections cannot pass.
fn forward_stance(settings: &Settings, marks: &Marks, diags: &mut Diagnostics) {
    let chains = &settings.policy.chains;
    let Some(forward) = chains.iter().position(|chain| chain.name == Hook::Forward.chain_name()) else { return };
    let passes = |state, protocol| {
        let fate = Probe { state, protocol }.follow(chains, forward, &mut HashSet::new());
        match (fate, chains[forward].policy) {
            (Fate::Accepted, _) | (Fate::Through, ChainPolicy::Accept) => None,
            (fate, _) => Some(fate),
        }
    };
    // A chain that lets nothing begin is meant to let nothing pass.
    if passes(CtState::New, None).is_some() {
        return;
    }
    let place = |fate| match fate {
        Fate::Ended(chain, rule) => marks.rule(chain, Some(rule), None),
        _ => marks.rule(forward, None, Some("policy")),
    };
    if let Some(fate) = passes(CtState::Established, None) {
        diags
            .warning(
                place(fate),
                "no rule of `forward` accepts established packets: connections open but get no answer",
            )
            .help("put first: { id: known, ct_state: [established, related], verdict: accept }");
    }
    let ipv6 = settings.ports.iter().flat_map(|port| &port.addresses).any(|net| net.addr().is_ipv6());
    if ipv6 && let Some(fate) = passes(CtState::Related, Some(proto::ICMPV6)) {
        diags
            .warning(
                place(fate),
                "ICMPv6 packet-too-big cannot pass `forward`: IPv6 connections will hang on large packets",
            )
            .help("accept `ct_state: related` before this");
    }
}

fn open_metrics(settings: &Settings, marks: &Marks, diags: &mut Diagnostics) {
    let Some(metrics) = &settings.metrics else { return };
    let ip = metrics.listen.ip();
    let family = Family::from(ip);
    let address = Addr::from(ip);
    let within = match ip {
        IpAddr::V4(v4) => v4.is_private(),
        // Unique local addresses, RFC 4193.
        IpAddr::V6(_) => address.hi >> 57 == 0xfc >> 1,
    };
    if !(within || address.is_loopback(family) || address.is_link_local(family)) {
        diags
            .warning(marks.listen, format!("metrics are open to whoever can reach {}", metrics.listen))
            .help("listen on 127.0.0.1, or on an address of the management network");
    }
}
