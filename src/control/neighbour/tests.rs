use super::*;
use crate::route::{FibSpec, Nud, PortSpec};
use proptest::prelude::*;

// 02:00:00:00:00:01 is the router's lan port, 02:00:00:00:00:aa a host; checksums come from another program.
const ARP_ASKS_US: &str = "ffffffffffff0200000000aa08060001080006040001\
                           0200000000aa0a0001aa0000000000000a000101";
const ARP_ANSWER: &str = "0200000000aa020000000001080600010800060400020200000000010a0001010200000000aa0a0001aa";
const ARP_ASK: &str = "ffffffffffff020000000001080600010800060400010200000000010a0001010000000000000a0001aa";
const ARP_PROBE: &str = "0200000000aa020000000001080600010800060400010200000000010a0001010000000000000a0001aa";
const ARP_REPLY_TO_US: &str = "0200000000010200000000aa080600010800060400020200000000aa0a0001aa0200000000010a000101";
const ARP_ANNOUNCE: &str = "ffffffffffff020000000001080600010800060400010200000000010a0001010000000000000a000101";
const NS_TO_US: &str = "3333ff0000010200000000aa86dd6000000000203aff20010db80001000000000000000000aaff020000000000\
                        0000000001ff00000187001ad50000000020010db8000100000000000000000001\
                        01010200000000aa";
const NA_ANSWER: &str = "0200000000aa02000000000186dd6000000000203aff20010db8000100000000000000000001\
                         20010db80001000000000000000000aa880009c8e000000020010db8000100000000000000000001\
                         0201020000000001";
const NS_DAD: &str = "3333ff0000010200000000aa86dd6000000000183aff00000000000000000000000000000000\
                      ff0200000000000000000001ff00000187004cec0000000020010db8000100000000000000000001";
const NA_ALL: &str = "33330000000102000000000186dd6000000000203aff20010db8000100000000000000000001\
                      ff02000000000000000000000000000188007928a000000020010db8000100000000000000000001\
                      0201020000000001";
const NA_ALL_LINK_LOCAL: &str = "33330000000102000000000186dd6000000000203afffe80000000000000000000fffe000001\
                                 ff0200000000000000000000000000018800d99aa0000000fe80000000000000000000fffe000001\
                                 0201020000000001";
const NS_ASK: &str = "3333ff0000aa02000000000186dd6000000000203aff20010db8000100000000000000000001\
                      ff0200000000000000000001ff0000aa87001ad50000000020010db80001000000000000000000aa\
                      0101020000000001";
const NS_ASK_LINK_LOCAL: &str = "3333ff0000bb02000000000186dd6000000000203afffe80000000000000000000fffe000001\
                                 ff0200000000000000000001ff0000bb87007a2500000000fe8000000000000000000000000000bb\
                                 0101020000000001";
const NS_PROBE: &str = "0200000000aa02000000000186dd6000000000203aff20010db8000100000000000000000001\
                        20010db80001000000000000000000aa8700eb1f0000000020010db80001000000000000000000aa\
                        0101020000000001";
const NA_TO_US: &str = "0200000000010200000000aa86dd6000000000203aff20010db80001000000000000000000aa\
                        20010db8000100000000000000000001880088766000000020010db80001000000000000000000aa\
                        02010200000000aa";
const NS_BARE: &str = "0200000000010200000000aa86dd6000000000183aff20010db80001000000000000000000aa\
                       20010db800010000000000000000000187\
                       00eed20000000020010db8000100000000000000000001";
const NA_CONFLICT: &str = "3333000000010200000000aa86dd6000000000203aff20010db8000100000000000000000001\
                           ff0200000000000000000000000000018800f87f2000000020010db8000100000000000000000001\
                           02010200000000aa";
const NS_OTHER: &str = "3333ff0000020200000000aa86dd6000000000203aff20010db80001000000000000000000aa\
                        ff0200000000000000000001ff00000287001ad30000000020010db8000100000000000000000002\
                        01010200000000aa";
const NS_ANYCAST: &str = "3333ff0000000200000000aa86dd6000000000203aff20010db80001000000000000000000aa\
                          ff0200000000000000000001ff00000087001ad70000000020010db8000100000000000000000000\
                          01010200000000aa";

const LAN: PortId = PortId(0);
const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const HOST: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xaa]);

