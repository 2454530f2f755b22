//! The trace of a matrix from products with random vectors.

use super::operator::{Operator, dot, norm, orthogonalise, random_signs, scale};
use crate::error::in_range;
use crate::{Result, Seed};

/// A number that was estimated from random samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The mean of the samples.
    pub value: f64,
    /// The standard deviation of that mean; NaN for a single sample.
    pub standard_error: f64,
    /// Samples that it was estimated from.
    pub samples: usize,
}

impl Estimate {
    /// The mean of samples, `base` added.
    pub(super) fn of(samples: &[f64], base: f64) -> Self {
        let count = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / count;
        let squares: f64 = samples.iter().map(|sample| (sample - mean) * (sample - mean)).sum();
        let standard_error = (squares / (count - 1.0) / count).sqrt();
        Self { value: base + mean, standard_error, samples: samples.len() }
    }
}

fn check_samples(samples: usize, least: usize, allowed: &'static str) -> Result<()> {
    let what = "number of products for a trace or a norm";
    in_range(what, samples as f64, samples >= least, allowed)?;
    Ok(())
}

/// The trace by Hutchinson's method: the mean of `z A z` over vectors `z` of random signs (Hutchinson, Commun.
/// Stat. Simul. 18, 1059, 1989), one product a sample.
///
/// # Errors
/// If there is no sample or a product fails.
pub fn hutchinson(matrix: &mut dyn Operator, samples: usize, seed: &Seed) -> Result<Estimate> {
    check_samples(samples, 1, "[1, infinity)")?;
    let sample = |number| {
        let signs = random_signs(matrix.dim(), &seed.index(number as u64));
        Ok(dot(&matrix.apply(&signs)?, &signs))
    };
    Ok(Estimate::of(&(0..samples).map(sample).collect::<Result<Vec<_>>>()?, 0.0))
}

/// The Frobenius norm, the root of the sum of all squared eigenvalues: what a trace is not, blind to their signs. It is
/// estimated from `|A z|^2` over vectors `z` of random signs, whose mean is the trace of `A^2` (Hutchinson's method for
/// `A^2`), one product a sample; the standard error is that of the root.
///
/// # Errors
/// If there is no sample or a product fails.
pub fn frobenius_norm(matrix: &mut dyn Operator, samples: usize, seed: &Seed) -> Result<Estimate> {
    check_samples(samples, 1, "[1, infinity)")?;
    let sample = |number| {
        let signs = random_signs(matrix.dim(), &seed.index(number as u64));
        let length = norm(&matrix.apply(&signs)?);
        Ok(length * length)
    };
    let squared = Estimate::of(&(0..samples).map(sample).collect::<Result<Vec<_>>>()?, 0.0);
    let value = squared.value.sqrt();
    let standard_error =
        if value > 0.0 { 0.5 * squared.standard_error / value } else { squared.standard_error };
    Ok(Estimate { value, standard_error, samples })
}

/// The trace by Hutch++ (Meyer et al., Hutch++: Optimal Stochastic Trace Estimation, 2021, algorithm 1): exact
/// on the space that a third of the products finds, Hutchinson's method on the rest. Far fewer products than
/// [`hutchinson`] where few eigenvalues dominate; the standard error is that of the rest.
///
/// # Errors
/// If there are fewer than 3 products or one fails.
pub fn hutch_plus_plus(
    matrix: &mut dyn Operator,
    products: usize,
    seed: &Seed,
) -> Result<Estimate> {
    check_samples(products, 3, "[3, infinity)")?;
    let (dim, each) = (matrix.dim(), products / 3);
    let mut space: Vec<Vec<f64>> = Vec::new();
    for number in 0..each {
        let signs = random_signs(dim, &seed.child("space").index(number as u64));
        let mut image = matrix.apply(&signs)?;
        let before = norm(&image);
        orthogonalise(&mut image, &space);
        let length = norm(&image);
        // What is a rounding error of the others adds no direction.
        if length > 1e-10 * before {
            scale(&mut image, 1.0 / length);
            space.push(image);
        }
    }
    let mut known = 0.0;
    for unit in &space {
        known += dot(&matrix.apply(unit)?, unit);
    }
    if space.len() == dim {
        return Ok(Estimate { value: known, standard_error: 0.0, samples: each });
    }
    let rest = |number| {
        let mut signs = random_signs(dim, &seed.child("rest").index(number as u64));
        orthogonalise(&mut signs, &space);
        Ok(dot(&matrix.apply(&signs)?, &signs))
    };
    Ok(Estimate::of(&(0..each).map(rest).collect::<Result<Vec<_>>>()?, known))
}
