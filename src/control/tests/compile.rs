//! Settings into snapshots, ports and sizes.

use super::bench::{settings, text};
use crate::control::{PortFacts, compile, largest_frame, port_spec, reserved_bytes, rule_slots, sizes};
use crate::driver::DriverKind;
use crate::frame::{MAX_FRAME, PoolConfig};
use crate::net::{Addr, Family, MacAddr, PortId, Tuple, proto};
use crate::route::Route;
use crate::steer::fanout_program;

const FACTS: [PortFacts; 2] = [
    PortFacts { mac: MacAddr([2, 0, 0, 0, 0, 1]), mtu: 1500, tx_checksum_partial: true, tx_gso: true },
    PortFacts { mac: MacAddr([2, 0, 0, 0, 0, 2]), mtu: 9000, tx_checksum_partial: false, tx_gso: false },
];

#[test]
fn a_snapshot_holds_what_the_settings_say() {
    let text = text(
        2,
        "
routes:
  - { to: 0.0.0.0/0, via: 10.0.2.9 }
  - { to: 192.0.2.0/24, type: blackhole }
  - { to: 198.51.100.0/24, type: prohibit }
sets: { ours: { type: ip, elements: [10.0.2.0/25] } }
helpers: { files: { type: ftp, ports: [2121], iif: lan0, daddr: '@ours', loose: true, timeout: 7s } }
icmp: { msgs_per_sec: 5, msgs_burst: 3 }
chains:
  forward: { policy: drop, rules: [ { id: one, verdict: accept } ] }
",
    )
    .replace(
        "max_entries: 4096",
        "max_entries: 4096, on_full: drop, checksum: false, tcp_loose: false, timeouts: { udp: 9s }",
    )
    .replace("wan0: { driver: memory", "wan0: { vlan: 7, driver: memory");
    let settings = settings(&text);
    let snapshot = compile(&settings, &FACTS, 300).unwrap();
    assert_eq!((snapshot.epoch, snapshot.epoch_octet()), (300, 44));
    assert_eq!((snapshot.evict, snapshot.verify, snapshot.icmp_limit), (false, false, (5, 3)));
    assert!(!snapshot.tracking.tcp_loose);
    assert_eq!((snapshot.tracking.timeouts.udp, snapshot.tracking.timeouts.udp_stream), (9000, 120_000));
    let [lan, wan] = &snapshot.ports[..] else { panic!("two ports") };
    assert_eq!((lan.name.as_str(), lan.mtu, lan.tx_checksum_partial, &lan.vlan[..]), ("lan0", 1500, true, &[][..]));
    assert_eq!((wan.mac, wan.mtu, wan.tx_checksum_partial, &wan.vlan[..]), (FACTS[1].mac, 9000, false, &[7][..]));
    let to = |a: u32| snapshot.fib.lookup(Family::V4, Addr::v4(a), 0);
    let Route::Forward(hop) = to(0x0808_0808) else { panic!("the default route") };
    assert_eq!((hop.port, hop.via), (PortId(1), Addr::v4(0x0a00_0209)));
    assert_eq!((to(0xc000_0201), to(0xc633_6401)), (Route::Blackhole, Route::Prohibit));
    let slots: Vec<_> = rule_slots(&snapshot.ruleset).into_iter().map(|s| (s.rule, s.verdict)).collect();
    assert_eq!(slots, [(Some("one".to_owned()), "accept"), (None, "drop")]);
    let control = |dst: u32, iif: u8| {
        let tuple = Tuple {
            src: Addr::v4(0x0a00_0102),
            dst: Addr::v4(dst),
            src_key: 1000,
            dst_key: 2121,
            proto: proto::TCP,
            family: Family::V4,
        };
        snapshot.helpers.pick(&tuple, PortId(iif)).is_some()
    };
    assert!(control(0x0a00_0202, 0) && !control(0x0a00_02c8, 0) && !control(0x0a00_0202, 1));
    let helper = &snapshot.helpers.configs()[0];
    assert!(helper.settings.loose && helper.timeout_ms == Some(7000) && helper.name == "files");
}

#[test]
fn ports_have_a_queue_for_every_worker_and_are_steered_to_those_that_receive() {
    let text = "
version: 1
workers: { cores: any, count: 3 }
ports:
  a: { driver: af_packet, device: eth7, queues: 2, ring: 512, mtu: 1400, mac: '02:00:00:00:00:09', addresses: [10.0.1.1/24] }
  b: { driver: memory, queues: 1, addresses: [10.0.2.1/24] }
";
    let settings = settings(text);
    let spec = port_spec(&settings, &settings.ports[0]);
    assert_eq!((spec.name.as_str(), spec.id, spec.driver), ("a", PortId(0), DriverKind::AfPacket));
    assert_eq!((spec.device.as_deref(), spec.queues, spec.ring, spec.mtu), (Some("eth7"), 3, 512, Some(1400)));
    assert_eq!(spec.mac, Some(MacAddr([2, 0, 0, 0, 0, 9])));
    let program: Vec<_> = spec.fanout.unwrap().iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect();
    let expected: Vec<_> = fanout_program(2).iter().map(|i| (i.code, i.jt, i.jf, i.k)).collect();
    assert_eq!(program, expected);
    let spec = port_spec(&settings, &settings.ports[1]);
    assert_eq!((spec.driver, spec.queues, spec.fanout), (DriverKind::Memory, 3, None));
}

#[test]
fn buffers_for_super_frames_hold_as_many_fragments_as_small_ones() {
    let settings = settings(&text(2, ""));
    let [small, large] = [1514, MAX_FRAME].map(|largest| sizes(&settings, largest));
    assert_eq!((small.entries, large.entries), (2048, 2048));
    assert_eq!((small.pool.frame_size, large.pool.frame_size), (2048, MAX_FRAME));
    for sizes in [small, large] {
        let (pool, fragments) = (sizes.pool, sizes.fragments);
        assert!(fragments.fragments * 4 <= pool.buffers && fragments.fragments > 256, "{fragments:?} {pool:?}");
        // What waits in transmit queues, for neighbours and for fragments never takes the last buffer.
        assert!(pool.buffers - fragments.fragments > 2 * 512 + usize::from(sizes.neighbours.queue_total) + 64);
        let each = fragments.bytes.map(|bytes| bytes / pool.stride());
        assert_eq!(each, [936; 2], "of 4 MiB for two workers");
        assert!(sizes.ring >= 4 * (pool.frame_size + 64));
    }
}

#[test]
fn what_is_reserved_grows_with_the_table_and_the_workers() {
    let of = |workers, entries| {
        reserved_bytes(&settings(&text(workers, "").replace("max_entries: 4096", &format!("max_entries: {entries}"))))
    };
    let (one, more, two) = (of(1, 100_000), of(1, 200_000), of(2, 100_000));
    assert!(more.table - one.table > 100_000 * 64, "a line for each entry");
    assert_eq!((more.buffers, more.fragments), (one.buffers, one.fragments));
    assert_eq!((one.rings, two.buffers), (0, 2 * one.buffers));
    assert!(two.rings > 0);
    assert_eq!(two.total(), two.parts().iter().map(|(_, octets)| octets).sum::<u64>());
    assert_eq!(two.per_worker() * 2, two.total());
    let config = settings(&text(1, ""));
    let pool: PoolConfig = sizes(&config, largest_frame(&config)).pool;
    assert_eq!(reserved_bytes(&config).buffers, pool.bytes() as u64);
}
