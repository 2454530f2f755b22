//! Accuracy against the radius of the ascent (supplement).

use pnn_eval::plot::{Axis, LineSeries, line_chart};
use pnn_eval::{Cell, Column, Interval, Table, Verdict};

use super::compare::{over_seeds, percent};
use super::drift::Sweep;
use super::{Context, Findings};
use crate::error::{Error, Result};
use crate::reproduce::config::{Method, Plan, Sensitivity, View};

/// The method with each radius, under keys of their own.
pub(crate) fn variants(key: &str, method: &Method, rho: &[f64]) -> Result<Vec<(String, Method)>> {
    let with = |value: &f64| {
        let variant = ["sharpness.sam.rho", "sharpness.asam.rho"]
            .iter()
            .find_map(|path| method.with_setting(path, *value).ok());
        let variant =
            variant.ok_or_else(|| Error::Usage(format!("method {key:?} has no rho to vary")))?;
        Ok((variant_key(key, *value), variant))
    };
    rho.iter().map(with).collect()
}

fn variant_key(key: &str, rho: f64) -> String {
    format!("{key}-rho{rho:e}")
}

/// Accuracy without drift and with it, or that the training left the numbers.
type Row = Option<(Interval, Interval)>;

pub(super) fn analyse(spec: &Sensitivity, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let key = plan.methods.first().ok_or_else(|| Error::Usage("no method".into()))?;
    let mut tables = Vec::new();
    let mut series = Vec::new();
    let mut first = Vec::new();
    for view in &plan.views {
        let rows = rows(key, spec, view, context)?;
        let mut table = Table::new(
            format!("{} against rho: {}", context.label(key), view.name),
            vec![
                Column::number("rho", 4).scientific(),
                Column::percent_interval("ours at 0 K", 2),
                Column::percent_interval(format!("ours at {} K", spec.kelvin), 2),
                Column::percent("paper at 0 K", 1),
            ],
        )?;
        for (rho, row) in spec.rho.iter().zip(&rows) {
            let cell = |pick: fn(&(Interval, Interval)) -> Interval| match row {
                Some(pair) => Cell::Interval(pick(pair)),
                None => Cell::Text("diverged".into()),
            };
            let paper = spec.paper.iter().find(|p| p.rho == *rho);
            table.push(vec![
                Cell::Number(*rho),
                cell(|pair| pair.0),
                cell(|pair| pair.1),
                paper.map_or(Cell::Missing, |p| Cell::Number(p.accuracy / 100.0)),
            ])?;
        }
        tables.push(table);
        let line = |name: String, pick: fn(&(Interval, Interval)) -> Interval| {
            let points = spec.rho.iter().zip(&rows).filter_map(|(rho, row)| {
                // 1e-32 stands for none and would stretch the axis.
                (*rho >= 1e-6).then_some((*rho, pick(row.as_ref()?).scaled(100.0)))
            });
            LineSeries::from_intervals(name, points)
        };
        series.push(line(format!("0 K, {}", view.name), |pair| pair.0));
        series.push(line(format!("{} K, {}", spec.kelvin, view.name), |pair| pair.1));
        if first.is_empty() {
            first = rows;
        }
    }
    let paper = spec.paper.iter().filter(|p| p.rho >= 1e-6).map(|p| (p.rho, p.accuracy));
    series.push(LineSeries::new("paper, 0 K", paper.collect::<Vec<_>>()).reference());
    let figure = line_chart(
        "Accuracy against the radius of the ascent",
        &Axis::logarithmic("rho"),
        &Axis::linear("accuracy").unit("%").range(0.0, 100.0),
        &series,
    )?;
    let (verdict, words) = judge(spec, &first);
    let paragraphs = vec![
        "The paper's lambda_max at each rho belongs to an experiment that is not there yet."
            .to_owned(),
    ];
    let figures = vec![(figure, "Clean accuracy, and accuracy on a chip that drifted.".to_owned())];
    Ok(Findings { verdict, words, paragraphs, figures, tables, details: Vec::new() })
}

fn rows(key: &str, spec: &Sensitivity, view: &View, context: &Context<'_>) -> Result<Vec<Row>> {
    let images = context.images(view)?;
    let evaluator = context.evaluator(view);
    let of = |rho: &f64| -> Result<Row> {
        let key = variant_key(key, *rho);
        if context.diverged(&key) {
            return Ok(None);
        }
        let runs = context.trained(&key)?;
        let (mut clean, mut drifted) = (Vec::new(), Vec::new());
        for run in runs {
            let (layers, nm_per_kelvin) = (&spec.layers, spec.nm_per_kelvin);
            let sweep = Sweep { layers, nm_per_kelvin, kelvin: &[0.0, spec.kelvin] };
            let points = sweep.accuracies(&run.model, &run.chip, evaluator, &images)?;
            clean.push(points[0]);
            drifted.push(points[1]);
        }
        let images = images.len() as u64;
        Ok(Some((over_seeds(&clean, images)?, over_seeds(&drifted, images)?)))
    };
    spec.rho.iter().map(of).collect()
}

/// Small radii must agree with the smallest, large ones must fall; by how much is in the spec.
fn judge(spec: &Sensitivity, rows: &[Row]) -> (Verdict, String) {
    let Some(Some((smallest, _))) = rows.first() else {
        return (Verdict::NotTested, "The training with the smallest rho failed.".into());
    };
    let mut small_holds = true;
    let mut large_falls = true;
    let mut words = vec![format!("rho {:e} gives {}", spec.rho[0], percent(smallest))];
    for (rho, row) in spec.rho.iter().zip(rows).skip(1) {
        let lost =
            row.as_ref().map_or(100.0, |(clean, _)| 100.0 * (smallest.estimate - clean.estimate));
        if *rho <= 1.0 && lost > spec.small_loses_at_most {
            small_holds = false;
            words.push(format!("rho {rho} loses {lost:.1} points"));
        }
        if *rho >= 10.0 {
            large_falls &= lost >= spec.large_loses_at_least;
            let got =
                row.as_ref().map_or_else(|| "diverges".to_owned(), |(clean, _)| percent(clean));
            words.push(format!("rho {rho} gives {got}"));
        }
    }
    let verdict = match (small_holds, large_falls) {
        (true, true) => Verdict::Holds,
        (false, false) => Verdict::DoesNotHold,
        _ => Verdict::HoldsInPart,
    };
    let limits = format!(
        "up to 1 may lose {} points, from 10 on must lose {}",
        spec.small_loses_at_most, spec.large_loses_at_least
    );
    (verdict, format!("Clean accuracy, batch statistics ({limits}): {}.", words.join(", ")))
}
