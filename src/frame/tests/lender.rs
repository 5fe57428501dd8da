//! Pools whose buffers somebody else lends.

use super::*;
use std::cell::RefCell;
use std::ptr::NonNull;
use std::rc::Rc;

pub(super) const CONFIG: PoolConfig = PoolConfig { buffers: 256, frame_size: 256 };

/// 64 octets, aligned as a head has to be.
#[derive(Clone)]
#[repr(align(64))]
#[expect(dead_code, reason = "memory, reached by address")]
pub(super) struct Line([u8; 64]);

/// What a lender has and what it was asked for.
#[derive(Default)]
pub(super) struct Shelf {
    memory: Vec<Line>,
    pub(super) heads: Vec<NonNull<Head>>,
    lent: usize,
    taken: usize,
}

struct FromShelf(Rc<RefCell<Shelf>>);

// SAFETY: each head on the shelf begins a buffer of its own, large enough and aligned, and is on it once.
unsafe impl Lender for FromShelf {
    fn lend(&self, count: usize, into: &mut Vec<NonNull<u8>>) {
        let mut shelf = self.0.borrow_mut();
        let rest = shelf.heads.len().saturating_sub(count);
        assert!(into.capacity() - into.len() >= count.min(shelf.heads.len()));
        into.extend(shelf.heads.drain(rest..).map(Head::front));
        shelf.lent += 1;
    }

    fn take_back(&self, fronts: &[NonNull<u8>]) {
        let mut shelf = self.0.borrow_mut();
        shelf.heads.extend(fronts.iter().copied().map(Head::behind));
        shelf.taken += 1;
    }

    fn available(&self) -> usize {
        self.0.borrow().heads.len()
    }

    fn id(&self) -> usize {
        7
    }
}

pub(super) fn shelf() -> Rc<RefCell<Shelf>> {
    let lines = (size_of::<Head>() + HEADROOM + CONFIG.frame_size).div_ceil(64);
    let mut memory = vec![Line([0; 64]); lines * CONFIG.buffers];
    let heads = memory.chunks_mut(lines).map(|buffer| NonNull::from(buffer).cast()).collect();
    Rc::new(RefCell::new(Shelf { memory, heads, lent: 0, taken: 0 }))
}

pub(super) fn pool(shelf: &Rc<RefCell<Shelf>>) -> Pool {
    Pool::lent(CONFIG, Box::new(FromShelf(Rc::clone(shelf))))
}

#[test]
fn every_buffer_can_be_had_once_and_comes_back() {
    let shelf = shelf();
    let pool = pool(&shelf);
    let mut frames: Vec<Frame> = Vec::new();
    while let Some(frame) = pool.alloc_from(&[frames.len() as u8; 256]) {
        frames.push(frame);
    }
    assert_eq!((frames.len(), pool.available()), (CONFIG.buffers, 0));
    assert!(frames.iter().enumerate().all(|(at, frame)| frame.data() == [at as u8; 256] && frame.lender() == 7));
    assert!(!pool.has(1));
    drop(frames);
    assert_eq!(pool.available(), CONFIG.buffers);
    assert!(pool.has(CONFIG.buffers) && !pool.has(CONFIG.buffers + 1));
}

#[test]
fn the_lender_is_asked_seldom() {
    let shelf = shelf();
    let pool = pool(&shelf);
    for _ in 0..1000 {
        let frames: Vec<_> = (0..20).filter_map(|_| pool.alloc()).collect();
        assert_eq!(frames.len(), 20);
    }
    assert_eq!((shelf.borrow().lent, shelf.borrow().taken), (1, 0));
    for _ in 0..10 {
        let frames: Vec<_> = (0..200).filter_map(|_| pool.alloc()).collect();
        assert_eq!(frames.len(), 200);
    }
    let calls = shelf.borrow().lent + shelf.borrow().taken;
    assert!(calls <= 10 * 2 * 200 / 32 + 10, "{calls}");
}

#[test]
fn a_buffer_a_device_filled_is_a_frame_until_the_device_takes_it() {
    let shelf = shelf();
    let pool = pool(&shelf);
    let head = shelf.borrow_mut().heads.pop().unwrap();
    // SAFETY: it was on the shelf, so nobody has it, and the sizes fit.
    let mut frame = unsafe { pool.adopt(head, HEADROOM - 4, 60) };
    frame.data_mut().fill(9);
    assert_eq!((frame.len(), frame.headroom()), (60, HEADROOM - 4));
    assert_eq!(frame.push_front(2).map(|new| new.len()), Some(2));
    assert_eq!(frame.into_head(), head);
    assert_eq!(pool.available(), CONFIG.buffers - 1);
}

#[test]
fn all_goes_back_when_the_pool_is_gone() {
    let shelf = shelf();
    let pool = pool(&shelf);
    let out = pool.alloc().unwrap();
    drop(pool);
    assert_eq!(shelf.borrow().heads.len(), CONFIG.buffers - 1);
    drop(out);
    assert_eq!(shelf.borrow().heads.len(), CONFIG.buffers);
    assert!(!shelf.borrow().memory.is_empty());
}
