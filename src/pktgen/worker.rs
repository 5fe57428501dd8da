//! One worker: its queue of every port, and the loop that sends and receives.

mod connections;

use super::counts::{Latencies, PortCounts, StreamCounts};
use super::neighbour::{self, Heard, Own, Target};
use super::pace::{Bucket, Share};
use super::pick::Picker;
use super::plan::{Kind, Limit, PortPlan, Stream, mean_size};
use super::receive::{Receiver, Receivers, Taken, is_icmp_error};
use super::send::{BURST, Out, Sender, Tag};
use super::signature::{Purpose, Secret, Signature};
use super::tags::Tags;
use super::tcp::TcpCounts;
use super::template::Template;
use crate::driver::{QueuePair, QueueSeed, QueueStats};
use crate::frame::{Burst, Frame, Pool, PoolConfig};
use crate::net::{Addr, Family, L4, MacAddr, Tuple};
use crate::wire::Parsed;
use connections::Connections;
use crossbeam_channel::{Receiver as Inbox, Sender as Outbox, TryRecvError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Buffers for sending and for receiving.
const TX_BUFFERS: usize = 4096;
const RX_BUFFERS: usize = 1024;
const SEGMENTS: usize = 4096;

/// Frames fetched at once.
const RX_BURST: usize = 64;

/// Nanoseconds between two publications of the numbers that are shown while it runs.
const PUBLISH_EVERY: u64 = 50_000_000;

/// Between two questions for the same neighbour.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Most bursts received after the drain: those of the deepest rings, and no line that never falls silent.
const LATE: u32 = 1024;

/// Packets of one stream sent so that whoever is in between learns the addresses behind it.
const LEARNING: u32 = 1024;

/// Flows made known before a trial at most: at the pace of learning, half a minute.
const PRIMED: u32 = 1 << 20;

/// What is known of the ports, the same for all workers.
pub(super) struct Ports {
    pub(super) plans: Vec<PortPlan>,
    /// Link address of each port.
    pub(super) macs: Vec<MacAddr>,
    pub(super) own: Vec<Own>,
    pub(super) targets: Vec<Target>,
    /// The worker whose queue gets the packets of a tuple, of so many workers.
    pub(super) owner: fn(&Tuple, usize) -> usize,
    /// Largest frame a port delivers, and the largest that is sent.
    pub(super) rx_frame: usize,
    pub(super) tx_frame: usize,
    pub(super) filler: Arc<[u8]>,
}

impl Ports {
    /// The link address to which a stream's packets are sent from a port towards `remote`.
    pub(super) fn next_hop(&self, port: usize, family: Family, remote: Addr) -> Option<MacAddr> {
        let address = match self.plans.get(port)?.gateways[family.index()] {
            Some(super::plan::Gateway::Mac(mac)) => return Some(mac),
            Some(super::plan::Gateway::Ip(address)) => address,
            None => remote,
        };
        self.targets.iter().find(|t| t.port == port && t.family == family && t.address == address)?.mac()
    }
}

/// What the workers of a session tell one another and whoever watches.
#[derive(Default)]
pub(super) struct Shared {
    /// End what is being done.
    pub(super) stop: AtomicBool,
    /// Workers that still send.
    pub(super) sending: AtomicUsize,
    /// Packets sent and received so far, and their octets.
    pub(super) tx: [AtomicU64; 2],
    pub(super) rx: [AtomicU64; 2],
}

/// One measurement.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What is sent.
    pub streams: Arc<[Stream]>,
    /// When it ends.
    pub limit: Limit,
    /// How long is received after the last packet was sent.
    pub drain: Duration,
    /// Of everything chosen at random.
    pub seed: u64,
}

/// What a worker is told.
pub(super) enum Job {
    /// Ask for the neighbours until all have answered or the time is over.
    Resolve(Instant),
    /// Send one packet to each address behind each stream.
    Learn(Trial),
    /// Measure, from that moment on.
    Run(Trial, Instant),
}

