//! Packets with IPv4 options: which may go on, and what the router writes into them. And those that IPv6 options stop.

use super::tags::is_tagged_for;
use crate::frame::Frame;
use crate::net::{Addr, DropReason, Family, Now, PortId};
use crate::route::{Fib, NextHop, Route};
use crate::shard::journey::Way;
use crate::shard::{End, Fate, Shard, Watch};
use crate::wire::options::{self, BadOptions, Hop};
use crate::wire::{self, IcmpError, Parsed};

const DAY: u64 = 24 * 60 * 60 * 1000;

impl<W: Watch> Shard<W> {
    /// Tells what to add to a point in time to have the time since 1970 began, in nanoseconds. Nothing in a replay,
    /// whose time is that.
    pub const fn set_wall_clock(&mut self, offset: u64) {
        self.wall_clock = offset;
    }

    /// Where a packet with options is to go. They are looked at once its addresses are known to be good, and before
    /// all else that could stop it, as in Linux.
    #[cold]
    pub(in crate::shard) fn heed_options(way: Way, data: &[u8], parsed: &Parsed) -> Way {
        let first =
            matches!(way, Way::None(DropReason::MartianSource | DropReason::NotForUs | DropReason::CtTableFull, _));
        match options::check(options::options(data, parsed)) {
            Err(_) if first => way,
            Err(BadOptions::SourceRoute) => Way::None(DropReason::IpOptions, None),
            Err(BadOptions::Malformed { pointer }) => {
                let error = IcmpError::ParameterProblem { code: 0, pointer: u32::from(pointer) };
                // No error answers what came to a group.
                Way::None(DropReason::IpOptions, (!matches!(way, Way::Group)).then_some(error))
            }
            Ok(()) => way,
        }
    }

    /// Writes the router into the options of a packet that leaves for `hop`.
    #[cold]
    pub(in crate::shard) fn record_hop(&self, frame: &mut Frame, parsed: &Parsed, hop: NextHop, now: Now) {
        let fib = &self.snapshot.fib;
        let address = |port: PortId, towards| fib.source_for(port, Family::V4, towards).unwrap_or(Addr::UNSPECIFIED);
        let visit = Hop {
            leaves_by: address(hop.port, hop.via),
            known_as: address(frame.meta.ingress, parsed.summary.tuple.src),
            millis: self.time_of_day(now),
        };
        options::record(frame.data_mut(), parsed, &visit, |addr| names_router(fib, addr));
    }

    /// Makes the options of an echo request to `own` those of its answer; `false`: there is none.
    #[cold]
    pub(super) fn answer_options(&self, frame: &mut Frame, parsed: &Parsed, own: Addr, now: Now) -> bool {
        let visit = Hop { leaves_by: own, known_as: own, millis: self.time_of_day(now) };
        let fib = &self.snapshot.fib;
        let cut = options::answer_options(frame.data_mut(), parsed, &visit, |addr| names_router(fib, addr));
        cut.is_some_and(|cut| {
            frame.pull_front(cut);
            true
        })
    }

    /// Drops a packet that its IPv6 hop-by-hop options stop, and tells its sender if they ask for that.
    #[cold]
    pub(in crate::shard) fn drop_for_hop_by_hop(&mut self, frame: Frame, now: Now) {
        if let Some((parsed, error)) = wire::hop_by_hop_error(frame.data())
            && let Some(port) = self.snapshot.port(frame.meta.ingress)
            && is_tagged_for(&parsed, &port.vlan)
        {
            self.answer_with_error(&frame, &parsed, error, now);
        }
        self.drop(frame, Fate::of(End::Drop(DropReason::IpOptions)));
    }

    /// Milliseconds since midnight UT.
    const fn time_of_day(&self, now: Now) -> u32 {
        (now.0.wrapping_add(self.wall_clock) / 1_000_000 % DAY) as u32
    }
}

/// Whether an address in a timestamp option asks this router for its time: any that is no other host's.
fn names_router(fib: &Fib, addr: Addr) -> bool {
    let route = fib.lookup(Family::V4, addr, 0);
    addr.is_loopback(Family::V4) || matches!(route, Route::Local(_) | Route::Broadcast | Route::Multicast { .. })
}
