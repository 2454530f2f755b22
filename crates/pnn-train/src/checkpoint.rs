//! Checkpoints: all that the rest of a training depends on, in one atomically written file.

use std::collections::BTreeMap;
use std::path::Path;

use pnn_core::Tensor;
use pnn_core::model::{Counts, Model, load_model_state, model_state};
use pnn_core::optim::Optimizer;
use pnn_core::store;
use serde::{Deserialize, Serialize};

use crate::observer::EpochRecord;
use crate::strategy::Strategy;
use crate::{Error, Result};

/// Where a training stands, beside its tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Identifies the training: a checkpoint continues only the run that wrote it.
    pub(crate) fingerprint: String,
    /// The epoch, from 0.
    pub(crate) epoch: usize,
    /// Steps done in this epoch.
    pub(crate) step: usize,
    /// Bits of the sum of the losses in this epoch: a decimal would not round-trip for sure.
    pub(crate) loss_sum_bits: u64,
    /// What the steps of this epoch took.
    #[serde(default)]
    pub(crate) seconds: f64,
    pub(crate) counts: Counts,
    pub(crate) history: Vec<EpochRecord>,
}

const POSITION: &str = "position";

pub(crate) fn save(
    path: &Path,
    model: &dyn Model,
    optimizer: &dyn Optimizer,
    strategy: &dyn Strategy,
    position: &Position,
) -> Result<()> {
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    for (name, tensor) in model_state(model) {
        tensors.insert(format!("model/{name}"), tensor);
    }
    for (name, tensor) in optimizer.state()? {
        tensors.insert(format!("optimizer/{name}"), tensor);
    }
    for (name, tensor) in strategy.state()? {
        tensors.insert(format!("strategy/{name}"), tensor);
    }
    let json = serde_json::to_string(position).map_err(|e| corrupt(path, &e.to_string()))?;
    Ok(store::save(path, &tensors, &[(POSITION.to_owned(), json)].into())?)
}

pub(crate) fn load(
    path: &Path,
    model: &dyn Model,
    optimizer: &mut dyn Optimizer,
    strategy: &mut dyn Strategy,
    fingerprint: &str,
) -> Result<Position> {
    let (tensors, metadata) = store::load(path)?;
    let json = metadata.get(POSITION).ok_or_else(|| corrupt(path, "is no training checkpoint"))?;
    let position: Position =
        serde_json::from_str(json).map_err(|e| corrupt(path, &format!("position: {e}")))?;
    if position.fingerprint != fingerprint {
        let reason = format!(
            "belongs to another run ({}, this one is {fingerprint}); remove it or give another folder",
            position.fingerprint
        );
        return Err(corrupt(path, &reason));
    }
    let part = |prefix: &str| -> BTreeMap<String, Tensor> {
        let strip = |(name, tensor): (&String, &Tensor)| {
            Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone()))
        };
        tensors.iter().filter_map(strip).collect()
    };
    load_model_state(model, &part("model/"))?;
    optimizer.load_state(&part("optimizer/"))?;
    strategy.load_state(&part("strategy/"))?;
    Ok(position)
}

fn corrupt(path: &Path, reason: &str) -> Error {
    Error::Checkpoint { path: path.to_owned(), reason: reason.to_owned() }
}
