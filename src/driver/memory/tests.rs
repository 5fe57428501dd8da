use super::bench::{BenchConfig, BenchEnd, Templates};
use super::*;
use crate::frame::{Gso, GsoKind, PoolConfig};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn pool(buffers: usize) -> Pool {
    Pool::new(PoolConfig { buffers, frame_size: 2048 }).unwrap()
}

fn started(config: MemoryConfig) -> (Vec<Box<dyn QueuePair>>, Peer) {
    let (port, peer) = pair(config);
    (port.queues.into_iter().map(QueueSeed::start).collect(), peer)
}

#[test]
fn a_frame_comes_in_with_its_meta_and_the_ports_number() {
    let (mut queues, mut peer) = started(MemoryConfig { queues: 2, ..MemoryConfig::new(PortId(3)) });
    let meta = Meta {
        checksum: Checksum::Partial { start: 34, offset: 16 },
        gso: Some(Gso { kind: GsoKind::Tcp4, ecn: true, size: 1448, header_len: 66 }),
        ..Meta::default()
    };
    assert!(peer.queue(1).unwrap().inject_with(b"hello", &meta));
    let pool = pool(4);
    let mut burst = Burst::with_limit(4);
    assert_eq!(queues[0].receive(&pool, &mut burst), RxStatus::default());
    assert_eq!(queues[1].receive(&pool, &mut burst), RxStatus { received: 1, octets: 5, link: None });
    let frame = burst.pop().unwrap();
    assert_eq!(frame.data(), b"hello");
    assert_eq!(frame.meta, Meta { ingress: PortId(3), ..meta });
    assert_eq!(queues[1].stats(), QueueStats { rx_packets: 1, rx_bytes: 5, rx_super: 1, ..QueueStats::default() });
}

#[test]
fn a_full_ring_leaves_the_rest_to_the_caller() {
    let (mut queues, mut peer) = started(MemoryConfig { ring: 2, ..MemoryConfig::new(PortId(0)) });
    let pool = pool(4);
    let mut burst = Burst::with_limit(4);
    for text in [b"a", b"b", b"c"] {
        burst.push(pool.alloc_from(text).unwrap()).unwrap();
    }
    assert_eq!(queues[0].transmit(&mut burst), TxStatus { sent: 2, stop: Some(TxStop::Full) });
    assert_eq!(burst.as_slice()[0].data(), b"c");
    assert_eq!(peer.queue(0).unwrap().take().unwrap().bytes, b"a");
    assert_eq!(queues[0].transmit(&mut burst), TxStatus { sent: 1, stop: None });
    assert_eq!(peer.queue(0).unwrap().take().unwrap().bytes, b"b");
    assert_eq!(peer.queue(0).unwrap().take().unwrap().bytes, b"c");
    assert_eq!(peer.queue(0).unwrap().take(), None);
    let stats = queues[0].stats();
    assert_eq!((stats.tx_packets, stats.tx_bytes, stats.tx_ring_full), (3, 3, 1));
    assert_eq!(pool.available(), 4);
}

#[test]
fn a_dry_pool_leaves_frames_in_the_ring() {
    let (mut queues, mut peer) = started(MemoryConfig::new(PortId(0)));
    let pool = pool(1);
    let mut burst = Burst::with_limit(8);
    peer.queue(0).unwrap().inject(b"one");
    peer.queue(0).unwrap().inject(b"two");
    assert_eq!(queues[0].receive(&pool, &mut burst).received, 1);
    assert_eq!(queues[0].stats().rx_nobuf, 1);
    burst.consume(1);
    assert_eq!(queues[0].receive(&pool, &mut burst).received, 1);
    assert_eq!(burst.as_slice()[0].data(), b"two");
}

#[test]
fn a_frame_larger_than_a_buffer_is_counted_and_dropped() {
    let (mut queues, mut peer) = started(MemoryConfig::new(PortId(0)));
    let pool = pool(2);
    let mut burst = Burst::with_limit(8);
    peer.queue(0).unwrap().inject(&[0; 2049]);
    peer.queue(0).unwrap().inject(b"behind it");
    assert_eq!(queues[0].receive(&pool, &mut burst).received, 1);
    assert_eq!(queues[0].stats().rx_truncated, 1);
    assert_eq!(pool.available(), 1);
}

