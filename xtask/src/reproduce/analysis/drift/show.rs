//! Curves as figures and tables, beside the paper's.

use pnn_eval::plot::{Axis, LineSeries, line_chart};
use pnn_eval::{BatchNormMode, Cell, Column, Interval, Table};

use super::Curve;
use crate::error::Result;
use crate::reproduce::config::{Drift, PaperDrift, View};

/// Accuracy of every method at each whole temperature, and the least of the whole sweep.
pub(super) fn kept(spec: &Drift, views: &[(&View, Vec<Curve>)]) -> Result<Table> {
    let mut whole: Vec<f64> = spec.kelvin.iter().copied().filter(|k| k.fract() == 0.0).collect();
    whole.sort_by(f64::total_cmp);
    let mut columns = vec![Column::text("view"), Column::text("method")];
    columns.extend(whole.iter().map(|k| Column::percent_interval(format!("at {k} K"), 1)));
    columns.push(Column::percent_interval("at the worst temperature", 1));
    let (low, high) = (
        spec.kelvin.iter().copied().fold(f64::INFINITY, f64::min),
        spec.kelvin.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    );
    let mut table = Table::new(format!("What each method keeps from {low} to {high} K"), columns)?;
    for (view, curves) in views {
        for curve in curves {
            let mut row = vec![Cell::Text(view.name.clone()), Cell::Text(curve.label.clone())];
            row.extend(whole.iter().map(|k| Cell::from(curve.at(&spec.kelvin, *k).copied())));
            let worst: Option<&Interval> =
                curve.accuracy.iter().min_by(|a, b| a.estimate.total_cmp(&b.estimate));
            row.push(Cell::from(worst.copied()));
            table.push(row)?;
        }
    }
    Ok(table)
}

pub(super) fn figure(
    spec: &Drift,
    view: &View,
    curves: &[Curve],
) -> Result<(pnn_eval::Svg, String)> {
    let mut order: Vec<usize> = (0..spec.kelvin.len()).collect();
    order.sort_by(|a, b| spec.kelvin[*a].total_cmp(&spec.kelvin[*b]));
    let (mut series, mut dashed) = (Vec::new(), "");
    for curve in curves {
        let points = order.iter().map(|i| (spec.kelvin[*i], curve.accuracy[*i].scaled(100.0)));
        let line = LineSeries::from_intervals(&curve.label, points);
        series.push(match curve.key.strip_suffix(" published") {
            Some(key) => {
                dashed = " Dashed: the paper's.";
                let own = curves.iter().find(|c| c.key == key).map_or("", |c| c.label.as_str());
                line.reference_of(own)
            }
            None => line,
        });
    }
    for paper in spec.paper.iter().filter(|paper| comparable(paper, view)) {
        let Some(own) = curves.iter().find(|c| c.key == paper.method) else { continue };
        let mut points: Vec<_> =
            paper.kelvin.iter().copied().zip(paper.accuracy.iter().copied()).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        series.push(LineSeries::new(&paper.label, points).reference_of(&own.label));
        dashed = " Dashed: the paper's.";
    }
    let svg = line_chart(
        &view.name,
        &Axis::linear("temperature change").unit("K"),
        &Axis::linear("accuracy").unit("%").range(0.0, 100.0),
        &series,
    )?;
    Ok((
        svg,
        format!(
            "Accuracy against temperature; batch-norm uses {}. Bands: 95 %.{dashed}",
            view.batch_norm
        ),
    ))
}

pub(in crate::reproduce::analysis) fn table_of(
    kelvin: &[f64],
    view: &View,
    curves: &[Curve],
) -> Result<Table> {
    let mut columns = vec![Column::number("temperature", 2).unit("K")];
    columns.extend(curves.iter().map(|c| Column::percent_interval(&c.label, 2)));
    let mut table =
        Table::new(format!("All temperatures: {} ({})", view.name, view.batch_norm), columns)?;
    for (k, kelvin) in kelvin.iter().enumerate() {
        let mut row = vec![Cell::Number(*kelvin)];
        row.extend(curves.iter().map(|c| Cell::Interval(c.accuracy[k])));
        table.push(row)?;
    }
    Ok(table)
}

/// Whether a number of the paper can stand beside a view: simulated ones used batch statistics.
fn comparable(paper: &PaperDrift, view: &View) -> bool {
    paper.measured || matches!(view.batch_norm, BatchNormMode::Batch(_))
}

/// The paper's numbers for a method at a temperature, in words.
pub(super) fn papers_number(spec: &Drift, view: &View, key: &str, kelvin: f64) -> String {
    let mut numbers = Vec::new();
    for paper in spec.paper.iter().filter(|p| p.method == key && comparable(p, view)) {
        if let Some(at) = paper.kelvin.iter().position(|k| *k == kelvin) {
            let how = if paper.measured { "measured" } else { "simulated, 100 images" };
            numbers.push(format!("{} % ({how})", paper.accuracy[at]));
        }
    }
    if numbers.is_empty() { "not reported".into() } else { numbers.join(", ") }
}
