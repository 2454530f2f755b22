//! Optimizers: PyTorch's update rules step by step, and the sharpness-aware family around them.
//!
//! An [`Optimizer`] gets a closure that evaluates loss and gradient at the present parameters. A
//! plain [`Descent`] calls it once; [`SharpnessAware`] calls it again at the ascent point.

mod rule;
mod sam;
mod schedule;

use std::collections::BTreeMap;

pub use rule::{Adam, Rule, Sgd, adamw};
pub use sam::{Asam, Ascent, Sam, SharpnessAware};
pub use schedule::Schedule;

use crate::params::{Gradients, ParamSet};
use crate::{Result, Tensor};

/// What one evaluation of the objective gave.
#[derive(Debug, Clone)]
pub struct Evaluation {
    /// The loss.
    pub loss: f64,
    /// Its gradient.
    pub gradients: Gradients,
}

/// Which evaluation of a step is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// At the parameters themselves: the only evaluation that may move running statistics.
    Base,
    /// At the ascent point of a sharpness-aware step.
    Ascent,
}

/// Evaluates loss and gradient at the present parameters.
pub type Objective<'a> = dyn FnMut(Point) -> Result<Evaluation> + 'a;

/// Turns gradients into steps.
pub trait Optimizer {
    /// Moves the parameters by one step and returns the evaluation at the base point.
    ///
    /// # Errors
    /// If the objective fails; the parameters are then those before the step.
    fn step(&mut self, params: &ParamSet, objective: &mut Objective<'_>) -> Result<Evaluation>;

    /// Whether a step also evaluates the objective at [`Point::Ascent`].
    fn ascends(&self) -> bool;

    /// The update rule.
    fn rule(&self) -> &dyn Rule;

    /// The update rule, to set its learning rate or load its state.
    fn rule_mut(&mut self) -> &mut dyn Rule;
}

/// Plain descent: one evaluation, one update.
#[derive(Debug, Clone)]
pub struct Descent<R>(pub R);

impl<R: Rule> Optimizer for Descent<R> {
    fn step(&mut self, params: &ParamSet, objective: &mut Objective<'_>) -> Result<Evaluation> {
        let evaluation = objective(Point::Base)?;
        self.0.update(params, &evaluation.gradients)?;
        Ok(evaluation)
    }

    fn ascends(&self) -> bool {
        false
    }

    fn rule(&self) -> &dyn Rule {
        &self.0
    }

    fn rule_mut(&mut self) -> &mut dyn Rule {
        &mut self.0
    }
}

/// The state of an update rule by name, for checkpoints.
pub type RuleState = BTreeMap<String, Tensor>;
