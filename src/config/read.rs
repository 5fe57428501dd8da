//! Typed reading of the tree. Every function notes what is wrong and goes on, so that all mistakes show at once.

use super::diag::{Diagnostic, Diagnostics, Place};
use super::tree::{Entry, Kind, Node};
use super::value::{self, Wrong, nearest};
use std::ops::RangeInclusive;

/// The diagnostics being collected, and the means to read values while adding to them.
pub(crate) struct Reader {
    pub(crate) diags: Diagnostics,
}

/// A mapping of which every key is known. A misspelt key stands under the word that was meant, so that its value
/// is checked too and nobody misses it.
pub(crate) struct Map<'n> {
    entries: Vec<(&'n str, &'n Entry)>,
}

impl<'n> Map<'n> {
    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// A key and its value.
    pub(crate) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|(name, _)| *name == key).map(|(_, entry)| *entry)
    }

    /// Every key with the place of its value, for later diagnostics.
    pub(crate) fn places(&self) -> impl Iterator<Item = (&'n str, Place)> {
        self.entries.iter().map(|(key, entry)| (*key, entry.value.place))
    }
}

/// What a schema says of the keys of a mapping.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    /// Those read.
    pub(crate) known: &'static [&'static str],
    /// Those that belong to the schema but that this version cannot do.
    pub(crate) later: &'static [&'static str],
}

fn found(node: &Node) -> String {
    match &node.kind {
        _ if node.is_null() => "nothing".to_owned(),
        Kind::Scalar { text, .. } => {
            let shown: String = text.chars().take(40).collect();
            format!("`{shown}`")
        }
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) => "a mapping".to_owned(),
    }
}

impl Reader {
    /// Notes an error.
    pub(crate) fn error(&mut self, place: Place, message: impl Into<String>) -> &mut Diagnostic {
        self.diags.error(place, message)
    }

    /// Notes that a value has the wrong type.
    fn wrong_type(&mut self, node: &Node, what: &str, wanted: &str) -> &mut Diagnostic {
        self.error(node.place, format!("`{what}` must be {wanted}, not {}", found(node)))
    }

    /// Notes what is wrong with a value.
    pub(crate) fn wrong(&mut self, place: Place, what: &str, wrong: Wrong) {
        let diagnostic = self.error(place, format!("`{what}`: {}", wrong.message));
        diagnostic.help = wrong.help;
    }

