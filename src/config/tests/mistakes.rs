//! One row per class of mistake: what was written, and where and how it is shown.

use super::*;
use proptest::prelude::*;

/// `text` after [`PORTS`] must give exactly these diagnostics: what is pointed at, the message, the help.
fn one(text: &str, pointed: &str, message: &str, help: &str) {
    let full = format!("{PORTS}{text}\n");
    let diags = match check(&full) {
        Err(diags) => diags,
        Ok(_) => panic!("no mistake found in\n{text}"),
    };
    assert_eq!(brief(&diags).len(), 1, "{text}\n{diags}");
    assert_eq!(diags.list()[0].message, message, "{text}");
    assert_eq!(pointed_at(&diags, 0), pointed, "{text}");
    assert_eq!(diags.list()[0].help.as_deref().unwrap_or_default(), help, "{text}");
}

/// Like [`one`] for a rule in `forward`.
fn rule(fields: &str, pointed: &str, message: &str, help: &str) {
    one(&format!("chains: {{ forward: {{ rules: [ {{ id: r, {fields} }} ] }} }}"), pointed, message, help);
}

/// Like [`one`] for a port beside the others.
fn port(fields: &str, pointed: &str, message: &str, help: &str) {
    let full = format!("{PORTS}  p: {{ {fields} }}\n");
    let diags = check(&full).err().unwrap_or_else(|| panic!("no mistake found in {fields}"));
    assert_eq!(brief(&diags).len(), 1, "{fields}\n{diags}");
    assert_eq!(diags.list()[0].message, message, "{fields}");
    assert_eq!(pointed_at(&diags, 0), pointed, "{fields}");
    assert_eq!(diags.list()[0].help.as_deref().unwrap_or_default(), help, "{fields}");
}

#[test]
fn a_mistake_is_drawn_with_line_and_caret() {
    let text = "version: 1\nports:\n  lan0: { driver: memory, adresses: [10.0.0.1/24] }\n";
    let diags = check(text).unwrap_err();
    let wanted = "\
error: unknown key `adresses` in port `lan0`
 --> t.yaml:3:27
  |
3 |   lan0: { driver: memory, adresses: [10.0.0.1/24] }
  |                           ^^^^^^^^
  |
  = help: did you mean `addresses`?";
    assert_eq!(diags.to_string(), wanted);
}

#[test]
fn two_places_are_drawn_together_and_wide_letters_counted_as_one() {
    let text = "version: 1 # äöü\nports:\n  a: { driver: af_packet, device: eth0, zone: äöü, mtu: 9 }\n  b: { driver: af_packet, device: eth0 }\n";
    let diags = check(text).unwrap_err();
    let wanted = "\
error: `mtu`: 9 is out of range
 --> t.yaml:3:57
  |
3 |   a: { driver: af_packet, device: eth0, zone: äöü, mtu: 9 }
  |                                                         ^
  |
  = help: from 68 to 65535

error: this device is another port's already
 --> t.yaml:4:35
  |
3 |   a: { driver: af_packet, device: eth0, zone: äöü, mtu: 9 }
  |                                   ---- first
4 |   b: { driver: af_packet, device: eth0 }
  |                                   ^^^^";
    assert_eq!(diags.to_string(), wanted);
}

#[test]
fn all_mistakes_show_at_once_in_file_order() {
    let text = "\
version: 2
workers: { cores: [0, 0, 9], main_core: 0, idel: spin }
ports:
  lan0: { driver: memory, addresses: [10.0.1.1/33] }
routes:
  - { to: 10.1.0.1/16, via: 10.0.1.5 }
nat: []
chains:
  forward:
    policy: dorp
    rules:
      - { iif: lan, dport: 80, verdict: jump x }
";
    let wanted = [
        "error 1:10 version 2 is not known",
        "error 2:23 core 0 is used twice",
        "error 2:26 core 9 is absent",
        "error 2:41 core 0 is a worker's already",
        "error 2:44 unknown key `idel` in workers",
        "error 4:39 `addresses`: bad mask `/33`",
        "error 6:11 `to`: `10.1.0.1/16` has host bits",
        "error 7:1 `nat` is not supported by this version",
        "error 10:13 `policy` cannot be `dorp`",
        "warning 12:9 rule 1 of chain `forward` has no `id`",
        "error 12:16 unknown port `lan`",
        "error 12:28 `dport` without `l4proto`",
        "error 12:41 unknown chain `x`",
    ];
    let diags = check(text).unwrap_err();
    assert_eq!(brief(&diags), wanted);
    assert_eq!(diags.errors(), 12);
    assert_eq!(diags.list()[10].help.as_deref(), Some("did you mean `lan0`?"));
}

