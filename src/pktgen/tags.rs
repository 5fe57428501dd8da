//! The VLAN tags of a port: put on whatever is sent by it, and taken off what comes in with the same ones.

use crate::frame::Frame;
use crate::wire::ethernet::{HEADER_LEN, TAG_LEN, ethertype};
use crate::wire::{pop_vlan, push_vlan, vlan_header};

/// Tags of one port; none, unless it has any.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tags {
    header: [u8; 2 * TAG_LEN],
    len: usize,
}

impl Tags {
    /// For these identifiers, outermost first; two at most.
    pub(super) fn new(vids: &[u16]) -> Tags {
        let (header, len) = vlan_header(vids);
        Tags { header, len }
    }

    /// Octets they add to a frame.
    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    fn octets(&self) -> &[u8] {
        self.header.get(..self.len).unwrap_or_default()
    }

    /// Puts them on. False if there is no room in front of the frame, or it is none.
    #[inline]
    pub(super) fn put_on(&self, frame: &mut Frame) -> bool {
        self.len == 0 || frame.push_front(self.len).is_some() && push_vlan(frame.data_mut(), self.octets())
    }

    /// Takes them off. False if the frame has others, or none where there should be some. Priorities do not matter, nor
    /// which of the two kinds a tag says it is; a tag that has nothing but a priority counts as none.
    #[inline]
    pub(super) fn take_off(&self, frame: &mut Frame) -> bool {
        if self.len == 0 && !is_tag(frame.data().get(12..14)) {
            return true;
        }
        self.remove(frame)
    }

    fn remove(&self, frame: &mut Frame) -> bool {
        const PRIORITY: [u8; TAG_LEN] = [0x81, 0, 0, 0];
        let wanted = if self.len == 0 { &PRIORITY } else { self.octets() };
        let end = HEADER_LEN - 2 + wanted.len();
        let Some(found) = frame.data().get(HEADER_LEN - 2..end) else { return false };
        let same = found
            .chunks_exact(TAG_LEN)
            .zip(wanted.chunks_exact(TAG_LEN))
            .all(|(found, wanted)| is_tag(found.get(..2)) && identifier(found) == identifier(wanted));
        if !same || is_tag(frame.data().get(end..end + 2)) || !pop_vlan(frame.data_mut(), wanted.len()) {
            return false;
        }
        frame.pull_front(wanted.len());
        true
    }
}

/// Whether an EtherType is a tag's.
#[inline]
fn is_tag(at: Option<&[u8]>) -> bool {
    matches!(at, Some(&[high, low])
        if matches!(u16::from_be_bytes([high, low]), ethertype::VLAN | ethertype::QINQ))
}

fn identifier(tag: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*tag.get(2)?, *tag.get(3)?]) & 0x0fff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Pool, PoolConfig};

    fn frame(pool: &Pool, tags: &[u8]) -> Frame {
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        bytes.extend_from_slice(tags);
        bytes.extend_from_slice(&[0x08, 0x00, 0x45]);
        pool.alloc_from(&bytes).unwrap()
    }

    #[test]
    fn what_is_put_on_comes_off_again() {
        let pool = Pool::new(PoolConfig { buffers: 2, frame_size: 128 }).unwrap();
        let bare = frame(&pool, &[]).data().to_vec();
        for (vids, tagged) in
            [(&[][..], &[][..]), (&[7], &[0x81, 0, 0, 7]), (&[100, 20], &[0x88, 0xa8, 0, 100, 0x81, 0, 0, 20])]
        {
            let (tags, mut one) = (Tags::new(vids), frame(&pool, &[]));
            assert!(tags.put_on(&mut one));
            assert_eq!((one.data(), tags.len()), (frame(&pool, tagged).data(), tagged.len()));
            assert!(tags.take_off(&mut one));
            assert_eq!(one.data(), bare);
        }
    }

    #[test]
    fn other_tags_are_others() {
        let pool = Pool::new(PoolConfig { buffers: 2, frame_size: 128 }).unwrap();
        let accepts = |vids: &[u16], tags: &[u8]| {
            let mut one = frame(&pool, tags);
            Tags::new(vids).take_off(&mut one) && one.data() == frame(&pool, &[]).data()
        };
        // A priority beside the identifier, and one instead of it.
        assert!(accepts(&[7], &[0x81, 0, 0xe0, 7]));
        assert!(accepts(&[], &[0x81, 0, 0xe0, 0]));
        // Two 802.1Q tags, as before 802.1ad.
        assert!(accepts(&[100, 20], &[0x81, 0, 0, 100, 0x81, 0, 0, 20]));
        for (vids, tags) in [
            (&[][..], &[0x81, 0, 0, 7][..]),
            (&[7], &[]),
            (&[7], &[0x81, 0, 0, 8]),
            (&[7], &[0x81, 0, 0, 7, 0x81, 0, 0, 7]),
            (&[100, 20], &[0x88, 0xa8, 0, 100]),
            (&[100, 20], &[0x88, 0xa8, 0, 20, 0x81, 0, 0, 100]),
        ] {
            assert!(!accepts(vids, tags), "{vids:?} {tags:?}");
        }
        let mut cut = frame(&pool, &[0x81, 0, 0, 7]);
        cut.set_len(13);
        assert!(!Tags::new(&[7]).take_off(&mut cut) && Tags::new(&[]).take_off(&mut cut));
    }
}
