//! Batch normalisation of complex values: each channel's cloud of values is moved to zero, turned
//! and stretched until it is round (Trabelsi et al., "Deep complex networks", ICLR 2018, section 3.5).

use rayon::prelude::*;

use super::real::{Real, dispatch};
use super::simd::{lane_sum, multiversion};
use crate::tensor::Buffer;
use crate::{Error, Result, Tensor};

/// Sums that run side by side in the backward pass.
const LANES: usize = 16;

type Matrix = [[f64; 2]; 2];

/// Mean and covariance of each complex channel, over the batch and all that follows the channels.
#[derive(Debug, Clone, PartialEq)]
pub struct ComplexStatistics {
    /// Real and imaginary part of the mean, channel by channel, network by network.
    pub mean: Vec<[f64; 2]>,
    /// Covariance (biased) of real with real, imaginary with imaginary and real with imaginary part.
    pub covariance: Vec<[f64; 3]>,
    /// Values of one channel.
    pub count: usize,
}

/// `y = G C^(-1/2) (x - mean) + bias` on pairs of real and imaginary part, with `C` the covariance
/// plus `eps` on its diagonal and `G = [[g_rr, g_ri], [g_ri, g_ii]]` the weight; then, if wanted,
/// `max(y, 0)` of both parts. With the statistics of `x` itself the gradient flows through them;
/// given ones get no gradient. Returns the statistics too.
///
/// # Shapes
/// `x` (batch, networks * 2 * channels, ...): for each network all real parts, then all imaginary
/// ones. `weight` (networks, 3, channels): `g_rr`, `g_ii`, `g_ri`. `bias` (networks, 2, channels).
/// Result as `x`.
///
/// # Errors
/// If the shapes do not match, or a channel has fewer than two values for statistics of its own.
pub fn complex_batch_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    given: Option<&ComplexStatistics>,
    relu: bool,
) -> Result<(Tensor, ComplexStatistics)> {
    let layout = Layout::new(x, weight, bias)?;
    let statistics = match given {
        Some(given)
            if given.mean.len() == layout.pairs() && given.covariance.len() == layout.pairs() =>
        {
            given.clone()
        }
        None if layout.count() > 1 => {
            dispatch!(x.dtype(), T => Ok(layout.statistics(x.elements::<T>()?)))?
        }
        _ => {
            let want = "more than one value per channel for batch statistics, or as many channels \
                        as given ones";
            return Err(Error::shape("input of complex batch norm", x, want));
        }
    };
    let maps = layout.maps(weight, bias, &statistics, eps)?;
    let y = dispatch!(x.dtype(), T => {
        let x = x.elements::<T>()?;
        let mut y = Buffer::<T>::scratch(x.len());
        let images = y.par_chunks_mut(layout.image()).zip(x.par_chunks(layout.image()));
        images.for_each(|(y, x)| {
            for (map, (yr, yi), (xr, xi)) in layout.each(&maps, y, x) {
                apply(map.rounded(), relu, xr, xi, yr, yi);
            }
        });
        Tensor::from_buffer(y, layout.shape.as_slice())
    })?;
    let (x_in, of_batch) = (x.clone(), given.is_none());
    let wanted = (weight.shape().clone(), bias.shape().clone());
    let y = y.with_gradient(&[x, weight, bias], move |gradient| {
        let sums = dispatch!(x_in.dtype(), T => {
            layout.sums(&maps, x_in.elements::<T>()?, gradient.elements::<T>()?, relu)
        })?;
        let (dweight, dbias) = layout.parameter_gradients(&maps, &sums);
        let dx = x_in.is_tracked().then(|| {
            let backs =
                maps.iter().zip(&sums).map(|(map, sum)| map.back(sum, of_batch, layout.count()));
            let backs: Vec<_> = backs.collect();
            dispatch!(x_in.dtype(), T => {
                let mut dx = gradient.into_buffer::<T>()?;
                let images = dx.par_chunks_mut(layout.image());
                images.zip(x_in.elements::<T>()?.par_chunks(layout.image())).for_each(|(dx, x)| {
                    let each = layout.each(&maps, dx, x).zip(&backs);
                    for ((map, (gr, gi), (xr, xi)), back) in each {
                        turn_back(map.rounded(), back.map(T::of), relu, xr, xi, gr, gi);
                    }
                });
                Tensor::from_buffer(dx, layout.shape.as_slice())
            })
        });
        let typed = |values: Vec<f64>, shape| {
            Tensor::from_vec(values, shape)?.to_dtype(x_in.dtype()).map(Some)
        };
        Ok(vec![dx.transpose()?, typed(dweight, &wanted.0)?, typed(dbias, &wanted.1)?])
    });
    Ok((y, statistics))
}

