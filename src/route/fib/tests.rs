use super::super::spec::{FibErrorKind as Kind, FibPlace as Place, PortSpec, RouteKind, RouteSpec, Via};
use super::*;
use ipnet::IpNet;
use proptest::prelude::*;
use std::net::IpAddr;

const LAN: PortId = PortId(0);
const WAN: PortId = PortId(1);

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn ip(text: &str) -> (Family, Addr) {
    let ip: IpAddr = text.parse().unwrap();
    (ip.into(), ip.into())
}

fn port(id: PortId, addresses: &[&str]) -> PortSpec {
    PortSpec {
        id,
        addresses: addresses.iter().map(|a| net(a)).collect(),
        mac: MacAddr([2, 0, 0, 0, id.0, 1]),
        mtu: 1500,
    }
}

fn route(to: &str, via: &[&str]) -> RouteSpec {
    let via = via.iter().map(|v| Via { gateway: v.parse().unwrap(), weight: 1 }).collect();
    RouteSpec { to: net(to), via, dev: None, metric: 0, kind: RouteKind::Unicast }
}

fn ports() -> Vec<PortSpec> {
    vec![
        port(LAN, &["10.0.1.1/24", "2001:db8:1::1/64", "10.0.9.1/31"]),
        port(WAN, &["198.51.100.2/29", "2001:db8:ffff::2/64"]),
    ]
}

fn fib(routes: Vec<RouteSpec>) -> Fib {
    Fib::build(&FibSpec { ports: ports(), routes }).unwrap()
}

fn errors(ports: Vec<PortSpec>, routes: Vec<RouteSpec>) -> Vec<(Place, Kind)> {
    match Fib::build(&FibSpec { ports, routes }) {
        Ok(_) => vec![],
        Err(list) => list.into_iter().map(|e| (e.place, e.kind)).collect(),
    }
}

fn hop(port: PortId, via: &str) -> Route {
    Route::Forward(NextHop { port, via: ip(via).1 })
}

#[test]
fn destinations_are_told_apart() {
    let f = fib(vec![
        route("0.0.0.0/0", &["198.51.100.1"]),
        route("::/0", &["2001:db8:ffff::1"]),
        route("10.7.0.0/16", &["10.0.1.7"]),
        RouteSpec { kind: RouteKind::Blackhole, ..route("10.7.7.0/24", &[]) },
        RouteSpec { kind: RouteKind::Unreachable, ..route("10.7.8.0/24", &[]) },
        RouteSpec { kind: RouteKind::Prohibit, ..route("2001:db8:dead::/48", &[]) },
        RouteSpec { dev: Some(WAN), ..route("203.0.113.0/24", &[]) },
    ]);
    let joined = Route::Multicast { joined: true };
    let foreign = Route::Multicast { joined: false };
    for (dst, want) in [
        ("10.0.1.1", Route::Local(LAN)),
        ("10.0.1.9", hop(LAN, "10.0.1.9")),
        ("10.0.1.255", Route::Broadcast),
        // Since 5.14 Linux treats the lowest address of a subnet as a host's.
        ("10.0.1.0", hop(LAN, "10.0.1.0")),
        // RFC 3021: no broadcast among two.
        ("10.0.9.0", hop(LAN, "10.0.9.0")),
        ("10.0.9.1", Route::Local(LAN)),
        ("198.51.100.2", Route::Local(WAN)),
        ("198.51.100.7", Route::Broadcast),
        ("198.51.100.8", hop(WAN, "198.51.100.1")),
        ("8.8.8.8", hop(WAN, "198.51.100.1")),
        ("240.0.0.1", hop(WAN, "198.51.100.1")),
        ("10.7.0.255", hop(LAN, "10.0.1.7")),
        ("10.7.7.7", Route::Blackhole),
        ("10.7.8.7", Route::Unreachable),
        ("203.0.113.5", hop(WAN, "203.0.113.5")),
        ("255.255.255.255", Route::Broadcast),
        ("0.0.0.0", Route::Broadcast),
        ("0.1.2.3", hop(WAN, "198.51.100.1")),
        ("127.0.0.1", Route::Martian),
        ("224.0.0.1", joined),
        ("224.0.0.2", joined),
        ("224.0.0.251", foreign),
        ("239.255.255.250", foreign),
        ("2001:db8:1::1", Route::Local(LAN)),
        // Subnet-router anycast.
        ("2001:db8:1::", Route::Local(LAN)),
        ("2001:db8:1::99", hop(LAN, "2001:db8:1::99")),
        ("2001:db8:dead::1", Route::Prohibit),
        ("2606:4700::1", hop(WAN, "2001:db8:ffff::1")),
        ("::", Route::Martian),
        ("::1", Route::Martian),
        // EUI-64 of 02:00:00:00:01:01.
        ("fe80::ff:fe00:101", Route::Local(WAN)),
        ("fe80::1", Route::Martian),
        ("ff02::1", joined),
        ("ff02::2", joined),
        ("ff02::1:ff00:1", joined),
        ("ff02::1:ff00:101", joined),
        ("ff02::1:ff00:0", joined),
        ("ff02::1:ff12:3456", foreign),
        ("ff05::2", foreign),
    ] {
        let (family, addr) = ip(dst);
        assert_eq!(f.lookup(family, addr, 0), want, "{dst}");
        assert_eq!(f.is_local(family, addr), matches!(want, Route::Local(_)), "{dst}");
    }
    assert_eq!(f.counts(Family::V4), RouteCounts { connected: 3, fixed: 5 });
    assert_eq!(f.counts(Family::V6), RouteCounts { connected: 2, fixed: 2 });
}

