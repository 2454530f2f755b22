//! The images that both sides work on.

use std::path::PathBuf;

use pnn_core::{DType, Seed, Tensor};
use pnn_data::{Batches, Dataset, Normalisation};

use super::workload::{Task, Workload};
use crate::error::Result;

/// Images with labels.
pub(super) struct Inputs {
    pub(super) images: Dataset,
}

/// The images of a workload.
pub(super) fn prepare(workload: &Workload, _data: Option<&PathBuf>) -> Result<Inputs> {
    let images = match workload.task {
        Task::Step => digits(workload.recipe.batch_size)?,
    };
    Ok(Inputs { images })
}

/// Embedded digits of all classes, in an order that is always the same.
fn digits(images: usize) -> Result<Dataset> {
    let all = pnn_data::digits();
    let order = Batches::new(all.len(), images, Some(&Seed::new(0).child("bench")))?;
    Ok(all.subset(order.get(0))?)
}

impl Inputs {
    /// The first images as both sides see them, (images, channels, rows, columns) in f32, and
    /// their labels in u32.
    pub(super) fn tensors(&self, images: usize) -> Result<(Tensor, Tensor)> {
        let indices: Vec<usize> = (0..images.min(self.images.len())).collect();
        let pixels = self.images.images_tensor(&indices, &Normalisation::UNIT, DType::F32)?;
        Ok((pixels, self.images.labels_tensor(&indices)?))
    }
}