/// What one complex channel is subjected to.
#[derive(Debug, Clone, Copy)]
struct Map {
    mean: [f64; 2],
    /// `G C^(-1/2)`.
    matrix: Matrix,
    bias: [f64; 2],
    weight: Matrix,
    /// `C^(-1/2)`.
    whitening: Matrix,
}

fn product(a: Matrix, b: Matrix) -> Matrix {
    let entry = |i: usize, j: usize| a[i][0] * b[0][j] + a[i][1] * b[1][j];
    [[entry(0, 0), entry(0, 1)], [entry(1, 0), entry(1, 1)]]
}

/// `[[b, -c], [-c, a]]` of a symmetric `[[a, c], [c, b]]`.
fn adjugate(m: Matrix) -> Matrix {
    [[m[1][1], -m[0][1]], [-m[1][0], m[0][0]]]
}

fn determinant(m: Matrix) -> f64 {
    m[0][0] * m[1][1] - m[0][1] * m[1][0]
}

impl Map {
    fn new(
        mean: [f64; 2],
        [rr, ii, ri]: [f64; 3],
        eps: f64,
        weight: [f64; 3],
        bias: [f64; 2],
    ) -> Self {
        let covariance = [[rr + eps, ri], [ri, ii + eps]];
        // The root of a 2x2 matrix is (C + s) / t with s = sqrt(det C), t = sqrt(trace C + 2 s).
        let s = determinant(covariance).sqrt();
        let t = (covariance[0][0] + covariance[1][1] + 2.0 * s).sqrt();
        let inverse = 1.0 / (s * t);
        let [[a, c], [_, b]] = covariance;
        let whitening = [[(b + s) * inverse, -c * inverse], [-c * inverse, (a + s) * inverse]];
        let weight = [[weight[0], weight[2]], [weight[2], weight[1]]];
        Self { mean, matrix: product(weight, whitening), bias, weight, whitening }
    }

    /// Mean, matrix and bias in the type of the values.
    fn rounded<T: Real>(&self) -> [T; 8] {
        let ([mr, mi], [[a, b], [c, d]], [br, bi]) = (self.mean, self.matrix, self.bias);
        [mr, mi, a, b, c, d, br, bi].map(T::of)
    }

    /// From a gradient of `y` to that of `x`: a matrix on `g`, one on `x - mean`, and an offset.
    fn back(&self, sums: &Sums, of_batch: bool, count: usize) -> [f64; 10] {
        let [[a, b], [c, d]] = self.matrix;
        if !of_batch {
            return [a, c, b, d, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        }
        let n = count as f64;
        let [gr, gi] = sums.gradient.map(|sum| -sum / n);
        let m = self.covariance_gradient(sums.products).map(|row| row.map(|v| 2.0 * v / n));
        [a, c, b, d, m[0][0], m[0][1], m[1][0], m[1][1], a * gr + c * gi, b * gr + d * gi]
    }

    /// The gradient in `C`, from that in `G C^(-1/2)`. With `R = C^(-1/2)`, a change of `C` obeys
    /// `dR R + R dR = -R^2 dC R^2`, so the gradient is `-R^2 H R^2` where `R H + H R` is the
    /// (symmetric) gradient in `R`.
    fn covariance_gradient(&self, products: Matrix) -> Matrix {
        let q = product(self.weight, products);
        let half = 0.5 * (q[0][1] + q[1][0]);
        let q = [[q[0][0], half], [half, q[1][1]]];
        let r = self.whitening;
        let (det, trace) = (determinant(r), r[0][0] + r[1][1]);
        let turned = product(product(adjugate(r), q), adjugate(r));
        let h = |i: usize, j: usize| (det * q[i][j] + turned[i][j]) / (2.0 * trace * det);
        let h = [[h(0, 0), h(0, 1)], [h(1, 0), h(1, 1)]];
        let square = product(r, r);
        product(product(square, h), square).map(|row| row.map(|v| -v))
    }
}

/// Sums over one complex channel: of the gradient, and of its products with `x - mean`.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    gradient: [f64; 2],
    products: Matrix,
}