#[test]
fn without_offloads_only_plain_frames_of_the_mtu_go() {
    let (mut queues, mut peer) = started(MemoryConfig { offloads: false, ..MemoryConfig::new(PortId(0)) });
    let pool = pool(4);
    let mut burst = Burst::with_limit(4);
    burst.push(pool.alloc_from(&[1; 1522]).unwrap()).unwrap();
    burst.push(pool.alloc_from(&[2; 1523]).unwrap()).unwrap();
    let mut partial = pool.alloc_from(&[3; 60]).unwrap();
    partial.meta.checksum = Checksum::Partial { start: 34, offset: 16 };
    burst.push(partial).unwrap();
    burst.push(pool.alloc_from(&[4; 60]).unwrap()).unwrap();
    assert_eq!(queues[0].transmit(&mut burst), TxStatus { sent: 1, stop: Some(TxStop::Oversize) });
    burst.consume(1);
    assert_eq!(queues[0].transmit(&mut burst), TxStatus { sent: 0, stop: Some(TxStop::Refused) });
    burst.consume(1);
    assert_eq!(queues[0].transmit(&mut burst), TxStatus { sent: 1, stop: None });
    let firsts: Vec<u8> = std::iter::from_fn(|| peer.queue(0)?.take_with(|bytes, _| bytes[0])).collect();
    assert_eq!(firsts, [1, 4]);
    assert_eq!((queues[0].stats().tx_oversize, queues[0].stats().tx_refused), (1, 1));
}

#[test]
fn the_link_is_reported_once_per_change() {
    let (port, mut peer) = pair(MemoryConfig::new(PortId(0)));
    let mut queue = port.queues.into_iter().next().unwrap().start();
    let pool = pool(4);
    let mut burst = Burst::with_limit(4);
    peer.queue(0).unwrap().inject(b"waits");
    peer.set_link(LinkState::Down);
    assert_eq!(port.control.link(), LinkState::Down);
    assert_eq!(queue.receive(&pool, &mut burst), RxStatus { link: Some(LinkState::Down), ..RxStatus::default() });
    assert_eq!(queue.receive(&pool, &mut burst), RxStatus::default());
    burst.push(pool.alloc_from(b"out").unwrap()).unwrap();
    assert_eq!(queue.transmit(&mut burst), TxStatus { sent: 0, stop: Some(TxStop::Down) });
    assert_eq!(queue.stats().tx_down, 1);
    peer.set_link(LinkState::Up);
    assert_eq!(queue.receive(&pool, &mut burst), RxStatus { received: 1, octets: 5, link: Some(LinkState::Up) });
}

#[test]
fn frames_keep_their_order_between_threads() {
    const COUNT: u32 = 20_000;
    let (port, peer) = pair(MemoryConfig { ring: 64, ..MemoryConfig::new(PortId(0)) });
    let seed = port.queues.into_iter().next().unwrap();
    let router = std::thread::spawn(move || {
        let mut queue = seed.start();
        let pool = pool(64);
        let mut burst = Burst::with_limit(32);
        while queue.stats().tx_packets < u64::from(COUNT) {
            queue.receive(&pool, &mut burst);
            queue.transmit(&mut burst);
            if burst.is_empty() {
                std::thread::yield_now();
            }
        }
        queue.stats()
    });
    let mut end = peer.into_queues().pop().unwrap();
    let (mut sent, mut got) = (0u32, 0u32);
    while got < COUNT {
        if sent < COUNT && end.inject(&sent.to_be_bytes()) {
            sent += 1;
        } else if let Some(bytes) = end.take_with(|bytes, _| <[u8; 4]>::try_from(bytes).unwrap()) {
            assert_eq!(u32::from_be_bytes(bytes), got);
            got += 1;
        } else {
            std::thread::yield_now();
        }
    }
    let stats = router.join().unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets), (u64::from(COUNT), u64::from(COUNT)));
}