/// What one worker counted in a trial.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) streams: Vec<StreamPart>,
    pub(super) ports: Vec<PortCounts>,
    /// Seconds from the first moment of the trial until this worker had sent its last packet.
    pub(super) seconds: f64,
}

/// Of one stream: counts, times, and of TCP what became of connections and how long they lived.
#[derive(Debug)]
pub(super) struct StreamPart {
    pub(super) counts: StreamCounts,
    pub(super) latency: Latencies,
    pub(super) tcp: Option<(TcpCounts, Latencies)>,
}

/// What a worker answers.
pub(super) type Answer = Result<Option<Part>, String>;

/// A worker on its thread.
pub(super) struct Worker {
    index: usize,
    workers: usize,
    queues: Vec<Box<dyn QueuePair>>,
    outs: Vec<Out>,
    tags: Vec<Tags>,
    ports: Arc<Ports>,
    shared: Arc<Shared>,
    clock: Instant,
    tx_pool: Pool,
    /// For what overwrites more than a head.
    segments: Pool,
    rx_pool: Pool,
    rx: Burst,
    counts: Vec<PortCounts>,
}

/// What a worker is made from.
pub(super) struct Parts {
    pub(super) index: usize,
    pub(super) workers: usize,
    pub(super) core: Option<usize>,
    pub(super) queues: Vec<QueueSeed>,
    pub(super) ports: Arc<Ports>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Instant,
}

/// Serves jobs until nobody gives any more.
pub(super) fn serve(parts: Parts, jobs: &Inbox<Job>, answers: &Outbox<Answer>) {
    let pinned = parts.core.is_none_or(|id| core_affinity::set_for_current(core_affinity::CoreId { id }));
    let core = parts.core.unwrap_or(0);
    let worker = match pinned {
        true => Worker::new(parts),
        false => Err(format!("a worker could not be pinned to core {core}")),
    };
    let mut worker = match worker {
        Ok(worker) => worker,
        Err(reason) => {
            let _ = answers.send(Err(reason));
            return;
        }
    };
    if answers.send(Ok(None)).is_err() {
        return;
    }
    loop {
        let answer = match jobs.try_recv() {
            Ok(Job::Resolve(until)) => {
                worker.resolve(until);
                Ok(None)
            }
            Ok(Job::Learn(trial)) => {
                worker.learn(&trial);
                Ok(None)
            }
            Ok(Job::Run(trial, start)) => worker.run(&trial, start).map(Some),
            Err(TryRecvError::Disconnected) => return,
            Err(TryRecvError::Empty) => {
                worker.answer_strangers();
                std::thread::sleep(Duration::from_micros(200));
                continue;
            }
        };
        if answers.send(answer).is_err() {
            return;
        }
    }
}