#[test]
fn syntax() {
    let rows = [
        ("a: b: c\n", "error 1:5 YAML syntax: mapping values are not allowed in this context"),
        ("a: [b, c\n", "error 1:9 YAML syntax: while parsing a flow sequence, expected ',' or ']'"),
        ("a: 'x\n", "error 1:4 YAML syntax: while scanning a quoted scalar, found unexpected end of stream"),
        ("a:\n  b: 1\n \tc: 2\n", "error 3:2 tab in front of a line"),
        ("a: 1\n---\nb: 1\n", "error 2:1 a second document"),
        ("", "error 1:1 the configuration is empty"),
        ("# nothing\n", "error 1:1 the configuration is empty"),
        ("just words\n", "error 1:1 `the configuration` must be a mapping, not `just words`"),
        ("- 1\n", "error 1:1 `the configuration` must be a mapping, not a list"),
    ];
    for (text, wanted) in rows {
        assert_eq!(brief(&check(text).unwrap_err()), [wanted], "{text:?}");
    }
    let deep = format!("version: {}", "[".repeat(40));
    assert_eq!(brief(&check(&deep).unwrap_err()), ["error 1:41 nested more than 32 levels deep"]);
    // Tabs are harmless in comments, in empty lines and between words.
    assert!(check(&format!("{PORTS}\t\n\t# comment\nicmp: {{\tmsgs_burst: 5 }}\t# comment\n")).is_ok());
}

#[test]
fn what_yaml_has_and_a_configuration_does_not_need() {
    one("icmp: &a { msgs_burst: 5 }", "&a {", "anchors are not needed in a configuration", "leave it out");
    one("icmp: { msgs_burst: !!int 5 }", "!!int 5", "tags are not needed in a configuration", "leave it out");
    one("icmp: { ? [a] : 5 }", "[a]", "a key must be a word", "");
    let text = format!("{PORTS}icmp: {{ msgs_burst: *a }}\n");
    assert!(check(&text).unwrap_err().to_string().contains(":5:21"), "an alias without an anchor");
}

#[test]
fn doubled_keys_at_every_depth() {
    one("icmp: { msgs_burst: 5, msgs_burst: 6 }", "msgs_burst", "key `msgs_burst` is given twice", "");
    one("version: 1", "version", "key `version` is given twice", "");
    rule("iif: lan0, verdict: drop, iif: wan0", "iif", "key `iif` is given twice", "");
    let diags = check(&format!("{PORTS}icmp: {{}}\nicmp: {{}}\n")).unwrap_err();
    assert_eq!(diags.list()[0].related.len(), 1);
    let first = diags.list()[0].related[0].0;
    assert_eq!(diags.sources()[0].position(first.start), (5, 1));
}

#[test]
fn unknown_and_unsupported_keys() {
    one("prots: {}", "prots", "unknown key `prots` in the configuration", "did you mean `ports`?");
    one("icmp: { xyz: 5 }", "xyz", "unknown key `xyz` in icmp", "known here: msgs_per_sec, msgs_burst");
    for key in ["maps", "nat", "zones", "routing", "control", "trace", "export"] {
        one(&format!("{key}: {{}}"), key, &format!("`{key}` is not supported by this version"), "");
    }
    for key in ["limit", "connlimit", "log", "trace", "timeout_policy"] {
        rule(&format!("verdict: accept, {key}: 5"), key, &format!("`{key}` is not supported by this version"), "");
    }
    let policies = "`timeout_policies` is not supported by this version";
    one("conntrack: { timeout_policies: 1 }", "timeout_policies", policies, "");
    port("driver: memory, mode: wire", "wire", "`mode: wire` is not supported by this version", "");
    one("chains: { output: { policy: drop } }", "output", "chain `output` is not supported by this version", "");
    one("helpers: { h: { type: h323 } }", "h323", "`type: h323` is not supported by this version", "");
}

#[test]
fn devices_of_dpdk() {
    port(
        "driver: dpdk",
        "dpdk",
        "driver `dpdk` needs `device`",
        "`device` names the device as DPDK does after `--vdev`, such as net_null0",
    );
    let example = "a driver's name and a number, then parameters: \"net_null0,size=64\"";
    for wrong in ["eth0", "crypto_null0", "net_null-0", "--vdev"] {
        let message = format!("`device`: `{wrong}` cannot be a network device of DPDK's");
        port(&format!("driver: dpdk, device: {wrong}"), wrong, &message, example);
    }
    port(
        "driver: dpdk, device: \"0000:03:00.0\"",
        "\"0000:03:00.0\"",
        "`device`: `0000:03:00.0` is a PCI address",
        "`driver: vfio` takes it as `pci`",
    );
    port(
        "driver: dpdk, device: \"net_null0, size=64\"",
        "\"net_null0, size=64\"",
        "`device`: a device of DPDK's has no blanks",
        "parameters stand between commas: \"net_null0,size=64\"",
    );
    let form = "as `lspci -D` shows it: \"0000:03:00.0\"";
    for wrong in ["03:00.0", "0000:03:00.8", "0000:03:20.0", "eth0"] {
        let message = format!("`pci`: `{wrong}` is not a PCI address");
        port(&format!("driver: vfio, pci: \"{wrong}\""), &format!("\"{wrong}\""), &message, form);
    }
    port("driver: vfio", "vfio", "driver `vfio` needs `pci`", "`pci` names the NIC, such as \"0000:03:00.0\"");
    port("driver: vfio, pci: \"0000:03:00.0\", path: p", "path", "driver `vfio` takes no `path`", "it takes `pci`");
    port("driver: vhost_user", "vhost_user", "driver `vhost_user` needs `path`", "`path` names the socket");
    port("driver: virtio_user, path: p.sock, server: 1", "1", "`server` must be true or false, not `1`", "");
    port(
        "driver: virtio_user, path: \"a,b\"",
        "\"a,b\"",
        "DPDK takes no comma and no control character in a socket's name",
        "",
    );
    let long = format!("/{}", "x".repeat(107));
    port(
        &format!("driver: vhost_user, path: {long}"),
        &long,
        "`path` is 108 octets long, a socket's name has at most 107",
        &long,
    );
    port("driver: tap, device: tap0, server: true", "server", "driver `tap` takes no `server`", "it takes `device`");
    let twice = format!(
        "{PORTS}  p: {{ driver: dpdk, device: \"net_null0,size=64\" }}\n  q: {{ driver: dpdk, device: net_null0 }}\n"
    );
    assert_eq!(brief(&check(&twice).unwrap_err()).len(), 1);
}

