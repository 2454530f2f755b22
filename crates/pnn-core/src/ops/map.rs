//! Elementwise maps `y = f(x)` with the exact derivative.

use rayon::prelude::*;

use super::real::{Real, dispatch};
use super::simd::multiversion;
use crate::tensor::Buffer;
use crate::{Result, Tensor};

/// Elements that one task works on; fixed, so that results never depend on the number of threads.
const CHUNK: usize = 16_384;

/// A differentiable scalar function, applied to every element of a tensor by [`map`].
pub trait Elementwise: Clone + Send + Sync + 'static {
    /// `f(x)`.
    fn value<T: Real>(&self, x: T) -> T;
    /// `df/dx` at `x`.
    fn derivative<T: Real>(&self, x: T) -> T;
}

/// Calls `f` on chunks of equal place, on several threads where that pays.
fn chunks<T: Real>(y: &mut [T], x: &[T], f: impl Fn(&mut [T], &[T]) + Sync) {
    if y.len() <= CHUNK {
        f(y, x);
    } else {
        y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| f(y, x));
    }
}

/// Applies `f` to every element of `x` (any shape).
///
/// # Errors
/// If the elements are no floating-point numbers.
pub fn map<F: Elementwise>(x: &Tensor, f: F) -> Result<Tensor> {
    let y = dispatch!(x.dtype(), T => {
        let values = x.elements::<T>()?;
        let mut y = Buffer::scratch(values.len());
        chunks(&mut y, values, |y, x| apply(&f, x, y));
        Tensor::from_buffer(y, x.shape())
    })?;
    let input = x.clone();
    Ok(y.with_gradient(&[x], move |gradient| {
        let shape = input.shape();
        let dx = dispatch!(input.dtype(), T => {
            let mut dx = gradient.into_buffer::<T>()?;
            chunks(&mut dx, input.elements::<T>()?, |dx, x| apply_gradient(&f, x, dx));
            Tensor::from_buffer(dx, shape)
        })?;
        Ok(vec![Some(dx)])
    }))
}

multiversion! {
    fn apply[T: Real, F: Elementwise](f: &F, x: &[T], y: &mut [T]) {
        for (y, x) in y.iter_mut().zip(x) {
            *y = f.value(*x);
        }
    }

    fn apply_gradient[T: Real, F: Elementwise](f: &F, x: &[T], g: &mut [T]) {
        for (g, x) in g.iter_mut().zip(x) {
            *g = f.derivative(*x) * *g;
        }
    }
}

/// `max(x, 0)`, with derivative 0 at 0 as in PyTorch.
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
