//! Networks moved to chips that their training never saw, over a grid of fabrication errors (Fig. 4d),
//! with the share of chips on which they are good.

use pnn_core::{Chip, Seed};
use pnn_eval::plot::{Axis, Heatmap, LineSeries, heatmap, line_chart};
use pnn_eval::{Cell, Column, Interval, Svg, Table, Verdict};
use pnn_noise::{Noise, NoiseModel, Source};

use super::compare::{chips_difference, means, over_chips, percent, points};
use super::judged::{Case, Judged, contest};
use super::{Context, Findings};
use crate::error::{Error, Result};
use crate::reproduce::config::{Plan, Transfer, View};
use crate::reproduce::front::Deployed;

/// A method's accuracies in percent.
struct Row {
    key: String,
    label: String,
    /// On the fixed chip, by seed.
    fixed: Vec<f64>,
    /// By phase error, splitter error, seed and chip.
    grid: Vec<Vec<Vec<Vec<f64>>>>,
}

pub(super) fn analyse(spec: &Transfer, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let chips = plan.chips.ok_or_else(|| Error::Usage("the plan says no chips".into()))?;
    let (mut figures, mut tables, mut details) = (Vec::new(), Vec::new(), Vec::new());
    let mut judged = Vec::new();
    for view in &plan.views {
        let images = context.images(view)?.len() as u64;
        let mut rows = Vec::new();
        for key in &plan.methods {
            eprintln!("  {}: {}", view.name, context.label(key));
            rows.push(row(key, spec, chips as u64, view, context)?);
        }
        for row in &rows {
            figures.push((picture(spec, view, row)?, caption(row, chips, view)));
        }
        figures.push(yields(spec, view, &rows, chips)?);
        tables.push(summary(spec, view, &rows, images)?);
        for row in &rows {
            details.push(whole(spec, view, row, images)?);
        }
        judged.extend(verdicts(spec, view, &rows, images, context)?);
    }
    let mut paragraphs = vec![
        format!(
            "Each cell has {chips} chips of its own, the same for all methods and seeds; splitter errors of 1 and more are drawn \
             again. The fixed chip, which methods in situ had in their loop, is {}.",
            context.fixed.name
        ),
        context.about_intervals(&plan.methods),
    ];
    paragraphs
        .extend(spec.paper_source.as_ref().map(|source| format!("Paper's numbers: {source}.")));
    Ok(Findings { judged: Judged::of(judged), paragraphs, figures, tables, details })
}

/// What chips of a cell are drawn from.
fn noise(phase: f64, splitter: f64) -> Result<NoiseModel> {
    let sources = [Source::Phase { std_rad: phase }, Source::splitter(splitter)];
    Ok(NoiseModel::new(sources.map(|source| Noise { source, layers: None }).to_vec())?)
}

fn row(key: &str, spec: &Transfer, chips: u64, view: &View, context: &Context<'_>) -> Result<Row> {
    let images = context.images(view)?;
    let mut fixed = Vec::new();
    let mut grid = vec![vec![Vec::new(); spec.splitter_std.len()]; spec.phase_std.len()];
    for run in context.trained(key)? {
        let evaluator = context.evaluator(view, run.normalisation);
        let deployed = Deployed::new(run.model.as_ref(), run.fc_activation, evaluator, &images)?;
        fixed.push(deployed.percent(&context.fixed.chip)?);
        let layers = run.model.physical_layers();
        for (i, phase) in spec.phase_std.iter().enumerate() {
            for (j, splitter) in spec.splitter_std.iter().enumerate() {
                let noise = noise(*phase, *splitter)?;
                let seed = Seed::new(0).child("transfer").index(i as u64).index(j as u64);
                let on = |chip: u64| -> Result<f64> {
                    let drawn: Chip = noise.draw(&layers, 1, &seed.index(chip))?;
                    deployed.percent(&drawn)
                };
                // Without errors all chips are the ideal one.
                grid[i][j].push(if *phase == 0.0 && *splitter == 0.0 {
                    vec![deployed.percent(&Chip::ideal())?; chips as usize]
                } else {
                    (0..chips).map(on).collect::<Result<Vec<_>>>()?
                });
            }
        }
    }
    Ok(Row { key: key.to_owned(), label: context.label(key), fixed, grid })
}