#[test]
fn without_a_default_there_is_no_route() {
    let f = fib(vec![]);
    for dst in ["8.8.8.8", "2606:4700::1"] {
        let (family, addr) = ip(dst);
        assert_eq!(f.lookup(family, addr, 0), Route::None);
    }
}

#[test]
fn a_reply_may_go_to_a_link_local_address() {
    let f = fib(vec![]);
    let (family, addr) = ip("fe80::1234");
    assert_eq!(f.lookup_reply(WAN, family, addr, 0), hop(WAN, "fe80::1234"));
    let (family, addr) = ip("10.0.1.5");
    assert_eq!(f.lookup_reply(WAN, family, addr, 0), hop(LAN, "10.0.1.5"));
    assert_eq!(f.lookup_reply(WAN, Family::V6, link_local_of(MacAddr([2, 0, 0, 0, 0, 1])), 0), Route::Local(LAN));
}

#[test]
fn the_lowest_metric_is_in_force() {
    let to = |metric, via: &str| RouteSpec { metric, ..route("0.0.0.0/0", &[via]) };
    let f = fib(vec![to(20, "198.51.100.3"), to(10, "198.51.100.1"), to(30, "10.0.1.7")]);
    assert_eq!(f.lookup(Family::V4, ip("9.9.9.9").1, 0), hop(WAN, "198.51.100.1"));
    assert_eq!(f.counts(Family::V4).fixed, 1);
    // A connected subnet has metric 0.
    let f = fib(vec![RouteSpec { metric: 1, ..route("10.0.1.0/24", &["198.51.100.1"]) }]);
    assert_eq!(f.lookup(Family::V4, ip("10.0.1.5").1, 0), hop(LAN, "10.0.1.5"));
}

#[test]
fn gateways_share_flows_by_weight() {
    let mut r = route("0.0.0.0/0", &["198.51.100.1", "198.51.100.3", "10.0.1.7"]);
    r.via[0].weight = 2;
    let f = fib(vec![r]);
    let at = |hash: u32| f.lookup(Family::V4, ip("9.9.9.9").1, hash);
    assert_eq!(at(0), hop(WAN, "198.51.100.1"));
    assert_eq!(at(0x7fff_ffff), hop(WAN, "198.51.100.1"));
    assert_eq!(at(0x8000_0000), hop(WAN, "198.51.100.3"));
    assert_eq!(at(0xbfff_ffff), hop(WAN, "198.51.100.3"));
    assert_eq!(at(0xc000_0000), hop(LAN, "10.0.1.7"));
    assert_eq!(at(u32::MAX), hop(LAN, "10.0.1.7"));
}

