//! What an experiment measures, with its constants and the paper's numbers.

use std::collections::BTreeMap;

use pnn_noise::{NoiseModel, Source, Spread};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Ambient, Family, Landscape, Link};
use crate::error::Result;

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
    /// What training knew against what the chip does.
    Knowledge(Knowledge),
    /// What a gap between two methods is due to.
    Gap(Gap),
    /// Accuracy on the profile's fixed chip, and what it cost.
    Deployment(Deployment),
    /// Accuracy on other chips, over a grid of fabrication errors.
    Transfer(Transfer),
    /// Accuracy against how panels are misaligned.
    Misalignment(Misalignment),
    /// Curvature of the loss, and pictures of it.
    Landscape(Landscape),
    /// Which measure of sharpness goes with robustness.
    Link(Link),
    /// What members of a family of methods reach, and what they cost.
    Family(Family),
    /// Accuracy, yield and power of chips of heated rings at several temperatures.
    Ambient(Ambient),
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deployment {
    /// Which methods the claim puts before which.
    pub(crate) contests: Vec<Contest>,
    /// Where the paper's numbers are.
    pub(crate) paper_source: Option<String>,
    #[serde(default)]
    pub(crate) paper: Vec<PaperDeployment>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Misalignment {
    /// What is swept: one deviation, or two over a grid.
    pub(crate) axes: Vec<SweptAxis>,
    /// Where methods are compared, beside the mean of the sweep: a value for each axis.
    pub(crate) judged_at: Vec<Vec<f64>>,
    /// Whose accuracy is to be kept there, if any is.
    pub(crate) keeps: Option<Keeps>,
    /// Which methods the claim puts before which.
    pub(crate) contests: Vec<Contest>,
    /// What else is compared, beside the claim.
    #[serde(default)]
    pub(crate) asked: Vec<Contest>,
    /// What to know when reading the figures.
    #[serde(default)]
    pub(crate) notes: Vec<String>,
    #[serde(default)]
    pub(crate) paper: Vec<PaperMisalignment>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SweptAxis {
    /// Its name in tables and plots.
    pub(crate) label: String,
    pub(crate) unit: String,
    /// The deviation port.
    pub(crate) port: String,
    /// The layers that deviate, all alike.
    pub(crate) layers: Vec<String>,
    /// Increasing; 0 is among them.
    pub(crate) values: Vec<f64>,
}

impl SweptAxis {
    /// Its name with its unit, if it has one.
    pub(crate) fn name(&self) -> String {
        if self.unit.is_empty() {
            return self.label.clone();
        }
        format!("{} ({})", self.label, self.unit)
    }
}

/// What the paper has along the one axis.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaperMisalignment {
    pub(crate) method: String,
    /// Its name in tables and plots.
    pub(crate) label: String,
    pub(crate) source: String,
    pub(crate) values: Vec<f64>,
    /// In percent.
    pub(crate) accuracy: Vec<f64>,
}

/// The claim that one method is more accurate than another.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contest {
    pub(crate) better: String,
    pub(crate) worse: String,
}

/// What the paper has of a method on its fixed chip.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaperDeployment {
    pub(crate) method: String,
    /// Epochs at which the next two are given.
    pub(crate) epochs: Vec<usize>,
    /// Training loss.
    pub(crate) loss: Vec<f64>,
    /// Accuracy on the chip in percent.
    pub(crate) accuracy: Vec<f64>,
    /// Time of the training on an RTX 3070 Ti.
    pub(crate) seconds: f64,
    pub(crate) lambda_max: Option<f64>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Transfer {
    /// Standard deviations of phase errors in rad.
    pub(crate) phase_std: Vec<f64>,
    /// Standard deviations of splitting-ratio errors.
    pub(crate) splitter_std: Vec<f64>,
    /// The cell in which methods are compared: phase and splitter.
    pub(crate) judged_at: [f64; 2],
    /// A chip below this accuracy in percent is no yield.
    #[serde(deserialize_with = "percent")]
    pub(crate) good_from: f64,
    /// Whose move to other chips is judged, if any is.
    pub(crate) keeps: Option<Keeps>,
    /// Which methods the claim puts before which.
    pub(crate) contests: Vec<Contest>,
    /// Where the paper's numbers are.
    pub(crate) paper_source: Option<String>,
    #[serde(default)]
    pub(crate) paper: Vec<PaperTransfer>,
}

