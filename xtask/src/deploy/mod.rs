//! A trained network of heated rings on its way to a chip: settings for the lab, and what to expect of them.

mod sections;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pnn_core::export::{Converter, Settings};
use pnn_core::model::{InSilico, Model, load_model_state, model_state};
use pnn_core::{Bounds, Chip, DType, Seed, Tensor, npy, store};
use pnn_data::Dataset;
use pnn_eval::accuracy::deploy;
use pnn_eval::{BatchNormMode, Evaluation, Evaluator, Report};
use pnn_train::{Recipe, Trained};

use crate::chips::measured_chip;
use crate::error::{Error, Result};
use crate::heaters::{Banks, SetAnew, TOLERANCE};
use crate::networks::KeptNetwork;
use crate::reproduce::config::{Ambient, Analysis, Catalogue, DataChoice, default_folder};
use crate::reproduce::data::Data;
use crate::reproduce::measured::{MeasuredRings, RingSpread};
use crate::reproduce::provenance::commit;
use sections::{accuracy, power, tolerance};

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
    /// What a converter's first and last code set, in the unit of the heaters (mA) [default: the range that training kept to, which takes
    /// a converter that can be set to just that]
    #[arg(long, value_name = "LOW,HIGH", value_parser = full_scale)]
    full_scale: Option<Bounds>,
    /// Percent points that drift or spread may cost
    #[arg(long, default_value_t = 5.0)]
    tolerance: f64,
    /// Images that accuracy is taken on
    #[arg(long, default_value_t = 1000)]
    images: usize,
    /// Folder of data sets [default: the embedded digits]
    #[arg(long)]
    data: Option<PathBuf>,
    /// Folder of experiments to read instead of the workspace's: temperatures, drift and crosstalk are those of its deployed-ring
    #[arg(long)]
    experiments: Option<PathBuf>,
    /// Folder for settings and report
    #[arg(long, default_value = "target/deploy")]
    out: PathBuf,
}

fn full_scale(text: &str) -> std::result::Result<Bounds, String> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    match numbers.as_deref() {
        Some([low, high]) if low < high && low.is_finite() && high.is_finite() => {
            Ok(Bounds { low: *low, high: *high })
        }
        _ => Err(format!("{text:?} is not LOW,HIGH with LOW < HIGH, such as 0,8")),
    }
}

/// Calibration images of a chip.
const CALIBRATION: usize = 1000;

/// A network, the images it is tried on, and what its chips are drawn from.
struct Deployment {
    model: Box<dyn Model>,
    recipe: Recipe,
    spec: Ambient,
    spread: RingSpread,
    banks: Banks,
    images: Dataset,
    calibration: Dataset,
    converter: Converter,
}

