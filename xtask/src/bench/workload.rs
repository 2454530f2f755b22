//! The catalogue of workloads: what is timed, and how fast it should be.

use pnn_core::ops::Sampling;
use pnn_core::optim::Schedule;
use pnn_noise::{Motion, NoiseModel, Source, Spread};
use pnn_train::{
    FcActivation, RawRecipe, RingChip, RuleRecipe, SharpnessRecipe, StrategyRecipe, Trained,
};
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
    /// A training step on one batch; of a mesh, which has no optimizer, the passes of one.
    Step,
    /// A training epoch: shuffling, gathering batches, steps.
    Epoch,
    /// Accuracy of one trained network on many chips.
    Chips {
        /// Number of chips.
        count: usize,
        /// Images a forward pass.
        batch: usize,
    },
    /// The largest eigenvalue of the Hessian of one trained network over all images, to 1 %.
    LambdaMax {
        /// Images a pass of the peer.
        batch: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Network {
    /// LeNet-5 whose weights are all microrings.
    Lenet5,
    /// ResNet-18 for CIFAR with electronic weights.
    Resnet18 {
        /// Channels of the first stage.
        width: usize,
    },
    /// The multiplier in free space, 784-144-10.
    FreeSpace,
    /// The nonlinear diffractive network, 128 x 128.
    D2nn,
    /// A rectangular mesh of interferometers.
    Mesh {
        /// Number of ports.
        ports: usize,
        /// How the peer does it.
        peer: MeshPeer,
    },
}

/// Ways to write a mesh in PyTorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MeshPeer {
    /// As neurophox 0.1.0a4 does: the batch goes through the columns as pairs of real tensors,
    /// whose ports are permuted by index.
    Neurophox,
    /// The same in complex tensors whose ports roll: what PyTorch can do column by column.
    Columns,
    /// The matrix and one product, as we do.
    Materialised,
}

impl Network {
    /// How far the gradients of two sides that compute in f32 may lie apart, as a share of their
    /// norm. A rectifier whose input is rounding away from zero passes a gradient on one side only.
    /// Against f64, PyTorch's own gradients of this `ResNet-18` (width 16) are off by 1.4e-3, and in
    /// channels-last order, whose batch-norm sums without pairing, by 1.6e-2. Golden vectors hold
    /// both networks to f64 precision. A saturable absorber passes `sqrt(I - t)` of the light, whose
    /// slope has no limit where it begins: of the diffractive network's gradients in f32 PyTorch's own are up
    /// to 2e-1 off those in f64, pixels at that edge all of it.
    pub(super) fn gradient_tolerance(self) -> f64 {
        match self {
            Self::Lenet5 | Self::Mesh { .. } | Self::FreeSpace => 1e-3,
            Self::D2nn => 2e-1,
            Self::Resnet18 { .. } => 5e-2,
        }
    }
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
const ASAM: SharpnessRecipe = SharpnessRecipe::Asam { rho: 0.5, eta: 0.0, plain_biases: false };

impl Workload {
    /// Training steps of LeNet-5 made of microrings: detunings, BP with Adam.
    fn lenet5(id: &'static str, what: &'static str, batch_size: usize, iterations: usize) -> Self {
        let recipe = RawRecipe {
            weight_limit: None,
            display_bits: None,
            ring_chip: RingChip::default(),
            fc_activation: FcActivation::Relu,
            pixels: None,
            sampling: Sampling::Nearest,
            images: None,
            in_order: false,
            train: Trained::Detunings,
            strategy: StrategyRecipe::Bp,
            optimizer: ADAM,
            sharpness: None,
            trajectory: None,
            schedule: Schedule::Constant,
            epochs: 1,
            batch_size,
        };
        let (task, network, rival) = (Task::Step, Network::Lenet5, Rival::Peer);
        Self { id, what, task, network, recipe, iterations, rival, target: None }
    }

    /// Training steps of an electronic ResNet-18 on 128 images of 32x32.
    fn resnet18(id: &'static str, width: usize, iterations: usize) -> Self {
        let what = "ResNet-18 for CIFAR, electronic, step with SGD and momentum, batch 128";
        let mut workload = Self::lenet5(id, what, 128, iterations);
        workload.network = Network::Resnet18 { width };
        workload.recipe.train = Trained::Weights;
        workload.recipe.optimizer = RuleRecipe::Sgd { rate: 0.01, momentum: 0.9 };
        workload
    }

