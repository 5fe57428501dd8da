//! The path's parts, each measured alone: `cargo bench`. With `cargo bench -- --test` each runs once. Every part's
//! result is verified before it is measured.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "no part of the router")]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flowgate::bench::feed::Chunk;
use flowgate::bench::flows::tuple;
use flowgate::bench::load::Flows;
use flowgate::bench::packet::{MAX_PREPARED, Transport, Way, flags, write};
use flowgate::bench::seat::{Router, Seat};
use flowgate::bench::{Workload, packet};
use flowgate::config;
use flowgate::conntrack::key::{Key, Seed};
use flowgate::frame::{Checksum, Pool, PoolConfig};
use flowgate::net::{Family, MacAddr, PortId, Tuple, proto};
use flowgate::policy::spec::Hook;
use flowgate::policy::{Input, Ruleset, Verdict};
use flowgate::steer::{RingConfig, Stage, mesh};
use flowgate::wire::{Verify, parse};
use flowgate::worker::Clock;
use std::hint::black_box;
use std::sync::Arc;

const WAY: Way = Way { before: [MacAddr([2; 6]); 2], after: [MacAddr([4; 6]); 2] };

fn segment() -> Transport {
    Transport::Tcp { seq: 1, ack: 1, flags: flags::PSH_ACK, payload: 6 }
}

fn parts(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for family in Family::ALL {
        let tuple = tuple(family, proto::TCP, 443, 7);
        let mut octets = [0; MAX_PREPARED];
        let len = write(&mut octets, &WAY, &tuple, segment());
        let frame = &octets[..len];
        for (name, verify) in [("trust", Verify::Trust), ("check", Verify::Check)] {
            assert_eq!(parse(frame, verify).expect("a good packet").summary.tuple, tuple);
            group
                .bench_function(BenchmarkId::new(name, family.label()), |b| b.iter(|| parse(black_box(frame), verify)));
        }
    }
    group.finish();
}

/// A worker whose flows are made, and its load.
fn seat(workload: Workload, family: Family, flows: u64) -> (Seat, impl FnMut(u64) -> Chunk) {
    let mut router = Router::new(1, workload.entries(flows), Clock::start()).unwrap();
    let mut seat = router.seeds.pop().unwrap().sit().unwrap();
    let mut load = workload.load(family, Flows::First(flows));
    let ways = router.ways;
    let chunk = move || Chunk::new(workload.lines(family), Checksum::Verified, ways);
    let mut next = chunk();
    while load.set_up(&mut next) {
        pass(&mut seat, std::mem::replace(&mut next, chunk()));
    }
    let fill = move |frames| {
        let mut next = chunk();
        load.fill(&mut next, frames);
        next
    };
    (seat, fill)
}

fn pass(seat: &mut Seat, chunk: Chunk) {
    let wanted = (chunk.frames() as u64, chunk.digest());
    seat.post(&Arc::new(chunk));
    seat.turn_until_idle();
    assert_eq!(seat.tally().take(), wanted);
}

/// A packet that is known, that opens a flow, and that opens one while the table is full.
fn track(c: &mut Criterion) {
    let mut group = c.benchmark_group("track");
    const PACKETS: u64 = 4096;
    group.throughput(Throughput::Elements(PACKETS));
    for (name, workload, flows) in [
        ("hit", Workload::UdpEstablished, 1000),
        ("full", Workload::UdpNew, 10_000),
        ("tcp", Workload::TcpEstablished, 1000),
    ] {
        for family in Family::ALL {
            let (mut seat, mut fill) = seat(workload, family, flows);
            group.bench_function(BenchmarkId::new(name, family.label()), |b| {
                b.iter_batched(|| fill(PACKETS), |chunk| pass(&mut seat, chunk), BatchSize::LargeInput);
            });
        }
    }
    let seed = Seed::new([1, 2, 3, 4]);
    let tuple: Tuple = tuple(Family::V4, proto::UDP, 53, 9);
    let miss = flowgate::conntrack::table::Table::new(1024, seed);
    assert!(miss.find(&Key::new(tuple, &seed).unwrap()).is_none());
    group.throughput(Throughput::Elements(1));
    group.bench_function("miss", |b| {
        b.iter(|| miss.find(&Key::new(black_box(tuple), &seed).unwrap()));
    });
    group.finish();
}

