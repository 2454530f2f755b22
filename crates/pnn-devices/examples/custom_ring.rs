//! A ring-like device of one's own, trained as any other: `cargo run -p pnn-devices --example custom_ring`. Two equal rings, one behind the
//! other: light passes both, `w = 2 T^2 - 1` of the share `T = u^2 / (1 + u^2)` that passes one, with `u` the detuning over its half-width.

use pnn_core::testing::conformance;
use pnn_core::{DType, PhysicalLayer, Seed, ops::Real};
use pnn_devices::mrr::{MrrLinear, Parametrisation, TransferFunction};

#[derive(Clone)]
struct TwoRings(f64);

impl TransferFunction for TwoRings {
    fn weight<T: Real>(&self, x: T) -> T {
        let passed = T::one() - T::one() / (T::one() + (x / T::of(self.0)) * (x / T::of(self.0)));
        T::of(2.0) * passed * passed - T::one()
    }
    fn slope<T: Real>(&self, x: T) -> T {
        let (u, one) = (x / T::of(self.0), T::one());
        T::of(8.0 / self.0) * u * u * u / ((one + u * u) * (one + u * u) * (one + u * u))
    }
    fn curvature<T: Real>(&self, x: T) -> T {
        let q = (x / T::of(self.0)) * (x / T::of(self.0));
        T::of(24.0 / (self.0 * self.0)) * q * (T::one() - q) / (T::one() + q).powi(4)
    }
    fn detuning<T: Real>(&self, weight: T) -> T {
        let passed = ((weight + T::one()) / T::of(2.0)).sqrt();
        T::of(self.0) * (passed / (T::one() - passed)).sqrt()
    }
    fn weight_range(&self) -> (f64, f64) {
        (-0.999, 0.999)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bank = MrrLinear::with(4, 3, TwoRings(0.15), Parametrisation::Detuning)?;
    let light = Seed::new(1).tensor(rand_distr::StandardUniform, &[5, 4], DType::F64)?;
    conformance(&bank, &light, &Seed::new(2))?;
    println!("passed, settings from {}", bank.controls()[0].bounds.low);
    Ok(())
}
