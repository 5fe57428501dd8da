use super::*;
use crate::frame::{Checksum, Gso, GsoKind, HeaderSum, Meta, Origin};
use crate::net::PortId;
use proptest::prelude::*;

const POOL: PoolConfig = PoolConfig { buffers: 64, frame_size: 1600 };

fn pair(bytes: usize) -> (Sender, Receiver) {
    let mut links = mesh(2, RingConfig { bytes, pool: POOL }).unwrap();
    let receiver = links[1].from[0].take().unwrap();
    let sender = links[0].to[1].take().unwrap();
    (sender, receiver)
}

/// The same on a processor that has no more than all have.
fn common_pair(bytes: usize) -> (Sender, Receiver) {
    let (mut sender, mut receiver) = pair(bytes);
    (sender.widest, receiver.widest) = (Widest::COMMON, Widest::COMMON);
    (sender, receiver)
}

fn received(receiver: &mut Receiver, pool: &Pool, max: usize) -> Vec<(Handoff, Frame)> {
    let mut all = Vec::new();
    receiver.drain(pool, max, |handoff, frame| all.push((handoff, frame)));
    all
}

fn metas() -> Vec<Meta> {
    let gso = |kind, ecn| Some(Gso { kind, ecn, size: 1448, header_len: 66 });
    vec![
        Meta::default(),
        Meta { checksum: Checksum::Verified, ingress: PortId(63), seq: 0xdead_beef, ..Meta::default() },
        Meta { origin: Origin::Originated, gso: gso(GsoKind::UdpL4, false), ..Meta::default() },
        Meta { gso: gso(GsoKind::Tcp6, false), ..Meta::default() },
        Meta { header: HeaderSum::Verified, ..Meta::default() },
        Meta { header: HeaderSum::Verified, checksum: Checksum::Verified, ..Meta::default() },
        Meta {
            checksum: Checksum::Partial { start: 34, offset: 16 },
            gso: gso(GsoKind::Tcp4, true),
            ingress: PortId(3),
            ..Meta::default()
        },
    ]
}

#[test]
fn octets_and_meta_data_arrive_as_sent() {
    let (here, there) = (Pool::new(POOL).unwrap(), Pool::new(POOL).unwrap());
    let (mut sender, mut receiver) = pair(1 << 14);
    for (i, meta) in metas().into_iter().enumerate() {
        let mut frame = here.alloc_from(&vec![i as u8; 60 + i]).unwrap();
        frame.meta = meta;
        for stage in [Stage::Packet, Stage::Fragment] {
            sender.send(stage, std::slice::from_ref(&frame)).unwrap();
            let all = received(&mut receiver, &there, 9);
            assert_eq!(all.len(), 1);
            assert_eq!(all[0].0, Handoff { stage, count: 1, index: 0 });
            assert_eq!(all[0].1.meta, meta);
            assert_eq!(all[0].1.data(), frame.data());
        }
    }
    assert!(receiver.is_empty());
    assert_eq!((here.available(), there.available()), (64, 64));
}

#[test]
fn a_group_is_sent_whole_or_not_at_all() {
    let pool = Pool::new(POOL).unwrap();
    let (mut sender, mut receiver) = pair(4096);
    let group: Vec<Frame> = (0..3).map(|i| pool.alloc_from(&[i; 900]).unwrap()).collect();
    sender.send(Stage::Datagram, &group).unwrap();
    // 48 of 64 lines are taken; one frame more would need 16, which fits, three do not.
    assert_eq!(sender.send(Stage::Datagram, &group), Err(Full));
    sender.send(Stage::Packet, &group[..1]).unwrap();
    let all = received(&mut receiver, &pool, 1);
    let seen: Vec<_> = all.iter().map(|(h, f)| (h.stage, h.count, h.index, f.data()[0])).collect();
    assert_eq!(seen, [(Stage::Datagram, 3, 0, 0), (Stage::Datagram, 3, 1, 1), (Stage::Datagram, 3, 2, 2)]);
    assert_eq!(received(&mut receiver, &pool, 1).len(), 1);
    assert!(receiver.is_empty());
}

