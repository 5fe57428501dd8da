//! What the policy's compiler and the forwarding table's builder find wrong, brought back to the file.
//!
//! What they refuse at start they refuse here, so a checked configuration cannot fail there.

use super::diag::{Diagnostic, Diagnostics, Place, Severity};
use super::marks::Marks;
use super::settings::Settings;
use super::value::{has_ports, print_protocol};
use crate::net::{MacAddr, proto};
use crate::policy::spec::{AddrMatch, ChainSpec, RuleSpec};
use crate::policy::{Field, PolicyError, PolicyErrorKind as Kind, PolicyWarning, PolicyWarningKind, Ruleset};
use crate::route::{Fib, FibPlace};

/// Checks jumps, and every rule by the hooks it is reached from; what is odd is a warning, unless something is
/// wrong already.
pub(super) fn policy(settings: &Settings, marks: &Marks, diags: &mut Diagnostics) {
    let compiled = Ruleset::compile(&settings.policy);
    for (chain, places) in settings.policy.chains.iter().zip(&marks.chains) {
        for (rule, place) in chain.rules.iter().zip(&places.rules) {
            if let Some((key, family, other)) = wrong_family(rule)
                && !touched(diags, place.field("l4proto"))
            {
                diags
                    .error(place.field(key), format!("IPv4 and IPv6 mixed in rule `{}`: it can never match", rule.id))
                    .label(family)
                    .related(place.field("l4proto"), other)
                    .help("write one rule per family");
            }
        }
    }
    match compiled {
        Err(errors) => errors.iter().for_each(|error| policy_error(settings, marks, diags, error)),
        Ok(ruleset) if diags.errors() == 0 => {
            ruleset.warnings().iter().for_each(|warning| policy_warning(settings, marks, diags, warning));
        }
        Ok(_) => {}
    }
}

/// An address field of the one family in a rule about the other's ICMP.
fn wrong_family(rule: &RuleSpec) -> Option<(&'static str, &'static str, &'static str)> {
    let (wants_v4, other) = match rule.matches.l4proto.as_slice() {
        [proto::ICMP] => (true, "IPv4"),
        [proto::ICMPV6] => (false, "IPv6"),
        _ => return None,
    };
    let alien = |field: &AddrMatch| {
        let prefixes = &field.prefixes;
        field.sets.is_empty() && !prefixes.is_empty() && prefixes.iter().all(|net| net.addr().is_ipv4() != wants_v4)
    };
    let family = if wants_v4 { "IPv6" } else { "IPv4" };
    [("saddr", &rule.matches.saddr), ("daddr", &rule.matches.daddr)]
        .into_iter()
        .find(|(_, field)| alien(field))
        .map(|(key, _)| (key, family, other))
}

/// Whether something within a place could not be read: then what follows from it is no mistake of its own.
fn touched(diags: &Diagnostics, place: Place) -> bool {
    diags
        .list()
        .iter()
        .filter(|d| d.severity == Severity::Error)
        .filter_map(|d| d.place)
        .any(|wrong| wrong.source == place.source && wrong.start >= place.start && wrong.end <= place.end)
}

/// `chain b`, and where its packets come from if that is another.
fn whence(chain: &ChainSpec, hook: &str) -> String {
    if hook == chain.name {
        format!("chain `{hook}`")
    } else {
        format!("chain `{}`, which is reached from `{hook}`", chain.name)
    }
}