fn mean(cell: &[Vec<f64>]) -> f64 {
    means(cell).iter().sum::<f64>() / cell.len() as f64
}

/// The mean over all cells, by seed and chip: chip 3 is the third of each cell, the same for all
/// methods.
fn averaged(row: &Row) -> Vec<Vec<f64>> {
    let cells: Vec<_> = row.grid.iter().flatten().collect();
    let mean = |seed: usize, chip: usize| {
        cells.iter().map(|cell| cell[seed][chip]).sum::<f64>() / cells.len() as f64
    };
    let seeds = cells.first().map_or(&[][..], |cell| &cell[..]);
    seeds
        .iter()
        .enumerate()
        .map(|(s, chips)| (0..chips.len()).map(|c| mean(s, c)).collect())
        .collect()
}

fn picture(spec: &Transfer, view: &View, row: &Row) -> Result<Svg> {
    let values = row.grid.iter().map(|line| line.iter().map(|cell| mean(cell)).collect());
    let title = format!("{}: {}", row.label, view.name);
    Ok(heatmap(
        &Heatmap::new(&title, values.collect(), "accuracy (%)", 1)
            .columns("splitting-ratio error (std)", spec.splitter_std.iter().map(f64::to_string))
            .rows("phase error (std, rad)", spec.phase_std.iter().map(f64::to_string)),
    )?)
}

fn caption(row: &Row, chips: usize, view: &View) -> String {
    format!(
        "{}: mean accuracy over seeds and {chips} chips a cell, {}.",
        row.label, view.batch_norm
    )
}

/// The share of good chips where both errors have the same standard deviation.
fn yields(spec: &Transfer, view: &View, rows: &[Row], chips: usize) -> Result<(Svg, String)> {
    let mut lines = Vec::new();
    for row in rows {
        let mut points = Vec::new();
        for (i, phase) in spec.phase_std.iter().enumerate() {
            if let Some(j) = spec.splitter_std.iter().position(|splitter| splitter == phase) {
                points.push((*phase, 100.0 * good(spec.good_from, &row.grid[i][j])));
            }
        }
        lines.push(LineSeries::new(&row.label, points));
    }
    let x = Axis::linear("both errors (std, rad and 1)");
    let y = Axis::linear(format!("chips with at least {} %", spec.good_from)).unit("%");
    let y = y.range(0.0, 100.0);
    let caption = format!(
        "Yield: the share of {chips} chips, over seeds, on which the network has at least {} %, {}.",
        spec.good_from, view.batch_norm
    );
    Ok((line_chart(&format!("Yield: {}", view.name), &x, &y, &lines)?, caption))
}

/// The share of chips and seeds with an accuracy (in percent) that is good enough.
pub(super) fn good(good_from: f64, cell: &[Vec<f64>]) -> f64 {
    let all: Vec<&f64> = cell.iter().flatten().collect();
    all.iter().filter(|percent| ***percent >= good_from).count() as f64 / all.len() as f64
}

/// [`good`], over seeds and chips; seeds share the chips and make them no more.
pub(super) fn yielded(good_from: f64, cell: &[Vec<f64>]) -> Result<Interval> {
    let passes = |percent: &f64| if *percent >= good_from { 100.0 } else { 0.0 };
    let passed: Vec<Vec<f64>> =
        cell.iter().map(|chips| chips.iter().map(passes).collect()).collect();
    over_chips(&passed, cell.first().map_or(0, Vec::len) as u64)
}

/// The place in the grid where methods are compared.
fn judged_place(spec: &Transfer) -> Result<(usize, usize)> {
    let place = |values: &[f64], value: f64| {
        let unlisted = || Error::Usage(format!("judged_at has {value}, which is not in the grid"));
        values.iter().position(|v| *v == value).ok_or_else(unlisted)
    };
    let [phase, splitter] = spec.judged_at;
    Ok((place(&spec.phase_std, phase)?, place(&spec.splitter_std, splitter)?))
}

