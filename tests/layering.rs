//! The rooms of `src` and who may use whom.
//!
//! Reads the sources, leaves out comments, strings and test code, and looks at every path that starts
//! at the crate's root (`crate::room`, grouped and nested `use`, `$crate::room`, a chain of `super`
//! that reaches the root). The tables come first; what they forbid fails with file and line.

#![allow(clippy::expect_used, reason = "all of it is test code")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Each room and the rooms it may name, lowest first. A room may only name rooms listed above it,
/// which is what rules out cycles.
const MAY_USE: &[(&str, &[&str])] = &[
    ("net", &[]),
    ("frame", &["net"]),
    ("wire", &["net"]),
    ("route", &["net"]),
    ("metrics", &["net"]),
    ("driver", &["net", "frame"]),
    ("steer", &["net", "frame"]),
    ("frag", &["net", "frame", "wire"]),
    ("conntrack", &["net"]),
    ("helper", &["net", "conntrack"]),
    ("policy", &["net", "conntrack"]),
    ("shard", &["net", "frame", "wire", "route", "metrics", "steer", "frag", "conntrack", "helper", "policy"]),
    ("worker", &["net", "frame", "metrics", "driver", "steer", "conntrack", "route", "shard"]),
    ("config", &["net", "route", "helper", "policy"]),
    // The control plane starts the workers and hands them their queues, so it names more than it decides.
    (
        "control",
        &[
            "net",
            "frame",
            "driver",
            "wire",
            "steer",
            "frag",
            "conntrack",
            "helper",
            "policy",
            "route",
            "metrics",
            "shard",
            "worker",
            "config",
        ],
    ),
    // A router set up by hand, beside a ruler: what `control` names, and `control`.
    (
        "bench",
        &[
            "net",
            "frame",
            "driver",
            "wire",
            "steer",
            "conntrack",
            "policy",
            "route",
            "metrics",
            "shard",
            "worker",
            "config",
            "control",
        ],
    ),
    ("pktgen", &["net", "frame", "wire", "metrics", "driver"]),
    (
        "cli",
        &[
            "net",
            "frame",
            "wire",
            "route",
            "metrics",
            "driver",
            "steer",
            "frag",
            "conntrack",
            "helper",
            "policy",
            "shard",
            "worker",
            "config",
            "control",
            "bench",
            "pktgen",
        ],
    ),
    ("main", &["cli"]),
];

/// The only files in which `unsafe` may be written.
const MAY_BE_UNSAFE: &[&str] = &[
    "src/frame/burst.rs",
    "src/frame/filling.rs",
    "src/frame/pool.rs",
    "src/frame/pool/fill.rs",
    "src/frame/pool/survey.rs",
    "src/frame/taken.rs",
    "src/net/four.rs",
    "src/net/memory.rs",
    "src/net/prefetch.rs",
    "src/net/wide.rs",
    "src/steer/mailbox.rs",
    "src/steer/mailbox/run.rs",
    "src/driver/af_packet/sys.rs",
    "src/driver/dpdk/ffi.rs",
    "src/driver/dpdk/queue.rs",
    "src/driver/interface/sys.rs",
    "src/driver/interface/ethtool.rs",
    "src/driver/af_xdp/area.rs",
    "src/driver/af_xdp/bpf.rs",
    "src/driver/af_xdp/ring.rs",
    "src/driver/tap/sys.rs",
    "src/bench/memory.rs",
];

/// Lines a file may have, test code not counted.
const MAX_LINES: usize = 800;

/// The library's name, by which the binary calls its rooms.
const LIBRARY: &str = "flowgate";

