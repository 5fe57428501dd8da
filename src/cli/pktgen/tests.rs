//! Stream files that are wrong, and ones that are right.

use super::file::parse;
use crate::pktgen::Plan;
use crate::pktgen::plan::{Close, Distribution, Kind, Rate};

const PORTS: &str = "version: 1
ports:
  a: { driver: memory, addresses: [10.0.1.2/24, \"fd00:1::2/64\"], gateway: 10.0.1.1 }
  b: { driver: memory, addresses: [10.0.2.2/24, \"fd00:2::2/64\"], gateway: \"02:00:00:00:00:01\" }
";

fn plan(more: &str) -> Plan {
    match parse("t.yaml", &format!("{PORTS}{more}"), 1, &[]) {
        Ok(loaded) => loaded.plan,
        Err(mistakes) => panic!("{mistakes}"),
    }
}

/// The mistakes found in a text, as "line: message (help)".
fn mistakes(text: &str) -> Vec<String> {
    let Err(found) = parse("t.yaml", text, 2, &[]) else { return Vec::new() };
    let line = |d: &crate::config::Diagnostic| {
        let line = d.place.map_or(0, |place| found.sources()[0].position(place.start).0);
        let help = d.help.as_ref().map_or_else(String::new, |help| format!(" ({help})"));
        format!("{line}: {}{help}", d.message)
    };
    found.list().iter().map(line).collect()
}

#[test]
fn a_small_file_has_sensible_defaults() {
    let plan = plan("streams: { s: {} }\n");
    let [stream] = plan.streams.as_slice() else { panic!("{plan:?}") };
    assert_eq!((stream.from, stream.to, stream.sizes.as_slice(), stream.rate), (0, 1, [64].as_slice(), Rate::Max));
    let tuple = stream.space.tuple(0);
    assert_eq!(tuple.to_string(), "src=10.0.1.2 dst=10.0.2.2 sport=1024 dport=9");
    assert_eq!(plan.limit.time.as_secs(), 10);
}

#[test]
fn a_stream_both_ways_is_two_with_inverse_tuples() {
    let plan = plan("streams: { s: { both: true, flows: 5, exponent: 0.9, sport: 100-199, dport: 53 } }\n");
    let [there, back] = plan.streams.as_slice() else { panic!("{plan:?}") };
    assert_eq!((there.from, there.to, back.from, back.to), (0, 1, 1, 0));
    for flow in 0..5 {
        assert_eq!(there.space.tuple(flow).inverse(), Some(back.space.tuple(flow)));
    }
    assert_eq!(there.flows.distribution, Distribution::Zipf(0.9));
    assert_eq!(back.name, "s/back");
}

#[test]
fn prefixes_are_used_without_their_first_and_last_address() {
    let plan = plan("streams: { s: { saddr: 10.0.1.0/29, daddr: 10.0.2.9, flows: 6, sport: 7 } }\n");
    let addresses: Vec<_> = (0..6).map(|flow| plan.streams[0].space.tuple(flow).to_string()).collect();
    assert_eq!(addresses[0], "src=10.0.1.1 dst=10.0.2.9 sport=7 dport=9");
    assert_eq!(addresses[5], "src=10.0.1.6 dst=10.0.2.9 sport=7 dport=9");
    assert_eq!(plan.streams[0].space.size(), 6);
}

#[test]
fn every_mistake_has_its_line() {
    let text = format!(
        "{PORTS}streams:
  one: {{ from: a, to: c, rate: fast }}
  two: {{ size: 63, flows: 0 }}
  three: {{ size: [128, 128-64], sport: 9, flows: 2 }}
  four: {{ family: ipv6, size: 64, saddr: 10.0.1.2 }}
  five: {{ to: a }}
  six: {{ frmo: a }}
  seven: {{ replies: true, family: ipv6, size: 74 }}
  eight: {{ distribution: uniform, exponent: 2 }}
duration: soon
max_loss: 0.1
"
    );
    let wanted = [
        "6: unknown port `c` (did you mean `a`?)",
        "7: `size`: 63 is out of range (a number, a range as in 64-1518, a list of them, `imix` or `rfc2544`; at least 64)",
        "7: `flows`: 0 is out of range (from 1 to 4194304)",
        "8: the range `128-64` is reversed",
        "8: 2 flows, but addresses and ports make 1 different ones (widen `sport`, `saddr`, `daddr` or `dport`)",
        "9: `size`: 64 is out of range (a number, a range as in 64-1518, a list of them, `imix` or `rfc2544`; at least 74)",
        "9: `saddr`: 10.0.1.2/32 is of another family than the stream",
        "10: a stream goes from one port to another",
        "11: unknown key `frmo` in stream `six` (did you mean `from`?)",
        "12: a frame of 74 octets has no room for the mark that replies need (at least 84)",
        "13: `exponent` belongs to `distribution: zipf`",
        "14: `duration`: `soon` is not a duration (write a whole number and a unit: ms, s, m, h or d, as in 30s)",
        "15: `max_loss`: `0.1` is not a share (a percentage from 0% to 100%, as in 2.5%)",
    ];
    let found = mistakes(&text);
    for one in wanted {
        assert!(found.iter().any(|found| found == one), "missing: {one}\n{found:#?}");
    }
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
}

#[test]
fn tcp_has_keys_of_its_own() {
    let stream = plan("streams: { s: { proto: tcp, rate: 1kcps, concurrent: 7, requests: 3, close: rst } }\n");
    let Kind::Tcp(tcp) = stream.streams[0].kind else { panic!("{stream:?}") };
    assert_eq!(
        (tcp.concurrent, tcp.requests, tcp.close, stream.streams[0].rate),
        (7, 3, Close::Rst, Rate::Pps(1000.0))
    );
    let text = format!(
        "{PORTS}streams:
  one: {{ proto: tcp, flows: 3, both: true, rate: 1Gbit/s }}
  two: {{ response: 5 }}
  three: {{ proto: tcp, close: slam, requests: 1000000, response: 100000 }}
"
    );
    let wanted = [
        "6: `flows` belongs to `proto: udp`",
        "6: `both` belongs to `proto: udp`",
        "6: connections are counted per second (`max` or a number of cps, as in 1kcps)",
        "7: `response` belongs to `proto: tcp`",
        "8: a connection carries at most 1073741824 octets each way",
        "8: `close` cannot be `slam` (one of: fin, rst)",
    ];
    let mut found = mistakes(&text);
    found.sort();
    let mut wanted = wanted.map(str::to_owned).to_vec();
    wanted.sort();
    assert_eq!(found, wanted);
}

#[test]
fn ports_are_judged_by_the_routers_reader_and_its_own() {
    let text = "version: 2
ports:
  a: { driver: memory, addresses: [10.0.1.0/24], gateway: 10.9.9.9 }
  b: { driver: af_paket, device: x }
  c: { driver: memory, vlan: 4095, gateway: nobody, line: 5 }
streams: {}
";
    let found = mistakes(text);
    for one in [
        "1: version 2 is not known",
        "3: `addresses`: 10.0.1.0 is the address of the network itself",
        "3: 10.9.9.9 is on no subnet of port `a`",
        "4: `driver` cannot be `af_paket` (did you mean `af_packet`?)",
        "5: `vlan`: 4095 is out of range (from 1 to 4094)",
        "5: `gateway`: `nobody` is neither an address nor a link address",
        "5: `line`: `5` is not a line speed (as in 1G, 10Gbit/s)",
        "6: no stream is given",
    ] {
        assert!(found.iter().any(|found| found.starts_with(one)), "missing: {one}\n{found:#?}");
    }
    assert!(mistakes("").iter().any(|found| found.contains("empty")));
    assert!(mistakes("version: 1\nports: {}\n").iter().any(|found| found.contains("two ports are needed")));
}
