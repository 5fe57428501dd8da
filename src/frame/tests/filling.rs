use crate::frame::tests::pool;
use crate::frame::{Burst, Filling};

#[test]
fn frames_go_where_they_would_one_by_one() {
    let pool = pool(96);
    // Where each goes; there are bursts of three, twenty and forty places. Some stay.
    let ways = [2, 2, 0, 0, 1, 1, 0, 0, 0, 1, 3, 1, 1, 0, 1, 2, 0, 3, 3, 1, 1, 2, 2];
    let bursts = || [Burst::with_limit(3), Burst::with_limit(20), Burst::with_limit(40)];
    for (groups, stays) in [(1, 0), (4, 5), (8, 1), (100, 23)] {
        let (mut one_by_one, mut filled, mut from) = (bursts(), bursts(), Burst::with_limit(40));
        // Some are there before.
        for burst in one_by_one.iter_mut().chain(&mut filled) {
            burst.push(pool.alloc_from(&[99; 60]).unwrap()).unwrap();
        }
        let count = ways.len() - stays;
        let (mut wanted, mut refused) = (Vec::new(), Vec::new());
        for (at, way) in (0..).zip(ways) {
            from.push(pool.alloc_from(&[at; 60]).unwrap()).unwrap();
            if usize::from(at) < count {
                let frame = pool.alloc_from(&[at; 60]).unwrap();
                let back = match one_by_one.get_mut(way) {
                    Some(burst) => burst.push(frame),
                    None => Err(frame),
                };
                wanted.extend(back.err().map(|frame| frame.data()[0]));
            }
        }
        let mut taken = from.taking(count + stays.min(2));
        let mut filling = Filling::of(&mut taken, &mut filled);
        for group in ways[..count].chunks(groups) {
            let mut along = filling.along(group);
            while let Some((mut next, way)) = along.look() {
                next.data_mut()[1] = 7;
                refused.extend(next.put(*way).err().map(|frame| frame.data()[0]));
            }
            assert_eq!(along.count(), group.len());
        }
        // One is looked at and stays, if there is one.
        assert_eq!(filling.along(&[0]).look().is_some(), stays != 0);
        drop(filling);
        assert_eq!(taken.next().map(|frame| usize::from(frame.data()[0])), (stays != 0).then_some(count));
        drop(taken);
        assert_eq!(refused, wanted);
        let octets = |burst: &Burst| burst.as_slice().iter().map(|frame| frame.data()[0]).collect::<Vec<_>>();
        assert_eq!(filled.each_ref().map(octets), one_by_one.each_ref().map(octets));
        assert!(filled.iter().all(|burst| burst.as_slice().iter().skip(1).all(|frame| frame.data()[1] == 7)));
        assert_eq!(from.len(), stays.saturating_sub(2));
    }
    assert_eq!(pool.available(), 96);
}

#[test]
fn nothing_is_lost_when_no_frame_comes() {
    let pool = pool(4);
    let mut bursts = [Burst::with_limit(1), Burst::with_limit(0), Burst::with_limit(9)];
    bursts[0].push(pool.alloc().unwrap()).unwrap();
    let mut from = Burst::with_limit(3);
    drop(Filling::of(&mut from.taking(3), &mut bursts));
    (0..3).for_each(|_| from.push(pool.alloc().unwrap()).unwrap());
    let mut taken = from.taking(3);
    let mut filling = Filling::of(&mut taken, &mut bursts);
    let mut along = filling.along(&[2, 0, 1, 2]);
    let refused = std::iter::from_fn(|| along.look().map(|(next, way)| next.put(*way).is_err()));
    assert_eq!(refused.collect::<Vec<_>>(), [false, true, true]);
    drop(filling);
    drop(taken);
    assert_eq!(bursts.map(|burst| burst.len()), [1, 0, 1]);
    assert_eq!(pool.available(), 4);
}