#[test]
fn a_group_waits_until_the_pool_has_buffers_for_all_of_it() {
    let here = Pool::new(POOL).unwrap();
    let there = Pool::new(PoolConfig { buffers: 3, ..POOL }).unwrap();
    let (mut sender, mut receiver) = pair(1 << 14);
    let group: Vec<Frame> = (0..3).map(|i| here.alloc_from(&[i; 100]).unwrap()).collect();
    sender.send(Stage::Datagram, &group).unwrap();
    let held = there.alloc().unwrap();
    assert!(received(&mut receiver, &there, 8).is_empty());
    assert!(!receiver.is_empty());
    drop(held);
    assert_eq!(received(&mut receiver, &there, 8).len(), 3);
}

#[test]
fn what_no_receiver_can_take_is_refused_at_the_sender() {
    let wide = Pool::new(PoolConfig { buffers: 64, frame_size: 4000 }).unwrap();
    let (mut sender, receiver) = pair(1 << 20);
    let long = wide.alloc_from(&[0; 1601]).unwrap();
    assert_eq!(sender.send(Stage::Packet, std::slice::from_ref(&long)), Err(Full));
    let many: Vec<Frame> = (0..33).map(|_| wide.alloc_from(&[0; 60]).unwrap()).collect();
    assert_eq!(sender.send(Stage::Datagram, &many), Err(Full));
    sender.send(Stage::Datagram, &many[..32]).unwrap();
    assert!(!receiver.is_empty());
}

#[test]
fn the_mesh_joins_every_ordered_pair_once() {
    let pool = Pool::new(POOL).unwrap();
    let mut links = mesh(4, RingConfig { bytes: 4096, pool: POOL }).unwrap();
    for from in 0..4u8 {
        for to in 0..4u8 {
            let frame = pool.alloc_from(&[from, to]).unwrap();
            match links[usize::from(from)].sender(ShardId(to)) {
                Some(sender) => sender.send(Stage::Packet, std::slice::from_ref(&frame)).unwrap(),
                None => assert_eq!(from, to),
            }
        }
    }
    for to in 0..4u8 {
        assert_eq!(links[usize::from(to)].me, ShardId(to));
        let mut froms = Vec::new();
        for (from, receiver) in links[usize::from(to)].receivers() {
            for (_, frame) in received(receiver, &pool, 8) {
                assert_eq!(frame.data(), [from.0, to]);
                froms.push(from.0);
            }
        }
        let others: Vec<u8> = (0..4).filter(|i| *i != to).collect();
        assert_eq!(froms, others);
    }
    assert!(links[0].sender(ShardId(9)).is_none());
}

fn burst_of(frames: impl IntoIterator<Item = Frame>) -> Burst {
    let mut burst = Burst::with_limit(BURST);
    frames.into_iter().for_each(|frame| burst.push(frame).unwrap());
    burst
}

const BURST: usize = 64;

/// Takes single packets until none is left in front.
fn packets(receiver: &mut Receiver, pool: &Pool) -> Vec<Frame> {
    let (mut all, mut burst) = (Vec::new(), Burst::with_limit(BURST));
    while receiver.take_packets(pool, usize::MAX, &mut burst) != 0 {
        all.extend(burst.drain());
    }
    all
}

#[test]
fn packets_of_a_burst_arrive_together_and_in_order() {
    let (here, there) = (Pool::new(PoolConfig { buffers: 256, ..POOL }).unwrap(), Pool::new(POOL).unwrap());
    let (mut sender, mut receiver) = pair(1 << 14);
    let lens = [60, 64, 33, 32, 65, 0, 14, 1, 96, 97, 1600, 42, 60, 60];
    let frames = lens.iter().zip(metas().into_iter().cycle()).enumerate().map(|(n, (len, meta))| {
        let mut frame = here.alloc_from(&vec![n as u8; *len]).unwrap();
        frame.meta = meta;
        frame
    });
    let mut burst = burst_of(frames);
    let expected: Vec<_> = burst.as_slice().iter().map(|frame| (frame.data().to_vec(), frame.meta)).collect();
    assert_eq!(sender.send_packets(&mut burst), lens.len());
    assert!(burst.is_empty());
    let all = packets(&mut receiver, &there);
    assert_eq!(all.iter().map(|frame| (frame.data().to_vec(), frame.meta)).collect::<Vec<_>>(), expected);
    assert!(receiver.is_empty());
    drop(all);
    assert_eq!((here.available(), there.available()), (256, 64));
}

