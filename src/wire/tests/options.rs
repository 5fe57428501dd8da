//! IPv4 options, whatever they are.

use super::*;
use crate::net::Addr;
use crate::wire::options::{self, BadOptions, Hop, check, has_options, record};

const HOP: Hop = Hop { leaves_by: Addr::v4(0x0a00_0201), known_as: Addr::v4(0x0a00_0101), millis: 0x0102_0304 };

/// Mostly options, and mostly of kinds that mean something.
fn area() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![Just(0), Just(1), Just(7), Just(68), Just(131), Just(137), Just(148), any::<u8>()];
    let option = (kind, 0..16u8, 0..20u8, any::<[u8; 13]>()).prop_map(|(kind, len, pointer, rest)| {
        let mut option = [&[kind, len, pointer][..], &rest].concat();
        option.truncate(if kind < 2 { 1 } else { usize::from(len.max(1)) });
        option
    });
    (1..=10usize, proptest::collection::vec(option, 1..6)).prop_map(|(words, options)| {
        let mut area = options.concat();
        area.resize(words * 4, 0);
        area
    })
}

fn with(area: &[u8]) -> Vec<u8> {
    let mut frame = v4(17, &[0, 7, 0, 9, 0, 8, 0, 0]);
    frame.splice(34..34, area.iter().copied());
    frame[14] += (area.len() / 4) as u8;
    frame[17] += area.len() as u8;
    crate::wire::ipv4::seal(&mut frame[14..34 + area.len()]);
    frame
}

/// Kinds and lengths.
fn outline(area: &[u8]) -> Vec<(u8, usize)> {
    crate::wire::ipv4::options(area).map(|option| (option[0], option.len())).collect()
}

proptest! {
    #[test]
    fn what_is_let_pass_keeps_its_shape_and_its_checksum(area in area()) {
        let mut frame = with(&area);
        let parsed = checked(&frame);
        prop_assert!(has_options(&parsed));
        prop_assert_eq!(options::options(&frame, &parsed), &area[..]);
        let verdict = check(&area);
        if let Err(BadOptions::Malformed { pointer }) = verdict {
            prop_assert!((20..20 + area.len()).contains(&usize::from(pointer)));
        }
        // Whatever they are, what is written stays in their area.
        record(&mut frame, &parsed, &HOP, |addr| addr.as_v4() & 1 == 0);
        let after = checked(&frame);
        prop_assert_eq!(after.summary, parsed.summary);
        if verdict.is_ok() {
            let now = options::options(&frame, &after);
            prop_assert_eq!(outline(now), outline(&area));
            for (before, after) in crate::wire::ipv4::options(&area).zip(crate::wire::ipv4::options(now)) {
                if !matches!(before[0], 7 | 68) {
                    prop_assert_eq!(before, after);
                }
            }
            // Only a count of routers may have become full, or the room of half an entry be left.
            match check(now) {
                Ok(()) => {}
                Err(BadOptions::SourceRoute) => prop_assert!(false, "no route comes into being"),
                Err(BadOptions::Malformed { pointer }) => {
                    prop_assert!(now.get(usize::from(pointer) - 20 - 2).is_some_and(|octet| matches!(octet, 7 | 68))
                        || now.get(usize::from(pointer) - 20 - 3) == Some(&68));
                }
            }
        }
    }

    #[test]
    fn an_answers_options_are_records_alone(area in area()) {
        let mut frame = with(&area);
        let parsed = checked(&frame);
        if check(&area).is_ok() && let Some(cut) = options::answer_options(&mut frame, &parsed, &HOP, |_| true) {
            let parsed = checked(&frame[cut..]);
            prop_assert_eq!(&frame[cut..cut + 14], &with(&area)[..14], "the link header went along");
            let kinds: Vec<u8> = outline(options::options(&frame[cut..], &parsed)).iter().map(|(kind, _)| *kind).collect();
            prop_assert!(kinds.is_empty() || kinds == [7] || kinds == [68] || kinds == [7, 68], "{:?}", kinds);
        }
    }
}

#[test]
fn packets_without_options_have_none() {
    for mut frame in [v4(17, &[0; 8]), v6(0, &[17, 0, 1, 4, 0, 0, 0, 0, 0, 7, 0, 9, 0, 8, 0, 0])] {
        let (before, parsed) = (frame.clone(), trusted(&frame));
        assert!(!has_options(&parsed) && options::options(&frame, &parsed).is_empty());
        record(&mut frame, &parsed, &HOP, |_| true);
        assert_eq!(frame, before);
    }
    assert_eq!(check(&[]), Ok(()));
}
