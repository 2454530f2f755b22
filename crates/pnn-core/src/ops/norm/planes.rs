//! The passes over memory of a batch normalisation.

use rayon::prelude::*;

use super::super::real::Real;
use super::super::simd::{lane_sum, multiversion};
use super::tail::{Windows, rectified};
use super::{Layout, Tail};
use crate::tensor::Buffer;
use crate::{Result, Tensor};

/// `(x - mean) scale + beta` for each channel.
pub(super) struct Affine<T> {
    channels: Vec<Channel<T>>,
    /// `1 / sqrt(var + eps)`.
    inverse: Vec<f64>,
}

#[derive(Clone, Copy)]
struct Channel<T> {
    mean: T,
    scale: T,
    beta: T,
}

impl<T: Real> Channel<T> {
    #[inline(always)]
    fn of(self, x: T) -> T {
        (x - self.mean) * self.scale + self.beta
    }
}

impl<T: Real> Affine<T> {
    pub(super) fn new(mean: &[f64], inverse: &[f64], gamma: &[T], beta: &[T]) -> Self {
        let channels = (0..mean.len()).map(|c| Channel {
            mean: T::of(mean[c]),
            scale: T::of(gamma[c].f64() * inverse[c]),
            beta: beta[c],
        });
        Self { channels: channels.collect(), inverse: inverse.to_vec() }
    }
}

/// The planes of a block of images with their channels: rows of a matrix count as images whose
/// planes are single values.
fn channel_of<T>(affine: &Affine<T>) -> impl Iterator<Item = &Channel<T>> {
    affine.channels.iter().cycle()
}

pub(super) fn forward<T: Real>(
    x: &[T],
    residual: Option<&[T]>,
    layout: &Layout,
    affine: &Affine<T>,
    tail: &Tail,
) -> Buffer<T> {
    let out = layout.output_spatial(tail);
    let mut y = Buffer::scratch(layout.batch * layout.channels * out);
    let (block, image) = (layout.block(), layout.image());
    y.par_chunks_mut(block * layout.channels * out)
        .zip(x.par_chunks(block * image))
        .enumerate()
        .for_each(|(i, (y, x))| {
            let r = residual.map_or(x, |r| &r[i * block * image..][..x.len()]);
            forward_block(x, r, y, layout, out, affine, tail);
        });
    y
}

multiversion! {
    fn forward_block[T: Real](
        x: &[T],
        r: &[T],
        y: &mut [T],
        layout: &Layout,
        out: usize,
        affine: &Affine<T>,
        tail: &Tail,
    ) {
        if layout.spatial == 1 {
            let rows = y.chunks_exact_mut(layout.channels).zip(x.chunks_exact(layout.channels));
            for ((y, x), r) in rows.zip(r.chunks_exact(layout.channels)) {
                for (((y, x), r), c) in y.iter_mut().zip(x).zip(r).zip(&affine.channels) {
                    *y = tail_of_one(c.of(*x), *r, tail);
                }
            }
            return;
        }
        let mut windows = Windows::new(layout.spatial, layout.width);
        let planes = y.chunks_exact_mut(out).zip(x.chunks_exact(layout.spatial));
        for (((y, x), r), c) in planes.zip(r.chunks_exact(layout.spatial)).zip(channel_of(affine)) {
            match tail {
                Tail::None => y.iter_mut().zip(x).for_each(|(y, x)| *y = c.of(*x)),
                Tail::Relu => y.iter_mut().zip(x).for_each(|(y, x)| *y = rectified(c.of(*x))),
                Tail::AddRelu(_) => {
                    for ((y, x), r) in y.iter_mut().zip(x).zip(r) {
                        *y = rectified(c.of(*x) + *r);
                    }
                }
                Tail::ReluMaxPool2 => windows.pool(x, y, |x| c.of(x)),
            }
        }
    }
}

#[inline(always)]
fn tail_of_one<T: Real>(y: T, r: T, tail: &Tail) -> T {
    match tail {
        Tail::None => y,
        Tail::Relu | Tail::ReluMaxPool2 => rectified(y),
        Tail::AddRelu(_) => rectified(y + r),
    }
}

/// The gradient before the tail, and its sums over each channel: of itself, and times the distance
/// from the mean.
pub(super) struct Gradient<T: Real> {
    pub(super) values: Buffer<T>,
    pub(super) sums: Vec<(f64, f64)>,
}

pub(super) fn ungate<T: Real>(
    x: &[T],
    gradient: Tensor,
    open: Option<&[T]>,
    layout: &Layout,
    affine: &Affine<T>,
    tail: &Tail,
) -> Result<Gradient<T>> {
    let (block, image) = (layout.block(), layout.image());
    let pooled = matches!(tail, Tail::ReluMaxPool2);
    let gradient_in = pooled.then(|| gradient.clone());
    let mut values = match pooled {
        true => Buffer::scratch(x.len()),
        false => gradient.into_buffer::<T>()?,
    };
    let g = gradient_in.as_ref().map(Tensor::elements::<T>).transpose()?.unwrap_or(&[]);
    let out = layout.channels * layout.output_spatial(tail);
    let partial: Vec<Vec<(f64, f64)>> = values
        .par_chunks_mut(block * image)
        .zip(x.par_chunks(block * image))
        .enumerate()
        .map(|(i, (d, x))| {
            let images = x.len() / image;
            let g = if pooled { &g[i * block * out..][..images * out] } else { g };
            let open = open.map_or(x, |open| &open[i * block * image..][..x.len()]);
            ungate_block(x, g, open, d, layout, affine, tail)
        })
        .collect();
    let mut sums = vec![(0.0, 0.0); layout.channels];
    for part in partial {
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum = (sum.0 + part.0, sum.1 + part.1);
        }
    }
    Ok(Gradient { values, sums })
}

