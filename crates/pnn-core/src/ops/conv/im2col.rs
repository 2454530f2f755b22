//! Convolution as a matrix product with the unfolded image: for any stride and type.

use rayon::prelude::*;

use super::super::gemm::{Matrix, gemm};
use super::super::real::Real;
use super::super::simd::multiversion;
use super::{Gradients, Sizes, by_tasks, images_per_task};
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

    /// The matrix (taps, places) whose product with the weights (outputs, taps) is the output of
    /// some images: one pixel after the other, one image after the other.
    fn gather<T: Real>(&self, images: &[T], columns: &mut [T]) {
        columns.fill(T::default());
        let (pixels, width, stride) = (self.pixels(), self.out_width, self.stride);
        let places = images.len() / self.image() * pixels;
        for (i, image) in images.chunks_exact(self.image()).enumerate() {
            self.for_each_run(|tap, oy, run, start| {
                let row = &mut columns[tap * places + i * pixels + oy * width..][run];
                if stride == 1 {
                    row.copy_from_slice(&image[start..start + row.len()]);
                } else {
                    copy_strided(&image[start..], stride, row);
                }
            });
        }
    }

    /// The transpose of [`Self::gather`]: adds every entry of `columns` to the pixel it came from.
    fn scatter<T: Real>(&self, columns: &[T], images: &mut [T]) {
        let (pixels, width, stride) = (self.pixels(), self.out_width, self.stride);
        let places = images.len() / self.image() * pixels;
        for (i, image) in images.chunks_exact_mut(self.image()).enumerate() {
            self.for_each_run(|tap, oy, run, start| {
                let row = &columns[tap * places + i * pixels + oy * width..][run];
                let values = image[start..].iter_mut().step_by(stride);
                row.iter().zip(values).for_each(|(value, x)| *x += *value);
            });
        }
    }

    /// Images whose matrices are multiplied together: products of few columns are slow.
    fn group(&self) -> usize {
        (256 / self.pixels().max(1)).clamp(1, images_per_task(*self))
    }
}

multiversion! {
    /// Copies every `stride`-th value.
    fn copy_strided[T: Real](from: &[T], stride: usize, to: &mut [T]) {
        let pairs = from.as_chunks::<2>().0;
        // A constant distance is what compilers make vectors of.
        if stride == 2 && pairs.len() >= to.len() {
            to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = pair[0]);
        } else {
            to.iter_mut().zip(from.iter().step_by(stride)).for_each(|(to, from)| *to = *from);
        }
    }
}

/// From (image, output, pixel) to (output, image, pixel) or, the other way round, with the numbers
/// of images and outputs exchanged.
fn exchange<T: Real>(from: &[T], to: &mut [T], (outer, inner): (usize, usize), pixels: usize) {
    for (i, block) in from.chunks_exact(inner * pixels).enumerate() {
        for (k, plane) in block.chunks_exact(pixels).enumerate() {
            to[(k * outer + i) * pixels..][..pixels].copy_from_slice(plane);
        }
    }
}

pub(super) fn forward<T: Real>(s: Sizes, x: &[T], w: &[T]) -> Buffer<T> {
    let (taps, pixels, group) = (s.taps(), s.pixels(), s.group());
    let out = s.outputs * pixels;
    let mut y = Buffer::scratch(s.batch * out);
    y.par_chunks_mut(group * out).zip(x.par_chunks(group * s.image())).for_each(|(y, x)| {
        let images = x.len() / s.image();
        let places = images * pixels;
        let mut columns = Buffer::<T>::scratch(taps * places);
        s.gather(x, &mut columns);
        let (w, columns) = (Matrix::row_major(w, taps), Matrix::row_major(&columns, places));
        if images == 1 {
            gemm(s.outputs, places, taps, w, columns, y, false);
        } else {
            let mut lines = Buffer::<T>::scratch(y.len());
            gemm(s.outputs, places, taps, w, columns, &mut lines, false);
            exchange(&lines, y, (s.outputs, images), pixels);
        }
    });
    y
}

pub(super) fn backward<T: Real>(
    s: Sizes,
    (x, w, g): (&[T], &[T], &[T]),
    wanted: (bool, bool),
) -> Gradients<T> {
    let (taps, pixels, image, group) = (s.taps(), s.pixels(), s.image(), s.group());
    let out = s.outputs * pixels;
    by_tasks(s, (x, g), wanted, |x, g, mut dx, mut dw| {
        if let Some(dx) = dx.as_deref_mut() {
            dx.fill(T::default());
        }
        for (i, (x, g)) in x.chunks(group * image).zip(g.chunks(group * out)).enumerate() {
            let images = x.len() / image;
            let places = images * pixels;
            let mut lines = Buffer::<T>::scratch(if images == 1 { 0 } else { g.len() });
            if images > 1 {
                exchange(g, &mut lines, (images, s.outputs), pixels);
            }
            let g = Matrix::row_major(if images == 1 { g } else { &lines }, places);
            let mut columns = Buffer::<T>::scratch(taps * places);
            if let Some(dw) = dw.as_deref_mut() {
                s.gather(x, &mut columns);
                let columns = Matrix::row_major(&columns, places).transposed();
                gemm(s.outputs, taps, places, g, columns, dw, true);
            }
            if let Some(dx) = dx.as_deref_mut() {
                let w = Matrix::row_major(w, taps).transposed();
                gemm(taps, places, s.outputs, w, g, &mut columns, false);
                s.scatter(&columns, &mut dx[i * group * image..][..x.len()]);
            }
        }
    })
}
