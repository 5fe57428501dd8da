//! The ends of the line: ports of this process, and conversations between them of which every octet is known.

use crate::common::{seal, udp, verified};
use crate::process::Process;
use flowgate::driver::{
    DpdkDevice, DpdkProcess, DpdkSpec, DriverKind, HugePages, LinkState, OpenPort, PortControl, PortSpec, QueuePair,
    QueueSeed, QueueStats, open,
};
use flowgate::frame::{Burst, Checksum, Frame, Pool, PoolConfig};
use flowgate::net::{MacAddr, PortId};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Most queues of an end, as many as the routers have workers.
pub(crate) const QUEUES: usize = 2;

/// Conversations at once.
const TALKS: u16 = 24;

/// Frames of each conversation and direction, the first not counted.
const MORE: u16 = 40;

/// For what must happen; how long it takes on a busy machine says nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where both addresses and ports start in a UDP header behind Ethernet and IPv4, and its checksum.
const UDP: usize = 34;
const CHECKSUM: u16 = 6;

/// A port of this process.
pub(crate) struct End {
    mac: [u8; 6],
    control: Box<dyn PortControl>,
    queues: Vec<Box<dyn QueuePair>>,
    pool: Pool,
    burst: Burst,
}

impl End {
    /// Opens it; the number tells apart what this process has open.
    pub(crate) fn open(id: u8, device: DpdkDevice, mac: [u8; 6], queues: usize) -> End {
        let mut spec = PortSpec::new(&format!("end {id}"), PortId(id), DriverKind::Dpdk);
        spec.queues = queues;
        spec.ring = 512;
        spec.mac = Some(MacAddr(mac));
        let process = DpdkProcess {
            hugepages: HugePages::Never,
            pci: false,
            pool: PoolConfig { buffers: 8192, frame_size: 2048 },
            cpus: vec![None; QUEUES],
        };
        spec.dpdk = Some(DpdkSpec { device, receive_queues: queues, steering: None, process });
        let OpenPort { control, queues, .. } = open(&spec).unwrap();
        // One thread serves all queues with the first one's pool, so the others' frames are copied.
        let pool = control.pools().swap_remove(0).start().unwrap();
        let queues = queues.into_iter().map(QueueSeed::start).collect();
        End { mac, control, queues, pool, burst: Burst::with_limit(32) }
    }

    /// Looks after the link as the control plane does. Gives whether it is up.
    pub(crate) fn is_up(&mut self) -> bool {
        match self.control.link() {
            LinkState::Up => true,
            LinkState::Down => false,
            LinkState::Gone => {
                // Each queue has to notice first.
                self.receive(&mut |_| {});
                self.control.reopen().is_ok()
            }
        }
    }

    pub(crate) fn send(&mut self, queue: usize, octets: &[u8], checksum: Checksum) {
        let mut frame = self.pool.alloc_from(octets).expect("a buffer");
        frame.meta.checksum = checksum;
        self.burst.push(frame).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while !self.burst.is_empty() {
            let status = self.queues[queue].transmit(&mut self.burst);
            assert!(Instant::now() < deadline, "the port takes nothing: {status:?}");
        }
    }

    /// Takes what has come, without the routers' own announcements (ARP).
    pub(crate) fn receive(&mut self, deliver: &mut dyn FnMut(&Frame)) {
        for queue in &mut self.queues {
            queue.receive(&self.pool, &mut self.burst);
            self.burst.drain().filter(|frame| frame.data()[12..14] == [8, 0]).for_each(|frame| deliver(&frame));
        }
    }

    /// Sends on what `from` received, each frame changed by `change`, until there were `count`.
    pub(crate) fn forward(&mut self, from: &mut End, count: usize, change: &mut dyn FnMut(&mut [u8])) {
        let (deadline, mut left) = (Instant::now() + PATIENCE, count);
        while left > 0 {
            let mut burst = Burst::with_limit(left.min(32));
            from.queues[0].receive(&from.pool, &mut burst);
            burst.as_mut_slice().iter_mut().for_each(|frame| change(frame.data_mut()));
            left -= burst.len();
            while !burst.is_empty() {
                let status = self.queues[0].transmit(&mut burst);
                assert!(Instant::now() < deadline, "the port takes nothing: {status:?}");
            }
            assert!(Instant::now() < deadline, "{left} of {count} frames did not come");
        }
    }

    /// What its queues counted.
    pub(crate) fn stats(&self) -> QueueStats {
        let mut sum = QueueStats::default();
        self.queues.iter().for_each(|queue| sum.add(&queue.stats()));
        sum
    }
}

/// What was said so far.
pub(crate) struct Conversations {
    /// Routers on the way.
    hops: u8,
    round: u16,
    said: u64,
}

