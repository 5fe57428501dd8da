//! The control thread: starts the workers, answers what they ask, watches the links, reloads, stops.

use super::neighbour::{NeighbourControl, Output};
use super::ports::{core_of, facts};
use super::snapshot::fib;
use super::{CompileError, PortFacts, compile, needs_restart, rule_slots, sizes};
use crate::config::Settings;
use crate::config::settings::Idle;
use crate::driver::{LinkState, OpenError, OpenPort, PortControl};
use crate::metrics::label::RouteOrigin;
use crate::metrics::{Counters, Exporter, RuleGeneration};
use crate::net::{Addr, Family, MacAddr, Now, PortId, ShardId};
use crate::route::{NeighbourConfig, NeighbourKey};
use crate::shard::{ShardConfig, Snapshot};
use crate::steer::{Directory, MeshError, RingConfig, mesh};
use crate::worker::{self, Bell, Calls, Clock, Event, Handle, Message, Plan, Request, Wiring, mailbox, spawn};
use crossbeam_channel::{Receiver, bounded, select, unbounded};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use tracing::{error, info, warn};

/// Frames the workers may have given to the control plane at once.
const PUNTS: usize = 1024;

/// Other questions at once.
const ASKS: usize = 4096;

/// Between two runs of the timers.
const TICK: Duration = Duration::from_millis(100);

/// Ticks between two looks at the links, and between two updates of the gauges.
const LINKS_EVERY: u32 = 2;
const GAUGES_EVERY: u32 = 5;

/// Ticks between two attempts to open a device that is gone.
const REOPEN_EVERY: u32 = 5;

/// Until all workers run: they reserve their memory.
const START: Duration = Duration::from_secs(30);

/// For workers to send what they have, for frames between them to arrive, and for their threads to end. Together
/// less than the two seconds a stop may take.
const DRAIN: Duration = Duration::from_millis(1000);
const SETTLE: Duration = Duration::from_millis(20);
const END: Duration = Duration::from_millis(900);

/// What the control thread is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Read the configuration again.
    Reload,
    /// Drain and end.
    Stop,
}

/// A configuration and where it came from.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// What it says.
    pub settings: Settings,
    /// SHA-256 of its text in hexadecimal.
    pub sha256: String,
    /// Its path.
    pub path: String,
    /// Warnings about it, rendered; empty if there are none.
    pub warnings: String,
}

/// Reads the configuration anew; an error is the rendered list of mistakes.
pub type Loader = Box<dyn FnMut() -> Result<Configuration, String> + Send>;

/// What a run is made from.
pub struct Parts {
    /// The configuration.
    pub configuration: Configuration,
    /// Its ports, opened by [`port_spec`](super::port_spec), in order.
    pub ports: Vec<OpenPort>,
    /// Where numbers are published.
    pub exporter: Arc<Exporter>,
    /// The clock.
    pub clock: Clock,
    /// Gives secrets.
    pub secret: Box<dyn FnMut() -> u64 + Send>,
    /// For reloads.
    pub loader: Loader,
}

