//! Products of the Hessian with vectors.

use super::Surface;
use super::operator::{Operator, norm};
use crate::{Error, Result};

/// First step of the differences, for a direction of length 1.
const STEP: f64 = 1e-7;
/// By how much a step is shortened, and how often at most.
const SHORTER: f64 = 8.0;
const ATTEMPTS: usize = 4;
/// Largest part of a product that its error may be.
const TOLERANCE: f64 = 1e-5;

/// What the differences of a [`Hessian`] were.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Differences {
    /// Products so far.
    pub products: usize,
    /// Gradients of a batch so far.
    pub gradients: usize,
    /// The first step tried, for a direction of length 1.
    pub step: f64,
    /// Products of a batch that needed a shorter step.
    pub shortened: usize,
    /// Products of a batch that did not become exact at any step: the parameters lie at a kink.
    pub unresolved: usize,
    /// The largest estimate of the error of a batch's product, relative to it. Rounding of the gradients is not
    /// counted in: up to 256 of them over the step, 6e-7 of the length of the gradient at a step of 1e-7 and 3e-4 of it at the
    /// shortest.
    pub largest_error: f64,
}

/// The second derivative of a loss surface at its present point, as an operator: central differences of
/// gradients in f64, `H v = (g(x + h v) - g(x - h v)) / 2h`, batch by batch.
///
/// Kernels here write their gradients by hand, so there is no graph of second order to differentiate. Instead the
/// error of every product is measured: `g(x + h v) + g(x - h v) - 2 g(x)` vanishes with `h^2` where the
/// loss is smooth, and is the jump of the gradient where a step crosses a kink (of relu or a maximum), which
/// is what the difference is wrong by. Where it is more than 1e-5 of the product, the step is shortened from 1e-7
/// for that batch until no kink is crossed; so the result is the Hessian of the smooth piece on which the
/// parameters lie, as automatic differentiation gives it.
pub struct Hessian<'s, 'a> {
    surface: &'s mut Surface<'a>,
    origin: Vec<f64>,
    gradients: Vec<Vec<f64>>,
    made: Differences,
}

/// A gradient that is not a number would pass for an exact one: every comparison with it is false.
fn check_finite(surface: &Surface<'_>, batch: usize, gradient: &[f64]) -> Result<()> {
    let length = norm(gradient);
    if length.is_finite() {
        return Ok(());
    }
    let what = format!("the gradient of batch {batch}");
    let names = surface.parameters().iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    Err(Error::NotFinite { what, value: length, layer: names.join(", ") })
}

impl<'s, 'a> Hessian<'s, 'a> {
    /// The Hessian at the present values of the parameters. Takes the gradient of each batch there, and
    /// keeps it: 8 bytes for each parameter and batch.
    ///
    /// # Errors
    /// If a gradient cannot be computed or is not finite.
    pub fn new(surface: &'s mut Surface<'a>) -> Result<Self> {
        let origin = surface.point()?;
        // Parameters of another size than 1 move by as much more or less; at the origin there is no size.
        let size = norm(&origin) / (origin.len() as f64).sqrt();
        let step = if size > 0.0 { STEP * size.clamp(1e-6, 1e6) } else { STEP };
        let gradients = (0..surface.batches()).map(|batch| surface.gradient_of(batch));
        let gradients = gradients.collect::<Result<Vec<_>>>()?;
        for (batch, gradient) in gradients.iter().enumerate() {
            check_finite(surface, batch, gradient)?;
        }
        let made = Differences {
            products: 0,
            gradients: gradients.len(),
            step,
            shortened: 0,
            unresolved: 0,
            largest_error: 0.0,
        };
        Ok(Self { surface, origin, gradients, made })
    }

    /// Starts from another step for directions of length 1, in the unit of the parameters; else it is 1e-7 times
    /// their root mean square.
    ///
    /// # Errors
    /// If the step is not positive and finite.
    pub fn with_step(mut self, step: f64) -> Result<Self> {
        if !(step > 0.0 && step.is_finite()) {
            let what = "step of the differences".into();
            return Err(Error::Range { what, value: step, allowed: "(0, infinity)" });
        }
        self.made.step = step;
        Ok(self)
    }

    /// What the differences so far were.
    #[must_use]
    pub fn differences(&self) -> Differences {
        self.made
    }

    /// The gradient of the whole loss at the point.
    #[must_use]
    pub fn gradient(&self) -> Vec<f64> {
        let mut sum = vec![0.0; self.origin.len()];
        for part in &self.gradients {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        sum
    }

    /// The part of a batch in the product with a vector of length 1.
    fn part(&mut self, batch: usize, unit: &[f64]) -> Result<Vec<f64>> {
        let mut best: Option<(f64, Vec<f64>)> = None;
        let mut step = self.made.step;
        for attempt in 0..ATTEMPTS {
            let beside = |sign: f64| -> Vec<f64> {
                self.origin.iter().zip(unit).map(|(x, v)| x + sign * step * v).collect()
            };
            let (above, below) = (beside(1.0), beside(-1.0));
            let above = self.surface.at(&above, |surface| surface.gradient_of(batch))?;
            let below = self.surface.at(&below, |surface| surface.gradient_of(batch))?;
            check_finite(self.surface, batch, &above)?;
            check_finite(self.surface, batch, &below)?;
            self.made.gradients += 2;
            let here = &self.gradients[batch];
            let pairs = || above.iter().zip(&below);
            let product: Vec<f64> = pairs().map(|(a, b)| (a - b) / (2.0 * step)).collect();
            let bent: Vec<f64> =
                pairs().zip(here).map(|((a, b), g)| (a - g + (b - g)) / (2.0 * step)).collect();
            let (size, error) = (norm(&product), norm(&bent));
            // A few hundred roundings of the gradient, such as sums over a batch have.
            let rounding = 256.0 * f64::EPSILON * norm(here) / step;
            let relative = if size > 0.0 { (error - rounding).max(0.0) / size } else { 0.0 };
            if best.as_ref().is_none_or(|(least, _)| relative < *least) {
                best = Some((relative, product));
            }
            if relative <= TOLERANCE {
                self.made.shortened += usize::from(attempt > 0);
                break;
            }
            self.made.unresolved += usize::from(attempt + 1 == ATTEMPTS);
            step /= SHORTER;
        }
        let (relative, product) = best.unwrap_or_default();
        self.made.largest_error = self.made.largest_error.max(relative);
        Ok(product)
    }
}

/// A product fails where a gradient beside the point is not finite.
impl Operator for Hessian<'_, '_> {
    fn dim(&self) -> usize {
        self.origin.len()
    }

    fn apply(&mut self, vector: &[f64]) -> Result<Vec<f64>> {
        if vector.len() != self.origin.len() {
            let want = format!("({}), one for each parameter value", self.origin.len());
            let what = "vector to multiply the Hessian with".into();
            return Err(Error::Shape { what, got: vec![vector.len()], want });
        }
        let length = norm(vector);
        if !length.is_finite() {
            let what = "length of the vector to multiply the Hessian with".into();
            return Err(Error::Range { what, value: length, allowed: "[0, infinity)" });
        }
        let mut sum = vec![0.0; vector.len()];
        if length > 0.0 {
            let unit: Vec<f64> = vector.iter().map(|v| v / length).collect();
            for batch in 0..self.surface.batches() {
                let part = self.part(batch, &unit)?;
                sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += length * part);
            }
        }
        self.made.products += 1;
        Ok(sum)
    }
}
