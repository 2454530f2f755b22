//! Experiments and profiles as TOML: every value is checked when it is read, with file and line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pnn_eval::BatchNormMode;
use pnn_train::Recipe;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::data::Data;
use crate::error::{Error, Result, read_text};

/// Settings that a figure's experiments share: data, seeds and methods.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// What the profile is, in a sentence for the report.
    pub(crate) about: String,
    /// The data set.
    pub(crate) data: DataChoice,
    /// Seeds of the runs.
    pub(crate) seeds: Vec<u64>,
    /// Methods by key.
    pub(crate) methods: BTreeMap<String, Method>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DataChoice {
    /// The embedded 5,000 digits, 1,000 of them held out.
    Digits,
    /// Full MNIST.
    Mnist,
}

/// One method of a profile.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Method {
    /// Its name in tables and plots.
    pub(crate) label: String,
    /// How it trains.
    pub(crate) recipe: Recipe,
    /// The settings it is tuned over before the real runs, if it is: at least five, each a table
    /// from paths in the recipe (`sharpness.sam.rho`) to values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tune: Vec<BTreeMap<String, f64>>,
}

/// One figure or table.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Experiment {
    /// Heading.
    pub(crate) title: String,
    /// What the paper claims, in words.
    pub(crate) claim: String,
    /// What is measured.
    pub(crate) analysis: Analysis,
    /// What runs in each profile; a profile without an entry leaves the experiment out.
    pub(crate) profiles: BTreeMap<String, Plan>,
}

/// What an experiment trains and looks at in one profile.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Plan {
    /// Keys of methods.
    pub(crate) methods: Vec<String>,
    /// Keys of the methods that a claim compares with; others are shown but not judged.
    #[serde(default)]
    pub(crate) rivals: Vec<String>,
    /// Images and batch-norm modes of a sweep.
    #[serde(default)]
    pub(crate) views: Vec<View>,
}

/// One way to look at a trained network.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct View {
    /// Its name.
    pub(crate) name: String,
    /// Which statistics batch-norm uses.
    pub(crate) batch_norm: BatchNormMode,
    /// A part of the test images; all if absent.
    #[serde(default)]
    pub(crate) images: Option<ImageRange>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageRange {
    pub(crate) first: usize,
    pub(crate) count: usize,
}

