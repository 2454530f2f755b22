//! Accuracy against the radius of the ascent (supplement).

use pnn_data::Normalisation;
use pnn_eval::plot::{Axis, LineSeries, line_chart};
use pnn_eval::{Cell, Column, Interval, Table, Verdict};

use super::compare::{about_intervals, difference, over_seeds, points};
use super::drift::Sweep;
use super::judged::{Case, Judged};
use super::landscape::curvature;
use super::{Context, Findings};
use crate::error::{Error, Result};
use crate::reproduce::config::{Method, Plan, Sensitivity, View};
use crate::reproduce::precise;

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

/// Images that curvature is taken on.
const CURVED: usize = 1000;

/// Accuracies in percent of each seed, and the curvature.
struct Reached {
    clean: Vec<f64>,
    drifted: Vec<f64>,
    /// On the chip without drift.
    lambda_max: Vec<f64>,
}

/// None if a training left the numbers.
type Row = Option<Reached>;

/// Points of clean accuracy that are lost; none if all are, to a training that left the numbers.
type Lost = Option<Interval>;

pub(super) fn analyse(spec: &Sensitivity, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let key = plan.methods.first().ok_or_else(|| Error::Usage("no method".into()))?;
    let mut tables = Vec::new();
    let mut series = Vec::new();
    let mut cases = Vec::new();
    for view in &plan.views {
        let images = context.images(view)?.len() as u64;
        let rows = rows(key, spec, view, context)?;
        let mut table = Table::new(
            format!("{} against rho: {}", context.label(key), view.name),
            vec![
                Column::number("rho", 4).scientific(),
                Column::percent_interval("ours at 0 K", 2),
                Column::percent_interval(format!("ours at {} K", spec.kelvin), 2),
                Column::percent("paper at 0 K", 1),
                Column::interval("lambda_max", 2),
                Column::number("paper's", 1),
            ],
        )?;
        for (rho, row) in spec.rho.iter().zip(&rows) {
            let cell = |pick: fn(&Reached) -> &[f64]| -> Result<Cell> {
                Ok(match row {
                    Some(reached) => Cell::Interval(over_seeds(pick(reached), images)?),
                    None => Cell::Text("diverged".into()),
                })
            };
            let paper = spec.paper.iter().find(|p| p.rho == *rho);
            table.push(vec![
                Cell::Number(*rho),
                cell(|r| &r.clean)?,
                cell(|r| &r.drifted)?,
                paper.map_or(Cell::Missing, |p| Cell::Number(p.accuracy / 100.0)),
                row.as_ref().map_or(Ok(Cell::Missing), |r| curvature(&r.lambda_max))?,
                paper.and_then(|p| p.lambda_max).map_or(Cell::Missing, Cell::Number),
            ])?;
        }
        tables.push(table);
        let line = |name: String, pick: fn(&Reached) -> &[f64]| -> Result<_> {
            let mut points = Vec::new();
            for (rho, row) in spec.rho.iter().zip(&rows) {
                // 1e-32 stands for none and would stretch the axis.
                if let (true, Some(reached)) = (*rho >= 1e-6, row) {
                    points.push((*rho, over_seeds(pick(reached), images)?.scaled(100.0)));
                }
            }
            Ok(LineSeries::from_intervals(name, points))
        };
        series.push(line(format!("0 K, {}", view.name), |r| &r.clean)?);
        series.push(line(format!("{} K, {}", spec.kelvin, view.name), |r| &r.drifted)?);
        cases.extend(judge(spec, view, &rows, images)?);
    }
    let paper = spec.paper.iter().filter(|p| p.rho >= 1e-6).map(|p| (p.rho, p.accuracy));
    series.push(LineSeries::new("paper, 0 K", paper.collect::<Vec<_>>()).reference());
    let figure = line_chart(
        "Accuracy against the radius of the ascent",
        &Axis::logarithmic("rho"),
        &Axis::linear("accuracy").unit("%").range(0.0, 100.0),
        &series,
    )?;
    let paragraphs = vec![
        about_intervals(context.profile.seeds.len()).to_owned(),
        format!(
            "Losses are of clean accuracy against the smallest rho. Up to 1 the claim allows {} points, from 10 on it wants {} at \
             least; it holds or fails where the whole interval does. lambda_max is \
             that of the networks themselves on the first {CURVED} images of the view (geometric mean over seeds); the paper's is of networks without the rectifiers of fc1 and fc2.",
            spec.small_loses_at_most, spec.large_loses_at_least
        ),
    ];
    let figures = vec![(figure, "Clean accuracy, and accuracy on a chip that drifted.".to_owned())];
    let judged = Judged::of(cases);
    Ok(Findings { judged, paragraphs, figures, tables, details: Vec::new() })
}

