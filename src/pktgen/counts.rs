//! What a trial counts.

use hdrhistogram::Histogram;
use serde::Serialize;

macro_rules! counts {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct $name { $($(#[$field_doc])* pub $field: u64,)+ }

        impl $name {
            /// Adds another worker's counts.
            pub fn add(&mut self, other: &$name) {
                $(self.$field += other.$field;)+
            }

            /// Every count with its name.
            #[must_use]
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field),)+]
            }
        }
    };
}

counts! {
    /// Packets of one stream.
    StreamCounts {
        /// Packets the port took.
        tx_packets,
        /// Their octets, tags and frame check sequence included.
        tx_octets,
        /// Packets that the port would not take for good: too large, malformed, or the link was down.
        tx_refused,
        /// Packets that were due and could not be sent in time.
        tx_missed,
        /// Packets received whole at the right port, each counted once.
        rx_packets,
        /// Their octets, tags and frame check sequence included.
        rx_octets,
        /// Of these, such as came behind a later one of their flow.
        reordered,
        /// Of these, such as came so late that they may be duplicates.
        too_late,
        /// Packets received again.
        duplicate,
        /// Packets received with damage.
        corrupt,
        /// Packets received at a wrong port, or with other VLAN tags than the port's.
        misdirected,
        /// Packets received whole but with other addresses or ports than they were sent with.
        altered,
        /// Replies the far side's port took.
        reply_tx,
        /// Replies received, each counted once.
        reply_rx,
        /// Replies that came behind a later one.
        reply_reordered,
        /// Replies received again.
        reply_duplicate,
        /// Spoilt packets the port took.
        invalid_tx,
        /// Spoilt packets that arrived all the same.
        invalid_rx,
        /// Packets nobody asked for that the far side's port took.
        unsolicited_tx,
        /// Packets nobody asked for that arrived.
        unsolicited_rx,
    }
}

impl StreamCounts {
    /// Packets sent that did not arrive, neither whole nor damaged.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.tx_packets.saturating_sub(self.rx_packets).saturating_sub(self.corrupt)
    }

    /// Replies sent that did not arrive.
    #[must_use]
    pub const fn reply_lost(&self) -> u64 {
        self.reply_tx.saturating_sub(self.reply_rx)
    }

    /// Packets and replies sent that did not arrive whole, as a share of all of them; 0 if none was sent.
    #[must_use]
    pub fn loss(&self) -> f64 {
        let sent = self.tx_packets + self.reply_tx;
        let lost = self.tx_packets.saturating_sub(self.rx_packets) + self.reply_lost();
        if sent == 0 { 0.0 } else { lost as f64 / sent as f64 }
    }
}

counts! {
    /// What a port saw beside the streams.
    PortCounts {
        /// Frames the port took, whatever for.
        tx_packets,
        /// Frames received, whatever for.
        rx_packets,
        /// ARP requests and neighbour solicitations answered.
        answered,
        /// ICMP and ICMPv6 errors received.
        icmp_errors,
        /// Frames received that belong to no stream of this trial.
        foreign,
        /// Frames the device dropped because they were not fetched in time.
        missed,
        /// Other frames the device dropped or could not hand over.
        errors,
        /// Times the port had no room.
        full,
    }
}

/// Round trips or one-way times in nanoseconds.
pub type Latencies = Histogram<u64>;

/// Longest time that is told apart: ten seconds.
const LONGEST: u64 = 10_000_000_000;

/// An empty histogram of three significant digits.
#[must_use]
pub fn latencies() -> Option<Latencies> {
    Histogram::new_with_bounds(1, LONGEST, 3).ok()
}

/// The figures people ask for, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Packets measured.
    pub count: u64,
    /// Shortest.
    pub min: u64,
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u64,
    /// 90 of 100 are not longer.
    pub p90: u64,
    /// 99 of 100.
    pub p99: u64,
    /// 999 of 1000.
    pub p999: u64,
    /// 9,999 of 10,000.
    pub p9999: u64,
    /// Longest.
    pub max: u64,
}

impl Latency {
    /// Of a histogram; `None` if nothing was measured.
    #[must_use]
    pub fn of(all: &Latencies) -> Option<Latency> {
        (!all.is_empty()).then(|| Latency {
            count: all.len(),
            min: all.min(),
            mean: all.mean(),
            p50: all.value_at_quantile(0.5),
            p90: all.value_at_quantile(0.9),
            p99: all.value_at_quantile(0.99),
            p999: all.value_at_quantile(0.999),
            p9999: all.value_at_quantile(0.9999),
            max: all.max(),
        })
    }
}
