//! Accuracy of a model on a chip, with the batch-norm mode as a stated part of the measurement.

use std::fmt;

use pnn_core::model::{Counters, InSilico, Mode, Model, Pass};
use pnn_core::{Chip, DType, Tensor};
use pnn_data::{Batches, Dataset, Normalisation};
use serde::{Deserialize, Serialize};

use crate::confusion::ConfusionMatrix;
use crate::interval::Interval;
use crate::{Error, Result};

/// Which statistics batch-norm uses in an evaluation. There is no default: the choice decides much
/// of what is measured under a drift that all channels share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BatchNormMode {
    /// The running statistics of the training: what a deployed chip has.
    Running,
    /// The statistics of each test batch of this many images: absorbs much of a common drift, and
    /// needs that many inputs at once.
    Batch(usize),
    /// Running statistics gathered anew on the deployed chip, with this many calibration images
    /// (their labels are not used).
    Recalibrated(usize),
}

impl BatchNormMode {
    /// The kind of the mode, without its number of images.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Running => "running statistics",
            Self::Batch(_) => "batch statistics",
            Self::Recalibrated(_) => "recalibrated statistics",
        }
    }
}

impl fmt::Display for BatchNormMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("running statistics"),
            Self::Batch(images) => write!(f, "statistics of test batches of {images}"),
            Self::Recalibrated(images) => {
                write!(f, "statistics recalibrated on the chip with {images} images")
            }
        }
    }
}

/// What an evaluation gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Which class was taken for which.
    pub confusion: ConfusionMatrix,
    /// Images with an output that is not finite. They count as wrong, not as class 0.
    pub not_finite: u64,
}

impl Evaluation {
    /// Images looked at.
    #[must_use]
    pub fn images(&self) -> u64 {
        self.confusion.total() + self.not_finite
    }

    /// Share of images classified right, with its Wilson interval.
    ///
    /// # Errors
    /// If no image was looked at or the level is outside (0, 1).
    pub fn accuracy(&self, level: f64) -> Result<Interval> {
        crate::interval::wilson(self.confusion.correct(), self.images(), level)
    }

    /// Accuracy in percent.
    #[must_use]
    pub fn percent(&self) -> f64 {
        100.0 * self.confusion.correct() as f64 / self.images() as f64
    }
}

/// How models are evaluated.
#[derive(Debug, Clone, Copy)]
pub struct Evaluator<'a> {
    /// Which statistics batch-norm uses.
    pub batch_norm: BatchNormMode,
    /// How pixels become inputs.
    pub normalisation: Normalisation,
    /// Where calibration images come from (training images; never the test set).
    pub calibration: Option<&'a Dataset>,
}

/// Images a pass where the number does not matter.
const PASS: usize = 500;

impl Evaluator<'_> {
    /// Classifies every image of a data set with the model on a chip. The model's running
    /// statistics are afterwards what they were.
    ///
    /// # Errors
    /// If the data are empty, a pass fails, or recalibration is asked for without calibration
    /// images.
    pub fn evaluate(&self, model: &dyn Model, chip: &Chip, data: &Dataset) -> Result<Evaluation> {
        let buffers = model.buffers();
        let mut kept = Vec::with_capacity(buffers.len());
        for (_, var) in &buffers {
            kept.push(var.value());
        }
        let result = self.classify(model, chip, data);
        for ((_, var), value) in buffers.iter().zip(&kept) {
            var.set(value)?;
        }
        result
    }

    fn classify(&self, model: &dyn Model, chip: &Chip, data: &Dataset) -> Result<Evaluation> {
        let (mode, batch) = match self.batch_norm {
            BatchNormMode::Running => (Mode::Eval, PASS),
            BatchNormMode::Batch(images) => (Mode::Train { update_statistics: false }, images),
            BatchNormMode::Recalibrated(images) => {
                let Some(calibration) = self.calibration else {
                    let what = "calibration set for recalibrated statistics";
                    return Err(Error::TooFew { what, got: 0, needed: images });
                };
                recalibrate(model, chip, calibration, images, &self.normalisation)?;
                (Mode::Eval, PASS)
            }
        };
        let mut confusion = ConfusionMatrix::new(data.classes());
        let mut not_finite = 0;
        for indices in &Batches::new(data.len(), batch, None)? {
            let logits = run(model, chip, data, indices, mode, &self.normalisation)?;
            for (row, index) in logits.to_dtype(DType::F64)?.to_vec2::<f64>()?.iter().zip(indices) {
                match largest(row) {
                    Some(class) => confusion.add(data.label(*index).into(), class)?,
                    None => not_finite += 1,
                }
            }
        }
        Ok(Evaluation { confusion, not_finite })
    }
}

/// The first largest entry, if all are finite.
fn largest(row: &[f64]) -> Option<usize> {
    if row.iter().any(|z| !z.is_finite()) {
        return None;
    }
    (0..row.len()).reduce(|best, k| if row[k] > row[best] { k } else { best })
}

fn run(
    model: &dyn Model,
    chip: &Chip,
    data: &Dataset,
    indices: &[usize],
    mode: Mode,
    normalisation: &Normalisation,
) -> Result<Tensor> {
    let dtype = model.parameters().iter().next().map_or(DType::F32, |p| p.var.dtype());
    let images = data.images_tensor(indices, normalisation, dtype)?;
    let mut truth = InSilico(chip);
    let mut pass = Pass::new(mode, &mut truth, &Counters::default());
    Ok(model.forward(&images, &mut pass)?.detach())
}

/// Gathers batch-norm's running statistics anew on a deployed chip, as the plain average over
/// batches of 100 of the first `images` calibration images (their labels are not used). Weights
/// stay as they are.
///
/// # Errors
/// If there are fewer images than asked for, or fewer than two.
pub fn recalibrate(
    model: &dyn Model,
    chip: &Chip,
    calibration: &Dataset,
    images: usize,
    normalisation: &Normalisation,
) -> Result<()> {
    let what = "calibration set for recalibrated statistics";
    if images < 2 || calibration.len() < images {
        return Err(Error::TooFew {
            what,
            got: calibration.len().min(images),
            needed: images.max(2),
        });
    }
    let batches = Batches::new(images, 100, None)?;
    // A last batch of one image has no statistics.
    let whole = batches.iter().filter(|indices| indices.len() > 1);
    for (seen, indices) in whole.enumerate() {
        run(model, chip, calibration, indices, Mode::Calibrate { seen }, normalisation)?;
    }
    Ok(())
}
