//! Two-dimensional convolution (cross-correlation, as in every framework). In f32 and with stride 1
//! by Winograd's filtering where that is less work, else direct; all others by im2col and GEMM.

mod channels_last;
mod direct;
mod im2col;
mod interleaved;
mod kernels;
mod scratch;
mod tiles;
mod winograd;

pub use interleaved::{
    conv_transpose2d, conv_transpose2d_interleaved, conv2d_interleaved, deinterleave, interleave,
    lanes,
};

use rayon::prelude::*;

use super::real::{Real, dispatch};
use crate::tensor::Buffer;
use crate::{Error, Result, Tensor};

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
    let sizes = Sizes::new(x, weight, geometry)?;
    let y = dispatch!(x.dtype(), T => {
        let y = forward(sizes, x.elements::<T>()?, weight.elements::<T>()?);
        let shape = (sizes.batch, sizes.outputs, sizes.out_height, sizes.out_width);
        Tensor::from_buffer(y, shape)
    })?;
    let (x_in, w_in) = (x.clone(), weight.clone());
    Ok(y.with_gradient(&[x, weight], move |gradient| {
        let wanted = (x_in.is_tracked(), w_in.is_tracked());
        dispatch!(gradient.dtype(), T => {
            let values = (x_in.elements::<T>()?, w_in.elements::<T>()?, gradient.elements::<T>()?);
            let (dx, dw) = backward(sizes, values, wanted);
            let dx = dx.map(|dx| Tensor::from_buffer(dx, x_in.shape())).transpose()?;
            let dw = dw.map(|dw| Tensor::from_buffer(dw, w_in.shape())).transpose()?;
            Ok(vec![dx, dw])
        })
    }))
}

fn forward<T: Real>(s: Sizes, x: &[T], w: &[T]) -> Buffer<T> {
    match (T::as_f32(x), T::as_f32(w)) {
        (Some(x), Some(w)) if winograd::fits(s) => T::from_f32(winograd::forward(s, x, w)),
        (Some(x), Some(w)) if direct::fits(s) => T::from_f32(direct::forward(s, x, w)),
        _ => im2col::forward(s, x, w),
    }
}

/// Gradients of input and weight.
type Gradients<T> = (Option<Buffer<T>>, Option<Buffer<T>>);

/// Gradients of input and weight, each only if wanted.
fn backward<T: Real>(
    s: Sizes,
    (x, w, g): (&[T], &[T], &[T]),
    wanted: (bool, bool),
) -> Gradients<T> {
    match (T::as_f32(x), T::as_f32(w), T::as_f32(g)) {
        (Some(x), Some(w), Some(g)) if winograd::fits(s) => {
            let (dx, dw) = winograd::backward(s, (x, w, g), wanted);
            (dx.map(T::from_f32), dw.map(T::from_f32))
        }
        (Some(x), Some(w), Some(g)) if direct::fits(s) => {
            let (dx, dw) = direct::backward(s, (x, w, g), wanted);
            (dx.map(T::from_f32), dw.map(T::from_f32))
        }
        _ => im2col::backward(s, (x, w, g), wanted),
    }
}

/// Images whose weight gradients are summed by one task, one after the other; fixed, so that the
/// order of the sum never depends on the number of threads.
fn images_per_task(s: Sizes) -> usize {
    let tasks = if s.outputs * s.taps() <= 1 << 16 { 16 } else { 8 };
    s.batch.div_ceil(tasks).max(1)
}

/// Gradients of input and weight, each if wanted, from pieces of a batch: `task(x, g, dx, dw)` sets
/// the input's gradient of some images and adds the weight's to `dw`.
fn by_tasks<T: Real>(
    s: Sizes,
    (x, g): (&[T], &[T]),
    (want_dx, want_dw): (bool, bool),
    task: impl Fn(&[T], &[T], Option<&mut [T]>, Option<&mut [T]>) + Sync,
) -> Gradients<T> {
    let (image, out, per_task) = (s.image(), s.outputs * s.pixels(), images_per_task(s));
    let length = s.outputs * s.taps();
    let mut dx = want_dx.then(|| Buffer::scratch(s.batch * image));
    let tasks = s.batch.div_ceil(per_task);
    let mut partial: Vec<Buffer<T>> =
        (0..if want_dw { tasks } else { 0 }).map(|_| Buffer::zeros(length)).collect();
    let mut pieces = dx.iter_mut().flat_map(|dx| dx.chunks_mut(per_task * image));
    let mut sums = partial.iter_mut();
    let wanted: Vec<_> = (0..tasks).map(|_| (pieces.next(), sums.next())).collect();
    let inputs = x.par_chunks(per_task * image).zip(g.par_chunks(per_task * out));
    wanted.into_par_iter().zip(inputs).for_each(|((dx, dw), (x, g))| {
        task(x, g, dx, dw.map(|dw| &mut dw[..]));
    });
    (dx, want_dw.then(|| total(length, &partial)))
}

/// The sum of what the tasks found, in their order.
fn total<T: Real>(length: usize, partial: &[Buffer<T>]) -> Buffer<T> {
    let mut sum = Buffer::zeros(length);
    for part in partial {
        sum.iter_mut().zip(part.iter()).for_each(|(sum, part)| *sum += *part);
    }
    sum
}

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
    fn new(x: &Tensor, w: &Tensor, geometry: ConvGeometry) -> Result<Self> {
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
}