fn bytes(hex: &str) -> Vec<u8> {
    let nibble = |c: u8| (c as char).to_digit(16).unwrap() as u8;
    hex.as_bytes().chunks(2).map(|c| nibble(c[0]) << 4 | nibble(c[1])).collect()
}

fn key(text: &str) -> NeighbourKey {
    let ip: std::net::IpAddr = text.parse().unwrap();
    NeighbourKey { port: LAN, family: ip.into(), addr: ip.into() }
}

fn fib(lan: &[&str]) -> Arc<Fib> {
    let port = |id: u8, addresses: &[&str]| PortSpec {
        id: PortId(id),
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        mac: MacAddr([2, 0, 0, 0, id, 1]),
        mtu: 1500,
    };
    Arc::new(Fib::build(&FibSpec { ports: vec![port(0, lan), port(1, &["10.0.2.1/24"])], routes: vec![] }).unwrap())
}

const LAN_ADDRESSES: &[&str] = &["10.0.1.1/24", "2001:db8:1::1/64"];

/// After start and both announcements.
fn control() -> NeighbourControl {
    let mut out = vec![];
    let mut c = NeighbourControl::new(fib(LAN_ADDRESSES), NeighbourConfig::default(), &[], Now(0), &mut out);
    c.tick(Now::from_secs(2), &mut out);
    assert_eq!(c.sides[0].announce.left, 0);
    c.counters = NeighbourCounters::default();
    c
}

fn sent(hex: &str) -> Output {
    Output::Send { port: LAN, frame: bytes(hex) }
}

fn update(text: &str) -> Output {
    Output::Event(NeighbourEvent::Update { key: key(text), mac: HOST })
}

fn frame(c: &mut NeighbourControl, hex: &str) -> Vec<Output> {
    let mut out = vec![];
    c.on_frame(LAN, &bytes(hex), Now::from_secs(10), &mut out);
    out
}

fn resolve(c: &mut NeighbourControl, text: &str) -> Vec<Output> {
    let mut out = vec![];
    c.on_resolve(key(text), Now::from_secs(10), &mut out);
    out
}

/// `hex` with the octets from `at` replaced.
fn patched(hex: &str, at: usize, with: &str) -> String {
    format!("{}{with}{}", &hex[..at * 2], &hex[at * 2 + with.len()..])
}

#[test]
fn answers_arp_for_its_address_and_remembers_who_asked() {
    let mut c = control();
    assert_eq!(frame(&mut c, ARP_ASKS_US), [sent(ARP_ANSWER), update("10.0.1.170")]);
    assert_eq!(c.table().state(key("10.0.1.170")), Some(Nud::Stale));
    // Link padding changes nothing; the same news is no news.
    assert_eq!(frame(&mut c, &format!("{ARP_ASKS_US}{}", "00".repeat(18))), [sent(ARP_ANSWER)]);
    assert_eq!(c.counters(), NeighbourCounters { answered: 2, ..Default::default() });
}

#[test]
fn asks_by_arp_takes_the_reply_and_checks_again_by_unicast() {
    let (mut c, k) = (control(), key("10.0.1.170"));
    assert_eq!(resolve(&mut c, "10.0.1.170"), [sent(ARP_ASK)]);
    assert_eq!(frame(&mut c, ARP_REPLY_TO_US), [update("10.0.1.170")]);
    assert_eq!(c.table().state(k), Some(Nud::Reachable));
    let mut out = vec![];
    c.tick(Now::from_secs(60), &mut out);
    c.on_used(k, Now::from_secs(61));
    c.tick(Now::from_secs(66), &mut out);
    assert_eq!(out, [sent(ARP_PROBE)]);
    out.clear();
    for s in 67..70 {
        c.tick(Now::from_secs(s), &mut out);
    }
    assert_eq!(out, [sent(ARP_PROBE), sent(ARP_PROBE), Output::Event(NeighbourEvent::Failed { key: k })]);
}

