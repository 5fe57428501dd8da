//! Single values of a stream file: rates, shares, sizes.

use crate::config::schema::Wrong;
use crate::pktgen::plan::Rate;

/// Decimal prefixes of units.
const PREFIXES: &[(&str, f64)] = &[("k", 1e3), ("K", 1e3), ("M", 1e6), ("G", 1e9), ("", 1.0)];

/// A number in decimal that may have a fraction, and what follows it.
fn number(text: &str) -> Option<(f64, &str)> {
    let end = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let (number, rest) = text.split_at(end);
    let value: f64 = number.parse().ok()?;
    value.is_finite().then_some((value, rest.trim_start()))
}

/// `max`, or a number with one of `units` behind a decimal prefix; the second is the kind of unit.
fn with_unit<T: Copy>(text: &str, units: &[(&str, T)]) -> Option<(f64, T)> {
    let (value, rest) = number(text)?;
    units.iter().find_map(|(unit, kind)| {
        let prefix = rest.strip_suffix(unit)?;
        let (_, factor) = PREFIXES.iter().find(|(name, _)| *name == prefix)?;
        Some((value * factor, *kind))
    })
}

/// The most packets, connections or bits per second that make sense here.
const MOST: f64 = 1e12;

/// A unit and what a number of it is.
type Unit = (&'static str, fn(f64) -> Rate);

/// A rate: `max`, packets or connections per second, bits per second, percent of the line.
pub(super) fn rate(text: &str) -> Result<Rate, Wrong> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    let units: [Unit; 5] = [
        ("pps", Rate::Pps),
        ("cps", Rate::Pps),
        ("bit/s", Rate::Bps),
        ("bps", Rate::Bps),
        ("%", |p| Rate::Line(p / 100.0)),
    ];
    let Some((value, rate)) = with_unit(text, &units) else {
        return Err(Wrong::new(format!("`{text}` is not a rate"))
            .help("`max`, or a number and a unit, as in 500kpps, 200cps, 2.5Gbit/s, 40%"));
    };
    match rate(value) {
        Rate::Line(share) if share > 1.0 => Err(Wrong::new(format!("{text} is more than the line carries"))),
        _ if value <= 0.0 || value > MOST => Err(Wrong::new(format!("`{text}` is out of range"))),
        rate => Ok(rate),
    }
}

/// A line speed in bit/s.
pub(super) fn line(text: &str) -> Result<u64, Wrong> {
    match with_unit(text, &[("bit/s", ()), ("bps", ()), ("", ())]) {
        Some((bits, ())) if (1e6..=MOST).contains(&bits) => Ok(bits as u64),
        _ => Err(Wrong::new(format!("`{text}` is not a line speed")).help("as in 1G, 10Gbit/s")),
    }
}

/// A share: a percentage.
pub(super) fn share(text: &str) -> Result<f64, Wrong> {
    let wrong = || Wrong::new(format!("`{text}` is not a share")).help("a percentage from 0% to 100%, as in 2.5%");
    match number(text) {
        Some((value, "%")) if value <= 100.0 => Ok(value / 100.0),
        Some((0.0, "")) => Ok(0.0),
        _ => Err(wrong()),
    }
}

/// The exponent of a Zipf distribution.
pub(super) fn exponent(text: &str) -> Result<f64, Wrong> {
    match number(text) {
        Some((value, "")) if value <= 10.0 => Ok(value),
        _ => Err(Wrong::new(format!("`{text}` is not an exponent")).help("a number from 0 to 10, as in 1.1")),
    }
}

/// Rates from the first to the last: `start:stop:step:time`, all but the time rates of one unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ramp {
    pub(super) start: Rate,
    pub(super) stop: Rate,
    pub(super) step: Rate,
    /// For each rate, in milliseconds.
    pub(super) time: u32,
}

/// Most steps of a ramp.
const MOST_STEPS: f64 = 1000.0;

