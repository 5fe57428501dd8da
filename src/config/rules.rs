//! The sections `sets` and `chains`.

use super::load::{Scope, read_limited};
use super::marks::{ChainMarks, Marks, RuleMarks};
use super::read::{Keys, Map, Reader};
use super::tree::{Entry, Node};
use super::value::{self, Wrong, nearest};
use crate::net::{CtState, PortId};
use crate::policy::spec::{
    AddrMatch, ChainPolicy, ChainSpec, Hook, Matches, PolicySpec, RejectWith, RuleSpec, SetSpec, StateMask, VerdictSpec,
};
use ipnet::IpNet;
use std::path::PathBuf;

const SET: Keys = Keys { known: &["type", "elements", "file"], later: &["timeout"] };

const CHAIN: Keys = Keys { known: &["policy", "rules"], later: &[] };

const RULE: Keys = Keys {
    known: &["id", "ct_state", "iif", "oif", "saddr", "daddr", "l4proto", "sport", "dport", "verdict"],
    later: &["limit", "connlimit", "log", "trace", "timeout_policy"],
};

/// Base chains of the schema that this version has no hook for.
const LATER_CHAINS: &[&str] = &["output", "postrouting"];

/// Largest set file in octets.
const MAX_SET_FILE: u64 = 64 << 20;

/// Words after `reject with`.
pub(super) const REJECT: &[(&str, RejectWith)] = &[
    ("tcp-reset", RejectWith::TcpReset),
    ("icmp-port-unreachable", RejectWith::PortUnreachable),
    ("icmp-host-unreachable", RejectWith::HostUnreachable),
    ("icmp-net-unreachable", RejectWith::NetUnreachable),
    ("icmp-admin-prohibited", RejectWith::AdminProhibited),
];

const VERDICTS: &[&str] = &["accept", "drop", "reject", "jump", "goto", "return", "notrack"];

/// Reads `sets`.
pub(super) fn sets(r: &mut Reader, entries: &[Entry], scope: &Scope, marks: &mut Marks) -> Vec<SetSpec> {
    let mut sets = Vec::new();
    for entry in entries {
        r.name(entry, "set");
        marks.sets.push(entry.key_place);
        let mut set = SetSpec { name: entry.key.clone(), elements: Vec::new() };
        if let Some(map) = r.map(&entry.value, &format!("set `{}`", entry.key), SET) {
            match map.get("type") {
                Some(node) => {
                    r.word(node, "type", &[("ip", ())], &[]);
                }
                None => {
                    r.error(entry.key_place, format!("set `{}` has no `type`", entry.key)).help("write `type: ip`");
                }
            }
            if let Some(node) = map.get("elements") {
                for item in r.list(node, "elements") {
                    set.elements.extend(r.parse(item, "elements", value::prefix));
                }
            }
            if let Some(node) = map.get("file") {
                marks.set_files.extend(set_file(r, node, scope, &mut set.elements));
            }
        }
        sets.push(set);
    }
    sets
}

/// One element per line; `#` begins a comment. Gives the file's path.
fn set_file(r: &mut Reader, node: &Node, scope: &Scope, elements: &mut Vec<IpNet>) -> Option<PathBuf> {
    let path = r.text(node, "file").map(|name| scope.file(name))?;
    let text = match read_limited(&path, MAX_SET_FILE) {
        Ok(text) => text,
        Err(why) => {
            r.error(node.place, format!("cannot read {}: {why}", path.display()));
            return None;
        }
    };
    let (mut at, mut mistakes) = (0, Vec::new());
    for line in text.split_inclusive('\n') {
        let element = line.split('#').next().unwrap_or_default().trim();
        if !element.is_empty() {
            match value::prefix(element) {
                Ok(net) => elements.push(net),
                Err(wrong) => {
                    let start = at + (line.len() - line.trim_start().len());
                    mistakes.push((start as u32, (start + element.len()) as u32, wrong));
                }
            }
        }
        at += line.len();
    }
    if !mistakes.is_empty() {
        let source = r.diags.add_source(path.display().to_string(), text);
        for (start, end, wrong) in mistakes {
            let diagnostic = r.error(super::Place { source, start, end }, wrong.message);
            diagnostic.help = wrong.help;
            diagnostic.related(node.place, "named here");
        }
    }
    Some(path)
}