#[test]
fn a_misspelt_key_is_one_mistake_and_its_value_is_checked() {
    port("drivr: memory", "drivr", "unknown key `drivr` in port `p`", "did you mean `driver`?");
    let diags = check(&format!("{PORTS}  p: {{ drivr: memroy }}\n")).unwrap_err();
    assert_eq!(brief(&diags), ["error 5:8 unknown key `drivr` in port `p`", "error 5:15 `driver` cannot be `memroy`"]);
}

#[test]
fn wrong_types_and_ranges() {
    let seconds = "from 1s to 24d";
    one(
        "icmp: { msgs_burst: many }",
        "many",
        "`msgs_burst`: `many` is not a whole number",
        "write it in decimal, without a unit",
    );
    one("icmp: { msgs_burst: [5] }", "[5]", "`msgs_burst` must be a whole number, not a list", "");
    one("icmp: { msgs_burst: \"5\" }", "\"5\"", "`msgs_burst` must be a whole number, not `5`", "");
    one("icmp: { msgs_burst: 0 }", "0", "`msgs_burst`: 0 is out of range", "from 1 to 1000000");
    one(
        "icmp: { msgs_burst: 010 }",
        "010",
        "`msgs_burst`: `010` is not a whole number",
        "write it in decimal, without a unit",
    );
    one("icmp: { msgs_burst: -5 }", "-5", "`msgs_burst`: -5 is out of range", "from 1 to 1000000");
    one("icmp: { msgs_burst: }", "", "`msgs_burst` must be a whole number, not nothing", "");
    one("icmp: 5", "5", "`icmp` must be a mapping, not `5`", "");
    one("routes: 5", "5", "`routes` must be a list, not `5`", "");
    one("sets: []", "[]", "`sets` must be a mapping, not a list", "");
    one("conntrack: { checksum: yes }", "yes", "`checksum` must be true or false, not `yes`", "");
    one("conntrack: { on_full: evikt }", "evikt", "`on_full` cannot be `evikt`", "did you mean `evict`?");
    one("log: { level: loud }", "loud", "`level` cannot be `loud`", "one of: error, warn, info, debug, trace");
    for bad in ["0", "999ms", "25d", "99999999999999999999d"] {
        one(
            &format!("conntrack: {{ timeouts: {{ udp: {bad} }} }}"),
            bad,
            &format!("`udp`: `{bad}` is out of range"),
            seconds,
        );
    }
    for bad in ["5w", "s", "5 s", "1h30m", "-5s", "1.5s"] {
        one(
            &format!("conntrack: {{ timeouts: {{ udp: {bad} }} }}"),
            bad,
            &format!("`udp`: `{bad}` is not a duration"),
            "write a whole number and a unit: ms, s, m, h or d, as in 30s",
        );
    }
    one(
        "conntrack: { timeouts: { tcp_etsablished: 5d } }",
        "tcp_etsablished",
        "unknown key `tcp_etsablished` in timeouts",
        "did you mean `tcp_established`?",
    );
    one(
        "metrics: { listen: localhost }",
        "localhost",
        "`listen`: `localhost` is not an address and a port",
        "as in \"127.0.0.1:9752\" or \"[::1]:9752\"",
    );
}

#[test]
fn missing_parts() {
    let text = "workers: {}\n";
    assert_eq!(brief(&check(text).unwrap_err()), ["error 1:1 `version` is missing", "error 1:1 `ports` is missing"]);
    assert_eq!(brief(&check("version: 1\nports: {}\n").unwrap_err()), ["error 2:1 no port is given"]);
    port(
        "mtu: 1500",
        "p",
        "port `p` has no `driver`",
        "one of: memory, pcap, af_packet, af_xdp, tap, dpdk, vfio, vhost_user, virtio_user",
    );
    port("driver: af_packet", "af_packet", "driver `af_packet` needs `device`", "`device` names the kernel interface");
    port("driver: pcap", "pcap", "driver `pcap` needs `path`", "`path` names the capture file");
    rule(
        "iif: lan0",
        "{ id: r, iif: lan0 }",
        "rule `r` has no `verdict`",
        "one of: accept, drop, reject, jump, goto, return, notrack",
    );
    one("sets: { s: { elements: [10.0.0.1] } }", "s", "set `s` has no `type`", "write `type: ip`");
    one("helpers: { h: { ports: 21 } }", "h", "helper `h` has no `type`", "write `type: ftp`");
    one("routes: [ { via: 10.0.1.2 } ]", "{ via: 10.0.1.2 }", "a route needs `to`", "a prefix, or `default`");
}

