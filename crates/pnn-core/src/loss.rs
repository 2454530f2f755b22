//! Losses, computed from logits in a stable form.

use rayon::prelude::*;

use crate::ops::simd::{lane_sum, multiversion};
use crate::ops::{Real, dispatch};
use crate::tensor::Buffer;
use crate::{DType, Error, Result, Tensor};

/// Elements that one task works on; fixed, so that the order of sums never depends on the number of
/// threads, and few enough to add in f32.
const BLOCK: usize = 1 << 13;

/// Mean softmax cross-entropy over a batch: `log sum_k exp(z_k) - z_label`, by log-sum-exp.
///
/// # Shapes
/// `logits` (batch, classes), `labels` (batch) of u32, result scalar.
///
/// # Errors
/// If shapes differ, the batch is empty or a label is not below the number of classes.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let (batch, classes, labels) = classified(logits, labels)?;
    let loss = dispatch!(logits.dtype(), T => {
        let rows = logits.elements::<T>()?.chunks(classes);
        let total: f64 = rows.zip(&labels).map(|(row, label)| {
            let (maximum, rest) = log_sum_exp(row);
            maximum + rest - row[*label as usize].f64()
        }).sum();
        Ok(Tensor::from_scalar(T::of(total / batch as f64)))
    })?;
    let input = logits.clone();
    Ok(loss.with_gradient(&[logits], move |gradient| {
        let dz = dispatch!(gradient.dtype(), T => {
            let scale = gradient.to_scalar::<T>()?.f64() / batch as f64;
            let z = input.elements::<T>()?;
            let mut dz = Buffer::scratch(z.len());
            for ((dz, row), label) in dz.chunks_mut(classes).zip(z.chunks(classes)).zip(&labels) {
                let (maximum, rest) = log_sum_exp(row);
                for (k, (dz, z)) in dz.iter_mut().zip(row).enumerate() {
                    let hot = if k == *label as usize { 1.0 } else { 0.0 };
                    *dz = T::of(((z.f64() - maximum - rest).exp() - hot) * scale);
                }
            }
            Tensor::from_buffer(dz, input.shape())
        })?;
        Ok(vec![Some(dz)])
    }))
}

/// Numbers of images and classes, and the labels, if they fit.
fn classified(output: &Tensor, labels: &Tensor) -> Result<(usize, usize, Vec<u32>)> {
    let (batch, classes) =
        output.dims2().map_err(|_| Error::shape("logits", output, "(batch, classes)"))?;
    if labels.dims() != [batch] || labels.dtype() != DType::U32 || batch == 0 {
        return Err(Error::shape("labels", labels, format!("({batch}) of u32, not empty")));
    }
    let labels = labels.elements::<u32>()?.to_vec();
    match labels.iter().find(|l| **l as usize >= classes) {
        Some(label) => Err(Error::Range {
            what: format!("label for {classes} classes"),
            value: f64::from(*label),
            allowed: "[0, classes)",
        }),
        None => Ok((batch, classes, labels)),
    }
}

/// The squared distance of outputs from `height` at the class of the label and 0 at the others, summed over
/// classes and batch.
///
/// # Shapes
/// `output` (batch, classes), `labels` (batch) of u32, result scalar.
///
/// # Errors
/// As [`cross_entropy`].
pub fn one_hot_distance(output: &Tensor, labels: &Tensor, height: f64) -> Result<Tensor> {
    let (batch, classes, labels) = classified(output, labels)?;
    let mut target = vec![0.0; batch * classes];
    for (row, label) in target.chunks_mut(classes).zip(labels) {
        row[label as usize] = height;
    }
    let target = Tensor::from_vec(target, [batch, classes])?.to_dtype(output.dtype())?;
    mean_squared_error(output, &target)? * (batch * classes) as f64
}

/// `(maximum, log sum exp(z - maximum))` of one row, in f64.
fn log_sum_exp<T: Real>(row: &[T]) -> (f64, f64) {
    let maximum = row.iter().fold(f64::NEG_INFINITY, |m, z| m.max(z.f64()));
    (maximum, row.iter().map(|z| (z.f64() - maximum).exp()).sum::<f64>().ln())
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
    let count = output.elem_count();
    let loss = dispatch!(output.dtype(), T => {
        let values = output.elements::<T>()?.par_chunks(BLOCK);
        let parts: Vec<f64> =
            values.zip(target.elements::<T>()?.par_chunks(BLOCK)).map(|(y, t)| squares(y, t)).collect();
        Ok(Tensor::from_scalar(T::of(parts.iter().sum::<f64>() / count as f64)))
    })?;
    let inputs = [output.clone(), target.detach()];
    Ok(loss.with_gradient(&[output], move |gradient| {
        let [output, target] = &inputs;
        let found = dispatch!(gradient.dtype(), T => {
            let scale = gradient.to_scalar::<T>()? * T::of(2.0 / count as f64);
            let (y, t) = (output.elements::<T>()?, target.elements::<T>()?);
            let mut found = Buffer::<T>::scratch(count);
            let pairs = y.par_chunks(BLOCK).zip(t.par_chunks(BLOCK));
            found.par_chunks_mut(BLOCK).zip(pairs).for_each(|(found, (y, t))| {
                for (found, (y, t)) in found.iter_mut().zip(y.iter().zip(t)) {
                    *found = (*y - *t) * scale;
                }
            });
            Tensor::from_buffer(found, output.shape())
        })?;
        Ok(vec![Some(found)])
    }))
}

multiversion! {
    /// The sum of the squared differences.
    fn squares[T: Real](y: &[T], t: &[T]) -> f64 {
        lane_sum(y, t, |y, t| (y - t) * (y - t))
    }
}
