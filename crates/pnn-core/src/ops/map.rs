//! Elementwise maps `y = f(x)` with the exact derivative.

use candle_core::backend::BackendStorage as _;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::real::{Real, dispatch, elements, output, with_elements};
use crate::Result;

/// Elements that one task works on; fixed, so that results never depend on the number of threads.
const CHUNK: usize = 16_384;

/// A differentiable scalar function, applied to every element of a tensor by [`map`].
pub trait Elementwise: Clone + Send + Sync + 'static {
    /// `f(x)`.
    fn value<T: Real>(&self, x: T) -> T;
    /// `df/dx` at `x`.
    fn derivative<T: Real>(&self, x: T) -> T;
}

/// Applies `f` to every element of `x` (any shape).
///
/// # Errors
/// If `x` is not f32 or f64 on the CPU.
pub fn map<F: Elementwise>(x: &Tensor, f: F) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op1(Map(f))?)
}

struct Map<F>(F);

impl<F: Elementwise> CustomOp1 for Map<F> {
    fn name(&self) -> &'static str {
        "map"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        dispatch!(storage.dtype(), T => {
            let x = elements::<T>(storage, layout)?;
            let mut y = vec![T::default(); x.len()];
            y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = self.0.value(*x);
                }
            });
            Ok(output(y, layout.shape()))
        })
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let dx = dispatch!(x.dtype(), T => with_elements::<T, _>(&[x, grad], |s| {
            let mut dx = vec![T::default(); s[0].len()];
            dx.par_chunks_mut(CHUNK)
                .zip(s[0].par_chunks(CHUNK).zip(s[1].par_chunks(CHUNK)))
                .for_each(|(dx, (x, g))| {
                    for (dx, (x, g)) in dx.iter_mut().zip(x.iter().zip(g)) {
                        *dx = self.0.derivative(*x) * *g;
                    }
                });
            Tensor::from_vec(dx, x.shape(), x.device())
        }))?;
        Ok(Some(dx))
    }
}

/// `max(x, 0)`, with derivative 0 at 0 as in PyTorch (stock candle gives 1).
#[derive(Debug, Clone, Copy)]
pub struct Relu;

impl Elementwise for Relu {
    #[inline]
    fn value<T: Real>(&self, x: T) -> T {
        // Written so that NaN passes through, as in PyTorch.
        if x < T::zero() { T::zero() } else { x }
    }
    #[inline]
    fn derivative<T: Real>(&self, x: T) -> T {
        if x > T::zero() { T::one() } else { T::zero() }
    }
}

/// `1 / (1 + exp(-x))`, stable for both signs.
#[derive(Debug, Clone, Copy)]
pub struct Sigmoid;

impl Elementwise for Sigmoid {
    #[inline]
    fn value<T: Real>(&self, x: T) -> T {
        let e = (-x.abs()).exp();
        let small = e / (T::one() + e);
        if x < T::zero() { small } else { T::one() / (T::one() + e) }
    }
    #[inline]
    fn derivative<T: Real>(&self, x: T) -> T {
        let e = (-x.abs()).exp();
        e / ((T::one() + e) * (T::one() + e))
    }
}

/// `max(x, 0)` of every element; see [`Relu`].
///
/// # Errors
/// As [`map`].
pub fn relu(x: &Tensor) -> Result<Tensor> {
    map(x, Relu)
}

/// The logistic function of every element; see [`Sigmoid`].
///
/// # Errors
/// As [`map`].
pub fn sigmoid(x: &Tensor) -> Result<Tensor> {
    map(x, Sigmoid)
}
