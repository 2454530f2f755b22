//! What to expect of a chip: accuracy, tolerance and power.

use pnn_core::Chip;
use pnn_eval::plot::{Axis, Histogram, LineSeries, bin_edges, histogram_chart, line_chart};
use pnn_eval::{BatchNormMode, Cell, Column, Interval, Section, Table};

use super::{CALIBRATION, Deployment};
use crate::error::Result;
use crate::heaters::{Heaters, SYMBOLS, SetAnew};
use crate::progress::Progress;

/// Kelvin, either way, that tolerance is looked for in, in steps of [`STEP`].
const FARTHEST: f64 = 3.0;
const STEP: f64 = 0.25;
/// Multiples of the spread that tolerance is looked for in, and chips for each.
const SPREADS: [f64; 7] = [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0];
const CHIPS: u64 = 8;

/// Of how many of the ways tolerance is looked for: the first.
const TOLERATED: usize = 4;

/// What is done on a chip: whether its heaters are set anew, and how its outputs are read.
const WAYS: [(&str, bool, BatchNormMode); 5] = [
    ("as trained", false, BatchNormMode::Running),
    ("recalibrated, biases trimmed", false, BatchNormMode::Trimmed(CALIBRATION)),
    ("heaters set anew", true, BatchNormMode::Running),
    ("heaters set anew, recalibrated, biases trimmed", true, BatchNormMode::Trimmed(CALIBRATION)),
    ("batch-norm recalibrated", false, BatchNormMode::Recalibrated(CALIBRATION)),
];

pub(super) fn accuracy(
    deployment: &Deployment,
    chips: &[Chip; 2],
    about: String,
) -> Result<(Section, String)> {
    let celsius = &deployment.spec.celsius;
    let mut columns =
        vec![Column::text("on the chip"), Column::percent_interval("the model itself", 1)];
    columns.extend(celsius.iter().map(|at| Column::percent_interval(format!("{at} C"), 1)));
    let mut table =
        Table::new("Expected accuracy, Wilson's interval at 95 % over the images", columns)?;
    let mut series = Vec::new();
    let mut progress = Progress::new("temperatures", (WAYS.len() * celsius.len()) as u64);
    let mut words = Vec::new();
    let model = deployment.evaluate(BatchNormMode::Running, &Chip::ideal())?.accuracy(0.95)?;
    for (done, (name, anew, mode)) in WAYS.into_iter().enumerate() {
        let set = &chips[usize::from(anew)];
        let mut line = vec![Cell::from(name), Cell::Interval(model)];
        let mut points: Vec<(f64, Interval)> = Vec::new();
        for (step, at) in celsius.iter().enumerate() {
            progress.at((done * celsius.len() + step) as u64, &format!("{name}, {at} C"));
            let kelvin = at - deployment.spec.calibrated_at;
            let chip = deployment.drifted(set, kelvin)?;
            let accuracy = deployment.evaluate(mode, &chip)?.accuracy(0.95)?;
            line.push(Cell::Interval(accuracy));
            points.push((*at, accuracy.scaled(100.0)));
        }
        let worst = points.iter().map(|point| point.1.estimate).fold(f64::INFINITY, f64::min);
        words.push(format!("{worst:.1} % {name}"));
        series.push(LineSeries::from_intervals(name, points));
        table.push(line)?;
    }
    progress.finish("temperatures: done");
    let x = Axis::linear("temperature").unit("C");
    let y = Axis::linear("accuracy").unit("%").range(0.0, 100.0);
    let svg = line_chart("Accuracy on the chip", &x, &y, &series)?;
    let first = celsius.first().copied().unwrap_or_default();
    let last = celsius.last().copied().unwrap_or_default();
    let headline = format!(
        "**Accuracy** at the worst temperature from {first} to {last} C: {}.",
        words.join(", ")
    );
    let section = Section::new("Accuracy")
        .paragraph(about)
        .paragraph(format!(
            "Heaters that are set anew have the weights of the model on this chip, for which every ring was measured at {} C (Newton's method under crosstalk). Recalibration takes {CALIBRATION} unlabelled images on the chip at each temperature: batch-norm gathers its statistics anew, and the biases of the last layer move \
             until its mean outputs are those of the model.",
            deployment.spec.calibrated_at
        ))
        .figure(svg, "With its 95 % interval over the images.")
        .table(table);
    Ok((section, headline))
}

