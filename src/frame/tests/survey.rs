//! Frames that are filled together and looked at together.

use super::*;
use crate::net::PortId;
use crate::net::wide::{Wide, Widest, Work};

const WIDEST: [fn() -> Widest; 2] = [|| Widest::COMMON, Widest::here];

/// Frames of `len` octets, one of each item, of which it is the first octet.
struct Fill<'a> {
    len: usize,
    items: &'a [u8],
    meta: Meta,
    pool: &'a Pool,
    burst: &'a mut Burst,
}

impl Work for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self, wide: impl Wide) {
        let Fill { len, items, meta, pool, burst } = self;
        pool.fill_alike(wide, (len, &meta), items, burst, |item, data| data[0] = *item);
    }
}

fn partial() -> Checksum {
    Checksum::Partial { start: 34, offset: 16 }
}

fn large(ecn: bool) -> Option<Gso> {
    Some(Gso { kind: GsoKind::Tcp4, ecn, size: 1448, header_len: 66 })
}

/// Whatever a frame may ask of a port.
fn meta() -> impl Strategy<Value = Meta> {
    let checksum = prop_oneof![Just(Checksum::Unknown), Just(Checksum::Verified), Just(partial())];
    let gso = prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(large)];
    (0u8..3, checksum, gso, any::<bool>()).prop_map(|(port, checksum, gso, verified)| Meta {
        ingress: PortId(port),
        checksum,
        gso,
        header: if verified { HeaderSum::Verified } else { HeaderSum::Unknown },
        ..Meta::default()
    })
}

proptest! {
    #[test]
    fn what_is_filled_alike_is_as_if_filled_one_by_one(
        buffers in 1usize..40, before in 0usize..5, items in prop::collection::vec(any::<u8>(), 0..40), len in 1usize..300, meta in meta(),
    ) {
        for widest in WIDEST {
            let pool = pool(buffers);
            let mut burst = Burst::with_limit(24);
            for _ in 0..before {
                let _ = pool.alloc_from(b"before").map(|frame| burst.push(frame));
            }
            let (before, room) = (burst.len(), pool.available().min(burst.room()));
            widest().run(Fill { len, items: &items, meta, pool: &pool, burst: &mut burst });
            let new = &burst.as_slice()[before..];
            prop_assert_eq!(new.len(), items.len().min(room));
            for (frame, item) in new.iter().zip(&items) {
                prop_assert_eq!((frame.data()[0], frame.len(), frame.meta), (*item, len.min(256), meta));
                prop_assert_eq!((frame.headroom(), frame.capacity(), frame.home()), (HEADROOM, 256, pool.id()));
            }
            prop_assert_eq!(pool.available() + burst.len(), buffers);
            drop(burst);
            prop_assert_eq!(pool.available(), buffers);
        }
    }

    /// Also where the frames' data is anywhere, of any length, and their buffers are of several pools.
    #[test]
    fn a_survey_says_what_holds_of_each(
        frames in prop::collection::vec((0usize..2, meta(), 0usize..2, 0usize..3), 0..23),
        alike: bool, one_home: bool, plain: bool, sent in 0usize..24,
    ) {
        for widest in WIDEST {
            let pools = [pool(24), pool(24)];
            let mut burst = Burst::with_limit(24);
            for (at, (home, meta, cut, len)) in frames.iter().enumerate() {
                let (home, cut, len) = (if one_home { 1 } else { *home }, if alike { 1 } else { *cut }, if alike { 1 } else { *len });
                let mut frame = pools[home].alloc_from(&[at as u8; 66][..60 + cut + len]).unwrap();
                frame.pull_front(cut);
                if !plain {
                    frame.meta = *meta;
                }
                burst.push(frame).unwrap();
            }
            let lens: Vec<usize> = burst.as_slice().iter().map(|frame| frame.len()).collect();
            let places: Vec<_> = burst.as_slice().iter().map(|frame| (frame.len(), frame.headroom())).collect();
            let asked = burst.as_slice().iter().any(|frame| frame.meta.gso.is_some() || matches!(frame.meta.checksum, Checksum::Partial { .. }));
            let took = burst.offer(widest(), |all| {
                assert_eq!(all.asks().is_nothing(), !asked);
                assert_eq!(all.octets(), (lens.iter().sum::<usize>() as u64, lens.iter().copied().max().unwrap_or(0)));
                let same = places.first().filter(|first| places.iter().all(|place| place == *first));
                assert_eq!(all.alike().map(|alike| alike.len()), same.map(|(len, _)| *len));
                if let Some(alike) = all.alike() {
                    let seen = alike.fold(Vec::new(), |mut seen, data| {
                        seen.push(data.to_vec());
                        seen
                    });
                    let data: Vec<_> = all.frames().iter().map(|frame| frame.data().to_vec()).collect();
                    assert_eq!(seen, data);
                }
                sent
            });
            prop_assert_eq!(took, sent.min(frames.len()));
            let left: Vec<u8> = burst.as_slice().iter().map(|frame| frame.data()[0]).collect();
            let wanted: Vec<u8> = (took as u8..frames.len() as u8).collect();
            prop_assert_eq!(left, wanted);
            prop_assert_eq!(pools[0].available() + pools[1].available() + burst.len(), 48);
            burst.consume(usize::MAX);
            prop_assert_eq!((pools[0].available(), pools[1].available()), (24, 24));
        }
    }
}

#[test]
fn the_last_frames_that_are_sent_take_their_pool_along() {
    let pool = pool(3);
    let mut burst = Burst::with_limit(4);
    Widest::here().run(Fill { len: 60, items: &[1, 2, 3], meta: Meta::default(), pool: &pool, burst: &mut burst });
    drop(pool);
    assert_eq!(burst.offer(Widest::here(), |_| 2), 2);
    assert_eq!(burst.as_slice()[0].data()[0], 3);
    assert_eq!(burst.offer(Widest::here(), |_| 1), 1);
}

#[test]
fn frames_of_a_sender_that_panics_stay() {
    let pool = pool(3);
    let mut burst = Burst::with_limit(4);
    Widest::here().run(Fill { len: 60, items: &[1, 2, 3], meta: Meta::default(), pool: &pool, burst: &mut burst });
    let sent =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| burst.offer(Widest::here(), |_| panic!("no device"))));
    assert!(sent.is_err());
    assert_eq!((burst.len(), pool.available()), (3, 0));
    drop(burst);
    assert_eq!(pool.available(), 3);
}
