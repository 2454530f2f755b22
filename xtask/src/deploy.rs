//! A trained network of heated rings on its way to a chip: settings for the lab, and what to expect of them.

use std::path::{Path, PathBuf};

use pnn_core::export::Settings;
use pnn_core::model::{Model, load_model_state};
use pnn_core::{Chip, DType, Seed, store};
use pnn_data::Dataset;
use pnn_devices::mrr::Ring;
use pnn_eval::plot::{Axis, Histogram, LineSeries, bin_edges, histogram_chart, line_chart};
use pnn_eval::{
    BatchNormMode, Cell, Column, Evaluation, Evaluator, Interval, Report, Section, Table,
};
use pnn_train::{Recipe, Trained};

use crate::error::{Error, Result};
use crate::heaters::{Banks, Heaters, SYMBOLS};
use crate::networks::Kept;
use crate::progress::Progress;
use crate::reproduce::config::{Ambient, Analysis, Catalogue, DataChoice, default_folder};
use crate::reproduce::data::Data;
use crate::reproduce::measured::MeasuredRings;
use crate::reproduce::provenance::commit;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The trained network: weights.safetensors of a run of `reproduce --only deployed-ring`
    #[arg(long)]
    network: PathBuf,
    /// Tuning curves of measured rings, as which the chip's resonances spread [default: the four of Xu et al. (2026)]
    #[arg(long, value_name = "CSV")]
    curves: Option<PathBuf>,
    /// Which of all chips that could be drawn
    #[arg(long, default_value_t = 0)]
    chip: u64,
    /// A chip that was measured instead, its deviations by layer and port (`fc1.resonance_shift_nm`)
    #[arg(long, value_name = "SAFETENSORS", conflicts_with = "chip")]
    deviations: Option<PathBuf>,
    /// Bits of the converters that set the heaters, 1 to 24
    #[arg(long, default_value_t = 12)]
    bits: u32,
    /// Percent points that drift or spread may cost
    #[arg(long, default_value_t = 5.0)]
    tolerance: f64,
    /// Images that accuracy is taken on
    #[arg(long, default_value_t = 1000)]
    images: usize,
    /// Folder of data sets [default: the embedded digits]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Folder for settings and report
    #[arg(long, default_value = "target/deploy")]
    out: PathBuf,
}

/// Calibration images of a chip.
const CALIBRATION: usize = 1000;
/// Kelvin, either way, that tolerance is looked for in, in steps of [`STEP`].
const FARTHEST: f64 = 3.0;
const STEP: f64 = 0.25;
/// Multiples of the spread that tolerance is looked for in, and chips for each.
const SPREADS: [f64; 7] = [0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0];
const CHIPS: u64 = 8;

/// A network, the images it is tried on, and what its chips are drawn from.
struct Deployment {
    model: Box<dyn Model>,
    recipe: Recipe,
    spec: Ambient,
    std_nm: f64,
    banks: Banks,
    images: Dataset,
    calibration: Dataset,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    if !(0.0..=100.0).contains(&args.tolerance) {
        let line = format!("--tolerance is {}, allowed is [0, 100]", args.tolerance);
        return Err(Error::Usage(line));
    }
    let (model, recipe) = network(&args.network)?;
    let spec = ambient()?;
    let measured = args.curves.as_deref().map(MeasuredRings::read).transpose()?;
    let (half_widths, source) = match &measured {
        Some(rings) => (rings.half_widths(), rings.name.clone()),
        None => (spec.spread_half_widths, spec.spread_source.clone()),
    };
    let ring = Ring::new(recipe.ring_chip.bank.ring)?;
    let std_nm = half_widths * 0.5 * ring.full_width_nm();
    let (data, _) = Data::load(DataChoice::Digits, args.data.as_ref())?;
    let there = data.test.len();
    if !(1..=there).contains(&args.images) {
        let line = format!("--images is {}, allowed is [1, {there}] of {}", args.images, data.name);
        return Err(Error::Usage(line));
    }
    let images = data.test.range(0, args.images)?;
    let calibration = data.train.range(0, CALIBRATION)?;
    let banks = Banks::of(&recipe.ring_chip)?;
    let deployment = Deployment { model, recipe, spec, std_nm, banks, images, calibration };

    let settings = Settings::of(deployment.model.as_ref(), Some(args.bits))?;
    settings.write(&args.out)?;
    verify(deployment.model.as_ref(), &settings, &args.out)?;
    let chip = match &args.deviations {
        Some(path) => measured_chip(deployment.model.as_ref(), path)?,
        None => deployment.chip(args.chip, 1.0)?,
    };
    let anew = args.out.join("set-anew");
    deployment.settings_for(&chip, args.bits)?.write(&anew)?;
    settings.apply(deployment.model.as_ref())?;
    println!(
        "settings: controls.csv, .json, .safetensors and .npy in {} as trained, in {} for this chip",
        args.out.display(),
        anew.display()
    );

