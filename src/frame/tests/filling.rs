use crate::frame::tests::pool;
use crate::frame::{Burst, Filling};

#[test]
fn frames_go_where_they_would_one_by_one() {
    let pool = pool(64);
    // Where each goes; there are two bursts, of three and of twenty places.
    let ways = [0, 0, 1, 1, 0, 0, 0, 1, 2, 1, 1, 0, 1, 0, 2, 2, 1, 1];
    let bursts = || [Burst::with_limit(3), Burst::with_limit(20)];
    let (mut one_by_one, mut filled) = (bursts(), bursts());
    // Some are there before.
    for burst in one_by_one.iter_mut().chain(&mut filled) {
        burst.push(pool.alloc_from(&[99; 60]).unwrap()).unwrap();
    }
    let mut filling = Filling::of(&mut filled);
    for (at, way) in (0..).zip(ways) {
        let [one, other] = [0, 1].map(|_| pool.alloc_from(&[at; 60]).unwrap());
        let wanted = match one_by_one.get_mut(way) {
            Some(burst) => burst.push(one),
            None => Err(one),
        };
        let refused = filling.push(way, other).err().map(|frame| frame.data()[0]);
        assert_eq!(refused, wanted.err().map(|frame| frame.data()[0]), "{at}");
    }
    drop(filling);
    let octets = |burst: &Burst| burst.as_slice().iter().map(|frame| frame.data()[0]).collect::<Vec<_>>();
    assert_eq!(filled.each_ref().map(octets), one_by_one.each_ref().map(octets));
    assert_eq!(octets(&filled[0]), [99, 0, 1]);
    drop((filled, one_by_one));
    assert_eq!(pool.available(), 64);
}

#[test]
fn nothing_is_lost_when_no_frame_comes() {
    let pool = pool(2);
    let mut bursts = [Burst::with_limit(1), Burst::with_limit(0)];
    bursts[0].push(pool.alloc().unwrap()).unwrap();
    drop(Filling::of(&mut bursts));
    let mut filling = Filling::of(&mut bursts);
    assert!(filling.push(0, pool.alloc().unwrap()).is_err());
    assert!(filling.push(1, pool.alloc().unwrap()).is_err());
    drop(filling);
    assert_eq!((bursts[0].len(), bursts[1].len(), pool.available()), (1, 0, 1));
}
