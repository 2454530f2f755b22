//! Batch normalisation: `y = gamma (x - mean) / sqrt(var + eps) + beta` for each channel
//! (Ioffe and Szegedy, 2015).

use std::sync::{Arc, Mutex};

use candle_core::backend::BackendStorage as _;
use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Tensor};
use rayon::prelude::*;

use super::real::{Real, dispatch, elements, output, with_elements};
use crate::{Error, Result};

/// Mean and biased variance of each channel, in f64.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelStatistics {
    /// Mean of each channel.
    pub mean: Vec<f64>,
    /// Variance of each channel, divided by n (not n - 1).
    pub variance: Vec<f64>,
    /// Values per channel that these are statistics of.
    pub count: usize,
}

/// Normalises with the statistics of `x` itself and returns those too. The gradient flows
/// through the statistics.
///
/// # Shapes
/// `x` (batch, channels, ...), `gamma` and `beta` (channels), result as `x`.
///
/// # Errors
/// If the channels do not match, or a channel has fewer than two values (its variance says
/// nothing, as in PyTorch).
pub fn batch_norm(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
) -> Result<(Tensor, ChannelStatistics)> {
    let channels = check(x, gamma, beta)?;
    let count = x.elem_count() / channels.max(1);
    if count < 2 {
        let want = "more than one value per channel for batch statistics";
        return Err(Error::shape("input of batch norm", x, want));
    }
    let computed = Arc::new(Mutex::new(None));
    let op = BatchNorm { eps, source: Statistics::OfBatch(Arc::clone(&computed)) };
    let y = apply(x, gamma, beta, op)?;
    let statistics = computed.lock().ok().and_then(|s| s.clone());
    let statistics =
        statistics.ok_or_else(|| Error::shape("input of batch norm", x, "non-empty"))?;
    Ok((y, statistics))
}

/// Normalises with given statistics, which get no gradient.
///
/// # Shapes
/// As [`batch_norm`].
///
/// # Errors
/// If the channels do not match.
pub fn batch_norm_with(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    statistics: &ChannelStatistics,
) -> Result<Tensor> {
    let channels = check(x, gamma, beta)?;
    if statistics.mean.len() != channels || statistics.variance.len() != channels {
        return Err(Error::shape(
            "input of batch norm",
            x,
            format!("(batch, {}, ...) for the given statistics", statistics.mean.len()),
        ));
    }
    apply(x, gamma, beta, BatchNorm { eps, source: Statistics::Given(statistics.clone()) })
}

fn check(x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<usize> {
    let channels = gamma.elem_count();
    let empty = channels == 0 || x.dims().iter().skip(2).any(|d| *d == 0);
    if empty || x.rank() < 2 || x.dim(1)? != channels || beta.elem_count() != channels {
        return Err(Error::shape("input of batch norm", x, format!("(batch, {channels}, ...)")));
    }
    Ok(channels)
}

fn apply(x: &Tensor, gamma: &Tensor, beta: &Tensor, op: BatchNorm) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op3(&gamma.contiguous()?, &beta.contiguous()?, op)?)
}

enum Statistics {
    OfBatch(Arc<Mutex<Option<ChannelStatistics>>>),
    Given(ChannelStatistics),
}

struct BatchNorm {
    eps: f64,
    source: Statistics,
}

/// Sums of `first` and of `second` over each channel: sequential in f32/f64 within a plane,
/// in f64 over planes, in a fixed order.
fn channel_sums(
    length: usize,
    channels: usize,
    spatial: usize,
    plane: impl Fn(usize, std::ops::Range<usize>) -> (f64, f64) + Sync,
) -> Vec<(f64, f64)> {
    let batch = length / (channels * spatial).max(1);
    (0..channels)
        .into_par_iter()
        .map(|channel| {
            (0..batch).fold((0.0, 0.0), |sum, image| {
                let start = (image * channels + channel) * spatial;
                let part = plane(channel, start..start + spatial);
                (sum.0 + part.0, sum.1 + part.1)
            })
        })
        .collect()
}

/// Lanes of a plane sum that run side by side.
const LANES: usize = 16;

/// The sum of `f(i)` over a range, in `LANES` interleaved accumulators.
#[inline]
fn lane_sum<T: Real>(range: std::ops::Range<usize>, f: impl Fn(usize) -> (T, T)) -> (f64, f64) {
    let mut lanes = [(T::zero(), T::zero()); LANES];
    let whole = range.start + range.len() / LANES * LANES;
    for block in (range.start..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            let (a, b) = f(block + lane);
            sum.0 += a;
            sum.1 += b;
        }
    }
    for (lane, i) in (whole..range.end).enumerate() {
        let (a, b) = f(i);
        lanes[lane].0 += a;
        lanes[lane].1 += b;
    }
    lanes.iter().fold((0.0, 0.0), |sum, lane| (sum.0 + lane.0.f64(), sum.1 + lane.1.f64()))
}

