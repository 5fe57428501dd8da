//! The turn, and what is between turns.

use super::bell::Bell;
use super::books::Books;
use super::thread::{Clock, Idle, Plan, Wiring};
use super::{Event, Message, Request};
use crate::driver::{QueuePair, QueueSeed, RxStatus, TxStop};
use crate::frame::{Burst, Pool};
use crate::net::{DropReason, Now, PortId, ShardId};
use crate::shard::{BURST, Pace, Part, Shard, Surroundings, Unwatched};
use crate::steer::Directory;
use crossbeam_channel::{Receiver, Sender};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use smallvec::SmallVec;
use std::io;
use std::sync::Arc;

/// Turns without work before a worker sleeps.
const PATIENCE: u32 = 64;

/// Longest sleep in nanoseconds: timers run at least so often.
const SLEEP: u64 = 10_000_000;

/// Longest sleep when something has no descriptor to be woken by: a full port, or a port of this process.
const NAP: u64 = 1_000_000;

/// Frames a port may hold back to send more at once, while full bursts come in.
const HELD: usize = 512;

/// Messages taken per turn.
const MESSAGES: usize = 256;

/// Nanoseconds between two rounds of housekeeping.
const HOUSEKEEP_EVERY: u64 = 1_000_000;

/// Nanoseconds in which the sweep goes round the table.
const SWEEP_ROUND: u64 = 1_000_000_000;

/// Table slots swept at once: in a turn that had packets, and in one that had none.
const SWEEP: [usize; 2] = [1024, 16 * 1024];

/// Nanoseconds between two reports of the neighbours in use, and between two sweeps of the directory.
const REPORT_EVERY: u64 = 1_000_000_000;

/// How far a worker's end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Receives nothing more.
    Draining,
    /// And nothing waits to be sent; the control plane knows.
    Drained,
    Stopped,
}

/// A worker. See the module's contract.
pub struct Worker {
    id: ShardId,
    shard: Shard,
    queues: Vec<Box<dyn QueuePair>>,
    /// Ports that were given frames in this turn, one bit each, and ports that may hold some of the turns before.
    fed: u64,
    holding: u64,
    burst: Burst,
    /// A burst of this turn was full, so more are waiting.
    crowded: bool,
    books: Books,
    bells: Arc<[Arc<Bell>]>,
    bell: Option<Arc<Bell>>,
    inbox: Receiver<Message>,
    /// The bell's word when the box was last emptied.
    mail_seen: u32,
    asks: Sender<Request>,
    events: Sender<Event>,
    directory: Arc<Directory>,
    clock: Clock,
    idle: Idle,
    phase: Phase,
    /// The clock at the turn before, and whether that turn had work.
    last: (Now, bool),
    housekept: Now,
    reported: Now,
    /// Turns without work in a row.
    empty: u32,
}

impl Worker {
    /// Makes a worker and its shard. For the worker's own thread.
    ///
    /// # Errors
    /// When the system has not the memory for the connection table, or not the pages it is to lie on.
    pub fn new(plan: &Plan, wiring: Wiring, pool: Pool) -> io::Result<Worker> {
        let now = wiring.clock.now();
        let id = plan.shard.id;
        let around = Surroundings {
            pool,
            snapshot: wiring.snapshot,
            directory: Arc::clone(&wiring.directory),
            links: wiring.links,
            upcall: Box::new(wiring.calls.clone()),
            counters: wiring.counters,
            rules: wiring.rules,
            watch: Unwatched,
        };
        let mut shard = Shard::on_pages(&plan.shard, around, plan.hugepages)?;
        shard.set_wall_clock(wiring.clock.to_wall_clock());
        Ok(Worker {
            id,
            shard,
            books: Books::new(wiring.published, wiring.queues.len()),
            queues: wiring.queues.into_iter().map(start).collect(),
            fed: 0,
            holding: 0,
            burst: Burst::with_limit(BURST),
            crowded: false,
            bell: wiring.bells.get(id.index()).map(Arc::clone),
            bells: wiring.bells,
            inbox: wiring.inbox,
            mail_seen: 0,
            asks: wiring.calls.asks,
            events: wiring.events,
            directory: wiring.directory,
            clock: wiring.clock,
            idle: plan.idle,
            phase: Phase::Running,
            last: (now, false),
            housekept: now,
            reported: now,
            empty: 0,
        })
    }

    /// Has somebody told how bursts proceed, or nobody.
    pub fn set_pace(&mut self, pace: Option<Pace>) {
        self.shard.pace = pace;
    }

