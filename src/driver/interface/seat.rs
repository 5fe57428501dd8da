//! A queue's socket, how its link is, and the sockets that replace it.

use crate::driver::LinkState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// While the link is down, so many receive calls pass between two looks at whether the device is gone.
const LOOK_EVERY: u32 = 256;

/// A socket on its way to its queue, with the number of the attempt that made it.
pub(in crate::driver) struct Fresh<S> {
    pub(super) socket: S,
    pub(super) ifindex: u32,
    pub(super) epoch: u32,
}

/// What the queues of a port tell its control.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// One more than the latest attempt whose sockets were found dead; 0 for none.
    dead: AtomicU32,
}

impl Shared {
    fn report_dead(&self, epoch: u32) {
        self.dead.fetch_max(epoch.saturating_add(1), Ordering::AcqRel);
    }

    /// A queue found the sockets of this attempt dead.
    pub(super) fn is_gone(&self, epoch: u32) -> bool {
        self.dead.load(Ordering::Acquire) > epoch
    }
}

/// What a queue sits on.
pub(in crate::driver) struct Seat<S> {
    current: Fresh<S>,
    replacements: rtrb::Consumer<Fresh<S>>,
    shared: Arc<Shared>,
    link: LinkState,
    /// The link changed and nobody was told yet.
    untold: bool,
    /// Receive calls since the link went down.
    idle_calls: u32,
}

impl<S> Seat<S> {
    pub(super) fn new(
        current: Fresh<S>,
        link: LinkState,
        replacements: rtrb::Consumer<Fresh<S>>,
        shared: Arc<Shared>,
    ) -> Seat<S> {
        Seat { current, replacements, shared, link, untold: false, idle_calls: 0 }
    }

    pub(in crate::driver) fn socket(&self) -> &S {
        &self.current.socket
    }

    #[inline]
    pub(in crate::driver) fn socket_mut(&mut self) -> &mut S {
        &mut self.current.socket
    }

    pub(in crate::driver) fn ifindex(&self) -> u32 {
        self.current.ifindex
    }

    /// The link as the queue knows it.
    #[inline]
    pub(in crate::driver) fn link(&self) -> LinkState {
        self.link
    }

    /// The queue found the link to be so.
    pub(in crate::driver) fn set_link(&mut self, link: LinkState) {
        if self.link == link {
            return;
        }
        self.link = link;
        self.untold = true;
        self.idle_calls = 0;
        if link == LinkState::Gone {
            self.shared.report_dead(self.current.epoch);
        }
    }

    /// The link, if it changed since the last call.
    #[inline]
    pub(in crate::driver) fn news(&mut self) -> Option<LinkState> {
        std::mem::take(&mut self.untold).then_some(self.link)
    }

    /// A socket the control plane has sent.
    pub(in crate::driver) fn replacement(&mut self) -> Option<Fresh<S>> {
        self.replacements.pop().ok()
    }

    /// Goes over to a fresh socket, and gives the old one.
    pub(in crate::driver) fn take_over(&mut self, fresh: Fresh<S>) -> S {
        let old = std::mem::replace(&mut self.current, fresh);
        self.set_link(LinkState::Up);
        old.socket
    }

    /// Once every so many calls while the link is down: whether to look if the device is gone.
    pub(in crate::driver) fn is_time_to_look(&mut self) -> bool {
        if self.link != LinkState::Down {
            return false;
        }
        let due = self.idle_calls.is_multiple_of(LOOK_EVERY);
        self.idle_calls = self.idle_calls.wrapping_add(1);
        due
    }
}
