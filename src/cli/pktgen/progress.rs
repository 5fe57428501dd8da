//! A line that shows how far a trial is, on a terminal and nowhere else.

use crate::pktgen::Progress;
use crate::pktgen::report::{bps, pps};
use std::io::{IsTerminal, Write};

/// Shows numbers while trials run.
pub(super) struct Line {
    shown: bool,
    label: String,
    last: Progress,
    /// Something stands on the line.
    dirty: bool,
}

/// Seconds between two updates.
const EVERY: f64 = 0.45;

impl Line {
    /// Shown only if standard error is a terminal and nobody asked for quiet.
    pub(super) fn new(quiet: bool) -> Line {
        let shown = !quiet && std::io::stderr().is_terminal();
        Line { shown, label: String::new(), last: Progress::default(), dirty: false }
    }

    /// A new trial.
    pub(super) fn label(&mut self, label: &str) {
        label.clone_into(&mut self.label);
        self.last = Progress::default();
    }

    /// New numbers.
    pub(super) fn show(&mut self, now: &Progress) {
        if !self.shown || now.seconds - self.last.seconds < EVERY {
            return;
        }
        let text = text(&self.label, &self.last, now);
        // What does not fit would stay on the screen.
        let width = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        // Some terminals do not know how wide they are.
        let text: String = text.chars().take(if width > 1 { width - 1 } else { 79 }).collect();
        let _ = write!(std::io::stderr(), "\r\x1b[2K{text}");
        self.last = *now;
        self.dirty = true;
    }

    /// Clears the line for what comes.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.dirty) {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

fn text(label: &str, last: &Progress, now: &Progress) -> String {
    let seconds = (now.seconds - last.seconds).max(1e-9);
    let rate = |new: u64, old: u64| new.saturating_sub(old) as f64 / seconds;
    let way = now.packets.0.saturating_sub(now.packets.1);
    format!(
        "{label}{:5.1} s   sent {} {}   received {} {}   {way} lost or under way",
        now.seconds,
        pps(rate(now.packets.0, last.packets.0)),
        bps(8.0 * rate(now.octets.0, last.octets.0)),
        pps(rate(now.packets.1, last.packets.1)),
        bps(8.0 * rate(now.octets.1, last.octets.1)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_the_rates_since_the_last_one() {
        let last = Progress { seconds: 1.0, packets: (1000, 1000), octets: (64_000, 64_000) };
        let now = Progress { seconds: 1.5, packets: (501_000, 400_000), octets: (32_064_000, 25_600_000) };
        let line = text("64: ", &last, &now);
        assert_eq!(
            line,
            "64:   1.5 s   sent 1.000 Mpps 512.000 Mbit/s   received 798.00 kpps 408.576 Mbit/s   101000 lost or under way"
        );
    }
}