/// Reads `chains`.
pub(super) fn chains(
    r: &mut Reader,
    entries: &[Entry],
    sets: Vec<SetSpec>,
    scope: &Scope,
    marks: &mut Marks,
) -> PolicySpec {
    let mut policy = PolicySpec { chains: Vec::new(), sets };
    for entry in entries {
        let mut chain = ChainSpec { name: entry.key.clone(), policy: ChainPolicy::default(), rules: Vec::new() };
        let mut places = ChainMarks { name: entry.key_place, ..ChainMarks::default() };
        if LATER_CHAINS.contains(&entry.key.as_str()) {
            r.error(entry.key_place, format!("chain `{}` is not supported by this version", entry.key));
        } else {
            r.name(entry, "chain");
        }
        if let Some(map) = r.map(&entry.value, &format!("chain `{}`", entry.key), CHAIN) {
            if let Some(policy) = map.entry("policy") {
                places.policy = Some(policy.value.place);
                if !is_base(&entry.key) && !LATER_CHAINS.contains(&entry.key.as_str()) {
                    let near = nearest(&entry.key, Hook::ALL.map(Hook::chain_name));
                    r.error(policy.key_place, format!("chain `{}` is no base chain and has no policy", entry.key))
                        .help("what its rules do not decide goes back to the calling chain")
                        .nearest(near);
                }
                let words = [("accept", ChainPolicy::Accept), ("drop", ChainPolicy::Drop)];
                if let Some(value) = r.word(&policy.value, "policy", &words, &[]) {
                    chain.policy = value;
                }
            }
            if let Some(node) = map.get("rules") {
                rules(r, node, scope, &mut chain, &mut places);
            }
        }
        policy.chains.push(chain);
        marks.chains.push(places);
    }
    policy
}

/// Whether a chain of that name stands at a hook.
pub(super) fn is_base(name: &str) -> bool {
    Hook::ALL.iter().any(|hook| hook.chain_name() == name)
}

fn rules(r: &mut Reader, node: &Node, scope: &Scope, chain: &mut ChainSpec, places: &mut ChainMarks) {
    let mut ids = std::collections::HashMap::new();
    for (index, item) in r.list(node, "rules").iter().enumerate() {
        let number = index + 1;
        let mut rule = RuleSpec {
            id: format!("{}/{number}", chain.name),
            matches: Matches::default(),
            verdict: VerdictSpec::Return,
        };
        let mut place = RuleMarks { whole: item.place, fields: Vec::new() };
        if let Some(map) = r.map(item, "a rule", RULE) {
            place.fields = map.places().map(|(key, place)| (key.to_owned(), place)).collect();
            match map.get("id") {
                Some(node) => {
                    if let Some(id) = r.parse(node, "id", identifier) {
                        rule.id = id;
                    }
                }
                None => {
                    r.diags.warning(item.place, format!("rule {number} of chain `{}` has no `id`", chain.name)).help(
                        format!("metrics and logs will call it `{}`, and its neighbour if the order changes", rule.id),
                    );
                }
            }
            if let Some(first) = ids.insert(rule.id.clone(), place.field("id")) {
                r.error(place.field("id"), format!("`id: {}` is given twice in chain `{}`", rule.id, chain.name))
                    .related(first, "first");
            }
            rule.matches = matches(r, &map, scope);
            match map.get("verdict") {
                Some(node) => {
                    if let Some(verdict) = r.parse(node, "verdict", verdict) {
                        target(r, node, &verdict, scope);
                        rule.verdict = verdict;
                    }
                }
                None => {
                    r.error(item.place, format!("rule `{}` has no `verdict`", rule.id))
                        .help(format!("one of: {}", VERDICTS.join(", ")));
                }
            }
        }
        chain.rules.push(rule);
        places.rules.push(place);
    }
}

fn identifier(text: &str) -> Result<String, Wrong> {
    if text.len() <= 64 && text.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\')) {
        Ok(text.to_owned())
    } else {
        Err(Wrong::new("cannot name a rule").help("at most 64 visible ASCII characters without quotes and backslashes"))
    }
}

fn matches(r: &mut Reader, map: &Map<'_>, scope: &Scope) -> Matches {
    let mut matches = Matches::default();
    if let Some(node) = map.get("ct_state") {
        let words = CtState::ALL.map(|state| (state.label(), state));
        let mut mask = StateMask::default();
        for item in r.some(node, "ct_state") {
            if let Some(state) = r.word(item, "ct_state", &words, &[]) {
                mask = mask.with(state);
            }
        }
        matches.ct_state = Some(mask);
    }
    matches.iif = port_list(r, map, "iif", scope);
    matches.oif = port_list(r, map, "oif", scope);
    matches.saddr = addresses(r, map, "saddr", scope);
    matches.daddr = addresses(r, map, "daddr", scope);
    matches.l4proto = protocols(r, map);
    for (key, ports) in [("sport", &mut matches.sport), ("dport", &mut matches.dport)] {
        if let Some(node) = map.get(key) {
            for item in r.some(node, key) {
                ports.extend(r.parse(item, key, value::ports));
            }
        }
    }
    matches
}

/// Port names under a key.
pub(super) fn port_list(r: &mut Reader, map: &Map<'_>, key: &str, scope: &Scope) -> Vec<PortId> {
    let mut ports = Vec::new();
    let Some(node) = map.get(key) else { return ports };
    for item in r.some(node, key) {
        if let Some(name) = r.text(item, key)
            && let Some(at) = r.reference(item.place, "port", name, scope.ports.iter().map(String::as_str))
            && !ports.contains(&PortId(at as u8))
        {
            ports.push(PortId(at as u8));
        }
    }
    ports
}

