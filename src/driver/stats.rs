//! What a queue counts.

use super::TxStop;

macro_rules! queue_stats {
    ($($(#[$doc:meta])* $field:ident,)+) => {
        /// Counts of one queue pair since it was made.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct QueueStats { $($(#[$doc])* pub $field: u64,)+ }

        impl QueueStats {
            /// Adds another queue's counts.
            pub fn add(&mut self, other: &QueueStats) {
                $(self.$field += other.$field;)+
            }

            /// What was counted after `earlier` was read.
            #[must_use]
            pub fn since(&self, earlier: &QueueStats) -> QueueStats {
                QueueStats { $($field: self.$field.wrapping_sub(earlier.$field),)+ }
            }
        }
    };
}

queue_stats! {
    /// Frames handed to the worker.
    rx_packets,
    /// Their octets, from the Ethernet header on.
    rx_bytes,
    /// Of these, super-frames.
    rx_super,
    /// Frames the kernel or device dropped because nobody fetched them in time.
    rx_missed,
    /// Receive calls that could not take all they were asked for because the pool had no buffer.
    rx_nobuf,
    /// Frames dropped because a checksum of the link was wrong.
    rx_checksum,
    /// Frames dropped because they were larger than a buffer, or cut short before they came here.
    rx_truncated,
    /// Frames dropped because their offload has no form in which they could be handed over.
    rx_refused,
    /// Frames the device received and dropped as damaged.
    rx_error,
    /// Frames the port took.
    tx_packets,
    /// Their octets.
    tx_bytes,
    /// Of these, super-frames.
    tx_super,
    /// Frames left to the caller because there was no room.
    tx_ring_full,
    /// Frames left to the caller because the device does not send such large ones.
    tx_oversize,
    /// Frames left to the caller because the device cannot make sense of them.
    tx_refused,
    /// Frames left to the caller because the link was down or gone.
    tx_down,
    /// Frames the device took and could not send.
    tx_error,
}

impl QueueStats {
    /// Every error with its direction and the label it has in metrics.
    #[must_use]
    pub fn errors(&self) -> [(&'static str, &'static str, u64); 11] {
        [
            ("rx", "missed", self.rx_missed),
            ("rx", "nobuf", self.rx_nobuf),
            ("rx", "checksum", self.rx_checksum),
            ("rx", "truncated", self.rx_truncated),
            ("rx", "refused", self.rx_refused),
            ("rx", "error", self.rx_error),
            ("tx", "ring_full", self.tx_ring_full),
            ("tx", "oversize", self.tx_oversize),
            ("tx", "refused", self.tx_refused),
            ("tx", "down", self.tx_down),
            ("tx", "error", self.tx_error),
        ]
    }
}

impl QueueStats {
    /// Counts why a transmit call stopped with `left` frames unsent.
    pub(super) fn count_stop(&mut self, stop: Option<TxStop>, left: usize) {
        let left = left as u64;
        match stop {
            None => {}
            Some(TxStop::Full) => self.tx_ring_full += left,
            Some(TxStop::Oversize) => self.tx_oversize += 1,
            Some(TxStop::Refused) => self.tx_refused += 1,
            Some(TxStop::Down | TxStop::Gone) => self.tx_down += left,
        }
    }
}
