//! What is evaluated in a step: the loss of a model on a batch.

pub use pnn_core::loss::Loss;
use pnn_core::model::{Counters, Mode, Model, Pass, Truth};
use pnn_core::optim::{Evaluation, Objective, Optimizer, Point, Samples};
use pnn_core::tensor::without_gradients;
use pnn_core::{DType, Seed, Tensor, loss};

use crate::strategy::{StepContext, StepReport};
use crate::{Error, Result};

/// Inputs and labels of one step.
#[derive(Debug, Clone)]
pub struct Batch {
    /// (batch, channels, height, width).
    pub images: Tensor,
    /// (batch) of u32.
    pub labels: Tensor,
    /// The number of each image in the training set; empty if they are of none.
    pub indices: Vec<usize>,
    /// Outputs that those of the network should not depart from, if there are any.
    pub soft: Option<SoftTargets>,
}

impl Batch {
    /// A batch of images that are of no training set.
    #[must_use]
    pub fn new(images: Tensor, labels: Tensor) -> Self {
        Self { images, labels, indices: Vec::new(), soft: None }
    }

    /// Some of its samples.
    fn part(&self, samples: &[usize]) -> pnn_core::Result<Self> {
        let soft = match &self.soft {
            Some(soft) => Some(SoftTargets { logits: rows(&soft.logits, samples)?, ..*soft }),
            None => None,
        };
        Ok(Self {
            images: rows(&self.images, samples)?,
            labels: rows(&self.labels, samples)?,
            indices: samples.iter().filter_map(|i| self.indices.get(*i).copied()).collect(),
            soft,
        })
    }
}

/// Outputs to stay near to: adds `weight` times the Kullback-Leibler divergence of
/// [`pnn_core::loss::kl_divergence`] to the loss.
#[derive(Debug, Clone)]
pub struct SoftTargets {
    /// (batch, classes).
    pub logits: Tensor,
    /// Factor of the term.
    pub weight: f64,
    /// Both outputs are divided by it before their softmax.
    pub temperature: f64,
}

/// Rows of a tensor, in the order asked for.
fn rows(tensor: &Tensor, which: &[usize]) -> pnn_core::Result<Tensor> {
    let rows = which.iter().map(|row| tensor.narrow(0, *row, 1));
    let rows = rows.collect::<pnn_core::Result<Vec<_>>>()?;
    Tensor::cat(&rows.iter().collect::<Vec<_>>(), 0)
}

/// A differentiable term added to the loss.
pub type Penalty<'a> = &'a dyn Fn(&dyn Model) -> Result<Option<Tensor>>;

/// The loss of a model on a batch, to be evaluated under any source of truth.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    /// The model.
    pub model: &'a dyn Model,
    /// Counts passes.
    pub counters: &'a Counters,
    loss: Loss,
    seed: Seed,
    batch: &'a Batch,
}

impl<'a> Task<'a> {
    pub(crate) fn new<'c: 'a>(cx: &StepContext<'c>, batch: &'a Batch) -> Self {
        let StepContext { model, counters, loss, seed, .. } = *cx;
        Self { model, counters, loss, seed, batch }
    }
}

