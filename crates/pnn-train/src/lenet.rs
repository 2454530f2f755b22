//! LeNet-5 with batch-norm, as in Xu et al., Nat. Commun. 17, 1766 (2026).

use std::sync::Arc;

use pnn_core::layers::{BatchNorm, Product, uniform_fan_in};
use pnn_core::model::{Model, Pass, Physical};
use pnn_core::ops::{ConvGeometry, Tail};
use pnn_core::{DType, ParamSet, PhysicalLayer, Result, Seed, Tensor, Var};

/// Makes the device that realises a layer of a network: what a model's layers are made of.
pub trait LayerFactory {
    /// A device for the layer called `name` that computes `product`.
    ///
    /// # Errors
    /// If the device cannot be built.
    fn layer(&self, name: &str, product: Product) -> Result<Arc<dyn PhysicalLayer>>;
}

impl<F> LayerFactory for F
where
    F: Fn(&str, Product) -> Result<Arc<dyn PhysicalLayer>>,
{
    fn layer(&self, name: &str, product: Product) -> Result<Arc<dyn PhysicalLayer>> {
        self(name, product)
    }
}

/// What follows the two hidden fully connected layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FcActivation {
    /// A rectifier.
    #[default]
    Relu,
    /// Nothing (the networks behind the published sharpness figures).
    None,
}

/// conv 1-6 5x5 pad 2, BN, `ReLU`, maxpool 2; conv 6-16 5x5, BN, `ReLU`, maxpool 2; fc 400-120,
/// BN, `ReLU`; fc 120-84, BN, `ReLU`; fc 84-10. Every layer has a bias. The layers are called conv1,
/// norm1, conv2, norm2, fc1, norm3, fc2, norm4, fc3.
///
/// # Shapes
/// Input (batch, 1, 28, 28), output (batch, 10).
pub struct LeNet5 {
    conv1: Physical,
    conv2: Physical,
    fc1: Physical,
    fc2: Physical,
    fc3: Physical,
    norms: [BatchNorm; 4],
    fc_activation: FcActivation,
    parameters: ParamSet,
}

impl LeNet5 {
    /// The names of the layers of weights, from the input on.
    pub const LAYERS: [&str; 5] = ["conv1", "conv2", "fc1", "fc2", "fc3"];

    /// A network whose five layers of weights are made by `factory`, initialised from `seed`.
    ///
    /// # Errors
    /// If a device cannot be built or initialised.
    pub fn new(
        factory: &dyn LayerFactory,
        fc_activation: FcActivation,
        seed: &Seed,
        dtype: DType,
    ) -> Result<Self> {
        let layer = |name: &str, product: Product| -> Result<Physical> {
            let bias_seed = seed.child(name).child("bias");
            let bias = uniform_fan_in(&bias_seed, &[product.outputs()], product.fan_in(), dtype)?;
            Physical::new(name, factory.layer(name, product)?, Some(bias), seed, dtype)
        };
        let conv = |channels, outputs, padding| Product::Conv2d {
            channels,
            outputs,
            kernel: 5,
            geometry: ConvGeometry { stride: 1, padding },
        };
        let linear = |inputs, outputs| Product::Linear { inputs, outputs };
        let [conv1, conv2, fc1, fc2, fc3] = Self::LAYERS;
        let conv1 = layer(conv1, conv(1, 6, 2))?;
        let conv2 = layer(conv2, conv(6, 16, 0))?;
        let fc1 = layer(fc1, linear(400, 120))?;
        let fc2 = layer(fc2, linear(120, 84))?;
        let fc3 = layer(fc3, linear(84, 10))?;
        let norms = [
            BatchNorm::new("norm1", 6, dtype)?,
            BatchNorm::new("norm2", 16, dtype)?,
            BatchNorm::new("norm3", 120, dtype)?,
            BatchNorm::new("norm4", 84, dtype)?,
        ];
        let physical =
            [&conv1, &conv2, &fc1, &fc2, &fc3].into_iter().flat_map(Physical::parameters);
        let parameters =
            ParamSet::new(physical.chain(norms.iter().flat_map(BatchNorm::parameters)))?;
        Ok(Self { conv1, conv2, fc1, fc2, fc3, norms, fc_activation, parameters })
    }
}

impl Model for LeNet5 {
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let [norm1, norm2, norm3, norm4] = &self.norms;
        let activation = match self.fc_activation {
            FcActivation::Relu => Tail::Relu,
            FcActivation::None => Tail::None,
        };
        let pool = Tail::ReluMaxPool2;
        let x = norm1.forward_with(&self.conv1.forward(x, pass)?, pass.mode, &pool)?;
        let x = norm2.forward_with(&self.conv2.forward(&x, pass)?, pass.mode, &pool)?;
        let x = x.flatten_from(1)?;
        let x = norm3.forward_with(&self.fc1.forward(&x, pass)?, pass.mode, &activation)?;
        let x = norm4.forward_with(&self.fc2.forward(&x, pass)?, pass.mode, &activation)?;
        self.fc3.forward(&x, pass)
    }

    fn parameters(&self) -> &ParamSet {
        &self.parameters
    }

    fn buffers(&self) -> Vec<(String, Var)> {
        self.norms.iter().flat_map(BatchNorm::buffers).collect()
    }

    fn physical_layers(&self) -> Vec<&Physical> {
        vec![&self.conv1, &self.conv2, &self.fc1, &self.fc2, &self.fc3]
    }
}
