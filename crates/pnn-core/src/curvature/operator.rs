//! Symmetric matrices that are known by their products with vectors, and the vectors.

use rand_distr::{Distribution, StandardNormal, StandardUniform};
use rayon::prelude::*;

use crate::multiversion;
use crate::ops::simd::lane_sum;
use crate::{Result, Seed};

/// A symmetric matrix of which only products with vectors are needed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a matrix that can be multiplied with vectors",
    note = "implement `Operator`, or make a `Hessian` of a `Surface`"
)]
pub trait Operator {
    /// Rows, as many as columns.
    fn dim(&self) -> usize;

    /// The product with a vector of [`dim`](Self::dim) values.
    ///
    /// # Errors
    /// If the vector has another length or the product cannot be computed.
    fn apply(&mut self, vector: &[f64]) -> Result<Vec<f64>>;
}

/// Values that a thread sums at once: the order of sums depends on lengths alone.
const BLOCK: usize = 1 << 14;

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let blocks = a.par_chunks(BLOCK).zip(b.par_chunks(BLOCK));
    let sums: Vec<f64> = blocks.map(|(a, b)| products(a, b)).collect();
    sums.iter().sum()
}

multiversion! {
    fn products[](a: &[f64], b: &[f64]) -> f64 {
        lane_sum(a, b, |a, b| a * b)
    }
}

pub(super) fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// `a += factor b`.
pub(super) fn add_scaled(a: &mut [f64], factor: f64, b: &[f64]) {
    a.par_chunks_mut(BLOCK).zip(b.par_chunks(BLOCK)).for_each(|(a, b)| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += factor * b);
    });
}

pub(super) fn scale(a: &mut [f64], factor: f64) {
    a.iter_mut().for_each(|a| *a *= factor);
}

/// Takes out what `a` has along orthonormal vectors: twice, by which it is orthogonal to rounding (Giraud et
/// al., Numer. Math. 101, 87, 2005).
pub(super) fn orthogonalise(a: &mut [f64], against: &[Vec<f64>]) {
    for _ in 0..2 {
        for unit in against {
            let along = dot(a, unit);
            add_scaled(a, -along, unit);
        }
    }
}

/// A vector of length 1 in a direction that is evenly distributed, orthogonal to the ones given. `None` if
/// these span the space.
pub(super) fn random_unit(dim: usize, seed: &Seed, against: &[Vec<f64>]) -> Option<Vec<f64>> {
    if against.len() >= dim {
        return None;
    }
    let mut unit: Vec<f64> = StandardNormal.sample_iter(seed.rng()).take(dim).collect();
    let length = norm(&unit);
    scale(&mut unit, 1.0 / length);
    orthogonalise(&mut unit, against);
    let length = norm(&unit);
    scale(&mut unit, 1.0 / length);
    // The length may have been that of a rounding error.
    orthogonalise(&mut unit, against);
    let length = norm(&unit);
    scale(&mut unit, 1.0 / length);
    Some(unit)
}

/// Values 1 and -1, evenly distributed (Rademacher's distribution).
pub(super) fn random_signs(dim: usize, seed: &Seed) -> Vec<f64> {
    let shares = Distribution::<f64>::sample_iter(StandardUniform, seed.rng());
    shares.take(dim).map(|share| if share < 0.5 { -1.0 } else { 1.0 }).collect()
}
