//! Strategies: how gradients are obtained. Which point they are taken at, once or twice, is the
//! optimizer's business: SAT in silico is [`Backprop`] under a sharpness-aware optimizer, SAT in
//! situ is [`PhysicsAware`] under one.

use std::collections::BTreeMap;

use pnn_core::loss::cross_entropy;
use pnn_core::model::{Counters, InSilico, InSitu, Lab, Model, Truth};
use pnn_core::optim::Optimizer;
use pnn_core::{Chip, Seed, Tensor};
use pnn_noise::NoiseModel;

use crate::task::{Batch, Loss, Penalty, Task};
use crate::{Error, Result};

/// What a step gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// The objective at the parameters before the step, penalties included.
    pub loss: f64,
}

/// Everything a strategy may use in one step: a model, an optimizer and sources of truth, but
/// never a concrete device.
pub struct StepContext<'a> {
    /// The model that is trained.
    pub model: &'a dyn Model,
    /// Turns gradients into a step.
    pub optimizer: &'a mut dyn Optimizer,
    /// Hardware in the loop; empty if there is none.
    pub lab: &'a mut Lab,
    /// Counts passes.
    pub counters: &'a Counters,
    /// The epoch, from 0.
    pub epoch: usize,
    /// The step in the epoch, from 0.
    pub step: usize,
    /// The seed of this step; both passes of a sharpness-aware step share it.
    pub seed: Seed,
    /// The task's loss.
    pub loss: Loss,
}

impl StepContext<'_> {
    /// One optimizer step on the loss of a batch under a source of truth, and clamping of the
    /// parameters to their bounds. Running statistics move in the pass at the parameters only.
    ///
    /// # Errors
    /// If a pass fails, or loss or gradients are not finite ([`pnn_core::Error::NotFinite`]); parameters
    /// and running statistics are then as before.
    pub fn descend(
        &mut self,
        batch: &Batch,
        truth: &mut dyn Truth,
        penalty: Option<Penalty<'_>>,
    ) -> Result<StepReport> {
        self.task(batch).descend(self.optimizer, truth, penalty)
    }

    /// One optimizer step with the hardware of the lab in the loop: values as measured, gradients
    /// of the model at the measured inputs.
    ///
    /// # Errors
    /// As [`Self::descend`], and if an instrument fails.
    pub fn descend_in_situ(&mut self, batch: &Batch) -> Result<StepReport> {
        let task = self.task(batch);
        task.descend(self.optimizer, &mut InSitu(self.lab), None)
    }
}

impl<'a> StepContext<'a> {
    /// What is evaluated in this step.
    #[must_use]
    pub fn task<'b>(&self, batch: &'b Batch) -> Task<'b>
    where
        'a: 'b,
    {
        Task::new(self, batch)
    }
}

/// How gradients are obtained, one step at a time.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a strategy",
    note = "implement `Strategy::step`: choose a source of truth and call `StepContext::descend`"
)]
pub trait Strategy {
    /// Makes one step on a batch.
    ///
    /// # Errors
    /// If a pass fails or gives values that are not finite.
    fn step(&mut self, batch: &Batch, cx: &mut StepContext<'_>) -> Result<StepReport>;

    /// All that the next steps depend on beside model and optimizer, by name: what a checkpoint
    /// keeps of the strategy. Most strategies have nothing of the kind.
    ///
    /// # Errors
    /// If it cannot be copied.
    fn state(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(BTreeMap::new())
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape.
    fn load_state(&mut self, _state: &BTreeMap<String, Tensor>) -> Result<()> {
        Ok(())
    }
}

/// Backpropagation on the ideal model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Backprop;

impl Strategy for Backprop {
    fn step(&mut self, batch: &Batch, cx: &mut StepContext<'_>) -> Result<StepReport> {
        cx.descend(batch, &mut InSilico(&Chip::ideal()), None)
    }
}

/// Noise-aware training: the gradient of a chip freshly drawn at every step. With a random common
/// drift for noise this is training on a perturbation that is known to come.
#[derive(Debug, Clone)]
pub struct NoiseAware {
    /// The statistics of the chips.
    pub noise: NoiseModel,
}

impl Strategy for NoiseAware {
    fn step(&mut self, batch: &Batch, cx: &mut StepContext<'_>) -> Result<StepReport> {
        let layers = cx.model.physical_layers();
        let chip = self.noise.draw(&layers, batch.images.dim(0)?, &cx.seed.child("noise"))?;
        cx.descend(batch, &mut InSilico(&chip), None)
    }
}

/// Optical pruning: backpropagation with `coefficient` times the sum over layers of the 2-norm of
/// `dw/dx`, which pushes the weights to where a shift of the resonance changes them least.
#[derive(Debug, Clone, Copy)]
pub struct Pruning {
    /// Factor of the penalty, in nm for sensitivities in 1/nm.
    pub coefficient: f64,
}

impl Strategy for Pruning {
    fn step(&mut self, batch: &Batch, cx: &mut StepContext<'_>) -> Result<StepReport> {
        let penalty = |model: &dyn Model| -> Result<Option<Tensor>> {
            let mut sum: Option<Tensor> = None;
            for layer in model.physical_layers() {
                let Some(slopes) = layer.device().sensitivity(&layer.controls())? else {
                    return Err(Error::Missing {
                        strategy: "pruning",
                        needs: "a sensitivity dw/dx",
                        layer: layer.name().to_owned(),
                        what: layer.device().controls().iter().map(|c| c.name).collect(),
                    });
                };
                let norm = slopes.sqr()?.sum_all()?.sqrt()?;
                sum = Some(match sum {
                    Some(sum) => (sum + norm)?,
                    None => norm,
                });
            }
            Ok(sum.map(|sum| sum * self.coefficient).transpose()?)
        };
        cx.descend(batch, &mut InSilico(&Chip::ideal()), Some(&penalty))
    }
}

/// Physics-aware training (Wright et al., Nature 601, 549, 2022): the hardware's forward pass, the
/// model's backward pass at the measured inputs of each layer.
#[derive(Debug, Clone, Copy, Default)]
pub struct PhysicsAware;

impl Strategy for PhysicsAware {
    fn step(&mut self, batch: &Batch, cx: &mut StepContext<'_>) -> Result<StepReport> {
        cx.descend_in_situ(batch)
    }
}

/// The default loss of classifiers.
pub const CROSS_ENTROPY: Loss = cross_entropy;