impl View {
    /// Whether the data have the images that the view asks for.
    pub(crate) fn check(&self, data: &Data) -> Result<(), String> {
        let there = data.test.len();
        let images = self.images.map_or(there, |range| range.count);
        if let Some(range) = self.images
            && (range.count == 0 || range.first + range.count > there)
        {
            let last = range.first + range.count;
            return Err(format!(
                "images {} to {last} are asked for, there are {there}",
                range.first
            ));
        }
        match self.batch_norm {
            BatchNormMode::Batch(batch) if images % batch == 1 => Err(format!(
                "batches of {batch} leave a last one of 1 of {images} images, which has no statistics"
            )),
            BatchNormMode::Recalibrated(n) if n > data.train.len() => {
                Err(format!("{n} calibration images are asked for, there are {}", data.train.len()))
            }
            _ => Ok(()),
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Analysis {
    /// Loss and accuracy in each epoch.
    Curves(Curves),
    /// Histogram of the currents.
    Histogram(Histogram),
    /// Accuracy against ambient temperature.
    Drift(Drift),
    /// Accuracy against the radius of the ascent.
    Sensitivity(Sensitivity),
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Curves {
    /// The method whose clean accuracy is compared, and with which.
    pub(crate) method: String,
    pub(crate) baseline: String,
    /// Largest loss of clean accuracy, in percent points, that counts as none.
    #[serde(deserialize_with = "percent")]
    pub(crate) tolerance: f64,
    #[serde(default)]
    pub(crate) paper: Vec<PaperCurve>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaperCurve {
    pub(crate) method: String,
    pub(crate) source: String,
    pub(crate) loss: Vec<f64>,
    pub(crate) accuracy: Vec<f64>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Histogram {
    pub(crate) method: String,
    pub(crate) baseline: String,
    /// Width of a bin in mA.
    #[serde(deserialize_with = "positive")]
    pub(crate) bin_milliamp: f64,
    /// Smallest and largest current shown, in mA.
    pub(crate) range_milliamp: [f64; 2],
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drift {
    pub(crate) method: String,
    pub(crate) baseline: String,
    /// The layers that drift.
    pub(crate) layers: Vec<String>,
    /// Shift of the resonances.
    #[serde(deserialize_with = "positive")]
    pub(crate) nm_per_kelvin: f64,
    /// Temperatures of the sweep.
    pub(crate) kelvin: Vec<f64>,
    /// Where the claim is judged: at all of these.
    pub(crate) judged_at_kelvin: Vec<f64>,
    /// Percent points from 0 K that a network may lose and still be said to keep its accuracy.
    #[serde(deserialize_with = "percent")]
    pub(crate) keeps_within: f64,
    #[serde(default)]
    pub(crate) paper: Vec<PaperDrift>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaperDrift {
    pub(crate) method: String,
    /// Its name in tables and plots.
    pub(crate) label: String,
    pub(crate) source: String,
    /// Whether it was measured on the chip; if not, it was simulated with batch statistics.
    pub(crate) measured: bool,
    pub(crate) kelvin: Vec<f64>,
    pub(crate) accuracy: Vec<f64>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sensitivity {
    /// Radii of the ascent.
    #[serde(deserialize_with = "radii")]
    pub(crate) rho: Vec<f64>,
    /// The layers that drift, and by how much, in the second column.
    pub(crate) layers: Vec<String>,
    #[serde(deserialize_with = "positive")]
    pub(crate) nm_per_kelvin: f64,
    pub(crate) kelvin: f64,
    /// Percent points of clean accuracy that radii up to 1 may lose.
    #[serde(deserialize_with = "percent")]
    pub(crate) small_loses_at_most: f64,
    /// Percent points of clean accuracy that radii from 10 on must lose.
    #[serde(deserialize_with = "percent")]
    pub(crate) large_loses_at_least: f64,
    #[serde(default)]
    pub(crate) paper: Vec<PaperSensitivity>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaperSensitivity {
    pub(crate) rho: f64,
    pub(crate) accuracy: f64,
}

fn bounded<'de, D: Deserializer<'de>>(
    deserializer: D,
    inside: impl Fn(f64) -> bool,
    allowed: &str,
) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if inside(value) {
        Ok(value)
    } else {
        Err(serde::de::Error::custom(format!("{value} is out of range, allowed is {allowed}")))
    }
}

fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    bounded(deserializer, |v| v > 0.0 && v.is_finite(), "(0, infinity)")
}

fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    bounded(deserializer, |v| (0.0..=100.0).contains(&v), "[0, 100]")
}

fn radii<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let values = Vec::<f64>::deserialize(deserializer)?;
    match values.iter().find(|v| !(0.0..f64::INFINITY).contains(*v)) {
        Some(v) => Err(serde::de::Error::custom(format!(
            "rho {v} is out of range, allowed is [0, infinity)"
        ))),
        None => Ok(values),
    }
}

/// The profile names, in the order in which they are listed.
pub(crate) const PROFILES: [&str; 3] = ["quick", "paper", "controlled"];

/// All experiments and profiles of a folder.
pub(crate) struct Catalogue {
    pub(crate) profiles: BTreeMap<String, Profile>,
    pub(crate) experiments: BTreeMap<String, Experiment>,
}

/// Where the experiments of this workspace are.
pub(crate) fn default_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments")
}

impl Catalogue {
    /// Reads `profiles/*.toml` and `*.toml` of a folder and checks them against each other.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let profiles: BTreeMap<String, Profile> = read_folder(&folder.join("profiles"))?;
        let experiments: BTreeMap<String, Experiment> = read_folder(folder)?;
        for (name, profile) in &profiles {
            let path = folder.join("profiles").join(format!("{name}.toml"));
            profile.check().map_err(|reason| Error::File { path, reason })?;
        }
        for (id, experiment) in &experiments {
            let path = folder.join(format!("{id}.toml"));
            experiment.check(&profiles).map_err(|reason| Error::File { path, reason })?;
        }
        Ok(Self { profiles, experiments })
    }
}

fn read_folder<T: DeserializeOwned>(folder: &Path) -> Result<BTreeMap<String, T>> {
    let io = |source| Error::Io { path: folder.to_owned(), source };
    let mut read = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|e| e == "toml")
            && let Some(name) = path.file_stem().and_then(|n| n.to_str())
        {
            read.insert(name.to_owned(), parse(&path, &read_text(&path)?)?);
        }
    }
    Ok(read)
}

/// Parses a TOML file; the error names file, line and what is allowed.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    toml::from_str(text).map_err(|e| Error::File { path: path.to_owned(), reason: e.to_string() })
}

impl Profile {
    fn check(&self) -> Result<(), String> {
        if self.seeds.is_empty() {
            return Err("seeds is empty, at least one is needed".into());
        }
        if let Some(seed) = repeated(&self.seeds) {
            return Err(format!(
                "seeds lists {seed} twice; an interval over seeds needs different ones"
            ));
        }
        for (key, method) in &self.methods {
            if (1..5).contains(&method.tune.len()) {
                let given = method.tune.len();
                return Err(format!(
                    "methods.{key}.tune has {given} settings, at least 5 are needed"
                ));
            }
            for settings in &method.tune {
                method
                    .with_settings(settings)
                    .map_err(|reason| format!("methods.{key}.tune: {reason}"))?;
            }
        }
        Ok(())
    }
}

impl Method {
    /// This method with other values of some settings of its recipe.
    pub(crate) fn with_settings(&self, settings: &BTreeMap<String, f64>) -> Result<Self, String> {
        settings.iter().try_fold(self.clone(), |method, (path, value)| {
            method
                .with_setting(path, *value)
                .map_err(|reason| format!("{path} = {value}: {reason}"))
        })
    }

