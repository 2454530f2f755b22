//! Least squares.

use nalgebra::{DMatrix, DVector};
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::{Error, Result};

/// A parameter that was estimated from samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Its value.
    pub value: f64,
    /// Half the width of its interval at 95 %: Student's t, from the curvature of the sum of squares, for independent
    /// errors of one size.
    pub margin: f64,
}

/// What [`least_squares`] found.
pub(super) struct Solution {
    pub(super) parameters: Vec<Estimate>,
    /// Root of the mean square of what is left.
    pub(super) residual_rms: f64,
}

const STEPS: usize = 500;
/// Relative change of the sum of squares that is none.
const CHANGE: f64 = 1e-12;

/// The parameters for which `model(parameters, x)` is nearest to the points, by the method of Levenberg and Marquardt (Marquardt, J. Soc.
/// Ind. Appl. Math. 11, 431, 1963), with the scaling of Moré.
///
/// # Errors
/// If there are no more points than parameters, or the steps do not end.
pub(super) fn least_squares(
    what: &str,
    points: &[(f64, f64)],
    start: &[f64],
    model: impl Fn(&[f64], f64) -> f64,
) -> Result<Solution> {
    let (count, unknown) = (points.len(), start.len());
    if count <= unknown {
        let what = "number of points of a curve to be fitted";
        return Err(Error::Range {
            what,
            value: count as f64,
            allowed: "above that of parameters",
        });
    }
    let residuals =
        |p: &[f64]| DVector::from_iterator(count, points.iter().map(|(x, y)| model(p, *x) - y));
    let jacobian = |p: &[f64]| {
        let mut jacobian = DMatrix::zeros(count, unknown);
        for k in 0..unknown {
            let step = f64::EPSILON.cbrt() * p[k].abs().max(1e-3);
            let beside = |sign: f64| {
                let mut p = p.to_vec();
                p[k] += sign * step;
                residuals(&p)
            };
            jacobian.set_column(k, &((beside(1.0) - beside(-1.0)) / (2.0 * step)));
        }
        jacobian
    };
    let mut at = start.to_vec();
    let mut left = residuals(&at);
    let mut damping = 1e-3;
    for _ in 0..STEPS {
        let slopes = jacobian(&at);
        let normal = slopes.tr_mul(&slopes);
        let downhill = slopes.tr_mul(&left);
        let before = left.norm_squared();
        let mut moved = false;
        while damping < 1e12 {
            let mut damped = normal.clone();
            for k in 0..unknown {
                damped[(k, k)] += damping * normal[(k, k)].max(1e-12);
            }
            let there = damped
                .lu()
                .solve(&downhill)
                .map(|by| at.iter().zip(&by).map(|(at, by)| at - by).collect::<Vec<f64>>());
            if let Some(there) = there {
                let new = residuals(&there);
                if new.norm_squared() <= before {
                    (at, left, moved) = (there, new, true);
                    damping = (damping * 0.2).max(1e-12);
                    break;
                }
            }
            damping *= 4.0;
        }
        if !moved || before - left.norm_squared() <= CHANGE * before {
            return solution(&at, &left, &jacobian(&at));
        }
    }
    Err(Error::Core(pnn_core::Error::NotConverged {
        what: what.to_owned(),
        iterations: STEPS,
        residual: (left.norm_squared() / count as f64).sqrt(),
        tolerance: CHANGE,
    }))
}

fn solution(at: &[f64], left: &DVector<f64>, slopes: &DMatrix<f64>) -> Result<Solution> {
    let (count, unknown) = (left.len(), at.len());
    let freedom = (count - unknown) as f64;
    let variance = left.norm_squared() / freedom;
    let covariance = slopes.tr_mul(slopes).try_inverse();
    // None where a parameter does not matter: then it is not known.
    let error =
        |k: usize| covariance.as_ref().map_or(f64::INFINITY, |c| (variance * c[(k, k)]).sqrt());
    let quantile =
        StudentsT::new(0.0, 1.0, freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(0.975));
    let estimate =
        |(k, value): (usize, &f64)| Estimate { value: *value, margin: quantile * error(k) };
    Ok(Solution {
        parameters: at.iter().enumerate().map(estimate).collect(),
        residual_rms: (left.norm_squared() / count as f64).sqrt(),
    })
}
