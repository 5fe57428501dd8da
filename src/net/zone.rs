//! Conntrack zones: spaces of connections that do not know of one another.

/// The zone ids of a packet or a connection, per direction. A connection is found by a packet that travels in one of
/// its directions if both have the same id for that direction; 0 is the zone of whatever has no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Zone {
    /// For the original direction.
    pub original: u16,
    /// For the reply direction.
    pub reply: u16,
}

impl Zone {
    /// The zone of everything, unless something else is said.
    pub const DEFAULT: Zone = Zone { original: 0, reply: 0 };

    /// The id, whichever directions it covers.
    #[inline]
    #[must_use]
    pub const fn id(self) -> u16 {
        self.original | self.reply
    }

    /// Whether it is the default zone in both directions.
    #[inline(always)]
    #[must_use]
    pub const fn is_default(self) -> bool {
        self.id() == 0
    }

    /// In one word, 0 for the default zone.
    #[inline]
    #[must_use]
    pub const fn to_word(self) -> u32 {
        self.original as u32 | (self.reply as u32) << 16
    }

    /// From [`Zone::to_word`].
    #[inline]
    #[must_use]
    pub const fn from_word(word: u32) -> Zone {
        Zone { original: word as u16, reply: (word >> 16) as u16 }
    }
}
