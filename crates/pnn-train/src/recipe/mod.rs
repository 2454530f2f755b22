//! Recipes: a method as plain data (parametrisation, strategy, optimizer, budget), checked when it
//! is read, and the one place where names become objects.

mod checks;
mod sharpness;

use std::borrow::Cow;
use std::sync::Arc;

use pnn_core::model::{Lab, Model};
use pnn_core::ops::Sampling;
use pnn_core::optim::{Adam, Optimizer, Schedule, Sgd};
use pnn_core::{Bounds, Chip, DType, Deviations, Seed, Twin};
use pnn_data::{Dataset, Normalisation};
use pnn_noise::NoiseModel;
use serde::{Deserialize, Serialize};

use crate::d2nn::D2nn;
use crate::dat::{DualAdaptive, DualAdaptiveSettings};
use crate::deviation::{DeviationAscent, DeviationAscentSettings};
use crate::freespace_mlp::FreeSpaceMlp;
use crate::lenet::{FcActivation, LeNet5};
use crate::mrr_factory::MrrFactory;
use crate::mzi_lenet::MziLeNet5;
use crate::strategy::{Backprop, CROSS_ENTROPY, NoiseAware, PhysicsAware, Pruning, Strategy};
use crate::task::Loss;
use crate::trainer::{CheckpointConfig, TrainConfig};
use crate::trajectory::{Mesa, Saf};
use crate::wdm_factory::RingChip;
use crate::{Error, Result};

use sharpness::sharpen;
pub use sharpness::{SharpnessRecipe, TrajectoryRecipe};

/// What is trained in a device, and with it the network: rings and heaters make a [`LeNet5`], a mesh a
/// [`MziLeNet5`], modulators a [`FreeSpaceMlp`], masks a [`D2nn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trained {
    /// The weights, within the ring's range; the detunings are computed afterwards.
    Weights,
    /// The detunings in nm.
    Detunings,
    /// The heater currents in mA, in the figures' convention `x = 4 - I`.
    Currents,
    /// The heater currents in mA (or voltages, or powers) of physical rings on shared waveguides, with their
    /// crosstalk: [`RingChip`].
    Heaters,
    /// The phases in rad of a 64-port mesh of interferometers, and the electronics before it.
    Phases,
    /// The weights on the modulators of the multiplier in free space, within [-1, 1].
    Modulators,
    /// The phase masks of the nonlinear diffractive network, in turns.
    Masks,
}

impl Trained {
    /// Whether it makes a network of the paper's microrings.
    #[must_use]
    pub fn is_rings(self) -> bool {
        matches!(self, Self::Weights | Self::Detunings | Self::Currents)
    }

    /// Whether it makes pictures that may be misaligned.
    #[must_use]
    pub fn is_pictures(self) -> bool {
        matches!(self, Self::Modulators | Self::Masks)
    }
}

/// How gradients are obtained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StrategyRecipe {
    /// Backpropagation on the ideal model.
    Bp,
    /// Noise-aware training.
    Nat {
        /// What each step's chip is drawn from.
        noise: NoiseModel,
    },
    /// Optical pruning.
    Pruning {
        /// Factor of the penalty on `dw/dx` (2-norm in 1/nm).
        coefficient: f64,
        /// Takes half of the true derivative, as the published code does.
        #[serde(default)]
        published_half_slope: bool,
    },
    /// Physics-aware training, with the layer-by-layer hardware forward pass.
    Pat {
        /// What the one fixed chip in the loop is drawn from; if absent, it is the chip that is
        /// given to [`Recipe::strategy`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hardware: Option<NoiseModel>,
    },
    /// Dual adaptive training.
    Dat {
        /// The chip in the loop, as for `pat`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hardware: Option<NoiseModel>,
        /// Error networks, warm-up and what else there is to set.
        #[serde(default)]
        settings: DualAdaptiveSettings,
    },
    /// Training that climbs deviations: SAT where they have no explicit model.
    DeviationAscent(DeviationAscentSettings),
}

/// How pixels become inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pixels {
    /// In [0, 1].
    Unit,
    /// With the mean and the standard deviation of MNIST taken out.
    Mnist,
}

/// The update rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RuleRecipe {
    /// Stochastic gradient descent.
    Sgd {
        /// Learning rate.
        rate: f64,
        /// Momentum, in [0, 1).
        #[serde(default)]
        momentum: f64,
    },
    /// Adam.
    Adam {
        /// Learning rate.
        rate: f64,
    },
    /// `AdamW`.
    AdamW {
        /// Learning rate.
        rate: f64,
        /// Decoupled weight decay.
        weight_decay: f64,
    },
}

/// A method: what is trained, how, and for how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawRecipe", into = "RawRecipe")]
pub struct Recipe {
    raw: RawRecipe,
}

