//! The table a person reads: one row per packet, columns as wide as the first packets ask for.

use super::record::Record;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Rows that are looked at before the width of the columns is settled.
const LOOKED_AT: usize = 1000;

/// Width of the summary: at least, and at most where there is no terminal's edge.
const SUMMARY: (usize, usize) = (30, 128);

/// Where the table goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// Columns of the terminal, to which rows are cut; `None` where nobody minds long lines.
    pub width: Option<usize>,
    /// Colours are understood.
    pub color: bool,
}

/// Colours by state and verdict, so that the eye finds what is unusual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Paint {
    Plain,
    Dim,
    Green,
    Cyan,
    Red,
}

impl Paint {
    const fn start(self) -> &'static str {
        match self {
            Paint::Plain => "",
            Paint::Dim => "\x1b[2m",
            Paint::Green => "\x1b[32m",
            Paint::Cyan => "\x1b[36m",
            Paint::Red => "\x1b[31m",
        }
    }

    const fn end(self) -> &'static str {
        match self {
            Paint::Plain => "",
            _ => "\x1b[0m",
        }
    }

    fn of_state(state: &str) -> Paint {
        match state {
            "NEW" => Paint::Green,
            "RELATED" => Paint::Cyan,
            "INVALID" => Paint::Red,
            "NONE" | "UNTRACKED" => Paint::Dim,
            _ => Paint::Plain,
        }
    }

    fn of_verdict(verdict: &str) -> Paint {
        match verdict {
            "drop" => Paint::Red,
            "held" | "punt" => Paint::Dim,
            _ => Paint::Plain,
        }
    }
}

/// Columns of a row. The fourth, the summary, takes what room is left.
const COLUMNS: usize = 8;
const SUMMARY_COLUMN: usize = 3;
const HEAD: [&str; COLUMNS] = ["#", "time", "port", "packet", "state", "protocol", "verdict", "rule or reason"];

#[derive(Debug)]
struct Row {
    cells: [String; COLUMNS],
    paint: [Paint; 2],
}

/// Writes rows as they come, once it has seen enough of them to line them up.
#[derive(Debug)]
pub struct Table {
    screen: Screen,
    /// Width of each column; known once the first row is out.
    widths: Option<[usize; COLUMNS]>,
    waiting: Vec<Row>,
    /// When the first packet came.
    start: Option<u64>,
}

impl Table {
    /// An empty one.
    #[must_use]
    pub fn new(screen: Screen) -> Self {
        Table { screen, widths: None, waiting: Vec::new(), start: None }
    }

