//! Bursts of frames as a device left them.

use super::lender::{CONFIG, Shelf, pool, shelf};
use super::*;
use crate::net::PortId;
use std::cell::{Cell, RefCell};
use std::ptr::NonNull;
use std::rc::Rc;

thread_local! {
    /// Heads that were written for a burst, by this thread's test.
    static WRITTEN: Cell<usize> = const { Cell::new(0) };
}

/// A "device" that says of each buffer that its data is 60 octets behind the headroom.
///
/// # Safety
/// As [`Filled::write_heads`].
unsafe fn write_heads(mould: &Mould, fronts: &[NonNull<u8>]) {
    for front in fronts {
        let head = NonNull::new(front.as_ptr().wrapping_byte_add(FRONT)).unwrap().cast();
        // SAFETY: the caller's word.
        unsafe { mould.cast(head, HEADROOM as u32, 60) }
    }
    WRITTEN.set(WRITTEN.get() + fronts.len());
}

/// Receives so many buffers of the shelf's into the burst.
fn receive(shelf: &Rc<RefCell<Shelf>>, pool: &Pool, burst: &mut Burst, count: usize) -> Vec<NonNull<Head>> {
    let heads: Vec<_> = (0..count).map(|_| shelf.borrow_mut().heads.pop().unwrap()).collect();
    for (place, head) in burst.spare().iter_mut().zip(&heads) {
        place.write(NonNull::new(head.as_ptr().wrapping_byte_sub(FRONT)).unwrap().cast());
    }
    let filled = Filled { octets: 60 * count as u64, longest: 60, ingress: PortId(5), write_heads };
    // SAFETY: they were on the shelf, so nobody has them, and the sizes fit.
    unsafe { burst.fill(count, pool, filled) }
    heads
}

/// How many heads are written while something is done.
fn written(act: impl FnOnce()) -> usize {
    let before = WRITTEN.get();
    act();
    WRITTEN.get() - before
}

#[test]
fn what_is_passed_on_unseen_gets_no_heads() {
    let (shelf, mut burst) = (shelf(), Burst::with_limit(8));
    let pool = pool(&shelf);
    let heads = receive(&shelf, &pool, &mut burst, 8);
    let count = written(|| {
        assert_eq!((burst.len(), burst.room(), burst.is_empty()), (8, 0, false));
        assert!(burst.untouched(8).is_none(), "another lender's");
        let known = burst.untouched(7).unwrap();
        assert_eq!((known.octets, known.longest), (480, 60));
        // SAFETY: the burst holds one.
        let first = unsafe { known.fronts.read() };
        assert_eq!(first.as_ptr().wrapping_byte_add(FRONT), heads[0].as_ptr().cast());
        burst.forget(8);
        assert!(burst.is_empty() && burst.untouched(7).is_none());
    });
    assert_eq!(count, 0);
    assert_eq!(shelf.borrow().heads.len(), CONFIG.buffers - 8, "they are the device's");
}

#[test]
fn whoever_asks_for_frames_gets_frames() {
    let (shelf, mut burst) = (shelf(), Burst::with_limit(8));
    let pool = pool(&shelf);
    let heads = receive(&shelf, &pool, &mut burst, 3);
    let count = written(|| {
        for (frame, head) in burst.as_slice().iter().zip(&heads) {
            assert_eq!((frame.head(), frame.len(), frame.meta.ingress), (*head, 60, PortId(5)));
            assert_eq!(frame.meta, Meta { ingress: PortId(5), ..Meta::default() });
        }
        assert!(burst.untouched(7).is_none());
        assert_eq!(burst.as_mut_slice().len(), 3);
        assert_eq!(burst.take(1).len(), 1);
        assert_eq!(burst.drain().len(), 2);
    });
    assert_eq!(count, 3, "once each");
    assert_eq!(pool.available(), CONFIG.buffers);
}

#[test]
fn frames_with_heads_and_without_do_not_mix() {
    let (shelf, mut burst) = (shelf(), Burst::with_limit(4));
    let pool = pool(&shelf);
    receive(&shelf, &pool, &mut burst, 2);
    burst.push(pool.alloc_from(&[1; 30]).unwrap()).unwrap();
    receive(&shelf, &pool, &mut burst, 1);
    assert!(burst.untouched(7).is_none());
    assert!(burst.push(pool.alloc().unwrap()).is_err());
    let lengths: Vec<_> = burst.as_slice().iter().map(|frame| frame.len()).collect();
    assert_eq!(lengths, [60, 60, 30, 60]);
    burst.consume(4);
    receive(&shelf, &pool, &mut burst, 1);
    receive(&shelf, &pool, &mut burst, 1);
    assert_eq!(burst.drain().map(|frame| frame.len()).sum::<usize>(), 120);
    receive(&shelf, &pool, &mut burst, 4);
    assert!(burst.push(pool.alloc().unwrap()).is_err(), "full");
    drop(burst);
    assert_eq!(pool.available(), CONFIG.buffers);
}

#[test]
fn what_a_device_leaves_of_them_goes_home() {
    let (shelf, mut burst) = (shelf(), Burst::with_limit(8));
    let pool = pool(&shelf);
    receive(&shelf, &pool, &mut burst, 8);
    burst.forget(5);
    assert!(burst.untouched(7).is_none(), "what was known was known of eight");
    assert!(burst.as_slice().iter().all(|frame| frame.len() == 60));
    assert_eq!(burst.len(), 3);
    drop(burst);
    assert_eq!(pool.available(), CONFIG.buffers - 5);
    let mut burst = Burst::with_limit(8);
    receive(&shelf, &pool, &mut burst, 4);
    drop(pool);
    drop(burst);
    assert_eq!(shelf.borrow().heads.len(), CONFIG.buffers - 5, "a burst outlives the pool");
}