    /// This method with another value of one setting of its recipe, named by its path.
    pub(crate) fn with_setting(&self, path: &str, value: f64) -> Result<Self, String> {
        let mut recipe = serde_json::to_value(&self.recipe).map_err(|e| e.to_string())?;
        let mut here = &mut recipe;
        for part in path.split('.') {
            let next = match part.parse::<usize>() {
                Ok(index) => here.get_mut(index),
                Err(_) => here.get_mut(part),
            };
            here = next.ok_or_else(|| format!("the recipe has no setting {part:?} in {path:?}"))?;
        }
        if !here.is_number() {
            return Err(format!("{path:?} is not a number in the recipe"));
        }
        *here = serde_json::json!(value);
        let recipe = serde_json::from_value(recipe).map_err(|e| e.to_string())?;
        Ok(Self { recipe, tune: Vec::new(), ..self.clone() })
    }
}

impl Experiment {
    fn check(&self, profiles: &BTreeMap<String, Profile>) -> Result<(), String> {
        for (name, plan) in &self.profiles {
            let Some(profile) = profiles.get(name) else {
                let known: Vec<_> = profiles.keys().map(String::as_str).collect();
                return Err(format!("no profile {name:?}; there is {}", known.join(", ")));
            };
            for method in &plan.methods {
                if !profile.methods.contains_key(method) {
                    let known: Vec<_> = profile.methods.keys().map(String::as_str).collect();
                    return Err(format!(
                        "profile {name} has no method {method:?}; there is {}",
                        known.join(", ")
                    ));
                }
            }
            let needs_views =
                matches!(self.analysis, Analysis::Drift(_) | Analysis::Sensitivity(_));
            if needs_views && plan.views.is_empty() {
                return Err(format!("profiles.{name}.views is empty, at least one is needed"));
            }
            for rival in &plan.rivals {
                if !plan.methods.contains(rival) {
                    return Err(format!("profiles.{name}.rivals: {rival:?} is not in methods"));
                }
            }
            for view in &plan.views {
                let images = match view.batch_norm {
                    BatchNormMode::Running => continue,
                    BatchNormMode::Batch(images) | BatchNormMode::Recalibrated(images) => images,
                };
                if images < 2 {
                    return Err(format!(
                        "profiles.{name}, view {:?}: {images} images give no statistics, at least 2 are needed",
                        view.name
                    ));
                }
            }
            if let Some((method, baseline)) = self.analysis.compared() {
                for method in [method, baseline] {
                    if !plan.methods.contains(method) {
                        return Err(format!(
                            "profiles.{name}.methods lacks {method:?}, which the analysis compares"
                        ));
                    }
                }
            }
        }
        if let Analysis::Histogram(histogram) = &self.analysis {
            let [low, high] = histogram.range_milliamp;
            let bins = (high - low) / histogram.bin_milliamp;
            if !(1.0..=10_000.0).contains(&bins) {
                return Err(format!(
                    "range_milliamp [{low}, {high}] in bins of {} makes {bins} bins, allowed is [1, 10000]",
                    histogram.bin_milliamp
                ));
            }
        }
        if let Analysis::Sensitivity(sensitivity) = &self.analysis
            && sensitivity.rho.len() < 2
        {
            return Err("rho needs at least two values".into());
        }
        if let Analysis::Drift(drift) = &self.analysis {
            if drift.judged_at_kelvin.is_empty() {
                return Err("judged_at_kelvin is empty, at least one temperature is needed".into());
            }
            for kelvin in drift.judged_at_kelvin.iter().chain([&0.0]) {
                if !drift.kelvin.contains(kelvin) {
                    return Err(format!(
                        "judged_at_kelvin {kelvin} is not in kelvin (0 must be too)"
                    ));
                }
            }
            if let Some(kelvin) = drift.kelvin.iter().find(|k| !k.is_finite()) {
                return Err(format!("kelvin {kelvin} is not finite"));
            }
            if let Some(layer) = repeated(&drift.layers) {
                return Err(format!("layers lists {layer:?} twice"));
            }
            for paper in &drift.paper {
                if paper.kelvin.len() != paper.accuracy.len() {
                    return Err(format!(
                        "paper {:?}: kelvin and accuracy differ in length",
                        paper.label
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The first entry that a list has twice.
fn repeated<T: PartialEq>(list: &[T]) -> Option<&T> {
    list.iter().enumerate().find(|(i, item)| list[..*i].contains(item)).map(|(_, item)| item)
}

impl Analysis {
    /// The method under test and its baseline.
    fn compared(&self) -> Option<(&String, &String)> {
        match self {
            Self::Curves(c) => Some((&c.method, &c.baseline)),
            Self::Histogram(h) => Some((&h.method, &h.baseline)),
            Self::Drift(d) => Some((&d.method, &d.baseline)),
            Self::Sensitivity(_) => None,
        }
    }
}