/// A recipe before its checks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawRecipe {
    /// What is trained in a device.
    pub train: Trained,
    /// What a misaligned picture shows between its pixels; only for modulators and masks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sampling: Sampling,
    /// What follows the hidden fully connected layers of a network of rings.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fc_activation: FcActivation,
    /// The chip whose heaters are trained; only for heaters.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ring_chip: RingChip,
    /// How pixels become inputs; as the paper has it for the network if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<Pixels>,
    /// The limit of the electronic weights before a mesh, either sign; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_limit: Option<f64>,
    /// Bits of the display that shows the inputs of each layer of modulators; as they are if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_bits: Option<u32>,
    /// How gradients are obtained.
    pub strategy: StrategyRecipe,
    /// The update rule.
    pub optimizer: RuleRecipe,
    /// Sharpness-aware steps, if wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sharpness: Option<SharpnessRecipe>,
    /// Staying near to earlier outputs, if wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trajectory: Option<TrajectoryRecipe>,
    /// Factor on the learning rate.
    #[serde(default)]
    pub schedule: Schedule,
    /// Passes over the data, 1 to 10,000.
    pub epochs: usize,
    /// Images a step, 2 to 60,000.
    pub batch_size: usize,
    /// Trains on the first so many images only; on all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<usize>,
    /// Takes the images in the order of the data set in every epoch.
    #[serde(default, skip_serializing_if = "is_default")]
    pub in_order: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl From<Recipe> for RawRecipe {
    fn from(recipe: Recipe) -> Self {
        recipe.raw
    }
}

impl std::ops::Deref for Recipe {
    type Target = RawRecipe;

    fn deref(&self) -> &RawRecipe {
        &self.raw
    }
}

impl Recipe {
    /// The optimizer.
    ///
    /// # Errors
    /// If a setting is out of range.
    pub fn optimizer(&self) -> Result<Box<dyn Optimizer>> {
        let sharpness = self.raw.sharpness;
        match self.raw.optimizer {
            RuleRecipe::Sgd { rate, momentum } => sharpen(sharpness, Sgd::new(rate, momentum)?),
            RuleRecipe::Adam { rate } => sharpen(sharpness, Adam::new(rate)?),
            RuleRecipe::AdamW { rate, weight_decay } => {
                sharpen(sharpness, Adam::new(rate)?.decoupled(weight_decay)?)
            }
        }
    }

    /// A fresh network: [`LeNet5`] of rings, or [`MziLeNet5`], [`FreeSpaceMlp`] or [`D2nn`] as in Xu et
    /// al. (2026).
    ///
    /// # Errors
    /// If a device cannot be built.
    pub fn model(&self, seed: &Seed, dtype: DType) -> Result<Box<dyn Model>> {
        Ok(match self.raw.train {
            Trained::Phases => {
                let weights = match self.raw.weight_limit {
                    Some(limit) => Bounds::new(-limit, limit)?,
                    None => Bounds::UNBOUNDED,
                };
                Box::new(MziLeNet5::published(weights, seed, dtype)?)
            }
            Trained::Weights | Trained::Detunings | Trained::Currents => {
                Box::new(LeNet5::new(&self.mrr_factory(), self.raw.fc_activation, seed, dtype)?)
            }
            Trained::Heaters => {
                let chip = self.raw.ring_chip;
                Box::new(LeNet5::new(&chip, FcActivation::Relu, seed, dtype)?)
            }
            Trained::Modulators => {
                let (black, white) =
                    (self.normalisation().apply(0), self.normalisation().apply(255));
                let range = Bounds { low: black, high: white };
                let display = self.raw.display_bits.map(|bits| (bits, range));
                Box::new(FreeSpaceMlp::new(self.raw.sampling, display, seed, dtype)?)
            }
            Trained::Masks => Box::new(D2nn::new(self.raw.sampling, seed, dtype)?),
        })
    }

    /// The loss of the network: cross-entropy, or for the detected shares of [`D2nn`] the squared distance
    /// from 0.1 at the right detector and none at the others (Xu et al., 2026).
    #[must_use]
    pub fn loss(&self) -> Loss {
        if self.raw.train == Trained::Masks { D2nn::LOSS } else { CROSS_ENTROPY }
    }

