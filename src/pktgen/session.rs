//! A session: open ports and the workers on them, for one trial after another.

use super::counts::{Latencies, Latency, PortCounts, StreamCounts, latencies};
use super::neighbour::{Own, Target};
use super::plan::{Gateway, Plan, Stream};
use super::tcp::TcpCounts;
use super::template::{HEAD, filler};
use super::worker::{Answer, Job, Parts, Ports, Shared, Trial, serve};
use crate::driver::{LinkState, OpenPort, PortControl};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// For neighbours to answer.
const RESOLVE: Duration = Duration::from_secs(3);

/// For what was learnt to be in force.
const SETTLE: Duration = Duration::from_millis(300);

/// For all workers to be ready before the first packet of a trial.
const PREPARE: Duration = Duration::from_millis(20);

/// Between two looks at the numbers while a trial runs.
const LOOK: Duration = Duration::from_millis(100);

/// For workers to start, and to answer after a trial should have ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// For links to come up.
const LINK: Duration = Duration::from_secs(3);

/// Why a session or trial could not be.
#[derive(Debug)]
pub enum SessionError {
    /// Neighbours that did not answer.
    Unanswered(Vec<String>),
    /// A port has no link.
    Down(String),
    /// The plan cannot be carried out on these ports.
    Plan(String),
    /// A worker failed.
    Worker(String),
    /// Told to stop before anything was measured.
    Stopped,
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionError::Unanswered(list) => write!(f, "no answer from {}", list.join(", ")),
            SessionError::Down(port) => write!(f, "port {port}: the link is down"),
            SessionError::Plan(why) => f.write_str(why),
            SessionError::Worker(why) => write!(f, "a worker failed: {why}"),
            SessionError::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for SessionError {}

/// Numbers while a trial runs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Seconds since its first moment.
    pub seconds: f64,
    /// Packets sent and received so far.
    pub packets: (u64, u64),
    /// Their octets, frame check sequence included.
    pub octets: (u64, u64),
}

/// What became of a stream.
#[derive(Clone, Debug)]
pub struct StreamOutcome {
    /// Its name.
    pub name: String,
    /// Counts.
    pub counts: StreamCounts,
    /// One-way times; round trips if it has replies; from SYN to SYN-ACK of TCP.
    pub latencies: Latencies,
    /// Of TCP: what became of connections, and how long those lived that were completed.
    pub tcp: Option<(TcpCounts, Latencies)>,
}

impl StreamOutcome {
    /// The figures of its times.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        Latency::of(&self.latencies)
    }
}

/// What a trial brought.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// By stream.
    pub streams: Vec<StreamOutcome>,
    /// By port, with its name.
    pub ports: Vec<(String, PortCounts)>,
    /// Seconds in which packets were sent.
    pub seconds: f64,
    /// Numbers over time.
    pub samples: Vec<Progress>,
    /// It was told to stop before its end.
    pub stopped: bool,
}

impl Outcome {
    /// All streams together.
    #[must_use]
    pub fn total(&self) -> StreamCounts {
        let mut all = StreamCounts::default();
        self.streams.iter().for_each(|stream| all.add(&stream.counts));
        all
    }

    fn latencies(&self) -> Option<Latencies> {
        let mut all = latencies()?;
        for stream in &self.streams {
            all.add(&stream.latencies).ok()?;
        }
        Some(all)
    }

    /// The times of all streams together.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        Latency::of(&self.latencies()?)
    }

    /// Within which time how many packets of all streams arrived: nines (1 is 90 %, 2 is 99 %) and nanoseconds, as far
    /// as there are packets to tell.
    #[must_use]
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let Some(all) = self.latencies().filter(|all| !all.is_empty()) else { return Vec::new() };
        let most = (all.len() as f64).log10().min(5.0);
        let steps = (most * 20.0).floor() as u32;
        let at = |step: u32| {
            let nines = f64::from(step) / 20.0;
            (nines, all.value_at_quantile(1.0 - 10f64.powf(-nines)) as f64)
        };
        (0..=steps).map(at).collect()
    }
}

/// Ends a trial early; from a signal, for example.
#[derive(Clone)]
pub struct Stop(Arc<Shared>);

