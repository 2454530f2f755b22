//! Dense products and biases.

use super::dense::product;
use super::gemm::Matrix;
use super::real::{Real, dispatch};
use super::simd::{lane_sum, multiversion};
use crate::{Error, Result, Tensor};

/// `y = x W^T`.
///
/// # Shapes
/// `x` (batch, inputs), `weight` (outputs, inputs), result (batch, outputs).
///
/// # Errors
/// If the shapes do not match or the weight is empty.
pub fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let (outputs, inputs) =
        weight.dims2().map_err(|_| Error::shape("weight", weight, "(outputs, inputs)"))?;
    if weight.elem_count() == 0 {
        return Err(Error::shape("weight", weight, "(outputs, inputs), not empty"));
    }
    if x.rank() != 2 || x.dim(1)? != inputs {
        return Err(Error::shape("input of a linear layer", x, format!("(batch, {inputs})")));
    }
    let batch = x.dim(0)?;
    let y = dispatch!(x.dtype(), T => {
        let w = Matrix::row_major(weight.elements::<T>()?, inputs).transposed();
        let y = product(batch, outputs, inputs, Matrix::row_major(x.elements::<T>()?, inputs), w);
        Tensor::from_buffer(y, (batch, outputs))
    })?;
    let (x_in, w_in) = (x.clone(), weight.clone());
    Ok(y.with_gradient(&[x, weight], move |gradient| {
        dispatch!(gradient.dtype(), T => {
            let g = Matrix::row_major(gradient.elements::<T>()?, outputs);
            let dx = x_in.is_tracked().then(|| {
                let w = Matrix::row_major(w_in.elements::<T>()?, inputs);
                Tensor::from_buffer(product(batch, inputs, outputs, g, w), x_in.shape())
            });
            let dw = w_in.is_tracked().then(|| {
                let x = Matrix::row_major(x_in.elements::<T>()?, inputs);
                let dw = product(outputs, inputs, batch, g.transposed(), x);
                Tensor::from_buffer(dw, w_in.shape())
            });
            Ok(vec![dx.transpose()?, dw.transpose()?])
        })
    }))
}

/// Adds `bias` (channels) to dimension 1 of `x` (batch, channels, ...): in place where `x` is given
/// away and nothing else holds it.
///
/// # Errors
/// If the number of channels differs.
pub fn add_bias(x: impl Into<Tensor>, bias: &Tensor) -> Result<Tensor> {
    let x = x.into();
    if x.rank() < 2 || bias.dims() != [x.dim(1)?] {
        return Err(Error::shape(
            "bias",
            bias,
            format!("({}) to match {:?}", x.dims().get(1).copied().unwrap_or(0), x.dims()),
        ));
    }
    let spatial = x.dims()[2..].iter().product::<usize>().max(1);
    let shape = x.shape().clone();
    let (y, source) = dispatch!(x.dtype(), T => {
        let b = bias.elements::<T>()?;
        let (mut y, source) = x.take_elements::<T>()?;
        add_to_planes(&mut y, b, spatial);
        Ok::<_, Error>((Tensor::from_buffer(y, shape)?, source))
    })?;
    let bias_in = bias.clone();
    Ok(y.with_gradient(&[&source, bias], move |gradient| {
        let db = bias_in.is_tracked().then(|| bias_gradient(&gradient, spatial, &bias_in));
        Ok(vec![Some(gradient), db.transpose()?])
    }))
}

fn bias_gradient(gradient: &Tensor, spatial: usize, bias: &Tensor) -> Result<Tensor> {
    dispatch!(gradient.dtype(), T => {
        let db = sum_planes(gradient.elements::<T>()?, bias.elem_count(), spatial);
        Tensor::from_buffer(db.into_iter().map(T::of).collect(), bias.shape())
    })
}

multiversion! {
    fn add_to_planes[T: Real](y: &mut [T], bias: &[T], spatial: usize) {
        if spatial == 1 {
            for row in y.chunks_exact_mut(bias.len().max(1)) {
                row.iter_mut().zip(bias).for_each(|(y, b)| *y += *b);
            }
        } else {
            for (plane, b) in y.chunks_exact_mut(spatial).zip(bias.iter().cycle()) {
                plane.iter_mut().for_each(|y| *y += *b);
            }
        }
    }

    fn sum_planes[T: Real](g: &[T], channels: usize, spatial: usize) -> Vec<f64> {
        let mut sums = vec![0f64; channels];
        if spatial == 1 {
            for row in g.chunks_exact(channels.max(1)) {
                sums.iter_mut().zip(row).for_each(|(sum, g)| *sum += g.f64());
            }
        } else {
            for (i, plane) in g.chunks_exact(spatial).enumerate() {
                sums[i % channels] += lane_sum(plane, plane, |g, _| g);
            }
        }
        sums
    }
}