/// One frame of a conversation. The sender's side is 0 for the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    round: u16,
    talk: u16,
    side: u8,
    number: u16,
}

impl Word {
    fn payload(self) -> Vec<u8> {
        let mut octets = vec![0xf6, self.side];
        for number in [self.round, self.talk, self.number] {
            octets.extend(number.to_be_bytes());
        }
        let length = usize::from(self.talk.wrapping_mul(977).wrapping_add(self.number.wrapping_mul(131)) % 1400);
        octets.extend((0..length).map(|at| (at as u8).wrapping_mul(31) ^ self.number as u8 ^ self.talk as u8));
        octets
    }

    fn of(payload: &[u8]) -> Word {
        let [0xf6, side, a, b, c, d, e, f, ..] = *payload else { panic!("a stranger's payload: {payload:02x?}") };
        let number = |high, low| u16::from_be_bytes([high, low]);
        Word { side, round: number(a, b), talk: number(c, d), number: number(e, f) }
    }

    /// The frame as its sender sends it.
    fn frame(self, from: [u8; 6]) -> Vec<u8> {
        let (source, target) = (40_000 + self.round * 100 + self.talk, 53);
        let (payload, router) = (self.payload(), [[2, 0, 0, 0, 0x0a, 1], [2, 0, 0, 0, 0x0b, 2]]);
        let mut frame = match self.side {
            0 => udp("10.1.0.2", "10.3.0.2", (source, target), &payload),
            _ => udp("10.3.0.2", "10.1.0.2", (target, source), &payload),
        };
        frame[..6].copy_from_slice(&router[usize::from(self.side)]);
        frame[6..12].copy_from_slice(&from);
        frame
    }
}

impl Conversations {
    pub(crate) fn new(hops: u8) -> Conversations {
        Conversations { hops, round: 0, said: 0 }
    }

    /// Holds a round of conversations: the left opens each, the right answers, then both speak. Every frame must
    /// arrive once, in order within its conversation, with the right octets.
    pub(crate) fn hold(&mut self, left: &mut End, right: &mut End) {
        self.await_links(left, right);
        self.round += 1;
        let mut heard = HashMap::new();
        for (number, sides) in [(0, [0, 1].as_slice()), (1, &[0, 1])] {
            let numbers = if number == 0 { 0..1 } else { 1..MORE + 1 };
            for number in numbers {
                for side in sides {
                    for talk in 0..TALKS {
                        self.say(Word { round: self.round, talk, side: *side, number }, left, right);
                        self.listen(left, right, &mut heard);
                    }
                    if number == 0 {
                        // An answer before the opening arrived would be a connection of its own.
                        self.hear(left, right, &mut heard, self.said);
                    } else {
                        // So few are under way that no ring overflows.
                        self.hear(left, right, &mut heard, self.said - 64);
                    }
                }
            }
        }
        self.hear(left, right, &mut heard, self.said);
        self.said = 0;
    }

    fn say(&mut self, word: Word, left: &mut End, right: &mut End) {
        let end = if word.side == 0 { left } else { right };
        let mut frame = word.frame(end.mac);
        let mut checksum = Checksum::Unknown;
        if word.number % 3 == 2 {
            // Left to the device: the field has the pseudo-header's sum.
            let sum = pseudo_sum(&frame);
            frame[UDP + 6..UDP + 8].copy_from_slice(&sum.to_be_bytes());
            checksum = Checksum::Partial { start: UDP as u16, offset: CHECKSUM };
        }
        // A conversation keeps to its queue, which the router's owner function knows nothing of.
        end.send(usize::from(word.talk) % end.queues.len(), &frame, checksum);
        self.said += 1;
    }

    fn listen(&self, left: &mut End, right: &mut End, heard: &mut HashMap<(u8, u16), u16>) {
        for (side, end) in [(1, left), (0, right)] {
            let mac = end.mac;
            end.receive(&mut |frame| {
                if is_probe(frame) {
                    return;
                }
                let (word, octets) = completed(frame);
                let next = heard.entry((word.side, word.talk)).or_insert(0);
                assert_eq!((word.side, word.round, word.number), (side, self.round, *next), "{word:?}");
                *next += 1;
                // As it was sent, but for what routers change.
                let mut wanted = word.frame(mac);
                let (from, ttl) = ([[2, 0, 0, 0, 0x0b, 2], [2, 0, 0, 0, 0x0a, 1]], wanted[22] - self.hops);
                wanted[..6].copy_from_slice(&mac);
                wanted[6..12].copy_from_slice(&from[usize::from(word.side)]);
                wanted[22] = ttl;
                seal(&mut wanted);
                assert!(octets == wanted, "{word:?}:\n{octets:02x?}\n{wanted:02x?}");
            });
        }
    }

