//! The one training loop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use pnn_core::model::{Counters, Lab, Model, check_layers};
use pnn_core::optim::{Optimizer, Schedule};
use pnn_core::{DType, Parameter, Seed};
use pnn_data::{Batches, Dataset, Normalisation};

use crate::checkpoint::{self, Position};
use crate::observer::{EpochRecord, Observer, StepEvent};
use crate::strategy::{StepContext, Strategy};
use crate::task::{Batch, Loss};
use crate::{Error, Result};

/// Settings of the loop.
#[derive(Debug, Clone)]
pub struct TrainConfig {
    /// Passes over the data.
    pub epochs: usize,
    /// Images a step; the last step of an epoch may have fewer, but at least two.
    pub batch_size: usize,
    /// Factor on the learning rate in each epoch.
    pub schedule: Schedule,
    /// How pixels become inputs.
    pub normalisation: Normalisation,
    /// Whether the images come in a new order in each epoch.
    pub shuffle: bool,
    /// The source of all randomness of the run.
    pub seed: Seed,
    /// Where to keep the state, and whether to continue from it.
    pub checkpoint: Option<CheckpointConfig>,
}

/// Where and how often the state is kept.
#[derive(Debug, Clone)]
pub struct CheckpointConfig {
    /// The file.
    pub path: PathBuf,
    /// Steps between writes within an epoch; it is written after each epoch too.
    pub every: usize,
    /// Continues from the file if it is there.
    pub resume: bool,
    /// Names the run: a checkpoint with another name is refused.
    pub fingerprint: String,
}

/// What is trained, and with what.
pub struct Trainer<'a> {
    /// The model.
    pub model: &'a dyn Model,
    /// How gradients are obtained.
    pub strategy: &'a mut dyn Strategy,
    /// How they become steps.
    pub optimizer: &'a mut dyn Optimizer,
    /// Hardware in the loop.
    pub lab: &'a mut Lab,
    /// The task's loss.
    pub loss: Loss,
}

/// Computes metrics of a model after an epoch.
pub type Validate<'a> = &'a mut dyn FnMut(&dyn Model) -> Result<BTreeMap<String, f64>>;

