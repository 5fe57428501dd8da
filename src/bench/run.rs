//! One run: a workload on a router and on the ruler, in turn, and what was measured.

use super::lane::{Lane, Parts, Samples, Shared};
use super::load::{Flows, States, Workload};
use super::measure::{median, quantile};
use super::memory::{allocations, map_large_allocations};
use super::perf::Counted;
use super::seat::Router;
use crate::conntrack::table::reserved_bytes;
use crate::metrics::Exporter;
use crate::net::{CtState, DropReason, Family, PortId, proto};
use crate::steer::owner;
use crate::worker::Clock;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Which packets.
    pub workload: Workload,
    /// Address family.
    pub family: Family,
    /// Flows.
    pub flows: u64,
    /// Workers.
    pub workers: usize,
    /// The port verified the checksums, of transport and IPv4 header; else the router does.
    pub nic_checksum: bool,
    /// Time for the timed stretches and what is between them. Zero is one short stretch, which measures little but
    /// verifies all.
    pub time: Duration,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Workload.
    pub workload: &'static str,
    /// Address family.
    pub family: &'static str,
    /// Flows.
    pub flows: u64,
    /// Workers.
    pub workers: usize,
    /// Who verified the checksums.
    pub checksum: &'static str,
    /// Nanoseconds of a worker's processor time per packet: the median of all stretches.
    pub ns_per_packet: f64,
    /// Million packets per second of processor time, all workers together.
    pub mpps: f64,
    /// The ruler's nanoseconds.
    pub floor_ns_per_packet: f64,
    /// Router over ruler: the median of the ratios of each stretch.
    pub ratio: f64,
    /// Tenth and ninetieth percentile of the stretches' nanoseconds.
    pub spread: [f64; 2],
    /// Packets timed.
    pub packets: u64,
    /// Allocations per packet; `null` if this program does not count them.
    pub allocations_per_packet: Option<f64>,
    /// Octets of memory that became resident per flow while the flows were made; with few flows, and with several
    /// workers, the octets reserved.
    pub bytes_per_flow: f64,
    /// Octets of memory reserved per flow: whatever grows with the table.
    pub reserved_bytes_per_flow: f64,
    /// Connections per second of processor time, where the workload makes any.
    pub connections_per_second: Option<f64>,
    /// Processor cycles per packet, in user mode; `null` where the machine does not let them be counted.
    pub cycles_per_packet: Option<f64>,
    /// Instructions per packet, likewise.
    pub instructions_per_packet: Option<f64>,
    /// Where a burst's time goes.
    pub stages: Stages,
    /// Under attack: what becomes of the connections that go on.
    pub attack: Option<Attack>,
    /// How long a turn of the loop took, in microseconds of the wall clock.
    pub turn_us: Turns,
}

/// The cost of established connections' turns, in nanoseconds per packet.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Attack {
    /// While every second turn is the attack's.
    pub ns_under_attack: f64,
    /// While there is none.
    pub ns_alone: f64,
    /// The one over the other.
    pub ratio: f64,
    /// Packets of established connections that were lost. More than none fails the run.
    pub lost: u64,
}

/// Shares of a burst's time, measured in stretches of their own; together 1.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Stages {
    /// The port hands the frames over, here by copying them.
    pub receive: f64,
    /// Look at each, hash its tuple, fetch its line of the table.
    pub admit: f64,
    /// Find, track, decide and rewrite each.
    pub judge: f64,
    /// The ports take them.
    pub transmit: f64,
}

impl Stages {
    fn of(samples: &[Samples]) -> Stages {
        let sum = |of: fn(&Parts) -> &Vec<f64>| -> f64 {
            let mut each: Vec<f64> = samples.iter().flat_map(|s| of(&s.parts).iter().copied()).collect();
            each.sort_by(f64::total_cmp);
            // The longest are those in which something else had the core.
            each.iter().take(each.len() - each.len() / 20).sum()
        };
        let parts = [sum(|p| &p.receive), sum(|p| &p.admit), sum(|p| &p.judge), sum(|p| &p.transmit)];
        let all = parts.iter().sum::<f64>().max(1.0);
        let [receive, admit, judge, transmit] = parts.map(|part| part / all);
        Stages { receive, admit, judge, transmit }
    }
}