multiversion! {
    fn ungate_block[T: Real](
        x: &[T],
        g: &[T],
        open: &[T],
        d: &mut [T],
        layout: &Layout,
        affine: &Affine<T>,
        tail: &Tail,
    ) -> Vec<(f64, f64)> {
        let mut sums = vec![(0.0, 0.0); layout.channels];
        if layout.spatial == 1 {
            let rows = d.chunks_exact_mut(layout.channels).zip(x.chunks_exact(layout.channels));
            for ((d, x), open) in rows.zip(open.chunks_exact(layout.channels)) {
                for ((((d, x), open), c), sum) in
                    d.iter_mut().zip(x).zip(open).zip(&affine.channels).zip(&mut sums)
                {
                    *d = gate(*d, c.of(*x), *open, tail);
                    *sum = (sum.0 + d.f64(), sum.1 + d.f64() * (x.f64() - c.mean.f64()));
                }
            }
            return sums;
        }
        let out = layout.output_spatial(tail);
        let mut windows = Windows::new(layout.spatial, layout.width);
        let planes = d.chunks_exact_mut(layout.spatial).zip(x.chunks_exact(layout.spatial));
        let planes = planes.zip(open.chunks_exact(layout.spatial)).zip(channel_of(affine));
        for (i, (((d, x), open), c)) in planes.enumerate() {
            match tail {
                Tail::None => {}
                Tail::Relu => {
                    for (d, x) in d.iter_mut().zip(x) {
                        *d = if c.of(*x) > T::zero() { *d } else { T::zero() };
                    }
                }
                Tail::AddRelu(_) => {
                    for (d, open) in d.iter_mut().zip(open) {
                        *d = if *open > T::zero() { *d } else { T::zero() };
                    }
                }
                Tail::ReluMaxPool2 => windows.unpool(x, &g[i * out..][..out], d, |x| c.of(x)),
            }
            let sum = lane_sum(d, x, |d, _| d);
            let product = lane_sum(d, x, |d, x| d * (x - c.mean));
            let total = &mut sums[i % layout.channels];
            *total = (total.0 + sum, total.1 + product);
        }
        sums
    }
}

#[inline(always)]
fn gate<T: Real>(g: T, y: T, open: T, tail: &Tail) -> T {
    let through = match tail {
        Tail::None => true,
        Tail::Relu | Tail::ReluMaxPool2 => y > T::zero(),
        Tail::AddRelu(_) => open > T::zero(),
    };
    if through { g } else { T::zero() }
}

/// Turns the gradient before the tail into that of `x`, in place:
/// `dx = a g - a mean(g) - b (x - mean)`, `a = gamma / sigma`,
/// `b = a mean(g (x - mean)) / sigma^2`; the last two terms only if the statistics are of `x`.
pub(super) fn input_gradient<T: Real>(
    x: &[T],
    d: &mut [T],
    sums: &[(f64, f64)],
    layout: &Layout,
    affine: &Affine<T>,
    of_batch: bool,
) {
    let n = layout.count() as f64;
    let coefficients: Vec<(T, T, T, T)> = (0..layout.channels)
        .map(|c| {
            let (channel, inverse) = (&affine.channels[c], affine.inverse[c]);
            let a = channel.scale.f64();
            let share = if of_batch { 1.0 / n } else { 0.0 };
            let b = a * inverse * inverse * sums[c].1 * share;
            (channel.scale, T::of(a * sums[c].0 * share), T::of(b), channel.mean)
        })
        .collect();
    let block = layout.block() * layout.image();
    d.par_chunks_mut(block).zip(x.par_chunks(block)).for_each(|(d, x)| {
        input_gradient_block(x, d, layout, &coefficients);
    });
}

multiversion! {
    fn input_gradient_block[T: Real](
        x: &[T],
        d: &mut [T],
        layout: &Layout,
        coefficients: &[(T, T, T, T)],
    ) {
        if layout.spatial == 1 {
            let rows = d.chunks_exact_mut(layout.channels).zip(x.chunks_exact(layout.channels));
            for (d, x) in rows {
                for ((d, x), (a, shift, b, mean)) in d.iter_mut().zip(x).zip(coefficients) {
                    *d = *a * *d - *shift - *b * (*x - *mean);
                }
            }
            return;
        }
        let planes = d.chunks_exact_mut(layout.spatial).zip(x.chunks_exact(layout.spatial));
        for ((d, x), &(a, shift, b, mean)) in planes.zip(coefficients.iter().cycle()) {
            for (d, x) in d.iter_mut().zip(x) {
                *d = a * *d - shift - b * (*x - mean);
            }
        }
    }
}
