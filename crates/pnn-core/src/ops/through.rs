//! The straight-through operator of physics-aware training.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

use super::real::{dispatch, output, with_elements};
use crate::{Error, Result};

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
    let measured = measured.detach().contiguous()?;
    Ok(model.contiguous()?.apply_op1(StraightThrough { measured })?)
}

struct StraightThrough {
    measured: Tensor,
}

impl CustomOp1 for StraightThrough {
    fn name(&self) -> &'static str {
        "straight-through"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let measured = &self.measured;
        dispatch!(measured.dtype(), T => with_elements::<T, _>(&[measured], |s| {
            Ok(output(s[0].to_vec(), measured.shape()))
        }))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(grad.clone()))
    }
}
