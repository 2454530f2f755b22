//! Dense products and biases.

use candle_core::backend::BackendStorage as _;
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::gemm::{Matrix, gemm};
use super::real::{Real, dispatch, elements, output, with_elements};
use crate::{Error, Result};

/// Rows of an output that one task computes; fixed, so that results never depend on the number
/// of threads.
const ROWS: usize = 32;

/// `y = x W^T`.
///
/// # Shapes
/// `x` (batch, inputs), `weight` (outputs, inputs), result (batch, outputs).
///
/// # Errors
/// If the shapes do not match or the weight is empty.
pub fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (_, inputs) =
        weight.dims2().map_err(|_| Error::shape("weight", weight, "(outputs, inputs)"))?;
    if x.rank() != 2 || x.dim(1)? != inputs || weight.elem_count() == 0 {
        return Err(Error::shape("input of a linear layer", x, format!("(batch, {inputs})")));
    }
    Ok(x.contiguous()?.apply_op2(&weight.contiguous()?, Linear)?)
}

struct Linear;

/// `c (m, n) = a (m, k) b (k, n)`, split over fixed blocks of rows of `c`.
fn product<T: Real>(m: usize, n: usize, k: usize, a: Matrix<'_, T>, b: Matrix<'_, T>) -> Vec<T> {
    let mut c = vec![T::default(); m * n];
    c.par_chunks_mut(ROWS * n).enumerate().for_each(|(block, c)| {
        let rows = c.len() / n;
        gemm(rows, n, k, a.rows_from(block * ROWS), b, c, false);
    });
    c
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (batch, inputs) = x_layout.shape().dims2()?;
        let (outputs, _) = w_layout.shape().dims2()?;
        dispatch!(x.dtype(), T => {
            let x = Matrix::row_major(elements::<T>(x, x_layout)?, inputs);
            let w = Matrix::row_major(elements::<T>(w, w_layout)?, inputs);
            Ok(output(product(batch, outputs, inputs, x, w.transposed()), (batch, outputs)))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let (batch, inputs) = x.dims2()?;
        let outputs = w.dim(0)?;
        dispatch!(x.dtype(), T => with_elements::<T, _>(&[x, w, grad], |s| {
            let (xs, ws) = (Matrix::row_major(s[0], inputs), Matrix::row_major(s[1], inputs));
            let g = Matrix::row_major(s[2], outputs);
            let dx = x.track_op().then(|| {
                Tensor::from_vec(product(batch, inputs, outputs, g, ws), x.shape(), x.device())
            });
            let dw = w.track_op().then(|| {
                Tensor::from_vec(
                    product(outputs, inputs, batch, g.transposed(), xs), w.shape(), w.device())
            });
            Ok((dx.transpose()?, dw.transpose()?))
        }))
    }
}

/// Adds `bias` (channels) to dimension 1 of `x` (batch, channels, ...).
///
/// # Errors
/// If the number of channels differs.
pub fn add_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    if x.rank() < 2 || bias.dims() != [x.dim(1)?] {
        return Err(Error::shape(
            "bias",
            bias,
            format!("({}) to match {:?}", x.dims().get(1).copied().unwrap_or(0), x.dims()),
        ));
    }
    Ok(x.contiguous()?.apply_op2(&bias.contiguous()?, AddBias)?)
}

struct AddBias;

impl CustomOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add-bias"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let dims = x_layout.dims();
        let spatial = dims[2..].iter().product::<usize>();
        dispatch!(x.dtype(), T => {
            let (x, bias) = (elements::<T>(x, x_layout)?, elements::<T>(bias, bias_layout)?);
            let mut y = x.to_vec();
            for (i, plane) in y.chunks_mut(spatial.max(1)).enumerate() {
                let b = bias[i % bias.len()];
                plane.iter_mut().for_each(|y| *y += b);
            }
            Ok(output(y, x_layout.shape()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        if !bias.track_op() {
            return Ok((Some(grad.clone()), None));
        }
        let spatial = x.dims()[2..].iter().product::<usize>();
        let channels = bias.elem_count();
        let db = dispatch!(x.dtype(), T => with_elements::<T, _>(&[grad], |s| {
            let mut db = vec![0f64; channels];
            for (i, plane) in s[0].chunks(spatial.max(1)).enumerate() {
                db[i % channels] += plane.iter().copied().sum::<T>().f64();
            }
            let db: Vec<T> = db.into_iter().map(T::of).collect();
            Tensor::from_vec(db, bias.shape(), bias.device())
        }))?;
        Ok((Some(grad.clone()), Some(db)))
    }
}