/// How the values of a batch lie in memory.
struct Layout {
    shape: Vec<usize>,
    networks: usize,
    channels: usize,
    /// Values in a plane of one part of one channel of one image.
    spatial: usize,
}

impl Layout {
    fn new(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Self> {
        if let (&[networks, 3, channels], &[n, 2, c]) = (weight.dims(), bias.dims())
            && (n, c) == (networks, channels)
            && weight.elem_count() > 0
            && let &[_, all, ref rest @ ..] = x.dims()
            && all == networks * 2 * channels
            && !rest.contains(&0)
        {
            let (shape, spatial) = (x.dims().to_vec(), rest.iter().product());
            return Ok(Self { shape, networks, channels, spatial });
        }
        let want = "(batch, networks * 2 * channels, ...) with weight (networks, 3, channels) and \
                    bias (networks, 2, channels)";
        Err(Error::shape("input of complex batch norm", x, want))
    }

    /// Complex channels.
    fn pairs(&self) -> usize {
        self.networks * self.channels
    }

    fn image(&self) -> usize {
        2 * self.pairs() * self.spatial
    }

    /// Values of one complex channel in the batch.
    fn count(&self) -> usize {
        self.shape[0] * self.spatial
    }

    /// Real and imaginary planes of an image, channel by channel.
    fn planes<'a, T>(&self, image: &'a [T]) -> impl Iterator<Item = (&'a [T], &'a [T])> {
        let (spatial, half) = (self.spatial, self.channels * self.spatial);
        image.chunks_exact(2 * half).flat_map(move |network| {
            let (re, im) = network.split_at(half);
            re.chunks_exact(spatial).zip(im.chunks_exact(spatial))
        })
    }

