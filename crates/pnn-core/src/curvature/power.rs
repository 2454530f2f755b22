//! The eigenvalue of the largest magnitude by power iteration.

use super::lanczos::Eigenpair;
use super::operator::{Operator, add_scaled, dot, norm, random_unit, scale};
use crate::error::in_range;
use crate::{Error, Result, Seed};

/// Power iteration: multiply, normalise, repeat. It finds the eigenvalue of the largest magnitude, with its sign.
/// [`Lanczos`](super::Lanczos) needs fewer products for the same; this is what other tools use (Yao et al.,
/// `PyHessian`, 2020). Where two eigenvalues of opposite signs are the largest, the value stands still without being one:
/// look at the pair's residual.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Power {
    /// Stops when the eigenvalue changes by less than this part of it.
    pub tolerance: f64,
    /// Largest number of products.
    pub max_products: usize,
}

impl Default for Power {
    /// A relative change of 1e-3 in at most 100 products, as in `PyHessian`.
    fn default() -> Self {
        Self { tolerance: 1e-3, max_products: 100 }
    }
}

impl Power {
    /// The eigenpair, and the number of products.
    ///
    /// # Errors
    /// If a setting is outside its range, a product fails, or the eigenvalue still changes after the last one
    /// ([`Error::NotConverged`]).
    pub fn run(&self, matrix: &mut dyn Operator, seed: &Seed) -> Result<(Eigenpair, usize)> {
        let Some(mut vector) = random_unit(matrix.dim(), seed, &[]) else {
            let what = "rows of the matrix".into();
            return Err(Error::Range { what, value: 0.0, allowed: "[1, infinity)" });
        };
        let (tolerance, most) = (self.tolerance, self.max_products);
        in_range("tolerance of power iteration", tolerance, tolerance > 0.0, "(0, infinity)")?;
        in_range("max_products of power iteration", most as f64, most > 0, "[1, infinity)")?;
        let (mut value, mut change) = (f64::NAN, f64::INFINITY);
        for products in 1..=self.max_products {
            let mut product = matrix.apply(&vector)?;
            let length = norm(&product);
            if !length.is_finite() {
                let (what, layer) = ("a product with the matrix".into(), "the operator".into());
                return Err(Error::NotFinite { what, value: length, layer });
            }
            let old = std::mem::replace(&mut value, dot(&product, &vector));
            // NaN before the second product.
            change = (value - old).abs() / value.abs();
            if change < self.tolerance || length == 0.0 {
                add_scaled(&mut product, -value, &vector);
                let residual = norm(&product);
                return Ok((Eigenpair { value, vector, residual }, products));
            }
            scale(&mut product, 1.0 / length);
            vector = product;
        }
        Err(Error::NotConverged {
            what: "power iteration (relative change of the eigenvalue)".into(),
            iterations: self.max_products,
            residual: change,
            tolerance: self.tolerance,
        })
    }
}
