//! Max pooling. Stock candle 0.11 scales the gradient of `max_pool2d` by (ties / k^2); ours sends
//! all of it to the first maximum in row-major order, as PyTorch does.

use candle_core::backend::BackendStorage as _;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::real::{Real, dispatch, elements, output, with_elements};
use crate::{Error, Result};

/// The maximum over windows of `size` x `size` pixels that are `stride` apart; rows and columns
/// that do not fill a window are left out. NaN wins over every number.
///
/// # Shapes
/// `x` (batch, channels, height, width), result (batch, channels, (height - size) / stride + 1, ...).
///
/// # Errors
/// If `x` is smaller than a window or has no channels, or `size` or `stride` is 0.
pub fn max_pool2d(x: &Tensor, size: usize, stride: usize) -> Result<Tensor> {
    let fits = x.rank() == 4 && x.dim(1)? > 0 && x.dim(2)? >= size && x.dim(3)? >= size;
    if !fits || size == 0 || stride == 0 {
        let want = format!(
            "(batch, channels, >= {size}, >= {size}) for windows of {size}, stride {stride}"
        );
        return Err(Error::shape("input of max pooling", x, want));
    }
    Ok(x.contiguous()?.apply_op1(MaxPool2d { size, stride })?)
}

struct MaxPool2d {
    size: usize,
    stride: usize,
}

impl MaxPool2d {
    fn out(&self, length: usize) -> usize {
        (length - self.size) / self.stride + 1
    }

    /// Calls `f(output index, index of the first maximum)` for each window of one plane.
    fn for_each_maximum<T: Real>(
        &self,
        plane: &[T],
        width: usize,
        mut f: impl FnMut(usize, usize),
    ) {
        let (rows, columns) = (self.out(plane.len() / width), self.out(width));
        for i in 0..rows {
            for j in 0..columns {
                let corner = i * self.stride * width + j * self.stride;
                let mut best = corner;
                for k in 0..self.size {
                    for l in 0..self.size {
                        let here = corner + k * width + l;
                        if plane[here] > plane[best] || plane[here].is_nan() {
                            best = here;
                        }
                    }
                }
                f(i * columns + j, best);
            }
        }
    }
}

impl CustomOp1 for MaxPool2d {
    fn name(&self) -> &'static str {
        "max-pool2d"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (batch, channels, height, width) = layout.shape().dims4()?;
        let (rows, columns) = (self.out(height), self.out(width));
        dispatch!(storage.dtype(), T => {
            let x = elements::<T>(storage, layout)?;
            let mut y = vec![T::default(); batch * channels * rows * columns];
            y.par_chunks_mut(channels * rows * columns)
                .zip(x.par_chunks(channels * height * width))
                .for_each(|(y, x)| {
                    for (y, x) in y.chunks_mut(rows * columns).zip(x.chunks(height * width)) {
                        self.for_each_maximum(x, width, |out, best| y[out] = x[best]);
                    }
                });
            Ok(output(y, (batch, channels, rows, columns)))
        })
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (_, channels, height, width) = x.dims4()?;
        let (rows, columns) = (self.out(height), self.out(width));
        let dx = dispatch!(x.dtype(), T => with_elements::<T, _>(&[x, grad], |s| {
            let mut dx = vec![T::default(); s[0].len()];
            dx.par_chunks_mut(channels * height * width)
                .zip(s[0].par_chunks(channels * height * width))
                .zip(s[1].par_chunks(channels * rows * columns))
                .for_each(|((dx, x), g)| {
                    let planes = dx.chunks_mut(height * width).zip(x.chunks(height * width));
                    for ((dx, x), g) in planes.zip(g.chunks(rows * columns)) {
                        self.for_each_maximum(x, width, |out, best| dx[best] += g[out]);
                    }
                });
            Tensor::from_vec(dx, x.shape(), x.device())
        }))?;
        Ok(Some(dx))
    }
}
