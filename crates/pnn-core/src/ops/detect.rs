//! Square-law detection of optical fields.

use rayon::prelude::*;

use super::real::{Real, dispatch};
use super::simd::{lane_sum, multiversion};
use crate::tensor::Buffer;
use crate::{Error, Result, Tensor};

/// Samples that one task works on; fixed, so that results never depend on the number of threads.
const ROWS: usize = 128;

/// The smallest norm that powers are divided by: darkness gives zeros, not NaN.
const DARK: f64 = 1e-12;

/// Detected powers `|E_k|^2` of fields.
///
/// # Shapes
/// `field` (batch, 2, ports): real and imaginary parts. Result (batch, ports).
///
/// # Errors
/// If the field has another shape.
pub fn power(field: &Tensor) -> Result<Tensor> {
    detect(field, false)
}

/// Detected powers, divided for each sample by their 2-norm over the ports: `P_k / |P|`, or `P_k /
/// 1e-12` where light is weaker than that.
///
/// # Shapes
/// As [`power`].
///
/// # Errors
/// If the field has another shape.
pub fn normalised_power(field: &Tensor) -> Result<Tensor> {
    detect(field, true)
}

fn detect(field: &Tensor, normalised: bool) -> Result<Tensor> {
    let &[batch, 2, ports] = field.dims() else {
        return Err(Error::shape("field", field, "(batch, 2, ports)"));
    };
    let (powers, norms) = dispatch!(field.dtype(), T => {
        let values = field.elements::<T>()?;
        let mut powers = Buffer::<T>::scratch(batch * ports);
        // The norm by which each sample was divided.
        let mut norms = vec![1.0; if normalised { batch } else { 0 }];
        if ports > 0 && normalised {
            powers
                .par_chunks_mut(ROWS * ports)
                .zip(values.par_chunks(2 * ROWS * ports))
                .zip(norms.par_chunks_mut(ROWS))
                .for_each(|((powers, field), norms)| {
                    rows(field, powers, ports);
                    normalise(powers, norms, ports);
                });
        } else if ports > 0 {
            powers
                .par_chunks_mut(ROWS * ports)
                .zip(values.par_chunks(2 * ROWS * ports))
                .for_each(|(powers, field)| rows(field, powers, ports));
        }
        Ok((Tensor::from_buffer(powers, [batch, ports])?, norms))
    })?;
    let (field_in, saved) = (field.clone(), powers.clone());
    Ok(powers.with_gradient(&[field], move |gradient| {
        let shape = field_in.shape();
        let gradient = dispatch!(field_in.dtype(), T => {
            let (field, y) = (field_in.elements::<T>()?, saved.elements::<T>()?);
            let g = gradient.elements::<T>()?;
            let mut found = Buffer::<T>::scratch(field.len());
            if ports > 0 {
                found
                    .par_chunks_mut(2 * ROWS * ports)
                    .zip(field.par_chunks(2 * ROWS * ports))
                    .zip(y.par_chunks(ROWS * ports).zip(g.par_chunks(ROWS * ports)))
                    .enumerate()
                    .for_each(|(block, ((found, field), (y, g)))| {
                        let norms = norms.get(block * ROWS..).unwrap_or_default();
                        back(found, field, y, g, norms, ports);
                    });
            }
            Tensor::from_buffer(found, shape)
        })?;
        Ok(vec![Some(gradient)])
    }))
}

multiversion! {
    fn rows[T: Real](field: &[T], powers: &mut [T], ports: usize) {
        for (field, powers) in field.chunks_exact(2 * ports).zip(powers.chunks_exact_mut(ports)) {
            let (re, im) = field.split_at(ports);
            for ((p, re), im) in powers.iter_mut().zip(re).zip(im) {
                *p = *re * *re + *im * *im;
            }
        }
    }

    fn normalise[T: Real](powers: &mut [T], norms: &mut [f64], ports: usize) {
        for (powers, norm) in powers.chunks_exact_mut(ports).zip(norms) {
            *norm = lane_sum(powers, powers, |a, b| a * b).sqrt();
            // Written so that NaN passes through.
            if *norm < DARK {
                *norm = DARK;
            }
            let inverse = T::of(1.0 / *norm);
            powers.iter_mut().for_each(|p| *p *= inverse);
        }
    }

    /// `dP = (g - y (g . y)) / |P|` where powers were divided by their norm (`norms` has it), else `g`;
    /// `dE = 2 E dP`.
    fn back[T: Real](
        found: &mut [T],
        field: &[T],
        y: &[T],
        g: &[T],
        norms: &[f64],
        ports: usize,
    ) {
        let rows = found.chunks_exact_mut(2 * ports).zip(field.chunks_exact(2 * ports));
        let rows = rows.zip(y.chunks_exact(ports).zip(g.chunks_exact(ports)));
        for (sample, ((found, field), (y, g))) in rows.enumerate() {
            let (scale, along) = match norms.get(sample) {
                // Below the smallest norm the divisor is constant.
                Some(norm) if *norm > DARK => (2.0 / norm, lane_sum(g, y, |g, y| g * y)),
                Some(norm) => (2.0 / norm, 0.0),
                None => (2.0, 0.0),
            };
            let (scale, along) = (T::of(scale), T::of(along));
            let ((re, im), (dre, dim)) = (field.split_at(ports), found.split_at_mut(ports));
            for k in 0..ports {
                let dp = scale * (g[k] - y[k] * along);
                dre[k] = re[k] * dp;
                dim[k] = im[k] * dp;
            }
        }
    }
}
