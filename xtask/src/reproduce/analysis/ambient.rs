//! Chips of heated rings at several temperatures: accuracy, yield and power.

use std::collections::BTreeSet;

use pnn_core::{Chip, Seed};
use pnn_eval::plot::{Axis, Histogram, LineSeries, bin_edges, histogram_chart, line_chart};
use pnn_eval::{Cell, Column, Interval, Table};

use super::compare::{over_chips, over_seeds};
use super::judged::{Judged, contest};
use super::transfer::{good, yielded};
use super::{Context, Figures, Findings};
use crate::error::{Error, Result};
use crate::heaters::{Banks, Heaters, SYMBOLS, TOLERANCE};
use crate::reproduce::config::{Ambient, Plan, View};
use crate::reproduce::front::Deployed;
use crate::reproduce::measured::RingSpread;
use crate::reproduce::training::Trained;

/// What is looked at: how outputs are read, and whether heaters are set anew for each chip.
#[derive(Clone, Copy)]
struct Place<'a> {
    view: &'a View,
    anew: bool,
}

impl Place<'_> {
    fn name(&self) -> String {
        let heaters =
            if self.anew { "heaters set anew for the chip" } else { "heaters as trained" };
        format!("{heaters}, {}", self.view.name)
    }
}

/// A method's accuracies in percent.
#[derive(Clone)]
struct Row {
    key: String,
    /// Of the chip that the model is.
    model: Vec<f64>,
    /// By temperature, seed and chip.
    at: Vec<Vec<Vec<f64>>>,
}

impl Row {
    /// What `of` makes of a chip's accuracies at all temperatures, by seed and chip.
    fn each(&self, of: impl Fn(&mut dyn Iterator<Item = f64>) -> f64) -> Vec<Vec<f64>> {
        let seeds = self.at.first().map_or(&[][..], |at| &at[..]);
        let chip = |s: usize, c: usize| of(&mut self.at.iter().map(|at| at[s][c]));
        let of_seed =
            |(s, chips): (usize, &Vec<f64>)| (0..chips.len()).map(|c| chip(s, c)).collect();
        seeds.iter().enumerate().map(of_seed).collect()
    }

    /// The mean over all temperatures but that of the calibration.
    fn mean(&self, spec: &Ambient) -> Vec<Vec<f64>> {
        let others = || spec.celsius.iter().map(|celsius| *celsius != spec.calibrated_at);
        let count = others().filter(|other| *other).count() as f64;
        let sum = |chip: &mut dyn Iterator<Item = f64>| -> f64 {
            chip.zip(others()).filter(|(_, other)| *other).map(|(percent, _)| percent).sum()
        };
        self.each(|chip| sum(chip) / count)
    }

    /// At the worst temperature.
    fn worst(&self) -> Vec<Vec<f64>> {
        self.each(|chip| chip.fold(f64::INFINITY, f64::min))
    }
}

pub(super) fn analyse(spec: &Ambient, plan: &Plan, context: &Context<'_>) -> Result<Findings> {
    let (mut tables, mut figures, mut judged) = (Vec::new(), Vec::new(), Vec::new());
    let places = plan.views.iter().flat_map(|view| [false, true].map(|anew| Place { view, anew }));
    let places: Vec<_> = places.collect();
    let mut by_place: Vec<Vec<Row>> = places.iter().map(|_| Vec::new()).collect();
    let mut unreached = Vec::new();
    for key in &plan.methods {
        eprintln!("  {}", context.label(key));
        let (rows, share) = rows(key, spec, plan, &places, context)?;
        by_place.iter_mut().zip(rows).for_each(|(all, row)| all.push(row));
        unreached.push(share);
    }
    for (place, rows) in places.into_iter().zip(by_place) {
        let images = context.images(place.view)?.len() as u64;
        tables.push(table(spec, place, &rows, images, context)?);
        figures.extend(pictures(spec, place, &rows, images, context)?);
        for pair in spec.contests.iter().filter(|pair| context.runs(pair)) {
            let of = |key: &str| {
                let row = rows.iter().find(|row| row.key == key);
                row.map(|row| row.mean(spec))
            };
            let (above, below) = (of(&pair.better), of(&pair.worse));
            judged.push(contest(
                (&context.label(&pair.better), above.as_deref()),
                (&context.label(&pair.worse), below.as_deref()),
                &place.name(),
                images,
            )?);
        }
    }
    tables.push(powers(spec, plan, &unreached, context)?);
    figures.push(settings(plan, context)?);
    let paragraphs = vec![
        about(spec, plan, context)?,
        spec.knowledge.clone(),
        context.about_intervals(&plan.methods),
    ];
    Ok(Findings { judged: Judged::of(judged), paragraphs, figures, tables, details: Vec::new() })
}