/// The farthest of some steps up to which, without a gap, accuracy stays above a limit; none if it is the first, which is no step.
fn reach(steps: &[(f64, f64)], limit: f64) -> Option<f64> {
    let stays = steps.iter().take_while(|(_, percent)| *percent >= limit);
    stays.map(|(step, _)| *step).last().filter(|step| *step != 0.0)
}

/// How far that is in words: the first step was too much, or none of those tried.
fn reached(value: Option<f64>, first: f64, farthest: f64) -> String {
    match value {
        None => format!("less than {first}"),
        Some(value) if value >= farthest => format!("at least {value}"),
        Some(value) => format!("{value}"),
    }
}

pub(super) fn tolerance(
    deployment: &Deployment,
    chips: &[Chip; 2],
    allowed: f64,
) -> Result<(Section, String)> {
    let (mut table, mut series) = (
        Table::new(
            format!("How far the accuracy stays within {allowed} percent points"),
            vec![
                Column::text("on the chip"),
                Column::text("colder by (K)"),
                Column::text("warmer by (K)"),
                Column::text("spread (in that of the rings)"),
            ],
        )?,
        Vec::new(),
    );
    let mut words = Vec::new();
    let count = (FARTHEST / STEP) as i32;
    let each = (2 * count + 1) as u64 + SPREADS.len() as u64 * CHIPS;
    let mut progress = Progress::new("tolerance", TOLERATED as u64 * each);
    let mut done = 0;
    let model = deployment.evaluate(BatchNormMode::Running, &Chip::ideal())?.percent();
    for (name, anew, mode) in WAYS.into_iter().take(TOLERATED) {
        let set = &chips[usize::from(anew)];
        let mut points = Vec::new();
        for step in -count..=count {
            progress.at(done, &format!("{name}, {:+} K", f64::from(step) * STEP));
            let kelvin = f64::from(step) * STEP;
            let chip = deployment.drifted(set, kelvin)?;
            points.push((kelvin, deployment.evaluate(mode, &chip)?.percent()));
            done += 1;
        }
        let middle = count as usize;
        let limit = points[middle].1 - allowed;
        let warmer = reach(&points[middle..], limit);
        let back: Vec<(f64, f64)> = points[..=middle].iter().rev().copied().collect();
        let colder = reach(&back, limit).map(f64::abs);
        let mut spreads = Vec::new();
        for spread in SPREADS {
            let mut sum = 0.0;
            for chip in 0..CHIPS {
                progress.at(done, &format!("{name}, {spread} times the spread"));
                let chip = deployment.chip(chip, spread)?;
                let found =
                    anew.then(|| deployment.banks.calibrated(deployment.model.as_ref(), &chip));
                let chip = deployment.set(&chip, found.transpose()?.as_ref())?;
                sum += deployment.evaluate(mode, &chip)?.percent();
                done += 1;
            }
            spreads.push((spread, sum / CHIPS as f64));
        }
        let spread = reach(&spreads, model - allowed);
        let found = [
            reached(colder, STEP, FARTHEST),
            reached(warmer, STEP, FARTHEST),
            reached(spread, SPREADS[1], SPREADS[SPREADS.len() - 1]),
        ];
        let [colder, warmer, spread] = &found;
        words.push(format!(
            "{name} {colder} K colder, {warmer} K warmer, {spread} times the spread"
        ));
        table.push(std::iter::once(name.to_owned()).chain(found).map(Cell::Text).collect())?;
        series.push(LineSeries::new(name, points));
    }
    progress.finish("tolerance: done");
    let x = Axis::linear("temperature less that of the settings").unit("K");
    let y = Axis::linear("accuracy").unit("%").range(0.0, 100.0);
    let svg = line_chart("Drift on the chip", &x, &y, &series)?;
    let section = Section::new("Tolerance")
        .paragraph(format!(
            "Drift: on this chip, from its accuracy without drift, in steps of {STEP} K to {FARTHEST} K. Spread: the mean of {CHIPS} chips against the model itself, \
             at multiples {SPREADS:?} of the spread of resonances and widths (crosstalk always differs as it does; these chips are drawn, whichever this one is)."
        ))
        .figure(svg, "Accuracy over drift.")
        .table(table);
    Ok((section, format!("**Tolerance** of {allowed} points: {}.", words.join("; "))))
}