#[test]
fn workers() {
    let reachable = "a queue without a worker would never be read";
    port("driver: memory, queues: 2", "2", "2 queues for 1 workers", reachable);
    let text = "version: 1\nworkers: { count: 2 }\nports:\n  t: { driver: tap, device: t0, queues: 1 }\n";
    assert_eq!(brief(&check(text).unwrap_err()), ["error 4:41 1 queues for 2 workers"]);
    one("workers: { cores: [] }", "[]", "`cores` is an empty list", "name the cores, or write `any`");
    one("workers: { cores: all }", "all", "`cores` must be a list of CPU numbers or `any`", "");
    one(
        "workers: { cores: [1, 2], count: 3 }",
        "3",
        "`count` is 3 but `cores` lists 2",
        "leave `count` out: there is one worker per core",
    );
    one("workers: { cores: [0, 1, 0] }", "0", "core 0 is used twice", "");
    one("workers: { cores: [1], main_core: 7 }", "7", "core 7 is absent", "this machine has: 0, 1, 2, 3");
    one(
        "workers: { cores: [1], main_core: 1 }",
        "1",
        "core 1 is a worker's already",
        "the main core answers for control; a worker would starve it",
    );
}

#[test]
fn port_fields() {
    let name = "a letter, then letters, digits, `_`, `.` and `-`, 15 characters in all";
    for bad in ["1st", "a-name-of-sixteen", "a/b"] {
        let diags = check(&format!("{PORTS}  {bad}: {{ driver: memory }}\n")).unwrap_err();
        assert_eq!(brief(&diags), [format!("error 5:3 `{bad}` cannot name a port")]);
        assert_eq!(diags.list()[0].help.as_deref(), Some(name));
    }
    port("driver: memory, device: eth0", "device", "driver `memory` takes no `device`", "");
    port("driver: af_packet, device: e, path: x", "path", "driver `af_packet` takes no `path`", "it takes `device`");
    port(
        "driver: af_packet, device: e, xdp_mode: auto",
        "xdp_mode",
        "driver `af_packet` takes no `xdp_mode`",
        "only `af_xdp` does",
    );
    port(
        "driver: af_xdp, device: e, xdp_mode: skb",
        "skb",
        "`xdp_mode` cannot be `skb`",
        "one of: auto, native, generic",
    );
    port("driver: af_xdp", "af_xdp", "driver `af_xdp` needs `device`", "`device` names the kernel interface");
    port(
        "driver: af_packet, device: an-interface-too-long",
        "an-interface-too-long",
        "`device`: `an-interface-too-long` cannot be an interface",
        "at most 15 characters without `/`, `:` and blanks",
    );
    port("driver: memory, ring: 1000", "1000", "`ring`: 1000 is not a power of two", "512 or 1024");
    port("driver: memory, vlan: 4095", "4095", "`vlan`: 4095 is out of range", "from 1 to 4094");
    port("driver: memory, vlan: [1, 2, 3]", "[1, 2, 3]", "`vlan` as a list is the outer and the inner tag", "");
    port(
        "driver: memory, mac: 02-00-00-00-00-01",
        "02-00-00-00-00-01",
        "`mac`: `02-00-00-00-00-01` is not a link address",
        "six pairs of hexadecimal digits, as in \"02:00:00:00:00:01\"",
    );
    port(
        "driver: memory, mac: \"01:00:00:00:00:01\"",
        "\"01:00:00:00:00:01\"",
        "`mac`: 01:00:00:00:00:01 is a group's address",
        "the lowest bit of the first octet must be 0",
    );
    port(
        "driver: memory, mtu: 1000, addresses: [\"fd00:9::1/64\"]",
        "1000",
        "`mtu`: 1000 is too small for IPv6",
        "at least 1280 (RFC 8200)",
    );
}

#[test]
fn a_stream_file_is_told_from_a_configuration() {
    let text = include_str!("../../../conf/pktgen.yaml");
    let diags = check(text).unwrap_err();
    let [only] = diags.list() else { panic!("{diags}") };
    assert_eq!(only.message, "this is a stream file of `flowgate pktgen`, not the configuration of a router");
    assert_eq!(pointed_at(&diags, 0), "streams");
    // A router's file into which `streams` strayed is still a router's.
    one("chains: {}\nstreams: {}", "streams", "unknown key `streams` in the configuration", &known_at_top());
}

fn known_at_top() -> String {
    let diags = check(&format!("{PORTS}qqqqqqqqq: 1\n")).unwrap_err();
    diags.list()[0].help.clone().unwrap()
}

