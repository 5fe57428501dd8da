//! Reports as a table and as JSON, and beside earlier ones.

use crate::bench::Report;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// Title of the table's columns.
pub(super) const HEADING: &str = "workload         family     flows wrk  checksum   ns/packet    Mpps   floor ns  ratio  \
     bytes/flow  turn µs p50 / p99 / p99.99 / max";

/// All runs, in the form programs read.
#[derive(Debug, Serialize)]
struct Results<'a> {
    runs: &'a [Report],
}

/// The JSON of all runs.
pub(super) fn json(runs: &[Report]) -> Result<String, String> {
    let mut text = serde_json::to_string_pretty(&Results { runs }).map_err(|error| error.to_string())?;
    text.push('\n');
    Ok(text)
}

/// The table's row of a run, and what else is to be said of it.
pub(super) fn rows(r: &Report) -> Vec<String> {
    let t = &r.turn_us;
    let mut rows = vec![format!(
        "{:<16} {:<6} {:>9} {:>3}  {:<8}  {:>10.1} {:>7.2} {:>10.1} {:>6.2}  {:>10.1}  {:.1} / {:.1} / {:.1} / {:.1}",
        r.workload,
        r.family,
        r.flows,
        r.workers,
        r.checksum,
        r.ns_per_packet,
        r.mpps,
        r.floor_ns_per_packet,
        r.ratio,
        r.bytes_per_flow,
        t.p50,
        t.p99,
        t.p9999,
        t.max
    )];
    let s = &r.stages;
    let share = |part: f64| (part * 100.0).round();
    let mut spent = format!(
        "  receive {} %, admit {} %, judge {} %, transmit {} %",
        share(s.receive),
        share(s.admit),
        share(s.judge),
        share(s.transmit)
    );
    if let (Some(cycles), Some(instructions)) = (r.cycles_per_packet, r.instructions_per_packet) {
        spent += &format!("; {cycles:.0} cycles, {instructions:.0} instructions per packet");
    }
    rows.push(spent);
    if let Some(rate) = r.connections_per_second {
        rows.push(format!("  {:.2} million connections per second of processor time", rate / 1e6));
    }
    if let Some(a) = &r.attack {
        rows.push(format!(
            "  established connections: {:.1} ns per packet under attack, {:.1} alone, ratio {:.2}, {} lost",
            a.ns_under_attack, a.ns_alone, a.ratio, a.lost
        ));
    }
    match r.allocations_per_packet {
        Some(allocations) if allocations > 0.0 => rows.push(format!("  {allocations} allocations per packet")),
        _ => {}
    }
    rows
}

/// Reads the JSON of an earlier call.
pub(super) fn read(file: &Path) -> Result<Vec<Value>, String> {
    let fail = |what: &dyn std::fmt::Display| format!("{}: {what}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| fail(&error))?;
    let mut results: Value = serde_json::from_str(&text).map_err(|error| fail(&error))?;
    match results.get_mut("runs").map(Value::take) {
        Some(Value::Array(runs)) => Ok(runs),
        _ => Err(fail(&"no `runs` in it")),
    }
}

/// What became of a run since earlier: times of then and now, by themselves and as multiples of the floor.
pub(super) fn compared(earlier: &[Value], r: &Report) -> Option<String> {
    let same = |run: &&Value| {
        run["workload"] == r.workload
            && run["family"] == r.family
            && run["flows"] == r.flows
            && run["workers"] == r.workers
            && run["checksum"] == r.checksum
    };
    let Some(run) = earlier.iter().find(same) else { return Some("  no such run in the earlier results".to_owned()) };
    let (ns, ratio) = (run["ns_per_packet"].as_f64()?, run["ratio"].as_f64()?);
    Some(format!(
        "  earlier {ns:.1} ns, ratio {ratio:.2}; now {:.2} of the time and {:.2} of the ratio",
        r.ns_per_packet / ns,
        r.ratio / ratio
    ))
}
