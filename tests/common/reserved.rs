//! Which words of the closed lists never occur in this version, as their documentation has it.

use std::collections::BTreeSet;

/// The words of a list whose documentation in the source says "Reserved".
pub fn reserved(source: &str, list: &str) -> BTreeSet<String> {
    let (_, body) = source.split_once(&format!("{list} {{")).unwrap();
    let (body, _) = body.split_once('}').unwrap();
    let mut words = BTreeSet::new();
    let mut is_reserved = false;
    for line in body.lines().map(str::trim) {
        if line.starts_with("///") {
            is_reserved |= line.contains("Reserved");
        } else if let Some(word) = line.split('"').nth(1)
            && std::mem::take(&mut is_reserved)
        {
            words.insert(word.to_owned());
        }
    }
    words
}
