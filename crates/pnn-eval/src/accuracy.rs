//! Accuracy of a model on a chip, with the batch-norm mode as a stated part of the measurement.

use std::fmt;

use pnn_core::model::{Counters, InSilico, Mode, Model, Pass, Truth, check_layers};
use pnn_core::tensor::without_gradients;
use pnn_core::{Chip, DType, Tensor, Var};
use pnn_data::{Batches, Dataset, Normalisation};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::confusion::ConfusionMatrix;
use crate::interval::Interval;
use crate::programmed::Programmed;
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
    /// As [`Self::Recalibrated`], and then the biases of the last layer are moved until its mean outputs for the calibration images are
    /// those of the ideal chip: for networks whose logits are the outputs of that layer.
    Trimmed(usize),
}

impl BatchNormMode {
    /// The kind of the mode, without its number of images.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Running => "running statistics",
            Self::Batch(_) => "batch statistics",
            Self::Recalibrated(_) => "recalibrated statistics",
            Self::Trimmed(_) => "recalibrated statistics and trimmed biases",
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
            Self::Trimmed(images) => write!(
                f,
                "statistics recalibrated and biases trimmed on the chip with {images} images"
            ),
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
    /// Of no image yet.
    pub(crate) fn empty(classes: usize) -> Self {
        Self { confusion: ConfusionMatrix::new(classes), not_finite: 0 }
    }

    /// Counts a batch.
    pub(crate) fn add(&mut self, logits: &Tensor, labels: &[u8]) -> Result<()> {
        for (row, label) in logits.to_dtype(DType::F64)?.to_vec2::<f64>()?.iter().zip(labels) {
            match largest(row) {
                Some(class) => self.confusion.add((*label).into(), class)?,
                None => self.not_finite += 1,
            }
        }
        Ok(())
    }

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

/// Images a pass where the number does not matter: few enough for their activations to stay in the
/// cache.
const PASS: usize = 100;

impl Evaluator<'_> {
    /// Classifies every image of a data set with the model on a chip. The model's running
    /// statistics are afterwards what they were.
    ///
    /// # Errors
    /// If the data are empty, the chip has a layer that the model lacks, a pass fails, or recalibration is
    /// asked for without calibration images.
    pub fn evaluate(&self, model: &dyn Model, chip: &Chip, data: &Dataset) -> Result<Evaluation> {
        check_layers(model, chip.iter().map(|(layer, _)| layer))?;
        self.evaluate_on(model, &mut Programmed::new(chip), data)
    }

    /// As [`Self::evaluate`] on what the outputs of layers come from: a chip, or the instruments of a lab
    /// ([`InSitu`](pnn_core::model::InSitu)), on which statistics are then gathered and biases trimmed, too.
    ///
    /// # Errors
    /// As [`Self::evaluate`], and if an instrument fails.
    pub fn evaluate_on(
        &self,
        model: &dyn Model,
        truth: &mut dyn Truth,
        data: &Dataset,
    ) -> Result<Evaluation> {
        keeping_state(model, || {
            if let Some((images, calibration)) = self.recalibrated()? {
                let normalisation = &self.normalisation;
                if let BatchNormMode::Trimmed(_) = self.batch_norm {
                    deploy(model, truth, calibration, images, normalisation)?;
                } else {
                    recalibrate(model, truth, calibration, images, normalisation)?;
                }
            }
            let mut evaluation = Evaluation::empty(data.classes());
            self.for_each_batch(model, data, |images, labels, mode| {
                evaluation.add(&forward(model, truth, images, mode)?, labels)
            })?;
            Ok(evaluation)
        })
    }

