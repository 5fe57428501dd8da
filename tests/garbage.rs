//! A million frames that are wrong in every way: nothing panics, and every one is accounted for.
//!
//! Debug assertions are on, so a frame that ends without a recorded fate fails too.

#![allow(clippy::unwrap_used, clippy::panic, reason = "all of it is test code")]

mod common;

use common::traffic::{Packet, Random, mixed};
use common::*;
use flowgate::cli::replay::session::{Deal, Options, fragment_limits};
use flowgate::frag::Limits;
use flowgate::net::{CtState, DropReason, Family, PortId};

const FRAMES: usize = 1_000_000;

/// Four runs, so that no configuration hides what another shows.
const RUNS: usize = 4;

const POLICIES: [&str; 2] = [
    r#"
helpers:
  ftp: { type: ftp, l4proto: tcp, ports: [21] }
chains:
  prerouting:
    rules:
      - { id: exempt, l4proto: udp, dport: 9000, verdict: notrack }
  forward:
    policy: drop
    rules:
      - { id: known, ct_state: [established, related], verdict: accept }
      - { id: bad, ct_state: invalid, saddr: 10.0.1.0/25, verdict: drop }
      - { id: ident, l4proto: tcp, dport: 113, verdict: reject with tcp-reset }
      - { id: out, iif: [lan, tag], verdict: accept }
      - { id: told, verdict: reject }
"#,
    "helpers: { ftp: { type: ftp, l4proto: tcp, ports: [21] } }\nconntrack: { checksum: false, tcp_be_liberal: true, on_full: drop }\n",
];

/// Tags of ports, of none, and of nobody.
const TAGS: &[&[(u16, u16)]] = &[&[(0x8100, 100)], &[(0x88a8, 200), (0x8100, 300)], &[(0x8100, 0)], &[(0x88a8, 9)]];

const PORTS: [&str; 5] = ["lan", "wan", "tag", "qinq", "small"];

/// One packet, spoiled: bits flipped, cut, prolonged, spliced with another, tagged, or as it is.
fn spoil(random: &mut Random, corpus: &[Packet]) -> (&'static str, Vec<u8>) {
    let (port, frame) = random.pick(corpus);
    let (mut port, mut frame) = (*port, frame.clone());
    if random.one_in(20) {
        let len = random.below(200);
        return (*random.pick(&PORTS), random.octets(len));
    }
    for _ in 0..random.below(4) {
        let len = frame.len();
        match random.below(8) {
            // Mostly among the headers, where it matters.
            0..=2 if len > 0 => {
                let most = if random.one_in(4) { len } else { len.min(90) };
                let at = random.below(most);
                frame[at] = if random.one_in(2) { frame[at] ^ (1 << random.below(8)) } else { random.next() as u8 };
            }
            3 => frame.truncate(random.below(len + 1)),
            4 => {
                let tail = random.below(60);
                frame.extend(random.octets(tail));
            }
            5 => {
                let other = &random.pick(corpus).1;
                let from = random.below(other.len());
                frame.truncate(random.below(len + 1));
                frame.extend(&other[from..]);
            }
            6 if len >= LINK => {
                let tags = random.pick(TAGS);
                frame = with_tags(&frame, tags);
                port = *random.pick(&PORTS);
            }
            _ => port = *random.pick(&PORTS),
        }
    }
    // A header checksum that is right lets the rest be looked at.
    if frame.len() >= LINK + 20 && is_v4(&frame) && random.below(4) > 0 {
        let header = usize::from(frame[LINK] & 15) * 4;
        if header >= 20 && LINK + header <= frame.len() {
            seal(&mut frame);
        }
    }
    (port, frame)
}

#[test]
fn a_million_frames_of_garbage_are_accounted_for() {
    let (mut accepted, mut reasons, mut states) = (0, [0u64; DropReason::COUNT], [0u64; CtState::ALL.len()]);
    for run in 0..RUNS {
        let mut random = Random::new(run as u64 + 1);
        let corpus = mixed(run as u64 + 100, 600);
        let mut snapshot = snapshot(POLICIES[run % 2]);
        snapshot.assume_neighbours = run < 2;
        // Small bounds, so that they are reached.
        let fragments = Limits { datagrams: 64, fragments: 128, ..fragment_limits([1 << 20; 2], [30_000, 60_000]) };
        let options =
            Options { workers: 4, deal: Deal::Random(run as u64), max_entries: 2000, fragments, ..Options::default() };
        let mut router = Router::with(snapshot, &options);
        let ports = PORTS.map(|name| router.port(name));
        for n in 0..FRAMES / RUNS {
            // The traffic goes on as it should have, mostly, so that there are connections to disturb.
            let whole = &corpus[n % corpus.len()];
            let (port, frame) = if random.one_in(3) { whole.clone() } else { spoil(&mut random, &corpus) };
            let port = ports[PORTS.iter().position(|name| *name == port).unwrap()];
            router.now = router.now.plus_millis(if random.one_in(1000) { 40_000 } else { 1 });
            router.session.feed(port, &frame, router.now);
            if n % 50_000 == 0 {
                router.assert_balance();
            }
        }
        router.assert_balance();
        // Nothing is held for ever.
        router.wait(600_000);
        router.assert_balance();
        let counters = router.session.counters();
        for port in (0..PORTS.len()).map(|n| PortId(n as u8)) {
            assert_eq!(counters.balance(port).held, 0, "port {port:?} of run {run}");
            accepted += counters.balance(port).forwarded;
            for reason in DropReason::ALL {
                reasons[reason.index()] += counters.dropped(port, *reason);
            }
        }
        for (sum, state) in states.iter_mut().zip(CtState::ALL) {
            *sum += Family::ALL.iter().map(|family| counters.states(*family, state)).sum::<u64>();
        }
    }
    // It was garbage of many kinds, and not only.
    assert!(accepted > FRAMES as u64 / 20, "{accepted} forwarded");
    assert!(states.iter().all(|count| *count > 300), "{states:?}");
    let met = reasons.iter().filter(|count| **count > 0).count();
    assert!(met >= 16, "{met} reasons: {reasons:?}");
}
