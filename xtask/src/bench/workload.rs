//! The catalogue of workloads: what is timed, and how fast it should be.

use pnn_core::optim::Schedule;
use pnn_train::{RawRecipe, RuleRecipe, SharpnessRecipe, StrategyRecipe, Trained};
use serde::Serialize;

/// One workload, as the peer gets it too.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Workload {
    pub(super) id: &'static str,
    /// One line for the user.
    pub(super) what: &'static str,
    pub(super) task: Task,
    pub(super) network: Network,
    pub(super) recipe: RawRecipe,
    /// Steps, epochs or passes over all chips in a round.
    pub(super) iterations: usize,
    #[serde(skip)]
    pub(super) rival: Rival,
    #[serde(skip)]
    pub(super) target: Option<Target>,
}

/// What one iteration does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Task {
    /// A training step on one batch.
    Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Network {
    /// All weights are microrings.
    Lenet5,
}

/// What a time is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rival {
    /// The fastest variant of the peer.
    Peer,
    /// Our own step without sharpness.
    OwnBackprop,
}

/// Ratios to the rival.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Target {
    pub(super) at_most: f64,
    pub(super) strive_for: f64,
}

const ADAM: RuleRecipe = RuleRecipe::Adam { rate: 0.01 };
const SGD: RuleRecipe = RuleRecipe::Sgd { rate: 0.01, momentum: 0.5 };
const ASAM: SharpnessRecipe = SharpnessRecipe::Asam { rho: 0.5, eta: 0.0 };

impl Workload {
    /// Training steps of LeNet-5 made of microrings: detunings, BP with Adam.
    fn lenet5(id: &'static str, what: &'static str, batch_size: usize, iterations: usize) -> Self {
        let recipe = RawRecipe {
            train: Trained::Detunings,
            strategy: StrategyRecipe::Bp,
            optimizer: ADAM,
            sharpness: None,
            schedule: Schedule::Constant,
            epochs: 1,
            batch_size,
        };
        let (task, network, rival) = (Task::Step, Network::Lenet5, Rival::Peer);
        Self { id, what, task, network, recipe, iterations, rival, target: None }
    }

    fn weights(mut self) -> Self {
        (self.recipe.train, self.recipe.optimizer) = (Trained::Weights, SGD);
        self
    }

    fn sharpness_aware(mut self) -> Self {
        self.recipe.sharpness = Some(ASAM);
        self
    }

    fn target(self, at_most: f64, strive_for: f64) -> Self {
        Self { target: Some(Target { at_most, strive_for }), ..self }
    }

    /// The same workload with plain steps.
    pub(super) fn without_sharpness(&self) -> Self {
        let mut plain = self.clone();
        plain.recipe.sharpness = None;
        plain
    }
}

/// All workloads.
pub(super) fn all() -> Vec<Workload> {
    let bp = "LeNet-5 of microrings, step on detunings, BP with Adam";
    let weights = "LeNet-5 of microrings, step on weights, BP with SGD and momentum";
    let sat = "LeNet-5 of microrings, step on detunings, SAT (ASAM) with Adam";
    let sat_over_bp = Workload {
        rival: Rival::OwnBackprop,
        ..Workload::lenet5("sat-over-bp", "SAT step over BP step, both ours, batch 64", 64, 100)
    };
    vec![
        Workload::lenet5("lenet5-mrr-b64", bp, 64, 200).target(0.8, 0.5),
        Workload::lenet5("lenet5-mrr-b64-weights", weights, 64, 200).weights(),
        Workload::lenet5("lenet5-mrr-b64-sat", sat, 64, 100).sharpness_aware(),
        Workload::lenet5("lenet5-mrr-b600", bp, 600, 30).target(1.0, 0.6),
        Workload::lenet5("lenet5-mrr-b600-weights", weights, 600, 30).weights(),
        Workload::lenet5("lenet5-mrr-b600-sat", sat, 600, 15).sharpness_aware(),
        sat_over_bp.sharpness_aware().target(2.1, 1.9),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_distinct_and_recipes_are_valid() {
        let all = all();
        let mut ids: Vec<_> = all.iter().map(|w| w.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all.len());
        for workload in all {
            assert!(pnn_train::Recipe::try_from(workload.recipe).is_ok(), "{}", workload.id);
            assert!(workload.iterations > 0);
            assert!(workload.target.is_none_or(|t| t.strive_for <= t.at_most));
        }
    }
}
