//! YAML as a tree in which every node knows its place.
//!
//! Only what a configuration needs: one document of mappings, lists and scalars. Anchors, aliases, tags and
//! further documents are refused; so are doubled keys and tabs in front of a line, which YAML readers treat
//! differently from one another.

use super::diag::{Diagnostics, Place};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};
use std::collections::HashMap;

/// Deepest nesting; the schema needs seven levels.
const MAX_DEPTH: usize = 32;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A word, number or text; `plain` if written without quotes.
    Scalar { text: String, plain: bool },
    /// A list.
    List(Vec<Node>),
    /// A mapping in file order, no key twice.
    Map(Vec<Entry>),
}

/// One key of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) value: Node,
}

impl Node {
    /// Whether nothing was written.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// A collection not ended yet.
enum Open {
    List(Place, Vec<Node>),
    Map(Place, OpenMap),
}

#[derive(Default)]
struct OpenMap {
    entries: Vec<Entry>,
    /// Where each key was first given.
    first: HashMap<String, Place>,
    waiting: Option<Waiting>,
}

/// A key whose value is still to come.
enum Waiting {
    Key(String, Place),
    /// It cannot be used: forget the value.
    Unusable,
}

impl OpenMap {
    fn key(&mut self, node: Node, diags: &mut Diagnostics) -> Waiting {
        match node.kind {
            Kind::Scalar { text, .. } if !text.is_empty() => match self.first.get(&text) {
                Some(first) => {
                    diags
                        .error(node.place, format!("key `{text}` is given twice"))
                        .label("again")
                        .related(*first, "first");
                    Waiting::Unusable
                }
                None => {
                    self.first.insert(text.clone(), node.place);
                    Waiting::Key(text, node.place)
                }
            },
            _ => {
                diags.error(node.place, "a key must be a word");
                Waiting::Unusable
            }
        }
    }
}

struct Builder<'a> {
    diags: &'a mut Diagnostics,
    /// Byte offset of each character; empty if they are the same.
    bytes: Vec<u32>,
    text: &'a str,
    open: Vec<Open>,
    root: Option<Node>,
    /// End of the last scalar or closing bracket: where a block collection ends.
    last_end: u32,
}

/// Reads the document in source 0 of `diags`; `None` if there is no usable one, with the reason in `diags`.
pub(crate) fn read(text: &str, diags: &mut Diagnostics) -> Option<Node> {
    if !tabs_are_fine(text, diags) {
        return None;
    }
    let bytes = if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at as u32).collect() };
    let mut builder = Builder { diags, bytes, text, open: Vec::new(), root: None, last_end: 0 };
    let before = builder.diags.errors();
    builder.run()?;
    let (root, diags) = (builder.root.take(), builder.diags);
    match root {
        Some(root) if !root.is_null() => Some(root),
        _ if diags.errors() > before => None,
        _ => {
            diags
                .error(Place::default(), "the configuration is empty")
                .help("the shortest one has `version` and `ports`");
            None
        }
    }
}

/// Refuses tabs in front of a line's content.
fn tabs_are_fine(text: &str, diags: &mut Diagnostics) -> bool {
    let mut fine = true;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim_start_matches([' ', '\t']);
        let indent = &line[..line.len() - content.len()];
        if let Some(tab) = indent.find('\t')
            && !content.starts_with(['#', '\n', '\r'])
            && !content.is_empty()
        {
            let start = (at + tab) as u32;
            diags
                .error(Place { source: 0, start, end: start + 1 }, "tab in front of a line")
                .help("YAML counts spaces; indent with spaces");
            fine = false;
        }
        at += line.len();
    }
    fine
}

impl<'a> Builder<'a> {
    fn run(&mut self) -> Option<()> {
        let text = self.text;
        let mut parser = Parser::<StrInput<'_>>::new_from_str(text);
        let mut documents = 0;
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let start = self.byte(error.marker().index());
                    let mut place = Place { source: 0, start, end: start };
                    // Past the last line there is nothing to point at: point at the end of the text.
                    if start as usize >= text.len() {
                        place.start = text.trim_end().len() as u32;
                        place.end = place.start;
                    }
                    self.diags.error(place, format!("YAML syntax: {}", error.info()));
                    return None;
                }
            };
            let place = self.place(span);
            match event {
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        self.diags.error(place, "a second document").help("a configuration is one YAML document");
                        return None;
                    }
                }
                Event::Alias(_) => {
                    self.diags.error(place, "aliases are not needed in a configuration").help("write the value itself");
                    self.done(Node { place, kind: Kind::Scalar { text: String::new(), plain: true } });
                }
                Event::Scalar(value, style, anchor, tag) => {
                    self.refuse(place, anchor != 0, tag.is_some());
                    self.last_end = self.last_end.max(place.end);
                    self.done(Node {
                        place,
                        kind: Kind::Scalar { text: value.into_owned(), plain: style == ScalarStyle::Plain },
                    });
                }
                Event::SequenceStart(anchor, tag) => {
                    self.refuse(place, anchor != 0, tag.is_some());
                    self.enter(place, Open::List(place, Vec::new()))?;
                }
                Event::MappingStart(anchor, tag) => {
                    self.refuse(place, anchor != 0, tag.is_some());
                    self.enter(place, Open::Map(place, OpenMap::default()))?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.leave(place),
                _ => {}
            }
        }
        Some(())
    }

    fn refuse(&mut self, place: Place, anchor: bool, tag: bool) {
        for (_, what) in [(anchor, "anchors"), (tag, "tags")].iter().filter(|(there, _)| *there) {
            self.diags.error(place, format!("{what} are not needed in a configuration")).help("leave it out");
        }
    }

    fn enter(&mut self, place: Place, open: Open) -> Option<()> {
        if self.open.len() >= MAX_DEPTH {
            self.diags.error(place, format!("nested more than {MAX_DEPTH} levels deep"));
            return None;
        }
        self.open.push(open);
        Some(())
    }

    fn leave(&mut self, end: Place) {
        // A closing bracket has a length; the end of a block is wherever the next line begins.
        if end.end > end.start {
            self.last_end = self.last_end.max(end.end);
        }
        let node = match self.open.pop() {
            Some(Open::List(start, items)) => Node { place: self.until_here(start), kind: Kind::List(items) },
            Some(Open::Map(start, map)) => Node { place: self.until_here(start), kind: Kind::Map(map.entries) },
            None => return,
        };
        self.done(node);
    }

    fn until_here(&self, start: Place) -> Place {
        Place { end: self.last_end.max(start.end), ..start }
    }

    /// A value is complete: it belongs to the innermost open collection.
    fn done(&mut self, node: Node) {
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List(_, items)) => items.push(node),
            Some(Open::Map(_, map)) => match map.waiting.take() {
                Some(Waiting::Key(key, key_place)) => map.entries.push(Entry { key, key_place, value: node }),
                Some(Waiting::Unusable) => {}
                None => map.waiting = Some(map.key(node, self.diags)),
            },
        }
    }

    fn byte(&self, character: usize) -> u32 {
        if self.bytes.is_empty() {
            character.min(self.text.len()) as u32
        } else {
            self.bytes.get(character).map_or(self.text.len() as u32, |at| *at)
        }
    }

    fn place(&self, span: Span) -> Place {
        let start = self.byte(span.start.index());
        let end = self.byte(span.end.index()).max(start);
        // The parser counts the blanks after a value in.
        let written = self.text.get(start as usize..end as usize).unwrap_or_default().trim_end();
        Place { source: 0, start, end: start + written.len() as u32 }
    }
}