/// Percentiles of a turn's duration.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Turns {
    /// Half of the turns were no longer.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 9,999 of 10,000.
    pub p9999: f64,
    /// The longest.
    pub max: f64,
}

impl Turns {
    fn of(mut nanos: Vec<f64>) -> Turns {
        let mut at = |q| quantile(&mut nanos, q) / 1e3;
        Turns { p50: at(0.5), p99: at(0.99), p9999: at(0.9999), max: at(1.0) }
    }
}

/// Why a run is worth nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The router could not be set up.
    SetUp(String),
    /// It did not do what it should.
    Wrong(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::SetUp(what) => write!(f, "the router could not be set up: {what}"),
            Error::Wrong(what) => write!(f, "the router did not do what it should: {what}"),
        }
    }
}

impl std::error::Error for Error {}

/// Fewest flows at which their memory can be told from the page a measurement may be off.
const TELLING: u64 = 64_000;

/// Measures.
///
/// # Errors
/// When the router cannot be set up, or does not do with every packet what it should.
pub fn run(spec: &Spec) -> Result<Report, Error> {
    map_large_allocations();
    let workers = spec.workers.max(1);
    let flows = deal(spec, workers);
    let entries = spec.workload.entries(flows.iter().map(Flows::len).max().unwrap_or_default());
    let reserved = reserved(entries);
    let router = Router::new(workers, entries, Clock::start()).map_err(Error::SetUp)?;
    let shared = Shared::new(workers, router.seeds.iter().map(|seed| seed.tally()).collect());
    let ways = router.ways;
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let shared = &shared;
        let lanes = router.seeds.into_iter().zip(flows).enumerate();
        let threads: Vec<_> = lanes
            .map(|(index, (seed, flows))| scope.spawn(move || Lane::run(index, seed, (spec, flows, ways), shared)))
            .collect();
        let gone = |_| Err(Error::Wrong("a worker panicked".to_owned()));
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(gone)).collect()
    });
    let mut samples = Vec::with_capacity(workers);
    let mut states = States::default();
    let lost = |error: Error| match error {
        Error::Wrong(what) => Error::Wrong(format!("{what}{}", losses(&router.exporter))),
        other => other,
    };
    for outcome in outcomes {
        let (sample, counted) = outcome.map_err(lost)?;
        samples.push(sample);
        states.add(counted);
    }
    check(&router.exporter, spec.family, states)?;
    Ok(report(spec, samples, reserved))
}

/// Each worker's flows: those it owns, or those its neighbour does.
fn deal(spec: &Spec, workers: usize) -> Vec<Flows> {
    if workers == 1 {
        return vec![Flows::First(spec.flows)];
    }
    let mut numbers = vec![Vec::new(); workers];
    let (proto, port) = if spec.workload == Workload::UdpEstablished { (proto::UDP, 4433) } else { (proto::TCP, 443) };
    for flow in 0..spec.flows {
        let home = owner(&super::flows::tuple(spec.family, proto, port, flow), workers).index();
        let to = if spec.workload == Workload::Handoff { (home + 1) % workers } else { home };
        if let Some(numbers) = numbers.get_mut(to) {
            numbers.push(flow as u32);
        }
    }
    numbers.into_iter().map(Flows::These).collect()
}

/// Octets per entry that a table reserves, beyond what the smallest one does.
fn reserved(entries: u64) -> f64 {
    let size = |more: u64| reserved_bytes(entries.saturating_mul(more) as usize + 16) as f64;
    (size(1) - size(0)) / entries as f64
}

