use super::*;
use proptest::prelude::*;

#[allow(unsafe_code)]
mod bare;
mod filling;
#[allow(unsafe_code)]
mod lender;
mod survey;
mod taken;

fn pool(buffers: usize) -> Pool {
    Pool::new(PoolConfig { buffers, frame_size: 256 }).unwrap()
}

#[test]
fn frames_return_home_when_dropped() {
    let pool = pool(2);
    let first = pool.alloc().unwrap();
    let second = pool.alloc().unwrap();
    assert!(pool.alloc().is_none());
    drop(first);
    assert_eq!(pool.available(), 1);
    drop(second);
    assert_eq!(pool.available(), 2);
}

#[test]
fn a_frame_outlives_its_pool() {
    let pool = pool(1);
    let frame = pool.alloc_from(b"still here").unwrap();
    drop(pool);
    assert_eq!(frame.data(), b"still here");
}

#[test]
fn frames_of_several_pools_return_home_together() {
    let pools = [pool(8), pool(8)];
    let mut burst = Burst::with_limit(16);
    for at in 0..16 {
        burst.push(pools[usize::from((5..13).contains(&at))].alloc_from(&[at; 60]).unwrap()).unwrap();
    }
    burst.consume(7);
    assert_eq!((pools[0].available(), pools[1].available(), burst.len()), (5, 2, 9));
    assert_eq!(burst.as_slice()[0].data(), [7; 60]);
    let [first, second] = pools;
    drop(first);
    burst.consume(usize::MAX);
    assert_eq!((second.available(), burst.len()), (8, 0));
    let frames: Vec<Frame> = std::iter::from_fn(|| second.alloc()).collect();
    let mut places: Vec<_> = frames.iter().map(Frame::head).collect();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), 8, "each buffer once");
}

#[test]
fn pushing_and_pulling_moves_a_partial_checksum_along() {
    let pool = pool(1);
    let mut frame = pool.alloc_from(&[7; 60]).unwrap();
    frame.meta.checksum = Checksum::Partial { start: 34, offset: 16 };
    frame.push_front(4).unwrap().copy_from_slice(&[1, 2, 3, 4]);
    assert_eq!(frame.meta.checksum, Checksum::Partial { start: 38, offset: 16 });
    assert_eq!(frame.len(), 64);
    frame.pull_front(4);
    assert_eq!(frame.meta.checksum, Checksum::Partial { start: 34, offset: 16 });
    assert_eq!(frame.data(), &[7; 60]);
}

#[test]
fn strides_are_an_odd_number_of_lines() {
    for size in [64, 2048, 9216, MAX_FRAME] {
        let config = PoolConfig { buffers: 4, frame_size: size };
        assert_eq!(config.stride() / 64 % 2, 1);
        assert!(config.stride() >= size + HEADROOM);
    }
}

#[test]
fn senseless_sizes_are_refused() {
    assert!(Pool::new(PoolConfig { buffers: 0, frame_size: 64 }).is_err());
    assert!(Pool::new(PoolConfig { buffers: 1, frame_size: MAX_FRAME + 1 }).is_err());
}

proptest! {
    #[test]
    fn buffers_never_share_octets(fills in prop::collection::vec(any::<u8>(), 1..16)) {
        let pool = pool(16);
        let frames: Vec<Frame> = fills.iter().map(|b| pool.alloc_from(&[*b; 256]).unwrap()).collect();
        for (frame, fill) in frames.iter().zip(&fills) {
            prop_assert!(frame.data().iter().all(|b| b == fill));
        }
    }
}