pub(crate) fn run(args: &Args) -> Result<bool> {
    if !(0.0..=100.0).contains(&args.tolerance) {
        let line = format!("--tolerance is {}, allowed is [0, 100]", args.tolerance);
        return Err(Error::Usage(line));
    }
    let (model, recipe, trained_on) = network(&args.network)?;
    let spec = ambient(args.experiments.as_deref())?;
    let measured = args.curves.as_deref().map(MeasuredRings::read).transpose()?;
    let spread = spec.spread(measured.as_ref());
    let (data, _) = Data::load(DataChoice::Digits, args.data.as_ref())?;
    if !data.is_mnist && trained_on.as_ref().is_some_and(|name| !name.starts_with(&data.name)) {
        let line = format!(
            "{} was trained on other images than the embedded digits ({}), which may be among them: give the test images of its own data, --data DIR",
            args.network.display(),
            trained_on.unwrap_or_default()
        );
        return Err(Error::Usage(line));
    }
    let images = data.first(&data.test, args.images, 1)?;
    let calibration = data.train.range(0, CALIBRATION)?;
    let banks = Banks::of(&recipe.ring_chip)?;
    let converter = Converter { bits: args.bits, over: args.full_scale };
    let deployment =
        Deployment { model, recipe, spec, spread, banks, images, calibration, converter };

    let settings = Settings::of(deployment.model.as_ref(), Some(converter))?;
    settings.write(&args.out)?;
    deployment.verify(&settings, &args.out)?;
    deployment.write_electronics(&args.out, &Chip::ideal(), None)?;
    let chip = match &args.deviations {
        Some(path) => measured_chip(deployment.model.as_ref(), path)?,
        None => deployment.chip(args.chip, 1.0)?,
    };
    let anew = args.out.join("set-anew");
    let found = deployment.banks.calibrated(deployment.model.as_ref(), &chip)?;
    let settings_anew = deployment.settings_of(&found)?;
    settings_anew.write(&anew)?;
    deployment.verify(&settings_anew, &anew)?;
    let chips = [deployment.set(&chip, None)?, deployment.set(&chip, Some(&found))?];
    for (chip, folder) in chips.iter().zip([&args.out, &anew]) {
        deployment.write_electronics(folder, chip, Some(CALIBRATION))?;
    }
    println!(
        "settings: controls.csv, .json, .safetensors and .npy in {} as trained, in {} for this chip; biases and statistics in electronics*.safetensors",
        args.out.display(),
        anew.display()
    );

    let spread = &deployment.spread;
    let about = format!(
        "{} Heaters that are set anew leave some weight off by more than {TOLERANCE} on {:.2} % of its waveguides, and by {:.3} at most. All that is set is rounded as the converters do. Resonances of chips spread by {:.2} half-widths, {:.3} nm, and their widths by {:.0} % ({}), in all layers; crosstalk differs by {} from what training knew \
         (standard deviation). Settings are for {} C; resonances move by {} nm/K.",
        match &args.deviations {
            Some(path) => format!("The chip is that of {}.", path.display()),
            None => format!("The chip is number {} of those that can be drawn.", args.chip),
        },
        100.0 * found.unreached,
        found.largest_error,
        spread.half_widths,
        spread.nm(&deployment.recipe.ring_chip)?,
        100.0 * spread.widths,
        spread.source,
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
    let (accuracy, headline) = accuracy(&deployment, &chips, about)?;
    report = report.summary(headline).section(accuracy);
    let (tolerance, headline) = tolerance(&deployment, &chips, args.tolerance)?;
    report = report.summary(headline).section(tolerance);
    let (power, headline) = power(&deployment, &found)?;
    report = report.summary(headline).section(power);
    report.write(&path)?;
    println!("report: {}", path.display());
    Ok(true)
}

/// A kept network of heated rings, with the recipe that made it, and what it was trained on.
fn network(path: &Path) -> Result<(Box<dyn Model>, Recipe, Option<String>)> {
    let KeptNetwork { recipe, tensors, mut metadata } = KeptNetwork::read(path)?;
    if recipe.train != Trained::Heaters {
        let trains = serde_json::to_string(&recipe.train).unwrap_or_default();
        let reason = format!(
            "is a network with train = {trains}; one of heated rings is wanted (train = \"heaters\": reproduce --only deployed-ring)"
        );
        return Err(Error::File { path: path.to_owned(), reason });
    }
    let model = recipe.model(&Seed::new(0), DType::F32)?;
    load_model_state(model.as_ref(), &tensors)?;
    // Earlier versions rounded bounds to the nearest f32, which may lie beyond them.
    model.parameters().clamp_to_bounds()?;
    Ok((model, recipe, metadata.remove("data")))
}

/// Temperatures, crosstalk and yields, as the experiment has them.
fn ambient(experiments: Option<&Path>) -> Result<Ambient> {
    let catalogue = Catalogue::load(experiments.unwrap_or(&default_folder()))?;
    match catalogue.experiments.get("deployed-ring").map(|experiment| &experiment.analysis) {
        Some(Analysis::Ambient(spec)) => Ok(spec.clone()),
        _ => Err(Error::Usage("there is no experiment deployed-ring".into())),
    }
}

impl Deployment {
    /// A chip of so many times the spread of the rings, at the temperature of the calibration.
    fn chip(&self, number: u64, spread: f64) -> Result<Chip> {
        let noise = self.spec.noise(&self.spread, &self.recipe.ring_chip, spread)?;
        let seed = Seed::new(0).child("ambient").index(number);
        Ok(noise.draw(&self.model.physical_layers(), 1, &seed)?)
    }

    fn drifted(&self, chip: &Chip, kelvin: f64) -> Result<Chip> {
        let drift = self.spec.drift(kelvin)?;
        Ok(chip.plus(&drift.draw(&self.model.physical_layers(), 1, &Seed::new(0))?)?)
    }

    /// A model with settings of its own, and what else this one has.
    fn with(&self, set: Option<&SetAnew>) -> Result<Box<dyn Model>> {
        let model = self.recipe.model(&Seed::new(0), DType::F32)?;
        load_model_state(model.as_ref(), &model_state(self.model.as_ref()))?;
        for (layer, controls) in set.iter().flat_map(|found| &found.set) {
            for (name, value) in controls.iter() {
                let var = &model.parameters().get(&format!("{layer}.{name}"))?.var;
                var.set(&value.to_dtype(var.dtype())?)?;
            }
        }
        Ok(model)
    }

    /// What heaters that were set anew are set to.
    fn settings_of(&self, found: &SetAnew) -> Result<Settings> {
        Ok(Settings::of(self.with(Some(found))?.as_ref(), Some(self.converter))?)
    }

    /// Reads back what was written, in each format, and compares it bit by bit; and gives it to a model of its own.
    fn verify(&self, written: &Settings, folder: &Path) -> Result<()> {
        let bits = |values: &Tensor| -> Result<Vec<u32>> {
            Ok(values.elements::<f32>()?.iter().map(|v| v.to_bits()).collect())
        };
        let all = |settings: &Settings| -> Result<BTreeMap<String, Vec<u32>>> {
            let each = settings.controls.iter();
            each.map(|s| Ok((format!("{}.{}", s.layer, s.name), bits(&s.values)?))).collect()
        };
        let wanted = all(written)?;
        let differs = |path: &Path| {
            let reason = "gives other settings than were written".to_owned();
            Error::File { path: path.to_owned(), reason }
        };
        for ending in ["csv", "json", "safetensors"] {
            let path = folder.join(format!("controls.{ending}"));
            let read = Settings::read(&path)?;
            let model = self.recipe.model(&Seed::new(1), DType::F32)?;
            read.apply(model.as_ref())?;
            let applied = Settings::of(model.as_ref(), None)?;
            if all(&read)? != wanted || all(&applied)? != wanted {
                return Err(differs(&path));
            }
        }
        for (key, wanted) in &wanted {
            let path = folder.join(format!("{key}.npy"));
            if bits(&npy::load(&path)?)? != *wanted {
                return Err(differs(&path));
            }
        }
        Ok(())
    }

    /// Writes what the electronics beside the rings take: biases, scales and statistics of batch-norm. With calibration images, those that
    /// are gathered and trimmed on the chip.
    fn write_electronics(&self, folder: &Path, chip: &Chip, images: Option<usize>) -> Result<()> {
        let model = self.with(None)?;
        let mut name = "electronics.safetensors";
        if let Some(images) = images {
            name = "electronics-recalibrated-trimmed.safetensors";
            let (truth, normalisation) = (&mut InSilico(chip), self.recipe.normalisation());
            deploy(model.as_ref(), truth, &self.calibration, images, &normalisation)?;
        }
        let mut state = model_state(model.as_ref());
        for layer in model.physical_layers() {
            for control in layer.device().controls() {
                state.remove(&format!("{}.{}", layer.name(), control.name));
            }
        }
        let pixels = format!("{:?}", self.recipe.normalisation());
        let metadata = BTreeMap::from([("pixels".to_owned(), pixels)]);
        Ok(store::save(&folder.join(name), &state, &metadata)?)
    }

    /// The chip with heaters as trained or set anew, rounded as the converters do.
    fn set(&self, chip: &Chip, anew: Option<&SetAnew>) -> Result<Chip> {
        let (mut set, settings) = match anew {
            Some(found) => (found.on(self.model.as_ref(), chip)?, self.settings_of(found)?),
            None => (chip.clone(), Settings::of(self.model.as_ref(), Some(self.converter))?),
        };
        for drive in &settings.drives {
            let range = self.converter.over.unwrap_or(drive.bounds);
            let wide = drive.values.to_dtype(DType::F64)?;
            let off = |value: &f64| drive.levels.round(*value, range, self.converter.bits) - value;
            let off = wide.elements::<f64>()?.iter().map(off).collect();
            let off = Tensor::from_vec(off, wide.shape().clone())?;
            let layers = self.model.physical_layers();
            let ports = layers.iter().find(|layer| layer.name() == drive.layer);
            let ports = ports.map_or(&[][..], |layer| layer.device().ports());
            if let Some(port) = ports.iter().find(|port| port.name == drive.name) {
                set.layer_mut(&drive.layer).add(port.name, &off)?;
            }
        }
        Ok(set)
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

#[cfg(test)]
mod tests {
    use super::*;

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