    let spread = format!(
        "{} Resonances of chips spread by {half_widths:.2} half-widths, {std_nm:.3} nm ({source}), in all layers; crosstalk differs by {} from what training knew \
         (standard deviation). Settings are for {} C; resonances move by {} nm/K.",
        match &args.deviations {
            Some(path) => format!("The chip is that of {}.", path.display()),
            None => format!("The chip is number {} of those that can be drawn.", args.chip),
        },
        deployment.spec.crosstalk_std,
        deployment.spec.calibrated_at,
        deployment.spec.nm_per_kelvin
    );
    let path = args.out.join("index.html");
    let mut report = Report::new("Deployment on a chip")
        .provenance("network", args.network.display().to_string())
        .provenance("data", format!("{}, first {} test images", data.name, args.images))
        .provenance("settings (SHA-256)", settings.checksum()?)
        .provenance("commit", commit());
    let (accuracy, headline) = accuracy(&deployment, &chip, spread)?;
    report = report.summary(headline).section(accuracy);
    let (tolerance, headline) = tolerance(&deployment, &chip, args.tolerance)?;
    report = report.summary(headline).section(tolerance);
    let (power, headline) = power(&deployment)?;
    report = report.summary(headline).section(power);
    report.write(&path)?;
    println!("report: {}", path.display());
    Ok(true)
}

/// A kept network of heated rings, with the recipe that made it.
fn network(path: &Path) -> Result<(Box<dyn Model>, Recipe)> {
    let Kept { recipe, tensors, .. } = Kept::read(path)?;
    if recipe.train != Trained::Heaters {
        let trains = serde_json::to_string(&recipe.train).unwrap_or_default();
        let reason = format!(
            "is a network with train = {trains}; one of heated rings is wanted (train = \"heaters\": reproduce --only deployed-ring)"
        );
        return Err(Error::File { path: path.to_owned(), reason });
    }
    let model = recipe.model(&Seed::new(0), DType::F32)?;
    load_model_state(model.as_ref(), &tensors)?;
    Ok((model, recipe))
}

/// Temperatures, crosstalk and yields, as the experiment has them.
fn ambient() -> Result<Ambient> {
    let catalogue = Catalogue::load(&default_folder())?;
    match catalogue.experiments.get("deployed-ring").map(|experiment| &experiment.analysis) {
        Some(Analysis::Ambient(spec)) => Ok(spec.clone()),
        _ => Err(Error::Usage("there is no experiment deployed-ring".into())),
    }
}

/// Reads back what was written, in each format, and compares it bit by bit.
fn verify(model: &dyn Model, written: &Settings, folder: &Path) -> Result<()> {
    let bits = |settings: &Settings| -> Result<Vec<Vec<u32>>> {
        let mut all = Vec::new();
        for setting in &settings.controls {
            all.push(setting.values.elements::<f32>()?.iter().map(|v| v.to_bits()).collect());
        }
        Ok(all)
    };
    for ending in ["csv", "json", "safetensors"] {
        let path = folder.join(format!("controls.{ending}"));
        Settings::read(&path)?.apply(model)?;
        if bits(&Settings::of(model, None)?)? != bits(written)? {
            let reason = "gives other settings than were written".to_owned();
            return Err(Error::File { path, reason });
        }
    }
    Ok(())
}

/// A chip from a file of its deviations.
fn measured_chip(model: &dyn Model, path: &Path) -> Result<Chip> {
    let (tensors, _) = store::load(path)?;
    let mut chip = Chip::ideal();
    for (name, value) in &tensors {
        let layers = model.physical_layers();
        let found = layers.iter().find_map(|layer| {
            let port = name.strip_prefix(layer.name())?.strip_prefix('.')?;
            Some((layer, layer.device().ports().iter().find(|known| known.name == port)?.name))
        });
        let Some((layer, port)) = found else {
            let ports = layers.first().map_or(&[][..], |layer| layer.device().ports());
            let ports: Vec<_> = ports.iter().map(|port| port.name).collect();
            let layers: Vec<_> = layers.iter().map(|layer| layer.name()).collect();
            let reason = format!(
                "{name:?} is no deviation; names are LAYER.PORT, of the layers {} and the ports {}",
                layers.join(", "),
                ports.join(", ")
            );
            return Err(Error::File { path: path.to_owned(), reason });
        };
        chip.layer_mut(layer.name()).add(port, value)?;
        if let Some(deviations) = chip.layer(layer.name()) {
            deviations.check(layer.device().ports())?;
        }
    }
    Ok(chip)
}