/// The methods in the cell where they are compared.
fn summary(spec: &Transfer, view: &View, rows: &[Row], images: u64) -> Result<Table> {
    let [phase, splitter] = spec.judged_at;
    let mut table = Table::new(
        format!(
            "Fresh chips with phase errors of {phase} rad and splitting-ratio errors of {splitter}: {} ({}), {images} images",
            view.name, view.batch_norm
        ),
        vec![
            Column::text("method"),
            Column::percent_interval("mean of fresh chips", 2),
            Column::percent("worst", 2),
            Column::percent("best", 2),
            Column::percent_interval(format!("chips with at least {} %", spec.good_from), 0),
            Column::percent_interval("on the fixed chip", 2),
            Column::percent("paper, mean of 5", 2),
        ],
    )?;
    let (i, j) = judged_place(spec)?;
    for row in rows {
        let cell = &row.grid[i][j];
        let all = || cell.iter().flatten().copied();
        let paper = spec.paper.iter().find(|paper| paper.method == row.key);
        table.push(vec![
            Cell::Text(row.label.clone()),
            Cell::Interval(over_chips(cell, images)?),
            Cell::Number(all().fold(f64::INFINITY, f64::min) / 100.0),
            Cell::Number(all().fold(f64::NEG_INFINITY, f64::max) / 100.0),
            Cell::Interval(yielded(spec.good_from, cell)?),
            Cell::Interval(super::compare::over_seeds(&row.fixed, images)?),
            paper.map_or(Cell::Missing, |paper| Cell::Number(paper.accuracy[i][j] / 100.0)),
        ])?;
    }
    Ok(table)
}

/// Every cell of a method, beside the paper's.
fn whole(spec: &Transfer, view: &View, row: &Row, images: u64) -> Result<Table> {
    let paper = spec.paper.iter().find(|paper| paper.method == row.key);
    let mut table = Table::new(
        format!("All cells of {}: {}", row.label, view.name),
        vec![
            Column::number("phase error (std, rad)", 2),
            Column::number("splitter error (std)", 2),
            Column::percent_interval("mean", 2),
            Column::percent("worst chip", 2),
            Column::percent(format!("chips with at least {} %", spec.good_from), 0),
            Column::percent("paper, mean of 5", 2),
        ],
    )?;
    for (i, phase) in spec.phase_std.iter().enumerate() {
        for (j, splitter) in spec.splitter_std.iter().enumerate() {
            let cell = &row.grid[i][j];
            let worst = cell.iter().flatten().copied().fold(f64::INFINITY, f64::min);
            table.push(vec![
                Cell::Number(*phase),
                Cell::Number(*splitter),
                Cell::Interval(over_chips(cell, images)?),
                Cell::Number(worst / 100.0),
                Cell::Number(good(spec.good_from, cell)),
                paper.map_or(Cell::Missing, |paper| Cell::Number(paper.accuracy[i][j] / 100.0)),
            ])?;
        }
    }
    Ok(table)
}

/// What is lost from the fixed chip to others.
fn lost(row: &Row, cell: &[Vec<f64>], images: u64) -> Result<Interval> {
    let fixed: Vec<Vec<f64>> =
        row.fixed.iter().zip(cell).map(|(fixed, chips)| vec![*fixed; chips.len()]).collect();
    chips_difference(&fixed, cell, images)
}

