//! Batch normalisation with running statistics.

use crate::device::Bounds;
use crate::model::Mode;
use crate::ops::{self, ChannelStatistics, Tail};
use crate::params::Parameter;
use crate::{DType, Result, Tensor, Var};

/// `y = weight (x - mean) / sqrt(variance + eps) + bias` for each channel (Ioffe and Szegedy,
/// 2015), with PyTorch's defaults: eps 1e-5, momentum 0.1, the running variance unbiased and the
/// normalising one not.
///
/// # Shapes
/// `x` (batch, channels, ...), `weight`, `bias` and running statistics (channels).
#[derive(Debug, Clone)]
pub struct BatchNorm {
    name: String,
    weight: Var,
    bias: Var,
    running_mean: Var,
    running_variance: Var,
    eps: f64,
    momentum: f64,
}

impl BatchNorm {
    /// A layer with weight 1, bias 0, running mean 0 and running variance 1.
    ///
    /// # Errors
    /// If `dtype` is not a floating-point type.
    pub fn new(name: impl Into<String>, channels: usize, dtype: DType) -> Result<Self> {
        let constant = |value: f64| -> Result<Var> {
            Ok(Var::new(&Tensor::full(value, channels)?.to_dtype(dtype)?))
        };
        Ok(Self {
            name: name.into(),
            weight: constant(1.0)?,
            bias: constant(0.0)?,
            running_mean: constant(0.0)?,
            running_variance: constant(1.0)?,
            eps: 1e-5,
            momentum: 0.1,
        })
    }

    /// The normalised batch.
    ///
    /// # Errors
    /// If the channels differ, or batch statistics are asked of a single value per channel.
    pub fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.forward_with(x, mode, &Tail::None)
    }

    /// The normalised batch and what follows it, computed together (see [`Tail`]).
    ///
    /// # Errors
    /// As [`Self::forward`], and if the tail does not fit.
    pub fn forward_with(&self, x: &Tensor, mode: Mode, tail: &Tail) -> Result<Tensor> {
        let (weight, bias) = (self.weight.tensor(), self.bias.tensor());
        let momentum = match mode {
            Mode::Eval => {
                let statistics = self.running_statistics()?;
                let given = Some(&statistics);
                return Ok(ops::batch_norm_fused(x, &weight, &bias, self.eps, given, tail)?.0);
            }
            Mode::Train { update_statistics: false } => None,
            Mode::Train { update_statistics: true } => Some(self.momentum),
            Mode::Calibrate { seen } => Some(1.0 / (seen as f64 + 1.0)),
        };
        let (y, batch) = ops::batch_norm_fused(x, &weight, &bias, self.eps, None, tail)?;
        if let Some(momentum) = momentum {
            let unbiased = batch.count as f64 / (batch.count as f64 - 1.0);
            let variance = batch.variance.iter().map(|v| v * unbiased).collect();
            average(&self.running_mean, batch.mean, momentum)?;
            average(&self.running_variance, variance, momentum)?;
        }
        Ok(y)
    }

    /// Weight and bias.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> + '_ {
        [("weight", &self.weight), ("bias", &self.bias)].into_iter().map(|(suffix, var)| {
            let name = format!("{}.{suffix}", self.name);
            Parameter { name, var: var.clone(), bounds: Bounds::UNBOUNDED }
        })
    }

    /// Running mean and variance.
    #[must_use]
    pub fn buffers(&self) -> Vec<(String, Var)> {
        vec![
            (format!("{}.running_mean", self.name), self.running_mean.clone()),
            (format!("{}.running_var", self.name), self.running_variance.clone()),
        ]
    }

    fn running_statistics(&self) -> Result<ChannelStatistics> {
        let read = |var: &Var| -> Result<Vec<f64>> { var.tensor().to_dtype(DType::F64)?.to_vec1() };
        let (mean, variance) = (read(&self.running_mean)?, read(&self.running_variance)?);
        Ok(ChannelStatistics { mean, variance, count: 0 })
    }
}

/// `running = (1 - momentum) running + momentum value`.
fn average(running: &Var, value: Vec<f64>, momentum: f64) -> Result<()> {
    let old = running.value();
    let value = Tensor::from_vec(value, old.shape())?;
    let new = ((old.to_dtype(DType::F64)? * (1.0 - momentum))? + (value * momentum)?)?;
    running.set(&new.to_dtype(old.dtype())?)
}
