//! Results as a picture: two panels, rates above and times below, as SVG.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;

/// A named line of points.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// Points from left to right.
    pub points: Vec<(f64, f64)>,
}

/// One panel.
#[derive(Clone, Debug, PartialEq)]
pub struct Panel {
    /// What stands above it.
    pub title: String,
    /// Unit of the vertical axis.
    pub unit: Unit,
    /// Its lines. The first of a panel of bars is drawn as bars.
    pub series: Vec<Series>,
    /// Draw the first line as bars.
    pub bars: bool,
}

/// What is measured on the vertical axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Packets per second, from 0.
    Pps,
    /// Nanoseconds, logarithmic.
    Time,
}

/// The horizontal axis of both panels.
#[derive(Clone, Debug, PartialEq)]
pub enum Across {
    /// Places 0, 1, 2 … with these names.
    Names(Vec<String>),
    /// Packets per second.
    Pps,
    /// Seconds.
    Seconds,
    /// Nines: 0 is none, 1 is 90 %, 2 is 99 % …
    Nines,
}

/// A picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// What stands at the top.
    pub title: String,
    /// In smaller letters below it.
    pub subtitle: String,
    /// Panels with what their horizontal axes are, and what those say.
    pub panels: Vec<(Panel, Across, String)>,
}

const WIDTH: u32 = 960;
const PANEL: u32 = 330;
const TOP: u32 = 64;

const INK: RGBColor = RGBColor(0x1f, 0x29, 0x37);
const FAINT: RGBColor = RGBColor(0x6b, 0x72, 0x80);
const GRID: RGBColor = RGBColor(0xe5, 0xe7, 0xeb);

/// Told apart by people who see few colours, too (Okabe and Ito, "Color Universal Design").
const COLORS: [RGBColor; 5] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Done = Result<(), Box<dyn Error>>;

impl Plot {
    /// The picture as SVG text.
    ///
    /// # Errors
    /// When it cannot be drawn.
    pub fn svg(&self) -> Result<String, Box<dyn Error>> {
        let mut text = String::new();
        let height = TOP + PANEL * u32::try_from(self.panels.len())?;
        {
            let root = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
            root.fill(&WHITE)?;
            root.draw(&Text::new(self.title.as_str(), (24, 16), font(20, INK)))?;
            root.draw(&Text::new(self.subtitle.as_str(), (24, 42), font(13, FAINT)))?;
            let (_, rest) = root.split_vertically(TOP);
            let count = self.panels.len().max(1);
            for (area, (panel, across, label)) in rest.split_evenly((count, 1)).iter().zip(&self.panels) {
                draw(area, panel, across, label)?;
            }
            root.present()?;
        }
        Ok(text)
    }
}

fn font(size: u32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&color)
}

/// The smallest and the largest of some numbers.
fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|v| v.is_finite()).fold(None, |seen, v| match seen {
        None => Some((v, v)),
        Some((low, high)) => Some((low.min(v), high.max(v))),
    })
}

/// Where the horizontal axis begins and ends.
fn extent(panel: &Panel, across: &Across) -> (f64, f64) {
    let all = panel.series.iter().flat_map(|series| series.points.iter().map(|(x, _)| *x));
    let (low, high) = bounds(all).unwrap_or((0.0, 1.0));
    match across {
        Across::Names(names) => (-0.5, names.len() as f64 - 0.5),
        Across::Pps | Across::Seconds => (0.0, if high > 0.0 { high * 1.02 } else { 1.0 }),
        Across::Nines => (low.min(0.0), high.max(1.0)),
    }
}

fn draw(area: &Area<'_>, panel: &Panel, across: &Across, label: &str) -> Done {
    let values = || panel.series.iter().flat_map(|series| series.points.iter().map(|(_, y)| *y));
    match panel.unit {
        Unit::Pps => {
            let high = bounds(values()).map_or(1.0, |(_, high)| if high > 0.0 { high * 1.12 } else { 1.0 });
            chart(area, panel, (across, label), 0.0..high)
        }
        Unit::Time => {
            let (low, high) = bounds(values().filter(|v| *v > 0.0)).unwrap_or((1e3, 1e6));
            // Whole decades, so that the grid has round numbers.
            let decade = |v: f64, up: f64| 10f64.powf((v.log10() + up).floor());
            let (low, high) = (decade(low, 0.0), decade(high, 1.0));
            chart(area, panel, (across, label), (low..high).log_scale())
        }
    }
}