#[test]
fn port_addresses() {
    let address = |text: &str, message: &str, help: &str| {
        port(&format!("driver: memory, addresses: [\"{text}\"]"), &format!("\"{text}\""), message, help);
    };
    address(
        "10.9.0.1",
        "`addresses`: `10.9.0.1` has no prefix length",
        "the length tells which addresses are connected, as in 10.9.0.1/24",
    );
    address(
        "fd00:9::1",
        "`addresses`: `fd00:9::1` has no prefix length",
        "the length tells which addresses are connected, as in fd00:9::1/64",
    );
    address("10.9.0.1/33", "`addresses`: bad mask `/33`", "from /0 to /32");
    address("10.9.0.1/255.255.255.0", "`addresses`: bad mask `255.255.255.0`", "write 10.9.0.1/24");
    address("10.9.0.1/255.0.255.0", "`addresses`: bad mask `255.0.255.0`", "write the number of network bits, 0 to 32");
    address("10.9.0.256/24", "`addresses`: `10.9.0.256` is not an IPv4 or IPv6 address", "");
    address(
        "10.9.0.0/24",
        "`addresses`: 10.9.0.0 is the address of the network itself",
        "give the router's own address on it",
    );
    address(
        "fd00:9::/64",
        "`addresses`: fd00:9:: is the routers' anycast address",
        "give the router's own address on it",
    );
    address("10.9.0.255/24", "`addresses`: 10.9.0.255 is the network's broadcast address", "");
    address("224.0.0.1/24", "`addresses`: 224.0.0.1 is a group's address", "");
    address("127.0.0.1/8", "`addresses`: 127.0.0.1 is a loopback address", "");
    address("10.0.1.1/24", "10.0.1.1 is an address of port `lan0` too", "");
    address("10.0.1.2/30", "10.0.1.0/30 overlaps a subnet of port `lan0`", "a destination could be on either side");
    address("10.0.0.1/16", "10.0.0.0/16 overlaps a subnet of port `lan0`", "a destination could be on either side");
    port("driver: memory, addresses: [10.9.0.1/24, 10.9.0.1/24]", "10.9.0.1/24", "10.9.0.1 is given twice", "");
    // Every link has link-local addresses of its own, and a subnet may hold several addresses of one port.
    let fine = "  p: { driver: memory, addresses: [\"fe80::1/64\", 10.9.0.1/24, 10.9.0.2/24] }\n  q: { driver: memory, addresses: [\"fe80::1/64\", 10.8.0.0/31] }\n";
    assert!(check(&format!("{PORTS}{fine}")).is_ok());
}

#[test]
fn routes() {
    let route = |fields: &str, pointed: &str, message: &str, help: &str| {
        one(&format!("routes: [ {{ {fields} }} ]"), pointed, message, help);
    };
    route(
        "to: default, via: 10.9.0.1",
        "10.9.0.1",
        "`via`: 10.9.0.1 is not on a connected subnet",
        "connected there: 10.0.1.0/24, 10.0.2.0/24",
    );
    route(
        "to: default, via: 10.0.1.9, dev: wan0",
        "10.0.1.9",
        "`via`: 10.0.1.9 is not on a connected subnet of port `wan0`",
        "connected there: 10.0.2.0/24",
    );
    route(
        "to: \"::/0\", via: \"fd00:1::9\", dev: wan0",
        "\"fd00:1::9\"",
        "`via`: fd00:1::9 is not on a connected subnet of port `wan0`",
        "no port has an address of that family there",
    );
    route("to: default, via: 10.0.1.1", "10.0.1.1", "`via`: 10.0.1.1 is the router's own address on port `lan0`", "");
    route(
        "to: \"::/0\", via: \"fe80::9\"",
        "\"fe80::9\"",
        "`via`: fe80::9 is a link-local address",
        "say with `dev` which link is meant",
    );
    route("to: \"::/0\", via: 10.0.1.9", "10.0.1.9", "`via`: 10.0.1.9 is of another family than ::/0", "");
    route(
        "to: default, dev: lan0",
        "default",
        "`default` without `via` leaves the family open",
        "write 0.0.0.0/0 or \"::/0\"",
    );
    route(
        "to: 10.1.0.0/16",
        "{ to: 10.1.0.0/16 }",
        "the route to 10.1.0.0/16 leads nowhere",
        "give `via`, `dev` or a `type`",
    );
    route(
        "to: 10.1.0.9/16, via: 10.0.1.9",
        "10.1.0.9/16",
        "`to`: `10.1.0.9/16` has host bits",
        "write 10.1.0.0/16 for the network, or 10.1.0.9 for the host",
    );
    route("to: 10.1.0.0/16, dev: lan1", "lan1", "unknown port `lan1`", "did you mean `lan0`?");
    route(
        "to: 10.1.0.0/16, via: 10.0.1.9/24",
        "10.0.1.9/24",
        "`via`: `10.0.1.9/24` is a prefix, an address is wanted",
        "leave out the part from `/` on",
    );
    route("to: 10.1.0.0/16, type: blackhole, dev: lan0", "dev", "a blackhole route takes no `dev`", "");
    route(
        "to: 10.1.0.0/16, via: [10.0.1.9, 10.0.2.9]",
        "[10.0.1.9, 10.0.2.9]",
        "several next hops in one route are not supported by this version",
        "",
    );
    one(
        "routes: [ { to: 10.1.0.0/16, via: 10.0.1.9 }, { to: 10.1.0.0/16, via: 10.0.2.9 } ]",
        "{ to: 10.1.0.0/16, via: 10.0.2.9 }",
        "a second route to 10.1.0.0/16 with metric 0",
        "give one of them another `metric`; the lower wins",
    );
    let neighbour = |fields: &str, pointed: &str, message: &str, help: &str| {
        one(&format!("neighbours: [ {{ {fields} }} ]"), pointed, message, help);
    };
    neighbour("ip: 10.0.1.9", "{ ip: 10.0.1.9 }", "a neighbour needs `lladdr`", "");
    neighbour(
        "ip: 10.9.0.9, lladdr: \"02:00:00:00:00:01\"",
        "10.9.0.9",
        "`ip`: 10.9.0.9 is not on a connected subnet",
        "connected there: 10.0.1.0/24, 10.0.2.0/24",
    );
}

