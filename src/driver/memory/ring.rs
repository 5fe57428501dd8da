//! A bounded ring of byte buffers between two threads, whose buffers go back to the writer.

use crate::frame::Meta;

/// A frame taken out at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
    /// What is known beside the bytes.
    pub meta: Meta,
}

/// Octets a buffer starts with; it grows to what it carries.
const INITIAL: usize = 2048;

#[derive(Debug)]
pub(super) struct Writer {
    full: rtrb::Producer<Delivered>,
    empty: rtrb::Consumer<Delivered>,
}

#[derive(Debug)]
pub(super) struct Reader {
    full: rtrb::Consumer<Delivered>,
    empty: rtrb::Producer<Delivered>,
}

/// A ring of `capacity` buffers.
pub(super) fn ring(capacity: usize) -> (Writer, Reader) {
    let capacity = capacity.max(1);
    let (full_in, full_out) = rtrb::RingBuffer::new(capacity);
    let (mut empty_in, empty_out) = rtrb::RingBuffer::new(capacity);
    for _ in 0..capacity {
        // The ring has room for exactly these.
        let _ = empty_in.push(Delivered { bytes: Vec::with_capacity(INITIAL), meta: Meta::default() });
    }
    (Writer { full: full_in, empty: empty_out }, Reader { full: full_out, empty: empty_in })
}

impl Writer {
    /// Copies a frame in; false when every buffer is under way.
    pub(super) fn write(&mut self, bytes: &[u8], meta: &Meta) -> bool {
        let Ok(mut buffer) = self.empty.pop() else { return false };
        buffer.bytes.clear();
        buffer.bytes.extend_from_slice(bytes);
        buffer.meta = *meta;
        // There are as many buffers as places, so this place is free.
        self.full.push(buffer).is_ok()
    }
}

impl Reader {
    pub(super) fn is_empty(&self) -> bool {
        self.full.is_empty()
    }

    /// Shows the oldest frame to `look` and gives its buffer back.
    pub(super) fn read<T>(&mut self, look: impl FnOnce(&[u8], &Meta) -> T) -> Option<T> {
        let buffer = self.full.pop().ok()?;
        let seen = look(&buffer.bytes, &buffer.meta);
        let _ = self.empty.push(buffer);
        Some(seen)
    }
}
