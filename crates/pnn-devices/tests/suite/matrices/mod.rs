//! Matrices as targets, and how far apart they are.
#![allow(dead_code)]

use std::f64::consts::TAU;

use pnn_core::{Controls, DType, Deviations, PhysicalLayer, Seed, Tensor};
use pnn_devices::mzi::{Layout, MziMesh};

/// The universal layouts.
pub(crate) const UNIVERSAL: [Layout; 2] = [Layout::Rectangular, Layout::Triangular];

pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

pub(crate) fn normal(seed: u64, name: &str, std: f64, dims: &[usize]) -> Tensor {
    let normal = rand_distr::Normal::new(0.0, std).unwrap();
    Seed::new(seed).child(name).tensor(normal, dims, DType::F64).unwrap()
}

/// The matrix (2, ports, ports) of a mesh.
pub(crate) fn transfer(mesh: &MziMesh, controls: &Controls, chip: &Deviations) -> Tensor {
    let ports = mesh.wiring().ports();
    mesh.transfer(controls, &[chip]).unwrap().reshape([2, ports, ports]).unwrap()
}

/// The matrix of a random mesh, Haar-random if the layout is universal.
pub(crate) fn random(layout: Layout, ports: usize, seed: u64) -> Tensor {
    let mesh = MziMesh::new(layout, ports).unwrap();
    transfer(&mesh, &mesh.init(&Seed::new(seed), DType::F64).unwrap(), &Deviations::none())
}

/// The matrix (2, rows, columns) whose elements are (real, imaginary).
pub(crate) fn of(
    rows: usize,
    columns: usize,
    element: impl Fn(usize, usize) -> (f64, f64),
) -> Tensor {
    let places = || (0..rows * columns).map(|k| element(k / columns, k % columns));
    let parts = places().map(|(re, _)| re).chain(places().map(|(_, im)| im)).collect();
    Tensor::from_vec::<f64>(parts, [2, rows, columns]).unwrap()
}

pub(crate) fn identity(ports: usize) -> Tensor {
    of(ports, ports, |row, column| (f64::from(u8::from(row == column)), 0.0))
}

pub(crate) fn fourier(ports: usize) -> Tensor {
    of(ports, ports, |row, column| {
        let (sin, cos) = (TAU * (row * column % ports) as f64 / ports as f64).sin_cos();
        (cos / (ports as f64).sqrt(), sin / (ports as f64).sqrt())
    })
}

/// The largest difference of two elements.
pub(crate) fn largest_difference(one: &Tensor, other: &Tensor) -> f64 {
    assert_eq!(one.dims(), other.dims());
    let pairs = values(one).into_iter().zip(values(other));
    // NaN stays.
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, |m, d| if m >= d { m } else { d })
}
