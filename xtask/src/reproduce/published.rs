//! The paper's own networks.

use pnn_core::model::{Model, load_model_state};
use pnn_core::{DType, Seed, store};
use pnn_train::{FcActivation, LeNet5};

use crate::error::Result;

/// Loads published weights (a LeNet-5 trained by weights) as a model.
pub(crate) fn published(path: &std::path::Path) -> Result<LeNet5> {
    let factory = pnn_train::MrrFactory(pnn_train::Trained::Weights);
    let model = LeNet5::new(&factory, FcActivation::Relu, &Seed::new(0), DType::F32)?;
    let (tensors, _) = store::load(path)?;
    load_model_state(&model, &tensors)?;
    // Settings beyond the ring's range saturate.
    for layer in model.physical_layers() {
        for (_, weight) in layer.controls().iter() {
            let clamped = weight.clamp(-1.0, 1.0)?.detach();
            let name = format!("{}.weight", layer.name());
            model.parameters().get(&name)?.var.set(&clamped)?;
        }
    }
    Ok(model)
}
