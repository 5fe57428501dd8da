//! Everything one core owns, and a packet's journey through it.
//!
//! Holds always: a shard is used by one thread; on a packet of a known connection it reads nothing another
//! core writes; every tuple in its table is owned by it ([`crate::steer::owner`]); every frame that comes in
//! ends in exactly one counted way ([`End`]). Knows no kernel, no NIC and no clock: frames come in by
//! [`Shard::process`], time is an argument, and what leaves stands in the [`Outbox`].
//!
//! `journey` is the way of every packet; `mark` is its first pass, `shortcut` the way of most, `onward` and `opening`
//! those of most others, `stray` the way to another shard; what few packets need lies in `cold`.
#![doc = include_str!("speed.md")]

mod cold;
mod decision;
mod fate;
mod journey;
mod mark;
mod network;
mod onward;
mod opening;
mod out;
mod recent;
mod shortcut;
mod snapshot;
mod stray;

pub use decision::{Action, Decisions};
pub use fate::{End, Fate, Unwatched, Watch};
pub use out::{Outbox, TX_QUEUE, Upcall};
use out::{Sum, Told};
pub use snapshot::{PortView, Snapshot};

use crate::conntrack::key::{Key, Seed};
use crate::conntrack::tracker::{self, Tracker};
use crate::frag::Reassembler;
use crate::frame::{Burst, Frame, Origin, Pool};
use crate::helper::HelperId;
use crate::metrics::{Counters, RuleCounters};
use crate::net::{DropReason, HugePages, Now, PortId, ShardId};
use crate::route::{IcmpLimiter, NeighbourEvent, NeighbourView, Released, ViewConfig};
use crate::steer::{Calls, Directory, Handoff, Links, Receiver, Stage};
use crate::wire::Parsed;
use cold::helpers::Helped;
use mark::{Mark, Path};
use recent::Recents;
use shortcut::Present;
use smallvec::SmallVec;
use std::io;
use std::sync::Arc;
use stray::Strays;

/// Packets looked at together: their table lines are fetched while the first ones are judged.
pub const BURST: usize = 64;

const _: () = assert!(crate::net::ids::MAX_SHARDS <= 64, "a set of shards fits a word");

/// Frames taken from other workers' rings per turn.
const HANDOFF_BUDGET: usize = 256;

/// Fragment queues looked at for expiry per turn.
const FRAGMENT_BUDGET: usize = 32;

/// What a shard is made with.
#[derive(Debug)]
pub struct ShardConfig {
    /// Which one it is.
    pub id: ShardId,
    /// How many there are.
    pub shards: usize,
    /// Most entries of its table.
    pub entries: usize,
    /// Secrets: of the table, and of the fragment queues.
    pub seed: [u64; 4],
    /// Neighbours and packets waiting for them.
    pub neighbours: ViewConfig,
    /// Reassembly.
    pub fragments: crate::frag::Limits,
}

/// The fragments of one datagram; few have so many that it allocates.
type Group = SmallVec<[Frame; 16]>;

/// What is known of a packet that goes the whole way.
struct Item {
    parsed: Parsed,
    /// Under the table's seed, if the tuple can be in the table.
    hash: Option<u64>,
    stage: Stage,
}

impl Item {
    /// Of no frame yet.
    const NOTHING: Item = Item { parsed: Parsed::NOTHING, hash: None, stage: Stage::Packet };

    fn key(&self) -> Option<Key> {
        self.hash.and_then(|hash| Key::hashed(self.parsed.summary.tuple, hash))
    }
}

