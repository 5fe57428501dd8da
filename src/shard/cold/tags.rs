//! VLAN tags: taken off on arrival, so that inside the router every frame is untagged.

use crate::frame::Frame;
use crate::net::DropReason;
use crate::wire::{self, Parsed};

/// Whether the tags of a frame are the port's own. A priority tag (identifier 0) in front of an untagged frame counts
/// as none (IEEE 802.1Q section 6.9).
pub(super) fn is_tagged_for(parsed: &Parsed, own: &[u16]) -> bool {
    let tags = parsed.vlan.as_slice();
    tags == own || own.is_empty() && tags == [0]
}

/// Takes the tags of a frame off if they are the port's own. The frame must be parsed again afterwards.
#[cold]
pub(in crate::shard) fn strip(frame: &mut Frame, parsed: &Parsed, own: &[u16]) -> Result<(), DropReason> {
    if !is_tagged_for(parsed, own) {
        return Err(DropReason::VlanUnknown);
    }
    let len = parsed.vlan.as_slice().len() * wire::ethernet::TAG_LEN;
    if !wire::pop_vlan(frame.data_mut(), len) {
        return Err(DropReason::RxTruncated);
    }
    frame.pull_front(len);
    Ok(())
}