/// The claim that a method loses little: on the way from the fixed chip to others, or from aligned panels to
/// misaligned ones.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keeps {
    pub(crate) method: String,
    /// Percent points that it may lose.
    #[serde(deserialize_with = "percent")]
    pub(crate) within: f64,
}

/// What the paper has of a method over the same grid: rows are phase errors.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaperTransfer {
    pub(crate) method: String,
    pub(crate) accuracy: Vec<Vec<f64>>,
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
    /// Where the paper's numbers are.
    pub(crate) paper_source: Option<String>,
    #[serde(default)]
    pub(crate) paper: Vec<PaperCurve>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PaperCurve {
    pub(crate) method: String,
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
    pub(crate) lambda_max: Option<f64>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Knowledge {
    /// The sharpness-aware methods that know nothing: what is judged, against the plan's one rival, which
    /// knows nothing either.
    pub(crate) sharp: Vec<String>,
    /// Methods that train on a kind of perturbation, by its name.
    pub(crate) knows: BTreeMap<String, String>,
    /// The kinds of perturbation: the columns.
    pub(crate) kinds: Vec<Kind>,
}

/// One kind of perturbation.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kind {
    pub(crate) name: String,
    pub(crate) strengths: Vec<Strength>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Strength {
    /// Its name in tables and plots.
    pub(crate) label: String,
    /// What chips are drawn from.
    pub(crate) noise: NoiseModel,
}

impl Strength {
    /// Whether chips differ from each other.
    pub(crate) fn is_random(&self) -> bool {
        self.noise.sources().iter().any(|noise| {
            !matches!(
                noise.source,
                Source::Drift { .. }
                    | Source::Quantisation { .. }
                    | Source::Misalignment { spread: Spread::Fixed(_), .. }
            )
        })
    }
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gap {
    /// The layers that drift.
    pub(crate) layers: Vec<String>,
    /// Shift of the resonances.
    #[serde(deserialize_with = "positive")]
    pub(crate) nm_per_kelvin: f64,
    /// Temperatures of the sweep.
    pub(crate) kelvin: Vec<f64>,
    /// Where differences are listed and judged.
    pub(crate) judged_at_kelvin: Vec<f64>,
    /// The gap to be explained.
    pub(crate) whole: Rung,
    /// The step that the claim holds responsible.
    pub(crate) judged: Rung,
    /// The other steps.
    pub(crate) rungs: Vec<Rung>,
}

/// A step from one method to another that differs in one thing.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rung {
    pub(crate) from: String,
    pub(crate) to: String,
    /// What differs.
    pub(crate) what: String,
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

pub(super) fn positive<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    bounded(deserializer, |v| v > 0.0 && v.is_finite(), "(0, infinity)")
}

pub(super) fn percent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
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

impl Analysis {
    /// The method under test and its baseline.
    pub(super) fn compared(&self) -> Option<(&String, &String)> {
        match self {
            Self::Curves(c) => Some((&c.method, &c.baseline)),
            Self::Histogram(h) => Some((&h.method, &h.baseline)),
            Self::Drift(d) => Some((&d.method, &d.baseline)),
            Self::Gap(g) => Some((&g.whole.to, &g.whole.from)),
            Self::Sensitivity(_)
            | Self::Knowledge(_)
            | Self::Deployment(_)
            | Self::Transfer(_)
            | Self::Misalignment(_)
            | Self::Landscape(_)
            | Self::Link(_)
            | Self::Family(_)
            | Self::Ambient(_) => None,
        }
    }
}