#[test]
fn sets_and_their_files() {
    one("sets: { s: { type: ipv4 } }", "ipv4", "`type` cannot be `ipv4`", "one of: ip");
    one(
        "sets: { s: { type: ip, elements: [10.0.0.1/24] } }",
        "10.0.0.1/24",
        "`elements`: `10.0.0.1/24` has host bits",
        "write 10.0.0.0/24 for the network, or 10.0.0.1 for the host",
    );
    one("sets: { s: { type: ip, timeout: 5m } }", "timeout", "`timeout` is not supported by this version", "");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("ban.txt"), "# banned\n10.1.0.0/16\n\n  10.2.0.1/16 # typo\nfd00::1\r\nx\n")
        .unwrap();
    let name = dir.path().join("t.yaml");
    let text = format!("{PORTS}sets: {{ ban: {{ type: ip, file: ban.txt }} }}\n");
    let diags = parse_on(&machine(), name.to_str().unwrap(), &text).unwrap_err();
    let wanted = ["error 4:3 `10.2.0.1/16` has host bits", "error 6:1 `x` is not an IPv4 or IPv6 address"];
    assert_eq!(brief(&diags), wanted);
    assert_eq!(pointed_at(&diags, 0), "10.2.0.1/16");
    let drawn = diags.to_string();
    assert!(drawn.contains("ban.txt:4:3\n") && drawn.contains("t.yaml:5:32"), "{drawn}");
    let text = format!("{PORTS}sets: {{ ban: {{ type: ip, file: no.txt }} }}\n");
    let diags = parse_on(&machine(), name.to_str().unwrap(), &text).unwrap_err();
    assert_eq!(pointed_at(&diags, 0), "no.txt");
}

#[test]
fn rule_fields() {
    rule("verdict: acept", "acept", "`verdict`: `acept` is no verdict", "did you mean `accept`?");
    rule("verdict: accept all", "accept all", "`verdict`: `accept all` is no verdict", "`accept` stands alone");
    rule(
        "verdict: reject with tcp reset",
        "reject with tcp reset",
        "`verdict`: a reject cannot be with `tcp-reset`",
        "did you mean `reject with tcp-reset`?",
    );
    rule(
        "verdict: reject with icmp-port-unreachabel",
        "reject with icmp-port-unreachabel",
        "`verdict`: a reject cannot be with `icmp-port-unreachabel`",
        "did you mean `reject with icmp-port-unreachable`?",
    );
    rule("verdict: jump", "jump", "`verdict`: `jump` names no chain", "");
    rule(
        "verdict: jump forward",
        "jump forward",
        "`forward` is a base chain",
        "only chains of your own can be jumped to",
    );
    rule("verdict: accept, iif: []", "[]", "`iif` is an empty list", "leave the key out where anything goes");
    rule(
        "verdict: accept, ct_state: [new, establised]",
        "establised",
        "`ct_state` cannot be `establised`",
        "did you mean `established`?",
    );
    rule("verdict: accept, oif: [lan0, wan1]", "wan1", "unknown port `wan1`", "did you mean `wan0`?");
    rule("verdict: accept, saddr: \"@bna\"", "\"@bna\"", "unknown set `bna`", "");
    rule(
        "verdict: accept, saddr: 10.0.0.1/8",
        "10.0.0.1/8",
        "`saddr`: `10.0.0.1/8` has host bits",
        "write 10.0.0.0/8 for the network, or 10.0.0.1 for the host",
    );
    let mask = |address: &str, mask: &str, help: &str| {
        let text = format!("\"{address}/{mask}\"");
        let message = format!("`saddr`: bad mask `{mask}`");
        rule(&format!("verdict: accept, saddr: {text}"), &text, &message, help);
    };
    mask("10.0.0.1", "255.255.255.0", "write 10.0.0.0/24");
    mask("10.0.0.1", "255.255.255.255", "write 10.0.0.1/32");
    mask("10.0.0.1", "255.0.255.0", "write the number of network bits, 0 to 32");
    mask("10.0.0.1", "ffff::", "write 10.0.0.0/16");
    mask("fd00::1", "ffff::", "write fd00::/16");
    mask("10.0.0.1", "ffff:ffff:ffff::", "write the number of network bits, 0 to 32");
    rule("verdict: accept, l4proto: tpc", "tpc", "`l4proto` cannot be `tpc`", "did you mean `tcp`?");
    rule("verdict: accept, l4proto: 256", "256", "`l4proto`: 256 is out of range", "from 0 to 255");
    rule("verdict: accept, l4proto: tcp, dport: 65536", "65536", "`dport`: 65536 is out of range", "from 0 to 65535");
    rule(
        "verdict: accept, l4proto: tcp, dport: 90-80",
        "90-80",
        "`dport`: port range `90-80` is reversed",
        "did you mean `80-90`?",
    );
    rule(
        "verdict: accept, l4proto: tcp, dport: http",
        "http",
        "`dport`: `http` is not a port number",
        "a number from 0 to 65535 or a range as in 1024-65535",
    );
    one(
        "sets: { ban: { type: ip } }\nchains: { forward: { rules: [ { id: r, saddr: \"@bna\", verdict: drop } ] } }",
        "\"@bna\"",
        "unknown set `bna`",
        "did you mean `ban`?",
    );
    one(
        "sets: { ban: { type: ip } }\nchains: { forward: { rules: [ { id: r, saddr: ban, verdict: drop } ] } }",
        "ban",
        "`saddr`: `ban` is not an address",
        "write \"@ban\" for the set",
    );
    one(
        "chains: { forwrd: { policy: drop } }",
        "policy",
        "chain `forwrd` is no base chain and has no policy",
        "did you mean `forward`?",
    );
    one(
        "chains: { forward: { rules: [ { id: a, iif: lan0, verdict: drop }, { id: a, verdict: drop } ] } }",
        "a",
        "`id: a` is given twice in chain `forward`",
        "",
    );
}

