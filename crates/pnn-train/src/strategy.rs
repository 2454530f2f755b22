//! Strategies: how gradients are obtained. Which point they are taken at, once or twice, is the
//! optimizer's business: SAT in silico is [`Backprop`] under a sharpness-aware optimizer, SAT in
//! situ is [`PhysicsAware`] under one.

use std::collections::BTreeMap;

use pnn_core::loss::cross_entropy;
use pnn_core::model::{Counters, InSilico, InSitu, Lab, Mode, Model, Pass, Truth};
use pnn_core::optim::{Evaluation, Objective, Optimizer, Point};
use pnn_core::{Chip, DType, Seed, Tensor};
use pnn_noise::NoiseModel;

use crate::{Error, Result};

/// Inputs and labels of one step.
#[derive(Debug, Clone)]
pub struct Batch {
    /// (batch, channels, height, width).
    pub images: Tensor,
    /// (batch) of u32.
    pub labels: Tensor,
}

/// What a step gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// The objective at the parameters before the step, penalties included.
    pub loss: f64,
}

/// A loss of logits and labels, such as [`cross_entropy`].
pub type Loss = fn(&Tensor, &Tensor) -> pnn_core::Result<Tensor>;

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

/// A differentiable term added to the loss.
pub type Penalty<'a> = &'a dyn Fn(&dyn Model) -> Result<Option<Tensor>>;

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
        Task { model: self.model, counters: self.counters, loss: self.loss, batch }
    }
}

/// The loss of a model on a batch, to be evaluated under any source of truth.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The model.
    pub model: &'a dyn Model,
    /// Counts passes.
    pub counters: &'a Counters,
    loss: Loss,
    batch: &'a Batch,
}

impl Task<'_> {
    /// The loss under a source of truth.
    ///
    /// # Errors
    /// If a layer fails.
    pub fn loss(&self, mode: Mode, truth: &mut dyn Truth) -> pnn_core::Result<Tensor> {
        let pass = &mut Pass::new(mode, truth, self.counters);
        (self.loss)(&self.model.forward(&self.batch.images, pass)?, &self.batch.labels)
    }

    /// The value of a loss.
    ///
    /// # Errors
    /// If it is not finite; the error names the layer where that starts.
    pub fn finite(
        &self,
        loss: &Tensor,
        mode: Mode,
        truth: &mut dyn Truth,
    ) -> pnn_core::Result<f64> {
        let value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if value.is_finite() {
            return Ok(value);
        }
        let layer = first_not_finite_layer(self.model, self.batch, mode, truth)?;
        Err(pnn_core::Error::NotFinite { what: "the loss".into(), value, layer })
    }

    /// The gradient of a loss that was found in this mode and under this truth.
    ///
    /// # Errors
    /// If loss or gradient are not finite.
    pub fn gradient(
        &self,
        loss: &Tensor,
        mode: Mode,
        truth: &mut dyn Truth,
    ) -> pnn_core::Result<Evaluation> {
        let value = self.finite(loss, mode, truth)?;
        let parameters = self.model.parameters();
        let gradients = parameters.gradients(&loss.backward()?);
        self.counters.count_backward();
        if let Some(name) = gradients.first_not_finite(parameters)? {
            return Err(pnn_core::Error::NotFinite {
                what: "a gradient".into(),
                value: f64::NAN,
                layer: name.to_owned(),
            });
        }
        Ok(Evaluation { loss: value, gradients })
    }

    /// One optimizer step on an objective, and clamping of the parameters to their bounds.
    ///
    /// # Errors
    /// If the objective fails; parameters and running statistics are then as before.
    pub fn minimise(
        &self,
        optimizer: &mut dyn Optimizer,
        objective: &mut Objective<'_>,
    ) -> Result<StepReport> {
        let buffers = self.model.buffers();
        let kept: Vec<Tensor> = buffers.iter().map(|(_, var)| var.value()).collect();
        let parameters = self.model.parameters();
        let result = optimizer.step(parameters, objective);
        if result.is_err() {
            // The pass that failed has moved the running statistics already.
            for ((_, var), value) in buffers.iter().zip(&kept) {
                var.set(value)?;
            }
        }
        let evaluation = result?;
        parameters.clamp_to_bounds()?;
        Ok(StepReport { loss: evaluation.loss })
    }

    pub(crate) fn descend(
        &self,
        optimizer: &mut dyn Optimizer,
        truth: &mut dyn Truth,
        penalty: Option<Penalty<'_>>,
    ) -> Result<StepReport> {
        let mut failure = None;
        let mut objective = |point: Point| -> pnn_core::Result<Evaluation> {
            let mode = Mode::Train { update_statistics: point == Point::Base };
            let mut loss = self.loss(mode, truth)?;
            if let Some(penalty) = penalty {
                match penalty(self.model) {
                    Ok(Some(term)) => loss = (loss + term)?,
                    Ok(None) => {}
                    Err(Error::Core(error)) => return Err(error),
                    Err(error) => {
                        let (device, capability) = ("the penalty".into(), error.to_string());
                        failure = Some(error);
                        return Err(pnn_core::Error::Unsupported { device, capability });
                    }
                }
            }
            self.gradient(&loss, mode, truth)
        };
        let result = self.minimise(optimizer, &mut objective);
        failure.map_or(result, Err)
    }
}

/// Runs the batch once more and names the first physical layer whose output is not finite, or the
/// first parameter, if that is where it starts.
fn first_not_finite_layer(
    model: &dyn Model,
    batch: &Batch,
    mode: Mode,
    truth: &mut dyn Truth,
) -> pnn_core::Result<String> {
    for parameter in model.parameters().iter() {
        if !parameter.var.value().all_finite()? {
            return Ok(parameter.name.clone());
        }
    }
    let mut watch = Watch { truth, culprit: None };
    let mode = match mode {
        Mode::Train { .. } => Mode::Train { update_statistics: false },
        other => other,
    };
    // Whatever the pass gives or fails with, the culprit is what is asked for; this extra pass is
    // counted on counters of its own.
    let _ = model.forward(&batch.images, &mut Pass::new(mode, &mut watch, &Counters::default()));
    Ok(watch.culprit.unwrap_or_else(|| "the output".into()))
}

struct Watch<'a> {
    truth: &'a mut dyn Truth,
    culprit: Option<String>,
}

impl Truth for Watch<'_> {
    fn run(
        &mut self,
        name: &str,
        device: &dyn pnn_core::PhysicalLayer,
        x: &Tensor,
        controls: &pnn_core::Controls,
    ) -> pnn_core::Result<Tensor> {
        if self.culprit.is_none() && !x.all_finite()? {
            self.culprit = Some(format!("before {name}"));
        }
        let y = self.truth.run(name, device, x, controls)?;
        if self.culprit.is_none() && !y.all_finite()? {
            self.culprit = Some(name.to_owned());
        }
        Ok(y)
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
