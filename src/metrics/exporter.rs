//! The meeting point of workers, control plane and scrapes.

use super::groups::{Groups, Layout};
use super::label::{NeighbourState, RouteOrigin};
use super::rules::{RuleGeneration, RuleHistory, RuleSlot};
use super::{Counters, Published};
use crate::net::{Family, MacAddr, Now, PortId, ShardId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// A port as its series name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortLabel {
    /// Name in the configuration.
    pub name: String,
    /// Kind of driver.
    pub driver: &'static str,
    /// Link address.
    pub mac: MacAddr,
    /// MTU in octets.
    pub mtu: u32,
}

/// What an exporter is made from. Fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Ports in the order of their numbers.
    pub ports: Vec<PortLabel>,
    /// For each worker the core it is pinned to, if it is.
    pub cpus: Vec<Option<usize>>,
    /// Names under which helpers are counted.
    pub helpers: Vec<String>,
    /// Put the worker on every series that comes from workers.
    pub per_worker: bool,
    /// Serve node_exporter's names of the table's fill too.
    pub node_exporter: bool,
    /// When the process started.
    pub start: SystemTime,
    /// The workers' clock at `start`, so that their heartbeats can be told in civil time.
    pub start_now: Now,
}

/// What the control plane says. Locked by the control plane and scrapes only.
#[derive(Clone, Debug, Default)]
pub(super) struct Told {
    pub(super) up: Vec<bool>,
    pub(super) mtu: Vec<u32>,
    pub(super) neighbours: [[u64; NeighbourState::COUNT]; 2],
    pub(super) routes: [[u64; RouteOrigin::COUNT]; 2],
    pub(super) config: (String, String),
    pub(super) reload_success: bool,
    pub(super) reload_time: Option<SystemTime>,
    /// Reloads: good, bad.
    pub(super) reloads: [u64; 2],
    pub(super) tsc_hertz: f64,
}

/// Everything that is exported. Shared by the control plane and the endpoint; workers hold only their blocks.
#[derive(Debug)]
pub struct Exporter {
    pub(super) setup: Setup,
    pub(super) layout: Layout,
    pub(super) blocks: Vec<Arc<Published>>,
    rules: Mutex<RuleHistory>,
    told: Mutex<Told>,
}

/// A panic of another holder leaves nothing half-written that matters here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Exporter {
    /// With one block per worker, all zero.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let layout = Layout { ports: setup.ports.len(), workers: setup.cpus.len(), helpers: setup.helpers.len() };
        let len = Groups::new(&layout).len;
        let blocks = (0..layout.workers).map(|_| Arc::new(Published::new(len))).collect();
        let told =
            Told { up: vec![false; layout.ports], mtu: setup.ports.iter().map(|p| p.mtu).collect(), ..Told::default() };
        Exporter { setup, layout, blocks, rules: Mutex::default(), told: Mutex::new(told) }
    }

    /// The layout every worker's [`Counters`] must have.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where that worker publishes; `None` if there is no such worker.
    #[must_use]
    pub fn published(&self, worker: ShardId) -> Option<Arc<Published>> {
        self.blocks.get(worker.index()).map(Arc::clone)
    }

    /// Blocks for a new ruleset, whose slots are shown from now on. See [`RuleGeneration::counters`].
    #[must_use]
    pub fn begin_rules(&self, slots: Vec<RuleSlot>) -> RuleGeneration {
        lock(&self.rules).begin(slots, self.layout.workers)
    }

    /// What each slot of the newest ruleset counted, packets and bytes, earlier rulesets included.
    #[must_use]
    pub fn rules(&self) -> Vec<(RuleSlot, [u64; 2])> {
        lock(&self.rules).sums()
    }

    /// What each worker published last.
    #[must_use]
    pub fn workers(&self) -> Vec<Counters> {
        self.blocks.iter().map(|block| Counters::from_values(&self.layout, block.load())).collect()
    }

    /// The sum of what the workers published last.
    #[must_use]
    pub fn total(&self) -> Counters {
        let mut sum = Counters::new(&self.layout);
        self.workers().iter().for_each(|worker| sum.add(worker));
        sum
    }

    /// The port's link went up or down.
    pub fn set_port_up(&self, port: PortId, up: bool) {
        if let Some(place) = lock(&self.told).up.get_mut(port.index()) {
            *place = up;
        }
    }

    /// The port's MTU changed, in octets.
    pub fn set_port_mtu(&self, port: PortId, mtu: u32) {
        if let Some(place) = lock(&self.told).mtu.get_mut(port.index()) {
            *place = mtu;
        }
    }

    /// Neighbours of a family now, in the order of [`NeighbourState::ALL`].
    pub fn set_neighbours(&self, family: Family, by_state: [u64; NeighbourState::COUNT]) {
        lock(&self.told).neighbours[family.index()] = by_state;
    }

    /// Routes of a family now.
    pub fn set_routes(&self, family: Family, origin: RouteOrigin, routes: u64) {
        lock(&self.told).routes[family.index()][origin.index()] = routes;
    }

    /// Cycles per second of the counter behind [`Counters::cycles`].
    pub fn set_tsc_hertz(&self, hertz: f64) {
        lock(&self.told).tsc_hertz = hertz;
    }

    /// The first configuration came into force: SHA-256 of the file in hexadecimal, and its path.
    pub fn config_loaded(&self, sha256: &str, path: &str, at: SystemTime) {
        let mut told = lock(&self.told);
        told.config = (sha256.to_owned(), path.to_owned());
        (told.reload_success, told.reload_time) = (true, Some(at));
    }

    /// Another configuration came into force.
    pub fn reload_succeeded(&self, sha256: &str, path: &str, at: SystemTime) {
        self.config_loaded(sha256, path, at);
        lock(&self.told).reloads[0] += 1;
    }

    /// A configuration was refused; the one before stays in force.
    pub fn reload_failed(&self) {
        let mut told = lock(&self.told);
        told.reload_success = false;
        told.reloads[1] += 1;
    }

    pub(super) fn told(&self) -> Told {
        lock(&self.told).clone()
    }

    /// Generations of rules somebody still holds.
    #[cfg(test)]
    pub(super) fn generations(&self) -> usize {
        lock(&self.rules).alive()
    }
}