impl Deployment {
    /// A chip of so many times the spread of the rings, at the temperature of the calibration.
    fn chip(&self, number: u64, spread: f64) -> Result<Chip> {
        let noise = self.spec.noise(spread * self.std_nm)?;
        let seed = Seed::new(0).child("ambient").index(number);
        Ok(noise.draw(&self.model.physical_layers(), 1, &seed)?)
    }

    fn drifted(&self, chip: &Chip, kelvin: f64) -> Result<Chip> {
        let drift = self.spec.drift(kelvin)?;
        Ok(chip.plus(&drift.draw(&self.model.physical_layers(), 1, &Seed::new(0))?)?)
    }

    /// What heaters are set to on a chip for the weights of the model. The model is left with these settings.
    fn settings_for(&self, chip: &Chip, bits: u32) -> Result<Settings> {
        let (calibrated, _) = self.banks.calibrated(self.model.as_ref(), chip)?;
        for layer in self.model.physical_layers() {
            let own = layer.controls().detach();
            for (control, drive) in
                layer.device().controls().iter().zip(layer.device().drives(&own)?)
            {
                let by = calibrated.layer(layer.name()).and_then(|all| all.get(drive.port));
                let Some(by) = by else { continue };
                let name = format!("{}.{}", layer.name(), control.name);
                let value = (drive.setting.to_dtype(DType::F64)? + by.to_dtype(DType::F64)?)?;
                let var = &self.model.parameters().get(&name)?.var;
                var.set(&value.to_dtype(var.dtype())?)?;
            }
        }
        Ok(Settings::of(self.model.as_ref(), Some(bits))?)
    }

    /// The chip as a way of setting its heaters leaves it.
    fn set(&self, chip: &Chip, anew: bool) -> Result<Chip> {
        if anew {
            Ok(self.banks.calibrated(self.model.as_ref(), chip)?.0)
        } else {
            Ok(chip.clone())
        }
    }

    fn evaluate(&self, mode: BatchNormMode, chip: &Chip) -> Result<Evaluation> {
        let evaluator = Evaluator {
            batch_norm: mode,
            normalisation: self.recipe.normalisation(),
            calibration: Some(&self.calibration),
        };
        Ok(evaluator.evaluate(self.model.as_ref(), chip, &self.images)?)
    }
}

/// What is done on a chip: whether its heaters are set anew, and how its outputs are read.
const WAYS: [(&str, bool, BatchNormMode); 5] = [
    ("as trained", false, BatchNormMode::Running),
    ("batch-norm recalibrated", false, BatchNormMode::Recalibrated(CALIBRATION)),
    ("recalibrated, biases trimmed", false, BatchNormMode::Trimmed(CALIBRATION)),
    ("heaters set anew", true, BatchNormMode::Running),
    ("heaters set anew, recalibrated, biases trimmed", true, BatchNormMode::Trimmed(CALIBRATION)),
];

