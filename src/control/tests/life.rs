//! How a run ends.

use super::bench::{Bench, LAN, RULES, WAN, broken, text};
use crate::driver::OpenPort;
use crate::net::{Family, PortId, ShardId};

#[test]
fn a_stop_sends_what_was_received() {
    let mut bench = Bench::new(2);
    bench.introduce(LAN);
    bench.introduce(WAN);
    for flow in 0..1000 {
        let packet = bench.udp(LAN, (flow, 9), b"x");
        bench.inject(LAN, &packet);
    }
    bench.stop().unwrap();
    let total = bench.exporter.total();
    let balance = total.balance(PortId(0));
    assert!(balance.is_even() && balance.held == 0, "{balance:?}");
    let out = bench.left(WAN).iter().filter(|f| f[12..14] == [8, 0]).count() as u64;
    assert_eq!((total.forwarded(Family::V4), balance.dropped), (out, 0));
}

#[test]
fn a_worker_that_panics_ends_the_run() {
    let mut bench = Bench::with(&text(2, RULES), broken);
    let failure = bench.end().unwrap_err();
    assert_eq!(failure.worker, Some(ShardId(1)));
    assert_eq!(failure.to_string(), "worker 1 ended: it panicked: the test broke this queue");
}

#[test]
fn a_worker_without_memory_is_reported() {
    // More queues' worth of workers than the port has.
    fn take_one(port: &mut OpenPort) {
        drop(port.queues.pop());
    }
    let mut bench = Bench::with(&text(2, RULES), take_one);
    assert_eq!(bench.end().unwrap_err().to_string(), "port lan0 has not a queue for every worker");
}

#[test]
fn a_spinning_router_works_and_stops_too() {
    let text = text(2, RULES).replace("count: 2", "count: 2, idle: spin");
    let mut bench = Bench::with(&text, |_| {});
    bench.introduce(LAN);
    bench.introduce(WAN);
    let packet = bench.udp(LAN, (1, 2), b"x");
    bench.passes(LAN, &packet);
    bench.stop().unwrap();
}