/// Prefixes and `@set`s under a key.
pub(super) fn addresses(r: &mut Reader, map: &Map<'_>, key: &str, scope: &Scope) -> AddrMatch {
    let mut addresses = AddrMatch::default();
    let Some(node) = map.get(key) else { return addresses };
    for item in r.some(node, key) {
        let Some(text) = r.text(item, key) else { continue };
        if let Some(set) = text.strip_prefix('@') {
            if r.reference(item.place, "set", set, scope.sets.iter().map(String::as_str)).is_some() {
                addresses.sets.push(set.to_owned());
            }
        } else if scope.sets.iter().any(|set| set == text) {
            r.error(item.place, format!("`{key}`: `{text}` is not an address"))
                .help(format!("write \"@{text}\" for the set"));
        } else {
            addresses.prefixes.extend(r.parse(item, key, value::prefix));
        }
    }
    addresses
}

/// Protocol names and numbers under `l4proto`.
fn protocols(r: &mut Reader, map: &Map<'_>) -> Vec<u8> {
    let mut protocols = Vec::new();
    let Some(node) = map.get("l4proto") else { return protocols };
    for item in r.some(node, "l4proto") {
        let Some(text) = r.text(item, "l4proto") else { continue };
        let number = if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            r.int(item, "l4proto", 0..=255).map(|n| n as u8)
        } else {
            r.word(item, "l4proto", value::PROTOCOLS, &[])
        };
        if let Some(number) = number
            && !protocols.contains(&number)
        {
            protocols.push(number);
        }
    }
    protocols
}

fn verdict(text: &str) -> Result<VerdictSpec, Wrong> {
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["accept"] => VerdictSpec::Accept,
        ["drop"] => VerdictSpec::Drop,
        ["return"] => VerdictSpec::Return,
        ["notrack"] => VerdictSpec::NoTrack,
        ["jump", chain] => VerdictSpec::Jump((*chain).to_owned()),
        ["goto", chain] => VerdictSpec::Goto((*chain).to_owned()),
        ["jump" | "goto"] => return Err(Wrong::new(format!("`{text}` names no chain"))),
        ["reject"] => VerdictSpec::Reject(RejectWith::default()),
        ["reject", "with", rest @ ..] if !rest.is_empty() => {
            let kind = rest.join("-");
            match REJECT.iter().find(|(word, _)| *word == kind && rest.len() == 1) {
                Some((_, with)) => VerdictSpec::Reject(*with),
                None => return Err(unknown_reject(&kind)),
            }
        }
        ["reject", ..] => {
            return Err(Wrong::new(format!("`{text}` is no verdict")).help("write `reject` or `reject with tcp-reset`"));
        }
        [first, ..] => {
            let wrong = Wrong::new(format!("`{text}` is no verdict"));
            return Err(match nearest(first, VERDICTS.iter().copied()) {
                Some(word) if word == *first => wrong.help(format!("`{word}` stands alone")),
                Some(word) => wrong.help(format!("did you mean `{word}`?")),
                None => wrong.help(format!("one of: {}", VERDICTS.join(", "))),
            });
        }
        [] => return Err(Wrong::new("an empty verdict")),
    })
}

fn unknown_reject(kind: &str) -> Wrong {
    let words = REJECT.iter().map(|(word, _)| *word);
    let wrong = Wrong::new(format!("a reject cannot be with `{kind}`"));
    match nearest(kind, words.clone()) {
        Some(word) => wrong.help(format!("did you mean `reject with {word}`?")),
        None => wrong.help(format!("one of: {}", words.collect::<Vec<_>>().join(", "))),
    }
}

/// Checks that a jump leads to a chain of one's own.
fn target(r: &mut Reader, node: &Node, verdict: &VerdictSpec, scope: &Scope) {
    if let VerdictSpec::Jump(chain) | VerdictSpec::Goto(chain) = verdict {
        let own = scope.chains.iter().map(String::as_str).filter(|name| !is_base(name));
        if is_base(chain) && scope.chains.contains(chain) {
            r.error(node.place, format!("`{chain}` is a base chain")).help("only chains of your own can be jumped to");
        } else {
            r.reference(node.place, "chain", chain, own);
        }
    }
}

/// A verdict as the file writes it.
pub(super) fn print_verdict(verdict: &VerdictSpec) -> String {
    match verdict {
        VerdictSpec::Accept => "accept".to_owned(),
        VerdictSpec::Drop => "drop".to_owned(),
        VerdictSpec::Return => "return".to_owned(),
        VerdictSpec::NoTrack => "notrack".to_owned(),
        VerdictSpec::Jump(chain) => format!("jump {chain}"),
        VerdictSpec::Goto(chain) => format!("goto {chain}"),
        VerdictSpec::Reject(with) => {
            let word =
                REJECT.iter().find(|(_, value)| value == with).map_or("icmp-port-unreachable", |(word, _)| *word);
            format!("reject with {word}")
        }
    }
}
