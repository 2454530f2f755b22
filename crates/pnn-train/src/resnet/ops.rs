//! The operations of a residual network beside its layers.

use pnn_core::layers::BatchNorm;
use pnn_core::model::Mode;
use pnn_core::ops::relu;
use pnn_core::{Result, Tensor};

/// A rectified batch-norm.
pub(super) fn norm_relu(norm: &BatchNorm, x: &Tensor, mode: Mode) -> Result<Tensor> {
    relu(&norm.forward(x, mode)?)
}

/// The rectified sum of two tensors of one shape.
pub(super) fn add_relu(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    relu(&(x + y)?)
}

/// The mean of each plane: (batch, channels, height, width) to (batch, channels).
pub(super) fn global_average(x: &Tensor) -> Result<Tensor> {
    Ok(x.flatten_from(2)?.mean(2)?)
}