fn report(spec: &Spec, samples: Vec<Samples>, reserved: f64) -> Report {
    let workers = samples.len();
    let rounds = samples.iter().map(|s| s.ours.len()).min().unwrap_or_default();
    // A round's time per packet is that of all workers together.
    let each = |of: fn(&Samples) -> &Vec<f64>| -> Vec<f64> {
        let at = |round| samples.iter().filter_map(|s| of(s).get(round)).sum::<f64>() / workers as f64;
        (0..rounds).map(at).collect()
    };
    let (mut ours, mut floors) = (each(|s| &s.ours), each(|s| &s.floors));
    let mut ratios: Vec<f64> = ours.iter().zip(&floors).map(|(ours, floor)| ours / floor).collect();
    let packets: u64 = samples.iter().map(|s| s.packets).sum();
    let allocated: u64 = samples.iter().map(|s| s.allocations).max().unwrap_or_default();
    let resident = samples.first().map(|s| s.resident as f64 / spec.flows as f64);
    let turns: Vec<f64> = samples.iter().flat_map(|s| s.turns.iter().copied()).collect();
    let counted = |of: fn(&Counted) -> u64| {
        let each: Option<Vec<u64>> = samples.iter().map(|s| s.counted.as_ref().map(of)).collect();
        each.map(|each| each.iter().sum::<u64>() as f64 / packets as f64)
    };
    let (cycles, instructions) = (counted(|c| c.cycles), counted(|c| c.instructions));
    let stages = Stages::of(&samples);
    let attack = samples.into_iter().next().filter(|s| !s.attacked.is_empty()).map(|mut s| {
        let mut ratios: Vec<f64> = s.attacked.iter().zip(&s.quiet).map(|(a, b)| a / b).collect();
        Attack {
            ns_under_attack: median(&mut s.attacked),
            ns_alone: median(&mut s.quiet),
            ratio: median(&mut ratios),
            lost: 0,
        }
    });
    let ns = median(&mut ours);
    let mpps = workers as f64 * 1e3 / ns;
    let told = spec.flows >= TELLING && workers == 1 && spec.workload.entries(spec.flows) == spec.flows;
    Report {
        workload: spec.workload.label(),
        family: spec.family.label(),
        flows: spec.flows,
        workers,
        checksum: if spec.nic_checksum { "nic" } else { "software" },
        ns_per_packet: ns,
        mpps,
        floor_ns_per_packet: median(&mut floors),
        ratio: median(&mut ratios),
        spread: [quantile(&mut ours, 0.1), quantile(&mut ours, 0.9)],
        packets,
        allocations_per_packet: (allocations() != 0).then_some(allocated as f64 / packets as f64),
        bytes_per_flow: resident.filter(|_| told).unwrap_or(reserved),
        reserved_bytes_per_flow: reserved,
        cycles_per_packet: cycles,
        instructions_per_packet: instructions,
        stages,
        connections_per_second: spec.workload.packets_per_connection().map(|packets| mpps * 1e6 / packets),
        attack,
        turn_us: Turns::of(turns),
    }
}

/// What the router published last about packets it dropped.
fn losses(exporter: &Exporter) -> String {
    let total = exporter.total();
    let ports = [PortId(0), PortId(1)];
    let dropped = |reason: &DropReason| ports.iter().map(|port| total.dropped(*port, *reason)).sum::<u64>();
    let reasons = DropReason::ALL.iter().filter(|reason| dropped(reason) != 0);
    reasons.map(|reason| format!("; {} dropped for {}", dropped(reason), reason.label())).collect()
}

/// Compares the router's own numbers with those of the load.
fn check(exporter: &Exporter, family: Family, states: States) -> Result<(), Error> {
    let total = exporter.total();
    for port in [PortId(0), PortId(1)] {
        let balance = total.balance(port);
        if !balance.is_even() || balance.dropped != 0 || balance.held != 0 || balance.punted != 0 {
            return Err(Error::Wrong(format!("port {}: {balance:?}{}", port.0, losses(exporter))));
        }
    }
    let States { new, established, related } = states;
    let wanted = [(CtState::New, new), (CtState::Established, established), (CtState::Related, related)];
    for (state, wanted) in wanted.into_iter().chain([(CtState::Invalid, 0), (CtState::Untracked, 0)]) {
        let counted = total.states(family, state);
        if counted != wanted {
            return Err(Error::Wrong(format!("{counted} packets were {}, not {wanted}", state.label())));
        }
    }
    Ok(())
}
