//! Losses, computed from logits in a stable form.

use candle_core::backend::BackendStorage as _;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor};

use crate::ops::real::{Real, dispatch, elements, output, with_elements};
use crate::{Error, Result};

/// Mean softmax cross-entropy over a batch: `log sum_k exp(z_k) - z_label`, by log-sum-exp.
///
/// # Shapes
/// `logits` (batch, classes), `labels` (batch) of u32, result scalar.
///
/// # Errors
/// If shapes differ, the batch is empty or a label is not below the number of classes.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let (batch, classes) =
        logits.dims2().map_err(|_| Error::shape("logits", logits, "(batch, classes)"))?;
    if labels.dims() != [batch] || labels.dtype() != DType::U32 || batch == 0 {
        return Err(Error::shape("labels", labels, format!("({batch}) of u32, not empty")));
    }
    let labels = labels.to_vec1::<u32>()?;
    if let Some(label) = labels.iter().find(|l| **l as usize >= classes) {
        return Err(Error::Range {
            what: format!("label for {classes} classes"),
            value: f64::from(*label),
            allowed: "[0, classes)",
        });
    }
    Ok(logits.contiguous()?.apply_op1(CrossEntropy { labels })?)
}

struct CrossEntropy {
    labels: Vec<u32>,
}

/// `(maximum, log sum exp(z - maximum))` of one row, in f64.
fn log_sum_exp<T: Real>(row: &[T]) -> (f64, f64) {
    let maximum = row.iter().fold(f64::NEG_INFINITY, |m, z| m.max(z.f64()));
    (maximum, row.iter().map(|z| (z.f64() - maximum).exp()).sum::<f64>().ln())
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(
        &self,
        storage: &CpuStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (batch, classes) = layout.shape().dims2()?;
        dispatch!(storage.dtype(), T => {
            let z = elements::<T>(storage, layout)?;
            let total: f64 = z.chunks(classes).zip(&self.labels).map(|(row, label)| {
                let (maximum, rest) = log_sum_exp(row);
                maximum + rest - row[*label as usize].f64()
            }).sum();
            Ok(output(vec![T::of(total / batch as f64)], ()))
        })
    }

    fn bwd(
        &self,
        logits: &Tensor,
        _loss: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<Option<Tensor>> {
        let (batch, classes) = logits.dims2()?;
        let dz = dispatch!(logits.dtype(), T => with_elements::<T, _>(&[logits, grad], |t| {
            let scale = t[1][0].f64() / batch as f64;
            let mut dz = Vec::with_capacity(t[0].len());
            for (row, label) in t[0].chunks(classes).zip(&self.labels) {
                let (maximum, rest) = log_sum_exp(row);
                dz.extend(row.iter().enumerate().map(|(k, z)| {
                    let hot = if k == *label as usize { 1.0 } else { 0.0 };
                    T::of(((z.f64() - maximum - rest).exp() - hot) * scale)
                }));
            }
            Tensor::from_vec(dz, logits.shape(), logits.device())
        }))?;
        Ok(Some(dz))
    }
}

/// Mean squared error over all elements, as PyTorch's `mse_loss`.
///
/// # Shapes
/// Both the same, result scalar. Only `output` gets a gradient.
///
/// # Errors
/// If the shapes differ or are empty.
pub fn mean_squared_error(output: &Tensor, target: &Tensor) -> Result<Tensor> {
    if output.shape() != target.shape() || output.elem_count() == 0 {
        let want = format!("{:?}, the target's, not empty", target.dims());
        return Err(Error::shape("output", output, want));
    }
    let error = (output - target.detach())?;
    Ok(error.sqr()?.mean_all()?)
}
