//! The straight-through operator of physics-aware training.

use crate::{Error, Result, Tensor};

/// Has the values of `measured` and the gradient of `model`: what a device gave, differentiated
/// as if its model had given it (physics-aware training: Wright et al., Nature 601, 549, 2022).
///
/// # Errors
/// If shapes or dtypes differ.
pub fn straight_through(model: &Tensor, measured: &Tensor) -> Result<Tensor> {
    if model.shape() != measured.shape() || model.dtype() != measured.dtype() {
        let want = format!("{:?} of {:?}, the model's", model.dims(), model.dtype());
        return Err(Error::shape("measured output", measured, want));
    }
    Ok(measured.detach().with_gradient(&[model], |gradient| Ok(vec![Some(gradient)])))
}