    /// Turns until it is told to stop.
    pub fn run(&mut self) {
        while self.phase != Phase::Stopped {
            if self.turn() {
                self.empty = 0;
                continue;
            }
            self.empty = self.empty.saturating_add(1);
            if self.idle == Idle::Sleep && self.empty >= PATIENCE {
                self.sleep();
            } else {
                std::hint::spin_loop();
            }
        }
        // What no port took until now goes nowhere any more.
        self.shard.flush(|_, _| Some(DropReason::TxRingFull));
        for queue in &mut self.queues {
            queue.flush();
        }
        self.books.publish(&mut self.shard, &self.queues, self.clock.now(), true);
    }

    /// One turn. Gives whether there was anything to do.
    pub fn turn(&mut self) -> bool {
        let now = self.clock.now();
        self.account(now);
        let mail = self.read_mail(now);
        self.shard.tell(Part::Between);
        let handed = self.shard.take_handoffs(now);
        if handed != 0 {
            self.shard.tell(Part::Judge);
            self.transmit();
            self.shard.tell(Part::Transmit);
        }
        let received = if self.phase == Phase::Running { self.receive(now) } else { 0 };
        let woken = self.shard.take_handed();
        self.wake(woken);
        if now.0 >= self.housekept.0 + HOUSEKEEP_EVERY {
            self.housekeep(now, handed + received != 0);
        }
        if !self.shard.out.is_empty() {
            self.transmit();
        }
        if self.books.is_due(now) {
            self.books.publish(&mut self.shard, &self.queues, now, false);
        }
        let flushed = self.fed | self.holding != 0 && self.flush();
        let worked = mail || flushed || handed + received != 0;
        if self.phase == Phase::Draining && !worked && self.shard.out.is_empty() {
            self.phase = Phase::Drained;
            self.books.publish(&mut self.shard, &self.queues, now, true);
            let _ = self.events.send(Event::Drained(self.id));
        }
        self.last.1 = worked;
        worked
    }

    /// Books the time since the turn before.
    #[inline]
    fn account(&mut self, now: Now) {
        let (before, worked) = self.last;
        let spent = now.0.saturating_sub(before.0);
        if worked {
            self.shard.counters.iteration(spent);
            self.shard.counters.cycles(spent, 0);
        } else {
            self.shard.counters.cycles(0, spent);
        }
        self.last = (now, false);
    }

    /// Receives one burst of every port and sends the packets on their journey.
    #[inline]
    fn receive(&mut self, now: Now) -> usize {
        let mut received = 0;
        self.crowded = false;
        for index in 0..self.queues.len() {
            let Some(queue) = self.queues.get_mut(index) else { break };
            self.shard.tell(Part::Between);
            let RxStatus { received: got, octets, .. } = queue.receive(self.shard.pool(), &mut self.burst);
            self.shard.tell(Part::Receive);
            self.shard.counters.poll(got);
            if got == 0 {
                continue;
            }
            received += got;
            self.crowded |= got == BURST;
            self.shard.counters.port_rx(PortId(index as u8), got as u64, octets);
            self.shard.process(&mut self.burst, now);
            if !self.shard.out.is_empty() {
                self.transmit();
                self.shard.tell(Part::Transmit);
            }
        }
        received
    }

    /// Has the ports send what they held back: while more are waiting, those only that this turn had nothing for. Gives
    /// whether there was any.
    fn flush(&mut self) -> bool {
        let fed = std::mem::take(&mut self.fed);
        let mut quiet = if self.crowded { self.holding & !fed } else { self.holding | fed };
        self.holding = if self.crowded { fed } else { 0 };
        let mut flushed = false;
        while quiet != 0 {
            if let Some(queue) = self.queues.get_mut(quiet.trailing_zeros() as usize) {
                flushed |= queue.flush();
            }
            quiet &= quiet - 1;
        }
        flushed
    }

    /// Sends what waits. What a port has no room for waits for the next turn.
    fn transmit(&mut self) {
        let (queues, fed) = (&mut self.queues, &mut self.fed);
        let mut blamed: SmallVec<[(PortId, DropReason); 4]> = SmallVec::new();
        self.shard.flush(|port, burst| {
            *fed |= 1 << port.index();
            offer(queues, port, burst, &mut blamed)
        });
        while !blamed.is_empty() {
            for (port, reason) in std::mem::take(&mut blamed) {
                self.drop_first(port, reason);
                let queues = &mut self.queues;
                self.shard.flush(
                    |other, burst| {
                        if other == port { offer(queues, port, burst, &mut blamed) } else { None }
                    },
                );
            }
        }
    }

    /// Takes the frame a port refuses out of its queue.
    #[cold]
    fn drop_first(&mut self, port: PortId, reason: DropReason) {
        if let Some(frame) = self.shard.out.take_first(port) {
            self.shard.lost(frame, reason);
        }
    }

