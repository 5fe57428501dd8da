use super::*;
use crate::net::{Addr, Family, proto};

fn syn(dst: &str, port: u16) -> Tuple {
    let dst: std::net::IpAddr = dst.parse().unwrap();
    Tuple {
        src: Addr::v4(1),
        dst: dst.into(),
        src_key: 40_000,
        dst_key: port,
        proto: proto::TCP,
        family: Family::from(dst),
    }
}

#[test]
fn helpers_are_found_by_name() {
    for kind in HelperKind::ALL {
        assert_eq!(HelperKind::by_name(kind.helper().name()), Some(*kind));
    }
    assert_eq!(HelperKind::by_name("ftp"), Some(HelperKind::Ftp));
    assert_eq!(HelperKind::by_name("gopher"), None);
}

#[test]
fn nothing_is_attached_unless_configured() {
    assert_eq!(Attach::default().pick(&syn("10.0.0.1", 21), PortId(0)), None);
}

#[test]
fn the_first_entry_that_fits_is_taken() {
    let usual = HelperConfig::usual("any", HelperKind::Ftp);
    let inside = HelperConfig { name: "inside".into(), iif: vec![PortId(1)], ..usual.clone() };
    let one = HelperConfig { name: "one".into(), daddr: vec!["2001:db8::/32".parse().unwrap()], ..usual.clone() };
    let odd = HelperConfig { name: "odd".into(), ports: vec![2121, 2122], ..usual.clone() };
    let every =
        HelperConfig { name: "every".into(), ports: vec![], daddr: vec!["10.9.0.0/16".parse().unwrap()], ..usual };
    let attach = Attach::new(vec![inside, one, odd, every]);
    let rows = [
        ("10.0.0.1", 21, 1, Some("inside")),
        ("10.0.0.1", 21, 0, None),
        ("2001:db8::5", 21, 1, Some("inside")),
        ("2001:db8::5", 21, 0, Some("one")),
        ("2001:db9::5", 21, 0, None),
        ("10.0.0.1", 2122, 0, Some("odd")),
        ("10.9.0.1", 7, 0, Some("every")),
        ("10.8.0.1", 7, 0, None),
    ];
    for (dst, port, iif, name) in rows {
        let picked = attach.pick(&syn(dst, port), PortId(iif));
        assert_eq!(picked.and_then(|id| attach.get(id)).map(|c| c.name.as_str()), name, "{dst} {port} {iif}");
    }
    let udp = Tuple { proto: proto::UDP, ..syn("10.0.0.1", 21) };
    assert_eq!(attach.pick(&udp, PortId(1)), None);
    assert!(attach.helper(HelperId(0)).is_some());
    assert!(attach.helper(HelperId(4)).is_none());
}

#[test]
fn a_protocol_the_helper_does_not_speak_never_fits() {
    let wrong = HelperConfig { l4proto: proto::UDP, ..HelperConfig::usual("wrong", HelperKind::Ftp) };
    let udp = Tuple { proto: proto::UDP, ..syn("10.0.0.1", 21) };
    assert_eq!(Attach::new(vec![wrong]).pick(&udp, PortId(0)), None);
}