    fn hear(&self, left: &mut End, right: &mut End, heard: &mut HashMap<(u8, u16), u16>, least: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let count: u64 = heard.values().map(|n| u64::from(*n)).sum();
            if count >= least {
                return;
            }
            assert!(Instant::now() < deadline, "round {}: {count} of {least} frames came", self.round);
            self.listen(left, right, heard);
        }
    }

    /// Waits until frames pass from end to end, by sending what the routers drop or answer.
    fn await_links(&self, left: &mut End, right: &mut End) {
        let deadline = Instant::now() + PATIENCE;
        // A probe is an opening to a port nobody else uses; the right shows that it came.
        let mut probe = udp("10.1.0.2", "10.3.0.2", (PROBED, PROBED), b"probe");
        probe[..6].copy_from_slice(&[2, 0, 0, 0, 0x0a, 1]);
        let mut came = 0;
        while came < 3 {
            let links = (left.control.link(), right.control.link());
            assert!(Instant::now() < deadline, "the way from left to right stays closed: {links:?}");
            std::thread::sleep(Duration::from_millis(20));
            if !(left.is_up() & right.is_up()) {
                continue;
            }
            let frame = left.pool.alloc_from(&probe).expect("a buffer");
            left.burst.push(frame).unwrap();
            left.queues[0].transmit(&mut left.burst);
            left.burst.drain().for_each(drop);
            right.receive(&mut |frame| came += u32::from(is_probe(frame)));
            left.receive(&mut |_| {});
        }
    }

    /// The router saw each conversation once, in the states of netfilter, although its workers got frames of others.
    pub(crate) fn check(&self, router: &Process, rounds: u16) {
        let (talks, all) = (f64::from(TALKS * rounds), f64::from(rounds * TALKS * 2 * (MORE + 1)));
        let state = |state: &str| router.sum("flowgate_conntrack_packets_total", &["ipv4", state]);
        let created = || router.sum("flowgate_conntrack_created_total", &["proto=\"udp\""]);
        // Numbers are published now and then, by each worker for itself.
        let deadline = Instant::now() + PATIENCE;
        let told = || created() > talks && state("new") > talks && state("established") >= all - talks;
        while !told() {
            assert!(Instant::now() < deadline, "{} created, {} new", created(), state("new"));
            std::thread::sleep(Duration::from_millis(20));
        }
        // The probes have a connection of their own.
        assert_eq!(created(), talks + 1.0, "{}", router.log());
        assert_eq!((state("established"), state("invalid")), (all - talks, 0.0));
        assert!(router.sum("flowgate_worker_handoff_packets_total", &[]) > 0.0);
        assert_eq!(router.sum("flowgate_port_errors_total", &["direction=\"rx\""]), 0.0);
        let (buffers, free) = (router.sum("flowgate_buffers", &[]), router.sum("flowgate_buffers_free", &[]));
        assert!(free <= buffers && free > buffers / 2.0, "{free} of {buffers}");
    }
}

/// The port that is spoken to until something arrives. Some of that comes late.
const PROBED: u16 = 9;

fn is_probe(frame: &Frame) -> bool {
    frame.data()[UDP + 2..UDP + 4] == PROBED.to_be_bytes()
}

/// The frame with its checksum finished, if that was left to the receiver, and what it says.
fn completed(frame: &Frame) -> (Word, Vec<u8>) {
    let mut octets = frame.data().to_vec();
    if let Checksum::Partial { start, offset } = frame.meta.checksum {
        assert_eq!((usize::from(start), offset), (UDP, CHECKSUM));
        let sum = pseudo_sum(&octets).to_be_bytes();
        assert_eq!(octets[UDP + 6..UDP + 8], sum, "{:?} {octets:02x?}", Word::of(&octets[UDP + 8..]));
        let mut words: Vec<u8> = octets[UDP..].to_vec();
        words.resize(words.len().next_multiple_of(2), 0);
        let sum: u32 = words.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let check = !(((sum & 0xffff) + (sum >> 16)) as u16);
        octets[UDP + 6..UDP + 8].copy_from_slice(&check.to_be_bytes());
    }
    let (_, transport) = verified(&octets);
    (Word::of(&transport[8..]), octets)
}

/// The sum of the pseudo-header (RFC 768), not inverted, as senders with offloads leave it in the field.
fn pseudo_sum(frame: &[u8]) -> u16 {
    let length = u32::from(u16::from_be_bytes([frame[UDP + 4], frame[UDP + 5]]));
    let words = frame[26..34].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum = words.sum::<u32>() + 17 + length;
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
