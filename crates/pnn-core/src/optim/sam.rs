//! Sharpness-aware minimisation: descend with the gradient taken at a nearby point of higher loss.

use crate::multiversion;
use crate::ops::{Real, dispatch};
use crate::optim::{Evaluation, Objective, Optimizer, Point, Rule, RuleState, displaced};
use crate::params::{Gradients, ParamSet};
use crate::tensor::Buffer;
use crate::{Error, Result, Tensor};

/// Added to the norm so that a vanishing gradient gives a vanishing ascent, as in the reference
/// implementations.
pub(super) const EPS: f64 = 1e-12;

/// Where to ascend from a point with a given gradient, and what to descend along then: in this the
/// members of the SAM family differ that evaluate the whole batch. Implement it to add one; only
/// [`Self::displacement`] must be given.
pub trait Ascent: Send {
    /// The displacement of each parameter, or `None` where it stays. All `None` makes the step one
    /// without a second evaluation.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    fn displacement(&self, params: &ParamSet, gradients: &Gradients)
    -> Result<Vec<Option<Tensor>>>;

    /// Whether anything is displaced at all in the next step.
    fn ascends(&self) -> bool {
        true
    }

    /// Hears the learning rate of each step before its displacement, for ascents that follow it.
    fn at_rate(&mut self, _rate: f64) {}

    /// What the update rule descends along, out of the gradient at the base point and that at the
    /// ascent point, if there was one; SAM's answer is the latter. It is asked once a step, after all
    /// evaluations have succeeded: here is where an ascent may keep something for the next step.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    fn descent(&mut self, base: &Gradients, ascent: Option<Gradients>) -> Result<Gradients> {
        Ok(ascent.unwrap_or_else(|| base.clone()))
    }

    /// What is kept from step to step, by name.
    ///
    /// # Errors
    /// If memory cannot be copied.
    fn state(&self) -> Result<RuleState> {
        Ok(RuleState::new())
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// If a tensor is missing.
    fn load_state(&mut self, _state: &RuleState) -> Result<()> {
        Ok(())
    }
}

pub(super) fn check_rho(rho: f64) -> Result<f64> {
    if (0.0..f64::INFINITY).contains(&rho) {
        Ok(rho)
    } else {
        Err(Error::Range { what: "rho".into(), value: rho, allowed: "[0, infinity)" })
    }
}

/// What the length of an ascent is measured in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Metric {
    /// The units of the parameters: SAM.
    Plain,
    /// `T = |x| + eta`, but for parameters whose name `plain` accepts: ASAM.
    Adaptive { eta: f64, plain: fn(&str) -> bool },
}

impl Metric {
    /// Adaptive or not, for methods whose authors know no `eta` other than 0.
    pub(super) fn adaptive_if(adaptive: bool) -> Self {
        if adaptive { Self::Adaptive { eta: 0.0, plain: |_| false } } else { Self::Plain }
    }

    /// The `eta` of a parameter, none where it is measured in its own unit.
    fn eta(self, name: &str) -> Option<f64> {
        match self {
            Self::Plain => None,
            Self::Adaptive { eta, plain } => (!plain(name)).then_some(eta),
        }
    }
}

/// The norm of all gradients together, of `T g` where the metric is adaptive.
pub(super) fn norm(params: &ParamSet, gradients: &Gradients, metric: Metric) -> Result<f64> {
    if matches!(metric, Metric::Plain) {
        return gradients.global_norm();
    }
    let mut squares = 0.0;
    for (parameter, g) in params.iter().zip(&gradients.0) {
        let Some(g) = g else { continue };
        let (value, eta) = (parameter.var.value(), metric.eta(&parameter.name));
        squares += dispatch!(g.dtype(), T => {
            let pairs = value.elements::<T>()?.iter().zip(g.elements::<T>()?);
            Ok::<f64, Error>(pairs.map(|(x, g)| {
                let weighed = eta.map_or(*g, |eta| (x.abs() + T::of(eta)) * *g).f64();
                weighed * weighed
            }).sum())
        })?;
    }
    Ok(squares.sqrt())
}

