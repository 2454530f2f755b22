//! Pooling. Of equal maxima the first in row-major order gets the gradient, as in PyTorch.

use rayon::prelude::*;

use super::real::{Real, dispatch};
use super::simd::multiversion;
use crate::tensor::Buffer;
use crate::{Error, Result, Tensor};

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
    let windows = MaxPool2d { size, stride };
    let (batch, channels, height, width) = x.dims4()?;
    let (rows, columns) = (windows.out(height), windows.out(width));
    let y = dispatch!(x.dtype(), T => {
        let mut y = Buffer::<T>::scratch(batch * channels * rows * columns);
        y.par_chunks_mut(channels * rows * columns)
            .zip(x.elements::<T>()?.par_chunks(channels * height * width))
            .for_each(|(y, x)| {
                for (y, x) in y.chunks_mut(rows * columns).zip(x.chunks(height * width)) {
                    if windows.halve() {
                        halve(x, width, y);
                    } else {
                        windows.for_each_maximum(x, width, |out, best| y[out] = x[best]);
                    }
                }
            });
        Tensor::from_buffer(y, (batch, channels, rows, columns))
    })?;
    let input = x.clone();
    Ok(y.with_gradient(&[x], move |gradient| {
        let dx = dispatch!(gradient.dtype(), T => {
            let mut dx = Buffer::<T>::zeros(input.elem_count());
            dx.par_chunks_mut(channels * height * width)
                .zip(input.elements::<T>()?.par_chunks(channels * height * width))
                .zip(gradient.elements::<T>()?.par_chunks(channels * rows * columns))
                .for_each(|((dx, x), g)| {
                    let planes = dx.chunks_mut(height * width).zip(x.chunks(height * width));
                    for ((dx, x), g) in planes.zip(g.chunks(rows * columns)) {
                        if windows.halve() {
                            halve_back(x, width, g, dx);
                        } else {
                            windows.for_each_maximum(x, width, |out, best| dx[best] += g[out]);
                        }
                    }
                });
            Tensor::from_buffer(dx, input.shape())
        })?;
        Ok(vec![Some(dx)])
    }))
}

#[derive(Clone, Copy)]
struct MaxPool2d {
    size: usize,
    stride: usize,
}

impl MaxPool2d {
    fn out(&self, length: usize) -> usize {
        (length - self.size) / self.stride + 1
    }

    /// Whether the windows are of 2 x 2 pixels side by side: the common case, which has no branches.
    fn halve(&self) -> bool {
        self.size == 2 && self.stride == 2
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

/// Whether the second of two is taken: of equal ones the first is; NaN wins.
#[inline(always)]
fn second<T: Real>(a: T, b: T) -> bool {
    (b > a) | b.is_nan()
}

/// The larger of two, the first of equal ones; NaN wins.
#[inline(always)]
pub(super) fn larger<T: Real>(a: T, b: T) -> T {
    if second(a, b) { b } else { a }
}

multiversion! {
    /// The maxima of one plane over windows of 2 x 2 pixels side by side.
    fn halve[T: Real](plane: &[T], width: usize, y: &mut [T]) {
        let rows = plane.chunks_exact(2 * width).zip(y.chunks_exact_mut(width / 2));
        for (rows, y) in rows {
            let ((top, _), (bottom, _)) = (rows[..width].as_chunks::<2>(), rows[width..].as_chunks::<2>());
            for ((y, [a, b]), [c, d]) in y.iter_mut().zip(top).zip(bottom) {
                *y = larger(larger(*a, *b), larger(*c, *d));
            }
        }
    }

    /// Sends the gradient of each maximum of [`halve`] to the pixel that it came from; `dx` is zero before.
    fn halve_back[T: Real](plane: &[T], width: usize, g: &[T], dx: &mut [T]) {
        let rows = plane.chunks_exact(2 * width).zip(dx.chunks_exact_mut(2 * width));
        for ((rows, to), g) in rows.zip(g.chunks_exact(width / 2)) {
            let ((top, _), (bottom, _)) = (rows[..width].as_chunks::<2>(), rows[width..].as_chunks::<2>());
            let (to_top, to_bottom) = to.split_at_mut(width);
            let ((to_top, _), (to_bottom, _)) = (to_top.as_chunks_mut::<2>(), to_bottom.as_chunks_mut::<2>());
            // One row at a time, so that the compiler makes vectors of it.
            for ((([a, b], [c, d]), to), g) in top.iter().zip(bottom).zip(to_top).zip(g) {
                let g = if second(larger(*a, *b), larger(*c, *d)) { T::zero() } else { *g };
                *to = share(second(*a, *b), g);
            }
            for ((([a, b], [c, d]), to), g) in top.iter().zip(bottom).zip(to_bottom).zip(g) {
                let g = if second(larger(*a, *b), larger(*c, *d)) { *g } else { T::zero() };
                *to = share(second(*c, *d), g);
            }
        }
    }
}

/// `g` for one of two, zero for the other.
#[inline(always)]
fn share<T: Real>(second: bool, g: T) -> [T; 2] {
    [if second { T::zero() } else { g }, if second { g } else { T::zero() }]
}

/// The mean over windows of `size` x `size` pixels that are `stride` apart; rows and columns that
/// do not fill a window are left out.
///
/// # Shapes
/// As [`max_pool2d`].
///
/// # Errors
/// As [`max_pool2d`].
pub fn avg_pool2d(x: &Tensor, size: usize, stride: usize) -> Result<Tensor> {
    let fits = x.rank() == 4 && x.dim(1)? > 0 && x.dim(2)? >= size && x.dim(3)? >= size;
    if !fits || size == 0 || stride == 0 {
        let want = format!(
            "(batch, channels, >= {size}, >= {size}) for windows of {size}, stride {stride}"
        );
        return Err(Error::shape("input of average pooling", x, want));
    }
    let (batch, channels, height, width) = x.dims4()?;
    let (rows, columns) = ((height - size) / stride + 1, (width - size) / stride + 1);
    // Every output and the pixels that it is the mean of.
    let windows = move |f: &mut dyn FnMut(usize, usize)| {
        for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
            for (k, l) in (0..size).flat_map(|k| (0..size).map(move |l| (k, l))) {
                f(i * columns + j, (i * stride + k) * width + j * stride + l);
            }
        }
    };
    let share = 1.0 / (size * size) as f64;
    let y = dispatch!(x.dtype(), T => {
        let mut y = Buffer::<T>::zeros(batch * channels * rows * columns);
        let planes = y.par_chunks_mut(rows * columns);
        planes.zip(x.elements::<T>()?.par_chunks(height * width)).for_each(|(y, x)| {
            windows(&mut |out, pixel| y[out] += x[pixel]);
            y.iter_mut().for_each(|y| *y *= T::of(share));
        });
        Tensor::from_buffer(y, (batch, channels, rows, columns))
    })?;
    let shape = x.shape().clone();
    Ok(y.with_gradient(&[x], move |gradient| {
        let dx = dispatch!(gradient.dtype(), T => {
            let mut dx = Buffer::<T>::zeros(shape.elem_count());
            let planes = dx.par_chunks_mut(height * width);
            planes.zip(gradient.elements::<T>()?.par_chunks(rows * columns)).for_each(|(dx, g)| {
                windows(&mut |out, pixel| dx[pixel] += g[out] * T::of(share));
            });
            Tensor::from_buffer(dx, &shape)
        })?;
        Ok(vec![Some(dx)])
    }))
}