    /// As [`Self::evaluate`] on each of several chips. Images are prepared once for all of them.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn evaluate_chips(
        &self,
        model: &dyn Model,
        chips: &[Chip],
        data: &Dataset,
    ) -> Result<Vec<Evaluation>> {
        if self.recalibrated()?.is_some() {
            return chips.iter().map(|chip| self.evaluate(model, chip, data)).collect();
        }
        for chip in chips {
            check_layers(model, chip.iter().map(|(layer, _)| layer))?;
        }
        let mut evaluations = vec![Evaluation::empty(data.classes()); chips.len()];
        keeping_state(model, || {
            self.for_each_batch(model, data, |images, labels, mode| {
                // Each thread takes chips of its own: layers of one pass are too small to share.
                let on = |(chip, evaluation): (&Chip, &mut Evaluation)| {
                    evaluation.add(&forward(model, &mut InSilico(chip), images, mode)?, labels)
                };
                let chips = chips.par_iter().zip(&mut evaluations).map(on);
                chips.collect::<Vec<_>>().into_iter().collect()
            })
        })?;
        Ok(evaluations)
    }

    /// Calls `f` with every batch of images and their labels.
    fn for_each_batch(
        &self,
        model: &dyn Model,
        data: &Dataset,
        mut f: impl FnMut(&Tensor, &[u8], Mode) -> Result<()>,
    ) -> Result<()> {
        let (mode, batch) = self.mode();
        let dtype = dtype_of(model);
        for indices in &Batches::new(data.len(), batch, None)? {
            let labels: Vec<u8> = indices.iter().map(|i| data.label(*i)).collect();
            f(&data.images_tensor(indices, &self.normalisation, dtype)?, &labels, mode)?;
        }
        Ok(())
    }

    /// How many calibration images statistics are gathered from, and whence, if they are.
    pub(crate) fn recalibrated(&self) -> Result<Option<(usize, &Dataset)>> {
        match (self.batch_norm, self.calibration) {
            (BatchNormMode::Recalibrated(images) | BatchNormMode::Trimmed(images), Some(from)) => {
                Ok(Some((images, from)))
            }
            (BatchNormMode::Recalibrated(needed) | BatchNormMode::Trimmed(needed), None) => {
                let what = "calibration set for recalibrated statistics";
                Err(Error::TooFew { what, got: 0, needed })
            }
            _ => Ok(None),
        }
    }

    /// The mode of a pass over test images, and how many it takes at once.
    pub(crate) fn mode(&self) -> (Mode, usize) {
        match self.batch_norm {
            BatchNormMode::Batch(images) => (Mode::Train { update_statistics: false }, images),
            BatchNormMode::Running | BatchNormMode::Recalibrated(_) | BatchNormMode::Trimmed(_) => {
                (Mode::Eval, PASS)
            }
        }
    }
}

/// Does something with a model, whose running statistics and last biases are afterwards what they were.
pub(crate) fn keeping_state<T, E: From<pnn_core::Error>>(
    model: &dyn Model,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let mut buffers: Vec<Var> = model.buffers().into_iter().map(|(_, var)| var).collect();
    buffers.extend(last_biases(model).ok());
    let mut kept = Vec::with_capacity(buffers.len());
    for var in &buffers {
        kept.push(var.value());
    }
    let result = work();
    for (var, value) in buffers.iter().zip(&kept) {
        var.set(value)?;
    }
    result
}

/// The first largest entry, if all are finite.
fn largest(row: &[f64]) -> Option<usize> {
    if row.iter().any(|z| !z.is_finite()) {
        return None;
    }
    (0..row.len()).reduce(|best, k| if row[k] > row[best] { k } else { best })
}

/// The type of a model's numbers.
fn dtype_of(model: &dyn Model) -> DType {
    model.parameters().iter().next().map_or(DType::F32, |p| p.var.dtype())
}

/// The logits of some images of a data set.
pub(crate) fn run(
    model: &dyn Model,
    truth: &mut dyn Truth,
    data: &Dataset,
    indices: &[usize],
    mode: Mode,
    normalisation: &Normalisation,
) -> Result<Tensor> {
    let images = data.images_tensor(indices, normalisation, dtype_of(model))?;
    forward(model, truth, &images, mode)
}