fn about(spec: &Ambient, plan: &Plan, context: &Context<'_>) -> Result<String> {
    let RingSpread { half_widths, widths, source } = &spec.spread(context.measured);
    let first = plan.methods.first();
    let first = first.ok_or_else(|| Error::Usage("the plan has no methods".into()))?;
    let chip = context.profile.methods[first].recipe.ring_chip;
    let crosstalk = if chip.bank.channels > 1 {
        format!(
            "A heater gives its nearest neighbours {} of its heat as training knows, and on a chip more or less than that by N(0, {}^2).",
            chip.crosstalk, spec.crosstalk_std
        )
    } else {
        String::new()
    };
    Ok(format!(
        "{} chips, the same for all methods and seeds. Resonances spread by {half_widths:.2} half-widths, {:.3} nm, and their widths by {:.0} % ({source}), in all layers; resonances move \
         by {} nm/K, all alike; the settings were made for {} C, those set anew for the spread and crosstalk of each chip, as measured there. Means, which the cases compare, are over all of these temperatures but that. {} rings share a waveguide. {crosstalk} A chip is good from {} % on.",
        plan.chips.unwrap_or(0),
        spec.spread(context.measured).nm(&chip)?,
        100.0 * widths,
        spec.nm_per_kelvin,
        spec.calibrated_at,
        chip.bank.channels,
        spec.good_from
    ))
}

