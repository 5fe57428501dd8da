//! DPDK's log in ours.

use std::cell::RefCell;
use tracing::{debug, error, info, trace, warn};

/// Complaints kept for the error that follows them.
const KEPT: usize = 2;

thread_local! {
    /// What DPDK complained about last on this thread.
    static COMPLAINTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// One line; `level` counts as syslog's do, from 1.
pub(super) fn line(level: u32, text: &str) {
    let text = text.trim_end();
    if text.is_empty() {
        return;
    }
    match level {
        ..=4 => error!("DPDK: {text}"),
        5 => warn!("DPDK: {text}"),
        6 => info!("DPDK: {text}"),
        7 => debug!("DPDK: {text}"),
        _ => trace!("DPDK: {text}"),
    }
    if level <= 5 {
        COMPLAINTS.with_borrow_mut(|kept| {
            kept.truncate(KEPT - 1);
            kept.insert(0, text.to_owned());
        });
    }
}

/// What DPDK complained about on this thread since this was asked last, the first complaint first.
pub(super) fn complaints() -> String {
    COMPLAINTS.with_borrow_mut(|kept| kept.drain(..).rev().collect::<Vec<_>>().join("; "))
}
