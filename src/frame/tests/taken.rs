use crate::frame::tests::pool;
use crate::frame::{Burst, Frame};

fn burst_of(frames: impl IntoIterator<Item = Frame>) -> Burst {
    let mut burst = Burst::with_limit(8);
    frames.into_iter().for_each(|frame| burst.push(frame).unwrap());
    burst
}

fn first_octets(burst: &Burst) -> Vec<u8> {
    burst.as_slice().iter().map(|frame| frame.data()[0]).collect()
}

#[test]
fn a_frame_that_was_looked_at_is_the_next_one_still() {
    let pool = pool(8);
    let mut burst = burst_of((0..6).map(|at| pool.alloc_from(&[at; 60]).unwrap()));
    let mut out = Burst::with_limit(8);
    let mut taken = burst.taking(4);
    assert_eq!(taken.next().map(|frame| frame.data()[0]), Some(0));
    // The third is changed and left where it is.
    let mut giving = taken.along(&[10, 20, 30]);
    let (mut second, with) = giving.look().unwrap();
    second.data_mut()[0] += with;
    out.push(second.out()).unwrap();
    let (mut third, with) = giving.look().unwrap();
    third.data_mut()[0] += with;
    drop(third);
    assert_eq!(giving.count(), 1);
    drop(giving);
    assert!(taken.along::<u8>(&[]).look().is_none());
    assert_eq!(taken.next().map(|frame| frame.data()[0]), Some(22));
    // The fourth nobody takes; the last two stay.
    drop(taken);
    assert_eq!((first_octets(&burst), first_octets(&out)), (vec![4, 5], vec![11]));
    assert_eq!(pool.available(), 8 - 3);
    burst.push(pool.alloc_from(&[9; 60]).unwrap()).unwrap();
    assert_eq!(first_octets(&burst), [4, 5, 9]);
}

#[test]
fn no_more_is_given_than_there_is() {
    let pool = pool(4);
    let mut burst = burst_of((0..3).map(|at| pool.alloc_from(&[at; 60]).unwrap()));
    let mut taken = burst.taking(9);
    let mut giving = taken.along(&[0; 8]);
    while let Some((next, _)) = giving.look() {
        assert!(next.out().data()[0] < 3);
    }
    assert_eq!(giving.count(), 3);
    drop(giving);
    assert!(taken.next().is_none());
    drop(taken);
    assert!(burst.is_empty());
    assert_eq!(pool.available(), 4);
}

#[test]
fn frames_go_home_when_the_taker_panics() {
    let pool = pool(4);
    let mut burst = burst_of((0..3).map(|at| pool.alloc_from(&[at; 60]).unwrap()));
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut taken = burst.taking(2);
        let mut giving = taken.along(&[0; 2]);
        while let Some((next, _)) = giving.look() {
            assert_eq!(next.out().data()[0], 0);
        }
    }));
    assert!(caught.is_err());
    assert_eq!((first_octets(&burst), pool.available()), (vec![2], 3));
}