#[test]
fn rules_that_contradict_themselves_or_their_hook() {
    let transports = "say which transport: `l4proto: tcp`, or a list of tcp, udp, udplite, sctp";
    rule("dport: 80, verdict: accept", "80", "`dport` without `l4proto`", transports);
    rule(
        "l4proto: [tcp, gre], sport: 80, verdict: accept",
        "80",
        "`sport` with a protocol that has no ports",
        "tcp, udp, udplite and sctp have ports",
    );
    rule(
        "l4proto: [tcp, udp], verdict: reject with tcp-reset",
        "reject with tcp-reset",
        "`reject with tcp-reset` in a rule that is not about TCP alone",
        "add `l4proto: tcp`",
    );
    let mixed = "IPv4 and IPv6 mixed in rule `r`: it can never match";
    rule("saddr: 10.0.0.0/8, daddr: \"fd00::/8\", verdict: drop", "\"fd00::/8\"", mixed, "write one rule per family");
    rule("daddr: 10.0.0.0/8, l4proto: icmpv6, verdict: drop", "10.0.0.0/8", mixed, "write one rule per family");
    rule(
        "verdict: notrack",
        "notrack",
        "`notrack` comes too late in chain `forward`",
        "packets are exempted from tracking in `prerouting`",
    );
    let hook = |chain: &str, fields: &str, pointed: &str, message: &str, help: &str| {
        one(
            &format!("chains: {{ {chain}: {{ rules: [ {{ id: r, verdict: accept, {fields} }} ] }} }}"),
            pointed,
            message,
            help,
        );
    };
    hook(
        "input",
        "oif: lan0",
        "lan0",
        "no `oif` is known in chain `input`",
        "packets leave by a port only in `forward`",
    );
    hook(
        "prerouting",
        "oif: lan0",
        "lan0",
        "no `oif` is known in chain `prerouting`",
        "packets leave by a port only in `forward`",
    );
    hook(
        "prerouting",
        "ct_state: new",
        "new",
        "no `ct_state` is known in chain `prerouting`",
        "tracking comes after `prerouting`",
    );
    one(
        "chains: { input: { rules: [ { id: a, verdict: jump b } ] }, b: { rules: [ { id: c, verdict: goto d } ] }, d: { rules: [ { id: e, oif: lan0, verdict: drop } ] } }",
        "lan0",
        "no `oif` is known in chain `d`, which is reached from `input`",
        "packets leave by a port only in `forward`",
    );
}

#[test]
fn jump_loops_and_long_ways() {
    one(
        "chains: { forward: { rules: [ { id: a, verdict: jump b } ] }, b: { rules: [ { id: c, verdict: goto d } ] }, d: { rules: [ { id: e, verdict: jump b } ] } }",
        "jump b",
        "jump loop: `b` comes back to itself",
        "",
    );
    let ways = |count: usize| {
        let chain = |n: usize| format!("  c{n}: {{ rules: [ {{ id: a, verdict: jump c{} }} ] }}\n", n + 1);
        let chains: String = (1..count).map(chain).collect();
        format!(
            "{PORTS}chains:\n  forward: {{ rules: [ {{ id: a, verdict: jump c1 }} ] }}\n{chains}  c{count}: {{ rules: [] }}\n"
        )
    };
    assert!(check(&ways(15)).is_ok());
    assert_eq!(brief(&check(&ways(16)).unwrap_err()), ["error 21:37 chains nest deeper than 16 here"]);
    // Ways that meet again are no loops, and long rows of chains need no deep stack.
    let diamond = "chains: { forward: { rules: [ { id: a, iif: lan0, verdict: jump b }, { id: b, verdict: jump c } ] }, b: { rules: [ { id: a, verdict: jump c } ] }, c: { rules: [] } }";
    assert!(check(&format!("{PORTS}{diamond}\n")).is_ok());
    assert_eq!(check(&ways(5000)).unwrap_err().errors(), 1);
}

