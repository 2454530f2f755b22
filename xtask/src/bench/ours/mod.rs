//! Our side of the workloads.

mod chips;
mod epoch;
mod lambda;
mod mesh;
mod step;

use std::collections::BTreeMap;
use std::path::Path;

use pnn_core::{Tensor, store};

use super::agree::Numbers;
use super::inputs::Inputs;
use super::workload::{Network, Task, Workload};
use crate::error::Result;

/// A workload, ready to run.
pub(super) trait Side {
    /// What the peer must start from, beside images and labels.
    fn tensors(&self) -> Result<BTreeMap<String, Tensor>>;

    /// The numbers that must agree with the peer's.
    fn check(&mut self) -> Result<Numbers>;

    /// Seconds that `n` iterations took.
    fn round(&mut self, n: usize) -> Result<f64>;
}

/// Our side of a workload.
pub(super) fn prepare<'a>(workload: &Workload, inputs: &'a Inputs) -> Result<Box<dyn Side + 'a>> {
    let batch = workload.recipe.batch_size;
    Ok(match (workload.task, workload.network) {
        (Task::Step, Network::Mesh { ports, .. }) => Box::new(mesh::Passes::new(ports, batch)?),
        (Task::Step, _) => Box::new(step::Steps::new(workload, inputs)?),
        (Task::Epoch, _) => Box::new(epoch::Epochs::new(workload, inputs)?),
        (Task::LambdaMax { .. }, _) => Box::new(lambda::Lambda::new(workload, inputs)?),
        (Task::Chips { count, .. }, _) => Box::new(chips::Chips::new(workload, inputs, count)?),
    })
}

/// Writes everything that the peer must start from.
pub(super) fn save_inputs(side: &dyn Side, inputs: &Inputs, path: &Path) -> Result<()> {
    let mut tensors = side.tensors()?;
    let (images, labels) = inputs.tensors(inputs.images.len())?;
    tensors.extend([("images".to_owned(), images), ("labels".to_owned(), labels)]);
    Ok(store::save(path, &tensors, &BTreeMap::new())?)
}
