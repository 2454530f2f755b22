//! Fields of light for the tests of diffraction.
#![allow(dead_code, clippy::unwrap_used)] // not every test file uses everything

use num_complex::Complex;
use pnn_core::{DType, Seed, Tensor};
use pnn_devices::diffraction::Grid;

pub(crate) const GREEN: f64 = 532e-9;

/// (1, 2, height, width) from positions in m.
pub(crate) fn field(grid: &Grid, f: impl Fn(f64, f64) -> Complex<f64>) -> Tensor {
    let mut values = grid.map(|y, x| f(y, x).re);
    values.extend(grid.map(|y, x| f(y, x).im));
    Tensor::from_vec(values, [1, 2, grid.height, grid.width]).unwrap()
}

pub(crate) fn complex(field: &Tensor) -> Vec<Complex<f64>> {
    let values = field.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (re, im) = values.split_at(values.len() / 2);
    re.iter().zip(im).map(|(re, im)| Complex::new(*re, *im)).collect()
}

pub(crate) fn energy(field: &Tensor) -> f64 {
    complex(field).iter().map(Complex::norm_sqr).sum()
}

pub(crate) fn normal(seed: u64, shape: &[usize]) -> Tensor {
    Seed::new(seed).tensor(rand_distr::StandardNormal, shape, DType::F64).unwrap()
}

/// Largest difference over the largest value.
pub(crate) fn off(got: &[Complex<f64>], want: &[Complex<f64>]) -> f64 {
    let largest = want.iter().map(|v| v.norm()).fold(0.0, f64::max);
    got.iter().zip(want).map(|(g, w)| (g - w).norm()).fold(0.0, f64::max) / largest
}
