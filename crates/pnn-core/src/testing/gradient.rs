//! Backward passes against central finite differences.

use super::tolerance::{unravel, values};
use crate::{DType, Error, Result, Seed, Tensor, Var};

/// Step and tolerances of [`check_gradients`].
///
/// A central difference with step h has the truncation error `h^2/6 |f'''|` and the rounding error
/// `eps |f| / h`. At the default `h = cbrt(eps) = 6.1e-6` both are near `eps^(2/3) = 3.7e-11`
/// for a function with value, length scale and slope of order one. The default relative tolerance
/// of 1e-6 leaves room for length scales down to 0.01 (truncation 4e-7), such as the 0.15 nm of a
/// microring, and the default absolute tolerance of 1e-8 for elements whose gradient vanishes
/// while rounding errors of a few hundred `eps` remain. A wrong derivative is off by far more
/// than either. Where the two disagree, a second difference with twice the step takes out the truncation error to
/// `4 h^4/120 |f^(5)|` (Richardson), which allows for length scales down to 0.001.
///
/// At a kink (`relu` at 0, ties of `max`) there is no derivative to compare with: choose inputs
/// that are further than two steps away from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradientCheck {
    /// Step of the difference, times the larger of 1 and the element's magnitude.
    pub step: f64,
    /// Allowed difference relative to the larger of the two gradients.
    pub relative_tolerance: f64,
    /// Allowed difference beside that, times the larger of 1 and the 2-norm of the output.
    pub absolute_tolerance: f64,
}

impl Default for GradientCheck {
    fn default() -> Self {
        Self { step: f64::EPSILON.cbrt(), relative_tolerance: 1e-6, absolute_tolerance: 1e-8 }
    }
}

/// Why [`check_gradients`] failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GradientError {
    /// Backward pass and finite difference disagree.
    #[error(
        "gradient of input {input}, element {index:?} (value {value:e}): backward gives \
         {backward:e}, finite differences {difference:e} (allowed difference {allowed:e})"
    )]
    Element {
        /// Which input.
        input: usize,
        /// Which element of it.
        index: Vec<usize>,
        /// The value of the element.
        value: f64,
        /// The derivative of the backward pass.
        backward: f64,
        /// The derivative by central finite differences.
        difference: f64,
        /// The difference allowed between the two.
        allowed: f64,
    },
    /// The function or its backward pass failed.
    #[error(transparent)]
    Function(#[from] Error),
}

/// Compares the gradient of `f` by the backward pass with central finite differences, for
/// every element of every input. A random, fixed linear form reduces the output to a scalar, so
/// that errors in different outputs do not cancel.
///
/// ```
/// use pnn_core::testing::{GradientCheck, check_gradients};
/// use pnn_core::{Tensor};
/// let x = Tensor::new(&[0.3, -1.2])?;
/// let y = Tensor::new(&[2.0, 0.5])?;
/// let check = GradientCheck::default();
/// check_gradients(&[x.clone(), y.clone()], |t| Ok((&t[0] * t[1].sqr()?)?), &check)?;
/// // A gradient that does not flow is found:
/// let error = check_gradients(&[x, y], |t| Ok((&t[0] * t[1].detach())?), &check).unwrap_err();
/// assert!(error.to_string().starts_with("gradient of input 1, element [0]"), "{error}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If an element disagrees, an input is not f64, or `f` fails.
pub fn check_gradients(
    inputs: &[Tensor],
    f: impl Fn(&[Tensor]) -> Result<Tensor>,
    check: &GradientCheck,
) -> Result<(), GradientError> {
    for (i, input) in inputs.iter().enumerate() {
        if input.dtype() != DType::F64 {
            return Err(Error::shape(&format!("input {i}"), input, "any, of F64").into());
        }
    }
    let vars: Vec<Var> = inputs.iter().map(|x| Ok(Var::new(x))).collect::<Result<_>>()?;
    let nodes: Vec<Tensor> = vars.iter().map(|v| v.tensor()).collect();
    let output = f(&nodes)?;
    let form = linear_form(output.dims())?;
    let loss = (&output * &form).and_then(|y| y.sum_all())?;
    let store = loss.backward()?;

    let form = values(&form)?;
    let norm = values(&output)?.iter().map(|y| y * y).sum::<f64>().sqrt();
    let absolute = check.absolute_tolerance * norm.max(1.0);
    let plain: Vec<Tensor> = inputs.iter().map(Tensor::detach).collect();
    for (input, var) in vars.iter().enumerate() {
        let point = values(&inputs[input])?;
        let backward = match store.get(&var.tensor()) {
            Some(gradient) => values(gradient)?,
            None => vec![0.0; point.len()],
        };
        for (element, &value) in point.iter().enumerate() {
            let step = check.step * value.abs().max(1.0);
            let at = |moved: f64| -> Result<Vec<f64>> {
                let mut shifted = point.clone();
                shifted[element] = moved;
                let mut arguments = plain.clone();
                arguments[input] = Tensor::from_vec(shifted, inputs[input].shape())?;
                values(&f(&arguments)?)
            };
            let slope = |step: f64| -> Result<f64> {
                let (above, below) = (value + step, value - step);
                let (high, low) = (at(above)?, at(below)?);
                // Differences of each output before the sum: large outputs that do not depend on
                // the element cancel exactly.
                let rises = form.iter().zip(high.iter().zip(&low)).map(|(w, (h, l))| w * (h - l));
                Ok(rises.sum::<f64>() / (above - below))
            };
            let backward = backward[element];
            let allowed = |difference: f64| {
                absolute + check.relative_tolerance * backward.abs().max(difference.abs())
            };
            // Not `>`: a NaN on either side must fail.
            let agrees = |difference: f64| (backward - difference).abs() <= allowed(difference);
            let mut difference = slope(step)?;
            if !agrees(difference) {
                difference = (4.0 * difference - slope(2.0 * step)?) / 3.0;
            }
            let (agree, allowed) = (agrees(difference), allowed(difference));
            if !agree {
                let index = unravel(element, inputs[input].dims());
                return Err(GradientError::Element {
                    input,
                    index,
                    value,
                    backward,
                    difference,
                    allowed,
                });
            }
        }
    }
    Ok(())
}

/// Coefficients of either sign with magnitudes in [0.5, 1.5): none is near zero, so no output's
/// error is hidden.
fn linear_form(dims: &[usize]) -> Result<Tensor> {
    let seed = Seed::new(0).child("gradient check");
    let u = seed.tensor(rand_distr::StandardUniform, dims, DType::F64)?;
    let signed: Vec<f64> = values(&u)?
        .into_iter()
        .map(|u| if u < 0.5 { -0.5 - 2.0 * u } else { 2.0 * u - 0.5 })
        .collect();
    Tensor::from_vec(signed, dims)
}