/// The logits for a batch.
pub(crate) fn forward(
    model: &dyn Model,
    truth: &mut dyn Truth,
    x: &Tensor,
    mode: Mode,
) -> Result<Tensor> {
    let mut pass = Pass::new(mode, truth, &Counters::default());
    Ok(without_gradients(|| model.forward(x, &mut pass))?)
}

/// Gathers batch-norm's running statistics anew on a deployed chip ([`InSilico`], or a lab's:
/// [`InSitu`](pnn_core::model::InSitu)), as the plain average over
/// batches of 100 of the first `images` calibration images (their labels are not used). Weights
/// stay as they are.
///
/// # Errors
/// If there are fewer images than asked for, or fewer than two.
pub fn recalibrate(
    model: &dyn Model,
    truth: &mut dyn Truth,
    calibration: &Dataset,
    images: usize,
    normalisation: &Normalisation,
) -> Result<()> {
    for (seen, indices) in calibration_batches(calibration, images)?.iter().enumerate() {
        let mode = Mode::Calibrate { seen };
        run(model, truth, calibration, indices, mode, normalisation)?;
    }
    Ok(())
}

/// Prepares a model for a deployed chip: [`recalibrate`], then the biases of the last layer are moved until its mean outputs for the
/// calibration images are those of the ideal chip with the statistics of training. Both need measurements only, and no labels.
///
/// # Errors
/// As [`recalibrate`], and if the last layer has no biases.
pub fn deploy(
    model: &dyn Model,
    truth: &mut dyn Truth,
    calibration: &Dataset,
    images: usize,
    normalisation: &Normalisation,
) -> Result<()> {
    let batches = calibration_batches(calibration, images)?;
    let mean = |truth: &mut dyn Truth| {
        let batch = |indices: &Vec<usize>| {
            run(model, truth, calibration, indices, Mode::Eval, normalisation)
        };
        mean_outputs(batches.iter().map(batch))
    };
    let wanted = mean(&mut Programmed::new(&Chip::ideal()))?;
    recalibrate(model, truth, calibration, images, normalisation)?;
    trim(model, &wanted, &mean(truth)?)
}

/// The mean of outputs over all images of some batches.
fn mean_outputs(batches: impl Iterator<Item = Result<Tensor>>) -> Result<Vec<f64>> {
    let (mut sum, mut count) = (Vec::new(), 0.0);
    for outputs in batches {
        for row in outputs?.to_dtype(DType::F64)?.to_vec2::<f64>()? {
            sum.resize(row.len(), 0.0);
            sum.iter_mut().zip(&row).for_each(|(sum, z)| *sum += z);
            count += 1.0;
        }
    }
    Ok(sum.into_iter().map(|sum| sum / count).collect())
}

/// Moves the biases of the last layer by what mean outputs lack.
fn trim(model: &dyn Model, wanted: &[f64], got: &[f64]) -> Result<()> {
    let bias = last_biases(model)?;
    let value = bias.value();
    let lack: Vec<f64> = wanted.iter().zip(got).map(|(wanted, got)| wanted - got).collect();
    let lack = Tensor::from_vec(lack, value.shape().clone())?.to_dtype(value.dtype())?;
    Ok(bias.set(&(value + lack)?)?)
}

/// The biases of the last layer.
fn last_biases(model: &dyn Model) -> Result<Var> {
    let last = model.physical_layers().last().map_or("", |layer| layer.name()).to_owned();
    Ok(model.parameters().get(&format!("{last}.bias"))?.var.clone())
}

/// The batches that statistics are gathered from.
pub(crate) fn calibration_batches(calibration: &Dataset, images: usize) -> Result<Vec<Vec<usize>>> {
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
    Ok(batches.iter().filter(|indices| indices.len() > 1).map(<[usize]>::to_vec).collect())
}