fn chart<Y>(area: &Area<'_>, panel: &Panel, (across, label): (&Across, &str), y: Y) -> Done
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64> + Ranged<ValueType = f64>,
{
    let (left, right) = extent(panel, across);
    let mut chart = ChartBuilder::on(area)
        .margin_left(16)
        .margin_right(32)
        .margin_top(6)
        .margin_bottom(6)
        .caption(panel.title.as_str(), font(15, INK))
        .x_label_area_size(46)
        .y_label_area_size(78)
        .build_cartesian_2d(left..right, y)?;
    let vertical = |value: &f64| match panel.unit {
        Unit::Pps => super::report::pps_short(*value),
        Unit::Time => super::report::nanoseconds_short(*value),
    };
    let horizontal = |value: &f64| match across {
        Across::Names(_) => String::new(),
        Across::Pps => super::report::pps_short(*value),
        Across::Seconds => format!("{value}"),
        Across::Nines => nines(*value),
    };
    let mut mesh = chart.configure_mesh();
    mesh.bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(FAINT)
        .label_style(font(12, INK))
        .axis_desc_style(font(13, FAINT))
        .y_labels(7)
        .y_label_formatter(&vertical)
        .x_label_formatter(&horizontal)
        .x_desc(label);
    match across {
        Across::Names(_) => mesh.disable_x_mesh().x_labels(0),
        Across::Nines => mesh.x_labels((right - left).round() as usize + 1),
        _ => mesh.x_labels(9),
    };
    mesh.draw()?;
    for (index, series) in panel.series.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let points = series.points.iter().copied().filter(|(x, y)| x.is_finite() && y.is_finite());
        if panel.bars && index == 0 {
            let bar = |(x, y): (f64, f64)| Rectangle::new([(x - 0.3, 0.0), (x + 0.3, y)], color.mix(0.85).filled());
            chart.draw_series(points.clone().map(bar))?;
            chart.draw_series(points.map(|(x, y)| {
                let style = font(12, INK).pos(Pos::new(HPos::Center, VPos::Bottom));
                EmptyElement::at((x, y)) + Text::new(super::report::pps(y), (0, -4), style)
            }))?;
            continue;
        }
        let line = LineSeries::new(points.clone(), color.stroke_width(2));
        chart.draw_series(line)?;
        if series.points.len() <= 40 {
            chart.draw_series(points.map(|point| Circle::new(point, 3, color.filled())))?;
        }
    }
    if let Across::Names(names) = across {
        let (x0, y0) = area.get_base_pixel();
        let bottom = chart.plotting_area().get_pixel_range().1.end;
        for (place, name) in names.iter().enumerate() {
            let middle = chart.plotting_area().get_y_range();
            let (x, _) = chart.backend_coord(&(place as f64, middle.end));
            let style = font(12, INK).pos(Pos::new(HPos::Center, VPos::Top));
            area.draw(&Text::new(name.as_str(), (x - x0, bottom - y0 + 8), style))?;
        }
    }
    if panel.series.len() > 1 {
        legend(area, panel)?;
    }
    Ok(())
}

/// Names the lines at the top right, where no line runs.
fn legend(area: &Area<'_>, panel: &Panel) -> Done {
    let (width, _) = area.dim_in_pixel();
    let mut right = i32::try_from(width)? - 32;
    for (index, series) in panel.series.iter().enumerate().rev() {
        let color = COLORS[index % COLORS.len()];
        let style = font(12, INK).pos(Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(series.name.as_str(), (right, 17), style))?;
        // Letters of this size are about seven pixels wide.
        right -= 7 * i32::try_from(series.name.chars().count())? + 26;
        area.draw(&Rectangle::new([(right, 15), (right + 18, 19)], color.filled()))?;
        right -= 16;
    }
    Ok(())
}

/// A number of nines as a percentage.
fn nines(value: f64) -> String {
    let whole = value.round();
    if (value - whole).abs() > 1e-6 || !(0.0..=6.0).contains(&whole) {
        return String::new();
    }
    match whole as u32 {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        n => format!("99.{} %", "9".repeat(n as usize - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(unit: Unit, points: Vec<(f64, f64)>) -> Panel {
        let series = |name: &str, points| Series { name: name.to_owned(), points };
        Panel {
            title: "a panel".to_owned(),
            unit,
            series: vec![series("one", points.clone()), series("two", points)],
            bars: false,
        }
    }

    fn svg(panel: Panel, across: Across) -> String {
        Plot { title: "t<&>".to_owned(), subtitle: String::new(), panels: vec![(panel, across, "x".to_owned())] }
            .svg()
            .unwrap()
    }

    #[test]
    fn a_picture_names_its_places_lines_and_values() {
        let names = vec!["64".to_owned(), "1518".to_owned()];
        let mut bars = panel(Unit::Pps, vec![(0.0, 1.5e6), (1.0, 8e5)]);
        bars.bars = true;
        let text = svg(bars, Across::Names(names));
        for wanted in ["<svg", "64", "1518", "1.500 Mpps", "a panel", "one", "two", "t&lt;&amp;&gt;"] {
            assert!(text.contains(wanted), "no {wanted} in {text}");
        }
    }

    #[test]
    fn odd_values_are_drawn_or_left_out_and_never_fail() {
        for unit in [Unit::Pps, Unit::Time] {
            for across in [Across::Pps, Across::Seconds, Across::Nines, Across::Names(Vec::new())] {
                for points in [
                    vec![],
                    vec![(0.0, 0.0)],
                    vec![(1.0, f64::NAN), (f64::INFINITY, 2.0)],
                    vec![(1.0, 1.0), (2.0, 1e12)],
                    vec![(0.0, 1e9), (5.0, 1e9)],
                ] {
                    assert!(svg(panel(unit, points), across.clone()).ends_with("</svg>\n"));
                }
            }
        }
    }

    #[test]
    fn nines_are_percentages() {
        assert_eq!([0.0, 1.0, 2.0, 3.0, 4.0, 1.5].map(nines), ["0 %", "90 %", "99 %", "99.9 %", "99.99 %", ""]);
    }
}