/// A method's accuracies at each place, and the share of waveguides on which setting heaters anew leaves some weight
/// out of reach, over all seeds and chips.
fn rows(
    key: &str,
    spec: &Ambient,
    plan: &Plan,
    places: &[Place<'_>],
    context: &Context<'_>,
) -> Result<(Vec<Row>, f64)> {
    let chips = plan.chips.ok_or_else(|| Error::Usage("the plan says no chips".into()))? as u64;
    let seed = Seed::new(0).child("ambient");
    let chip = &context.profile.methods[key].recipe.ring_chip;
    let drawn = spec.noise(&spec.spread(context.measured), chip, 1.0)?;
    let at = vec![Vec::new(); spec.celsius.len()];
    let row = Row { key: key.to_owned(), model: Vec::new(), at };
    let mut rows = vec![row; places.len()];
    let banks = Banks::of(chip)?;
    let mut unreached = Vec::new();
    for run in context.trained(key)? {
        let layers = run.model.physical_layers();
        let as_trained = (0..chips).map(|chip| drawn.draw(&layers, 1, &seed.index(chip)));
        let as_trained: Vec<Chip> = as_trained.collect::<pnn_noise::Result<_>>()?;
        let mut anew = Vec::new();
        for chip in &as_trained {
            let found = banks.calibrated(run.model.as_ref(), chip)?;
            anew.push(found.on(run.model.as_ref(), chip)?);
            unreached.push(found.unreached);
        }
        for (row, place) in rows.iter_mut().zip(places) {
            let images = context.images(place.view)?;
            let evaluator = context.evaluator(place.view, run.normalisation);
            let deployed =
                Deployed::new(run.model.as_ref(), run.fc_activation, evaluator, &images)?;
            row.model.push(deployed.percent(&run.chip)?);
            let chips = if place.anew { &anew } else { &as_trained };
            for (at, celsius) in row.at.iter_mut().zip(&spec.celsius) {
                let drift = spec.drift(celsius - spec.calibrated_at)?.draw(&layers, 1, &seed)?;
                let on = |chip: &Chip| deployed.percent(&chip.plus(&drift)?);
                at.push(chips.iter().map(on).collect::<Result<Vec<_>>>()?);
            }
        }
    }
    let share = unreached.iter().sum::<f64>() / unreached.len() as f64;
    Ok((rows, share))
}

fn table(
    spec: &Ambient,
    place: Place<'_>,
    rows: &[Row],
    images: u64,
    context: &Context<'_>,
) -> Result<Table> {
    let mut columns = vec![
        Column::text("method"),
        Column::percent_interval("the model itself", 2),
        Column::percent_interval(format!("mean of all but {} C", spec.calibrated_at), 2),
    ];
    columns.extend(spec.celsius.iter().map(|at| Column::percent_interval(format!("{at} C"), 2)));
    let good = format!("chips with {} % at every temperature", spec.good_from);
    columns.push(Column::percent_interval(good, 0));
    let caption = format!("{} ({}), {images} images", place.name(), place.view.batch_norm);
    let mut table = Table::new(caption, columns)?;
    for row in rows {
        let mut line = vec![
            Cell::Text(context.label(&row.key)),
            Cell::Interval(over_seeds(&row.model, images)?),
            Cell::Interval(over_chips(&row.mean(spec), images)?),
        ];
        for at in &row.at {
            line.push(Cell::Interval(over_chips(at, images)?));
        }
        line.push(Cell::Interval(yielded(spec.good_from, &row.worst())?));
        table.push(line)?;
    }
    Ok(table)
}

/// Accuracy and yield over temperature.
fn pictures(
    spec: &Ambient,
    place: Place<'_>,
    rows: &[Row],
    images: u64,
    context: &Context<'_>,
) -> Result<Figures> {
    let (mut accuracies, mut yields) = (Vec::new(), Vec::new());
    for row in rows {
        let label = context.label(&row.key);
        let at = spec.celsius.iter().zip(&row.at);
        let points = at.clone().map(|(celsius, at)| Ok((*celsius, over_chips(at, images)?)));
        let points = points.collect::<Result<Vec<(f64, Interval)>>>()?;
        let percent = points.iter().map(|(celsius, interval)| (*celsius, interval.scaled(100.0)));
        accuracies.push(LineSeries::from_intervals(&label, percent));
        let points = at.map(|(celsius, at)| (*celsius, 100.0 * good(spec.good_from, at)));
        yields.push(LineSeries::new(label, points));
    }
    let x = Axis::linear("temperature").unit("C");
    let y = Axis::linear("accuracy").unit("%").range(0.0, 100.0);
    let title = format!("Deployed: {}", place.name());
    let accuracy = line_chart(&title, &x, &y, &accuracies)?;
    let y = Axis::linear(format!("chips with at least {} %", spec.good_from)).unit("%");
    let title = format!("Yield: {}", place.name());
    let yields = line_chart(&title, &x, &y.range(0.0, 100.0), &yields)?;
    let of = format!("over seeds and chips, {}.", place.view.batch_norm);
    Ok(vec![
        (accuracy, format!("Mean accuracy with its 95 % interval, {of}")),
        (yields, format!("The share of chips that are good, {of}")),
    ])
}

fn heaters(run: &Trained, key: &str, context: &Context<'_>) -> Result<Heaters> {
    let chip = context.profile.methods[key].recipe.ring_chip;
    Heaters::of(run.model.as_ref(), chip.bank.resistance_ohm)
}

fn powers(spec: &Ambient, plan: &Plan, unreached: &[f64], context: &Context<'_>) -> Result<Table> {
    let mut table = Table::new(
        format!(
            "Heaters, mean over seeds: I^2 R of all rings at once, and its energy for an image in {SYMBOLS} symbols at {} GBd, one for each position of a \
             convolution and each fully connected layer. Lasers, modulators, detectors, converters and the holding of temperature are not in it. The last \
             column: waveguides on which heaters set anew for a chip leave some weight off by more than {TOLERANCE}",
            spec.gigabaud
        ),
        vec![
            Column::text("method"),
            Column::number("rings", 0),
            Column::number("mW for each", 3),
            Column::number("W in all", 1),
            Column::number("uJ for an image", 2),
            Column::percent("waveguides with a weight out of reach", 2),
        ],
    )?;
    for (key, unreached) in plan.methods.iter().zip(unreached) {
        let runs = context.trained(key)?;
        let all = runs.iter().map(|run| heaters(run, key, context));
        let all = all.collect::<Result<Vec<_>>>()?;
        let watt = all.iter().map(|heaters| heaters.watt()).sum::<f64>() / all.len() as f64;
        let rings = all.first().map_or(0, |heaters| heaters.settings.len()) as f64;
        let joule = watt * SYMBOLS / (1e9 * spec.gigabaud);
        let numbers = [rings, 1e3 * watt / rings, watt, 1e6 * joule, *unreached];
        let line = std::iter::once(Cell::Text(context.label(key)));
        table.push(line.chain(numbers.map(Cell::Number)).collect())?;
    }
    Ok(table)
}

/// What is set, of the first seed.
fn settings(plan: &Plan, context: &Context<'_>) -> Result<(pnn_eval::Svg, String)> {
    let mut all = Vec::new();
    for key in &plan.methods {
        if let Some(run) = context.trained(key)?.first() {
            all.push((context.label(key), heaters(run, key, context)?));
        }
    }
    let unit = all.first().map_or("mA", |(_, heaters)| heaters.unit);
    let values = || all.iter().flat_map(|(_, heaters)| heaters.settings.iter().copied());
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(f64::NEG_INFINITY, f64::max).max(low + 1e-9);
    let edges = bin_edges(low, high, 40);
    let series = all.iter();
    let series =
        series.map(|(label, heaters)| Histogram::fractions(label, &heaters.settings, &edges));
    let series = series.collect::<pnn_eval::Result<Vec<_>>>()?;
    let x = Axis::linear("heater setting").unit(unit);
    let y = Axis::linear("share of rings");
    let svg = histogram_chart("What heaters are set to", &x, &y, &edges, &series)?;
    let at: BTreeSet<String> = plan
        .methods
        .iter()
        .map(|key| {
            context.profile.methods[key].recipe.ring_chip.bank.resonance_milliamp.to_string()
        })
        .collect();
    let at = at.into_iter().collect::<Vec<_>>().join(" or ");
    let words = format!(
        "Of all layers, first seed. A ring that is heated alone is on resonance with its laser at {at} mA; less current leaves its resonance at shorter wavelengths than the laser's."
    );
    Ok((svg, words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reproduce::config::{Analysis, Catalogue, default_folder};
    use pnn_train::RingChip;

    /// A room that warms up by a kelvin moves resonances by 0.08 nm to the side that heat moves them to.
    #[test]
    fn a_warmer_room_lowers_detunings() {
        let catalogue = Catalogue::load(&default_folder()).unwrap();
        let Analysis::Ambient(spec) = &catalogue.experiments["deployed-ring"].analysis else {
            panic!("another analysis")
        };
        let model = pnn_train::LeNet5::new(
            &RingChip::default(),
            pnn_train::FcActivation::Relu,
            &Seed::new(0),
            pnn_core::DType::F32,
        );
        let model = model.unwrap();
        let layers = pnn_core::Model::physical_layers(&model);
        let chip = spec.drift(1.0).unwrap().draw(&layers, 1, &Seed::new(0)).unwrap();
        let shift = chip.layer("fc1").unwrap().get(pnn_devices::mrr::RESONANCE_SHIFT_NM).unwrap();
        assert!((shift.to_scalar::<f64>().unwrap() + 0.08).abs() < 1e-12);
    }

    #[test]
    fn a_chip_is_as_good_as_at_its_worst_temperature() {
        let at = vec![vec![vec![90.0, 96.0], vec![97.0, 98.0]], vec![vec![100.0, 40.0]; 2]];
        let row = Row { key: "a".into(), model: vec![99.0; 2], at };
        assert_eq!(row.worst(), [[90.0, 40.0], [97.0, 40.0]]);
        let catalogue = Catalogue::load(&default_folder()).unwrap();
        let Analysis::Ambient(spec) = &catalogue.experiments["deployed-ring"].analysis else {
            panic!("another analysis")
        };
        let spec = Ambient { celsius: vec![22.0, 23.0], ..spec.clone() };
        assert_eq!(row.mean(&spec), [[100.0, 40.0], [100.0, 40.0]]);
        assert_eq!(good(95.0, &row.worst()), 0.25);
    }
}
