//! Trained networks in double precision, set by what their device is set by: what curvature is measured on.

use std::collections::BTreeMap;
use std::path::Path;

use pnn_core::curvature::{Hessian, Lanczos, Surface};
use pnn_core::{Seed, Tensor, store};
use pnn_devices::mrr::{Lorentzian, TransferFunction};
use pnn_train::{LeNet5, Recipe};

use crate::error::{Error, Result};

/// Images a pass on a loss surface: few enough for their activations to stay in the cache.
pub(crate) const PASS: usize = 100;

/// Makes the weights of a LeNet-5 of rings the detunings that give them, in f64.
pub(crate) fn as_detunings(state: &mut BTreeMap<String, Tensor>) -> Result<()> {
    for layer in LeNet5::LAYERS {
        if let Some(weights) = state.remove(&format!("{layer}.weight")) {
            let weights = weights.to_dtype(pnn_core::DType::F64)?;
            let ring = Lorentzian::default();
            let detunings = weights.elements::<f64>()?.iter().map(|w| ring.detuning(*w)).collect();
            let detunings = Tensor::from_vec(detunings, weights.shape())?;
            state.insert(format!("{layer}.detuning"), detunings);
        }
    }
    Ok(())
}

/// A network as `reproduce` keeps it (`weights.safetensors` of a run, `docs/results/weights`), with the recipe that made
/// it and what else its file says of it.
pub(crate) struct KeptNetwork {
    pub(crate) recipe: Recipe,
    pub(crate) tensors: BTreeMap<String, Tensor>,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl KeptNetwork {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let file = |reason: String| Error::File { path: path.to_owned(), reason };
        let (tensors, metadata) = store::load(path)?;
        let recipe = metadata.get("recipe").ok_or_else(|| {
            file(
                "has no recipe in its metadata: weights.safetensors of a run of reproduce has one"
                    .into(),
            )
        })?;
        let recipe = serde_json::from_str(recipe).map_err(|e| file(e.to_string()))?;
        Ok(Self { recipe, tensors, metadata })
    }
}

/// The largest eigenvalue of the Hessian of a loss surface.
pub(crate) fn lambda_max(surface: &mut Surface<'_>) -> Result<f64> {
    let mut hessian = Hessian::new(surface)?;
    let found = Lanczos::extremes(1, 0).run(&mut hessian, &Seed::new(0).child("lanczos"))?;
    Ok(found.largest[0].value)
}
