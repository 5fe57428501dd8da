//! The bell and the box; whole workers are tested where they are started, in `control`.

use super::{Bell, Calls, Message, Request, mailbox};
use crate::net::{Family, PortId, ShardId};
use crate::route::NeighbourKey;
use crate::shard::Upcall;
use crossbeam_channel::bounded;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::sync::Arc;

fn rings(bell: &Bell) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(bell.fd(), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
}

#[test]
fn a_bell_rings_for_a_sleeper_alone() {
    let bell = Bell::new().unwrap();
    bell.ring();
    assert!(!rings(&bell), "awake");
    bell.lie_down();
    assert!(!rings(&bell));
    bell.ring();
    bell.ring();
    assert!(rings(&bell));
    bell.get_up();
    assert!(!rings(&bell));
    bell.ring();
    assert!(!rings(&bell), "awake again");
}

#[test]
fn a_message_moves_the_word_and_wakes() {
    let bell = Arc::new(Bell::new().unwrap());
    let (handle, inbox) = mailbox(ShardId(3), Arc::clone(&bell));
    let before = bell.mail();
    bell.lie_down();
    assert!(handle.post(Message::Drain));
    assert!(bell.mail() != before && rings(&bell));
    assert!(matches!(inbox.try_recv(), Ok(Message::Drain)));
    drop(inbox);
    assert!(!handle.post(Message::Stop), "nobody takes it");
}

#[test]
fn calls_beyond_what_fits_are_refused_and_do_not_wait() {
    let (punts, taken) = bounded(1);
    let (asks, asked) = bounded(1);
    let mut calls = Calls { punts, asks };
    assert!(calls.punt(PortId(1), b"one"));
    assert!(!calls.punt(PortId(1), b"two"));
    let key = NeighbourKey { port: PortId(1), family: Family::V4, addr: crate::net::Addr::v4(1) };
    calls.resolve(key);
    calls.resolve(key);
    assert_eq!(taken.try_iter().collect::<Vec<_>>(), [Request::Punt { port: PortId(1), frame: (*b"one").into() }]);
    assert_eq!(asked.try_iter().collect::<Vec<_>>(), [Request::Resolve(key)]);
}