#[test]
fn arp_that_is_not_for_us_teaches_nothing_new() {
    let mut c = control();
    // For another host; for the other port's address; announced; unasked reply.
    for hex in [
        &patched(ARP_ASKS_US, 38, "0a000199"),
        &patched(ARP_ASKS_US, 38, "0a000201"),
        &patched(ARP_ASKS_US, 38, "0a0001aa"),
        ARP_REPLY_TO_US,
    ] {
        assert_eq!(frame(&mut c, hex), []);
    }
    // From beyond the link: answered, not remembered.
    assert_eq!(frame(&mut c, &patched(ARP_ASKS_US, 28, "0a0900aa")), [sent(&patched(ARP_ANSWER, 38, "0a0900aa"))]);
    assert_eq!(c.table().iter().count(), 0);
    assert_eq!(c.counters(), NeighbourCounters { answered: 1, ..Default::default() });
}

#[test]
fn others_that_claim_our_addresses_are_counted_not_believed() {
    let mut c = control();
    // A probe before taking the address is answered, which keeps the other one off.
    assert_eq!(frame(&mut c, &patched(ARP_ASKS_US, 28, "00000000")), [sent(&patched(ARP_ANSWER, 38, "00000000"))]);
    assert_eq!(c.counters().conflicts, 1);
    assert_eq!(frame(&mut c, &patched(ARP_ASKS_US, 28, "0a000101")), []);
    assert_eq!(frame(&mut c, &patched(ARP_REPLY_TO_US, 28, "0a000101")), []);
    assert_eq!(c.counters().conflicts, 3);
    assert_eq!(frame(&mut c, NS_DAD), [sent(NA_ALL)]);
    assert_eq!(frame(&mut c, NA_CONFLICT), []);
    assert_eq!(c.counters(), NeighbourCounters { answered: 2, conflicts: 5, ..Default::default() });
    // Our own frames brought back are no conflict.
    for hex in [ARP_ANNOUNCE, ARP_ASK, NA_ALL, NS_ASK] {
        assert_eq!(frame(&mut c, hex), []);
    }
    assert_eq!(c.counters(), NeighbourCounters { answered: 2, conflicts: 5, ignored: 4, ..Default::default() });
    assert_eq!(c.table().iter().count(), 0);
}

#[test]
fn answers_solicitations_for_its_addresses() {
    let mut c = control();
    assert_eq!(frame(&mut c, NS_TO_US), [sent(NA_ANSWER), update("2001:db8:1::aa")]);
    assert_eq!(c.table().state(key("2001:db8:1::aa")), Some(Nud::Stale));
    // Without a link address in it the answer goes where the frame came from, and nothing is learnt.
    let mut c = control();
    assert_eq!(frame(&mut c, NS_BARE), [sent(NA_ANSWER)]);
    assert_eq!(c.table().iter().count(), 0);
    assert_eq!(frame(&mut c, NS_OTHER), []);
    let out = frame(&mut c, NS_ANYCAST);
    assert!(matches!(&out[..], [Output::Send { .. }, Output::Event(_)]), "{out:?}");
}

#[test]
fn asks_by_solicitation_and_takes_the_advertisement() {
    let (mut c, k) = (control(), key("2001:db8:1::aa"));
    assert_eq!(frame(&mut c, NA_TO_US), []);
    assert_eq!(resolve(&mut c, "2001:db8:1::aa"), [sent(NS_ASK)]);
    assert_eq!(frame(&mut c, NA_TO_US), [update("2001:db8:1::aa")]);
    assert_eq!(c.table().state(k), Some(Nud::Reachable));
    let mut out = vec![];
    c.tick(Now::from_secs(60), &mut out);
    c.on_used(k, Now::from_secs(61));
    c.tick(Now::from_secs(66), &mut out);
    assert_eq!(out, [sent(NS_PROBE)]);
    assert_eq!(frame(&mut c, NA_TO_US), []);
    assert_eq!(c.table().state(k), Some(Nud::Reachable));
    assert_eq!(resolve(&mut c, "fe80::bb"), [sent(NS_ASK_LINK_LOCAL)]);
}

#[test]
fn what_must_be_discarded_is() {
    let mut c = control();
    for hex in [
        // Hop limit 254: came through a router.
        &patched(NS_TO_US, 21, "fe"),
        // Wrong checksum.
        &patched(NS_TO_US, 56, "dead"),
        // Cut short.
        &ARP_ASKS_US[..80],
        "",
        // Another operation.
        &patched(ARP_ASKS_US, 20, "0003"),
    ] {
        assert_eq!(frame(&mut c, hex), []);
    }
    assert_eq!(c.counters(), NeighbourCounters { ignored: 5, ..Default::default() });
    let mut out = vec![];
    c.on_frame(PortId(9), &bytes(ARP_ASKS_US), Now(0), &mut out);
    assert_eq!((out.len(), c.counters().ignored), (0, 6));
}