impl Trainer<'_> {
    /// Trains for `config.epochs` epochs and returns one record for each. With a checkpoint, a run
    /// that was killed at any moment continues to the same bits.
    ///
    /// # Errors
    /// If a step fails, loss or gradients are not finite (the state before the step is then in the
    /// checkpoint), or a file cannot be written.
    pub fn train(
        &mut self,
        data: &Dataset,
        config: &TrainConfig,
        validate: Validate<'_>,
        observer: &mut dyn Observer,
    ) -> Result<Vec<EpochRecord>> {
        if config.batch_size < 2 {
            let (what, value) = ("batch size", config.batch_size as f64);
            return Err(Error::Range { what, value, allowed: "[2, images]: batch-norm needs two" });
        }
        if data.len() < 2 {
            let (what, value) = ("number of training images", data.len() as f64);
            return Err(Error::Range { what, value, allowed: "[2, infinity)" });
        }
        check_layers(self.model, self.lab.keys().map(String::as_str))?;
        let mut position = self.start(config)?;
        if !position.history.is_empty() {
            // The run may have been killed between the checkpoint and the observers.
            observer.on_epoch(&position.history)?;
        }
        let base_rate = self.optimizer.rule().learning_rate();
        let counters = Counters::starting_at(position.counts);
        while position.epoch < config.epochs {
            let epoch = position.epoch;
            let rate = base_rate * config.schedule.factor(epoch);
            self.optimizer.rule_mut().set_learning_rate(rate);
            self.epoch(data, config, &mut position, &counters, observer)?;
            let record = EpochRecord {
                epoch,
                train_loss: f64::from_bits(position.loss_sum_bits) / position.step as f64,
                learning_rate: rate,
                metrics: validate(self.model)?,
                counts: counters.read(),
                seconds: position.seconds,
            };
            position.history.push(record);
            position = Position {
                epoch: epoch + 1,
                step: 0,
                loss_sum_bits: 0.0f64.to_bits(),
                seconds: 0.0,
                counts: counters.read(),
                ..position
            };
            self.keep(config, &position)?;
            observer.on_epoch(&position.history)?;
        }
        self.optimizer.rule_mut().set_learning_rate(base_rate);
        Ok(position.history)
    }

    fn start(&mut self, config: &TrainConfig) -> Result<Position> {
        match &config.checkpoint {
            Some(c) if c.resume && c.path.exists() => {
                checkpoint::load(&c.path, self.model, self.optimizer, self.strategy, &c.fingerprint)
            }
            Some(c) => Ok(Position { fingerprint: c.fingerprint.clone(), ..Position::default() }),
            None => Ok(Position::default()),
        }
    }

    fn keep(&self, config: &TrainConfig, position: &Position) -> Result<()> {
        match &config.checkpoint {
            Some(c) => {
                checkpoint::save(&c.path, self.model, self.optimizer, self.strategy, position)
            }
            None => Ok(()),
        }
    }

    /// The rest of an epoch, from `position.step` on.
    fn epoch(
        &mut self,
        data: &Dataset,
        config: &TrainConfig,
        position: &mut Position,
        counters: &Counters,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let epoch_seed = config.seed.child("epochs").index(position.epoch as u64);
        let order = config.shuffle.then(|| epoch_seed.child("order"));
        let batches = Batches::new(data.len(), config.batch_size, order.as_ref())?;
        let dtype = self.model.parameters().iter().next().map_or(DType::F32, |p| p.var.dtype());
        // A last batch of one image has no batch statistics and is left out.
        let steps = batches.len() - usize::from(data.len() % config.batch_size == 1);
        while position.step < steps {
            let started = Instant::now();
            let indices = batches.get(position.step);
            let images = data.images_tensor(indices, &config.normalisation, dtype)?;
            let batch = Batch {
                indices: indices.to_vec(),
                ..Batch::new(images, data.labels_tensor(indices)?)
            };
            let mut cx = StepContext {
                model: self.model,
                optimizer: self.optimizer,
                lab: self.lab,
                counters,
                epoch: position.epoch,
                step: position.step,
                seed: epoch_seed.child("steps").index(position.step as u64),
                loss: self.loss,
            };
            let report = match self.strategy.step(&batch, &mut cx) {
                Ok(report) => report,
                Err(error) => return Err(self.stopped(config, position, error)),
            };
            position.step += 1;
            let sum = f64::from_bits(position.loss_sum_bits) + report.loss;
            position.loss_sum_bits = sum.to_bits();
            position.counts = counters.read();
            position.seconds += started.elapsed().as_secs_f64();
            if let Some(c) = &config.checkpoint
                && position.step.is_multiple_of(c.every.max(1))
            {
                self.keep(config, position)?;
            }
            observer.on_step(&StepEvent {
                epoch: position.epoch,
                epochs: config.epochs,
                step: position.step,
                steps,
                loss: report.loss,
            })?;
        }
        Ok(())
    }

    /// Keeps the state before a step that gave values that are not finite, and says where.
    fn stopped(&self, config: &TrainConfig, position: &Position, error: Error) -> Error {
        let (what, layer) = match error {
            Error::Core(pnn_core::Error::NotFinite { what, layer, .. }) => (what, layer),
            // A device may have refused what an update before made of its settings.
            error => match first_not_finite(self.model) {
                Some(name) => ("a parameter".to_owned(), name),
                None => return error,
            },
        };
        let checkpoint = config.checkpoint.as_ref().map(|c| c.path.clone());
        match self.keep(config, position) {
            Ok(()) => {
                let (epoch, step) = (position.epoch, position.step);
                Error::NotFinite { epoch, step, what, layer, checkpoint }
            }
            Err(error) => error,
        }
    }
}

/// The first parameter that is not finite.
fn first_not_finite(model: &dyn Model) -> Option<String> {
    let bad = |p: &&Parameter| !p.var.value().all_finite().unwrap_or(true);
    model.parameters().iter().find(bad).map(|p| p.name.clone())
}