impl Stop {
    /// The trial under way ends its sending now, and later ones do not begin.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// Open ports and the workers on them.
pub struct Session {
    ports: Arc<Ports>,
    shared: Arc<Shared>,
    jobs: Vec<Sender<Job>>,
    answers: Vec<Receiver<Answer>>,
    threads: Vec<JoinHandle<()>>,
    controls: Vec<Box<dyn PortControl>>,
}

impl Session {
    /// Starts the workers, one for each core given, or `workers` that are not pinned.
    ///
    /// # Errors
    /// When a frame of the plan does not fit a port, or a worker does not start.
    pub fn open(open: Vec<OpenPort>, plan: &Plan, workers: usize, cores: &[usize]) -> Result<Session, SessionError> {
        let tcp = plan.streams.iter().any(|stream| matches!(stream.kind, super::plan::Kind::Tcp(_)));
        // Who is told of a queue looks behind one tag and not behind two.
        let deep = |index: usize| plan.ports.get(index).is_some_and(|port| port.vlan.len() > 1);
        if tcp && workers > 1 && open.iter().enumerate().any(|(index, port)| !port.caps.steered || deep(index)) {
            let why =
                "TCP with several workers needs ports that can be told which queue a packet goes to; use one worker";
            return Err(SessionError::Plan(why.to_owned()));
        }
        let ports = Arc::new(ports(&open, plan)?);
        let shared = Arc::new(Shared::default());
        let clock = Instant::now();
        let mut queues: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        let mut controls = Vec::new();
        for port in open {
            if port.queues.len() < workers {
                return Err(SessionError::Plan(format!(
                    "a port has {} queues for {workers} workers",
                    port.queues.len()
                )));
            }
            queues.iter_mut().zip(port.queues).for_each(|(of, seed)| of.push(seed));
            controls.push(port.control);
        }
        let (mut jobs, mut answers, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        for (index, queues) in queues.into_iter().enumerate() {
            let (give, inbox) = bounded(1);
            let (outbox, answer) = bounded(1);
            let parts = Parts {
                index,
                workers,
                core: cores.get(index).copied(),
                queues,
                ports: Arc::clone(&ports),
                shared: Arc::clone(&shared),
                clock,
            };
            let thread = std::thread::Builder::new().name(format!("pktgen {index}"));
            let spawned = thread.spawn(move || serve(parts, &inbox, &outbox));
            threads.push(spawned.map_err(|error| SessionError::Worker(error.to_string()))?);
            jobs.push(give);
            answers.push(answer);
        }
        let session = Session { ports, shared, jobs, answers, threads, controls };
        session.await_answers(PATIENCE)?;
        Ok(session)
    }

    /// The means to end it.
    #[must_use]
    pub fn stopper(&self) -> Stop {
        Stop(Arc::clone(&self.shared))
    }

    fn await_answers(&self, patience: Duration) -> Result<Vec<super::worker::Part>, SessionError> {
        let deadline = Instant::now() + patience;
        let mut parts = Vec::new();
        for answer in &self.answers {
            match answer.recv_deadline(deadline) {
                Ok(Ok(part)) => parts.extend(part),
                Ok(Err(why)) => return Err(SessionError::Worker(why)),
                Err(_) => return Err(SessionError::Worker("it does not answer".to_owned())),
            }
        }
        Ok(parts)
    }

    fn give(&self, job: impl Fn() -> Job) -> Result<(), SessionError> {
        for jobs in &self.jobs {
            jobs.send(job()).map_err(|_| SessionError::Worker("it has ended".to_owned()))?;
        }
        Ok(())
    }

    /// Waits for the links and finds the link addresses of all next hops.
    ///
    /// # Errors
    /// Names the links that stayed down and the neighbours that did not answer.
    pub fn resolve(&self) -> Result<(), SessionError> {
        let deadline = Instant::now() + LINK;
        for (control, plan) in self.controls.iter().zip(&self.ports.plans) {
            while control.link() != LinkState::Up {
                if Instant::now() > deadline {
                    return Err(SessionError::Down(plan.name.clone()));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        let until = Instant::now() + RESOLVE;
        self.give(|| Job::Resolve(until))?;
        self.await_answers(PATIENCE)?;
        let silent = self.ports.targets.iter().filter(|target| target.mac().is_none());
        let silent: Vec<_> = silent
            .map(|t| {
                let port = self.ports.plans.get(t.port).map_or("", |plan| plan.name.as_str());
                format!("{} on port {port}", t.address.to_ip(t.family))
            })
            .collect();
        match (silent.is_empty(), self.shared.stop.load(Ordering::Relaxed)) {
            (true, _) => Ok(()),
            (false, true) => Err(SessionError::Stopped),
            (false, false) => Err(SessionError::Unanswered(silent)),
        }
    }

    /// Sends a packet to every address behind the streams, so that nothing has to be asked for during a trial.
    ///
    /// # Errors
    /// When a worker has ended.
    pub fn learn(&self, trial: &Trial) -> Result<(), SessionError> {
        self.give(|| Job::Learn(trial.clone()))?;
        self.await_answers(4 * PATIENCE)?;
        std::thread::sleep(SETTLE);
        Ok(())
    }

    /// Carries out one trial; `watch` is told the numbers now and then.
    ///
    /// # Errors
    /// When a worker fails, or a stop was asked for before it began.
    pub fn run(&self, trial: &Trial, watch: &mut dyn FnMut(&Progress)) -> Result<Outcome, SessionError> {
        if self.shared.stop.load(Ordering::Relaxed) {
            return Err(SessionError::Stopped);
        }
        let shared = &self.shared;
        shared.tx.iter().chain(&shared.rx).for_each(|cell| cell.store(0, Ordering::Relaxed));
        shared.sending.store(self.jobs.len(), Ordering::Release);
        let start = Instant::now() + PREPARE;
        self.give(|| Job::Run(trial.clone(), start))?;
        let mut samples = Vec::new();
        std::thread::sleep(PREPARE);
        while shared.sending.load(Ordering::Acquire) > 0 {
            std::thread::sleep(LOOK);
            let load = |cell: &std::sync::atomic::AtomicU64| cell.load(Ordering::Relaxed);
            let progress = Progress {
                seconds: start.elapsed().as_secs_f64(),
                packets: (load(&shared.tx[0]), load(&shared.rx[0])),
                octets: (load(&shared.tx[1]), load(&shared.rx[1])),
            };
            samples.push(progress);
            watch(&progress);
            if self.threads.iter().any(JoinHandle::is_finished)
                || progress.seconds > (trial.limit.time + PATIENCE).as_secs_f64()
            {
                return Err(SessionError::Worker("it ended or hangs".to_owned()));
            }
        }
        let parts = self.await_answers(trial.drain + PATIENCE)?;
        self.outcome(&trial.streams, parts, samples)
    }

    fn outcome(
        &self,
        streams: &[Stream],
        parts: Vec<super::worker::Part>,
        samples: Vec<Progress>,
    ) -> Result<Outcome, SessionError> {
        let no_room = || SessionError::Worker("no room for a histogram".to_owned());
        let mut outcome = Outcome {
            streams: Vec::with_capacity(streams.len()),
            ports: self.ports.plans.iter().map(|plan| (plan.name.clone(), PortCounts::default())).collect(),
            seconds: 0.0,
            samples,
            stopped: self.shared.stop.load(Ordering::Relaxed),
        };
        for stream in streams {
            outcome.streams.push(StreamOutcome {
                name: stream.name.clone(),
                counts: StreamCounts::default(),
                latencies: latencies().ok_or_else(no_room)?,
                tcp: None,
            });
        }
        for part in parts {
            outcome.seconds = outcome.seconds.max(part.seconds);
            for (stream, part) in outcome.streams.iter_mut().zip(part.streams) {
                stream.counts.add(&part.counts);
                stream.latencies.add(&part.latency).map_err(|_| no_room())?;
                match (&mut stream.tcp, part.tcp) {
                    (Some((counts, lives)), Some((more, times))) => {
                        counts.add(&more);
                        lives.add(&times).map_err(|_| no_room())?;
                    }
                    (none @ None, tcp) => *none = tcp,
                    (Some(_), None) => {}
                }
            }
            outcome.ports.iter_mut().zip(part.ports).for_each(|((_, all), counts)| all.add(&counts));
        }
        Ok(outcome)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.jobs.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What the workers need to know of the ports: who is to be asked for, what is answered for.
fn ports(open: &[OpenPort], plan: &Plan) -> Result<Ports, SessionError> {
    let largest = plan.streams.iter().flat_map(|stream| &stream.sizes).copied().max().unwrap_or(64);
    let tx_frame = usize::from(largest).max(HEAD + 4);
    let mut own: Vec<Own> = vec![Own::default(); open.len()];
    for (own, plan) in own.iter_mut().zip(&plan.ports) {
        plan.addresses.iter().for_each(|(address, family)| own.add(*family, *address, 1));
    }
    let mut targets: Vec<Target> = Vec::new();
    for stream in &plan.streams {
        let oversize = open.get(stream.from).filter(|port| usize::from(largest) > port.info.mtu + 14 + 4);
        if let (Some(port), Some(plan)) = (oversize, plan.ports.get(stream.from)) {
            return Err(SessionError::Plan(format!(
                "stream {}: frames of {largest} octets do not fit port {}, whose mtu is {}",
                stream.name, plan.name, port.info.mtu
            )));
        }
        let (src, dst) = (stream.space.src, stream.space.dst);
        for (port, near, far) in [(stream.from, src, dst.0), (stream.to, dst, src.0)] {
            if let Some(own) = own.get_mut(port) {
                own.add(stream.family, near.0, near.1);
            }
            let Some(here) = plan.ports.get(port) else { continue };
            let address = match here.gateways[stream.family.index()] {
                Some(Gateway::Mac(_)) => continue,
                Some(Gateway::Ip(address)) => address,
                None => far,
            };
            let known = targets.iter().any(|t| (t.port, t.family, t.address) == (port, stream.family, address));
            if !known {
                let asker = here.address(stream.family).unwrap_or(near.0);
                targets.push(Target::new(port, stream.family, address, asker));
            }
        }
    }
    Ok(Ports {
        plans: plan.ports.clone(),
        macs: open.iter().map(|port| port.info.mac).collect(),
        own,
        targets,
        owner: plan.owner,
        rx_frame: open.iter().map(|port| port.caps.max_frame).max().unwrap_or(2048),
        tx_frame,
        filler: Arc::from(filler(tx_frame.max(open.iter().map(|port| port.info.mtu + 64).max().unwrap_or(0)))),
    })
}
