//! Training epochs.

use std::collections::BTreeMap;
use std::time::Instant;

use pnn_core::model::{Lab, Model};
use pnn_core::optim::Optimizer;
use pnn_core::{Seed, Tensor};
use pnn_data::{Dataset, Normalisation};
use pnn_train::{Backprop, CROSS_ENTROPY, RawRecipe, TrainConfig, Trainer};

use super::Side;
use super::step::Steps;
use crate::bench::agree::Numbers;
use crate::bench::inputs::Inputs;
use crate::bench::workload::Workload;
use crate::error::Result;

/// Epochs of a network; what is checked before is its steps on the first batch.
pub(super) struct Epochs<'a> {
    steps: Steps,
    recipe: RawRecipe,
    images: &'a Dataset,
}

impl<'a> Epochs<'a> {
    pub(super) fn new(workload: &Workload, inputs: &'a Inputs) -> Result<Self> {
        let (recipe, images) = (workload.recipe.clone(), &inputs.images);
        Ok(Self { steps: Steps::new(workload, inputs)?, recipe, images })
    }
}

/// Trains a model with the one training loop, without validation or checkpoints.
pub(super) fn train(
    model: &dyn Model,
    optimizer: &mut dyn Optimizer,
    recipe: &RawRecipe,
    images: &Dataset,
    epochs: usize,
) -> Result<()> {
    let config = TrainConfig {
        epochs,
        batch_size: recipe.batch_size,
        schedule: recipe.schedule,
        normalisation: Normalisation::UNIT,
        shuffle: true,
        seed: Seed::new(0).child("bench"),
        checkpoint: None,
    };
    let mut trainer = Trainer {
        model,
        strategy: &mut Backprop,
        optimizer,
        lab: &mut Lab::new(),
        loss: CROSS_ENTROPY,
    };
    trainer.train(images, &config, &mut |_| Ok(BTreeMap::new()), &mut ())?;
    Ok(())
}

impl Side for Epochs<'_> {
    fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        self.steps.tensors()
    }

    fn check(&mut self) -> Result<Numbers> {
        self.steps.check()
    }

    fn round(&mut self, n: usize) -> Result<f64> {
        let mut optimizer = self.steps.start()?;
        let model = self.steps.model.as_ref();
        let started = Instant::now();
        train(model, optimizer.as_mut(), &self.recipe, self.images, n)?;
        Ok(started.elapsed().as_secs_f64())
    }
}
