//! Convolutions of small images with samples side by side, and transposed ones.
//!
//! A small image has rows too short for vectors: of 2x2 pixels under a 3x3 kernel most of what an
//! unfolding copies is padding. Here a value of one pixel is followed by that of the next sample, so
//! that each tap multiplies long runs, and padding costs nothing: taps beyond the edge do not exist.

mod kernels;

use rayon::prelude::*;

use super::super::real::dispatch;
use super::{ConvGeometry, Sizes, total};
use crate::tensor::Buffer;
use crate::{Error, Result, Tensor};
use kernels::{Rows, Targets};

/// How many samples of a batch to put side by side: a divisor of the batch, the best one for the
/// vectors of processors.
#[must_use]
pub fn lanes(batch: usize) -> usize {
    let divides = |lanes: &usize| batch.is_multiple_of(*lanes);
    let good = [48, 32, 16].into_iter().find(divides);
    good.or_else(|| (1..=64).rev().find(divides)).unwrap_or(1)
}

/// Puts samples side by side: value `i` of sample `b` moves to block `b / lanes`, place `i`, lane
/// `b % lanes`.
///
/// # Shapes
/// `x` (batch, ...), result (batch / lanes, ..., lanes).
///
/// # Errors
/// If `lanes` does not divide the batch.
pub fn interleave(x: &Tensor, lanes: usize) -> Result<Tensor> {
    let batch = x.dim(0)?;
    if lanes == 0 || !batch.is_multiple_of(lanes) {
        let want = format!("a batch that is a multiple of {lanes} lanes");
        return Err(Error::shape("tensor to interleave", x, want));
    }
    let inner = x.dims()[1..].iter().product::<usize>();
    let y = x.reshape([batch / lanes, lanes, inner])?.transpose(1, 2)?;
    y.reshape([&[batch / lanes], &x.dims()[1..], &[lanes]].concat())
}

/// The inverse of [`interleave`].
///
/// # Shapes
/// `x` (blocks, ..., lanes), result (blocks * lanes, ...).
///
/// # Errors
/// If there are fewer than two dimensions.
pub fn deinterleave(x: &Tensor) -> Result<Tensor> {
    let &[blocks, ref inner @ .., lanes] = x.dims() else {
        return Err(Error::shape("tensor to deinterleave", x, "(blocks, ..., lanes)"));
    };
    let y = x.reshape([blocks, inner.iter().product(), lanes])?.transpose(1, 2)?;
    y.reshape([&[blocks * lanes], inner].concat())
}

/// [`conv2d`](super::conv2d) of interleaved batches, in groups of channels that do not see each
/// other.
///
/// # Shapes
/// `x` (blocks, groups * channels, height, width, lanes), `weight` (groups * outputs, channels,
/// kernel height, kernel width), result (blocks, groups * outputs, out height, out width, lanes).
///
/// # Errors
/// As [`conv2d`](super::conv2d), and if the groups do not divide the outputs.
pub fn conv2d_interleaved(
    x: &Tensor,
    weight: &Tensor,
    geometry: ConvGeometry,
    groups: usize,
) -> Result<Tensor> {
    let plan = Plan::forth(x, weight, geometry, groups)?;
    let y = plan.correlate(Direction::Forth, x, weight)?;
    let (x_in, w_in) = inputs_for_gradients(x, weight);
    Ok(y.with_gradient(&[x, weight], move |g| {
        let dx = w_in.as_ref().map(|w| plan.correlate(Direction::Back, &g, w)).transpose()?;
        let dw = x_in.as_ref().map(|x| plan.weight_gradient(x, &g)).transpose()?;
        Ok(vec![dx, dw])
    }))
}

