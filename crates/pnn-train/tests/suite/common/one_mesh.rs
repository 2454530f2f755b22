//! A small network with a mesh, shared by the tests.

#![allow(dead_code, clippy::unwrap_used)] // each test binary uses a part

use std::sync::Arc;

use pnn_core::layers::{Digital, Product};
use pnn_core::model::{Model, Pass, Physical};
use pnn_core::{Bounds, DType, Deviations, ParamSet, Seed, Tensor, Var};
use pnn_devices::mzi::MziMesh;

/// One electronic layer from the pixels to 16 amplitudes, and a mesh; its first ten powers are the
/// logits.
pub(crate) struct OneMesh {
    pub(crate) front: Physical,
    pub(crate) mesh: Physical,
    parameters: ParamSet,
}

impl OneMesh {
    pub(crate) fn new(dtype: DType) -> Self {
        let seed = Seed::new(7);
        let product = Product::Linear { inputs: 784, outputs: 16 };
        let front = Arc::new(Digital::new(product, Bounds::UNBOUNDED));
        let front = Physical::new("front", front, None, &seed, dtype).unwrap();
        let mesh = Physical::new("mesh", Arc::new(mesh()), None, &seed, dtype).unwrap();
        let parameters = ParamSet::new(front.parameters().chain(mesh.parameters())).unwrap();
        Self { front, mesh, parameters }
    }

    pub(crate) fn light(&self, images: &Tensor) -> Tensor {
        let controls = self.front.controls();
        let x = images.flatten_from(1).unwrap();
        self.front.device().forward(&x, &controls, &Deviations::none()).unwrap().detach()
    }
}

impl Model for OneMesh {
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> pnn_core::Result<Tensor> {
        let x = self.front.forward(&x.flatten_from(1)?, pass)?;
        self.mesh.forward(&x, pass)?.narrow(1, 0, 10)
    }

    fn parameters(&self) -> &ParamSet {
        &self.parameters
    }

    fn buffers(&self) -> Vec<(String, Var)> {
        Vec::new()
    }

    fn physical_layers(&self) -> Vec<&Physical> {
        vec![&self.front, &self.mesh]
    }
}

pub(crate) fn mesh() -> MziMesh {
    MziMesh::published(16).unwrap()
}