/// One core's state. See the module's contract.
pub struct Shard<W: Watch = Unwatched> {
    id: ShardId,
    shards: usize,
    snapshot: Arc<Snapshot>,
    tracker: Tracker,
    fragments: Reassembler,
    fragments_pending: [usize; 2],
    /// A datagram whose fragments are coming in from another worker.
    group: Group,
    neighbours: NeighbourView<Frame>,
    released: Vec<Released<Frame>>,
    helped: Helped,
    /// Helper that the tracker's candidate has from its expectation.
    expected_helper: Option<HelperId>,
    /// Call ids of PPTP.
    calls: Calls,
    directory: Arc<Directory>,
    decisions: Decisions,
    limiter: IcmpLimiter,
    links: Links,
    /// What came in from another worker and is not looked at yet.
    arrived: Vec<(Handoff, Frame)>,
    /// Packets on their way to another shard.
    strays: Strays,
    /// One bit per shard that frames were handed to.
    handed: u64,
    /// From this shard's time to that of the day: nanoseconds.
    wall_clock: u64,
    /// Identification of the last IPv6 packet the router itself fragmented.
    fragment_id: u32,
    upcall: Box<dyn Upcall>,
    pool: Pool,
    /// Frames of other shards that are taken in and not judged yet.
    frames: Burst,
    /// What is known of each admitted frame: the mark of the same index, and the item if that says so.
    marks: Vec<Mark>,
    items: Vec<Item>,
    /// Turns of the judging pass so far.
    turn: u64,
    present: Present,
    /// How packets that nothing was decided for left lately.
    recent: Recents,
    /// Whether packets of established connections may take the shortcut.
    shortcuts: bool,
    /// How many did.
    #[cfg(test)]
    taken: u64,
    /// How many packets took the way of openings.
    #[cfg(test)]
    opened: u64,
    /// How many of flows that nobody answered left as the one before.
    #[cfg(test)]
    alike: u64,
    /// Told of each part of a burst's way once it is done, by a bench that measures them.
    pub pace: Option<Pace>,
    /// Frames to send.
    pub out: Outbox,
    /// Counters of this core; its worker adds its own and publishes them.
    pub counters: Counters,
    /// Counters of the rules in force.
    pub rules: RuleCounters,
    /// Whoever wants to know each packet's end.
    pub watch: W,
}

/// A part of a burst's way through a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Whatever comes between bursts.
    Between,
    /// The port handed the frames over.
    Receive,
    /// Each was looked at, its tuple hashed, its line of the table fetched.
    Admit,
    /// Each was found, tracked, decided and rewritten.
    Judge,
    /// The ports they leave by took them.
    Transmit,
}

/// Whoever wants to know how a burst proceeds.
pub type Pace = Box<dyn FnMut(Part)>;

/// What a shard is connected to.
pub struct Surroundings<W: Watch> {
    /// Buffers.
    pub pool: Pool,
    /// Configuration in force.
    pub snapshot: Arc<Snapshot>,
    /// Expectations of all shards.
    pub directory: Arc<Directory>,
    /// Rings to the other shards.
    pub links: Links,
    /// The control plane.
    pub upcall: Box<dyn Upcall>,
    /// Counters, all zero.
    pub counters: Counters,
    /// Counters of the snapshot's rules.
    pub rules: RuleCounters,
    /// Who is told of each packet's end.
    pub watch: W,
}

impl<W: Watch> Shard<W> {
    /// Reserves all memory the shard will use. Without memory the process ends, as with any allocation.
    #[must_use]
    pub fn new(config: &ShardConfig, around: Surroundings<W>) -> Shard<W> {
        let tracker = Tracker::new(&tracking(config, &around.snapshot));
        Shard::over(config, around, tracker)
    }

    /// The same with the table on such pages.
    ///
    /// # Errors
    /// When the system has not the memory or the pages for the table.
    pub fn on_pages(config: &ShardConfig, around: Surroundings<W>, pages: HugePages) -> io::Result<Shard<W>> {
        let tracker = Tracker::reserve(&tracking(config, &around.snapshot), pages)?;
        Ok(Shard::over(config, around, tracker))
    }

