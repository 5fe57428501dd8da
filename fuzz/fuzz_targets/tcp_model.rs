//! The TCP tracker against the specification written a second time: every segment's outcome, timer and state.

#![no_main]

use flowgate::conntrack::proto::{Flow, Outcome, Settings, Timeouts, tcp};
use flowgate::net::{Direction, Segment, TcpFlags};
use flowgate_fuzz::Input;
use flowgate_fuzz::model::{Did, Model, applied};
use libfuzzer_sys::fuzz_target;

/// What passes the sanity check of flags.
const FLAGS: [u8; 9] = [2, 18, 16, 17, 4, 20, 16, 24, 34];

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let shape = input.u8();
    let settings = Settings {
        tcp_loose: shape & 1 == 0,
        tcp_be_liberal: shape & 2 != 0,
        tcp_ignore_invalid_rst: shape & 4 != 0,
        // Repetitions are told by a digest, which may err once in a while (departures.md).
        tcp_max_retrans: 255,
        timeouts: Timeouts::default(),
    };
    let mut both: Option<(Model, tcp::Tcp)> = None;
    let (mut seen_reply, mut assured, mut left) = (false, false, 0i64);
    let mut edge = [1000u32, 5000];
    for _ in 0..120 {
        if input.is_empty() {
            break;
        }
        let what = input.u8();
        let side = usize::from(what >> 7);
        let dir = if side == 0 { Direction::Original } else { Direction::Reply };
        let flags = TcpFlags(FLAGS[usize::from(what & 15) % FLAGS.len()]);
        let (seq, ack) = (input.near(edge[side]), input.near(edge[1 - side]));
        let shape = input.u8();
        let has_options = shape & 1 != 0;
        let seg = Segment {
            seq,
            ack,
            // A SACK block only counts beyond the acknowledgment.
            sack: if shape & 2 != 0 { ack.wrapping_add(u32::from(input.u16())) } else { ack },
            payload: if shape & 4 != 0 { u32::from(input.u16()) % 1461 } else { 0 },
            window: if shape & 8 != 0 { input.u16() } else { 8192 },
            flags,
            wscale: (has_options && shape & 16 != 0).then(|| input.u8() % 15),
            sack_permitted: has_options && shape & 32 != 0,
            has_options,
        };
        edge[side] = if what & 64 == 0 { seg.end() } else { edge[side] };
        if let Some((model, real)) = &mut both {
            // Bounded, so that the entry is still there.
            let passed = (i64::from(shape >> 6) * 1000).min(left - 1).max(0);
            left -= passed;
            model.left -= passed;
            let flow = Flow { seen_reply, assured, remaining_ms: left as i32 };
            let step = tcp::advance(&settings, real, flow, &seg, dir);
            let did = model.advance(&settings, &seg, dir);
            assert_eq!(Did::of(step.outcome, step.delete), did, "{seg:?} {dir:?}\n{model:?}\n{real:?}");
            if did == Did::Delete || did == Did::Restart {
                both = None;
            } else {
                left = applied(left, step.timer);
                assured |= step.assured;
                seen_reply |= dir == Direction::Reply && matches!(step.outcome, Outcome::Accept | Outcome::Ignore);
                model.seen_reply |= seen_reply;
                assert_eq!(
                    (real.state.label(), left, assured),
                    (model.state.label(), model.left, model.assured),
                    "{seg:?} {dir:?}\n{model:?}\n{real:?}"
                );
                continue;
            }
            if did == Did::Delete {
                continue;
            }
        }
        // A first packet, or one that begins anew.
        let opened = tcp::open(&settings, &seg);
        let model = Model::open(&settings, &seg);
        assert_eq!(opened.is_ok(), model.is_some(), "{seg:?}");
        if let (Ok((real, step)), Some(model)) = (opened, model) {
            (seen_reply, assured, left) = (false, false, applied(0, step.timer));
            assert_eq!((real.state.label(), left), (model.state.label(), model.left));
            both = Some((model, real));
        }
    }
});
