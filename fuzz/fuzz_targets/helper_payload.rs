//! Payloads of both directions shown to every helper, through a whole router; expectations stay within bounds.

#![no_main]

use flowgate::helper::HelperKind;
use flowgate::net::CtState;
use flowgate_fuzz::router::{Router, Setup, hosts};
use flowgate_fuzz::{Input, frames};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let which = input.u8();
    let v6 = which & 0x80 != 0;
    let helper = HelperKind::ALL[usize::from(which & 0x7f) % HelperKind::ALL.len()].helper();
    let usual = helper.defaults();
    let l4proto = usual.l4proto[0];
    let mut router = Router::new(Setup {
        workers: 1,
        entries: 64,
        evict: true,
        helpers: true,
        short: false,
        loose: true,
        zones: [None; 2],
        per_source: None,
    });
    let pair = hosts(v6, 0);
    let mut seq = [1000u32, 5000];
    let ports = |side: usize| if side == 0 { [1000, usual.port] } else { [usual.port, 1000] };
    let mut say = |router: &mut Router, side: usize, flags: u8, payload: &[u8], lost: bool| {
        let transport = if l4proto == 6 {
            let (at, ack) = (seq[side], if flags & 16 != 0 { seq[1 - side] } else { 0 });
            seq[side] = at.wrapping_add(payload.len() as u32 + u32::from(flags & 2 != 0));
            frames::tcp(ports(side), flags, at, ack, 65535, &[], payload)
        } else {
            frames::udp(ports(side), payload)
        };
        if lost {
            return None;
        }
        Some(router.feed(side, &frames::ip(side, pair[side], pair[1 - side], l4proto, 64, &transport)))
    };
    if l4proto == 6 {
        say(&mut router, 0, 2, b"", false);
        say(&mut router, 1, 18, b"", false);
        say(&mut router, 0, 16, b"", false);
    }
    for _ in 0..20 {
        if input.is_empty() {
            break;
        }
        let how = input.u8();
        let side = usize::from(how & 1);
        let len = usize::from(input.u16() & 0x3ff);
        let payload = input.octets(len).to_vec();
        say(&mut router, side, 24, &payload, how & 0xe0 == 0xe0);
        if how & 0x1e == 0x1e {
            // Perhaps somebody comes who was announced.
            let port = input.u16();
            for proto in [6, 17] {
                let transport = if proto == 6 {
                    frames::tcp([20, port], 2, 1, 0, 1000, &[], b"")
                } else {
                    frames::udp([20, port], b"x")
                };
                let fate =
                    router.feed(1 - side, &frames::ip(1 - side, pair[1 - side], pair[side], proto, 64, &transport));
                assert!(matches!(
                    fate.state,
                    Some(CtState::New | CtState::Related | CtState::Established | CtState::Invalid)
                ));
            }
        }
    }
    router.wait(500_000_000);
    assert_eq!(router.expectations(), 0);
});