impl Worker {
    fn new(parts: Parts) -> Result<Worker, String> {
        let pool =
            |buffers, frame_size| Pool::new(PoolConfig { buffers, frame_size }).map_err(|error| error.to_string());
        let tx_pool = pool(TX_BUFFERS, parts.ports.tx_frame)?;
        // Every buffer holds the filler from now on; a packet overwrites no more than its head.
        let mut all: Vec<Frame> = std::iter::from_fn(|| tx_pool.alloc()).collect();
        for frame in &mut all {
            frame.set_len(parts.ports.tx_frame);
            let data = frame.data_mut();
            data.copy_from_slice(parts.ports.filler.get(..data.len()).unwrap_or_default());
        }
        drop(all);
        let queues: Vec<_> = parts.queues.into_iter().map(QueueSeed::start).collect();
        let tags: Vec<_> = parts.ports.plans.iter().map(|plan| Tags::new(&plan.vlan)).collect();
        Ok(Worker {
            index: parts.index,
            workers: parts.workers,
            outs: tags.iter().map(|tags| Out::new(*tags)).collect(),
            tags,
            counts: vec![PortCounts::default(); queues.len()],
            queues,
            rx_pool: pool(RX_BUFFERS, parts.ports.rx_frame)?,
            segments: pool(SEGMENTS, parts.ports.tx_frame)?,
            tx_pool,
            rx: Burst::with_limit(RX_BURST),
            ports: parts.ports,
            shared: parts.shared,
            clock: parts.clock,
        })
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// Between trials: what arrives is looked at for questions alone.
    fn answer_strangers(&mut self) {
        for port in 0..self.queues.len() {
            let Some(queue) = self.queues.get_mut(port) else { continue };
            queue.receive(&self.rx_pool, &mut self.rx);
            let mut rx = std::mem::replace(&mut self.rx, Burst::with_limit(0));
            let tags = self.tags.get(port).copied().unwrap_or_default();
            for mut frame in rx.drain() {
                if tags.take_off(&mut frame)
                    && let Ok(parsed) = crate::wire::parse(frame.data(), super::receive::verify(&frame.meta))
                {
                    self.stranger(port, &frame, &parsed);
                }
            }
            self.rx = rx;
        }
        self.flush((&mut [], &mut []), Secret::new(0), 0);
    }

    /// A packet of no stream: a question to answer, or somebody else's.
    #[cold]
    fn stranger(&mut self, port: usize, frame: &Frame, parsed: &Parsed) {
        let ports = Arc::clone(&self.ports);
        let (Some(mac), Some(own)) = (ports.macs.get(port), ports.own.get(port)) else { return };
        let Some(counts) = self.counts.get_mut(port) else { return };
        match neighbour::hear(frame.data(), parsed, (port, *mac), own, &ports.targets, &self.tx_pool) {
            Heard::Answer(answer) => {
                counts.answered += 1;
                if let Some(out) = self.outs.get_mut(port) {
                    out.push(answer, Tag::Other);
                }
            }
            Heard::Nothing => {}
            Heard::Other if is_icmp_error(parsed) => counts.icmp_errors += 1,
            Heard::Other => counts.foreign += 1,
        }
    }

    /// Offers the ports what waits for them.
    #[inline]
    fn flush(&mut self, (senders, tcp): (&mut [Sender], &mut [Connections]), secret: Secret, now: u64) {
        for ((out, queue), counts) in self.outs.iter_mut().zip(&mut self.queues).zip(&mut self.counts) {
            if out.is_empty() {
                continue;
            }
            out.restamp(now, secret, |stream| senders.iter().find(|s| s.number == stream).and_then(Sender::places));
            out.flush(queue.as_mut(), counts, |tag, octets, taken| {
                let Tag::Stream(stream, purpose) = tag else { return };
                if let Some(sender) = senders.iter_mut().find(|sender| sender.number == stream) {
                    sender.note(purpose, octets, taken);
                } else if let Some(tcp) = tcp.iter_mut().find(|tcp| tcp.number == stream) {
                    tcp.note(purpose, octets, taken);
                }
            });
        }
    }

    /// Asks for all neighbours that have not answered; the first worker asks, all listen.
    fn resolve(&mut self, until: Instant) {
        let mut ask_at = Instant::now();
        let ports = Arc::clone(&self.ports);
        while ports.targets.iter().any(|target| target.mac().is_none()) {
            let now = Instant::now();
            if now >= until || self.shared.stop.load(Ordering::Relaxed) {
                return;
            }
            if self.index == 0 && now >= ask_at {
                ask_at = now + ASK_EVERY;
                for target in ports.targets.iter().filter(|target| target.mac().is_none()) {
                    let question = ports.macs.get(target.port).and_then(|mac| target.question(*mac, &self.tx_pool));
                    if let (Some(question), Some(out)) = (question, self.outs.get_mut(target.port)) {
                        out.push(question, Tag::Other);
                    }
                }
            }
            self.answer_strangers();
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Sends a packet of every flow that is to be known, and of other streams to every address behind them; the first
    /// worker alone.
    fn learn(&mut self, trial: &Trial) {
        if self.index > 0 {
            return;
        }
        let Ok((senders, _)) = self.prepare(trial, 0) else { return };
        let secret = Secret::new(trial.seed);
        for sender in &senders {
            let (Some(template), Some(stream)) =
                (sender.templates.first(), trial.streams.get(usize::from(sender.number)))
            else {
                continue;
            };
            // Source ports and addresses come first in the order of tuples.
            let (count, step) = if stream.prime {
                (stream.flows.count.min(PRIMED), 1)
            } else {
                (sender.space.dst.1.min(LEARNING), u64::from(sender.space.sport.1) * u64::from(sender.space.src.1))
            };
            for n in 0..count {
                let mark =
                    Signature { purpose: Purpose::Learning, stream: sender.number, flow: None, seq: n, time: None };
                let tuple = sender.space.tuple(u64::from(n) * step);
                if let Some(mut frame) = self.tx_pool.alloc()
                    && template.write(&mut frame, &tuple, &mark, secret)
                    && let Some(out) = self.outs.get_mut(sender.from)
                {
                    out.push(frame, Tag::Stream(sender.number, Purpose::Learning));
                }
                if n as usize % BURST == BURST - 1 {
                    self.answer_strangers();
                    std::thread::sleep(Duration::from_micros(500));
                }
                if self.shared.stop.load(Ordering::Relaxed) {
                    return;
                }
            }
            self.answer_strangers();
        }
    }

    /// The senders and receivers of a trial.
    fn prepare(&self, trial: &Trial, now: u64) -> Result<(Vec<Sender>, Vec<Receiver>), String> {
        let mut senders = Vec::new();
        let mut receivers = Vec::with_capacity(trial.streams.len());
        for (number, stream) in trial.streams.iter().enumerate() {
            receivers.push(Receiver::new(stream).ok_or("no room for a histogram")?);
            if matches!(stream.kind, Kind::Udp { .. }) {
                senders.extend(self.sender(number, stream, trial, now)?);
            }
        }
        Ok((senders, receivers))
    }

    /// This worker's part of a stream; `None` if it has none of its flows.
    fn sender(&self, number: usize, stream: &Stream, trial: &Trial, now: u64) -> Result<Option<Sender>, String> {
        let Some(picker) = Picker::new(stream.flows, self.index, self.workers, trial.seed ^ number as u64) else {
            return Ok(None);
        };
        let ports = &self.ports;
        let own = |port: usize| ports.macs.get(port).copied().unwrap_or_default();
        let hop = |port: usize, remote: Addr| {
            ports.next_hop(port, stream.family, remote).ok_or_else(|| format!("stream {}: no next hop", stream.name))
        };
        let link = (hop(stream.from, stream.space.dst.0)?, own(stream.from));
        let proto = stream.proto();
        let (templates, cycle) =
            Template::of_stream(stream, link, &ports.filler).ok_or("a frame size has no room for its headers")?;
        if templates.iter().any(|template| template.len() > self.tx_pool.config().frame_size) {
            return Err(format!("stream {}: a frame is larger than any the session was opened for", stream.name));
        }
        let back = if stream.unsolicited > 0.0 {
            let link = (hop(stream.to, stream.space.src.0)?, own(stream.to));
            let size = usize::from(stream.sizes.iter().copied().min().unwrap_or(64));
            Template::new(stream.family, proto, size, link, &ports.filler)
        } else {
            None
        };
        let line = ports.plans.get(stream.from).and_then(|port| port.line);
        let tags = self.tags.get(stream.from).copied().unwrap_or_default();
        let size = mean_size(&stream.sizes) + tags.len() as f64;
        let pps = stream.rate.pps(size, line).map(|pps| pps * picker.share());
        let part = |packets: u64, share: f64| (packets as f64 * share).round() as u64;
        let left = trial.limit.packets.map(|n| part(n, picker.before() + picker.share()) - part(n, picker.before()));
        Ok(Some(Sender {
            number: number as u16,
            from: stream.from,
            to: stream.to,
            space: stream.space,
            templates,
            cycle,
            at: 0,
            back,
            bucket: Bucket::new(pps, now),
            seqs: vec![0; picker.count() as usize].into(),
            picker,
            left,
            invalid: Share::new(stream.invalid),
            unsolicited: Share::new(stream.unsolicited),
            odd: 0,
            counts: StreamCounts::default(),
        }))
    }

    /// One trial.
    fn run(&mut self, trial: &Trial, start: Instant) -> Result<Part, String> {
        // Late comers of a former trial are not counted.
        self.answer_strangers();
        self.outs.iter_mut().for_each(Out::clear);
        let begin = (start - self.clock).as_nanos() as u64;
        let (mut senders, receivers) = self.prepare(trial, begin).inspect_err(|_| {
            self.shared.sending.fetch_sub(1, Ordering::AcqRel);
        })?;
        let mut tcp = self.connections(trial, begin).inspect_err(|_| {
            self.shared.sending.fetch_sub(1, Ordering::AcqRel);
        })?;
        let secret = Secret::new(trial.seed);
        let mut receivers = Receivers { streams: receivers, secret, filler: Arc::clone(&self.ports.filler) };
        self.counts.iter_mut().for_each(|counts| *counts = PortCounts::default());
        let before: Vec<QueueStats> = self.queues.iter().map(|queue| queue.stats()).collect();
        while Instant::now() < start {
            std::thread::yield_now();
        }
        let end = begin + trial.limit.time.as_nanos() as u64;
        let drain = trial.drain.as_nanos() as u64;
        let (mut sending, mut last_sent, mut quiet_since) = (true, begin, None);
        let (mut published, mut publish_at, mut late) = ([0; 4], begin, 0);
        // Streams of one port share its burst.
        let quota = (BURST / senders.len().max(1)).max(1);
        let mut ready = vec![true; self.outs.len()];
        loop {
            let received = self.receive(&mut receivers, &mut tcp);
            let now = self.now();
            let mut built = self.keep_connections(&mut tcp, now, sending && now < end);
            if sending && now < end {
                // What waits goes first.
                ready.iter_mut().zip(&self.outs).for_each(|(ready, out)| *ready = !out.is_stale());
                for sender in &mut senders {
                    if ready.get(sender.from) == Some(&true) {
                        built += sender.build(now, quota, secret, &self.tx_pool, &mut self.outs);
                    }
                }
            }
            self.flush((&mut senders, &mut tcp), secret, now);
            if sending {
                let done = senders.iter().all(Sender::is_done)
                    && tcp.iter().all(Connections::is_done)
                    && self.outs.iter().all(Out::is_empty);
                let over = now >= end || self.shared.stop.load(Ordering::Relaxed);
                if done || over {
                    sending = false;
                    last_sent = now.min(end);
                    senders.iter_mut().filter(|sender| !sender.is_done()).for_each(|s| s.bucket.close(last_sent));
                    // Connections go on until the drain is over.
                    if tcp.is_empty() {
                        self.outs.iter_mut().for_each(Out::clear);
                    }
                    self.shared.sending.fetch_sub(1, Ordering::AcqRel);
                }
            } else if quiet_since.is_none() && self.shared.sending.load(Ordering::Acquire) == 0 {
                quiet_since = Some(now);
            }
            // What has arrived is received, however late a busy machine lets that happen.
            if quiet_since.is_some_and(|since| now >= since + drain) {
                late += 1;
                if received == 0 || late > LATE {
                    break;
                }
            }
            if now >= publish_at {
                publish_at = now + PUBLISH_EVERY;
                self.publish((&senders, &tcp), &receivers, &mut published);
            }
            if received + built == 0 {
                std::thread::yield_now();
            }
        }
        self.abandon(&mut tcp, secret);
        self.publish((&senders, &tcp), &receivers, &mut published);
        Ok(self.part((senders, tcp), receivers, &before, (last_sent - begin) as f64 / 1e9))
    }

    /// Fetches a burst of every port.
    #[inline]
    fn receive(&mut self, receivers: &mut Receivers, tcp: &mut [Connections]) -> usize {
        let mut received = 0;
        for port in 0..self.queues.len() {
            let Some(queue) = self.queues.get_mut(port) else { continue };
            queue.receive(&self.rx_pool, &mut self.rx);
            if self.rx.is_empty() {
                continue;
            }
            let now = self.now();
            received += self.rx.len();
            let mut rx = std::mem::replace(&mut self.rx, Burst::with_limit(0));
            let tags = self.tags.get(port).copied().unwrap_or_default();
            for mut frame in rx.drain() {
                let Some(counts) = self.counts.get_mut(port) else { continue };
                counts.rx_packets += 1;
                if !tags.take_off(&mut frame) {
                    receivers.astray(&frame, counts);
                    continue;
                }
                match receivers.take((port, tags.len()), frame, now, counts) {
                    Taken::Done => {}
                    Taken::Reply(frame, stream) => {
                        if let Some(out) = self.outs.get_mut(port) {
                            out.push(frame, Tag::Stream(stream, Purpose::Reply));
                        }
                    }
                    Taken::Stranger(frame, parsed) => {
                        if !matches!(parsed.summary.l4, L4::Tcp(_))
                            || !self.segment((port, tags.len()), &frame, &parsed, tcp, now)
                        {
                            self.stranger(port, &frame, &parsed);
                        }
                    }
                }
            }
            self.rx = rx;
        }
        received
    }

    /// Tells whoever watches.
    #[cold]
    fn publish(&self, (senders, tcp): (&[Sender], &[Connections]), receivers: &Receivers, told: &mut [u64; 4]) {
        let mut sum = [0; 4];
        let senders = senders.iter().map(|sender| &sender.counts).chain(tcp.iter().map(|one| &one.counts));
        for counts in senders.chain(receivers.streams.iter().map(|receiver| &receiver.counts)) {
            sum[0] += counts.tx_packets;
            sum[1] += counts.tx_octets;
            sum[2] += counts.rx_packets;
            sum[3] += counts.rx_octets;
        }
        let cells = self.shared.tx.iter().chain(&self.shared.rx);
        for ((cell, sum), told) in cells.zip(sum).zip(told) {
            cell.fetch_add(sum - *told, Ordering::Relaxed);
            *told = sum;
        }
    }

    fn part(
        &mut self,
        (senders, tcp): (Vec<Sender>, Vec<Connections>),
        receivers: Receivers,
        before: &[QueueStats],
        seconds: f64,
    ) -> Part {
        let part = |r: Receiver| StreamPart { counts: r.counts, latency: r.latency, tcp: None };
        let mut streams: Vec<_> = receivers.streams.into_iter().map(part).collect();
        for sender in senders {
            if let Some(stream) = streams.get_mut(usize::from(sender.number)) {
                stream.counts.add(&sender.counts);
                stream.counts.tx_missed += sender.bucket.spilt();
            }
        }
        for one in tcp {
            if let Some(stream) = streams.get_mut(usize::from(one.number)) {
                stream.counts.add(&one.counts);
                stream.latency = one.engine.handshakes;
                stream.tcp = Some((one.engine.counts, one.engine.lifetimes));
            }
        }
        for ((counts, queue), before) in self.counts.iter_mut().zip(&self.queues).zip(before) {
            let stats = queue.stats().since(before);
            counts.missed += stats.rx_missed;
            counts.errors += stats.rx_nobuf + stats.rx_checksum + stats.rx_truncated + stats.rx_refused;
        }
        Part { streams, ports: self.counts.clone(), seconds }
    }
}
