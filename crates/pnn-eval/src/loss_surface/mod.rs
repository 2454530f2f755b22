//! The loss of a model as a function of its parameters, or of a chip's deviations.

mod axis;
mod images;

pub use axis::{DeviationAxis, Spread};

use pnn_core::curvature::Surface;
use pnn_core::loss::Loss;
use pnn_core::model::{InSilico, Model};
use pnn_core::{Chip, DType, ParamSet};
use pnn_data::Dataset;

use crate::Result;
use crate::accuracy::Evaluator;
use axis::{Constant, Displacement};
use images::Images;

/// Whether a [`Loss`] is a mean or a sum over the images of its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// A mean, such as [`cross_entropy`](pnn_core::loss::cross_entropy).
    Mean,
    /// A sum, such as [`one_hot_distance`](pnn_core::loss::one_hot_distance).
    Sum,
}

/// How the loss of a model becomes a [`Surface`], on which landscapes and curvature are measured.
///
/// The value is the mean loss of an image over the whole data set, however it is cut into batches:
///
/// ```text
/// L = Σ_b (n_b / N) loss_b   if the loss is a mean,    L = Σ_b loss_b / N   if it is a sum
/// ```
///
/// with `n_b` of `N` images in batch `b`. A network trained with a sum over batches of `n` images descended `n` times
/// this `L`: the Hessian of what it was trained with is `n` times that of the surface.
///
/// # Batch norm
/// The evaluator's mode decides what is held still:
/// - [`Running`](crate::BatchNormMode::Running): the statistics in the model, whatever the parameters. What a
///   deployed chip has.
/// - [`Batch(n)`](crate::BatchNormMode::Batch): those of each batch of `n` images at the very point, so that gradients
///   go through them. What training saw; `batch` is then not used, and the last batch may be short.
/// - [`Recalibrated`](crate::BatchNormMode::Recalibrated): those gathered once, on the chip and at the parameters with
///   which the surface is made, and then held still at every point.
///
/// The model's own running statistics are never moved.
///
/// # Parameters
/// All numbers of the model must be f64 (`DType::F64`): differences of gradients need it.
///
/// ```
/// use std::sync::Arc;
/// use pnn_core::layers::{Digital, Product};
/// use pnn_core::loss::cross_entropy;
/// use pnn_core::model::{Model, Pass, Physical};
/// use pnn_core::{Bounds, Chip, DType, ParamSet, Seed, Tensor, Var};
/// use pnn_data::{Dataset, ImageShape, Normalisation};
/// use pnn_eval::{BatchNormMode, Evaluator, LossSurface, Reduction};
///
/// struct Linear(Physical, ParamSet);
/// impl Model for Linear {
///     fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> pnn_core::Result<Tensor> {
///         self.0.forward(&x.flatten_from(1)?, pass)
///     }
///     fn parameters(&self) -> &ParamSet { &self.1 }
///     fn buffers(&self) -> Vec<(String, Var)> { Vec::new() }
///     fn physical_layers(&self) -> Vec<&Physical> { vec![&self.0] }
/// }
/// let product = Product::Linear { inputs: 2, outputs: 2 };
/// let device = Arc::new(Digital::new(product, Bounds::UNBOUNDED));
/// let layer = Physical::new("fc", device, None, &Seed::new(1), DType::F64)?;
/// let parameters = ParamSet::new(layer.parameters())?;
/// let model = Linear(layer, parameters);
///
/// let shape = ImageShape { channels: 1, rows: 1, columns: 2 };
/// let data = Dataset::new("three", "made up", shape, 2, vec![0, 255, 51, 0, 9, 9], vec![0, 1, 0])?;
/// let how = LossSurface {
///     evaluator: Evaluator {
///         batch_norm: BatchNormMode::Running,
///         normalisation: Normalisation::UNIT,
///         calibration: None,
///     },
///     loss: cross_entropy,
///     reduction: Reduction::Mean,
///     batch: 2,
/// };
/// let chip = Chip::ideal();
/// let mut surface = how.of_parameters(&model, &chip, &data)?;
/// assert_eq!((surface.dim(), surface.batches()), (4, 2));
/// // With no weights, both classes are as likely.
/// assert!((surface.loss_at(&[0.0; 4])? - 2f64.ln()).abs() < 1e-12);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct LossSurface<'a> {
    /// Batch norm, how pixels become inputs, and where calibration images come from.
    pub evaluator: Evaluator<'a>,
    /// The loss of outputs and labels.
    pub loss: Loss,
    /// Whether that is a mean or a sum.
    pub reduction: Reduction,
    /// Images a pass; changes the value by rounding only, unless batch norm uses statistics of batches.
    pub batch: usize,
}

impl LossSurface<'_> {
    /// The loss as a function of all that is trained, on a chip.
    ///
    /// # Errors
    /// If there are no images or no parameters, these are not f64, the chip has a layer that the model lacks, a pass fails,
    /// or recalibration is asked for without enough calibration images.
    pub fn of_parameters<'b>(
        &self,
        model: &'b dyn Model,
        chip: &'b Chip,
        data: &'b Dataset,
    ) -> Result<Surface<'b>> {
        let images = Images::new(self, model, chip, data)?;
        let batches = images.batches.len();
        let part = move |batch| images.part(model, batch, &mut InSilico(chip));
        Ok(Surface::new(model.parameters().clone(), batches, part)?)
    }

    /// The loss as a function of displacements of a chip, with what is trained held still: deviations are the chip's
    /// plus `unit` times the parameter. 0 is the chip itself.
    ///
    /// The gradient is that of the device's model. Where a device has none in a deviation (panels moved to the
    /// nearest pixel), slopes are 0 though the loss changes.
    ///
    /// # Errors
    /// As [`Self::of_parameters`]; without an axis; if an axis has no layers, one twice, one that does not exist or has no such
    /// port, or its unit is not a positive number; if two axes vary the same.
    pub fn of_deviations<'b>(
        &self,
        model: &'b dyn Model,
        chip: &'b Chip,
        data: &'b Dataset,
        axes: &[DeviationAxis],
    ) -> Result<Surface<'b>> {
        if let Some(single) = model.parameters().iter().find(|p| p.var.dtype() != DType::F64) {
            return Err(pnn_core::Error::Unsupported {
                device: format!("a model with {} in {:?}", single.name, single.var.dtype()),
                capability: "a surface over deviations: make the model with DType::F64".into(),
            }
            .into());
        }
        let (mut displaced, mut parameters) = (Vec::new(), Vec::new());
        for axis in axes {
            axis.place(model, &mut displaced, &mut parameters)?;
        }
        let images = Images::new(self, model, chip, data)?;
        let batches = images.batches.len();
        let part = move |batch| {
            let mut moved = chip.clone();
            for Displacement { layer, port, unit, var } in &displaced {
                moved.layer_mut(layer).add(port, &(var.tensor() * *unit)?)?;
            }
            images.part(model, batch, &mut Constant(&moved))
        };
        Ok(Surface::new(ParamSet::new(parameters)?, batches, part)?)
    }
}