#[test]
fn helpers() {
    let helper = |fields: &str, pointed: &str, message: &str, help: &str| {
        one(&format!("helpers: {{ h: {{ type: ftp, {fields} }} }}"), pointed, message, help);
    };
    helper("l4proto: udp", "udp", "`l4proto`: ftp does not run over udp", "write `l4proto: tcp`");
    helper("ports: 0", "0", "`ports`: 0 is out of range", "from 1 to 65535");
    helper("iif: lan", "lan", "unknown port `lan`", "did you mean `lan0`?");
    helper("daddr: \"@x\"", "\"@x\"", "unknown set `x`", "");
    helper("timeout: 0s", "0s", "`timeout`: `0s` is out of range", "from 1s to 24d");
    helper("loose: maybe", "maybe", "`loose` must be true or false, not `maybe`", "");
    one("helpers: { h: { type: sip, loose: true } }", "true", "`loose` is no option of sip", "take it out");
    let help = "write `l4proto: udp`";
    one("helpers: { h: { type: sip, l4proto: sctp } }", "sctp", "`l4proto`: sip does not run over sctp", help);
    one("helpers: { h: { type: tftp, loose: true } }", "true", "`loose` is no option of tftp", "take it out");
    one(
        "helpers: { h: { type: tftp, l4proto: tcp } }",
        "tcp",
        "`l4proto`: tftp does not run over tcp",
        "write `l4proto: udp`",
    );
}

#[test]
fn a_file_that_is_no_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.yaml");
    std::fs::write(&path, b"version: 1\nports: \xff\n").unwrap();
    let diags = load(&path).unwrap_err();
    assert_eq!(diags.list()[0].message, format!("cannot read {}: line 2 is not UTF-8 text", path.display()));
    assert_eq!(diags.to_string(), format!("error: {}", diags.list()[0].message));
}

#[test]
fn what_cannot_be_read_is_no_second_mistake() {
    let tcp = "did you mean `tcp`?";
    rule("l4proto: tpc, dport: 80, verdict: reject with tcp-reset", "tpc", "`l4proto` cannot be `tpc`", tcp);
    rule(
        "saddr: [10.0.0.0/8, \"fd00::1/8\"], daddr: \"fd00::/8\", verdict: drop",
        "\"fd00::1/8\"",
        "`saddr`: `fd00::1/8` has host bits",
        "write fd00::/8 for the network, or fd00::1 for the host",
    );
    let lost = "version: 1\nports: { a: { driver: memory, addresses: [10.0.0.256/24] } }\nroutes: [ { to: default, via: 10.0.0.2 } ]\n";
    assert_eq!(
        brief(&check(lost).unwrap_err()),
        ["error 2:43 `addresses`: `10.0.0.256` is not an IPv4 or IPv6 address"]
    );
}

#[test]
fn what_only_the_forwarding_table_sees() {
    let route = |fields: &str, message: &str| {
        one(&format!("routes: [ {{ {fields} }} ]"), &format!("{{ {fields} }}"), message, "");
    };
    route("to: 10.0.1.1, type: blackhole", "10.0.1.1/32 is an address of the router itself");
    route("to: 10.0.1.0/24, via: 10.0.2.2", "there is already a route to 10.0.1.0/24 with metric 0");
    route("to: default, via: 10.0.1.255", "gateway 10.0.1.255 is not a host's address");
}

/// Whatever is read and drawn, nothing panics and every place is within its text.
fn survives(text: &str) {
    let diags = match check(text) {
        Ok(loaded) => loaded.diagnostics,
        Err(diags) => {
            assert!(diags.errors() > 0);
            diags
        }
    };
    for diagnostic in diags.list() {
        for place in diagnostic.place.iter().chain(diagnostic.related.iter().map(|(place, _)| place)) {
            let source = &diags.sources()[usize::from(place.source)];
            assert!(source.text.get(place.bytes()).is_some(), "{place:?} in {text:?}");
        }
    }
    let _ = (diags.render(true), diags.to_json());
}

const SAMPLES: [&str; 3] = [
    include_str!("../../../conf/gateway.yaml"),
    include_str!("../../../conf/lab.yaml"),
    include_str!("../../../conf/minimal.yaml"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_text_never_panics(text in "\\PC*") {
        survives(&text);
    }

    #[test]
    fn random_yaml_like_text_never_panics(text in "[-a-c:{}\\[\\],'\"&*!|>#?%@ \t\r\n0-9äß\u{feff}\u{2028}]{0,80}") {
        survives(&text);
        survives(&format!("{PORTS}{text}"));
    }

    #[test]
    fn mutated_samples_never_panic(
        sample in 0usize..3,
        edits in prop::collection::vec((any::<prop::sample::Index>(), "[-a-z:{}\\[\\],'\"&*@/ \t\n0-9]{0,3}", 0usize..4), 1..6),
    ) {
        let mut chars: Vec<char> = SAMPLES[sample].chars().collect();
        for (at, insert, remove) in edits {
            let at = at.index(chars.len());
            let end = (at + remove).min(chars.len());
            chars.splice(at..end, insert.chars());
        }
        survives(&chars.into_iter().collect::<String>());
    }
}