fn rows(key: &str, spec: &Sensitivity, view: &View, context: &Context<'_>) -> Result<Vec<Row>> {
    let images = context.images(view)?;
    let evaluator = context.evaluator(view, Normalisation::UNIT);
    let of = |rho: &f64| -> Result<Row> {
        let base = key;
        let key = variant_key(key, *rho);
        if context.divergence(&key).is_some() {
            return Ok(None);
        }
        let runs = context.trained(&key)?;
        let (mut clean, mut drifted) = (Vec::new(), Vec::new());
        let mut lambda_max = Vec::new();
        for run in runs {
            let (layers, nm_per_kelvin) = (&spec.layers, spec.nm_per_kelvin);
            let sweep = Sweep { layers, nm_per_kelvin, kelvin: &[0.0, spec.kelvin] };
            let points = sweep.accuracies(
                (run.model.as_ref(), run.fc_activation),
                &run.chip,
                evaluator,
                &images,
            )?;
            clean.push(points[0]);
            drifted.push(points[1]);
            lambda_max.push(precise::lambda_max(
                &context.profile.methods[base],
                run,
                evaluator,
                &run.chip,
                &images.range(0, images.len().min(CURVED))?,
            )?);
        }
        Ok(Some(Reached { clean, drifted, lambda_max }))
    };
    spec.rho.iter().map(of).collect()
}

/// Small radii must agree with the smallest, large ones must fall; by how much is in the spec.
fn judge(spec: &Sensitivity, view: &View, rows: &[Row], images: u64) -> Result<Vec<Case>> {
    let case = |what: &str, verdict, words| {
        let place = format!("{}, {what}", view.name);
        Case { place, verdict, words }
    };
    let Some(Some(Reached { clean: smallest, .. })) = rows.first() else {
        let words = format!("the training with rho {:e} diverged", spec.rho[0]);
        return Ok(vec![case("all rho", Verdict::NotTested, words)]);
    };
    let (mut small, mut large) = (Vec::new(), Vec::new());
    for (rho, row) in spec.rho.iter().zip(rows).skip(1) {
        let lost = match row {
            Some(Reached { clean, .. }) => Some(difference(smallest, clean, images)?.scaled(100.0)),
            None => None,
        };
        if *rho <= 1.0 {
            small.push((*rho, lost));
        } else if *rho >= 10.0 {
            large.push((*rho, lost));
        }
    }
    let words = |losses: &[(f64, Lost)]| {
        let words = losses.iter().map(|(rho, lost)| {
            let lost =
                lost.map_or_else(|| "diverged".to_owned(), |lost| points(&lost.scaled(0.01)));
            format!("{rho}: {lost}")
        });
        format!("lost at rho {}", words.collect::<Vec<_>>().join(", "))
    };
    let verdict =
        |losses: &[(f64, Lost)], yes: &dyn Fn(Lost) -> bool, no: &dyn Fn(Lost) -> bool| {
            if losses.is_empty() {
                Verdict::NotTested
            } else if losses.iter().all(|(_, lost)| yes(*lost)) {
                Verdict::Holds
            } else if losses.iter().any(|(_, lost)| no(*lost)) {
                Verdict::DoesNotHold
            } else {
                Verdict::Undecided
            }
        };
    let (most, least) = (spec.small_loses_at_most, spec.large_loses_at_least);
    let of_small = verdict(&small, &|lost| lost.is_some_and(|lost| lost.high <= most), &|lost| {
        lost.is_none_or(|lost| lost.low > most)
    });
    let of_large = verdict(&large, &|lost| lost.is_none_or(|lost| lost.low >= least), &|lost| {
        lost.is_some_and(|lost| lost.high < least)
    });
    Ok(vec![
        case("rho up to 1", of_small, words(&small)),
        case("rho from 10 on", of_large, words(&large)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verdicts for small and large radii, from the clean accuracies at rho 1e-32, 0.1 and 10.
    fn verdicts(clean: [&[f64]; 3]) -> Vec<Verdict> {
        let spec = Sensitivity {
            rho: vec![1e-32, 0.1, 10.0],
            layers: vec!["fc2".into()],
            nm_per_kelvin: 0.08,
            kelvin: -1.0,
            small_loses_at_most: 1.5,
            large_loses_at_least: 5.0,
            paper: Vec::new(),
        };
        let view = View {
            name: "view".into(),
            batch_norm: pnn_eval::BatchNormMode::Running,
            images: None,
        };
        let row = |clean: &[f64]| {
            (!clean.is_empty()).then(|| Reached {
                clean: clean.to_vec(),
                drifted: clean.to_vec(),
                lambda_max: vec![1.0; clean.len()],
            })
        };
        let cases = judge(&spec, &view, &clean.map(row), 10_000).unwrap();
        cases.iter().map(|case| case.verdict).collect()
    }

    #[test]
    fn small_radii_must_agree_and_large_ones_fall_for_sure() {
        use Verdict::{DoesNotHold, Holds, NotTested, Undecided};
        let none = &[99.0, 98.9, 99.1][..];
        assert_eq!(verdicts([none, &[98.8, 98.7, 98.9], &[80.0, 70.0, 75.0]]), [Holds, Holds]);
        assert_eq!(verdicts([none, none, &[]]), [Holds, Holds]);
        assert_eq!(verdicts([none, &[], none]), [DoesNotHold, DoesNotHold]);
        assert_eq!(verdicts([none, &[90.0, 91.0, 90.5], none]), [DoesNotHold, DoesNotHold]);
        assert_eq!(verdicts([none, &[98.8, 95.0, 98.9], &[98.0, 60.0, 97.0]]), [Undecided; 2]);
        assert_eq!(verdicts([&[], none, none]), [NotTested]);
    }
}
