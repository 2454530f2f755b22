//! A device of one's own, checked by the suite that every device passes:
//! `cargo run -p pnn-devices --example custom_device`.
//!
//! The device is a bank of variable optical attenuators, each set to a loss in dB that is never
//! quite the one asked for: `y_k = sum_i 10^(-(loss_ki + loss_error_ki) / 10) x_i`.

use std::error::Error;
use std::f64::consts::LN_10;

use pnn_core::testing::{Check, conformance};
use pnn_core::{
    Bounds, Control, ControlSpec, Controls, DType, DeviationPort, Deviations, Passivity,
    PhysicalLayer, PortShape, Result, Seed, Tensor, ops,
};

// The device, from here ...
struct Attenuators([Control; 1], [DeviationPort; 1]);

fn attenuators(inputs: usize, outputs: usize) -> Attenuators {
    let (shape, bounds) = (vec![outputs, inputs], Bounds { low: 0.0, high: 30.0 });
    let whole = PortShape::Fixed(shape.clone());
    Attenuators(
        [Control { name: "loss", unit: "dB", bounds, shape }],
        [DeviationPort { name: "loss_error", unit: "dB", shape: whole }],
    )
}

impl PhysicalLayer for Attenuators {
    fn controls(&self) -> &ControlSpec {
        &self.0
    }
    fn ports(&self) -> &[DeviationPort] {
        &self.1
    }
    fn passivity(&self) -> Passivity {
        Passivity::Incoherent
    }
    fn init(&self, seed: &Seed, dtype: DType) -> Result<Controls> {
        let share = seed.tensor(rand_distr::StandardUniform, &self.0[0].shape, dtype)?;
        Ok(Controls::one("loss", (share * 10.0)?))
    }
    fn forward(&self, x: &Tensor, controls: &Controls, deviations: &Deviations) -> Result<Tensor> {
        deviations.check(&self.1)?;
        let loss = controls.get("loss")?.broadcast_as(self.0[0].shape.as_slice())?;
        let transmission = (deviations.shift("loss_error", &loss)? * (-LN_10 / 10.0))?.exp()?;
        ops::linear(x, &transmission)
    }
}
// ... to here: at most 30 lines.

fn main() -> Result<(), Box<dyn Error>> {
    let (device, seed) = (attenuators(3, 2), Seed::new(1));
    let light = seed.child("light").tensor(rand_distr::StandardUniform, &[4, 3], DType::F64)?;
    conformance(&device, &light, &seed)?;
    for check in Check::ALL {
        println!("passed: {check}");
    }

    let controls = device.init(&seed, DType::F64)?;
    let power = |loss_error: f64| -> Result<f64> {
        let error = Tensor::new(loss_error)?;
        let deviations = Deviations::none().with("loss_error", error);
        device.forward(&light, &controls, &deviations)?.sum_all()?.to_scalar()
    };
    println!("detected power with 0.3 dB more loss: {:.3} of the ideal", power(0.3)? / power(0.0)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_runs() {
        main().unwrap();
    }

    #[test]
    fn loss_is_in_decibel() {
        let controls = |loss: f64| -> Controls {
            let loss = Tensor::full(loss, (1, 1)).unwrap();
            Controls::one("loss", loss)
        };
        let x = Tensor::full(1.0, (1, 1)).unwrap();
        let y = attenuators(1, 1).forward(&x, &controls(10.0), &Deviations::none()).unwrap();
        assert!((y.flatten_all().unwrap().to_vec1::<f64>().unwrap()[0] - 0.1).abs() < 1e-15);
    }

    #[test]
    fn the_device_has_at_most_30_lines() {
        let source = include_str!("custom_device.rs");
        let lines = source.lines().skip_while(|line| !line.starts_with("// The device"));
        let device = lines.skip(1).take_while(|line| !line.starts_with("// ..."));
        assert!(device.filter(|line| !line.trim().is_empty()).count() <= 30);
    }

    #[test]
    fn the_ring_has_at_most_40_lines_in_all() {
        assert!(include_str!("custom_ring.rs").lines().count() <= 40);
    }
}
