//! Optimizers: PyTorch's update rules step by step, and the sharpness-aware family around them.
//!
//! An [`Optimizer`] gets an [`Objective`] that evaluates loss and gradient at the present parameters;
//! a closure is one. A plain [`Descent`] evaluates once. The sharpness-aware family:
//!
//! | method | type | evaluates | what it changes |
//! |---|---|---|---|
//! | SAM | [`Sam`] in [`SharpnessAware`] | 2 | the gradient is that of a nearby point of higher loss |
//! | ASAM | [`Asam`] in [`SharpnessAware`] | 2 | that point is near relative to each parameter's size |
//! | GSAM | [`Gsam`] in [`SharpnessAware`] | 2 | and away from the part of the base gradient that is orthogonal to it |
//! | LookSAM | [`LookSam`] in [`SharpnessAware`] | 1 + 1/k | ascends in every `k`-th step only and uses what it learned in the others |
//! | F-SAM | [`FriendlySam`] in [`SharpnessAware`] | 2 | ascends along the noise of the batch, without what all batches have in common |
//! | ESAM | [`Esam`] | 2 + losses | ascends in some parameters, descends on the samples whose loss rose most |
//! | MSAM | [`Msam`] | 1 | takes the ascent along the momentum, which costs no evaluation |

mod esam;
mod friendly;
mod gsam;
mod look;
mod msam;
mod rule;
mod sam;
mod schedule;

use std::collections::BTreeMap;

pub use esam::{Esam, EsamSettings};
pub use friendly::{FriendlySam, FriendlySamSettings};
pub use gsam::{Gsam, GsamSettings};
pub use look::{LookSam, LookSamSettings};
pub use msam::{Msam, MsamSettings};
pub use rule::{Adam, Rule, Sgd, adamw};
pub use sam::{Asam, Ascent, Sam, SharpnessAware};
pub use schedule::Schedule;

use crate::params::{Gradients, ParamSet};
use crate::{Result, Seed, Tensor};

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
    /// The first of a step, at the parameters themselves (under [`Msam`] where these are displaced to):
    /// the only evaluation that may move running statistics.
    Base,
    /// At the ascent point of a sharpness-aware step.
    Ascent,
}

/// What is minimised. A closure from [`Point`] to [`Evaluation`] is an objective.
pub trait Objective {
    /// Loss and gradient at the present parameters.
    ///
    /// # Errors
    /// If they cannot be found.
    fn evaluate(&mut self, point: Point) -> Result<Evaluation>;

    /// The samples that the loss is taken over one by one, for methods that choose among them; `None`
    /// if they cannot be told apart.
    fn samples(&mut self) -> Option<&mut dyn Samples> {
        None
    }
}

impl<F: FnMut(Point) -> Result<Evaluation>> Objective for F {
    fn evaluate(&mut self, point: Point) -> Result<Evaluation> {
        self(point)
    }
}

/// An objective over samples, each of which has a loss of its own.
pub trait Samples: Objective {
    /// The seed of this step, of which an optimizer that draws uses a child by its own name.
    fn seed(&self) -> Seed;

    /// As [`Objective::evaluate`], with the loss of every sample out of the same pass.
    ///
    /// # Errors
    /// If they cannot be found.
    fn evaluate_each(&mut self, point: Point) -> Result<(Evaluation, Vec<f64>)>;

    /// The loss of every sample at the present parameters, without gradients.
    ///
    /// # Errors
    /// If they cannot be found.
    fn losses(&mut self, point: Point) -> Result<Vec<f64>>;

    /// Loss and gradient over some of the samples.
    ///
    /// # Errors
    /// If they cannot be found, or a sample does not exist.
    fn evaluate_part(&mut self, point: Point, samples: &[usize]) -> Result<Evaluation>;
}

/// Turns gradients into steps.
pub trait Optimizer {
    /// Moves the parameters by one step and returns the evaluation at the base point.
    ///
    /// # Errors
    /// If the objective fails; the parameters are then those before the step.
    fn step(&mut self, params: &ParamSet, objective: &mut dyn Objective) -> Result<Evaluation>;

    /// Whether the next step also evaluates the objective at [`Point::Ascent`].
    fn ascends(&self) -> bool;

    /// The update rule.
    fn rule(&self) -> &dyn Rule;

    /// The update rule, to set its learning rate.
    fn rule_mut(&mut self) -> &mut dyn Rule;

    /// Everything that the next step depends on, beside parameters and settings: the state of the
    /// update rule, and of what is around it.
    ///
    /// # Errors
    /// If memory cannot be copied.
    fn state(&self) -> Result<RuleState> {
        self.rule().state()
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// If a tensor is missing.
    fn load_state(&mut self, state: &RuleState) -> Result<()> {
        self.rule_mut().load_state(state)
    }
}

/// Plain descent: one evaluation, one update.
#[derive(Debug, Clone)]
pub struct Descent<R>(pub R);

impl<R: Rule> Optimizer for Descent<R> {
    fn step(&mut self, params: &ParamSet, objective: &mut dyn Objective) -> Result<Evaluation> {
        let evaluation = objective.evaluate(Point::Base)?;
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

/// The state of an update rule or an optimizer by name, for checkpoints.
pub type RuleState = BTreeMap<String, Tensor>;

/// What `work` gives where the parameters are displaced to; they are then what they were, to the bit.
fn displaced<T>(
    params: &ParamSet,
    displacement: &[Option<Tensor>],
    work: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let before = params.snapshot()?;
    let result = params.shift(displacement).and_then(|()| work());
    params.restore(&before)?;
    result
}

/// `a + factor b`, tensor by tensor; `a` where there is no `b`, none where there is no `a`.
fn combine(a: &[Option<Tensor>], factor: f64, b: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
    let others = b.iter().map(Option::as_ref).chain(std::iter::repeat(None));
    let sums = a.iter().zip(others).map(|(a, b)| match (a, b) {
        (Some(a), Some(b)) => Ok(Some((a + (b * factor)?)?)),
        (a, _) => Ok(a.clone()),
    });
    sums.collect()
}