/// Whether the method keeps its accuracy on fresh chips, and the contests there.
fn verdicts(
    spec: &Transfer,
    view: &View,
    rows: &[Row],
    images: u64,
    context: &Context<'_>,
) -> Result<Vec<Case>> {
    let find = |key: &str| rows.iter().find(|row| row.key == key);
    let (i, j) = judged_place(spec)?;
    let mut cases = Vec::new();
    for keeps in spec.keeps.iter().filter(|k| context.profile.methods.contains_key(&k.method)) {
        let place = format!("{} moves to other chips, {}", context.label(&keeps.method), view.name);
        let Some(row) = find(&keeps.method) else {
            let words = "it was not run, or a training of it diverged".to_owned();
            cases.push(Case { place, verdict: Verdict::NotTested, words });
            continue;
        };
        let cell = &row.grid[i][j];
        let lost = lost(row, cell, images)?;
        let verdict = if 100.0 * lost.high <= keeps.within {
            Verdict::Holds
        } else if 100.0 * lost.low > keeps.within {
            Verdict::DoesNotHold
        } else {
            Verdict::Undecided
        };
        let words = format!(
            "{} on fresh chips, lost {}; up to {} are allowed",
            percent(&over_chips(cell, images)?),
            points(&lost),
            keeps.within
        );
        cases.push(Case { place, verdict, words });
    }
    for pair in spec.contests.iter().filter(|contest| context.runs(contest)) {
        let of = |key: &str| find(key).map(|row| &row.grid[i][j][..]);
        let labels = [&pair.better, &pair.worse].map(|key| context.label(key));
        let whole = |key: &str| find(key).map(averaged);
        let (better, worse) = (whole(&pair.better), whole(&pair.worse));
        for (place, better, worse) in [
            ("fresh chips", of(&pair.better), of(&pair.worse)),
            ("mean of all errors of the grid", better.as_deref(), worse.as_deref()),
        ] {
            let place = format!("{place}, {}", view.name);
            cases.push(contest((&labels[0], better), (&labels[1], worse), &place, images)?);
        }
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(fixed: [f64; 2], cell: [[f64; 3]; 2]) -> Row {
        let grid = vec![vec![cell.map(|chips| chips.to_vec()).to_vec()]];
        Row { key: "a".into(), label: "A".into(), fixed: fixed.to_vec(), grid }
    }

    fn spec() -> Transfer {
        serde_json::from_value(serde_json::json!({
            "phase_std": [0.1], "splitter_std": [0.2], "judged_at": [0.1, 0.2], "good_from": 95.0,
            "contests": [],
        }))
        .unwrap()
    }

    #[test]
    fn a_chip_is_good_from_the_limit_on() {
        let row = row([99.0, 98.0], [[95.0, 94.9, 97.0], [96.0, 20.0, 95.0]]);
        assert_eq!(good(95.0, &row.grid[0][0]), 4.0 / 6.0);
        assert!((mean(&row.grid[0][0]) - 82.983_333).abs() < 1e-6);
        assert_eq!(judged_place(&spec()).unwrap(), (0, 0));
        let elsewhere = Transfer { judged_at: [0.1, 0.3], ..spec() };
        assert!(judged_place(&elsewhere).unwrap_err().to_string().contains("0.3"));
    }

    /// Two seeds on the same three chips: 4 of 6, over the chips and the seeds.
    #[test]
    fn a_yield_is_of_seeds_and_chips() {
        let seeds = [[95.0, 94.9, 97.0], [96.0, 20.0, 95.0]].map(|chips| chips.to_vec());
        let got = yielded(95.0, &seeds).unwrap();
        assert!((got.estimate - 4.0 / 6.0).abs() < 1e-12, "{got}");
        let chips_alone = pnn_eval::interval::wilson(2, 3, 0.95).unwrap();
        assert!(got.low <= chips_alone.low && got.high >= chips_alone.high, "{got}");
        // None of twenty may still be a seventh of all.
        let none = yielded(95.0, &[vec![10.0; 20], vec![20.0; 20]]).unwrap();
        assert_eq!((none.estimate, none.low), (0.0, 0.0));
        assert!((none.high - 0.161).abs() < 1e-3, "{none}");
        // Seeds that disagree on every chip make the interval wide.
        let apart = yielded(95.0, &[vec![99.0; 20], vec![10.0; 20]]).unwrap();
        assert_eq!((apart.estimate, apart.low, apart.high), (0.5, 0.0, 1.0));
    }

    #[test]
    fn a_grid_is_averaged_for_each_seed_and_chip() {
        let cell = |first: f64| vec![vec![first, first + 1.0], vec![first + 2.0, first + 3.0]];
        let grid = vec![vec![cell(10.0), cell(20.0)], vec![cell(30.0), cell(80.0)]];
        let row = Row { key: "a".into(), label: "A".into(), fixed: vec![], grid };
        assert_eq!(averaged(&row), [[35.0, 36.0], [37.0, 38.0]]);
    }

    #[test]
    fn a_move_loses_what_the_fixed_chip_has_more() {
        let row = row([99.0, 98.0], [[96.0, 95.0, 97.0], [95.0, 94.0, 96.0]]);
        let lost = lost(&row, &row.grid[0][0], 10_000).unwrap();
        assert!(
            (lost.estimate - 0.03).abs() < 1e-12 && lost.low > 0.0 && lost.high > 0.03,
            "{lost}"
        );
    }
}
