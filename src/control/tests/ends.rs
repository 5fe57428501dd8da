//! Every cause of a connection's end and every reason not to keep one, provoked in a running router, but for those
//! whose documentation says that they are reserved.

use super::bench::{Bench, HOST, HOST_MAC, LAN, WAN};
use crate::metrics::label::{DestroyCause, InsertFailure};
use etherparse::{PacketBuilder, TcpHeader};
use std::collections::BTreeSet;

#[path = "../../../tests/common/reserved.rs"]
#[allow(unreachable_pub, clippy::unwrap_used, reason = "shared with the tests beside the library")]
mod reserved;

const DESTROYED: &str = "flowgate_conntrack_destroyed_total";
const FAILED: &str = "flowgate_conntrack_insert_failed_total";

/// A router with one worker and no rules, and with this about connections.
fn router(conntrack: &str) -> Bench {
    let text = format!(
        "version: 1
workers: {{ cores: any, count: 1 }}
conntrack: {{ {conntrack} }}
ports:
  lan0: {{ driver: memory, addresses: [10.0.1.1/24] }}
  wan0: {{ driver: memory, addresses: [10.0.2.1/24] }}
"
    );
    let mut bench = Bench::with(&text, |_| {});
    bench.introduce(LAN);
    bench.introduce(WAN);
    bench
}

/// A segment without data from the host behind `port` to the other.
fn segment(bench: &Bench, port: usize, ports: (u16, u16), change: fn(&mut TcpHeader)) -> Vec<u8> {
    let mut header = TcpHeader::new(ports.0, ports.1, 0, 1000);
    change(&mut header);
    let builder = PacketBuilder::ethernet2(HOST_MAC[port], bench.router_mac(port).0)
        .ipv4(HOST[port], HOST[1 - port], 64)
        .tcp_header(header);
    let mut frame = Vec::new();
    builder.write(&mut frame, b"").unwrap();
    frame
}

fn timeout() {
    let mut bench = router("timeouts: { udp: 1 }");
    let packet = bench.udp(LAN, (1, 2), b"");
    bench.passes(LAN, &packet);
    bench.metric(&format!("{DESTROYED}{{proto=\"udp\",cause=\"timeout\"}} 1"));
}

/// An RST is the only answer.
fn closed() {
    let mut bench = router("max_entries: 4096");
    let syn = segment(&bench, LAN, (1, 2), |h| h.syn = true);
    bench.passes(LAN, &syn);
    let rst = segment(&bench, WAN, (2, 1), |h| (h.rst, h.ack, h.acknowledgment_number) = (true, true, 1));
    bench.passes(WAN, &rst);
    bench.metric(&format!("{DESTROYED}{{proto=\"tcp\",cause=\"closed\"}} 1"));
}

fn evicted() {
    let mut bench = router("max_entries: 1");
    for port in [1, 2] {
        let packet = bench.udp(LAN, (port, 2), b"");
        bench.passes(LAN, &packet);
    }
    bench.metric(&format!("{DESTROYED}{{proto=\"udp\",cause=\"evicted\"}} 1"));
}

/// Of two packets the second is refused.
fn refused(conntrack: &str, second: (usize, u16), reason: InsertFailure) {
    let mut bench = router(conntrack);
    let packet = bench.udp(LAN, (1, 2), b"");
    bench.passes(LAN, &packet);
    let mut packet = bench.udp(LAN, (second.1, 2), b"");
    packet[..6].copy_from_slice(&bench.router_mac(second.0).0);
    bench.inject(second.0, &packet);
    bench.metric(&format!("{FAILED}{{reason=\"{}\"}} 1", reason.label()));
}

#[track_caller]
fn assert_whole(list: &str, all: impl Iterator<Item = &'static str>, provoked: &[&'static str]) {
    let reserved = reserved::reserved(include_str!("../../metrics/label.rs"), list);
    let all: BTreeSet<&str> = all.collect();
    let unprovoked: BTreeSet<&str> = all.into_iter().filter(|word| !provoked.contains(word)).collect();
    assert_eq!(unprovoked, reserved.iter().map(String::as_str).collect(), "{list}: not provoked, and reserved");
}

#[test]
fn every_cause_of_an_end_is_provoked_or_reserved() {
    let causes: [(DestroyCause, fn()); 3] =
        [(DestroyCause::Timeout, timeout), (DestroyCause::Closed, closed), (DestroyCause::Evicted, evicted)];
    let provoked = causes.map(|(cause, provoke)| {
        provoke();
        cause.label()
    });
    assert_whole("DestroyCause", DestroyCause::ALL.iter().map(|cause| cause.label()), &provoked);
}

#[test]
fn every_failure_to_enter_the_table_is_provoked_or_reserved() {
    let both = "zones: { lan0: { id: 5, direction: original }, wan0: { id: 6, direction: original } }";
    let failures = [
        ("max_entries: 1, on_full: drop", (LAN, 3), InsertFailure::TableFull),
        (both, (WAN, 1), InsertFailure::Clash),
        ("zones: { lan0: { id: 5, limit: 1 } }", (LAN, 3), InsertFailure::ZoneLimit),
        ("per_source: 1", (LAN, 3), InsertFailure::SourceLimit),
    ];
    let provoked = failures.map(|(conntrack, second, reason)| {
        refused(conntrack, second, reason);
        reason.label()
    });
    assert_whole("InsertFailure", InsertFailure::ALL.iter().map(|reason| reason.label()), &provoked);
}