fn policy_error(settings: &Settings, marks: &Marks, diags: &mut Diagnostics, error: &PolicyError) {
    let Some(chain) = settings.policy.chains.get(error.chain) else { return };
    let rule = error.rule.and_then(|at| chain.rules.get(at));
    let places = error.rule.and_then(|at| marks.chains.get(error.chain)?.rules.get(at));
    let place = marks.rule(error.chain, error.rule, error.field.key());
    let field = |key: &str| places.map(|places| places.field(key)).unwrap_or_default();
    let given = |key: &str| places.is_some_and(|places| places.fields.iter().any(|(name, _)| name == key));
    let key = error.field.key().unwrap_or_default();
    match &error.kind {
        // Noted with the nearest word when the name was read.
        Kind::UnknownSet(_) | Kind::UnknownChain(_) | Kind::JumpToBase(_) | Kind::DuplicateId(_) => {}
        // A value that could not be read may be the one that is missed here.
        Kind::PortsWithoutProtocol | Kind::TcpResetWithoutTcp
            if given("l4proto") && touched(diags, field("l4proto")) => {}
        Kind::MixedFamilies if touched(diags, field("saddr")) || touched(diags, field("daddr")) => {}
        Kind::PortsWithoutProtocol if given("l4proto") => {
            let portless = rule.and_then(|rule| rule.matches.l4proto.iter().find(|number| !has_ports(**number)));
            let name = portless.map_or_else(String::new, |number| print_protocol(*number));
            diags
                .error(place, format!("`{key}` with a protocol that has no ports"))
                .related(field("l4proto"), format!("{name} has none"))
                .help("tcp, udp, udplite and sctp have ports");
        }
        Kind::PortsWithoutProtocol => {
            diags
                .error(place, format!("`{key}` without `l4proto`"))
                .help("say which transport: `l4proto: tcp`, or a list of tcp, udp, udplite, sctp");
        }
        Kind::TcpResetWithoutTcp => {
            diags
                .error(place, "`reject with tcp-reset` in a rule that is not about TCP alone")
                .help("add `l4proto: tcp`");
        }
        Kind::MixedFamilies => {
            let id = rule.map(|rule| rule.id.as_str()).unwrap_or_default();
            diags
                .error(field("daddr"), format!("IPv4 and IPv6 mixed in rule `{id}`: it can never match"))
                .related(field("saddr"), "the other family")
                .help("write one rule per family");
        }
        Kind::OifWithoutEgress(hook) => {
            diags
                .error(place, format!("no `oif` is known in {}", whence(chain, hook)))
                .help("packets leave by a port only in `forward`");
        }
        Kind::CtStateInPrerouting => {
            diags
                .error(place, format!("no `ct_state` is known in {}", whence(chain, "prerouting")))
                .help("tracking comes after `prerouting`");
        }
        Kind::NotrackOutsidePrerouting(hook) => {
            diags
                .error(place, format!("`notrack` comes too late in {}", whence(chain, hook)))
                .help("packets are exempted from tracking in `prerouting`");
        }
        Kind::JumpLoop(name) => {
            let diagnostic = diags.error(place, format!("jump loop: `{name}` comes back to itself"));
            lead_back(settings, marks, diagnostic, name);
        }
        _ => {
            diags.error(place, error.to_string());
        }
    }
}

/// Points at the chain a loop closes at.
fn lead_back(settings: &Settings, marks: &Marks, diagnostic: &mut Diagnostic, name: &str) {
    let at = settings.policy.chains.iter().position(|chain| chain.name == name);
    if let Some(place) = at.and_then(|at| marks.rule(at, None, None)) {
        diagnostic.related(place, "back to here");
    }
}

fn policy_warning(settings: &Settings, marks: &Marks, diags: &mut Diagnostics, warning: &PolicyWarning) {
    let Some(chain) = settings.policy.chains.get(warning.chain) else { return };
    let field = if warning.field == Field::Rule { None } else { warning.field.key() };
    let place = marks.rule(warning.chain, warning.rule, field);
    match &warning.kind {
        PolicyWarningKind::ChainNotReached => {
            diags
                .warning(place, format!("chain `{}` is never used", chain.name))
                .help("a chain of your own is entered by `jump` or `goto` from another");
        }
        PolicyWarningKind::RuleNotReached { by, id } => {
            let rule = warning.rule.and_then(|at| chain.rules.get(at)).map(|rule| rule.id.as_str());
            let diagnostic = diags.warning(place, format!("rule `{}` can never match", rule.unwrap_or_default()));
            if let Some(first) = marks.rule(warning.chain, Some(*by), None) {
                diagnostic.related(first, format!("rule `{id}` takes all of it"));
            }
        }
    }
}

/// Checks that a forwarding table can be made of the ports and routes. Link addresses are not known yet and stand
/// for themselves.
pub(super) fn forwarding(settings: &Settings, marks: &Marks, diags: &mut Diagnostics) {
    let spec = settings.fib_spec(|port| {
        let mac = port.mac.unwrap_or(MacAddr([2, 0, 0, 0, 0, port.id.0]));
        (mac, u32::from(port.mtu.unwrap_or(1500)))
    });
    let Err(errors) = Fib::build(&spec) else { return };
    for error in errors {
        let place = match error.place {
            FibPlace::Port(at) | FibPlace::Address { port: at, .. } => marks.ports.get(at),
            FibPlace::Route(at) | FibPlace::Via { route: at, .. } => marks.routes.get(at),
        };
        diags.error(place.copied(), error.to_string());
    }
}