/// [`conv_transpose2d`] of interleaved batches, in groups of channels that do not see each other.
///
/// # Shapes
/// `x` (blocks, groups * channels, height, width, lanes), `weight` (groups * channels, outputs,
/// kernel height, kernel width), result (blocks, groups * outputs, out height, out width, lanes).
///
/// # Errors
/// As [`conv_transpose2d`], and if the groups do not divide the channels.
pub fn conv_transpose2d_interleaved(
    x: &Tensor,
    weight: &Tensor,
    geometry: ConvGeometry,
    output_padding: usize,
    groups: usize,
) -> Result<Tensor> {
    let plan = Plan::back(x, weight, geometry, output_padding, groups)?;
    let y = plan.correlate(Direction::Back, x, weight)?;
    let (x_in, w_in) = inputs_for_gradients(x, weight);
    Ok(y.with_gradient(&[x, weight], move |g| {
        let dx = w_in.as_ref().map(|w| plan.correlate(Direction::Forth, &g, w)).transpose()?;
        let dw = x_in.as_ref().map(|x| plan.weight_gradient(&g, x)).transpose()?;
        Ok(vec![dx, dw])
    }))
}

/// The transpose of a convolution: `y[b, o, i s + k - p, j s + l - p] += w[c, o, k, l] x[b, c, i, j]`
/// over all c, i, j, k, l (as PyTorch's `conv_transpose2d`).
///
/// # Shapes
/// `x` (batch, channels, height, width), `weight` (channels, outputs, kernel height, kernel width),
/// result (batch, outputs, (height - 1) s - 2p + kernel + `output_padding`, ...).
///
/// # Errors
/// If the shapes do not match, the result or anything but the batch is empty, the stride is 0 or
/// `output_padding` is not below it.
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    geometry: ConvGeometry,
    output_padding: usize,
) -> Result<Tensor> {
    if x.rank() != 4 {
        let want = "(batch, channels, height, width)";
        return Err(Error::shape("input of a transposed convolution", x, want));
    }
    let x = interleave(x, lanes(x.dim(0)?))?;
    deinterleave(&conv_transpose2d_interleaved(&x, weight, geometry, output_padding, 1)?)
}

/// The input if the weight's gradient is wanted, and the weight if the input's is: nothing else is
/// kept for the way back.
fn inputs_for_gradients(x: &Tensor, weight: &Tensor) -> (Option<Tensor>, Option<Tensor>) {
    (weight.is_tracked().then(|| x.clone()), x.is_tracked().then(|| weight.clone()))
}

/// Which way a weight is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    /// From images to the outputs of a convolution.
    Forth,
    /// From outputs to images, transposed.
    Back,
}

/// A convolution in groups, of blocks of images with lanes. Channels and outputs in `sizes` are
/// those of one group, its batch the number of blocks.
#[derive(Clone, Copy)]
struct Plan {
    sizes: Sizes,
    groups: usize,
    lanes: usize,
}

impl Plan {
    /// From the sizes of a weight, of images and of outputs.
    fn of(
        (all, channels, kernel_height, kernel_width): (usize, usize, usize, usize),
        (batch, groups, lanes): (usize, usize, usize),
        ConvGeometry { stride, padding }: ConvGeometry,
        [height, width]: [usize; 2],
        [out_height, out_width]: [usize; 2],
    ) -> Self {
        let sizes = Sizes {
            batch,
            channels,
            height,
            width,
            outputs: all / groups,
            kernel_height,
            kernel_width,
            out_height,
            out_width,
            stride,
            padding,
        };
        Self { sizes, groups, lanes }
    }

    fn forth(x: &Tensor, weight: &Tensor, geometry: ConvGeometry, groups: usize) -> Result<Self> {
        let dims @ (_, channels, kernel_height, kernel_width) = weight_dims(weight, groups)?;
        let out = |length: usize, kernel: usize| {
            let padded = geometry.padding.checked_mul(2)?.checked_add(length)?;
            Some(padded.checked_sub(kernel)?.checked_div(geometry.stride)? + 1)
        };
        if let &[blocks, all_channels, height, width, lanes] = x.dims()
            && Some(all_channels) == channels.checked_mul(groups)
            && height * width * lanes > 0
            && let (Some(out_height), Some(out_width)) =
                (out(height, kernel_height), out(width, kernel_width))
        {
            let batch = (blocks, groups, lanes);
            return Ok(Self::of(dims, batch, geometry, [height, width], [out_height, out_width]));
        }
        let want = format!(
            "(blocks, {groups} * {channels}, >= {kernel_height}, >= {kernel_width}, lanes) with \
             padding {} and stride {}",
            geometry.padding, geometry.stride
        );
        Err(Error::shape("input of an interleaved convolution", x, want))
    }

