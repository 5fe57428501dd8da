//! Histories of frames and pauses through a whole router; what must hold is checked after every packet.

#![no_main]

use flowgate_fuzz::router::{Router, Setup, ZONES, hosts};
use flowgate_fuzz::{Input, frames};
use libfuzzer_sys::fuzz_target;
use std::net::IpAddr;

const PROTOCOLS: [u8; 8] = [47, 50, 132, 136, 33, 255, 0, 51];

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (shape, apart) = (input.u8(), input.u8());
    let mut router = Router::new(Setup {
        workers: 1 + usize::from(shape & 1),
        entries: 4 << (shape >> 1 & 3),
        evict: shape & 8 == 0,
        helpers: shape & 16 != 0,
        short: shape & 32 != 0,
        loose: shape & 64 == 0,
        zones: [ZONES[usize::from(apart & 7)], ZONES[usize::from(apart >> 3 & 7)]],
        per_source: (apart & 64 != 0).then_some(2),
    });
    let mut sent: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut edge = [1000u32, 5000];
    while !input.is_empty() && sent.len() < 200 {
        let what = input.u8();
        let (side, v6) = (usize::from(what >> 4 & 1), what >> 5 & 1 == 1);
        let pair = hosts(v6, input.u8());
        let (src, dst): (IpAddr, IpAddr) = (pair[side], pair[1 - side]);
        let mut ports = [1000 + u16::from(what >> 6), 80];
        ports.rotate_left(side);
        let frame = match what & 15 {
            0 => {
                router.wait(u64::from(input.u16()) << (input.u8() & 15));
                continue;
            }
            1..=5 => {
                let flags = input.u8();
                let (seq, ack) = (input.near(edge[side]), input.near(edge[1 - side]));
                let options = input.u8();
                let options: &[u8] = match options & 7 {
                    0 => &[3, 3, 7, 4, 2],
                    1 => input.octets(usize::from(options >> 3)),
                    _ => &[],
                };
                let payload = vec![0; usize::from(input.u8() & 0x1f)];
                edge[side] = seq.wrapping_add(payload.len() as u32 + u32::from(flags & 2 != 0) + u32::from(flags & 1));
                let segment = frames::tcp(ports, flags, seq, ack, input.u16(), options, &payload);
                frames::ip(side, src, dst, 6, 64, &segment)
            }
            6 | 7 => frames::ip(side, src, dst, 17, 64, &frames::udp(ports, &[0; 4])),
            8 => {
                let kind = input.u8();
                let octets = [kind, 0, 0, 0, 0, 1, 0, 1];
                frames::ip(side, src, dst, if v6 { 58 } else { 1 }, 64, &octets)
            }
            9 | 10 => {
                let proto = PROTOCOLS[usize::from(input.u8() & 7)];
                let len = usize::from(input.u8() & 0x3f);
                frames::ip(side, src, dst, proto, 64, input.octets(len))
            }
            11 => {
                // An error about one of the packets before, perhaps spoilt.
                let Some((_, quoted)) = sent.get(usize::from(input.u8()) % sent.len().max(1)) else { continue };
                let v6 = quoted.get(12..14) == Some(&[0x86, 0xdd]);
                let pair = hosts(v6, input.u8());
                let mut octets = vec![if v6 { 1 } else { 3 }, 1, 0, 0, 0, 0, 0, 0];
                octets.extend(quoted.get(14..).unwrap_or_default());
                let (at, with) = (input.u8(), input.u8());
                if let Some(octet) = octets.get_mut(8 + usize::from(at)) {
                    *octet ^= with;
                }
                octets.truncate(556);
                frames::ip(side, pair[side], pair[1 - side], if v6 { 58 } else { 1 }, 64, &octets)
            }
            12 => {
                let Some((side, whole)) = sent.get(usize::from(input.u8()) % sent.len().max(1)).cloned() else {
                    continue;
                };
                let mut pieces = frames::fragments(&whole, &mut input);
                if input.bit() {
                    pieces.reverse();
                }
                if input.u8() & 7 == 0 {
                    pieces.pop();
                }
                for piece in pieces {
                    router.feed(side, &piece);
                }
                continue;
            }
            13 => {
                // One of the packets before again, with an octet changed.
                let Some((_, again)) = sent.get(usize::from(input.u8()) % sent.len().max(1)) else { continue };
                let mut again = again.clone();
                let (at, with) = (input.u8(), input.u8());
                if let Some(octet) = again.get_mut(usize::from(at)) {
                    *octet ^= with;
                }
                if again.get(12..14) == Some(&[8, 0]) && again.len() >= 34 {
                    frames::seal(&mut again[14..34]);
                }
                again
            }
            _ => {
                let len = usize::from(input.u8());
                input.octets(len).to_vec()
            }
        };
        router.feed(side, &frame);
        sent.push((side, frame));
    }
    router.end();
});