/// A ramp; `duration` reads its time.
pub(super) fn ramp(text: &str, duration: impl Fn(&str) -> Result<u32, Wrong>) -> Result<Ramp, Wrong> {
    let form =
        || Wrong::new(format!("`{text}` is not a ramp")).help("start:stop:step:time, as in 10kpps:100kpps:10kpps:2s");
    let [start, stop, step, time] = *text.split(':').collect::<Vec<_>>() else { return Err(form()) };
    let ramp = Ramp { start: rate(start)?, stop: rate(stop)?, step: rate(step)?, time: duration(time)? };
    let (Some((from, to)), Some((_, by))) = (same(ramp.start, ramp.stop), same(ramp.start, ramp.step)) else {
        return Err(form());
    };
    if to < from {
        return Err(Wrong::new("the ramp ends below its start"));
    }
    if (to - from) / by > MOST_STEPS {
        return Err(Wrong::new(format!("the ramp has more than {MOST_STEPS} steps")));
    }
    Ok(ramp)
}

/// Two rates as numbers of the same unit.
fn same(a: Rate, b: Rate) -> Option<(f64, f64)> {
    match (a, b) {
        (Rate::Pps(a), Rate::Pps(b)) | (Rate::Bps(a), Rate::Bps(b)) | (Rate::Line(a), Rate::Line(b)) => Some((a, b)),
        _ => None,
    }
}

impl Ramp {
    /// Every rate in turn.
    pub(super) fn rates(&self) -> Vec<Rate> {
        let (Some((from, to)), Some((_, by))) = (same(self.start, self.stop), same(self.start, self.step)) else {
            return vec![self.start];
        };
        let steps = ((to - from) / by + 1e-9).floor() as u32;
        let at = |i: u32| from + f64::from(i) * by;
        (0..=steps)
            .map(|i| match self.start {
                Rate::Bps(_) => Rate::Bps(at(i)),
                Rate::Line(_) => Rate::Line(at(i)),
                Rate::Pps(_) | Rate::Max => Rate::Pps(at(i)),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        for (text, wanted) in [
            ("max", Rate::Max),
            ("500pps", Rate::Pps(500.0)),
            ("1.5 Mpps", Rate::Pps(1.5e6)),
            ("200cps", Rate::Pps(200.0)),
            ("10kbit/s", Rate::Bps(1e4)),
            ("2.5Gbps", Rate::Bps(2.5e9)),
            ("40%", Rate::Line(0.4)),
            ("100%", Rate::Line(1.0)),
        ] {
            assert_eq!(rate(text).ok(), Some(wanted), "{text}");
        }
        for text in ["", "5", "-5pps", "0pps", "5 Tpps", "101%", "1e3pps", "pps", "1..2pps", "9999999Gbit/s", "5k%"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!(share("2.5%").ok(), Some(0.025));
        assert_eq!(share("0").ok(), Some(0.0));
        for text in ["0.5", "101%", "%", "-1%", "x"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ramps_have_steps() {
        let duration = |text: &str| if text == "2s" { Ok(2000) } else { Err(Wrong::new("")) };
        let got = ramp("10kpps:30kpps:10kpps:2s", duration).map(|ramp| (ramp.rates(), ramp.time));
        assert_eq!(got.ok(), Some((vec![Rate::Pps(1e4), Rate::Pps(2e4), Rate::Pps(3e4)], 2000)));
        let got = ramp("10%:25%:10%:2s", duration).map(|ramp| ramp.rates().len());
        assert_eq!(got.ok(), Some(2));
        for text in [
            "10kpps:20kpps:2s",
            "10kpps:5kpps:1kpps:2s",
            "1pps:1Mpps:1pps:2s",
            "1pps:2kbit/s:1pps:2s",
            "max:max:max:2s",
        ] {
            assert!(ramp(text, duration).is_err(), "{text}");
        }
    }
}