    /// Passes of a mesh of 64 ports: real light, normalised powers, gradients of phases and light.
    fn mesh(id: &'static str, what: &'static str, batch: usize, peer: MeshPeer) -> Self {
        // Neurophox's way takes a fifth of a second.
        let passes = if peer == MeshPeer::Neurophox { 20 } else { 100 };
        let mut workload = Self::lenet5(id, what, batch, passes);
        workload.network = Network::Mesh { ports: 64, peer };
        workload
    }

    /// Steps of the multiplier whose first modulator is turned by a degree.
    fn free_space(id: &'static str, batch_size: usize, iterations: usize) -> Self {
        let what =
            "free-space multiplier, first modulator turned by 1 deg, step with Adam, batch 64";
        let mut workload = Self::lenet5(id, what, batch_size, iterations);
        let source = Source::Misalignment {
            motion: Motion::RotationDeg,
            spread: Spread::Fixed(1.0),
            common: false,
        };
        workload.network = Network::FreeSpace;
        workload.recipe.train = Trained::Modulators;
        let noise = match NoiseModel::on(source, &["fc1"]) {
            Ok(noise) => noise,
            Err(error) => unreachable!("a turn by a degree is in range: {error}"),
        };
        workload.recipe.strategy = StrategyRecipe::Nat { noise };
        workload
    }

    /// Steps of the nonlinear diffractive network.
    fn d2nn(id: &'static str, batch_size: usize, iterations: usize) -> Self {
        let what = "nonlinear diffractive network of 128 x 128, step with Adam, batch 200";
        let mut workload = Self::lenet5(id, what, batch_size, iterations);
        workload.network = Network::D2nn;
        workload.recipe.train = Trained::Masks;
        workload
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
    let epoch = "LeNet-5 of microrings, an epoch of 60,000 images, BP with Adam, batch 64";
    let mnist_epoch =
        Workload { task: Task::Epoch, ..Workload::lenet5("mnist-epoch", epoch, 64, 1) };
    let chips = "LeNet-5 of microrings, accuracy on 10,000 images of 100 chips";
    let chips_100 = Workload {
        task: Task::Chips { count: 100, batch: 500 },
        ..Workload::lenet5("chips-100", chips, 64, 1)
    };
    let lambda = "LeNet-5 of microrings, lambda_max of 10,000 images to 1 %, the peer PyHessian";
    let lambda_max = Workload {
        task: Task::LambdaMax { batch: 500 },
        ..Workload::lenet5("lambda-max-10000", lambda, 64, 1)
    };
    let mesh = "mesh of 64 ports, passes, batch 600, the peer as neurophox does it";
    let columns = "mesh of 64 ports, passes, batch 600, the peer column by column at its best";
    let materialised = "mesh of 64 ports, passes, batch 6000, the peer by its matrix";
    vec![
        Workload::d2nn("d2nn-b200", 200, 4).target(0.8, 0.5),
        Workload::free_space("freespace-b64", 64, 100).target(0.8, 0.5),
        Workload::lenet5("lenet5-mrr-b64", bp, 64, 200).target(0.8, 0.5),
        Workload::lenet5("lenet5-mrr-b64-weights", weights, 64, 200).weights(),
        Workload::lenet5("lenet5-mrr-b64-sat", sat, 64, 100).sharpness_aware(),
        Workload::lenet5("lenet5-mrr-b600", bp, 600, 30).target(1.0, 0.6),
        Workload::lenet5("lenet5-mrr-b600-weights", weights, 600, 30).weights(),
        Workload::lenet5("lenet5-mrr-b600-sat", sat, 600, 15).sharpness_aware(),
        sat_over_bp.sharpness_aware().target(2.1, 1.9),
        Workload::resnet18("resnet18-w16-b128", 16, 4).target(1.2, 0.9),
        Workload::resnet18("resnet18-w64-b128", 64, 1),
        mnist_epoch.target(0.8, 0.5),
        chips_100.target(0.8, 0.3),
        lambda_max.target(1.0, 0.5),
        Workload::mesh("mesh64-b600", mesh, 600, MeshPeer::Neurophox).target(0.01, 0.005),
        Workload::mesh("mesh64-b600-columns", columns, 600, MeshPeer::Columns),
        Workload::mesh("mesh64-b6000-materialised", materialised, 6000, MeshPeer::Materialised)
            .target(0.125, 0.08),
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
