//! What is kept of a TCP connection, and the words for it. Plain data; an entry stores it packed by the widths
//! given here.

use crate::conntrack::proto::Timeouts;
use crate::net::{Direction, TcpFlags};
use std::fmt;

/// SYN_SENT2 has no setting of its own in Linux.
const SYN_SENT2_MS: u32 = 120_000;

/// The state of a connection, numbered as netfilter's netlink interface does. Width 4 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TcpState {
    /// Before the first packet.
    #[default]
    None = 0,
    /// The originator sent a SYN.
    SynSent = 1,
    /// A SYN/ACK was seen.
    SynRecv = 2,
    /// Open, or picked up mid-stream.
    Established = 3,
    /// A FIN was seen.
    FinWait = 4,
    /// An ACK was seen after it.
    CloseWait = 5,
    /// A second FIN was seen, or the first again.
    LastAck = 6,
    /// An ACK was seen after that.
    TimeWait = 7,
    /// An RST was seen.
    Close = 8,
    /// Both sides sent a SYN (simultaneous open, RFC 9293 section 3.5).
    SynSent2 = 9,
}

impl TcpState {
    /// Every state, in the order of its number.
    pub const ALL: [TcpState; 10] = [
        TcpState::None,
        TcpState::SynSent,
        TcpState::SynRecv,
        TcpState::Established,
        TcpState::FinWait,
        TcpState::CloseWait,
        TcpState::LastAck,
        TcpState::TimeWait,
        TcpState::Close,
        TcpState::SynSent2,
    ];

    /// From the low four bits of a stored number; numbers without a state give `None`.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> TcpState {
        match bits & 0xf {
            1 => TcpState::SynSent,
            2 => TcpState::SynRecv,
            3 => TcpState::Established,
            4 => TcpState::FinWait,
            5 => TcpState::CloseWait,
            6 => TcpState::LastAck,
            7 => TcpState::TimeWait,
            8 => TcpState::Close,
            9 => TcpState::SynSent2,
            _ => TcpState::None,
        }
    }

    /// As netfilter prints it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            TcpState::None => "NONE",
            TcpState::SynSent => "SYN_SENT",
            TcpState::SynRecv => "SYN_RECV",
            TcpState::Established => "ESTABLISHED",
            TcpState::FinWait => "FIN_WAIT",
            TcpState::CloseWait => "CLOSE_WAIT",
            TcpState::LastAck => "LAST_ACK",
            TcpState::TimeWait => "TIME_WAIT",
            TcpState::Close => "CLOSE",
            TcpState::SynSent2 => "SYN_SENT2",
        }
    }

    /// Whether the connection is closing: any RST is taken, and pressure may evict the entry although ASSURED.
    #[inline]
    #[must_use]
    pub const fn early_drop(self) -> bool {
        matches!(
            self,
            TcpState::FinWait | TcpState::CloseWait | TcpState::LastAck | TcpState::TimeWait | TcpState::Close
        )
    }

    /// The timeout of the state in milliseconds.
    #[inline]
    #[must_use]
    pub const fn timeout(self, t: &Timeouts) -> u32 {
        match self {
            TcpState::None | TcpState::SynSent => t.tcp_syn_sent,
            TcpState::SynRecv => t.tcp_syn_recv,
            TcpState::Established => t.tcp_established,
            TcpState::FinWait => t.tcp_fin_wait,
            TcpState::CloseWait => t.tcp_close_wait,
            TcpState::LastAck => t.tcp_last_ack,
            TcpState::TimeWait => t.tcp_time_wait,
            TcpState::Close => t.tcp_close,
            TcpState::SynSent2 => SYN_SENT2_MS,
        }
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// What a segment is to the state machine. Width 3 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// Nothing below, or flags that no TCP sends together.
    #[default]
    None = 0,
    /// SYN without ACK.
    Syn = 1,
    /// SYN with ACK.
    SynAck = 2,
    /// FIN.
    Fin = 3,
    /// ACK, with or without data.
    Ack = 4,
    /// RST.
    Rst = 5,
}

impl Class {
    /// Every class, in the order of its number.
    pub const ALL: [Class; 6] = [Class::None, Class::Syn, Class::SynAck, Class::Fin, Class::Ack, Class::Rst];

    /// From the low three bits of a stored number.
    #[inline]
    #[must_use]
    pub const fn from_bits(bits: u8) -> Class {
        match bits & 7 {
            1 => Class::Syn,
            2 => Class::SynAck,
            3 => Class::Fin,
            4 => Class::Ack,
            5 => Class::Rst,
            _ => Class::None,
        }
    }

