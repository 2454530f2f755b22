//! What profiles and experiments consist of.

use std::collections::BTreeMap;
use std::sync::Arc;

use pnn_eval::BatchNormMode;
use pnn_noise::NoiseModel;
use pnn_train::{Recipe, Trained};
use serde::{Deserialize, Serialize};

use super::Analysis;
use crate::reproduce::chip::{ChipRecipe, FixedChip};

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
    /// The chip in the loop of in-situ training that names no hardware of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fixed_chip: Option<ChipRecipe>,
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

impl Profile {
    /// The seeds of a method's runs: the first, as many as it may have.
    pub(crate) fn seeds_of(&self, method: &str) -> &[u64] {
        let given = self.methods.get(method).and_then(|method| method.seeds);
        &self.seeds[..given.unwrap_or(self.seeds.len()).min(self.seeds.len())]
    }
}

/// One method of a profile.
#[derive(Debug, Clone, Deserialize, Serialize)]
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
    /// How many of the profile's seeds it is trained with, for methods too slow for all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seeds: Option<usize>,
    /// What the held-back images are seen through when settings are compared: what the method is
    /// allowed to know.
    #[serde(default, skip_serializing_if = "TunedOn::is_drift")]
    pub(crate) tuned_on: TunedOn,
    /// The fixed chip of the profile.
    #[serde(skip)]
    pub(crate) fixed: Arc<FixedChip>,
}

impl Method {
    /// The fixed chip, if it may be in the loop of the method: a part of what its results depend on.
    pub(crate) fn chip_name(&self) -> &str {
        match self.recipe.train {
            Trained::Phases => &self.fixed.name,
            _ => "",
        }
    }
}

/// The chips on which the settings of a method are compared.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum TunedOn {
    /// The common drift of fc2 and fc3 from -2 to 2 K.
    #[default]
    Drift,
    /// The chip in the loop of the training, or the ideal one, as it is.
    Clean,
    /// Chips drawn from this, the same for all settings.
    Noise(NoiseModel),
    /// Every combination of these deviations.
    Sweep(Vec<Swept>),
}

/// Values of a deviation port of some layers, all alike.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Swept {
    pub(crate) port: String,
    pub(crate) layers: Vec<String>,
    pub(crate) values: Vec<f64>,
}

impl TunedOn {
    fn is_drift(&self) -> bool {
        *self == Self::Drift
    }

    /// In words for the report.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Drift => "common drift from -2 to 2 K".into(),
            Self::Clean => "no deviation but those of a chip in the loop".into(),
            Self::Sweep(axes) => {
                let axis = |axis: &Swept| {
                    format!("{} of {} at {:?}", axis.port, axis.layers.join(", "), axis.values)
                };
                axes.iter().map(axis).collect::<Vec<_>>().join("; ")
            }
            Self::Noise(noise) => {
                serde_json::to_string(noise).unwrap_or_else(|_| "drawn chips".into())
            }
        }
    }
}

/// One figure or table.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Experiment {
    /// Heading.
    pub(crate) title: String,
    /// What is tested: a claim of the paper, or one that its claims rest on.
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
    /// Chips that each random deviation is drawn for; the analysis that draws needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) chips: Option<usize>,
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