#[test]
fn the_source_is_the_nearest_own_address() {
    let mut list = ports();
    list[1].addresses.push(net("203.0.113.9/24"));
    list[1].addresses.push(net("fe80::77/64"));
    list.push(port(PortId(5), &[]));
    let f = Fib::build(&FibSpec { ports: list, routes: vec![] }).unwrap();
    let ask = |p, towards: &str| {
        let (family, addr) = ip(towards);
        f.source_for(p, family, addr).map(|a| a.to_ip(family).to_string())
    };
    assert_eq!(ask(WAN, "203.0.113.200").unwrap(), "203.0.113.9");
    assert_eq!(ask(WAN, "198.51.100.6").unwrap(), "198.51.100.2");
    assert_eq!(ask(WAN, "8.8.8.8").unwrap(), "198.51.100.2");
    assert_eq!(ask(WAN, "2606:4700::1").unwrap(), "2001:db8:ffff::2");
    assert_eq!(ask(WAN, "fe80::9").unwrap(), "fe80::ff:fe00:101");
    assert_eq!(ask(PortId(5), "8.8.8.8").unwrap(), "10.0.1.1");
    assert_eq!(ask(PortId(5), "2606:4700::1").unwrap(), "2001:db8:1::1");
    assert_eq!(ask(PortId(9), "8.8.8.8"), None);
    let bare = Fib::build(&FibSpec { ports: vec![port(LAN, &[])], routes: vec![] }).unwrap();
    assert_eq!(bare.source_for(LAN, Family::V4, ip("8.8.8.8").1), None);
    assert_eq!(bare.source_for(LAN, Family::V6, ip("2606::1").1), Some(link_local_of(MacAddr([2, 0, 0, 0, 0, 1]))));
}

#[test]
fn martian_sources() {
    let f = fib(vec![]);
    for (src, martian) in [
        ("10.0.1.5", false),
        ("8.8.8.8", false),
        ("10.0.1.1", true),
        ("10.0.1.255", true),
        ("255.255.255.255", true),
        ("224.0.0.5", true),
        ("127.0.0.1", true),
        ("0.0.0.0", true),
        ("fe80::9", false),
        ("fe80::ff:fe00:101", true),
        ("2001:db8:5::1", false),
        ("2001:db8:1::1", true),
        ("::", true),
        ("::1", true),
        ("::ffff:10.0.1.5", false),
        ("0.1.2.3", false),
        ("ff02::1", true),
    ] {
        let (family, addr) = ip(src);
        assert_eq!(f.is_martian_source(family, addr), martian, "{src}");
    }
}

#[test]
fn ports_know_what_is_theirs() {
    let f = fib(vec![]);
    let lan = f.port(LAN).unwrap();
    assert_eq!((lan.mtu, lan.mac), (1500, MacAddr([2, 0, 0, 0, 0, 1])));
    assert!(lan.owns(Family::V4, ip("10.0.1.1").1) && !lan.owns(Family::V4, ip("198.51.100.2").1));
    assert!(lan.owns(Family::V6, ip("fe80::ff:fe00:1").1) && !lan.owns(Family::V6, ip("fe80::ff:fe00:101").1));
    assert!(lan.owns_anycast(ip("2001:db8:1::").1) && !lan.owns(Family::V6, ip("2001:db8:1::").1));
    assert!(lan.on_link(Family::V4, ip("10.0.1.77").1) && !lan.on_link(Family::V4, ip("10.0.2.77").1));
    assert!(lan.on_link(Family::V6, ip("fe80::9").1) && !lan.on_link(Family::V6, ip("2001:db8:2::9").1));
}

