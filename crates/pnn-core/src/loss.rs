//! Losses, computed from logits in a stable form.

use rayon::prelude::*;

use crate::ops::simd::{lane_sum, multiversion};
use crate::ops::{Real, dispatch};
use crate::tensor::Buffer;
use crate::{DType, Error, Result, Tensor};

/// A loss of outputs (batch, classes) and labels (batch) of u32, as a scalar: a mean over the batch, such as
/// [`cross_entropy`], or a sum, such as a [`one_hot_distance`].
pub type Loss = fn(&Tensor, &Tensor) -> Result<Tensor>;

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

/// The Kullback-Leibler divergence of softened outputs from softened reference outputs, with `p` the
/// softmax of `reference / temperature` and `q` that of `logits / temperature`:
///
/// ```text
/// temperature^2 / batch  sum over batch and classes of  p (log p - log q)
/// ```
///
/// the term of knowledge distillation (Hinton et al., 2015), whose gradient in the logits,
/// `temperature / batch (q - p)`, keeps its size when the temperature changes.
///
/// # Shapes
/// `logits` and `reference` (batch, classes), result scalar. Only `logits` get a gradient.
///
/// # Errors
/// If shapes or types differ, the batch is empty, or the temperature is not positive and finite.
pub fn kl_divergence(logits: &Tensor, reference: &Tensor, temperature: f64) -> Result<Tensor> {
    let (batch, classes) =
        logits.dims2().map_err(|_| Error::shape("logits", logits, "(batch, classes)"))?;
    let fits = reference.dims() == logits.dims() && reference.dtype() == logits.dtype();
    if !fits || logits.elem_count() == 0 {
        let want = format!("{:?} of {:?}, not empty", logits.dims(), logits.dtype());
        return Err(Error::shape("reference", reference, want));
    }
    if !(temperature > 0.0 && temperature.is_finite()) {
        let (what, allowed) = ("temperature".to_owned(), "(0, infinity)");
        return Err(Error::Range { what, value: temperature, allowed });
    }
    let loss = dispatch!(logits.dtype(), T => {
        let rows = logits.elements::<T>()?.chunks(classes);
        let pairs = rows.zip(reference.elements::<T>()?.chunks(classes));
        let total: f64 = pairs.map(|(row, reference)| {
            let (q, p) = (log_softmax(row, temperature), log_softmax(reference, temperature));
            p.zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>()
        }).sum();
        Ok(Tensor::from_scalar(T::of(total * temperature * temperature / batch as f64)))
    })?;
    let inputs = [logits.clone(), reference.detach()];
    Ok(loss.with_gradient(&[logits], move |gradient| {
        let [logits, reference] = &inputs;
        let dz = dispatch!(gradient.dtype(), T => {
            let scale = gradient.to_scalar::<T>()?.f64() * temperature / batch as f64;
            let (z, r) = (logits.elements::<T>()?, reference.elements::<T>()?);
            let mut dz = Buffer::scratch(z.len());
            let pairs = z.chunks(classes).zip(r.chunks(classes));
            for (dz, (row, reference)) in dz.chunks_mut(classes).zip(pairs) {
                let (q, p) = (log_softmax(row, temperature), log_softmax(reference, temperature));
                for (dz, (q, p)) in dz.iter_mut().zip(q.zip(p)) {
                    *dz = T::of((q.exp() - p.exp()) * scale);
                }
            }
            Tensor::from_buffer(dz, logits.shape())
        })?;
        Ok(vec![Some(dz)])
    }))
}

/// The logarithm of the softmax of `row / temperature`, in f64.
fn log_softmax<T: Real>(row: &[T], temperature: f64) -> impl Iterator<Item = f64> {
    let scaled = move |z: &T| z.f64() / temperature;
    let maximum = row.iter().map(scaled).fold(f64::NEG_INFINITY, f64::max);
    let rest = row.iter().map(|z| (scaled(z) - maximum).exp()).sum::<f64>().ln();
    row.iter().map(move |z| scaled(z) - maximum - rest)
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