#[test]
fn packets_are_taken_up_to_the_next_group_and_as_many_as_have_room() {
    let pool = Pool::new(PoolConfig { buffers: 256, ..POOL }).unwrap();
    let (mut sender, mut receiver) = pair(1 << 14);
    let frame = |n: u8| pool.alloc_from(&[n; 60]).unwrap();
    assert_eq!(sender.send_packets(&mut burst_of((0..40).map(frame))), 40);
    sender.send(Stage::Datagram, &[frame(40), frame(41)]).unwrap();
    assert_eq!(sender.send_packets(&mut burst_of([frame(42)])), 1);
    let mut burst = Burst::with_limit(BURST);
    assert_eq!(receiver.take_packets(&pool, 5, &mut burst), 5);
    burst.consume(5);
    let mut small = Burst::with_limit(20);
    assert_eq!(receiver.take_packets(&pool, 64, &mut small), 20);
    assert_eq!(receiver.take_packets(&pool, 64, &mut small), 0);
    assert_eq!(receiver.take_packets(&pool, 64, &mut burst), 15);
    assert_eq!(receiver.take_packets(&pool, 64, &mut burst), 0);
    let octets = |burst: &Burst| burst.as_slice().iter().map(|frame| frame.data()[0]).collect::<Vec<_>>();
    assert_eq!((octets(&small), octets(&burst)), ((5..25).collect(), (25..40).collect()));
    assert_eq!(received(&mut receiver, &pool, 1).len(), 2);
    assert_eq!(packets(&mut receiver, &pool).len(), 1);
    drop((small, burst));
    assert_eq!(pool.available(), 256);
}

#[test]
fn packets_that_are_alike_are_taken_in_any_portions() {
    let pool = Pool::new(PoolConfig { buffers: 256, ..POOL }).unwrap();
    let mut burst = Burst::with_limit(BURST);
    let lens = [[60; 40], [64; 40], [33; 40], [65; 40], std::array::from_fn(|n| n * 3)];
    for (lens, pair) in lens.into_iter().flat_map(|lens| [(lens, pair as fn(usize) -> _), (lens, common_pair)]) {
        let (mut sender, mut receiver) = pair(1 << 14);
        let sent: Vec<_> = (0u8..).zip(lens).map(|(n, len)| vec![n; len]).collect();
        assert_eq!(sender.send_packets(&mut burst_of(sent.iter().map(|data| pool.alloc_from(data).unwrap()))), 40);
        let mut seen = Vec::new();
        while seen.len() < 40 {
            let got = received(&mut receiver, &pool, 3);
            assert!(got.iter().all(|(how, _)| *how == Handoff { stage: Stage::Packet, count: 1, index: 0 }));
            seen.extend(got.iter().map(|(_, frame)| frame.data().to_vec()));
            receiver.fetch();
            assert!(receiver.take_packets(&pool, 5, &mut burst) <= 5);
            seen.extend(burst.drain().map(|frame| frame.data().to_vec()));
        }
        assert_eq!(seen, sent);
        assert!(receiver.is_empty());
    }
    drop(burst);
    assert_eq!(pool.available(), 256);
}

#[test]
fn the_largest_frames_arrive() {
    let large = PoolConfig { buffers: 8, frame_size: MAX_FRAME };
    let pool = Pool::new(large).unwrap();
    let mut links = mesh(2, RingConfig { bytes: 1 << 20, pool: large }).unwrap();
    let (mut sender, mut receiver) = (links[0].to[1].take().unwrap(), links[1].from[0].take().unwrap());
    let lens = [MAX_FRAME, 60, 65_536, 65_535];
    for _ in 0..5 {
        let frames = lens.map(|len| pool.alloc_from(&vec![len as u8; len]).unwrap());
        assert_eq!(sender.send_packets(&mut burst_of(frames)), 4);
        assert!(
            packets(&mut receiver, &pool).iter().map(|frame| frame.data()).eq(lens.map(|len| vec![len as u8; len]))
        );
    }
}

#[test]
fn packets_wait_for_buffers() {
    let here = Pool::new(POOL).unwrap();
    let there = Pool::new(PoolConfig { buffers: 3, ..POOL }).unwrap();
    let (mut sender, mut receiver) = pair(1 << 14);
    sender.send_packets(&mut burst_of((0..5).map(|n| here.alloc_from(&[n; 60]).unwrap())));
    let mut burst = Burst::with_limit(BURST);
    assert_eq!(receiver.take_packets(&there, 64, &mut burst), 3);
    assert_eq!(receiver.take_packets(&there, 64, &mut burst), 0);
    assert_eq!(received(&mut receiver, &there, 64).len(), 0);
    burst.consume(3);
    assert_eq!(packets(&mut receiver, &there).len(), 2);
}

