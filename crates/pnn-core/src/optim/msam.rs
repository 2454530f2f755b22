//! MSAM: the ascent along the momentum, which costs no evaluation.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::optim::sam::{EPS, check_rho};
use crate::optim::{Evaluation, Objective, Optimizer, Point, Rule, displaced};
use crate::params::{ParamSet, global_norm};

/// Settings of [`Msam`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MsamSettings {
    /// Length of the ascent, in the units of the parameters; the 3 of the authors' runs if absent, which
    /// were of networks with millions of weights.
    pub rho: f64,
}

impl Default for MsamSettings {
    fn default() -> Self {
        Self { rho: 3.0 }
    }
}

/// Momentum-SAM (Becker et al., 2024, Algorithm 1; `optimizer/msam.py` and `adamW_msam.py` of
/// `MarlonBecker/MSAM`). The one gradient of a step is taken where the momentum `v` of the rule comes
/// from: at
///
/// ```text
/// x - rho v / (|v| + 1e-12)
/// ```
///
/// with the velocity of SGD or the first moment of Adam, over all parameters together, and the rule then
/// updates `x` with it. The first step has no momentum and is a plain one. One evaluation a step, under
/// [`Point::Base`]; its loss is that of the displaced point.
///
/// The authors' code leaves the parameters displaced between the steps and has functions to bring them
/// back before an evaluation; here they are back after each step, to the bit. Its `AdamW` decays the
/// weights after the update, ours before it, as PyTorch does. The momentum is the rule's, and so nothing
/// more is kept between the steps.
#[derive(Debug, Clone)]
pub struct Msam<R> {
    rule: R,
    rho: f64,
}

impl<R: Rule> Msam<R> {
    /// The method around an update rule.
    ///
    /// # Errors
    /// If `rho` is negative or not finite.
    pub fn new(rule: R, settings: MsamSettings) -> Result<Self> {
        Ok(Self { rule, rho: check_rho(settings.rho)? })
    }
}

impl<R: Rule> Optimizer for Msam<R> {
    fn step(&mut self, params: &ParamSet, objective: &mut dyn Objective) -> Result<Evaluation> {
        let momentum = self.rule.momentum();
        let evaluation = if self.rho == 0.0 || momentum.iter().all(Option::is_none) {
            objective.evaluate(Point::Base)?
        } else {
            let scale = -self.rho / (global_norm(momentum)? + EPS);
            let scaled = momentum.iter().map(|v| v.as_ref().map(|v| v * scale).transpose());
            let mut displacement = scaled.collect::<Result<Vec<_>>>()?;
            displacement.resize(params.len(), None);
            displaced(params, &displacement, || objective.evaluate(Point::Base))?
        };
        self.rule.update(params, &evaluation.gradients)?;
        Ok(evaluation)
    }

    fn ascends(&self) -> bool {
        false
    }

    fn rule(&self) -> &dyn Rule {
        &self.rule
    }

    fn rule_mut(&mut self) -> &mut dyn Rule {
        &mut self.rule
    }
}