    /// Maps, planes to write and planes to read, channel by channel.
    #[allow(clippy::type_complexity)]
    fn each<'a, T>(
        &self,
        maps: &'a [Map],
        to: &'a mut [T],
        from: &'a [T],
    ) -> impl Iterator<Item = (&'a Map, (&'a mut [T], &'a mut [T]), (&'a [T], &'a [T]))> {
        let (spatial, half) = (self.spatial, self.channels * self.spatial);
        let to = to.chunks_exact_mut(2 * half).flat_map(move |network| {
            let (re, im) = network.split_at_mut(half);
            re.chunks_exact_mut(spatial).zip(im.chunks_exact_mut(spatial))
        });
        maps.iter().zip(to).zip(self.planes(from)).map(|((map, to), from)| (map, to, from))
    }

    /// Moments image by image, merged in their order (Chan et al., 1983).
    fn statistics<T: Real>(&self, x: &[T]) -> ComplexStatistics {
        let images: Vec<Vec<[f64; 5]>> = x
            .par_chunks(self.image())
            .map(|image| self.planes(image).map(|(re, im)| moments(re, im)).collect())
            .collect();
        let n = self.spatial as f64;
        let merged = (0..self.pairs()).map(|pair| {
            let mut sum = [0.0; 5];
            for (i, image) in images.iter().enumerate() {
                let (before, new) = (i as f64 * n, image[pair]);
                let part = n / (before + n);
                let (dr, di) = (new[0] - sum[0], new[1] - sum[1]);
                let weight = before * part;
                sum[0] += dr * part;
                sum[1] += di * part;
                sum[2] += new[2] + dr * dr * weight;
                sum[3] += new[3] + di * di * weight;
                sum[4] += new[4] + dr * di * weight;
            }
            sum
        });
        let merged: Vec<[f64; 5]> = merged.collect();
        let count = self.count();
        ComplexStatistics {
            mean: merged.iter().map(|m| [m[0], m[1]]).collect(),
            covariance: merged
                .iter()
                .map(|m| [m[2], m[3], m[4]].map(|v| v / count as f64))
                .collect(),
            count,
        }
    }

    fn maps(
        &self,
        weight: &Tensor,
        bias: &Tensor,
        statistics: &ComplexStatistics,
        eps: f64,
    ) -> Result<Vec<Map>> {
        let (weight, bias) =
            (weight.to_dtype(crate::DType::F64)?, bias.to_dtype(crate::DType::F64)?);
        let (weight, bias) = (weight.elements::<f64>()?, bias.elements::<f64>()?);
        let both = statistics.mean.iter().zip(&statistics.covariance).enumerate();
        let map = both.map(|(pair, (mean, covariance))| {
            let (n, c) = (pair / self.channels, pair % self.channels);
            let weight = [0, 1, 2].map(|i| weight[(n * 3 + i) * self.channels + c]);
            let bias = [0, 1].map(|i| bias[(n * 2 + i) * self.channels + c]);
            Map::new(*mean, *covariance, eps, weight, bias)
        });
        Ok(map.collect())
    }

    fn sums<T: Real>(&self, maps: &[Map], x: &[T], g: &[T], relu: bool) -> Result<Vec<Sums>> {
        let images: Vec<Vec<[f64; 6]>> = x
            .par_chunks(self.image())
            .zip(g.par_chunks(self.image()))
            .map(|(x, g)| {
                let planes = maps.iter().zip(self.planes(x).zip(self.planes(g)));
                let sums = planes.map(|(map, ((xr, xi), (gr, gi)))| {
                    gradient_sums(map.rounded(), relu, xr, xi, gr, gi)
                });
                sums.collect()
            })
            .collect();
        let total = (0..self.pairs()).map(|pair| {
            let mut sum = [0.0; 6];
            for image in &images {
                sum.iter_mut().zip(&image[pair]).for_each(|(sum, part)| *sum += part);
            }
            let [gr, gi, rr, ri, ir, ii] = sum;
            Sums { gradient: [gr, gi], products: [[rr, ri], [ir, ii]] }
        });
        Ok(total.collect())
    }

    /// Gradients of weight and bias in their order.
    fn parameter_gradients(&self, maps: &[Map], sums: &[Sums]) -> (Vec<f64>, Vec<f64>) {
        let (mut dweight, mut dbias) = (vec![0.0; 3 * self.pairs()], vec![0.0; 2 * self.pairs()]);
        for (pair, (map, sum)) in maps.iter().zip(sums).enumerate() {
            let (n, c) = (pair / self.channels, pair % self.channels);
            let m = product(sum.products, map.whitening);
            for (i, value) in [m[0][0], m[1][1], m[0][1] + m[1][0]].into_iter().enumerate() {
                dweight[(n * 3 + i) * self.channels + c] = value;
            }
            for (i, value) in sum.gradient.into_iter().enumerate() {
                dbias[(n * 2 + i) * self.channels + c] = value;
            }
        }
        (dweight, dbias)
    }
}

/// `y` before the rectifier.
#[inline(always)]
fn value<T: Real>([mr, mi, a, b, c, d, br, bi]: [T; 8], xr: T, xi: T) -> (T, T) {
    let (r, i) = (xr - mr, xi - mi);
    (a * r + b * i + br, c * r + d * i + bi)
}

