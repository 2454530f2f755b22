//! What the tests of this crate share.
#![allow(dead_code, clippy::unwrap_used)] // not every test file uses everything

pub(crate) mod light;

use pnn_core::layers::Product;
use pnn_core::ops::{ConvGeometry, Real};
use pnn_core::{Controls, DType, Seed, Tensor};
use pnn_devices::mrr::{Heater, Lorentzian, MrrBank, Parametrisation, TransferFunction};

/// A user's ring: light that passes the ring meets light that goes around it, which makes the line
/// asymmetric (Fano, Phys. Rev. 124, 1866, 1961).
///
/// `w(x) = -cos 2(atan(x/g) - a)`, a Lorentzian for `a = 0`: with `q = cot a` the drop port's share
/// is `(q + u)^2 / ((1 + q^2)(1 + u^2))`, `u = x/g`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fano {
    pub(crate) half_width_nm: f64,
    pub(crate) asymmetry: f64,
}

impl Fano {
    pub(crate) const RING: Self = Self { half_width_nm: 0.12, asymmetry: -0.2 };

    fn u_and_angle<T: Real>(&self, x: T) -> (T, T) {
        let u = x / T::of(self.half_width_nm);
        (u, (u.atan() - T::of(self.asymmetry)) * T::of(2.0))
    }
}

impl TransferFunction for Fano {
    fn weight<T: Real>(&self, x: T) -> T {
        -self.u_and_angle(x).1.cos()
    }
    fn slope<T: Real>(&self, x: T) -> T {
        let (u, angle) = self.u_and_angle(x);
        T::of(2.0) * angle.sin() / (T::of(self.half_width_nm) * (T::one() + u * u))
    }
    fn curvature<T: Real>(&self, x: T) -> T {
        let (u, angle) = self.u_and_angle(x);
        let width = T::of(self.half_width_nm) * (T::one() + u * u);
        T::of(4.0) * (angle.cos() - u * angle.sin()) / (width * width)
    }
    fn detuning<T: Real>(&self, weight: T) -> T {
        let angle = (-weight).acos() / T::of(2.0) + T::of(self.asymmetry);
        T::of(self.half_width_nm) * angle.tan()
    }
    fn weight_range(&self) -> (f64, f64) {
        (-0.999, 0.999)
    }
}

/// Every way to set a bank; the last heater reaches only weights below 0.28.
pub(crate) const PARAMETRISATIONS: [Parametrisation; 5] = [
    Parametrisation::Detuning,
    Parametrisation::Weight,
    Parametrisation::Current(Heater::Convention),
    Parametrisation::Current(Heater::PUBLISHED),
    Parametrisation::Current(Heater::Joule {
        resistance_ohm: 375.0,
        nm_per_milliwatt: 0.53,
        resonance_milliamp: 1.0,
    }),
];

/// Those that reach every weight of a bank with a few inputs.
pub(crate) const FAR_REACHING: [Parametrisation; 4] =
    [PARAMETRISATIONS[0], PARAMETRISATIONS[1], PARAMETRISATIONS[2], PARAMETRISATIONS[3]];

pub(crate) const LINEAR: Product = Product::Linear { inputs: 5, outputs: 3 };

pub(crate) fn conv(stride: usize, padding: usize) -> Product {
    let geometry = ConvGeometry { stride, padding };
    Product::Conv2d { channels: 2, outputs: 2, kernel: 3, geometry }
}

pub(crate) fn bank(product: Product, parametrisation: Parametrisation) -> MrrBank {
    MrrBank::new(product, Lorentzian::default(), parametrisation).unwrap()
}

/// A small batch of optical powers.
pub(crate) fn light(product: Product) -> Tensor {
    let dims = match product {
        Product::Linear { inputs, .. } => vec![4, inputs],
        Product::Conv2d { channels, .. } => vec![2, channels, 5, 4],
    };
    Seed::new(5).tensor(rand_distr::StandardUniform, &dims, DType::F64).unwrap()
}

/// One value everywhere.
pub(crate) fn full(value: f64, dims: &[usize]) -> Tensor {
    Tensor::full(value, dims).unwrap()
}

pub(crate) fn settings(name: &str, value: Tensor) -> Controls {
    Controls::one(name, value)
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}
