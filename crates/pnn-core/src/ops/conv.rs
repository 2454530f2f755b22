//! Two-dimensional convolution (cross-correlation, as in every framework) by im2col and GEMM.

use candle_core::backend::BackendStorage as _;
use candle_core::{CpuStorage, CustomOp2, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::gemm::{Matrix, gemm};
use super::real::{Real, dispatch, elements, output, with_elements};
use crate::{Error, Result};

/// Groups of images whose weight gradients are summed one after the other; fixed, so that the
/// order of the sum never depends on the number of threads.
const GROUPS: usize = 8;

/// Stride and zero padding of a convolution, equal in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvGeometry {
    /// Step between neighbouring outputs, at least 1.
    pub stride: usize,
    /// Rows and columns of zeros added at each side.
    pub padding: usize,
}

impl Default for ConvGeometry {
    fn default() -> Self {
        Self { stride: 1, padding: 0 }
    }
}

/// `y[b, o, i, j] = sum_{c, k, l} w[o, c, k, l] x[b, c, i s + k - p, j s + l - p]`.
///
/// # Shapes
/// `x` (batch, channels, height, width), `weight` (outputs, channels, kernel height, kernel
/// width), result (batch, outputs, (height + 2p - kernel) / s + 1, ...).
///
/// # Errors
/// If the shapes do not match, the kernel is larger than the padded image, the stride is 0 or
/// anything but the batch is empty.
pub fn conv2d(x: &Tensor, weight: &Tensor, geometry: ConvGeometry) -> Result<Tensor> {
    let (_, channels, kernel_height, kernel_width) = weight
        .dims4()
        .map_err(|_| Error::shape("weight", weight, "(outputs, channels, height, width)"))?;
    let spans = |length: usize, kernel: usize| {
        let padded = geometry.padding.checked_mul(2).and_then(|p| p.checked_add(length));
        length > 0 && padded.is_some_and(|padded| padded >= kernel)
    };
    let fits = weight.elem_count() > 0
        && x.rank() == 4
        && x.dim(1)? == channels
        && spans(x.dim(2)?, kernel_height)
        && spans(x.dim(3)?, kernel_width);
    if !fits || geometry.stride == 0 {
        let want = format!(
            "(batch, {channels}, >= {kernel_height}, >= {kernel_width}) with padding {} and stride {}",
            geometry.padding, geometry.stride
        );
        return Err(Error::shape("input of a convolution", x, want));
    }
    Ok(x.contiguous()?.apply_op2(&weight.contiguous()?, Conv2d(geometry))?)
}

struct Conv2d(ConvGeometry);

/// All sizes of one convolution.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    channels: usize,
    height: usize,
    width: usize,
    outputs: usize,
    kernel_height: usize,
    kernel_width: usize,
    out_height: usize,
    out_width: usize,
    stride: usize,
    padding: usize,
}

impl Sizes {
    fn new(x: &Shape, w: &Shape, geometry: ConvGeometry) -> candle_core::Result<Self> {
        let (batch, channels, height, width) = x.dims4()?;
        let (outputs, _, kernel_height, kernel_width) = w.dims4()?;
        let ConvGeometry { stride, padding } = geometry;
        Ok(Self {
            batch,
            channels,
            height,
            width,
            outputs,
            kernel_height,
            kernel_width,
            out_height: (height + 2 * padding - kernel_height) / stride + 1,
            out_width: (width + 2 * padding - kernel_width) / stride + 1,
            stride,
            padding,
        })
    }

    /// Pixels of one output plane.
    fn pixels(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Inputs that one output pixel sees.
    fn taps(&self) -> usize {
        self.channels * self.kernel_height * self.kernel_width
    }

    fn image(&self) -> usize {
        self.channels * self.height * self.width
    }

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

fn forward<T: Real>(s: Sizes, x: &[T], w: &[T]) -> Vec<T> {
    let (taps, pixels) = (s.taps(), s.pixels());
    let mut y = vec![T::default(); s.batch * s.outputs * pixels];
    y.par_chunks_mut(s.outputs * pixels).zip(x.par_chunks(s.image())).for_each_init(
        || vec![T::default(); taps * pixels],
        |columns, (y, image)| {
            s.gather(image, columns);
            let w = Matrix::row_major(w, taps);
            gemm(s.outputs, pixels, taps, w, Matrix::row_major(columns, pixels), y, false);
        },
    );
    y
}

/// Gradients of input and weight, each only if asked for.
fn backward<T: Real>(
    s: Sizes,
    (x, w, grad): (&[T], &[T], &[T]),
    (want_dx, want_dw): (bool, bool),
) -> (Option<Vec<T>>, Option<Vec<T>>) {
    let (taps, pixels, image) = (s.taps(), s.pixels(), s.image());
    let mut dx = vec![T::default(); if want_dx { s.batch * image } else { 0 }];
    let per_group = s.batch.div_ceil(GROUPS).max(1);
    let groups: Vec<_> = (0..s.batch.div_ceil(per_group))
        .zip(if want_dx {
            dx.chunks_mut(per_group * image).map(Some).collect::<Vec<_>>()
        } else {
            (0..s.batch.div_ceil(per_group)).map(|_| None).collect()
        })
        .collect();
    let partial: Vec<Vec<T>> = groups
        .into_par_iter()
        .map(|(group, mut dx)| {
            let mut dw = vec![T::default(); s.outputs * taps];
            let mut columns = vec![T::default(); taps * pixels];
            let images = group * per_group..((group + 1) * per_group).min(s.batch);
            for (slot, i) in images.enumerate() {
                let g = &grad[i * s.outputs * pixels..][..s.outputs * pixels];
                let g = Matrix::row_major(g, pixels);
                if want_dw {
                    s.gather(&x[i * image..][..image], &mut columns);
                    let columns = Matrix::row_major(&columns, pixels).transposed();
                    gemm(s.outputs, taps, pixels, g, columns, &mut dw, true);
                }
                if let Some(dx) = dx.as_deref_mut() {
                    let w = Matrix::row_major(w, taps).transposed();
                    gemm(taps, pixels, s.outputs, w, g, &mut columns, false);
                    s.scatter(&columns, &mut dx[slot * image..][..image]);
                }
            }
            dw
        })
        .collect();
    let dw = want_dw.then(|| {
        let mut dw = vec![T::default(); s.outputs * taps];
        for part in &partial {
            dw.iter_mut().zip(part).for_each(|(sum, part)| *sum += *part);
        }
        dw
    });
    (want_dx.then_some(dx), dw)
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        w: &CpuStorage,
        w_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let s = Sizes::new(x_layout.shape(), w_layout.shape(), self.0)?;
        dispatch!(x.dtype(), T => {
            let y = forward(s, elements::<T>(x, x_layout)?, elements::<T>(w, w_layout)?);
            Ok(output(y, (s.batch, s.outputs, s.out_height, s.out_width)))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let s = Sizes::new(x.shape(), w.shape(), self.0)?;
        let wanted = (x.track_op(), w.track_op());
        dispatch!(x.dtype(), T => with_elements::<T, _>(&[x, w, grad], |t| {
            let (dx, dw) = backward(s, (t[0], t[1], t[2]), wanted);
            let dx = dx.map(|dx| Tensor::from_vec(dx, x.shape(), x.device())).transpose()?;
            let dw = dw.map(|dw| Tensor::from_vec(dw, w.shape(), w.device())).transpose()?;
            Ok((dx, dw))
        }))
    }
}
