//! Accuracy of one trained network on many chips.

use std::collections::BTreeMap;
use std::time::Instant;

use pnn_core::model::{Model, model_state};
use pnn_core::{Chip, Seed, Tensor};
use pnn_data::{Dataset, Normalisation};
use pnn_devices::mrr::RESONANCE_SHIFT_NM;
use pnn_eval::{BatchNormMode, Evaluator};
use pnn_noise::{Noise, NoiseModel, Source};
use pnn_train::{FcActivation, LeNet5, Recipe};

use super::Side;
use super::epoch::train;
use crate::bench::agree::Numbers;
use crate::bench::inputs::Inputs;
use crate::bench::workload::Workload;
use crate::error::Result;

/// Epochs that the network is trained for before anything is timed.
const EPOCHS: usize = 2;
/// What makes chips differ: ring-to-ring shifts in all layers, and an ambient temperature.
const SOURCES: [Source; 2] = [
    Source::Fabrication { std_nm: 0.01 },
    Source::RandomDrift { max_kelvin: 1.0, nm_per_kelvin: 0.08 },
];

/// A trained network and its chips.
pub(super) struct Chips<'a> {
    model: LeNet5,
    chips: Vec<Chip>,
    images: &'a Dataset,
}

impl<'a> Chips<'a> {
    /// Trains the network on the training images, and draws `count` chips.
    pub(super) fn new(workload: &Workload, inputs: &'a Inputs, count: usize) -> Result<Self> {
        let recipe = Recipe::try_from(workload.recipe.clone())?;
        let seed = Seed::new(0).child("bench");
        let dtype = pnn_core::DType::F32;
        let model = LeNet5::new(&recipe.mrr_factory(), FcActivation::Relu, &seed, dtype)?;
        train(&model, recipe.optimizer()?.as_mut(), &recipe, &inputs.train, EPOCHS)?;
        let noise = SOURCES.map(|source| Noise { source, layers: None });
        let noise = NoiseModel::new(noise.to_vec())?;
        let seeds = (0..count as u64).map(|chip| seed.child("chips").index(chip));
        let chips = seeds
            .map(|seed| noise.draw(&model.physical_layers(), 1, &seed))
            .collect::<Result<_, _>>()?;
        Ok(Self { model, chips, images: &inputs.images })
    }

    /// Correct answers on each chip, with running statistics.
    fn correct(&self) -> Result<Vec<f64>> {
        let evaluator = Evaluator {
            batch_norm: BatchNormMode::Running,
            normalisation: Normalisation::UNIT,
            calibration: None,
        };
        let evaluations = evaluator.evaluate_chips(&self.model, &self.chips, self.images)?;
        Ok(evaluations.iter().map(|e| e.confusion.correct() as f64).collect())
    }
}

impl Side for Chips<'_> {
    fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let state = model_state(&self.model).into_iter();
        let mut tensors: BTreeMap<String, Tensor> =
            state.map(|(name, value)| (format!("initial/{name}"), value)).collect();
        for (index, chip) in self.chips.iter().enumerate() {
            for (layer, deviations) in chip.iter() {
                for (_, shift) in deviations.iter().filter(|(port, _)| *port == RESONANCE_SHIFT_NM)
                {
                    tensors.insert(format!("shifts/{index}/{layer}"), shift.clone());
                }
            }
        }
        Ok(tensors)
    }

    fn check(&mut self) -> Result<Numbers> {
        Ok(Numbers::Correct(self.correct()?))
    }

    fn round(&mut self, n: usize) -> Result<f64> {
        let started = Instant::now();
        for _ in 0..n {
            self.correct()?;
        }
        Ok(started.elapsed().as_secs_f64())
    }
}