    /// Adds a packet's row.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn row(&mut self, to: &mut impl Write, record: &Record<'_>, summary: String) -> io::Result<()> {
        let start = *self.start.get_or_insert(record.time);
        let since = record.time.saturating_sub(start);
        let row = Row {
            cells: [
                record.seq.to_string(),
                format!("{}.{:06}", since / 1_000_000_000, since % 1_000_000_000 / 1000),
                record.port.to_owned(),
                summary,
                record.state.to_owned(),
                record.protocol_state.unwrap_or("-").to_owned(),
                record.verdict.to_owned(),
                record.why(),
            ],
            paint: [Paint::of_state(record.state), Paint::of_verdict(record.verdict)],
        };
        if let Some(widths) = self.widths {
            return self.write(to, &row, &widths);
        }
        self.waiting.push(row);
        if self.waiting.len() >= LOOKED_AT { self.begin(to) } else { Ok(()) }
    }

    /// Settles the widths and writes what waited for them.
    fn begin(&mut self, to: &mut impl Write) -> io::Result<()> {
        let rows = std::mem::take(&mut self.waiting);
        let mut widths = HEAD.map(str::len);
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(&row.cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let others: usize = widths.iter().sum::<usize>() - widths[SUMMARY_COLUMN] + 2 * (COLUMNS - 1);
        let room = self.screen.width.map_or(SUMMARY.1, |width| width.saturating_sub(others));
        widths[SUMMARY_COLUMN] = widths[SUMMARY_COLUMN].min(room.max(SUMMARY.0));
        self.widths = Some(widths);
        let head = Row { cells: HEAD.map(str::to_owned), paint: [Paint::Plain; 2] };
        self.write(to, &head, &widths)?;
        rows.iter().try_for_each(|row| self.write(to, row, &widths))
    }

    fn write(&self, to: &mut impl Write, row: &Row, widths: &[usize; COLUMNS]) -> io::Result<()> {
        let mut line = String::with_capacity(160);
        for (n, (cell, width)) in row.cells.iter().zip(widths).enumerate() {
            let len = cell.chars().count();
            let gap = width.saturating_sub(len);
            let paint = match n {
                4 => row.paint[0],
                6 => row.paint[1],
                _ => Paint::Plain,
            };
            let (on, off) = if self.screen.color { (paint.start(), paint.end()) } else { ("", "") };
            // Writing to a string cannot fail.
            let _ = match n {
                0 | 1 => write!(line, "{:gap$}{cell}  ", ""),
                SUMMARY_COLUMN if len > *width && self.screen.width.is_some() => {
                    let kept: String = cell.chars().take(width.saturating_sub(1)).collect();
                    write!(line, "{kept}…  ")
                }
                _ if n + 1 == COLUMNS => write!(line, "{cell}"),
                _ => write!(line, "{on}{cell}{off}{:gap$}  ", ""),
            };
        }
        writeln!(to, "{}", line.trim_end())
    }

    /// Writes what waits still, and an empty line behind a table that has rows.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(&mut self, to: &mut impl Write) -> io::Result<()> {
        if self.widths.is_none() && !self.waiting.is_empty() {
            self.begin(to)?;
        }
        if self.widths.is_some() {
            writeln!(to)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: Record<'static> = Record {
        seq: 0,
        time: 5_000_000_000,
        port: "lan0",
        state: "NEW",
        direction: Some("original"),
        protocol_state: Some("SYN_SENT"),
        invalid: None,
        verdict: "accept",
        reason: None,
        rule: Some("out"),
        egress: Some("wan0"),
        worker: 0,
        completes: Vec::new(),
        gave_up: Vec::new(),
    };

    fn table(screen: Screen, rows: &[(Record<'_>, &str)]) -> String {
        let mut out = Vec::new();
        let mut table = Table::new(screen);
        for (record, summary) in rows {
            table.row(&mut out, record, (*summary).to_owned()).unwrap();
        }
        table.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_line_up_and_time_starts_with_the_first_packet() {
        let bad = Record {
            seq: 10,
            time: 6_002_003_999,
            state: "INVALID",
            protocol_state: None,
            invalid: Some("tcp_flags"),
            verdict: "drop",
            reason: Some("policy_rule"),
            rule: Some("bad"),
            ..RECORD
        };
        assert_eq!(
            table(Screen::default(), &[(RECORD, "IP 1 > 2: tcp"), (bad, "IP 1 > 2: other")]),
            " #      time  port  packet           state    protocol  verdict  rule or reason\n \
             0  0.000000  lan0  IP 1 > 2: tcp    NEW      SYN_SENT  accept   out\n\
             10  1.002003  lan0  IP 1 > 2: other  INVALID  -         drop     bad (tcp_flags)\n\n"
        );
    }

    #[test]
    fn a_terminal_cuts_the_summary_and_nothing_else() {
        let long = "x".repeat(100);
        let lines = table(Screen { width: Some(100), color: false }, &[(RECORD, &long)]);
        let row = lines.lines().nth(1).unwrap();
        assert!(row.contains("xxx…  NEW") && row.ends_with("out"), "{row}");
        assert!(lines.lines().all(|line| line.chars().count() <= 100), "{lines}");
        assert!(table(Screen::default(), &[(RECORD, &long)]).contains(&long));
        let narrow = table(Screen { width: Some(20), color: false }, &[(RECORD, &long)]);
        assert!(narrow.contains(&"x".repeat(SUMMARY.0 - 1)), "{narrow}");
    }

    #[test]
    fn colours_do_not_disturb_the_columns() {
        let drop = Record { state: "INVALID", verdict: "drop", ..RECORD };
        let painted = table(Screen { width: None, color: true }, &[(RECORD, "a"), (drop.clone(), "b")]);
        assert!(painted.contains("\x1b[31mINVALID\x1b[0m"));
        let plain: String = [Paint::Green, Paint::Red]
            .iter()
            .flat_map(|paint| [paint.start(), paint.end()])
            .fold(painted, |text, code| text.replace(code, ""));
        assert_eq!(plain, table(Screen::default(), &[(RECORD, "a"), (drop, "b")]));
    }
}
