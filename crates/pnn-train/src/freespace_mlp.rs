//! Two layers of light in free space, as in Xu et al., Nat. Commun. 17, 1766 (2026).

use std::sync::Arc;

use pnn_core::layers::uniform_fan_in;
use pnn_core::model::{Model, Pass, Physical};
use pnn_core::ops::{Sampling, sigmoid};
use pnn_core::{DType, ParamSet, Result, Seed, Tensor, Var};
use pnn_devices::freespace::Multiplier;

/// 784-144-10 with biases and a sigmoid between the layers, which are called fc1 and fc2 and are
/// multipliers with filters of 28 x 28 and of 12 x 12 pixels.
///
/// # Shapes
/// Input (batch, 1, 28, 28), output (batch, 10).
pub struct FreeSpaceMlp {
    layers: [Physical; 2],
    parameters: ParamSet,
}

impl FreeSpaceMlp {
    /// The names of the layers.
    pub const LAYERS: [&str; 2] = ["fc1", "fc2"];

    /// A network whose modulators are seen by `sampling`, initialised from `seed`.
    ///
    /// # Errors
    /// If a layer cannot be initialised.
    pub fn new(sampling: Sampling, seed: &Seed, dtype: DType) -> Result<Self> {
        let layer = |name: &str, filter: (usize, usize), outputs: usize| -> Result<Physical> {
            let device = Multiplier::new(filter, outputs)?;
            let bias = seed.child(name).child("bias");
            let bias = uniform_fan_in(&bias, &[outputs], filter.0 * filter.1, dtype)?;
            Physical::new(name, Arc::new(device.with_sampling(sampling)), Some(bias), seed, dtype)
        };
        let [fc1, fc2] = Self::LAYERS;
        let layers = [layer(fc1, (28, 28), 144)?, layer(fc2, (12, 12), 10)?];
        let parameters = ParamSet::new(layers.iter().flat_map(Physical::parameters))?;
        Ok(Self { layers, parameters })
    }
}

impl Model for FreeSpaceMlp {
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let [fc1, fc2] = &self.layers;
        let hidden = sigmoid(&fc1.forward(&x.flatten_from(1)?, pass)?)?;
        fc2.forward(&hidden, pass)
    }

    fn parameters(&self) -> &ParamSet {
        &self.parameters
    }

    fn buffers(&self) -> Vec<(String, Var)> {
        Vec::new()
    }

    fn physical_layers(&self) -> Vec<&Physical> {
        self.layers.iter().collect()
    }
}