    fn over(config: &ShardConfig, around: Surroundings<W>, tracker: Tracker) -> Shard<W> {
        let Surroundings { pool, snapshot, directory, links, upcall, counters, rules, watch } = around;
        let (per_second, burst) = snapshot.icmp_limit;
        let present = Present::of(&tracker);
        Shard {
            id: config.id,
            shards: config.shards,
            tracker,
            fragments: Reassembler::new(config.fragments, config.seed[0] ^ config.seed[3].rotate_left(17)),
            fragments_pending: [0; 2],
            group: Group::new(),
            neighbours: NeighbourView::new(config.neighbours),
            released: Vec::with_capacity(64),
            helped: Helped::new(config.entries),
            expected_helper: None,
            calls: Calls::default(),
            directory,
            decisions: Decisions::default(),
            limiter: IcmpLimiter::new(per_second, burst),
            links,
            arrived: Vec::with_capacity(2 * BURST),
            strays: Strays::new(config.shards),
            handed: 0,
            wall_clock: 0,
            fragment_id: config.seed[1] as u32,
            upcall,
            pool,
            frames: Burst::with_limit(BURST),
            marks: vec![Mark::NOTHING; BURST],
            items: (0..BURST).map(|_| Item::NOTHING).collect(),
            turn: 0,
            present,
            recent: Recents::default(),
            shortcuts: true,
            #[cfg(test)]
            taken: 0,
            #[cfg(test)]
            opened: 0,
            #[cfg(test)]
            alike: 0,
            pace: None,
            out: Outbox::new(snapshot.ports.len()),
            snapshot,
            counters,
            rules,
            watch,
        }
    }

    /// Which shard it is.
    #[must_use]
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The configuration in force.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The shard's buffers, which its worker receives into.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The connection tracker, for listings.
    #[must_use]
    pub fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// Fragments held.
    #[must_use]
    pub fn fragments(&self) -> usize {
        self.fragments.pending()
    }

    /// Takes the packets of `burst` on their journey. `meta.ingress` says where each came in.
    pub fn process(&mut self, burst: &mut Burst, now: Now) {
        self.judge_admitted(now);
        let first = burst.as_slice().first().filter(|_| self.shards > 1);
        let came = first.map(|frame| (frame.meta.ingress, burst.len()));
        if came.is_some() {
            self.sift(burst);
            self.tell(Part::Admit);
        }
        while !burst.is_empty() {
            self.mark(burst.as_mut_slice(), 0, Stage::Packet);
            self.tell(Part::Admit);
            self.judge_all(burst, now);
            self.tell(Part::Judge);
        }
        if let Some((ingress, packets)) = came {
            self.learn_of_strays(ingress, packets);
        }
    }

    /// Says that a part of a burst's way is done.
    #[inline]
    pub fn tell(&mut self, part: Part) {
        if let Some(pace) = &mut self.pace {
            pace(part);
        }
    }

    /// The shards that frames were handed to since the last call, one bit each: their workers may sleep.
    #[inline]
    pub fn take_handed(&mut self) -> u64 {
        self.send_strays();
        std::mem::take(&mut self.handed)
    }

    /// Takes in what other shards handed over. Gives the number of frames.
    #[inline]
    pub fn take_handoffs(&mut self, now: Now) -> usize {
        if self.shards == 1 { 0 } else { self.take_handoffs_of_others(now) }
    }

    #[inline(never)]
    fn take_handoffs_of_others(&mut self, now: Now) -> usize {
        let mut frames = 0;
        for peer in 0..self.shards {
            // Taken out so that the deliveries may use the shard.
            let Some(mut receiver) = self.links.from.get_mut(peer).and_then(Option::take) else { continue };
            while frames < HANDOFF_BUDGET {
                let got = match self.admit_handed(&mut receiver, HANDOFF_BUDGET - frames, now) {
                    0 if receiver.was_empty() => 0,
                    0 => self.admit_group(&mut receiver, now),
                    got => got,
                };
                if got == 0 {
                    break;
                }
                frames += got;
            }
            if let Some(place) = self.links.from.get_mut(peer) {
                *place = Some(receiver);
            }
        }
        self.judge_admitted(now);
        frames
    }

