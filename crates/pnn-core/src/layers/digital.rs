//! Electronic layers: devices without deviations, for the digital parts of a hybrid network and
//! as the plain case of everything that is generic over devices.

use crate::device::{
    Bounds, Control, ControlSpec, Controls, DeviationPort, Deviations, PhysicalLayer,
};
use crate::ops::{self, ConvGeometry};
use crate::{DType, Result, Seed, Tensor};

/// Uniform in `+-1/sqrt(fan_in)`: PyTorch's default for the weights and biases of linear and
/// convolution layers (He et al., 2015, with a = sqrt 5).
///
/// # Errors
/// If `dtype` is not a floating-point type.
pub fn uniform_fan_in(seed: &Seed, shape: &[usize], fan_in: usize, dtype: DType) -> Result<Tensor> {
    let bound = 1.0 / (fan_in.max(1) as f64).sqrt();
    let unit = rand_distr::StandardUniform;
    let u = seed.tensor(unit, shape, DType::F64)?;
    ((u * (2.0 * bound))? - bound)?.to_dtype(dtype)
}

/// The product that a layer of weights computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// `y = x W^T`: `x` (batch, inputs), `W` (outputs, inputs).
    Linear {
        /// Inputs of each output.
        inputs: usize,
        /// Number of outputs.
        outputs: usize,
    },
    /// A convolution: `x` (batch, channels, height, width), `W` (outputs, channels, kernel, kernel).
    Conv2d {
        /// Input channels.
        channels: usize,
        /// Output channels.
        outputs: usize,
        /// Side of the square kernel.
        kernel: usize,
        /// Stride and padding.
        geometry: ConvGeometry,
    },
}

impl Product {
    /// The shape of the weights.
    #[must_use]
    pub fn weight_shape(&self) -> Vec<usize> {
        match *self {
            Self::Linear { inputs, outputs } => vec![outputs, inputs],
            Self::Conv2d { channels, outputs, kernel, .. } => {
                vec![outputs, channels, kernel, kernel]
            }
        }
    }

    /// Weights that enter one output.
    #[must_use]
    pub fn fan_in(&self) -> usize {
        self.weight_shape()[1..].iter().product()
    }

    /// Number of outputs (features or channels).
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.weight_shape()[0]
    }

    /// The shape that an output offset broadcasts to, without the batch.
    #[must_use]
    pub fn output_shape(&self) -> Vec<usize> {
        match *self {
            Self::Linear { outputs, .. } => vec![outputs],
            Self::Conv2d { outputs, .. } => vec![outputs, 1, 1],
        }
    }

    /// The product of a batch with the weights.
    ///
    /// # Errors
    /// If the shapes do not match.
    pub fn apply(&self, x: &Tensor, weights: &Tensor) -> Result<Tensor> {
        match *self {
            Self::Linear { .. } => ops::linear(x, weights),
            Self::Conv2d { geometry, .. } => ops::conv2d(x, weights, geometry),
        }
    }
}

/// A layer of ideal electronic weights.
#[derive(Debug, Clone)]
pub struct Digital {
    product: Product,
    controls: [Control; 1],
}

impl Digital {
    /// Electronic weights for a product, with bounds (unbounded is usual).
    #[must_use]
    pub fn new(product: Product, bounds: Bounds) -> Self {
        let shape = product.weight_shape();
        Self { product, controls: [Control { name: "weight", unit: "1", bounds, shape }] }
    }

    fn weight<'a>(&self, controls: &'a Controls) -> Result<&'a Tensor> {
        controls.of(&self.controls[0])
    }
}

impl PhysicalLayer for Digital {
    fn controls(&self) -> &ControlSpec {
        &self.controls
    }

    fn ports(&self) -> &[DeviationPort] {
        &[]
    }

    fn init(&self, seed: &Seed, dtype: DType) -> Result<Controls> {
        let shape = self.product.weight_shape();
        let weight = uniform_fan_in(&seed.child("weight"), &shape, self.product.fan_in(), dtype)?;
        Ok(Controls::one("weight", weight))
    }

    fn forward(&self, x: &Tensor, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        deviations.check(self.ports())?;
        self.product.apply(x, self.weight(controls)?)
    }

    fn weights(&self, controls: &Controls, _: &Deviations) -> Result<Option<Tensor>> {
        Ok(Some(self.weight(controls)?.clone()))
    }
}
