//! How sharp the minima of trained networks are: every measure, and pictures of the loss around them.

use std::path::{Path, PathBuf};

use pnn_core::curvature::{Hessian, Surface, spectral_density};
use pnn_core::{Chip, Seed};
use pnn_data::Dataset;
use pnn_eval::landscape::{Direction, Vectors, line, positions};
use pnn_eval::plot::{Axis, LineSeries, SpectralDensity, line_chart, spectrum};
use pnn_eval::{
    BatchNormMode, Cell, Column, Evaluator, Report, Section, Sharpness, SharpnessSettings, Table,
};

use crate::error::Result;
use crate::networks::KeptNetwork;
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
    /// Folder for the report
    #[arg(long, default_value = "target/sharpness")]
    out: PathBuf,
}

/// How far lines go: along an eigenvector in the units of the parameters, and in sizes of the filters.
const SPANS: (f64, f64) = (0.3, 1.0);
const POINTS: usize = 41;
/// Starts and steps of a spectral density.
const DENSITY: (usize, usize) = (4, 40);

/// What was found of one network.
struct Network {
    name: String,
    sharpness: Sharpness,
    /// The loss along the sharpest direction, if it was found, and along a filter-normalised one.
    sharpest: Option<Vec<(f64, f64)>>,
    random: Vec<(f64, f64)>,
    density: Option<(SpectralDensity, f64)>,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    let (data, _) = Data::load(DataChoice::Digits, args.data.as_ref())?;
    let images = data.first(&data.train, args.images, 2)?;
    let settings = SharpnessSettings {
        radius: args.radius,
        noise: args.noise,
        ..SharpnessSettings::default()
    };
    let mut report = Report::new("Sharpness of trained networks")
        .provenance("data", format!("{}, first {} training images", data.name, args.images))
        .provenance("commit", commit());
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
        let network = measure(name(path), &kept, &images, &settings)?;
        report = report.provenance(format!("network {}", network.name), path.display().to_string());
        println!("{}", network.sharpness.table(&network.name)?.to_markdown());
        networks.push(network);
    }
    report = report.section(together(&networks, &settings)?);
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

fn measure(
    name: String,
    kept: &KeptNetwork,
    images: &Dataset,
    settings: &SharpnessSettings,
) -> Result<Network> {
    let precise = Precise::from_state(&kept.recipe, kept.tensors.clone())?;
    let evaluator = Evaluator {
        batch_norm: BatchNormMode::Running,
        normalisation: kept.recipe.normalisation(),
        calibration: None,
    };
    let chip = Chip::ideal();
    let mut surface = precise.surface(evaluator, &chip, images)?;
    let seed = Seed::new(0).child("sharpness");
    let sharpness = Sharpness::measure(&mut surface, settings, &seed)?;
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
    Ok(Network { name, sharpness, sharpest, random, density })
}

/// All networks beside each other.
fn together(networks: &[Network], settings: &SharpnessSettings) -> Result<Section> {
    let mut columns = vec![Column::text("network")];
    columns.extend(Sharpness::NAMES.map(|name| Column::number(name, 2).scientific()));
    let mut table = Table::new("All measures", columns)?;
    for network in networks {
        let mut line = vec![Cell::Text(network.name.clone())];
        let cell = |value: Option<f64>| value.map_or(Cell::Missing, Cell::Number);
        line.extend(network.sharpness.values().map(cell));
        table.push(line)?;
    }
    let loss = Axis::logarithmic("loss").unit("nats");
    let section = Section::new("Side by side")
        .paragraph(format!(
            "Of the mean cross-entropy in everything that is trained (rings by their detunings in nm), with running statistics on the ideal chip. A ball has a radius of {} in the units of \
             the parameters or {} of each parameter's size, noise a standard deviation of {} or {}. Compare networks of one device only: another unit is another number.",
            settings.radius, settings.relative_radius, settings.noise, settings.relative_noise
        ))
        .table(table);
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
    fn a_network_is_called_after_its_file_or_its_run() {
        assert_eq!(name(Path::new("weights/paper-bp-seed0.safetensors")), "paper-bp-seed0");
        assert_eq!(name(Path::new("runs/bp-seed0-12/weights.safetensors")), "bp-seed0-12");
    }
}
