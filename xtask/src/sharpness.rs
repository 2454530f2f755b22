//! How sharp the minima of trained networks are: every measure, and pictures of the loss around them.

use std::path::{Path, PathBuf};

use pnn_core::Seed;
use pnn_core::curvature::{Hessian, Surface, spectral_density};
use pnn_data::Dataset;
use pnn_eval::landscape::{Direction, Vectors, line, positions};
use pnn_eval::plot::{Axis, LineSeries, SpectralDensity, line_chart, spectrum};
use pnn_eval::{
    BatchNormMode, Cell, Column, DeviationAxis, DeviationSharpness, Evaluator, Report, Section,
    Sharpness, SharpnessSettings, Spread, Table,
};
use pnn_train::Trained;

use crate::chips::{chip_in_loop, fixed_chips, measured_chip};
use crate::error::Result;
use crate::networks::KeptNetwork;
use crate::reproduce::chip::FixedChip;
use crate::reproduce::config::DataChoice;
use crate::reproduce::data::Data;
use crate::reproduce::precise::Precise;
use crate::reproduce::provenance::commit;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Trained networks: weights.safetensors of runs of `reproduce`, or files of docs/results/weights
    #[arg(required = true)]
    networks: Vec<PathBuf>,
    /// Training images that the loss is taken on, from the first
    #[arg(long, default_value_t = 1000)]
    images: usize,
    /// Folder of data sets: of MNIST for networks that were trained on it [default: the embedded digits]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Radius of the ball in which the loss is climbed, in the units of the parameters
    #[arg(long, default_value_t = SharpnessSettings::default().radius)]
    radius: f64,
    /// Standard deviation of noise on every parameter, in their units
    #[arg(long, default_value_t = SharpnessSettings::default().noise)]
    noise: f64,
    /// A deviation port and a standard deviation in its unit, `fc2+fc3.resonance_shift_nm=0.04`, or that port of all layers,
    /// `resonance_shift_nm=0.04`: how the loss bends if every entry errs by itself, as fabrication has it
    #[arg(long, value_name = "[LAYER+LAYER.]PORT=STEP", value_parser = step)]
    spread: Vec<(String, f64)>,
    /// The same if all entries err together, as under a drift
    #[arg(long, value_name = "[LAYER+LAYER.]PORT=STEP", value_parser = step)]
    drift: Vec<(String, f64)>,
    /// Folder of the published chip, for networks that were trained on it
    #[arg(long)]
    reference: Option<PathBuf>,
    /// A chip that was measured, its deviations by layer and port (`mesh.theta_error_rad`), for all networks [default: the chip
    /// in the loop of a network's training, else the ideal one]
    #[arg(long, value_name = "SAFETENSORS", conflicts_with = "reference")]
    deviations: Option<PathBuf>,
    /// Folder for the report
    #[arg(long, default_value = "target/sharpness")]
    out: PathBuf,
}

fn step(text: &str) -> std::result::Result<(String, f64), String> {
    let parts = text.split_once('=').map(|(port, step)| (port.trim(), step.trim().parse::<f64>()));
    match parts {
        Some((port, Ok(step))) if step > 0.0 && step.is_finite() => Ok((port.to_owned(), step)),
        _ => Err(format!(
            "{text:?} is not PORT=STEP with a step above 0, such as fc2+fc3.resonance_shift_nm=0.04"
        )),
    }
}

/// How far lines go: along an eigenvector in the units of the parameters, and in sizes of the filters.
const SPANS: (f64, f64) = (0.3, 1.0);
const POINTS: usize = 41;
/// Starts and steps of a spectral density.
const DENSITY: (usize, usize) = (4, 40);

/// What was found of one network.
struct Network {
    name: String,
    /// Whether it sits on a chip with errors.
    errs: bool,
    sharpness: Sharpness,
    /// What it is to each deviation that was asked for.
    bent: Vec<(String, DeviationSharpness)>,
    /// The loss along the sharpest direction, if it was found, and along a filter-normalised one.
    sharpest: Option<Vec<(f64, f64)>>,
    random: Vec<(f64, f64)>,
    density: Option<(SpectralDensity, f64)>,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    let (data, _) = Data::load(DataChoice::Digits, args.data.as_ref())?;
    let images = data.first(&data.train, args.images, 2)?;
    let mut report = Report::new("Sharpness of trained networks")
        .provenance("data", format!("{}, first {} training images", data.name, args.images))
        .provenance("commit", commit());
    let fixed = fixed_chips(args.reference.as_deref())?;
    let mut networks = Vec::new();
    for path in &args.networks {
        eprintln!("{}", path.display());
        let kept = KeptNetwork::read(path)?;
        if let Some(trained_on) = kept.metadata.get("data").filter(|name| **name != data.name) {
            eprintln!(
                "  it was trained on {trained_on}, and is measured on {}: --data DIR names other data",
                data.name
            );
        }
        let network = measure(args, path, &kept, &fixed, &images)?;
        report = report.provenance(format!("network {}", network.name), path.display().to_string());
        println!("{}", network.sharpness.table(&network.name)?.to_markdown());
        if !network.bent.is_empty() {
            println!("{}", bent(std::slice::from_ref(&network))?.to_markdown());
        }
        networks.push(network);
    }
    report = report.section(together(&networks, &args.settings())?);
    for network in networks {
        report = report.section(section(network)?);
    }
    let path = args.out.join("index.html");
    report.write(&path)?;
    println!("report: {}", path.display());
    Ok(true)
}