#[test]
fn every_mistake_in_ports_is_named() {
    let list = vec![
        port(LAN, &["10.0.1.1/24", "2001:db8::1/64"]),
        port(WAN, &["10.0.1.129/25", "2001:db8::1/64", "10.0.2.0/24", "10.0.2.255/24", "224.0.0.1/24"]),
        port(LAN, &[]),
        port(PortId(64), &[]),
        port(PortId(2), &["127.0.0.1/8", "::1/128", "2001:db8:5::/64", "10.5.0.1/32", "10.5.0.1/24"]),
    ];
    let at = |port, index| Place::Address { port, index };
    let other =
        |subnet: &str, other: &str| Kind::OverlappingSubnets { subnet: net(subnet), other: net(other), port: LAN };
    let twice = |address: &str, other| Kind::DuplicateAddress { address: address.parse().unwrap(), other };
    assert_eq!(
        errors(list, vec![]),
        vec![
            (at(1, 0), other("10.0.1.128/25", "10.0.1.0/24")),
            (at(1, 1), twice("2001:db8::1", LAN)),
            (at(1, 2), Kind::BadAddress(net("10.0.2.0/24"))),
            (at(1, 3), Kind::BadAddress(net("10.0.2.255/24"))),
            (at(1, 4), Kind::BadAddress(net("224.0.0.1/24"))),
            (Place::Port(2), Kind::BadPort(LAN)),
            (Place::Port(3), Kind::BadPort(PortId(64))),
            (at(4, 0), Kind::BadAddress(net("127.0.0.1/8"))),
            (at(4, 1), Kind::BadAddress(net("::1/128"))),
            (at(4, 2), Kind::BadAddress(net("2001:db8:5::/64"))),
            (at(4, 4), twice("10.5.0.1", PortId(2))),
        ]
    );
}

#[test]
fn every_mistake_in_routes_is_named() {
    let gw = |text: &str| text.parse::<IpAddr>().unwrap();
    let mut heavy = route("10.8.0.0/16", &["10.0.1.7", "10.0.1.8"]);
    heavy.via[1].weight = 257;
    let routes = vec![
        route("0.0.0.0/0", &["192.0.2.1"]),
        route("0.0.0.0/0", &["10.0.1.7"]),
        RouteSpec { dev: Some(LAN), ..route("10.9.0.0/16", &["198.51.100.1"]) },
        RouteSpec { dev: Some(PortId(7)), ..route("10.10.0.0/16", &[]) },
        route("10.11.0.0/16", &[]),
        RouteSpec { kind: RouteKind::Blackhole, ..route("10.12.0.0/16", &["10.0.1.7"]) },
        route("10.13.0.0/16", &["2001:db8:1::7"]),
        route("10.14.0.0/16", &["10.0.1.1"]),
        route("10.15.0.0/16", &["10.0.1.255", "224.0.0.9"]),
        route("::/0", &["fe80::1"]),
        RouteSpec { dev: Some(WAN), metric: 5, ..route("::/0", &["fe80::1"]) },
        heavy,
        route("10.16.1.0/16", &["10.0.1.7"]),
        route("10.0.1.1/32", &["198.51.100.1"]),
        route("10.0.1.0/24", &["198.51.100.1"]),
    ];
    let via = |route, index| Place::Via { route, index };
    assert_eq!(
        errors(ports(), routes),
        vec![
            (via(0, 0), Kind::ViaNotConnected(gw("192.0.2.1"))),
            (Place::Route(1), Kind::DuplicateRoute { to: net("0.0.0.0/0"), metric: 0 }),
            (via(2, 0), Kind::ViaNotConnected(gw("198.51.100.1"))),
            (Place::Route(3), Kind::UnknownDev(PortId(7))),
            (Place::Route(4), Kind::NoNextHop),
            (Place::Route(5), Kind::NextHopNotAllowed),
            (via(6, 0), Kind::ViaFamily(gw("2001:db8:1::7"))),
            (via(7, 0), Kind::ViaIsLocal(gw("10.0.1.1"))),
            (via(8, 0), Kind::ViaNotUnicast(gw("10.0.1.255"))),
            (via(8, 1), Kind::ViaNotUnicast(gw("224.0.0.9"))),
            (via(9, 0), Kind::ViaNeedsDev(gw("fe80::1"))),
            (via(11, 1), Kind::BadWeight(257)),
            (Place::Route(12), Kind::HostBits(net("10.16.1.0/16"))),
            (Place::Route(13), Kind::RouteToSelf(net("10.0.1.1/32"))),
            (Place::Route(14), Kind::DuplicateRoute { to: net("10.0.1.0/24"), metric: 0 }),
        ]
    );
}