/// The gradient before the rectifier.
#[inline(always)]
fn gated<T: Real>(relu: bool, y: T, g: T) -> T {
    if !relu || y > T::zero() { g } else { T::zero() }
}

multiversion! {
    /// Means of the parts, and sums of squares and products of the distances from them.
    fn moments[T: Real](re: &[T], im: &[T]) -> [f64; 5] {
        let n = re.len() as f64;
        let (mr, mi) = (lane_sum(re, re, |v, _| v) / n, lane_sum(im, im, |v, _| v) / n);
        let (r, i) = (T::of(mr), T::of(mi));
        let rr = lane_sum(re, re, |v, _| (v - r) * (v - r));
        let ii = lane_sum(im, im, |v, _| (v - i) * (v - i));
        [mr, mi, rr, ii, lane_sum(re, im, |re, im| (re - r) * (im - i))]
    }

    fn apply[T: Real](map: [T; 8], relu: bool, xr: &[T], xi: &[T], yr: &mut [T], yi: &mut [T]) {
        for ((yr, yi), (xr, xi)) in yr.iter_mut().zip(yi).zip(xr.iter().zip(xi)) {
            let (r, i) = value(map, *xr, *xi);
            // Written so that NaN passes through.
            *yr = if relu && r < T::zero() { T::zero() } else { r };
            *yi = if relu && i < T::zero() { T::zero() } else { i };
        }
    }

    /// Sums of the gradient's parts, and of each with the parts of `x - mean`.
    fn gradient_sums[T: Real](
        map: [T; 8],
        relu: bool,
        xr: &[T],
        xi: &[T],
        gr: &[T],
        gi: &[T],
    ) -> [f64; 6] {
        let mut sums = [[T::zero(); LANES]; 6];
        let mut add = |lane: usize, xr: T, xi: T, gr: T, gi: T| {
            let (yr, yi) = value(map, xr, xi);
            let (r, i) = (xr - map[0], xi - map[1]);
            let (gr, gi) = (gated(relu, yr, gr), gated(relu, yi, gi));
            let terms = [gr, gi, gr * r, gr * i, gi * r, gi * i];
            for (sum, term) in sums.iter_mut().zip(terms) {
                sum[lane] += term;
            }
        };
        let ((xr, xr_rest), (xi, xi_rest)) = (xr.as_chunks::<LANES>(), xi.as_chunks::<LANES>());
        let ((gr, gr_rest), (gi, gi_rest)) = (gr.as_chunks::<LANES>(), gi.as_chunks::<LANES>());
        for ((xr, xi), (gr, gi)) in xr.iter().zip(xi).zip(gr.iter().zip(gi)) {
            for lane in 0..LANES {
                add(lane, xr[lane], xi[lane], gr[lane], gi[lane]);
            }
        }
        let rest = xr_rest.iter().zip(xi_rest).zip(gr_rest.iter().zip(gi_rest));
        for (lane, ((xr, xi), (gr, gi))) in rest.enumerate() {
            add(lane, *xr, *xi, *gr, *gi);
        }
        sums.map(|lanes| lanes.iter().fold(0.0, |sum, lane| sum + lane.f64()))
    }

    /// Replaces the gradient of `y` by that of `x`.
    fn turn_back[T: Real](
        map: [T; 8],
        back: [T; 10],
        relu: bool,
        xr: &[T],
        xi: &[T],
        gr: &mut [T],
        gi: &mut [T],
    ) {
        let [a, b, c, d, rr, ri, ir, ii, er, ei] = back;
        for ((gr, gi), (xr, xi)) in gr.iter_mut().zip(gi).zip(xr.iter().zip(xi)) {
            let (yr, yi) = value(map, *xr, *xi);
            let (r, i) = (*xr - map[0], *xi - map[1]);
            let (real, imaginary) = (gated(relu, yr, *gr), gated(relu, yi, *gi));
            *gr = a * real + b * imaginary + rr * r + ri * i + er;
            *gi = c * real + d * imaginary + ir * r + ii * i + ei;
        }
    }
}