#[test]
fn every_room_uses_only_the_rooms_below_it() {
    let mut wrong = String::new();
    for file in sources() {
        let Some((_, allowed)) = MAY_USE.iter().find(|(room, _)| *room == file.room) else {
            if file.room != "lib" {
                let _ = writeln!(wrong, "{}: the room `{}` is not in the table MAY_USE", file.name, file.room);
            }
            continue;
        };
        for (line, used) in &file.uses {
            if *used != file.room && !allowed.contains(&used.as_str()) && is_room(used) {
                let _ = writeln!(wrong, "{}:{line}: `{}` may not use `{used}`", file.name, file.room);
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}Move the code, or argue for the table at the top of tests/layering.rs.");
}

#[test]
fn the_table_has_no_cycles() {
    for (position, (room, uses)) in MAY_USE.iter().enumerate() {
        for used in *uses {
            let below = MAY_USE.iter().position(|(name, _)| name == used);
            assert!(below < Some(position) && below.is_some(), "`{room}` uses `{used}`, which must stand above it");
        }
    }
}

#[test]
fn main_only_hands_over_to_cli() {
    let main = sources().into_iter().find(|file| file.room == "main").expect("src/main.rs");
    for (line, used) in &main.uses {
        assert_eq!(used, "cli", "{}:{line}: main names only cli", main.name);
    }
}

#[test]
fn unsafe_stays_behind_its_fence() {
    let mut wrong = String::new();
    for file in sources() {
        let listed = MAY_BE_UNSAFE.contains(&file.name.as_str());
        match (file.unsafe_line, listed) {
            (Some(line), false) => {
                let _ = writeln!(wrong, "{}:{line}: `unsafe` in a file that is not in MAY_BE_UNSAFE", file.name);
            }
            (None, true) => {
                let _ = writeln!(wrong, "{}: no `unsafe` left; take it off MAY_BE_UNSAFE", file.name);
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn no_file_outgrows_its_subject() {
    let mut wrong = String::new();
    for file in sources().iter().filter(|file| file.lines > MAX_LINES) {
        let _ = writeln!(wrong, "{}: {} lines without its tests, {MAX_LINES} at most", file.name, file.lines);
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What one source file shows.
struct Source {
    /// Path from the package's root.
    name: String,
    /// First step of the module path; `lib` and `main` for the two roots.
    room: String,
    /// Names that follow the crate's root in a path, with their lines.
    uses: Vec<(usize, String)>,
    /// First line with `unsafe`.
    unsafe_line: Option<usize>,
    /// Lines outside test code.
    lines: usize,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    collect(&root.join("src"), &mut paths);
    paths.sort();
    let files: Vec<Source> = paths
        .iter()
        .filter_map(|path| {
            let name = path.strip_prefix(root).expect("below the root").to_str().expect("UTF-8").to_owned();
            read(&name, &std::fs::read_to_string(path).expect("readable"))
        })
        .collect();
    assert!(files.len() > 10, "the sources were not found");
    files
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("readable folder") {
        let path = entry.expect("readable entry").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// Any name is taken for a room here except what the root itself offers: macros and re-exports.
fn is_room(name: &str) -> bool {
    MAY_USE.iter().any(|(room, _)| *room == name)
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name).is_dir()
}

/// Reads one file; `None` for files that hold nothing but tests.
fn read(name: &str, text: &str) -> Option<Source> {
    let steps: Vec<&str> = name.strip_prefix("src/")?.strip_suffix(".rs")?.split('/').collect();
    if steps.iter().any(|step| *step == "tests" || step.ends_with("_tests")) {
        return None;
    }
    let mut modules: Vec<&str> = steps.clone();
    if matches!(modules.last(), Some(&"mod")) || (modules.len() == 1 && matches!(modules[0], "lib" | "main")) {
        modules.pop();
    }
    let (tokens, test_lines) = without_tests(tokens(text));
    Some(Source {
        name: name.to_owned(),
        room: steps[0].to_owned(),
        uses: uses(&tokens, modules.len()),
        unsafe_line: tokens.iter().find(|token| token.text == "unsafe").map(|token| token.line),
        lines: text.lines().count() - test_lines,
    })
}

/// A word or one punctuation character.
#[derive(Debug, Clone, PartialEq)]
struct Token {
    text: String,
    line: usize,
}

/// Words and punctuation; comments, strings, characters and lifetimes left out.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let (mut i, mut line, mut found) = (0, 1, Vec::new());
    while i < chars.len() {
        let begin = i;
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= chars.len() {
                        break;
                    }
                }
            }
            '"' => i = after_string(&chars, i),
            '\'' => i = after_quote(&chars, i),
            first if first.is_alphanumeric() || first == '_' => {
                while at(i).is_alphanumeric() || at(i) == '_' {
                    i += 1;
                }
                let word: String = chars[begin..i].iter().collect();
                match (word.as_str(), at(i)) {
                    ("r" | "br" | "cr", '"' | '#') if is_raw_string(&chars, i) => i = after_raw_string(&chars, i),
                    ("r", '#') => i += 1, // a raw identifier: the word itself follows
                    ("b" | "c", '"') => i = after_string(&chars, i),
                    ("b", '\'') => i = after_quote(&chars, i),
                    _ => found.push(Token { text: word, line }),
                }
            }
            other => {
                if !other.is_whitespace() {
                    found.push(Token { text: other.to_string(), line });
                }
                i += 1;
            }
        }
        line += chars[begin..i.min(chars.len())].iter().filter(|c| **c == '\n').count();
    }
    found
}

/// `i` is at the opening quote.
fn after_string(chars: &[char], mut i: usize) -> usize {
    i += 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// A character literal, or a lifetime, of which only the quote is skipped.
fn after_quote(chars: &[char], i: usize) -> usize {
    match (chars.get(i + 1), chars.get(i + 2)) {
        (Some('\\'), _) => {
            let mut end = i + 3;
            while end < chars.len() && chars[end] != '\'' {
                end += 1;
            }
            end + 1
        }
        (Some(_), Some('\'')) => i + 3,
        _ => i + 1,
    }
}

fn is_raw_string(chars: &[char], mut i: usize) -> bool {
    while chars.get(i) == Some(&'#') {
        i += 1;
    }
    chars.get(i) == Some(&'"')
}

/// `i` is at the first `#` or at the quote.
fn after_raw_string(chars: &[char], mut i: usize) -> usize {
    let mut hashes = 0;
    while chars[i] == '#' {
        (hashes, i) = (hashes + 1, i + 1);
    }
    i += 1;
    while i < chars.len() {
        if chars[i] == '"' && chars[i + 1..].iter().take_while(|c| **c == '#').count() >= hashes {
            return i + 1 + hashes;
        }
        i += 1;
    }
    i
}

/// The tokens without the items under `#[cfg(test)]`, and how many lines those items had.
fn without_tests(all: Vec<Token>) -> (Vec<Token>, usize) {
    let (mut kept, mut lines, mut i) = (Vec::new(), 0, 0);
    while i < all.len() {
        if is_test_attribute(&all[i..]) {
            let end = item_end(&all, i);
            lines += all[end - 1].line - all[i].line + 1;
            i = end;
        } else {
            kept.push(all[i].clone());
            i += 1;
        }
    }
    (kept, lines)
}

/// `#[cfg(test)]`, or `#[cfg(all(test, …))]`; not `#[cfg(not(test))]` and not `any`.
fn is_test_attribute(tokens: &[Token]) -> bool {
    let starts = |wanted: &[&str]| {
        tokens.len() > wanted.len() && tokens.iter().zip(wanted).all(|(token, wanted)| token.text == *wanted)
    };
    starts(&["#", "[", "cfg", "(", "test", ")", "]"]) || starts(&["#", "[", "cfg", "(", "all", "(", "test", ","])
}

/// How an item that may hold commas of its own begins.
const ITEM_WORDS: &[&str] =
    &["fn", "mod", "impl", "use", "struct", "enum", "trait", "const", "static", "type", "unsafe", "async", "extern"];

/// Just past the item whose first attribute starts at `from`.
fn item_end(tokens: &[Token], from: usize) -> usize {
    let mut i = from;
    while tokens.get(i).is_some_and(|token| token.text == "#") {
        i = closing(tokens, i + 1) + 1;
    }
    if tokens.get(i).is_some_and(|token| token.text == "pub") {
        i += 1;
        if tokens.get(i).is_some_and(|token| token.text == "(") {
            i = closing(tokens, i) + 1;
        }
    }
    // A comma ends a field, a variant or an argument; in any other item it is just a comma.
    let is_item = tokens.get(i).is_some_and(|token| ITEM_WORDS.contains(&token.text.as_str()));
    while i < tokens.len() {
        match tokens[i].text.as_str() {
            ";" => return i + 1,
            "," if !is_item => return i + 1,
            "{" => return (closing(tokens, i) + 1).min(tokens.len()),
            "(" | "[" => i = closing(tokens, i) + 1,
            _ => i += 1,
        }
    }
    tokens.len()
}

/// The bracket that closes the one at `open`.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth -= 1;
                if depth == 0 {
                    return i;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// Every name that follows the crate's root. `depth` is how many modules down the file is.
fn uses(tokens: &[Token], depth: usize) -> Vec<(usize, String)> {
    let text = |i: usize| tokens.get(i).map_or("", |token| token.text.as_str());
    let is_path = |i: usize| text(i) == ":" && text(i + 1) == ":";
    let mut found = Vec::new();
    // Closing positions of the inline modules around us; each is one more step for `super`.
    let mut inline: Vec<usize> = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        inline.retain(|end| *end > i);
        if text(i) == "mod" && text(i + 2) == "{" {
            inline.push(closing(tokens, i + 2));
        }
        let starts_path = i < 2 || !is_path(i - 2);
        let mut next = None;
        if (text(i) == "crate" || (text(i) == LIBRARY && starts_path)) && is_path(i + 1) {
            next = Some(i + 3);
        } else if text(i) == "super" && starts_path {
            let (mut supers, mut at) = (1, i + 1);
            while is_path(at) && text(at + 2) == "super" {
                (supers, at) = (supers + 1, at + 3);
            }
            if supers == depth + inline.len() && is_path(at) {
                next = Some(at + 2);
            }
        }
        if let Some(next) = next {
            first_names(tokens, next, &mut found);
        }
        i += 1;
    }
    found
}

/// The name at `i`, or the first name of each branch of the group that opens there.
fn first_names(tokens: &[Token], i: usize, found: &mut Vec<(usize, String)>) {
    let Some(token) = tokens.get(i) else { return };
    if token.text != "{" {
        found.push((token.line, token.text.clone()));
        return;
    }
    let (end, mut at) = (closing(tokens, i), i + 1);
    while at < end {
        first_names(tokens, at, found);
        // On to the comma that ends this branch.
        while at < end && tokens[at].text != "," {
            at = if tokens[at].text == "{" { closing(tokens, at) + 1 } else { at + 1 };
        }
        at += 1;
    }
}

fn used_in(name: &str, text: &str) -> BTreeSet<String> {
    read(name, text).expect("a source file").uses.into_iter().map(|(_, used)| used).collect()
}

#[test]
fn the_reader_finds_every_way_to_name_a_room() {
    let cases: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("use crate::net::Tuple;", &["net"] as &[_]),
        ("use crate::{net::{Addr, wire}, frame, policy::spec::{self, Rule}};", &["net", "frame", "policy"]),
        ("fn f(a: crate::net::Addr) -> crate::wire::View<'_> { crate::steer::owner(a) }", &["net", "wire", "steer"]),
        ("pub(crate) fn f() {} pub(in crate::shard) fn g() {}", &["shard"]),
        ("macro_rules! m { () => { $crate::driver::open() } }", &["driver"]),
        ("use super::super::config;", &["config"]),
        ("mod inner { use super::super::super::config; use super::super::sibling; }", &["config"]),
        ("use super::sibling; use self::super::sibling;", &[]),
        ("// crate::a\n/* crate::b /* crate::c */ crate::d */ const S: &str = \"crate::e \\\" crate::f\";", &[]),
        ("const R: &str = r#\"crate::a \" crate::b\"#; const C: char = '\"'; use crate::net;", &["net"]),
        ("fn f<'a>(x: &'a str) { let c = '\\''; crate::net::g(x) }", &["net"]),
        ("#[cfg(test)]\nmod tests { use crate::driver; }\nuse crate::net;", &["net"]),
        ("#[cfg(test)]\n#[path = \"x\"]\nmod tests;\nuse crate::net;", &["net"]),
        ("#[cfg(test)]\nfn f<A, B>(a: A, b: B) { crate::driver::open() }\nuse crate::net;", &["net"]),
        ("struct S {\n#[cfg(test)]\npub(crate) a: crate::driver::D,\nb: crate::net::N }", &["net"]),
        ("#[cfg(not(test))]\nuse crate::driver;", &["driver"]),
        ("use other::crate_like::x; use nothing::flowgate::y;", &[]),
    ]);
    for (text, wanted) in cases {
        let wanted: BTreeSet<String> = wanted.iter().map(|room| (*room).to_owned()).collect();
        assert_eq!(used_in("src/room/file.rs", text), wanted, "in: {text}");
    }
    assert_eq!(used_in("src/main.rs", "fn main() { flowgate::cli::main() }"), BTreeSet::from(["cli".to_owned()]));
    assert_eq!(used_in("src/room/mod.rs", "use super::net;"), BTreeSet::from(["net".to_owned()]));
    assert!(read("src/room/tests.rs", "").is_none() && read("src/room/tests/more.rs", "").is_none());
}

#[test]
fn the_reader_counts_lines_and_sees_unsafe_outside_tests_only() {
    let text = "fn a() {}\n// unsafe\n#[cfg(test)]\nmod tests {\n    unsafe fn b() {}\n}\nfn c() {}\n";
    let file = read("src/room/file.rs", text).expect("a source file");
    assert_eq!((file.lines, file.unsafe_line), (3, None));
    let file = read("src/room/file.rs", "\n\nunsafe fn b() {}\n").expect("a source file");
    assert_eq!(file.unsafe_line, Some(3));
}