/// The slow truth: the longest prefix among all, lowest metric first.
fn oracle(routes: &[RouteSpec], dst: IpAddr) -> Route {
    let best = routes.iter().filter(|r| r.to.contains(&dst)).max_by_key(|r| (r.to.prefix_len(), u32::MAX - r.metric));
    match best {
        None => Route::None,
        Some(r) => match r.kind {
            RouteKind::Blackhole => Route::Blackhole,
            RouteKind::Unreachable => Route::Unreachable,
            RouteKind::Prohibit => Route::Prohibit,
            RouteKind::Unicast => Route::Forward(NextHop { port: r.dev.unwrap(), via: dst.into() }),
        },
    }
}

/// Prefixes close together, so that they nest: only 12 bits below a fixed head vary.
fn nested(v6: bool) -> impl Strategy<Value = (IpNet, IpAddr)> {
    (0u32..1 << 12, 0u8..=16, any::<bool>()).prop_map(move |(bits, drop, shallow)| {
        let drop = if shallow { drop } else { drop % 4 };
        let addr: IpAddr = if v6 {
            let wide = 0x2001_0db8_u128 << 96 | u128::from(bits) << 58;
            std::net::Ipv6Addr::from(wide).into()
        } else {
            std::net::Ipv4Addr::from(0x1e00_0000 | bits).into()
        };
        let len = if v6 { 70 - drop } else { 32 - drop };
        (IpNet::new(addr, len).unwrap().trunc(), addr)
    })
}