#[test]
fn announces_at_start_and_when_a_link_comes_up() {
    let lan = [sent(ARP_ANNOUNCE), sent(NA_ALL), sent(NA_ALL_LINK_LOCAL)];
    let of_lan = |out: &mut Vec<Output>| {
        out.drain(..).filter(|o| matches!(o, Output::Send { port: LAN, .. })).collect::<Vec<_>>()
    };
    let mut out = vec![];
    let mut c = NeighbourControl::new(fib(LAN_ADDRESSES), NeighbourConfig::default(), &[], Now(0), &mut out);
    assert_eq!(of_lan(&mut out), lan);
    c.tick(Now::from_millis(1999), &mut out);
    assert_eq!(out, []);
    c.tick(Now::from_millis(2000), &mut out);
    assert_eq!(of_lan(&mut out), lan);
    c.tick(Now::from_secs(4), &mut out);
    assert_eq!(out, []);
    assert_eq!(c.counters().announced, 2 * (3 + 2));

    frame(&mut c, ARP_ASKS_US);
    c.on_link(LAN, false, Now::from_secs(11), &mut out);
    assert_eq!(out, [Output::Event(NeighbourEvent::Forget { key: key("10.0.1.170") })]);
    // A link that is down is not asked; the shards need not wait.
    assert_eq!(resolve(&mut c, "10.0.1.170"), [Output::Event(NeighbourEvent::Failed { key: key("10.0.1.170") })]);
    out.clear();
    c.on_link(LAN, true, Now::from_secs(12), &mut out);
    assert_eq!(out, lan);
    assert_eq!(resolve(&mut c, "10.0.1.170"), [sent(ARP_ASK)]);
}

#[test]
fn a_reload_keeps_what_was_learnt_on_ports_that_stay() {
    let mut c = control();
    frame(&mut c, ARP_ASKS_US);
    let mut out = vec![];
    let fixed = [(key("10.0.1.50"), HOST)];
    c.reload(fib(LAN_ADDRESSES), &fixed, Now::from_secs(20), &mut out);
    // Nothing changed but the configured neighbour.
    assert_eq!(out, [update("10.0.1.50")]);
    assert_eq!(c.table().state(key("10.0.1.170")), Some(Nud::Stale));
    out.clear();
    c.reload(fib(&["10.0.1.1/24"]), &[], Now::from_secs(21), &mut out);
    assert_eq!(
        out,
        [Output::Event(NeighbourEvent::Forget { key: key("10.0.1.50") }), sent(ARP_ANNOUNCE), sent(NA_ALL_LINK_LOCAL)]
    );
    out.clear();
    c.reload(Arc::new(Fib::default()), &[], Now::from_secs(22), &mut out);
    assert_eq!(out, [Output::Event(NeighbourEvent::Forget { key: key("10.0.1.170") })]);
    assert_eq!(resolve(&mut c, "10.0.1.170").len(), 1);
    assert_eq!(c.table().iter().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Damaged messages neither panic nor bring in an entry that is not on the link.
    #[test]
    fn damage_is_survived(pick in 0usize..6, at in any::<prop::sample::Index>(), value in any::<u8>(), cut in 0usize..90) {
        let hex = [ARP_ASKS_US, ARP_REPLY_TO_US, NS_TO_US, NS_DAD, NA_TO_US, NS_ANYCAST][pick];
        let mut data = bytes(hex);
        let index = at.index(data.len());
        data[index] = value;
        data.truncate(data.len().max(cut) - cut / 2);
        let (mut c, mut out) = (control(), vec![]);
        c.on_frame(LAN, &data, Now::from_secs(10), &mut out);
        let lan = c.fib.port(LAN).unwrap().clone();
        for n in c.table().iter() {
            prop_assert!(lan.on_link(n.key.family, n.key.addr) && !lan.owns(n.key.family, n.key.addr));
        }
        for o in out {
            if let Output::Send { port, frame } = o {
                prop_assert_eq!((port, &frame[6..12]), (LAN, &ROUTER.0[..]));
            }
        }
    }
}