    /// The part of a training set that the recipe trains on.
    ///
    /// # Errors
    /// If the set has fewer images than the recipe asks for.
    pub fn part<'a>(&self, data: &'a Dataset) -> Result<Cow<'a, Dataset>> {
        Ok(match self.raw.images {
            Some(images) => Cow::Owned(data.range(0, images)?),
            None => Cow::Borrowed(data),
        })
    }

    /// How the recipe trains: its epochs, batches, schedule and pixels.
    #[must_use]
    pub fn config(&self, seed: Seed, checkpoint: Option<CheckpointConfig>) -> TrainConfig {
        TrainConfig {
            epochs: self.epochs,
            batch_size: self.batch_size,
            schedule: self.schedule,
            normalisation: self.normalisation(),
            shuffle: !self.in_order,
            seed,
            checkpoint,
        }
    }

    /// How the network of the recipe wants its pixels: if the recipe does not say it in [0, 1], or before a mesh
    /// and a display with the mean and the standard deviation of MNIST taken out (Xu et al., 2026).
    #[must_use]
    pub fn normalisation(&self) -> Normalisation {
        match (self.raw.pixels, self.raw.train) {
            (Some(Pixels::Mnist), _) => Normalisation::MNIST,
            (None, Trained::Phases | Trained::Modulators) => Normalisation::MNIST,
            (Some(Pixels::Unit) | None, _) => Normalisation::UNIT,
        }
    }

    /// The strategy, and the hardware that it has in its loop: a digital twin of each layer that
    /// the recipe's chip, or the one given, disturbs.
    ///
    /// # Errors
    /// If the chip cannot be drawn for the model, or training in situ has none.
    pub fn strategy(
        &self,
        model: &dyn Model,
        given: &Chip,
        seed: &Seed,
    ) -> Result<(Box<dyn Strategy>, Lab)> {
        let (strategy, lab): (Box<dyn Strategy>, Lab) = match &self.raw.strategy {
            StrategyRecipe::Bp => (Box::new(Backprop), Lab::new()),
            StrategyRecipe::Nat { noise } => {
                (Box::new(NoiseAware { noise: noise.clone() }), Lab::new())
            }
            StrategyRecipe::Pruning { coefficient, published_half_slope } => {
                let factor = if *published_half_slope { 0.5 } else { 1.0 };
                (Box::new(Pruning { coefficient: coefficient * factor }), Lab::new())
            }
            StrategyRecipe::DeviationAscent(settings) => {
                (Box::new(DeviationAscent::new(settings.clone(), model)?), Lab::new())
            }
            StrategyRecipe::Pat { .. } => {
                (Box::new(PhysicsAware), self.lab("pat", model, given, seed)?)
            }
            StrategyRecipe::Dat { settings, .. } => {
                let strategy = DualAdaptive::new(*settings, model, seed)?;
                (Box::new(strategy), self.lab("dat", model, given, seed)?)
            }
        };
        Ok(match self.raw.trajectory {
            None => (strategy, lab),
            Some(TrajectoryRecipe::Saf(settings)) => (Box::new(Saf::new(settings, strategy)?), lab),
            Some(TrajectoryRecipe::Mesa(settings)) => {
                (Box::new(Mesa::new(settings, strategy)?), lab)
            }
        })
    }

    /// Hardware for training in situ: without any it would be training in silico by another name.
    fn lab(
        &self,
        strategy: &'static str,
        model: &dyn Model,
        given: &Chip,
        seed: &Seed,
    ) -> Result<Lab> {
        let lab = twins(model, &self.chip_in_loop(model, given, seed)?)?;
        if lab.is_empty() {
            let layers = model.physical_layers();
            return Err(Error::Missing {
                strategy,
                needs: "a chip in its loop (hardware, or the fixed chip of the profile)",
                layer: layers.iter().map(|layer| layer.name()).collect::<Vec<_>>().join(", "),
                what: "ideal".into(),
            });
        }
        Ok(lab)
    }

    /// The chip that training has in its loop, and that its network is meant for: drawn as the
    /// recipe says, or the one given; the ideal one if training is in silico.
    ///
    /// # Errors
    /// If the chip cannot be drawn for the model.
    pub fn chip_in_loop(&self, model: &dyn Model, given: &Chip, seed: &Seed) -> Result<Chip> {
        match &self.raw.strategy {
            StrategyRecipe::Pat { hardware: Some(hardware) }
            | StrategyRecipe::Dat { hardware: Some(hardware), .. } => {
                Ok(hardware.draw(&model.physical_layers(), 1, &seed.child("hardware"))?)
            }
            StrategyRecipe::Pat { hardware: None } | StrategyRecipe::Dat { hardware: None, .. } => {
                Ok(given.clone())
            }
            _ => Ok(Chip::ideal()),
        }
    }

    /// Makes microring weight banks with the recipe's parametrisation.
    #[must_use]
    pub fn mrr_factory(&self) -> MrrFactory {
        MrrFactory(self.raw.train)
    }
}

/// A digital twin of each layer that a chip disturbs, as hardware that can only be measured.
///
/// # Errors
/// If the chip has deviations that a layer does not know.
pub fn twins(model: &dyn Model, chip: &Chip) -> Result<Lab> {
    let mut lab = Lab::new();
    for layer in model.physical_layers() {
        if let Some(deviations) = chip.layer(layer.name()) {
            let deviations: Deviations = deviations.clone();
            let twin = Twin::new(Arc::clone(layer.device()), deviations)?;
            lab.insert(layer.name().to_owned(), Box::new(twin));
        }
    }
    Ok(lab)
}
