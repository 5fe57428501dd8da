//! Draws nanoseconds per packet over flows.

use crate::bench::Report;
use plotters::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

type Points = Vec<(f64, f64)>;

/// Draws a line for each workload, family and so on, and a dashed one for its floor.
pub(super) fn write(file: &Path, runs: &[Report]) -> Result<(), String> {
    draw(file, runs).map_err(|error| format!("{}: {error}", file.display()))
}

/// By name: the router's points and the floor's.
fn lines(runs: &[Report]) -> BTreeMap<String, [Points; 2]> {
    let mut lines = BTreeMap::<String, [Points; 2]>::new();
    for r in runs {
        let workers = if r.workers == 1 { String::new() } else { format!(", {} workers", r.workers) };
        let [ours, floor] = lines.entry(format!("{} {} {}{workers}", r.workload, r.family, r.checksum)).or_default();
        ours.push((r.flows as f64, r.ns_per_packet));
        floor.push((r.flows as f64, r.floor_ns_per_packet));
    }
    for points in lines.values_mut().flatten() {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    lines
}

fn draw(file: &Path, runs: &[Report]) -> Result<(), Box<dyn std::error::Error>> {
    let lines = lines(runs);
    let all = || lines.values().flatten().flatten();
    let most = all().map(|(_, ns)| *ns).fold(1.0, f64::max) * 1.1;
    let (few, many) = all().fold((f64::MAX, 1.0f64), |(few, many), (flows, _)| (few.min(*flows), many.max(*flows)));
    let root = SVGBackend::new(file, (960, 600)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(16)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d((few.min(many) * 0.8..many * 1.25).log_scale(), 0.0..most)?;
    chart
        .configure_mesh()
        .x_desc("flows")
        .y_desc("nanoseconds of processor time per packet")
        .x_label_formatter(&|flows| short(*flows))
        .draw()?;
    for (index, (name, [ours, floor])) in lines.iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        let solid = color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(ours.iter().copied(), solid).point_size(3))?
            .label(name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], solid));
        let dashes = DashedLineSeries::new(floor.iter().copied(), 6, 4, color.stroke_width(1));
        chart
            .draw_series(dashes)?
            .label(format!("{name}: floor"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], color.stroke_width(1)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}

fn short(flows: f64) -> String {
    match flows {
        f if f >= 1e6 => format!("{}M", f / 1e6),
        f if f >= 1e3 => format!("{}k", f / 1e3),
        f => f.to_string(),
    }
}
