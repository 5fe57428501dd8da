//! Every class of mistake is shown where it was made; what is right is read right.

use super::*;

mod mistakes;
mod reading;
mod warnings;

/// A machine of four cores.
fn machine() -> Machine {
    Machine { cpus: Some(vec![0, 1, 2, 3]), memory: Some(1 << 30) }
}

fn check(text: &str) -> Result<Loaded, Diagnostics> {
    parse_on(&machine(), "t.yaml", text)
}

/// Two ports to hang everything else on.
const PORTS: &str = "\
version: 1
ports:
  lan0: { driver: memory, addresses: [10.0.1.1/24, \"fd00:1::1/64\"] }
  wan0: { driver: memory, addresses: [10.0.2.1/24] }
";

/// The diagnostics of a text as `severity line:column message`, one per line.
fn brief(diags: &Diagnostics) -> Vec<String> {
    diags
        .list()
        .iter()
        .map(|d| {
            let place = d.place.expect("a place");
            let (line, column) = diags.sources()[usize::from(place.source)].position(place.start);
            let severity = if d.severity == Severity::Error { "error" } else { "warning" };
            format!("{severity} {line}:{column} {}", d.message)
        })
        .collect()
}

/// What was written at a diagnostic's place.
fn pointed_at(diags: &Diagnostics, at: usize) -> &str {
    let place = diags.list()[at].place.expect("a place");
    &diags.sources()[usize::from(place.source)].text[place.bytes()]
}