    /// Takes in single packets that another shard handed over, and judges them once there are enough.
    fn admit_handed(&mut self, receiver: &mut Receiver, most: usize, now: Now) -> usize {
        let marked = self.frames.len();
        let got = receiver.take_packets(&self.pool, most, &mut self.frames);
        if got != 0 {
            self.mark_admitted(marked, Stage::Datagram);
        }
        if self.frames.room() == 0 {
            self.judge_admitted(now);
        }
        got
    }

    /// Takes in whatever else was handed over, a group of frames.
    fn admit_group(&mut self, receiver: &mut Receiver, now: Now) -> usize {
        let mut arrived = std::mem::take(&mut self.arrived);
        let got = receiver.drain(&self.pool, 1, |how, frame| arrived.push((how, frame)));
        for (how, frame) in arrived.drain(..) {
            self.handed_over(how, frame, now);
        }
        self.arrived = arrived;
        got
    }

    /// A share of the work that no packet asks for: `budget` table slots looked at for expiry, fragments and
    /// waiting packets given up. Every bound is a constant or the argument.
    pub fn housekeep(&mut self, now: Now, budget: usize) {
        self.tracker.sweep(now.millis(), self.snapshot.epoch_octet(), budget);
        self.forget_orphans(now.millis());
        self.end_calls(now);
        self.expire_fragments(now, FRAGMENT_BUDGET);
        let mut released = std::mem::take(&mut self.released);
        self.neighbours.expire(now, &mut released);
        self.release(&mut released, now);
        self.released = released;
        self.send_strays();
    }

    /// Applies news about a neighbour; packets that waited for it go out or are dropped.
    pub fn neighbour(&mut self, event: &NeighbourEvent, now: Now) {
        let mut released = std::mem::take(&mut self.released);
        self.neighbours.apply(event, &mut released);
        self.release(&mut released, now);
        self.released = released;
    }

    /// Names the neighbours used since the last call, for the control plane's ageing.
    pub fn report_used(&mut self, report: impl FnMut(crate::route::NeighbourKey)) {
        self.neighbours.take_used(report);
    }

    /// Swaps the configuration. Connections stay; each is decided anew at its next packet.
    pub fn install(&mut self, snapshot: Arc<Snapshot>, rules: RuleCounters) {
        self.rules = rules;
        let (per_second, burst) = snapshot.icmp_limit;
        if snapshot.icmp_limit != self.snapshot.icmp_limit {
            self.limiter = IcmpLimiter::new(per_second, burst);
        }
        self.tracker.set_settings(snapshot.tracking, snapshot.evict);
        self.decisions.clear();
        self.recent.clear();
        self.snapshot = snapshot;
    }

    /// Sends what waits, port by port. `send` takes frames from the front of a burst, as a port does; what it
    /// leaves waits for the next call, or is dropped if it names a reason for all of it.
    pub fn flush(&mut self, send: impl FnMut(PortId, &mut Burst) -> Option<DropReason>) {
        let counters = &mut self.counters;
        self.out.send(send, |told| match told {
            Told::Sent(port, Sum { kind, packets, octets }) => {
                counters.port_tx(port, packets, octets);
                if let Some((ingress, family)) = kind {
                    counters.forward(ingress, family, packets, octets);
                }
            }
            Told::Lost(frame, reason) => count_lost(counters, &frame, reason),
        });
    }

    /// Sends a frame the control plane made.
    pub fn send(&mut self, port: PortId, bytes: &[u8]) {
        if let Some(mut frame) = self.pool.alloc_from(bytes) {
            frame.meta.origin = Origin::Originated;
            self.counters.originate(1);
            self.enqueue(port, frame);
        }
    }
}

/// Counts a frame that was accepted and then found no place to go.
#[cold]
fn count_lost(counters: &mut Counters, frame: &Frame, reason: DropReason) {
    if frame.meta.origin == Origin::Received {
        counters.drop_packet(frame.meta.ingress, reason, frame.len());
    }
}

fn tracking(config: &ShardConfig, snapshot: &Snapshot) -> tracker::Config {
    tracker::Config {
        limit: config.entries,
        evict: snapshot.evict,
        settings: snapshot.tracking,
        seed: Seed::new(config.seed),
    }
}