fn policy(c: &mut Criterion) {
    let mut group = c.benchmark_group("policy");
    for rules in [1, 100, 1000] {
        let mut text =
            "version: 1\nports:\n  lan0: { driver: memory }\n  wan0: { driver: memory }\nchains:\n  forward:\n    \
                        policy: drop\n    rules:\n"
                .to_owned();
        for rule in 0..rules {
            text += &format!("      - {{ id: r{rule}, l4proto: udp, dport: {}, verdict: accept }}\n", 1000 + rule);
        }
        let (settings, mistakes) = config::parse("bench", &text);
        let settings = settings.unwrap_or_else(|| panic!("{}", mistakes.render(false)));
        let ruleset = Ruleset::compile(&settings.policy).unwrap();
        let tuple = tuple(Family::V4, proto::UDP, 1000 + rules - 1, 9);
        let input = Input { state: None, iif: PortId(0), oif: Some(PortId(1)), tuple, has_ports: true };
        assert_eq!(ruleset.decide(Hook::Forward, &input).verdict, Verdict::Accept, "the last rule");
        group.bench_function(BenchmarkId::new("last", rules), |b| {
            b.iter(|| ruleset.decide(Hook::Forward, black_box(&input)));
        });
    }
    group.finish();
}

/// Whole packets through a worker, by size.
fn forward(c: &mut Criterion) {
    let mut group = c.benchmark_group("forward");
    const PACKETS: usize = 4096;
    group.throughput(Throughput::Elements(PACKETS as u64));
    for size in [64, 128, 512, 1500] {
        let mut router = Router::new(1, 1000, Clock::start()).unwrap();
        let mut seat = router.seeds.pop().unwrap().sit().unwrap();
        let ways = router.ways;
        let payload = (size - 18 - 28) as u16;
        let chunk = |n: usize| {
            let mut chunk = Chunk::new(1, Checksum::Verified, ways);
            for at in 0..n {
                let tuple = packet_tuple(at as u64 % 500);
                chunk.push(0, &tuple, Transport::Udp { payload });
                if at % 64 == 63 {
                    chunk.end_burst();
                }
            }
            chunk
        };
        pass(&mut seat, chunk(PACKETS));
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter_batched(|| chunk(PACKETS), |chunk| pass(&mut seat, chunk), BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn packet_tuple(n: u64) -> Tuple {
    tuple(Family::V4, proto::UDP, 4433, n)
}

/// A frame into the ring to another worker and out of it again.
fn handoff(c: &mut Criterion) {
    let pool = PoolConfig { buffers: 256, frame_size: 2048 };
    let mut links = mesh(2, RingConfig { bytes: 1 << 20, pool }).unwrap();
    let (mut second, mut first) = (links.pop().unwrap(), links.pop().unwrap());
    let pool = Pool::new(pool).unwrap();
    let mut octets = [0; packet::MAX_PREPARED];
    let len = write(&mut octets, &WAY, &packet_tuple(1), Transport::Udp { payload: 18 });
    let frame = pool.alloc_from(&octets[..len]).unwrap();
    let mut pass = || {
        first.sender(second.me).unwrap().send(Stage::Packet, std::slice::from_ref(&frame)).unwrap();
        let mut arrived = 0;
        let (_, receiver) = second.receivers().next().unwrap();
        receiver.drain(&pool, 1, |_, got| arrived += usize::from(got.data() == frame.data()));
        arrived
    };
    assert_eq!(pass(), 1);
    c.bench_function("handoff", |b| b.iter(&mut pass));
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(1))
        .warm_up_time(std::time::Duration::from_millis(300));
    targets = parts, track, policy, forward, handoff
}
criterion_main!(benches);