fn accuracy(deployment: &Deployment, chip: &Chip, about: String) -> Result<(Section, String)> {
    let celsius = &deployment.spec.celsius;
    let mut columns =
        vec![Column::text("on the chip"), Column::percent_interval("the model itself", 1)];
    columns.extend(celsius.iter().map(|at| Column::percent_interval(format!("{at} C"), 1)));
    let mut table =
        Table::new("Expected accuracy, Wilson's interval at 95 % over the images", columns)?;
    let mut series = Vec::new();
    let mut progress = Progress::new("temperatures", (WAYS.len() * celsius.len()) as u64);
    let mut words = Vec::new();
    for (done, (name, anew, mode)) in WAYS.into_iter().enumerate() {
        let set = deployment.set(chip, anew)?;
        let model = deployment.evaluate(BatchNormMode::Running, &Chip::ideal())?.accuracy(0.95)?;
        let mut line = vec![Cell::from(name), Cell::Interval(model)];
        let mut points: Vec<(f64, Interval)> = Vec::new();
        for (step, at) in celsius.iter().enumerate() {
            progress.at((done * celsius.len() + step) as u64, &format!("{name}, {at} C"));
            let kelvin = at - deployment.spec.calibrated_at;
            let chip = deployment.drifted(&set, kelvin)?;
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

fn tolerance(deployment: &Deployment, chip: &Chip, allowed: f64) -> Result<(Section, String)> {
    let (mut table, mut series) = (
        Table::new(
            format!("How far the accuracy stays within {allowed} percent points"),
            vec![
                Column::text("on the chip"),
                Column::number("colder by (K)", 1),
                Column::number("warmer by (K)", 1),
                Column::number("spread (in that of the rings)", 2),
            ],
        )?,
        Vec::new(),
    );
    let mut words = Vec::new();
    let count = (FARTHEST / STEP) as i32;
    let each = (2 * count + 1) as u64 + SPREADS.len() as u64 * CHIPS;
    let mut progress = Progress::new("tolerance", 4 * each);
    let mut done = 0;
    let shown = |value: Option<f64>| value.map_or(Cell::Missing, Cell::Number);
    for (name, anew, mode) in [WAYS[0], WAYS[2], WAYS[3], WAYS[4]] {
        let set = deployment.set(chip, anew)?;
        let mut points = Vec::new();
        for step in -count..=count {
            progress.at(done, &format!("{name}, {:+} K", f64::from(step) * STEP));
            let kelvin = f64::from(step) * STEP;
            let chip = deployment.drifted(&set, kelvin)?;
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
                let chip = deployment.set(&deployment.chip(chip, spread)?, anew)?;
                sum += deployment.evaluate(mode, &chip)?.percent();
                done += 1;
            }
            spreads.push((spread, sum / CHIPS as f64));
        }
        let limit =
            deployment.evaluate(BatchNormMode::Running, &Chip::ideal())?.percent() - allowed;
        let spread = reach(&spreads, limit);
        let text = |value: Option<f64>, least: f64| {
            value.map_or_else(|| format!("below {least}"), |value| format!("{value}"))
        };
        words.push(format!(
            "{name} {} K colder, {} K warmer, {} times the spread",
            text(colder, STEP),
            text(warmer, STEP),
            text(spread, SPREADS[1])
        ));
        table.push(vec![Cell::from(name), shown(colder), shown(warmer), shown(spread)])?;
        series.push(LineSeries::new(name, points));
    }
    progress.finish("tolerance: done");
    let x = Axis::linear("temperature less that of the settings").unit("K");
    let y = Axis::linear("accuracy").unit("%").range(0.0, 100.0);
    let svg = line_chart("Drift on the chip", &x, &y, &series)?;
    let section = Section::new("Tolerance")
        .paragraph(format!(
            "Drift: on this chip, from its accuracy without drift, in steps of {STEP} K to {FARTHEST} K. Spread: the mean of {CHIPS} chips against the model itself, \
             at multiples {SPREADS:?} of the spread. A dash: not even the first step beyond none."
        ))
        .figure(svg, "Accuracy over drift.")
        .table(table);
    Ok((section, format!("**Tolerance** of {allowed} points: {}.", words.join("; "))))
}

fn power(deployment: &Deployment) -> Result<(Section, String)> {
    let bank = deployment.recipe.ring_chip.bank;
    let (mut watt, mut rings) = (0.0, 0);
    let mut table = Table::new(
        "Heaters",
        vec![
            Column::text("layer"),
            Column::number("rings", 0),
            Column::number("mW for each", 3),
            Column::number("W", 3),
        ],
    )?;
    let heaters = Heaters::of(deployment.model.as_ref(), bank.resistance_ohm)?;
    for (layer, part) in &heaters.layers {
        let count = part.len() as f64;
        let power = part.iter().sum::<f64>();
        let cells = [count, 1e3 * power / count, power].map(Cell::Number);
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
             fully connected layer: a model, in which lasers, modulators, detectors, converters and the holding of temperature take nothing.",
            bank.resistance_ohm, deployment.spec.gigabaud
        ))
        .figure(svg, "Of all rings.")
        .table(table);
    let headline = format!(
        "**Power** of {rings} heaters: {watt:.1} W, {:.2} uJ for an image at {} GBd (heaters alone).",
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
    }

    #[test]
    fn a_network_of_another_kind_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        let one = pnn_core::Tensor::new(1.0).unwrap();
        let tensors = std::collections::BTreeMap::from([("a".to_owned(), one)]);
        let save = |recipe: Option<&str>| {
            let metadata = recipe.map(|recipe| ("recipe".to_owned(), recipe.to_owned()));
            store::save(&path, &tensors, &metadata.into_iter().collect()).unwrap();
            network(&path).map(|_| ()).unwrap_err().to_string()
        };
        let error = save(None);
        assert!(error.contains("no recipe") && error.contains("weights.safetensors"), "{error}");
        let rings = r#"{"train": "detunings", "strategy": "bp", "optimizer": {"adam": {"rate": 0.01}}, "epochs": 1, "batch_size": 4}"#;
        let error = save(Some(rings));
        assert!(error.contains("\"detunings\"") && error.contains("heaters"), "{error}");
        let error = save(Some(&rings.replace("detunings", "heaters")));
        assert!(error.contains("conv1"), "{error}");
    }
}