#[test]
fn a_bench_port_cycles_its_templates_and_shows_the_sink_what_is_sent() {
    let set: Arc<[(Vec<u8>, Meta)]> = vec![(vec![7; 60], Meta::default()), (vec![9; 64], Meta::default())].into();
    let seen = Arc::new(AtomicU64::new(0));
    let counter = seen.clone();
    let end = BenchEnd {
        source: Box::new(Templates::new(set, 1, 5)),
        sink: Some(Box::new(move |sent| {
            let octets: usize = sent.frames().iter().map(crate::frame::Frame::len).sum();
            counter.fetch_add(octets as u64, Ordering::Relaxed);
        })),
    };
    let port = bench::open(BenchConfig::new(PortId(1)), vec![end]);
    let mut queue = port.queues.into_iter().next().unwrap().start();
    let pool = pool(8);
    let mut burst = Burst::with_limit(3);
    assert_eq!(queue.receive(&pool, &mut burst).received, 3);
    let lengths: Vec<usize> = burst.as_slice().iter().map(crate::frame::Frame::len).collect();
    assert_eq!(lengths, [64, 60, 64]);
    assert_eq!(queue.transmit(&mut burst), TxStatus { sent: 3, stop: None });
    assert_eq!(queue.receive(&pool, &mut burst).received, 2);
    assert_eq!(seen.load(Ordering::Relaxed), 64 + 60 + 64);
    assert_eq!((queue.stats().tx_packets, queue.stats().tx_bytes, queue.stats().tx_super), (3, 188, 0));
    assert_eq!(pool.available(), 6);
}

#[test]
fn a_bench_port_shows_the_sink_only_what_it_sends() {
    let seen = Arc::new(AtomicU64::new(0));
    let counter = seen.clone();
    let sink = Box::new(move |sent: &crate::frame::Survey<'_>| {
        counter.fetch_add(sent.frames().len() as u64, Ordering::Relaxed);
    });
    let end = BenchEnd { source: Box::new(bench::Nothing), sink: Some(sink) };
    let port = bench::open(BenchConfig { offloads: false, ..BenchConfig::new(PortId(1)) }, vec![end]);
    let mut queue = port.queues.into_iter().next().unwrap().start();
    let pool = pool(8);
    let mut burst = Burst::with_limit(8);
    for len in [60, 1522, 1523, 60, 60, 60] {
        burst.push(pool.alloc_from(&vec![1; len]).unwrap()).unwrap();
    }
    burst.as_mut_slice()[4].meta.checksum = Checksum::Partial { start: 34, offset: 16 };
    burst.as_mut_slice()[5].meta.gso = Some(Gso { kind: GsoKind::Tcp4, ecn: false, size: 10, header_len: 54 });
    assert_eq!(queue.transmit(&mut burst), TxStatus { sent: 2, stop: Some(TxStop::Oversize) });
    burst.consume(1);
    assert_eq!(queue.transmit(&mut burst), TxStatus { sent: 1, stop: Some(TxStop::Refused) });
    burst.consume(1);
    assert_eq!(queue.transmit(&mut burst), TxStatus { sent: 0, stop: Some(TxStop::Refused) });
    burst.consume(1);
    assert_eq!(queue.transmit(&mut burst), TxStatus { sent: 0, stop: None });
    assert_eq!(seen.load(Ordering::Relaxed), 3);
    let stats = queue.stats();
    assert_eq!((stats.tx_packets, stats.tx_bytes, stats.tx_oversize, stats.tx_refused), (3, 60 + 1522 + 60, 1, 2));
    assert_eq!(pool.available(), 8);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever is injected comes out in order, or is counted as missing a buffer; nothing else.
    #[test]
    fn nothing_is_lost_or_invented(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..40),
                                   ring in 1usize..16, limit in 1usize..8) {
        let (mut queues, mut peer) = started(MemoryConfig { ring, ..MemoryConfig::new(PortId(0)) });
        let pool = pool(limit);
        let mut burst = Burst::with_limit(limit);
        let mut out = Vec::new();
        for bytes in &frames {
            while !peer.queue(0).unwrap().inject(bytes) {
                queues[0].receive(&pool, &mut burst);
                queues[0].transmit(&mut burst);
                out.extend(std::iter::from_fn(|| peer.queue(0)?.take()).map(|d| d.bytes));
            }
        }
        for _ in 0..=ring {
            queues[0].receive(&pool, &mut burst);
            queues[0].transmit(&mut burst);
            out.extend(std::iter::from_fn(|| peer.queue(0)?.take()).map(|d| d.bytes));
        }
        prop_assert_eq!(out, frames);
        prop_assert_eq!(pool.available(), limit);
    }
}
