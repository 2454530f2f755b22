//! Two layers of light in free space, as in Xu et al., Nat. Commun. 17, 1766 (2026).

use std::sync::Arc;

use pnn_core::layers::uniform_fan_in;
use pnn_core::model::{Model, Pass, Physical};
use pnn_core::ops::{Sampling, sigmoid};
use pnn_core::{Bounds, DType, ParamSet, Result, Seed, Tensor, Var};
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

    /// A network whose modulators are seen by `sampling`, initialised from `seed`. With a `display` (bits, range of the inputs) inputs and
    /// hidden values, which lie in [0, 1], are shown by as many bits ([`Multiplier::with_display`]).
    ///
    /// # Errors
    /// If the display is none, or a layer cannot be initialised.
    pub fn new(
        sampling: Sampling,
        display: Option<(u32, Bounds)>,
        seed: &Seed,
        dtype: DType,
    ) -> Result<Self> {
        let layer = |name: &str, filter, outputs, inputs: Option<Bounds>| -> Result<Physical> {
            let mut device = Multiplier::new(filter, outputs)?;
            if let (Some((bits, _)), Some(range)) = (display, inputs) {
                device = device.with_display(bits, range)?;
            }
            let bias = seed.child(name).child("bias");
            let bias = uniform_fan_in(&bias, &[outputs], filter.0 * filter.1, dtype)?;
            Physical::new(name, Arc::new(device.with_sampling(sampling)), Some(bias), seed, dtype)
        };
        let [fc1, fc2] = Self::LAYERS;
        let pixels = display.map(|(_, range)| range);
        let hidden = Bounds { low: 0.0, high: 1.0 };
        let layers = [layer(fc1, (28, 28), 144, pixels)?, layer(fc2, (12, 12), 10, Some(hidden))?];
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

#[cfg(test)]
mod tests {
    use pnn_core::Deviations;

    use super::*;

    /// What a layer does to so many copies of a value.
    fn of(model: &FreeSpaceMlp, layer: usize, values: &[f64]) -> Vec<f64> {
        let layer = &model.layers[layer];
        let inputs = layer.device().weights(&layer.controls(), &Deviations::none());
        let inputs = inputs.unwrap().unwrap().dims()[1];
        let x = values.iter().flat_map(|value| vec![*value; inputs]).collect();
        let x = Tensor::from_vec(x, [values.len(), inputs]).unwrap();
        let y = layer.device().forward(&x, &layer.controls(), &Deviations::none()).unwrap();
        y.flatten_all().unwrap().to_vec1().unwrap()
    }

    #[test]
    fn both_layers_are_shown_by_the_bits_of_the_display() {
        let model = |display| {
            FreeSpaceMlp::new(Sampling::Nearest, display, &Seed::new(1), DType::F64).unwrap()
        };
        let pixels = Bounds { low: -0.5, high: 2.5 };
        let (none, one, eight) = (model(None), model(Some((1, pixels))), model(Some((8, pixels))));
        // Of one bit are the ends of the range: that of pixels, and from 0 to 1.
        assert_eq!(of(&one, 0, &[0.9, 1.1, 7.0]), of(&none, 0, &[-0.5, 2.5, 2.5]));
        assert_eq!(of(&one, 1, &[0.4, 0.6]), of(&none, 1, &[0.0, 1.0]));
        // Levels stay as they are.
        let levels = [-0.5, -0.5 + 3.0 * 51.0 / 255.0, 2.5];
        for (got, want) in of(&eight, 0, &levels).iter().zip(of(&none, 0, &levels)) {
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
        assert!(of(&eight, 1, &[0.301]) != of(&none, 1, &[0.301]));
    }
}
