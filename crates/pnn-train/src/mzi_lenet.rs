//! LeNet-5 whose last layer is an interferometer mesh, as in Xu et al., Nat. Commun. 17, 1766 (2026).

use std::sync::Arc;

use pnn_core::device::Bounds;
use pnn_core::layers::{BatchNorm, Digital, Product, uniform_fan_in};
use pnn_core::model::{Model, Pass, Physical};
use pnn_core::ops::{ConvGeometry, Tail};
use pnn_core::{DType, Error, ParamSet, PhysicalLayer, Result, Seed, Tensor, Var};
use pnn_devices::mzi::MziMesh;

/// Electronics up to the mesh: conv 1-6 5x5 pad 2, BN, `ReLU`, maxpool 2; conv 6-16 5x5, BN, `ReLU`,
/// maxpool 2; fc 400-120, BN; fc 120-`ports`, whose outputs are the fields that enter the mesh. The
/// first ten detectors are the logits. Every electronic layer has a bias. The layers are called
/// conv1, norm1, conv2, norm2, fc1, norm3, fc2, mesh; only the last is physical.
///
/// # Shapes
/// Input (batch, 1, 28, 28), output (batch, 10), or (batch, detectors) of
/// [`with_detectors`](Self::with_detectors).
pub struct MziLeNet5 {
    front: [Physical; 4],
    norms: [BatchNorm; 3],
    mesh: Physical,
    detectors: usize,
    parameters: ParamSet,
}

/// The number of detectors that are read as logits.
const CLASSES: usize = 10;

impl MziLeNet5 {
    /// The name of the physical layer.
    pub const MESH: &str = "mesh";

    /// A network around a mesh of `ports` ports, a device from (batch, ports) to (batch, ports),
    /// whose electronic weights stay within `weights`, initialised from `seed`.
    ///
    /// # Errors
    /// If there are fewer than ten ports, or the mesh cannot be initialised.
    pub fn new(
        mesh: Arc<dyn PhysicalLayer>,
        ports: usize,
        weights: Bounds,
        seed: &Seed,
        dtype: DType,
    ) -> Result<Self> {
        if ports < CLASSES {
            let (what, value) = ("number of ports of the mesh".to_owned(), ports as f64);
            return Err(Error::Range {
                what,
                value,
                allowed: "[10, infinity): one for each class",
            });
        }
        let layer = |name: &str, product: Product| -> Result<Physical> {
            let bias_seed = seed.child(name).child("bias");
            let bias = uniform_fan_in(&bias_seed, &[product.outputs()], product.fan_in(), dtype)?;
            let device = Arc::new(Digital::new(product, weights));
            Physical::new(name, device, Some(bias), seed, dtype)
        };
        let conv = |channels, outputs, padding| Product::Conv2d {
            channels,
            outputs,
            kernel: 5,
            geometry: ConvGeometry { stride: 1, padding },
        };
        let front = [
            layer("conv1", conv(1, 6, 2))?,
            layer("conv2", conv(6, 16, 0))?,
            layer("fc1", Product::Linear { inputs: 400, outputs: 120 })?,
            layer("fc2", Product::Linear { inputs: 120, outputs: ports })?,
        ];
        let norms = [
            BatchNorm::new("norm1", 6, dtype)?,
            BatchNorm::new("norm2", 16, dtype)?,
            BatchNorm::new("norm3", 120, dtype)?,
        ];
        let mesh = Physical::new(Self::MESH, mesh, None, seed, dtype)?;
        let physical = front.iter().chain([&mesh]).flat_map(Physical::parameters);
        let parameters =
            ParamSet::new(physical.chain(norms.iter().flat_map(BatchNorm::parameters)))?;
        Ok(Self { front, norms, mesh, detectors: CLASSES, parameters })
    }

    /// The network whose output is the first so many detectors, (batch, `detectors`): for a loss over more than
    /// the ten logits.
    ///
    /// # Errors
    /// If there are not ten at least or more than ports.
    pub fn with_detectors(self, detectors: usize) -> Result<Self> {
        let ports = self.front[3].device().controls()[0].shape[0];
        if (CLASSES..=ports).contains(&detectors) {
            return Ok(Self { detectors, ..self });
        }
        let what = format!("number of detectors for {CLASSES} classes and {ports} ports");
        let allowed = "[classes, ports]";
        Err(Error::Range { what, value: detectors as f64, allowed })
    }

    /// The network of the paper, around [`published_mesh`](Self::published_mesh).
    ///
    /// # Errors
    /// If the mesh cannot be initialised.
    pub fn published(weights: Bounds, seed: &Seed, dtype: DType) -> Result<Self> {
        let mesh = Self::published_mesh()?;
        let ports = mesh.wiring().ports();
        Self::new(Arc::new(mesh), ports, weights, seed, dtype)
    }

    /// The mesh of the paper: [`MziMesh::published`] with 64 ports.
    ///
    /// # Errors
    /// None, as 64 ports are allowed.
    pub fn published_mesh() -> Result<MziMesh> {
        MziMesh::published(64)
    }

    /// The logits among what the detectors read: (batch, ports) to (batch, 10).
    ///
    /// # Errors
    /// If there are fewer than ten detectors.
    pub fn logits(detected: &Tensor) -> Result<Tensor> {
        detected.narrow(1, 0, CLASSES)
    }
}

impl Model for MziLeNet5 {
    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let ([conv1, conv2, fc1, fc2], [norm1, norm2, norm3]) = (&self.front, &self.norms);
        let pool = Tail::ReluMaxPool2;
        let x = norm1.forward_with(&conv1.forward(x, pass)?, pass.mode, &pool)?;
        let x = norm2.forward_with(&conv2.forward(&x, pass)?, pass.mode, &pool)?;
        let x = norm3.forward(&fc1.forward(&x.flatten_from(1)?, pass)?, pass.mode)?;
        let x = fc2.forward(&x, pass)?;
        self.mesh.forward(&x, pass)?.narrow(1, 0, self.detectors)
    }

    fn parameters(&self) -> &ParamSet {
        &self.parameters
    }

    fn buffers(&self) -> Vec<(String, Var)> {
        self.norms.iter().flat_map(BatchNorm::buffers).collect()
    }

    fn physical_layers(&self) -> Vec<&Physical> {
        vec![&self.mesh]
    }
}
