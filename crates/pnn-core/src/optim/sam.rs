//! Sharpness-aware minimisation: descend with the gradient taken at a nearby point of higher loss.

use crate::ops::{Real, dispatch, multiversion};
use crate::optim::{Evaluation, Objective, Optimizer, Point, Rule};
use crate::params::{Gradients, ParamSet};
use crate::tensor::Buffer;
use crate::{Error, Result, Tensor};

/// Added to the norm so that a vanishing gradient gives a vanishing ascent, as in the reference
/// implementations.
const EPS: f64 = 1e-12;

/// Where to ascend from a point with a given gradient: the one thing in which members of the SAM
/// family differ. Implement it to add one.
pub trait Ascent: Send {
    /// The displacement of each parameter, or `None` where it stays. All `None` makes the step a
    /// plain one.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    fn displacement(&self, params: &ParamSet, gradients: &Gradients)
    -> Result<Vec<Option<Tensor>>>;

    /// Whether anything is displaced at all.
    fn ascends(&self) -> bool {
        true
    }
}

fn check_rho(rho: f64) -> Result<f64> {
    if (0.0..f64::INFINITY).contains(&rho) {
        Ok(rho)
    } else {
        Err(Error::Range { what: "rho".into(), value: rho, allowed: "[0, infinity)" })
    }
}

/// `e = rho g / |g|`, with the norm over all parameters together (Foret et al., 2021, Eq. 2).
#[derive(Debug, Clone, Copy)]
pub struct Sam {
    rho: f64,
}

impl Sam {
    /// An ascent of length `rho`, in the units of the parameters.
    ///
    /// # Errors
    /// If `rho` is negative or not finite.
    pub fn new(rho: f64) -> Result<Self> {
        Ok(Self { rho: check_rho(rho)? })
    }
}

impl Ascent for Sam {
    fn displacement(
        &self,
        params: &ParamSet,
        gradients: &Gradients,
    ) -> Result<Vec<Option<Tensor>>> {
        if self.rho == 0.0 {
            return Ok(vec![None; params.len()]);
        }
        let scale = self.rho / (gradients.global_norm()? + EPS);
        let scaled = gradients.0.iter().map(|g| g.as_ref().map(|g| g * scale).transpose());
        scaled.collect()
    }

    fn ascends(&self) -> bool {
        self.rho > 0.0
    }
}

/// `e = rho T^2 g / |T g|` with `T = |x| + eta` (Kwon et al., 2021, Eq. 8), for every parameter.
/// The default `eta` is 0, as in Xu et al. (2026); Kwon et al. use 0.01.
#[derive(Debug, Clone, Copy)]
pub struct Asam {
    rho: f64,
    eta: f64,
}

impl Asam {
    /// An adaptive ascent with radius `rho` (relative to the parameters' size) and `eta` 0.
    ///
    /// # Errors
    /// If `rho` is negative or not finite.
    pub fn new(rho: f64) -> Result<Self> {
        Ok(Self { rho: check_rho(rho)?, eta: 0.0 })
    }

    /// Sets `eta`, which lets parameters near zero move.
    ///
    /// # Errors
    /// If `eta` is negative or not finite.
    pub fn eta(self, eta: f64) -> Result<Self> {
        if (0.0..f64::INFINITY).contains(&eta) {
            Ok(Self { eta, ..self })
        } else {
            Err(Error::Range { what: "eta".into(), value: eta, allowed: "[0, infinity)" })
        }
    }
}

impl Ascent for Asam {
    fn displacement(
        &self,
        params: &ParamSet,
        gradients: &Gradients,
    ) -> Result<Vec<Option<Tensor>>> {
        if self.rho == 0.0 {
            return Ok(vec![None; params.len()]);
        }
        // |T g|, then e = rho T^2 g / |T g|.
        let pairs = || params.iter().zip(&gradients.0);
        let mut squares = 0.0;
        for (parameter, g) in pairs() {
            let Some(g) = g else { continue };
            let value = parameter.var.value();
            squares += dispatch!(g.dtype(), T => {
                let eta = T::of(self.eta);
                let pairs = value.elements::<T>()?.iter().zip(g.elements::<T>()?);
                Ok::<f64, Error>(pairs.map(|(x, g)| {
                    let weighed = ((x.abs() + eta) * *g).f64();
                    weighed * weighed
                }).sum())
            })?;
        }
        let scale = self.rho / (squares.sqrt() + EPS);
        let displacement = pairs().map(|(parameter, g)| {
            let Some(g) = g else { return Ok(None) };
            let value = parameter.var.value();
            dispatch!(g.dtype(), T => {
                let (x, g_values) = (value.elements::<T>()?, g.elements::<T>()?);
                let (eta, scale) = (T::of(self.eta), T::of(scale));
                let mut e = Buffer::scratch(x.len());
                adaptive_ascent(&mut e, x, g_values, eta, scale);
                Tensor::from_buffer(e, g.shape()).map(Some)
            })
        });
        displacement.collect()
    }

    fn ascends(&self) -> bool {
        self.rho > 0.0
    }
}

multiversion! {
    /// `e = scale (|x| + eta)^2 g`.
    fn adaptive_ascent[T: Real](e: &mut [T], x: &[T], g: &[T], eta: T, scale: T) {
        for ((e, x), g) in e.iter_mut().zip(x).zip(g) {
            let t = x.abs() + eta;
            *e = t * t * *g * scale;
        }
    }
}

/// A sharpness-aware step around any update rule: evaluate, ascend, evaluate again, return to the
/// very same bits, and update with the second gradient.
#[derive(Debug, Clone)]
pub struct SharpnessAware<R, A> {
    rule: R,
    ascent: A,
}

impl<R: Rule, A: Ascent> SharpnessAware<R, A> {
    /// Wraps an update rule with an ascent.
    pub fn new(rule: R, ascent: A) -> Self {
        Self { rule, ascent }
    }
}

impl<R: Rule, A: Ascent> Optimizer for SharpnessAware<R, A> {
    fn step(&mut self, params: &ParamSet, objective: &mut Objective<'_>) -> Result<Evaluation> {
        let base = objective(Point::Base)?;
        let displacement = self.ascent.displacement(params, &base.gradients)?;
        if displacement.iter().all(Option::is_none) {
            self.rule.update(params, &base.gradients)?;
            return Ok(base);
        }
        let before = params.snapshot()?;
        let sharp = params.shift(&displacement).and_then(|()| objective(Point::Ascent));
        params.restore(&before)?;
        self.rule.update(params, &sharp?.gradients)?;
        Ok(base)
    }

    fn ascends(&self) -> bool {
        self.ascent.ascends()
    }

    fn rule(&self) -> &dyn Rule {
        &self.rule
    }

    fn rule_mut(&mut self) -> &mut dyn Rule {
        &mut self.rule
    }
}
