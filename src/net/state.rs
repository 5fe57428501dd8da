//! The state a packet has towards its connection, and the way it travels.

use std::fmt;

/// The state of a packet, as netfilter's rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum CtState {
    /// Belongs to a connection of which no reply has been accepted yet.
    New = 0,
    /// Travels in the reply direction, or in the original one after a reply was accepted.
    Established = 1,
    /// Opens an expected connection, or is an ICMP error about a known one.
    Related = 2,
    /// Could not be identified or belongs to nothing.
    Invalid = 3,
    /// Exempted from tracking by a rule or by its ICMPv6 type.
    Untracked = 4,
}

impl CtState {
    /// Every state, in the order of its discriminant.
    pub const ALL: [CtState; 5] =
        [CtState::New, CtState::Established, CtState::Related, CtState::Invalid, CtState::Untracked];

    /// The word of rules and metric labels.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            CtState::New => "new",
            CtState::Established => "established",
            CtState::Related => "related",
            CtState::Invalid => "invalid",
            CtState::Untracked => "untracked",
        }
    }

    /// The word of listings and replays.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            CtState::New => "NEW",
            CtState::Established => "ESTABLISHED",
            CtState::Related => "RELATED",
            CtState::Invalid => "INVALID",
            CtState::Untracked => "UNTRACKED",
        }
    }

    /// As an index into per-state arrays.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for CtState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Direction of a packet within its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// From the side that opened the connection.
    Original = 0,
    /// Towards it.
    Reply = 1,
}

impl Direction {
    /// The other direction.
    #[inline]
    #[must_use]
    pub const fn flip(self) -> Self {
        match self {
            Direction::Original => Direction::Reply,
            Direction::Reply => Direction::Original,
        }
    }

    /// As an index into per-direction arrays.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The word of listings.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Direction::Original => "original",
            Direction::Reply => "reply",
        }
    }
}