impl Task<'_> {
    /// The loss under a source of truth.
    ///
    /// # Errors
    /// If a layer fails.
    pub fn loss(&self, mode: Mode, truth: &mut dyn Truth) -> pnn_core::Result<Tensor> {
        self.loss_of(&self.output(mode, truth)?)
    }

    fn output(&self, mode: Mode, truth: &mut dyn Truth) -> pnn_core::Result<Tensor> {
        self.model.forward(&self.batch.images, &mut Pass::new(mode, truth, self.counters))
    }

    fn loss_of(&self, output: &Tensor) -> pnn_core::Result<Tensor> {
        let Batch { labels, soft, .. } = self.batch;
        let value = (self.loss)(output, labels)?;
        match soft {
            Some(SoftTargets { logits, weight, temperature }) => {
                value + (loss::kl_divergence(output, logits, *temperature)? * *weight)?
            }
            None => Ok(value),
        }
    }

    /// The loss of each sample.
    fn losses_of(&self, output: &Tensor) -> pnn_core::Result<Vec<f64>> {
        let output = output.detach();
        let Batch { labels, soft, .. } = self.batch;
        let loss = |row: usize| -> pnn_core::Result<f64> {
            let soft = match soft {
                Some(soft) => Some(SoftTargets { logits: soft.logits.narrow(0, row, 1)?, ..*soft }),
                None => None,
            };
            let labels = labels.narrow(0, row, 1)?;
            let batch = Batch { soft, ..Batch::new(output.clone(), labels) };
            let value = Task { batch: &batch, ..*self }.loss_of(&output.narrow(0, row, 1)?)?;
            value.to_dtype(DType::F64)?.to_scalar()
        };
        (0..output.dim(0)?).map(loss).collect()
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
        self.check_finite(value, mode, truth)
    }

    fn check_finite(&self, value: f64, mode: Mode, truth: &mut dyn Truth) -> pnn_core::Result<f64> {
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
        objective: &mut dyn Objective,
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
        let mut objective = Evaluated { task: *self, truth, penalty, failure: None };
        let result = self.minimise(optimizer, &mut objective);
        objective.failure.map_or(result, Err)
    }
}

/// A task under one source of truth as what an optimizer minimises.
struct Evaluated<'a, 't> {
    task: Task<'a>,
    truth: &'t mut dyn Truth,
    penalty: Option<Penalty<'t>>,
    /// Why the penalty failed: an error that pnn-core does not have.
    failure: Option<Error>,
}

/// Only the first evaluation of a step moves running statistics.
fn mode_at(point: Point) -> Mode {
    Mode::Train { update_statistics: point == Point::Base }
}

impl Evaluated<'_, '_> {
    fn run(&mut self, task: &Task<'_>, point: Point) -> pnn_core::Result<(Evaluation, Tensor)> {
        let mode = mode_at(point);
        let output = task.output(mode, self.truth)?;
        let mut loss = task.loss_of(&output)?;
        if let Some(penalty) = self.penalty {
            match penalty(task.model) {
                Ok(Some(term)) => loss = (loss + term)?,
                Ok(None) => {}
                Err(Error::Core(error)) => return Err(error),
                Err(error) => {
                    let (device, capability) = ("the penalty".into(), error.to_string());
                    self.failure = Some(error);
                    return Err(pnn_core::Error::Unsupported { device, capability });
                }
            }
        }
        Ok((task.gradient(&loss, mode, self.truth)?, output))
    }
}

impl Objective for Evaluated<'_, '_> {
    fn evaluate(&mut self, point: Point) -> pnn_core::Result<Evaluation> {
        let task = self.task;
        Ok(self.run(&task, point)?.0)
    }

    fn samples(&mut self) -> Option<&mut dyn Samples> {
        Some(self)
    }
}

impl Samples for Evaluated<'_, '_> {
    fn seed(&self) -> Seed {
        self.task.seed
    }

    fn evaluate_each(&mut self, point: Point) -> pnn_core::Result<(Evaluation, Vec<f64>)> {
        let task = self.task;
        let (evaluation, output) = self.run(&task, point)?;
        Ok((evaluation, task.losses_of(&output)?))
    }

    fn losses(&mut self, point: Point) -> pnn_core::Result<Vec<f64>> {
        let mode = mode_at(point);
        let task = self.task;
        let output = without_gradients(|| task.output(mode, self.truth))?;
        let losses = task.losses_of(&output)?;
        // A loss that is not a number must not just fall out of a selection.
        task.check_finite(losses.iter().sum(), mode, self.truth)?;
        Ok(losses)
    }

    fn evaluate_part(&mut self, point: Point, samples: &[usize]) -> pnn_core::Result<Evaluation> {
        let part = self.task.batch.part(samples)?;
        let task = Task { batch: &part, ..self.task };
        Ok(self.run(&task, point)?.0)
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
