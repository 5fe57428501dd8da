//! What the fuzz targets share: input read octet by octet, frames made from few octets, and a router.

pub mod frames;
pub mod model;
pub mod router;

/// The fuzzer's input, read from the front; zeros once it is used up.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn u8(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    pub fn u32(&mut self) -> u32 {
        u32::from(self.u16()) << 16 | u32::from(self.u16())
    }

    pub fn bit(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// At most `most` octets.
    pub fn octets(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Near `value`: close by, at the edges that matter to windows, or anything.
    pub fn near(&mut self, value: u32) -> u32 {
        let how = self.u8();
        match how {
            0..=95 => value,
            96..=159 => value.wrapping_add_signed(i32::from(how as i8 & 0x1f) - 16),
            160..=223 => value.wrapping_add_signed(i32::from(self.u16() as i16)),
            224..=239 => {
                const EDGES: [u32; 8] = [65_999, 66_000, 66_001, 8191, 8192, 8193, 1 << 31, 100_000];
                let edge = EDGES[usize::from(how & 7)];
                if how & 8 == 0 { value.wrapping_add(edge) } else { value.wrapping_sub(edge) }
            }
            _ => self.u32(),
        }
    }
}