#[test]
fn what_has_no_room_stays_with_its_sender() {
    let pool = Pool::new(PoolConfig { buffers: 256, frame_size: 4000 }).unwrap();
    let (mut sender, mut receiver) = pair(3000);
    let mut burst = burst_of((0..64).map(|n| pool.alloc_from(&[n; 60]).unwrap()));
    // As if each were a run of its own; what that leaves is for the next.
    let mut fit = sender.send_packets(&mut burst);
    assert_eq!(fit, 3000 / LINE / 2);
    while let more @ 1.. = sender.send_packets(&mut burst) {
        fit += more;
    }
    assert!((3000 / LINE * 3 / 4..64).contains(&fit));
    assert_eq!((burst.len(), burst.as_slice()[0].data()), (64 - fit, &[fit as u8; 60][..]));
    assert_eq!(packets(&mut receiver, &pool).len(), fit);
    burst.consume(64);
    // A frame that no receiver could take is never sent.
    let long = pool.alloc_from(&[0; 1601]).unwrap();
    let mut burst = burst_of([pool.alloc_from(&[0; 60]).unwrap(), long]);
    assert_eq!((sender.send_packets(&mut burst), sender.send_packets(&mut burst), burst.len()), (1, 0, 1));
}

#[test]
fn a_pool_of_small_buffers_will_do() {
    let small = PoolConfig { buffers: 64, frame_size: 48 };
    let mut links = mesh(2, RingConfig { bytes: 4096, pool: small }).unwrap();
    let (mut sender, mut receiver) = (links[0].to[1].take().unwrap(), links[1].from[0].take().unwrap());
    let pool = Pool::new(small).unwrap();
    let mut burst = burst_of((0..10).map(|n| pool.alloc_from(&[n; 44]).unwrap()));
    assert_eq!(sender.send_packets(&mut burst), 10);
    let all = packets(&mut receiver, &pool);
    assert!(all.iter().zip(0..).all(|(frame, n)| frame.data() == [n; 44]) && all.len() == 10);
}

#[test]
fn sizes_out_of_bounds_are_refused() {
    assert_eq!(mesh(0, RingConfig { bytes: 4096, pool: POOL }).unwrap_err(), MeshError::Workers(0));
    assert_eq!(mesh(65, RingConfig { bytes: 4096, pool: POOL }).unwrap_err(), MeshError::Workers(65));
    let small = mesh(2, RingConfig { bytes: 1000, pool: POOL }).unwrap_err();
    assert_eq!(small, MeshError::RingBytes { bytes: 1000, least: 1664 });
}

#[test]
fn frames_cross_threads_in_order() {
    const FRAMES: u32 = 20_000;
    let (mut sender, mut receiver) = pair(8192);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let pool = Pool::new(POOL).unwrap();
            let mut next = 0;
            while next < FRAMES {
                let frames: Vec<Frame> = (0..1 + next % 3)
                    .map(|i| {
                        let mut frame = pool.alloc_from(&vec![next as u8; 14 + (next % 1400) as usize]).unwrap();
                        frame.meta.seq = next + i;
                        frame
                    })
                    .collect();
                if sender.send(Stage::Datagram, &frames).is_ok() {
                    next += frames.len() as u32;
                } else {
                    std::thread::yield_now();
                }
            }
        });
        let pool = Pool::new(POOL).unwrap();
        let mut next = 0;
        while next < FRAMES {
            let got = receiver.drain(&pool, 32, |handoff, frame| {
                let first = frame.meta.seq - u32::from(handoff.index);
                assert_eq!(frame.meta.seq, next);
                assert!(frame.data().iter().all(|b| *b == first as u8));
                next += 1;
            });
            if got == 0 {
                std::thread::yield_now();
            }
        }
    });
}

