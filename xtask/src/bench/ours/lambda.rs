//! The largest eigenvalue of the Hessian of a trained network.

use std::collections::BTreeMap;
use std::time::Instant;

use pnn_core::curvature::{Hessian, Lanczos};
use pnn_core::model::{Model, load_model_state, model_state};
use pnn_core::{Chip, DType, Seed, Tensor};
use pnn_data::{Dataset, Normalisation};
use pnn_eval::{BatchNormMode, Evaluator, LossSurface, Reduction};
use pnn_train::{CROSS_ENTROPY, Recipe};

use super::Side;
use super::epoch::train;
use crate::bench::agree::Numbers;
use crate::bench::inputs::Inputs;
use crate::bench::workload::Workload;
use crate::error::Result;
use crate::networks::PASS;

/// Epochs that the network is trained for before anything is timed.
const EPOCHS: usize = 2;
/// The residual at which an isolated eigenvalue is right to 1 % for sure; that it is, is checked.
const RESIDUAL: f64 = 0.07;
/// The residual of the value that others are compared with.
const EXACT: f64 = 1e-3;

/// A trained network in f64.
pub(super) struct Lambda<'a> {
    model: Box<dyn Model>,
    images: &'a Dataset,
    /// Another start in each run, as the peer's.
    runs: u64,
}

impl<'a> Lambda<'a> {
    /// Trains the network on the training images.
    pub(super) fn new(workload: &Workload, inputs: &'a Inputs) -> Result<Self> {
        let recipe = Recipe::try_from(workload.recipe.clone())?;
        let seed = Seed::new(0).child("bench");
        let trained = recipe.model(&seed, DType::F32)?;
        let optimizer = recipe.optimizer()?;
        let mut optimizer = optimizer;
        train(trained.as_ref(), optimizer.as_mut(), &recipe, &inputs.train, EPOCHS)?;
        let model = recipe.model(&seed, DType::F64)?;
        load_model_state(model.as_ref(), &model_state(trained.as_ref()))?;
        Ok(Self { model, images: &inputs.images, runs: 0 })
    }

    /// The eigenvalue to a residual, with running statistics.
    fn find(&mut self, residual: f64) -> Result<f64> {
        let evaluator = Evaluator {
            batch_norm: BatchNormMode::Running,
            normalisation: Normalisation::UNIT,
            calibration: None,
        };
        let (loss, reduction) = (CROSS_ENTROPY, Reduction::Mean);
        let surface = LossSurface { evaluator, loss, reduction, batch: PASS };
        let ideal = Chip::ideal();
        let mut surface = surface.of_parameters(self.model.as_ref(), &ideal, self.images)?;
        let mut hessian = Hessian::new(&mut surface)?;
        let seed = Seed::new(self.runs);
        self.runs += 1;
        let found = Lanczos::extremes(1, 0).tolerance(residual).run(&mut hessian, &seed)?;
        Ok(found.largest[0].value)
    }
}

impl Side for Lambda<'_> {
    fn tensors(&self) -> Result<BTreeMap<String, Tensor>> {
        let state = model_state(self.model.as_ref()).into_iter();
        let single = |(name, value): (String, Tensor)| {
            Ok((format!("initial/{name}"), value.to_dtype(DType::F32)?))
        };
        state.map(single).collect()
    }

    fn check(&mut self) -> Result<Numbers> {
        Ok(Numbers::LambdaMax { exact: self.find(EXACT)?, timed: self.find(RESIDUAL)? })
    }

    fn round(&mut self, n: usize) -> Result<f64> {
        let started = Instant::now();
        for _ in 0..n {
            self.find(RESIDUAL)?;
        }
        Ok(started.elapsed().as_secs_f64())
    }
}
