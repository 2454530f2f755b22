//! The distribution of eigenvalues by stochastic Lanczos quadrature.

use super::lanczos::Process;
use super::operator::Operator;
use crate::error::in_range;
use crate::{Result, Seed};

/// An estimate of how the eigenvalues of a matrix are distributed: point masses that add up to one.
#[derive(Debug, Clone, PartialEq)]
pub struct Density {
    /// Eigenvalue and share of all eigenvalues that it stands for, by eigenvalue.
    pub masses: Vec<(f64, f64)>,
}

impl Density {
    /// The density at `x`, with each mass spread by a normal distribution of standard deviation `width`, which is above
    /// 0.
    #[must_use]
    pub fn at(&self, x: f64, width: f64) -> f64 {
        let scale = 1.0 / (width * (2.0 * std::f64::consts::PI).sqrt());
        let spread = |(value, mass): &(f64, f64)| {
            let z = (x - value) / width;
            mass * scale * (-0.5 * z * z).exp()
        };
        self.masses.iter().map(spread).sum()
    }

    /// The mean eigenvalue: the trace over the number of rows.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.masses.iter().map(|(value, mass)| value * mass).sum()
    }

    /// The share of eigenvalues below `x`.
    #[must_use]
    pub fn below(&self, x: f64) -> f64 {
        self.masses.iter().filter(|(value, _)| *value < x).map(|(_, mass)| mass).sum()
    }
}

/// The distribution of eigenvalues by stochastic Lanczos quadrature: from each of `starts` random vectors so many
/// `steps` of Lanczos' method, whose eigenvalues are the nodes and whose vectors' first entries, squared, the weights
/// of a Gauss quadrature (Golub and Welsch, Math. Comput. 23, 221, 1969; Ubaru et al., SIAM J. Matrix Anal. Appl. 38,
/// 1075, 2017; for neural networks Ghorbani et al., ICML 2019).
///
/// # Errors
/// If there is no start, no step or no row, or a product fails.
pub fn spectral_density(
    matrix: &mut dyn Operator,
    starts: usize,
    steps: usize,
    seed: &Seed,
) -> Result<Density> {
    for (what, value) in [("starts", starts), ("steps", steps), ("rows", matrix.dim())] {
        let what = format!("number of {what} of a spectral density");
        in_range(&what, value as f64, value > 0, "[1, infinity)")?;
    }
    let mut masses = Vec::new();
    for start in 0..starts {
        let seed = seed.index(start as u64);
        let mut process = Process::start(matrix.dim(), &seed);
        for _ in 0..steps.min(matrix.dim()) {
            process.step(matrix, &seed)?;
            // Beyond an invariant space the start has no part.
            if process.is_invariant() {
                break;
            }
        }
        let mass = |first: f64| first * first / starts as f64;
        masses.extend(process.ritz().iter().map(|ritz| (ritz.value, mass(ritz.coordinates[0]))));
    }
    masses.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(Density { masses })
}
