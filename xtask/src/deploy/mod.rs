//! A trained network of heated rings on its way to a chip: settings for the lab, and what to expect of them.

mod sections;

use std::path::{Path, PathBuf};

use pnn_core::export::Settings;
use pnn_core::model::{Model, load_model_state};
use pnn_core::{Chip, DType, Seed, store};
use pnn_data::Dataset;
use pnn_eval::{BatchNormMode, Evaluation, Evaluator, Report};
use pnn_train::{Recipe, Trained};

use crate::error::{Error, Result};
use crate::heaters::Banks;
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
/// A network, the images it is tried on, and what its chips are drawn from.
struct Deployment {
    model: Box<dyn Model>,
    recipe: Recipe,
    spec: Ambient,
    spread: RingSpread,
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
    let spread = spec.spread(measured.as_ref());
    let (data, _) = Data::load(DataChoice::Digits, args.data.as_ref())?;
    let images = data.first(&data.test, args.images, 1)?;
    let calibration = data.train.range(0, CALIBRATION)?;
    let banks = Banks::of(&recipe.ring_chip)?;
    let deployment = Deployment { model, recipe, spec, spread, banks, images, calibration };

    let settings = Settings::of(deployment.model.as_ref(), Some(args.bits))?;
    settings.write(&args.out)?;
    verify(deployment.model.as_ref(), &settings, &args.out)?;
    let chip = match &args.deviations {
        Some(path) => measured_chip(deployment.model.as_ref(), path)?,
        None => deployment.chip(args.chip, 1.0)?,
    };
    let anew = args.out.join("set-anew");
    let (settings_anew, unreached) = deployment.settings_for(&chip, args.bits)?;
    settings_anew.write(&anew)?;
    settings.apply(deployment.model.as_ref())?;
    println!(
        "settings: controls.csv, .json, .safetensors and .npy in {} as trained, in {} for this chip",
        args.out.display(),
        anew.display()
    );

    let spread = &deployment.spread;
    let about = format!(
        "{} On {:.2} % of its waveguides some weight is out of reach of heaters set anew. Resonances of chips spread by {:.2} half-widths, {:.3} nm, and their widths by {:.0} % ({}), in all layers; crosstalk differs by {} from what training knew \
         (standard deviation). Settings are for {} C; resonances move by {} nm/K.",
        match &args.deviations {
            Some(path) => format!("The chip is that of {}.", path.display()),
            None => format!("The chip is number {} of those that can be drawn.", args.chip),
        },
        100.0 * unreached,
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
    let (accuracy, headline) = accuracy(&deployment, &chip, about)?;
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
    let KeptNetwork { recipe, tensors, .. } = KeptNetwork::read(path)?;
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
        let noise = self.spec.noise(&self.spread, &self.recipe.ring_chip, spread)?;
        let seed = Seed::new(0).child("ambient").index(number);
        Ok(noise.draw(&self.model.physical_layers(), 1, &seed)?)
    }

    fn drifted(&self, chip: &Chip, kelvin: f64) -> Result<Chip> {
        let drift = self.spec.drift(kelvin)?;
        Ok(chip.plus(&drift.draw(&self.model.physical_layers(), 1, &Seed::new(0))?)?)
    }

    /// What heaters are set to on a chip for the weights of the model. The model is left with these settings.
    /// The second value is the share of waveguides on which some weight is out of reach.
    fn settings_for(&self, chip: &Chip, bits: u32) -> Result<(Settings, f64)> {
        let (calibrated, unreached) = self.banks.calibrated(self.model.as_ref(), chip)?;
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
        Ok((Settings::of(self.model.as_ref(), Some(bits))?, unreached))
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
