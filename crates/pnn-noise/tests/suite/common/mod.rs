//! What the tests of this crate share.
#![allow(dead_code, clippy::unwrap_used)] // not every test file uses everything

use std::sync::Arc;

use pnn_core::layers::uniform_fan_in;
use pnn_core::ops::ConvGeometry;
use pnn_core::{Chip, DType, Physical, PhysicalLayer, Seed, Tensor};
use pnn_devices::mrr::{Lorentzian, MrrConv2d, MrrLinear, Parametrisation};
use pnn_devices::mzi::{Layout, MziMesh};
use pnn_noise::{Noise, NoiseModel, Source};

pub(crate) const RESONANCE: &str = "resonance_shift_nm";

pub(crate) fn place(name: &str, device: impl PhysicalLayer + 'static) -> Physical {
    Physical::new(name, Arc::new(device), None, &Seed::new(1), DType::F64).unwrap()
}

pub(crate) fn linear(name: &str, inputs: usize, outputs: usize) -> Physical {
    place(name, MrrLinear::new(inputs, outputs))
}

pub(crate) fn bank(parametrisation: Parametrisation) -> Physical {
    place("bank", MrrLinear::with(5, 3, Lorentzian::default(), parametrisation).unwrap())
}

pub(crate) fn mesh(ports: usize) -> Physical {
    place("mesh", MziMesh::new(Layout::Rectangular, ports).unwrap())
}

/// The two kinds of layers of a small LeNet, with biases: 8x8 images to 4 channels of 3x3 to 10
/// classes.
pub(crate) fn stack() -> [Physical; 2] {
    let seed = Seed::new(1);
    let bias = |name: &str, outputs, fan_in| {
        Some(uniform_fan_in(&seed.child(name), &[outputs], fan_in, DType::F64).unwrap())
    };
    let geometry = ConvGeometry { stride: 2, padding: 0 };
    let conv = Arc::new(MrrConv2d::new(1, 4, 3, geometry));
    let fc = Arc::new(MrrLinear::new(36, 10));
    [
        Physical::new("conv1", conv, bias("conv1", 4, 9), &seed, DType::F64).unwrap(),
        Physical::new("fc1", fc, bias("fc1", 10, 36), &seed, DType::F64).unwrap(),
    ]
}

/// One of each source.
pub(crate) fn everything() -> Vec<Noise> {
    let sources = [
        Source::Fabrication { std_nm: 0.02 },
        Source::Drift { kelvin: -1.5, nm_per_kelvin: 0.08 },
        Source::RandomDrift { max_kelvin: 2.0, nm_per_kelvin: 0.06 },
        Source::Weight { std: 0.1 },
        Source::Readout { std: 0.3 },
        Source::Quantisation { bits: 6 },
    ];
    sources.into_iter().map(|source| Noise { source, layers: None }).collect()
}

pub(crate) fn one(source: Source) -> NoiseModel {
    NoiseModel::all_layers(source).unwrap()
}

/// The deviation at a port of a layer.
pub(crate) fn at<'a>(chip: &'a Chip, layer: &str, port: &str) -> &'a Tensor {
    chip.layer(layer).unwrap().get(port).unwrap()
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// Every deviation of a chip, bit for bit.
pub(crate) fn bits(chip: &Chip) -> Vec<(String, Vec<usize>, Vec<u64>)> {
    let of_layer = |(layer, deviations): (&str, &pnn_core::Deviations)| {
        let of_port = |(port, value): (&str, &Tensor)| {
            let bits = values(value).into_iter().map(f64::to_bits).collect();
            (format!("{layer}.{port}"), value.dims().to_vec(), bits)
        };
        deviations.iter().map(of_port).collect::<Vec<_>>()
    };
    chip.iter().flat_map(of_layer).collect()
}
