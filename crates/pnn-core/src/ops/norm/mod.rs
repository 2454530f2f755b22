//! Batch normalisation: `y = gamma (x - mean) / sqrt(var + eps) + beta` for each channel
//! (Ioffe and Szegedy, 2015), alone or fused with what usually follows it.

mod planes;
mod statistics;
mod tail;

pub use statistics::ChannelStatistics;
pub use tail::Tail;

use planes::{Affine, Gradient};

use super::real::dispatch;
use crate::tensor::Buffer;
use crate::{Error, Result, Tensor};

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
    batch_norm_fused(x, gamma, beta, eps, None, &Tail::None)
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
    Ok(batch_norm_fused(x, gamma, beta, eps, Some(statistics), &Tail::None)?.0)
}

/// [`batch_norm`] (or, with statistics given, [`batch_norm_with`]) and what follows it, in one
/// pass over memory forward and two back. Equal to the separate operators.
///
/// # Shapes
/// As [`batch_norm`], and as the tail says.
///
/// # Errors
/// As [`batch_norm`], and if the tail does not fit.
pub fn batch_norm_fused(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
    given: Option<&ChannelStatistics>,
    tail: &Tail,
) -> Result<(Tensor, ChannelStatistics)> {
    let layout = Layout::new(x, gamma, beta, tail)?;
    let of_batch = given.is_none();
    let statistics = match given {
        Some(statistics)
            if statistics.mean.len() == layout.channels
                && statistics.variance.len() == layout.channels =>
        {
            statistics.clone()
        }
        Some(statistics) => {
            let want = format!("(batch, {}, ...) for the given statistics", statistics.mean.len());
            return Err(Error::shape("input of batch norm", x, want));
        }
        None if layout.count() < 2 => {
            let want = "more than one value per channel for batch statistics";
            return Err(Error::shape("input of batch norm", x, want));
        }
        None => dispatch!(x.dtype(), T => {
            Ok::<_, Error>(statistics::of_batch(x.elements::<T>()?, &layout))
        })?,
    };
    let inverse: Vec<f64> = statistics.variance.iter().map(|v| 1.0 / (v + eps).sqrt()).collect();
    let y = dispatch!(x.dtype(), T => {
        let (gamma, beta) = (gamma.elements::<T>()?, beta.elements::<T>()?);
        let affine = Affine::new(&statistics.mean, &inverse, gamma, beta);
        let residual = tail.residual().map(Tensor::elements::<T>).transpose()?;
        let y = planes::forward(x.elements::<T>()?, residual, &layout, &affine, tail);
        Tensor::from_buffer(y, layout.output_shape(x, tail))
    })?;

    let (x_in, gamma_in, beta_in, tail) = (x.clone(), gamma.clone(), beta.clone(), tail.clone());
    // Only a residual hides where the rectifier was open: elsewhere `x` tells.
    let open = tail.residual().map(|_| y.clone());
    let mut inputs = vec![x, gamma, beta];
    let residual = tail.residual().cloned();
    inputs.extend(&residual);
    let mean = statistics.mean.clone();
    let y = y.with_gradient(&inputs, move |gradient| {
        dispatch!(x_in.dtype(), T => {
            let (xs, gammas) = (x_in.elements::<T>()?, gamma_in.elements::<T>()?);
            let affine = Affine::new(&mean, &inverse, gammas, beta_in.elements::<T>()?);
            let open = open.as_ref().map(Tensor::elements::<T>).transpose()?;
            let Gradient { mut values, sums } =
                planes::ungate(xs, gradient, open, &layout, &affine, &tail)?;
            let residual = tail.residual().filter(|r| r.is_tracked()).map(|r| {
                Tensor::from_buffer(Buffer::copy_of(&values), r.shape())
            });
            let dx = x_in.is_tracked().then(|| {
                planes::input_gradient(xs, &mut values, &sums, &layout, &affine, of_batch);
                Tensor::from_buffer(values, x_in.shape())
            });
            let each = |f: &dyn Fn(usize) -> f64| {
                let values: Vec<T> = (0..layout.channels).map(|c| super::Real::of(f(c))).collect();
                Tensor::from_vec(values, layout.channels)
            };
            let mut gradients = vec![
                dx.transpose()?,
                Some(each(&|c| sums[c].1 * inverse[c])?.reshape(gamma_in.shape())?),
                Some(each(&|c| sums[c].0)?.reshape(beta_in.shape())?),
            ];
            if tail.residual().is_some() {
                gradients.push(residual.transpose()?);
            }
            Ok(gradients)
        })
    });
    Ok((y, statistics))
}

/// How the values of a batch lie in memory: planes of one channel of one image.
struct Layout {
    batch: usize,
    channels: usize,
    /// Values in a plane.
    spatial: usize,
    /// Pixels in a row of a plane.
    width: usize,
}

impl Layout {
    fn new(x: &Tensor, gamma: &Tensor, beta: &Tensor, tail: &Tail) -> Result<Self> {
        let channels = gamma.elem_count();
        let empty = channels == 0 || x.dims().iter().skip(2).any(|d| *d == 0);
        if empty || x.rank() < 2 || x.dim(1)? != channels || beta.elem_count() != channels {
            return Err(Error::shape(
                "input of batch norm",
                x,
                format!("(batch, {channels}, ...)"),
            ));
        }
        tail.check(x)?;
        let spatial = x.dims()[2..].iter().product();
        let width = if x.rank() > 2 { x.dim(x.rank() - 1)? } else { 1 };
        Ok(Self { batch: x.dim(0)?, channels, spatial, width })
    }

    /// Values of one channel in the batch.
    fn count(&self) -> usize {
        self.batch * self.spatial
    }

    fn image(&self) -> usize {
        self.channels * self.spatial
    }

    /// Images that one task works on; fixed, so that sums never depend on the number of threads.
    fn block(&self) -> usize {
        (32_768 / self.image()).max(1)
    }

    fn output_shape(&self, x: &Tensor, tail: &Tail) -> Vec<usize> {
        let mut dims = x.dims().to_vec();
        if matches!(tail, Tail::ReluMaxPool2) {
            dims[2] /= 2;
            dims[3] /= 2;
        }
        dims
    }

    /// Values in a plane of the output.
    fn output_spatial(&self, tail: &Tail) -> usize {
        match tail {
            Tail::ReluMaxPool2 => (self.spatial / self.width / 2) * (self.width / 2),
            _ => self.spatial,
        }
    }
}
