//! flowgate's shard hosted by capsule: the runtime, ports and buffers are capsule's, the router is a library.
//!
//! `flowgate-capsule ROUTER.yaml RUNTIME.toml`: the first file is flowgate's configuration, the second capsule's. Ports have the
//! same names in both; each core capsule gives its ports to is one worker. There is no control plane here: next hops are the
//! configuration's fixed neighbours, and what the router itself would answer is counted as dropped. At the end it
//! prints what became of the packets.

mod host;

use anyhow::{Context, Result, bail, ensure};
use capsule::Runtime;
use capsule::config::RuntimeConfig;
use flowgate::config;
use flowgate::metrics::Counters;
use flowgate::net::{CtState, DropReason, Family, PortId};
use host::{Host, Plan};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::{env, fs};

fn main() -> Result<()> {
    let files: Vec<String> = env::args().skip(1).collect();
    let [router, runtime] = files.as_slice() else { bail!("usage: flowgate-capsule ROUTER.yaml RUNTIME.toml") };
    let read = |path: &str| fs::read_to_string(Path::new(path)).with_context(|| format!("cannot read {path}"));
    let (settings, mistakes) = config::parse(router, &read(router)?);
    let Some(settings) = settings else { bail!("{}", mistakes.render(false)) };
    let runtime: RuntimeConfig = toml::from_str(&read(runtime)?).with_context(|| format!("{runtime} is no good"))?;

    // Without an order of its own, a core is known by how it prints.
    let mut cores = Vec::new();
    for port in &runtime.ports {
        ensure!(settings.ports.iter().any(|p| p.name == port.name), "port {} is not in {router}", port.name);
        let own: BTreeSet<String> = port.cores.iter().map(|core| format!("{core:?}")).collect();
        ensure!(cores.is_empty() || cores == own.iter().cloned().collect::<Vec<_>>(), "every core needs every port");
        cores = own.into_iter().collect();
    }
    for port in &settings.ports {
        ensure!(runtime.ports.iter().any(|p| p.name == port.name), "the runtime has no port {}", port.name);
    }
    ensure!(
        cores.len() == usize::from(settings.workers.count),
        "{router} asks for {} workers, the runtime has {} cores",
        settings.workers.count,
        cores.len()
    );
    let numbers: Vec<usize> =
        cores.iter().map(|core| core.trim_start_matches("core").parse()).collect::<Result<_, _>>()?;

    let plan = Arc::new(Plan::new(settings)?);
    let mut hosted = Runtime::build(runtime)?;
    for (core, links) in numbers.into_iter().zip(plan.mesh()?) {
        // Capsule asks that what it takes to the core may be shared, which a ring's end may not.
        let (plan, links) = (Arc::clone(&plan), Mutex::new(links));
        hosted.add_pipeline_to_core(core, move |queues| {
            Host::new(&plan, links.into_inner().unwrap_or_else(PoisonError::into_inner), queues)
        })?;
    }
    hosted.execute()?;
    drop(hosted);
    report(&plan);
    Ok(())
}

/// What became of the packets, as `key=value` words.
fn report(plan: &Plan) {
    let counters = plan.counters();
    let state = |state| Family::ALL.iter().map(|family| counters.states(*family, state)).sum::<u64>();
    println!(
        "states new={} established={} related={} invalid={} untracked={}",
        state(CtState::New),
        state(CtState::Established),
        state(CtState::Related),
        state(CtState::Invalid),
        state(CtState::Untracked),
    );
    for (index, port) in (0u8..).zip(plan.ports()) {
        print_port(&counters, PortId(index), port);
    }
}

fn print_port(counters: &Counters, id: PortId, name: &str) {
    let balance = counters.balance(id);
    print!(
        "port {name} received={} forwarded={} punted={} held={} dropped={}",
        balance.received, balance.forwarded, balance.punted, balance.held, balance.dropped
    );
    for reason in DropReason::ALL {
        let packets = counters.dropped(id, *reason);
        if packets != 0 {
            print!(" {}={packets}", reason.label());
        }
    }
    println!();
}
