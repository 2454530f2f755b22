//! ESAM: an ascent in some parameters, a descent on some samples.

use rand_distr::{Distribution, StandardUniform};
use serde::{Deserialize, Serialize};

use crate::error::in_range;
use crate::optim::sam::{Metric, along, check_rho, norm};
use crate::optim::{Evaluation, Objective, Optimizer, Point, Rule, displaced};
use crate::params::{Gradients, ParamSet};
use crate::{Error, Result, Seed};

/// Settings of [`Esam`]; the defaults are those of the authors' runs of `ResNet-18`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EsamSettings {
    /// Radius of the ascent, in the units of the parameters; 0.05 if absent.
    pub rho: f64,
    /// Probability with which a parameter (a tensor) ascends, in (0, 1]; 0.6 if absent.
    pub beta: f64,
    /// Share of the samples that is descended on, in (0, 1]; 0.5 if absent. From 0.99 on it is all.
    pub gamma: f64,
    /// Ascends as ASAM does, with `eta` 0.
    pub adaptive: bool,
}

impl Default for EsamSettings {
    fn default() -> Self {
        Self { rho: 0.05, beta: 0.6, gamma: 0.5, adaptive: false }
    }
}

/// From this share of the samples on the authors' code takes all.
const ALL: f64 = 0.99;

/// What the authors' code adds to the norm of the gradient.
const ESAM_EPS: f64 = 1e-7;

/// Efficient SAM (Du et al., ICLR 2022; `utils/Esam.py` of `dydjw9/Efficient_SAM`): stochastic weight
/// perturbation and sharpness-sensitive data selection. With a mask `m` that keeps each parameter tensor
/// with probability `beta`,
///
/// ```text
/// e = rho m g / (|m g| + 1e-7) / beta
/// ```
///
/// and the descent is along the gradient at `x + e` over those samples whose loss rose most from `x` to
/// `x + e`: as in the code, by more than that sample of rank `floor(gamma batch)`, which leaves out that
/// sample itself. Where fewer than two are left (equal losses, small batches), all are taken: a batch of
/// one has no statistics.
///
/// A step makes three passes, of which only the first and the last, over `gamma` of the batch, have a
/// gradient; two if `gamma` takes all. It needs an objective whose samples can be told apart
/// ([`Objective::samples`]).
///
/// The paper (Algorithm 1) masks single weights; the code masks tensors, and this follows the code. Two
/// things are otherwise here. The mask comes from a child named `esam` of the step's seed, not from the
/// end of the step before, so that the first step is masked as well; one that masks all is a plain
/// step. And only the first pass moves
/// running statistics, which in the code all three do. What the code saves by not computing masked
/// gradients is not saved here.
#[derive(Debug, Clone)]
pub struct Esam<R> {
    rule: R,
    settings: EsamSettings,
}

impl<R: Rule> Esam<R> {
    /// The method around an update rule.
    ///
    /// # Errors
    /// If a setting is outside its range.
    pub fn new(rule: R, settings: EsamSettings) -> Result<Self> {
        let EsamSettings { rho, beta, gamma, .. } = settings;
        check_rho(rho)?;
        in_range("beta", beta, beta > 0.0 && beta <= 1.0, "(0, 1]")?;
        in_range("gamma", gamma, gamma > 0.0 && gamma <= 1.0, "(0, 1]")?;
        Ok(Self { rule, settings })
    }

    /// Which parameters a step with this seed perturbs.
    #[must_use]
    pub fn mask(&self, seed: &Seed, parameters: usize) -> Vec<bool> {
        let mut rng = seed.child("esam").rng();
        let mut kept = || -> bool {
            let draw: f64 = StandardUniform.sample(&mut rng);
            draw <= self.settings.beta
        };
        (0..parameters).map(|_| kept()).collect()
    }
}

impl<R: Rule> Optimizer for Esam<R> {
    fn step(&mut self, params: &ParamSet, objective: &mut dyn Objective) -> Result<Evaluation> {
        let EsamSettings { rho, beta, gamma, adaptive } = self.settings;
        if rho == 0.0 {
            let base = objective.evaluate(Point::Base)?;
            self.rule.update(params, &base.gradients)?;
            return Ok(base);
        }
        let samples = objective.samples().ok_or_else(|| Error::Unsupported {
            device: "this objective".into(),
            capability: "the losses of single samples, which ESAM selects by".into(),
        })?;
        let (base, before) = samples.evaluate_each(Point::Base)?;
        let mask = self.mask(&samples.seed(), params.len()).into_iter();
        let masked = base.gradients.0.iter().zip(mask);
        let masked = Gradients(masked.map(|(g, kept)| g.clone().filter(|_| kept)).collect());
        if masked.0.iter().all(Option::is_none) {
            self.rule.update(params, &base.gradients)?;
            return Ok(base);
        }
        let metric = Metric::adaptive_if(adaptive);
        let scale = rho / (norm(params, &masked, metric)? + ESAM_EPS) / beta;
        let displacement = along(params, &masked, metric, scale)?;
        let sharp = displaced(params, &displacement, || {
            if gamma >= ALL {
                return samples.evaluate(Point::Ascent);
            }
            let after = samples.losses(Point::Ascent)?;
            match sharpest(&before, &after, gamma) {
                Some(part) => samples.evaluate_part(Point::Ascent, &part),
                None => samples.evaluate(Point::Ascent),
            }
        })?;
        self.rule.update(params, &sharp.gradients)?;
        Ok(base)
    }

    fn ascends(&self) -> bool {
        self.settings.rho > 0.0
    }

    fn rule(&self) -> &dyn Rule {
        &self.rule
    }

    fn rule_mut(&mut self) -> &mut dyn Rule {
        &mut self.rule
    }
}

/// The samples whose loss rose by more than that of rank `floor(share samples)`, or none if there are
/// fewer than two.
fn sharpest(before: &[f64], after: &[f64], share: f64) -> Option<Vec<usize>> {
    let rises: Vec<f64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    let rank = (rises.len() as f64 * share) as usize;
    let mut sorted = rises.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let cutoff = *sorted.get(rank.checked_sub(1)?)?;
    let part: Vec<usize> = (0..rises.len()).filter(|i| rises[*i] > cutoff).collect();
    (part.len() >= 2).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selection_is_by_the_rise_and_strict() {
        let before = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let after = [1.5, 2.1, 3.9, 4.0, 5.7, 5.0]; // rises 0.5, 0.1, 0.9, 0, 0.7, -1
        assert_eq!(sharpest(&before, &after, 0.5), Some(vec![2, 4]));
        assert_eq!(sharpest(&before, &after, 0.7), Some(vec![0, 2, 4]));
        // One sample, none, and equal rises: there is nothing to select.
        assert_eq!(sharpest(&before, &after, 0.4), None);
        assert_eq!(sharpest(&before, &after, 0.1), None);
        assert_eq!(sharpest(&before, &before, 0.5), None);
    }
}
