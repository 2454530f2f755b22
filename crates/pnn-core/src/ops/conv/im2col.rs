//! Convolution as a matrix product with the unfolded image: for any stride and type.

use rayon::prelude::*;

use super::super::gemm::{Matrix, gemm};
use super::super::real::Real;
use super::{Gradients, Sizes, images_per_task};
use crate::tensor::Buffer;

impl Sizes {
    /// Calls `f(tap, output row, range of output columns, first input pixel)` for every run of
    /// output pixels whose input lies inside the image.
    fn for_each_run(&self, mut f: impl FnMut(usize, usize, std::ops::Range<usize>, usize)) {
        let mut tap = 0;
        for channel in 0..self.channels {
            for ky in 0..self.kernel_height {
                for kx in 0..self.kernel_width {
                    let first = self.padding.saturating_sub(kx).div_ceil(self.stride);
                    let last = (self.width + self.padding).saturating_sub(kx).div_ceil(self.stride);
                    let (first, last) = (first.min(self.out_width), last.min(self.out_width));
                    for oy in 0..self.out_height {
                        let Some(iy) = (oy * self.stride + ky).checked_sub(self.padding) else {
                            continue;
                        };
                        if iy >= self.height || first >= last {
                            continue;
                        }
                        let ix = first * self.stride + kx - self.padding;
                        f(tap, oy, first..last, (channel * self.height + iy) * self.width + ix);
                    }
                    tap += 1;
                }
            }
        }
    }

    /// The matrix (taps, pixels) whose product with the weights (outputs, taps) is the output.
    fn gather<T: Real>(&self, image: &[T], columns: &mut [T]) {
        columns.fill(T::default());
        let (pixels, width, stride) = (self.pixels(), self.out_width, self.stride);
        self.for_each_run(|tap, oy, run, start| {
            let row = &mut columns[tap * pixels + oy * width..][run];
            if stride == 1 {
                row.copy_from_slice(&image[start..start + row.len()]);
            } else {
                for (i, value) in row.iter_mut().enumerate() {
                    *value = image[start + i * stride];
                }
            }
        });
    }

    /// The transpose of [`Self::gather`]: adds every entry of `columns` to the pixel it came from.
    fn scatter<T: Real>(&self, columns: &[T], image: &mut [T]) {
        let (pixels, width, stride) = (self.pixels(), self.out_width, self.stride);
        self.for_each_run(|tap, oy, run, start| {
            let row = &columns[tap * pixels + oy * width..][run];
            if stride == 1 {
                for (x, value) in image[start..start + row.len()].iter_mut().zip(row) {
                    *x += *value;
                }
            } else {
                for (i, value) in row.iter().enumerate() {
                    image[start + i * stride] += *value;
                }
            }
        });
    }
}

pub(super) fn forward<T: Real>(s: Sizes, x: &[T], w: &[T]) -> Buffer<T> {
    let (taps, pixels) = (s.taps(), s.pixels());
    let mut y = Buffer::scratch(s.batch * s.outputs * pixels);
    y.par_chunks_mut(s.outputs * pixels).zip(x.par_chunks(s.image())).for_each_init(
        || Buffer::<T>::scratch(taps * pixels),
        |columns, (y, image)| {
            s.gather(image, columns);
            let w = Matrix::row_major(w, taps);
            gemm(s.outputs, pixels, taps, w, Matrix::row_major(columns, pixels), y, false);
        },
    );
    y
}

pub(super) fn backward<T: Real>(
    s: Sizes,
    (x, w, grad): (&[T], &[T], &[T]),
    (want_dx, want_dw): (bool, bool),
) -> Gradients<T> {
    let (taps, pixels, image) = (s.taps(), s.pixels(), s.image());
    let per_task = images_per_task(s);
    let mut dx = Buffer::zeros(if want_dx { s.batch * image } else { 0 });
    let mut partial: Vec<Buffer<T>> = (0..s.batch.div_ceil(per_task))
        .map(|_| Buffer::zeros(if want_dw { s.outputs * taps } else { 0 }))
        .collect();
    let pieces: Vec<Option<&mut [T]>> = if want_dx {
        dx.chunks_mut(per_task * image).map(Some).collect()
    } else {
        partial.iter().map(|_| None).collect()
    };
    partial.par_iter_mut().zip(pieces).enumerate().for_each(|(task, (dw, mut dx))| {
        let mut columns = Buffer::<T>::scratch(taps * pixels);
        let images = task * per_task..((task + 1) * per_task).min(s.batch);
        for (slot, i) in images.enumerate() {
            let g = &grad[i * s.outputs * pixels..][..s.outputs * pixels];
            let g = Matrix::row_major(g, pixels);
            if want_dw {
                s.gather(&x[i * image..][..image], &mut columns);
                let columns = Matrix::row_major(&columns, pixels).transposed();
                gemm(s.outputs, taps, pixels, g, columns, dw, true);
            }
            if let Some(dx) = dx.as_deref_mut() {
                let w = Matrix::row_major(w, taps).transposed();
                gemm(taps, pixels, s.outputs, w, g, &mut columns, false);
                s.scatter(&columns, &mut dx[slot * image..][..image]);
            }
        }
    });
    (want_dx.then_some(dx), want_dw.then(|| total(s.outputs * taps, &partial)))
}

/// The sum of what the tasks found, in their order.
pub(super) fn total<T: Real>(length: usize, partial: &[Buffer<T>]) -> Buffer<T> {
    let mut sum = Buffer::zeros(length);
    for part in partial {
        sum.iter_mut().zip(part.iter()).for_each(|(sum, part)| *sum += *part);
    }
    sum
}