pub(super) fn power(deployment: &Deployment, anew: &SetAnew) -> Result<(Section, String)> {
    let bank = deployment.recipe.ring_chip.bank;
    let (mut watt, mut rings) = (0.0, 0);
    let mut table = Table::new(
        "Heaters",
        vec![
            Column::text("layer"),
            Column::number("rings", 0),
            Column::number("mW for each", 3),
            Column::number("W", 3),
            Column::number("W, set anew", 3),
        ],
    )?;
    let heaters = Heaters::of(deployment.model.as_ref(), bank.resistance_ohm)?;
    let anew = Heaters::of(deployment.with(Some(anew))?.as_ref(), bank.resistance_ohm)?;
    for ((layer, part), (_, anew)) in heaters.layers.iter().zip(&anew.layers) {
        let count = part.len() as f64;
        let power = part.iter().sum::<f64>();
        let cells = [count, 1e3 * power / count, power, anew.iter().sum()].map(Cell::Number);
        table.push(std::iter::once(Cell::Text(layer.clone())).chain(cells).collect())?;
        watt += power;
        rings += part.len();
    }
    let joule = watt * SYMBOLS / (1e9 * deployment.spec.gigabaud);
    let low = heaters.settings.iter().copied().fold(f64::INFINITY, f64::min);
    let high = heaters.settings.iter().copied().fold(low + 1e-9, f64::max);
    let edges = bin_edges(low, high, 40);
    let bars = Histogram::fractions("all layers", &heaters.settings, &edges)?;
    let x = Axis::linear("heater setting").unit(heaters.unit);
    let y = Axis::linear("share of rings");
    let svg = histogram_chart("What heaters are set to", &x, &y, &edges, &[bars])?;
    let section = Section::new("Power")
        .paragraph(format!(
            "I^2 R of all heaters at once, {} ohm each. The energy of an image is that power for {SYMBOLS} symbols at {} GBd, one for each position of a convolution and each \
             fully connected layer, one after the other while all heaters are on: a model, in which lasers, modulators, detectors, converters and the holding of temperature take nothing.",
            bank.resistance_ohm, deployment.spec.gigabaud
        ))
        .figure(svg, "Of all rings.")
        .table(table);
    let headline = format!(
        "**Power** of {rings} heaters: {watt:.1} W ({:.1} set anew), {:.2} uJ for an image at {} GBd (heaters alone).",
        anew.watt(),
        1e6 * joule,
        deployment.spec.gigabaud
    );
    Ok((section, headline))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerance_ends_at_the_first_loss() {
        let steps = [(0.0, 97.0), (0.5, 93.0), (1.0, 91.9), (1.5, 96.0)];
        assert_eq!(reach(&steps, 92.0), Some(0.5));
        assert_eq!(reach(&steps, 90.0), Some(1.5));
        assert_eq!((reach(&steps, 98.0), reach(&steps[..2], 95.0)), (None, None));
        let words = [None, Some(0.5), Some(3.0)].map(|value| reached(value, 0.25, 3.0));
        assert_eq!(words, ["less than 0.25", "0.5", "at least 3"]);
    }
}
