//! Mistakes and doubts about a configuration, each with its place in the file.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;
use std::fmt;
use std::ops::Range;

/// At most so many diagnostics are rendered; the rest is counted.
const RENDERED: usize = 200;

/// At most so many are listed for programs.
const LISTED: usize = 1000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but probably does not do what was meant.
    Warning,
}

/// A stretch of one of the files that make up a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Which file: 0 is the configuration itself, the others are files it names.
    pub source: u16,
    /// First byte.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl Place {
    /// The bytes as a range.
    #[must_use]
    pub fn bytes(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A file that diagnostics point into.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name as the user wrote it.
    pub name: String,
    /// Its whole text.
    pub text: String,
}

impl Source {
    /// Line and column of a byte, both from 1; the column counts characters.
    #[must_use]
    pub fn position(&self, byte: u32) -> (usize, usize) {
        let before = &self.text[..floor(&self.text, byte as usize)];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// `place` cut to its first line, so that a whole section is pointed at by its beginning.
    fn first_line(&self, place: Place) -> Range<usize> {
        let start = floor(&self.text, place.start as usize);
        let end = floor(&self.text, place.end as usize).max(start);
        let stop = self.text[start..end].find(['\n', '\r']).map_or(end, |at| start + at);
        start..stop
    }
}

/// The last character boundary at or before `byte`.
fn floor(text: &str, byte: usize) -> usize {
    let mut at = byte.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One mistake or doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where; `None` if there is no text to point at, as when a file cannot be read.
    pub place: Option<Place>,
    /// Said beside the caret.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// Other places that have to do with it.
    pub related: Vec<(Place, String)>,
}

impl Diagnostic {
    /// Adds words beside the caret.
    pub fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = Some(label.into());
        self
    }

    /// Adds what to do about it.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the right word, if there is one near enough.
    pub fn nearest(&mut self, word: Option<&str>) -> &mut Self {
        if let Some(word) = word {
            self.help = Some(format!("did you mean `{word}`?"));
        }
        self
    }

    /// Adds another place that has to do with it.
    pub fn related(&mut self, place: Place, label: impl Into<String>) -> &mut Self {
        self.related.push((place, label.into()));
        self
    }
}

/// All that was found in one configuration, with the texts to show it in.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    sources: Vec<Source>,
    list: Vec<Diagnostic>,
}

/// A diagnostic as `--format json` writes it.
#[derive(Serialize)]
struct Flat<'a> {
    severity: Severity,
    message: &'a str,
    #[serde(flatten)]
    at: Option<FlatPlace<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related: Vec<FlatRelated<'a>>,
}

#[derive(Serialize)]
struct FlatPlace<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    start: u32,
    end: u32,
}

#[derive(Serialize)]
struct FlatRelated<'a> {
    label: &'a str,
    #[serde(flatten)]
    at: Option<FlatPlace<'a>>,
}

impl Diagnostics {
    /// None yet, about a configuration of that name and text.
    #[must_use]
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Diagnostics { sources: vec![Source { name: name.into(), text: text.into() }], list: Vec::new() }
    }

    /// Takes in another file that diagnostics may point into; its number goes into [`Place::source`].
    pub fn add_source(&mut self, name: impl Into<String>, text: impl Into<String>) -> u16 {
        let number = u16::try_from(self.sources.len()).unwrap_or(u16::MAX);
        self.sources.push(Source { name: name.into(), text: text.into() });
        number
    }

    /// Adds one.
    pub fn push(
        &mut self,
        severity: Severity,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
    ) -> &mut Diagnostic {
        let at = self.list.len();
        self.list.push(Diagnostic {
            severity,
            message: message.into(),
            place: place.into(),
            label: None,
            help: None,
            related: Vec::new(),
        });
        &mut self.list[at]
    }

    /// Adds an error.
    pub fn error(&mut self, place: impl Into<Option<Place>>, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Error, place, message)
    }

    /// Adds a warning.
    pub fn warning(&mut self, place: impl Into<Option<Place>>, message: impl Into<String>) -> &mut Diagnostic {
        self.push(Severity::Warning, place, message)
    }

    /// Every diagnostic, in the order of the files.
    #[must_use]
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// The files.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// How many errors there are.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.list.iter().filter(|d| d.severity == Severity::Error).count()
    }

    /// How many warnings there are.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.list.len() - self.errors()
    }

    /// Puts them into the order of the files.
    pub(crate) fn sort(&mut self) {
        self.list.sort_by_key(|d| d.place.map(|p| (p.source, p.start, p.end)));
    }

    /// For people: place, source line, caret, and what to do. `color` adds terminal colours.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for diagnostic in self.list.iter().take(RENDERED) {
            out.push_str(&renderer.render(&[self.group(diagnostic)]));
            out.push_str("\n\n");
        }
        if self.list.len() > RENDERED {
            out.push_str(&format!("and {} more\n\n", self.list.len() - RENDERED));
        }
        out
    }

    /// For programs: a list of objects, of the first thousand.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let place = |place: Place| {
            let source = self.sources.get(usize::from(place.source))?;
            let (line, column) = source.position(place.start);
            Some(FlatPlace { file: &source.name, line, column, start: place.start, end: place.end })
        };
        let flat: Vec<_> = self
            .list
            .iter()
            .take(LISTED)
            .map(|d| Flat {
                severity: d.severity,
                message: &d.message,
                at: d.place.and_then(place),
                label: d.label.as_deref(),
                help: d.help.as_deref(),
                related: d.related.iter().map(|(p, label)| FlatRelated { label, at: place(*p) }).collect(),
            })
            .collect();
        serde_json::to_value(flat).unwrap_or_default()
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic) -> Group<'a> {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(diagnostic.message.as_str()));
        if let Some(primary) = diagnostic.place {
            let mut files = vec![primary.source];
            files.extend(diagnostic.related.iter().map(|(p, _)| p.source));
            let mut seen = Vec::new();
            for file in files {
                if !seen.contains(&file) {
                    seen.push(file);
                    group = group.elements(self.snippet(file, diagnostic, primary));
                }
            }
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        group
    }

    /// What a diagnostic has to show of one file: no more than the lines between its marks, because the
    /// renderer looks at every line it is given.
    fn snippet<'a>(
        &'a self,
        file: u16,
        diagnostic: &'a Diagnostic,
        primary: Place,
    ) -> Option<Snippet<'a, annotate_snippets::Annotation<'a>>> {
        let source = self.sources.get(usize::from(file))?;
        let mut marks = Vec::new();
        if primary.source == file {
            marks.push((AnnotationKind::Primary, source.first_line(primary), diagnostic.label.as_deref()));
        }
        for (place, label) in diagnostic.related.iter().filter(|(p, _)| p.source == file) {
            marks.push((AnnotationKind::Context, source.first_line(*place), Some(label.as_str())));
        }
        let first = marks.iter().map(|(_, span, _)| span.start).min()?;
        let last = marks.iter().map(|(_, span, _)| span.end).max()?;
        let from = source.text[..first].rfind('\n').map_or(0, |at| at + 1);
        let to = source.text[last..].find('\n').map_or(source.text.len(), |at| last + at);
        let line = source.text[..from].matches('\n').count() + 1;
        let mut snippet = Snippet::source(&source.text[from..to]).line_start(line).path(source.name.as_str());
        for (kind, span, label) in marks {
            snippet = snippet.annotation(kind.span(span.start - from..span.end - from).label(label));
        }
        Some(snippet)
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Diagnostics {}