/// `scale T^2 g`.
pub(super) fn along(
    params: &ParamSet,
    gradients: &Gradients,
    metric: Metric,
    scale: f64,
) -> Result<Vec<Option<Tensor>>> {
    let displacement = params.iter().zip(&gradients.0).map(|(parameter, g)| {
        let Some(g) = g else { return Ok(None) };
        let Some(eta) = metric.eta(&parameter.name) else { return (g * scale).map(Some) };
        let value = parameter.var.value();
        dispatch!(g.dtype(), T => {
            let (x, g_values) = (value.elements::<T>()?, g.elements::<T>()?);
            let mut e = Buffer::scratch(x.len());
            adaptive_ascent(&mut e, x, g_values, T::of(eta), T::of(scale));
            Tensor::from_buffer(e, g.shape()).map(Some)
        })
    });
    displacement.collect()
}

/// The ascent of length `rho` along the gradients.
pub(super) fn climb(
    params: &ParamSet,
    gradients: &Gradients,
    metric: Metric,
    rho: f64,
) -> Result<Vec<Option<Tensor>>> {
    if rho == 0.0 {
        return Ok(vec![None; params.len()]);
    }
    let scale = rho / (norm(params, gradients, metric)? + EPS);
    along(params, gradients, metric, scale)
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
        climb(params, gradients, Metric::Plain, self.rho)
    }

    fn ascends(&self) -> bool {
        self.rho > 0.0
    }
}

/// `e = rho T^2 g / |T g|` with `T = |x| + eta` (Kwon et al., 2021, Eq. 8).
///
/// By default `eta` is 0 and every parameter is measured so, as by Xu et al. (2026), who use `davda54/sam`. The authors of
/// ASAM (`SamsungLabs/ASAM`) have an `eta` of 0.01 and leave biases in their own unit, `T = 1`: that is
/// `Asam::new(rho)?.eta(0.01)?.plain(|name| name.ends_with("bias"))`.
#[derive(Debug, Clone, Copy)]
pub struct Asam {
    rho: f64,
    eta: f64,
    plain: fn(&str) -> bool,
}

impl Asam {
    /// An adaptive ascent with radius `rho` (relative to the parameters' size) and `eta` 0.
    ///
    /// # Errors
    /// If `rho` is negative or not finite.
    pub fn new(rho: f64) -> Result<Self> {
        Ok(Self { rho: check_rho(rho)?, eta: 0.0, plain: |_| false })
    }

    /// Measures the parameters whose name `plain` accepts in their own unit, as SAM does.
    #[must_use]
    pub fn plain(self, plain: fn(&str) -> bool) -> Self {
        Self { plain, ..self }
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
        climb(params, gradients, Metric::Adaptive { eta: self.eta, plain: self.plain }, self.rho)
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
/// very same bits, and update with what the ascent makes of the two gradients (SAM: the second).
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
    fn step(&mut self, params: &ParamSet, objective: &mut dyn Objective) -> Result<Evaluation> {
        let base = objective.evaluate(Point::Base)?;
        self.ascent.at_rate(self.rule.learning_rate());
        let displacement = self.ascent.displacement(params, &base.gradients)?;
        let sharp = if displacement.iter().all(Option::is_none) {
            None
        } else {
            let there = displaced(params, &displacement, || objective.evaluate(Point::Ascent))?;
            Some(there.gradients)
        };
        let direction = self.ascent.descent(&base.gradients, sharp)?;
        self.rule.update(params, &direction)?;
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

    fn state(&self) -> Result<RuleState> {
        let mut state = self.rule.state()?;
        let own = self.ascent.state()?.into_iter();
        state.extend(own.map(|(name, tensor)| (format!("{ASCENT}{name}"), tensor)));
        Ok(state)
    }

    fn load_state(&mut self, state: &RuleState) -> Result<()> {
        let own = state.iter().filter_map(|(name, tensor)| {
            Some((name.strip_prefix(ASCENT)?.to_owned(), tensor.clone()))
        });
        self.ascent.load_state(&own.collect())?;
        self.rule.load_state(state)
    }
}

/// What the names of an ascent's state begin with, beside those of the rule.
const ASCENT: &str = "ascent/";
