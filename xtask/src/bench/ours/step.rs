//! Training steps on one batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use pnn_core::device::Bounds;
use pnn_core::layers::{Digital, Product};
use pnn_core::model::{Counters, Lab, Model, load_model_state, model_state};
use pnn_core::optim::{Evaluation, Objective, Optimizer, Point, Rule};
use pnn_core::params::{Gradients, ParamSet};
use pnn_core::{Chip, DType, PhysicalLayer, Seed, Tensor};
use pnn_train::{Batch, FcActivation, LeNet5, Recipe, ResNet18, StepContext, Strategy};

use super::Side;
use crate::bench::agree::Numbers;
use crate::bench::inputs::Inputs;
use crate::bench::workload::{Network, Workload};
use crate::error::{Error, Result};

/// Steps whose losses are compared before anything is timed.
const CHECKED_STEPS: usize = 3;
/// At most so many steps come before the clock starts in each round.
const WARM_UP_STEPS: usize = 3;

/// A network, where it starts, and what it is trained on.
pub(super) struct Steps {
    pub(super) model: Box<dyn Model>,
    initial: BTreeMap<String, Tensor>,
    recipe: Recipe,
    strategy: Box<dyn Strategy>,
    batch: Batch,
}

impl Steps {
    pub(super) fn new(workload: &Workload, inputs: &Inputs) -> Result<Self> {
        let recipe = Recipe::try_from(workload.recipe.clone())?;
        let seed = Seed::new(0).child("bench");
        let dtype = DType::F32;
        let model: Box<dyn Model> = match workload.network {
            Network::Lenet5 => {
                Box::new(LeNet5::new(&recipe.mrr_factory(), FcActivation::Relu, &seed, dtype)?)
            }
            Network::Mesh { .. } => {
                return Err(Error::Usage(format!("{}: a mesh has no layers", workload.id)));
            }
            Network::FreeSpace | Network::D2nn => recipe.model(&seed, dtype)?,
            Network::Resnet18 { width } => {
                Box::new(ResNet18::new(&electronic, width, inputs.images.classes(), &seed, dtype)?)
            }
        };
        let (images, labels) = inputs.tensors(recipe.batch_size)?;
        let (strategy, _) = recipe.strategy(model.as_ref(), &Chip::ideal(), &seed)?;
        let initial = model_state(model.as_ref());
        Ok(Self { model, initial, recipe, strategy, batch: Batch::new(images, labels) })
    }

    /// Back to the initial state, with a fresh optimizer.
    pub(super) fn start(&self) -> Result<Box<dyn Optimizer>> {
        load_model_state(self.model.as_ref(), &self.initial)?;
        Ok(self.recipe.optimizer()?)
    }

    /// One training step on the batch; the loss before it.
    fn step(&mut self, optimizer: &mut dyn Optimizer) -> Result<f64> {
        let mut context = StepContext {
            model: self.model.as_ref(),
            optimizer,
            lab: &mut Lab::new(),
            counters: &Counters::default(),
            epoch: 0,
            step: 0,
            seed: Seed::new(0),
            loss: self.recipe.loss(),
        };
        Ok(self.strategy.step(&self.batch, &mut context)?.loss)
    }
}

fn electronic(_: &str, product: Product) -> pnn_core::Result<Arc<dyn PhysicalLayer>> {
    Ok(Arc::new(Digital::new(product, Bounds::UNBOUNDED)))
}

impl Side for Steps {
    fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        Ok(self.initial.iter().map(|(k, v)| (format!("initial/{k}"), v.clone())).collect())
    }

    fn check(&mut self) -> Result<Numbers> {
        let mut keep = Keep { gradients: None, optimizer: self.start()? };
        self.step(&mut keep)?;
        let gradients = keep.gradients.ok_or_else(|| Error::Usage("no gradients".into()))?;
        let parameters = self.model.parameters().iter();
        let gradients = parameters
            .zip(gradients.0)
            .map(|(parameter, gradient)| {
                let zeros = || parameter.var.tensor().zeros_like();
                let gradient = gradient.map_or_else(zeros, Ok)?;
                Ok((parameter.name.clone(), gradient))
            })
            .collect::<Result<_>>()?;
        let mut optimizer = self.start()?;
        let losses =
            (0..CHECKED_STEPS).map(|_| self.step(optimizer.as_mut())).collect::<Result<_>>()?;
        Numbers::steps(losses, gradients)
    }

    fn round(&mut self, n: usize) -> Result<f64> {
        let mut optimizer = self.start()?;
        for _ in 0..n.min(WARM_UP_STEPS) {
            self.step(optimizer.as_mut())?;
        }
        let started = Instant::now();
        for _ in 0..n {
            self.step(optimizer.as_mut())?;
        }
        Ok(started.elapsed().as_secs_f64())
    }
}

/// An optimizer that keeps the first gradients and moves nothing.
struct Keep {
    gradients: Option<Gradients>,
    optimizer: Box<dyn Optimizer>,
}

impl Optimizer for Keep {
    fn step(
        &mut self,
        _: &ParamSet,
        objective: &mut dyn Objective,
    ) -> pnn_core::Result<Evaluation> {
        let evaluation = objective.evaluate(Point::Base)?;
        self.gradients = Some(evaluation.gradients.clone());
        Ok(evaluation)
    }

    fn ascends(&self) -> bool {
        false
    }

    fn rule(&self) -> &dyn Rule {
        self.optimizer.rule()
    }

    fn rule_mut(&mut self) -> &mut dyn Rule {
        self.optimizer.rule_mut()
    }
}
