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
}