/// The file's name, or that of its folder where all files have the same.
fn name(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let folder = path.parent().and_then(Path::file_name).map(|f| f.to_string_lossy().into_owned());
    match (stem, folder) {
        (Some(stem), Some(folder)) if stem == "weights" => folder,
        (Some(stem), _) => stem,
        (None, _) => path.display().to_string(),
    }
}

impl Args {
    fn settings(&self) -> SharpnessSettings {
        let (radius, noise) = (self.radius, self.noise);
        SharpnessSettings { radius, noise, ..SharpnessSettings::default() }
    }

    /// What was asked for with its name, in all layers of a network that have the port.
    fn axes(&self, network: &Precise) -> Result<Vec<(String, DeviationAxis)>> {
        let spreads = self.spread.iter().map(|(port, unit)| ("spread", port, *unit, Spread::Each));
        let drifts = self.drift.iter().map(|(port, unit)| ("drift", port, *unit, Spread::Shared));
        let axis = |(kind, port, unit, spread): (_, &String, f64, _)| {
            let label = format!("{kind} of {port} by {unit}");
            let (layers, port) = match port.split_once('.') {
                Some((layers, port)) => (layers.split('+').map(str::to_owned).collect(), port),
                None => (network.layers_with(port)?, port.as_str()),
            };
            Ok((label, DeviationAxis { port: port.to_owned(), layers, unit, spread }))
        };
        spreads.chain(drifts).map(axis).collect()
    }
}

fn measure(
    args: &Args,
    path: &Path,
    kept: &KeptNetwork,
    fixed: &[FixedChip],
    images: &Dataset,
) -> Result<Network> {
    let (name, settings) = (name(path), args.settings());
    let precise = Precise::from_state(&kept.recipe, kept.tensors.clone())?;
    let chip = match &args.deviations {
        Some(file) => measured_chip(precise.model(), file)?,
        None => chip_in_loop(path, kept, fixed)?,
    };
    let evaluator = Evaluator {
        batch_norm: BatchNormMode::Running,
        normalisation: kept.recipe.normalisation(),
        calibration: None,
    };
    let seed = Seed::new(0).child("sharpness");
    // Panels that move are seen through a raster, whose kinks have no curvature.
    let smooth = kept.recipe.train != Trained::Masks;
    let bent = args.axes(&precise)?.into_iter().map(|(label, axis)| {
        let mut surface = precise.deviation_surface(evaluator, &chip, images, &[axis])?;
        Ok((label, DeviationSharpness::measure(&mut surface, smooth, &settings, &seed)?))
    });
    let bent = bent.collect::<Result<Vec<_>>>()?;
    let mut surface = precise.surface(evaluator, &chip, images)?;
    let sharpness = Sharpness::measure(&mut surface, &settings, &seed)?;
    let along = |surface: &mut Surface<'_>, direction: &Direction, span: f64| -> Result<Vec<_>> {
        let found = line(surface, direction, &positions(-span, span, POINTS), &mut |_, _| {})?;
        Ok(found.points().collect())
    };
    let (mut sharpest, mut density) = (None, None);
    if let Some(pair) = &sharpness.lambda_max {
        let direction = Direction::new(pair.vector.clone())?;
        sharpest = Some(along(&mut surface, &direction, SPANS.0)?);
        let found =
            spectral_density(&mut Hessian::new(&mut surface)?, DENSITY.0, DENSITY.1, &seed)?;
        let width = 0.01 * pair.value.abs();
        if width > 0.0 {
            let drawn = SpectralDensity::spread(&name, &found, width).eigenvalues([pair.value]);
            density = Some((drawn, width));
        }
    }
    let direction = Direction::filter_normalised(surface.parameters(), Vectors::Held, &seed)?;
    let random = along(&mut surface, &direction, SPANS.1)?;
    let errs = chip.iter().next().is_some();
    Ok(Network { name, errs, sharpness, bent, sharpest, random, density })
}

