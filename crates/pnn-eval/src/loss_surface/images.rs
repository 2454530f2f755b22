//! The images that a loss is the mean of.

use pnn_core::loss::Loss;
use pnn_core::model::{Counters, InSilico, Mode, Model, Pass, Truth, check_layers};
use pnn_core::{Chip, DType, Tensor};
use pnn_data::{Batches, Dataset, Normalisation};

use super::{LossSurface, Reduction};
use crate::accuracy::{BatchNormMode, Evaluator, keeping_state, recalibrate};
use crate::{Error, Result};

/// The images of a surface and what is done with them.
pub(super) struct Images<'a> {
    data: &'a Dataset,
    pub(super) batches: Batches,
    mode: Mode,
    normalisation: Normalisation,
    loss: Loss,
    reduction: Reduction,
    /// Running statistics that are put in place for each pass.
    statistics: Option<Vec<Tensor>>,
}

impl<'a> Images<'a> {
    pub(super) fn new(
        how: &LossSurface<'_>,
        model: &dyn Model,
        chip: &Chip,
        data: &'a Dataset,
    ) -> Result<Self> {
        check_layers(model, chip.iter().map(|(layer, _)| layer))?;
        let Evaluator { normalisation, batch_norm, .. } = how.evaluator;
        let statistics = match how.evaluator.recalibrated()? {
            None => None,
            Some((images, from)) => Some(keeping_state(model, || -> Result<_> {
                recalibrate(model, &mut InSilico(chip), from, images, &normalisation)?;
                Ok(model.buffers().iter().map(|(_, var)| var.value()).collect())
            })?),
        };
        let batch = match batch_norm {
            BatchNormMode::Batch(images) => images,
            BatchNormMode::Running | BatchNormMode::Recalibrated(_) => how.batch,
            BatchNormMode::Trimmed(_) => {
                return Err(Error::Core(pnn_core::Error::Unsupported {
                    device: "a loss surface".into(),
                    capability: "biases that are trimmed on the chip".into(),
                }));
            }
        };
        Ok(Self {
            data,
            batches: Batches::new(data.len(), batch, None)?,
            mode: how.evaluator.mode().0,
            normalisation,
            loss: how.loss,
            reduction: how.reduction,
            statistics,
        })
    }

    /// What a batch adds to the loss.
    pub(super) fn part(
        &self,
        model: &dyn Model,
        batch: usize,
        truth: &mut dyn Truth,
    ) -> pnn_core::Result<Tensor> {
        let indices = self.batches.get(batch);
        let images = self.data.images_tensor(indices, &self.normalisation, DType::F64);
        let images = images.map_err(batch_error)?;
        let labels = self.data.labels_tensor(indices).map_err(batch_error)?;
        let mut forward =
            || model.forward(&images, &mut Pass::new(self.mode, truth, &Counters::default()));
        let output = match &self.statistics {
            None => forward()?,
            Some(statistics) => keeping_state(model, || {
                for ((_, var), value) in model.buffers().iter().zip(statistics) {
                    var.set(value)?;
                }
                forward()
            })?,
        };
        let share = match self.reduction {
            Reduction::Mean => indices.len() as f64,
            Reduction::Sum => 1.0,
        };
        (self.loss)(&output, &labels)? * (share / self.data.len() as f64)
    }
}

/// A surface speaks of pnn-core's errors only.
fn batch_error(error: pnn_data::Error) -> pnn_core::Error {
    match error {
        pnn_data::Error::Core(error) => error,
        other => pnn_core::Error::Unsupported {
            device: "a batch of a loss surface".into(),
            capability: other.to_string(),
        },
    }
}