/// Whether the brief questions are answered as the long ones.
fn brief_and_long(fib: &Fib, family: Family, addr: Addr, hash: u32) -> Result<(), String> {
    let long = match fib.lookup(family, addr, hash) {
        Route::Forward(hop) => Some(hop),
        _ => None,
    };
    let brief = fib.hop(family, addr, || hash);
    let refused = fib.is_martian_source(family, addr) || addr.is_link_local(family);
    let source = (fib.forwards_from(family, addr, false), !refused);
    let same = brief == long && source.0 == source.1;
    if same { Ok(()) } else { Err(format!("{}: {brief:?} {long:?} {source:?}", addr.to_ip(family))) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn longest_prefix_agrees_with_a_linear_search(
        v6 in any::<bool>(),
        picks in prop::collection::vec((any::<prop::sample::Index>(), 0u32..3, 0u8..5), 0..40),
        pool in prop::collection::vec(nested(false), 40),
        pool6 in prop::collection::vec(nested(true), 40),
    ) {
        let pool = if v6 { pool6 } else { pool };
        let mut routes: Vec<RouteSpec> = vec![];
        for (index, metric, kind) in picks {
            let (to, _) = index.get(&pool);
            if routes.iter().any(|r| r.to == *to && r.metric == metric) {
                continue;
            }
            let kind = match kind {
                0 => RouteKind::Blackhole,
                1 => RouteKind::Unreachable,
                2 => RouteKind::Prohibit,
                _ => RouteKind::Unicast,
            };
            let dev = (kind == RouteKind::Unicast).then_some(if metric == 0 { LAN } else { WAN });
            routes.push(RouteSpec { to: *to, via: vec![], dev, metric, kind });
        }
        let fib = Fib::build(&FibSpec { ports: ports(), routes: routes.clone() }).unwrap();
        for (_, dst) in &pool {
            prop_assert_eq!(fib.lookup((*dst).into(), (*dst).into(), 0), oracle(&routes, *dst), "{}", dst);
            prop_assert_eq!(brief_and_long(&fib, (*dst).into(), (*dst).into(), 0), Ok(()));
        }
    }

    #[test]
    fn the_brief_questions_are_answered_alike(
        default in any::<bool>(), near in 0u128..16, back in any::<bool>(), hi in any::<u64>(), lo in any::<u64>(),
        at in prop::sample::select(vec![
            "0.0.0.0", "1.0.0.0", "10.0.1.0", "10.0.1.255", "10.0.9.0", "126.255.255.255", "127.0.0.0", "128.0.0.0",
            "169.254.0.0", "169.255.0.0", "198.51.100.0", "198.51.100.7", "223.255.255.255", "224.0.0.0", "224.7.0.0", "240.0.0.0",
            "255.255.255.255", "::", "::ffff:0.0.0.0", "::1:0:0:0", "2001:db8:1::", "2001:db8:ffff::2", "fe7f::", "fe80::", "fec0::",
            "feff::", "ff00::", "ff02::1",
        ]),
        hash in any::<u32>(),
    ) {
        let mut routes = vec![route("0.0.0.0/1", &["198.51.100.1", "198.51.100.3"])];
        if default {
            routes.extend([route("0.0.0.0/0", &["198.51.100.1"]), route("::/0", &["2001:db8:ffff::1"])]);
            routes.extend([route("127.1.0.0/16", &["10.0.1.2"]), route("224.7.0.0/16", &["10.0.1.2"])]);
            routes.extend([route("192.0.0.0/2", &["10.0.1.3"]), route("fe80::/16", &["2001:db8:ffff::3"])]);
        }
        let f = fib(routes);
        let (family, addr) = ip(at);
        let bits = u128::from(addr.hi) << 64 | u128::from(addr.lo);
        let bits = if back { bits.wrapping_sub(near) } else { bits.wrapping_add(near) };
        let near = if family == Family::V4 { Addr::v4(bits as u32) } else { Addr::v6(bits.to_be_bytes()) };
        prop_assert_eq!(brief_and_long(&f, family, near, hash), Ok(()));
        prop_assert_eq!(brief_and_long(&f, Family::V6, Addr { hi, lo }, hash), Ok(()));
        prop_assert_eq!(brief_and_long(&f, Family::V4, Addr::v4(lo as u32), hash), Ok(()));
    }

    #[test]
    fn any_address_has_an_answer(hi in any::<u64>(), lo in any::<u64>(), v4 in any::<u32>(), hash in any::<u32>()) {
        let f = fib(vec![route("0.0.0.0/0", &["198.51.100.1", "198.51.100.3"]), route("::/0", &["2001:db8:ffff::1"])]);
        // With default routes nothing that may be forwarded is without a next hop.
        prop_assert_ne!(f.lookup(Family::V4, Addr::v4(v4), hash), Route::None);
        prop_assert_ne!(f.lookup(Family::V6, Addr { hi, lo }, hash), Route::None);
    }

    #[test]
    fn common_bits_counts_from_the_left(a in any::<u128>(), at in 0u32..128) {
        let (x, y) = (Addr::v6(a.to_be_bytes()), Addr::v6((a ^ 1 << (127 - at)).to_be_bytes()));
        prop_assert_eq!(u32::from(common_bits(Family::V6, x, y)), at);
        prop_assert_eq!(common_bits(Family::V6, x, x), 128);
        let (x, y) = (Addr::v4(a as u32), Addr::v4(a as u32 ^ 1 << (31 - at % 32)));
        prop_assert_eq!(u32::from(common_bits(Family::V4, x, y)), at % 32);
        prop_assert_eq!(common_bits(Family::V4, x, x), 32);
    }
}