    /// Wakes the workers of a set, one bit each, that frames were handed to, if they sleep.
    #[inline]
    fn wake(&self, mut set: u64) {
        while set != 0 {
            if let Some(bell) = self.bells.get(set.trailing_zeros() as usize) {
                bell.ring();
            }
            set &= set - 1;
        }
    }

    /// Work that no packet asks for.
    fn housekeep(&mut self, now: Now, busy: bool) {
        let elapsed = now.0.saturating_sub(self.housekept.0).min(SWEEP_ROUND);
        self.housekept = now;
        let touched = self.shard.tracker().table().touched() as u64;
        let share = (touched * elapsed / SWEEP_ROUND) as usize + 1;
        let most = SWEEP[usize::from(!busy)];
        self.shard.housekeep(now, share.min(most));
        if now.0 >= self.reported.0 + REPORT_EVERY {
            self.reported = now;
            self.report(now);
        }
    }

    #[cold]
    fn report(&mut self, now: Now) {
        self.shard.set_wall_clock(self.clock.to_wall_clock());
        let mut used = SmallVec::new();
        self.shard.report_used(|key| used.push(key));
        if !used.is_empty() {
            // Lost, the neighbours count as unused for a second.
            let _ = self.asks.try_send(Request::Used(used));
        }
        if self.id.index() == 0 && !self.directory.is_empty() {
            self.directory.sweep(now.millis(), usize::MAX);
        }
        self.shard.count_expired();
    }

    /// Looks at the mailbox if its word moved.
    #[inline]
    fn read_mail(&mut self, now: Now) -> bool {
        let Some(word) = self.bell.as_ref().map(|bell| bell.mail()) else { return false };
        if word == self.mail_seen {
            return false;
        }
        self.open_mail(word, now);
        true
    }

    #[cold]
    fn open_mail(&mut self, word: u32, now: Now) {
        for _ in 0..MESSAGES {
            match self.inbox.try_recv() {
                Ok(message) => self.obey(message, now),
                Err(_) => {
                    self.mail_seen = word;
                    return;
                }
            }
        }
    }

    fn obey(&mut self, message: Message, now: Now) {
        match message {
            Message::Install(snapshot, rules) => self.shard.install(snapshot, rules),
            Message::Neighbour(event) => self.shard.neighbour(&event, now),
            Message::Send { port, frame } => self.shard.send(port, &frame),
            Message::Drain => {
                if self.phase == Phase::Running {
                    self.phase = Phase::Draining;
                }
            }
            Message::Stop => self.phase = Phase::Stopped,
        }
    }

    /// Sleeps until a port, the control plane or another worker has something, or a timer may be due.
    #[cold]
    fn sleep(&mut self) {
        let Some(bell) = self.bell.clone() else { return };
        bell.lie_down();
        let waiting = bell.mail() != self.mail_seen || self.take_late_handoffs();
        if !waiting {
            let mut longest = if self.shard.out.is_empty() { SLEEP } else { NAP };
            let mut fds: SmallVec<[PollFd<'_>; 8]> = SmallVec::new();
            fds.push(PollFd::from_borrowed_fd(bell.fd(), PollFlags::IN));
            if self.phase == Phase::Running {
                for queue in &self.queues {
                    match queue.wait_fd() {
                        Some(fd) => fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN)),
                        None => longest = NAP,
                    }
                }
            }
            let timeout = Timespec { tv_sec: 0, tv_nsec: longest as i64 };
            // Whatever woke it, and if it was an error: the next turn looks at everything.
            let _ = poll(&mut fds, Some(&timeout));
        }
        bell.get_up();
    }

    /// Hand-offs that came while the worker was about to sleep.
    fn take_late_handoffs(&mut self) -> bool {
        let now = self.clock.now();
        let handed = self.shard.take_handoffs(now);
        let woken = self.shard.take_handed();
        self.wake(woken);
        handed != 0
    }
}

/// Starts a queue that may hold frames back.
fn start(seed: QueueSeed) -> Box<dyn QueuePair> {
    let mut queue = seed.start();
    queue.hold_back(HELD);
    queue
}

/// Offers a port its queue. A frame it refuses is noted in `blamed` and stays in front.
fn offer(
    queues: &mut [Box<dyn QueuePair>],
    port: PortId,
    burst: &mut Burst,
    blamed: &mut SmallVec<[(PortId, DropReason); 4]>,
) -> Option<DropReason> {
    let Some(queue) = queues.get_mut(port.index()) else { return Some(DropReason::PortDown) };
    match queue.transmit(burst).stop? {
        TxStop::Full => None,
        TxStop::Oversize => {
            blamed.push((port, DropReason::MtuExceeded));
            None
        }
        TxStop::Refused => {
            blamed.push((port, DropReason::TxRingFull));
            None
        }
        TxStop::Down | TxStop::Gone => Some(DropReason::PortDown),
    }
}
