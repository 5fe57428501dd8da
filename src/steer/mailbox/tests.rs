use super::*;
use proptest::prelude::*;

const POOL: PoolConfig = PoolConfig { buffers: 64, frame_size: 1600 };

fn pair(bytes: usize) -> (Sender, Receiver) {
    let mut links = mesh(2, RingConfig { bytes, pool: POOL }).unwrap();
    let receiver = links[1].from[0].take().unwrap();
    let sender = links[0].to[1].take().unwrap();
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
    // 90 of 128 cells are taken; one frame more fits, three do not.
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

#[test]
fn staged_packets_are_published_together_and_in_order() {
    let pool = Pool::new(PoolConfig { buffers: 256, ..POOL }).unwrap();
    let (mut sender, mut receiver) = pair(1 << 14);
    let frame = |n: u8, len: usize| pool.alloc_from(&vec![n; len]).unwrap();
    for n in 0..5 {
        sender.stage(&frame(n, 60 + usize::from(n))).unwrap();
    }
    assert!(receiver.is_empty() && received(&mut receiver, &pool, 64).is_empty());
    sender.publish();
    // What is sent at once is behind what was staged before it, and a long packet too.
    sender.stage(&frame(5, 96)).unwrap();
    sender.send(Stage::Datagram, &[frame(6, 0), frame(7, 1600)]).unwrap();
    sender.stage(&frame(8, 97)).unwrap();
    let long = Pool::new(PoolConfig { buffers: 1, frame_size: 4000 }).unwrap().alloc_from(&[9; 2100]).unwrap();
    assert_eq!(sender.stage(&long), Err(Full));
    sender.publish();
    let all = received(&mut receiver, &pool, 64);
    let seen: Vec<_> = all.iter().map(|(how, frame)| (how.count, frame.data().first().copied(), frame.len())).collect();
    let first = (0..5).map(|n| (1, Some(n), 60 + usize::from(n)));
    let rest = [(1, Some(5), 96), (2, None, 0), (2, Some(7), 1600), (1, Some(8), 97)];
    assert_eq!(seen, first.chain(rest).collect::<Vec<_>>());
    // Without publishing once they are enough, and never more than the ring holds.
    let mut staged = 0;
    while sender.stage(&frame(1, 64)).is_ok() {
        staged += 1;
        assert_eq!(receiver.is_empty(), staged < STAGED / 3);
    }
    assert_eq!(staged, (1 << 14) / (3 * CELL));
    sender.publish();
    assert_eq!(received(&mut receiver, &pool, usize::MAX).len(), staged);
}

#[test]
fn sizes_out_of_bounds_are_refused() {
    assert_eq!(mesh(0, RingConfig { bytes: 4096, pool: POOL }).unwrap_err(), MeshError::Workers(0));
    assert_eq!(mesh(65, RingConfig { bytes: 4096, pool: POOL }).unwrap_err(), MeshError::Workers(65));
    let small = mesh(2, RingConfig { bytes: 1000, pool: POOL }).unwrap_err();
    assert_eq!(small, MeshError::RingBytes { bytes: 1000, least: 1632 });
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
                prop_assert!(count * cells(len) > 5000 / CELL);
            }
        }
    }
}