#[test]
fn single_packets_cross_threads_in_order() {
    const FRAMES: u32 = 40_000;
    let (mut sender, mut receiver) = pair(8192);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let pool = Pool::new(POOL).unwrap();
            let (mut next, mut burst) = (0, Burst::with_limit(BURST));
            while next < FRAMES || !burst.is_empty() {
                while next < FRAMES && burst.room() > BURST / 2 {
                    let mut frame = pool.alloc_from(&vec![next as u8; 40 + (next % 45) as usize]).unwrap();
                    frame.meta.seq = next / 1000;
                    burst.push(frame).unwrap();
                    next += 1;
                }
                if sender.send_packets(&mut burst) == 0 {
                    std::thread::yield_now();
                }
            }
        });
        let pool = Pool::new(POOL).unwrap();
        let (mut next, mut burst) = (0, Burst::with_limit(BURST));
        while next < FRAMES {
            if receiver.take_packets(&pool, 32, &mut burst) == 0 {
                std::thread::yield_now();
            }
            for frame in burst.drain() {
                assert_eq!((frame.meta.seq, frame.len()), (next / 1000, 40 + (next % 45) as usize));
                assert!(frame.data().iter().all(|b| *b == next as u8));
                next += 1;
            }
        }
        assert_eq!(pool.available(), POOL.buffers);
    });
}

proptest! {
    #[test]
    fn any_mix_of_lengths_wraps_round_the_ring(lengths in prop::collection::vec((0usize..1600, 1usize..4), 1..40)) {
        let pool = Pool::new(POOL).unwrap();
        let (mut sender, mut receiver) = pair(5000);
        let mut expected = std::collections::VecDeque::new();
        for (n, (len, count)) in lengths.into_iter().enumerate() {
            let group: Vec<Frame> = (0..count).map(|i| pool.alloc_from(&vec![(n + i) as u8; len]).unwrap()).collect();
            let mut sent = sender.send(Stage::Packet, &group);
            if sent.is_err() {
                let mut failed = None;
                receiver.drain(&pool, usize::MAX, |_, frame| {
                    if expected.pop_front().as_deref() != Some(frame.data()) {
                        failed = Some(frame.len());
                    }
                });
                prop_assert_eq!(failed, None);
                prop_assert!(expected.is_empty());
                sent = sender.send(Stage::Packet, &group);
            }
            if sent.is_ok() {
                expected.extend(group.iter().map(|f| f.data().to_vec()));
            } else {
                prop_assert!(count * (1 + lines(len)) > 5000 / LINE);
            }
        }
    }
}

/// What a frame is told from others by.
fn known(frame: &Frame) -> (u32, Vec<u8>) {
    (frame.meta.seq, frame.data().to_vec())
}

proptest! {
    #[test]
    fn any_mix_of_packets_and_groups_arrives_in_order(
        sends in prop::collection::vec((any::<bool>(), prop::collection::vec(0usize..200, 1..30)), 1..20),
        most in 1usize..40,
        alike in 1u32..50,
        common: bool,
    ) {
        let pool = Pool::new(PoolConfig { buffers: 256, ..POOL }).unwrap();
        let (mut sender, mut receiver) = if common { common_pair(9000) } else { pair(9000) };
        let (mut sent, mut seen, mut n) = (Vec::new(), Vec::new(), 0u32);
        for (single, lens) in sends {
            let mut frames: Vec<Frame> = Vec::new();
            for len in lens {
                let mut frame = pool.alloc_from(&vec![n as u8; len]).unwrap();
                // Some are alike, and so of one run.
                (frame.meta.seq, n) = (n / alike, n + 1);
                frames.push(frame);
            }
            let numbers: Vec<_> = frames.iter().map(known).collect();
            if single {
                let count = sender.send_packets(&mut burst_of(frames));
                sent.extend(numbers.into_iter().take(count));
            } else if sender.send(Stage::Datagram, &frames).is_ok() {
                sent.extend(numbers);
            }
            let mut burst = Burst::with_limit(BURST);
            if receiver.take_packets(&pool, most, &mut burst) == 0 {
                receiver.drain(&pool, 1, |_, frame| seen.push(known(&frame)));
            }
            seen.extend(burst.drain().map(|frame| known(&frame)));
        }
        let mut burst = Burst::with_limit(BURST);
        while !receiver.is_empty() {
            if receiver.take_packets(&pool, most, &mut burst) == 0 {
                receiver.drain(&pool, 1, |_, frame| seen.push(known(&frame)));
            }
            seen.extend(burst.drain().map(|frame| known(&frame)));
        }
        prop_assert_eq!(sent, seen);
    }
}
