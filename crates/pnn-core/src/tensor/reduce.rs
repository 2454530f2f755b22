//! Sums, means and matrix products.

use super::{Buffer, Shape, Tensor};
use crate::Result;
use crate::ops::simd::{lane_sum, multiversion};
use crate::ops::{Real, dispatch, linear};

impl Tensor {
    /// The sum of all elements, in their order, as a scalar.
    ///
    /// # Errors
    /// If the elements are no floating-point numbers.
    pub fn sum_all(&self) -> Result<Self> {
        self.flatten_all()?.sum(0)
    }

    /// Whether no element is infinite or not a number.
    ///
    /// # Errors
    /// If the elements are no floating-point numbers.
    pub fn all_finite(&self) -> Result<bool> {
        dispatch!(self.dtype(), T => {
            Ok(self.elements::<T>()?.iter().all(|x| x.is_finite()))
        })
    }

    /// The mean of all elements, as a scalar.
    ///
    /// # Errors
    /// If the elements are no floating-point numbers.
    pub fn mean_all(&self) -> Result<Self> {
        self.sum_all()? * (1.0 / self.elem_count() as f64)
    }

    /// The sums along a dimension, which vanishes.
    ///
    /// # Errors
    /// If there is no such dimension or the elements are no floating-point numbers.
    pub fn sum(&self, dim: usize) -> Result<Self> {
        let length = self.dim(dim)?;
        let inner: usize = self.dims()[dim + 1..].iter().product();
        let shape: Vec<usize> = [&self.dims()[..dim], &self.dims()[dim + 1..]].concat();
        let shape = Shape::from(shape);
        let y = dispatch!(self.dtype(), T => {
            let x = self.elements::<T>()?;
            Tensor::from_buffer(sum_middle(x, shape.elem_count(), length, inner), &shape)
        })?;
        let full = self.shape().clone();
        Ok(y.with_gradient(&[self], move |gradient| {
            let dx = dispatch!(gradient.dtype(), T => {
                let g = gradient.elements::<T>()?;
                let mut dx = Buffer::<T>::scratch(full.elem_count());
                let rows = dx.chunks_mut((length * inner).max(1)).zip(g.chunks(inner.max(1)));
                for (dx, g) in rows {
                    match g {
                        [g] => dx.fill(*g),
                        g => dx.chunks_mut(inner).for_each(|row| row.copy_from_slice(g)),
                    }
                }
                Tensor::from_buffer(dx, &full)
            })?;
            Ok(vec![Some(dx)])
        }))
    }

    /// The means along a dimension, which vanishes.
    ///
    /// # Errors
    /// As [`Self::sum`].
    pub fn mean(&self, dim: usize) -> Result<Self> {
        self.sum(dim)? * (1.0 / self.dim(dim)? as f64)
    }

    /// The product of two matrices.
    ///
    /// # Errors
    /// If they are no matrices whose sizes fit.
    pub fn matmul(&self, other: &Self) -> Result<Self> {
        linear(self, &other.t()?)
    }
}

/// Sums over the middle of three dimensions.
fn sum_middle<T: Real>(x: &[T], count: usize, length: usize, inner: usize) -> Buffer<T> {
    let mut y = Buffer::zeros(count);
    if inner == 1 {
        for (y, x) in y.iter_mut().zip(x.chunks(length.max(1))) {
            *y = sum_of(x);
        }
    } else if inner > 0 && length > 0 {
        for (y, x) in y.chunks_mut(inner).zip(x.chunks(length * inner)) {
            for x in x.chunks(inner) {
                y.iter_mut().zip(x).for_each(|(y, x)| *y += *x);
            }
        }
    }
    y
}

multiversion! {
    fn sum_of[T: Real](x: &[T]) -> T {
        T::of(lane_sum(x, x, |x, _| x))
    }
}
