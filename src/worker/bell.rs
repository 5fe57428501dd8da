//! Waking a worker that sleeps.

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};

/// A worker's bell: whoever has something for it rings, which costs no system call while the worker is awake.
///
/// The worker says that it lies down (`lie_down`) before it looks for work a last time; whoever rings
/// has put the work down before. So one of the two sees the other, and no work waits for a sleeper.
#[derive(Debug)]
pub struct Bell {
    fd: OwnedFd,
    sleeping: AtomicBool,
    /// Moves with each message posted.
    mail: AtomicU32,
}

impl Bell {
    /// A bell nobody sleeps beside.
    ///
    /// # Errors
    /// When the process may open no more descriptors.
    pub fn new() -> io::Result<Bell> {
        let fd = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
        Ok(Bell { fd, sleeping: AtomicBool::new(false), mail: AtomicU32::new(0) })
    }

    /// Wakes the worker if it sleeps. Call it after the work was put where the worker finds it.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.sleeping.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if self.sleeping.swap(false, Ordering::AcqRel) {
            // Full means that it is ringing already.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        }
    }

    /// Notes that a message was posted, and wakes the worker.
    pub(super) fn mail_posted(&self) {
        self.mail.fetch_add(1, Ordering::Release);
        self.ring();
    }

    /// The word that moves with each message: one load per turn.
    #[inline]
    pub(super) fn mail(&self) -> u32 {
        self.mail.load(Ordering::Acquire)
    }

    /// The worker is about to sleep; it must look for work once more before it does.
    pub(super) fn lie_down(&self) {
        self.sleeping.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The worker is awake again.
    pub(super) fn get_up(&self) {
        self.sleeping.store(false, Ordering::SeqCst);
        let mut count = [0u8; 8];
        // Empty means that nobody rang.
        let _ = rustix::io::read(&self.fd, &mut count);
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