    /// The class of a segment with these flags. PSH, ECE and CWR do not matter; a combination outside the
    /// nine that TCPs send is `None`, which is INVALID in every state.
    #[inline]
    #[must_use]
    pub const fn of(flags: TcpFlags) -> Class {
        const SYN: u8 = TcpFlags::SYN;
        const FIN: u8 = TcpFlags::FIN;
        const RST: u8 = TcpFlags::RST;
        const ACK: u8 = TcpFlags::ACK;
        const URG: u8 = TcpFlags::URG;
        const SYN_URG: u8 = SYN | URG;
        const SYN_ACK: u8 = SYN | ACK;
        const RST_ACK: u8 = RST | ACK;
        const FIN_ACK: u8 = FIN | ACK;
        const FIN_ACK_URG: u8 = FIN | ACK | URG;
        const ACK_URG: u8 = ACK | URG;
        match flags.0 & (SYN | FIN | RST | ACK | URG) {
            SYN | SYN_URG => Class::Syn,
            SYN_ACK => Class::SynAck,
            RST | RST_ACK => Class::Rst,
            FIN_ACK | FIN_ACK_URG => Class::Fin,
            ACK | ACK_URG => Class::Ack,
            _ => Class::None,
        }
    }
}

/// What is known of one side. `maxwin = 0`: it has not sent anything yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// Highest sequence number it sent, plus one. 32 bits.
    pub end: u32,
    /// Highest sequence number the other side allows it. 32 bits.
    pub maxend: u32,
    /// Highest acknowledgment number it sent, valid with `MAXACK_KNOWN`. 32 bits.
    pub maxack: u32,
    /// Largest window it offered, scaled. 32 bits: SACK blocks that go around the circle of sequence numbers make
    /// sums larger than any window, and they wrap as Linux's do.
    pub maxwin: u32,
    /// Shift of its window field, 0 ..= 14 (RFC 7323). 4 bits.
    pub scale: u8,
    /// Marks, the constants of this type. 6 bits.
    pub flags: u8,
}

impl Peer {
    /// It offered window scaling.
    pub const WSCALE: u8 = 0x01;
    /// It permitted SACK.
    pub const SACK_PERM: u8 = 0x02;
    /// It sent data that is not acknowledged yet.
    pub const UNACKED: u8 = 0x04;
    /// Its window is not judged (picked up mid-stream).
    pub const LIBERAL: u8 = 0x08;
    /// Its FIN began the closing.
    pub const CLOSE_INIT: u8 = 0x10;
    /// It sent an accepted segment with ACK.
    pub const MAXACK_KNOWN: u8 = 0x20;

    /// Whether any mark of `mask` is set.
    #[inline]
    #[must_use]
    pub const fn has(&self, mask: u8) -> bool {
        self.flags & mask != 0
    }
}

/// What is kept of the last recorded segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// Its class. 3 bits.
    pub class: Class,
    /// Its direction. 1 bit.
    pub dir: Direction,
    /// Sequence number after it; written by ignored segments and by accepted ones of class ACK. 32 bits.
    pub end: u32,
    /// Its raw window was zero; written with `end`. 1 bit.
    pub window_zero: bool,
    /// Stands for its (length, ack, raw window); written with `end`. 9 bits.
    pub digest: u16,
}

impl Last {
    /// Width of `digest`.
    pub const DIGEST_BITS: u32 = 9;

    /// Nine bits of (length, ack, raw window); `end` is compared itself, and with it the sequence number. Equal
    /// segments have equal digests. Segments that differ in the acknowledgment or in the window, and by less than 233, have
    /// not; of others, one in 512. Then a repetition is counted that was none, which only matters at the third.
    #[inline]
    #[must_use]
    pub const fn digest(length: u32, ack: u32, window: u16) -> u16 {
        Last::digest_of(length, (ack as u64) << 32 | window as u64)
    }

    /// The same of (length, ack and raw window as one word, ack in its upper half).
    #[inline(always)]
    #[must_use]
    pub const fn digest_of(length: u32, fields: u64) -> u16 {
        // Multiples of the golden ratio keep the greatest distance from each other and from whole numbers (Knuth, "The Art of
        // Computer Programming" 6.4). It stands in the factor twice, for the number in the upper half and those in the lower.
        const RATIO: u64 = 0x9e37_79b9;
        (fields.wrapping_add(length as u64 * 8).wrapping_mul(RATIO << 32 | RATIO) >> (64 - Last::DIGEST_BITS)) as u16
    }
}

impl Default for Last {
    fn default() -> Self {
        Last { class: Class::None, dir: Direction::Original, end: 0, window_zero: true, digest: Last::digest(0, 0, 0) }
    }
}

/// What else must be remembered of an ignored segment, until another segment takes its place in [`Last`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Acknowledgment number of an ACK by which a half-open server answered a SYN.
    pub ack: u32,
    /// Raw window.
    pub window: u16,
    /// Window shift a SYN of the originator offered.
    pub scale: u8,
    /// `WSCALE` and `SACK_PERM` of [`Peer`], as that SYN offered them.
    pub flags: u8,
}

/// The TCP state of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// The state. 4 bits.
    pub state: TcpState,
    /// Originator and responder, by [`Direction::index`].
    pub peers: [Peer; 2],
    /// The last recorded segment.
    pub last: Last,
    /// Repetitions of the last recorded ACK; stays at 255. 8 bits.
    pub retrans: u8,
    /// Both sides sent a SYN. 1 bit.
    pub simultaneous: bool,
    /// The answer to a SYN ignored in LAST_ACK may be a challenge ACK (RFC 5961 section 4). 1 bit.
    pub challenge: bool,
    /// Present after an ignored segment; kept apart because few connections ever have it. 1 bit of presence.
    pub ignored: Option<Ignored>,
}