    /// The keys and values of a mapping with free keys; nothing written means an empty one.
    pub(crate) fn entries<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Entry] {
        match &node.kind {
            Kind::Map(entries) => entries,
            _ if node.is_null() => &[],
            _ => {
                self.wrong_type(node, what, "a mapping");
                &[]
            }
        }
    }

    /// A mapping whose keys the schema knows; the others are noted. `None` if it is no mapping.
    pub(crate) fn map<'n>(&mut self, node: &'n Node, what: &str, keys: Keys) -> Option<Map<'n>> {
        let entries: &[Entry] = match &node.kind {
            Kind::Map(entries) => entries,
            _ if node.is_null() => &[],
            _ => {
                self.wrong_type(node, what, "a mapping");
                return None;
            }
        };
        let mut map = Map { entries: Vec::new() };
        for entry in entries {
            let mut key = entry.key.as_str();
            if keys.later.contains(&key) {
                self.error(entry.key_place, format!("`{key}` is not supported by this version"));
            } else if !keys.known.contains(&key) {
                let near = nearest(key, keys.known.iter().copied());
                let diagnostic = self.error(entry.key_place, format!("unknown key `{key}` in {what}")).nearest(near);
                match near {
                    None => {
                        diagnostic.help(format!("known here: {}", keys.known.join(", ")));
                    }
                    Some(near) if !entries.iter().any(|other| other.key == near) => key = near,
                    Some(_) => {}
                }
            }
            map.entries.push((key, entry));
        }
        Some(map)
    }

    /// A list; nothing written means an empty one.
    pub(crate) fn list<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.kind {
            Kind::List(items) => items,
            _ if node.is_null() => &[],
            _ => {
                self.wrong_type(node, what, "a list");
                &[]
            }
        }
    }

    /// One value or a list of them. An empty list is refused: it would match nothing, or anything.
    pub(crate) fn some<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.kind {
            Kind::List(items) => {
                if items.is_empty() {
                    self.error(node.place, format!("`{what}` is an empty list"))
                        .help("leave the key out where anything goes");
                }
                items
            }
            _ => std::slice::from_ref(node),
        }
    }

    /// A text or a number as it is written.
    pub(crate) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.kind {
            Kind::Scalar { text, .. } if !node.is_null() && !text.is_empty() => Some(text),
            _ => {
                self.wrong_type(node, what, "a text");
                None
            }
        }
    }

    /// A text given to a function that makes a value of it.
    pub(crate) fn parse<T>(
        &mut self,
        node: &Node,
        what: &str,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        let text = self.text(node, what)?;
        parse(text).map_err(|wrong| self.wrong(node.place, what, wrong)).ok()
    }

    /// `true` or `false`.
    pub(crate) fn bool(&mut self, node: &Node, what: &str) -> Option<bool> {
        match &node.kind {
            Kind::Scalar { text, plain: true } if text == "true" => Some(true),
            Kind::Scalar { text, plain: true } if text == "false" => Some(false),
            _ => {
                self.wrong_type(node, what, "true or false");
                None
            }
        }
    }

    /// A whole number within `range`.
    pub(crate) fn int(&mut self, node: &Node, what: &str, range: RangeInclusive<u64>) -> Option<u64> {
        match &node.kind {
            Kind::Scalar { plain: true, .. } if !node.is_null() => {
                self.parse(node, what, |text| value::integer(text, &range))
            }
            _ => {
                self.wrong_type(node, what, "a whole number");
                None
            }
        }
    }

    /// A duration in milliseconds, at least `least` of them.
    pub(crate) fn duration(&mut self, node: &Node, what: &str, least: u32) -> Option<u32> {
        self.parse(node, what, |text| value::duration(text, least))
    }

    /// One of a closed list of words; those of `later` belong to the schema but not to this version.
    pub(crate) fn word<T: Copy>(&mut self, node: &Node, what: &str, words: &[(&str, T)], later: &[&str]) -> Option<T> {
        let text = self.text(node, what)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        if later.contains(&text) {
            self.error(node.place, format!("`{what}: {text}` is not supported by this version"));
            return None;
        }
        let near = nearest(text, words.iter().map(|(word, _)| *word));
        let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let diagnostic = self.error(node.place, format!("`{what}` cannot be `{text}`")).nearest(near);
        if near.is_none() {
            diagnostic.help(format!("one of: {}", all.join(", ")));
        }
        None
    }

    /// The position of a name among those declared.
    pub(crate) fn reference<'a>(
        &mut self,
        place: Place,
        kind: &str,
        name: &str,
        declared: impl IntoIterator<Item = &'a str>,
    ) -> Option<usize> {
        let declared: Vec<&str> = declared.into_iter().collect();
        let at = declared.iter().position(|other| *other == name);
        if at.is_none() {
            let near = nearest(name, declared.iter().copied());
            self.error(place, format!("unknown {kind} `{name}`")).nearest(near);
        }
        at
    }

    /// Notes a name that cannot be one. Ports' names are as short as Linux's, the others as nftables'.
    pub(crate) fn name(&mut self, entry: &Entry, kind: &str) {
        let longest = if kind == "port" { 15 } else { 31 };
        if !value::is_name(&entry.key, longest) {
            self.error(entry.key_place, format!("`{}` cannot name a {kind}", entry.key))
                .help(format!("a letter, then letters, digits, `_`, `.` and `-`, {longest} characters in all"));
        }
    }

    /// Puts a value where a default stands, if the key is given and its value is right.
    pub(crate) fn set<T>(
        &mut self,
        map: &Map<'_>,
        key: &str,
        target: &mut T,
        read: impl FnOnce(&mut Self, &Node) -> Option<T>,
    ) {
        if let Some(value) = map.get(key).and_then(|node| read(self, node)) {
            *target = value;
        }
    }
}