fn statistics_of<T: Real>(x: &[T], channels: usize, spatial: usize) -> ChannelStatistics {
    let count = x.len() / channels;
    let n = count as f64;
    let sums =
        channel_sums(x.len(), channels, spatial, |_, range| lane_sum(range, |i| (x[i], T::zero())));
    let mean: Vec<f64> = sums.iter().map(|s| s.0 / n).collect();
    // A second pass about the mean: the one-pass formula cancels where the mean is large.
    let squares = channel_sums(x.len(), channels, spatial, |channel, range| {
        let center = T::of(mean[channel]);
        lane_sum(range, |i| {
            let d = x[i] - center;
            (d * d, d)
        })
    });
    // The mean of `d` corrects for the rounding of the center.
    let variance = squares.iter().map(|(q, d)| (q / n - (d / n) * (d / n)).max(0.0)).collect();
    ChannelStatistics { mean, variance, count }
}

/// Writes `f(channel, index)` to every element of a tensor like `x`.
fn fill<T: Real>(
    length: usize,
    channels: usize,
    spatial: usize,
    f: impl Fn(usize, usize) -> T + Sync,
) -> Vec<T> {
    let mut y = vec![T::default(); length];
    let image = channels * spatial;
    y.par_chunks_mut(image).enumerate().for_each(|(b, y)| {
        for (channel, plane) in y.chunks_mut(spatial).enumerate() {
            let start = b * image + channel * spatial;
            for (offset, y) in plane.iter_mut().enumerate() {
                *y = f(channel, start + offset);
            }
        }
    });
    y
}

impl BatchNorm {
    fn statistics(&self) -> candle_core::Result<ChannelStatistics> {
        match &self.source {
            Statistics::Given(s) => Ok(s.clone()),
            Statistics::OfBatch(cell) => match cell.lock().ok().and_then(|s| s.clone()) {
                Some(s) => Ok(s),
                None => candle_core::bail!("batch norm: backward before forward"),
            },
        }
    }

    fn inverse_deviation(&self, s: &ChannelStatistics) -> Vec<f64> {
        s.variance.iter().map(|v| 1.0 / (v + self.eps).sqrt()).collect()
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gamma: &CpuStorage,
        gamma_layout: &Layout,
        beta: &CpuStorage,
        beta_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let channels = x_layout.dims()[1];
        let spatial = x_layout.dims()[2..].iter().product::<usize>();
        dispatch!(x.dtype(), T => {
            let x = elements::<T>(x, x_layout)?;
            let gamma = elements::<T>(gamma, gamma_layout)?;
            let beta = elements::<T>(beta, beta_layout)?;
            if let Statistics::OfBatch(cell) = &self.source
                && let Ok(mut cell) = cell.lock()
            {
                *cell = Some(statistics_of(x, channels, spatial));
            }
            let s = self.statistics()?;
            let inverse = self.inverse_deviation(&s);
            let scale: Vec<T> = (0..channels).map(|c| T::of(gamma[c].f64() * inverse[c])).collect();
            let mean: Vec<T> = s.mean.iter().map(|m| T::of(*m)).collect();
            let y = fill(x.len(), channels, spatial, |c, i| (x[i] - mean[c]) * scale[c] + beta[c]);
            Ok(output(y, x_layout.shape()))
        })
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let channels = x.dim(1)?;
        let spatial = x.dims()[2..].iter().product::<usize>();
        let s = self.statistics()?;
        let inverse = self.inverse_deviation(&s);
        dispatch!(x.dtype(), T => with_elements::<T, _>(&[x, gamma, grad], |t| {
            let (xs, gammas, g) = (t[0], t[1], t[2]);
            let n = (xs.len() / channels) as f64;
            let mean: Vec<T> = s.mean.iter().map(|m| T::of(*m)).collect();
            let sums = channel_sums(xs.len(), channels, spatial, |c, range| {
                lane_sum(range, |i| (g[i], g[i] * (xs[i] - mean[c])))
            });
            let dx = x.track_op().then(|| {
                let of_batch = matches!(self.source, Statistics::OfBatch(_));
                // dx = a g - a mean(g) - b (x - mean), a = gamma / sigma,
                // b = a mean(g (x - mean)) / sigma^2; the last two terms only if the
                // statistics depend on x.
                let coefficients: Vec<(T, T, T)> = (0..channels).map(|c| {
                    let a = gammas[c].f64() * inverse[c];
                    if !of_batch {
                        return (T::of(a), T::of(0.0), T::of(0.0));
                    }
                    let b = a * inverse[c] * inverse[c] * sums[c].1 / n;
                    (T::of(a), T::of(a * sums[c].0 / n), T::of(b))
                }).collect();
                let dx = fill(xs.len(), channels, spatial, |c, i| {
                    let (a, shift, b) = coefficients[c];
                    a * g[i] - shift - b * (xs[i] - mean[c])
                });
                Tensor::from_vec(dx, x.shape(), x.device())
            }).transpose()?;
            let dgamma: Vec<T> = (0..channels).map(|c| T::of(sums[c].1 * inverse[c])).collect();
            let dbeta: Vec<T> = sums.iter().map(|s| T::of(s.0)).collect();
            Ok((
                dx,
                Some(Tensor::from_vec(dgamma, gamma.shape(), gamma.device())?),
                Some(Tensor::from_vec(dbeta, beta.shape(), beta.device())?),
            ))
        }))
    }
}
