//! Who watches a training: progress bars, logs, metrics.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pnn_core::model::Counts;
use pnn_core::store::write_atomic;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// One finished epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch, from 0.
    pub epoch: usize,
    /// Mean of the steps' losses, each at the parameters before its step.
    pub train_loss: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// What the validation gave, by name.
    pub metrics: BTreeMap<String, f64>,
    /// Passes since the start of the training.
    pub counts: Counts,
    /// Wall-clock seconds of the epoch's steps, validation and checkpoints excluded. Steps that a
    /// kill undid count once.
    pub seconds: f64,
}

/// Where a training stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepEvent {
    /// The epoch, from 0.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Steps done in this epoch.
    pub step: usize,
    /// Steps in an epoch.
    pub steps: usize,
    /// Loss of the step.
    pub loss: f64,
}

/// Watches a training.
pub trait Observer {
    /// A step was made.
    ///
    /// # Errors
    /// An error stops the training.
    fn on_step(&mut self, _event: &StepEvent) -> Result<()> {
        Ok(())
    }

    /// An epoch was finished; `history` ends with it. After a resume, `history` holds the epochs
    /// before too.
    ///
    /// # Errors
    /// An error stops the training.
    fn on_epoch(&mut self, _history: &[EpochRecord]) -> Result<()> {
        Ok(())
    }
}

/// Watches nothing.
impl Observer for () {}

impl<A: Observer, B: Observer> Observer for (A, B) {
    fn on_step(&mut self, event: &StepEvent) -> Result<()> {
        self.0.on_step(event)?;
        self.1.on_step(event)
    }

    fn on_epoch(&mut self, history: &[EpochRecord]) -> Result<()> {
        self.0.on_epoch(history)?;
        self.1.on_epoch(history)
    }
}

/// Writes the history as JSON lines, one epoch a line; the file is always whole.
#[derive(Debug, Clone)]
pub struct JsonLines {
    path: PathBuf,
}

impl JsonLines {
    /// Writes to this file.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl Observer for JsonLines {
    fn on_epoch(&mut self, history: &[EpochRecord]) -> Result<()> {
        let mut lines = String::new();
        for record in history {
            let line = serde_json::to_string(record).map_err(|e| Error::Observer(e.to_string()))?;
            lines.push_str(&line);
            lines.push('\n');
        }
        Ok(write_atomic(&self.path, lines.as_bytes())?)
    }
}