/// Why a run could not start.
#[derive(Debug)]
pub enum StartError {
    /// The settings could not be compiled.
    Compile(CompileError),
    /// No hand-off rings.
    Mesh(MeshError),
    /// The system refused a thread or a descriptor.
    System(io::Error),
    /// A port has fewer queues than there are workers.
    Queues(String),
    /// A worker ended, or did not come up.
    Worker(Failure),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Compile(e) => e.fmt(f),
            StartError::Mesh(e) => e.fmt(f),
            StartError::System(e) => write!(f, "could not start a worker: {e}"),
            StartError::Queues(port) => write!(f, "port {port} has not a queue for every worker"),
            StartError::Worker(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for StartError {}

/// A worker ended that was not told to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which one; `None` if it cannot be told.
    pub worker: Option<ShardId>,
    /// Why.
    pub reason: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.worker {
            Some(id) => write!(f, "worker {} ended: {}", id.0, self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for Failure {}

/// An open port as the control plane sees it.
struct Port {
    id: PortId,
    name: String,
    control: Box<dyn PortControl>,
    link: LinkState,
    /// Ticks since the last attempt to reopen it.
    waited: u32,
    /// The complaint about the last attempt, so that each is logged once.
    complaint: String,
}

/// A worker as the control plane sees it.
struct Member {
    handle: Handle,
    /// It took the last message; a change is logged.
    listens: bool,
}

/// The control plane of a running router.
pub struct Plane {
    settings: Settings,
    snapshot: Arc<Snapshot>,
    facts: Vec<PortFacts>,
    ports: Vec<Port>,
    neighbours: NeighbourControl,
    members: Vec<Member>,
    threads: Vec<JoinHandle<()>>,
    punts: Receiver<Request>,
    asks: Receiver<Request>,
    events: Receiver<Event>,
    exporter: Arc<Exporter>,
    clock: Clock,
    loader: Loader,
    ticks: u32,
    /// Scratch: empty between calls.
    out: Vec<Output>,
}

impl Plane {
    /// Starts the workers and waits until all of them run.
    ///
    /// # Errors
    /// When a part cannot be made; workers already started end by themselves.
    pub fn start(parts: Parts) -> Result<Plane, StartError> {
        let Parts { configuration, ports, exporter, clock, mut secret, loader } = parts;
        let settings = configuration.settings;
        let facts: Vec<PortFacts> = ports.iter().map(facts).collect();
        let snapshot = Arc::new(compile(&settings, &facts, 1).map_err(StartError::Compile)?);
        let rules = exporter.begin_rules(rule_slots(&snapshot.ruleset));
        let workers = usize::from(settings.workers.count).max(1);
        let largest = ports.iter().map(|p| p.caps.max_frame).max().unwrap_or_default();
        let mut sizes = sizes(&settings, largest);
        let mut pools: Vec<_> = ports.iter().map(|p| p.control.pools()).find(|p| !p.is_empty()).unwrap_or_default();
        if let Some(pool) = pools.first() {
            sizes.pool = pool.config();
        }
        let mut pools = pools.drain(..);
        let links = mesh(workers, RingConfig { bytes: sizes.ring, pool: sizes.pool }).map_err(StartError::Mesh)?;
        let directory = Arc::new(Directory::new(settings.conntrack.expect_max as usize));
        let bells = (0..workers).map(|_| Bell::new().map(Arc::new)).collect::<io::Result<Vec<_>>>();
        let bells: Arc<[Arc<Bell>]> = bells.map_err(StartError::System)?.into();
        let (punt, punts) = bounded(PUNTS);
        let (ask, asks) = bounded(ASKS);
        let (say, events) = unbounded();

        let mut controls = Vec::with_capacity(ports.len());
        let mut queues: Vec<_> = (0..workers).map(|_| Vec::with_capacity(ports.len())).collect();
        for (settings, port) in settings.ports.iter().zip(ports) {
            if port.queues.len() < workers {
                return Err(StartError::Queues(settings.name.clone()));
            }
            for (of_worker, queue) in queues.iter_mut().zip(port.queues) {
                of_worker.push(queue);
            }
            controls.push(Port {
                id: port.id,
                name: settings.name.clone(),
                control: port.control,
                link: port.info.link,
                waited: 0,
                complaint: String::new(),
            });
        }

        let (mut members, mut threads) = (Vec::with_capacity(workers), Vec::with_capacity(workers));
        for (links, queues) in links.into_iter().zip(queues) {
            let id = links.me;
            let (handle, inbox) =
                bells.get(id.index()).map(|bell| mailbox(id, Arc::clone(bell))).ok_or_else(unknown)?;
            let plan = Plan {
                shard: ShardConfig {
                    id,
                    shards: workers,
                    entries: sizes.entries,
                    seed: std::array::from_fn(|_| secret()),
                    neighbours: sizes.neighbours,
                    fragments: sizes.fragments,
                },
                pool: sizes.pool,
                core: core_of(&settings, id.index()),
                idle: match settings.workers.idle {
                    Idle::Sleep => worker::Idle::Sleep,
                    Idle::Spin => worker::Idle::Spin,
                },
                hugepages: super::ports::huge_pages(&settings),
            };
            let wiring = Wiring {
                snapshot: Arc::clone(&snapshot),
                rules: rules.counters(id).ok_or_else(unknown)?,
                counters: Counters::new(exporter.layout()),
                published: exporter.published(id).ok_or_else(unknown)?,
                queues,
                pool: pools.next(),
                links,
                bells: Arc::clone(&bells),
                directory: Arc::clone(&directory),
                inbox,
                calls: Calls { punts: punt.clone(), asks: ask.clone() },
                events: say.clone(),
                clock,
            };
            let thread = spawn(plan, wiring).map_err(StartError::System)?;
            threads.push(thread);
            members.push(Member { handle, listens: true });
        }

        let mut out = Vec::new();
        let neighbours = NeighbourControl::new(
            Arc::new(fib(&settings, &facts).map_err(StartError::Compile)?),
            neighbour_config(&settings, secret()),
            &fixed_neighbours(&settings),
            clock.now(),
            &mut out,
        );
        let mut plane = Plane {
            settings,
            snapshot,
            facts,
            ports: controls,
            neighbours,
            members,
            threads,
            punts,
            asks,
            events,
            exporter,
            clock,
            loader,
            ticks: 0,
            out,
        };
        plane.await_workers().map_err(StartError::Worker)?;
        plane.exporter.config_loaded(&configuration.sha256, &configuration.path, SystemTime::now());
        plane.first_links();
        plane.deliver();
        plane.gauges();
        Ok(plane)
    }

    /// Runs until it is told to stop, and stops.
    ///
    /// # Errors
    /// When a worker ends unasked; the others are told to end then.
    pub fn run(&mut self, commands: &Receiver<Command>) -> Result<(), Failure> {
        let mut due = Instant::now() + TICK;
        loop {
            let now = self.clock.now();
            select! {
                recv(self.events) -> event => if let Ok(event) = event && let Err(failure) = self.heard(event) {
                    self.abandon();
                    return Err(failure);
                },
                recv(commands) -> command => match command {
                    Ok(Command::Reload) => { self.reload(); }
                    // Nobody is left to say anything else.
                    Ok(Command::Stop) | Err(_) => return self.stop(),
                },
                recv(self.asks) -> ask => if let Ok(request) = ask { self.answer(request, now) },
                recv(self.punts) -> punt => if let Ok(request) = punt { self.answer(request, now) },
                default(due.saturating_duration_since(Instant::now())) => {}
            }
            if Instant::now() >= due {
                due = Instant::now() + TICK;
                self.tick();
            }
        }
    }

    /// The configuration in force.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Reads the configuration again and puts it in force, if it is good and a running router can take it.
    /// Gives whether it did.
    pub fn reload(&mut self) -> bool {
        match self.try_reload() {
            Ok(configuration) => {
                if !configuration.warnings.is_empty() {
                    warn!("{}", configuration.warnings.trim_end());
                }
                info!("configuration {} is in force (epoch {})", configuration.path, self.snapshot.epoch);
                self.exporter.reload_succeeded(&configuration.sha256, &configuration.path, SystemTime::now());
                true
            }
            Err(reason) => {
                error!("the configuration was not reloaded, the one before stays in force: {}", reason.trim());
                self.exporter.reload_failed();
                false
            }
        }
    }

    fn try_reload(&mut self) -> Result<Configuration, String> {
        // What the loader renders begins on a line of its own.
        let configuration = (self.loader)().map_err(|mistakes| format!("\n{mistakes}"))?;
        let keys = needs_restart(&self.settings, &configuration.settings);
        if !keys.is_empty() {
            return Err(format!("a restart is needed to change {}", keys.join(", ")));
        }
        self.install(configuration.settings.clone()).map_err(|error| error.to_string())?;
        Ok(configuration)
    }

    /// Compiles settings and has every worker go over to them.
    fn install(&mut self, settings: Settings) -> Result<(), CompileError> {
        let snapshot = Arc::new(compile(&settings, &self.facts, self.snapshot.epoch + 1)?);
        let fib = fib(&settings, &self.facts)?;
        let rules = self.exporter.begin_rules(rule_slots(&snapshot.ruleset));
        self.snapshot = snapshot;
        self.settings = settings;
        self.send_snapshot(&rules);
        let now = self.clock.now();
        self.neighbours.reload(Arc::new(fib), &fixed_neighbours(&self.settings), now, &mut self.out);
        self.deliver();
        self.gauges();
        Ok(())
    }

    fn send_snapshot(&mut self, rules: &RuleGeneration) {
        for index in 0..self.members.len() {
            let snapshot = Arc::clone(&self.snapshot);
            if let Some(counters) = rules.counters(ShardId(index as u8)) {
                self.post(index, Message::Install(snapshot, counters));
            }
        }
    }

    fn await_workers(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + START;
        for _ in 0..self.members.len() {
            let Ok(event) = self.events.recv_deadline(deadline) else {
                self.abandon();
                return Err(Failure { worker: None, reason: "the workers did not come up in time".to_owned() });
            };
            if let Err(failure) = self.heard(event) {
                self.abandon();
                return Err(failure);
            }
        }
        Ok(())
    }

    /// News from a worker.
    fn heard(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Started(_) | Event::Drained(_) => Ok(()),
            Event::NotPinned(id, core) => {
                warn!("worker {} could not be pinned to core {core}; the scheduler places it", id.0);
                Ok(())
            }
            Event::Ended(id, reason) => {
                let reason = reason.unwrap_or_else(|| "nobody told it to".to_owned());
                Err(Failure { worker: Some(id), reason })
            }
        }
    }

    /// A question from a worker.
    fn answer(&mut self, request: Request, now: Now) {
        match request {
            Request::Punt { port, frame } => self.neighbours.on_frame(port, &frame, now, &mut self.out),
            Request::Resolve(key) => self.neighbours.on_resolve(key, now, &mut self.out),
            Request::Used(keys) => keys.into_iter().for_each(|key| self.neighbours.on_used(key, now)),
        }
        self.deliver();
    }

    fn tick(&mut self) {
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(LINKS_EVERY) {
            self.look_at_links();
        }
        self.neighbours.tick(self.clock.now(), &mut self.out);
        self.deliver();
        if self.ticks.is_multiple_of(GAUGES_EVERY) {
            self.gauges();
        }
    }

    /// Carries out what neighbours want done.
    fn deliver(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        for output in out.drain(..) {
            match output {
                // Any worker sends; the first always exists.
                Output::Send { port, frame } => self.post(0, Message::Send { port, frame: frame.into() }),
                Output::Event(event) => self.post_all(|| Message::Neighbour(event)),
            }
        }
        self.out = out;
    }

    fn post_all(&mut self, message: impl Fn() -> Message) {
        (0..self.members.len()).for_each(|index| self.post(index, message()));
    }

    fn post(&mut self, index: usize, message: Message) {
        let Some(member) = self.members.get_mut(index) else { return };
        let taken = member.handle.post(message);
        if taken != member.listens {
            member.listens = taken;
            if taken {
                info!("worker {index} takes messages again");
            } else {
                error!("worker {index} takes no messages");
            }
        }
    }

    fn first_links(&mut self) {
        let now = self.clock.now();
        for port in &self.ports {
            let up = port.link == LinkState::Up;
            self.exporter.set_port_up(port.id, up);
            if !up {
                self.neighbours.on_link(port.id, false, now, &mut self.out);
            }
        }
    }

    /// Notices links and devices that changed, and opens devices that came back.
    fn look_at_links(&mut self) {
        let now = self.clock.now();
        let mut changed = false;
        for (port, facts) in self.ports.iter_mut().zip(&mut self.facts) {
            let link = port.control.link();
            if link != port.link {
                match link {
                    LinkState::Up => info!("port {}: the link is up", port.name),
                    LinkState::Down => warn!("port {}: the link is down", port.name),
                    LinkState::Gone => warn!("port {}: the device is gone; waiting for it to come back", port.name),
                }
                let up = link == LinkState::Up;
                if up != (port.link == LinkState::Up) {
                    self.exporter.set_port_up(port.id, up);
                    self.neighbours.on_link(port.id, up, now, &mut self.out);
                }
                port.link = link;
                port.waited = REOPEN_EVERY;
            }
            if link == LinkState::Gone {
                changed |= reopen(port, facts);
            } else {
                changed |= resized(port, facts);
            }
        }
        if changed && let Err(error) = self.install(self.settings.clone()) {
            error!("a device changed and does not fit the configuration any more: {error}");
        }
    }

    /// Tells the exporter what it cannot count.
    fn gauges(&self) {
        let counts = self.neighbours.table().counts();
        for family in Family::ALL {
            if let Some(counts) = counts.get(family.index()) {
                self.exporter.set_neighbours(family, counts.map(u64::from));
            }
            let routes = self.snapshot.fib.counts(family);
            self.exporter.set_routes(family, RouteOrigin::Connected, u64::from(routes.connected));
            self.exporter.set_routes(family, RouteOrigin::Static, u64::from(routes.fixed));
        }
        for (port, facts) in self.ports.iter().zip(&self.facts) {
            self.exporter.set_port_mtu(port.id, facts.mtu);
        }
    }

    /// Lets the workers send what they have, and ends them.
    fn stop(&mut self) -> Result<(), Failure> {
        info!("stopping");
        let count = self.members.len();
        self.post_all(|| Message::Drain);
        let drained = self.listen(DRAIN, count, |event| matches!(event, Event::Drained(_)))?;
        if drained < count {
            warn!("{} of {count} workers could not send everything in time", count - drained);
        }
        // What one worker handed over last is now in another's ring.
        std::thread::sleep(SETTLE);
        self.post_all(|| Message::Stop);
        let ended = self.listen(END, count, |event| matches!(event, Event::Ended(_, None)))?;
        if ended < count {
            return Err(Failure { worker: None, reason: "a worker did not end in time".to_owned() });
        }
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
        Ok(())
    }

    /// Listens to the workers until `count` events were of the kind wanted, or time is up. Gives how many were.
    fn listen(&mut self, time: Duration, count: usize, wanted: impl Fn(&Event) -> bool) -> Result<usize, Failure> {
        let deadline = Instant::now() + time;
        let mut seen = 0;
        while seen < count {
            let Ok(event) = self.events.recv_deadline(deadline) else { break };
            if wanted(&event) {
                seen += 1;
            } else {
                self.heard(event)?;
            }
        }
        Ok(seen)
    }

    /// One worker is dead: the others end as they are, for half a router is none.
    fn abandon(&mut self) {
        for member in &self.members {
            // The dead one does not take it.
            let _ = member.handle.post(Message::Stop);
        }
    }
}

/// Notices that the largest packet of a device has another size. Gives whether it has.
fn resized(port: &Port, facts: &mut PortFacts) -> bool {
    let Some(mtu) = port.control.mtu().and_then(|mtu| u32::try_from(mtu).ok()) else { return false };
    let changed = mtu != facts.mtu;
    if changed {
        info!("port {}: the mtu is {mtu} now, it was {}", port.name, facts.mtu);
        facts.mtu = mtu;
    }
    changed
}

/// Tries to open a device that is gone, now and then. Gives whether it came back other than it was.
fn reopen(port: &mut Port, facts: &mut PortFacts) -> bool {
    port.waited += 1;
    if port.waited < REOPEN_EVERY {
        return false;
    }
    port.waited = 0;
    match port.control.reopen() {
        Ok(back) => {
            info!("port {}: the device is back", port.name);
            port.complaint.clear();
            let before = *facts;
            facts.mac = back.mac;
            facts.mtu = u32::try_from(back.mtu).unwrap_or(u32::MAX);
            *facts != before
        }
        Err(OpenError::NoDevice { .. }) => false,
        Err(error) => {
            let complaint = error.to_string();
            if complaint != port.complaint {
                warn!("port {}: the device is there again but cannot be opened: {complaint}", port.name);
                port.complaint = complaint;
            }
            false
        }
    }
}

fn neighbour_config(settings: &Settings, seed: u64) -> NeighbourConfig {
    let neigh = &settings.neigh;
    NeighbourConfig {
        base_reachable_ms: u64::from(neigh.base_reachable_time),
        retrans_ms: u64::from(neigh.retrans_time),
        mcast_solicit: u32::from(neigh.mcast_solicit),
        ucast_solicit: u32::from(neigh.ucast_solicit),
        capacity: neigh.gc_thresh3 as usize,
        // The generator it starts stands still at 0.
        seed: seed.max(1),
        ..NeighbourConfig::default()
    }
}

/// The neighbours a configuration names for good.
#[must_use]
pub fn fixed_neighbours(settings: &Settings) -> Vec<(NeighbourKey, MacAddr)> {
    let fixed = |n: &crate::config::settings::Neighbour| {
        let key = NeighbourKey { port: n.dev, family: Family::from(n.ip), addr: Addr::from(n.ip) };
        (key, n.lladdr)
    };
    settings.neighbours.iter().map(fixed).collect()
}

/// A part of the exporter or the bells that was made for these workers is missing, which cannot be.
fn unknown() -> StartError {
    StartError::System(io::Error::other("the exporter was made for fewer workers"))
}