/// What networks are to the deviations that were asked for.
fn bent(networks: &[Network]) -> Result<Table> {
    let columns = vec![
        Column::text("network"),
        Column::text("deviation"),
        Column::number("rise under a step", 2).scientific(),
        Column::number("slope per step", 2).scientific(),
        Column::number("curvature per step squared", 2).scientific(),
    ];
    let mut table = Table::new("The loss in what the device does wrong", columns)?;
    let cell = |value: Option<f64>| {
        value.filter(|value| value.is_finite()).map_or(Cell::Missing, Cell::Number)
    };
    for network in networks {
        for (deviation, found) in &network.bent {
            let (name, deviation) = (network.name.clone(), deviation.clone());
            let mut line = vec![Cell::Text(name), Cell::Text(deviation)];
            line.extend([Some(found.rise), found.slope, found.curvature].map(cell));
            table.push(line)?;
        }
    }
    Ok(table)
}

/// All networks beside each other.
fn together(networks: &[Network], settings: &SharpnessSettings) -> Result<Section> {
    let mut columns = vec![Column::text("network"), Column::text("on a chip of its own")];
    columns.extend(Sharpness::NAMES.map(|name| Column::number(name, 2).scientific()));
    let mut table = Table::new("All measures", columns)?;
    for network in networks {
        let own = if network.errs { "yes" } else { "" };
        let mut line = vec![Cell::Text(network.name.clone()), Cell::from(own)];
        let cell = |value: Option<f64>| value.map_or(Cell::Missing, Cell::Number);
        line.extend(network.sharpness.values().map(cell));
        table.push(line)?;
    }
    let loss = Axis::logarithmic("loss").unit("nats");
    let section = Section::new("Side by side")
        .paragraph(format!(
            "Of the mean cross-entropy in everything that is trained (rings by their detunings in nm), with running statistics, on the chip that was in the loop of a network's training or that was given, else on the ideal one. A ball has a radius of {} in the units of \
             the parameters or {} of each parameter's size, noise a standard deviation of {} or {}. Compare networks of one device only, and on one chip: another unit is another number.",
            settings.radius, settings.relative_radius, settings.noise, settings.relative_noise
        ))
        .table(table);
    let section = if networks.iter().any(|network| !network.bent.is_empty()) {
        section
            .paragraph(
                "A step of a spread is a standard deviation on every entry by itself, one of a drift moves all together; the rise is the mean over \
                 both signs or over pairs of samples, the curvature the trace of the Hessian.",
            )
            .table(bent(networks)?)
    } else {
        section
    };
    let sharpest: Vec<_> = networks
        .iter()
        .filter_map(|n| n.sharpest.as_ref().map(|points| (n, points)))
        .map(|(n, points)| LineSeries::new(&n.name, points.iter().copied()))
        .collect();
    let section = if sharpest.is_empty() {
        section
    } else {
        let x = Axis::linear("distance along the eigenvector, in the units of the parameters");
        section.figure(
            line_chart("Loss along the sharpest direction", &x, &loss, &sharpest)?,
            "Along the unit eigenvector of each network's lambda_max: the steeper the walls, the sharper the minimum.",
        )
    };
    let random: Vec<_> =
        networks.iter().map(|n| LineSeries::new(&n.name, n.random.iter().copied())).collect();
    let x = Axis::linear("distance along a random direction (sizes of the filters)");
    Ok(section.figure(
        line_chart("Loss along a filter-normalised direction", &x, &loss, &random)?,
        "A random direction in which every filter is as large as that of the network (Li et al., 2018).",
    ))
}

fn section(network: Network) -> Result<Section> {
    let Network { name, sharpness, density, .. } = network;
    let table = sharpness
        .table("Uncertainty is an eigenvalue's residual, or the standard error of an estimate")?;
    let section = Section::new(&name).paragraph(sharpness.exactness()).table(table);
    let Some((density, width)) = density else { return Ok(section) };
    let axes = ("eigenvalue", "share of eigenvalues per unit");
    let svg =
        spectrum(&format!("{name}: spectrum of the Hessian"), axes, &[density], 1e-7 / width)?;
    Ok(section.figure(
        svg,
        format!(
            "Spectral density by stochastic Lanczos quadrature ({} starts of {} steps), each node spread by 1 % of lambda_max.",
            DENSITY.0, DENSITY.1
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_names_its_port_and_is_above_zero() {
        assert_eq!(step("phase = 0.1"), Ok(("phase".into(), 0.1)));
        for wrong in ["phase", "phase=", "phase=0", "phase=-1", "phase=inf", "phase=NaN"] {
            assert!(step(wrong).unwrap_err().contains("PORT=STEP"), "{wrong}");
        }
    }

    #[test]
    fn a_network_is_called_after_its_file_or_its_run() {
        assert_eq!(name(Path::new("weights/paper-bp-seed0.safetensors")), "paper-bp-seed0");
        assert_eq!(name(Path::new("runs/bp-seed0-12/weights.safetensors")), "bp-seed0-12");
    }
}