    fn back(
        x: &Tensor,
        weight: &Tensor,
        geometry: ConvGeometry,
        output_padding: usize,
        groups: usize,
    ) -> Result<Self> {
        let dims @ (all, _, kernel_height, kernel_width) = weight_dims(weight, groups)?;
        let ConvGeometry { stride, padding } = geometry;
        // The size of which a convolution makes `length`.
        let image = |length: usize, kernel: usize| {
            let reach = length.checked_sub(1)?.checked_mul(stride)?.checked_add(kernel)?;
            let image = reach.checked_add(output_padding)?.checked_sub(padding.checked_mul(2)?)?;
            (image > 0).then_some(image)
        };
        if let &[blocks, all_outputs, out_height, out_width, lanes] = x.dims()
            && all_outputs == all
            && output_padding < stride
            && lanes > 0
            && let (Some(height), Some(width)) =
                (image(out_height, kernel_height), image(out_width, kernel_width))
        {
            let batch = (blocks, groups, lanes);
            return Ok(Self::of(dims, batch, geometry, [height, width], [out_height, out_width]));
        }
        let want = format!(
            "{all} channels and a result that is not empty, with padding {padding}, stride {stride} \
             and output padding {output_padding} below it"
        );
        Err(Error::shape("input of a transposed convolution", x, want))
    }

    /// Values of one block of images and of one block of outputs, and their shapes.
    fn shape(&self, direction: Direction) -> [usize; 5] {
        let s = self.sizes;
        match direction {
            Direction::Forth => {
                [s.batch, self.groups * s.outputs, s.out_height, s.out_width, self.lanes]
            }
            Direction::Back => [s.batch, self.groups * s.channels, s.height, s.width, self.lanes],
        }
    }

    /// From source to target in a direction.
    fn correlate(&self, direction: Direction, source: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let shape = self.shape(direction);
        let targets = Targets::new(*self, direction);
        dispatch!(source.dtype(), T => {
            let (source, weight) = (source.elements::<T>()?, weight.elements::<T>()?);
            let rows = Rows::new(*self, direction, weight);
            let mut y = Buffer::<T>::scratch(shape.iter().product());
            let (from, to) = (source.len() / self.sizes.batch.max(1), y.len() / self.sizes.batch.max(1));
            if from > 0 {
                let blocks = y.par_chunks_mut(to).zip(source.par_chunks(from));
                blocks.for_each(|(y, source)| targets.fill(&rows, source, y));
            }
            Tensor::from_buffer(y, shape)
        })
    }

    /// The weight's gradient from images and outputs (one of them a gradient).
    fn weight_gradient(&self, images: &Tensor, outputs: &Tensor) -> Result<Tensor> {
        let s = self.sizes;
        let shape = [self.groups * s.outputs, s.channels, s.kernel_height, s.kernel_width];
        let per_task = s.batch.div_ceil(16).max(1);
        let image = self.groups * s.image() * self.lanes;
        let out = self.groups * s.outputs * s.pixels() * self.lanes;
        let pairs = kernels::Pairs::new(*self);
        dispatch!(images.dtype(), T => {
            let images = images.elements::<T>()?.par_chunks(per_task * image);
            let outputs = outputs.elements::<T>()?.par_chunks(per_task * out);
            let length = shape.iter().product();
            let mut partial: Vec<Buffer<T>> =
                (0..s.batch.div_ceil(per_task)).map(|_| Buffer::zeros(length)).collect();
            partial.par_iter_mut().zip(images.zip(outputs)).for_each(|(dw, (images, outputs))| {
                pairs.add_products(images, outputs, dw);
            });
            Tensor::from_buffer(total(length, &partial), shape)
        })
    }
}

/// The sizes of a weight whose first dimension the groups divide.
fn weight_dims(weight: &Tensor, groups: usize) -> Result<(usize, usize, usize, usize)> {
    let dims = weight
        .dims4()
        .ok()
        .filter(|(all, ..)| weight.elem_count() > 0 && groups > 0 && all.is_multiple_of(groups));
    dims.ok_or_else(|| {
        let want = format!("({groups} groups of channels, channels, height, width), not empty");
        Error::shape("weight", weight, want)
    })
}
