use super::*;
use crate::frame::PoolConfig;
use crate::net::PortId;

#[test]
fn a_port_has_at_least_one_queue_and_not_too_many() {
    for (queues, good) in [(0, false), (1, true), (64, true), (65, false)] {
        let mut spec = PortSpec::new("p0", PortId(0), DriverKind::Memory);
        spec.queues = queues;
        match open(&spec) {
            Ok(port) => assert!(good && port.queues.len() == queues),
            Err(e) => assert_eq!(
                (good, e.to_string()),
                (false, format!("port p0: {queues} queues asked for, it can have 1 to 64"))
            ),
        }
    }
}

#[test]
fn a_memory_port_from_a_configuration_counts_what_it_forgets() {
    let mut spec = PortSpec::new("p0", PortId(4), DriverKind::Memory);
    spec.mtu = Some(9000);
    let port = open(&spec).unwrap();
    assert_eq!(port.info.mtu, 9000);
    assert_eq!(port.warnings.len(), 1);
    let mut queue = port.queues.into_iter().next().unwrap().start();
    let pool = Pool::new(PoolConfig { buffers: 1, frame_size: 100 }).unwrap();
    let mut burst = Burst::with_limit(1);
    assert_eq!(queue.receive(&pool, &mut burst).received, 0);
    burst.push(pool.alloc_from(b"away").unwrap()).unwrap();
    assert_eq!(queue.transmit(&mut burst), TxStatus { sent: 1, stop: None });
    assert_eq!(queue.stats(), QueueStats { tx_packets: 1, tx_bytes: 4, ..QueueStats::default() });
}

#[test]
fn counts_add_up_and_their_difference_too() {
    let one = QueueStats { rx_packets: 3, tx_ring_full: 1, ..QueueStats::default() };
    let mut sum = one;
    sum.add(&QueueStats { rx_packets: 2, rx_missed: 7, ..QueueStats::default() });
    assert_eq!(sum, QueueStats { rx_packets: 5, rx_missed: 7, tx_ring_full: 1, ..QueueStats::default() });
    assert_eq!(sum.since(&one), QueueStats { rx_packets: 2, rx_missed: 7, ..QueueStats::default() });
    assert!(sum.errors().contains(&("rx", "missed", 7)));
}

#[cfg(not(feature = "dpdk"))]
#[test]
fn a_build_without_dpdk_says_how_to_get_it() {
    let error = open(&PortSpec::new("nic", PortId(0), DriverKind::Dpdk)).err().unwrap().to_string();
    assert!(error.contains("port nic") && error.contains("--features dpdk"), "{error}");
}
